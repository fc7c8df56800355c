"""What the indicators share: the field of a look-back and the base of those that read one column."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from stratnb.blocks.base import Indicator

__all__ = ["ColumnIndicator", "candles"]


def candles(default: int, title: str = "Period", *, least: int = 1, most: int = 5000) -> Any:
    """Return the field of a number of candles with its bounds."""
    return Field(default, ge=least, le=most, title=title, json_schema_extra={"x-unit": "candles"})


class ColumnIndicator(Indicator):
    """An indicator of one column, the close unless another is named."""

    on: tuple[str, ...] = Field(("close",), min_length=1, max_length=1, title="Input column")
