"""Measures of how good a reconstruction is."""
