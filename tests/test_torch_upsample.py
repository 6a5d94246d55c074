"""upsample, linear, dropout and flatten beside torch: values, gradients, refusals."""

import numpy as np
import pytest

import voxkern

import hostile
from accuracy import assert_close, assert_exact

torch = pytest.importorskip("torch")
F = torch.nn.functional

SIZES = [((31,), (47,)), ((31,), (7,)), ((17, 13), (29, 5)), ((5, 7, 3), (7, 3, 11))]
LINEAR = {1: "linear", 2: "bilinear", 3: "trilinear"}


@pytest.mark.parametrize(("sizes", "to"), SIZES, ids=str)
@pytest.mark.parametrize("mode", ["nearest", "linear", "aligned"])
@pytest.mark.parametrize("by", ["size", "scale_factor"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_upsample(rng, sizes, to, mode, by, dtype):
    x = hostile.normal(rng, (2, 3, *sizes), dtype)
    how = (
        {"size": to}
        if by == "size"
        else {"scale_factor": tuple(m / n + 0.01 for m, n in zip(to, sizes))}
    )
    if mode != "nearest":
        how |= {"mode": LINEAR[len(sizes)], "align_corners": mode == "aligned"}
    leaf = torch.from_numpy(x.copy()).requires_grad_()
    theirs = F.interpolate(leaf, **how)
    assert_close(voxkern.upsample(x, **how), theirs.detach().numpy().astype("f8"), 64, 4)
    grad = hostile.normal(rng, theirs.shape, dtype)
    theirs.backward(torch.from_numpy(grad))
    got = voxkern.upsample_backward(grad, sizes, **how)
    assert_close(got, leaf.grad.numpy().astype("f8"), length=999, scale=9)


@pytest.mark.parametrize("lead", [(), (17,), (2, 3)])
def test_linear(rng, lead):
    given = [hostile.normal(rng, s) for s in ((*lead, 13), (7, 13), (7,))]
    leaves = [torch.from_numpy(a.copy()).requires_grad_() for a in given]
    theirs = F.linear(*leaves)
    assert_close(voxkern.linear(*given), theirs.detach().numpy(), length=64, scale=4)
    grad = hostile.normal(rng, (*lead, 7))
    theirs.backward(torch.from_numpy(grad))
    for ours, leaf in zip(voxkern.linear_backward(grad, *given[:2]), leaves):
        assert_close(ours, leaf.grad.numpy(), length=64, scale=4)


def test_dropout_scales_as_torch_does(rng):
    x = hostile.normal(rng, (2, 3, 17))
    got = voxkern.dropout(x, 0.3, rng=1)
    theirs = F.dropout(torch.from_numpy(x), 0.3).numpy()
    both = (got != 0) & (theirs != 0)
    assert both.any()
    assert_close(got[both], theirs[both])
    assert_exact(voxkern.dropout(x, 0.3, training=False), x)


@pytest.mark.parametrize("dims", [(), (0,), (1, 2), (-3, -2)])
def test_flatten(rng, dims):
    x = hostile.normal(rng, (2, 3, 5, 7))
    assert_exact(voxkern.flatten(x, *dims), torch.nn.Flatten(*dims)(torch.from_numpy(x)).numpy())


@pytest.mark.parametrize(
    "how",
    [
        dict(),
        dict(size=5, scale_factor=2),
        dict(size=(5, 5, 5)),
        dict(size=0),
        dict(scale_factor=(2, 2, 2)),
        dict(size=5, mode="trilinear"),
        dict(size=5, mode="none"),
        dict(size=5, align_corners=False),
    ],
    ids=str,
)
def test_where_torch_raises_so_do_we(how):
    x = np.zeros((2, 3, 7, 5))
    with pytest.raises((ValueError, RuntimeError, NotImplementedError)):
        F.interpolate(torch.from_numpy(x), **how)
    with pytest.raises((ValueError, TypeError)):
        voxkern.upsample(x, **how)
