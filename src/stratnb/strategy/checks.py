"""Cross checks: the rules that hold between the parts of a document."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator

from stratnb.errors import Finding
from stratnb.model import TIMEFRAMES, Market
from stratnb.strategy.column_checks import check_columns, check_warmups
from stratnb.strategy.exit_checks import check_exits, check_sizing
from stratnb.strategy.faults import fault, shown, warning
from stratnb.strategy.paths import join
from stratnb.strategy.reading import Parts

__all__ = ["RULES", "SHAPED", "check", "check_market"]

_UNREAD = (
    ("state", "gap_policy"),
    ("state", "max_catchup"),
    ("market", "reference"),
)
_FINER = ("entry", "detail")


def check(parts: Parts, touched: Collection[str] | None = None) -> Iterator[Finding]:
    """Yield every broken rule between the valid parts, and the warnings.

    With `touched`, names of sections, only the rules that read one of them are looked at.
    """
    for rules, sections in RULES:
        if touched is None or not sections.isdisjoint(touched):
            yield from rules(parts)


def check_market(parts: Parts, market: Market) -> Iterator[Finding]:
    """Yield where the document does not fit the market it is to trade."""
    if parts.market is None:
        return
    if parts.market.kind != market.kind:
        message = f"{parts.market.kind!r} is written, but {market.symbol} is {market.kind}"
        yield fault(
            "market.kind", "market_kind", message, parts.market.kind, "choose a market of that kind, or remove it"
        )
    if parts.market.symbol and parts.market.symbol != market.symbol:
        message = f"{shown(parts.market.symbol)} is asked for, but the market is {market.symbol}"
        yield fault(
            "market.symbol", "market_symbol", message, parts.market.symbol, "give the same symbol twice, or only one"
        )
    if parts.execution and parts.execution.leverage > market.max_leverage:
        message = f"{parts.execution.leverage:g} is above the {market.max_leverage:g} of {market.symbol}"
        hint = f"write at most {market.max_leverage:g}"
        yield fault("execution.leverage", "range", message, parts.execution.leverage, hint)


def _market(parts: Parts) -> Iterator[Finding]:
    market = parts.market
    if market is None:
        return
    base, _, settle = (market.symbol or "").partition(":")
    if settle and (market.kind == "spot" or settle == base.split("/")[0] or "-" in settle):
        hint = "write a spot symbol such as 'BTC/USDT', or kind 'linear' with 'BTC/USDT:USDT'"
        yield fault("market.symbol", "market_kind", f"{shown(market.symbol)} is not {market.kind}", market.symbol, hint)
    if market.kind != "spot":
        return
    if market.direction != "long" and "direction" in market.model_fields_set:
        hint = "write 'long', or trade a linear market"
        message = f"{market.direction!r} needs short selling, which spot has not"
        yield fault("market.direction", "short_on_spot", message, market.direction, hint)
    if parts.execution and parts.execution.leverage != 1:
        value = parts.execution.leverage
        yield fault("execution.leverage", "range", f"{value:g} needs a linear market", value, "spot takes 1")


def _timeframes(parts: Parts) -> Iterator[Finding]:
    frames = parts.timeframes
    if frames is None:
        return
    primary = TIMEFRAMES[frames.primary]
    for role in _FINER:
        length = getattr(frames, role)
        if length is not None:
            yield from _relation(
                f"timeframes.{role}", length, TIMEFRAMES[length], primary, finer=True, than=frames.primary
            )
    below, name = primary, frames.primary
    for role, length in frames.higher().items():
        path = f"timeframes.{role}"
        if TIMEFRAMES[length] <= below:
            hint = "the higher roles rise: primary < trend < trend2 < context"
            yield fault(path, "timeframe_order", f"{length!r} is not above {name!r}", length, hint)
        elif TIMEFRAMES[length] % primary:
            hint = f"write a multiple of {frames.primary}"
            yield fault(path, "timeframe_divides", f"{length!r} is not a multiple of {frames.primary!r}", length, hint)
        below, name = max(below, TIMEFRAMES[length]), length


def _relation(path: str, length: str, fine: int, coarse: int, *, finer: bool, than: str) -> Iterator[Finding]:
    """Yield that a finer role is not below the primary, or does not divide it."""
    if fine >= coarse:
        yield fault(path, "timeframe_order", f"{length!r} is not below {than!r}", length, "write a shorter timeframe")
    elif coarse % fine:
        yield fault(
            path, "timeframe_divides", f"{length!r} does not divide {than!r}", length, f"write a divisor of {than}"
        )


def _roles(parts: Parts) -> Iterator[Finding]:
    """Yield the roles that something enabled reads and no timeframe is given for."""
    if parts.timeframes is None:
        return
    readers = [(join("indicators", name), entry.timeframe) for name, entry in parts.indicators.items()]
    readers += [(join("analyzers", n), entry.timeframe) for n, entry in parts.analyzers.items() if entry.enabled]
    for path, role in readers:
        if parts.timeframes.of(role) is None:
            message = f"{role!r} is read, but timeframes.{role} is not set"
            yield fault(join(path, "timeframe"), "timeframe_missing", message, role, f'add "{role}" to timeframes')


def _analyzers(parts: Parts) -> Iterator[Finding]:
    seen: dict[str, int] = {}
    for n, entry in parts.analyzers.items():
        if entry.name in seen:
            hint = f"analyzers[{seen[entry.name]}] has it too; give one of them another name"
            yield fault(
                join("analyzers", n, "name"), "duplicate_name", f"{entry.name!r} is used twice", entry.name, hint
            )
        seen.setdefault(entry.name, n)
    if not parts.whole("analyzers"):
        return
    enabled = [entry for entry in parts.analyzers.values() if entry.enabled]
    total = sum(entry.weight for entry in enabled)
    weighed = parts.entry is None or parts.entry.mode != "vote"
    if not enabled:
        hint = 'add one such as {"kind": "ema"}, or enable one'
        yield fault(
            "analyzers", "no_analyzer", f"none of {len(parts.analyzers)} is enabled", len(parts.analyzers), hint
        )
    elif total == 0:
        yield fault("analyzers", "weight_zero", "the enabled weights add up to 0", 0.0, "give one a weight above 0")
    elif weighed and not 0.9 - 1e-9 <= total <= 1.1 + 1e-9:
        hint = "make them add up to about 1"
        yield warning("analyzers", "weight_sum", f"the enabled weights add up to {total:.6g}", total, hint)


def _promises(parts: Parts) -> Iterator[Finding]:
    """Warn about what is written and does not act, or cannot be verified."""
    for key in parts.risk.carried if parts.risk else ():
        if parts.risk and key in parts.risk.model_fields_set and getattr(parts.risk, key) is not None:
            message = "this rule is kept but does not act in this version"
            yield warning(f"risk.{key}", "not_enforced", message, getattr(parts.risk, key), "do not rely on it")
    for section, key in _UNREAD:
        part = getattr(parts, section)
        if part and key in part.model_fields_set and getattr(part, key) != type(part).model_fields[key].default:
            message = "this setting is kept but does not act in this version"
            yield warning(f"{section}.{key}", "not_enforced", message, getattr(part, key), "do not rely on it")
    if parts.capital and parts.capital.unit == "fraction" and parts.capital.amount > 1:
        amount = parts.capital.amount
        hint = f"{amount:g} % is {amount / 100:.6g}"
        yield warning("capital.amount", "capital_over_allocated", f"{amount:g} is more than the account", amount, hint)
    if parts.evidence is not None:
        hint = "it is shown as claimed, never as measured"
        yield warning("evidence", "evidence_unverified", "these are claims of the author", None, hint)


# Rules with the sections they read.
RULES: tuple[tuple[Callable[[Parts], Iterator[Finding]], frozenset[str]], ...] = (
    (_market, frozenset({"market", "execution"})),
    (_timeframes, frozenset({"timeframes"})),
    (_roles, frozenset({"timeframes", "indicators", "analyzers"})),
    (_analyzers, frozenset({"analyzers", "entry"})),
    (check_columns, frozenset({"timeframes", "indicators", "analyzers", "filters", "sizing", "exits"})),
    (check_warmups, frozenset({"indicators", "analyzers", "filters", "sizing", "exits"})),
    (check_exits, frozenset({"exits"})),
    (check_sizing, frozenset({"sizing", "exits"})),
    (_promises, frozenset({"risk", "state", "market", "capital", "evidence"})),
)
# Rules that see of enabled blocks their classes, timeframes and inputs only.
SHAPED = frozenset({_roles, check_columns, check_sizing})
