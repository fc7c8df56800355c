"""The text of a loop that computes the outputs of one block over a stretch of candles."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from stratnb.kernels.inline import Uninlinable, inline

__all__ = ["column_text"]

FRAME = """
def run(p, state, candles, start, stop, rows, columns, out):
    last = state.size - 1
    i0 = int(state[last])
@LOADS
    for row in range(start, stop):
@STEP
    state[last] = float(i0)
@SAVES
"""


def column_text(
    step: Callable[..., None], inputs: Sequence[int], required: int, outs: int, chosen: Mapping[int, float]
) -> tuple[str, dict[str, Any]]:
    """Return the source of a block's loop and the objects that it names.

    `inputs` are columns of a candle, or -1 for a row of `columns`, of which the first `required` must be finite; the
    `outs` outputs go to the rows from `out` on. Parameters that are `chosen` stand in it as numbers. Raises
    `Uninlinable` for a step that needs its inputs or outputs as arrays.
    """
    names: dict[str, Any] = {}

    def _alias(value: Any) -> str:
        name = next((name for name, known in names.items() if known is value), f"g{len(names)}")
        names[name] = value
        return name

    def _cell(array: str, index: int) -> str:
        if array == "x" and index >= len(inputs):
            return "nan"  # of a choice that has no such input
        return f"{array[0]}_{index}"

    made = inline(step, 0, _cell, _alias, chosen)
    if made.cells["x"] is None or made.cells["out"] is None:
        raise Uninlinable(f"{step.__qualname__} needs its inputs and outputs as arrays")
    state, p = made.cells["state"], made.cells["p"]
    loads = [f"s_{j} = state[{j}]" for j in sorted(state or ())] + [f"p_{j} = p[{j}]" for j in sorted(p or ())]
    loads += ["state0 = state[:last]"] * (state is None) + ["p0 = p"] * (p is None)
    parts = {
        "@LOADS": (4, [*loads, *(f"r_{j} = rows[{j}]" for j, c in enumerate(inputs) if c < 0)]),
        "@STEP": (8, _step(inputs, required, outs, [*made.lines, "i0 += 1"])),
        "@SAVES": (4, [f"state[{j}] = s_{j}" for j in sorted(state or ())]),
    }
    text = FRAME
    for word, (depth, lines) in parts.items():
        text = text.replace(word, textwrap.indent("\n".join(lines), " " * depth))
    return text, names


def _step(inputs: Sequence[int], required: int, outs: int, body: Sequence[str]) -> list[str]:
    """Return one step: inputs, the block's statements where those that it needs are finite, outputs."""
    lines = [
        f"x_{j} = candles[row, {c}]" if c >= 0 else f"x_{j} = columns[r_{j}, row - start]" for j, c in enumerate(inputs)
    ]
    lines += [f"o_{j} = nan" for j in range(outs)]
    asked = [f"isfinite(x_{j})" for j, c in enumerate(inputs[:required]) if c < 0]
    inner = textwrap.indent("\n".join(body), "    ").splitlines()
    lines += [f"if {' and '.join(asked)}:", *inner] if asked else list(body)
    return lines + [f"columns[out + {j}, row - start] = o_{j}" for j in range(outs)]
