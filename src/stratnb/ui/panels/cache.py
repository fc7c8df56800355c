"""P3, the strategy cache: its statistics, its entries from least to most recent, and what a smaller one would lose."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any, ClassVar

import ipywidgets as w
import pandas as pd

from stratnb.ui.controls import Confirm, btn, show, styled, text
from stratnb.ui.format import age, count, megabytes, millis, share, tag
from stratnb.ui.panels.acting import ActingPanel
from stratnb.ui.panels.cache_times import COLUMNS, histogram
from stratnb.ui.widgets import Table
from stratnb.view import CacheEntryView, CacheView, EngineView

__all__ = ["CachePanel", "evicted", "figures", "row", "stayed"]

_COLUMNS = [
    {"key": "i", "label": "#", "align": "r", "head": False},
    {"key": "name", "label": "Entry", "cls": "is-wide is-clip"},
    {"key": "state", "label": "State", "cls": "is-p3"},
    {"key": "age", "label": "Age", "align": "r"},
    {"key": "idle", "label": "Idle", "align": "r"},
    {"key": "accesses", "label": "Used", "align": "r", "title": "How often it was looked up"},
    {"key": "size", "label": "Memory", "align": "r"},
    {"key": "pins", "label": "Pins"},
    {"key": "act", "label": "Actions", "sort": False, "hide": True, "cls": "is-acts"},
]


def figures(cache: CacheView, history: list[float]) -> list[dict[str, Any]]:
    """Return every statistic of the cache; the hit rate comes with the line of its recent values."""
    rate: dict[str, Any] = {"t": share(cache.hit_rate)}
    rate |= {"sub": "no lookup yet"} if cache.hit_rate is None else {"spark": history} if len(history) > 1 else {}
    if len(history) > 1:
        rate["title"] = f"The line: the rate since it was reset, from {share(history[0])} to {share(history[-1])}"
    over = f", {cache.over_capacity} over" if cache.over_capacity else ""
    parts = {
        "size": ("Entries", {"t": f"{cache.size} of {cache.capacity}", "sub": f"{cache.pinned} pinned{over}"}),
        "rate": ("Hit rate", rate),
        "hits": ("Hits", count(cache.hits)),
        "misses": ("Misses", count(cache.misses)),
        "joins": ("Joins", {"t": count(cache.joins), "title": "Callers who waited for a creation in flight"}),
        "created": ("Created", {"t": count(cache.creations), "sub": _failed(cache.creation_failures)}),
        "evicted": ("Evicted", {"t": count(cache.evictions), "sub": _reasons(cache.evictions_by_reason)}),
        "creation": ("Creation p50 / p95", _times(cache.creation_ms)),
        "switch": ("Switch p50 / p95", _times(cache.switch_ms)),
        "memory": ("Memory", megabytes(cache.resident_bytes)),
    }
    return [{"id": key, "label": label, "v": value, "pri": 1} for key, (label, value) in parts.items()]


def evicted(cache: CacheView, capacity: int) -> tuple[str, ...]:
    """Return who a cache of that capacity would evict now: the least recent ones without a pin."""
    surplus = cache.size - capacity
    return tuple(entry.strategy_id for entry in cache.entries if not entry.pinned)[: max(surplus, 0)]


def row(entry: CacheEntryView, rank: int, *, doomed: bool) -> dict[str, Any]:
    """Return the row of one entry; rank 1 is the least recent."""
    why = ", ".join(entry.pin_reasons)
    pin: dict[str, Any] = {"t": ""}
    if entry.pinned:
        pin = {
            "chips": [
                tag(reason.replace("_", " ").capitalize(), "accent", title=f"Pinned by: {why}")
                for reason in entry.pin_reasons
            ]
        }
    elif doomed:
        pin = {"chips": [tag("Evicts next", "warn", title="A smaller cache loses this one")]}
    own = "user" in entry.pin_reasons
    name = entry.strategy_id
    push = {
        "a": "unpin" if own else "pin",
        "t": "Unpin" if own else "Pin",
        "label": f"{'Unpin' if own else 'Pin'} {name}",
    }
    drop = {
        "a": "evict",
        "t": "Evict",
        "kind": "quiet",
        "label": f"Evict {name}" + (f": pinned ({why})" if why else ""),
    }
    return {
        "id": name,
        "cls": "is-evict" if doomed else "",
        "i": {"t": str(rank), "n": rank},
        "name": {"t": name.removesuffix("#main"), "title": name},
        "state": entry.state.capitalize(),
        "age": {"t": age(entry.age_s), "n": entry.age_s},
        "idle": {"t": age(entry.idle_s), "n": entry.idle_s},
        "accesses": {"t": count(entry.accesses), "n": entry.accesses},
        "size": {"t": megabytes(entry.bytes), "n": entry.bytes},
        "pins": pin,
        "act": {"acts": [push, drop]},
    }


def _times(ms: Mapping[str, float | None]) -> dict[str, Any]:
    if ms.get("p50") is None:
        return {"t": "n/a", "sub": "none yet"}
    text = f"{millis(ms.get('p50')).removesuffix(' ms')} / {millis(ms.get('p95'))}"
    return {"t": text, "title": f"Mean {millis(ms.get('mean'))}, longest {millis(ms.get('max'))}"}


def _failed(failures: int) -> str:
    return f"{failures} failed" if failures else ""


def _reasons(reasons: Mapping[str, int]) -> str:
    return ", ".join(f"{count(n)} {reason}" for reason, n in reasons.items() if n)


def stayed(before: CacheView, after: CacheView) -> str:
    """Return in words what a smaller or emptied cache lost, and who stays because of a pin."""
    left = {entry.strategy_id for entry in after.entries}
    gone = sum(entry.strategy_id not in left for entry in before.entries)
    held = [f"{entry.strategy_id} ({', '.join(entry.pin_reasons)})" for entry in after.entries if entry.pinned]
    kept = f" {after.over_capacity} over capacity until a pin goes: {'; '.join(held)}." if after.over_capacity else ""
    return f"{gone} evicted, {after.size} left.{kept}"


IN_MEMORY = "Snapshots are kept in memory: an evicted strategy comes back, a closed kernel forgets it."
IN_JOURNAL = "Snapshots are kept in the journal: an evicted strategy comes back, also after a restart."


class CachePanel(ActingPanel):
    """The cache of orchestrators; lowering the slider shows who would go before anything goes."""

    title: ClassVar[str] = "Strategy cache"
    hz: ClassVar[float] = 1.0
    span: ClassVar[str] = "7"

    def body(self) -> list[w.Widget]:
        """Make the figures, the slider and the table."""
        self._cache: CacheView | None = None
        self._rates: deque[float] = deque(maxlen=60)
        self._since = (0, 0)
        self.figures = Table(kind="kpi", caption="Cache figures")
        self.slider = styled(w.IntSlider(value=10, min=1, max=20, description="Capacity"), "sn-slider")
        self.slider.observe(lambda _: self._preview(), "value")
        self.effect = text("", cls="sn-muted")
        self.apply = btn("Apply", "primary", tip="Set this capacity", do=self._apply)
        self.undo = btn("Cancel", do=self._back)
        line = styled(w.HBox([self.slider, self.effect, self.apply, self.undo]), "sn-row")
        empty = {"t": "Nothing cached", "sub": "Entries appear when a strategy is first activated."}
        self.table = Table(caption="Cache entries, least recently used first", cols=_COLUMNS, empty=empty)
        self.table.on_act = self._acted
        self.confirm = Confirm("Clear now")
        self.drawer = styled(w.HBox([self.confirm]), "sn-drawer", "sn-off")
        none = {"t": "No creation yet", "sub": "The times of creations and switches appear here."}
        self.times = Table(caption="Times of creations and switches", cols=list(COLUMNS), empty=none)
        head = w.HTML("<h3>Times of the newest 1,000 creations and switches</h3>")
        self.kept = styled(w.HTML(), "sn-muted")
        foot = styled(w.HBox([self.kept]), "sn-row")
        return [self.drawer, self.figures, line, self.table, head, self.times, foot]

    def tools(self) -> list[w.Widget]:
        """Make the button of the head."""
        self.clear = styled(btn("Clear unpinned…", "quiet", do=self._ask_clear), "sn-acts")
        self.anew = btn("Reset line", "quiet", tip="Start the line of the hit rate anew", do=self._reset)
        return [self.anew, self.clear]

    def paint(self, view: EngineView) -> None:
        """Write what changed; the slider follows the engine until it is moved."""
        before, self._cache = self._cache, view.cache
        hits, misses = view.cache.hits - self._since[0], view.cache.misses - self._since[1]
        if hits + misses > 0:
            self._rates.append(hits / (hits + misses))
        self.times.show(histogram(view.cache.creation_recent_ms, view.cache.switch_recent_ms))
        self.figures.show(figures(view.cache, list(self._rates)))
        if before is None or before.capacity != view.cache.capacity:
            self.slider.max = max(20, 2 * view.cache.capacity)
            self.slider.value = view.cache.capacity
        self._preview()
        words = IN_MEMORY if view.journal_bytes is None else IN_JOURNAL
        if words not in self.kept.value:
            self.kept.value = f"<span>{words}</span>"

    def _preview(self) -> None:
        cache = self._cache
        if cache is None:
            return
        wanted = self.slider.value
        doomed = evicted(cache, wanted)
        self.table.show([row(e, i + 1, doomed=e.strategy_id in doomed) for i, e in enumerate(cache.entries)])
        moved = wanted != cache.capacity
        show(self.apply, moved)
        show(self.undo, moved)
        over = f", {cache.over_capacity} over capacity until pins go" if cache.over_capacity else ""
        words = f"{cache.size} of {cache.capacity} used, {cache.pinned} pinned{over}. Lower it to see who would go."
        if moved:
            words = (
                f"Evicts {len(doomed)}: {', '.join(doomed)}"
                if doomed
                else f"{wanted} instead of {cache.capacity}: evicts nobody"
            )
        value = text(words, cls="sn-muted").value
        if self.effect.value != value:
            self.effect.value = value
        self.frame.note(f"{cache.size} of {cache.capacity}")

    def _apply(self) -> None:
        self._change("resize_cache", capacity=self.slider.value, failed=self._back)

    def _change(self, op: str, **arguments: Any) -> None:
        """Do what may evict several, then say who went and who stays."""
        before = self._cache

        def _done(_: Any) -> None:
            if before is not None:
                self.tell(stayed(before, self.board.view().cache))

        self.act(op, then=_done, **arguments)

    def _reset(self) -> None:
        """Forget the line of the hit rate; the counts stay."""
        if self._cache is not None:
            self._since = (self._cache.hits, self._cache.misses)
        self._rates.clear()
        self.repaint()

    def _back(self) -> None:
        if self._cache is not None:
            self.slider.value = self._cache.capacity

    def _acted(self, action: str, strategy_id: str) -> None:
        if action in ("pin", "unpin", "evict"):
            self.act(action, strategy_id=strategy_id)

    def _ask_clear(self) -> None:
        loose = [entry for entry in self._cache.entries if not entry.pinned] if self._cache else []
        show(self.drawer, True)
        effect = f"Evicts {len(loose)} strategies without a pin; each is snapshotted first."
        self.confirm.ask(effect, lambda: self._change("clear_cache"), lambda: show(self.drawer, False))

    def to_frame(self) -> pd.DataFrame:
        """Return one row per entry, least recent first."""
        names = list(CacheEntryView.__slots__)
        rows = [{name: getattr(entry, name) for name in names} for entry in self.board.view().cache.entries]
        return pd.DataFrame(rows, columns=names)
