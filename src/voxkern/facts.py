"""What `voxkern info` and the head of a benchmark say about this machine and installation."""

import importlib.metadata
import importlib.util
import os
import platform
import subprocess
import sys
from pathlib import Path

import numpy as np

import voxkern
from voxkern import _dispatch
from voxkern.kernels.native import host

OPERATIONS = (
    *("conv", "im2col", "pool", "batchnorm", "groupnorm", "flash", "pse"),
    *("activations", "losses", "optim", "upsample"),
)
PACKAGES = {
    "numba": "jit",
    "numba-cuda": "cuda",
    "av": "video",
    "typer": "cli",
    "rich": "cli",
    "matplotlib": "cli",
    "dask": "dask",
    "onnx": "onnx",
    "onnxruntime": "bench",
    "scipy": "bench",
    "ncnn": None,
    "torch": None,
    "threadpoolctl": "test",
}


def sections():
    """Lines of `voxkern info`: ``{title: [(name, value), ...]}``."""
    version = platform.python_version()
    return {
        "voxkern": [
            ("version", voxkern.__version__),
            ("installed in", str(Path(voxkern.__file__).parent)),
            ("Python", f"{version} on {platform.system()} {platform.machine()}"),
            ("NumPy", np.__version__),
        ],
        "CPU": [
            ("model", cpu_model()),
            ("level", f"{_dispatch.cpu_level} (available: {', '.join(host.levels())})"),
            ("threads", f"{voxkern.get_num_threads()} of {os.cpu_count()} cores"),
        ],
        "Backends": [(name, backend(name)) for name in ("native", "jit", "cuda", "reference")],
        "Optional packages": [(name, package(name, extra)) for name, extra in PACKAGES.items()],
    }


def cpu_model():
    """Name of the processor as its system gives it."""
    if sys.platform == "linux":
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    if sys.platform == "darwin":
        command = ["sysctl", "-n", "machdep.cpu.brand_string"]
        return subprocess.run(command, capture_output=True, text=True).stdout.strip()
    return platform.processor() or platform.machine()


def backend(name):
    """The operations that a backend has kernels of, and why it has none or is not used."""
    if name == "jit" and not importlib.util.find_spec("numba"):
        return 'missing: needs Numba, pip install "voxkern[jit]"'
    problem = _dispatch.cuda_problem() if name == "cuda" else None
    if problem:
        return f"not available: {problem}"
    found = [op for op in OPERATIONS if _dispatch.module(name, _dispatch.cpu_level, op)]
    if not found:
        return "no kernels yet in this version"
    note = " (simulated)" if name == "cuda" and _dispatch.cuda().SIMULATED else ""
    if name == _dispatch.forced_backend:
        note += " (forced by VOXKERN_BACKEND)"
    return ", ".join(found) + note


def package(name, extra):
    """Version of a distribution, or how to get it."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return f'missing: pip install "voxkern[{extra}]"' if extra else "missing"
