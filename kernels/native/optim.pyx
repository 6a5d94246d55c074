"""One step of an optimiser over flat arrays, in place; see optim.h for the formulas."""

from cython.parallel cimport prange

from voxkern.kernels.native.host import useful_threads

cdef extern from "optim.h" nogil:
    enum: RUN
    ctypedef struct Descent:
        double rate, decay, momentum, fresh
        int nesterov
    ctypedef struct Adaptation:
        double rate, decay, kept, beta1, beta2, inside, outside
    void descend_run_float(const Descent *q, float *weight, const float *grad, float *velocity,
                           Py_ssize_t start, Py_ssize_t size)
    void descend_run_double(const Descent *q, double *weight, const double *grad, double *velocity,
                            Py_ssize_t start, Py_ssize_t size)
    void adapt_run_float(const Adaptation *q, float *weight, const float *grad, float *mean,
                         float *square, Py_ssize_t start, Py_ssize_t size)
    void adapt_run_double(const Adaptation *q, double *weight, const double *grad, double *mean,
                          double *square, Py_ssize_t start, Py_ssize_t size)

ctypedef fused real:
    float
    double


def descend(real[::1] weight, const real[::1] grad, real[::1] velocity, *, double rate,
            double decay, double momentum, double fresh, bint nesterov):
    """Go down the gradient; with a velocity, that of the momentum method."""
    cdef Descent q = Descent(rate, decay, momentum, fresh, nesterov)
    cdef Py_ssize_t size = weight.shape[0], run
    cdef int threads = useful_threads(size)
    cdef real *v = NULL if velocity is None else &velocity[0]
    for run in prange((size + RUN - 1) // RUN, nogil=True, num_threads=threads):
        if real is float:
            descend_run_float(&q, &weight[0], &grad[0], v, run * RUN, size)
        else:
            descend_run_double(&q, &weight[0], &grad[0], v, run * RUN, size)


def adapt(real[::1] weight, const real[::1] grad, real[::1] mean, real[::1] square, *, double rate,
          double decay, double kept, double beta1, double beta2, double inside, double outside):
    """Go down the gradient, or its mean, over the root of the mean of its square."""
    cdef Adaptation q = Adaptation(rate, decay, kept, beta1, beta2, inside, outside)
    cdef Py_ssize_t size = weight.shape[0], run
    cdef int threads = useful_threads(size)
    cdef real *m = NULL if mean is None else &mean[0]
    for run in prange((size + RUN - 1) // RUN, nogil=True, num_threads=threads):
        if real is float:
            adapt_run_float(&q, &weight[0], &grad[0], m, &square[0], run * RUN, size)
        else:
            adapt_run_double(&q, &weight[0], &grad[0], m, &square[0], run * RUN, size)
