"""dropout and flatten: the oracles, expectations, and what is refused."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import voxkern
from voxkern import reference

import hostile
from accuracy import assert_close, assert_exact

SHAPES = [(), (0, 3), (31,), (2, 3, 17, 13)]
OPTIONS = [
    dict(p=0.3),
    dict(p=0.3, inverted=False),
    dict(p=0.3, training=False),
    dict(p=0.3, training=False, inverted=False),
    dict(p=0.0),
    dict(p=1),
    dict(p=1, inverted=False),
]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("dtype", hostile.FLOATS)
def test_values_and_gradients_equal_the_oracles(rng, shape, options, dtype):
    x, grad = (np.asarray(hostile.normal(rng, shape, dtype)) for _ in range(2))
    got, mask = voxkern.dropout(x, **options, rng=5, return_mask=True)
    want, kept = reference.dropout(x.astype("f8"), **options, rng=5, return_mask=True)
    assert got.dtype == dtype
    assert_close(got, want)
    assert_exact(mask, np.asarray(kept))
    rest = {k: v for k, v in options.items() if k != "training"}
    gradient = voxkern.dropout_backward(grad, mask, **rest)
    assert_close(gradient, reference.dropout_backward(grad.astype("f8"), mask, **rest))


@pytest.mark.parametrize("layout", hostile.LAYOUTS)
def test_layout_does_not_matter(rng, layout):
    x = hostile.normal(rng, (2, 3, 17, 13))
    want, mask = voxkern.dropout(x, rng=1, return_mask=True)
    assert_exact(voxkern.dropout(layout(x), rng=1), want)
    assert_exact(voxkern.dropout_backward(layout(x), layout(mask)), want)
    out = hostile.strided(x * 0)
    assert voxkern.dropout(x, rng=1, out=out) is out
    assert_exact(np.ascontiguousarray(out), want)


def test_a_generator_goes_on_where_it_was(rng):
    x = np.ones((17, 13))
    first, second = (voxkern.dropout(x, rng=rng) for _ in range(2))
    assert (first != second).any()
    assert (voxkern.dropout(x) != voxkern.dropout(x)).any()


@given(st.floats(0, 0.9), st.integers(0, 99))
def test_the_expectation_is_that_of_inference(p, seed):
    x = np.full(20000, 3.0)
    for inverted in (True, False):
        trained = voxkern.dropout(x, p, rng=seed, inverted=inverted).mean()
        assert trained == pytest.approx(
            voxkern.dropout(x, p, training=False, inverted=inverted).mean(), rel=0.15
        )


def test_the_gradient_is_a_difference(rng):
    x, grad, step = hostile.normal(rng, (3, 31))
    _, mask = voxkern.dropout(x, 0.4, rng=3, return_mask=True)
    ahead, behind = (voxkern.dropout(x + s * 1e-6 * step, 0.4, rng=3) for s in (1, -1))
    gradient = voxkern.dropout_backward(grad, mask, 0.4)
    change = (grad * (ahead - behind)).sum() / 2e-6
    assert change == pytest.approx((gradient * step).sum(), rel=1e-6)


def test_nan_stays_where_it_is_even_dropped():
    x = np.ones(1000)
    x[:500] = np.nan
    got = voxkern.dropout(x, rng=0)
    assert np.isnan(got[:500]).all()
    assert np.isfinite(got[500:]).all()


X = np.zeros(3)


@pytest.mark.parametrize(
    ("arguments", "error", "names"),
    [
        (dict(x=np.zeros(3, int)), TypeError, "x has dtype int64"),
        (dict(p=-0.1), ValueError, "p is -0.1"),
        (dict(p=1.1), ValueError, "p is 1.1"),
        (dict(p=np.nan), ValueError, "p is nan"),
        (dict(p="half"), TypeError, "p is 'half'"),
        (dict(training=1), TypeError, "training is 1"),
        (dict(inverted=1), TypeError, "inverted is 1"),
        (dict(return_mask=1), TypeError, "return_mask is 1"),
        (dict(rng="seed"), TypeError, "rng is 'seed'"),
        (dict(rng=True), TypeError, "rng is True"),
        (dict(rng=-1), ValueError, "rng is -1"),
        (dict(out=X), ValueError, "out overlaps"),
        (dict(out=np.zeros(4)), ValueError, "out has shape"),
    ],
)
def test_bad_input_is_named(arguments, error, names):
    with pytest.raises(error, match=names):
        voxkern.dropout(**{"x": X, **arguments})


@pytest.mark.parametrize(
    ("arguments", "error", "names"),
    [
        (dict(mask=np.ones(4, bool)), ValueError, "mask has shape"),
        (dict(mask=np.ones(3)), TypeError, "mask has dtype float64"),
        (dict(p=2), ValueError, "p is 2"),
        (dict(out=X), ValueError, "out overlaps"),
    ],
)
def test_bad_input_of_the_gradient_is_named(arguments, error, names):
    with pytest.raises(error, match=names):
        voxkern.dropout_backward(**{"grad": X, "mask": np.ones(3, bool), **arguments})
