"""The limits of a scope as texts: their names and units, and what was typed read back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from stratnb.errors import ConfigError
from stratnb.services.ledger import AccountLimits, ErrorStorm, Guard
from stratnb.strategy.sections import LowProfit, ProfitLock, Risk, StopLossGuard
from stratnb.ui.format import num

__all__ = ["limit_change", "limit_choices", "limit_text", "unit_text"]

ACCOUNT_PARTS: Mapping[str, type[BaseModel]] = {
    "stop_loss_guard": Guard,
    "profit_lock": ProfitLock,
    "error_storm": ErrorStorm,
}
OWN_PARTS: Mapping[str, type[BaseModel]] = {
    "stop_loss_guard": StopLossGuard,
    "low_profit": LowProfit,
    "profit_lock": ProfitLock,
}


def _parts(scope: str) -> Mapping[str, type[BaseModel]]:
    return OWN_PARTS if scope else ACCOUNT_PARTS


def limit_choices(scope: str, limits: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the limits that may be edited as (label, path); a rule of several values has a path for each."""
    fields, found = (Risk if scope else AccountLimits).model_fields, []
    for name, value in limits.items():
        title = fields[name].title or name
        found.append((title, name))
        if name in _parts(scope) and value is not None:
            inner = _parts(scope)[name].model_fields
            found += [(f"{title}: {field.title}", f"{name}.{part}") for part, field in inner.items()]
    return found


def limit_text(scope: str, limits: Mapping[str, Any], path: str) -> str:
    """Return the present value of a limit as it may be typed: a percentage for a fraction, off for none."""
    value, unit = _found(scope, limits, path)
    if value is None:
        return "off"
    if isinstance(value, bool | Mapping):
        return "on" if value else "off"
    if isinstance(value, tuple | list):
        return ", ".join(f"{each:g}" for each in value)
    return f"{value * 100:.6g}%" if unit == "fraction" else f"{value:g}"


def limit_change(scope: str, limits: Mapping[str, Any], path: str, text: str) -> dict[str, Any]:
    """Return the change that a typed text asks for.

    Raises `ConfigError` (`number`) for what is neither a number nor "off" or "on".
    """
    name, _, part = path.partition(".")
    value = _read(limits, path, text.strip().lower())
    return {name: {part: value}} if part else {name: value}


def _read(limits: Mapping[str, Any], path: str, text: str) -> Any:
    name = path.partition(".")[0]
    present = limits.get(name)
    if text in ("off", "none", "no"):
        return False if isinstance(present, bool) else None
    if text in ("on", "yes"):
        return True if isinstance(present, bool) else {}
    try:
        if "," in text:
            return [float(each) for each in text.split(",")]
        number = float(text.removesuffix("%").strip())
    except ValueError:
        hint = "write a number, a percentage such as 3%, or off"
        raise ConfigError("number", f"{text!r} is no limit", value=text, hint=hint) from None
    if text.endswith("%"):
        return round(number / 100.0, 12)
    return int(number) if number.is_integer() else number


def _found(scope: str, limits: Mapping[str, Any], path: str) -> tuple[Any, str]:
    """Return the value at a path and its unit."""
    name, _, part = path.partition(".")
    value = limits.get(name)
    model = _parts(scope)[name] if part else (Risk if scope else AccountLimits)
    extra = model.model_fields[part or name].json_schema_extra
    unit = str(extra.get("x-unit", "")) if isinstance(extra, dict) else ""
    return (value[part] if part and isinstance(value, Mapping) else value), unit


def unit_text(scope: str, limits: Mapping[str, Any], path: str) -> str:
    """Return in words what a limit is given in."""
    unit = _found(scope, limits, path)[1]
    return {"fraction": "a percentage", "s": f"seconds ({num(3600, 0)} are an hour)"}.get(unit, "a number")
