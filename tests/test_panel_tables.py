"""Tables of the panels: what is shown, filtered, exported and done from a row, against the picture it comes from."""

from __future__ import annotations

import base64
import io
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from sample_board import MINUTE_MS, SampleBoard
from stratnb.errors import Refused
from stratnb.events import Event
from stratnb.model import Trade
from stratnb.research.frames import trades_frame
from stratnb.ui.panels.backtest_rows import trade_columns
from stratnb.ui.panels.backtest_rows import trade_rows as rows_of_runs
from stratnb.ui.panels.cache import CachePanel, stayed
from stratnb.ui.panels.cache_times import EDGES_MS, histogram
from stratnb.ui.panels.engine_bar import EngineBar
from stratnb.ui.panels.event_rows import decided_ms, told
from stratnb.ui.panels.event_times import bounds
from stratnb.ui.panels.events import EventLog
from stratnb.ui.panels.position_rows import trade_rows
from stratnb.ui.panels.positions import Positions
from stratnb.ui.panels.strategies import StrategyTable, matching
from stratnb.ui.pump import pump
from stratnb.view import EngineView, OrderView, StrategyView


class ChangedBoard(SampleBoard):
    """A board whose pictures are changed before they are given out."""

    change: Any = staticmethod(lambda view: view)

    def view(self) -> EngineView:
        """Return the changed picture."""
        view: EngineView = self.change(super().view())
        return view


def changed(count: int, **fields: Any) -> ChangedBoard:
    """Return a board with these fields in its picture."""
    board = ChangedBoard(count)
    board.change = lambda view: replace(view, **fields)
    return board


def each(count: int, change: Any) -> ChangedBoard:
    """Return a board whose strategies go through `change(number, row)`."""
    board = ChangedBoard(count)
    board.change = lambda view: replace(view, strategies=tuple(change(i, s) for i, s in enumerate(view.strategies)))
    return board


def confirm(question: Any) -> None:
    """Give the second step after its second of waiting."""
    question._enable(question._round)
    question.yes.click()


def hidden(widget: Any) -> bool:
    return "sn-off" in widget._dom_classes


# Strategies.


STATES = ("active", "suspended", "dormant")


def mixed(i: int, s: StrategyView) -> StrategyView:
    return replace(s, state=STATES[i % 3], paused=i % 3 == 1, symbol=("AAA/USDT", "BBB/USDT")[i % 2])


@pytest.mark.parametrize("state", ["", *STATES])
@pytest.mark.parametrize("symbol", ["", "AAA/USDT", "BBB/USDT"])
@pytest.mark.parametrize("words", ["", "S1", "no such"])
def test_the_table_shows_what_all_filters_let_through_and_the_frame_is_the_same(
    state: str, symbol: str, words: str
) -> None:
    panel = StrategyTable(each(30, mixed))
    panel.state.value, panel.symbol.value, panel.filter.value = state, symbol, words
    wanted = [
        s.strategy_id
        for s in panel.board.view().strategies
        if state in ("", s.state) and symbol in ("", s.symbol) and words.lower() in s.strategy_id.lower()
    ]
    assert [row["id"] for row in panel.table.rows] == wanted == panel.to_frame()["strategy_id"].tolist()
    assert list(pd.read_csv(io.StringIO(panel.to_csv()))["strategy_id"]) == wanted
    assert panel.table.empty["t"] == "No strategy matches"
    panel.reset.click()
    assert len(panel.table.rows) == 30
    assert hidden(panel.reset)


def test_a_filter_finds_overrides_reasons_and_states() -> None:
    view = each(2, lambda i, s: replace(s, overrides=(("entry.min_score", "0.3"),) * i, last_reason="low_score")).view()
    assert matching(view.strategies, "min_score 0.3") == [view.strategies[1]]
    assert len(matching(view.strategies, "low score")) == 2
    assert len(matching(view.strategies, "ACTIVE")) == 2


def test_one_strategy_needs_no_filter() -> None:
    panel = StrategyTable(SampleBoard(1))
    assert all(hidden(each) for each in (panel.filter, panel.state, panel.symbol, panel.pause, panel.resume))
    assert not hidden(panel.export)


def test_a_bulk_pause_asks_once_and_reaches_only_what_is_shown() -> None:
    panel = StrategyTable(each(9, mixed))
    board: Any = panel.board
    panel.symbol.value = "AAA/USDT"
    wanted = [s.strategy_id for s in panel.found() if s.state == "active"]
    assert panel.pause.description == "Pause shown…"
    panel.pause.click()
    assert board.submitted == []
    confirm(panel.confirm)
    pump().paint_now()
    assert board.submitted == [("pause", {"strategy_id": key}) for key in wanted]
    assert f"{len(wanted)} of {len(wanted)} paused" in panel.outcome.value


def test_a_bulk_operation_says_for_how_many_it_failed() -> None:
    panel = StrategyTable(each(6, mixed))
    board: Any = panel.board
    board.refused["resume"] = "engine_busy"
    panel.resume.click()
    confirm(panel.confirm)
    pump().paint_now()
    assert "0 of 2 resumed" in panel.outcome.value
    assert "engine_busy" in panel._said.value


@pytest.mark.parametrize("risk", ["HALTED", "REDUCING"])
def test_a_stopped_account_shows_in_every_row_that_could_enter(risk: str) -> None:
    board = each(6, mixed)
    inner = board.change
    board.change = lambda view: replace(inner(view), risk_state=risk, risk_reason="kill_switch")
    panel = StrategyTable(board)
    for row, s in zip(panel.table.rows, board.view().strategies, strict=True):
        told_it = row["state"].get("sub") == f"account {risk.lower()}"
        assert told_it == (s.state in ("active", "suspended"))
        assert "kill switch" in row["state"].get("title", "kill switch")
    assert panel.table.rows[0]["state"]["t"] == "Entries off"


def test_a_strategy_that_its_own_rule_stopped_says_so() -> None:
    board = each(2, lambda i, s: replace(s, risk_state="HALTED" if i else "ACTIVE", risk_reason="daily_loss"))
    states = [row["state"] for row in StrategyTable(board).table.rows]
    assert [state["t"] for state in states] == ["Active", "Entries off"]
    assert states[1]["sub"] == "halted: daily loss"


def test_titles_that_collide_show_names_and_changed_documents_a_mark() -> None:
    board = each(
        3, lambda i, s: replace(s, name=f"name-{i}" if i < 2 else "name-1", overrides=(("a.b", "5"),) * (i == 2))
    )
    rows = StrategyTable(board).table.rows
    assert [row["name"]["sub"].split(" · ")[0] for row in rows] == ["name-0", "name-1", "name-1"]
    assert "chips" not in rows[0]["name"]
    assert rows[2]["name"]["chips"][0]["title"] == "Overrides: a.b = 5"
    board.change = lambda view: view
    pump().paint_now()
    assert rows[0]["name"]["sub"].startswith("BTC/USDT")


def test_uptime_counts_from_the_last_activation_and_only_while_it_works() -> None:
    now = SampleBoard(1).view().now_ms
    board = each(3, lambda i, s: replace(s, state=STATES[i], activated_ms=now - 90 * MINUTE_MS))
    cells = [row["uptime"] for row in StrategyTable(board).table.rows]
    assert [cell["t"] for cell in cells] == ["1 h 30 m", "1 h 30 m", "n/a"]
    assert cells[0]["n"] == 5_400.0


def test_every_column_sorts_by_a_number_or_a_text_but_never_by_both() -> None:
    panel = StrategyTable(each(6, mixed))
    for col in panel.table.cols:
        if col.get("sort", True) is False:
            continue
        cells = [row[col["key"]] for row in panel.table.rows]
        keys = [cell.get("n", cell.get("t", "")) for cell in cells]
        assert len({isinstance(key, str) for key in keys}) == 1, col["key"]


def test_all_columns_are_shown_on_demand() -> None:
    panel = StrategyTable(SampleBoard(2))
    assert any(col.get("cls") == "is-p4" for col in panel.table.cols)
    panel.every.value = True
    assert not any(col.get("cls", "") in ("is-p2", "is-p3", "is-p4") for col in panel.table.cols)
    assert {"exposure", "denials", "uptime", "age"} <= {col["key"] for col in panel.table.cols}


def test_the_drawer_of_a_row_pins_closes_and_shows_the_chart() -> None:
    board = SampleBoard(3)
    panel = StrategyTable(board)
    turned: list[str] = []
    panel.selection.turn = turned.append
    panel.table.on_act("more", "s0@BTC/USDT")
    assert "not active" in panel.more.facts.value
    panel.more.pin.click()
    panel.more.look.click()
    assert (turned, panel.selection.strategy_id) == (["Chart"], "s0@BTC/USDT")
    panel.more.close_now.click()
    confirm(panel.more.confirm)
    assert board.submitted == [
        ("pin", {"strategy_id": "s0@BTC/USDT"}),
        ("close_position", {"strategy_id": "s0@BTC/USDT"}),
    ]
    panel.table.on_act("more", "s2@SOL/USDT")
    assert panel.more.close_now.disabled
    assert panel.more.rest.disabled
    panel.more.drop.click()
    assert hidden(panel.more)
    assert "Remove" in panel.drawer.heading.value
    board.count = 2
    panel.table.on_act("more", "s1@ETH/USDT")
    board.count = 1
    pump().paint_now()
    assert hidden(panel.more)


def test_a_paused_strategy_is_what_its_switch_leaves() -> None:
    panel = StrategyTable(each(3, lambda i, s: replace(s, state=("active", "suspended", "dormant")[i])))
    panel.table.on_act("switch", "s1@ETH/USDT")
    assert panel.drawer.source.value == "s1@ETH/USDT"
    assert panel.drawer.target.value == "s2@SOL/USDT"
    panel.drawer.timeout.value = 15.0
    panel.drawer.preview.click()
    board: Any = panel.board
    call = {"to_id": "s2@SOL/USDT", "policy": "keep", "from_id": "s1@ETH/USDT", "timeout_s": 15.0}
    assert board.submitted == [("switch", {"dry_run": True, **call})]


def test_an_added_strategy_takes_the_next_free_label_and_leaves_the_field_empty() -> None:
    labels = ("main", "2", "4")
    board = each(3, lambda i, s: replace(s, symbol="BTC/USDT", label=labels[i]))
    panel = StrategyTable(board)
    panel.add.pick.value = "simple-levels"
    for given in ("", "mine", ""):
        panel.add.label.value = given
        panel.add.add.click()
        assert panel.add.add.disabled
        pump().paint_now()
        assert panel.add.label.value == ""
    assert [call["label"] for _, call in board.submitted] == ["3", "mine", "3"]
    board.refused["add"] = "duplicate_strategy"
    panel.add.label.value = "main"
    panel.add.add.click()
    pump().paint_now()
    assert panel.add.label.value == "main"


# The cache.


def test_every_time_is_counted_in_the_bin_that_holds_it() -> None:
    rng = np.random.default_rng(5)
    for _ in range(50):
        made, switched = (np.exp(rng.normal(1.0, 3.0, int(rng.integers(0, 60)))) for _ in range(2))
        rows = histogram(made.tolist(), switched.tolist())
        assert sum(row["made"]["n"] for row in rows) == len(made)
        assert sum(row["switched"]["n"] for row in rows) == len(switched)
        for row in rows:
            k = int(row["id"].removeprefix("bin"))
            low, high = EDGES_MS[k - 1] if k else 0.0, EDGES_MS[k] if k < len(EDGES_MS) else np.inf
            assert row["made"]["n"] == int(((made >= low) & (made < high)).sum())
            assert 0.0 <= row["madebar"]["bar"] <= 1.0
        if rows:
            assert rows[0]["made"]["n"] + rows[0]["switched"]["n"] > 0
            assert rows[-1]["made"]["n"] + rows[-1]["switched"]["n"] > 0
    assert histogram([], []) == []


def test_the_line_of_the_hit_rate_starts_anew() -> None:
    board = ChangedBoard(2)
    hits = [0]
    board.change = lambda view: replace(view, cache=replace(view.cache, hits=hits[0], misses=10, hit_rate=0.5))
    panel = CachePanel(board)
    for count in (10, 20, 40):
        hits[0] = count
        pump().paint_now()
    rate = {row["id"]: row["v"] for row in panel.figures.rows}["rate"]
    assert rate["spark"] == [0.0, 0.5, 20 / 30, 40 / 50]
    panel.anew.click()
    pump().paint_now()
    assert "spark" not in {row["id"]: row["v"] for row in panel.figures.rows}["rate"]
    for count in (41, 42):
        hits[0] = count
        pump().paint_now()
    assert {row["id"]: row["v"] for row in panel.figures.rows}["rate"]["spark"] == [1.0, 1.0]


def test_a_refused_eviction_shows_why_it_is_pinned() -> None:
    board = SampleBoard(2)
    panel = CachePanel(board)
    evict = panel.table.rows[0]["act"]["acts"][1]
    assert "off" not in evict
    assert "position" in evict["label"]
    panel.refuse(Refused("pinned", "'x' is pinned: active, position", hint="deactivate it"))
    assert "active, position" in panel._said.value


def test_a_smaller_cache_says_who_went_and_who_stays() -> None:
    before = SampleBoard(10).view().cache
    after = replace(before, capacity=1, size=2, over_capacity=1, entries=before.entries[:2])
    words = stayed(before, after)
    assert words.startswith("8 evicted, 2 left. 1 over capacity")
    assert "s0@BTC/USDT (position)" in words


# Positions, orders, trades.


ORDERS = (
    OrderView("abc-1", "s0@BTC/USDT", "BTC/USDT", "buy", 0.4, False, "entry", 1_767_225_600_000),
    OrderView("abd-7", "s1@ETH/USDT", "ETH/USDT", "sell", 1.0, True, "stop_now", 1_767_225_600_000),
)
TRADES = tuple(
    Trade(
        "s0@BTC/USDT", "BTC/USDT", i, 1, 0.4, 1_000 * i, 100.0, 1_000 * i + 60_000, 101.0, pnl, 0.1, 0.01, "target_1", 2
    )
    for i, pnl in enumerate((3.0, -1.0, 2.5), 1)
)


def test_a_part_is_closed_only_after_its_effect_was_shown() -> None:
    board = SampleBoard(2)
    panel = Positions(board)
    panel.table.on_act("close", "s0@BTC/USDT")
    assert "Sells 0.4 BTC/USDT" in panel.confirm.message.value
    panel.part.value = 0.25
    assert "Sells about 0.1 BTC/USDT" in panel.confirm.message.value
    assert "go on for the rest" in panel.confirm.message.value
    confirm(panel.confirm)
    assert board.submitted == [("close_position", {"strategy_id": "s0@BTC/USDT", "fraction": 0.25})]
    panel.table.on_act("close", "s0@BTC/USDT")
    assert panel.part.value == 1.0


def test_the_stop_is_moved_by_the_python_call_and_its_effect_is_shown_first() -> None:
    board = SampleBoard(2)
    panel = Positions(board)
    position = board.view().positions[0]
    panel.table.on_act("stop", position.strategy_id)
    assert float(panel.price.value) == pytest.approx(position.stop, abs=0.005)
    panel.price.value = "63,900.5"
    expected = position.quantity * (63_900.5 - position.entry_price)
    assert f"{abs(expected):,.2f}" in panel.effect.value
    move, even = panel.stop.children[1].children[1:]
    move.click()
    pump().paint_now()
    assert hidden(panel.stop)
    panel.table.on_act("stop", position.strategy_id)
    even.click()
    panel.table.on_act("stop", position.strategy_id)
    panel.price.value = "much"
    move.click()
    assert "is no price" in panel._said.value
    key = position.strategy_id
    assert board.submitted == [
        ("move_stop", {"strategy_id": key, "price": 63_900.5}),
        ("breakeven", {"strategy_id": key}),
    ]


def test_the_stop_shows_its_distance_and_where_it_was_first() -> None:
    def stopped(view: EngineView) -> EngineView:
        p = replace(view.positions[0], mark_price=200.0, stop=190.0, side=1, quantity=2.0, initial_stop=180.0)
        return replace(view, positions=(p,))

    board = ChangedBoard(2)
    board.change = stopped
    cell = Positions(board).table.rows[0]["stop"]
    assert (cell["t"], cell["sub"]) == ("190.00", "5.00%")
    assert "costs 20.00" in cell["title"]
    assert "first at 180.00" in cell["title"]


def test_a_market_that_several_hold_has_a_net_row() -> None:
    def hedged(view: EngineView) -> EngineView:
        one, two = view.positions
        short = replace(two, symbol=one.symbol, side=-1, quantity=0.1, notional=10.0, mark_price=one.mark_price)
        return replace(view, positions=(replace(one, quantity=0.4, notional=40.0), short))

    board = ChangedBoard(2)
    board.change = hedged
    panel = Positions(board)
    net = panel.table.rows[-1]
    assert (net["cls"], net["qty"], net["value"]["t"], net["value"]["title"]) == (
        "is-sum",
        "0.3",
        "30.00",
        "Gross 50.00",
    )
    assert len(panel.to_frame()) == 2
    panel.table.on_act("close", net["id"])
    assert not panel.confirm.is_open


def test_orders_and_trades_are_shown_one_table_at_a_time_and_in_the_frame() -> None:
    board = changed(2, orders=ORDERS, trades_today=TRADES)
    panel = Positions(board)
    assert "2 orders · 3 trades today" in panel.frame.heading.value
    for name, ids in (("Orders", ["abc-1", "abd-7"]), ("Trades today", None), ("Positions", None)):
        panel.what.value = name
        assert [key for key, page in panel.pages.items() if not hidden(page)] == [name]
        assert len(panel.to_frame()) == {"Orders": 2, "Trades today": 3, "Positions": 2}[name]
        if ids:
            assert [row["id"] for row in panel.orders.rows] == ids
    total = panel.trades.rows[-1]
    assert (total["pnl"]["t"], total["name"]["t"]) == ("▲ +4.50", "3 trades")
    assert [row["pnl"]["n"] for row in panel.trades.rows[:-1]] == [2.5, -1.0, 3.0]


def test_an_order_says_its_limit_how_long_it_rests_and_what_is_filled() -> None:
    end = ORDERS[0].created_ms + 900_000
    resting = replace(ORDERS[0], limit=63_000.5, until_ms=end, filled=0.1, state="PARTIAL")
    panel = Positions(changed(2, orders=(resting, replace(ORDERS[1], state="UNKNOWN"))))
    panel.what.value = "Orders"
    first, second = panel.orders.rows
    assert (first["price"]["t"], first["price"]["sub"]) == ("63,000.50", "until 00:15")
    assert (first["qty"]["sub"], first["state"]["t"]) == ("0.1 filled", "Partly filled")
    assert (second["price"]["t"], second["state"]["t"], second["state"]["tone"]) == ("Market", "Unknown", "warn")


@pytest.mark.parametrize(("role", "dropped"), [("holder", 6), ("observer", 0)])
def test_numbers_that_a_journal_left_out_are_not_called_dropped(role: Any, dropped: int) -> None:
    board = changed(1, role=role)
    board.events = [Event(1, 10**9, "FILL", None, None, None, "x", {})]
    panel = EventLog(board)
    board.events.append(Event(8, 2 * 10**9, "FILL", None, None, None, "x", {}))
    panel.repaint()
    panel.pump.paint_now()
    assert f"2 shown of 2, {dropped} dropped" in panel.frame.heading.value


@pytest.mark.parametrize("paid", [0.0, 0.25, -0.25])
def test_funding_has_a_column_only_where_a_trade_has_some(paid: float) -> None:
    trades = (TRADES[0], replace(TRADES[1], funding=paid))
    panel = Positions(changed(2, trades_today=trades))
    panel.what.value = "Trades today"
    assert ("funding" in [column["key"] for column in panel.trades.cols]) == bool(paid)
    assert ("funding" in [column["key"] for column in trade_columns(trades_frame(trades)["funding"])]) == bool(paid)
    shown = rows_of_runs(trades_frame(trades), [99.0, 99.0])
    assert shown[0]["funding"]["n"] == paid
    risked = (TRADES[1].pnl + TRADES[1].fees + paid) / 0.4
    assert shown[0]["r"]["n"] == pytest.approx(risked)


def test_a_working_entry_is_canceled_and_an_exit_is_not_offered() -> None:
    board = changed(2, orders=ORDERS)
    panel = Positions(board)
    panel.what.value = "Orders"
    assert "off" in panel.orders.rows[1]["act"]["acts"][0]
    panel.orders.on_act("cancel", "abc-1")
    assert board.submitted == [("cancel_order", {"strategy_id": "s0@BTC/USDT"})]


# Events.


def event(
    seq: int, type_: str = "FILL", strategy_id: str | None = None, part: str | None = None, **payload: Any
) -> Event:
    return Event(seq, seq * 60 * 10**9, type_, strategy_id, "BTC/USDT", part, "test", payload)


def log_of(*events: Event, **fields: Any) -> EventLog:
    board = changed(2, **fields)
    board.events = list(events)  # type: ignore[attr-defined]
    return EventLog(board)


def test_a_time_range_is_relative_to_the_feed_or_between_two_times() -> None:
    log = log_of(*(event(i) for i in range(1, 101)), now_ms=100 * 60_000)
    log.range.value = "3600"
    assert [row["id"] for row in log.table.rows] == [str(i) for i in range(100, 39, -1)]
    log.range.value = "between"
    assert len(log.table.rows) == 100
    log.start.value, log.end.value = "1970-01-01 00:10", "1970-01-01 00:20"
    assert log.to_frame()["seq"].tolist() == list(range(20, 9, -1))
    log.start.value = "yesterday"
    assert "is no time" in log.fault.value
    assert not hidden(log.fault)
    log.reset.click()
    assert (len(log.table.rows), hidden(log.start), hidden(log.fault)) == (100, True, True)


@pytest.mark.parametrize(
    ("choice", "start", "end", "fault"),
    [("between", "1970-01-02", "1970-01-01", "After"), ("between", "x", "", "no time"), ("between", "", "", "")],
)
def test_wrong_bounds_are_named_and_let_everything_through(choice: str, start: str, end: str, fault: str) -> None:
    first, last, said = bounds(choice, start, end, 0)
    assert (first, last) == (-np.inf, np.inf)
    assert fault.lower() in said.lower()


def test_counts_come_from_the_bus_and_filter_by_type() -> None:
    counts = (("FILL", 3), ("DECISION", 900), ("CANDLE_ROUTED", 4_000))
    log = log_of(event(1, "FILL"), event(2, "DECISION"), events_by_type=counts)
    log.counting.value = True
    pump().paint_now()
    assert [(row["id"], row["n"]["n"]) for row in log.counts.rows] == sorted(counts, key=lambda pair: -pair[1])
    log.counts.on_act("only", "FILL")
    assert [row["id"] for row in log.table.rows] == ["1"]


def test_a_paused_list_says_how_many_are_waiting() -> None:
    log = log_of(event(1))
    board: Any = log.board
    log.follow.value = False
    board.events += [event(2), event(3), event(4, "CANDLE_ROUTED")]
    pump().paint_now()
    assert [row["id"] for row in log.table.rows] == ["1"]
    assert "paused, 2 new" in log.frame.heading.value
    log.follow.value = True
    pump().paint_now()
    assert len(log.table.rows) == 3


def test_an_event_leads_to_the_decision_of_its_trade() -> None:
    key = SampleBoard(2).strategy_id(0)
    log = log_of(
        event(1, "FILL", key, "abcdef-1767225600000", price=2.0),
        event(2, "DECISION", key, "abcdef-1", open_time_ms=1_767_225_660_000),
        event(3, "ENGINE_STATE"),
    )
    turned: list[str] = []
    log.selection.turn = turned.append
    for seq, time_ms in (("1", 1_767_225_600_000), ("2", 1_767_225_660_000)):
        log.table.on_act("open", seq)
        log.look.click()
        assert (log.selection.strategy_id, log.selection.open_time_ms) == (key, time_ms)
    assert turned == ["Chart", "Chart"]
    log.table.on_act("open", "3")
    assert hidden(log.look)
    assert hidden(log.same)
    log.table.on_act("open", "1")
    log.same.click()
    assert [row["id"] for row in log.table.rows] == ["1"]


def test_an_event_without_a_decision_leads_to_the_newest_one_before_it() -> None:
    board = SampleBoard(2)
    key = board.strategy_id(0)
    times = board.decisions(key)[:, 0]
    when = int(times[50]) + 30_000
    board.events = [Event(1, when * 1_000_000, "STRATEGY_ERROR", key, None, None, "test", {})]  # type: ignore[attr-defined]
    log = EventLog(board)
    log.table.on_act("open", "1")
    log.look.click()
    assert log.selection.open_time_ms == int(times[50])


def test_the_details_hold_everything_of_an_event() -> None:
    words = told(event(7, "FILL", "s@A#main", "abc-1767225600000", price=-2.5, note="x"))
    for part in ("Event 7", "FILL", "s@A#main", "BTC/USDT", "from test", "abc-1767225600000", "price −2.5", "note x"):
        assert part in words
    assert decided_ms(event(1)) is None


def test_exports_hold_what_matches() -> None:
    log = log_of(*(event(i, "FILL" if i % 2 else "DECISION") for i in range(1, 11)))
    log.type.value = "fill"
    frame = pd.read_csv(io.StringIO(log.to_csv()))
    assert frame["seq"].tolist() == [1, 3, 5, 7, 9] == log.to_frame()["seq"].tolist()[::-1]
    assert set(frame["level"]) == {"trade"}
    log._export("events.csv", log.to_csv(), "text/csv")
    data = log.link.value.split("base64,")[1].split('"')[0]
    assert base64.b64decode(data).decode() == log.to_csv()


# The bar.


def test_a_refused_mode_is_taken_back() -> None:
    board = SampleBoard(2)
    bar = EngineBar(board)
    assert bar.mode.value == "parallel"
    board.refused["set_mode"] = "mode_conflict"
    bar.mode.value = "exclusive"
    pump().paint_now()
    assert bar.mode.value == "parallel"
    assert "mode_conflict" in bar._said.value
    assert board.submitted == [("set_mode", {"mode": "exclusive"})]


def test_a_button_that_is_off_says_why() -> None:
    board = SampleBoard(1)
    bar = EngineBar(board)
    assert bar.step.disabled
    assert "Pause first" in bar.step.tooltip
    board.state = "stopped"
    pump().paint_now()
    assert bar.stop.disabled
    assert "stopped already" in bar.stop.tooltip


def test_the_bar_says_whose_engine_it_is() -> None:
    bar = EngineBar(changed(1, host="<b>", pid=7))
    assert "pid 7 on &lt;b&gt;" in bar.role.value
    assert {"host", "pid", "version"} <= set(bar.to_frame().columns)


@pytest.mark.parametrize("pnl", [0.000123, -0.004567, 0.01])
def test_small_money_and_prices_of_coins_stay_readable_and_large_quantities_short(pnl: float) -> None:
    trade = Trade(
        "s@SHIB/BTC",
        "SHIB/BTC",
        1,
        1,
        442_002_661.60434997,
        0,
        5.158578e-05,
        60_000,
        5.2e-05,
        pnl,
        abs(pnl) / 10,
        0.01,
        "target",
        2,
    )
    row, total = trade_rows([trade], 10, {"SHIB/BTC": 10})
    assert float(row["pnl"]["t"].split()[-1].replace("−", "-")) == pytest.approx(pnl, abs=5e-7)
    assert total["pnl"]["t"] == row["pnl"]["t"] and float(row["fees"]["t"]) == pytest.approx(abs(pnl) / 10, abs=5e-7)
    assert (row["entry"]["t"], row["qty"]["t"]) == ("0.0000515858", "442,002,661.6")
    assert not any("e-" in str(cell) for cell in (row["entry"]["t"], row["exit"]["t"], row["qty"]["t"]))


@pytest.mark.parametrize(("quote", "digits"), [("BTC", 6), ("ETH", 6), ("USDT", 2), ("USD", 2)])
def test_money_of_an_account_has_the_digits_of_its_currency_everywhere(quote: str, digits: int) -> None:
    board = changed(2, quote=quote, equity=10.001234, day_pnl=0.001234)
    equity = next(row["v"] for row in EngineBar(board).figures.rows if row["id"] == "equity")
    assert equity == f"{10.001234:.{digits}f}"
    pnl = StrategyTable(board).table.rows[0]["pnl"]["t"]
    assert len(pnl.partition(".")[2]) == digits
