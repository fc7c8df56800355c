"""Serving: on this machine only, behind a token that no command line shows."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import nbformat
import pytest

from stratnb.errors import ConfigError
from stratnb.ui import serve


@pytest.fixture
def notebook(tmp_path: Path) -> Path:
    path = tmp_path / "page.ipynb"
    cells = [nbformat.v4.new_code_cell("import os; print('files', os.environ.get('STRATNB_DATA'))")]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)
    return path


def test_the_token_stays_and_is_private(tmp_path: Path) -> None:
    path = serve.token_file(tmp_path / "state")
    token = path.read_text("ascii")
    assert len(token) >= 32 and token == token.strip()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert serve.token_file(tmp_path / "state").read_text("ascii") == token


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o602])
def test_a_token_that_others_could_reach_is_replaced(tmp_path: Path, mode: int) -> None:
    path = serve.token_file(tmp_path)
    token = path.read_text("ascii")
    path.chmod(mode)
    assert serve.token_file(tmp_path).read_text("ascii") != token
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_text("kept")
    (tmp_path / "token").symlink_to(other)
    assert not serve.token_file(tmp_path).is_symlink()
    assert other.read_text() == "kept"


def test_a_used_port_gives_another() -> None:
    with socket.create_server((serve.HOST, 0)) as used:
        wanted = used.getsockname()[1]
        assert serve.free_port(wanted) != wanted
    assert serve.free_port(wanted) == wanted


def test_the_dashboard_command_is_local_and_without_the_token(tmp_path: Path, notebook: Path) -> None:
    server = serve.dashboard_server(notebook, folder=tmp_path)
    token = (tmp_path / "token").read_text("ascii")
    assert "--Voila.ip=127.0.0.1" in server.command
    assert token not in " ".join(server.command)
    assert token not in server.environment.values()
    assert server.url == f"http://127.0.0.1:{server.port}/?token={token}"


def test_the_settings_of_voila_are_as_promised() -> None:
    settings = json.loads((Path(serve.__file__).parent / "voila.json").read_text("utf-8"))
    assert settings["Voila"]["auto_token"] is True
    assert settings["Voila"]["tornado_settings"] == {"allow_remote_access": False}
    assert settings["VoilaConfiguration"]["template"] == "stratnb"
    assert settings["VoilaConfiguration"]["allow_template_override"] == "NO"
    assert 0 < settings["MappingKernelManager"]["cull_idle_timeout"] <= 150
    assert "disable_check_xsrf" not in json.dumps(settings)


def test_candle_files_reach_the_kernel(tmp_path: Path, notebook: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = [tmp_path / "BTC-USDT:USDT 1m.csv", tmp_path / "eth.csv"]
    for path in files:
        path.touch()
    monkeypatch.chdir(tmp_path)
    server = serve.dashboard_server(notebook, data=[Path(path.name) for path in files], folder=tmp_path)
    assert serve.data_files(server.environment) == tuple(files)
    monkeypatch.setenv(serve.DATA_VARIABLE, "/left/over.csv")
    assert serve.data_files(serve.dashboard_server(notebook, folder=tmp_path).environment) == ()


def test_a_missing_file_is_named_with_a_near_one(tmp_path: Path, notebook: Path) -> None:
    (tmp_path / "btc.csv").touch()
    with pytest.raises(ConfigError, match=r"candle file '.*btd\.csv' does not exist; did you mean 'btc\.csv'"):
        serve.dashboard_server(notebook, data=[tmp_path / "btd.csv"], folder=tmp_path)
    with pytest.raises(ConfigError, match=r"notebook .* does not exist"):
        serve.dashboard_server(tmp_path / "no" / "page.ipynb", folder=tmp_path)


def test_lab_asks_nothing_of_the_internet(tmp_path: Path) -> None:
    command = serve.lab_server(tmp_path, folder=tmp_path).command
    assert {"--LabApp.news_url=None", "--LabApp.extension_manager=readonly", "--ServerApp.ip=127.0.0.1"} <= set(command)


@pytest.fixture
def running(tmp_path: Path, notebook: Path) -> Iterator[tuple[serve.Server, str]]:
    """Run a dashboard in a process of its own; yield the server and the line that shows its address."""
    (tmp_path / "a.csv").touch()
    server = serve.dashboard_server(notebook, data=[tmp_path / "a.csv"], folder=tmp_path)
    call = f"serve.serve(serve.Server({server.command!r}, os.environ, {server.port}, {server.url!r}))"
    code = f"import os, sys; from stratnb.ui import serve; sys.exit({call})"
    environment = {**server.environment, "PYTHONPATH": str(Path(serve.__file__).parents[2])}
    with subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield server, next((line for line in process.stdout if "http" in line), "")
            process.send_signal(signal.SIGTERM)
            assert process.wait(20) == 0
        finally:
            process.kill()


def _get(server: serve.Server, path: str, **headers: str) -> tuple[int, str]:
    """Return the status and the text of a page that must be complete within 40 s."""
    end, text = time.monotonic() + 40, b""
    with closing(http.client.HTTPConnection(serve.HOST, server.port, timeout=20)) as connection:
        connection.request("GET", path, headers=headers)
        response = connection.getresponse()
        while part := response.read1(65536):
            text += part
            assert time.monotonic() < end, f"the page is not complete: {text[-300:]!r}"
    return response.status, text.decode()


def test_voila_serves_with_the_token_only(running: tuple[serve.Server, str]) -> None:
    server, shown = running
    assert server.url in shown
    assert _get(server, "/")[0] in (302, 403)
    assert _get(server, "/?token=wrong")[0] in (302, 403)
    query = server.url.rpartition("/")[2]
    assert _get(server, f"/{query}", Host="evil.example")[0] == 403
    status, text = _get(server, f"/{query}")
    assert status == 200
    assert "a.csv" in text
    assert "os.environ" not in text


def test_a_server_that_fails_is_said_so(tmp_path: Path) -> None:
    failing = serve.Server((sys.executable, "-c", "raise SystemExit(3)"), os.environ, serve.free_port(0), "http://x")
    with pytest.raises(serve.Halt, match="did not come up"):
        serve.serve(failing)
