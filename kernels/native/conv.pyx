"""Convolution, transposed convolution and the weight gradient; see conv.h for how."""

from cython.parallel cimport prange, threadid
from libc.stdlib cimport free, malloc
from libc.string cimport memset

from voxkern.kernels.native.host import useful_threads

cdef extern from "conv.h" nogil:
    enum: lanes_float, lanes_double, LANES
    ctypedef struct Axis:
        Py_ssize_t size, count, step, out_step, taps, block, blocks, length, planes, span
        Py_ssize_t *offset
        Py_ssize_t *origin
        Py_ssize_t *plane
        Py_ssize_t *shift
    ctypedef struct Order:
        pass
    ctypedef struct Conv:
        Axis axis[3]
        const Order *order
        Py_ssize_t batch, groups, inputs, outputs, part, ring, run, taps, terms, weights
        Py_ssize_t rows, row_blocks, chunk, chunks
        Py_ssize_t *offset
        Py_ssize_t slab_size, out_batch, out_channel, channels
        int activation, accumulate, past_cache, tall, strided, dots, flipped
        double slope
        const void *x
        const void *weight
        const void *packed
        const void *bias
        void *out
    void fill_offsets(const Conv *c)
    bint is_pointwise(const Conv *c)
    Py_ssize_t scratch_size_float(const Conv *c)
    Py_ssize_t scratch_size_double(const Conv *c)
    void pack_weights_float(const Conv *c, Py_ssize_t block, float *packed)
    void pack_weights_double(const Conv *c, Py_ssize_t block, double *packed)
    void conv_item_float(const Conv *c, Py_ssize_t index, float *scratch)
    void conv_item_double(const Conv *c, Py_ssize_t index, double *scratch)

cdef extern from "conv_columns.h" nogil:
    ctypedef struct Columns:
        Conv conv
        int kind
        Py_ssize_t blocks
    void plan_columns(Columns *q, Py_ssize_t lanes, Py_ssize_t budget, int forced)
    Order find_order(const Columns *q)
    Py_ssize_t columns_scratch_float(const Columns *q)
    Py_ssize_t columns_scratch_double(const Columns *q)
    void pack_column_weights_float(const Columns *q, Py_ssize_t block, float *packed)
    void pack_column_weights_double(const Columns *q, Py_ssize_t block, double *packed)
    void columns_item_float(const Columns *q, Py_ssize_t index, float *scratch)
    void columns_item_double(const Columns *q, Py_ssize_t index, double *scratch)

cdef extern from "conv_transposed.h" nogil:
    ctypedef struct Transposed:
        Conv conv
        Py_ssize_t size[3]
        Py_ssize_t residues[3]
        Py_ssize_t *first[3]
        Py_ssize_t *tap[3]
        Py_ssize_t *source
        Py_ssize_t *lowest
        Py_ssize_t *width
    void sort_taps(Transposed *t, int axis, Py_ssize_t stride, Py_ssize_t padding,
                   Py_ssize_t dilation)
    void plan_transposed(Transposed *t, Py_ssize_t lanes, Py_ssize_t budget)
    void fill_phases(Transposed *t)
    Py_ssize_t transposed_scratch_float(const Transposed *t)
    Py_ssize_t transposed_scratch_double(const Transposed *t)
    void gather_weights_float(const Transposed *t, Py_ssize_t block, float *packed)
    void gather_weights_double(const Transposed *t, Py_ssize_t block, double *packed)
    void transposed_item_float(const Transposed *t, Py_ssize_t item, float *scratch)
    void transposed_item_double(const Transposed *t, Py_ssize_t item, double *scratch)

cdef extern from "conv_scatter.h" nogil:
    ctypedef struct Scatter:
        Py_ssize_t batch, groups, inputs, outputs, parts, shares
        Py_ssize_t size[3]
        Py_ssize_t out_size[3]
        Py_ssize_t kernel[3]
        Py_ssize_t stride[3]
        Py_ssize_t padding[3]
        Py_ssize_t dilation[3]
        Py_ssize_t *offset
        int past_cache
        const void *x
        const void *weight
        const void *bias
        void *out
    void plan_scatter(Scatter *q, Py_ssize_t lanes, Py_ssize_t budget)
    void share_scatter(Scatter *q, Py_ssize_t threads)
    Py_ssize_t scatter_scratch_float(const Scatter *q)
    Py_ssize_t scatter_scratch_double(const Scatter *q)
    void scatter_task_float(const Scatter *q, Py_ssize_t task, float *scratch)
    void scatter_task_double(const Scatter *q, Py_ssize_t task, double *scratch)

cdef extern from "conv_depthwise.h" nogil:
    ctypedef struct Depthwise:
        Py_ssize_t batch, channels, taps, positions
        Py_ssize_t size[3]
        Py_ssize_t count[3]
        Py_ssize_t kernel[3]
        Py_ssize_t stride[3]
        Py_ssize_t padding[3]
        Py_ssize_t dilation[3]
        Py_ssize_t *offset
        Py_ssize_t *place
        const void *grad
        const void *x
        const void *weight
        const void *bias
        void *out
    void measure_depthwise(Depthwise *q)
    int suits_depthwise(const Depthwise *q, Py_ssize_t lanes, Py_ssize_t budget)
    void fill_depthwise(Depthwise *q)
    Py_ssize_t depthwise_scratch_float(const Depthwise *q)
    Py_ssize_t depthwise_scratch_double(const Depthwise *q)
    void depthwise_input_float(const Depthwise *q, Py_ssize_t task, float *scratch)
    void depthwise_input_double(const Depthwise *q, Py_ssize_t task, double *scratch)
    void depthwise_weight_float(const Depthwise *q, Py_ssize_t task, float *scratch)
    void depthwise_weight_double(const Depthwise *q, Py_ssize_t task, double *scratch)

cdef extern from "conv_gradient.h" nogil:
    ctypedef struct Gradient:
        Conv conv
        Py_ssize_t all_inputs, in_chunks, out_chunk, out_chunks, parts
        const void *grad
        void *partial
    void share_inputs(Gradient *q)
    void plan_gradient(Gradient *q, Py_ssize_t lanes, Py_ssize_t budget, Py_ssize_t widest)
    Py_ssize_t widest_tile_float()
    Py_ssize_t widest_tile_double()
    Py_ssize_t gradient_scratch_float(const Gradient *q)
    Py_ssize_t gradient_scratch_double(const Gradient *q)
    void gradient_task_float(const Gradient *q, Py_ssize_t task, float *scratch)
    void gradient_task_double(const Gradient *q, Py_ssize_t task, double *scratch)
    float channel_sum_float(const float *grad, Py_ssize_t batch, Py_ssize_t channels,
                            Py_ssize_t channel, Py_ssize_t positions)
    double channel_sum_double(const double *grad, Py_ssize_t batch, Py_ssize_t channels,
                              Py_ssize_t channel, Py_ssize_t positions)

include "window.pxi"

cdef extern from "scratch.h" nogil:
    void *take_scratch(size_t bytes)
    void give_scratch(void *block)

ctypedef fused real:
    float
    double

# A slab should stay in the second-level cache, 1 MB or more on the CPUs measured; an output larger
# than the last-level cache's share of a core is written past it.
cdef enum:
    SLAB_BYTES = 512 * 1024
    CACHE_BYTES = 16 * 1024 * 1024
    PRODUCTS = 32  # done in the time of moving one element
    FEW_WEIGHTS = 512  # are packed in the time that it takes to hand over packed ones


cdef int need(bint memory) except -1:
    if not memory:
        raise MemoryError("no memory for a convolution")
    return 0


cdef bint make_tables(Conv *c) noexcept nogil:
    """Room for what the axes need; `free_tables` gives it back, where there is none too."""
    cdef int i
    c.taps = c.axis[0].taps * c.axis[1].taps * c.axis[2].taps
    c.terms = c.inputs * c.taps
    for i in range(3):
        c.axis[i].offset = <Py_ssize_t *> malloc(4 * c.axis[i].taps * sizeof(Py_ssize_t))
        if c.axis[i].offset == NULL:
            return False
        c.axis[i].origin = c.axis[i].offset + c.axis[i].taps
        c.axis[i].plane = c.axis[i].origin + c.axis[i].taps
        c.axis[i].shift = c.axis[i].plane + c.axis[i].taps
    return True


cdef bint make_offsets(Conv *c) noexcept nogil:
    """The same for the terms of a convolution that is planned."""
    c.offset = <Py_ssize_t *> malloc(max(1, c.ring) * c.part * c.taps * sizeof(Py_ssize_t))
    return c.offset != NULL


cdef void free_tables(Conv *c) noexcept nogil:
    cdef int i
    free(c.offset)
    for i in range(3):
        free(c.axis[i].offset)


cdef Py_ssize_t work(Conv *c) noexcept nogil:
    """What a convolution costs, in elements that could be moved in its time."""
    cdef Py_ssize_t channels = c.channels if c.channels else c.groups * c.outputs
    return (c.batch * channels * c.axis[0].count * c.axis[1].count * c.axis[2].count * c.terms
            // PRODUCTS)


cdef Py_ssize_t plan_scratch(Columns *q, real sample, int forced) noexcept nogil:
    """Plan a convolution whose sizes are set; the elements of scratch that a thread needs."""
    cdef Conv *c = &q.conv
    c.past_cache = c.batch * c.out_batch * sizeof(real) > CACHE_BYTES
    plan_columns(q, lanes_float if real is float else lanes_double, SLAB_BYTES // sizeof(real),
                 forced)
    if q.kind:
        return columns_scratch_float(q) if real is float else columns_scratch_double(q)
    return scratch_size_float(c) if real is float else scratch_size_double(c)


cdef Py_ssize_t packed_size(const Conv *c) noexcept nogil:
    return c.groups * c.row_blocks * c.rows * c.weights


cdef void pack_block(const Columns *q, Py_ssize_t block, real *packed) noexcept nogil:
    if real is float:
        if q.kind:
            pack_column_weights_float(q, block, packed)
        else:
            pack_weights_float(&q.conv, block, packed)
    elif q.kind:
        pack_column_weights_double(q, block, packed)
    else:
        pack_weights_double(&q.conv, block, packed)


cdef void pack_all(const Columns *q, real *packed, int threads) noexcept nogil:
    cdef Py_ssize_t block, blocks = q.conv.groups * q.conv.row_blocks
    if threads == 1:
        for block in range(blocks):
            pack_block(q, block, packed)
        return
    for block in prange(blocks, num_threads=threads):
        pack_block(q, block, packed)


cdef void run_item(const Columns *q, Py_ssize_t item, real *scratch) noexcept nogil:
    if real is float:
        if q.kind:
            columns_item_float(q, item, scratch)
        else:
            conv_item_float(&q.conv, item, scratch)
    elif q.kind:
        columns_item_double(q, item, scratch)
    else:
        conv_item_double(&q.conv, item, scratch)


cdef void run_items(const Columns *q, Py_ssize_t items, real *scratch, Py_ssize_t size,
                    int threads) noexcept nogil:
    """One thread does without OpenMP, which takes .7 us to start it."""
    cdef Py_ssize_t item
    if threads == 1:
        for item in range(items):
            run_item(q, item, scratch)
        return
    for item in prange(items, num_threads=threads, schedule="dynamic"):
        run_item(q, item, scratch + threadid() * size)


cdef void share_rows(Conv *c, Py_ssize_t blocks, int threads) noexcept nogil:
    """Few blocks: the threads share a block's output channels."""
    c.chunk = c.row_blocks
    if blocks < 4 * threads and threads > 1:
        c.chunk = max(1, c.row_blocks * blocks // (4 * threads))
    c.chunks = (c.row_blocks + c.chunk - 1) // c.chunk


cdef Py_ssize_t share_depth(Conv *c, int threads) noexcept nogil:
    """The blocks, those that one item computes as one; the threads share them along D."""
    cdef Py_ssize_t others = c.batch * c.groups * c.axis[1].blocks * c.axis[2].blocks, items = 1
    if c.ring == 0 and not c.strided:
        return others * c.axis[0].blocks
    if threads > 1:
        items = min(c.axis[0].blocks, (4 * threads + others - 1) // others)
    c.run = (c.axis[0].blocks + items - 1) // items
    return others * ((c.axis[0].blocks + c.run - 1) // c.run)


cdef bint run(Columns *q, real sample, int forced, int threads) noexcept nogil:
    """Plan a convolution whose sizes and pointers are set, and compute it; false without memory."""
    cdef Conv *c = &q.conv
    cdef Py_ssize_t blocks, items, size = plan_scratch(q, sample, forced), weights = 0
    if q.kind:
        blocks = c.groups * q.blocks
    else:
        if not make_offsets(c):
            return False
        fill_offsets(c)
        blocks = share_depth(c, threads)
    share_rows(c, blocks, threads)
    items = blocks * c.chunks
    if c.packed == NULL:
        weights = packed_size(c)
    cdef real *scratch = <real *> take_scratch((threads * size + weights) * sizeof(real))
    if scratch == NULL:
        return False
    if c.packed == NULL:
        c.packed = scratch + threads * size
        pack_all[real](q, scratch + threads * size, threads)
    run_items[real](q, items, scratch, size, threads)
    give_scratch(scratch)
    return True


cdef bint set_sizes(Conv *c, const Py_ssize_t *x, const Py_ssize_t *out, const voxkern_window *w,
                    Py_ssize_t groups) noexcept nogil:
    """What the shapes and the window of a convolution say, tables included; false without memory.
    """
    cdef int i
    cdef Py_ssize_t t, step = 1
    c.batch, c.groups = x[0], groups
    c.inputs, c.outputs = x[1] // groups, out[1] // groups
    for i in range(2, -1, -1):
        c.axis[i].size, c.axis[i].count = x[2 + i], out[2 + i]
        c.axis[i].taps = w.kernel[i]
        c.axis[i].step = w.stride[i] if c.axis[i].count > 1 else 1
        c.axis[i].out_step = step
        step *= out[2 + i]
    c.out_channel, c.out_batch = step, step * out[1]
    if not make_tables(c):
        return False
    for i in range(3):
        for t in range(c.axis[i].taps):
            c.axis[i].offset[t] = t * w.dilation[i] - w.before[i]
    return True


def conv(const real[:, :, :, :, ::1] x, const real[:, :, :, :, ::1] weight, const real[::1] bias,
         stride, padding, dilation, Py_ssize_t groups, *, algorithm, slope, const real[::1] packed,
         bint flipped, whole, bint accumulate, real[:, :, :, :, ::1] out):
    """out = the correlation of x with weight, plus bias where it is not None.

    With a `slope`, negative results are multiplied by it (0 is relu). `packed` is what `pack` made
    of the weights for these shapes and this window. `flipped` weights are those of which it is the
    transpose: inputs before outputs, and the taps in reverse. `whole` has the shapes of x and out
    and the padding of the convolution that this is a block of, and sums are added in its order;
    not with `packed`. To `accumulate` is to add to what out holds, before the slope: for kernels of
    one element and the stride 1.
    """
    cdef Columns q
    cdef Conv *c = &q.conv
    cdef Order order
    if out.size == 0:
        return
    memset(&q, 0, sizeof(q))
    if slope is not None:
        c.activation, c.slope = 1, slope
    cdef voxkern_window w = read_window(weight.shape + 2, stride, padding, dilation)
    cdef int threads, forced = algorithm == "im2col"
    cdef bint done
    try:
        need(set_sizes(c, x.shape, out.shape, &w, groups))
        c.accumulate = accumulate
        if accumulate and not is_pointwise(c):
            raise ValueError("accumulate needs a kernel of one element and the stride 1")
        c.x = <const void *> &x[0, 0, 0, 0, 0]
        c.weight = <const void *> &weight[0, 0, 0, 0, 0]
        c.out = <void *> &out[0, 0, 0, 0, 0]
        c.bias = <const void *> &bias[0] if bias is not None else NULL
        c.packed = <const void *> &packed[0] if packed is not None else NULL
        c.flipped = flipped
        if whole is not None:
            order = order_of(whole, (<object> weight).shape, stride, dilation, groups, algorithm,
                             sizeof(real))
            c.order = &order
        threads = useful_threads(work(c))
        with nogil:
            done = run[real](&q, 0, forced, threads)
        need(done)
    finally:
        free_tables(c)


cdef api int voxkern_direct(size_t itemsize, const Py_ssize_t *x_shape, const void *x,
                            const Py_ssize_t *out_shape, const void *weight, const void *bias,
                            const voxkern_window *window, Py_ssize_t groups, int threads,
                            void *out) noexcept nogil:
    """`conv` of checked arguments without Python; false without memory."""
    cdef Columns q
    cdef Conv *c = &q.conv
    memset(&q, 0, sizeof(q))
    cdef bint done = set_sizes(c, x_shape, out_shape, window, groups)
    if done:
        c.x, c.weight, c.bias, c.out = x, weight, bias, out
        threads = threads_for(work(c), threads)
        if itemsize == sizeof(float):
            done = run[float](&q, 0, 0, threads)
        else:
            done = run[double](&q, 0, 0, threads)
    free_tables(c)
    return done


cdef Py_ssize_t plan_shapes(Columns *q, x_shape, weight_shape, out_shape, stride, padding, dilation,
                            Py_ssize_t groups, algorithm, Py_ssize_t itemsize) except -1:
    """Plan `conv` for arrays of these shapes; the elements of scratch that a thread needs."""
    cdef Py_ssize_t x[5]
    cdef Py_ssize_t weight[5]
    cdef Py_ssize_t out[5]
    x[:], weight[:], out[:] = x_shape, weight_shape, out_shape
    cdef voxkern_window w = read_window(weight + 2, stride, padding, dilation)
    need(set_sizes(&q.conv, x, out, &w, groups))
    if itemsize == sizeof(float):
        return plan_scratch[float](q, 0, algorithm == "im2col")
    return plan_scratch[double](q, 0, algorithm == "im2col")


cdef Order order_of(whole, weight_shape, stride, dilation, Py_ssize_t groups, algorithm,
                    Py_ssize_t itemsize) except *:
    """The order of the sums of a convolution: shapes of x and out, and padding."""
    cdef Columns q
    x_shape, out_shape, padding = whole
    memset(&q, 0, sizeof(q))
    try:
        plan_shapes(&q, x_shape, weight_shape, out_shape, stride, padding, dilation, groups,
                    algorithm, itemsize)
        return find_order(&q)
    finally:
        free_tables(&q.conv)


def workspace(x_shape, weight_shape, out_shape, stride, padding, dilation, Py_ssize_t groups, *,
              algorithm, Py_ssize_t itemsize, Py_ssize_t threads):
    """Bytes that `conv` allocates for arrays of these shapes with at most `threads` threads."""
    cdef Columns q
    cdef Conv *c = &q.conv
    cdef Py_ssize_t size, taps
    if 0 in out_shape:
        return 0
    memset(&q, 0, sizeof(q))
    try:
        size = plan_shapes(&q, x_shape, weight_shape, out_shape, stride, padding, dilation, groups,
                           algorithm, itemsize)
        threads = useful_threads(work(c), threads)
        taps = c.axis[0].taps + c.axis[1].taps + c.axis[2].taps
        size = threads * size + packed_size(c)
        return size * itemsize + (max(1, c.ring) * c.part * c.taps + 4 * taps) * sizeof(Py_ssize_t)
    finally:
        free_tables(c)


def packing(x_shape, weight_shape, out_shape, stride, padding, dilation, Py_ssize_t groups, *,
            algorithm, Py_ssize_t itemsize):
    """How `conv` reads the weights for arrays of these shapes: which layout, and its elements.

    No elements if they are so few that to pack them in the call costs no more.
    """
    cdef Columns q
    cdef Conv *c = &q.conv
    if 0 in out_shape:
        return 0, 0
    memset(&q, 0, sizeof(q))
    try:
        plan_shapes(&q, x_shape, weight_shape, out_shape, stride, padding, dilation, groups,
                    algorithm, itemsize)
        layout = 2 + q.kind if q.kind else 5 if c.dots else 2 if c.channels else c.tall
        return layout, packed_size(c) if packed_size(c) > FEW_WEIGHTS else 0
    finally:
        free_tables(c)


def pack(x_shape, const real[:, :, :, :, ::1] weight, out_shape, stride, padding, dilation,
         Py_ssize_t groups, *, algorithm, real[::1] out):
    """out = the weights as `conv` reads them, for arrays of these shapes."""
    cdef Columns q
    cdef Conv *c = &q.conv
    cdef int threads = useful_threads(out.size)
    memset(&q, 0, sizeof(q))
    try:
        plan_shapes(&q, x_shape, (<object> weight).shape, out_shape, stride, padding, dilation,
                    groups, algorithm, sizeof(real))
        c.weight = <const void *> &weight[0, 0, 0, 0, 0]
        with nogil:
            pack_all[real](&q, &out[0], threads)
    finally:
        free_tables(c)


cdef void run_depthwise_task(const Depthwise *q, Py_ssize_t task, real *scratch) noexcept nogil:
    if real is float:
        if q.x == NULL:
            depthwise_input_float(q, task, scratch)
        else:
            depthwise_weight_float(q, task, scratch)
    elif q.x == NULL:
        depthwise_input_double(q, task, scratch)
    else:
        depthwise_weight_double(q, task, scratch)


cdef bint run_depthwise(Depthwise *q, real sample, const Py_ssize_t *size, const Py_ssize_t *count,
                        kernel_size, stride, padding, dilation) except -1:
    """Compute a gradient of a depthwise convolution whose pointers are set, that to the input if it
    has no `x`; false, and nothing done, where other kernels are faster."""
    cdef int i, threads
    cdef Py_ssize_t task, tasks, scratch_size, lanes = lanes_float if real is float else lanes_double
    for i in range(3):
        q.size[i], q.count[i], q.kernel[i] = size[i], count[i], kernel_size[i]
        q.stride[i], q.padding[i], q.dilation[i] = stride[i], padding[i][0], dilation[i]
    measure_depthwise(q)
    if not suits_depthwise(q, lanes, SLAB_BYTES // sizeof(real)):
        return False
    tasks = (q.channels + lanes - 1) // lanes
    if q.x == NULL:
        tasks *= q.batch
    threads = useful_threads(q.batch * q.channels * q.positions * q.taps // PRODUCTS)
    scratch_size = depthwise_scratch_float(q) if real is float else depthwise_scratch_double(q)
    cdef real *scratch = <real *> take_scratch(
        threads * scratch_size * sizeof(real) + (q.taps + q.positions) * sizeof(Py_ssize_t))
    if scratch == NULL:
        raise MemoryError("no memory for the scratch of a depthwise gradient")
    q.offset = <Py_ssize_t *> (scratch + threads * scratch_size)
    q.place = q.offset + q.taps
    fill_depthwise(q)
    for task in prange(tasks, nogil=True, num_threads=threads, schedule="dynamic"):
        run_depthwise_task[real](q, task, scratch + threadid() * scratch_size)
    give_scratch(scratch)
    return True


cdef int make_residues(Transposed *t) except -1:
    """Room for the taps of each residue, found through first[0] and tap[0]."""
    cdef int i
    cdef Py_ssize_t taps = 0, firsts = 3
    for i in range(3):
        taps += t.conv.axis[i].taps
        firsts += t.residues[i]
    t.first[0] = <Py_ssize_t *> malloc(firsts * sizeof(Py_ssize_t))
    t.tap[0] = <Py_ssize_t *> malloc((taps + 3 * t.conv.taps) * sizeof(Py_ssize_t))
    if t.first[0] == NULL or t.tap[0] == NULL:
        raise MemoryError("no memory for the tables of a transposed convolution")
    for i in range(2):
        t.first[i + 1] = t.first[i] + t.residues[i] + 1
        t.tap[i + 1] = t.tap[i] + t.conv.axis[i].taps
    t.source = t.tap[0] + taps
    t.lowest = t.source + t.conv.taps
    t.width = t.lowest + t.conv.taps
    return 0


cdef int run_transposed(Transposed *t, real sample) except -1:
    """Compute a transposed convolution that is planned."""
    cdef Conv *c = &t.conv
    cdef int threads = useful_threads(c.batch * c.groups * c.outputs * c.axis[0].size
                                      * c.axis[1].size * c.axis[2].size * c.terms // PRODUCTS)
    cdef Py_ssize_t block, blocks, items, item, size
    need(make_offsets(c))
    fill_phases(t)
    blocks = c.batch * c.groups * c.axis[0].blocks * c.axis[1].blocks * c.axis[2].blocks
    share_rows(c, blocks, threads)
    items = blocks * c.chunks
    size = transposed_scratch_float(t) if real is float else transposed_scratch_double(t)
    cdef real *scratch = <real *> take_scratch((threads * size + packed_size(c)) * sizeof(real))
    if scratch == NULL:
        raise MemoryError("no memory for the scratch of a transposed convolution")
    cdef real *packed = scratch + threads * size
    for block in prange(c.groups * c.row_blocks, nogil=True, num_threads=threads):
        if real is float:
            gather_weights_float(t, block, packed)
        else:
            gather_weights_double(t, block, packed)
    c.packed = packed
    for item in prange(items, nogil=True, num_threads=threads, schedule="dynamic"):
        if real is float:
            transposed_item_float(t, item, scratch + threadid() * size)
        else:
            transposed_item_double(t, item, scratch + threadid() * size)
    give_scratch(scratch)
    return 0


cdef void run_scatter_task(const Scatter *q, Py_ssize_t task, real *scratch) noexcept nogil:
    if real is float:
        scatter_task_float(q, task, scratch)
    else:
        scatter_task_double(q, task, scratch)


cdef int run_scatter(Scatter *q, real sample, Py_ssize_t weights) except -1:
    """Compute a transposed convolution as a product; `weights` elements of them."""
    cdef Py_ssize_t task, tasks, size, most = q.size[0] * q.size[1] * q.size[2]
    cdef int threads = useful_threads(q.batch * most * weights // PRODUCTS)
    plan_scatter(q, lanes_float if real is float else lanes_double, SLAB_BYTES // sizeof(real))
    share_scatter(q, threads)
    tasks = q.batch * q.groups * q.parts * q.shares
    size = scatter_scratch_float(q) if real is float else scatter_scratch_double(q)
    cdef real *scratch = <real *> take_scratch(threads * size * sizeof(real))
    if scratch == NULL:
        raise MemoryError("no memory for the scratch of a transposed convolution")
    if threads == 1:
        with nogil:
            for task in range(tasks):
                run_scatter_task[real](q, task, scratch)
    else:
        for task in prange(tasks, nogil=True, num_threads=threads, schedule="dynamic"):
            run_scatter_task[real](q, task, scratch + threadid() * size)
    give_scratch(scratch)
    return 0


cdef int scatter(const real[:, :, :, :, ::1] x, const real[:, :, :, :, ::1] weight,
                 const real[::1] bias, stride, padding, Py_ssize_t groups, dilation,
                 real[:, :, :, :, ::1] out) except -1:
    """`conv_transpose` as a product."""
    cdef Scatter q
    cdef int i
    memset(&q, 0, sizeof(q))
    q.batch, q.groups = x.shape[0], groups
    q.inputs, q.outputs = weight.shape[0] // groups, weight.shape[1]
    for i in range(3):
        q.size[i], q.out_size[i], q.kernel[i] = x.shape[2 + i], out.shape[2 + i], weight.shape[2 + i]
        q.stride[i], q.padding[i], q.dilation[i] = stride[i], padding[i][0], dilation[i]
    q.x = <const void *> &x[0, 0, 0, 0, 0]
    q.weight = <const void *> &weight[0, 0, 0, 0, 0]
    q.out = <void *> &out[0, 0, 0, 0, 0]
    q.bias = <const void *> &bias[0] if bias is not None else NULL
    q.past_cache = out.size * sizeof(real) > CACHE_BYTES and out.shape[4] * sizeof(real) >= 256
    q.offset = <Py_ssize_t *> malloc(q.inputs * sizeof(Py_ssize_t))
    if q.offset == NULL:
        raise MemoryError("no memory for the tables of a transposed convolution")
    try:
        run_scatter[real](&q, 0, weight.size)
    finally:
        free(q.offset)
    return 0


def conv_transpose(const real[:, :, :, :, ::1] x, const real[:, :, :, :, ::1] weight,
                   const real[::1] bias, stride, padding, output_padding, Py_ssize_t groups,
                   dilation, *, bint product, real[:, :, :, :, ::1] out):
    """out = the adjoint of `conv` with this weight applied to x, plus bias where it is not None.

    Its direct sums, or one `product` whose results are added where they belong.
    """
    cdef Transposed t
    cdef Depthwise d
    cdef Conv *c = &t.conv
    cdef int i
    if out.size == 0:
        return
    if weight.shape[1] == 1 and groups == weight.shape[0]:
        memset(&d, 0, sizeof(d))
        d.batch, d.channels = x.shape[0], groups
        d.grad = <const void *> &x[0, 0, 0, 0, 0]
        d.weight = <const void *> &weight[0, 0, 0, 0, 0]
        d.bias = <const void *> &bias[0] if bias is not None else NULL
        d.out = <void *> &out[0, 0, 0, 0, 0]
        if run_depthwise[real](&d, 0, &out.shape[2], &x.shape[2], (<object> weight).shape[2:],
                               stride, padding, dilation):
            return
    if product:
        scatter[real](x, weight, bias, stride, padding, groups, dilation, out)
        return
    memset(&t, 0, sizeof(t))
    c.batch, c.groups = x.shape[0], groups
    c.inputs, c.outputs = weight.shape[0] // groups, weight.shape[1]
    for i in range(3):
        t.size[i] = out.shape[2 + i]
        t.residues[i] = min(<Py_ssize_t> stride[i], t.size[i])
        c.axis[i].size, c.axis[i].count = x.shape[2 + i], (t.size[i] - 1) // t.residues[i] + 1
        c.axis[i].step, c.axis[i].taps = 1, weight.shape[2 + i]
        c.axis[i].out_step = out.strides[2 + i] // sizeof(real)
    c.x = <const void *> &x[0, 0, 0, 0, 0]
    c.weight = <const void *> &weight[0, 0, 0, 0, 0]
    c.out = <void *> &out[0, 0, 0, 0, 0]
    c.bias = <const void *> &bias[0] if bias is not None else NULL
    c.out_batch, c.out_channel = out.strides[0] // sizeof(real), out.strides[1] // sizeof(real)
    # Parts of lines are no use past the cache.
    c.past_cache = out.size * sizeof(real) > CACHE_BYTES and t.size[2] * sizeof(real) >= 256
    try:
        need(make_tables(c))
        make_residues(&t)
        for i in range(3):
            sort_taps(&t, i, stride[i], padding[i][0], dilation[i])
        plan_transposed(&t, lanes_float if real is float else lanes_double,
                        SLAB_BYTES // sizeof(real))
        run_transposed[real](&t, 0)
    finally:
        free_tables(c)
        free(t.first[0])
        free(t.tap[0])


cdef void run_gradient_task(const Gradient *q, Py_ssize_t task, real *scratch) noexcept nogil:
    if real is float:
        gradient_task_float(q, task, scratch)
    else:
        gradient_task_double(q, task, scratch)


cdef int run_gradient(Gradient *q, real *out, Py_ssize_t out_size) except -1:
    """Compute a gradient that is planned: the tasks, then the sums of their parts."""
    cdef Conv *c = &q.conv
    cdef int threads = useful_threads(work(c) * q.in_chunks)
    cdef Py_ssize_t task, part, i, tasks, size
    tasks = c.groups * q.in_chunks * q.out_chunks * q.parts
    size = gradient_scratch_float(q) if real is float else gradient_scratch_double(q)
    size = (size + LANES - 1) // LANES * LANES
    cdef real *scratch = <real *> take_scratch(
        (threads * size + (q.parts - 1) * out_size) * sizeof(real))
    if scratch == NULL:
        raise MemoryError("no memory for the scratch of a weight gradient")
    cdef real *partial = scratch + threads * size
    q.partial = partial
    if threads == 1:
        with nogil:
            for task in range(tasks):
                run_gradient_task[real](q, task, scratch)
    else:
        for task in prange(tasks, nogil=True, num_threads=threads, schedule="dynamic"):
            run_gradient_task[real](q, task, scratch + threadid() * size)
    for part in range(q.parts - 1):
        for i in range(out_size):
            out[i] += partial[part * out_size + i]
    give_scratch(scratch)
    return 0


def conv_backward_weight(const real[:, :, :, :, ::1] grad, const real[:, :, :, :, ::1] x,
                         kernel_size, stride, padding, dilation, Py_ssize_t groups, *,
                         real[:, :, :, :, ::1] out):
    """out = the gradient to the weights of `conv`, given that to its output."""
    cdef Gradient q
    cdef Depthwise d
    cdef Conv *c = &q.conv
    cdef int i
    cdef Py_ssize_t t, step = 1
    if grad.size == 0:
        memset(&out[0, 0, 0, 0, 0], 0, out.size * sizeof(real))
        return
    if groups == x.shape[1] and groups == out.shape[0]:
        memset(&d, 0, sizeof(d))
        d.batch, d.channels = x.shape[0], groups
        d.grad = <const void *> &grad[0, 0, 0, 0, 0]
        d.x = <const void *> &x[0, 0, 0, 0, 0]
        d.out = <void *> &out[0, 0, 0, 0, 0]
        if run_depthwise[real](&d, 0, &x.shape[2], &grad.shape[2], kernel_size, stride, padding,
                               dilation):
            return
    memset(&q, 0, sizeof(q))
    c.batch, c.groups = x.shape[0], groups
    c.outputs, q.all_inputs = out.shape[0] // groups, out.shape[1]
    for i in range(2, -1, -1):
        c.axis[i].size, c.axis[i].count = x.shape[2 + i], grad.shape[2 + i]
        c.axis[i].taps, c.axis[i].out_step = out.shape[2 + i], step
        c.axis[i].step = stride[i] if c.axis[i].count > 1 else 1
        step *= c.axis[i].count
    c.taps = out.shape[2] * out.shape[3] * out.shape[4]
    c.x = <const void *> &x[0, 0, 0, 0, 0]
    q.grad = <const void *> &grad[0, 0, 0, 0, 0]
    c.out = <void *> &out[0, 0, 0, 0, 0]
    share_inputs(&q)
    try:
        need(make_tables(c))
        for i in range(3):
            for t in range(c.axis[i].taps):
                c.axis[i].offset[t] = t * <Py_ssize_t> dilation[i] - <Py_ssize_t> padding[i][0]
        if real is float:
            plan_gradient(&q, lanes_float, SLAB_BYTES // sizeof(real), widest_tile_float())
        else:
            plan_gradient(&q, lanes_double, SLAB_BYTES // sizeof(real), widest_tile_double())
        need(make_offsets(c))
        fill_offsets(c)
        run_gradient[real](&q, &out[0, 0, 0, 0, 0], out.size)
    finally:
        free_tables(c)


cdef real sum_channel(const real *grad, Py_ssize_t batch, Py_ssize_t channels, Py_ssize_t channel,
                      Py_ssize_t positions) noexcept nogil:
    if real is float:
        return channel_sum_float(grad, batch, channels, channel, positions)
    else:
        return channel_sum_double(grad, batch, channels, channel, positions)


def conv_backward_bias(const real[:, :, :, :, ::1] grad, *, real[::1] out):
    """out = the gradient to the bias of `conv`, given that to its output."""
    cdef Py_ssize_t channel, positions = grad.shape[2] * grad.shape[3] * grad.shape[4]
    cdef int threads = useful_threads(grad.size)
    cdef const real *data = &grad[0, 0, 0, 0, 0] if grad.size else NULL
    if threads == 1:
        with nogil:
            for channel in range(out.shape[0]):
                out[channel] = sum_channel(data, grad.shape[0], grad.shape[1], channel, positions)
    else:
        for channel in prange(out.shape[0], nogil=True, num_threads=threads):
            out[channel] = sum_channel(data, grad.shape[0], grad.shape[1], channel, positions)
