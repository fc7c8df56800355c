"""The rows of the risk panel: states, rules with their share of the limit, exposure by market, denials by code."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from stratnb.multi.explain import reason_text
from stratnb.ui.format import age, cents, count, delta, dot, num, pct, share, signed, stamp, time_cell, words
from stratnb.view import EngineView, MarketRiskView, RiskScopeView, RiskView, RuleView

__all__ = [
    "DENIED",
    "MARKETS",
    "RULES",
    "SCOPES",
    "denied_rows",
    "ends",
    "market_rows",
    "rule_name",
    "rule_row",
    "scope_name",
    "scope_row",
    "summary",
]

NEAR = 0.8
SCOPES = [
    {"key": "name", "label": "Scope", "cls": "is-wide"},
    {"key": "state", "label": "State"},
    {"key": "until", "label": "Until"},
    {"key": "equity", "label": "Equity", "align": "r"},
    {
        "key": "day",
        "label": "Today",
        "align": "r",
        "cls": "is-p2",
        "title": "Since 00:00 UTC, or since the last release",
    },
    {"key": "start", "label": "Day start", "align": "r", "cls": "is-p2"},
    {"key": "fall", "label": "From peak", "align": "r"},
    {"key": "peak", "label": "Peak", "align": "r", "cls": "is-p2"},
    {"key": "near", "label": "Nearest rule", "title": "The rule with the largest share of its limit"},
    {"key": "used", "label": "Used", "cls": "is-barcol", "hide": True, "sort": False},
]
RULES = [
    {"key": "name", "label": "Rule", "cls": "is-wide", "sort": False},
    {"key": "used", "label": "Used", "cls": "is-barcol", "sort": False, "title": "Share of the limit"},
    {"key": "value", "label": "Value", "align": "r", "sort": False},
    {"key": "limit", "label": "Limit", "align": "r", "sort": False},
    {"key": "state", "label": "State", "sort": False},
    {"key": "until", "label": "Until", "sort": False},
    {"key": "then", "label": "When it fires", "cls": "is-p2", "sort": False},
    {"key": "last", "label": "Last fired, UTC", "align": "r", "cls": "is-p2", "sort": False},
]
MARKETS = [
    {"key": "name", "label": "Market", "cls": "is-wide"},
    {"key": "net", "label": "Net", "align": "r"},
    {"key": "netbar", "label": "Of its limit", "cls": "is-barcol", "sort": False},
    {"key": "netlimit", "label": "Limit", "align": "r", "sort": False},
    {"key": "gross", "label": "Gross", "align": "r"},
    {"key": "grossbar", "label": "Of its limit", "cls": "is-barcol", "sort": False},
    {"key": "grosslimit", "label": "Limit", "align": "r", "sort": False},
    {"key": "held", "label": "Strategies", "align": "r"},
]
DENIED = [
    {"key": "name", "label": "Rule", "cls": "is-wide"},
    {"key": "hour", "label": "Last hour", "align": "r"},
    {"key": "day", "label": "24 h", "align": "r"},
    {"key": "total", "label": "Since the start", "align": "r"},
    {"key": "bar", "label": "Share of the most", "cls": "is-barcol", "hide": True, "sort": False},
]
NAMES = {
    "daily_loss": "Loss of the day",
    "max_drawdown": "Drawdown",
    "exposure_account": "Gross exposure",
    "exposure_strategy": "Exposure",
    "risk_open": "Open risk at stops",
    "rate_limit": "Orders in 10 s",
    "max_holding": "Holding time",
    "max_trades_per_day": "Trades of the day",
    "consecutive_losses": "Losses in a row",
    "stop_loss_guard": "Losing stops",
    "operator": "Reduced by hand",
    "max_open_positions": "Open positions",
    "feed_loss": "Silence of prices",
    "error_storm": "Failed order calls",
}
EFFECTS = {
    "none": "no entry for a while",
    "pause": "pauses entries",
    "reduce": "only reduces",
    "halt": "closes all, halts",
    "deny": "denies the entry",
    "close": "closes the position",
}
BY_HAND = "until activated"
PAUSED = "A rule of the strategy or of the account paused entries"
ACTS = {"pause": ("warn", "Pauses"), "reduce": ("warn", "Reduces"), "halt": ("err", "Halts"), "none": ("warn", "Waits")}
STATES = {"ACTIVE": ("ok", "Normal"), "REDUCING": ("warn", "Reducing"), "HALTED": ("err", "Halted")}


def rule_name(rule: str) -> str:
    """Return the name of a rule on screen."""
    return NAMES.get(rule, rule.replace("_", " ").capitalize())


def scope_name(scope: str) -> str:
    """Return a scope on screen: the account, or name and market of a strategy."""
    return scope.removesuffix("#main") if scope else "Account"


def scope_row(s: RiskScopeView, view: EngineView) -> dict[str, Any]:
    """Return the row of the account or of a strategy."""
    rules = [rule for rule in s.rules if rule.used is not None and rule.rule != "exposure_strategy"]  # full is usual
    near = max(rules, key=lambda rule: rule.used or 0.0, default=None)
    used = 0.0 if near is None or near.used is None else near.used
    fall = 1.0 - s.equity / s.peak if s.peak > 0 else None
    today, money = s.equity - s.day_start, cents(view.quote)
    return {
        "id": s.scope or "account",
        "name": {"t": scope_name(s.scope), "title": s.scope or f"Account {view.account}"},
        "state": _state(s, used),
        "until": _until(s, view.now_ms),
        "equity": {"t": num(s.equity, money), "n": s.equity},
        "day": delta(today, money, sub=pct(today / s.day_start) if s.day_start > 0 else ""),
        "start": {"t": num(s.day_start, money), "n": s.day_start},
        "fall": {"t": share(fall), "n": fall or 0.0},
        "peak": {"t": num(s.peak, money), "n": s.peak},
        "near": {"t": rule_name(near.rule) if near and used else "–", "n": used},
        "used": _bar(used),
    }


def _state(s: RiskScopeView, used: float) -> dict[str, Any]:
    """Return the state with the rule behind it; a pause and a block of the engine's own count too."""
    if s.state != "ACTIVE":
        return dot(*STATES[s.state], sub=s.reason.replace("_", " "))
    if s.block:
        return dot("err", "No entries", sub=s.block.replace("_", " "))
    if s.pause:
        return dot("warn", "Paused", sub=s.pause.replace("_", " "))
    return dot("warn", "Near limit") if used >= NEAR else dot(*STATES["ACTIVE"])


def _until(s: RiskScopeView, now_ms: int) -> dict[str, Any]:
    if s.state != "ACTIVE":
        return {**ends(s.until_ms, now_ms), **({"sub": BY_HAND} if s.reason == "operator" else {})}
    return ends(s.pause_until_ms, now_ms) if s.pause else {"t": "–", "n": 0}


def ends(until_ms: int | None, now_ms: int) -> dict[str, Any]:
    """Return when a rule ends, with the time that is left on the feed's clock; None is latched."""
    if until_ms is None:
        return {"t": "Latched", "sub": "until released", "n": 9e15, "title": "It ends only when it is released"}
    left = max(until_ms - now_ms, 0) / 1000
    return {"t": stamp(until_ms)[5:], "sub": f"in {age(left)}", "n": until_ms, "title": f"{stamp(until_ms)} UTC"}


def rule_row(rule: RuleView, now_ms: int) -> dict[str, Any]:
    """Return the row of one rule; one without a limit is off."""
    off = rule.limit is None and not rule.in_force
    by_hand = {"sub": BY_HAND} if rule.rule == "operator" else {}
    shown = "–" if rule.value is None or rule.limit is None else _text(rule.value, rule.unit)
    last = time_cell(rule.tripped_ms, date=True) if rule.tripped_ms is not None else {"t": "–", "title": "Not yet"}
    return {
        "id": rule.rule,
        "name": {"t": rule_name(rule.rule), **({"title": rule.note} if rule.note else {})},
        "used": _bar(rule.used or 0.0) if rule.limit is not None else "",
        "value": shown,
        "limit": {"t": "off", "tone": "mute"} if off else "–" if rule.limit is None else _text(rule.limit, rule.unit),
        "state": _rule_state(rule),
        "until": {**ends(rule.until_ms, now_ms), **by_hand} if rule.in_force else "–",
        "then": EFFECTS.get(rule.effect, rule.effect),
        "last": last,
    }


def _rule_state(rule: RuleView) -> dict[str, Any]:
    if rule.in_force:
        return dot(*ACTS.get(rule.effect, ("warn", "In force")))
    if rule.limit is None:
        return dot("mute", "Off")
    return dot("warn", "Near limit") if (rule.used or 0.0) >= NEAR else dot("ok", "Normal")


def _bar(used: float) -> dict[str, Any]:
    tone = "err" if used >= 1.0 else "warn" if used >= NEAR else "accent"
    return {"bar": min(used, 1.0), "btone": tone, "title": f"{share(used)} of the limit"}


def _text(value: float, unit: str) -> str:
    """Return a value in its unit."""
    if unit == "fraction":
        return share(value, 2)
    return age(value) if unit == "seconds" else num(value, 0)


def market_rows(risk: RiskView, equity: float) -> list[dict[str, Any]]:
    """Return a row for each market, and the sum."""
    made = [_market(m, equity) for m in risk.markets]
    if not made:
        return []
    net, gross = sum(m.net for m in risk.markets), sum(m.gross for m in risk.markets)
    held = sum(m.strategies for m in risk.markets)
    return [*made, _sum(net, gross, held, equity, cents(risk.markets[0].symbol))]


def _market(m: MarketRiskView, equity: float) -> dict[str, Any]:
    net, gross = m.net / equity if equity > 0 else 0.0, m.gross / equity if equity > 0 else 0.0
    return {
        "id": m.symbol,
        "name": m.symbol,
        "net": {"t": signed(m.net, cents(m.symbol)), "sub": share(net), "n": m.net},
        "netbar": _bar(abs(net) / m.net_limit) if m.net_limit else "",
        "netlimit": share(m.net_limit) if m.net_limit else "off",
        "gross": {"t": num(m.gross, cents(m.symbol)), "sub": share(gross), "n": m.gross},
        "grossbar": _bar(gross / m.gross_limit) if m.gross_limit else "",
        "grosslimit": share(m.gross_limit) if m.gross_limit else "off",
        "held": {"t": count(m.strategies), "n": m.strategies},
    }


def _sum(net: float, gross: float, held: int, equity: float, money: int) -> dict[str, Any]:
    of = equity if equity > 0 else 1.0
    return {
        "id": "all markets",
        "cls": "is-sum",
        "name": "All markets",
        "net": {"t": signed(net, money), "sub": share(net / of), "n": net},
        "netbar": "",
        "netlimit": "–",
        "gross": {"t": num(gross, money), "sub": share(gross / of), "n": gross},
        "grossbar": "",
        "grosslimit": "–",
        "held": {"t": count(held), "n": held},
    }


def denied_rows(denials: Sequence[tuple[str, int, int, int]]) -> list[dict[str, Any]]:
    """Return a row for each code that refused an entry, the most frequent first."""
    most = max((total for *_, total in denials), default=1)
    return [
        {
            "id": code,
            "name": {"t": rule_name(code), "sub": PAUSED if code == "paused" else reason_text(code), "title": code},
            "hour": {"t": count(hour), "n": hour},
            "day": {"t": count(day), "n": day},
            "total": {"t": count(total), "n": total},
            "bar": {"bar": total / most},
        }
        for code, hour, day, total in denials
    ]


def summary(risk: RiskView, view: EngineView) -> str:
    """Return what stands beside the title."""
    own = risk.scopes[1:]
    stopped = sum(s.state != "ACTIVE" for s in own)
    paused = sum(s.state == "ACTIVE" and bool(s.pause) for s in own)
    money = num(risk.open_risk, cents(view.quote))
    lost = share(risk.open_risk / view.equity, 2) if view.equity > 0 else money
    return words(
        (
            f"Account {STATES[view.risk_state][1].lower()}",
            f"{stopped} stopped" if stopped else "",
            f"{paused} paused" if paused else "",
            f"open risk at stops {money} {view.quote}, {lost}",
            f"{risk.unstopped} without a stop" if risk.unstopped else "",
        )
    )
