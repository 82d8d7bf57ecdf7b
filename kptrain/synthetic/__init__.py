"""The synthetic data set: persons drawn at random, in COCO's format."""
