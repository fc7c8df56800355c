"""What an engine tells people: a message for each row of the table, once, and never at the cost of trading."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from forked import until
from stratnb.engine import Engine
from stratnb.errors import ConfigError, Halt, Refused
from stratnb.events import EVENT_TYPES
from stratnb.multi import notices
from stratnb.multi.clock import Clock
from stratnb.multi.notices import Notices
from stratnb.multi.watch import Watch
from stratnb.services import outbox
from stratnb.services.ledger import AccountLimits
from stratnb.services.notify import Level
from stratnb.services.secrets import Secret
from stratnb.services.telegram import TelegramNotifier
from telegram_server import TEXT, serving
from trading_cases import BOOM, DAY, FREE, LONG, MINUTE, START_MS, document, flat, market, registered, series, wander

EXITS: dict[str, Any] = {
    "stop_loss": {"fraction": 0.02},
    "take_profit": {"levels": [{"at": 0.01, "close": 0.5}, {"at": 0.05, "close": 0.5}]},
    "breakeven": {},
}
TRADE = [*flat(1, volume=LONG), *flat(2), (100, 101.5, 100, 101), *flat(2, 101.0), (101, 101, 97, 97), *flat(3, 97.0)]
LOSING = [*flat(1, volume=LONG), *flat(2), (100, 100, 97, 97), *flat(6, 97.0)]


@pytest.fixture(autouse=True, scope="module")
def test_blocks() -> Iterator[None]:
    with registered():
        yield


class Messages:
    """A notifier that keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[Level, str, str | None]] = []

    def notify(self, level: Level, text: str, strategy_id: str | None = None) -> None:
        self.told.append((level, text, strategy_id))

    def of(self, *starts: str) -> list[str]:
        """Return the texts that start so."""
        return [text for _, text, _ in self.told if text.startswith(starts)]


class Broken:
    """A notifier that raises."""

    def notify(self, level: Level, text: str, strategy_id: str | None = None) -> None:
        raise OSError("no line")


def engine_on(rows: Any, notifier: Any = None, **options: Any) -> Engine:
    known = {"cash": 1e6, "limits": FREE, "mode": "parallel", "markets": [market()], "speed": 1.0}
    candles = series(rows) if isinstance(rows, list) else rows
    return Engine("told", candles=candles, notifier=notifier, **{**known, **options})


def loaded(engine: Engine, *docs: dict[str, Any]) -> list[str]:
    """Load and activate strategies; the engine is then stepped."""
    keys = [engine.add(doc) for doc in docs]
    for key in keys:
        engine.activate(key)
    return keys


def started(engine: Engine, *docs: dict[str, Any]) -> list[str]:
    """Load and activate strategies and start the engine, which may take an instant, before it is stepped."""
    keys = loaded(engine, *docs)
    engine.start()
    engine.pause()
    return keys


def test_every_event_that_is_heard_is_one() -> None:
    assert set(Notices("a")._hear) <= EVENT_TYPES


def test_a_trade_is_told_from_its_entry_to_its_end_and_by_telegram(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "GAP_S", 0.0)
    with serving() as server:
        bell = TelegramNotifier(Secret(TEXT), ("42",), address=server.address)
        with engine_on(TRADE, bell) as engine:
            (key,) = started(engine, document("first", exits=EXITS))
            engine.step(len(TRADE))
            (trade,) = engine.desk.lane(key).context.book.trades()
        bell.close()
    texts = [body["text"].removeprefix("[PAPER] ") for _, body in server.told]
    assert texts[0] == f"<b>{key}</b> activated on AAA/USDT"
    assert texts[1].startswith("engine told started: parallel, 1 strategy on 1m, stratnb ")
    assert texts[2].splitlines() == [
        f"<b>{key}</b> opened long 1 AAA/USDT at 100.1, notional 100.1 USDT",
        "stop 98.1 (-2.00%)",
        "target 1 101.1 (+1.00%), closes 50%",
        "target 2 105.1 (+5.00%), closes 50%",
        "confidence 0.90, agreeing: scripted",
    ]
    assert texts[3] == f"<b>{key}</b> target 1 hit at 101.1: 0.5 closed, pnl +0.5 USDT before fees"
    assert texts[4].startswith(f"<b>{key}</b> stop moved by breakeven: 98.1 → 100.")
    first, second, third = texts[5].splitlines()
    assert first.startswith(f"<b>{key}</b> closed long 1 AAA/USDT by breakeven: 100.1 → 100.")
    assert second.startswith(f"pnl +{trade.pnl:.6g} USDT ({trade.return_fraction:+.2%}), R +0.")
    assert second.endswith(f"fees {trade.fees:.6g}, funding 0") and third == "targets hit 1, held 5 min"
    assert texts[6:] == ["engine told stopped: it was closed"]


def test_a_loss_costs_its_risk() -> None:
    bell = Messages()
    with engine_on(LOSING, bell) as engine:
        (key,) = loaded(engine, document())
        engine.step(8)
        (trade,) = engine.desk.lane(key).context.book.trades()
    gross = trade.pnl + trade.fees
    assert trade.r_multiple(98.1) == pytest.approx(gross / 2.0) and trade.r_multiple(None) is None
    assert f"R {trade.r_multiple(98.1):+.2f}" in bell.of("closed")[0] and gross < 0.0


def test_a_position_that_opens_and_closes_within_an_instant_is_told_as_closed() -> None:
    bell = Messages()
    rows = [*flat(1, volume=LONG), (100, 100, 97, 97), *flat(4, 97.0)]
    with engine_on(rows, bell) as engine:
        loaded(engine, document())
        engine.step(4)
    assert bell.of("opened") == [] and len(bell.of("closed long 1")) == 1


def test_a_position_that_is_closed_with_its_strategy_is_told() -> None:
    bell = Messages()
    with engine_on(TRADE, bell) as engine:
        (key,) = loaded(engine, document())
        engine.step(3)
        held = engine.desk.lane(key).context.book
        engine.remove(key, policy="close")
        (trade,) = held.trades()
    (text,) = bell.of("closed")
    assert f"{trade.pnl:.6g} USDT" in text and "by manual" in text


def test_a_kind_of_denial_is_told_once_an_hour() -> None:
    bell = Messages()
    with engine_on(flat(200, volume=LONG), bell) as engine:
        (key,) = loaded(engine, document())
        engine.step(1)
        engine.kill("me")
        engine.step(190)
        assert engine.desk.services.risk.denials[key]["kill_switch"] == 190
    assert bell.of("entry denied") == ["entry denied: kill_switch"] * 4
    assert {who for _, text, who in bell.told if text.startswith("entry denied")} == {key}


def test_a_latch_and_its_release_are_each_told_once() -> None:
    bell = Messages()
    with engine_on(flat(9), bell) as engine:
        loaded(engine, document())
        engine.step(1)
        engine.kill("<me>")
        engine.release(author="me", reason="looked")
        engine.step(2)
    loud = [(text, who) for level, text, who in bell.told if level == "critical"]
    assert loud == [
        ("risk of the account: kill_switch: HALTED, latched until released, by <me>", None),
        ("risk of the account released by me (looked): kill_switch", None),
    ]


def test_a_rule_that_fires_says_what_it_measured_and_for_how_long() -> None:
    bell = Messages()
    with engine_on([*LOSING, *flat(90, 97.0)], bell) as engine:
        (key,) = loaded(engine, document(risk={"stop_loss_guard": {"count": 1, "window_s": 3600, "pause_s": 600}}))
        engine.step(60)
        (pause,) = (event.payload for event in engine.events.since(0, 9_999) if event.payload.get("effect"))
    told = [(level, text, who) for level, text, who in bell.told if text.startswith("risk")]
    assert [level for level, _, _ in told] == ["critical", "critical"] and {who for _, _, who in told} == {key}
    words = "risk of the strategy: stop_loss_guard, value 1, limit 1: entries paused, until 2020-09-14 00:13 UTC"
    assert pause["until_ms"] == START_MS + 13 * MINUTE
    assert [text for _, text, _ in told] == [words, "risk state of the strategy: ACTIVE"]


def test_changed_limits_are_told() -> None:
    bell = Messages()
    with engine_on(flat(3), bell, limits=AccountLimits(max_open_positions=3)) as engine:
        engine.set_limits("", {"max_open_positions": 2}, "me")
        until(lambda: bool(bell.told))
    assert bell.told == [("warning", "risk limits of the account changed by me: max_open_positions 2", None)]


def test_a_switch_is_told_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    bell = Messages()
    with engine_on(flat(9), bell, mode="exclusive") as engine:
        one, two = (engine.add(document(name)) for name in ("one", "two"))
        engine.switch(one)
        engine.switch(two)
        engine.step(1)
        monkeypatch.setattr(engine.desk, "orchestrator", _refuse)
        assert not engine.switch(one).success
        engine.step(1)
    assert [who for _, _, who in bell.told] == [one, two, one]
    assert bell.told[0][1] == "activated on AAA/USDT"
    assert bell.told[1][1].startswith(f"switched from {one}, policy keep, ")
    assert bell.told[2][1] == f"switch from {two} failed, policy keep: busy: not now"


async def _refuse(key: str) -> Any:
    raise Refused("busy", "not now")


def test_a_pause_and_a_refused_configuration_are_told() -> None:
    bell = Messages()
    with engine_on(TRADE, bell) as engine:
        (key,) = loaded(engine, document())
        engine.step(3)
        engine.pause(key)
        engine.pause(key)
        engine.resume(key)
        with pytest.raises(ConfigError):
            engine.apply(key, {"exits.stop_loss.fraction": 7.0}, author="me")
        engine.step(1)
    assert len(bell.of("suspended by hand")) == len(bell.of("resumed by hand")) == 1
    assert len(bell.of("configuration rejected: ")) == 1


def test_an_engine_that_fails_or_loses_its_lease_says_so() -> None:
    bell = Messages()
    with engine_on(flat(3), bell) as engine:
        started(engine)
        loop, operations = engine._run(), engine._operations
        loop.call_soon_threadsafe(operations._lease_lost, Halt("lease_lost", "another engine has it"))
        until(lambda: len(bell.of("engine")) == 3)
    loud = [text for level, text, _ in bell.told if level == "critical"]
    assert loud[0] == "engine told lost its lease and trades no more: another engine has it"
    assert any("halted" in text and "latched until released, by lease" in text for text in loud)
    assert any(text.startswith("engine told stopped: Halt") for text in loud)
    assert bell.of("engine told stopped: it was closed") == []


def test_a_market_that_is_heard_again_is_told() -> None:
    bell, now_s = Messages(), [0.0]
    with engine_on([*flat(1, volume=LONG), *flat(5)], bell) as engine:
        loaded(engine, document())
        engine.step(2)
        watch = Watch(engine.desk, Clock(now_s=lambda: now_s[0]))
        for now_s[0] in (0.0, 61.0, 62.0):
            watch.look()
        engine.step(1)
        watch.look()
    assert [(level, text) for level, text, _ in bell.told if "AAA/USDT" in text][2:] == [
        ("warning", "no price of AAA/USDT for 61 s"),
        ("warning", "prices of AAA/USDT are heard again"),
    ]


def test_the_summaries_of_the_days_add_up_to_the_account(monkeypatch: pytest.MonkeyPatch) -> None:
    bell, days, told = Messages(), 3, list[dict[str, Any]]()
    real = notices.messages.daily_summary

    def kept(day_ms: int, **figures: Any) -> str:
        told.append({"day_ms": day_ms, **figures})
        return real(day_ms, **figures)

    monkeypatch.setattr(notices.messages, "daily_summary", kept)
    with engine_on(wander(days * 1_440 + 10, 5), bell) as engine:
        keys = loaded(engine, document("a"), document("b", exits=EXITS))
        engine.step(days * 1_440 + 4)
        assert len(told) == days - 1, "the last day is over, and not for five minutes"
        engine.step(2)
        books = [engine.desk.lane(key).context.book for key in keys]
        trades = [trade for book in books for trade in book.trades() if trade.exit_ms <= START_MS + days * DAY]
        rows = engine.desk.services.positions.curve.rows()
    assert [each["day_ms"] for each in told] == [START_MS + k * DAY for k in range(days)]
    closes = dict(rows.tolist())
    for each in told:
        assert each["equity"] == closes[each["day_ms"] + DAY]
    assert sum(each["day_pnl"] for each in told) == pytest.approx(told[-1]["equity"] - 1e6, abs=1e-6)
    assert sum(count for each in told for count, _ in each["strategies"].values()) == len(trades) > 40
    pnl = sum(pnl for each in told for _, pnl in each["strategies"].values())
    assert pnl == pytest.approx(sum(trade.pnl for trade in trades))
    assert len(bell.of("day 2020-09-14: equity ")) == 1 and f"{keys[1]}: " in bell.of("day 2020-09-16")[0]


def test_days_of_live_prices_end_by_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    bell = Messages()
    with engine_on(wander(1_445, 5, timeframe="1m"), bell) as engine:
        loaded(engine, document())
        monkeypatch.setattr(notices, "prices_are_live", lambda _: True)
        monkeypatch.setattr(notices.time, "time", lambda: (START_MS + DAY + 4 * MINUTE) / 1_000)
        engine.step(1_444)
        assert bell.of("day") == []
        monkeypatch.setattr(notices.time, "time", lambda: (START_MS + DAY + 5 * MINUTE) / 1_000)
        until(lambda: len(bell.of("day")) == 1)


def test_what_was_told_before_a_restart_is_not_told_again(tmp_path: Path) -> None:
    bell, again = Messages(), Messages()
    with engine_on(TRADE, bell, journal=tmp_path / "j.sqlite") as engine:
        loaded(engine, document(exits=EXITS))
        engine.step(5)
    with engine_on(TRADE, again, journal=tmp_path / "j.sqlite") as engine:
        engine.list()
        assert again.told == []
        engine.step(4)
    assert len(bell.of("opened", "target")) == 2
    assert [text.split()[0] for _, text, _ in again.told] == ["closed"]


# The failure of a message never reaches trading.


@pytest.fixture
def silent() -> Iterator[str]:
    """Give the address of a server that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


def fills_with(notifier: Any) -> Any:
    with engine_on(wander(600, 9, move=0.01), notifier) as engine:
        (key,) = loaded(engine, document(exits=EXITS, risk={"max_consecutive_losses": 3}))
        engine.step(300)
        engine.kill("me")
        engine.step(20)
        engine.release(author="me", reason="looked")
        engine.step(280)
        assert engine.failure is None
        return np.array(engine.desk.lane(key).context.book.fill_rows)


def test_no_notifier_changes_a_fill(silent: str, monkeypatch: pytest.MonkeyPatch) -> None:
    plain, bell = fills_with(None), Messages()
    assert len(plain) > 20 and np.array_equal(fills_with(bell), plain, equal_nan=True)
    assert len(bell.told) > 20
    assert np.array_equal(fills_with(Broken()), plain, equal_nan=True)
    mute = TelegramNotifier(Secret(TEXT), ("42",), address=silent)
    assert np.array_equal(fills_with(mute), plain, equal_nan=True)
    monkeypatch.setattr("stratnb.services.telegram.LIMIT_S", 0.0)
    mute.close(0.0)


def test_a_message_that_cannot_be_made_is_logged(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    plain = fills_with(None)
    for name in notices.messages.__all__:
        if not name.startswith(("paused", "resumed", "feed")):
            monkeypatch.setattr(notices.messages, name, lambda *_a, **_k: 1 / 0)
    with caplog.at_level("ERROR"):
        assert np.array_equal(fills_with(Messages()), plain, equal_nan=True)
    assert caplog.text.count("a message could not be made") > 20


def test_the_log_has_the_same_texts(caplog: pytest.LogCaptureFixture) -> None:
    bell = Messages()
    with caplog.at_level("INFO", "stratnb"), engine_on([*LOSING[:3], *flat(3, volume=BOOM)], bell) as engine:
        loaded(engine, document())
        engine.step(5)
    for level, text, who in bell.told:
        assert f"{who or ''}{' ' if who else ''}{level}: {text}" in caplog.text
    assert len(bell.told) >= 3
