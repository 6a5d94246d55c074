"""Moments and affine maps per channel of (N, C, inner) arrays; a block sums up one channel."""

import math

from voxkern.kernels.cuda._cuda import THREADS, cuda, float64, launch


@cuda.jit(device=True)
def _block_sum(value, shared):
    """Sum of every thread's `value`, by halves: one order for any run."""
    thread = cuda.threadIdx.x
    cuda.syncthreads()
    shared[thread] = value
    cuda.syncthreads()
    half = cuda.blockDim.x // 2
    while half > 0:
        if thread < half:
            shared[thread] += shared[thread + half]
        cuda.syncthreads()
        half //= 2
    return shared[0]


@cuda.jit
def _moments(x, out):
    n, channels, inner = x.shape
    count = n * inner
    shared = cuda.shared.array(THREADS, float64)
    for c in range(cuda.blockIdx.x, channels, cuda.gridDim.x):
        total = 0.0
        for item in range(cuda.threadIdx.x, count, cuda.blockDim.x):
            total += float64(x[item // inner, c, item % inner])
        mean = _block_sum(total, shared) / count
        total = 0.0
        for item in range(cuda.threadIdx.x, count, cuda.blockDim.x):
            centred = float64(x[item // inner, c, item % inner]) - mean
            total += centred * centred
        variance = _block_sum(total, shared) / count
        if cuda.threadIdx.x == 0:
            out[0, c] = mean
            out[1, c] = variance


@cuda.jit
def _gradient_sums(grad, x, mean, out):
    n, channels, inner = x.shape
    shared = cuda.shared.array(THREADS, float64)
    for c in range(cuda.blockIdx.x, channels, cuda.gridDim.x):
        plain = 0.0
        weighed = 0.0
        for item in range(cuda.threadIdx.x, n * inner, cuda.blockDim.x):
            i = item // inner
            j = item % inner
            plain += float64(grad[i, c, j])
            weighed += float64(grad[i, c, j]) * (float64(x[i, c, j]) - mean[c])
        plain = _block_sum(plain, shared)
        weighed = _block_sum(weighed, shared)
        if cuda.threadIdx.x == 0:
            out[0, c] = plain
            out[1, c] = weighed


@cuda.jit
def _normalize(x, shift, scale, offset, out):
    _, channels, inner = x.shape
    for item in range(cuda.grid(1), out.size, cuda.gridsize(1)):
        j = item % inner
        c = item // inner % channels
        i = item // (inner * channels)
        out[i, c, j] = (x[i, c, j] - shift[c]) * scale[c] + offset[c]


@cuda.jit
def _input_gradient(grad, x, mean, scale, slope, offset, out):
    _, channels, inner = x.shape
    for item in range(cuda.grid(1), out.size, cuda.gridsize(1)):
        j = item % inner
        c = item // inner % channels
        i = item // (inner * channels)
        centred = x[i, c, j] - mean[c]
        out[i, c, j] = grad[i, c, j] * scale[c] + (centred * slope[c] + offset[c])


@cuda.jit
def _normalize_by(x, weight, bias, eps, stats, out):
    _, channels, inner = x.shape
    for item in range(cuda.grid(1), out.size, cuda.gridsize(1)):
        j = item % inner
        c = item // inner % channels
        i = item // (inner * channels)
        normal = (x[i, c, j] - stats[0, c]) / math.sqrt(stats[1, c] + eps)
        out[i, c, j] = normal * weight[c] + bias[c]


@cuda.jit
def _gradient_by(grad, x, weight, mean, invstd, sums, out):
    n, channels, inner = x.shape
    for item in range(cuda.grid(1), out.size, cuda.gridsize(1)):
        j = item % inner
        c = item // inner % channels
        i = item // (inner * channels)
        scale = float64(invstd[c])
        normal = (float64(x[i, c, j]) - mean[c]) * scale
        rest = sums[0, c] + normal * scale * sums[1, c]
        out[i, c, j] = (grad[i, c, j] - rest / (n * inner)) * scale * weight[c]


def moments(x, *, out):
    """out[0] = mean and out[1] = biased variance of every channel."""
    launch(_moments, x.shape[1] * THREADS, x, out=out)


def gradient_sums(grad, x, mean, *, out):
    """out[0] = the sum of grad and out[1] = that of grad * (x - mean), of every channel."""
    launch(_gradient_sums, x.shape[1] * THREADS, grad, x, mean, out=out)


def normalize(x, shift, scale, offset, *, out):
    """out = (x - shift) * scale + offset, one of each per channel."""
    launch(_normalize, out.size, x, shift, scale, offset, out=out)


def input_gradient(grad, x, mean, scale, slope, offset, *, out):
    """out = grad * scale + (x - mean) * slope + offset, one of each per channel."""
    launch(_input_gradient, out.size, grad, x, mean, scale, slope, offset, out=out)


def train(x, weight, bias, eps, *, stats, maps, out):
    """Normalise every channel with its own moments, which become `stats`."""
    moments(x, out=stats)
    launch(_normalize_by, out.size, x, weight, bias, eps, stats, out=out)


def backward(grad, x, weight, mean, invstd, *, sums, maps, out):
    """The gradient to the x of `train`; sums as of `gradient_sums`."""
    gradient_sums(grad, x, mean, out=sums)
    launch(_gradient_by, out.size, grad, x, weight, mean, invstd, sums, out=out)
