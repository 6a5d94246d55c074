"""What this machine offers the native kernels: CPU levels and threads."""

import os

cdef extern from "host.h" nogil:
    int cpu_level()
    int openmp_threads()

cdef int limit = 0
cdef bint forked = False


def levels():
    """CPU levels that this host runs, best last."""
    return ("baseline", "v3", "v4")[:max(1, cpu_level() - 1)]


def get_num_threads():
    """Threads that a kernel started now would use."""
    if forked:
        return 1
    cdef int available = openmp_threads()
    return min(limit, available) if limit else available


def useful_threads(Py_ssize_t work, most=None):
    """Threads for `work` elements: waking one more costs as much as moving 2**15 of them.

    Not more than `most`, which is `get_num_threads()` if it is not given.
    """
    return min(get_num_threads() if most is None else most, 1 + (work >> 15))


def set_num_threads(int n):
    """Bound the threads of every kernel by `n`; 0 removes the bound."""
    global limit
    limit = n


def _after_fork():
    global forked
    forked = True


# The OpenMP runtime of a forked child waits for threads that exist only in the parent.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
