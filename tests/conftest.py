"""Fixtures: every backend that has a kernel for the operation, every CPU level of this host."""

import collections
import importlib.util
import os
import sys

# The products of the oracles are too small to share, and waiting threads disturb those measured.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

# Numba reads this once, when it is first imported; without a GPU the CUDA kernels are simulated.
if not os.path.exists("/dev/nvidiactl"):
    os.environ.setdefault("NUMBA_ENABLE_CUDASIM", "1")
    sys.setswitchinterval(1e-4)  # the simulator polls its threads: ten times as fast as with 5 ms

import numpy as np
import pytest
from hypothesis import settings

from voxkern import _dispatch
from voxkern.kernels.native import host

if os.environ.get("NUMBA_ENABLE_CUDASIM") == "1" and importlib.util.find_spec("numba"):
    import simulator

    simulator.mend()

settings.register_profile("ci", deadline=None, derandomize=True, max_examples=60)
settings.register_profile("thorough", deadline=None, max_examples=2000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))

NATIVE = [("native", level) for level in host.levels()]
CUDA = ("cuda", None)
CHOICES = [*NATIVE, ("jit", None), CUDA, ("reference", None)]


def pytest_generate_tests(metafunc):
    """Run a test that asks for `backend` once per backend that has its module's OPERATION.

    A module may name one that is LEFT_OUT.
    """
    if "backend" in metafunc.fixturenames:
        operation = metafunc.module.OPERATION
        choices = [c for c in CHOICES if c[0] != getattr(metafunc.module, "LEFT_OUT", None)]
        found = [c for c in choices if _dispatch.module(c[0], c[1] or "baseline", operation)]
        names = ["-".join(filter(None, c)) for c in found]
        metafunc.parametrize("backend", found, ids=names, indirect=True)


def pytest_collection_modifyitems(config, items):
    """In the simulator (2 us an element) a test keeps an even spread of its CUDA cases."""
    if not os.environ.get("NUMBA_ENABLE_CUDASIM") or os.environ.get("HYPOTHESIS_PROFILE"):
        return
    cases = collections.defaultdict(list)
    for item in items:
        if getattr(item, "callspec", None) and item.callspec.params.get("backend") == CUDA:
            cases[item.function].append(item)
    dropped = {i for test in cases.values() for i in test if i not in test[:: 1 + len(test) // 12]}
    config.hook.pytest_deselected(items=list(dropped))
    items[:] = [item for item in items if item not in dropped]


@pytest.fixture
def backend(request):
    """Force the backend and level of the parameter while the test runs."""
    with _dispatch.force(*request.param):
        yield request.param[0]


@pytest.fixture
def rng():
    return np.random.default_rng(20260721)
