"""The one merge of configurations, default < base < strategy < override, with the source of every leaf."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, TypeAlias, get_args

from stratnb.errors import ConfigError, nearest
from stratnb.strategy.paths import assign, leaves, lookup, steps

__all__ = ["Explanation", "Provenance", "Source", "diff", "expand", "is_other_kind", "merge", "merge_layers"]

Source = Literal["default", "base", "strategy", "override"]
SOURCES: tuple[Source, ...] = get_args(Source)
Document: TypeAlias = "Mapping[str, Any]"

_NAMED = ("indicators", "filters", "exits")
_ABSENT = object()


@dataclass(frozen=True, slots=True)
class Explanation:
    """A value, the layer it comes from, and what the layers below it had said, the lowest first."""

    path: str
    value: Any
    source: Source
    previous: tuple[tuple[Source, Any], ...]


@dataclass
class _Trail:
    """What each layer wrote to each leaf, what is removed at present, was written whole, and removed from nowhere."""

    history: dict[str, list[tuple[Source, Any]]] = field(default_factory=dict)
    removed: dict[str, Source] = field(default_factory=dict)
    written: tuple[str, ...] = ()
    missed: dict[str, Source] = field(default_factory=dict)

    def write(self, path: str, value: Any, source: Source) -> None:
        """Note a value and who wrote it."""
        for at, leaf in leaves(value, path):
            self.history.setdefault(at, []).append((source, leaf))
        if source != "default":
            self.removed.pop(path, None)

    def remove(self, path: str, old: Any, source: Source) -> None:
        """Note a value that null took away, and who wrote the null."""
        for at, _ in leaves(old, path) if old is not _ABSENT else ():
            self.history.setdefault(at, []).append((source, None))
        if old is _ABSENT:
            self.missed[path] = source
        self.removed[path] = source
        self.history.setdefault(path, [(source, None)])


class Provenance(Mapping[str, Source]):
    """The source of every leaf by path; `removed` tells which layer took a path away by `null`.

    A removed path without a default is listed with the layer that removed it; `missed` are those where nothing was.
    """

    def __init__(self, config: Document, trail: _Trail) -> None:
        self._config = config
        self._history = trail.history
        self.removed: Mapping[str, Source] = dict(trail.removed)
        self.missed: Mapping[str, Source] = dict(trail.missed)
        self._written = trail.written

    @cached_property
    def _sources(self) -> dict[str, Source]:
        """Return the sources by path; they are put together when one is asked for."""
        config, history = self._config, self._history
        found = {path: history[path][-1][0] for path, _ in leaves(config) if path in history}
        gone = {path: source for path, source in self.removed.items() if lookup(config, path, _ABSENT) is _ABSENT}
        whole = {path: history[path][-1][0] for path in self._written if path not in found}
        return {**whole, **found, **gone}

    def __getitem__(self, path: str) -> Source:
        """Return the source of a leaf."""
        return self._sources[path]

    def __iter__(self) -> Iterator[str]:
        """Iterate over the paths."""
        return iter(self._sources)

    def __len__(self) -> int:
        """Return the number of leaves."""
        return len(self._sources)

    def filled(self, document: Document) -> Provenance:
        """Return the provenance of a complete document: leaves that no layer wrote come from the defaults.

        Parameters that were written beside `kind` are found under `params` of the complete document. A block that was
        written empty keeps its entry beside those of its parameters.
        """
        empty = tuple(path for path in self._sources if isinstance(lookup(document, path), (Mapping, list)))
        trail = _Trail({path: self._history[path] for path in empty}, dict(self.removed), empty)
        for path, value in leaves(document):
            flat = re.sub(r"^(analyzers\[\d+\])\.params\.", r"\1.", path)
            known = next((at for at in (path, flat) if at in self._sources), None)
            trail.history[path] = self._history[known][:] if known else [("default", value)]
            if known and self.removed.get(known):
                trail.history[path].append(("default", value))
        for path in self.removed:
            trail.history.setdefault(path, self._history.get(path, []))
        return Provenance(document, trail)

    def explain(self, path: str) -> Explanation:
        """Return value, source and previous values of a path, or raise `ConfigError("unknown_path")`."""
        value = lookup(self._config, path, _ABSENT)
        if path in self._sources:
            steps_ = self._history[path]
            return Explanation(path, None if value is _ABSENT else value, self._sources[path], tuple(steps_[:-1]))
        if value is _ABSENT:
            close = nearest(path, self._sources)
            hint = f"did you mean {' or '.join(map(repr, close))}?" if close else "list(provenance) names every path"
            raise ConfigError("unknown_path", f"no such path {path!r}", value=path, hint=hint)
        below = [source for at, source in self._sources.items() if at.startswith((f"{path}.", f"{path}["))]
        return Explanation(path, value, max(below, key=SOURCES.index, default="default"), ())


def merge(
    default: Document, base: Document, strategy: Document, override: Document
) -> tuple[dict[str, Any], Provenance]:
    """Return the merged configuration and the source of each leaf; the inputs are never changed.

    Mappings merge, lists and scalars replace, null removes (the default, if any, applies again), a block of another
    `kind` replaces the whole mapping. Under `risk` a null is kept: it switches the rule off. The override may use
    dotted paths; one with an index reaches into a list.

    >>> merge({"a": 1}, {"exits": {"stop_loss": {"multiple": 2}}}, {}, {"exits.stop_loss.multiple": 1.5})[0]
    {'a': 1, 'exits': {'stop_loss': {'multiple': 1.5}}}
    """
    return merge_layers(list(zip(SOURCES, (default, base, strategy, override), strict=True)))


def merge_layers(layers: Sequence[tuple[Source, Document]]) -> tuple[dict[str, Any], Provenance]:
    """Merge any number of layers, the lowest first; several may share a source."""
    trail = _Trail()
    config: dict[str, Any] = {}
    default: dict[str, Any] = {}
    for source, layer in layers:
        nested, inside = expand(layer) if source == "override" else (layer, [])
        config = _Overlay(source, trail).apply(config, nested, default, "")
        for path, value in inside:
            assign(config, path, copy.deepcopy(value))
            trail.write(path, value, source)
        if source == "default":
            default = copy.deepcopy(config)
    return config, Provenance(config, trail)


@dataclass(frozen=True)
class _Overlay:
    """One layer being laid over the configuration below it."""

    source: Source
    trail: _Trail

    def apply(self, old: Document, new: Document, default: Document, path: str) -> dict[str, Any]:
        """Return a new mapping: `new` over `old`, with `default` for what null removes."""
        result = dict(old)
        for key, value in new.items():
            at = f"{path}.{key}" if path else str(key)
            if value is None and not _keeps_null(at):
                self._remove(result, key, default, at)
            elif isinstance(value, Mapping):
                result[key] = self._block(result.get(key), value, default.get(key), at)
            else:
                self._clear(result.get(key), at)
                result[key] = copy.deepcopy(value)
                self.trail.write(at, value, self.source)
        return result

    def _remove(self, result: dict[str, Any], key: str, default: Document, at: str) -> None:
        self.trail.remove(at, result.pop(key, _ABSENT), self.source)
        if key in default:
            result[key] = copy.deepcopy(default[key])
            self.trail.write(at, default[key], "default")

    def _block(self, old: Any, new: Document, default: Any, at: str) -> dict[str, Any]:
        if not isinstance(old, Mapping) or is_other_kind(old, new, at):
            self._clear(old, at)
            old = {}
        base = default if isinstance(default, Mapping) and not is_other_kind(default, {**old, **new}, at) else {}
        result = self.apply(old, new, base, at)
        if not result:
            self.trail.write(at, {}, self.source)
        self.trail.removed.pop(at, None)
        return result

    def _clear(self, old: Any, at: str) -> None:
        """Note that the leaves below a replaced value are gone."""
        if isinstance(old, (Mapping, list)):
            for path, _ in leaves(old, at):
                self.trail.history.setdefault(path, []).append((self.source, None))


def _keeps_null(path: str) -> bool:
    """Tell whether null is a value there: a risk rule switched off."""
    return path.startswith("risk.")


def is_other_kind(old: Document, new: Document, path: str) -> bool:
    """Tell whether `new` names another kind of block than `old`; a named block's kind defaults to its key."""
    section, _, key = path.partition(".")
    if section == "market" or not isinstance(new.get("kind"), str) or not old:
        return False
    default = key if section in _NAMED and "." not in key else new["kind"]
    return bool(old.get("kind", default) != new["kind"])


def expand(override: Document) -> tuple[dict[str, Any], list[tuple[str, Any]]]:
    """Return dotted keys as nested mappings, and apart from them the paths with an index.

    >>> expand({"entry.mode": "vote", "analyzers[0].weight": 0.5})
    ({'entry': {'mode': 'vote'}}, [('analyzers[0].weight', 0.5)])
    """
    nested: dict[str, Any] = {}
    inside: list[tuple[str, Any]] = []
    for key, value in override.items():
        way = steps(key)
        if any(isinstance(step, int) for step in way):
            inside.append((key, value))
            continue
        part = value
        for step in reversed(way):
            part = {str(step): part}
        nested = _joined(nested, part)
    return nested, inside


def _joined(old: dict[str, Any], new: Document) -> dict[str, Any]:
    """Return two override parts as one; the later wins, null is kept for the merge."""
    result = dict(old)
    for key, value in new.items():
        before = result.get(key)
        result[key] = _joined(before, value) if isinstance(before, dict) and isinstance(value, Mapping) else value
    return result


def diff(a: Any, b: Any) -> list[tuple[str, Any, Any]]:
    """Return (path, before, after) of every leaf that differs, lists by index; None stands for absent.

    >>> diff({"entry": {"mode": "vote"}}, {"entry": {"mode": "weighted"}})
    [('entry.mode', 'vote', 'weighted')]
    """
    before, after = dict(leaves(a)), dict(leaves(b))
    paths = [*before, *(path for path in after if path not in before)]
    return [
        (path, before.get(path), after.get(path))
        for path in paths
        if not _same(before.get(path, _ABSENT), after.get(path, _ABSENT))
    ]


def _same(a: Any, b: Any) -> bool:
    """Tell whether two leaves are equal; true is not 1."""
    return bool(a == b) and isinstance(a, bool) == isinstance(b, bool)
