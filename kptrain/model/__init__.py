"""The network, its target heatmaps, its loss and its checkpoints."""
