"""Market files: the precision, minimums and fees of markets, written down as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from stratnb.errors import ConfigError, Finding, nearest
from stratnb.market_data.naming import check_symbol
from stratnb.model import MarketKind

__all__ = ["MarketRow", "load_markets"]


class MarketRow(BaseModel):
    """What a market file says of one market; what it leaves open is guessed from the candles."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    kind: MarketKind | None = Field(None, title="Market kind")
    tick: float | None = Field(None, gt=0, title="Step of the price")
    lot: float | None = Field(None, gt=0, title="Step of the quantity")
    min_quantity: float | None = Field(None, ge=0, title="Smallest quantity")
    min_notional: float | None = Field(None, ge=0, title="Smallest notional, quote units")
    maker_fee: float | None = Field(None, gt=-0.1, lt=0.1, title="Maker fee, fraction")
    taker_fee: float | None = Field(None, gt=-0.1, lt=0.1, title="Taker fee, fraction")
    max_leverage: float | None = Field(None, ge=1, title="Largest leverage")

    @property
    def known(self) -> dict[str, Any]:
        """Return the values that are given, by field of `Market`."""
        return self.model_dump(exclude_none=True)


def load_markets(path: str | Path) -> dict[str, MarketRow]:
    """Return the rows of a market file by symbol; all its faults are in one `ConfigError`.

    The file holds `{"ETH/BTC": {"tick": 1e-6, "lot": 0.001}}`, or a list of such objects that name their `symbol`,
    or one of them.
    """
    path = Path(path)
    rows: dict[str, MarketRow] = {}
    findings: list[Finding] = []
    for place, symbol, given in _rows(path, _content(path)):
        try:
            rows[check_symbol(symbol)] = MarketRow.model_validate(given)
        except ConfigError as error:
            findings.append(Finding(place, error.code, error.message, symbol, error.hint, path.name))
        except ValidationError as error:
            findings += _faults(place, error, path)
    if findings:
        plural = "s" if len(findings) > 1 else ""
        raise ConfigError(
            "market_invalid", f"{path.name} has {len(findings)} fault{plural}", value=str(path), findings=findings
        )
    return rows


def _content(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        what = error.strerror or type(error).__name__
        raise ConfigError("file_missing", f"{path}: {what}", value=str(path), hint="check the path") from error
    except ValueError as error:
        hint = 'write {"ETH/BTC": {"tick": 1e-6, "lot": 0.001}}'
        raise ConfigError("not_json", f"{path.name} is not JSON: {error}", value=str(path), hint=hint) from error


def _rows(path: Path, content: Any) -> Iterator[tuple[str, str, Any]]:
    """Yield place, symbol and values of each market in the file."""
    if isinstance(content, Mapping) and "symbol" in content:
        content = [content]
    if isinstance(content, Mapping):
        yield from ((symbol, symbol, given) for symbol, given in content.items())
    elif isinstance(content, list) and all(isinstance(item, Mapping) for item in content):
        for k, item in enumerate(content):
            yield f"[{k}]", str(item.get("symbol", "")), {name: v for name, v in item.items() if name != "symbol"}
    else:
        hint = 'write {"ETH/BTC": {"tick": 1e-6, "lot": 0.001}}'
        raise ConfigError("market_shape", f"{path.name} holds no markets", value=str(path), hint=hint)


def _faults(place: str, error: ValidationError, path: Path) -> Iterator[Finding]:
    """Yield a finding for each fault of one market, with near names for unknown fields."""
    for fault in error.errors():
        name = str(fault["loc"][0]) if fault["loc"] else ""
        hint = ""
        if fault["type"] == "extra_forbidden":
            close = nearest(name, MarketRow.model_fields)
            hint = f"did you mean {close[0]!r}?" if close else f"fields: {', '.join(MarketRow.model_fields)}"
        where = f"{place}.{name}" if name else place
        yield Finding(where, fault["type"], fault["msg"], fault.get("input"), hint, path.name)
