"""activations beside torch: values, gradients, extremes."""

import numpy as np
import pytest

from voxkern import activations

import hostile
from accuracy import assert_close

torch = pytest.importorskip("torch")
F = torch.nn.functional

CASES = [
    ("relu", (), False),
    ("leaky_relu", (0.3,), False),
    ("elu", (1.7,), False),
    ("sigmoid", (), True),
    ("tanh", (), True),
    ("softmax", (1,), True),
    ("log_softmax", (1,), True),
]


@pytest.mark.parametrize(("name", "rest", "of_result"), CASES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_values_and_gradients(rng, name, rest, of_result, dtype):
    x, grad = hostile.normal(rng, (2, 3, 7, 11), dtype)
    leaf = torch.from_numpy(x.copy()).requires_grad_()
    theirs = getattr(F, name)(leaf, *rest)
    theirs.backward(torch.from_numpy(grad))
    got = getattr(activations, name)(x, *rest)
    assert_close(got, theirs.detach().numpy().astype("f8"), length=9)
    given = got if of_result else x
    got = getattr(activations, f"{name}_backward")(grad, given, *rest)
    assert_close(got, leaf.grad.numpy().astype("f8"), length=64, scale=4)


def test_prelu(rng):
    x, grad = hostile.normal(rng, (2, 2, 3, 7))
    weight = hostile.normal(rng, 3)
    leaves = [torch.from_numpy(a.copy()).requires_grad_() for a in (x, weight)]
    theirs = F.prelu(*leaves)
    theirs.backward(torch.from_numpy(grad))
    assert_close(activations.prelu(x, weight), theirs.detach().numpy())
    for ours, leaf in zip(activations.prelu_backward(grad, x, weight), leaves):
        assert_close(ours, leaf.grad.numpy(), length=64)


@pytest.mark.parametrize(("name", "rest", "of_result"), CASES)
def test_extremes(name, rest, of_result):
    x = np.array([[-np.inf, -1e4, 0, 1e4, 3], [-np.inf] * 5, [1, np.nan, 0, 2, 3], [np.inf] * 5])
    with np.errstate(all="ignore"):
        theirs = getattr(F, name)(torch.from_numpy(x), *rest)
        np.testing.assert_allclose(getattr(activations, name)(x, *rest), theirs.numpy())


def test_heaviside(rng):
    x = np.array([-2, -0.0, 0, 3])  # of NaN torch makes 0, NumPy and we NaN
    theirs = torch.heaviside(torch.from_numpy(x), torch.tensor([0.3], dtype=torch.float64))
    np.testing.assert_array_equal(activations.heaviside(x, 0.3), theirs.numpy())
