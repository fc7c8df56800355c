"""Links that save a text as a file, from the page itself."""

from __future__ import annotations

import base64

from stratnb.ui.format import escape

__all__ = ["download"]


def download(name: str, content: str, kind: str) -> str:
    """Return a link that saves a text as a file, from the page itself."""
    data = base64.b64encode(content.encode()).decode()
    return (
        f'<a class="sn-save" download="{escape(name)}" href="data:{escape(kind)};base64,{data}">Save {escape(name)}</a>'
    )
