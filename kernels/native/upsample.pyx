"""Interpolation along the spatial axes, and its adjoint; see upsample.h for how."""

from cython.parallel cimport prange, threadid
from libc.stdint cimport int32_t
from libc.stdlib cimport free, malloc

from voxkern.kernels.native.host import useful_threads

cdef extern from "upsample.h" nogil:
    ctypedef struct Axis:
        const int32_t *near
        const int32_t *far
        Py_ssize_t n, count
    void enlarge_float(const float *x, const Axis *axes, const float **w, Py_ssize_t k,
                       float *rows, float *slice, float *out)
    void enlarge_double(const double *x, const Axis *axes, const double **w, Py_ssize_t k,
                        double *rows, double *slice, double *out)
    void reduce_plane_float(const float *grad, const Axis *axes, const float **w, float *rows,
                            float *slice, float *out)
    void reduce_plane_double(const double *grad, const Axis *axes, const double **w, double *rows,
                             double *slice, double *out)

ctypedef fused real:
    float
    double

cdef struct Axes:
    Axis axis[3]
    Py_ssize_t room  # scratch of a thread: two rows of the result, a slice of x


cdef Axes axes_of(near, far, shape):
    """The axes as the loops take them; the arrays of the two tuples must outlive them."""
    cdef Axes a
    cdef const int32_t[::1] places
    for i in range(3):
        places = near[i]
        a.axis[i].near = &places[0]
        a.axis[i].count = places.shape[0]
        places = far[i]
        a.axis[i].far = &places[0]
        a.axis[i].n = shape[1 + i]
    a.room = 2 * a.axis[2].count + a.axis[1].n * a.axis[2].n
    return a


def enlarge(const real[:, :, :, ::1] x, near, far, weights, *, real[:, :, :, ::1] out):
    """out = x between near and far of every axis, with the weights of far, which may be None."""
    cdef Axes a = axes_of(near, far, (<object>x).shape)
    cdef const real *w[3]
    cdef const real[::1] weight
    for i in range(3):
        w[i] = NULL
        if weights[i] is not None:
            weight = weights[i]
            w[i] = &weight[0]
    cdef int threads = useful_threads(out.size)
    cdef real *scratch = <real *>malloc(threads * a.room * sizeof(real))
    if scratch == NULL:
        raise MemoryError
    cdef Py_ssize_t depth = out.shape[1], item
    cdef real *rows
    for item in prange(out.shape[0] * depth, nogil=True, num_threads=threads):
        rows = scratch + threadid() * a.room
        if real is float:
            enlarge_float(&x[item // depth, 0, 0, 0], a.axis, w, item % depth, rows,
                          rows + 2 * a.axis[2].count, &out[item // depth, item % depth, 0, 0])
        else:
            enlarge_double(&x[item // depth, 0, 0, 0], a.axis, w, item % depth, rows,
                           rows + 2 * a.axis[2].count, &out[item // depth, item % depth, 0, 0])
    free(scratch)


def reduce(const real[:, :, :, ::1] grad, near, far, weights, *, real[:, :, :, ::1] out):
    """out = the adjoint of `enlarge` of grad."""
    cdef Axes a = axes_of(near, far, (<object>out).shape)
    cdef const real *w[3]
    cdef const real[::1] weight
    for i in range(3):
        w[i] = NULL
        if weights[i] is not None:
            weight = weights[i]
            w[i] = &weight[0]
    cdef int threads = useful_threads(grad.size)
    cdef real *scratch = <real *>malloc(threads * a.room * sizeof(real))
    if scratch == NULL:
        raise MemoryError
    cdef Py_ssize_t item
    cdef real *rows
    for item in prange(out.shape[0], nogil=True, num_threads=threads):
        rows = scratch + threadid() * a.room
        if real is float:
            reduce_plane_float(&grad[item, 0, 0, 0], a.axis, w, rows, rows + 2 * a.axis[2].count,
                               &out[item, 0, 0, 0])
        else:
            reduce_plane_double(&grad[item, 0, 0, 0], a.axis, w, rows, rows + 2 * a.axis[2].count,
                                &out[item, 0, 0, 0])
    free(scratch)
