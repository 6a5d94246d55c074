"""Convolution with fewer multiplications; see conv_winograd.h for how."""

from cython.parallel cimport parallel, prange, threadid
from libc.string cimport memset

from voxkern.kernels.native.host import get_num_threads, useful_threads

include "window.pxi"

cdef extern from "scratch.h" nogil:
    void *take_scratch(size_t bytes)
    void give_scratch(void *block)
    size_t SCRATCH_KEPT

cdef extern from "conv_winograd.h" nogil:
    enum: lanes_float, lanes_double
    ctypedef struct WinogradAxis:
        Py_ssize_t size, count, padding, taps, step, dilation, tile, points, tiles, block, blocks
    ctypedef struct Winograd:
        WinogradAxis axis[3]
        Py_ssize_t batch, batch_block, batch_blocks, groups, inputs, outputs, points, taps
        Py_ssize_t chunk, chunks, chunk_in, fresh
        const void *x
        const void *weight
        const void *bias
        void *out
        void *shared
        int flipped
        int activation
        double slope
    void plan_blocks(Winograd *c, Py_ssize_t most)
    Py_ssize_t block_tiles(Py_ssize_t elements, Py_ssize_t itemsize)
    Py_ssize_t winograd_scratch_float(const Winograd *c)
    Py_ssize_t winograd_scratch_double(const Winograd *c)
    int winograd_item_float(const Winograd *c, Py_ssize_t index, float *scratch)
    int winograd_item_double(const Winograd *c, Py_ssize_t index, double *scratch)
    Py_ssize_t transformed_input_float(const Winograd *c)
    Py_ssize_t transformed_input_double(const Winograd *c)
    void input_item_float(const Winograd *c, Py_ssize_t index, float *scratch)
    void input_item_double(const Winograd *c, Py_ssize_t index, double *scratch)
    int gradient_item_float(const Winograd *c, Py_ssize_t index, const float *grad, float *out,
                            float *scratch)
    int gradient_item_double(const Winograd *c, Py_ssize_t index, const double *grad, double *out,
                             double *scratch)
    Py_ssize_t winograd_packed_float(const Winograd *c)
    Py_ssize_t winograd_packed_double(const Winograd *c)
    Py_ssize_t pack_items_float(const Winograd *c)
    Py_ssize_t pack_items_double(const Winograd *c)
    Py_ssize_t pack_scratch_float(const Winograd *c)
    Py_ssize_t pack_scratch_double(const Winograd *c)
    void pack_item_float(const Winograd *c, Py_ssize_t index, float *packed, float *scratch)
    void pack_item_double(const Winograd *c, Py_ssize_t index, double *packed, double *scratch)
    void winograd_matrices(Py_ssize_t points, Py_ssize_t tile, double *output,
                                  double *input, double *weight)

ctypedef fused real:
    float
    double

cdef enum:
    PRODUCTS = 32  # done in the time of moving one element
    LINE = 16  # elements: a cache line of floats, two of doubles
    # Of so few tiles each block transforms its weights. 256 channels of 4x14x14 take 2.6 ms less
    # so than with all transformed before; 2.2 in a batch of two, 0.5 of three, 0.2 more of four.
    FEW_TILES = 32
    MORE_TILES = 192  # the same where all weights would be new pages in each call
    FRESH = 32  # input channels at a time: 3.9 ms with 32 or 64, 4.4 with 16
    GRADIENT_TILES = 64  # of a block: the sums are read and written once for each
    GRADIENT_CHANNELS = 64  # input and output channels of a task


cdef int read_axes(Winograd *c, const Py_ssize_t *kernel, tile) except -1:
    cdef Py_ssize_t tiles[3]
    tiles[0], tiles[1], tiles[2] = tile
    set_axes(c, kernel, tiles)
    return 0


cdef void set_axes(Winograd *c, const Py_ssize_t *kernel_size,
                   const Py_ssize_t *tile) noexcept nogil:
    """What the kernel and the tile say; 1 is the tile of an axis that is summed directly."""
    cdef int i
    memset(c, 0, sizeof(c[0]))
    c.points = c.taps = 1
    for i in range(3):
        c.axis[i].taps, c.axis[i].tile = kernel_size[i], tile[i]
        c.axis[i].points = c.axis[i].taps + c.axis[i].tile - 1 if c.axis[i].tile > 1 else 1
        c.points *= c.axis[i].points
        c.taps *= c.axis[i].taps if c.axis[i].points == 1 else 1


cdef void set_shapes(Winograd *c, const Py_ssize_t *x, const Py_ssize_t *out,
                     const voxkern_window *w, Py_ssize_t groups) noexcept nogil:
    cdef int i
    c.batch, c.groups = x[0], groups
    c.inputs, c.outputs = x[1] // groups, out[1] // groups
    for i in range(3):
        c.axis[i].size, c.axis[i].count = x[2 + i], out[2 + i]
        c.axis[i].padding, c.axis[i].dilation = w.before[i], w.dilation[i]
        c.axis[i].step = w.stride[i] if c.axis[i].count > 1 else 1
        c.axis[i].tiles = (c.axis[i].count + c.axis[i].tile - 1) // c.axis[i].tile


cdef Py_ssize_t count_tiles(Winograd *c) noexcept nogil:
    return c.batch * c.axis[0].tiles * c.axis[1].tiles * c.axis[2].tiles


cdef Py_ssize_t count_blocks(Winograd *c) noexcept nogil:
    return c.groups * c.batch_blocks * c.axis[0].blocks * c.axis[1].blocks * c.axis[2].blocks


cdef int count_threads(Winograd *c, int limit) noexcept nogil:
    """Threads that the products are enough for, of `limit`."""
    cdef Py_ssize_t products = c.groups * c.inputs * c.outputs * c.points * c.taps
    return threads_for(products * count_tiles(c) // PRODUCTS, limit)


cdef Py_ssize_t whole_lines(Py_ssize_t elements) noexcept nogil:
    """No two threads write to one line of the cache."""
    return (elements + LINE - 1) // LINE * LINE


cdef Py_ssize_t plan_conv(Winograd *c, real sample, int threads, bint packed) noexcept nogil:
    """Lay out the work of `conv`, whose weights are `packed` before; elements of a thread's scratch.
    """
    cdef Py_ssize_t lanes = lanes_float if real is float else lanes_double, blocks, chunks, size, few
    plan_blocks(c, block_tiles(c.points * (c.inputs + 2 * lanes), sizeof(real)))
    blocks = count_blocks(c)
    c.chunk = c.outputs
    if blocks < 4 * threads and threads > 1:
        # Seven blocks are a bad share for two threads: 128 channels were 1.7 times as fast as one.
        chunks = (4 * threads + blocks - 1) // blocks * 2 * lanes
        c.chunk = (c.outputs + chunks - 1) // chunks * 2 * lanes
    c.chunks = (c.outputs + c.chunk - 1) // c.chunk
    size = winograd_packed_float(c) if real is float else winograd_packed_double(c)
    few = FEW_TILES if size * sizeof(real) <= SCRATCH_KEPT else MORE_TILES
    if not packed and c.taps == 1 and count_tiles(c) <= few:
        c.fresh = min(FRESH, c.inputs)
    size = winograd_scratch_float(c) if real is float else winograd_scratch_double(c)
    if not packed and not c.fresh:
        size = max(size, pack_room[real](c, 0))
    return whole_lines(size)


cdef Py_ssize_t shared_elements(Winograd *c, real sample) noexcept nogil:
    """Elements of the transformed input that work items share."""
    cdef Py_ssize_t size = count_blocks(c) if c.chunks > 1 else 0
    size *= transformed_input_float(c) if real is float else transformed_input_double(c)
    return whole_lines(size)


def packed_size(Py_ssize_t outputs, Py_ssize_t inputs, kernel_size, tile, Py_ssize_t groups,
                Py_ssize_t itemsize):
    """Elements of the transformed weights of `outputs` channels of `inputs` per group."""
    cdef Winograd c
    cdef Py_ssize_t kernel[3]
    kernel[:] = kernel_size
    read_axes(&c, kernel, tile)
    c.groups, c.inputs, c.outputs = groups, inputs, outputs // groups
    return winograd_packed_float(&c) if itemsize == 4 else winograd_packed_double(&c)


cdef Py_ssize_t packed_elements(Winograd *c, real sample) noexcept nogil:
    """Elements of the weights that a call transforms before its products, whole cache lines."""
    cdef Py_ssize_t size = winograd_packed_float(c) if real is float else winograd_packed_double(c)
    return whole_lines(0 if c.fresh else size)


cdef Py_ssize_t pack_room(Winograd *c, real sample) noexcept nogil:
    """Elements of scratch of a thread that transforms weights."""
    return pack_scratch_float(c) if real is float else pack_scratch_double(c)


cdef void pack_all(Winograd *c, real *out, real *scratch, int threads) noexcept nogil:
    cdef Py_ssize_t item, size = pack_room[real](c, 0)
    cdef Py_ssize_t items = pack_items_float(c) if real is float else pack_items_double(c)
    for item in prange(items, num_threads=threads, schedule="static"):
        if real is float:
            pack_item_float(c, item, out, scratch + threadid() * size)
        else:
            pack_item_double(c, item, out, scratch + threadid() * size)


def pack(const real[:, :, :, :, ::1] weight, tile, Py_ssize_t groups, *, real[::1] out):
    """out = the transformed weights, for `conv` with this tile."""
    cdef Winograd c
    cdef int threads = useful_threads(out.size)
    read_axes(&c, weight.shape + 2, tile)
    c.groups, c.inputs, c.outputs = groups, weight.shape[1], weight.shape[0] // groups
    cdef real *scratch = <real *> take_scratch(threads * pack_room[real](&c, 0) * sizeof(real))
    if scratch == NULL:
        raise MemoryError("no memory to transform the weights of a convolution")
    c.weight = <const void *> &weight[0, 0, 0, 0, 0]
    with nogil:
        pack_all[real](&c, &out[0], scratch, threads)
    give_scratch(scratch)


def conv(const real[:, :, :, :, ::1] x, const real[:, :, :, :, ::1] weight, const real[::1] bias,
         tile, padding, stride, dilation, Py_ssize_t groups, *, const real[::1] packed, slope,
         bint flipped, real[:, :, :, :, ::1] out):
    """out = the correlation of x with weight, plus bias.

    `packed` is the transform of weight or None. `flipped` says that weight is that of the
    convolution whose transpose is wanted: channels change places and taps are in reverse.

    Returns whether all results are finite. If not, results are wrong beside those that should not
    be: compute them again another way.
    """
    cdef Winograd c
    cdef int bad, threads
    cdef const real *ready = &packed[0] if packed is not None else NULL
    if out.size == 0:
        return True
    cdef voxkern_window w = read_window(weight.shape + 2, stride, padding, dilation)
    read_axes(&c, weight.shape + 2, tile)
    set_shapes(&c, x.shape, out.shape, &w, groups)
    if slope is not None:
        c.activation, c.slope = 1, slope
    c.x, c.out = <const void *> &x[0, 0, 0, 0, 0], <void *> &out[0, 0, 0, 0, 0]
    c.bias = <const void *> &bias[0] if bias is not None else NULL
    c.weight, c.flipped = <const void *> &weight[0, 0, 0, 0, 0], flipped
    threads = get_num_threads()
    with nogil:
        bad = convolve[real](&c, ready, threads)
    if bad < 0:
        raise MemoryError("no memory for the scratch of a convolution")
    return bad == 0


cdef api int voxkern_winograd(size_t itemsize, const Py_ssize_t *x_shape, const void *x,
                              const Py_ssize_t *out_shape, const void *weight, const void *bias,
                              const voxkern_window *window, const Py_ssize_t *tile,
                              Py_ssize_t groups, int threads, void *out) noexcept nogil:
    """`conv` of checked arguments without Python: not 0 if results are not finite, -1 without
    memory."""
    cdef Winograd c
    set_axes(&c, window.kernel, tile)
    set_shapes(&c, x_shape, out_shape, window, groups)
    c.x, c.weight, c.bias, c.out = x, weight, bias, out
    if itemsize == sizeof(float):
        return convolve[float](&c, NULL, threads)
    return convolve[double](&c, NULL, threads)


cdef int convolve(Winograd *c, const real *packed, int most) noexcept nogil:
    """Compute what is described, on `most` threads at most; results not finite, -1 without memory.
    """
    cdef int bad, threads = count_threads(c, most)
    cdef Py_ssize_t size = plan_conv[real](c, 0, threads, packed != NULL), room = 0
    cdef Py_ssize_t shared = shared_elements[real](c, 0)
    cdef real *transformed
    if packed == NULL:
        room = packed_elements[real](c, 0)
    cdef real *scratch = <real *> take_scratch((threads * size + shared + room) * sizeof(real))
    if scratch == NULL:
        return -1
    c.shared = <void *> (scratch + threads * size)
    if packed != NULL:
        c.weight = <const void *> packed
    elif room:
        transformed = scratch + threads * size + shared
        pack_all[real](c, transformed, scratch, threads)
        c.weight = <const void *> transformed
    bad = run[real](c, scratch, size, threads)
    give_scratch(scratch)
    return bad


cdef int run(Winograd *c, real *scratch, Py_ssize_t size, int threads) noexcept nogil:
    """Compute all work items; how many of them hold results that are not finite."""
    cdef Py_ssize_t lanes = lanes_float if real is float else lanes_double, item, inputs = 0
    cdef Py_ssize_t blocks = count_blocks(c), items = blocks * c.chunks
    cdef int bad = 0
    if c.chunks > 1:
        inputs = blocks * ((c.inputs + lanes - 1) // lanes)
    with parallel(num_threads=threads):
        for item in prange(inputs, schedule="dynamic"):
            if real is float:
                input_item_float(c, item, scratch + threadid() * size)
            else:
                input_item_double(c, item, scratch + threadid() * size)
        for item in prange(items, schedule="dynamic"):
            if real is float:
                bad += winograd_item_float(c, item, scratch + threadid() * size)
            else:
                bad += winograd_item_double(c, item, scratch + threadid() * size)
    return bad


def workspace(x_shape, weight_shape, out_shape, stride, padding, dilation, Py_ssize_t groups, *,
              tile, Py_ssize_t itemsize, int threads):
    """Bytes that `conv` uses for arrays of these shapes with at most `threads` threads."""
    cdef Winograd c
    cdef Py_ssize_t x[5]
    cdef Py_ssize_t weight[5]
    cdef Py_ssize_t out[5]
    x[:], weight[:], out[:] = x_shape, weight_shape, out_shape
    if 0 in out_shape:
        return 0
    cdef voxkern_window w = read_window(weight + 2, stride, padding, dilation)
    read_axes(&c, weight + 2, tile)
    set_shapes(&c, x, out, &w, groups)
    threads = count_threads(&c, threads)
    if itemsize == sizeof(float):
        return scratch_elements[float](&c, 0, threads) * itemsize
    return scratch_elements[double](&c, 0, threads) * itemsize


cdef Py_ssize_t scratch_elements(Winograd *c, real sample, int threads) noexcept:
    """What `conv` takes where no weights are packed."""
    cdef Py_ssize_t size = plan_conv[real](c, 0, threads, False)
    return threads * size + shared_elements[real](c, 0) + packed_elements[real](c, 0)


def backward_weight(const real[:, :, :, :, ::1] grad, const real[:, :, :, :, ::1] x, kernel_size,
                    tile, padding, stride, dilation, Py_ssize_t groups, *,
                    real[:, :, :, :, ::1] out):
    """out = the gradient to the weights, given that to the output.

    Returns whether all of it is finite; see `conv`. A task owns the weights between some input
    and some output channels and walks through all tiles in order, in blocks that depend on the
    shapes alone: every sum has one order whatever the number of threads.
    """
    cdef Winograd c
    cdef int bad = 0, threads
    cdef Py_ssize_t item, items, size, lanes = lanes_float if real is float else lanes_double
    if grad.size == 0:
        memset(&out[0, 0, 0, 0, 0], 0, out.size * sizeof(real))
        return True
    cdef voxkern_window w = read_window(out.shape + 2, stride, padding, dilation)
    read_axes(&c, out.shape + 2, tile)
    set_shapes(&c, x.shape, grad.shape, &w, groups)
    c.x = <const void *> &x[0, 0, 0, 0, 0]
    threads = count_threads(&c, get_num_threads())
    plan_blocks(&c, GRADIENT_TILES)
    c.chunks = 1
    c.chunk_in, c.chunk = min(GRADIENT_CHANNELS, c.inputs), min(GRADIENT_CHANNELS, c.outputs)
    items = groups * ((c.inputs + c.chunk_in - 1) // c.chunk_in)
    # The threads share the output channels, in whole vectors.
    while c.chunk > lanes and items * ((c.outputs + c.chunk - 1) // c.chunk) < threads:
        c.chunk = ((c.chunk + 1) // 2 + lanes - 1) // lanes * lanes
    items *= (c.outputs + c.chunk - 1) // c.chunk
    size = winograd_scratch_float(&c) if real is float else winograd_scratch_double(&c)
    size = whole_lines(size)
    cdef real *scratch = <real *> take_scratch(threads * size * sizeof(real))
    if scratch == NULL:
        raise MemoryError("no memory for the scratch of a weight gradient")
    for item in prange(items, nogil=True, num_threads=threads, schedule="dynamic"):
        if real is float:
            bad += gradient_item_float(&c, item, &grad[0, 0, 0, 0, 0], &out[0, 0, 0, 0, 0],
                                       scratch + threadid() * size)
        else:
            bad += gradient_item_double(&c, item, &grad[0, 0, 0, 0, 0], &out[0, 0, 0, 0, 0],
                                        scratch + threadid() * size)
    give_scratch(scratch)
    return bad == 0


def matrices(int points, int tile, double[:, ::1] output, double[:, ::1] input,
             double[:, ::1] weight):
    """Fill in A^T, B^T and G as the kernels apply them."""
    winograd_matrices(points, tile, &output[0, 0], &input[0, 0], &weight[0, 0])
