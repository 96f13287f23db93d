"""Warp kernels and their torch functions: one source for CPU and GPU."""
