/* Convolution by Winograd's minimal filtering, in one to three axes.

   A tile of m outputs of a kernel of r taps needs m + r - 1 inputs and, after a change of basis,
   m + r - 1 products instead of m*r (Toom and Cook's interpolation, transposed):
       y = A^T [(G w) . (B^T x)]
   Axes nest: a 3x3x3 kernel makes 4x4x4 outputs of 6x6x6 products, an eighth of the direct sum's.
   Summed over channels, each of the points is one small matrix product.

   B^T depends on the number of points alone, so 4 points serve (m, r) = (2, 3) and (3, 2), 6 points
   (4, 3), (2, 5), (3, 4) and (5, 2). The points are 0, 1, -1, infinity and 0, 2/3, -2/3, 3/2, -3/2,
   infinity: their error is a fifth of that of the textbook's 0, +-1, +-2. An axis that is
   not transformed (one point) is summed directly: its taps are terms of the sum, like channels.

   Lanes are channels. Of a block of tiles, the input is turned from rows into vectors of channels
   and transformed (V[channels][point][tile][lane]), multiplied by the transformed weights
   (U[outputs][point][term][lane]), and the products (M[outputs][point][tile][lane]) are
   transformed back and turned into rows. */
#ifndef VOXKERN_CONV_WINOGRAD_H
#define VOXKERN_CONV_WINOGRAD_H
#include <stdlib.h>
#include <string.h>
#include "simd.h"
#include "split.h"

/* Half of the points other than 0 and infinity; the others are their negatives. P*Q is 1. */
#define P (2.0 / 3)
#define Q (3.0 / 2)
enum { MOST_POINTS = 6 };

/* Tiles of a block: what is made of them should stay in the second-level cache, but fewer would
   read the weights too often. */
enum { BLOCK_BYTES = 768 * 1024, FEWEST_TILES = 16, MOST_TILES = 112 };

typedef struct {
    ptrdiff_t size, count;    /* of the input, of the output */
    ptrdiff_t padding;        /* zeros before; negative where inputs are left out */
    ptrdiff_t taps;           /* of the kernel */
    ptrdiff_t step, dilation; /* 1 on a transformed axis */
    ptrdiff_t tile, points;   /* outputs of a tile, products of a tile; 1 and 1 on a direct axis */
    ptrdiff_t tiles, block, blocks;
} WinogradAxis;

typedef struct {
    WinogradAxis axis[3];
    ptrdiff_t batch, batch_block, batch_blocks, groups;
    ptrdiff_t inputs, outputs; /* channels per group */
    ptrdiff_t points, taps;    /* taps of the axes that are summed directly */
    ptrdiff_t chunk, chunks;   /* output channels of a work item, and items per block */
    ptrdiff_t chunk_in;        /* input channels of one of the gradient of the weights */
    ptrdiff_t fresh; /* input channels whose weights each block transforms at a time; 0: none */
    ptrdiff_t grid, tiles; /* most tiles of a block: of V, of M */
    ptrdiff_t rows;        /* elements of the rows of a block, transformed along W */
    const void *x, *bias;
    const void *weight; /* as they were given where `fresh`, else transformed */
    int transposed;     /* they were given for the convolution whose transpose this is */
    void *out;
    void *shared;   /* V of all blocks, where there are many items per block */
    int activation; /* apply the leaky rectifier of this slope to the outputs */
    double slope;
} Winograd;

/* One block of tiles: where it is, and how its tiles are numbered. */
typedef struct {
    ptrdiff_t group, chunk, sample, samples;
    ptrdiff_t first[3], tiles[3]; /* of the block's tiles, along each axis */
    ptrdiff_t region[3];          /* input positions that they need */
    ptrdiff_t grid[3];            /* tiles of V: on a direct axis, one per input position */
    ptrdiff_t in[3], in_sample;   /* from one tile of V to the next */
    ptrdiff_t out[3], out_sample; /* from one tile of M to the next */
    ptrdiff_t inner;              /* tiles that follow one another in V and M alike */
    ptrdiff_t runs;               /* of inner tiles, in M */
    ptrdiff_t in_room, out_room;  /* tiles that V and M have room for at each point */
} Tiles;

/* A tap of the axes that are summed directly. */
typedef struct {
    ptrdiff_t in; /* elements of V from a tile to the one that it reads */
    ptrdiff_t number;
} Tap;

static int is_summed(const WinogradAxis *a) { return a->points == 1; }

/* Taps or steps that make tiles of V and of M differ in number. */
static int is_outer(const WinogradAxis *a) { return is_summed(a) && (a->taps > 1 || a->step > 1); }

/* Input positions for `tiles` tiles. */
static ptrdiff_t region(const WinogradAxis *a, ptrdiff_t tiles) {
    return is_summed(a) ? (tiles - 1) * a->step + (a->taps - 1) * a->dilation + 1
                        : (tiles - 1) * a->tile + a->points;
}

static void number_tiles(const Winograd *c, Tiles *t) {
    ptrdiff_t n = 1;
    for (int i = 0; i < 3; i++) {
        t->region[i] = region(c->axis + i, t->tiles[i]);
        t->grid[i] = is_summed(c->axis + i) ? t->region[i] : t->tiles[i];
    }
    for (int i = 2; i >= 0; i--)
        if (!is_outer(c->axis + i)) t->in[i] = t->out[i] = n, n *= t->tiles[i];
    t->in_sample = t->out_sample = n;
    t->inner = t->in_room = t->out_room = n * t->samples;
    for (int i = 2; i >= 0; i--)
        if (is_outer(c->axis + i)) {
            t->in[i] = t->in_room, t->in_room *= t->grid[i];
            t->out[i] = t->out_room, t->out_room *= t->tiles[i];
        }
    t->runs = t->out_room / t->inner;
    /* Odd: points a power of two apart would share few sets of the cache. */
    t->in_room |= 1, t->out_room |= 1;
}

/* Which tiles a work item is about. */
static Tiles find_tiles(const Winograd *c, ptrdiff_t index) {
    Tiles t;
    t.chunk = index % c->chunks, index /= c->chunks;
    for (int i = 2; i >= 0; i--) {
        const WinogradAxis *a = c->axis + i;
        t.first[i] = index % a->blocks * a->block, index /= a->blocks;
        t.tiles[i] = smaller(a->block, a->tiles - t.first[i]);
    }
    t.sample = index % c->batch_blocks * c->batch_block;
    t.samples = smaller(c->batch_block, c->batch - t.sample);
    t.group = index / c->batch_blocks;
    number_tiles(c, &t);
    return t;
}

/* Blocks of at most `most` tiles: whole rows, and as many as fit. Cubes would read fewer elements
   twice, but short pieces of many rows: 32 channels of 64x64x64 take 27 ms so, and 43 in cubes.
   Axes that are summed directly come before others, as neighbours share most of what they read. */
static void plan_blocks(Winograd *c, ptrdiff_t most) {
    WinogradAxis *a = c->axis;
    for (int outer = 1; outer >= 0; outer--)
        for (int i = 2; i >= 0; i--) {
            if ((i == 2 || is_outer(a + i)) != outer) continue;
            ptrdiff_t limit = i < 2 && outer ? 2 * a[i].taps : most;
            a[i].block = even_block(a[i].tiles, smaller(limit, most));
            a[i].blocks = ceil_div(a[i].tiles, a[i].block);
            most /= a[i].block;
        }
    c->batch_block = even_block(c->batch, most);
    c->batch_blocks = ceil_div(c->batch, c->batch_block);
    Tiles t = {.samples = c->batch_block, .tiles = {a[0].block, a[1].block, a[2].block}};
    number_tiles(c, &t);
    c->grid = t.in_room, c->tiles = t.out_room;
    c->rows = t.region[0] * t.region[1] * t.grid[2] * a[2].points;
}

/* Tiles of a block, for `elements` of scratch per tile. */
static ptrdiff_t block_tiles(ptrdiff_t elements, ptrdiff_t itemsize) {
    ptrdiff_t n = BLOCK_BYTES / (elements * itemsize);
    return n < FEWEST_TILES ? FEWEST_TILES : smaller(n, MOST_TILES);
}

/* What an axis has after the transform of the weights. */
static ptrdiff_t transformed(const WinogradAxis *a) { return is_summed(a) ? a->taps : a->points; }

/* The number of a point and a tap in U, from its place in a transformed kernel. */
static ptrdiff_t place(const Winograd *c, ptrdiff_t z, ptrdiff_t y, ptrdiff_t x) {
    ptrdiff_t at[3] = {z, y, x}, point = 0, tap = 0;
    for (int i = 0; i < 3; i++) {
        if (is_summed(c->axis + i)) tap = tap * c->axis[i].taps + at[i];
        else point = point * c->axis[i].points + at[i];
    }
    return point * c->taps + tap;
}

/* G, `points` rows of `taps`: rows are the powers of a point over the product of its distances to
   the others. */
static void weight_matrix(ptrdiff_t points, ptrdiff_t taps, double *g) {
    const double four[] = {0, 1, -1}, six[] = {0, P, -P, Q, -Q}, *p = points == 4 ? four : six;
    for (ptrdiff_t i = 0; i < points; i++) {
        double distances = 1, power = 1;
        for (ptrdiff_t j = 0; j < points - 1; j++)
            if (i < points - 1 && j != i) distances *= p[i] - p[j];
        for (ptrdiff_t k = 0; k < taps; k++) {
            g[i * taps + k] = i < points - 1 ? power / distances : k == taps - 1;
            if (i < points - 1) power *= p[i];
        }
    }
    if (points == 1) g[0] = 1;
}

#define REAL float
#include "conv_winograd_kernels.h"
#undef REAL
#define REAL double
#include "conv_winograd_kernels.h"

/* The matrices A^T, B^T and G as the loops apply them, column by column: for a test. */
static void winograd_matrices(ptrdiff_t points, ptrdiff_t tile, double *output, double *input,
                              double *weight) {
    enum { L = SIMD(lanes) };
    WinogradAxis a = {.points = points, .tile = tile};
    SIMD(Steps) one = {L, 0, 0};
    for (ptrdiff_t j = 0; j < points; j++) {
        REAL unit[MOST_POINTS * L] = {0}, result[MOST_POINTS * L] = {0};
        for (int k = 0; k < L; k++) unit[j * L + k] = 1;
        SIMD(transform_lines_in)(&a, 0, 1, 1, unit, one, result, one);
        for (ptrdiff_t i = 0; i < points; i++) input[i * points + j] = result[i * L];
        SIMD(transform_lines_out)(&a, 1, 1, unit, one, result, one);
        for (ptrdiff_t i = 0; i < tile; i++) output[i * points + j] = result[i * L];
    }
    weight_matrix(points, points - tile + 1, weight);
}
#undef REAL
#undef P
#undef Q
#endif
