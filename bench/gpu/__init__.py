"""Every figure that a GPU has to answer for, in a quarter of an hour: `python -m bench.gpu`."""
