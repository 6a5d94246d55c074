"""Convolution, its transpose and its gradients, against loops, a matrix product and calculus."""

import importlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import voxkern
from voxkern import _dispatch, reference
from voxkern.kernels.native import host
from voxkern.reference.conv import conv_loops

import hostile
from accuracy import assert_close, assert_exact

OPERATION = "conv"
LEFT_OUT = "cuda"  # test_conv_cuda.py has sizes for its simulator
CONV = {1: voxkern.conv1d, 2: voxkern.conv2d, 3: voxkern.conv3d}
BACKWARD = {1: voxkern.conv1d_backward, 2: voxkern.conv2d_backward, 3: voxkern.conv3d_backward}
TRANSPOSE = {1: voxkern.conv_transpose1d, 2: voxkern.conv_transpose2d, 3: voxkern.conv_transpose3d}
WINDOWS = [
    {},
    {"stride": 2},
    {"stride": 3, "padding": 1},
    {"padding": 2, "dilation": 2},
    {"stride": 2, "padding": 3, "dilation": 3},
    {"padding": "same"},
    {"padding": "same", "dilation": 2},
    {"padding": "valid", "stride": 2},
]


def operands(rng, axes, groups=1, dtype="float64", outputs=10, channels=6):
    """x, weight and bias whose sizes are all different."""
    shape = (2, channels, *hostile.SHAPES[axes][2:])
    weight = (outputs, channels // groups, *(3, 2, 4)[:axes])
    return [hostile.normal(rng, s, dtype) for s in (shape, weight, (outputs,))]


def widened(*arrays):
    return [a.astype("float64") for a in arrays]


@pytest.mark.parametrize("axes", [1, 2, 3])
@pytest.mark.parametrize("window", [{}, {"stride": 2, "padding": 1, "dilation": 2}], ids=str)
@pytest.mark.parametrize("groups", [1, 2])
def test_the_oracle_is_the_loops(rng, axes, window, groups):
    shapes = (2, 4, *(7, 6, 5)[:axes]), (6, 4 // groups, *(3, 2, 2)[:axes]), (6,)
    x, weight, bias = (hostile.normal(rng, s) for s in shapes)
    got = reference.conv3d(x, weight, bias, **window, groups=groups)
    assert_close(got, conv_loops(x, weight, bias, **window, groups=groups), length=64)


@pytest.mark.parametrize("algorithm", ["auto", "direct", "im2col"])
@pytest.mark.parametrize("axes", [1, 2, 3])
@pytest.mark.parametrize("window", WINDOWS, ids=str)
@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("dtype", hostile.FLOATS)
def test_conv_is_the_oracle(backend, rng, algorithm, axes, window, groups, dtype):
    x, weight, bias = operands(rng, axes, groups, dtype)
    got = CONV[axes](x, weight, bias, **window, groups=groups, algorithm=algorithm)
    want = reference.conv3d(*widened(x, weight, bias), **window, groups=groups)
    assert got.dtype == dtype
    assert_close(got, want, length=weight[0].size, scale=8)


@pytest.mark.parametrize("axes", [1, 2, 3])
@pytest.mark.parametrize(
    "window",
    [
        {},
        {"stride": 2},
        {"stride": 3, "padding": 1, "output_padding": 2},
        {"stride": 2, "padding": 2, "dilation": 3, "output_padding": 1},
        {"stride": 5, "dilation": 2},
        {"stride": 4, "dilation": 2, "padding": 1},
    ],
    ids=str,
)
@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("dtype", hostile.FLOATS)
def test_conv_transpose_is_the_oracle(backend, rng, axes, window, groups, dtype):
    x, weight, _ = operands(rng, axes, groups, dtype)
    weight = weight.reshape(6, -1, *weight.shape[2:])
    bias = hostile.normal(rng, (weight.shape[1] * groups,), dtype)
    got = TRANSPOSE[axes](x, weight, bias, **window, groups=groups)
    want = reference.conv_transpose3d(*widened(x, weight, bias), **window, groups=groups)
    assert_close(got, want, length=weight[:, 0].size, scale=8)


@pytest.mark.parametrize("axes", [1, 2, 3])
@pytest.mark.parametrize("window", WINDOWS, ids=str)
@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("dtype", hostile.FLOATS)
def test_gradients_are_the_oracle(backend, rng, axes, window, groups, dtype):
    x, weight, _ = operands(rng, axes, groups, dtype)
    shape = reference.conv3d(x, weight, **window, groups=groups).shape
    grad = hostile.normal(rng, shape, dtype)
    got = BACKWARD[axes](grad, x, weight, **window, groups=groups)
    want = reference.conv3d_backward(*widened(grad, x, weight), **window, groups=groups)
    for g, w, length in zip(got, want, (weight.size, grad[:, 0].size, grad[:, 0].size)):
        assert g.dtype == dtype
        assert_close(g, w, length=length, scale=8)


@pytest.mark.parametrize("axes", [1, 2, 3])
@pytest.mark.parametrize("groups", [1, 2])
def test_gradients_are_the_slopes(rng, axes, groups):
    x, weight, bias = operands(rng, axes, groups, outputs=4, channels=2)
    window = {"stride": 2, "padding": 1, "groups": groups}
    grad = hostile.normal(rng, CONV[axes](x, weight, bias, **window).shape)
    gradients = BACKWARD[axes](grad, x, weight, **window)
    for i, operand in enumerate((x, weight, bias)):
        step = hostile.normal(rng, operand.shape)
        moved = [[x, weight, bias], [x, weight, bias]]
        moved[0][i], moved[1][i] = operand + 1e-5 * step, operand - 1e-5 * step
        up, down = (np.vdot(grad, CONV[axes](*m, **window)) for m in moved)
        np.testing.assert_allclose((up - down) / 2e-5, np.vdot(gradients[i], step), rtol=1e-7)


def test_need_leaves_gradients_out(rng):
    x, weight, _ = operands(rng, 2)
    grad = np.ones_like(voxkern.conv2d(x, weight))
    everything = voxkern.conv2d_backward(grad, x, weight)
    for i in range(3):
        need = [j == i for j in range(3)]
        some = voxkern.conv2d_backward(grad, x, weight, need=need)
        assert [g is not None for g in some] == need
        assert_exact(some[i], everything[i])


# Widths around the vectors that interleave the residues, channels around the height of a tile.
@pytest.mark.parametrize("kernel", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("stride", [2, 3])
@pytest.mark.parametrize("width", [1, 7, 16, 33, 600])
def test_rows_of_a_transpose_are_whole(backend, rng, kernel, stride, width):
    x = hostile.normal(rng, (2, 3, 5, width), "float32")
    weight = hostile.normal(rng, (3, 9, 2, kernel), "float32")
    window = {"stride": stride, "output_padding": (0, stride - 1)}
    got = voxkern.conv_transpose2d(x, weight, **window)
    want = reference.conv_transpose2d(*widened(x, weight), **window)
    assert_close(got, want, length=18, scale=8)


@pytest.mark.parametrize("odd", [0, 1])
def test_a_transpose_past_the_cache_is_its_residues(backend, rng, odd):
    x = hostile.with_ties(rng, (1, 2, 700, 1101 + odd), "float32")
    weight = hostile.with_ties(rng, (2, 2, 2, 2), "float32")
    got = voxkern.conv_transpose2d(x, weight, stride=2)
    for i, j in np.ndindex(2, 2):
        want = np.einsum("nchw,co->nohw", x, weight[:, :, i, j])
        assert_exact(got[:, :, i::2, j::2], want)


def test_the_transpose_of_stride_1_takes_the_fast_algorithm(backend, rng):
    x = hostile.normal(rng, (1, 32, 8, 9, 10), "float32")
    weight = hostile.normal(rng, (32, 24, 3, 3, 2), "float32")
    bias = hostile.normal(rng, (24,), "float32")
    for window in ({"padding": 1}, {"padding": (2, 1, 0)}, {"padding": 3, "dilation": 2}):
        got = voxkern.conv_transpose3d(x, weight, bias, **window)
        want = reference.conv_transpose3d(*widened(x, weight, bias), **window)
        assert np.abs(got - want).max() <= 4e-6 * np.abs(want).max()


def test_gradients_do_not_depend_on_the_number_of_threads(backend, rng):
    before = voxkern.get_num_threads()
    for channels, outputs, groups, size in ((2, 3, 1, 40), (20, 40, 1, 20), (12, 12, 12, 24)):
        x = hostile.normal(rng, (2, channels, 9, size, size), "float32")
        weight = hostile.normal(rng, (outputs, channels // groups, 3, 2, 3), "float32")
        grad = hostile.normal(rng, voxkern.conv3d(x, weight, groups=groups).shape, "float32")
        results = []
        for threads in (1, 2, 3):
            voxkern.set_num_threads(threads)
            results.append(voxkern.conv3d_backward(grad, x, weight, groups=groups))
        voxkern.set_num_threads(before)
        for other in results[1:]:
            for a, b in zip(results[0], other):
                assert_exact(a, b)


@given(data=st.data())
def test_transpose_is_the_adjoint(data):
    axes = data.draw(st.integers(1, 3))

    def draw(low, high):
        return data.draw(st.tuples(*[st.integers(low, high)] * axes))

    kernel, stride, padding, dilation = draw(1, 4), draw(1, 4), draw(0, 3), draw(1, 3)
    groups = data.draw(st.sampled_from([1, 2, 3]))
    size = [d * (k - 1) + 1 + n for k, d, n in zip(kernel, dilation, draw(0, 7))]
    rng = np.random.default_rng(data.draw(st.integers(0, 9)))
    # Small integers: every sum is exact, so both sides must be equal.
    x = hostile.with_ties(rng, (2, 2 * groups, *size))
    weight = hostile.with_ties(rng, (3 * groups, 2, *kernel))
    window = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    forward = CONV[axes](x, weight, **window)
    y = hostile.with_ties(rng, forward.shape)
    grad_x, grad_weight, grad_bias = BACKWARD[axes](y, x, weight, **window)
    assert_exact(forward, reference.conv3d(x, weight, **window))
    assert np.vdot(forward, y) == np.vdot(x, grad_x) == np.vdot(weight, grad_weight)
    assert_exact(grad_bias, y.sum(axis=(0, *range(2, y.ndim))))


def test_conv_is_linear_and_moves_with_its_input(rng):
    x, y = (hostile.with_ties(rng, (1, 3, 9, 8, 7)) for _ in range(2))
    weight = hostile.with_ties(rng, (5, 3, 3, 3, 3))
    both = voxkern.conv3d(2 * x - 3 * y, weight)
    assert_exact(both, 2 * voxkern.conv3d(x, weight) - 3 * voxkern.conv3d(y, weight))
    moved = voxkern.conv3d(np.roll(x, (1, 2, 1), (2, 3, 4)), weight)
    assert_exact(moved[..., 1:, 2:, 1:], voxkern.conv3d(x, weight)[..., :-1, :-2, :-1])


def test_a_unit_kernel_is_the_identity(backend, rng):
    x = hostile.normal(rng, (2, 5, 11, 7, 3), "float32")
    weight = np.eye(5, dtype="float32").reshape(5, 5, 1, 1, 1)
    assert_exact(voxkern.conv3d(x, weight), x)
    assert_exact(voxkern.conv_transpose3d(x, weight), x)


# Sizes around the widths of vectors, tiles, blocks of terms and blocks of outputs.
@pytest.mark.parametrize("channels", [1, 2, 13, 67])
@pytest.mark.parametrize("outputs", [1, 7, 15])
@pytest.mark.parametrize("width", [1, 15, 16, 49, 257, 601])
def test_sizes_around_the_blocks(backend, rng, channels, outputs, width):
    x = hostile.normal(rng, (1, channels, 3, width), "float32")
    weight = hostile.normal(rng, (outputs, channels, 3, 3), "float32")
    got = voxkern.conv2d(x, weight, padding=1)
    want = reference.conv2d(*widened(x, weight), padding=1)
    assert_close(got, want, length=9 * channels, scale=8)
    grad = hostile.normal(rng, got.shape, "float32")
    got = voxkern.conv2d_backward(grad, x, weight, padding=1)
    want = reference.conv2d_backward(*widened(grad, x, weight), padding=1)
    for g, w in zip(got, want):
        assert_close(g, w, length=3 * width + 9 * outputs, scale=8)


# Few outputs: the rows of the slab are every second, third ... element of the input's.
@pytest.mark.parametrize("stride", [2, 3, 4, 5])
@pytest.mark.parametrize("width", [7, 16, 31, 33, 65, 131])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_rows_of_every_stride(backend, rng, stride, width, dtype):
    x = hostile.normal(rng, (2, 3, 5, width), dtype)
    weight = hostile.normal(rng, (2, 3, 3, 5), dtype)
    for padding in (0, (1, 2), (2, 4)):
        window = {"stride": (2, stride), "padding": padding}
        got = voxkern.conv2d(x, weight, **window)
        want = reference.conv2d(*widened(x, weight), **window)
        assert_close(got, want, length=45, scale=8)


# Strided by two: rows of one vector, in pairs, of several and of parts of them; NaN where x ends.
@pytest.mark.parametrize("width", [5, 15, 32, 33, 63, 64, 67, 130])
@pytest.mark.parametrize("kernel", [(1, 2, 2), (3, 3, 3), (2, 5, 4), (2, 1, 7), (1, 3, 8)], ids=str)
@pytest.mark.parametrize("padding", [0, 1, (2, 3, 4), (0, 1, 40)], ids=str)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_rows_are_read_where_they_lie(backend, rng, width, kernel, padding, dtype):
    shape, window = (2, 6, 5, 9, max(width, kernel[2])), {"padding": padding, "groups": 2}
    window["stride"], window["dilation"] = (1, 2, 2), (2, 1, 1)
    around = np.full(np.prod(shape) + 80, np.nan, dtype)
    x = around[37:-43].reshape(shape)
    x[...] = hostile.normal(rng, shape)
    weight = hostile.normal(rng, (34, 3, *kernel), dtype)
    bias = hostile.normal(rng, (34,), dtype)
    want = reference.conv3d(*widened(x, weight, bias), **window)
    around = np.full(want.size + 80, 7, dtype)
    got = around[37:-43].reshape(want.shape)
    voxkern.conv3d(x, weight, bias, out=got, **window)
    assert_close(got, want, length=weight[0].size, scale=8)
    assert (np.delete(around, np.s_[37:-43]) == 7).all()
    plan = voxkern.ConvPlan(weight, bias, activation="relu", **window)
    np.testing.assert_array_equal(plan(x), np.maximum(got, 0))


@pytest.mark.skipif("v4" not in host.levels(), reason="has no masked loads")
def test_what_is_read_where_it_lies_needs_no_slab():
    shapes = (1, 8, 64, 64, 64), (16, 8, 3, 3, 3)
    with _dispatch.force("native", "v4"):
        told = voxkern.conv_workspace(*shapes, stride=2, padding=1, num_threads=1)
    assert told < 64 * 1024


# A row of windows over all channels is larger than a slab: they come in parts, the last smaller.
@pytest.mark.parametrize(("channels", "outputs"), [(101, 3), (61, 19), (53, 40)])
@pytest.mark.parametrize(
    "window",
    [
        {"stride": 2, "padding": (2, 1, 3)},
        {"padding": (4, 1, 2), "dilation": (2, 1, 2)},
        {"stride": (1, 2, 3)},
    ],
    ids=str,
)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_channels_in_parts(backend, rng, channels, outputs, window, dtype):
    x = hostile.normal(rng, (2, channels, 9, 13, 41), dtype)
    weight = hostile.normal(rng, (outputs, channels, 5, 3, 7), dtype)
    bias = hostile.normal(rng, (outputs,), dtype)
    got = voxkern.conv3d(x, weight, bias, algorithm="direct", **window)
    want = reference.conv3d(*widened(x, weight, bias), **window)
    assert_close(got, want, length=105 * channels, scale=8)
    plan = voxkern.ConvPlan(weight, bias, algorithm="direct", activation="relu", **window)
    np.testing.assert_array_equal(plan(x), np.maximum(got, 0))


# Vectors of input channels: few outputs of many channels, narrow or strided.
@pytest.mark.parametrize(("channels", "outputs"), [(37, 1), (64, 5), (150, 9)])
@pytest.mark.parametrize("size", [(3, 5, 2), (4, 7, 19), (5, 3, 41)])
@pytest.mark.parametrize(
    "window",
    [
        {"stride": 2, "padding": 1},
        {"padding": 1},
        {"stride": (1, 3, 2), "padding": (2, 3, 1), "dilation": (2, 2, 1)},
    ],
    ids=str,
)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_lanes_of_input_channels(backend, rng, channels, outputs, size, window, dtype):
    x = hostile.normal(rng, (2, 2 * channels, *size), dtype)
    weight = hostile.normal(rng, (2 * outputs, channels, 3, 3, 2), dtype)
    bias = hostile.normal(rng, (2 * outputs,), dtype)
    got = voxkern.conv3d(x, weight, bias, groups=2, algorithm="direct", **window)
    want = reference.conv3d(*widened(x, weight, bias), groups=2, **window)
    assert_close(got, want, length=18 * channels, scale=8)
    plan = voxkern.ConvPlan(weight, bias, groups=2, algorithm="direct", activation="relu", **window)
    np.testing.assert_array_equal(plan(x), np.maximum(got, 0))


def test_parts_and_lanes_do_not_depend_on_the_number_of_threads(backend, rng):
    before = voxkern.get_num_threads()
    x = hostile.normal(rng, (1, 101, 9, 13, 41), "float32")
    for outputs in (3, 40):
        weight = hostile.normal(rng, (outputs, 101, 5, 3, 7), "float32")
        results = []
        for threads in (1, 2, 3):
            voxkern.set_num_threads(threads)
            results.append(voxkern.conv3d(x, weight, stride=2, algorithm="direct"))
        voxkern.set_num_threads(before)
        assert_exact(results[0], results[1])
        assert_exact(results[0], results[2])


# Blocks along D keep the planes that the next one reads, in a slab that is a ring.
@pytest.mark.parametrize(
    "window",
    [
        {"padding": 1},
        {"stride": 2, "padding": (2, 1, 3)},
        {"stride": (2, 1, 1), "dilation": (2, 1, 1)},
        {"padding": (9, 0, 1), "dilation": (1, 2, 2)},
        {"stride": (3, 1, 2), "padding": 2},
    ],
    ids=str,
)
@pytest.mark.parametrize(("channels", "outputs"), [(4, 5), (3, 37)])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_planes_kept_from_block_to_block(backend, rng, channels, outputs, window, dtype):
    x = hostile.normal(rng, (2, channels, 23, 61, 67), dtype)
    weight = hostile.normal(rng, (outputs, channels, 4, 3, 3), dtype)
    want = reference.conv3d(*widened(x, weight), **window)
    before, results = voxkern.get_num_threads(), []
    for threads in (1, 3):
        voxkern.set_num_threads(threads)
        results.append(voxkern.conv3d(x, weight, algorithm="direct", **window))
    voxkern.set_num_threads(before)
    assert_close(results[0], want, length=36 * channels, scale=8)
    assert_exact(results[1], results[0])


# Tiles of vectors of output channels: strides and short rows choose them.
@pytest.mark.parametrize("outputs", [16, 17, 67])
@pytest.mark.parametrize("width", [1, 5, 14, 29])
@pytest.mark.parametrize(
    "window",
    [
        {"stride": 2, "padding": (1, 2)},
        {"stride": (3, 2)},
        {"stride": (1, 4), "padding": 2, "dilation": (2, 1)},
        {"padding": (0, 2)},
    ],
    ids=str,
)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_sizes_around_the_vectors_of_channels(backend, rng, outputs, width, window, dtype):
    x = hostile.normal(rng, (2, 2 * 43, 7, width + 2), dtype)
    weight = hostile.normal(rng, (2 * outputs, 43, 3, 3), dtype)
    bias = hostile.normal(rng, (2 * outputs,), dtype)
    got = voxkern.conv2d(x, weight, bias, groups=2, algorithm="direct", **window)
    want = reference.conv2d(*widened(x, weight, bias), groups=2, **window)
    assert_close(got, want, length=9 * 43, scale=8)


@pytest.mark.parametrize("channels", [3, 37])
@pytest.mark.parametrize("size", [(3, 5, 7), (5, 4, 33), (11, 13, 3), (2, 3, 601)])
@pytest.mark.parametrize(
    "window",
    [
        {"padding": 1},
        {"stride": 2, "padding": (1, 0, 1)},
        {"stride": 3, "padding": 1},
        {"padding": 5, "dilation": 4},
        {"padding": "same", "dilation": (1, 2, 3)},
        {"stride": (5, 1, 19), "padding": 1},
    ],
    ids=str,
)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_depthwise_of_any_channels_and_sizes(backend, rng, channels, size, window, dtype):
    x, weight, bias = (
        hostile.normal(rng, shape, dtype)
        for shape in ((2, channels, *size), (channels, 1, 3, 2, 3), (channels,))
    )
    got = voxkern.conv3d(x, weight, bias, groups=channels, **window, activation=("leaky_relu", 0.5))
    want = reference.conv3d(*widened(x, weight, bias), groups=channels, **window)
    assert_close(got, np.where(want < 0, want / 2, want), length=18, scale=8)


@pytest.mark.parametrize("stride", [1, 2])
def test_depthwise_in_many_blocks(backend, rng, stride):
    x = hostile.normal(rng, (1, 19, 17, 61, 67), "float32")
    weight = hostile.normal(rng, (19, 1, 3, 5, 7), "float32")
    arguments = {"stride": stride, "padding": (1, 2, 3), "groups": 19}
    got = voxkern.conv3d(x, weight, **arguments)
    want = reference.conv3d(*widened(x, weight), **arguments)
    assert_close(got, want, length=105, scale=8)


def test_depthwise_of_large_kernels_and_gaps(backend, rng):
    x, weight = hostile.normal(rng, (1, 16, 31, 37, 41)), hostile.normal(rng, (16, 1, 3, 3, 3))
    for window in ({"padding": 16, "dilation": 16}, {"stride": 13}, {"dilation": (2, 18, 1)}):
        got = voxkern.conv3d(x, weight, groups=16, **window)
        assert_close(got, reference.conv3d(x, weight, groups=16, **window), length=27, scale=8)
    weight = hostile.normal(rng, (16, 1, 9, 8, 8))
    got = voxkern.conv3d(x, weight, groups=16, stride=7)
    assert_close(got, reference.conv3d(x, weight, groups=16, stride=7), length=576, scale=8)


def test_a_depthwise_plan_serves_sizes_that_are_read_differently(rng):
    weight = hostile.normal(rng, (32, 1, 3, 3, 3), "float32")
    arguments = {"padding": 8, "dilation": 8, "groups": 32}
    plan = voxkern.ConvPlan(weight, **arguments)
    for width in (1, 40, 1):
        x = hostile.normal(rng, (1, 32, 3, 5, width), "float32")
        assert_exact(plan(x), voxkern.conv3d(x, weight, **arguments))


@pytest.mark.parametrize("where", [(0, 0, 0), (4, 8, 6), (2, 3, 4)])
def test_depthwise_keeps_nan_and_inf_in_their_channel(backend, rng, where):
    x, weight = hostile.normal(rng, (1, 19, 5, 9, 7)), hostile.normal(rng, (19, 1, 3, 3, 3))
    clean = voxkern.conv3d(x, weight, padding=1, groups=19)
    for value in (np.nan, np.inf):
        x[(0, 18, *where)] = value
        got = voxkern.conv3d(x, weight, padding=1, groups=19)
        seen = reference.conv3d(~np.isfinite(x) * 1.0, np.ones_like(weight), padding=1, groups=19)
        assert_exact(np.isfinite(got), seen == 0)
        assert_exact(got[seen == 0], clean[seen == 0])


@pytest.mark.parametrize("dilation", [2, 3, 7])
@pytest.mark.parametrize("outputs", [2, 16, 37])
def test_dilated_depth_of_narrow_planes(backend, rng, dilation, outputs):
    x = hostile.normal(rng, (1, 67, 17, 13, 3), "float32")
    weight = hostile.normal(rng, (outputs, 67, 3, 2, 2), "float32")
    got = voxkern.conv3d(x, weight, dilation=(dilation, 1, 2), padding=(5, 1, 1))
    want = reference.conv3d(*widened(x, weight), dilation=(dilation, 1, 2), padding=(5, 1, 1))
    assert_close(got, want, length=weight[0].size, scale=8)


@pytest.mark.parametrize("width", [1, 3, 8, 19])
@pytest.mark.parametrize("height", [2, 13])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_short_rows_share_a_square(backend, rng, width, height, dtype):
    x = hostile.normal(rng, (3, 31, height, width), dtype)
    weight = hostile.normal(rng, (37, 31, 3, 5), dtype)
    window = {"stride": 2, "padding": 2}
    got = voxkern.conv2d(x, weight, **window, activation="relu", algorithm="direct")
    want = reference.conv2d(*widened(x, weight), **window)
    assert_close(got, np.maximum(want, 0), length=weight[0].size, scale=8)


@pytest.mark.parametrize("size", [1, 2, 3, 5])
@pytest.mark.parametrize("outputs", [1, 3, 19])
def test_a_stride_of_the_kernel_size_is_a_matrix_product(backend, rng, size, outputs):
    x = hostile.normal(rng, (2, 3, 2 * size, 3 * size, 11 * size), "float32")
    weight = hostile.normal(rng, (outputs, 3, size, size, size), "float32")
    patches = x.reshape(2, 3, 2, size, 3, size, 11, size).astype("float64")
    want = np.einsum("ncdahbwe,ocabe->nodhw", patches, weight)
    assert_close(voxkern.conv3d(x, weight, stride=size), want, length=weight[0].size, scale=8)


@pytest.mark.parametrize("width", [1, 15, 16, 17, 49, 129, 4099])
@pytest.mark.parametrize("outputs", [1, 3, 8, 13, 29])
def test_pointwise_reads_its_input_alone(backend, rng, width, outputs):
    around = np.full(5 * width + 64, np.nan, "float32")
    x = around[32 : 32 + 5 * width].reshape(1, 5, width)
    x[:] = hostile.normal(rng, x.shape)
    weight = hostile.normal(rng, (outputs, 5, 1), "float32")
    want = np.einsum("oc,ncw->now", weight[..., 0].astype("float64"), x)
    assert_close(voxkern.conv1d(x, weight), want, length=5, scale=8)


@pytest.mark.parametrize("width", [1024, 1003])
@pytest.mark.parametrize("kernel", [(1, 1), (1, 3)])
def test_outputs_larger_than_the_cache(backend, rng, width, kernel):
    x = hostile.with_ties(rng, (1, 2, 523, width)).astype("float32")
    weight = hostile.with_ties(rng, (9, 2, *kernel)).astype("float32")
    shift = np.zeros(9 * 523 * width + 1, "float32")
    out = shift[1:].reshape(1, 9, 523, width)
    voxkern.conv2d(x, weight, padding="same", algorithm="direct", out=out)
    padded = np.pad(x, [(0, 0)] * 3 + [(kernel[1] // 2,) * 2])
    want = sum(
        np.einsum("oc,nchw->nohw", weight[:, :, 0, k], padded[..., k : k + width])
        for k in range(kernel[1])
    )
    assert_exact(out, want)


@np.errstate(invalid="ignore")
@pytest.mark.parametrize("slope", [0.0, 0.25])
@pytest.mark.parametrize(("outputs", "stride"), [(5, 1), (24, 2)])
def test_the_rectifier_is_applied_on_the_way_out(backend, rng, slope, outputs, stride):
    x = hostile.with_nonfinite(hostile.normal(rng, (1, 3, 1, 11, 23)), rng)
    weight = hostile.normal(rng, (outputs, 3, 1, 3, 3))
    bias = hostile.normal(rng, (outputs,))
    want = voxkern.conv3d(x, weight, bias, stride=stride)
    got = np.empty_like(want)
    window = (stride,) * 3, ((0, 0),) * 3, (1,) * 3
    kernel = _dispatch.kernel(OPERATION)
    options = {"algorithm": "auto", "slope": slope, "packed": None, "flipped": False}
    options |= {"whole": None, "accumulate": False}
    kernel.conv(x, weight, bias, *window, 1, **options, out=got)
    assert_exact(got, np.where(want < 0, slope * want if slope else 0, want))


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("outputs", [5, 24, 67])
def test_weights_packed_beforehand_change_nothing(rng, outputs, stride):
    native = importlib.import_module("voxkern.kernels.native.conv")
    x = hostile.normal(rng, (2, 6, 5, 11, 23), "float32")
    weight = hostile.normal(rng, (2 * outputs, 3, 3, 2, 3), "float32")
    window = (stride,) * 3, ((1, 1),) * 3, (1,) * 3, 2
    want = voxkern.conv3d(x, weight, None, stride, 1, 1, 2, algorithm="direct")
    shapes, name = (x.shape, weight.shape, want.shape), {"algorithm": "direct"}
    _, elements = native.packing(*shapes, *window, **name, itemsize=4)
    packed = np.empty(max(elements, 4096), "float32")
    native.pack(x.shape, weight, want.shape, *window, **name, out=packed)
    got = [np.empty_like(want) for _ in range(2)]
    for out, ready in zip(got, (None, packed)):
        options = {**name, "slope": None, "packed": ready, "flipped": False}
        options |= {"whole": None, "accumulate": False}
        native.conv(x, weight, None, *window, **options, out=out)
    assert_exact(got[1], got[0])
    assert_close(got[1], want, length=54, scale=8)


@np.errstate(invalid="ignore")
@pytest.mark.parametrize("outputs", [5, 24])
@pytest.mark.parametrize("stride", [1, 2])
def test_nan_and_inf_stay_in_the_windows_that_hold_them(backend, rng, outputs, stride):
    x = hostile.normal(rng, (2, 3, 9, 17))
    for place, value in (((0, 0, 0, 0), np.inf), ((0, 2, 8, 16), np.nan), ((1, 1, 0, 16), -np.inf)):
        x[place] = value
    weight = hostile.normal(rng, (outputs, 3, 3, 3))
    got = voxkern.conv2d(x, weight, padding=2, stride=stride, dilation=2, algorithm="direct")
    want = reference.conv2d(x, weight, padding=2, stride=stride, dilation=2)
    assert_close(got, want, length=27, scale=8)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("algorithm", ["direct", "im2col"])
@pytest.mark.parametrize(
    ("x", "weight", "window"),
    [
        ((5, 7, 3, 2, 3), (11, 7, 3, 3, 3), {"padding": 1}),  # zones of few outputs
        ((3, 5, 2, 3, 4), (33, 5, 2, 2, 2), {"stride": 2, "padding": 3}),  # some meet no input
        ((33, 6, 3, 3), (10, 3, 3, 2), {"padding": (2, 0), "dilation": 2, "groups": 2}),
        ((2, 300, 4, 5), (20, 300, 3, 3), {"padding": 1}),  # terms in chunks
        ((1, 40, 3), (2100, 40, 2), {"stride": 2}),  # more sums than are kept
        ((2, 1, 8, 61), (3, 1, 7, 47), {"padding": (3, 20)}),
        ((130, 17), (17, 17), {"bias": True}),
        ((2, 21, 300), (21, 1, 1), {"groups": 21, "bias": True}),
    ],
    ids=str,
)
def test_columns_of_any_sizes(backend, rng, algorithm, dtype, x, weight, window):
    x, weight = (s if len(s) > 2 else (*s, 1) for s in (x, weight))
    x, weight = hostile.normal(rng, x, dtype), hostile.normal(rng, weight, dtype)
    bias = hostile.normal(rng, weight.shape[:1], dtype) if "bias" in window else None
    window = {k: v for k, v in window.items() if k != "bias"}
    got = CONV[x.ndim - 2](x, weight, bias, **window, algorithm=algorithm)
    wide = [None if a is None else a.astype("float64") for a in (x, weight, bias)]
    want = getattr(reference, f"conv{x.ndim - 2}d")(*wide, **window)
    assert_close(got, want, length=weight[0].size, scale=8)


@pytest.mark.parametrize("algorithm", ["direct", "im2col"])
def test_error_does_not_grow_with_channels(backend, rng, algorithm):
    x = hostile.normal(rng, (1, 1024, 1, 5, 16), "float32")
    weight = hostile.normal(rng, (8, 1024, 1, 3, 3), "float32")
    got = voxkern.conv3d(x, weight, padding=(0, 1, 1), algorithm=algorithm)
    want = reference.conv3d(*widened(x, weight), padding=(0, 1, 1))
    assert np.abs(got - want).max() <= 4e-6 * np.abs(want).max()


@np.errstate(invalid="ignore")
def test_a_transpose_spreads_nan_no_further(backend, rng):
    x = hostile.with_nonfinite(hostile.normal(rng, (1, 3, 6, 40)), rng)
    weight = hostile.normal(rng, (3, 5, 3, 4))
    got = voxkern.conv_transpose2d(x, weight, stride=2, padding=1)
    seen = [x[:, :, i : i + 1, j : j + 1] for i, j in np.ndindex(6, 40)]
    clean = np.ones(got.shape, bool)
    for value, (i, j) in zip(seen, np.ndindex(6, 40)):
        if not np.isfinite(value).all():
            clean[:, :, max(2 * i - 1, 0) : 2 * i + 2, max(2 * j - 1, 0) : 2 * j + 3] = False
    finite = np.where(np.isfinite(x), x, 0)
    want = reference.conv_transpose2d(finite, weight, stride=2, padding=1)
    assert not np.isfinite(got[~clean]).all()
    assert_close(got[clean], want[clean], length=36, scale=8)


@np.errstate(invalid="ignore")
def test_nan_and_inf_reach_what_sees_them(backend, rng):
    x, weight, bias = operands(rng, 2)
    x = hostile.with_nonfinite(x, rng)
    got = voxkern.conv2d(x, weight, bias, padding=1)
    assert_close(got, reference.conv2d(x, weight, bias, padding=1), length=64, scale=8)
    grad = hostile.with_nonfinite(hostile.normal(rng, got.shape), rng)
    got = voxkern.conv2d_backward(grad, x, weight, padding=1, need=(False, True, True))
    want = reference.conv2d_backward(grad, x, weight, padding=1, need=(False, True, True))
    for g, w in zip(got[1:], want[1:]):
        assert_close(g, w, length=500, scale=100)


def test_infinity_at_an_edge_stays_out_of_other_taps(rng):
    x, grad = np.zeros((1, 1, 3, 5)), np.ones((1, 1, 3, 5))
    x[0, 0, 0, 0] = np.inf
    _, grad_weight, _ = voxkern.conv2d_backward(grad, x, np.ones((1, 1, 3, 3)), padding=1)
    want = np.zeros((3, 3))
    want[:2, :2] = np.inf
    assert_exact(grad_weight[0, 0], want)


@pytest.mark.parametrize("layout", hostile.LAYOUTS)
def test_layout_does_not_matter(backend, rng, layout):
    x, weight, bias = operands(rng, 3)
    want = voxkern.conv3d(x, weight, bias, padding=1)
    got = voxkern.conv3d(layout(x), layout(weight), layout(bias), padding=1)
    assert_exact(got.astype("f8"), want)
    grads = voxkern.conv3d_backward(want, x, weight, padding=1)
    for a, b in zip(voxkern.conv3d_backward(layout(want), x, layout(weight), padding=1), grads):
        assert_exact(a.astype("f8"), b)


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_unbatched_is_a_batch_of_one(backend, rng, axes):
    x, weight, bias = operands(rng, axes)
    got = CONV[axes](x[0], weight, bias)
    assert_exact(got, CONV[axes](x[:1], weight, bias)[0])
    for a, b in zip(BACKWARD[axes](got, x[0], weight), BACKWARD[axes](got[None], x[:1], weight)):
        assert_exact(a, b.reshape(a.shape))
    back = weight.swapaxes(0, 1)
    assert_exact(TRANSPOSE[axes](x[0], back), TRANSPOSE[axes](x[:1], back)[0])


def test_an_empty_batch_gives_an_empty_result(backend, rng):
    x, weight, bias = operands(rng, 2)
    out = voxkern.conv2d(x[:0], weight, bias)
    assert out.shape == (0, 10, 15, 12)
    grad_x, grad_weight, grad_bias = voxkern.conv2d_backward(out, x[:0], weight)
    assert grad_x.shape == x[:0].shape
    assert not grad_weight.any()
    assert not grad_bias.any()
    assert voxkern.conv_transpose2d(x[:0], weight.swapaxes(0, 1)).shape == (0, 10, 19, 14)


@pytest.mark.parametrize("dtype", hostile.FLOATS)
def test_out_is_filled_and_returned(backend, rng, dtype):
    x, weight, bias = operands(rng, 2, dtype=dtype)
    want = voxkern.conv2d(x, weight, bias)
    for out in (np.full_like(want, np.nan), hostile.strided(np.full_like(want, np.nan))):
        assert voxkern.conv2d(x, weight, bias, out=out) is out
        assert_exact(np.ascontiguousarray(out), want)
    want = voxkern.conv_transpose2d(x, weight.swapaxes(0, 1), bias, stride=2)
    out = hostile.strided(np.full_like(want, np.nan))
    assert voxkern.conv_transpose2d(x, weight.swapaxes(0, 1), bias, stride=2, out=out) is out
    assert_exact(np.ascontiguousarray(out), want)


X, WEIGHT, BIAS = np.zeros((2, 4, 7, 5)), np.zeros((6, 4, 3, 3)), np.zeros(6)


@pytest.mark.parametrize(
    ("arguments", "keywords", "error", "names"),
    [
        ((X[0, 0], WEIGHT), {}, ValueError, "x has shape"),
        ((X[None], WEIGHT), {}, ValueError, "x has shape"),
        ((X, WEIGHT[0]), {}, ValueError, "weight has shape"),
        ((X[:, :3], WEIGHT), {}, ValueError, "weight has shape"),
        ((X, WEIGHT[..., :0]), {}, ValueError, "weight has shape"),
        ((X, WEIGHT[:, :1]), {"groups": 4}, ValueError, "groups is 4"),
        ((X, WEIGHT), {"groups": 0}, ValueError, "groups is 0"),
        ((X, WEIGHT), {"groups": 1.5}, TypeError, "groups is 1.5"),
        ((X, WEIGHT, BIAS[:5]), {}, ValueError, "bias has shape"),
        ((X, WEIGHT, BIAS[None]), {}, ValueError, "bias has shape"),
        ((X, WEIGHT), {"stride": 0}, ValueError, "stride is 0"),
        ((X, WEIGHT), {"stride": -1}, ValueError, "stride is -1"),
        ((X, WEIGHT), {"stride": (1, 1, 1)}, ValueError, "stride is"),
        ((X, WEIGHT), {"dilation": 0}, ValueError, "dilation is 0"),
        ((X, WEIGHT), {"dilation": -2}, ValueError, "dilation is -2"),
        ((X, WEIGHT), {"dilation": 4}, ValueError, "kernel_size"),
        ((X, WEIGHT), {"padding": -1}, ValueError, "padding is -1"),
        ((X, WEIGHT), {"padding": "full"}, ValueError, "padding is 'full'"),
        ((X, WEIGHT), {"padding": "same", "stride": 2}, ValueError, "padding 'same'"),
        ((X, np.zeros((6, 4, 8, 3))), {}, ValueError, "kernel_size"),
        ((X[..., :0], WEIGHT), {}, ValueError, "x has spatial size"),
        ((X, WEIGHT), {"algorithm": "magic"}, ValueError, "algorithm is 'magic'"),
        ((X.astype(int), WEIGHT), {}, TypeError, "x has dtype int64"),
        ((X.astype(bool), WEIGHT), {}, TypeError, "x has dtype bool"),
        ((X.astype(object), WEIGHT), {}, TypeError, "x has dtype object"),
        ((X.astype(complex), WEIGHT), {}, TypeError, "x has dtype complex128"),
        ((X, WEIGHT.astype("f4")), {}, TypeError, "weight has dtype float32"),
        ((X, WEIGHT, BIAS.astype("f2")), {}, TypeError, "bias has dtype float16"),
        ((X, WEIGHT), {"out": np.zeros((2, 6, 5, 4))}, ValueError, "out has shape"),
        ((X, WEIGHT), {"out": np.zeros((2, 6, 5, 3), "f4")}, ValueError, "dtype float32"),
        ((X, WEIGHT), {"out": X[:, :, :5, :3]}, ValueError, "out has shape"),
    ],
)
def test_bad_input_is_named(arguments, keywords, error, names):
    with pytest.raises(error, match=names):
        voxkern.conv2d(*arguments, **keywords)


@pytest.mark.parametrize(
    ("arguments", "keywords", "error", "names"),
    [
        ((X, WEIGHT), {}, ValueError, "weight has shape"),
        ((X, WEIGHT[:4]), {"groups": 3}, ValueError, "groups is 3"),
        ((X, WEIGHT[:4], BIAS), {}, ValueError, "bias has shape"),
        ((X, WEIGHT[:4]), {"output_padding": 1}, ValueError, "output_padding is 1"),
        ((X, WEIGHT[:4]), {"output_padding": -1}, ValueError, "output_padding is -1"),
        ((X, WEIGHT[:4]), {"padding": 4}, ValueError, "padding"),
        ((X, WEIGHT[:4]), {"padding": "same"}, ValueError, "padding is 'same'"),
        ((X, WEIGHT[:4]), {"stride": 0}, ValueError, "stride is 0"),
        ((X[..., :0], WEIGHT[:4]), {}, ValueError, "x has spatial size"),
    ],
)
def test_bad_input_of_the_transpose_is_named(arguments, keywords, error, names):
    with pytest.raises(error, match=names):
        voxkern.conv_transpose2d(*arguments, **keywords)


def test_bad_input_of_the_gradients_is_named():
    with pytest.raises(ValueError, match="grad has shape"):
        voxkern.conv2d_backward(np.zeros((2, 6, 5, 4)), X, WEIGHT)
    with pytest.raises(TypeError, match="grad has dtype float32"):
        voxkern.conv2d_backward(np.zeros((2, 6, 5, 3), "f4"), X, WEIGHT)
    with pytest.raises(ValueError, match="need is"):
        voxkern.conv2d_backward(np.zeros((2, 6, 5, 3)), X, WEIGHT, need=(True, True))


def test_out_must_be_writeable_and_apart():
    with pytest.raises(ValueError, match="out is read-only"):
        voxkern.conv2d(X, WEIGHT, out=hostile.read_only(np.zeros((2, 6, 5, 3))))
    shared = np.ones(1000)
    x, out = shared[:280].reshape(X.shape), shared[200:380].reshape(2, 6, 5, 3)
    with pytest.raises(ValueError, match="out overlaps"):
        voxkern.conv2d(x, WEIGHT, out=out)
    assert shared.all()


def test_a_vast_stride_leaves_one_window(backend):
    x, weight, far = np.arange(5.0).reshape(1, 1, 5), np.ones((1, 1, 3)), 2**31 - 1
    assert_exact(voxkern.conv1d(x, weight, stride=far), np.array([[[3.0]]]))
    assert_exact(voxkern.conv_transpose1d(x[..., 1:2], weight, stride=far), weight)
    grad_x, grad_weight, _ = voxkern.conv1d_backward(weight[..., :1], x, weight, stride=far)
    assert_exact(grad_x, np.array([[[1.0, 1, 1, 0, 0]]]))
    assert_exact(grad_weight, x[..., :3])


@pytest.mark.parametrize(
    ("keywords", "error", "names"),
    [
        ({"stride": 2**31}, ValueError, "stride is 2147483648; it must be at most"),
        ({"padding": {1}}, TypeError, "padding is"),
        ({"algorithm": np.ones(2)}, ValueError, "algorithm is"),
        ({"padding": 2**30}, (ValueError, MemoryError), "large|allocate"),
    ],
)
def test_strange_arguments_are_named(keywords, error, names):
    with pytest.raises(error, match=names):
        voxkern.conv3d(np.ones((1, 5, 5, 5)), np.ones((1, 1, 3, 3, 3)), **keywords)


def test_grad_cannot_be_none():
    with pytest.raises(TypeError, match="grad has dtype object"):
        voxkern.conv1d_backward(None, X[0], WEIGHT[..., 0])
