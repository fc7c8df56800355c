"""A block that cannot be run is refused where it is defined, in words."""

from __future__ import annotations

from typing import Any

import pytest

from stratnb.blocks.base import Indicator, kinds
from stratnb.errors import ConfigError
from stratnb.kernels.jit import kernel


def plain(i: int, state: Any, x: Any, out: Any, p: Any) -> None:
    out[0] = x[0]


def short(i: int, x: Any, out: Any) -> None:
    out[0] = x[0]


def failing(i: int, state: Any, x: Any, out: Any, p: Any) -> None:
    raise ValueError("boom")


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({}, "has no step"),
        ({"step": staticmethod(plain)}, "not a kernel"),
        ({"step": 5}, "not a kernel"),
        ({"step": staticmethod(kernel(short))}, "3 arguments"),
        ({"step": staticmethod(kernel(failing))}, "raises ValueError: boom"),
    ],
)
def test_a_step_that_cannot_be_run_is_refused(body: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        type("Wrong", (Indicator,), {"__module__": __name__, **body}, kind="wrong_step")
    assert caught.value.code == "block_step" and said in caught.value.message and caught.value.hint
    assert "wrong_step" not in kinds("indicator")
