"""Columns of windows and their adjoint, over five-dimensional arrays (unit axes where fewer)."""

from cython.parallel cimport prange
from libc.string cimport memcpy, memset

from voxkern.kernels.native.host import useful_threads

# im2col moves elements without reading them, so a word of the element's size stands for any type.
ctypedef fused word:
    unsigned char
    unsigned short
    unsigned int
    unsigned long long

ctypedef fused real:
    float
    double


cdef inline Py_ssize_t first(Py_ssize_t offset, Py_ssize_t stride) noexcept nogil:
    """Lowest i >= 0 with offset + i*stride >= 0."""
    return 0 if offset >= 0 else (-offset + stride - 1) // stride


cdef inline Py_ssize_t last(Py_ssize_t offset, Py_ssize_t stride, Py_ssize_t size,
                            Py_ssize_t count) noexcept nogil:
    """Lowest i <= count with offset + i*stride >= size."""
    if offset >= size:
        return 0
    return min(count, (size - 1 - offset) // stride + 1)


cdef void gather_row(const word *source, word *target, Py_ssize_t offset, Py_ssize_t stride,
                     Py_ssize_t size, Py_ssize_t count) noexcept nogil:
    """target[i] = source[offset + i*stride], 0 outside of the source."""
    cdef Py_ssize_t begin = min(first(offset, stride), count)
    cdef Py_ssize_t end = max(begin, last(offset, stride, size, count)), i
    memset(target, 0, begin * sizeof(word))
    if stride == 1:
        memcpy(target + begin, source + offset + begin, (end - begin) * sizeof(word))
    else:
        for i in range(begin, end):
            target[i] = source[offset + i * stride]
    memset(target + end, 0, (count - end) * sizeof(word))


cdef void scatter_row(const real *source, real *target, Py_ssize_t offset, Py_ssize_t stride,
                      Py_ssize_t size, Py_ssize_t count) noexcept nogil:
    """target[offset + i*stride] += source[i] where that lies inside of the target."""
    cdef Py_ssize_t i
    for i in range(first(offset, stride), last(offset, stride, size, count)):
        target[offset + i * stride] += source[i]


def im2col(const word[:, :, :, :, ::1] x, kernel_size, stride, padding, dilation, *,
           word[:, :, :, :, ::1] out):
    """out[n, (c, kernel position), od, oh, ow] = x at that window's position, 0 in the padding."""
    cdef Py_ssize_t kd = kernel_size[0], kh = kernel_size[1], kw = kernel_size[2]
    cdef Py_ssize_t sd = stride[0], sh = stride[1], sw = stride[2]
    cdef Py_ssize_t pd = padding[0][0], ph = padding[1][0], pw = padding[2][0]
    cdef Py_ssize_t dd = dilation[0], dh = dilation[1], dw = dilation[2]
    cdef Py_ssize_t depth = x.shape[2], height = x.shape[3], width = x.shape[4]
    cdef Py_ssize_t rows = out.shape[1], od = out.shape[2], oh = out.shape[3], ow = out.shape[4]
    cdef Py_ssize_t item, n, row, c, a, b, e, i, j, z, y
    cdef int threads = useful_threads(out.size)
    if out.size == 0:
        return
    for item in prange(out.shape[0] * rows, nogil=True, num_threads=threads):
        n = item // rows
        row = item % rows
        c = row // (kd * kh * kw)
        a = row // (kh * kw) % kd
        b = row // kw % kh
        e = row % kw
        for i in range(od):
            z = i * sd - pd + a * dd
            if not 0 <= z < depth:
                memset(&out[n, row, i, 0, 0], 0, oh * ow * sizeof(word))
                continue
            for j in range(oh):
                y = j * sh - ph + b * dh
                if 0 <= y < height:
                    gather_row(&x[n, c, z, y, 0], &out[n, row, i, j, 0], e * dw - pw, sw, width, ow)
                else:
                    memset(&out[n, row, i, j, 0], 0, ow * sizeof(word))


def col2im(const real[:, :, :, :, ::1] cols, output_size, kernel_size, stride, padding,
           dilation, *, real[:, :, :, :, ::1] out):
    """out = the sum of every column element at the position im2col read it from."""
    cdef Py_ssize_t kd = kernel_size[0], kh = kernel_size[1], kw = kernel_size[2]
    cdef Py_ssize_t sd = stride[0], sh = stride[1], sw = stride[2]
    cdef Py_ssize_t pd = padding[0][0], ph = padding[1][0], pw = padding[2][0]
    cdef Py_ssize_t dd = dilation[0], dh = dilation[1], dw = dilation[2]
    cdef Py_ssize_t depth = out.shape[2], height = out.shape[3], width = out.shape[4]
    cdef Py_ssize_t channels = out.shape[1], taps = kd * kh * kw
    cdef Py_ssize_t od = cols.shape[2], oh = cols.shape[3], ow = cols.shape[4]
    cdef Py_ssize_t item, n, c, row, a, b, e, i, j, z, y
    cdef int threads = useful_threads(cols.size)
    if out.size == 0:
        return
    # One thread owns a channel's volume, so every sum has one order.
    for item in prange(out.shape[0] * channels, nogil=True, num_threads=threads):
        n = item // channels
        c = item % channels
        memset(&out[n, c, 0, 0, 0], 0, depth * height * width * sizeof(real))
        for row in range(taps):
            a = row // (kh * kw)
            b = row // kw % kh
            e = row % kw
            for i in range(od):
                z = i * sd - pd + a * dd
                if not 0 <= z < depth:
                    continue
                for j in range(oh):
                    y = j * sh - ph + b * dh
                    if 0 <= y < height:
                        scatter_row(&cols[n, c * taps + row, i, j, 0], &out[n, c, z, y, 0],
                                    e * dw - pw, sw, width, ow)
