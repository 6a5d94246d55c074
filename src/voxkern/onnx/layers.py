"""Operators of ONNX on whole layers: normalisation, products, activations, losses, and so on.

Functions as in :mod:`voxkern.onnx.windows`.
"""

import math

import numpy as np

from voxkern import _check, activations, batchnorm, groupnorm, losses, optim, recurrent
from voxkern.dropout import dropout_backward

# --- normalisation --------------------------------------------------------------------------------


def batch_normalization(node, inputs, empty):
    x, scale, bias, mean, var = inputs
    dtype = _check.computed(x)[0].dtype
    scale, bias, mean, var = (a.astype(dtype, copy=False) for a in (scale, bias, mean, var))
    eps = float(node.get("epsilon", 1e-5))
    if not trains(node):
        return batchnorm.batch_norm(x, mean, var, scale, bias, eps=eps, out=empty(x.shape, x.dtype))
    count = x.size // max(x.shape[1], 1)
    own_mean, own_var = np.zeros_like(mean), np.zeros_like(var)
    if count > 1:
        y = batchnorm.batch_norm(x, own_mean, own_var, scale, bias, True, momentum=1.0, eps=eps)
        own_var *= (count - 1) / count  # ONNX moves the running variance to the biased one
    else:  # a single value is its mean
        y = np.broadcast_to(bias.reshape(1, -1, *(1,) * (x.ndim - 2)), x.shape).astype(x.dtype)
        own_mean = x.reshape(-1).astype(dtype) if count else mean
    kept = dtype.type(node.get("momentum", 0.9))
    running = [old * kept + new * (1 - kept) for old, new in ((mean, own_mean), (var, own_var))]
    return y, *(a.astype(inputs[3].dtype, copy=False) for a in running)


def trains(node):
    """Whether a BatchNormalization normalises with the statistics of its input."""
    if node.opset >= 14:
        return bool(node.get("training_mode", 0))
    if node.opset < 7:
        return not node.get("is_test", 0)
    return sum(map(bool, node.outputs)) > 1


def instance_normalization(node, inputs, empty):
    x, scale, bias = inputs
    if math.prod(x.shape[2:]) == 1:  # a single value is its mean
        return np.broadcast_to(bias.reshape(1, -1, *(1,) * (x.ndim - 2)), x.shape).copy()
    eps = float(node.get("epsilon", 1e-5))
    out = empty(x.shape, x.dtype)
    return groupnorm.instance_norm(x, None, None, scale, bias, eps=eps, out=out)


def group_normalization(node, inputs, empty):
    x, scale, bias = inputs
    groups = node.get("num_groups")
    if node.opset < 21:  # one factor for each group
        scale, bias = (np.repeat(a, x.shape[1] // groups) for a in (scale, bias))
    eps = float(node.get("epsilon", 1e-5))
    return groupnorm.group_norm(x, groups, scale, bias, eps, out=empty(x.shape, x.dtype))


def layer_normalization(node, inputs, empty):
    x, scale, bias = (*inputs, None)[:3]
    axis = node.get("axis", -1) % x.ndim
    shape, eps = x.shape[axis:], float(node.get("epsilon", 1e-5))
    scale, bias = (None if a is None else np.broadcast_to(a, shape) for a in (scale, bias))
    y = groupnorm.layer_norm(x, shape, scale, bias, eps, out=empty(x.shape, x.dtype))
    if sum(map(bool, node.outputs)) == 1:
        return y
    axes, wide = tuple(range(axis, x.ndim)), x.astype(np.float64)
    moments = wide.mean(axes, keepdims=True), 1 / np.sqrt(wide.var(axes, keepdims=True) + eps)
    dtype = _check.computed(x)[0].dtype
    return y, *(m.astype(dtype) for m in moments)


# --- products -------------------------------------------------------------------------------------


def gemm(node, inputs, empty):
    a, b, c = (*inputs, None)[:3]
    dtype = a.dtype
    a, b, c = _check.computed(a, b, c)
    y = (a.T if node.get("transA", 0) else a) @ (b.T if node.get("transB", 0) else b)
    alpha, beta = a.dtype.type(node.get("alpha", 1.0)), a.dtype.type(node.get("beta", 1.0))
    if alpha != 1:
        y *= alpha
    if c is not None:
        y += c if beta == 1 else beta * c
    return y.astype(dtype, copy=False)


def matmul(node, inputs, empty):
    return np.asarray(np.matmul(*_check.computed(*inputs))).astype(inputs[0].dtype, copy=False)


# --- activations ----------------------------------------------------------------------------------


def leaky_relu(node, inputs, empty):
    x, slope = inputs[0], float(node.get("alpha", 0.01))
    return activations.leaky_relu(x, slope, out=empty(x.shape, x.dtype))


def prelu(node, inputs, empty):
    x, slope = inputs
    if node.opset < 7 and slope.ndim == 1 and x.ndim > 1:  # one for each channel
        slope = slope.reshape(-1, *(1,) * (x.ndim - 2))
    return np.where(x < 0, x * slope, x)


def elu(node, inputs, empty):
    x, alpha = inputs[0], float(node.get("alpha", 1.0))
    return activations.elu(x, alpha, out=empty(x.shape, x.dtype))


def selu(node, inputs, empty):
    x = inputs[0]
    alpha, gamma = node.get("alpha", 1.6732632), node.get("gamma", 1.0507010)
    y = activations.elu(x, float(alpha), out=empty(x.shape, x.dtype))
    y *= x.dtype.type(gamma)
    return y


def sigmoid(node, inputs, empty):
    return activations.sigmoid(inputs[0], out=empty(inputs[0].shape, inputs[0].dtype))


def tanh(node, inputs, empty):
    return activations.tanh(inputs[0], out=empty(inputs[0].shape, inputs[0].dtype))


def hard_sigmoid(node, inputs, empty):
    x = inputs[0]
    alpha, beta = x.dtype.type(node.get("alpha", 0.2)), x.dtype.type(node.get("beta", 0.5))
    return np.clip(alpha * x + beta, 0, 1)


def softplus(node, inputs, empty):
    return np.logaddexp(inputs[0], inputs[0].dtype.type(0))


def softsign(node, inputs, empty):
    return inputs[0] / (1 + np.abs(inputs[0]))


def clip(node, inputs, empty):
    x, low, high = (*inputs, None, None)[:3]
    low = node.get("min") if low is None else low
    high = node.get("max") if high is None else high
    if low is None and high is None:
        return x.copy()
    low, high = (None if v is None else np.asarray(v, x.dtype) for v in (low, high))
    return np.clip(x, low, high)  # the lesser bound wins over the greater, as in ONNX


def softmax(node, inputs, empty):
    return _softmax(activations.softmax, node, inputs[0])


def log_softmax(node, inputs, empty):
    return _softmax(activations.log_softmax, node, inputs[0])


def _softmax(function, node, x):
    if node.opset >= 13:
        return function(x, node.get("axis", -1))
    axis = node.get("axis", 1)
    axis += x.ndim if axis < 0 else 0
    rows = x.reshape(math.prod(x.shape[:axis]), math.prod(x.shape[axis:]))  # older: all that follow
    return function(rows, 1).reshape(x.shape)


def dropout(node, inputs, empty):
    x, ratio, training = (*inputs, None, None)[:3]
    ratio = node.get("ratio", 0.5) if ratio is None else ratio
    kept = len(node.outputs) > 1
    if node.opset < 12 or training is None or not training or ratio == 0:
        return (x, np.ones(x.shape, bool)) if kept else x
    # The numbers of onnx.reference, so that a seed means the same.
    numbers = np.random.RandomState(node.get("seed"))
    mask = np.asarray(numbers.uniform(0, 1, x.shape) >= ratio)
    y = dropout_backward(x, mask, float(ratio))
    return (y, mask) if kept else y


# --- recurrence -----------------------------------------------------------------------------------


def rnn(node, inputs, empty):
    nonlinearity = node.get("activations", ("Tanh",))[0].lower()

    def run(x, states, weights, bidirectional):
        y, h = recurrent.rnn(x, *states, weights, nonlinearity, bidirectional=bidirectional)
        return y, (h,)

    return _sequence(node, inputs, [0], run)


def gru(node, inputs, empty):
    def run(x, states, weights, bidirectional):
        y, h = recurrent.gru(x, *states, weights, bidirectional=bidirectional)
        return y, (h,)

    return _sequence(node, inputs, [1, 0, 2], run)  # of z, r, h as r, z, n


def lstm(node, inputs, empty):
    def run(x, states, weights, bidirectional):
        return recurrent.lstm(x, states, weights, bidirectional=bidirectional)

    return _sequence(node, inputs, [0, 2, 3, 1], run)  # of i, o, f, c as i, f, g, o


def _sequence(node, inputs, gates, run):
    """All steps in the directions of the node: Y and the last states."""
    x, w, r, b, lengths, *states = (*inputs, *(None,) * 7)[:7]
    states = states[: 2 if node.op_type == "LSTM" else 1]
    directions, _, features = r.shape
    batch_first, direction = node.get("layout", 0), node.get("direction", "forward")
    if directions != {"forward": 1, "reverse": 1, "bidirectional": 2}.get(direction):
        raise ValueError(f"direction is {direction!r}; R has shape {r.shape}")
    backward = direction == "reverse"
    if batch_first:
        x, *states = (None if a is None else a.swapaxes(0, 1) for a in (x, *states))
    shape = directions, x.shape[1], features
    states = [np.zeros(shape, x.dtype) if s is None else s.copy() for s in states]
    biases = [None] * directions if b is None else b
    weights = [_reordered(*own, gates) for own in zip(w, r, biases)]
    y = np.zeros((*x.shape[:2], directions * features), x.dtype)
    if lengths is None:
        lengths = np.full(x.shape[1], len(x))
    for length in set(lengths.tolist()) - {0}:  # what is past its end stays 0
        of = np.flatnonzero(lengths == length)
        part = x[:length, of]
        part = part[::-1] if backward else part
        own, last = run(part, [s[:, of] for s in states], weights, directions == 2)
        y[:length, of] = own[::-1] if backward else own
        for state, its in zip(states, last):
            state[:, of] = its
    y = y.reshape(*y.shape[:2], directions, features)
    if batch_first:
        return y.swapaxes(0, 1), *(s.swapaxes(0, 1) for s in states)
    return y.swapaxes(1, 2), *states


def _reordered(w, r, b, gates):
    """Weights of one direction, their gates in our order."""
    features = r.shape[1]
    rows = np.concatenate([np.arange(g * features, (g + 1) * features) for g in gates])
    if b is None:
        return w[rows], r[rows]
    return w[rows], r[rows], *(half[rows] for half in np.split(b, 2))


# --- losses ---------------------------------------------------------------------------------------


def negative_log_likelihood_loss(node, inputs, empty):
    return _loss(losses.nll_loss, node, inputs)


def softmax_cross_entropy_loss(node, inputs, empty):
    loss = _loss(losses.cross_entropy, node, inputs)
    if len(node.outputs) == 1:
        return loss
    return loss, activations.log_softmax(inputs[0], 1)


def _loss(function, node, inputs):
    x, target, weight = (*inputs, None)[:3]
    ignored = node.get("ignore_index", -(2**62))  # none, as far as classes go
    return function(x, target, weight, ignored, node.get("reduction", "mean"))


# --- steps of optimisers --------------------------------------------------------------------------


def adam(node, inputs, empty):
    rate, step, params, grads, means, squares = _steps(inputs, 4)
    betas = float(node.get("alpha", 0.9)), float(node.get("beta", 0.999))
    # Step 0 has no correction of the averages, as one infinitely late.
    step = step or _check.LARGEST
    # ONNX adds epsilon to the root of the average square before its correction.
    eps = float(node.get("epsilon", 0.0)) / math.sqrt(1 - betas[1] ** step)
    decay = float(node.get("norm_coefficient", 0.0))
    optim.adam(params, grads, means, squares, step, rate, betas, eps, weight_decay=decay)
    after = float(node.get("norm_coefficient_post", 0.0))
    for param in params if after else ():
        param *= param.dtype.type(1 - after)
    return *params, *means, *squares


def momentum(node, inputs, empty):
    rate, step, params, grads, velocities = _steps(inputs, 3)
    alpha, beta = float(node.get("alpha")), float(node.get("beta"))
    decay, nesterov = float(node.get("norm_coefficient")), node.get("mode") == "nesterov"
    if not nesterov and node.get("mode") != "standard":
        raise ValueError(f"mode is {node.get('mode')!r}; it may be 'standard' or 'nesterov'")
    if step == 0 or beta == 1:
        optim.momentum(
            params, grads, velocities, rate, alpha, nesterov=nesterov, weight_decay=decay
        )
        return *params, *velocities
    for x, g, v in zip(params, grads, velocities):
        g = g + x.dtype.type(decay) * x
        v *= x.dtype.type(alpha)
        v += x.dtype.type(beta) * g
        x -= x.dtype.type(rate) * (g + x.dtype.type(alpha) * v if nesterov else v)
    return *params, *velocities


def _steps(inputs, kinds):
    """The rate, the number of the step, and lists of copies of each kind of array."""
    rate, step, *arrays = inputs
    n = len(arrays) // kinds
    lists = [[a.copy() for a in arrays[i * n : (i + 1) * n]] for i in range(kinds)]
    return float(rate), int(step), *lists
