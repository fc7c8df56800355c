"""A recorded run in one form, whatever kept it: a backtest, a saved run, an engine, a journal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from stratnb.engine import Engine
from stratnb.errors import ConfigError, nearest
from stratnb.journal.reader import JournalReader
from stratnb.kernels import layout as at
from stratnb.market_data.candles import VALUES, Candles
from stratnb.model import TIMEFRAMES, Fill, Market
from stratnb.research.backtest import Backtest
from stratnb.research.runs import SavedRun
from stratnb.services.ledger import AccountLimits

__all__ = ["Recorded", "recorded_of"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Recorded:
    """What is known of a run; None where it is not known.

    `denied` has the code of each denied entry by the open time of the candle that was decided on; `denials` only their
    number. `close_ms` are the closing times of the candles that the run saw, `candles` these candles themselves.
    `funding` is what was received less what was paid, in quote units. `since_ms` is when entries were switched on.
    """

    name: str
    symbol: str
    fills: tuple[Fill, ...]
    document: Mapping[str, Any] | None = None
    base: Mapping[str, Any] | None = None
    overrides: Mapping[str, Any] | None = None
    market: Market | None = None
    limits: AccountLimits | None = None
    cash: float | None = None
    candles: Candles | None = None
    close_ms: Ints | None = None
    fingerprint: Mapping[str, Any] | None = None
    denied: Mapping[int, str] | None = None
    denials: int = 0
    funding: float = 0.0
    since_ms: int | None = None
    notes: tuple[str, ...] = ()


def recorded_of(source: Any, strategy_id: str | None = None, *, candles: Candles | None = None) -> Recorded:
    """Return a recorded run; `strategy_id` chooses one of an engine's or a journal's, `candles` those that it saw.

    Raises `ConfigError` for what keeps no run, and for an id that is not in it.
    """
    if isinstance(source, Recorded):
        return source if candles is None else replace(source, candles=candles)
    if isinstance(source, Backtest):
        return _of_backtest(source, candles or source.candles)
    if isinstance(source, SavedRun):
        return _of_saved(source, candles)
    if isinstance(source, Engine):
        return _of_engine(source, strategy_id, candles)
    if isinstance(source, JournalReader):
        return _of_journal(source, strategy_id, candles)
    if isinstance(source, str | Path):
        with JournalReader.open(source) as reader:
            return _of_journal(reader, strategy_id, candles)
    hint = "give a backtest, a saved run, an engine, or a journal (its reader or its path)"
    raise ConfigError("type", f"{type(source).__name__} is no recorded run", value=repr(source)[:80], hint=hint)


def _of_backtest(test: Backtest, candles: Candles) -> Recorded:
    rows = test.decision_rows
    return Recorded(
        name=test.name,
        symbol=test.candles.symbol,
        fills=tuple(test.all_fills),
        document=test.plan.config.to_document(),
        market=test.plan.market,
        limits=test.limits or AccountLimits(),
        cash=float(test.account[at.A_START]),
        candles=candles[: len(test.equity_curve)],
        denied=denied_of(rows) if len(rows) else None,
        denials=sum(test.denials.values()),
    )


def _of_saved(run: SavedRun, candles: Candles | None) -> Recorded:
    return Recorded(
        name=run.name,
        symbol=run.symbol,
        fills=run.all_fills,
        document=run.document,
        market=Market(**{**run.market, "inferred": tuple(run.market.get("inferred", ()))}),
        limits=None if run.limits is None else AccountLimits(**run.limits),
        cash=run.cash,
        candles=candles,
        close_ms=run.close_ms,
        fingerprint=run.candles if candles is None else None,
        denials=sum(run.denials.values()),
    )


def _of_engine(engine: Engine, strategy_id: str | None, candles: Candles | None) -> Recorded:
    desk = engine.desk
    key = _chosen(strategy_id, [record.strategy_id for record in engine.list()])
    context = desk.lane(key).context
    settings = engine.settings
    return Recorded(
        name=context.name,
        symbol=context.symbol,
        fills=tuple(context.book.fills()),
        document=context.config.to_document(),
        market=context.plan.market,
        limits=settings.limits,
        cash=settings.cash,
        candles=candles,
        denied=denied_of(desk.store.decisions(key).rows()),
        since_ms=next(record.activated_ms for record in engine.list() if record.strategy_id == key),
    )


def _of_journal(reader: JournalReader, strategy_id: str | None, candles: Candles | None) -> Recorded:
    with reader.together():
        key = _chosen(strategy_id, [row["strategy_id"] for row in reader.rows("strategies")])
        of = {"strategy_id": key}
        told = reader.one("strategies", of)
        assert told is not None, "the id was just found"
        fills, ledger, decisions = (reader.rows(name, where=of) for name in ("fills", "ledger", "decisions"))
        seen = reader.rows("candles", where={"symbol": told["symbol"]})
    rows = [np.frombuffer(row["row"]) for row in decisions]
    decided = np.array([row[: at.W_DECISION] for row in rows]) if rows else np.empty((0, at.W_DECISION))
    cells = {row["reference"]: row for row in ledger if row["kind"] == "fill"}
    paid = [row["realized"] - row["fee"] for row in ledger if row["kind"] == "funding"]
    return Recorded(
        name=told["name"],
        symbol=told["symbol"],
        fills=tuple(_fill(row, cells) for row in fills),
        document=told["document"]["document"],
        base=told["document"].get("base"),
        overrides=told["overrides"],
        candles=candles if candles is not None else _candles(told["symbol"], seen),
        denied=denied_of(decided),
        funding=float(sum(paid)),
        since_ms=told["activated_ms"],
    )


def _fill(row: Mapping[str, Any], ledger: Mapping[str, Mapping[str, Any]]) -> Fill:
    """Return a fill of the journal; what the ledger knows of it, it says."""
    cells = np.frombuffer(row["row"]) if row["row"] else None
    entry = ledger.get(row["fill_id"], {})
    names = ("strategy_id", "symbol", "side", "quantity", "price", "fee", "time_ms")
    return Fill(
        **{name: row[name] for name in names},
        reason=row["reason"] or "",
        realized_pnl=float(entry.get("realized") or 0.0),
        position_after=float(entry.get("position_after") or 0.0),
        trade_no=0 if cells is None else int(cells[at.F_TRADE]),
    )


def _candles(symbol: str, rows: list[dict[str, Any]]) -> Candles | None:
    """Return the candles that a journal kept of a market, None when they are none or too few to tell their length."""
    if len(rows) < 2:
        return None
    times = np.array([row["open_time_ms"] for row in rows], np.int64)
    order, step = np.argsort(times), int(np.diff(np.sort(times)).min())
    name = next((name for name, length in TIMEFRAMES.items() if length == step), None)
    columns = (np.array([row[word] for row in rows], float)[order] for word in VALUES)
    return None if name is None else Candles(symbol, name, times[order], *columns)


def denied_of(decisions: Floats) -> dict[int, str]:
    """Return the code of each denied entry by the open time of its candle."""
    words = {code: at.DECISION_REASONS[code] for code in at.DENIALS}
    return {int(row[at.D_TIME]): words[int(row[at.D_REASON])] for row in decisions if int(row[at.D_REASON]) in words}


def _chosen(strategy_id: str | None, known: Iterable[str]) -> str:
    """Return the id, or the only one there is."""
    names = list(known)
    if strategy_id in names:
        return str(strategy_id)
    if strategy_id is None and len(names) == 1:
        return names[0]
    close = nearest(strategy_id or "", names)
    hint = f"did you mean {' or '.join(map(repr, close))}?" if close else f"it has {', '.join(names) or 'none'}"
    text = f"strategy {strategy_id!r} is not in this run"
    if strategy_id is None:
        text = f"the run has {len(names)} strategies" if names else "the run has no strategy"
    raise ConfigError("unknown_strategy", text, value=strategy_id, hint=hint)
