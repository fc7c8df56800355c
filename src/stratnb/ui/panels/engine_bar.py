"""P1, the engine bar: what the engine is doing, with the controls that start, slow, stop and kill it."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import ipywidgets as w
import pandas as pd

from stratnb.errors import ConfigError, StratnbError
from stratnb.market_data.load import load_candles
from stratnb.market_data.paths import typed_path
from stratnb.model import TIMEFRAMES
from stratnb.ui.controls import Confirm, btn, chip, dropdown, field, show, styled
from stratnb.ui.format import age, cents, count, delta, dot, escape, megabytes, millis, num, pct, share, stamp
from stratnb.ui.panels.acting import ActingPanel, followable
from stratnb.ui.panels.login import LoginBox
from stratnb.ui.widgets import Table
from stratnb.ui.work import Work
from stratnb.view import EngineView, FeedView

__all__ = ["EngineBar", "feed_text", "figures", "offline_text", "parse_paths", "role_text"]

_STATES = {
    "running": ("ok", "Running"),
    "paused": ("warn", "Paused"),
    "stopping": ("info", "Stopping"),
    "stopped": ("mute", "Stopped"),
}
_RISKS = {"ACTIVE": ("ok", "Normal"), "REDUCING": ("warn", "Reducing"), "HALTED": ("err", "Halted")}
_SPEEDS = [("1×", 1.0), ("5×", 5.0), ("20×", 20.0), ("60×", 60.0), ("600×", 600.0), ("Max", math.inf)]
_MODES = [("One active", "exclusive"), ("Any number", "parallel")]
_NEAR = 0.8
_HINTS = {
    "data_quality": "switch Repair rows on and open it again, or mend the source",
    "timeframe_missing": "choose the Timeframe and open it again",
    "timeframe_mismatch": "choose the Timeframe and open it again",
}
_SYNTHETIC = "Synthetic market"
_RESTART, _FILES = "Start these candles again; asks before it acts", "Replay your own CSV or Parquet files"
_KEPT = "The journal of this account keeps one history of candles; stratnb dashboard --fresh begins another account"


def figures(view: EngineView) -> list[dict[str, Any]]:
    """Return the key figures of the bar; `pri` 2 and 3 drop out in narrow places."""
    start, money = view.equity - view.day_pnl, cents(view.quote)
    used = view.gross_exposure
    exposure: dict[str, Any] = {"t": share(used)}
    if view.exposure_limit:
        filled = used / view.exposure_limit
        exposure |= {
            "sub": f"of {share(view.exposure_limit)}",
            "bar": filled,
            "btone": "warn" if filled > _NEAR else "accent",
        }
    risk = {**dot(*_RISKS[view.risk_state]), **({"title": view.risk_reason} if view.risk_reason else {})}
    of = f"of {view.max_open_positions}" if view.max_open_positions is not None else ""
    return [
        {"id": "state", "label": "Engine", "pri": 1, "v": _state(view)},
        {"id": "equity", "label": f"Equity, {view.quote}", "pri": 1, "v": num(view.equity, money)},
        {
            "id": "day",
            "label": "Day PnL",
            "pri": 1,
            "v": delta(view.day_pnl, money, sub=pct(view.day_pnl / start) if start > 0 else ""),
        },
        {"id": "exposure", "label": "Gross exposure", "pri": 1, "v": exposure},
        {
            "id": "open",
            "label": "Open",
            "pri": 2,
            "v": {"t": count(view.open_positions), **({"sub": of} if of else {})},
        },
        {"id": "risk", "label": "Risk", "pri": 1, "v": risk},
        {"id": "age", "label": "Data age", "pri": 1, "v": {"t": age(view.data_age_s)}},
        {"id": "lag", "label": "Loop lag p95", "pri": 3, "v": {"t": millis(view.loop_lag_p95_ms)}},
        *_unknown(view),
    ]


def _unknown(view: EngineView) -> list[dict[str, Any]]:
    """Return the number of orders whose outcome nobody knows, when there is one."""
    if not view.unknown_orders:
        return []
    told = {"t": count(view.unknown_orders), "tone": "err", "title": "Sent, and not answered: the exchange is asked"}
    return [{"id": "unknown", "label": "Unknown orders", "pri": 1, "v": told}]


def _state(view: EngineView) -> dict[str, Any]:
    """Return the state of the engine; a paused one whose candles are used up is finished."""
    if view.offline_since_ms is not None:
        return dot("err", "Offline")
    if view.state == "paused" and view.feed is not None and view.feed.done:
        return dot("mute", "Finished")
    return dot(*_STATES[view.state])


def feed_text(feed: FeedView | None) -> tuple[str, bool]:
    """Return the label of the feed with its place, and whether the market is synthetic (which the bar says itself)."""
    if feed is None:
        return "No candles: choose files", False
    place = "candles used up" if feed.done else f"candle {count(feed.position)} of {count(feed.length)}"
    markets = feed.symbols[0] if len(feed.symbols) == 1 else f"{len(feed.symbols)} markets"
    label = feed.label.removeprefix(_SYNTHETIC).lstrip(", ").capitalize() if feed.synthetic else feed.label
    parts = dict.fromkeys((label, markets, feed.timeframe, place))
    return " · ".join(part for part in parts if part), feed.synthetic


def role_text(view: EngineView) -> str:
    """Return whose engine it is: role, account, process, and the journal that it writes."""
    place = f"pid {view.pid} on {view.host}" if view.pid else "this kernel"
    if view.journal_bytes is None:
        return f"Account {view.account} · {place}"
    role = "Observer" if view.role == "observer" else "Holder"
    rest = f"account {view.account} · {place} · journal {megabytes(view.journal_bytes)}"
    return f"{role}, generation {view.generation} · {rest}"


def offline_text(view: EngineView) -> str:
    """Return since when nobody writes the journal, in UTC; empty while somebody does."""
    if view.offline_since_ms is None:
        return ""
    since = f"{stamp(view.offline_since_ms, seconds=True)} UTC"
    return f"Engine offline since {since}. Values are the last known ones; the page goes on by itself when it is back."


def parse_paths(text: str) -> list[str]:
    """Return the file paths of a line, separated by semicolons.

    >>> parse_paths(" btc.csv ; eth.parquet;")
    ['btc.csv', 'eth.parquet']
    """
    return [str(typed_path(part.strip())) for part in text.split(";") if part.strip()]


class EngineBar(ActingPanel):
    """The bar on top of every page: badge, key figures, controls and the feed. It never starts anything by itself."""

    title: ClassVar[str] = "Engine"
    hz: ClassVar[float] = 4.0

    def _build(self) -> None:
        """Turn the panel's frame into the bar."""
        super()._build()
        asked = [self.restart_confirm, self.drawer, *([self.login.said] if self.login else [])]
        told = [self.strip, self.refusal, self.outcome]
        self.frame.children = [self.offline, self.engine, self.feed_line, *asked, *told]
        self.frame.remove_class("sn-panel")
        self.frame.add_class("sn-enginebox")

    def body(self) -> list[w.Widget]:
        """Make the bar, the line of the feed and its drawer."""
        self._echo = False
        self._view: EngineView | None = None
        self.badge = styled(w.HTML('<span class="sn-badge">PAPER</span>'), "sn-badgebox")
        self.figures = Table(kind="kpi", caption="Engine state")
        self.flatten = styled(w.Checkbox(value=True, description="Flatten", indent=False), "sn-check")
        self.kill_confirm = Confirm("Kill now", extra=[self.flatten])
        self.stop_confirm = Confirm("Stop now", "primary")
        controls = styled(w.HBox(self._make_controls()), "sn-controls", "sn-acts")
        self.engine = styled(
            w.HBox([self.badge, self.figures, controls, self.stop_confirm, self.kill_confirm]), "sn-engine"
        )
        self.offline = styled(w.HTML(), "sn-banner", "sn-off")
        login = getattr(self.board, "login", None)
        self.login = None if login is None else LoginBox(login, self.repaint)
        self._make_feed()
        return [self.engine, self.feed_line, self.drawer]

    def _make_controls(self) -> list[w.Widget]:
        self.run = btn("Start", "primary", "play", do=self._run)
        self.step = btn("Step", "", "step", "Process one candle (only while paused)", do=lambda: self.act("step", n=1))
        self.speed = dropdown("Speed", _SPEEDS, 1.0)
        self.speed.observe(self._sped, "value")
        self.stop = btn("Stop…", tip="Stop the engine; asks before it acts", do=self._ask_stop)
        self.kill = btn(
            "Kill…", "danger", "kill", "Stop all strategies at once; asks before it acts", do=self._ask_kill
        )
        self.flatten.observe(lambda _: self.kill_confirm.say(self._kill_effect()), "value")
        self.why = styled(field("Reason", "why trading may go on"), "sn-off")
        self.release = styled(btn("Release", tip="Let entries be taken again", do=self._release), "sn-off", "sn-owner")
        return [self.run, self.step, self.speed, self.stop, self.why, self.release, self.kill]

    def _make_feed(self) -> None:
        self.feed = styled(w.HTML(), "sn-feed")
        self.files = btn("Open candles…", "quiet", tip=_FILES, do=self._toggle_drawer)
        self.restart = btn("Restart…", "quiet", tip=_RESTART, do=self._ask_restart)
        self.restart_confirm, self.open_confirm = Confirm("Restart now", "primary"), Confirm("Replace now")
        self.mode = dropdown("Mode", _MODES, "exclusive")
        self.mode.observe(self._moded, "value")
        self.role = styled(w.HTML(), "sn-muted", "sn-role")
        acting = styled(w.HBox([self.mode, self.restart, self.files]), "sn-acts", "sn-feedacts")
        line = [self.feed, self.role, acting, *([self.login] if self.login else [])]
        self.feed_line = styled(w.HBox(line), "sn-feedline")
        self.path = field("Candle files", "path to CSV or Parquet; several with ;")
        self.open = btn("Open", "primary", do=self._open_paths)
        self.upload = w.FileUpload(
            icon="", accept=".csv,.parquet", multiple=True, description="Upload", tooltip="Upload files"
        )
        styled(self.upload, "sn-btn", "sn-upload").observe(self._uploaded, "value")
        close = btn("Close", "quiet", do=lambda: show(self.drawer, False))
        self.repair = chip("Repair rows", False, "Mend faulty rows of the files instead of refusing them")
        self.timeframe = dropdown("Timeframe", [("From the file", ""), *((name, name) for name in TIMEFRAMES)], "")
        entry = [self.path, self.timeframe, self.repair, self.open, self.upload, close, self.open_confirm]
        self.drawer = styled(w.HBox(entry), "sn-drawer", "sn-off")
        self._paths: list[str] = []
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    def paint(self, view: EngineView) -> None:
        """Write what changed."""
        self._view = view
        self.figures.show(figures(view))
        self._paint_controls(view)
        words, synthetic = feed_text(view.feed)
        mark = f'<span class="sn-tag sn-t-warn">{_SYNTHETIC}</span> ' if synthetic else ""
        notes = "".join(f" · {escape(note)}" for note in view.notes)
        role = escape(role_text(view))
        self._put(self.role, "value", f'<span title="{role}">{role}</span>')
        self._put(self.offline, "value", f'<span role="alert">{escape(offline_text(view))}</span>')
        show(self.offline, view.offline_since_ms is not None)
        if self.login is not None:
            self.login.paint(view)
        self._follow(self.mode, view.mode)
        self._put(self.feed, "value", f'<span title="{escape(words)}">{mark}<span>{escape(words)}{notes}</span></span>')

    def _paint_controls(self, view: EngineView) -> None:
        label, icon, tip = {
            "running": ("Pause", "pause", "Pause: no new candles until you resume; stops stay where they are"),
            "paused": ("Resume", "play", "Go on with the next candle"),
            "stopping": ("Stopping", "pause", "The engine is stopping"),
        }.get(view.state, ("Start", "play", "Start the paper engine"))
        gone, kept = view.offline_since_ms is not None, view.journal_bytes is not None
        why = (
            "The engine is offline"
            if gone
            else "Open candles first"
            if view.feed is None
            else (
                f"All candles are used up. {_KEPT}"
                if kept
                else "All candles are used up; restart the market or open others"
            )
            if view.feed.done
            else ""
        )
        self._put(self.run, "description", label)
        self._put(self.run, "tooltip", why or tip)
        self._put(self.run, "disabled", bool(why) or view.state == "stopping")
        self.run.remove_class("sn-i-play" if icon == "pause" else "sn-i-pause")
        self.run.add_class(f"sn-i-{icon}")
        (self.run.add_class if view.state == "stopped" else self.run.remove_class)("is-primary")
        self._paint_feed_controls(view)
        self._put(self.step, "disabled", view.state != "paused" or bool(why))
        step = "Process one candle" if view.state == "paused" else "Pause first: then it processes one candle"
        self._put(self.step, "tooltip", why or step)
        self._put(self.stop, "disabled", gone or view.state == "stopped")
        for widget in (self.kill, self.speed, self.mode, self.release):
            self._put(widget, "disabled", gone)
        idle = "The engine is offline" if gone else "The engine is stopped already"
        self._put(self.stop, "tooltip", idle if self.stop.disabled else "Stop the engine; asks before it acts")
        for widget in (self.why, self.release):
            show(widget, view.risk_state == "HALTED")
        if view.feed is not None and view.feed.speed in dict(_SPEEDS).values():
            self._follow(self.speed, view.feed.speed)

    def _paint_feed_controls(self, view: EngineView) -> None:
        """Let the buttons of the feed follow it; where a journal keeps its history they say what to do instead."""
        kept, used_up = view.journal_bytes is not None, view.feed is not None and view.feed.done
        for name, on in (("is-primary", used_up and not kept), ("is-quiet", not used_up or kept)):
            (self.restart.add_class if on else self.restart.remove_class)(name)
        self._put(self.restart, "disabled", kept or view.feed is None or view.feed.position == 0)
        self._put(self.files, "disabled", kept)
        for widget, tip in ((self.restart, _RESTART), (self.files, _FILES)):
            self._put(widget, "tooltip", _KEPT if kept else tip)
            (widget.add_class if kept else widget.remove_class)("is-kept")  # dropped first in narrow places

    def _follow(self, box: w.Dropdown, value: Any) -> None:
        """Show in a box what the engine has, without asking for it again."""
        if box.value != value:
            self._echo = True
            box.value = value
            self._echo = False

    def _put(self, widget: w.Widget, trait: str, value: Any) -> None:
        if getattr(widget, trait) != value:
            setattr(widget, trait, value)

    def _run(self) -> None:
        self.act({"running": "pause", "paused": "resume"}.get(self._view.state if self._view else "", "start"))

    def _sped(self, change: Mapping[str, Any]) -> None:
        if not self._echo:
            self.act("set_speed", speed=change["new"])

    def _moded(self, change: Mapping[str, Any]) -> None:
        """Change the mode; when that is refused, the box shows the present one again."""
        if not self._echo:
            self.act("set_mode", mode=change["new"], failed=lambda: self._follow(self.mode, change["old"]))

    def _ask(self, confirm: Confirm, button: w.Button, effect: str, then: Any) -> None:
        """Ask in the place of the button, which comes back with the focus."""
        show(button, False)

        def _closed() -> None:
            show(button, True)
            button.focus()

        confirm.ask(effect, then, _closed)

    def _ask_stop(self) -> None:
        held = self._view.open_positions if self._view else 0
        kept = f"; {held} open positions stay on the books without being watched" if held else ""
        effect = f"Stops the engine and the replay{kept}."
        self._ask(self.stop_confirm, self.stop, effect, lambda: self.act("stop", flatten=False))

    def _ask_kill(self) -> None:
        self._ask(self.kill_confirm, self.kill, self._kill_effect(), self._kill_now)

    def _kill_now(self) -> None:
        done = "Killed: no entry is taken until you release trading; candles go on."
        self.act("kill", author="panel", flatten=self.flatten.value, done=done)

    def _release(self) -> None:
        done = "Released: entries are taken again."
        self.act("release", author="panel", reason=self.why.value, done=done)

    def _ask_restart(self) -> None:
        view = self._view
        kept = "Strategies stay loaded, active ones are active again. " if view and view.strategies else ""
        effect = f"Starts these candles again with a fresh account. {kept}Positions and results so far are dropped."
        done = "The market starts again with a fresh account."
        self._ask(self.restart_confirm, self.restart, effect, lambda: self.act("restart_feed", done=done))

    def _kill_effect(self) -> str:
        view = self._view
        busy = sum(s.state not in ("dormant", "failed", "removed") for s in view.strategies) if view else 0
        held = view.open_positions if view else 0
        fate = f"closes {held} positions at market" if self.flatten.value else f"keeps {held} positions and their stops"
        return f"Halts trading of {busy} strategies until you release it, {fate}."

    def _toggle_drawer(self) -> None:
        show(self.drawer, "sn-off" in self.drawer._dom_classes)

    def _open_paths(self) -> None:
        try:
            paths = parse_paths(self.path.value)
        except ConfigError as error:
            self.refuse(error)
            return
        if paths:
            self._open(paths)

    def _open(self, paths: list[str], **how: Any) -> None:
        self._paths = paths
        hide = lambda _: show(self.drawer, False)  # noqa: E731
        done = f"{len(paths)} files opened. Press Start to replay them."
        how |= {"then": hide, "done": done}
        if not self.repair.value and not self.timeframe.value:
            self.act("open_feed", paths=paths, **how)
            return

        def _read(job: Any) -> None:
            if job.error is not None:
                self.refuse(job.error)
            else:
                self.act("open_feed", candles=job.result(), **how)

        options: dict[str, Any] = {"repair": "all" if self.repair.value else ()}
        options["timeframe"] = self.timeframe.value or None
        self.dismiss()
        self.tell("Reading the files")
        self.pump.track(Work(lambda **_: [load_candles(path, **options)[0] for path in paths]), _read)

    def refuse(self, error: BaseException) -> None:
        """Ask whether loaded strategies may go when sound files were refused because of them; else show the refusal."""
        if not isinstance(error, StratnbError) or error.code != "strategies_loaded":
            super().refuse(error if not isinstance(error, StratnbError) else followable(error, _HINTS, self.path.value))
            return
        view, paths = self._view, self._paths
        held = ", closes open positions" if view and view.open_positions else ""
        loaded = len(view.strategies) if view else 0
        which = "the strategy and its" if loaded == 1 else f"{loaded} strategies and their"
        effect = f"Removes {which} results{held} and opens the files with a fresh account."
        self._ask(self.open_confirm, self.open, effect, lambda: self._open(paths, replace=True, policy="close"))

    def _uploaded(self, change: Mapping[str, Any]) -> None:
        files: Iterable[Mapping[str, Any]] = change["new"]
        if not files:
            return
        self._folder = self._folder or tempfile.TemporaryDirectory(prefix="stratnb-")
        paths = []
        for file in files:
            path = Path(self._folder.name) / Path(str(file["name"])).name
            path.write_bytes(bytes(file["content"]))
            paths.append(str(path))
        self.upload.value = ()
        self._open(paths)

    def to_frame(self) -> pd.DataFrame:
        """Return the engine's figures as one row."""
        v = self.board.view()
        names = (
            "name",
            "state",
            "mode",
            "account",
            "equity",
            "day_pnl",
            "gross_exposure",
            "open_positions",
            "risk_state",
            "data_age_s",
            "loop_lag_p95_ms",
            "host",
            "pid",
            "version",
        )
        return pd.DataFrame([{name: getattr(v, name) for name in names}])
