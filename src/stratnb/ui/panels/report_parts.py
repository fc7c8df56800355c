"""What a page of a report holds: charts, tables and sentences, told apart from the way they are shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from stratnb.ui.chart import Update
from stratnb.ui.plots import Theme

__all__ = ["Drawing", "Item", "Listing", "Part", "Words"]


@dataclass(frozen=True, slots=True, eq=False)
class Drawing:
    """A chart: an empty figure, its colours, what fills it, and its height in pixels."""

    figure: Any
    theme: Theme
    update: Update
    caption: str
    height: int = 240
    cfg: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class Listing:
    """A table, or key figures with `kind` "kpi"; `empty` says what is missing when there is no row."""

    caption: str
    rows: Sequence[Mapping[str, Any]]
    cols: Sequence[Mapping[str, Any]] = ()
    kind: str = "table"
    page: int = 0
    empty: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Words:
    """A sentence, or with `code` a text in columns; shown literally, with keys (class, label) beside it."""

    text: str = ""
    keys: tuple[tuple[str, str], ...] = ()
    heading: str = ""
    code: bool = False


Item: TypeAlias = "Drawing | Listing | Words"


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """A framed part of the page; `span` is its share of twelve columns on a wide page."""

    title: str
    items: tuple[Item, ...]
    note: str = ""
    span: str = "12"
