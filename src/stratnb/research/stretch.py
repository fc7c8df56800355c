"""One stretch of candles run with a plan: candles before it are stepped and not traded, what is open is closed."""

from __future__ import annotations

import numpy as np

from stratnb.errors import Finding
from stratnb.kernels import layout as at
from stratnb.market_data.candles import Candles
from stratnb.research.backtest import Backtest, open_account
from stratnb.research.funding import FundingRates, parts_of, rates_of
from stratnb.research.gaps import close_out
from stratnb.research.looping import FILL_BUFFER, REASON_CELLS, filled
from stratnb.services.ledger import AccountLimits
from stratnb.strategy.plan import Plan

__all__ = ["run_stretch"]


def run_stretch(
    plan: Plan,
    candles: Candles,
    *,
    cash: float,
    limits: AccountLimits | None = None,
    funding: FundingRates | None = None,
    before: int = 0,
    findings: tuple[Finding, ...] = (),
) -> Backtest:
    """Return a run over candles[before:] that is flat at both ends; the first `before` candles only warm the blocks up.

    It is the loop of the backtest; what is open at the end is closed at the last close with its costs.
    """
    (books, account), memory, rows = open_account(plan, cash, limits), plan.memory(), candles.table()
    equity, fills, counts = np.empty(len(rows)), np.empty((FILL_BUFFER, at.W_FILL)), np.zeros(REASON_CELLS)
    kept, rates = [fills[:0]], rates_of(plan, books[0], candles.close_time_ms, funding)
    for span, entries in (((0, before), at.ENTRIES_OFF), ((before, len(rows)), at.ENTRIES_ON)):
        books[0, at.B_ENTRIES] = entries
        counts[:] = 0.0
        for part, rate in parts_of(rates, span):
            books[0, at.B_FUNDING_RATE] = rate
            made = filled(plan, memory, books, account, rows, part, equity, fills, counts)
            kept += [own.copy() for own in made]
    if len(rows) > before:
        n, equity[-1] = close_out(plan, books, account, rows[-1], fills)
        kept.append(fills[:n].copy())
    return Backtest(
        plan=plan,
        candles=candles[before:],
        capital=float(books[0, at.B_CAPITAL]),
        equity_curve=equity[before:],
        fill_rows=np.concatenate(kept),
        decision_rows=np.empty((0, plan.decision_width)),
        reasons=plan.counts(list(counts)),
        book=books[0],
        account=account,
        findings=findings,
        complete=True,
        limits=limits,
        funding=funding,
    )
