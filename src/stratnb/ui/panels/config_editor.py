"""P14, the configuration editor: edit what runs, see what it changes, apply it as a version, go back."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from functools import partial
from typing import Any, ClassVar

import ipywidgets as w
import pandas as pd

from stratnb.errors import ConfigError, StratnbError
from stratnb.strategy.merge import diff
from stratnb.strategy.schema import dumps
from stratnb.ui.controls import Confirm, btn, dropdown, field, show, styled, text
from stratnb.ui.format import count, escape, words
from stratnb.ui.panels.acting import ActingPanel
from stratnb.ui.panels.config_draft import Draft, complete
from stratnb.ui.panels.config_rows import (
    CHANGES,
    CONFLICT,
    VERSIONS,
    change_rows,
    conflict_rows,
    diff_rows,
    version_rows,
)
from stratnb.ui.panels.config_sheet import ConfigSheet, findings_html
from stratnb.ui.panels.download import download
from stratnb.ui.selection import selection
from stratnb.ui.widgets import Table
from stratnb.ui.work import Work
from stratnb.view import ConfigView, EngineView, Preview, StrategyView

__all__ = ["ConfigEditor"]

PREVIEW_S = 0.3
RUNNING = 0
_NO_CHANGE = {"t": "No change", "sub": "The sheet shows what runs. Edit a value to see the difference here."}


class ConfigEditor(ActingPanel):
    """The running configuration of the selected strategy; nothing changes before Apply."""

    title: ClassVar[str] = "Configuration"
    hz: ClassVar[float] = 4.0

    def body(self) -> list[w.Widget]:
        """Make the sheet on the left, the changes and the versions on the right."""
        self.selection = selection(self.board)
        self.selection.listen(self.repaint)
        self.view: ConfigView | None = None
        self.strategy: StrategyView | None = None
        self.draft: Draft | None = None
        self.found: Preview | None = None
        self._round, self._edited_s, self._fresh = 0, 0.0, False
        self._asked: Any = None
        self.sheet = ConfigSheet(self._edited)
        self.status = styled(w.HTML(), "sn-confstate")
        self.findings = styled(w.HTML(), "sn-findings", "sn-off")
        self.changes = Table(caption="Changes", cols=CHANGES, page=12, empty=_NO_CHANGE)
        self.changes.on_act = self._acted
        self.history = Table(caption="Versions", cols=VERSIONS, page=8)
        self.history.on_act = self._acted
        self.compare = dropdown("Compare with", [("what runs", RUNNING)], RUNNING)
        self.compare.observe(lambda _: self._show_changes(), "value")
        changed = styled(w.HBox([text("Changes", "h3"), self.compare]), "sn-confhead")
        side = [changed, self.changes, text("Versions", "h3"), self.history]
        columns = w.HBox([self.sheet, styled(w.VBox(side), "sn-confside")])
        top = styled(w.VBox([w.HBox([self.status, self._acting()]), self.confirm, self.findings]), "sn-conftop")
        return [top, self._conflict(), styled(columns, "sn-config")]

    def _acting(self) -> w.Widget:
        """Make the line that applies."""
        self.author = field("Author", "Your name", hide_label=True)
        self.reason = field("Reason", "Why (optional)", hide_label=True)
        self.check = btn("Validate", tip="Check it against market and engine; nothing changes", do=self._validate)
        self.apply = btn("Apply…", "primary", tip="Apply it as a new version; asks first", do=self._ask)
        self.discard = btn("Discard", "quiet", tip="Back to what runs", do=self._discard)
        self.confirm = Confirm("Apply", "primary")
        for button in (self.apply, self.confirm.yes):
            styled(button, "sn-owner")
        return styled(w.HBox([self.author, self.reason, self.check, self.apply, self.discard]), "sn-confact")

    def _conflict(self) -> w.Widget:
        """Make the part that shows what was changed elsewhere meanwhile."""
        self.clash = styled(w.HTML(), "sn-effect")
        self.clashes = Table(caption="Changed elsewhere", cols=CONFLICT, page=12)
        take = btn("Keep my edits on top", "primary", tip="Lay my edits over the new version", do=self._rebase)
        drop = btn("Discard my edits", tip="Show the new version", do=self._discard)
        head = styled(w.HBox([self.clash, w.HBox([take, drop])]), "sn-drawer")
        self.conflict = styled(w.VBox([head, self.clashes]), "sn-off")
        return self.conflict

    def tools(self) -> list[w.Widget]:
        """Make the choice of strategy and sheet, import and export."""
        self.pick = dropdown("Strategy", [("no strategy", "")], "", hide_label=True)
        self.pick.observe(self._picked, "value")
        self.upload = w.FileUpload(icon="", accept=".json", description="Import", tooltip="Import")
        styled(self.upload, "sn-btn", "sn-upload").observe(self._uploaded, "value")
        export = btn("Export", "quiet", tip="Save the edited document as JSON", do=partial(self._export, schema=False))
        schema = btn("Schema", "quiet", tip="Save the JSON schema of documents", do=partial(self._export, schema=True))
        self.link = styled(w.HTML(), "sn-off")
        return [self.pick, self.sheet.way, self.upload, export, schema, self.link]

    def paint(self, view: EngineView) -> None:
        """Follow the selection; a version applied elsewhere is shown, or asked about while there are edits."""
        key = self.selection.settle(view)
        self._offer(view, key)
        self.strategy = next((s for s in view.strategies if s.strategy_id == key), None)
        if self.strategy is None:
            self.view = self.draft = None
            self.show_empty("No strategy selected", "Add a strategy in Overview, then edit its configuration here.")
            return
        self.show_empty()
        if self.view is None or (self.view.strategy_id, self.view.number) != (key, self.strategy.config_version):
            self._load(self.board.configuration(key))
        if self._fresh:
            self._fresh = False
            self.sheet.remark()
            self._show_changes()
        if time.monotonic() - self._edited_s >= PREVIEW_S:
            self._preview()
        self._say()

    def _offer(self, view: EngineView, key: str) -> None:
        options = [(f"{s.title or s.name} · {s.symbol} {s.label}", s.strategy_id) for s in view.strategies]
        options = options or [("no strategy", "")]
        if tuple(self.pick.options) != tuple(options):
            self.pick.options = options
        if self.pick.value != key and key in dict(options).values():
            self.pick.value = key

    def _picked(self, change: Mapping[str, Any]) -> None:
        if change["new"] and change["new"] != self.selection.strategy_id:
            self.selection.choose(change["new"])

    def _load(self, fresh: ConfigView) -> None:
        """Take over what runs; edits of the same strategy are kept until a person has decided."""
        other = self.view is None or self.view.strategy_id != fresh.strategy_id
        self.view = fresh
        options = [("what runs", RUNNING), *((f"v{v.number}", v.number) for v in reversed(fresh.versions))]
        self.compare.options = options
        self.history.show(version_rows(fresh.versions, fresh.number))
        if other or self.draft is None or not self.draft.patch or self.draft.document == fresh.document:
            self._open(fresh)
            return
        rows = self.draft.against(fresh)
        newest = fresh.versions[-1] if fresh.versions else None
        who = f" by {newest.author}" if newest is not None and newest.author else ""
        self.clash.value = escape(
            f"Version {fresh.number} was applied{who} while you edited version {self.draft.based_on}. "
            "Nothing of it is overwritten; decide what becomes of your edits."
        )
        self.clashes.show(conflict_rows(rows))
        show(self.conflict, True)

    def _open(self, view: ConfigView) -> None:
        """Show what runs; a form that shows the same values stays as it is, with its sections open."""
        before, self.draft = self.draft, Draft(view)
        same = before is not None and before.strategy_id == view.strategy_id and before.document == view.document
        self.sheet.take(self.draft, anew=not same or bool(self.sheet.faults))
        self.compare.value = RUNNING
        self._settled()

    def _settled(self) -> None:
        """Show the draft after it was made anew."""
        show(self.conflict, False)
        self.confirm.no.click()
        self._edited()

    @property
    def is_stale(self) -> bool:
        """Return whether something else runs than what the draft was made from."""
        return self.draft is not None and self.view is not None and self.draft.based_on != self.view.number

    def _edited(self) -> None:
        """Note an edit; the next tick shows it, and asks for a preview 0.3 s after the last one."""
        self._round += 1
        self._edited_s = time.monotonic()
        self._fresh, self.found = True, None
        self.repaint()

    def _preview(self) -> None:
        """Ask what the edits would do, again when position or order of the strategy changed."""
        if self.draft is None or self.strategy is None:
            return
        patch, s = self.draft.patch, self.strategy
        now = (self._round, s.strategy_id, s.config_version, s.side, s.order)
        if now == self._asked:
            return
        self._asked = now
        if not patch:
            self._took(now, None)
            return
        work = Work(lambda **_: self.board.preview(s.strategy_id, patch))
        self.pump.track(work, lambda done: self._previewed(now, done))

    def _previewed(self, asked: Any, work: Any) -> None:
        if work.error is None:
            self._took(asked, work.result())
        elif asked == self._asked:
            self.refuse(work.error)

    def _took(self, asked: Any, found: Preview | None) -> None:
        if asked != self._asked:
            return
        self.found = found
        told = (*found.errors, *found.warnings) if found else ()
        self.findings.value = findings_html(told)
        show(self.findings, bool(told))
        self._say()

    def _say(self) -> None:
        """Write what runs, how much was edited, and the badges; offer what can be done."""
        view, draft, s = self.view, self.draft, self.strategy
        if view is None or draft is None or s is None:
            return
        patch, found = draft.patch, self.found
        changed = f"{count(len(patch))} edited" if patch else "no edits"
        told = words((s.title or s.name, s.symbol, f"version {view.number} runs", changed))
        badges = [
            ("Invalid", "err", bool(self.sheet.faults or (found and found.errors))),
            ("Needs rebuild", "info", bool(patch and found and found.needs_rebuild)),
            ("Needs flat", "warn", bool(patch and found and found.needs_flat)),
            ("Changed elsewhere", "warn", self.is_stale),
        ]
        chips = "".join(f' <span class="sn-tag sn-t-{tone}">{escape(word)}</span>' for word, tone, on in badges if on)
        value = f"<span>{escape(told)}</span>{chips}"
        if self.status.value != value:
            self.status.value = value
        bad = bool(self.sheet.faults) or found is None or bool(found.errors) or found.needs_flat or self.is_stale
        for button, off in (
            (self.apply, not patch or bad),
            (self.check, not patch),
            (self.discard, not (patch or self.sheet.faults)),
        ):
            if button.disabled != off:
                button.disabled = off

    def _show_changes(self) -> None:
        """Show the edits, or how the sheet differs from a version."""
        if self.draft is None or self.view is None:
            return
        chosen = next((v for v in self.view.versions if v.number == self.compare.value), None)
        if chosen is None:
            self.changes.show(change_rows(self.draft.patch, self.draft.running))
        else:
            self.changes.show(diff_rows(diff(complete(chosen), self.draft.document)))

    def _acted(self, action: str, row: str) -> None:
        """Answer a button of a row."""
        if self.draft is None or self.view is None:
            return
        if action == "revert":
            try:
                self.draft.revert(row)
            except ConfigError as error:
                self.refuse(error)
                return
            self.sheet.refresh()
            self._edited()
        elif action == "rollback":
            self._ask_back(int(row))

    def _ask_back(self, number: int) -> None:
        """Ask before an earlier version comes again."""
        assert self.view is not None, "its row is on screen"
        if not self._named():
            return
        target = next(v for v in self.view.versions if v.number == number)
        n = len(diff(self.view.document, complete(target)))
        effect = f"Version {number} runs again from the next candle on: {_values(n)} will change, the position stays."
        given = {"strategy_id": self.view.strategy_id, "version": number, "author": self.author.value.strip()}
        self.confirm.yes.description = "Roll back"
        self.confirm.ask(effect, lambda: self.act("rollback", done=f"Went back to version {number}.", **given))

    def _validate(self) -> None:
        """Ask for a preview now and say how it ended."""
        if self.draft is None:
            return
        try:
            found = self.board.preview(self.draft.strategy_id, self.draft.patch)
        except StratnbError as error:
            self.refuse(error)
            return
        self._took(self._asked, found)
        faults = len(found.errors) + len(self.sheet.faults)
        self.tell(f"{count(faults)} errors" if faults else f"Valid: {_values(len(found.diff))} would change.")

    def _ask(self) -> None:
        """Ask before the edits are applied."""
        if self.draft is None or self.found is None or not self._named():
            return
        faults = self.sheet.wrong()
        if faults:
            self.refuse(ConfigError("form_invalid", faults[0], hint="correct the marked fields, then apply"))
            return
        draft, patch = self.draft, self.draft.patch
        way = "rebuilt beside and swapped at a candle's end" if self.found.needs_rebuild else "changed in place"
        effect = f"{_values(len(patch))} of {draft.strategy_id} will change from the next candle on ({way})."
        given = {"author": self.author.value.strip(), "reason": self.reason.value.strip(), "expected": draft.based_on}

        def _done(_: Any) -> None:
            self.reason.value = ""

        self.confirm.yes.description = "Apply"
        self.confirm.ask(
            effect,
            lambda: self.act(
                "apply",
                strategy_id=draft.strategy_id,
                patch=patch,
                done="Applied as a new version.",
                then=_done,
                **given,
            ),
        )

    def _named(self) -> bool:
        """Return whether the author is given; say so if not."""
        if self.author.value.strip():
            return True
        self.refuse(ConfigError("missing", "a change needs an author", hint="enter your name first"))
        return False

    def _discard(self) -> None:
        if self.view is not None:
            self._open(self.view)

    def _rebase(self) -> None:
        if self.draft is None or self.view is None:
            return
        try:
            self.draft.rebase(self.view)
        except ConfigError as error:
            self.refuse(error)
            return
        self.sheet.refresh()
        self._settled()

    def _uploaded(self, change: Mapping[str, Any]) -> None:
        for file in change["new"] or ():
            self.sheet.load(bytes(file["content"]).decode("utf-8", errors="replace"))
        if change["new"]:
            self.upload.value = ()

    def _export(self, *, schema: bool) -> None:
        if schema:
            self.link.value = download("stratnb.schema.json", dumps(), "application/schema+json")
        elif self.draft is not None:
            written = json.dumps(self.draft.document, indent=1, ensure_ascii=False) + "\n"
            self.link.value = download(f"{self.draft.config.name}.json", written, "application/json")
        show(self.link, True)

    def to_frame(self) -> pd.DataFrame:
        """Return one row per value of the running configuration with its source."""
        if self.view is None:
            return pd.DataFrame(columns=["path", "value", "source"])
        found = [
            (path, after, self.view.sources.get(path, "default")) for path, _, after in diff({}, self.view.document)
        ]
        return pd.DataFrame(found, columns=["path", "value", "source"])


def _values(n: int) -> str:
    return f"{count(n)} value{'' if n == 1 else 's'}"
