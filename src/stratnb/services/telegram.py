"""Messages to chats of Telegram, by a thread of their own: what fails there never reaches trading."""

from __future__ import annotations

import html
import json
import logging
import math
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, field_validator

from stratnb.errors import ConfigError
from stratnb.services.notify import Level
from stratnb.services.outbox import Message, Outbox, QuietHours
from stratnb.services.secrets import Secret, read_secret

__all__ = ["TOKEN", "TelegramNotifier", "TelegramSettings"]

TOKEN = "STRATNB_TELEGRAM_TOKEN"
ADDRESS = "https://api.telegram.org"
LONGEST, LIMIT_S = 4_000, 10.0
FIRST_RETRY_S, LONGEST_RETRY_S = 1.0, 60.0
QUIET_LOOK_S = 60.0
log = logging.getLogger(__name__)


class TelegramSettings(BaseModel):
    """Where messages go; the bot's token is read from the environment variable or keyring entry `token_from`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["telegram"] = "telegram"
    chats: tuple[str, ...] = Field(min_length=1, title="Ids of the chats")
    quiet: QuietHours | None = Field(None, title="Hours without messages of level info")
    token_from: str = Field(TOKEN, pattern="^[A-Z][A-Z0-9_]*$", title="Environment variable or keyring entry")

    @field_validator("chats", mode="before")
    @classmethod
    def _as_text(cls, chats: Any) -> Any:
        """Take ids that were written as numbers."""
        return [str(each) for each in chats] if isinstance(chats, list | tuple) else chats

    def notifier(self) -> TelegramNotifier:
        """Return the notifier; without a token it is `ConfigError` (`secret_missing`)."""
        token = read_secret(self.token_from)
        if token is None:
            raise ConfigError(
                "secret_missing",
                f"the token of the Telegram bot is not set: neither {self.token_from} nor the keyring has it",
                value=self.token_from,
                hint=f"export {self.token_from}=..., or with stratnb[keyring]: keyring set stratnb {self.token_from}",
            )
        return TelegramNotifier(token, self.chats, quiet=self.quiet)


class Answer(NamedTuple):
    """What became of a message: sent, not wanted (`error`), or to be tried again after some seconds."""

    error: str = ""
    retry_s: float | None = None


class TelegramNotifier:
    """Queues messages and sends them in HTML, mode and strategy first, every inserted text escaped.

    A line that is down is tried again after 1, 2, 4 .. 60 s, or after what the server asks; what it refuses is logged
    and dropped. The token is in no text.
    """

    def __init__(
        self,
        token: Secret,
        chats: Sequence[str],
        *,
        mode: str = "PAPER",
        quiet: QuietHours | None = None,
        address: str = ADDRESS,
    ) -> None:
        self._token = token
        self._mode = mode
        self._quiet = quiet
        self._address = address
        self._boxes = {chat: Outbox() for chat in chats}
        self._failures = dict.fromkeys(chats, 0)
        self._changed = threading.Condition()
        self._until_s = math.inf
        self._thread: threading.Thread | None = None

    def __repr__(self) -> str:
        """Return the number of chats and of messages that wait."""
        return f"<TelegramNotifier {len(self._boxes)} chats, {sum(map(len, self._boxes.values()))} waiting>"

    def notify(self, level: Level, text: str, strategy_id: str | None = None) -> None:
        """Queue a message; it returns at once. After `close` it is dropped."""
        whose = f" <b>{html.escape(strategy_id)}</b>" if strategy_id else ""
        word = "" if level == "info" else f" {level.upper()}:"
        message = Message(level, f"[{self._mode}]{whose}{word} {html.escape(text[:LONGEST])}")
        with self._changed:
            if self._until_s < math.inf:
                return
            for box in self._boxes.values():
                box.add(message)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="stratnb-telegram", daemon=True)
                self._thread.start()
            self._changed.notify()

    def close(self, limit_s: float = 5.0) -> None:
        """Send what still can be within some seconds, then stop."""
        with self._changed:
            self._until_s = time.monotonic() + limit_s
            self._changed.notify()
        if self._thread is not None:
            self._thread.join(limit_s + LIMIT_S)

    def _run(self) -> None:
        """Send whatever is due until it is closed and nothing more can be sent in time."""
        while (due := self._due()) is not None:
            answer = self._post(due[0], due[1].text)
            with self._changed:
                self._note(*due, answer)

    def _due(self) -> tuple[str, Message] | None:
        """Wait until a message may go to a chat and return both; None when there is none before the end."""
        with self._changed:
            while True:
                now_s, quiet = time.monotonic(), self._is_quiet()
                waits = {chat: box.wait_s(now_s, quiet=quiet) for chat, box in self._boxes.items()}
                chat = min(waits, key=lambda each: waits[each])
                if now_s + waits[chat] > self._until_s or (self._until_s < math.inf and waits[chat] == math.inf):
                    return None
                if waits[chat] == 0.0:
                    return chat, self._boxes[chat].take(quiet=quiet)
                self._changed.wait(min(waits[chat], QUIET_LOOK_S if quiet else threading.TIMEOUT_MAX))

    def _note(self, chat: str, message: Message, answer: Answer) -> None:
        box, now_s = self._boxes[chat], time.monotonic()
        if answer.retry_s is not None:
            self._failures[chat] += 1
            again_s = min(LONGEST_RETRY_S, FIRST_RETRY_S * 2.0 ** min(10, self._failures[chat] - 1))
            box.failed(message, now_s, max(again_s, answer.retry_s))
            log.warning("a message waits: %s", self._token.hide(answer.error))
            return
        self._failures[chat] = 0
        box.sent(now_s)
        if answer.error:
            log.error("a message was refused: %s", self._token.hide(answer.error))

    def _is_quiet(self) -> bool:
        return self._quiet is not None and self._quiet.holds(datetime.now(UTC))

    def _post(self, chat: str, text: str) -> Answer:
        """Send one message and say what became of it; never raises."""
        told = {"chat_id": chat, "text": text, "parse_mode": "HTML", "link_preview_options": {"is_disabled": True}}
        request = urllib.request.Request(
            f"{self._address}/bot{self._token.reveal()}/sendMessage",
            data=json.dumps(told).encode(),
            headers={"Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=LIMIT_S) as answer:
                answer.read()
        except urllib.error.HTTPError as error:
            return _refusal(error)
        except Exception as error:  # the line is down, or what answers is not Telegram
            return Answer(f"{type(error).__name__}: {error}", 0.0)
        return Answer()


def _refusal(error: urllib.error.HTTPError) -> Answer:
    """Return what an answer that is not 200 asks for: another try on 429 and 5xx, nothing else."""
    try:
        told = json.loads(error.read())
        reason, wait_s = str(told.get("description", "")), float(told.get("parameters", {}).get("retry_after", 0.0))
    except (ValueError, AttributeError, TypeError, OSError):
        reason, wait_s = "", 0.0
    text = f"{error.code} {reason or error.reason}"
    return Answer(text, wait_s) if error.code == 429 or error.code >= 500 else Answer(text)
