"""What the table of a plan says of its nodes (see `layout`)."""

from __future__ import annotations

from dataclasses import dataclass

from stratnb.kernels import layout as at
from stratnb.kernels.jit import Ints

__all__ = ["PlanTable"]


@dataclass(slots=True)
class PlanTable:
    """The numbers of a table by their names."""

    code: Ints

    def record(self, k: int, cell: int) -> int:
        """Return a number of a node in the table."""
        return int(self.code[self.code[at.H_NODES] + k * at.W_NODE + cell])

    def inputs(self, k: int) -> tuple[int, ...]:
        """Return the columns that a node reads."""
        first = self.record(k, at.N_LIST)
        return tuple(int(c) for c in self.code[first : first + self.record(k, at.N_INPUTS)])

    def of_candles(self) -> range:
        """Return the nodes of the timeframes."""
        return range(self.segment(at.PRIMARY).stop)

    def of_candle(self) -> set[int]:
        """Return the columns that a closed candle fills."""
        roles = [int(self.code[at.H_ROLE_COLUMNS + role]) for role in range(at.PRIMARY) if self.length(role)]
        own = {first + j for first in roles for j in range(at.W_CANDLE)}
        return own | {*range(at.W_CANDLE), at.R_MINUTE, at.R_GAP}

    def runs_ahead(self) -> bool:
        """Tell whether the blocks of the candles may run ahead: what goes by the account reads nothing of theirs."""
        readers = [k for part in (at.SEG_SIZING, at.SEG_EXITS) for k in self.segment(part)]
        read = {column for k in readers for column in self.inputs(k)}
        theirs = {column for column in read if column >= at.R_GAP}
        return self.is_plain() and not theirs and not self.segment(at.SEG_FILTERS) and not self.code[at.H_NATR]

    def segment(self, segment: int) -> range:
        """Return the nodes of a segment."""
        first = at.H_SEGMENTS + 2 * segment
        return range(int(self.code[first]), int(self.code[first + 1]))

    def length(self, role: int) -> int:
        """Return the milliseconds of a role's timeframe, 0 without one."""
        return int(self.code[at.H_TIMEFRAMES + role])

    def is_plain(self) -> bool:
        """Tell whether every role closes with each base candle."""
        return all(self.length(role) in (0, self.code[at.H_BASE_MS]) for role in range(at.PRIMARY + 1))
