"""Numba CUDA kernels: twins of the native ones for arrays that live on a GPU."""
