/* The kernels of voxkern for C and Cython. Compile with the folder that voxkern.get_include() names;
   nothing is linked. Call voxkern_import() once, with the GIL; the functions that it gives need no
   GIL and may be called from any thread.

   Arrays are C-contiguous and aligned. Shapes have five axes, (N, C, D, H, W), of size 1 where there
   are fewer. `itemsize` tells the type: 4 is float, 8 is double. `threads` is the most that a call
   may use: 1 in a loop that is parallel already, num_threads() elsewhere; no result depends on it.
   The memory of `out` has the shape that output_size() makes of the arguments, and overlaps no input.

   Every function that returns int returns 0 or one of the errors below, and has written nothing
   after an error other than VOXKERN_MEMORY. */
#ifndef VOXKERN_H
#define VOXKERN_H
#include <stddef.h>
#include <stdint.h>

#define VOXKERN_VERSION 1

enum {
    VOXKERN_OK,
    VOXKERN_MEMORY,   /* none left for scratch */
    VOXKERN_X,        /* an empty spatial axis, or more elements than there can be */
    VOXKERN_KERNEL,   /* below 1, or a window larger than the padded input */
    VOXKERN_STRIDE,   /* below 1 */
    VOXKERN_PADDING,  /* below 0, or over half of a pool's window */
    VOXKERN_DILATION, /* below 1 */
    VOXKERN_GROUPS,   /* does not divide the channels of x and the outputs */
    VOXKERN_ITEMSIZE, /* a type that the function does not serve */
    VOXKERN_ERRORS
};

/* Windows along D, H, W; unit windows (kernel 1, stride 1, padding 0, dilation 1) along axes that
   are not there. Padding is counted in elements before and after. */
typedef struct {
    ptrdiff_t kernel[3], stride[3], before[3], after[3], dilation[3];
} voxkern_window;

typedef struct {
    int version; /* VOXKERN_VERSION of the library; later ones only append to this struct */

    /* What voxkern.get_num_threads() tells. */
    int (*num_threads)(void);

    /* A sentence about an error. */
    const char *(*message)(int error);

    /* count = the windows along each axis of an input of spatial `size`. */
    int (*output_size)(const ptrdiff_t size[3], const voxkern_window *window, int ceil_mode,
                       ptrdiff_t count[3]);

    /* out (N, outputs, count) = the correlation of x with weight (outputs, C / groups, kernel), plus
       bias (outputs), which may be NULL. The algorithm is that of voxkern.conv3d's "auto", but never
       "fft". */
    int (*conv)(size_t itemsize, const ptrdiff_t x_shape[5], const void *x, ptrdiff_t outputs,
                const void *weight, const void *bias, const voxkern_window *window,
                ptrdiff_t groups, int threads, void *out);

    /* out (N, C, count) = the largest of every window; places, if it is not NULL, where in the
       volume of its channel each is. */
    int (*max_pool)(size_t itemsize, const ptrdiff_t x_shape[5], const void *x,
                    const voxkern_window *window, int ceil_mode, int threads, void *out,
                    int64_t *places);

    /* out (N, C, count) = the mean of every window, its sum over `divisor` if that is not 0. The
       dilation is 1. */
    int (*avg_pool)(size_t itemsize, const ptrdiff_t x_shape[5], const void *x,
                    const voxkern_window *window, int ceil_mode, int count_include_pad,
                    double divisor, int threads, void *out);

    /* out (N, C * elements of a window, count) = the columns of x. Any `itemsize` of 1, 2, 4, 8. */
    int (*im2col)(size_t itemsize, const ptrdiff_t x_shape[5], const void *x,
                  const voxkern_window *window, int threads, void *out);

    /* mean and var (channels) = the moments, the variance biased, of the channels of
       x (n, channels, inner), where inner counts the elements of all spatial axes. */
    int (*moments)(size_t itemsize, ptrdiff_t n, ptrdiff_t channels, ptrdiff_t inner, const void *x,
                   int threads, double *mean, double *var);

    /* out, like x, = (x - mean) / sqrt(var + eps) * weight + bias; weight and bias (channels), of
       the type of x, may be NULL. With what moments() gave it is batch norm in training. */
    int (*batch_norm)(size_t itemsize, ptrdiff_t n, ptrdiff_t channels, ptrdiff_t inner,
                      const void *x, const double *mean, const double *var, const void *weight,
                      const void *bias, double eps, int threads, void *out);
} voxkern_api;

#ifdef Py_PYTHON_H
/* The functions; NULL with a Python exception set where there are none. */
static inline const voxkern_api *voxkern_import(void) {
    PyObject *module = PyImport_ImportModule("voxkern.capi");
    PyObject *capsule = module ? PyObject_GetAttrString(module, "api") : NULL;
    const voxkern_api *api = NULL;
    if (capsule) api = (const voxkern_api *)PyCapsule_GetPointer(capsule, "voxkern.capi.api");
    if (api && api->version < VOXKERN_VERSION) {
        PyErr_SetString(PyExc_ImportError, "voxkern is older than the header compiled against");
        api = NULL;
    }
    Py_XDECREF(capsule);
    Py_XDECREF(module);
    return api;
}
#endif
#endif
