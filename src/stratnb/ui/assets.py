"""The browser side of the panels: style sheets, scripts and BokehJS, sent once per kernel and loaded once per page.

The texts are read at first use. BokehJS comes from the installed bokeh wheel, so nothing is fetched from elsewhere.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

from stratnb.errors import ConfigError
from stratnb.ui.browser import BrowserWidget

__all__ = ["Assets", "assets", "bokeh_script", "script", "style"]

STYLES: Final = ("tokens.css", "page.css", "controls.css", "table.css", "chart.css", "panels.css", "widths.css")
SCRIPTS: Final = ("core.js", "cells.js", "table.js", "canvas.js", "crosshair.js", "chart.js", "page.js")

# Where our template has not, the loader raises the limit of 2 s after which anywidget gives a model up and drops its
# messages for good: a busy machine needs longer while a page is built.
_LOADER: Final = """
if (!window.__sn_patient) {
  const within = AbortSignal.timeout.bind(AbortSignal);
  AbortSignal.timeout = ms => within(ms === 2000 ? 120000 : ms);
  window.__sn_patient = true;
}
const run = source => new Promise((ok, bad) => {
  const node = document.createElement('script'), text = new Blob([source], { type: 'text/javascript' });
  const url = URL.createObjectURL(text);
  node.src = url;
  node.onload = () => { URL.revokeObjectURL(url); ok(); };
  node.onerror = () => bad(Error('a script of stratnb could not be loaded'));
  document.head.append(node);
});
async function load() {
  let sheet = document.getElementById('stratnb-css');
  if (!sheet) { sheet = document.createElement('style'); sheet.id = 'stratnb-css'; document.head.append(sheet); }
  if (sheet.textContent !== CSS) sheet.textContent = CSS;
  if (!window.Bokeh?.[BOKEH_VERSION] && window.Bokeh?.version !== BOKEH_VERSION) await run(BOKEH);
  if (window.stratnb?.version !== VERSION) await run(CODE);
}
export default {
  initialize({ model }) {
    if (window.__sn_loading !== VERSION) { window.__sn_loading = VERSION; window.__sn_load = load(); }
    let end, over = false;
    window.__sn_load.then(
      () => { if (!over) end = window.stratnb.presence({ model }); },
      error => { model.send({ error: String(error), where: 'assets' }); throw error; },
    );
    return () => { over = true; end?.(); };
  },
  render({ el }) { el.style.display = 'none'; },
};
"""


def _read(names: tuple[str, ...]) -> str:
    """Return the named static files, joined."""
    folder = files("stratnb.ui") / "static"
    return "\n".join((folder / name).read_text(encoding="utf-8") for name in names)


@cache
def style() -> str:
    """Return the style sheet of all panels."""
    return _read(STYLES)


@cache
def script() -> str:
    """Return the script of all panels: one function that sets `window.stratnb` once per version."""
    body = _read(SCRIPTS)
    version = json.dumps(_version())
    api = "{ version: %s, table, tableInit, chart, presence }" % version  # noqa: UP031
    return (
        f"(() => {{\nconst BOKEH_VERSION = {json.dumps(_bokeh_version())};\n{body}\nwindow.stratnb = {api};\n}})();\n"
    )


@cache
def _version() -> str:
    """Return a short mark of the scripts' content."""
    return hashlib.sha256((_read(SCRIPTS) + _read(STYLES)).encode()).hexdigest()[:12]


def _bokeh_folder() -> Path:
    """Return where the installed bokeh lies, without importing it; ConfigError when it is missing."""
    spec = importlib.util.find_spec("bokeh")
    if spec is None or spec.origin is None:
        raise ConfigError("bokeh_missing", "charts need bokeh", hint="pip install bokeh")
    return Path(spec.origin).parent


@cache
def bokeh_script() -> str:
    """Return BokehJS of the installed wheel."""
    return (_bokeh_folder() / "server" / "static" / "js" / "bokeh.min.js").read_text(encoding="utf-8")


def _bokeh_version() -> str:
    """Return the version of the installed bokeh."""
    from importlib.metadata import version

    return version("bokeh")


class Assets(BrowserWidget):
    """Carries everything the browser needs, loads it once per page and sends the heartbeat of the page's views."""

    def __init__(self, **kwargs: Any) -> None:
        names = {"CSS": style(), "CODE": script(), "BOKEH": bokeh_script()}
        names |= {"VERSION": _version(), "BOKEH_VERSION": _bokeh_version()}
        constants = "".join(f"const {name} = {json.dumps(text)};\n" for name, text in names.items())
        self._esm = constants + _LOADER
        super().__init__(**kwargs)

    def received(self, message: dict[str, Any]) -> None:
        """Tell the pump that a page is there, and the page that the kernel is."""
        if "beat" in message:
            self.send({"pong": True})
            from stratnb.ui.pump import pump

            pump().beat(str(message["beat"]), hidden=bool(message.get("hidden")))


_shared: list[Assets] = []


def assets() -> Assets:
    """Return the one `Assets` of this kernel, made at first use."""
    if not _shared or _shared[0].comm is None:
        _shared[:] = [Assets()]
    return _shared[0]
