"""The folder of a training: its settings, its curve and its logs."""
