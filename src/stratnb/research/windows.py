"""The windows of a walk-forward: where each training and each test begins and ends."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from stratnb.errors import ConfigError, Finding, nearest
from stratnb.market_data.candles import Candles

__all__ = ["Mode", "Span", "Spans", "Window", "windows_of"]

Span = int | str | timedelta
Mode = Literal["rolling", "anchored"]
Ints = npt.NDArray[np.int64]

MODES: Final = ("rolling", "anchored")
UNITS: Final = {"m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}
_TEXT = re.compile(r"\s*(\d{1,9})\s*([mhdw])\s*")
LENGTHS: Final = "a number of candles, or a time such as '30d', '12h' or timedelta(days=30)"


@dataclass(frozen=True, slots=True)
class Window:
    """Positions of candles: train[0]:train[1] chooses, test[0]:test[1] is traded with the choice."""

    train: tuple[int, int]
    test: tuple[int, int]


@dataclass(frozen=True, slots=True)
class _Length:
    """A length in candles, or in milliseconds."""

    candles: int = 0
    ms: int = 0


class Spans(NamedTuple):
    """What windows are made of; lengths are candles (int) or time.

    Tests begin a `step` apart: the length of a test when None, so that they follow each other without a gap. A training
    window of length `train` ends where its test begins, less `embargo`, which nobody uses; its last `purge` candles are
    left out, for trades opened there reach on. Rolling windows keep their length, anchored ones begin with the first
    candle.
    """

    train: Span
    test: Span
    mode: Mode = "rolling"
    purge: Span = 0
    embargo: Span = 0
    step: Span | None = None


def windows_of(candles: Candles, spans: Spans) -> tuple[Window, ...]:
    """Return the windows over candles, oldest first; the tests do not overlap.

    Only whole test windows are made. Raises `ConfigError("windows")` with every fault.

    >>> from stratnb.market_data import synthetic_market
    >>> windows_of(synthetic_market(["BTC/USDT"], candles=100)[0], Spans(train=50, test=20, purge=5))
    (Window(train=(0, 45), test=(50, 70)), Window(train=(20, 65), test=(70, 90)))
    """
    train, test, mode, purge, embargo, step = spans
    faults: list[Finding] = []
    if mode not in MODES:
        close = nearest(str(mode), MODES) or MODES
        hint = f"did you mean {' or '.join(map(repr, close))}?"
        faults.append(Finding("mode", "enum", f"{mode!r} is not known", mode, hint))
    given = {"train": (train, 1), "test": (test, 1), "purge": (purge, 0), "embargo": (embargo, 0)}
    if step is not None:
        given["step"] = (step, 1)
    lengths = {name: _length(name, span, least, candles, faults) for name, (span, least) in given.items()}
    _raise(faults)
    grid = _Grid(candles)
    first = grid.after(grid.after(0, lengths["train"]), lengths["embargo"])
    if grid.before(grid.after(0, lengths["train"]), lengths["purge"]) <= 0:
        text = f"purge {purge!r} leaves nothing of train {train!r}"
        faults.append(Finding("purge", "range", text, purge, "make the training longer"))
    if not grid.holds(first, lengths["test"]):
        days = (candles.close_time_ms[-1] - candles.open_time_ms[0]) / UNITS["d"]
        text = f"train {train!r}, embargo {embargo!r} and test {test!r} do not fit in {len(candles)} candles"
        hint = f"they are {days:.3g} days of {candles.timeframe}: shorten the windows or load more candles"
        faults.append(Finding("train", "too_long", text, train, hint))
    if step is not None and grid.after(first, lengths["step"]) < grid.after(first, lengths["test"]):
        text = f"step {step!r} is shorter than test {test!r}: candles would be traded twice"
        faults.append(Finding("step", "range", text, step, "give at least the length of a test"))
    _raise(faults)
    found = []
    while grid.holds(first, lengths["test"]):
        end, stop = grid.before(first, lengths["embargo"]), grid.after(first, lengths["test"])
        start = 0 if mode == "anchored" else grid.before(end, lengths["train"])
        found.append(Window((start, grid.before(end, lengths["purge"])), (first, stop)))
        first = stop if step is None else grid.after(first, lengths["step"])
    return tuple(found)


class _Grid:
    """Moves along candles by counts or by time; the end counts as the close of the last candle."""

    def __init__(self, candles: Candles) -> None:
        last = candles.close_time_ms[-1:]
        self.times: Ints = np.concatenate((candles.open_time_ms, last))

    def after(self, place: int, length: _Length) -> int:
        """Return the first candle that is a length or more behind a place, at most the end."""
        last = len(self.times) - 1
        if not length.ms:
            return min(place + length.candles, last)
        return min(int(np.searchsorted(self.times, self.times[place] + length.ms)), last)

    def before(self, place: int, length: _Length) -> int:
        """Return the first candle that is at most a length before a place, at least the first."""
        if not length.ms:
            return max(place - length.candles, 0)
        return int(np.searchsorted(self.times, self.times[place] - length.ms))

    def holds(self, place: int, length: _Length) -> bool:
        """Tell whether a whole length follows a place."""
        if not length.ms:
            return bool(place + length.candles < len(self.times))
        return bool(self.times[place] + length.ms <= self.times[-1] and place < len(self.times) - 1)


def _length(name: str, span: Span, least: int, candles: Candles, faults: list[Finding]) -> _Length:
    """Return a span as a length and note what is wrong with it."""
    found: _Length | None = None
    if isinstance(span, int) and not isinstance(span, bool):
        found = _Length(candles=span)
    elif isinstance(span, timedelta):
        found = _Length(ms=round(span.total_seconds() * 1000))
    elif isinstance(span, str) and (match := _TEXT.fullmatch(span)):
        found = _Length(ms=int(match[1]) * UNITS[match[2]])
    if found is None:
        faults.append(Finding(name, "type", f"{span!r} is no length", span, f"give {LENGTHS}"))
        return _Length()
    if found.candles < 0 or found.ms < 0 or (least and not (found.candles or found.ms)):
        text = f"{span!r} is {'below 0' if found.candles < 0 or found.ms < 0 else 'no length'}"
        faults.append(Finding(name, "range", text, span, f"give {least} or more; {LENGTHS}"))
    elif 0 < found.ms < candles.timeframe_ms:
        text = f"{span!r} is shorter than a candle of {candles.timeframe}"
        faults.append(Finding(name, "range", text, span, "give at least the length of a candle"))
    return found


def _raise(faults: list[Finding]) -> None:
    if faults:
        text = f"the windows have {len(faults)} error{'s' if len(faults) > 1 else ''}"
        raise ConfigError("windows", text, hint="correct them all, then try again", findings=faults)
