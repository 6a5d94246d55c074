"""The k largest rises and falls of luminance between consecutive frames."""

import math

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
def totals(frames, out):
    """out[f, p] = the sum of the channels of frames[f, p]."""
    for f in range(frames.shape[0]):
        for p in range(frames.shape[1]):
            total = 0
            for c in range(frames.shape[2]):
                total += frames[f, p, c]
            out[f, p] = total


@compiled
def largest_changes(frames, table, codes, cubic, lines, rising, before, out):
    """Put the largest rises and falls of table[sum of channels] into the heaps out[0, pair].

    The first frame is the one before where `before` is empty. No pixel is screened here.
    """
    first = 0
    if before.size == 0:
        first, before = 1, np.zeros(frames.shape[1], before.dtype)
    for f in range(frames.shape[0]):
        for p in range(frames.shape[1]):
            total = 0
            for c in range(frames.shape[2]):
                total += frames[f, p, c]
            if f >= first:
                offer(table[total] - table[before[p]], out[0, f - first])
            before[p] = total


@compiled
def largest_differences(before, now, out):
    """Put the largest rises and falls from before to now into the heaps out[0]."""
    for p in range(now.size):
        offer(now[p] - before[p], out[0])
