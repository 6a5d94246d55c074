/* Convolution as a sum over an offset table.

   A block of the input is copied into a slab, zeros where the padding is, rearranged so that
   neighbouring outputs read neighbouring elements: along a strided axis the input is split into
   planes, one per residue that a tap uses, and inside of a plane every tap has stride 1. Then
       out[o][v] = sum over k of weight[o][k] * slab[offset[k] + v]
   for every kernel size, stride, padding and dilation, and for one to three axes. Outputs v run
   over the slab's rows as if they were one line: a few at the end of each row are computed from
   what happens to lie there and are not copied out. Along W a plane per tap can be made instead
   (`expand`), which wastes no output and copies more. */
#ifndef VOXKERN_CONV_H
#define VOXKERN_CONV_H
#include <stdlib.h>
#include <string.h>
#include "simd.h"
#include "stream.h"

typedef struct {
    ptrdiff_t size;     /* of the input */
    ptrdiff_t count;    /* of the output */
    ptrdiff_t step;     /* input elements from one output to the next */
    ptrdiff_t out_step; /* elements of `out` from one output to the next */
    ptrdiff_t taps;
    ptrdiff_t *offset; /* [taps] input position of each tap at output 0 */
    ptrdiff_t planes;  /* planes of the slab along this axis */
    ptrdiff_t *origin; /* [taps] input position of element 0 of each plane at output 0 */
    ptrdiff_t *plane;  /* [taps] the plane that each tap reads */
    ptrdiff_t *shift;  /* [taps] its element at output 0 */
    ptrdiff_t span;    /* the largest shift */
    ptrdiff_t block;   /* outputs per block */
    ptrdiff_t blocks;
    ptrdiff_t length; /* block + span: elements of a plane */
} Axis;

typedef struct {
    Axis axis[3];
    ptrdiff_t batch, groups;
    ptrdiff_t inputs, outputs;      /* channels per group */
    ptrdiff_t taps, terms;          /* of the kernel; inputs * taps */
    ptrdiff_t chunk, chunks;        /* output channels of a work item, and items per block */
    ptrdiff_t *offset;              /* [terms] */
    ptrdiff_t plane_size;           /* slab elements of one plane along D: its H and W planes */
    ptrdiff_t slab_size, line_size; /* elements of a slab; of a line of outputs, whole vectors */
    const void *x, *weight, *bias;
    void *out;
    ptrdiff_t out_batch, out_channel;
    int activation; /* apply the leaky rectifier of this slope to the outputs */
    double slope;
    int past_cache; /* write `out` around the cache */
} Conv;

static ptrdiff_t ceil_div(ptrdiff_t a, ptrdiff_t b) { return (a + b - 1) / b; }

static ptrdiff_t floor_div(ptrdiff_t a, ptrdiff_t b) { return a >= 0 ? a / b : -ceil_div(-a, b); }

/* Lay an axis out in planes: one per residue in use, or one per tap. */
static void plan_axis(Axis *a, int expand) {
    ptrdiff_t lowest = floor_div(a->offset[0], a->step);
    for (ptrdiff_t t = 1; t < a->taps; t++) {
        ptrdiff_t q = floor_div(a->offset[t], a->step);
        if (q < lowest) lowest = q;
    }
    a->planes = a->span = 0;
    for (ptrdiff_t t = 0; t < a->taps; t++) {
        ptrdiff_t q = floor_div(a->offset[t], a->step);
        ptrdiff_t origin = expand ? a->offset[t] : a->offset[t] - (q - lowest) * a->step, p = 0;
        if (expand) p = a->planes;
        else
            while (p < a->planes && a->origin[p] != origin) p++;
        if (p == a->planes) a->origin[a->planes++] = origin;
        a->plane[t] = p;
        a->shift[t] = expand ? 0 : q - lowest;
        if (a->shift[t] > a->span) a->span = a->shift[t];
    }
}

static ptrdiff_t slab_elements(const Conv *c, ptrdiff_t z, ptrdiff_t y, ptrdiff_t x) {
    const Axis *a = c->axis;
    return c->inputs * a[0].planes * (z + a[0].span) * a[1].planes * (y + a[1].span) * a[2].planes *
           (x + a[2].span);
}

/* Cycles per output of a block: half a cycle per element packed, a vector multiply-add per half
   cycle. Only the order of the costs matters. */
static double block_cost(const Conv *c, ptrdiff_t z, ptrdiff_t y, ptrdiff_t x, ptrdiff_t lanes) {
    double line = (double)ceil_div((y - 1) * (x + c->axis[2].span) + x, lanes);
    double packed = 0.5 * (double)slab_elements(c, z, y, x);
    double products = 0.5 * (double)z * line * (double)c->terms * (double)c->outputs;
    return (packed + products) / ((double)z * (double)y * (double)x);
}

static int is_trivial(const Axis *a) {
    return a->taps == 1 && a->offset[0] == 0 && a->step == 1 && a->count == a->size;
}

/* Axes that the kernel does not extend along are one axis: its rows are long, whatever W is. */
static void merge_axes(Axis *a) {
    for (int i = 1; i >= 0 && is_trivial(a + 2) && is_trivial(a + i); i--) {
        if (a[i].count > 1 && a[i].out_step != a[2].count * a[2].out_step) return;
        a[2].size = a[2].count = a[2].count * a[i].count;
        a[i].size = a[i].count = 1;
    }
}

/* Even blocks of at most `block` outputs. */
static void set_block(Axis *a, ptrdiff_t block) {
    a->blocks = ceil_div(a->count, block);
    a->block = ceil_div(a->count, a->blocks);
    a->length = a->block + a->span;
}

/* Choose the cheapest block whose slab has at most `budget` elements; one output if none has. */
static double plan_blocks(Conv *c, ptrdiff_t lanes, ptrdiff_t budget) {
    Axis *a = c->axis;
    ptrdiff_t best[3] = {1, 1, 1}, x = a[2].count;
    while (x > lanes && (x > 4096 || slab_elements(c, 1, 1, x) > budget)) x = ceil_div(x, 2);
    best[2] = x;
    double lowest = block_cost(c, 1, 1, x, lanes);
    for (ptrdiff_t z = 1; z <= a[0].count && z <= 8; z++)
        for (ptrdiff_t y = 1; y <= a[1].count && slab_elements(c, z, y, x) <= budget; y++) {
            double cost = block_cost(c, z, y, x, lanes);
            if (cost < lowest) lowest = cost, best[0] = z, best[1] = y;
        }
    for (int i = 0; i < 3; i++) set_block(a + i, best[i]);
    return lowest;
}

static void size_slab(Conv *c, ptrdiff_t lanes) {
    const Axis *a = c->axis;
    c->plane_size = a[1].planes * a[2].planes * a[1].length * a[2].length;
    ptrdiff_t line = (a[1].block - 1) * a[2].length + a[2].block;
    c->line_size = ceil_div(line, lanes) * lanes;
    /* The last vector may reach past the end. */
    c->slab_size = c->inputs * a[0].planes * a[0].length * c->plane_size + lanes;
}

/* Everything that depends on the shapes alone. `expand` < 0 leaves the layout along W to the cost;
   0 makes no axis a plane per tap, 1 makes all three (im2col in blocks). */
static void plan(Conv *c, ptrdiff_t lanes, ptrdiff_t budget, int expand) {
    Axis *a = c->axis;
    merge_axes(a);
    for (int i = 0; i < 3; i++) plan_axis(a + i, expand > 0);
    double cost = plan_blocks(c, lanes, budget);
    if (expand < 0 && a[2].span) {
        plan_axis(a + 2, 1);
        if (plan_blocks(c, lanes, budget) >= cost) {
            plan_axis(a + 2, 0);
            plan_blocks(c, lanes, budget);
        }
    }
    size_slab(c, lanes);
}

/* For the gradient of the weights: a plane per tap along W, so that rows of outputs are contiguous
   and no product is of something that is not an output. */
static void plan_gradient(Conv *c, ptrdiff_t lanes, ptrdiff_t budget) {
    for (int i = 0; i < 3; i++) plan_axis(c->axis + i, i == 2);
    plan_blocks(c, lanes, budget);
    size_slab(c, lanes);
}

/* The table: where each term of the sum lies in the slab, for output 0. */
static void fill_offsets(const Conv *c) {
    const Axis *a = c->axis;
    ptrdiff_t channel = a[0].planes * a[0].length * c->plane_size, *offset = c->offset;
    for (ptrdiff_t i = 0; i < c->inputs; i++)
        for (ptrdiff_t d = 0; d < a[0].taps; d++)
            for (ptrdiff_t h = 0; h < a[1].taps; h++)
                for (ptrdiff_t w = 0; w < a[2].taps; w++)
                    *offset++ = i * channel +
                                (a[0].plane[d] * a[0].length + a[0].shift[d]) * c->plane_size +
                                ((a[1].plane[h] * a[2].planes + a[2].plane[w]) * a[1].length +
                                 a[1].shift[h]) *
                                    a[2].length +
                                a[2].shift[w];
}

typedef struct {
    ptrdiff_t n, g, chunk, start[3], count[3];
} Item;

/* Which block an item is: sample, group, output channels, and outputs along each axis. */
static Item find_item(const Conv *c, ptrdiff_t index) {
    Item item;
    item.chunk = index % c->chunks, index /= c->chunks;
    for (int i = 2; i >= 0; i--) {
        const Axis *a = c->axis + i;
        item.start[i] = index % a->blocks * a->block, index /= a->blocks;
        ptrdiff_t left = a->count - item.start[i];
        item.count[i] = left < a->block ? left : a->block;
    }
    item.g = index % c->groups, item.n = index / c->groups;
    return item;
}

#define REAL float
#include "conv_kernels.h"
#undef REAL
#define REAL double
#include "conv_kernels.h"
#undef REAL
#endif
