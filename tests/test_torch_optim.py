"""Optimisers beside torch's, over several steps."""

import numpy as np
import pytest

from voxkern import optim

import hostile
from accuracy import assert_close

torch = pytest.importorskip("torch")

CASES = [
    ("sgd", 0, "SGD", dict(lr=0.1, weight_decay=0.02), {}),
    ("momentum", 1, "SGD", dict(lr=0.1, momentum=0.8, weight_decay=0.02), {}),
    ("momentum", 1, "SGD", dict(lr=0.1, momentum=0.8, nesterov=True), {}),
    ("rmsprop", 1, "RMSprop", dict(lr=0.1, alpha=0.8, weight_decay=0.02), {}),
    ("adam", 2, "Adam", dict(lr=0.1, betas=(0.8, 0.9), eps=1e-3, weight_decay=0.02), {}),
    ("adam", 2, "Adam", dict(lr=0.1, betas=(0.8, 0.9), eps=1e-3), dict(fused=True)),
    ("adamw", 2, "AdamW", dict(lr=0.1, weight_decay=0.3), {}),
    ("adamw", 2, "AdamW", {}, {}),
]


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_five_steps(rng, case, dtype):
    name, kept, theirs, options, only_theirs = case
    params = [hostile.normal(rng, s, dtype) for s in ((31,), (17, 13))]
    leaves = [torch.from_numpy(w.copy()).requires_grad_() for w in params]
    peer = getattr(torch.optim, theirs)(leaves, **options, **only_theirs)
    states = [[np.zeros_like(w) for w in params] for _ in range(kept)]
    for i in range(5):
        grads = [hostile.normal(rng, w.shape, dtype) for w in params]
        for leaf, grad in zip(leaves, grads):
            leaf.grad = torch.from_numpy(grad)
        peer.step()
        number = {"step": i + 1} if kept == 2 else {}
        getattr(optim, name)(params, grads, *states, **number, **options)
    for ours, leaf in zip(params, leaves):
        assert_close(ours, leaf.detach().numpy().astype("f8"), length=100, scale=4)


@pytest.mark.parametrize("norm_type", [1.0, 2.0, float("inf")])
def test_clipping(rng, norm_type):
    grads = [hostile.normal(rng, s) for s in ((31,), (17, 13))]
    leaves = [torch.zeros(g.shape, dtype=torch.float64) for g in grads]
    for leaf, grad in zip(leaves, grads):
        leaf.grad = torch.from_numpy(grad.copy())
    want = torch.nn.utils.clip_grad_norm_(leaves, 0.7, norm_type)
    assert optim.clip_grad_norm(grads, 0.7, norm_type) == pytest.approx(float(want))
    torch.nn.utils.clip_grad_value_(leaves, 0.01)
    optim.clip_grad_value(grads, 0.01)
    for ours, leaf in zip(grads, leaves):
        assert_close(ours, leaf.grad.numpy(), length=9)


@pytest.mark.parametrize(
    "options", [dict(lr=-1.0), dict(betas=(1.0, 0.9)), dict(eps=-1.0), dict(weight_decay=-1.0)]
)
def test_where_torch_raises_so_do_we(options):
    with pytest.raises(ValueError, match="nvalid"):
        torch.optim.Adam([torch.zeros(3)], **options)
    with pytest.raises(ValueError, match=next(iter(options))):
        optim.adam([], [], [], [], 1, **options)
