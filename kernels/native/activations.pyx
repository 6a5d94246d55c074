"""Elementwise functions, softmax along rows, and their gradients; see activations.h, softmax.h."""

from cython.parallel cimport prange

from voxkern.kernels.native.host import useful_threads

cdef extern from "activations.h" nogil:
    enum:
        RELU, LEAKY_RELU, ELU, SIGMOID, TANH, HEAVISIDE, SOFTPLUS
    void map_float(int kind, const float *x, Py_ssize_t n, float p, float *out)
    void map_double(int kind, const double *x, Py_ssize_t n, double p, double *out)
    void map_slope_float(int kind, const float *grad, const float *x, Py_ssize_t n, float p,
                         float *out)
    void map_slope_double(int kind, const double *grad, const double *x, Py_ssize_t n, double p,
                          double *out)

cdef extern from "softmax.h" nogil:
    void softmax_row_float(const float *x, Py_ssize_t n, float *out)
    void softmax_row_double(const double *x, Py_ssize_t n, double *out)
    void log_softmax_row_float(const float *x, Py_ssize_t n, float *out)
    void log_softmax_row_double(const double *x, Py_ssize_t n, double *out)
    void softmax_gradient_row_float(const float *grad, const float *y, Py_ssize_t n, float *out)
    void softmax_gradient_row_double(const double *grad, const double *y, Py_ssize_t n,
                                     double *out)
    void log_softmax_gradient_row_float(const float *grad, const float *y, Py_ssize_t n,
                                        float *out)
    void log_softmax_gradient_row_double(const double *grad, const double *y, Py_ssize_t n,
                                         double *out)

ctypedef fused real:
    float
    double

cdef enum:
    BLOCK = 1 << 13  # elements of a task: a multiple of every vector

KINDS = {
    "relu": RELU,
    "leaky_relu": LEAKY_RELU,
    "elu": ELU,
    "sigmoid": SIGMOID,
    "tanh": TANH,  # the gradient alone
    "heaviside": HEAVISIDE,  # the step alone
    "softplus": SOFTPLUS,  # log(1 + exp(parameter * x)) alone
}


def elementwise(name, const real[::1] x, double parameter, *, real[::1] out):
    """out = the function `name` of x; the parameter is its slope or factor."""
    cdef int kind = KINDS[name], threads = useful_threads(x.size)
    cdef Py_ssize_t n = x.shape[0], start
    for start in prange(0, n, BLOCK, nogil=True, num_threads=threads):
        if real is float:
            map_float(kind, &x[start], min(BLOCK, n - start), parameter, &out[start])
        else:
            map_double(kind, &x[start], min(BLOCK, n - start), parameter, &out[start])


def elementwise_gradient(name, const real[::1] grad, const real[::1] x, double parameter, *,
                         real[::1] out):
    """out = grad times the slope of `name`, at x or at the result x (sigmoid, tanh)."""
    cdef int kind = KINDS[name], threads = useful_threads(x.size)
    cdef Py_ssize_t n = x.shape[0], start
    for start in prange(0, n, BLOCK, nogil=True, num_threads=threads):
        if real is float:
            map_slope_float(kind, &grad[start], &x[start], min(BLOCK, n - start), parameter,
                            &out[start])
        else:
            map_slope_double(kind, &grad[start], &x[start], min(BLOCK, n - start), parameter,
                             &out[start])


def softmax_rows(const real[:, ::1] x, bint log, *, real[:, ::1] out):
    """out = the softmax of every row of x, or its logarithm."""
    cdef Py_ssize_t row, n = x.shape[1]
    cdef int threads = useful_threads(x.size)
    for row in prange(x.shape[0], nogil=True, num_threads=threads):
        if real is float:
            if log:
                log_softmax_row_float(&x[row, 0], n, &out[row, 0])
            else:
                softmax_row_float(&x[row, 0], n, &out[row, 0])
        elif log:
            log_softmax_row_double(&x[row, 0], n, &out[row, 0])
        else:
            softmax_row_double(&x[row, 0], n, &out[row, 0])


def softmax_rows_gradient(const real[:, ::1] grad, const real[:, ::1] y, bint log, *,
                          real[:, ::1] out):
    """out = the gradient to the x of `softmax_rows`, whose result is y."""
    cdef Py_ssize_t row, n = y.shape[1]
    cdef int threads = useful_threads(y.size)
    for row in prange(y.shape[0], nogil=True, num_threads=threads):
        if real is float:
            if log:
                log_softmax_gradient_row_float(&grad[row, 0], &y[row, 0], n, &out[row, 0])
            else:
                softmax_gradient_row_float(&grad[row, 0], &y[row, 0], n, &out[row, 0])
        elif log:
            log_softmax_gradient_row_double(&grad[row, 0], &y[row, 0], n, &out[row, 0])
        else:
            softmax_gradient_row_double(&grad[row, 0], &y[row, 0], n, &out[row, 0])
