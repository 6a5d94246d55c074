"""Answers worked by hand for optimisers, layers and recurrent cells.

CS230 is Stanford's midterm of 2020, I2DL the Technical University of Munich's "Introduction to Deep
Learning" of 2020/21; the others are formulas that both courses teach.
"""

import math

import numpy as np
import pytest

import voxkern
from voxkern import optim, recurrent


def stepped(name, w, grads, kept=0, **options):
    """One weight after a step along each of `grads`."""
    w, states = np.array([float(w)]), [[np.zeros(1)] for _ in range(kept)]
    for i, grad in enumerate(grads, 1):
        number = {"step": i} if kept == 2 else {}
        getattr(optim, name)([w], [np.array([float(grad)])], *states, **number, **options)
    return w[0]


def cell(name, x, hx, ih, hh, bias=None, **options):
    """One feature, its gates' weights as lists."""
    weights = [np.array(w, float).reshape(-1, 1) for w in (ih, hh)]
    biases = [] if bias is None else [np.array(bias, float), np.zeros(len(bias))]
    hx = tuple(np.array([float(s)]) for s in hx)
    hx = hx if len(hx) == 2 else hx[0]
    got = getattr(recurrent, f"{name}_cell")([float(x)], hx, *weights, *biases, **options)
    return [float(a[0]) for a in got] if isinstance(got, tuple) else float(got[0])


def clipped():
    grad = np.array([3.0, 4.0])
    optim.clip_grad_norm([grad], 1.0)
    return grad


def through_time(weight, steps):
    """The gradient of the last state to the first, of states that are positive."""
    one = np.array([[float(weight)]])
    x, h = np.zeros((steps, 1)), np.ones((1, 1))
    return recurrent.rnn_backward(None, h, x, h, [(one * 0, one)], "relu")[1]


def xor(x):
    hidden = np.maximum(voxkern.linear(x, np.ones((2, 2)), np.array([0.0, -1.0])), 0)
    return voxkern.linear(hidden, np.array([[1.0, -2.0]])).ravel()


ZEROS3, ZEROS4 = [0, 0, 0], [0, 0, 0, 0]
HALF_TANH = 0.5 * math.tanh(1)
ANSWERS = {
    "L2: (1 - 2 lr lambda) w - lr g": (
        lambda: stepped("sgd", 2, [3], lr=0.1, l2=0.5),
        1.5,
    ),
    "L2: without a gradient": (lambda: stepped("sgd", 2, [0, 0], lr=0.1, l2=0.5), 1.62),
    "weight decay of half the penalty": (
        lambda: stepped("sgd", 2, [3], lr=0.1, weight_decay=0.5),
        1.6,
    ),
    "gradient descent": (lambda: stepped("sgd", 1, [2, -1], lr=0.5), 0.5),
    "momentum as an average: 0.1 + 0.19": (
        lambda: stepped("momentum", 0, [1, 1], 1, lr=1, average=True),
        -0.29,
    ),
    "classical momentum: 1 + 1.9": (lambda: stepped("momentum", 0, [1, 1], 1, lr=1), -2.9),
    "momentum after the gradient has vanished": (
        lambda: stepped("momentum", 0, [1, 0, 0], 1, lr=1, momentum=0.5),
        -1.75,
    ),
    "Nesterov momentum": (
        lambda: stepped("momentum", 1, [1], 1, lr=0.1, nesterov=True),
        0.81,
    ),
    "RMSprop: a first step of lr / sqrt(1 - alpha)": (
        lambda: stepped("rmsprop", 1, [7], 1, lr=0.1, alpha=0.75, eps=0),
        0.8,
    ),
    "Adam: a first step of lr, large gradient": (
        lambda: stepped("adam", 1, [1000], 2, lr=0.1, eps=0),
        0.9,
    ),
    "Adam: a first step of lr, small gradient": (
        lambda: stepped("adam", 1, [-0.001], 2, lr=0.1, eps=0),
        1.1,
    ),
    "Adam: a constant gradient": (
        lambda: stepped("adam", 1, [5] * 4, 2, lr=0.1, eps=0),
        0.6,
    ),
    "CS230 2020, Adam: epsilon inside the root": (
        lambda: stepped("adam", 1, [4], 2, lr=0.5, eps=9, eps_inside_sqrt=True),
        0.6,
    ),
    "AdamW: the weight shrinks beside the gradient": (
        lambda: stepped("adamw", 1, [0], 2, lr=0.1, weight_decay=0.5),
        0.95,
    ),
    "clipping by the norm": (clipped, [3 / 5.000001, 4 / 5.000001]),
    "inverted dropout: 1 / keep_prob": (
        lambda: voxkern.dropout(np.ones(99), 0.2, rng=0).max(),
        1.25,
    ),
    "dropout that is not inverted: times keep_prob at test time": (
        lambda: voxkern.dropout(np.ones(3), 0.2, training=False, inverted=False),
        [0.8] * 3,
    ),
    "XOR of two neurons": (
        lambda: xor(np.array([[0, 0], [0, 1], [1, 0], [1, 1]], float)),
        [0, 1, 1, 0],
    ),
    "nearest upsampling": (
        lambda: voxkern.upsample([[[[1.0, 2.0], [3.0, 4.0]]]], scale_factor=2)[0, 0],
        [[1, 1, 2, 2], [1, 1, 2, 2], [3, 3, 4, 4], [3, 3, 4, 4]],
    ),
    "RNN: tanh of both sides": (lambda: cell("rnn", 2, [3], [1], [-1]), math.tanh(-1)),
    "RNN: gradients vanish, 0.5**4": (lambda: through_time(0.5, 4), [[0.0625]]),
    "RNN: gradients explode, 2**4": (lambda: through_time(2, 4), [[16]]),
    "I2DL, LSTM: zero weights halve the cell, h = o * c": (
        lambda: cell("lstm", 1, [0, 2], ZEROS4, ZEROS4, tanh_output=False),
        [0.5, 1],
    ),
    "LSTM: with tanh on the output": (
        lambda: cell("lstm", 1, [0, 2], ZEROS4, ZEROS4),
        [HALF_TANH, 1],
    ),
    "LSTM: an open forget gate keeps the cell": (
        lambda: cell("lstm", 1, [0, 2], ZEROS4, ZEROS4, [-99, 99, 0, 99], tanh_output=False),
        [2, 2],
    ),
    "LSTM: a closed one lets it go": (
        lambda: cell("lstm", 1, [0, 2], [0, 0, 1, 0], ZEROS4, [99, -99, 0, 99]),
        [math.tanh(math.tanh(1)), math.tanh(1)],
    ),
    "GRU: zero weights halve the state": (lambda: cell("gru", 1, [8], ZEROS3, ZEROS3), 4),
    "GRU: an update gate of 1 keeps it": (
        lambda: cell("gru", 1, [8], ZEROS3, ZEROS3, [0, 99, 0]),
        8,
    ),
}


@pytest.mark.parametrize(("call", "answer"), ANSWERS.values(), ids=ANSWERS)
def test_worked_answers(call, answer):
    np.testing.assert_allclose(call(), answer, rtol=1e-12, atol=1e-12)
