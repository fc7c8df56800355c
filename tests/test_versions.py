"""Configurations change between two candles: the invalid keeps the old, positions stay, every version comes back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stratnb.engine import Engine
from stratnb.errors import ConfigError, Refused
from stratnb.events import Event
from stratnb.journal import JournalReader
from stratnb.kernels import layout as at
from stratnb.strategy.documents import build_config
from stratnb.strategy.merge import merge_layers
from stratnb.strategy.overrides import fitted, override_of
from trading_cases import BOOM, FREE, LONG, document, flat, market, registered, series, wander

LADDER = {"take_profit": {"levels": [{"at": 0.5, "close": 1.0}]}}
VALUES = st.one_of(st.booleans(), st.integers(-3, 3), st.floats(-1, 1), st.sampled_from(["a", "b"]))
NAMES = st.sampled_from(["entry", "exits", "one", "two", "kind", "params"])
DOCUMENTS = st.dictionaries(
    NAMES,
    st.recursive(VALUES, lambda inner: st.dictionaries(NAMES, inner, max_size=3) | st.lists(inner, max_size=2)),
    max_size=4,
)


@pytest.fixture(autouse=True)
def test_blocks() -> Iterator[None]:
    with registered():
        yield


def engine_on(candles: Any, **options: Any) -> Engine:
    known = {"cash": 1e6, "limits": FREE, "mode": "parallel", "markets": [market()], **options}
    return Engine("case", candles=candles, **known)


def running(engine: Engine, steps: int, doc: dict[str, Any] | None = None, **options: Any) -> str:
    key = engine.add(doc or document(), **options)
    engine.activate(key)
    engine.step(steps)
    return key


def watching(engine: Engine, steps: int, doc: dict[str, Any], **options: Any) -> str:
    """Return a strategy that steps and decides, and trades nothing."""
    key = engine.add(doc, **options)
    engine.activate(key)
    engine.pause(key)
    if steps:
        engine.step(steps)
    return key


def told(engine: Engine, kind: str) -> list[Event]:
    return [event for event in engine.events.since(0, 100_000) if event.type == kind]


def memory(engine: Engine, key: str) -> Any:
    found = engine.desk.cache.peek(key)
    assert found is not None
    return found.memory.copy()


def held() -> Any:
    """Return candles on which a position is entered at the fourth."""
    return series([*flat(2), *flat(1, volume=LONG), *flat(40)])


@given(lower=DOCUMENTS, target=DOCUMENTS)
def test_an_override_turns_one_document_into_the_other(lower: dict[str, Any], target: dict[str, Any]) -> None:
    made, _ = merge_layers([("strategy", lower), ("override", override_of(lower, target))])
    assert made == target
    assert override_of(target, made) == {}


def test_a_path_into_a_list_that_only_the_defaults_give_takes_the_whole_list() -> None:
    written: dict[str, Any] = {"analyzers": [{"kind": "level", "lookback": 50}]}
    complete = {"analyzers": [{"kind": "level", "params": {"lookback": 50}}], "steps": [{"at": 1}, {"at": 2}]}
    patch = {"analyzers[0].params.lookback": 60, "steps[1].at": 3, "steps[0].at": 0, "steps[9].at": 1}
    made = fitted(patch, written, complete)
    assert made == {"analyzers[0].lookback": 60, "steps": [{"at": 0}, {"at": 3}], "steps[9].at": 1}


def test_patches_are_layers_over_the_running_overrides() -> None:
    doc = document(exits={"stop_loss": {"fraction": 0.02, "basis": "fixed"}, **LADDER})
    base = {"overrides": {"entry.min_candles": 3, "exits.stop_loss.fraction": 0.03}}
    patches: list[dict[str, Any]] = [
        {"entry.min_confidence": 0.7, "analyzers[0].weight": 0.5},
        {"exits.stop_loss": {"basis": "atr"}, "analyzers[0].hold": 2},
        {"exits": {"trailing": {"distance": 0.02}}, "entry.min_confidence": None},
        {"exits.stop_loss.fraction": None, "risk.max_drawdown": None, "title": "Other"},
        {"risk": {"cooldown_s": 60}, "exits.trailing": None},
    ]
    with engine_on(wander(50, 1)) as engine:
        key = running(engine, 10, doc, **base)
        layers = [("strategy", {**doc}), ("override", base["overrides"])]
        for number, patch in enumerate(patches, 2):
            made = engine.apply(key, patch, author="me")
            layers.append(("override", patch))
            wanted = build_config(merge_layers(layers)[0], symbol="AAA/USDT").config  # type: ignore[arg-type]
            config = engine.desk.lane(key).context.config
            assert (made.number, made.config_hash) == (number, wanted.config_hash)
            assert config == wanted
            assert engine.list()[0].config_hash == wanted.config_hash
            again = build_config(doc, overrides=engine.list()[0].overrides, symbol="AAA/USDT")
            assert again.config == wanted
        assert engine.desk.lane(key).context.loaded.explain("analyzers[0].hold").source == "override"
        assert engine.desk.lane(key).context.loaded.explain("analyzers[0].kind").source == "strategy"
        assert doc == document(exits={"stop_loss": {"fraction": 0.02, "basis": "fixed"}, **LADDER})


@pytest.mark.parametrize(
    ("patch", "rebuild", "needs_flat", "codes"),
    [
        ({"title": "Another", "notes": "why"}, False, False, []),
        ({"entry.min_confidence": 0.9, "analyzers[0].weight": 0.4}, False, False, []),
        ({"risk.max_drawdown": 0.1}, False, False, []),
        ({"filters.dice.side": 5}, False, False, []),
        ({"analyzers[1].params.side": 4}, True, False, []),
        ({"analyzers[0].enabled": False}, True, False, []),
        ({"exits.stop_loss.fraction": 0.01}, True, False, []),
        ({"timeframes.trend": "5m"}, True, False, []),
        ({"execution.leverage": 2}, False, True, []),
        ({"capital.unit": "quote", "capital.amount": 1000.0}, False, True, []),
        ({"market.symbol": "BBB/USDT"}, False, True, ["immutable_field"]),
        ({"name": "another"}, False, False, ["immutable_field"]),
        ({"entry.min_confidenc": 0.9}, False, False, ["unknown_key"]),
        ({"entry.min_candles": 0, "exits.nothing.kind": "none"}, False, False, ["range", "unknown_kind"]),
        ({"timeframes.primary": "1h", "timeframes.trend": "30m"}, False, False, ["timeframe_order"]),
        ({"title": "Case"}, False, False, []),
    ],
)
def test_a_preview_says_what_a_patch_takes(
    patch: dict[str, Any], rebuild: bool, needs_flat: bool, codes: list[str]
) -> None:
    doc = document(
        market={"kind": "linear"}, analyzers=[{"kind": "scripted"}, {"kind": "dice"}], filters={"dice": {"side": 1}}
    )
    with engine_on(held(), markets=[market(kind="linear", max_leverage=5)]) as engine:
        key = running(engine, 3, doc)
        engine.desk.lane(key).context.book.row[at.B_QUANTITY] = 1.0
        before = engine.desk.lane(key).context
        found = engine.preview(key, patch)
        assert (found.needs_rebuild, found.needs_flat) == (rebuild, needs_flat)
        assert sorted(finding.code for finding in found.errors) == sorted(codes)
        assert bool(found.diff) == (patch != {"title": "Case"})
        assert engine.board.preview(key, patch) == found
        assert engine.desk.lane(key).context is before
        assert len(engine.versions(key)) == 1
        engine.desk.lane(key).context.book.row[at.B_QUANTITY] = 0.0


def test_thresholds_change_in_place_and_count_from_the_next_candle() -> None:
    with engine_on(wander(300, 3)) as engine:
        key = watching(engine, 150, document(filters={"dice": {"side": 1}}))
        orchestrator = engine.desk.cache.peek(key)
        made = engine.apply(key, {"entry.min_confidence": 0.95, "filters.dice.side": 7}, author="me", reason="calmer")
        assert (made.number, made.author, made.reason) == (2, "me", "calmer")
        assert engine.desk.cache.peek(key) is orchestrator
        entry = {"mode": "vote", "min_candles": 1, "min_confidence": 0.95}
        twin = watching(engine, 0, document(filters={"dice": {"side": 7}}, entry=entry), label="twin")
        engine.step(150)
        assert np.array_equal(memory(engine, key), memory(engine, twin), equal_nan=True)
        ours, theirs = (engine.desk.store.decisions(each).rows() for each in (key, twin))
        assert np.array_equal(ours[150:, : at.W_DECISION - 2], theirs[150:, : at.W_DECISION - 2], equal_nan=True)
        assert not np.array_equal(ours[:150], theirs[:150], equal_nan=True)
        (event,) = told(engine, "STRATEGY_CONFIG_UPDATED")
        assert (event.payload["version"], event.payload["author"]) == (2, "me")
        assert engine.view().strategies[0].config_version == 2


def test_a_rebuilt_one_equals_one_that_never_ran_another() -> None:
    analyzers = [{"kind": "scripted"}, {"kind": "dice", "params": {"side": 1}}]
    doc = document(analyzers=analyzers, exits={"stop_loss": {"fraction": 0.5}})
    patch = {"analyzers[1].params.side": 9, "timeframes.trend": "5m", "exits.stop_loss.fraction": 0.4}
    with engine_on(wander(400, 6, gaps=5)) as engine:
        key = watching(engine, 250, doc)
        engine.cache.pin(key)
        before = engine.desk.cache.peek(key)
        engine.apply(key, patch, author="me")
        assert engine.desk.cache.peek(key) is not before
        (entry,) = engine.cache.stats()["entries"]
        assert "user" in entry["pin_reasons"]
        assert engine.cache.stats()["evictions_by_reason"]["config"] == 1
        fresh = watching(engine, 150, doc, label="new", overrides=patch)
        assert np.array_equal(memory(engine, key), memory(engine, fresh), equal_nan=True)


@pytest.mark.parametrize(("fraction", "moved"), [(0.05, False), (0.01, True)])
def test_a_stop_never_loosens_and_the_position_stays(fraction: float, moved: bool) -> None:
    with engine_on(held()) as engine:
        key = running(engine, 8, document(exits={"stop_loss": {"fraction": 0.02}, **LADDER}))
        book = engine.desk.lane(key).context.book
        before, stop = book.row.copy(), book.row[at.B_STOP]
        assert book.quantity == 1.0
        engine.apply(key, {"exits.stop_loss.fraction": fraction}, author="me")
        assert engine.desk.lane(key).context.book is book
        same = [at.B_QUANTITY, at.B_STOP, at.B_AVERAGE, at.B_FIRST_STOP, at.B_TARGETS, at.B_LEVELS, at.B_OPENED_MS]
        assert np.array_equal(book.row[same], before[same])
        engine.step(3)
        assert book.quantity == 1.0
        assert book.row[at.B_STOP] > stop if moved else book.row[at.B_STOP] == stop


def test_exits_that_did_not_change_keep_their_memory() -> None:
    rows = [*flat(2), *flat(1, volume=LONG), *flat(2), (100, 104, 100, 104), *flat(3, 104.0), *flat(10, 103.0)]
    with engine_on(series(rows)) as engine:
        exits = {"stop_loss": {"fraction": 0.1}, "trailing": {"distance": 0.05, "start": {"profit": 0.03}}}
        key = running(engine, 8, document(exits=exits))
        row = engine.desk.lane(key).context.book.row
        assert row[at.B_STOP] == pytest.approx(98.8)
        engine.apply(key, {"exits.stop_loss.fraction": 0.08, "exits.time_exit": {"max_candles": 500}}, author="me")
        engine.step(3)
        assert row[at.B_STOP] == pytest.approx(98.8)
        assert engine.desk.lane(key).context.book.reason(row[at.B_STOP_REASON]) == "trailing"


def test_fills_keep_their_words_when_their_exit_is_gone() -> None:
    rows = [*flat(2), *flat(1, volume=LONG), *flat(2), (100, 100, 90, 95), *flat(2, 95.0, LONG), *flat(20, 95.0)]
    exits = {"time_exit": {"max_candles": 900}, "stop_loss": {"fraction": 0.02}}
    with engine_on(series(rows)) as engine:
        key = running(engine, 12, document(exits=exits))
        assert engine.board.fills(key)[1].reason == "stop"
        book = engine.desk.lane(key).context.book
        assert book.reason(book.row[at.B_STOP_REASON]) == "stop"
        engine.apply(key, {"exits.stop_loss": None}, author="me")
        assert [fill.reason for fill in engine.board.fills(key)] == ["entry", "stop", "entry"]
        assert book.reason(book.row[at.B_STOP_REASON]) == "time"
        engine.rollback(key, 1, author="me")
        assert [fill.reason for fill in engine.board.fills(key)] == ["entry", "stop", "entry"]
        engine.close_position(key)
        assert engine.board.fills(key)[-1].reason == "manual"


def test_what_needs_a_flat_strategy_waits_for_it() -> None:
    with engine_on(held(), markets=[market(kind="linear", max_leverage=5)]) as engine:
        key = running(engine, 3, document(market={"kind": "linear"}))
        patch = {"execution.leverage": 3, "capital.unit": "quote", "capital.amount": 5000.0}
        for _ in range(3):  # an order, then a position
            with pytest.raises(Refused, match="position or an order") as refused:
                engine.apply(key, patch, author="me")
            assert refused.value.code == "needs_flat"
            engine.step(1)
        assert len(told(engine, "STRATEGY_CONFIG_REJECTED")) == 3
        engine.close_position(key)
        result = engine.view().strategies[0].total_pnl
        account = engine.desk.services.positions.account[at.A_EQUITY]
        engine.apply(key, patch, author="me")
        row = engine.desk.lane(key).context.book.row
        assert (row[at.B_LEVERAGE], row[at.B_CAPITAL]) == (3.0, 5000.0)
        assert row[at.B_EQUITY] == pytest.approx(5000.0 + result)
        engine.step(1)
        assert engine.desk.services.positions.account[at.A_EQUITY] == pytest.approx(account)


def test_what_is_invalid_or_does_not_build_leaves_the_old_one_running() -> None:
    with engine_on(series([*flat(3), *flat(1, volume=BOOM), *flat(30)])) as engine:
        key = running(engine, 10, document(analyzers=[{"kind": "dice"}]))
        before, orchestrator = engine.desk.lane(key).context, engine.desk.cache.peek(key)
        with pytest.raises(ConfigError) as invalid:
            engine.apply(key, {"entry.min_scor": 0.3, "entry.min_confidence": 9}, author="me")
        assert invalid.value.code == "config_invalid"
        assert {finding.path for finding in invalid.value.findings} == {"entry.min_scor", "entry.min_confidence"}
        with pytest.raises(ConfigError, match="the script says so"):
            engine.apply(key, {"analyzers": [{"kind": "scripted"}]}, author="me")
        assert [event.payload["code"] for event in told(engine, "STRATEGY_CONFIG_REJECTED")] == [
            "config_invalid",
            "exception",
        ]
        assert engine.desk.lane(key).context is before
        assert engine.desk.cache.peek(key) is orchestrator
        assert (len(engine.versions(key)), engine.list()[0].state) == (1, "active")
        assert engine.step(5) == 5


def test_rollback_restores_the_hash_of_every_version() -> None:
    patches: list[dict[str, Any]] = [
        {"entry.min_confidence": 0.8},
        {"analyzers": [{"kind": "dice", "params": {"side": 3}}, {"kind": "scripted", "weight": 0.5}]},
        {"exits.trailing": {"distance": 0.01}, "exits.stop_loss.fraction": None},
        {"sizing": {"kind": "fixed_fraction", "fraction": 0.2}},
    ]
    with engine_on(wander(60, 2)) as engine:
        key = running(engine, 20)
        for patch in patches:
            engine.apply(key, patch, author="me")
        known = engine.versions(key)
        assert [version.number for version in known] == [1, 2, 3, 4, 5]
        for version in reversed(known):
            made = engine.rollback(key, version.number, author="you")
            assert made.config_hash == version.config_hash == engine.list()[0].config_hash
            engine.step(2)
        assert engine.list()[0].overrides == {}
        assert engine.versions(key)[-1].reason == "rollback to version 1"
        for wrong in (0, 99, True, "1"):
            with pytest.raises(ConfigError) as unknown:
                engine.rollback(key, wrong, author="me")  # type: ignore[arg-type]
            assert unknown.value.code == "unknown_version"


def test_an_apply_names_who_and_for_which_version() -> None:
    with engine_on(wander(60, 2)) as engine:
        key = running(engine, 20)
        for author in ("", "  ", None):
            with pytest.raises(ConfigError, match="author"):
                engine.apply(key, {"title": "A"}, author=author)  # type: ignore[arg-type]
        with pytest.raises(ConfigError, match="mapping"):
            engine.apply(key, [1], author="me")  # type: ignore[arg-type]
        assert engine.apply(key, {"title": "A"}, author="me", expected=1).number == 2
        assert engine.apply(key, {"title": "A"}, author="me").number == 2
        with pytest.raises(Refused, match="version 2") as conflict:
            engine.apply(key, {"title": "B"}, author="me", expected=1)
        assert conflict.value.code == "version_conflict"
        with pytest.raises(ConfigError, match="not loaded"):
            engine.apply("nobody", {}, author="me")


def test_limits_of_the_book_follow_and_a_dormant_one_too() -> None:
    with engine_on(wander(60, 2)) as engine:
        key, dormant = running(engine, 20), engine.add(document("idle"))
        for each in (key, dormant):
            engine.apply(each, {"risk.max_consecutive_losses": 7, "risk.cooldown_s": 60}, author="me")
            row = engine.desk.lane(each).context.book.row
            assert (row[at.B_MAX_LOSSES], row[at.B_COOLDOWN]) == (7.0, 60_000.0)
        assert not engine.desk.cache.contains(dormant)


def test_versions_outlive_a_new_start_of_the_feed_and_a_second_loading() -> None:
    with engine_on(wander(60, 2)) as engine:
        key = running(engine, 20)
        engine.apply(key, {"title": "A"}, author="me")
        engine.feed.restart()
        assert [version.number for version in engine.versions(key)] == [1, 2]
        assert engine.desk.lane(key).context.config.title == "A"
        engine.remove(key, policy="close")
        engine.add(document())
        assert [version.reason for version in engine.versions(key)] == ["loaded", "", "loaded"]
        engine.rollback(key, 2, author="me")
        assert engine.desk.lane(key).context.config.title == "A"


CHANGES: dict[int, dict[str, Any]] = {
    60: {"entry.min_confidence": 0.85},
    130: {"exits.stop_loss.fraction": 0.015, "analyzers[1].params.side": 5},
    200: {"exits.stop_loss": None, "exits.trailing": {"distance": 0.02}, "filters.dice": {"side": 2}},
    270: {"capital.amount": 0.5, "risk.cooldown_s": 120},
}


def play(candles: Any, stops: list[int], **options: Any) -> tuple[Any, ...]:
    """Run with the changes; at each stop the engine is closed and another one goes on."""
    done, doc = 0, document(analyzers=[{"kind": "scripted"}, {"kind": "dice"}], exits={"stop_loss": {"fraction": 0.01}})
    for until in [*stops, 400]:
        with engine_on(candles, **options) as engine:
            key = "case@AAA/USDT#main"
            if done == 0:
                engine.activate(engine.add(doc))
            for place in [place for place in sorted(CHANGES) if done < place <= until]:
                engine.step(place - done)
                engine.apply(key, CHANGES[place], author="me")
                done = place
            if until > done:
                engine.step(until - done)
            done = until
            lane = engine.desk.lane(key)
            result = (
                lane.context.config.config_hash,
                dict(engine.list()[0].overrides),
                [(v.number, v.config_hash, dict(v.patch)) for v in engine.versions(key)],
                lane.context.book.row.copy(),
                engine.desk.services.positions.account.copy(),
                np.array(lane.context.book.fill_rows),
                [fill.reason for fill in engine.board.fills(key)],
                memory(engine, key),
            )
    return result


@pytest.mark.parametrize("stops", [[60, 130, 200, 270], [61, 150, 201, 202, 271], [100, 240]])
def test_a_restart_from_the_journal_equals_one_that_never_stopped(tmp_path: Path, stops: list[int]) -> None:
    candles = wander(400, 8, gaps=3, move=0.004)
    never = play(candles, [])
    again = play(candles, stops, journal=tmp_path / "j.sqlite")
    assert again[:3] == never[:3]
    assert again[6] == never[6]
    assert "trailing" in never[6]
    assert "stop" in never[6]
    for one, other in zip(again[3:6], never[3:6], strict=True):
        assert np.array_equal(one, other, equal_nan=True)
    assert np.array_equal(again[7], never[7], equal_nan=True)
    reader = JournalReader.open(tmp_path / "j.sqlite")
    rows = reader.rows("config_versions", order="number")
    reader.close()
    assert [(row["number"], row["author"]) for row in rows] == [(1, ""), *((n, "me") for n in range(2, 6))]
