"""Warp kernels and their torch functions: one source, but where a CPU has vectors."""
