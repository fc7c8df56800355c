"""Replays recorded candles of any number of markets, merged by time, at any speed."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from stratnb.errors import ConfigError, positive
from stratnb.exchange.base import Instant
from stratnb.kernels.layout import C_TIME
from stratnb.model import timeframe_ms

if TYPE_CHECKING:
    from stratnb.market_data.candles import Candles

__all__ = ["ReplayFeed"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


class ReplayFeed:
    """Finished candles by instant: those with the same closing time come together, in the order of the symbols.

    `speed` is a multiple of real time, `math.inf` for as fast as possible.
    """

    def __init__(self, candles: Iterable[Candles], *, speed: float = math.inf, label: str = "") -> None:
        series = tuple(candles)
        _check(series)
        self.symbols = tuple(each.symbol for each in series)
        self.timeframe = series[0].timeframe
        self.synthetic = all(each.is_synthetic for each in series)
        self.label = label or (series[0].symbol if len(series) == 1 else f"{len(series)} markets")
        self.step_ms = timeframe_ms(self.timeframe)
        self.series = series
        times = np.concatenate([each.open_time_ms for each in series])
        market = np.repeat(np.arange(len(series)), [len(each) for each in series])
        place = np.concatenate([np.arange(len(each)) for each in series])
        if len(series) > 1:
            order = np.lexsort((market, times))
            times, market, place = times[order], market[order], place[order]
        self._market, self._place = market, place
        self._starts = np.flatnonzero(np.concatenate(([True], times[1:] != times[:-1], [True])))
        self._opens = times[self._starts[:-1]]
        self.position = 0
        self.speed = speed

    def __repr__(self) -> str:
        """Return label, timeframe and position."""
        return f"<ReplayFeed {self.label}, {self.timeframe}, {self.position}/{len(self)}>"

    def __len__(self) -> int:
        """Return the number of instants."""
        return int(self._opens.size)

    @property
    def speed(self) -> float:
        """Return the speed as a multiple of real time."""
        return self._speed

    @speed.setter
    def speed(self, value: float) -> None:
        """Set the speed; only numbers above 0 are speeds."""
        if not positive(value, infinite=True):
            text = f"speed {repr(value)[:40]} is not a number above 0"
            raise ConfigError("speed", text, value=value, hint="1 is real time, inf is max")
        self._speed: float = float(value)

    @property
    def done(self) -> bool:
        """Return whether everything was replayed."""
        return self.position >= len(self)

    def again(self) -> ReplayFeed:
        """Return the same candles at the same speed from the start."""
        return ReplayFeed(self.series, speed=self._speed, label=self.label)

    @cached_property
    def _rows(self) -> list[Floats]:
        """Return the rows of each series."""
        return [each.rows() for each in self.series]

    @property
    def opens_ms(self) -> Ints:
        """Return when the candles of each instant opened."""
        return self._opens

    def merged(self) -> tuple[Ints, Ints, Ints]:
        """Return the order of all candles: where instants start (one more at the end), market numbers and row numbers.

        The candles of instant k are numbers starts[k]..starts[k + 1] of the other two.
        """
        starts, market, place = (np.asarray(each, np.int64) for each in (self._starts, self._market, self._place))
        return starts, market, place

    def pause_s(self) -> float:
        """Return the seconds between two instants at the present speed, 0 at max."""
        return 0.0 if math.isinf(self._speed) else self.step_ms / 1000.0 / self._speed

    def seek(self, close_ms: int) -> dict[str, Floats]:
        """Go on after the instant that closed at a time; return the candles up to it by symbol."""
        self.position = int(np.searchsorted(self._opens, close_ms - self.step_ms, side="right"))
        until = close_ms - self.step_ms
        return {
            symbol: rows[: int(np.searchsorted(rows[:, C_TIME], until, side="right"))]
            for symbol, rows in zip(self.symbols, self._rows, strict=True)
        }

    def next(self) -> Instant | None:
        """Return the next instant, None at the end."""
        if self.done:
            return None
        k = self.position
        self.position = k + 1
        candles = []
        for j in range(self._starts[k], self._starts[k + 1]):
            market = int(self._market[j])
            candles.append((market, self._rows[market][self._place[j]]))
        return Instant(int(self._opens[k]) + self.step_ms, candles)


def _check(series: Sequence[Candles]) -> None:
    if not series or not any(len(each) for each in series):
        raise ConfigError("no_candles", "there is nothing to replay", hint="give candles of at least one market")
    timeframes = sorted({each.timeframe for each in series})
    if len(timeframes) > 1:
        raise ConfigError(
            "timeframe_mixed",
            f"the candles have different timeframes: {', '.join(timeframes)}",
            value=timeframes,
            hint="resample them to one timeframe first",
        )
    names = [each.symbol for each in series]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ConfigError(
            "duplicate_symbol",
            f"more than one series of {', '.join(twice)}",
            value=twice,
            hint="name them with symbol=",
        )
