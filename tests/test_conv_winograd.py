"""Winograd's convolution: its matrices, every tile, and what it does where it cannot be trusted."""

from fractions import Fraction

import numpy as np
import pytest

import voxkern
from voxkern import _dispatch, reference

import hostile
from accuracy import assert_exact

OPERATION = "conv_winograd"
POINTS = {
    4: [Fraction(0), Fraction(1), Fraction(-1)],
    6: [Fraction(0), Fraction(2, 3), Fraction(-2, 3), Fraction(3, 2), Fraction(-3, 2)],
}
# (kernel_size, outputs per tile; 1 where the axis is summed directly)
TILES = [
    ((3, 3, 3), (2, 2, 2)),
    ((3, 3, 3), (2, 4, 4)),
    ((3, 3, 3), (4, 4, 4)),
    ((1, 3, 3), (1, 2, 4)),
    ((3, 1, 1), (4, 1, 1)),
    ((1, 3, 1), (1, 4, 1)),
    ((1, 1, 3), (1, 1, 4)),
    ((5, 3, 3), (1, 4, 4)),
    ((3, 7, 3), (2, 1, 4)),
    ((3, 3, 7), (4, 4, 1)),
    ((5, 5, 5), (2, 2, 2)),
    ((2, 4, 5), (5, 3, 2)),
    ((2, 2, 2), (3, 3, 3)),
]


def product(a, b):
    """The coefficients of the product of two polynomials, lowest first."""
    result = [Fraction(0)] * (len(a) + len(b) - 1)
    for i, x in enumerate(a):
        for j, y in enumerate(b):
            result[i + j] += x * y
    return result


def toom_cook(points, tile):
    """A^T, B^T and G, exactly: Toom and Cook's multiplication of polynomials, transposed.

    Source: Barabasz et al., "Error analysis and improving the accuracy of Winograd convolution"
    (2020), section 3.
    """
    finite, taps = POINTS[points], points - tile + 1
    output = [[p**i for p in finite] + [Fraction(i == tile - 1)] for i in range(tile)]
    inputs, weight = [], []
    for i in range(points):
        others = [p for j, p in enumerate(finite) if j != i]
        row, distance = [Fraction(1)], Fraction(1)
        for p in others:
            row = product(row, [-p, Fraction(1)])
            distance *= finite[i] - p if i < points - 1 else 1
        inputs.append(row + [Fraction(0)] * (points - len(row)))
        if i < points - 1:
            weight.append([finite[i] ** k / distance for k in range(taps)])
        else:
            weight.append([Fraction(k == taps - 1) for k in range(taps)])
    return output, inputs, weight


@pytest.mark.parametrize(("points", "tile"), [(4, 2), (4, 3), (6, 2), (6, 3), (6, 4), (6, 5)])
def test_the_matrices_compute_a_correlation_exactly(points, tile):
    output, inputs, weight = toom_cook(points, tile)
    x = [Fraction(3 * i * i - 7, i + 2) for i in range(points)]
    w = [Fraction(5 - i, 2 * i + 1) for i in range(points - tile + 1)]
    multiply = [
        sum(a * b for a, b in zip(row, x)) * sum(a * b for a, b in zip(g, w))
        for row, g in zip(inputs, weight)
    ]
    for i, row in enumerate(output):
        assert sum(a * m for a, m in zip(row, multiply)) == sum(
            w[k] * x[i + k] for k in range(len(w))
        )


@pytest.mark.parametrize(("points", "tile"), [(4, 2), (4, 3), (6, 2), (6, 3), (6, 4), (6, 5)])
def test_the_kernels_apply_those_matrices(backend, points, tile):
    kernel = _dispatch.kernel(OPERATION)
    if not hasattr(kernel, "matrices"):
        pytest.skip("the oracle has no matrices")
    shapes = (tile, points), (points, points), (points, points - tile + 1)
    got = [np.empty(shape) for shape in shapes]
    kernel.matrices(points, tile, *got)
    for g, exact in zip(got, toom_cook(points, tile)):
        np.testing.assert_allclose(g, np.array(exact, dtype=float), rtol=1e-15, atol=1e-16)


def transposed(weight, groups):
    """The weights of the convolution whose transpose is that with `weight`."""
    outputs, inputs, *kernel_size = weight.shape
    parts = weight[:, :, ::-1, ::-1, ::-1].reshape(groups, -1, inputs, *kernel_size)
    return np.ascontiguousarray(parts.swapaxes(1, 2)).reshape(
        groups * inputs, outputs // groups, *kernel_size
    )


def call(x, weight, bias, tile, padding, stride=(1, 1, 1), dilation=(1, 1, 1), groups=1):
    """The kernel's result, and whether it says that all is finite."""
    kernel, kernel_size = _dispatch.kernel(OPERATION), weight.shape[2:]
    sizes = len(weight), weight.shape[1], kernel_size, tile, groups, x.itemsize
    packed = np.empty(kernel.packed_size(*sizes), x.dtype)
    kernel.pack(weight, tile, groups, out=packed)
    window = padding, stride, dilation, groups
    count = [
        (n + before + after - d * (k - 1) - 1) // s + 1
        for n, (before, after), d, k, s in zip(x.shape[2:], padding, dilation, kernel_size, stride)
    ]
    out = np.full((len(x), len(weight), *count), np.nan, x.dtype)
    arguments = x, weight, bias, tile, *window
    finite = kernel.conv(*arguments, packed=packed, slope=None, flipped=False, out=out)
    again = np.full_like(out, np.nan)
    assert kernel.conv(*arguments, packed=None, slope=None, flipped=False, out=again) == finite
    assert_exact(again, out)
    again = np.full_like(out, np.nan)
    swapped = transposed(weight, groups)
    arguments = x, swapped, *arguments[2:]
    kernel.conv(*arguments, packed=None, slope=None, flipped=True, out=again)
    assert_exact(again, out)
    return out, finite


@pytest.mark.parametrize(("kernel_size", "tile"), TILES, ids=str)
@pytest.mark.parametrize(("channels", "outputs", "groups"), [(3, 5, 2), (17, 33, 1), (40, 7, 1)])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_tile_is_the_oracle(
    backend, rng, kernel_size, tile, channels, outputs, groups, dtype
):
    x = hostile.normal(rng, (3, channels * groups, 7, 11, 13), dtype)
    weight = hostile.normal(rng, (outputs * groups, channels, *kernel_size), dtype)
    bias = hostile.normal(rng, (outputs * groups,), dtype)
    padding = [(1, 2), (0, 1), (3, 2)]
    got, finite = call(x, weight, bias, tile, padding, groups=groups)
    wide = (a.astype("float64") for a in (x, weight, bias))
    want = reference.conv3d(*(a for a in wide), padding=tuple(padding), groups=groups)
    assert finite
    error = 6e-6 if dtype == "float32" else 1e-14
    assert np.abs(got - want).max() <= error * np.abs(want).max()


@pytest.mark.parametrize(("kernel_size", "tile"), TILES, ids=str)
@pytest.mark.parametrize(("channels", "outputs", "groups"), [(5, 3, 2), (33, 37, 1), (70, 17, 1)])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_few_tiles_are_the_oracle(
    backend, rng, kernel_size, tile, channels, outputs, groups, dtype
):
    """Of few tiles each block transforms its weights, some input channels at a time."""
    size = [min(n, k + t) for n, k, t in zip((5, 7, 3), kernel_size, tile)]
    x = hostile.normal(rng, (1, channels * groups, *size), dtype)
    weight = hostile.normal(rng, (outputs * groups, channels, *kernel_size), dtype)
    padding = [(k // 2, k - 1) for k in kernel_size]
    got, finite = call(x, weight, None, tile, padding, groups=groups)
    wide = x.astype("float64"), weight.astype("float64")
    want = reference.conv3d(*wide, padding=tuple(padding), groups=groups)
    assert finite
    error = 6e-6 if dtype == "float32" else 1e-14
    assert np.abs(got - want).max() <= error * np.abs(want).max()


@pytest.mark.parametrize(("stride", "dilation"), [((2, 1, 1), (1, 1, 1)), ((3, 1, 1), (2, 1, 1))])
def test_axes_summed_directly_take_strides_and_dilation(backend, rng, stride, dilation):
    x = hostile.normal(rng, (2, 5, 11, 9, 10), "float64")
    weight = hostile.normal(rng, (7, 5, 3, 3, 3), "float64")
    got = voxkern.conv3d(x, weight, None, stride, (4, 1, 1), dilation, algorithm="winograd")
    want = reference.conv3d(x, weight, None, stride, (4, 1, 1), dilation)
    assert np.abs(got - want).max() <= 1e-14 * np.abs(want).max()


@pytest.mark.parametrize(("kernel_size", "tile"), TILES, ids=str)
@pytest.mark.parametrize(("channels", "outputs", "groups"), [(3, 5, 2), (17, 33, 1), (70, 7, 1)])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_gradients_are_the_oracle(
    backend, rng, kernel_size, tile, channels, outputs, groups, dtype
):
    x = hostile.normal(rng, (3, channels * groups, 7, 11, 13), dtype)
    window = {"padding": (1, 0, 3), "groups": groups}
    shape = reference.conv3d(
        x, np.zeros((outputs * groups, channels, *kernel_size)), **window
    ).shape
    grad = hostile.normal(rng, shape, dtype)
    out = np.full((outputs * groups, channels, *kernel_size), np.nan, dtype)
    pairs, ones = ((1, 1), (0, 0), (3, 3)), (1, 1, 1)
    finite = _dispatch.kernel(OPERATION).backward_weight(
        grad, x, kernel_size, tile, pairs, ones, ones, groups, out=out
    )
    wide = grad.astype("float64"), x.astype("float64")
    want = reference.conv.conv_backward_weight(*wide, kernel_size, 1, window["padding"], 1, groups)
    assert finite
    error = 8e-6 if dtype == "float32" else 2e-14
    assert np.abs(out - want).max() <= error * np.abs(want).max()


def test_gradients_of_no_samples_are_zero(backend):
    x, grad = np.ones((0, 3, 1, 5, 5), "float32"), np.ones((0, 4, 1, 3, 3), "float32")
    out, ones = np.ones((4, 3, 1, 3, 3), "float32"), (1, 1, 1)
    window = ((0, 0),) * 3, ones, ones
    kernel = _dispatch.kernel(OPERATION)
    assert kernel.backward_weight(grad, x, (1, 3, 3), (1, 2, 2), *window, 1, out=out)
    assert_exact(out, np.zeros_like(out))


@pytest.mark.parametrize("shape", [(1, 40, 6, 14, 14), (5, 33, 1, 7, 7), (1, 64, 4, 30, 5)])
def test_results_do_not_depend_on_threads(shape, rng):
    x = hostile.normal(rng, shape, "float32")
    weight = hostile.normal(rng, (48, shape[1], min(3, shape[2]), 3, 3), "float32")
    padding = (int(shape[2] > 1), 1, 1)
    results, before = [], voxkern.get_num_threads()
    for threads in (1, 2, 3):
        voxkern.set_num_threads(threads)
        out = voxkern.conv3d(x, weight, padding=padding, algorithm="winograd")
        results.append((out, *voxkern.conv3d_backward(out, x, weight, padding=padding)))
    voxkern.set_num_threads(before)
    for other in results[1:]:
        for got, want in zip(other, results[0]):
            assert_exact(got, want)


@np.errstate(over="ignore", invalid="ignore")
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 3e38])
def test_what_is_not_finite_stays_where_it_is_seen(backend, rng, value):
    x = hostile.normal(rng, (1, 32, 9, 10, 11), "float32")
    weight = np.abs(hostile.normal(rng, (32, 32, 3, 3, 3), "float32"))
    x[0, 5, 0, 9, 4] = value
    got = voxkern.conv3d(x, weight, padding=1, algorithm="winograd", activation="relu")
    want = voxkern.conv3d(x, weight, padding=1, algorithm="direct", activation="relu")
    assert_exact(got, want)
    assert np.isfinite(got).sum() >= got.size * (1 - 27 / (9 * 10 * 11))


@np.errstate(over="ignore", invalid="ignore")
def test_a_gradient_that_is_not_finite_is_that_of_direct_sums(backend, rng):
    grad = hostile.normal(rng, (1, 32, 4, 9, 10), "float32")
    weight = hostile.normal(rng, (32, 24, 3, 3, 3), "float32")
    x = hostile.normal(rng, (1, 24, 4, 9, 10), "float32")
    grad[0, 5, 0, 8, 4] = np.inf
    got, _, _ = voxkern.conv3d_backward(grad, x, weight, padding=1, need=(True, False, False))
    flipped = transposed(weight, 1)
    want = voxkern.conv3d(grad, flipped, padding=1, algorithm="direct")
    assert_exact(got, want)
