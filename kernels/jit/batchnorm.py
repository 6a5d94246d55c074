"""Moments and affine maps per channel of (N, C, inner) arrays, on one thread."""

import numpy as np

from voxkern.kernels.jit._compile import compiled


@compiled
def moments(x, out):
    """out[0] = mean and out[1] = biased variance of every channel."""
    n, channels, inner = x.shape
    out[:] = 0
    for i in range(n):
        for c in range(channels):
            for j in range(inner):
                out[0, c] += x[i, c, j]
    out[0] /= n * inner
    for i in range(n):
        for c in range(channels):
            for j in range(inner):
                out[1, c] += (np.float64(x[i, c, j]) - out[0, c]) ** 2
    out[1] /= n * inner


@compiled
def gradient_sums(grad, x, mean, out):
    """out[0] = the sum of grad and out[1] = that of grad * (x - mean), of every channel."""
    n, channels, inner = x.shape
    out[:] = 0
    for i in range(n):
        for c in range(channels):
            for j in range(inner):
                out[0, c] += grad[i, c, j]
                out[1, c] += np.float64(grad[i, c, j]) * (x[i, c, j] - mean[c])


@compiled
def normalize(x, shift, scale, offset, out):
    """out = (x - shift) * scale + offset, one of each per channel."""
    n, channels, inner = x.shape
    for i in range(n):
        for c in range(channels):
            for j in range(inner):
                out[i, c, j] = (x[i, c, j] - shift[c]) * scale[c] + offset[c]


@compiled
def input_gradient(grad, x, mean, scale, slope, offset, out):
    """out = grad * scale + (x - mean) * slope + offset, one of each per channel."""
    n, channels, inner = x.shape
    for i in range(n):
        for c in range(channels):
            for j in range(inner):
                centred = x[i, c, j] - mean[c]
                out[i, c, j] = grad[i, c, j] * scale[c] + (centred * slope[c] + offset[c])


@compiled
def train(x, weight, bias, eps, stats, maps, out):
    """Normalise every channel with its own moments, which become `stats`."""
    moments(x, stats)
    for c in range(x.shape[1]):
        scale = weight[c] / np.sqrt(stats[1, c] + eps)
        out[:, c] = (x[:, c] - stats[0, c]) * scale + bias[c]


@compiled
def backward(grad, x, weight, mean, invstd, sums, maps, out):
    """The gradient to the x of `train`; sums as of `gradient_sums`."""
    n, channels, inner = x.shape
    gradient_sums(grad, x, mean, sums)
    for c in range(channels):
        first, second = sums[0, c] / (n * inner), sums[1, c] / (n * inner) * invstd[c] ** 2
        scale = np.float64(invstd[c]) * weight[c]
        out[:, c] = (grad[:, c] - first - (x[:, c] - mean[c]) * second) * scale
