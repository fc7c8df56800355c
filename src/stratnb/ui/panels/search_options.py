"""How a space is searched: method, trials, seed, objective; and the question before a very large search."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

import ipywidgets as w

from stratnb.errors import ConfigError, Finding
from stratnb.research.batch import cores
from stratnb.research.measure import FIGURES
from stratnb.research.space import Space
from stratnb.research.sweep_memory import memory_faults
from stratnb.ui.controls import chip, dropdown, field, segment, show, styled
from stratnb.ui.format import count
from stratnb.ui.panels.backtest_draft import parse_number
from stratnb.ui.panels.backtest_rows import title_of

__all__ = ["SearchOptions"]

MANY: Final = 100_000
METHODS: Final = (("Grid", "grid"), ("Random", "random"), ("Optuna", "optuna"))


class SearchOptions(w.HBox):  # type: ignore[misc]
    """The fields; `changed` is called after each edit."""

    def __init__(self, changed: Callable[[], None]) -> None:
        self.method = segment([*METHODS], "grid", "Grid tries every combination; the others a number of them")
        self.trials = field("Trials", "200", value="200")
        self.seed = field("Seed", "0", value="0")
        self.objective = dropdown("Objective", [(title_of(name), name) for name in FIGURES], "sharpe")
        self.least = field("Least trades", "0")
        self.threads = field("Threads", "all cores")
        self.memory = field("Memory, MB", "1000", value="1000")
        self.least.tooltip = "A trial with fewer trades is kept, and never the best"
        self.memory.tooltip = "A search that would take more is refused before it runs"
        self.many = chip("More than 100,000", False, f"Allow searches of more than {count(MANY)} trials")
        fields = [self.method, self.trials, self.seed, self.objective, self.least, self.threads, self.memory, self.many]
        super().__init__(fields)
        styled(self, "sn-addrow")
        for box in self.children:
            box.observe(lambda _: self._touched(), "value")
        self._changed = changed
        self._lay()

    def _touched(self) -> None:
        self._lay()
        self._changed()

    def chosen(self) -> dict[str, Any]:
        """Return what the fields say."""
        return {
            "method": self.method.value,
            "trials": self.trials.value,
            "seed": self.seed.value,
            "objective": self.objective.value,
            "least": self.least.value,
            "threads": self.threads.value,
            "memory": self.memory.value,
            "many": bool(self.many.value),
        }

    def judge(
        self, space: Space, options: Mapping[str, Any], findings: list[Finding], candles: int = 0
    ) -> Space | None:
        """Return the space by method, trials and seed; what is wrong is added to the findings.

        Memory is judged for so many candles.
        """
        try:
            found = self.arguments(options)
        except ConfigError as error:
            findings.append(Finding("", error.code, error.message, error.value, error.hint))
            return None
        made = replace(space, method=found["method"], trials=found.get("trials"), seed=found["seed"])
        if made.method == "grid" and made.is_continuous:
            hint = "give a step, or choose Random"
            findings.append(Finding("", "range_continuous", "a grid needs values that can be counted", hint=hint))
            return None
        if made.count > MANY and not options["many"]:
            words = f"{count(made.count)} combinations are more than {count(MANY)}"
            hint = "switch More than 100,000 on, take larger steps, or choose Random"
            findings.append(Finding("", "space_large", words, value=made.count, hint=hint))
            return None
        heavy = memory_faults(made.count, candles, found.get("threads") or cores(), found.get("memory_mb"))
        findings += [replace(each, path="", hint=each.hint.replace("memory_mb", "Memory")) for each in heavy]
        return None if heavy else made

    def arguments(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """Return the arguments of the search; raises `ConfigError` for a text that is no number."""
        seed = parse_number(str(options["seed"]), "Seed", 0, 2**31 - 1)
        threads = parse_number(str(options["threads"]), "Threads", 1, 256)
        found = {"method": options["method"], "objective": options["objective"], "seed": int(seed or 0)}
        if options["method"] != "grid":
            trials = parse_number(str(options["trials"]), "Trials", 1, 10_000_000)
            found["trials"] = int(trials or 200)
        for name, text, what, most in (
            ("min_trades", options["least"], "Least trades", 1_000_000),
            ("memory_mb", options["memory"], "Memory", 1_000_000),
        ):
            value = parse_number(str(text), what, float(name == "memory_mb"), most)
            if value is not None:
                found[name] = int(value)
        if threads is not None:
            found["threads"] = int(threads)
        if options["many"]:
            found["max_trials"] = 10_000_000
        return found

    def _lay(self) -> None:
        show(self.trials, self.method.value != "grid")
        show(self.seed, self.method.value != "grid")
