"""Optional packages that may do the work of our kernels on CUDA: one owner file for each."""
