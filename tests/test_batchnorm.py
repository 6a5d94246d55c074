"""batch_norm: the formula, its running statistics and its gradients, stable and reproducible."""

import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import voxkern
from voxkern import _dispatch, reference

import hostile
from accuracy import assert_close, assert_exact

OPERATION = "batchnorm"
# (N, C), short and long inner sizes, and shapes that fill blocks of 2048 unevenly.
SHAPES = [(7, 3), (5, 2, 3), (2, 3, 17), (71, 5, 29), *hostile.SHAPES.values(), (2, 3, 2, 3, 5, 7)]
LONG = [(2053, 3), (67, 37), (11, 3, 2087), (2, 2, 4099), (211, 3, 5)]


def arguments(rng, channels, dtype="float64"):
    """Running mean and variance, weight and bias."""
    mean, weight, bias = (hostile.normal(rng, channels, dtype) for _ in range(3))
    return mean, rng.uniform(0.5, 2, channels).astype(dtype), weight, bias


def doubles(*arrays):
    return [None if a is None else a.astype("float64") for a in arrays]


@pytest.mark.parametrize("shape", [*SHAPES, *LONG], ids=str)
@pytest.mark.parametrize("dtype", hostile.FLOATS)
def test_inference_is_the_oracle(backend, rng, shape, dtype):
    x, params = hostile.normal(rng, shape, dtype), arguments(rng, shape[1], dtype)
    want = reference.batch_norm(*doubles(x, *params))
    assert_close(voxkern.batch_norm(x, *params), want, scale=4)


@pytest.mark.parametrize("shape", [*SHAPES, *LONG], ids=str)
@pytest.mark.parametrize("dtype", hostile.FLOATS)
def test_training_is_the_oracle(backend, rng, shape, dtype):
    x, params = hostile.normal(rng, shape, dtype), arguments(rng, shape[1], dtype)
    expected = doubles(*params)
    want = reference.batch_norm(x.astype("f8"), *expected, training=True, momentum=0.3)
    got = voxkern.batch_norm(x, *params, training=True, momentum=0.3)
    assert_close(got, want, length=64, scale=4)
    assert_close(params[0], expected[0], length=64, scale=1)
    assert_close(params[1], expected[1], length=64, scale=1)


@pytest.mark.parametrize("positions", [(), (3,)], ids=str)
@pytest.mark.parametrize("channels", [1, 2, 31, 33, 100])
def test_channels_side_by_side_fill_tiles_in_part(backend, rng, channels, positions):
    for n in (1, 2, 70):
        x, grad = hostile.normal(rng, (2, n, channels, *positions), "float32")
        params = arguments(rng, channels, "float32")
        assert_close(voxkern.batch_norm(x, *params), reference.batch_norm(*doubles(x, *params)))
        stats, want = voxkern.batch_norm_stats(x), reference.batch_norm_stats(x.astype("f8"))
        count = x.size // channels
        assert_close(stats[0], want[0], length=count)
        assert_close(stats[1], want[1], length=count)
        given = grad, x, params[2], *params[:2]
        got = voxkern.batch_norm_backward(*given)
        want = reference.batch_norm_backward(*doubles(*given))
        assert_close(got[0], want[0], length=64, scale=8)
        for g, w in zip(got[1:], want[1:]):
            assert_close(g, w, length=64, scale=count**0.5)


@pytest.mark.parametrize("missing", [("weight",), ("bias",), ("weight", "bias")], ids=str)
@pytest.mark.parametrize("training", [False, True])
def test_weight_and_bias_are_1_and_0_where_missing(backend, rng, missing, training):
    x = hostile.normal(rng, (3, 5, 7))
    mean, var, weight, bias = arguments(rng, 5)
    params = {"weight": weight, "bias": bias}
    filled = {"weight": np.ones(5), "bias": np.zeros(5)}
    some = {k: v for k, v in params.items() if k not in missing}
    want = voxkern.batch_norm(x, mean.copy(), var.copy(), **{**filled, **some}, training=training)
    assert_exact(voxkern.batch_norm(x, mean, var, **some, training=training), want)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", [(4096, 5), (64, 5, 49), (3, 5, 5003)], ids=str)
def test_a_large_mean_does_not_cancel(backend, rng, shape, dtype):
    x = (1000 + 0.01 * rng.standard_normal(shape)).astype(dtype)
    exact = x.astype("f8") - 1000  # no rounding: the oracle does not have the large mean
    want = reference.batch_norm(exact, None, None, training=True, eps=0.0)
    got = voxkern.batch_norm(x, None, None, training=True, eps=0.0)
    np.testing.assert_allclose(got, want, rtol=0, atol=4e-6 if dtype == "float32" else 1e-9)
    mean, invstd = voxkern.batch_norm_stats(x, eps=0.0)
    want_mean, want_invstd = reference.batch_norm_stats(exact, eps=0.0)
    rtol = np.finfo(dtype).eps if dtype == "float32" else 1e-14
    np.testing.assert_allclose(mean, want_mean + 1000, rtol=rtol)
    rtol = 2e-6 if dtype == "float32" else 1e-10
    np.testing.assert_allclose(invstd, want_invstd, rtol=rtol)


def test_an_outlier_does_not_spoil_the_variance(backend, rng):
    x = rng.standard_normal((1, 2, 50021)).astype("float32")
    x[0, 0, 0] = 1e6
    want = reference.batch_norm_stats(x.astype("f8"))
    assert_close(voxkern.batch_norm_stats(x)[1], want[1], length=64)


def test_inference_with_a_large_mean_does_not_cancel(backend, rng):
    x = (1000 + 0.01 * rng.standard_normal((3, 5, 67))).astype("float32")
    mean, var = np.full(5, 1000, "float32"), np.full(5, 1e-4, "float32")
    want = reference.batch_norm(*doubles(x, mean, var), eps=0.0)
    assert_close(voxkern.batch_norm(x, mean, var, eps=0.0), want)


@pytest.mark.parametrize("shape", [(300, 7), (64, 3, 25), (2, 3, 50021), (67, 33, 4)], ids=str)
def test_threads_do_not_change_a_bit(rng, shape):
    x, grad = hostile.normal(rng, (2, *shape), "float32")
    weight = hostile.normal(rng, shape[1], "float32")
    before, results = voxkern.get_num_threads(), []
    for threads in (1, os.cpu_count() or 1):
        voxkern.set_num_threads(threads)
        stats = voxkern.batch_norm_stats(x)
        y = voxkern.batch_norm(x, None, None, weight, training=True)
        results.append([*stats, y, *voxkern.batch_norm_backward(grad, x, weight, *stats)])
    voxkern.set_num_threads(before)
    for one, many in zip(*results):
        assert_exact(one, many)


@pytest.mark.parametrize("shape", [*SHAPES, *LONG], ids=str)
@pytest.mark.parametrize("dtype", hostile.FLOATS)
@pytest.mark.parametrize("training", [True, False])
def test_backward_is_the_oracle(backend, rng, shape, dtype, training):
    x, grad = hostile.normal(rng, (2, *shape), dtype)
    mean, invstd, weight, _ = arguments(rng, shape[1], dtype)
    if training:
        mean, invstd = (a.astype(dtype) for a in voxkern.batch_norm_stats(x))
    got = voxkern.batch_norm_backward(grad, x, weight, mean, invstd, training=training)
    want = reference.batch_norm_backward(*doubles(grad, x, weight, mean, invstd), training=training)
    count = x.size // shape[1]
    assert_close(got[0], want[0], length=64, scale=8)
    assert_close(got[1], want[1], length=64, scale=count**0.5)
    assert_close(got[2], want[2], length=64, scale=count**0.5)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("shape", [(7, 3), (5, 3, 2), (2, 3, 19)], ids=str)
def test_gradients_are_finite_differences(backend, rng, shape, training):
    x, grad = hostile.normal(rng, (2, *shape))
    mean, var, weight, bias = arguments(rng, shape[1])

    def loss(x, weight, bias):
        running = None if training else mean, None if training else var
        return (grad * voxkern.batch_norm(x, *running, weight, bias, training)).sum()

    stats = voxkern.batch_norm_stats(x) if training else (mean, 1 / np.sqrt(var + 1e-5))
    gradients = voxkern.batch_norm_backward(grad, x, weight, *stats, training=training)
    for which, gradient in enumerate(gradients):
        for place in rng.integers(0, gradient.size, 5):
            step = np.zeros(gradient.size)
            step[place] = 1e-5
            plus, minus = [x, weight, bias], [x, weight, bias]
            plus[which] = plus[which] + step.reshape(gradient.shape)
            minus[which] = minus[which] - step.reshape(gradient.shape)
            slope = (loss(*plus) - loss(*minus)) / 2e-5
            assert slope == pytest.approx(gradient.flat[place], rel=1e-5, abs=1e-7)


def test_the_gradient_of_training_is_blind_to_shift_and_scale(backend, rng):
    x, grad = hostile.normal(rng, (2, 11, 3, 13))
    mean, invstd = voxkern.batch_norm_stats(x, eps=0.0)
    grad_x = voxkern.batch_norm_backward(grad, x, None, mean, invstd)[0]
    np.testing.assert_allclose(grad_x.sum((0, 2)), 0, atol=1e-11)
    np.testing.assert_allclose((grad_x * x).sum((0, 2)), 0, atol=1e-11)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("shape", [(9, 3), (5, 3, 4), (3, 3, 4099)], ids=str)
def test_nan_and_inf_stay_in_their_channel(backend, rng, value, shape):
    with np.errstate(all="ignore"):
        x = hostile.normal(rng, shape)
        finite = voxkern.batch_norm(x, None, None, training=True)
        x[1, 1] = value
        running = np.zeros(3), np.ones(3)
        y = voxkern.batch_norm(x, *running, training=True, momentum=1.0)
        assert np.isnan(y[:, 1]).all()
        assert_exact(y[:, ::2], finite[:, ::2])
        np.testing.assert_array_equal(running[0][1], value)
        assert np.isnan(running[1][1])
        y = voxkern.batch_norm(x, np.zeros(3), np.ones(3), eps=0.0)
        assert_exact(y, x)
        grad_x = voxkern.batch_norm_backward(x, x, None, *voxkern.batch_norm_stats(x))[0]
        assert np.isnan(grad_x[:, 1]).all()
        assert np.isfinite(grad_x[:, ::2]).all()


def test_inference_gradient_does_not_look_at_x(backend, rng):
    x, grad = np.full((5, 3, 7), np.nan), hostile.normal(rng, (5, 3, 7))
    got = voxkern.batch_norm_backward(grad, x, None, np.zeros(3), np.full(3, 2.0), training=False)
    assert_exact(got[0], 2 * grad)


def test_a_constant_channel_gives_the_bias(backend):
    x = np.full((7, 3, 5), 1.1, "float32")
    bias = np.array([1, -2, 3], "float32")
    got = voxkern.batch_norm(x, None, None, bias=bias, training=True)
    assert_close(got, np.broadcast_to(bias[:, None], x.shape), scale=0.1)
    with np.errstate(invalid="ignore"):
        assert np.isnan(voxkern.batch_norm(x, None, None, training=True, eps=0.0)).all()


def test_empty_batches(backend):
    for x in (np.zeros((0, 3)), np.zeros((0, 3, 5))):
        running = np.zeros(3), np.ones(3)
        assert voxkern.batch_norm(x, *running).shape == x.shape
        assert voxkern.batch_norm(x, *running, training=True).shape == x.shape
        assert running[0].max() == 0
        assert running[1].min() == 1
        grads = voxkern.batch_norm_backward(x, x, None, *running)
        assert [g.shape for g in grads] == [x.shape, (3,), (3,)]
        assert not grads[1].any()
        assert np.isnan(voxkern.batch_norm_stats(x)).all()
    none = np.zeros((2, 0, 5))
    assert voxkern.batch_norm(none, None, None, training=True).shape == none.shape
    assert voxkern.batch_norm_stats(none)[0].shape == (0,)


@pytest.mark.parametrize("layout", hostile.LAYOUTS)
def test_layout_does_not_matter(backend, rng, layout):
    x, grad = hostile.normal(rng, (2, *hostile.SHAPES[3]))
    params = arguments(rng, 3)
    want = voxkern.batch_norm(x, *params)
    assert_exact(voxkern.batch_norm(layout(x), *map(layout, params)), want)
    stats = voxkern.batch_norm_stats(x)
    assert_exact(np.array(voxkern.batch_norm_stats(layout(x))), np.array(stats))
    want = voxkern.batch_norm_backward(grad, x, params[2], *stats)
    got = voxkern.batch_norm_backward(layout(grad), layout(x), layout(params[2]), *stats)
    assert_exact(got[0], want[0])


@pytest.mark.parametrize("layout", [hostile.strided, hostile.byteswapped, hostile.misaligned])
def test_running_arrays_of_any_layout_are_updated(backend, rng, layout):
    x, (mean, var, *_) = hostile.normal(rng, (5, 3, 7)), arguments(rng, 3)
    got = layout(mean), layout(var)
    voxkern.batch_norm(x, *got, training=True)
    voxkern.batch_norm(x, mean, var, training=True)
    np.testing.assert_array_equal(got[0], mean)
    np.testing.assert_array_equal(got[1], var)


def test_out_is_filled_and_returned(backend, rng):
    x, grad = hostile.normal(rng, (2, 5, 3, 7))
    params = arguments(rng, 3)
    want = voxkern.batch_norm(x, *params)
    for out in (np.full_like(x, np.nan), hostile.strided(x * 0), hostile.transposed(x * 0)):
        assert voxkern.batch_norm(x, *params, out=out) is out
        assert_exact(np.ascontiguousarray(out), want)
    out = hostile.strided(x * 0)
    assert voxkern.batch_norm_backward(grad, x, *params[1:3], params[3], out=out)[0] is out
    want = voxkern.batch_norm_backward(grad, x, *params[1:3], params[3])[0]
    assert_exact(np.ascontiguousarray(out), want)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_large_maps_are_those_of_their_parts(backend, dtype):
    # Over 32 MB the native kernels store past the caches; an odd size leaves unaligned ends.
    if backend == "cuda" and os.environ.get("NUMBA_ENABLE_CUDASIM"):
        pytest.skip("minutes in the simulator, and no cache to store past")
    kernel = _dispatch.kernel("batchnorm")
    x = np.resize(np.arange(1009, dtype=dtype) / 8, (3, 1, 3_000_017))
    one, two, three, four = np.arange(1, 5, dtype=dtype)[:, None]
    mapped, gradient, want = np.empty_like(x), np.empty_like(x), np.empty((1, 1, 5000), dtype)
    kernel.normalize(x, one, two, three, out=mapped)
    kernel.input_gradient(x, x, one, two, three, four, out=gradient)
    for n, part in ((0, slice(5000)), (1, slice(70_000, 75_000)), (2, slice(-5000, None))):
        few = x[n, :, part][None]
        kernel.normalize(few, one, two, three, out=want)
        assert_exact(mapped[n, :, part][None], want)
        kernel.input_gradient(few, few, one, two, three, four, out=want)
        assert_exact(gradient[n, :, part][None], want)


@pytest.mark.parametrize("training", [False, True])
def test_float16_takes_parameters_of_float16_or_float32(backend, rng, training):
    x, params = hostile.normal(rng, (5, 3, 7), "float16"), arguments(rng, 3, "float32")
    expected = doubles(*params)
    want = reference.batch_norm(x.astype("f8"), *expected, training)
    got = voxkern.batch_norm(x, *params, training)
    assert got.dtype == np.float16
    assert_close(got, want, scale=4)
    assert_close(params[0], expected[0], length=64)


def test_jit_kernels_need_no_cache_folder():
    pytest.importorskip("numba")
    from voxkern.kernels.jit._compile import compiled

    scope = {}
    exec("def twice(x):\n    return 2 * x", scope)  # no source file: nowhere to keep it
    assert compiled(scope["twice"])(3) == 6


def test_import_does_not_import_numba():
    code = "import voxkern, sys; sys.exit('numba' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_lists_are_read(backend):
    want = voxkern.batch_norm(np.array([[1.0, 2.0]]), np.zeros(2), np.ones(2))
    assert_exact(voxkern.batch_norm([[1.0, 2.0]], [0.0, 0.0], [1.0, 1.0]), want)


@given(data=st.data())
def test_training_gives_mean_0_and_deviation_1(data):
    shape = data.draw(st.lists(st.integers(1, 7), min_size=1, max_size=4))
    n, channels = data.draw(st.integers(2, 70)), data.draw(st.integers(1, 70))
    rng = np.random.default_rng(data.draw(st.integers(0, 9)))
    x = 3 + 2 * rng.standard_normal((n, channels, *shape[1:]))
    y = voxkern.batch_norm(x, None, None, training=True, eps=0.0)
    axes = (0, *range(2, x.ndim))
    np.testing.assert_allclose(y.mean(axes), 0, atol=1e-10)
    np.testing.assert_allclose(y.std(axes), 1, rtol=1e-10)
    again = voxkern.batch_norm(5 * x - 7, None, None, training=True, eps=0.0)
    np.testing.assert_allclose(again, y, atol=1e-9)


X, ONES = np.zeros((4, 3, 5)), np.ones(3)
SHARED = np.ones(100)


@pytest.mark.parametrize(
    ("arguments", "error", "names"),
    [
        (dict(x=np.zeros(3)), ValueError, "x has shape"),
        (dict(x=np.float64(3)), ValueError, "x has shape"),
        (dict(x=X[..., :0]), ValueError, "x has shape .* no spatial axis"),
        (dict(x=X.astype(int)), TypeError, "x has dtype int64"),
        (dict(x=X > 0), TypeError, "x has dtype bool"),
        (dict(x=X.astype(object)), TypeError, "x has dtype object"),
        (dict(x=X.astype("c16")), TypeError, "x has dtype complex128"),
        (dict(running_mean=np.ones(4)), ValueError, "running_mean has shape"),
        (dict(running_var=np.ones((3, 1))), ValueError, "running_var has shape"),
        (dict(weight=np.ones(2)), ValueError, "weight has shape"),
        (dict(bias=1.0), ValueError, "bias has shape"),
        (dict(weight=ONES.astype("f4")), TypeError, "weight has dtype float32"),
        (dict(x=X.astype("f4")), TypeError, "running_mean has dtype float64"),
        (dict(x=X.astype("f2")), TypeError, "running_mean has dtype float64"),
        (dict(weight=ONES.astype(int)), TypeError, "weight has dtype int64"),
        (dict(running_mean=None), ValueError, "running_mean and running_var"),
        (dict(running_mean=None, running_var=None), ValueError, "running_mean is None"),
        (dict(running_var=None, training=True), ValueError, "running_mean and running_var"),
        (dict(x=X[:1, :, 0], training=True), ValueError, "more than 1 value"),
        (dict(x=X[:1, :, :1], training=True), ValueError, "more than 1 value"),
        (dict(running_mean=[1.0] * 3, training=True), TypeError, "running_mean is a list"),
        (dict(training=1), TypeError, "training is 1"),
        (dict(momentum=None), TypeError, "momentum is None"),
        (dict(momentum=10**400), ValueError, "momentum is above"),
        (dict(momentum=np.nan), ValueError, "momentum is nan"),
        (dict(eps=-1), ValueError, "eps is -1"),
        (dict(eps=np.nan), ValueError, "eps is nan"),
        (dict(eps="1"), TypeError, "eps is '1'"),
        (dict(out=np.zeros(3)), ValueError, "out has shape"),
        (dict(out=X.astype("f4")), ValueError, "out has shape"),
        (dict(out=[1]), TypeError, "out is a list"),
        (dict(out=hostile.read_only(X)), ValueError, "out is read-only"),
        (dict(out=X), ValueError, "out overlaps"),
    ],
)
def test_bad_input_is_named_and_nothing_written(arguments, error, names):
    mean, var = np.zeros(3), np.ones(3)
    with pytest.raises(error, match=names):
        voxkern.batch_norm(**{"x": X, "running_mean": mean, "running_var": var, **arguments})
    assert not X.any()
    assert not mean.any()
    assert var.all()


@pytest.mark.parametrize(
    ("running", "names"),
    [
        (dict(running_mean=hostile.read_only(ONES)), "running_mean is read-only"),
        (dict(running_var=hostile.read_only(ONES)), "running_var is read-only"),
        (dict(running_mean=SHARED[10:13]), "running_mean overlaps"),
        (dict(running_var=SHARED[59:62]), "running_var overlaps"),
        (dict(running_mean=SHARED[66:69]), "running_mean overlaps"),
        (dict(running_mean=SHARED[70:73], running_var=SHARED[72:75]), "running_mean overlaps"),
        (dict(running_mean=SHARED[70:73], running_var=SHARED[70:73]), "running_mean overlaps"),
        (dict(running_mean=ONES, running_var=ONES), "running_mean overlaps"),
        (dict(running_var=SHARED[99:96:-1], out=SHARED[39:99].reshape(4, 3, 5)), "out overlaps"),
    ],
)
def test_running_arrays_are_writeable_and_apart(running, names):
    x, weight = SHARED[:60].reshape(4, 3, 5), SHARED[64:67]
    if "out" in running:
        x, weight = x.copy(), weight.copy()
    running = {"running_mean": np.ones(3), "running_var": np.ones(3), **running}
    with pytest.raises(ValueError, match=names):
        voxkern.batch_norm(x, **running, weight=weight, training=True)
    assert SHARED.all()


GRAD = dict(grad=X, x=X, weight=ONES, mean=ONES, invstd=ONES)


@pytest.mark.parametrize(
    ("arguments", "error", "names"),
    [
        (dict(grad=X[:1]), ValueError, "grad has shape"),
        (dict(grad=X.astype("f4")), TypeError, "grad has dtype float32"),
        (dict(grad=ONES), ValueError, "grad has shape"),
        (dict(x=X[..., :0], grad=X[..., :0]), ValueError, "grad has shape"),
        (dict(weight=np.ones(4)), ValueError, "weight has shape"),
        (dict(weight=ONES.astype("f4")), TypeError, "weight has dtype float32"),
        (dict(mean=None), TypeError, "mean and invstd"),
        (dict(mean=np.ones(2)), ValueError, "mean has shape"),
        (dict(invstd=ONES.astype("f4")), TypeError, "invstd has dtype float32"),
        (dict(training="yes"), TypeError, "training is 'yes'"),
        (dict(out=X[:1]), ValueError, "out has shape"),
        (dict(out=X), ValueError, "out overlaps"),
    ],
)
def test_bad_gradient_input_is_named(arguments, error, names):
    with pytest.raises(error, match=names):
        voxkern.batch_norm_backward(**{**GRAD, **arguments})
    with pytest.raises(ValueError, match="eps is -1"):
        voxkern.batch_norm_stats(X, eps=-1)
