"""Tokens and logins: the right one opens a role for a while, and nothing else tells what it is."""

from __future__ import annotations

import contextlib
import copy
import hmac
import itertools
import os
import pickle
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest

from forked import end, fork
from stratnb.errors import ConfigError, Refused
from stratnb.journal import Journal, JournalReader, login, tokens
from stratnb.journal.check import check_journal
from stratnb.journal.login import Login
from stratnb.journal.roles import LOCAL_ONLY, NEEDS, Role, check_role
from stratnb.journal.tokens import HOLDERS, Keys, Stored, Tokens, meta_name

MESSAGE = b"a message"


class Clock:
    """A clock that stands until it is told to go."""

    seconds = 50.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    opened = Journal.open(tmp_path / "journal.sqlite")
    yield opened
    opened.close()


@pytest.fixture
def kept(tmp_path: Path) -> Tokens:
    return Tokens.open(tmp_path / "tokens")


@pytest.fixture
def keys(kept: Tokens, journal: Journal) -> Keys:
    return kept.publish(journal.database)


def text(kept: Tokens, role: Role) -> str:
    return kept.path(role).read_text("ascii")


@pytest.fixture
def page(journal: Journal, keys: Keys, clock: Clock) -> Login:
    """Return the login of a page that nobody has used yet."""
    return Login(journal.path, author="page", clock=clock)


def test_tokens_are_made_once_and_only_their_owner_reads_them(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "tokens"
    first = Tokens.open(folder)
    values = {role: text(first, role) for role in HOLDERS}
    assert {file.name: stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()} == {
        "operator.token": 0o600,
        "owner.token": 0o600,
    }
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert len(set(values.values())) == 2 and all(len(value) >= 43 for value in values.values())
    again = Tokens.open(folder)
    assert {role: text(again, role) for role in HOLDERS} == values


def test_what_others_could_read_is_replaced(tmp_path: Path) -> None:
    kept = Tokens.open(tmp_path)
    before = {role: text(kept, role) for role in HOLDERS}
    kept.path("owner").chmod(0o640)
    kept.path("operator").rename(tmp_path / "elsewhere")
    kept.path("operator").symlink_to(tmp_path / "elsewhere")
    again = Tokens.open(tmp_path)
    assert not {text(again, role) for role in HOLDERS} & set(before.values())
    assert stat.S_IMODE(again.path("owner").lstat().st_mode) == stat.S_IMODE(again.path("operator").lstat().st_mode)


def test_processes_that_start_together_agree_on_the_tokens(tmp_path: Path) -> None:
    def run() -> None:
        kept = Tokens.open(tmp_path / "tokens")
        (tmp_path / f"seen-{os.getpid()}").write_text(text(kept, "operator"))

    children = [fork(run) for _ in range(6)]
    for pid in children:
        assert os.waitpid(pid, 0)[1] == 0
        end(pid)
    assert len({file.read_text() for file in tmp_path.glob("seen-*")}) == 1
    assert sorted(file.name for file in (tmp_path / "tokens").iterdir()) == ["operator.token", "owner.token"]


@pytest.mark.parametrize("content", ["", "short", " " * 60, "x" * 2000])
def test_a_token_that_is_none_is_said_without_showing_it(tmp_path: Path, content: str) -> None:
    kept = Tokens.open(tmp_path)
    kept.path("owner").write_text(content)
    with pytest.raises(ConfigError, match="token_invalid") as caught:
        Tokens.open(tmp_path)
    assert str(kept.path("owner")) in str(caught.value)
    assert not content.strip() or content not in str(caught.value)


def test_a_folder_that_cannot_be_used_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="token_folder"):
        Tokens.open(tmp_path / "file")


def test_the_journal_keeps_salted_hashes_and_nothing_that_signs(kept: Tokens, journal: Journal, keys: Keys) -> None:
    with journal.reader() as reader:
        stored = {role: reader.meta(meta_name(role)) for role in HOLDERS}
    for role, value in stored.items():
        assert value is not None and value.startswith("scrypt-14-8-1$")
        read = Stored.read(value)
        assert read is not None and str(read) == value
        key = read.key(text(kept, role))
        assert text(kept, role) not in value and key.hex() not in value
        assert keys.role_of(role, MESSAGE, hmac.digest(key, MESSAGE, "sha256").hex()) == role
        assert read.fits(text(kept, role)) and not read.fits(text(kept, role)[:-1])
    assert check_journal(journal.path).faults == ()


def test_hashes_stay_until_the_token_changes(tmp_path: Path, kept: Tokens, journal: Journal, keys: Keys) -> None:
    def hashes() -> list[str | None]:
        with journal.reader() as reader:
            return [reader.meta(meta_name(role)) for role in HOLDERS]

    before = hashes()
    Tokens.open(kept.folder).publish(journal.database)
    assert hashes() == before
    kept.path("operator").unlink()
    Tokens.open(kept.folder).publish(journal.database)
    assert hashes()[0] != before[0] and hashes()[1] == before[1]
    other = Journal.open(tmp_path / "other.sqlite")
    kept.publish(other.database)
    with other.reader() as reader:
        assert reader.meta("token_owner") != before[1], "each journal has a salt of its own"
    other.close()


def test_a_journal_does_not_take_the_signatures_of_another(tmp_path: Path, kept: Tokens, page: Login) -> None:
    page.enter(text(kept, "operator"))
    other = Journal.open(tmp_path / "other.sqlite")
    assert kept.publish(other.database).role_of("operator", MESSAGE, page.sign(MESSAGE)) is None
    other.close()


@pytest.mark.parametrize(
    "wrong",
    [None, "", "scrypt-14-8-1$$", "scrypt-20-8-1$00$00", "scrypt-14-8-1$zz$00", "a$b$c$d", "scrypt-14-8-1$00$00"],
)
def test_a_hash_that_is_none_fits_nothing(wrong: str | None) -> None:
    assert Stored.read(wrong) is None


def test_secrets_are_compared_in_constant_time(
    kept: Tokens, keys: Keys, page: Login, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every comparison goes through one function, as often for a wrong secret as for a right one."""
    seen: list[tuple[int, int]] = []
    real = hmac.compare_digest

    def counted(left: bytes, right: bytes) -> bool:
        seen.append((len(left), len(right)))
        return real(left, right)

    monkeypatch.setattr(tokens.hmac, "compare_digest", counted)
    for attempt in (text(kept, "operator"), text(kept, "owner"), "wrong", text(kept, "operator")[:-1] + "x"):
        seen.clear()
        with contextlib.suppress(Refused):
            page.enter(attempt)
        assert seen == [(32, 32), (32, 32)]
    mac = page.sign(MESSAGE)
    for role, given in itertools.product(("owner", "operator", "viewer"), (mac, "0" * 64)):
        seen.clear()
        keys.role_of(role, MESSAGE, given)
        assert seen == [(64, 64), (64, 64)]


@pytest.mark.parametrize("role", HOLDERS)
def test_a_token_gives_its_role_and_signs_for_it_only(kept: Tokens, keys: Keys, page: Login, role: Role) -> None:
    assert page.role == "viewer"
    with pytest.raises(Refused, match="login_needed"):
        page.sign(MESSAGE)
    assert page.enter(f"  {text(kept, role)}\n") == page.role == role
    mac = page.sign(MESSAGE)
    assert keys.role_of(role, MESSAGE, mac) == role
    for claimed, message, given in (
        *((other, MESSAGE, mac) for other in (*(set(get_args(Role)) - {role}), None, 1, b"owner")),
        *((role, MESSAGE + b" ", mac), (role, MESSAGE, mac[:-1]), (role, MESSAGE, ""), (role, MESSAGE, None)),
        *((role, MESSAGE, mac.encode()), (role, MESSAGE, "é" * 64), (role, MESSAGE, 7)),
    ):
        assert keys.role_of(claimed, message, given) is None
    page.leave()
    assert page.role == "viewer"


def test_five_failures_pause_a_login(kept: Tokens, page: Login, clock: Clock) -> None:
    for left in (4, 3, 2, 1):
        with pytest.raises(Refused, match=f"login_failed.*{left} attempts left"):
            page.enter("wrong")
    with pytest.raises(Refused, match=r"login_failed.*wait 60 s"):
        page.enter("wrong" * 1000)
    for seconds, paused_s in ((0.0, 60.0), (30.0, 30.0), (29.0, 1.0)):
        clock.seconds += seconds
        assert page.paused_s == paused_s
        with pytest.raises(Refused, match="login_paused"):
            page.enter(text(kept, "operator"))
    clock.seconds += 1
    assert page.paused_s == 0
    assert page.enter(text(kept, "operator")) == "operator"


def test_a_right_token_forgives_the_wrong_ones(kept: Tokens, page: Login) -> None:
    for _ in range(3):
        for _ in range(4):
            with pytest.raises(Refused, match="login_failed"):
                page.enter("\ud800")
        page.enter(text(kept, "operator"))


def test_a_login_ends_a_quarter_of_an_hour_after_the_last_action(kept: Tokens, page: Login, clock: Clock) -> None:
    page.enter(text(kept, "owner"))
    for _ in range(5):
        clock.seconds += 899
        assert (page.role, page.left_s) == ("owner", 1)
        page.sign(MESSAGE)
        assert page.left_s == 900
    clock.seconds += 900
    with pytest.raises(Refused, match="login_needed"):
        page.sign(MESSAGE)
    assert (page.role, page.left_s) == ("viewer", 0)
    page.enter(text(kept, "operator"))
    assert page.role == "operator"


def test_looking_does_not_prolong_a_login(kept: Tokens, page: Login, clock: Clock) -> None:
    page.enter(text(kept, "operator"))
    for _ in range(9):
        clock.seconds += 100
        assert page.left_s >= 0 and page.paused_s == 0
    assert page.role == "viewer"


def test_before_an_engine_ran_there_is_nothing_to_log_in_to(journal: Journal, tmp_path: Path) -> None:
    with pytest.raises(Refused, match="login_unavailable"):
        Login(journal.path).enter("x")
    with pytest.raises(ConfigError, match="journal_missing"):
        Login(tmp_path / "none.sqlite").enter("x")


@pytest.mark.parametrize("author", ["", " ", "a" * 81, "a\nb", "a\0", "\ud800", "\u202eabc"])
def test_an_author_is_short_printable_text(journal: Journal, author: str) -> None:
    with pytest.raises(ConfigError, match="login_author"):
        Login(journal.path, author=author)


def test_no_secret_is_shown_or_leaves_the_process(
    kept: Tokens, keys: Keys, page: Login, caplog: pytest.LogCaptureFixture
) -> None:
    page.enter(text(kept, "owner"))
    with JournalReader.open(page._target) as reader:
        stored = Stored.read(reader.meta("token_owner"))
    assert stored is not None
    shown = [repr(kept), str(kept), repr(keys), repr(page), str(page), repr(stored), f"{vars(login)}", caplog.text]
    secrets = {text(kept, role) for role in HOLDERS} | {repr(page._key), page._key.hex(), repr(stored.key("x"))}
    assert not [secret for secret in secrets for part in shown if secret in part]
    assert (repr(kept), repr(keys), repr(page)) == ("Tokens(...)", "Keys(...)", "Login('page', owner)")
    for holder in (kept, keys, page):
        for leave in (pickle.dumps, copy.copy):
            with pytest.raises(TypeError, match="holds secrets"):
                leave(holder)
    with pytest.raises(Refused) as caught:
        page.enter("a-wrong-token")
    assert "a-wrong-token" not in f"{caught.value!r}{caught.value}{vars(caught.value)}"


def test_roles_do_what_the_table_says() -> None:
    for command, needed in NEEDS.items():
        for role in get_args(Role):
            if get_args(Role).index(role) >= get_args(Role).index(needed):
                check_role(command, role)
            else:
                with pytest.raises(Refused, match="role_needed"):
                    check_role(command, role)
    operator = {"pause", "resume", "switch", "activate", "deactivate", "add", "remove", "close_position", "move_stop"}
    assert {command for command, role in NEEDS.items() if role == "operator"} >= operator | {"kill", "start", "stop"}
    assert {command for command, role in NEEDS.items() if role == "owner"} >= {"release", "adopt_orphan"}
    assert "viewer" not in NEEDS.values()
    for command in LOCAL_ONLY:
        with pytest.raises(Refused, match="command_local"):
            check_role(command, "owner")
    with pytest.raises(Refused, match=r"command_unknown.*'pause'"):
        check_role("puase", "owner")
