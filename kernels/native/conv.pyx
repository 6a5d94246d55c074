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
    ctypedef struct Conv:
        Axis axis[3]
        Py_ssize_t batch, groups, inputs, outputs, part, taps, terms, weights
        Py_ssize_t rows, row_blocks, chunk, chunks
        Py_ssize_t *offset
        Py_ssize_t slab_size, out_batch, out_channel, channels
        int activation, past_cache, tall, dots
        double slope
        const void *x
        const void *weight
        const void *packed
        const void *bias
        void *out
    void plan(Conv *c, Py_ssize_t lanes, Py_ssize_t budget, int columns)
    void fill_offsets(const Conv *c)
    Py_ssize_t scratch_size_float(const Conv *c)
    Py_ssize_t scratch_size_double(const Conv *c)
    void pack_weights_float(const Conv *c, Py_ssize_t block, float *packed)
    void pack_weights_double(const Conv *c, Py_ssize_t block, double *packed)
    void conv_item_float(const Conv *c, Py_ssize_t index, float *scratch)
    void conv_item_double(const Conv *c, Py_ssize_t index, double *scratch)

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


cdef int make_tables(Conv *c) except -1:
    """Room for what the axes need; `free_tables` gives it back, after an error too."""
    cdef int i
    c.taps = c.axis[0].taps * c.axis[1].taps * c.axis[2].taps
    c.terms = c.inputs * c.taps
    for i in range(3):
        c.axis[i].offset = <Py_ssize_t *> malloc(4 * c.axis[i].taps * sizeof(Py_ssize_t))
        if c.axis[i].offset == NULL:
            raise MemoryError("no memory for the tables of a convolution")
        c.axis[i].origin = c.axis[i].offset + c.axis[i].taps
        c.axis[i].plane = c.axis[i].origin + c.axis[i].taps
        c.axis[i].shift = c.axis[i].plane + c.axis[i].taps
    return 0


cdef int make_offsets(Conv *c) except -1:
    """The same for the terms of a convolution that is planned."""
    c.offset = <Py_ssize_t *> malloc(c.part * c.taps * sizeof(Py_ssize_t))
    if c.offset == NULL:
        raise MemoryError("no memory for the offsets of a convolution")
    return 0


cdef void free_tables(Conv *c) noexcept:
    cdef int i
    free(c.offset)
    for i in range(3):
        free(c.axis[i].offset)


cdef Py_ssize_t work(Conv *c) noexcept:
    """What a convolution costs, in elements that could be moved in its time."""
    cdef Py_ssize_t channels = c.channels if c.channels else c.groups * c.outputs
    return (c.batch * channels * c.axis[0].count * c.axis[1].count * c.axis[2].count * c.terms
            // PRODUCTS)


cdef Py_ssize_t plan_scratch(Conv *c, real sample, int columns) noexcept:
    """Plan a convolution whose sizes are set; the elements of scratch that a thread needs."""
    c.past_cache = c.batch * c.out_batch * sizeof(real) > CACHE_BYTES
    plan(c, lanes_float if real is float else lanes_double, SLAB_BYTES // sizeof(real), columns)
    return scratch_size_float(c) if real is float else scratch_size_double(c)


cdef Py_ssize_t packed_size(const Conv *c) noexcept:
    return c.groups * c.row_blocks * c.rows * c.weights


cdef void pack_block(const Conv *c, Py_ssize_t block, real *packed) noexcept nogil:
    if real is float:
        pack_weights_float(c, block, packed)
    else:
        pack_weights_double(c, block, packed)


cdef void pack_all(const Conv *c, real *packed, int threads) noexcept nogil:
    cdef Py_ssize_t block
    if threads == 1:
        for block in range(c.groups * c.row_blocks):
            pack_block(c, block, packed)
        return
    for block in prange(c.groups * c.row_blocks, num_threads=threads):
        pack_block(c, block, packed)


cdef void run_item(const Conv *c, Py_ssize_t item, real *scratch) noexcept nogil:
    if real is float:
        conv_item_float(c, item, scratch)
    else:
        conv_item_double(c, item, scratch)


cdef void run_items(const Conv *c, Py_ssize_t items, real *scratch, Py_ssize_t size,
                    int threads) noexcept nogil:
    """One thread does without OpenMP, which takes .7 us to start it."""
    cdef Py_ssize_t item
    if threads == 1:
        for item in range(items):
            run_item(c, item, scratch)
        return
    for item in prange(items, num_threads=threads, schedule="dynamic"):
        run_item(c, item, scratch + threadid() * size)


cdef void share_rows(Conv *c, Py_ssize_t blocks, int threads) noexcept:
    """Few blocks: the threads share a block's output channels."""
    c.chunk = c.row_blocks
    if blocks < 4 * threads and threads > 1:
        c.chunk = max(1, c.row_blocks * blocks // (4 * threads))
    c.chunks = (c.row_blocks + c.chunk - 1) // c.chunk


cdef int run(Conv *c, real sample, int columns) except -1:
    """Plan a convolution whose sizes and pointers are set, and compute it."""
    cdef int threads = useful_threads(work(c))
    cdef Py_ssize_t blocks, items, size = plan_scratch(c, sample, columns), weights = 0
    make_offsets(c)
    fill_offsets(c)
    blocks = c.batch * c.groups * c.axis[0].blocks * c.axis[1].blocks * c.axis[2].blocks
    share_rows(c, blocks, threads)
    items = blocks * c.chunks
    if c.packed == NULL:
        weights = packed_size(c)
    cdef real *scratch = <real *> take_scratch((threads * size + weights) * sizeof(real))
    if scratch == NULL:
        raise MemoryError("no memory for the scratch of a convolution")
    with nogil:
        if c.packed == NULL:
            c.packed = scratch + threads * size
            pack_all[real](c, scratch + threads * size, threads)
        run_items[real](c, items, scratch, size, threads)
    give_scratch(scratch)
    return 0


cdef int set_sizes(Conv *c, const Py_ssize_t *x, const Py_ssize_t *weight, const Py_ssize_t *out,
                   stride, padding, dilation, Py_ssize_t groups) except -1:
    """What the shapes and the window arguments of a convolution say, tables included."""
    cdef int i
    cdef Py_ssize_t t, step = 1
    c.batch, c.groups = x[0], groups
    c.inputs, c.outputs = weight[1], weight[0] // groups
    for i in range(2, -1, -1):
        c.axis[i].size, c.axis[i].count = x[2 + i], out[2 + i]
        c.axis[i].taps = weight[2 + i]
        c.axis[i].step = stride[i] if c.axis[i].count > 1 else 1
        c.axis[i].out_step = step
        step *= out[2 + i]
    c.out_channel, c.out_batch = step, step * out[1]
    make_tables(c)
    for i in range(3):
        for t in range(c.axis[i].taps):
            c.axis[i].offset[t] = t * <Py_ssize_t> dilation[i] - <Py_ssize_t> padding[i][0]
    return 0


def conv(const real[:, :, :, :, ::1] x, const real[:, :, :, :, ::1] weight, const real[::1] bias,
         stride, padding, dilation, Py_ssize_t groups, *, algorithm, slope, const real[::1] packed,
         real[:, :, :, :, ::1] out):
    """out = the correlation of x with weight, plus bias where it is not None.

    With a `slope`, negative results are multiplied by it (0 is relu). `packed` is what `pack` made
    of the weights for these shapes and this window.
    """
    cdef Conv c
    if out.size == 0:
        return
    memset(&c, 0, sizeof(c))
    if slope is not None:
        c.activation, c.slope = 1, slope
    try:
        set_sizes(&c, x.shape, weight.shape, out.shape, stride, padding, dilation, groups)
        c.x = <const void *> &x[0, 0, 0, 0, 0]
        c.weight = <const void *> &weight[0, 0, 0, 0, 0]
        c.out = <void *> &out[0, 0, 0, 0, 0]
        c.bias = <const void *> &bias[0] if bias is not None else NULL
        c.packed = <const void *> &packed[0] if packed is not None else NULL
        run[real](&c, 0, algorithm == "im2col")
    finally:
        free_tables(&c)


cdef Py_ssize_t plan_shapes(Conv *c, x_shape, weight_shape, out_shape, stride, padding, dilation,
                            Py_ssize_t groups, algorithm, Py_ssize_t itemsize) except -1:
    """Plan `conv` for arrays of these shapes; the elements of scratch that a thread needs."""
    cdef Py_ssize_t x[5]
    cdef Py_ssize_t weight[5]
    cdef Py_ssize_t out[5]
    x[:], weight[:], out[:] = x_shape, weight_shape, out_shape
    set_sizes(c, x, weight, out, stride, padding, dilation, groups)
    if itemsize == sizeof(float):
        return plan_scratch[float](c, 0, algorithm == "im2col")
    return plan_scratch[double](c, 0, algorithm == "im2col")


def workspace(x_shape, weight_shape, out_shape, stride, padding, dilation, Py_ssize_t groups, *,
              algorithm, Py_ssize_t itemsize, Py_ssize_t threads):
    """Bytes that `conv` allocates for arrays of these shapes with at most `threads` threads."""
    cdef Conv c
    cdef Py_ssize_t size, taps
    if 0 in out_shape:
        return 0
    memset(&c, 0, sizeof(c))
    try:
        size = plan_shapes(&c, x_shape, weight_shape, out_shape, stride, padding, dilation, groups,
                           algorithm, itemsize)
        threads = useful_threads(work(&c), threads)
        taps = c.axis[0].taps + c.axis[1].taps + c.axis[2].taps
        size = threads * size + packed_size(&c)
        return size * itemsize + (c.part * c.taps + 4 * taps) * sizeof(Py_ssize_t)
    finally:
        free_tables(&c)


def packing(x_shape, weight_shape, out_shape, stride, padding, dilation, Py_ssize_t groups, *,
            algorithm, Py_ssize_t itemsize):
    """How `conv` reads the weights for arrays of these shapes: which layout, and its elements.

    No elements if they are so few that to pack them in the call costs no more.
    """
    cdef Conv c
    if 0 in out_shape:
        return 0, 0
    memset(&c, 0, sizeof(c))
    try:
        plan_shapes(&c, x_shape, weight_shape, out_shape, stride, padding, dilation, groups,
                    algorithm, itemsize)
        layout = 3 if c.dots else 2 if c.channels else c.tall
        return layout, packed_size(&c) if packed_size(&c) > FEW_WEIGHTS else 0
    finally:
        free_tables(&c)


def pack(x_shape, const real[:, :, :, :, ::1] weight, out_shape, stride, padding, dilation,
         Py_ssize_t groups, *, algorithm, real[::1] out):
    """out = the weights as `conv` reads them, for arrays of these shapes."""
    cdef Conv c
    cdef int threads = useful_threads(out.size)
    memset(&c, 0, sizeof(c))
    try:
        plan_shapes(&c, x_shape, (<object> weight).shape, out_shape, stride, padding, dilation,
                    groups, algorithm, sizeof(real))
        c.weight = <const void *> &weight[0, 0, 0, 0, 0]
        with nogil:
            pack_all[real](&c, &out[0], threads)
    finally:
        free_tables(&c)


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
    make_offsets(c)
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


def conv_transpose(const real[:, :, :, :, ::1] x, const real[:, :, :, :, ::1] weight,
                   const real[::1] bias, stride, padding, output_padding, Py_ssize_t groups,
                   dilation, *, real[:, :, :, :, ::1] out):
    """out = the adjoint of `conv` with this weight applied to x, plus bias where it is not None."""
    cdef Transposed t
    cdef Conv *c = &t.conv
    cdef int i
    if out.size == 0:
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
        make_tables(c)
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
    for task in prange(tasks, nogil=True, num_threads=threads, schedule="dynamic"):
        if real is float:
            gradient_task_float(q, task, scratch + threadid() * size)
        else:
            gradient_task_double(q, task, scratch + threadid() * size)
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
    cdef Conv *c = &q.conv
    cdef int i
    cdef Py_ssize_t t, step = 1
    if grad.size == 0:
        memset(&out[0, 0, 0, 0, 0], 0, out.size * sizeof(real))
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
        make_tables(c)
        for i in range(3):
            for t in range(c.axis[i].taps):
                c.axis[i].offset[t] = t * <Py_ssize_t> dilation[i] - <Py_ssize_t> padding[i][0]
        if real is float:
            plan_gradient(&q, lanes_float, SLAB_BYTES // sizeof(real), widest_tile_float())
        else:
            plan_gradient(&q, lanes_double, SLAB_BYTES // sizeof(real), widest_tile_double())
        make_offsets(c)
        fill_offsets(c)
        run_gradient[real](&q, &out[0, 0, 0, 0, 0], out.size)
    finally:
        free_tables(c)
