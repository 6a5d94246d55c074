"""Every CUDA kernel compiles to PTX for sm_80 and sm_90; that takes the toolkit and no GPU."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from voxkern.kernels import cuda as kernels

HERE = os.path.dirname(__file__)
OPERATIONS = sorted(
    path.stem for path in Path(kernels.__path__[0]).glob("*.py") if not path.stem.startswith("_")
)


def toolkit():
    """Why nothing can be compiled, or nothing."""
    code = (
        "import numba_cuda\n"  # Numba alone has no alignment of shared memory
        "from numba import cuda, float32\n"
        "cuda.compile_ptx(lambda x: None, (float32[::1],), cc=(8, 0))\n"
    )
    return python("-c", code)


def python(*arguments):
    """What a program without the simulator says to its standard error if it fails."""
    environment = {**os.environ, "NUMBA_ENABLE_CUDASIM": "0"}
    done = subprocess.run(
        [sys.executable, *arguments], env=environment, capture_output=True, text=True, check=False
    )
    return done.stderr if done.returncode else ""


@pytest.fixture(scope="module")
def compiler():
    problem = toolkit()
    if problem:
        if os.environ.get("VOXKERN_PTX") == "required":
            pytest.fail(problem)
        pytest.skip("no CUDA compiler: " + problem.splitlines()[-1])


@pytest.mark.parametrize("operation", OPERATIONS)
def test_every_kernel_compiles_to_ptx(compiler, operation):
    assert not python(os.path.join(HERE, "ptx.py"), operation)
