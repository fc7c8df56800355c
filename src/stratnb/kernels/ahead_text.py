"""The text of the loop of structures whose blocks of the candles run ahead of the account.

Where exits and sizing read no column that such a block makes, the blocks go on alone to the next candle with a signal,
and all candles before it are taken at once: flat nothing changes, and a position only has its marks moved.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import ClassVar

from stratnb.kernels import layout as at
from stratnb.kernels.loop_nodes import AGE, SIZED, Node, indented
from stratnb.kernels.loop_text import CANDLE, MINUTE, LoopText, filled

__all__ = ["AheadText"]

STEADY_SHOWN = (at.R_SIDE, at.R_QUANTITY, at.R_ENTRY, at.R_FIRST_STOP, at.R_STOP, at.R_DONE, at.R_FRESH)
LOADED = (
    "ahead, known = start + int(work[CLEAR]), work[KNOWN] != 0.0",
    "a5 = memory[5] if ahead == start and not known else cell(candles, 6 * (ahead + 1 if known else ahead) - 1)",
)
SAVED = ("work[CLEAR], work[KNOWN] = float(ahead - i), 1.0 if known else 0.0",)
HERE = "here = known and ahead == i"
PASSED = ("if here:", "    ahead, known = ahead + 1, False")

AHEAD = """
if not known:
    while ahead < stop and not known:
        @SEARCH
    if not known:
        @RULES
"""

SEARCH = """
while ahead < @EDGE:
    @NODES
    if @RAISES:
        @RULES
        if @SIGNALS:
            known = True
            break
    ahead += 1
"""

FIRM = "cell(columns, k@K + start + columns.shape[1] - 1) == 1.0"

EITHER = """
edge = min(stop, ahead + AGE)
if @SWIFT:
    @SWIFT_SEARCH
else:
    @SEARCH
"""

STRETCH = """
begin, end = i, min(ahead + 1 if known else ahead, quiet_end)
if i < end and q == 0.0:
    i = end
elif i < end:
    low_, high_, floor_, ceiling_ = quiet_prices(funds, q, average, costs, low_price, high_price, high_eq, line)
    least_, most_ = inf, -inf
    @HELD
settled = i - 1
if i > begin:
    dirty = True
    if q != 0.0:
        eq = worth(funds, q, average, costs, cell(candles, 6 * settled + 3))
        worst = worth(funds, q, average, costs, cell(candles, 6 * settled + (2 if q > 0.0 else 1)))
        deepest = min(deepest, worth(funds, q, average, costs, least_ if q > 0.0 else most_))
    if stage == 2 or i > ahead:
        i, stage = settled, 2 if stage == 2 else 1
    if draws:
        for j in range(begin, i):
            put(equity, j, worth(funds, q, average, costs, cell(candles, 6 * j + 3)) if q != 0.0 else eq)
    warming = min(max(warm_end - begin, 0), i - begin)
    counts[Z_WARMING] += warming
    none += i - begin - warming
if i > begin:
    @LEFT
if i >= stop:
    break
"""

STEADY = """
@STEPS
asks = i < ahead and (@HEEDS)
i, top_, bottom_, least_, most_ = undisturbed(candles, i, i + 1 if asks else end, low_, high_, floor_, ceiling_)
peak, trough = max(peak, top_), min(trough, bottom_)
stage = 2 if asks and i > begin else 0
held += float(min(i, ahead) - begin)
"""

CHANGING = """
while i < end:
    h_, l_, k_ = cell(candles, 6 * i + 1), cell(candles, 6 * i + 2), cell(candles, 6 * i + 3)
    if not (l_ > low_ and h_ < high_ and k_ >= floor_ and k_ <= ceiling_):
        break
    peak, trough, least_, most_ = max(peak, h_), min(trough, l_), min(least_, k_), max(most_, k_)
    i += 1
    if i > ahead:
        break
    @CANDLE
    held += 1.0
    @STEPS
    if @HEEDS:
        stage = 2
        break
"""


@dataclass(slots=True)
class AheadText(LoopText):
    """Writes the loop of a structure of which `runs_ahead` is true."""

    ahead: ClassVar[bool] = True

    def begins(self) -> list[str]:
        """Return to where the blocks ran, and whether all that is given is finite."""
        firm = [FIRM.replace("@K", str(j)) for j in range(len(self.given_columns()))]
        return [*LOADED, f"firm = {' and '.join(firm) or True}"]

    def ends(self) -> list[str]:
        """Return to where the blocks ran."""
        return [*SAVED]

    def passes(self) -> list[str]:
        """Return what a base candle does that is not taken with others."""
        read = [f"c{j} = {name}" for j, name in enumerate(CANDLE)]
        return [HERE, "if stage == 0:", *indented(self.settle()), *read, MINUTE, *self.falls(), *self.decide(), *PASSED]

    def decides(self) -> str:
        """Return the condition that the blocks stopped at this close."""
        return "here"

    def quick(self) -> list[str]:
        """Return the inner loop where the blocks run ahead: to the next signal, then all candles before it at once."""
        steps, last = self.quiet_steps(), self._last()
        held = filled(
            (STEADY if self.is_steady_held() else CHANGING).replace("@HEEDS", self.asks()), STEPS=steps, CANDLE=last
        )
        blank = self.blank_signal() if self.wants_signal() else []
        left = [f"c{at.R_PRICE} = cell(candles, 6 * i - 3)", *blank, *last]
        return [*self.search(), *filled(STRETCH, HELD=held, LEFT=left)]

    def is_steady_held(self) -> bool:
        """Tell whether a step of the exits at a close that changes nothing but marks always comes to the same."""
        return is_steady(self.quiet_steps(), [*STEADY_SHOWN, *SIZED])

    def search(self) -> list[str]:
        """Return the way to the next signal: the common rules are asked where an analyzer raises one.

        It is swift where all that is given is finite and every block has begun.
        """
        roles = [role for role in range(at.PRIMARY + 1) if self.length(role)]
        asked = self.rules()
        rules = [line for node in asked.values() for line in self.stepped(node)]
        raises = self.signals([asked[c].inputs[0] if c in asked else c for c in self.analyzers()])

        def _search(edge: str, *, swift: bool) -> list[str]:
            left_out = asked.values()
            nodes = [line for r in roles for line in self.nodes_of(r, quick=True, swift=swift, left_out=left_out)]
            text = SEARCH.replace("@RAISES", raises).replace("@SIGNALS", self.signals(self.analyzers()))
            return filled(text.replace("@EDGE", edge), NODES=nodes, RULES=rules)

        begun = [node for node in self.inlined() if node.k in self.of_candles() and node.made.reads_number]
        swift = [f"{f'b{node.k} + ahead' if self.is_steady(node) else f'i{node.k}'} >= {AGE}" for node in begun]
        swift += ["firm"] if self.given else []
        search = _search("stop", swift=False)
        if swift:
            text = EITHER.replace("@SWIFT:", f"{' and '.join(swift)}:").replace("AGE", str(AGE))
            search = filled(text, SWIFT_SEARCH=_search("stop", swift=True), SEARCH=_search("edge", swift=False))
        return filled(AHEAD, SEARCH=search, RULES=rules or ["pass"])

    def _last(self) -> list[str]:
        """Bring the candle before row i into the columns that exits and sizing read."""
        used = self.uses([self.nodes[k] for part in (at.SEG_SIZING, at.SEG_EXITS) for k in self.segment(part)])
        needed = (used | {at.C_TIME}) & {*range(at.W_CANDLE)}
        lines = [f"c{j} = cell(candles, 6 * i - {at.W_CANDLE - j})" for j in sorted(needed)]
        return lines + ([MINUTE] if at.R_MINUTE in used else [])

    def rules(self) -> dict[int, Node]:
        """Return the common rules of analyzers that hold nothing, by column: each lets its raw signal pass, or none.

        They are of no account while there is no raw signal, as nothing but the decision reads them.
        """
        made = {node.out: node for node in self.nodes.values() if node.out in self.analyzers()}
        read = self.uses([self.nodes[k] for k in self.of_candles()])
        kept = {c for c, node in made.items() if node.cells("state") or node.is_array("state") or node.k in self.given}
        taken = {c for c, node in made.items() if read & {node.out + j for j in range(node.outs)}}
        return {c: node for c, node in made.items() if c not in kept | taken}


def is_steady(lines: Sequence[str], given: Collection[int]) -> bool:
    """Tell whether a step comes to the same at each close that changes nothing but marks.

    It keeps nothing, and reads only its parameters and the columns that are `given`.
    """
    names = [node for node in ast.walk(ast.parse("\n".join(lines))) if isinstance(node, ast.Name)]
    stored = {node.id for node in names if isinstance(node.ctx, ast.Store)}
    loaded = {node.id for node in names} - stored
    moving = {name for name in loaded if re.fullmatch(r"c\d+", name)} - {f"c{column}" for column in given}
    kept = {name for name in stored if re.fullmatch(r"s\d+_\d+", name)}
    arrays = {name for name in stored | loaded if re.fullmatch(r"(i|x|out|state)\d+", name)}
    return not (moving or kept or arrays)
