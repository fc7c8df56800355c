"""What a recorded run and its backtest differ by: one amount per cause, one row per difference in a trade."""

from __future__ import annotations

import html
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from stratnb.kernels import layout as at
from stratnb.market_data.candles import utc_text
from stratnb.parity_explain.course import Run

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["CAUSES", "Difference", "ParityReport", "changes", "pnl_of"]

SUMMED = 1e-13  # what the order of a sum moves
SHOWN = 12
CAUSES = (
    *("data revision", "missed candle", "latency", "slippage", "fee", "partial fill", "rounding"),
    *("risk denial", "funding", "manual action", "unexplained"),
)


@dataclass(frozen=True, slots=True)
class Difference:
    """A trade whose pnl a cause changed: entry (ms), side, pnl with the cause as in the model and as in the record.

    A trade that is there with only one of the two has a pnl of 0 with the other, and `what` says so.
    """

    entry_ms: int
    side: str
    what: str
    cause: str
    model: float
    recorded: float

    @property
    def amount(self) -> float:
        """Return what the cause added to the pnl, in quote units."""
        return self.recorded - self.model


@dataclass(frozen=True, slots=True, repr=False)
class ParityReport:
    """Why a recorded run and the backtest of the same candles differ.

    `total` is the pnl of the record less that of the model, in quote units; `causes` has the amount of each cause that
    was found (0 when it moved a fill and no money), which add up to it; `differences` has one row per trade and cause,
    which add up to the same.
    """

    name: str
    symbol: str
    quote: str
    candles: int
    recorded_pnl: float
    model_pnl: float
    total: float
    causes: Mapping[str, float]
    differences: tuple[Difference, ...]
    notes: tuple[str, ...] = ()

    @property
    def identical(self) -> bool:
        """Return whether there is nothing to explain."""
        return not self.causes

    @property
    def explained(self) -> float | None:
        """Return the share of the gap that has a cause, by absolute amounts; None without a gap."""
        whole = sum(map(abs, self.causes.values()))
        return None if whole == 0.0 else 1.0 - abs(self.causes.get("unexplained", 0.0)) / whole

    def __bool__(self) -> bool:
        """Return whether they are identical."""
        return self.identical

    def __repr__(self) -> str:
        """Return the verdict on one line."""
        where = f"{self.name} on {self.symbol}, {self.candles} candles"
        if self.identical:
            return f"{where}: identical"
        parts = ", ".join(f"{name} {amount:+.6g}" for name, amount in self.causes.items())
        return f"{where}: different by {self.total:+.6g} {self.quote}: {parts}"

    def _repr_html_(self) -> str:
        """Return the amounts by cause as a small escaped table."""
        rows = "".join(
            f"<tr><td>{html.escape(name)}</td><td>{amount:+,.6g}</td><td>{self._count(name)}</td></tr>"
            for name, amount in self.causes.items()
        )
        head = f"<tr><th>cause</th><th>{html.escape(self.quote)}</th><th>trades</th></tr>"
        foot = f"<tr><th>total</th><th>{self.total:+,.6g}</th><th></th></tr>"
        notes = "".join(f"<li>{html.escape(note)}</li>" for note in self.notes)
        body = f"<table><caption>{html.escape(repr(self))}</caption>{head}{rows}{foot}</table>"
        return body + (f"<ul>{notes}</ul>" if notes else "")

    def _count(self, cause: str) -> int:
        return sum(row.cause == cause for row in self.differences)

    @property
    def frame(self) -> pd.DataFrame:
        """Return one row per trade and cause: entry (UTC), side, what, cause, model, recorded, amount."""
        import pandas as pd

        names = ("entry_ms", "side", "what", "cause", "model", "recorded", "amount")
        frame = pd.DataFrame([[getattr(row, name) for name in names] for row in self.differences], columns=list(names))
        frame.insert(0, "entry", pd.to_datetime(frame.pop("entry_ms"), unit="ms", utc=True))
        return frame

    def __str__(self) -> str:
        """Return the verdict and a line for each of the largest differences."""
        largest = sorted(self.differences, key=lambda row: -abs(row.amount))[:SHOWN]
        lines = [f"  {utc_text(x.entry_ms)} {x.side} {x.what}: {x.cause} {x.amount:+.6g}" for x in largest]
        more = len(self.differences) - len(largest)
        return "\n".join([repr(self), *lines, *([f"  and {more} more in .frame"] if more else [])])


Trades = Mapping[tuple[int, float], float]


def pnl_of(run: Run, step_ms: int) -> dict[tuple[int, float], float]:
    """Return the pnl after costs of each trade by entry candle and side; an open one is marked at the last close."""
    found: dict[tuple[int, float], float] = {}
    rows = run.fills
    starts = np.flatnonzero(np.diff(rows[:, at.F_TRADE], prepend=-1.0)) if len(rows) else np.empty(0, np.int64)
    for first, last in zip(starts, [*starts[1:], len(rows)], strict=True):
        part = rows[first:last]
        pnl = float(part[:, at.F_REALIZED].sum() - part[:, at.F_FEE].sum())
        held = float(part[-1, at.F_AFTER])
        pnl += held * (run.mark - float(part[-1, at.F_AVERAGE])) if held != 0.0 else 0.0
        key = (int(part[0, at.F_TIME]) // step_ms * step_ms, float(part[0, at.F_SIGN]))
        found[key] = found.get(key, 0.0) + pnl
    return found


def changes(cause: str, before: Trades, after: Trades) -> list[Difference]:
    """Return the trades that differ between two runs of which the second has a cause more."""
    found = []
    for key in sorted({*before, *after}):
        model, recorded = before.get(key, 0.0), after.get(key, 0.0)
        both = key in before and key in after
        if both and abs(recorded - model) <= SUMMED * max(1.0, abs(model)):
            continue
        what = "changed" if both else "only in the record" if key in after else "only in the model"
        found.append(Difference(key[0], "long" if key[1] > 0 else "short", what, cause, model, recorded))
    return found
