"""A second process that compiles from the other end of a list, so that the first run takes half the time.

`python -m stratnb.kernels.beside module:name ...` fills the disk cache; who needs the kernels loads them from there.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import reduce
from importlib import import_module
from pathlib import Path
from typing import Any

from tqdm import tqdm

from stratnb.kernels.jit import PACKAGE, Kernel, cache_folder

__all__ = ["compiled_since", "prepare", "tell"]

WORTH_IT = 8
FIRST_RUN = "Compiling blocks (first run only)"

_lock = threading.Lock()
_work = {"running": 0, "ended_s": 0.0, "told": 0}


def prepare(kernels: Iterable[Kernel[..., Any]]) -> None:
    """Compile what is not compiled yet, or load it from disk.

    In the main thread a progress line shows when that takes a while; off a terminal it is one line of text.
    """
    waiting = list(dict.fromkeys(item for item in kernels if not item.is_ready))
    if not waiting:
        return
    quiet = threading.current_thread() is not threading.main_thread()
    drawn = not quiet and (sys.stderr.isatty() or "ipykernel.kernelapp" in sys.modules)
    shown: dict[str, Any] = {"desc": FIRST_RUN, "unit": "block", "delay": 0.7, "leave": False}
    if not quiet and not drawn and not all(map(is_on_disk, waiting)):
        tell()
    with _at_work(), helped(waiting):
        for item in tqdm(waiting[::-1], disable=not drawn, **shown):
            item.compiled()


def tell() -> None:
    """Say on the error stream, once a process, that blocks are being compiled."""
    with _lock:
        first, _work["told"] = not _work["told"], 1
    if first:
        sys.stderr.write(f"{FIRST_RUN} ...\n")
        sys.stderr.flush()


def compiled_since(moment_s: float) -> bool:
    """Tell whether `prepare` runs in any thread, or ran after a moment of `time.monotonic()`."""
    with _lock:
        return bool(_work["running"]) or _work["ended_s"] >= moment_s


@contextmanager
def _at_work() -> Iterator[None]:
    """Count a call of `prepare` while it lasts."""
    with _lock:
        _work["running"] += 1
    try:
        yield
    finally:
        with _lock:
            _work["running"] -= 1
            _work["ended_s"] = time.monotonic()


@contextmanager
def helped(kernels: Sequence[Kernel[..., Any]]) -> Iterator[None]:
    """Let another process compile the kernels from the front while the caller does from the back.

    Nothing is started for a few, on one core, or when they are on disk already; without the help the caller compiles
    all of them itself.
    """
    missing = [place_of(item) for item in kernels if not is_on_disk(item)]
    worker = None
    if len(missing) >= WORTH_IT and (os.cpu_count() or 1) > 1 and sys.executable:
        worker = _start(missing)
    try:
        yield
    finally:
        if worker is not None:
            worker.terminate()
            worker.wait()


def is_on_disk(item: Kernel[..., Any]) -> bool:
    """Tell whether the cache folder holds the kernel's code, or it is none of ours."""
    function = item.function
    if not function.__module__.startswith("stratnb."):
        return True
    name = f"{function.__module__.rpartition('.')[2]}.{function.__qualname__}-{function.__code__.co_firstlineno}.*.nbc"
    return any(Path(cache_folder()).glob(f"*/{name}"))


def place_of(item: Kernel[..., Any]) -> str:
    """Return module and name of a kernel, as the second process takes them."""
    return f"{item.function.__module__}:{item.function.__qualname__}"


def _start(places: Sequence[str]) -> subprocess.Popen[bytes] | None:
    """Start the second process; None when that is not possible here."""
    paths = [str(PACKAGE.parent), os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in paths if path)}
    command = [sys.executable, "-m", "stratnb.kernels.beside", *places]
    nowhere = subprocess.DEVNULL
    try:
        return subprocess.Popen(command, env=environment, stdin=nowhere, stdout=nowhere, stderr=nowhere)
    except OSError:
        return None


def _compile(places: Sequence[str]) -> None:
    """Compile the named kernels that are not on disk yet."""
    for place in places:
        module, _, name = place.partition(":")
        item: Any = reduce(getattr, name.split("."), import_module(module))
        if not is_on_disk(item):
            item.compiled()


if __name__ == "__main__":
    _compile(sys.argv[1:])
