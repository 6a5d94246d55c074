"""Choose the module that computes: by where the array lies, then native, jit, reference.

``VOXKERN_BACKEND`` (``native``, ``jit``, ``reference``, ``cuda``) and ``VOXKERN_CPU_LEVEL``
(``baseline``, ``v3``, ``v4``) force a choice, for tests and bug reports.
"""

import contextlib
import functools
import importlib
import importlib.util
import os
import sys

import numpy as np

from voxkern.kernels.native import host

BACKENDS = ("native", "jit", "reference")


def _chosen_level():
    available = host.levels()
    level = os.environ.get("VOXKERN_CPU_LEVEL") or available[-1]
    if level not in available:
        raise ImportError(f"VOXKERN_CPU_LEVEL is {level!r}; this CPU has {', '.join(available)}")
    return level


def _forced_backend():
    backend = os.environ.get("VOXKERN_BACKEND") or None
    if backend not in (None, "cuda", *BACKENDS):
        raise ImportError(f"VOXKERN_BACKEND is {backend!r}; it may be {', '.join(BACKENDS)}, cuda")
    return backend


cpu_level = _chosen_level()
forced_backend = _forced_backend()


@functools.cache
def module(backend, level, operation):
    """Module of `operation` in `backend`, or None where no file provides it."""
    path = {
        "native": "voxkern.kernels.native" + ("" if level == "baseline" else f".{level}"),
        "jit": "voxkern.kernels.jit",
        "cuda": "voxkern.kernels.cuda",
        "reference": "voxkern.reference",
    }[backend]
    name = f"{path}.{operation}"
    compiled_as = f"voxkern.kernels.native.{operation}"
    if importlib.util.find_spec(name) is None:
        if backend == "native" and importlib.util.find_spec(compiled_as) is not None:
            raise ImportError(f"{name} is missing from this installation; {compiled_as} is there")
        return None
    if backend in ("jit", "cuda") and importlib.util.find_spec("numba") is None:
        return None
    # The levels share their C, and Cython enters a module under the name it was compiled for as
    # well as under its own: without this the level loaded first would answer for the baseline.
    before = sys.modules.get(compiled_as)
    found = importlib.import_module(name)
    if backend == "native" and level != "baseline" and before is None:
        sys.modules.pop(compiled_as, None)
    return found


def on_device(value):
    """Whether `value` lies on a CUDA device, or is an array of Numba's simulator of one."""
    if type(value) is np.ndarray:
        return False
    if hasattr(value, "__cuda_array_interface__"):
        return True
    return type(value).__module__.startswith("numba.cuda.simulator")


def adopted(value):
    """Whether `value` is an array on a device as the checks hand it on."""
    return type(value).__module__ == "voxkern.kernels.cuda._cuda"


def cuda():
    """The module that holds the CUDA toolkit; RuntimeError where it cannot be used."""
    problem = cuda_problem()
    if problem:
        raise RuntimeError(f"CUDA arrays cannot be computed here: {problem}")
    return importlib.import_module("voxkern.kernels.cuda._cuda")


@functools.cache
def cuda_problem():
    """Why no CUDA array can be computed, with what to install, or None."""
    if importlib.util.find_spec("numba") is None:
        return 'Numba is missing, pip install "voxkern[cuda]"'
    try:
        return importlib.import_module("voxkern.kernels.cuda._cuda").problem()
    except ImportError as error:
        return f'Numba has no CUDA target ({error}), pip install "voxkern[cuda]"'


def kernel(operation, x=None):
    """Module that computes `operation`: where the checked array `x` lies, else on the host."""
    if x is not None and not isinstance(x, np.ndarray):
        return module("cuda", None, operation)
    for backend in [forced_backend] if forced_backend else BACKENDS:
        found = module(backend, cpu_level, operation)
        if found is not None:
            return found
    raise RuntimeError(f"the {forced_backend} backend has no kernel for {operation!r}")


@contextlib.contextmanager
def force(backend=None, level=None):
    """Force a backend or a CPU level for a while; for tests, not safe across threads."""
    global forced_backend, cpu_level
    before = forced_backend, cpu_level
    forced_backend, cpu_level = backend, level or cpu_level
    try:
        yield
    finally:
        forced_backend, cpu_level = before
