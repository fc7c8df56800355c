"""A plan of the same composition as another one, with other numbers: laid out without placing its blocks again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from stratnb.blocks.base import Block, Exit, Ref
from stratnb.blocks.rules import TrendSource
from stratnb.kernels.layout import (
    H_ANALYZER_LIST,
    H_SEGMENTS,
    H_TIMEFRAMES,
    N_P,
    ROLES,
    S_MIN_CANDLES,
    SEG_EXITS,
    W_HEADER,
    W_NODE,
)
from stratnb.strategy.build import first_decision, ordered_exits
from stratnb.strategy.config import StrategyConfig
from stratnb.strategy.memo import MOST, Facts, Memo
from stratnb.strategy.placed import Spot
from stratnb.strategy.plan import Floats, Node, Plan
from stratnb.strategy.settings import settings_row

__all__ = ["BLOCKS", "Alike", "Change"]

BLOCKS = ("indicators", "analyzers", "filters", "sizing", "exits")


@dataclass(frozen=True, slots=True, eq=False)
class Change:
    """What becomes of a plan when one spot of its document is another.

    `facts` are those of nodes with another block, `p` their parameters with the places; `exits` are all in stepping
    order where there are others, `longer` are the candles that the blocks take more to warm up, added up.
    """

    facts: Mapping[int, Facts]
    exits: tuple[tuple[str, Exit], ...]
    p: tuple[tuple[int, int, Floats], ...]
    warms: bool
    longer: int


NOTHING = Change({}, (), (), False, 0)


class Alike:
    """Makes plans like a given one for configurations of which some blocks or sections have other values.

    It answers None where the composition could be another: where a block asks for other inputs or another size of
    memory, or where blocks become or cease to be equal and so are shared or not. The nodes of a spot are its own: what
    they become does not depend on the other spots, but for which blocks are equal.
    """

    def __init__(self, plan: Plan, memo: Memo) -> None:
        self.base, self.memo = plan, memo
        self.facts = [memo.facts(node.block) for node in plan.nodes]
        self.warmups = sum(facts.warmup for facts in self.facts)
        self.by_out = {node.out: k for k, node in enumerate(plan.nodes)}
        self.at = {out + j: k for out, k in self.by_out.items() for j in range(self.facts[k].outputs)}
        self.lengths = {role: int(plan.code[H_TIMEFRAMES + k]) for k, role in enumerate(ROLES)}
        start = int(plan.code[H_ANALYZER_LIST])
        self.raw = [self.by_out[node.out] for _, node in plan.analyzers]
        self.rules = [self.by_out[int(out)] for out in plan.code[start : start + len(plan.analyzers)]]
        self.vetoes = [self.by_out[node.out] for _, _, node in plan.filters]
        self.sizing = self.by_out[plan.sizing.out]
        self.users = Counter([k for _, _, k in self._roots(plan.config, plan.exits)])
        for k, facts in enumerate(self.facts):
            self.users.update(self._children(k, facts))
        self.peers = self._peers()
        self.first_p = [int(plan.code[W_HEADER + k * W_NODE + N_P]) for k in range(len(plan.nodes))]
        self.before = [
            [self.at[c] for c in node.inputs[: facts.required] if c in self.at]
            for node, facts in zip(plan.nodes, self.facts, strict=True)
        ]
        self._known: dict[tuple[int, Facts, int], Node] = {}

    def change(self, config: StrategyConfig, spot: Spot) -> Change | None:
        """Return what a configuration that differs from the base in one spot changes, or None; all exits are one."""
        section, base = spot[0], self.base
        exits = ordered_exits(config) if section == "exits" else base.exits
        if not self._same_names(config, exits, section):
            return None
        spot = ("exits", "") if section == "exits" else spot
        found: dict[int, Facts] = {}
        visits: Counter[int] = Counter()
        waiting = [(self.memo.facts(block), k) for own, block, k in self._roots(config, exits, section) if own == spot]
        while waiting:
            facts, k = waiting.pop()
            visits[k] += 1
            if k in found and found[k] is not facts:
                return None
            if k not in found:
                if not _alike(self.facts[k], facts):
                    return None
                found[k] = facts
                inputs = [item for item in facts.inputs if isinstance(item, Ref)]
                waiting += [
                    (self.memo.facts(i.block), c) for i, c in zip(inputs, self._children(k, facts), strict=True)
                ]
        changed = {k: facts for k, facts in found.items() if facts is not self.facts[k]}
        if any(visits[k] != self.users[k] for k in changed):
            return None
        if not changed and section != "exits":
            return NOTHING
        firsts = [(self.first_p[k], facts.p) for k, facts in changed.items()]
        p = tuple([(first, first + len(numbers), np.array(numbers)) for first, numbers in firsts])
        more = [facts.warmup - self.facts[k].warmup for k, facts in changed.items()]
        return Change(changed, exits if section == "exits" else (), p, any(more), sum(more))

    def kept(self, section: str, held: Any) -> Change | None:
        """Return the change of no block that another section without blocks makes; None where blocks follow from it."""
        old = self.base.config.execution.simulation.slippage_model
        return None if section == "execution" and held.simulation.slippage_model != old else NOTHING

    def numbers(self, config: StrategyConfig) -> Floats:
        """Return the parameters of the base with the settings of a configuration."""
        weights = [entry.weight for entry in config.enabled_analyzers]
        base = self.base
        settings = settings_row(config, base.market, base_ms=base.base_ms, warmup=base.warmup, weights=weights)
        params = base.params.copy()
        params[: len(settings)] = settings
        return params

    def plan(self, config: StrategyConfig, changes: Sequence[Change], numbers: Floats) -> Plan | None:
        """Return the plan of a configuration that differs from the base in the changes, or None.

        `numbers` are the parameters of the base with the settings of this configuration.
        """
        base = self.base
        changed = {k: facts for change in changes for k, facts in change.facts.items()}
        if self._meets(changed):
            return None
        exits = next((change.exits for change in changes if change.exits), base.exits)
        nodes = self._nodes(changed, any(change.warms for change in changes)) if changed else base.nodes
        analyzers = tuple([(e, nodes[k]) for e, k in zip(config.enabled_analyzers, self.raw, strict=True)])
        filters = tuple(
            [(f[0], config.filters[f[0]], nodes[k]) for f, k in zip(base.filters, self.vetoes, strict=True)]
        )
        waited = [node for _, block, node in filters if block.on_missing == "block"]
        warmup = first_decision(config, self.lengths, [*[nodes[k] for k in self.rules], *waited])
        params = numbers.copy()
        params[S_MIN_CANDLES] = warmup
        for change in changes:
            for first, stop, own in change.p:
                params[first:stop] = own
        return Plan(
            config=config,
            market=base.market,
            base_ms=base.base_ms,
            code=base.code,
            params=params,
            memory_size=base.memory_size,
            columns=base.columns,
            nodes=nodes,
            analyzers=analyzers,
            filters=filters,
            exits=exits,
            sizing=nodes[self.sizing],
            warmup=warmup,
            code_hash=base.code_hash,
            kernels=base.kernels,
        )

    def _roots(
        self, config: StrategyConfig, exits: Sequence[tuple[str, Block]], section: str = ""
    ) -> Iterator[tuple[Spot, Block, int]]:
        """Yield the blocks that the document names (in a section), with their spots and the places of their nodes."""
        if section in ("", "indicators"):
            for name, entry in config.indicators.items():
                yield ("indicators", name), entry.block, self.by_out[self.base.columns[f"ind.{name}"]]
        if section in ("", "analyzers"):
            enabled = [(n, one) for n, one in enumerate(config.analyzers) if one.enabled]
            for (n, one), raw, rule in zip(enabled, self.raw, self.rules, strict=True):
                yield ("analyzers", n), one.params, raw
                yield ("analyzers", n), self.memo.rule(one.hold, one.min_confidence, one.max_confidence), rule
        if section in ("", "filters"):
            for (name, _, _), k in zip(self.base.filters, self.vetoes, strict=True):
                yield ("filters", name), config.filters[name], k
        if section in ("", "sizing"):
            yield ("sizing", ""), config.sizing, self.sizing
        if section in ("", "exits"):
            first = int(self.base.code[H_SEGMENTS + 2 * SEG_EXITS])
            for k, (_, block) in enumerate(exits, first):
                yield ("exits", ""), block, k

    def _children(self, k: int, facts: Facts) -> Iterator[int]:
        """Yield the nodes that a node uses because it asks for a block, not by the name of a column."""
        columns = self.base.nodes[k].inputs
        if isinstance(facts.block, TrendSource):
            yield from [self.at[column] for column in columns]
        for item, column in zip(facts.inputs, columns, strict=False):
            if isinstance(item, Ref):
                yield self.at[column]

    def _peers(self) -> dict[int, list[int]]:
        """Return the nodes that would be one if their blocks were equal, by node."""
        groups: dict[object, list[int]] = {}
        for k, node in enumerate(self.base.nodes[: int(self.base.code[H_SEGMENTS + 2 * len(ROLES)])]):
            groups.setdefault((node.role, type(node.block), node.inputs), []).append(k)
        return {k: group for group in groups.values() if len(group) > 1 for k in group}

    def _meets(self, changed: Mapping[int, Facts]) -> bool:
        """Tell whether a changed block is equal to another one that it would be shared with."""
        for k in changed:
            if k in self.peers:
                keys = [changed.get(j, self.facts[j]).key for j in self.peers[k]]
                if len(set(keys)) != len(keys):
                    return True
        return False

    def _same_names(self, config: StrategyConfig, exits: Sequence[tuple[str, Block]], section: str) -> bool:
        """Tell whether what stands in the code beside the blocks' numbers is that of the base."""
        base = self.base.config
        if section == "indicators":
            old, new = base.indicators, config.indicators
            return [(n, e.timeframe) for n, e in old.items()] == [(n, e.timeframe) for n, e in new.items()]
        if section == "analyzers":
            was_, now_ = base.analyzers, config.analyzers
            return [(e.name, e.enabled, e.timeframe) for e in was_] == [(e.name, e.enabled, e.timeframe) for e in now_]
        if section == "filters":
            was, now = base.filters.items(), config.filters.items()
            return [(n, f.enabled, f.on_missing) for n, f in was] == [(n, f.enabled, f.on_missing) for n, f in now]
        return section != "exits" or [name for name, _ in exits] == [name for name, _ in self.base.exits]

    def _nodes(self, changed: Mapping[int, Facts], warms: bool) -> tuple[Node, ...]:
        """Return the nodes with the changed blocks and the warm-ups that follow."""
        nodes = list(self.base.nodes)
        for k, facts in changed.items():
            nodes[k] = self._node(k, facts, nodes[k].warmup)
        stale = set(changed) if warms else set()
        for k in range(min(stale), len(nodes)) if stale else ():
            if k in stale or not stale.isdisjoint(self.before[k]):
                facts = changed.get(k, self.facts[k])
                warmup = max([nodes[j].warmup for j in self.before[k]], default=1) + facts.warmup - 1
                if warmup != nodes[k].warmup:
                    stale.add(k)
                    nodes[k] = self._node(k, facts, warmup)
        return tuple(nodes)

    def _node(self, k: int, facts: Facts, warmup: int) -> Node:
        """Return the node in place k with a block and a warm-up."""
        key = (k, facts, warmup)
        node = self._known.get(key)
        if node is None:
            if len(self._known) >= MOST:
                self._known.clear()
            old = self.base.nodes[k]
            node = self._known[key] = Node(facts.block, old.role, old.inputs, old.out, warmup)
        return node


def _alike(old: Facts, new: Facts) -> bool:
    """Tell whether one block could stand in the place of another but for its numbers."""
    if new is old:
        return True
    shapes = [(f.key[0], f.required, f.outputs, f.state_size, len(f.p), f.targets, len(f.inputs)) for f in (old, new)]
    return shapes[0] == shapes[1] and all(
        a.output == b.output if isinstance(a, Ref) and isinstance(b, Ref) else a == b
        for a, b in zip(old.inputs, new.inputs, strict=True)
    )
