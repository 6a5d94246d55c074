"""Inputs that break kernels: distinct primes for every size, and awkward memory."""

import os

import numpy as np
import pytest

# N, C and spatial sizes are distinct primes: an exchanged axis cannot go unnoticed.
SHAPES = {1: (2, 3, 31), 2: (2, 3, 17, 13), 3: (2, 3, 11, 7, 5)}
KERNELS = {1: (5,), 2: (5, 3), 3: (5, 2, 3)}
FLOATS = ("float16", "float32", "float64")
# What float32 sums are measured on.
KINDS = {
    "normal": lambda rng, shape: rng.standard_normal(shape),
    "post-ReLU": lambda rng, shape: np.maximum(rng.standard_normal(shape), 0),
    "mean 10": lambda rng, shape: 10 + rng.standard_normal(shape),
    "Student's t": lambda rng, shape: rng.standard_t(2.5, shape),
    "0 to 255": lambda rng, shape: rng.integers(0, 256, shape),
}


def not_simulated(backend):
    """Leave out a test that would take minutes in the simulator and shows nothing of its own."""
    if backend == "cuda" and os.environ.get("NUMBA_ENABLE_CUDASIM"):
        pytest.skip("minutes in the simulator")


def strided(x):
    """Every second element of a larger array along the last axis."""
    wide = np.empty((*x.shape[:-1], 2 * x.shape[-1]), x.dtype)
    wide[..., ::2] = x
    return wide[..., ::2]


def reversed_axis(x):
    """Negative strides along the first spatial axis."""
    return np.ascontiguousarray(x[..., ::-1])[..., ::-1]


def transposed(x):
    """Fortran order."""
    return np.asfortranarray(x)


def byteswapped(x):
    """The other byte order."""
    return x.astype(x.dtype.newbyteorder())


def read_only(x):
    """Not writeable."""
    x = x.copy()
    x.flags.writeable = False
    return x


def misaligned(x):
    """Data that starts one byte off its alignment."""
    raw = np.empty(x.nbytes + 1, np.uint8)
    y = raw[1:].view(x.dtype) if x.itemsize == 1 else np.frombuffer(raw, x.dtype, x.size, 1)
    y = y.reshape(x.shape)
    y[...] = x
    return y


LAYOUTS = [strided, reversed_axis, transposed, byteswapped, read_only, misaligned]


def normal(rng, shape, dtype="float64"):
    """Standard normal values."""
    return rng.standard_normal(shape).astype(dtype)


def with_nonfinite(x, rng, count=3):
    """A copy with NaN, +inf and -inf at `count` places each."""
    x = x.copy()
    for value in (np.nan, np.inf, -np.inf):
        x.flat[rng.integers(0, x.size, count)] = value
    return x


def with_ties(rng, shape, dtype="float64"):
    """Small integers: most windows hold their maximum more than once."""
    return rng.integers(-2, 3, shape).astype(dtype)
