"""The k largest rises and falls of luminance between consecutive frames; see flash.h for how."""

from cython.parallel cimport prange
from libc.stdint cimport int32_t, uint8_t, uint16_t
from libc.math cimport INFINITY

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
    cdef Py_ssize_t pixels = frames.shape[1], parts = out.shape[0], k = out.shape[3]
    cdef Py_ssize_t blocks = (pixels + BLOCK - 1) // BLOCK, part, begin, end, i
    cdef Clip clip
    cdef Curve curves[MOST_CURVES]
    require(sizeof(total) == (2 if frames.shape[2] == 3 else 1) * sizeof(pixel))
    if frames.shape[0] == 0 or pixels == 0:
        return
    for i in range(min(cubics.shape[0], MOST_CURVES)):
        curves[i].table, curves[i].codes, curves[i].rising = &table[0], &codes[0], slack < INFINITY
        curves[i].lines, curves[i].line_count = &lines[i, 0, 0], lines.shape[1]
        curves[i].limit, curves[i].scale = cubics[i, 0], cubics[i, 1]
        curves[i].slack, curves[i].last = slack, <int32_t> table.shape[0] - 1
        for part in range(3):
            curves[i].cubic[part] = cubics[i, part + 2]
    clip.frames = <const uint8_t *> &frames[0, 0, 0]
    clip.length, clip.pixels = frames.shape[0], frames.shape[1]
    clip.size, clip.rgb = frames.shape[2] * sizeof(pixel), frames.shape[2] == 3
    clip.wide, clip.kept, clip.curves = sizeof(pixel) == 2, sizeof(total), curves
    clip.before = <void *> &before[0] if before.shape[0] else NULL
    clip.started = started
    for part in prange(parts, nogil=True, num_threads=<int>parts, schedule="static"):
        begin = blocks * part // parts * BLOCK
        end = min(pixels, blocks * (part + 1) // parts * BLOCK)
        if total is int32_t:
            walk_ints(&clip, begin, end, &out[part, 0, 0, 0], k)
        else:
            walk_words(&clip, begin, end, &out[part, 0, 0, 0], k)


def largest_power_changes(const real[:, :, ::1] frames, const double[::1] power,
                          real[:, ::1] before, bint started, *,
                          double[:, :, :, ::1] out):
    """As largest_changes, of frames whose luminance is a power of gray; see `Power` in flash.h.

    power has its numbers in their order, fifths last; before are the pixels of a frame.
    """
    cdef Py_ssize_t pixels = frames.shape[1], parts = out.shape[0], k = out.shape[3]
    cdef Py_ssize_t blocks = (pixels + BLOCK - 1) // BLOCK, part, begin, end, i
    cdef Clip clip
    cdef Power curve
    if frames.shape[0] == 0 or pixels == 0:
        return
    curve.knee, curve.below, curve.scale, curve.slope = power[0], power[1], power[2], power[3]
    curve.offset, curve.rest, curve.floor, curve.close = power[4], power[5], power[6], power[7]
    for i in range(4):
        curve.cubic[i] = power[8 + i]
    curve.fifths, curve.channels = <int> power[12], <int> frames.shape[2]
    clip.frames = <const uint8_t *> &frames[0, 0, 0]
    clip.length, clip.pixels = frames.shape[0], pixels
    clip.size, clip.rgb = frames.shape[2] * sizeof(real), frames.shape[2] == 3
    clip.power = &curve
    clip.before = <void *> &before[0, 0] if before.shape[0] else NULL
    clip.started = started
    for part in prange(parts, nogil=True, num_threads=<int>parts, schedule="static"):
        begin = blocks * part // parts * BLOCK
        end = min(pixels, blocks * (part + 1) // parts * BLOCK)
        if real is float:
            walk_float(&clip, begin, end, &out[part, 0, 0, 0], k)
        else:
            walk_double(&clip, begin, end, &out[part, 0, 0, 0], k)


def largest_differences(const double[::1] before, const double[::1] now, *,
                        double[:, :, ::1] out):
    """Put the largest rises and falls from before to now into the heaps out[part]."""
    cdef Py_ssize_t pixels = now.shape[0], parts = out.shape[0], k = out.shape[2]
    cdef Py_ssize_t blocks = (pixels + BLOCK - 1) // BLOCK, part, i
    for part in prange(parts, nogil=True, num_threads=<int>parts, schedule="static"):
        for i in range(blocks * part // parts, blocks * (part + 1) // parts):
            offer_block(&before[i * BLOCK], &now[i * BLOCK], min(BLOCK, pixels - i * BLOCK),
                        &out[part, 0, 0], k)
