"""The figures of strategies and of the system again, from nothing but the rows of a journal (multi_strategy 12)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from stratnb.kernels import layout as at
from stratnb.model import timeframe_ms
from stratnb.multi.stats import StrategyStats, SystemStats, daily_sharpe, fold_stats
from stratnb.multi.tally import up_s

if TYPE_CHECKING:
    from stratnb.journal import JournalReader
    from stratnb.multi.desk import Desk

__all__ = ["Walk", "fold_strategy", "fold_system", "load_tallies", "walk"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Row = dict[str, Any]
FEED = {"strategy_id": ""}
BEFORE, MARKED, BY_HAND, AFTER = range(4)  # what happens at one moment, in this order


@dataclass(frozen=True, slots=True)
class Walk:
    """A sub-ledger's result whenever it was marked: keys (4 x ms + order), result, shift of its peak."""

    keys: Ints
    result: Floats
    shift: Floats
    open_pnl: float
    quantity: float

    def drawdown(self, capital: float) -> float:
        """Return the largest fall of capital + result from its running peak; lots that came or left move the peak."""
        equity = np.concatenate(([capital], capital + self.result))
        shift = np.concatenate(([0.0], self.shift))
        peak = np.maximum.accumulate(equity - shift) + shift
        falls = 1.0 - equity[peak > 0.0] / peak[peak > 0.0]
        return float(falls.max(initial=0.0))


def fold_strategy(reader: JournalReader, strategy_id: str) -> StrategyStats:
    """Return a strategy's figures from the journal's rows."""
    with reader.together():
        return _Fold(reader).strategy(reader.rows("strategies", where={"strategy_id": strategy_id})[0])


def fold_system(reader: JournalReader) -> SystemStats:
    """Return the system's figures from the journal's rows."""
    with reader.together():
        return _Fold(reader).system()


def load_tallies(desk: Desk, reader: JournalReader) -> None:
    """Let the counters of a restored desk go on where an earlier run's stopped."""
    fold = _Fold(reader)
    for lane in desk.lanes():
        key, tally = lane.context.strategy_id, lane.tally
        row = reader.rows("strategies", where={"strategy_id": key})[0]
        made = fold.walked(row)
        capital = float(lane.context.book.row[at.B_CAPITAL])
        tally.load_days(made.keys // 4, capital + made.result)
        tally.decisions = reader.count("decisions", {"strategy_id": key})
        tally.load_slips(fold.slips(row))


def walk(ledger: Sequence[Row], candles: Floats, *, step_ms: int) -> Walk:
    """Walk entries of a ledger and candles (n, 6) of its market; entries made between two instants count at once."""
    closes = candles[:, at.C_TIME].astype(np.int64) + step_ms
    booked = np.array([row["ts_ns"] // 1_000_000 for row in ledger], np.int64)
    by_hand = np.array([row["time_ms"] for row in ledger], np.int64) >= booked
    keys = 4 * booked + np.where(by_hand, BY_HAND, BEFORE)
    moments = np.unique(np.concatenate((4 * closes + MARKED, 4 * booked[by_hand] + AFTER)))
    held, paid, shift = _positions(ledger, candles, closes)
    seen = np.searchsorted(keys, moments, side="right")
    newest = np.searchsorted(4 * closes + MARKED, moments, side="right") - 1
    price = np.where(newest >= 0, candles[np.maximum(newest, 0), at.C_CLOSE] if len(candles) else 0.0, 0.0)
    open_pnl = np.where(held[seen, 0] != 0.0, held[seen, 0] * (price - held[seen, 1]), 0.0)
    last = float(open_pnl[-1]) if len(open_pnl) else 0.0
    return Walk(moments, paid[seen] + open_pnl, shift[seen], last, float(held[-1, 0]))


def _positions(ledger: Sequence[Row], candles: Floats, closes: Ints) -> tuple[Floats, Floats, Floats]:
    """Return quantity with average price, realized result after fees, and shift of the peak before and after each."""
    held, paid, shift = np.zeros((len(ledger) + 1, 2)), np.zeros(len(ledger) + 1), np.zeros(len(ledger) + 1)
    quantity = average = result = moved = 0.0
    for k, row in enumerate(ledger, 1):
        before, after = quantity, float(row["position_after"])
        if before == 0.0 or before * after < 0.0:
            average = row["price"]
        elif abs(after) > abs(before):
            average = (abs(before) * average + abs(row["quantity"]) * row["price"]) / abs(after)
        quantity, result = after, result + row["realized"] - row["fee"]
        if row["kind"] in ("transfer", "adjust"):
            newest = int(np.searchsorted(closes, row["ts_ns"] // 1_000_000, side="right")) - 1
            mark = float(candles[newest, at.C_CLOSE]) if newest >= 0 else row["price"]
            moved += row["quantity"] * (mark - row["price"])
        held[k], paid[k], shift[k] = (quantity, average), result, moved
    return held, paid, shift


class _Fold:
    """Reads one state of a journal."""

    def __init__(self, reader: JournalReader) -> None:
        self._reader = reader
        mark = reader.one("watermarks", FEED)
        self._now_ms = int(mark["open_time_ms"]) if mark else 0
        self._candles: dict[str, Floats] = {}
        firsts = [rows[0]["open_time_ms"] for rows in [reader.rows("candles", order="open_time_ms", limit=1)] if rows]
        self._first_ms = min(firsts, default=self._now_ms)
        self._step_ms = self._step()

    def _step(self) -> int:
        mark = self._reader.one("watermarks", FEED)
        return timeframe_ms(mark["timeframe"]) if mark else 1

    def candles(self, symbol: str) -> Floats:
        """Return the candles of a market."""
        if symbol not in self._candles:
            rows = self._reader.rows("candles", where={"symbol": symbol}, order="open_time_ms")
            names = ("open", "high", "low", "close", "volume", "open_time_ms")
            cells = [[row[name] for name in names] for row in rows]
            self._candles[symbol] = np.array(cells, float) if cells else np.empty((0, at.W_CANDLE))
        return self._candles[symbol]

    def ledger(self, row: Row) -> list[Row]:
        """Return the entries of a strategy since it was loaded."""
        found = self._reader.rows("ledger", where={"strategy_id": row["strategy_id"]}, order="seq")
        return [each for each in found if each["ts_ns"] // 1_000_000 >= row["loaded_ms"]]

    def walked(self, row: Row) -> Walk:
        """Return the results of a strategy at all moments since it was loaded."""
        candles = self.candles(row["symbol"])
        later = candles[candles[:, at.C_TIME] + self._step_ms > row["loaded_ms"]]
        return walk(self.ledger(row), later, step_ms=self._step_ms)

    def slips(self, row: Row) -> list[float]:
        """Return the loss of each order at market against the price that it met, as fractions."""
        candles = self.candles(row["symbol"])
        at_market = {
            order["client_id"]
            for order in self._reader.rows("orders", where={"strategy_id": row["strategy_id"]})
            if order["purpose"] not in ("s", "t")
        }
        fills = self._reader.rows("fills", where={"strategy_id": row["strategy_id"]}, order="seq")
        found = []
        for fill in fills:
            if fill["client_id"] in at_market and fill["ts_ns"] // 1_000_000 >= row["loaded_ms"]:
                k = int(np.searchsorted(candles[:, at.C_TIME], fill["time_ms"]))
                inside = fill["time_ms"] < fill["ts_ns"] // 1_000_000
                met = candles[k, at.C_OPEN] if inside else candles[k - 1, at.C_CLOSE]
                sign = 1.0 if fill["side"] == "buy" else -1.0
                found.append(sign * (fill["price"] / float(met) - 1.0))
        return found

    def strategy(self, row: Row) -> StrategyStats:
        """Return the figures of a row of the table `strategies`."""
        reader, slips = self._reader, self.slips(row)
        where = {"strategy_id": row["strategy_id"]}
        seen = reader.rows("watermarks", where=where)
        fills = [each for each in self.ledger(row) if each["kind"] == "fill"]
        told = {name: row[name] for name in ("strategy_id", "name", "symbol", "label", "state", "loaded_ms")}
        return StrategyStats(
            **told,
            **self._money(row),
            **_of_trades([e for e in reader.rows("trades", where=where) if e["entry_ms"] >= row["loaded_ms"]]),
            uptime_s=up_s((row["flags"] or {}).get("up", {}), self._now_ms, self._first_ms),
            last_trade_ms=fills[-1]["time_ms"] if fills else None,
            candles=seen[0]["candles"] if seen else 0,
            decisions=reader.count("decisions", where),
            entries=sum(each["reason"] == "entry" for each in fills),
            denials_by_code={each["code"]: each["count"] for each in reader.rows("denials", where=where)},
            slippage_mean=float(np.mean(slips)) if slips else None,
        )

    def _money(self, row: Row) -> Row:
        """Return results, costs and what the equity did."""
        book = np.frombuffer(self._reader.rows("risk_state", where={"scope": row["strategy_id"]})[0]["row"])
        capital, ledger, made = float(book[at.B_CAPITAL]), self.ledger(row), self.walked(row)
        realized = sum(each["realized"] - each["fee"] for each in ledger)
        ratio, _ = daily_sharpe(
            made.keys // 4,
            capital + made.result,
            capital=capital,
            begin_ms=max(row["loaded_ms"], self._first_ms),
            now_ms=self._now_ms,
            equity=capital + realized + made.open_pnl,
        )
        return {
            "open_positions": int(made.quantity != 0.0),
            "realized_pnl": realized,
            "unrealized_pnl": made.open_pnl,
            "total_pnl": realized + made.open_pnl,
            "fees": sum(each["fee"] for each in ledger if each["kind"] != "funding"),
            "funding": sum(each["fee"] for each in ledger if each["kind"] == "funding"),
            "max_drawdown": made.drawdown(capital),
            "sharpe": ratio,
        }

    def system(self) -> SystemStats:
        """Return the figures of all strategies together."""
        rows = self._reader.rows("strategies", order="place")
        live = self._reader.one("live_state", {"id": 1})
        shown = live["payload"] if live else {}
        return fold_stats(
            [self.strategy(row) for row in rows if row["state"] != "removed"],
            mode=shown.get("mode", ""),
            drawdown=self._drawdown(rows),
            memory_bytes=shown.get("cache", {}).get("resident_bytes"),
            uptime_s=max(0, self._now_ms - self._first_ms) / 1000.0,
            updated_ms=self._now_ms,
        )

    def _drawdown(self, rows: Sequence[Row]) -> float:
        """Return the largest fall of the account: of all strategies there ever were, and other owners, together."""
        account = np.frombuffer(self._reader.rows("risk_state", where={"scope": ""})[0]["row"])
        loaded = {row["strategy_id"]: row["loaded_ms"] for row in rows if row["state"] != "removed"}
        gone, total, owners = {row["strategy_id"] for row in rows} - set(loaded), 0.0, defaultdict[str, list[Row]](list)
        for entry in self._reader.rows("ledger", order="seq"):
            key = entry["strategy_id"]
            owners[key].append(entry)
            if key in gone or entry["ts_ns"] // 1_000_000 < loaded.get(key, 0):
                total += entry["realized"] - entry["fee"]
        for row in rows:
            owners.setdefault(row["strategy_id"], [])
        symbols = {row["strategy_id"]: row["symbol"] for row in rows}
        walks = [
            walk(ledger, self.candles(ledger[0]["symbol"] if ledger else symbols[key]), step_ms=self._step_ms)
            for key, ledger in owners.items()
        ]
        return _together(walks).drawdown(float(account[at.A_START]) - total) if walks else 0.0


def _together(walks: Sequence[Walk]) -> Walk:
    """Return the sum of several results; what has no moment of its own stays as it was."""
    keys = np.unique(np.concatenate([each.keys for each in walks]))
    total = np.zeros(len(keys))
    for each in walks:
        known = np.concatenate(([0.0], each.result))
        total += known[np.searchsorted(each.keys, keys, side="right")]
    return Walk(keys, total, np.zeros(len(keys)), 0.0, 0.0)


def _of_trades(trades: Sequence[Row]) -> Row:
    """Return the figures of closed round trips."""
    pnls = [each["pnl"] for each in trades]
    holds = [(each["exit_ms"] - each["entry_ms"]) / 1000.0 for each in trades]
    gains, losses = sum(pnl for pnl in pnls if pnl > 0), -sum(pnl for pnl in pnls if pnl < 0)
    wins = sum(pnl > 0 for pnl in pnls)
    return {
        "closed_positions": len(trades),
        "total_trades": len(trades),
        "wins": wins,
        "losses": sum(pnl < 0 for pnl in pnls),
        "win_rate": wins / len(trades) if trades else None,
        "profit_factor": gains / losses if losses > 0 else None,
        "avg_hold_s": float(np.mean(holds)) if holds else None,
        "best_trade": max(pnls, default=None),
        "worst_trade": min(pnls, default=None),
    }
