"""What a training needs of memory and time, measured before it runs."""
