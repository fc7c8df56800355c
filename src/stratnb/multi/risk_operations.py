"""The operations of risk: kill, release, reduce and activate by hand, limits, a test of the notifier."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from stratnb.errors import ConfigError, Refused
from stratnb.multi.desk import Desk
from stratnb.multi.emergency import KillSwitch
from stratnb.multi.limits import limits_of, set_limits

__all__ = ["RISK_OPERATIONS", "RiskOperations"]

RISK_OPERATIONS = ("kill", "release", "reduce", "activate_risk", "set_limits", "limits", "test_notifier")

log = logging.getLogger(__name__)


class RiskOperations:
    """The part of an engine's operations that says what may be risked; a scope is "" or a strategy's id."""

    name: str
    desk: Desk
    kill_switch: KillSwitch

    async def kill(self, author: str = "notebook", *, flatten: bool = True) -> dict[str, int]:
        """Halt the account, cancel entries, close positions."""
        return self.kill_switch.pull(author, flatten=flatten)

    async def release(self, author: str, reason: str, scope: str = "", *, reset_peak: bool = False) -> tuple[str, ...]:
        """Set a scope back to ACTIVE and return the rules that were in force."""
        self._check(author, reason, scope, "release")
        ended = self.desk.services.risk.release(author, reason, scope=scope, reset_peak=reset_peak)
        self.desk.router.done()
        return ended

    async def reduce(self, scope: str, author: str, reason: str) -> bool:
        """Let a scope only reduce until it is activated; return False when it does already."""
        self._check(author, reason, scope, "reduce")
        changed = self.desk.services.risk.reduce(scope, author, reason)
        if not scope:
            self.desk.recorder.latch()
        self.desk.router.done()
        return changed

    async def activate_risk(self, scope: str, author: str, reason: str) -> bool:
        """End what `reduce` did; return False when nothing did."""
        self._check(author, reason, scope, "activate_risk")
        changed = self.desk.services.risk.activate(scope, author, reason)
        self.desk.router.done()
        return changed

    async def set_limits(
        self, scope: str, changes: Mapping[str, Any], author: str, *, confirm: bool = False
    ) -> tuple[str, ...]:
        """Change limits of a scope and return those that were loosened."""
        self._check(author, "limits", scope, "set_limits")
        return set_limits(self.desk, scope, changes, author, confirm=confirm)

    async def limits(self, scope: str = "") -> dict[str, Any]:
        """Return the limits of a scope."""
        self._check("limits", "limits", scope, "limits")
        return limits_of(self.desk, scope)

    async def test_notifier(self, author: str = "notebook") -> str:
        """Send a message by the notifier and return it: `Refused` without one (`no_notifier`) or when it fails."""
        self._check(author, "test", "", "test_notifier")
        notifier, text = self.desk.services.notifier, f"Test message of engine {self.name!r}, asked for by {author}"
        if notifier is None:
            hint = "make the engine with notifier=, an object with a method notify(level, text, strategy_id)"
            raise Refused("no_notifier", "the engine has no notifier", hint=hint)
        try:
            notifier.notify("info", text, None)
        except Exception as error:
            log.warning("the notifier failed its test", exc_info=error)
            words = f"the notifier failed: {type(error).__name__}: {error}"
            raise Refused("notifier_failed", words, hint="mend it; the engine goes on without its messages") from error
        told = {"command": "test_notifier", "author": author, "text": text}
        self.desk.bus.publish("COMMAND", source="engine", payload=told)
        return text

    def _check(self, author: str, reason: str, scope: str, verb: str) -> None:
        """Raise unless author, reason and scope are given and the scope is known."""
        if not all(isinstance(word, str) for word in (author, reason, scope)):
            given = (author, reason, scope)
            hint = f"say who and why, such as {verb} by 'me' because 'checked'"
            raise ConfigError("type", f"author, reason and scope are text, not {given!r}", value=given, hint=hint)
        if not author.strip() or not reason.strip():
            hint = "say who decides and why"
            raise ConfigError("missing", f"{verb} needs an author and a reason", hint=hint)
        if scope:
            self.desk.registry.get(scope)
