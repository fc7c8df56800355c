"""What a block raised in the middle of a run, told with the block, its line and the candle."""

from __future__ import annotations

import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from stratnb.errors import ConfigError
from stratnb.kernels import layout as at
from stratnb.market_data.candles import utc_text
from stratnb.strategy.plan import Floats, Ints, Plan

__all__ = ["told", "told_of"]


@contextmanager
def told(plan: Plan, memory: Floats) -> Iterator[None]:
    """Turn what a block of the plan raises into `ConfigError("block_failed")`."""
    try:
        yield
    except Exception as error:
        raise _failed(plan, memory, error) from error


@contextmanager
def told_of(plans: Sequence[Plan], memories: Sequence[Floats], at_work: Ints) -> Iterator[None]:
    """Do so for several plans; `at_work[0]` is the number of the one that raised."""
    try:
        yield
    except Exception as error:
        number = int(at_work[0])
        raise _failed(plans[number], memories[number], error) from error


def _failed(plan: Plan, memory: Floats, error: Exception) -> ConfigError:
    """Return the error of a run whose kernels raised; compiled code leaves its file and line in the traceback."""
    place = traceback.extract_tb(error.__traceback__)[-1]
    nodes = [node for node in plan.nodes if type(node.block).step.function.__code__.co_filename == place.filename]
    found = [node.block for node in nodes if place.lineno in _lines(type(node.block).step.function)]
    who = f"{found[0].role} kind {found[0].kind!r}" if found else "a block"
    when = f" at the candle of {utc_text(int(memory[at.R_TIME]))}" if memory[at.R_TIME] > 0 else ""
    where = f"line {place.lineno} of {Path(place.filename).name}"
    text = f"{plan.config.name}: {who} raised {type(error).__name__}: {error}{when}, {where}"
    hint = "mend the block and define it again, or take it out of the strategy"
    return ConfigError("block_failed", text, value=found[0].kind if found else None, hint=hint)


def _lines(function: object) -> set[int]:
    """Return the numbers of a function's lines."""
    code = function.__code__  # type: ignore[attr-defined]
    return {line for _, _, line in code.co_lines() if line is not None}
