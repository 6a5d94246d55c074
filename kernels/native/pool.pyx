"""Pooling over five-dimensional arrays (unit axes where fewer).

A window is reduced in two steps, both of them elementwise over contiguous rows: first its rows
into one, for the whole width, and then its columns, as many shifted views of that row.
"""

from cython.parallel cimport prange, threadid
from libc.math cimport INFINITY, sqrt
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset

from voxkern.kernels.native.host import useful_threads

cdef extern from "pool.h" nogil:
    float sum_float(const float *x, Py_ssize_t n)
    double sum_double(const double *x, Py_ssize_t n)
    float maximum_float(const float *x, Py_ssize_t n)
    double maximum_double(const double *x, Py_ssize_t n)
    void take_larger_float(const float *x, Py_ssize_t stride, int tap, Py_ssize_t n,
                           float *best, int *taps)
    void take_larger_float_wide(const float *x, Py_ssize_t stride, long long tap, Py_ssize_t n,
                                float *best, long long *taps)
    void take_larger_double(const double *x, Py_ssize_t stride, long long tap, Py_ssize_t n,
                            double *best, long long *taps)

ctypedef fused real:
    float
    double

ctypedef fused word:
    int
    long long

cdef enum:
    MAX, SUM, SQUARES  # what becomes of the elements of a window
    LONG = 64  # terms of a sum that are simply added in order
    PARTS = 4  # shares of a plane's rows: work for threads where planes are few


cdef struct Axis:
    # The windows along one axis: `count` of them over `size` elements; kernel 0 is adaptive.
    Py_ssize_t size, count, kernel, stride, padding, dilation


cdef struct Windows:
    Py_ssize_t channels  # of all items of the batch
    Axis z, y, w


cdef Axis axis(Py_ssize_t size, Py_ssize_t count, Py_ssize_t kernel, Py_ssize_t stride,
               Py_ssize_t padding, Py_ssize_t dilation) noexcept:
    cdef Axis a
    if kernel == 0 and count and size % count == 0:  # alike, without a division per window
        kernel = stride = size // count
    if count == 1:  # whatever it is, nothing is that far apart
        stride = 1
    a.size, a.count, a.kernel = size, count, kernel
    a.stride, a.padding, a.dilation = stride, padding, dilation
    return a


cdef Windows windows(Py_ssize_t *size, Py_ssize_t *count, kernel=(0, 0, 0), stride=(1, 1, 1),
                     padding=(0, 0, 0), dilation=(1, 1, 1)):
    """The windows of an array of shape `size` that make one of shape `count`."""
    cdef Windows v
    v.channels = size[0] * size[1]
    v.z = axis(size[2], count[2], kernel[0], stride[0], padding[0], dilation[0])
    v.y = axis(size[3], count[3], kernel[1], stride[1], padding[1], dilation[1])
    v.w = axis(size[4], count[4], kernel[2], stride[2], padding[2], dilation[2])
    return v


cdef inline Py_ssize_t begin(const Axis *a, Py_ssize_t o) noexcept nogil:
    """First element of window `o` that lies in the input."""
    cdef Py_ssize_t at
    if a.kernel == 0:
        return o * a.size // a.count
    at = o * a.stride - a.padding
    return at if at >= 0 else at + (a.dilation - 1 - at) // a.dilation * a.dilation


cdef inline Py_ssize_t end(const Axis *a, Py_ssize_t o) noexcept nogil:
    """Where window `o` ends in the input."""
    if a.kernel == 0:
        return ((o + 1) * a.size + a.count - 1) // a.count
    return min(a.size, o * a.stride - a.padding + (a.kernel - 1) * a.dilation + 1)


cdef inline Py_ssize_t divisor(const Axis *a, Py_ssize_t o, bint include_pad) noexcept nogil:
    """Elements of window `o` that an average counts: never those past the padding's end."""
    if include_pad and a.kernel:
        return min(a.kernel, a.size + 2 * a.padding - o * a.stride)
    return end(a, o) - begin(a, o)


cdef inline Py_ssize_t longest(const Axis *a) noexcept nogil:
    """At least the elements of any window."""
    return min(a.kernel if a.kernel else a.size // max(a.count, 1) + 2, a.size)


cdef inline real larger(real a, real b) noexcept nogil:
    """`b` where it is larger or NaN, else `a`: NaN goes through, the first of equals stays."""
    cdef real m = b if b > a else a
    return b if b != b else m


cdef inline real join(int kind, real a, real b) noexcept nogil:
    return larger(a, b) if kind == MAX else a + b


cdef inline void combine(int kind, const real **rows, Py_ssize_t count, real *to,
                         Py_ssize_t n) noexcept nogil:
    """to = the elementwise maximum or sum of the rows, in their order."""
    # Three rows a pass after the first, so that `to` is read and written a third as often.
    cdef Py_ssize_t r = (count + 1) % 3 + 2 if count > 1 else 1, e
    cdef const real *a = rows[0]
    cdef const real *b = rows[1 % r]
    cdef const real *c = rows[2 % r]
    cdef const real *d = rows[3 % r]
    if r == 1:
        memcpy(to, a, n * sizeof(real))
    elif r == 2:
        for e in range(n):
            to[e] = join(kind, a[e], b[e])
    elif r == 3:
        for e in range(n):
            to[e] = join(kind, join(kind, a[e], b[e]), c[e])
    else:
        for e in range(n):
            to[e] = join(kind, join(kind, join(kind, a[e], b[e]), c[e]), d[e])
    while r < count:
        a = rows[r]
        b = rows[r + 1]
        c = rows[r + 2]
        for e in range(n):
            to[e] = join(kind, join(kind, join(kind, to[e], a[e]), b[e]), c[e])
        r += 3


cdef void add_squares(const real **rows, Py_ssize_t count, real *to, Py_ssize_t n) noexcept nogil:
    """to = the elementwise sum of the rows' squares."""
    cdef Py_ssize_t r, e
    cdef const real *a
    memset(to, 0, n * sizeof(real))
    for r in range(count):
        a = rows[r]
        for e in range(n):
            to[e] += a[e] * a[e]


cdef void reduce_rows(int kind, const real **rows, Py_ssize_t count, real *to, real *partial,
                      Py_ssize_t n) noexcept nogil:
    """Combine the rows of a window, sums of many rows by blocks whose sums are added up.

    A plain sum of 1e5 equal float32 rows is off by 1e-3.
    """
    cdef Py_ssize_t block = count, r = 0, e
    cdef real *target = to
    if kind == MAX:
        combine(MAX, rows, count, to, n)
        return
    if count > LONG:
        block = max(<Py_ssize_t>LONG, <Py_ssize_t>sqrt(<double>count))
    while r < count:
        if kind == SQUARES:
            add_squares(rows + r, min(block, count - r), target, n)
        else:
            combine(SUM, rows + r, min(block, count - r), target, n)
        if r:
            for e in range(n):
                to[e] += partial[e]
        target = partial
        r += block


cdef inline real reduce_span(int kind, const real *x, Py_ssize_t n) noexcept nogil:
    """Maximum or sum of `n` elements."""
    if real is float:
        return maximum_float(x, n) if kind == MAX else sum_float(x, n)
    else:
        return maximum_double(x, n) if kind == MAX else sum_double(x, n)


cdef inline void combine_pairs(int kind, const real *row, Py_ssize_t kernel, real *to,
                               Py_ssize_t n) noexcept nogil:
    """The columns of windows of 2 or 3 taps at stride 2, straight from the row."""
    cdef Py_ssize_t o
    if kernel == 2:
        for o in range(n):
            to[o] = join(kind, row[2 * o], row[2 * o + 1])
    else:
        for o in range(n):
            to[o] = join(kind, join(kind, row[2 * o], row[2 * o + 1]), row[2 * o + 2])


cdef void split(const real *row, real *to, Py_ssize_t stride, Py_ssize_t n) noexcept nogil:
    """to[q, i] = row[i*stride + q], so that every tap of a strided window is contiguous."""
    cdef Py_ssize_t i, q
    if stride == 2:
        for i in range(n):
            to[i] = row[2 * i]
            to[n + i] = row[2 * i + 1]
        return
    for q in range(stride):
        for i in range(n):
            to[q * n + i] = row[i * stride + q]


cdef struct Plan:
    # The scratch of one thread, in elements.
    Py_ssize_t phase  # of one residue of the padded row, modulo the stride
    Py_ssize_t row  # of the padded row
    Py_ssize_t lead  # padding before its first element
    Py_ssize_t reals  # of all rows
    Py_ssize_t pointers
    Py_ssize_t rows  # of all pointers, those to a window's rows; the others to its taps
    bint spans  # whether the columns are reduced one window at a time
    bint pairs  # whether they are neighbours at stride 2


cdef Plan planned(const Windows *v) noexcept nogil:
    cdef Plan plan
    cdef Py_ssize_t padded = v.w.size, stride = 1
    plan.spans = v.w.kernel == 0 or (v.w.kernel > LONG and v.w.dilation == 1)
    plan.lead = 0 if plan.spans else v.w.padding
    if not plan.spans:  # a span is cut to the input; taps read the padding
        stride = v.w.stride
        padded = max(v.w.padding + v.w.size,
                     (v.w.count - 1) * stride + (v.w.kernel - 1) * v.w.dilation + 1)
    plan.phase = (padded + stride - 1) // stride
    plan.row = (plan.phase * stride + 15) // 16 * 16
    plan.reals = 3 * plan.row
    plan.pairs = v.w.stride == 2 and v.w.dilation == 1 and 2 <= v.w.kernel <= 3
    plan.rows = longest(&v.z) * longest(&v.y)
    plan.pointers = plan.rows + (0 if plan.spans else v.w.kernel)
    return plan


cdef void list_taps(real *scratch, const Axis *w, const Plan *plan,
                    const real **taps) noexcept nogil:
    """Where the taps of the first window lie in the row that :func:`pool_row` splits."""
    cdef Py_ssize_t t, at
    cdef const real *row = scratch if w.stride == 1 else scratch + 2 * plan.row
    if not plan.spans:
        for t in range(w.kernel):
            at = t * w.dilation
            taps[t] = row + at % w.stride * plan.phase + at // w.stride


cdef Py_ssize_t list_rows(const real *volume, const Windows *v, Py_ssize_t i, Py_ssize_t j,
                          const real **rows) noexcept nogil:
    """Where the rows of window (i, j) start, and how many there are."""
    cdef Py_ssize_t count = 0, a = begin(&v.z, i), b, first = begin(&v.y, j)
    cdef Py_ssize_t depth = end(&v.z, i), height = end(&v.y, j)
    while a < depth:
        b = first
        while b < height:
            rows[count] = volume + (a * v.y.size + b) * v.w.size
            count += 1
            b += v.y.dilation
        a += v.z.dilation
    return count


cdef void pool_row(int kind, const real *volume, const Windows *v, const Plan *plan,
                   Py_ssize_t i, Py_ssize_t j, real *scratch, const real **pointers,
                   real *to) noexcept nogil:
    """Reduce every window of output row (i, j); `scratch` comes with the padding in it."""
    cdef Py_ssize_t count = list_rows(volume, v, i, j, pointers), o
    cdef const real *row = scratch
    cdef int columns = MAX if kind == MAX else SUM
    if count == 0:  # dilation can step over the input: only maxima have it
        for o in range(v.w.count):
            to[o] = -INFINITY
        return
    reduce_rows(kind, pointers, count, scratch + plan.lead, scratch + plan.row, v.w.size)
    if plan.spans:
        for o in range(v.w.count):
            to[o] = reduce_span(columns, row + begin(&v.w, o), end(&v.w, o) - begin(&v.w, o))
    elif plan.pairs:
        combine_pairs(columns, row, v.w.kernel, to, v.w.count)
    else:
        if v.w.stride > 1:
            split(row, scratch + 2 * plan.row, v.w.stride, plan.phase)
        combine(columns, pointers + plan.rows, v.w.kernel, to, v.w.count)


cdef void average(real *to, const real *widths, Py_ssize_t n, double rows) noexcept nogil:
    cdef Py_ssize_t o
    cdef real factor = <real>rows
    for o in range(n):
        to[o] = to[o] / (factor * widths[o])


cdef void norm(int kind, real *to, Py_ssize_t n, double taps) noexcept nogil:
    """Means to norms: a window that was cut off counts as a whole one, as in torch."""
    cdef Py_ssize_t o
    for o in range(n):
        to[o] = to[o] * <real>taps
    if kind == SQUARES:
        for o in range(n):
            to[o] = sqrt(to[o])


cdef double rows_counted(const Windows *v, Py_ssize_t i, Py_ssize_t j, bint include_pad,
                         double override) noexcept nogil:
    """What an average over output row (i, j) is divided by, apart from the width."""
    if override:
        return override
    return <double>divisor(&v.z, i, include_pad) * <double>divisor(&v.y, j, include_pad)


cdef void pool_rows(int kind, bint norms, const real *x, real *out, const Windows *v,
                    const Plan *plan, Py_ssize_t item, real *scratch, const real **pointers,
                    const real *widths, bint include_pad, double override) noexcept nogil:
    """Every PARTS-th of the rows of one plane of the output."""
    cdef Py_ssize_t part = item % PARTS, plane = item // PARTS, j
    cdef Py_ssize_t c = plane // v.z.count, i = plane % v.z.count
    cdef const real *volume = x + c * v.z.size * v.y.size * v.w.size
    cdef real *to
    for j in range(part * v.y.count // PARTS, (part + 1) * v.y.count // PARTS):
        to = out + (plane * v.y.count + j) * v.w.count
        pool_row(kind, volume, v, plan, i, j, scratch, pointers, to)
        if kind != MAX:
            average(to, widths, v.w.count, rows_counted(v, i, j, include_pad, override))
        if norms:
            norm(kind, to, v.w.count, <double>v.z.kernel * v.y.kernel * v.w.kernel)


cdef inline bint whole(const Axis *a) noexcept nogil:
    """Whether the one window is the axis."""
    return a.count == 1 and a.kernel == a.size and a.padding == 0 and a.dilation == 1


cdef int pool_volumes(int kind, const real *x, real *out, Py_ssize_t channels, Py_ssize_t volume,
                      real divisor) except -1:
    """out = the maximum of every channel, or its sum over `divisor`, straight from memory."""
    cdef int threads = useful_threads(channels * volume)
    cdef Py_ssize_t c
    for c in prange(channels, nogil=True, num_threads=threads):
        out[c] = reduce_span(kind, x + c * volume, volume)
        if kind != MAX:
            out[c] = out[c] / divisor
    return 0


cdef int pool(int kind, bint norms, const real *x, real *out, Windows v, bint include_pad,
              double override) except -1:
    """out = the windows of x reduced; sums divided by their windows' sizes or by `override`."""
    cdef Py_ssize_t volume = v.z.size * v.y.size * v.w.size
    if not norms and whole(&v.z) and whole(&v.y) and whole(&v.w):
        return pool_volumes(kind, x, out, v.channels, volume, <real>(override or <double>volume))
    cdef Plan plan = planned(&v)
    cdef Py_ssize_t item, o
    cdef int threads = useful_threads(v.channels * v.z.size * v.y.size * v.w.size), thread
    cdef real *scratch = <real *>malloc((threads * plan.reals + v.w.count) * sizeof(real))
    cdef const real **pointers = <const real **>malloc(threads * plan.pointers * sizeof(real *))
    cdef real *widths = scratch + threads * plan.reals
    if scratch == NULL or pointers == NULL:
        free(scratch)
        free(pointers)
        raise MemoryError(f"no memory for {threads} threads' rows of {v.w.size} elements")
    for o in range(threads * plan.reals):
        scratch[o] = -INFINITY if kind == MAX else 0
    for o in range(v.w.count):
        widths[o] = 1 if override else divisor(&v.w, o, include_pad)
    for thread in range(threads):
        list_taps(scratch + thread * plan.reals, &v.w, &plan,
                  pointers + thread * plan.pointers + plan.rows)
    for item in prange(v.channels * v.z.count * PARTS, nogil=True, num_threads=threads):
        pool_rows(kind, norms, x, out, &v, &plan, item, scratch + threadid() * plan.reals,
                  pointers + threadid() * plan.pointers, <const real *>widths, include_pad,
                  override)
    free(scratch)
    free(pointers)
    return 0


cdef void take_row(const real *row, const Axis *w, word tap, real *best, word *taps) noexcept nogil:
    """Let every tap of the windows along `row` contend for the maximum; the first is `tap`."""
    cdef Py_ssize_t t, at, low, high
    cdef Py_ssize_t before = w.padding - (w.count - 1) * w.stride  # the last window has these
    for t in range(max(0, (before + w.dilation - 1) // w.dilation),
                   min(w.kernel, (w.size - 1 + w.padding) // w.dilation + 1)):
        at = t * w.dilation - w.padding
        low = 0 if at >= 0 else (w.stride - 1 - at) // w.stride
        high = 0 if at >= w.size else min(w.count, (w.size - 1 - at) // w.stride + 1)
        at += low * w.stride
        if real is double:
            take_larger_double(row + at, w.stride, tap + t * w.dilation, high - low, best + low,
                               <long long *>(taps + low))
        elif word is int:
            take_larger_float(row + at, w.stride, <int>(tap + t * w.dilation), high - low,
                              best + low, taps + low)
        else:
            take_larger_float_wide(row + at, w.stride, tap + t * w.dilation, high - low,
                                   best + low, taps + low)


cdef void index_row(const real *volume, const Windows *v, Py_ssize_t i, Py_ssize_t j,
                    real *best, word *taps, long long *index) noexcept nogil:
    """Maxima of output row (i, j) and their places: taps in row-major order, the first stays.

    While they contend, a place is an offset from the window's first row and column, padding
    included: in words as wide as the elements, one comparison selects both.
    """
    cdef Py_ssize_t first = begin(&v.z, i), a = first, b = begin(&v.y, j), o
    cdef Py_ssize_t start = (a * v.y.size + b) * v.w.size
    cdef Py_ssize_t depth = end(&v.z, i), height = end(&v.y, j)
    for o in range(v.w.count):
        best[o] = -INFINITY
        taps[o] = <word>(begin(&v.w, o) - o * v.w.stride + v.w.padding)
    while a < depth:
        b = begin(&v.y, j)
        while b < height:
            o = (a * v.y.size + b) * v.w.size
            take_row(volume + o, &v.w, <word>(o - start), best, taps)
            b += v.y.dilation
        a += v.z.dilation
    for o in range(v.w.count):
        index[o] = start + o * v.w.stride - v.w.padding + taps[o]


cdef int index_all(const real *x, real *best, long long *index, Windows v, word unused) except -1:
    """The windows' maxima and their places."""
    cdef Py_ssize_t item, c, i, j, volume = v.z.size * v.y.size * v.w.size
    cdef int threads = useful_threads(v.channels * volume)
    cdef word *taps = <word *>malloc(threads * v.w.count * sizeof(word))
    if taps == NULL:
        raise MemoryError(f"no memory for {threads} threads' rows of {v.w.count} windows")
    for item in prange(v.channels * v.z.count * v.y.count, nogil=True, num_threads=threads):
        j = item % v.y.count
        i = item // v.y.count % v.z.count
        c = item // v.y.count // v.z.count
        index_row(x + c * volume, &v, i, j, best + item * v.w.count,
                  taps + threadid() * v.w.count, index + item * v.w.count)
    free(taps)
    return 0


cdef int index_maxima(const real *x, real *best, long long *index, Windows v) except -1:
    """:func:`index_all` with offsets as wide as the elements, wider where a volume is vast."""
    if real is float and v.z.size * v.y.size * v.w.size < 2**31 - v.w.kernel * v.w.dilation:
        return index_all(x, best, index, v, <int>0)
    return index_all(x, best, index, v, <long long>0)


cdef Py_ssize_t place(const real *volume, const Py_ssize_t *low, const Py_ssize_t *high,
                      Py_ssize_t height, Py_ssize_t width, real value) noexcept nogil:
    """Where a window has `value` first; where it has NaN last, if that is its value."""
    cdef Py_ssize_t a, b, e, row, last = 0
    for a in range(low[0], high[0]):
        for b in range(low[1], high[1]):
            row = (a * height + b) * width
            if value == value:
                for e in range(row + low[2], row + high[2]):
                    if volume[e] == value:
                        return e
            else:
                for e in range(row + low[2], row + high[2]):
                    if volume[e] != volume[e]:
                        last = e
    return last


cdef void place_row(const real *volume, const Windows *v, Py_ssize_t i, Py_ssize_t j,
                    const real *best, long long *index) noexcept nogil:
    """The places of known maxima of output row (i, j)."""
    cdef Py_ssize_t low[3]
    cdef Py_ssize_t high[3]
    cdef Py_ssize_t o
    low[0], low[1] = begin(&v.z, i), begin(&v.y, j)
    high[0], high[1] = end(&v.z, i), end(&v.y, j)
    for o in range(v.w.count):
        low[2], high[2] = begin(&v.w, o), end(&v.w, o)
        index[o] = place(volume, low, high, v.y.size, v.w.size, best[o])


cdef int place_all(const real *x, const real *best, long long *index, Windows v) except -1:
    """The places of known maxima."""
    cdef Py_ssize_t item, c, i, j, volume = v.z.size * v.y.size * v.w.size
    cdef int threads = useful_threads(v.channels * volume)
    for item in prange(v.channels * v.z.count * v.y.count, nogil=True, num_threads=threads):
        j = item % v.y.count
        i = item // v.y.count % v.z.count
        c = item // v.y.count // v.z.count
        place_row(x + c * volume, &v, i, j, best + item * v.w.count, index + item * v.w.count)
    return 0


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
        pool(MAX, False, &x[0, 0, 0, 0, 0], &best[0, 0, 0, 0, 0], v, False, 0)
        return
    places = out[1]
    index_maxima(&x[0, 0, 0, 0, 0], &best[0, 0, 0, 0, 0], &places[0, 0, 0, 0, 0], v)


def adaptive_max_pool3d(const real[:, :, :, :, ::1] x, output_size, return_indices, *, out):
    """out = the largest of every adaptive window; with `return_indices` and its place."""
    cdef real[:, :, :, :, ::1] best = out[0] if return_indices else out
    cdef long long[:, :, :, :, ::1] places
    cdef Windows v
    if best.size == 0:
        return
    v = windows(x.shape, best.shape)
    if not return_indices:
        pool(MAX, False, &x[0, 0, 0, 0, 0], &best[0, 0, 0, 0, 0], v, False, 0)
        return
    places = out[1]
    if v.z.kernel and v.y.kernel and v.w.kernel and v.w.count >= 8:
        index_maxima(&x[0, 0, 0, 0, 0], &best[0, 0, 0, 0, 0], &places[0, 0, 0, 0, 0], v)
    else:
        pool(MAX, False, &x[0, 0, 0, 0, 0], &best[0, 0, 0, 0, 0], v, False, 0)
        place_all(&x[0, 0, 0, 0, 0], <const real *>&best[0, 0, 0, 0, 0], &places[0, 0, 0, 0, 0], v)


def avg_pool3d(const real[:, :, :, :, ::1] x, kernel_size, stride, padding, ceil_mode,
               count_include_pad, divisor_override, *, real[:, :, :, :, ::1] out):
    """out = the mean of every window, or its sum over `divisor_override`."""
    if out.size:
        pool(SUM, False, &x[0, 0, 0, 0, 0], &out[0, 0, 0, 0, 0],
             windows(x.shape, out.shape, kernel_size, stride, padding), <bint>count_include_pad,
             <double>(divisor_override or 0))


def lp_pool3d(const real[:, :, :, :, ::1] x, norm_type, kernel_size, stride, ceil_mode, *,
              real[:, :, :, :, ::1] out):
    """out = the sum of every window, or the root of the sum of its squares: norm_type is 1 or 2."""
    if out.size:
        pool(SQUARES if norm_type == 2 else SUM, True, &x[0, 0, 0, 0, 0], &out[0, 0, 0, 0, 0],
             windows(x.shape, out.shape, kernel_size, stride), False, 0)


def adaptive_avg_pool3d(const real[:, :, :, :, ::1] x, output_size, *,
                        real[:, :, :, :, ::1] out):
    """out = the mean of every adaptive window."""
    if out.size:
        pool(SUM, False, &x[0, 0, 0, 0, 0], &out[0, 0, 0, 0, 0], windows(x.shape, out.shape), False,
             0)


cdef void spread(const real *grad, const Axis *w, const Plan *plan, real *scratch,
                 real *row) noexcept nogil:
    """row[lead + e] = the sum of `grad` over the windows that hold element e of a row."""
    cdef Py_ssize_t o, t, e, n = plan.phase
    cdef real *to
    if plan.spans:
        memset(row, 0, w.size * sizeof(real))
        for o in range(w.count):
            for e in range(begin(w, o), end(w, o)):
                row[e] += grad[o]
        return
    memset(scratch, 0, plan.row * sizeof(real))
    for t in range(w.kernel):
        to = scratch + t % w.stride * n + t // w.stride
        for o in range(w.count):
            to[o] += grad[o]
    if w.stride == 2:
        for o in range(n):
            row[2 * o] = scratch[o]
            row[2 * o + 1] = scratch[n + o]
        return
    for t in range(w.stride):
        for o in range(n):
            row[o * w.stride + t] = scratch[t * n + o]


cdef void spread_channel(const real *grad, real *out, const Windows *v, const Plan *plan,
                         real *scratch, const real *widths, bint include_pad,
                         double override) noexcept nogil:
    """Add every mean's gradient to the elements of its window, in the order of the windows."""
    cdef Py_ssize_t i, j, a, b, e
    cdef real *row = scratch + plan.row
    cdef real *share = row + plan.row
    cdef real *to
    memset(out, 0, v.z.size * v.y.size * v.w.size * sizeof(real))
    for i in range(v.z.count):
        for j in range(v.y.count):
            memcpy(share, grad + (i * v.y.count + j) * v.w.count, v.w.count * sizeof(real))
            average(share, widths, v.w.count, rows_counted(v, i, j, include_pad, override))
            spread(<const real *>share, &v.w, plan, scratch, row)
            for a in range(begin(&v.z, i), end(&v.z, i)):
                for b in range(begin(&v.y, j), end(&v.y, j)):
                    to = out + (a * v.y.size + b) * v.w.size
                    for e in range(v.w.size):
                        to[e] += row[plan.lead + e]


cdef int spread_all(const real *grad, real *out, Windows v, bint include_pad,
                    double override) except -1:
    """The adjoint of the averages; one thread owns a channel, so every sum has one order."""
    cdef Plan plan = planned(&v)
    cdef Py_ssize_t c, o, reals = 2 * plan.row + v.w.count
    cdef int threads = useful_threads(v.channels * v.z.size * v.y.size * v.w.size)
    cdef real *scratch = <real *>malloc((threads * reals + v.w.count) * sizeof(real))
    cdef real *widths = scratch + threads * reals
    if scratch == NULL:
        raise MemoryError(f"no memory for {threads} threads' rows of {v.w.size} elements")
    for o in range(v.w.count):
        widths[o] = 1 if override else divisor(&v.w, o, include_pad)
    for c in prange(v.channels, nogil=True, num_threads=threads):
        spread_channel(grad + c * v.z.count * v.y.count * v.w.count,
                       out + c * v.z.size * v.y.size * v.w.size, &v, &plan,
                       scratch + threadid() * reals, <const real *>widths, include_pad, override)
    free(scratch)
    return 0


def avg_pool3d_backward(const real[:, :, :, :, ::1] grad, input_size, kernel_size, stride,
                        padding, ceil_mode, count_include_pad, divisor_override, *,
                        real[:, :, :, :, ::1] out):
    """out = the sum of `grad` over the windows that hold an element, divided as the means were."""
    if out.size:
        spread_all(&grad[0, 0, 0, 0, 0], &out[0, 0, 0, 0, 0],
                   windows(out.shape, grad.shape, kernel_size, stride, padding),
                   <bint>count_include_pad, <double>(divisor_override or 0))


def adaptive_avg_pool3d_backward(const real[:, :, :, :, ::1] grad, input_size, *,
                                 real[:, :, :, :, ::1] out):
    """out = the sum of `grad` over the adaptive windows that hold an element."""
    if out.size:
        spread_all(&grad[0, 0, 0, 0, 0], &out[0, 0, 0, 0, 0], windows(out.shape, grad.shape),
                   False, 0)


cdef int scatter(bint add, const real[:, :, :, :, ::1] x,
                 const long long[:, :, :, :, ::1] indices, real[:, :, :, :, ::1] out) except -1:
    """out[indices] = x in every channel, or += x; 0 elsewhere."""
    cdef Windows v = windows(out.shape, x.shape)
    cdef Py_ssize_t size = v.z.size * v.y.size * v.w.size
    cdef Py_ssize_t count = v.z.count * v.y.count * v.w.count, c, e
    cdef const real *source = &x[0, 0, 0, 0, 0]
    cdef const long long *index = &indices[0, 0, 0, 0, 0]
    cdef real *to = &out[0, 0, 0, 0, 0]
    cdef int threads = useful_threads(v.channels * size)
    for c in prange(v.channels, nogil=True, num_threads=threads):
        memset(to + c * size, 0, size * sizeof(real))
        if add:
            for e in range(c * count, (c + 1) * count):
                to[c * size + index[e]] += source[e]
        else:
            for e in range(c * count, (c + 1) * count):
                to[c * size + index[e]] = source[e]
    return 0


def max_pool3d_backward(const real[:, :, :, :, ::1] grad,
                        const long long[:, :, :, :, ::1] indices, input_size, *,
                        real[:, :, :, :, ::1] out):
    """out[indices] += grad in every channel, 0 elsewhere."""
    if out.size:
        scatter(True, grad, indices, out)


def max_unpool3d(const real[:, :, :, :, ::1] x, const long long[:, :, :, :, ::1] indices,
                 kernel_size, stride, padding, output_size, *, real[:, :, :, :, ::1] out):
    """out[indices] = x in every channel, 0 elsewhere; of equal indices the last counts."""
    if out.size:
        scatter(False, x, indices, out)


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
