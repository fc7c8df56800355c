"""The ranges of a search: one row per parameter, chosen by its path, with bounds from the schema."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import ipywidgets as w

from stratnb.errors import ConfigError, Finding
from stratnb.research.space import Range
from stratnb.ui.controls import btn, discard, dropdown, field, show, styled
from stratnb.ui.format import escape, to_number
from stratnb.ui.panels.space_parameters import Parameter

__all__ = ["SpaceEditor", "SpaceRow"]

ROWS_MOST = 8
_FAULTS: Final = {
    "range_reversed": ("To is below From", "exchange them"),
    "range_empty": ("Step is not above 0", "write a larger one, such as 0.1 or 1"),
}


class SpaceRow(w.HBox):  # type: ignore[misc]
    """One varied parameter: a range of numbers, or a list of choices."""

    def __init__(self, parameter: Parameter, changed: Callable[[], None], removed: Callable[[SpaceRow], None]) -> None:
        self.parameter = parameter
        self.boxes: list[w.Text] = []
        path = parameter.path
        if parameter.choices:
            words = ", ".join(map(_word, parameter.choices))
            self.boxes.append(styled(field("Values", "a, b", value=words), "sn-longfield"))
        else:
            for name, value in zip(("From", "To", "Step"), parameter.start, strict=True):
                self.boxes.append(field(name, value=f"{value:g}"))
        for box in self.boxes:
            box.tooltip = f"{box.description} of {path}"
            box.continuous_update = False
            box.observe(lambda _: changed(), "value")
        about = w.HTML(
            f'<span class="sn-path">{escape(path)}</span> <span class="sn-muted">{escape(_about(parameter))}</span>'
        )
        remove = btn("Remove", "quiet", tip=f"Take {path} out of the search", do=lambda: removed(self))
        super().__init__([styled(about, "sn-pathbox"), *self.boxes, remove])
        styled(self, "sn-addrow", "sn-spacerow")

    @property
    def values(self) -> Any:
        """Return a `Range` or a list of values; raises `ConfigError` for what is neither."""
        texts = [box.value.strip() for box in self.boxes]
        path = self.parameter.path
        if self.parameter.choices:
            return [_read(word.strip()) for word in texts[0].split(",") if word.strip()]
        numbers = [self._number(text, name) for text, name in zip(texts, ("From", "To", "Step"), strict=True)]
        start, stop, step = numbers
        for name, value in (("From", start), ("To", stop)):
            low, high = self.parameter.low, self.parameter.high
            if (low is not None and value < low) or (high is not None and value > high):
                words = f"{name} of {path} {value:g} is outside {_bounds(self.parameter)}"
                raise ConfigError("range", words, value=value, hint=f"give {_bounds(self.parameter)}")
        made = Range(start, stop, step=step)
        for found in made.faults(path):
            words, hint = _FAULTS.get(found.code, (found.message, found.hint))
            raise ConfigError(found.code, f"{path}: {words}", value=found.value, hint=hint)
        return made

    def _number(self, text: str, name: str) -> float:
        try:
            value = to_number(text)
        except ValueError as error:
            words = f"{name} of {self.parameter.path} {text!r} is not a number"
            raise ConfigError("type", words, value=text, hint="write 5 or 0.25") from error
        if not self.parameter.whole:
            return value
        if not value.is_integer():
            words = f"{name} of {self.parameter.path} {text!r} is not a whole number"
            raise ConfigError("type", words, value=text, hint=f"did you mean {round(value)}?")
        return int(value)


class SpaceEditor(w.VBox):  # type: ignore[misc]
    """The rows and the row that adds one; `changed` is called after each edit."""

    def __init__(self) -> None:
        self.changed: Callable[[], None] = lambda: None
        self.rows: list[SpaceRow] = []
        self._known: dict[str, Parameter] = {}
        self._kept: dict[str, tuple[str, ...]] = {}
        self.pick = styled(dropdown("Parameter", []), "sn-longfield", "sn-pick")
        self.add = btn("Add", icon="plus", tip="Let this parameter vary", do=self.add_chosen)
        self.blank = styled(w.HTML("<span>Choose a parameter and press Add.</span>"), "sn-muted")
        self.body = w.VBox([])
        super().__init__([self.body, styled(w.HBox([self.pick, self.add, self.blank]), "sn-addrow")])

    def offer(self, parameters: Sequence[Parameter]) -> None:
        """Offer these parameters; rows whose path is gone are taken away, the others keep their texts."""
        if [each.label for each in parameters] == [each.label for each in self._known.values()]:
            return
        self._known = {each.path: each for each in parameters}
        gone = [row for row in self.rows if row.parameter.path not in self._known]
        self.rows = [row for row in self.rows if row not in gone]
        self._lay()
        for row in gone:
            discard(row)

    def add_chosen(self) -> None:
        """Let the chosen parameter vary."""
        if self.pick.value is not None:
            self.vary(self.pick.value)

    def vary(self, path: str, values: Sequence[Any] = ()) -> None:
        """Let a parameter vary; `values` are the texts of its boxes."""
        if path not in self._known or len(self.rows) >= ROWS_MOST or path in self.paths:
            return
        row = SpaceRow(self._known[path], self._told, self._remove)
        for box, value in zip(row.boxes, values, strict=False):
            box.value = str(value)
        self.rows.append(row)
        self._lay()
        self.changed()

    @property
    def paths(self) -> tuple[str, ...]:
        """Return the paths that vary."""
        return tuple(row.parameter.path for row in self.rows)

    def space(self, findings: list[Finding]) -> Mapping[str, Any]:
        """Return ranges and values by path; what is wrong is added to the findings."""
        found: dict[str, Any] = {}
        for row in self.rows:
            try:
                found[row.parameter.path] = row.values
            except ConfigError as error:
                findings.append(Finding("", error.code, error.message, error.value, error.hint))
        return found

    def _told(self) -> None:
        self.changed()

    def _remove(self, row: SpaceRow) -> None:
        self.rows.remove(row)
        self._lay()
        discard(row)
        self.changed()

    def _lay(self) -> None:
        self.body.children = list(self.rows)
        chosen, taken = self.pick.value, self.paths
        options = [(each.label, path) for path, each in self._known.items() if path not in taken]
        self.pick.options = options
        if options:
            known = [path for _, path in options]
            self.pick.value = chosen if chosen in known else known[0]
        self.add.disabled = not options or len(self.rows) >= ROWS_MOST
        show(self.blank, not self.rows)


def _word(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _read(word: str) -> Any:
    try:
        return json.loads(word)
    except ValueError:
        return word


def _bounds(parameter: Parameter) -> str:
    """Return the bounds in words."""
    low, high = parameter.low, parameter.high
    if low is None and high is None:
        return "any number"
    if high is None:
        return f"at least {low:g}"
    return f"at most {high:g}" if low is None else f"{low:g} to {high:g}"


def _about(parameter: Parameter) -> str:
    """Return title, present value and bounds in words."""
    unit = f" {parameter.unit}" if parameter.unit else ""
    words = f"{parameter.title}, now {_word(parameter.value)}{unit}"
    return words if parameter.choices else f"{words}, {_bounds(parameter)}"
