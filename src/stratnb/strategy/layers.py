"""Layers: the default, base, extended documents, the document and the overrides of one configuration."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from stratnb.errors import ConfigError, Finding
from stratnb.model import Market
from stratnb.strategy.config import SCHEMA
from stratnb.strategy.faults import fault, shown
from stratnb.strategy.merge import Source, expand, merge_layers
from stratnb.strategy.parsing import plain
from stratnb.strategy.paths import assign, lookup, nodes, steps

__all__ = ["NAME", "Document", "Layers", "in_order"]

MAX_EXTENDS = 3
NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,47}")
_OWN = frozenset({"schema", "name", "title", "extends", "evidence"})
_ABSENT = object()


@dataclass(frozen=True)
class Document:
    """A parsed document, its label for messages, and the faults found while parsing."""

    mapping: Mapping[str, Any]
    source: str
    folder: Path | None = None
    findings: tuple[Finding, ...] = ()

    @property
    def name(self) -> str:
        """Return the written name, or an empty text."""
        name = self.mapping.get("name")
        return name if isinstance(name, str) else ""


@dataclass
class Layers:
    """The layers of one configuration, checked one by one, with labels for the messages."""

    document: Document
    base: Mapping[str, Any]
    overrides: Mapping[str, Any]
    symbol: str | None
    market: Market | None
    by_name: Callable[[str, Path | None], Document]
    findings: list[Finding] = field(default_factory=list)
    extended: list[Document] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Make plain copies of the layers and collect what is wrong with each."""
        self.findings += self.document.findings
        self.base, faults = plain(self.base)
        if self.base.get("schema", SCHEMA) != SCHEMA:
            faults.append(
                fault("schema", "schema_version", f"{shown(self.base['schema'])} cannot be read", self.base["schema"])
            )
        self.findings += [replace(finding, source="base") for finding in faults]
        self.extended = self._chain()
        self.overrides = self._checked_overrides()

    def ordered(self) -> list[tuple[Source, Mapping[str, Any]]]:
        """Return the layers, the lowest first."""
        lower = self._lower()
        symbol: list[tuple[Source, Mapping[str, Any]]] = []
        if self.symbol is not None:
            symbol = [("override", {"market": {"symbol": self.symbol}})]
        return [*lower, ("override", self.overrides), *symbol]

    def told(self, findings: list[Finding], merged: Mapping[str, Any]) -> tuple[Finding, ...]:
        """Return the findings with their sources, errors first, in document order."""
        if not findings:
            return ()
        override, inside = expand(self.overrides)
        flat = dict(inside)
        layers = [("override", override), (self.document.source, self.document.mapping)]
        layers += [(document.source, document.mapping) for document in self.extended] + [("base", self.base)]
        named = []
        for finding in findings:
            source = "override" if any(finding.path.startswith(path) for path in flat) else None
            source = source or next((label for label, layer in layers if _reaches(layer, finding.path)), None)
            named.append(finding if finding.source else replace(finding, source=source or self.document.source))
        return in_order(named, [self.document.mapping, override, merged])

    def _lower(self) -> list[tuple[Source, Mapping[str, Any]]]:
        default: dict[str, Any] = {"sizing": {"kind": "fixed_fraction"}}
        if self.market is not None:
            default["market"] = {"kind": self.market.kind}
        layers: list[tuple[Source, Mapping[str, Any]]] = [("default", default), ("base", _inherited(self.base))]
        layers += [("base", _inherited(document.mapping)) for document in reversed(self.extended)]
        return [*layers, ("strategy", self.document.mapping)]

    def _chain(self) -> list[Document]:
        """Return the documents that this one extends, the nearest first."""
        chain: list[Document] = []
        seen, wanted = [self.document.name], self.document.mapping.get("extends")
        while isinstance(wanted, str) and NAME.fullmatch(wanted):
            if wanted in seen:
                way = " -> ".join([*seen, wanted])
                self.findings.append(
                    fault(
                        "extends",
                        "extends_cycle",
                        f"the documents extend each other: {way}",
                        wanted,
                        "remove one of them",
                    )
                )
                break
            if len(chain) == MAX_EXTENDS:
                message = f"{shown(wanted)} would be level {len(chain) + 1} of the chain"
                self.findings.append(
                    fault("extends", "extends_depth", message, wanted, f"at most {MAX_EXTENDS} are read")
                )
                break
            try:
                found = self.by_name(wanted, self.document.folder)
            except ConfigError as error:
                self.findings.append(fault("extends", "file_missing", error.message, wanted, error.hint))
                break
            self.findings += [finding for finding in found.findings if finding.severity == "error"]
            chain.append(found)
            seen.append(wanted)
            wanted = found.mapping.get("extends")
        return chain

    def _checked_overrides(self) -> dict[str, Any]:
        """Return the overrides whose paths can be applied."""
        copied, faults = plain(self.overrides)
        good: dict[str, Any] = {}
        inside: dict[str, Any] = {}
        for path, value in copied.items():
            try:
                (inside if any(isinstance(step, int) for step in steps(path)) else good)[path] = value
            except ConfigError as error:
                faults.append(fault(path, error.code, error.message, value, error.hint))
        below = merge_layers([*self._lower(), ("override", good)])[0] if inside else {}
        for path, value in inside.items():
            try:
                assign(below, path, value)
                good[path] = value
            except ConfigError as error:
                faults.append(fault(path, error.code, error.message, value, error.hint))
        self.findings += [replace(finding, source="override") for finding in faults]
        return good


def _inherited(mapping: Mapping[str, Any]) -> dict[str, Any]:
    """Return a layer without what belongs to its own document alone."""
    return {key: value for key, value in mapping.items() if key not in _OWN}


def _reaches(layer: Mapping[str, Any], path: str) -> bool:
    return bool(path) and lookup(layer, path, _ABSENT) is not _ABSENT


def in_order(findings: list[Finding], documents: list[Mapping[str, Any]]) -> tuple[Finding, ...]:
    """Return the findings, errors first, in the order of the documents."""
    if len(findings) < 2:
        return tuple(findings)
    order: dict[str, int] = {"": -1}
    for document in documents:
        for path in nodes(document):
            order.setdefault(path, len(order))

    def place(finding: Finding) -> tuple[bool, int]:
        """Return errors before warnings, then the place of the nearest known ancestor."""
        path = finding.path
        while path not in order:
            path = path[: max(path.rfind("."), path.rfind("["), 0)]
        known = path or not finding.path
        return finding.severity != "error", order[path] if known else len(order)

    return tuple(sorted(findings, key=place))
