"""Moments and affine maps per channel of (N, C, inner) arrays.

A reduction has two levels: blocks read parts of a channel, once, and one thread per channel merges
what they found, in one order for any run. Sums are float64.
"""

import math

from voxkern.kernels.cuda._cuda import (
    BLOCKS,
    THREADS,
    cuda,
    device,
    float64,
    int64,
    launch,
    run,
    scratch,
)
from voxkern.kernels.cuda._reduce import block_sum

PART = 16 * THREADS  # elements that are worth a block


@cuda.jit
def _partial_moments(x, parts, out):
    """out[:, c, part] = the elements, their sum and the sum of squares about their mean."""
    n, channels, inner = x.shape
    whole, rest = cuda.blockDim.x // inner, cuda.blockDim.x % inner
    share = (n * inner + parts - 1) // parts
    counts = cuda.shared.array(THREADS, int64)
    sums = cuda.shared.array(THREADS, float64)
    squares = cuda.shared.array(THREADS, float64)
    thread = cuda.threadIdx.x
    for item in range(cuda.blockIdx.x, channels * parts, cuda.gridDim.x):
        c = item // parts
        part = item - c * parts
        stop = (part + 1) * share
        if stop > n * inner:
            stop = n * inner
        i = (part * share + thread) // inner
        j = (part * share + thread) - i * inner
        count = 0
        total, shift, near, square = 0.0, 0.0, 0.0, 0.0
        for _ in range(part * share + thread, stop, cuda.blockDim.x):
            value = float64(x[i, c, j])
            if count == 0:
                shift = value
            # About an element of the thread's own, so that nothing large cancels.
            total += value
            near += value - shift
            square += (value - shift) * (value - shift)
            count += 1
            i += whole  # no division for every element
            j += rest
            if j >= inner:
                j -= inner
                i += 1
        if count > 0:
            square -= near * near / count
        cuda.syncthreads()
        counts[thread] = count
        sums[thread] = total
        squares[thread] = square
        cuda.syncthreads()
        half = cuda.blockDim.x // 2
        while half > 0:
            if thread < half and counts[thread + half] > 0:
                one, two = counts[thread], counts[thread + half]
                if one > 0:
                    apart = sums[thread + half] / two - sums[thread] / one
                    squares[thread] += apart * apart * one * two / (one + two)
                squares[thread] += squares[thread + half]
                sums[thread] += sums[thread + half]
                counts[thread] = one + two
            cuda.syncthreads()
            half //= 2
        if thread == 0:
            out[0, c, part] = counts[0]
            out[1, c, part] = sums[0]
            out[2, c, part] = squares[0]


@cuda.jit
def _merged_moments(partial, out):
    """Mean and biased variance of every channel, merged as by Chan, Golub and LeVeque (1979)."""
    _, channels, parts = partial.shape
    for c in range(cuda.grid(1), channels, cuda.gridsize(1)):
        count, total, square = 0.0, 0.0, 0.0
        for part in range(parts):
            more = partial[0, c, part]
            if more > 0:
                if count > 0:
                    apart = partial[1, c, part] / more - total / count
                    square += apart * apart * count * more / (count + more)
                square += partial[2, c, part]
                total += partial[1, c, part]
                count += more
        out[0, c] = total / count if count > 0 else math.nan
        out[1, c] = square / count if count > 0 else math.nan


@cuda.jit
def _partial_gradients(grad, x, mean, parts, out):
    """out[:, c, part] = the sum of grad and that of grad * (x - mean)."""
    n, channels, inner = x.shape
    whole, rest = cuda.blockDim.x // inner, cuda.blockDim.x % inner
    share = (n * inner + parts - 1) // parts
    shared = cuda.shared.array(THREADS, float64)
    for item in range(cuda.blockIdx.x, channels * parts, cuda.gridDim.x):
        c = item // parts
        part = item - c * parts
        stop = (part + 1) * share
        if stop > n * inner:
            stop = n * inner
        start = part * share + cuda.threadIdx.x
        i = start // inner
        j = start - i * inner
        centre = float64(mean[c])
        plain, weighed = 0.0, 0.0
        for _ in range(start, stop, cuda.blockDim.x):
            slope = float64(grad[i, c, j])
            plain += slope
            weighed += slope * (float64(x[i, c, j]) - centre)
            i += whole
            j += rest
            if j >= inner:
                j -= inner
                i += 1
        plain = block_sum(plain, shared)
        weighed = block_sum(weighed, shared)
        if cuda.threadIdx.x == 0:
            out[0, c, part] = plain
            out[1, c, part] = weighed


@cuda.jit
def _merged_gradients(partial, out):
    sums, channels, parts = partial.shape
    for item in range(cuda.grid(1), sums * channels, cuda.gridsize(1)):
        which = item // channels
        c = item - which * channels
        total = 0.0
        for part in range(parts):
            total += partial[which, c, part]
        out[which, c] = total


@device
def _inverse_deviation(variance, eps):
    deviation = math.sqrt(variance + eps)
    return 1 / deviation if deviation != 0 else math.inf


@cuda.jit
def _normalize(x, mean, var, weight, bias, eps, out):
    real = x.dtype.type
    n, channels, inner = x.shape
    column, row = cuda.grid(2)
    columns, rows = cuda.gridsize(2)
    for item in range(row, n * channels, rows):
        i = item // channels
        c = item - i * channels
        scale = _inverse_deviation(float64(var[c]), eps)
        if weight.size > 0:
            scale *= float64(weight[c])
        shift = real(mean[c])
        offset = (float64(shift) - float64(mean[c])) * scale  # what rounding took from the mean
        if bias.size > 0:
            offset += float64(bias[c])
        factor, last = real(scale), real(offset)
        for j in range(column, inner, columns):
            out[i, c, j] = (x[i, c, j] - shift) * factor + last


@cuda.jit
def _input_gradient(grad, x, weight, mean, invstd, sums, out):
    real = x.dtype.type
    n, channels, inner = x.shape
    column, row = cuda.grid(2)
    columns, rows = cuda.gridsize(2)
    for item in range(row, n * channels, rows):
        i = item // channels
        c = item - i * channels
        inverse = float64(invstd[c])
        scale = inverse
        if weight.size > 0:
            scale *= float64(weight[c])
        factor = real(scale)
        if sums.size == 0:
            for j in range(column, inner, columns):
                out[i, c, j] = grad[i, c, j] * factor
        else:
            centre, each = real(mean[c]), scale / (n * inner)
            slope, offset = real(-each * sums[1, c] * inverse * inverse), real(-each * sums[0, c])
            for j in range(column, inner, columns):
                centred = x[i, c, j] - centre
                out[i, c, j] = grad[i, c, j] * factor + (centred * slope + offset)


@cuda.jit
def _inverse_deviations(stats, eps, mean, invstd):
    for c in range(cuda.grid(1), mean.size, cuda.gridsize(1)):
        mean[c] = stats[0, c]
        invstd[c] = _inverse_deviation(stats[1, c], eps)


@cuda.jit
def _parameter_gradients(sums, invstd, weight, bias):
    for c in range(cuda.grid(1), weight.size, cuda.gridsize(1)):
        weight[c] = sums[1, c] * float64(invstd[c])
        bias[c] = sums[0, c]


@cuda.jit
def _move(stats, momentum, unbias, mean, var):
    for c in range(cuda.grid(1), mean.size, cuda.gridsize(1)):
        mean[c] = (1 - momentum) * float64(mean[c]) + momentum * stats[0, c]
        var[c] = (1 - momentum) * float64(var[c]) + momentum * stats[1, c] * unbias


def moments(x, *, out):
    """out[0] = mean and out[1] = biased variance of every channel."""
    partial = _partial(_partial_moments, 3, x)
    launch(_merged_moments, x.shape[1], partial, out=out)


def gradient_sums(grad, x, mean, *, out):
    """out[0] = the sum of grad and out[1] = that of grad * (x - mean), of every channel."""
    partial = _partial(_partial_gradients, 2, grad, x, mean)
    launch(_merged_gradients, 2 * x.shape[1], partial, out=out)


def _partial(kernel, sums, x, *others):
    """What the blocks of a channel find, (sums, C, parts)."""
    n, channels, inner = x.shape
    parts = max(1, min(-(-n * inner // PART), -(-BLOCKS // max(1, channels))))
    partial = scratch(x, (sums, channels, parts), float)
    run(kernel, min(BLOCKS, channels * parts), THREADS, x, *others, parts, out=partial)
    return partial


def normalize(x, mean, var, weight, bias, eps, *, out):
    """out = (x - mean) / sqrt(var + eps) * weight + bias, of every channel."""
    n, channels, inner = x.shape
    weight, bias = _or_none(weight, x), _or_none(bias, x)
    launch(_normalize, (n * channels, inner), x, mean, var, weight, bias, eps, out=out)


def input_gradient(grad, x, weight, mean, invstd, sums, *, out):
    """The gradient to x; `sums` as of `gradient_sums`, or None where mean and invstd are given."""
    n, channels, inner = x.shape
    weight = _or_none(weight, x)
    sums = scratch(x, (0, 0), float) if sums is None else sums
    launch(_input_gradient, (n * channels, inner), grad, x, weight, mean, invstd, sums, out=out)


def _or_none(parameter, x):
    """`parameter`, or the array to give to a kernel where there is none."""
    return scratch(x, (0,), x.dtype) if parameter is None else parameter


def inverse_deviations(stats, eps, *, out):
    """out = mean and 1 / sqrt(variance + eps), of the moments `stats`."""
    launch(_inverse_deviations, stats.shape[1], stats, eps, out=out)


def parameter_gradients(sums, invstd, *, out):
    """out = the gradients to weight and bias, of what `gradient_sums` gave."""
    launch(_parameter_gradients, sums.shape[1], sums, invstd, out=out)


def move(stats, momentum, unbias, *, out):
    """Move the running mean and variance `out` towards the moments, the variance times unbias."""
    launch(_move, stats.shape[1], stats, momentum, unbias, out=out)
