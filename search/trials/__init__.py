"""The trials of a search: run folder, decisions, state, table of trials, confirmation, warm
start."""
