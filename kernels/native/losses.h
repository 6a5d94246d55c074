/* Sums of many numbers in double precision. */
#ifndef VOXKERN_LOSSES_H
#define VOXKERN_LOSSES_H
#include "simd.h"

/* Of x, |x|, x^2 or (x - y)^2. */
enum { VALUES, MAGNITUDES, SQUARES, ERRORS };

#define REAL float
#include "losses_kernels.h"
#undef REAL
#define REAL double
#include "losses_kernels.h"
#undef REAL
#endif
