"""The plain calls of risk: what a person may decide about an account or a strategy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stratnb.multi.calls import Calls

__all__ = ["RiskCalls"]


class RiskCalls(Calls):
    """The part of an engine that says what may be risked; a scope is "" for the account or a strategy's id."""

    def kill(self, author: str = "notebook", *, flatten: bool = True) -> dict[str, int]:
        """Halt the account until released, cancel entries and close all positions; works twice."""
        result: dict[str, int] = self._call("kill", author, flatten=flatten)
        return result

    def release(self, author: str, reason: str, scope: str = "", *, reset_peak: bool = False) -> tuple[str, ...]:
        """Set the account or a strategy back to ACTIVE and return the rules that were in force.

        Its day starts anew. With a peak that is kept the drawdown rule fires again while the drawdown lasts.
        """
        ended: tuple[str, ...] = self._call("release", author, reason, scope, reset_peak=reset_peak)
        return ended

    def reduce(self, scope: str, author: str, reason: str) -> bool:
        """Let the account or a strategy only reduce positions until `activate_risk`; waiting entries are canceled.

        Returns False when it does already.
        """
        return bool(self._call("reduce", scope, author, reason))

    def activate_risk(self, scope: str, author: str, reason: str) -> bool:
        """End what `reduce` did; while another rule is in force it is `Refused` (`risk_in_force`): see `release`."""
        return bool(self._call("activate_risk", scope, author, reason))

    def limits(self, scope: str = "") -> dict[str, Any]:
        """Return the risk limits in force of the account or of a strategy, by name; None is off."""
        found: dict[str, Any] = self._call("limits", scope)
        return found

    def set_limits(
        self, scope: str, changes: Mapping[str, Any], author: str, *, confirm: bool = False
    ) -> tuple[str, ...]:
        """Change risk limits by name at once and return those that were loosened, which needs `confirm=True`.

        Limits of a strategy are those under `risk` of its document. They last over a restart with a journal.
        """
        loosened: tuple[str, ...] = self._call("set_limits", scope, changes, author, confirm=confirm)
        return loosened

    def test_notifier(self, author: str = "notebook") -> str:
        """Send a test message by the notifier and return its text.

        `Refused` when the engine has none (`no_notifier`) or it fails (`notifier_failed`).
        """
        return str(self._call("test_notifier", author))
