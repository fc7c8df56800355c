"""What came of a replay, as one JSON-safe object and as a short table."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from stratnb.engine import Engine
from stratnb.market_data import Candles, QualityReport
from stratnb.model import Market
from stratnb.multi.switch import SwitchResult
from stratnb.parity import Parity
from stratnb.replay.settings import ReplaySettings

__all__ = ["Object", "Run", "parity_report", "report", "table", "timing"]

Object = dict[str, Any]


@dataclass(slots=True)
class Run:
    """A replay under way: the engine, its instances in order, and what was seen so far."""

    settings: ReplaySettings
    engine: Engine
    series: tuple[Candles, ...]
    markets: tuple[Market, ...]
    reports: tuple[QualityReport, ...]
    ids: dict[str, tuple[str, Candles, Market]] = field(default_factory=dict)
    switches: list[SwitchResult] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    replay_s: float = 0.0


def report(run: Run) -> Object:
    """Return everything but parity and times."""
    engine, settings = run.engine, run.settings
    stats, events = engine.stats(), engine.events.stats()
    instances = [_instance(run, key, stats["strategies"][key]) for key in run.ids]
    return {
        "mode": settings.mode,
        "policy": settings.policy,
        "switch_every": settings.switch_every,
        "speed": "max" if math.isinf(settings.speed) else settings.speed,
        "cash": settings.cash,
        "quote": run.markets[0].quote,
        "timeframe": run.series[0].timeframe,
        "overrides": dict(settings.overrides),
        "notes": run.notes,
        "candles": stats["candles"],
        "instants": engine.feed.position,
        "unrouted": stats["unrouted"],
        "gaps": stats["gaps"],
        "decisions": sum(row["decisions"] for row in instances),
        "fills": sum(row["fills"] for row in instances),
        "trades": stats["total_trades"],
        "pnl": stats["combined_pnl"],
        "equity": stats["equity"],
        "max_drawdown": stats["overall_max_drawdown"],
        "open_positions": stats["open_positions"],
        "strategies": _by_strategy(instances),
        "instances": instances,
        "switches": _switches(run.switches),
        "cache": _cache(engine),
        "risk": _risk(engine, instances),
        "events": {"published": events["published"], "by_type": events["by_type"]},
        "markets": [_market(*row) for row in zip(settings.files, run.series, run.markets, run.reports, strict=True)],
    }


def _instance(run: Run, key: str, stats: Object) -> Object:
    """Return what one instance did."""
    desk = run.engine.desk
    fills = desk.lane(key).context.book.fills()
    return {
        "id": key,
        "strategy": stats["name"],
        "symbol": stats["symbol"],
        "state": stats["state"],
        "decisions": desk.store.decisions(key).total,
        "fills": len(fills),
        "fills_by_reason": dict(sorted(Counter(fill.reason for fill in fills).items())),
        "trades": stats["total_trades"],
        "wins": stats["wins"],
        "pnl": stats["total_pnl"],
        "realized_pnl": stats["realized_pnl"],
        "unrealized_pnl": stats["unrealized_pnl"],
        "fees": stats["fees"],
        "max_drawdown": stats["max_drawdown"],
        "denials": stats["denials_by_code"],
        "error": stats["error"],
    }


def _by_strategy(instances: Iterable[Object]) -> Object:
    """Return the sums of the instances of each strategy."""
    sums: dict[str, Object] = {}
    for row in instances:
        mine = sums.setdefault(row["strategy"], {"instances": 0})
        mine["instances"] += 1
        for name in ("decisions", "fills", "trades", "wins", "pnl", "realized_pnl", "unrealized_pnl", "fees"):
            mine[name] = mine.get(name, 0) + row[name]
    for mine in sums.values():
        mine["win_rate"] = mine["wins"] / mine["trades"] if mine["trades"] else None
    return sums


def _switches(results: Sequence[SwitchResult]) -> Object:
    """Return how the switches ended; how long they took is with the times."""
    caught_up = [result.caught_up_candles for result in results]
    return {
        "count": len(results),
        "succeeded": sum(result.success for result in results),
        "failed": sum(not result.success for result in results),
        "failures": dict(sorted(Counter(result.error[0] for result in results if result.error).items())),
        "position_actions": dict(sorted(Counter(result.position_action for result in results).items())),
        "caught_up_candles": sum(caught_up),
        "caught_up_most": max(caught_up, default=0),
    }


def _cache(engine: Engine) -> Object:
    """Return the cache's counts without its times."""
    stats = engine.cache.stats()
    kept = ("strategy_id", "accesses", "pinned", "pin_reasons", "bytes", "state")
    entries = [{name: entry[name] for name in kept} for entry in stats.pop("entries")]
    stats.pop("creation_ms")
    return stats | {"entries": entries}


def _risk(engine: Engine, instances: Iterable[Object]) -> Object:
    """Return the account's state and the refused entries by code."""
    denials: Counter[str] = Counter()
    for row in instances:
        denials.update(row["denials"])
    risk = engine.desk.services.risk
    return {
        "state": risk.state,
        "reason": risk.reason,
        "denied": denials.total(),
        "denials": dict(sorted(denials.items())),
    }


def _market(path: Path, candles: Candles, market: Market, report: QualityReport) -> Object:
    """Return a file's market, what was inferred of it, and the file's quality."""
    rules = ("kind", "tick", "lot", "min_quantity", "min_notional", "maker_fee", "taker_fee")
    return {
        "symbol": candles.symbol,
        "file": path.name,
        "timeframe": candles.timeframe,
        "candles": len(candles),
        "first_ms": int(candles.open_time_ms[0]),
        "last_ms": int(candles.open_time_ms[-1]),
        **{name: getattr(market, name) for name in rules},
        "inferred": list(market.inferred),
        "quality": {
            "rows_read": report.rows_read,
            "rows_kept": report.rows_kept,
            "gaps": {"count": report.gaps.count, "missing": report.gaps.total, "longest": report.gaps.longest},
            "repairs": report.repairs,
            "findings": [str(finding) for finding in report.findings],
            "notes": list(report.notes),
        },
    }


def parity_report(checks: Sequence[Parity], instances: Sequence[Object]) -> Object:
    """Write each verdict into its instance and return the sum; without checks there is no verdict."""
    for row, check in zip(instances, checks, strict=False):
        names = ("identical", "trades", "fills", "difference")
        row["parity"] = {name: getattr(check, name) for name in names}
    count = sum(map(bool, checks))
    return {"checked": len(checks), "identical": count, "verdict": count == len(checks) if checks else None}


def timing(run: Run) -> Object:
    """Return what depends on the machine."""
    candles = run.engine.desk.router.candles
    return {
        "replay_s": run.replay_s,
        "candles_per_s": candles / run.replay_s if run.replay_s > 0 else None,
        "switch_ms": _quantiles([result.duration_ms for result in run.switches if result.success]),
        "creation_ms": run.engine.cache.stats()["creation_ms"],
    }


def _quantiles(times: Sequence[float]) -> Object:
    if not times:
        return {"count": 0, "p50": None, "p95": None, "max": None}
    p50, p95 = np.percentile(times, (50, 95))
    return {"count": len(times), "p50": float(p50), "p95": float(p95), "max": max(times)}


def table(result: Object) -> str:
    """Return a result as a short text for people."""
    switches, cache, told = result["switches"], result["cache"], result["parity"]
    size = f"{result['candles']:,} candles, {result['instants']:,} instants, {len(result['instances'])} instances"
    lines = [
        f"{size}, {result['mode']}",
        f"{'':<46}{'decisions':>10}{'trades':>8}{'pnl ' + result['quote']:>16}  parity",
    ]
    lines += [_line(row["id"], row, _verdict(row)) for row in result["instances"]]
    checked = f"{told['identical']} of {told['checked']} identical" if told["checked"] else "not checked"
    lines.append(_line("all", result, checked))
    lines += [
        f"switches: {switches['succeeded']} of {switches['count']} succeeded {switches['failures'] or ''}".rstrip(),
        f"cache: {cache['hits']:,} hits, {cache['misses']:,} misses, {cache['evictions']:,} evictions",
        f"refused entries: {result['risk']['denied']:,}; {result['timing']['candles_per_s'] or 0:,.0f} candles/s",
    ]
    gaps = {row["symbol"]: row["quality"]["gaps"] for row in result["markets"] if row["quality"]["gaps"]["count"]}
    lines += [f"{symbol}: {gap['count']:,} gaps, {gap['missing']:,} candles missing" for symbol, gap in gaps.items()]
    return "\n".join([*lines, *(f"note: {note}" for note in result["notes"])])


def _line(name: str, row: Object, verdict: str) -> str:
    return f"{name:<46}{row['decisions']:>10,}{row['trades']:>8,}{row['pnl']:>16,.6g}  {verdict}".rstrip()


def _verdict(row: Object) -> str:
    """Return parity and error of an instance in words."""
    check = row.get("parity")
    same = "" if check is None else "identical" if check["identical"] else f"different: {check['difference']}"
    return f"{same} {row['error'] or ''}".strip()
