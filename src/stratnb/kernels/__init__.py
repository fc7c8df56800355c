"""The compiled arithmetic of the kit: blocks' driver, decisions, fills, levels, risk, the candle loop."""
