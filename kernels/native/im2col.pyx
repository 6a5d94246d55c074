"""Columns of windows and their adjoint, over five-dimensional arrays; see im2col.h for how."""

from cython.parallel cimport prange
from libc.string cimport memset

from voxkern.kernels.native.host import get_num_threads, useful_threads

cdef extern from "im2col.h" nogil:
    ctypedef struct Columns:
        Py_ssize_t size[3]
        Py_ssize_t count[3]
        Py_ssize_t kernel[3]
        Py_ssize_t stride[3]
        Py_ssize_t padding[3]
        Py_ssize_t dilation[3]
        Py_ssize_t item
        const char *x
        const char *end
        char *columns
        int past_cache
    void fill_rows(const Columns *c, Py_ssize_t row, Py_ssize_t end)
    void add_columns_float(const Columns *c, Py_ssize_t channel, const float *columns, float *out)
    void add_columns_double(const Columns *c, Py_ssize_t channel, const double *columns,
                            double *out)

include "window.pxi"

# im2col moves elements without reading them, so a word of the element's size stands for any type.
ctypedef fused word:
    unsigned char
    unsigned short
    unsigned int
    unsigned long long

ctypedef fused real:
    float
    double

cdef enum:
    LARGE = 1 << 25  # bytes of columns: no cache keeps them until they are read
    TASK = 1 << 18  # bytes of columns that a thread fills at once


cdef Columns describe(const Py_ssize_t *size, const Py_ssize_t *count,
                      const voxkern_window *w) noexcept nogil:
    """The windows of an array of shape `size`, so many of them along each axis."""
    cdef Columns c
    cdef int i
    memset(&c, 0, sizeof(c))
    for i in range(3):
        c.size[i], c.count[i], c.kernel[i] = size[2 + i], count[i], w.kernel[i]
        c.stride[i], c.padding[i], c.dilation[i] = w.stride[i], w.before[i], w.dilation[i]
    return c


def im2col(const word[:, :, :, :, ::1] x, kernel_size, stride, padding, dilation, *,
           word[:, :, :, :, ::1] out):
    """out[n, (c, kernel position), od, oh, ow] = x at that window's position, 0 in the padding."""
    if out.size == 0:
        return
    cdef Py_ssize_t kernel[3]
    kernel[:] = kernel_size
    cdef voxkern_window w = read_window(kernel, stride, padding, dilation)
    cdef int threads = get_num_threads()
    with nogil:
        voxkern_im2col(sizeof(word), x.shape, <const void *> &x[0, 0, 0, 0, 0], out.shape + 2, &w,
                       threads, <void *> &out[0, 0, 0, 0, 0])


cdef api int voxkern_im2col(size_t itemsize, const Py_ssize_t *x_shape, const void *x,
                            const Py_ssize_t *count, const voxkern_window *window, int threads,
                            void *out) noexcept nogil:
    """The same of checked arguments without Python; true."""
    cdef Columns c = describe(x_shape, count, window)
    cdef Py_ssize_t channels = x_shape[0] * x_shape[1]
    cdef Py_ssize_t rows = channels * c.kernel[0] * c.kernel[1] * c.kernel[2], row, block
    cdef Py_ssize_t total = rows * count[0] * count[1] * count[2]
    if total == 0:
        return True
    c.item, c.past_cache = itemsize, total * <Py_ssize_t> itemsize > LARGE
    c.x, c.columns = <const char *> x, <char *> out
    c.end = c.x + channels * c.size[0] * c.size[1] * c.size[2] * c.item
    threads = threads_for(total, threads)
    block = 1 + TASK * rows // (total * c.item)
    for row in prange(0, rows, block, num_threads=threads):
        fill_rows(&c, row, min(row + block, rows))
    return True


def col2im(const real[:, :, :, :, ::1] cols, output_size, kernel_size, stride, padding,
           dilation, *, real[:, :, :, :, ::1] out):
    """out = the sum of every column element at the position im2col read it from."""
    if out.size == 0:
        return
    cdef Py_ssize_t kernel[3]
    kernel[:] = kernel_size
    cdef voxkern_window w = read_window(kernel, stride, padding, dilation)
    cdef Columns c = describe(out.shape, cols.shape + 2, &w)
    cdef Py_ssize_t channel, channels = out.shape[0] * out.shape[1]
    cdef const real *columns = &cols[0, 0, 0, 0, 0]
    cdef real *target = &out[0, 0, 0, 0, 0]
    cdef int threads = useful_threads(cols.size)
    # One thread owns a channel's volume, so every sum has one order.
    for channel in prange(channels, nogil=True, num_threads=threads):
        if real is float:
            add_columns_float(&c, channel, columns, target)
        else:
            add_columns_double(&c, channel, columns, target)
