"""Risk through the engine: what a person decides, the file KILL, unknown orders, latches and limits after a restart."""

from __future__ import annotations

import asyncio
import math
import sqlite3
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stratnb.engine import Engine
from stratnb.errors import ConfigError, Refused, RetryLater
from stratnb.exchange.replay import ReplayFeed
from stratnb.kernels import layout as at
from stratnb.multi.clock import Clock
from stratnb.multi.kill_file import KillFile
from stratnb.multi.watch import Watch, prices_are_live, watches
from stratnb.parity import parity
from stratnb.research.backtest import backtest
from stratnb.services.ledger import AccountLimits
from stratnb.services.limits import change_limits
from stratnb.strategy.sections import Risk
from trading_cases import DAY, FREE, LONG, START_MS, document, flat, market, registered, series, wander

FAST = {"query_delays_s": (0.005,), "absences": 2, "absence_spacing_s": 0.0, "unknown_grace_s": 0.0}


@pytest.fixture(autouse=True, scope="module")
def test_blocks() -> Iterator[None]:
    with registered():
        yield


def engine_on(rows: Any, *labels: str, limits: AccountLimits = FREE, doc: Any = None, **options: Any) -> Engine:
    """Return an engine with active strategies of one market."""
    given = {"markets": [market()], "cash": 10_000.0, "mode": "parallel", "limits": limits, **options}
    engine = Engine("risky", candles=series(rows) if isinstance(rows, list) else rows, **given)
    known = {record.label for record in engine.list()}
    for label in labels or ("a",):
        if label not in known:
            engine.activate(engine.add(doc or document(), label=label))
    return engine


def row_of(engine: Engine, key: str) -> Any:
    return engine.desk.lane(key).context.book.row


def told(engine: Engine, kind: str) -> list[dict[str, Any]]:
    return [dict(event.payload) for event in engine.events.since(0, 10_000) if event.type == kind]


def keys(engine: Engine) -> list[str]:
    return [record.strategy_id for record in engine.list()]


# What a person decides.


def test_a_reduction_of_one_strategy_cancels_its_waiting_entry_and_no_other() -> None:
    with engine_on([*flat(1, volume=LONG), *flat(5)], "a", "b") as engine:
        engine.step(1)
        first, second = keys(engine)
        assert engine.reduce(first, "me", "news") is True
        assert row_of(engine, first)[at.B_ORDER] == at.ORDER_NONE
        assert row_of(engine, second)[at.B_ORDER] == at.ORDER_ENTRY
        engine.step(1)
        assert [row_of(engine, key)[at.B_QUANTITY] for key in (first, second)] == [0.0, 1.0]
        assert engine.reduce(first, "me", "again") is False
        assert told(engine, "RISK_LATCHED")[-1]["reason"] == "news"


def test_a_reduction_by_hand_ends_by_hand_and_says_who_and_why() -> None:
    with engine_on([*flat(1), *flat(4, volume=LONG)]) as engine:
        engine.reduce("", "me", "news")
        engine.step(2)
        assert engine.stats(keys(engine)[0])["denials_by_code"] == {"operator": 1}
        assert engine.activate_risk("", "you", "quiet") is True
        assert engine.activate_risk("", "you", "quiet") is False
        engine.step(2)
        assert row_of(engine, keys(engine)[0])[at.B_QUANTITY] == 1.0
        (released,) = told(engine, "RISK_RELEASED")
        assert (released["author"], released["reason"], released["rules"]) == ("you", "quiet", ["operator"])


def test_activate_does_not_end_another_rule() -> None:
    rows = [*flat(1, volume=LONG), *flat(1), (100, 100, 97, 97), *flat(3, 97.0)]
    risky = document(
        sizing={"kind": "fixed_quantity", "quantity": 90.0}, risk={"max_drawdown": 0.001, "max_exposure": None}
    )
    with engine_on(rows, doc=risky, cash=100_000.0) as engine:
        engine.step(4)
        (key,) = keys(engine)
        assert engine.view().strategies[0].risk_state == "REDUCING"
        with pytest.raises(Refused, match="max_drawdown") as caught:
            engine.activate_risk(key, "me", "hope")
        assert caught.value.code == "risk_in_force"
        assert engine.release("me", "looked at it", key, reset_peak=True) == ("max_drawdown",)
        assert engine.view().strategies[0].risk_state == "ACTIVE"
        assert row_of(engine, key)[at.B_RISK + at.K_PEAK] == row_of(engine, key)[at.B_EQUITY]


@pytest.mark.parametrize(
    ("op", "given", "code"),
    [
        ("release", ("me", " "), "missing"),
        ("release", (" ", "x"), "missing"),
        ("release", ("me", "x", "nobody@X#y"), "unknown_strategy"),
        ("reduce", ("", "me", ""), "missing"),
        ("reduce", (None, "me", "x"), "type"),
        ("activate_risk", ("nobody@X#y", "me", "x"), "unknown_strategy"),
        ("set_limits", ("", {}, "me"), "type"),
        ("set_limits", ("", {"daily_los": 0.1}, "me"), "limits_invalid"),
        ("set_limits", ("", {"daily_loss": -1}, "me"), "limits_invalid"),
    ],
)
def test_what_is_not_said_well_changes_nothing(op: str, given: tuple[Any, ...], code: str) -> None:
    with engine_on(flat(2)) as engine:
        seq = engine.events.seq
        with pytest.raises((ConfigError, Refused)) as caught:
            getattr(engine, op)(*given)
        assert caught.value.code == code
        assert engine.events.seq == seq


# Limits.


def test_a_limit_is_tightened_at_once_and_loosened_only_when_confirmed() -> None:
    with engine_on([*flat(1), *flat(5, volume=LONG)], limits=AccountLimits()) as engine:
        (key,) = keys(engine)
        assert engine.set_limits("", {"market_net": 0.001, "stop_loss_guard": {"count": 2}}, "me") == ()
        engine.step(2)
        assert engine.stats(key)["denials_by_code"] == {"exposure_market": 1}
        made = engine.board.decision(key)
        assert made is not None
        assert {check.name: check.limit for check in made.risk}["Net in the market"] == "≤ 0.1%"
        with pytest.raises(Refused) as caught:
            engine.set_limits("", {"market_net": 0.5, "daily_loss": 0.01}, "me")
        assert (caught.value.code, caught.value.value) == ("limits_loosen", ("market_net",))
        assert engine.limits()["daily_loss"] == 0.05
        assert engine.set_limits("", {"market_net": 0.5}, "me", confirm=True) == ("market_net",)
        engine.step(2)
        assert row_of(engine, key)[at.B_QUANTITY] == 1.0
        changes = [each for each in told(engine, "RISK_STATE") if "limits" in each]
        assert [(each["author"], each["loosened"]) for each in changes] == [("me", []), ("me", ["market_net"])]


def test_a_limit_of_a_strategy_acts_on_its_book_and_its_checks() -> None:
    with engine_on([*flat(1), *flat(5, volume=LONG)]) as engine:
        (key,) = keys(engine)
        engine.set_limits(key, {"max_exposure": 0.001, "max_daily_loss": 0.02}, "me")
        assert row_of(engine, key)[at.B_MAX_DAILY_LOSS] == 0.02
        engine.step(2)
        assert engine.stats(key)["denials_by_code"] == {"exposure_strategy": 1}
        assert engine.limits(key)["max_exposure"] == 0.001


def test_limits_changed_by_hand_go_with_the_strategies_when_the_feed_starts_again() -> None:
    with engine_on(flat(3), limits=AccountLimits()) as engine:
        (key,) = keys(engine)
        engine.set_limits("", {"daily_loss": 0.01}, "me")
        engine.set_limits(key, {"max_daily_loss": 0.02}, "me")
        engine.restart_feed()
        assert engine.desk.services.positions.account[at.A_MAX_DAILY_LOSS] == 0.01
        assert row_of(engine, key)[at.B_MAX_DAILY_LOSS] == 0.02


@pytest.mark.parametrize(
    ("model", "change", "loosened"),
    [
        (AccountLimits(), {"daily_loss": 0.01}, ()),
        (AccountLimits(), {"daily_loss": None}, ("daily_loss",)),
        (AccountLimits(), {"profit_lock": {}}, ()),
        (AccountLimits(), {"stop_loss_guard": {"window_s": 10}}, ("stop_loss_guard",)),
        (AccountLimits(), {"stop_loss_guard": {"pause_s": 1e6}}, ()),
        (AccountLimits(), {"flatten": False}, ("flatten",)),
        (AccountLimits(), {"require_stop": True}, ()),
        (AccountLimits(), {"liquidation_distance": 1.0}, ("liquidation_distance",)),
        (Risk(), {"cooldown_s": 60}, ()),
        (Risk(), {"streak_factors": (1.0, 0.5)}, ("streak_factors",)),
        (Risk(), {"streak_factors": (0.5,)}, ("streak_factors",)),
        (Risk(), {"streak_factors": (0.25,)}, ()),
    ],
)
def test_tighter_and_looser(model: Any, change: dict[str, Any], loosened: tuple[str, ...]) -> None:
    assert change_limits(model, change)[1] == loosened


# The kill switch.


def test_the_file_kill_closes_everything_and_is_renamed(tmp_path: Path) -> None:
    with engine_on([*flat(1, volume=LONG), *flat(5)], workspace=tmp_path) as engine:
        engine.step(2)
        assert row_of(engine, keys(engine)[0])[at.B_QUANTITY] == 1.0
        (tmp_path / "KILL").touch()
        look = KillFile(tmp_path, lambda: _twice(engine), Clock()).look
        assert asyncio.run(look()) is True
        assert engine.view().risk_state == "HALTED"
        assert row_of(engine, keys(engine)[0])[at.B_QUANTITY] == 0.0
        assert (tmp_path / "KILL.done").exists()
        assert asyncio.run(look()) is False
        assert len([each for each in told(engine, "RISK_LATCHED") if each["rule"] == "kill_switch"]) == 1


async def _twice(engine: Engine) -> None:
    """Use the kill switch; a second time changes nothing."""
    for _ in range(2):
        await asyncio.to_thread(engine.kill, "file KILL")


def test_an_engine_with_a_workspace_looks_for_the_file(tmp_path: Path) -> None:
    with engine_on([*flat(1, volume=LONG), *flat(5)], workspace=tmp_path) as engine:
        engine.step(2)
        (tmp_path / "KILL").touch()
        (look,) = watches(engine.desk, tmp_path, partial(engine.aio.kill, "file KILL"))
        assert isinstance(look.__self__, KillFile)  # type: ignore[attr-defined]
        for _ in range(100):
            if (tmp_path / "KILL.done").exists():
                break
            asyncio.run(asyncio.sleep(0.02))
        assert engine.desk.services.risk.reason == "kill_switch"
    with engine_on(flat(3)) as engine:
        assert watches(engine.desk, None, partial(engine.aio.kill, "file KILL")) == []


# Orders without an answer.


class Line:
    """Loses what it is told to."""

    def __init__(self) -> None:
        self.lost: set[tuple[str, str]] = set()
        self.calls = 0

    def __call__(self, leg: str, call: str) -> None:
        if (leg, call) in self.lost:
            self.calls += 1
            raise RetryLater("answer_lost", "the test says so")


def test_entries_are_blocked_while_an_order_has_no_answer() -> None:
    with engine_on([*flat(1, volume=LONG), *flat(3)], orders=FAST) as engine:
        line = engine.desk.exchange.line = Line()
        line.lost = {("answer", "submit"), ("ask", "query")}
        engine.step(1)
        (key,) = keys(engine)
        assert row_of(engine, key)[at.B_RISK + at.K_BLOCK] == at.Z_UNRESOLVED
        view = engine._operations.risk_picture._view()
        assert [scope.block for scope in view.scopes] == ["", "order_unresolved"]
        line.lost = set()
        engine.step(1)
        assert row_of(engine, key)[at.B_RISK + at.K_BLOCK] == 0.0
        assert row_of(engine, key)[at.B_QUANTITY] == 1.0


def test_an_order_that_stays_unknown_reduces_its_strategy() -> None:
    slow = {**FAST, "unknown_notice_s": 0.005, "unknown_reduce_s": 0.01}
    with engine_on([*flat(1, volume=LONG), *flat(3)], orders=slow) as engine:
        line = engine.desk.exchange.line = Line()
        line.lost = {("answer", "submit"), ("ask", "query")}
        engine.step(1)
        for _ in range(200):
            if engine.view().strategies[0].risk_state == "REDUCING":
                break
            engine.submit("list").result(5.0)
            line.calls and asyncio.run(asyncio.sleep(0.005))
        state = engine.view().strategies[0]
        assert (state.risk_state, state.risk_reason) == ("REDUCING", "order_unresolved")
        line.lost = set()


def test_failed_calls_are_a_storm_that_reduces_the_account_before_the_next_fill() -> None:
    limits = FREE.model_copy(update={"error_storm": AccountLimits().error_storm})
    with engine_on([*flat(1, volume=LONG), *flat(3)], "a", "b", limits=limits) as engine:
        engine.step(1)
        desk = engine.desk
        for _ in range(10):
            desk.trouble(desk.lane(keys(engine)[0]).order, "failed")  # type: ignore[arg-type]
        assert desk.services.risk.stirred
        engine.step(1)
        assert [row_of(engine, key)[at.B_QUANTITY] for key in keys(engine)] == [0.0, 0.0]
        assert engine.view().risk_reason == "error_storm"


# Live prices.


class Feed:
    """A feed that is no replay."""


class Bench:
    """A clock that moves by hand."""

    def __init__(self) -> None:
        self.now_s = 0.0

    async def sleep(self, seconds: float) -> None:
        self.now_s += seconds


def test_a_replay_has_no_watch() -> None:
    with engine_on(flat(3)) as engine:
        assert isinstance(engine.desk.feed, ReplayFeed)
        assert not prices_are_live(engine.desk)


def test_silence_of_an_open_position_is_told_and_then_reduces() -> None:
    with engine_on(
        [*flat(1, volume=LONG), *flat(5)], limits=AccountLimits(risk_open=None, risk_per_trade=None)
    ) as engine:
        engine.step(2)
        bench, desk = Bench(), engine.desk
        watch = Watch(desk, Clock(now_s=lambda: bench.now_s, sleep=bench.sleep))
        states = []
        for second in (0, 60, 61, 300, 301):
            bench.now_s = float(second)
            watch.look()
            states.append((len(told(engine, "DATA_STALE")), desk.services.risk.state))
        assert states == [(0, "ACTIVE"), (0, "ACTIVE"), (1, "ACTIVE"), (1, "ACTIVE"), (1, "REDUCING")]
        engine.step(1)
        watch.look()
        assert desk.services.risk.state == "ACTIVE"


def test_a_critical_position_is_told_once() -> None:
    with engine_on([*flat(1, volume=LONG), *flat(2), (100, 100, 98.5, 98.5), *flat(3, 98.5)]) as engine:
        engine.step(3)
        watch = Watch(engine.desk)
        watch.look()
        assert told(engine, "STRATEGY_HEALTH") == []
        row = row_of(engine, keys(engine)[0])
        row[at.B_MARK] = row[at.B_AVERAGE] - 2.5 * (row[at.B_AVERAGE] - row[at.B_FIRST_STOP])
        watch.look()
        watch.look()
        (event,) = told(engine, "STRATEGY_HEALTH")
        assert (event["position"], event["score"]) == ("CRITICAL", 0.0)


# Restarts.


def kept(path: Path, *labels: str, **options: Any) -> Engine:
    rows = [*flat(1, volume=LONG), *flat(1), (100, 100, 97, 97), *flat(6, 97.0, LONG)]
    return engine_on(rows, *labels, journal=path, **options)


def test_latches_pauses_and_counts_survive_a_restart(tmp_path: Path) -> None:
    path, doc = tmp_path / "j.sqlite", document(risk={"max_consecutive_losses": 1, "max_daily_loss": None})
    with kept(path, "a", "b", doc=doc) as engine:
        engine.step(5)
        first, second = keys(engine)
        engine.reduce(second, "me", "news")
        before = engine._operations.risk_picture._view()
        events = engine.events.seq
    with kept(path) as engine:
        after = engine._operations.risk_picture._view()
        assert (after.denials, after.open_risk) == (before.denials, before.open_risk)
        for old, new in zip(before.scopes, after.scopes, strict=True):
            assert (new.state, new.reason, new.pause, new.pause_until_ms) == (
                *(old.state, old.reason, old.pause, old.pause_until_ms),
            )
            assert (new.peak, new.day_start) == (old.peak, old.day_start)
            assert [rule.tripped_ms for rule in new.rules] == [rule.tripped_ms for rule in old.rules]
        assert after.scopes[1].pause == "consecutive_losses"
        assert after.scopes[1].pause_until_ms == START_MS + DAY
        assert after.scopes[2].state == "REDUCING"
        assert [e for e in engine.events.since(events, 1_000) if e.type.startswith("RISK_")] == []
        assert engine.activate_risk(second, "me", "quiet") is True
        assert first == keys(engine)[0]


@pytest.mark.parametrize(
    "damage", ["UPDATE risk_state SET digest='x' WHERE scope=?", "DELETE FROM risk_state WHERE scope=?"]
)
@pytest.mark.parametrize("account", [True, False])
def test_a_damaged_or_missing_risk_row_halts_its_scope_until_released(
    tmp_path: Path, damage: str, *, account: bool
) -> None:
    path = tmp_path / "j.sqlite"
    with kept(path) as engine:
        engine.step(1)
        (key,) = keys(engine)
        engine.cancel_order(key)
    scope = "" if account else key
    with sqlite3.connect(path) as database:
        database.execute(damage, (scope,))
    with kept(path) as engine:
        risk = engine.desk.services.risk
        assert risk.state_of(key) == "HALTED"
        assert risk.state == ("HALTED" if account else "ACTIVE")
        assert [each.rule for each in risk.in_force(scope)] == ["risk_row_damaged"]
        assert told(engine, "RISK_LATCHED")[-1]["rule"] == "risk_row_damaged"
        assert engine.release("me", "looked at it", scope) == ("risk_row_damaged",)
        assert risk.state_of(key) == "ACTIVE"
    with kept(path) as engine:
        assert engine.desk.services.risk.state_of(key) == "ACTIVE"


def test_limits_changed_by_hand_survive_a_restart_and_give_way_to_new_settings(tmp_path: Path) -> None:
    path = tmp_path / "j.sqlite"
    with kept(path, limits=AccountLimits()) as engine:
        engine.step(1)
        (key,) = keys(engine)
        engine.set_limits("", {"daily_loss": 0.01, "profit_lock": {"arm": 0.02}}, "me")
        engine.set_limits(key, {"max_daily_loss": 0.01, "max_trades_per_day": 7}, "me")
    with kept(path, limits=AccountLimits()) as engine:
        assert engine.limits()["daily_loss"] == 0.01
        assert engine.limits()["profit_lock"] == {"arm": 0.02, "give_back": 0.5}
        assert engine.desk.services.positions.account[at.A_MAX_DAILY_LOSS] == 0.01
        assert row_of(engine, key)[at.B_MAX_DAILY_LOSS] == 0.01
        assert engine.desk.lane(key).context.plan.params[at.S_MAX_TRADES] == 7.0
    with kept(path, limits=AccountLimits(daily_loss=0.04)) as engine:
        assert engine.limits()["daily_loss"] == 0.04
        assert engine.limits()["profit_lock"] is not None


def test_the_kill_switch_is_on_disk_before_the_instant_that_waits_for_an_order_is_over(tmp_path: Path) -> None:
    path = tmp_path / "j.sqlite"
    with kept(path, orders=FAST) as engine:
        engine.step(2)
        line = engine.desk.exchange.line = Line()
        line.lost = {("answer", "submit"), ("ask", "query")}
        job = engine.submit("step", 1)  # the stop is touched, nobody knows what became of its order
        for _ in range(200):
            if engine.desk.orders.unresolved:
                break
            asyncio.run(asyncio.sleep(0.01))
        engine.kill("me")
        with sqlite3.connect(path) as database:
            (cells,) = database.execute("SELECT row FROM risk_state WHERE scope=''").fetchone()
        assert np.frombuffer(cells)[at.A_STATE] == at.HALTED
        line.lost = set()
        assert job.result(10.0) == 1
        assert row_of(engine, keys(engine)[0])[at.B_QUANTITY] == 0.0


# The picture.


def test_the_picture_is_that_of_the_rows_and_not_made_anew_each_time() -> None:
    with engine_on([*flat(1, volume=LONG), *flat(4)], "a", "b", limits=AccountLimits(risk_per_trade=None)) as engine:
        engine.step(2)
        view = engine._operations.risk_picture._view()
        books, account = engine.desk.services.positions.books, engine.desk.services.positions.account
        held = books[books[:, at.B_USED] != 0.0]
        assert [scope.scope for scope in view.scopes] == ["", *keys(engine)]
        (here,) = view.markets
        assert here.gross == pytest.approx(account[at.A_GROSS])
        assert here.strategies == 2
        assert view.open_risk == pytest.approx((held[:, at.B_AVERAGE] - held[:, at.B_STOP]).sum())
        rules = {rule.rule: rule for rule in view.scopes[0].rules}
        assert rules["exposure_account"].value == pytest.approx(account[at.A_GROSS] / account[at.A_EQUITY])
        assert rules["profit_lock"].limit is None
        used = rules["max_open_positions"]
        assert (used.value, used.limit, used.used) == (2.0, 10.0, 0.2)
        picture = engine._operations.risk_picture
        assert picture.view() is picture.view()
        engine.reduce("", "me", "x")
        assert picture.view().scopes[0].state == "REDUCING"
        assert math.isfinite(view.scopes[0].peak)


# A market that is halted.


def test_a_halted_market_denies_every_entry_in_a_backtest_and_on_paper_alike() -> None:
    halted, candles = market(active=False), wander(300, 5)
    runs = [backtest(document(), candles, market=halted, limits=FREE, tier=tier) for tier in ("scan", "fused")]
    assert [len(run.fill_rows) for run in runs] == [0, 0]
    assert runs[0].denials == runs[1].denials
    assert {*runs[0].denials} == {"market_unusable"}
    with engine_on(candles, markets=[halted]) as engine:
        engine.step(300)
        (key,) = keys(engine)
        assert engine.desk.services.risk.denials[key] == dict(runs[0].denials)
        assert engine.desk.orders.sequence == 0
        denied = told(engine, "RISK_DENIED")
    assert {event["code"] for event in denied} == {"market_unusable"}
    assert len(denied) > 20
    verdict = parity(document(), candles, market=halted, limits=FREE)
    assert verdict, str(verdict)


def test_a_position_in_a_market_that_is_halted_keeps_its_exits_and_nothing_is_added(tmp_path: Path) -> None:
    rows = [*flat(1, volume=LONG), *flat(2), (100, 100, 97, 97), *flat(2, 97.0), *flat(1, 97.0, LONG), *flat(3, 97.0)]
    path = tmp_path / "j.sqlite"
    with engine_on(rows, journal=path) as engine:
        engine.step(2)
        (key,) = keys(engine)
        assert row_of(engine, key)[at.B_QUANTITY] == 1.0
    with engine_on(rows, journal=path, markets=[market(active=False)], orders=FAST) as engine:
        engine.list()
        engine.desk.exchange.line = lost_once("answer", "submit")  # the outcome of the stop is not known for a moment
        engine.step(6)
        assert [fill.reason for fill in engine.desk.lane(key).context.book.fills()] == ["entry", "stop"]
        assert engine.desk.services.risk.denials[key] == {"market_unusable": 1}
    with engine_on(rows, journal=path) as engine:
        engine.step(2)
        assert engine.desk.services.risk.denials[key] == {"market_unusable": 1}
        assert row_of(engine, key)[at.B_RISK + at.K_BLOCK] == 0.0


def lost_once(leg: str, call: str) -> Any:
    """Return a line that loses one leg of a call, once."""
    lost: list[str] = []

    def line(at_leg: str, at_call: str) -> None:
        if (at_leg, at_call) == (leg, call) and not lost:
            lost.append(call)
            raise RetryLater("answer_lost", "the test says so")

    return line
