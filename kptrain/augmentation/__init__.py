"""Augmentation of training samples: what is drawn for each, the maps, the warp and the colours."""
