"""Events of risk in words: which rule, what it measured, what it does and until when, who ended it and why."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stratnb.events import Event
from stratnb.ui.format import num, share, stamp

__all__ = ["risk_sentence"]

FRACTIONS = frozenset(
    {
        *("daily_loss", "max_drawdown", "profit_lock", "daily_target", "volatility_halt", "low_profit"),
        *("slippage", "risk_per_trade", "exposure_strategy", "exposure_market", "exposure_account", "bad_price"),
    }
)
EFFECTS = {"pause": "entries pause", "reduce": "only reduces", "halt": "halted", "none": "no entry"}


def risk_sentence(event: Event) -> str:
    """Return an event of risk as a sentence."""
    payload = event.payload
    if event.type == "RISK_RELEASED":
        rules = ", ".join(map(_plain, payload.get("rules") or ())) or "no rule was in force"
        peak = ", peak reset" if payload.get("reset_peak") else ""
        return f"released by {payload.get('author')}: {payload.get('reason')} ({rules}{peak})"
    if "limits" in payload:
        changes = ", ".join(f"{_plain(name)} = {_off(value)}" for name, value in payload["limits"].items())
        loosened = " (loosened)" if payload.get("loosened") else ""
        return f"limits changed by {payload.get('author')}: {changes}{loosened}"
    if event.type == "RISK_DENIED":
        rule = f", {_plain(payload['rule'])}" if payload.get("rule") not in (None, "", payload.get("code")) else ""
        return f"entry denied: {_plain(payload.get('code'))}{rule}{_figures(payload)}{_until(payload)}"
    if event.type == "RISK_LATCHED":
        why = f": {payload['reason']}" if payload.get("reason") else ""
        return f"{_plain(payload.get('rule'))}{_figures(payload)}, latched by {payload.get('author')}{why}"
    if not payload.get("effect"):
        if not payload.get("rule"):
            return f"{_plain(payload.get('state')).lower()} again"
        return f"{_plain(payload.get('state')).lower()} by {_plain(payload.get('rule'))}"
    effect = EFFECTS.get(str(payload["effect"]), _plain(payload["effect"]))
    return f"{_plain(payload.get('rule'))}{_figures(payload)}: {effect}{_until(payload) or ' until released'}"


def _figures(payload: Mapping[str, Any]) -> str:
    """Return the measured value with its limit, as far as they are known."""
    value, limit = payload.get("value"), payload.get("limit")
    if value is None:
        return ""
    rule = str(payload.get("rule") or payload.get("code"))
    code = str(payload.get("code", rule))
    shown = [share(v, 2) if {rule, code} & FRACTIONS else num(v, 0 if float(v).is_integer() else 2)
             for v in (value, limit) if v is not None]  # fmt: skip
    return f" {' of '.join(shown)}"


def _until(payload: Mapping[str, Any]) -> str:
    until = payload.get("until_ms")
    return f" until {stamp(until)} UTC" if until is not None else ""


def _off(value: Any) -> str:
    return "off" if value is None else str(value)


def _plain(word: Any) -> str:
    return str(word).replace("_", " ")
