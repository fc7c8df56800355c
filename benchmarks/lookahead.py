"""How much of the catalogue of leaks the look-ahead proof finds, and how much of what is honest it accuses.

`python -m benchmarks.lookahead [--candles 900] [--cuts 24]` prints JSON; the catalogue is `tests/leaky.py`.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from benchmarks.figure import Figures, at_least, at_most
from stratnb.blocks.base import ROLES, kinds
from stratnb.market_data import synthetic_market
from stratnb.research.lookahead import lookahead
from stratnb.strategy.documents import library

__all__ = ["shares"]

FINE = {"timeframes": {"primary": "1m", "trend": "15m", "entry": None}}
NEEDED: dict[str, dict[str, Any]] = {
    "take_profit": {"levels": [{"at": 0.003, "close": 0.5}, {"at": 0.006, "close": 0.5}]},
    "time_exit": {"max_candles": 9},
    "breakeven": {"at_profit": 0.002},
}


def shares(*, candles: int = 900, cuts: int = 24) -> Figures:
    """Return the share of leaks that is caught, and the shares of honest things that are accused."""
    leaky = _catalogue()
    caught = {name: not lookahead(thing, leaky.CANDLES, cuts=cuts).ok for name, thing in leaky.LEAKY.items()}
    accused = {name: not lookahead(thing, leaky.CANDLES, cuts=cuts).ok for name, thing in leaky.HONEST.items()}
    market = synthetic_market(["SOL/USDT"], candles=candles, seed=5)[0]
    blocks = {}
    for role in ROLES:
        for kind, cls in sorted(kinds(role).items()):
            block = cls(**NEEDED.get(kind, {}))
            blocks[f"{role} {kind}"] = not lookahead(block, market, cuts=cuts).ok
    names = {name: not lookahead(name, market, cuts=cuts, overrides=FINE).ok for name in library()}
    return {
        "caught": at_least(_share(caught), "%", 100.0, of=len(caught), missed=_names(caught, False)),
        "accused_honest": at_most(_share(accused), "%", 0.0, of=len(accused), accused=_names(accused, True)),
        "accused_blocks": at_most(_share(blocks), "%", 0.0, of=len(blocks), accused=_names(blocks, True)),
        "accused_strategies": at_most(_share(names), "%", 0.0, of=len(names), accused=_names(names, True)),
    }


def _catalogue() -> Any:
    tests = str(Path(__file__).parents[1] / "tests")
    sys.path[:0] = [] if tests in sys.path else [tests]
    import leaky

    return leaky


def _share(found: dict[str, bool]) -> float:
    return 100.0 * sum(found.values()) / len(found)


def _names(found: dict[str, bool], wanted: bool) -> list[str]:
    return [name for name, value in found.items() if value is wanted]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--candles", type=int, default=900)
    parser.add_argument("--cuts", type=int, default=24)
    print(json.dumps(shares(**vars(parser.parse_args())), indent=2))
