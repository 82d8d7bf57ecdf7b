"""Train a COCO keypoint model: `fit` yields one report per finished epoch."""
