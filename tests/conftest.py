"""Fixtures: every backend that has a kernel for the operation, every CPU level of this host."""

import os

# Numba reads this once, when it is first imported; without a GPU the CUDA kernels are simulated.
if not os.path.exists("/dev/nvidiactl"):
    os.environ.setdefault("NUMBA_ENABLE_CUDASIM", "1")

import numpy as np
import pytest
from hypothesis import settings

from voxkern import _dispatch
from voxkern.kernels.native import host

settings.register_profile("ci", deadline=None, derandomize=True, max_examples=60)
settings.register_profile("thorough", deadline=None, max_examples=2000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))

CHOICES = [("native", level) for level in host.levels()] + [("jit", None), ("reference", None)]


def pytest_generate_tests(metafunc):
    """Run a test that asks for `backend` once per backend that has its module's OPERATION."""
    if "backend" in metafunc.fixturenames:
        operation = metafunc.module.OPERATION
        found = [c for c in CHOICES if _dispatch.module(c[0], c[1] or "baseline", operation)]
        names = ["-".join(filter(None, c)) for c in found]
        metafunc.parametrize("backend", found, ids=names, indirect=True)


@pytest.fixture
def backend(request):
    """Force the backend and level of the parameter while the test runs."""
    with _dispatch.force(*request.param):
        yield request.param[0]


@pytest.fixture
def rng():
    return np.random.default_rng(20260721)
