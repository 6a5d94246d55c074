"""The C interface of include/voxkern.h: checks, choices, and calls to one CPU level's kernels."""

from cpython.pycapsule cimport PyCapsule_GetName, PyCapsule_GetPointer, PyCapsule_New
from libc.math cimport NAN, isnan
from libc.stdint cimport int64_t, intptr_t

cdef extern from "include/voxkern.h" nogil:
    enum:
        VOXKERN_VERSION, VOXKERN_OK, VOXKERN_MEMORY, VOXKERN_X, VOXKERN_KERNEL, VOXKERN_STRIDE
        VOXKERN_PADDING, VOXKERN_DILATION, VOXKERN_GROUPS, VOXKERN_ITEMSIZE, VOXKERN_ERRORS
    ctypedef struct voxkern_window:
        Py_ssize_t kernel[3]
        Py_ssize_t stride[3]
        Py_ssize_t before[3]
        Py_ssize_t after[3]
        Py_ssize_t dilation[3]
    ctypedef struct voxkern_api:
        int version
        int (*num_threads)() noexcept nogil
        const char *(*message)(int error) noexcept nogil
        int (*output_size)(const Py_ssize_t *size, const voxkern_window *w, int ceil_mode,
                           Py_ssize_t *count) noexcept nogil
        int (*conv)(size_t itemsize, const Py_ssize_t *x_shape, const void *x, Py_ssize_t outputs,
                    const void *weight, const void *bias, const voxkern_window *w,
                    Py_ssize_t groups, int threads, void *out) noexcept nogil
        int (*max_pool)(size_t itemsize, const Py_ssize_t *x_shape, const void *x,
                        const voxkern_window *w, int ceil_mode, int threads, void *out,
                        int64_t *places) noexcept nogil
        int (*avg_pool)(size_t itemsize, const Py_ssize_t *x_shape, const void *x,
                        const voxkern_window *w, int ceil_mode, int count_include_pad,
                        double divisor, int threads, void *out) noexcept nogil
        int (*im2col)(size_t itemsize, const Py_ssize_t *x_shape, const void *x,
                      const voxkern_window *w, int threads, void *out) noexcept nogil
        int (*moments)(size_t itemsize, Py_ssize_t n, Py_ssize_t channels, Py_ssize_t inner,
                       const void *x, int threads, double *mean, double *var) noexcept nogil
        int (*batch_norm)(size_t itemsize, Py_ssize_t n, Py_ssize_t channels, Py_ssize_t inner,
                          const void *x, const double *mean, const double *var,
                          const void *weight, const void *bias, double eps, int threads,
                          void *out) noexcept nogil

cdef extern from "conv_rule.h" nogil:
    enum: WEIGHTS_MADE
    ctypedef struct RuledConv:
        const Py_ssize_t *weight
        const Py_ssize_t *out
        const Py_ssize_t *stride
        const Py_ssize_t *dilation
        Py_ssize_t groups
        int weights
    double least_time(const RuledConv *c, Py_ssize_t *tile)

# Those of the kernels: of checked arguments, true unless memory is short.
ctypedef int (*Direct)(size_t itemsize, const Py_ssize_t *x_shape, const void *x,
                       const Py_ssize_t *out_shape, const void *weight, const void *bias,
                       const voxkern_window *w, Py_ssize_t groups, int threads,
                       void *out) noexcept nogil
ctypedef int (*Tiled)(size_t itemsize, const Py_ssize_t *x_shape, const void *x,
                      const Py_ssize_t *out_shape, const void *weight, const void *bias,
                      const voxkern_window *w, const Py_ssize_t *tile, Py_ssize_t groups,
                      int threads, void *out) noexcept nogil
ctypedef int (*Columns)(size_t itemsize, const Py_ssize_t *x_shape, const void *x,
                        const Py_ssize_t *count, const voxkern_window *w, int threads,
                        void *out) noexcept nogil
ctypedef int (*Largest)(size_t itemsize, const Py_ssize_t *x_shape, const void *x,
                        const Py_ssize_t *count, const voxkern_window *w, int threads, void *out,
                        int64_t *places) noexcept nogil
ctypedef int (*Mean)(size_t itemsize, const Py_ssize_t *x_shape, const void *x,
                     const Py_ssize_t *count, const voxkern_window *w, int include_pad,
                     double divisor, int threads, void *out) noexcept nogil
ctypedef int (*Moments)(size_t itemsize, Py_ssize_t n, Py_ssize_t channels, Py_ssize_t inner,
                        const void *x, int threads, double *mean, double *var) noexcept nogil
ctypedef int (*Normalize)(size_t itemsize, Py_ssize_t n, Py_ssize_t channels, Py_ssize_t inner,
                          const void *x, const double *mean, const double *var, const void *weight,
                          const void *bias, double eps, int threads, void *out) noexcept nogil

cdef enum:
    LARGEST = 2147483647  # of window arguments: no product of two overflows

cdef voxkern_api table
cdef Direct direct
cdef Tiled winograd
cdef Columns columns
cdef Largest largest
cdef Mean mean
cdef Moments reduced
cdef Normalize normalized
cdef void *flash_by_table
cdef void *flash_by_power

api = PyCapsule_New(&table, "voxkern.capi.api", NULL)


cdef void *pointer(dict functions, name) except NULL:
    capsule = functions[name]
    return PyCapsule_GetPointer(capsule, PyCapsule_GetName(capsule))


def link(dict host, dict conv, dict conv_winograd, dict pool, dict im2col, dict batchnorm,
         dict flash):
    """Serve from these: what the modules of one CPU level export as ``__pyx_capi__``."""
    global direct, winograd, columns, largest, mean, reduced, normalized
    global flash_by_table, flash_by_power
    direct = <Direct> pointer(conv, "voxkern_direct")
    winograd = <Tiled> pointer(conv_winograd, "voxkern_winograd")
    columns = <Columns> pointer(im2col, "voxkern_im2col")
    largest = <Largest> pointer(pool, "voxkern_max_pool")
    mean = <Mean> pointer(pool, "voxkern_avg_pool")
    reduced = <Moments> pointer(batchnorm, "voxkern_moments")
    normalized = <Normalize> pointer(batchnorm, "voxkern_normalize")
    flash_by_table = pointer(flash, "voxkern_flash_by_table")
    flash_by_power = pointer(flash, "voxkern_flash_by_power")
    table.version = VOXKERN_VERSION
    table.num_threads = <int (*)() noexcept nogil> pointer(host, "voxkern_num_threads")
    table.message, table.output_size, table.conv = message, output_size, convolve
    table.max_pool, table.avg_pool, table.im2col = max_pool, avg_pool, make_columns
    table.moments, table.batch_norm = moments, batch_norm


def addresses():
    """Where the functions of the table are, by name, and two that only Numba calls.

    These need tables that Python makes, check nothing, and return false without memory.
    """
    return {
        "num_threads": <size_t> table.num_threads,
        "output_size": <size_t> table.output_size,
        "conv": <size_t> table.conv,
        "max_pool": <size_t> table.max_pool,
        "avg_pool": <size_t> table.avg_pool,
        "im2col": <size_t> table.im2col,
        "moments": <size_t> table.moments,
        "batch_norm": <size_t> table.batch_norm,
        "flash_by_table": <size_t> flash_by_table,
        "flash_by_power": <size_t> flash_by_power,
    }


def messages():
    """What every error means, in their order."""
    return tuple([message(error).decode() for error in range(VOXKERN_ERRORS)])


cdef const char *message(int error) noexcept nogil:
    if error == VOXKERN_OK:
        return "no error"
    if error == VOXKERN_MEMORY:
        return "no memory for scratch"
    if error == VOXKERN_X:
        return "x has an empty axis"
    if error == VOXKERN_KERNEL:
        return "kernel_size is below 1, or a window is larger than the padded input"
    if error == VOXKERN_STRIDE:
        return "stride is below 1"
    if error == VOXKERN_PADDING:
        return "padding is below 0, or over half of a pool's window"
    if error == VOXKERN_DILATION:
        return "dilation is below 1"
    if error == VOXKERN_GROUPS:
        return "groups does not divide the channels of x and the outputs"
    if error == VOXKERN_ITEMSIZE:
        return "itemsize is not one that the function serves"
    return "an error that is not voxkern's"


cdef int output_size(const Py_ssize_t *size, const voxkern_window *w, int ceil_mode,
                     Py_ssize_t *count) noexcept nogil:
    """As `window.output_size` in Python."""
    cdef int i
    cdef Py_ssize_t room
    for i in range(3):
        if size[i] < 1:
            return VOXKERN_X
        if not 1 <= w.kernel[i] <= LARGEST:
            return VOXKERN_KERNEL
        if not 1 <= w.stride[i] <= LARGEST:
            return VOXKERN_STRIDE
        if not (0 <= w.before[i] <= LARGEST and 0 <= w.after[i] <= LARGEST):
            return VOXKERN_PADDING
        if not 1 <= w.dilation[i] <= LARGEST:
            return VOXKERN_DILATION
        room = size[i] + w.before[i] + w.after[i] - w.dilation[i] * (w.kernel[i] - 1) - 1
        if room < 0:
            return VOXKERN_KERNEL
        count[i] = room // w.stride[i] + 1
        if ceil_mode and room % w.stride[i] and count[i] * w.stride[i] < size[i] + w.before[i]:
            count[i] += 1
    return VOXKERN_OK


cdef int convolve(size_t itemsize, const Py_ssize_t *x_shape, const void *x, Py_ssize_t outputs,
                  const void *weight, const void *bias, const voxkern_window *w,
                  Py_ssize_t groups, int threads, void *out) noexcept nogil:
    cdef Py_ssize_t weight_shape[5]
    cdef Py_ssize_t out_shape[5]
    cdef Py_ssize_t tile[3]
    cdef RuledConv rule
    cdef int i, bad, error = output_size(x_shape + 2, w, False, out_shape + 2)
    if error:
        return error
    if itemsize != 4 and itemsize != 8:
        return VOXKERN_ITEMSIZE
    if x_shape[0] < 0 or x_shape[1] < 1:
        return VOXKERN_X
    if groups < 1 or outputs < 1 or x_shape[1] % groups or outputs % groups:
        return VOXKERN_GROUPS
    if x_shape[0] == 0:
        return VOXKERN_OK
    out_shape[0], out_shape[1] = x_shape[0], outputs
    weight_shape[0], weight_shape[1] = outputs, x_shape[1] // groups
    for i in range(3):
        weight_shape[2 + i] = w.kernel[i]
    rule.weight, rule.out = weight_shape, out_shape
    rule.stride, rule.dilation = <Py_ssize_t *> w.stride, <Py_ssize_t *> w.dilation
    rule.groups, rule.weights = groups, WEIGHTS_MADE
    least_time(&rule, tile)
    if tile[0]:
        bad = winograd(itemsize, x_shape, x, out_shape, weight, bias, w, tile, groups,
                       max(threads, 1), out)
        if bad <= 0:
            return VOXKERN_MEMORY if bad else VOXKERN_OK
        # NaN or inf spoils all the outputs of a tile.
    if direct(itemsize, x_shape, x, out_shape, weight, bias, w, groups, max(threads, 1), out):
        return VOXKERN_OK
    return VOXKERN_MEMORY


cdef int pooled(size_t itemsize, const Py_ssize_t *x_shape, const voxkern_window *w, int ceil_mode,
                Py_ssize_t *count) noexcept nogil:
    """What is wrong with the arguments of a pool; the number of its windows."""
    cdef int i, error = output_size(x_shape + 2, w, ceil_mode, count)
    if error:
        return error
    if itemsize != 4 and itemsize != 8:
        return VOXKERN_ITEMSIZE
    if x_shape[0] < 0 or x_shape[1] < 1:
        return VOXKERN_X
    for i in range(3):
        if w.before[i] != w.after[i] or 2 * w.before[i] > w.kernel[i]:
            return VOXKERN_PADDING
    return VOXKERN_OK


cdef int max_pool(size_t itemsize, const Py_ssize_t *x_shape, const void *x,
                  const voxkern_window *w, int ceil_mode, int threads, void *out,
                  int64_t *places) noexcept nogil:
    cdef Py_ssize_t count[3]
    cdef int error = pooled(itemsize, x_shape, w, ceil_mode, count)
    if error or x_shape[0] == 0:
        return error
    if largest(itemsize, x_shape, x, count, w, max(threads, 1), out, places):
        return VOXKERN_OK
    return VOXKERN_MEMORY


cdef int avg_pool(size_t itemsize, const Py_ssize_t *x_shape, const void *x,
                  const voxkern_window *w, int ceil_mode, int count_include_pad, double divisor,
                  int threads, void *out) noexcept nogil:
    cdef Py_ssize_t count[3]
    cdef int error = pooled(itemsize, x_shape, w, ceil_mode, count)
    if error == VOXKERN_OK and (w.dilation[0] != 1 or w.dilation[1] != 1 or w.dilation[2] != 1):
        error = VOXKERN_DILATION
    if error or x_shape[0] == 0:
        return error
    if mean(itemsize, x_shape, x, count, w, count_include_pad, divisor, max(threads, 1), out):
        return VOXKERN_OK
    return VOXKERN_MEMORY


cdef int make_columns(size_t itemsize, const Py_ssize_t *x_shape, const void *x,
                      const voxkern_window *w, int threads, void *out) noexcept nogil:
    cdef Py_ssize_t count[3]
    cdef int error = output_size(x_shape + 2, w, False, count)
    if error:
        return error
    if itemsize != 1 and itemsize != 2 and itemsize != 4 and itemsize != 8:
        return VOXKERN_ITEMSIZE
    if x_shape[0] < 0 or x_shape[1] < 0:
        return VOXKERN_X
    columns(itemsize, x_shape, x, count, w, max(threads, 1), out)
    return VOXKERN_OK


cdef int moments(size_t itemsize, Py_ssize_t n, Py_ssize_t channels, Py_ssize_t inner,
                 const void *x, int threads, double *mean, double *var) noexcept nogil:
    if itemsize != 4 and itemsize != 8:
        return VOXKERN_ITEMSIZE
    if n < 1 or channels < 1 or inner < 1:
        return VOXKERN_X
    if reduced(itemsize, n, channels, inner, x, max(threads, 1), mean, var):
        return VOXKERN_OK
    return VOXKERN_MEMORY


cdef int batch_norm(size_t itemsize, Py_ssize_t n, Py_ssize_t channels, Py_ssize_t inner,
                    const void *x, const double *mean, const double *var, const void *weight,
                    const void *bias, double eps, int threads, void *out) noexcept nogil:
    if itemsize != 4 and itemsize != 8:
        return VOXKERN_ITEMSIZE
    if n < 0 or channels < 1 or inner < 1:
        return VOXKERN_X
    if n == 0 or normalized(itemsize, n, channels, inner, x, mean, var, weight, bias, eps,
                            max(threads, 1), out):
        return VOXKERN_OK
    return VOXKERN_MEMORY


# --- for scipy.ndimage.generic_filter ---------------------------------------------------------

cdef const char *FILTER = "int (double *, intptr_t, double *, void *)"

filters = {
    "max": PyCapsule_New(<void *> filter_max, FILTER, NULL),
    "mean": PyCapsule_New(<void *> filter_mean, FILTER, NULL),
    "median": PyCapsule_New(<void *> filter_median, FILTER, NULL),
}


cdef int filter_max(double *values, intptr_t n, double *result, void *data) noexcept nogil:
    cdef intptr_t i
    result[0] = values[0]
    for i in range(1, n):
        if isnan(values[i]) or values[i] > result[0]:  # nothing exceeds a NaN
            result[0] = values[i]
    return 1


cdef int filter_mean(double *values, intptr_t n, double *result, void *data) noexcept nogil:
    cdef intptr_t i
    cdef double total = 0
    for i in range(n):
        total += values[i]
    result[0] = total / n
    return 1


cdef int filter_median(double *values, intptr_t n, double *result, void *data) noexcept nogil:
    cdef intptr_t i
    cdef double below
    for i in range(n):
        if isnan(values[i]):
            result[0] = NAN
            return 1
    result[0] = kth(values, n, n // 2)
    if n % 2 == 0:
        filter_max(values, n // 2, &below, NULL)
        result[0] = (result[0] + below) / 2
    return 1


cdef double kth(double *values, intptr_t n, intptr_t k) noexcept nogil:
    """What element k of `values` would be in order; those before it are not larger (Hoare)."""
    cdef intptr_t low = 0, high = n - 1, i, j
    cdef double pivot
    while low < high:
        pivot, i, j = values[k], low, high
        while i <= j:
            while values[i] < pivot:
                i += 1
            while values[j] > pivot:
                j -= 1
            if i <= j:
                values[i], values[j] = values[j], values[i]
                i += 1
                j -= 1
        if j < k:
            low = i
        if i > k:
            high = j
    return values[k]
