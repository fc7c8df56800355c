"""The six services that all strategies share, and the ledger under them."""
