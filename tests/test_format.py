"""The laws of numbers and words on screen."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from stratnb.ui import format as fmt

numbers = st.floats(allow_nan=False, allow_infinity=False, min_value=-1e12, max_value=1e12)


@given(numbers, st.integers(0, 6))
def test_a_number_reads_back_as_its_rounded_value(value: float, decimals: int) -> None:
    text = fmt.num(value, decimals)
    assert float(text.replace(",", "").replace("−", "-")) == round(value, decimals)
    assert "-" not in text
    assert not (text.startswith("−") and float(text[1:].replace(",", "")) == 0.0)


@given(numbers)
def test_a_delta_has_the_arrow_the_sign_and_the_tone_of_what_is_shown(value: float) -> None:
    cell = fmt.delta(value)
    shown = round(value, 2)
    marks = {1: ("▲ +", "up"), -1: ("▼ −", "down"), 0: ("0", "")}[(shown > 0) - (shown < 0)]
    assert cell["t"].startswith(marks[0])
    assert cell["tone"] == marks[1]
    assert cell["n"] == value


@given(st.text())
def test_an_escaped_text_has_nothing_that_html_interprets(text: str) -> None:
    assert not set("<>\"'") & set(fmt.escape(text))


@given(st.floats(0, 1e9))
def test_an_age_has_at_most_two_units(seconds: float) -> None:
    assert len(fmt.age(seconds).split()) in (2, 4)


def test_what_is_missing_says_so() -> None:
    for missing in (None, math.nan):
        assert {fmt.num(missing), fmt.signed(missing), fmt.pct(missing), fmt.share(missing), fmt.age(missing)} == {
            "n/a"
        }
        assert fmt.delta(missing, sub="no trade")["sub"] == "no trade"
    assert fmt.stamp(None) == fmt.clock(None) == fmt.quantity(None) == "n/a"


def test_zero_has_no_sign() -> None:
    assert fmt.num(-0.0) == fmt.signed(-0.004) == "0.00"
    assert fmt.pct(-1e-9) == "0.00%"


def test_a_time_cell_keeps_the_milliseconds_in_its_tooltip() -> None:
    assert fmt.time_cell(1_514_764_800_123) == {
        "t": "00:00:00",
        "title": "2018-01-01 00:00:00.123 UTC",
        "n": 1_514_764_800_123,
    }
