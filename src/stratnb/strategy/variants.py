"""Variants: plans of one strategy with other values at some paths, each as if built from its own document."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stratnb.errors import ConfigError, Finding
from stratnb.model import Market
from stratnb.strategy.alike import Alike
from stratnb.strategy.build import build_plan
from stratnb.strategy.checks import check, check_market
from stratnb.strategy.config import FrozenMap, StrategyConfig, canonical
from stratnb.strategy.documents import LoadedStrategy, build_config
from stratnb.strategy.faults import shown
from stratnb.strategy.memo import Memo
from stratnb.strategy.overrides import fitted
from stratnb.strategy.paths import lookup, steps
from stratnb.strategy.plan import Plan
from stratnb.strategy.reading import Parts, read, read_spot, without_ignored

__all__ = ["Variants", "reasons"]

NAMED = ("indicators", "filters", "exits")
WHOLE = ("entry", "refine", "risk", "execution", "capital", "state", "sizing")
FRAMES, READS = 64, 20_000
_ABSENT = object()

Spot = tuple[str, str | int]


@dataclass(frozen=True)
class _Frame:
    """A strategy that was built from its document, in which single numbers and words can be replaced."""

    loaded: LoadedStrategy
    parts: Parts
    document: Mapping[str, Any]
    spots: Mapping[Spot, tuple[tuple[int, tuple[str | int, ...]], ...]]
    alike: Alike
    reads: dict[tuple[Spot, str], Parts]


class Variants:
    """Builds the plans of a strategy for other values at given paths of its document.

    `values[k]` goes to `paths[k]`, merged over `overrides` as an override is. Where only numbers and words change that
    are written in the document, the blocks and rules that they touch are read and checked again and the rest is taken
    over; everything else is built from its document. `market` is fixed, or found for a `kind` by `market_for`.
    """

    def __init__(
        self,
        document: str | Path | Mapping[str, Any],
        paths: Sequence[str],
        *,
        symbol: str,
        base: str,
        market: Market | None = None,
        market_for: Callable[[str], Market] | None = None,
        overrides: Mapping[str, Any] | None = None,
    ) -> None:
        self.document, self.paths, self.overrides = document, tuple(paths), dict(overrides or {})
        self.symbol, self.market, self.timeframe, self.market_for = symbol, market, base, market_for
        self.memo = Memo()
        self.loaded = self._load({})
        self.complete = self.loaded.config.to_document()
        self._frames: dict[str, _Frame | None] = {}
        self._loose = [k for k, path in enumerate(self.paths) if self._is_loose(path)]

    def patch(self, values: Sequence[Any]) -> dict[str, Any]:
        """Return the overrides that put the values in their places, over those of all variants."""
        return self.overrides | fitted(dict(zip(self.paths, values, strict=True)), self.loaded.merged, self.complete)

    def plan(self, values: Sequence[Any]) -> Plan:
        """Return the plan for the values, or raise the `ConfigError` that building it from its document raises."""
        loose = [k for k in self._loose if _is_scalar(values[k])]
        key = canonical({str(k): value for k, value in enumerate(values) if k not in loose})
        if key not in self._frames:
            if len(self._frames) >= FRAMES:
                self._frames.pop(next(iter(self._frames)))
            self._frames[key] = self._framed(values, loose)
        frame = self._frames[key]
        if frame is None:
            return self._built(values)
        parts, findings = self._parts(frame, values)
        errors = [finding for finding in findings if finding.severity == "error"]
        if len(errors) > 1:
            return self._built(values)  # it brings them in the order of the document
        if errors:
            text = f"strategy {shown(frame.loaded.config.name)} has 1 error"
            raise ConfigError("config_invalid", text, value=frame.loaded.config.name, findings=errors)
        touched = {section for section, _ in frame.spots}
        config = _assembled(frame.loaded.config, parts, touched)
        plan = frame.alike.plan(config, touched)
        return plan or build_plan(config, frame.alike.base.market, base=self.timeframe, memo=self.memo)

    def _built(self, values: Sequence[Any]) -> Plan:
        """Return the plan from the whole document."""
        loaded = self._load(self.patch(values))
        return build_plan(loaded.config, self._market(loaded), base=self.timeframe, memo=self.memo)

    def _load(self, patch: Mapping[str, Any]) -> LoadedStrategy:
        overrides = {**self.overrides, **patch}
        return build_config(self.document, overrides=overrides, symbol=self.symbol, market=self.market)

    def _market(self, loaded: LoadedStrategy) -> Market:
        if self.market is not None:
            return self.market
        assert self.market_for is not None, "either is given"
        return self.market_for(loaded.config.market.kind)

    def _is_loose(self, path: str) -> bool:
        """Tell whether a scalar at a path touches one block or section only."""
        way = steps(path)
        deep = len(way) >= 3 if way[0] in (*NAMED, "analyzers") else len(way) >= 2 and way[0] in WHOLE
        others = [other for other in self.paths if other != path]
        nested = any(a.startswith((f"{b}.", f"{b}[")) for o in others for a, b in ((path, o), (o, path)))
        return deep and way[-1] != "kind" and not nested and self.paths.count(path) == 1

    def _framed(self, values: Sequence[Any], loose: Sequence[int]) -> _Frame | None:
        """Return a frame for all variants that differ in the loose places only, None where none can be made."""
        own = [lookup(self.complete, path) for path in self.paths]
        usual = [o if k in loose and _is_scalar(o) else v for k, (o, v) in enumerate(zip(own, values, strict=True))]
        for tried in (usual, values):
            try:
                loaded = self._load(self.patch(tried))
                plan = build_plan(loaded.config, self._market(loaded), base=self.timeframe, memo=self.memo)
            except ConfigError:
                continue
            document, _ = without_ignored(loaded.merged)
            spots = _spots(document, self.paths, loose)
            if spots is not None:
                return _Frame(loaded, read(loaded.merged), document, spots, Alike(plan, self.memo), {})
        return None

    def _parts(self, frame: _Frame, values: Sequence[Any]) -> tuple[Parts, list[Finding]]:
        """Return the parts of a variant, and what is wrong with them."""
        parts, touched = copy.copy(frame.parts), set()
        parts.findings = []
        for spot, places in frame.spots.items():
            section, key = spot
            known = (spot, repr([values[k] for k, _ in places]))
            found = frame.reads.get(known)
            if found is None:
                if len(frame.reads) >= READS:
                    frame.reads.clear()
                found = frame.reads[known] = _read(frame.document, spot, [(way, values[k]) for k, way in places])
            touched.add(section)
            parts.findings += found.findings
            if section == "analyzers":
                parts.analyzers = _merged(parts.analyzers, int(key), found.analyzers)
            elif section in NAMED:
                setattr(parts, section, _merged(getattr(parts, section), str(key), getattr(found, section)))
            else:
                setattr(parts, section, getattr(found, section))
        findings = [*parts.findings, *check(parts, touched)]
        if self.market is not None and "execution" in touched:
            findings += check_market(parts, self.market)
        return parts, findings


def reasons(error: ConfigError) -> str:
    """Return why a variant was refused, on one line."""
    faults = [str(finding) for finding in error.findings if finding.severity == "error"]
    return "; ".join(faults) or (f"{error.message}; {error.hint}" if error.hint else error.message)


def _is_scalar(value: object) -> bool:
    return isinstance(value, (bool, int, float, str))


def _merged(items: Mapping[Any, Any], key: str | int, found: Mapping[Any, Any]) -> dict[Any, Any]:
    return {**items, **found} if found else {name: item for name, item in items.items() if name != key}


def _spots(
    document: Mapping[str, Any], paths: Sequence[str], loose: Sequence[int]
) -> dict[Spot, tuple[tuple[int, tuple[str | int, ...]], ...]] | None:
    """Return the loose places by block or section, None where one of them is not written in the document."""
    found: dict[Spot, tuple[tuple[int, tuple[str | int, ...]], ...]] = {}
    for k in loose:
        path = next((at for at in (paths[k], paths[k].replace("].params.", "].")) if _has_scalar(document, at)), None)
        if path is None:
            return None
        section, *way = steps(path)
        spot: Spot = (str(section), way.pop(0) if section in (*NAMED, "analyzers") else "")
        found[spot] = (*found.get(spot, ()), (k, tuple(way)))
    return found


def _has_scalar(document: Mapping[str, Any], path: str) -> bool:
    return _is_scalar(lookup(document, path, _ABSENT))


def _read(document: Mapping[str, Any], spot: Spot, values: Sequence[tuple[tuple[str | int, ...], Any]]) -> Parts:
    """Return the parts of one block or section with values in their places."""
    section, key = spot
    named = section in (*NAMED, "analyzers")
    changed: Any = document[section]
    for way, value in values:
        changed = _replaced(changed, (key, *way) if named else way, value)
    parts = Parts()
    read_spot(section, key, {section: changed}, parts)
    return parts


def _replaced(value: Any, way: Sequence[str | int], new: Any) -> Any:
    """Return nested dicts and lists with another value at one place; only those on the way are copied."""
    if not way:
        return new
    held: Any = value[:] if isinstance(value, list) else dict(value)
    held[way[0]] = _replaced(held[way[0]], way[1:], new)
    return held


def _assembled(base: StrategyConfig, parts: Parts, touched: set[str]) -> StrategyConfig:
    """Return the base configuration with the touched sections of valid parts."""
    config = base.model_copy()
    held = config.__dict__
    held.pop("config_hash", None)
    for section in touched:
        if section == "analyzers":
            held[section] = tuple(parts.analyzers.values())
        else:
            found = getattr(parts, section)
            held[section] = FrozenMap(found) if section in NAMED else found
    return config
