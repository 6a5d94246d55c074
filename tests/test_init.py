"""init: the oracle's draws, the promised variances, bad input."""

import numpy as np
import pytest

from voxkern import init, reference

import hostile
from accuracy import assert_exact

CASES = [
    ("xavier_uniform", {}, 2 / (200 + 300 * 4)),
    ("xavier_uniform", {"gain": 3.0}, 18 / 1400),
    ("xavier_normal", {}, 2 / 1400),
    ("kaiming_uniform", {}, 2 / 200),
    ("kaiming_normal", {"a": 0.5}, 2 / 1.25 / 200),
    ("kaiming_normal", {"mode": "fan_out"}, 2 / 1200),
]


@pytest.mark.parametrize(("name", "options", "variance"), CASES, ids=str)
def test_draws_are_the_oracles_and_have_their_variance(name, options, variance):
    shape = (300, 50, 2, 2)
    got = getattr(init, name)(shape, **options, rng=7, dtype="float64")
    want = getattr(reference.init, name)(shape, **options, rng=7, dtype="float64")
    np.testing.assert_allclose(got, want, rtol=1e-14)
    # The variance of n draws is off by less than sqrt(2 / n), normal or uniform; five of those.
    assert got.var() == pytest.approx(variance, rel=5 * (2 / got.size) ** 0.5)
    assert abs(got.mean()) < 5 * (variance / got.size) ** 0.5
    if "uniform" in name:
        assert abs(got).max() <= (3 * variance) ** 0.5
        assert abs(got).max() > 0.999 * (3 * variance) ** 0.5


@pytest.mark.parametrize("dtype", hostile.FLOATS)
def test_generators_seeds_and_dtypes(dtype):
    one = init.kaiming_normal((5, 7), rng=3, dtype=dtype)
    two = init.kaiming_normal((5, 7), rng=np.random.default_rng(3), dtype=np.dtype(dtype))
    assert_exact(one, two)
    assert one.dtype == dtype
    rng = np.random.default_rng(3)
    assert (init.xavier_normal((5, 7), rng=rng) != init.xavier_normal((5, 7), rng=rng)).any()
    assert init.xavier_normal((5, 7)).dtype == "float32"


@pytest.mark.parametrize("shape", [(3, 5), (3, 5, 7), (8, 3, 5, 2, 4)], ids=str)
def test_fans_are_counted(shape):
    assert init.fans(shape) == reference.init.fans(shape)


@pytest.mark.parametrize("kind", ["xavier", "kaiming", "lecun"])
def test_variances_are_the_oracles(kind):
    assert init.variance(7, 11, kind) == reference.init.variance(7, 11, kind)


def test_signals_keep_their_variance_through_layers(rng):
    for kind, draw in (("kaiming", init.kaiming_normal), ("xavier", init.xavier_normal)):
        x = rng.standard_normal((300, 400))
        for _ in range(8):
            x = x @ draw((400, 400), rng=rng, dtype="float64").T
            x = np.maximum(x, 0) if kind == "kaiming" else x
        assert (x**2).mean() == pytest.approx(1, rel=0.5)


@pytest.mark.parametrize(
    ("call", "error", "names"),
    [
        (lambda: init.variance(0, 3, "lecun"), ValueError, "fan_in is 0"),
        (lambda: init.variance(3, 1.5, "lecun"), TypeError, r"fan_out is 1\.5"),
        (lambda: init.variance(3, 3, "he"), ValueError, "kind is 'he'"),
        (lambda: init.fans((3,)), ValueError, "shape is"),
        (lambda: init.fans(3), ValueError, "shape is 3"),
        (lambda: init.xavier_uniform((3, 0)), ValueError, "shape is 0"),
        (lambda: init.xavier_normal((3, 2), -1), ValueError, "gain is -1"),
        (lambda: init.kaiming_normal((3, 2), "x"), TypeError, "a is 'x'"),
        (lambda: init.kaiming_uniform((3, 2), mode="in"), ValueError, "mode is 'in'"),
        (lambda: init.xavier_uniform((3, 2), rng="x"), TypeError, "rng is 'x'"),
        (lambda: init.xavier_uniform((3, 2), rng=-1), ValueError, "rng is -1"),
        (lambda: init.xavier_uniform((3, 2), dtype="int8"), TypeError, "dtype is 'int8'"),
        (lambda: init.xavier_uniform((3, 2), dtype="real"), TypeError, "dtype is 'real'"),
    ],
)
def test_bad_input_is_named(call, error, names):
    with pytest.raises(error, match=names):
        call()
