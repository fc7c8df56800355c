"""Which loop runs a backtest: the shared one at once, or the structure's own generated one where that pays.

Both give the same bits. A generated loop is several times faster and takes seconds to compile, once for a structure on
a machine; whoever runs little never waits for it.
"""

from __future__ import annotations

from typing import Any, Literal, get_args

from stratnb.errors import ConfigError
from stratnb.kernels.beside import tell
from stratnb.kernels.fused import Uninlinable, fused, is_fused, is_usable
from stratnb.kernels.jit import Kernel
from stratnb.strategy.plan import Plan

__all__ = ["Tier", "check_tier", "generated_loop", "pays"]

Tier = Literal["auto", "scan", "fused"]

WORTH_LOADING = 20_000
WORTH_COMPILING = 2_000_000
_seen: dict[str, int] = {}


def check_tier(tier: object) -> None:
    """Raise `ConfigError` for a tier that is not known."""
    if tier not in get_args(Tier):
        hint = f"choose one of {', '.join(get_args(Tier))}"
        raise ConfigError("enum", f"tier {tier!r} is not known", value=tier, hint=hint)


def generated_loop(plan: Plan, candles: int, tier: Tier = "auto") -> Kernel[..., Any] | None:
    """Return the generated loop of a plan's structure, None when the shared loop shall run.

    With "auto" it is taken when it is compiled already and there are some candles to run, or when all runs of the
    structure in this process, `candles` included, are worth the compiler. "fused" always takes it, but for a structure
    that cannot be generated (a block in plain Python, or one whose source is not known).
    """
    if tier == "scan" or (tier == "auto" and candles < WORTH_LOADING):
        return None
    try:
        loop = fused(plan.code, plan.params, plan.kernels)
    except Uninlinable:
        return None
    return loop if (tier == "fused" or pays(loop, candles)) and is_usable(loop) else None


def pays(loop: Kernel[..., Any], candles: int) -> bool:
    """Tell whether a generated loop is compiled already, or all runs of it so far and this one are worth that."""
    if is_fused(loop):
        return candles >= WORTH_LOADING
    name = loop.function.__module__
    _seen[name] = _seen.get(name, 0) + candles
    if _seen[name] >= WORTH_COMPILING:
        tell()
        return True
    return False
