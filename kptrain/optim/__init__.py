"""The optimizer, its learning rate over a training, and the averaged weights."""
