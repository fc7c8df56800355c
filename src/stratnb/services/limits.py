"""Changes of risk limits by hand: checked as a whole, and told whether they tighten or loosen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from stratnb.errors import ConfigError, Finding, nearest

__all__ = ["change_limits", "loosens"]

Limits = TypeVar("Limits", bound=BaseModel)
# Of every other limit the smaller value is the tighter one; None is off.
LARGER_IS_TIGHTER = frozenset(
    {
        *("cooldown_s", "pause_s", "window_s", "min_return", "liquidation_distance"),
        *("flatten", "require_stop", "health_factor", "drawdown_factor"),
    }
)


def change_limits(limits: Limits, changes: Mapping[str, Any]) -> tuple[Limits, tuple[str, ...]]:
    """Return limits with changes and the names of those that a change loosens.

    Of a rule with several values those that are not given stay. Faults are `ConfigError` (`limits_invalid`) with one
    finding each.
    """
    known, before = type(limits).model_fields, limits.model_dump()
    unknown = [name for name in changes if name not in known]
    if unknown:
        findings = [_unknown(name, changes[name], list(known)) for name in unknown]
        raise ConfigError("limits_invalid", f"no limit is named {', '.join(map(str, unknown))}", findings=findings)
    merged = {name: _merged(before[name], value) for name, value in changes.items()}
    try:
        made = type(limits).model_validate({**before, **merged})
    except ValidationError as error:
        findings = [
            Finding(".".join(map(str, fault["loc"])), fault["type"], fault["msg"], value=fault["input"])
            for fault in error.errors()
        ]
        raise ConfigError("limits_invalid", f"{len(findings)} limits are not usable", findings=findings) from error
    after = made.model_dump()
    return made, tuple(name for name in changes if loosens(name, before[name], after[name]))


def loosens(name: str, old: Any, new: Any) -> bool:
    """Return whether a limit lets more pass than before, in any of its values.

    >>> loosens("daily_loss", 0.05, 0.03), loosens("daily_loss", 0.05, None), loosens("cooldown_s", 60, 300)
    (False, True, False)
    """
    if old == new or old is None:
        return False
    if new is None:
        return True
    if isinstance(old, Mapping):
        return any(loosens(part, old[part], new[part]) for part in old)
    if isinstance(old, tuple):
        length = max(len(old), len(new))
        padded = [(*row, *[row[-1]] * (length - len(row))) for row in (old, new)]
        return any(after > before for before, after in zip(*padded, strict=True))
    return bool(new < old if name in LARGER_IS_TIGHTER else new > old)


def _merged(old: Any, new: Any) -> Any:
    return {**old, **new} if isinstance(old, Mapping) and isinstance(new, Mapping) else new


def _unknown(name: str, value: Any, known: list[str]) -> Finding:
    close = nearest(str(name), known)
    hint = f"did you mean {' or '.join(map(repr, close))}?" if close else f"limits: {', '.join(known)}"
    return Finding(str(name), "unknown_key", "no such limit", value=value, hint=hint)
