"""linear: the oracle, gradients by differences, and what is refused."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import voxkern
from voxkern import reference

import hostile
from accuracy import assert_close, assert_exact

LEADS = [(), (1,), (17,), (0,), (2, 0, 3), (2, 3, 5)]
X, W = np.zeros((3, 5)), np.zeros((7, 5))


def arrays(rng, lead, dtype="float64", n_in=13, n_out=7):
    shapes = (*lead, n_out), (*lead, n_in), (n_out, n_in), (n_out,)
    return [np.asarray(hostile.normal(rng, shape, dtype)) for shape in shapes]


def doubles(*arrays):
    return [a.astype("f8") for a in arrays]


@pytest.mark.parametrize("lead", LEADS, ids=str)
@pytest.mark.parametrize("dtype", hostile.FLOATS)
def test_values_and_gradients_equal_the_oracles(rng, lead, dtype):
    grad, x, weight, bias = arrays(rng, lead, dtype)
    for extra in ((), (bias,)):
        want = reference.linear(*doubles(x, weight, *extra))
        assert_close(voxkern.linear(x, weight, *extra), want, length=64, scale=4)
    got = voxkern.linear_backward(grad, x, weight)
    for ours, theirs in zip(got, reference.linear_backward(*doubles(grad, x, weight))):
        assert ours.dtype == dtype
        assert_close(ours, theirs, length=64, scale=4)


@pytest.mark.parametrize("layout", hostile.LAYOUTS)
def test_layout_does_not_matter(rng, layout):
    grad, x, weight, bias = arrays(rng, (17,))
    want = voxkern.linear(x, weight, bias)
    assert_exact(voxkern.linear(*map(layout, (x, weight, bias))), want)
    got = voxkern.linear_backward(*map(layout, (grad, x, weight)))
    for ours, theirs in zip(got, voxkern.linear_backward(grad, x, weight)):
        assert_exact(ours, theirs)


@pytest.mark.parametrize("dtype", hostile.FLOATS)
def test_out_is_filled_and_returned(rng, dtype):
    _, x, weight, bias = arrays(rng, (2, 3), dtype)
    want = voxkern.linear(x, weight, bias)
    for out in (np.full_like(want, np.nan), hostile.strided(want * 0)):
        assert voxkern.linear(x, weight, bias, out=out) is out
        assert_exact(np.ascontiguousarray(out), want)


@given(st.integers(0, 5), st.integers(1, 5), st.integers(0, 5), st.integers(0, 99))
def test_the_gradients_are_adjoint(n, n_in, n_out, seed):
    grad, x, weight, bias = arrays(np.random.default_rng(seed), (n,), "float64", n_in, n_out)
    value = (grad * voxkern.linear(x, weight, bias)).sum()
    grads = voxkern.linear_backward(grad, x, weight)
    assert value == pytest.approx((grads[0] * x).sum() + (grads[2] * bias).sum(), abs=1e-9)
    assert value == pytest.approx((grads[1] * weight).sum() + (grads[2] * bias).sum(), abs=1e-9)


def test_gradients_are_differences(rng):
    grad, *given = arrays(rng, (2, 3))
    for i, gradient in enumerate(voxkern.linear_backward(grad, *given[:2])):
        step = hostile.normal(rng, given[i].shape)
        ahead, behind = (
            [a + s * 1e-6 * step if i == j else a for j, a in enumerate(given)] for s in (1, -1)
        )
        change = (grad * (voxkern.linear(*ahead) - voxkern.linear(*behind))).sum() / 2e-6
        assert change == pytest.approx((gradient * step).sum(), rel=1e-6)


def test_only_what_is_needed_is_computed(rng):
    grad, x, weight, _ = arrays(rng, (17,))
    got = voxkern.linear_backward(grad, x, weight, need=(False, True, False))
    assert got[0] is None
    assert got[2] is None
    assert_exact(got[1], voxkern.linear_backward(grad, x, weight)[1])


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e300])
def test_strange_values_stay_in_their_row(rng, value):
    _, x, weight, bias = arrays(rng, (17,))
    want = voxkern.linear(x, weight, bias)
    x[3, 2] = value
    got = voxkern.linear(x, weight, bias)
    assert_exact(np.delete(got, 3, 0), np.delete(want, 3, 0))
    if value != 1e300:
        assert not np.isfinite(got[3]).any()


@pytest.mark.parametrize(
    ("arguments", "error", "names"),
    [
        (dict(x=np.zeros(4)), ValueError, "x has shape"),
        (dict(x=np.zeros(())), ValueError, "x has shape"),
        (dict(x=X.astype(int)), TypeError, "x has dtype int64"),
        (dict(weight=np.zeros(5)), ValueError, "weight has shape"),
        (dict(weight=np.zeros((7, 0))), ValueError, "weight has shape"),
        (dict(weight=W.astype("f4")), TypeError, "weight has dtype float32"),
        (dict(bias=np.zeros(5)), ValueError, "bias has shape"),
        (dict(bias=np.zeros(7, "f4")), TypeError, "bias has dtype float32"),
        (dict(out=np.zeros((3, 5))), ValueError, "out has shape"),
        (dict(x=W, weight=W[:, :].copy(), out=np.zeros((7, 7), "f4")), ValueError, "dtype float32"),
    ],
)
def test_bad_input_is_named(arguments, error, names):
    with pytest.raises(error, match=names):
        voxkern.linear(**{"x": X, "weight": W, **arguments})


@pytest.mark.parametrize(
    ("arguments", "error", "names"),
    [
        (dict(grad=np.zeros((3, 5))), ValueError, "grad has shape"),
        (dict(grad=np.zeros((3, 7), "f4")), TypeError, "grad has dtype float32"),
        (dict(need=True), ValueError, "need is True"),
        (dict(need=(1, 0, 0)), TypeError, "need is 1"),
        (dict(x=np.zeros(4)), ValueError, "x has shape"),
    ],
)
def test_bad_input_of_the_gradient_is_named(arguments, error, names):
    with pytest.raises(error, match=names):
        voxkern.linear_backward(**{"grad": np.zeros((3, 7)), "x": X, "weight": W, **arguments})


def test_out_may_not_overlap():
    square = np.zeros((5, 5))
    with pytest.raises(ValueError, match="out overlaps"):
        voxkern.linear(square, square.copy(), out=square)
