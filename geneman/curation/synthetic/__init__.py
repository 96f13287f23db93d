"""Rendered people of whom everything is known: both sides' normals, depth and colours."""
