"""The output of a search while it runs."""
