"""The loops: native (Cython), jit (Numba on the CPU) and cuda (Numba CUDA) twins of one another.

A kernel gets checked, C-contiguous arrays and a preallocated ``out``. It decides nothing.
"""
