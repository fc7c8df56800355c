"""What a journal says of the engine that writes it: settings, markets and candles, so that others can follow."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from stratnb.errors import ConfigError, Finding
from stratnb.model import Market
from stratnb.multi.settings import EngineSettings

__all__ = ["Description", "journal_bytes"]


@dataclass(frozen=True, slots=True)
class Description:
    """An engine's name, settings, markets and feed."""

    name: str
    settings: EngineSettings
    markets: tuple[Market, ...]
    symbols: tuple[str, ...]
    timeframe: str
    label: str
    synthetic: bool

    def check_goes_on(self, earlier: Description) -> None:
        """Raise `ConfigError` (`journal_other`) when a journal is of another account: what it holds would not fit.

        Further markets may come; what candles alone told of a market may change with them.
        """
        found: list[Finding] = []
        if self.timeframe != earlier.timeframe:
            text = f"the feed has candles of {self.timeframe}, the journal of {earlier.timeframe}"
            found.append(Finding("timeframe", "journal_other", text))
        if self.settings.cash != earlier.settings.cash:
            text = f"the account starts with {self.settings.cash:g}, the journal's with {earlier.settings.cash:g}"
            found.append(Finding("cash", "journal_other", text))
        markets = {market.symbol: market for market in self.markets}
        for before in earlier.markets:
            now = markets.get(before.symbol)
            if now is None or before.symbol not in self.symbols:
                found.append(Finding(before.symbol, "journal_other", "the journal trades it, the feed has no candles"))
            elif told := _changed(before, now):
                found.append(Finding(before.symbol, "journal_other", told))
        if found:
            raise ConfigError(
                "journal_other",
                "the journal belongs to another account",
                findings=found,
                hint="give the candles and settings it was made with, or another journal",
            )

    def to_json(self) -> str:
        """Return everything as one JSON object; paths of the machine are left out."""
        local = {"journal", "paper_book", "workspace", "tokens"}
        values: dict[str, Any] = {
            **{"name": self.name, "symbols": self.symbols, "timeframe": self.timeframe, "label": self.label},
            **{"synthetic": self.synthetic, "markets": [asdict(market) for market in self.markets]},
            "settings": self.settings.model_dump(mode="json", exclude=local),
        }
        return json.dumps(values, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Description:
        """Return the engine that a text describes."""
        values = json.loads(text)
        markets = tuple(Market(**{**each, "inferred": tuple(each["inferred"])}) for each in values.pop("markets"))
        settings = EngineSettings(**values.pop("settings"))
        return cls(settings=settings, markets=markets, symbols=tuple(values.pop("symbols")), **values)


def _changed(before: Market, now: Market) -> str:
    """Return which fields of a market that both know for certain are not the same; it may be halted and come back."""
    guessed = {*before.inferred, *now.inferred, "inferred", "active"}
    names = [name for name in Market.__slots__ if name not in guessed and getattr(before, name) != getattr(now, name)]
    return ", ".join(f"{name} was {getattr(before, name)}, is {getattr(now, name)}" for name in names)


def journal_bytes(journal: Path) -> int:
    """Return the size of a journal with the log that belongs to it."""
    files = (journal, journal.with_name(f"{journal.name}-wal"))
    return sum(path.stat().st_size for path in files if path.exists())
