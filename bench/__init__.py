"""One script a figure, each against its peer in the same run; RESULTS.md keeps what was seen."""
