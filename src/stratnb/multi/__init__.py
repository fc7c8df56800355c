"""Several strategies beside each other: who is loaded, who is active, and what outlives an eviction."""
