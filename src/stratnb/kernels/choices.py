"""What a loop is generated for: the composition of a plan, and the parameters that are one of a few values."""

from __future__ import annotations

import numpy as np

from stratnb.kernels import layout as at
from stratnb.kernels.jit import Ints, Row

__all__ = ["all_chosen", "choice_places", "chosen", "shared_table"]

MOST = 2.0**31
CHOICE = (at.N_P, at.N_PS, at.N_CHOICES)
VARIABLE = (at.N_ADDRESS, at.N_STATE, at.N_STATES, at.N_P, at.N_PS)


def chosen(code: Ints, params: Row, k: int) -> dict[int, float]:
    """Return the choices of node k by their place among its parameters; one that is not finite varies."""
    node = code[code[at.H_NODES] + k * at.W_NODE :][: at.W_NODE]
    bits, values = int(node[at.N_CHOICES]), params[node[at.N_P] : node[at.N_P] + node[at.N_PS]]
    return {j: float(value) for j, value in enumerate(values.tolist()) if bits >> j & 1 and abs(value) < MOST}


def choice_places(code: Ints, nodes: int) -> Ints:
    """Return where the parameters lie that are choices, of all nodes."""
    records = code[code[at.H_NODES] :][: nodes * at.W_NODE].reshape(nodes, at.W_NODE)[:, CHOICE].tolist()
    places = [first + j for first, count, bits in records for j in range(count) if bits >> j & 1]
    return np.array(places, np.int64)


def all_chosen(params: Row, places: Ints) -> bytes:
    """Return the choices at these places, to tell plans apart; one that is not finite varies."""
    values = params[places]
    return np.where(np.abs(values) < MOST, values, np.nan).tobytes()


def shared_table(code: Ints, nodes: int) -> Ints:
    """Return the table of a plan without its addresses and the sizes that go by parameters: alike in a structure."""
    table, first = code.copy(), int(code[at.H_NODES])
    table[first : first + nodes * at.W_NODE].reshape(nodes, at.W_NODE)[:, VARIABLE] = 0
    table[[at.H_STEP, at.H_FIRST_STOP, at.H_ENTER, at.H_DECIDE]] = 0
    return table
