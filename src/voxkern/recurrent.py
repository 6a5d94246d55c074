"""Recurrent cells and sequences of them, and their gradients, back through time.

Weights have the shapes of torch and its order of gates: `w_ih` is ``(gates * H, n_in)``, `w_hh` is
``(gates * H, H)``, `b_ih` and `b_hh` are ``(gates * H,)``; an LSTM's gates are i, f, g, o (input,
forget, cell, output), those of a GRU r, z, n (reset, update, new). Arrays are float16 (computed in
float32), float32 or float64, all of the dtype of `x`.

The products are NumPy's, on the threads of its BLAS: one for all steps of a sequence from below,
one a step from the step before. Gradients compute the forward pass again, and keep all of its
states.
"""

import math
from typing import NamedTuple

import numpy as np

from voxkern import _check


def rnn_cell(x, hx, w_ih, w_hh, b_ih=None, b_hh=None, nonlinearity="tanh"):
    """One step: ``tanh(x @ w_ih.T + b_ih + hx @ w_hh.T + b_hh)``.

    Parameters
    ----------
    x : array_like
        ``(N, n_in)`` or ``(n_in,)``.
    hx : array_like or None
        The state before, ``(N, H)`` or ``(H,)``; None is zeros.
    w_ih, w_hh, b_ih, b_hh : array_like
        One gate of weights; biases may be None.
    nonlinearity : str
        ``"tanh"`` or ``"relu"``.

    Returns
    -------
    ndarray
        The state after, of the shape of `hx` and the dtype of `x`.

    Raises
    ------
    TypeError
        A dtype or argument type that is not served.
    ValueError
        A shape or option that does not fit.

    Notes
    -----
    Source: ``torch.rnn_tanh_cell``, ``torch.rnn_relu_cell``.

    Examples
    --------
    >>> voxkern.recurrent.rnn_cell([2.0], [3.0], [[1.0]], [[-0.5]], nonlinearity="relu")
    array([0.5])
    """
    weights = w_ih, w_hh, b_ih, b_hh
    return _cell(RNN, x, (hx,), weights, _nonlinearity(nonlinearity))[0]


def rnn_cell_backward(grad, x, hx, w_ih, w_hh, b_ih=None, b_hh=None, nonlinearity="tanh"):
    """Gradients of a sum of ``grad * rnn_cell(...)``.

    Parameters
    ----------
    grad : array_like
        Of the shape and dtype of the result.
    x, hx, w_ih, w_hh, b_ih, b_hh, nonlinearity
        The arguments of the forward call.

    Returns
    -------
    grad_x, grad_hx, grad_weights
        Of the shapes of `x`, `hx` and, a tuple of four, the weights; None for a bias of None.

    Raises
    ------
    TypeError, ValueError
        As :func:`rnn_cell`.
    """
    weights = w_ih, w_hh, b_ih, b_hh
    option = _nonlinearity(nonlinearity)
    grad_x, (grad_hx,), grads = _cell_backward(RNN, (grad,), x, (hx,), weights, option)
    return grad_x, grad_hx, grads


def lstm_cell(x, hx, w_ih, w_hh, b_ih=None, b_hh=None, *, tanh_output=True):
    """One step of a long short-term memory.

    Parameters
    ----------
    x : array_like
        ``(N, n_in)`` or ``(n_in,)``.
    hx : tuple of two array_like, or None
        The states ``(h, c)`` before, each ``(N, H)`` or ``(H,)``; None is zeros.
    w_ih, w_hh, b_ih, b_hh : array_like
        Four gates of weights: i, f, g, o; biases may be None.
    tanh_output : bool
        ``h = o * tanh(c)``; without it ``h = o * c``, as in the TUM exam, which has no biases.

    Returns
    -------
    h, c : ndarray
        The states after, of the shape of those before and the dtype of `x`.

    Raises
    ------
    TypeError, ValueError
        As :func:`rnn_cell`.

    Notes
    -----
    With the sums ``x @ w_ih.T + b_ih + h @ w_hh.T + b_hh``, of which i, f and o are the sigmoid and
    g is the tanh: ``c = f * c + i * g``, ``h = o * tanh(c)``.

    Source: ``torch.lstm_cell``; Hochreiter & Schmidhuber, "Long short-term memory" (1997); TUM I2DL
    2020/21 on the LSTM.

    Examples
    --------
    >>> weight = np.zeros((4, 1))
    >>> h, c = voxkern.recurrent.lstm_cell([0.0], ([0.0], [8.0]), weight, weight, tanh_output=False)
    >>> print(h, c)
    [2.] [4.]
    """
    weights = w_ih, w_hh, b_ih, b_hh
    return _cell(LSTM, x, _pair(hx), weights, _check.flag(tanh_output, "tanh_output"))


def lstm_cell_backward(grads, x, hx, w_ih, w_hh, b_ih=None, b_hh=None, *, tanh_output=True):
    """Gradients of a sum of ``grads[0] * h + grads[1] * c`` of :func:`lstm_cell`.

    Parameters
    ----------
    grads : tuple of two array_like
        Of the shapes and dtype of h and c; either may be None, which is zeros.
    x, hx, w_ih, w_hh, b_ih, b_hh, tanh_output
        The arguments of the forward call.

    Returns
    -------
    grad_x, grad_hx, grad_weights
        Of the shapes of `x`, ``(h, c)`` and, a tuple of four, the weights; None for a bias of None.

    Raises
    ------
    TypeError, ValueError
        As :func:`rnn_cell`.
    """
    weights = w_ih, w_hh, b_ih, b_hh
    option = _check.flag(tanh_output, "tanh_output")
    return _cell_backward(LSTM, _pair(grads, "grads"), x, _pair(hx), weights, option)


def gru_cell(x, hx, w_ih, w_hh, b_ih=None, b_hh=None):
    """One step of a gated recurrent unit.

    Parameters
    ----------
    x : array_like
        ``(N, n_in)`` or ``(n_in,)``.
    hx : array_like or None
        The state before, ``(N, H)`` or ``(H,)``; None is zeros.
    w_ih, w_hh, b_ih, b_hh : array_like
        Three gates of weights: r, z, n; biases may be None.

    Returns
    -------
    ndarray
        The state after, of the shape of `hx` and the dtype of `x`.

    Raises
    ------
    TypeError, ValueError
        As :func:`rnn_cell`.

    Notes
    -----
    r and z are sigmoids of the sums of both sides; ``n = tanh(x_n + r * h_n)`` with the two sides'
    sums for n; the result is ``(1 - z) * n + z * hx``.

    Source: ``torch.gru_cell``; Cho et al., "Learning phrase representations using RNN
    encoder-decoder" (2014), with r behind the product as in torch.

    Examples
    --------
    >>> weight = np.zeros((3, 1))
    >>> voxkern.recurrent.gru_cell([0.0], [8.0], weight, weight)
    array([4.])
    """
    return _cell(GRU, x, (hx,), (w_ih, w_hh, b_ih, b_hh), None)[0]


def gru_cell_backward(grad, x, hx, w_ih, w_hh, b_ih=None, b_hh=None):
    """Gradients of a sum of ``grad * gru_cell(...)``; arguments as :func:`rnn_cell_backward`."""
    weights = w_ih, w_hh, b_ih, b_hh
    grad_x, (grad_hx,), grads = _cell_backward(GRU, (grad,), x, (hx,), weights, None)
    return grad_x, grad_hx, grads


def rnn(x, hx, weights, nonlinearity="tanh", *, bidirectional=False, batch_first=False):
    """:func:`rnn_cell` along a sequence, in layers, as ``torch.nn.RNN``.

    Parameters
    ----------
    x : array_like
        ``(T, N, n_in)``, with `batch_first` ``(N, T, n_in)``, or ``(T, n_in)``; T at least 1.
    hx : array_like or None
        The states before the first step, ``(layers * directions, N, H)`` or ``(layers * directions,
        H)``; None is zeros.
    weights : list of tuple
        For each layer, and in it each direction, ``(w_ih, w_hh)`` or ``(w_ih, w_hh, b_ih, b_hh)``,
        as in torch's ``all_weights``. Layers above the first have ``directions * H`` inputs.
    nonlinearity : str
        ``"tanh"`` or ``"relu"``.
    bidirectional : bool
        A second direction goes from the last step to the first; outputs lie side by side.
    batch_first : bool
        Whether the batch comes before time in `x` and the output.

    Returns
    -------
    output : ndarray
        The states of the last layer after every step: as `x`, with ``directions * H`` features.
    h_n : ndarray
        The states after the last step, of the shape of `hx`.

    Raises
    ------
    TypeError, ValueError
        As :func:`rnn_cell`.

    Examples
    --------
    >>> one = np.ones((1, 1))
    >>> output, h = voxkern.recurrent.rnn([[1.0], [2.0], [3.0]], None, [(one, one)], "relu")
    >>> output.ravel(), h
    (array([1., 3., 6.]), array([[6.]]))
    """
    option = _nonlinearity(nonlinearity)
    output, (h_n,) = _sequence(RNN, x, (hx,), weights, option, bidirectional, batch_first)
    return output, h_n


def rnn_backward(
    grad,
    grad_hx,
    x,
    hx,
    weights,
    nonlinearity="tanh",
    *,
    bidirectional=False,
    batch_first=False,
):
    """Gradients of a sum of ``grad * output + grad_hx * h_n`` of :func:`rnn`, back through time.

    Parameters
    ----------
    grad, grad_hx : array_like or None
        Of the shapes and dtype of the two results; None is zeros.
    x, hx, weights, nonlinearity, bidirectional, batch_first
        The arguments of the forward call.

    Returns
    -------
    grad_x, grad_hx, grad_weights
        Of the shapes of `x`, `hx` and `weights`.

    Raises
    ------
    TypeError, ValueError
        As :func:`rnn_cell`.
    """
    rest = weights, _nonlinearity(nonlinearity), bidirectional, batch_first
    grad_x, (grad_hx,), grads = _sequence_backward(RNN, grad, (grad_hx,), x, (hx,), *rest)
    return grad_x, grad_hx, grads


def lstm(x, hx, weights, *, tanh_output=True, bidirectional=False, batch_first=False):
    """:func:`lstm_cell` along a sequence, in layers, as ``torch.nn.LSTM``.

    Parameters and errors as for :func:`rnn`, but that `hx` is ``(h_0, c_0)`` or None, and
    `tanh_output` as for :func:`lstm_cell`. Returns the output and ``(h_n, c_n)``.
    """
    option = _check.flag(tanh_output, "tanh_output")
    return _sequence(LSTM, x, _pair(hx), weights, option, bidirectional, batch_first)


def lstm_backward(
    grad,
    grad_hx,
    x,
    hx,
    weights,
    *,
    tanh_output=True,
    bidirectional=False,
    batch_first=False,
):
    """Gradients of :func:`lstm`, back through time; as :func:`rnn_backward`, states in pairs."""
    rest = weights, _check.flag(tanh_output, "tanh_output"), bidirectional, batch_first
    return _sequence_backward(LSTM, grad, _pair(grad_hx, "grad_hx"), x, _pair(hx), *rest)


def gru(x, hx, weights, *, bidirectional=False, batch_first=False):
    """:func:`gru_cell` along a sequence, in layers, as ``torch.nn.GRU``; see :func:`rnn`."""
    output, (h_n,) = _sequence(GRU, x, (hx,), weights, None, bidirectional, batch_first)
    return output, h_n


def gru_backward(grad, grad_hx, x, hx, weights, *, bidirectional=False, batch_first=False):
    """Gradients of :func:`gru`, back through time; as :func:`rnn_backward`."""
    rest = weights, None, bidirectional, batch_first
    grad_x, (grad_hx,), grads = _sequence_backward(GRU, grad, (grad_hx,), x, (hx,), *rest)
    return grad_x, grad_hx, grads


# --- steps, and their gradients, from those of the states to those of the sums ------------------


def _rnn_step(below, before, state, nonlinearity):
    before += below
    h = np.tanh(before) if nonlinearity == "tanh" else np.maximum(before, 0)
    return (h,), (h,)


def _rnn_back(grads, state, kept, nonlinearity):
    (h,) = kept
    d = grads[0] * (1 - h * h) if nonlinearity == "tanh" else np.where(h > 0, grads[0], 0)
    return (0,), d, d


def _lstm_step(below, before, state, tanh_output):
    before += below
    i, f, g, o = np.split(before, 4, axis=-1)
    i, f, g, o = _sigmoid(i), _sigmoid(f), np.tanh(g), _sigmoid(o)
    c = f * state[1]
    c += i * g
    shown = np.tanh(c) if tanh_output else c
    return (o * shown, c), (i, f, g, o, shown)


def _lstm_back(grads, state, kept, tanh_output):
    i, f, g, o, shown = kept
    grad_c = grads[0] * o
    if tanh_output:
        grad_c *= 1 - shown * shown
    grad_c += grads[1]
    sums = (
        grad_c * g * i * (1 - i),
        grad_c * state[1] * f * (1 - f),
        grad_c * i * (1 - g * g),
        grads[0] * shown * o * (1 - o),
    )
    d = np.concatenate(sums, axis=-1)
    return (0, grad_c * f), d, d


def _gru_step(below, before, state, _):
    features = state[0].shape[-1]
    gates = _sigmoid(below[..., : 2 * features] + before[..., : 2 * features])
    r, z = np.split(gates, 2, axis=-1)
    h_n = before[..., 2 * features :]
    n = np.tanh(below[..., 2 * features :] + r * h_n)
    return ((1 - z) * n + z * state[0],), (r, z, n, h_n)


def _gru_back(grads, state, kept, _):
    r, z, n, h_n = kept
    grad_n = grads[0] * (1 - z) * (1 - n * n)
    grad_z = grads[0] * (state[0] - n) * z * (1 - z)
    grad_r = grad_n * h_n * r * (1 - r)
    below = np.concatenate((grad_r, grad_z, grad_n), axis=-1)
    return (grads[0] * z,), below, np.concatenate((grad_r, grad_z, grad_n * r), axis=-1)


def _sigmoid(x):
    """1 / (1 + exp(-x)): 0 where exp overflows."""
    y = np.exp(-x)
    y += 1
    return np.divide(1, y, out=y)


class _Kind(NamedTuple):
    gates: int
    step: object
    back: object


RNN = _Kind(1, _rnn_step, _rnn_back)
LSTM = _Kind(4, _lstm_step, _lstm_back)
GRU = _Kind(3, _gru_step, _gru_back)


# --- one layer in one direction -------------------------------------------------------------------


def _layer(kind, x, state, weights, option, times, kept=None):
    """Outputs of all steps and the last states; `kept`, a dict, gets what each step had."""
    w_ih, w_hh, b_ih, b_hh = weights
    below = _product(x, w_ih.T, b_ih)
    output = np.empty((*x.shape[:2], w_hh.shape[1]), x.dtype)
    for t in times:
        after, own = kind.step(below[t], _product(state[0], w_hh.T, b_hh), state, option)
        if kept is not None:
            kept[t] = state, own
        state = after
        output[t] = state[0]
    return output, state


def _layer_backward(kind, grad, grads, x, weights, option, times, kept):
    """Gradients to x, to the first states and to the weights."""
    w_ih, w_hh, b_ih, b_hh = weights
    below = np.empty((*x.shape[:2], len(w_ih)), x.dtype)
    before, hidden = np.empty_like(below), np.empty((*x.shape[:2], w_hh.shape[1]), x.dtype)
    for t in reversed(times):
        state, own = kept[t]
        grads = (grads[0] + grad[t], *grads[1:])
        grads, below[t], before[t] = kind.back(grads, state, own, option)
        grads = (grads[0] + before[t] @ w_hh, *grads[1:])
        hidden[t] = state[0]
    own = (
        _rows(below).T @ _rows(x),
        _rows(before).T @ _rows(hidden),
        None if b_ih is None else _rows(below).sum(0),
        None if b_hh is None else _rows(before).sum(0),
    )
    return _product(below, w_ih, None), grads, own


def _product(x, weight, bias):
    y = (_rows(x) @ weight).reshape(*x.shape[:-1], weight.shape[1])
    if bias is not None:
        y += bias
    return y


def _rows(x):
    return x.reshape(math.prod(x.shape[:-1]), x.shape[-1])


# --- calls ----------------------------------------------------------------------------------------


def _cell(kind, x, hx, weights, option):
    x, hx, (weights,), dtype, shape = _cell_arguments(kind, x, hx, weights)
    with np.errstate(all="ignore"):
        _, state = _layer(kind, x, [s[0] for s in hx], weights, option, range(1))
        return tuple(s.reshape(shape).astype(dtype, copy=False) for s in state)


def _cell_backward(kind, grads, x, hx, weights, option):
    given = x
    x, hx, (weights,), dtype, shape = _cell_arguments(kind, x, hx, weights)
    grads = [_state(g, f"grads[{i}]", shape, dtype) for i, g in enumerate(grads)]
    kept = {}
    with np.errstate(all="ignore"):
        state = [s[0] for s in hx]
        _layer(kind, x, state, weights, option, range(1), kept)
        grads = [g.reshape(state[0].shape) for g in grads]
        grad_x, grads, own = _layer_backward(
            kind, np.zeros((1, 1, 1), x.dtype), grads, x, weights, option, range(1), kept
        )
        return (
            grad_x.reshape(np.shape(given)).astype(dtype, copy=False),
            tuple(g.reshape(shape).astype(dtype, copy=False) for g in grads),
            _typed(own, dtype),
        )


def _sequence(kind, x, hx, weights, option, bidirectional, batch_first, kept=None):
    """The output and the last states; `kept` gets the input and the steps of every layer."""
    given = x = _check.array(x, "x")
    x, hx, weights, directions = _arguments(kind, x, hx, weights, bidirectional, batch_first)
    last = []
    with np.errstate(all="ignore"):
        for i in range(0, len(weights), directions):
            outputs = []
            for j in range(i, i + directions):
                steps = None if kept is None else {}
                output, state = _layer(
                    kind, x, [s[j] for s in hx], weights[j], option, _times(x, j - i), steps
                )
                outputs.append(output)
                last.append(state)
                if kept is not None:
                    kept.append((x, weights[j], steps))
            x = outputs[0] if directions == 1 else np.concatenate(outputs, axis=-1)
        states = [np.stack(s).astype(given.dtype, copy=False) for s in zip(*last)]
        if given.ndim == 2:
            return x[:, 0].astype(given.dtype, copy=False), tuple(s[:, 0] for s in states)
        x = np.ascontiguousarray(x.swapaxes(0, 1)) if batch_first else x
        return x.astype(given.dtype, copy=False), tuple(states)


def _sequence_backward(kind, grad, grads, x, hx, weights, option, bidirectional, batch_first):
    x, kept = _check.array(x, "x"), []
    output, states = _sequence(kind, x, hx, weights, option, bidirectional, batch_first, kept)
    grad = _state(grad, "grad", output.shape, x.dtype)
    grads = [
        _state(g, f"grad_hx{[i] if len(states) > 1 else ''}", states[0].shape, x.dtype)
        for i, g in enumerate(grads)
    ]
    if x.ndim == 2:
        grad, grads = grad[:, None], [g[:, None] for g in grads]
    elif batch_first:
        grad = grad.swapaxes(0, 1)
    directions = 1 + bidirectional
    of_states, of_weights = [None] * len(kept), [None] * len(kept)
    with np.errstate(all="ignore"):
        for i in range(len(kept) - directions, -1, -directions):
            parts, total = np.split(grad, directions, axis=-1), 0
            for j in range(i, i + directions):
                inputs, own, steps = kept[j]
                part, of_states[j], of_weights[j] = _layer_backward(
                    kind,
                    parts[j - i],
                    [g[j] for g in grads],
                    inputs,
                    own,
                    option,
                    _times(inputs, j - i),
                    steps,
                )
                total = total + part
            grad = total
        grad = grad.swapaxes(0, 1) if batch_first and x.ndim == 3 else grad
        return (
            np.ascontiguousarray(grad.reshape(x.shape).astype(x.dtype, copy=False)),
            tuple(
                np.stack(s).reshape(states[0].shape).astype(x.dtype, copy=False)
                for s in zip(*of_states)
            ),
            [_typed(own[: len(w)], x.dtype) for own, w in zip(of_weights, weights)],
        )


def _times(x, direction):
    return range(len(x))[:: -1 if direction else 1]


def _typed(arrays, dtype):
    return tuple(None if a is None else a.astype(dtype, copy=False) for a in arrays)


# --- checks ---------------------------------------------------------------------------------------


def _cell_arguments(kind, x, hx, weights):
    """As a sequence of one step: x, states, weights, and the dtype and shape of a result."""
    x = _check.array(x, "x")
    if x.ndim not in (1, 2):
        raise ValueError(f"x has shape {x.shape}; it must be (N, n_in) or (n_in,)")
    names = "w_ih", "w_hh", "b_ih", "b_hh"
    weights = _weights(kind, x, weights, names, x.shape[-1], None)
    shape = (*x.shape[:-1], weights[1].shape[1])
    names = ["hx"] if len(hx) == 1 else [f"hx[{i}]" for i in range(len(hx))]
    hx = [_state(s, name, shape, x.dtype) for s, name in zip(hx, names)]
    hx = [s.reshape(1, -1, shape[-1]) if s.size else s.reshape(1, 0, shape[-1]) for s in hx]
    batch = x if x.ndim == 2 else x[None]
    return *_check.computed(batch[None]), hx, [_check.computed(*weights)], x.dtype, shape


def _arguments(kind, x, hx, weights, bidirectional, batch_first):
    """x as (T, N, n_in), the states, the weights of every layer and direction, the directions."""
    directions = 1 + _check.flag(bidirectional, "bidirectional")
    batch_first = _check.flag(batch_first, "batch_first")
    if x.ndim not in (2, 3) or x.shape[1 if batch_first and x.ndim == 3 else 0] == 0:
        raise ValueError(f"x has shape {x.shape}; it must be a sequence of 1 step or more")
    if not isinstance(weights, list | tuple) or not weights or len(weights) % directions:
        raise ValueError(f"weights must be a list of tuples, {directions} for each layer")
    n_in, features, found = x.shape[-1], None, []
    for i, own in enumerate(weights):
        if not isinstance(own, list | tuple) or len(own) not in (2, 4):
            raise ValueError(f"weights[{i}] must be (w_ih, w_hh) or (w_ih, w_hh, b_ih, b_hh)")
        names = [f"weights[{i}][{j}]" for j in range(4)]
        own = [*own, None, None][:4]
        wide = n_in if i < directions else directions * features
        found.append(_check.computed(*_weights(kind, x, own, names, wide, features)))
        features = found[0][1].shape[1]
    batch = () if x.ndim == 2 else (x.shape[0 if batch_first else 1],)
    shape = (len(weights), *batch, features)
    names = ["hx"] if len(hx) == 1 else [f"hx[{i}]" for i in range(len(hx))]
    hx = [_state(s, name, shape, x.dtype) for s, name in zip(hx, names)]
    if x.ndim == 2:
        x, hx = x[:, None], [s[:, None] for s in hx]
    elif batch_first:
        x = np.ascontiguousarray(x.swapaxes(0, 1))
    return *_check.computed(x), hx, found, directions


def _weights(kind, x, weights, names, n_in, features):
    """The four arrays of one layer in one direction, of `n_in` inputs and `features`."""
    arrays = [
        _check.array(w, name) if i < 2 or w is not None else None
        for i, (w, name) in enumerate(zip(weights, names))
    ]
    if features is None:
        features = arrays[1].shape[1] if arrays[1].ndim == 2 else 0
        if features == 0:
            raise ValueError(f"{names[1]} has shape {arrays[1].shape}; it must have 2 axes of 1 on")
    rows = kind.gates * features
    for array, name, shape in zip(
        arrays, names, ((rows, n_in), (rows, features), (rows,), (rows,))
    ):
        if array is not None:
            _check.shape(array, name, shape)
            _check.same_dtype(x, **{name: array})
    return arrays


def _state(value, name, shape, dtype):
    """An array of this shape, in the type of the computation; zeros for None."""
    if value is None:
        value = np.zeros(shape, dtype)
    value = _check.array(value, name)
    _check.shape(value, name, shape)
    if value.dtype != dtype:
        raise TypeError(f"{name} has dtype {value.dtype}; it must be {dtype}, that of x")
    return _check.computed(value)[0]


def _pair(hx, name="hx"):
    if hx is None:
        return None, None
    if not isinstance(hx, tuple | list) or len(hx) != 2:
        raise ValueError(f"{name} must be two arrays, for h and c, or None")
    return tuple(hx)


def _nonlinearity(value):
    if not isinstance(value, str) or value not in ("tanh", "relu"):
        raise ValueError(f"nonlinearity is {value!r}; it may be 'tanh' or 'relu'")
    return value
