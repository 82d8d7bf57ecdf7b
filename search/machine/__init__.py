"""This machine: its GPUs, signals to this process, and the programs of this environment."""
