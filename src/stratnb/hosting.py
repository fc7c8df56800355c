"""Hosting an engine without a notebook: one process, one journal, ended by SIGTERM or an interrupt."""

from __future__ import annotations

import importlib
import logging
import math
import signal
import threading
import tomllib
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from stratnb.blocks.base import ROLES, kinds
from stratnb.engine import Engine
from stratnb.errors import ConfigError, Finding, nearest
from stratnb.kernels import loop
from stratnb.kernels.beside import prepare
from stratnb.market_data import load_candles
from stratnb.multi.settings import engine_settings
from stratnb.services.notify import Notifier
from stratnb.services.telegram import TOKEN, TelegramSettings

__all__ = ["HostConfig", "HostedStrategy", "host", "load_host_config"]

HISTORY = 1_500
SPEED = 60.0
PATHS = ("tokens", "paper_book", "workspace")
log = logging.getLogger(__name__)


class HostedStrategy(BaseModel):
    """A strategy that is loaded when the journal does not have it yet."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    document: str | dict[str, Any]
    symbol: str | None = None
    label: str = "main"
    overrides: dict[str, Any] = Field(default_factory=dict)
    active: bool = True


class HostConfig(BaseModel):
    """What an engine is started with; without `candles` it trades on the synthetic market.

    `engine` holds settings of the engine; `modules` are imported first, for blocks of your own. `notifier` says where
    messages go; its secret comes from the environment or the keyring.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = "main"
    journal: Path
    candles: tuple[Path, ...] = ()
    speed: Annotated[float, Field(gt=0, allow_inf_nan=False)] | Literal["max"] = SPEED
    start: bool = True
    modules: tuple[str, ...] = ()
    engine: dict[str, Any] = Field(default_factory=dict)
    strategies: tuple[HostedStrategy, ...] = ()
    notifier: TelegramSettings | None = None

    @property
    def tokens(self) -> Path:
        """Return the folder of the tokens."""
        return Path(self.engine.get("tokens") or self.journal.parent).resolve()


def load_host_config(path: Path) -> HostConfig:
    """Return the configuration in a TOML file; paths in it are relative to the file.

    Raises `ConfigError` with every fault: `file_not_found`, `toml`, `config_invalid`.
    """
    try:
        values = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ConfigError(
            "file_not_found", f"{path} cannot be read: {error.strerror}", value=str(path), hint="give a TOML file"
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError("toml", f"{path} is not TOML: {error}", value=str(path), hint="mend that line") from error
    folder = path.absolute().parent
    config, findings = _checked(values, folder)
    if config is None or findings:
        known = f"{len(findings)} fault{'s' * (len(findings) != 1)}"
        raise ConfigError("config_invalid", f"{path} has {known}", value=str(path), findings=findings)
    return config


def _checked(values: dict[str, Any], folder: Path) -> tuple[HostConfig | None, list[Finding]]:
    """Return the configuration with whole paths, None when it has none, and what is wrong with it and its engine."""
    config, findings = None, []
    try:
        config = HostConfig(**values)
    except ValidationError as error:
        findings = [_finding(fault) for fault in error.errors()]
    given = values.get("engine", {})
    engine = dict(given) if isinstance(given, dict) else {}
    if "journal" in engine:
        del engine["journal"]
        findings.append(Finding("engine.journal", "unknown_key", "it stands above [engine]", hint="move it there"))
    engine |= {name: str(folder / engine[name]) for name in PATHS if isinstance(engine.get(name), str)}
    try:
        engine_settings(engine)
    except ConfigError as error:
        findings += [replace(found, path=f"engine.{found.path}") for found in error.findings]
    if config is None:
        return None, findings
    findings += _missing_secret(config)
    candles = tuple(folder / each.expanduser() for each in config.candles)
    findings += [
        Finding("candles", "file_not_found", f"{str(each)!r} does not exist", value=str(each), hint="give another path")
        for each in candles
        if not each.is_file()
    ]
    whole = {"journal": folder / config.journal.expanduser(), "candles": candles, "engine": engine}
    return config.model_copy(update=whole), findings


def _missing_secret(config: HostConfig) -> list[Finding]:
    """Return that the notifier's secret is not set, or nothing."""
    try:
        if config.notifier is not None:
            config.notifier.notifier()
    except ConfigError as error:
        return [Finding("notifier", error.code, error.message, value=error.value, hint=error.hint)]
    return []


def _finding(fault: Any) -> Finding:
    where = ".".join(map(str, fault["loc"]))
    if fault["loc"][0] == "notifier":
        return _notifier_finding(where, fault)
    if fault["type"] != "extra_forbidden":
        return Finding(where, fault["type"], fault["msg"], value=fault.get("input"))
    known = HostedStrategy.model_fields if len(fault["loc"]) > 1 else HostConfig.model_fields
    close = nearest(str(fault["loc"][-1]), known)
    hint = f"did you mean {' or '.join(map(repr, close))}?" if close else f"keys: {', '.join(known)}"
    return Finding(where, "unknown_key", "no such key", value=fault.get("input"), hint=hint)


def _notifier_finding(where: str, fault: Any) -> Finding:
    """Return a fault of the notifier's settings without what was given there: it may be a secret."""
    if fault["type"] != "extra_forbidden":
        return Finding(where, fault["type"], fault["msg"])
    if "token" in where:
        hint = f"take it out of the file; set {TOKEN} in the environment, or: keyring set stratnb {TOKEN}"
        return Finding(where, "secret_in_file", "a secret does not belong in a file", hint=hint)
    return Finding(where, "unknown_key", "no such key", hint=f"keys: {', '.join(TelegramSettings.model_fields)}")


def host(
    config: HostConfig, *, ready: Callable[[Engine], None] | None = None, ended: threading.Event | None = None
) -> int:
    """Run an engine until SIGTERM, an interrupt or `ended`; return 0, or 1 when it failed.

    Positions stay as they are; the next start goes on with them. `ready` is called once it runs.
    """
    ended = ended or threading.Event()
    before = {number: signal.signal(number, lambda *_: ended.set()) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        with ExitStack() as last:
            engine = last.enter_context(_open(config, _notifier(config, last)))
            _load(engine, config)
            if config.start:
                engine.start()
            if ready is not None:
                ready(engine)
            while not ended.wait(0.2):
                if (error := engine.failure) is not None:
                    log.error("the engine stopped: %s", error)
                    return 1
        return 0
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _notifier(config: HostConfig, last: ExitStack) -> Notifier | None:
    """Return the notifier, if one is asked for; it is closed last."""
    if config.notifier is None:
        return None
    notifier = config.notifier.notifier()
    last.callback(notifier.close)
    return notifier


def _open(config: HostConfig, notifier: Notifier | None) -> Engine:
    for module in config.modules:
        importlib.import_module(module)
    settings: dict[str, Any] = {"mode": "parallel", **config.engine, "journal": config.journal}
    if not config.candles:
        settings.setdefault("synthetic_history", HISTORY)
    prepare([*loop.EVERY, *(block.step for role in ROLES for block in kinds(role).values())])
    candles = tuple(load_candles(path)[0] for path in config.candles) or None
    speed = math.inf if config.speed == "max" else config.speed
    return Engine(config.name, candles=candles, speed=speed, notifier=notifier, **settings)


def _load(engine: Engine, config: HostConfig) -> None:
    """Add the strategies of the configuration that the journal does not have."""
    known = {(record.name, record.label) for record in engine.list()}
    for each in config.strategies:
        name = Path(each.document).stem if isinstance(each.document, str) else str(each.document.get("name"))
        if (name, each.label) in known:
            continue
        key = engine.add(each.document, each.symbol, label=each.label, overrides=each.overrides or None)
        if each.active:
            engine.activate(key)
