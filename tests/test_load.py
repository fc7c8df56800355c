"""Imports find their columns, name every fault with its place and remedy, and repair only what they are told to."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from stratnb.errors import ConfigError
from stratnb.market_data import load_candles, synthetic_market
from stratnb.market_data.naming import symbol_from

SHARED = Path(__file__).parents[2] / "shared" / "data"
CLEAN = synthetic_market(["BTC/USDT"], "5m", candles=60)[0]
START = int(CLEAN.open_time_ms[0])
STEP = 300_000


def clean() -> pd.DataFrame:
    """Return 60 good rows with open times in milliseconds."""
    frame = CLEAN.to_frame().drop(columns="flags").reset_index(drop=True)
    frame.insert(0, "timestamp", CLEAN.open_time_ms)
    return frame


def saved(path: Path, frame: pd.DataFrame) -> Path:
    frame.to_csv(path, index=False)
    return path


def refused(frame: pd.DataFrame, **options: object) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        load_candles(frame, symbol="BTC/USDT", timeframe="5m", **options)  # type: ignore[arg-type]
    return caught.value


def test_csv_parquet_and_frame_give_the_same_bits(tmp_path: Path) -> None:
    frame = clean()
    frame.to_parquet(tmp_path / "BTCUSDT-5m.parquet")
    sources = (
        saved(tmp_path / "btc_usdt_5m.csv", frame),
        tmp_path / "BTCUSDT-5m.parquet",
        str(tmp_path / "btc_usdt_5m.csv"),
    )
    for source in sources:
        candles, report = load_candles(source)
        assert (candles.symbol, candles.timeframe, report.findings) == ("BTC/USDT", "5m", ())
        for name in ("open_time_ms", "open", "high", "low", "close", "volume"):
            assert getattr(candles, name).tobytes() == getattr(CLEAN, name).tobytes()
    again, _ = load_candles(CLEAN.to_frame(), symbol="BTC/USDT")
    assert again.rows().tobytes() == CLEAN.rows().tobytes()
    assert again.is_synthetic


@pytest.mark.parametrize(
    ("name", "symbol", "timeframe"),
    [
        ("eth_btc_5m_2018", "ETH/BTC", "5m"),
        ("BTCUSDT-5m", "BTC/USDT", "5m"),
        ("BTCUSDT-5m-2018-01", "BTC/USDT", "5m"),
        ("btc_usdt_binance_5m", "BTC/USDT", "5m"),
        ("Binance_ETHUSDC_minute", "ETH/USDC", "5m"),
        ("eurusd_5m_2017-2018", "EUR/USD", "5m"),
        ("BTC_USDT_USDT-5m-futures", "BTC/USDT", "5m"),
        ("1000SHIB_USDT-5m", "1000SHIB/USDT", "5m"),
        ("goog_2004-2013", "GOOG/USD", "5m"),
        ("btc_perp_5m", "BTC/USD", "5m"),
    ],
)
def test_symbol_and_timeframe_come_from_the_name(tmp_path: Path, name: str, symbol: str, timeframe: str) -> None:
    candles, report = load_candles(saved(tmp_path / f"{name}.csv", clean()))
    assert (candles.symbol, candles.timeframe) == (symbol, timeframe)
    assert any("is assumed" in note for note in report.notes) == (symbol in ("GOOG/USD", "BTC/USD"))


TIMES: dict[str, Callable[[pd.Series], object]] = {
    "seconds": lambda ms: ms // 1000,
    "milliseconds": lambda ms: ms,
    "microseconds": lambda ms: ms * 1000,
    "nanoseconds": lambda ms: ms * 1_000_000,
    "floats": lambda ms: ms / 1000,
    "digits": lambda ms: ms.astype(str),
    "dates": lambda ms: pd.to_datetime(ms, unit="ms"),
    "zoned": lambda ms: pd.to_datetime(ms, unit="ms", utc=True).dt.tz_convert("America/New_York"),
    "iso": lambda ms: pd.to_datetime(ms, unit="ms").dt.strftime("%Y-%m-%dT%H:%M:%SZ"),
    "iso zone": lambda ms: pd.to_datetime(ms, unit="ms", utc=True).dt.tz_convert("Asia/Kolkata").map(str),
    "plain": lambda ms: pd.to_datetime(ms, unit="ms").dt.strftime("%Y-%m-%d %H:%M"),
    "slashes": lambda ms: pd.to_datetime(ms, unit="ms").dt.strftime("%Y/%m/%d %H:%M:%S"),
    "named utc": lambda ms: pd.to_datetime(ms, unit="ms").dt.strftime("%Y-%m-%d %H:%M:%S UTC"),
    "fractions": lambda ms: pd.to_datetime(ms, unit="ms").dt.strftime("%Y-%m-%dT%H:%M:%S.000+00:00"),
    "objects": lambda ms: pd.Series([pd.Timestamp(t, unit="ms", tz="UTC").to_pydatetime() for t in ms], dtype=object),
}


@pytest.mark.parametrize("kind", TIMES)
def test_times_are_read_in_every_usual_form(tmp_path: Path, kind: str) -> None:
    frame = clean().rename(columns={"timestamp": "Date"})
    frame["Date"] = TIMES[kind](frame["Date"])
    for source in (frame, saved(tmp_path / "btc_usdt_5m.csv", frame)):
        candles, report = load_candles(source, symbol="BTC/USDT")
        assert candles.open_time_ms.tolist() == CLEAN.open_time_ms.tolist()
        assert any("no zone" in note for note in report.notes) == (kind in ("plain", "slashes") or (kind == "dates"))


def test_columns_are_found_in_any_case_and_form(tmp_path: Path) -> None:
    frame = clean().rename(columns=str.upper).rename(columns={"TIMESTAMP": " Open Time ", "VOLUME": "Volume BTC"})
    candles, report = load_candles(frame, symbol="BTC/USDT")
    assert candles.volume.tolist() == CLEAN.volume.tolist()
    assert report.notes == ("column 'Volume BTC' is taken as the volume",)
    text = "made by somebody\n" + clean().to_csv(index=False, sep=";")
    path = tmp_path / "btc_usdt.csv"
    path.write_text(text, encoding="utf-8-sig")
    assert load_candles(path)[0].rows().tobytes() == CLEAN.rows().tobytes()
    path.write_text(clean().assign(more=1, still=2).to_csv(index=False, header=False))
    candles, report = load_candles(path)
    assert candles.rows().tobytes() == CLEAN.rows().tobytes()
    assert report.notes[0].startswith("no header line")


def test_a_symbol_column_is_read_and_must_hold_one(tmp_path: Path) -> None:
    frame = clean().assign(Symbol="ETHUSDT")
    assert load_candles(frame)[0].symbol == "ETH/USDT"
    frame.loc[3, "Symbol"] = "BTCUSDT"
    with pytest.raises(ConfigError, match="holds 2 symbols: BTCUSDT, ETHUSDT"):
        load_candles(frame)


def put(column: str, row: int, value: object) -> Callable[[pd.DataFrame], pd.DataFrame]:
    def change(frame: pd.DataFrame) -> pd.DataFrame:
        frame[column] = frame[column].astype(object)
        frame.loc[row, column] = value
        return frame

    return change


def iso(frame: pd.DataFrame) -> pd.DataFrame:
    text = pd.to_datetime(frame["timestamp"], unit="ms").dt.strftime("%Y-%m-%dT%H:%M:%S")
    frame["timestamp"] = text + "Z"
    frame.loc[7, "timestamp"] = (
        pd.Timestamp(START + 7 * STEP, unit="ms") + pd.Timedelta(hours=2)
    ).isoformat() + "+02:00"
    return frame


def seconds(frame: pd.DataFrame) -> pd.DataFrame:
    frame.loc[7, "timestamp"] = START // 1000 + 7 * 300
    return frame


def swapped(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.iloc[[*range(6), 7, 6, *range(8, 60)]].reset_index(drop=True)


def again(frame: pd.DataFrame) -> pd.DataFrame:
    return pd.concat([frame, frame.iloc[[7]]], ignore_index=True).iloc[[*range(7), 60, *range(7, 60)]]


def differing(frame: pd.DataFrame) -> pd.DataFrame:
    return put("volume", 8, 123.0)(again(frame).reset_index(drop=True))


FAULTS: dict[str, tuple[Callable[[pd.DataFrame], pd.DataFrame], str, str, int]] = {
    "text": (put("close", 7, "abc"), "text", "drop_bad", 59),
    "thousands": (put("close", 7, "43,000.5"), "text", "drop_bad", 59),
    "flag": (put("close", 7, True), "text", "drop_bad", 59),
    "none": (put("open", 7, None), "nan", "drop_nan", 59),
    "nan text": (put("open", 7, "NaN"), "nan", "drop_nan", 59),
    "infinite": (put("volume", 7, np.inf), "nan", "drop_nan", 59),
    "zero price": (put("low", 7, 0.0), "not_positive", "drop_bad", 59),
    "negative price": (put("close", 7, -5.0), "not_positive", "drop_bad", 59),
    "negative volume": (put("volume", 7, -1.0), "negative_volume", "drop_bad", 59),
    "high": (put("high", 7, 1.0), "impossible_ohlc", "fix_ohlc", 60),
    "low": (put("low", 7, 1e6), "impossible_ohlc", "fix_ohlc", 60),
    "off grid": (put("timestamp", 7, START + 7 * STEP + 1000), "off_grid", "drop_off_grid", 59),
    "no time": (put("timestamp", 7, None), "time_missing", "drop_nan", 59),
    "word for time": (put("timestamp", 7, "noon"), "time_text", "drop_bad", 59),
    "zones": (iso, "mixed_zones", "to_utc", 60),
    "units": (seconds, "mixed_units", "units", 60),
    "disorder": (swapped, "disorder", "sort", 60),
    "twice": (again, "duplicate", "drop_duplicates", 60),
    "twice differently": (differing, "duplicate_differs", "drop_duplicates", 60),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_refused_by_name_place_and_remedy_and_repaired_only_on_request(tmp_path: Path, name: str) -> None:
    change, code, repair, rows = FAULTS[name]
    frame = change(clean())
    sources: list[pd.DataFrame | Path] = [frame]
    if name != "flag":
        sources.append(saved(tmp_path / "btc_usdt_5m.csv", frame))
    for source in sources:
        with pytest.raises(ConfigError) as caught:
            load_candles(source, symbol="BTC/USDT")
        error = caught.value
        assert (error.code, [finding.code for finding in error.findings]) == ("data_quality", [code])
        assert error.findings[0].path.startswith("row 7" + (" (line 9)" if isinstance(source, Path) else ""))
        assert f"repair='{repair}'" in error.findings[0].hint
        for wish in (repair, ("all",), [repair, "sort"]):
            candles, report = load_candles(source, symbol="BTC/USDT", repair=wish)
            assert len(candles) == rows
            assert report.repairs == {repair: 1}
            assert [finding.severity for finding in report.findings] == ["warning"]
            assert repair in str(report)
        if code not in ("disorder", "text", "nan"):
            other = "sort" if repair != "sort" else "drop_nan"
            with pytest.raises(ConfigError, match="data_quality"):
                load_candles(source, symbol="BTC/USDT", repair=other)


def test_all_faults_are_reported_at_once_and_repaired_together() -> None:
    frame = again(swapped(clean().iloc[::-1].reset_index(drop=True))).reset_index(drop=True)
    frame["close"] = frame["close"].astype(object)
    frame.loc[3, "close"] = "x"
    frame.loc[5, "high"] = 1.0
    frame.loc[9, "volume"] = np.nan
    error = refused(frame)
    codes = [finding.code for finding in error.findings]
    assert codes == ["text", "nan", "impossible_ohlc", "duplicate", "disorder"]
    assert error.hint.endswith("repair='all'")
    candles, report = load_candles(frame, symbol="BTC/USDT", repair="all")
    assert len(candles) == 58
    assert report.gaps.total == 2
    assert set(report.repairs) == {"drop_bad", "drop_nan", "fix_ohlc", "drop_duplicates", "sort"}
    assert (report.rows_read, report.rows_kept) == (61, 58)


def test_the_last_of_differing_rows_wins() -> None:
    frame = clean()
    late = frame.iloc[[7]].assign(volume=55.0)
    candles, _ = load_candles(pd.concat([frame, late]), symbol="A/B", repair=("sort", "drop_duplicates"))
    assert candles.volume[7] == 55.0
    assert len(candles) == 60


def test_newest_first_is_disorder() -> None:
    error = refused(clean().iloc[::-1])
    assert "newest row first" in str(error)
    candles, _ = load_candles(clean().iloc[::-1], symbol="A/B", repair="sort")
    assert candles.rows().tobytes() == CLEAN.rows().tobytes()


def test_values_like_percents_have_no_repair() -> None:
    frame = clean()
    returns = frame.copy()
    for name in ("open", "high", "low", "close"):
        returns[name] = frame[name].pct_change().fillna(0.0)
    signs = frame.assign(close=(frame["close"].pct_change().fillna(0) * 100).round(2).astype(str) + "%")
    for wrong in (returns, signs):
        error = refused(wrong, repair="all")
        assert "percent_like" in [finding.code for finding in error.findings]
        assert "export prices" in str(error)


def test_times_all_off_the_grid_are_moved_on_request() -> None:
    frame = clean()
    frame["timestamp"] += 7_000
    assert "repair='align'" in refused(frame).findings[0].hint
    candles, report = load_candles(frame, symbol="A/B", repair="all")
    assert candles.open_time_ms.tolist() == CLEAN.open_time_ms.tolist()
    assert report.repairs == {"align": 60}


def test_gaps_are_the_market_s_own_and_only_reported() -> None:
    candles, report = load_candles(clean().drop(index=[5, 20, 21, 22]), symbol="A/B")
    assert len(candles) == 56
    assert (report.gaps.count, report.gaps.total, report.gaps.longest) == (2, 4, 3)
    assert not report.findings
    assert "2 gaps, 4 candles missing, longest 3" in str(report)


def test_unusual_but_possible_rows_are_noted() -> None:
    frame = clean()
    frame.loc[5:7, "volume"] = 0.0
    frame.loc[9, ["open", "high", "low", "close"]] = 1.0
    now = pd.Timestamp.now("UTC").floor("5min")
    frame["timestamp"] = [int((now - pd.Timedelta(minutes=5 * (59 - i))).timestamp() * 1000) for i in range(60)]
    _, report = load_candles(frame, symbol="A/B")
    text = str(report)
    assert "3 candles without volume" in text
    assert "changes more than tenfold 2 times" in text
    assert "may be unfinished" in text


@pytest.mark.parametrize(
    ("content", "code", "words"),
    [
        ("", "file_empty", "is empty"),
        ("timestamp,open,high,low,close,volume\n", "no_rows", "has no rows"),
        ("timestamp,open,high,low,volume\n1,2,3,4,5\n", "columns_missing", "lacks the column close"),
        ("open,high,low,close,volume\n1,2,3,4,5\n", "columns_missing", "the time column is called one of"),
        ("when,opn,hi\nx,y,z\n", "columns_missing", "time, open, high, low, close, volume"),
        ("time,open,high,low,close,volume,Open\n1,2,3,4,5,6,7\n", "columns_twice", "open twice"),
        ("time,open,high,low,close,volume\n1,2,3,4,5,6\n1,2\n", "csv_rows", "Expected 6 columns, got 2"),
        ("time,open,high,low,close,volume\nx,2,3,1,2,6\n", "time_format", "'x' is not a time"),
        ("time,open,high,low,close,volume\n31.12.2020,2,3,1,2,6\n", "time_format", "write times such as"),
        ("time,open,high,low,close,volume\n2020-01-01,2,3,1,2,6\n", "timeframe_missing", "pass timeframe="),
        ("time,open,high,low,close,volume\n60000,2,3,1,2,6\n", "time_format", "name the column open_time_ms"),
        (
            "time,open,high,low,close,volume\n2020-01-01T00:00,2,3,1,2,6\n2020-01-01T00:07,2,3,1,2,6\n",
            "timeframe_missing",
            "420 s apart",
        ),
    ],
)
def test_wrong_text_files_say_what_is_wrong(tmp_path: Path, content: str, code: str, words: str) -> None:
    path = tmp_path / "btc_usdt.csv"
    path.write_text(content)
    with pytest.raises(ConfigError) as caught:
        load_candles(path)
    assert caught.value.code == code
    assert words in str(caught.value)
    assert "btc_usdt.csv" in str(caught.value) or code == "time_format"


def test_wrong_files_say_what_is_wrong(tmp_path: Path) -> None:
    good = saved(tmp_path / "btc_usdt_5m.csv", clean())
    parquet = tmp_path / "eth_usdt_5m.parquet"
    clean().to_parquet(parquet)
    binary = parquet.read_bytes()
    named = {
        "btc_5m.parquet": good.read_bytes(),
        "junk.parquet": b"\0\1\2junk",
        "cut.parquet": binary[:-200],
        "packed.csv": binary,
        "latin.csv": "timestamp,open,größe\n".encode("latin-1"),
        "x.xlsx": b"x",
    }
    for name, content in named.items():
        (tmp_path / name).write_bytes(content)
    expected = {
        "btc_5m.parquet": ("not_parquet", "rename it to .csv"),
        "junk.parquet": ("not_parquet", "export it again"),
        "cut.parquet": ("not_parquet", "damaged"),
        "packed.csv": ("not_text", "rename it to .parquet"),
        "latin.csv": ("not_text", "UTF-8"),
        "x.xlsx": ("file_type", ".parquet"),
        "btc_usdt_5.csv": ("file_missing", "did you mean 'btc_usdt_5m.csv'"),
        "no/such.csv": ("file_missing", "does not exist either"),
        "": ("file_is_folder", "name a file in it, such as"),
    }
    for name, (code, words) in expected.items():
        with pytest.raises(ConfigError) as caught:
            load_candles(tmp_path / name)
        assert caught.value.code == code, name
        assert words in str(caught.value), name
    with pytest.raises(ConfigError, match="list holds no candles"):
        load_candles([1, 2])  # type: ignore[arg-type]


def test_names_must_fit(tmp_path: Path) -> None:
    path = saved(tmp_path / "btc_usdt_1h.csv", clean())
    with pytest.raises(ConfigError, match="timeframe 1h is named by the file, but rows are usually 5m apart") as caught:
        load_candles(path)
    assert caught.value.code == "timeframe_mismatch"
    assert load_candles(path, timeframe="5m")[0].timeframe == "5m"
    with pytest.raises(ConfigError, match="timeframe '5 min' is not known"):
        load_candles(path, timeframe="5 min")
    with pytest.raises(ConfigError, match="names no symbol"):
        load_candles(clean())
    with pytest.raises(ConfigError, match="did you mean 'BTC/USDT'"):
        load_candles(clean(), symbol="BTCUSDT")
    with pytest.raises(ConfigError, match="did you mean 'fix_ohlc'"):
        load_candles(path, timeframe="5m", repair="fix_ohcl")
    with pytest.raises(ConfigError, match="names no symbol"):
        load_candles(saved(tmp_path / "2018-01.csv", clean()))


def test_thin_markets_keep_the_named_timeframe() -> None:
    frame = clean().iloc[[0, 1, *range(3, 60, 2)]]
    assert load_candles(frame, symbol="A/B", timeframe="5m")[1].gaps.count == 29


def test_nothing_left_is_an_error() -> None:
    frame = clean().assign(close="x")
    error = refused(frame, repair="drop_bad")
    assert error.code == "no_rows"


def test_the_report_is_a_frame_and_escaped_html() -> None:
    frame = put("close", 7, "<img src=x onerror=alert(1)>")(clean())
    _, report = load_candles(frame, symbol="<b>/X", repair="all")
    shown = report._repr_html_()
    assert "<img" not in shown
    assert "<b>/X" not in shown
    assert "&lt;img" in shown
    assert report.to_frame()["code"].tolist() == ["text", "gaps"]
    assert "\n" not in repr(report)


@pytest.mark.skipif(not SHARED.is_dir(), reason="no recorded candles beside the project")
def test_recorded_candles_are_clean_and_their_gaps_counted() -> None:
    gaps = {}
    for path in sorted(SHARED.glob("*.parquet")):
        _, report = load_candles(path)
        assert not report.findings
        gaps[path.stem] = (report.symbol, report.timeframe, report.rows_read, report.gaps.count, report.gaps.total)
    assert gaps["unittest_btc_1m_2017"] == ("UNITTEST/BTC", "1m", 13_681, 538, 717)
    assert gaps["goog_1d_2004-2013"] == ("GOOG/USD", "1d", 2148, 463, 969)
    assert gaps["eurusd_1h_2017-2018"] == ("EUR/USD", "1h", 5000, 42, 2063)
    assert gaps["ada_btc_5m_2018"] == ("ADA/BTC", "5m", 5720, 5, 40)


@pytest.mark.parametrize("name", ["open_time_ms", "open_time", "Open Time", "OpenTime"])
def test_an_explicit_open_time_comes_before_a_timestamp(name: str, tmp_path: Path) -> None:
    frame = clean()
    frame.insert(1, name, frame["timestamp"])
    frame["timestamp"] += STEP - 1
    for source in (frame, saved(tmp_path / "btc_usdt_5m.csv", frame)):
        candles, report = load_candles(source, symbol="BTC/USDT", timeframe="5m")
        assert candles.rows().tobytes() == CLEAN.rows().tobytes()
        assert not report.findings


def test_candles_of_another_age_are_noted() -> None:
    frame = clean()
    assert "check the unit of the times" not in str(load_candles(frame, symbol="A/B")[1])
    soon = int(pd.Timestamp.now("UTC").timestamp() * 1000) // STEP * STEP
    for start, text in (
        (STEP, "60 candles before 1990"),
        (soon + 90_000_000, "60 candles in the future"),
        (soon + 86_400_000 - 58 * STEP, "1 candle in the future"),
    ):
        moved = frame.assign(timestamp=[start + STEP * i for i in range(60)]).rename(
            columns={"timestamp": "open_time_ms"}
        )
        _, report = load_candles(moved, symbol="A/B", timeframe="5m")
        assert [note for note in report.notes if note.startswith(text)], (text, report.notes)


@pytest.mark.parametrize(
    ("name", "symbol", "note"),
    [
        ("XBTUSD_5.csv", "XBT/USD", "XB/TUSD"),
        ("BTCTUSD-5m.csv", "BTC/TUSD", "BTCT/USD"),
        ("USDTUSD.csv", "USDT/USD", "USD/TUSD"),
        ("BTCUSDT.csv", "BTC/USDT", ""),
    ],
)
def test_a_name_that_could_be_read_twice_has_a_note(name: str, symbol: str, note: str) -> None:
    found = symbol_from(name)
    assert found is not None
    assert found[0] == symbol and (note in found[1] if note else not found[1])


def test_dates_and_times_in_two_columns_are_to_be_joined(tmp_path: Path) -> None:
    text = "<DATE>\t<TIME>\t<OPEN>\t<HIGH>\t<LOW>\t<CLOSE>\t<TICKVOL>\n2024.01.01\t00:00:00\t1\t1\t1\t1\t1\n"
    (tmp_path / "EURUSD_5m.csv").write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_candles(tmp_path / "EURUSD_5m.csv")
    assert "join <DATE> and <TIME>" in caught.value.hint
    frame = clean()
    frame["timestamp"] = "10:05:00"
    assert "time of day" in refused(frame).hint
