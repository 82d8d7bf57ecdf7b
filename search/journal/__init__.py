"""The journal of a search: its events, in codes and numbers, on disk and at a URL."""
