/* Transposed convolution as a matrix product whose results are added where they belong:
       column[o, tap][p] = sum over inputs i of weight[i][o, tap] * x[i][p]
       out[o][stride*p + dilation*tap - padding] += column[o, tap][p]
   Against conv_transposed.h it multiplies nothing but what is needed, reads weights and input as
   they lie in memory, and fills tiles however few the output channels are; the price is an addition
   per column, so that it pays for many inputs or where no two columns meet.

   A chunk of positions and a block of columns are made at a time. Chunks begin at the same positions
   whichever part of the outputs a task owns: a result is the same for any number of threads. */
#ifndef VOXKERN_CONV_SCATTER_H
#define VOXKERN_CONV_SCATTER_H
#include "conv_transposed.h"

typedef struct {
    ptrdiff_t batch, groups, inputs, outputs; /* channels per group */
    ptrdiff_t size[3], out_size[3], kernel[3], stride[3], padding[3], dilation[3];
    ptrdiff_t positions, lines; /* of an input channel; of columns: an output's taps along W each */
    ptrdiff_t chunk, block;     /* positions, and lines, at a time */
    ptrdiff_t *offset;          /* [inputs] of each in a panel of PANEL_VECTORS */
    int split;                  /* the axis whose outputs tasks share, in `parts` */
    ptrdiff_t parts, shares;    /* `shares` of the channels */
    int once;                   /* every output is one column: nothing is added */
    int few;                    /* so few positions that the lanes are columns */
    int past_cache;             /* write `out` around the cache */
    const void *x, *weight, *bias;
    void *out;
} Scatter;

/* Vectors of a panel; columns of a block, at least those of a line; positions of a chunk by what
   they take beside the weights of a block. */
#ifdef SIMD_UNFUSED
enum { PANEL_VECTORS = 2 };
#else
enum { PANEL_VECTORS = 3 };
#endif
enum { BLOCK_COLUMNS = 64 };

/* Everything that depends on the shapes alone. */
static void plan_scatter(Scatter *q, ptrdiff_t lanes, ptrdiff_t budget) {
    ptrdiff_t panel = PANEL_VECTORS * lanes, width = q->kernel[2];
    q->positions = q->size[0] * q->size[1] * q->size[2];
    q->lines = q->outputs * q->kernel[0] * q->kernel[1];
    q->block = even_block(q->lines, width < BLOCK_COLUMNS ? BLOCK_COLUMNS / width : 1);
    q->few = q->positions <= smaller(ROWS, lanes);
    ptrdiff_t most = budget / (q->inputs + q->block * width) / panel;
    q->chunk = even_block(ceil_div(q->positions, panel), most < 1 ? 1 : most) * panel;
    q->split = q->out_size[0] > 1 ? 0 : q->out_size[1] > 1 ? 1 : 2;
    q->once = 1;
    for (int i = 0; i < 3; i++)
        if (q->kernel[i] != q->stride[i] ||
            q->out_size[i] > q->size[i] * q->stride[i] - q->padding[i] ||
            (q->dilation[i] > 1 && q->kernel[i] > 1))
            q->once = 0;
    for (ptrdiff_t i = 0; i < q->inputs; i++) q->offset[i] = i * panel;
}

/* What `threads` share where there are too few samples and groups: positions if there are many,
   else channels. */
static void share_scatter(Scatter *q, ptrdiff_t threads) {
    ptrdiff_t tasks = ceil_div(4 * threads, q->batch * q->groups);
    int many = ceil_div(q->positions, q->chunk) >= 2 * tasks;
    if (threads == 1) tasks = 1;
    q->parts = many ? smaller(tasks, q->out_size[q->split]) : 1;
    q->shares = many ? 1 : smaller(tasks, q->outputs);
}

/* The outputs that a task owns: a sample, a group, some of its channels, and a box. */
typedef struct {
    ptrdiff_t n, g, first, last, begin[3], end[3];
} Share;

static Share find_share(const Scatter *q, ptrdiff_t task) {
    ptrdiff_t part = task % q->parts, all = q->out_size[q->split];
    task /= q->parts;
    ptrdiff_t share = task % q->shares;
    task /= q->shares;
    Share s = {.n = task / q->groups, .g = task % q->groups};
    s.first = q->outputs * share / q->shares, s.last = q->outputs * (share + 1) / q->shares;
    for (int i = 0; i < 3; i++) s.begin[i] = 0, s.end[i] = q->out_size[i];
    s.begin[q->split] = all * part / q->parts, s.end[q->split] = all * (part + 1) / q->parts;
    return s;
}

/* Whether positions [v, v + n) reach an output of the share. */
static int reaches(const Scatter *q, const Share *s, ptrdiff_t v, ptrdiff_t n) {
    int i = q->split; /* the axes before are of one output, though not always of one position */
    ptrdiff_t inner = i < 2 ? q->size[2] * (i < 1 ? q->size[1] : 1) : 1;
    ptrdiff_t first = v / inner, last = (v + n - 1) / inner;
    if (first / q->size[i] != last / q->size[i]) return 1;
    first %= q->size[i], last %= q->size[i];
    return last * q->stride[i] + (q->kernel[i] - 1) * q->dilation[i] - q->padding[i] >=
               s->begin[i] &&
           first * q->stride[i] - q->padding[i] < s->end[i];
}

#define REAL float
#include "conv_scatter_kernels.h"
#undef REAL
#define REAL double
#include "conv_scatter_kernels.h"
#undef REAL
#endif
