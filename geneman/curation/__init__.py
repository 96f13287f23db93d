"""Data to learn from: where it comes from and how it is made."""
