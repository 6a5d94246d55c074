"""The k largest rises and falls of luminance between consecutive frames; see flash.h for how."""

from cython.parallel cimport prange
from libc.stdint cimport int32_t, uint8_t, uint16_t
from libc.string cimport memset

cdef extern from "flash.h" nogil:
    enum:
        BLOCK, GRAY_BYTES, RGB_BYTES, GRAY_WORDS, RGB_WORDS
    ctypedef struct Clip:
        const uint8_t *frames
        Py_ssize_t length, pixels, size
        int form
        void *before
    ctypedef struct Curve:
        const double *table
        const double *lines
        const uint16_t *codes
        Py_ssize_t line_count
        uint16_t scale
        uint16_t *cubic
        int rising
    void walk_words(const Clip *clip, const Curve *curve, Py_ssize_t begin, Py_ssize_t end,
                    double *largest, Py_ssize_t k)
    void walk_ints(const Clip *clip, const Curve *curve, Py_ssize_t begin, Py_ssize_t end,
                   double *largest, Py_ssize_t k)
    void offer(double change, double *rises, double *falls, Py_ssize_t k)

ctypedef fused pixel:
    uint8_t
    uint16_t

# A pixel's sum over its channels: int32 for three of 16 bits.
ctypedef fused total:
    uint16_t
    int32_t


cdef Clip clip_of(const pixel[:, :, ::1] frames) noexcept:
    cdef Clip clip
    clip.frames = <const uint8_t *> &frames[0, 0, 0]
    clip.length, clip.pixels = frames.shape[0], frames.shape[1]
    clip.size, clip.before = frames.shape[2] * sizeof(pixel), NULL
    if frames.shape[2] == 1:
        clip.form = GRAY_BYTES if sizeof(pixel) == 1 else GRAY_WORDS
    else:
        clip.form = RGB_BYTES if sizeof(pixel) == 1 else RGB_WORDS
    return clip


cdef require(bint right):
    if not right:
        raise TypeError("sums of channels are int32 for RGB of uint16, or else uint16")


def totals(const pixel[:, :, ::1] frames, *, total[:, ::1] out):
    """out[f, p] = the sum of the channels of frames[f, p]."""
    cdef Py_ssize_t f, p
    cdef bint rgb = frames.shape[2] == 3
    require((sizeof(total) == 4) == (sizeof(pixel) == 2 and frames.shape[2] == 3))
    with nogil:
        for f in range(frames.shape[0]):
            for p in range(frames.shape[1]):
                out[f, p] = frames[f, p, 0]
                if rgb:
                    out[f, p] = out[f, p] + frames[f, p, 1] + frames[f, p, 2]


def largest_changes(const pixel[:, :, ::1] frames, const double[::1] table,
                    const uint16_t[::1] codes, const uint16_t[::1] cubic,
                    const double[:, ::1] lines, bint rising, total[::1] before, *,
                    double[:, :, :, ::1] out):
    """Put the largest rises and falls of table[sum of channels] into the heaps out[part, pair].

    before has the sums of the frame before the first, and then of the last; where it is empty, the
    first frame is that before. Each part of the pixels has its own heaps; give zeros, or what an
    earlier call left. codes, cubic (scale and
    three coefficients, or a scale of 0), lines and rising are what screens pixels: see `Curve`.
    """
    cdef Py_ssize_t pixels = frames.shape[1], parts = out.shape[0], k = out.shape[3]
    cdef Py_ssize_t blocks = (pixels + BLOCK - 1) // BLOCK, part, begin, end
    cdef Clip clip
    cdef Curve curve
    require((sizeof(total) == 4) == (sizeof(pixel) == 2 and frames.shape[2] == 3))
    if frames.shape[0] == 0 or pixels == 0:
        return
    clip = clip_of(frames)
    if before.shape[0]:
        clip.before = <void *> &before[0]
    curve.table, curve.codes, curve.rising = &table[0], &codes[0], rising
    curve.lines, curve.line_count = &lines[0, 0], lines.shape[0]
    curve.scale = cubic[0]
    for part in range(3):
        curve.cubic[part] = cubic[part + 1]
    for part in prange(parts, nogil=True, num_threads=<int>parts, schedule="static"):
        begin = blocks * part // parts * BLOCK
        end = min(pixels, blocks * (part + 1) // parts * BLOCK)
        if total is int32_t:
            walk_ints(&clip, &curve, begin, end, &out[part, 0, 0, 0], k)
        else:
            walk_words(&clip, &curve, begin, end, &out[part, 0, 0, 0], k)


def largest_differences(const double[::1] before, const double[::1] now, *,
                        double[:, :, ::1] out):
    """Put the largest rises and falls from before to now into the heaps out[part]."""
    cdef Py_ssize_t pixels = now.shape[0], parts = out.shape[0], k = out.shape[2], part, i
    for part in prange(parts, nogil=True, num_threads=<int>parts, schedule="static"):
        for i in range(pixels * part // parts, pixels * (part + 1) // parts):
            offer(now[i] - before[i], &out[part, 0, 0], &out[part, 1, 0], k)
