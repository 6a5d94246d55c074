"""Cython kernels: this folder is the baseline level, ``v3`` and ``v4`` hold the same for more."""
