"""Why a recorded run differs from the backtest of the same candles: one named cause for each difference."""

from stratnb.parity_explain.causes import explain
from stratnb.parity_explain.recorded import Recorded, recorded_of
from stratnb.parity_explain.report import CAUSES, Difference, ParityReport

__all__ = ["CAUSES", "Difference", "ParityReport", "Recorded", "explain", "recorded_of"]
