"""The trials of a search: its run folder, its events applied, its decisions, its confirmation."""
