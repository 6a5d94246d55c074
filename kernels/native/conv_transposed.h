/* Transposed convolution, without zeros inserted or multiplied.

   Outputs of one residue modulo the stride see a fixed subset of the taps, and every tap belongs
   to one residue: each residue is a convolution of stride 1. They share a slab (see conv.h), and
   the lines of the residues along W are interleaved on the way out, so that rows are written
   whole. */
#ifndef VOXKERN_CONV_TRANSPOSED_H
#define VOXKERN_CONV_TRANSPOSED_H
#include "conv.h"

typedef struct {
    Conv conv;              /* it counts outputs of one residue; its steps are of single outputs */
    ptrdiff_t size[3];      /* of the output */
    ptrdiff_t residues[3];  /* that outputs have, along each axis */
    ptrdiff_t *first[3];    /* [residues + 1] how many taps have a lower residue */
    ptrdiff_t *tap[3];      /* [taps] the kernel's taps by residue; those of no output come last */
    ptrdiff_t taps;         /* that reach an output */
    ptrdiff_t *source;      /* [taps] which of the kernel's taps each is, by residue */
    ptrdiff_t *lowest;      /* [taps] the first tap of its residue */
    ptrdiff_t *width;       /* [taps] how many taps its residue has */
    ptrdiff_t fold;         /* rows of H to a plane, where D and H are one axis of the slab */
    ptrdiff_t rows;         /* rows of H to a line */
    ptrdiff_t line, buffer; /* elements of a line, and of a row of outputs */
} Transposed;

/* Sort the taps of an axis by residue, and note the input that each reads for output 0. */
static void sort_taps(Transposed *t, int axis, ptrdiff_t stride, ptrdiff_t padding,
                      ptrdiff_t dilation) {
    Axis *a = t->conv.axis + axis;
    ptrdiff_t n = 0, residues = t->residues[axis];
    for (ptrdiff_t r = 0; r <= residues; r++) {
        t->first[axis][r] = n;
        for (ptrdiff_t k = 0; k < a->taps; k++) {
            ptrdiff_t place = k * dilation - padding, quotient = floor_div(place, stride);
            ptrdiff_t residue = place - quotient * stride;
            if (residue != r && (r < residues || residue < r)) continue;
            a->offset[n] = -quotient, t->tap[axis][n++] = k;
        }
    }
}

static int reads_in_place(const Axis *a) {
    for (ptrdiff_t t = 0; t < a->taps; t++)
        if (a->offset[t]) return 0;
    return a->count == a->size;
}

/* Everything that depends on the shapes alone; a line of each residue of ROWS output channels
   should take at most a sixteenth of the `budget`. */
static void plan_transposed(Transposed *t, ptrdiff_t lanes, ptrdiff_t budget) {
    Conv *c = &t->conv;
    Axis *a = c->axis;
    t->fold = a[1].count;
    if (reads_in_place(a) && reads_in_place(a + 1)) { /* longer lines where planes are small */
        a[1].size = a[1].count = a[0].count * a[1].count;
        a[0].size = a[0].count = 1;
    }
    c->line_start = 0.5;
    set_layout(c, PER_TAP, 0);
    double cost = plan_blocks(c, lanes, budget, 0);
    set_layout(c, SPLIT, 0);
    if (plan_blocks(c, lanes, budget, 0) > cost && a[2].span) {
        set_layout(c, PER_TAP, 0);
        plan_blocks(c, lanes, budget, 0);
    }
    size_slab(c, lanes);
    plan_rows(c, lanes);
    t->rows = budget / 16 / (t->residues[2] * ROWS * a[2].length);
    t->rows = t->rows < 1 ? 1 : t->rows < a[1].block ? t->rows : a[1].block;
    t->line = ceil_div((t->rows - 1) * a[2].length + a[2].block, lanes) * lanes;
    t->buffer = (ceil_div(t->residues[2] * a[2].block, lanes) + 4) * lanes;
}

/* The terms of one residue, as a range of taps along each axis. */
typedef struct {
    ptrdiff_t begin[3], end[3], before, taps; /* `before`: taps of the residues before this one */
} Phase;

static Phase find_phase(const Transposed *t, ptrdiff_t d, ptrdiff_t h, ptrdiff_t w) {
    const ptrdiff_t residue[3] = {d, h, w};
    Phase p = {.before = 0, .taps = 1};
    for (int i = 0; i < 3; i++) {
        p.begin[i] = t->first[i][residue[i]], p.end[i] = t->first[i][residue[i] + 1];
        p.before = p.before * t->first[i][t->residues[i]] + p.taps * p.begin[i];
        p.taps *= p.end[i] - p.begin[i];
    }
    return p;
}

/* The tables: the terms of one residue after those of another. */
static void fill_phases(Transposed *t) {
    const Conv *c = &t->conv;
    const Axis *a = c->axis;
    ptrdiff_t *offset = c->offset, tap = 0;
    for (ptrdiff_t d = 0; d < t->residues[0]; d++)
        for (ptrdiff_t h = 0; h < t->residues[1]; h++)
            for (ptrdiff_t w = 0; w < t->residues[2]; w++) {
                Phase p = find_phase(t, d, h, w);
                ptrdiff_t first = tap;
                for (ptrdiff_t i = 0; i < c->inputs; i++) {
                    tap = first;
                    for (ptrdiff_t z = p.begin[0]; z < p.end[0]; z++)
                        for (ptrdiff_t y = p.begin[1]; y < p.end[1]; y++)
                            for (ptrdiff_t x = p.begin[2]; x < p.end[2]; x++, tap++) {
                                ptrdiff_t row = t->tap[0][z] * a[1].taps + t->tap[1][y];
                                t->source[tap] = row * a[2].taps + t->tap[2][x];
                                t->lowest[tap] = first;
                                t->width[tap] = p.taps;
                                *offset++ = term_offset(c, i, z, y, x, 0);
                            }
                }
            }
    t->taps = tap;
}

#define REAL float
#include "conv_transposed_kernels.h"
#undef REAL
#define REAL double
#include "conv_transposed_kernels.h"
#undef REAL
#endif
