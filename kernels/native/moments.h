/* Moments of runs of elements, sums for a gradient, and affine maps: what batch norm and group norm
   share. Sums run in blocks whose results are added in double precision, in one order. */
#ifndef VOXKERN_MOMENTS_H
#define VOXKERN_MOMENTS_H
#include "simd.h"
#include "split.h"
#include "stream.h"

enum { MOST_SUMMED = 2048 }; /* elements in a block: read twice, from the first-level cache */

/* Mean and sum of squared deviations from it. */
typedef struct {
    double count, mean, squares;
} Moments;

/* Chan, Golub and LeVeque (1979). */
static Moments merged(Moments a, Moments b) {
    double count = a.count + b.count, step = b.mean - a.mean;
    if (a.count == 0) return b;
    Moments m = {count, a.mean + step * (b.count / count), 0};
    if (!isfinite(m.mean)) m.mean = a.mean + b.mean; /* inf, or NaN of both */
    m.squares = a.squares + b.squares + step * step * (a.count * (b.count / count));
    return m;
}

#define REAL float
#include "moments_kernels.h"
#undef REAL
#define REAL double
#include "moments_kernels.h"
#undef REAL
#endif
