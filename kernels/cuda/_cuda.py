"""The one module that imports the CUDA toolkit: Numba's, or its simulator.

Kernels stride over their grid. They read shapes once, before the loop: in the simulator each look
at an array's attribute costs 20 us, an element without one 2 us. They do not use min and max, which
Numba without numba-cuda (0.68) cannot compile in a device function.
"""

import contextlib
import functools
import math
import sys

import numpy as np
from numba import config, cuda, float64, int64

SIMULATED = bool(config.ENABLE_CUDASIM)
# The simulator runs each CUDA thread as one of Python's: a small grid shows the same mistakes.
BLOCKS, THREADS = (2, 4) if SIMULATED else (4096, 256)


def device(function):
    """A function that kernels call and that does not use `cuda`; the simulator takes 30 us more."""
    return function if SIMULATED else cuda.jit(device=True)(function)


@functools.cache
def problem():
    """Why nothing can be computed here, or None where it can."""
    if cuda.is_available():
        return None
    # Without an error of the driver it is the compiler, libnvvm, that is not there.
    error = cuda.cuda_error() or 'libnvvm was not found, pip install "voxkern[cuda]"'
    return " ".join(str(error).split())


@contextlib.contextmanager
def _room(shape, dtype):
    """Errors of allocations as MemoryError with their size."""
    try:
        yield
    except Exception as error:
        if getattr(error, "code", None) == 2 or type(error).__name__ == "OutOfMemoryError":
            size = np.dtype(dtype).itemsize * math.prod(shape)
            raise MemoryError(f"the GPU has no room for {size} bytes more: {error}") from error
        raise


class Array:
    """An array on the device, as the checks hand it to the kernels.

    `data` is Numba's view; `owner` the object that the caller gave or gets, which may be a NumPy
    array whose values are copied (`VOXKERN_BACKEND=cuda`); `stream` the address of the CUDA
    stream that the owner's library works on, 0 for the default one.
    """

    def __init__(self, data, owner, stream):
        self.data, self.owner, self.stream = data, owner, stream
        self.shape, self.dtype = tuple(data.shape), np.dtype(data.dtype)
        self.ndim, self.size = data.ndim, data.size

    def reshape(self, *shape):
        return Array(self.data.reshape(*shape), self.owner, self.stream)

    def view(self, dtype):
        return Array(self.data.view(dtype), self.owner, self.stream)

    def part(self, index):
        """The `index`-th of the arrays along the first axis, or what indices of several select."""
        return Array(self.data[index], self.owner, self.stream)

    def empty(self, shape, dtype):
        """A new array whose owner is of the kind of this one's."""
        with _room(shape, dtype):
            return adopt(_empty(self.owner, tuple(shape), np.dtype(dtype), self.stream))

    def astype(self, dtype, copy=True):
        """This array with another dtype; always contiguous."""
        if not copy and self.dtype == dtype:
            return self
        result = self.empty(self.shape, dtype)
        copy_to(result, self)
        return result

    def contiguous(self):
        return self if self.data.is_c_contiguous() else self.astype(self.dtype)


def adopt(owner):
    """`owner` as an Array that shares its memory; one of NumPy is copied to the device."""
    if isinstance(owner, np.ndarray):
        return Array(cuda.to_device(np.require(owner, requirements="C")), owner, 0)
    if type(owner).__module__.startswith("numba."):
        return Array(owner, owner, 0 if SIMULATED else int(owner.stream))
    if SIMULATED:
        raise TypeError("the simulator of CUDA takes Numba's simulated arrays alone")
    device = getattr(owner, "device", None)
    index = getattr(device, "index", getattr(device, "id", None))
    if isinstance(index, int) and index != cuda.get_current_device().id:
        raise ValueError(f"it is on GPU {index}; numba.cuda.select_device({index}) is needed first")
    return Array(cuda.as_cuda_array(owner, sync=False), owner, _stream(owner))


def _stream(owner):
    """Address of the stream on which the library of `owner` works."""
    torch = sys.modules.get("torch")
    if torch and isinstance(owner, torch.Tensor):  # it does not say so in its interface
        return torch.cuda.current_stream(owner.device).cuda_stream
    return owner.__cuda_array_interface__.get("stream") or 0


def _empty(like, shape, dtype, stream):
    """A new array of the library of `like`; Numba's where that is not NumPy, CuPy or torch."""
    torch, cupy = sys.modules.get("torch"), sys.modules.get("cupy")
    if isinstance(like, np.ndarray):
        return np.empty(shape, dtype)
    if torch and isinstance(like, torch.Tensor):
        return torch.empty(shape, dtype=getattr(torch, dtype.name), device=like.device)
    if cupy and isinstance(like, cupy.ndarray):
        return cupy.empty(shape, dtype)
    return cuda.device_array(shape, dtype, stream=_numba_stream(stream))


def _numba_stream(address):
    return cuda.external_stream(address) if address else 0


def on_own_stream(shape, dtype):
    """A new array of Numba's on a new stream."""
    with _room(shape, dtype):
        return adopt(cuda.device_array(shape, dtype, stream=cuda.stream()))


def send(source, target):
    """Copy a host array to the device; from pinned memory it is under way on return."""
    target.data.copy_to_device(source, stream=_numba_stream(target.stream))


def fetched(source):
    """The values of an array on the device, once they are there."""
    stream = _numba_stream(source.stream)
    values = source.data.copy_to_host(stream=stream)
    if source.stream:
        stream.synchronize()
    return values


def after(array, like):
    """`array` for work on the stream of `like`, once all is done that its own has begun."""
    if array.stream == like.stream:
        return array
    cuda.external_stream(array.stream).synchronize()
    return Array(array.data, array.owner, like.stream)


def deliver(scratch, out):
    """The owner of `out`, holding the values of `scratch`."""
    if scratch is not out:
        copy_to(out, scratch)
    if isinstance(out.owner, np.ndarray):
        out.owner[...] = out.data.copy_to_host()
    return out.owner


def span(owner):
    """First address of an array's memory, and the first after it."""
    told = _interface(owner)
    address, shape, itemsize = told["data"][0], told["shape"], np.dtype(told["typestr"]).itemsize
    if 0 in shape:
        return address, address
    if told.get("strides") is None:
        return address, address + itemsize * math.prod(shape)
    reach = [(n - 1) * s for n, s in zip(shape, told["strides"])]
    return address + sum(min(r, 0) for r in reach), address + sum(
        max(r, 0) for r in reach
    ) + itemsize


def read_only(owner):
    return _interface(owner)["data"][1]


def _interface(owner):
    return owner._ary.__array_interface__ if SIMULATED else owner.__cuda_array_interface__


def launch(kernel, items, *arguments, out):
    """Run `kernel` over `items` items, or over rows and columns of them where that is a pair.

    Its last parameters are `out`, an array or several; it strides over ``cuda.grid(1)``, or over
    ``cuda.grid(2)``, which gives column and row.
    """
    rows, columns = items if isinstance(items, tuple) else (1, items)
    if rows == 0 or columns == 0:
        return
    across = min(THREADS, 1 << (columns - 1).bit_length())
    down = min(THREADS // across, 1 << (rows - 1).bit_length())  # 1 where cuda.grid(1) is asked
    over = min(BLOCKS, -(-columns // across))
    under = min(max(1, BLOCKS // over), -(-rows // down))
    run(kernel, (over, under), (across, down), *arguments, out=out)


def run(kernel, blocks, threads, *arguments, out):
    """Run `kernel` on a grid of `blocks` of `threads`, on the stream of the first device array.

    Arrays on the host are copied to the device, and `out` back.
    """
    if 0 in (blocks if isinstance(blocks, tuple) else (blocks,)):
        return
    outs = out if isinstance(out, tuple) else (out,)
    arrays = [a for a in (*arguments, *outs) if isinstance(a, Array)]
    stream = arrays[0].stream if arrays else 0
    for other in {a.stream for a in arrays} - {stream}:
        cuda.external_stream(other).synchronize()
    arguments = [_argument(a, cuda.In) for a in arguments] + [_argument(a, cuda.Out) for a in outs]
    kernel[blocks, threads, _numba_stream(stream)](*arguments)


def _argument(value, copied):
    if value is None:
        raise TypeError("a kernel cannot be given None on a GPU; give an empty array")
    if isinstance(value, Array):
        return value.data
    return copied(value) if isinstance(value, np.ndarray) else value


@cuda.jit
def _copy(x, out):
    source, target = x.flat, out.flat
    for item in range(cuda.grid(1), out.size, cuda.gridsize(1)):
        target[item] = source[item]


def copy_to(target, source):
    """target = source, of any layouts and dtypes."""
    launch(_copy, target.size, source, out=target)


def scratch(like, shape, dtype):
    """Memory of a kernel's own, on the side where `like` lies."""
    return np.empty(shape, dtype) if isinstance(like, np.ndarray) else like.empty(shape, dtype)


@cuda.jit
def _fill(value, out):
    for item in range(cuda.grid(1), out.size, cuda.gridsize(1)):
        out[item] = value


def fill(target, value):
    """Every element of a contiguous `target` = value."""
    launch(_fill, target.size, target.dtype.type(value), out=target.reshape(target.size))


__all__ = [
    "BLOCKS",
    "THREADS",
    "Array",
    "adopt",
    "after",
    "copy_to",
    "cuda",
    "deliver",
    "device",
    "fetched",
    "fill",
    "float64",
    "int64",
    "launch",
    "on_own_stream",
    "problem",
    "read_only",
    "run",
    "scratch",
    "send",
    "span",
]
