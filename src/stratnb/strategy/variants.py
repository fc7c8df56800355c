"""Variants: plans of one strategy with other values at some paths, each as if built from its own document."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from stratnb.errors import ConfigError
from stratnb.model import Market
from stratnb.strategy.build import build_plan
from stratnb.strategy.config import canonical
from stratnb.strategy.documents import LoadedStrategy, build_config
from stratnb.strategy.frames import Frame
from stratnb.strategy.memo import Memo
from stratnb.strategy.overrides import fitted
from stratnb.strategy.paths import lookup
from stratnb.strategy.placed import is_loose, is_scalar, spots_of
from stratnb.strategy.plan import Plan
from stratnb.strategy.reading import without_ignored

__all__ = ["Variants", "reasons"]

FRAMES = 64


class Variants:
    """Builds the plans of a strategy for other values at given paths of its document.

    `values[k]` goes to `paths[k]`, merged over `overrides` as an override is. Where only numbers and words change that
    are written in the document, the blocks and rules that they touch are read and checked again and the rest is taken
    over; everything else is built from its document. `market` is fixed, or found for a `kind` by `market_for`. `loaded`
    is what `build_config` gives for the document, the overrides, the symbol and the fixed market, if it is known.
    """

    def __init__(
        self,
        document: str | Path | Mapping[str, Any],
        paths: Sequence[str],
        *,
        symbol: str,
        base: str,
        market: Market | None = None,
        market_for: Callable[[str], Market] | None = None,
        overrides: Mapping[str, Any] | None = None,
        loaded: LoadedStrategy | None = None,
    ) -> None:
        self.document, self.paths, self.overrides = document, tuple(paths), dict(overrides or {})
        self.symbol, self.market, self.timeframe, self.market_for = symbol, market, base, market_for
        self.memo = Memo()
        self.loaded = self._load({}) if loaded is None else loaded
        self._frames: dict[str, Frame | None] = {}
        self._loose = [k for k, path in enumerate(self.paths) if is_loose(path, self.paths)]

    def patch(self, values: Sequence[Any]) -> dict[str, Any]:
        """Return the overrides that put the values in their places, over those of all variants."""
        patch = dict(zip(self.paths, values, strict=True))
        return self.overrides | fitted(patch, self.loaded.merged, self.loaded.complete)

    def plan(self, values: Sequence[Any]) -> Plan:
        """Return the plan for the values, or raise the `ConfigError` that building it from its document raises."""
        loose = [k for k in self._loose if is_scalar(values[k])]
        others = {str(k): value for k, value in enumerate(values) if k not in loose} if len(loose) < len(values) else {}
        key = canonical(others) if others else ""
        if key not in self._frames:
            if len(self._frames) >= FRAMES:
                self._frames.pop(next(iter(self._frames)))
            self._frames[key] = self._framed(values, loose)
        frame = self._frames[key]
        found = None if frame is None else frame.plan(values)
        return found or self._built(values)

    def _built(self, values: Sequence[Any]) -> Plan:
        """Return the plan from the whole document."""
        loaded = self._load(self.patch(values))
        return self._laid_out(loaded)

    def _laid_out(self, loaded: LoadedStrategy) -> Plan:
        return build_plan(loaded.config, self._market(loaded), base=self.timeframe, memo=self.memo)

    def _load(self, patch: Mapping[str, Any]) -> LoadedStrategy:
        overrides = {**self.overrides, **patch}
        return build_config(self.document, overrides=overrides, symbol=self.symbol, market=self.market)

    def _market(self, loaded: LoadedStrategy) -> Market:
        if self.market is not None:
            return self.market
        assert self.market_for is not None, "either is given"
        return self.market_for(loaded.config.market.kind)

    def _framed(self, values: Sequence[Any], loose: Sequence[int]) -> Frame | None:
        """Return a frame for all variants that differ in the loose places only, None where none can be made."""
        for loaded in self._alike(values, loose):
            document, _ = without_ignored(loaded.merged)
            spots = spots_of(document, self.paths, loose)
            if spots is not None:
                try:
                    plan = self._laid_out(loaded)
                except ConfigError:
                    continue
                return Frame(loaded, document, plan, spots, self.memo, base=self.timeframe, fixed=self.market)
        return None

    def _alike(self, values: Sequence[Any], loose: Sequence[int]) -> Iterator[LoadedStrategy]:
        """Yield valid strategies that differ from the one with the values in the loose places only."""
        if len(loose) == len(values):
            yield self.loaded
        own = [lookup(self.loaded.complete, path) for path in self.paths]
        usual = [o if k in loose and is_scalar(o) else v for k, (o, v) in enumerate(zip(own, values, strict=True))]
        for tried in (usual, values):
            with suppress(ConfigError):
                yield self._load(self.patch(tried))


def reasons(error: ConfigError) -> str:
    """Return why a variant was refused, on one line."""
    faults = [str(finding) for finding in error.findings if finding.severity == "error"]
    return "; ".join(faults) or (f"{error.message}; {error.hint}" if error.hint else error.message)
