"""The k largest rises and falls of luminance between consecutive frames."""

import functools
import math

import numba
import numpy as np

from voxkern.kernels.jit._compile import compiled


@compiled
def replace_least(heap, value):
    """Put `value` in place of heap[0], the least of a heap."""
    parent, child = 0, 1
    while child < heap.size:
        if child + 1 < heap.size and heap[child + 1] < heap[child]:
            child += 1
        if heap[child] >= value:
            break
        heap[parent] = heap[child]
        parent, child = child, 2 * child + 1
    heap[parent] = value


@compiled
def offer(change, heaps):
    """Keep a change where it is among the k largest; a NaN stays for good, nothing exceeds it."""
    if change > heaps[0, 0]:
        replace_least(heaps[0], change)
    elif -change > heaps[1, 0]:
        replace_least(heaps[1], -change)
    elif math.isnan(change):
        heaps[:, 0] = change


@compiled
def totals(pixels, out):
    """out[p] = the sum of the three channels of pixels[p]."""
    for p in range(pixels.shape[0]):
        out[p] = np.int32(pixels[p, 0]) + pixels[p, 1] + pixels[p, 2]


@compiled
def largest_changes(frames, table, codes, cubics, lines, slack, before, started, out):
    """Put the largest rises and falls of table[sum of channels] into the heaps out[0, pair].

    before has the sums of a frame before the first if the clip has started, and takes the last's.
    No pixel is screened here.
    """
    if before.size == 0:
        before = np.zeros(frames.shape[1], before.dtype)
    for f in range(frames.shape[0]):
        for p in range(frames.shape[1]):
            total = 0
            for c in range(frames.shape[2]):
                total += frames[f, p, c]
            if started:
                offer(table[total] - table[before[p]], out[0, f])
            elif f > 0:
                offer(table[total] - table[before[p]], out[0, f - 1])
            before[p] = total


@compiled
def power_of_gray(pixel, power):
    """Luminance of one pixel; `power` is that of `Power` in flash.h."""
    gray = np.float64(0)
    for c in range(pixel.size):
        gray += pixel[c]
    gray /= pixel.size
    if power[12] == 0 or not gray > power[0]:
        return power[1] * gray
    base = power[3] * gray + power[4]
    return power[2] * base ** (2 + power[12] / 5) if base >= 0 else math.nan


@compiled
def largest_power_changes(frames, power, before, started, out):
    """As largest_changes, of luminance that is a power of gray; before has pixels."""
    last = np.zeros(frames.shape[1])
    for p in range(last.size if started else 0):
        last[p] = power_of_gray(before[p], power)
    for f in range(frames.shape[0]):
        for p in range(last.size):
            value = power_of_gray(frames[f, p], power)
            if started or f > 0:
                offer(value - last[p], out[0, f if started else f - 1])
            last[p] = value
    for p in range(before.shape[0]):
        before[p] = frames[-1, p]


@compiled
def largest_differences(before, now, out):
    """Put the largest rises and falls from before to now into the heaps out[0]."""
    for p in range(now.size):
        offer(now[p] - before[p], out[0])


@functools.lru_cache(64)
def changes_by(curve):
    """As largest_changes, of pixels `begin` to `end` and luminance that is `curve` of gray."""

    @numba.njit(nogil=True)
    def changes(frames, begin, end, out):
        last, channels = np.empty(end - begin), frames.shape[2]
        for f in range(frames.shape[0]):
            for p in range(begin, end):
                gray = np.float64(0)
                for c in range(channels):
                    gray += frames[f, p, c]
                value = np.float64(curve(gray / channels))
                if f > 0:
                    offer(value - last[p - begin], out[f - 1])
                last[p - begin] = value

    return changes


@functools.lru_cache(64)
def over_arrays(curve):
    """`curve` of every element of an array."""

    @numba.njit(nogil=True)
    def evaluate(gray):
        values = np.empty(gray.size)
        for i in range(gray.size):
            values[i] = curve(gray[i])
        return values

    return evaluate
