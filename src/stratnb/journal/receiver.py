"""The engine's end of commands: it believes no row, checks each one, and executes it at most once."""

from __future__ import annotations

import asyncio
import json
import logging
from collections import Counter, defaultdict, deque
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import func, select, update

from stratnb.errors import Halt, Refused, StratnbError
from stratnb.journal.clocks import boot_s, wall_ms
from stratnb.journal.commands import LARGEST_ARGS, SIGNED, message_of
from stratnb.journal.database import reading
from stratnb.journal.joining import joined
from stratnb.journal.lease import Lease
from stratnb.journal.results import error_text, result_text
from stratnb.journal.roles import Role, check_role
from stratnb.journal.schema import METADATA
from stratnb.journal.tokens import Tokens

__all__ = ["CommandReceiver", "Refusal", "Run", "Sender"]

COMMANDS = METADATA.tables["commands"]
OLDEST_MS, AHEAD_MS = 30_000, 5_000
RATE, RATE_S = 20, 60.0
# Stopping everything is never held up by how much was asked before.
UNLIMITED = ("kill",)
BATCH = 50
LONGEST = 200

log = logging.getLogger(__name__)


class Sender(NamedTuple):
    """Who gave a command, as proven by its signature."""

    author: str
    role: Role
    number: int


class Refusal(NamedTuple):
    """A command that was turned down; `author` is what the row claims, unless the code comes after the signature."""

    number: int
    author: str
    command: str
    code: str
    message: str


Run = Callable[[str, dict[str, Any], Sender], Awaitable[object]]
Row = Mapping[str, Any]


class _Taken(NamedTuple):
    command: str
    args: dict[str, Any]
    sender: Sender


class CommandReceiver:
    """Takes commands from a journal and answers them; `refused` counts what was turned down, by code.

    It joins the journal of an engine that holds the lease, publishes the tokens' hashes, and answers what was being
    executed when an earlier engine was killed with `command_interrupted`: nobody knows how far that came, and it is not
    executed again. `run` executes a command on the loop that polls. Commands start in the order of their numbers and do
    not wait for each other. With a `lease` nothing is taken unless it is held. `on_refused` hears of each refusal.
    `now_ms` (UTC) judges age, `clock` (seconds) the rate.
    """

    def __init__(
        self,
        target: str | Path,
        tokens: Tokens,
        run: Run,
        *,
        lease: Lease | None = None,
        on_refused: Callable[[Refusal], None] | None = None,
        clock: Callable[[], float] = boot_s,
        now_ms: Callable[[], int] = wall_ms,
    ) -> None:
        self.refused: Counter[str] = Counter()
        self._database = joined(target)
        self._seen = reading(target)
        self._keys = tokens.publish(self._database)
        self._run = run
        self._lease = lease
        self._on_refused = on_refused
        self._clock = clock
        self._now_ms = now_ms
        self._nonces: dict[str, int] = {}
        self._given: defaultdict[str, deque[float]] = defaultdict(deque)
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._answer_interrupted()

    def __repr__(self) -> str:
        """Return how much was refused and is running."""
        return f"CommandReceiver({len(self._tasks)} running, {self.refused.total()} refused)"

    async def poll(self) -> int:
        """Take what is new and return how many commands were started; `settle` waits for them."""
        if self._lease is not None and not self._lease.is_held:
            return 0
        taken, refusals = await asyncio.to_thread(self._take, frozenset(self._tasks))
        for command in taken:
            task = asyncio.create_task(self._execute(command), name=f"command {command.sender.number}")
            self._tasks[command.sender.number] = task
            task.add_done_callback(partial(self._forget, command.sender.number))
        for refusal in refusals:
            self._tell(refusal)
        return len(taken)

    def _forget(self, number: int, task: asyncio.Task[None]) -> None:
        del self._tasks[number]
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("command %d could not be answered", number, exc_info=error)

    def _tell(self, refusal: Refusal) -> None:
        self.refused[refusal.code] += 1
        log.warning("command %d (%r by %r) refused: %s, %s", *refusal)
        if self._on_refused is not None:
            self._on_refused(refusal)

    async def settle(self) -> None:
        """Wait until every command that was started is answered."""
        while self._tasks:
            await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    async def close(self) -> None:
        """Cancel what runs, answer it, and close the connections."""
        for task in self._tasks.values():
            task.cancel()
        await self.settle()
        self._database.close()
        self._seen.close()

    def _take(self, running: frozenset[int]) -> tuple[list[_Taken], list[Refusal]]:
        """Judge the new rows and mark each as taken or refused, before anything of it is done."""
        taken, refusals = [], self._strays(running)
        for number in self._numbers("new"):
            row = self._row(number)
            try:
                command = self._judged(number, row)
            except Refused as error:
                if self._mark(number, "refused", error_text(error), before="new"):
                    refusals.append(_refusal(number, row, error))
            else:
                if self._mark(number, "taken", None, before="new"):
                    taken.append(command)
        return taken, refusals

    def _strays(self, running: frozenset[int]) -> list[Refusal]:
        """Refuse rows that say they are taken while nobody executes them: who holds the lease took none of them."""
        found = []
        for number in self._numbers("taken") if self._lease is not None else ():
            text, hint = "it came as taken, but nobody here took it", "send it with CommandSender"
            error = Refused("command_taken", text, hint=hint)
            if number not in running and self._mark(number, "refused", error_text(error), before="taken"):
                found.append(_refusal(number, self._row(number), error))
        return found

    def _numbers(self, state: str) -> list[int]:
        query = select(COMMANDS.c.id).where(COMMANDS.c.state == state).order_by(COMMANDS.c.id).limit(BATCH)
        with self._seen.transaction() as connection:
            return list(connection.execute(query).scalars())

    def _row(self, number: int) -> dict[str, Any] | None:
        """Return a row as it stands in the file, None when it cannot be read or is too long to be looked at."""
        columns = [COMMANDS.c[name] for name in (*SIGNED, "mac")]
        query = select(*columns).where(COMMANDS.c.id == number, func.length(COMMANDS.c.args) <= LARGEST_ARGS)
        try:
            with self._seen.transaction() as connection:
                found = connection.execute(query).mappings().first()
        except Halt as error:
            if error.code != "journal_damaged":
                raise
            return None
        return None if found is None else dict(found)

    def _judged(self, number: int, row: Row | None) -> _Taken:
        """Return the command of a row that may be executed; raises `Refused` with the reason otherwise.

        Only what is signed counts for replay and rate, so that nobody without a token can use up an author's share.
        """
        if row is None or not _is_formed(row):
            raise Refused("command_malformed", "this is no command", hint="send it with CommandSender")
        role = self._keys.role_of(row["role"], message_of(row), row["mac"])
        if role is None:
            hint = "log in with the token of this engine, then send it again"
            raise Refused("command_signature", "the signature is missing or wrong", hint=hint)
        self._check_time(row["created_ms"])
        if row["nonce"] in self._nonces:
            raise Refused("command_replayed", "this command was sent before", hint="send a new one")
        self._nonces[row["nonce"]] = row["created_ms"]
        args = json.loads(row["args"])
        check_role(row["command"], role, args)
        self._check_rate(row["author"], row["command"])
        return _Taken(row["command"], args, Sender(row["author"], role, number))

    def _check_time(self, created_ms: int) -> None:
        now_ms = self._now_ms()
        # What is too old is refused for that, so its nonce need not be kept.
        self._nonces = {nonce: sent for nonce, sent in self._nonces.items() if now_ms - sent <= 2 * OLDEST_MS}
        age_ms = now_ms - created_ms
        if age_ms > OLDEST_MS:
            text = f"the command is {age_ms / 1000:.0f} s old, more than {OLDEST_MS // 1000} s"
            raise Refused("command_expired", text, value=age_ms, hint="send it again")
        if age_ms < -AHEAD_MS:
            text = f"the command is dated {-age_ms / 1000:.0f} s ahead"
            raise Refused("command_future", text, value=age_ms, hint="set the clocks of both machines")

    def _check_rate(self, author: str, command: str) -> None:
        if command in UNLIMITED:
            return
        now_s = self._clock()
        self._given = defaultdict(
            deque, {name: sent for name, sent in self._given.items() if now_s - sent[-1] < RATE_S}
        )
        sent = self._given[author]
        while sent and now_s - sent[0] >= RATE_S:
            sent.popleft()
        if len(sent) >= RATE:
            text = f"{author!r} sent {RATE} commands in {RATE_S:.0f} s"
            raise Refused("command_rate", text, value=author, hint=f"wait {RATE_S - now_s + sent[0]:.0f} s")
        sent.append(now_s)

    def _mark(self, number: int, state: str, result: str | None, *, before: str) -> bool:
        """Move a row from one state to the next and tell whether this call did it."""
        values = {"state": state, "result": result, "done_ms": None if state == "taken" else self._now_ms()}
        query = update(COMMANDS).where(COMMANDS.c.id == number, COMMANDS.c.state == before).values(**values)
        with self._database.transaction(durable=state == "taken") as connection:
            if state == "taken" and self._lease is not None and not self._lease.holds(connection):
                return False
            return bool(connection.execute(query).rowcount)

    def _answer_interrupted(self) -> None:
        hint = "look at what the engine shows, then send it again if it is still wanted"
        fault = Halt("command_interrupted", "unknown: the engine restarted while it was executed", hint=hint)
        values = {"state": "failed", "result": error_text(fault), "done_ms": self._now_ms()}
        with self._database.transaction() as connection:
            connection.execute(update(COMMANDS).where(COMMANDS.c.state == "taken").values(**values))

    async def _execute(self, taken: _Taken) -> None:
        number = taken.sender.number
        try:
            state, result = "done", result_text(await self._run(*taken))
        except asyncio.CancelledError:
            fault = Halt("command_interrupted", "unknown: the engine stopped while it was executed")
            self._mark(number, "failed", error_text(fault), before="taken")
            raise
        except StratnbError as error:
            state, result = "failed", error_text(error)
        except Exception as error:
            log.exception("command %d (%r by %r) failed", number, taken.command, taken.sender.author)
            text = f"{taken.command!r} ended with {type(error).__name__}"
            state, result = "failed", error_text(Halt("command_failed", text, hint="look at the engine's log"))
        await asyncio.to_thread(self._mark, number, state, result, before="taken")


def _refusal(number: int, row: Row | None, error: Refused) -> Refusal:
    """Return who was refused what, as far as the row tells."""
    author, name = (str((row or {}).get(key))[:LONGEST] for key in ("author", "command"))
    return Refusal(number, author, name, error.code, error.message)


def _is_formed(row: Row) -> bool:
    """Tell whether a row has the kinds that are signed, of bounded length, and its arguments are a JSON mapping."""
    texts = [row["command"], row["author"], row["nonce"], row["role"] or ""]
    if not all(isinstance(text, str) and len(text) <= LONGEST for text in texts) or type(row["created_ms"]) is not int:
        return False
    try:
        return isinstance(row["args"], str) and isinstance(json.loads(row["args"]), dict)
    except (ValueError, RecursionError):
        return False
