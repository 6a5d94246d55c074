"""Moments, sums and affine maps per channel of (N, C, inner) arrays; see batchnorm.h for how.

Where inner is 1 the channels are columns: their sums are here. Every sum has one order whatever the
threads: fixed parts of a channel, whose sums are added in double precision.
"""

from cython.parallel cimport prange
from libc.math cimport NAN, isfinite, sqrt
from libc.stdlib cimport free, malloc
from libc.string cimport memset

from voxkern.kernels.native.host import useful_threads

cdef extern from "batchnorm.h" nogil:
    ctypedef struct Moments:
        double count, mean, squares
    ctypedef struct BatchNorm:
        Py_ssize_t n, channels, inner, parts
        int past_cache
        double eps
        const void *x
        const void *grad
        const void *weight
        const void *bias
        const void *invstd
        double *first
        double *second
        void *shift
        void *scale
        void *slope
        void *offset
        void *out
    void set_parts(BatchNorm *b)
    void reduce_item_float(const BatchNorm *b, Py_ssize_t item, Moments *parts)
    void reduce_item_double(const BatchNorm *b, Py_ssize_t item, Moments *parts)
    void reduce_channel_float(const BatchNorm *b, Py_ssize_t channel, const Moments *parts)
    void reduce_channel_double(const BatchNorm *b, Py_ssize_t channel, const Moments *parts)
    void set_map_float(const BatchNorm *b, Py_ssize_t channel)
    void set_map_double(const BatchNorm *b, Py_ssize_t channel)
    void map_item_float(const BatchNorm *b, Py_ssize_t item)
    void map_item_double(const BatchNorm *b, Py_ssize_t item)
    void whole_channel_float(const BatchNorm *b, Py_ssize_t channel)
    void whole_channel_double(const BatchNorm *b, Py_ssize_t channel)

cdef extern from "split.h" nogil:
    int threads_for(Py_ssize_t work, int most)

ctypedef fused real:
    float
    double

cdef enum:
    LARGE = 1 << 23  # bytes of output from which it is written past the caches: 13 MB take .48 ms, not .59
    LANES = 32  # columns whose sums are held together
    ROWS = 64  # of a part of a column


cdef BatchNorm describe(const real[:, :, ::1] x) noexcept:
    return described(&x[0, 0, 0], x.shape[0], x.shape[1], x.shape[2])


cdef BatchNorm described(const real *x, Py_ssize_t n, Py_ssize_t channels,
                         Py_ssize_t inner) noexcept nogil:
    cdef BatchNorm b
    memset(&b, 0, sizeof(b))
    b.n, b.channels, b.inner, b.x = n, channels, inner, <const void *> x
    b.past_cache = b.n * b.channels * b.inner * <Py_ssize_t> sizeof(real) > LARGE
    set_parts(&b)
    if b.inner == 1:
        b.parts = (b.n + ROWS - 1) // ROWS
    return b


cdef inline void column_moments(const real *x, Py_ssize_t rows, Py_ssize_t stride,
                                Py_ssize_t width, Moments *parts, Py_ssize_t step) noexcept nogil:
    """Moments of `width` columns, parts[j * step] of column j."""
    cdef real centre[LANES]
    cdef real lane[LANES]
    cdef real square[LANES]
    cdef real share = <real>1 / rows, d
    cdef Py_ssize_t i, j
    for j in range(LANES):
        centre[j] = 0
        lane[j] = 0
        square[j] = 0
    for i in range(rows):
        for j in range(width):
            centre[j] += x[i * stride + j] * share
    for i in range(rows):
        for j in range(width):
            d = x[i * stride + j] - centre[j]
            lane[j] += d
            square[j] += d * d
    for j in range(width):
        parts[j * step].count, parts[j * step].mean, parts[j * step].squares = rows, centre[j], NAN
        if isfinite(centre[j]):
            parts[j * step].mean = centre[j] + <double> lane[j] / rows
            parts[j * step].squares = square[j] - <double> lane[j] * lane[j] / rows


cdef inline void column_sums(const real *grad, const real *x, const real *mean, Py_ssize_t rows,
                             Py_ssize_t stride, Py_ssize_t width, Moments *parts,
                             Py_ssize_t step) noexcept nogil:
    """The gradient's sums over `width` columns, parts[j * step] of column j."""
    cdef real lane[LANES]
    cdef real product[LANES]
    cdef Py_ssize_t i, j
    for j in range(LANES):
        lane[j] = 0
        product[j] = 0
    for i in range(rows):
        for j in range(width):
            lane[j] += grad[i * stride + j]
            product[j] += grad[i * stride + j] * (x[i * stride + j] - mean[j])
    for j in range(width):
        parts[j * step].mean = lane[j]
        parts[j * step].squares = product[j]


cdef void column_block(const BatchNorm *b, Py_ssize_t item, real sample, Moments *parts) noexcept nogil:
    """Moments, or sums with the gradient, of a part of up to LANES columns."""
    cdef Py_ssize_t first = item // b.parts * LANES, row = item % b.parts * ROWS
    cdef Py_ssize_t rows = min(ROWS, b.n - row), width = min(LANES, b.channels - first)
    cdef const real *x = <const real *> b.x + row * b.channels + first
    cdef const real *grad = <const real *> b.grad + row * b.channels + first
    cdef const real *mean = <const real *> b.shift + first
    parts += first * b.parts + item % b.parts
    if b.grad == NULL and width == LANES:  # a constant width keeps the sums in registers
        column_moments(x, rows, b.channels, LANES, parts, b.parts)
    elif b.grad == NULL:
        column_moments(x, rows, b.channels, width, parts, b.parts)
    elif width == LANES:
        column_sums(grad, x, mean, rows, b.channels, LANES, parts, b.parts)
    else:
        column_sums(grad, x, mean, rows, b.channels, width, parts, b.parts)


cdef int reduce_channels(const BatchNorm *b, real sample, int threads) except -1:
    """Fill first and second: mean and variance, or with a gradient its sums, of every channel."""
    cdef bint done
    with nogil:
        done = reduce_all[real](b, sample, threads)
    if not done:
        raise MemoryError(f"no memory for {b.channels * b.parts} partial sums")
    return 0


cdef bint reduce_all(const BatchNorm *b, real sample, int threads) noexcept nogil:
    """The same without Python; false without memory."""
    cdef Moments *parts = <Moments *>malloc(b.channels * b.parts * sizeof(Moments))
    cdef Py_ssize_t item, channel
    if parts == NULL:
        return False
    if b.inner == 1:
        for item in prange((b.channels + LANES - 1) // LANES * b.parts, num_threads=threads):
            column_block[real](b, item, 0, parts)
    else:
        for item in prange(b.channels * b.parts, num_threads=threads):
            if real is float:
                reduce_item_float(b, item, parts)
            else:
                reduce_item_double(b, item, parts)
    for channel in range(b.channels):
        if real is float:
            reduce_channel_float(b, channel, parts)
        else:
            reduce_channel_double(b, channel, parts)
    free(parts)
    return True


def moments(const real[:, :, ::1] x, *, double[:, ::1] out):
    """out[0] = mean and out[1] = biased variance of every channel."""
    cdef BatchNorm b = describe(x)
    b.first, b.second = &out[0, 0], &out[1, 0]
    reduce_channels[real](&b, 0, useful_threads(x.size))


def gradient_sums(const real[:, :, ::1] grad, const real[:, :, ::1] x, const real[::1] mean, *,
                  double[:, ::1] out):
    """out[0] = the sum of grad and out[1] = that of grad * (x - mean), of every channel."""
    cdef BatchNorm b = describe(x)
    b.grad, b.shift = <const void *> &grad[0, 0, 0], <void *> &mean[0]
    b.first, b.second = &out[0, 0], &out[1, 0]
    reduce_channels[real](&b, 0, useful_threads(x.size))


cdef void normalize_columns(const real *x, const real *shift, const real *scale,
                            const real *offset, real *out, Py_ssize_t count) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(count):
        out[i] = (x[i] - shift[i]) * scale[i] + offset[i]


cdef void gradient_columns(const real *grad, const real *x, const real *mean, const real *scale,
                           const real *slope, const real *offset, real *out,
                           Py_ssize_t count) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(count):
        out[i] = grad[i] * scale[i] + ((x[i] - mean[i]) * slope[i] + offset[i])


cdef void map_rows(const BatchNorm *b, Py_ssize_t row, real sample) noexcept nogil:
    """Map ROWS rows of columns."""
    cdef Py_ssize_t end = min(row + ROWS, b.n), start
    for row in range(row, end):
        start = row * b.channels
        if b.grad == NULL:
            normalize_columns(<const real *> b.x + start, <const real *> b.shift,
                              <const real *> b.scale, <const real *> b.offset,
                              <real *> b.out + start, b.channels)
        else:
            gradient_columns(<const real *> b.grad + start, <const real *> b.x + start,
                             <const real *> b.shift, <const real *> b.scale,
                             <const real *> b.slope, <const real *> b.offset,
                             <real *> b.out + start, b.channels)


cdef void map_channels(const BatchNorm *b, real sample, int threads) noexcept nogil:
    """Map every channel; the maps are set."""
    cdef Py_ssize_t item
    if b.inner == 1:
        for item in prange(0, b.n, ROWS, num_threads=threads):
            map_rows[real](b, item, 0)
        return
    for item in prange(b.channels * b.parts, num_threads=threads):
        if real is float:
            map_item_float(b, item)
        else:
            map_item_double(b, item)


cdef bint map_moments(BatchNorm *b, const double *mean, const double *var, const real *weight,
                      const real *bias, double eps, int threads) noexcept nogil:
    """out = (x - mean) / sqrt(var + eps) * weight + bias, either of which may be NULL; false
    without memory. See `normalize` in Python for why it subtracts first."""
    cdef real *shift = <real *> malloc(3 * b.channels * sizeof(real))
    cdef real *scale = shift + b.channels
    cdef real *offset = scale + b.channels
    cdef double factor
    cdef Py_ssize_t i
    if shift == NULL:
        return False
    for i in range(b.channels):
        factor = (weight[i] if weight != NULL else 1) / sqrt(var[i] + eps)
        shift[i], scale[i] = <real> mean[i], <real> factor
        offset[i] = <real> ((shift[i] - mean[i]) * factor + (bias[i] if bias != NULL else 0))
    b.shift, b.scale, b.offset = shift, scale, offset
    map_channels[real](b, 0, threads)
    free(shift)
    return True


cdef api int voxkern_moments(size_t itemsize, Py_ssize_t n, Py_ssize_t channels, Py_ssize_t inner,
                             const void *x, int threads, double *mean,
                             double *var) noexcept nogil:
    """`moments` of checked arguments without Python, x not empty; false without memory."""
    cdef BatchNorm b
    threads = threads_for(n * channels * inner, threads)
    if itemsize == sizeof(float):
        b = described(<const float *> x, n, channels, inner)
        b.first, b.second = mean, var
        return reduce_all[float](&b, 0, threads)
    b = described(<const double *> x, n, channels, inner)
    b.first, b.second = mean, var
    return reduce_all[double](&b, 0, threads)


cdef api int voxkern_normalize(size_t itemsize, Py_ssize_t n, Py_ssize_t channels,
                               Py_ssize_t inner, const void *x, const double *mean,
                               const double *var, const void *weight, const void *bias, double eps,
                               int threads, void *out) noexcept nogil:
    """Batch norm of checked arguments without Python, x not empty; false without memory."""
    cdef BatchNorm b
    threads = threads_for(n * channels * inner, threads)
    if itemsize == sizeof(float):
        b = described(<const float *> x, n, channels, inner)
        b.out = out
        return map_moments[float](&b, mean, var, <const float *> weight, <const float *> bias, eps,
                                  threads)
    b = described(<const double *> x, n, channels, inner)
    b.out = out
    return map_moments[double](&b, mean, var, <const double *> weight, <const double *> bias, eps,
                               threads)


def normalize(const real[:, :, ::1] x, const real[::1] shift, const real[::1] scale,
              const real[::1] offset, *, real[:, :, ::1] out):
    """out = (x - shift) * scale + offset, one of each per channel."""
    cdef BatchNorm b = describe(x)
    b.shift, b.scale, b.offset = <void *> &shift[0], <void *> &scale[0], <void *> &offset[0]
    b.out = <void *> &out[0, 0, 0]
    map_channels[real](&b, 0, useful_threads(x.size))


def input_gradient(const real[:, :, ::1] grad, const real[:, :, ::1] x, const real[::1] mean,
                   const real[::1] scale, const real[::1] slope, const real[::1] offset, *,
                   real[:, :, ::1] out):
    """out = grad * scale + (x - mean) * slope + offset, one of each per channel."""
    cdef BatchNorm b = describe(x)
    b.grad, b.out = <const void *> &grad[0, 0, 0], <void *> &out[0, 0, 0]
    b.shift, b.scale = <void *> &mean[0], <void *> &scale[0]
    b.slope, b.offset = <void *> &slope[0], <void *> &offset[0]
    map_channels[real](&b, 0, useful_threads(x.size))


cdef int whole(BatchNorm *b, real sample, int threads) except -1:
    """Reduce every channel, set its map and map it: one thread a channel if there are enough."""
    cdef Py_ssize_t channel
    if b.channels < 2 * threads and threads > 1:
        reduce_channels[real](b, sample, threads)
        for channel in range(b.channels):
            if real is float:
                set_map_float(b, channel)
            else:
                set_map_double(b, channel)
        map_channels[real](b, sample, threads)
        return 0
    for channel in prange(b.channels, nogil=True, num_threads=threads):
        if real is float:
            whole_channel_float(b, channel)
        else:
            whole_channel_double(b, channel)
    return 0


def train(const real[:, :, ::1] x, const real[::1] weight, const real[::1] bias, double eps, *,
          double[:, ::1] stats, real[:, ::1] maps, real[:, :, ::1] out):
    """out = x normalised with its own moments, times weight plus bias; stats = those moments.

    inner is above 1; `maps`, (3, channels), is overwritten.
    """
    cdef BatchNorm b = describe(x)
    b.weight, b.bias, b.eps = <const void *> &weight[0], <const void *> &bias[0], eps
    b.first, b.second, b.out = &stats[0, 0], &stats[1, 0], <void *> &out[0, 0, 0]
    b.shift, b.scale, b.offset = &maps[0, 0], &maps[1, 0], &maps[2, 0]
    whole[real](&b, 0, useful_threads(x.size))


def backward(const real[:, :, ::1] grad, const real[:, :, ::1] x, const real[::1] weight,
             const real[::1] mean, const real[::1] invstd, *, double[:, ::1] sums,
             real[:, ::1] maps, real[:, :, ::1] out):
    """out = the gradient to the x of `train`; sums as of `gradient_sums`; `maps` as above."""
    cdef BatchNorm b = describe(x)
    b.grad, b.weight = <const void *> &grad[0, 0, 0], <const void *> &weight[0]
    b.shift, b.invstd = <void *> &mean[0], <const void *> &invstd[0]
    b.first, b.second, b.out = &sums[0, 0], &sums[1, 0], <void *> &out[0, 0, 0]
    b.scale, b.slope, b.offset = &maps[0, 0], &maps[1, 0], &maps[2, 0]
    whole[real](&b, 0, useful_threads(x.size))
