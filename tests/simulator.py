"""Mends two races in Numba's simulator of CUDA, each of which spoils one case in some thousands.

Threads of a block that came to ``cuda.shared.array`` together got an array each. And the first of
them to leave a device function of another module took the simulated ``cuda`` from those still in
it (numba-cuda has mended that).
"""

import contextlib
import sys
import threading

import numpy as np
from numba import cuda
from numba.cuda.simulator import kernel, kernelapi

LOCK = threading.Lock()
SWAPPED = {}  # by the identity of a module's names: how many threads are in it, and its own `cuda`


def mend():
    """From now on, kernels of this process run without these races."""
    kernelapi.FakeCUDAShared.array = shared_array
    kernel.swapped_cuda_module = swapped


def shared_array(self, shape, dtype):
    """The array of the line of code that asks for it."""
    caller = sys._getframe(1)
    if isinstance(dtype, kernelapi.types.Type):
        dtype = kernelapi.numpy_support.as_dtype(dtype)
    with LOCK:
        place = caller.f_code, caller.f_lineno
        if place not in self._allocations:
            self._allocations[place] = np.empty(shape, dtype)
        return self._allocations[place]


@contextlib.contextmanager
def swapped(function, simulated):
    """`cuda` of the module of `function` is the simulated one until the last thread leaves."""
    names = function.__globals__
    with LOCK:
        inside, own = SWAPPED.get(id(names), (0, None))
        own = own or {name: value for name, value in names.items() if value is cuda}
        SWAPPED[id(names)] = inside + 1, own
        names.update(dict.fromkeys(own, simulated))
    try:
        yield
    finally:
        with LOCK:
            inside, own = SWAPPED.pop(id(names))
            if inside > 1:
                SWAPPED[id(names)] = inside - 1, own
            else:
                names.update(own)
