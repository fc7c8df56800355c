"""What P10 finds before a run: wrong numbers, ranges without candles, a warm-up longer than the data, all at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np

from stratnb.errors import ConfigError, Finding, StratnbError
from stratnb.market_data.archive import Archive, Series
from stratnb.market_data.candles import Candles
from stratnb.market_data.load import load_candles
from stratnb.market_data.paths import typed_path
from stratnb.market_data.synthetic import synthetic_market
from stratnb.research.configured import configure
from stratnb.research.detail import inside
from stratnb.strategy.documents import build_config
from stratnb.strategy.plan import Plan as Layout
from stratnb.ui.format import age, count, escape, stamp
from stratnb.ui.panels.acting import followable
from stratnb.ui.panels.backtest_draft import DAY_MS, Draft, parse_number, parse_time
from stratnb.view import Board

__all__ = [
    "SYMBOL",
    "Checked",
    "Examiner",
    "Plan",
    "engine_candles",
    "findings_html",
]

CANDLES_MOST: Final = 1_000_000
COST_MOST: Final = 0.05
SYMBOL: Final = "BTC/USDT"  # of synthetic candles, when none is given
SIMULATION: Final = "execution.simulation."
_NAMED: Final = "write the timeframe into the file's name, such as btc_usdt_5m.csv"
_HINTS: Final = {
    "data_quality": "switch Repair rows on, or mend the source",
    "timeframe_missing": _NAMED,
    "timeframe_mismatch": _NAMED,
    "symbol_missing": "give the Symbol",
}

T = TypeVar("T")


@dataclass(frozen=True)
class Plan:
    """One run: a strategy (name or document) with the costs that differ from its own, and the account's start."""

    title: str
    strategy: str | Mapping[str, Any]
    cash: float
    overrides: Mapping[str, Any]
    loaded: str = ""


@dataclass(frozen=True)
class Checked:
    """What the check found: the plan, its candles, everything wrong or remarkable, and the series of an archive."""

    plan: Plan
    candles: Candles | None
    findings: tuple[Finding, ...]
    summary: str = ""
    series: tuple[Series, ...] = ()

    @property
    def blocked(self) -> bool:
        """Return whether an error forbids the run."""
        return self.candles is None or any(found.severity == "error" for found in self.findings)


def engine_candles(board: Board, symbol: str, timeframe: str) -> Candles:
    """Return the closed candles of the board's feed for a symbol."""
    rows = board.candles(symbol, timeframe, last=CANDLES_MOST)
    if not len(rows):
        raise ConfigError(
            "no_candles", f"{symbol} has no closed candle yet", value=symbol, hint="start the engine or choose a file"
        )
    return Candles(symbol, timeframe, rows[:, 5].astype(np.int64), *rows[:, :5].T)


def synthetic(draft: Draft) -> Candles:
    """Return the synthetic candles that a draft asks for; they are no real prices."""
    many = parse_number(draft.many, "Candles", 100, CANDLES_MOST) or 20_000
    seed = parse_number(draft.seed, "Seed", 0, 1e9) or 0
    symbol = draft.symbol.strip() or SYMBOL
    return synthetic_market([symbol], draft.timeframe, candles=int(many), seed=int(seed))[0]


def findings_html(checked: Checked, *, ready: bool = True) -> str:
    """Return the findings as safe HTML, errors first; without an error, a line that says what would run if `ready`."""
    order = sorted(checked.findings, key=lambda found: found.severity != "error")
    marks = {"error": '<span class="sn-t-err">■ Error</span>', "warning": '<span class="sn-t-warn">◆ Note</span>'}
    lines = "".join(f"<li>{marks[found.severity]} {escape(found)}</li>" for found in order)
    head = f'<span class="sn-t-ok">● Ready</span> {escape(checked.summary)}' if ready and not checked.blocked else ""
    return f'<div role="{"alert" if checked.blocked else "status"}">{head}<ul>{lines}</ul></div>'


class Examiner:
    """Checks drafts off the kernel's main loop; a file is read once until it changes."""

    def __init__(self, board: Board) -> None:
        self.board = board
        self._kept: dict[str, tuple[Any, Candles]] = {}

    def __call__(self, draft: Draft) -> Checked:
        """Return the plan of a draft, its candles and every finding."""
        found: list[Finding] = []
        cash = _tried(found, "Capital", lambda: parse_number(draft.cash, "Capital", 1.0, 1e12))
        costs = self._costs(draft, found)
        candles = _tried(found, draft.source, lambda: self._candles(draft))
        part = self._detailed(draft, self._range(draft, candles, found), found)
        strategy = _tried(found, "Strategy", lambda: self._strategy(draft))
        plan = Plan(draft.title, strategy or draft.strategy, cash or 10_000.0, costs, draft.loaded)
        layout = None if strategy is None else _tried(found, "Strategy", lambda: _layout(strategy, part, costs, found))
        summary = "" if part is None or layout is None else _judge(part, layout, found)
        each = tuple({(one.severity, str(one)): one for one in found}.values())  # values may be no keys
        return Checked(plan, part, each, summary, self._series(draft))

    def _strategy(self, draft: Draft) -> str | Mapping[str, Any]:
        return self.board.document(draft.loaded) if draft.loaded else draft.strategy

    @staticmethod
    def _costs(draft: Draft, found: list[Finding]) -> dict[str, float]:
        """Return the costs that are given, as overrides."""
        texts = {"taker_fee": draft.taker, "maker_fee": draft.maker, "slippage": draft.slippage}
        costs = {}
        for name, text in texts.items():
            what = name.replace("_", " ").capitalize()
            value = _tried(found, what, lambda text=text, what=what: parse_number(text, what, 0.0, COST_MOST))  # type: ignore[misc]
            if value is not None:
                costs[SIMULATION + name] = value
        return costs

    @staticmethod
    def _series(draft: Draft) -> tuple[Series, ...]:
        """Return what an archive holds."""
        if draft.source != "Archive" or not draft.path.strip():
            return ()
        try:
            folder = typed_path(draft.path.strip())
            return Archive(folder).list() if folder.is_dir() else ()
        except StratnbError:
            return ()  # the check of the candles says it

    def _candles(self, draft: Draft) -> Candles:
        """Return all candles of the draft's source."""
        if draft.source == "Feed":
            if not draft.symbol:
                raise ConfigError("no_feed", "there is no feed", hint="start the engine, or choose a file")
            return engine_candles(self.board, draft.symbol, draft.timeframe)
        if draft.source == "Synthetic":
            return synthetic(draft)
        path = typed_path(draft.path.strip())
        if not draft.path.strip():
            what = "the candle file" if draft.source == "File" else "the archive's folder"
            raise ConfigError("missing", f"{what} is missing", hint="give its path, or choose another source")
        if draft.source == "Archive":
            return self._archived(path, draft.series)
        return self._read("path", draft.path, draft.symbol.strip(), draft)

    def _read(self, field: str, text: str, symbol: str, draft: Draft) -> Candles:
        """Return the candles of the file that a field names; it is read again when it has changed."""
        path = typed_path(text.strip())
        about = path.stat() if path.is_file() else None
        key = (path, about and (about.st_mtime_ns, about.st_size), symbol, draft.repair)
        if field not in self._kept or self._kept[field][0] != key:
            options = {"symbol": symbol or None, "repair": "all" if draft.repair else ()}
            try:
                self._kept[field] = (key, load_candles(path, **options)[0])  # type: ignore[arg-type]
            except ConfigError as error:
                raise followable(error, _HINTS, text) from error
        return self._kept[field][1]

    def _detailed(self, draft: Draft, part: Candles | None, found: list[Finding]) -> Candles | None:
        """Return the finer candles inside a range when a file of them is given, else the range; None with a fault."""
        if part is None or not draft.detail.strip() or draft.source == "Synthetic":
            return part
        symbol = draft.symbol.strip() if draft.source == "File" else ""
        return _tried(found, "Detail", lambda: inside(part, self._read("detail", draft.detail, symbol, draft)))

    @staticmethod
    def _archived(folder: Path, series: Series | None) -> Candles:
        if not folder.is_dir():
            raise ConfigError("folder_missing", f"{str(folder)!r} is not a folder", value=str(folder))
        stored = Archive(folder).list()
        if not stored:
            hint = f"fill it with `stratnb archive candles.csv --to {folder}`, or choose a file"
            raise ConfigError("archive_empty", f"{str(folder)!r} holds no candles", value=str(folder), hint=hint)
        return Archive(folder).read(*(series if series in stored else stored[0]))

    @staticmethod
    def _range(draft: Draft, candles: Candles | None, found: list[Finding]) -> Candles | None:
        """Return the candles of the range, None when there are none."""
        start = _tried(found, "From", lambda: parse_time(draft.start, "From"))
        end = _tried(found, "To", lambda: parse_time(draft.end, "To", last=True))
        if start is not None and end is not None and end <= start:
            found.append(Finding("", "range", "To is not after From", value=draft.end, hint="exchange them"))
            return None
        if candles is None or not len(candles):
            return None
        part = candles.between(start, None if end is None else end + 1)
        first, last = int(candles.open_time_ms[0]), int(candles.open_time_ms[-1])
        covers = f"it covers {stamp(first)} to {stamp(last)} UTC"
        if not len(part):
            words = f"{candles.symbol} has no candles in this range"
            found.append(Finding("From, To", "range_empty", words, hint=covers))
            return None
        if (start is not None and start < first) or (end is not None and end >= last + DAY_MS):
            words = "the range reaches beyond the candles"
            found.append(Finding("From, To", "range_beyond", words, hint=covers, severity="warning"))
        return part


def _layout(
    strategy: str | Mapping[str, Any], candles: Candles | None, costs: Mapping[str, Any], found: list[Finding]
) -> Layout | None:
    """Return the plan of the strategy on the candles; without candles, only its document is checked."""
    if candles is None:
        found += build_config(strategy, overrides=costs or None).findings
        return None
    layout, warnings = configure(strategy, candles, overrides=costs or None)
    found += warnings
    return layout


def _judge(candles: Candles, layout: Layout, found: list[Finding]) -> str:
    """Add what is remarkable about candles and warm-up, and return what would run in words."""
    primary, name = layout.primary_ms, layout.config.timeframes.primary
    starts = np.unique(candles.open_time_ms // primary)
    if layout.warmup >= len(starts):
        words = f"the warm-up needs {count(layout.warmup)} candles of {name}, the range has {count(len(starts))}"
        hint = f"take at least {age(layout.warmup * primary / 1000)} more, or shorter indicators"
        found.append(Finding("From, To", "warmup", words, value=layout.warmup, hint=hint))
    gaps = candles.gaps()
    if gaps.count:
        hint = "the strategy sees each as a gap; load a complete series to avoid them"
        found.append(Finding("Candles", "gaps", str(gaps), value=gaps.total, hint=hint, severity="warning"))
    if layout.market.inferred:
        words = f"{', '.join(layout.market.inferred)} of {candles.symbol} are guessed from the candles"
        found.append(Finding("Market", "inferred", words, severity="warning"))
    period = f"{stamp(candles.open_time_ms[0])} to {stamp(candles.open_time_ms[-1])} UTC"
    warm = f"warm-up {count(layout.warmup)} of {count(len(starts))} candles of {name}"
    return f"{candles.symbol} {candles.timeframe}, {count(len(candles))} candles, {period}, {warm}"


def _tried(found: list[Finding], path: str, call: Callable[[], T]) -> T | None:
    """Return the value of a call, or None with its error among the findings."""
    try:
        return call()
    except StratnbError as error:
        inner = tuple(error.findings) if isinstance(error, ConfigError) else ()
        where = "" if error.message.startswith(path) else path
        if inner and error.hint:
            found.append(Finding(where, error.code, error.message, value=error.value, hint=error.hint))
        found += inner or (Finding(where, error.code, error.message, value=error.value, hint=error.hint),)
    return None
