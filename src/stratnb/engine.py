"""The engine: one trading desk in its own thread with its own loop, driven from a notebook."""

from __future__ import annotations

import asyncio
import inspect
import threading
import time
import weakref
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from stratnb.blocks.base import ROLES, kinds
from stratnb.errors import ConfigError, Refused, RetryLater, nearest
from stratnb.events import Event, EventBus
from stratnb.kernels import loop
from stratnb.kernels.beside import compiled_since, prepare, tell
from stratnb.market_data.candles import Candles
from stratnb.model import Market
from stratnb.multi.config_calls import ConfigCalls
from stratnb.multi.controls import AsyncOperations, CacheControl, FeedControl
from stratnb.multi.desk import Desk
from stratnb.multi.feeds import load_files, open_replay
from stratnb.multi.jobs import Job, start_job
from stratnb.multi.operations import OPERATIONS, Operations
from stratnb.multi.picture import EngineState
from stratnb.multi.reading import Reading
from stratnb.multi.records import Policy, Removal, State, StrategyRecord
from stratnb.multi.registry import Mode
from stratnb.multi.risk_calls import RiskCalls
from stratnb.multi.settings import EngineSettings, engine_settings
from stratnb.multi.switch import SwitchResult
from stratnb.services.notify import Notifier
from stratnb.view import EngineView

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Engine", "EngineBoard", "get_engine", "paper_board"]

VIEW_S = 0.1
WAIT_S = 30.0
TELL_S = 1.0
HISTORY = 1_500

_ENGINES: dict[str, Engine] = {}
_ENGINES_LOCK = threading.RLock()


class Engine(ConfigCalls, RiskCalls):
    """Runs strategies beside each other on one paper account; nothing trades before `start` or `step`.

    `candles` are replayed (one series a market, one timeframe); without any a seeded synthetic market is used. Further
    keywords are the fields of `EngineSettings`, such as `mode`, `cash`, `limits`, `cache_capacity`. Every operation is
    a plain call that waits, `await engine.aio.<op>(...)`, or `engine.submit("<op>", ...)` which returns a `Job`.

    >>> with Engine(cash=1_000) as engine:
    ...     engine.list()
    ()
    """

    def __init__(
        self,
        name: str = "main",
        *,
        candles: Candles | Iterable[Candles] | None = None,
        markets: Mapping[str, Market] | Iterable[Market] = (),
        speed: float | None = None,
        notifier: Notifier | None = None,
        label: str = "",
        **settings: Any,
    ) -> None:
        self.name = name
        self._operations = Operations(
            engine_settings(settings),
            open_replay(candles, speed=speed, label=label),
            markets,
            notifier=notifier,
            name=name,
        )
        self.aio = AsyncOperations(self.submit)
        self.feed = FeedControl(self._operations, self._call)
        self.cache = CacheControl(self._call)
        self.board = EngineBoard(self)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._delivery: asyncio.AbstractEventLoop | None = None
        self._viewer: asyncio.Task[None] | None = None
        self._lock = threading.Lock()
        self._closed = False
        self._view = self._picture()

    @classmethod
    def single(cls, document: str | Path | Mapping[str, Any], candles: Candles, **options: Any) -> Engine:
        """Return an engine with one active strategy on one market; the same path as with many."""
        names = ("symbol", "overrides", "label")
        engine = cls(options.pop("name", f"single-{candles.symbol}"), candles=candles, **_without(options, names))
        try:
            added = {name: options[name] for name in names if name in options}
            engine.activate(engine.add(document, **added))
        except BaseException:
            engine.close()
            raise
        return engine

    def __repr__(self) -> str:
        """Return name, state, mode and number of strategies."""
        view = self._view
        return f"<Engine {self.name!r} {self.state}, paper, {view.mode}, {len(view.strategies)} strategies>"

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> Any:
        """Show the live panel in a notebook; showing it starts nothing."""
        try:
            ui = import_module("stratnb.ui")
        except ImportError:
            return {"text/plain": repr(self)}
        return ui.engine_panel(self)._repr_mimebundle_(include=include, exclude=exclude)

    def __enter__(self) -> Self:
        """Return the engine."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the engine."""
        self.close()

    @property
    def state(self) -> EngineState:
        """Return stopped (not started, or closed), running or paused."""
        return "stopped" if self._closed else self._operations.state

    @property
    def closed(self) -> bool:
        """Return whether `close` was called."""
        return self._closed

    @property
    def failure(self) -> BaseException | None:
        """Return what stopped the engine, None while nothing did."""
        return self._operations.failure

    @property
    def settings(self) -> EngineSettings:
        """Return the settings, which do not change."""
        return self._operations.settings

    @property
    def desk(self) -> Desk:
        """Return the desk itself; only the engine's loop may change it."""
        return self._operations.desk

    @property
    def events(self) -> EventBus:
        """Return the event bus: `subscribe`, `since`, `stats`; usable from any thread."""
        return self._operations.desk.bus

    def view(self) -> EngineView:
        """Return the newest picture; it is renewed ten times a second."""
        return self._view

    def submit(self, op: str, /, *args: Any, **kwargs: Any) -> Job:
        """Queue an operation on the engine's loop and return its job."""
        if op not in OPERATIONS:
            close = nearest(op, OPERATIONS)
            hint = f"did you mean {' or '.join(close)}?" if close else f"operations: {', '.join(OPERATIONS)}"
            raise ConfigError("unknown_operation", f"operation {op!r} is not known", value=op, hint=hint)
        if self._closed:
            raise Refused("engine_closed", f"engine {self.name!r} is closed", hint="make a new one")
        operation = getattr(self._operations, op)
        try:
            inspect.signature(operation).bind(*args, **kwargs)
        except TypeError as error:
            raise ConfigError("arguments", f"{op}: {error}", hint=f"see help(Engine.{op})") from error
        loop = self._run()
        work: Coroutine[Any, Any, Any] = operation(*args, **kwargs)
        return start_job(op, self._operate(work), loop)

    async def _operate(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Run an operation, then renew the picture, so that who waited for it sees its effect."""
        try:
            return await work
        finally:
            self._view = self._picture()

    def _call(self, op: str, *args: Any, **kwargs: Any) -> Any:
        if threading.current_thread() is self._thread:
            raise Refused("engine_thread", f"{op} was called on the engine's own thread", hint="use submit() there")
        return _waited(self.submit(op, *args, **kwargs))

    def add(
        self,
        document: str | Path | Mapping[str, Any],
        symbol: str | None = None,
        *,
        label: str = "main",
        overrides: Mapping[str, Any] | None = None,
    ) -> str:
        """Load a strategy as dormant and return its id; it trades once it is active."""
        return str(self._call("add", document, symbol, label=label, overrides=overrides))

    def remove(self, strategy_id: str, *, policy: Removal = "refuse") -> None:
        """Unload a strategy; a position is refused ("refuse"), closed ("close") or left to its stop ("keep_orphan")."""
        self._call("remove", strategy_id, policy=policy)

    def switch(
        self,
        to_id: str,
        *,
        policy: Policy = "keep",
        from_id: str | None = None,
        timeout_s: float = 5.0,
        wait_s: float = 3600.0,
        dry_run: bool = False,
    ) -> SwitchResult:
        """Make another strategy the active one; see `SwitchResult` for how it ended.

        With policy "wait_flat" it ends when the old one is flat, at the latest after `wait_s` of the feed's time: use
        `submit("switch", ...)` there, whose job can be canceled.
        """
        options: dict[str, Any] = {"policy": policy, "from_id": from_id, "timeout_s": timeout_s, "wait_s": wait_s}
        result = self._call("switch", to_id, dry_run=dry_run, **options)
        assert isinstance(result, SwitchResult)
        return result

    def activate(self, strategy_id: str) -> SwitchResult:
        """Make a strategy active beside others (parallel), or the only one (exclusive); raise when that fails."""
        result = self._call("activate", strategy_id)
        assert isinstance(result, SwitchResult)
        return result

    def deactivate(self, strategy_id: str, *, policy: Policy = "keep") -> State:
        """Take a strategy out of the active ones; return managing (it holds a position) or dormant."""
        state: State = self._call("deactivate", strategy_id, policy=policy)
        return state

    def start(self) -> None:
        """Let the feed run at its speed."""
        self._call("start")

    def pause(self, strategy_id: str | None = None) -> None:
        """Pause one strategy's entries, or the feed."""
        self._call("pause", strategy_id)

    def resume(self, strategy_id: str | None = None) -> None:
        """Let one strategy, or the feed, go on."""
        self._call("resume", strategy_id)

    def step(self, n: int = 1) -> int:
        """Process up to n instants as fast as possible and return how many there were."""
        if threading.current_thread() is self._thread:
            raise Refused("engine_thread", "step was called on the engine's own thread", hint="use submit() there")
        return int(self.submit("step", n).result(None))

    def stop(self, *, flatten: bool = False) -> None:
        """Stop the feed and drop working entries; with `flatten` positions are closed at the newest price."""
        self._call("stop", flatten=flatten)

    def close_position(self, strategy_id: str, fraction: float = 1.0) -> bool:
        """Close a fraction of a strategy's position at the newest price; return whether there was one."""
        return bool(self._call("close_position", strategy_id, fraction))

    def move_stop(self, strategy_id: str, price: float) -> float:
        """Tighten the stop of an open position and return it in whole ticks; loosening it is refused."""
        return float(self._call("move_stop", strategy_id, price))

    def breakeven(self, strategy_id: str) -> float:
        """Move the stop to where the position closes without a loss after fees and slippage, and return it."""
        return float(self._call("breakeven", strategy_id))

    def cancel_order(self, strategy_id: str) -> bool:
        """Cancel a strategy's working entry order; return whether there was one."""
        return bool(self._call("cancel_order", strategy_id))

    def adopt_orphan(
        self, symbol: str, to: str, stop: float, *, entry_price: float | None = None, author: str, reason: str
    ) -> None:
        """Give a position that belongs to nobody (`@orphan`) to a strategy of its market that is flat.

        It needs a stop; the entry price is the position's own unless another one is given.
        """
        told = {"entry_price": entry_price, "author": author, "reason": reason}
        self._call("adopt_orphan", symbol, to, stop, **told)

    def set_mode(self, mode: Mode) -> None:
        """Let one strategy be active at a time ("exclusive") or any number ("parallel")."""
        self._call("set_mode", mode)

    def list(self, state: State | None = None) -> tuple[StrategyRecord, ...]:
        """Return the loaded strategies in registration order."""
        found: tuple[StrategyRecord, ...] = self._call("list", state)
        return found

    def stats(self, strategy_id: str | None = None) -> dict[str, Any]:
        """Return the figures of one strategy, or of the system with `strategies` by id."""
        found: dict[str, Any] = self._call("stats", strategy_id)
        return found

    def health(self, strategy_id: str | None = None) -> dict[str, Any]:
        """Return how one strategy is (status, reasons, recommendations), or all of them by id."""
        found: dict[str, Any] = self._call("health", strategy_id)
        return found

    def stats_frame(self) -> pd.DataFrame:
        """Return one row of figures per strategy."""
        import pandas as pd

        return pd.DataFrame.from_dict(self.stats()["strategies"], orient="index")

    def open_feed(
        self,
        candles: Candles | Iterable[Candles] | str | Path | Iterable[str | Path] | None = None,
        *,
        paths: Sequence[str | Path] = (),
        replace: bool = False,
        policy: Policy = "refuse",
    ) -> None:
        """Replay other candles (series or files; none: the synthetic market) with a fresh account.

        Loaded strategies are refused unless `replace` removes them; `policy` is that of `remove_all`. When a file or
        its candles have a fault everything stays as it is.
        """
        self._call("open_feed", candles, paths=paths, replace=replace, policy=policy)

    def restart_feed(self) -> None:
        """Start the same candles again with a fresh account; strategies stay loaded, active ones are active again."""
        self._call("restart_feed")

    def remove_all(self, *, policy: Policy = "refuse") -> tuple[str, ...]:
        """Unload every strategy and return their ids; with an open position "refuse" refuses all, "close" closes."""
        removed: tuple[str, ...] = self._call("remove_all", policy=policy)
        return removed

    def close(self) -> None:
        """End the engine: snapshots, tasks, thread; closing twice is harmless. Later calls are refused."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
        if _ENGINES.get(self.name) is self:
            del _ENGINES[self.name]
        if self._loop is not None and self._thread is not None:
            start_job("close", self._shut(), self._loop).result(WAIT_S)
            _end(self._loop)
            self._thread.join(WAIT_S)
        if self._delivery is not None:
            _end(self._delivery)
        self._view = self._picture()

    async def _shut(self) -> None:
        if self._viewer is not None:
            self._viewer.cancel()
        await self._operations.close()

    def _run(self) -> asyncio.AbstractEventLoop:
        """Return the loop, starting its thread on first use."""
        with self._lock:
            if self._loop is None:
                self._delivery, _ = _started(f"stratnb-{self.name}-events")
                loop, self._thread = _started(f"stratnb-{self.name}")
                try:
                    _waited(start_job("open", self._open(), loop))
                except BaseException:
                    _end(loop)
                    _end(self._delivery)
                    raise
                self._loop = loop
                weakref.finalize(self, _end, loop)
                weakref.finalize(self, _end, self._delivery)
            return self._loop

    async def _open(self) -> None:
        assert self._delivery is not None, "it was started before the loop"
        await self._operations.open(self._delivery)
        self._viewer = asyncio.get_running_loop().create_task(_renew(weakref.ref(self)))

    def _picture(self) -> EngineView:
        return self._operations.picture(self.name, self.state)


class EngineBoard(Reading):
    """The board of an engine in this kernel: its pictures, its history, its operations."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(lambda: engine._operations.reader)
        self._engine = engine

    @property
    def closed(self) -> bool:
        """Return whether the engine is closed, so that nothing changes any more."""
        return self._engine.closed

    def view(self) -> EngineView:
        """Return the newest picture."""
        return self._engine.view()

    def events_since(self, seq: int, limit: int = 1000) -> Sequence[Event]:
        """Return buffered events with a larger sequence number, oldest first."""
        return self._engine.events.since(seq, limit)

    def submit(self, op: str, /, **arguments: Any) -> Job:
        """Queue an operation and return its job."""
        return self._engine.submit(op, **arguments)


def get_engine(name: str = "main", **options: Any) -> Engine:
    """Return the kernel's engine of that name, made on the first call; so a cell can be run again.

    The options are those of `Engine` and count on the first call only.
    """
    with _ENGINES_LOCK:
        engine = _ENGINES.get(name)
        if engine is None or engine.closed:
            engine = _ENGINES[name] = Engine(name, **options)
        return engine


def paper_board(*, paths: Sequence[str] = (), speed: float = 60.0, name: str = "dashboard") -> EngineBoard:
    """Start a private parallel paper engine on candle files, or on the synthetic market, and return its board.

    The synthetic market has a day behind it already, so that strategies are warmed up as soon as they are activated.
    """
    prepare([*loop.EVERY, *(block.step for role in ROLES for block in kinds(role).values())])
    candles = load_files(paths) if paths else None
    engine = get_engine(name, candles=candles, speed=speed, mode="parallel", synthetic_history=HISTORY)
    engine.start()
    return engine.board


def _waited(job: Job) -> Any:
    """Return the result of a job; the limit of its time does not count while kernels are compiled for the first run."""
    limit_s = TELL_S
    while True:
        began = time.monotonic()
        try:
            return job.result(limit_s)
        except RetryLater as error:
            compiling = compiled_since(began)
            if error.code != "engine_busy" or (limit_s == WAIT_S and not compiling):
                raise
            if compiling:
                tell()
            limit_s = WAIT_S


def _started(name: str) -> tuple[asyncio.AbstractEventLoop, threading.Thread]:
    """Return a loop that runs in a thread of its own."""
    loop, ready = asyncio.new_event_loop(), threading.Event()
    thread = threading.Thread(target=_serve, args=(loop, ready), name=name, daemon=True)
    thread.start()
    ready.wait()
    return loop, thread


def _serve(loop: asyncio.AbstractEventLoop, ready: threading.Event) -> None:
    """Run an engine's loop until it is stopped."""
    asyncio.set_event_loop(loop)
    loop.call_soon(ready.set)
    try:
        loop.run_forever()
    finally:
        tasks = asyncio.all_tasks(loop)
        for task in tasks:
            task.cancel()
        loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        loop.close()


def _end(loop: asyncio.AbstractEventLoop) -> None:
    """Stop the loop of an engine that nobody refers to any more."""
    if not loop.is_closed():
        loop.call_soon_threadsafe(loop.stop)


async def _renew(reference: weakref.ref[Engine]) -> None:
    """Renew the picture ten times a second for as long as the engine is referenced."""
    while (engine := reference()) is not None:
        engine._view = engine._picture()
        del engine
        await asyncio.sleep(VIEW_S)


def _without(options: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if name not in names}
