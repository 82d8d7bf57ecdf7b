"""The training: batches, steps, validation and saving."""
