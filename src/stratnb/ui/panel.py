"""What all panels share: the frame with its states, the pump's tick, and how a panel shows itself in a notebook."""

from __future__ import annotations

import logging
import math
from abc import ABCMeta, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar, Final, TypeVar, cast
from weakref import WeakValueDictionary

import ipywidgets as widgets
import pandas as pd

from stratnb.errors import StratnbError
from stratnb.ui import controls
from stratnb.ui.assets import assets
from stratnb.ui.browser import BrowserWidget
from stratnb.ui.format import escape
from stratnb.ui.pump import Pump, pump
from stratnb.view import Board, EngineView

__all__ = ["Panel", "root"]

LOG: Final = logging.getLogger("stratnb.ui")
LOADING_S: Final = 3.0

P = TypeVar("P", bound="Panel")


def root(*children: widgets.Widget) -> widgets.VBox:
    """Return the outermost box of a page or of a panel shown alone: it carries the scripts and the look."""
    return controls.styled(widgets.VBox([assets(), *children]), "sn-root")


class _OnePerBoard(ABCMeta):
    """Gives the same panel for the same board and options, so that a cell that is run again makes no second one.

    A panel lives until it is closed. Those of a closed engine are closed when another board gets its first panel.
    """

    _made: ClassVar[WeakValueDictionary[Any, Panel]] = (
        WeakValueDictionary()
    )  # a panel holds its board: ids stay its own

    def __call__(cls: type[P], board: Board, **options: Any) -> P:  # type: ignore[misc]
        """Return the living panel of this class for the board, or a new one."""
        key = (id(board), cls, repr(sorted(options.items())))
        found: Any = _OnePerBoard._made.get(key)
        if found is None or found.closed:
            _OnePerBoard._sweep(board)
            found = _OnePerBoard._made[key] = type.__call__(cls, board, **options)
        return cast(P, found)

    @staticmethod
    def _sweep(board: Board) -> None:
        """Close the panels of other boards whose engine is closed."""
        for old in list(_OnePerBoard._made.values()):
            if old.board is not board and getattr(old.board, "closed", False):
                old.close()


class Panel(metaclass=_OnePerBoard):
    """A view of a board. It owns no trading state; everything it shows is also in `to_frame()`.

    Subclasses set `title`, `hz` and `span`, return their parts from `body` and `tools`, and write widgets in `paint`,
    which the pump calls at most `hz` times a second. `frame` goes into a dashboard's grid, `widget` stands alone.
    Own attributes are set before `super().__init__`, which calls `body`, `tools` and the first `paint`.
    """

    title: ClassVar[str] = "Panel"
    hz: ClassVar[float] = 2.0
    span: ClassVar[str] = "12"
    local: ClassVar[bool] = False  # works without the engine, so it goes on when that is gone

    def __init__(self, board: Board) -> None:
        self.board = board
        self.shown = True
        self.closed = False
        self._due_s = 0.0
        self._failed = False
        self._painted = False
        self._heeded: set[str] = set()
        self._widget: widgets.VBox | None = None
        self._retry: Callable[[], None] | None = None
        self._build()
        self.pump: Pump = pump()
        self.pump.start()
        self.pump.register(self)
        self.first_paint()

    def body(self) -> list[widgets.Widget]:
        """Return the parts of the body; called once."""
        return []

    def tools(self) -> list[widgets.Widget]:
        """Return the controls of the head; called once, after `body`."""
        return []

    @abstractmethod
    def paint(self, view: EngineView) -> None:
        """Write what changed."""

    def to_frame(self) -> pd.DataFrame:
        """Return what the panel shows as a frame."""
        return pd.DataFrame()

    def _build(self) -> None:
        """Make the frame with its strip, its empty state and its parts."""
        self._message = controls.styled(widgets.HTML(), "sn-msg")
        copy = controls.styled(controls.btn("Copy details"), "sn-copy")
        retry = controls.btn("Retry", do=self.retry)
        self.strip = controls.styled(widgets.HBox([self._message, copy, retry]), "sn-strip", "sn-off")
        self._blank = controls.styled(widgets.HTML(), "sn-empty", "sn-off")
        self._inner = controls.styled(widgets.VBox(self.body()), "sn-inner")
        parts = [self.strip, self._blank, self._inner]
        self.frame: controls.Frame = controls.panel(self.title, parts, self.tools(), self.span)
        for drawn in self._own_widgets(self.frame):
            drawn.on_error = self._browser_error
        self.frame.add_class("is-loading")

    def _own_widgets(self, box: widgets.Widget) -> Iterator[BrowserWidget]:
        """Yield our own widgets below a box."""
        if isinstance(box, BrowserWidget):
            yield box
        for child in getattr(box, "children", ()):
            yield from self._own_widgets(child)

    @property
    def widget(self) -> widgets.VBox:
        """Return the panel as it stands alone."""
        if self._widget is None:
            self._widget = root(controls.styled(widgets.VBox([self.frame]), "sn-alone"))
        return self._widget

    def first_paint(self) -> None:
        """Paint once while the panel is built, so that a cell shows numbers at once."""
        self.tick(0.0, lambda board: board.view(), force=True)

    def tick(self, now_s: float, picture: Callable[[Board], Any], *, force: bool) -> None:
        """Paint if it is due; a failure is shown in this panel only, until Retry."""
        if self._retry is not None:
            self._clear()  # the pump had failed and ticks again
        if self.closed or self._failed or (now_s < self._due_s and not force):
            return
        self._due_s = (math.floor(now_s * self.hz + 0.02) + 1.0) / self.hz - 0.01  # equal rates show equal pictures
        try:
            view = picture(self.board)
            self._heed(view)
            self.paint(view)
        except StratnbError as error:
            self.fail(error.code, f"{error.message}" + (f"; {error.hint}" if error.hint else ""))
        except Exception as error:
            LOG.exception("panel %s could not be painted", self.title)
            self.fail(f"ui_{type(self).__name__.lower()}", f"{self.title} could not be drawn ({type(error).__name__})")
        else:
            if not self._painted:
                self._painted = True
                self.frame.remove_class("is-loading")

    def _heed(self, view: Any) -> None:
        """Let the page gray what a silent engine has left, and say which controls need a login."""
        if self.local:
            return
        rights = getattr(view, "rights", "owner")
        for name, on in (
            ("is-offline", getattr(view, "offline_since_ms", None) is not None),
            ("is-viewer", rights == "viewer"),
            ("is-operator", rights == "operator"),
        ):
            if on != (name in self._heeded):
                self._heeded ^= {name}
                (self.frame.add_class if on else self.frame.remove_class)(name)

    def repaint(self) -> None:
        """Paint at the next tick whatever the rate says."""
        self._due_s = 0.0
        self.pump.poke()

    def show_empty(self, sentence: str = "", next_step: str = "") -> None:
        """Show a sentence and the next step instead of the parts; without words, show the parts again."""
        self._blank.value = f"<strong>{escape(sentence)}</strong><span>{escape(next_step)}</span>" if sentence else ""
        controls.show(self._blank, bool(sentence))
        controls.show(self._inner, not sentence)

    def mark_stale(self, reason: str = "") -> None:
        """Gray the panel and say why; without a reason, take it back."""
        self.frame.remove_class("is-stale") if not reason else self.frame.add_class("is-stale")
        self.frame.note(reason)

    def fail(self, code: str, message: str, *, retry: Callable[[], None] | None = None) -> None:
        """Show an error strip with the code; the parts keep their last values."""
        self._failed, self._retry = True, retry
        self.frame.remove_class("is-loading")
        self._strip(code, message)

    def _strip(self, code: str, message: str) -> None:
        """Fill and show the strip."""
        details = escape(f"{type(self).__name__}: [{code}] {message}")
        words = f"<strong>{escape(code)}</strong><span>{escape(message)}.</span>"
        self._message.value = f'<span role="alert">{words}</span><span class="sn-details sn-vh">{details}</span>'
        controls.show(self.strip, True)

    def retry(self) -> None:
        """Take the strip away and paint again at the next tick."""
        again = self._retry
        self._clear()
        if again is not None:
            again()
        self.repaint()

    def _clear(self) -> None:
        """Forget a failure and take its strip away."""
        self._failed, self._retry = False, None
        controls.show(self.strip, False)

    def _browser_error(self, where: str, message: str) -> None:
        """Show an error of the browser; painting goes on."""
        self._strip("ui_browser", f"The browser could not draw a part ({where}: {message[:160]})")

    def submit(self, op: str, /, on_done: Callable[[Any], None] | None = None, **arguments: Any) -> Any:
        """Queue an operation and return its job; `on_done(job)` runs in the tick after it has ended."""
        job = self.board.submit(op, **arguments)
        self.pump.track(job, on_done or self.report)
        return job

    def report(self, job: Any) -> None:
        """Show the failure of a job in the strip, with its code and remedy."""
        error = job.error
        if error is None:
            controls.show(self.strip, self._failed)
            return
        if isinstance(error, StratnbError):
            error = (error.code, error.message, error.hint)
        if isinstance(error, tuple):
            code, message, hint = (*error, "", "")[:3]
            self._strip(str(code), f"{message}; {hint}" if hint else str(message))
            return
        self._strip(type(error).__name__, str(error))

    def close(self) -> None:
        """Stop painting and close the panel's widgets."""
        if self.closed:
            return
        self.closed = True
        self.pump.unregister(self)
        if self._widget is not None:
            self._widget.children = self._widget.children[1:]  # the scripts are shared
            controls.discard(self._widget)
        for part in (*vars(self).values(), *vars(self.frame).values()):  # what hangs in no box at the moment, too
            if isinstance(part, widgets.DOMWidget):
                controls.discard(part)

    def __repr__(self) -> str:
        """Return the panel on one line."""
        return f"<{type(self).__name__} {'closed' if self.closed else 'live'}>"

    def _repr_mimebundle_(self, **kwargs: Any) -> Mapping[str, Any]:
        """Return the live panel, with HTML and plain text for places without widgets."""
        if self.closed:
            return {"text/plain": repr(self)}
        bundle: dict[str, Any] = dict(self.widget._repr_mimebundle_(**kwargs) or {})
        try:
            frame = self.to_frame().head(50)
        except Exception:
            LOG.exception("panel %s has no frame", self.title)
            frame = pd.DataFrame()
        bundle["text/plain"] = f"{self!r}\n{frame.to_string()}" if len(frame) else repr(self)
        bundle["text/html"] = f"<h3>{escape(self.title)}</h3>" + frame.to_html(escape=True)
        return bundle
