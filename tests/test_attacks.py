"""attacks: the formula, what it does to a loss, layouts, bad input."""

import numpy as np
import pytest

from voxkern import attacks, losses, reference

import hostile
from accuracy import assert_close, assert_exact


@pytest.mark.parametrize("dtype", hostile.FLOATS)
def test_the_result_is_the_oracle(rng, dtype):
    x, grad = hostile.normal(rng, (2, 3, 5, 7), dtype)
    grad[0, 0] = [0, np.nan, np.inf, -np.inf, 1e-7, -1e-7, -0.0]
    want = reference.attacks.fgsm(x.astype("f8"), grad.astype("f8"), 0.03)
    assert_close(attacks.fgsm(x, grad, 0.03), want)
    assert attacks.fgsm(x[:0], grad[:0], 0.03).shape == (0, 5, 7)
    assert attacks.fgsm(x[0, 0, 0], grad[0, 0, 0], 1.0) == x[0, 0, 0]


def test_no_step_of_its_size_raises_a_linear_loss_more(rng):
    weight, x = rng.standard_normal(50), rng.standard_normal(50)
    grad = losses.binary_cross_entropy_with_logits_backward(1.0, [weight @ x], [1.0]) * weight
    worst = losses.binary_cross_entropy_with_logits([weight @ attacks.fgsm(x, grad, 0.1)], [1.0])
    for _ in range(100):
        other = x + rng.uniform(-0.1, 0.1, 50)
        assert losses.binary_cross_entropy_with_logits([weight @ other], [1.0]) < worst


@pytest.mark.parametrize("layout", hostile.LAYOUTS)
def test_layout_does_not_matter(rng, layout):
    x, grad = hostile.normal(rng, (2, 3, 5), "float32")
    want = attacks.fgsm(x, grad, 0.1)
    assert_exact(attacks.fgsm(layout(x), layout(grad), 0.1), want)
    out = hostile.strided(x * 0)
    assert attacks.fgsm(x, grad, 0.1, out=out) is out
    assert_exact(out.copy(), want)


X = np.zeros((2, 3))


@pytest.mark.parametrize(
    ("arguments", "error", "names"),
    [
        ((X, X[0], 0.1), ValueError, "grad has shape"),
        ((X, X.astype("f4"), 0.1), TypeError, "grad has dtype"),
        ((X.astype("u1"), X, 0.1), TypeError, "x has dtype uint8"),
        ((X, X, -0.1), ValueError, r"epsilon is -0\.1"),
        ((X, X, np.nan), ValueError, "epsilon is nan"),
        ((X, X, None), TypeError, "epsilon is None"),
    ],
)
def test_bad_input_is_named(arguments, error, names):
    with pytest.raises(error, match=names):
        attacks.fgsm(*arguments)


def test_out_that_is_an_input_is_refused():
    with pytest.raises(ValueError, match="out overlaps"):
        attacks.fgsm(X, X, 0.1, out=X)
