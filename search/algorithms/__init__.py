"""The algorithms: which settings to try next (sampler), and which trials to stop (ASHA)."""
