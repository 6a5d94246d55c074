"""Moments and affine maps per channel of (N, C, inner) arrays.

Every sum has one order whatever the threads: fixed blocks of a channel, LANES partial sums in a
block, blocks added in double precision from the first to the last.
"""

from cython.parallel cimport prange
from libc.math cimport NAN, isfinite
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy

from voxkern.kernels.native.host import useful_threads

cdef extern from "simd.h" nogil:
    void PREFETCH(const void *address)

cdef extern from "stream.h" nogil:
    enum:
        LINE
    void stream_line(void *to, const void *source)
    void stream_end()

ctypedef fused real:
    float
    double

cdef enum:
    LANES = 32  # of a sum: 128 bytes of float32, enough to hide the latency of an addition
    BLOCK = 2048  # elements: read twice, so a block of doubles and its gradient fit 32 kB
    TILE = 16384  # elements of a map that a thread takes at once
    LARGE = 1 << 25  # bytes of output: no cache keeps them until they are read

ctypedef struct Part:
    # Of one block: mean and sum of squared deviations from it, or two plain sums.
    double count
    double first
    double second

cdef struct Blocks:
    # Of an (n, channels, inner) array; a block has columns of several channels if inner is 1.
    Py_ssize_t n
    Py_ssize_t channels
    Py_ssize_t inner
    Py_ssize_t size  # elements of a row in a block
    Py_ssize_t pieces  # blocks side by side in a row
    Py_ssize_t rows  # of a channel, in a block
    Py_ssize_t groups  # blocks along n
    Py_ssize_t per_channel
    Py_ssize_t count

cdef struct Place:
    Py_ssize_t channel
    Py_ssize_t start  # of the first row, in elements
    Py_ssize_t rows
    Py_ssize_t size
    Py_ssize_t part  # where the result of the (first) channel goes


cdef Py_ssize_t divide_up(Py_ssize_t a, Py_ssize_t b) noexcept nogil:
    return (a + b - 1) // b


cdef Blocks cut(Py_ssize_t n, Py_ssize_t channels, Py_ssize_t inner) noexcept nogil:
    """The blocks of an array; by its shape alone."""
    cdef Blocks b
    b.n, b.channels, b.inner = n, channels, inner
    b.size = min(channels, LANES) if inner == 1 else min(inner, BLOCK)
    b.pieces = divide_up(channels if inner == 1 else inner, b.size)
    b.rows = BLOCK // b.size if inner == 1 or b.pieces == 1 else 1
    b.groups = divide_up(n, b.rows)
    b.per_channel = b.groups if inner == 1 else b.groups * b.pieces
    b.count = b.groups * b.pieces * (1 if inner == 1 else channels)
    return b


cdef inline Place place_of(Blocks b, Py_ssize_t item) noexcept nogil:
    """Where block `item` is; items follow each other as they do in memory."""
    cdef Place p
    cdef Py_ssize_t piece = item % b.pieces, group
    if b.inner == 1:
        group = item // b.pieces
        p.channel = piece * b.size
        p.start = group * b.rows * b.channels + p.channel
        p.size = min(b.size, b.channels - p.channel)
        p.part = p.channel * b.per_channel + group
    else:
        p.channel = item // b.pieces % b.channels
        group = item // (b.pieces * b.channels)
        p.start = (group * b.rows * b.channels + p.channel) * b.inner + piece * b.size
        p.size = min(b.size, b.inner - piece * b.size)
        p.part = p.channel * b.per_channel + group * b.pieces + piece
    p.rows = min(b.rows, b.n - group * b.rows)
    return p


cdef Part *parts_for(Py_ssize_t count) except NULL:
    cdef Part *parts = <Part *>malloc(count * sizeof(Part))
    if parts == NULL:
        raise MemoryError(f"no memory for {count} partial sums")
    return parts


cdef inline real folded(real *lane) noexcept nogil:
    """Sum of LANES lanes, by halves."""
    cdef Py_ssize_t half = LANES // 2, i
    while half:
        for i in range(half):
            lane[i] += lane[i + half]
        half = half // 2
    return lane[0]


cdef inline const real *packed(const real *x, real *buffer, Py_ssize_t rows, Py_ssize_t inner,
                               Py_ssize_t stride) noexcept nogil:
    """Rows one after another: copied to the buffer, unless there is just one."""
    cdef Py_ssize_t r
    if rows == 1:
        return x
    for r in range(rows):
        memcpy(buffer + r * inner, x + r * stride, inner * sizeof(real))
    return buffer


# The sums over whole LANES have arrays of their own: one that is also indexed by a variable, as
# the rest of a block does, stays in memory (measured: twice the time in the cache).

cdef inline void shares(const real *x, Py_ssize_t count, real share, real *lane) noexcept nogil:
    """Per lane, the sum of x * share over count * LANES elements."""
    cdef real own[LANES]
    cdef Py_ssize_t i, j
    for j in range(LANES):
        own[j] = 0
    for i in range(count):
        for j in range(LANES):
            own[j] += x[i * LANES + j] * share
    for j in range(LANES):
        lane[j] = own[j]


cdef real mean_of(const real *x, Py_ssize_t count) noexcept nogil:
    """Mean up to rounding; scaled before it is summed, so that the sum does not overflow."""
    cdef real lane[LANES]
    cdef real share = <real>1 / count
    cdef Py_ssize_t i
    shares(x, count // LANES, share, lane)
    for i in range(count - count % LANES, count):
        lane[i % LANES] += x[i] * share
    return folded(lane)


cdef inline Part about(double centre, double first, double second, Py_ssize_t count) noexcept nogil:
    """Moments from the sums of x - centre and its square; exact, so centre may be rounded."""
    cdef Part part
    part.count = count
    part.first = centre
    part.second = NAN
    if isfinite(centre):
        part.first = centre + first / count
        part.second = second - first * first / count
        if part.second < 0:
            part.second = 0
    return part


cdef inline void deviations(const real *x, Py_ssize_t count, real centre, real *lane,
                            real *square) noexcept nogil:
    """Per lane, the sums of x - centre and of its square over count * LANES elements."""
    cdef real own[LANES]
    cdef real squares[LANES]
    cdef real d
    cdef Py_ssize_t i, j
    for j in range(LANES):
        own[j] = 0
        squares[j] = 0
    for i in range(count):
        # The next block: memory would be idle while this one is read again (5.6 -> 4.3 ms).
        PREFETCH(x + BLOCK + i * LANES)
        PREFETCH(x + BLOCK + i * LANES + LANES // 2)
        for j in range(LANES):
            d = x[i * LANES + j] - centre
            own[j] += d
            squares[j] += d * d
    for j in range(LANES):
        lane[j] = own[j]
        square[j] = squares[j]


cdef Part row_moments(const real *x, Py_ssize_t count) noexcept nogil:
    """Moments of contiguous elements: the mean, then sums of deviations from it."""
    cdef real lane[LANES]
    cdef real square[LANES]
    cdef real centre = mean_of(x, count), d
    cdef Py_ssize_t i
    deviations(x, count // LANES, centre, lane, square)
    for i in range(count - count % LANES, count):
        d = x[i] - centre
        lane[i % LANES] += d
        square[i % LANES] += d * d
    return about(centre, folded(lane), folded(square), count)


cdef inline void column_moments(const real *x, Py_ssize_t rows, Py_ssize_t stride,
                                Py_ssize_t width, Part *parts, Py_ssize_t step) noexcept nogil:
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
        parts[j * step] = about(centre[j], lane[j], square[j], rows)


cdef void merge(const Part *parts, Py_ssize_t count, Py_ssize_t total, double *mean,
                double *variance) noexcept nogil:
    """Mean and biased variance of `total` elements from those of `count` blocks."""
    cdef double origin = parts[0].first if isfinite(parts[0].first) else 0
    cdef double centre = 0, squares = 0
    cdef Py_ssize_t i
    for i in range(count):
        centre += (parts[i].first - origin) * (parts[i].count / total)
    centre += origin
    for i in range(count):
        squares += parts[i].second + parts[i].count * (parts[i].first - centre) ** 2
    mean[0] = centre
    variance[0] = squares / total


cdef void moments_task(const real *x, Blocks b, Py_ssize_t item, Part *parts) noexcept nogil:
    cdef real buffer[BLOCK]
    cdef Place p = place_of(b, item)
    x += p.start
    parts += p.part
    if b.inner > 1:
        x = packed(x, buffer, p.rows, p.size, b.channels * b.inner)
        parts[0] = row_moments(x, p.rows * p.size)
    elif p.size == LANES:  # a constant width keeps the sums in registers
        column_moments(x, p.rows, b.channels, LANES, parts, b.per_channel)
    else:
        column_moments(x, p.rows, b.channels, p.size, parts, b.per_channel)


def moments(const real[:, :, ::1] x, *, double[:, ::1] out):
    """out[0] = mean and out[1] = biased variance of every channel."""
    cdef Blocks b = cut(x.shape[0], x.shape[1], x.shape[2])
    cdef Part *parts = parts_for(b.channels * b.per_channel)
    cdef const real *data = &x[0, 0, 0]
    cdef Py_ssize_t item, c
    cdef int threads = useful_threads(x.size)
    for item in prange(b.count, nogil=True, num_threads=threads):
        moments_task(data, b, item, parts)
    for c in range(b.channels):
        merge(parts + c * b.per_channel, b.per_channel, b.n * b.inner, &out[0, c], &out[1, c])
    free(parts)


cdef inline void products(const real *grad, const real *x, Py_ssize_t count, real mean, real *lane,
                          real *product) noexcept nogil:
    """Per lane, the sums of grad and of grad * (x - mean) over count * LANES elements."""
    cdef real own[LANES]
    cdef real ours[LANES]
    cdef Py_ssize_t i, j
    for j in range(LANES):
        own[j] = 0
        ours[j] = 0
    for i in range(count):
        for j in range(LANES):
            own[j] += grad[i * LANES + j]
            ours[j] += grad[i * LANES + j] * (x[i * LANES + j] - mean)
    for j in range(LANES):
        lane[j] = own[j]
        product[j] = ours[j]


cdef Part row_sums(const real *grad, const real *x, real mean, Py_ssize_t count) noexcept nogil:
    """The gradient's sums over contiguous elements of a channel."""
    cdef real lane[LANES]
    cdef real product[LANES]
    cdef Py_ssize_t i
    cdef Part part
    products(grad, x, count // LANES, mean, lane, product)
    for i in range(count - count % LANES, count):
        lane[i % LANES] += grad[i]
        product[i % LANES] += grad[i] * (x[i] - mean)
    part.count, part.first, part.second = count, folded(lane), folded(product)
    return part


cdef inline void column_sums(const real *grad, const real *x, const real *mean, Py_ssize_t rows,
                             Py_ssize_t stride, Py_ssize_t width, Part *parts,
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
        parts[j * step].first = lane[j]
        parts[j * step].second = product[j]


cdef void sums_task(const real *grad, const real *x, const real *mean, Blocks b, Py_ssize_t item,
                    Part *parts) noexcept nogil:
    cdef real buffer[BLOCK]
    cdef real twin[BLOCK]
    cdef Place p = place_of(b, item)
    cdef Py_ssize_t stride = b.channels * b.inner
    grad += p.start
    x += p.start
    mean += p.channel
    parts += p.part
    if b.inner > 1:
        grad = packed(grad, buffer, p.rows, p.size, stride)
        x = packed(x, twin, p.rows, p.size, stride)
        parts[0] = row_sums(grad, x, mean[0], p.rows * p.size)
    elif p.size == LANES:
        column_sums(grad, x, mean, p.rows, stride, LANES, parts, b.per_channel)
    else:
        column_sums(grad, x, mean, p.rows, stride, p.size, parts, b.per_channel)


def gradient_sums(const real[:, :, ::1] grad, const real[:, :, ::1] x, const real[::1] mean, *,
                  double[:, ::1] out):
    """out[0] = the sum of grad and out[1] = that of grad * (x - mean), of every channel."""
    cdef Blocks b = cut(x.shape[0], x.shape[1], x.shape[2])
    cdef Part *parts = parts_for(b.channels * b.per_channel)
    cdef const real *g = &grad[0, 0, 0]
    cdef const real *data = &x[0, 0, 0]
    cdef const real *centre = &mean[0]
    cdef Py_ssize_t item, c, i
    cdef int threads = useful_threads(x.size)
    for item in prange(b.count, nogil=True, num_threads=threads):
        sums_task(g, data, centre, b, item, parts)
    for c in range(b.channels):
        out[0, c] = out[1, c] = 0
        for i in range(c * b.per_channel, (c + 1) * b.per_channel):
            out[0, c] += parts[i].first
            out[1, c] += parts[i].second
    free(parts)


# ---- maps: an array is taken as lines, rows of a channel, or rows of all of them if inner is 1 ----

cdef struct Lines:
    Py_ssize_t count
    Py_ssize_t length
    Py_ssize_t pieces  # of a line longer than a tile
    Py_ssize_t group  # lines in a tile
    Py_ssize_t tiles


cdef Lines lines_of(Py_ssize_t n, Py_ssize_t channels, Py_ssize_t inner) noexcept nogil:
    cdef Lines lines
    lines.count = n if inner == 1 else n * channels
    lines.length = channels if inner == 1 else inner
    lines.pieces = divide_up(lines.length, TILE)
    lines.group = max(1, TILE // lines.length)
    lines.tiles = divide_up(lines.count, lines.group) * lines.pieces
    return lines


def normalize(const real[:, :, ::1] x, const real[::1] shift, const real[::1] scale,
              const real[::1] offset, *, real[:, :, ::1] out):
    """out = (x - shift) * scale + offset, one of each per channel."""
    cdef Lines lines = lines_of(x.shape[0], x.shape[1], x.shape[2])
    cdef Py_ssize_t channels = x.shape[1], item
    cdef bint columns = x.shape[2] == 1, large = x.nbytes > LARGE
    cdef int threads = useful_threads(x.size)
    cdef const real *source = &x[0, 0, 0]
    cdef const real *a = &shift[0]
    cdef const real *s = &scale[0]
    cdef const real *b = &offset[0]
    cdef real *target = &out[0, 0, 0]
    for item in prange(lines.tiles, nogil=True, num_threads=threads):
        normalize_task(source, a, s, b, lines, item, 0 if columns else channels, large, target)


cdef void normalize_task(const real *x, const real *shift, const real *scale, const real *offset,
                         Lines lines, Py_ssize_t item, Py_ssize_t channels, bint large,
                         real *out) noexcept nogil:
    """One tile, written past the caches if large; channels is 0 where a line has them all."""
    cdef Py_ssize_t line = item // lines.pieces * lines.group, piece = item % lines.pieces * TILE
    cdef Py_ssize_t count = min(lines.group, lines.count - line), i, c
    cdef Py_ssize_t size = min(TILE, lines.length - piece), start = line * lines.length + piece
    x += start
    out += start
    for i in range(count):
        if channels:
            c = (line + i) % channels
            normalize_row(x, shift[c], scale[c], offset[c], out, size, large)
        else:
            normalize_columns(x, shift + piece, scale + piece, offset + piece, out, size)
        x += size
        out += size
    if large:
        stream_end()


cdef inline Py_ssize_t to_boundary(const real *out, Py_ssize_t count) noexcept nogil:
    """Elements before the first line of the cache that starts in out[:count], or count."""
    return min(count, <Py_ssize_t>(-<size_t>out % LINE) // <Py_ssize_t>sizeof(real))


cdef void normalize_row(const real *x, real shift, real scale, real offset, real *out,
                        Py_ssize_t count, bint large) noexcept nogil:
    cdef real line[16]
    cdef Py_ssize_t i = 0, j, per_line = LINE // sizeof(real)
    if large:
        i = to_boundary(out, count)
        for j in range(i):
            out[j] = (x[j] - shift) * scale + offset
        while i + per_line <= count:
            for j in range(per_line):
                line[j] = (x[i + j] - shift) * scale + offset
            stream_line(out + i, line)
            i += per_line
    for j in range(i, count):
        out[j] = (x[j] - shift) * scale + offset


cdef void normalize_columns(const real *x, const real *shift, const real *scale,
                            const real *offset, real *out, Py_ssize_t count) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(count):
        out[i] = (x[i] - shift[i]) * scale[i] + offset[i]


def input_gradient(const real[:, :, ::1] grad, const real[:, :, ::1] x, const real[::1] mean,
                   const real[::1] scale, const real[::1] slope, const real[::1] offset, *,
                   real[:, :, ::1] out):
    """out = grad * scale + (x - mean) * slope + offset, one of each per channel."""
    cdef Lines lines = lines_of(x.shape[0], x.shape[1], x.shape[2])
    cdef Py_ssize_t channels = x.shape[1], item
    cdef bint columns = x.shape[2] == 1, large = x.nbytes > LARGE
    cdef int threads = useful_threads(x.size)
    cdef const real *g = &grad[0, 0, 0]
    cdef const real *source = &x[0, 0, 0]
    cdef const real *m = &mean[0]
    cdef const real *s = &scale[0]
    cdef const real *k = &slope[0]
    cdef const real *b = &offset[0]
    cdef real *target = &out[0, 0, 0]
    for item in prange(lines.tiles, nogil=True, num_threads=threads):
        gradient_task(g, source, m, s, k, b, lines, item, 0 if columns else channels, large,
                      target)


cdef void gradient_task(const real *grad, const real *x, const real *mean, const real *scale,
                        const real *slope, const real *offset, Lines lines, Py_ssize_t item,
                        Py_ssize_t channels, bint large, real *out) noexcept nogil:
    """One tile, as in normalize_task."""
    cdef Py_ssize_t line = item // lines.pieces * lines.group, piece = item % lines.pieces * TILE
    cdef Py_ssize_t count = min(lines.group, lines.count - line), i, c
    cdef Py_ssize_t size = min(TILE, lines.length - piece), start = line * lines.length + piece
    grad += start
    x += start
    out += start
    for i in range(count):
        if channels:
            c = (line + i) % channels
            gradient_row(grad, x, mean[c], scale[c], slope[c], offset[c], out, size, large)
        else:
            gradient_columns(grad, x, mean + piece, scale + piece, slope + piece, offset + piece,
                             out, size)
        grad += size
        x += size
        out += size
    if large:
        stream_end()


cdef void gradient_row(const real *grad, const real *x, real mean, real scale, real slope,
                       real offset, real *out, Py_ssize_t count, bint large) noexcept nogil:
    cdef real line[16]
    cdef Py_ssize_t i = 0, j, per_line = LINE // sizeof(real)
    if large:
        i = to_boundary(out, count)
        for j in range(i):
            out[j] = grad[j] * scale + ((x[j] - mean) * slope + offset)
        while i + per_line <= count:
            for j in range(per_line):
                line[j] = grad[i + j] * scale + ((x[i + j] - mean) * slope + offset)
            stream_line(out + i, line)
            i += per_line
    for j in range(i, count):
        out[j] = grad[j] * scale + ((x[j] - mean) * slope + offset)


cdef void gradient_columns(const real *grad, const real *x, const real *mean, const real *scale,
                           const real *slope, const real *offset, real *out,
                           Py_ssize_t count) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(count):
        out[i] = grad[i] * scale[i] + ((x[i] - mean[i]) * slope[i] + offset[i])
