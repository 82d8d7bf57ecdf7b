"""Which settings to try next, and which trials to stop: nothing here knows Ray or a file."""
