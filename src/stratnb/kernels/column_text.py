"""The text of a loop that computes the outputs of one block over a stretch of candles, for several parameters at once.

A block that goes by its own last value waits for it; several that do not wait for each other fill that time.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from stratnb.kernels.inline import Uninlinable, inline
from stratnb.kernels.loop_nodes import told_apart

__all__ = ["PLACES", "column_text"]

PLACES = 5  # cells of `places` before the inputs of a lane: where its parameters and memory lie, its first row
FRAME = """
def run(params, memory, candles, start, stop, places, columns):
    last = columns.shape[1] - 1
@LOADS
    for row in range(start, stop):
@STEP
@SAVES
"""
LANE = """
p@L, s@L = params[places[@P] : places[@P] + places[@P + 1]], memory[places[@P + 2] : places[@P + 2] + places[@P + 3]]
out@L, end@L, firm@L = places[@P + 4], s@L.size - 1, True
i@L, state@L = int(s@L[end@L]), s@L[:end@L]
"""


def column_text(
    step: Callable[..., None],
    inputs: Sequence[int],
    required: int,
    outs: int,
    chosen: Mapping[int, float],
    lanes: int = 1,
) -> tuple[str, dict[str, Any]]:
    """Return the source of a loop over some lanes of a block, and the objects that it names.

    `inputs` are columns of a candle, or -1 for a row of `columns`, of which the first `required` must be finite; the
    `outs` outputs go to the rows from a lane's first on, of which the last cell tells whether all of them are finite.
    Parameters that are `chosen` stand in it as numbers. A lane has in `places` where its parameters begin and how many
    they are, the same of its memory (with one cell more for the counter), its first row, and the row of each input.
    Raises `Uninlinable` for a step that needs its inputs or outputs as arrays.
    """
    names: dict[str, Any] = {}
    loads: list[str] = []
    steps: list[str] = []
    saves: list[str] = []

    def _alias(value: Any) -> str:
        name = next((name for name, known in names.items() if known is value), f"g{len(names)}")
        names[name] = value
        return name

    for lane in range(lanes):

        def _cell(array: str, index: int, lane: int = lane) -> str:
            if array == "x" and index >= len(inputs):
                return "nan"  # of a choice that has no such input
            return f"{array[0]}{lane}_{index}"

        made = inline(step, lane, _cell, _alias, chosen)
        if made.cells["x"] is None or made.cells["out"] is None:
            raise Uninlinable(f"{step.__qualname__} needs its inputs and outputs as arrays")
        state, place = sorted(made.cells["state"] or ()), lane * (PLACES + len(inputs))
        loads += LANE.replace("@L", str(lane)).replace("@P", str(place)).strip().splitlines()
        loads += [f"s{lane}_{j} = s{lane}[{j}]" for j in state]
        loads += [f"p{lane}_{j} = p{lane}[{j}]" for j in sorted(made.cells["p"] or ())]
        loads += [f"r{lane}_{j} = places[{place + PLACES + j}]" for j, c in enumerate(inputs) if c < 0]
        steps += _step(lane, inputs, required, outs, [*made.lines, f"i{lane} += 1"])
        saves += [f"s{lane}[{j}] = s{lane}_{j}" for j in state] + [f"s{lane}[end{lane}] = float(i{lane})"]
        saves += [f"columns[out{lane} + {j}, last] = 1.0 if firm{lane} else 0.0" for j in range(outs)]
    text = FRAME
    for word, depth, lines in (("@LOADS", 4, loads), ("@STEP", 8, steps), ("@SAVES", 4, saves)):
        text = text.replace(word, textwrap.indent("\n".join(lines), " " * depth))
    return told_apart(text), names


def _step(lane: int, inputs: Sequence[int], required: int, outs: int, body: Sequence[str]) -> list[str]:
    """Return one step of a lane: inputs, the block's statements where those that it needs are finite, outputs."""
    lines = [
        f"x{lane}_{j} = candles[row, {c}]" if c >= 0 else f"x{lane}_{j} = columns[r{lane}_{j}, row - start]"
        for j, c in enumerate(inputs)
    ]
    lines += [f"o{lane}_{j} = nan" for j in range(outs)]
    asked = [f"isfinite(x{lane}_{j})" for j, c in enumerate(inputs[:required]) if c < 0]
    inner = textwrap.indent("\n".join(body), "    ").splitlines()
    lines += [f"if {' and '.join(asked)}:", *inner] if asked else list(body)
    lines += [f"columns[out{lane} + {j}, row - start] = o{lane}_{j}" for j in range(outs)]
    return [*lines, f"firm{lane} = firm{lane} and {' and '.join(f'isfinite(o{lane}_{j})' for j in range(outs))}"]
