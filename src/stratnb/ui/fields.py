"""The leaf editors of a form: one value each, with its last valid state and the message under it."""

from __future__ import annotations

import json
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import ipywidgets as w
from pydantic import TypeAdapter, ValidationError

from stratnb.ui.format import escape, to_number

__all__ = [
    "BoolField",
    "ChoiceField",
    "Editor",
    "JsonField",
    "NumberField",
    "OptionalField",
    "Spec",
    "TextField",
    "first_fault",
]

_RADIO_MOST = 4
_LOG_RATIO = 1000
_ABOVE = ("at most", "below")
_LIMITS = {"le": "at most", "lt": "below", "ge": "at least", "gt": "above"}


@dataclass(frozen=True)
class Spec:
    """What a form knows of one field: its texts, its bounds and the adapter that validates it."""

    name: str
    title: str
    help: str = ""
    unit: str = ""
    low: float | None = None
    high: float | None = None
    adapter: TypeAdapter[Any] | None = None
    inherited: str = ""


def first_fault(error: ValidationError) -> str:
    """Return the first message of a validation error, without the library's preamble."""
    fault = error.errors(include_url=False)[0]
    limit = next((limit for name in _LIMITS if (limit := fault.get("ctx", {}).get(name)) is not None), None)
    given = fault.get("input")
    if isinstance(limit, (int, float)) and isinstance(given, (int, float)):
        word = next(word for name, word in _LIMITS.items() if name in fault["ctx"])
        percent = f"; {given:g} % is {given / 100:g}" if word in _ABOVE and limit == 1 and given <= 100 else ""
        return f"{given:g} must be {word} {limit:g}{percent}"
    told = str(fault["msg"]).removeprefix("Value error, ").removeprefix("Assertion failed, ")
    return told.replace("Input should be", "it must be", 1)


class Editor(ABC):
    """One value under edit: an offer is validated by the field, then judged by what holds it, then kept."""

    def __init__(self, spec: Spec, value: Any) -> None:
        self.spec = spec
        self.value = value
        self.fault = ""
        self.judge: Callable[[Any], str] = lambda _: ""
        self._message = w.HTML()
        self._message.add_class("sn-fault")
        self._message.add_class("sn-off")
        self._mark = ("", "", "")
        self._named: w.HTML | None = None

    def mark(self, word: str, kind: str = "mute", title: str = "") -> None:
        """Say beside the label where the value comes from; `kind` is a tone of the style sheet."""
        if (word, kind, title) != self._mark:
            self._mark = (word, kind, title)
            if self._named is not None:
                self._named.value = self._label_text()

    def offer(self, raw: Any) -> bool:
        """Take a new value if it is valid; otherwise keep the last valid one and show why."""
        try:
            value = self.spec.adapter.validate_python(raw) if self.spec.adapter else raw
        except ValidationError as error:
            return self.complain(first_fault(error))
        fault = self.judge(value)
        if fault:
            return self.complain(fault)
        self.value = value
        self.complain("")
        return True

    def commit(self, value: Any) -> str:
        """Keep a value that was put together here unless what holds this editor objects, and return the objection."""
        fault = self.judge(value)
        if not fault:
            self.value = value
        return fault

    def complain(self, fault: str) -> bool:
        """Show a message under the field (nothing clears it) and return whether all is well."""
        self.fault = fault
        self._message.value = f'<span role="alert">{escape(fault)}</span>' if fault else ""
        (self._message.add_class if not fault else self._message.remove_class)("sn-off")
        return not fault

    def faults(self) -> Iterator[str]:
        """Yield the messages that are shown now, of this field and of those inside it."""
        if self.fault:
            yield f"{self.spec.title}: {self.fault}"
        for part in vars(self).values():
            inside = part.values() if isinstance(part, dict) else part if isinstance(part, list) else (part,)
            for item in inside:
                if isinstance(item, Editor):
                    yield from item.faults()

    @cached_property
    def widget(self) -> w.Widget:
        """The control with its label, help and message, made on first use."""
        box = w.VBox([w.HBox([self._label(), *self.controls()]), self._message])
        box.children[0].add_class("sn-formrow")
        box.add_class("sn-formfield")
        return box

    @abstractmethod
    def controls(self) -> Sequence[w.Widget]:
        """Return the widgets that edit the value."""

    def _label(self) -> w.HTML:
        self._named = w.HTML(self._label_text())
        self._named.add_class("sn-formlabel")
        return self._named

    def _label_text(self) -> str:
        unit = f" ({escape(self.spec.unit)})" if self.spec.unit else ""
        text = f'<span title="{escape(self.spec.help)}">{escape(self.spec.title)}{unit}</span>'
        word, kind, title = self._mark
        tone = f"sn-tag sn-t-{escape(kind)}"
        return text + (f' <span class="{tone}" title="{escape(title)}">{escape(word)}</span>' if word else "")


def named(control: w.Widget, spec: Spec, *classes: str) -> Any:
    """Return the control with the field's title as its accessible name and the look of a field."""
    control.description = spec.title
    control.tooltip = spec.help or spec.title
    for name in (*classes, "sn-nolabel"):
        control.add_class(name)
    return control


class BoolField(Editor):
    """A check box."""

    @cached_property
    def box(self) -> w.Checkbox:
        """The check box."""
        box = named(w.Checkbox(value=bool(self.value), indent=False), self.spec, "sn-check")
        box.observe(lambda change: self.offer(change["new"]), "value")
        return box

    def controls(self) -> Sequence[w.Widget]:
        """Return the check box."""
        return [self.box]


class ChoiceField(Editor):
    """One of a closed set: buttons side by side up to four choices, else a dropdown."""

    def __init__(self, spec: Spec, value: Any, choices: Sequence[Any]) -> None:
        super().__init__(spec, value)
        self.choices = tuple(choices)

    @cached_property
    def box(self) -> Any:
        """The dropdown or the segment of buttons."""
        options = [(str(choice), choice) for choice in self.choices]
        if len(options) <= _RADIO_MOST:
            box = named(w.ToggleButtons(options=options, value=self.value), self.spec, "sn-seg")
        else:
            box = named(w.Dropdown(options=options, value=self.value), self.spec, "sn-field")
        box.observe(lambda change: self.offer(change["new"]), "value")
        return box

    def controls(self) -> Sequence[w.Widget]:
        """Return the one control."""
        return [self.box]


class TextField(Editor):
    """A line of text."""

    @cached_property
    def box(self) -> w.Text:
        """The text box."""
        box = named(w.Text(value=self.shown(), continuous_update=False), self.spec, "sn-field", "sn-line")
        box.observe(lambda change: self.offer(self.parsed(change["new"])), "value")
        return box

    def shown(self) -> str:
        """Return the value as text."""
        return str(self.value)

    def parsed(self, text: str) -> Any:
        """Return what the adapter is given for a text."""
        return text

    def controls(self) -> Sequence[w.Widget]:
        """Return the box."""
        return [self.box]


class JsonField(TextField):
    """Any other value as JSON on one line; a value without a JSON form is shown and kept."""

    def shown(self) -> str:
        """Return the JSON text."""
        adapter = self.spec.adapter or TypeAdapter(Any)
        return json.dumps(adapter.dump_python(self.value, mode="json"), ensure_ascii=False)

    def parsed(self, text: str) -> Any:
        """Return the parsed JSON, or the text itself, which the adapter then refuses."""
        try:
            return json.loads(text)
        except ValueError:
            return text


class NumberField(Editor):
    """A number: a box, and a slider when both bounds are known (logarithmic when they are far apart)."""

    def __init__(self, spec: Spec, value: Any, *, whole: bool) -> None:
        super().__init__(spec, value)
        self.whole = whole
        self._echo = False

    @cached_property
    def box(self) -> w.Text:
        """The text box; it takes any text, so that a wrong one can be explained."""
        box = named(w.Text(value=self._text(), continuous_update=False), self.spec, "sn-field", "sn-number")
        box.observe(lambda change: self._typed(change["new"]), "value")
        return box

    @cached_property
    def slider(self) -> Any | None:
        """The slider, or None without two bounds."""
        low, high = self.spec.low, self.spec.high
        if low is None or high is None or not high > low:
            return None
        kind: Any = {"continuous_update": False, "readout": False}
        if low > 0 and high / low > _LOG_RATIO:
            span = (math.log10(low), math.log10(high))
            kind |= {"min": span[0], "max": span[1], "step": (span[1] - span[0]) / 200}
            slider = w.FloatLogSlider(value=self._inside(), **kind)
        elif self.whole:
            slider = w.IntSlider(value=int(self._inside()), min=math.ceil(low), max=math.floor(high), **kind)
        else:
            slider = w.FloatSlider(value=self._inside(), min=low, max=high, step=(high - low) / 200, **kind)
        slider = named(slider, self.spec, "sn-slider")
        slider.observe(lambda change: self._slid(change["new"]), "value")
        return slider

    def controls(self) -> Sequence[w.Widget]:
        """Return the slider, if any, and the box."""
        return [self.box] if self.slider is None else [self.slider, self.box]

    def _inside(self) -> float:
        return min(max(float(self.value), self.spec.low or 0.0), self.spec.high or 0.0)

    def _text(self) -> str:
        return str(self.value) if self.whole else repr(float(self.value))

    def _typed(self, text: str) -> None:
        if self._echo:
            return
        try:
            raw: Any = int(text) if self.whole else to_number(text)
        except ValueError:
            self.complain(f"{text!r} is not a {'whole number' if self.whole else 'number'}")
            return
        if self.offer(raw) and self.slider is not None:
            self._quietly(self.slider, type(self.slider.value)(self._inside()))

    def _slid(self, value: float) -> None:
        if self._echo:
            return
        if self.offer(round(value) if self.whole else float(f"{value:.6g}")):
            self._quietly(self.box, self._text())

    def _quietly(self, control: Any, value: Any) -> None:
        self._echo = True
        control.value = value
        self._echo = False


class OptionalField(Editor):
    """A value that may be left open: a switch that says what holds then, and the editor of the value."""

    def __init__(self, spec: Spec, value: Any, make: Callable[[Any], Editor], start: Any) -> None:
        super().__init__(spec, value)
        self._make, self._start = make, start

    @cached_property
    def inner(self) -> Editor:
        """The editor of the value when it is set."""
        inner = self._make(self._start if self.value is None else self.value)
        inner.judge = self.commit
        return inner

    @cached_property
    def switch(self) -> w.Checkbox:
        """The switch: checked means inherit."""
        switch = w.Checkbox(
            value=self.value is None, indent=False, description=f"Inherit ({self.spec.inherited or 'none'})"
        )
        switch.tooltip = f"{self.spec.title}: leave it open"
        switch.add_class("sn-check")
        switch.observe(lambda change: self._switched(change["new"]), "value")
        return switch

    def controls(self) -> Sequence[w.Widget]:
        """Return the switch and, shown while it is off, the editor."""
        self._holder = w.VBox([self.inner.widget])
        self._show(self.value is not None)
        return [self.switch, self._holder]

    def _switched(self, inherit: bool) -> None:
        self.offer(None if inherit else self.inner.value)
        self._show(not inherit)

    def _show(self, on: bool) -> None:
        (self._holder.remove_class if on else self._holder.add_class)("sn-off")
