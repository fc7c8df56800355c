"""Headless Chromium and a Voila or Lab server on a free loopback port; what a page does wrong is recorded."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import nbformat
import pytest

ROOT = Path(__file__).parents[2]
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
START_LIMIT_S = 120.0
TOKEN = secrets.token_urlsafe(16)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test of this folder."""
    for item in items:
        if Path(__file__).parent in Path(item.path).parents:
            item.add_marker(pytest.mark.browser)


@dataclass(slots=True)
class Faults:
    """Page errors, answers of 400 and more, and requests that leave the machine: all must stay empty."""

    errors: list[str] = field(default_factory=list)
    answers: list[str] = field(default_factory=list)
    outside: list[str] = field(default_factory=list)

    def watch(self, page: Any) -> None:
        """Record what a page does."""
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("response", lambda answer: self._answer(answer.status, answer.url))
        page.on("request", lambda request: self._request(request.url))

    def _answer(self, status: int, url: str) -> None:
        if status >= 400:
            self.answers.append(f"{status} {url}")

    def _request(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme in ("http", "https", "ws", "wss") and parts.hostname not in ("127.0.0.1", "localhost"):
            self.outside.append(url)

    def check(self) -> None:
        """Fail on anything recorded."""
        assert (self.errors, self.answers, self.outside) == ([], [], [])


@dataclass(slots=True)
class Site:
    """A server under test: `url(path)` carries the token."""

    process: subprocess.Popen[bytes]
    port: int
    log: Path

    def url(self, path: str = "/", **query: str) -> str:
        """Return an address on the server."""
        more = "".join(f"&{key}={value}" for key, value in query.items())
        return f"http://127.0.0.1:{self.port}{path}?token={TOKEN}{more}"


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """Start Chromium, or skip with a word where there is none."""
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    required = os.environ.get("STRATNB_REQUIRE_BROWSER") == "1"
    if found is None:
        if required:
            pytest.fail("STRATNB_REQUIRE_BROWSER=1, but no Chromium is installed")
        pytest.skip("no Chromium is installed; browser tests are skipped")
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=found, args=list(FLAGS))
        yield browser
        browser.close()


@pytest.fixture
def faults() -> Faults:
    """Return the record of the test's pages."""
    return Faults()


@pytest.fixture
def open_page(chromium: Any, faults: Faults) -> Iterator[Callable[..., Any]]:
    """Return a function that opens an address in a new page of a given size."""
    contexts: list[Any] = []

    def opened(url: str, *, width: int = 1440, height: int = 900) -> Any:
        context = chromium.new_context(viewport={"width": width, "height": height})
        contexts.append(context)
        page = context.new_page()
        faults.watch(page)
        page.goto(url)
        return page

    yield opened
    for context in contexts:
        context.close()


def write_notebook(path: Path, *cells: str) -> Path:
    """Write a notebook of code cells."""
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    book.metadata["kernelspec"] = {"display_name": "Python 3", "language": "python", "name": "python3"}
    book.metadata["title"] = "stratnb"
    nbformat.write(book, path)
    return path


def _environment(home: Path) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("JUPYTER", "VOILA"))}
    paths = [str(ROOT / "src"), str(ROOT / "tests"), kept.get("PYTHONPATH", "")]
    own = {
        "PYTHONPATH": os.pathsep.join(path for path in paths if path),
        "JUPYTER_PATH": str(ROOT / "src" / "stratnb" / "ui" / "share" / "jupyter"),
        "JUPYTER_PREFER_ENV_PATH": "1",
        "JUPYTER_TOKEN": TOKEN,
        "JUPYTER_RUNTIME_DIR": str(home / "runtime"),
        "JUPYTER_CONFIG_DIR": str(home / "config"),
        "JUPYTER_DATA_DIR": str(home / "data"),
        "IPYTHONDIR": str(home / "ipython"),
        "JUPYTERLAB_SETTINGS_DIR": str(home / "settings"),
        "JUPYTERLAB_WORKSPACES_DIR": str(home / "workspaces"),
    }
    return kept | own


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _start(home: Path, *module: str, port_option: str) -> Site:
    port, log = _free_port(), home / "server.log"
    command = [sys.executable, "-m", *module, f"{port_option}={port}"]
    process = subprocess.Popen(
        command, cwd=home, env=_environment(home), stdout=log.open("wb"), stderr=subprocess.STDOUT
    )
    end = time.monotonic() + START_LIMIT_S
    while time.monotonic() < end and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return Site(process, port, log)
        time.sleep(0.05)
    process.kill()
    raise AssertionError(f"the server did not come up: {log.read_text()[-2000:]}")


def serve_voila(home: Path, notebook: Path, *options: str) -> Site:
    """Serve a notebook by Voila on loopback."""
    loopback = ("--Voila.ip=127.0.0.1", "--no-browser")
    return _start(home, "voila", str(notebook), *loopback, *options, port_option="--Voila.port")


@pytest.fixture
def sites() -> Iterator[list[Site]]:
    """Return the servers of a test; they are stopped after it."""
    started: list[Site] = []
    yield started
    for site in started:
        _stop(site)


def _stop(site: Site) -> None:
    site.process.terminate()
    try:
        site.process.wait(10)
    except subprocess.TimeoutExpired:
        site.process.kill()
        site.process.wait(5)


def run_all(page: Any) -> None:
    """Run every cell of the notebook that is open in Lab, once its kernel is idle."""
    kernel = "window.jupyterapp?.shell.currentWidget?.sessionContext?.session?.kernel"
    page.wait_for_selector(".jp-NotebookPanel .jp-Cell")
    page.wait_for_function(f"() => {kernel}?.status === 'idle'")
    page.evaluate(f"async () => {{ await {kernel}.info; }}")
    page.evaluate("() => { window.jupyterapp.commands.execute('notebook:run-all-cells'); }")
    page.wait_for_selector(".jp-InputPrompt:has-text('[1]'), .jp-InputPrompt:has-text('[*]')")


def save(page: Any) -> None:
    """Save the notebook that is open in Lab."""
    page.evaluate("() => window.jupyterapp.commands.execute('docmanager:save')")


@pytest.fixture
def voila(tmp_path: Path, sites: list[Site]) -> Callable[..., Site]:
    """Return a function that serves a notebook (a path, or cells) by Voila."""

    def serve(*cells: str, notebook: Path | None = None) -> Site:
        path = notebook or write_notebook(tmp_path / "page.ipynb", *cells)
        options = ("--template=stratnb", "--VoilaConfiguration.allow_theme_override=YES")
        sites.append(serve_voila(tmp_path, path, *options))
        return sites[-1]

    return serve


@pytest.fixture
def lab(tmp_path: Path, sites: list[Site]) -> Callable[..., Site]:
    """Return a function that serves notebooks, given as name=cells, by JupyterLab."""

    def serve(**books: list[str]) -> Site:
        folder = tmp_path / "books"
        folder.mkdir(exist_ok=True)
        for name, cells in books.items():
            write_notebook(folder / f"{name}.ipynb", *cells)
        options = [
            f"--ServerApp.root_dir={folder}",
            "--ServerApp.ip=127.0.0.1",
            "--ServerApp.open_browser=False",
            "--ServerApp.allow_root=True",
            "--LabApp.news_url=None",
            "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
            "--LabApp.extension_manager=readonly",
            "--LabApp.expose_app_in_browser=True",
        ]
        sites.append(_start(tmp_path, "jupyterlab", *options, port_option="--ServerApp.port"))
        return sites[-1]

    return serve
