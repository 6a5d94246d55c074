"""Pooling: a thread for each element of the result, or a block where windows are long.

A window is given by kernel_size, stride, the padding before the input and dilation; kernel_size 0
stands for adaptive windows.
"""

import math

import numpy as np

from voxkern.kernels.cuda._cuda import (
    BLOCKS,
    THREADS,
    cuda,
    device,
    fill,
    float64,
    int64,
    launch,
    run,
    scratch,
)
from voxkern.kernels.cuda._reduce import block_sum

LONG = 8 * THREADS  # a block reads windows of more elements together, in whole cache lines
ADAPTIVE, ONE, NONE = (0, 0, 0), (1, 1, 1), (0, 0, 0)


@device
def _bounds(o, size, count, kernel, stride, before, dilation):
    """The first element of window o inside of the input, and the end of its elements there."""
    if kernel == 0:
        return o * size // count, ((o + 1) * size + count - 1) // count
    first = o * stride - before
    stop = first + dilation * (kernel - 1) + 1
    if stop > size:
        stop = size
    if first < 0:
        first += (dilation - 1 - first) // dilation * dilation
    return first, stop


@device
def _holders(i, size, count, kernel, stride, before):
    """The first window that holds element i, and the end of those that do; without dilation."""
    if kernel == 0:
        return i * count // size, ((i + 1) * count + size - 1) // size
    first = (i + before - kernel) // stride + 1
    stop = (i + before) // stride + 1
    return first if first > 0 else 0, stop if stop < count else count


@device
def _length(o, size, count, kernel, stride, before, include_pad):
    """Elements of window o on one axis, with those of the padding if they are to count."""
    if kernel > 0 and include_pad:
        room = size + before - (o * stride - before)
        return kernel if kernel < room else room
    first, stop = _bounds(o, size, count, kernel, stride, before, 1)
    return stop - first


@device
def _later(value, place, best, best_place):
    """Whether `value` wins over the best so far: of equals the first, of NaNs the last."""
    if best_place < 0 or value > best:
        return True
    if value == best:
        return place < best_place
    return value != value and (best == best or place > best_place)


@cuda.jit
def _max(x, sign, kernel, stride, before, dilation, out, places):
    real = x.dtype.type
    batch, channels, depth, height, width = x.shape
    od, oh, ow = out.shape[2:]
    column, row = cuda.grid(2)
    columns, rows = cuda.gridsize(2)
    for item in range(row, batch * channels * od, rows):
        i = item % od
        c = item // od % channels
        n = item // (od * channels)
        front, back = _bounds(i, depth, od, kernel[0], stride[0], before[0], dilation[0])
        for window in range(column, oh * ow, columns):
            j = window // ow
            k = window - j * ow
            top, bottom = _bounds(j, height, oh, kernel[1], stride[1], before[1], dilation[1])
            left, right = _bounds(k, width, ow, kernel[2], stride[2], before[2], dilation[2])
            best, place = real(-math.inf), -1
            for z in range(front, back, dilation[0]):
                for y in range(top, bottom, dilation[1]):
                    for w in range(left, right, dilation[2]):
                        value = x[n, c, z, y, w]
                        if sign != 0:
                            value = math.copysign(value, sign)
                        # Places only grow here.
                        if place < 0 or value > best or value != value:
                            best = value
                            place = (z * height + y) * width + w
            out[n, c, i, j, k] = best if sign == 0 else abs(best)
            if places.size > 0:
                places[n, c, i, j, k] = place


@cuda.jit
def _max_long(x, sign, kernel, stride, before, dilation, out, places):
    real = x.dtype.type
    batch, channels, depth, height, width = x.shape
    od, oh, ow = out.shape[2:]
    values = cuda.shared.array(THREADS, x.dtype)
    where = cuda.shared.array(THREADS, int64)
    thread = cuda.threadIdx.x
    for item in range(cuda.blockIdx.x, batch * channels * od * oh * ow, cuda.gridDim.x):
        k = item % ow
        j = item // ow % oh
        i = item // (ow * oh) % od
        c = item // (ow * oh * od) % channels
        n = item // (ow * oh * od * channels)
        front, back = _bounds(i, depth, od, kernel[0], stride[0], before[0], dilation[0])
        top, bottom = _bounds(j, height, oh, kernel[1], stride[1], before[1], dilation[1])
        left, right = _bounds(k, width, ow, kernel[2], stride[2], before[2], dilation[2])
        high = (bottom - top + dilation[1] - 1) // dilation[1]
        wide = (right - left + dilation[2] - 1) // dilation[2]
        deep = (back - front + dilation[0] - 1) // dilation[0]
        best, place = real(-math.inf), -1
        for tap in range(thread, deep * high * wide, cuda.blockDim.x):
            z = front + tap // (wide * high) * dilation[0]
            y = top + tap // wide % high * dilation[1]
            w = left + tap % wide * dilation[2]
            value = x[n, c, z, y, w]
            if sign != 0:
                value = math.copysign(value, sign)
            if place < 0 or value > best or value != value:
                best = value
                place = (z * height + y) * width + w
        values[thread] = best
        where[thread] = place
        cuda.syncthreads()
        half = cuda.blockDim.x // 2
        while half > 0:
            if thread < half and where[thread + half] >= 0:
                value = values[thread + half]
                if _later(value, where[thread + half], values[thread], where[thread]):
                    values[thread] = value
                    where[thread] = where[thread + half]
            cuda.syncthreads()
            half //= 2
        if thread == 0:
            out[n, c, i, j, k] = values[0] if sign == 0 else abs(values[0])
            if places.size > 0:
                places[n, c, i, j, k] = where[0]
        cuda.syncthreads()


@device
def _power(value, power):
    """value ** power; the common ones are exact and fast."""
    if power == 1:
        return value
    return value * value if power == 2 else value**power


@device
def _ended(mean, root, taps):
    """A mean where root is 0, or the norm of a window of `taps` elements."""
    return mean if root == 0 else _power(mean * taps, root)


@cuda.jit
def _sum(x, power, root, kernel, stride, before, include_pad, divisor, out):
    real = x.dtype.type
    batch, channels, depth, height, width = x.shape
    od, oh, ow = out.shape[2:]
    taps, zero = real(kernel[0] * kernel[1] * kernel[2]), real(0)
    column, row = cuda.grid(2)
    columns, rows = cuda.gridsize(2)
    for item in range(row, batch * channels * od, rows):
        i = item % od
        c = item // od % channels
        n = item // (od * channels)
        front, back = _bounds(i, depth, od, kernel[0], stride[0], before[0], 1)
        deep = _length(i, depth, od, kernel[0], stride[0], before[0], include_pad)
        for window in range(column, oh * ow, columns):
            j = window // ow
            k = window - j * ow
            top, bottom = _bounds(j, height, oh, kernel[1], stride[1], before[1], 1)
            left, right = _bounds(k, width, ow, kernel[2], stride[2], before[2], 1)
            total = zero
            for z in range(front, back):
                for y in range(top, bottom):
                    line = zero
                    for w in range(left, right):
                        line += _power(x[n, c, z, y, w], power)
                    total += line
            volume = divisor
            if divisor == 0:
                high = _length(j, height, oh, kernel[1], stride[1], before[1], include_pad)
                wide = _length(k, width, ow, kernel[2], stride[2], before[2], include_pad)
                volume = deep * high * wide
            out[n, c, i, j, k] = _ended(total / real(volume), root, taps)


@cuda.jit
def _sum_long(x, power, root, kernel, stride, before, include_pad, divisor, out):
    real = x.dtype.type
    batch, channels, depth, height, width = x.shape
    od, oh, ow = out.shape[2:]
    taps = real(kernel[0] * kernel[1] * kernel[2])
    shared = cuda.shared.array(THREADS, float64)
    for item in range(cuda.blockIdx.x, batch * channels * od * oh * ow, cuda.gridDim.x):
        k = item % ow
        j = item // ow % oh
        i = item // (ow * oh) % od
        c = item // (ow * oh * od) % channels
        n = item // (ow * oh * od * channels)
        front, back = _bounds(i, depth, od, kernel[0], stride[0], before[0], 1)
        top, bottom = _bounds(j, height, oh, kernel[1], stride[1], before[1], 1)
        left, right = _bounds(k, width, ow, kernel[2], stride[2], before[2], 1)
        high, wide = bottom - top, right - left
        total = 0.0
        for tap in range(cuda.threadIdx.x, (back - front) * high * wide, cuda.blockDim.x):
            z = front + tap // (wide * high)
            value = x[n, c, z, top + tap // wide % high, left + tap % wide]
            total += float64(_power(value, power))
        total = block_sum(total, shared)
        volume = divisor
        if divisor == 0:
            deep = _length(i, depth, od, kernel[0], stride[0], before[0], include_pad)
            high = _length(j, height, oh, kernel[1], stride[1], before[1], include_pad)
            wide = _length(k, width, ow, kernel[2], stride[2], before[2], include_pad)
            volume = deep * high * wide
        if cuda.threadIdx.x == 0:
            mean = real(total / volume)
            out[n, c, i, j, k] = _ended(mean, root, taps)


@cuda.jit
def _spread(grad, x, power, kernel, stride, before, include_pad, divisor, out):
    """The adjoint of _sum as a mean, times x ** power where x is not empty."""
    real = grad.dtype.type
    zero = real(0)
    batch, channels, depth, height, width = out.shape
    od, oh, ow = grad.shape[2:]
    column, row = cuda.grid(2)
    columns, rows = cuda.gridsize(2)
    for item in range(row, batch * channels * depth, rows):
        z = item % depth
        c = item // depth % channels
        n = item // (depth * channels)
        front, back = _holders(z, depth, od, kernel[0], stride[0], before[0])
        for place in range(column, height * width, columns):
            y = place // width
            w = place - y * width
            top, bottom = _holders(y, height, oh, kernel[1], stride[1], before[1])
            left, right = _holders(w, width, ow, kernel[2], stride[2], before[2])
            total = zero
            for i in range(front, back):
                deep = _length(i, depth, od, kernel[0], stride[0], before[0], include_pad)
                for j in range(top, bottom):
                    high = _length(j, height, oh, kernel[1], stride[1], before[1], include_pad)
                    line = zero
                    for k in range(left, right):
                        wide = _length(k, width, ow, kernel[2], stride[2], before[2], include_pad)
                        volume = divisor if divisor != 0 else deep * high * wide
                        line += grad[n, c, i, j, k] / real(volume)
                    total += line
            if x.size > 0:
                total *= _power(x[n, c, z, y, w], power)
            out[n, c, z, y, w] = total


@cuda.jit
def _share(grad, exponent, none, taps, out):
    """out, norms of windows, becomes what each gives to its elements, but for x ** (p - 1)."""
    for item in range(cuda.grid(1), out.size, cuda.gridsize(1)):
        norm = out[item]
        out[item] = 0 if norm == none else grad[item] * taps * norm**exponent


@cuda.jit
def _signed(x, out):
    """out *= sign(x)."""
    for item in range(cuda.grid(1), out.size, cuda.gridsize(1)):
        value = x[item]
        if not value > 0:
            out[item] *= value if value == 0 or value != value else -1


@cuda.jit
def _scatter(grad, indices, out):
    column, row = cuda.grid(2)
    columns, rows = cuda.gridsize(2)
    channels, windows = grad.shape
    for channel in range(row, channels, rows):
        for window in range(column, windows, columns):
            cuda.atomic.add(out, (channel, indices[channel, window]), grad[channel, window])


@cuda.jit
def _put(x, indices, out):
    column, row = cuda.grid(2)
    columns, rows = cuda.gridsize(2)
    channels, windows = x.shape
    for channel in range(row, channels, rows):
        for window in range(column, windows, columns):
            out[channel, indices[channel, window]] = x[channel, window]


@cuda.jit
def _take(grad, indices, out):
    column, row = cuda.grid(2)
    columns, rows = cuda.gridsize(2)
    channels, windows = out.shape
    for channel in range(row, channels, rows):
        for window in range(column, windows, columns):
            out[channel, window] = grad[channel, indices[channel, window]]


@cuda.jit
def _outside(indices, volume, out):
    """out = 1 and an index that is not from 0 to volume - 1, where there is one."""
    for item in range(cuda.grid(1), indices.size, cuda.gridsize(1)):
        place = indices[item]
        if place < 0 or place >= volume:
            out[0] = 1
            out[1] = place


def max_pool3d(x, kernel_size, stride, padding, dilation, ceil_mode, return_indices, *, out):
    """out = the maximum of every window; with return_indices a pair, of maxima and places."""
    out = out if return_indices else (out, _none(x, np.int64))
    _maxima(x, x.dtype.type(0), kernel_size, stride, padding, dilation, out)


def adaptive_max_pool3d(x, output_size, return_indices, *, out):
    """out = the maximum of every adaptive window, and its place."""
    max_pool3d(x, ADAPTIVE, ONE, NONE, ONE, False, return_indices, out=out)


def _maxima(x, sign, kernel_size, stride, padding, dilation, out):
    """Maxima of x, or, where sign is not 0, magnitudes of those of x with that sign."""
    _run(_max, _max_long, x, kernel_size, (sign, kernel_size, stride, padding, dilation), out)


def _run(short, long, x, kernel_size, arguments, out):
    """Run the kernel for short or that for long windows; `out` is a pair or an array."""
    batch, channels, od, oh, ow = (out[0] if isinstance(out, tuple) else out).shape
    taps = math.prod(kernel_size) or math.prod(x.shape[2:]) // max(1, od * oh * ow)
    if taps < LONG:
        launch(short, (batch * channels * od, oh * ow), x, *arguments, out=out)
    else:
        run(long, min(BLOCKS, batch * channels * od * oh * ow), THREADS, x, *arguments, out=out)


def avg_pool3d(
    x, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override, *, out
):
    """out = the mean of every window."""
    window = kernel_size, stride, padding, count_include_pad, divisor_override or 0
    powers = x.dtype.type(1), x.dtype.type(0)
    _run(_sum, _sum_long, x, kernel_size, (*powers, *window), out)


def adaptive_avg_pool3d(x, output_size, *, out):
    """out = the mean of every adaptive window."""
    avg_pool3d(x, ADAPTIVE, ONE, NONE, False, False, None, out=out)


def lp_pool3d(x, norm_type, kernel_size, stride, ceil_mode, *, out):
    """out = the norm of every window, of any norm_type."""
    real = x.dtype.type
    if math.isinf(norm_type):
        sign, places = real(math.copysign(1, norm_type)), _none(x, np.int64)
        _maxima(x, sign, kernel_size, stride, NONE, ONE, (out, places))
        return
    powers = real(norm_type), real(1 / norm_type)
    _run(_sum, _sum_long, x, kernel_size, (*powers, kernel_size, stride, NONE, True, 0), out)


def avg_pool3d_backward(
    grad,
    input_size,
    kernel_size,
    stride,
    padding,
    ceil_mode,
    count_include_pad,
    divisor_override,
    *,
    out,
):
    """out = for every element the means' gradients of the windows that hold it."""
    window = kernel_size, stride, padding, count_include_pad, divisor_override or 0
    launch(
        _spread, _planes(out), grad, _none(grad, grad.dtype), grad.dtype.type(1), *window, out=out
    )


def adaptive_avg_pool3d_backward(grad, input_size, *, out):
    """The same of adaptive windows."""
    avg_pool3d_backward(grad, input_size, ADAPTIVE, ONE, NONE, False, False, None, out=out)


def lp_pool3d_backward(grad, x, norm_type, kernel_size, stride, *, norms, places, out):
    """out = the gradient of lp_pool3d.

    `norms`, and with an infinite norm_type the int64 `places`, have the shape of grad and are
    overwritten.
    """
    real = x.dtype.type
    if math.isinf(norm_type):
        sign = real(math.copysign(1, norm_type))
        _maxima(x, sign, kernel_size, stride, NONE, ONE, (norms, places))
        max_pool3d_backward(grad, places, x.shape[2:], out=out)
        launch(_signed, x.size, _flat(x), out=_flat(out))
        return
    lp_pool3d(x, norm_type, kernel_size, stride, False, out=norms)
    share, taps = _flat(norms), real(math.prod(kernel_size))
    none = real(0 if norm_type > 0 else math.inf)
    launch(_share, share.size, _flat(grad), real(1 - norm_type), none, taps, out=share)
    window = kernel_size, stride, NONE, True, 0
    launch(_spread, _planes(out), norms, x, real(norm_type - 1), *window, out=out)


def max_pool3d_backward(grad, indices, input_size, *, out):
    """out = every gradient at its index; IndexError where one is not in the input.

    The order of the sums where windows share their maximum is that of the GPU's threads.
    """
    if outside(indices, math.prod(input_size)) is not None:
        raise IndexError("an index is outside of the input")
    fill(out, 0)
    grad = _channels(grad)
    launch(_scatter, grad.shape, grad, _channels(indices), out=_channels(out))


def max_unpool3d(x, indices, kernel_size, stride, padding, output_size, *, out):
    """out = every x at its index, and 0 elsewhere."""
    fill(out, 0)
    x = _channels(x)
    launch(_put, x.shape, x, _channels(indices), out=_channels(out))


def max_unpool3d_backward(grad, indices, *, out):
    """out = the gradient at every index."""
    out = _channels(out)
    launch(_take, out.shape, _channels(grad), _channels(indices), out=out)


def outside(indices, volume):
    """An index that is not from 0 to volume - 1, or None; waits for the GPU."""
    found = scratch(indices, (2,), indices.dtype)
    fill(found, 0)
    launch(_outside, indices.size, _flat(indices), volume, out=found)
    any_bad, place = found if isinstance(found, np.ndarray) else found.data.copy_to_host()
    return int(place) if any_bad else None


def _none(like, dtype):
    """The array of five axes to give to a kernel where there is none."""
    return scratch(like, (0, 0, 0, 0, 0), dtype)


def _planes(array):
    """Rows and columns of a launch over all elements: a row for each plane."""
    batch, channels, depth, height, width = array.shape
    return batch * channels * depth, height * width


def _flat(array):
    return array.reshape(array.size)


def _channels(array):
    """`array` with its batch and channels as one axis and its spatial axes as another."""
    rows = array.shape[0] * array.shape[1]
    return array.reshape(rows, math.prod(array.shape[2:]))
