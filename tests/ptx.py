"""Compile the CUDA kernels of one operation to PTX: ``python ptx.py im2col``, without a GPU.

A program of its own, since Numba is the compiler or the simulator as it was when first imported.
The launches that the calls of `test_cuda` make become compilations for the types they have.
"""

import importlib
import re
import sys
import types

import numba
import numpy as np
from numba import cuda
from test_cuda import CALLS, of_dtype

import voxkern
from voxkern import _dispatch
from voxkern.kernels.cuda import _cuda
from voxkern.pse import PROFILES
from voxkern.pse.frames import frame
from voxkern.pse.watch import Watch


class Host:
    """A host array in place of Numba's device array."""

    def __init__(self, array):
        self.array, self.shape, self.dtype = array, array.shape, array.dtype
        self.ndim, self.size = array.ndim, array.size

    def reshape(self, *shape):
        return Host(self.array.reshape(*shape))

    def view(self, dtype):
        return Host(self.array.view(dtype))

    def __getitem__(self, index):
        return Host(self.array[index])

    def is_c_contiguous(self):
        return self.array.flags.c_contiguous

    def copy_to_host(self, stream=0):
        return self.array

    def copy_to_device(self, source, stream=0):
        self.array[...] = source

    @property
    def __cuda_array_interface__(self):
        return self.array.__array_interface__


class Foreign:
    """A host array that says to lie on a device."""

    def __init__(self, array):
        self.__cuda_array_interface__ = array.__array_interface__
        self.array = array


compiled = set()
DTYPES = {"flash": ("uint8", "uint16", "float16", "float32", "float64")}


def compile_instead(kernel, blocks, threads, *arguments, out):
    """What :func:`_cuda.run` would run, compiled."""
    arguments = (*arguments, *(out if isinstance(out, tuple) else (out,)))
    assert all(a is not None for a in arguments), "no GPU takes None"
    arguments = [a.data.array if isinstance(a, _cuda.Array) else a for a in arguments]
    signature = tuple(map(numba.typeof, arguments))
    if (kernel, signature) in compiled:
        return
    compiled.add((kernel, signature))
    for major in (8, 9):
        # Device functions are compiled for the GPU that is there.
        target = types.SimpleNamespace(compute_capability=(major, 0))
        sys.modules[type(kernel).__module__].get_current_device = lambda target=target: target
        ptx, _ = cuda.compile_ptx(kernel.py_func, signature, cc=(major, 0))
        assert f".target sm_{major}0" in ptx, ptx[:500]
        assert ".entry _ZN" in ptx, ptx[:500]
        if "product" in kernel.py_func.__name__:  # of tiles: results in registers, vectors read
            assert ".local" not in ptx, kernel
            assert re.search(r"ld\.shared\.v[24]", ptx), kernel
            # Between two barriers a tile is loaded or stored: no load is waited for singly.
            for part in ptx.split("bar.sync"):
                assert "ld.global" not in part or "st.shared" not in part, kernel


def analyse():
    """What the analysis of frames launches, and of cells of them."""
    for dtype in "uint8", "uint16":
        for shape in (7, 9), (7, 9, 3):
            first = frame(0, Foreign(np.zeros(shape, dtype)))
            watch = Watch(first)
            lanes = [watch.lane(PROFILES["wcag22"], kind) for kind in ("luminance", "red", "ramp")]
            light = watch.light(PROFILES["wcag22"])
            watch.start()
            watch.push(first)
            watch.mean(light)
            watch._state.turned(lanes[0], 0)


def main(operation):
    _cuda.run = compile_instead
    _cuda.problem = lambda: None
    _cuda._empty = lambda like, shape, dtype, stream: np.zeros(shape, dtype)
    _cuda.adopt = lambda owner: _cuda.Array(Host(getattr(owner, "array", owner)), owner, 0)
    module = importlib.import_module(f"voxkern.kernels.cuda.{operation}")
    if operation == "pse":
        analyse()
    with _dispatch.force("cuda"):
        for name, (args, kwargs) in CALLS.items():
            function = getattr(voxkern, name)
            for dtype in DTYPES.get(operation, ("float16", "float32", "float64")):
                if function.__module__ == f"voxkern.{operation}":
                    function(*of_dtype(args, dtype), **kwargs)
    kernels = {v for v in vars(module).values() if isinstance(v, type(_cuda._copy))}
    kernels = {k for k in kernels if not k.targetoptions["device"]}
    missed = {k.py_func.__name__ for k in kernels - {kernel for kernel, _ in compiled}}
    assert kernels, operation
    assert not missed, missed
    print(len(compiled), "kernels compiled, for two targets each")


main(sys.argv[1])
