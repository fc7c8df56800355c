"""Strategy documents: reading, merging, checking, and the plan that kernels run."""
