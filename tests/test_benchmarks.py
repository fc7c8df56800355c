"""The benchmarks run and print what they promise; how fast they are is not tested."""

from __future__ import annotations

import json
from typing import Any

import pytest
from benchmarks import runtime
from benchmarks.figure import at_least, at_most, noted

TINY: dict[str, dict[str, Any]] = {
    "replay": {"candles": 200},
    "switch": {"near": 2, "far": 1, "cold": 2},
    "size": {"count": 6},
    "churn": {"cycles": 10},
    "heartbeat": {"seconds": 0.02},
    "journal": {
        **{"intents": 5, "candles": 50, "events": 50, "strategies": 3, "seconds": 0.1, "instants": 3},
        "cycles": 10,
    },
}


def test_the_parts_print_figures_beside_targets(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    parts = {name: (runtime.PARTS[name][0], sizes) for name, sizes in TINY.items()}
    monkeypatch.setattr(runtime, "PARTS", parts)
    runtime.main(["--quick"])
    found = json.loads(capsys.readouterr().out)
    assert found["quick"] is True
    assert len(found["figures"]) == 21
    for figure in found["figures"].values():
        assert {"value", "unit", "target", "ok"} <= figure.keys()
        assert isinstance(figure["ok"], bool)
        assert figure["value"] >= 0 or figure["unit"] in ("bytes", "tasks", "threads", "handles")


def test_every_figure_of_a_full_run_has_a_part() -> None:
    assert set(runtime.PARTS) == {*TINY, "startup", "chart", "observer"}


def test_a_figure_knows_whether_it_holds() -> None:
    assert at_most(3.0, "ms", 5.0)["ok"] is True
    assert at_least(3.0, "x", 5.0)["ok"] is False
    assert noted("no Chromium", "ms", "<= 50")["ok"] is None
