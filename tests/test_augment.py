"""augment: the oracle's draws, moments, the penalty that noise is, bad input."""

import numpy as np
import pytest

from voxkern import augment, losses, reference

import hostile
from accuracy import assert_exact


def test_draws_are_the_oracles(rng):
    x = hostile.normal(rng, (3, 5, 7))
    got = augment.gaussian_noise(x, 0.3, 5)
    np.testing.assert_allclose(got, reference.augment.gaussian_noise(x, 0.3, 5), rtol=1e-14)
    assert_exact(got, augment.gaussian_noise(x, 0.3, np.random.default_rng(5)))


@pytest.mark.parametrize("dtype", hostile.FLOATS)
def test_moments_dtypes_and_shapes(dtype):
    x = np.full((200, 500), 2, dtype)
    noise = augment.gaussian_noise(x, 0.5, rng=1).astype("f8") - 2
    assert augment.gaussian_noise(x, 0.5).dtype == dtype
    assert abs(noise.mean()) < 5 * 0.5 / x.size**0.5
    assert noise.std() == pytest.approx(0.5, rel=5 / (2 * x.size) ** 0.5)
    assert_exact(augment.gaussian_noise(x, 0.0), x)
    assert augment.gaussian_noise(x[:0], 1.0).shape == (0, 500)
    assert augment.gaussian_noise(x[0, 0], 1.0).shape == ()


def test_noise_on_the_inputs_of_linear_regression_is_an_l2_penalty(rng):
    x, theta, y = rng.standard_normal((40, 3)), rng.standard_normal(3), rng.standard_normal(40)
    noisy = augment.gaussian_noise(np.broadcast_to(x, (20000, 40, 3)), 0.4, rng)
    got = ((noisy @ theta - y) ** 2).mean()
    want = losses.mse_loss(x @ theta, y) + losses.l2_penalty(theta, 0.4**2)
    assert got == pytest.approx(want, rel=0.01)


@pytest.mark.parametrize("layout", hostile.LAYOUTS)
def test_layout_does_not_matter(rng, layout):
    x = hostile.normal(rng, (2, 3, 5), "float32")
    want = augment.gaussian_noise(x, 0.1, 3)
    assert_exact(augment.gaussian_noise(layout(x), 0.1, 3), want)
    out = hostile.strided(x * 0)
    assert augment.gaussian_noise(x, 0.1, 3, out=out) is out
    assert_exact(out.copy(), want)


X = np.zeros((2, 3))


@pytest.mark.parametrize(
    ("arguments", "error", "names"),
    [
        ((X.astype(int), 1), TypeError, "x has dtype int64"),
        ((X, -1), ValueError, "sigma is -1"),
        ((X, "x"), TypeError, "sigma is 'x'"),
        ((X, 1, "x"), TypeError, "rng is 'x'"),
        ((X, 1, 1.5), TypeError, r"rng is 1\.5"),
    ],
)
def test_bad_input_is_named(arguments, error, names):
    with pytest.raises(error, match=names):
        augment.gaussian_noise(*arguments)


def test_out_that_is_the_input_is_refused():
    with pytest.raises(ValueError, match="out overlaps"):
        augment.gaussian_noise(X, 1, out=X)
