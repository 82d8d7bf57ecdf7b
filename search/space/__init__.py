"""A search space and its budget, read and checked without torch, Optuna or Ray."""
