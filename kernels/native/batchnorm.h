/* Moments, sums for a gradient and affine maps per channel of (n, channels, inner) arrays whose
   channels are runs of elements (inner > 1); batchnorm.pyx has those that are columns.

   A channel is cut into parts by its shape alone, and the results of its parts are merged in order:
   its moments do not depend on which thread computes which part. Where there are channels enough
   for the threads, one thread does all that a channel needs while it lies in the cache. */
#ifndef VOXKERN_BATCHNORM_H
#define VOXKERN_BATCHNORM_H
#include <string.h>
#include "moments.h"

enum { PIECE = 16384 }; /* elements of a part of a long run */

typedef struct {
    ptrdiff_t n, channels, inner;
    ptrdiff_t rows, size;    /* of a part: samples, and elements of each */
    ptrdiff_t pieces, parts; /* of a run; of a channel */
    int past_cache;          /* write `out` around the cache */
    double eps;
    const void *x, *grad;
    const void *weight, *bias, *invstd; /* [channel] */
    double *first, *second; /* [channel]: mean and variance, or the sums for a gradient */
    /* [channel]: out = (x - shift) * scale + offset, or with a gradient
       grad * scale + (x - shift) * slope + offset */
    void *shift, *scale, *slope, *offset;
    void *out;
} BatchNorm;

static void set_parts(BatchNorm *b) {
    b->size = even_block(b->inner, PIECE);
    b->rows = b->inner > MOST_SUMMED / 2 ? 1 : smaller(MOST_SUMMED / b->inner, b->n);
    b->pieces = ceil_div(b->inner, b->size);
    b->parts = ceil_div(b->n, b->rows) * b->pieces;
}

/* A part of a channel: where it starts, its rows (channels * inner apart) and their elements. */
typedef struct {
    ptrdiff_t start, rows, size;
} Part;

static Part find_part(const BatchNorm *b, ptrdiff_t channel, ptrdiff_t part) {
    ptrdiff_t row = part / b->pieces * b->rows, piece = part % b->pieces * b->size;
    Part p = {(row * b->channels + channel) * b->inner + piece, smaller(b->rows, b->n - row),
              smaller(b->size, b->inner - piece)};
    return p;
}

/* The part that an item is, so that items follow one another as they do in memory. */
static void split_item(const BatchNorm *b, ptrdiff_t item, ptrdiff_t *channel, ptrdiff_t *part) {
    ptrdiff_t piece = item % b->pieces;
    *channel = item / b->pieces % b->channels;
    *part = item / (b->pieces * b->channels) * b->pieces + piece;
}

#define REAL float
#include "batchnorm_kernels.h"
#undef REAL
#define REAL double
#include "batchnorm_kernels.h"
#undef REAL
#endif
