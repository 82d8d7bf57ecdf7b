"""COCO's annotation files: persons, their keypoints, and what is skipped or repaired."""
