"""P14 on a real engine: it shows what runs, edits are a patch, nothing is overwritten, every version comes back."""

from __future__ import annotations

import base64
import json
import re
import time
from collections.abc import Iterator
from typing import Any

import pytest

from sample_board import INJECTION, SampleBoard
from stratnb.engine import Engine
from stratnb.strategy.documents import build_config, library, validate
from stratnb.strategy.merge import merge_layers
from stratnb.strategy.paths import leaves
from stratnb.ui.panels.config_draft import Draft, shown
from stratnb.ui.panels.config_editor import ConfigEditor
from stratnb.ui.panels.config_form import config_form, values_of
from stratnb.ui.pump import pump
from stratnb.ui.selection import selection
from stratnb.view import ConfigView
from trading_cases import FREE, document, market, registered, wander


@pytest.fixture(autouse=True)
def test_blocks() -> Iterator[None]:
    with registered():
        yield


@pytest.fixture
def engine() -> Iterator[Engine]:
    """Return an engine with one strategy that runs its second version."""
    with Engine("case", candles=wander(200, 4), cash=1e6, limits=FREE, markets=[market()]) as made:
        key = made.add(document(analyzers=[{"kind": "scripted"}, {"kind": "dice", "params": {"side": 2}}]))
        made.activate(key)
        made.step(50)
        made.apply(key, {"entry.min_confidence": 0.7}, author="ana", reason="calmer")
        yield made


@pytest.fixture
def editor(engine: Engine) -> Iterator[ConfigEditor]:
    made = ConfigEditor(engine.board)
    made.author.value = "me"
    yield made
    made.close()


def settle(panel: ConfigEditor) -> None:
    """Let edits, previews and operations come to their end."""
    for _ in range(400):
        panel._edited_s = 0.0  # the pause after an edit is over
        panel.tick(0.0, lambda board: board.view(), force=True)
        if not pump()._jobs and not panel._running and panel._asked and panel._asked[0] == panel._round:
            break
        time.sleep(0.005)
        pump().paint_now()
    panel.tick(0.0, lambda board: board.view(), force=True)


def confirm(panel: ConfigEditor) -> None:
    """Take the second step."""
    assert panel.confirm.is_open
    panel.confirm.yes.disabled = False
    panel.confirm.yes.click()
    settle(panel)


def field(panel: ConfigEditor, path: str) -> Any:
    assert panel.sheet.form is not None
    return dict(values_of(panel.sheet.form, ""))[path]


def badges(panel: ConfigEditor) -> list[str]:
    return re.findall(r'class="sn-tag [^"]*">([^<]*)<', panel.status.value)


KEY = "case@AAA/USDT#main"


def test_it_opens_with_what_runs_and_where_every_value_comes_from(editor: ConfigEditor, engine: Engine) -> None:
    assert editor.draft is not None
    assert editor.draft.document == engine.board.document(KEY)
    assert editor.draft.patch == {}
    assert "version 2 runs · no edits" in editor.status.value
    marks = {path: each._mark[0] for path, each in values_of(editor.sheet.form, "")}  # type: ignore[arg-type]
    assert marks["entry.min_confidence"] == "override"
    assert marks["exits.stop_loss.fraction"] == "strategy"
    assert marks["analyzers[1].params.side"] == "strategy"
    assert marks["entry.max_conflict"] == "default"
    assert editor.apply.disabled
    frame = editor.to_frame()
    assert set(frame["source"]) <= {"default", "base", "strategy", "override"}


@pytest.mark.parametrize("name", library())
def test_every_value_of_a_document_has_its_place_in_the_form(name: str) -> None:
    config = build_config(name, symbol="BTC/USDT").config
    shown_at = {path for path, _ in values_of(config_form(config, lambda _: None), "")}
    written = [path for path, value in leaves(config.to_document()) if value != {}]
    # A list of numbers or texts is one value of the form.
    missing = {path for path in written if not {path, re.sub(r"\[\d+\]$", "", path)} & shown_at}
    assert missing == {"schema"}


def test_an_edit_is_a_patch_and_is_applied_with_author_and_reason(editor: ConfigEditor, engine: Engine) -> None:
    field(editor, "analyzers[1].params.side").offer(9)
    field(editor, "entry.min_confidence").offer(0.8)
    settle(editor)
    assert editor.draft is not None
    assert editor.draft.patch == {"analyzers[1].params.side": 9, "entry.min_confidence": 0.8}
    assert badges(editor) == ["Needs rebuild"]
    assert [row["id"] for row in editor.changes.rows] == ["analyzers[1].params.side", "entry.min_confidence"]
    assert field(editor, "entry.min_confidence")._mark[0] == "edited"
    editor._acted("revert", "analyzers[1].params.side")
    settle(editor)
    assert editor.draft.patch == {"entry.min_confidence": 0.8}
    assert badges(editor) == []
    editor.reason.value = "why not"
    editor.apply.click()
    confirm(editor)
    made = engine.versions(KEY)[-1]
    assert (made.number, made.author, made.reason, dict(made.patch)) == (
        3,
        "me",
        "why not",
        {"entry.min_confidence": 0.8},
    )
    assert "version 3 runs · no edits" in editor.status.value
    assert [row["id"] for row in editor.history.rows] == ["3", "2", "1"]


def test_without_a_name_nothing_is_applied(editor: ConfigEditor, engine: Engine) -> None:
    editor.author.value = "  "
    field(editor, "entry.min_confidence").offer(0.8)
    settle(editor)
    editor.apply.click()
    editor._acted("rollback", "1")
    assert not editor.confirm.is_open
    assert "author" in editor._said.value
    assert len(engine.versions(KEY)) == 2


def test_what_the_engine_finds_is_shown_and_cannot_be_applied(editor: ConfigEditor) -> None:
    assert not field(editor, "entry.min_confidence").offer(7)
    editor.sheet.way.value = "JSON"
    text = editor.sheet.text.value
    for wrong, word in (
        ("{", "JSON"),
        (text.replace('"vote"', '"votes"'), "did you mean"),
        (text.replace('"min_agreeing"', '"min_agreein"'), "min_agreein"),
        (f"[{text}]", "object"),
    ):
        editor.sheet.text.value = wrong
        settle(editor)
        assert word in editor.sheet.said.value
        assert badges(editor) == ["Invalid"]
        assert editor.apply.disabled
        editor.sheet.way.value = "Form"
        assert editor.sheet.way.value == "JSON"
    editor.sheet.text.value = text.replace("AAA/USDT", "BBB/USDT")
    settle(editor)
    assert "cannot change" in editor.findings.value
    assert "Invalid" in badges(editor)
    assert editor.apply.disabled
    editor.sheet.text.value = text.replace('"fraction": 0.02', '"fraction": 0.03')
    settle(editor)
    assert badges(editor) == ["Needs rebuild"]
    editor.sheet.way.value = "Form"
    assert field(editor, "exits.stop_loss.fraction").value == 0.03


def test_changed_elsewhere_meanwhile_overwrites_nothing(editor: ConfigEditor, engine: Engine) -> None:
    field(editor, "entry.min_confidence").offer(0.9)
    field(editor, "exits.stop_loss.fraction").offer(0.01)
    settle(editor)
    engine.apply(KEY, {"entry.min_confidence": 0.65, "title": "Theirs"}, author="zoe")
    settle(editor)
    assert "sn-off" not in editor.conflict._dom_classes
    assert "zoe" in editor.clash.value
    assert badges(editor)[-1] == "Changed elsewhere"
    assert editor.apply.disabled
    rows = {row["id"]: [row[name]["t"] for name in ("before", "theirs", "mine")] for row in editor.clashes.rows}
    assert rows == {
        "entry.min_confidence": ["0.7", "0.65", "0.9"],
        "exits.stop_loss.fraction": ["0.02", "0.02", "0.01"],
        "title": ["Case", "Theirs", "Case"],
    }
    editor._rebase()
    settle(editor)
    assert editor.draft is not None
    assert editor.draft.patch == {"entry.min_confidence": 0.9, "exits.stop_loss.fraction": 0.01}
    assert editor.draft.document["title"] == "Theirs"
    editor.apply.click()
    confirm(editor)
    assert engine.board.document(KEY)["title"] == "Theirs"
    assert engine.board.document(KEY)["entry"]["min_confidence"] == 0.9


def test_without_edits_it_follows_and_discarding_does_too(editor: ConfigEditor, engine: Engine) -> None:
    engine.apply(KEY, {"title": "Other"}, author="zoe")
    settle(editor)
    assert field(editor, "title").value == "Other"
    assert "sn-off" in editor.conflict._dom_classes
    field(editor, "title").offer("Mine")
    settle(editor)
    editor.discard.click()
    settle(editor)
    assert field(editor, "title").value == "Other"


def test_a_version_is_compared_and_comes_back(editor: ConfigEditor, engine: Engine) -> None:
    editor.compare.value = 1
    assert [(row["id"], row["before"]["t"], row["after"]["t"]) for row in editor.changes.rows] == [
        ("entry.min_confidence", "0.6", "0.7")
    ]
    editor._acted("rollback", "1")
    confirm(editor)
    assert engine.versions(KEY)[-1].config_hash == engine.versions(KEY)[0].config_hash
    assert "version 3 runs" in editor.status.value
    assert field(editor, "entry.min_confidence")._mark[0] == "default"


def test_export_and_import_are_the_same_document(editor: ConfigEditor) -> None:
    editor._export(schema=False)
    data = base64.b64decode(re.search(r"base64,([^\"]+)", editor.link.value)[1])  # type: ignore[index]
    assert editor.draft is not None
    assert json.loads(data) == editor.draft.document
    editor.sheet.load(data.decode().replace('"Case"', '"Imported"'))
    settle(editor)
    assert editor.draft.patch == {"title": "Imported"}
    editor.sheet.load("no document")
    assert editor.sheet.way.value == "JSON"
    assert editor.sheet.faults
    editor._export(schema=True)
    assert "stratnb.schema.json" in editor.link.value


@pytest.mark.parametrize("name", library())
def test_a_draft_of_another_document_is_a_patch_that_leads_there(name: str) -> None:
    running = build_config("simple-levels", symbol="BTC/USDT")
    draft = Draft(ConfigView("x", 1, running.config.to_document(), dict(running.provenance), ()))
    wanted = build_config(name, symbol="BTC/USDT").config
    assert draft.read(json.dumps(wanted.to_document())) == ()
    merged, _ = merge_layers([("strategy", draft.running), ("override", draft.patch)])
    assert validate(merged).config_hash == wanted.config_hash
    assert shown({"a": "x" * 200}).endswith("…")


def test_no_strategy_and_foreign_words() -> None:
    empty = ConfigEditor(SampleBoard(0))
    assert "No strategy selected" in empty._blank.value
    empty.close()
    board = SampleBoard(2)
    panel = ConfigEditor(board)
    selection(board).choose(board.view().strategies[1].strategy_id)
    panel.tick(0.0, lambda b: b.view(), force=True)
    assert panel.pick.value == board.view().strategies[1].strategy_id
    assert INJECTION not in panel.status.value + panel.clash.value + panel.findings.value
    panel.close()
