"""The text of the generated loop of a structure of strategy: its blocks between the parts of `loop_frame`."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from stratnb.kernels import layout as at
from stratnb.kernels.inline import Inlined, Uninlinable, inline
from stratnb.kernels.jit import Ints
from stratnb.kernels.loop_frame import (
    ASKED,
    DECIDE,
    FALLS,
    FIND,
    FRAME,
    GROUP,
    HEED,
    NATR,
    PASSES,
    QUICK,
    SETTLE,
    WORK,
)

__all__ = ["LoopText"]

CANDLE = ("o_", "h_", "l_", "k_", "v_", "t_")
SHOWN = {
    at.R_SIDE: ("side", "0.0"),
    at.R_QUANTITY: ("q", "0.0"),
    at.R_ENTRY: ("average", "nan"),
    at.R_FIRST_STOP: ("book[B_FIRST_STOP]", "nan"),
    at.R_STOP: ("book[B_STOP]", "nan"),
    at.R_PEAK: ("peak", "nan"),
    at.R_TROUGH: ("trough", "nan"),
    at.R_DONE: ("book[B_DONE]", "0.0"),
    at.R_RETURN: ("return_of(side, c3, average)", "0.0"),
    at.R_HELD: ("held", "0.0"),
    at.R_MINUTES: ("minutes_since(book[B_OPENED_MS], c5 + PRIMARY_MS)", "0.0"),
    at.R_FRESH: ("0.0", "0.0"),
}
SIGNAL = range(at.R_DIRECTION, at.R_SHORT + 1)
SIZED = range(at.R_STOP_PRICE, at.R_FEES + 1)
ALWAYS_FINITE = frozenset(range(at.R_MINUTE + 1))


@dataclass(frozen=True, slots=True)
class _Node:
    """One node of the plan: where its numbers lie, and its step as statements."""

    k: int
    inputs: tuple[int, ...]
    required: int
    out: int
    outs: int
    blank: str
    made: Inlined

    def is_array(self, name: str) -> bool:
        """Tell whether one of its arrays stays an array."""
        return self.made.cells[name] is None

    def cells(self, name: str) -> list[int]:
        """Return the cells of an array that are locals."""
        return sorted(self.made.cells[name] or ())


@dataclass(slots=True)
class LoopText:
    """Writes the loop for the table of a plan and the steps of its nodes.

    `given` are nodes whose outputs are read from `columns` (one row an output, one column a candle of the call)
    instead of being computed. `text()` raises `Uninlinable` for a structure that cannot be written out.
    """

    code: Ints
    steps: Sequence[Callable[..., None]]
    given: frozenset[int] = frozenset()
    names: dict[str, Any] = field(default_factory=dict)
    nodes: dict[int, _Node] = field(default_factory=dict)

    def text(self) -> str:
        """Return the source of a module with one function, `run`.

        Its `work` is a row of WORK cells, the rows of given columns, and a decision.
        """
        sizing = self._segment(at.SEG_SIZING)
        self.nodes = {k: self._node(k) for k in range(len(self.steps)) if k not in sizing}
        counters = int(self.code[at.H_COUNTERS])
        constants = {
            "GIVEN": len(self.given_columns()),
            "TOTAL": counters - 2,
            "SEEN": counters - 1,
            "BASE_MS": float(self.code[at.H_BASE_MS]),
            "PRIMARY_MS": float(self._length(at.PRIMARY)),
        }
        head = [f"{name} = {value!r}" for name, value in constants.items()]
        frame = _fill(
            FRAME,
            LOADS=self._loads(),
            QUICK=self._quick() if self._is_plain() else [],
            PASSES=self._passes(),
            SAVES=[*self._spill(), *self._states(save=True)],
        )
        return "\n".join([*head, "", *frame, ""])

    def given_columns(self) -> list[int]:
        """Return the columns of the row that `columns` holds, in the order of its rows."""
        return [self._record(k, at.N_OUT) + j for k in sorted(self.given) for j in range(self._record(k, at.N_OUTS))]

    def _record(self, k: int, cell: int) -> int:
        return int(self.code[self.code[at.H_NODES] + k * at.W_NODE + cell])

    def _cell(self, k: int, cell: int) -> str:
        """Return where the table says a number of a node at run time: sizes of memory go by parameters."""
        return f"code[{int(self.code[at.H_NODES]) + k * at.W_NODE + cell}]"

    def _segment(self, segment: int) -> range:
        first = at.H_SEGMENTS + 2 * segment
        return range(int(self.code[first]), int(self.code[first + 1]))

    def _length(self, role: int) -> int:
        return int(self.code[at.H_TIMEFRAMES + role])

    def _node(self, k: int) -> _Node:
        """Read one node of the table and turn its step into statements."""
        first, out = self._record(k, at.N_LIST), self._record(k, at.N_OUT)
        inputs = tuple(int(c) for c in self.code[first : first + self._record(k, at.N_INPUTS)])

        def _cell(array: str, index: int) -> str:
            if array == "x":
                return f"c{inputs[index]}" if index < len(inputs) else "nan"  # of a choice that has no such input
            return f"c{out + index}" if array == "out" else f"{array[0]}{k}_{index}"

        return _Node(
            k=k,
            inputs=inputs,
            required=self._record(k, at.N_REQUIRED),
            out=out,
            outs=self._record(k, at.N_OUTS),
            blank="0.0" if self._record(k, at.N_FILL) == at.FILL_ZERO else "nan",
            made=inline(self.steps[k], k, _cell, self._alias),
        )

    def _alias(self, value: Any) -> str:
        """Return the name under which an object from outside is known to the text."""
        name = next((name for name, known in self.names.items() if known is value), f"g{len(self.names)}")
        self.names[name] = value
        return name

    def _inlined(self) -> list[_Node]:
        return [node for k, node in self.nodes.items() if k not in self.given]

    def _exits(self) -> list[_Node]:
        return [self.nodes[k] for k in self._segment(at.SEG_EXITS)]

    def _loads(self) -> list[str]:
        """Bring memory, parameters and columns into locals before the first candle."""
        lines = [f"c{j} = memory[{j}]" for j in range(at.R_MINUTE + 1)]
        lines += [f"c{j} = 0.0" for j in SIGNAL] + [f"c{at.R_PRICE} = nan", f"c{at.R_GAP} = memory[{at.R_GAP}]"]
        lines += [f"c{j} = memory[{j}]" for j in SIZED] + [f"c{j} = nan" for j in SHOWN]
        for role in range(at.PRIMARY):
            first = int(self.code[at.H_ROLE_COLUMNS + role])
            lines += [f"c{first + j} = memory[{first + j}]" for j in range(at.W_CANDLE) if self._length(role)]
        for node in self.nodes.values():
            lines += [f"c{node.out + j} = memory[{node.out + j}]" for j in range(node.outs)]
        lines += [f"w{node.k} = nan" for node in self._exits()]
        lines += [f"o{node.k} = {self._cell(node.k, at.N_STATE)}" for node in self._inlined()]
        lines += [f"k{j} = int(work[{WORK} + {j}])" for j in range(len(self.given_columns()))]
        return lines + self._states(save=False) + [line for node in self._inlined() for line in self._fixed(node)]

    def _fixed(self, node: _Node) -> list[str]:
        """Bring a node's parameters into locals, and make views of the arrays that stay arrays."""
        k, x, place = node.k, int(self.code[at.H_X]), self._cell(node.k, at.N_P)
        views = {
            "state": ("memory", f"o{k}", self._cell(k, at.N_STATES)),
            "x": ("memory", str(x), str(len(node.inputs))),
            "out": ("memory", str(node.out), str(node.outs)),
            "p": ("params", place, self._cell(k, at.N_PS)),
        }
        lines = [f"p{k}_{j} = params[{place} + {j}]" for j in node.cells("p")]
        return lines + [
            f"{name}{k} = {row}[{first} : {first} + {size}]"
            for name, (row, first, size) in views.items()
            if node.is_array(name)
        ]

    def _states(self, nodes: Iterable[_Node] | None = None, *, save: bool) -> list[str]:
        """Bring counters and memory of nodes into locals, or back."""
        lines, counters = [], int(self.code[at.H_COUNTERS])
        for node in self._inlined() if nodes is None else nodes:
            pairs = [(f"s{node.k}_{j}", f"memory[o{node.k} + {j}]") for j in node.cells("state")]
            lines += [f"{cell} = {local}" if save else f"{local} = {cell}" for local, cell in pairs]
            counter = f"memory[{counters + node.k}]"
            lines.append(f"{counter} = float(i{node.k})" if save else f"i{node.k} = int({counter})")
        return lines

    def _spill(self) -> list[str]:
        """Write the columns that are locals into the row."""
        if self._is_plain():  # the candle last settled; before the first one of a call the row holds it already
            lines = [f"memory[{j}] = candles[settled, {j}]" for j in range(at.W_CANDLE)]
            lines.append(f"memory[{at.R_MINUTE}] = minute_of_week(candles[settled, {at.C_TIME}] + PRIMARY_MS)")
            lines = ["if settled >= start:", *_indented(lines)]
        else:
            lines = [f"memory[{j}] = c{j}" for j in range(at.W_CANDLE)]
            lines.append(f"memory[{at.R_MINUTE}] = minute_of_week(c5 + PRIMARY_MS)")
        for node in self.nodes.values():
            lines += self._columns(node)
        lines += [f"memory[{j}] = c{j}" for j in SIGNAL] if self._wants_signal() else []
        return [*lines, "memory[R_PRICE] = memory[R_CLOSE]", "show_position(memory, book, memory[R_TIME] + PRIMARY_MS)"]

    def _columns(self, node: _Node) -> list[str]:
        """Write a node's outputs into the row."""
        if node.is_array("out") and node.k not in self.given:
            return []
        return [f"memory[{node.out + j}] = c{node.out + j}" for j in range(node.outs)]

    def _step(self, node: _Node) -> list[str]:
        """Return one step of a node on the present columns."""
        if node.k in self.given:
            place = self.given_columns().index(node.out)
            return [f"c{node.out + j} = columns[k{place + j}, i - start]" for j in range(node.outs)]
        k, lines = node.k, []
        if node.is_array("out"):
            lines += [f"for j_ in range({node.outs}):", f"    out{k}[j_] = {node.blank}"]
        else:
            lines += [f"c{node.out + j} = {node.blank}" for j in range(node.outs)]
        if node.is_array("x"):
            lines += [f"x{k}[{j}] = c{column}" for j, column in enumerate(node.inputs)]
        asked = [f"isfinite(c{c})" for c in node.inputs[: node.required] if c not in ALWAYS_FINITE]
        body = [*node.made.lines, f"i{k} += 1"]
        lines += [f"if {' and '.join(asked)}:", *_indented(body)] if asked else body
        if node.is_array("out"):
            lines += [f"c{node.out + j} = out{k}[{j}]" for j in range(node.outs)]
        return lines

    def _uses(self, nodes: Iterable[_Node]) -> set[int]:
        return {column for node in nodes if node.k not in self.given for column in node.inputs}

    def _is_plain(self) -> bool:
        """Tell whether every role closes with each base candle."""
        return all(self._length(role) in (0, self.code[at.H_BASE_MS]) for role in range(at.PRIMARY + 1))

    def _quick(self) -> list[str]:
        """Return the inner loop over candles at which nothing but marks and blocks changes."""
        roles = [role for role in range(at.PRIMARY + 1) if self._length(role)]
        nodes = [line for role in roles for line in self._nodes_of(role, quick=True)]
        filters = [self.nodes[k] for k in self._segment(at.SEG_FILTERS)]
        stepped = [f"c{at.R_PRICE} = c3", *(self._blank_signal() if self._wants_signal() else [])]
        text = QUICK.replace("@SIGNALS", self._signals()).replace("@HEEDS", self._asked())
        return _fill(
            text,
            NODES=nodes,
            FILTERS=[*stepped, *self._shown(filters), *(line for node in filters for line in self._step(node))],
            STEPS=self._exit_steps() or ["pass"],
            NATR=self._natr(),
        )

    def _passes(self) -> list[str]:
        """Return what a base candle does: once, or twice where a timeframe ended in the gap before it."""
        roles = [role for role in range(at.PRIMARY + 1) if self._length(role)]
        settle = _fill(SETTLE, SPILL=[*self._spill(), *self._states(self._exits(), save=True)], RELOAD=self._reload())
        if self._is_plain():
            nodes = [line for role in roles for line in self._nodes_of(role)]
            return ["if stage == 0:", *_indented([*settle, *nodes]), *self._falls(), *self._decide(), "total += 1.0"]
        steps: list[str] = []
        for role in roles:
            lines = self._nodes_of(role) + ([*self._falls(), *self._decide()] if role == at.PRIMARY else [])
            if self._length(role) == self.code[at.H_BASE_MS]:
                steps += ["if late == 0:", *_indented(lines)]
            else:
                steps += _fill(GROUP.replace("@ROLE", str(role)), BODY=lines)
        return _fill(PASSES, SETTLE=settle, ROLES=steps, FALLS=self._falls())

    def _reload(self) -> list[str]:
        """Return what a full settlement changes in locals: a new position armed its exits."""
        return [*self._states(self._exits(), save=False), *(f"w{node.k} = nan" for node in self._exits())]

    def _nodes_of(self, role: int, *, quick: bool = False) -> list[str]:
        """Return what the close of a role's candle does to its columns and blocks."""
        nodes = [self.nodes[k] for k in self._segment(role)]
        beyond = {c for c in self._uses(nodes) if at.R_MINUTE < c < at.W_HEAD and c != at.R_GAP}
        if beyond:
            raise Uninlinable(f"a block of the candles reads column {at.HEAD_COLUMNS[min(beyond)]} of the position")
        lines = self._candle(role, quick=quick)
        for node in nodes:
            lines += self._step(node)
        return lines

    def _falls(self) -> list[str]:
        """Return what becomes of a limit entry that a settlement let expire."""
        return _fill(FALLS, SPILL=[*self._spill(), *self._states(self._exits(), save=True)], RELOAD=self._reload())

    def _candle(self, role: int, *, quick: bool) -> list[str]:
        """Bring a role's candle into its columns; a quick one into those that are read."""
        first = int(self.code[at.H_ROLE_COLUMNS + role])
        if self._length(role) != self.code[at.H_BASE_MS]:
            wide = role == at.PRIMARY
            columns = [*range(at.W_CANDLE), at.R_MINUTE, at.R_GAP] if wide else range(first, first + at.W_CANDLE)
            return [f"c{j} = memory[{j}]" for j in columns]
        if role != at.PRIMARY:
            return [f"c{first + j} = candles[i, {j}]" for j in range(at.W_CANDLE)]
        used, lines = self._uses(self.nodes.values()), []
        names = [f"candles[i, {j}]" for j in range(at.W_CANDLE)] if quick else CANDLE
        needed = used | {at.C_CLOSE, at.C_TIME} if quick else set(range(at.W_CANDLE))
        if at.R_GAP in used:
            lines.append(f"c{at.R_GAP} = 1.0 if {names[at.C_TIME]} > c5 + PRIMARY_MS else 0.0")
        lines += [f"c{j} = {name}" for j, name in enumerate(names) if j in needed]
        return lines + ([f"c{at.R_MINUTE} = minute_of_week(c5 + PRIMARY_MS)"] if at.R_MINUTE in used else [])

    def _decide(self) -> list[str]:
        """Return the decision at a primary close."""
        filters, exits = [self.nodes[k] for k in self._segment(at.SEG_FILTERS)], self._exits()
        stepped = [f"c{at.R_PRICE} = c3", *self._shown(filters)]
        return _fill(
            DECIDE,
            FIND=self._find(),
            FILTERS=[*stepped, *(line for node in filters for line in self._step(node))],
            JUDGED=[line for node in filters for line in self._columns(node)] or ["pass"],
            STEPS=self._exit_steps() or ["pass"],
            HEEDS=[line for place, node in enumerate(exits) for line in self._heed(node, place)] or ["pass"],
            NATR=self._natr(),
            ENTERS=self._spill(),
            RELOAD=self._reload(),
        )

    def _natr(self) -> list[str]:
        column = int(self.code[at.H_NATR])
        return _lines(NATR.replace("@COLUMN", str(column))) if column else []

    def _shown(self, nodes: Sequence[_Node]) -> list[str]:
        """Bring the position, as it was before this close, into the columns that blocks read."""
        used = self._uses(nodes)
        lines = [f"c{j} = {held} if q != 0.0 else {flat}" for j, (held, flat) in SHOWN.items() if j in used]
        return lines + [f"c{j} = memory[{j}]" for j in SIZED if j in used]

    def _exit_steps(self) -> list[str]:
        """Return a step of every exit on the position at this close."""
        exits = self._exits()
        used = self._uses(exits)
        lines = [f"c{j} = {held}" for j, (held, _) in SHOWN.items() if j in used]
        lines += [f"c{j} = memory[{j}]" for j in SIZED if j in used]
        return lines + [line for node in exits for line in self._step(node)]

    def _signals(self) -> str:
        """Return the condition that an analyzer signals."""
        first, count = int(self.code[at.H_ANALYZER_LIST]), int(self.code[at.H_ANALYZERS])
        columns = [int(c) for c in self.code[first : first + count]]
        return " or ".join(f"c{c} == 1.0 or c{c} == -1.0" for c in columns) or "False"

    def _wants_signal(self) -> bool:
        """Tell whether filters or exits read the aggregated signal."""
        filters = [self.nodes[k] for k in self._segment(at.SEG_FILTERS)]
        return bool(self._uses([*filters, *self._exits()]) & {*SIGNAL})

    def _blank_signal(self) -> list[str]:
        return [f"{', '.join(f'c{j}' for j in SIGNAL)} = {', '.join(['0.0'] * len(SIGNAL))}"]

    def _find(self) -> list[str]:
        """Return the aggregation of the analyzers, which is left out while none of them signals."""
        first, count = int(self.code[at.H_ANALYZER_LIST]), int(self.code[at.H_ANALYZERS])
        columns = {int(c) for c in self.code[first : first + count]}
        owners = [node for node in self.nodes.values() if node.out in columns]
        written = [line for node in owners for line in self._columns(node)] or ["pass"]
        lines = _fill(FIND.replace("@SIGNALS", self._signals()), WEIGHED=written)
        if self._wants_signal():
            lines = [*self._blank_signal(), *lines, *_indented([f"c{j} = memory[{j}]" for j in SIGNAL])]
        return lines

    def _asked(self) -> str:
        """Return the condition that an exit is to be heeded."""
        return " or ".join(_exit_text(ASKED, node) for node in self._exits()) or "False"

    def _heed(self, node: _Node, place: int) -> list[str]:
        """Return how the position heeds an exit; a stop that it heeded already is left out."""
        text = HEED.replace("@ASKED", ASKED).replace("@REASON", f"{at.REASON_EXIT + place}.0")
        return _lines(_exit_text(text, node))


def _exit_text(text: str, node: _Node) -> str:
    """Put an exit's numbers in place of their words."""
    for word, value in {"@ASKS": node.out + 1, "@WISH": node.out, "@K": node.k}.items():
        text = text.replace(word, str(value))
    return text


def _lines(text: str) -> list[str]:
    return text.strip("\n").splitlines()


def _indented(lines: Iterable[str]) -> list[str]:
    return textwrap.indent("\n".join(lines), "    ").splitlines()


def _fill(text: str, **parts: Sequence[str]) -> list[str]:
    """Put lines in place of each word that stands alone on its line, with that line's indentation."""
    done: list[str] = []
    for line in _lines(text):
        word = line.strip()
        depth = line[: len(line) - len(word)]
        done += [depth + each for each in parts[word[1:]]] if word.startswith("@") else [line]
    return done
