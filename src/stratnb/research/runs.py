"""A backtest in a file: the configuration and everything the run produced, as JSON that reads back to the last bit."""

from __future__ import annotations

import gzip
import hashlib
import itertools
import json
import math
import os
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from stratnb.errors import ConfigError, Refused, StratnbError
from stratnb.market_data.candles import Candles, Gaps
from stratnb.market_data.funding import FundingRates
from stratnb.market_data.paths import typed_path
from stratnb.model import Fill, Trade, timeframe_ms
from stratnb.research.frames import FILL_COLUMNS, TRADE_COLUMNS, equity_frame, fills_frame, trades_frame

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["SavedRun", "fingerprint", "load_run", "rates_fingerprint", "store"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

KIND, SCHEMA = "stratnb backtest", 2
ENDINGS = (".json", ".json.gz")
PLAIN = ("name", "symbol", "timeframe", "quote", "cash", "capital", "complete", "code_hash", "version")
_WORDS = ("side", "reason")
_BROKEN = (
    *(ValueError, KeyError, TypeError, AttributeError, OSError, EOFError),
    *(zlib.error, RecursionError, OverflowError, StratnbError),
)
MAPPINGS = ("document", "market", "limits", "candles", "reasons", "denials", "figures")


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class SavedRun:
    """What a backtest produced, without its candles: it reads like `Backtest`, and `matches` tells its candles.

    `document` is the whole configuration and `market` what was traded, so that `backtest(run.document, candles,
    market=Market(**run.market), cash=run.cash)` is the same run. `planned_stops` is NaN where no stop is known.
    """

    name: str
    symbol: str
    timeframe: str
    quote: str
    cash: float
    capital: float
    complete: bool
    code_hash: str
    version: str
    document: Mapping[str, Any]
    market: Mapping[str, Any]
    limits: Mapping[str, Any] | None
    candles: Mapping[str, Any]
    reasons: Mapping[str, int]
    denials: Mapping[str, int]
    figures: Mapping[str, float | None]
    findings: tuple[str, ...]
    gaps: Gaps
    close_ms: Ints
    equity_curve: Floats
    closed_trades: tuple[Trade, ...]
    all_fills: tuple[Fill, ...]
    planned_stops: Floats

    @property
    def trades(self) -> pd.DataFrame:
        """Return one row per closed round trip; money in quote units after costs."""
        return trades_frame(self.closed_trades)

    @property
    def fills(self) -> pd.DataFrame:
        """Return one row per fill."""
        return fills_frame(self.all_fills)

    @property
    def equity(self) -> pd.DataFrame:
        """Return equity and drawdown (fraction) at each candle's close, indexed by closing time (UTC)."""
        return equity_frame(self.close_ms, self.equity_curve, self.capital)

    @property
    def ambiguous_candles(self) -> int:
        """Return how many candles touched stop and target, of which the stop was taken."""
        return int(self.figures.get("ambiguous_candles") or 0)

    def matches(self, candles: Candles) -> bool:
        """Return whether these are the candles of the run, bit for bit."""
        return fingerprint(candles) == dict(self.candles)

    def save(self, path: str | Path, *, overwrite: bool = False) -> Path:
        """Write the run to a file ending in .json or .json.gz and return its path (see `store`)."""
        return store(self.to_json(), path, overwrite=overwrite)

    def report(self, candles: Candles | None = None) -> Any:
        """Return the report; with the candles of the run it draws price, trades and what they went through."""
        return import_module("stratnb.ui").report(self, candles=candles)

    def to_json(self) -> str:
        """Return the run as one JSON object; numbers read back to the last bit."""
        whole: dict[str, Any] = {"kind": KIND, "schema": SCHEMA} | {name: getattr(self, name) for name in PLAIN}
        whole |= {name: None if (held := getattr(self, name)) is None else dict(held) for name in MAPPINGS}
        whole["findings"] = list(self.findings)
        whole["gaps"] = {"after_ms": self.gaps.after_ms.tolist(), "missing": self.gaps.missing.tolist()}
        whole["equity"] = {"close_ms": self.close_ms.tolist(), "equity": self.equity_curve.tolist()}
        whole["trades"] = _rows(self.closed_trades, TRADE_COLUMNS)
        whole["planned_stops"] = [x if math.isfinite(x) else None for x in self.planned_stops.tolist()]
        whole["fills"] = _rows(self.all_fills, FILL_COLUMNS)
        text = json.dumps(whole, allow_nan=False)
        return f'{text[:-1]}, "sha256": "{_digest(text)}"}}'

    def __repr__(self) -> str:
        """Return name, market, trades and result on one line."""
        profit = (float(self.equity_curve[-1]) if len(self.equity_curve) else self.capital) - self.capital
        count = f"{len(self.close_ms)} candles, {len(self.closed_trades)} trades"
        return f"SavedRun({self.name!r}, {self.symbol}, {count}, pnl {profit:+.6g} {self.quote})"


def fingerprint(candles: Candles) -> dict[str, Any]:
    """Return what identifies candles: symbol, timeframe, number, period and a hash of their values."""
    digest = hashlib.sha256(np.ascontiguousarray(candles.rows()).tobytes()).hexdigest()
    first, last = (int(candles.open_time_ms[i]) if len(candles) else 0 for i in (0, -1))
    names = {"symbol": candles.symbol, "timeframe": candles.timeframe, "count": len(candles)}
    return names | {"first_ms": first, "last_ms": last, "sha256": digest}


def rates_fingerprint(funding: FundingRates) -> dict[str, Any]:
    """Return what identifies funding rates: symbol, number, and a hash of their times and values."""
    digest = hashlib.sha256(funding.time_ms.tobytes() + funding.rates.tobytes()).hexdigest()
    return {"symbol": funding.symbol, "count": len(funding), "sha256": digest}


def store(text: str, path: str | Path, *, overwrite: bool = False) -> Path:
    """Write a run's JSON to a file, whole or not at all, and return its path.

    Raises `ConfigError` for an ending other than .json and .json.gz and for a folder that is not there, and
    `Refused("file_exists")` when the file is there and `overwrite` is not set.
    """
    target = typed_path(path)
    if not target.name.endswith(ENDINGS):
        hint = f"name it {target.name or 'run'}.json or {target.name or 'run'}.json.gz"
        raise ConfigError("file_ending", f"{target.name!r} does not end in .json or .json.gz", value=target, hint=hint)
    if not target.parent.is_dir():
        text_ = f"the folder {str(target.parent)!r} does not exist"
        raise ConfigError("folder_missing", text_, value=str(target.parent), hint="make it, or choose another one")
    if target.exists() and not overwrite:
        raise Refused("file_exists", f"{target.name!r} exists already", value=str(target), hint="choose another name")
    data = text.encode()
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        part.write_bytes(gzip.compress(data, 6, mtime=0) if target.name.endswith(".gz") else data)
        part.replace(target)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise ConfigError(
            "file_write", f"{target.name!r} was not written: {error.strerror}", value=str(target)
        ) from error
    return target


def load_run(path: str | Path) -> SavedRun:
    """Return the run that a file holds; raises `ConfigError` for a file that is missing or is no saved run."""
    source = typed_path(path)
    if not source.is_file():
        raise ConfigError("file_missing", f"{str(path)!r} is not a file", value=str(path), hint="check the path")
    try:
        data = source.read_bytes()
        whole = json.loads(gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data)
        if whole["kind"] != KIND or whole["schema"] != SCHEMA:
            raise ValueError(f"it is {str(whole['kind'])[:40]!r}, schema {str(whole['schema'])[:10]}")
        if whole.pop("sha256", "") != _digest(json.dumps(whole, allow_nan=False)):
            raise ValueError("its content was changed after it was saved")
        return _checked(_read(whole))
    except _BROKEN as error:
        words = f"{source.name!r} is not a saved backtest ({type(error).__name__}: {str(error)[:200]})"
        raise ConfigError("run_file", words, value=str(path), hint="save one with result.save('run.json')") from error


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _checked(run: SavedRun) -> SavedRun:
    """Return the run, or raise ValueError or TypeError when its parts do not fit each other."""
    _typed(run, str, "name", "symbol", "timeframe", "quote", "code_hash", "version")
    _typed(run, (int, float), "cash", "capital")
    if not isinstance(run.complete, bool):
        raise TypeError(f"complete is {run.complete!r}")
    _typed(run, Mapping, *(name for name in MAPPINGS if name != "limits" or run.limits is not None))
    timeframe_ms(run.timeframe)
    pairs = {
        "equity": (run.close_ms, run.equity_curve),
        "trades and planned stops": (run.closed_trades, run.planned_stops),
        "gaps": (run.gaps.after_ms, run.gaps.missing),
    }
    for what, (one, other) in pairs.items():
        if len(one) != len(other):
            raise ValueError(f"{what} have {len(one)} and {len(other)} values")
    for columns, items in ((TRADE_COLUMNS, run.closed_trades), (FILL_COLUMNS, run.all_fills)):
        for name, item in itertools.product(columns, items):
            if type(getattr(item, name)) not in ((str,) if name in _WORDS else (int, float)):
                raise TypeError(f"{name} of a {type(item).__name__.lower()} is {getattr(item, name)!r}")
    if not (np.isfinite(run.equity_curve).all() and (np.diff(run.close_ms) > 0).all() and run.capital > 0):
        raise ValueError("its equity has no order of time, or is no money")
    return run


def _typed(run: SavedRun, kind: Any, *names: str) -> None:
    for name in names:
        if isinstance(value := getattr(run, name), bool) or not isinstance(value, kind):
            raise TypeError(f"{name} is {value!r}")


def _rows(items: tuple[Any, ...], columns: tuple[str, ...]) -> dict[str, Any]:
    return {"columns": list(columns), "rows": [[getattr(item, name) for name in columns] for item in items]}


def _read(whole: Mapping[str, Any]) -> SavedRun:
    """Return the run of a decoded object."""
    of = {"strategy_id": whole["name"], "symbol": whole["symbol"]}
    trades, fills = whole["trades"], whole["fills"]
    equity, gaps, stops = whole["equity"], whole["gaps"], whole["planned_stops"]
    return SavedRun(
        **{name: whole[name] for name in (*PLAIN, *MAPPINGS)},
        findings=tuple(map(str, whole["findings"])),
        gaps=Gaps(np.array(gaps["after_ms"], np.int64), np.array(gaps["missing"], np.int64)),
        close_ms=np.array(equity["close_ms"], np.int64),
        equity_curve=np.array(equity["equity"], np.float64),
        closed_trades=tuple(Trade(**of, **dict(zip(trades["columns"], row, strict=True))) for row in trades["rows"]),
        all_fills=tuple(Fill(**of, **dict(zip(fills["columns"], row, strict=True))) for row in fills["rows"]),
        planned_stops=np.array([math.nan if x is None else x for x in stops], np.float64),
    )
