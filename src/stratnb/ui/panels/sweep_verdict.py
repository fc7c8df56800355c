"""What the best of a sweep is worth, as rows: each figure with what it means and against what it is held."""

from __future__ import annotations

from typing import Any

from stratnb.research.conventions import explained
from stratnb.research.honesty import EXPLAINED, Verdict
from stratnb.ui.format import MINUS, Cell, count, delta, na, num, pct, share, tone

__all__ = ["verdict_rows"]


def verdict_rows(found: Verdict) -> list[dict[str, Any]]:
    """Return name, value and remark of each figure beside the best; undefined is n/a with its reason."""
    answer = {"t": "Yes" if found.significant else "No", "dot": "ok" if found.significant else "warn"}
    rows: list[tuple[str, Cell]] = [
        ("significant", answer | {"sub": "; ".join(found.against).replace(" -", f" {MINUS}")}),
        ("trials", {"t": count(found.trials), "sub": f"in this sweep, {count(found.counted)} in the ledger"}),
    ]
    if found.best is not None:
        rows += [*_likely(found), *_earned(found)]
    return [
        {
            "id": name,
            "name": {"t": name[:1].upper() + name[1:], "title": explained(EXPLAINED.get(name, ""))},
            "value": cell,
        }
        for name, cell in rows
    ]


def _likely(found: Verdict) -> list[tuple[str, Cell]]:
    """Return the Sharpe ratio and the probabilities that go with it."""
    few = "too few days, or none that differ"
    ratio = na(few) if found.sharpe is None else {**delta(found.sharpe), "t": num(found.sharpe)}
    return [
        ("Sharpe ratio", ratio | {"sub": f"over {count(found.days)} days"}),
        ("probabilistic Sharpe ratio", _probable(found.psr, few)),
        ("deflated Sharpe ratio", _probable(found.deflated, few)),
        ("probability of overfitting", _probable(found.overfitting, "under two trials or 16 days", bad=True)),
    ]


def _earned(found: Verdict) -> list[tuple[str, Cell]]:
    """Return what the trades, the market and chance came to."""
    total = found.intervals["total"] if found.intervals else None
    held, alpha = found.held.get("held_total_return"), found.held.get("alpha")
    if total is None or total.value is None or total.low is None or total.high is None:
        earned: Cell = na("too few trades")
    else:
        earned = {**_gain(total.value), "sub": f"95 %: {pct(total.low)} to {pct(total.high)}"}
    market = (
        na("no price") if held is None else {**_gain(held), "sub": f"alpha {'n/a' if alpha is None else pct(alpha)}"}
    )
    runs = 0 if found.random is None else len(found.random.returns)
    beside = _probable(found.random.p_value if found.random else None, "it never entered, or was canceled")
    return [
        (f"total return of {count(found.trades)} trades", earned),
        ("buy and hold", market),
        ("as good by random entries", beside | ({"sub": f"of {count(runs)} runs"} if runs else {})),
    ]


def _gain(value: float) -> dict[str, Any]:
    return {"t": pct(value), "n": value, "tone": tone(value)}


def _probable(value: float | None, reason: str, *, bad: bool = False) -> dict[str, Any]:
    """Return a probability as a share with its bar; `bad` ones are the worse the higher."""
    if value is None:
        return dict(na(reason))
    return {"t": share(value, 2), "n": value, "bar": value, "btone": "warn" if bad and value > 0.5 else "mute"}
