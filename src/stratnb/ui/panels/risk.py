"""P8, risk: states and rules of account and strategies, exposure, denials; kill, reduce, release and limits."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, ClassVar

import ipywidgets as w
import pandas as pd

from stratnb.errors import StratnbError
from stratnb.ui.controls import Confirm, btn, dropdown, field, row, segment, show, styled, text
from stratnb.ui.format import escape
from stratnb.ui.panels.acting import ActingPanel
from stratnb.ui.panels.risk_limits import limit_change, limit_choices, limit_text, unit_text
from stratnb.ui.panels.risk_rows import (
    DENIED,
    MARKETS,
    RULES,
    SCOPES,
    denied_rows,
    market_rows,
    rule_name,
    rule_row,
    scope_name,
    scope_row,
    summary,
)
from stratnb.ui.widgets import Table
from stratnb.view import EngineView, RiskScopeView

__all__ = ["RiskPanel"]

ACCOUNT = "account"
_PEAKS = [("Keep the peak", False), ("Reset the peak", True)]


class RiskPanel(ActingPanel):
    """What may be risked and what was: a row of the first table chooses the scope that rules and buttons are about."""

    title: ClassVar[str] = "Risk"
    hz: ClassVar[float] = 2.0
    span: ClassVar[str] = "12"

    def body(self) -> list[w.Widget]:
        """Make the tables, the drawers and the buttons."""
        self._view: EngineView | None = None
        self._scope = ""
        self._asked: dict[str, Any] = {}
        self.scopes = Table(caption="Risk states", cols=SCOPES, selectable=True, current=ACCOUNT, page=10)
        self.scopes.on_act = self._chosen
        none = {"t": "No market", "sub": "A market appears with the first strategy that trades it."}
        quiet = {"t": "Nothing denied", "sub": "Entries that a rule refuses are counted here by its code."}
        self.rules = Table(caption="Risk rules", cols=RULES)
        self.markets = Table(caption="Exposure by market", cols=MARKETS, empty=none)
        self.denied = Table(caption="Denials by code", cols=DENIED, empty=quiet, page=20)
        tables = {"Rules": self.rules, "Exposure": self.markets, "Denied": self.denied}
        self.pages = {name: w.VBox([table]) for name, table in tables.items()}
        self._turn("Rules")
        return [
            self._make_kill(),
            self._make_decision(),
            self._make_limits(),
            self.scopes,
            self._make_bar(),
            *self.pages.values(),
        ]

    def tools(self) -> list[w.Widget]:
        """Make the kill switch, and the test of the notifier for an engine that has one."""
        tip = "Halt the account at once; asks before it acts"
        self.kill = btn("Kill…", "danger", "kill", tip, do=self._ask_kill)
        self.notifier = btn("Test notifier", "quiet", tip="Send a message by the engine's notifier", do=self._test)
        show(styled(self.notifier, "sn-acts"), False)
        return [self.notifier, self.kill]

    def _make_kill(self) -> w.Widget:
        self.flatten = styled(w.Checkbox(value=True, description="Flatten", indent=False), "sn-check")
        self.kill_confirm = confirm = Confirm("Kill now", extra=[self.flatten])
        self.flatten.observe(lambda _: confirm.say(self._kill_effect()), "value")
        return confirm

    def _make_bar(self) -> w.Widget:
        """Make the line between the tables: whose rules are shown, and what may be done about them."""
        self.whose = text("Account", "strong")
        self.what = segment(list(self.pages), "Rules")
        self.what.observe(lambda change: self._turn(change["new"]), "value")
        self.reduce = btn("Reduce…", tip="Only reduce positions until it is activated again", do=self._open_reduce)
        self.release = styled(btn("Release…", tip="End the rules in force", do=self._open_release), "sn-owner")
        self.edit = btn("Limits…", tip="Tighten or loosen limits; loosening needs the owner", do=self._open_limits)
        for button in (self.reduce, self.release, self.edit):
            styled(button, "sn-acts")
        return row(self.whose, self.what, self.reduce, self.release, self.edit, cls="sn-row")

    def _make_decision(self) -> w.Widget:
        """Make the drawer of reduce, activate and release: who decides says why."""
        self.heading = w.HTML()
        self.why = field("Reason", "why")
        self.peak = dropdown("Peak", _PEAKS, False)
        self.go = btn("Release…", "primary", do=self._ask)
        shut = btn("Close", "quiet", do=lambda: show(self.drawer, False))
        self.confirm = Confirm("Confirm", "primary")
        line = w.HBox([self.why, self.peak, self.go])
        self.drawer = styled(w.HBox([self.heading, line, shut, self.confirm]), "sn-drawer", "sn-off")
        return self.drawer

    def _make_limits(self) -> w.Widget:
        """Make the drawer of the limits: tightening acts at once, loosening asks."""
        self.limits_title = w.HTML()
        self.limit = dropdown("Limit", [("", "")])
        self.limit.observe(lambda _: self._show_limit(), "value")
        self.value = field("New value", "3%, 5, off")
        self.unit = styled(w.HTML(), "sn-muted")
        put = btn("Set", "primary", tip="Tightening acts at once; loosening asks first", do=self._set)
        shut = btn("Close", "quiet", do=lambda: show(self.limits, False))
        self.loosen = Confirm("Loosen")
        styled(self.loosen.yes, "sn-owner")
        line = w.HBox([self.limit, self.value, put])
        self.limits = styled(w.HBox([self.limits_title, line, self.unit, shut, self.loosen]), "sn-drawer", "sn-off")
        return self.limits

    def paint(self, view: EngineView) -> None:
        """Write what changed; the tables that are not shown are left alone."""
        self._view = view
        show(self.notifier, view.notifies)
        risk = view.risk
        if risk is None:
            self.show_empty("No risk figures", "They come with the first picture of the engine.")
            return
        self.show_empty()
        scope = self._found()
        self.scopes.show([scope_row(s, view) for s in risk.scopes])
        if self.what.value == "Rules":
            self.rules.show([rule_row(rule, view.now_ms) for rule in scope.rules])
        elif self.what.value == "Exposure":
            self.markets.show(market_rows(risk, view.equity))
        else:
            self.denied.show(denied_rows(risk.denials))
        self._paint_bar(scope)
        self.frame.note(summary(risk, view))

    def _paint_bar(self, scope: RiskScopeView) -> None:
        """Let the buttons follow the state of the chosen scope."""
        words = f"<strong>{escape(scope_name(scope.scope))}</strong>"
        if self.whose.value != words:
            self.whose.value = words
        by_hand = any(rule.rule == "operator" and rule.in_force for rule in scope.rules)
        wanted = ("Activate…", "End the reduction by hand") if by_hand else (
            "Reduce…", "Only reduce positions until it is activated again")  # fmt: skip
        if self.reduce.description != wanted[0]:
            self.reduce.description, self.reduce.tooltip = wanted
            _needs_owner(self.reduce, on=by_hand)
        acting = any(rule.in_force for rule in scope.rules)
        if self.release.disabled == acting:
            self.release.disabled = not acting
            self.release.tooltip = "End the rules in force" if acting else "No rule is in force"

    def _found(self) -> RiskScopeView:
        """Return the chosen scope; the account when a strategy is gone."""
        assert self._view is not None and self._view.risk is not None, "it was painted"
        scopes = self._view.risk.scopes
        found = next((s for s in scopes if s.scope == self._scope), None)
        if found is None:
            self._scope, found = "", scopes[0]
            self.scopes.current = ACCOUNT
        return found

    def _turn(self, chosen: str) -> None:
        """Show the chosen table."""
        for name, page in self.pages.items():
            show(page, name == chosen)
        if self._view is not None:
            self.paint(self._view)

    def _chosen(self, action: str, key: str) -> None:
        """Show the rules of the row that was chosen."""
        if action == "open":
            self._scope = "" if key == ACCOUNT else key
            self.scopes.current = key
            for drawer in (self.drawer, self.limits):
                show(drawer, False)
            self._turn(self.what.value)

    def _test(self) -> None:
        self.act("test_notifier", author="panel", then=lambda text: self.tell(f"Sent: {text}."))

    def _ask_kill(self) -> None:
        show(self.kill, False)

        def _closed() -> None:
            show(self.kill, True)
            self.kill.focus()

        self.kill_confirm.ask(self._kill_effect(), self._kill_now, _closed)

    def _kill_effect(self) -> str:
        held = self._view.open_positions if self._view else 0
        what = "1 position" if held == 1 else f"{held} positions"
        fate = f"closes {what} at market" if self.flatten.value else f"keeps {what} and the stops"
        return f"Halts the account until you release it, cancels waiting entries, {fate}."

    def _kill_now(self) -> None:
        done = "Killed: no entry is taken until you release the account; candles go on."
        self.act("kill", author="panel", flatten=self.flatten.value, done=done)

    def _open_reduce(self) -> None:
        op = "activate_risk" if self.reduce.description.startswith("Activate") else "reduce"
        self._open(op, "Activate" if op == "activate_risk" else "Reduce")

    def _open_release(self) -> None:
        self._open("release", "Release")

    def _open(self, op: str, verb: str) -> None:
        """Open the drawer of a decision about the chosen scope."""
        self._asked = {"op": op, "scope": self._scope}
        acting = ", ".join(rule_name(rule.rule).lower() for rule in self._found().rules if rule.in_force)
        told = f" · ends {acting}" if op == "release" and acting else ""
        self.heading.value = f"<strong>{escape(f'{verb} {scope_name(self._scope)}{told}')}</strong>"
        self.go.description = f"{verb}…"
        for button in (self.go, self.confirm.yes):
            _needs_owner(button, on=op != "reduce")
        self.why.value = ""
        show(self.peak, op == "release")
        show(self.limits, False)
        show(self.drawer, True)
        self.why.focus()

    def _ask(self) -> None:
        """Say what the decision does and wait for the second step."""
        op, name = self._asked["op"], scope_name(self._asked["scope"])
        peak = "The drawdown counts anew." if self.peak.value else "The peak stays: the drawdown rule may fire again."
        effect = {
            "release": f"{name} may enter again; its day starts anew. {peak}",
            "reduce": f"{name} takes no entry and cancels waiting ones; exits go on.",
            "activate_risk": f"{name} may enter again.",
        }[op]
        self.confirm.ask(effect, self._decide)

    def _decide(self) -> None:
        given: dict[str, Any] = {"scope": self._asked["scope"], "author": "panel", "reason": self.why.value}
        if self._asked["op"] == "release":
            given["reset_peak"] = self.peak.value
        name = scope_name(self._asked["scope"])
        done = {"release": f"{name} is released.", "reduce": f"{name} only reduces now."}
        said = done.get(self._asked["op"], f"{name} may enter again.")
        self.act(self._asked["op"], done=said, then=lambda _: show(self.drawer, False), **given)

    def _open_limits(self) -> None:
        scope = self._found()
        self.limits_title.value = f"<strong>{escape(f'Limits of {scope_name(scope.scope)}')}</strong>"
        self.limit.options = limit_choices(scope.scope, scope.limits)
        self._show_limit()
        show(self.drawer, False)
        show(self.limits, True)
        self.value.focus()

    def _show_limit(self) -> None:
        """Show the present value of the chosen limit."""
        scope, path = self._found(), self.limit.value
        if path and path.partition(".")[0] in scope.limits:
            now = limit_text(scope.scope, scope.limits, path)
            self.value.value = now
            told = f"Now {now}; in {unit_text(scope.scope, scope.limits, path)}. Tightening acts at once."
            self.unit.value = f"<span>{escape(told)}</span>"

    def _set(self, *, confirm: bool = False) -> None:
        scope = self._found()
        try:
            changes = limit_change(scope.scope, scope.limits, self.limit.value, self.value.value)
        except StratnbError as error:
            self.refuse(error)
            return
        self._asked = {"changes": changes}
        given: dict[str, Any] = {"scope": scope.scope, "changes": changes, "author": "panel"}
        given |= {"confirm": True} if confirm else {}
        labels = {path: label for label, path in self.limit.options}
        done = f"{labels[self.limit.value]} was set."
        self.act("set_limits", done=done, **given)

    def refuse(self, error: BaseException) -> None:
        """Ask when a limit would be loosened; else show the refusal."""
        if isinstance(error, StratnbError) and error.code == "limits_loosen":
            effect = f"{error.message}. It acts at once and is kept in the journal."
            self.loosen.ask(effect, lambda: self._set(confirm=True))
            return
        super().refuse(error)

    def to_frame(self) -> pd.DataFrame:
        """Return every rule of every scope with value, limit and state."""
        risk = self.board.view().risk
        scopes = risk.scopes if risk is not None else ()
        return pd.DataFrame([{"scope": s.scope or ACCOUNT, **asdict(rule)} for s in scopes for rule in s.rules])


def _needs_owner(button: w.Button, *, on: bool) -> None:
    """Mark a button whose action only an owner may take, or take the mark back."""
    (button.add_class if on else button.remove_class)("sn-owner")
