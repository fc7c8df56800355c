"""Risk limits that a person changed: put into the rows at once, kept beside the configuration for a restart."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from typing import Any

from stratnb.errors import ConfigError, Refused
from stratnb.multi.desk import Desk
from stratnb.multi.lane import Lane
from stratnb.services.ledger import limit_account, limit_book
from stratnb.services.limits import change_limits
from stratnb.strategy.plan import Plan
from stratnb.strategy.sections import Risk
from stratnb.strategy.settings import limit_settings

__all__ = ["LIMITS_KEY", "limits_of", "put_limits", "restore_limits", "set_limits"]

LIMITS_KEY = "account_limits"
FLAG = "limits"
log = logging.getLogger(__name__)


def limits_of(desk: Desk, scope: str) -> dict[str, Any]:
    """Return the limits of the account or of a strategy that are in force, by name."""
    if scope == "":
        return desk.services.positions.limits.model_dump()
    return _risk(desk, desk.lane(scope)).model_dump()


def set_limits(desk: Desk, scope: str, changes: Mapping[str, Any], author: str, *, confirm: bool) -> tuple[str, ...]:
    """Change limits of the account or of a strategy and return the names of those that were loosened.

    Loosening without `confirm` is `Refused` (`limits_loosen`) and changes nothing.
    """
    if not isinstance(changes, Mapping) or not changes:
        raise ConfigError("type", "changes are names and values of limits", value=changes, hint="{'daily_loss': 0.03}")
    if scope == "":
        limits, loosened = change_limits(desk.services.positions.limits, changes)
    else:
        risk, loosened = change_limits(_risk(desk, desk.lane(scope)), changes)
    if loosened and not confirm:
        raise Refused(
            "limits_loosen",
            f"{', '.join(loosened)} of {scope or 'the account'} would let more pass than before",
            value=loosened,
            hint="give confirm=True to loosen limits",
        )
    if scope == "":
        desk.services.risk.limit(limits)
        desk.recorder.keep(LIMITS_KEY, json.dumps(_changed(desk)))
    else:
        made = risk.model_dump(mode="json")
        desk.note_limits(scope, {**desk.registry.get(scope).flags.get(FLAG, {}), **{n: made[n] for n in changes}})
        put_limits(desk, desk.lane(scope))
    desk.services.risk.tell_limits(scope, author, changes, loosened)
    desk.router.done()
    return loosened


def put_limits(desk: Desk, lane: Lane) -> None:
    """Write a strategy's limits, with those changed by hand, into its book and its settings."""
    plan: Plan = lane.context.plan
    risk = _risk(desk, lane)
    limit_book(lane.context.book.row, plan, risk)
    limit_settings(plan.params, risk)


def restore_limits(desk: Desk, kept: str | None) -> None:
    """Put the limits of the configuration and those changed by hand into rows of an earlier run.

    A limit of the account whose setting was changed since is that of the new setting.
    """
    configured = desk.settings.limits.model_dump(mode="json")
    found: dict[str, list[Any]] = json.loads(kept) if kept else {}
    changes = {name: now for name, (was, now) in found.items() if name in configured and configured[name] == was}
    limits = desk.settings.limits
    if changes:
        limits, _ = change_limits(limits, changes)
        log.info("limits of the account that were changed by hand: %s", ", ".join(changes))
    desk.services.positions.limits = limits
    limit_account(desk.services.positions.account, limits)
    for lane in desk.lanes():
        put_limits(desk, lane)


def _risk(desk: Desk, lane: Lane) -> Risk:
    """Return the limits of a strategy: those of its document with what was changed by hand."""
    configured = lane.context.config.risk
    changes = desk.registry.get(lane.context.strategy_id).flags.get(FLAG, {})
    return change_limits(configured, changes)[0] if changes else configured


def _changed(desk: Desk) -> dict[str, list[Any]]:
    """Return configured and present value of the account's limits that differ."""
    before = desk.settings.limits.model_dump(mode="json")
    after = desk.services.positions.limits.model_dump(mode="json")
    return {name: [before[name], after[name]] for name in before if before[name] != after[name]}
