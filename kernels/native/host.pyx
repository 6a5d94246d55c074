"""What this machine offers the native kernels: CPU levels and threads."""

import os

cdef extern from "host.h" nogil:
    int cpu_level()
    int openmp_threads()

cdef extern from "split.h" nogil:
    int threads_for(Py_ssize_t work, int most)

cdef int limit = 0
cdef bint forked = False


def levels():
    """CPU levels that this host runs, best last."""
    return ("baseline", "v3", "v4")[:max(1, cpu_level() - 1)]


cdef api int voxkern_num_threads() noexcept nogil:
    cdef int available
    if forked:
        return 1
    available = openmp_threads()
    return min(limit, available) if limit else available


def get_num_threads():
    """Threads that a kernel started now would use."""
    return voxkern_num_threads()


def useful_threads(Py_ssize_t work, most=None):
    """Threads for `work` elements, of at most `most`: `get_num_threads()` if it is not given."""
    return threads_for(work, voxkern_num_threads() if most is None else most)


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
