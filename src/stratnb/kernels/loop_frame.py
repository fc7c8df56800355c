"""The fixed parts of the generated loop, between which the blocks are written (see `loop_text`).

A word after @ that stands alone on its line is replaced by lines, any other by a number. Names: c<column> a column of
the row, s<node>_<cell> memory, p<node>_<cell> parameters, i<node> a counter, w<node> the stop last heeded;
o_ h_ l_ k_ v_ t_ the base candle; q, average, funds, costs, side, peak, trough, held the position; eq and worst the
equity at the close and at the adverse extreme. The cells of rows go by their names in `layout`.
"""

from __future__ import annotations

from stratnb.kernels import layout as at

__all__ = [
    "ASKED",
    "DECIDE",
    "FALLS",
    "FIND",
    "FRAME",
    "GROUP",
    "HEED",
    "INSIDE",
    "NATR",
    "PASSES",
    "QUICK",
    "SETTLE",
    "WORK",
]

INSIDE = 1 + at.W_CANDLE
WORK = INSIDE + 1  # cells of `work` before the rows of given columns: a flag, a candle, at how many closes it held
FRAME = """
def run(calls, code, params, memory, books, account, candles, start, stop, equity, fills, columns, counts, work):
    book, fresh, group, decision = books[0], work[:1], work[1 : 1 + W_CANDLE], work[WORK + GIVEN :]
    fresh[0] = 1.0
    memory[R_FEES] = 2.0 * params[S_TAKER]
    seen, total, least = memory[SEEN], memory[TOTAL], params[S_MIN_CANDLES]
    n, i, settled, none, trades = 0, start, start - 1, 0.0, book[B_ENTRIES] != ENTRIES_OFF
    keeps, draws = fills.shape[0] > MAX_FILLS, equity.size > 0
    quiet_end, dirty, expired, since, stage = start, False, False, start, 0
    q, average, side, funds, costs = book[B_QUANTITY], book[B_AVERAGE], 0.0, 0.0, 0.0
    peak, trough, held = book[B_PEAK], book[B_TROUGH], book[B_HELD]
    eq, worst, next_eq, next_worst = book[B_EQUITY], book[B_EQUITY_LOW], 0.0, 0.0
    low_price, high_price, low_eq, high_eq, line = -inf, inf, inf, -inf, inf
    @LOADS
    while i < stop and n + MAX_FILLS <= fills.shape[0]:
        @QUICK
        o_, h_, l_ = candles[i, 0], candles[i, 1], candles[i, 2]
        k_, v_, t_ = candles[i, 3], candles[i, 4], candles[i, 5]
        @PASSES
        stage = 0
        if draws:
            equity[i] = eq
        i += 1
    if dirty:
        catch_up(books, account, candles[settled], eq, worst, peak, trough, held, candles[settled, 5] + BASE_MS)
    counts[Z_NO_SIGNALS] += none
    work[INSIDE] += i - since if q != 0.0 else 0
    memory[SEEN], memory[TOTAL] = seen, total
    @SAVES
    return i, n
"""

QUICK = """
while i < quiet_end:
    h_, l_, k_ = candles[i, 1], candles[i, 2], candles[i, 3]
    if q != 0.0:
        next_eq = worth(funds, q, average, costs, k_)
        next_worst = worth(funds, q, average, costs, l_ if q > 0.0 else h_)
        if not (l_ > low_price and h_ < high_price and next_worst > line and low_eq <= next_eq <= high_eq):
            break
        eq, worst, peak, trough = next_eq, next_worst, max(peak, h_), min(trough, l_)
    settled, dirty = i, True
    @NODES
    if @SIGNALS:
        stage = 1
        break
    @FILTERS
    if q != 0.0:
        held += 1.0
        @STEPS
        if @HEEDS:
            stage = 2
            break
    @NATR
    seen, total = seen + 1.0, total + 1.0
    if seen < least:
        counts[Z_WARMING] += 1.0
    else:
        none += 1.0
    if draws:
        equity[i] = eq
    i += 1
if i >= stop:
    break
"""

SETTLE = """
slow = i >= quiet_end
if q != 0.0:
    next_eq = worth(funds, q, average, costs, k_)
    next_worst = worth(funds, q, average, costs, l_ if q > 0.0 else h_)
    slow = slow or not (l_ > low_price and h_ < high_price and next_eq <= high_eq and next_worst > line)
if slow:
    if dirty:
        catch_up(books, account, candles[settled], eq, worst, peak, trough, held, candles[settled, 5] + BASE_MS)
        dirty = False
    @SPILL
    n = resolve(calls, code, params, memory, book, candles[i], fills, n)
    call_settle(calls[SETTLE], books, account, candles[i : i + 1], fresh, t_ + BASE_MS)
    if not keeps:
        n = 0
    if (q != 0.0) != (book[B_QUANTITY] != 0.0):
        work[INSIDE] += i - since if q != 0.0 else 0
        since = i
    q, average, costs = book[B_QUANTITY], book[B_AVERAGE], book[B_COSTS]
    funds, side = book[B_CAPITAL] + book[B_REALIZED], 1.0 if q > 0.0 else -1.0
    peak, trough, held, eq, worst = book[B_PEAK], book[B_TROUGH], book[B_HELD], book[B_EQUITY], book[B_EQUITY_LOW]
    expired = book[B_EXPIRED] != 0.0
    quiet_end = quiet_until(book, account, candles, i + 1, stop, BASE_MS)
    low_price, high_price = untouched(params, book)
    low_eq, high_eq, line = quiet_equity(book, account)
    @RELOAD
else:
    if q != 0.0:
        eq, worst, peak, trough = next_eq, next_worst, max(peak, h_), min(trough, l_)
        if eq < low_eq:
            low_eq = note_falls(book, account, eq)
    else:
        worst = eq
    dirty = True
settled = i
"""

DECIDE = """
seen += 1.0
reason = float(Z_NO_SIGNALS)
if stage < 2:
    @FIND
    @FILTERS
if reason == Z_ENTER:
    @JUDGED
    reason = call_judge(calls[JUDGE], code, params, memory, reason, decision)
if seen < least:
    reason = float(Z_WARMING)
if q != 0.0:
    dirty, leave = True, -1.0
    if stage < 2:
        held += 1.0
        @STEPS
    @HEEDS
    if leave >= 0.0:
        if book[B_ORDER] != ORDER_EXIT:
            book[B_ORDER_MS] = c5 + PRIMARY_MS
        place_exit(book, leave)
        quiet_end = 0
@NATR
if reason == Z_ENTER and trades:
    reason = may_enter(book)
    if reason == Z_ENTER:
        if dirty:
            catch_up(books, account, candles[settled], eq, worst, peak, trough, held, candles[settled, 5] + BASE_MS)
        @ENTERS
        memory[R_PRICE] = c3
        reason = call_answer(calls[ANSWER], code, params, memory, books, 0, account, decision)
        quiet_end, dirty = 0, True
        @RELOAD
if reason == Z_NO_SIGNALS:
    none += 1.0
else:
    counts[int(reason)] += 1.0
"""

FIND = """
if @SIGNALS:
    @WEIGHED
    reason = call_weigh(calls[WEIGH], code, params, memory)
"""

ASKED = "c@ASKS == 1.0 or not (c@WISH == w@K or c@WISH != c@WISH)"

HEED = """
if @ASKED:
    w@K = c@WISH
    leave = heed(params, book, c3, c@WISH, c@ASKS, @REASON, leave)
    low_price, high_price = untouched(params, book)
"""

NATR = """
halt_volatile(book, c@COLUMN, account[A_MAX_NATR], c5 + PRIMARY_MS)
if book[B_NEWS] != 0.0:
    quiet_end = 0
"""

GROUP = """
shut = False
if late == 1:
    shut = group_is_late(code, memory, @ROLE, t_) and close_group(code, memory, @ROLE, group)
elif grow_group(code, memory, @ROLE, candles[i], total == 0.0):
    shut = close_group(code, memory, @ROLE, group)
if shut:
    load_candle(code, memory, @ROLE, group)
    @BODY
"""

FALLS = """
if expired:
    expired, quiet_end = False, 0
    @SPILL
    call_fall(calls[FALL], code, params, memory, books, 0, account, candles[i], decision)
    @RELOAD
"""

PASSES = """
gap = i > 0 and candles[i, 5] != candles[i - 1, 5] + BASE_MS
for late in range(1 if gap else 0, -1, -1):
    if late == 0:
        @SETTLE
    @ROLES
    if late == 0:
        @FALLS
        total += 1.0
"""
