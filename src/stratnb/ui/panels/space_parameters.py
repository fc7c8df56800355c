"""The parameters of a strategy that can be searched: path, label, bounds and value, from the form of its schema."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final

from stratnb.strategy.config import StrategyConfig
from stratnb.ui.fields import BoolField, ChoiceField, Editor, NumberField, OptionalField
from stratnb.ui.form import form
from stratnb.ui.panels.config_form import FIXED, values_of

__all__ = ["Parameter", "parameters_of"]

LEFT_OUT: Final = (*FIXED, "title", "description", "notes", "author", "tags", "evidence", "state", "market")
STEPS: Final = 4
LAST: Final = ("execution", "capital", "risk")


@dataclass(frozen=True, slots=True)
class Parameter:
    """A value of a document that can vary; `choices` are given for what is no number."""

    path: str
    title: str
    value: Any
    low: float | None = None
    high: float | None = None
    whole: bool = False
    unit: str = ""
    choices: tuple[Any, ...] = ()

    @property
    def label(self) -> str:
        """Return path and present value."""
        return f"{self.path} = {self.value}"

    @property
    def start(self) -> tuple[float, float, float]:
        """Return a range around the value, inside the bounds, in five values at most: from, to, step."""
        value = float(self.value)
        low, high = (value * 0.5, value * 1.5) if value else (0.0, self.high if self.high is not None else 1.0)
        low, high = min(low, high), max(low, high)
        low = low if self.low is None else max(low, self.low)
        high = high if self.high is None else min(high, self.high)
        if self.whole:
            first, last = math.ceil(low), math.floor(high)
            return first, last, max(1, round((last - first) / STEPS))
        step = float(f"{(high - low) / STEPS:.4g}") or 1.0
        return float(f"{low:.6g}"), float(f"{high:.6g}"), step


def parameters_of(config: StrategyConfig) -> tuple[Parameter, ...]:
    """Return what can vary of a configuration, in the order of the document; account and costs come last."""
    found = [made for path, editor in values_of(form(config), "") if (made := _parameter(path, editor)) is not None]
    return tuple(sorted(found, key=lambda each: each.path.partition(".")[0] in LAST))


def _parameter(path: str, editor: Editor) -> Parameter | None:
    """Return the parameter of an editor, None for what is text, open or part of the composition."""
    if path.partition(".")[0].partition("[")[0] in LEFT_OUT or path.rsplit(".", 1)[-1] in ("kind", "timeframe"):
        return None
    if isinstance(editor, OptionalField):
        return None if editor.value is None else _parameter(path, editor.inner)
    spec = editor.spec
    if isinstance(editor, NumberField) and math.isfinite(float(editor.value)):
        return Parameter(path, spec.title, editor.value, spec.low, spec.high, editor.whole, spec.unit)
    if isinstance(editor, BoolField):
        return Parameter(path, spec.title, editor.value, choices=(True, False))
    if isinstance(editor, ChoiceField):
        return Parameter(path, spec.title, editor.value, choices=tuple(editor.choices))
    return None
