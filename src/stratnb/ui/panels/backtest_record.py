"""The recorded runs that a backtest can be compared with: those of the board's strategies, a journal, a saved run."""

from __future__ import annotations

from typing import Any, Final

from stratnb.errors import ConfigError
from stratnb.market_data.paths import typed_path
from stratnb.parity_explain import ParityReport, Recorded, explain, recorded_of
from stratnb.research.backtest import load_run
from stratnb.ui.panels.acting import followable
from stratnb.ui.panels.backtest_checks import engine_candles
from stratnb.ui.panels.backtest_runs import Run
from stratnb.view import Board

__all__ = ["explained_run", "record_of_board", "record_of_file"]

SAVED: Final = (".json", ".json.gz")


def record_of_board(board: Board, strategy_id: str) -> Recorded:
    """Return what a board tells of a loaded strategy: its fills, its document, the candles of its market."""
    view = board.view()
    row = next((each for each in view.strategies if each.strategy_id == strategy_id), None)
    if row is None:
        text = f"{strategy_id!r} is not loaded any more"
        raise ConfigError("unknown_strategy", text, value=strategy_id, hint="choose another run")
    timeframe = view.feed.timeframe if view.feed else row.timeframe
    return Recorded(
        name=row.name,
        symbol=row.symbol,
        fills=tuple(board.fills(strategy_id)),
        document=board.document(strategy_id),
        cash=view.start_equity,
        candles=engine_candles(board, row.symbol, timeframe),
        since_ms=row.activated_ms,
    )


def record_of_file(path: str, strategy_id: str = "") -> Recorded:
    """Return the run in a file: a saved backtest, or the journal of an engine, of which an id chooses a strategy."""
    if not path.strip():
        hint = "give the path of a journal (.sqlite) or of a saved run (.json)"
        raise ConfigError("missing", "the file of the recorded run is missing", hint=hint)
    file = typed_path(path.strip())
    if not file.is_file():
        text = f"there is no file {path.strip()!r}"
        raise ConfigError("file_missing", text, value=path.strip(), hint="give the path of a journal or a saved run")
    try:
        saved: Any = load_run(file) if file.name.lower().endswith(SAVED) else file
        return recorded_of(saved, strategy_id.strip() or None)
    except ConfigError as error:
        hint = f"{error.hint}; write its Id beside the record" if error.code == "unknown_strategy" else error.hint
        raise followable(error, {error.code: hint}, path) from error


def explained_run(run: Run, record: Recorded, **hooks: Any) -> ParityReport:
    """Return why a recorded run differs from a shown one; the account is that of the record where it is known."""
    cash = run.plan.cash if record.cash is None else None
    assert run.candles is not None, "a run without candles cannot be run again"
    return explain(record, run.candles, run.plan.strategy, cash=cash, overrides=run.plan.overrides or None, **hooks)
