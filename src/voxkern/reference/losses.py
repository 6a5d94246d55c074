"""The oracles of losses: the formulas, and gradients by the chain rule."""

import numpy as np

from voxkern.reference._shape import into
from voxkern.reference.activations import log_softmax, sigmoid


def binary_cross_entropy(x, target, weight=None, reduction="mean"):
    """Oracle of :func:`voxkern.losses.binary_cross_entropy`."""
    with np.errstate(divide="ignore"):
        yes, no = np.maximum(np.log(x), -100), np.maximum(np.log1p(-x), -100)
    return reduced(-(target * yes + (1 - target) * no), weight, reduction)


def binary_cross_entropy_backward(grad, x, target, weight=None, reduction="mean", *, out=None):
    """Oracle of :func:`voxkern.losses.binary_cross_entropy_backward`."""
    slope = (x - target) / np.maximum(x * (1 - x), 1e-12)
    return into(out, slope * upstream(grad, x, weight, reduction))


def binary_cross_entropy_with_logits(x, target, weight=None, reduction="mean", pos_weight=None):
    """Oracle of :func:`voxkern.losses.binary_cross_entropy_with_logits`."""
    p = 1 if pos_weight is None else pos_weight
    yes, no = np.logaddexp(0, -x), np.logaddexp(0, x)
    return reduced(p * target * yes + (1 - target) * no, weight, reduction)


def binary_cross_entropy_with_logits_backward(
    grad, x, target, weight=None, reduction="mean", pos_weight=None, *, out=None
):
    """Oracle of :func:`voxkern.losses.binary_cross_entropy_with_logits_backward`."""
    p = 1 if pos_weight is None else pos_weight
    slope = (1 - target) * sigmoid(x) - p * target * sigmoid(-x)
    return into(out, slope * upstream(grad, x, weight, reduction))


def multilabel_soft_margin_loss(x, target, weight=None, reduction="mean"):
    """Oracle of :func:`voxkern.losses.multilabel_soft_margin_loss`."""
    losses = binary_cross_entropy_with_logits(x, target, weight, "none").mean(1)
    return reduced(losses, None, reduction)


def multilabel_soft_margin_loss_backward(
    grad, x, target, weight=None, reduction="mean", *, out=None
):
    """Oracle of :func:`voxkern.losses.multilabel_soft_margin_loss_backward`."""
    rows = upstream(grad, x[:, 0], None, reduction) / x.shape[1]
    slope = binary_cross_entropy_with_logits_backward(1, x, target, weight, "sum")
    return into(out, slope * rows[:, None])


def cross_entropy(x, target, weight=None, ignore_index=-100, reduction="mean", label_smoothing=0.0):
    """Oracle of :func:`voxkern.losses.cross_entropy`."""
    axis = min(1, x.ndim - 1)
    shares, count = wanted(x, target, weight, ignore_index, label_smoothing)
    losses = -(shares * log_softmax(x, axis)).sum(axis)
    return losses if reduction == "none" else losses.sum() / (count if reduction == "mean" else 1)


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
    """Oracle of :func:`voxkern.losses.cross_entropy_backward`: the softmax minus the labels."""
    axis = min(1, x.ndim - 1)
    shares, count = wanted(x, target, weight, ignore_index, label_smoothing)
    scale = np.asarray(grad / count if reduction == "mean" else grad)
    scale = np.expand_dims(scale, axis) if scale.ndim else scale
    softmax = np.exp(log_softmax(x, axis))
    return into(out, scale * (softmax * shares.sum(axis, keepdims=True) - shares))


def cross_entropy_and_gradient(
    x, target, weight=None, ignore_index=-100, reduction="mean", label_smoothing=0.0, *, out=None
):
    """Oracle of :func:`voxkern.losses.cross_entropy_and_gradient`."""
    rest = x, target, weight, ignore_index, reduction, label_smoothing
    return cross_entropy(*rest), cross_entropy_backward(1.0, *rest, out=out)


def nll_loss(x, target, weight=None, ignore_index=-100, reduction="mean"):
    """Oracle of :func:`voxkern.losses.nll_loss`."""
    axis = min(1, x.ndim - 1)
    shares, count = wanted(x, target, weight, ignore_index, 0)
    losses = -np.where(shares, shares * x, 0).sum(axis)
    return losses if reduction == "none" else losses.sum() / (count if reduction == "mean" else 1)


def nll_loss_backward(
    grad, x, target, weight=None, ignore_index=-100, reduction="mean", *, out=None
):
    """Oracle of :func:`voxkern.losses.nll_loss_backward`."""
    shares, count = wanted(x, target, weight, ignore_index, 0)
    scale = np.asarray(grad / count if reduction == "mean" else grad)
    scale = np.expand_dims(scale, min(1, x.ndim - 1)) if scale.ndim else scale
    return into(out, -scale * shares)


def mse_loss(x, target, reduction="mean"):
    """Oracle of :func:`voxkern.losses.mse_loss`."""
    return reduced((x - target) ** 2, None, reduction)


def mse_loss_backward(grad, x, target, reduction="mean", *, out=None):
    """Oracle of :func:`voxkern.losses.mse_loss_backward`."""
    return into(out, 2 * (x - target) * upstream(grad, x, None, reduction))


def l1_penalty(weights, strength):
    """Oracle of :func:`voxkern.losses.l1_penalty`."""
    return strength * np.abs(weights).sum()


def l1_penalty_backward(weights, strength, *, out=None):
    """Oracle of :func:`voxkern.losses.l1_penalty_backward`."""
    return into(out, strength * np.sign(weights))


def l2_penalty(weights, strength):
    """Oracle of :func:`voxkern.losses.l2_penalty`."""
    return strength * (weights**2).sum()


def l2_penalty_backward(weights, strength, *, out=None):
    """Oracle of :func:`voxkern.losses.l2_penalty_backward`."""
    return into(out, 2 * strength * weights)


def reduced(losses, weight, reduction):
    """The losses, their sum or their mean."""
    losses = losses if weight is None else losses * weight
    return {"none": lambda: losses, "sum": losses.sum, "mean": losses.mean}[reduction]()


def upstream(grad, x, weight, reduction):
    """The gradient to each single loss."""
    grad = np.broadcast_to(grad / x.size if reduction == "mean" else grad, x.shape)
    return grad if weight is None else grad * weight


def wanted(x, target, weight, ignore_index, smoothing):
    """Weighted labels of the shape of x, and by what their mean is divided."""
    axis, classes = min(1, x.ndim - 1), x.shape[min(1, x.ndim - 1)]
    weight = np.ones(classes) if weight is None else weight
    spread = weight.reshape(-1, *(1,) * (x.ndim - 2)) if x.ndim > 1 else weight
    if np.ndim(target) == x.ndim:
        shares, count = np.asarray(target, float), x.size / classes
    else:
        shares = np.stack([np.asarray(target) == k for k in range(classes)], axis).astype(float)
        taken = np.asarray(target) != ignore_index
        count = (shares * spread).sum(axis)[taken].sum()
        shares *= np.expand_dims(taken, axis)
        smoothing = smoothing * np.expand_dims(taken, axis)
    return ((1 - smoothing) * shares + smoothing / classes) * spread, count


def cross_entropy_rows(x, labels, scale, *, losses, out):
    """Twin of the kernel."""
    x, rows = x.astype(np.float64), np.arange(len(x))
    logs = log_softmax(x, 1)
    losses[:] = np.where(labels < 0, 0, -logs[rows, labels] * scale)
    if out is not None:
        gradient = np.exp(logs)
        gradient[rows, labels] -= 1
        out[...] = np.where(labels[:, None] < 0, 0, gradient * scale[:, None])


def block_sums(name, x, y, block, *, out):
    """Twin of the kernel."""
    x = x.astype(np.float64)
    terms = {"values": x, "magnitudes": np.abs(x), "squares": x**2, "errors": (x - y) ** 2}[name]
    out[:] = np.add.reduceat(terms, np.arange(0, len(x), block))
