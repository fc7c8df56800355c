"""The paper exchange's book: what was accepted is never lost, never twice, and told as of a moment."""

from __future__ import annotations

import os
import signal
import sqlite3
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stratnb.errors import Halt, Refused, RetryLater
from stratnb.exchange.book import PaperBook
from stratnb.exchange.paper import PaperExchange, unreliable
from stratnb.kernels import layout as at
from stratnb.model import Order


def order(number: int = 1, *, created_ms: int = 1_000, quantity: float = 2.0) -> Order:
    """Return a market order to buy."""
    return Order(
        order_id=f"o{number}",
        strategy_id="s",
        symbol="AAA/USDT",
        side="buy",
        quantity=quantity,
        reduces=False,
        reason="entry",
        created_ms=created_ms,
        purpose="e",
    )


def row(time_ms: float = 1_000.0, quantity: float = 2.0, sign: float = 1.0) -> Any:
    """Return a fill row."""
    made = np.zeros(at.W_FILL)
    made[[at.F_SIGN, at.F_QUANTITY, at.F_PRICE, at.F_TIME]] = sign, quantity, 100.0, time_ms
    return made


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "folder" / "paper.sqlite"


def test_an_accepted_order_rests_and_one_with_a_row_executes_at_once(path: Path) -> None:
    book = PaperBook(path)
    assert book.accept(order(1), None) == "OPEN"
    assert book.accept(order(2), row()) == "FILLED"
    assert [each.order_id for each in book.working(1_000)] == ["o1"]
    assert book.position("AAA/USDT", 1_000) == 2.0
    (told,) = book.executions(0, 1_000)
    assert (told.fill_id, told.order_id) == ("o2.0", "o2")
    assert np.array_equal(told.row, row())


def test_the_same_id_twice_is_refused_and_changes_nothing(path: Path) -> None:
    book = PaperBook(path)
    book.accept(order(1), None)
    for again in (None, row()):
        with pytest.raises(Refused) as caught:
            book.accept(order(1), again)
        assert caught.value.code == "duplicate_order"
    assert book.report("o1", 9_999).state == "OPEN"  # type: ignore[union-attr]
    assert book.executions(0, 9_999) == ()


def test_executing_twice_gives_the_same_rows_and_one_execution(path: Path) -> None:
    book = PaperBook(path)
    book.accept(order(1), None)
    first = book.execute("o1", row(2_000.0)[None], 3_000)
    again = book.execute("o1", row(2_500.0, 99.0)[None], 3_000)
    assert np.array_equal(first, again)
    assert len(book.execute("o1", row(3_500.0, 99.0)[None], 4_000)) == 0  # that was heard before
    assert len(book.executions(0, 9_999)) == 1
    assert len(book.execute("unknown", row()[None], 4_000)) == 0


def test_an_order_that_trades_nothing_is_canceled(path: Path) -> None:
    book = PaperBook(path)
    book.accept(order(1), None)
    assert len(book.execute("o1", np.empty((0, at.W_FILL)), 3_000)) == 0
    assert book.report("o1", 2_999).state == "OPEN"  # type: ignore[union-attr]
    assert book.report("o1", 3_000).state == "CANCELED"  # type: ignore[union-attr]


def test_answers_are_as_of_a_moment(path: Path) -> None:
    book = PaperBook(path)
    book.accept(order(1, created_ms=1_000), None)
    book.execute("o1", row(2_000.0)[None], 3_000)
    for until_ms, state, held in ((1_000, "OPEN", 0.0), (2_999, "OPEN", 0.0), (3_000, "FILLED", 2.0)):
        told = book.report("o1", until_ms)
        assert told is not None
        assert (told.state, len(told.executions)) == (state, int(held > 0))
        assert len(book.executions(0, until_ms)) == int(held > 0)
        assert book.position("AAA/USDT", until_ms) == held
        assert len(book.working(until_ms)) == int(held == 0)
    assert book.working(999) == ()
    assert book.report("never", 9_999) is None
    assert book.executions(1, 9_999) == ()


def test_a_cancel_tells_what_became_of_the_order(path: Path) -> None:
    book = PaperBook(path)
    book.accept(order(1), None)
    book.accept(order(2), row())
    assert book.cancel("o1", 4_000) == "CANCELED"
    assert book.cancel("o1", 4_000) == "CANCELED"
    assert book.cancel("o2", 4_000) == "FILLED"
    assert len(book.execute("o1", row()[None], 5_000)) == 0
    with pytest.raises(Refused) as caught:
        book.cancel("o3", 4_000)
    assert caught.value.code == "order_not_found"


def test_two_clients_share_a_file(path: Path) -> None:
    one, two = PaperBook(path), PaperBook(path)
    one.accept(order(1), None)
    with pytest.raises(Refused):
        two.accept(order(1), None)
    first = two.execute("o1", row(2_000.0)[None], 3_000)
    assert np.array_equal(one.execute("o1", row(1.0, 5.0)[None], 3_000), first)
    assert one.cancel("o1", 4_000) == "FILLED"
    assert one.executions(0, 9_999)[0].fill_id == two.executions(0, 9_999)[0].fill_id == "o1.0"


def test_what_was_accepted_survives_a_kill(path: Path) -> None:
    end, start = os.pipe()
    pid = os.fork()
    if pid == 0:
        book = PaperBook(path)
        number = 0
        while True:
            number += 1
            book.accept(order(number), row() if number % 2 else None)
            os.write(start, number.to_bytes(4, "little"))
    for _ in range(50):
        told = os.read(end, 4)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    os.close(start)
    while part := os.read(end, 4):
        told = part
    os.close(end)
    confirmed = int.from_bytes(told, "little")
    book = PaperBook(path)
    for number in range(1, confirmed + 1):
        found = book.report(f"o{number}", 9_999)
        assert found is not None
        assert (found.state, len(found.executions)) == (("FILLED", 1) if number % 2 else ("OPEN", 0))


def test_a_file_that_refuses_is_said_in_words(path: Path, tmp_path: Path) -> None:
    book = PaperBook(path)
    book._db.execute("pragma busy_timeout = 10")
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("begin immediate")
    with pytest.raises(RetryLater) as caught:
        book.accept(order(1), None)
    assert caught.value.code == "paper_book"
    assert str(path) in caught.value.message
    other.execute("rollback")
    other.close()
    assert book.report("o1", 9_999) is None
    assert book.accept(order(1), None) == "OPEN"
    text = tmp_path / "text"
    text.write_text("no database\n" * 500)
    with pytest.raises(Halt):
        PaperBook(text)


def test_a_lost_request_leaves_no_order_and_a_lost_answer_leaves_one() -> None:
    for leg, known in (("ask", False), ("answer", True)):
        exchange = PaperExchange()

        def line(where: str, call: str, leg: str = leg) -> None:
            if (where, call) == (leg, "submit"):
                raise RetryLater("answer_lost", "the test says so")

        exchange.line = line
        with pytest.raises(RetryLater):
            exchange.submit(order(1))
        assert (exchange.query("o1", 9_999) is not None) is known


def test_a_line_that_loses_repeats_itself() -> None:
    def lost(seed: int) -> list[bool]:
        line, found = unreliable(seed, lost=0.3), []
        for _ in range(200):
            try:
                line("ask", "submit")
                found.append(False)
            except RetryLater:
                found.append(True)
        return found

    assert lost(1) == lost(1) != lost(2)
    assert 30 < sum(lost(1)) < 90


def test_a_rewound_book_knows_nothing_of_later_times(path: Path) -> None:
    book = PaperBook(path)
    book.accept(order(1, created_ms=1_000), None)
    book.accept(order(2, created_ms=1_000), None)
    book.execute(order(2).order_id, row(1_000.0)[None], 1_000)
    book.execute(order(1).order_id, row(2_000.0)[None], 2_000)
    book.accept(order(3, created_ms=2_000), row(2_000.0))
    book.rewind(1_500)
    assert [report.order_id for report in book.working(9_000)] == [order(1).order_id]
    assert book.report(order(3).order_id, 9_000) is None
    assert book.position("AAA/USDT", 9_000) == 2.0
    assert book.cancel(order(1).order_id, 1_400) == "CANCELED"
    book.rewind(1_500)
    assert book.working(9_000) == ()
    book.rewind(1_300)
    assert [report.order_id for report in book.working(9_000)] == [order(1).order_id]
    assert len(book.executions(0, 9_000)) == 1
