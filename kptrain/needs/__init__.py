"""Measures the memory and time that a training needs, before it runs."""
