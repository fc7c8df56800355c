"""Trials on a Dask cluster: shares of them go to the workers, and those of a worker that ended are run again, once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np

from stratnb.errors import ConfigError
from stratnb.model import installed_version
from stratnb.research.measure import BLOCKS, FIGURES
from stratnb.research.trials import Job, Rows, Runner

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["Cluster", "modules_of"]

Share = tuple[Sequence[int], Sequence[tuple[Any, ...]]]
LOST = "the worker that ran it ended, twice"
POLL_S = 0.2
SHARES_EACH, MOST = 8, 256
_runners: dict[str, Runner] = {}


class Cluster:
    """Runs shares of trials on the workers of a client; `modules` define blocks of the user's own."""

    def __init__(self, client: Client, job: Job, modules: Sequence[str]) -> None:
        _check_client(client)
        self.job, self.modules = job, tuple(modules)
        self.client: Any = client  # its methods are not typed
        self.name = f"stratnb-{id(job)}-{client.id}"
        _check_workers(client, self.modules)

    @property
    def threads(self) -> int:
        """Return how many shares can run at once."""
        return max(1, int(sum(self.client.nthreads().values())))

    def share_size(self, trials: int) -> int:
        """Return how many trials go to a worker at once."""
        return min(MOST, max(1, trials // (self.threads * SHARES_EACH)))

    def rows(self, shares: Iterator[Share], stopped: Callable[[], bool]) -> Iterator[Rows]:
        """Give the rows of shares as they are done, in no order; what waits is dropped once `stopped()`."""
        from distributed import CancelledError, wait

        wait_for: Any = wait
        with _run_again_once(self.client):
            job = self.client.scatter(self.job, broadcast=True, hash=False)
            waiting: dict[Any, tuple[Share, bool]] = {}
            try:
                while not stopped():
                    while len(waiting) < self.threads and (share := next(shares, None)) is not None:
                        waiting[self._submit(job, share)] = share, False
                    if not waiting:
                        return
                    with suppress(TimeoutError, CancelledError):
                        wait_for(list(waiting), timeout=POLL_S, return_when="FIRST_COMPLETED")
                    for future in [each for each in waiting if each.done()]:
                        share, is_second = waiting.pop(future)
                        rows = _result(future, share)
                        if rows is not None:
                            yield rows
                        elif is_second:
                            yield _lost(share)
                        else:  # the job itself went with the last worker that held it
                            job = self.client.scatter(self.job, broadcast=True, hash=False)
                            waiting[self._submit(job, share)] = share, True
            finally:
                self.client.cancel(list(waiting))

    def _submit(self, job: Any, share: Share) -> Any:
        return self.client.submit(_on_worker, self.name, job, self.modules, *share, pure=False)


def modules_of(classes: Sequence[type]) -> list[str]:
    """Return the modules that define blocks outside the package; raises for those of a notebook or a script."""
    own = [cls for cls in classes if not cls.__module__.startswith("stratnb.")]
    here = sorted({cls.__qualname__ for cls in own if cls.__module__ == "__main__"})
    if here:
        text = f"the workers of a cluster cannot see what this notebook defines: {', '.join(here)}"
        hint = "put it into a module that the workers can import, or sweep without client="
        raise ConfigError("block_not_shared", text, value=here, hint=hint)
    return sorted({cls.__module__ for cls in own})


def _on_worker(
    name: str, job: Job, modules: Sequence[str], trials: Sequence[int], values: Sequence[tuple[Any, ...]]
) -> Rows:
    """Run a share; what a worker prepares for a sweep is kept until the next one."""
    _import(modules)
    runner = _runners.get(name)
    if runner is None:
        _runners.clear()
        runner = _runners[name] = Runner(job)
    return runner.run(trials, values)


def _result(future: Any, share: Share) -> Rows | None:
    """Return the rows of a share that is done, errors where its workers ended; None when a worker took them along."""
    from distributed import CancelledError, KilledWorker

    if future.status in ("cancelled", "lost"):
        return None
    try:
        rows: Rows = future.result()
    except KilledWorker:
        return _lost(share)
    except CancelledError:
        return None
    return rows


def _lost(share: Share) -> Rows:
    """Return the rows of a share whose workers ended."""
    trials, values = share
    none = np.full(len(trials), np.nan)
    return Rows(
        trials=np.array(trials, np.int64),
        values=list(values),
        figures=dict.fromkeys(FIGURES, none),
        sharpes=none,
        blocks=np.zeros((len(trials), BLOCKS, 3)),
        errors=[LOST] * len(trials),
    )


def _check_client(client: Any) -> None:
    """Raise `ConfigError` for what is no client of a cluster."""
    try:
        from distributed import Client
    except ImportError as error:
        hint = "pip install 'stratnb[cluster]'"
        raise ConfigError(
            "extra_missing", "client= needs dask's distributed", value="distributed", hint=hint
        ) from error
    if not isinstance(client, Client) or client.asynchronous:
        hint = "give distributed.Client('tcp://scheduler:8786')"
        raise ConfigError("type", f"{repr(client)[:80]} is not a client of a cluster", value=repr(client), hint=hint)


def _check_workers(client: Client, modules: Sequence[str]) -> None:
    """Raise `ConfigError` where there is no worker, or one without what the sweep needs."""
    found = client.run(_describe, modules)
    if not found:
        raise ConfigError("no_workers", "the cluster has no workers", value=str(client), hint="start some first")
    mine = installed_version()
    told = [f"{at}: {why}" for at, (version, why) in sorted(found.items()) if why]
    told += [f"{at}: stratnb {version}, not {mine}" for at, (version, _) in sorted(found.items()) if version != mine]
    if told:
        hint = "install the same on every worker"
        raise ConfigError("worker_unlike", f"workers differ: {'; '.join(told)}", value=told, hint=hint)


def _describe(modules: Sequence[str]) -> tuple[str, str]:
    """Return a worker's version, and why it cannot import modules."""
    try:
        _import(modules)
    except Exception as error:
        return installed_version(), f"{type(error).__name__}: {error}"
    return installed_version(), ""


def _import(modules: Sequence[str]) -> None:
    for name in modules:
        import_module(name)


@contextmanager
def _run_again_once(client: Any) -> Iterator[None]:
    """Let the scheduler run a task again once when its worker ends, and what it allowed before after that."""
    before = client.run_on_scheduler(_allow, 1)
    try:
        yield
    finally:
        client.run_on_scheduler(_allow, before)


def _allow(failures: int, dask_scheduler: Any = None) -> int:
    """Set after how many ends of workers a task is given up, and return what it was."""
    before: int = dask_scheduler.allowed_failures
    dask_scheduler.allowed_failures = failures
    return before
