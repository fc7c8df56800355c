"""A block that is defined again, as in a notebook cell, takes over at the next candle; what does not build does not."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from stratnb.blocks import base
from stratnb.engine import Engine
from stratnb.errors import Refused
from stratnb.events import Event
from stratnb.kernels import layout as at
from stratnb.strategy.fingerprint import code_hash
from trading_cases import FREE, IDLE, LONG, Floats, document, flat, market, registered, series, wander

ANALYZER = """
class Cell(Analyzer, kind="cell"):
    edge: float = Field({default}, ge=0, le=1000{more})

    def inputs(self):
        return ("volume",)

    @staticmethod
    @kernel
    def step(i, state, x, out, p):
        # {comment}
        out[0], out[1] = 0.0, 0.0
        {line}
        if x[0] == {signal}:
            out[0], out[1] = 1.0, 0.9
"""
EXIT = """
class CellStop(Exit, kind="cell_stop"):
    limits_loss = True
    share: float = Field({share})

    def inputs(self):
        return ("position.entry_price", "position.fresh")

    def state_size(self):
        return 1

    @staticmethod
    @kernel
    def step(i, state, x, out, p):
        if x[1] == 1.0:
            state[0] = x[0] * (1.0 - p[0])
        out[0], out[1] = state[0], 0.0
"""


@pytest.fixture(autouse=True)
def test_blocks() -> Iterator[None]:
    with registered():
        yield
    base._REGISTRY["analyzer"].pop("cell", None)
    base._REGISTRY["exit"].pop("cell_stop", None)


def run_cell(source: str) -> dict[str, Any]:
    """Run a source as a notebook cell does: in one namespace, without a file."""
    from pydantic import Field

    from stratnb.blocks.base import Analyzer, Exit
    from stratnb.kernels.jit import kernel

    space = {"Analyzer": Analyzer, "Exit": Exit, "Field": Field, "kernel": kernel, "__name__": "cell"}
    exec(compile(source, "<cell>", "exec"), space)
    return space


def analyzer(signal: float = LONG, default: float = 5.0, line: str = "pass", more: str = "", comment: str = "") -> None:
    run_cell(ANALYZER.format(signal=signal, default=default, line=line, more=more, comment=comment))


def engine_on(candles: Any, **options: Any) -> Engine:
    known = {"cash": 1e6, "limits": FREE, "mode": "parallel", "markets": [market()], **options}
    return Engine("case", candles=candles, **known)


def with_cell(name: str = "case", **sections: Any) -> dict[str, Any]:
    return document(name, **{"analyzers": [{"kind": "cell"}], **sections})


def memory_of(engine: Engine, key: str) -> str:
    found = engine.desk.cache.hit(key)
    assert found is not None
    return hashlib.sha256(found.memory.tobytes()).hexdigest()


def directions(engine: Engine, key: str) -> Floats:
    return engine.desk.store.decisions(key).rows()[:, at.D_DIRECTION]


def told(engine: Engine, kind: str) -> list[Event]:
    return [event for event in engine.events.since(0, 100_000) if event.type == kind]


def test_a_new_definition_counts_from_the_next_candle() -> None:
    candles = wander(300, 5)
    analyzer(signal=LONG)
    with engine_on(candles) as engine:
        key = engine.add(with_cell())
        other = engine.add(document("untouched"))
        engine.activate(key)
        engine.activate(other)
        engine.step(150)
        before, kept = engine.desk.lane(key).context.plan, engine.desk.lane(other).context.plan
        analyzer(signal=2.0)
        engine.step(150)
        found = directions(engine, key)
        assert np.array_equal(found[:150] > 0, candles.volume[:150] == LONG)
        assert np.array_equal(found[150:] > 0, candles.volume[150:] == 2.0)
        assert engine.desk.lane(key).context.plan.code_hash != before.code_hash
        assert engine.desk.lane(other).context.plan is kept
        (swap,) = told(engine, "CACHE_EVICTED")
        assert (swap.strategy_id, swap.payload["reason"]) == (key, "config")
        (event,) = told(engine, "STRATEGY_CONFIG_UPDATED")
        assert event.payload["blocks"] == ["analyzer cell"]
        assert engine.cache.stats()["evictions_by_reason"]["config"] == 1
        assert engine.list()[0].state == "active"


def test_the_rebuilt_one_equals_one_that_never_knew_another() -> None:
    counting = "state[0] += x[0]"
    candles = wander(400, 6, gaps=7)
    doc = with_cell(timeframes={"primary": "5m", "trend": "15m"}, exits={"stop_loss": {"fraction": 0.5}})
    source = ANALYZER.replace("    @static", "    def state_size(self):\n        return 1\n\n    @static")
    first = source.format(signal=99.0, default=1.0, line=counting, more="", comment="")
    second = source.format(signal=99.0, default=1.0, line=counting + " * 2.0", more="", comment="")
    with engine_on(candles) as engine:
        run_cell(first)
        old = engine.add(doc, label="old")
        engine.activate(old)
        engine.step(250)
        run_cell(second)
        engine.activate(engine.add(doc, label="new"))
        engine.step(150)
        assert memory_of(engine, old) == memory_of(engine, "case@AAA/USDT#new")


def test_a_cell_that_is_run_again_changes_nothing() -> None:
    analyzer(comment="once")
    with engine_on(wander(100, 5)) as engine:
        key = engine.add(with_cell())
        engine.activate(key)
        engine.step(50)
        plan = engine.desk.lane(key).context.plan
        analyzer(comment="twice, with other words")
        engine.step(50)
        assert engine.desk.lane(key).context.plan is plan
        assert told(engine, "STRATEGY_CONFIG_UPDATED") == []
        assert engine.stats(key)["decisions"] == 100


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"line": "out[0] = eval('0.0')"}, "eval"),
        ({"line": "if x[0] == 1.0: raise ValueError('not on this one')"}, "not on this one"),
        ({"default": 2000.0}, "edge"),
    ],
)
def test_what_does_not_build_leaves_the_old_one_going(change: dict[str, Any], words: str) -> None:
    candles = wander(120, 5)
    analyzer()
    with engine_on(candles) as engine:
        key = engine.add(with_cell())
        engine.activate(key)
        engine.step(60)
        plan = engine.desk.lane(key).context.plan
        if "default" in change:
            source = ANALYZER.replace("{default}", "...").format(signal=LONG, line="pass", more="", comment="")
            run_cell(source)
        else:
            analyzer(**change)
        assert engine.step(60) == 60
        (event,) = told(engine, "STRATEGY_CONFIG_REJECTED")
        assert event.strategy_id == key
        assert words in " ".join([event.payload["message"], *event.payload["findings"]])
        assert engine.desk.lane(key).context.plan is plan
        assert engine.list()[0].state == "active"
        assert np.array_equal(directions(engine, key) > 0, candles.volume == LONG)
        analyzer(signal=2.0)
        assert engine.step(1) == 0
        assert engine.desk.lane(key).context.plan is not plan


def test_a_definition_that_leaves_its_arrays_is_refused_in_its_cell() -> None:
    analyzer()
    with engine_on(wander(100, 5)) as engine:
        key = engine.add(with_cell())
        engine.activate(key)
        engine.step(50)
        with pytest.raises(Exception, match="leaves its arrays"):
            analyzer(line="out[7] = 1.0")
        assert engine.step(50) == 50
        assert told(engine, "STRATEGY_CONFIG_REJECTED") == []


@pytest.mark.parametrize(("share", "moved"), [(0.05, False), (0.01, True)])
def test_a_stop_never_loosens(share: float, moved: bool) -> None:
    run_cell(EXIT.format(share=0.02))
    doc = document(exits={"cell_stop": {}, "take_profit": {"levels": [{"at": 0.5, "close": 1.0}]}})
    with engine_on(series([*flat(2), *flat(1, volume=LONG), *flat(20)])) as engine:
        key = engine.add(doc)
        engine.activate(key)
        engine.step(8)
        book = engine.desk.lane(key).context.book
        before, stop = book.row.copy(), book.row[at.B_STOP]
        run_cell(EXIT.format(share=share))
        engine.step(3)
        assert told(engine, "STRATEGY_CONFIG_UPDATED")
        held = engine.desk.lane(key).context.book
        assert held is book
        assert held.quantity == 1.0
        assert held.settings is engine.desk.lane(key).context.plan.params
        assert held.row[at.B_STOP] > stop if moved else held.row[at.B_STOP] == stop
        same = [at.B_AVERAGE, at.B_FIRST_STOP, at.B_TARGETS, *range(at.B_LEVELS, at.B_LEVELS + 3), at.B_OPENED_MS]
        assert np.array_equal(held.row[same], before[same])


def test_exits_that_did_not_change_keep_their_memory() -> None:
    analyzer()
    run_cell(EXIT.format(share=0.02))
    rows = [*flat(2), *flat(1, volume=LONG), *flat(20)]
    with engine_on(series(rows)) as engine:
        key = engine.add(with_cell(exits={"cell_stop": {}}))
        engine.activate(key)
        engine.step(8)
        found = engine.desk.cache.hit(key)
        assert found is not None
        node = found.plan.nodes.index(next(n for n in found.plan.nodes if n.block.kind == "cell_stop"))
        start = int(found.plan.code[int(found.plan.code[at.H_NODES]) + node * at.W_NODE + at.N_STATE])
        found.memory[start] = 98.75
        analyzer(signal=2.0)
        engine.step(1)
        made = engine.desk.cache.hit(key)
        assert made is not None
        assert made is not found
        assert engine.desk.lane(key).context.book.row[at.B_STOP] == 98.75


def test_pins_and_dormant_ones_follow_too() -> None:
    analyzer()
    with engine_on(wander(200, 5), cache_capacity=2) as engine:
        cached, cold = engine.add(with_cell(), label="cached"), engine.add(with_cell(), label="cold")
        engine.activate(cached)
        engine.cache.pin(cached)
        engine.step(100)
        engine.deactivate(cached, policy="close")
        old = [engine.desk.lane(key).context.plan for key in (cached, cold)]
        analyzer(signal=2.0)
        engine.step(50)
        new = [engine.desk.lane(key).context.plan for key in (cached, cold)]
        assert all(after is not before for before, after in zip(old, new, strict=True))
        (entry,) = engine.cache.stats()["entries"]
        assert entry["pinned"]
        for key in (cached, cold):
            assert engine.activate(key).success
        engine.step(50)
        assert np.array_equal(directions(engine, cached)[100:], directions(engine, cold)[100:])
        assert (directions(engine, cached)[:100] != directions(engine, cold)[:100]).any()
        assert [len(engine.desk.store.decisions(key)) for key in (cached, cold)] == [200, 200]


def test_a_halted_strategy_is_mended_by_its_cell() -> None:
    rows = [*flat(5), *flat(1, volume=3.0), *flat(10)]
    analyzer(line="if x[0] == 3.0: raise ValueError('three')")
    with engine_on(series(rows)) as engine:
        key = engine.add(with_cell())
        engine.activate(key)
        engine.step(9)
        assert engine.list()[0].state == "suspended"
        with pytest.raises(Refused, match="three"):
            engine.resume(key)
        analyzer()
        engine.resume(key)
        assert engine.list()[0].state == "active"
        assert engine.view().strategies[0].error == ""
        engine.step(20)
        assert len(engine.desk.store.decisions(key)) == len(rows)


def test_new_defaults_count_and_given_values_stay() -> None:
    analyzer(default=5.0)
    with engine_on(wander(60, 5)) as engine:
        plain = engine.add(with_cell(), label="plain")
        written = with_cell(analyzers=[{"kind": "cell", "params": {"edge": 5.0}}])
        given = engine.add(written, label="given")
        changed = engine.add(written, label="changed", overrides={"analyzers[0].params.edge": 7.0})
        for key in (plain, given, changed):
            engine.activate(key)
        engine.step(10)
        analyzer(default=6.0)
        engine.step(1)
        edges = [engine.desk.lane(key).context.config.analyzers[0].params for key in (plain, given, changed)]
        assert [edge.edge for edge in edges] == [6.0, 5.0, 7.0]  # type: ignore[attr-defined]
        record, config = engine.list()[0], engine.desk.lane(plain).context.config
        assert record.config_hash == config.config_hash
        assert engine.board.document(plain)["analyzers"][0]["params"]["edge"] == 6.0
        assert engine.desk.lane(changed).context.loaded.explain("analyzers[0].params.edge").source == "override"


def test_removing_while_it_is_rebuilt_is_no_error() -> None:
    analyzer()
    with engine_on(wander(3_000, 5)) as engine:
        key = engine.add(with_cell())
        engine.activate(key)
        engine.step(2_000)
        analyzer(signal=2.0)
        job = engine.submit("step", 500)
        engine.remove(key, policy="close")
        assert job.result() == 500
        assert engine.list() == ()
        assert engine.desk.cache.ids() == ()


SOURCES = {
    "constant": ("x[0] > 1.0", "x[0] > 2.0"),
    "operator": ("x[0] > 1.0", "x[0] < 1.0"),
    "global": ("x[0] > LIMIT", "x[0] > LIMIT"),
    "helper": ("more(x[0])", "more(x[0])"),
}


@pytest.mark.parametrize("case", SOURCES)
def test_the_hash_sees_what_the_code_reads(case: str) -> None:
    found = []
    for k, line in enumerate(SOURCES[case]):
        head = f"LIMIT = {k}\ndef more(x):\n    return x + {k}\n" if case in ("global", "helper") else ""
        source = head + ANALYZER.format(signal=LONG, default=5.0, line=f"y = {line}", more="", comment=k)
        first, again = run_cell(source)["Cell"], run_cell(source)["Cell"]
        assert code_hash([first()]) == code_hash([again()])
        found.append(code_hash([first()]))
    assert found[0] != found[1]


def test_the_hash_sees_fields_and_class_values() -> None:
    def made(**changes: Any) -> str:
        source = ANALYZER.format(
            **{"signal": LONG, "default": 5.0, "line": "pass", "more": "", "comment": "", **changes}
        )
        return code_hash([run_cell(source)["Cell"]()])

    hashes = {made(), made(default=6.0), made(more=", title='Edge'"), made(signal=IDLE), made(comment="free")}
    assert len(hashes) == 3  # a title and a comment change nothing that is computed
