"""A strategy beside itself with entries by chance: the same frequency, sides, sizes, exits and costs, other candles."""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from stratnb.blocks.base import Block, Exit
from stratnb.blocks.chance import DrawnEntries, DrawnHold
from stratnb.errors import ConfigError
from stratnb.kernels import layout as at
from stratnb.research.backtest import Backtest
from stratnb.research.batch import cores, run_batch, track_of
from stratnb.research.results import exposure
from stratnb.strategy.build import build_plan
from stratnb.strategy.config import AnalyzerEntry, FrozenMap
from stratnb.strategy.plan import Plan
from stratnb.strategy.sections import Entry

__all__ = ["RandomEntries", "random_entries"]

Floats = npt.NDArray[np.float64]
NUMBERS = 2**31 - 1
AT_ONCE = 16
# Runs to find the probability that gives as many entries where risk rules or open orders hold some back.
ROUNDS, TRIED = 3, 8


@dataclass(frozen=True, slots=True)
class RandomEntries:
    """How a strategy did beside runs that enter by chance: total returns and numbers of entries.

    `p_value` is the share of runs, the strategy counted as one of them, that did at least as well; None without any
    entry or run.
    """

    own: float
    own_entries: int
    returns: Floats = field(repr=False)
    entries: Floats = field(repr=False)

    @property
    def p_value(self) -> float | None:
        """Return (1 + runs at least as good) / (1 + runs)."""
        if not self.own_entries or not len(self.returns):
            return None
        return float((1 + int((self.returns >= self.own).sum())) / (1 + len(self.returns)))

    @property
    def median(self) -> float | None:
        """Return the median total return of the runs by chance."""
        return float(np.median(self.returns)) if len(self.returns) else None

    def _repr_html_(self) -> str:
        """Return one sentence."""
        found = "n/a" if self.p_value is None else f"{self.p_value:.3f}"
        beside = "n/a" if self.median is None else f"{self.median:.4f}"
        text = (
            f"total return {self.own:.4f}; median of {len(self.returns)} runs with random entries {beside}; p {found}"
        )
        return f"<p>{html.escape(text)}</p>"


def random_entries(
    result: Backtest,
    *,
    n: int = 200,
    seed: int = 0,
    threads: int | None = None,
    progress: Callable[[int, int], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> RandomEntries:
    """Run a strategy's sizing, exits and costs with entries by chance and return how it compares.

    A run enters at each flat candle with the probability that gives as many entries as the strategy had on average, on
    its share of long and short, and with the confidence of its own entries where the backtest kept decisions (1 else).
    Analyzers and filters do not speak; an exit that reads the signal is replaced by holding times drawn from the trades
    it ended. The runs go through the loop of the backtest. Equal seeds give equal runs whatever the number of threads;
    after a cancel the runs so far are returned.
    """
    threads = cores() if threads is None else threads
    if n < 1 or threads < 1:
        raise ConfigError("range", f"{n} runs on {threads} threads cannot be made", value=n, hint="give at least 1")
    own = float(result.equity_curve[-1] / result.capital - 1.0) if len(result.equity_curve) else 0.0
    entered = int(result.book[at.B_TRADE_NO])
    if not entered:
        return RandomEntries(own, 0, np.empty(0), np.empty(0))
    chance = _Chance(result, threads, n)
    trying, *numbers = np.random.SeedSequence(seed).spawn(n + 1)
    chance.tune(entered, trying)
    found = np.empty((0, 2))
    for start in range(0, n, AT_ONCE):
        if cancelled is not None and cancelled():
            break
        found = np.concatenate([found, chance.run(numbers[start : start + AT_ONCE])])
        if progress is not None:
            progress(len(found), n)
    found = found[np.isfinite(found[:, 0])]
    return RandomEntries(own, entered, found[:, 0], found[:, 1])


class _Chance:
    """The runs by chance beside one backtest, with the probability of an entry at a flat candle."""

    def __init__(self, result: Backtest, threads: int, runs: int) -> None:
        self.result, self.threads, self.runs = result, threads, runs
        self.track = track_of(result.candles[: len(result.equity_curve)], funding=result.funding)
        closes, self.odds = _odds(result)
        self.plan = _by_chance(result, closes)

    def run(self, numbers: Sequence[np.random.SeedSequence]) -> Floats:
        """Return total return and number of entries of some runs, (runs, 2)."""
        plans = [replace(self.plan, params=self._drawn(np.random.default_rng(number))) for number in numbers]
        cash, limits = float(self.result.account[at.A_START]), self.result.limits
        batch = run_batch(plans, self.track, cash=cash, limits=limits, threads=self.threads, whole=self.runs)
        return np.column_stack([batch.daily[:, -1] / self.result.capital - 1.0, batch.book[:, at.B_TRADE_NO]])

    def tune(self, entered: int, number: np.random.SeedSequence) -> None:
        """Move the probability until runs enter as often as the strategy did."""
        for part in number.spawn(ROUNDS):
            mean = float(self.run(part.spawn(TRIED))[:, 1].mean())
            self.odds = min(1.0, self.odds * entered / max(mean, 0.5))

    def _drawn(self, rng: np.random.Generator) -> Floats:
        """Return the plan's parameters with entries, their sides and confidences drawn, and the number of the run."""
        plan, result = self.plan, self.result
        params = plan.params.copy()
        long = float((_entries(result.fill_rows)[:, at.F_SIGN] > 0).mean())
        for k, node in enumerate(plan.nodes):
            record = plan.code[at.H_NODES] + k * at.W_NODE
            start, size = plan.code[record + at.N_P], plan.code[record + at.N_PS]
            if isinstance(node.block, DrawnHold):
                params[start] = float(rng.integers(NUMBERS))
            elif isinstance(node.block, DrawnEntries):
                signs = np.where(rng.random(size) < long, 1.0, -1.0)
                column = np.where(rng.random(size) < self.odds, signs * rng.choice(_confidences(result), size), 0.0)
                column[: result.plan.warmup - 1] = 0.0
                params[start : start + size] = column
        return params


def _entries(fills: Floats) -> Floats:
    """Return the fills that opened a trade."""
    rows: Floats = fills[fills[:, at.F_REASON] == at.REASON_ENTRY]
    return rows


def _odds(result: Backtest) -> tuple[int, float]:
    """Return the primary closes of a run, and the share of those that were flat and warm at which it entered."""
    length = result.plan.primary_ms
    opened = np.unique(result.candles.open_time_ms[: len(result.equity_curve)] // length)
    closes = (opened + 1) * length
    warm = closes[result.plan.warmup - 1 :]
    held = exposure([result.all_fills], warm)
    flat = len(warm) * (1.0 - held) if held is not None else 0.0
    return len(closes), min(1.0, float(result.book[at.B_TRADE_NO]) / flat) if flat > 0 else 1.0


def _by_chance(result: Backtest, closes: int) -> Plan:
    """Return the plan of a strategy whose entries are drawn; other analyzers stay only where an exit reads them."""
    config = result.plan.config
    drawn = AnalyzerEntry(kind=DrawnEntries.kind, name="drawn", params=DrawnEntries(length=max(closes, 1)))
    exits: dict[str, Exit] = {name: block for name, block in config.exits.items() if not _reads(block, "signal.")}
    if len(exits) < len(config.exits) and (holds := _holds(result)):
        exits["drawn_hold"] = DrawnHold(holds=holds)
    kept = any(_reads(block, "an.") for block in (*exits.values(), config.sizing))
    changed = config.model_copy(
        update={
            "analyzers": (drawn, *(config.analyzers if kept else ())),
            "filters": FrozenMap(),
            "exits": FrozenMap(exits),
            "entry": Entry(mode="vote", min_confidence=0.0, signal_min=0.0, min_candles=config.entry.min_candles),
        }
    )
    plan = build_plan(changed, result.plan.market, base=result.candles.timeframe)
    plan.code[at.H_ANALYZERS] = 1
    return plan


def _reads(block: Block, start: str) -> bool:
    """Tell whether a block reads a column whose name starts so."""
    return any(isinstance(item, str) and item.startswith(start) for item in block.inputs())


def _holds(result: Backtest) -> tuple[float, ...]:
    """Return the candles that the trades were held which an exit that reads the signal ended."""
    ended = {type(block).reason or name for name, block in result.plan.exits if _reads(block, "signal.")}
    length = result.plan.primary_ms
    trades = [trade for trade in result.closed_trades if trade.reason in ended]
    return tuple(max(1.0, float(round((trade.exit_ms - trade.entry_ms) / length))) for trade in trades)


def _confidences(result: Backtest) -> Floats:
    """Return the confidences of the strategy's entries that were kept, 1 without."""
    rows = result.decision_rows
    found: Floats = rows[rows[:, at.D_ACTION] == at.ENTER, at.D_CONFIDENCE] if len(rows) else np.empty(0)
    found = found[np.isfinite(found) & (found > 0.0)]
    return found if len(found) else np.ones(1)
