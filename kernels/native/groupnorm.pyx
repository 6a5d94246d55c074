"""Normalisation of groups of neighbouring elements; see groupnorm.h for how."""

from cython.parallel cimport prange, threadid
from libc.string cimport memset

from voxkern.kernels.native.host import useful_threads

cdef extern from "groupnorm.h" nogil:
    ctypedef struct GroupNorm:
        Py_ssize_t rows, groups, channels, inner, parts
        double eps
        int past_cache
        const void *x
        const void *grad
        const void *weight
        const void *bias
        void *out
        double *mean
        double *variance
        double *sums
    void normalize_row_float(const GroupNorm *q, Py_ssize_t row)
    void normalize_row_double(const GroupNorm *q, Py_ssize_t row)
    Py_ssize_t gradient_scratch_float(const GroupNorm *q)
    Py_ssize_t gradient_scratch_double(const GroupNorm *q)
    void gradient_task_float(const GroupNorm *q, Py_ssize_t task, float *own)
    void gradient_task_double(const GroupNorm *q, Py_ssize_t task, double *own)

cdef extern from "scratch.h" nogil:
    void *take_scratch(size_t bytes)
    void give_scratch(void *block)

ctypedef fused real:
    float
    double

cdef enum:
    LARGE = 1 << 25  # bytes of output: no cache keeps them until they are read


cdef GroupNorm describe(const real[:, :, ::1] x, const real[::1] weight, double eps,
                        Py_ssize_t groups, real[:, :, ::1] out) noexcept:
    cdef GroupNorm q
    memset(&q, 0, sizeof(q))
    q.rows, q.channels, q.inner = x.shape[0], x.shape[1], x.shape[2]
    q.groups, q.eps = groups, eps
    q.past_cache = q.rows * q.channels * q.inner * <Py_ssize_t> sizeof(real) > LARGE
    q.x, q.weight = <const void *> &x[0, 0, 0], <const void *> &weight[0]
    q.out = <void *> &out[0, 0, 0]
    return q


def normalize_groups(const real[:, :, ::1] x, const real[::1] weight, const real[::1] bias,
                     double eps, Py_ssize_t groups, *, double[:, ::1] stats,
                     real[:, :, ::1] out):
    """Normalise every row of x, (rows, channels, inner), and scale and shift its channels.

    Row r has weights and biases r % groups * channels and on. stats[0] becomes the mean and
    stats[1] the biased variance of every row.
    """
    cdef GroupNorm q = describe(x, weight, eps, groups, out)
    cdef Py_ssize_t row
    cdef int threads = useful_threads(x.size)
    q.bias = <const void *> &bias[0]
    q.mean, q.variance = &stats[0, 0], &stats[1, 0]
    for row in prange(q.rows, nogil=True, num_threads=threads):
        if real is float:
            normalize_row_float(&q, row)
        else:
            normalize_row_double(&q, row)


def groups_gradient(const real[:, :, ::1] grad, const real[:, :, ::1] x, const real[::1] weight,
                    double eps, Py_ssize_t groups, *, double[:, :, ::1] sums,
                    real[:, :, ::1] out):
    """out = the gradient to x; sums[:, 0] those to the weights, sums[:, 1] to the biases, in parts.

    Every part of the samples (rows // groups of them) has its sums; add them up.
    """
    cdef GroupNorm q = describe(x, weight, eps, groups, out)
    cdef Py_ssize_t task, tasks = sums.shape[0] * groups, size
    cdef int threads = useful_threads(x.size)
    q.grad = <const void *> &grad[0, 0, 0]
    q.parts, q.sums = sums.shape[0], &sums[0, 0, 0]
    size = gradient_scratch_float(&q) if real is float else gradient_scratch_double(&q)
    cdef real *own = <real *> take_scratch(threads * size * sizeof(real))
    if own == NULL:
        raise MemoryError("no memory for the sums of a gradient")
    for task in prange(tasks, nogil=True, num_threads=threads):
        if real is float:
            gradient_task_float(&q, task, own + threadid() * size)
        else:
            gradient_task_double(&q, task, own + threadid() * size)
    give_scratch(own)
