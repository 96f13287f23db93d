"""The method, one stage a file."""
