"""Analyzers against independent rules, at their boundaries, mirrored, scaled and while they warm up."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

import blocks_oracle as oracle
from blocks_harness import make_candles, run, walk
from stratnb.blocks.analyzers import (
    BollingerZone,
    Breakout,
    EmaCross,
    Level,
    PriceMomentum,
    RsiZone,
    TrendDetector,
    VolumeSpike,
    Wick,
)
from stratnb.blocks.base import Analyzer, Ref, find

N = 420
TINY = 1e-9
Rows = list[list[float]]

CASES: list[tuple[type[Analyzer], Callable[..., Any], dict[str, Any]]] = [
    (EmaCross, oracle.ema_cross, {}),
    (EmaCross, oracle.ema_cross, {"mode": "cross", "min_gap": 0.3}),
    (EmaCross, oracle.ema_cross, {"fast": 3, "slow": 8, "full_gap": 0.5}),
    (RsiZone, oracle.rsi_zone, {}),
    (RsiZone, oracle.rsi_zone, {"period": 5, "turn": True}),
    (RsiZone, oracle.rsi_zone, {"oversold": 40, "overbought": 55, "extreme_low": 25, "extreme_high": 90}),
    (BollingerZone, oracle.bollinger_zone, {}),
    (BollingerZone, oracle.bollinger_zone, {"mode": "breakout", "dev": 1.5}),
    (BollingerZone, oracle.bollinger_zone, {"period": 7, "low": 0.3, "high": 0.6, "min_width": 0.01}),
    (Breakout, oracle.breakout, {}),
    (Breakout, oracle.breakout, {"volume_multiplier": 0, "lookback": 5, "buffer": 0}),
    (Breakout, oracle.breakout, {"volume_multiplier": 0.8, "lookback": 8, "volume_period": 30}),
    (PriceMomentum, oracle.price_momentum, {}),
    (PriceMomentum, oracle.price_momentum, {"period": 20, "recent": 2, "min_move": 0, "accel": 0.2}),
    (TrendDetector, oracle.trend_detector, {}),
    (TrendDetector, oracle.trend_detector, {"k": 4, "fast": 5, "slow": 12, "min_ema_gap": 0, "full": 4}),
    (VolumeSpike, oracle.volume_spike, {}),
    (VolumeSpike, oracle.volume_spike, {"period": 5, "spike": 1, "min_clv": 0}),
    (Level, oracle.level, {}),
    (Level, oracle.level, {"k": 1, "lookback": 400, "cluster": 0.2, "proximity": 1.5, "trend": "with"}),
    (Level, oracle.level, {"k": 3, "lookback": 30, "min_touches": 1, "recent": 4, "trend": "any"}),
    (Wick, oracle.wick, {}),
    (Wick, oracle.wick, {"ratio": 1, "share": 0.3, "other": 0.6, "extreme": 0}),
    (Wick, oracle.wick, {"ratio": 1.5, "share": 0.35, "min_range": 0.2, "extreme": 25}),
]
KINDS = sorted({case[0] for case in CASES}, key=lambda cls: cls.kind)


def named(case: tuple[type[Analyzer], Any, dict[str, Any]]) -> str:
    return f"{case[0].kind}-{'-'.join(f'{key}={value}' for key, value in case[2].items()) or 'defaults'}"


@pytest.mark.parametrize("case", CASES, ids=named)
def test_outputs_equal_the_rule_over_whole_arrays(case: Any) -> None:
    cls, rule, params = case
    sides: set[float] = set()
    for seed in (1, 2):
        candles = make_candles(N, seed)
        got, wanted = run(cls(**params), candles), rule(candles, **params)
        np.testing.assert_array_equal(got["direction"], wanted["direction"])
        for name in cls.outputs:
            np.testing.assert_allclose(got[name], wanted[name], rtol=1e-9, atol=1e-9, err_msg=name)
        sides |= set(got["direction"][np.isfinite(got["direction"])])
    assert sides == {-1.0, 0.0, 1.0}  # the comparison has met every outcome


@pytest.mark.parametrize("case", CASES, ids=named)
def test_the_first_output_stands_at_the_declared_warmup(case: Any) -> None:
    cls, _, params = case
    block, candles = cls(**params), make_candles(N, 5)
    out = run(block, candles)
    for name in ("direction", "confidence"):
        assert np.isnan(out[name][: block.warmup() - 1]).all()
        assert np.isfinite(out[name][block.warmup() - 1 :]).all()


def test_the_default_warmups_are_those_of_the_table() -> None:
    table = {"ema": 21, "rsi": 15, "volume": 21, "bollinger": 21, "breakout": 21, "wick": 16}
    table |= {"price_momentum": 15, "trend_detector": 50, "level": 30}
    assert {cls.kind: cls().warmup() for cls in KINDS} == table
    assert EmaCross(fast=3, slow=8).warmup() == 15
    assert Breakout(lookback=5, volume_multiplier=0).warmup() == 16
    assert Level(k=20).warmup() == 41


def at_a_threshold(cls: type[Analyzer], candles: oracle.Columns, out: oracle.Outputs) -> oracle.Floats:
    """Tell which candles stand on a level, or have a close that does not move, where rounding decides."""
    close = candles["close"]
    if cls is Level:
        return np.isclose(out["support"], close, rtol=1e-9) | np.isclose(out["resistance"], close, rtol=1e-9)
    return (close == oracle.lag(close)) & (cls is RsiZone)


@pytest.mark.parametrize("case", [case for case in CASES if case[0].mirror], ids=named)
def test_mirrored_prices_give_the_opposite_direction(case: Any) -> None:
    cls, _, params = case
    if cls is RsiZone:
        pairs = [("oversold", "overbought"), ("overbought", "oversold")]
        pairs += [("extreme_low", "extreme_high"), ("extreme_high", "extreme_low")]
        plain = cls(**params)
        swapped = cls(**params | {to: 100.0 - getattr(plain, source) for to, source in pairs})
    else:
        swapped = cls(**params)
    candles, middle = make_candles(N, 3), 150.0
    mirrored = {name: 2 * middle - candles[name] for name in ("open", "close")}
    mirrored |= {"high": 2 * middle - candles["low"], "low": 2 * middle - candles["high"], "volume": candles["volume"]}
    one, other = run(cls(**params), candles), run(swapped, mirrored)
    away = ~at_a_threshold(cls, candles, one)
    assert away.sum() > 0.9 * N
    np.testing.assert_array_equal(other["direction"][away], -one["direction"][away])
    np.testing.assert_allclose(other["confidence"][away], one["confidence"][away], atol=1e-9, rtol=0)


def test_kinds_that_read_widths_declare_no_mirror() -> None:
    assert [cls.kind for cls in KINDS if not cls.mirror] == ["bollinger"]


@pytest.mark.parametrize("cls", KINDS, ids=lambda cls: cls.kind)
def test_scaled_prices_and_volumes_change_no_bit(cls: type[Analyzer]) -> None:
    candles = make_candles(N, 4)
    scaled = {name: column * (8.0 if name == "volume" else 0.25) for name, column in candles.items()}
    one, other = run(cls(), candles), run(cls(), scaled)
    for name in ("direction", "confidence"):
        np.testing.assert_array_equal(one[name], other[name])


@pytest.mark.parametrize("cls", KINDS, ids=lambda cls: cls.kind)
def test_confidence_is_bounded_and_zero_without_direction(cls: type[Analyzer]) -> None:
    out = run(cls(confidence_floor=0.2, confidence_cap=0.6), make_candles(N, 6))
    ready = np.isfinite(out["direction"])
    confidence, none = out["confidence"][ready], out["direction"][ready] == 0
    assert (confidence[none] == 0).all()
    assert ((confidence[~none] >= 0.2) & (confidence[~none] <= 0.6)).all()


@pytest.mark.parametrize("cls", KINDS, ids=lambda cls: cls.kind)
def test_a_dead_market_gives_no_signal(cls: type[Analyzer]) -> None:
    flat = {name: np.full(120, 100.0) for name in ("open", "high", "low", "close")} | {"volume": np.zeros(120)}
    direction = run(cls(), flat)["direction"]
    assert not np.isfinite(direction).any() or set(direction[np.isfinite(direction)]) == {0.0}
    uses_atr = any(isinstance(name, Ref) and name.block.kind == "atr" for name in cls().inputs())
    assert np.isnan(direction).all() == uses_atr  # an ATR of zero is not ready


def last(block: Analyzer, rows: Rows) -> list[float]:
    return list(walk(block, np.array(rows, dtype=float))[-1])


PIVOTLESS = [math.nan] * 4
WIDE = {"share": 0, "other": 1, "min_range": 0, "extreme": 0}


def bands(b: float, width: float, before: float = 0.01) -> Rows:
    return [[100, 0.5, before]] * 20 + [[100, b, width]]


def candle(
    low: float, bottom: float, top: float, high: float, lower: float = 1000.0, upper: float = 1000.0
) -> list[float]:
    return [bottom, high, low, top, 1.0, upper, lower]


def structure(high: float, low: float, gap: float) -> Rows:
    """Two pivots of each side: from 10 to `high` and from 5 to `low`."""
    quiet = [100, *PIVOTLESS, gap, 0, 1]
    return [[100, 10, 2, 5, 2, gap, 0, 1], *[quiet] * 4, [100, high, 2, low, 2, gap, 0, 1]]


def levels(
    close: float, points: dict[int, float], *, gap: float = 0.0, atr: float = 1.0, k: int = 2, n: int = 60
) -> Rows:
    """Rows with a pivot low of price `points[j]` at candle j, known k candles later; the ATR is that of all rows."""
    known = {j + k: price for j, price in points.items()}
    return [
        [close, math.nan, math.nan, *((known[i], k) if i in known else (math.nan,) * 2), gap, 0.0, atr]
        for i in range(n)
    ]


TWICE = {20: 98.0, 30: 98.0}
EDGES: dict[str, tuple[Analyzer, Callable[[float], Rows], float, tuple[int, int, int]]] = {
    "ema gap long": (EmaCross(min_gap=0.5), lambda v: [[100, v, 0, 1]], 0.5, (0, 1, 1)),
    "ema gap short": (EmaCross(min_gap=0.5), lambda v: [[100, v, 0, 1]], -0.5, (-1, -1, 0)),
    "ema both sides": (EmaCross(min_gap=0), lambda v: [[100, v, 0, 1]], 0.0, (-1, 0, 1)),
    "ema cross": (
        EmaCross(min_gap=0.5, mode="cross"),
        lambda v: [[100, v, 0, 1], [100, 1, 0, 1]],
        0.5,
        (1, 0, 0),
    ),
    "ema cross short": (
        EmaCross(min_gap=0.5, mode="cross"),
        lambda v: [[100, v, 0, 1], [100, -1, 0, 1]],
        -0.5,
        (0, 0, -1),
    ),
    "rsi oversold": (RsiZone(), lambda v: [[100, v]], 30, (1, 1, 0)),
    "rsi overbought": (RsiZone(), lambda v: [[100, v]], 70, (0, -1, -1)),
    "rsi turn long": (RsiZone(turn=True), lambda v: [[100, v], [100, 25]], 25, (1, 0, 0)),
    "rsi turn short": (RsiZone(turn=True), lambda v: [[100, v], [100, 75]], 75, (0, 0, -1)),
    "bollinger low": (BollingerZone(), lambda v: bands(v, 0.01), 0.05, (1, 1, 0)),
    "bollinger high": (BollingerZone(), lambda v: bands(v, 0.01), 0.95, (0, -1, -1)),
    "bollinger width": (BollingerZone(), lambda v: bands(0, v), 0.002, (0, 1, 1)),
    "bollinger width short": (BollingerZone(), lambda v: bands(1, v), 0.002, (0, -1, -1)),
    "bollinger leaves up": (BollingerZone(mode="breakout"), lambda v: bands(v, 0.02), 1, (0, 1, 1)),
    "bollinger leaves down": (BollingerZone(mode="breakout"), lambda v: bands(v, 0.02), 0, (-1, -1, 0)),
    "bollinger widens": (BollingerZone(mode="breakout"), lambda v: bands(2, v), 0.01, (0, 0, 1)),
    "bollinger was wide": (BollingerZone(mode="breakout"), lambda v: bands(2, 0.02, v), 0.002, (0, 1, 1)),
    "breakout buffer": (
        Breakout(buffer=0.5),
        lambda v: [[99, 100, 90, 1, 2], [v, 100, 90, 9, 2]],
        100.5,
        (0, 1, 1),
    ),
    "breakout buffer short": (
        Breakout(buffer=0.5),
        lambda v: [[99, 100, 90, 1, 2], [v, 100, 90, 9, 2]],
        89.5,
        (-1, -1, 0),
    ),
    "breakout is the first": (Breakout(), lambda v: [[v, 90, 80, 1, 2], [101, 100, 90, 1, 2]], 100, (1, 1, 0)),
    "breakout short is the first": (Breakout(), lambda v: [[v, 90, 80, 1, 2], [89, 100, 90, 1, 2]], 90, (0, -1, -1)),
    "breakout volume": (Breakout(), lambda v: [[99, 100, 90, 1, 2], [101, 100, 90, 1, v]], 1.5, (0, 1, 1)),
    "momentum move": (PriceMomentum(period=2, recent=1), lambda v: [[100, 1], [100, 1], [v, 1]], 101, (0, 1, 1)),
    "momentum move short": (PriceMomentum(period=2, recent=1), lambda v: [[100, 1], [100, 1], [v, 1]], 99, (-1, -1, 0)),
    "momentum share": (PriceMomentum(period=2, recent=1), lambda v: [[100, 1], [v, 1], [104, 1]], 102, (1, 1, 0)),
    "momentum share short": (PriceMomentum(period=2, recent=1), lambda v: [[100, 1], [v, 1], [96, 1]], 98, (0, -1, -1)),
    "volume spike": (VolumeSpike(), lambda v: [[101, 99, 100, 1], [102, 98, 102, v]], 1.5, (0, 1, 1)),
    "volume place": (VolumeSpike(min_clv=0.5), lambda v: [[101, 99, 100, 1], [102, 98, v, 2]], 101, (0, 1, 1)),
    "volume place short": (VolumeSpike(min_clv=0.5), lambda v: [[101, 99, 100, 1], [102, 98, v, 2]], 99, (-1, -1, 0)),
    "volume rises": (VolumeSpike(), lambda v: [[101, 99, v, 1], [102, 98, 101.5, 2]], 101.5, (1, 0, 0)),
    "volume falls": (VolumeSpike(), lambda v: [[101, 99, v, 1], [102, 98, 98.5, 2]], 98.5, (0, 0, -1)),
    "wick in bodies": (Wick(), lambda v: [candle(0, 1, 2, 3), candle(96, 99, 99 + v, 99 + v)], 1.5, (1, 1, 0)),
    "wick in bodies short": (
        Wick(),
        lambda v: [candle(0, 1, 2, 3), candle(101 - v, 101 - v, 101, 104, upper=100, lower=0)],
        1.5,
        (-1, -1, 0),
    ),
    "wick without body": (
        Wick(ratio=10, share=0, other=1),
        lambda v: [candle(0, 1, 2, 3), candle(98, 100, 100, 100 + v)],
        2,
        (1, 1, 0),
    ),
    "wick in the candle": (
        Wick(ratio=1, other=1),
        lambda v: [candle(0, 1, 2, 3), candle(98, 100, 100, 100 + v)],
        2,
        (1, 1, 0),
    ),
    "wick other tail": (Wick(), lambda v: [candle(0, 1, 2, 3), candle(97, 100, 100, 100 + v)], 1, (1, 1, 0)),
    "wick range": (
        Wick(min_range=0.5),
        lambda v: [[1, 2, 0, 1, v, 0, 0], candle(96, 100, 100, 100)],
        8,
        (1, 1, 0),
    ),
    "wick extreme": (Wick(), lambda v: [candle(0, 1, 2, 3), candle(96, 100, 100, 100, lower=v)], 96, (0, 1, 1)),
    "wick extreme short": (Wick(), lambda v: [candle(0, 1, 2, 3), candle(96, 96, 96, 100, 0, v)], 100, (-1, -1, 0)),
    "wick both sides": (
        Wick(ratio=1, share=0.25, other=0.75, extreme=0),
        lambda v: [candle(0, 1, 2, 3), candle(98, 100, 100, 100 + v)],
        2,
        (0, 0, 0),
    ),
    "trend highs": (TrendDetector(fast=1, slow=2), lambda v: structure(v, 6, 1), 10, (0, 0, 1)),
    "trend lows": (TrendDetector(fast=1, slow=2), lambda v: structure(11, v, 1), 5, (0, 0, 1)),
    "trend falls": (TrendDetector(fast=1, slow=2), lambda v: structure(v, 4, -1), 10, (-1, 0, 0)),
    "trend falls lows": (TrendDetector(fast=1, slow=2), lambda v: structure(9, v, -1), 5, (-1, 0, 0)),
    "trend averages": (TrendDetector(fast=1, slow=2, min_ema_gap=0.5), lambda v: structure(11, 6, v), 0.5, (0, 1, 1)),
    "trend averages short": (
        TrendDetector(fast=1, slow=2, min_ema_gap=0.5),
        lambda v: structure(9, 4, v),
        -0.5,
        (-1, -1, 0),
    ),
    "level proximity": (Level(), lambda v: levels(v, TWICE), 98.5, (1, 1, 0)),
    "level proximity short": (Level(), lambda v: levels(v, TWICE), 97.5, (0, -1, -1)),
    "level at the close": (Level(), lambda v: levels(v, TWICE), 98.0, (-1, 1, 1)),
    "level cluster": (Level(), lambda v: levels(98.2, {20: 98.0, 30: v}), 98.5, (-1, -1, 0)),
    "level equal distance": (
        Level(proximity=2),
        lambda v: levels(v, {10: 98.0, 15: 98.0, 20: 100.0, 25: 100.0}),
        99.0,
        (1, 0, -1),
    ),
    "level trend": (Level(trend="with"), lambda v: levels(98.1, TWICE, gap=v), -0.25, (0, 0, 1)),
    "level trend short": (Level(trend="with"), lambda v: levels(97.9, TWICE, gap=v), 0.25, (-1, 0, 0)),
}


@pytest.mark.parametrize("name", EDGES)
def test_each_boundary_belongs_to_the_side_the_rule_names(name: str) -> None:
    block, rows, edge, expected = EDGES[name]
    assert tuple(last(block, rows(edge + d))[0] for d in (-TINY, 0.0, TINY)) == expected


RAMPS: dict[str, tuple[Analyzer, Callable[[float], Rows], tuple[float, float]]] = {
    "ema": (EmaCross(min_gap=0.5), lambda v: [[100, v, 0, 1]], (0.5, 1.0)),
    "ema short": (EmaCross(min_gap=0.5), lambda v: [[100, -v, 0, 1]], (0.5, 1.0)),
    "rsi": (RsiZone(), lambda v: [[100, v]], (30, 20)),
    "rsi short": (RsiZone(), lambda v: [[100, v]], (70, 80)),
    "bollinger": (BollingerZone(), lambda v: bands(v, 0.01), (0.05, -0.2)),
    "bollinger breakout": (BollingerZone(mode="breakout"), lambda v: bands(v, 0.02), (1, 1.25)),
    "breakout": (
        Breakout(volume_multiplier=0),
        lambda v: [[99, 100, 90, 1, math.nan], [v, 100, 90, 1, math.nan]],
        (100.1, 101),
    ),
    "momentum": (PriceMomentum(period=2, recent=1), lambda v: [[100, 1], [100, 1], [v, 1]], (101, 103)),
    "volume": (VolumeSpike(), lambda v: [[101, 99, 100, 1], [102, 98, 102, v]], (1.5, 3.0)),
    "wick": (Wick(other=0.5), lambda v: [candle(0, 1, 2, 3), candle(0, 100 * v, 100 * v, 100)], (0.5, 0.85)),
}


@pytest.mark.parametrize("name", RAMPS)
def test_confidence_rises_from_floor_to_cap(name: str) -> None:
    block, rows, (start, full) = RAMPS[name]
    inside, beyond = start + (full - start) * 1e-9, full + (full - start)
    values = [last(block, rows(v))[1] for v in (inside, (start + full) / 2, full, beyond if name != "wick" else 0.9)]
    assert values == pytest.approx([0.5, 0.725, 0.95, 0.95], abs=1e-6)


def test_breakout_weighs_distance_and_volume() -> None:
    out = last(Breakout(buffer=0, full=2), [[99, 100, 90, 1, 2], [101, 100, 90, 1, 2]])
    assert out[1] == pytest.approx(0.5 + 0.45 * (0.6 * 0.5 + 0.4 * 0.5))


def test_breakout_measures_in_the_atr_before_the_break() -> None:
    assert last(Breakout(), [[99, 100, 90, 100, 2], [101, 100, 90, 1, 2]])[0] == 0


def test_an_atr_at_the_limit_of_zero_is_not_ready() -> None:
    for atr, ready in ((1e-10, False), (1.01e-10, True), (0.0, False), (math.nan, False)):
        assert math.isfinite(last(EmaCross(), [[100, 101, 100, atr]])[0]) == ready
        assert math.isfinite(last(PriceMomentum(period=2, recent=1), [[99, 1], [99, 1], [100, atr]])[0]) == ready


def test_a_crossing_without_a_known_gap_before_is_none() -> None:
    assert last(EmaCross(mode="cross"), [[100, math.nan, 100, 1], [100, 101, 100, 1]])[:2] == [0, 0]
    assert last(EmaCross(mode="cross"), [[100, 99, 100, 0], [100, 101, 100, 1]])[:2] == [0, 0]


def test_trend_strength_is_told_for_every_bias() -> None:
    assert last(TrendDetector(fast=1, slow=2), structure(11, 4, 1)) == [0, 0, 0, 0.5]
    assert last(TrendDetector(fast=1, slow=2), structure(11, 5.5, 1)) == [
        1,
        pytest.approx(0.5 + 0.45 * 0.375),
        1,
        0.375,
    ]
    assert last(TrendDetector(fast=1, slow=2, min_ema_gap=0), structure(11, 6, -1))[2] == 1
    assert last(TrendDetector(fast=1, slow=2), structure(11, 6, 1)[:-1]) == [0, 0, 0, 0]


def strength(out: list[float]) -> float:
    return (out[1] - 0.5) / 0.45


def test_level_strength_counts_touches_and_age() -> None:
    rows = levels(98.0, TWICE)  # candle 59, newest touch at 30
    assert last(Level(), rows)[2:] == [98.0, pytest.approx(math.nan, nan_ok=True), 2]
    assert strength(last(Level(), rows)) == pytest.approx(0.6 * 1 / 3 + 0.2 * (1 - 29 / 100))
    assert strength(last(Level(recent=28), rows)) == pytest.approx(0.6 * 1 / 3 + 0.2 * (1 - 29 / 100))
    assert strength(last(Level(recent=29), rows)) == pytest.approx(0.6 * 1 / 3 + 0.2 + 0.2 * (1 - 29 / 100))
    assert strength(last(Level(full_touches=2), rows)) == pytest.approx(0.6 + 0.2 * (1 - 29 / 100))


def test_level_forgets_pivots_older_than_the_look_back() -> None:
    rows = levels(98.0, {20: 98.0, 30: 98.0})
    assert last(Level(lookback=40), rows)[4] == 2  # candles 20..59
    assert math.isnan(last(Level(lookback=39), rows)[4])


def test_level_needs_its_touches_and_takes_the_nearest() -> None:
    points = {10: 98.0, 12: 98.0, 14: 98.0, 20: 99.0, 24: 99.0}
    assert last(Level(), levels(99.2, points))[2:5:2] == [99.0, 2]
    assert last(Level(min_touches=3), levels(99.2, points))[2:5:2] == [98.0, 3]
    assert math.isnan(last(Level(min_touches=4), levels(99.2, points))[2])


def test_level_keeps_the_newest_sixty_four_pivots() -> None:
    points = {10 + n: 50.0 + 3.0 * n for n in range(65)}
    rows = levels(49.0, points, n=90)
    assert last(Level(min_touches=1), rows)[3] == 53.0
    assert last(Level(min_touches=1), levels(49.0, dict(list(points.items())[:64]), n=90))[3] == 50.0


def test_level_against_the_trend_is_weakened_or_refused() -> None:
    rows = levels(98.0, TWICE, gap=-1.0)
    full = strength(last(Level(trend="any"), rows))
    assert strength(last(Level(), rows)) == pytest.approx(full * 0.5)
    assert last(Level(trend="with"), rows)[:3] == [0, 0, 98.0]
    assert last(Level(trend="with"), levels(98.0, TWICE, gap=math.nan))[0] == 1


@pytest.mark.parametrize(
    ("cls", "params"),
    [
        (EmaCross, {"fast": 21, "slow": 21}),
        (RsiZone, {"oversold": 70}),
        (RsiZone, {"extreme_low": 30}),
        (BollingerZone, {"low": 0.95}),
        (PriceMomentum, {"recent": 5}),
        (TrendDetector, {"fast": 50}),
    ],
)
def test_parameters_out_of_order_are_refused(cls: type[Analyzer], params: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=r"order_violation: .*(must be below|is needed)"):
        cls(**params)


@pytest.mark.parametrize(
    ("cls", "params"),
    [(EmaCross, {"fast": 0}), (RsiZone, {"period": 1}), (Breakout, {"lookback": 4}), (Level, {"lookback": 29})],
)
def test_parameters_out_of_bounds_are_refused(cls: type[Analyzer], params: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        cls(**params)


@pytest.mark.parametrize("cls", KINDS, ids=lambda cls: cls.kind)
def test_explain_names_the_side_and_survives_missing_numbers(cls: type[Analyzer]) -> None:
    block, candles = cls(), make_candles(N, 1)
    assert find("analyzer", cls.kind) is cls
    columns = dict(candles) | run(block, candles)
    for side, word in ((1.0, "Long with confidence"), (-1.0, "Short with confidence"), (0.0, "No signal")):
        at = int(np.flatnonzero(columns["direction"] == side)[0])
        assert block.explain({name: float(column[at]) for name, column in columns.items()}).startswith(word)
    assert block.explain(dict.fromkeys(cls.outputs, math.nan)).startswith("Not ready")
    assert block.explain({}).startswith("Not ready")
