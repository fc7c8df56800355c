"""Where each number lies in the flat rows that kernels work on.

Every row is float64 except `code`, the integer table of a plan. Constants are plain integers so that compiled code
folds them. Prefixes: C_ candle, R_ plan row, H_ header of `code`, N_ node of `code`, S_ settings of a plan,
G_ timeframe group, B_ book of one strategy, A_ account, P_ and K_ risk cells that both of these have, F_ fill,
D_ decision, W_ width.
"""

from __future__ import annotations

from math import inf

# One candle.
(C_OPEN, C_HIGH, C_LOW, C_CLOSE, C_VOLUME, C_TIME) = range(6)
W_CANDLE = 6

# The head of a plan's row; outputs of the blocks follow.
(R_OPEN, R_HIGH, R_LOW, R_CLOSE, R_VOLUME, R_TIME, R_MINUTE) = range(7)
(R_DIRECTION, R_CONFIDENCE, R_SCORE, R_LONG, R_SHORT, R_PRICE, R_STOP_PRICE) = range(7, 14)
(R_EQUITY, R_FREE, R_COST, R_FEES) = range(14, 18)
(R_SIDE, R_QUANTITY, R_ENTRY, R_FIRST_STOP, R_STOP, R_PEAK, R_TROUGH, R_DONE) = range(18, 26)
(R_RETURN, R_HELD, R_MINUTES, R_FRESH, R_GAP) = range(26, 31)
W_HEAD = 31
HEAD_COLUMNS = (
    *("open", "high", "low", "close", "volume", "open_time_ms", "minute_of_week"),
    *(
        "signal.direction",
        "signal.confidence",
        "signal.score",
        "signal.long",
        "signal.short",
        "signal.price",
        "stop.price",
    ),
    *("account.equity", "account.free", "cost.round_trip", "cost.fees"),
    *("position.side", "position.quantity", "position.entry_price", "position.initial_stop", "position.stop"),
    *("position.peak", "position.trough", "position.targets_done", "position.return", "position.candles"),
    *("position.minutes", "position.fresh", "gap"),
)

# The integer header of a plan: segments of nodes first, as (start, end) pairs.
ROLES = ("context", "trend2", "trend", "primary")
PRIMARY = 3
(SEG_FILTERS, SEG_SIZING, SEG_EXITS) = range(4, 7)
H_SEGMENTS = 0
(H_NODES, H_LISTS, H_ROW, H_COUNTERS, H_X, H_GROUPS, H_TIMEFRAMES) = range(14, 21)
H_BASE_MS = 24
(H_ANALYZERS, H_ANALYZER_LIST, H_FILTERS, H_FILTER_LIST, H_ROLE_COLUMNS) = range(26, 31)
(H_STEP, H_FIRST_STOP, H_ENTER) = range(34, 37)  # addresses of compiled parts
H_NATR = 37  # the column of an indicator natr on the primary timeframe, 0 without one
H_DECIDE = 38  # the address of what follows once the timeframes have closed
W_HEADER = 40

# One node: a block in place.
(N_ADDRESS, N_INPUTS, N_REQUIRED, N_LIST, N_OUT, N_OUTS, N_STATE, N_STATES, N_P, N_PS, N_FILL, N_TARGETS) = range(12)
N_CHOICES = 12  # a bit for each parameter that is one of a few values
W_NODE = 13
FILL_NAN, FILL_ZERO = 0, 1

# Settings of a plan, at the start of its parameters; weights of the analyzers and the blocks' own follow.
(S_MODE, S_MIN_CONFIDENCE, S_SIGNAL_MIN, S_MAX_CONFLICT, S_MIN_SCORE, S_OPPOSITION, S_MIN_AGREEING) = range(7)
(S_CONFLICT_FACTOR, S_MIN_CANDLES, S_LONG, S_SHORT, S_CAP, S_LEVERAGE, S_TAKER, S_MAKER, S_SLIPPAGE) = range(7, 16)
(S_TICK, S_LOT, S_MIN_QUANTITY, S_MIN_NOTIONAL, S_LINEAR, S_MAX_EXPOSURE, S_WEIGHTS, S_COMPOUND) = range(16, 24)
(S_MAX_SLIPPAGE, S_MAX_QUANTITY, S_MAX_ORDERS, S_MAX_TRADES, S_HEALTH, S_DRAWDOWN, S_FACTORS) = range(24, 31)
S_STREAK = 31
MAX_FACTORS = 20
(S_SLIPPAGE_MODEL, S_SLIPPAGE_FACTOR, S_THROUGH, S_MARGIN, S_MAINTENANCE, S_LIQUIDATION_FEE) = range(51, 57)
(S_PARTICIPATION, S_LIMIT, S_LIMIT_OFFSET, S_LIMIT_MS, S_POST_ONLY, S_FALLBACK) = range(57, 63)
(S_BASE_FEE, S_LATENCY) = range(63, 65)
W_SETTINGS = 65
MARGIN_NONE, MARGIN_ISOLATED, MARGIN_CROSS = 0.0, 1.0, 2.0
SLIPPAGE_FIXED, SLIPPAGE_VOLATILITY, SLIPPAGE_VOLUME = 0.0, 1.0, 2.0
THROUGH, TOUCH = 1.0 - 1e-6, -1e-6  # how many ticks beyond a target the price trades when it fills
MODE_VOTE, MODE_WEIGHTED, MODE_COVERAGE = 0, 1, 2

# A higher timeframe while it is being built, in the plan's memory.
(G_OPEN_MS, G_STATE, G_O, G_H, G_L, G_C, G_V, G_CANDLES) = range(8)
W_GROUP = 8
GROUP_NONE, GROUP_OPEN, GROUP_WITHHELD = 0, 1, 2

# The risk of a scope, in a book from B_RISK and in the account from A_RISK on: the time of the next release, the pause
# in force, a block that a service set (a code), the day's highest equity, the peak, limits, codes of outer rules, then
# when each rule ends: 0 not in force, infinity latched.
(K_NEXT, K_PAUSE, K_PAUSE_UNTIL, K_BLOCK, K_DAY_HIGH, K_PEAK, K_MAX_DRAWDOWN) = range(7)
(K_GUARD_COUNT, K_GUARD_MS, K_GUARD_PAUSE, K_LOCK_ARM, K_LOCK_BACK, K_TARGET) = range(7, 13)
(K_OUTER_REDUCE, K_OUTER_HALT, K_RULES) = range(13, 16)
(RULE_DAILY, RULE_DRAWDOWN, RULE_LOSSES, RULE_GUARD, RULE_LOW, RULE_LOCK, RULE_TARGET, RULE_VOLATILITY) = range(8)
(RULE_COOLDOWN, RULE_REDUCE, RULE_HALT, RULE_KILL, RULE_STORM, RULE_FEED) = range(8, 14)
RULES = 14
W_RISK = K_RULES + RULES
LATCHED = inf
HEALTH_TRADES, CLOSES_KEPT, ORDERS_KEPT = 50, 12, 10

# The book of one strategy: identity, ledger, position, levels, order, risk.
(B_USED, B_MARKET, B_CAPITAL, B_LEVERAGE, B_LINEAR, B_MAX_EXPOSURE, B_ENTRIES, B_BASE_MS) = range(8)
(B_REALIZED, B_COSTS, B_MARK, B_EQUITY, B_EQUITY_LOW, B_PEAK_EQUITY, B_DRAWDOWN) = range(8, 15)
(B_QUANTITY, B_AVERAGE, B_OPENED_MS, B_ORIGINAL, B_PEAK, B_TROUGH, B_HELD) = range(15, 22)
(B_TRADE_NO, B_TRADE_REALIZED, B_TRADE_COSTS, B_TRADES, B_WINS, B_GAINS, B_LOSSES) = range(22, 29)
(B_STOP, B_STOP_REASON, B_FIRST_STOP, B_TARGETS, B_DONE) = range(29, 34)
B_LEVELS = 34
MAX_TARGETS = 8
W_LEVEL = 3
(B_ORDER, B_ORDER_SIGN, B_ORDER_QUANTITY, B_ORDER_REASON, B_ORDER_MS, B_RESERVED) = range(58, 64)
(B_STATE, B_STATE_REASON, B_UNTIL, B_DAY, B_DAY_START, B_MAX_DAILY_LOSS, B_DENIALS, B_AMBIGUOUS) = range(64, 72)
B_WHOLE = 72
(B_NEWS, B_STREAK, B_LOST, B_TRADE_DAY, B_DAY_TRADES, B_HEALTH_FROM, B_WORKING) = range(73, 80)
(B_ORDER_RISK, B_NATR, B_MAX_HOLDING, B_MAX_LOSSES, B_COOLDOWN) = range(80, 85)
(B_LOW_TRADES, B_LOW_MS, B_LOW_RETURN, B_LOW_PAUSE) = range(85, 89)
B_RISK = 89  # the K_ cells
B_RETURNS = B_RISK + W_RISK  # returns of the newest trades, a ring
B_CLOSES = B_RETURNS + HEALTH_TRADES  # when the newest trades closed, negative for a stop at a loss, a ring
B_ORDERS = B_CLOSES + CLOSES_KEPT  # when the newest orders were sent, a ring
# Cells that came later follow, so that a row that was kept before still restores (`kernels.stored`).
W_BOOK_FIRST = B_ORDERS + ORDERS_KEPT
(B_ORDER_PRICE, B_MAINTENANCE, B_ADVERSE, B_FUNDING, B_FUNDING_OPEN, B_FUNDING_AT) = range(
    W_BOOK_FIRST, W_BOOK_FIRST + 6
)
(B_FUNDING_MS, B_FUNDING_RATE) = range(W_BOOK_FIRST + 6, W_BOOK_FIRST + 8)
(B_ORDER_UNTIL, B_EXPIRED, B_INSIDE) = range(W_BOOK_FIRST + 8, W_BOOK_FIRST + 11)
B_SENT = W_BOOK_FIRST + 11  # how many orders were sent, which names the oldest one kept
W_BOOK = W_BOOK_FIRST + 12
NEWS_CLOSED, NEWS_FIRED = 1.0, 2.0
ORDER_NONE, ORDER_ENTRY, ORDER_EXIT = 0.0, 1.0, 2.0
ENTRIES_OFF, ENTRIES_ON, ENTRIES_MANAGING, ENTRIES_PAUSED = 0.0, 1.0, 2.0, 3.0

# The account.
(A_START, A_EQUITY, A_EQUITY_LOW, A_FREE, A_GROSS, A_NET, A_OPEN, A_STATE, A_STATE_REASON, A_UNTIL) = range(10)
(A_DAY, A_DAY_START, A_PEAK, A_DRAWDOWN, A_RESERVED) = range(10, 15)
(A_MAX_OPEN, A_MAX_PER_MARKET, A_MARKET_NET, A_MARKET_GROSS, A_GROSS_SPOT, A_GROSS_LINEAR) = range(15, 21)
(A_MAX_DAILY_LOSS, A_FLATTEN, A_REQUIRE_STOP) = range(21, 24)
(A_NOW, A_RISK_TRADE, A_RISK_OPEN, A_RATE_STRATEGY, A_RATE_ACCOUNT, A_LIQUIDATION, A_MAX_NATR) = range(24, 31)
A_RISK = 31  # the K_ cells
W_ACCOUNT = A_RISK + W_RISK
# Both rows hold five cells of the risk state in this order, from B_STATE and A_STATE on.
(P_STATE, P_REASON, P_UNTIL, P_DAY, P_DAY_START) = range(5)
ACTIVE, REDUCING, HALTED = 0.0, 1.0, 2.0

# One fill.
(F_SIGN, F_QUANTITY, F_PRICE, F_FEE, F_TIME, F_REASON, F_REALIZED, F_AFTER, F_TRADE, F_AVERAGE, F_FUNDING) = range(11)
W_FILL_FIRST = 10
W_FILL = 11
MAX_FILLS = 12

# Reasons of fills; targets and exit blocks are numbered.
(REASON_ENTRY, REASON_MANUAL, REASON_KILL, REASON_RISK, REASON_SWITCH, REASON_TRANSFER, REASON_ADOPTED) = range(7)
(REASON_END, REASON_LIQUIDATION, REASON_OVERFILL) = range(7, 10)
REASON_TARGET = 10
REASON_EXIT = 100

# One decision: the head, then three columns an analyzer and five a filter.
(D_TIME, D_ACTION, D_REASON, D_DIRECTION, D_SCORE, D_CONFIDENCE, D_SCORE_NEED, D_CONFIDENCE_NEED) = range(8)
(D_LONG, D_SHORT, D_CLOSE, D_STOP, D_NOTIONAL, D_QUANTITY, D_FLAGS, D_EQUITY) = range(8, 16)
(D_OPEN, D_STRATEGY_EXPOSURE, D_MARKET_NET, D_MARKET_GROSS, D_GROSS, D_FREE, D_POSITION) = range(16, 23)
D_SEEN = 23
(D_STREAK, D_HEALTH, D_FALL, D_RULE, D_SLIPPAGE, D_RISK_TRADE, D_RISK_OPEN) = range(24, 31)
(D_ORDERS, D_ORDERS_ACCOUNT, D_LIQUIDATION, D_TRADES, D_UNTIL) = range(31, 36)
W_DECISION = 36
WARMING, SKIP, WAIT, ENTER, HOLD = 0.0, 1.0, 2.0, 3.0, 4.0
FLAG_CATCHUP, FLAG_GAP = 1.0, 2.0
ACTIONS = ("WARMING", "SKIP", "WAIT", "ENTER", "HOLD")

# Why a decision ended as it did; filters follow from Z_FILTER on, in evaluation order.
DECISION_REASONS = (
    *("enter", "warming_up", "no_signals", "conflict", "tie", "score_vote_split", "low_score", "too_few"),
    *("low_confidence", "direction_not_allowed", "in_position", "order_pending", "managing", "paused", "halted"),
    *("no_stop", "size_zero", "below_minimum", "insufficient_funds", "max_open_positions", "exposure_strategy"),
    *("exposure_market", "exposure_account", "daily_loss", "kill_switch", "reducing"),
    *("not_lease_holder", "not_armed", "market_unusable", "stale_data", "order_unresolved", "cooldown", "bad_price"),
    *("slippage", "risk_per_trade", "above_maximum", "rate_limit", "max_open_orders", "liquidation_near"),
    *("max_trades_per_day", "market_health", "max_drawdown", "consecutive_losses", "stop_loss_guard", "low_profit"),
    *("profit_lock", "daily_target", "volatility_halt", "error_storm", "feed_loss", "unprotected"),
    *("ledger_mismatch", "risk_row_damaged", "operator"),
)
(Z_ENTER, Z_WARMING, Z_NO_SIGNALS, Z_CONFLICT, Z_TIE, Z_VOTE_SPLIT, Z_LOW_SCORE, Z_TOO_FEW) = range(8)
(Z_LOW_CONFIDENCE, Z_DIRECTION, Z_IN_POSITION, Z_PENDING, Z_MANAGING, Z_PAUSED, Z_HALTED) = range(8, 15)
(Z_NO_STOP, Z_SIZE_ZERO, Z_BELOW_MINIMUM, Z_FUNDS, Z_MAX_OPEN, Z_STRATEGY) = range(15, 21)
(Z_MARKET, Z_ACCOUNT, Z_DAILY_LOSS, Z_KILL, Z_REDUCING) = range(21, 26)
(Z_NOT_HOLDER, Z_NOT_ARMED, Z_UNUSABLE, Z_STALE, Z_UNRESOLVED, Z_COOLDOWN, Z_BAD_PRICE) = range(26, 33)
(Z_SLIPPAGE, Z_RISK_TRADE, Z_ABOVE_MAXIMUM, Z_RATE, Z_MAX_ORDERS, Z_LIQUIDATION) = range(33, 39)
(Z_MAX_TRADES, Z_HEALTH, Z_DRAWDOWN, Z_LOSSES, Z_GUARD, Z_LOW_PROFIT) = range(39, 45)
(Z_LOCK, Z_TARGET, Z_VOLATILITY, Z_STORM, Z_FEED, Z_UNPROTECTED) = range(45, 51)
(Z_MISMATCH, Z_DAMAGED, Z_OPERATOR) = range(51, 54)
DENIALS = (Z_PAUSED, *range(Z_HALTED, Z_OPERATOR + 1))  # a person's pause is one by its code, but told as none
Z_FILTER = 64

DAY_MS = 86_400_000.0
FUNDING_MS = 28_800_000.0
WEEK_MINUTES = 10_080.0
