"""The k largest rises and falls of luminance between consecutive frames; see flash.h for how."""

from cython.parallel cimport prange
from libc.stdint cimport int32_t, uint8_t, uint16_t
from libc.math cimport INFINITY
from libc.stdlib cimport free, malloc, qsort
from libc.string cimport memset

cdef extern from "flash.h" nogil:
    enum:
        BLOCK, MOST_CURVES
    ctypedef struct Curve:
        const double *table
        const double *lines
        const uint16_t *codes
        Py_ssize_t line_count
        uint16_t scale
        uint16_t *cubic
        int32_t limit, last
        int rising
        double slack
    ctypedef struct Power:
        double knee, below, scale, slope, offset, rest, floor, close
        double *cubic
        int fifths, channels
    ctypedef struct Clip:
        const uint8_t *frames
        Py_ssize_t length, pixels, size, kept
        int started, rgb, wide
        const Curve *curves
        const Power *power
        void *before
    void walk_words(const Clip *clip, Py_ssize_t begin, Py_ssize_t end, double *largest,
                    Py_ssize_t k)
    void walk_ints(const Clip *clip, Py_ssize_t begin, Py_ssize_t end, double *largest,
                   Py_ssize_t k)
    void walk_float(const Clip *clip, Py_ssize_t begin, Py_ssize_t end, double *largest,
                    Py_ssize_t k)
    void walk_double(const Clip *clip, Py_ssize_t begin, Py_ssize_t end, double *largest,
                     Py_ssize_t k)
    void sums_of_bytes(const uint8_t *rgb, Py_ssize_t count, uint16_t *sums)
    void sums_of_words(const uint16_t *rgb, Py_ssize_t count, int32_t *sums)
    void offer_block(const double *before, const double *now, Py_ssize_t count, double *largest,
                     Py_ssize_t k)

ctypedef void (*Walk)(const Clip *clip, Py_ssize_t begin, Py_ssize_t end, double *largest,
                      Py_ssize_t k) noexcept nogil

ctypedef fused pixel:
    uint8_t
    uint16_t

ctypedef fused real:
    float
    double

# A pixel's sum over its channels, twice as wide where there are three.
ctypedef fused total:
    uint8_t
    uint16_t
    int32_t


cdef enum:
    # As in flash.py: pairs of frames whose heaps are kept at once, and the doubles of these.
    GROUP = 64
    GROUP_LARGEST = 1 << 19
    PART = 1 << 16  # pixels under which a second thread does not pay


cdef require(bint right):
    if not right:
        raise TypeError("sums of three channels are twice as wide as these, of one as wide")


def totals(const pixel[:, ::1] pixels, *, total[::1] out):
    """out[p] = the sum of the three channels of pixels[p]."""
    require(sizeof(total) == 2 * sizeof(pixel))
    if out.shape[0]:
        with nogil:
            if pixel is uint8_t and total is uint16_t:
                sums_of_bytes(&pixels[0, 0], out.shape[0], &out[0])
            elif pixel is uint16_t and total is int32_t:
                sums_of_words(&pixels[0, 0], out.shape[0], &out[0])


def largest_changes(const pixel[:, :, ::1] frames, const double[::1] table,
                    const uint16_t[::1] codes, const int32_t[:, ::1] cubics,
                    const double[:, :, ::1] lines, double slack, total[::1] before,
                    bint started, *, double[:, :, :, ::1] out):
    """Put the largest rises and falls of table[sum of channels] into the heaps out[part, pair].

    before has the sums of a frame before the first if the clip has started; else the first frame
    makes no pair. It becomes those of the last frame, or may be empty. Each part of the pixels has
    its own heaps; give zeros, or what an earlier call left.

    The others screen pixels, see `Curve`: cubics has rows of a limit of sums, from low to high, a
    scale and three coefficients. The codes are used where the one scale is 0. lines belong to rows.
    """
    cdef Clip clip
    cdef Curve curves[MOST_CURVES]
    require(sizeof(total) == (2 if frames.shape[2] == 3 else 1) * sizeof(pixel))
    if frames.shape[0] == 0 or frames.shape[1] == 0:
        return
    clip = describe(<const void *> &frames[0, 0, 0], frames.shape, sizeof(pixel))
    set_curves(&clip, curves, &table[0], table.shape[0], &codes[0], &cubics[0, 0],
               cubics.shape[0], &lines[0, 0, 0], lines.shape[1], slack)
    clip.before = <void *> &before[0] if before.shape[0] else NULL
    clip.started = started
    with nogil:
        walk_parts(walk_ints if total is int32_t else walk_words, &clip, &out[0, 0, 0, 0],
                   out.shape)


cdef Clip describe(const void *frames, const Py_ssize_t *shape, size_t itemsize) noexcept nogil:
    """Frames of shape (frame, pixel, channel), the first of which makes no pair."""
    cdef Clip clip
    memset(&clip, 0, sizeof(clip))
    clip.frames, clip.length, clip.pixels = <const uint8_t *> frames, shape[0], shape[1]
    clip.size, clip.rgb = shape[2] * itemsize, shape[2] == 3
    clip.wide, clip.kept = itemsize == 2, itemsize * (2 if shape[2] == 3 else 1)
    return clip


cdef void set_curves(Clip *clip, Curve *curves, const double *table, Py_ssize_t values,
                     const uint16_t *codes, const int32_t *cubics, Py_ssize_t count,
                     const double *lines, Py_ssize_t line_count, double slack) noexcept nogil:
    cdef Py_ssize_t i, j
    for i in range(min(count, MOST_CURVES)):
        curves[i].table, curves[i].codes, curves[i].rising = table, codes, slack < INFINITY
        curves[i].lines, curves[i].line_count = lines + 2 * i * line_count, line_count
        curves[i].limit, curves[i].scale = cubics[5 * i], <uint16_t> cubics[5 * i + 1]
        curves[i].slack, curves[i].last = slack, <int32_t> values - 1
        for j in range(3):
            curves[i].cubic[j] = <uint16_t> cubics[5 * i + 2 + j]
    clip.curves = curves


cdef void walk_parts(Walk walk, const Clip *clip, double *largest,
                     const Py_ssize_t *shape) noexcept nogil:
    """Give each part of the pixels its heaps: largest has `shape` (part, pair, 2, k)."""
    cdef Py_ssize_t blocks = (clip.pixels + BLOCK - 1) // BLOCK, parts = shape[0], part
    cdef Py_ssize_t step = shape[1] * 2 * shape[3]
    for part in prange(parts, num_threads=<int>parts, schedule="static"):
        walk(clip, blocks * part // parts * BLOCK,
             min(clip.pixels, blocks * (part + 1) // parts * BLOCK), largest + part * step,
             shape[3])


def largest_power_changes(const real[:, :, ::1] frames, const double[::1] power,
                          real[:, ::1] before, bint started, *,
                          double[:, :, :, ::1] out):
    """As largest_changes, of frames whose luminance is a power of gray; see `Power` in flash.h.

    power has its numbers in their order, fifths last; before are the pixels of a frame.
    """
    cdef Clip clip
    cdef Power curve
    if frames.shape[0] == 0 or frames.shape[1] == 0:
        return
    clip = describe(<const void *> &frames[0, 0, 0], frames.shape, sizeof(real))
    set_power(&clip, &curve, &power[0], frames.shape[2])
    clip.before = <void *> &before[0, 0] if before.shape[0] else NULL
    clip.started = started
    with nogil:
        walk_parts(walk_float if real is float else walk_double, &clip, &out[0, 0, 0, 0],
                   out.shape)


cdef void set_power(Clip *clip, Power *curve, const double *power,
                    Py_ssize_t channels) noexcept nogil:
    cdef int i
    curve.knee, curve.below, curve.scale, curve.slope = power[0], power[1], power[2], power[3]
    curve.offset, curve.rest, curve.floor, curve.close = power[4], power[5], power[6], power[7]
    for i in range(4):
        curve.cubic[i] = power[8 + i]
    curve.fifths, curve.channels = <int> power[12], <int> channels
    clip.power = curve


def largest_differences(const double[::1] before, const double[::1] now, *,
                        double[:, :, ::1] out):
    """Put the largest rises and falls from before to now into the heaps out[part]."""
    cdef Py_ssize_t pixels = now.shape[0], parts = out.shape[0], k = out.shape[2]
    cdef Py_ssize_t blocks = (pixels + BLOCK - 1) // BLOCK, part, i
    for part in prange(parts, nogil=True, num_threads=<int>parts, schedule="static"):
        for i in range(blocks * part // parts, blocks * (part + 1) // parts):
            offer_block(&before[i * BLOCK], &now[i * BLOCK], min(BLOCK, pixels - i * BLOCK),
                        &out[part, 0, 0], k)


cdef api int voxkern_flash_by_table(size_t itemsize, const Py_ssize_t *shape, const void *frames,
                                    Py_ssize_t k, const double *table, Py_ssize_t values,
                                    const uint16_t *codes, const int32_t *cubics,
                                    Py_ssize_t count, const double *lines, Py_ssize_t line_count,
                                    double slack, int threads, double *rows) noexcept nogil:
    """rows = the flash table of integer frames of `shape` (frame, pixel, channel), without Python.

    Of checked arguments, the rest of which `largest_changes` explains; false without memory.
    """
    cdef Clip clip = describe(frames, shape, itemsize)
    cdef Curve curves[MOST_CURVES]
    set_curves(&clip, curves, table, values, codes, cubics, count, lines, line_count, slack)
    return make_rows(walk_ints if clip.kept == 4 else walk_words, &clip, k, threads, rows)


cdef api int voxkern_flash_by_power(size_t itemsize, const Py_ssize_t *shape, const void *frames,
                                    Py_ssize_t k, const double *power, int threads,
                                    double *rows) noexcept nogil:
    """The same of float frames and the numbers of `largest_power_changes`."""
    cdef Clip clip = describe(frames, shape, itemsize)
    cdef Power curve
    set_power(&clip, &curve, power, shape[2])
    return make_rows(walk_float if itemsize == sizeof(float) else walk_double, &clip, k, threads,
                     rows)


cdef bint make_rows(Walk walk, Clip *clip, Py_ssize_t k, int threads, double *rows) noexcept nogil:
    """A row for every pair of frames, group by group; false without memory."""
    cdef Py_ssize_t pairs = clip.length - 1, at = 0, i
    cdef Py_ssize_t shape[4]
    shape[0] = max(1, min(threads, clip.pixels // PART))
    shape[2], shape[3] = 2, k
    cdef Py_ssize_t group = max(1, min(GROUP, pairs, GROUP_LARGEST // (2 * shape[0] * k)))
    cdef double *largest = <double *> malloc(shape[0] * (group + 1) * 2 * k * sizeof(double))
    cdef double *gathered = largest + shape[0] * group * 2 * k
    if largest == NULL:
        return False
    while at < pairs:
        shape[1] = min(group, pairs - at)
        clip.length = shape[1] + 1
        memset(largest, 0, shape[0] * shape[1] * 2 * k * sizeof(double))
        walk_parts(walk, clip, largest, shape)
        for i in range(shape[1]):
            rows[at + i] = signed_mean(largest + i * 2 * k, shape, gathered)
        at += shape[1]
        clip.frames += shape[1] * clip.pixels * clip.size
    free(largest)
    return True


cdef double signed_mean(const double *heaps, const Py_ssize_t *shape, double *gathered) noexcept nogil:
    """The mean of the k largest of all parts of a pair: of rises, or of falls negated.

    Sorted first: the sum does not depend on the order or the part that a value was found in.
    """
    cdef double means[2]
    cdef Py_ssize_t parts = shape[0], k = shape[3], part, side, i
    for side in range(2):
        for part in range(parts):
            for i in range(k):
                gathered[part * k + i] = heaps[(part * shape[1] * 2 + side) * k + i]
        qsort(gathered, parts * k, sizeof(double), ascending)
        means[side] = 0
        for i in range((parts - 1) * k, parts * k):
            means[side] += gathered[i]
        means[side] /= k
    return means[0] if means[0] > means[1] else -means[1]


cdef int ascending(const void *a, const void *b) noexcept nogil:
    """The order of two doubles; NaN is the largest."""
    cdef double left = (<const double *> a)[0], right = (<const double *> b)[0]
    if left != left or right != right:
        return (left != left) - (right != right)
    return (left > right) - (left < right)
