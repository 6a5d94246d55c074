"""Recurrent cells and sequences of them, and their gradients, back through time.

Weights have the shapes of torch and its order of gates: `w_ih` is ``(gates * H, n_in)``, `w_hh` is
``(gates * H, H)``, `b_ih` and `b_hh` are ``(gates * H,)``; an LSTM's gates are i, f, g, o (input,
forget, cell, output), those of a GRU r, z, n (reset, update, new). Arrays are float16 (computed in
float32), float32 or float64, all of the dtype of `x`.

There is one product for all steps of a sequence from below, and one a step from the step before;
large ones are convolutions where the CPU has AVX-512, the others NumPy's, on the threads of its
BLAS. Gradients compute the forward pass again, and keep its gates and states.
"""

from typing import NamedTuple

import numpy as np

from voxkern import _check, _dispatch
from voxkern._product import Product, outer, product, transposed
from voxkern.dropout import dropout, dropout_backward


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
    dropout : float
        The probability of a zero in what a layer hands to the next, in training: see
        :func:`voxkern.dropout`.
    rng : Generator or int, optional
        Whence its numbers are drawn, as for :func:`voxkern.dropout`.
    return_masks : bool
        Also return what was kept, which the gradient needs.

    Returns
    -------
    output : ndarray
        The states of the last layer after every step: as `x`, with ``directions * H`` features.
    h_n : ndarray
        The states after the last step, of the shape of `hx`.
    masks : list of ndarray
        With `return_masks`: bool ``(T, directions * H, N)`` for each layer but the last, True where
        an element was kept; none without dropout.

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
    rest = weights, _nonlinearity(nonlinearity), bidirectional, batch_first
    return _forward(RNN, x, (hx,), *rest, dropout, rng, return_masks)


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
    dropout=0.0,
    masks=None,
):
    """Gradients of a sum of ``grad * output + grad_hx * h_n`` of :func:`rnn`, back through time.

    Parameters
    ----------
    grad, grad_hx : array_like or None
        Of the shapes and dtype of the two results; None is zeros.
    x, hx, weights, nonlinearity, bidirectional, batch_first, dropout
        The arguments of the forward call.
    masks : list of array_like, optional
        What it returned with `return_masks`, where there was dropout.

    Returns
    -------
    grad_x, grad_hx, grad_weights
        Of the shapes of `x`, `hx` and `weights`.

    Raises
    ------
    TypeError, ValueError
        As :func:`rnn_cell`.
    """
    rest = weights, _nonlinearity(nonlinearity), bidirectional, batch_first, dropout, masks
    grad_x, (grad_hx,), grads = _sequence_backward(RNN, grad, (grad_hx,), x, (hx,), *rest)
    return grad_x, grad_hx, grads


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
    """:func:`lstm_cell` along a sequence, in layers, as ``torch.nn.LSTM``.

    Parameters and errors as for :func:`rnn`, but that `hx` is ``(h_0, c_0)`` or None, and
    `tanh_output` as for :func:`lstm_cell`. Returns the output and ``(h_n, c_n)``.
    """
    rest = weights, _check.flag(tanh_output, "tanh_output"), bidirectional, batch_first
    return _forward(LSTM, x, _pair(hx), *rest, dropout, rng, return_masks)


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
    dropout=0.0,
    masks=None,
):
    """Gradients of :func:`lstm`, back through time; as :func:`rnn_backward`, states in pairs."""
    option = _check.flag(tanh_output, "tanh_output")
    rest = weights, option, bidirectional, batch_first, dropout, masks
    return _sequence_backward(LSTM, grad, _pair(grad_hx, "grad_hx"), x, _pair(hx), *rest)


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
    """:func:`gru_cell` along a sequence, in layers, as ``torch.nn.GRU``; see :func:`rnn`."""
    rest = weights, None, bidirectional, batch_first
    return _forward(GRU, x, (hx,), *rest, dropout, rng, return_masks)


def gru_backward(
    grad,
    grad_hx,
    x,
    hx,
    weights,
    *,
    bidirectional=False,
    batch_first=False,
    dropout=0.0,
    masks=None,
):
    """Gradients of :func:`gru`, back through time; as :func:`rnn_backward`."""
    rest = weights, None, bidirectional, batch_first, dropout, masks
    grad_x, (grad_hx,), grads = _sequence_backward(GRU, grad, (grad_hx,), x, (hx,), *rest)
    return grad_x, grad_hx, grads


# --- steps, and their gradients, from those of the states to those of the sums ------------------
# Arrays have features before the batch here, (H, N): each gate of a step lies in one piece. A step
# gets the sums from below in `gates`, leaves its gates there and writes its state to `h`; its
# gradient leaves that of those sums there, which both sums have in common, but in a GRU.


def _rnn_step(gates, before, state, h, nonlinearity):
    before += gates
    if nonlinearity == "tanh":
        np.tanh(before, out=h)
    else:
        np.maximum(before, 0, out=h)
    return (h,), h


def _rnn_back(grads, state, gates, h, nonlinearity):
    if nonlinearity == "tanh":
        np.multiply(h, h, out=gates)
        np.subtract(1, gates, out=gates)
        gates *= grads[0]
    else:
        gates[...] = np.where(h > 0, grads[0], 0)
    return (0,), gates


def _lstm_step(gates, before, state, h, tanh_output):
    gates += before
    i, f, g, o = _split(gates, 4)
    _sigmoid(gates[: 2 * len(h)])
    np.tanh(g, out=g)
    _sigmoid(o)
    c = f * state[1]
    c += i * g
    shown = np.tanh(c) if tanh_output else c
    np.multiply(o, shown, out=h)
    return (h, c), shown


def _lstm_back(grads, state, gates, shown, tanh_output):
    i, f, g, o = _split(gates, 4)
    grad_c = grads[0] * o
    if tanh_output:
        grad_c *= 1 - shown * shown
    grad_c += grads[1]
    carried = grad_c * f
    to_i, to_g = grad_c * g, grad_c * i
    for gate, grad in ((i, to_i), (f, grad_c * state[1]), (o, grads[0] * shown)):
        grad *= gate
        np.subtract(1, gate, out=gate)
        gate *= grad
    np.multiply(g, g, out=g)
    np.subtract(1, g, out=g)
    g *= to_g
    return (0, carried), gates


def _gru_step(gates, before, state, h, _):
    (r, z, n), (h_r, h_z, h_n) = _split(gates, 3), _split(before, 3)
    r += h_r
    z += h_z
    _sigmoid(gates[: 2 * len(h)])
    n += r * h_n
    np.tanh(n, out=n)
    np.subtract(state[0], n, out=h)
    h *= z
    h += n
    return (h,), h_n


def _gru_back(grads, state, gates, h_n, _):
    r, z, n = _split(gates, 3)
    grad_n = grads[0] * (1 - z) * (1 - n * n)
    grad_z = grads[0] * (state[0] - n) * z * (1 - z)
    carried, before = grads[0] * z, np.concatenate((grad_n * h_n * r * (1 - r), grad_z, grad_n * r))
    gates[: 2 * len(n)], n[...] = before[: 2 * len(n)], grad_n
    return (carried,), before


def _split(sums, count):
    """The sums of a step, (gates * H, N), as an array for each gate."""
    return sums.reshape(count, len(sums) // count, sums.shape[1])


def _sigmoid(x):
    """In place."""
    flat = x.reshape(-1)
    _dispatch.kernel("activations").elementwise("sigmoid", flat, 0.0, out=flat)


class _Kind(NamedTuple):
    gates: int
    step: object
    back: object


RNN = _Kind(1, _rnn_step, _rnn_back)
LSTM = _Kind(4, _lstm_step, _lstm_back)
GRU = _Kind(3, _gru_step, _gru_back)


# --- one layer in one direction -------------------------------------------------------------------


class _Layer:
    """A layer in one direction: x (T, n_in, N), the first states, each (N, H), and its weights.

    :meth:`forward` fills `output` (T, H, N) and `last`, the states after the last step. What
    :meth:`backward` needs is kept meanwhile, if `keep` says so.
    """

    def __init__(self, kind, x, state, weights, option, reverse=False, keep=False):
        self.kind, self.x, self.weights, self.option, self.keep = kind, x, weights, option, keep
        steps, (batch, features) = len(x), state[0].shape
        self.times = range(steps)[:: -1 if reverse else 1]
        # The states h before and after every step, side by side in memory.
        states = np.empty((steps + 1, features, batch), x.dtype)
        first = transposed(state[0], states[steps if reverse else 0])
        self.last = (first, *[transposed(s) for s in state[1:]])
        self.hidden, self.output = states[:-1], states[1:]
        if reverse:
            self.hidden, self.output = self.output, self.hidden
        self.kept = [None] * steps

    def forward(self):
        w_ih, w_hh, b_ih, b_hh = self.weights
        self.gates = product(w_ih, b_ih, self.x)
        recur = Product(w_hh, b_hh, len(self.x), self.x.shape[2])
        for t in self.times:
            before, state = recur(self.hidden[t]), self.last
            self.last, own = self.kind.step(
                self.gates[t], before, state, self.output[t], self.option
            )
            if self.keep:
                self.kept[t] = state, own
        return self

    def backward(self, grad, grads):
        """Gradients to x, to the first states and to the weights, once."""
        w_ih, w_hh, b_ih, b_hh = self.weights
        below = before = self.gates
        if self.kind is GRU:
            before = np.empty_like(below)
        recur = Product(transposed(w_hh), None, len(self.x), self.x.shape[2])
        for t in reversed(self.times):
            grads = (grads[0] + grad[t], *grads[1:])
            state, own = self.kept[t]
            grads, sums = self.kind.back(grads, state, below[t], own, self.option)
            if self.kind is GRU:
                before[t] = sums
            carried = recur(sums)
            carried += grads[0]
            grads = (carried, *grads[1:])
        to_b_ih = below.sum(2).sum(0)
        to_b_hh = to_b_ih.copy() if before is below else before.sum(2).sum(0)
        own = (
            outer(below, self.x, w_ih),
            outer(before, self.hidden, w_hh),
            None if b_ih is None else to_b_ih,
            None if b_hh is None else to_b_hh,
        )
        return product(transposed(w_ih), None, below), grads, own


# --- calls ----------------------------------------------------------------------------------------


def _cell(kind, x, hx, weights, option):
    x, hx, (weights,), dtype, shape = _cell_arguments(kind, x, hx, weights)
    with np.errstate(all="ignore"):
        last = _Layer(kind, x, hx, weights, option).forward().last
        return tuple(_shaped(s, shape, dtype) for s in last)


def _cell_backward(kind, grads, x, hx, weights, option):
    x, hx, (weights,), dtype, shape = _cell_arguments(kind, x, hx, weights)
    grads = [_state(g, f"grads[{i}]", shape, dtype) for i, g in enumerate(grads)]
    grads = [transposed(g.reshape(-1, shape[-1])) for g in grads]
    with np.errstate(all="ignore"):
        layer = _Layer(kind, x, hx, weights, option, keep=True).forward()
        grad_x, grads, own = layer.backward(np.zeros((1, 1, 1), x.dtype), grads)
        return (
            _shaped(grad_x[0], (*shape[:-1], len(grad_x[0])), dtype),
            tuple(_shaped(g, shape, dtype) for g in grads),
            _typed(own, dtype),
        )


def _shaped(columns, shape, dtype):
    """(n, N) as rows of a shape and dtype."""
    return transposed(columns).astype(dtype, copy=False).reshape(shape)


def _forward(kind, x, hx, weights, option, bidirectional, batch_first, p, rng, return_masks):
    """The results of a sequence; one kind of states comes alone."""
    p, rng, masks = _check.share(p, "dropout"), _check.generator(rng), []
    return_masks = _check.flag(return_masks, "return_masks")

    def between(x, layer):
        if p:
            x, mask = dropout(x, p, rng=rng, return_mask=True)
            masks.append(mask)
        return x

    rest = weights, option, bidirectional, batch_first, between
    output, states = _sequence(kind, x, hx, *rest)
    results = output, states if len(states) > 1 else states[0]
    return (*results, masks) if return_masks else results


def _sequence(kind, x, hx, weights, option, bidirectional, batch_first, between, kept=None):
    """The output and the last states; `between` changes the outputs of all layers but the last,
    `kept` gets the layers.
    """
    given = x = _check.array(x, "x")
    x, hx, weights, directions = _arguments(kind, x, hx, weights, bidirectional, batch_first)
    x, last, keep = _features_first(x), [], kept is not None
    with np.errstate(all="ignore"):
        for i in range(0, len(weights), directions):
            layers = []
            for j in range(i, i + directions):
                first = [s[j] for s in hx]
                layers.append(_Layer(kind, x, first, weights[j], option, j > i, keep).forward())
            x = layers[0].output
            if directions == 2:
                x = np.concatenate([layer.output for layer in layers], axis=1)
            if i + directions < len(weights):
                x = between(x, i // directions)
            last += [layer.last for layer in layers]
            if keep:
                kept += layers
        states = tuple(_stacked(s, given) for s in zip(*last))
        return _as_given(x, given, batch_first), states


def _sequence_backward(
    kind, grad, grads, x, hx, weights, option, bidirectional, batch_first, p, masks
):
    x, kept, between = _check.array(x, "x"), [], _masked(p, masks)
    rest = weights, option, bidirectional, batch_first, between
    output, states = _sequence(kind, x, hx, *rest, kept)
    grad = _state(grad, "grad", output.shape, x.dtype)
    grads = [
        _state(g, f"grad_hx{[i] if len(states) > 1 else ''}", states[0].shape, x.dtype)
        for i, g in enumerate(grads)
    ]
    if x.ndim == 2:
        grad, grads = grad[:, None], [g[:, None] for g in grads]
    grad = _features_first(grad.swapaxes(0, 1) if batch_first and x.ndim == 3 else grad)
    directions = 1 + bidirectional
    of_states, of_weights = [None] * len(kept), [None] * len(kept)
    with np.errstate(all="ignore"):
        for i in range(len(kept) - directions, -1, -directions):
            parts, below = np.split(grad, directions, axis=1), []
            for j in range(i, i + directions):
                last = [transposed(g[j]) for g in grads]
                part, of_states[j], of_weights[j] = kept[j].backward(parts[j - i], last)
                below.append(part)
            grad = sum(below[1:], start=below[0])
            if i:
                grad = between(grad, i // directions - 1)
        return (
            _as_given(grad, x, batch_first),
            tuple(_stacked(s, x) for s in zip(*of_states)),
            [_typed(own[: len(w)], x.dtype) for own, w in zip(of_weights, weights)],
        )


def _masked(p, masks):
    """What dropout with these masks does to the outputs of a layer, and to their gradient."""
    p = _check.share(p, "dropout")
    if masks is not None and not isinstance(masks, list | tuple):
        raise TypeError(f"masks is a {type(masks).__name__}; it must be a list of arrays, or None")

    def between(x, layer):
        if not p:
            return x
        if masks is None or layer >= len(masks):
            raise ValueError(f"masks has none for layer {layer}; dropout needs those of the call")
        mask = _check.array(masks[layer], f"masks[{layer}]", ("bool",))
        _check.shape(mask, f"masks[{layer}]", x.shape)
        return dropout_backward(x, mask, p)

    return between


def _features_first(x):
    """(T, N, n) as (T, n, N), in new memory."""
    result = np.empty((len(x), x.shape[2], x.shape[1]), x.dtype)
    for own, step in zip(result, x):
        transposed(step, own)
    return result


def _as_given(x, like, batch_first):
    """(T, n, N) with the axes and the dtype of `like`."""
    if like.ndim == 2:
        return x[:, :, 0].astype(like.dtype, order="C")
    steps, n, batch = x.shape
    result = np.empty((batch, steps, n) if batch_first else (steps, batch, n), like.dtype)
    for own, step in zip(result.swapaxes(0, 1) if batch_first else result, x):
        transposed(step, own)
    return result


def _stacked(states, like):
    """States (H, N) of all layers as (layers, N, H), or (layers, H) without a batch."""
    stacked = np.stack([transposed(s) for s in states]).astype(like.dtype, copy=False)
    return stacked[:, 0] if like.ndim == 2 else stacked


def _typed(arrays, dtype):
    return tuple(None if a is None else a.astype(dtype, copy=False) for a in arrays)


# --- checks ---------------------------------------------------------------------------------------


def _cell_arguments(kind, x, hx, weights):
    """A sequence of one step: x (1, n_in, N), states (N, H), weights; a result's dtype, shape."""
    x = _check.array(x, "x")
    if x.ndim not in (1, 2):
        raise ValueError(f"x has shape {x.shape}; it must be (N, n_in) or (n_in,)")
    names = "w_ih", "w_hh", "b_ih", "b_hh"
    weights = _weights(kind, x, weights, names, x.shape[-1], None)
    shape = (*x.shape[:-1], weights[1].shape[1])
    hx = _states(hx, shape, x.dtype)
    hx = [s.reshape(-1, shape[-1]) for s in hx]
    (wide,) = _check.computed(x if x.ndim == 2 else x[None])
    return _features_first(wide[None]), hx, [_check.computed(*weights)], x.dtype, shape


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
    hx = _states(hx, shape, x.dtype)
    if x.ndim == 2:
        x, hx = x[:, None], [s[:, None] for s in hx]
    elif batch_first:
        x = x.swapaxes(0, 1)
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


def _states(values, shape, dtype):
    """The arrays of `hx`, which has one or is a pair."""
    names = ["hx"] if len(values) == 1 else [f"hx[{i}]" for i in range(len(values))]
    return [_state(value, name, shape, dtype) for value, name in zip(values, names)]


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
