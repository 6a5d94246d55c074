"""Moments and affine maps per channel of (N, C, inner) arrays.

A reduction has two levels: blocks read parts of a channel, once, and a column of threads merges
what they found, in one order for any run. Sums are float64.
"""

import math

from voxkern.kernels.cuda._cuda import (
    BLOCKS,
    THREADS,
    cuda,
    device,
    float64,
    launch,
    run,
    scratch,
)
from voxkern.kernels.cuda._reduce import column_sum

PART = 16 * THREADS  # elements that are worth a block
# Shorter runs of float32 fill at most two thirds of the 32-byte sectors that are read for them.
SHORT = 16
MOMENTS = 3, THREADS
ACROSS = min(32, THREADS // 2)  # float32 of so many threads are a line of the cache


@device
def _together(one, two):
    """Elements, sum and squares about the mean of both, as by Chan, Golub and LeVeque (1979)."""
    (count, total, square), (more, added, squares) = one, two
    if count > 0 and more > 0:
        apart = added / more - total / count
        square += apart * apart * count * more / (count + more)
    return count + more, total + added, square + squares


@cuda.jit(device=True)
def _column_together(own, shared):
    """The same of what all threads have that are a row of the block apart."""
    across, x, y = cuda.blockDim.x, cuda.threadIdx.x, cuda.threadIdx.y
    thread = y * across + x
    cuda.syncthreads()
    shared[0, thread], shared[1, thread], shared[2, thread] = own
    cuda.syncthreads()
    half = cuda.blockDim.y // 2
    while half > 0:
        if y < half:
            other = thread + half * across
            own = _together(own, (shared[0, other], shared[1, other], shared[2, other]))
            shared[0, thread], shared[1, thread], shared[2, thread] = own
        cuda.syncthreads()
        half //= 2
    return shared[0, x], shared[1, x], shared[2, x]


@cuda.jit
def _partial_moments(x, parts, out):
    """out[:, part, c] = the elements, their sum and the sum of squares about their mean.

    A block is as many channels across as threads, and as many elements of each down.
    """
    n, channels, inner = x.shape
    across, down = cuda.blockDim.x, cuda.blockDim.y
    whole, rest = down // inner, down % inner
    share, tiles = (n * inner + parts - 1) // parts, (channels + across - 1) // across
    shared = cuda.shared.array(MOMENTS, float64)
    for item in range(cuda.blockIdx.x, tiles * parts, cuda.gridDim.x):
        part = item // tiles
        c = (item - part * tiles) * across + cuda.threadIdx.x
        start = part * share + cuda.threadIdx.y
        stop = (part + 1) * share
        if stop > n * inner:
            stop = n * inner
        if c >= channels:
            stop = start
        i = start // inner
        j = start - i * inner
        count = 0.0
        total, shift, near, square = 0.0, 0.0, 0.0, 0.0
        for _ in range(start, stop, down):
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
        count, total, square = _column_together((count, total, square), shared)
        if cuda.threadIdx.y == 0 and c < channels:
            out[0, part, c] = count
            out[1, part, c] = total
            out[2, part, c] = square


@cuda.jit
def _merged_moments(partial, out):
    """Mean and biased variance of every channel, which a column of the block's threads merges."""
    _, parts, channels, columns = partial.shape
    across, down = cuda.blockDim.x, cuda.blockDim.y
    shared = cuda.shared.array(MOMENTS, float64)
    for first in range(cuda.blockIdx.x * across, channels, cuda.gridDim.x * across):
        c = first + cuda.threadIdx.x
        own = 0.0, 0.0, 0.0
        for item in range(cuda.threadIdx.y, parts * columns if c < channels else 0, down):
            part = item // columns
            k = item - part * columns
            found = partial[0, part, c, k], partial[1, part, c, k], partial[2, part, c, k]
            own = _together(own, found)
        count, total, square = _column_together(own, shared)
        if cuda.threadIdx.y == 0 and c < channels:
            out[0, c] = total / count if count > 0 else math.nan
            out[1, c] = square / count if count > 0 else math.nan


@cuda.jit
def _partial_gradients(grad, x, mean, parts, out):
    """out[:, part, c] = the sum of grad and that of grad * (x - mean), by the same blocks."""
    n, channels, inner = x.shape
    across, down = cuda.blockDim.x, cuda.blockDim.y
    whole, rest = down // inner, down % inner
    share, tiles = (n * inner + parts - 1) // parts, (channels + across - 1) // across
    columns = channels // mean.size
    shared = cuda.shared.array(THREADS, float64)
    for item in range(cuda.blockIdx.x, tiles * parts, cuda.gridDim.x):
        part = item // tiles
        c = (item - part * tiles) * across + cuda.threadIdx.x
        start = part * share + cuda.threadIdx.y
        stop = (part + 1) * share
        if stop > n * inner:
            stop = n * inner
        if c >= channels:
            stop = start
        i = start // inner
        j = start - i * inner
        centre = float64(mean[c // columns]) if c < channels else 0.0
        plain, weighed = 0.0, 0.0
        for _ in range(start, stop, down):
            slope = float64(grad[i, c, j])
            plain += slope
            weighed += slope * (float64(x[i, c, j]) - centre)
            i += whole
            j += rest
            if j >= inner:
                j -= inner
                i += 1
        plain = column_sum(plain, shared, across)
        weighed = column_sum(weighed, shared, across)
        if cuda.threadIdx.y == 0 and c < channels:
            out[0, part, c] = plain
            out[1, part, c] = weighed


@cuda.jit
def _merged_gradients(partial, out):
    sums, parts, channels, columns = partial.shape
    across, down = cuda.blockDim.x, cuda.blockDim.y
    shared = cuda.shared.array(THREADS, float64)
    for first in range(cuda.blockIdx.x * across, channels, cuda.gridDim.x * across):
        c = first + cuda.threadIdx.x
        for which in range(sums):
            total = 0.0
            for item in range(cuda.threadIdx.y, parts * columns if c < channels else 0, down):
                part = item // columns
                total += partial[which, part, c, item - part * columns]
            total = column_sum(total, shared, across)
            if cuda.threadIdx.y == 0 and c < channels:
                out[which, c] = total


@device
def _inverse_deviation(variance, eps):
    deviation = math.sqrt(variance + eps)
    return 1 / deviation if deviation != 0 else math.inf


@cuda.jit
def _maps(mean, var, weight, bias, eps, out):
    """out[:, c] = what to take from a channel, to multiply it by and to add."""
    real = out.dtype.type
    for c in range(cuda.grid(1), mean.size, cuda.gridsize(1)):
        scale = _inverse_deviation(float64(var[c]), eps)
        if weight.size > 0:
            scale *= float64(weight[c])
        shift = real(mean[c])
        offset = (float64(shift) - float64(mean[c])) * scale  # what rounding took from the mean
        if bias.size > 0:
            offset += float64(bias[c])
        out[0, c] = shift
        out[1, c] = scale
        out[2, c] = offset


@cuda.jit
def _gradient_maps(weight, mean, invstd, sums, count, out):
    """The same of grad, where `sums` is empty; else out[3, c] is for x and out[0, c] its mean."""
    for c in range(cuda.grid(1), mean.size, cuda.gridsize(1)):
        inverse = float64(invstd[c])
        scale = inverse
        if weight.size > 0:
            scale *= float64(weight[c])
        out[1, c] = scale
        if sums.size == 0:
            out[0, c] = out[2, c] = 0
        else:
            each = scale / count
            out[0, c] = mean[c]
            out[2, c] = -each * sums[0, c]
            out[3, c] = -each * sums[1, c] * inverse * inverse


@cuda.jit
def _normalize(x, maps, inner, out):
    n, width = x.shape
    column, row = cuda.grid(2)
    columns, rows = cuda.gridsize(2)
    for k in range(column, width, columns):
        c = k // inner
        shift, factor, offset = maps[0, c], maps[1, c], maps[2, c]
        for i in range(row, n, rows):
            out[i, k] = (x[i, k] - shift) * factor + offset


@cuda.jit
def _input_gradient(grad, x, maps, inner, out):
    n, width = x.shape
    column, row = cuda.grid(2)
    columns, rows = cuda.gridsize(2)
    for k in range(column, width, columns):
        c = k // inner
        centre, factor, offset, slope = maps[0, c], maps[1, c], maps[2, c], maps[3, c]
        for i in range(row, n, rows):
            out[i, k] = grad[i, k] * factor + ((x[i, k] - centre) * slope + offset)


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
    partial = _partial(_partial_moments, 3, x, x)
    _merge(_merged_moments, partial, out=out)


def gradient_sums(grad, x, mean, *, out):
    """out[0] = the sum of grad and out[1] = that of grad * (x - mean), of every channel."""
    partial = _partial(_partial_gradients, 2, x, grad, x, mean)
    _merge(_merged_gradients, partial, out=out)


def _partial(kernel, sums, x, *arrays):
    """What the blocks find of every channel's parts and columns, (sums, parts, C, columns).

    A channel is one column, its elements read by neighbours; or where these lie apart, each of
    its positions is one, and neighbours read neighbouring columns.
    """
    n, channels, inner = x.shape
    across, columns = 1, 1
    if inner < SHORT:
        across, columns = _across(channels * inner), inner
    tiles = -(-channels * columns // across)
    elements = n * inner // columns * across
    parts = max(1, min(-(-elements // PART), -(-BLOCKS // max(1, tiles))))
    partial = scratch(x, (sums, parts, channels, columns), float)
    lines = [_columns(a, columns) if a.ndim == 3 else a for a in arrays]
    blocks, threads = min(BLOCKS, tiles * parts), (across, THREADS // across)
    out = partial.reshape(sums, parts, channels * columns)
    run(kernel, blocks, threads, *lines, parts, out=out)
    return partial


def _merge(kernel, partial, *, out):
    """Run `kernel` on what :func:`_partial` found."""
    _, parts, channels, columns = partial.shape
    across = _across(channels)
    down = min(THREADS // across, _power_of_two(parts * columns))
    run(kernel, min(BLOCKS, -(-channels // across)), (across, down), partial, out=out)


def _across(columns):
    """Threads of a block that take neighbouring columns."""
    return min(ACROSS, _power_of_two(columns))


def _power_of_two(least):
    return 1 << (least - 1).bit_length()


def _columns(x, columns):
    """`x` with each of `columns` positions as a channel."""
    n, channels, inner = x.shape
    return x.reshape(n, channels * columns, inner // columns)


def normalize(x, mean, var, weight, bias, eps, *, out):
    """out = (x - mean) / sqrt(var + eps) * weight + bias, of every channel."""
    channels, inner = x.shape[1:]
    maps = scratch(x, (3, channels), x.dtype)
    weight, bias = _or_none(weight, x), _or_none(bias, x)
    launch(_maps, channels, mean, var, weight, bias, eps, out=maps)
    x, out = _matrix(x), _matrix(out)
    launch(_normalize, x.shape, x, maps, inner, out=out)


def input_gradient(grad, x, weight, mean, invstd, sums, *, out):
    """The gradient to x; `sums` as of `gradient_sums`, or None where mean and invstd are given."""
    n, channels, inner = x.shape
    maps = scratch(x, (4, channels), x.dtype)
    some = scratch(x, (0, 0), float) if sums is None else sums
    weight = _or_none(weight, x)
    launch(_gradient_maps, channels, weight, mean, invstd, some, n * inner, out=maps)
    grad, x, out = _matrix(grad), _matrix(x), _matrix(out)
    if sums is None:
        launch(_normalize, x.shape, grad, maps, inner, out=out)
    else:
        launch(_input_gradient, x.shape, grad, x, maps, inner, out=out)


def _matrix(x):
    """`x` with all of a sample in a row."""
    return x.reshape(x.shape[0], x.shape[1] * x.shape[2])


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
