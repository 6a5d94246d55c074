"""How the kernels of this folder are compiled."""

import numba


def compiled(kernel):
    """`kernel` compiled without the interpreter, kept on disk where a cache can be written."""
    try:
        return numba.njit(nogil=True, cache=True)(kernel)
    except RuntimeError:  # no folder for the cache: compiled again in every process
        return numba.njit(nogil=True)(kernel)
