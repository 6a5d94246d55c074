"""Pooling by any function, window by window."""

import itertools

import numpy as np


def window_reduce(x, kernel_size, stride=None, padding=0, *, reducer, dtype=None):
    """See :func:`voxkern.jit.window_reduce`; `reducer` is any function, windows are tuples."""
    axes = len(kernel_size)
    stride = kernel_size if stride is None else stride
    padding = (padding,) * axes if isinstance(padding, int) else padding
    spans = list(zip(x.shape[-axes:], kernel_size, stride, padding))
    counts = [(n + 2 * p - k) // s + 1 for n, k, s, p in spans]
    out = np.empty((*x.shape[:-axes], *counts), x.dtype if dtype is None else dtype)
    for lead in np.ndindex(x.shape[:-axes]):
        for place in itertools.product(*map(range, counts)):
            starts = [o * s - p for o, (_, _, s, p) in zip(place, spans)]
            window = tuple(slice(max(a, 0), a + k) for a, k in zip(starts, kernel_size))
            out[lead + place] = reducer(x[lead + window].ravel())
    return out
