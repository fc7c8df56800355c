"""What people are told, in words: one text a message, the same for the notifier and the log.

Texts are plain; whoever sends them puts mode and strategy first and escapes them. Shares are told in percent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from stratnb.market_data.candles import utc_text
from stratnb.model import Position, Trade

__all__ = [
    "activated",
    "config_rejected",
    "daily_summary",
    "engine_started",
    "engine_stopped",
    "entry_denied",
    "feed_recovered",
    "feed_stale",
    "lease_lost",
    "limits_changed",
    "paused",
    "position_closed",
    "position_gone",
    "position_opened",
    "resumed",
    "risk_changed",
    "risk_released",
    "stop_moved",
    "switch_failed",
    "switched",
    "target_hit",
]

LARGE = 1_000.0
MINUTE_S, HOUR_S, DAY_S = 60, 3_600, 86_400


def engine_started(name: str, *, mode: str, instances: int, timeframes: Sequence[str], version: str) -> str:
    """Return that an engine runs, and what it runs."""
    many = f"{instances} strateg{'y' if instances == 1 else 'ies'}"
    return f"engine {name} started: {mode}, {many} on {', '.join(timeframes)}, stratnb {version}"


def engine_stopped(name: str, reason: str) -> str:
    """Return that an engine does not run any more, and why."""
    return f"engine {name} stopped: {reason}"


def lease_lost(name: str, reason: str) -> str:
    """Return that another engine may hold the account by now."""
    return f"engine {name} lost its lease and trades no more: {reason}"


def activated(symbol: str) -> str:
    """Return that a strategy trades from now on."""
    return f"activated on {symbol}"


def switched(from_id: str, *, policy: str, took_ms: float | None) -> str:
    """Return that a strategy took the place of another one; a switch that a restart ended has no duration."""
    took = "finished after a restart" if took_ms is None else f"{took_ms:.0f} ms"
    return f"switched from {from_id}, policy {policy}, {took}"


def switch_failed(from_id: str | None, *, policy: str, reason: str) -> str:
    """Return that a strategy did not become active, and why."""
    return f"switch{f' from {from_id}' if from_id else ''} failed, policy {policy}: {reason}"


def paused() -> str:
    """Return that a person suspended a strategy."""
    return "suspended by hand: no entries until it is resumed, its exits go on"


def resumed() -> str:
    """Return that a person ended a pause."""
    return "resumed by hand"


def config_rejected(reason: str) -> str:
    """Return that a strategy keeps its former configuration, and why."""
    return f"configuration rejected: {reason}"


def position_opened(
    held: Position, *, leverage: float, quote: str, spoken: tuple[float, Sequence[str]] | None = None
) -> str:
    """Return a new position with its levels; `spoken` is the confidence of its decision and who agreed with it."""
    notional = abs(held.quantity) * held.entry_price
    times = f", leverage {_number(leverage)}" if leverage != 1.0 else ""
    lines = [
        f"opened {_sided(held.quantity)} {held.symbol} at {_number(held.entry_price)}, "
        f"notional {_number(notional)} {quote}{times}"
    ]
    if held.stop is not None:
        lines.append(f"stop {_at(held.stop, held.entry_price)}")
    for number, (price, share, _) in enumerate(held.targets, 1):
        lines.append(f"target {number} {_at(price, held.entry_price)}, closes {share:.0%}")
    if spoken is not None:
        lines.append(f"confidence {spoken[0]:.2f}, agreeing: {', '.join(spoken[1]) or 'none'}")
    return "\n".join(lines)


def target_hit(level: str, *, price: float, quantity: float, pnl: float, quote: str) -> str:
    """Return that a target closed its share; the result is before fees."""
    closed = f"{_number(quantity)} closed, pnl {_signed(pnl)} {quote} before fees"
    return f"{level.replace('_', ' ')} hit at {_number(price)}: {closed}"


def stop_moved(reason: str, *, before: float | None, after: float) -> str:
    """Return where a stop went, and what moved it."""
    return f"stop moved by {reason.replace('_', ' ')}: {_number(before)} → {_number(after)}"


def position_closed(trade: Trade, *, r_multiple: float | None, targets: int, quote: str) -> str:
    """Return a whole round trip."""
    held_s = (trade.exit_ms - trade.entry_ms) / 1_000.0
    multiple = "n/a" if r_multiple is None else f"{r_multiple:+.2f}"
    return "\n".join(
        (
            f"closed {_sided(trade.direction * trade.quantity)} {trade.symbol} by {trade.reason}: "
            f"{_number(trade.entry_price)} → {_number(trade.exit_price)}",
            f"pnl {_signed(trade.pnl)} {quote} ({trade.return_fraction:+.2%}), R {multiple}, "
            f"fees {_number(trade.fees)}, funding {_number(trade.funding)}",
            f"targets hit {targets}, held {_lasting(held_s)}",
        )
    )


def position_gone(symbol: str, *, price: float, reason: str, pnl: float, quote: str) -> str:
    """Return the end of a position whose strategy is not loaded any more; the result is after costs."""
    return f"closed {symbol} at {_number(price)} by {reason}, pnl {_signed(pnl)} {quote}"


def entry_denied(code: str, *, rule: str, value: float | None, limit: float | None) -> str:
    """Return that a protection refused an entry; `rule` is what paused it, if something did."""
    return f"entry denied: {code}{f' by {rule}' if rule else ''}{_measured(value, limit)}"


def risk_changed(scope: str, told: Mapping[str, Any], latched: Mapping[str, Any] | None) -> str:
    """Return the state of a scope after a rule of it fired or ended; `latched` says who latched it, and why."""
    rule, until_ms = str(told.get("rule") or ""), told.get("until_ms")
    if not told.get("effect"):
        return f"risk state of {scope}: {told['state']}{f' by {rule}' if rule else ''}"
    lasts = f", until {utc_text(int(until_ms))} UTC" if until_ms is not None else ""
    if latched is not None:
        author, reason = latched.get("author"), latched.get("reason")
        lasts = f", latched until released, by {author}{f': {reason}' if reason else ''}"
    effect = {"none": "no effect", "pause": "entries paused"}.get(str(told["effect"]), str(told["state"]))
    return f"risk of {scope}: {rule}{_measured(told.get('value'), told.get('limit'))}: {effect}{lasts}"


def risk_released(scope: str, told: Mapping[str, Any]) -> str:
    """Return that a person ended the rules in force."""
    rules = ", ".join(told.get("rules") or ()) or "none was in force"
    return f"risk of {scope} released by {told['author']} ({told['reason']}): {rules}"


def limits_changed(scope: str, told: Mapping[str, Any]) -> str:
    """Return the risk limits that a person changed."""
    loosened = set(told.get("loosened") or ())
    words = [f"{name} {value}{' (looser)' if name in loosened else ''}" for name, value in told["limits"].items()]
    return f"risk limits of {scope} changed by {told['author']}: {', '.join(words)}"


def feed_stale(symbol: str, silent_s: float) -> str:
    """Return that a market with an open position is silent."""
    return f"no price of {symbol} for {silent_s:.0f} s"


def feed_recovered(symbol: str) -> str:
    """Return that such a market is heard again."""
    return f"prices of {symbol} are heard again"


def daily_summary(
    day_ms: int,
    *,
    equity: float,
    day_pnl: float,
    quote: str,
    drawdown: float,
    strategies: Mapping[str, tuple[int, float]],
    denials: Mapping[str, int],
) -> str:
    """Return a day of an account: its end, its result, (trades, pnl) by strategy, entries denied in 24 hours."""
    before = equity - day_pnl
    share = f" ({day_pnl / before:+.2%})" if before > 0.0 else ""
    lines = [
        f"day {utc_text(day_ms)[:10]}: equity {_number(equity)} {quote}, pnl {_signed(day_pnl)}{share}, "
        f"drawdown {drawdown:.2%}"
    ]
    for key, (trades, pnl) in strategies.items():
        lines.append(f"{key}: {trades} trade{'' if trades == 1 else 's'}, pnl {_signed(pnl)}")
    if denials:
        lines.append(f"denied: {', '.join(f'{code} {count}' for code, count in sorted(denials.items()))}")
    return "\n".join(lines)


def _number(value: float | None) -> str:
    """Return a price, quantity or sum; large ones with two decimals."""
    if value is None:
        return "n/a"
    return f"{value:,.2f}" if abs(value) >= LARGE else f"{value:.6g}"


def _signed(value: float) -> str:
    return f"{'+' if value > 0.0 else ''}{_number(value)}"


def _sided(quantity: float) -> str:
    return f"{'long' if quantity > 0.0 else 'short'} {_number(abs(quantity))}"


def _at(price: float, entry: float) -> str:
    return f"{_number(price)} ({price / entry - 1.0:+.2%})"


def _measured(value: float | None, limit: float | None) -> str:
    return "" if value is None and limit is None else f", value {_number(value)}, limit {_number(limit)}"


def _lasting(seconds: float) -> str:
    """Return a duration in its two largest units."""
    whole = int(seconds)
    days, hours, minutes = whole // DAY_S, whole % DAY_S // HOUR_S, whole % HOUR_S // MINUTE_S
    if days:
        return f"{days} d {hours} h"
    return f"{hours} h {minutes} min" if hours else f"{minutes} min" if minutes else f"{whole} s"
