"""The entry decision against a second one in plain Python, over thrown signals and at every boundary."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blocks_harness import plain
from stratnb.kernels import layout as at
from stratnb.kernels.decide import aggregate, judge
from stratnb.research.backtest import backtest
from stratnb.strategy.plan import Plan
from trading_cases import FREE, Floats, document, flat, market, registered, series

AGGREGATE, JUDGE = plain(aggregate.py_func), plain(judge.py_func)


def added(values: Iterable[float]) -> float:
    """Add one by one as the kernel does; from Python 3.12 on `sum` compensates the rounding of floats."""
    total = 0.0
    for value in values:
        total += value
    return total


@pytest.fixture(autouse=True, scope="module")
def test_blocks() -> Iterator[None]:
    with registered():
        yield


@dataclass(frozen=True)
class Rules:
    """The section `entry` of a document, and the direction of its market."""

    mode: str = "coverage"
    min_confidence: float = 0.5
    signal_min: float = 0.6
    max_conflict: float = 0.4
    min_score: float = 0.25
    opposition: float = 0.5
    min_agreeing: int = 1
    direction: str = "both"


@dataclass(frozen=True)
class Verdict:
    """What the section of the specification on aggregation says of some signals."""

    reason: str
    direction: int
    score: float
    confidence: float


Signal = tuple[int, float, float]  # direction, confidence, weight


def aggregated(rules: Rules, signals: list[Signal]) -> Verdict:
    """Return direction, score and confidence by the table of modes, before filters and thresholds."""
    kept = [s for s in signals if s[0] and (rules.mode != "vote" or s[1] >= rules.signal_min)]
    sides = {d: [s for s in kept if s[0] == d] for d in (1, -1)}
    numbers = {d: len(sides[d]) for d in (1, -1)}
    if not kept:
        return Verdict("no_signals", 0, 0.0, 0.0)
    conflict = min(numbers.values()) / len(kept)
    split = conflict >= rules.max_conflict or numbers[1] == numbers[-1]
    majority = 1 if numbers[1] > numbers[-1] else -1
    if rules.mode == "vote":
        if split:
            return Verdict("conflict", 0, 0.0, 0.0)
        return Verdict("enter", majority, numbers[majority] / len(kept), max(s[1] for s in sides[majority]))
    weighted = {d: added(c * w for _, c, w in sides[d]) for d in (1, -1)}
    weights = {d: added(w for *_, w in sides[d]) for d in (1, -1)}
    if rules.mode == "weighted":
        scores = {d: weighted[d] / weights[d] if weights[d] else 0.0 for d in (1, -1)}
    else:
        total = added(w for *_, w in signals)
        scores = {d: weighted[d] / total for d in (1, -1)}
    if abs(scores[1] - scores[-1]) <= 1e-12:
        return Verdict("tie", 0, 0.0, 0.0)
    d = 1 if scores[1] > scores[-1] else -1
    if rules.mode == "weighted":
        if split:
            return Verdict("conflict", 0, 0.0, 0.0)
        if d != majority:
            return Verdict("score_vote_split", 0, 0.0, 0.0)
        score = confidence = scores[d]
    else:
        score = scores[d] - rules.opposition * scores[-d]
        confidence = weighted[d] / weights[d] * (1 - conflict)
    if score < rules.min_score:
        return Verdict("low_score", 0, score, confidence)
    return Verdict("enter", d, score, confidence)


Filter = tuple[str, float, float, float, bool]  # name, allow, factor, need, passes when missing


def judged(rules: Rules, signals: list[Signal], filters: list[Filter]) -> tuple[Verdict, float]:
    """Return the verdict after filters and thresholds, and the confidence that was needed."""
    found, need = aggregated(rules, signals), rules.min_confidence
    confidence, blocked = found.confidence, ""
    for name, allow, factor, least, lenient in filters:
        missing = math.isnan(allow)
        if not missing:
            confidence, need = confidence * factor, max(need, least)
        if not blocked and (not lenient if missing else allow == 0.0):
            blocked = name
    reason = found.reason
    if reason == "enter":
        agreeing = sum(
            1 for d, c, _ in signals if d == found.direction and (rules.mode != "vote" or c >= rules.signal_min)
        )
        wanted = {"both": (1, -1), "long": (1,), "short": (-1,)}[rules.direction]
        if agreeing < rules.min_agreeing:
            reason = "too_few"
        elif blocked:
            reason = blocked
        elif confidence < need:
            reason = "low_confidence"
        elif found.direction not in wanted:
            reason = "direction_not_allowed"
    return Verdict(reason, found.direction, found.score, confidence), need


def kernel_says(rules: Rules, signals: list[Signal], filters: list[Filter]) -> tuple[Verdict, float]:
    """Run the source of the kernels on rows made by hand."""
    n, m = len(signals), len(filters)
    code, params = np.zeros(at.W_HEADER + n + 2 * m, np.int64), np.zeros(at.W_SETTINGS + n)
    memory, decision = np.zeros(at.W_HEAD + 3 * n + 5 * m), np.full(at.W_DECISION, np.nan)
    code[[at.H_ANALYZERS, at.H_ANALYZER_LIST, at.H_FILTERS, at.H_FILTER_LIST]] = n, at.W_HEADER, m, at.W_HEADER + n
    for k, (direction, confidence, weight) in enumerate(signals):
        code[at.W_HEADER + k] = at.W_HEAD + 3 * k
        memory[at.W_HEAD + 3 * k : at.W_HEAD + 3 * k + 3] = direction, confidence, 1.0
        params[at.W_SETTINGS + k] = weight
    for k, (_, allow, factor, need, lenient) in enumerate(filters):
        code[at.W_HEADER + n + 2 * k : at.W_HEADER + n + 2 * k + 2] = at.W_HEAD + 3 * n + 5 * k, lenient
        memory[at.W_HEAD + 3 * n + 5 * k : at.W_HEAD + 3 * n + 5 * k + 3] = allow, factor, need
    params[at.S_MODE] = ("vote", "weighted", "coverage").index(rules.mode)
    params[[at.S_MIN_CONFIDENCE, at.S_SIGNAL_MIN, at.S_MAX_CONFLICT]] = (
        rules.min_confidence,
        rules.signal_min,
        rules.max_conflict,
    )
    params[[at.S_MIN_SCORE, at.S_OPPOSITION, at.S_MIN_AGREEING]] = rules.min_score, rules.opposition, rules.min_agreeing
    params[at.S_LONG], params[at.S_SHORT] = rules.direction in ("both", "long"), rules.direction in ("both", "short")
    params[at.S_WEIGHTS] = at.W_SETTINGS
    with np.errstate(all="ignore"):
        reason = int(JUDGE(code, params, memory, AGGREGATE(code, params, memory), decision))
    word = filters[reason - at.Z_FILTER][0] if reason >= at.Z_FILTER else at.DECISION_REASONS[reason]
    score, confidence = float(decision[at.D_SCORE]), float(decision[at.D_CONFIDENCE])
    return Verdict(word, int(decision[at.D_DIRECTION]), score, confidence), float(decision[at.D_CONFIDENCE_NEED])


def agree(rules: Rules, signals: list[Signal], filters: list[Filter] | None = None) -> Verdict:
    """Assert that both say the same and return it."""
    mine, need = judged(rules, signals, filters or [])
    theirs, wanted = kernel_says(rules, signals, filters or [])
    assert (theirs.reason, theirs.direction, wanted) == (mine.reason, mine.direction, need)
    assert (theirs.score, theirs.confidence) == pytest.approx((mine.score, mine.confidence), rel=1e-12, abs=1e-15)
    return theirs


levels = st.sampled_from([0.2, 0.3, 0.4, 0.45, 0.5, 0.6, 0.75, 0.8, 0.9, 1.0])
signal_lists = st.lists(
    st.tuples(st.sampled_from([1, 1, 0, -1]), levels, st.sampled_from([0.1, 0.25, 0.5, 1.0])), min_size=1, max_size=7
)
filter_lists = st.lists(
    st.tuples(
        st.just("f"),
        st.sampled_from([1.0, 1.0, 1.0, 0.0, math.nan]),
        st.sampled_from([1.0, 0.8, 0.5]),
        levels,
        st.booleans(),
    ),
    max_size=3,
)
rule_sets = st.builds(
    Rules,
    mode=st.sampled_from(["vote", "weighted", "coverage"]),
    min_confidence=levels,
    signal_min=levels,
    max_conflict=st.sampled_from([0.0, 0.2, 0.25, 1 / 3, 0.4, 0.5]),
    min_score=st.sampled_from([0.0, 0.1, 0.25, 0.45, 0.6]),
    opposition=st.sampled_from([0.0, 0.5, 1.0]),
    min_agreeing=st.integers(1, 4),
    direction=st.sampled_from(["both", "long", "short"]),
)


@given(rules=rule_sets, signals=signal_lists, filters=filter_lists)
@settings(max_examples=600)
def test_thrown_signals(rules: Rules, signals: list[Signal], filters: list[Filter]) -> None:
    named = [(f"f{k}", *each[1:]) for k, each in enumerate(filters)]
    agree(rules, [(d, c if d else 0.0, w) for d, c, w in signals], named)


@given(rules=rule_sets, signals=signal_lists)
@settings(max_examples=200)
def test_long_and_short_are_alike(rules: Rules, signals: list[Signal]) -> None:
    one = agree(rules, signals)
    flip = {"both": "both", "long": "short", "short": "long"}[rules.direction]
    other = agree(Rules(**{**rules.__dict__, "direction": flip}), [(-d, c, w) for d, c, w in signals])
    assert (other.reason, other.direction, other.score, other.confidence) == (
        one.reason,
        -one.direction,
        one.score,
        one.confidence,
    )


# Boundaries: below, at and above.

VOTE, WEIGHTED = Rules("vote", 0.6), Rules("weighted", 0.75, min_score=0.45)
ONE = [(1, 0.8, 1.0)]


@pytest.mark.parametrize(("confidence", "reason"), [(0.59, "no_signals"), (0.6, "enter"), (0.61, "enter")])
def test_a_vote_needs_the_least_confidence(confidence: float, reason: str) -> None:
    assert agree(VOTE, [(1, confidence, 1.0)]).reason == reason


@pytest.mark.parametrize(
    ("longs", "shorts", "reason"),
    [(3, 2, "conflict"), (4, 2, "enter"), (2, 2, "conflict"), (1, 2, "enter"), (3, 0, "enter")],
)
def test_conflict_at_its_limit(longs: int, shorts: int, reason: str) -> None:
    signals = [(1, 0.9, 1.0)] * longs + [(-1, 0.8, 1.0)] * shorts
    assert agree(VOTE, signals).reason == reason
    assert agree(Rules("weighted", 0.5), signals).reason in (reason, "score_vote_split")


def test_the_vote_takes_the_highest_confidence_and_the_share() -> None:
    found = agree(VOTE, [(1, 0.7, 0.1), (1, 0.9, 0.2), (-1, 1.0, 1.0), (1, 0.65, 1.0), (-1, 0.5, 1.0)])
    assert (found.direction, found.confidence, found.score) == (1, 0.9, 0.75)


def test_weighted_needs_a_majority_on_the_same_side() -> None:
    assert (
        agree(WEIGHTED, [(1, 0.95, 1.0), (-1, 0.8, 1.0), (-1, 0.8, 1.0), (-1, 0.8, 1.0)]).reason == "score_vote_split"
    )
    assert agree(WEIGHTED, [(1, 0.8, 1.0), (-1, 0.8, 0.5)]).reason == "tie"


@pytest.mark.parametrize(("confidence", "reason"), [(0.449, "low_score"), (0.45, "enter"), (0.451, "enter")])
def test_weighted_score_at_its_limit(confidence: float, reason: str) -> None:
    assert agree(Rules("weighted", 0.1, min_score=0.45), [(1, confidence, 1.0)]).reason == reason


@pytest.mark.parametrize(("silent", "reason"), [(2, "enter"), (3, "enter"), (4, "low_score")])
def test_coverage_falls_with_silence(silent: int, reason: str) -> None:
    """One voice at 1.0 among four is 0.25, which is enough; among five it is not."""
    assert agree(Rules(), [(1, 1.0, 1.0)] + [(0, 0.0, 1.0)] * silent).reason == reason


def test_coverage_by_hand() -> None:
    found = agree(Rules(), [(1, 0.8, 0.5), (1, 0.6, 0.3), (-1, 0.5, 0.1), (0, 0.0, 0.1)])
    assert found.score == pytest.approx(0.58 - 0.5 * 0.05)
    assert found.confidence == pytest.approx(0.58 / 0.8 * (1 - 1 / 3))
    assert found.direction == 1
    assert agree(Rules(), [(1, 0.8, 0.5), (-1, 0.8, 0.5)]).reason == "tie"


def test_coverage_rises_with_agreement_and_falls_with_opposition() -> None:
    two = [(1, 0.8, 1.0), (1, 0.8, 1.0), (0, 0.0, 1.0)]
    more, less = [*two[:2], (1, 0.8, 1.0)], [*two[:2], (-1, 0.8, 1.0)]
    assert agree(Rules(), more).score > agree(Rules(), two).score > agree(Rules(), less).score


@pytest.mark.parametrize(("confidence", "reason"), [(0.49, "low_confidence"), (0.5, "enter"), (0.51, "enter")])
def test_final_confidence_at_its_limit(confidence: float, reason: str) -> None:
    assert agree(Rules(), [(1, confidence, 1.0)]).reason == reason


@pytest.mark.parametrize(("count", "reason"), [(1, "too_few"), (2, "enter"), (3, "enter")])
def test_agreeing_at_its_limit(count: int, reason: str) -> None:
    assert agree(Rules(min_agreeing=2), ONE * count).reason == reason


@pytest.mark.parametrize(
    ("direction", "reason"), [("long", "enter"), ("both", "enter"), ("short", "direction_not_allowed")]
)
def test_the_market_allows_the_direction(direction: str, reason: str) -> None:
    assert agree(Rules(direction=direction), ONE).reason == reason


def test_filters_in_their_order() -> None:
    blocks, missing = ("no", 0.0, 1.0, 0.0, False), ("gone", math.nan, 1.0, 0.0, False)
    assert agree(Rules(), ONE, [("a", 1.0, 1.0, 0.0, False), blocks, missing]).reason == "no"
    assert agree(Rules(), ONE, [missing, blocks]).reason == "gone"
    assert agree(Rules(), ONE, [("lenient", math.nan, 1.0, 0.0, True)]).reason == "enter"


@pytest.mark.parametrize(
    ("factor", "need", "reason"),
    [
        (0.625, 0.0, "enter"),
        (0.62, 0.0, "low_confidence"),
        (1.0, 0.8, "enter"),
        (1.0, 0.81, "low_confidence"),
        (0.9, 0.75, "low_confidence"),
    ],
)
def test_factors_and_needs(factor: float, need: float, reason: str) -> None:
    """0.8 x 0.625 is just the 0.5 that is asked; a need raises what is asked."""
    assert agree(Rules(), ONE, [("f", 1.0, factor, need, False)]).reason == reason


def test_factors_multiply() -> None:
    filters: list[Filter] = [("a", 1.0, 0.9, 0.0, False), ("b", 1.0, 0.9, 0.6, False), ("c", 1.0, 1.0, 0.3, False)]
    found, need = kernel_says(Rules(), [(1, 1.0, 1.0)], filters)
    assert (found.confidence, need) == (pytest.approx(0.81), 0.6)


# The compiled whole: every decision of a run follows from what its analyzers and filters said.


def signals_of(row: Floats, plan: Plan) -> tuple[list[Signal], list[Filter]]:
    signals: list[Signal] = []
    for k, (entry, _) in enumerate(plan.analyzers):
        direction, confidence = row[at.W_DECISION + 3 * k : at.W_DECISION + 3 * k + 2]
        signals.append((int(direction), float(confidence), entry.weight))
    start, filters = at.W_DECISION + 3 * len(plan.analyzers), []
    for k, (name, block, _) in enumerate(plan.filters):
        allow, factor, need = row[start + 5 * k : start + 5 * k + 3]
        filters.append((name, float(allow), float(factor), float(need), block.on_missing == "allow"))
    return signals, filters


ENTRIES: list[dict[str, Any]] = [
    {"mode": "vote"},
    {"mode": "vote", "max_conflict": 0.5, "min_agreeing": 2, "signal_min": 0.45},
    {"mode": "weighted", "min_confidence": 0.5},
    {"mode": "weighted", "min_confidence": 0.6, "max_conflict": 0.25},
    {"mode": "coverage"},
    {"mode": "coverage", "min_confidence": 0.45, "opposition": 1.0, "min_score": 0.1, "min_agreeing": 2},
]


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda e: "-".join(map(str, e.values())))
@pytest.mark.parametrize("direction", ["long", "both"])
def test_every_decision_of_a_run(entry: dict[str, Any], direction: str) -> None:
    doc = document(
        market={"kind": "linear", "direction": direction},
        analyzers=[
            {"kind": "dice", "name": f"d{k}", "weight": (0.4, 0.3, 0.2, 0.1)[k], "params": {"side": k + 1}}
            for k in range(4)
        ],
        filters={"dice": {"on_missing": ("block", "allow")[direction == "both"]}},
        entry={"min_candles": 1, **entry},
        sizing={"kind": "fixed_quantity", "quantity": 0.01},
        exits={"time_exit": {"max_candles": 1}},
    )
    result = backtest(doc, series(flat(1500)), market=market(kind="linear"), limits=FREE, decisions=True)
    rules = Rules(
        **{k: getattr(result.plan.config.entry, k) for k in Rules.__dataclass_fields__ if k != "direction"},
        direction=direction,
    )
    seen = set()
    for row in result.decision_rows:
        found, need = judged(rules, *signals_of(row, result.plan))
        word = result.plan.reason(row[at.D_REASON])
        if word in ("in_position", "order_pending"):
            word = "enter"
        assert (word, int(row[at.D_DIRECTION]), row[at.D_CONFIDENCE_NEED]) == (found.reason, found.direction, need)
        assert row[[at.D_SCORE, at.D_CONFIDENCE]].tolist() == pytest.approx([found.score, found.confidence], rel=1e-12)
        seen.add(word)
        held = row[at.D_POSITION] != 0.0
        action = {"enter": "ENTER", "conflict": "WAIT", "tie": "WAIT"}.get(result.plan.reason(row[at.D_REASON]), "SKIP")
        assert result.plan.action(row[at.D_ACTION]) == ("HOLD" if held else action)
    assert "dice" in seen
    assert len(seen) >= 4
    assert sum(result.reasons.values()) == len(result.decision_rows) == 1500
