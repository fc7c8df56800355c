"""The paper engine behind the dashboards: a folder for each set of candles, and the process that hosts it."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

import platformdirs

from stratnb.errors import ConfigError, Finding, Halt, Refused, StratnbError
from stratnb.journal import JournalReader
from stratnb.journal.holder import Holder, lease_holder
from stratnb.journal.tokens import Tokens
from stratnb.market_data import load_candles
from stratnb.multi.feeds import open_replay
from stratnb.multi.holding import ACCOUNT

__all__ = ["Account", "EngineProcess", "account_of", "check_files", "hosted"]

STOP_LIMIT_S = 30.0
REFUSED = 2
LOG_TAIL = 4_000
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Account:
    """The folder of the paper account that trades one set of candles; the tokens lie in the folder above."""

    folder: Path
    candles: tuple[Path, ...] = ()

    @property
    def config(self) -> Path:
        """Return the file for `stratnb run`."""
        return self.folder / "engine.toml"

    @property
    def journal(self) -> Path:
        """Return the journal."""
        return self.folder / "journal.sqlite"

    @property
    def log(self) -> Path:
        """Return the file that the engine's process writes its words to."""
        return self.folder / "engine.log"

    @property
    def operator_token(self) -> Path:
        """Return the file that holds the operator's token."""
        return self.folder.parent / "operator.token"

    def prepare(self) -> None:
        """Make the folder, the tokens and the configuration; what is there stays as it is."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        Tokens.open(self.folder.parent)
        if not self.config.exists():
            draft = self.config.with_suffix(".new")
            draft.write_text(self._toml(), "utf-8")
            draft.replace(self.config)

    def _toml(self) -> str:
        """Return the configuration of a fresh account."""
        files = "".join(f"  {_quoted(path)},\n" for path in self.candles)
        return (
            f"# The paper engine of `stratnb dashboard`. Without a dashboard: stratnb run {self.config.name}\n"
            'journal = "journal.sqlite"\n'
            + (f"candles = [\n{files}]\n" if files else "")
            + 'speed = 60.0\n\n[engine]\nmode = "parallel"\ntokens = ".."\n'
        )

    def holder(self) -> Holder | None:
        """Return the engine that trades this account now, None when nobody does."""
        try:
            with JournalReader.open(self.journal) as reader:
                found = lease_holder(reader, ACCOUNT)
        except StratnbError:
            return None
        return found if found is not None and found.is_held else None

    def set_aside(self) -> Path | None:
        """Move journal and paper book into a folder beside them and return it, None when there was nothing to move.

        Raises `Refused("engine_running")` while an engine trades the account.
        """
        running = self.holder()
        if running is not None:
            hint = f"end it first (kill {running.pid}), then start afresh"
            raise Refused("engine_running", f"an engine trades here: {running}", value=running.pid, hint=hint)
        old = sorted(self.folder.glob("journal.*"))
        if not old:
            return None
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S%fZ")
        target = self.folder / f"aside-{stamp}"
        target.mkdir(mode=0o700)
        for path in old:
            path.rename(target / path.name)
        return target


def account_of(candles: Sequence[Path] = (), *, folder: Path | None = None) -> Account:
    """Return the account of some candle files, or of the synthetic market; the same files give the same one.

    `folder` is the user's state folder by default.
    """
    state = folder or platformdirs.user_state_path("stratnb", appauthor=False)
    files = tuple(sorted(path.expanduser().absolute() for path in candles))
    if not files:
        return Account(state / "synthetic")
    digest = hashlib.sha256(b"\0".join(os.fsencode(path) for path in files)).hexdigest()
    return Account(state / f"candles-{digest[:12]}", files)


def _quoted(path: Path) -> str:
    """Return a path as a TOML string."""
    text = str(path)
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        hint = "rename the file"
        raise ConfigError("file_name", f"the name {text!r} is not UTF-8", value=text, hint=hint) from error
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


class EngineProcess:
    """The process of an account's engine; it is not started while another engine trades the account."""

    def __init__(self, account: Account) -> None:
        self.account = account
        self.attached = account.holder()
        self._ended = False
        self._words: IO[bytes] | None = None
        self._process: subprocess.Popen[bytes] | None = None
        if self.attached is None:
            self._start()

    def _start(self) -> None:
        """Run `stratnb run`, in a session of its own: Ctrl-C is for us, who then end it."""
        command = [sys.executable, "-m", "stratnb", "run", str(self.account.config)]
        self._words = self.account.log.open("wb")
        self._process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=self._words, stderr=subprocess.STDOUT, start_new_session=True
        )

    @property
    def pid(self) -> int:
        """Return the process that trades."""
        if self._process is not None:
            return self._process.pid
        return self.attached.pid if self.attached else 0

    def check(self) -> str:
        """Return news in words, once: that another engine was first, or that ours has ended.

        Raises `Halt("engine_failed")` with its last words when it could not even start.
        """
        process = self._process
        if process is None or self._ended or process.poll() is None:
            return ""
        self._ended = True
        if process.returncode == REFUSED:
            self.attached = self.account.holder()
            if self.attached is None:
                raise Halt("engine_failed", f"the engine did not start: {self._last_words()}", hint="mend that")
            return f"Attached: {self.attached}"
        again = f"{Path(sys.executable).name} -m stratnb run {self.account.config}"
        return f"The engine ended with code {process.returncode}; pages show it as offline. Start it again: {again}"

    def _last_words(self) -> str:
        text = self.account.log.read_text("utf-8", "replace")[-LOG_TAIL:].strip()
        found = text.rfind("error ")
        return text[found + len("error ") :] if found >= 0 else text

    def close(self) -> None:
        """End the engine that was started here; one that was running before goes on."""
        process = self._process
        if process is not None and process.poll() is None:
            process.terminate()
            try:
                process.wait(STOP_LIMIT_S)
            except subprocess.TimeoutExpired:
                log.warning("the engine (pid %d) did not end in %.0f s; it is killed", process.pid, STOP_LIMIT_S)
                process.kill()
                process.wait()
        if self._words is not None:
            self._words.close()


def check_files(paths: Sequence[Path]) -> None:
    """Raise `ConfigError` unless these files are candles that one engine can play; it tells what is wrong with each."""
    series, findings = [], []
    for path in paths:
        try:
            series.append(load_candles(path)[0])
        except ConfigError as error:
            findings.append(Finding(path.name, error.code, error.message, value=str(path), hint=error.hint))
            last = error
    if len(findings) == 1:
        raise last
    if findings:
        text = f"{len(findings)} of {len(paths)} candle files cannot be read"
        raise ConfigError("candles_invalid", text, hint="correct them all, then try again", findings=findings)
    if series:
        open_replay(series)


@contextmanager
def hosted(account: Account) -> Iterator[EngineProcess]:
    """Run an account's engine, or attach to the one that runs; ours ends with the block.

    Raises `ConfigError` before anything runs when the candle files cannot be played.
    """
    account.prepare()
    if account.holder() is None:
        check_files(account.candles)
    engine = EngineProcess(account)
    try:
        yield engine
    finally:
        engine.close()
