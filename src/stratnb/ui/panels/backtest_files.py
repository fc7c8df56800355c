"""Getting a run out of P10: a file in the kernel's folder, or one that the browser saves."""

from __future__ import annotations

import gzip
import re
from typing import Final

from stratnb.errors import Refused
from stratnb.research.backtest import Backtest
from stratnb.research.runs import SavedRun, store
from stratnb.ui.format import megabytes
from stratnb.ui.panels.download import download

__all__ = ["EXPORTS", "export", "file_name", "save"]

PLAIN_MOST: Final = 4_000_000
LINK_MOST: Final = 32_000_000
EXPORTS: Final = ("trades.csv", "fills.csv", "equity.csv", "run.json")


def file_name(title: str, number: int) -> str:
    """Return a name for a run's file that every system takes.

    >>> file_name("simple-levels on BTC/USDT", 3)
    'simple-levels-on-BTC-USDT-3.json'
    """
    return f"{re.sub(r'[^A-Za-z0-9.]+', '-', title).strip('-.')[:60] or 'run'}-{number}.json"


def save(result: Backtest | SavedRun, path: str) -> str:
    """Write a run to a file and return in words what was written."""
    whole = result if isinstance(result, SavedRun) else result.saved()
    target = store(whole.to_json(), path)
    return f"Saved {target.name}, {megabytes(target.stat().st_size)}; load_run({str(path)!r}) reads it."


def export(result: Backtest | SavedRun, what: str) -> str:
    """Return a link that lets the browser save a part of a run (one of `EXPORTS`); large ones are compressed."""
    whole = result if isinstance(result, SavedRun) else result.saved()
    if what == "run.json":
        data = whole.to_json().encode()
    else:
        part = what.removesuffix(".csv")
        data = getattr(whole, part).to_csv(index=part == "equity", lineterminator="\n").encode()
    name = f"{whole.name}-{what}"
    if len(data) > PLAIN_MOST:
        data, name = gzip.compress(data, 6, mtime=0), f"{name}.gz"
    if len(data) > LINK_MOST:
        hint = "save it to a file of the kernel instead"
        raise Refused("too_large", f"{name} has {megabytes(len(data))}, too much for a link", hint=hint)
    kind = "application/gzip" if name.endswith(".gz") else "application/json" if what == "run.json" else "text/csv"
    return download(name, data, kind, f"Save {name}, {megabytes(len(data))}")
