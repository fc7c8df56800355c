"""Laws of every registered indicator, analyzer and filter, so a new block is tested the moment it exists."""

from __future__ import annotations

import ast
import inspect
import json
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, get_args, get_origin

import numpy as np
import numpy.typing as npt
import pytest
from pydantic import ValidationError

from blocks_harness import Floats, Memory, make_candles, make_columns, resolve, run, step_of, walk
from stratnb.blocks.base import Analyzer, Block, Filter, Indicator, Ref, find, kinds

N = 420
ROLES = ("indicator", "analyzer", "filter")
PRICES = {"open", "high", "low", "close", "price", "stop", "entry_price"}


@dataclass(frozen=True)
class Setup:
    """A block as tested: its defaults, with one choice or switch turned the other way."""

    block: Block
    label: str

    def __str__(self) -> str:
        return self.label


def choices(annotation: Any) -> tuple[Any, ...]:
    """Return the values of a switch or a choice, and nothing for other fields."""
    if annotation is bool:
        return (False, True)
    return get_args(annotation) if get_origin(annotation) is Literal else ()


def setups() -> Iterator[Setup]:
    """Yield every registered kind with its defaults, then with each other value of each choice."""
    for role in ROLES:
        for kind, cls in sorted(kinds(role).items()):
            if not cls.__module__.startswith("stratnb."):
                continue
            base = cls()
            yield Setup(base, f"{role}-{kind}")
            for name, info in cls.model_fields.items():
                for other in choices(info.annotation):
                    if other == getattr(base, name) or name in cls.structural:
                        continue
                    try:
                        yield Setup(cls(**{name: other}), f"{role}-{kind}-{name}={other}")
                    except ValidationError:
                        continue  # it needs another field changed as well


SETUPS = list(setups())
every = pytest.mark.parametrize("setup", SETUPS, ids=str)
analyzers = pytest.mark.parametrize("setup", [s for s in SETUPS if isinstance(s.block, Analyzer)], ids=str)


@cache
def columns(label: str, seed: int = 21) -> dict[str, Floats]:
    """Return the columns that the block of a label reads."""
    block = next(s.block for s in SETUPS if s.label == label)
    return make_columns(block, make_candles(N, seed), seed)


@cache
def inputs(label: str) -> Floats:
    """Return the input rows of the block of a label."""
    return resolve(next(s.block for s in SETUPS if s.label == label), columns(label))


def bits(values: Floats) -> npt.NDArray[np.int64]:
    """Return float64 values as integers with one NaN, so that equal means the same bits."""
    return np.where(np.isnan(values), np.float64(np.nan), values).view(np.int64)


def assert_same_bits(left: Floats, right: Floats) -> None:
    """Assert equality to the last bit and name the first row that differs."""
    assert left.shape == right.shape
    rows = np.flatnonzero((bits(left) != bits(right)).reshape(len(left), -1).any(axis=1))
    assert rows.size == 0, f"row {rows[0]}: {left[rows[0]]} is not {right[rows[0]]} ({rows.size} rows differ)"


def table(outputs: dict[str, Floats]) -> Floats:
    """Return outputs as rows."""
    return np.stack(list(outputs.values()), axis=1)


@every
def test_outputs_of_a_prefix_are_the_prefix_of_the_outputs(setup: Setup) -> None:
    whole = table(run(setup.block, columns(setup.label)))
    for length in (1, 2, 57, N // 2, N - 1):
        prefix = {name: series[:length] for name, series in columns(setup.label).items()}
        assert_same_bits(table(run(setup.block, prefix)), whole[:length])


@every
def test_plain_python_and_compiled_code_give_the_same_bits(setup: Setup) -> None:
    x = inputs(setup.label)
    assert_same_bits(walk(setup.block, x, python=True), walk(setup.block, x))


@every
def test_restored_memory_goes_on_as_if_never_stopped(setup: Setup) -> None:
    x, block = inputs(setup.label), setup.block
    whole = walk(block, x)
    for cut in (1, 33, N // 2):
        memory = Memory.of(block)
        walk(block, x[:cut], memory)
        saved = (memory.i, memory.state.tobytes())
        restored = Memory(saved[0], np.frombuffer(saved[1]).copy())
        assert_same_bits(walk(block, x[cut:], restored), whole[cut:])


@every
def test_runs_are_repeatable_and_leave_inputs_and_parameters_alone(setup: Setup) -> None:
    x = inputs(setup.label)
    before, p = x.copy(), np.array(setup.block.p(), dtype=float)
    first = walk(setup.block, x)
    assert_same_bits(first, walk(setup.block, x))
    assert_same_bits(x, before)
    memory, out, kept = Memory.of(setup.block), np.full(len(setup.block.outputs), np.nan), p.tobytes()
    step_of(setup.block)(0, memory.state, np.nan_to_num(x[-1]), out, p)
    assert p.tobytes() == kept


@every
@pytest.mark.parametrize("power", [-9, 6])
@pytest.mark.parametrize("what", ["prices", "volumes"])
def test_the_unit_of_prices_and_volumes_does_not_matter(setup: Setup, what: str, power: int) -> None:
    factor, source = 2.0**power, columns(setup.label)
    scaled = {
        name: series * factor if (word_is_price(name) if what == "prices" else name.endswith("volume")) else series
        for name, series in source.items()
    }
    left, right = run(setup.block, source), run(setup.block, scaled)
    for name in left:
        same = np.array_equal(bits(left[name]), bits(right[name]))
        if fixed(setup.block, name):
            assert same, f"{name} changes with the unit"
        else:
            assert same or np.array_equal(bits(left[name] * factor), bits(right[name])), f"{name} is not of one degree"


def word_is_price(name: str) -> bool:
    """Tell whether a column holds prices, by the last part of its name."""
    return name.rpartition(".")[2] in PRICES


def fixed(block: Block, output: str) -> bool:
    """Tell whether an output must not change with the unit at all; others may be proportional to it."""
    judged = {Analyzer: ("direction", "confidence"), Filter: ("allow", "factor", "need")}
    return any(isinstance(block, role) and output in names for role, names in judged.items())


@analyzers
@pytest.mark.parametrize("seed", [21, 22, 23])
def test_confidence_is_a_fraction_and_zero_without_a_direction(setup: Setup, seed: int) -> None:
    got = run(setup.block, columns(setup.label, seed))
    direction, confidence = got["direction"], got["confidence"]
    np.testing.assert_array_equal(np.isnan(direction), np.isnan(confidence))
    ready = np.isfinite(direction)
    assert ready.any()
    assert set(direction[ready]) <= {-1.0, 0.0, 1.0}
    assert ((confidence[ready] >= 0.0) & (confidence[ready] <= 1.0)).all()
    np.testing.assert_array_equal(direction[ready] == 0.0, confidence[ready] == 0.0)


@pytest.mark.parametrize("setup", [s for s in SETUPS if isinstance(s.block, Filter)], ids=str)
def test_a_filter_allows_or_blocks_lowers_or_keeps_and_needs_a_fraction(setup: Setup) -> None:
    got = run(setup.block, columns(setup.label))
    ready = np.isfinite(got["allow"])
    assert ready.any()
    assert set(got["allow"][ready]) <= {0.0, 1.0}
    assert ((got["factor"][ready] >= 0.0) & (got["factor"][ready] <= 1.0)).all()
    assert ((got["need"][ready] >= 0.0) & (got["need"][ready] <= 1.0)).all()


@every
def test_no_output_before_the_warmup(setup: Setup) -> None:
    block, x = setup.block, inputs(setup.label)
    own = np.flatnonzero(np.isfinite(x[:, : block.required()]).all(axis=1))
    early = own[: block.warmup() - 1]
    assert np.isnan(walk(block, x)[early, 0]).all()
    if isinstance(block, Indicator) and block.kind != "pivots":
        assert np.isfinite(walk(block, x)[own[block.warmup() - 1 :], 0]).all()


def degenerate() -> dict[str, dict[str, Floats]]:
    """Return candles at the border of what can occur, by name."""
    usual, n = make_candles(200, 31), 200
    flat = {name: np.full(n, 100.0) for name in ("open", "high", "low", "close")}
    steps = {name: np.repeat([100.0, 130.0, 90.0, 90.0], n // 4) for name in flat}
    return {
        "flat": usual | flat,
        "flat_without_volume": usual | flat | {"volume": np.zeros(n)},
        "without_volume": usual | {"volume": np.zeros(n)},
        "jumps_between_flats": usual | steps,
        "tiny_prices": usual | {name: usual[name] * 1e-12 for name in flat},
        "one_candle": {name: series[:1] for name, series in usual.items()},
    }


DEGENERATE = degenerate()


@every
@pytest.mark.parametrize("name", DEGENERATE)
@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_degenerate_candles_neither_raise_nor_give_infinity(setup: Setup, name: str) -> None:
    source = make_columns(setup.block, DEGENERATE[name], 32)
    for python in (False, True):
        for series in run(setup.block, source, python=python).values():
            assert not np.isinf(series).any()


@every
def test_candles_of_nan_are_skipped_as_if_they_were_absent(setup: Setup) -> None:
    source, missing = columns(setup.label), np.random.default_rng(33).random(N) < 0.1
    holes = {name: np.where(missing, np.nan, series) for name, series in source.items()}
    present = {name: np.ascontiguousarray(series[~missing]) for name, series in source.items()}
    got = table(run(setup.block, holes))
    assert np.isnan(got[missing]).all()
    assert_same_bits(got[~missing], table(run(setup.block, present)))


@every
def test_a_configuration_survives_json(setup: Setup) -> None:
    cls, text = type(setup.block), setup.block.model_dump_json()
    again = cls.model_validate_json(text)
    assert again == setup.block
    assert cls.model_validate(json.loads(text)) == setup.block
    assert again.model_dump_json() == text
    np.testing.assert_array_equal(again.p(), setup.block.p())


@every
def test_the_declaration_is_complete(setup: Setup) -> None:
    block, cls = setup.block, type(setup.block)
    assert find(cls.role, cls.kind) is cls
    assert cls.__doc__ and not cls.__doc__.startswith("A block")
    for name, info in cls.model_fields.items():
        assert info.title or info.description, f"field {name} has neither title nor description"
    assert len(set(block.outputs)) == len(block.outputs)
    assert 0 <= block.required() <= len(block.inputs())
    assert block.state_size() >= 0 and block.warmup() >= 1
    assert all(isinstance(number, float) for number in block.p())
    for name in block.inputs():
        assert not isinstance(name, Ref) or name.output in ("", *name.block.outputs)
    if isinstance(block, Indicator):
        assert set(block.overlays) <= set(block.outputs)
    read = [name for name in block.inputs() if isinstance(name, str)]
    assert block.explain(dict.fromkeys(read, 100.0) | dict.fromkeys(block.outputs, 0.0))


@pytest.mark.parametrize("cls", dict.fromkeys(type(s.block) for s in SETUPS), ids=lambda cls: f"{cls.role}-{cls.kind}")
def test_a_step_can_be_inlined(cls: type[Block]) -> None:
    tree = ast.parse(textwrap.dedent(inspect.getsource(cls.step.function)))
    banned = (ast.Return, ast.Lambda, ast.Yield, ast.Global, ast.Nonlocal, ast.ListComp, ast.Try, ast.With, ast.Import)
    assert not [type(node).__name__ for node in ast.walk(tree) if isinstance(node, banned)]
    assert cls.step.function.__closure__ is None
    assert [argument.arg for argument in tree.body[0].args.args] == ["i", "state", "x", "out", "p"]  # type: ignore[attr-defined]
