"""Getting a run out of P10: a file in the kernel's folder, or one that the browser saves."""

from __future__ import annotations

import gzip
import re
from typing import Final

from stratnb.errors import Refused
from stratnb.market_data.candles import Candles
from stratnb.research.backtest import Backtest
from stratnb.research.runs import SavedRun, store
from stratnb.ui.format import megabytes
from stratnb.ui.panels.download import download
from stratnb.ui.panels.report_view import report

__all__ = ["EXPORTS", "export", "file_name", "save"]

PLAIN_MOST: Final = 4_000_000
LINK_MOST: Final = 32_000_000
EXPORTS: Final = ("trades.csv", "fills.csv", "equity.csv", "run.json", "report.html")
KINDS: Final = {"json": "application/json", "csv": "text/csv", "html": "text/html"}


def file_name(title: str, number: int) -> str:
    """Return a name for a run's file that every system takes.

    >>> file_name("simple-levels on BTC/USDT", 3)
    'simple-levels-on-BTC-USDT-3.json'
    """
    return f"{re.sub(r'[^A-Za-z0-9.]+', '-', title).strip('-.')[:60] or 'run'}-{number}.json"


def save(result: Backtest | SavedRun, path: str, candles: Candles | None = None) -> str:
    """Write a run to a file, or its report to an .html file, and return in words what was written."""
    if path.strip().lower().endswith(".html"):
        page = report(result, candles=candles).save(path.strip())
        return f"Saved {page.name}, {megabytes(page.stat().st_size)}; it opens in a browser without a network."
    whole = result if isinstance(result, SavedRun) else result.saved()
    target = store(whole.to_json(), path)
    return f"Saved {target.name}, {megabytes(target.stat().st_size)}; load_run({str(path)!r}) reads it."


def export(result: Backtest | SavedRun, what: str, candles: Candles | None = None) -> str:
    """Return a link that lets the browser save a part of a run (one of `EXPORTS`); large ones are compressed."""
    if what == "report.html":
        return _link(f"{result.name}-{what}", report(result, candles=candles).html.encode())
    whole = result if isinstance(result, SavedRun) else result.saved()
    if what == "run.json":
        data = whole.to_json().encode()
    else:
        part = what.removesuffix(".csv")
        data = getattr(whole, part).to_csv(index=part == "equity", lineterminator="\n").encode()
    name = f"{whole.name}-{what}"
    if len(data) > PLAIN_MOST:
        data, name = gzip.compress(data, 6, mtime=0), f"{name}.gz"
    return _link(name, data)


def _link(name: str, data: bytes) -> str:
    if len(data) > LINK_MOST:
        hint = "save it to a file of the kernel instead"
        raise Refused("too_large", f"{name} has {megabytes(len(data))}, too much for a link", hint=hint)
    kind = KINDS.get(name.rpartition(".")[2], "application/gzip")
    return download(name, data, kind, f"Save {name}, {megabytes(len(data))}")
