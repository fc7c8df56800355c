"""Things that look ahead, each beside an honest one that does the same without: the catalogue of `lookahead`.

Functions of candles or of their frame, simulators that return fills or trades, and blocks that smuggle a series in.
None of the blocks is registered.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pandas as pd

from stratnb.blocks.base import Analyzer, Block, Indicator, Input
from stratnb.kernels.jit import kernel, python
from stratnb.market_data import synthetic_market
from stratnb.market_data.candles import Candles

Floats = npt.NDArray[np.float64]
N = 360
CANDLES = synthetic_market(["BTC/USDT"], candles=N, seed=11)[0]
CLOSE = CANDLES.close.copy()
AHEAD = np.append(CLOSE[1:], CLOSE[-1])
SCORES = (CLOSE - CLOSE.mean()) / CLOSE.std()
SHELF = {"deep": {"close": CLOSE}}
WINDOW, SPREAD, STOP, SLIP = 8, 21, 0.004, 0.0005


# Functions: one value per candle.
def peek(frame: pd.DataFrame) -> pd.Series:
    return (frame["close"].shift(-1) > frame["close"]).astype(float)


def no_peek(frame: pd.DataFrame) -> pd.Series:
    return (frame["close"] > frame["close"].shift(1)).astype(float)


def peek_of_arrays(candles: Candles) -> Floats:
    return np.append(candles.high[1:], math.nan)


def no_peek_of_arrays(candles: Candles) -> Floats:
    return np.append(math.nan, candles.high[:-1])


def whole_sample_score(frame: pd.DataFrame) -> pd.Series:
    return (frame["close"] - frame["close"].mean()) / frame["close"].std()


def expanding_score(frame: pd.DataFrame) -> pd.Series:
    past = frame["close"].expanding()
    return (frame["close"] - past.mean()) / past.std()


def whole_sample_quantile(frame: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame({"loud": frame["volume"] > frame["volume"].quantile(0.9), "close": frame["close"]})


def centered(frame: pd.DataFrame) -> pd.Series:
    return frame["close"].rolling(SPREAD, center=True).mean()


def trailing(frame: pd.DataFrame) -> pd.Series:
    return frame["close"].rolling(SPREAD).mean()


def unfinished(frame: pd.DataFrame) -> pd.Series:
    return frame["close"].resample("15min").last().reindex(frame.index, method="ffill")


def unfinished_high(frame: pd.DataFrame) -> pd.Series:
    return frame["high"].groupby(frame.index.floor("15min")).transform("max")


def unfinished_rows(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.resample("15min").agg({"open": "first", "close": "last"})


def finished(frame: pd.DataFrame) -> pd.Series:
    closes = frame["close"].resample("15min").last()
    closes.index = closes.index + pd.Timedelta("14min")  # known with its last minute
    return closes[closes.index <= frame.index[-1]].reindex(frame.index, method="ffill")


def level_at_once(frame: pd.DataFrame) -> pd.Series:
    high = frame["high"]
    return high.where(high == high.rolling(2 * 3 + 1, center=True).max())


def level_confirmed(frame: pd.DataFrame) -> pd.Series:
    high = frame["high"]
    return high.shift(3).where(high.shift(3) == high.rolling(2 * 3 + 1).max())


def filled_backward(frame: pd.DataFrame) -> pd.Series:
    seldom = frame["close"].where(np.arange(len(frame)) % 40 == 39)
    return seldom.bfill()


def filled_forward(frame: pd.DataFrame) -> pd.Series:
    seldom = frame["close"].where(np.arange(len(frame)) % 40 == 39)
    return seldom.ffill()


def seldom_peek(candles: Candles) -> dict[str, Floats]:
    """One signal in a hundred candles, and it knows the next one."""
    rare = np.zeros(len(candles))
    rare[100::100] = np.sign(np.diff(candles.close, append=candles.close[-1]))[100::100]
    return {"rare": rare, "close": candles.close}


def seldom(candles: Candles) -> dict[str, Floats]:
    rare = np.zeros(len(candles))
    rare[100::100] = np.sign(np.diff(candles.close, prepend=candles.close[0]))[100::100]
    return {"rare": rare, "close": candles.close}


# Simulators: an entry at the open when the last candle rose, a stop below it, out after some candles.
def _walk(candles: Candles, *, skips: bool = False, leaves: bool = False, peeks: bool = False) -> list[dict[str, Any]]:
    fills: list[dict[str, Any]] = []
    entry, since = 0.0, 0
    o, low, close, times = candles.open, candles.low, candles.close, candles.open_time_ms

    def fill(k: int, side: str, price: float) -> None:
        fills.append({"time_ms": int(times[k]), "side": side, "price": price, "quantity": 1.0})

    for k in range(2, len(candles)):
        if entry:
            stop = entry * (1.0 - STOP)
            if o[k] <= stop or (leaves and low[k] <= stop) or k - since >= WINDOW:
                fill(k, "sell", o[k] * (1.0 - SLIP))
                entry = 0.0
            elif low[k] <= stop:
                fill(k, "sell", max(stop * (1.0 - SLIP), low[k]))
                entry = 0.0
        elif close[k - 1] > close[k - 2] if not peeks else close[k] > close[k - 1]:
            entry, since = o[k] * (1.0 + SLIP), k
            if skips and low[k] <= entry * (1.0 - STOP):
                entry = 0.0
                continue
            fill(k, "buy", entry)
            if low[k] <= entry * (1.0 - STOP):
                fill(k, "sell", max(entry * (1.0 - STOP), low[k]))
                entry = 0.0
    return fills


def entry_that_knows_its_low(candles: Candles) -> list[dict[str, Any]]:
    return _walk(candles, skips=True)


def stop_that_knows_the_low_at_the_open(candles: Candles) -> list[dict[str, Any]]:
    return _walk(candles, leaves=True)


def entry_that_knows_its_close(candles: Candles) -> list[dict[str, Any]]:
    return _walk(candles, peeks=True)


def honest_fills(candles: Candles) -> list[dict[str, Any]]:
    return _walk(candles)


def _trades(fills: list[dict[str, Any]]) -> pd.DataFrame:
    rows = [
        {"entry_ms": a["time_ms"], "exit_ms": b["time_ms"], "entry_price": a["price"], "exit_price": b["price"]}
        for a, b in zip(fills[::2], fills[1::2], strict=False)
    ]
    frame = pd.DataFrame(rows, columns=["entry_ms", "exit_ms", "entry_price", "exit_price"])
    for side in ("entry", "exit"):
        frame[side] = pd.to_datetime(frame.pop(f"{side}_ms"), unit="ms", utc=True)
    return frame


def trades_that_know_their_low(candles: Candles) -> pd.DataFrame:
    return _trades(_walk(candles, skips=True))


def trades_that_know_the_low_at_the_open(candles: Candles) -> pd.DataFrame:
    return _trades(_walk(candles, leaves=True))


def honest_trades(candles: Candles) -> pd.DataFrame:
    return _trades(_walk(candles))


# Blocks that bring a series along.
def _closure(series: Floats) -> Callable[..., None]:
    def step(i: int, state: Floats, x: Floats, out: Floats, p: Floats) -> None:
        out[0] = series[min(i + 1, len(series) - 1)] - x[0]

    return step


class ClosurePeek(Indicator):
    """Reads the next close from a closure."""

    step = staticmethod(python(_closure(CLOSE)))  # type: ignore[assignment]


class GlobalPeek(Indicator):
    """Reads the next close from a global array that is compiled in."""

    @staticmethod
    @kernel
    def step(i: int, state: Floats, x: Floats, out: Floats, p: Floats) -> None:
        out[0] = AHEAD[i]


class GlobalScore(Indicator):
    """Reads a score of the whole sample: one value per candle, none of them ahead by itself."""

    @staticmethod
    @kernel
    def step(i: int, state: Floats, x: Floats, out: Floats, p: Floats) -> None:
        out[0] = SCORES[i]


class ShelfPeek(Analyzer):
    """Reads the next close from a dictionary of a module."""

    def inputs(self) -> tuple[Input, ...]:
        return ("close",)

    @staticmethod
    @python
    def step(i: int, state: Floats, x: Floats, out: Floats, p: Floats) -> None:
        series = SHELF["deep"]["close"]
        out[0], out[1] = (1.0 if series[min(i + 1, len(series) - 1)] > x[0] else -1.0), 0.9


class ParameterPeek(Indicator):
    """Is given the closes as parameters."""

    structural: ClassVar[frozenset[str]] = frozenset({"on", "series"})
    series: tuple[float, ...] = tuple(CLOSE.tolist())

    def p(self) -> list[float]:
        return list(self.series)

    @staticmethod
    @kernel
    def step(i: int, state: Floats, x: Floats, out: Floats, p: Floats) -> None:
        out[0] = p[min(i + 1, p.size - 1)]


class Score(Indicator):
    """A score with a fixed mean and deviation."""

    mean: float = 0.0
    deviation: float = 1.0

    @staticmethod
    @kernel
    def step(i: int, state: Floats, x: Floats, out: Floats, p: Floats) -> None:
        out[0] = (x[0] - p[0]) / p[1]


def score_of_all(candles: Candles) -> Block:
    """Build a block from figures of the whole sample."""
    return Score(mean=float(candles.close.mean()), deviation=float(candles.close.std()))


def score_of_the_first(candles: Candles) -> Block:
    return Score(mean=float(candles.close[0]), deviation=1.0)


TABLE = np.linspace(0.0, 1.0, 24)


class HourTable(Indicator):
    """Reads a short table of its module: no series of candles."""

    def inputs(self) -> tuple[Input, ...]:
        return ("open_time_ms",)

    @staticmethod
    @kernel
    def step(i: int, state: Floats, x: Floats, out: Floats, p: Floats) -> None:
        out[0] = TABLE[int(x[0] // 3_600_000.0) % 24]


LEAKY: Mapping[str, Any] = {
    "one-candle peek": peek,
    "one-candle peek, arrays": peek_of_arrays,
    "one-candle peek, seldom": seldom_peek,
    "whole-sample z-score": whole_sample_score,
    "whole-sample quantile": whole_sample_quantile,
    "centered window": centered,
    "resample of the unfinished candle": unfinished,
    "resample of the unfinished candle, high": unfinished_high,
    "resample of the unfinished candle, rows": unfinished_rows,
    "level before its confirmation": level_at_once,
    "filled backward": filled_backward,
    "entry that knows its low": entry_that_knows_its_low,
    "entry that knows its close": entry_that_knows_its_close,
    "stop that sees the low before the open": stop_that_knows_the_low_at_the_open,
    "entry that knows its low, trades": trades_that_know_their_low,
    "stop that sees the low before the open, trades": trades_that_know_the_low_at_the_open,
    "block with a closure": ClosurePeek,
    "block with a global": GlobalPeek,
    "block with a global score": GlobalScore,
    "block with a dictionary": ShelfPeek,
    "block with parameters": ParameterPeek,
    "block built from the whole sample": score_of_all,
}
HONEST: Mapping[str, Any] = {
    "last candle": no_peek,
    "last candle, arrays": no_peek_of_arrays,
    "last candle, seldom": seldom,
    "expanding z-score": expanding_score,
    "trailing window": trailing,
    "resample of finished candles": finished,
    "level when confirmed": level_confirmed,
    "filled forward": filled_forward,
    "fills with a stop": honest_fills,
    "trades with a stop": honest_trades,
    "block with fixed parameters": Score(mean=100.0, deviation=3.0),
    "block built from the first candle": score_of_the_first,
    "block with a table of hours": HourTable,
}
