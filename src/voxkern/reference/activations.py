"""The oracles of activations: the formulas."""

import numpy as np

from voxkern.reference._shape import into


def relu(x, *, out=None):
    """Oracle of :func:`voxkern.activations.relu`."""
    return into(out, np.maximum(x, 0))


def relu_backward(grad, x, *, out=None):
    """Oracle of :func:`voxkern.activations.relu_backward`."""
    return into(out, np.where(x <= 0, 0, grad))


def leaky_relu(x, negative_slope=0.01, *, out=None):
    """Oracle of :func:`voxkern.activations.leaky_relu`."""
    return into(out, np.where(x > 0, x, negative_slope * x))


def leaky_relu_backward(grad, x, negative_slope=0.01, *, out=None):
    """Oracle of :func:`voxkern.activations.leaky_relu_backward`."""
    return into(out, np.where(x > 0, grad, negative_slope * grad))


def prelu(x, weight, *, out=None):
    """Oracle of :func:`voxkern.activations.prelu`."""
    return into(out, np.where(x > 0, x, spread(weight, x) * x))


def prelu_backward(grad, x, weight, *, out=None):
    """Oracle of :func:`voxkern.activations.prelu_backward`."""
    result = np.where(x > 0, grad, spread(weight, x) * grad)
    below = np.where(x > 0, 0, grad * x)
    axes = tuple(a for a in range(x.ndim) if weight.size == 1 or a != min(1, x.ndim - 1))
    return into(out, result), below.sum(axes).reshape(weight.shape)


def elu(x, alpha=1.0, *, out=None):
    """Oracle of :func:`voxkern.activations.elu`."""
    return into(out, np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0))))


def elu_backward(grad, x, alpha=1.0, *, out=None):
    """Oracle of :func:`voxkern.activations.elu_backward`."""
    return into(out, np.where(x > 0, grad, grad * alpha * np.exp(np.minimum(x, 0))))


def sigmoid(x, *, out=None):
    """Oracle of :func:`voxkern.activations.sigmoid`: both forms, neither where it overflows."""
    small = np.exp(-np.abs(x))
    return into(out, np.where(x < 0, small, 1) / (1 + small))


def sigmoid_backward(grad, result, *, out=None):
    """Oracle of :func:`voxkern.activations.sigmoid_backward`."""
    return into(out, grad * result * (1 - result))


def tanh(x, *, out=None):
    """Oracle of :func:`voxkern.activations.tanh`."""
    return into(out, np.tanh(x))


def tanh_backward(grad, result, *, out=None):
    """Oracle of :func:`voxkern.activations.tanh_backward`."""
    return into(out, grad * (1 - result**2))


def heaviside(x, values=1.0, *, out=None):
    """Oracle of :func:`voxkern.activations.heaviside`."""
    return into(out, np.where(np.isnan(x), x, np.where(x == 0, values, x > 0)))


def heaviside_backward(grad, x, *, out=None):
    """Oracle of :func:`voxkern.activations.heaviside_backward`."""
    return into(out, np.zeros_like(grad))


def softmax(x, axis=-1, *, out=None):
    """Oracle of :func:`voxkern.activations.softmax`: shifted, so that no exponential overflows."""
    powers = np.exp(x - x.max(axis, keepdims=True, initial=-np.inf))
    return into(out, powers / powers.sum(axis, keepdims=True))


def softmax_backward(grad, result, axis=-1, *, out=None):
    """Oracle of :func:`voxkern.activations.softmax_backward`."""
    return into(out, result * (grad - (grad * result).sum(axis, keepdims=True)))


def log_softmax(x, axis=-1, *, out=None):
    """Oracle of :func:`voxkern.activations.log_softmax`."""
    shifted = x - x.max(axis, keepdims=True, initial=-np.inf)
    return into(out, shifted - np.log(np.exp(shifted).sum(axis, keepdims=True)))


def log_softmax_backward(grad, result, axis=-1, *, out=None):
    """Oracle of :func:`voxkern.activations.log_softmax_backward`."""
    return into(out, grad - np.exp(result) * grad.sum(axis, keepdims=True))


def spread(weight, x):
    """A weight of one element, or of one for each channel, spread over x."""
    return weight.reshape(-1, *(1,) * (x.ndim - 2)) if x.ndim > 1 else weight


def elementwise(name, x, parameter, *, out):
    """Twin of the kernel."""
    x = x.astype(np.float64)
    if name == "softplus":
        out[...] = np.logaddexp(0, parameter * x)
    elif name in ("relu", "sigmoid"):
        {"relu": relu, "sigmoid": sigmoid}[name](x, out=out)
    else:
        {"leaky_relu": leaky_relu, "elu": elu, "heaviside": heaviside}[name](x, parameter, out=out)


def elementwise_gradient(name, grad, x, parameter, *, out):
    """Twin of the kernel."""
    grad, x = grad.astype(np.float64), x.astype(np.float64)
    plain = {"relu": relu_backward, "sigmoid": sigmoid_backward, "tanh": tanh_backward}
    if name in plain:
        plain[name](grad, x, out=out)
    else:
        backward = {"leaky_relu": leaky_relu_backward, "elu": elu_backward}[name]
        backward(grad, x, parameter, out=out)


def softmax_rows(x, log, *, out):
    """Twin of the kernel."""
    (log_softmax if log else softmax)(x.astype(np.float64), 1, out=out)


def softmax_rows_gradient(grad, y, log, *, out):
    """Twin of the kernel."""
    backward = log_softmax_backward if log else softmax_backward
    backward(grad.astype(np.float64), y.astype(np.float64), 1, out=out)
