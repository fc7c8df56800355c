"""One stretch of candles run with a plan: candles before it are stepped and not traded, what is open is closed."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from stratnb.errors import Finding
from stratnb.kernels import layout as at
from stratnb.kernels import loop
from stratnb.market_data.candles import Candles
from stratnb.research.backtest import Backtest
from stratnb.research.failing import told
from stratnb.research.gaps import close_out
from stratnb.research.looping import FILL_BUFFER, REASON_CELLS
from stratnb.services.ledger import AccountLimits, new_account, open_book
from stratnb.strategy.plan import Plan

__all__ = ["run_stretch"]

Floats = npt.NDArray[np.float64]


def run_stretch(
    plan: Plan,
    candles: Candles,
    *,
    cash: float,
    limits: AccountLimits | None = None,
    before: int = 0,
    findings: tuple[Finding, ...] = (),
) -> Backtest:
    """Return a run over candles[before:] that is flat at both ends; the first `before` candles only warm the blocks up.

    It is the loop of the backtest; what is open at the end is closed at the last close with its costs.
    """
    books, account = np.zeros((1, at.W_BOOK)), new_account(cash, limits)
    open_book(books[0], plan, cash=cash)
    memory, rows, equity, counts = plan.memory(), candles.rows(), np.empty(len(candles)), np.zeros(REASON_CELLS)
    fills, none = np.empty((FILL_BUFFER, at.W_FILL)), np.empty((0, plan.decision_width))
    calls = loop.parts()
    kept, done = [np.empty((0, at.W_FILL))], 0
    for stop, entries in ((before, at.ENTRIES_OFF), (len(rows), at.ENTRIES_ON)):
        books[0, at.B_ENTRIES] = entries
        counts[:] = 0.0
        while done < stop:
            with told(plan, memory):
                done, n, _ = loop.run(
                    calls, plan.code, plan.params, memory, books, account, rows, done, stop, equity, fills, none, counts
                )
            kept.append(fills[:n].copy())
    if len(rows) > before:
        n, equity[-1] = close_out(plan, books, account, rows[-1], fills)
        kept.append(fills[:n].copy())
    return Backtest(
        plan=plan,
        candles=candles[before:],
        capital=float(books[0, at.B_CAPITAL]),
        equity_curve=equity[before:],
        fill_rows=np.concatenate(kept),
        decision_rows=none,
        reasons=plan.counts(list(counts)),
        book=books[0],
        account=account,
        findings=findings,
        complete=True,
        limits=limits,
    )
