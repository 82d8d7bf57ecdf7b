"""What a search prints while it runs."""
