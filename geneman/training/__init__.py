"""Optimisation: the loop that stages and prior training share, and its checkpoints."""
