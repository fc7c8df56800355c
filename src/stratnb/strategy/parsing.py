"""Parsing: text, files and Python mappings become plain JSON values, with the place of every fault."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stratnb.errors import ConfigError, Finding
from stratnb.strategy.faults import fault, shown
from stratnb.strategy.paths import join

__all__ = ["MAX_BYTES", "parse", "plain", "read_file"]

MAX_BYTES = 1024 * 1024
MAX_DEPTH = 24
LARGEST = 1e300


class _Object(dict[str, Any]):
    """A parsed JSON object that remembers the keys written twice."""

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        keys = [key for key, _ in pairs]
        self.twice = sorted({key for key in keys if keys.count(key) > 1}) if len(self) < len(keys) else []


def parse(content: str | bytes) -> tuple[dict[str, Any], list[Finding]]:
    """Return the JSON object of a text, and its faults: `json_syntax` with line and column, `duplicate_key`, `type`."""
    try:
        text = content.decode("utf-8-sig") if isinstance(content, bytes) else content
        value = json.loads(text, object_pairs_hook=_Object)
    except json.JSONDecodeError as error:
        message = f"line {error.lineno}, column {error.colno}: {error.msg}"
        return {}, [fault("", "json_syntax", message, _line(error), "correct the JSON there")]
    except UnicodeDecodeError as error:
        return {}, [fault("", "json_syntax", f"byte {error.start} is not UTF-8", None, "save the file as UTF-8")]
    except (ValueError, RecursionError) as error:
        return {}, [fault("", "json_syntax", f"the JSON cannot be read: {shown(str(error))}", None, "simplify it")]
    if not isinstance(value, dict):
        return {}, [
            fault("", "type", f"{shown(value)} is not an object", None, "a document is one JSON object in {braces}")
        ]
    return plain(value)


def plain(value: Mapping[Any, Any]) -> tuple[dict[str, Any], list[Finding]]:
    """Return a deep copy of plain JSON values, and the faults of what JSON cannot hold."""
    findings: list[Finding] = []
    copied = _copied(value, "", findings, 0)
    return copied if isinstance(copied, dict) else {}, findings


def read_file(path: Path) -> tuple[dict[str, Any], list[Finding]]:
    """Return the object of a JSON file and its faults; `ConfigError` if there is no such file."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        hint = "give the path of a .json file"
        raise ConfigError(
            "file_missing", f"{shown(str(path), 200)} cannot be read: {reason}", value=str(path), hint=hint
        ) from error
    if len(content) > MAX_BYTES:
        message = f"the file has more than {MAX_BYTES} bytes"
        return {}, [
            fault("", "file_too_large", message, path.stat().st_size, "a strategy document holds at most 1 MiB")
        ]
    return parse(content)


def _copied(value: Any, path: str, findings: list[Finding], depth: int) -> Any:
    """Return the plain copy of one value; what cannot be held becomes None, with a finding."""
    if depth > MAX_DEPTH:
        findings.append(fault(path, "type", f"it is nested deeper than {MAX_DEPTH} levels", None, "flatten it"))
        return None
    if isinstance(value, Mapping):
        return _copied_mapping(value, path, findings, depth)
    if isinstance(value, (list, tuple)):
        return [_copied(item, join(path, n), findings, depth + 1) for n, item in enumerate(value)]
    if hasattr(value, "item") and not isinstance(value, str) and getattr(value, "shape", None) == ():
        value = value.item()  # a numpy scalar
    if isinstance(value, str):
        return _text(value, path, findings)
    if value is None or isinstance(value, bool):
        return value
    if not isinstance(value, (int, float)):
        kind = type(value).__name__
        findings.append(fault(path, "type", f"a {kind} cannot stand in a document", kind, "write a JSON value"))
        return None
    if abs(value) <= LARGEST:
        return value
    text = "the number has too many digits" if isinstance(value, int) else f"{value!r} is not a finite number"
    findings.append(fault(path, "range", text, None, f"write a number below {LARGEST:g}"))
    return None


def _copied_mapping(value: Mapping[Any, Any], path: str, findings: list[Finding], depth: int) -> dict[str, Any]:
    for key in getattr(value, "twice", ()):
        findings.append(
            fault(join(path, key), "duplicate_key", f"key {shown(key)} is written twice", key, "keep one of them")
        )
    copied: dict[str, Any] = {}
    for key, item in value.items():
        if isinstance(key, str):
            name = _text(key, path, findings)
            copied[name] = _copied(item, join(path, name), findings, depth + 1)
        else:
            findings.append(fault(path, "type", f"key {shown(key)} is not text", key, "write keys as text"))
    return copied


def _text(value: str, path: str, findings: list[Finding]) -> str:
    """Return text that can be encoded; half a surrogate pair is a fault."""
    text = value.encode("utf-8", "replace").decode("utf-8")
    if text != value:
        findings.append(
            fault(path, "type", f"{shown(text)} is not valid Unicode text", None, "remove the broken character")
        )
    return str(text)


def _line(error: json.JSONDecodeError) -> str:
    """Return the faulty line, shortened."""
    lines = error.doc.splitlines()
    return lines[error.lineno - 1].strip()[:80] if error.lineno <= len(lines) else ""
