"""Commands: what is signed, fresh and allowed is done once; anything else changes nothing and is counted."""

from __future__ import annotations

import asyncio
import hashlib
import json
import math
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import delete, insert, select, text, update

from forked import forked
from stratnb.errors import ConfigError, Refused
from stratnb.journal import Journal, JournalReader, tokens
from stratnb.journal.check import check_journal
from stratnb.journal.commands import COMMANDS, SIGNED, CommandResult, CommandSender, message_of
from stratnb.journal.lease import Lease
from stratnb.journal.login import Login
from stratnb.journal.receiver import CommandReceiver, Refusal, Sender
from stratnb.journal.roles import NEEDS
from stratnb.journal.tokens import HOLDERS, Tokens

START_MS = 1_700_000_000_000
HOSTILE = ("<b>x</b>", "'; drop table commands; --", "a\0b", "\ud800", "\u202ex", "x" * 500, "🙂", "")


@dataclass
class Place:
    """A journal with its engine's end of commands, a page for each role, and clocks that stand."""

    folder: Path
    now_ms: int = START_MS
    seconds: float = 0.0
    done: list[tuple[str, dict[str, Any], Sender]] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)
    answer: Callable[[str, dict[str, Any]], Any] = lambda command, args: None

    def __post_init__(self) -> None:
        self.path = self.folder / "journal.sqlite"
        self.journal = Journal.open(self.path)
        self.tokens = Tokens.open(self.folder / "tokens")
        self.receiver = self.restarted()
        self.pages = {role: self.page(role) for role in HOLDERS}

    async def run(self, command: str, args: dict[str, Any], sender: Sender) -> object:
        self.done.append((command, args, sender))
        return self.answer(command, args)

    def restarted(self, **options: Any) -> CommandReceiver:
        same: dict[str, Any] = {"on_refused": self.refusals.append, "clock": lambda: self.seconds}
        return CommandReceiver(self.path, self.tokens, self.run, now_ms=lambda: self.now_ms, **same, **options)

    def page(self, role: Any, author: str = "") -> CommandSender:
        login = Login(self.path, author=author or str(role))
        if role != "viewer":
            login.enter(self.tokens.path(role).read_text())
        return CommandSender(self.path, login, now_ms=lambda: self.now_ms)

    def send(self, command: str, role: str = "operator", **args: Any) -> int:
        return self.pages[role].send(command, args)

    def poll(self, receiver: CommandReceiver | None = None) -> int:
        async def polled() -> int:
            used = receiver or self.receiver
            started = await used.poll()
            await used.settle()
            return started

        return asyncio.run(polled())

    def result(self, number: int) -> CommandResult:
        return self.pages["operator"].result(number)

    def write(self, query: Any) -> None:
        """Change the file as somebody without any token can."""
        with self.journal.database.transaction() as connection:
            connection.execute(query)

    def row(self, number: int) -> dict[str, Any]:
        with self.journal.database.transaction() as connection:
            return dict(connection.execute(select(COMMANDS).where(COMMANDS.c.id == number)).mappings().one())

    def close(self) -> None:
        asyncio.run(self.receiver.close())
        for page in self.pages.values():
            page.close()
        self.journal.close()


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    """Return a place where a token is hashed quickly; `test_tokens` has the real way."""
    monkeypatch.setattr(tokens, "_hashed", lambda token, salt: hashlib.sha256(salt + token.encode()).digest())
    made = Place(tmp_path)
    yield made
    made.close()


def nothing_done(place: Place, *codes: str) -> None:
    """Poll, and assert that nothing was executed and that each refusal was counted and told."""
    before, told = place.receiver.refused.copy(), len(place.refusals)
    assert place.poll() == 0
    assert place.done == []
    assert place.receiver.refused - before == Counter(codes)
    assert [refusal.code for refusal in place.refusals[told:]] == list(codes)


def forged(place: Place, **changes: Any) -> dict[str, Any]:
    """Return a row that was sent properly, taken back and changed."""
    number = place.send("pause", strategy_id="a@BTC/USDT#main")
    row = place.row(number)
    place.write(delete(COMMANDS).where(COMMANDS.c.id == number))
    del row["id"]
    return row | changes


def test_a_command_is_executed_once_and_answered(place: Place) -> None:
    place.answer = lambda command, args: {"moved": args["price"]}
    number = place.send("move_stop", strategy_id="a@BTC/USDT#main", price=99.5)
    assert place.result(number) == CommandResult(number, "move_stop", "new")
    assert [place.poll(), place.poll(), place.poll()] == [1, 0, 0]
    args = {"strategy_id": "a@BTC/USDT#main", "price": 99.5}
    assert place.done == [("move_stop", args, Sender("operator", "operator", number))]
    answered = place.result(number)
    assert answered == CommandResult(number, "move_stop", "done", {"moved": 99.5}, done_ms=START_MS)
    assert answered.is_over and place.receiver.refused == Counter()


@pytest.mark.parametrize("command", NEEDS)
def test_every_command_needs_its_role(place: Place, command: str) -> None:
    with pytest.raises(Refused, match="login_needed"):
        place.page("viewer").send(command)
    if NEEDS[command] == "owner":
        with pytest.raises(Refused, match="role_needed"):
            place.send(command)
    place.send(command, "owner")
    assert place.poll() == 1
    assert [(name, sender.role) for name, _, sender in place.done] == [(command, "owner")]


@pytest.mark.parametrize("value", HOSTILE)
def test_text_arrives_as_it_was_sent(place: Place, value: str) -> None:
    place.answer = lambda command, args: args
    number = place.send("add", document={value: [value]})
    assert place.poll() == 1
    assert place.done[0][1] == place.result(number).value == {"document": {value: [value]}}


def test_what_a_modified_page_signs_is_checked_again(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stratnb.journal.commands.check_role", lambda *_: None)
    numbers = [place.send(command) for command in ("release", "arm", "set_keys", "no_such", "__class__", "x" * 300)]
    codes = ("role_needed", "command_local", "command_local", "command_unknown", "command_unknown", "command_malformed")
    nothing_done(place, *codes)
    results = [place.result(number) for number in numbers]
    assert [(result.state, result.code) for result in results] == [("refused", code) for code in codes]
    assert "owner token" in results[0].hint


@pytest.mark.parametrize(
    "change",
    [
        *({"command": "kill"}, {"args": "{}"}, {"args": '{"strategy_id": "a@BTC/USDT#main"}'}, {"author": "owner"}),
        *({"role": "owner"}, {"role": "viewer"}, {"role": None}, {"mac": None}, {"mac": ""}, {"mac": "0" * 64}),
        *({"nonce": "another"}, {"created_ms": START_MS + 1}, {"role": "x"}, {"mac": "é"}),
    ],
)
def test_a_changed_row_is_refused(place: Place, change: dict[str, Any]) -> None:
    place.write(insert(COMMANDS).values(**forged(place, **change)))
    nothing_done(place, "command_signature")
    nothing_done(place)


@pytest.mark.parametrize(
    "change",
    [
        *({"args": "{"}, {"args": "[]"}, {"args": "[" * 10_000}, {"args": "1" * 10_000}, {"args": '"' + "x" * 99_999}),
        *({"author": "x" * 300}, {"nonce": "x" * 10_000}, {"command": "x" * 300}, {"role": "x" * 300}),
    ],
)
def test_what_is_no_command_is_refused(place: Place, change: dict[str, Any]) -> None:
    place.write(insert(COMMANDS).values(**forged(place, **change)))
    nothing_done(place, "command_malformed")
    nothing_done(place)


def test_a_row_of_any_kinds_holds_nothing_up(place: Place) -> None:
    """The file takes text that is no text, numbers as text, and bytes; a good command behind them is executed."""
    values = ("CAST(x'ff' AS TEXT)", "x'00'", "1.5", "'1'", "-9223372036854775808", "'\ud7ff'")
    columns = ("command", "args", "author", "role", "mac", "created_ms", "nonce")
    good = {"command": "'pause'", "args": "'{}'", "author": "'a'", "role": "'owner'", "mac": "'00'"}
    bad = 0
    for column in columns:
        for k, value in enumerate(values):
            row = good | {"nonce": f"'{column}{k}'", "created_ms": str(START_MS)} | {column: value}
            names = ", ".join((*row, "state", "seq", "ts_ns"))
            with place.journal.database.transaction() as connection:
                sql = f"INSERT INTO commands ({names}) VALUES ({', '.join(row.values())}, 'new', 0, 0)"
                connection.execute(text(sql.replace(":", "\\:")))
            bad += 1
    number = place.send("pause")
    assert place.poll() + place.poll() == 1
    assert place.result(number).state == "done"
    assert place.receiver.refused.total() == bad
    assert set(place.receiver.refused) == {"command_malformed", "command_signature"}


@given(
    left=st.lists(st.text(max_size=6), min_size=6, max_size=6),
    right=st.lists(st.text(max_size=6), min_size=6, max_size=6),
)
def test_no_two_rows_are_signed_alike(left: list[str], right: list[str]) -> None:
    rows = [dict(zip(SIGNED, values, strict=True)) for values in (left, right)]
    assert (message_of(rows[0]) == message_of(rows[1])) == (left == right)


def test_a_moved_boundary_or_another_kind_changes_what_is_signed() -> None:
    row = {"command": "ab", "args": "{}", "author": "c", "role": "owner", "nonce": "n", "created_ms": 5}
    for change in ({"command": "a", "args": "b{}"}, {"created_ms": "5"}, {"created_ms": 5.0}, {"role": None}):
        assert message_of(row) != message_of(row | change)


def test_a_replayed_row_is_refused(place: Place) -> None:
    number = place.send("pause")
    assert place.poll() == 1
    place.done.clear()
    row = place.row(number)
    place.write(update(COMMANDS).values(state="new", result=None, done_ms=None))
    nothing_done(place, "command_replayed")
    place.write(delete(COMMANDS))
    del row["id"]
    place.write(insert(COMMANDS).values(**row | {"state": "new", "result": None}))
    place.now_ms += 29_000
    nothing_done(place, "command_replayed")
    place.write(update(COMMANDS).values(state="new"))
    place.now_ms += 2_000
    nothing_done(place, "command_expired")


@pytest.mark.parametrize(
    ("age_ms", "code"),
    [(0, ""), (30_000, ""), (30_001, "command_expired"), (10**9, "command_expired"), (-5_000, ""), (-5_001, "future")],
)
def test_a_command_has_its_time(place: Place, age_ms: int, code: str) -> None:
    number = place.send("pause")
    place.now_ms += age_ms
    assert place.poll() == (0 if code else 1)
    assert place.result(number).state == ("refused" if code else "done")
    assert code in place.result(number).code


def test_an_author_has_twenty_commands_a_minute_but_may_always_kill(place: Place) -> None:
    def sent(count: int, command: str = "pause") -> list[str]:
        numbers = []
        for _ in range(count):
            numbers.append(place.send(command))
            place.poll()
        return [place.result(number).code for number in numbers]

    assert sent(20) == [""] * 20
    assert sent(3) == ["command_rate"] * 3
    assert len(place.done) == 20
    assert sent(2, "kill") == ["", ""]
    other = place.page("operator", "another")
    number = other.send("pause")
    assert (place.poll(), other.result(number).state) == (1, "done")
    other.close()
    place.seconds += 59.9
    assert sent(1) == ["command_rate"]
    place.seconds += 0.2
    assert sent(1) == [""]
    assert place.receiver.refused == Counter(command_rate=4)


def test_forged_rows_use_up_nobodys_share(place: Place) -> None:
    row = forged(place, mac="0" * 64)
    for k in range(60):
        place.write(insert(COMMANDS).values(**row | {"nonce": f"n{k}"}))
    number = place.send("pause")
    assert place.poll() + place.poll() == 1
    assert place.result(number).state == "done"
    assert place.receiver.refused == Counter(command_signature=60)
    assert place.refusals[0].author == "operator" and place.refusals[0].command == "pause"


def test_errors_come_back_with_code_message_and_hint(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    errors = [Refused("switching", "one is under way", hint="wait"), ValueError("a secret word")]
    numbers = [place.send("switch") for _ in errors]

    def failing(command: str, args: dict[str, Any]) -> None:
        raise errors[len(place.done) - 1]

    place.answer = failing
    assert place.poll() == 2
    refused, broken = map(place.result, numbers)
    assert refused == CommandResult(
        numbers[0], "switch", "failed", None, "switching", "one is under way", "wait", done_ms=START_MS
    )
    assert (broken.state, broken.code) == ("failed", "command_failed")
    assert "ValueError" in broken.message and "secret" not in f"{broken}"
    assert "a secret word" in caplog.text, "the log says it whole"
    assert place.receiver.refused == Counter()


@dataclass(frozen=True)
class Answer:
    """Something that an operation may return."""

    price: float
    parts: tuple[Any, ...]


@pytest.mark.parametrize(
    ("value", "read"),
    [
        (None, None),
        (Answer(math.nan, (1, {2}, Path("a"))), {"price": None, "parts": [1, [2], "a"]}),
        (Sender("a", "owner", 1), {"author": "a", "role": "owner", "number": 1}),
        (np.float64(1.5), 1.5),
        (np.array([1.0, math.inf]), [1.0, None]),
        ({1: np.int64(2)}, {"1": 2}),
        ("\ud800\0", "\ud800\0"),
    ],
)
def test_results_of_any_kind_come_back(place: Place, value: object, read: object) -> None:
    place.answer = lambda command, args: value
    number = place.send("pause")
    place.poll()
    assert place.result(number).value == read


def test_a_result_that_is_too_long_is_left_out(place: Place) -> None:
    place.answer = lambda command, args: "x" * 300_000
    number = place.send("pause")
    place.poll()
    assert (place.result(number).state, place.result(number).code) == ("done", "result_long")


@pytest.mark.parametrize("args", [{"a": object()}, {"a": math.nan}, {"a": math.inf}, {"a": "x" * 70_000}, {"a": b""}])
def test_arguments_that_cannot_be_sent_are_said(place: Place, args: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="command_args"):
        place.pages["operator"].send("add", args)
    with place.journal.reader() as reader:
        assert reader.count("commands") == 0


def test_a_number_that_was_never_given_is_said(place: Place) -> None:
    with pytest.raises(Refused, match="command_missing"):
        place.result(7)


def test_a_long_command_does_not_hold_up_the_kill(place: Place) -> None:
    async def play() -> None:
        gate, order = asyncio.Event(), []

        async def run(command: str, args: dict[str, Any], sender: Sender) -> None:
            if command == "switch":
                await gate.wait()
            order.append(command)

        receiver = CommandReceiver(place.path, place.tokens, run, now_ms=lambda: place.now_ms)
        switch = place.send("switch")
        assert await receiver.poll() == 1
        kill = place.send("kill")
        assert await receiver.poll() == 1
        while place.result(kill).state != "done":
            await asyncio.sleep(0.005)
        assert (order, place.result(switch).state) == (["kill"], "taken")
        assert repr(receiver) == "CommandReceiver(1 running, 0 refused)"
        gate.set()
        await receiver.settle()
        assert place.result(switch).state == "done"
        await receiver.close()

    asyncio.run(play())


def test_what_runs_when_the_engine_stops_is_answered(place: Place) -> None:
    async def play() -> None:
        async def run(command: str, args: dict[str, Any], sender: Sender) -> None:
            await asyncio.Event().wait()

        receiver = CommandReceiver(place.path, place.tokens, run, now_ms=lambda: place.now_ms)
        number = place.send("switch")
        await receiver.poll()
        await asyncio.sleep(0)
        await receiver.close()
        assert (place.result(number).state, place.result(number).code) == ("failed", "command_interrupted")

    asyncio.run(play())


def test_a_command_of_a_killed_engine_is_answered_and_not_done_again(place: Place) -> None:
    """The child is killed while it executes; the parent is the engine that starts after it."""

    def engine(tell: Callable[[str], object]) -> None:
        async def run(command: str, args: dict[str, Any], sender: Sender) -> None:
            tell(command)
            await asyncio.sleep(60)

        async def play() -> None:
            receiver = CommandReceiver(place.path, Tokens.open(place.tokens.folder), run)
            tell("ready")
            while True:
                await receiver.poll()
                await asyncio.sleep(0.01)

        asyncio.run(play())

    place.now_ms = time.time_ns() // 1_000_000
    with forked(engine) as (pid, hear):
        assert hear() == "ready"
        number = place.send("kill")
        assert hear() == "kill"
        assert place.result(number).state == "taken"
        assert check_journal(place.path).faults == ()
        os.kill(pid, signal.SIGSTOP)
        waiting = place.send("pause")
        os.kill(pid, signal.SIGKILL)
    again = place.restarted()
    answered = place.result(number)
    assert (answered.state, answered.code) == ("failed", "command_interrupted")
    assert "unknown: the engine restarted" in answered.message
    assert place.poll(again) == 1
    assert [command for command, _, _ in place.done] == ["pause"] and place.result(waiting).state == "done"
    asyncio.run(again.close())


def test_two_receivers_never_both_execute(place: Place) -> None:
    other = place.restarted()
    numbers = [place.send("kill") for _ in range(30)]
    started: list[int] = []
    threads = [threading.Thread(target=lambda r=r: started.append(place.poll(r))) for r in (place.receiver, other)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert sum(started) == 30
    assert sorted(sender.number for _, _, sender in place.done) == numbers
    asyncio.run(other.close())


def test_without_the_lease_nothing_is_taken(place: Place) -> None:
    lease, other = Lease(place.path, "paper"), Lease(place.path, "paper")
    receiver = place.restarted(lease=lease)
    number = place.send("pause")
    assert place.poll(receiver) == 0
    assert lease.acquire() is None
    with place.journal.database.transaction() as connection:
        connection.execute(text("UPDATE lease SET generation = 2"))
    assert (place.poll(receiver), place.result(number).state) == (0, "new")
    lease.release()
    with place.journal.database.transaction() as connection:
        connection.execute(text("UPDATE lease SET expires_ms = 0"))
    assert other.acquire() is None
    holding = place.restarted(lease=other)
    assert (place.poll(holding), place.result(number).state) == (1, "done")
    other.release()
    for used in (receiver, holding):
        asyncio.run(used.close())


def test_a_row_that_comes_as_taken_is_refused_and_those_that_run_are_left_alone(place: Place) -> None:
    lease = Lease(place.path, "paper")
    assert lease.acquire() is None

    async def play() -> None:
        going = asyncio.Event()

        async def run(command: str, args: dict[str, Any], sender: Sender) -> str:
            await going.wait()
            return "ok"

        receiver = CommandReceiver(place.path, place.tokens, run, lease=lease, now_ms=lambda: place.now_ms)
        running = place.send("pause")
        assert await receiver.poll() == 1
        forged = place.send("kill")
        with place.journal.database.transaction() as connection:
            connection.execute(text(f"UPDATE commands SET state = 'taken' WHERE id = {forged}"))
        assert await receiver.poll() == 0
        assert place.result(running).state == "taken"
        assert (place.result(forged).state, place.result(forged).code) == ("refused", "command_taken")
        assert receiver.refused["command_taken"] == 1
        going.set()
        await receiver.settle()
        assert place.result(running).state == "done"
        assert await receiver.poll() == 0
        await receiver.close()

    asyncio.run(play())
    lease.release()
    assert place.done == []


def test_commands_do_not_disturb_the_writer(place: Place) -> None:
    for number in range(5):
        place.journal.insert("equity", {"scope": "", "time_ms": number, "equity": 1.0})
        place.send("pause")
        place.poll()
        place.journal.commit(durable=True)
    assert len(place.done) == 5
    with place.journal.reader() as reader:
        assert [row["seq"] for row in reader.rows("commands")] == [0] * 5
        assert reader.meta("seq") == "5"


def test_an_observer_makes_no_journal(tmp_path: Path, place: Place) -> None:
    page = CommandSender(tmp_path / "none.sqlite", place.pages["operator"].login)
    with pytest.raises(ConfigError, match="journal_missing"):
        page.send("pause")
    assert not (tmp_path / "none.sqlite").exists()
    assert repr(page) == "CommandSender(Login('operator', operator))"


def test_no_secret_reaches_the_journal(place: Place) -> None:
    place.send("pause")
    place.poll()
    place.journal.database.pragma("wal_checkpoint(TRUNCATE)")
    content = place.path.read_bytes()
    for role in HOLDERS:
        assert place.tokens.path(role).read_bytes() not in content
    with JournalReader.open(place.path) as reader:
        assert json.dumps(reader.rows("commands")).count(place.pages["operator"].login._key.hex()) == 0
