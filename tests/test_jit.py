"""Kernels around functions that the caller compiled."""

import numpy as np
import pytest

import voxkern
from voxkern.reference.window_reduce import window_reduce as oracle

numba = pytest.importorskip("numba")


@numba.njit
def median(values):
    return np.median(values)


@numba.njit
def steepest(values):
    """The place of the largest step."""
    best = 0
    for i in range(1, values.size):
        if values[i] - values[i - 1] > values[best] - values[max(best - 1, 0)]:
            best = i
    return best


@numba.njit
def first_or_raise(values):
    if values[0] > 100:
        raise ArithmeticError("too large")
    return values[0]


@numba.njit
def knee(gray):
    return gray if gray < 0.5 else 2 * gray - 0.5


@pytest.mark.parametrize("reducer", [median, steepest])
@pytest.mark.parametrize(
    ("shape", "window"),
    [
        ((2, 3, 17), ((3,), (2,), (1,))),
        ((3, 11, 13), ((3, 4), (2, 1), (1, 2))),
        ((2, 1, 11, 13), ((5, 2), None, 0)),
        ((2, 3, 5, 7, 11), ((2, 3, 4), (1, 2, 3), (1, 0, 2))),
        ((0, 3, 5, 7, 11), ((2, 3, 4), None, 0)),
    ],
)
def test_windows_are_those_of_the_oracle(rng, reducer, shape, window):
    x = rng.standard_normal(shape)
    found = voxkern.jit.window_reduce(x, *window, reducer=reducer)
    np.testing.assert_array_equal(found, oracle(x, *window, reducer=reducer.py_func), strict=True)


def test_it_is_the_pool_of_a_maximum(rng):
    x = rng.standard_normal((2, 3, 70, 64)).astype(np.float32)[:, :, ::-1, ::2]
    largest = numba.njit(lambda values: values.max())
    expected = voxkern.max_pool2d(x, 3, 1, 1)
    try:
        for threads in (1, 3):
            voxkern.set_num_threads(threads)
            found = voxkern.jit.window_reduce(x, 3, 1, 1, reducer=largest)
            np.testing.assert_array_equal(found, expected, strict=True)
    finally:
        voxkern.set_num_threads(2**30)


def test_other_dtypes(rng):
    x = rng.integers(0, 50, (2, 11, 13)).astype(np.int16)
    found = voxkern.jit.window_reduce(x, (3, 3), reducer=steepest, dtype=np.int32)
    expected = oracle(x, (3, 3), reducer=steepest.py_func, dtype=np.int32)
    np.testing.assert_array_equal(found, expected, strict=True)


def test_a_reducer_may_raise(rng):
    x = np.full((1, 600, 600), 101.0)
    with pytest.raises(ArithmeticError, match="too large"):
        voxkern.jit.window_reduce(x, (2, 2), reducer=first_or_raise)


@pytest.mark.parametrize(
    ("kind", "name", "changed"),
    [
        (TypeError, "reducer", {"reducer": np.median}),
        (TypeError, "reducer", {"reducer": numba.njit(lambda values: values.nothing)}),
        (TypeError, "x has dtype", {"x": np.ones((1, 5, 5), np.float16)}),
        (TypeError, "dtype", {"dtype": complex}),
        (ValueError, "padding", {"padding": 2}),
        (ValueError, "kernel_size", {"kernel_size": (6, 2)}),
        (ValueError, "stride", {"stride": 0}),
        (ValueError, "x has", {"x": np.ones(5)}),
    ],
)
def test_bad_arguments_are_named(kind, name, changed):
    arguments = {"x": np.ones((1, 5, 5)), "kernel_size": (2, 2), "reducer": median} | changed
    with pytest.raises(kind, match=name):
        voxkern.jit.window_reduce(**arguments)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16, ">f8", np.uint8])
@pytest.mark.parametrize("shape", [(5, 7, 11, 3), (4, 300, 501)])
def test_flash_table_with_a_curve(rng, dtype, shape):
    frames = (rng.random(shape) * (200 if dtype == np.uint8 else 1)).astype(dtype)
    found = voxkern.jit.flash_table(frames, 7, curve=knee)
    curve = np.vectorize(knee.py_func, otypes=[float])
    np.testing.assert_array_equal(found, voxkern.flash_table(frames, 7, curve), strict=True)


def test_flash_table_refuses():
    frames = np.zeros((3, 4, 5))
    assert voxkern.jit.flash_table(frames[:1], 1, curve=knee).shape == (0, 1)
    with pytest.raises(TypeError, match="curve"):
        voxkern.jit.flash_table(frames, curve=np.sqrt)
    with pytest.raises(ValueError, match="k is 21"):
        voxkern.jit.flash_table(frames, 21, curve=knee)
    with pytest.raises(ValueError, match="frames"):
        voxkern.jit.flash_table(frames[0], 1, curve=knee)


def test_nan_in_a_frame_gives_nan():
    frames = np.zeros((3, 4, 5))
    frames[1, 2, 3] = np.nan
    assert np.isnan(voxkern.jit.flash_table(frames, curve=knee)).all()
