"""What a block is: a declaration with typed parameters and one compiled `step`.

A block never sees the future: its `step(i, state, x, out, p)` is given the number of the candle (counted from the
first candle whose required inputs were finite), its own memory, the values of its inputs, its outputs (NaN at the
start of every candle) and its numeric parameters. The engine, the backtest and a sweep run that one step.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar, Literal, Self, TypeAlias, get_args, get_origin

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from stratnb.errors import ConfigError, nearest
from stratnb.kernels.jit import STEP, Kernel, PythonKernel

__all__ = [
    "CANDLE_COLUMNS",
    "Analyzer",
    "Block",
    "Exit",
    "Filter",
    "Indicator",
    "Input",
    "Ref",
    "Role",
    "Sizing",
    "find",
    "kinds",
    "redefinitions",
]

Role = Literal["indicator", "analyzer", "filter", "sizing", "exit"]
ROLES: tuple[Role, ...] = get_args(Role)
CANDLE_COLUMNS = ("open", "high", "low", "close", "volume", "open_time_ms")

_REGISTRY: dict[Role, dict[str, type[Block]]] = {role: {} for role in ROLES}
_REPLACED: dict[str, int] = {"count": 0}


@dataclass(frozen=True)
class Ref:
    """One output of another block, brought along as an input; equal blocks are computed once."""

    block: Indicator
    output: str = ""


Input: TypeAlias = "str | Ref"


class Block(BaseModel):
    """A building block of strategies; subclass one of the five roles with `kind="..."` to register it.

    A subclass declares its parameters as fields (bounds, default, title and unit on the `Field`), its outputs, and a
    static `step` under `@staticmethod` and `@kernel` (`@python` for one that cannot be compiled; not for exits). Fields
    named in `structural` shape the block but do not enter `p`. The first `required()` inputs must be finite before the
    block is stepped; later ones may be NaN.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, ser_json_inf_nan="constants")

    role: ClassVar[Role]
    kind: ClassVar[str] = ""
    outputs: ClassVar[tuple[str, ...]] = ("value",)
    structural: ClassVar[frozenset[str]] = frozenset({"on"})
    overlays: ClassVar[tuple[str, ...]] = ()
    mirror: ClassVar[bool] = False
    step: ClassVar[Kernel[..., None]]

    def __init_subclass__(cls, *, kind: str = "", **kwargs: Any) -> None:
        """Accept the `kind` keyword of a class definition."""
        super().__init_subclass__(**kwargs)
        if kind:
            cls.kind = kind

    @classmethod
    def __pydantic_init_subclass__(cls, *, kind: str = "", **kwargs: Any) -> None:
        """Register the finished class under its role and kind."""
        super().__pydantic_init_subclass__(**kwargs)
        if kind:
            _register(cls)

    def inputs(self) -> tuple[Input, ...]:
        """Return the input columns in the order of `x`: names of columns or references to other blocks."""
        return tuple(getattr(self, "on", ("close",)))

    def required(self) -> int:
        """Return how many leading inputs must be finite before the block is stepped."""
        return len(self.inputs())

    def state_size(self) -> int:
        """Return the number of float64 cells of own memory, zeroed at the start."""
        return 0

    def warmup(self) -> int:
        """Return the own candles needed until the first output (1: the first candle gives one)."""
        return 1

    def p(self) -> list[float]:
        """Return the numeric parameters in field order; a literal is its index, a boolean 0 or 1, None is NaN."""
        return [
            _number(getattr(self, name), info.annotation)
            for name, info in type(self).model_fields.items()
            if name not in self.structural
        ]

    @classmethod
    def choices(cls) -> tuple[int, ...]:
        """Return which numbers of `p` are literals or booleans; a loop is generated for each of their values.

        Override it together with `p`; a number that is left out is one that varies.
        """
        if cls.p is not Block.p:
            return ()
        fields = [info.annotation for name, info in cls.model_fields.items() if name not in cls.structural]
        return tuple([j for j, kind in enumerate(fields) if kind is bool or get_origin(kind) is Literal])

    def explain(self, row: Mapping[str, float]) -> str:
        """Return a short sentence about one row of inputs and outputs, for the decision inspector."""
        return ", ".join(f"{name} {row[name]:.6g}" for name in self.outputs if name in row)


class Indicator(Block):
    """A block that computes columns from candles or other columns."""

    role: ClassVar[Role] = "indicator"


class Analyzer(Block):
    """A block that gives a direction and a confidence; extras may follow.

    `step` writes the raw direction (-1, 0, +1) to `out[0]` and the raw confidence to `out[1]`, and leaves both NaN
    while it is not ready. Holding, limits and readiness are one rule for all kinds and are applied after it.
    """

    role: ClassVar[Role] = "analyzer"
    outputs: ClassVar[tuple[str, ...]] = ("direction", "confidence")

    confidence_floor: float = Field(0.5, ge=0, le=1, title="Confidence at the threshold")
    confidence_cap: float = Field(0.95, ge=0, le=1, title="Confidence at full strength")

    @model_validator(mode="after")
    def _floor_below_cap(self) -> Self:
        if self.confidence_floor >= self.confidence_cap:
            raise ValueError("order_violation: confidence_floor must be below confidence_cap")
        return self


class Filter(Block):
    """A block that may veto a signal, lower its confidence or raise the threshold.

    `step` writes `allow` (1 or 0), `factor` (a multiplier of the confidence, at most 1) and `need` (the least final
    confidence), then `value` and `limit` for the inspector. A filter whose required inputs are missing leaves NaN;
    `on_missing` then decides.
    """

    role: ClassVar[Role] = "filter"
    outputs: ClassVar[tuple[str, ...]] = ("allow", "factor", "need", "value", "limit")
    structural: ClassVar[frozenset[str]] = frozenset({"on_missing", "enabled"})
    order: ClassVar[int] = 100

    enabled: bool = Field(True, title="Enabled")
    on_missing: Literal["block", "allow"] = Field("block", title="When data is missing")

    def compare(self, row: Mapping[str, float]) -> tuple[str, str]:
        """Return the compared number and what it must be, as texts, from a row of inputs and outputs.

        Override it to say the relation, such as ">= 0.5"; a number that is not known gives empty texts.
        """
        value, limit = row.get("value", math.nan), row.get("limit", math.nan)
        return _figure(value), _figure(limit)


class Sizing(Block):
    """A block that turns a decision into a notional in quote units, written to `out[0]`."""

    role: ClassVar[Role] = "sizing"
    outputs: ClassVar[tuple[str, ...]] = ("notional",)
    structural: ClassVar[frozenset[str]] = frozenset({"cap"})
    needs_stop: ClassVar[bool] = False

    cap: float = Field(1.0, gt=0, le=10, title="Cap (share of equity)", json_schema_extra={"x-unit": "fraction"})


class Exit(Block):
    """A block that gives a stop price (`out[0]`, NaN for none) and an exit wish (`out[1]`, 1 for leave).

    It is stepped once when a position is armed at its fill price (`position.fresh` is 1) and at every primary close
    while the position is open; its memory is zeroed when a position is armed. Target blocks add pairs of outputs after
    the first two: price and share of the original quantity.
    """

    role: ClassVar[Role] = "exit"
    outputs: ClassVar[tuple[str, ...]] = ("stop", "exit")
    reason: ClassVar[str] = ""
    limits_loss: ClassVar[bool] = False

    def target_count(self) -> int:
        """Return how many pairs of price and share it fills at most."""
        return (len(self.outputs) - 2) // 2


def find(role: Role, kind: str) -> type[Block]:
    """Return the class registered for a role and kind, or raise `ConfigError` with near matches."""
    known = kinds(role)
    if kind not in known:
        close = nearest(kind, known)
        hint = f"did you mean {' or '.join(map(repr, close))}?" if close else f"known kinds: {', '.join(sorted(known))}"
        raise ConfigError("unknown_kind", f"{role} kind {kind!r} is not known", value=kind, hint=hint)
    return known[kind]


def kinds(role: Role) -> Mapping[str, type[Block]]:
    """Return the registered classes of a role by kind."""
    from stratnb import blocks

    blocks.load()
    return MappingProxyType(_REGISTRY[role])


def redefinitions() -> int:
    """Return how many classes took another's place in this process; it changes when a cell defines a block again."""
    return _REPLACED["count"]


def _number(value: object, annotation: Any) -> float:
    if value is None:
        return math.nan
    if isinstance(value, str):
        return float(next(_literals(annotation, value)))
    if isinstance(value, (bool, int, float)):
        return float(value)
    raise ConfigError("type", f"parameter {value!r} has no numeric form", value=value, hint="override p()")


def _figure(value: float) -> str:
    """Return a finite number as a text, else nothing."""
    return f"{value:.6g}" if math.isfinite(value) else ""


def _literals(annotation: Any, value: str) -> Iterator[int]:
    """Yield the index of the value in its Literal."""
    if get_origin(annotation) is Literal:
        yield get_args(annotation).index(value)
    for part in get_args(annotation):
        if get_origin(part) is Literal and value in get_args(part):
            yield get_args(part).index(value)


def _register(cls: type[Block]) -> None:
    table = _REGISTRY[cls.role]
    old = table.get(cls.kind)
    if old is not None and (old.__module__, old.__qualname__) != (cls.__module__, cls.__qualname__):
        raise ConfigError(
            "duplicate_kind",
            f"{cls.role} kind {cls.kind!r} is already {old.__module__}.{old.__qualname__}",
            value=cls.kind,
            hint="choose another kind",
        )
    if cls.role == "exit" and isinstance(cls.step, PythonKernel):
        raise ConfigError(
            "python_exit",
            f"exit kind {cls.kind!r} has a step in plain Python; stops must never wait for one",
            value=cls.kind,
            hint="write the step for @kernel",
        )
    if not cls.__module__.startswith("stratnb."):
        _try_out(cls)
    table[cls.kind] = cls
    _REPLACED["count"] += old is not None


def _try_out(cls: type[Block]) -> None:
    """Run a user's step on a few candles in plain Python, where a wrong index raises."""
    plain = _step_of(cls)
    try:
        block = cls()
    except ValueError:
        return  # it has parameters without defaults; the plan tries it
    state, p = np.zeros(block.state_size()), np.array(block.p())
    for i in range(3):
        x, out = np.full(len(block.inputs()), 100.0 + i), np.full(len(cls.outputs), np.nan)
        try:
            plain(i, state, x, out, p)
        except ZeroDivisionError:
            return  # compiled code gives an infinite number there
        except IndexError as error:
            raise ConfigError(
                "block_index",
                f"step of {cls.role} kind {cls.kind!r} leaves its arrays: {error}",
                value=cls.kind,
                hint=f"state has {state.size} cells, x {x.size}, out {out.size}, p {p.size}",
            ) from error
        except Exception as error:
            text = f"step of {cls.role} kind {cls.kind!r} raises {type(error).__name__}: {error}"
            hint = f"it was tried on candle {i} with inputs of {100.0 + i:g}"
            raise ConfigError("block_step", text, value=cls.kind, hint=hint) from error


def _step_of(cls: type[Block]) -> Callable[..., Any]:
    """Return a user's step as plain Python, or raise `ConfigError("block_step")` when it is none that can be run."""
    found = inspect.getattr_static(cls, "step", None)
    step = found.__func__ if isinstance(found, staticmethod) else found
    text = ""
    if step is None:
        text = "has no step"
    elif not isinstance(step, Kernel):
        text = "has a step that is not a kernel"
    elif len(inspect.signature(step.function).parameters) != len(STEP.args):
        text = f"has a step of {len(inspect.signature(step.function).parameters)} arguments"
    if isinstance(step, Kernel) and not text:
        plain: Callable[..., Any] = step.function
        return plain
    hint = "write step(i, state, x, out, p) under @staticmethod and @kernel (stratnb.kernels.jit)"
    raise ConfigError("block_step", f"{cls.role} kind {cls.kind!r} {text}", value=cls.kind, hint=hint)
