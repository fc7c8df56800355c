"""The tables of the configuration editor: changes, conflicts, versions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from stratnb.strategy.paths import lookup
from stratnb.ui.format import count, stamp, tag, words
from stratnb.ui.panels.config_draft import shown
from stratnb.view import ConfigVersion

__all__ = ["CHANGES", "CONFLICT", "VERSIONS", "change_rows", "conflict_rows", "diff_rows", "version_rows"]

CHANGES = [
    {"key": "path", "label": "Value", "cls": "is-wide"},
    {"key": "before", "label": "Before", "align": "r", "sort": False},
    {"key": "after", "label": "Edited", "align": "r", "sort": False},
    {"key": "act", "label": "", "sort": False, "cls": "is-acts"},
]
CONFLICT = [
    {"key": "path", "label": "Value", "cls": "is-wide"},
    {"key": "before", "label": "You started from", "align": "r", "sort": False},
    {"key": "theirs", "label": "Runs now", "align": "r", "sort": False},
    {"key": "mine", "label": "Yours", "align": "r", "sort": False},
]
VERSIONS = [
    {"key": "number", "label": "Version"},
    {"key": "time", "label": "Since", "title": "Feed time, UTC"},
    {"key": "reason", "label": "Reason", "cls": "is-wide", "sort": False},
    {"key": "act", "label": "", "sort": False, "cls": "is-acts"},
]
OLDER_MOST = 200


def change_rows(patch: Mapping[str, Any], running: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return a row for every edited path, with a button that takes the edit back."""
    return [
        {
            **_pair(path, lookup(running, path), value),
            "act": {"acts": [{"a": "revert", "t": "Revert", "kind": "quiet", "label": f"Revert {path}"}]},
        }
        for path, value in patch.items()
    ]


def diff_rows(differences: Sequence[tuple[str, Any, Any]]) -> list[dict[str, Any]]:
    """Return a row for every value that differs."""
    return [_pair(path, before, after) for path, before, after in differences]


def _pair(path: str, before: Any, after: Any) -> dict[str, Any]:
    return {"id": path, "path": path, "before": _cell(before), "after": {**_cell(after), "tone": "accent"}}


def conflict_rows(rows: Sequence[tuple[str, Any, Any, Any]]) -> list[dict[str, Any]]:
    """Return a row for every value that you or the newer version changed; both at once is marked."""
    made = []
    for path, before, theirs, mine in rows:
        both = theirs != before != mine and theirs != mine
        told = {"path": {"t": path, **({"chips": [tag("both", "warn", title="Changed by both")]} if both else {})}}
        cells = {"before": _cell(before), "theirs": _cell(theirs), "mine": _cell(mine)}
        made.append({"id": path, **told, **cells})
    return made


def version_rows(versions: Sequence[ConfigVersion], running: int) -> list[dict[str, Any]]:
    """Return the versions, newest first; one can go back to all but the running one."""
    made = []
    for version in reversed(versions[-OLDER_MOST:]):
        here = version.number == running
        number = f"v{version.number}"
        acts = [] if here else [{"a": "rollback", "t": "Roll back…", "label": f"Roll back to {number}"}]
        chips = {"chips": [tag("running", "ok")]} if here else {}
        changed = ", ".join(f"{path} = {shown(value)}" for path, value in version.patch.items())
        made.append(
            {
                "id": str(version.number),
                "number": {"t": number, "n": version.number, "title": f"hash {version.config_hash[:12]}", **chips},
                "time": {"t": stamp(version.created_ms) if version.created_ms else "start", "n": version.created_ms},
                "reason": {
                    "t": version.reason or "no reason given",
                    "sub": words((version.author, f"{count(len(version.patch))} changed" if changed else "")),
                    "title": changed,
                },
                "act": {"acts": acts},
            }
        )
    return made


def _cell(value: Any) -> dict[str, Any]:
    text = shown(value)
    return {"t": text, **({"title": str(value)} if text.endswith("…") else {})}
