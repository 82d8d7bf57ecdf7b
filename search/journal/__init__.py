"""The journal of a search: events, in codes and numbers, on a disk and at a URL."""
