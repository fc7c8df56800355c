"""The ledger of trials: how many variants of an idea were tried on a market, over all runs of all notebooks."""

from __future__ import annotations

import hashlib
import math
import os
import sqlite3
import threading
import warnings
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import TypeVar

import numpy as np
import platformdirs

from stratnb.errors import ConfigError
from stratnb.market_data.candles import Candles
from stratnb.market_data.paths import typed_path
from stratnb.research.deflation import spread_of
from stratnb.strategy.config import StrategyConfig, canonical

__all__ = ["Ledger", "study_of"]

T = TypeVar("T")

TABLE = (
    "CREATE TABLE IF NOT EXISTS trials "
    "(study TEXT NOT NULL, trial BLOB NOT NULL, sharpe REAL, PRIMARY KEY (study, trial)) WITHOUT ROWID"
)
NOTE = (
    "INSERT INTO trials VALUES (?, ?, ?) ON CONFLICT (study, trial) "
    "DO UPDATE SET sharpe = COALESCE(excluded.sharpe, sharpe)"
)

PATIENCE_S = 60.0
KEY_BYTES = 16


def study_of(config: StrategyConfig, candles: Candles) -> str:
    """Return the study that trials of a strategy on these candles belong to: a hash of the idea and the market.

    The idea is what is composed of what: the kinds of the blocks in their roles. Names, parameters and the period are
    not part of it: another value or another title is another trial of the same idea, another year is the same trial.
    """
    idea = {
        "analyzers": sorted(type(entry.params).kind for entry in config.analyzers),
        "indicators": sorted(entry.block.kind for entry in config.indicators.values()),
        "filters": sorted(block.kind for block in config.filters.values()),
        "exits": sorted(block.kind for block in config.exits.values()),
        "sizing": config.sizing.kind,
        "market": [candles.symbol, candles.timeframe, config.timeframes.primary],
    }
    return hashlib.sha256(canonical(idea).encode()).hexdigest()[:32]


class Ledger:
    """The trials of all studies in one file, each counted once however often it is run again.

    The file is `path`, else the one that `STRATNB_LEDGER` names, else `trials.sqlite` in the user's data folder.
    Several processes may note at the same time. Where it cannot be used a warning says so and the counts last as long
    as the object: `is_kept` is then False.
    """

    def __init__(self, path: str | Path | None = None) -> None:
        self.path = typed_path(path) if path is not None else _usual_path()
        self._lock = threading.Lock()
        self._memory: sqlite3.Connection | None = None

    @property
    def is_kept(self) -> bool:
        """Return whether the counts are in the file."""
        return self._memory is None

    def __repr__(self) -> str:
        """Return where the ledger is."""
        return f"Ledger({str(self.path)!r}{'' if self.is_kept else ', in memory only'})"

    def note(self, study: str, trials: Sequence[str], sharpes: Sequence[float]) -> None:
        """Count trials by their keys; `sharpes` are their per-day Sharpe ratios, NaN where undefined.

        A key that the study knows already is not counted again; a defined Sharpe ratio takes the place of its old one.
        """
        if len(trials) != len(sharpes):
            text = f"{len(trials)} trials have {len(sharpes)} Sharpe ratios"
            raise ConfigError("lengths", text, value=(len(trials), len(sharpes)), hint="give one of each")
        values = [float(value) if math.isfinite(value) else None for value in sharpes]
        rows = [(study, _key(trial), value) for trial, value in zip(trials, values, strict=True)]
        if rows:
            self._ask(lambda connection: connection.executemany(NOTE, rows))

    def count(self, study: str) -> int:
        """Return how many different trials a study has had."""
        text = "SELECT COUNT(*) FROM trials WHERE study = ?"
        return int(self._ask(lambda connection: connection.execute(text, (study,)).fetchone())[0])

    def spread(self, study: str) -> float:
        """Return the standard deviation (ddof 1) of the per-day Sharpe ratios of a study's trials; NaN under two."""
        text = "SELECT sharpe FROM trials WHERE study = ? AND sharpe NOT NULL"
        found = np.array(self._ask(lambda connection: connection.execute(text, (study,)).fetchall()), np.float64)
        return spread_of(found)

    def forget(self, study: str) -> int:
        """Remove a study's trials and return how many there were; nothing else ever does."""
        text = "DELETE FROM trials WHERE study = ?"
        return int(self._ask(lambda connection: connection.execute(text, (study,)).rowcount))

    def _ask(self, action: Callable[[sqlite3.Connection], T]) -> T:
        """Run an action in a transaction of its own: on the file, or in memory once that could not be used."""
        with self._lock:
            if self._memory is None:
                try:
                    self.path.parent.mkdir(parents=True, exist_ok=True)
                    with closing(sqlite3.connect(self.path, timeout=PATIENCE_S, isolation_level=None)) as connection:
                        return _within(connection, action)
                except (OSError, sqlite3.Error) as error:
                    self._memory = _copy(self.path)
                    text = f"trials are counted in memory only: the ledger {self.path} cannot be used ({error})"
                    hint = "set STRATNB_LEDGER to a file that can be written"
                    warnings.warn(f"{text}; {hint}", RuntimeWarning, stacklevel=3)
            return _within(self._memory, action)


def _usual_path() -> Path:
    """Return the file of the environment, else that in the user's data folder."""
    named = os.environ.get("STRATNB_LEDGER")
    return typed_path(named) if named else platformdirs.user_data_path("stratnb", appauthor=False) / "trials.sqlite"


def _key(trial: str) -> bytes:
    """Return a trial's key in the file, short whatever its parameters."""
    return hashlib.sha256(trial.encode()).digest()[:KEY_BYTES]


def _copy(path: Path) -> sqlite3.Connection:
    """Return a ledger in memory with what the file holds, as far as it can be read."""
    memory = sqlite3.connect(":memory:", check_same_thread=False, isolation_level=None)
    source = f"{path.absolute().as_uri()}?mode=ro"
    with suppress(OSError, sqlite3.Error), closing(sqlite3.connect(source, uri=True)) as file:
        file.backup(memory)
    return memory


def _within(connection: sqlite3.Connection, action: Callable[[sqlite3.Connection], T]) -> T:
    """Run an action with the write lock held until all is written, or nothing."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        connection.execute(TABLE)
        found = action(connection)
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")
    return found
