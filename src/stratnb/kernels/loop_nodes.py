"""The blocks of the generated loop as text: their columns, parameters and memory as locals, and their steps."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from stratnb.kernels import layout as at
from stratnb.kernels.choices import chosen, shared_table
from stratnb.kernels.folding import aged
from stratnb.kernels.inline import Inlined, inline
from stratnb.kernels.jit import Row
from stratnb.kernels.plan_table import PlanTable

__all__ = ["AGE", "ALWAYS_FINITE", "SIGNAL", "SIZED", "LoopNodes", "Node", "indented", "told_apart"]

AGE = 16  # candles after which a block is taken for one that has begun
SIGNAL = range(at.R_DIRECTION, at.R_SHORT + 1)
SIZED = range(at.R_STOP_PRICE, at.R_FEES + 1)
ALWAYS_FINITE = frozenset(range(at.R_MINUTE + 1))
HELD_FINITE = frozenset(range(at.R_SIDE, at.R_GAP)) - {at.R_FIRST_STOP, at.R_STOP}


@dataclass(frozen=True, slots=True)
class Node:
    """One node of the plan: where its numbers lie, and its step as statements."""

    k: int
    inputs: tuple[int, ...]
    required: int
    out: int
    outs: int
    blank: str
    targets: int
    made: Inlined

    def is_array(self, name: str) -> bool:
        """Tell whether one of its arrays stays an array."""
        return self.made.cells[name] is None

    def cells(self, name: str) -> list[int]:
        """Return the cells of an array that are locals."""
        return sorted(self.made.cells[name] or ())


@dataclass(slots=True)
class LoopNodes(PlanTable):
    """The table of a plan, the choices among its parameters, and the steps of its nodes, as text.

    `given` are nodes whose outputs are read from `columns` (one row an output, one column a candle of the call)
    instead of being computed. Raises `Uninlinable` for a step that cannot be written out.
    """

    params: Row
    steps: Sequence[Callable[..., None]]
    given: frozenset[int] = frozenset()
    names: dict[str, Any] = field(default_factory=dict)
    nodes: dict[int, Node] = field(default_factory=dict)
    ahead: ClassVar[bool] = False

    def __post_init__(self) -> None:
        """Read the nodes."""
        self.nodes = {k: self._node(k) for k in range(len(self.steps))}

    def table(self) -> list[int]:
        """Return the table without what differs between plans of this structure."""
        return [int(number) for number in shared_table(self.code, len(self.steps))]

    def given_columns(self) -> list[int]:
        """Return the columns of the row that `columns` holds, in the order of its rows."""
        return [self.record(k, at.N_OUT) + j for k in sorted(self.given) for j in range(self.record(k, at.N_OUTS))]

    def column(self, k: int, column: int) -> str:
        """Return the local that is a column for a node: a candle to which blocks ran ahead is not the account's."""
        return f"{'a' if self.ahead and k in self.of_candles() and column in self.of_candle() else 'c'}{column}"

    def place(self, k: int, cell: int) -> str:
        """Return where the table says a number of a node at run time: sizes of memory go by parameters."""
        return f"code[{int(self.code[at.H_NODES]) + k * at.W_NODE + cell}]"

    def _node(self, k: int) -> Node:
        """Read one node of the table and turn its step into statements."""
        inputs, out = self.inputs(k), self.record(k, at.N_OUT)

        def _cell(array: str, index: int) -> str:
            if array == "x":
                return self.column(k, inputs[index]) if index < len(inputs) else "nan"  # a choice without such an input
            return f"c{out + index}" if array == "out" else f"{array[0]}{k}_{index}"

        return Node(
            k=k,
            inputs=inputs,
            required=self.record(k, at.N_REQUIRED),
            out=out,
            outs=self.record(k, at.N_OUTS),
            blank="0.0" if self.record(k, at.N_FILL) == at.FILL_ZERO else "nan",
            targets=self.record(k, at.N_TARGETS),
            made=inline(self.steps[k], k, _cell, self._alias, chosen(self.code, self.params, k)),
        )

    def _alias(self, value: Any) -> str:
        """Return the name under which an object from outside is known to the text."""
        name = next((name for name, known in self.names.items() if known is value), f"g{len(self.names)}")
        self.names[name] = value
        return name

    def inlined(self) -> list[Node]:
        """Return the nodes that are computed."""
        return [node for k, node in self.nodes.items() if k not in self.given]

    def exits(self) -> list[Node]:
        """Return the exits."""
        return [self.nodes[k] for k in self.segment(at.SEG_EXITS)]

    def fixed(self, node: Node) -> list[str]:
        """Bring a node's parameters into locals, and make views of the arrays that stay arrays."""
        k, x, place = node.k, int(self.code[at.H_X]), self.place(node.k, at.N_P)
        views = {
            "state": ("memory", f"o{k}", self.place(k, at.N_STATES)),
            "x": ("memory", str(x), str(len(node.inputs))),
            "out": ("memory", str(node.out), str(node.outs)),
            "p": ("params", place, self.place(k, at.N_PS)),
        }
        lines = [f"p{k}_{j} = params[{place} + {j}]" for j in node.cells("p")]
        return lines + [
            f"{name}{k} = {row}[{first} : {first} + {size}]"
            for name, (row, first, size) in views.items()
            if node.is_array(name)
        ]

    def states(self, nodes: Iterable[Node] | None = None, *, save: bool) -> list[str]:
        """Bring counters and memory of nodes into locals, or back."""
        lines, counters = [], int(self.code[at.H_COUNTERS])
        for node in self.inlined() if nodes is None else nodes:
            pairs = [(f"s{node.k}_{j}", f"memory[o{node.k} + {j}]") for j in node.cells("state")]
            lines += [f"{cell} = {local}" if save else f"{local} = {cell}" for local, cell in pairs]
            counter = f"memory[{counters + node.k}]"
            if node.made.reads_number and self.is_steady(node):
                lines.append(f"{counter} = float(b{node.k} + i)" if save else f"b{node.k} = int({counter}) - start")
            elif node.made.reads_number:
                lines.append(f"{counter} = float(i{node.k})" if save else f"i{node.k} = int({counter})")
        return lines

    def begun(self, nodes: Sequence[Node]) -> list[str]:
        """Bring parameters and memory of nodes into locals."""
        lines = [f"o{node.k} = {self.place(node.k, at.N_STATE)}" for node in nodes]
        return lines + self.states(nodes, save=False) + [line for node in nodes for line in self.fixed(node)]

    def asked(self, node: Node, given: Collection[int] = ()) -> list[str]:
        """Return the conditions on which a node is stepped; columns that are `given` are known to be finite."""
        finite = ALWAYS_FINITE if node.k >= self.segment(at.PRIMARY).start else frozenset()  # a first candle closed
        finite |= HELD_FINITE if node.k in self.segment(at.SEG_EXITS) else frozenset()
        finite |= frozenset(given)
        return [f"isfinite({self.column(node.k, c)})" for c in node.inputs[: node.required] if c not in finite]

    def is_steady(self, node: Node) -> bool:
        """Tell whether a node is stepped at each base candle, so that its counter goes with the candles."""
        return node.k in self.of_candles() and self.is_plain() and not self.asked(node)

    def index(self, node: Node) -> str:
        """Return the local that is the row of the candle at which a node is stepped."""
        return "ahead" if self.ahead and node.k in self.of_candles() else "i"

    def outputs(self, node: Node) -> list[str]:
        """Write a node's outputs into the row."""
        if node.is_array("out") and node.k not in self.given:
            return []
        return [f"memory[{node.out + j}] = c{node.out + j}" for j in range(node.outs)]

    def stepped(self, node: Node, *, swift: bool = False) -> list[str]:
        """Return one step of a node on the present columns; a `swift` one where all that is given is finite.

        There it has also seen AGE candles.
        """
        if node.k in self.given:
            place = self.given_columns().index(node.out)
            return [f"c{node.out + j} = cell(columns, k{place + j} + {self.index(node)})" for j in range(node.outs)]
        k, lines = node.k, []
        if node.is_array("out"):
            lines += [f"for j_ in range({node.outs}):", f"    out{k}[j_] = {node.blank}"]
        else:
            lines += [f"c{node.out + j} = {node.blank}" for j in range(node.outs)]
        if node.is_array("x"):
            lines += [f"x{k}[{j}] = {self.column(k, column)}" for j, column in enumerate(node.inputs)]
        asked, body = self.asked(node, self.given_columns() if swift else ()), list(node.made.lines)
        body = aged(f"i{k}", AGE, body) if swift and node.made.reads_number else body
        if node.made.reads_number:
            body = [f"i{k} = b{k} + {self.index(node)}", *body] if self.is_steady(node) else [*body, f"i{k} += 1"]
        lines += [f"if {' and '.join(asked)}:", *indented(body)] if asked else body
        if node.is_array("out"):
            lines += [f"c{node.out + j} = out{k}[{j}]" for j in range(node.outs)]
        return lines

    def uses(self, nodes: Iterable[Node]) -> set[int]:
        """Return the columns that nodes read."""
        return {column for node in nodes if node.k not in self.given for column in node.inputs}


def indented(lines: Iterable[str]) -> list[str]:
    """Return lines one level deeper."""
    return textwrap.indent("\n".join(lines), "    ").splitlines()


def told_apart(text: str) -> str:
    """Return a text in which none of its own names ends with a digit.

    The compiler names what it reads by a name and the place where it is read: i2 at 5588 would be i at 25588, which it
    refuses. Objects from outside (g<number>) keep their names.
    """
    return re.sub(r"(?<![\w.])(?!g\d+\b)([a-z]\w*\d)\b", r"\1_", text)
