"""Pooling over five-dimensional arrays (unit axes where fewer).

A window is reduced in two steps, both of them elementwise over contiguous rows: first its rows
into one, for the whole width, and then its columns, as many shifted views of that row.
"""

from cython.parallel cimport prange, threadid
from libc.math cimport INFINITY
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memset

from voxkern.kernels.native.host import useful_threads

cdef extern from "pool.h" nogil:
    enum:
        POOL_MAX
        POOL_SUM
        POOL_SQUARES
        POOL_LONG
        POOL_PARTS
        POOL_LINES
    ctypedef struct Axis:
        Py_ssize_t size, count, kernel, stride, padding, dilation
    ctypedef struct Windows:
        Py_ssize_t channels
        Axis z, y, w
    ctypedef struct Pool:
        Windows v
        int kind, norms, include_pad
        double override
        const void *x
        const void *widths
        const double *heights
        void *out
        long long *places
        Py_ssize_t lines, line, phase, lead, rows, pointers
        int spans
    Py_ssize_t axis_divisor(const Axis *a, Py_ssize_t o, bint include_pad)
    void pool_part_float(const Pool *q, Py_ssize_t item, float *lines, const float **pointers)
    void pool_part_double(const Pool *q, Py_ssize_t item, double *lines, const double **pointers)
    void spread_part_float(const Pool *q, Py_ssize_t item, float *lines, const float **pointers)
    void spread_part_double(const Pool *q, Py_ssize_t item, double *lines,
                            const double **pointers)
    float sum_float(const float *x, Py_ssize_t n)
    double sum_double(const double *x, Py_ssize_t n)
    float maximum_float(const float *x, Py_ssize_t n)
    double maximum_double(const double *x, Py_ssize_t n)
    void find_part_float(const Pool *q, Py_ssize_t item, float *lines, const float **rows,
                         float *row_keys)
    void find_part_double(const Pool *q, Py_ssize_t item, double *lines, const double **rows,
                          double *row_keys)
    void place_lines_float(const float *volume, const Windows *v, Py_ssize_t i, Py_ssize_t j,
                           Py_ssize_t lines, const float *best, long long *places)
    void place_lines_double(const double *volume, const Windows *v, Py_ssize_t i, Py_ssize_t j,
                            Py_ssize_t lines, const double *best, long long *places)
    Py_ssize_t scatter_float(const float *x, const long long *places, Py_ssize_t n,
                             Py_ssize_t size, float *to)
    Py_ssize_t scatter_double(const double *x, const long long *places, Py_ssize_t n,
                              Py_ssize_t size, double *to)

include "window.pxi"

ctypedef fused real:
    float
    double

cdef enum:
    LINES = 1 << 14  # bytes of lines worked on at a time
    FAR = 1 << 24  # above any key: float32 holds all whole numbers up to here
    SLACK = 32  # elements past a line, for what its last vectors read


cdef Axis axis(Py_ssize_t size, Py_ssize_t count, Py_ssize_t kernel, Py_ssize_t stride,
               Py_ssize_t padding, Py_ssize_t dilation) noexcept nogil:
    cdef Axis a
    if kernel == 0 and count and size % count == 0:  # alike, without a division per window
        kernel = stride = size // count
    if count == 1:  # whatever it is, nothing is that far apart
        stride = 1
    a.size, a.count, a.kernel = size, count, kernel
    a.stride, a.padding, a.dilation = stride, padding, dilation
    return a


cdef Windows windows(const Py_ssize_t *size, const Py_ssize_t *count, kernel=(0, 0, 0),
                     stride=(1, 1, 1), padding=(0, 0, 0), dilation=(1, 1, 1)):
    """The windows of an array of shape `size` that make one of shape `count`."""
    cdef voxkern_window w
    cdef int i
    for i in range(3):
        w.kernel[i], w.stride[i] = kernel[i], stride[i]
        w.before[i], w.dilation[i] = padding[i], dilation[i]
    return windows_of(size, count + 2, &w)


cdef Windows windows_of(const Py_ssize_t *size, const Py_ssize_t *count,
                        const voxkern_window *w) noexcept nogil:
    cdef Windows v
    v.channels = size[0] * size[1]
    v.z = axis(size[2], count[0], w.kernel[0], w.stride[0], w.before[0], w.dilation[0])
    v.y = axis(size[3], count[1], w.kernel[1], w.stride[1], w.before[1], w.dilation[1])
    v.w = axis(size[4], count[2], w.kernel[2], w.stride[2], w.before[2], w.dilation[2])
    return v


cdef inline Py_ssize_t longest(const Axis *a) noexcept nogil:
    """At least the elements of any window."""
    return min(a.kernel if a.kernel else a.size // max(a.count, 1) + 2, a.size)


cdef inline real reduce_span(int kind, const real *x, Py_ssize_t n) noexcept nogil:
    """Maximum or sum of `n` elements."""
    if real is float:
        return maximum_float(x, n) if kind == POOL_MAX else sum_float(x, n)
    else:
        return maximum_double(x, n) if kind == POOL_MAX else sum_double(x, n)


cdef void plan(Pool *q, Py_ssize_t item) noexcept nogil:
    """Lay out the scratch of a thread for elements of `item` bytes."""
    cdef Axis *w = &q.v.w
    cdef Py_ssize_t padded = w.size, stride = 1
    q.spans = w.kernel == 0 or (w.kernel > POOL_LONG and w.dilation == 1)
    q.lead = 0 if q.spans else w.padding
    if not q.spans:  # a span is cut to the input; taps read the padding
        stride = w.stride
        padded = max(w.padding + w.size, (w.count - 1) * stride + (w.kernel - 1) * w.dilation + 1)
    q.phase = (padded + stride - 1) // stride
    q.line = (q.phase * stride + SLACK + 15) // 16 * 16
    q.lines = max(1, min(POOL_LINES, LINES // (q.line * item)))
    q.rows = longest(&q.v.z) * longest(&q.v.y)
    q.pointers = q.rows + (0 if q.spans else w.kernel)


cdef inline bint whole(const Axis *a) noexcept nogil:
    """Whether the one window is the axis."""
    return a.count == 1 and a.kernel == a.size and a.padding == 0 and a.dilation == 1


cdef void pool_volumes(int kind, const real *x, real *out, Py_ssize_t channels, Py_ssize_t volume,
                       real divisor, int threads) noexcept nogil:
    """out = the maximum of every channel, or its sum over `divisor`, straight from memory."""
    cdef Py_ssize_t c
    for c in prange(channels, num_threads=threads):
        out[c] = reduce_span(kind, x + c * volume, volume)
        if kind != POOL_MAX:
            out[c] = out[c] / divisor


cdef int need(bint memory) except -1:
    if not memory:
        raise MemoryError("no memory for the rows that a pool's threads work on")
    return 0


cdef int threads_of(const Windows *v) except -1:
    return useful_threads(v.channels * v.z.size * v.y.size * v.w.size)


cdef int pool(int kind, bint norms, const real *x, real *out, Windows v, bint include_pad,
              double override) except -1:
    """out = the windows of x reduced; sums divided by their windows' sizes or by `override`."""
    cdef int threads = threads_of(&v)
    cdef bint done
    with nogil:
        done = reduce(kind, norms, x, out, v, include_pad, override, threads)
    return need(done)


cdef bint reduce(int kind, bint norms, const real *x, real *out, Windows v, bint include_pad,
                 double override, int threads) noexcept nogil:
    """The same without Python; false without memory."""
    cdef Py_ssize_t volume = v.z.size * v.y.size * v.w.size, item, o, size
    cdef Pool q
    if not norms and whole(&v.z) and whole(&v.y) and whole(&v.w):
        pool_volumes(kind, x, out, v.channels, volume,
                     <real>(override if override else <double>volume), threads)
        return True
    q.v, q.kind, q.norms, q.include_pad, q.override = v, kind, norms, include_pad, override
    q.x, q.out = x, out
    plan(&q, sizeof(real))
    size = 2 * q.lines * q.line
    cdef real *lines = <real *>malloc((threads * size + v.w.count) * sizeof(real))
    cdef const real **pointers = <const real **>malloc(threads * q.pointers * sizeof(real *))
    cdef real *widths = lines + threads * size
    cdef double *heights = <double *>malloc(v.y.count * sizeof(double))
    if lines == NULL or pointers == NULL or heights == NULL:
        free(lines)
        free(pointers)
        free(heights)
        return False
    for o in range(threads * size):  # the padding among them
        lines[o] = -INFINITY if kind == POOL_MAX else 0
    for o in range(v.w.count):
        widths[o] = 1 if override else axis_divisor(&v.w, o, include_pad)
    for o in range(v.y.count):
        heights[o] = 1 if override else axis_divisor(&v.y, o, include_pad)
    q.widths, q.heights = widths, heights
    for item in prange(v.channels * v.z.count * POOL_PARTS, num_threads=threads):
        if real is float:
            pool_part_float(&q, item, lines + threadid() * size,
                            pointers + threadid() * q.pointers)
        else:
            pool_part_double(&q, item, lines + threadid() * size,
                             pointers + threadid() * q.pointers)
    free(lines)
    free(pointers)
    free(heights)
    return True


cdef bint short_keys(const Windows *v) noexcept nogil:
    """Whether float32 holds the distance between any two elements of a window, padding included."""
    cdef double rows = <double>(longest(&v.z) - 1) * v.z.dilation * v.y.size
    rows += <double>(longest(&v.y) - 1) * v.y.dilation
    return (rows + 1) * v.w.size + <double>v.w.kernel * v.w.dilation < FAR


cdef bint find(const real *x, real *best, long long *places, Windows v,
               int threads) noexcept nogil:
    """best = the windows' maxima; places = where in their channel they are; false without memory.
    """
    cdef Py_ssize_t volume = v.z.size * v.y.size * v.w.size, item, o, c, i, j, size
    cdef int thread
    cdef Pool q
    q.v, q.kind, q.x, q.out, q.places = v, POOL_MAX, x, best, places
    plan(&q, sizeof(real))
    if q.spans or not short_keys(&v) or not (reached(&v.z) and reached(&v.y) and reached(&v.w)):
        if not reduce(POOL_MAX, False, x, best, v, False, 0, threads):
            return False
        for item in prange(v.channels * v.z.count * v.y.count, num_threads=threads):
            c = item // v.y.count // v.z.count
            i = item // v.y.count % v.z.count
            j = item % v.y.count
            if real is float:
                place_lines_float(x + c * volume, &v, i, j, 1, best + item * v.w.count,
                                  places + item * v.w.count)
            else:
                place_lines_double(x + c * volume, &v, i, j, 1, best + item * v.w.count,
                                   places + item * v.w.count)
        return True
    o = (q.lines + 1) * q.line
    size = 2 * o + q.lines * q.line + q.rows
    cdef real *lines = <real *>malloc(threads * size * sizeof(real))
    cdef const real **pointers = <const real **>malloc(threads * q.pointers * sizeof(real *))
    if lines == NULL or pointers == NULL:
        free(lines)
        free(pointers)
        return False
    for thread in range(threads):
        for item in range(size):  # the padding among them: it loses even to -inf
            lines[thread * size + item] = -INFINITY if item < o else FAR
    for item in prange(v.channels * v.z.count * POOL_PARTS, num_threads=threads):
        if real is float:
            find_part_float(&q, item, lines + threadid() * size, pointers + threadid() * q.pointers,
                            lines + (threadid() + 1) * size - q.rows)
        else:
            find_part_double(&q, item, lines + threadid() * size,
                             pointers + threadid() * q.pointers,
                             lines + (threadid() + 1) * size - q.rows)
    free(lines)
    free(pointers)
    return True


cdef int pool_places(const real *x, real *best, long long *places, Windows v) except -1:
    cdef int threads = threads_of(&v)
    cdef bint done
    with nogil:
        done = find(x, best, places, v, threads)
    return need(done)


cdef inline bint reached(const Axis *a) noexcept nogil:
    """Whether every window has an element: dilation can step over the input."""
    return a.kernel == 1 or a.size >= a.dilation


def max_pool3d(const real[:, :, :, :, ::1] x, kernel_size, stride, padding, dilation, ceil_mode,
               return_indices, *, out):
    """out = the largest of every window; with `return_indices` a pair of that and its place."""
    cdef real[:, :, :, :, ::1] best = out[0] if return_indices else out
    cdef long long[:, :, :, :, ::1] places
    cdef Windows v
    if best.size == 0:
        return
    v = windows(x.shape, best.shape, kernel_size, stride, padding, dilation)
    if not return_indices:
        pool(POOL_MAX, False, &x[0, 0, 0, 0, 0], &best[0, 0, 0, 0, 0], v, False, 0)
        return
    places = out[1]
    pool_places(&x[0, 0, 0, 0, 0], &best[0, 0, 0, 0, 0], &places[0, 0, 0, 0, 0], v)


cdef api int voxkern_max_pool(size_t itemsize, const Py_ssize_t *x_shape, const void *x,
                              const Py_ssize_t *count, const voxkern_window *window, int threads,
                              void *out, long long *places) noexcept nogil:
    """`max_pool3d` of checked arguments without Python, x not empty; false without memory."""
    cdef Windows v = windows_of(x_shape, count, window)
    threads = threads_for(v.channels * v.z.size * v.y.size * v.w.size, threads)
    if itemsize == sizeof(float):
        if places == NULL:
            return reduce(POOL_MAX, False, <const float *> x, <float *> out, v, False, 0, threads)
        return find(<const float *> x, <float *> out, places, v, threads)
    if places == NULL:
        return reduce(POOL_MAX, False, <const double *> x, <double *> out, v, False, 0, threads)
    return find(<const double *> x, <double *> out, places, v, threads)


cdef api int voxkern_avg_pool(size_t itemsize, const Py_ssize_t *x_shape, const void *x,
                              const Py_ssize_t *count, const voxkern_window *window,
                              int include_pad, double divisor, int threads,
                              void *out) noexcept nogil:
    """`avg_pool3d` of checked arguments without Python, x not empty; false without memory."""
    cdef Windows v = windows_of(x_shape, count, window)
    threads = threads_for(v.channels * v.z.size * v.y.size * v.w.size, threads)
    if itemsize == sizeof(float):
        return reduce(POOL_SUM, False, <const float *> x, <float *> out, v, include_pad, divisor,
                      threads)
    return reduce(POOL_SUM, False, <const double *> x, <double *> out, v, include_pad, divisor,
                  threads)


def adaptive_max_pool3d(const real[:, :, :, :, ::1] x, output_size, return_indices, *, out):
    """out = the largest of every adaptive window; with `return_indices` and its place."""
    cdef real[:, :, :, :, ::1] best = out[0] if return_indices else out
    cdef long long[:, :, :, :, ::1] places
    cdef Windows v
    if best.size == 0:
        return
    v = windows(x.shape, best.shape)
    if not return_indices:
        pool(POOL_MAX, False, &x[0, 0, 0, 0, 0], &best[0, 0, 0, 0, 0], v, False, 0)
        return
    places = out[1]
    pool_places(&x[0, 0, 0, 0, 0], &best[0, 0, 0, 0, 0], &places[0, 0, 0, 0, 0], v)


def avg_pool3d(const real[:, :, :, :, ::1] x, kernel_size, stride, padding, ceil_mode,
               count_include_pad, divisor_override, *, real[:, :, :, :, ::1] out):
    """out = the mean of every window, or its sum over `divisor_override`."""
    if out.size:
        pool(POOL_SUM, False, &x[0, 0, 0, 0, 0], &out[0, 0, 0, 0, 0],
             windows(x.shape, out.shape, kernel_size, stride, padding), <bint>count_include_pad,
             <double>(divisor_override or 0))


def lp_pool3d(const real[:, :, :, :, ::1] x, norm_type, kernel_size, stride, ceil_mode, *,
              real[:, :, :, :, ::1] out):
    """out = the sum of every window, or the root of the sum of its squares: norm_type is 1 or 2."""
    if out.size:
        pool(POOL_SQUARES if norm_type == 2 else POOL_SUM, True, &x[0, 0, 0, 0, 0], &out[0, 0, 0, 0, 0],
             windows(x.shape, out.shape, kernel_size, stride), False, 0)


def adaptive_avg_pool3d(const real[:, :, :, :, ::1] x, output_size, *,
                        real[:, :, :, :, ::1] out):
    """out = the mean of every adaptive window."""
    if out.size:
        pool(POOL_SUM, False, &x[0, 0, 0, 0, 0], &out[0, 0, 0, 0, 0], windows(x.shape, out.shape), False,
             0)


cdef inline Py_ssize_t overlap(const Axis *a) noexcept nogil:
    """At least the windows that hold any one element."""
    return min(a.count, (a.kernel - 1) // a.stride + 1 if a.kernel else a.count // a.size + 2)


cdef int spread(const real *grad, real *out, Windows v, bint include_pad,
                double override) except -1:
    """out = for every element the means' gradients of the windows that hold it."""
    cdef Py_ssize_t item, o, size
    cdef Pool q
    q.v, q.kind, q.norms, q.include_pad, q.override = v, POOL_SUM, False, include_pad, override
    q.x, q.out = grad, out
    q.spans = v.w.kernel == 0 or v.w.kernel > POOL_LONG
    q.lead = 0 if q.spans else v.w.kernel  # zeros before the first window, and after the last
    q.line = max(v.w.count, (v.w.size + v.w.padding) // v.w.stride + 1) + q.lead + SLACK
    q.lines = max(1, min(POOL_LINES, LINES // (q.line * sizeof(real))))
    q.rows = overlap(&v.z) * overlap(&v.y)
    q.pointers = q.rows + (0 if q.spans else v.w.kernel)
    q.phase = v.w.size // v.w.stride + 1
    size = q.lines * q.line + q.rows + (0 if q.spans else q.phase * v.w.stride + SLACK)
    cdef int threads = useful_threads(v.channels * v.z.size * v.y.size * v.w.size)
    cdef real *lines = <real *>calloc(threads * size + v.w.count, sizeof(real))
    cdef const real **pointers = <const real **>malloc(threads * q.pointers * sizeof(real *))
    cdef real *widths = lines + threads * size
    if lines == NULL or pointers == NULL:
        free(lines)
        free(pointers)
        raise MemoryError(f"no memory for {threads} threads' rows of {v.w.size} elements")
    for o in range(v.w.count):
        widths[o] = 1 if override else axis_divisor(&v.w, o, include_pad)
    q.widths = widths
    for item in prange(v.channels * v.z.size * POOL_PARTS, nogil=True, num_threads=threads):
        if real is float:
            spread_part_float(&q, item, lines + threadid() * size,
                              pointers + threadid() * q.pointers)
        else:
            spread_part_double(&q, item, lines + threadid() * size,
                               pointers + threadid() * q.pointers)
    free(lines)
    free(pointers)
    return 0


def avg_pool3d_backward(const real[:, :, :, :, ::1] grad, input_size, kernel_size, stride,
                        padding, ceil_mode, count_include_pad, divisor_override, *,
                        real[:, :, :, :, ::1] out):
    """out = the sum of `grad` over the windows that hold an element, divided as the means were."""
    if out.size:
        spread(&grad[0, 0, 0, 0, 0], &out[0, 0, 0, 0, 0],
               windows(out.shape, grad.shape, kernel_size, stride, padding),
               <bint>count_include_pad, <double>(divisor_override or 0))


def adaptive_avg_pool3d_backward(const real[:, :, :, :, ::1] grad, input_size, *,
                                 real[:, :, :, :, ::1] out):
    """out = the sum of `grad` over the adaptive windows that hold an element."""
    if out.size:
        spread(&grad[0, 0, 0, 0, 0], &out[0, 0, 0, 0, 0], windows(out.shape, grad.shape), False,
               0)


def max_pool3d_backward(const real[:, :, :, :, ::1] grad,
                        const long long[:, :, :, :, ::1] indices, input_size, *,
                        real[:, :, :, :, ::1] out):
    """out[indices] += grad in every channel, 0 elsewhere; IndexError if one lies outside of it.

    To look at the indices before anything is written would read them twice.
    """
    cdef Windows v = windows(out.shape, grad.shape)
    cdef Py_ssize_t size = v.z.size * v.y.size * v.w.size, outside = 0
    cdef Py_ssize_t count = v.z.count * v.y.count * v.w.count, c
    cdef const real *source = &grad[0, 0, 0, 0, 0] if out.size else NULL
    cdef const long long *index = &indices[0, 0, 0, 0, 0] if out.size else NULL
    cdef real *to = &out[0, 0, 0, 0, 0] if out.size else NULL
    cdef int threads = useful_threads(v.channels * size)
    for c in prange(v.channels, nogil=True, num_threads=threads):
        memset(to + c * size, 0, size * sizeof(real))
        if real is float:
            outside += scatter_float(source + c * count, index + c * count, count, size,
                                     to + c * size)
        else:
            outside += scatter_double(source + c * count, index + c * count, count, size,
                                      to + c * size)
    if outside:
        raise IndexError(f"{outside} indices outside of a channel of {size}")


def max_unpool3d(const real[:, :, :, :, ::1] x, const long long[:, :, :, :, ::1] indices,
                 kernel_size, stride, padding, output_size, *, real[:, :, :, :, ::1] out):
    """out[indices] = x in every channel, 0 elsewhere; of equal indices the last counts."""
    cdef Windows v = windows(out.shape, x.shape)
    cdef Py_ssize_t size = v.z.size * v.y.size * v.w.size
    cdef Py_ssize_t count = v.z.count * v.y.count * v.w.count, c, e
    cdef const real *source
    cdef const long long *index
    cdef real *to
    cdef int threads = useful_threads(v.channels * size)
    if out.size == 0:
        return
    source, to = &x[0, 0, 0, 0, 0], &out[0, 0, 0, 0, 0]
    index = &indices[0, 0, 0, 0, 0]
    for c in prange(v.channels, nogil=True, num_threads=threads):
        memset(to + c * size, 0, size * sizeof(real))
        for e in range(c * count, (c + 1) * count):
            to[c * size + index[e]] = source[e]


def max_unpool3d_backward(const real[:, :, :, :, ::1] grad,
                          const long long[:, :, :, :, ::1] indices, *,
                          real[:, :, :, :, ::1] out):
    """out = grad[indices] in every channel."""
    cdef Windows v = windows(grad.shape, out.shape)
    cdef Py_ssize_t size = v.z.size * v.y.size * v.w.size
    cdef Py_ssize_t count = v.z.count * v.y.count * v.w.count, c, e
    cdef const real *source
    cdef const long long *index
    cdef real *to
    cdef int threads = useful_threads(v.channels * size)
    if out.size == 0:
        return
    source, to = &grad[0, 0, 0, 0, 0], &out[0, 0, 0, 0, 0]
    index = &indices[0, 0, 0, 0, 0]
    for c in prange(v.channels, nogil=True, num_threads=threads):
        for e in range(c * count, (c + 1) * count):
            to[e] = source[c * size + index[e]]
