"""The columns and rows of the strategy table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from stratnb.ui.format import age, cents, clock, count, delta, dot, na, num, quantity, share, signed, sized, stamp, tag
from stratnb.view import EngineView, StrategyView

__all__ = ["STATES", "columns", "row", "rows", "uptime_s"]

STATES = {
    "active": ("ok", "Active"),
    "managing": ("info", "Managing"),
    "dormant": ("mute", "Dormant"),
    "preparing": ("info", "Preparing"),
    "suspended": ("warn", "Paused"),
    "failed": ("err", "Failed"),
    "removed": ("mute", "Removed"),
}
HEALTH = {
    "HEALTHY": ("ok", "Healthy"),
    "DEGRADED": ("warn", "Degraded"),
    "UNHEALTHY": ("err", "Unhealthy"),
    "UNKNOWN": ("mute", "Unknown"),
}
BREAKER = {"closed": ("ok", "Closed"), "open": ("err", "Open"), "half_open": ("warn", "Half open")}
MANY_DAYS = 30
_UP = ("active", "managing", "suspended")
_ENTRIES = ("active", "preparing", "suspended")


def columns(*, every: bool = False) -> list[dict[str, Any]]:
    """Return the columns; those that narrow places drop are kept with `every`."""
    made: list[dict[str, Any]] = [
        {"key": "name", "label": "Strategy", "cls": "is-wide"},
        {"key": "state", "label": "State", "cls": "is-state"},
        {"key": "health", "label": "Health", "cls": "is-p2", "title": "Judged every 5 s: steps, data, loop, orders"},
        {"key": "breaker", "label": "Breaker", "cls": "is-p4", "title": "Opens after failures in a row"},
        {"key": "pos", "label": "Position", "align": "r"},
        {"key": "open", "label": "Open PnL", "align": "r"},
        {"key": "pnl", "label": "PnL total", "align": "r", "title": "Realized and open since the start, after fees"},
        {"key": "trades", "label": "Trades", "align": "r", "cls": "is-p2"},
        {"key": "win", "label": "Won", "align": "r", "cls": "is-p3", "title": "Share of trades with a gain"},
        {"key": "factor", "label": "Factor", "align": "r", "cls": "is-p3", "title": "Profit factor: gains over losses"},
        {"key": "drawdown", "label": "Drawdown", "align": "r", "cls": "is-p3", "title": "Largest fall from a peak"},
        {
            "key": "sharpe",
            "label": "Sharpe (n)",
            "align": "r",
            "cls": "is-p4",
            "title": "Daily returns, a year of 365 days",
        },
        {"key": "exposure", "label": "Exposure", "align": "r", "cls": "is-p4", "title": "Notional over equity"},
        {"key": "denials", "label": "Denied", "align": "r", "cls": "is-p4", "title": "Entries that a rule refused"},
        {"key": "age", "label": "Candle", "align": "r", "cls": "is-p4", "title": "Age of the last candle"},
        {"key": "uptime", "label": "Uptime", "align": "r", "cls": "is-p4", "title": "Since it last became active"},
        {"key": "version", "label": "Config", "align": "r", "cls": "is-p4", "title": "Version of its configuration"},
        {"key": "last", "label": "Last decision", "cls": "is-last"},
        {"key": "slot", "label": "Slot", "cls": "is-p2", "title": "Where its orchestrator is"},
        {"key": "act", "label": "Actions", "sort": False, "cls": "is-acts"},
    ]
    return [{**col, "cls": ""} if every and col.get("cls", "") in ("is-p2", "is-p3", "is-p4") else col for col in made]


def rows(view: EngineView, shown: Sequence[StrategyView]) -> list[dict[str, Any]]:
    """Return the rows of the shown strategies; a title that strategies of several names bear comes with the name."""
    names: dict[str, set[str]] = {}
    for s in view.strategies:
        names.setdefault(s.title, set()).add(s.name)
    return [row(s, view, named=len(names[s.title]) > 1) for s in shown]


def row(s: StrategyView, view: EngineView, *, named: bool) -> dict[str, Any]:
    """Return the row of one strategy."""
    held, money = s.side != 0, cents(view.quote)
    word = {1: "Long", -1: "Short"}.get(s.side, "Flat")
    position = {"t": f"{word} {quantity(s.quantity)}", "sub": s.symbol.split("/")[0], "n": s.side * s.quantity}
    flat = {"t": "Flat", "tone": "mute", "n": 0.0, **({"sub": f"{s.order} order"} if s.order else {})}
    candle_s = None if s.last_candle_ms is None else max(view.now_ms - s.last_candle_ms, 0) / 1000
    equity = f"equity {num(s.equity, money)}"
    return {
        "id": s.strategy_id,
        "cls": "is-err" if s.state == "failed" or s.error else "",
        "name": _name(s, named=named),
        "state": _state(s, view),
        "health": health(s),
        "breaker": breaker(s, view.now_ms),
        "pos": {**position, "title": f"Exposure {share(s.exposure)} of equity"} if held else flat,
        "open": delta(s.open_pnl, money) if held else {"t": "–", "tone": "mute", "n": 0.0},
        "pnl": {**delta(s.total_pnl, money), "title": f"Realized {signed(s.realized_pnl, money)}, {equity}"},
        "trades": {"t": count(s.trades), "n": s.trades, "title": f"{s.wins} won; entries denied: {s.denials}"},
        "win": sized(s.win_rate, share(s.win_rate), reason="no trade"),
        "factor": sized(s.profit_factor, num(s.profit_factor), reason="no loss"),
        "drawdown": {"t": share(s.max_drawdown), "n": s.max_drawdown},
        "sharpe": sharpe(s),
        "exposure": {"t": share(s.exposure), "n": s.exposure},
        "denials": {"t": count(s.denials), "n": s.denials, **_why_denied(s)},
        "age": sized(candle_s, age(candle_s), reason="none yet"),
        "uptime": _uptime(s, view.now_ms),
        "version": {"t": f"v{s.config_version}", "n": s.config_version},
        "last": _last(s, candle_s),
        "slot": {"chips": [_slot(s)], "n": 2 * s.pinned + s.cached},
        "act": {"acts": _actions(s)},
    }


def health(s: StrategyView) -> dict[str, Any]:
    """Return the judgment with its first reason; all reasons with what to do are in the tooltip."""
    kind, word = HEALTH.get(s.health, ("mute", s.health.capitalize()))
    more = len(s.health_reasons) - 1
    words = [f"{reason} {advice}" for reason, advice in zip(s.health_reasons, s.health_advice, strict=False)]
    sub = {"sub": f"and {more} more"} if more > 0 else {}
    return {**dot(kind, word), **sub, **({"title": " ".join(words)} if words else {})}


def breaker(s: StrategyView, now_ms: int) -> dict[str, Any]:
    """Return the state of the breaker; an open one says when the strategy is tried again."""
    kind, word = BREAKER.get(s.breaker, ("mute", s.breaker))
    if s.next_probe_ms is not None:
        return dot(kind, word, sub=f"next try in {age(max(s.next_probe_ms - now_ms, 0) / 1000)}")
    return dot(kind, word, sub=f"{s.breaker_failures} failed") if s.breaker_failures else dot(kind, word)


def sharpe(s: StrategyView) -> dict[str, Any]:
    """Return the Sharpe ratio with the number of days; fewer than 30 are marked."""
    few = "under 2 days" if s.sharpe_days < 2 else "equal returns"
    cell = sized(s.sharpe, f"{num(s.sharpe)} ({s.sharpe_days})" if s.sharpe is not None else "", reason=few)
    if s.sharpe is None or s.sharpe_days >= MANY_DAYS:
        return cell
    return {**cell, "tone": "mute", "title": f"Only {s.sharpe_days} days: below {MANY_DAYS} it says little"}


def _name(s: StrategyView, *, named: bool) -> dict[str, Any]:
    """Return title and whereabouts; a strategy whose document was changed bears a mark that says how."""
    parts = [s.name] if named else []
    parts += [s.symbol, s.timeframe, *([s.label] if s.label not in ("", "main") else [])]
    changes = ", ".join(f"{name} = {value}" for name, value in s.overrides)
    mark = {"chips": [tag("Changed", "info", title=f"Overrides: {changes}")]} if changes else {}
    return {"t": s.title or s.name, "sub": " · ".join(parts), "title": s.strategy_id, **mark}


def _state(s: StrategyView, view: EngineView) -> dict[str, Any]:
    """Return the state; one that could enter says so when the account or its own risk rules let it enter nothing."""
    if s.state == "failed" or s.error:
        word = "Failed" if s.state == "failed" else "Suspended"
        return {**dot("err", word, sub=s.error.split(":")[0] if s.error else ""), "title": s.error}
    halted = _blocked(s, view)
    if s.paused:
        return dot("warn", "Paused") | halted
    if s.state in ("active", "preparing") and s.warmup_done < s.warmup_needed:
        return dot("info", f"Warming {s.warmup_done}/{s.warmup_needed}") | halted
    if halted:
        paused = view.risk_state == s.risk_state == "ACTIVE"
        return dot(*(("warn", "Entries paused") if paused else ("err", "Entries off"))) | halted
    return {**dot(*STATES.get(s.state, ("mute", s.state.capitalize()))), **({"title": s.error} if s.error else {})}


def _blocked(s: StrategyView, view: EngineView) -> dict[str, Any]:
    """Return what keeps a strategy from entering: the account's risk state before its own."""
    if s.state not in _ENTRIES:
        return {}
    if view.risk_state != "ACTIVE":
        why = view.risk_reason.replace("_", " ") or "no reason given"
        return {"sub": f"account {view.risk_state.lower()}", "title": f"No entry: the account is stopped by {why}"}
    if s.risk_state != "ACTIVE":
        why = s.risk_reason.replace("_", " ") or "no reason given"
        ends = _ends(s.risk_until_ms)
        return {"sub": f"{s.risk_state.lower()}: {why}", "title": f"No entry: stopped by its own rule, {why}, {ends}"}
    if s.risk_pause:
        why, until = s.risk_pause.replace("_", " "), s.risk_pause_until_ms
        return {"sub": why, "title": f"No entry: paused by its own rule, {why}, {_ends(until)}"}
    return {}


def _ends(until_ms: int | None) -> str:
    """Return until when a rule is in force."""
    return "until it is released" if until_ms is None else f"until {stamp(until_ms)} UTC"


def _last(s: StrategyView, candle_s: float | None) -> dict[str, Any]:
    """Return the last decision with its score or reason; the age of the last candle is in the tooltip."""
    if not s.last_decision:
        return na(f"{s.warmup_done} of {s.warmup_needed} candles" if s.warmup_needed else "no candle yet")
    when = {"t": f"{s.last_decision} {clock(s.last_decision_ms)[:5]}", "n": s.last_decision_ms or 0}
    if s.last_decision == "WARMING":
        return {**when, "sub": f"{s.warmup_done} of {s.warmup_needed}"}
    old = "" if candle_s is None else f"Last candle {age(candle_s)} ago"
    why = s.last_reason.replace("_", " ") if s.last_reason else f"score {signed(s.last_score)}"
    return {**when, "sub": why, "title": old}


def _why_denied(s: StrategyView) -> dict[str, Any]:
    codes = ", ".join(f"{code.replace('_', ' ')} {count(n)}" for code, n in s.denials_by_code)
    return {"title": codes} if codes else {}


def uptime_s(s: StrategyView, now_ms: int) -> float | None:
    """Return the seconds since a strategy last became active, on the feed's clock; None while it is not."""
    if s.activated_ms is None or s.state not in _UP:
        return None
    return max(now_ms - s.activated_ms, 0) / 1000


def _uptime(s: StrategyView, now_ms: int) -> dict[str, Any]:
    seconds = uptime_s(s, now_ms)
    cell = sized(seconds, age(seconds), reason="not active")
    return cell if seconds is None else {**cell, "title": f"Active since {stamp(s.activated_ms, seconds=True)} UTC"}


def _slot(s: StrategyView) -> dict[str, Any]:
    if s.pinned:
        return tag("Pinned", "accent", title="Held in the cache: active, holding a position or pinned by you")
    if s.cached:
        return tag("Cached", title="In the cache, ready at once")
    if s.last_decision_ms is None:
        return tag("Not cached", title="Created when it is first activated")
    return tag("Evicted", title="Comes back from its snapshot")


def _actions(s: StrategyView) -> list[dict[str, Any]]:
    """Return the buttons of the row; a button that asks first ends with an ellipsis."""
    name = f"{s.title or s.name} {s.symbol} {s.label}".strip()
    if s.state == "failed" or s.error:
        again = "activate" if s.state == "failed" else "resume"
        first = {"a": again, "t": "Retry", "label": f"Retry {name}"}
    elif s.state == "dormant":
        first = {"a": "activate", "t": "Activate", "kind": "primary", "label": f"Activate {name}"}
    elif s.paused:
        first = {"a": "resume", "t": "Resume", "kind": "primary", "label": f"Resume {name}"}
    else:
        first = {"a": "pause", "t": "Pause", "label": f"Pause {name}: no new entries"}
    swap = {"a": "switch", "t": "Switch…", "label": f"Switch {name} to another strategy"}
    if s.state == "failed":
        swap["off"] = "Failed: nothing to switch from"
    words = f"More of {name}: chart, pin, close, remove, details"
    return [first, swap, {"a": "more", "t": "More…", "kind": "quiet", "label": words}]
