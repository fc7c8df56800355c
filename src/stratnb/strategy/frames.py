"""A frame: a strategy that was built from its document, in which single numbers and words can be replaced."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from stratnb.blocks.base import Block, Filter, Ref, Sizing
from stratnb.errors import ConfigError, Finding
from stratnb.model import Market
from stratnb.strategy.alike import Alike, Change
from stratnb.strategy.build import build_plan
from stratnb.strategy.checks import check, check_market
from stratnb.strategy.column_checks import MAX_WARMUP
from stratnb.strategy.config import AnalyzerEntry, FrozenMap, IndicatorEntry, StrategyConfig
from stratnb.strategy.documents import LoadedStrategy
from stratnb.strategy.faults import shown
from stratnb.strategy.memo import Memo
from stratnb.strategy.placed import NAMED, Places, Spot, read_placed
from stratnb.strategy.plan import Floats, Plan
from stratnb.strategy.reading import Parts, read

__all__ = ["Frame"]

READS: Final = 20_000
SETTINGS: Final = 1_024
COUNTED: Final = frozenset(
    {"entry", "risk", "execution", "capital", "sizing", "analyzers"}
)  # in the settings of a plan


@dataclass(frozen=True, slots=True, eq=False)
class _Choice:
    """One spot, or all exits, with some values in their places, by itself.

    `outline` is equal where the rules between the parts find the same, but for those of warm-ups.
    """

    section: str
    parts: tuple[tuple[Spot, Parts], ...]
    faults: tuple[Finding, ...]
    item: Any
    outline: int
    change: Change | None


@dataclass(slots=True)
class _Unit:
    """The spots that are read together, the numbers of their paths, and what was read of them."""

    spots: tuple[tuple[Spot, Places], ...]
    paths: tuple[int, ...]
    choices: dict[str, _Choice] = field(default_factory=dict)

    @property
    def section(self) -> str:
        """Return the section."""
        return self.spots[0][0][0]


class Frame:
    """The plans of a strategy with other scalars in some spots of its document, everything else as it is there.

    `document` is that of `loaded` without `x_` keys, `plan` its plan for candles of the timeframe `base`; the terms of
    a `fixed` market are checked.

    What the values of one spot give is read once. Of each combination the rules between the parts are asked, once for
    all that look the same to them; then the numbers are laid into a copy of the base plan.
    """

    def __init__(
        self,
        loaded: LoadedStrategy,
        document: Mapping[str, Any],
        plan: Plan,
        spots: Mapping[Spot, Places],
        memo: Memo,
        *,
        base: str,
        fixed: Market | None,
    ) -> None:
        self.config, self.parts, self.document = loaded.config, read(loaded.merged), document
        self.timeframe, self.fixed, self.memo = base, fixed, memo
        self.alike = Alike(plan, memo)
        self.sections = frozenset(section for section, _ in spots)
        self._units = _units(spots)
        self._outlines: dict[Any, int] = {}
        self._reads: dict[tuple[Spot, str], Parts] = {}
        self._checked: dict[tuple[Any, ...], tuple[Finding, ...]] = {}
        self._numbers: dict[tuple[_Choice, ...], Floats] = {}

    def plan(self, values: Sequence[Any]) -> Plan | None:
        """Return the plan for the values of all paths; raise `ConfigError` for a fault.

        None when there are several faults, which the whole document brings in its order.
        """
        choices = [self._choice(unit, values) for unit in self._units]
        faults = self._faults(choices)
        if len(faults) > 1:
            return None
        if faults:
            text = f"strategy {shown(self.config.name)} has 1 error"
            raise ConfigError("config_invalid", text, value=self.config.name, findings=faults)
        config = self._assembled(choices)
        changes = [choice.change for choice in choices if choice.change is not None]
        whole = len(changes) == len(choices)
        found = self.alike.plan(config, changes, self._settings(config, choices)) if whole else None
        return found or build_plan(config, self.alike.base.market, base=self.timeframe, memo=self.memo)

    def _choice(self, unit: _Unit, values: Sequence[Any]) -> _Choice:
        """Return what a unit is with its values."""
        key = repr([values[k] for k in unit.paths])
        found = unit.choices.get(key)
        if found is None:
            if len(unit.choices) >= READS:
                unit.choices.clear()
            found = unit.choices[key] = self._made(unit, values, key)
        return found

    def _made(self, unit: _Unit, values: Sequence[Any], key: str) -> _Choice:
        """Read a unit with values that were not asked before."""
        section = unit.section
        read = tuple([(spot, self._read(spot, places, values)) for spot, places in unit.spots])
        faults = tuple([finding for _, parts in read for finding in parts.findings])
        if faults:
            return _Choice(section, read, faults, None, -1, None)
        item = _merged(getattr(self.config, section), read)
        look = _look(section, item[1] if isinstance(item, tuple) else item)
        outline = self._outline((unit.paths, look or key))
        choice = _Choice(section, read, (), item, outline, None)
        change = self.alike.change(self._assembled([choice]), unit.spots[0][0])
        return _Choice(section, read, (), item, outline, change)

    def _read(self, spot: Spot, places: Places, values: Sequence[Any]) -> Parts:
        """Return one spot with its values."""
        known = (spot, repr([values[k] for k, _ in places]))
        found = self._reads.get(known)
        if found is None:
            if len(self._reads) >= READS:
                self._reads.clear()
            found = self._reads[known] = read_placed(self.document, spot, [(way, values[k]) for k, way in places])
        return found

    def _outline(self, look: Any) -> int:
        return self._outlines.setdefault(look, len(self._outlines))

    def _faults(self, choices: Sequence[_Choice]) -> tuple[Finding, ...]:
        """Return the errors of a combination: those of its spots, and those between its parts."""
        key: tuple[Any, ...] = tuple([choice.outline for choice in choices])
        longer = [choice.change.longer for choice in choices if choice.change is not None]
        if len(longer) < len(choices) or self.alike.warmups + sum(longer) > MAX_WARMUP:
            key = tuple(choices)
        found = self._checked.get(key)
        if found is None:
            if len(self._checked) >= READS:
                self._checked.clear()
            found = self._checked[key] = tuple(self._between(choices))
        return found

    def _between(self, choices: Sequence[_Choice]) -> Iterator[Finding]:
        """Yield the errors of the spots, then those that the rules find between the parts."""
        parts = copy.copy(self.parts)
        parts.findings = [finding for choice in choices for finding in choice.faults]
        for choice in choices:
            for (section, key), found in choice.parts:
                old, new = getattr(parts, section), getattr(found, section)
                if section == "analyzers" or section in NAMED:
                    new = {**old, **new} if new else {name: item for name, item in old.items() if name != key}
                setattr(parts, section, new)
        told = [*parts.findings, *check(parts, self.sections)]
        if self.fixed is not None and "execution" in self.sections:
            told += check_market(parts, self.fixed)
        return (finding for finding in told if finding.severity == "error")

    def _assembled(self, choices: Sequence[_Choice]) -> StrategyConfig:
        """Return the base configuration with choices that have no fault."""
        config = self.config.model_copy()
        held = config.__dict__
        held.pop("config_hash", None)
        for choice in choices:
            section = choice.section
            if section == "analyzers":
                n, entry = choice.item
                held[section] = (*held[section][:n], entry, *held[section][n + 1 :])
            elif section in ("indicators", "filters"):
                name, entry = choice.item
                held[section] = FrozenMap({**held[section], name: entry})
            else:
                held[section] = choice.item
        return config

    def _settings(self, config: StrategyConfig, choices: Sequence[_Choice]) -> Floats:
        """Return the parameters of the base plan with the settings of a configuration."""
        key = tuple([choice for choice in choices if choice.section in COUNTED])
        if not key:
            return self.alike.base.params
        found = self._numbers.get(key)
        if found is None:
            if len(self._numbers) >= SETTINGS:
                self._numbers.clear()
            found = self._numbers[key] = self.alike.numbers(config)
        return found


def _units(spots: Mapping[Spot, Places]) -> list[_Unit]:
    """Return the spots one by one, but the exits as one: a ladder of targets bears on the other exits."""
    exits = tuple([item for item in spots.items() if item[0][0] == "exits"])
    groups = [(item,) for item in spots.items() if item[0][0] != "exits"] + ([exits] if exits else [])
    return [_Unit(group, tuple([k for _, places in group for k, _ in places])) for group in groups]


def _merged(old: Any, read: Sequence[tuple[Spot, Parts]]) -> Any:
    """Return what stands in a configuration for parts without faults: a named block, a section, or all exits."""
    section, key = read[0][0]
    found = getattr(read[0][1], section)
    if section == "exits":
        return FrozenMap({**old, **{name: block for _, parts in read for name, block in parts.exits.items()}})
    return (key, found[key]) if section == "analyzers" or section in NAMED else found


def _look(section: str, entry: Any) -> Any:
    """Return what the rules between the parts see of a block, but for its warm-up; None for all of it."""
    if section == "indicators" and isinstance(entry, IndicatorEntry):
        return entry.timeframe, _shape(entry.block)
    if section == "analyzers" and isinstance(entry, AnalyzerEntry):
        return entry.name, entry.weight, entry.enabled, entry.timeframe, _shape(entry.params)
    if section == "filters" and isinstance(entry, Filter):
        return entry.enabled, _shape(entry)
    return _shape(entry) if isinstance(entry, Sizing) else None


def _shape(block: Block) -> tuple[Any, ...]:
    """Return the class of a block and all that it reads, the blocks that it brings along included."""
    inputs = [(item.output, _shape(item.block)) if isinstance(item, Ref) else item for item in block.inputs()]
    return type(block), block.required(), getattr(block, "on", None), tuple(inputs)
