"""Links that save a file, from the page itself."""

from __future__ import annotations

import base64

from stratnb.ui.format import escape

__all__ = ["download"]


def download(name: str, content: str | bytes, kind: str, label: str = "") -> str:
    """Return a link that saves a text or bytes as a file, from the page itself; it says "Save name" or `label`."""
    data = base64.b64encode(content.encode() if isinstance(content, str) else content).decode()
    address = f"data:{escape(kind)};base64,{data}"
    return f'<a class="sn-save" download="{escape(name)}" href="{address}">{escape(label or f"Save {name}")}</a>'
