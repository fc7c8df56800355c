"""What a plan asks of its blocks, kept between plans that are built of the same ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from stratnb.blocks.base import Block, Exit, Input
from stratnb.blocks.rules import SignalRule
from stratnb.kernels import loop
from stratnb.kernels.beside import prepare
from stratnb.kernels.jit import Kernel
from stratnb.kernels.layout import FILL_NAN, FILL_ZERO
from stratnb.strategy.fingerprint import code_hash
from stratnb.strategy.plan import Node

__all__ = ["Facts", "Memo"]

MOST = 20_000
CHOICES_MOST = 62


@dataclass(frozen=True, slots=True, eq=False)
class Facts:
    """One block and its answers; `key` is equal for equal blocks, `fill` what its outputs are before a step.

    `choices` has a bit for each of `p` that is one of a few values.
    """

    block: Block
    key: tuple[type[Block], str]
    inputs: tuple[Input, ...]
    required: int
    warmup: int
    outputs: int
    state_size: int
    p: tuple[float, ...]
    choices: int
    targets: int
    fill: int

    @property
    def kernel(self) -> Kernel[..., None]:
        """Return the compiled step."""
        return type(self.block).step


class Memo:
    """The facts of blocks, the addresses of kernels and the hashes of code that were asked for before.

    A kernel's address holds for the life of its code, which the plans keep. Equal blocks have one `Facts`, so a plan
    may hold an equal block in place of the one of its document.
    """

    def __init__(self) -> None:
        self._by_object: dict[int, tuple[Block, Facts]] = {}
        self._by_key: dict[tuple[type[Block], str], Facts] = {}
        self._rules: dict[tuple[int, float, float], SignalRule] = {}
        self._addresses: dict[Kernel[..., Any], int] = {}
        self._hashes: dict[frozenset[type[Block]], str] = {}
        self._ready: set[Kernel[..., Any]] = set()

    def facts(self, block: Block) -> Facts:
        """Return the facts of a block."""
        known = self._by_object.get(id(block))
        if known is not None:
            return known[1]
        if len(self._by_object) >= MOST:
            self._by_object.clear()
            self._by_key.clear()
        key = (type(block), block.model_dump_json())
        facts = self._by_key.get(key)
        if facts is None:
            facts = self._by_key[key] = _asked(block, key)
            self._by_object[id(facts.block)] = (facts.block, facts)
        self._by_object[id(block)] = (block, facts)
        return facts

    def rule(self, hold: int, low: float, high: float) -> SignalRule:
        """Return the common rule behind an analyzer."""
        key = (hold, low, high)
        if key not in self._rules:
            self._rules[key] = SignalRule(hold=hold, min_confidence=low, max_confidence=high)
        return self._rules[key]

    def addresses(self, *kernels: Kernel[..., Any]) -> list[int]:
        """Return the addresses of compiled kernels."""
        for kernel in kernels:
            if kernel not in self._addresses:
                self._addresses[kernel] = kernel.address()
        return [self._addresses[kernel] for kernel in kernels]

    def prepared(self, nodes: Sequence[Node]) -> tuple[Kernel[..., None], ...]:
        """Return the kernels of nodes, compiled like those of the loop."""
        kernels = tuple([type(node.block).step for node in nodes])
        if not self._ready.issuperset(kernels):
            prepare([*loop.EVERY, *kernels])
            self._ready.update(kernels)
        return kernels

    def code_hash(self, nodes: Sequence[Node]) -> str:
        """Return the hash of the code of the blocks of nodes."""
        key = frozenset([type(node.block) for node in nodes])
        if key not in self._hashes:
            self._hashes[key] = code_hash([node.block for node in nodes])
        return self._hashes[key]


def _asked(block: Block, key: tuple[type[Block], str]) -> Facts:
    """Return the facts of a block that was not asked before."""
    return Facts(
        block=block,
        key=key,
        inputs=tuple(block.inputs()),
        required=block.required(),
        warmup=block.warmup(),
        outputs=len(block.outputs),
        state_size=block.state_size(),
        p=tuple(block.p()),
        choices=sum(1 << j for j in block.choices() if j < CHOICES_MOST),
        targets=block.target_count() if isinstance(block, Exit) else 0,
        fill=FILL_ZERO if isinstance(block, SignalRule) else FILL_NAN,
    )
