/* Convolution as a product of matrices, im2col in blocks.

   The outputs of all samples are numbered as one line of positions. Of a block of them the inputs
   under each tap are copied to columns, a panel of a few positions at a time, and
       out[o][p] = sum over k of weight[o][k] * column[k][p],   k = (tap, channel).
   No vector is spent on the ends of rows and samples, however small they are. Where much of what
   the taps meet is padding, outputs are divided in zones that the same taps reach, and no product
   of a zone is with zeros.

   The vectors of a tile lie along the positions, its rows along the channels (a tall tile of conv.h
   with weights for inputs and inputs for weights), or, where positions are few, the other way. */
#ifndef VOXKERN_CONV_COLUMNS_H
#define VOXKERN_CONV_COLUMNS_H
#include "conv.h"

enum { BY_POSITION = 1, BY_CHANNEL }; /* along which the vectors lie */
enum {
    MOST_RANGES = 8,
    MOST_SPLIT = 64,      /* outputs of an axis that is divided: in more, padding is a small part */
    PART = 256,           /* terms per partial sum: a panel of columns fits the first-level cache */
    MOST_POSITIONS = 256, /* of a block */
    MOST_WEIGHTS = 1 << 18, /* bytes of them that are read panel after panel */
    SHORT_RUN = 8,          /* neighbouring inputs are copied as such from this length on */
    PANEL_ROWS = 2 * LANES > ROWS ? 2 * LANES : ROWS /* positions of a panel, at most */
};
#define CHANNELS WIDTH(ROWS) /* vectors of a tile along the channels, at most */

/* Outputs along an axis that the same taps reach. */
typedef struct {
    ptrdiff_t start, count, tap, taps;
} Range;

typedef struct {
    const Range *axis[3];
    ptrdiff_t positions, terms;
} Zone;

typedef struct {
    Conv conv;
    int kind; /* BY_POSITION or BY_CHANNEL; 0: a slab is cheaper */
    int ranges[3];
    Range range[3][MOST_RANGES];
    ptrdiff_t width;  /* positions of a panel */
    ptrdiff_t block;  /* positions whose columns are packed together */
    ptrdiff_t blocks; /* of all zones */
    ptrdiff_t chunk;  /* terms that are packed together */
    ptrdiff_t part;   /* terms per partial sum */
    ptrdiff_t panel;  /* blocks of channels whose sums are kept together */
} Columns;

static int zones(const Columns *q) { return q->ranges[0] * q->ranges[1] * q->ranges[2]; }

static Zone find_zone(const Columns *q, int i) {
    Zone z = {.positions = q->conv.batch, .terms = q->conv.inputs};
    for (int a = 2; a >= 0; i /= q->ranges[a--]) z.axis[a] = q->range[a] + i % q->ranges[a];
    for (int a = 0; a < 3; a++) z.positions *= z.axis[a]->count, z.terms *= z.axis[a]->taps;
    return z;
}

/* Divide an axis where its outputs begin or cease to meet padding; in one range if in too many. */
static int find_ranges(const Axis *a, int divided, Range *range) {
    int ranges = 0;
    for (ptrdiff_t o = 0; divided && o < a->count && a->count <= MOST_SPLIT; o++) {
        ptrdiff_t tap, end;
        reached_taps(a, o, &tap, &end);
        Range *last = range + ranges - 1;
        if (ranges && last->tap == tap && last->taps == end - tap) {
            last->count++;
            continue;
        }
        if (ranges == MOST_RANGES) ranges = 0, o = a->count;
        else range[ranges++] = (Range){o, 1, tap, end - tap};
    }
    if (ranges) return ranges;
    *range = (Range){0, a->count, 0, a->taps};
    return 1;
}

/* Outputs next to one another, of one row of a zone. */
typedef struct {
    ptrdiff_t from, count, sample, at[3];
} Run;

/* The runs of positions [p, p + n) of a zone. */
static int find_runs(const Zone *zone, ptrdiff_t p, ptrdiff_t n, Run *run) {
    const Range *d = zone->axis[0], *h = zone->axis[1], *w = zone->axis[2];
    ptrdiff_t x = p % w->count, row = p / w->count, y = row % h->count, plane = row / h->count;
    ptrdiff_t z = plane % d->count, sample = plane / d->count;
    int runs = 0;
    for (ptrdiff_t from = 0, count; from < n; from += count, x = 0, y++) {
        if (y == h->count) y = 0, z++;
        if (z == d->count) z = 0, sample++;
        count = smaller(w->count - x, n - from);
        run[runs++] = (Run){from, count, sample, {d->start + z, h->start + y, w->start + x}};
    }
    return runs;
}

/* The places of runs in a channel of `out`. */
static int place_runs(const Conv *c, const Run *run, int runs, Piece *piece) {
    const Axis *a = c->axis;
    int pieces = 0;
    for (; runs > 0; runs--, run++) {
        ptrdiff_t to = run->sample * c->out_batch;
        for (int i = 0; i < 3; i++) to += run->at[i] * a[i].out_step;
        Piece *last = piece + pieces - 1;
        if (pieces && last->to + last->count * a[2].out_step == to) last->count += run->count;
        else piece[pieces++] = (Piece){run->from, to, run->count};
    }
    return pieces;
}

static ptrdiff_t round_up(ptrdiff_t n, ptrdiff_t unit) { return ceil_div(n, unit) * unit; }

/* Outputs of a zone next to one another in a channel of `out`. */
static ptrdiff_t run_length(const Conv *c, const Zone *z) {
    ptrdiff_t n = z->axis[2]->count;
    for (int i = 2; i > 0 && z->axis[i]->count == c->axis[i].count; i--) n *= z->axis[i - 1]->count;
    return n;
}

/* Cycles of a zone, as block_cost has them: a vector of products takes half a cycle if eight or more
   sums are under way, to copy an input 2 in short runs (many come from the second-level cache) and
   .3 in whole panels, to deliver an output .1 from a tile of whole runs, 1 and more by way of the
   cache. */
static double zone_cost(const Columns *q, const Zone *z, ptrdiff_t lanes) {
    const Conv *c = &q->conv;
    int by_channel = q->kind == BY_CHANNEL;
    ptrdiff_t panel = by_channel ? lanes : 2 * lanes, run = z->axis[2]->count;
    double positions = (double)z->positions, outputs = (double)c->outputs;
    double vectors = by_channel ? positions * (double)ceil_div(c->outputs, lanes)
                                : (double)ceil_div(z->positions, lanes) * outputs;
    double sums =
        by_channel
            ? (double)(smaller(z->positions, ROWS) * smaller(ceil_div(c->outputs, lanes), CHANNELS))
            : (double)(smaller(c->outputs, TALL) * smaller(ceil_div(z->positions, lanes), 2));
    double product = sums < 8 ? 4 / sums : 0.52;
    double copied =
        run < SHORT_RUN ? 2 : (c->axis[2].step > 1 ? 1.2 : 0.5) + 6 / (double)smaller(run, panel);
    double delivered = 8 / (double)smaller(run_length(c, z), panel) + (by_channel ? 1 : 0.1);
    if (!by_channel && c->axis[2].step == 1 && run >= 8 * panel) copied = 0.3, delivered = 0.1;
    if (c->past_cache) delivered += 1.2;
    copied += 90 / (double)(smaller(run, panel) * c->inputs); /* to find runs, tap by tap */
    return (double)z->terms * (product * vectors + positions * copied) +
           positions * outputs * delivered;
}

/* Cycles per output position. */
static double columns_cost(const Columns *q, ptrdiff_t lanes) {
    const Axis *a = q->conv.axis;
    double cost = 0;
    for (int i = 0; i < zones(q); i++) {
        Zone z = find_zone(q, i);
        cost += zone_cost(q, &z, lanes);
    }
    return cost / (double)(q->conv.batch * a[0].count * a[1].count * a[2].count);
}

/* Sizes of blocks: columns and sums stay in the second-level cache together. */
static void size_columns(Columns *q, ptrdiff_t lanes, ptrdiff_t most_elements) {
    Conv *c = &q->conv;
    int by_channel = q->kind == BY_CHANNEL;
    ptrdiff_t most = by_channel ? CHANNELS * lanes : TALL;
    c->rows = even_block(c->outputs, most);
    if (by_channel) c->rows = round_up(c->rows, lanes);
    c->row_blocks = ceil_div(c->outputs, c->rows);
    c->weights = c->terms;
    c->dots = 0;
    q->width = by_channel ? ROWS : 2 * lanes;
    q->part = even_block(c->terms, PART);
    ptrdiff_t sums = smaller(c->rows * c->row_blocks, most_elements / q->width);
    q->panel = sums / c->rows;
    q->block = smaller(smaller(most_elements / sums, most_elements / PART), MOST_POSITIONS) /
               q->width * q->width;
    q->chunk = smaller(most_elements / q->block / q->part * q->part, round_up(c->terms, q->part));
    q->blocks = 0;
    for (int i = 0; i < zones(q); i++) q->blocks += ceil_div(find_zone(q, i).positions, q->block);
}

static void set_kind(Columns *q, int kind, int divided) {
    q->kind = kind;
    for (int i = 0; i < 3; i++) q->ranges[i] = find_ranges(q->conv.axis + i, divided, q->range[i]);
}

/* Columns of the order of others. */
static int set_order(Columns *q, const Order *order) {
    q->kind = order->columns;
    for (int i = 0; i < 3; i++)
        q->ranges[i] = find_ranges(q->conv.axis + i, order->divided[i], q->range[i]);
    return q->kind;
}

/* The order of the sums of a convolution that is planned. */
static Order find_order(const Columns *q) {
    const Conv *c = &q->conv;
    Order o = {c->part, c->strided || c->channels ? c->terms : c->block, c->dots, q->kind, {0}};
    for (int i = 0; i < 3; i++)
        o.divided[i] = q->ranges[i] > 1 || q->range[i]->taps < c->axis[i].taps;
    return o;
}

/* Cycles per output position of a slab: more for what the estimate has beyond the fewest products,
   and what runs of outputs and blocks take that it leaves out. Fitted, as the other side is, to 190
   random shapes, in each of which the slab and four kinds of columns were timed: what is chosen took
   3 % longer than the best of them, the slab alone 19 %. */
static double slab_cost(const Conv *c, double estimate, ptrdiff_t lanes) {
    const Axis *a = c->axis;
    double row = (double)a[2].block, plane = row * (double)a[1].block;
    double run = a[2].span == 0 && a[2].spread == 1 ? plane : row;
    double products = 0.5 * (double)c->outputs * (double)c->terms / (double)lanes;
    if (c->in_place) return 1.05 * products + 0.3 * (double)c->outputs + 150 / plane;
    return 1.05 * products + 1.7 * (estimate - products) + 10 * (double)c->outputs / run +
           500 / (plane * (double)a[0].block);
}

/* Plan a convolution: in columns if `forced`, or the cheapest of a slab, columns and neither. */
static void plan_columns(Columns *q, ptrdiff_t lanes, ptrdiff_t budget, int forced) {
    Conv *c = &q->conv;
    ptrdiff_t inputs = c->inputs; /* of a slab they may be vectors */
    double lowest = slab_cost(c, plan(c, lanes, budget), lanes), cost;
    ptrdiff_t planned = c->inputs;
    int kind = 0, divided = 0;
    if (c->channels && !forced) return;
    c->inputs = inputs;
    double strided = c->order && !is_one_sum(c) ? HUGE_VAL : strided_cost(c, lanes);
    if (strided < lowest) lowest = strided;
    if (c->channels) c->groups = c->channels, c->channels = 0;
    for (int i = 0; i < 4 && !c->order; i++) {
        set_kind(q, i % 2 ? BY_CHANNEL : BY_POSITION, i / 2);
        cost = columns_cost(q, lanes);
        if (cost < lowest || (forced && !kind)) lowest = cost, kind = q->kind, divided = i / 2;
    }
    set_kind(q, kind, divided);
    if (c->order && c->order->columns) kind = set_order(q, c->order);
    if (kind) size_columns(q, lanes, budget / 2);
    else if (strided <= lowest) plan_strided(c, budget);
    else c->inputs = planned;
}

#define REAL float
#include "conv_columns_kernels.h"
#undef REAL
#define REAL double
#include "conv_columns_kernels.h"
#undef REAL
#endif
