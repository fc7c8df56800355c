"""Hosting: the configuration says all its faults at once, a process ends cleanly, and the next one goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import stratnb
from stratnb import ConfigError, Halt, Refused
from stratnb.engine import Engine
from stratnb.hosted import EngineProcess, account_of, hosted
from stratnb.hosting import HostConfig, host, load_host_config
from stratnb.journal import JournalReader
from stratnb.services.telegram import TOKEN, Answer, TelegramNotifier

LIMIT_S = 60.0
TOML = """
journal = "a.sqlite"
speed = 6000

[engine]
synthetic_history = 100

[[strategies]]
document = "simple-levels"
symbol = "BTC/USDT"

[[strategies]]
document = "trend-rider"
symbol = "ETH/USDT"
label = "calm"
overrides = { "sizing.fraction" = 0.02 }
active = false
"""


def written(folder: Path, text: str = TOML) -> Path:
    path = folder / "engine.toml"
    path.write_text(text, "utf-8")
    return path


def started(config: Path) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(Path(stratnb.__file__).parents[1])}
    command = [sys.executable, "-m", "stratnb", "run", str(config)]
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )


def words_until(process: subprocess.Popen[str], word: str) -> str:
    assert process.stdout is not None
    said = ""
    for line in process.stdout:
        said += line
        if word in line:
            return said
    raise AssertionError(said)


def until(law: Callable[[], bool]) -> None:
    end = time.monotonic() + LIMIT_S
    while not law():
        assert time.monotonic() < end, "it does not come"
        time.sleep(0.02)


def place(journal: Path) -> int:
    with JournalReader.open(journal) as reader:
        found = reader.one("watermarks", {"strategy_id": ""})
    return 0 if found is None else int(found["candles"])


def test_all_faults_of_a_configuration_are_told_at_once(tmp_path: Path) -> None:
    text = """
        jurnal = "a.sqlite"
        speed = -1
        candles = ["none.csv"]
        [engine]
        mod = "parallel"
        cash = "much"
        [[strategies]]
        document = "simple-levels"
        symbl = "BTC/USDT"
        """
    with pytest.raises(ConfigError) as refused:
        load_host_config(written(tmp_path, text))
    said = str(refused.value)
    paths = {finding.path for finding in refused.value.findings}
    assert {"jurnal", "journal", "engine.mod", "engine.cash", "strategies.0.symbl"} <= paths
    for near in ("'journal'", "'mode'", "'symbol'"):
        assert f"did you mean {near}" in said
    assert any(path.startswith("speed") for path in paths)


def test_files_that_are_missing_are_named(tmp_path: Path) -> None:
    text = 'journal = "a.sqlite"\ncandles = ["none.csv", "nothing.parquet"]\n'
    with pytest.raises(ConfigError) as refused:
        load_host_config(written(tmp_path, text))
    assert [finding.code for finding in refused.value.findings] == ["file_not_found"] * 2
    with pytest.raises(ConfigError, match="cannot be read"):
        load_host_config(tmp_path / "none.toml")


@pytest.mark.parametrize("text", ["journal = ", "journal = 'a'\njournal = 'b'", "\x00"])
def test_what_is_no_toml_is_said_with_its_line(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match="is not TOML") as refused:
        load_host_config(written(tmp_path, text))
    assert refused.value.code == "toml"


def test_paths_are_of_the_files_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "b.csv").touch()
    config = written(tmp_path, 'journal = "x/a.sqlite"\ncandles = ["b.csv"]\n[engine]\ntokens = ".."\n')
    monkeypatch.chdir(tmp_path.parent)
    found = load_host_config(config)
    assert (found.journal, found.candles) == (tmp_path / "x" / "a.sqlite", (tmp_path / "b.csv",))
    assert found.tokens == tmp_path.parent


def test_a_journal_in_the_engines_part_is_sent_up(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"engine\.journal"):
        load_host_config(written(tmp_path, '[engine]\njournal = "a.sqlite"\n'))


NOTIFIER = 'journal = "a.sqlite"\n[notifier]\nkind = "telegram"\nchats = [42]\n'


def test_a_notifier_takes_its_secret_from_the_environment_and_never_from_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(TOKEN, raising=False)
    with pytest.raises(ConfigError, match=TOKEN) as refused:
        load_host_config(written(tmp_path, NOTIFIER + 'token = "123:secret"\ncolour = "red"\n'))
    codes = {finding.path: finding.code for finding in refused.value.findings}
    assert codes == {"notifier.token": "secret_in_file", "notifier.colour": "unknown_key"}
    assert "123:secret" not in str(refused.value) + repr(refused.value.findings)
    with pytest.raises(ConfigError, match="is not set") as refused:
        load_host_config(written(tmp_path, NOTIFIER))
    assert [finding.code for finding in refused.value.findings] == ["secret_missing"]
    monkeypatch.setenv(TOKEN, "123:secret")
    found = load_host_config(written(tmp_path, NOTIFIER))
    assert found.notifier is not None
    assert found.notifier.chats == ("42",)
    assert "123:secret" not in repr(found)


def test_a_hosted_engine_has_its_notifier(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TOKEN, "123:secret")
    sent: list[str] = []
    monkeypatch.setattr(TelegramNotifier, "_post", lambda self, chat, text: sent.append(text) or Answer())
    ended = threading.Event()

    def ready(engine: Engine) -> None:
        engine.test_notifier("me")
        ended.set()

    assert host(load_host_config(written(tmp_path, NOTIFIER)), ready=ready, ended=ended) == 0
    assert [text for text in sent if "asked for by me" in text]
    journal = b"".join(path.read_bytes() for path in tmp_path.glob("a*sqlite*"))
    assert b"123:secret" not in journal


def test_a_bad_strategy_ends_the_start_with_its_name(tmp_path: Path) -> None:
    config = HostConfig.model_validate({"journal": tmp_path / "a.sqlite", "strategies": [{"document": "simple-levls"}]})
    with pytest.raises(ConfigError, match="simple-levels"):
        host(config, ended=threading.Event())


def test_sigterm_ends_it_with_a_snapshot_and_the_next_start_goes_on(tmp_path: Path) -> None:
    config, journal = written(tmp_path), tmp_path / "a.sqlite"
    with started(config) as first:
        said = words_until(first, "Running")
        assert "operator.token" in said and "2 strategies" in said
        until(lambda: place(journal) > 3_000)
        with started(config) as second:
            assert second.wait(LIMIT_S) == 2
            assert second.stdout is not None and "not_lease_holder" in second.stdout.read()
        first.send_signal(signal.SIGTERM)
        assert first.wait(LIMIT_S) == 0
    reached = place(journal)
    with JournalReader.open(journal) as reader:
        states = {row["strategy_id"]: row["state"] for row in reader.rows("strategies")}
        assert reader.rows("states")
    assert states == {"simple-levels@BTC/USDT#main": "active", "trend-rider@ETH/USDT#calm": "dormant"}
    with started(config) as again:
        words_until(again, "2 strategies")
        until(lambda: place(journal) > reached)
        again.send_signal(signal.SIGINT)
        assert again.wait(LIMIT_S) == 0


def test_an_account_has_one_folder_for_its_files(tmp_path: Path) -> None:
    files = [tmp_path / "b.csv", tmp_path / 'a "1".csv']
    for path in files:
        path.touch()
    account = account_of(files, folder=tmp_path / "state")
    assert account.folder == account_of(files[::-1], folder=tmp_path / "state").folder
    assert account.folder != account_of(files[:1], folder=tmp_path / "state").folder
    account.prepare()
    found = load_host_config(account.config)
    assert found.candles == tuple(sorted(files)) and found.journal == account.journal
    assert found.tokens == tmp_path / "state" and account.operator_token.stat().st_mode & 0o777 == 0o600
    account.config.write_text("speed = 1\n", "utf-8")
    account.prepare()
    assert account.config.read_text("utf-8") == "speed = 1\n"


def test_files_that_cannot_be_played_are_told_before_anything_runs(tmp_path: Path) -> None:
    wrong, empty, good, long = (
        tmp_path / f"{name}.csv" for name in ("a_usdt_1m", "b_usdt_1m", "c_usdt_1m", "c_usdt_5m")
    )
    wrong.write_text("a,b\n1,2\n", "utf-8")
    empty.touch()
    for path, minutes in ((good, 1), (long, 5)):
        rows = "".join(f"{1_767_225_600_000 + i * minutes * 60_000},1,1,1,1,1\n" for i in range(20))
        path.write_text(f"time,open,high,low,close,volume\n{rows}", "utf-8")
    for files, code, told in (
        ([wrong, good], "columns_missing", [wrong.name]),
        ([wrong, empty], "candles_invalid", [wrong.name, empty.name]),
        ([tmp_path], "file_is_folder", [tmp_path.name]),
        ([good, long], "mixed", ["5m"]),
    ):
        account = account_of(files, folder=tmp_path / "state")
        with pytest.raises(ConfigError) as caught, hosted(account):
            pass
        assert code in caught.value.code and all(word in str(caught.value) for word in told)
        assert not account.log.exists() and not account.journal.exists()


def test_a_fresh_start_moves_the_history_aside_and_deletes_nothing(tmp_path: Path) -> None:
    account = account_of(folder=tmp_path)
    account.prepare()
    assert account.set_aside() is None
    names = ["journal.sqlite", "journal.sqlite-wal", "journal.paper.sqlite"]
    for name in names:
        (account.folder / name).write_text(name)
    kept = account.set_aside()
    assert kept is not None and {path.name for path in kept.iterdir()} >= set(names)
    assert not account.journal.exists() and account.config.exists()


def test_a_dashboards_engine_is_attached_to_or_started_and_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(stratnb.__file__).parents[1]))
    account = account_of(folder=tmp_path)
    account.prepare()
    first = EngineProcess(account)
    try:
        until(lambda: account.holder() is not None)
        other = EngineProcess(account)
        assert other.attached is not None and other.pid == first.pid and other.check() == ""
        with pytest.raises(Refused, match="an engine trades here"):
            account.set_aside()
        other.close()
        assert account.holder() is not None
        os.kill(first.pid, signal.SIGKILL)
        until(lambda: "ended with code -9" in first.check())
    finally:
        first.close()
    assert account.holder() is None
    account.config.write_text("speed = 0\n", "utf-8")
    broken = EngineProcess(account)
    try:
        with pytest.raises(Halt, match="did not start") as failed:
            until(lambda: bool(broken.check()))
        assert "journal" in str(failed.value)
    finally:
        broken.close()
