/* The gradient to the weights of a convolution:
       out[o][k] = sum over positions v of grad[o][v] * slab[offset[k] + place[v]]
   with the slab and the table of conv.h. The lanes of a vector are neighbouring output channels,
   for which a piece of grad is turned so that channels are innermost and the slab is a plain copy,
   or, where few channels or few terms would not pay for the turning, neighbouring positions, for
   which the slab has a plane per tap along W: no product is of something that is not an output.

   A task owns the weights between some input and some output channels and walks through a part of
   the blocks in order. How many parts there are depends on the shapes alone, and their sums are
   added in order: a result is the same for any number of threads. */
#ifndef VOXKERN_CONV_GRADIENT_H
#define VOXKERN_CONV_GRADIENT_H
#include "conv.h"

typedef struct {
    Conv conv;            /* its inputs are those of a task, its out is the result */
    ptrdiff_t all_inputs; /* per group */
    ptrdiff_t in_chunks, out_chunk, out_chunks, parts;
    int along_positions; /* what the lanes are */
    const void *grad;
    void *partial; /* [parts - 1] results of the parts but the first */
} Gradient;

/* Terms of a task, and the parts that the threads of a large machine may share. */
enum { GRADIENT_TERMS = 432, GRADIENT_PARTS = 64 };

/* Even chunks of inputs, enough terms in each to pay for turning grad. */
static void share_inputs(Gradient *q) {
    ptrdiff_t most = GRADIENT_TERMS / q->conv.taps;
    q->in_chunks = most < 2 ? q->all_inputs : ceil_div(q->all_inputs, most);
    q->conv.inputs = ceil_div(q->all_inputs, q->in_chunks);
}

/* Cycles per position, to choose the lanes by: 0.4 to turn an element, half of one for each vector
   of products; along positions, a vector's load and store per sum and line. */
static int lanes_along_positions(const Conv *c, ptrdiff_t length, ptrdiff_t lanes) {
    double vectors = (double)ceil_div(c->outputs, lanes), terms = (double)c->terms;
    double outputs = (double)c->outputs;
    double turned = 0.4 * outputs + 0.5 * terms * vectors;
    double steps = (double)ceil_div(length, lanes) + 2;
    return 0.6 * terms * outputs * steps / (double)length < turned;
}

/* Everything that depends on the shapes alone; `widest` channels fill the widest tile. */
static void plan_gradient(Gradient *q, ptrdiff_t lanes, ptrdiff_t budget, ptrdiff_t widest) {
    Conv *c = &q->conv;
    Axis *a = c->axis;
    ptrdiff_t positions = c->batch * a[0].count * a[1].count * a[2].count;
    merge_axes(a);
    c->in_place = is_trivial(a) && is_trivial(a + 1) && is_trivial(a + 2);
    q->along_positions = lanes_along_positions(c, a[1].count * a[2].count, lanes);
    set_layout(c, q->along_positions ? PER_TAP : WHOLE, !q->along_positions);
    plan_blocks(c, lanes, budget, 0);
    size_slab(c, lanes);
    if (c->in_place) c->slab_size = 0;
    q->out_chunk = widest;
    if (q->along_positions) {
        q->out_chunk = budget / 2 / (c->terms * lanes) / 8 * 8;
        if (q->out_chunk < 8) q->out_chunk = 8;
    }
    if (q->out_chunk > c->outputs) q->out_chunk = c->outputs;
    q->out_chunks = ceil_div(c->outputs, q->out_chunk);
    ptrdiff_t tasks = c->groups * q->in_chunks * q->out_chunks;
    ptrdiff_t items = c->batch * a[0].blocks * a[1].blocks * a[2].blocks;
    q->parts = ceil_div(GRADIENT_PARTS, tasks);
    if (q->parts > items) q->parts = items;
    /* A part of fewer positions is not worth a buffer and its addition. */
    if (q->parts > ceil_div(positions, 2048)) q->parts = ceil_div(positions, 2048);
    c->chunks = 1;
}

#define REAL float
#include "conv_gradient_kernels.h"
#undef REAL
#define REAL double
#include "conv_gradient_kernels.h"
#undef REAL
#endif
