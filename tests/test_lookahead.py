"""The look-ahead proof catches the whole catalogue and accuses nothing that ships; the warm-up check counts."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import leaky
from blocks_harness import Floats
from leaky import CANDLES, HONEST, LEAKY
from stratnb.blocks.base import ROLES, Block, Indicator, find, kinds
from stratnb.errors import ConfigError
from stratnb.kernels.jit import python
from stratnb.market_data import synthetic_market
from stratnb.market_data.candles import Candles
from stratnb.research.lookahead import lookahead
from stratnb.research.traces import altered, cut_points
from stratnb.research.warmup import warmup
from stratnb.strategy.documents import build_config, library

MARKET = synthetic_market(["SOL/USDT"], candles=420, seed=5)[0]
FINE = {"timeframes": {"primary": "1m", "trend": "15m", "entry": None}}
NEEDED: dict[str, dict[str, Any]] = {
    "take_profit": {"levels": [{"at": 0.003, "close": 0.5}, {"at": 0.006, "close": 0.5}]},
    "time_exit": {"max_candles": 9},
}
SHIPPED = [(role, kind) for role in ROLES for kind, cls in kinds(role).items() if cls.__module__.startswith("stratnb.")]


def cuts_of(name: str) -> int | None:
    """Return fewer points for what is slow to replay."""
    return 8 if "block" in name else 24 if "trades" in name else None


@pytest.mark.parametrize("name", LEAKY)
def test_the_catalogue_is_caught(name: str) -> None:
    verdict = lookahead(LEAKY[name], CANDLES, cuts=cuts_of(name))
    assert not verdict.ok and not verdict
    assert "LOOKS AHEAD" in repr(verdict)
    assert len(verdict.frame) == len(verdict.leaks)
    for leak in verdict.leaks:
        assert 0 <= leak.candle < len(CANDLES)
        assert leak.time_ms == CANDLES.open_time_ms[leak.candle]


@pytest.mark.parametrize("name", HONEST)
def test_what_is_honest_is_not_accused(name: str) -> None:
    verdict = lookahead(HONEST[name], CANDLES, cuts=cuts_of(name))
    assert verdict.ok, repr(verdict)
    assert verdict.first is None and verdict.frame.empty and "no look-ahead" in verdict._repr_html_()


@pytest.mark.parametrize(("role", "kind"), SHIPPED)
def test_no_shipped_block_looks_ahead(role: Any, kind: str) -> None:
    block = find(role, kind)(**NEEDED.get(kind, {}))
    verdict = lookahead(block, MARKET, cuts=2)
    assert verdict.ok, repr(verdict)
    assert kind in verdict.name and verdict.columns > 80


@pytest.mark.parametrize("name", library())
def test_no_shipped_strategy_looks_ahead(name: str) -> None:
    assert lookahead(name, MARKET, cuts=6, overrides=FINE).ok
    assert lookahead(build_config(name, symbol=MARKET.symbol).config, MARKET, cuts=6).ok


def test_the_first_candle_and_the_amount_are_told() -> None:
    def bend(candles: Candles) -> Floats:
        values = candles.close.copy()
        if len(candles) > 77:
            values[50] = candles.close[77]
        return values

    verdict = lookahead(bend, CANDLES)
    assert verdict.first is not None and verdict.first.candle == 50
    assert {leak.candle for leak in verdict.leaks} == {50}
    assert verdict.first.whole == CANDLES.close[77] and verdict.first.amount > 0.0
    assert verdict.first.cut <= 77


def test_every_point_is_replayed_when_asked_for_or_cheap() -> None:
    whole = cut_points(CANDLES, {}, np.random.default_rng(1), wanted=None)
    assert whole.tolist() == list(range(1, len(CANDLES)))
    some = cut_points(CANDLES, {}, np.random.default_rng(1), wanted=40, lengths=[900_000])
    assert {1, 2, len(CANDLES) - 1} <= set(some.tolist()) and len(some) < 80
    ends = np.flatnonzero(CANDLES.open_time_ms % 900_000 == 0)
    assert len(set(ends.tolist()) & set(some.tolist())) >= 3
    assert lookahead(leaky.no_peek_of_arrays, CANDLES, cuts=10_000).cuts == len(CANDLES) - 1


def test_altered_candles_keep_what_was_known_and_nothing_else() -> None:
    other = altered(CANDLES, 100, np.random.default_rng(2))
    assert np.array_equal(other.rows()[:100], CANDLES.rows()[:100])
    assert np.array_equal(other.open_time_ms, CANDLES.open_time_ms)
    assert (other.close[100:] != CANDLES.close[100:]).all()


def test_a_sum_from_the_end_is_told() -> None:
    def sums(candles: Candles) -> Floats:
        back = np.cumsum(candles.close[::-1])[::-1]
        return back[0] - back + candles.close

    exact = lookahead(sums, CANDLES)
    assert not exact.ok and exact.first is not None and exact.first.amount > 0.0


def test_tolerance_counts_small_differences_as_none() -> None:
    def nearly(candles: Candles) -> Floats:
        return candles.close * (1.0 + 1e-13 * len(candles))

    exact = lookahead(nearly, CANDLES)
    assert not exact.ok and any("tolerance" in note for note in exact.notes)
    assert lookahead(nearly, CANDLES, tolerance=1e-9).ok


def test_a_function_that_needs_more_candles_is_not_accused() -> None:
    def demanding(candles: Candles) -> Floats:
        if len(candles) < 50:
            raise ValueError("too few candles")
        return np.append(math.nan, np.diff(candles.close))

    verdict = lookahead(demanding, CANDLES)
    assert verdict.ok and any("raised" in note for note in verdict.notes)


def test_what_cannot_be_repeated_is_told() -> None:
    rng = np.random.default_rng(3)
    verdict = lookahead(lambda candles: candles.close + rng.random(len(candles)), CANDLES)
    assert not verdict.ok and any(leak.how == "repeat" for leak in verdict.leaks)


def test_a_block_that_remembers_its_last_run_is_told() -> None:
    kept: list[float] = []

    def step(i: int, state: Floats, x: Floats, out: Floats, p: Floats) -> None:
        kept.append(float(x[0]))
        out[0] = float(len(kept))

    remembering = type(
        "Remembering", (Indicator,), {"step": staticmethod(python(step)), "__doc__": "Counts its calls."}
    )
    verdict = lookahead(remembering, CANDLES, cuts=3)
    assert not verdict.ok and verdict.first is not None and verdict.first.how == "repeat"


@pytest.mark.parametrize(
    ("candidate", "candles", "options", "code"),
    [
        (3.0, CANDLES, {}, "type"),
        (leaky.peek, "candles", {}, "type"),
        (leaky.peek, CANDLES[:1], {}, "no_candles"),
        (leaky.peek, CANDLES, {"cuts": 0}, "range"),
        (lambda candles: candles.close[:-3], CANDLES, {}, "lookahead_shape"),
        (lambda candles: candles.nothing, CANDLES, {}, "lookahead_call"),
        (find("exit", "take_profit"), CANDLES, {}, "block_parameters"),
        ("no-such-strategy", CANDLES, {}, "strategy_unknown"),
    ],
)
def test_wrong_input_is_an_error(candidate: Any, candles: Any, options: dict[str, Any], code: str) -> None:
    with pytest.raises(ConfigError) as caught:
        lookahead(candidate, candles, **options)
    assert caught.value.code == code or (code == "strategy_unknown" and caught.value.hint)


def test_names_are_escaped() -> None:
    def call(candles: Candles) -> dict[str, Floats]:
        return {"<script>": np.append(candles.close[1:], 1.0)}

    assert "<script>" not in lookahead(call, CANDLES)._repr_html_()


def test_a_window_agrees_when_it_is_full_and_an_average_forgets_slowly() -> None:
    full = warmup(find("indicator", "sma")(period=20), MARKET)
    assert [row.close for row in full.rows] == [row.declared for row in full.rows] == [20]
    slow = warmup(find("indicator", "ema")(period=20), MARKET).rows[0]
    assert slow.declared == 20 and slow.close is not None and 100 < slow.close < 250
    assert slow.identical is None or slow.identical > slow.close
    weight = 1.0 - 2.0 / 21.0
    assert slow.close == pytest.approx(math.log(1e-9) / math.log(weight), rel=0.35)


def test_the_warmup_of_a_strategy_and_of_a_function() -> None:
    found = warmup("simple-levels", synthetic_market(["SOL/USDT"], candles=1500, seed=5)[0], overrides=FINE)
    assert len(found.rows) > 8 and set(found.frame["timeframe_ms"]) <= {60_000, 900_000}
    assert all(row.close is None or row.close >= 1 for row in found.rows)
    assert found.longest is None or found.longest > 100
    assert "declared" in found._repr_html_() and "1e-9" in repr(found)
    assert warmup(leaky.trailing, CANDLES).rows[0].close == leaky.SPREAD
    assert warmup(leaky.expanding_score, CANDLES).longest is None
    with pytest.raises(ConfigError):
        warmup(leaky.honest_fills, CANDLES)


def test_an_unregistered_block_can_be_proven() -> None:
    assert issubclass(leaky.Score, Block) and "Score" not in kinds("indicator")
    assert lookahead(leaky.Score, CANDLES, cuts=4).ok
