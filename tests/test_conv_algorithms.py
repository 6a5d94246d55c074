"""Every algorithm of a convolution: the same values, the same promises, one bound on the error.

A new algorithm is a name in ALGORITHMS; the tables after it say what it cannot do.
"""

import functools

import numpy as np
import pytest

import voxkern
from voxkern import reference

import accuracy
import hostile
from accuracy import assert_close, assert_exact

OPERATION = "conv"
LEFT_OUT = "cuda"
ALGORITHMS = ["direct", "winograd", "fft", "im2col"]  # "auto" is one of them
# Peak of the input up to which the sums of an algorithm do not overflow before direct ones do.
LOUDEST = {"winograd": 1e34}
# Channels from which on an algorithm is held to a multiple of the error of plain summation.
FEWEST_CHANNELS = {"winograd": 32}
# Size of the terms that cancel in a sum, in those of its inputs and weights: transforms enlarge.
TERMS = {"winograd": 64}

CONV = {1: voxkern.conv1d, 2: voxkern.conv2d, 3: voxkern.conv3d}
# At least one axis of each is 2 to 5, as Winograd needs.
KERNELS = [(3,), (5,), (3, 3), (2, 7), (3, 3, 3), (1, 3, 3), (3, 1, 1), (5, 4, 2)]
algorithms = pytest.mark.parametrize("algorithm", ALGORITHMS)
with_auto = pytest.mark.parametrize("algorithm", ["auto", *ALGORITHMS])


def operands(rng, kernel, channels=6, outputs=10, groups=1, dtype="float32"):
    """x, weight and bias for `kernel`, whose sizes are all different."""
    shape = (2, channels, *hostile.SHAPES[len(kernel)][2:])
    weight = (outputs, channels // groups, *kernel)
    return [hostile.normal(rng, s, dtype) for s in (shape, weight, (outputs,))]


def widened(*arrays):
    return [a.astype("float64") for a in arrays]


# --- values -------------------------------------------------------------------------------------


@algorithms
@pytest.mark.parametrize("kernel", KERNELS, ids=str)
@pytest.mark.parametrize(("padding", "groups"), [(0, 1), (3, 2), ("same", 1)])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_values_are_the_oracles(backend, rng, algorithm, kernel, padding, groups, dtype):
    x, weight, bias = operands(rng, kernel, groups=groups, dtype=dtype)
    got = CONV[len(kernel)](x, weight, bias, 1, padding, groups=groups, algorithm=algorithm)
    want = reference.conv3d(*widened(x, weight, bias), padding=padding, groups=groups)
    assert got.dtype == dtype
    assert_close(got, want, length=weight[0].size, scale=TERMS.get(algorithm, 8))


# Around the sizes of tiles (2, 4), vectors and blocks.
@algorithms
@pytest.mark.parametrize("width", [1, 2, 3, 4, 5, 9, 17])
@pytest.mark.parametrize(("channels", "outputs"), [(1, 3), (16, 32), (33, 17)])
def test_sizes_around_the_tiles(backend, rng, algorithm, width, channels, outputs):
    x = hostile.normal(rng, (1, channels, 2, 5, width), "float32")
    weight = hostile.normal(rng, (outputs, channels, 3, 3, 3), "float32")
    got = voxkern.conv3d(x, weight, padding=1, algorithm=algorithm)
    want = reference.conv3d(*widened(x, weight), padding=1)
    assert_close(got, want, length=27 * channels, scale=TERMS.get(algorithm, 8))


@algorithms
def test_unbatched_empty_and_given_outputs(backend, rng, algorithm):
    x, weight, bias = operands(rng, (3, 3, 3))
    want = voxkern.conv3d(x, weight, bias, padding=1, algorithm=algorithm)
    alone = voxkern.conv3d(x[0], weight, bias, padding=1, algorithm=algorithm)
    assert_close(alone, want[0].astype("float64"), length=162, scale=8)
    assert voxkern.conv3d(x[:0], weight, algorithm=algorithm).shape == (0, 10, 9, 5, 3)
    for out in (np.full_like(want, np.nan), hostile.strided(np.full_like(want, np.nan))):
        got = voxkern.conv3d(x, weight, bias, padding=1, algorithm=algorithm, out=out)
        assert got is out
        assert_exact(np.ascontiguousarray(out), want)


@algorithms
@pytest.mark.parametrize("layout", hostile.LAYOUTS)
def test_layout_does_not_matter(backend, rng, algorithm, layout):
    x, weight, bias = operands(rng, (3, 3))
    want = voxkern.conv2d(x, weight, bias, algorithm=algorithm)
    got = voxkern.conv2d(layout(x), layout(weight), layout(bias), algorithm=algorithm)
    assert_exact(got.astype("f4"), want)


@algorithms
def test_the_number_of_threads_does_not_matter(rng, algorithm):
    x, weight, bias = operands(rng, (3, 3, 3), channels=34, outputs=18, groups=2)
    before, results = voxkern.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            voxkern.set_num_threads(threads)
            results.append(voxkern.conv3d(x, weight, bias, groups=2, algorithm=algorithm))
    finally:
        voxkern.set_num_threads(before)
    assert_exact(results[1], results[0])
    assert_exact(results[2], results[0])


# --- errors -------------------------------------------------------------------------------------


@functools.cache
def measured_case(kind, channels):
    """x, weight, their float64 convolution with padding 1 and the error of plain summation."""
    rng = np.random.default_rng(channels)
    x = hostile.KINDS[kind](rng, (1, channels, 3, 6, 7)).astype("float32")
    weight = hostile.normal(rng, (16, channels, 3, 3, 3), "float32")
    want = reference.conv3d(*widened(x, weight), padding=1)
    plain = accuracy.summed_in_order(x, weight, 1).reshape(want.shape)
    return x, weight, want, np.abs(plain - want).max()


@with_auto
@pytest.mark.parametrize("channels", [1, 4, 32, 256, 1024])
@pytest.mark.parametrize("kind", hostile.KINDS)
def test_errors_are_bounded(backend, algorithm, kind, channels):
    x, weight, want, plain = measured_case(kind, channels)
    got = voxkern.conv3d(x, weight, padding=1, algorithm=algorithm)
    error = np.abs(got - want).max()
    if kind == "normal":
        assert error <= 4e-6 * np.abs(want).max()
    elif channels >= FEWEST_CHANNELS.get(algorithm, 1):
        assert error <= 3 * plain


@with_auto
@pytest.mark.parametrize("kernel", KERNELS, ids=str)
@pytest.mark.parametrize("kind", hostile.KINDS)
def test_errors_are_bounded_for_every_kernel(rng, algorithm, kernel, kind):
    x, weight, _ = operands(rng, kernel, channels=32)
    x = hostile.KINDS[kind](rng, x.shape).astype("float32")
    got = CONV[len(kernel)](x, weight, padding="same", algorithm=algorithm)
    want = reference.conv3d(*widened(x, weight), padding="same")
    error = np.abs(got - want).max()
    if kind == "normal":
        assert error <= 4e-6 * np.abs(want).max()
    else:
        plain = accuracy.summed_in_order(x, weight, "same").reshape(want.shape)
        assert error <= 3 * np.abs(plain - want).max()


# --- the ends of the numbers --------------------------------------------------------------------


@algorithms
@pytest.mark.parametrize("scale", [1e36, 1e34, 1e30, 1e-30, 1e-38, 1e-42])
@pytest.mark.parametrize("kernel", [(3, 3, 3), (5, 4, 2)], ids=str)
def test_huge_and_denormal_inputs(backend, rng, algorithm, scale, kernel):
    if scale > LOUDEST.get(algorithm, np.inf):
        pytest.skip("documented: such sums may overflow")
    x, weight, _ = operands(rng, kernel)
    x = x.astype("float64") * scale
    x, weight = x.astype("float32"), weight * np.float32(0.3)
    got = voxkern.conv3d(x, weight, padding=1, algorithm=algorithm)
    want = reference.conv3d(*widened(x, weight), padding=1)
    tiniest = np.finfo("float32").smallest_subnormal * weight[0].size * TERMS.get(algorithm, 8) / 8
    assert np.abs(got - want).max() <= 4e-6 * np.abs(want).max() + tiniest


@algorithms
@pytest.mark.parametrize("scale", [1e30, 1e-30])
def test_huge_and_tiny_weights(backend, rng, algorithm, scale):
    x, weight, _ = operands(rng, (3, 3, 3))
    got = voxkern.conv3d(x, weight * np.float32(scale), padding=1, algorithm=algorithm)
    want = reference.conv3d(*widened(x, weight * np.float32(scale)), padding=1)
    assert np.abs(got - want).max() <= 4e-6 * np.abs(want).max()


@algorithms
@np.errstate(over="ignore", invalid="ignore")
def test_an_overflow_is_infinite(backend, algorithm):
    x, weight = np.full((1, 2, 9, 9), 3e38, "float32"), np.ones((3, 2, 3, 3), "float32")
    weight[1] *= -1
    got = voxkern.conv2d(x, weight, algorithm=algorithm)
    assert not np.isfinite(got).any()


PLACES = {
    "first corner": (0, 0, 0),
    "last corner": (-1, -1, -1),
    "edge": (0, 5, 8),
    "face": (4, 0, 3),
    "interior": (3, 4, 6),
}


@algorithms
@pytest.mark.parametrize("value", [np.nan, -np.inf])
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("padding", [0, 2])
@np.errstate(invalid="ignore")
def test_nonfinite_inputs_stay_in_their_windows(backend, rng, algorithm, value, place, padding):
    x = hostile.normal(rng, (2, 3, 7, 11, 13), "float32")
    weight = hostile.normal(rng, (5, 3, 3, 3, 3), "float32")
    x[(1, 2, *PLACES[place])] = value
    got = voxkern.conv3d(x, weight, padding=padding, algorithm=algorithm)
    want = reference.conv3d(*widened(x, weight), padding=padding)
    assert np.isnan(got).sum() == np.isnan(want).sum()
    assert_close(got, want, length=81, scale=8)


@algorithms
@np.errstate(invalid="ignore")
def test_many_nonfinite_inputs(backend, rng, algorithm):
    x, weight, bias = operands(rng, (3, 3))
    x = hostile.with_nonfinite(x, rng)
    got = voxkern.conv2d(x, weight, bias, padding=1, algorithm=algorithm)
    want = reference.conv2d(*widened(x, weight, bias), padding=1)
    assert_close(got, want, length=54, scale=8)


@algorithms
@pytest.mark.parametrize("value", [np.nan, np.inf])
@np.errstate(invalid="ignore")
def test_nonfinite_weights_reach_their_channel_alone(backend, rng, algorithm, value):
    x, weight, bias = operands(rng, (3, 3))
    weight[4, 2, 1, 0] = value
    bias[7] = value
    got = voxkern.conv2d(x, weight, bias, padding=1, algorithm=algorithm)
    want = reference.conv2d(*widened(x, weight, bias), padding=1)
    assert_close(got, want, length=54, scale=8)


# --- names --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("algorithm", "window"),
    [("fft", {"stride": 2}), ("fft", {"dilation": 2}), ("fft", {"stride": (1, 3)})],
)
def test_a_name_that_cannot_serve_raises(algorithm, window):
    with pytest.raises(ValueError, match=f"algorithm '{algorithm}' needs"):
        voxkern.conv2d(np.ones((1, 1, 9, 9)), np.ones((1, 1, 3, 3)), algorithm=algorithm, **window)
