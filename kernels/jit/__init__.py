"""Numba kernels for the CPU, compiled at their first call and cached by Numba."""
