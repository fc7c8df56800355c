"""Filters against their rules over whole arrays, at their boundaries, for both sides and without a direction."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

import blocks_oracle as oracle
from blocks_harness import make_candles, make_columns, run, walk
from stratnb.blocks.base import Filter, find
from stratnb.blocks.filters import AtrRange, BlindZone, FlatMarket, TimeWindow, TrendAlignment

N = 400
TINY = 1e-9
MONDAY = datetime(2024, 1, 1, tzinfo=UTC)
DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
KINDS = (BlindZone, FlatMarket, TrendAlignment, TimeWindow, AtrRange)


def outcome(block: Filter, *row: float) -> dict[str, float]:
    return dict(zip(block.outputs, walk(block, np.array([row], dtype=float))[0], strict=True))


def passes(block: Filter, *row: float) -> tuple[float, float]:
    out = outcome(block, *row)
    assert out["need"] == 0
    return out["allow"], out["factor"]


def minute(day: int, hour: float) -> float:
    return round(day * 1440 + hour * 60)


def test_the_filters_stand_in_the_order_of_the_table() -> None:
    assert [cls.order for cls in KINDS] == [1, 2, 5, 7, 11]
    for cls in KINDS:
        assert find("filter", cls.kind) is cls
        assert cls.outputs == ("allow", "factor", "need", "value", "limit")


@pytest.mark.parametrize("cls", KINDS, ids=lambda cls: cls.kind)
def test_without_a_direction_everything_is_allowed(cls: type[Filter]) -> None:
    strict: dict[type[Filter], Filter] = {
        FlatMarket: FlatMarket(threshold=0),
        TrendAlignment: TrendAlignment(block_in_neutral=True),
        TimeWindow: TimeWindow(start_hour=0, end_hour=23.99),
        AtrRange: AtrRange(min=0.5, max=0.6),
    }
    block, candles = strict.get(cls, cls()), make_candles(N, 1)
    columns = make_columns(block, candles)
    judged = run(block, columns)
    assert (judged["allow"] == 0).any() or (judged["factor"] < 1).any()
    out = run(block, columns | {"signal.direction": np.zeros(N)})
    ready = np.isfinite(out["allow"])
    assert ready.sum() > N / 2
    assert (out["allow"][ready] == 1).all()
    assert (out["factor"][ready] == 1).all()
    assert (out["need"][ready] == 0).all()


@pytest.mark.parametrize("cls", KINDS, ids=lambda cls: cls.kind)
def test_missing_inputs_leave_no_verdict(cls: type[Filter]) -> None:
    block = cls()
    assert block.required() == len(block.inputs())
    for k in range(len(block.inputs())):
        row = np.ones((1, len(block.inputs())))
        row[0, k] = math.nan
        assert np.isnan(walk(block, row)).all()


def test_flat_market_equals_the_rule_over_whole_arrays() -> None:
    blocked: list[float] = []
    for seed, params in ((1, {}), (2, {"threshold": 0.3, "ema_gap": 2.0, "atr_fraction": 0.01, "ema_fast": 5})):
        block, candles = FlatMarket(**params), make_candles(N, seed)
        columns = make_columns(block, candles, seed)
        out, side, close = run(block, columns), columns["signal.direction"], candles["close"]
        a = oracle.atr(candles)
        gap = np.abs(oracle.ema(close, block.ema_fast) - oracle.ema(close, block.ema_slow)) / a
        flat = (
            0.4 * (1 - np.clip(gap / block.ema_gap, 0, 1))
            + 0.3 * (1 - np.clip(a / close / block.atr_fraction, 0, 1))
            + 0.3 * (1 - np.clip((oracle.adx(candles) - 10) / 15, 0, 1))
        )
        np.testing.assert_allclose(out["value"], flat, rtol=1e-9, atol=1e-9)
        ready = np.isfinite(flat)
        np.testing.assert_array_equal(out["allow"][ready] == 0, ((side != 0) & (flat >= block.threshold))[ready])
        assert (out["limit"][ready] == block.threshold).all()
        blocked += list(out["allow"][ready])
    assert set(blocked) == {0.0, 1.0}


def flat_row(gap: float = 0.0, natr: float = 0.0, adx: float = 0.0, atr: float = 1.0, side: float = 1.0) -> list[float]:
    return [side, 100.0, 100.0 + gap, 100.0, atr, natr, adx]


def test_flat_market_weighs_three_signs() -> None:
    for row, flat in (
        (flat_row(), 1.0),
        (flat_row(gap=0.25), 0.8),
        (flat_row(gap=-0.5), 0.6),
        (flat_row(natr=0.00075), 0.85),
        (flat_row(natr=0.0015), 0.7),
        (flat_row(adx=10), 1.0),
        (flat_row(adx=17.5), 0.85),
        (flat_row(adx=25), 0.7),
        (flat_row(gap=1, natr=1, adx=99), 0.0),
        (flat_row(atr=0.0), 1.0),
    ):
        assert outcome(FlatMarket(), *row)["value"] == pytest.approx(flat, abs=1e-12)


@pytest.mark.parametrize("side", [1, -1])
def test_flat_market_blocks_from_the_threshold_on(side: float) -> None:
    block = FlatMarket(threshold=0.5, ema_gap=0.5, atr_fraction=0.5)
    rows = {0.4: (1.0, 1.0), 0.25: (1.0, 1.0), 0.0: (0.0, 1.0)}  # flatness 0.38, 0.5 less a little, 0.7
    for gap, verdict in rows.items():
        natr = 0.0 if gap != 0.25 else 0.5 * (2 / 3) + 0.01
        assert passes(block, *flat_row(gap=gap, natr=natr, adx=25, side=side)) == verdict
    exact = FlatMarket(threshold=outcome(block, *flat_row(gap=0.25, adx=25))["value"])
    assert passes(exact, *flat_row(gap=0.25, adx=25, side=side))[0] == 0
    assert passes(exact, *flat_row(gap=0.25 + TINY, adx=25, side=side))[0] == 1
    assert passes(exact, *flat_row(gap=0.25 - TINY, adx=25, side=side))[0] == 0


@pytest.mark.parametrize(("agreeing", "factors"), [(2, (0.85, 0.90)), (3, (1.0, 1.0)), (4, (1.0, 1.0))])
def test_blind_zone_penalizes_below_the_minimum(agreeing: float, factors: tuple[float, float]) -> None:
    assert passes(BlindZone(), 1, agreeing, 9) == (1.0, factors[0])
    assert passes(BlindZone(), -1, 9, agreeing) == (1.0, factors[1])
    out = outcome(BlindZone(min_signals_short=5), -1, 9, agreeing)
    assert (out["value"], out["limit"]) == (agreeing, 5)


ALIGNMENT = [
    (block, side, bias)
    for block in (
        TrendAlignment(),
        TrendAlignment(block_in_neutral=True),
        TrendAlignment(block_long_in_downtrend=False),
        TrendAlignment(block_short_in_uptrend=False),
    )
    for side in (-1, 0, 1)
    for bias in (-1, 0, 1)
]


@pytest.mark.parametrize(("block", "side", "bias"), ALIGNMENT)
def test_trend_alignment_blocks_what_it_names(block: TrendAlignment, side: int, bias: int) -> None:
    blocked = {
        (1, -1): block.block_long_in_downtrend,
        (-1, 1): block.block_short_in_uptrend,
        (1, 0): block.block_in_neutral,
        (-1, 0): block.block_in_neutral,
    }.get((side, bias), False)
    assert passes(block, side, bias) == (0.0 if blocked else 1.0, 1.0)
    assert outcome(block, side, bias)["value"] == bias


@pytest.mark.parametrize("side", [1, -1])
def test_atr_range_allows_its_bounds(side: float) -> None:
    block = AtrRange(min=0.25, max=0.5)
    for edge, below, above in ((0.25, 0.0, 1.0), (0.5, 1.0, 0.0)):
        verdicts = [passes(block, side, edge + d)[0] for d in (-TINY, 0.0, TINY)]
        assert verdicts == [below, 1.0, above]
    assert outcome(block, side, 0.1)["limit"] == 0.25
    assert outcome(block, side, 0.6)["limit"] == 0.5


def test_atr_range_equals_the_rule_over_whole_arrays() -> None:
    block, candles = AtrRange(period=9, min=0.004, max=0.006), make_candles(N, 3)
    columns = make_columns(block, candles, 3)
    out, natr = run(block, columns), oracle.atr(candles, 9) / candles["close"]
    ready = np.isfinite(natr)
    np.testing.assert_allclose(out["value"], natr, rtol=1e-9)
    blocked = (columns["signal.direction"] != 0) & ((natr < 0.004) | (natr > 0.006))
    np.testing.assert_array_equal(out["allow"][ready] == 0, blocked[ready])
    assert 0 < blocked.sum() < ready.sum()


def in_window(now: datetime, start: float, end: float, days: Any) -> bool:
    """Judge by the calendar: a window opens on each named day and lasts until its end comes."""
    length = (end - start) % 24
    for back in (0, 1):
        midnight = now.replace(hour=0, minute=0) - timedelta(days=back)
        opens = midnight + timedelta(seconds=round(start * 3600))
        if opens <= now < opens + timedelta(seconds=round(length * 3600)):
            return days == "all" or DAYS[midnight.weekday()] in days
    return False


@pytest.mark.parametrize("days", ["all", ("monday",), ("friday", "saturday"), ("sunday",)], ids=str)
@pytest.mark.parametrize("hours", [(9, 17), (22, 2), (0, 23.99), (23.5, 0), (8.1, 8.35), (5, 5), (0, 0)], ids=str)
def test_time_window_follows_the_calendar(hours: tuple[float, float], days: Any) -> None:
    block = TimeWindow(start_hour=hours[0], end_hour=hours[1], days=days)
    minutes = np.unique(np.concatenate([np.arange(0, 10_080, 17), np.arange(5, 10_080, 60), [0, 119, 120, 10_079]]))
    minutes = np.unique(
        np.concatenate([minutes, *(minute(d, h) + np.array([-1, 0, 1]) for d in range(7) for h in hours)])
    )
    minutes = minutes[(minutes >= 0) & (minutes < 10_080)]
    out = walk(block, np.stack([np.ones(len(minutes)), minutes.astype(float)], axis=1))
    inside = [in_window(MONDAY + timedelta(minutes=int(m)), *hours, days) for m in minutes]
    np.testing.assert_array_equal(out[:, 0] == 0, inside)
    assert any(inside) == (hours[0] != hours[1])


@pytest.mark.parametrize("side", [1, -1])
def test_time_window_blocks_or_penalizes(side: float) -> None:
    hours: dict[str, Any] = {"start_hour": 9, "end_hour": 17}
    for hour, inside in ((8 + 59 / 60, False), (9, True), (16 + 59 / 60, True), (17, False)):
        at = minute(2, hour)
        assert passes(TimeWindow(**hours), side, at) == (0.0 if inside else 1.0, 1.0)
        assert passes(TimeWindow(**hours, mode="penalize"), side, at) == (1.0, 0.8 if inside else 1.0)
    out = outcome(TimeWindow(**hours), side, minute(2, 9.5))
    assert (out["value"], out["limit"]) == (9.5, 17)


def test_time_window_reads_the_column_of_its_zone() -> None:
    assert TimeWindow().inputs() == ("signal.direction", "minute_of_week")
    assert TimeWindow(timezone="Europe/Berlin").inputs()[1] == "minute_of_week@Europe/Berlin"


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"timezone": "Europe/Berln"}, "'Europe/Berln' is not known; did you mean 'Europe/Berlin'"),
        ({"timezone": "../../etc/passwd"}, "is not known"),
        ({"timezone": ""}, "is not known"),
        ({"days": []}, "no day is named"),
        ({"days": ["funday"]}, "monday"),
        ({"days": "weekdays"}, "all"),
        ({"start_hour": 24}, "23.99"),
    ],
)
def test_time_window_refuses_unknown_zones_days_and_hours(params: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        TimeWindow(**params)


def test_time_window_completes_and_sorts_days() -> None:
    block = TimeWindow(days=["Sun", "monday", "mon"])
    assert block.days == ("monday", "sunday")
    assert block.p()[2] == 0b1000001
    assert TimeWindow().p() == [0.0, 0.0, 127.0, 0.0, 0.8]
    assert TimeWindow.model_validate_json(block.model_dump_json()) == block


@pytest.mark.parametrize(
    "make",
    [
        lambda: FlatMarket(ema_fast=50),
        lambda: FlatMarket(adx_low=25),
        lambda: AtrRange(min=0.02),
    ],
)
def test_parameters_out_of_order_are_refused(make: Callable[[], Filter]) -> None:
    with pytest.raises(ValidationError, match=r"order_violation: \w+ .* must be below"):
        make()


def test_explain_tells_the_verdict_with_its_numbers() -> None:
    def told(block: Filter, *row: float) -> str:
        return block.explain(outcome(block, *row))

    assert told(BlindZone(), 1, 2, 0) == "2 analyzers agree, 3 wanted: confidence × 0.85"
    assert told(BlindZone(), 1, 3, 0) == "3 analyzers agree, 3 wanted"
    assert told(FlatMarket(), *flat_row()) == "Blocked: flatness 1.00, blocked from 0.70"
    assert told(TrendAlignment(), 1, -1) == "Blocked: the trend is down"
    assert told(AtrRange(), 1, 0.01) == "Allowed: ATR is 1.000% of the price, allowed 0.005% to 2.000%"
    window = TimeWindow(start_hour=22.5, end_hour=2, mode="penalize")
    assert told(window, 1, minute(1, 23)) == "Allowed: closed at 23:00, window 22:30 to 02:00 UTC, confidence × 0.8"


@pytest.mark.parametrize("cls", KINDS, ids=lambda cls: cls.kind)
def test_explain_survives_missing_numbers(cls: type[Filter]) -> None:
    for row in ({}, dict.fromkeys(cls.outputs, math.nan)):
        assert cls().explain(row)
