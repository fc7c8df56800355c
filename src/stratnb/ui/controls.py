"""Small builders of ipywidgets with the look of the panels; looks are set by class, never by `Layout`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import ipywidgets as widgets

from stratnb.ui.format import escape

__all__ = [
    "Confirm",
    "Frame",
    "btn",
    "chip",
    "discard",
    "dropdown",
    "field",
    "grid",
    "panel",
    "row",
    "segment",
    "show",
    "stack",
    "styled",
    "text",
]

W = TypeVar("W", bound=widgets.DOMWidget)

CONFIRM_ENABLED_S = 1.0
CONFIRM_GONE_S = 10.0


def styled(widget: W, *names: str) -> W:
    """Add classes to a widget and return it."""
    for name in names:
        widget.add_class(name)
    return widget


def text(words: object, tag: str = "span", cls: str = "") -> widgets.HTML:
    """Return a text as a widget; what comes in is shown literally."""
    return widgets.HTML(f'<{tag} class="{escape(cls)}">{escape(words)}</{tag}>')


def btn(
    label: str,
    kind: str = "",
    icon: str = "",
    tip: str = "",
    do: Callable[[], None] | None = None,
    *,
    disabled: bool = False,
) -> widgets.Button:
    """Return a button; `kind` is "", "primary", "danger" or "quiet", `icon` one of the style sheet's."""
    button = widgets.Button(description=label, tooltip=tip or label, disabled=disabled)
    styled(button, "sn-btn", *([f"is-{kind}"] if kind else []), *([f"sn-i-{icon}"] if icon else []))
    if do is not None:
        action = do
        button.on_click(lambda _: action())
    return button


def dropdown(label: str, options: Sequence[Any], value: Any = None, *, hide_label: bool = False) -> widgets.Dropdown:
    """Return a dropdown with a description; `hide_label` hides it for the eye only."""
    chosen = {"value": value} if value is not None else {}
    box = widgets.Dropdown(options=options, description=label, **chosen)
    return styled(box, "sn-field", *(["sn-nolabel"] if hide_label else []))


def field(label: str, placeholder: str = "", *, value: str = "", hide_label: bool = False) -> widgets.Text:
    """Return a one-line text input with a description."""
    box = widgets.Text(value=value, placeholder=placeholder, description=label)
    return styled(box, "sn-field", *(["sn-nolabel"] if hide_label else []))


def segment(options: Sequence[Any], value: Any = None, tip: str = "") -> widgets.ToggleButtons:
    """Return a segment: one of a few."""
    chosen = {"value": value} if value is not None else {}
    return styled(widgets.ToggleButtons(options=options, tooltips=[tip] if tip else [], **chosen), "sn-seg")


def chip(label: str, value: bool = False, tip: str = "") -> widgets.ToggleButton:
    """Return a chip: on or off."""
    return styled(widgets.ToggleButton(value=value, description=label, tooltip=tip or label), "sn-chip")


def row(*items: widgets.Widget, cls: str = "sn-chips") -> widgets.HBox:
    """Return widgets beside each other."""
    return styled(widgets.HBox(list(items)), cls)


class Frame(widgets.VBox):  # type: ignore[misc]
    """A panel's frame: a head with title, note and tools, and a body."""

    def __init__(
        self, title: str, body: Iterable[widgets.Widget], tools: Iterable[widgets.Widget] = (), *, span: str, note: str
    ) -> None:
        self._title = title
        self.heading = styled(widgets.HTML(), "sn-title")
        self.tools = styled(widgets.HBox(list(tools)), "sn-tools")
        self.body = styled(widgets.VBox(list(body)), "sn-body")
        super().__init__([styled(widgets.HBox([self.heading, self.tools]), "sn-head"), self.body])
        styled(self, "sn-panel", f"sn-c{span}")
        self.note(note)

    def note(self, words: str) -> None:
        """Show a note beside the title."""
        value = f"<h2>{escape(self._title)}</h2>" + (f"<span>{escape(words)}</span>" if words else "")
        if self.heading.value != value:
            self.heading.value = value


def panel(
    title: str,
    body: Iterable[widgets.Widget],
    tools: Iterable[widgets.Widget] = (),
    span: str = "12",
    note: str = "",
) -> Frame:
    """Return a framed panel that takes `span` of twelve columns on a wide page."""
    return Frame(title, body, tools, span=span, note=note)


def grid(*panels: widgets.Widget) -> widgets.GridBox:
    """Return panels in the grid of twelve columns."""
    return styled(widgets.GridBox(list(panels)), "sn-grid")


def stack(span: str, *panels: widgets.Widget) -> widgets.VBox:
    """Return panels above each other in a column of the grid; the last one fills the rest."""
    return styled(widgets.VBox(list(panels)), "sn-stack", f"sn-c{span}")


def show(widget: widgets.DOMWidget, on: bool) -> None:
    """Show or hide a widget without building it anew."""
    if on:
        widget.remove_class("sn-off")
    else:
        widget.add_class("sn-off")


def discard(widget: widgets.Widget) -> None:
    """Close a widget with everything in it and with its own layout and style."""
    for child in getattr(widget, "children", ()):
        discard(child)
    for name in ("layout", "style"):
        own = getattr(widget, name, None)
        if isinstance(own, widgets.Widget):
            own.close()
    widget.close()


class Confirm(widgets.HBox):  # type: ignore[misc]
    """The second step of an action: the effect in words, Confirm after 1 s, gone after 10 s, by Cancel or by Escape."""

    def __init__(self, verb: str, kind: str = "danger", extra: Iterable[widgets.Widget] = ()) -> None:
        self.message = widgets.HTML()
        self.yes = btn(verb, kind, disabled=True)
        self.no = styled(btn("Cancel"), "sn-cancel")
        self._round = 0
        self._do: Callable[[], None] = lambda: None
        self._closed: Callable[[], None] = lambda: None
        super().__init__([self.message, *extra, self.yes, self.no])
        styled(self, "sn-confirm", "sn-off")
        self.yes.on_click(lambda _: self._end(go=True))
        self.no.on_click(lambda _: self._end(go=False))

    @property
    def is_open(self) -> bool:
        """Return whether the question is on screen."""
        return self._round % 2 == 1

    def ask(self, effect: str, do: Callable[[], None], closed: Callable[[], None] = lambda: None) -> None:
        """Show the effect and wait for the second step; `do` runs once at most, `closed` whenever it goes away."""
        if self.is_open:
            self._end(go=False)
        self._round += 1
        asked = self._round
        self._do, self._closed = do, closed
        self.yes.disabled = True
        self.say(effect)
        show(self, True)
        self.no.focus()
        from stratnb.ui.pump import pump

        pump().later(CONFIRM_ENABLED_S, lambda: self._enable(asked))
        pump().later(CONFIRM_GONE_S, lambda: self._expire(asked))

    def say(self, effect: str) -> None:
        """Change the words of an open question."""
        self.message.value = f'<span class="sn-effect" role="alert">{escape(effect)}</span>'

    def _enable(self, asked: int) -> None:
        """Enable the second button if the same question is still open."""
        if self._round == asked:
            self.yes.disabled = False

    def _expire(self, asked: int) -> None:
        """Close the question if it is still the same one."""
        if self._round == asked:
            self._end(go=False)

    def _end(self, *, go: bool) -> None:
        """Close the question; a second click of the same question does nothing."""
        if not self.is_open or (go and self.yes.disabled):
            return
        self._round += 1
        do, self._do = self._do, lambda: None
        show(self, False)
        self.yes.disabled = True
        self._closed()
        if go:
            do()
