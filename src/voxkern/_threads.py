"""How many threads the kernels use."""

from voxkern._check import LARGEST, LARGEST_SIZE, integer
from voxkern.kernels.native import host


def get_num_threads():
    """Number of threads that a kernel would use now.

    The smaller of what :func:`set_num_threads` allows and what the OpenMP runtime offers
    (``OMP_NUM_THREADS``, threadpoolctl, the number of cores). 1 in a forked child.
    """
    return host.get_num_threads()


def set_num_threads(n):
    """Let kernels use at most `n` threads (a positive integer) in this process.

    No result depends on it. What the OpenMP runtime offers stays the upper limit.
    """
    host.set_num_threads(min(integer(n, "n", 1, LARGEST_SIZE), LARGEST))
