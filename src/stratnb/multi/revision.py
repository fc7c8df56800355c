"""A changed configuration before it runs: read, compared with the running one, judged; nothing is changed here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Literal

from stratnb.blocks.base import Filter
from stratnb.errors import ConfigError, Finding, StratnbError
from stratnb.multi.context import StrategyContext
from stratnb.multi.desk import Desk
from stratnb.strategy.build import build_plan
from stratnb.strategy.documents import build_config
from stratnb.strategy.layers import Document
from stratnb.strategy.merge import diff, expand, merge_layers
from stratnb.strategy.overrides import fitted, override_of
from stratnb.strategy.parsing import plain
from stratnb.strategy.paths import lookup
from stratnb.strategy.plan import Plan
from stratnb.view import Preview

__all__ = ["Change", "Revision", "preview", "revise"]

Change = Literal["same", "live", "rebuild"]
Difference = tuple[tuple[str, Any, Any], ...]
FIXED = ("schema", "name", "version", "extends", "market.symbol")
FLAT = ("market.symbol", "market.kind", "execution.leverage", "execution.margin_mode", "capital.unit")
_ABSENT = object()


@dataclass(frozen=True, slots=True)
class Revision:
    """A patch read on top of a running configuration; `context` is None while it has errors.

    `overrides` give the result over the strategy's own document; `flat_only` needs a flat strategy.
    """

    patch: Mapping[str, Any]
    diff: Difference
    errors: tuple[Finding, ...] = ()
    warnings: tuple[Finding, ...] = ()
    overrides: Mapping[str, Any] | None = None
    context: StrategyContext | None = None
    change: Change = "same"
    flat_only: bool = False


def preview(desk: Desk, strategy_id: str, patch: Mapping[str, Any]) -> Preview:
    """Return what a patch would do to a loaded strategy; it changes nothing and runs in any thread."""
    lane = desk.lane(strategy_id)
    found = revise(desk, lane.context, patch)
    busy = not lane.context.book.is_flat or bool(desk.orders.unknown(strategy_id))
    return Preview(found.diff, found.errors, found.warnings, found.change == "rebuild", found.flat_only and busy)


def revise(desk: Desk, context: StrategyContext, patch: Mapping[str, Any]) -> Revision:
    """Read a patch (paths to values, None removes) as one more layer over the running configuration.

    Faults of the result are its `errors`; a patch that is no mapping is `ConfigError`.
    """
    if not isinstance(patch, Mapping):
        hint = "write {'entry.min_score': 0.3}"
        raise ConfigError("type", f"a patch is a mapping of paths to values, not {patch!r}", value=patch, hint=hint)
    copied, unreadable = plain(patch)
    running = context.config.to_document()
    wanted = fitted(copied, context.loaded.merged, running)
    fixed = tuple(_fixed(wanted, running))
    flat = bool(_touched(fixed))
    try:
        made = _read(desk, context, wanted)
        plan = build_plan(made.loaded.config, made.plan.market, base=desk.feed.timeframe)
    except Exception as error:
        shown = _raw_diff(context, wanted)
        flat = flat or any(path in FLAT for path, _, _ in shown)
        return Revision(copied, shown, (*unreadable, *fixed, *_findings(error)), flat_only=flat)
    document = made.loaded.config.to_document()
    changes = (*diff(running, document), *((f.path, lookup(running, f.path), f.value) for f in fixed))
    flat = flat or any(path in FLAT for path, _, _ in changes)
    lower = desk.loader.beneath(desk.registry.get(context.strategy_id))
    return Revision(
        patch=copied,
        diff=tuple(changes),
        errors=(*unreadable, *fixed),
        warnings=made.loaded.findings,
        overrides=override_of(lower, made.loaded.merged),
        context=replace(made, plan=plan),
        change=_change(context.plan, plan) if changes else "same",
        flat_only=flat,
    )


def _read(desk: Desk, context: StrategyContext, wanted: Mapping[str, Any]) -> StrategyContext:
    """Return the context with the patched configuration and its market; the plan is still the old one."""
    known = desk.exchange.market(context.symbol)
    under = Document(MappingProxyType(dict(context.loaded.merged)), context.loaded.source or "running")
    staged = build_config(under, overrides=wanted, symbol=context.symbol, market=None if known.inferred else known)
    record = desk.registry.get(context.strategy_id)
    overrides = override_of(desk.loader.beneath(record), staged.merged)
    loaded, market = desk.loader.reload(replace(record, overrides=overrides))
    if loaded.config.config_hash != staged.config.config_hash:
        raise ConfigError(
            "patch_order",
            "a removed section cannot be taken up again value by value",
            value=list(wanted),
            hint="write every value of the section",
        )
    return replace(context, loaded=loaded, plan=replace(context.plan, market=market))


def _raw_diff(context: StrategyContext, wanted: Mapping[str, Any]) -> Difference:
    """Return what a patch changes in the written document, without defaults: all that is known of a faulty one."""
    before = context.loaded.merged
    try:
        after, _ = merge_layers([("strategy", before), ("override", wanted)])
    except StratnbError:
        return ()
    return tuple(diff(before, after))


def _fixed(wanted: Mapping[str, Any], running: Mapping[str, Any]) -> Iterator[Finding]:
    """Yield a finding for every value that belongs to the strategy's identity and would change."""
    try:
        nested, _ = expand(wanted)
    except StratnbError:
        return
    for path in FIXED:
        value = lookup(nested, path, _ABSENT)
        if value is not _ABSENT and value != lookup(running, path):
            message = f"{path} of a loaded strategy cannot change"
            hint = "add another strategy with the wanted value and remove this one"
            yield Finding(path, "immutable_field", message, value, hint, "override")


def _touched(fixed: tuple[Finding, ...]) -> set[str]:
    return {finding.path for finding in fixed} & set(FLAT)


def _findings(error: Exception) -> tuple[Finding, ...]:
    """Return an error of reading or building as findings."""
    found = getattr(error, "findings", ())
    if found:
        return tuple(finding for finding in found if finding.severity == "error")
    if isinstance(error, StratnbError):
        return (Finding("", error.code, error.message, error.value, error.hint),)
    return (Finding("", "exception", f"a block raises {type(error).__name__}: {error}"),)


def _change(old: Plan, new: Plan) -> Change:
    """Return "live" when only numbers differ that no memory depends on: thresholds, weights, texts, limits."""
    same = (
        old.memory_size == new.memory_size
        and dict(old.columns) == dict(new.columns)
        and len(old.nodes) == len(new.nodes)
        and bool((old.code == new.code).all() if old.code.shape == new.code.shape else False)
        and len(old.params) == len(new.params)
        and [name for name, _ in old.exits] == [name for name, _ in new.exits]
        and [name for name, _, _ in old.filters] == [name for name, _, _ in new.filters]
        and all(_is_live(a.block, b.block) for a, b in zip(old.nodes, new.nodes, strict=True))
    )
    return "live" if same else "rebuild"


def _is_live(old: Any, new: Any) -> bool:
    return type(old) is type(new) and (old == new or (isinstance(new, Filter) and new.state_size() == 0))
