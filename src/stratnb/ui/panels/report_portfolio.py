"""What the report of a portfolio is made of: the account's curve and trades, and a line of each strategy."""

from __future__ import annotations

from itertools import chain

import numpy as np
import numpy.typing as npt

from stratnb.kernels import layout as at
from stratnb.market_data.candles import Candles
from stratnb.model import Trade, installed_version
from stratnb.research.backtest import Backtest
from stratnb.research.portfolio_result import Portfolio
from stratnb.research.results import excursions
from stratnb.research.runs import fingerprint
from stratnb.ui.figures import CURVES
from stratnb.ui.format import count, num
from stratnb.ui.panels.performance_data import NO_ROWS, Line, Sample, hold
from stratnb.ui.panels.report_source import Priced, Shared, Source, held_line

__all__ = ["portfolio_source"]

Floats = npt.NDArray[np.float64]


def portfolio_source(made: Portfolio) -> Source:
    """Return the source of a portfolio backtest; buy and hold is the mean over its markets, as in its figures."""
    parts = [(label, own) for label, own in made.items() if len(own.equity_curve)]
    owners, trades, paths, stops = _trades(parts)
    keys = _keys(parts)
    account, held = _account(made, trades, paths), _index(made)
    lines = [_line(keys[label], label, own) for label, own in parts]
    holds = {
        line.key: held_line(_ran(own), line.rows, line.fee or 0.0) for line, (_, own) in zip(lines, parts, strict=True)
    }
    whole = (account,) if held is None else (account, held)
    exposure = made.exposure[["gross_share", "net_share", "open"]].to_numpy(np.float64)
    times = made.close_ms.astype(np.float64)
    known = {key: line for key, line in holds.items() if line is not None}
    denials = made.denials
    sample = Sample((*whole, *lines), made.quote, float(next(iter(made.values())).plan.base_ms), held)
    return Source(
        title=_title(made),
        quote=made.quote,
        sample=sample,
        stops=stops,
        reasons=made.reasons,
        denials={code: sum(by.values()) for code, by in denials.items()},
        priced=_priced(made),
        facts=_facts(made),
        document={label: own.plan.config.to_document() for label, own in made.items()},
        notes=tuple(map(str, made.findings)) + (() if made.complete else ("The run was canceled before its end.",)),
        shared=Shared(made.attribution, times, made.results.to_numpy(), exposure, keys, owners, denials, known),
    )


def _title(made: Portfolio) -> str:
    symbols = list(dict.fromkeys(own.candles.symbol for own in made.values()))
    where = ", ".join(symbols) if len(symbols) < 4 else f"{len(symbols)} markets"
    return f"{len(made)} strateg{'y' if len(made) == 1 else 'ies'} on {where} {next(iter(made.values())).timeframe}"


def _ran(own: Backtest) -> Candles:
    """Return the candles that were run."""
    return own.candles[: len(own.equity_curve)]


def _keys(parts: list[tuple[str, Backtest]]) -> dict[str, str]:
    """Return the key of each strategy's line; the eight that moved the account most have the keys that are drawn."""
    labels = [label for label, _ in parts]
    if len(parts) > len(CURVES):
        moved = {label: abs(float(own.book[at.B_EQUITY]) - own.capital) for label, own in parts}
        labels.sort(key=lambda label: -moved[label])
    return {label: f"s{k}" for k, label in enumerate(labels)}


def _trades(parts: list[tuple[str, Backtest]]) -> tuple[tuple[str, ...], tuple[Trade, ...], Floats, Floats]:
    """Return labels, trades, excursions (n, 2) and planned stops of all, by exit, then by registration."""
    owners: list[str] = []
    found: list[Trade] = []
    paths, stops = [NO_ROWS], [np.empty(0)]
    for label, own in parts:
        trades, candles = own.closed_trades, _ran(own)
        owners += [label] * len(trades)
        found += trades
        paths.append(excursions(trades, candles.open_time_ms.astype(np.float64), candles.high, candles.low))
        stops.append(own.planned_stops)
    order = np.argsort([trade.exit_ms for trade in found], kind="stable")
    places = order.tolist()
    whole = np.concatenate(paths)[order], np.concatenate(stops)[order]
    return tuple(owners[k] for k in places), tuple(found[k] for k in places), *whole


def _account(made: Portfolio, trades: tuple[Trade, ...], paths: Floats) -> Line:
    """Return the line of the account."""
    start = float(min(own.candles.open_time_ms[0] for own in made.values()))
    times = np.concatenate(([start], made.close_ms.astype(np.float64)))
    rows = np.column_stack([times, np.concatenate(([made.cash], made.equity_curve))])
    fills = tuple(tuple(own.all_fills) for own in made.values())
    return Line("account", "Account", "is-acc", rows, trades, paths, fills, closes=times[1:])


def _line(key: str, label: str, own: Backtest) -> Line:
    """Return the line of one strategy: its own equity and trades."""
    candles, look = _ran(own), dict(zip([f"s{k}" for k in range(len(CURVES))], CURVES, strict=True))
    times = np.concatenate(([float(candles.open_time_ms[0])], own.close_ms.astype(np.float64)))
    rows = np.column_stack([times, np.concatenate(([own.capital], own.equity_curve))])
    trades = tuple(own.closed_trades)
    paths = excursions(trades, candles.open_time_ms.astype(np.float64), candles.high, candles.low)
    fee, worn = float(own.plan.params[at.S_TAKER]), look[key][2] if key in look else ""
    return Line(key, label, worn, rows, trades, paths, (tuple(own.all_fills),), fee=fee, closes=times[1:])


def _index(made: Portfolio) -> Line | None:
    """Return buy and hold with an equal part in each market: bought at its first open, held after its last close."""
    own = {each.candles.symbol: each for each in made.values() if len(each.equity_curve)}
    if not own or len(made.close_ms) < 2:
        return None
    shares = np.ones((len(own), len(made.close_ms) + 1))
    for row, each in zip(shares, own.values(), strict=True):
        candles = _ran(each)
        grown = np.concatenate(([1.0], candles.close / candles.open[0]))
        row[1:] = grown[np.searchsorted(each.close_ms, made.close_ms, side="right")]
    worth = shares.mean(axis=0)
    opens = made.close_ms.astype(np.float64) - next(iter(own.values())).plan.base_ms
    first, last = worth[:-1], worth[1:]
    index = np.column_stack([first, np.maximum(first, last), np.minimum(first, last), last, np.zeros(len(last)), opens])
    fee = float(np.mean([each.plan.params[at.S_TAKER] for each in own.values()]))
    rows = hold(index, made.close_ms.astype(np.float64), made.cash, fee)
    label = f"Buy and hold {next(iter(own))}" if len(own) == 1 else f"Buy and hold {len(own)} markets"
    return Line("hold", label, "is-bh", rows, fee=fee, candles=index)


def _priced(made: Portfolio) -> tuple[Priced, ...]:
    """Return each market with what all strategies traded on it."""
    found = []
    for symbol in dict.fromkeys(own.candles.symbol for own in made.values()):
        own = [each for each in made.values() if each.candles.symbol == symbol and len(each.equity_curve)]
        if own:
            trades = tuple(chain.from_iterable(each.closed_trades for each in own))
            found.append(Priced(symbol, _ran(own[0]), trades, [each.all_fills for each in own]))
    return tuple(found)


def _facts(made: Portfolio) -> tuple[tuple[str, str], ...]:
    """Return what was run, so that it can be run again."""
    facts = [("Account", f"{num(made.cash)} {made.quote}")]
    for label, own in made.items():
        words = f"{own.name} on {own.candles.symbol}, code {own.plan.code_hash[:12]}, capital {num(own.capital)}"
        facts.append((label, words))
    for symbol, own in {own.candles.symbol: own for own in made.values()}.items():
        print_ = fingerprint(own.candles)
        candles = f"{count(int(str(print_['count'])))} of {own.timeframe}, SHA-256 {str(print_['sha256'])[:16]}"
        facts.append((f"Candles of {symbol}", f"{candles}, {own.gaps}"))
    return (*facts, ("stratnb", installed_version()))
