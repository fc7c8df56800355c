"""The ledger of trials: each counted once, by every process, for as long as nobody says forget."""

from __future__ import annotations

import math
import sqlite3
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from stratnb.errors import ConfigError
from stratnb.market_data import synthetic_market
from stratnb.research.ledger import Ledger, study_of
from stratnb.strategy.documents import build_config

CANDLES = synthetic_market(["BTC/USDT"], "5m", candles=10)[0]


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "deep" / "trials.sqlite")


def test_a_trial_counts_once_however_often_it_runs(ledger: Ledger) -> None:
    for _ in range(3):
        ledger.note("idea", ["a", "b", "c"], [0.1, 0.2, math.nan])
    ledger.note("other", ["a"], [0.5])
    assert (ledger.count("idea"), ledger.count("other"), ledger.count("none")) == (3, 1, 0)
    assert ledger.spread("idea") == pytest.approx(statistics.stdev([0.1, 0.2]))
    assert math.isnan(ledger.spread("other"))


def test_the_ledger_outlives_the_session(ledger: Ledger) -> None:
    ledger.note("idea", ["a", "b"], [0.1, 0.3])
    again = Ledger(ledger.path)
    again.note("idea", ["b", "c"], [0.4, 0.5])
    assert again.count("idea") == 3
    assert again.spread("idea") == pytest.approx(statistics.stdev([0.1, 0.4, 0.5]))


def test_a_trial_without_a_ratio_keeps_the_known_one(ledger: Ledger) -> None:
    ledger.note("idea", ["a", "b"], [0.1, 0.3])
    ledger.note("idea", ["a", "b", "c"], [math.nan] * 3)
    assert (ledger.count("idea"), ledger.spread("idea")) == (3, pytest.approx(statistics.stdev([0.1, 0.3])))


def test_only_forget_forgets(ledger: Ledger) -> None:
    ledger.note("idea", ["a", "b"], [0.1, 0.3])
    ledger.note("other", ["a"], [0.1])
    assert ledger.forget("idea") == 2
    assert (ledger.count("idea"), ledger.count("other")) == (0, 1)


def test_nothing_is_half_noted(ledger: Ledger) -> None:
    with pytest.raises(ConfigError, match="2 trials have 1"):
        ledger.note("idea", ["a", "b"], [0.1])
    assert ledger.count("idea") == 0
    ledger.note("idea", [], [])
    assert ledger.count("idea") == 0


def test_several_processes_note_at_once(ledger: Ledger) -> None:
    """Each writes its own trials and shared ones, in many small transactions."""
    code = (
        "import sys; from stratnb.research.ledger import Ledger\n"
        "ledger = Ledger(sys.argv[1])\n"
        "for k in range(30): ledger.note('idea', [f'{sys.argv[2]}-{k}', f'shared-{k}'], [0.1, 0.2])\n"
    )
    runs = [
        subprocess.Popen([sys.executable, "-c", code, str(ledger.path), name], stderr=subprocess.PIPE) for name in "ab"
    ]
    for run in runs:
        _, said = run.communicate(timeout=120)
        assert (run.returncode, said) == (0, b"")
    assert ledger.count("idea") == 90


@pytest.mark.parametrize("kind", ["not a database", "a folder", "a file above"])
def test_a_ledger_that_cannot_be_used_says_so_and_counts_on(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "trials.sqlite"
    if kind == "not a database":
        path.write_bytes(b"this is no database at all" * 100)
    elif kind == "a folder":
        path.mkdir()
    else:
        path.write_text("")
        path = path / "trials.sqlite"
    ledger = Ledger(path)
    with pytest.warns(RuntimeWarning, match="in memory only"):
        ledger.note("idea", ["a", "b"], [0.1, 0.2])
    ledger.note("idea", ["b", "c"], [0.1, 0.2])
    assert (ledger.count("idea"), ledger.is_kept) == (3, False)
    assert "in memory only" in repr(ledger)


def test_what_a_ledger_held_counts_on_when_it_can_only_be_read(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger.note("idea", ["a", "b"], [0.1, 0.2])
    real = sqlite3.connect

    def read_only(path: Any, *args: Any, **kwargs: Any) -> sqlite3.Connection:
        if path == ledger.path:
            return real(f"{path.as_uri()}?mode=ro", *args, **kwargs, uri=True)
        return real(path, *args, **kwargs)

    monkeypatch.setattr(sqlite3, "connect", read_only)
    with pytest.warns(RuntimeWarning, match="in memory only"):
        ledger.note("idea", ["b", "c"], [0.3, 0.4])
    assert ledger.count("idea") == 3
    monkeypatch.undo()
    assert Ledger(ledger.path).count("idea") == 2


def test_the_place_is_the_users_or_the_named_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("STRATNB_LEDGER", str(tmp_path / "mine.sqlite"))
    assert Ledger().path == tmp_path / "mine.sqlite"
    monkeypatch.delenv("STRATNB_LEDGER")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert Ledger().path.name == "trials.sqlite"
    assert not Ledger().path.exists()


def test_the_file_holds_no_parameters(ledger: Ledger) -> None:
    ledger.note("idea", ["secret parameters" * 1000], [0.1])
    with sqlite3.connect(ledger.path) as connection:
        (key,) = connection.execute("SELECT trial FROM trials").fetchone()
    connection.close()
    assert len(key) == 16


def _study(overrides: dict[str, Any] | None = None, candles: Any = CANDLES, name: str = "trend-rider") -> str:
    return study_of(build_config(name, overrides=overrides).config, candles)


def test_a_study_is_the_idea_and_the_market() -> None:
    own = _study()
    assert own == _study({"exits.stop_loss.multiple": 3.0, "analyzers[0].params.fast": 7, "title": "Another"})
    assert own == _study(candles=CANDLES[2:])
    other_symbol, other_timeframe = (
        synthetic_market(["ETH/USDT"], "5m", candles=10)[0],
        synthetic_market(["BTC/USDT"], "1m", candles=10)[0],
    )
    others = {_study(candles=other_symbol), _study(candles=other_timeframe), _study(name="simple-levels")}
    assert len(others | {own}) == 4
