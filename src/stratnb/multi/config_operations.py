"""The operations of configurations: preview, apply, rollback, versions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stratnb.multi.rebuild import Rebuilder
from stratnb.multi.versions import Versions
from stratnb.view import ConfigVersion, Preview

__all__ = ["CONFIG_OPERATIONS", "ConfigOperations"]

CONFIG_OPERATIONS = ("preview", "apply", "rollback", "versions")


class ConfigOperations:
    """The part of an engine's operations that changes what a loaded strategy runs with."""

    configurations: Versions
    rebuilder: Rebuilder

    async def preview(self, strategy_id: str, patch: Mapping[str, Any]) -> Preview:
        """Return what a patch of a configuration would do."""
        return await self.configurations.preview(strategy_id, patch)

    async def apply(
        self, strategy_id: str, patch: Mapping[str, Any], *, author: str, reason: str = "", expected: int | None = None
    ) -> ConfigVersion:
        """Let a strategy go on with a patched configuration."""
        await self.rebuilder.run()
        return await self.configurations.apply(strategy_id, patch, author=author, reason=reason, expected=expected)

    async def rollback(self, strategy_id: str, version: int, *, author: str) -> ConfigVersion:
        """Go back to an earlier version of a configuration."""
        await self.rebuilder.run()
        return await self.configurations.rollback(strategy_id, version, author=author)

    async def versions(self, strategy_id: str) -> tuple[ConfigVersion, ...]:
        """Return the versions of a strategy's configuration."""
        return self.configurations.newest(strategy_id)
