"""What a report is made of: curves with their trades, the candles they were made on, and what was run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from stratnb.errors import ConfigError
from stratnb.kernels import layout as at
from stratnb.market_data.candles import Candles
from stratnb.model import Fill, Trade, timeframe_ms
from stratnb.research.backtest import Backtest
from stratnb.research.results import excursions
from stratnb.research.runs import SavedRun
from stratnb.ui.panels.performance_data import NO_ROWS, Line, Sample, hold

__all__ = ["Priced", "Shared", "Source", "held_line", "source_of"]

Floats = npt.NDArray[np.float64]
Run = Backtest | SavedRun


@dataclass(frozen=True, slots=True, eq=False)
class Priced:
    """A market with its candles and what was traded on it; `fills` are those of each strategy."""

    symbol: str
    candles: Candles
    trades: Sequence[Trade]
    fills: Sequence[Sequence[Fill]]


@dataclass(frozen=True, slots=True, eq=False)
class Shared:
    """What several strategies did to one account.

    `attribution` is the table of `Portfolio.attribution`; `results` (instants, strategies) the results so far, quote
    units, at `times`; `exposure` (instants, 3) gross and net notional as shares of equity (NaN where that is not above
    0) and the number of positions; `keys` the lines of the strategies by label; `owners` the label of each trade of the
    account; `denials` the entries that each check turned down by code and label, `held` what `Line.figures` compares
    each strategy's line with.
    """

    attribution: pd.DataFrame
    times: Floats
    results: Floats
    exposure: Floats
    keys: Mapping[str, str]
    owners: tuple[str, ...]
    denials: Mapping[str, Mapping[str, int]]
    held: Mapping[str, Line]


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """Everything that a report shows. The first line is the result, then the market, then strategies.

    `stops` are the planned ones of the trades, NaN where unknown; `priced` is empty where no candles are known; `facts`
    are (name, text) of what was run, `document` the whole configuration, `notes` the warnings; `shared` is None for one
    strategy.
    """

    title: str
    quote: str
    sample: Sample
    stops: Floats
    reasons: Mapping[str, int]
    denials: Mapping[str, int]
    priced: tuple[Priced, ...]
    facts: tuple[tuple[str, str], ...]
    document: Any = None
    notes: tuple[str, ...] = ()
    shared: Shared | None = None

    @property
    def line(self) -> Line:
        """Return the curve of the result."""
        return self.sample.lines[0]

    def held(self, line: Line) -> Line | None:
        """Return the curve of buy and hold that a line is compared with."""
        return self.sample.held if self.shared is None else self.shared.held.get(line.key, self.sample.held)

    @property
    def trades(self) -> tuple[Trade, ...]:
        """Return the closed trades, oldest first."""
        return self.line.trades


def source_of(run: Any, candles: Candles | None = None) -> Source:
    """Return the source of a backtest, or of a saved one with the candles it ran on.

    Raises `ConfigError("type")` for anything else, `ConfigError("other_candles")` for candles of another run.
    """
    if isinstance(run, Backtest):
        return _source(run, run.candles[: len(run.close_ms)], run.plan.market.quote)
    if isinstance(run, SavedRun):
        return _source(run, _fitting(run, candles), run.quote)
    hint = "give what backtest() or load_run() returns"
    raise ConfigError("type", f"{type(run).__name__} is not a backtest", value=repr(run)[:80], hint=hint)


def _fitting(run: SavedRun, candles: Candles | None) -> Candles | None:
    """Return the candles of a saved run, as far as it went."""
    if candles is None:
        return None
    if not run.matches(candles):
        words = f"these are not the candles that {run.name!r} ran on"
        hint = f"it ran on {run.candles.get('count')} candles of {run.symbol} {run.timeframe}"
        raise ConfigError("other_candles", words, value=repr(candles), hint=hint)
    return candles[: len(run.close_ms)]


def _source(run: Run, candles: Candles | None, quote: str) -> Source:
    symbol = run.symbol if isinstance(run, SavedRun) else run.candles.symbol
    trades, fills = tuple(run.closed_trades), tuple(run.all_fills)
    start_ms = float(run.close_ms[0] - timeframe_ms(run.timeframe)) if len(run.close_ms) else 0.0
    times = np.concatenate(([start_ms], run.close_ms.astype(np.float64)))
    rows = np.column_stack([times, np.concatenate(([run.capital], run.equity_curve))])
    fee = _taker_fee(run)
    if candles is None:
        paths = np.full((len(trades), 2), np.nan)
    else:
        paths = excursions(trades, candles.open_time_ms.astype(np.float64), candles.high, candles.low)
    own = Line("account", run.name, "is-acc", rows, trades, paths, (fills,), fee=fee, closes=times[1:])
    held = None if candles is None else held_line(candles, rows, fee)
    lines = (own,) if held is None else (own, held)
    return Source(
        title=f"{run.name} on {symbol} {run.timeframe}",
        quote=quote,
        sample=Sample(lines, quote, float(timeframe_ms(run.timeframe)), held),
        stops=run.planned_stops,
        reasons=run.reasons,
        denials=run.denials,
        priced=() if candles is None else (Priced(symbol, candles, trades, (fills,)),),
        facts=_facts(run, quote),
        document=run.document if isinstance(run, SavedRun) else run.plan.config.to_document(),
        notes=tuple(map(str, run.findings)) + (() if run.complete else ("The run was canceled before its end.",)),
    )


def held_line(candles: Candles, rows: Floats, fee: float) -> Line | None:
    """Return buy and hold of the market with the same capital, in the same time."""
    found = hold(candles.rows(), rows[1:, 0], float(rows[0, 1]), fee)
    if len(found) < 2:
        return None
    label = f"Buy and hold {candles.symbol}"
    return Line("hold", label, "is-bh", found, fee=fee, candles=candles.rows(), paths=NO_ROWS)


def _taker_fee(run: Run) -> float:
    """Return what a taker paid of the notional."""
    if isinstance(run, Backtest):
        return float(run.plan.params[at.S_TAKER])
    simulation = dict(run.document.get("execution", {}).get("simulation", {}))
    return float(simulation.get("taker_fee") or run.market.get("taker_fee") or 0.0)


def _facts(run: Run, quote: str) -> tuple[tuple[str, str], ...]:
    """Return what was run, so that it can be run again."""
    saved = run if isinstance(run, SavedRun) else run.saved()
    market = saved.market if isinstance(run, SavedRun) else asdict(run.plan.market)
    known = ("kind", "tick", "lot", "min_notional", "maker_fee", "taker_fee")
    traded = ", ".join(f"{name.replace('_', ' ')} {market[name]}" for name in known if market.get(name) is not None)
    candles = saved.candles
    return (
        ("Strategy", f"{saved.name}, code {saved.code_hash[:12]}"),
        ("Market", f"{saved.symbol}: {traded}"),
        ("Capital", f"{saved.capital:,.2f} of {saved.cash:,.2f} {quote}"),
        ("Candles", f"{candles.get('count'):,} of {saved.timeframe}, SHA-256 {str(candles.get('sha256'))[:16]}"),
        ("Gaps", str(saved.gaps)),
        ("Ambiguous candles", f"{saved.ambiguous_candles:,} touched stop and target; the stop was taken"),
        ("stratnb", saved.version),
    )
