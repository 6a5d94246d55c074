"""Recurrent cells and sequences beside torch: values and gradients with torch's own weights."""

import numpy as np
import pytest

from voxkern import recurrent

import hostile
from accuracy import assert_close

torch = pytest.importorskip("torch")

KINDS = [("rnn", "tanh"), ("rnn", "relu"), ("lstm", None), ("gru", None)]
N, N_IN, FEATURES, STEPS = 3, 5, 7, 11


def numpy(value):
    return value.detach().numpy()


def close(ours, theirs):
    assert_close(ours, numpy(theirs).astype("f8"), length=4000, scale=4)


@pytest.mark.parametrize(("kind", "nonlinearity"), KINDS)
@pytest.mark.parametrize("bias", [True, False])
def test_cells(rng, kind, nonlinearity, bias):
    option = {"nonlinearity": nonlinearity} if nonlinearity else {}
    torch.manual_seed(0)
    name = f"{kind.upper()}Cell"
    peer = getattr(torch.nn, name)(N_IN, FEATURES, bias, dtype=torch.float64, **option)
    x, h, c = (hostile.normal(rng, (N, n)) for n in (N_IN, FEATURES, FEATURES))
    leaves = [torch.from_numpy(a.copy()).requires_grad_() for a in (x, h, c)]
    lstm = kind == "lstm"
    theirs = peer(leaves[0], (leaves[1], leaves[2]) if lstm else leaves[1])
    weights = [numpy(w) for w in peer.parameters()]
    ours = getattr(recurrent, f"{kind}_cell")(x, (h, c) if lstm else h, *weights, **option)
    grads = hostile.normal(rng, (2, N, FEATURES))
    if lstm:
        for one, other in zip(ours, theirs):
            close(one, other)
        sum((t * torch.from_numpy(g)).sum() for t, g in zip(theirs, grads)).backward()
    else:
        close(ours, theirs)
        theirs.backward(torch.from_numpy(grads[0]))
    grad_x, grad_hx, grad_weights = getattr(recurrent, f"{kind}_cell_backward")(
        tuple(grads) if lstm else grads[0], x, (h, c) if lstm else h, *weights, **option
    )
    close(grad_x, leaves[0].grad)
    for one, leaf in zip(grad_hx if lstm else [grad_hx], leaves[1:]):
        close(one, leaf.grad)
    for one, weight in zip(grad_weights, peer.parameters()):
        close(one, weight.grad)


@pytest.mark.parametrize(("kind", "nonlinearity"), KINDS)
@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_sequences(rng, kind, nonlinearity, layers, bidirectional, batch_first, dtype):
    option = {"nonlinearity": nonlinearity} if nonlinearity else {}
    options = dict(bidirectional=bidirectional, batch_first=batch_first)
    torch.manual_seed(0)
    peer = getattr(torch.nn, kind.upper())(
        N_IN, FEATURES, layers, dtype=getattr(torch, dtype), **options, **option
    )
    x = hostile.normal(rng, (N, STEPS, N_IN) if batch_first else (STEPS, N, N_IN), dtype)
    leaf = torch.from_numpy(x.copy()).requires_grad_()
    output, last = peer(leaf)
    weights = [[numpy(w) for w in own] for own in peer.all_weights]
    got, states = getattr(recurrent, kind)(x, None, weights, **option, **options)
    close(got, output)
    lstm = kind == "lstm"
    for one, other in zip(states if lstm else [states], last if lstm else [last]):
        close(one, other)
    grad = hostile.normal(rng, output.shape, dtype)
    output.backward(torch.from_numpy(grad))
    grad_x, _, grad_weights = getattr(recurrent, f"{kind}_backward")(
        grad, None, x, None, weights, **option, **options
    )
    close(grad_x, leaf.grad)
    for ours, theirs in zip(grad_weights, peer.all_weights):
        for one, weight in zip(ours, theirs):
            close(one, weight.grad)


def test_where_torch_raises_so_do_we():
    peer = torch.nn.GRU(N_IN, FEATURES, dtype=torch.float64)
    weights = [[numpy(w) for w in own] for own in peer.all_weights]
    for shape in ((0, N, N_IN), (STEPS, N, N_IN + 1), (STEPS,)):
        x = np.zeros(shape)
        with pytest.raises((RuntimeError, ValueError, IndexError)):
            peer(torch.from_numpy(x))
        with pytest.raises(ValueError, match="has shape"):
            recurrent.gru(x, None, weights)
