"""Documents: found in the workspace or the shipped library, merged, validated and frozen, with all findings at once."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from importlib import resources
from pathlib import Path
from types import MappingProxyType
from typing import Any

from stratnb.errors import ConfigError, Finding, nearest
from stratnb.model import Market
from stratnb.strategy.checks import check, check_market
from stratnb.strategy.config import StrategyConfig
from stratnb.strategy.faults import fault, shown
from stratnb.strategy.layers import NAME, Document, Layers, in_order
from stratnb.strategy.merge import Explanation, Provenance, merge_layers
from stratnb.strategy.parsing import parse, plain, read_file
from stratnb.strategy.reading import Parts, read
from stratnb.strategy.removals import check_removals

__all__ = [
    "Document",
    "LoadedStrategy",
    "beneath",
    "build_config",
    "library",
    "load_base",
    "load_document",
    "names",
    "unreadable",
    "validate",
]


@dataclass(frozen=True)
class LoadedStrategy:
    """A valid configuration with the document it comes from, the source of every leaf, and the warnings.

    `merged` is what the layers said together, before the blocks filled in their defaults, and `layered` who said it.
    """

    config: StrategyConfig
    document: Mapping[str, Any]
    layered: Provenance
    findings: tuple[Finding, ...] = ()
    source: str = ""
    merged: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def complete(self) -> Mapping[str, Any]:
        """Return the document with every default filled in; it is not to be changed."""
        return MappingProxyType(self.config.to_document())

    @cached_property
    def provenance(self) -> Provenance:
        """Return the source of every leaf of the complete document."""
        return self.layered.filled(self.config.to_document())

    def again(self) -> LoadedStrategy:
        """Return the same strategy read with the blocks as they are defined now; faults raise `ConfigError`."""
        return replace(self, config=validate(self.merged), layered=self.provenance)

    def explain(self, path: str) -> Explanation:
        """Return value, source and previous values of a path of the configuration."""
        return self.provenance.explain(path)


def library() -> tuple[str, ...]:
    """Return the names of the shipped documents, sorted."""
    folder = resources.files("stratnb.strategy") / "library"
    return tuple(sorted(item.name.removesuffix(".json") for item in folder.iterdir() if item.name.endswith(".json")))


def names(folder: Path | None = None) -> tuple[str, ...]:
    """Return the names that `load_document` finds: those of the workspace folder and the shipped ones."""
    own = [path.stem for path in folder.glob("*.json") if NAME.fullmatch(path.stem)] if folder else []
    return tuple(sorted({*own, *library()}))


def load_document(document: str | Path | Mapping[str, Any], *, folder: Path | str | None = None) -> Document:
    """Return a document by name, path or mapping; `folder` is the workspace's strategies folder.

    A text with a path separator or the ending .json is a path, any other a name. Raises
    `ConfigError("unknown_document")` or `ConfigError("file_missing")`, with near names.
    """
    folder = Path(folder) if folder is not None else None
    if not isinstance(document, str | Path | Mapping):
        hint = f"give a name ({', '.join(library())}), a path or a document"
        raise ConfigError("type", f"a strategy is not {type(document).__name__}", value=document, hint=hint)
    if isinstance(document, Mapping):
        mapping, findings = plain(document)
        return _document(mapping, findings, "document", folder)
    if isinstance(document, Path) or document.endswith(".json") or re.search(r"[/\\]", document):
        return _from_file(Path(document), folder)
    return _by_name(document, folder)


def load_base(path: Path | str) -> dict[str, Any]:
    """Return the base layer of a workspace, empty when the file is absent; faults raise `ConfigError`."""
    path = Path(path)
    if not path.exists():
        return {}
    mapping, findings = read_file(path)
    _raise(path.name, [replace(finding, source=path.name) for finding in findings])
    return mapping


def build_config(
    document: str | Path | Mapping[str, Any] | Document,
    *,
    base: Mapping[str, Any] | None = None,
    overrides: Mapping[str, Any] | None = None,
    symbol: str | None = None,
    market: Market | None = None,
    folder: Path | str | None = None,
) -> LoadedStrategy:
    """Return the merged, validated and frozen strategy: default < base < document < overrides < symbol.

    Every fault is collected before `ConfigError("config_invalid")` is raised with all of them in document order;
    warnings are returned. `market` fixes kind and symbol where the document leaves them open.
    """
    loaded = document if isinstance(document, Document) else load_document(document, folder=folder)
    if not isinstance(overrides, Mapping | None):
        hint = "write {'exits.stop_loss.multiple': 2.0}"
        raise ConfigError(
            "type", f"overrides are a mapping of paths to values, not {overrides!r}", value=overrides, hint=hint
        )
    layers = Layers(
        loaded, base or {}, overrides or {}, symbol or (market.symbol if market else None), market, _by_name
    )
    _raise_unread(loaded)
    config, provenance = merge_layers(layers.ordered())
    if layers.extended:
        config.pop("extends", None)
    parts = read(config)
    found = [*layers.findings, *check_removals(provenance, config), *parts.findings, *check(parts)]
    if market is not None:
        found += check_market(parts, market)
    findings = layers.told(found, config)
    _raise(loaded.name or loaded.source, findings)
    document, merged = MappingProxyType(dict(loaded.mapping)), MappingProxyType(config)
    return LoadedStrategy(_assembled(parts), document, provenance, findings, loaded.source, merged)


def beneath(
    document: Mapping[str, Any],
    *,
    base: Mapping[str, Any],
    symbol: str | None = None,
    market: Market | None = None,
    folder: Path | str | None = None,
) -> dict[str, Any]:
    """Return what base, extended documents and document say together for a symbol, before any override."""
    layers = Layers(load_document(document, folder=folder), base, {}, symbol, market, _by_name)
    merged, _ = merge_layers(layers.ordered())
    if layers.extended:
        merged.pop("extends", None)
    return merged


def unreadable(
    document: str | Path | Mapping[str, Any],
    *,
    overrides: Mapping[str, Any],
    symbol: str | None = None,
    market: Market | None = None,
) -> list[Finding]:
    """Return what the fields of a document with overrides refuse, each for itself; what must fit together is not asked.

    Paths of overrides that lead nowhere are left out, as `build_config` tells them.
    """
    layers = Layers(load_document(document), {}, overrides, symbol, market, _by_name)
    merged, _ = merge_layers(layers.ordered())
    return [finding for finding in read(merged).findings if finding.severity == "error"]


def validate(document: Mapping[str, Any]) -> StrategyConfig:
    """Return the configuration of a complete document without merging anything; faults raise `ConfigError`."""
    mapping, findings = plain(document)
    parts = read(mapping)
    found = [*findings, *parts.findings, *check(parts)]
    _raise(str(mapping.get("name", "document")), in_order(found, [mapping]))
    return _assembled(parts)


def _document(mapping: dict[str, Any], findings: list[Finding], source: str, folder: Path | None) -> Document:
    told = tuple(replace(finding, source=source) for finding in findings)
    return Document(MappingProxyType(mapping), source, folder, told)


def _from_file(path: Path, folder: Path | None) -> Document:
    """Return the document of a file, whose stem must be its name."""
    try:
        mapping, findings = read_file(path)
    except ConfigError as error:
        near = nearest(path.stem, [other.stem for other in path.parent.glob("*.json")] if path.parent.is_dir() else [])
        if near:
            error.hint = f"did you mean {' or '.join(repr(f'{word}.json') for word in near)}?"
        raise
    return _document(mapping, _misnamed(mapping, findings, path.stem), path.name, folder or path.parent)


def _misnamed(mapping: dict[str, Any], findings: list[Finding], stem: str) -> list[Finding]:
    name = mapping.get("name")
    if not isinstance(name, str) or name == stem:
        return findings
    message = f"{shown(name)} is not the name of the file, {stem!r}"
    return [*findings, fault("name", "name_mismatch", message, name, "rename the file or the document")]


def _by_name(name: str, folder: Path | None) -> Document:
    """Return the workspace's document of a name, else the shipped one."""
    shipped = library()
    own = folder / f"{name}.json" if folder and NAME.fullmatch(name) else None
    if own is not None and own.is_file():
        document = _from_file(own, folder)
        if name in shipped:
            message = f"{name!r} hides the shipped document of that name"
            info = Finding("name", "shadows_shipped", message, name, "rename it to use both", own.name, "warning")
            document = replace(document, findings=(*document.findings, info))
        return document
    if name not in shipped:
        close = nearest(name, names(folder))
        hint = f"did you mean {' or '.join(map(repr, close))}?" if close else f"known: {', '.join(names(folder))}"
        raise ConfigError("unknown_document", f"there is no strategy {shown(name)}", value=name, hint=hint)
    content = (resources.files("stratnb.strategy") / "library" / f"{name}.json").read_bytes()
    mapping, findings = parse(content)
    return _document(mapping, findings, f"{name}.json", folder)


def _raise_unread(document: Document) -> None:
    """Raise when the text gave no object at all: what such a document lacks is not its fault."""
    if not document.mapping:
        _raise(document.source, document.findings)


def _raise(name: str, findings: list[Finding] | tuple[Finding, ...]) -> None:
    """Raise all findings when one of them is an error."""
    errors = sum(finding.severity == "error" for finding in findings)
    if errors:
        message = f"strategy {shown(name)} has {errors} error{'s' if errors > 1 else ''}"
        raise ConfigError(
            "config_invalid", message, value=name, hint="correct them all, then try again", findings=findings
        )


def _assembled(parts: Parts) -> StrategyConfig:
    """Return the frozen configuration of faultless parts."""
    assert parts.header and parts.sizing, "faultless parts are complete"
    sections = {
        name: getattr(parts, name)
        for name in (
            "market", "timeframes", "entry", "refine", "risk", "execution", "capital", "state",
            "evidence", "sizing", "indicators", "filters", "exits", "extra",
        )
    }  # fmt: skip
    return StrategyConfig(**dict(parts.header), **sections, analyzers=tuple(parts.analyzers.values()))
