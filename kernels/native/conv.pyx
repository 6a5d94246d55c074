"""Convolution, transposed convolution and the weight gradient; see conv.h for how."""

from cython.parallel cimport prange, threadid
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memset

from voxkern.kernels.native.host import useful_threads

cdef extern from "conv.h" nogil:
    enum: lanes_float, lanes_double
    ctypedef struct Axis:
        Py_ssize_t size, count, step, out_step, taps, block, blocks, length, planes, span
        Py_ssize_t *offset
        Py_ssize_t *origin
        Py_ssize_t *plane
        Py_ssize_t *shift
    ctypedef struct Conv:
        Axis axis[3]
        Py_ssize_t batch, groups, inputs, outputs, taps, terms, rows, row_blocks, chunk, chunks
        Py_ssize_t *offset
        Py_ssize_t slab_size, out_batch, out_channel
        int activation, past_cache
        double slope
        const void *x
        const void *weight
        const void *packed
        const void *bias
        void *out
    void plan(Conv *c, Py_ssize_t lanes, Py_ssize_t budget, int columns)
    void plan_gradient(Conv *c, Py_ssize_t lanes, Py_ssize_t budget)
    void fill_offsets(const Conv *c)
    Py_ssize_t scratch_size_float(const Conv *c)
    Py_ssize_t scratch_size_double(const Conv *c)
    void pack_weights_float(const Conv *c, Py_ssize_t block, float *packed)
    void pack_weights_double(const Conv *c, Py_ssize_t block, double *packed)
    void conv_item_float(const Conv *c, Py_ssize_t index, float *scratch)
    void conv_item_double(const Conv *c, Py_ssize_t index, double *scratch)
    Py_ssize_t gradient_outputs_float()
    Py_ssize_t gradient_outputs_double()
    Py_ssize_t gradient_scratch_float(const Conv *c)
    Py_ssize_t gradient_scratch_double(const Conv *c)
    void weight_gradient_float(const Conv *c, Py_ssize_t group, Py_ssize_t first_input,
                               Py_ssize_t inputs, Py_ssize_t all_inputs, Py_ssize_t first_output,
                               Py_ssize_t outputs, const float *grad, float *out, float *scratch)
    void weight_gradient_double(const Conv *c, Py_ssize_t group, Py_ssize_t first_input,
                                Py_ssize_t inputs, Py_ssize_t all_inputs, Py_ssize_t first_output,
                                Py_ssize_t outputs, const double *grad, double *out, double *scratch)

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


cdef int make_tables(Conv *c) except -1:
    """Room for what the axes and the sum need; `free_tables` gives it back, after an error too."""
    cdef int i
    c.taps = c.axis[0].taps * c.axis[1].taps * c.axis[2].taps
    c.terms = c.inputs * c.taps
    c.offset = <Py_ssize_t *> malloc(c.terms * sizeof(Py_ssize_t))
    for i in range(3):
        c.axis[i].offset = <Py_ssize_t *> malloc(4 * c.axis[i].taps * sizeof(Py_ssize_t))
        if c.offset == NULL or c.axis[i].offset == NULL:
            raise MemoryError("no memory for the tables of a convolution")
        c.axis[i].origin = c.axis[i].offset + c.axis[i].taps
        c.axis[i].plane = c.axis[i].origin + c.axis[i].taps
        c.axis[i].shift = c.axis[i].plane + c.axis[i].taps
    return 0


cdef void free_tables(Conv *c) noexcept:
    cdef int i
    free(c.offset)
    for i in range(3):
        free(c.axis[i].offset)


cdef Py_ssize_t work(Conv *c) noexcept:
    """What a convolution costs, in elements that could be moved in its time."""
    return (c.batch * c.groups * c.outputs * c.axis[0].count * c.axis[1].count * c.axis[2].count
            * c.terms // PRODUCTS)


cdef Py_ssize_t plan_scratch(Conv *c, real sample, int columns) noexcept:
    """Plan a convolution whose sizes are set; the elements of scratch that a thread needs."""
    c.past_cache = c.batch * c.out_batch * sizeof(real) > CACHE_BYTES
    plan(c, lanes_float if real is float else lanes_double, SLAB_BYTES // sizeof(real), columns)
    return scratch_size_float(c) if real is float else scratch_size_double(c)


cdef Py_ssize_t packed_size(const Conv *c) noexcept:
    return c.groups * c.row_blocks * c.rows * c.terms


cdef void pack_all(const Conv *c, real *packed, int threads) noexcept:
    cdef Py_ssize_t block
    for block in prange(c.groups * c.row_blocks, nogil=True, num_threads=threads):
        if real is float:
            pack_weights_float(c, block, packed)
        else:
            pack_weights_double(c, block, packed)


cdef int run(Conv *c, real sample, int columns) except -1:
    """Plan a convolution whose sizes and pointers are set, and compute it."""
    cdef int threads = useful_threads(work(c))
    cdef Py_ssize_t blocks, items, item, size = plan_scratch(c, sample, columns), weights = 0
    cdef const void *given = c.packed
    fill_offsets(c)
    blocks = c.batch * c.groups * c.axis[0].blocks * c.axis[1].blocks * c.axis[2].blocks
    # Few blocks: the threads share a block's output channels.
    c.chunk = c.row_blocks
    if blocks < 4 * threads and threads > 1:
        c.chunk = max(1, c.row_blocks * blocks // (4 * threads))
    c.chunks = (c.row_blocks + c.chunk - 1) // c.chunk
    items = blocks * c.chunks
    if given == NULL:
        weights = packed_size(c)
    cdef real *scratch = <real *> take_scratch((threads * size + weights) * sizeof(real))
    if scratch == NULL:
        raise MemoryError("no memory for the scratch of a convolution")
    if given == NULL:
        c.packed = scratch + threads * size
        pack_all[real](c, scratch + threads * size, threads)
    for item in prange(items, nogil=True, num_threads=threads, schedule="dynamic"):
        if real is float:
            conv_item_float(c, item, scratch + threadid() * size)
        else:
            conv_item_double(c, item, scratch + threadid() * size)
    c.packed = given
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
         stride, padding, dilation, Py_ssize_t groups, *, algorithm, slope,
         real[:, :, :, :, ::1] out, const real[::1] packed=None):
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


def workspace(x_shape, weight_shape, out_shape, stride, padding, dilation, Py_ssize_t groups, *,
              algorithm, Py_ssize_t itemsize, Py_ssize_t threads):
    """Bytes that `conv` allocates for arrays of these shapes with at most `threads` threads."""
    cdef Conv c
    cdef Py_ssize_t size, taps
    cdef Py_ssize_t x[5]
    cdef Py_ssize_t weight[5]
    cdef Py_ssize_t out[5]
    cdef int columns = algorithm == "im2col"
    x[:], weight[:], out[:] = x_shape, weight_shape, out_shape
    if 0 in out_shape:
        return 0
    memset(&c, 0, sizeof(c))
    try:
        set_sizes(&c, x, weight, out, stride, padding, dilation, groups)
        threads = min(threads, 1 + (work(&c) >> 15))  # as host.useful_threads
        if itemsize == sizeof(float):
            size = plan_scratch[float](&c, 0, columns)
        else:
            size = plan_scratch[double](&c, 0, columns)
        taps = c.axis[0].taps + c.axis[1].taps + c.axis[2].taps
        size = threads * size + packed_size(&c)
        return size * itemsize + (c.terms + 4 * taps) * sizeof(Py_ssize_t)
    finally:
        free_tables(&c)


def pack(x_shape, const real[:, :, :, :, ::1] weight, out_shape, stride, padding, dilation,
         Py_ssize_t groups, *, algorithm):
    """The weights as `conv` reads them, for its `packed`, for arrays of these shapes."""
    cdef Conv c
    cdef real[::1] packed
    cdef Py_ssize_t x[5]
    cdef Py_ssize_t out[5]
    x[:], out[:] = x_shape, out_shape
    memset(&c, 0, sizeof(c))
    try:
        set_sizes(&c, x, weight.shape, out, stride, padding, dilation, groups)
        c.weight = <const void *> &weight[0, 0, 0, 0, 0]
        plan_scratch[real](&c, 0, algorithm == "im2col")
        buffer = memoryview(bytearray(packed_size(&c) * sizeof(real)))
        packed = buffer.cast("f" if real is float else "d")
        pack_all[real](&c, &packed[0], useful_threads(packed.size))
        return packed.base
    finally:
        free_tables(&c)


cdef void gather_weights(Conv *c, const real[:, :, :, :, ::1] weight, Py_ssize_t **tap,
                         real *target) noexcept nogil:
    """target[(g, o), i, taps] = weight[(g, i), o, the listed taps]."""
    cdef Py_ssize_t g, o, i, a, b, e
    for g in range(c.groups):
        for o in range(c.outputs):
            for i in range(g * c.inputs, (g + 1) * c.inputs):
                for a in range(c.axis[0].taps):
                    for b in range(c.axis[1].taps):
                        for e in range(c.axis[2].taps):
                            target[0] = weight[i, o, tap[0][a], tap[1][b], tap[2][e]]
                            target += 1


cdef Py_ssize_t phase_taps(Axis *axis, Py_ssize_t residue, Py_ssize_t kernel, Py_ssize_t stride,
                           Py_ssize_t padding, Py_ssize_t dilation, Py_ssize_t *tap) noexcept:
    """The taps that reach outputs `residue` modulo the stride, and the input each reads there."""
    cdef Py_ssize_t k, reach, n = 0
    for k in range(kernel):
        reach = residue + padding - k * dilation
        if reach % stride == 0:
            axis.offset[n], tap[n] = reach // stride, k
            n += 1
    return n


def conv_transpose(const real[:, :, :, :, ::1] x, const real[:, :, :, :, ::1] weight,
                   const real[::1] bias, stride, padding, output_padding, Py_ssize_t groups,
                   dilation, *, real[:, :, :, :, ::1] out):
    """out = the adjoint of `conv` with this weight applied to x, plus bias where it is not None.

    Outputs of one residue modulo the stride see a fixed subset of the taps: they are a convolution
    of stride 1, written to every stride-th place. No zeros are inserted or multiplied.
    """
    cdef Conv c
    cdef int i
    cdef Py_ssize_t rest, taps, start
    cdef Py_ssize_t *tap[3]
    cdef Py_ssize_t residue[3]
    cdef Py_ssize_t residues[3]
    cdef Py_ssize_t phase
    cdef real *packed
    if out.size == 0:
        return
    memset(&c, 0, sizeof(c))
    c.batch, c.groups = x.shape[0], groups
    c.inputs, c.outputs = weight.shape[0] // groups, weight.shape[1]
    for i in range(3):
        c.axis[i].size, c.axis[i].step, c.axis[i].taps = x.shape[2 + i], 1, weight.shape[2 + i]
        residues[i] = min(<Py_ssize_t> stride[i], out.shape[2 + i])
        c.axis[i].out_step = out.strides[2 + i] // sizeof(real) * residues[i]
    c.out_batch, c.out_channel = out.strides[0] // sizeof(real), out.strides[1] // sizeof(real)
    c.bias = <const void *> &bias[0] if bias is not None else NULL
    packed = <real *> malloc(weight.size * sizeof(real))
    tap[0] = <Py_ssize_t *> malloc(
        (weight.shape[2] + weight.shape[3] + weight.shape[4]) * sizeof(Py_ssize_t))
    tap[1] = tap[0] + weight.shape[2]
    tap[2] = tap[1] + weight.shape[3]
    try:
        if packed == NULL or tap[0] == NULL:
            raise MemoryError("no memory for the weights of a transposed convolution")
        make_tables(&c)
        for phase in range(residues[0] * residues[1] * residues[2]):
            residue[2] = phase % residues[2]
            residue[1] = phase // residues[2] % residues[1]
            residue[0] = phase // (residues[2] * residues[1])
            taps = 1
            for i in range(3):
                rest = out.shape[2 + i] - residue[i]
                c.axis[i].count = (rest + residues[i] - 1) // residues[i]
                c.axis[i].taps = phase_taps(&c.axis[i], residue[i], weight.shape[2 + i], stride[i],
                                            padding[i][0], dilation[i], tap[i])
                taps *= c.axis[i].taps
            start = residue[0] * out.shape[3] * out.shape[4] + residue[1] * out.shape[4] + residue[2]
            c.out = <real *> &out[0, 0, 0, 0, 0] + start
            if taps == 0:
                fill_phase[real](&c, 0)
                continue
            c.taps, c.terms = taps, c.inputs * taps
            gather_weights(&c, weight, tap, packed)
            c.x = <const void *> &x[0, 0, 0, 0, 0]
            c.weight = packed
            run[real](&c, 0, False)
    finally:
        free_tables(&c)
        free(packed)
        free(tap[0])


cdef void fill_phase(Conv *c, real value) noexcept nogil:
    """Outputs that no tap reaches are the bias, or 0."""
    cdef Py_ssize_t n, o, z, y, x
    cdef real *row
    for n in range(c.batch):
        for o in range(c.groups * c.outputs):
            value = 0 if c.bias == NULL else (<const real *> c.bias)[o]
            for z in range(c.axis[0].count):
                for y in range(c.axis[1].count):
                    row = <real *> c.out + (n * c.out_batch + o * c.out_channel
                                            + z * c.axis[0].out_step + y * c.axis[1].out_step)
                    for x in range(c.axis[2].count):
                        row[x * c.axis[2].out_step] = value


def conv_backward_weight(const real[:, :, :, :, ::1] grad, const real[:, :, :, :, ::1] x,
                         kernel_size, stride, padding, dilation, Py_ssize_t groups, *,
                         real[:, :, :, :, ::1] out):
    """out = the gradient to the weights of `conv`, given that to its output.

    A task owns the weights between some input and some output channels and walks through all the
    positions in order, so every sum has one order whatever the number of threads.
    """
    cdef Conv c
    cdef int i, threads = useful_threads(grad.size * (out.size // out.shape[0]) // PRODUCTS)
    cdef Py_ssize_t t, task, tasks, g, first_in, first_out, in_chunks, out_chunks, out_chunk
    cdef Py_ssize_t all_inputs = out.shape[1], taps, size
    cdef real *scratch = NULL
    memset(&out[0, 0, 0, 0, 0], 0, out.size * sizeof(real))
    if grad.size == 0:
        return
    memset(&c, 0, sizeof(c))
    c.batch, c.groups = x.shape[0], groups
    c.outputs = out.shape[0] // groups
    for i in range(3):
        c.axis[i].size, c.axis[i].count = x.shape[2 + i], grad.shape[2 + i]
        c.axis[i].taps = out.shape[2 + i]
        c.axis[i].step = stride[i] if c.axis[i].count > 1 else 1
    # Enough terms to pay for turning the gradients; the same for any number of threads.
    taps = c.axis[0].taps * c.axis[1].taps * c.axis[2].taps
    c.inputs = min(all_inputs, max(16, 400 // taps))
    in_chunks = (all_inputs + c.inputs - 1) // c.inputs
    out_chunk = gradient_outputs_float() if real is float else gradient_outputs_double()
    out_chunks = (c.outputs + out_chunk - 1) // out_chunk
    tasks = groups * in_chunks * out_chunks
    try:
        make_tables(&c)
        for i in range(3):
            for t in range(c.axis[i].taps):
                c.axis[i].offset[t] = t * <Py_ssize_t> dilation[i] - <Py_ssize_t> padding[i][0]
        c.x = <const void *> &x[0, 0, 0, 0, 0]
        plan_gradient(&c, lanes_float if real is float else lanes_double, SLAB_BYTES // sizeof(real))
        fill_offsets(&c)
        c.chunks = 1
        size = gradient_scratch_float(&c) if real is float else gradient_scratch_double(&c)
        scratch = <real *> calloc(threads * size, sizeof(real))
        if scratch == NULL:
            raise MemoryError("no memory for the scratch of a weight gradient")
        for task in prange(tasks, nogil=True, num_threads=threads, schedule="dynamic"):
            g = task // (in_chunks * out_chunks)
            first_in = task // out_chunks % in_chunks * c.inputs
            first_out = task % out_chunks * out_chunk
            if real is float:
                weight_gradient_float(
                    &c, g, first_in, min(c.inputs, all_inputs - first_in), all_inputs, first_out,
                    min(out_chunk, c.outputs - first_out), &grad[0, 0, 0, 0, 0],
                    &out[g * c.outputs + first_out, first_in, 0, 0, 0], scratch + threadid() * size)
            else:
                weight_gradient_double(
                    &c, g, first_in, min(c.inputs, all_inputs - first_in), all_inputs, first_out,
                    min(out_chunk, c.outputs - first_out), &grad[0, 0, 0, 0, 0],
                    &out[g * c.outputs + first_out, first_in, 0, 0, 0], scratch + threadid() * size)
    finally:
        free_tables(&c)
        free(scratch)
