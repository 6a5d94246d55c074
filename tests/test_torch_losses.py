"""losses beside torch: values and gradients."""

import numpy as np
import pytest

from voxkern import losses

import hostile
from accuracy import assert_close

torch = pytest.importorskip("torch")
F = torch.nn.functional
every_reduction = pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
every_dtype = pytest.mark.parametrize("dtype", ["float32", "float64"])


def compare(name, x, target, **options):
    """A loss and its gradient beside torch's."""
    leaf = torch.from_numpy(x.copy()).requires_grad_()
    tensors = {
        k: torch.from_numpy(v) if isinstance(v, np.ndarray) else v for k, v in options.items()
    }
    theirs = getattr(F, name)(leaf, torch.from_numpy(target), **tensors)
    grad = torch.linspace(-1, 1, theirs.numel(), dtype=leaf.dtype).reshape(theirs.shape)
    theirs.backward(grad)
    got = getattr(losses, name)(x, target, **options)
    assert_close(got, theirs.detach().numpy().astype("f8"), length=x.size, scale=16)
    got = getattr(losses, f"{name}_backward")(grad.numpy(), x, target, **options)
    assert_close(got, leaf.grad.numpy().astype("f8"), length=64, scale=4)


@every_reduction
@every_dtype
def test_binary(rng, reduction, dtype):
    x, target = rng.uniform(0.05, 0.95, (2, 5, 7)).astype(dtype)
    weight, positive = rng.uniform(0, 2, (2, 7)).astype(dtype)
    compare("binary_cross_entropy", x, target, weight=weight, reduction=reduction)
    logits = hostile.normal(rng, (5, 7), dtype)
    factors = dict(weight=weight, pos_weight=positive)
    compare("binary_cross_entropy_with_logits", logits, target, reduction=reduction, **factors)
    compare("multilabel_soft_margin_loss", logits, target, weight=weight, reduction=reduction)
    compare("mse_loss", logits, target, reduction=reduction)


@every_reduction
@every_dtype
@pytest.mark.parametrize("shape", [(7, 5), (5,), (2, 5, 3, 4)], ids=str)
@pytest.mark.parametrize("smoothing", [0.0, 0.3])
@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
def test_cross_entropy(rng, reduction, dtype, shape, smoothing, soft, weighted):
    x, axis = 2 * hostile.normal(rng, shape, dtype), min(1, len(shape) - 1)
    rows = shape[:axis] + shape[axis + 1 :]
    target = np.asarray(rng.integers(0, 5, rows))
    if soft:
        target = rng.uniform(0, 1, shape).astype(dtype)
    weight = rng.uniform(0.1, 2, 5).astype(dtype) if weighted else None
    options = dict(weight=weight, reduction=reduction, label_smoothing=smoothing)
    compare("cross_entropy", x, target, **options, **({} if soft else {"ignore_index": 3}))
    if not soft and not smoothing:
        compare("nll_loss", x, target, weight=weight, reduction=reduction, ignore_index=3)


def test_extremes():
    x = np.array([0, 1, 0, 1], "float32")
    target = np.array([0, 1, 1, 0], "float32")
    compare("binary_cross_entropy", x, target, reduction="none")
    logits = np.array([[1e4, -1e4, 0], [-1e4] * 3, [-np.inf, 0, 1]])
    theirs = F.cross_entropy(torch.from_numpy(logits), torch.tensor([1, 2, 1]), reduction="none")
    got = losses.cross_entropy(logits, [1, 2, 1], reduction="none")
    np.testing.assert_allclose(got, theirs.numpy())


def test_nothing_to_average():
    x, target = torch.ones((2, 3), requires_grad=True), torch.tensor([-100, -100])
    theirs = F.cross_entropy(x, target)
    theirs.backward()
    assert np.isnan(theirs.item())
    assert np.isnan(losses.cross_entropy(x.detach().numpy(), target.numpy()))
    got = losses.cross_entropy_backward(1.0, x.detach().numpy(), target.numpy())
    np.testing.assert_array_equal(got, x.grad.numpy())
