"""upsample: the oracle, its adjoint, and what is refused."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import voxkern
from voxkern import reference

import hostile
from accuracy import assert_close, assert_exact

OPERATION = "upsample"
LINEAR = {1: "linear", 2: "bilinear", 3: "trilinear"}
# Spatial sizes of x, and of the result or the factors.
SIZES = [
    ((31,), dict(size=47)),
    ((31,), dict(size=(7,))),
    ((31,), dict(scale_factor=2.3)),
    ((1,), dict(size=5)),
    ((31,), dict(size=1)),
    ((17, 13), dict(size=(29, 5))),
    ((17, 13), dict(scale_factor=2)),
    ((17, 13), dict(scale_factor=(0.4, 1.7))),
    ((5, 7, 3), dict(size=(7, 3, 11))),
    ((5, 7, 3), dict(scale_factor=2)),
]
MODES = ["nearest", "linear", "aligned"]


def options(sizes, mode):
    where = {} if mode == "nearest" else {"align_corners": mode == "aligned"}
    name = "nearest" if mode == "nearest" else LINEAR[len(sizes)]
    return {"mode": name, **where}


@pytest.mark.parametrize(("sizes", "to"), SIZES, ids=str)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dtype", hostile.FLOATS)
def test_values_and_gradients_equal_the_oracles(backend, rng, sizes, to, mode, dtype):
    x = hostile.normal(rng, (2, 3, *sizes), dtype)
    how = {**to, **options(sizes, mode)}
    got = voxkern.upsample(x, **how)
    assert got.dtype == dtype
    assert_close(got, reference.upsample(x.astype("f8"), **how), length=64, scale=9)
    grad = hostile.normal(rng, got.shape, dtype)
    want = reference.upsample_backward(grad.astype("f8"), sizes, **how)
    assert_close(voxkern.upsample_backward(grad, sizes, **how), want, length=64, scale=9)


@given(
    st.lists(st.tuples(st.integers(1, 9), st.integers(1, 20)), min_size=1, max_size=3),
    st.sampled_from(MODES),
    st.integers(0, 99),
)
def test_the_gradient_is_the_adjoint(pairs, mode, seed):
    rng = np.random.default_rng(seed)
    sizes, to = zip(*pairs)
    how = {"size": to, **options(sizes, mode)}
    x, grad = hostile.normal(rng, (2, 1, *sizes)), hostile.normal(rng, (2, 1, *to))
    back = voxkern.upsample_backward(grad, sizes, **how)
    assert (grad * voxkern.upsample(x, **how)).sum() == pytest.approx((back * x).sum(), abs=1e-9)


@given(st.integers(1, 200), st.integers(1, 200))
def test_the_nearest_element_is_exact(n, count):
    got = voxkern.upsample(np.arange(float(n))[None, None], count)
    assert got.ravel().tolist() == [k * n // count for k in range(count)]


@pytest.mark.parametrize("mode", ["linear", "aligned"])
def test_a_constant_stays_one_and_corners_stay_in_place(rng, mode):
    how = options((17, 13), mode)
    assert_close(
        voxkern.upsample(np.full((1, 1, 17, 13), 0.3), 40, **how), np.full((1, 1, 40, 40), 0.3)
    )
    x = hostile.normal(rng, (1, 1, 17, 13))
    corners = (..., [0, 0, -1, -1], [0, -1, 0, -1])
    assert_close(voxkern.upsample(x, 40, **how)[corners], x[corners])


@pytest.mark.parametrize("layout", hostile.LAYOUTS)
def test_layout_does_not_matter(backend, rng, layout):
    x, how = hostile.normal(rng, (2, 3, 17, 13)), dict(size=(5, 29), mode="bilinear")
    want = voxkern.upsample(x, **how)
    assert_exact(voxkern.upsample(layout(x), **how), want)
    out = hostile.strided(want * 0)
    assert voxkern.upsample(x, **how, out=out) is out
    assert_exact(np.ascontiguousarray(out), want)
    back = voxkern.upsample_backward(want, (17, 13), **how)
    assert_exact(voxkern.upsample_backward(layout(want), (17, 13), **how), back)
    out = hostile.strided(back * 0)
    assert voxkern.upsample_backward(want, (17, 13), **how, out=out) is out
    assert_exact(np.ascontiguousarray(out), back)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e308])
def test_strange_values_stay_in_their_neighbourhood(backend, rng, value):
    x = hostile.normal(rng, (2, 3, 17, 13))
    want = voxkern.upsample(x, scale_factor=2, mode="bilinear")
    x[1, 2, 8, 6] = value
    got = voxkern.upsample(x, scale_factor=2, mode="bilinear")
    changed = np.argwhere(got != want)
    assert changed.min(0).tolist() == [1, 2, 15, 11]
    assert changed.max(0).tolist() == [1, 2, 18, 14]


def test_empty_batches(backend):
    x = np.zeros((0, 3, 17, 13))
    assert voxkern.upsample(x, 5).shape == (0, 3, 5, 5)
    how = dict(size=5, mode="bilinear")
    assert voxkern.upsample_backward(np.zeros((0, 3, 5, 5)), (17, 13), **how).shape == x.shape


X = np.zeros((2, 3, 4, 5))


@pytest.mark.parametrize(
    ("arguments", "error", "names"),
    [
        (dict(x=np.zeros((4, 5))), ValueError, "x has shape"),
        (dict(x=np.zeros((2, 3, 0, 5))), ValueError, "x has shape"),
        (dict(x=np.zeros((1,) * 6)), ValueError, "x has shape"),
        (dict(x=X.astype(int)), TypeError, "x has dtype int64"),
        (dict(size=None), ValueError, "size is None and scale_factor is None"),
        (dict(scale_factor=2), ValueError, "size is 6 and scale_factor is 2"),
        (dict(size=0), ValueError, "size is 0"),
        (dict(size=(6, 6, 6)), ValueError, "size is"),
        (dict(size=6.0), TypeError, "size is 6.0"),
        (dict(size=None, scale_factor=0.1), ValueError, "scale_factor is 0.1; it makes"),
        (dict(size=None, scale_factor=-1), ValueError, "scale_factor is -1"),
        (dict(size=None, scale_factor="2"), TypeError, "scale_factor is '2'"),
        (dict(size=None, scale_factor=(2, 2, 2)), ValueError, "scale_factor is"),
        (dict(size=None, scale_factor=1e12), ValueError, "scale_factor is"),
        (dict(mode="trilinear"), ValueError, "mode is 'trilinear'"),
        (dict(mode="cubic"), ValueError, "mode is 'cubic'"),
        (dict(mode=2), ValueError, "mode is 2"),
        (dict(align_corners=True), ValueError, "align_corners is True"),
        (dict(mode="bilinear", align_corners=1), TypeError, "align_corners is 1"),
        (dict(out=np.zeros((2, 3, 4, 5))), ValueError, "out has shape"),
        (dict(size=(4, 5), out=X), ValueError, "out overlaps"),
    ],
)
def test_bad_input_is_named(arguments, error, names):
    with pytest.raises(error, match=names):
        voxkern.upsample(**{"x": X, "size": 6, **arguments})
    assert not X.any()


@pytest.mark.parametrize(
    ("arguments", "error", "names"),
    [
        (dict(grad=np.zeros((2, 3, 6, 5))), ValueError, "grad has shape"),
        (dict(grad=np.zeros(6)), ValueError, "grad has shape"),
        (dict(input_size=(4, 5, 6)), ValueError, "input_size is"),
        (dict(input_size=0), ValueError, "input_size is 0"),
        (dict(mode="linear"), ValueError, "mode is 'linear'"),
    ],
)
def test_bad_input_of_the_gradient_is_named(arguments, error, names):
    good = {"grad": np.zeros((2, 3, 6, 6)), "input_size": (4, 5), "size": 6}
    with pytest.raises(error, match=names):
        voxkern.upsample_backward(**{**good, **arguments})
