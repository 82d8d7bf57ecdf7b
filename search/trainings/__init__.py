"""The trainings that can be searched: the keypoint training of this package, or a user's own."""
