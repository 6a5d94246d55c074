/* Pooling's loops over rows: windows are reduced by whole rows first, then along what is left. */
#ifndef VOXKERN_POOL_H
#define VOXKERN_POOL_H
#include "simd.h"
#include "split.h"
#include <string.h>

enum { POOL_MAX, POOL_SUM, POOL_SQUARES }; /* what becomes of the elements of a window */
enum { POOL_LONG = 64 };                   /* terms of a sum that are simply added in order */

enum { POOL_AHEAD = 2048 }; /* bytes fetched ahead: a tenth to a sixth off what comes from L3 */
enum { POOL_LINES = 8 };    /* at most, of those worked on at a time */
enum { POOL_PARTS = 4 };    /* shares of a plane's rows: work for threads where planes are few */

/* The windows along one axis: `count` of them over `size` elements; kernel 0 is adaptive. */
typedef struct {
    ptrdiff_t size, count, kernel, stride, padding, dilation;
} Axis;

typedef struct {
    ptrdiff_t channels; /* of all items of the batch */
    Axis z, y, w;
} Windows;

typedef struct {
    Windows v;
    int kind, norms; /* `norms`: the roots or sums of windows, not their means */
    int include_pad;
    double override;        /* what sums are divided by if it is not 0 */
    const void *x, *widths; /* of the windows along a row, in elements that count */
    const double *heights;
    void *out;
    long long *places;
    /* The scratch of one thread: `lines` lines and as many elements again for a line's phases, and
       `pointers`, of them `rows` to a window's rows. */
    ptrdiff_t lines, line, phase, lead, rows, pointers;
    int spans; /* the columns are reduced one window at a time */
} Pool;

/* First element of window `o` that lies in the input. */
static inline ptrdiff_t axis_begin(const Axis *a, ptrdiff_t o) {
    ptrdiff_t at = o * a->stride - a->padding;
    if (a->kernel == 0) return o * a->size / a->count;
    return at >= 0 ? at : at + (a->dilation - 1 - at) / a->dilation * a->dilation;
}

/* Where window `o` ends in the input. */
static inline ptrdiff_t axis_end(const Axis *a, ptrdiff_t o) {
    if (a->kernel == 0) return ((o + 1) * a->size + a->count - 1) / a->count;
    return smaller(a->size, o * a->stride - a->padding + (a->kernel - 1) * a->dilation + 1);
}

/* How many windows from `o` on are the same but for where they lie. */
static inline ptrdiff_t axis_alike(const Axis *a, ptrdiff_t o) {
    ptrdiff_t room = a->size + a->padding - (a->kernel - 1) * a->dilation - 1;
    if (a->kernel == 0 || o * a->stride < a->padding || o * a->stride >= room) return 1;
    return room / a->stride - o + 1;
}

/* Elements of window `o` that an average counts: never those past the padding's end. */
static inline ptrdiff_t axis_divisor(const Axis *a, ptrdiff_t o, int include_pad) {
    if (include_pad && a->kernel)
        return smaller(a->kernel, a->size + 2 * a->padding - o * a->stride);
    return axis_end(a, o) - axis_begin(a, o);
}

/* What an average over the windows (i, j) is divided by, apart from their widths. */
static inline double rows_counted(const Pool *q, ptrdiff_t i, ptrdiff_t j) {
    if (q->override) return q->override;
    return (double)axis_divisor(&q->v.z, i, q->include_pad) *
           (double)axis_divisor(&q->v.y, j, q->include_pad);
}

/* From the windows that hold an element of an axis to those that hold a later one, `e`. */
static inline void advance_windows(const Axis *a, ptrdiff_t e, ptrdiff_t *windows) {
    while (windows[0] < a->count && axis_end(a, windows[0]) <= e) windows[0]++;
    while (windows[1] < a->count && axis_begin(a, windows[1]) <= e) windows[1]++;
}

static inline float root_float(float x) { return sqrtf(x); }
static inline double root_double(double x) { return sqrt(x); }

#define REAL float
#include "span.h"
#include "pool_kernels.h"
#include "pool_places.h"
#undef REAL
#define REAL double
#include "span.h"
#include "pool_kernels.h"
#include "pool_places.h"
#undef REAL

#endif
