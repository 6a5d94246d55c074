"""group_norm, instance_norm, layer_norm: formulas and gradients, stable and reproducible."""

import os

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import voxkern
from voxkern import _dispatch, reference

import hostile
from accuracy import assert_close, assert_exact

OPERATION = "groupnorm"
# Shape and groups: of one channel, of all, of elements; inner sizes below and above a vector, and
# groups that fill blocks of 2048 unevenly.
GROUPS = [
    ((7, 6), 2),
    ((5, 6, 3), 3),
    ((2, 15, 7, 5, 3), 5),
    ((3, 4, 17, 13), 1),
    ((2, 3, 2087), 3),
    ((1, 2, 4099), 1),
    ((211, 4, 5), 2),
    ((2, 2, 2, 3, 5, 7), 2),
]
LAYERS = [((7, 3), 3), ((5, 2, 3), (2, 3)), ((71, 37), (37,)), ((3, 2, 2087), 2087), ((2053, 5), 5)]
LAYERS += [((4, 3, 5, 7), (3, 5, 7)), ((13,), 13), ((11, 1), 1)]


def cases():
    """Name, shape of x, arguments after x, and the shape of weight and bias, of each function."""
    for shape, groups in GROUPS:
        yield "group_norm", shape, (groups,), shape[1:2]
    for shape in [(2, 3, 5), (3, 2, 4, 5), (2, 3, 2087), (1, 5, 3, 2, 7)]:
        yield "instance_norm", shape, (), shape[1:2]
    for shape, last in LAYERS:
        yield "layer_norm", shape, (last,), (last,) if isinstance(last, int) else last


def named(case):
    return f"{case[0]}-{case[1]}-{case[2]}"


every_case = pytest.mark.parametrize("case", list(cases()), ids=named)


def call(module, case, x, weight=None, bias=None, **options):
    name, _, rest, _ = case
    return getattr(module, name)(x, *rest, weight=weight, bias=bias, **options)


def backward(module, case, grad, x, weight=None, **options):
    name, _, rest, _ = case
    return getattr(module, f"{name}_backward")(grad, x, *rest, weight, **options)


def arrays(rng, case, dtype="float64"):
    """x, a gradient of its shape, weight and bias."""
    _, shape, _, of_weight = case
    x, grad = hostile.normal(rng, (2, *shape), dtype)
    return x, grad, *hostile.normal(rng, (2, *of_weight), dtype)


def doubles(*arrays):
    return [a.astype("f8") for a in arrays]


@every_case
@pytest.mark.parametrize("dtype", hostile.FLOATS)
def test_the_result_is_the_oracle(backend, rng, case, dtype):
    x, _, weight, bias = arrays(rng, case, dtype)
    want = call(reference, case, *doubles(x, weight, bias))
    assert_close(call(voxkern, case, x, weight, bias), want, length=64, scale=4)
    assert_close(call(voxkern, case, x), call(reference, case, *doubles(x)), length=64, scale=4)


@every_case
@pytest.mark.parametrize("dtype", hostile.FLOATS)
def test_backward_is_the_oracle(backend, rng, case, dtype):
    x, grad, weight, _ = arrays(rng, case, dtype)
    got = backward(voxkern, case, grad, x, weight)
    want = backward(reference, case, *doubles(grad, x, weight))
    invstd = 1 / np.sqrt(1e-5) if x[0].size == 1 else 8
    assert_close(got[0], want[0], length=64, scale=invstd)
    for ours, theirs in zip(got[1:], want[1:]):
        assert ours.shape == weight.shape
        assert_close(ours, theirs, length=64, scale=(x.size / weight.size) ** 0.5)
    for ours, theirs in zip(backward(voxkern, case, grad, x), got):
        assert ours.shape == theirs.shape


@pytest.mark.parametrize("case", [c for c in cases() if np.prod(c[1]) < 300], ids=named)
def test_gradients_are_finite_differences(backend, rng, case):
    x, grad, weight, bias = arrays(rng, case)
    gradients = backward(voxkern, case, grad, x, weight, eps=0.1)
    for which, gradient in enumerate(gradients):
        for place in rng.integers(0, gradient.size, 5):
            step = np.zeros(gradient.size)
            step[place] = 1e-5
            plus, minus = [x, weight, bias], [x, weight, bias]
            plus[which] = plus[which] + step.reshape(gradient.shape)
            minus[which] = minus[which] - step.reshape(gradient.shape)
            change = call(voxkern, case, *plus, eps=0.1) - call(voxkern, case, *minus, eps=0.1)
            slope = (grad * change).sum() / 2e-5
            assert slope == pytest.approx(gradient.flat[place], rel=1e-5, abs=1e-7)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", [("group_norm", (3, 4, 5003), (2,), (4,)), LAYERS[2]], ids=str)
def test_a_large_mean_does_not_cancel(backend, rng, case, dtype):
    case = case if len(case) == 4 else ("layer_norm", case[0], (case[1],), case[1])
    x = (1000 + 0.01 * rng.standard_normal(case[1])).astype(dtype)
    want = call(reference, case, x.astype("f8") - 1000, eps=0.0)
    got = call(voxkern, case, x, eps=0.0)
    np.testing.assert_allclose(got, want, rtol=0, atol=4e-6 if dtype == "float32" else 1e-9)


@every_case
def test_threads_do_not_change_a_bit(rng, case):
    x, grad, weight, bias = arrays(rng, case, "float32")
    x, grad = np.repeat(x, 40, axis=0), np.repeat(grad, 40, axis=0)
    if case[1] == (13,):
        x, grad = x[:13], grad[:13]
    before, results = voxkern.get_num_threads(), []
    for threads in (1, 3, os.cpu_count() or 1):
        voxkern.set_num_threads(threads)
        y = call(voxkern, case, x, weight, bias)
        results.append([y, *backward(voxkern, case, grad, x, weight)])
    voxkern.set_num_threads(before)
    for others in results[1:]:
        for one, many in zip(results[0], others):
            assert_exact(one, many)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("channels", "inner"), [(3, 1_000_003), (3_000_009, 1)])
def test_large_results_are_those_of_their_rows(backend, dtype, channels, inner):
    # Over 32 MB the native kernels store past the caches; an odd size leaves unaligned ends.
    kernel = _dispatch.kernel("groupnorm")
    x = np.resize(np.arange(1009, dtype=dtype) / 8, (3, channels, inner))
    weight, bias = np.resize(np.arange(1, 8, dtype=dtype), (2, channels))
    got, want, stats = np.empty_like(x), np.empty_like(x[:1]), np.empty((2, 3))
    kernel.normalize_groups(x, weight, bias, 1e-5, 1, stats=stats, out=got)
    for row in range(3):
        kernel.normalize_groups(
            x[row : row + 1].copy(), weight, bias, 1e-5, 1, stats=stats[:, :1].copy(), out=want
        )
        assert_close(got[row], want[0].astype("f8"))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_nan_and_inf_stay_in_their_group(backend, rng, value):
    x, grad = hostile.normal(rng, (2, 3, 4, 2099))
    with np.errstate(all="ignore"):
        finite = voxkern.group_norm(x, 2), voxkern.group_norm_backward(grad, x, 2)[0]
        x[1, 2, 7] = value
        got = voxkern.group_norm(x, 2), voxkern.group_norm_backward(grad, x, 2)[0]
    for one, other in zip(got, finite):
        assert np.isnan(one[1, 2:]).all()
        assert_exact(one[1, :2], other[1, :2])
        assert_exact(one[::2], other[::2])


def test_a_constant_group_gives_the_bias(backend):
    x, bias = np.full((7, 4, 5), 1.1, "float32"), np.arange(4, dtype="float32")
    got = voxkern.group_norm(x, 2, bias=bias)
    assert_close(got, np.broadcast_to(bias[:, None], x.shape).astype("f8"), scale=0.1)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_instance_norm_moves_the_running_statistics(backend, rng, dtype):
    x = hostile.normal(rng, (3, 2, 5, 7), dtype)
    running = hostile.normal(rng, 2, dtype), rng.uniform(0.5, 2, 2).astype(dtype)
    expected = doubles(*running)
    want = reference.instance_norm(x.astype("f8"), *expected, momentum=0.3)
    assert_close(voxkern.instance_norm(x, *running, momentum=0.3), want, length=64, scale=4)
    for ours, theirs in zip(running, expected):
        assert_close(ours, theirs, length=64)
    got = voxkern.instance_norm(x, *running, use_input_stats=False)
    assert_exact(got, voxkern.batch_norm(x, *running))


@pytest.mark.parametrize("layout", hostile.LAYOUTS)
def test_layout_does_not_matter(backend, rng, layout):
    case = ("group_norm", (2, 6, 5, 3), (3,), (6,))
    x, grad, weight, bias = arrays(rng, case)
    given = map(layout, (x, weight, bias))
    assert_exact(call(voxkern, case, *given), call(voxkern, case, x, weight, bias))
    got = backward(voxkern, case, *map(layout, (grad, x, weight)))
    for ours, theirs in zip(got, backward(voxkern, case, grad, x, weight)):
        assert_exact(ours, theirs)


@every_case
def test_out_is_filled_and_returned(backend, rng, case):
    x, grad, weight, bias = arrays(rng, case)
    want, gradient = call(voxkern, case, x, weight, bias), backward(voxkern, case, grad, x)[0]
    for out in (np.full_like(x, np.nan), hostile.strided(x * 0), hostile.transposed(x * 0)):
        assert call(voxkern, case, x, weight, bias, out=out) is out
        assert_exact(np.ascontiguousarray(out), want)
        assert backward(voxkern, case, grad, x, out=out)[0] is out
        assert_exact(np.ascontiguousarray(out), gradient)


def test_empty_batches(backend):
    x = np.zeros((0, 4, 5))
    for case in [
        ("group_norm", 0, (2,), 4),
        ("instance_norm", 0, (), 4),
        ("layer_norm", 0, (5,), 5),
    ]:
        assert call(voxkern, case, x).shape == x.shape
        grads = backward(voxkern, case, x, x)
        assert [g.shape for g in grads] == [x.shape, (case[3],), (case[3],)]
        assert not grads[1].any()
    running = np.zeros(4), np.ones(4)
    voxkern.instance_norm(x, *running)
    assert not running[0].any()
    assert voxkern.group_norm(np.zeros((2, 0, 5)), 3).shape == (2, 0, 5)


def test_float16_takes_parameters_of_float32(backend, rng):
    case = ("layer_norm", (5, 3, 7), (7,), (7,))
    x, _, weight, bias = arrays(rng, case, "float32")
    want = call(reference, case, *doubles(x.astype("f2"), weight, bias))
    assert_close(call(voxkern, case, x.astype("f2"), weight, bias), want, scale=4)


@given(data=st.data())
def test_groups_have_mean_0_and_deviation_1(data):
    n, groups, of_group, inner = (data.draw(st.integers(1, m)) for m in (5, 4, 4, 40))
    rng = np.random.default_rng(data.draw(st.integers(0, 9)))
    x = 3 + 2 * rng.standard_normal((n, groups * of_group, inner + 1))
    y = voxkern.group_norm(x, groups, eps=0.0).reshape(n, groups, -1)
    np.testing.assert_allclose(y.mean(2), 0, atol=1e-9)
    np.testing.assert_allclose(y.std(2), 1, rtol=1e-9)


X, ONES = np.zeros((2, 4, 5)), np.ones(4)
SHARED = np.ones(60)


@pytest.mark.parametrize(
    ("name", "arguments", "error", "names"),
    [
        ("group_norm", dict(x=np.zeros(3)), ValueError, "x has shape"),
        ("group_norm", dict(x=X.astype(int)), TypeError, "x has dtype int64"),
        ("group_norm", dict(num_groups=3), ValueError, "num_groups is 3"),
        ("group_norm", dict(num_groups=0), ValueError, "num_groups is 0"),
        ("group_norm", dict(num_groups=2.0), TypeError, r"num_groups is 2\.0"),
        ("group_norm", dict(x=np.zeros((1, 4)), num_groups=4), ValueError, "more than 1 value"),
        ("group_norm", dict(weight=np.ones(5)), ValueError, "weight has shape"),
        ("group_norm", dict(bias=ONES.astype("f4")), TypeError, "bias has dtype float32"),
        ("group_norm", dict(eps=-1), ValueError, "eps is -1"),
        ("group_norm", dict(out=X), ValueError, "out overlaps"),
        ("group_norm", dict(out=X[:1]), ValueError, "out has shape"),
        ("group_norm_backward", dict(grad=X[:1]), ValueError, "grad has shape"),
        ("group_norm_backward", dict(grad=X.astype("f4")), TypeError, "grad has dtype"),
        ("group_norm_backward", dict(num_groups=3), ValueError, "num_groups is 3"),
        ("group_norm_backward", dict(weight=np.ones(3)), ValueError, "weight has shape"),
        ("group_norm_backward", dict(out=X), ValueError, "out overlaps"),
        ("instance_norm", dict(x=X[:, :, 0]), ValueError, "more than 1 spatial"),
        ("instance_norm", dict(x=X[..., :0]), ValueError, "no spatial axis"),
        ("instance_norm", dict(running_mean=ONES), ValueError, "running_mean and running_var"),
        ("instance_norm", dict(use_input_stats=False), ValueError, "running_mean is None"),
        ("instance_norm", dict(use_input_stats=1), TypeError, "use_input_stats is 1"),
        ("instance_norm", dict(momentum="x"), TypeError, "momentum is 'x'"),
        (
            "instance_norm",
            dict(running_mean=hostile.read_only(ONES), running_var=ONES.copy()),
            ValueError,
            "running_mean is read-only",
        ),
        (
            "instance_norm",
            dict(x=SHARED[:40].reshape(X.shape), running_mean=SHARED[38:42], running_var=ONES),
            ValueError,
            "running_mean overlaps",
        ),
        ("instance_norm_backward", dict(weight=np.ones(3)), ValueError, "weight has shape"),
        ("layer_norm", dict(normalized_shape=4), ValueError, "normalized_shape is"),
        ("layer_norm", dict(normalized_shape=()), ValueError, "normalized_shape is"),
        ("layer_norm", dict(normalized_shape="5"), TypeError, "normalized_shape is '5'"),
        ("layer_norm", dict(normalized_shape=(1, 2, 4, 5)), ValueError, "normalized_shape is"),
        ("layer_norm", dict(x=X[..., :0], normalized_shape=0), ValueError, "may be empty"),
        ("layer_norm", dict(weight=ONES), ValueError, "weight has shape"),
        ("layer_norm_backward", dict(grad=ONES), ValueError, "grad has shape"),
        ("layer_norm_backward", dict(normalized_shape=4), ValueError, "normalized_shape is"),
    ],
)
def test_bad_input_is_named_and_nothing_written(name, arguments, error, names):
    good = {"x": X, "group_norm": 2, "layer_norm": 5}
    plain = {"x": X}
    if "group" in name:
        plain["num_groups"] = good["group_norm"]
    if "layer" in name:
        plain["normalized_shape"] = good["layer_norm"]
    if "backward" in name:
        plain["grad"] = X
    with pytest.raises(error, match=names):
        getattr(voxkern, name)(**{**plain, **arguments})
    assert not X.any()
    assert ONES.all()
    assert SHARED.all()
