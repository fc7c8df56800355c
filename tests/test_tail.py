"""Archive and tail are one series; compacting loses nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from stratnb.errors import ConfigError
from stratnb.market_data import Archive, Candles, synthetic_market
from stratnb.market_data.tail import COMPACT_MS, ArchiveTail

MARKET = synthetic_market(["BTC/USDT"], "1m", candles=200, seed=3)[0]


def feed(tail: ArchiveTail, candles: Candles) -> None:
    for row in candles.rows():
        tail.append("BTC/USDT", "1m", int(row[5]), tuple(row[:5].tolist()))  # type: ignore[arg-type]


def same(a: Candles, b: Candles) -> bool:
    return bool(np.array_equal(a.rows(), b.rows()))


def test_the_tail_alone_and_with_month_files_reads_as_one_series(tmp_path: Path) -> None:
    tail = ArchiveTail(Archive(tmp_path), "paper")
    feed(tail, MARKET[:120])
    assert same(tail.read("BTC/USDT", "1m"), MARKET[:120])
    assert tail.compact("BTC/USDT", "1m").added == 120 and not len(tail.pending("BTC/USDT", "1m"))
    feed(tail, MARKET[120:])
    assert same(tail.read("BTC/USDT", "1m"), MARKET)
    start, end = int(MARKET.open_time_ms[100]), int(MARKET.open_time_ms[140])
    assert same(tail.read("BTC/USDT", "1m", start, end), MARKET[100:140])


def test_an_hour_of_the_feed_compacts(tmp_path: Path) -> None:
    tail = ArchiveTail(Archive(tmp_path))
    feed(tail, MARKET[:10])
    first = int(MARKET.open_time_ms[0])
    assert tail.compact_due(first + COMPACT_MS - 1) == 0
    assert tail.compact_due(first + COMPACT_MS) == 1 and tail.compact_due(first + 3 * COMPACT_MS) == 0
    assert same(Archive(tmp_path).read("import", "BTC/USDT", "1m"), MARKET[:10])


def test_an_older_candle_is_refused(tmp_path: Path) -> None:
    tail = ArchiveTail(Archive(tmp_path))
    feed(tail, MARKET[:2])
    with pytest.raises(ConfigError, match="not newer"):
        feed(tail, MARKET[1:2])


def test_a_failing_write_keeps_the_tail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tail = ArchiveTail(Archive(tmp_path))
    feed(tail, MARKET[:5])

    def fail(*_: object, **__: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(tail.archive, "write", fail)
    with pytest.raises(OSError, match="disk full"):
        tail.compact("BTC/USDT", "1m")
    assert same(tail.pending("BTC/USDT", "1m"), MARKET[:5])
