"""The oracles of recurrent: cells by the formulas, sequences as loops of cells."""

import numpy as np

from voxkern.reference.dropout import dropout


def rnn_cell(x, hx, w_ih, w_hh, b_ih=0, b_hh=0, nonlinearity="tanh"):
    """Oracle of :func:`voxkern.recurrent.rnn_cell`."""
    a = x @ w_ih.T + b_ih + hx @ w_hh.T + b_hh
    return np.tanh(a) if nonlinearity == "tanh" else np.maximum(a, 0)


def lstm_cell(x, hx, w_ih, w_hh, b_ih=0, b_hh=0, *, tanh_output=True):
    """Oracle of :func:`voxkern.recurrent.lstm_cell`."""
    h, c = hx
    i, f, g, o = np.split(x @ w_ih.T + b_ih + h @ w_hh.T + b_hh, 4, axis=-1)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * (np.tanh(c) if tanh_output else c), c


def gru_cell(x, hx, w_ih, w_hh, b_ih=0, b_hh=0):
    """Oracle of :func:`voxkern.recurrent.gru_cell`."""
    r, z, n = np.split(x @ w_ih.T + b_ih, 3, axis=-1)
    r_h, z_h, n_h = np.split(hx @ w_hh.T + b_hh, 3, axis=-1)
    r, z = sigmoid(r + r_h), sigmoid(z + z_h)
    return (1 - z) * np.tanh(n + r * n_h) + z * hx


def rnn(
    x,
    hx,
    weights,
    nonlinearity="tanh",
    *,
    bidirectional=False,
    batch_first=False,
    dropout=0.0,
    rng=None,
    return_masks=False,
):
    """Oracle of :func:`voxkern.recurrent.rnn`."""
    cell = lambda x, h, *w: (rnn_cell(x, h[0], *w, nonlinearity=nonlinearity),)  # noqa: E731
    rest = bidirectional, batch_first, dropout, rng
    output, (h,), masks = sequence(cell, x, (hx,), weights, *rest)
    return (output, h, masks) if return_masks else (output, h)


def lstm(
    x,
    hx,
    weights,
    *,
    tanh_output=True,
    bidirectional=False,
    batch_first=False,
    dropout=0.0,
    rng=None,
    return_masks=False,
):
    """Oracle of :func:`voxkern.recurrent.lstm`."""
    cell = lambda x, h, *w: lstm_cell(x, h, *w, tanh_output=tanh_output)  # noqa: E731
    rest = bidirectional, batch_first, dropout, rng
    output, states, masks = sequence(cell, x, hx, weights, *rest)
    return (output, states, masks) if return_masks else (output, states)


def gru(
    x,
    hx,
    weights,
    *,
    bidirectional=False,
    batch_first=False,
    dropout=0.0,
    rng=None,
    return_masks=False,
):
    """Oracle of :func:`voxkern.recurrent.gru`."""
    cell = lambda x, h, *w: (gru_cell(x, h[0], *w),)  # noqa: E731
    rest = bidirectional, batch_first, dropout, rng
    output, (h,), masks = sequence(cell, x, (hx,), weights, *rest)
    return (output, h, masks) if return_masks else (output, h)


def sequence(cell, x, hx, weights, bidirectional, batch_first, p, rng):
    """A cell along time, layer upon layer; every state beside the others of its layer."""
    x = np.swapaxes(x, 0, 1) if batch_first else x
    directions, rng, masks = 1 + bidirectional, np.random.default_rng(rng), []
    last = []
    for layer in range(len(weights) // directions):
        if layer and p:
            dropped, mask = dropout(np.swapaxes(x, 1, 2), p, rng=rng, return_mask=True)
            x = np.swapaxes(dropped, 1, 2)
            masks.append(mask)
        outputs = []
        for i in range(layer * directions, (layer + 1) * directions):
            state, steps = tuple(s[i] for s in hx), []
            backwards = i % directions
            for inputs in x[::-1] if backwards else x:
                state = cell(inputs, state, *weights[i])
                steps.append(state[0])
            outputs.append(np.stack(steps[::-1] if backwards else steps))
            last.append(state)
        x = np.concatenate(outputs, axis=-1)
    x = np.swapaxes(x, 0, 1) if batch_first else x
    return x, tuple(np.stack(states) for states in zip(*last)), masks


def sigmoid(x):
    return np.exp(-np.logaddexp(0, -x))
