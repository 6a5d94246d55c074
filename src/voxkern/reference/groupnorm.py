"""The oracles of group, instance and layer normalisation."""

import numpy as np

from voxkern.reference._shape import into
from voxkern.reference.batchnorm import batch_norm, per_channel


def group_norm(x, num_groups, weight=None, bias=None, eps=1e-5, *, out=None):
    """Oracle of :func:`voxkern.group_norm`: the formula."""
    result = normal(x.reshape(len(x), num_groups, -1), 2, eps).reshape(x.shape)
    return into(out, affine(result, weight, bias, lambda p: per_channel(p, x)))


def group_norm_backward(grad, x, num_groups, weight=None, eps=1e-5, *, out=None):
    """Oracle of :func:`voxkern.group_norm_backward`: the chain rule through the statistics."""
    groups = x.reshape(len(x), num_groups, -1)
    scaled = grad if weight is None else grad * per_channel(weight, x)
    result = normal_backward(scaled.reshape(groups.shape), groups, 2, eps).reshape(x.shape)
    product = grad * normal(groups, 2, eps).reshape(x.shape)
    axes = (0, *range(2, x.ndim))
    return into(out, result), product.sum(axes), grad.sum(axes)


def instance_norm(
    x,
    running_mean=None,
    running_var=None,
    weight=None,
    bias=None,
    use_input_stats=True,
    momentum=0.1,
    eps=1e-5,
    *,
    out=None,
):
    """Oracle of :func:`voxkern.instance_norm`: every sample and channel is a group."""
    if not use_input_stats:
        return batch_norm(x, running_mean, running_var, weight, bias, eps=eps, out=out)
    if running_mean is not None:
        samples = x.reshape(*x.shape[:2], -1)
        running_mean[...] = (1 - momentum) * running_mean + momentum * samples.mean((0, 2))
        var = samples.var(2, ddof=1).mean(0)
        running_var[...] = (1 - momentum) * running_var + momentum * var
    return group_norm(x, x.shape[1], weight, bias, eps, out=out)


def instance_norm_backward(grad, x, weight=None, eps=1e-5, *, out=None):
    """Oracle of :func:`voxkern.instance_norm_backward`."""
    return group_norm_backward(grad, x, x.shape[1], weight, eps, out=out)


def layer_norm(x, normalized_shape, weight=None, bias=None, eps=1e-5, *, out=None):
    """Oracle of :func:`voxkern.layer_norm`: the formula."""
    axes = last_axes(normalized_shape)
    return into(out, affine(normal(x, axes, eps), weight, bias, lambda p: p))


def layer_norm_backward(grad, x, normalized_shape, weight=None, eps=1e-5, *, out=None):
    """Oracle of :func:`voxkern.layer_norm_backward`: the chain rule through the statistics."""
    axes = last_axes(normalized_shape)
    others = tuple(range(x.ndim - len(axes)))
    result = normal_backward(grad if weight is None else grad * weight, x, axes, eps)
    return into(out, result), (grad * normal(x, axes, eps)).sum(others), grad.sum(others)


def last_axes(normalized_shape):
    return tuple(range(-np.size(normalized_shape), 0))


def normal(x, axes, eps):
    """`x` with mean 0 and deviation 1 along some axes."""
    centred = x - x.mean(axes, keepdims=True)
    return centred / np.sqrt(x.var(axes, keepdims=True) + eps)


def normal_backward(grad, x, axes, eps):
    """The gradient to x of `normal`."""
    y = normal(x, axes, eps)
    grad = grad - grad.mean(axes, keepdims=True) - y * (grad * y).mean(axes, keepdims=True)
    return grad / np.sqrt(x.var(axes, keepdims=True) + eps)


def affine(y, weight, bias, spread):
    """y * weight + bias, each spread over y; 1 and 0 where missing."""
    y = y if weight is None else y * spread(weight)
    return y if bias is None else y + spread(bias)


def normalize_groups(x, weight, bias, eps, groups, *, stats, out):
    """Twin of the kernel: rows of (rows, channels, inner), row r of group r % groups."""
    x = x.astype(np.float64)
    stats[0], stats[1] = x.mean((1, 2)), x.var((1, 2))
    samples = x.reshape(-1, groups * x.shape[1], x.shape[2])
    group_norm(samples, groups, weight, bias, eps, out=out)


def groups_gradient(grad, x, weight, eps, groups, *, sums, out):
    """Twin of the kernel: the gradient to x, and those to weights and biases in sums[0]."""
    shape = (-1, groups * x.shape[1], x.shape[2])
    sums[:] = 0
    grad, x = (a.astype(np.float64).reshape(shape) for a in (grad, x))
    _, sums[0, 0], sums[0, 1] = group_norm_backward(grad, x, groups, weight, eps, out=out)
