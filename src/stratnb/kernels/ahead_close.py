"""The text of what one strategy does among many on an account, where its blocks run ahead: search, fills and close."""

from __future__ import annotations

from dataclasses import dataclass

from stratnb.kernels import layout as at
from stratnb.kernels.ahead_text import AheadText
from stratnb.kernels.inline import Uninlinable
from stratnb.kernels.loop_nodes import SIGNAL, SIZED, told_apart
from stratnb.kernels.loop_text import MINUTE, SHOWN, filled

__all__ = ["AheadClose"]

SEEK = """
def run(code, params, memory, candles, first, start, stop):
    ahead, known = start, False
    a5 = memory[5] if start == first else cell(candles, 6 * start - 1)
    @LOADS
    @SEARCH
    i = ahead + 1 if known else ahead
    @SAVES
    return i, 1 if known else 0
"""

CLOSE = """
def run(code, params, memory, books, slot, account, candle, here, decision):
    book = books[slot]
    @CANDLE
    if book[B_EXPIRED] != 0.0:
        fall_back(code, params, memory, books, slot, account, candle, decision)
    @BLANK
    is_first = book[B_ORDER_REASON] == REASON_ENTRY
    q, average, side = book[B_QUANTITY], book[B_AVERAGE], 1.0 if book[B_QUANTITY] > 0.0 else -1.0
    peak, trough, held = book[B_PEAK], book[B_TROUGH], book[B_HELD]
    seen, least, trades, tick = memory[SEEN], params[S_MIN_CANDLES], book[B_ENTRIES] != ENTRIES_OFF, params[S_TICK]
    stage, dirty, waits, quiet_end, calm = 0, False, False, 0, True
    @LOADS
    @DECISION
    if q != 0.0:
        book[B_HELD] = held
        if here:
            @QUIET
    @SIZED
    decision[D_REASON] = reason
    return calm
"""

FILL = """
def run(code, params, memory, book, candle, fills, n):
    waits, tick = book[B_ORDER] != ORDER_NONE, params[S_TICK]
    @LOADS
    @RESOLVE
    return n
"""


@dataclass(slots=True)
class AheadClose(AheadText):
    """Writes the functions of a structure of which `runs_ahead` is true and whose exits are steady.

    Raises `Uninlinable` for another.
    """

    def __post_init__(self) -> None:
        """Read the nodes; refuse a structure whose exits must be stepped at each close."""
        AheadText.__post_init__(self)
        if not self.is_steady_held():
            raise Uninlinable("an exit changes while nothing but marks does")

    def seek(self) -> str:
        """Return the source of `run(code, params, memory, candles, first, start, stop)`.

        It steps the blocks from row `start` (of a market that begins at `first`) on to the next candle with a signal,
        and returns the row after it and 1, else `stop` and 0.
        """
        made = [self.nodes[k] for k in self.of_candles()]
        loads = [f"c{node.out + j} = memory[{node.out + j}]" for node in made for j in range(node.outs)]
        saves = [line for node in made for line in self.outputs(node)] + self.states(made, save=True)
        lines = filled(SEEK, LOADS=[*loads, *self.begun(made)], SEARCH=self.search(), SAVES=saves)
        return self._module(lines)

    def close(self) -> str:
        """Return the source of what `close_candle` does at a close; `here` tells whether the blocks stopped there.

        Of the decision row it writes the reason alone. Who calls it keeps the counters of the candles, and sums the
        account when the order changed. It returns whether the exits wish nothing else where there is no signal.
        """
        candle = [f"c{j} = memory[{j}] = candle[{j}]" for j in range(at.W_CANDLE)]
        candle += [MINUTE, f"memory[R_MINUTE] = c{at.R_MINUTE}"]
        blank = ["memory[R_PRICE] = c3", f"c{at.R_PRICE} = c3", "memory[R_FEES] = 2.0 * params[S_TAKER]"]
        blank += [f"memory[{j}] = 0.0" for j in SIGNAL]
        stepped = [self.nodes[k] for part in (at.SEG_SIZING, at.SEG_EXITS) for k in self.segment(part)]
        loads = [f"c{j} = memory[{j}]" for j in (*SIGNAL, *SIZED)] + [f"c{j} = nan" for j in SHOWN]
        loads += [f"c{c + j} = memory[{c + j}]" for c in self.analyzers() for j in range(3)]
        loads += self.begun(stepped)
        decision = self.decision("slot", ["pass"], ["pass"])
        sized = self.states([self.nodes[k] for k in self.segment(at.SEG_SIZING)], save=True)
        parts = {"LOADS": loads, "DECISION": decision, "QUIET": self._calm(), "SIZED": sized}
        return self._module(filled(CLOSE, CANDLE=candle, BLANK=blank, **parts))

    def fill(self) -> str:
        """Return the source of `run(code, params, memory, book, candle, fills, n)`, which does what `resolve` does."""
        exits, counters = self.exits(), int(self.code[at.H_COUNTERS])
        used = {j for j in self.uses(exits) if j < at.R_SIDE}
        loads = [f"c{j} = memory[{j}]" for j in sorted(used)] + [f"c{j} = nan" for j in SHOWN]
        loads += self.begun(exits) + [f"w{node.k} = nan" for node in exits]
        kept = [f"memory[{node.out + j}] = c{node.out + j}" for node in exits for j in range(node.outs)]
        kept += [f"memory[{counters + node.k}] = 1.0" for node in exits]
        lines = self.resolve([*kept, *self.states(exits, save=True)])
        return self._module(filled(FILL, LOADS=loads, RESOLVE=[line.replace("candles[i]", "candle") for line in lines]))

    def heeds(self) -> list[str]:
        """Return how the position heeds every exit, and what they keep."""
        return self.kept_heeds()

    def _calm(self) -> list[str]:
        """Return a step of the exits as at a close without a signal: whether they wish what they wished at this one."""
        same = [f"c{n.out + 1} != 1.0 and (c{n.out} == u{n.k} or c{n.out} != c{n.out})" for n in self.exits()]
        kept = [f"u{node.k} = c{node.out}" for node in self.exits()]
        return [*kept, *self.quiet_steps(), f"calm = {' and '.join(same) or True}"]

    def _module(self, lines: list[str]) -> str:
        counters = int(self.code[at.H_COUNTERS])
        constants = {"SEEN": counters - 1, "PRIMARY_MS": float(self.length(at.PRIMARY))}
        head = [f"{name} = {value!r}" for name, value in constants.items()]
        return told_apart("\n".join([*head, f"TABLE = np.array({self.table()!r}, np.int64)", "", *lines, ""]))
