"""The error tree, by what the caller should do.

StratnbError
├── ConfigError   fix the configuration or the input; nothing was started
├── RetryLater    the same call may succeed after `after_s` seconds
├── Refused       the request was turned down; skip it
└── Halt          it is unsafe to go on
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from numbers import Real
from typing import Literal, TypeGuard

__all__ = ["ConfigError", "Finding", "Halt", "Refused", "RetryLater", "StratnbError", "nearest", "positive"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One fault or warning in a document or a data file: where it is, what it is and what to do."""

    path: str
    code: str
    message: str
    value: object = None
    hint: str = ""
    source: str = ""
    severity: Literal["error", "warning"] = "error"

    def __str__(self) -> str:
        """Return "path: message; hint" on one line."""
        text = f"{self.path}: {self.message}" if self.path else self.message
        return f"{text}; {self.hint}" if self.hint else text


class StratnbError(Exception):
    """An error with a stable code, the offending value and the remedy."""

    def __init__(self, code: str, message: str, *, value: object = None, hint: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.value = value
        self.hint = hint

    def __str__(self) -> str:
        """Return "[code] message; hint"."""
        return f"[{self.code}] {self.message}" + (f"; {self.hint}" if self.hint else "")


class ConfigError(StratnbError):
    """The configuration or the input must be fixed; `findings` lists every fault found."""

    def __init__(
        self, code: str, message: str, *, value: object = None, hint: str = "", findings: Iterable[Finding] = ()
    ) -> None:
        super().__init__(code, message, value=value, hint=hint)
        self.findings = tuple(findings)

    def __str__(self) -> str:
        """Return the headline and one line per finding."""
        return "\n".join([super().__str__(), *(f"  {finding}" for finding in self.findings)])


class RetryLater(StratnbError):
    """The same call may succeed after `after_s` seconds."""

    def __init__(self, code: str, message: str, *, after_s: float = 1.0, value: object = None, hint: str = "") -> None:
        super().__init__(code, message, value=value, hint=hint)
        self.after_s = after_s


class Refused(StratnbError):
    """The request was turned down; nothing changed."""


class Halt(StratnbError):
    """It is unsafe to go on; trading stops visibly."""


def _distance(a: str, b: str) -> int:
    """Return the Damerau-Levenshtein distance (optimal string alignment)."""
    before: list[int] = []
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        current = [i]
        for j, y in enumerate(b, 1):
            cost = min(row[j] + 1, current[j - 1] + 1, row[j - 1] + (x != y))
            if i > 1 and j > 1 and x == b[j - 2] and a[i - 2] == y:
                cost = min(cost, before[j - 2] + 1)
            current.append(cost)
        before, row = row, current
    return row[-1]


def nearest(word: str, known: Iterable[str], *, limit: int = 3) -> tuple[str, ...]:
    """Return at most `limit` known words close to `word`, the nearest first.

    >>> nearest("emma", ["ema", "rsi"])
    ('ema',)
    """
    reach = max(2, len(word) // 3)
    scored = sorted((_distance(word.lower(), name.lower()), name) for name in known)
    return tuple(name for distance, name in scored if distance <= reach)[:limit]


def positive(value: object, *, infinite: bool = False) -> TypeGuard[float]:
    """Tell whether a value is a number above 0 that a float can hold; truth values and texts are none.

    >>> positive(2), positive(True), positive(float("nan")), positive(10**400)
    (True, False, False, False)
    """
    if isinstance(value, bool) or not isinstance(value, Real):
        return False
    try:
        number = float(value)
    except OverflowError:
        return False
    return number > 0 and (infinite or number != float("inf"))
