"""Messages to Telegram, against a server on this machine that answers as it does."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from forked import until
from stratnb.errors import ConfigError
from stratnb.services import outbox, telegram
from stratnb.services.notify import Notifier
from stratnb.services.secrets import Secret
from stratnb.services.telegram import TOKEN, TelegramNotifier, TelegramSettings
from telegram_server import TEXT, Server, serving


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(outbox, "GAP_S", 0.0)
    monkeypatch.setattr(telegram, "FIRST_RETRY_S", 0.01)
    with serving() as found:
        yield found


def notifier(server: Server, *chats: str) -> TelegramNotifier:
    return TelegramNotifier(Secret(TEXT), chats or ("42",), address=server.address)


def test_a_message_carries_mode_strategy_and_level_and_nothing_in_it_is_markup(server: Server) -> None:
    made = notifier(server, "42", "-7")
    assert isinstance(made, Notifier)
    made.notify("critical", "1 <b>AAA</b> & more", "<i>x</i>@AAA/USDT#main")
    made.close()
    assert {body["chat_id"] for _, body in server.told} == {"42", "-7"}
    assert {path for path, _ in server.told} == {f"/bot{TEXT}/sendMessage"}
    said = "[PAPER] <b>&lt;i&gt;x&lt;/i&gt;@AAA/USDT#main</b> CRITICAL: 1 &lt;b&gt;AAA&lt;/b&gt; &amp; more"
    assert {body["text"] for _, body in server.told} == {said}
    assert {body["parse_mode"] for _, body in server.told} == {"HTML"}
    made.notify("info", "too late")
    assert len(server.told) == 2


@pytest.mark.parametrize("status", [429, 500, 502])
def test_what_is_busy_is_tried_again_until_it_is_through(server: Server, status: int) -> None:
    server.script = [(status, {"parameters": {"retry_after": 0.01}})] * 2
    made = notifier(server)
    made.notify("info", "one")
    made.notify("info", "two")
    until(lambda: len(server.told) == 4)
    made.close()
    assert [body["text"][8:] for _, body in server.told] == ["one", "one", "one", "two"]


def test_what_is_refused_is_dropped_and_logged_without_the_token(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    server.script = [(400, {"description": f"Bad Request: chat not found {TEXT}"})]
    made = notifier(server)
    with caplog.at_level(logging.DEBUG):
        made.notify("info", "one")
        made.notify("info", "two")
        until(lambda: len(server.told) == 2)
        made.close()
    assert "chat not found ***" in caplog.text
    assert TEXT not in f"{caplog.text} {made!r}"


def test_a_line_that_is_down_holds_nobody_up(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    made = TelegramNotifier(Secret(TEXT), ("42",), address="http://127.0.0.1:1")
    for number in range(500):
        made.notify("info", f"{number}")
    until(lambda: "a message waits" in caplog.text)
    assert "200 waiting" in repr(made) or "199 waiting" in repr(made)  # one may be on its way
    made.close(0.0)
    assert TEXT not in caplog.text


def test_the_token_comes_from_the_environment_and_its_absence_names_the_remedy(
    monkeypatch: pytest.MonkeyPatch, server: Server
) -> None:
    monkeypatch.delenv(TOKEN, raising=False)
    settings = TelegramSettings(chats=(42,))  # type: ignore[arg-type]
    with pytest.raises(ConfigError) as caught:
        settings.notifier()
    assert caught.value.code == "secret_missing"
    assert TOKEN in str(caught.value)
    monkeypatch.setenv(TOKEN, TEXT)
    monkeypatch.setattr(telegram, "ADDRESS", server.address)
    assert TEXT not in repr(settings.notifier()) + repr(settings)
