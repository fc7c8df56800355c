"""A plan: the blocks of one strategy in their order, laid out as flat tables for the kernels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from stratnb.blocks.base import Block, Exit, Filter
from stratnb.errors import ConfigError, nearest
from stratnb.kernels.jit import Kernel, PythonKernel
from stratnb.kernels.layout import (
    ACTIONS,
    DECISION_REASONS,
    H_ANALYZER_LIST,
    H_ANALYZERS,
    H_ROW,
    REASON_ADOPTED,
    REASON_END,
    REASON_ENTRY,
    REASON_EXIT,
    REASON_KILL,
    REASON_LIQUIDATION,
    REASON_MANUAL,
    REASON_OVERFILL,
    REASON_RISK,
    REASON_SWITCH,
    REASON_TARGET,
    REASON_TRANSFER,
    W_DECISION,
    Z_FILTER,
)
from stratnb.model import Market, timeframe_ms
from stratnb.strategy.config import AnalyzerEntry, StrategyConfig

__all__ = ["Node", "Plan"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

FILL_REASONS = {
    REASON_ENTRY: "entry",
    REASON_MANUAL: "manual",
    REASON_KILL: "kill_switch",
    REASON_RISK: "risk",
    REASON_SWITCH: "switch_close",
    REASON_TRANSFER: "transfer",
    REASON_ADOPTED: "adopted_stop",
    REASON_END: "end_of_data",
    REASON_LIQUIDATION: "liquidation",
    REASON_OVERFILL: "overfill",
}


@dataclass(frozen=True, slots=True)
class Node:
    """A block in place: its input columns, its first output column and its total warm-up in role candles."""

    block: Block
    role: str
    inputs: tuple[int, ...]
    out: int
    warmup: int


@dataclass(frozen=True, slots=True)
class Plan:
    """What the kernels run for one strategy: `code` (int64), `params` and the size of its memory (float64).

    `columns` maps the names of `blocks` (`close`, `ind.fast`, `an.level.support`, `signal.score`, ...) to columns of
    the row. The kernels called by address are kept alive in `kernels`.
    """

    config: StrategyConfig
    market: Market
    base_ms: int
    code: Ints
    params: Floats
    memory_size: int
    columns: Mapping[str, int]
    nodes: tuple[Node, ...]
    analyzers: tuple[tuple[AnalyzerEntry, Node], ...]
    filters: tuple[tuple[str, Filter, Node], ...]
    exits: tuple[tuple[str, Exit], ...]
    sizing: Node
    warmup: int
    code_hash: str
    kernels: tuple[Kernel[..., None], ...] = field(repr=False)

    def memory(self) -> Floats:
        """Return fresh memory, as before the first candle: columns are NaN, but for the signals, which are none."""
        memory = np.zeros(self.memory_size)
        memory[: self.code[H_ROW]] = np.nan
        start = self.code[H_ANALYZER_LIST]
        for column in self.code[start : start + self.code[H_ANALYZERS]]:
            memory[column : column + 3] = 0.0
        return memory

    @property
    def in_python(self) -> bool:
        """Return whether a block of it is stepped in plain Python."""
        return any(isinstance(kernel, PythonKernel) for kernel in self.kernels)

    @property
    def decision_width(self) -> int:
        """Return the length of a decision row."""
        return W_DECISION + 3 * len(self.analyzers) + 5 * len(self.filters)

    @property
    def primary_ms(self) -> int:
        """Return the length of a primary candle in milliseconds."""
        return timeframe_ms(self.config.timeframes.primary)

    def column(self, name: str) -> int:
        """Return the column of a name, or raise `ConfigError` with near matches."""
        if name not in self.columns:
            close = nearest(name, self.columns)
            raise ConfigError(
                "unknown_column",
                f"column {name!r} is not known to {self.config.name}",
                value=name,
                hint=f"did you mean {' or '.join(map(repr, close))}?" if close else "see plan.columns",
            )
        return self.columns[name]

    def reason(self, code: float) -> str:
        """Return the word for a decision's reason code; filters by their name."""
        number = int(code)
        if number >= Z_FILTER:
            return self.filters[number - Z_FILTER][0]
        return DECISION_REASONS[number]

    def fill_reason(self, code: float) -> str:
        """Return the word for a fill's reason code."""
        number = int(code)
        if number >= REASON_EXIT:
            name, block = self.exits[number - REASON_EXIT]
            return type(block).reason or name
        return FILL_REASONS[number] if number in FILL_REASONS else f"target_{number - REASON_TARGET}"

    @staticmethod
    def action(code: float) -> str:
        """Return the word for a decision's action code."""
        return ACTIONS[int(code)]

    def counts(self, counts: Sequence[float]) -> dict[str, int]:
        """Return the reason counts that are not zero, by word."""
        return {self.reason(k): int(n) for k, n in enumerate(counts) if n}
