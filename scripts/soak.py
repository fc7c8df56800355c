"""Kill engines for as long as it takes, and print kills, rate and faults as one JSON object.

    python scripts/soak.py [--kills 1000] [--seed 1] [--at-once 2] [--folder DIR]

Ends with 1 when anything was lost, doubled, or not as its twin's; the journals of faulty runs stay in the folder.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from importlib import import_module
from pathlib import Path

TESTS = Path(__file__).resolve().parent.parent / "tests"


def main() -> int:
    """Print the figures and return the exit code."""
    parser = argparse.ArgumentParser(description="Kill engines again and again and compare what is left.")
    parser.add_argument("--kills", type=int, default=1_000, help="how many")
    parser.add_argument("--seed", type=int, default=1, help="another seed kills at other points")
    parser.add_argument("--length", type=int, default=260, help="instants of a run")
    parser.add_argument("--at-once", type=int, default=2, help="engines at a time")
    parser.add_argument("--folder", type=Path, help="where the journals are made")
    given = parser.parse_args()
    folder = given.folder or Path(tempfile.mkdtemp(prefix="stratnb-soak-"))
    folder.mkdir(parents=True, exist_ok=True)
    sys.path.insert(0, str(TESTS))
    with import_module("trading_cases").registered():
        tally = import_module("crash_harness").torment(
            folder,
            kills=given.kills,
            least=given.kills,
            seconds=0.0,
            seed=given.seed,
            length=given.length,
            at_once=given.at_once,
        )
    told = {
        "kills": tally.kills,
        "runs": tally.runs,
        "seconds": round(tally.seconds, 1),
        "kills_per_s": round(tally.kills / tally.seconds, 2),
        "by_case": tally.by_case,
        "faults": tally.faults,
        "seed": given.seed,
        "folder": str(folder),
    }
    print(json.dumps(told, indent=2))
    return 1 if tally.faults else 0


if __name__ == "__main__":
    raise SystemExit(main())
