"""The text of what one strategy of a structure does when a candle closes, for many strategies on one account.

Only a close at which no analyzer signals is written out, which most are; any other goes on by the shared code.
"""

from __future__ import annotations

from dataclasses import dataclass

from stratnb.kernels import layout as at
from stratnb.kernels.inline import Uninlinable
from stratnb.kernels.loop_nodes import SIGNAL, SIZED, Node, told_apart
from stratnb.kernels.loop_text import SHOWN, LoopText, filled

__all__ = ["CloseText"]

FRAME = """
def run(code, params, memory, books, slot, account, candle, late, decision):
    if late:
        return False
    book, leave = books[slot], -1.0
    o_, h_, l_, k_, v_, t_ = candle[0], candle[1], candle[2], candle[3], candle[4], candle[5]
    c5 = memory[R_TIME]
    memory[R_GAP] = 1.0 if t_ > c5 + PRIMARY_MS else 0.0
    @LOADS
    @NODES
    @SAVES
    memory[TOTAL] += 1.0
    memory[SEEN] += 1.0
    if @SIGNALS or book[B_EXPIRED] != 0.0:
        if book[B_EXPIRED] != 0.0:
            fall_back(code, params, memory, books, slot, account, candle, decision)
        call_decide(code[H_DECIDE], code, params, memory, books, slot, account, candle, late, decision)
        return True
    @BLANK
    order, is_first = book[B_ORDER], book[B_ORDER_REASON] == REASON_ENTRY
    q, average, side = book[B_QUANTITY], book[B_AVERAGE], 1.0 if book[B_QUANTITY] > 0.0 else -1.0
    peak, trough, held = book[B_PEAK], book[B_TROUGH], book[B_HELD]
    @FILTERS
    if q != 0.0:
        @EXITS
        held += 1.0
        book[B_HELD] = held
        @STEPS
        @HEEDS
        if leave >= 0.0:
            if order != ORDER_EXIT:
                book[B_ORDER_MS] = c5 + PRIMARY_MS
            place_exit(book, leave)
    @NATR
    if book[B_ORDER] != order:
        sum_account(books, account)
    decision[D_REASON] = Z_WARMING if memory[SEEN] < params[S_MIN_CANDLES] else Z_NO_SIGNALS
    return True
"""


@dataclass(slots=True)
class CloseText(LoopText):
    """Writes the close of a structure; `text()` raises `Uninlinable` for one that cannot be written out."""

    def text(self) -> str:
        """Return the source of a module with one function, `run`, which does what `close_candle` does.

        Of the decision row it writes the reason alone.
        """
        if not self.is_plain():
            raise Uninlinable("a timeframe is longer than the candles")
        roles = [role for role in range(at.PRIMARY + 1) if self.length(role)]
        made = [self.nodes[k] for role in roles for k in self.segment(role)]
        filters = [self.nodes[k] for k in self.segment(at.SEG_FILTERS)]
        counters = int(self.code[at.H_COUNTERS])
        constants = {"TOTAL": counters - 2, "SEEN": counters - 1, "PRIMARY_MS": float(self.length(at.PRIMARY))}
        text = FRAME.replace("@SIGNALS", self.signals(self.analyzers()))
        frame = filled(
            text,
            LOADS=self.begun(made),
            NODES=[line for role in roles for line in self.nodes_of(role)],
            SAVES=self._ends(made),
            BLANK=self._blank(),
            FILTERS=self._filtered(filters) or ["pass"],
            EXITS=self.begun(self.exits()) or ["pass"],
            STEPS=self.quiet_steps() or ["pass"],
            HEEDS=self.heeds() or ["pass"],
            NATR=self.natr(),
        )
        return told_apart("\n".join([*(f"{name} = {value!r}" for name, value in constants.items()), "", *frame, ""]))

    def is_steady(self, node: Node) -> bool:
        """Return False: there is no loop to count with."""
        return False

    def _ends(self, nodes: list[Node]) -> list[str]:
        """Write candle, outputs and memory of the nodes of the timeframes back."""
        lines = [f"memory[{j}] = c{j}" for j in range(at.W_CANDLE)]
        if at.R_MINUTE in self.uses(self.nodes.values()):
            lines.append(f"memory[{at.R_MINUTE}] = minute_of_week(t_ + PRIMARY_MS)")
        for role in range(at.PRIMARY):
            first = int(self.code[at.H_ROLE_COLUMNS + role])
            lines += [f"memory[{first + j}] = c{first + j}" for j in range(at.W_CANDLE) if self.length(role)]
        return lines + [line for node in nodes for line in self.outputs(node)] + self.states(nodes, save=True)

    def _blank(self) -> list[str]:
        """Return what a close without a signal leaves in the row."""
        lines = [f"memory[{j}] = 0.0" for j in SIGNAL] + [f"c{j} = 0.0" for j in SIGNAL]
        lines += ["memory[R_PRICE] = c3", f"c{at.R_PRICE} = c3", "memory[R_FEES] = 2.0 * params[S_TAKER]"]
        lines += [f"c{j} = memory[{j}]" for j in SIZED]
        return lines + [f"c{j} = nan" for j in SHOWN]

    def _filtered(self, filters: list[Node]) -> list[str]:
        """Return a step of every filter."""
        if not filters:
            return []
        stepped = [line for node in filters for line in self.stepped(node)]
        told = [line for node in filters for line in self.outputs(node)]
        return [*self.begun(filters), *self.shown(filters), *stepped, *told, *self.states(filters, save=True)]

    def heeds(self) -> list[str]:
        """Return how the position heeds every exit, and what they keep."""
        return self.kept_heeds()
