"""Serving notebooks on this machine only: Voila for a dashboard, JupyterLab for a folder, both behind a token.

The settings of Voila stand in `voila.json` beside this file. The token lives in a file that only its owner can read;
servers are told the file's path, so the token is in no command line.
"""

from __future__ import annotations

import os
import secrets
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from stratnb.errors import ConfigError, Halt, nearest

__all__ = [
    "DATA_VARIABLE",
    "HOST",
    "JOURNAL_VARIABLE",
    "Server",
    "dashboard_server",
    "data_files",
    "free_port",
    "journal_file",
    "lab_server",
    "serve",
    "token_file",
]

HOST = "127.0.0.1"
DATA_VARIABLE = "STRATNB_DATA"
JOURNAL_VARIABLE = "STRATNB_JOURNAL"
OURS = ("JUPYTER_TOKEN", DATA_VARIABLE, JOURNAL_VARIABLE)
HERE = Path(__file__).parent
START_LIMIT_S = 60.0
STOP_LIMIT_S = 10.0
CHECK_S = 0.2


@dataclass(frozen=True, slots=True)
class Server:
    """A server that can be started: its command, its environment and the address that opens it."""

    command: tuple[str, ...]
    environment: Mapping[str, str]
    port: int
    url: str


def data_files(environment: Mapping[str, str] | None = None) -> tuple[Path, ...]:
    """Return the candle files that the dashboard was started with, one absolute path per line of the variable.

    >>> [path.name for path in data_files({"STRATNB_DATA": "/candles/btc.csv"})]
    ['btc.csv']
    """
    text = (os.environ if environment is None else environment).get(DATA_VARIABLE, "")
    return tuple(Path(line) for line in text.splitlines() if line)


def journal_file(environment: Mapping[str, str] | None = None) -> Path | None:
    """Return the journal that the dashboard observes, None when its kernels host engines of their own.

    >>> journal_file({}) is None
    True
    """
    text = (os.environ if environment is None else environment).get(JOURNAL_VARIABLE, "")
    return Path(text) if text else None


def token_file(folder: Path | None = None) -> Path:
    """Return the file that holds the token, made on first use; one that others could read is replaced.

    `folder` is the user's state folder by default.
    """
    folder = folder or platformdirs.user_state_path("stratnb", appauthor=False)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = folder / "token"
    if path.is_symlink() or (path.exists() and not _is_private(path)):
        path.unlink()
    if not path.exists():
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w", encoding="ascii") as file:
            file.write(secrets.token_urlsafe(24))
    return path


def _is_private(path: Path) -> bool:
    """Tell whether a file is ours, closed to others and not empty."""
    status = path.stat()
    return status.st_uid == os.getuid() and not stat.S_IMODE(status.st_mode) & 0o077 and status.st_size > 0


def free_port(wanted: int) -> int:
    """Return the wanted port when nothing uses it, otherwise one that the system gives."""
    for port in (wanted, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise Halt("no_port", f"no port is free on {HOST}", value=wanted, hint="close another server")


def dashboard_server(
    notebook: Path,
    *,
    data: Sequence[Path] = (),
    journal: Path | None = None,
    port: int = 8866,
    folder: Path | None = None,
) -> Server:
    """Return the Voila server of a notebook; `data` are candle files for its kernels, `journal` is what they observe.

    Raises `ConfigError` with the path when the notebook or a candle file does not exist.
    """
    notebook = _existing(notebook, what="notebook", hint="run this in the folder that holds dashboards/")
    files = [_existing(path, what="candle file", hint="give CSV or Parquet files") for path in data]
    command = [f"--Voila.config_file_paths={HERE}", f"--Voila.ip={HOST}"]
    extra = {DATA_VARIABLE: "\n".join(map(str, files))} if files else {}
    extra |= {JOURNAL_VARIABLE: str(journal.absolute())} if journal else {}
    return _server(["voila", str(notebook), *command], "--Voila.port", port=port, page="/", folder=folder, extra=extra)


def lab_server(root: Path, *, port: int = 8888, folder: Path | None = None) -> Server:
    """Return the JupyterLab server of a folder; it asks nothing of the internet.

    Raises `ConfigError` with the path when the folder does not exist.
    """
    root = _existing(root, what="folder", hint="run this in the folder that holds notebooks/")
    command = [
        f"--ServerApp.root_dir={root}",
        f"--ServerApp.ip={HOST}",
        "--ServerApp.port_retries=0",
        "--ServerApp.open_browser=False",
        "--ServerApp.log_level=30",
        f"--ServerApp.allow_root={os.getuid() == 0}",
        "--LabApp.news_url=None",
        "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
        "--LabApp.extension_manager=readonly",
    ]
    return _server(["jupyterlab", *command], "--ServerApp.port", port=port, page="/lab", folder=folder, extra={})


def _server(
    module: list[str], port_option: str, *, port: int, page: str, folder: Path | None, extra: Mapping[str, str]
) -> Server:
    token, port = token_file(folder), free_port(port)
    paths = [str(HERE / "share" / "jupyter"), *filter(None, [os.environ.get("JUPYTER_PATH")])]
    ours = {
        "JUPYTER_PATH": os.pathsep.join(paths),
        "JUPYTER_PREFER_ENV_PATH": "1",
        "JUPYTER_TOKEN_FILE": str(token),
        **extra,
    }
    kept = {name: value for name, value in os.environ.items() if name not in OURS}
    url = f"http://{HOST}:{port}{page}?token={token.read_text('ascii')}"
    return Server((sys.executable, "-m", *module, f"{port_option}={port}"), kept | ours, port, url)


def _existing(path: Path, *, what: str, hint: str) -> Path:
    """Return the absolute path, or raise `ConfigError` with a near name in the same folder."""
    path = path.expanduser().absolute()
    if path.exists():
        return path
    beside = [other.name for other in path.parent.iterdir()] if path.parent.is_dir() else []
    close = nearest(path.name, beside, limit=1)
    raise ConfigError(
        "file_not_found",
        f"{what} {str(path)!r} does not exist",
        value=str(path),
        hint=f"did you mean {close[0]!r}?" if close else hint,
    )


def serve(server: Server, *, more: str = "", check: Callable[[], str] = str) -> int:
    """Start the server, print its address once it answers, and wait until it ends; return its exit code.

    `more` is printed below the address. `check` is asked five times a second for news, which are printed; what it
    raises ends the server. So does an interrupt, a SIGTERM or the end of the terminal. Raises `Halt` when the server
    does not come up.
    """
    with _ended_as_interrupted(), subprocess.Popen(server.command, env=dict(server.environment)) as process:
        try:
            _wait_until_up(server, process)
            dark = "" if "/lab?" in server.url else f"  Dark  {server.url}&theme=dark\n"
            _say(f"\n  Open  {server.url}\n{dark}{more}  Stop  Ctrl-C\n")
            while True:
                if news := check():
                    _say(f"  {news}")
                try:
                    return process.wait(CHECK_S)
                except subprocess.TimeoutExpired:
                    continue
        except KeyboardInterrupt:
            return 0
        finally:
            _stop(process)


def _say(words: str) -> None:
    print(words, flush=True)  # noqa: T201 - this is the command's output


def _wait_until_up(server: Server, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + START_LIMIT_S
    while time.monotonic() < end and process.poll() is None:
        with socket.socket() as probe:
            probe.settimeout(1.0)
            if probe.connect_ex((HOST, server.port)) == 0:
                return
        time.sleep(0.05)
    raise Halt("server_not_up", f"the server did not come up on port {server.port}", hint="its messages are above")


def _stop(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            process.kill()


@contextmanager
def _ended_as_interrupted() -> Iterator[None]:
    """Let SIGTERM and the end of the terminal end the wait as Ctrl-C does."""
    numbers = (signal.SIGTERM, signal.SIGHUP)
    before = [signal.signal(number, signal.default_int_handler) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
