"""The login in the head of an observer's page: the role, a field for the token, and the way out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import ipywidgets as w
import traitlets

from stratnb.errors import StratnbError
from stratnb.ui.controls import btn, show, styled
from stratnb.ui.format import escape
from stratnb.ui.panels.acting import refusal_html
from stratnb.ui.pump import pump
from stratnb.ui.work import Work
from stratnb.view import EngineView

__all__ = ["LoginBox"]

ROLES: Final[Mapping[str, tuple[str, str]]] = {
    "viewer": ("mute", "Viewer"),
    "operator": ("info", "Operator"),
    "owner": ("warn", "Owner"),
}
RIGHTS: Final[Mapping[str, str]] = {
    "viewer": "A viewer sees everything and changes nothing",
    "operator": "An operator starts, switches, closes, tightens and kills",
    "owner": "An owner also changes configurations, loosens limits and releases halts",
}
WHERE: Final = "The command that serves this page has printed the file that holds it"


class _Token(w.Password):  # type: ignore[misc]
    """A password field whose text the kernel never sends back to a browser."""

    value = traitlets.Unicode("").tag(sync=True, echo_update=False)


class LoginBox(w.HBox):  # type: ignore[misc]
    """Logs a page in and out; `login` is that of its board, `told` hears of a change."""

    def __init__(self, login: Any, told: Callable[[], None] = lambda: None) -> None:
        self._login = login
        self._told = told
        self._work: Work | None = None
        self.badge = w.HTML()
        self.token = styled(_Token(description="Token", placeholder="Operator token"), "sn-field", "sn-nolabel")
        self.token.on_msg(self._submitted)
        self.enter = btn("Log in", "", tip=WHERE, do=self.submit)
        self.leave = styled(btn("Log out", "quiet", do=self._leave), "sn-off")
        self.said = styled(w.HTML(), "sn-loginsaid", "sn-off")
        super().__init__([self.badge, self.token, self.enter, self.leave])
        styled(self, "sn-login")

    def paint(self, view: EngineView) -> None:
        """Write what changed."""
        role = view.rights
        tone, word = ROLES[role]
        left = f" · {max(1, round(self._login.left_s / 60))} min" if role != "viewer" else ""
        badge = f'<span class="sn-tag sn-t-{tone}" title="{escape(RIGHTS[role])}">{escape(word + left)}</span>'
        paused_s = self._login.paused_s
        busy = self._work is not None
        label = "Checking" if busy else f"Wait {paused_s:.0f} s" if paused_s else "Log in"
        for widget, trait, value in (
            (self.badge, "value", badge),
            (self.enter, "description", label),
            (self.enter, "disabled", busy or bool(paused_s)),
            (self.token, "disabled", bool(paused_s)),
        ):
            if getattr(widget, trait) != value:
                setattr(widget, trait, value)
        for widget in (self.token, self.enter):
            show(widget, role == "viewer")
        show(self.leave, role != "viewer")

    def submit(self) -> None:
        """Check what was typed, in a thread; the field is emptied at once."""
        token, self.token.value = self.token.value, ""
        if not token.strip() or self._work is not None:
            return
        show(self.said, False)
        self._work = Work(lambda **_: self._login.enter(token))
        pump().track(self._work, self._ended)

    def _submitted(self, _widget: object, content: Any, _buffers: object) -> None:
        """Take Enter in the field."""
        if isinstance(content, dict) and content.get("event") == "submit":
            self.submit()

    def _ended(self, work: Any) -> None:
        self._work = None
        error = work.error
        if isinstance(error, StratnbError):
            hint = "" if error.code == "login_paused" else f'<span class="sn-hint">{escape(WHERE)}.</span>'
            self.said.value = f'<span role="alert" class="sn-fault">{refusal_html(error)}{hint}</span>'
        elif error is not None:
            self.said.value = f'<span role="alert" class="sn-fault">{refusal_html(error)}</span>'
        show(self.said, error is not None)
        self._told()

    def _leave(self) -> None:
        self._login.leave()
        show(self.said, False)
        self._told()
