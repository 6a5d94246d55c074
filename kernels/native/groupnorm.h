/* Normalisation of groups of elements that lie behind one another: all of a group's channels, or one
   channel of a sample (instance norm), or the last axes of an array (layer norm: an element is a
   channel).

   A group is read once from memory: its moments, its sums and its map follow one another while it
   lies in the cache, if it is no larger than that. Sums run in blocks whose results are merged in
   double precision, in one order. */
#ifndef VOXKERN_GROUPNORM_H
#define VOXKERN_GROUPNORM_H
#include "moments.h"

enum { ROWS_SUMMED = 64 }; /* of gradients of single elements, in the type of the loops */

typedef struct {
    ptrdiff_t rows, groups;    /* sample by sample; row r is group r % groups of its sample */
    ptrdiff_t channels, inner; /* of a row; elements of a channel */
    double eps;
    int past_cache;                       /* write `out` around the cache */
    const void *x, *grad, *weight, *bias; /* [row][channel][inner]; [group][channel] */
    void *out;
    double *mean, *variance; /* [row] */
    ptrdiff_t parts;         /* of the samples; each has sums of its own */
    double *sums;            /* [part][2][group][channel]: gradients to weight and bias */
} GroupNorm;

#define REAL float
#include "groupnorm_kernels.h"
#undef REAL
#define REAL double
#include "groupnorm_kernels.h"
#undef REAL
#endif
