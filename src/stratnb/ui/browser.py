"""The base of the widgets that our own script draws, and the stub that waits for that script."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Final

import anywidget

from stratnb.errors import ConfigError, nearest

__all__ = ["BrowserWidget", "stub"]

LOG: Final = logging.getLogger("stratnb.ui")

# anywidget gives up on a model that is not initialized within 2 s, which a page of a busy machine may need longer for.
_STUB: Final = """
let waiting;
const lib = () => waiting ||= new Promise(ok => {
  const go = () => window.stratnb ? ok(window.stratnb) : setTimeout(go, 10);
  go();
});
export default {
  initialize(context) {
    let end, over = false;
    lib().then(({ %(name)sInit }) => { if (!over) end = %(name)sInit?.(context); });
    return () => { over = true; end?.(); };
  },
  async render(context) { return (await lib()).%(name)s(context); },
};
"""


def stub(name: str) -> str:
    """Return the small script of a widget that waits for the shared code and calls `name` of it."""
    return _STUB % {"name": name}


class BrowserWidget(anywidget.AnyWidget):
    """An anywidget that refuses unknown keywords and reports errors of the browser to `on_error`."""

    def __init__(self, **kwargs: Any) -> None:
        for key in kwargs.keys() - set(self.trait_names()):
            close = nearest(key, self._own_traits(), limit=1)
            hint = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(self._own_traits())}"
            raise ConfigError("unknown_field", f"{type(self).__name__} has no {key!r}", value=key, hint=hint)
        self.on_error: Callable[[str, str], None] = lambda where, text: None
        super().__init__(**kwargs)
        self.on_msg(self._message)

    @classmethod
    def _own_traits(cls) -> list[str]:
        """Return the names a caller may set."""
        return sorted(name for name in cls.class_trait_names(sync=True) if not name.startswith("_"))

    def _message(self, _widget: object, content: Any, _buffers: object) -> None:
        """Route a message of the browser: errors are logged and reported, the rest goes to `received`."""
        if not isinstance(content, dict):
            return
        if "error" in content:
            where, text = str(content.get("where", "view")), str(content["error"])
            LOG.error("browser: %s in %s: %s", type(self).__name__, where, text)
            self.on_error(where, text)
            return
        self.received(content)

    def received(self, message: dict[str, Any]) -> None:
        """Take a message of a view; the base class ignores it."""
