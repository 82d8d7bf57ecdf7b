"""The training itself: batches, steps, validation and what an epoch saves."""
