"""batch_norm beside torch: the same values, the same running statistics, the same refusals."""

import numpy as np
import pytest

import voxkern

import hostile
from accuracy import assert_close

torch = pytest.importorskip("torch")

SHAPES = [(7, 3), (5, 3, 2), (2, 3, 31), (2, 3, 17, 13), (2, 3, 11, 7, 5), (2, 3, 2, 3, 5, 7)]


def tensors(*arrays):
    """Copies of the arrays as tensors; None stays None."""
    return [None if a is None else torch.from_numpy(a.copy()) for a in arrays]


def arguments(rng, shape, dtype):
    """x, running mean and variance, weight, bias."""
    x, (mean, weight, bias) = hostile.normal(rng, shape, dtype), hostile.normal(rng, (3, 3), dtype)
    return x, mean, rng.uniform(0.5, 2, 3).astype(dtype), weight, bias


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", hostile.FLOATS)
@pytest.mark.parametrize("training", [False, True])
def test_values_and_running_statistics(rng, shape, dtype, training):
    given = arguments(rng, shape, dtype)
    theirs = tensors(*given)
    options = dict(training=training, momentum=0.3, eps=1e-3)
    want = torch.nn.functional.batch_norm(*theirs, **options)
    got = voxkern.batch_norm(*given, **options)
    assert got.dtype == want.numpy().dtype
    assert_close(got, want.numpy().astype("f8"), length=64, scale=4)
    for ours, their in zip(given[1:3], theirs[1:3]):
        assert_close(ours, their.numpy().astype("f8"), length=64)


@pytest.mark.parametrize("weight", [True, False])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("running", [True, False])
def test_optional_arguments(rng, weight, bias, running):
    x, *rest = arguments(rng, (5, 3, 7), "float64")
    keep = [running, running, weight, bias]
    given = [x, *(a if k else None for a, k in zip(rest, keep))]
    theirs = tensors(*given)
    want = torch.nn.functional.batch_norm(*theirs, training=True)
    assert_close(voxkern.batch_norm(*given, training=True), want.numpy(), length=64, scale=4)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("training", [True, False])
def test_gradients(rng, shape, training):
    x, mean, var, weight, bias = arguments(rng, shape, "float64")
    grad = hostile.normal(rng, shape)
    leaves = [t.requires_grad_() for t in tensors(x, weight, bias)]
    y = torch.nn.functional.batch_norm(
        leaves[0], *tensors(mean, var), *leaves[1:], training=training
    )
    y.backward(torch.from_numpy(grad))
    stats = voxkern.batch_norm_stats(x) if training else (mean, 1 / np.sqrt(var + 1e-5))
    got = voxkern.batch_norm_backward(grad, x, weight, *stats, training=training)
    for ours, leaf in zip(got, leaves):
        assert_close(ours, leaf.grad.numpy(), length=1000, scale=30)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("training", [False, True])
def test_nan_and_inf(rng, value, training):
    given = arguments(rng, (5, 3, 7), "float64")
    given[0][2, 1, 3] = value
    theirs = tensors(*given)
    want = torch.nn.functional.batch_norm(*theirs, training=training)
    assert_close(voxkern.batch_norm(*given, training=training), want.numpy(), length=64, scale=4)
    for ours, their in zip(given[1:3], theirs[1:3]):
        assert_close(ours, their.numpy(), length=64)


@pytest.mark.parametrize("shape", [(0, 3), (0, 3, 5), (2, 0, 5)], ids=str)
@pytest.mark.parametrize("training", [False, True])
def test_empty(shape, training):
    x, mean, var = np.zeros(shape), np.zeros(shape[1]), np.ones(shape[1])
    theirs = tensors(x, mean, var)
    want = torch.nn.functional.batch_norm(*theirs, training=training)
    assert voxkern.batch_norm(x, mean, var, training=training).shape == tuple(want.shape)
    np.testing.assert_array_equal(mean, theirs[1].numpy())
    np.testing.assert_array_equal(var, theirs[2].numpy())


def test_tensors_are_read_and_updated():
    x = torch.arange(24.0).reshape(2, 3, 4)
    ours, theirs = ((torch.zeros(3), torch.ones(3)) for _ in range(2))
    want = torch.nn.functional.batch_norm(x, *theirs, training=True)
    assert_close(voxkern.batch_norm(x, *ours, training=True), want.numpy(), scale=4)
    assert torch.allclose(ours[0], theirs[0])
    assert torch.allclose(ours[1], theirs[1])


X = np.zeros((4, 3, 5))
GOOD = dict(x=X, running_mean=np.zeros(3), running_var=np.ones(3), weight=None, bias=None)


@pytest.mark.parametrize(
    "bad",
    [
        dict(x=np.zeros(3)),
        dict(x=np.zeros(())),
        dict(x=X.astype("i4")),
        dict(x=X.astype("f4")),
        dict(x=X.astype("f2")),
        dict(running_mean=np.zeros(4)),
        dict(running_mean=np.zeros((3, 1))),
        dict(running_var=np.ones(2)),
        dict(running_var=np.ones(3, "f4")),
        dict(weight=np.ones(4)),
        dict(bias=np.ones(4)),
        dict(running_mean=None),
        dict(running_var=None),
        dict(running_mean=None, running_var=None),
        dict(running_mean=None, training=True),
        dict(running_var=None, training=True),
        dict(x=np.zeros((1, 3)), training=True),
        dict(x=np.zeros((1, 3, 1, 1)), training=True),
        dict(training=1),
        dict(momentum=None),
        dict(momentum="0.1"),
        dict(eps=-1.0),
        dict(eps=None),
        dict(x=X.astype("f2"), weight=np.ones(3, "f2"), running_mean=np.zeros(3, "f4")),
    ],
    ids=str,
)
def test_where_torch_raises_so_do_we(bad):
    given = {**GOOD, **bad}
    theirs = {
        {"x": "input"}.get(k, k): torch.from_numpy(v.copy()) if isinstance(v, np.ndarray) else v
        for k, v in given.items()
    }
    with pytest.raises((RuntimeError, ValueError, TypeError, NotImplementedError)):
        torch.nn.functional.batch_norm(**theirs)
    with pytest.raises((ValueError, TypeError)):
        voxkern.batch_norm(**given)
