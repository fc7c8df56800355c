"""Who waits for a compiler: never little work, however often it is done; and what is compiled can be asked for."""

from __future__ import annotations

import time
from typing import Any, cast

import pytest

from stratnb.kernels import beside
from stratnb.kernels.jit import Kernel
from stratnb.research import tiers
from stratnb.ui.panels.sweep import SweepPanel
from stratnb.ui.research_board import ResearchBoard
from stratnb.ui.work import Work


@pytest.fixture
def loop(monkeypatch: pytest.MonkeyPatch) -> Kernel[..., Any]:
    """Return a loop that is on no disk."""
    monkeypatch.setattr(tiers, "is_fused", lambda _: False)
    monkeypatch.setattr(tiers, "_seen", {})
    monkeypatch.setattr(tiers, "tell", lambda: None)
    return cast("Kernel[..., Any]", Kernel(test_little_work_never_waits_however_often, None))


def test_little_work_never_waits_however_often(loop: Kernel[..., Any]) -> None:
    little = tiers.WORTH_WAITING - 1
    assert not any(tiers.pays(loop, little) for _ in range(3 * tiers.WORTH_COMPILING // little))


def test_work_that_is_not_little_waits_once_it_comes_to_enough(loop: Kernel[..., Any]) -> None:
    each = tiers.WORTH_COMPILING // 10
    assert [tiers.pays(loop, each) for _ in range(10)] == [False] * 9 + [True]


def test_a_part_of_much_waits_at_once(loop: Kernel[..., Any]) -> None:
    assert tiers.pays(loop, 1, whole=tiers.WORTH_COMPILING)
    assert not tiers.pays(loop, 1, whole=tiers.WORTH_COMPILING - 1)


def test_what_is_compiled_is_known_while_it_lasts(loop: Kernel[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    monkeypatch.setattr(tiers, "is_usable", lambda _: not seen.append(tiers.compiling()))
    assert tiers.usable([loop]) and seen == ["loop"] and tiers.compiling() == ""
    monkeypatch.setattr(tiers, "is_fused", lambda _: True)
    assert tiers.usable([loop]) and seen[1:] == [""], "a loop from the disk is not compiled"
    with beside._at_work():
        assert tiers.compiling() == "blocks"


def test_the_progress_of_a_panel_says_that_it_compiles(monkeypatch: pytest.MonkeyPatch) -> None:
    panel, work = SweepPanel(ResearchBoard()), Work(lambda **_: None)
    work.join(5)
    for what in ("blocks", "loop"):
        monkeypatch.setattr("stratnb.ui.panels.working.compiling", lambda what=what: what)
        panel.show_progress(work)
        assert panel.status.value == "<span>Preparing</span>", "what is soon over is not told"
        panel._compiling_since = time.monotonic() - 3.0
        panel.show_progress(work)
        assert "once on this machine, 3.0 s so far" in panel.status.value
        panel._compiling_since = None
    monkeypatch.setattr("stratnb.ui.panels.working.compiling", lambda: "")
    panel.show_progress(work)
    assert panel.status.value == "<span>Preparing</span>"
    panel.close()
