"""How much memory a sweep takes, told before anything runs."""

from __future__ import annotations

from typing import Final

from stratnb.errors import Finding

__all__ = ["memory_faults", "memory_of"]

MB: Final = 1_000_000
BASE: Final = 8 * MB  # plans and tables of the trials at work
TRIAL: Final = 6_000  # the row of a trial, its values, and their copies while the table is put together
CANDLE: Final = 250  # the candles of each thread's columns, equity and days


def memory_of(trials: int, candles: int, threads: int = 1) -> int:
    """Return the bytes that a sweep of so many trials takes at most, beside the candles themselves.

    >>> memory_of(1_000, 100_000, threads=2) // MB
    64
    """
    return BASE + TRIAL * trials + CANDLE * candles * threads


def memory_faults(trials: int, candles: int, threads: int, memory_mb: float | None) -> list[Finding]:
    """Return that a sweep takes more than `memory_mb` (10^6 bytes), and how much; None sets no limit."""
    need = memory_of(trials, candles, threads) / MB
    if memory_mb is None or need <= memory_mb:
        return []
    words = f"{trials:,} trials on {candles:,} candles take about {need:,.0f} MB, {memory_mb:,.0f} MB are allowed"
    fit = int((memory_mb * MB - memory_of(0, candles, threads)) // TRIAL)
    hint = f"try {fit:,} trials, or raise memory_mb" if fit > 0 else "take fewer candles or threads, or raise memory_mb"
    return [Finding("memory_mb", "memory", words, need, hint)]
