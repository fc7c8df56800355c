"""The plain calls of configurations: what a loaded strategy runs with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stratnb.multi.calls import Calls
from stratnb.view import ConfigVersion, Preview

__all__ = ["ConfigCalls"]


class ConfigCalls(Calls):
    """The part of an engine that changes configurations; a patch is paths to values, None removes one."""

    def preview(self, strategy_id: str, patch: Mapping[str, Any]) -> Preview:
        """Return what a patch of a running configuration would do; nothing changes."""
        found = self._call("preview", strategy_id, patch)
        assert isinstance(found, Preview)
        return found

    def apply(
        self, strategy_id: str, patch: Mapping[str, Any], *, author: str, reason: str = "", expected: int | None = None
    ) -> ConfigVersion:
        """Let a strategy go on with a patched configuration from the next candle on; return the new version.

        Position and stop stay. With `expected` another running version is refused (`version_conflict`).
        """
        made = self._call("apply", strategy_id, patch, author=author, reason=reason, expected=expected)
        assert isinstance(made, ConfigVersion)
        return made

    def rollback(self, strategy_id: str, version: int, *, author: str) -> ConfigVersion:
        """Go back to an earlier version of a configuration, which comes again under a new number."""
        made = self._call("rollback", strategy_id, version, author=author)
        assert isinstance(made, ConfigVersion)
        return made

    def versions(self, strategy_id: str) -> tuple[ConfigVersion, ...]:
        """Return the newest 200 versions of a configuration; the first is the one that was loaded."""
        found: tuple[ConfigVersion, ...] = self._call("versions", strategy_id)
        return found
