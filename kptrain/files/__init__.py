"""The files of a data set: where they lie, how tools name them, and what their JSON holds."""
