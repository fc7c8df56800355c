"""Walk-forward: windows that do not leak, choices that later candles never touch, tests that join to one curve."""

from __future__ import annotations

import math
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stratnb.errors import ConfigError
from stratnb.market_data import synthetic_market
from stratnb.market_data.candles import Candles
from stratnb.research.backtest import backtest
from stratnb.research.bootstrap import bootstrap
from stratnb.research.configured import configure
from stratnb.research.ledger import Ledger, study_of
from stratnb.research.overfitting import probability_of_overfitting
from stratnb.research.stretch import run_stretch
from stratnb.research.sweep import sweep
from stratnb.research.walk_forward import WalkForward, walk_forward
from stratnb.research.windows import Spans, windows_of

HOUR = 3_600_000
FAST, SLOW = "analyzers[0].params.fast", "analyzers[0].params.slow"
SPACE = {FAST: [3, 6, 9], SLOW: [20, 30]}
DOCUMENT: dict[str, Any] = {
    "schema": 1,
    "name": "turns",
    "title": "Turns",
    "market": {"kind": "linear"},
    "timeframes": {"primary": "1h"},
    "analyzers": [{"kind": "ema", "params": {"fast": 5, "slow": 20, "mode": "state"}}],
    "entry": {"min_score": 0.0, "min_confidence": 0.0},
    "sizing": {"kind": "risk", "fraction": 0.01},
    "exits": {"stop_loss": {"fraction": 0.05}, "signal_exit": {"min_confidence": 0.0}},
    "risk": dict.fromkeys(
        ("max_daily_loss", "max_drawdown", "max_consecutive_losses", "stop_loss_guard", "streak_factors")
    ),
}
SIZES: dict[str, Any] = {"train": 700, "test": 300}


@pytest.fixture(scope="module")
def candles() -> Candles:
    return synthetic_market(["BTC/USDT"], "1h", candles=2_000, seed=5)[0]


@pytest.fixture(scope="module")
def walked(candles: Candles) -> WalkForward:
    return walk_forward(DOCUMENT, candles, SPACE, **SIZES, purge=24, embargo=12, ledger=False, threads=1)


def flat(n: int, *, missing: slice | None = None) -> Candles:
    times = HOUR * np.arange(n, dtype=np.int64)
    if missing is not None:
        times = np.delete(times, missing)
    ones = np.full(len(times), 100.0)
    return Candles("BTC/USDT", "1h", times, ones, ones, ones, ones, ones)


@given(
    train=st.integers(1, 60),
    test=st.integers(1, 40),
    purge=st.integers(0, 20),
    embargo=st.integers(0, 20),
    anchored=st.booleans(),
)
def test_the_arithmetic_of_windows(train: int, test: int, purge: int, embargo: int, anchored: bool) -> None:
    n, mode = 150, "anchored" if anchored else "rolling"
    options: dict[str, Any] = {"train": train, "test": test, "mode": mode, "purge": purge, "embargo": embargo}
    if purge >= train or train + embargo + test > n:
        with pytest.raises(ConfigError):
            windows_of(flat(n), Spans(**options))
        return
    found = windows_of(flat(n), Spans(**options))
    assert len(found) == (n - train - embargo) // test
    for k, window in enumerate(found):
        assert window.test == (train + embargo + k * test, train + embargo + (k + 1) * test)
        assert window.test[0] - window.train[1] == purge + embargo
        assert window.train[0] == (0 if anchored else k * test)
    assert found[0].train == (0, train - purge)


def test_lengths_in_time_are_those_in_candles() -> None:
    candles = flat(500)
    in_time = windows_of(candles, Spans(train="5d", test=timedelta(hours=48), purge="6h", embargo="120m"))
    assert in_time == windows_of(candles, Spans(train=120, test=48, purge=6, embargo=2))
    assert windows_of(candles, Spans(train="1w", test=100)) == windows_of(candles, Spans(train=168, test="100h"))


def test_time_passes_in_a_gap() -> None:
    """A day of training in which half a day is missing has twelve candles; the tests still follow each other."""
    found = windows_of(flat(200, missing=slice(6, 18)), Spans(train="1d", test="2d"))
    assert found[0].train == (0, 12)
    assert [b.test[0] - a.test[1] for a, b in pairwise(found)] == [0] * (len(found) - 1)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"train": 5_000}, "do not fit in 500 candles"),
        ({"train": -5}, "below 0"),
        ({"test": 0}, "is no length"),
        ({"test": "3 moons"}, "is no length"),
        ({"train": True}, "is no length"),
        ({"test": "30m"}, "shorter than a candle"),
        ({"purge": 100}, "leaves nothing of train"),
        ({"embargo": timedelta(days=-1)}, "below 0"),
        ({"mode": "roling"}, "did you mean 'rolling'"),
    ],
)
def test_wrong_windows_are_told_before_anything_runs(change: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said) as told:
        walk_forward(DOCUMENT, flat(500), SPACE, **({"train": 100, "test": 50, "ledger": False} | change))
    assert told.value.code == "windows"


def test_faults_of_windows_and_of_the_sweep_are_told_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stratnb.research.trials.run_batch", lambda *_a, **_o: pytest.fail("it ran"))
    space: dict[str, Any] = {next(iter(SPACE)): ["a"], "nowhere": [1]}
    with pytest.raises(ConfigError) as told:
        walk_forward(DOCUMENT, flat(500), space, train="20x", test=50, objective="sharp", ledger=False)
    assert told.value.code == "walk_forward_invalid"
    assert [finding.path for finding in told.value.findings] == ["train", "objective", "nowhere", next(iter(SPACE))]


def test_what_a_late_window_lacks_is_told_before_the_first_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stratnb.research.trials.run_batch", lambda *_a, **_o: pytest.fail("it ran"))
    whole = flat(500)
    kept = np.ones(500, bool)
    kept[300:398] = False
    names = ("open", "high", "low", "close", "volume")
    holed = type(whole)(
        whole.symbol, whole.timeframe, whole.open_time_ms[kept], *(getattr(whole, name)[kept] for name in names)
    )
    step = whole.timeframe_ms // 60_000
    options: dict[str, Any] = {"train": f"{100 * step}m", "test": f"{50 * step}m", "ledger": False}
    with pytest.raises(ConfigError, match="candles are missing: 1 gap"):
        walk_forward(DOCUMENT, holed, SPACE, **options, on_gap="stop")
    with pytest.raises(ConfigError, match="before its first decision"):
        walk_forward(DOCUMENT, holed, SPACE, **options)


def test_all_faults_of_windows_at_once() -> None:
    with pytest.raises(ConfigError) as told:
        windows_of(flat(100), Spans(train=-1, test="x", mode="none", purge=-1))  # type: ignore[arg-type]
    assert [finding.path for finding in told.value.findings] == ["mode", "train", "test", "purge"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"space": {"analyzers[0].params.fsat": [1]}}, "fast"),
        ({"objective": "sharp"}, "sharpe"),
        ({"train": 15}, "needs"),
        ({"cash": -1.0}, "cash"),
    ],
)
def test_wrong_input_is_told_before_anything_runs(candles: Candles, change: dict[str, Any], said: str) -> None:
    options = {"space": SPACE, **SIZES, "ledger": False} | change
    with pytest.raises(ConfigError, match=said):
        walk_forward(DOCUMENT, candles, **options)


def test_later_candles_never_touch_a_choice(candles: Candles, walked: WalkForward) -> None:
    """Other candles after a training window: the choice of every window before them is the same to the last bit."""
    for k, window in enumerate(walk.window for walk in walked.windows):
        cut = window.train[1]
        factor = np.where(np.arange(len(candles)) < cut, 1.0, 1.7)
        prices = [getattr(candles, name) * factor for name in ("open", "high", "low", "close")]
        other = Candles("BTC/USDT", "1h", candles.open_time_ms, *prices, candles.volume * factor)
        again = walk_forward(DOCUMENT, other, SPACE, **SIZES, purge=24, embargo=12, ledger=False, threads=1)
        own, same = walked.windows[: k + 1], again.windows[: k + 1]
        assert [(w.chosen, w.inside, w.growth_inside) for w in own] == [
            (w.chosen, w.inside, w.growth_inside) for w in same
        ]
        assert own[k].outside != same[k].outside


def test_a_test_does_not_know_what_comes_after_it(candles: Candles, walked: WalkForward) -> None:
    """The tests of a shorter history are the first tests of the longer one, bit for bit."""
    shorter = walk_forward(DOCUMENT, candles[:1_500], SPACE, **SIZES, purge=24, embargo=12, ledger=False, threads=1)
    n = len(shorter.equity_curve)
    assert 0 < n < len(walked.equity_curve)
    assert walked.equity_curve[:n].tobytes() == shorter.equity_curve.tobytes()


def test_the_joined_equity_is_the_product_of_the_parts(walked: WalkForward) -> None:
    assert (walked.complete, len(walked.windows)) == (True, 4)
    growth = [each.result.equity_curve[-1] / each.result.capital for each in walked.windows if each.result]
    assert walked.equity_curve[-1] / walked.capital == pytest.approx(math.prod(growth), rel=1e-12)
    assert len(walked.equity_curve) == len(walked.close_ms) == len(walked.tested) == 4 * 300
    assert walked.figures["total_return"] == pytest.approx(math.prod(growth) - 1, rel=1e-12)
    assert walked.figures["trades"] == len(walked.closed_trades) == len(walked.trades)
    assert walked.figures["psr"] is not None


def test_the_trades_of_a_walk_make_its_equity(walked: WalkForward) -> None:
    assert np.prod(1.0 + walked.trade_returns) == pytest.approx(walked.equity_curve[-1] / walked.capital, rel=1e-9)
    assert bootstrap(walked.trade_returns, samples=20).trades == len(walked.closed_trades)


def test_a_window_is_flat_at_both_ends(walked: WalkForward, candles: Candles) -> None:
    for each in walked.windows:
        assert each.result is not None
        first, stop = each.window.test
        start_ms, end_ms = int(candles.open_time_ms[first]), int(candles.close_time_ms[stop - 1])
        fills = each.result.all_fills
        assert fills[0].time_ms >= start_ms + HOUR
        assert fills[-1].time_ms <= end_ms
        assert fills[-1].position_after == 0.0
        assert each.result.equity_curve[-1] == each.result.book[3 + 8]  # nothing is left open


def test_blocks_are_warm_when_a_test_begins(candles: Candles) -> None:
    """Its decisions are those of a run that has traded before, as soon as both are flat."""
    plan, _ = configure(DOCUMENT, candles)
    stretch = run_stretch(plan, candles[:1_000], cash=10_000.0, before=600)
    whole = backtest(DOCUMENT, candles[:1_000])
    start = int(candles.open_time_ms[600])
    entered = {t.entry_ms for t in whole.closed_trades if t.entry_ms >= start}
    own = {t.entry_ms for t in stretch.closed_trades}
    assert len(entered & own) >= len(entered) - 1 > 3
    cold = backtest(DOCUMENT, candles[600:1_000])
    assert min(t.entry_ms for t in cold.closed_trades) > min(own)


def test_a_stretch_without_a_start_is_the_backtest_closed_out(candles: Candles) -> None:
    plan, _ = configure(DOCUMENT, candles)
    stretch, whole = run_stretch(plan, candles, cash=10_000.0), backtest(DOCUMENT, candles)
    assert stretch.equity_curve[:-1].tobytes() == whole.equity_curve[:-1].tobytes()
    assert stretch.equity_curve[-1] <= whole.equity_curve[-1]


def test_the_table_tells_each_window(walked: WalkForward) -> None:
    frame = walked.frame
    assert len(frame) == 4
    assert {FAST, SLOW, "inside", "outside", "growth_inside", "growth_outside", "efficiency", "trials"} <= set(frame)
    assert (frame["trials"] == 6).all()
    assert (frame["train_end"] < frame["test_start"]).all()
    first = walked.windows[0]
    assert first.result is not None
    assert frame.loc[0, "outside"] == first.result.figures["sharpe"] == first.outside
    for path, (changes, step) in walked.drift.items():
        assert path in SPACE
        assert 0.0 <= changes <= 1.0
        assert step is not None
        assert 0.0 <= step <= 1.0
    assert "WalkForward(4 of 4 rolling windows" in repr(walked)
    assert "<table" in walked._repr_html_()


def test_anchored_windows_train_from_the_start(candles: Candles) -> None:
    found = walk_forward(DOCUMENT, candles, SPACE, **SIZES, mode="anchored", ledger=False, objective="total_return")
    assert [each.window.train for each in found.windows] == [(0, 700 + 300 * k) for k in range(4)]
    assert all(each.inside is not None for each in found.windows)


def test_an_undefined_objective_trades_nothing(candles: Candles) -> None:
    never = {"entry.min_score": 1.0, "entry.min_confidence": 1.0}
    found = walk_forward(DOCUMENT, candles, SPACE, **SIZES, overrides=never, ledger=False)
    assert all(each.chosen is None for each in found.windows)
    assert (found.equity_curve == found.capital).all()
    assert (found.efficiency, found.drift, found.figures["sharpe"]) == (None, {}, None)
    assert found.frame["inside"].isna().all()


def test_a_cancel_keeps_the_windows_that_are_done(candles: Candles) -> None:
    told: list[tuple[int, int]] = []
    found = walk_forward(
        *(DOCUMENT, candles, SPACE),
        **SIZES,
        ledger=False,
        progress=lambda done, trials: told.append((done, trials)),
        cancelled=lambda: bool(told) and told[-1][0] >= 12,
    )
    assert not found.complete
    assert len(found.windows) == 2
    assert len(found.equity_curve) == 600
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    assert {trials for _, trials in told} == {24}
    assert "canceled" in repr(found)
    none = walk_forward(DOCUMENT, candles, SPACE, **SIZES, ledger=False, cancelled=lambda: True)
    assert (none.windows, none.figures, len(none.equity_curve)) == ((), {}, 0)


def test_trials_of_a_walk_are_counted_once(candles: Candles, tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "trials.sqlite")
    plan, _ = configure(DOCUMENT, candles)
    study = study_of(plan.config, candles)
    space = {FAST: iter([3, 6])}
    walk_forward(DOCUMENT, candles, space, **SIZES, ledger=ledger)
    assert ledger.count(study) == 2  # not once more in each window
    walk_forward(DOCUMENT, candles[:1_500], {FAST: [3, 6]}, **SIZES, ledger=ledger)
    assert ledger.count(study) == 2
    assert math.isnan(ledger.spread(study))


def test_tests_a_step_apart_leave_the_candles_between_them_out(candles: Candles) -> None:
    near = windows_of(candles, Spans(**SIZES))
    assert windows_of(candles, Spans(**SIZES, step=300)) == near
    far = windows_of(candles, Spans(**SIZES, step=500))
    assert [window.test for window in far] == [(700, 1_000), (1_200, 1_500), (1_700, 2_000)]
    with pytest.raises(ConfigError) as caught:
        windows_of(candles, Spans(**SIZES, step=299))
    assert [finding.path for finding in caught.value.findings] == ["step"]
    walked = walk_forward(DOCUMENT, candles, {FAST: [3, 9]}, **SIZES, step=500, ledger=False, threads=1)
    assert len(walked.equity_curve) == len(walked.close_ms) == len(walked.tested) == 3 * 300
    assert walked.tested.open_time_ms.tolist() == [
        ms for window in far for ms in candles.open_time_ms[slice(*window.test)].tolist()
    ]
    assert walked.figures["total_return"] == pytest.approx(walked.equity_curve[-1] / walked.capital - 1.0)


def test_each_training_says_how_likely_its_choice_overfits(walked: WalkForward, candles: Candles) -> None:
    account = {"market": walked.windows[0].result.plan.market, "ledger": False}  # type: ignore[union-attr]
    for each in walked.windows:
        trained = sweep(DOCUMENT, candles[slice(*each.window.train)], SPACE, threads=1, **account)
        assert each.overfitting == probability_of_overfitting(trained.blocks)
    known = [each.overfitting for each in walked.windows]
    assert walked.overfitting == pytest.approx(np.mean(known))  # type: ignore[arg-type]
    assert walked.frame["overfitting"].tolist() == known
    short = walk_forward(DOCUMENT, candles, SPACE, train=336, test=400, ledger=False, threads=1)
    assert short.overfitting is None, "under 16 days there are no 16 blocks of them"
