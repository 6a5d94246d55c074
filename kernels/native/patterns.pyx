"""Bars along lines through a picture, and regions of them; see patterns.h for how."""

from libc.stdint cimport int64_t, uint8_t
from libc.stdlib cimport free, malloc

cdef extern from "patterns.h" nogil:
    enum: LONGEST
    ctypedef struct Samples:
        const uint8_t *start
        Py_ssize_t row, step
        int wide, across, down
    ctypedef struct Conversion:
        float luma_zero, scale, black, chroma_zero, red_cr, green_cb, green_cr, blue_cb
        const float *light
        int codes
        float weight[3]
    void shrink_row(const Samples *planes, int count, const Conversion *c, Py_ssize_t y, int step,
                    int n, float *out)
    ctypedef struct Bars:
        float step
        float bright
        float few
        int ends
        int upright
    void paint_line(const float *picture, const int *places, const int *cells, int n,
                    const Bars *rule, float *bars, float *period)
    ctypedef struct Image:
        const float *value
        int height
        int width
    void measure_repetition(const Image *p, const float *step, const float *period, int cell,
                            float part, float *out)
    int label_cells(const float *period, int directions, int height, int width, int *labels,
                    int *stack)

LONGEST_LINE = LONGEST


def shrink(const int64_t[:, ::1] planes, int step, const float[::1] numbers,
           const float[::1] light, const float[::1] weights, *, float[:, ::1] out):
    """Luminance of a frame made `step` times smaller: means of codes, then light.

    A plane is its address, bytes to the next row and sample, whether codes have 16 bits, and shifts
    across and down. `numbers` are the first of a Conversion.
    """
    cdef Samples samples[3]
    cdef Conversion c
    cdef Py_ssize_t y
    cdef int p, count = planes.shape[0], n = out.shape[1]
    if count > 3 or n > LONGEST or planes.shape[1] != 6 or numbers.shape[0] != 8 or light.shape[0] == 0:
        raise ValueError("no such picture")
    for p in range(count):
        samples[p].start = <const uint8_t *> <size_t> planes[p, 0]
        samples[p].row, samples[p].step, samples[p].wide = planes[p, 1], planes[p, 2], planes[p, 3]
        samples[p].across, samples[p].down = planes[p, 4], planes[p, 5]
        c.weight[p] = weights[p]
    c.luma_zero, c.scale, c.black, c.chroma_zero = numbers[0], numbers[1], numbers[2], numbers[3]
    c.red_cr, c.green_cb, c.green_cr, c.blue_cb = numbers[4], numbers[5], numbers[6], numbers[7]
    c.light, c.codes = &light[0], light.shape[0]
    with nogil:
        for y in range(out.shape[0]):
            shrink_row(samples, count, &c, y, step, n, &out[y, 0])


def bars(const float[::1] picture, const int[::1] places, const int[::1] cells,
         const int[::1] starts, bint ends, bint upright, float step, float bright, float few, *,
         float[::1] bars, float[::1] period):
    """Paint the lines of one direction; line i has samples starts[i] to starts[i + 1]."""
    cdef Bars rule = Bars(step, bright, few, ends, upright)
    cdef Py_ssize_t line, lines = starts.shape[0] - 1
    if lines < 1 or places.shape[0] == 0:
        return
    with nogil:
        for line in range(lines):
            paint_line(&picture[0], &places[starts[line]], &cells[starts[line]],
                       starts[line + 1] - starts[line], &rule, &bars[0], &period[0])


def repetition(const float[:, ::1] picture, const float[:, ::1] steps, const float[:, ::1] period,
               int cell, float part, *, float[:, ::1] out):
    """For each direction (steps 0 and 0: circles) and cell how far the picture repeats itself."""
    cdef Image image = Image(&picture[0, 0], picture.shape[0], picture.shape[1])
    cdef Py_ssize_t direction
    with nogil:
        for direction in range(steps.shape[0]):
            measure_repetition(&image, &steps[direction, 0], &period[direction, 0], cell, part,
                               &out[direction, 0])


def regions(const float[:, :, ::1] period, *, int[:, ::1] out):
    """Number the regions of joined cells in `out`, which is 0; how many there are."""
    cdef int count, height = out.shape[0], width = out.shape[1]
    cdef int *stack
    if out.size == 0:
        return 0
    stack = <int *> malloc(out.size * sizeof(int))
    if stack == NULL:
        raise MemoryError
    with nogil:
        count = label_cells(&period[0, 0, 0], period.shape[0], height, width, &out[0, 0], stack)
    free(stack)
    return count
