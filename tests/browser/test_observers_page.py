"""Five viewers of one hosted engine in Voila: all live, none may act without the token, none is the engine."""

from __future__ import annotations

import http.client
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from browser.conftest import ROOT, Site, _environment, serve_voila
from stratnb.hosted import account_of
from stratnb.ui import serve as serving

TRADER, WALL = ROOT / "dashboards" / "trader.ipynb", ROOT / "dashboards" / "observer.ipynb"
VIEWERS = 5
START_LIMIT_MS = 180_000  # the kernels may have to be compiled
OFFLINE_LIMIT_MS = 15_000
CULL_LIMIT_S = 60.0
PLACE = "document.querySelector('.sn-feed')?.textContent.match(/candle ([\\d,]+)/)?.[1]"


class Hosted:
    """An engine in a process of its own, with the account that it trades."""

    def __init__(self, folder: Path) -> None:
        self.account = account_of(folder=folder / "state")
        self.account.prepare()
        self._environment = _environment(folder)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [sys.executable, "-m", "stratnb", "run", str(self.account.config)]
        with self.account.log.open("wb") as log:
            self._process = subprocess.Popen(command, env=self._environment, stdout=log, stderr=subprocess.STDOUT)

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def kill(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGKILL)
        self._process.wait(10)

    def end(self) -> None:
        if self.running:
            assert self._process is not None
            self._process.terminate()
            assert self._process.wait(30) == 0

    @property
    def token(self) -> str:
        return self.account.operator_token.read_text("ascii")

    def rows(self, query: str) -> list[Any]:
        with closing(sqlite3.connect(f"file:{self.account.journal}?mode=ro", uri=True)) as connection:
            return connection.execute(query).fetchall()


@pytest.fixture
def hosted(tmp_path: Path) -> Iterator[Hosted]:
    engine = Hosted(tmp_path)
    engine.start()
    yield engine
    engine.end()


@pytest.fixture
def served(
    tmp_path: Path, hosted: Hosted, sites: list[Site], monkeypatch: pytest.MonkeyPatch
) -> Callable[[Path], Site]:
    """Return a function that serves a notebook to observers, by kernels that are culled soon after their last page."""
    monkeypatch.setenv(serving.JOURNAL_VARIABLE, str(hosted.account.journal))

    def serve(notebook: Path) -> Site:
        options = [
            f"--Voila.config_file_paths={Path(serving.__file__).parent}",
            "--MappingKernelManager.cull_idle_timeout=6",
            "--MappingKernelManager.cull_interval=2",
            "--MappingKernelManager.cull_connected=False",
        ]
        sites.append(serve_voila(tmp_path, notebook, *options))
        return sites[-1]

    return serve


def _get(site: Site, path: str) -> tuple[int, str]:
    with closing(http.client.HTTPConnection("127.0.0.1", site.port, timeout=20)) as connection:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode("utf-8", "replace")


def _kernels(site: Site) -> set[int]:
    """Return the pids of the server's kernels."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            status = path.read_text()
            words = (path.parent / "cmdline").read_bytes()
        except OSError:
            continue
        if int(status.rpartition(")")[2].split()[1]) == site.process.pid and b"ipykernel" in words:
            found.add(int(path.parent.name))
    return found


def _until(law: Callable[[], bool], limit_s: float, what: str) -> None:
    end = time.monotonic() + limit_s
    while not law():
        assert time.monotonic() < end, what
        time.sleep(0.05)


def _forge(journal: Path) -> None:
    """Write a command row that nobody signed."""
    with closing(sqlite3.connect(journal, timeout=10)) as connection, connection:
        connection.execute(
            "insert into commands (command, args, author, role, nonce, created_ms, mac, state, ts_ns, seq)"
            " values ('kill', '{}', 'guest', 'owner', 'n', ?, ?, 'new', 0, 0)",
            (time.time_ns() // 1_000_000, "0" * 64),
        )


def _is_live(page: Any) -> None:
    page.locator(".sn-tabs").wait_for(timeout=START_LIMIT_MS)
    before = page.wait_for_function(f"() => {PLACE}", timeout=START_LIMIT_MS).json_value()
    page.wait_for_function(f"before => ({PLACE}) !== before", arg=before)


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="kernels are counted in /proc, which this system has not")
def test_five_viewers_watch_one_engine_and_none_of_them_is_needed(
    hosted: Hosted, served: Callable[[Path], Site], open_page: Callable[..., Any], faults: Any
) -> None:
    site = served(TRADER)
    pages = [open_page(site.url()) for _ in range(VIEWERS)]
    for page in pages:
        _is_live(page)
    assert len(hosted.rows("select * from lease")) == 1
    assert hosted.rows("select pid from lease") == [(hosted.pid,)]
    assert len(_kernels(site)) >= VIEWERS

    kernels = _kernels(site)
    for path in ("/", "/?token=wrong", "/api/kernels", f"/voila/render/{TRADER.name}", "/static/../api/contents"):
        status, text = _get(site, path)
        assert status in (302, 403, 404), (path, status)
        assert "sn-root" not in text and "BTC/USDT" not in text
    assert len(_kernels(site) - kernels) == 0

    _forge(hosted.account.journal)
    refused = "select payload from events where type = 'COMMAND_REFUSED'"
    _until(lambda: bool(hosted.rows(refused)), 10, "the forged row is not refused")
    assert json.loads(hosted.rows(refused)[0][0])["code"] == "command_signature"
    risk = pages[0].locator(".sn-engine .sn-kpi", has_text="Risk")
    assert "Normal" in risk.first.inner_text()
    assert hosted.rows("select state from commands") == [("refused",)]

    hosted.kill()
    killed_s = time.monotonic()
    for page in pages:
        left_ms = OFFLINE_LIMIT_MS - (time.monotonic() - killed_s) * 1000
        page.locator(".sn-banner:not(.sn-off)", has_text="Engine offline since").wait_for(timeout=max(left_ms, 1))
        page.wait_for_function("() => document.querySelector('.sn-controls').inert")
    hosted.start()
    for page in pages:
        page.locator(".sn-banner.sn-off").first.wait_for(state="attached", timeout=START_LIMIT_MS)
        _is_live(page)
        page.wait_for_function("() => !document.querySelector('.sn-controls').inert")

    visited = _kernels(site)
    for page in pages:
        page.context.close()
    _until(lambda: len(_kernels(site) & visited) <= 1, CULL_LIMIT_S, "kernels without a page live on")
    place = hosted.rows("select candles from watermarks where strategy_id = ''")
    _until(lambda: hosted.rows("select candles from watermarks where strategy_id = ''") != place, 10, "it stands still")
    assert hosted.running
    faults.check()


def test_a_newcomer_logs_in_adds_and_switches(
    hosted: Hosted, served: Callable[[Path], Site], open_page: Callable[..., Any], faults: Any
) -> None:
    page = open_page(served(TRADER).url())
    page.locator(".sn-startcard", has_text="Waiting for the engine").or_(page.locator(".sn-tabs")).first.wait_for(
        timeout=START_LIMIT_MS
    )
    _is_live(page)
    table = page.locator(".sn-panel").filter(has=page.get_by_role("heading", name="Strategies", exact=True))
    add = table.get_by_role("button", name="Add", exact=True)
    assert "needs the operator login" in (add.get_attribute("title") or "")
    add.click()
    table.get_by_text("login_needed").wait_for()
    table.get_by_role("button", name="Dismiss").click()

    field, enter = page.get_by_label("Token"), page.get_by_role("button", name="Log in")
    assert field.get_attribute("type") == "password"
    field.fill("not the token")
    enter.click()
    page.get_by_text("4 attempts left").wait_for()
    assert str(hosted.account.folder.parent) not in page.content()
    field.fill(hosted.token)
    field.press("Enter")
    page.locator(".sn-login", has_text="Operator").wait_for()
    assert field.input_value() == "" and hosted.token not in page.content()

    for name, title, symbol in (
        ("simple-levels", "Simple levels", "BTC/USDT"),
        ("trend-rider", "Trend rider", "ETH/USDT"),
    ):
        table.get_by_label("Strategy", exact=True).select_option(name)
        table.get_by_label("Symbol").select_option(symbol)
        add.click()
        table.locator("tbody tr", has_text=title).wait_for()
    levels, rider = (table.locator("tbody tr", has_text=title) for title in ("Simple levels", "Trend rider"))
    levels.get_by_role("button", name="Activate").click()
    levels.get_by_text("Active").first.wait_for()
    levels.get_by_role("button", name="Switch").click()
    drawer = page.locator(".sn-drawer:not(.sn-off)", has_text="Switch Simple levels")
    drawer.get_by_role("button", name="Preview orders").click()
    drawer.get_by_role("button", name="Confirm").click()
    page.get_by_text("Switched.").wait_for()
    levels.get_by_text("Dormant").wait_for()
    page.get_by_role("button", name="Log out").click()
    page.locator(".sn-login", has_text="Viewer").wait_for()
    rider.get_by_role("button", name="Pause").click()
    table.get_by_text("login_needed").wait_for()
    faults.check()


def test_the_wall_shows_everything_and_has_no_control(
    hosted: Hosted, served: Callable[[Path], Site], open_page: Callable[..., Any], faults: Any
) -> None:
    page = open_page(served(WALL).url(), width=1024)
    _is_live(page)
    for name in ("Chart", "Performance", "Events", "Overview"):
        page.locator(".sn-tabs").get_by_role("button", name=name).click()
        page.locator(".sn-page:not(.sn-off) .sn-panel").first.wait_for()
    shown = page.evaluate(
        "() => [...document.querySelectorAll('button')].filter(b => b.checkVisibility()).map(b => b.textContent)"
    )
    assert not {"Add", "Kill…", "Stop…", "Pause", "Log in"} & {word.strip() for word in shown}
    assert os.environ[serving.JOURNAL_VARIABLE] not in page.content()
    faults.check()
