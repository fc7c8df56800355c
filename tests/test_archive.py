"""The archive keeps candles whole: merged, checked, locked for writers, never waiting for readers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from stratnb.errors import ConfigError, RetryLater
from stratnb.market_data import Archive, Candles, synthetic_market
from stratnb.market_data.candles import BACKFILLED, REVISED, SYNTHETIC

NAMES = ("open_time_ms", "open", "high", "low", "close", "volume", "flags")
END_OF_MONTH = 1_706_742_000_000


def same(a: Candles, b: Candles) -> bool:
    return all(np.array_equal(getattr(a, name), getattr(b, name)) for name in NAMES)


@pytest.fixture(scope="module")
def hours() -> Candles:
    """Return three hundred hourly candles around the end of January 2024."""
    return synthetic_market(["BTC/USDT"], "1h", candles=300, start_ms=END_OF_MONTH - 100 * 3_600_000)[0]


def test_what_is_written_is_read_in_a_file_per_month(tmp_path: Path, hours: Candles) -> None:
    archive = Archive(tmp_path)
    written = archive.write(hours, "binance")
    assert (written.added, written.revised, written.equal) == (300, 0, 0)
    assert same(archive.read("binance", "BTC/USDT", "1h"), hours)
    names = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file())
    folder = "binance/BTC%2FUSDT/1h"
    assert names == [f"{folder}/2024-01.parquet", f"{folder}/2024-02.parquet", f"{folder}/manifest.json"]
    assert archive.list() == (("binance", "BTC/USDT", "1h"),)
    times = hours.open_time_ms
    part = archive.read("binance", "BTC/USDT", "1h", int(times[50]), int(times[250]))
    assert same(part, hours[50:250])
    assert len(archive.read("binance", "BTC/USDT", "1h", 0, 1)) == 0


def test_writing_merges_in_any_order_and_counts(tmp_path: Path, hours: Candles) -> None:
    archive = Archive(tmp_path)
    for part in (hours[200:], hours[:90], hours[80:210]):
        last = archive.write(part)
    assert (last.added, last.revised, last.equal) == (110, 0, 20)
    assert same(archive.read("import", "BTC/USDT", "1h"), hours)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.parquet")}
    assert archive.write(hours).equal == 300
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.parquet")} == before


def test_changed_candles_replace_the_old_and_are_flagged(tmp_path: Path, hours: Candles) -> None:
    archive = Archive(tmp_path)
    archive.write(hours)
    volume = hours.volume.copy()
    volume[[3, 150]] += 1.0
    columns = {name: getattr(hours, name) for name in NAMES} | {"volume": volume}
    columns["flags"] = np.full(300, BACKFILLED)
    assert archive.write(Candles("BTC/USDT", "1h", **columns)).revised == 2
    stored = archive.read("import", "BTC/USDT", "1h")
    assert np.array_equal(stored.volume, volume)
    assert np.flatnonzero(stored.flags & REVISED).tolist() == [3, 150]
    assert stored.flags[[0, 3]].tolist() == [SYNTHETIC, BACKFILLED | REVISED]


def test_the_manifest_counts_and_is_made_anew_after_a_crash(tmp_path: Path, hours: Candles) -> None:
    archive = Archive(tmp_path)
    archive.write(hours[:90])
    archive.write(hours[110:])
    manifest = archive.manifest("import", "BTC/USDT", "1h")
    assert (manifest["rows"], manifest["gaps"]) == (280, 1)
    assert (manifest["first_ms"], manifest["last_ms"]) == (hours.open_time_ms[0], hours.open_time_ms[-1])
    path = next(tmp_path.rglob("manifest.json"))
    assert json.loads(path.read_text()) == manifest
    for broken in ("", "{}", json.dumps({"months": {"2024-01": {"sha256": "old"}}})):
        path.write_text(broken)
        assert archive.manifest("import", "BTC/USDT", "1h") == manifest
    path.unlink()
    archive.write(hours[:1])
    assert json.loads(path.read_text()) == manifest


def test_coverage_reports_each_month(tmp_path: Path, hours: Candles) -> None:
    archive = Archive(tmp_path)
    archive.write(hours[:95])
    archive.write(hours[105:])
    coverage = archive.coverage().set_index("month")
    assert coverage["expected"].sum() == 300
    assert coverage["present"].sum() == 290
    assert coverage["missing"].sum() == 10
    split = int(np.searchsorted(hours.open_time_ms, int(np.datetime64("2024-02-01", "ms").astype(int))))
    assert coverage.loc["2024-01", "expected"] == split
    assert coverage["longest_gap"].tolist() == [split - 95, 105 - split]
    assert Archive(tmp_path / "none").coverage().empty


@pytest.mark.parametrize("symbol", ["../../etc/x", "..", "A/B:C", "a b/ü", "%2e%2e/x", "CON/~", "<img src=x>/USD"])
def test_no_name_leaves_the_archive(tmp_path: Path, hours: Candles, symbol: str) -> None:
    root = tmp_path / "deep" / "root"
    archive = Archive(root)
    columns = {name: getattr(hours, name)[:3] for name in NAMES}
    candles = Candles(symbol, "1h", **columns)
    archive.write(candles, "../" + symbol)
    assert all(path.is_relative_to(root) for path in tmp_path.rglob("*") if path.is_file())
    assert [len(path.relative_to(root).parts) for path in root.rglob("*.parquet")] == [4]
    assert archive.list() == (("../" + symbol, symbol, "1h"),)
    assert same(archive.read("../" + symbol, symbol, "1h"), candles)


def test_names_that_cannot_be_folders_are_refused(tmp_path: Path, hours: Candles) -> None:
    with pytest.raises(ConfigError, match="cannot name a folder"):
        Archive(tmp_path).write(hours, " ")
    with pytest.raises(ConfigError, match="cannot name a folder"):
        Archive(tmp_path).write(hours, "x" * 300)
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="is not a folder"):
        Archive(tmp_path / "file")


def test_a_missing_series_is_named_with_near_ones(tmp_path: Path, hours: Candles) -> None:
    archive = Archive(tmp_path)
    with pytest.raises(ConfigError, match="stored: nothing"):
        archive.read("import", "BTC/USDT", "1h")
    archive.write(hours)
    with pytest.raises(ConfigError, match="did you mean import BTC/USDT 1h"):
        archive.read("import", "BTC/USD", "1h")


def test_a_damaged_file_is_named(tmp_path: Path, hours: Candles) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    archive = Archive(tmp_path)
    archive.write(hours)
    path = next(tmp_path.rglob("2024-01.parquet"))
    good = path.read_bytes()
    table = pq.read_table(path)
    changed = table.set_column(5, "volume", pa.array(np.zeros(table.num_rows)))
    for content in (b"", b"junk" * 100, good[:-50], good[: len(good) // 2], None):
        if content is None:
            pq.write_table(changed, path)
        else:
            path.write_bytes(content)
        with pytest.raises(ConfigError, match=r"2024-01\.parquet is damaged.*delete the file") as caught:
            archive.read("import", "BTC/USDT", "1h")
        assert caught.value.code == "archive_damaged"
    assert len(archive.read("import", "BTC/USDT", "1h", int(hours.open_time_ms[200]))) == 100
    path.unlink()
    assert archive.write(hours).added > 0
    assert same(archive.read("import", "BTC/USDT", "1h"), hours)


def test_reading_beside_a_writer_sees_whole_files(tmp_path: Path, hours: Candles) -> None:
    archive = Archive(tmp_path)
    archive.write(hours[:50])

    def write() -> None:
        for end in range(60, 300, 8):
            archive.write(hours[end - 20 : end])

    writer = threading.Thread(target=write)
    writer.start()
    lengths = [50]
    while writer.is_alive():
        found = archive.read("import", "BTC/USDT", "1h")
        assert same(found, hours[: len(found)])
        lengths.append(len(found))
    writer.join()
    assert lengths == sorted(lengths)
    assert len(archive.read("import", "BTC/USDT", "1h")) == 292


def lock_of(archive: Archive, hours: Candles) -> Path:
    archive.write(hours)
    return next(archive.root.rglob("manifest.json")).with_name(".lock")


def test_a_living_writer_is_waited_for_and_reading_goes_on(tmp_path: Path, hours: Candles) -> None:
    archive = Archive(tmp_path)
    lock = lock_of(archive, hours)
    assert not lock.exists()
    for owner in (str(os.getpid()), ""):
        lock.write_text(owner)
        with pytest.raises(RetryLater, match="is held by process"):
            archive.write(hours, wait_s=0.0)
        assert len(archive.read("import", "BTC/USDT", "1h")) == 300
        assert lock.read_text() == owner


def test_the_lock_of_a_dead_process_is_taken_over(tmp_path: Path, hours: Candles) -> None:
    archive = Archive(tmp_path)
    lock = lock_of(archive, hours)
    done = subprocess.Popen([sys.executable, "-c", ""])
    done.wait()
    lock.write_text(str(done.pid))
    assert archive.write(hours, wait_s=0.0).equal == 300
    lock.write_text("")
    os.utime(lock, (0, 0))
    assert archive.write(hours, wait_s=0.0).equal == 300
    assert not list(lock.parent.glob(".*"))


def test_a_failed_write_leaves_the_old_file_and_no_lock(
    tmp_path: Path, hours: Candles, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = Archive(tmp_path)
    lock = lock_of(archive, hours[:200])

    def full(*_: object) -> None:
        raise OSError(28, "no space left")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="no space"):
        archive.write(hours)
    monkeypatch.undo()
    assert not list(lock.parent.glob(".*"))
    assert same(archive.read("import", "BTC/USDT", "1h"), hours[:200])
