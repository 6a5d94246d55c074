"""Which algorithm takes the least time for a convolution; see conv_rule.h."""

cdef extern from "conv_rule.h" nogil:
    enum: WEIGHTS_MADE, WEIGHTS_KEPT, WEIGHTS_GRADIENT
    ctypedef struct RuledConv:
        const Py_ssize_t *weight
        const Py_ssize_t *out
        const Py_ssize_t *stride
        const Py_ssize_t *dilation
        Py_ssize_t groups
        int weights
    double least_time(const RuledConv *c, Py_ssize_t *tile)

MADE, KEPT, GRADIENT = WEIGHTS_MADE, WEIGHTS_KEPT, WEIGHTS_GRADIENT


def least(weight_shape, out_shape, strides, dilations, Py_ssize_t groups, int weights):
    """The least time of a convolution of five axes, in multiply-adds of vectors, and its tile.

    The tile is None for direct sums. `weights` tells what a call does with them: MADE, KEPT (they
    were transformed before) or GRADIENT (they are its result).
    """
    cdef RuledConv c
    cdef Py_ssize_t weight[5]
    cdef Py_ssize_t out[5]
    cdef Py_ssize_t stride[3]
    cdef Py_ssize_t dilation[3]
    cdef Py_ssize_t tile[3]
    weight[:], out[:], stride[:], dilation[:] = weight_shape, out_shape, strides, dilations
    c.weight, c.out, c.stride, c.dilation = weight, out, stride, dilation
    c.groups, c.weights = groups, weights
    cdef double time = least_time(&c, tile)
    return time, (tile[0], tile[1], tile[2]) if tile[0] else None
