"""The k largest rises and falls of luminance between consecutive frames."""

from cython.parallel cimport prange
from libc.math cimport NAN
from libc.stdint cimport int16_t, int32_t, uint8_t, uint16_t
from libc.string cimport memcpy

cdef extern from "flash.h" nogil:
    void PREFETCH(const void *address)
    void sum_rgb(const uint8_t *rgb, int16_t *sums, Py_ssize_t count)
    void block_range_16(const int16_t *now, const int16_t *before, Py_ssize_t count,
                        int16_t *range)
    void block_range_32(const int32_t *now, const int32_t *before, Py_ssize_t count,
                        int32_t *range)
    int16_t highest_riser_16(const int16_t *to, const int16_t *source, Py_ssize_t count,
                             int16_t least)
    int32_t highest_riser_32(const int32_t *to, const int32_t *source, Py_ssize_t count,
                             int32_t least)

ctypedef fused pixel:
    uint8_t
    uint16_t

# A pixel's sum over its channels: int16 for uint8 frames, int32 for uint16.
ctypedef fused total:
    int16_t
    int32_t

cdef enum:
    BLOCK = 256  # pixels screened together
    TILE = 8192  # pixels that walk through all frames together: their sums stay in the cache


cdef inline void sums_of(const pixel *source, Py_ssize_t channels, total *sums,
                         Py_ssize_t count) noexcept nogil:
    cdef Py_ssize_t i
    if channels == 1:
        for i in range(count):
            sums[i] = <total>source[i]
    elif pixel is uint8_t and total is int16_t:
        sum_rgb(source, sums, count)
    else:
        for i in range(count):
            sums[i] = <total>source[3 * i] + source[3 * i + 1] + source[3 * i + 2]


cdef inline void replace_least(double *heap, Py_ssize_t k, double value) noexcept nogil:
    """Put `value` in place of heap[0], the least of the k values of a heap."""
    cdef Py_ssize_t parent = 0, child = 1
    while child < k:
        if child + 1 < k and heap[child + 1] < heap[child]:
            child += 1
        if heap[child] >= value:
            break
        heap[parent] = heap[child]
        parent = child
        child = 2 * parent + 1
    heap[parent] = value


cdef inline void offer(double change, double *rises, double *falls, Py_ssize_t k) noexcept nogil:
    """Keep a change where it is among the k largest; a NaN stays for good, nothing exceeds it."""
    if change <= rises[0] and -change <= falls[0]:
        return
    if change > rises[0]:
        replace_least(rises, k, change)
    elif -change > falls[0]:
        replace_least(falls, k, -change)
    else:
        rises[0] = falls[0] = NAN


cdef bint may_gain(const total *to, const total *source, Py_ssize_t count, total top, total rise,
                   const double *table, double bound) noexcept nogil:
    """Whether a pixel of a block can gain more than `bound` luminance; convex tables only.

    `top` is the highest sum in `to`, `rise` the largest rise from `source`. A pixel that goes from
    b to a, a <= top and a - b <= rise, gains table[a] - table[b] <= table[a] - table[a-rise]
    <= table[top] - table[top-rise]: the table does not decrease, and being convex it gains most at
    the top. Rounded differences keep the order of exact ones, so there is no margin and a block of
    ties is ruled out. Where a bright steady pixel set the top, the risers alone decide: each gain
    above the bound takes at least the rise that it takes at the top.
    """
    cdef Py_ssize_t least, low, attempt
    cdef total riser
    for attempt in range(4):
        if table[top] - table[top - rise] <= bound:
            return False
        low, least = 0, rise  # bisection: a gain over low is not enough, over least it is
        while least - low > 1:
            if table[top] - table[top - (low + least) // 2] > bound:
                least = (low + least) // 2
            else:
                low = (low + least) // 2
        if total is int16_t:
            riser = highest_riser_16(to, source, count, <int16_t>least)
        else:
            riser = highest_riser_32(to, source, count, <int32_t>least)
        if riser == top:
            return True
        top = riser
    return True


cdef inline bint may_matter(const total *now, const total *before, Py_ssize_t count,
                            const double *table, double rise, double fall) noexcept nogil:
    """Whether a block can hold a rise above `rise` or a fall above `fall`; convex tables only."""
    cdef total limits[4]
    if total is int16_t:
        block_range_16(now, before, count, limits)
    else:
        block_range_32(now, before, count, limits)
    return (may_gain(now, before, count, limits[0], limits[2], table, rise)
            or may_gain(before, now, count, limits[1], limits[3], table, fall))


cdef void walk_block(const pixel *source, Py_ssize_t channels, const double *table, bint convex,
                     total *before, Py_ssize_t count, double *largest,
                     Py_ssize_t k) noexcept nogil:
    """One block of one frame; largest is k rises and k falls."""
    cdef total now[BLOCK]
    cdef double *falls = largest + k
    cdef Py_ssize_t i
    sums_of(source, channels, now, count)
    if not convex or may_matter(now, before, count, table, largest[0], falls[0]):
        for i in range(count):
            offer(table[now[i]] - table[before[i]], largest, falls, k)
    memcpy(before, now, count * sizeof(total))


cdef inline void prefetch_block(const void *address, Py_ssize_t size) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(0, size, 64):
        PREFETCH(<const char *>address + i)


cdef void walk(const pixel *frames, Py_ssize_t length, Py_ssize_t pixels, Py_ssize_t channels,
               Py_ssize_t begin, Py_ssize_t end, const double *table, bint convex, total *before,
               double *largest, Py_ssize_t k) noexcept nogil:
    """Pixels begin to end of every frame, tile by tile."""
    cdef Py_ssize_t tile = begin, frame, block, stop
    cdef const pixel *source
    while tile < end:
        stop = min(tile + TILE, end)
        for frame in range(length):
            block = tile
            while block < stop:
                source = frames + (frame * pixels + block) * channels
                # What this place of a tile holds next, which the hardware does not foresee: 2.5
                # times as fast.
                if frame + 1 < length:
                    prefetch_block(source + pixels * channels, BLOCK * channels * sizeof(pixel))
                elif block + TILE < end:
                    prefetch_block(frames + (block + TILE) * channels,
                                   BLOCK * channels * sizeof(pixel))
                walk_block(source, channels, table, convex, before + block,
                           min(BLOCK, stop - block), largest + 2 * k * frame, k)
                block = block + BLOCK
        tile = tile + TILE


def totals(const pixel[:, :, ::1] frames, *, total[:, ::1] out):
    """out[f, p] = the sum of the channels of frames[f, p]."""
    cdef Py_ssize_t count = out.shape[0] * out.shape[1]
    if count:
        with nogil:
            sums_of(&frames[0, 0, 0], frames.shape[2], &out[0, 0], count)


def largest_changes(const pixel[:, :, ::1] frames, const double[::1] table, bint convex,
                    total[::1] before, *, double[:, :, :, ::1] out):
    """Put the largest rises and falls of table[sum of channels] into the heaps out[part, frame].

    before has the sums of the frame before the first, and then of the last. Each part of the
    pixels has its own heaps; give zeros, or what an earlier call left.
    """
    cdef Py_ssize_t length = frames.shape[0], pixels = frames.shape[1], channels = frames.shape[2]
    cdef Py_ssize_t parts = out.shape[0], k = out.shape[3], blocks = (pixels + BLOCK - 1) // BLOCK
    cdef Py_ssize_t part
    if length == 0 or pixels == 0:
        return
    if (pixel is uint8_t and total is int16_t) or (pixel is uint16_t and total is int32_t):
        for part in prange(parts, nogil=True, num_threads=<int>parts, schedule="static"):
            walk(&frames[0, 0, 0], length, pixels, channels, blocks * part // parts * BLOCK,
                 min(pixels, blocks * (part + 1) // parts * BLOCK), &table[0], convex, &before[0],
                 &out[part, 0, 0, 0], k)
    else:
        raise TypeError("before must be int16 for uint8 frames, int32 for uint16")


def largest_differences(const double[::1] before, const double[::1] now, *,
                        double[:, :, ::1] out):
    """Put the largest rises and falls from before to now into the heaps out[part]."""
    cdef Py_ssize_t pixels = now.shape[0], parts = out.shape[0], k = out.shape[2], part, i
    for part in prange(parts, nogil=True, num_threads=<int>parts, schedule="static"):
        for i in range(pixels * part // parts, pixels * (part + 1) // parts):
            offer(now[i] - before[i], &out[part, 0, 0], &out[part, 1, 0], k)
