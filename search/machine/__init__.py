"""This machine: its GPUs, the signals of its users, and the programs of this environment."""
