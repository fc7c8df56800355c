"""Which loop runs a backtest: the shared one at once, or the structure's own generated one where that pays.

Both give the same bits. A generated loop is several times faster and takes seconds to compile, once for a structure on
a machine; whoever runs little never waits for it, however often.
"""

from __future__ import annotations

import math
import threading
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Literal, NamedTuple, get_args

from stratnb.errors import ConfigError
from stratnb.kernels.beside import compiled_since, tell
from stratnb.kernels.close import close_candle
from stratnb.kernels.fused import Uninlinable, ahead_closer, closer, fused, is_fused, is_usable, structure_key
from stratnb.kernels.jit import Kernel
from stratnb.strategy.plan import Plan

__all__ = ["Calls", "Tier", "check_tier", "closes", "compiling", "generated_loop", "pays", "usable"]

Tier = Literal["auto", "scan", "fused"]

WORTH_LOADING = 20_000
WORTH_WAITING = 500_000  # of one call; what is less ends before a compiler would
WORTH_COMPILING = 10_000_000  # about as long as the compiler takes
_seen: dict[str, int] = {}
_lock = threading.Lock()
_at_work = [0]


def check_tier(tier: object) -> None:
    """Raise `ConfigError` for a tier that is not known."""
    if tier not in get_args(Tier):
        hint = f"choose one of {', '.join(get_args(Tier))}"
        raise ConfigError("enum", f"tier {tier!r} is not known", value=tier, hint=hint)


def generated_loop(plan: Plan, candles: int, tier: Tier = "auto") -> Kernel[..., Any] | None:
    """Return the generated loop of a plan's structure, None when the shared loop shall run.

    With "auto" it is taken when it is compiled already and there are some candles to run, or when all runs of the
    structure in this process, `candles` included, are worth the compiler and this one is not little by itself. "fused"
    always takes it, but for a structure that cannot be generated (a block in plain Python, or one whose source is not
    known).
    """
    if tier == "scan" or (tier == "auto" and candles < WORTH_LOADING):
        return None
    try:
        loop = fused(plan.code, plan.params, plan.kernels)
    except Uninlinable:
        return None
    return loop if (tier == "fused" or pays(loop, candles)) and usable([loop]) else None


class Calls(NamedTuple):
    """Addresses of what a strategy among many calls: its close, or where its blocks run ahead search, fills and close.

    What it does not call is 0.
    """

    close: int
    seek: int = 0
    fill: int = 0
    close_ahead: int = 0


def closes(plans: Sequence[Plan], instants: int, tier: Tier = "auto") -> list[Calls]:
    """Return what each of several plans calls at a candle: what is generated where that pays."""
    users = Counter(structure_key(plan.code, plan.params, plan.kernels) for plan in plans)
    return [_calls(plan, instants, users, tier) for plan in plans]


def _calls(plan: Plan, instants: int, users: Counter[tuple[object, ...]], tier: Tier) -> Calls:
    """Return what one plan calls; `users` counts the plans of each structure."""
    of, shared = (plan.code, plan.params, plan.kernels), close_candle.address()
    if tier == "scan":
        return Calls(shared)
    work = instants * users[structure_key(*of)]

    def _taken(own: Sequence[Kernel[..., Any]]) -> bool:
        return (tier == "fused" or all(pays(each, work) for each in own)) and usable(own)

    with suppress(Uninlinable):
        own = ahead_closer(*of)
        if _taken(own):
            return Calls(shared, *(each.address() for each in own))
    with suppress(Uninlinable):
        close = closer(*of)
        if _taken([close]):
            return Calls(close.address())
    return Calls(shared)


def pays(loop: Kernel[..., Any], work: int, whole: int = 0) -> bool:
    """Tell whether a generated loop is compiled already, or worth the compiler.

    `work` is candles times trials of this part, `whole` that of the call it is a part of, as far as that is known. The
    compiler is worth it for a whole of `WORTH_COMPILING`, and where all runs so far come to as much, for any that is
    not little (`WORTH_WAITING`).
    """
    if is_fused(loop):
        return work >= WORTH_LOADING
    name, whole = loop.function.__module__, max(whole, work)
    _seen[name] = _seen.get(name, 0) + work
    return whole >= WORTH_COMPILING or (_seen[name] >= WORTH_COMPILING and whole >= WORTH_WAITING)


def usable(loops: Collection[Kernel[..., Any]]) -> bool:
    """Compile loops if need be, which is told meanwhile; tell whether that goes."""
    if all(map(is_fused, loops)):
        return all(map(is_usable, loops))
    with _compiling():
        return all(map(is_usable, loops))


def compiling() -> Literal["", "blocks", "loop"]:
    """Return what is being compiled in this process, in whichever thread: nothing, blocks, or a generated loop."""
    with _lock:
        if _at_work[0]:
            return "loop"
    return "blocks" if compiled_since(math.inf) else ""


@contextmanager
def _compiling() -> Iterator[None]:
    """Say that a loop is compiled, and count that while it lasts."""
    tell()
    with _lock:
        _at_work[0] += 1
    try:
        yield
    finally:
        with _lock:
            _at_work[0] -= 1
