"""The oracles of batch normalisation."""

import numpy as np

from voxkern.reference._shape import into


def per_channel(p, x):
    """`p`, of shape (C,), so that it broadcasts along the channels of `x`."""
    return np.reshape(p, (-1,) + (1,) * (x.ndim - 2))


def all_but_channels(x):
    return (0, *range(2, x.ndim))


def batch_norm(
    x,
    running_mean,
    running_var,
    weight=None,
    bias=None,
    training=False,
    momentum=0.1,
    eps=1e-5,
    *,
    out=None,
):
    """Oracle of :func:`voxkern.batch_norm`: the formula."""
    mean, var = running_mean, running_var
    if training:
        axes = all_but_channels(x)
        mean, var = x.mean(axes), x.var(axes)
        if running_mean is not None:
            running_mean[...] = (1 - momentum) * running_mean + momentum * mean
            running_var[...] = (1 - momentum) * running_var + momentum * x.var(axes, ddof=1)
    result = (x - per_channel(mean, x)) / np.sqrt(per_channel(var, x) + eps)
    if weight is not None:
        result = result * per_channel(weight, x)
    if bias is not None:
        result = result + per_channel(bias, x)
    return into(out, result)


def batch_norm_stats(x, eps=1e-5):
    """Oracle of :func:`voxkern.batch_norm_stats`."""
    axes = all_but_channels(x)
    return x.mean(axes), 1 / np.sqrt(x.var(axes) + eps)


def batch_norm_backward(grad, x, weight, mean, invstd, *, training=True, out=None):
    """Oracle of :func:`voxkern.batch_norm_backward`: the chain rule through the statistics."""
    axes = all_but_channels(x)
    normal = (x - per_channel(mean, x)) * per_channel(invstd, x)
    grad_weight, grad_bias = (grad * normal).sum(axes), grad.sum(axes)
    grad_x = grad
    if training:
        grad_x = grad - grad.mean(axes, keepdims=True)
        grad_x = grad_x - normal * (grad * normal).mean(axes, keepdims=True)
    grad_x = grad_x * per_channel(invstd if weight is None else invstd * weight, x)
    return into(out, grad_x), grad_weight, grad_bias


def moments(x, *, out):
    """Twin of the kernel: mean and biased variance of every channel of (N, C, inner)."""
    out[0] = x.mean((0, 2), dtype=np.float64)
    out[1] = x.var((0, 2), dtype=np.float64)


def gradient_sums(grad, x, mean, *, out):
    """Twin of the kernel: sums of grad and of grad * (x - mean)."""
    out[0] = grad.sum((0, 2), dtype=np.float64)
    out[1] = (grad * (x - per_channel(mean, x))).sum((0, 2), dtype=np.float64)


def normalize(x, shift, scale, offset, *, out):
    """Twin of the kernel: (x - shift) * scale + offset."""
    out[...] = (x - per_channel(shift, x)) * per_channel(scale, x) + per_channel(offset, x)


def input_gradient(grad, x, mean, scale, slope, offset, *, out):
    """Twin of the kernel: grad * scale + (x - mean) * slope + offset."""
    out[...] = grad * per_channel(scale, x) + per_channel(offset, x)
    out += (x - per_channel(mean, x)) * per_channel(slope, x)


def train(x, weight, bias, eps, *, stats, maps, out):
    """Twin of the kernel: moments, then the map that they make."""
    moments(x, out=stats)
    mean, scale = stats[0], weight / np.sqrt(stats[1] + eps)
    out[...] = (x - per_channel(mean, x)) * per_channel(scale, x) + per_channel(bias, x)


def backward(grad, x, weight, mean, invstd, *, sums, maps, out):
    """Twin of the kernel: sums, then the map that they make."""
    gradient_sums(grad, x, mean, out=sums)
    scale = np.float64(invstd) * weight
    offset, slope = -scale * sums * (x.shape[1] / x.size)
    input_gradient(grad, x, mean, scale, slope * np.float64(invstd) ** 2, offset, out=out)
