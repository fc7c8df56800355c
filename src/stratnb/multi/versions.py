"""Configuration versions: a patch is previewed, applied between two candles, kept, and taken back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from stratnb.errors import ConfigError, Refused
from stratnb.multi.desk import Desk
from stratnb.multi.lane import Lane
from stratnb.multi.limits import put_limits
from stratnb.multi.rebuild import Rebuilder, reject
from stratnb.multi.revision import Revision, preview, revise
from stratnb.multi.store import next_version
from stratnb.strategy.overrides import override_of
from stratnb.view import ConfigVersion, Preview

__all__ = ["Versions"]

SHOWN = 200
KEPT = "the running configuration goes on"


class Versions:
    """Changes the configuration of loaded strategies; a version is what one ran with from then on.

    The first is the one it was loaded with. `hold` gives the lock under which no instant comes.
    """

    def __init__(self, desk: Desk, rebuilder: Rebuilder, hold: Callable[[], asyncio.Lock]) -> None:
        self._desk = desk
        self._rebuilder = rebuilder
        self._hold = hold
        self._lock = asyncio.Lock()

    def newest(self, strategy_id: str) -> tuple[ConfigVersion, ...]:
        """Return the newest 200 versions of a strategy, newest last."""
        self._desk.registry.get(strategy_id)
        return self._desk.store.versions(strategy_id)[-SHOWN:]

    async def preview(self, strategy_id: str, patch: Mapping[str, Any]) -> Preview:
        """Return what a patch would do; nothing changes."""
        return await asyncio.to_thread(preview, self._desk, strategy_id, patch)

    async def apply(
        self, strategy_id: str, patch: Mapping[str, Any], *, author: str, reason: str = "", expected: int | None = None
    ) -> ConfigVersion:
        """Let a strategy go on with a patched configuration and return the new version.

        A patch that changes nothing returns the present one. `expected` is the version that the patch was made for:
        with another one running it is `Refused` (`version_conflict`). Raises ConfigError: config_invalid; Refused:
        needs_flat, switch_in_progress.
        """
        for name, text in (("author", author), ("reason", reason)):
            if not isinstance(text, str):
                raise ConfigError("type", f"{name} is text, not {text!r}", value=text, hint="such as author='me'")
        if not author.strip():
            raise ConfigError("missing", "a change needs an author", hint="say who changes it, such as author='me'")
        async with self._lock:
            lane = self._desk.lane(strategy_id)
            self._check_number(strategy_id, expected)
            while True:
                before = lane.context
                found = await asyncio.to_thread(revise, self._desk, before, patch)
                self._check(lane, found)
                if found.change == "same" and found.context is not None:
                    return self._desk.store.versions(strategy_id)[-1]
                if await self._applied(lane, found, author.strip(), reason):
                    return self._announced(lane, found)

    async def rollback(self, strategy_id: str, version: int, *, author: str) -> ConfigVersion:
        """Go back to an earlier version; it comes again under a new number. An unknown one is `unknown_version`."""
        known = self._desk.store.versions(strategy_id)
        self._desk.registry.get(strategy_id)
        target = next((each for each in known if each.number == version and not isinstance(version, bool)), None)
        if target is None:
            numbers = f"{known[0].number} to {known[-1].number}" if known else "none"
            message = f"{strategy_id} has no version {version!r}"
            raise ConfigError("unknown_version", message, value=version, hint=f"its versions: {numbers}")
        patch = override_of(self._desk.lane(strategy_id).context.loaded.merged, target.document)
        return await self.apply(strategy_id, patch, author=author, reason=f"rollback to version {version}")

    def _check_number(self, key: str, expected: int | None) -> None:
        present = self._desk.store.versions(key)[-1].number
        if expected is not None and expected != present:
            raise Refused(
                "version_conflict",
                f"{key} runs version {present} by now, not {expected}",
                value=present,
                hint="look at what changed, then apply it to the present version",
            )

    def _check(self, lane: Lane, found: Revision) -> None:
        """Raise when a revision cannot be applied now, and tell it."""
        key = lane.context.strategy_id
        error: Exception | None = None
        if found.flat_only and (not lane.context.book.is_flat or self._desk.orders.unknown(key)):
            error = Refused(
                "needs_flat",
                f"{key} has a position or an order",
                value=[path for path, _, _ in found.diff],
                hint="close the position, or wait until it is flat",
            )
        elif found.errors:
            words = f"{len(found.errors)} error{'s' if len(found.errors) > 1 else ''}"
            hint = "correct them all, then try again"
            error = ConfigError(
                "config_invalid", f"the patch of {key} has {words}", value=key, hint=hint, findings=found.errors
            )
        elif self._desk.registry.get(key).state == "preparing" or lane.waits is not None:
            raise Refused("switch_in_progress", f"{key} takes part in a switch", value=key, hint="wait for its end")
        if error is not None:
            reject(lane, error, source="versions", kept=KEPT)
            raise error

    async def _applied(self, lane: Lane, found: Revision, author: str, reason: str) -> bool:
        """Swap at a candle boundary; False when the strategy runs something else by now, so that it must be read again.

        What fails in construction leaves everything as it is and is told.
        """
        before, context, key = lane.context, found.context, lane.context.strategy_id
        assert context is not None, "it was checked"
        try:
            made = await self._rebuilder.beside(key, context) if found.change == "rebuild" else None
            async with self._hold(), self._rebuilder.lock:
                if lane.context is not before:
                    return False
                self._desk.lane(key)
                self._check(lane, found)

                def _keep() -> None:
                    self._keep(lane, found, author, reason)

                if found.change == "live":
                    self._rebuilder.change(key, lane, context)
                    _keep()
                else:
                    await self._rebuilder.install(key, lane, context, made, _keep)
                self._desk.router.done()
        except Refused:
            raise
        except Exception as error:
            reject(lane, error, source="versions", kept=KEPT)
            if isinstance(error, ConfigError):
                raise
            words = f"{key} fails with the patch on past candles: {type(error).__name__}: {error}"
            raise ConfigError("config_invalid", words, value=key, hint="the former configuration goes on") from error
        return True

    def _keep(self, lane: Lane, found: Revision, author: str, reason: str) -> None:
        """Keep the new version and what a restart reads the strategy from."""
        desk, context = self._desk, found.context
        assert context is not None and found.overrides is not None, "it was checked"
        key, flags = context.strategy_id, dict(desk.registry.get(context.strategy_id).flags)
        touched = {path.split(".")[1].split("[")[0] for path, _, _ in found.diff if path.startswith("risk.")}
        limits = {name: value for name, value in flags.get("limits", {}).items() if name not in touched}
        if "limits" in flags and limits != flags["limits"]:
            desk.registry.update(key, flags={**flags, "limits": limits})
            put_limits(desk, lane)
        desk.registry.update(key, overrides=found.overrides, config_hash=context.config.config_hash)
        record, merged = desk.registry.get(key), context.loaded.merged
        made = next_version(desk.store, record, merged, now_ms=desk.now_ms())
        desk.store.save_version(replace(made, patch=dict(found.patch), author=author, reason=reason))

    def _announced(self, lane: Lane, found: Revision) -> ConfigVersion:
        made = self._desk.store.versions(lane.context.strategy_id)[-1]
        changed = [path for path, _, _ in found.diff]
        payload = {"reason": "config", "version": made.number, "author": made.author, "why": made.reason}
        told = {
            **payload,
            "changed": changed[:50],
            "config_hash": made.config_hash,
            "rebuilt": found.change == "rebuild",
        }
        lane.context.events.publish("STRATEGY_CONFIG_UPDATED", source="versions", payload=told)
        return made
