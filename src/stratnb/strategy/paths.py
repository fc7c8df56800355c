"""Paths into documents, such as `analyzers[0].weight`: reading, writing and walking."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from stratnb.errors import ConfigError

__all__ = ["assign", "join", "leaves", "lookup", "nodes", "steps"]

_PATH = re.compile(r"[^.\[\]]+(\.[^.\[\]]+|\[\d{1,6}\])*")
_STEP = re.compile(r"\[(\d+)\]|([^.\[\]]+)")


def join(path: str, *steps: str | int) -> str:
    """Return a path with steps added.

    >>> join("analyzers", 2, "kind")
    'analyzers[2].kind'
    """
    for step in steps:
        path += f"[{step}]" if isinstance(step, int) else f".{step}" if path else step
    return path


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield (path, value) of every leaf; an empty mapping or list is a leaf."""
    if isinstance(value, Mapping) and value:
        for key, item in value.items():
            yield from leaves(item, f"{path}.{key}" if path else str(key))
    elif isinstance(value, (list, tuple)) and value:
        for n, item in enumerate(value):
            yield from leaves(item, f"{path}[{n}]")
    elif path:
        yield path, value


def nodes(value: Any, path: str = "") -> Iterator[str]:
    """Yield the path of every key and element, containers before their content."""
    items = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else ()
    for step, item in items:
        at = join(path, step)
        yield at
        yield from nodes(item, at)


def steps(path: str) -> list[str | int]:
    """Return the keys and indices of a path; a malformed one is a `ConfigError("unknown_path")`.

    >>> steps("analyzers[0].weight")
    ['analyzers', 0, 'weight']
    """
    if not _PATH.fullmatch(path):
        raise ConfigError(
            "unknown_path", f"{path!r} is not a path", value=path, hint="write it like exits.stop_loss.multiple"
        )
    return [int(match[1]) if match[1] else match[2] for match in _STEP.finditer(path)]


def lookup(document: Any, path: str, default: Any = None) -> Any:
    """Return the value at a path, or `default` where there is none."""
    for step in steps(path) if _PATH.fullmatch(path) else [path]:
        if isinstance(step, int):
            if not isinstance(document, (list, tuple)) or step >= len(document):
                return default
        elif not isinstance(document, Mapping) or step not in document:
            return default
        document = document[step]
    return document


def assign(document: dict[str, Any], path: str, value: Any) -> None:
    """Write a value into nested dicts and lists; a missing place is a `ConfigError("unknown_path")`."""
    *way, last = steps(path)
    target: Any = document
    for step in way:
        inside = step < len(target) if isinstance(step, int) and isinstance(target, list) else step in target
        if not inside or not isinstance(target[step], (dict, list)):
            raise ConfigError(
                "unknown_path", f"nothing is at {step!r} of {path!r}", value=path, hint="check name and index"
            )
        target = target[step]
    if isinstance(last, int) != isinstance(target, list) or (isinstance(last, int) and last >= len(target)):
        raise ConfigError(
            "unknown_path", f"nothing is at {last!r} of {path!r}", value=path, hint="check name and index"
        )
    target[last] = value
