"""Plans of one structure run together: a generated loop for all, columns that several read computed once.

What each trial comes to does not depend on what else runs beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from stratnb.kernels import layout as at
from stratnb.kernels import loop, trials
from stratnb.kernels.choices import chosen
from stratnb.kernels.fused import Uninlinable, column_maker, fused
from stratnb.kernels.jit import Kernel, PythonKernel
from stratnb.kernels.loop_frame import INSIDE, WORK
from stratnb.research.looping import REASON_CELLS
from stratnb.strategy.plan import Plan

__all__ = ["Structure", "Trials", "run_together", "structure_of"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

SHARED_BY = 4  # a column is computed apart when so many trials read it on average
LANES = 4  # columns of a block that are computed at once


class Maker(NamedTuple):
    """What fills the columns of a node: its loop, the columns of one set of parameters, and how many sets at once."""

    kernel: Kernel[..., Any]
    outs: int
    lanes: int


@dataclass(frozen=True, slots=True)
class Structure:
    """What plans that differ in numbers alone have in common: the loop, and the nodes that are given as columns."""

    loop: Kernel[..., Any]
    given: tuple[int, ...]
    makers: dict[int, Maker]

    @property
    def kernels(self) -> tuple[Kernel[..., Any], ...]:
        """Return all that has to be compiled."""
        return (self.loop, *(maker.kernel for maker in self.makers.values()))


@dataclass(frozen=True, slots=True, eq=False)
class Trials:
    """What m trials came to: equity before and after each stretch, books, reasons, closes with a position."""

    daily: Floats
    books: Floats
    counts: Floats
    inside: Floats


def structure_of(plans: Sequence[Plan]) -> Structure | None:
    """Return the structure of plans with one key; None when no loop can be generated for it."""
    plan = plans[0]
    makers: dict[int, Maker] = {}
    alone = all(int(plan.code[at.H_TIMEFRAMES + role]) in (0, plan.base_ms) for role in range(at.PRIMARY + 1))
    if alone and len(plans) >= 2 * SHARED_BY:
        columns, tables = set(range(at.W_CANDLE)), _Tables()
        for k in _role_nodes(plan):
            node = tables.nodes(plan)[k]
            distinct = _distinct(plans, tables, k) if columns.issuperset(node.inputs) else len(plans)
            if distinct * SHARED_BY <= len(plans):
                made = _maker(plan, k, LANES if distinct >= LANES else 1)
                if made is not None:
                    makers[k] = made
                    columns.update(node.outputs)
    try:
        own = fused(plan.code, plan.params, plan.kernels, frozenset(makers))
    except Uninlinable:
        return None
    return Structure(own, tuple(sorted(makers)), makers)


class _Node(NamedTuple):
    """A node as its table tells it: where its parameters lie, their number, cells of memory, columns read and made."""

    p: int
    ps: int
    states: int
    inputs: tuple[int, ...]
    outputs: range


class _Tables:
    """The nodes of plans, read once of a table that is one object in many of them."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[Ints, list[_Node]]] = {}

    def nodes(self, plan: Plan) -> list[_Node]:
        """Return the nodes that read candles and columns alone, and those before them."""
        if id(plan.code) not in self._known:
            self._known[id(plan.code)] = plan.code, [_read(plan, k) for k in range(_role_nodes(plan).stop)]
        return self._known[id(plan.code)][1]


def _record(plan: Plan, k: int) -> Ints:
    first = int(plan.code[at.H_NODES]) + k * at.W_NODE
    return plan.code[first : first + at.W_NODE]


def _read(plan: Plan, k: int) -> _Node:
    node = _record(plan, k).tolist()
    inputs = plan.code[node[at.N_LIST] : node[at.N_LIST] + node[at.N_INPUTS]].tolist()
    outputs = range(node[at.N_OUT], node[at.N_OUT] + node[at.N_OUTS])
    return _Node(node[at.N_P], node[at.N_PS], node[at.N_STATES], tuple(inputs), outputs)


def _role_nodes(plan: Plan) -> range:
    """Return the nodes that read candles and columns alone, in order."""
    return range(int(plan.code[at.H_SEGMENTS]), int(plan.code[at.H_SEGMENTS + 2 * at.PRIMARY + 1]))


def _distinct(plans: Sequence[Plan], tables: _Tables, k: int) -> int:
    """Return with how many sets of numbers a node stands in the plans, what it reads included."""
    first = tables.nodes(plans[0])
    by_column = {c: n for n in _role_nodes(plans[0]) for c in first[n].outputs}
    needed, found = {k}, [k]
    for node in found:
        read = {by_column[c] for c in first[node].inputs if c in by_column} - needed
        needed |= read
        found += read

    def _key(plan: Plan) -> tuple[object, ...]:
        own = [tables.nodes(plan)[node] for node in found]
        return tuple([(plan.params[node.p : node.p + node.ps].tobytes(), node.states) for node in own])

    return len({_key(plan) for plan in plans})


def _maker(plan: Plan, k: int, lanes: int) -> Maker | None:
    node = _record(plan, k)
    if isinstance(plan.kernels[k], PythonKernel) or node[at.N_FILL] == at.FILL_ZERO:
        return None
    places = [c if c < at.W_CANDLE else -1 for c in _read(plan, k).inputs]
    try:
        outs, choices = int(node[at.N_OUTS]), chosen(plan.code, plan.params, k)
        made = column_maker(plan.kernels[k], places, int(node[at.N_REQUIRED]), outs, choices, lanes)
        return Maker(made, outs, lanes)
    except Uninlinable:
        return None


class _Instance(NamedTuple):
    """One set of columns: its node, parameters, cells of memory, inputs (rows of columns) and first row."""

    k: int
    numbers: Floats
    states: int
    read: Sequence[int]
    row: int


class _Columns:
    """The distinct columns of some plans, and which rows each plan reads."""

    def __init__(self, structure: Structure) -> None:
        self._structure = structure
        self._tables = _Tables()
        self._known: dict[tuple[object, ...], _Instance] = {}
        self.rows = 0

    def place(self, plan: Plan) -> list[int]:
        """Add what a plan reads; return the row of each given column in the order of the loop."""
        row_of: dict[int, int] = {}
        nodes = self._tables.nodes(plan)
        for k in self._structure.given:
            node = nodes[k]
            read = [row_of.get(c, c) if c >= at.W_CANDLE else c for c in node.inputs]
            numbers = plan.params[node.p : node.p + node.ps]
            key = (k, numbers.tobytes(), node.states, *read)
            if key not in self._known:
                self._known[key] = _Instance(k, numbers, node.states + 1, read, self.rows)
                self.rows += len(node.outputs)
            row = self._known[key].row
            for j, column in enumerate(node.outputs):
                row_of[column] = row + j
        return list(row_of.values())

    def tables(self, longest: int) -> tuple[Ints, Floats, Floats, Ints, Floats]:
        """Return makers, their parameters, memory and places, and room for the columns, as `run_trials` takes them.

        What is missing to a whole number of lanes is filled up with more of the last, whose columns nobody reads.
        """
        makers: list[tuple[int, int]] = []
        params: list[float] = [0.0]
        places: list[int] = [0]
        cells = spare = 0
        for k in self._structure.given:
            maker, own = self._structure.makers[k], [each for each in self._known.values() if each.k == k]
            kept = len(own)
            own += own[-1:] * (-len(own) % maker.lanes)
            for n, each in enumerate(own):
                if n % maker.lanes == 0:
                    makers.append((maker.kernel.address(), len(places)))
                row = each.row if n < kept else self.rows
                places += (len(params), len(each.numbers), cells, each.states, row, *each.read)
                params += each.numbers.tolist()
                cells += each.states
            spare = max(spare, maker.outs)
        table = np.array(makers, np.int64).reshape(-1, 2)
        room = np.empty((self.rows + spare, longest + 1))
        return table, np.array(params), np.zeros(cells), np.array(places, np.int64), room


def run_together(
    structure: Structure,
    plans: Sequence[Plan],
    accounts: Sequence[tuple[Floats, Floats]],
    rows: Floats,
    ends: Ints,
    rates: Sequence[tuple[int, int, Floats]],
) -> Trials:
    """Run plans of a structure, each on its own book (1, W_BOOK) and account, over the stretches that end at `ends`.

    `rates` are the funding rates of m plans for stretches first..last, as `research.funding.shared` gives both.
    """
    columns, m = _Columns(structure), len(plans)
    picks = [columns.place(plan) for plan in plans]
    width = WORK + len(picks[0]) + max(plan.decision_width for plan in plans)
    works = np.zeros((m, width))
    if picks[0]:
        works[:, WORK : WORK + len(picks[0])] = picks
    books = np.stack([book for book, _ in accounts])
    daily, counts = np.empty((m, len(ends) + 1)), np.zeros((m, REASON_CELLS))
    daily[:, 0] = books[:, 0, at.B_EQUITY]
    longest = int(np.diff(ends, prepend=0).max())
    given = (
        *columns.tables(longest),
        structure.loop.address(),
        loop.parts(),
        np.stack([plan.code for plan in plans]),
        _padded([plan.params for plan in plans]),
        _padded([plan.memory() for plan in plans]),
        books,
        np.stack([account for _, account in accounts]),
        rows,
        ends,
    )
    rest = (daily, counts, works, np.empty((at.MAX_FILLS, at.W_FILL)), np.empty(0))
    for first, last, own in rates:
        books[:, 0, at.B_FUNDING_RATE] = own
        trials.run_trials(*given, first, last, *rest)
    return Trials(daily, books[:, 0], counts, works[:, INSIDE].copy())


def _padded(rows: Sequence[Floats]) -> Floats:
    """Return rows of several lengths as one table."""
    table = np.zeros((len(rows), max(map(len, rows))))
    for row, values in zip(table, rows, strict=True):
        row[: len(values)] = values
    return table
