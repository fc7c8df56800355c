"""Checks of exits and of the sizing that depends on them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from stratnb.blocks.base import Exit
from stratnb.blocks.exits import Breakeven, StopLoss, TakeProfit, TimeExit, Trailing
from stratnb.errors import Finding
from stratnb.strategy.faults import fault, warning
from stratnb.strategy.paths import join
from stratnb.strategy.reading import Parts

__all__ = ["check_exits", "check_sizing"]


def check_exits(parts: Parts) -> Iterator[Finding]:
    """Yield what is wrong between the exit blocks, and a missing loss limit."""
    ladder = next((block for block in parts.exits.values() if isinstance(block, TakeProfit)), None)
    levels = ladder.levels if ladder else ()
    hit: set[str] = {effect for level in levels for effect in level.on_hit}
    if parts.whole("exits"):
        yield from _on_hit(parts.exits, hit)
        yield from _closing(parts.exits, ladder)
        if not any(_limits_loss(block, hit) for block in parts.exits.values()):
            hint = 'add {"stop_loss": {}}; live trading refuses a strategy without one'
            yield warning("exits", "no_loss_limit", "nothing limits the loss of a position", None, hint)
    for name, block in parts.exits.items():
        if isinstance(block, Trailing) and block.start.targets and "trail" not in hit and parts.whole("exits"):
            yield from _reachable(join("exits", name, "start.targets"), block.start.targets, len(levels))
        if isinstance(block, Breakeven):
            yield from _breakeven(join("exits", name), block, ladder, hit if parts.whole("exits") else {"breakeven"})
    if ladder and ladder.basis == "fraction":
        name = next(name for name, block in parts.exits.items() if block is ladder)
        for n, level in enumerate(levels):
            if level.at >= 1:
                path, hint = join("exits", name, "levels", n, "at"), f"{level.at:g} % is {level.at / 100:.6g}"
                message = f"{level.at:g} is a move of {level.at * 100:g} %"
                yield warning(path, "percent_suspected", message, level.at, hint)


def _on_hit(exits: Mapping[str, Exit], hit: set[str]) -> Iterator[Finding]:
    """Yield the effects of targets that have no block to act on."""
    for effect, kind in (("trail", Trailing), ("breakeven", Breakeven)):
        if effect in hit and not any(isinstance(block, kind) for block in exits.values()):
            path = next(
                join("exits", name, "levels", n, "on_hit")
                for name, block in exits.items()
                if isinstance(block, TakeProfit)
                for n, level in enumerate(block.levels)
                if effect in level.on_hit
            )
            message = f"{effect!r} has no {kind.kind!r} block to act on"
            yield fault(path, "on_hit_without_block", message, effect, f'add "{kind.kind}" to exits, or remove it')


def _closing(exits: Mapping[str, Exit], ladder: TakeProfit | None) -> Iterator[Finding]:
    """Warn when the targets leave a rest that only a stop would close."""
    total = sum(level.close for level in ladder.levels) if ladder else 1.0
    if total < 1 - 1e-9 and not any(isinstance(block, (Trailing, TimeExit)) for block in exits.values()):
        name = next(name for name, block in exits.items() if block is ladder)
        message = f"the targets close only {total:.6g} of the position"
        hint = "add trailing or time_exit for the rest, or let the shares add up to 1"
        yield warning(join("exits", name, "levels"), "close_sum_below_one", message, total, hint)


def _limits_loss(block: Exit, hit: set[str]) -> bool:
    """Tell whether a block bounds the loss from the start of a position."""
    if isinstance(block, Trailing):
        return bool(block.start.immediately) and "trail" not in hit
    return type(block).limits_loss


def _reachable(path: str, wanted: int, levels: int) -> Iterator[Finding]:
    if wanted > levels:
        hint = f"write at most {levels}" if levels else "add take_profit levels, or start another way"
        yield fault(path, "targets_start_too_high", f"{wanted} targets are needed, there are {levels}", wanted, hint)


def _breakeven(path: str, block: Breakeven, ladder: TakeProfit | None, hit: set[str]) -> Iterator[Finding]:
    levels = ladder.levels if ladder else ()
    if block.after_targets is not None and block.at_profit is not None:
        message, hint = "after_targets and at_profit are both written", "keep one of them"
        yield fault(path, "start_ambiguous", message, block.at_profit, hint)
    elif block.at_profit is None and "breakeven" not in hit:
        yield from _reachable(join(path, "after_targets"), block.after_targets or 1, len(levels))
    if levels and ladder and ladder.basis == "fraction" and block.offset >= levels[0].at:
        message = f"{block.offset:g} is not below the first target at {levels[0].at:g}"
        hint = "the stop would lie beyond the price that triggers it"
        yield fault(join(path, "offset"), "breakeven_beyond_target", message, block.offset, hint)


def check_sizing(parts: Parts) -> Iterator[Finding]:
    """Yield a sizing by stop distance without a stop."""
    if parts.sizing is None or not type(parts.sizing).needs_stop or not parts.whole("exits"):
        return
    if not any(
        isinstance(b, StopLoss) or (type(b).limits_loss and not isinstance(b, (TimeExit, Trailing)))
        for b in parts.exits.values()
    ):
        message = f"{parts.sizing.kind!r} sizes by the distance to a stop, and there is no stop block"
        hint = "add \"stop_loss\" to exits, or size by another kind such as 'fixed_fraction'"
        yield fault("sizing.kind", "missing", message, parts.sizing.kind, hint)
