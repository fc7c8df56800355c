"""What a command gave back, as JSON for the observer who sent it."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from typing import Any

from stratnb.errors import ConfigError, Finding, Halt, Refused, RetryLater, StratnbError

__all__ = ["error_of", "error_text", "result_text"]

LARGEST = 262_144
FINDINGS = 50
KINDS: tuple[type[StratnbError], ...] = (Refused, ConfigError, RetryLater, Halt)


def result_text(value: object) -> str:
    """Return a result as JSON; what JSON does not know becomes text, and a result that is too long is left out."""
    text = json.dumps({"value": _plain(value)}, separators=(",", ":"), allow_nan=False)
    if len(text) > LARGEST:
        return json.dumps({"value": None, "code": "result_long", "message": f"the result has {len(text)} characters"})
    return text


def error_text(error: StratnbError) -> str:
    """Return an error as JSON with kind, code, message, hint and the findings of a configuration."""
    told: dict[str, Any] = {"kind": kind_of(error), "code": error.code, "message": error.message, "hint": error.hint}
    if isinstance(error, ConfigError) and error.findings:
        names = ("path", "code", "message", "hint", "severity")
        told["findings"] = [{name: getattr(each, name) for name in names} for each in error.findings[:FINDINGS]]
    return json.dumps(told)


def kind_of(error: StratnbError) -> str:
    """Return the name of the branch of the error tree."""
    return next((kind.__name__ for kind in KINDS if isinstance(error, kind)), KINDS[0].__name__)


def error_of(told: Mapping[str, Any]) -> StratnbError:
    """Return the error that a text of `error_text` tells of."""
    kind = next((each for each in KINDS if each.__name__ == told.get("kind")), KINDS[0])
    code, message, hint = (str(told.get(name) or "") for name in ("code", "message", "hint"))
    if kind is ConfigError:
        return ConfigError(code, message, hint=hint, findings=[Finding(**each) for each in told.get("findings", ())])
    return kind(code, message, hint=hint)


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if hasattr(value, "_asdict"):
        return _plain(value._asdict())
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(item) for item in value]
    if hasattr(value, "model_dump"):
        return _plain(value.model_dump(mode="json"))
    return _plain(value.tolist()) if hasattr(value, "tolist") else str(value)
