"""Cross-entropy of rows with classes, and its gradient, see softmax.h for how; sums, losses.h."""

from cython.parallel cimport prange
from libc.stdint cimport int64_t

from voxkern.kernels.native.host import useful_threads

cdef extern from "softmax.h" nogil:
    double cross_entropy_row_float(const float *x, Py_ssize_t n, Py_ssize_t label, double scale,
                                   float *out)
    double cross_entropy_row_double(const double *x, Py_ssize_t n, Py_ssize_t label, double scale,
                                    double *out)

cdef extern from "losses.h" nogil:
    enum:
        VALUES, MAGNITUDES, SQUARES, ERRORS
    double sum_float(int kind, const float *x, const float *y, Py_ssize_t n)
    double sum_double(int kind, const double *x, const double *y, Py_ssize_t n)

ctypedef fused real:
    float
    double

KINDS = {"values": VALUES, "magnitudes": MAGNITUDES, "squares": SQUARES, "errors": ERRORS}


def cross_entropy_rows(const real[:, ::1] x, const int64_t[::1] labels, const double[::1] scale,
                       *, double[::1] losses, real[:, ::1] out):
    """losses = -log softmax(x) at the label of every row, times its scale.

    out becomes their gradient, of scale * (softmax(x) - 1 at the label); it may be None. A row with
    a label below 0 has loss and gradient 0.
    """
    cdef Py_ssize_t row, rows = x.shape[0], n = x.shape[1]
    cdef int threads = useful_threads(x.size)
    cdef real *to = NULL if out is None else &out[0, 0]
    for row in prange(rows, nogil=True, num_threads=threads):
        if labels[row] < 0:
            losses[row] = 0
            if to != NULL:
                out[row, :] = 0
        elif real is float:
            losses[row] = scale[row] * cross_entropy_row_float(
                &x[row, 0], n, labels[row], scale[row], NULL if to == NULL else to + row * n)
        else:
            losses[row] = scale[row] * cross_entropy_row_double(
                &x[row, 0], n, labels[row], scale[row], NULL if to == NULL else to + row * n)


def block_sums(name, const real[::1] x, const real[::1] y, Py_ssize_t block, *, double[::1] out):
    """out = sums over blocks of x of its values, magnitudes or squares, or of (x - y)^2 ("errors").
    """
    cdef int kind = KINDS[name], threads = useful_threads(x.size)
    cdef Py_ssize_t n = x.shape[0], start
    for start in prange(0, n, block, nogil=True, num_threads=threads):
        if real is float:
            out[start // block] = sum_float(kind, &x[start], &y[start], min(block, n - start))
        else:
            out[start // block] = sum_double(kind, &x[start], &y[start], min(block, n - start))
