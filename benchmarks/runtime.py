"""The figures of the running kit beside their targets, as one JSON object.

    python -m benchmarks.runtime [--quick] [PART ...]

Parts: replay, switch, size, churn, heartbeat, startup, chart, journal, observer. `--quick` shortens them all; its
figures say less.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from benchmarks.chart_updates import chart_updates
from benchmarks.churn import churn
from benchmarks.figure import Figures, at_most, noted
from benchmarks.heartbeat import heartbeat
from benchmarks.journal import journal_figures
from benchmarks.observing import observer_lag
from benchmarks.replaying import replay_speed
from benchmarks.startup import startup
from benchmarks.switching import orchestrator_size, switch_times

__all__ = ["PARTS", "main", "measure"]


def chart(*, updates: int = 200) -> Figures:
    """Return the p95 from kernel to browser and the kernel's share of a processor while streaming."""
    targets = {"chart_update": ("ms", 50.0), "chart_kernel_cpu": ("%", 5.0)}
    try:
        found = chart_updates(updates=updates)
    except ImportError as error:
        found = {"skipped": str(error)}
    if "skipped" in found:
        return {name: noted(found["skipped"], unit, f"<= {most:g}") for name, (unit, most) in targets.items()}
    sizes = {name: found[name] for name in ("candles", "hz", "updates_applied")}
    return {
        "chart_update": at_most(found["latency_ms"]["p95"], "ms", 50.0, **sizes),
        "chart_kernel_cpu": at_most(100.0 * found["kernel_cpu_share"], "%", 5.0),
    }


PARTS: dict[str, tuple[Callable[..., Figures], dict[str, Any]]] = {
    "replay": (replay_speed, {"candles": 5_000}),
    "switch": (switch_times, {"near": 50, "far": 10, "cold": 20}),
    "size": (orchestrator_size, {"count": 20}),
    "churn": (churn, {"cycles": 200}),
    "heartbeat": (heartbeat, {"seconds": 5.0}),
    "startup": (startup, {"candles": 2_000, "runs": 1}),
    "chart": (chart, {"updates": 50}),
    "journal": (
        journal_figures,
        {"intents": 100, "candles": 5_000, "events": 20_000, "seconds": 2.0, "instants": 40, "cycles": 600},
    ),
    "observer": (observer_lag, {"marks": 60}),
}


def measure(parts: Sequence[str] = (), *, quick: bool = False) -> dict[str, Any]:
    """Return the figures of some parts (all by default) with the machine they are of."""
    figures: Figures = {}
    began = time.perf_counter()
    for name in parts or PARTS:
        function, short = PARTS[name]
        print(f"{name} ...", file=sys.stderr, flush=True)
        figures |= function(**(short if quick else {}))
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processors": os.cpu_count(),
        "load": [round(load, 2) for load in os.getloadavg()] if hasattr(os, "getloadavg") else None,
        "quick": quick,
        "seconds": round(time.perf_counter() - began, 1),
        "ok": all(figure["ok"] is not False for figure in figures.values()),
        "figures": figures,
    }


def main(words: Sequence[str] | None = None) -> None:
    """Print the figures as JSON."""
    parser = argparse.ArgumentParser(description="Measure the kit and print the figures as JSON.")
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--quick", action="store_true", help="shorten everything")
    given = parser.parse_args(words)
    print(json.dumps(measure(given.parts, quick=given.quick), indent=2))


if __name__ == "__main__":
    main()
