"""Backtests and their figures."""
