"""Windows of five-dimensional arrays, each reduced by a function of the caller's."""

import functools

import numba
import numpy as np


@functools.lru_cache(64)
def reduced_by(reducer):
    """The loop over rows of windows, compiled with `reducer` in it."""

    @numba.njit(nogil=True)
    def rows(x, kernel, stride, padding, begin, end, out):
        _, depth, height, width = x.shape
        _, planes, lines, windows = out.shape
        values = np.empty(kernel[0] * kernel[1] * kernel[2], x.dtype)
        for row in range(begin, end):
            channel, i, j = row // lines // planes, row // lines % planes, row % lines
            z, y = i * stride[0] - padding[0], j * stride[1] - padding[1]
            for o in range(windows):
                w, n = o * stride[2] - padding[2], 0
                for a in range(max(z, 0), min(z + kernel[0], depth)):
                    for b in range(max(y, 0), min(y + kernel[1], height)):
                        for c in range(max(w, 0), min(w + kernel[2], width)):
                            values[n] = x[channel, a, b, c]
                            n += 1
                out[channel, i, j, o] = reducer(values[:n])

    return rows
