"""The second process fills the same disk cache, and is not needed."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from stratnb.kernels import beside
from stratnb.kernels.jit import cache_folder
from stratnb.kernels.loop import close_position, update_account

PLACES = ["stratnb.kernels.loop:close_position", "stratnb.kernels.loop:update_account"]


def test_a_second_process_fills_the_cache(tmp_path: Path) -> None:
    environment = os.environ | {"STRATNB_CACHE": str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-m", "stratnb.kernels.beside", *PLACES], env=environment, check=True, timeout=120)
    assert len(list(tmp_path.rglob("loop.close_position-*.nbc"))) == 1
    assert len(list(tmp_path.rglob("loop.update_account-*.nbc"))) == 1


def test_what_is_on_disk_is_found() -> None:
    close_position.compiled()
    assert beside.is_on_disk(close_position) and Path(cache_folder()).is_dir()
    assert beside.place_of(update_account) == PLACES[1]


def test_without_the_second_process_all_is_compiled_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(beside, "is_on_disk", lambda _: False)
    monkeypatch.setattr(beside, "WORTH_IT", 1)
    monkeypatch.setattr(beside.sys, "executable", str(Path("no") / "such" / "python"))
    fresh = type(close_position)(close_position.function, close_position.signature)
    beside.prepare([fresh])
    assert fresh.is_ready


def test_the_second_process_ends_with_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[subprocess.Popen[bytes]] = []
    original = beside._start

    def start(places: list[str]) -> subprocess.Popen[bytes] | None:
        worker = original(places)
        assert worker is not None
        started.append(worker)
        return worker

    monkeypatch.setattr(beside, "_start", start)
    monkeypatch.setattr(beside, "is_on_disk", lambda _: False)
    monkeypatch.setattr(beside, "WORTH_IT", 1)
    monkeypatch.setattr(beside.os, "cpu_count", lambda: 2)
    with beside.helped([close_position]):
        assert len(started) == 1
    assert started[0].poll() is not None


def test_compiling_is_known_to_who_waits_and_told_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(beside, "is_on_disk", lambda _: False)
    monkeypatch.setitem(beside._work, "told", 0)
    monkeypatch.delitem(sys.modules, "ipykernel.kernelapp", raising=False)
    began = time.monotonic()
    seen: list[bool] = []

    class Slow:
        is_ready, function = False, close_position.function

        def compiled(self) -> None:
            seen.append(beside.compiled_since(time.monotonic() + 60.0))

    beside.prepare([Slow()])  # type: ignore[list-item]
    assert seen == [True], "while it runs, whatever the moment"
    assert beside.compiled_since(began) and not beside.compiled_since(time.monotonic() + 60.0)
    beside.prepare([Slow()])  # type: ignore[list-item]
    assert capsys.readouterr().err.count("\n") == 1
