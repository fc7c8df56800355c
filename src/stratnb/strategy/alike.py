"""A plan of the same composition as another one, with other numbers: laid out without placing its blocks again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence

from stratnb.blocks.base import Block, Ref
from stratnb.blocks.rules import TrendSource
from stratnb.kernels.layout import (
    H_ANALYZER_LIST,
    H_SEGMENTS,
    H_TIMEFRAMES,
    N_P,
    ROLES,
    SEG_EXITS,
    W_HEADER,
    W_NODE,
)
from stratnb.strategy.build import first_decision, ordered_exits
from stratnb.strategy.config import StrategyConfig
from stratnb.strategy.memo import Facts, Memo
from stratnb.strategy.plan import Floats, Node, Plan
from stratnb.strategy.settings import settings_row

__all__ = ["Alike"]

NUMBERS = frozenset({"entry", "risk", "execution", "capital", "sizing"})


class Alike:
    """Makes plans like a given one for configurations of which some blocks or sections have other values.

    It answers None where the composition could be another: where a block asks for other inputs or another size of
    memory, or where blocks become or cease to be equal and so are shared or not.
    """

    def __init__(self, plan: Plan, memo: Memo) -> None:
        self.base, self.memo = plan, memo
        self.facts = [memo.facts(node.block) for node in plan.nodes]
        self.by_out = {node.out: k for k, node in enumerate(plan.nodes)}
        self.at = {out + j: k for out, k in self.by_out.items() for j in range(self.facts[k].outputs)}
        self.lengths = {role: int(plan.code[H_TIMEFRAMES + k]) for k, role in enumerate(ROLES)}
        start = int(plan.code[H_ANALYZER_LIST])
        self.raw = [self.by_out[node.out] for _, node in plan.analyzers]
        self.rules = [self.by_out[int(out)] for out in plan.code[start : start + len(plan.analyzers)]]
        self.users = Counter([k for _, k in self._roots(plan.config, plan.exits)])
        for k, facts in enumerate(self.facts):
            self.users.update(self._children(k, facts))
        self.peers = self._peers()
        self.first_p = [int(plan.code[W_HEADER + k * W_NODE + N_P]) for k in range(len(plan.nodes))]

    def plan(self, config: StrategyConfig, touched: Collection[str]) -> Plan | None:
        """Return the plan of a configuration that differs from the base in the touched sections, or None."""
        base = self.base
        exits = ordered_exits(config) if "exits" in touched else base.exits
        changed = self._changed(config, exits, touched)
        if changed is None:
            return None
        nodes = self._nodes(changed)
        analyzers = tuple([(e, nodes[k]) for e, k in zip(config.enabled_analyzers, self.raw, strict=True)])
        filters = tuple([(name, config.filters[name], nodes[self.by_out[n.out]]) for name, _, n in base.filters])
        warmup = base.warmup
        if nodes is not base.nodes or "entry" in touched:
            rules = [nodes[k] for k in self.rules]
            waited = [node for _, block, node in filters if block.on_missing == "block"]
            warmup = first_decision(config, self.lengths, rules + waited)
        return Plan(
            config=config,
            market=base.market,
            base_ms=base.base_ms,
            code=base.code,
            params=self._params(config, changed, warmup, touched),
            memory_size=base.memory_size,
            columns=base.columns,
            nodes=nodes,
            analyzers=analyzers,
            filters=filters,
            exits=exits,
            sizing=nodes[self.by_out[base.sizing.out]],
            warmup=warmup,
            code_hash=base.code_hash,
            kernels=base.kernels,
        )

    def _roots(
        self, config: StrategyConfig, exits: Sequence[tuple[str, Block]], touched: Collection[str] | None = None
    ) -> Iterator[tuple[Block, int]]:
        """Yield the blocks that the document names, with the places of their nodes."""
        if touched is None or "indicators" in touched:
            for name, entry in config.indicators.items():
                yield entry.block, self.by_out[self.base.columns[f"ind.{name}"]]
        if touched is None or "analyzers" in touched:
            for one, raw, rule in zip(config.enabled_analyzers, self.raw, self.rules, strict=True):
                yield one.params, raw
                yield self.memo.rule(one.hold, one.min_confidence, one.max_confidence), rule
        if touched is None or "filters" in touched:
            for name, _, node in self.base.filters:
                yield config.filters[name], self.by_out[node.out]
        if touched is None or "sizing" in touched:
            yield config.sizing, self.by_out[self.base.sizing.out]
        if touched is None or "exits" in touched:
            first = int(self.base.code[H_SEGMENTS + 2 * SEG_EXITS])
            for k, (_, block) in enumerate(exits, first):
                yield block, k

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

    def _changed(
        self, config: StrategyConfig, exits: Sequence[tuple[str, Block]], touched: Collection[str]
    ) -> dict[int, Facts] | None:
        """Return the nodes with another block, or None where the composition could be another."""
        if not self._same_names(config, exits, touched):
            return None
        found: dict[int, Facts] = {}
        visits: Counter[int] = Counter()
        waiting = [(self.memo.facts(block), k) for block, k in self._roots(config, exits, touched)]
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
        for k in changed:
            keys = [found.get(j, self.facts[j]).key for j in self.peers.get(k, ())]
            if visits[k] != self.users[k] or len(set(keys)) != len(keys):
                return None
        return changed

    def _same_names(self, config: StrategyConfig, exits: Sequence[tuple[str, Block]], touched: Collection[str]) -> bool:
        """Tell whether what stands in the code beside the blocks' numbers is that of the base."""
        base = self.base.config
        if "indicators" in touched:
            old, new = base.indicators, config.indicators
            if [(n, e.timeframe) for n, e in old.items()] != [(n, e.timeframe) for n, e in new.items()]:
                return False
        if "analyzers" in touched:
            old_, new_ = base.enabled_analyzers, config.enabled_analyzers
            if [(e.name, e.timeframe) for e in old_] != [(e.name, e.timeframe) for e in new_]:
                return False
        if "filters" in touched:
            was, now = base.filters.items(), config.filters.items()
            if [(n, f.enabled, f.on_missing) for n, f in was] != [(n, f.enabled, f.on_missing) for n, f in now]:
                return False
        return "exits" not in touched or [name for name, _ in exits] == [name for name, _ in self.base.exits]

    def _nodes(self, changed: dict[int, Facts]) -> tuple[Node, ...]:
        """Return the nodes with the changed blocks and the warm-ups that follow."""
        if not changed:
            return self.base.nodes
        nodes = list(self.base.nodes)
        for k, facts in changed.items():
            old = nodes[k]
            nodes[k] = Node(facts.block, old.role, old.inputs, old.out, old.warmup)
        if any(facts.warmup != self.facts[k].warmup for k, facts in changed.items()):
            for k, node in enumerate(nodes):
                facts = changed.get(k, self.facts[k])
                before = [nodes[self.at[c]].warmup for c in node.inputs[: facts.required] if c in self.at]
                warmup = max(before, default=1) + facts.warmup - 1
                if warmup != node.warmup:
                    nodes[k] = Node(node.block, node.role, node.inputs, node.out, warmup)
        return tuple(nodes)

    def _params(
        self, config: StrategyConfig, changed: dict[int, Facts], warmup: int, touched: Collection[str]
    ) -> Floats:
        params = self.base.params.copy()
        if warmup != self.base.warmup or "analyzers" in touched or not NUMBERS.isdisjoint(touched):
            weights = [entry.weight for entry in config.enabled_analyzers]
            settings = settings_row(config, self.base.market, warmup=warmup, weights=weights)
            params[: len(settings)] = settings
        for k, facts in changed.items():
            first = self.first_p[k]
            params[first : first + len(facts.p)] = facts.p
        return params


def _alike(old: Facts, new: Facts) -> bool:
    """Tell whether one block could stand in the place of another but for its numbers."""
    if new is old:
        return True
    shapes = [(f.key[0], f.required, f.outputs, f.state_size, len(f.p), f.targets, len(f.inputs)) for f in (old, new)]
    return shapes[0] == shapes[1] and all(
        a.output == b.output if isinstance(a, Ref) and isinstance(b, Ref) else a == b
        for a, b in zip(old.inputs, new.inputs, strict=True)
    )
