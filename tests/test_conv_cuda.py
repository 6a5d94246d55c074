"""Convolution by every backend, with sizes small enough for the simulator of CUDA.

There a tile is 4x4 and 2 deep: these sizes fill some, and leave the last of each axis in part.
"""

import numpy as np
import pytest

import voxkern
from voxkern import reference

import hostile
from accuracy import assert_close

OPERATION = "conv"
CONV = {1: voxkern.conv1d, 2: voxkern.conv2d, 3: voxkern.conv3d}
BACKWARD = {1: voxkern.conv1d_backward, 2: voxkern.conv2d_backward, 3: voxkern.conv3d_backward}
TRANSPOSE = {1: voxkern.conv_transpose1d, 2: voxkern.conv_transpose2d, 3: voxkern.conv_transpose3d}
# Groups, inputs and outputs of one: tiles, tiles in part, one channel, depthwise, twice as many.
CHANNELS = [(1, 3, 7), (2, 2, 3), (1, 1, 1), (3, 1, 1), (2, 1, 2)]
SIZES = {1: (13,), 2: (5, 4), 3: (3, 4, 2)}
KERNELS = {1: (3,), 2: (2, 3), 3: (1, 3, 2)}
WINDOWS = [
    {},
    {"stride": 2, "padding": 1},
    {"padding": "same", "dilation": 2},
    {"stride": 3, "padding": 2, "dilation": 2},
]


def operands(rng, axes, channels, dtype, batch=2):
    groups, inputs, outputs = channels
    x = hostile.normal(rng, (batch, groups * inputs, *SIZES[axes]), dtype)
    weight = hostile.normal(rng, (groups * outputs, inputs, *KERNELS[axes]), dtype)
    return x, weight, hostile.normal(rng, groups * outputs, dtype)


def widened(*arrays):
    return [a.astype("float64") for a in arrays]


# Every axis with every window, each with other channels and another type.
CASES = [
    (axes, window, CHANNELS[(axes + i) % 5], hostile.FLOATS[(axes + i) % 3])
    for axes in SIZES
    for i, window in enumerate(WINDOWS)
]


@pytest.mark.parametrize(("axes", "window", "channels", "dtype"), CASES)
def test_conv_is_the_oracle(backend, rng, axes, window, channels, dtype):
    x, weight, bias = operands(rng, axes, channels, dtype)
    activation = ("leaky_relu", 0.25) if axes == 2 else None
    got = CONV[axes](x, weight, bias, **window, groups=channels[0], activation=activation)
    wide = widened(x, weight, bias)
    want = reference.conv3d(*wide, **window, groups=channels[0], activation=activation)
    assert got.dtype == dtype
    assert_close(got, want, length=weight[0].size, scale=8)


@pytest.mark.parametrize(("axes", "window", "channels", "dtype"), CASES)
def test_gradients_are_the_oracle(backend, rng, axes, window, channels, dtype):
    x, weight, _ = operands(rng, axes, channels, dtype)
    window = {**window, "groups": channels[0]}
    grad = hostile.normal(rng, reference.conv3d(x, weight, **window).shape, dtype)
    got = BACKWARD[axes](grad, x, weight, **window)
    want = reference.conv3d_backward(*widened(grad, x, weight), **window)
    for g, w, length in zip(got, want, (weight.size, grad[:, 0].size, grad[:, 0].size)):
        assert g.dtype == dtype
        assert_close(g, w, length=length, scale=8)


@pytest.mark.parametrize("channels", CHANNELS)
@pytest.mark.parametrize(
    ("axes", "window"),
    [
        (1, {"stride": 5, "dilation": 2}),  # residues without a tap get the bias alone
        (2, {"stride": (2, 3), "padding": 1, "output_padding": 1}),
        (3, {"stride": 2, "padding": (0, 2, 1), "dilation": 3}),
    ],
)
def test_conv_transpose_is_the_oracle(backend, rng, axes, window, channels):
    groups, inputs, outputs = channels
    size = [n // 2 + 1 for n in SIZES[axes]]
    x = hostile.normal(rng, (2, groups * inputs, *size), "float32")
    weight = hostile.normal(rng, (groups * inputs, outputs, *KERNELS[axes]), "float32")
    bias = hostile.normal(rng, groups * outputs, "float32")
    got = TRANSPOSE[axes](x, weight, bias, **window, groups=groups)
    want = reference.conv_transpose3d(*widened(x, weight, bias), **window, groups=groups)
    assert_close(got, want, length=weight[:, 0].size, scale=8)


@pytest.mark.parametrize("channels", CHANNELS[:3])
def test_nan_and_inf_stay_in_the_windows_that_hold_them(backend, rng, channels):
    x, weight, bias = operands(rng, 2, channels, "float64", batch=1)
    x[0, 0, 1, 1], x[0, 0, 4, 3] = np.nan, -np.inf
    window = {"padding": 1, "groups": channels[0], "activation": "relu"}
    with np.errstate(invalid="ignore"):
        want = reference.conv2d(x, weight, bias, **window)
        got = voxkern.conv2d(x, weight, bias, **window)
    assert_close(got, want, length=weight[0].size, scale=8)


@pytest.mark.parametrize("channels", CHANNELS[:3])
def test_a_batch_may_be_empty(backend, rng, channels):
    x, weight, bias = operands(rng, 2, channels, "float32", batch=0)
    out = voxkern.conv2d(x, weight, bias, groups=channels[0])
    assert out.shape == (0, len(weight), 4, 2)
    grads = voxkern.conv2d_backward(out, x, weight, groups=channels[0])
    assert grads[0].shape == x.shape
    assert not grads[1].any()
    assert not grads[2].any()


@pytest.mark.parametrize("layout", hostile.LAYOUTS)
def test_layout_does_not_matter(backend, rng, layout):
    x, weight, bias = operands(rng, 1, CHANNELS[0], "float32")
    want = voxkern.conv1d(x, weight, bias)
    got = voxkern.conv1d(layout(x), layout(weight), layout(bias))
    np.testing.assert_array_equal(got, want)


def test_a_plan_is_the_function(backend, rng):
    x, weight, bias = operands(rng, 1, CHANNELS[0], "float32")
    plan = voxkern.ConvPlan(weight, bias, padding=1, algorithm="direct")
    want = voxkern.conv1d(x, weight, bias, padding=1, algorithm="direct")
    assert_close(plan(x), widened(want)[0], length=weight[0].size, scale=8)
