/* Interpolation along three axes of every plane of a batch, and its adjoint. */
#ifndef VOXKERN_UPSAMPLE_H
#define VOXKERN_UPSAMPLE_H
#include <stdint.h>
#include <string.h>
#include "simd.h"

/* Element k of `count` lies between elements near[k] and far[k] of n: near[k] + 1, or the last. near
   ascends. The weights of far are an array of REAL beside it; where it is NULL, near alone counts. */
typedef struct {
    const int32_t *near, *far;
    ptrdiff_t n, count;
} Axis;

#define REAL float
#include "upsample_kernels.h"
#undef REAL
#define REAL double
#include "upsample_kernels.h"
#undef REAL
#endif
