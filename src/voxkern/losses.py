"""Loss functions and their gradients, with the names and arguments of torch's.

Arrays are float16 (computed in float32), float32 or float64. `reduction` is ``"mean"``, ``"sum"``
or ``"none"``: a number of the dtype of `x`, summed in float64, or one loss for each element or row.
A ``*_backward`` takes the gradient of that result first (a number, or an array of its shape) and
returns that to `x`, in `out` if it is given: of the shape and dtype of `x`, overlapping no other
argument.
"""

import numpy as np

from voxkern import _check, _dispatch
from voxkern.activations import last, rows_along, sigmoid

REDUCTIONS = "mean", "sum", "none"
SUMMED = 1 << 13  # elements that are summed by one thread
INDICES = tuple(n for n in _check.NUMBERS if "int" in n)


def binary_cross_entropy(x, target, weight=None, reduction="mean"):
    """``-(t log(x) + (1 - t) log(1 - x))`` of probabilities.

    Parameters
    ----------
    x : array_like
        Probabilities, 0 to 1, of any shape.
    target : array_like
        0 to 1, of the shape of `x`; any numbers.
    weight : array_like, optional
        Factors of the losses, of a shape that is spread over that of `x`.
    reduction : str
        ``"mean"``, ``"sum"`` or ``"none"``.

    Returns
    -------
    number, or ndarray of the shape of `x`
        Of its dtype.

    Raises
    ------
    TypeError, ValueError
        A dtype, shape or `reduction` that does not fit; a probability outside 0 to 1, or NaN.

    Notes
    -----
    Logarithms are at least -100, as torch's: the loss is finite at 0 and 1. The loss of a sigmoid
    is more accurate from its argument, :func:`binary_cross_entropy_with_logits`.

    Source: logistic regression, CS230 2020 and I2DL 2020/21.

    Examples
    --------
    >>> float(voxkern.losses.binary_cross_entropy([0.5, 1.0], [1, 1]).round(6))
    0.346574
    """
    x, target, weight, reduction, dtype = _probable(x, target, weight, reduction)
    yes, no = np.empty_like(x), np.negative(x, out=np.empty_like(x))
    with np.errstate(divide="ignore"):
        np.log(x, out=yes)
        np.log1p(no, out=no)
    for logs, share in ((yes, target), (no, 1 - target)):  # in place: fresh pages cost as much
        _at_least(logs, -100)
        logs *= share
    yes += no
    return _reduced(_weighted(np.negative(yes, out=yes), weight), reduction, dtype)


def binary_cross_entropy_backward(grad, x, target, weight=None, reduction="mean", *, out=None):
    """``grad * (x - t) / (x (1 - x))``, the divisor at least 1e-12, as torch's."""
    given = grad, x, target, weight
    x, target, weight, reduction, dtype = _probable(x, target, weight, reduction)
    out = _check.output(out, x.shape, dtype, *given)
    slope, divisor = (np.subtract(a, b, out=np.empty_like(x)) for a, b in ((x, target), (1, x)))
    divisor *= x
    _at_least(divisor, 1e-12)
    slope /= divisor
    return _chained(slope, _weighted(_upstream(grad, reduction, x), weight), out)


def binary_cross_entropy_with_logits(x, target, weight=None, reduction="mean", pos_weight=None):
    """The binary cross-entropy of ``sigmoid(x)``, from `x`.

    Parameters
    ----------
    x : array_like
        Of any shape and any size: nothing overflows or is clipped.
    target, weight, reduction
        As for :func:`binary_cross_entropy`.
    pos_weight : array_like, optional
        Factors of the positive part, ``t log(sigmoid(x))``, spread over the shape of `x`.

    Returns
    -------
    number, or ndarray of the shape of `x`
        Of its dtype.

    Notes
    -----
    ``(1 - t) log(1 + exp(x)) + t log(1 + exp(-x))``. On ``(N, classes)`` this is the multi-label
    loss, independent logistic losses: see :func:`multilabel_soft_margin_loss` for the mean of each
    row.

    Examples
    --------
    >>> voxkern.losses.binary_cross_entropy_with_logits([1e4, 0.0], [1, 1], reduction="none")
    array([0.        , 0.69314718])
    """
    arguments = _logistic(x, target, weight, reduction, pos_weight)
    x, target, weight, positive, reduction, dtype = arguments
    no, yes = _softplus(x, 1.0), _softplus(x, -1.0)
    no *= 1 - target
    yes *= target
    no += _weighted(yes, positive)
    return _reduced(_weighted(no, weight), reduction, dtype)


def binary_cross_entropy_with_logits_backward(
    grad, x, target, weight=None, reduction="mean", pos_weight=None, *, out=None
):
    """``grad * (sigmoid(x) - t)``, the part of t times `pos_weight`."""
    given = grad, x, target, weight, pos_weight
    arguments = _logistic(x, target, weight, reduction, pos_weight)
    x, target, weight, positive, reduction, dtype = arguments
    out = _check.output(out, x.shape, dtype, *given)
    slope = (1 - target) * sigmoid(x) - _weighted(target * sigmoid(-x), positive)
    return _chained(slope, _weighted(_upstream(grad, reduction, x), weight), out)


def multilabel_soft_margin_loss(x, target, weight=None, reduction="mean"):
    """The mean over the classes of independent logistic losses: labels that do not exclude others.

    Parameters
    ----------
    x, target : array_like
        ``(N, classes)``, logits and labels of 0 to 1.
    weight : array_like, optional
        ``(classes,)``.
    reduction : str
        Over the N rows.

    Returns
    -------
    number, or ndarray of shape (N,)

    Examples
    --------
    >>> float(voxkern.losses.multilabel_soft_margin_loss([[0.0, 1e4]], [[1, 1]]).round(6))
    0.346574
    """
    x, target = _of_classes(x, target)
    losses = binary_cross_entropy_with_logits(x, target, weight, "none")
    with np.errstate(invalid="ignore", divide="ignore"):
        losses = losses.sum(1, dtype=np.float64) / x.shape[1]
    return _reduced(losses, _choice(reduction), x.dtype)


def multilabel_soft_margin_loss_backward(
    grad, x, target, weight=None, reduction="mean", *, out=None
):
    """``grad * weight * (sigmoid(x) - t) / classes``."""
    given = grad, x, target, weight
    x, target = _of_classes(x, target)
    out = _check.output(out, x.shape, x.dtype, *given)
    rows = _upstream(grad, _choice(reduction), np.empty(len(x)))
    each = np.broadcast_to(rows.reshape(-1, 1) / max(x.shape[1], 1), x.shape)
    return binary_cross_entropy_with_logits_backward(each, x, target, weight, "none", out=out)


def cross_entropy(x, target, weight=None, ignore_index=-100, reduction="mean", label_smoothing=0.0):
    """The cross-entropy of ``softmax(x)`` with labels, from the logits `x`.

    Parameters
    ----------
    x : array_like
        ``(N, C)``, ``(N, C, *spatial)``, or ``(C,)``: logits of C classes.
    target : array_like
        Classes: integers 0 to C - 1 (or `ignore_index`), of the shape of `x` without its class
        axis. Or one-hot or soft labels: 0 to 1, of the shape of `x`.
    weight : array_like, optional
        ``(C,)``, factors of the classes.
    ignore_index : int
        Rows of this class have loss 0.
    reduction : str
        ``"mean"`` divides by the sum of the weights of the rows' classes (the number of rows that
        are not ignored), or, with soft labels, by the number of rows. NaN where that is 0, as
        torch.
    label_smoothing : float
        0 to 1: this share of every label is spread evenly over the classes.

    Returns
    -------
    number, or ndarray of the shape of `x` without its class axis
        Of the dtype of `x`.

    Raises
    ------
    TypeError, ValueError
        A dtype, shape, number or `reduction` that does not fit; a class out of range, a share
        outside 0 to 1.

    Notes
    -----
    Stable: the largest logit is subtracted first. With classes and no smoothing rows are read once
    and nothing of the size of `x` is allocated where the class axis is the last; otherwise
    copies of `x` are.

    Source: softmax regression, CS230 2020.

    Examples
    --------
    >>> logits = [[0.0, 0.0], [1e4, -1e4]]
    >>> voxkern.losses.cross_entropy(logits, [1, 0], reduction="none")
    array([0.69314718, 0.        ])
    """
    q = _Entropy(x, target, weight, ignore_index, reduction, label_smoothing)
    return q.reduced(q.losses(q.scale(1.0), None))


def cross_entropy_backward(
    grad,
    x,
    target,
    weight=None,
    ignore_index=-100,
    reduction="mean",
    label_smoothing=0.0,
    *,
    out=None,
):
    """The gradient to the logits: ``grad * (softmax(x) - labels)``, over the count for a mean.

    Arguments as for :func:`cross_entropy`. `x` is read once; :func:`cross_entropy_and_gradient`
    gives the loss in the same pass.
    """
    given = grad, x, target, weight
    q = _Entropy(x, target, weight, ignore_index, reduction, label_smoothing)
    grad = _numbers(grad, "grad")
    _check.shape(grad, "grad", q.shape if q.reduction == "none" else ())
    out = _check.output(out, q.x_shape, q.dtype, *given)
    return q.gradient(q.scale(grad.reshape(-1)), out)[1]


def cross_entropy_and_gradient(
    x, target, weight=None, ignore_index=-100, reduction="mean", label_smoothing=0.0, *, out=None
):
    """The loss and its gradient to the logits, ``(loss, grad_x)``, in one pass over `x`.

    Arguments as for :func:`cross_entropy`, `reduction` ``"mean"`` or ``"sum"``; `out` takes
    `grad_x`. On 4096 x 1000 float32, one thread, 3 times as fast as torch's forward and
    backward.

    Examples
    --------
    >>> loss, grad = voxkern.losses.cross_entropy_and_gradient([[0.0, 0.0]], [1])
    >>> grad
    array([[ 0.5, -0.5]])
    """
    given = x, target, weight
    q = _Entropy(x, target, weight, ignore_index, reduction, label_smoothing)
    if q.reduction == "none":
        raise ValueError("reduction is 'none'; it may be 'mean' or 'sum' here")
    out = _check.output(out, q.x_shape, q.dtype, *given)
    losses, out = q.gradient(q.scale(1.0), out)
    return q.reduced(losses), out


def nll_loss(x, target, weight=None, ignore_index=-100, reduction="mean"):
    """``-weight[t] * x[t]``: the cross-entropy of log-probabilities, as of ``log_softmax``.

    Arguments as for :func:`cross_entropy`, with classes in `target`; `x` is not checked to be
    log-probabilities.

    Examples
    --------
    >>> float(voxkern.losses.nll_loss([[-0.5, -1.0], [-2.0, -0.25]], [0, 1]))
    0.375
    """
    q = _Entropy(x, target, weight, ignore_index, reduction, 0.0, soft=False)
    labels, scale = q.labels.reshape(-1), q.scale(1.0)
    rows = np.arange(len(labels))
    picked = q.rows[rows, np.maximum(labels, 0)] if len(rows) else np.empty(0)
    with np.errstate(invalid="ignore"):
        losses = np.where(labels < 0, 0, -picked.astype(np.float64) * scale)
    return q.reduced(losses)


def nll_loss_backward(
    grad, x, target, weight=None, ignore_index=-100, reduction="mean", *, out=None
):
    """``-grad * weight[t]`` at the class of each row, 0 elsewhere."""
    given = grad, x, target, weight
    q = _Entropy(x, target, weight, ignore_index, reduction, 0.0, soft=False)
    grad = _numbers(grad, "grad")
    _check.shape(grad, "grad", q.shape if q.reduction == "none" else ())
    out = _check.output(out, q.x_shape, q.dtype, *given)
    scale = q.scale(grad.reshape(-1))
    gradient = np.zeros(q.rows.shape, q.dtype)
    taken = np.flatnonzero(q.labels.reshape(-1) >= 0)
    gradient[taken, q.labels.reshape(-1)[taken]] = -scale[taken]
    to = last(out, q.axis)
    to[...] = gradient.reshape(to.shape)
    return out


def mse_loss(x, target, reduction="mean"):
    """``(x - t)**2`` of arrays of one shape and dtype.

    Examples
    --------
    >>> float(voxkern.losses.mse_loss([1.0, 2.0], [1.0, 4.0]))
    2.0
    """
    x, target, reduction, dtype = _same(x, target, reduction)
    with np.errstate(all="ignore"):
        if reduction == "none":
            return np.square(x - target).astype(dtype)
        return _mean_or_sum(total("errors", x, target), x.size, reduction, dtype)


def mse_loss_backward(grad, x, target, reduction="mean", *, out=None):
    """``2 * grad * (x - t)``, over the number of elements for a mean."""
    given = grad, x, target
    x, target, reduction, dtype = _same(x, target, reduction)
    out = _check.output(out, x.shape, dtype, *given)
    return _chained(2 * (x - target), _upstream(grad, reduction, x), out)


def l1_penalty(weights, strength):
    """``strength * sum(|w|)`` of an array, a number of its dtype.

    Examples
    --------
    >>> float(voxkern.losses.l1_penalty([1.0, -2.0], 0.5))
    1.5
    """
    return _penalty("magnitudes", weights, strength)


def l1_penalty_backward(weights, strength, *, out=None):
    """``strength * sign(w)``; 0 at 0."""
    given, strength = (weights,), _check.number(strength, "strength", 0)
    weights = _check.array(weights, "weights")
    out = _check.output(out, weights.shape, weights.dtype, *given)
    np.sign(weights, out=out)
    out *= out.dtype.type(strength)
    return out


def l2_penalty(weights, strength):
    """``strength * sum(w**2)`` of an array, a number of its dtype. There is no factor 1/2.

    Examples
    --------
    >>> float(voxkern.losses.l2_penalty([1.0, -2.0], 0.5))
    2.5
    """
    return _penalty("squares", weights, strength)


def l2_penalty_backward(weights, strength, *, out=None):
    """``2 * strength * w``: weight decay."""
    given, strength = (weights,), _check.number(strength, "strength", 0)
    weights = _check.array(weights, "weights")
    out = _check.output(out, weights.shape, weights.dtype, *given)
    return np.multiply(weights, weights.dtype.type(2 * strength), out=out)


class _Entropy:
    """The checked arguments of a loss over classes.

    `rows` are the logits, (rows, C); `labels` the class of each row, below 0 where it is ignored,
    and `of_label` the weights of those. Where they do not say all, `shares` are weighted labels of
    every class, else None. `count` is what a mean is divided by.
    """

    def __init__(self, x, target, weight, ignore_index, reduction, smoothing, soft=True):
        x = _check.array(x, "x")
        axis = min(1, x.ndim - 1)
        if x.ndim == 0 or not x.shape[axis]:
            raise ValueError(f"x has shape {x.shape}; it must be (C,) or (N, C, ...), C at least 1")
        self.dtype, self.x_shape, self.axis = x.dtype, x.shape, axis
        self.shape = x.shape[:axis] + x.shape[axis + 1 :]
        self.reduction, smoothing = _choice(reduction), _check.share(smoothing, "label_smoothing")
        (self.rows,) = _check.computed(rows_along(x, axis))
        weight = _class_weights(weight, x, axis)
        target = _check.array(target, "target", _check.NUMBERS if soft else INDICES)
        if target.ndim == x.ndim and soft:
            _check.shape(target, "target", x.shape)
            shares = rows_along(_within(target, "target"), axis).astype(np.float64)
            self.count = len(self.rows)
            self.shares = _smoothed(shares, smoothing, weight)
        else:
            labels = _classes(target, self.shape, x.shape[axis], ignore_index).reshape(-1)
            taken = labels >= 0
            self.labels, self.of_label, self.shares = labels, taken, None
            if weight is not None:
                self.of_label = taken * weight[labels]
            self.count = self.of_label.sum()
            if smoothing:
                shares = labels[:, None] == np.arange(x.shape[axis])
                self.shares = _smoothed(shares, smoothing, weight) * taken[:, None]

    def scale(self, grad):
        """The factor of each row: the gradient of its loss, and the weight of its class."""
        scale = np.asarray(grad, np.float64)
        if self.reduction == "mean":
            scale = scale / (self.count or 1)
        if self.shares is None:
            scale = scale * self.of_label
        return np.array(np.broadcast_to(scale, len(self.rows)))

    def losses(self, scale, out):
        """The loss of each row times its scale; its gradient in `out` if that is not None."""
        losses = np.zeros(len(self.rows))
        kernel = _dispatch.kernel
        if self.shares is None:
            if len(losses):
                with np.errstate(all="ignore"):
                    kernel("losses").cross_entropy_rows(
                        self.rows, self.labels, scale, losses=losses, out=out
                    )
            return losses
        logs = np.empty_like(self.rows)
        if len(losses):
            kernel("activations").softmax_rows(self.rows, True, out=logs)
        with np.errstate(all="ignore"):
            losses = -(self.shares * logs).sum(1) * scale
            if out is not None:
                slope = np.exp(logs) * self.shares.sum(1, keepdims=True) - self.shares
                out[...] = slope * scale[:, None]
        return losses

    def reduced(self, losses):
        """The scaled losses of the rows in the shape of the labels, or their sum."""
        if self.reduction == "none":
            return losses.reshape(self.shape).astype(self.dtype)
        return self.dtype.type(losses.sum() if self.count or self.reduction == "sum" else np.nan)

    def gradient(self, scale, out):
        """The losses, and `out` filled with their gradient."""
        to = last(out, self.axis)
        scratch = _check.writable(to, self.rows.dtype)
        losses = self.losses(scale, scratch.reshape(self.rows.shape))
        _check.deliver(scratch, to)
        return losses, out


def _choice(reduction):
    if reduction not in REDUCTIONS:
        raise ValueError(f"reduction is {reduction!r}; it may be 'mean', 'sum' or 'none'")
    return reduction


def _smoothed(shares, smoothing, weight):
    """Labels of every class, some of each spread evenly, times the weights of the classes."""
    return _weighted((1 - smoothing) * shares + smoothing / shares.shape[1], weight)


def _within(value, name):
    """`value` itself, if it holds nothing outside 0 to 1."""
    if value.size and not (value.min() >= 0 and value.max() <= 1):
        wrong = value[~((value >= 0) & (value <= 1))].flat[0]
        raise ValueError(f"{name} holds {wrong}; it must be 0 to 1")
    return value


def _at_least(values, bound):
    """Raise what is below `bound` to it; looking first takes an eighth of NumPy's maximum."""
    if values.min(initial=bound) < bound:
        np.maximum(values, bound, out=values)


def _numbers(value, name):
    """`value` as an array of float64."""
    return _check.array(value, name, _check.NUMBERS).astype(np.float64)


def _classes(target, shape, classes, ignore_index):
    """Classes as int64, -1 where they are ignored."""
    if target.dtype.name not in INDICES:
        raise TypeError(f"target has dtype {target.dtype}; classes must be integers")
    ignore_index = _check.integer(ignore_index, "ignore_index", -(2**62), 2**62)
    _check.shape(target, "target", shape)
    labels = target.astype(np.int64)
    ignored = labels == ignore_index
    wrong = (labels.view(np.uint64) >= classes) & ~ignored
    if wrong.any():
        raise ValueError(f"target holds {target[wrong].flat[0]}; classes are 0 to {classes - 1}")
    labels[ignored] = -1
    return labels


def _class_weights(weight, x, axis):
    """The factors of the classes as float64, or None."""
    if weight is None:
        return None
    weight = _check.array(weight, "weight")
    _check.shape(weight, "weight", (x.shape[axis],))
    return weight.astype(np.float64)


def _spread(weight, x, name):
    """A weight of the shape of `x`, in its dtype, or None."""
    if weight is None:
        return None
    weight = _check.array(weight, name)
    try:
        return np.broadcast_to(weight.astype(x.dtype), x.shape)
    except ValueError:
        message = f"{name} has shape {weight.shape}; it must be spread over {x.shape}"
        raise ValueError(message) from None


def _labelled(x, target):
    """`x` in the type it is computed in, labels of 0 to 1 in that type, the dtype of the result."""
    x, target = _check.array(x, "x"), _check.array(target, "target", _check.NUMBERS)
    _check.shape(target, "target", x.shape)
    dtype, (x,) = x.dtype, _check.computed(x)
    return x, _within(target, "target").astype(x.dtype, copy=False), dtype


def _probable(x, target, weight, reduction):
    """The checked arguments of the loss of probabilities, and the dtype of the result."""
    x, target, dtype = _labelled(x, target)
    return _within(x, "x"), target, _spread(weight, x, "weight"), _choice(reduction), dtype


def _logistic(x, target, weight, reduction, pos_weight):
    """The checked arguments of the loss of logits, and the dtype of the result."""
    x, target, dtype = _labelled(x, target)
    factors = _spread(weight, x, "weight"), _spread(pos_weight, x, "pos_weight")
    return x, target, *factors, _choice(reduction), dtype


def _of_classes(x, target):
    """Checked arrays of (N, classes)."""
    x = _check.array(x, "x")
    if x.ndim != 2:
        raise ValueError(f"x has shape {x.shape}; it must be (N, classes)")
    return x, target


def _same(x, target, reduction):
    """Arrays of one shape and dtype in the type they are computed in, and their own dtype."""
    x, target = _check.array(x, "x"), _check.array(target, "target")
    _check.shape(target, "target", x.shape)
    _check.same_dtype(x, target=target)
    return *_check.computed(x, target), _choice(reduction), x.dtype


def _softplus(x, sign):
    """``log(1 + exp(sign * x))``, in new memory."""
    out = np.empty_like(x)
    kernel = _dispatch.kernel("activations")
    kernel.elementwise("softplus", x.reshape(-1), sign, out=out.reshape(-1))
    return out


def _weighted(values, weight):
    return values if weight is None else values * weight


def _reduced(losses, reduction, dtype):
    """Losses as `dtype`, or their sum or mean; the mean of none is NaN, as torch's."""
    if reduction == "none":
        return losses.astype(dtype, copy=False)
    return _mean_or_sum(total("values", losses), losses.size, reduction, dtype)


def _mean_or_sum(value, count, reduction, dtype):
    if reduction == "mean":
        value = value / count if count else np.nan
    return dtype.type(value)


def _penalty(kind, weights, strength):
    weights, strength = _check.array(weights, "weights"), _check.number(strength, "strength", 0)
    with np.errstate(all="ignore"):
        return weights.dtype.type(strength * total(kind, *_check.computed(weights)))


def total(kind, x, y=None):
    """The sum of the ``"values"``, ``"magnitudes"`` or ``"squares"`` of x, or of ``(x - y)**2``
    (``"errors"``): float32 or float64, C-contiguous, summed in float64 and in one order.
    """
    sums = np.zeros(-(-x.size // SUMMED))
    flat = x.reshape(-1)
    y = flat if y is None else y.reshape(-1)
    _dispatch.kernel("losses").block_sums(kind, flat, y, SUMMED, out=sums)
    return sums.sum()


def _upstream(grad, reduction, x):
    """The gradient to the losses in the dtype of `x`: of its shape, or one for all."""
    grad = _numbers(grad, "grad")
    _check.shape(grad, "grad", x.shape if reduction == "none" else ())
    return (grad / max(x.size, 1) if reduction == "mean" else grad).astype(x.dtype)


def _chained(slope, grad, out):
    """out = slope * grad"""
    with np.errstate(all="ignore"):
        return np.multiply(slope, grad, out=out, casting="same_kind")
