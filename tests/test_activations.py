"""activations: formulas, gradients, extremes, layouts, bad input."""

import os

import numpy as np
import pytest

import voxkern
from voxkern import activations, reference

import hostile
from accuracy import assert_close, assert_exact

OPERATION = "activations"
# Name, arguments after x, and whether backward takes the result in the place of x.
CASES = [
    ("relu", (), False),
    ("leaky_relu", (), False),
    ("leaky_relu", (0.3,), False),
    ("elu", (), False),
    ("elu", (1.7,), False),
    ("sigmoid", (), True),
    ("tanh", (), True),
    ("softmax", (), True),
    ("softmax", (0,), True),
    ("log_softmax", (), True),
    ("log_softmax", (-2,), True),
]
SHAPES = [(17,), (3, 5), (7, 1), (2, 3, 11, 5), (5, 2087), (3, 8219)]
every_case = pytest.mark.parametrize("case", CASES, ids=str)


def call(module, case, x, **options):
    name, rest, _ = case
    return getattr(module, name)(x, *on_axis(x, rest), **options)


def backward(module, case, grad, x, **options):
    name, rest, of_result = case
    if of_result:
        x = call(module, case, x)
    return getattr(module, f"{name}_backward")(grad, x, *on_axis(x, rest), **options)


def on_axis(x, rest):
    """Axis -2 is the last of a vector."""
    return (-1,) if rest == (-2,) and x.ndim == 1 else rest


@every_case
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", hostile.FLOATS)
def test_results_and_gradients_are_the_oracles(backend, rng, case, shape, dtype):
    x, grad = 2 * hostile.normal(rng, (2, *shape), dtype)
    wide = [a.astype("f8") for a in (grad, x)]
    assert_close(call(activations, case, x), call(reference.activations, case, wide[1]), length=9)
    name, rest, of_result = case
    given = call(activations, case, x) if of_result else x
    got = getattr(activations, f"{name}_backward")(grad, given, *on_axis(x, rest))
    oracle = getattr(reference.activations, f"{name}_backward")
    want = oracle(wide[0], given.astype("f8"), *on_axis(x, rest))
    assert_close(got, want, length=64, scale=9)


@every_case
def test_gradients_are_finite_differences(backend, rng, case):
    x, grad = hostile.normal(rng, (2, 5, 7))
    x[abs(x) < 1e-3] = 0.5
    gradient = backward(activations, case, grad, x)
    for place in range(x.size):
        step = np.zeros(x.size)
        step[place] = 1e-5
        step = step.reshape(x.shape)
        change = call(activations, case, x + step) - call(activations, case, x - step)
        assert (grad * change).sum() / 2e-5 == pytest.approx(
            gradient.flat[place], rel=1e-6, abs=1e-9
        )


@pytest.mark.parametrize("name", ["relu", "leaky_relu"])
@pytest.mark.parametrize("dtype", hostile.FLOATS)
def test_the_gradient_of_a_rectifier_takes_its_result_too(backend, rng, name, dtype):
    x, grad = hostile.normal(rng, (2, 3, 2087), dtype)
    x[0, :5] = 0, -0.0, np.nan, -np.finfo(dtype).smallest_subnormal, np.inf
    slopes = getattr(activations, f"{name}_backward")
    assert_exact(slopes(grad, getattr(activations, name)(x)), slopes(grad, x))


@pytest.mark.parametrize("shape", [(4, 3), (2, 3, 5, 7), (5, 3, 2)])
@pytest.mark.parametrize("single", [False, True])
@pytest.mark.parametrize("dtype", hostile.FLOATS)
def test_prelu(rng, shape, single, dtype):
    x, grad = hostile.normal(rng, (2, *shape), dtype)
    weight = hostile.normal(rng, 1 if single else 3, dtype)
    wide = [a.astype("f8") for a in (grad, x, weight)]
    assert_close(activations.prelu(x, weight), reference.activations.prelu(*wide[1:]))
    got = activations.prelu_backward(grad, x, weight)
    for ours, theirs in zip(got, reference.activations.prelu_backward(*wide)):
        assert_close(ours, theirs, length=64)
    for place in range(weight.size):
        step = np.zeros(weight.size)
        step[place] = 1e-5
        change = activations.prelu(wide[1], wide[2] + step)
        change -= activations.prelu(wide[1], wide[2] - step)
        slope = (wide[0] * change).sum() / 2e-5
        assert got[1][place] == pytest.approx(slope, rel=0.01 if dtype == "float16" else 1e-4)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_accuracy_in_units_of_rounding(backend, dtype):
    x = np.r_[np.linspace(-80, 80, 20001), np.logspace(-30, 1, 2001), -np.logspace(-30, 1, 2001)]
    x = x.astype(dtype)
    exact = x.astype(np.longdouble if np.finfo(np.longdouble).eps < 1e-18 else "f8")
    few = 4 * np.finfo(dtype).eps
    np.testing.assert_allclose(activations.sigmoid(x), 1 / (1 + np.exp(-exact)), rtol=few)
    want = np.where(exact > 0, exact, np.expm1(np.minimum(exact, 0)))
    np.testing.assert_allclose(activations.elu(x), want, rtol=few)
    np.testing.assert_allclose(
        activations.elu_backward(x * 0 + 1, x).min(), np.exp(-80.0), rtol=1e-5
    )


ENDS = np.array([-np.inf, -1e4, -88, -0.0, 0.0, 88, 1e4, np.inf, np.nan])


@every_case
@pytest.mark.parametrize("dtype", hostile.FLOATS)
def test_extremes_are_the_oracle(backend, case, dtype):
    x, grad = ENDS.astype(dtype), np.ones(9, dtype)
    with np.errstate(all="ignore"):
        for part in (x, x[1:-2], x[1:5], np.repeat(x[:1], 5), x[:3]):
            want = call(reference.activations, case, part.astype("f8"))
            assert_close(call(activations, case, part), want)
            if case[0] in ("relu", "leaky_relu", "elu"):
                got = backward(activations, case, grad[: part.size], part)
                want = backward(reference.activations, case, np.ones(part.size), part.astype("f8"))
                assert_close(got, want)


def test_softmax_is_stable(backend):
    x = np.array([[1e4, 1e4 - 1], [-1e4, -1e4]], "float32")
    assert_close(activations.softmax(x)[0], [1 / (1 + np.exp(-1)), 1 / (1 + np.e)])
    assert (activations.softmax(x)[1] == 0.5).all()
    assert_close(activations.log_softmax(np.array([0.0, 1e4])), [-1e4, 0.0])
    with np.errstate(all="ignore"):
        assert np.isnan(activations.softmax(np.full((1, 3), -np.inf))).all()
        assert_exact(activations.softmax([-np.inf, 3.0]), np.array([0.0, 1.0]))
        assert np.isnan(activations.softmax([np.inf, 3.0])).any()


def test_nan_stays_in_its_row(backend, rng):
    x = hostile.normal(rng, (5, 67))
    want = activations.softmax(x)
    for place in (0, 31, 66):
        with np.errstate(all="ignore"):
            spoilt = x.copy()
            spoilt[2, place] = np.nan
            got = activations.softmax(spoilt)
        assert np.isnan(got[2]).all()
        assert_exact(np.delete(got, 2, 0), np.delete(want, 2, 0))


def test_heaviside():
    x = np.array([-np.inf, -1, -0.0, 0, 1e-300, np.nan])
    assert_exact(activations.heaviside(x), np.array([0, 0, 1.0, 1, 1, np.nan]))
    assert_exact(activations.heaviside(x, 0.5), reference.activations.heaviside(x, 0.5))
    assert not activations.heaviside_backward(x, x).any()


@every_case
@pytest.mark.parametrize("layout", hostile.LAYOUTS)
def test_layout_does_not_matter(backend, rng, case, layout):
    x, grad = hostile.normal(rng, (2, 3, 5, 7), "float32")
    assert_exact(call(activations, case, layout(x)), call(activations, case, x))
    want = backward(activations, case, grad, x)
    assert_exact(backward(activations, case, layout(grad), layout(x)), want)


@every_case
def test_out_is_filled_and_returned(backend, rng, case):
    x, grad = hostile.normal(rng, (2, 3, 5, 7), "float32")
    want, gradient = call(activations, case, x), backward(activations, case, grad, x)
    for out in (np.full_like(x, np.nan), hostile.strided(x * 0), hostile.transposed(x * 0)):
        assert call(activations, case, x, out=out) is out
        assert_exact(np.ascontiguousarray(out), want)
        assert backward(activations, case, grad, x, out=out) is out
        assert_exact(np.ascontiguousarray(out), gradient)


@every_case
@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (0,)])
def test_empty_arrays(backend, case, shape):
    x = np.zeros(shape)
    assert call(activations, case, x).shape == shape
    assert backward(activations, case, x, x).shape == shape


@pytest.mark.parametrize("case", [c for c in CASES if c[1] != (-2,)], ids=str)
def test_a_scalar(backend, case):
    x = np.array(0.5)
    got = call(activations, case, x)
    assert got.shape == ()
    assert got == call(reference.activations, case, np.array([0.5]))[0]
    assert backward(activations, case, np.array(1.0), x).shape == ()


@every_case
def test_threads_do_not_change_a_bit(rng, case):
    x, grad = hostile.normal(rng, (2, 37, 4099), "float32")
    before, results = voxkern.get_num_threads(), []
    for threads in (1, 3, os.cpu_count() or 1):
        voxkern.set_num_threads(threads)
        results.append((call(activations, case, x), backward(activations, case, grad, x)))
    voxkern.set_num_threads(before)
    for others in results[1:]:
        for one, many in zip(results[0], others):
            assert_exact(one, many)


X = np.zeros((2, 3))


@pytest.mark.parametrize(
    ("name", "arguments", "error", "names"),
    [
        ("relu", (X.astype(int),), TypeError, "x has dtype int64"),
        ("relu_backward", (X[:1], X), ValueError, "grad has shape"),
        ("relu_backward", (X.astype("f4"), X), TypeError, "grad has dtype float32"),
        ("leaky_relu", (X, "x"), TypeError, "negative_slope is 'x'"),
        ("leaky_relu", (X, np.nan), ValueError, "negative_slope is nan"),
        ("leaky_relu_backward", (X[:1], X), ValueError, "grad has shape"),
        ("elu", (X, None), TypeError, "alpha is None"),
        ("elu_backward", (X, X, np.inf), ValueError, "alpha is inf"),
        ("prelu", (X, np.ones(2)), ValueError, "weight has shape"),
        ("prelu", (X, np.ones(3, "f4")), TypeError, "weight has dtype"),
        ("prelu_backward", (X[:1], X, np.ones(3)), ValueError, "grad has shape"),
        ("sigmoid", (X > 0,), TypeError, "x has dtype bool"),
        ("sigmoid_backward", (X[0], X), ValueError, "grad has shape"),
        ("tanh", (X * 1j,), TypeError, "x has dtype complex128"),
        ("tanh_backward", (X, X.astype("f4")), TypeError, "that of result"),
        ("heaviside", (X, X), TypeError, "values is"),
        ("heaviside_backward", (X[0], X), ValueError, "grad has shape"),
        ("softmax", (X, 2), ValueError, "axis is 2"),
        ("softmax", (X, -3), ValueError, "axis is -3"),
        ("softmax", (X, None), TypeError, "axis is None"),
        ("softmax_backward", (X[0], X), ValueError, "grad has shape"),
        ("log_softmax", (X, 1.0), TypeError, r"axis is 1\.0"),
        ("log_softmax_backward", (X, X, 5), ValueError, "axis is 5"),
    ],
)
def test_bad_input_is_named(name, arguments, error, names):
    with pytest.raises(error, match=names):
        getattr(activations, name)(*arguments)
    assert not X.any()


@every_case
def test_a_bad_out_is_named_and_nothing_written(case):
    x = np.ones((2, 3))
    with pytest.raises(ValueError, match="out overlaps"):
        call(activations, case, x, out=x)
    with pytest.raises(ValueError, match="out has shape"):
        backward(activations, case, x, x, out=np.ones(2))
    assert x.all()
