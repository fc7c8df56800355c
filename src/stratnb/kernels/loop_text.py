"""The text of the generated loop of a structure of strategy: its blocks between the parts of `loop_frame`."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from stratnb.kernels import layout as at
from stratnb.kernels.folding import without
from stratnb.kernels.inline import Uninlinable
from stratnb.kernels.loop_frame import (
    ARM,
    ASKED,
    CATCH,
    COUNT,
    DECIDE,
    FALLS,
    FIND,
    FRAME,
    GROUP,
    HEED,
    KEPT_HEED,
    NATR,
    PASSES,
    POSITION,
    QUICK,
    RESOLVE,
    SETTLE,
    WORK,
)
from stratnb.kernels.loop_nodes import SIGNAL, SIZED, LoopNodes, Node, indented, told_apart

__all__ = ["CANDLE", "MINUTE", "SHOWN", "LoopText", "filled"]

CANDLE = ("o_", "h_", "l_", "k_", "v_", "t_")
SHOWN = {
    at.R_SIDE: ("side", "0.0", "sign_"),
    at.R_QUANTITY: ("q", "0.0", "0.0"),
    at.R_ENTRY: ("average", "nan", "price_"),
    at.R_FIRST_STOP: ("book[B_FIRST_STOP]", "nan", "stop_"),
    at.R_STOP: ("book[B_STOP]", "nan", "stop_"),
    at.R_PEAK: ("peak", "nan", "price_"),
    at.R_TROUGH: ("trough", "nan", "price_"),
    at.R_DONE: ("book[B_DONE]", "0.0", "0.0"),
    at.R_RETURN: ("return_of(side, c3, average)", "0.0", "0.0"),
    at.R_HELD: ("held", "0.0", "0.0"),
    at.R_MINUTES: ("minutes_since(book[B_OPENED_MS], c5 + PRIMARY_MS)", "0.0", "0.0"),
    at.R_FRESH: ("0.0", "0.0", "1.0"),
}  # a column of the position: while it is held, flat, and when it is armed
MINUTE = f"c{at.R_MINUTE} = minute_of_week(c{at.R_TIME} + PRIMARY_MS)"


@dataclass(slots=True)
class LoopText(LoopNodes):
    """Writes the loop of a structure; `text()` raises `Uninlinable` for one that cannot be written out."""

    def text(self) -> str:
        """Return the source of a module with one function, `run`.

        Its `work` is a row of WORK cells, the rows of given columns, and a decision.
        """
        counters = int(self.code[at.H_COUNTERS])
        constants = {
            "GIVEN": len(self.given_columns()),
            "TOTAL": counters - 2,
            "SEEN": counters - 1,
            "BASE_MS": float(self.code[at.H_BASE_MS]),
            "PRIMARY_MS": float(self.length(at.PRIMARY)),
        }
        head = [f"{name} = {value!r}" for name, value in constants.items()]
        head.append(f"TABLE = np.array({self.table()!r}, np.int64)")
        counted = "begun + float(i - start), total + float(i - start)" if self.is_plain() else "seen, total"
        frame = filled(
            FRAME,
            LOADS=self._loads(),
            QUICK=self.quick(),
            PASSES=self.passes(),
            POSITION=_lines(POSITION),
            CATCH=_lines(CATCH),
            COUNTED=[f"memory[SEEN], memory[TOTAL] = {counted}"],
            SAVES=[*self._spill(), *self.states(save=True), *self.ends()],
        )
        return told_apart("\n".join([*head, "", *frame, ""]))

    def _loads(self) -> list[str]:
        """Bring memory, parameters and columns into locals before the first candle."""
        lines = [f"c{j} = memory[{j}]" for j in range(at.R_MINUTE + 1)]
        lines += [f"c{j} = memory[{j}]" for j in (*SIGNAL, at.R_PRICE, at.R_GAP, *SIZED)]
        lines += [f"c{j} = nan" for j in SHOWN]
        for role in range(at.PRIMARY):
            first = int(self.code[at.H_ROLE_COLUMNS + role])
            lines += [f"c{first + j} = memory[{first + j}]" for j in range(at.W_CANDLE) if self.length(role)]
        for node in self.nodes.values():
            kept = node in self._kept()
            lines += [f"c{node.out + j} = {f'memory[{node.out + j}]' if kept else 'nan'}" for j in range(node.outs)]
        lines += [f"w{node.k} = nan" for node in self.exits()]
        lines += [f"o{node.k} = {self.place(node.k, at.N_STATE)}" for node in self.inlined()]
        count = len(self.given_columns())
        lines += [f"k{j} = int(work[{WORK} + {j}]) * columns.shape[1] - start" for j in range(count)]
        return (
            lines
            + self.begins()
            + self.states(save=False)
            + [line for node in self.inlined() for line in self.fixed(node)]
        )

    def begins(self) -> list[str]:
        """Return what else is brought into locals."""
        return []

    def ends(self) -> list[str]:
        """Return what else is kept for the next call."""
        return []

    def _spill(self) -> list[str]:
        """Write the columns that are locals into the row."""
        if self.is_plain():  # the candle last settled; before the first one of a call the row holds it already
            lines = [f"memory[{j}] = candles[settled, {j}]" for j in range(at.W_CANDLE)]
            lines.append(f"memory[{at.R_MINUTE}] = minute_of_week(candles[settled, {at.C_TIME}] + PRIMARY_MS)")
            lines = ["if settled >= start:", *indented(lines)]
        else:
            lines = [f"memory[{j}] = c{j}" for j in range(at.W_CANDLE)]
            lines.append(f"memory[{at.R_MINUTE}] = minute_of_week(c5 + PRIMARY_MS)")
        for node in self._kept():
            lines += self.outputs(node)
        lines += [f"memory[{j}] = c{j}" for j in SIGNAL] if self.wants_signal() else []
        return [*lines, f"memory[R_PRICE] = c{at.R_PRICE}", "show_position(memory, book, memory[R_TIME] + PRIMARY_MS)"]

    def _kept(self) -> list[Node]:
        """Return the nodes whose outputs are read after their step; those of sizing and exits are made when asked."""
        made_anew = {*self.segment(at.SEG_SIZING), *self.segment(at.SEG_EXITS)}
        return [node for k, node in self.nodes.items() if k not in made_anew]

    def quick(self) -> list[str]:
        """Return the inner loop over candles at which nothing but marks and blocks changes."""
        if not self.is_plain():
            return []
        roles = [role for role in range(at.PRIMARY + 1) if self.length(role)]
        nodes = [line for role in roles for line in self.nodes_of(role, quick=True)]
        filters = [self.nodes[k] for k in self.segment(at.SEG_FILTERS)]
        stepped = [f"c{at.R_PRICE} = c3", *(self.blank_signal() if self.wants_signal() else [])]
        text = QUICK.replace("@SIGNALS", self.signals(self.analyzers())).replace("@HEEDS", self.asks())
        return filled(
            text,
            NODES=nodes,
            FILTERS=[*stepped, *self.shown(filters), *(line for node in filters for line in self.stepped(node))],
            STEPS=self.quiet_steps() or ["pass"],
            NATR=self.natr(),
        )

    def settle(self) -> list[str]:
        """Return what a base candle does to order, position, marks and protections."""
        fixed = [line for node in self.exits() for line in self.outputs(node)[2 : 2 + 2 * node.targets]]
        return filled(SETTLE, RESOLVE=self.resolve(fixed), POSITION=_lines(POSITION), CATCH=_lines(CATCH))

    def resolve(self, kept: Sequence[str]) -> list[str]:
        """Return how order, stop and targets are resolved; `kept` keeps what arming made."""
        return filled(RESOLVE, ARMS=[*self._armed(), *kept])

    def _armed(self) -> list[str]:
        """Return a step of every exit for a position that is entered at price_, and the stop that follows."""
        exits, lines = self.exits(), ["stop_, reason_ = nan, 0.0"]
        used = self.uses(exits)
        lines += [f"c{j} = memory[{j}]" for j in SIZED if j in used]
        for place, node in enumerate(exits):
            lines += [f"c{j} = {fresh}" for j, (_, _, fresh) in SHOWN.items() if j in node.inputs]
            lines += [f"s{node.k}_{j} = 0.0" for j in node.cells("state")]
            lines += [f"state{node.k}[:] = 0.0"] if node.is_array("state") else []
            lines += [f"i{node.k} = 0"] * node.made.reads_number + self.stepped(node)
            lines += _lines(_exit_text(ARM, node).replace("@REASON", f"{at.REASON_EXIT + place}.0"))
        return lines

    def passes(self) -> list[str]:
        """Return what a base candle does: once, or twice where a timeframe ended in the gap before it."""
        roles = [role for role in range(at.PRIMARY + 1) if self.length(role)]
        settle = self.settle()
        if self.is_plain():
            nodes = [line for role in roles for line in self.nodes_of(role)]
            return ["if stage == 0:", *indented([*settle, *nodes]), *self.falls(), *self.decide()]
        steps: list[str] = []
        for role in roles:
            lines = self.nodes_of(role) + ([*self.falls(), *self.decide()] if role == at.PRIMARY else [])
            if self.length(role) == self.code[at.H_BASE_MS]:
                steps += ["if late == 0:", *indented(lines)]
            else:
                steps += filled(GROUP.replace("@ROLE", str(role)), BODY=lines)
        return filled(PASSES, SETTLE=settle, ROLES=steps, FALLS=self.falls())

    def _reload(self) -> list[str]:
        """Return what a part that stepped the exits by their addresses changed in locals."""
        exits = self.exits()
        read = [f"c{node.out + j} = memory[{node.out + j}]" for node in exits for j in range(node.outs)]
        return [*self.states(exits, save=False), *read, *(f"w{node.k} = nan" for node in exits)]

    def nodes_of(
        self, role: int, *, quick: bool = False, swift: bool = False, left_out: Collection[Node] = ()
    ) -> list[str]:
        """Return what the close of a role's candle does to its columns and blocks; `swift` as in `stepped`."""
        nodes = [self.nodes[k] for k in self.segment(role)]
        beyond = {c for c in self.uses(nodes) if at.R_MINUTE < c < at.W_HEAD and c != at.R_GAP}
        if beyond:
            raise Uninlinable(f"a block of the candles reads column {at.HEAD_COLUMNS[min(beyond)]} of the position")
        lines = self._candle(role, quick=quick)
        for node in nodes:
            lines += [] if node in left_out else self.stepped(node, swift=swift)
        return lines

    def falls(self) -> list[str]:
        """Return what becomes of a limit entry that a settlement let expire."""
        return filled(FALLS, SPILL=[*self._spill(), *self.states(self.exits(), save=True)], RELOAD=self._reload())

    def _candle(self, role: int, *, quick: bool) -> list[str]:
        """Bring a role's candle into its columns; a quick one into those that are read."""
        first = int(self.code[at.H_ROLE_COLUMNS + role])
        if self.length(role) != self.code[at.H_BASE_MS]:
            wide = role == at.PRIMARY
            columns = [*range(at.W_CANDLE), at.R_MINUTE, at.R_GAP] if wide else range(first, first + at.W_CANDLE)
            return [f"c{j} = memory[{j}]" for j in columns]
        c, row = ("a", "ahead") if self.ahead else ("c", "i")
        names = [f"cell(candles, 6 * {row} + {j})" for j in range(at.W_CANDLE)] if quick else CANDLE
        if role != at.PRIMARY:
            return [f"{c}{first + j} = {name}" for j, name in enumerate(names)]
        used, lines = self.uses(self.nodes.values()), []
        needed = used | {at.C_CLOSE, at.C_TIME} if quick else set(range(at.W_CANDLE))
        if at.R_GAP in used:
            lines.append(f"{c}{at.R_GAP} = 1.0 if {names[at.C_TIME]} > {c}5 + PRIMARY_MS else 0.0")
        lines += [f"{c}{j} = {name}" for j, name in enumerate(names) if j in needed]
        return lines + ([MINUTE.replace("c", c, 1).replace("(c", f"({c}")] if at.R_MINUTE in used else [])

    def decide(self) -> list[str]:
        """Return the decision at a primary close, and its count."""
        seen = ["seen = begun + float(i - start + 1)" if self.is_plain() else "seen += 1.0"]
        return [*self.decision("0", seen, _lines(CATCH)), *_lines(COUNT)]

    def decision(self, slot: str, seen: Sequence[str], catch: Sequence[str]) -> list[str]:
        """Return the decision at a primary close for a book; `seen` counts the closes, `catch` catches up marks."""
        filters = [self.nodes[k] for k in self.segment(at.SEG_FILTERS)]
        sizing = [self.nodes[k] for k in self.segment(at.SEG_SIZING)]
        stepped = [f"c{at.R_PRICE} = c3", *self.shown(filters)]
        natr = int(self.code[at.H_NATR])
        text = DECIDE.replace("@NATR_NOW", f"c{natr}" if natr else "nan").replace("@WANTED", str(sizing[0].out))
        return filled(
            text.replace("@SLOT", slot),
            SEEN=seen,
            FIND=self._find(),
            FILTERS=[*stepped, *(line for node in filters for line in self.stepped(node))],
            JUDGED=[line for node in filters for line in self.outputs(node)] or ["pass"],
            STEPS=self._exit_steps() or ["pass"],
            HEEDS=self.heeds() or ["pass"],
            NATR=self.natr(),
            CATCH=catch,
            ARMS=self._armed(),
            SIZES=self._sized(sizing),
        )

    def heeds(self) -> list[str]:
        """Return how the position heeds every exit."""
        return [line for place, node in enumerate(self.exits()) for line in self.heed(node, place)]

    def _sized(self, sizing: Sequence[Node]) -> list[str]:
        """Return a step of the sizing block and what it asks with, on the terms of an entry."""
        used = self.uses([*sizing, *self.exits()])
        lines = [f"c{at.R_PRICE} = price_"] + [f"c{j} = memory[{j}]" for j in SIZED if j in used]
        lines += [f"c{j} = {fresh}" for j, (_, _, fresh) in SHOWN.items() if j in self.uses(sizing) - {at.R_FRESH}]
        lines += [f"c{at.R_FRESH} = 0.0"] if at.R_FRESH in self.uses(sizing) else []
        return lines + [line for node in sizing for line in self.stepped(node)]

    def natr(self) -> list[str]:
        """Return the halt in a volatile market, where the plan has the indicator for it."""
        column = int(self.code[at.H_NATR])
        return _lines(NATR.replace("@COLUMN", str(column))) if column else []

    def shown(self, nodes: Sequence[Node]) -> list[str]:
        """Bring the position, as it was before this close, into the columns that blocks read."""
        used = self.uses(nodes)
        lines = [f"c{j} = {held} if q != 0.0 else {flat}" for j, (held, flat, _) in SHOWN.items() if j in used]
        return lines + [f"c{j} = memory[{j}]" for j in SIZED if j in used]

    def _exit_steps(self) -> list[str]:
        """Return a step of every exit on the position at this close."""
        lines = [line for node in self.exits() for line in self.stepped(node)]
        return [*self._read(lines), *lines]

    def quiet_steps(self) -> list[str]:
        """Return a step of every exit at a close without a signal."""
        lines = [line for node in self.exits() for line in self.stepped(node)]
        lines = without({f"c{j}": 0.0 for j in (*SIGNAL, at.R_FRESH)}, lines)
        return [*self._read(lines), *lines]

    def _read(self, lines: Sequence[str]) -> list[str]:
        """Bring what lines read of the position that is held, and of its entry, into columns."""
        used = {int(name[1:]) for name in re.findall(r"\bc\d+\b", "\n".join(lines))}
        read = [f"c{j} = {held}" for j, (held, _, _) in SHOWN.items() if j in used]
        return read + [f"c{j} = memory[{j}]" for j in SIZED if j in used]

    def analyzers(self) -> list[int]:
        """Return the column of each analyzer's signal."""
        first = int(self.code[at.H_ANALYZER_LIST])
        return [int(c) for c in self.code[first : first + int(self.code[at.H_ANALYZERS])]]

    def signals(self, columns: Sequence[int]) -> str:
        """Return the condition that one of these columns is a signal."""
        return " or ".join(f"c{c} == 1.0 or c{c} == -1.0" for c in columns) or "False"

    def decides(self) -> str:
        """Return the condition that the signals are weighed at this close."""
        return self.signals(self.analyzers())

    def wants_signal(self) -> bool:
        """Tell whether filters, exits or the sizing read the aggregated signal."""
        readers = [k for part in (at.SEG_FILTERS, at.SEG_SIZING, at.SEG_EXITS) for k in self.segment(part)]
        return bool(self.uses([self.nodes[k] for k in readers]) & {*SIGNAL})

    def blank_signal(self) -> list[str]:
        """Return that there is no signal."""
        return [f"{', '.join(f'c{j}' for j in SIGNAL)} = {', '.join(['0.0'] * len(SIGNAL))}"]

    def _find(self) -> list[str]:
        """Return the aggregation of the analyzers, which is left out while none of them signals."""
        owners = [node for node in self.nodes.values() if node.out in self.analyzers()]
        written = [line for node in owners for line in self.outputs(node)] or ["pass"]
        lines = filled(FIND.replace("@SIGNALS", self.decides()), WEIGHED=written)
        if self.wants_signal():
            lines = [*self.blank_signal(), *lines, *indented([f"c{j} = memory[{j}]" for j in SIGNAL])]
        return lines

    def asks(self) -> str:
        """Return the condition that an exit is to be heeded."""
        return " or ".join(_exit_text(ASKED, node) for node in self.exits()) or "False"

    def kept_heeds(self) -> list[str]:
        """Return how the position heeds every exit where each close is a call of its own, and what they keep.

        What an exit wished at the close before was heeded then, if it was stepped since it was armed. Once one has left
        and something of the position is still there, all are heeded at each close.
        """
        lines, counters = [], int(self.code[at.H_COUNTERS])
        for place, node in enumerate(self.exits()):
            counter = f"memory[{counters + node.k}]"
            lines += self.heed(node, place, KEPT_HEED.replace("@COUNTER", counter))
            lines += [] if node.made.reads_number else [f"{counter} += 1.0"]
        return lines + self.states(self.exits(), save=True)

    def heed(self, node: Node, place: int, text: str = HEED) -> list[str]:
        """Return how the position heeds an exit; a stop that it heeded already is left out."""
        text = text.replace("@ASKED", ASKED).replace("@REASON", f"{at.REASON_EXIT + place}.0")
        return _lines(_exit_text(text, node))


def _exit_text(text: str, node: Node) -> str:
    """Put an exit's numbers in place of their words."""
    for word, value in {"@ASKS": node.out + 1, "@WISH": node.out, "@K": node.k}.items():
        text = text.replace(word, str(value))
    return text


def _lines(text: str) -> list[str]:
    return text.strip("\n").splitlines()


def filled(text: str, **parts: Sequence[str]) -> list[str]:
    """Put lines in place of each word that stands alone on its line, with that line's indentation."""
    done: list[str] = []
    for line in _lines(text):
        word = line.strip()
        depth = line[: len(line) - len(word)]
        done += [depth + each for each in parts[word[1:]]] if word.startswith("@") else [line]
    return done
