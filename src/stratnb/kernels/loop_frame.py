"""The fixed parts of the generated loop, between which the blocks are written (see `loop_text`).

A word after @ that stands alone on its line is replaced by lines, any other by a number. Names: c<column> a column of
the row, s<node>_<cell> memory, p<node>_<cell> parameters, i<node> a counter, w<node> the stop last heeded;
o_ h_ l_ k_ v_ t_ the base candle; q, average, funds, costs, side, peak, trough, held the position; eq and worst the
equity at the close and at the adverse extreme, deepest the least at the closes not settled yet; sign_ price_ stop_ ...
an entry; waits: an order is in the book. The cells of rows go by their names in `layout`.
"""

from __future__ import annotations

from stratnb.kernels import layout as at

__all__ = [
    "ARM",
    "ASKED",
    "CATCH",
    "CLEAR",
    "DECIDE",
    "FALLS",
    "FIND",
    "FRAME",
    "GROUP",
    "HEED",
    "INSIDE",
    "KNOWN",
    "NATR",
    "PASSES",
    "POSITION",
    "QUICK",
    "RESOLVE",
    "SETTLE",
    "WORK",
]

INSIDE = 1 + at.W_CANDLE
CLEAR, KNOWN = INSIDE + 1, INSIDE + 2
# Cells of `work` before the rows of given columns: a flag, a candle, at how many closes it held; of candles that were
# stepped ahead of the account how many are without a signal, and whether the one after them has one.
WORK = KNOWN + 1
FRAME = """
def run(calls, code, params, memory, books, account, candles, start, stop, equity, fills, columns, counts, work):
    book, fresh, group, decision = books[0], work[:1], work[1 : 1 + W_CANDLE], work[WORK + GIVEN :]
    fresh[0] = 1.0
    memory[R_FEES] = 2.0 * params[S_TAKER]
    begun, total, least = memory[SEEN], memory[TOTAL], params[S_MIN_CANDLES]
    seen, warm_end = begun, start + int(np.ceil(least - begun - 1.0))
    n, i, settled, none, trades = 0, start, start - 1, 0, book[B_ENTRIES] != ENTRIES_OFF
    keeps, draws = fills.shape[0] > MAX_FILLS, equity.size > 0
    rules_end, quiet_end, dirty, since, stage = start, start, False, start, 0
    waits, expired, tick = book[B_ORDER] != ORDER_NONE, False, params[S_TICK]
    q = book[B_QUANTITY]
    eq, worst, deepest, next_eq, next_worst = book[B_EQUITY], book[B_EQUITY_LOW], inf, 0.0, 0.0
    low_price, high_price, high_eq, line, watched = -inf, inf, -inf, inf, True
    @POSITION
    sign_, price_, limit_, until_, stop_, reason_, equity_ = 0.0, 0.0, 0.0, 0.0, nan, 0.0, 0.0
    @LOADS
    while i < stop and n + MAX_FILLS <= fills.shape[0]:
        @QUICK
        o_, h_, l_ = cell(candles, 6 * i), cell(candles, 6 * i + 1), cell(candles, 6 * i + 2)
        k_, v_, t_ = cell(candles, 6 * i + 3), cell(candles, 6 * i + 4), cell(candles, 6 * i + 5)
        @PASSES
        stage = 0
        if draws:
            put(equity, i, eq)
        i += 1
    if dirty:
        @CATCH
    counts[Z_NO_SIGNALS] += none
    work[INSIDE] += i - since if q != 0.0 else 0
    @COUNTED
    @SAVES
    return i, n
"""

CATCH = """
marked = candles[settled]
catch_up(books, account, marked, eq, worst, deepest, peak, trough, held, marked[C_TIME] + BASE_MS)
dirty, deepest = False, inf
"""

QUICK = """
begin = i
while i < quiet_end:
    h_, l_, k_ = cell(candles, 6 * i + 1), cell(candles, 6 * i + 2), cell(candles, 6 * i + 3)
    if q != 0.0:
        next_eq = worth(funds, q, average, costs, k_)
        if not (l_ > low_price and h_ < high_price and next_eq <= high_eq):
            break
        if watched and not worth(funds, q, average, costs, l_ if q > 0.0 else h_) > line:
            break
        eq, peak, trough, deepest = next_eq, max(peak, h_), min(trough, l_), min(deepest, next_eq)
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
    if draws:
        put(equity, i, eq)
    i += 1
if i > begin:
    warming = min(max(warm_end - begin, 0), i - begin)
    counts[Z_WARMING] += warming
    none += i - begin - warming
settled = i - 1 if stage == 0 else i
if settled >= begin:
    dirty = True
    if q != 0.0:
        worst = worth(funds, q, average, costs, cell(candles, 6 * settled + (2 if q > 0.0 else 1)))
if i >= stop:
    break
"""

SETTLE = """
slow = i >= (rules_end if waits else quiet_end)
if waits or (q != 0.0 and not (l_ > low_price and h_ < high_price)):
    if q != 0.0:
        book[B_PEAK], book[B_TROUGH], book[B_HELD] = peak, trough, held
    @RESOLVE
    if not keeps:
        n = 0
    @POSITION
    quiet_end = min(rules_end, position_until(book, candles, i, stop, BASE_MS))
    waits = book[B_ORDER] != ORDER_NONE
    calm = takes_news(book, account) and book[B_INSIDE] != t_ and book[B_RISK + K_NEXT] > t_ + BASE_MS
    slow = slow or waits or not calm or i >= quiet_end
next_eq, next_worst = funds - costs, funds - costs
if q != 0.0:
    next_eq = worth(funds, q, average, costs, k_)
    next_worst = worth(funds, q, average, costs, l_ if q > 0.0 else h_)
if slow or not (next_eq <= high_eq and next_worst > line):
    if dirty:
        @CATCH
    call_settle(calls[SETTLE], books, account, candles[i : i + 1], fresh, t_ + BASE_MS)
    @POSITION
    eq, worst = book[B_EQUITY], book[B_EQUITY_LOW]
    waits, expired = book[B_ORDER] != ORDER_NONE, book[B_EXPIRED] != 0.0
    rules_end = rules_until(book, account, candles, i + 1, stop, BASE_MS)
    quiet_end = 0 if waits else min(rules_end, position_until(book, candles, i + 1, stop, BASE_MS))
    high_eq, line = quiet_equity(book, account)
    watched = line > -inf
else:
    eq, worst, deepest, dirty = next_eq, next_worst, min(deepest, next_eq), True
    if q != 0.0:
        peak, trough = max(peak, h_), min(trough, l_)
settled = i
"""

POSITION = """
if (q != 0.0) != (book[B_QUANTITY] != 0.0):
    work[INSIDE] += i - since if q != 0.0 else 0
    since = i
q, average, costs = book[B_QUANTITY], book[B_AVERAGE], book[B_COSTS]
funds, side = book[B_CAPITAL] + book[B_REALIZED], 1.0 if q > 0.0 else -1.0
peak, trough, held = book[B_PEAK], book[B_TROUGH], book[B_HELD]
if q != 0.0:
    low_price, high_price = untouched(params, book)
"""

RESOLVE = """
first = n
if waits:
    n = fill_open(params, book, candles[i], fills, n)
    for f in range(first, n):
        entered = book[B_QUANTITY] == 0.0 or fills[f, F_REASON] == REASON_ENTRY
        apply_fill(book, fills[f])
        if entered:
            sign_, price_ = 1.0 if book[B_QUANTITY] > 0.0 else -1.0, book[B_AVERAGE]
            @ARMS
            fix_levels(TABLE, params, memory, book, sign_, price_, stop_, reason_)
first = n
if book[B_QUANTITY] != 0.0:
    n = fill_touch(params, book, candles[i], fills, n)
    for f in range(first, n):
        apply_fill(book, fills[f])
"""

DECIDE = """
@SEEN
reason = float(Z_NO_SIGNALS)
if stage < 2:
    @FIND
    @FILTERS
if reason == Z_ENTER:
    @JUDGED
    reason = judge(TABLE, params, memory, reason, decision)
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
        waits, quiet_end = True, 0
@NATR
if reason == Z_ENTER and trades:
    reason = may_enter(book)
    if reason == Z_ENTER:
        if dirty:
            @CATCH
        sign_ = memory[R_DIRECTION]
        price_, limit_, until_ = entry_terms(params, sign_, c3, c5 + PRIMARY_MS)
        @ARMS
        equity_ = sized_equity(params, book)
        show_terms(params, memory, price_, stop_, equity_, account[A_FREE], @NATR_NOW)
        @SIZES
        reason = enter_sized(
            params, books, 0, account, sign_, price_, limit_, until_, stop_, equity_, c@WANTED, decision, False
        )
        note_answer(book, reason, c5 + PRIMARY_MS)
        waits, dirty = book[B_ORDER] != ORDER_NONE, True
        if waits:
            quiet_end = 0
if reason == Z_NO_SIGNALS:
    none += 1
else:
    counts[int(reason)] += 1.0
"""

ARM = """
stop_, reason_, w@K = tightened(tick, sign_, price_, c@WISH, stop_, reason_, @REASON)
"""

FIND = """
if @SIGNALS:
    @WEIGHED
    reason = aggregate(TABLE, params, memory)
"""

ASKED = "c@ASKS == 1.0 or not (c@WISH == w@K or c@WISH != c@WISH)"

HEED = """
if @ASKED:
    leave = heed(params, book, c3, c@WISH, c@ASKS, @REASON, leave)
    w@K = c@WISH if leave < 0.0 else nan
    if leave < 0.0:
        low_price, high_price = untouched(params, book)
"""

NATR = """
halt_volatile(book, c@COLUMN, account[A_MAX_NATR], c5 + PRIMARY_MS)
if book[B_NEWS] != 0.0:
    rules_end, quiet_end = 0, 0
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
    expired = False
    @SPILL
    call_fall(calls[FALL], code, params, memory, books, 0, account, candles[i], decision)
    @RELOAD
    waits = book[B_ORDER] != ORDER_NONE
    if waits:
        quiet_end = 0
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
