"""Gradients and transposes by the kernels that only some shapes choose."""

import itertools

import numpy as np
import pytest

import voxkern
from voxkern import _dispatch, reference

import hostile
from accuracy import assert_close, assert_exact

OPERATION = "conv"
LEFT_OUT = "cuda"

# Input size, kernel size, stride, padding, output padding, dilation.
WINDOWS = [
    ((3, 5, 7), (1, 1, 1), (1, 1, 1), (0, 0, 0), (0, 0, 0), (1, 1, 1)),
    ((3, 5, 17), (3, 2, 5), (1, 1, 1), (1, 0, 2), (0, 0, 0), (1, 2, 1)),
    ((5, 7, 11), (2, 3, 2), (2, 3, 2), (0, 0, 0), (0, 0, 0), (1, 1, 1)),
    ((5, 7, 37), (2, 3, 4), (2, 3, 4), (1, 2, 3), (0, 0, 0), (1, 1, 1)),
    ((2, 3, 19), (2, 2, 2), (2, 2, 2), (0, 0, 0), (1, 1, 1), (1, 1, 1)),
    ((3, 4, 5), (1, 2, 3), (2, 3, 2), (0, 1, 1), (1, 2, 1), (1, 1, 1)),
    ((2, 5, 9), (4, 5, 7), (2, 3, 3), (3, 2, 5), (0, 1, 2), (1, 1, 1)),
    ((4, 3, 6), (2, 3, 3), (1, 2, 3), (1, 2, 0), (0, 0, 1), (2, 3, 2)),
    ((1, 1, 1), (3, 3, 3), (2, 2, 2), (0, 0, 0), (0, 0, 0), (1, 1, 1)),
    ((1, 1, 3), (3, 1, 2), (1, 1, 1), (1, 0, 0), (0, 0, 0), (1, 1, 1)),
    ((3, 3, 3), (1, 1, 1), (2, 2, 3), (0, 0, 0), (1, 0, 2), (1, 1, 1)),
    ((1, 1, 401), (1, 1, 64), (1, 1, 2), (0, 0, 31), (0, 0, 0), (1, 1, 1)),
    ((2, 61, 67), (1, 3, 3), (1, 2, 1), (0, 1, 1), (0, 1, 0), (1, 1, 1)),
]


def transpose(x, weight, bias, window, groups, product, size):
    _, _, stride, padding, extra, dilation = window
    out = np.full((len(x), weight.shape[1] * groups, *size), np.nan, x.dtype)
    pairs = [(p, p) for p in padding]
    arguments = x, weight, bias, stride, pairs, extra, groups, dilation
    _dispatch.kernel("conv").conv_transpose(*arguments, product=product, out=out)
    return out


@pytest.mark.parametrize("window", WINDOWS, ids=str)
@pytest.mark.parametrize(
    ("inputs", "outputs", "groups"), [(1, 1, 1), (5, 3, 2), (300, 1, 1), (17, 11, 1)]
)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("product", [False, True])
def test_both_ways_are_the_oracle(backend, rng, window, inputs, outputs, groups, dtype, product):
    size, kernel_size, stride, padding, extra, dilation = window
    x = hostile.normal(rng, (2, inputs * groups, *size), dtype)
    weight = hostile.normal(rng, (inputs * groups, outputs, *kernel_size), dtype)
    for bias in (None, hostile.normal(rng, (outputs * groups,), dtype)):
        wide = [None if a is None else a.astype("float64") for a in (x, weight, bias)]
        want = reference.conv_transpose3d(*wide, stride, padding, extra, groups, dilation)
        got = transpose(x, weight, bias, window, groups, product, want.shape[2:])
        assert_close(got, want, length=weight[:, 0].size // groups, scale=8)


@pytest.mark.parametrize("window", WINDOWS, ids=str)
@pytest.mark.parametrize(("batch", "outputs"), [(1, 1), (1, 13), (3, 2)])
def test_a_product_does_not_depend_on_threads(rng, window, batch, outputs):
    size, kernel_size, stride, padding, extra, dilation = window
    x = hostile.normal(rng, (batch, 700, *size), "float32")
    weight = hostile.normal(rng, (700, outputs, *kernel_size), "float32")
    size = reference.conv_transpose3d(x, weight, None, stride, padding, extra, 1, dilation).shape
    before, results = voxkern.get_num_threads(), []
    try:
        for threads in (1, 2, 5):
            voxkern.set_num_threads(threads)
            results.append(transpose(x, weight, None, window, 1, True, size[2:]))
    finally:
        voxkern.set_num_threads(before)
    for one, other in itertools.pairwise(results):
        assert_exact(one, other)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_stays_where_it_is_seen(backend, rng, value):
    window = WINDOWS[3]
    x = hostile.normal(rng, (1, 3, *window[0]), "float32")
    weight = hostile.normal(rng, (3, 2, *window[1]), "float32")
    finite = reference.conv_transpose3d(x, weight, None, *window[2:4])
    x[0, 1, 2, 3, 5] = value
    with np.errstate(invalid="ignore"):
        want = reference.conv_transpose3d(x, weight, None, *window[2:4])
    got = transpose(x, weight, None, window, 1, True, finite.shape[2:])
    assert_exact(np.isfinite(got), np.isfinite(want))


@pytest.mark.parametrize(
    "shape", [(0, 3, 1, 4, 5), (3, 1, 1, 1, 1), (2, 5, 3, 1, 7), (1, 2, 1, 67, 5003)]
)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_gradient_to_the_bias_is_the_sum(backend, rng, shape, dtype):
    grad = hostile.normal(rng, shape, dtype)
    out = np.full(shape[1], np.nan, dtype)
    _dispatch.kernel("conv").conv_backward_bias(grad, out=out)
    want = reference.conv.conv_backward_bias(grad.astype("float64"))
    assert_close(out, want, length=grad[:, 0].size + 1, scale=1)


@pytest.mark.parametrize("channels", [1, 16, 37])
@pytest.mark.parametrize("size", [(1, 2, 3), (5, 2, 7), (1, 9, 21)], ids=str)
@pytest.mark.parametrize(
    "window",
    [
        {"stride": 2},
        {"stride": (1, 2, 3), "padding": (0, 1, 2)},
        {"padding": (2, 3, 4), "dilation": (1, 1, 2)},
    ],
    ids=str,
)
@pytest.mark.parametrize("kernel_size", [(1, 1, 1), (1, 1, 3), (1, 2, 3)], ids=str)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_depthwise_gradients_are_the_oracle(
    backend, rng, channels, size, window, kernel_size, dtype
):
    x = hostile.normal(rng, (3, channels, *size), dtype)
    weight = hostile.normal(rng, (channels, 1, *kernel_size), dtype)
    bias = hostile.normal(rng, (channels,), dtype)
    window = window | {"groups": channels}
    grad = hostile.normal(rng, reference.conv3d(x, weight, **window).shape, dtype)
    wide = [a.astype("float64") for a in (grad, x, weight, bias)]
    got = voxkern.conv3d_backward(grad, x, weight, **window)
    want = reference.conv3d_backward(*wide[:3], **window)
    for g, w in zip(got, want):
        assert_close(g, w, length=grad[:, 0].size, scale=8)
    got = voxkern.conv_transpose3d(grad, weight, bias, **window)
    want = reference.conv_transpose3d(wide[0], wide[2], wide[3], **window)
    assert_close(got, want, length=weight.size, scale=8)


# Lanes along outputs, along channels, depthwise, in columns, along input channels, and groups.
@pytest.mark.parametrize(
    ("batch", "inputs", "outputs", "groups", "size"),
    [
        (1, 8, 16, 1, (5, 7, 40)),
        (1, 64, 67, 1, (4, 6, 6)),
        (1, 1, 1, 37, (5, 6, 7)),
        (9, 33, 19, 1, (3, 3, 3)),
        (1, 70, 2, 1, (4, 5, 6)),
        (2, 5, 3, 4, (3, 4, 33)),
    ],
)
@pytest.mark.parametrize("kernel_size", [(3, 3, 3), (1, 1, 1), (1, 2, 3)], ids=str)
@pytest.mark.parametrize("algorithm", ["direct", "im2col"])
def test_flipped_weights_are_read_where_they_lie(
    backend, rng, batch, inputs, outputs, groups, size, kernel_size, algorithm
):
    x = hostile.normal(rng, (batch, inputs * groups, *size), "float32")
    weight = hostile.normal(rng, (inputs * groups, outputs, *kernel_size), "float32")
    pairs = [(k - 1, k - 1) for k in kernel_size]
    shape = batch, outputs * groups, *(n + k - 1 for n, k in zip(size, kernel_size))
    taps = weight[:, :, ::-1, ::-1, ::-1].reshape(groups, inputs, outputs, *kernel_size)
    turned = taps.swapaxes(1, 2).reshape(groups * outputs, inputs, *kernel_size)
    results = [np.full(shape, np.nan, "float32") for _ in range(2)]
    for given, flipped, out in zip((weight, turned.copy()), (True, False), results):
        arguments = x, given, None, (1, 1, 1), pairs, (1, 1, 1), groups
        options = dict(algorithm=algorithm, slope=None, packed=None, flipped=flipped, whole=None)
        options["accumulate"] = False
        _dispatch.kernel("conv").conv(*arguments, **options, out=out)
    assert_exact(*results)
