"""From a configuration and a market to a plan: columns are named, equal blocks shared, settings laid out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from stratnb.blocks.analyzers import TrendDetector
from stratnb.blocks.base import Block, Exit, Filter, Input, Ref
from stratnb.blocks.exits import Breakeven, TakeProfit, Trailing, TrailingStart
from stratnb.blocks.indicators.volatility import Natr
from stratnb.blocks.rules import LocalMinute, TrendSource
from stratnb.errors import ConfigError, nearest
from stratnb.kernels.close import decide_candle, enter
from stratnb.kernels.drive import step_nodes
from stratnb.kernels.layout import (
    H_ANALYZER_LIST,
    H_ANALYZERS,
    H_BASE_MS,
    H_COUNTERS,
    H_DECIDE,
    H_ENTER,
    H_FILTER_LIST,
    H_FILTERS,
    H_FIRST_STOP,
    H_GROUPS,
    H_LISTS,
    H_NATR,
    H_NODES,
    H_ROLE_COLUMNS,
    H_ROW,
    H_SEGMENTS,
    H_STEP,
    H_TIMEFRAMES,
    H_X,
    HEAD_COLUMNS,
    PRIMARY,
    ROLES,
    W_CANDLE,
    W_GROUP,
    W_HEAD,
    W_HEADER,
    W_NODE,
)
from stratnb.kernels.levels import first_stop
from stratnb.model import TIMEFRAMES, Market, timeframe_ms
from stratnb.strategy.config import AnalyzerEntry, StrategyConfig
from stratnb.strategy.memo import Memo
from stratnb.strategy.plan import Floats, Ints, Node, Plan
from stratnb.strategy.settings import settings_row

__all__ = ["build_plan", "first_decision", "ordered_exits"]

SEGMENTS = (*ROLES, "filters", "sizing", "exits")
TREND_WEIGHTS = {"trend": 0.5, "trend2": 0.3, "context": 0.2}
EXIT_ORDER = ("stop_loss", "take_profit", "breakeven", "trailing", "time_exit", "signal_exit")
CANDLE_NAMES = HEAD_COLUMNS[:W_CANDLE]


class _Builder:
    """Collects nodes by segment while it resolves the inputs of blocks to columns."""

    def __init__(self, config: StrategyConfig, lengths: Mapping[str, int], memo: Memo) -> None:
        self.config = config
        self.memo = memo
        self.lengths = lengths
        self.columns: dict[str, int] = {name: k for k, name in enumerate(HEAD_COLUMNS)}
        self.width = W_HEAD
        self.segments: dict[str, list[Node]] = {name: [] for name in SEGMENTS}
        self.shared: dict[tuple[object, ...], Node] = {}
        self.warm: dict[int, int] = {}
        self.open: list[str] = []
        for role in ROLES[:PRIMARY]:
            if role in lengths:
                for name in CANDLE_NAMES:
                    self.columns[f"{role}.{name}"] = self.width
                    self.width += 1

    def place(
        self, block: Block, role: str, *, segment: str | None = None, inputs: Iterable[int] | None = None
    ) -> Node:
        """Put a block behind those it needs and return its node; an equal one is shared."""
        where, facts = segment or role, self.memo.facts(block)
        columns = tuple([self.resolve(item, role) for item in facts.inputs]) if inputs is None else tuple(inputs)
        key = (where, facts.key, columns)
        if segment is None and key in self.shared:
            return self.shared[key]
        needed = max([self.warm.get(column, 1) for column in columns[: facts.required]], default=1)
        node = Node(facts.block, role, columns, self.width, needed + facts.warmup - 1)
        for k in range(facts.outputs):
            self.warm[self.width + k] = node.warmup
        self.width += facts.outputs
        self.segments[where].append(node)
        self.shared[key] = node
        return node

    def resolve(self, item: Input, role: str) -> int:
        """Return the column of an input as seen from a role."""
        if isinstance(item, Ref):
            node = self.place(item.block, role)
            return node.out + (item.block.outputs.index(item.output) if item.output else 0)
        if item in CANDLE_NAMES and role != "primary":
            return self.columns[f"{role}.{item}"]
        if item.startswith("trend.") and item in ("trend.bias", "trend.strength"):
            return self.trend_source().out + (item == "trend.strength")
        if item.startswith("minute_of_week@"):
            return self.place(LocalMinute(zone=item.partition("@")[2]), "primary").out
        name, _, output = item.removeprefix("ind.").partition(".")
        if item not in self.columns and name in self.config.indicators:
            return self.indicator(name, output)
        if item not in self.columns:
            close = nearest(item, [*self.columns, *self.config.indicators])
            hint = f"did you mean {' or '.join(map(repr, close))}?" if close else "no such column"
            raise ConfigError("unknown_column", f"column {item!r} is not known", value=item, hint=hint)
        return self.columns[item]

    def indicator(self, name: str, output: str) -> int:
        """Place a named indicator of the document and return the column of one of its outputs."""
        if name in self.open:
            chain = " -> ".join([*self.open, name])
            raise ConfigError("cycle", f"indicators read each other: {chain}", value=name, hint="break the cycle")
        self.open.append(name)
        entry = self.config.indicators[name]
        node = self.place(entry.block, entry.timeframe)
        self.open.pop()
        outputs = entry.block.outputs
        self.columns.setdefault(f"ind.{name}", node.out)
        for k, word in enumerate(outputs):
            self.columns.setdefault(f"ind.{name}.{word}", node.out + k)
        if output and output not in outputs:
            raise ConfigError(
                "unknown_column",
                f"indicator {name!r} has no output {output!r}",
                value=output,
                hint=f"it has {', '.join(outputs)}",
            )
        return node.out + (outputs.index(output) if output else 0)

    def trend_source(self) -> Node:
        """Place one trend detector per higher role (the primary alone without any) and the block that weighs them."""
        roles = [role for role in TREND_WEIGHTS if role in self.lengths] or ["primary"]
        columns: list[int] = []
        for role in roles:
            detector = self.place(TrendDetector(), role)
            columns += [detector.out + detector.block.outputs.index(name) for name in ("bias", "strength")]
        names = tuple(f"{role}.{name}" for role in roles for name in ("bias", "strength"))
        weights = tuple(TREND_WEIGHTS.get(role, 1.0) for role in roles)
        node = self.place(TrendSource(columns=names, weights=weights), "primary", inputs=columns)
        self.columns["trend.bias"], self.columns["trend.strength"] = node.out, node.out + 1
        return node


def build_plan(config: StrategyConfig, market: Market, *, base: str | None = None, memo: Memo | None = None) -> Plan:
    """Lay out the blocks of a configuration for a market; `base` is the timeframe of the candles that will be fed.

    `memo` keeps what was asked of the blocks, for building many similar plans.

    Raises `ConfigError`: `timeframe_divides` when the fed candles cannot build the strategy's timeframes,
    `unknown_column`, `cycle`.
    """
    base_ms = timeframe_ms(base or config.timeframes.primary)
    lengths = _lengths(config, base_ms)
    memo = Memo() if memo is None else memo
    builder = _Builder(config, lengths, memo)
    for name in config.indicators:
        builder.indicator(name, "")
    analyzers = tuple(_place_analyzer(builder, k) for k in range(len(config.enabled_analyzers)))
    chosen = sorted((f for f in config.filters.items() if f[1].enabled), key=lambda item: type(item[1]).order)
    filters = tuple((name, block, builder.place(block, "primary", segment="filters")) for name, block in chosen)
    for name, _, node in filters:
        for k, word in enumerate(node.block.outputs):
            builder.columns[f"filter.{name}.{word}"] = node.out + k
    sizing = builder.place(config.sizing, "primary", segment="sizing")
    if config.execution.simulation.slippage_model == "volatility":
        _measure_volatility(builder)
    exits = ordered_exits(config)
    for name, block in exits:
        node = builder.place(block, "primary", segment="exits")
        builder.columns[f"exit.{name}.stop"] = node.out
    needed = [node for _, _, node in analyzers] + [node for _, block, node in filters if block.on_missing == "block"]
    warmup = first_decision(config, lengths, needed)
    weights = [config.enabled_analyzers[k].weight for k in range(len(analyzers))]
    settings = settings_row(config, market, base_ms=base_ms, warmup=warmup, weights=weights)
    nodes = tuple([node for segment in SEGMENTS for node in builder.segments[segment]])
    kernels = memo.prepared(nodes)
    code, params, size = _tables(builder, lengths, base_ms, settings, analyzers, filters)
    return Plan(
        config=config,
        market=market,
        base_ms=base_ms,
        code=code,
        params=params,
        memory_size=size,
        columns=builder.columns,
        nodes=nodes,
        analyzers=tuple((entry, raw) for entry, raw, _ in analyzers),
        filters=filters,
        exits=exits,
        sizing=sizing,
        warmup=warmup,
        code_hash=memo.code_hash(nodes),
        kernels=kernels,
    )


def _lengths(config: StrategyConfig, base_ms: int) -> dict[str, int]:
    """Return the length in ms of each role in use, checked against the candles that are fed."""
    lengths = {"primary": timeframe_ms(config.timeframes.primary)}
    lengths |= {str(role): timeframe_ms(name) for role, name in config.timeframes.higher().items()}
    base = _word(base_ms)
    for role, length in lengths.items():
        if length % base_ms:
            raise ConfigError(
                "timeframe_divides",
                f"timeframes.{role} of {config.name} is {_word(length)}: it cannot be built from {base} candles",
                value=base,
                hint=f"give candles that divide it, or override {_fitting(lengths, base_ms)}",
            )
    return lengths


def _fitting(lengths: Mapping[str, int], base_ms: int) -> str:
    """Return the overrides under which every role can be built and the roles rise; null where none is long enough."""
    found, primary, below = [], 0, 0
    for role, length in lengths.items():
        fit = [ms for ms in TIMEFRAMES.values() if ms >= length and ms > below and not ms % (primary or base_ms)]
        word = repr(_word(fit[0])) if fit else "null"
        primary, below = primary or (fit[0] if fit else base_ms), fit[0] if fit else below
        found += [f"timeframes.{role} with {word}"] if not fit or fit[0] != length else []
    return ", ".join(found)


def _word(length_ms: int) -> str:
    """Return a timeframe's name."""
    return next((name for name, ms in TIMEFRAMES.items() if ms == length_ms), f"{length_ms} ms")


def _measure_volatility(builder: _Builder) -> None:
    """Place a NATR on the primary timeframe unless there is one: its slippage is a multiple of it."""
    if all(node.block.kind != Natr.kind for node in builder.segments["primary"]):
        builder.place(Natr(), "primary")


def _place_analyzer(builder: _Builder, k: int) -> tuple[AnalyzerEntry, Node, Node]:
    """Place an analyzer and the common rule behind it; name their columns."""
    entry = builder.config.enabled_analyzers[k]
    raw = builder.place(entry.params, entry.timeframe)
    rule = builder.place(
        builder.memo.rule(entry.hold, entry.min_confidence, entry.max_confidence),
        entry.timeframe,
        inputs=(raw.out, raw.out + 1),
    )
    for j, word in enumerate(rule.block.outputs):
        builder.columns[f"an.{entry.name}.{word}"] = rule.out + j
    for j, word in enumerate(raw.block.outputs[2:], 2):
        builder.columns[f"an.{entry.name}.{word}"] = raw.out + j
    return entry, raw, rule


def ordered_exits(config: StrategyConfig) -> tuple[tuple[str, Exit], ...]:
    """Return the exits in stepping order, with the triggers that targets give to breakeven and trailing."""
    exits = dict(config.exits)
    for ladder in [block for block in exits.values() if isinstance(block, TakeProfit)]:
        for name, block in list(exits.items()):
            word = {Breakeven: "breakeven", Trailing: "trail"}.get(type(block))
            hits = [n for n, level in enumerate(ladder.levels, 1) if word in level.on_hit]
            if hits and isinstance(block, Breakeven):
                exits[name] = block.model_copy(update={"after_targets": hits[0], "at_profit": None})
            elif hits and isinstance(block, Trailing):
                exits[name] = block.model_copy(update={"start": TrailingStart(targets=hits[0])})
    rank = {kind: k for k, kind in enumerate(EXIT_ORDER)}
    return tuple(sorted(exits.items(), key=lambda item: rank.get(item[1].kind, len(rank))))


def first_decision(config: StrategyConfig, lengths: Mapping[str, int], needed: Iterable[Node]) -> int:
    """Return the primary candles before the first decision; `needed` are the nodes it waits for."""
    primary = lengths["primary"]
    return max([config.entry.min_candles, *(node.warmup * (lengths[node.role] // primary) for node in needed)])


def _tables(
    builder: _Builder,
    lengths: Mapping[str, int],
    base_ms: int,
    settings: Sequence[float],
    analyzers: Sequence[tuple[AnalyzerEntry, Node, Node]],
    filters: Sequence[tuple[str, Filter, Node]],
) -> tuple[Ints, Floats, int]:
    """Return the integer table, the parameters and the size of the memory."""
    nodes = [node for segment in SEGMENTS for node in builder.segments[segment]]
    scratch = builder.width
    groups = scratch + max([len(node.inputs) for node in nodes])
    counters = groups + W_GROUP * len(ROLES) + W_CANDLE + 2
    state = counters + len(nodes)
    records: list[int] = []
    lists: list[int] = []
    params = list(settings)
    lists_at = W_HEADER + W_NODE * len(nodes)
    for node in nodes:
        facts = builder.memo.facts(node.block)
        records += (
            builder.memo.addresses(facts.kernel)[0],
            len(node.inputs),
            facts.required,
            lists_at + len(lists),
            node.out,
            facts.outputs,
        )
        records += (state, facts.state_size, len(params), len(facts.p), facts.fill, facts.targets, facts.choices)
        lists += node.inputs
        params += facts.p
        state += facts.state_size
    header, at = [0] * W_HEADER, 0
    for k, segment in enumerate(SEGMENTS):
        header[H_SEGMENTS + 2 * k], header[H_SEGMENTS + 2 * k + 1] = at, at + len(builder.segments[segment])
        at += len(builder.segments[segment])
    header[H_NODES], header[H_LISTS], header[H_ROW] = W_HEADER, lists_at, builder.width
    header[H_COUNTERS], header[H_X], header[H_GROUPS], header[H_BASE_MS] = counters, scratch, groups, base_ms
    header[H_STEP], header[H_FIRST_STOP] = builder.memo.addresses(step_nodes, first_stop)
    header[H_ENTER], header[H_DECIDE] = builder.memo.addresses(enter, decide_candle)
    header[H_NATR] = next((node.out for node in builder.segments["primary"] if node.block.kind == "natr"), 0)
    for k, role in enumerate(ROLES):
        header[H_TIMEFRAMES + k] = lengths.get(role, 0)
        header[H_ROLE_COLUMNS + k] = builder.columns[f"{role}.open"] if role in lengths and role != "primary" else 0
    header[H_ANALYZERS], header[H_ANALYZER_LIST] = len(analyzers), lists_at + len(lists)
    lists += [rule.out for _, _, rule in analyzers]
    header[H_FILTERS], header[H_FILTER_LIST] = len(filters), lists_at + len(lists)
    for _, block, node in filters:
        lists += [node.out, int(block.on_missing == "allow")]
    return np.array(header + records + lists, np.int64), np.array(params), state
