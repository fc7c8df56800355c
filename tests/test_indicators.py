"""Every indicator against an oracle that shares no code with it: TA-Lib, or plain Python where TA-Lib has none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import talib
from hypothesis import given, settings
from hypothesis import strategies as st

import stratnb.blocks.indicators as library
from blocks_harness import Columns, Floats, make_candles, run
from stratnb.blocks.base import Indicator
from stratnb.blocks.indicators import (
    Adx,
    Atr,
    Bollinger,
    Donchian,
    Ema,
    Macd,
    Natr,
    Pivots,
    Rma,
    Rsi,
    Sma,
    Stochastic,
    TrueRange,
    VolumeStats,
    Wma,
)

SHARED = Path(__file__).parents[2] / "shared"
Oracle = Callable[[Columns], dict[str, Floats]]
ALL = [getattr(library, name)() for name in library.__all__]
KINDS = [block.kind for block in ALL]


@dataclass(frozen=True)
class Case:
    """A block, what TA-Lib gives for its outputs, and the size below which a value is noise of its inputs."""

    block: Indicator
    oracle: Oracle
    unit: Callable[[Columns], Floats] = lambda c: np.zeros(len(c["close"]))

    def __str__(self) -> str:
        fields = ",".join(f"{value}" for name, value in self.block.model_dump().items() if name != "on")
        return f"{self.block.kind}({fields})"


def hlc(c: Columns) -> tuple[Floats, Floats, Floats]:
    return c["high"], c["low"], c["close"]


def named(*names: str) -> Callable[[Callable[[Columns], object]], Oracle]:
    """Give the series of a TA-Lib call the names of the block's outputs."""

    def wrap(call: Callable[[Columns], object]) -> Oracle:
        def oracle(c: Columns) -> dict[str, Floats]:
            series = call(c)
            return dict(zip(names, series if isinstance(series, tuple) else (series,), strict=True))

        return oracle

    return wrap


def percent(c: Columns) -> Floats:
    """Return the unit of a series on 0..100."""
    return np.ones(len(c["close"]))


def price(c: Columns) -> Floats:
    """Return the unit of a difference of prices: a thousandth of the price."""
    return 1e-3 * c["close"]


value = named("value")


def cases() -> list[Case]:
    found: list[Case] = []
    for n in (2, 5, 20, 100):
        found += [
            Case(Sma(period=n), value(lambda c, n=n: talib.SMA(c["close"], n))),
            Case(Ema(period=n), value(lambda c, n=n: talib.EMA(c["close"], n))),
            Case(Wma(period=n), value(lambda c, n=n: talib.WMA(c["close"], n))),
        ]
    for n in (2, 5, 14, 30):
        found += [
            Case(Rsi(period=n), value(lambda c, n=n: talib.RSI(c["close"], n)), percent),
            Case(Atr(period=n), value(lambda c, n=n: talib.ATR(*hlc(c), n))),
            Case(Natr(period=n), value(lambda c, n=n: talib.NATR(*hlc(c), n) / 100.0)),
            Case(
                Donchian(period=n),
                named("upper", "lower")(lambda c, n=n: (talib.MAX(c["high"], n), talib.MIN(c["low"], n))),
            ),
        ]
    for n in (5, 14, 30):
        found.append(
            Case(
                Adx(period=n),
                named("adx", "plus_di", "minus_di")(
                    lambda c, n=n: (talib.ADX(*hlc(c), n), talib.PLUS_DI(*hlc(c), n), talib.MINUS_DI(*hlc(c), n))
                ),
                percent,
            )
        )
    found.append(Case(TrueRange(), value(lambda c: talib.TRANGE(*hlc(c)))))
    for fast, slow, signal in ((12, 26, 9), (3, 10, 16), (5, 6, 2)):
        found.append(
            Case(
                Macd(fast=fast, slow=slow, signal=signal),
                named("line", "signal", "hist")(lambda c, a=fast, b=slow, s=signal: talib.MACD(c["close"], a, b, s)),
                price,
            )
        )
    for n, dev in ((20, 2.0), (5, 1.5), (50, 3.0)):
        found.append(
            Case(
                Bollinger(period=n, dev=dev),
                named("upper", "mid", "lower")(lambda c, n=n, dev=dev: talib.BBANDS(c["close"], n, dev, dev, 0)),
            )
        )
    for k, smooth, d in ((14, 3, 3), (5, 1, 3), (9, 4, 2)):
        found.append(
            Case(
                Stochastic(k=k, smooth_k=smooth, d=d),
                named("k", "d")(
                    lambda c, k=k, s=smooth, d=d: talib.STOCH(
                        *hlc(c), fastk_period=k, slowk_period=s, slowk_matype=0, slowd_period=d, slowd_matype=0
                    )
                ),
                percent,
            )
        )
    return found


CASES = cases()


def neutral(block: Indicator, c: Columns) -> npt.NDArray[np.bool_]:
    """Return the rows that depend on a zero denominator, where the two libraries differ on purpose."""
    rows = np.zeros(len(c["close"]), dtype=bool)
    if isinstance(block, Stochastic):
        flat = talib.MAX(c["high"], max(2, block.k)) <= talib.MIN(c["low"], max(2, block.k))
        for back in range(block.smooth_k + block.d - 1):
            rows[back:] |= flat[: len(rows) - back]
    if isinstance(block, Rsi):
        moves = np.abs(np.diff(c["close"], prepend=c["close"][0]))
        rows = run(Rma(period=block.period), {"close": moves})["value"] <= 1e-12 * c["close"]
    return rows


def assert_matches(case: Case, c: Columns, expected: dict[str, Floats]) -> None:
    """Assert 1e-9 relative on each row of each series, and that both start on the same row."""
    got, left_out, unit = run(case.block, c), neutral(case.block, c), case.unit(c)
    for name, right in expected.items():
        left = got[name]
        assert np.array_equal(np.isnan(left), np.isnan(right)), f"{name} starts on another row"
        error = np.abs(left - right) - 1e-9 * np.maximum(np.abs(right), unit)
        worst = int(np.nanargmax(np.where(left_out, -np.inf, error)))
        assert error[worst] <= 0.0, f"{name} row {worst}: {left[worst]!r}, oracle {right[worst]!r}"
    assert left_out.mean() < 0.2


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("seed", [1, 2])
def test_indicators_equal_talib_on_seeded_candles(case: Case, seed: int) -> None:
    c = make_candles(1500, seed)
    assert_matches(case, c, case.oracle(c))


@cache
def shared_candles(name: str) -> Columns:
    """Return recorded candles as columns, or skip the test with a word."""
    path = SHARED / "data" / f"{name}.parquet"
    if not path.exists():
        pytest.skip(f"no recorded candles {name}")
    table = pytest.importorskip("pyarrow.parquet").read_table(path).slice(0, 6000)
    columns = ("open", "high", "low", "close", "volume")
    return {column: np.ascontiguousarray(table[column].to_numpy(), dtype=float) for column in columns}


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("name", ["eth_btc_5m_2018", "btc_perp_1m_2022-01"])
def test_indicators_equal_talib_on_recorded_candles(case: Case, name: str) -> None:
    c = shared_candles(name)
    assert_matches(case, c, case.oracle(c))


RECORDED: dict[str, tuple[Indicator, str, float]] = {
    "SMA_20": (Sma(), "value", 1.0),
    "EMA_12": (Ema(period=12), "value", 1.0),
    "EMA_200": (Ema(period=200), "value", 1.0),
    "WMA_20": (Wma(), "value", 1.0),
    "RSI_14": (Rsi(), "value", 1.0),
    "RSI_2": (Rsi(period=2), "value", 1.0),
    "ATR_14": (Atr(), "value", 1.0),
    "NATR_14": (Natr(), "value", 100.0),
    "TRANGE": (TrueRange(), "value", 1.0),
    "ADX_14": (Adx(), "adx", 1.0),
    "PLUS_DI_14": (Adx(), "plus_di", 1.0),
    "MINUS_DI_14": (Adx(), "minus_di", 1.0),
    "MACD_12_26_9.macd": (Macd(), "line", 1.0),
    "MACD_12_26_9.signal": (Macd(), "signal", 1.0),
    "MACD_12_26_9.hist": (Macd(), "hist", 1.0),
    "BBANDS_20_2_sma.upper": (Bollinger(), "upper", 1.0),
    "BBANDS_20_2_sma.middle": (Bollinger(), "mid", 1.0),
    "BBANDS_20_2_sma.lower": (Bollinger(), "lower", 1.0),
    "STOCH_14_3_3.k": (Stochastic(), "k", 1.0),
    "STOCH_14_3_3.d": (Stochastic(), "d", 1.0),
    "STOCHF_14_3.k": (Stochastic(smooth_k=1), "k", 1.0),
    "STOCHF_14_3.d": (Stochastic(smooth_k=1), "d", 1.0),
}


@pytest.mark.parametrize("column", RECORDED)
@pytest.mark.parametrize("name", ["eth_btc_5m_2018", "btc_perp_1m_2022-01"])
def test_indicators_equal_the_recorded_values(column: str, name: str) -> None:
    path = SHARED / "oracle" / f"talib_{name}.parquet"
    if not path.exists():
        pytest.skip(f"no recorded values {path.name}")
    block, output, factor = RECORDED[column]
    right = pytest.importorskip("pyarrow.parquet").read_table(path, columns=[column])[column].to_numpy() / factor
    c = {key: series[: len(right)] for key, series in shared_candles(name).items()}
    unit = {"macd": price, "rsi": percent, "stochastic": percent, "adx": percent}.get(block.kind)
    case = Case(block, lambda c: {}, unit) if unit else Case(block, lambda c: {})
    assert_matches(case, c, {output: right})


FIRST_ROWS = [
    (Sma(), "value", 19),
    (Ema(), "value", 19),
    (Ema(seed="first"), "value", 0),
    (Wma(), "value", 19),
    (Rma(), "value", 13),
    (Rsi(), "value", 14),
    (TrueRange(), "value", 1),
    (Atr(), "value", 14),
    (Natr(), "value", 14),
    (Macd(), "line", 33),
    (Macd(), "signal", 33),
    (Bollinger(), "percent_b", 19),
    (Stochastic(), "k", 17),
    (Stochastic(smooth_k=1), "d", 15),
    (Adx(), "adx", 27),
    (Adx(), "plus_di", 14),
    (Donchian(), "upper", 19),
    (Donchian(include_current=False), "upper", 20),
    (VolumeStats(), "ratio", 20),
    (Sma(period=1), "value", 0),
    (Atr(period=1), "value", 1),
    (Donchian(period=1), "lower", 0),
    (Stochastic(k=1, smooth_k=1, d=1), "d", 0),
    (VolumeStats(period=1), "mean", 1),
]


@pytest.mark.parametrize(("block", "output", "first"), FIRST_ROWS, ids=lambda v: getattr(v, "kind", str(v)))
def test_the_first_row_is_the_declared_one(block: Indicator, output: str, first: int) -> None:
    series = run(block, make_candles(60, 3))[output]
    assert int(np.isfinite(series).argmax()) == first
    assert np.isfinite(series[first:]).all()
    if output == block.outputs[0]:
        assert block.warmup() == first + 1


def test_ema_seeded_with_the_first_value_follows_the_recursion() -> None:
    close, expected = make_candles(200, 4)["close"], []
    average = close[0]
    for x in close:
        average += (x - average) * 2.0 / 13.0
        expected.append(average)
    np.testing.assert_allclose(run(Ema(period=12, seed="first"), {"close": close})["value"], expected, rtol=1e-12)


@pytest.mark.parametrize("n", [1, 4, 14])
def test_rma_follows_wilders_recursion(n: int) -> None:
    close = make_candles(200, 5)["close"]
    got, average = run(Rma(period=n), {"close": close})["value"], float(np.mean(close[:n]))
    for row in range(n, len(close)):
        average = (average * (n - 1) + close[row]) / n
        assert got[row] == pytest.approx(average, rel=1e-12)


@pytest.mark.parametrize(("n", "dev"), [(20, 2.0), (5, 1.0)])
def test_bollinger_place_and_width_follow_from_the_window(n: int, dev: float) -> None:
    close = make_candles(600, 6)["close"]
    got = run(Bollinger(period=n, dev=dev), {"close": close})
    for row in range(n - 1, len(close)):
        window = close[row - n + 1 : row + 1]
        mean, reach = window.mean(), dev * window.std()
        flat = np.ptp(window) == 0.0
        expected = 0.5 if flat else (close[row] - mean + reach) / (2.0 * reach)
        assert got["percent_b"][row] == pytest.approx(expected, rel=1e-9, abs=1e-9)
        assert got["width"][row] == pytest.approx(2.0 * reach / mean, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("n", [1, 7, 20])
def test_donchian_of_previous_candles_excludes_the_current_one(n: int) -> None:
    c = make_candles(300, 7)
    got = run(Donchian(period=n, include_current=False), c)
    for row in range(n, 300):
        top, bottom = c["high"][row - n : row].max(), c["low"][row - n : row].min()
        assert (got["upper"][row], got["lower"][row]) == (top, bottom)
        assert got["mid"][row] == (top + bottom) / 2


def volume_class(ratio: float) -> int:
    return sum(ratio >= edge for edge in (0.3, 0.7, 1.3, 2.0))


@pytest.mark.parametrize("n", [1, 5, 20])
@pytest.mark.parametrize("quiet", [0.02, 0.9])
def test_volume_stats_equal_the_plain_oracle(n: int, quiet: float) -> None:
    volume = make_candles(800, 8)["volume"]
    volume[np.random.default_rng(8).random(800) < quiet] = 0.0
    got = run(VolumeStats(period=n), {"volume": volume})
    for row in range(n, len(volume)):
        mean = sum(volume[row - n : row].tolist()) / n
        ratio = volume[row] / mean if mean > 0.0 else 0.0
        assert got["mean"][row] == pytest.approx(mean, rel=1e-9)
        assert got["ratio"][row] == pytest.approx(ratio, rel=1e-9)
        assert got["class"][row] == volume_class(ratio)


@pytest.mark.parametrize(
    ("ratio", "expected"),
    [(0.29, 0), (0.3, 1), (0.69, 1), (0.7, 2), (1.29, 2), (1.3, 3), (1.99, 3), (2.0, 4), (9.0, 4)],
)
def test_volume_class_changes_at_each_edge(ratio: float, expected: int) -> None:
    got = run(VolumeStats(period=1), {"volume": np.array([1.0, ratio])})
    assert got["class"][1] == expected


def test_a_window_without_volume_has_a_mean_of_zero_at_once() -> None:
    volume = np.array([0.1, 0.2, 0.3, 1e9, 0.7] + [0.0] * 8 + [5.0])
    got = run(VolumeStats(period=5), {"volume": volume})
    assert got["mean"][10] == 0.0
    assert got["ratio"][-1] == 0.0


def plain_pivots(c: Columns, k: int) -> list[tuple[float, float, float, float]]:
    """Return rows of (high, high_age, low, low_age), found by looking at whole windows."""
    high, low, rows = c["high"].tolist(), c["low"].tolist(), []
    for i in range(len(high)):
        row = [np.nan] * 4
        for j in range(k, i - k + 1):
            before, after = range(j - k, j), range(j + 1, j + k + 1)
            if all(high[j] > high[b] for b in before) and all(high[j] >= high[a] for a in after):
                row[:2] = high[j], i - j
            if all(low[j] < low[b] for b in before) and all(low[j] <= low[a] for a in after):
                row[2:] = low[j], i - j
        rows.append(tuple(row))
    return rows


@pytest.mark.parametrize("k", [1, 2, 3, 7])
def test_pivots_equal_the_plain_oracle(k: int) -> None:
    c = make_candles(250, 9 + k)
    c = {name: np.round(series, 1) for name, series in c.items()}
    got = run(Pivots(k=k), c)
    np.testing.assert_array_equal(np.stack(list(got.values()), axis=1), np.array(plain_pivots(c, k)))
    assert np.isfinite(got["high"]).any() and np.isfinite(got["low"]).any()


def test_of_equal_highs_the_first_is_the_pivot() -> None:
    high = np.array([1.0, 2.0, 3.0, 3.0, 2.0, 1.0])
    got = run(Pivots(k=2), {"high": high, "low": np.zeros(6)})
    assert got["high_age"].tolist()[4:] == [2.0, 3.0]
    assert np.isnan(got["low"]).all()


def test_macd_refuses_a_fast_period_that_is_not_below_the_slow_one() -> None:
    with pytest.raises(ValueError, match="order_violation: fast must be below slow"):
        Macd(fast=26, slow=26)


@pytest.mark.parametrize("block", ALL, ids=KINDS)
def test_the_least_of_each_parameter_works(block: Indicator) -> None:
    schema = type(block).model_json_schema()["properties"]
    least = {name: field["minimum"] for name, field in schema.items() if field.get("type") == "integer"}
    c, small = make_candles(80, 10), type(block)(**least | ({"slow": 2} if "slow" in least else {}))
    for series in run(small, c).values():
        assert np.isfinite(series[-1])


@pytest.mark.parametrize("block", ALL, ids=KINDS)
@pytest.mark.parametrize("level", [2e-8, 0.1, 100.0, 1e6])
def test_flat_candles_without_volume_give_the_neutral_value(block: Indicator, level: float) -> None:
    n = 100
    c = {name: np.full(n, level) for name in ("open", "high", "low", "close")} | {"volume": np.zeros(n)}
    got = {name: series[-1] for name, series in run(block, c).items()}
    expected = {
        "rsi": {"value": 50.0},
        "stochastic": {"k": 50.0, "d": 50.0},
        "adx": {"adx": 0.0, "plus_di": 0.0, "minus_di": 0.0},
        "volume_stats": {"mean": 0.0, "ratio": 0.0, "class": 0.0},
        "true_range": {"value": 0.0},
        "atr": {"value": 0.0},
        "natr": {"value": 0.0},
        "donchian": {"upper": level, "mid": level, "lower": level},
    }.get(block.kind, {})
    assert expected == {name: got[name] for name in expected}
    if block.kind == "bollinger":
        assert got["percent_b"] == 0.5
        assert got["width"] == pytest.approx(0.0, abs=1e-12)
    if block.kind in ("sma", "ema", "wma", "rma"):
        assert got["value"] == pytest.approx(level, rel=1e-12)
    if block.kind == "pivots":
        assert np.isnan(list(got.values())).all()


@pytest.mark.parametrize("block", [Sma(period=7), Wma(period=7), Bollinger(period=7)], ids=lambda b: b.kind)
def test_sums_do_not_drift_after_an_extreme_value(block: Indicator) -> None:
    close = make_candles(400, 11)["close"]
    shaken = np.concatenate(([1e12] * 3, close))
    name = {"bollinger": "mid"}.get(block.kind, "value")
    np.testing.assert_allclose(
        run(block, {"close": shaken})[name][-300:], run(block, {"close": close})[name][-300:], rtol=1e-12
    )


@st.composite
def candle_columns(draw: st.DrawFn) -> Columns:
    """Draw up to 60 candles on a coarse grid, so that ties, flat candles and missing volume are common."""
    n = draw(st.integers(1, 60))
    grid = st.lists(st.integers(1, 12), min_size=4, max_size=4).map(sorted)
    rows = np.array(draw(st.lists(grid, min_size=n, max_size=n)), dtype=float) * draw(st.sampled_from([1e-7, 0.1, 1e4]))
    volume = np.array(draw(st.lists(st.sampled_from([0.0, 0.1, 3.0]), min_size=n, max_size=n)))
    return {"low": rows[:, 0], "open": rows[:, 1], "close": rows[:, 2], "high": rows[:, 3], "volume": volume}


SMALL = [
    Sma(period=3),
    Ema(period=3),
    Wma(period=3),
    Rma(period=3),
    Rsi(period=3),
    TrueRange(),
    Atr(period=3),
    Natr(period=3),
    Macd(fast=2, slow=4, signal=2),
    Bollinger(period=4),
    Stochastic(k=3, smooth_k=2, d=2),
    Adx(period=3),
    Donchian(period=3),
    VolumeStats(period=3),
    Pivots(k=1),
]


@settings(max_examples=40, deadline=None, derandomize=True)
@given(candle_columns())
def test_outputs_stay_in_their_range(c: Columns) -> None:
    slack = 1.0 + 1e-9
    top, bottom = float(c["high"].max()) * slack, float(c["low"].min()) / slack
    for block in SMALL:
        got = run(block, c)
        for series in got.values():
            assert not np.isinf(series).any()
        known = {name: series[np.isfinite(series)] for name, series in got.items()}
        if block.kind in ("sma", "ema", "wma", "rma", "donchian", "pivots"):
            prices = np.concatenate([series for name, series in known.items() if not name.endswith("age")])
            assert ((bottom <= prices) & (prices <= top)).all()
        if block.kind in ("rsi", "stochastic", "adx"):
            for series in known.values():
                assert ((series >= -1e-9) & (series <= 100.0 * slack)).all()
        if block.kind in ("true_range", "atr", "natr", "volume_stats"):
            assert all((series >= 0.0).all() for series in known.values())
