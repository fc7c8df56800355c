"""The frozen configuration of a strategy, and the way back to a schema-1 document."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Annotated, Any, NoReturn, Self, TypeVar

from pydantic import AfterValidator, BaseModel, Field, model_validator

from stratnb.blocks.base import Analyzer, Block, Exit, Filter, Indicator, Sizing
from stratnb.strategy.sections import (
    FRACTION,
    Capital,
    Entry,
    Evidence,
    Execution,
    MarketSection,
    Refine,
    Risk,
    Role,
    Section,
    State,
    Timeframes,
)

__all__ = [
    "SCHEMA",
    "AnalyzerCommon",
    "AnalyzerEntry",
    "FrozenMap",
    "Header",
    "IndicatorCommon",
    "IndicatorEntry",
    "StrategyConfig",
    "canonical",
    "document_of",
]

T = TypeVar("T")
SCHEMA = 1


class FrozenMap(dict[str, T]):
    """An ordered mapping that cannot be changed, but can be copied and pickled."""

    def _refuse(self, *_args: object, **_kwargs: object) -> NoReturn:
        raise TypeError("a configuration cannot be changed; merge an override instead")

    __setitem__ = __delitem__ = __ior__ = _refuse
    clear = pop = popitem = setdefault = update = _refuse

    def __reduce__(self) -> tuple[Callable[..., FrozenMap[T]], tuple[dict[str, T]]]:
        """Rebuild from a plain dict."""
        return type(self), (dict(self),)


Frozen = AfterValidator(FrozenMap)
DocumentName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,47}$")]
Identifier = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,31}$")]


class IndicatorCommon(Section):
    """What every named indicator has beside the parameters of its kind."""

    timeframe: Role = Field("primary", title="Timeframe role")


class IndicatorEntry(IndicatorCommon):
    """A named indicator of the document and the role whose candles it reads."""

    block: Indicator


class AnalyzerCommon(Section):
    """What every analyzer has beside the parameters of its kind: its weight and the common rule's numbers."""

    kind: str = Field(title="Kind")
    name: Identifier = Field(title="Name")
    enabled: bool = Field(True, title="Enabled")
    weight: float = Field(1.0, ge=0, le=1, title="Weight", json_schema_extra=FRACTION)
    priority: int = Field(5, ge=1, le=10, title="Priority (1 first)")
    min_confidence: float = Field(0.0, ge=0, le=1, title="Least confidence", json_schema_extra=FRACTION)
    max_confidence: float = Field(1.0, ge=0, le=1, title="Most confidence", json_schema_extra=FRACTION)
    hold: int = Field(1, ge=1, le=50, title="Hold", json_schema_extra={"x-unit": "candles"})
    timeframe: Role = Field("primary", title="Timeframe role")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min_confidence >= self.max_confidence:
            raise ValueError("order_violation: min_confidence must be below max_confidence")
        return self


class AnalyzerEntry(AnalyzerCommon):
    """One analyzer of the document with its block."""

    params: Analyzer


class Header(Section):
    """The identity of a document: its name and texts."""

    name: DocumentName = Field(title="Name")
    title: str = Field(max_length=120, title="Title")
    version: str = Field("1.0.0", pattern=r"^\d{1,6}\.\d{1,6}\.\d{1,6}$", title="Version")
    description: str = Field("", max_length=4000, title="Description")
    notes: str = Field("", max_length=4000, title="Notes")
    author: str = Field("", max_length=4000, title="Author")
    tags: tuple[Annotated[str, Field(max_length=32)], ...] = Field((), max_length=20, title="Tags")
    extends: DocumentName | None = Field(None, title="Extends")


class StrategyConfig(Header):
    """A whole strategy, merged and valid; equal configurations have equal hashes.

    `extra` holds the ignored `x_` keys by path; it is written back but does not enter `config_hash`.
    """

    market: MarketSection = MarketSection()
    timeframes: Timeframes = Timeframes()
    indicators: Annotated[Mapping[str, IndicatorEntry], Frozen] = FrozenMap()
    analyzers: tuple[AnalyzerEntry, ...]
    filters: Annotated[Mapping[str, Filter], Frozen] = FrozenMap()
    entry: Entry = Entry()
    refine: Refine = Refine()
    sizing: Sizing
    exits: Annotated[Mapping[str, Exit], Frozen]
    risk: Risk = Risk()
    execution: Execution = Execution()
    capital: Capital = Capital()
    state: State = State()
    evidence: Evidence | None = None
    extra: Annotated[Mapping[str, Any], Frozen] = FrozenMap()

    @cached_property
    def config_hash(self) -> str:
        """Return the sha-256 of the canonical JSON, in hex."""
        return hashlib.sha256(canonical(document_of(self)).encode()).hexdigest()

    def to_document(self) -> dict[str, Any]:
        """Return the schema-1 document that reads back as this configuration."""
        from stratnb.strategy.paths import assign

        document = document_of(self)
        for path, value in self.extra.items():
            assign(document, path, value)
        return document

    @property
    def enabled_analyzers(self) -> tuple[AnalyzerEntry, ...]:
        """Return the analyzers that are computed and weighed, in document order."""
        return tuple(entry for entry in self.analyzers if entry.enabled)


def canonical(document: Mapping[str, Any]) -> str:
    """Return JSON with sorted keys and no blanks, equal for equal documents.

    >>> canonical({"b": 1.0, "a": [True]})
    '{"a":[true],"b":1.0}'
    """
    return json.dumps(document, sort_keys=True, separators=(",", ":"), allow_nan=False)


def document_of(config: StrategyConfig) -> dict[str, Any]:
    """Return the schema-1 document of a configuration, without its `x_` keys."""
    return {"schema": SCHEMA, **_fields(config, leave={"extra"})}


def _fields(model: BaseModel, leave: set[str] | frozenset[str] = frozenset()) -> dict[str, Any]:
    """Return the written fields of a model; None is left out where it is the default."""
    found: dict[str, Any] = {}
    for name, info in type(model).model_fields.items():
        value = getattr(model, name)
        if name in leave or (value is None and info.default is None):
            continue
        if isinstance(model, Risk) and name in model.carried and value == info.default:
            continue
        found[name] = _plain(value)
    return found


def _plain(value: Any) -> Any:
    """Return the JSON form of a field's value."""
    match value:
        case IndicatorEntry():
            return {**_plain(value.block), "timeframe": value.timeframe}
        case AnalyzerEntry():
            return {**_fields(value, leave={"params"}), "params": _fields(value.params)}
        case Block():
            return {"kind": value.kind, **_fields(value)}
        case BaseModel():
            return _fields(value)
        case Mapping():
            return {key: _plain(item) for key, item in value.items()}
        case tuple() | list():
            return [_plain(item) for item in value]
    return value
