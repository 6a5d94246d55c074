/* The loops that compilers leave scalar without `restrict`, and those that order a sum by lanes. */
#include "simd.h"

#define REAL float
#include "span.h"
#undef REAL
#define REAL double
#include "span.h"
#undef REAL

/* Where x[o*stride] is larger or NaN, it becomes best[o], and `tap` taps[o]. */
#define TAKE_LARGER(name, real, word)                                                              \
    static inline void name##_by(const real *RESTRICT x, ptrdiff_t stride, word tap, ptrdiff_t n,  \
                                 real *RESTRICT best, word *RESTRICT taps) {                       \
        for (ptrdiff_t o = 0; o < n; o++) {                                                        \
            real value = x[o * stride], old = best[o];                                             \
            word place = taps[o];                                                                  \
            int take = (value > old) | (value != value);                                           \
            best[o] = take ? value : old;                                                          \
            taps[o] = take ? tap : place;                                                          \
        }                                                                                          \
    }                                                                                              \
    static void name(const real *x, ptrdiff_t stride, word tap, ptrdiff_t n, real *best,           \
                     word *taps) {                                                                 \
        if (stride == 1) name##_by(x, 1, tap, n, best, taps);                                      \
        else if (stride == 2) name##_by(x, 2, tap, n, best, taps);                                 \
        else name##_by(x, stride, tap, n, best, taps);                                             \
    }

TAKE_LARGER(take_larger_float, float, int)
TAKE_LARGER(take_larger_float_wide, float, long long)
TAKE_LARGER(take_larger_double, double, long long)
