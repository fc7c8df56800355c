"""Engines that are killed: a forked child trades a replay with a journal, dies, is started again, and must end as its
twin that was never stopped.

A child dies by SIGKILL: sent after a part of the time that it needs, or by itself at the nth of the points between
which state can differ: before and after each commit of the journal and of the paper exchange's book, before a request
arrives and before its answer leaves, at each wait of the loop.
"""

from __future__ import annotations

import asyncio
import os
import pickle
import random
import select
import signal
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stratnb.engine import Engine
from stratnb.errors import RetryLater, StratnbError
from stratnb.exchange.book import PaperBook
from stratnb.exchange.paper import PaperExchange
from stratnb.journal import Journal
from stratnb.journal.check import check_journal
from stratnb.kernels import layout as at
from stratnb.market_data.candles import Candles
from stratnb.model import Market
from stratnb.multi.lane import Lane
from stratnb.services.reserved import ORPHAN, reserved_id
from trading_cases import FREE, document, market, wander

FAST = {"query_delays_s": (0.002, 0.004), "absences": 3, "absence_spacing_s": 0.001, "unknown_grace_s": 0.005}
WAITS_S = 0.004
LONGEST_S = 60.0
RETRIES = 3_000


@dataclass(frozen=True)
class Case:
    """What is traded: candles, markets, strategies, what a person does when, and the share of lost calls."""

    name: str
    candles: tuple[Candles, ...]
    markets: tuple[Market, ...]
    strategies: tuple[tuple[dict[str, Any], str], ...]
    acts: tuple[tuple[int, str, int], ...] = ()
    mode: str = "parallel"
    loss: float = 0.0

    @property
    def length(self) -> int:
        """Return the number of instants."""
        return len(self.candles[0])

    def engine(self, path: Path | None, seed: int = 0) -> Engine:
        """Return an engine for it; without a path nothing is kept and nothing is lost."""
        kept: dict[str, Any] = {} if path is None else {"journal": path, "paper_loss": self.loss, "seed": seed}
        limits = {"cash": 1e6, "limits": FREE, "mode": self.mode, "orders": FAST}
        return Engine("crash", candles=list(self.candles), markets=list(self.markets), **limits, **kept)


def cases(length: int = 260) -> tuple[Case, ...]:
    """Return what is killed: spot, linear in both directions with targets, lost answers, switches, a busy person."""
    one, two = wander(length, 11, gaps=2), wander(length, 12, symbol="BBB/USDT")
    spot = (market(), market("BBB/USDT"))
    linear = tuple(market(each.symbol, kind="linear", max_leverage=5.0) for each in (one, two))
    near = {"exits": {"stop_loss": {"fraction": 0.004}}}
    steps = {
        "exits": {
            "stop_loss": {"fraction": 0.005},
            "take_profit": {"levels": [{"at": 0.003, "close": 0.5}, {"at": 0.008, "close": 0.5}]},
        }
    }
    sized = {"kind": "fixed_quantity", "quantity": 2.0}
    both = {**steps, "market": {"kind": "linear"}, "capital": {"amount": 0.5}, "analyzers": [{"kind": "dice"}]}
    docs = ((document("near", **near), one.symbol), (document("steps", **steps), one.symbol))
    more = (*docs, (document("other", **near), two.symbol))
    turned = tuple((document(f"both-{n}", **both), each.symbol) for n, each in enumerate((one, two)))
    share = {"simulation": {"slippage": 0.0, "max_participation": 0.2}}
    rest = {"entry_order": "limit", "limit_offset": 0.001, "limit_timeout_s": 240}
    parts = tuple(
        (document(name, **steps, market={"kind": "linear"}, execution=how, sizing=sized), one.symbol)
        for name, how in (("taker", share), ("maker", {**rest, **share}))
    )
    acts = ((40, "pause", 0), (70, "close", 1), (100, "resume", 0), (150, "close", 0), (200, "close", 2))
    hands_off = tuple((when, act, n) for when in range(20, 250, 7) for n, act in ((0, "cancel"), (1, "close")))
    switches = tuple((when, "switch", number) for when, number in ((40, 1), (80, 0), (120, 1), (160, 0), (200, 1)))
    hands = (
        *((when, "part", number) for when in (20, 47, 90, 141, 210) for number in (0, 1, 2)),
        *((when, "cancel", number) for when in (24, 33, 57, 76, 163, 214, 231) for number in (0, 2)),
        *((64, "remove", 2), (72, "add", 2), (110, "kill", 0), (118, "release", 0), (240, "kill", 0)),
        *((when, "close", 1) for when in range(125, 150, 3)),
        *((when, act, number) for when in range(126, 151, 3) for act, number in (("leave", 0), ("adopt", 1))),
        *((180, "add", 0), (195, "close", 1)),
    )
    return (
        Case("spot", (one, two), spot, more, acts),
        Case("linear", (one, two), linear, turned, acts=((60, "close", 0), (130, "close", 1)), loss=0.05),
        Case("lost", (one, two), spot, more, acts, loss=0.1),
        Case("switches", (one, two), spot, docs, switches, mode="exclusive", loss=0.05),
        Case("parts", (one, two), linear, parts, hands_off, loss=0.05),
        Case("hands", (one, two), spot, more, tuple(sorted(hands, key=lambda act: act[0])), loss=0.05),
    )


@dataclass
class Ended:
    """What an engine has at the end."""

    fills: dict[str, list[bytes]]
    books: dict[str, bytes]
    memories: dict[str, bytes]
    states: dict[str, str]
    account: bytes

    def differences(self, other: Ended) -> list[str]:
        """Return what is not the same, in words."""
        found = [] if self.account == other.account else ["account"]
        for name in ("fills", "books", "memories", "states"):
            mine, theirs = getattr(self, name), getattr(other, name)
            found += [f"{name} of {key}" for key in sorted({*mine, *theirs}) if mine.get(key) != theirs.get(key)]
        return found


def ended(engine: Engine) -> Ended:
    """Return what is compared; what says when a candle was handled is not in it."""
    keys = [record.strategy_id for record in engine.list()]
    books = {key: engine.desk.lane(key).context.book for key in keys}
    resident = {key: engine.desk.cache.peek(key) for key in keys}
    active = [key for key in keys if engine.desk.registry.get(key).state in ("active", "managing", "suspended")]
    return Ended(
        fills={key: [row.tobytes() for row in book.fill_rows] for key, book in books.items()},
        books={key: book.row.tobytes() for key, book in books.items()},
        memories={key: found.memory.tobytes() for key in active if (found := resident[key]) is not None},
        states={key: engine.desk.registry.get(key).state for key in keys},
        account=engine.desk.services.positions.account.tobytes(),
    )


def insist(act: Callable[[], Any]) -> Any:
    """Do what a person does until it is done: a lost answer or an unknown order only means not yet."""
    for _ in range(RETRIES):
        try:
            return act()
        except StratnbError as error:
            if error.code not in ("order_unresolved", "answer_lost", "switch_in_progress"):
                raise
            time.sleep(WAITS_S)
    raise AssertionError("it never came through")


def trade(engine: Engine, case: Case) -> set[str]:
    """Take a case to its end from wherever the engine is; return the acts of a person that changed anything."""
    keys = [f"{doc['name']}@{symbol}#main" for doc, symbol in case.strategies]
    if engine.desk.feed.position == 0:
        for (doc, symbol), key in zip(case.strategies, keys, strict=True):
            if not engine.desk.registry.has(key):
                engine.add(doc, symbol)
        for number, key in enumerate(keys):
            if engine.desk.registry.get(key).state == "dormant" and (case.mode == "parallel" or number == 0):
                engine.activate(key)
    acted = set()
    for when, act, number in (*case.acts, (case.length + 1, "", 0)):
        position = engine.desk.feed.position
        if position < when:
            engine.step(min(when, case.length + 1) - position)
        if engine.desk.feed.position == when and act and ACTS[act](engine, *case.strategies[number]):
            acted.add(act)
    return acted


def _lane(engine: Engine, doc: dict[str, Any], symbol: str) -> Lane | None:
    """Return the lane of a strategy, None when it is not loaded."""
    key = f"{doc['name']}@{symbol}#main"
    return engine.desk.lane(key) if engine.desk.registry.has(key) else None


def _pause(engine: Engine, doc: dict[str, Any], symbol: str) -> bool:
    lane = _lane(engine, doc, symbol)
    if lane is None or lane.paused:
        return False
    engine.pause(lane.context.strategy_id)
    return True


def _resume(engine: Engine, doc: dict[str, Any], symbol: str) -> bool:
    lane = _lane(engine, doc, symbol)
    if lane is None or not lane.paused:
        return False
    engine.resume(lane.context.strategy_id)
    return True


def _close(engine: Engine, doc: dict[str, Any], symbol: str) -> bool:
    lane = _lane(engine, doc, symbol)
    return lane is not None and bool(insist(lambda: engine.close_position(lane.context.strategy_id)))


def _part(engine: Engine, doc: dict[str, Any], symbol: str) -> bool:
    """Close half of a position, once: what was filled by hand at this moment is known by its time."""
    lane = _lane(engine, doc, symbol)
    if lane is None:
        return False
    book, now_ms = lane.context.book, engine.desk.now_ms()

    def close() -> bool:
        engine.desk.orders.check_resolved(book.strategy_id)
        by_hand = [row for row in book.fill_rows if row[at.F_REASON] == at.REASON_MANUAL and row[at.F_TIME] == now_ms]
        return not by_hand and engine.close_position(book.strategy_id, 0.5)

    return bool(insist(close))


def _cancel(engine: Engine, doc: dict[str, Any], symbol: str) -> bool:
    lane = _lane(engine, doc, symbol)
    return lane is not None and engine.cancel_order(lane.context.strategy_id)


def _remove(engine: Engine, doc: dict[str, Any], symbol: str) -> bool:
    lane = _lane(engine, doc, symbol)
    if lane is None:
        return False
    insist(lambda: engine.remove(lane.context.strategy_id, policy="close"))
    return True


def _leave(engine: Engine, doc: dict[str, Any], symbol: str) -> bool:
    """Remove a strategy that holds something, without its position."""
    lane = _lane(engine, doc, symbol)
    holds = any(owner.context.book.quantity for owner in engine.desk.owners.values())
    if lane is None or (not lane.context.book.quantity and not holds):
        return False
    insist(lambda: engine.remove(lane.context.strategy_id, policy="keep_orphan"))
    return True


def _adopt(engine: Engine, doc: dict[str, Any], symbol: str) -> bool:
    """Adopt what was left, when there is anything and the strategy is flat."""
    lane, orphan = _lane(engine, doc, symbol), engine.desk.owners.get(reserved_id(ORPHAN, symbol))
    if lane is None or orphan is None or not orphan.context.book.quantity or not lane.context.book.is_flat:
        return False
    stop = round(float(orphan.context.book.row[at.B_MARK]) * 0.99, 2)
    insist(lambda: engine.adopt_orphan(symbol, lane.context.strategy_id, stop, author="test", reason="test"))
    return True


def _add(engine: Engine, doc: dict[str, Any], symbol: str) -> bool:
    lane = _lane(engine, doc, symbol)
    key = engine.add(doc, symbol) if lane is None else lane.context.strategy_id
    if engine.desk.registry.get(key).state == "dormant":
        engine.activate(key)
        return True
    return False


def _kill(engine: Engine, doc: dict[str, Any], symbol: str) -> bool:
    def pull() -> None:
        engine.kill("test")
        if any(lane.context.book.quantity for lane in engine.desk.everyone()):
            raise RetryLater("order_unresolved", "not everything is closed yet")

    insist(pull)
    return True


def _release(engine: Engine, doc: dict[str, Any], symbol: str) -> bool:
    if engine.desk.services.risk.state == "ACTIVE":
        return False
    engine.release("test", "test")
    return True


def _switch(engine: Engine, doc: dict[str, Any], symbol: str) -> bool:
    key = f"{doc['name']}@{symbol}#main"
    if engine.desk.registry.get(key).state == "active":
        return False

    def switch() -> None:
        result = engine.switch(key, policy="close")
        if not result.success:
            assert result.error is not None
            raise RetryLater(*result.error)

    insist(switch)
    return True


# What a person does, unless it was done before a kill; each returns whether it changed anything.
ACTS: dict[str, Callable[[Engine, dict[str, Any], str], bool]] = {
    **{"pause": _pause, "resume": _resume, "close": _close, "part": _part, "cancel": _cancel, "remove": _remove},
    **{"leave": _leave, "adopt": _adopt, "add": _add, "kill": _kill, "release": _release, "switch": _switch},
}


def prove(engine: Engine, path: Path) -> None:
    """Fail when the journal has a fault, or when the exchange holds anything else than the books."""
    faults = check_journal(path).faults
    assert not faults, faults
    if not engine.desk.orders.unresolved:
        add_up(engine)


def add_up(engine: Engine) -> None:
    """Fail when the books do not add up to what the exchange holds; looked at on the engine's loop, which goes on."""
    desk = engine.desk

    async def sums() -> list[tuple[str, float, float]]:
        found = []
        for symbol in desk.feed.symbols:
            held = sum(lane.context.book.quantity for lane in desk.everyone() if lane.context.symbol == symbol)
            found.append((symbol, held, desk.exchange.book.position(symbol, desk.now_ms())))
        return found

    assert engine._loop is not None
    for symbol, held, theirs in asyncio.run_coroutine_threadsafe(sums(), engine._loop).result(30.0):
        assert abs(held - theirs) < 1e-9, (symbol, held, theirs)


@contextmanager
def dying(nth: int) -> Iterator[Callable[[], int]]:
    """Kill this process at the nth point from now on (0: never); give the number of points passed."""
    passed = 0

    def point() -> None:
        nonlocal passed
        passed += 1
        if passed == nth:
            os.kill(os.getpid(), signal.SIGKILL)

    def around(kind: type, name: str) -> Callable[..., Any]:
        real = getattr(kind, name)

        def call(*args: Any, **options: Any) -> Any:
            point()
            try:
                return real(*args, **options)
            finally:
                point()

        setattr(kind, name, call)
        return real  # type: ignore[no-any-return]

    def over(self: PaperExchange, leg: Any, call: str) -> None:
        point()
        real_over(self, leg, call)
        point()

    async def sleep(delay: float, result: Any = None) -> Any:
        point()
        return await real_sleep(delay, result)

    real_over, real_sleep = PaperExchange._over, asyncio.sleep
    reals = [(kind, name, around(kind, name)) for kind, name in POINTS]
    PaperExchange._over, asyncio.sleep = over, sleep  # type: ignore[method-assign, assignment]
    try:
        yield lambda: passed
    finally:
        PaperExchange._over, asyncio.sleep = real_over, real_sleep  # type: ignore[method-assign]
        for kind, name, real in reals:
            setattr(kind, name, real)


POINTS = ((Journal, "commit"), (PaperBook, "accept"), (PaperBook, "_execute"), (PaperBook, "cancel"))


def child(case: Case, path: Path, told: int, seed: int, nth: int) -> None:
    """Trade a case from where its journal is to the end; tell when the engine is restored, and the outcome."""
    with case.engine(path, seed) as engine:
        engine.list()
        prove(engine, path)
        os.write(told, b"r")
        with dying(nth) as passed:
            trade(engine, case)
            points = passed()
        add_up(engine)
        found = ended(engine)
    faults = check_journal(path).faults
    assert not faults, faults
    path.with_suffix(".out").write_bytes(pickle.dumps((found, points)))
    os.write(told, b"e")


@dataclass
class Tally:
    """What was done: kills, runs that came to the end, restarts, and every fault found."""

    kills: int = 0
    runs: int = 0
    seconds: float = 0.0
    faults: list[str] = field(default_factory=list)
    by_case: dict[str, int] = field(default_factory=dict)

    def killed(self, name: str) -> None:
        """Count a kill."""
        self.kills += 1
        self.by_case[name] = self.by_case.get(name, 0) + 1


class Trial:
    """Kills one case again and again; each run goes on in a journal of its own until it comes to its end."""

    def __init__(self, case: Case, folder: Path, seed: int) -> None:
        self.case = case
        self._folder = folder
        self._rng = random.Random(f"{case.name}{seed}")
        with case.engine(None) as engine:
            self.acted = trade(engine, case)
            self.twin = ended(engine)
        self.trades = sum(map(len, self.twin.fills.values()))
        self._points, self._needed_s = 1_000, 1.0
        self._path = folder / f"{case.name}-0.sqlite"
        self._runs = 0
        self._pid = self.told = 0
        self.spared = False
        self._restored_s: float | None = None
        self._after_s = self._deadline_s = LONGEST_S

    def start(self, *, spared: bool = False) -> None:
        """Start a child where the last one was killed; it is going to be killed unless it is spared."""
        nth, self._after_s, self.spared = 0, LONGEST_S, spared
        if not spared and self._rng.random() < 0.7:
            nth = 1 + int(self._rng.random() ** 2 * self._points / 4)
        elif not spared:
            self._after_s = self._rng.random() ** 2 * self._needed_s / 4
        self.told, start = os.pipe()
        self._restored_s, self._deadline_s = None, time.monotonic() + LONGEST_S
        seed = self._rng.randrange(1 << 30)
        self._pid = os.fork()
        if self._pid == 0:
            self._run_child(start, seed, nth)
        os.close(start)

    def _run_child(self, told: int, seed: int, nth: int) -> None:
        status = 3
        try:
            child(self.case, self._path, told, seed, nth)
            status = 0
        except BaseException:
            self._path.with_suffix(".err").write_text(traceback.format_exc())
        finally:
            os._exit(status)

    def poll(self, tally: Tally, *, ready: bool) -> bool:
        """Look after the child and kill it when its time has come; return whether it is gone, and note how it went."""
        now = time.monotonic()
        told = os.read(self.told, 1) if ready else None
        if told == b"r":
            self._restored_s, self._deadline_s = now, now + self._after_s
        elif told == b"e" and self._restored_s is not None:
            self._needed_s = max(0.2, now - self._restored_s)
            self._deadline_s = now + LONGEST_S
        if told != b"" and now < self._deadline_s:
            return False
        hangs = told != b"" and (self._restored_s is None or self._after_s == LONGEST_S)
        if told != b"":
            os.kill(self._pid, signal.SIGKILL)
        _, status = os.waitpid(self._pid, 0)
        os.close(self.told)
        self._pid = 0
        self._judge(status, tally, hangs=hangs)
        return True

    def _judge(self, status: int, tally: Tally, *, hangs: bool) -> None:
        if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL and not hangs:
            tally.killed(self.case.name)
        elif status:
            found = self._path.with_suffix(".err")
            text = found.read_text() if found.exists() else f"ended with status {status} without a word"
            tally.faults.append(f"{self._path}: {text}")
            self._next()
        else:
            self._compare(tally)

    def _compare(self, tally: Tally) -> None:
        found, points = pickle.loads(self._path.with_suffix(".out").read_bytes())
        self._points = max(self._points * 2 // 3, points)
        tally.runs += 1
        tally.faults += [f"{self._path}: {each} is not as its twin's" for each in found.differences(self.twin)]
        self._next()

    def _next(self) -> None:
        self._runs += 1
        self._path = self._folder / f"{self.case.name}-{self._runs}.sqlite"

    def stop(self) -> None:
        """End a child that still runs."""
        if self._pid:
            os.kill(self._pid, signal.SIGKILL)
            os.waitpid(self._pid, 0)
            os.close(self.told)
            self._pid = 0


def warm(case: Case, path: Path) -> None:
    """Import and compile here what every child would have to otherwise."""
    for _ in range(2):
        with case.engine(path) as engine:
            engine.list()
            prove(engine, path)
            if engine.desk.feed.position == 0:
                trade(engine, case)


def torment(
    folder: Path, *, kills: int, seconds: float, least: int = 0, seed: int = 1, length: int = 260, at_once: int = 2
) -> Tally:
    """Kill until there were so many kills, or the time is up and at least the least number of them; then compare."""
    tally, began = Tally(), time.monotonic()
    trials = [Trial(case, folder, seed) for case in cases(length)]
    warm(trials[0].case, folder / "warm.sqlite")
    assert all(trial.trades > 20 for trial in trials), {trial.case.name: trial.trades for trial in trials}

    def is_enough() -> bool:
        late = time.monotonic() - began > seconds and tally.kills >= least
        return bool(tally.faults) or tally.kills >= kills or late

    waiting, running = deque(trials), deque[Trial]()
    try:
        while running or waiting:
            if len(running) < at_once and waiting:
                trial = waiting.popleft()
                trial.start(spared=is_enough())
                running.append(trial)
                continue
            ready, _, _ = select.select([trial.told for trial in running], [], [], 0.01)
            for trial in tuple(running):
                if trial.poll(tally, ready=trial.told in ready):
                    running.remove(trial)
                    if not trial.spared:
                        waiting.append(trial)
            if tally.faults:
                break
    finally:
        for trial in running:
            trial.stop()
    tally.seconds = time.monotonic() - began
    return tally
