# Windows as C has them, for the modules whose operations are over windows.

cdef extern from "include/voxkern.h" nogil:
    ctypedef struct voxkern_window:
        Py_ssize_t kernel[3]
        Py_ssize_t stride[3]
        Py_ssize_t before[3]
        Py_ssize_t after[3]
        Py_ssize_t dilation[3]

cdef extern from "split.h" nogil:
    int threads_for(Py_ssize_t work, int most)


cdef inline voxkern_window read_window(const Py_ssize_t *kernel, stride, padding, dilation) except *:
    """The window of Python's arguments; padding is a pair for each axis."""
    cdef voxkern_window w
    cdef int i
    for i in range(3):
        w.kernel[i], w.stride[i], w.dilation[i] = kernel[i], stride[i], dilation[i]
        w.before[i], w.after[i] = padding[i]
    return w
