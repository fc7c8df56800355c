"""Overrides as a difference: the fewest paths and values that turn one document into another by the one merge."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping
from typing import Any

from stratnb.errors import ConfigError
from stratnb.strategy.merge import diff, is_other_kind
from stratnb.strategy.paths import assign, join, lookup

__all__ = ["fitted", "override_of"]

_PARAMS = re.compile(r"(analyzers\[\d+\])\.params(\..+)")
_ABSENT = object()


def override_of(lower: Mapping[str, Any], target: Mapping[str, Any]) -> dict[str, Any]:
    """Return paths to values that, merged over `lower`, give `target`; None removes what `target` does not have.

    Blocks of another kind and lists of another shape are written whole. A rule below `risk` cannot be removed by None,
    which switches it off there; write the whole section then.

    >>> override_of({"entry": {"mode": "vote"}, "title": "A"}, {"entry": {"mode": "vote", "min_score": 0.3}})
    {'entry.min_score': 0.3, 'title': None}
    """
    found: dict[str, Any] = {}
    _compare(lower, target, "", found)
    return found


def _compare(old: Mapping[str, Any], new: Mapping[str, Any], path: str, found: dict[str, Any]) -> None:
    for key, value in new.items():
        at = join(path, key)
        if key in old:
            _replace(old[key], value, at, found)
        else:
            found[at] = copy.deepcopy(value)
    found |= {join(path, key): None for key in old if key not in new}


def _replace(old: Any, new: Any, at: str, found: dict[str, Any]) -> None:
    """Note how one value becomes another."""
    if not diff({"value": old}, {"value": new}):
        return
    if isinstance(old, Mapping) and isinstance(new, Mapping) and not is_other_kind(old, new, at):
        _compare(old, new, at, found)
    elif isinstance(old, (list, tuple)) and isinstance(new, (list, tuple)) and len(old) == len(new):
        inside: dict[str, Any] = {}
        for n, (before, after) in enumerate(zip(old, new, strict=True)):
            _replace(before, after, join(at, n), inside)
        # Nothing can be removed inside a list: there None would be a value.
        found |= {at: copy.deepcopy(new)} if None in inside.values() else inside
    else:
        found[at] = copy.deepcopy(new)


def fitted(patch: Mapping[str, Any], written: Mapping[str, Any], complete: Mapping[str, Any]) -> dict[str, Any]:
    """Return a patch whose paths into lists exist in what is written; a list that only defaults give is given whole.

    `complete` is the same configuration with every default filled in; it is where people read the paths.
    """
    good: dict[str, Any] = {}
    for given, value in patch.items():
        flat, path = _PARAMS.fullmatch(given), given
        if flat and lookup(written, f"{flat[1]}.params", _ABSENT) is _ABSENT:
            path = f"{flat[1]}{flat[2]}"
        head = path.split("[")[0]
        whole = good.get(head, lookup(complete, head))
        if head == path or (head not in good and _fits(path, value, written)) or not isinstance(whole, list):
            good[path] = value
            continue
        changed = {"list": copy.deepcopy(whole)}
        try:
            assign(changed, f"list{given[given.index('[') :]}", value)
        except ConfigError:
            good[path] = value  # the merge says what is wrong with it
        else:
            good[head] = changed["list"]
    return good


def _fits(path: str, value: Any, written: Mapping[str, Any]) -> bool:
    try:
        assign(copy.deepcopy(dict(written)), path, value)
    except ConfigError:
        return False
    return True
