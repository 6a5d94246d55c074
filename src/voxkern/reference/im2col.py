"""The oracles of im2col and col2im."""

import numpy as np

from voxkern.reference._shape import into, pairs, per_axis


def window_positions(size, kernel_size, stride, padding, dilation):
    """Per axis, the padded input's index of (window, kernel position), as a 2-D array."""
    positions = []
    for n, k, s, (before, after), d in zip(size, kernel_size, stride, padding, dilation):
        count = (n + before + after - d * (k - 1) - 1) // s + 1
        positions.append(np.arange(count)[:, None] * s + np.arange(k) * d)
    return positions


def im2col(x, kernel_size, stride=1, padding=0, dilation=1, *, out=None):
    """Oracle of :func:`voxkern.im2col`: fancy indexing of the padded input, one axis at a time."""
    axes = x.ndim - 2 if isinstance(kernel_size, int) else len(kernel_size)
    kernel_size, stride = per_axis(kernel_size, axes), per_axis(stride, axes)
    dilation = per_axis(dilation, axes)
    padding = pairs(padding, kernel_size, dilation)
    lead = x.shape[: x.ndim - axes - 1]
    size = x.shape[x.ndim - axes :]
    cols = np.pad(x, [(0, 0)] * (x.ndim - axes) + padding)
    for axis, index in enumerate(window_positions(size, kernel_size, stride, padding, dilation)):
        cols = np.take(cols, index, axis=len(lead) + 1 + 2 * axis)
    # (lead, C, O1, K1, O2, K2, ...) -> (lead, C, K1, K2, ..., O1, O2, ...)
    first = len(lead) + 1
    order = [*range(first), *range(first + 1, cols.ndim, 2), *range(first, cols.ndim, 2)]
    cols = cols.transpose(order)
    rows = x.shape[len(lead)] * int(np.prod(kernel_size))
    count = int(np.prod(cols.shape[first + axes :]))
    return into(out, cols.reshape(*lead, rows, count))


def col2im(cols, output_size, kernel_size, stride=1, padding=0, dilation=1, *, out=None):
    """Oracle of :func:`voxkern.col2im`: add every column at the place im2col took it from."""
    axes = 1 if isinstance(output_size, int) else len(output_size)
    size, kernel_size = per_axis(output_size, axes), per_axis(kernel_size, axes)
    stride, dilation = per_axis(stride, axes), per_axis(dilation, axes)
    padding = pairs(padding, kernel_size, dilation)
    positions = window_positions(size, kernel_size, stride, padding, dilation)
    counts = [len(p) for p in positions]
    lead = cols.shape[: cols.ndim > 2]
    channels = cols.shape[len(lead)] // int(np.prod(kernel_size))
    cols = cols.reshape(*lead, channels, *kernel_size, *counts)
    padded = np.zeros(
        (*lead, channels, *(n + b + a for n, (b, a) in zip(size, padding))), cols.dtype
    )
    for tap in np.ndindex(*kernel_size):
        place = tuple(p[:, k] for p, k in zip(positions, tap))
        padded[(..., *np.ix_(*place))] += cols[(*[slice(None)] * (len(lead) + 1), *tap)]
    inside = tuple(slice(b, b + n) for n, (b, _) in zip(size, padding))
    return into(out, padded[(..., *inside)])
