"""Strategies whose blocks run ahead of their account: the same bits as the shared code, whatever they keep and read."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np
import pytest
from pydantic import Field

from stratnb.blocks import base
from stratnb.blocks.base import Exit, Input, Sizing
from stratnb.kernels.jit import kernel
from stratnb.kernels.portfolio import CURVES
from stratnb.market_data.candles import Candles
from stratnb.research import portfolio as module
from stratnb.research import tiers
from stratnb.research.portfolio import Portfolio, portfolio
from trading_cases import (
    DAY,
    FREE,
    LONG,
    MINUTE,
    SHORT,
    START_MS,
    Floats,
    document,
    flat,
    market,
    registered,
    series,
    wander,
)

pytestmark = pytest.mark.usefixtures("every_loop_compiles")

SYMBOLS = ("AAA/USDT", "BBB/USDT", "CCC/USDT")
LEAVES, TIGHTENS, CLIMBS, LEANS = 1, 2, 3, 4


class Moody(Exit, kind="moody"):
    """Steady between signals, and by its mood otherwise when there is one, or while the stop moves."""

    limits_loss: ClassVar[bool] = True
    mood: int = Field(0, ge=0, le=4)
    near: float = Field(0.01, gt=0)

    def inputs(self) -> tuple[Input, ...]:
        return ("position.side", "position.entry_price", "position.fresh", "position.stop", "signal.direction")

    def required(self) -> int:
        return 3

    @staticmethod
    @kernel
    def step(i: int, state: Floats, x: Floats, out: Floats, p: Floats) -> None:
        away = p[1] * x[1]
        out[0], out[1] = x[1] - x[0] * away, 0.0
        if p[0] == 1.0 and x[2] == 0.0 and x[4] == 0.0:
            out[1] = 1.0
        elif p[0] == 2.0 and x[2] == 0.0 and x[4] == 0.0:
            out[0] = x[1] - x[0] * 0.5 * away
        elif p[0] == 3.0 and x[2] == 0.0 and math.isfinite(x[3]):
            out[0] = x[3] + x[0] * 0.03 * away
        elif p[0] == 4.0 and x[2] == 1.0:
            out[0] = x[1] - x[0] * away * (1.0 + 0.5 * abs(x[4]))


class Minded(Exit, kind="minded"):
    """Wishes a tighter stop at the closes after a signal."""

    limits_loss: ClassVar[bool] = True

    def state_size(self) -> int:
        return 1

    def inputs(self) -> tuple[Input, ...]:
        return ("position.side", "position.entry_price", "position.fresh", "signal.direction")

    @staticmethod
    @kernel
    def step(i: int, state: Floats, x: Floats, out: Floats, p: Floats) -> None:
        out[0], out[1] = x[1] * (1.0 - x[0] * (0.002 if state[0] == 1.0 else 0.01)), 0.0
        if x[2] == 0.0 and x[3] != 0.0:
            state[0] = 1.0


class Counting(Sizing, kind="counting"):
    """Asks for less each second time."""

    share: float = 0.5

    def state_size(self) -> int:
        return 1

    def inputs(self) -> tuple[Input, ...]:
        return ("account.equity", "signal.price")

    @staticmethod
    @kernel
    def step(i: int, state: Floats, x: Floats, out: Floats, p: Floats) -> None:
        state[0] += 1.0
        out[0] = p[0] * x[0] * (1.0 if state[0] % 2.0 == 1.0 else 0.6)


def leave() -> None:
    for name in ("moody", "minded"):
        base._REGISTRY["exit"].pop(name, None)
    base._REGISTRY["sizing"].pop("counting", None)


@pytest.fixture(autouse=True)
def blocks() -> Iterator[None]:
    base._REGISTRY["exit"].update({"moody": Moody, "minded": Minded})
    base._REGISTRY["sizing"]["counting"] = Counting
    try:
        with registered():
            yield
    finally:
        leave()


leave()


def moody(mood: int, *, near: float = 0.01, share: float = 0.5, **sections: Any) -> dict[str, Any]:
    return document(
        **{
            "market": {"kind": "linear"},
            "exits": {"moody": {"mood": mood, "near": near}},
            "sizing": {"kind": "counting", "share": share},
            **sections,
        }
    )


def ahead(run: Portfolio) -> int:
    """Return how many strategies' blocks ran ahead."""
    return sum(calls.seek != 0 for calls in tiers.closes([one.plan for one in run.backtests.values()], 1, "fused"))


def both(strategies: Any, candles: Any, **options: Any) -> Portfolio:
    """Run by the shared and by generated code; return the second, which has the same bits."""
    shared = portfolio(strategies, candles, tier="scan", **options)
    own = portfolio(strategies, candles, tier="fused", **options)
    for cells in ("fill_rows", "fill_owners", "curves", "account"):
        np.testing.assert_array_equal(getattr(own, cells), getattr(shared, cells), err_msg=cells)
    for label, one in shared.backtests.items():
        for cells in ("book", "equity_curve"):
            np.testing.assert_array_equal(getattr(own.backtests[label], cells), getattr(one, cells), err_msg=label)
        assert own.backtests[label].reasons == one.reasons, label
    return own


def lots(count: int) -> list[Candles]:
    """Return series with gaps that begin and end at different times, over two midnights."""
    starts = (0, 70, 1_300)
    return [
        wander(count - 400 * k, 5 + k, symbol=symbol, gaps=25, start_ms=START_MS + MINUTE * starts[k], move=0.003)
        for k, symbol in enumerate(SYMBOLS)
    ]


LIMIT = {"entry_order": "limit", "limit_offset": 0.001, "limit_timeout_s": 120, "limit_fallback": True}
RULES: tuple[dict[str, Any], ...] = (
    {"cooldown_s": 900, "max_trades_per_day": 40, "max_holding_s": 5_400},
    {"stop_loss_guard": {"count": 3, "window_s": 7_200, "pause_s": 1_800}, "streak_factors": [1.0, 0.7]},
    {"max_daily_loss": 0.02, "max_drawdown": 0.2, "daily_target": 0.02},
)
BINDING = {"max_open_positions": 4, "max_per_market": 3, "market_net": 0.7, "gross_linear": 1.4, "risk_open": 0.03}


@pytest.mark.parametrize("chunk", [50_000, 333], ids=["one call", "calls of 33 instants"])
def test_strategies_that_take_the_last_room_have_the_same_bits(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """What exits wish beside a signal or by the stop, sizing that counts, and entries put to market interact."""
    monkeypatch.setattr(module, "CHUNK", chunk)
    made = {
        f"{mood}{k}": (
            moody(
                mood,
                near=0.004 * (k + 1),
                share=0.3 + 0.2 * k,
                entry={"mode": "vote", "min_candles": 1 + 40 * k},
                risk=RULES[(mood + k) % 3],
                capital={"amount": 0.4},
                execution={**(LIMIT if (mood + k) % 2 else {}), "leverage": 3, "simulation": {"end": "close"}},
            ),
            SYMBOLS[(mood * 2 + k) % 3],
        )
        for mood in range(5)
        for k in range(2)
    }
    limits = FREE.model_copy(update={**BINDING, "orders_per_account": 3, "daily_loss": 0.05})
    markets = {symbol: market(symbol, kind="linear", max_leverage=5.0) for symbol in SYMBOLS}
    run = both(made, lots(3_500), market=markets, limits=limits)
    told = {reason for one in run.backtests.values() for reason in one.reasons}
    assert ahead(run) == len(made) and len(run.fill_rows) > 300
    assert {"max_open_positions", "warming_up", "cooldown", "in_position"} <= told


def test_an_entry_beside_one_that_is_put_to_market_has_the_same_bits_and_no_room() -> None:
    """The limit of the first strategy expires at the close at which the second one wants the only room: one has it."""
    rows = [*flat(3), (100, 100, 100, 100, LONG), *flat(1), (100, 100, 100, 100, SHORT), *flat(6), *flat(6, 101.0)]
    kinds = {"long": {**LIMIT, "limit_offset": 0.01}, "short": {}}
    pair = {
        side: moody(LEANS, execution=execution, market={"kind": "linear", "direction": side})
        for side, execution in kinds.items()
    }
    limits = FREE.model_copy(update={"max_open_positions": 1})
    run = both(pair, series(rows), market=market(kind="linear"), limits=limits)
    assert ahead(run) == 2 and len(run.fill_rows) > 0
    assert run.curves[:, CURVES.index("open")].max() == 1.0


def test_a_target_that_is_met_to_the_last_bit_pauses_a_light_position() -> None:
    """The equity comes back to exactly the target of a second day, below the peak of the first."""
    day = [*flat(2), (100, 100, 100, 100, LONG), *flat(5), *flat(5, 120.0)]
    first = [*day, *flat(DAY // MINUTE - len(day))]
    second = [*flat(5), *flat(1, 110.0), *flat(3), *flat(2, 80.0), (100, 100, 100, 100, LONG), *flat(5)]
    plain = moody(
        0,
        near=0.1,
        share=0.1,
        risk={"daily_target": 0.01},
        execution={"simulation": {"slippage": 0.0, "taker_fee": 0.0, "maker_fee": 0.0}},
    )
    run = both([plain], series([*first, *second]), market=market(kind="linear"), cash=1_000.0, limits=FREE)
    assert ahead(run) == 1 and len(run.fill_rows) == 2
    assert next(iter(run.backtests.values())).reasons["paused"] == 1


def test_an_exit_that_keeps_a_signal_is_heeded_at_the_close_after_it() -> None:
    run = both(
        [moody(0, exits={"minded": {}})],
        wander(2_000, 3, gaps=5, move=0.004),
        market=market(kind="linear"),
        limits=FREE,
    )
    assert ahead(run) == 1 and len(run.fill_rows) > 10
