"""Walk-forward: parameters are chosen on one window and traded on the next, which had no part in the choice."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields
from typing import Any, Literal

from stratnb.errors import ConfigError, positive
from stratnb.market_data.candles import Candles, market_from
from stratnb.model import Market
from stratnb.research.asked import Asked
from stratnb.research.configured import Strategy, configure
from stratnb.research.funding import FundingRates, missing
from stratnb.research.gaps import stretches_of
from stratnb.research.ledger import Ledger
from stratnb.research.overfitting import probability_of_overfitting
from stratnb.research.stretch import run_stretch
from stratnb.research.sweep import Sweep, sweep
from stratnb.research.sweep_checks import collected
from stratnb.research.walked import WalkForward, WindowResult
from stratnb.research.windows import Mode, Span, Spans, Window, windows_of
from stratnb.services.ledger import AccountLimits

__all__ = ["WalkForward", "walk_forward"]

Progress = Callable[[int, int], None]


def walk_forward(
    strategy: Strategy,
    candles: Candles,
    space: Mapping[str, Any],
    *,
    train: Span,
    test: Span,
    mode: Mode = "rolling",
    purge: Span = 0,
    embargo: Span = 0,
    step: Span | None = None,
    objective: str = "sharpe",
    market: Market | None = None,
    cash: float = 10_000.0,
    limits: AccountLimits | None = None,
    overrides: Mapping[str, Any] | None = None,
    funding: FundingRates | None = None,
    ledger: Ledger | Literal[False] | None = None,
    progress: Progress | None = None,
    cancelled: Callable[[], bool] | None = None,
    **search: Any,
) -> WalkForward:
    """Sweep each training window, trade its best on the test window behind it, and join the tests to one curve.

    Windows are made of `Spans`. A test starts flat with blocks warmed up on the candles of its training window
    (and the embargo), and is closed out at its end; nothing behind the end of the training has a part in the choice.
    What is not known of the market is inferred from the first training window. Trainings and tests pay the `funding`
    rates of a linear market as `backtest` does. `search` are further options of `sweep` (`method`, `trials`, `seed`,
    `threads`, `client`, `max_trials`, `min_trades`, `memory_mb`, `on_gap`). Trials are counted in `ledger` as by
    `sweep`; `progress(done, all)` counts trials over all windows; after a cancel the windows done so far are returned.
    Raises `ConfigError` before anything runs.
    """
    if not isinstance(candles, Candles) or not positive(cash):
        what, hint = (candles, "load them with load_candles") if positive(cash) else (cash, "give cash above 0")
        raise ConfigError("type", f"{repr(what)[:80]} is not usable here", value=repr(what)[:80], hint=hint)
    if isinstance(space, Mapping):
        space = {path: list(values) if isinstance(values, Iterator) else values for path, values in space.items()}
    account = {"market": market, "cash": cash, "limits": limits, "funding": funding}
    options = search | account | {"objective": objective, "overrides": overrides}
    windows = _checked(strategy, candles, space, Spans(train, test, mode, purge, embargo, step), options)
    if market is None:
        account["market"] = _inferred(strategy, candles[slice(*windows[0].train)], overrides)
    counting = ledger if ledger is False else _Counting(ledger)
    asked = search | account | {"objective": objective, "ledger": counting, "cancelled": cancelled}
    found: list[WindowResult] = []
    for k, window in enumerate(windows):
        told = progress and _counted(progress, k, len(windows))
        trained = sweep(strategy, candles[slice(*window.train)], space, overrides=overrides, progress=told, **asked)
        if not trained.complete:
            break
        found.append(_tested(candles, window, trained=trained, account=account))
    return WalkForward(
        windows=tuple(found),
        planned=windows,
        candles=candles,
        objective=objective,
        mode=mode,
        capital=next((each.result.capital for each in found if each.result is not None), cash),
    )


def _checked(
    strategy: Strategy, candles: Candles, space: Mapping[str, Any], spans: Spans, options: Mapping[str, Any]
) -> tuple[Window, ...]:
    """Return the windows, or raise all that is wrong with them and with the sweeps.

    Gaps are looked for everywhere, everything else is checked on the shortest training. The code is "windows" or
    "sweep_invalid" where all faults are of one kind, else "walk_forward_invalid".
    """
    made: list[tuple[Window, ...]] = []
    misfits = collected(lambda: windows_of(candles, spans), made) if len(candles) else []
    shortest = min(made[0], key=lambda window: window.train[1] - window.train[0]) if made else None
    seen = candles if shortest is None else candles[slice(*shortest.train)]
    known = {each.name: options[each.name] for each in fields(Asked) if each.name in options}
    gaps = collected(lambda: stretches_of(candles, known.get("on_gap", "hold")))
    faults = list(gaps)
    Asked(strategy, seen, space, **known | ({"on_gap": "hold"} if gaps else {})).ready(faults)
    if misfits or faults:
        code = "windows" if not faults else "walk_forward_invalid" if misfits else "sweep_invalid"
        many = len(misfits) + len(faults)
        text = f"the walk-forward has {many} fault{'s' if many > 1 else ''}; nothing was run"
        raise ConfigError(code, text, hint="correct them all", findings=[*misfits, *faults])
    return made[0]


def _inferred(strategy: Strategy, seen: Candles, overrides: Mapping[str, Any] | None) -> Market:
    """Return what candles tell of the market of a strategy."""
    plan, _ = configure(strategy, seen, overrides=overrides)
    return market_from(seen, kind=plan.market.kind)


class _Counting(Ledger):
    """A ledger to which the training windows tell that a trial was made, not how it went in so short a time."""

    def __init__(self, ledger: Ledger | None) -> None:
        self._whole = Ledger() if ledger is None else ledger
        super().__init__(self._whole.path)

    def note(self, study: str, trials: Sequence[str], sharpes: Sequence[float]) -> None:
        """Count the trials without their Sharpe ratios."""
        self._whole.note(study, trials, [math.nan] * len(sharpes))


def _counted(progress: Progress, k: int, windows: int) -> Progress:
    """Return a progress of one window's trials as that of all windows."""
    return lambda done, trials: progress(k * trials + done, windows * trials)


def _tested(candles: Candles, window: Window, *, trained: Sweep, account: Mapping[str, Any]) -> WindowResult:
    """Trade the best of a training window on its test window; without a best nothing is traded."""
    best, row = trained.best, trained.best_row
    if best is None or row is None:
        return WindowResult(window, None, trained.count, None, None, None, None, None, {})
    start, (first, stop) = window.train[0], window.test
    own = candles[start:stop]
    plan, findings = configure(trained.backtest().plan.config, own, market=account["market"])
    findings += tuple(missing(plan, account["funding"], candles[first:stop]))
    terms = {name: account[name] for name in ("cash", "limits", "funding")}
    result = run_stretch(plan, own, before=first - start, findings=findings, **terms)
    outside: dict[str, float | None] = {**result.figures, "pnl": float(result.equity_curve[-1] - result.capital)}
    return WindowResult(
        window=window,
        chosen=best,
        trials=trained.count,
        inside=row[trained.objective],
        outside=outside.get(trained.objective),
        growth_inside=row["cagr"],
        growth_outside=outside["cagr"],
        result=result,
        ranges={path: _range(trained.frame[path].tolist()) for path in best},
        overfitting=probability_of_overfitting(trained.blocks),
    )


def _range(values: Sequence[object]) -> float | None:
    """Return the width of a searched parameter, None for one that is no number."""
    numbers = [float(value) for value in values if isinstance(value, (int, float)) and not isinstance(value, bool)]
    return max(numbers) - min(numbers) if len(numbers) == len(values) and numbers else None
