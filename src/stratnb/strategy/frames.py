"""A frame: a strategy that was built from its document, in which single numbers and words can be replaced."""

from __future__ import annotations

import copy
from collections.abc import Hashable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, Final

from stratnb.blocks.base import Block, Ref
from stratnb.errors import ConfigError, Finding
from stratnb.model import Market
from stratnb.strategy.alike import BLOCKS, Alike, Change
from stratnb.strategy.build import build_plan
from stratnb.strategy.checks import RULES, SHAPED, check_market
from stratnb.strategy.column_checks import MAX_WARMUP, check_warmups
from stratnb.strategy.config import FrozenMap, StrategyConfig
from stratnb.strategy.documents import LoadedStrategy
from stratnb.strategy.faults import SECTIONS, shown
from stratnb.strategy.memo import Memo
from stratnb.strategy.placed import NAMED, Places, Spot, read_placed
from stratnb.strategy.plan import Floats, Plan
from stratnb.strategy.reading import Parts

__all__ = ["Frame"]

READS: Final = 20_000
SETTINGS: Final = 1_024
COUNTED: Final = frozenset(
    {"entry", "risk", "execution", "capital", "sizing", "analyzers"}
)  # in the settings of a plan


@dataclass(frozen=True, slots=True, eq=False)
class _Choice:
    """One spot, or all exits, with some values in their places, by itself.

    `items` has what stands in each spot, None for what is faulty; `held` what comes of it in a configuration. `shape`
    is equal where the blocks read the same, and None where it is not known.
    """

    section: str
    items: tuple[tuple[Spot, Any], ...]
    faults: tuple[Finding, ...] = ()
    held: Any = None
    shape: Hashable = None
    change: Change | None = None


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
        self.config, self.parts, self.document = loaded.config, _parts_of(loaded.config), document
        self.timeframe, self.fixed, self.memo = base, fixed, memo
        self.alike = Alike(plan, memo)
        self.sections = frozenset(section for section, _ in spots)
        self._units = _units(spots)
        rules = [(rule, [k for k, unit in enumerate(self._units) if unit.section in read]) for rule, read in RULES]
        self._rules = [(rule, concerned) for rule, concerned in rules if concerned]
        self._reads: dict[tuple[Spot, str], tuple[Any, tuple[Finding, ...]]] = {}
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
            found = unit.choices[key] = self._made(unit, values)
        return found

    def _made(self, unit: _Unit, values: Sequence[Any]) -> _Choice:
        """Read a unit with values that were not asked before."""
        section = unit.section
        read = [(spot, *self._read(unit, spot, places, values)) for spot, places in unit.spots]
        items, faults = tuple([(spot, item) for spot, item, _ in read]), [f for *_, findings in read for f in findings]
        if faults:
            return _Choice(section, items, tuple(faults))
        held = self._held(section, items)
        if section not in BLOCKS:
            return _Choice(section, items, held=held, change=self.alike.kept(section, held))
        change, shape = None, None
        with suppress(ConfigError):  # building the plan brings it, after what the rules find
            change = self.alike.change(self._assembled([_Choice(section, items, held=held)]), items[0][0])
            shape = self._shape(items)
        return _Choice(section, items, (), held, shape, change)

    def _read(self, unit: _Unit, spot: Spot, places: Places, values: Sequence[Any]) -> tuple[Any, tuple[Finding, ...]]:
        """Return one spot with its values, None where it is faulty, and the faults; kept where it is one of several."""
        known = (spot, repr([values[k] for k, _ in places]))
        found = self._reads.get(known)
        if found is None:
            section, key = spot
            parts = read_placed(self.document, spot, [(way, values[k]) for k, way in places])
            item: Any = getattr(parts, section)
            if section == "analyzers" or section in NAMED:
                item = item.get(key)
            found = (item, tuple(parts.findings))
            if len(unit.spots) > 1:
                if len(self._reads) >= READS:
                    self._reads.clear()
                self._reads[known] = found
        return found

    def _held(self, section: str, items: Sequence[tuple[Spot, Any]]) -> Any:
        """Return what stands in a section of a configuration with items that have no fault."""
        old: Any = getattr(self.config, section)
        if section == "analyzers":
            new = {key: item for (_, key), item in items}
            return tuple([new.get(n, entry) for n, entry in enumerate(old)])
        return FrozenMap({**old, **{str(key): item for (_, key), item in items}}) if section in NAMED else items[0][1]

    def _shape(self, items: Sequence[tuple[Spot, Any]]) -> Hashable:
        """Return what the rules of `SHAPED` see of blocks; None for all of them."""
        found: list[tuple[Any, ...]] = []
        for (section, key), item in items:
            inner = {"indicators": "block", "analyzers": "params"}.get(section)
            if section in ("analyzers", "filters") and not item.enabled:
                return None
            block = getattr(item, inner) if inner else item
            found.append((section, key, item.timeframe if inner else "", self._reads_of(block)))
        return tuple(found)

    def _reads_of(self, block: Block) -> tuple[Any, ...]:
        """Return the class of a block and all that it reads, the blocks that it brings along included."""
        facts = self.memo.facts(block)
        inputs = [(item.output, self._reads_of(item.block)) if isinstance(item, Ref) else item for item in facts.inputs]
        return type(block), facts.required, getattr(block, "on", None), tuple(inputs)

    def _faults(self, choices: Sequence[_Choice]) -> list[Finding]:
        """Return the errors of a combination: those of its spots, and those between its parts."""
        found = [finding for choice in choices for finding in choice.faults]
        whole, parts = bool(found), None
        longer = [choice.change.longer for choice in choices if choice.change is not None]
        short = len(longer) == len(choices) and self.alike.warmups + sum(longer) <= MAX_WARMUP
        for rule, concerned in self._rules:
            seen = rule in SHAPED or (short and rule is check_warmups)
            own = [choices[k].shape or choices[k] if seen else choices[k] for k in concerned]
            key = (rule, *(choices if whole else own))
            told = self._checked.get(key)
            if told is None:
                if len(self._checked) >= READS:
                    self._checked.clear()
                parts = parts or self._parts(choices)
                told = self._checked[key] = _errors(rule(parts))
            found += told
        if self.fixed is not None and "execution" in self.sections:
            found += _errors(check_market(parts or self._parts(choices), self.fixed))
        return found

    def _parts(self, choices: Sequence[_Choice]) -> Parts:
        """Return the parts of the base with those of the choices."""
        parts = copy.copy(self.parts)
        parts.findings = [finding for choice in choices for finding in choice.faults]
        for choice in choices:
            for (section, key), item in choice.items:
                new = item
                if section == "analyzers" or section in NAMED:
                    new = {
                        name: old for name, old in getattr(parts, section).items() if item is not None or name != key
                    }
                    new |= {key: item} if item is not None else {}
                setattr(parts, section, new)
        return parts

    def _assembled(self, choices: Sequence[_Choice]) -> StrategyConfig:
        """Return the base configuration with choices that have no fault."""
        config = self.config.model_copy()
        held = config.__dict__
        held.pop("config_hash", None)
        for section, own in groupby(choices, _section_of):
            several = list(own)
            items = several[0].items if len(several) == 1 else [item for choice in several for item in choice.items]
            held[section] = several[0].held if len(several) == 1 else self._held(section, items)
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
    """Return the spots one by one by section, but the exits as one: a ladder of targets bears on the other exits."""
    groups: dict[Any, tuple[tuple[Spot, Places], ...]] = {}
    for spot, places in sorted(spots.items(), key=lambda item: item[0][0]):
        name = "exits" if spot[0] == "exits" else spot
        groups[name] = (*groups.get(name, ()), (spot, places))
    return [_Unit(group, tuple([k for _, places in group for k, _ in places])) for group in groups.values()]


def _parts_of(config: StrategyConfig) -> Parts:
    """Return the parts that a valid configuration was put together from, as far as rules read them."""
    plain = {name: getattr(config, name) for name in SECTIONS}
    named: dict[str, Any] = {name: dict(getattr(config, name)) for name in NAMED}
    return Parts(**plain, **named, sizing=config.sizing, analyzers=dict(enumerate(config.analyzers)))


def _section_of(choice: _Choice) -> str:
    return choice.section


def _errors(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    return tuple([finding for finding in findings if finding.severity == "error"])
