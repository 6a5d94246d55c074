"""Pooling: the oracle's values, exact maxima and places, gradients, and named errors."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import voxkern
from voxkern import reference

import hostile
from accuracy import assert_close, assert_exact

OPERATION = "pool"
KERNEL = (3, 2, 4)
WINDOWS = [
    {},
    {"stride": 1},
    {"stride": 2, "padding": 1},
    {"stride": 3, "ceil_mode": True},
    {"stride": (2, 3, 1), "padding": 1, "ceil_mode": True},
]
SIZES = [1, 2, (3, None, 5), (0, 2, 3), (23, 19, 17)]


def of(name, axes, module=voxkern):
    return getattr(module, name.format(f"{axes}d"))


def fitted(window, axes):
    """The window's arguments for the last of the axes."""
    return {k: v[-axes:] if isinstance(v, tuple) else v for k, v in window.items()}


def awkward(rng, axes, dtype):
    """Ties, NaN and infinities."""
    return hostile.with_nonfinite(hostile.with_ties(rng, hostile.SHAPES[axes], dtype), rng)


@pytest.mark.parametrize("axes", [1, 2, 3])
@pytest.mark.parametrize("window", [*WINDOWS, {"dilation": 2, "padding": 1}], ids=str)
@pytest.mark.parametrize("dtype", hostile.FLOATS)
def test_max_pool_is_the_oracle(backend, rng, axes, window, dtype):
    x, kernel = awkward(rng, axes, dtype), KERNEL[:axes]
    window = fitted(window, axes)
    want = of("max_pool{}", axes, reference)(x, kernel, **window)
    assert_exact(of("max_pool{}", axes)(x, kernel, **window), want.astype(dtype))
    got = of("max_pool{}", axes)(x, kernel, **window, return_indices=True)
    want = of("max_pool{}", axes, reference)(x, kernel, **window, return_indices=True)
    assert_exact(got[0], want[0].astype(dtype))
    assert_exact(got[1], want[1])


@pytest.mark.parametrize("axes", [1, 2, 3])
@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("dtype", hostile.FLOATS)
def test_adaptive_pools_are_the_oracles(backend, rng, axes, size, dtype):
    size = size[:axes] if isinstance(size, tuple) else size
    x = awkward(rng, axes, dtype)
    got = of("adaptive_max_pool{}", axes)(x, size, return_indices=True)
    want = of("adaptive_max_pool{}", axes, reference)(x, size, return_indices=True)
    assert_exact(got[0], want[0].astype(dtype))
    assert_exact(got[1], want[1])
    assert_exact(of("adaptive_max_pool{}", axes)(x, size), got[0])
    x = hostile.normal(rng, x.shape, dtype)
    want = of("adaptive_avg_pool{}", axes, reference)(x.astype("f8"), size)
    assert_close(of("adaptive_avg_pool{}", axes)(x, size), want, length=400)


AVERAGES = [{}, {"count_include_pad": False}, {"divisor_override": -3}]


@pytest.mark.parametrize("axes", [1, 2, 3])
@pytest.mark.parametrize("window", WINDOWS, ids=str)
@pytest.mark.parametrize("average", AVERAGES, ids=str)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_avg_pool_is_the_oracle(backend, rng, axes, window, average, dtype):
    x, kernel = hostile.normal(rng, hostile.SHAPES[axes], dtype), KERNEL[:axes]
    window = fitted(window, axes)
    want = of("avg_pool{}", axes, reference)(x.astype("f8"), kernel, **window, **average)
    got = of("avg_pool{}", axes)(x, kernel, **window, **average)
    assert_close(got, want, length=24)
    x = hostile.with_nonfinite(x, rng, count=1)
    want = of("avg_pool{}", axes, reference)(x.astype("f8"), kernel, **window, **average)
    assert_close(of("avg_pool{}", axes)(x, kernel, **window, **average), want, length=24)
    grad = hostile.normal(rng, got.shape, dtype)
    size = x.shape[2:]
    backward = of("avg_pool{}_backward", axes)(grad, size, kernel, **window, **average)
    want = of("avg_pool{}_backward", axes, reference)(
        grad.astype("f8"), size, kernel, **window, **average
    )
    assert_close(backward, want, length=24)


@pytest.mark.parametrize("axes", [1, 2, 3])
@pytest.mark.parametrize("p", [1, 2, 3, 2.5, -1.5, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", hostile.FLOATS)
def test_lp_pool_is_the_oracle(backend, rng, axes, p, dtype):
    x, kernel = hostile.normal(rng, hostile.SHAPES[axes], dtype), KERNEL[:axes]
    if p not in (1, 2):
        x = np.abs(x) + x.dtype.type(0.5)
    for window in ({}, {"stride": 2}, {"stride": 3, "ceil_mode": True}):
        want = of("lp_pool{}", axes, reference)(x.astype("f8"), p, kernel, **window)
        got = of("lp_pool{}", axes)(x, p, kernel, **window)
        assert_close(got, want, length=100, scale=4)
        grad = hostile.normal(rng, got.shape, dtype)
        got = of("lp_pool{}_backward", axes)(grad, x, p, kernel, **window)
        want = of("lp_pool{}_backward", axes, reference)(
            grad.astype("f8"), x.astype("f8"), p, kernel, **window
        )
        assert_close(got, want, length=1000, scale=8)


def test_lp_pool_keeps_the_sign_and_has_no_root_of_a_negative_sum(backend):
    x = np.array([[1.0, -2, 3, -4, 0, 0]])
    assert_exact(voxkern.lp_pool1d(x, 1, 2), np.array([[-1.0, -1, 0]]))
    assert np.isnan(voxkern.lp_pool1d(x, 3, 2)[0, :2]).all()
    grad = np.ones((1, 3))
    assert_exact(voxkern.lp_pool1d_backward(grad, x, 2, 2)[0, 4:], np.zeros(2))


@pytest.mark.parametrize("axes", [1, 2, 3])
@pytest.mark.parametrize("dtype", hostile.FLOATS)
def test_global_pools_are_adaptive_pools_to_one(backend, rng, axes, dtype):
    x = hostile.normal(rng, hostile.SHAPES[axes], dtype)
    assert_exact(voxkern.global_avg_pool(x), of("adaptive_avg_pool{}", axes)(x, 1))
    assert_exact(voxkern.global_max_pool(x), of("adaptive_max_pool{}", axes)(x, 1))
    assert_close(voxkern.global_avg_pool(x), reference.global_avg_pool(x.astype("f8")), 400)
    grad = hostile.normal(rng, (2, 3, *(1,) * axes), dtype)
    want = reference.global_max_pool_backward(grad, x)
    assert_exact(voxkern.global_max_pool_backward(grad, x), want)
    want = reference.global_avg_pool_backward(grad.astype("f8"), x.shape[2:])
    assert_close(voxkern.global_avg_pool_backward(grad, x.shape[2:]), want)


@pytest.mark.parametrize("axes", [1, 2, 3])
@pytest.mark.parametrize("dtype", hostile.FLOATS)
def test_unpooling_puts_maxima_back(backend, rng, axes, dtype):
    shape, kernel = hostile.SHAPES[axes], (2, 3, 2)[:axes]
    x = (rng.permutation(np.prod(shape)) - 1000).reshape(shape).astype(dtype)
    best, places = of("max_pool{}", axes)(x, kernel, return_indices=True)
    size = x.shape[2:]
    got = of("max_unpool{}", axes)(best, places, kernel, output_size=size)
    assert_exact(got, np.where(np.isin(x, best), x, 0).astype(dtype))
    assert_exact(of("max_unpool{}_backward", axes)(x, places), best)
    assert_exact(of("max_pool{}_backward", axes)(best, places, size), got)
    assert_exact(of("adaptive_max_pool{}_backward", axes)(best, places, size), got)


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_of_equal_places_unpooling_keeps_the_last_and_gradients_add_up(backend, rng, axes):
    x = hostile.normal(rng, (2, 3, *(4,) * axes))
    places = rng.integers(0, 5, x.shape)
    want = of("max_unpool{}", axes, reference)(x, places, (2,) * axes)
    if backend != "cuda":  # its threads write in any order
        assert_exact(of("max_unpool{}", axes)(x, places, (2,) * axes), want)
    want = of("max_pool{}_backward", axes, reference)(x, places, (8,) * axes)
    got = of("max_pool{}_backward", axes)(x, places, (8,) * axes)
    assert_close(got, want, length=x[0, 0].size)  # which adds them up in another order


def test_all_of_minus_infinity_has_its_place(backend):
    x = np.full((1, 3, 3), -np.inf)
    best, places = voxkern.max_pool2d(x, 3, 2, 1, return_indices=True)
    assert np.isneginf(best).all()
    assert_exact(places, np.array([[[0, 1], [3, 4]]]))


def test_windows_that_dilation_leads_past_the_input_are_minus_infinity(backend):
    for axes in (1, 2, 3):
        x = np.zeros((1, 1, *(1,) * axes))
        assert np.isneginf(of("max_pool{}", axes)(x, 2, 1, 1, 2)).all()


def test_a_long_sum_of_equal_float32_stays_exact_enough(backend):
    for shape in [(1, 1, 300_000), (1, 1, 300_000, 1), (1, 1, 600, 500)]:
        x = np.full(shape, 0.1, "f4")
        want = np.full((1, 1, *(1,) * (len(shape) - 2)), np.float64(np.float32(0.1)))
        assert_close(voxkern.global_avg_pool(x), want, length=100)
    x = np.full((1, 1, 5000), 0.1, "f4")
    assert_close(voxkern.avg_pool1d(x, 3000, 7), np.full((1, 1, 286), np.float64(x[0, 0, 0])), 100)


@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_global_pools_of_every_length(backend, rng, dtype):
    hostile.not_simulated(backend)
    for n in range(1, 300):
        x = hostile.normal(rng, (1, 2, n), dtype) - 9
        x[0, 1, rng.integers(n)] = np.nan
        assert_exact(voxkern.global_max_pool(x), x.max(axis=-1, keepdims=True))
        want = x.astype("f8").mean(axis=-1, keepdims=True)
        assert_close(voxkern.global_avg_pool(x), want, n)


def test_long_windows_are_the_oracle(backend, rng):
    x = hostile.normal(rng, (2, 3, 211))
    assert_close(voxkern.avg_pool1d(x, 101, 3, 7), reference.avg_pool1d(x, 101, 3, 7), 101)
    assert_exact(voxkern.max_pool1d(x, 101, 3, 7), reference.max_pool1d(x, 101, 3, 7))
    x = x.reshape(1, 1, 211, 6)
    assert_close(voxkern.avg_pool2d(x, (101, 2)), reference.avg_pool2d(x, (101, 2)), 202)


# Kernel, stride, padding, dilation: each has loops of its own, or ends of lines of its own.
ALONG = [(2, 2, 0, 1), (3, 2, 1, 1), (3, 1, 1, 1), (5, 2, 2, 1), (3, 2, 1, 3), (4, 3, 2, 2)]


@pytest.mark.parametrize("window", ALONG, ids=str)
@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_lines_of_every_length(backend, rng, window, dtype):
    hostile.not_simulated(backend)
    if backend == "reference":
        pytest.skip("the oracle has no vectors")
    kernel, stride, padding, dilation = window
    for width in range(dilation * (kernel - 1) + 1 - 2 * padding, 71):
        x = hostile.with_ties(rng, (1, 2, 11, max(width, 1)), dtype)
        x[rng.random(x.shape) < 0.2] = -np.inf
        x[0, 1] = hostile.with_nonfinite(x[0, 1], rng)
        along = (3, kernel), (2, stride), (1, padding), (1, dilation)
        want = reference.max_pool2d(x, *along, return_indices=True)
        got = voxkern.max_pool2d(x, *along, return_indices=True)
        assert_exact(got[0], want[0])
        assert_exact(got[1], want[1])
        assert_exact(voxkern.max_pool2d(x, *along), want[0])
        if dilation == 1:
            x = hostile.normal(rng, x.shape, dtype)
            want = reference.avg_pool2d(x.astype("f8"), *along[:3], count_include_pad=False)
            got = voxkern.avg_pool2d(x, *along[:3], count_include_pad=False)
            assert_close(got, want, length=15)
            rest = x.shape[2:], *along[:3], False, False
            want = reference.avg_pool2d_backward(got.astype("f8"), *rest)
            assert_close(voxkern.avg_pool2d_backward(got, *rest), want, length=15)


def test_places_further_apart_than_float32_counts(backend):
    hostile.not_simulated(backend)
    if backend == "reference":
        pytest.skip("pads in memory")
    x = np.zeros((1, 2, 2**23 + 1), "f4")
    x[0, 1, [5, 2**22 + 3]] = 1, np.nan
    best, places = voxkern.max_pool2d(x, 2, 2**22, return_indices=True)
    assert_exact(best, np.array([[[0, 0]]], "f4"))
    assert_exact(places, np.array([[[0, 2**22]]]))
    best, places = voxkern.max_pool2d(x, (2, 7), (1, 2**22 - 3), return_indices=True)
    assert_exact(best, np.array([[[1, np.nan, 0]]], "f4"))
    assert_exact(places, np.array([[[2**23 + 6, 2**23 + 2**22 + 4, 2**23 - 6]]]))


def calls(x):
    """One call of every kind on a volume."""
    size = x.shape[-3:]
    best, places = voxkern.max_pool3d(x, 2, 1, 1, return_indices=True)
    yield voxkern.max_pool3d(x, 3, 2, 1)
    yield best
    yield places
    yield voxkern.avg_pool3d(x, (3, 2, 2), 2, 1)
    yield voxkern.lp_pool3d(x, 2, 3, 2)
    yield voxkern.adaptive_max_pool3d(x, (2, 3, 4))
    yield voxkern.adaptive_avg_pool3d(x, (2, 3, 4))
    yield voxkern.max_pool3d_backward(best, places, size)
    yield voxkern.avg_pool3d_backward(x, [2 * n for n in size], 2)
    yield voxkern.adaptive_avg_pool3d_backward(x, [n + 1 for n in size])


@pytest.mark.parametrize("layout", hostile.LAYOUTS)
def test_layout_does_not_matter(backend, rng, layout):
    x = hostile.normal(rng, hostile.SHAPES[3])
    for got, want in zip(calls(layout(x)), calls(x)):
        assert_exact(got.astype(want.dtype), want)


@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_threads_do_not_matter(backend, rng, dtype):
    hostile.not_simulated(backend)
    if backend == "reference":
        pytest.skip("the oracles have no threads")
    x = hostile.normal(rng, (2, 3, 23, 31, 29), dtype)  # enough to wake a second thread
    threads = voxkern.get_num_threads()
    try:
        voxkern.set_num_threads(2)
        want = list(calls(x))
        voxkern.set_num_threads(1)
        for got, two in zip(calls(x), want):
            assert_exact(got, two)
    finally:
        voxkern.set_num_threads(threads)


def test_unbatched_and_empty_batches(backend, rng):
    x = hostile.normal(rng, hostile.SHAPES[3])
    for one, batch in zip(calls(x[0]), calls(x[:1])):
        assert_exact(one, batch[0])
    for none, batch in zip(calls(x[:0]), calls(x)):
        assert none.shape == (0, *batch.shape[1:])


def test_out_is_filled_and_returned(backend, rng):
    x = hostile.normal(rng, hostile.SHAPES[2])
    best, places = voxkern.max_pool2d(x, 3, return_indices=True)
    for empty in (np.empty_like, lambda a: hostile.strided(a * 0), lambda a: a.byteswap() * 0):
        out = empty(best), empty(places)
        got = voxkern.max_pool2d(x, 3, return_indices=True, out=out)
        assert got[0] is out[0]
        assert got[1] is out[1]
        np.testing.assert_array_equal(out[0], best)
        np.testing.assert_array_equal(out[1], places)
    for call, arguments in [
        (voxkern.max_pool2d, (3,)),
        (voxkern.avg_pool2d, (3,)),
        (voxkern.lp_pool2d, (2, 3)),
        (voxkern.lp_pool2d, (-np.inf, 3)),
        (voxkern.adaptive_avg_pool2d, (3,)),
        (voxkern.adaptive_max_pool2d, (3,)),
        (voxkern.global_avg_pool, ()),
        (voxkern.global_max_pool, ()),
    ]:
        want = call(x, *arguments)
        for out in (np.full_like(want, np.nan), hostile.strided(want * 0)):
            assert call(x, *arguments, out=out) is out
            assert_exact(np.ascontiguousarray(out), want)
    out = np.full((2, 3, 15, 12), np.nan)
    assert voxkern.max_unpool2d(best, places % 180, 3, out=out) is out


def numerical_gradient(function, x, grad, step=1e-6):
    """Central differences of (function(x) * grad).sum()."""
    result = np.zeros_like(x)
    for place in np.ndindex(x.shape):
        moved = [x.copy(), x.copy()]
        moved[0][place] += step
        moved[1][place] -= step
        low, high = (function(m) * grad for m in reversed(moved))
        result[place] = (high - low).sum() / (2 * step)
    return result


@pytest.mark.parametrize("p", [1, 2, 3, 2.5, np.inf, -np.inf])
def test_lp_gradient_is_the_difference_quotient(backend, rng, p):
    x = rng.permutation(np.linspace(1, 3, 2 * 7 * 5)).reshape(1, 2, 7, 5)
    window = dict(kernel_size=(3, 2), stride=2, ceil_mode=True)
    grad = hostile.normal(rng, voxkern.lp_pool2d(x, p, **window).shape)
    want = numerical_gradient(lambda v: voxkern.lp_pool2d(v, p, **window), x, grad)
    got = voxkern.lp_pool2d_backward(grad, x, p, **window)
    np.testing.assert_allclose(got, want, atol=1e-7)


def test_max_gradient_is_the_difference_quotient(backend, rng):
    x = rng.permutation(np.arange(120.0)).reshape(1, 2, 5, 3, 4)
    window = dict(kernel_size=(3, 2, 2), stride=(2, 1, 1), padding=1)
    best, places = voxkern.max_pool3d(x, **window, return_indices=True)
    grad = hostile.normal(rng, best.shape)
    want = numerical_gradient(lambda v: voxkern.max_pool3d(v, **window), x, grad)
    got = voxkern.max_pool3d_backward(grad, places, (5, 3, 4))
    np.testing.assert_allclose(got, want, atol=1e-7)


@given(data=st.data())
def test_average_gradients_are_adjoint(data):
    axes = data.draw(st.integers(1, 3))

    def draw(low, high):
        return data.draw(st.tuples(*[st.integers(low, high)] * axes))

    kernel, stride = draw(1, 5), draw(1, 3)
    window = dict(
        kernel_size=kernel,
        stride=stride,
        padding=tuple(min(p, k // 2) for p, k in zip(draw(0, 2), kernel)),
        ceil_mode=data.draw(st.booleans()),
        count_include_pad=data.draw(st.booleans()),
    )
    size = tuple(k + n for k, n in zip(kernel, draw(0, 6)))
    rng = np.random.default_rng(data.draw(st.integers(0, 9)))
    x = hostile.normal(rng, (2, 3, *size))
    y = of("avg_pool{}", axes)(x, **window)
    grad = hostile.normal(rng, y.shape)
    back = of("avg_pool{}_backward", axes)(grad, size, **window)
    np.testing.assert_allclose((y * grad).sum(), (x * back).sum(), atol=1e-9)
    counts = draw(1, 9)
    y = of("adaptive_avg_pool{}", axes)(x, counts)
    grad = hostile.normal(rng, y.shape)
    back = of("adaptive_avg_pool{}_backward", axes)(grad, size)
    np.testing.assert_allclose((y * grad).sum(), (x * back).sum(), atol=1e-9)
    ones = np.ones((1, 1, *size))
    window["count_include_pad"] = False
    np.testing.assert_allclose(of("avg_pool{}", axes)(ones, **window), 1)
    assert (of("max_pool{}", axes)(ones, **dict(list(window.items())[:4])) == 1).all()


@given(data=st.data())
def test_maxima_are_the_elements_at_their_places(data):
    axes = data.draw(st.integers(1, 3))

    def draw(low, high):
        return data.draw(st.tuples(*[st.integers(low, high)] * axes))

    kernel, stride, dilation = draw(1, 4), draw(1, 3), draw(1, 2)
    padding = tuple(min(p, k // 2) for p, k in zip(draw(0, 2), kernel))
    size = tuple(d * (k - 1) + 2 + n for k, d, n in zip(kernel, dilation, draw(0, 6)))
    window = kernel, stride, padding, dilation, data.draw(st.booleans())
    x = hostile.with_ties(np.random.default_rng(data.draw(st.integers(0, 9))), (2, 3, *size))
    best, places = of("max_pool{}", axes)(x, *window, return_indices=True)
    want = of("max_pool{}", axes, reference)(x, *window, return_indices=True)
    assert_exact(best, want[0])
    assert_exact(places, want[1])
    assert_exact(of("max_pool{}", axes)(x, *window), best)
    assert_exact(of("max_unpool{}_backward", axes)(x, places), best)
    shifted = of("max_pool{}", axes)(x + 3, *window)
    assert_exact(shifted, best + 3)


IMAGE = np.zeros((2, 3, 7, 5))
HALF, INDEX = np.zeros((2, 3, 3, 2)), np.zeros((2, 3, 3, 2), "i8")


@pytest.mark.parametrize(
    ("call", "error", "names"),
    [
        (lambda: voxkern.max_pool2d(np.zeros((7, 5)), 2), ValueError, "x has 2 axes"),
        (lambda: voxkern.max_pool3d(np.zeros((1,) * 6), 1), ValueError, "x has 6 axes"),
        (lambda: voxkern.max_pool2d(IMAGE[:, :0], 2), ValueError, "x has shape"),
        (lambda: voxkern.avg_pool2d(IMAGE[..., :0], 2), ValueError, "x has shape"),
        (lambda: voxkern.max_pool2d(IMAGE, (8, 2)), ValueError, "kernel_size"),
        (lambda: voxkern.avg_pool2d(IMAGE, (8, 2)), ValueError, "kernel_size"),
        (lambda: voxkern.max_pool2d(IMAGE, 0), ValueError, "kernel_size is 0"),
        (lambda: voxkern.max_pool2d(IMAGE, (2, 2, 2)), ValueError, "kernel_size"),
        (lambda: voxkern.max_pool2d(IMAGE, 2.5), TypeError, "kernel_size"),
        (lambda: voxkern.max_pool2d(IMAGE, 2, 0), ValueError, "stride is 0"),
        (lambda: voxkern.avg_pool2d(IMAGE, 2, -1), ValueError, "stride is -1"),
        (lambda: voxkern.max_pool2d(IMAGE, 3, padding=2), ValueError, "padding is"),
        (lambda: voxkern.max_pool2d(IMAGE, 3, padding=2, dilation=2), ValueError, "padding is"),
        (lambda: voxkern.avg_pool2d(IMAGE, (3, 1), padding=1), ValueError, "padding is"),
        (lambda: voxkern.avg_pool2d(IMAGE, 3, padding=-1), ValueError, "padding is -1"),
        (lambda: voxkern.avg_pool2d(IMAGE, 3, padding="same"), TypeError, "padding is"),
        (lambda: voxkern.max_pool2d(IMAGE, 2, dilation=0), ValueError, "dilation is 0"),
        (lambda: voxkern.avg_pool2d(IMAGE, 2, divisor_override=0), ValueError, "divisor_override"),
        (lambda: voxkern.avg_pool2d(IMAGE, 2, divisor_override=1.5), TypeError, "divisor_override"),
        (lambda: voxkern.lp_pool2d(IMAGE, 0, 2), ValueError, "norm_type is 0"),
        (lambda: voxkern.lp_pool2d(IMAGE, "2", 2), TypeError, "norm_type"),
        (lambda: voxkern.lp_pool2d(IMAGE, None, 2), TypeError, "norm_type"),
        (lambda: voxkern.max_pool2d(IMAGE.astype(int), 2), TypeError, "x has dtype int64"),
        (lambda: voxkern.avg_pool2d(IMAGE.astype(bool), 2), TypeError, "x has dtype bool"),
        (lambda: voxkern.max_pool2d(IMAGE.astype(object), 2), TypeError, "x has dtype object"),
        (lambda: voxkern.lp_pool2d(IMAGE.astype("c16"), 2, 2), TypeError, "x has dtype complex"),
        (lambda: voxkern.adaptive_avg_pool2d(IMAGE, -1), ValueError, "output_size is -1"),
        (lambda: voxkern.adaptive_avg_pool2d(IMAGE, (2,)), ValueError, "output_size"),
        (lambda: voxkern.adaptive_max_pool2d(IMAGE, (2, 2, 2)), ValueError, "output_size"),
        (lambda: voxkern.adaptive_max_pool2d(IMAGE, None), TypeError, "output_size is None"),
        (lambda: voxkern.adaptive_max_pool2d(IMAGE, 2.0), TypeError, "output_size is 2.0"),
        (lambda: voxkern.global_avg_pool(np.zeros((3, 4))), ValueError, "x has 2 axes"),
        (lambda: voxkern.max_unpool2d(HALF, INDEX + 24, 2), ValueError, "indices holds 24"),
        (lambda: voxkern.max_unpool2d(HALF, INDEX - 1, 2), ValueError, "indices holds -1"),
        (lambda: voxkern.max_unpool2d(HALF, INDEX.astype("i4"), 2), TypeError, "indices has dtype"),
        (lambda: voxkern.max_unpool2d(HALF, INDEX[1:], 2), ValueError, "indices has shape"),
        (lambda: voxkern.max_unpool2d(HALF, INDEX, 2, output_size=(8, 4)), ValueError, "output_"),
        (lambda: voxkern.max_unpool2d(HALF, INDEX, 2, output_size=(6,)), ValueError, "output_"),
        (
            lambda: voxkern.max_unpool2d(HALF, INDEX, 2, output_size=6),
            TypeError,
            "output_size is 6",
        ),
        (
            lambda: voxkern.max_unpool2d(HALF[..., :1], INDEX[..., :1], 2, 1, 1),
            ValueError,
            "padding",
        ),
        (
            lambda: voxkern.max_pool2d_backward(HALF, INDEX + 99, (7, 5)),
            ValueError,
            "indices holds",
        ),
        (lambda: voxkern.max_pool2d_backward(HALF, INDEX[:1], (7, 5)), ValueError, "indices has"),
        (lambda: voxkern.max_unpool2d_backward(IMAGE, INDEX + 35), ValueError, "indices holds 35"),
        (lambda: voxkern.max_unpool2d_backward(IMAGE, INDEX[:1]), ValueError, "indices has shape"),
        (lambda: voxkern.avg_pool2d_backward(HALF, (9, 5), 2), ValueError, "grad has shape"),
        (lambda: voxkern.lp_pool2d_backward(IMAGE, IMAGE, 2, 2), ValueError, "grad has shape"),
        (lambda: voxkern.max_pool2d(IMAGE, 2, out=np.zeros(3)), ValueError, "out has shape"),
        (
            lambda: voxkern.max_pool2d(IMAGE, 2, return_indices=True, out=HALF),
            TypeError,
            "out must",
        ),
        (
            lambda: voxkern.max_pool2d(IMAGE, 2, return_indices=True, out=(HALF, HALF)),
            ValueError,
            "out has shape",
        ),
    ],
)
def test_bad_input_is_named(call, error, names):
    with pytest.raises(error, match=names):
        call()


@pytest.mark.parametrize(
    "window", [(3, 3, 0), (3, 3, 1), (2, 3, 1), (7, 3, 2), (4, 4, 2), (5, 7, 2)]
)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_rows_of_strides_above_two(backend, rng, window, dtype):
    hostile.not_simulated(backend)
    for width in (7, 8, 15, 16, 17, 33, 47, 48, 49, 100):
        x = hostile.normal(rng, (2, 2, 11, width), dtype)
        got = voxkern.avg_pool2d(x, *window)
        assert_close(got, reference.avg_pool2d(x.astype("f8"), *window), length=window[0] ** 2)
        grad = hostile.normal(rng, got.shape, dtype)
        want = reference.avg_pool2d_backward(grad.astype("f8"), x.shape[2:], *window)
        back = voxkern.avg_pool2d_backward(grad, x.shape[2:], *window)
        assert_close(back, want, length=window[0] ** 2)
        best, places = voxkern.max_pool2d(x, *window, return_indices=True)
        want = reference.max_pool2d(x, *window, return_indices=True)
        assert_exact(best, want[0])
        assert_exact(places, want[1])
        assert_exact(voxkern.max_pool2d(x, *window), best)


@pytest.mark.parametrize("bad", [-1, 6, -(2**63), 2**63 - 1])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_one_index_outside_is_found_among_many(backend, bad, dtype):
    places = np.tile(np.arange(6), (50, 40, 1))
    places[31, 7, 4] = bad
    with pytest.raises(ValueError, match=f"indices holds {bad}; every index must be from 0 to 5"):
        voxkern.max_pool1d_backward(np.ones(places.shape, dtype), places, 6)


def test_nothing_is_written_before_every_check(rng):
    x, out = np.ones((1, 2, 3)), np.full((1, 2, 6), 7.0)
    places = np.zeros((1, 2, 3), "i8")
    places[-1, -1, -1] = 6
    with pytest.raises(ValueError, match="indices holds 6"):
        voxkern.max_unpool1d(x, places, 2, out=out)
    shared = np.full(40, 7.0)
    with pytest.raises(ValueError, match="out overlaps"):
        voxkern.max_pool1d(shared[:20].reshape(1, 1, 20), 2, out=shared[15:25].reshape(1, 1, 10))
    pair = shared[:10].reshape(1, 1, 10), shared[5:15].view("i8").reshape(1, 1, 10)
    with pytest.raises(ValueError, match="out overlaps"):
        voxkern.max_pool1d(np.zeros((1, 1, 20)), 2, return_indices=True, out=pair)
    locked = hostile.read_only(out)
    with pytest.raises(ValueError, match="out is read-only"):
        voxkern.max_unpool1d(x, places * 0, 2, out=locked)
    assert (out == 7).all()
    assert (shared == 7).all()
    assert (locked == 7).all()


VAST = 2**31 - 1  # the largest number that a window takes


def test_vast_windows_are_those_that_cover_everything(backend):
    x = np.arange(1.0, 6).reshape(1, 5)
    assert_exact(voxkern.max_pool1d(x, 3, stride=VAST), np.array([[3.0]]))
    assert_exact(voxkern.avg_pool1d(x, 3, stride=VAST), np.array([[2.0]]))
    backward = voxkern.avg_pool1d_backward(np.array([[3.0]]), 5, 3, VAST)
    assert_exact(backward, np.array([[1.0, 1, 1, 0, 0]]))
    if backend == "reference":  # pads in memory
        return
    best, place = voxkern.max_pool1d(x, VAST, VAST, VAST // 2, return_indices=True)
    assert (best, place) == (5, 4)
    assert_exact(voxkern.max_pool1d(x, VAST, 3, VAST // 2), np.array([[5.0, 5]]))
    mean = voxkern.avg_pool1d(x, VAST, VAST, VAST // 2, count_include_pad=False)
    assert_exact(mean, np.array([[3.0]]))
    spread = voxkern.avg_pool1d_backward(mean, 5, VAST, VAST, VAST // 2, divisor_override=3)
    assert_exact(spread, np.ones((1, 5)))


def test_numbers_past_the_largest_are_refused():
    with pytest.raises(ValueError, match="stride is 2147483648; it must be at most 2147483647"):
        voxkern.max_pool1d(np.ones((1, 5)), 3, stride=VAST + 1)
    with pytest.raises(ValueError, match="too large"):
        voxkern.adaptive_avg_pool1d(np.ones((1, 5)), 2**61)
