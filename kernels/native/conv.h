/* Convolution as a sum over an offset table.

   A block of the input is copied into a slab, zeros where the padding is, rearranged so that
   neighbouring outputs read neighbouring elements: along a strided axis the input is split into
   planes, one per residue that a tap uses, and inside of a plane every tap has stride 1. Then
       out[o][v] = sum over k of weight[o][k] * slab[offset[k] + v]
   for every kernel size, stride, padding and dilation, and for one to three axes. Outputs v run
   over the slab's rows as if they were one line: a few at the end of each row are computed from
   what happens to lie there and are not copied out. Along W a plane per tap can be made instead
   (PER_TAP), which wastes no output and copies more. */
#ifndef VOXKERN_CONV_H
#define VOXKERN_CONV_H
#include <stdlib.h>
#include <string.h>
#include "simd.h"
#include "split.h"
#include "stream.h"

/* The largest tiles: ROWS output channels, STRETCH vectors of outputs; tall ones: TALL outputs, two
   vectors of channels. A PANEL of weights stays in
   the second-level cache beside a slab. */
#define ROWS (SIMD_REGISTERS == 32 ? 8 : 4)
#define TALL (SIMD_REGISTERS == 32 ? 14 : 6)
enum { STRETCH = 8, PANEL = 64 * 1024, LANES = lanes_float };
enum { MOST_TERMS = 512 }; /* per partial sum */
enum { MOST_OFFSETS = 8192 };
enum { ROWS_AHEAD = 6 }; /* of the input, fetched before they are copied */
/* Outputs of a depthwise convolution that are turned together, unless a row is longer. */
enum { MOST_TURNED = 128 };
/* Vectors of sums of a tile that has time to fetch: in a smaller one a load more counts. */
enum { FETCHING = 20 };
/* Sums over vectors of input channels: the largest tile, and terms whose weights stay in the
   first-level cache: 1.2 times as fast as all of them at once. */
enum { DOT_TERMS = 96 };
#define DOT_POSITIONS (SIMD_REGISTERS == 32 ? 6 : 3)
#define DOT_ROWS (SIMD_REGISTERS == 32 ? 4 : 3)

typedef struct {
    ptrdiff_t size;     /* of the input */
    ptrdiff_t count;    /* of the output */
    ptrdiff_t step;     /* input elements from one output to the next */
    ptrdiff_t spread;   /* slab elements from one output to the next: 1, or step if not split */
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
    ptrdiff_t length; /* elements of a plane */
} Axis;

/* How the terms of a sum are added: results of the same order have the same bits. */
typedef struct {
    ptrdiff_t part, block; /* as in Conv */
    int dots;
    int columns; /* the kind of Columns, or 0 */
    int divided[3];
} Order;

typedef struct {
    Axis axis[3];
    const Order *order; /* that the sums must have, or NULL */
    ptrdiff_t batch, groups;
    ptrdiff_t inputs, outputs;       /* channels per group */
    ptrdiff_t part, parts;           /* inputs of a slab; slabs one after the other for one block */
    int rolling;                     /* blocks of a work item may keep planes of the slab */
    ptrdiff_t ring, run;             /* of the slab along D if they do, or 0; blocks of an item */
    ptrdiff_t kept;                  /* sums of a block, from one of these slabs to the next */
    ptrdiff_t taps, terms;           /* of the kernel; inputs * taps */
    ptrdiff_t rows, row_blocks;      /* the most channels of a tile; the tiles of a group's */
    ptrdiff_t least_rows, more_rows; /* the fewest; how many tiles have one more */
    ptrdiff_t weights;               /* packed, of a row */
    ptrdiff_t chunk, chunks;         /* blocks of rows of a work item, and items per block */
    ptrdiff_t panel;                 /* blocks of rows whose weights stay in the cache together */
    double line_start;    /* vectors of products in the time that weights of a line take */
    ptrdiff_t block;      /* terms per partial sum */
    ptrdiff_t *offset;    /* [terms of a slab]; of a ring, for each plane that may come first */
    ptrdiff_t plane_size; /* slab elements of one plane along D: its H and W planes */
    ptrdiff_t slab_size;  /* elements of a slab */
    const void *x, *bias;
    const void *weight; /* [channel][term] */
    const void *packed; /* the same as the tiles read them */
    void *out;
    ptrdiff_t out_batch, out_channel;
    int accumulate; /* add to what `out` holds, before the activation: see is_pointwise */
    int activation; /* apply the leaky rectifier of this slope to the outputs */
    double slope;
    int past_cache; /* write `out` around the cache */
    int in_place;   /* read `x` itself, not a slab */
    int flipped;    /* weight is [input][channel][tap], the taps in reverse */
    int tall;       /* tiles of vectors of channels, not of outputs */
    int strided;    /* read every second element of `x` itself */
    int dots;       /* tiles of vectors of input channels: `inputs` counts these */
    ptrdiff_t
        channels; /* if depthwise: a group is a vector of these, and so an element of a slab */
} Conv;

static ptrdiff_t floor_div(ptrdiff_t a, ptrdiff_t b) { return a >= 0 ? a / b : -ceil_div(-a, b); }

/* How an axis is laid out in the slab: as it is, split in planes, one per residue in use, or a plane
   per tap. */
enum { WHOLE, SPLIT, PER_TAP };

static void plan_axis(Axis *a, int layout) {
    a->spread = layout == WHOLE ? a->step : 1;
    ptrdiff_t unit = a->step / a->spread, lowest = floor_div(a->offset[0], unit);
    for (ptrdiff_t t = 1; t < a->taps; t++) {
        ptrdiff_t q = floor_div(a->offset[t], unit);
        if (q < lowest) lowest = q;
    }
    a->planes = a->span = 0;
    for (ptrdiff_t t = 0; t < a->taps; t++) {
        ptrdiff_t shift = layout == PER_TAP ? 0 : floor_div(a->offset[t], unit) - lowest;
        ptrdiff_t origin = a->offset[t] - shift * unit, p = 0;
        while (p < a->planes && a->origin[p] != origin) p++;
        if (p == a->planes) a->origin[a->planes++] = origin;
        a->plane[t] = p;
        a->shift[t] = shift;
        if (shift > a->span) a->span = shift;
    }
}

/* Elements of a plane for `block` outputs. */
static ptrdiff_t plane_length(const Axis *a, ptrdiff_t block) {
    return (block - 1) * a->spread + 1 + a->span;
}

/* Whether the next block of `z` outputs along D reads planes of this one's slab, which then is a ring
   of planes: each is packed once. The table of offsets must stay small. */
static int is_ring(const Conv *c, ptrdiff_t z) {
    const Axis *d = c->axis;
    ptrdiff_t length = plane_length(d, z);
    return c->rolling && d->planes == 1 && z < d->count && length > z * d->spread &&
           c->part == c->inputs && !c->dots && length * c->terms <= MOST_OFFSETS;
}

static ptrdiff_t slab_elements(const Conv *c, ptrdiff_t z, ptrdiff_t y, ptrdiff_t x) {
    const Axis *a = c->axis;
    return c->part * a[0].planes * plane_length(a, z) * a[1].planes * plane_length(a + 1, y) *
           a[2].planes * plane_length(a + 2, x);
}

/* Sums of a block that wait for the next part of the channels. */
static ptrdiff_t kept_sums(const Conv *c, ptrdiff_t z, ptrdiff_t y, ptrdiff_t x, ptrdiff_t lanes) {
    if (c->dots) return z * y * x * c->outputs;
    if (c->tall) return z * y * x * ceil_div(c->outputs, lanes) * lanes;
    return z * c->outputs * ((y - 1) * (x + c->axis[2].span) + x + 3 * lanes);
}

/* Cycles per output position of a block, roughly: only the order of the costs matters. A vector
   multiply-add takes half a cycle; packing an element a sixth, a fifth if every second or fourth is
   taken, or most of a cycle if they are gathered one by one. */
static double block_cost(const Conv *c, ptrdiff_t z, ptrdiff_t y, ptrdiff_t x, ptrdiff_t lanes) {
    const Axis *w = c->axis + 2;
    double parts = (double)ceil_div(c->inputs, c->part);
    double elements = (double)slab_elements(c, z, y, x) * parts;
    if (is_ring(c, z)) elements *= (double)(z * c->axis->spread) / (double)plane_length(c->axis, z);
    ptrdiff_t step = w->step / w->spread;
    double element = step == 1 ? 0.15 : step == 2 || step == 4 ? 0.2 : 0.7;
    double packed = elements * (element + 8.0 / (double)plane_length(w, x));
    double positions = (double)y * (double)x, outputs = (double)c->outputs,
           terms = (double)c->terms;
    /* Weights that do not fit the second-level cache come from the third for every block. */
    if (outputs * terms > PANEL) packed += 0.2 * outputs * terms;
    packed += (parts - 1) * positions * (double)z * outputs * 3 / (double)lanes;
    if (c->channels) return elements / (positions * (double)z);
    if (c->dots) {
        /* Turning a vector takes ten cycles, a row ten more; adding lanes six, and the sums of
           DOT_TERMS are loaded and stored. One output is bound by its loads. */
        double vectors = (double)(c->inputs * c->taps), sums = 6 + 2 * vectors / DOT_TERMS;
        double turned = elements * (0.6 * (double)lanes + 10.0 / (double)plane_length(w, x));
        double products = 0.55 * vectors * (outputs < 2 ? 1.3 : 1);
        return turned / (positions * (double)z) + (products + sums + 8.0 / (double)x) * outputs;
    }
    if (c->tall) {
        ptrdiff_t run = w->spread == 1 && w->span == 0 ? y * x : x, tiles = ceil_div(run, TALL);
        double rows = (double)run / (double)tiles, vectors = (double)ceil_div(c->outputs, lanes);
        /* One vector of channels: two loads a cycle are as scarce as two multiply-adds. */
        double loads = vectors < 2 ? 1.15 + 1 / rows : 1;
        double latency = 8 / (rows * (vectors < 2 ? 1 : 2));
        double products = 0.5 * vectors * terms * (loads > latency ? loads : latency);
        return packed / (positions * (double)z) + products + (c->past_cache ? 1.7 : 0.7) * outputs;
    }
    double line = (double)ceil_div((y - 1) * (x + w->span) + x, lanes) + c->line_start;
    /* Rows that do not follow one another are written in pieces: past the cache, in broken lines. */
    double pieces = w->span && c->axis[1].count > 1 ? (c->past_cache ? 1 : 0.3) * outputs : 0;
    /* Few outputs: loads across lines of the cache take longer than the products. */
    double step_cost = 0.5 * outputs + (outputs < 5 ? 0.5 - 0.1 * outputs : 0);
    return packed / (positions * (double)z) + line * terms * step_cost / positions + pieces;
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

/* The taps [tap, end) of an axis with which output `o` meets the input. */
static void reached_taps(const Axis *a, ptrdiff_t o, ptrdiff_t *tap, ptrdiff_t *end) {
    ptrdiff_t unit = a->taps > 1 ? a->offset[1] - a->offset[0] : 1;
    ptrdiff_t at = a->offset[0] + o * a->step;
    *tap = at < 0 ? ceil_div(-at, unit) : 0;
    *end = at + (a->taps - 1) * unit < a->size ? a->taps : floor_div(a->size - 1 - at, unit) + 1;
    if (*end <= *tap) *tap = *end = 0;
}

static void set_block(Axis *a, ptrdiff_t most) {
    a->block = even_block(a->count, most);
    a->blocks = ceil_div(a->count, a->block);
    a->length = plane_length(a, a->block);
}

/* The inputs whose slab fits the budget: all; with `split` else a part, beside the sums that are kept
   then; 0 if none do. */
static ptrdiff_t fitting_part(Conv *c, ptrdiff_t z, ptrdiff_t y, ptrdiff_t x, ptrdiff_t lanes,
                              ptrdiff_t budget, int split) {
    c->part = 1;
    ptrdiff_t channel = slab_elements(c, z, y, x), most = c->order ? c->order->part : c->inputs;
    ptrdiff_t left = budget - kept_sums(c, z, y, x, lanes);
    if (channel * most <= (c->dots || most < c->inputs ? left : budget)) return most;
    return split && !c->order && left >= channel ? even_block(c->inputs, left / channel) : 0;
}

/* Choose the cheapest block whose slab has at most `budget` elements; one output if none has. Along
   W, all outputs or as many as have room for all inputs. Along H, of 1, 2, 3, 5, 8, 12, 18 ...
   blocks: to try every size takes longer than a small convolution, and lowers the estimate by .1 %.
   With `split`, the inputs may come in parts. */
static double plan_blocks(Conv *c, ptrdiff_t lanes, ptrdiff_t budget, int split) {
    Axis *a = c->axis;
    ptrdiff_t best[3] = {1, 1, 1}, x = even_block(a[2].count, 4096), shortest = x, part;
    c->part = c->inputs;
    while (shortest > lanes && slab_elements(c, 1, 1, shortest) > budget)
        shortest = ceil_div(shortest, 2);
    best[2] = shortest;
    part = fitting_part(c, 1, 1, shortest, lanes, budget, split);
    if (part == 0) part = c->order ? c->order->part : split ? 1 : c->inputs;
    c->part = part;
    double lowest = block_cost(c, 1, 1, shortest, lanes);
    for (x = split ? x : shortest;; x = shortest) {
        for (ptrdiff_t z = 8; z > 0; z--) {
            z = even_block(a->count, z);
            for (ptrdiff_t n = 1; n <= a[1].count; n += (n + 1) / 2) {
                ptrdiff_t y = ceil_div(a[1].count, n);
                c->part = fitting_part(c, z, y, x, lanes, budget, split);
                if (c->part == 0) continue;
                double cost = block_cost(c, z, y, x, lanes);
                if (cost < lowest)
                    lowest = cost, best[0] = z, best[1] = y, best[2] = x, part = c->part;
            }
        }
        if (x == shortest) break;
    }
    for (int i = 0; i < 3; i++) set_block(a + i, best[i]);
    c->part = part;
    c->parts = ceil_div(c->inputs, part);
    c->kept = c->dots || c->parts > 1 ? kept_sums(c, best[0], best[1], best[2], lanes) : 0;
    return lowest;
}

static void size_slab(Conv *c, ptrdiff_t lanes) {
    const Axis *a = c->axis;
    c->plane_size = a[1].planes * a[2].planes * a[1].length * a[2].length;
    /* A plane's last vector may reach past its end, onto one that is kept. */
    if (c->ring) c->plane_size += lanes;
    /* An odd number of vectors: planes must not fall on the same few sets of the cache. */
    if (c->plane_size >= 16 * lanes) c->plane_size = ((c->plane_size / lanes + 1) | 1) * lanes;
    /* The last vector may reach past the end. */
    c->slab_size =
        ceil_div(c->part * a[0].planes * a[0].length * c->plane_size, lanes) * lanes + lanes;
}

/* Output channel of a group at which a block of rows begins. Blocks of rows differ by one at most;
   tall ones are whole vectors, but for the last. */
static ptrdiff_t first_row(const Conv *c, ptrdiff_t block) {
    return smaller(block * c->least_rows + smaller(block, c->more_rows), c->outputs);
}

/* Terms per partial sum. Each block of terms is summed on its own and added to the total: the
   rounding error stops growing with the number of channels. Its input for a stretch stays in the
   first-level cache, 32 kB or more; taps along W share it. */
static void plan_rows(Conv *c, ptrdiff_t lanes) {
    ptrdiff_t most = !c->tall ? ROWS : c->outputs > lanes ? 2 * lanes : lanes;
    c->row_blocks = ceil_div(c->outputs, most);
    c->rows = c->tall ? most : ceil_div(c->outputs, c->row_blocks);
    c->least_rows = c->tall ? most : c->outputs / c->row_blocks;
    c->more_rows = c->tall ? 0 : c->outputs % c->row_blocks;
    ptrdiff_t shared = c->axis[2].planes == 1 ? c->axis[2].taps : 1;
    ptrdiff_t most_terms = c->row_blocks == 1 || c->tall || shared > 3 ? MOST_TERMS : 128 * shared;
    c->block = c->order ? c->order->block : even_block(c->part * c->taps, most_terms);
    c->weights = c->terms;
    c->panel = PANEL / (c->rows * c->part * c->taps);
    if (c->panel > c->row_blocks) c->panel = c->row_blocks;
    if (c->panel < 1) c->panel = 1;
}

/* Lay the axes out for a kind of tile. Rows that outputs of a line read are split from others; what
   lies behind one another in memory is copied so where it can be. */
static void set_layout(Conv *c, int layout, int tall) {
    Axis *a = c->axis;
    plan_axis(a, a[0].taps >= a[0].step ? WHOLE : SPLIT);
    plan_axis(a + 1, layout == WHOLE && a[1].taps >= a[1].step ? WHOLE : SPLIT);
    plan_axis(a + 2, layout);
    c->tall = tall;
}

/* Whether outputs lie as the inputs do that they are made of. */
static int is_pointwise(const Conv *c) {
    const Axis *a = c->axis;
    return is_trivial(a) && is_trivial(a + 1) && is_trivial(a + 2);
}

/* Whether the order is to add all terms one by one. */
static int is_one_sum(const Conv *c) {
    const Order *o = c->order;
    return !o->dots && !o->columns && o->part == c->inputs && o->block >= c->terms;
}

/* Depthwise, a vector of channels at a time: for any stride and dilation, and however narrow the
   input is, no lane is wasted; the price is to turn input and output. 0 if there are few channels, or
   a block does not fit. */
static int plan_depthwise(Conv *c, ptrdiff_t lanes, ptrdiff_t budget) {
    const Axis *a = c->axis;
    if (c->inputs > 1 || c->outputs > 1 || lanes == 1 || 2 * c->groups < lanes ||
        c->terms > MOST_TERMS || is_pointwise(c) || (c->order && !is_one_sum(c)))
        return 0;
    set_layout(c, WHOLE, 0);
    c->channels = c->groups;
    c->groups = ceil_div(c->channels, lanes);
    plan_blocks(c, lanes, budget / lanes, 0);
    if (slab_elements(c, a[0].block, a[1].block, a[2].block) > budget / lanes) {
        c->groups = c->channels, c->channels = 0;
        return 0;
    }
    size_slab(c, 1);
    c->slab_size *= lanes;
    c->rows = lanes, c->row_blocks = 1, c->weights = c->terms;
    return 1;
}

/* Few outputs of many channels, narrow or strided: vectors of input channels, if that costs less than
   `most`; the lower of the costs. */
static double plan_dots(Conv *c, ptrdiff_t lanes, ptrdiff_t budget, double most) {
    ptrdiff_t inputs = c->inputs;
    if (lanes == 1) return most;
    c->dots = 1;
    c->inputs = ceil_div(inputs, lanes);
    set_layout(c, WHOLE, 0);
    double cost = plan_blocks(c, lanes, budget / lanes, 1);
    const Axis *a = c->axis;
    ptrdiff_t size = slab_elements(c, a[0].block, a[1].block, a[2].block) + c->kept;
    if (!c->order && (cost >= most || size > budget / lanes)) {
        c->dots = 0;
        c->inputs = inputs;
        return most;
    }
    size_slab(c, 1);
    c->slab_size *= lanes;
    c->row_blocks = ceil_div(c->outputs, DOT_ROWS);
    c->rows = ceil_div(c->outputs, c->row_blocks);
    c->least_rows = c->outputs / c->row_blocks, c->more_rows = c->outputs % c->row_blocks;
    c->weights = c->inputs * c->taps * lanes;
    c->block = even_block(c->part * c->taps, DOT_TERMS);
    return cost;
}

/* The layouts along W and kinds of tile to choose from. The later half has a plane per tap along D: of
   a dilated kernel, those between the taps are not copied. */
static void set_candidate(Conv *c, int i) {
    static const int layout[] = {SPLIT, PER_TAP, WHOLE, PER_TAP}, tall[] = {0, 0, 1, 1};
    set_layout(c, layout[i % 4], tall[i % 4]);
    if (i >= 4) plan_axis(c->axis, PER_TAP);
}

/* Everything that depends on the shapes alone: the cheapest layout along W, and the cheaper kind of
   tile. Returns the cost per output position; 0 for depthwise. */
static double plan(Conv *c, ptrdiff_t lanes, ptrdiff_t budget) {
    int dilated = c->axis[0].taps > 1 && c->axis[0].offset[1] - c->axis[0].offset[0] > 1;
    Axis *a = c->axis;
    merge_axes(a);
    if (plan_depthwise(c, lanes, budget)) return 0;
    if (c->order && c->order->dots) return plan_dots(c, lanes, budget, HUGE_VAL);
    int trivial = is_pointwise(c);
    c->rolling = 1;
    double cost[8];
    int best = 0;
    for (int i = 0; i < (dilated ? 8 : 4); i++) {
        set_candidate(c, i);
        cost[i] = plan_blocks(c, lanes, budget, !trivial);
        if (cost[i] < cost[best]) best = i;
    }
    double lowest = trivial || c->order ? cost[best] : plan_dots(c, lanes, budget, cost[best]);
    if (c->dots) return lowest;
    set_candidate(c, best);
    plan_blocks(c, lanes, budget, !trivial);
    c->ring = is_ring(c, a[0].block) ? a[0].length : 0;
    size_slab(c, lanes);
    plan_rows(c, lanes);
    c->in_place = !c->tall && trivial && a[0].size == 1 && a[1].size == 1 && a[2].size >= lanes &&
                  c->row_blocks <= 2;
    if (c->in_place) c->slab_size = 0;
    return cost[best];
}

/* Where a term of the sum lies in the slab, or in `x`, for output 0, whose planes are from `first` on
   in a ring. */
static ptrdiff_t term_offset(const Conv *c, ptrdiff_t i, ptrdiff_t d, ptrdiff_t h, ptrdiff_t w,
                             ptrdiff_t first) {
    const Axis *a = c->axis;
    ptrdiff_t channel = c->in_place ? a[2].size : a[0].planes * a[0].length * c->plane_size;
    ptrdiff_t plane = a[0].plane[d] * a[0].length + a[0].shift[d];
    if (c->ring) plane = (first + plane) % c->ring;
    ptrdiff_t row = (a[1].plane[h] * a[2].planes + a[2].plane[w]) * a[1].length + a[1].shift[h];
    return i * channel + plane * c->plane_size + row * a[2].length + a[2].shift[w];
}

static void fill_offsets(const Conv *c) {
    ptrdiff_t *offset = c->offset;
    for (ptrdiff_t first = 0; first == 0 || first < c->ring; first++)
        for (ptrdiff_t i = 0; i < c->part; i++)
            for (ptrdiff_t d = 0; d < c->axis[0].taps; d++)
                for (ptrdiff_t h = 0; h < c->axis[1].taps; h++)
                    for (ptrdiff_t w = 0; w < c->axis[2].taps; w++)
                        *offset++ = term_offset(c, i, d, h, w, first);
}

typedef struct {
    ptrdiff_t n, g, chunk, start[3], count[3];
    ptrdiff_t part;  /* of the inputs, the one in the slab */
    ptrdiff_t ready; /* planes along D that are in the slab */
} Item;

/* Which block an item is, or begins with: sample, group, output channels, and outputs along each
   axis. */
static Item find_item(const Conv *c, ptrdiff_t index) {
    Item item;
    item.chunk = index % c->chunks, index /= c->chunks;
    for (int i = 2; i >= 0; i--) {
        const Axis *a = c->axis + i;
        ptrdiff_t run = i == 0 && (c->ring || c->strided) ? c->run : 1,
                  runs = ceil_div(a->blocks, run);
        item.start[i] = index % runs * run * a->block, index /= runs;
        item.count[i] = smaller(a->block, a->count - item.start[i]);
    }
    item.g = index % c->groups, item.n = index / c->groups;
    item.part = item.ready = 0;
    return item;
}

/* The next block of an item along D, which needs what is left in the ring. */
static void next_block(const Conv *c, Item *item) {
    const Axis *d = c->axis;
    item->start[0] += d->block;
    item->count[0] = smaller(d->block, d->count - item->start[0]);
    item->part = 0;
    item->ready = d->length - d->block * d->spread;
}

/* The plane of a ring that output `z` reads first. */
static ptrdiff_t first_plane(const Conv *c, ptrdiff_t z) {
    return c->ring ? z * c->axis->spread % c->ring : 0;
}

/* Outputs next to one another: `count` of a stretch, from its element `from`, belong at `to`. */
typedef struct {
    ptrdiff_t from, to, count;
} Piece;

/* Outputs of a line that one row of tiles computes: STRETCH vectors at most, or tall tiles for
   several short rows. */
typedef struct {
    ptrdiff_t start;          /* in the slab; it may lie before the outputs wanted */
    ptrdiff_t count, vectors; /* of outputs */
    ptrdiff_t next;           /* elements of the line from here to the next stretch */
    /* Tall: rows of outputs, how much is taken of each, slab elements from one to the next. */
    ptrdiff_t rows, width, pitch;
    int pieces;
    Piece piece[STRETCH * LANES + 2 * TALL];
} Stretch;

/* Elements of a line from one row of outputs to the next. */
static ptrdiff_t line_pitch(const Conv *c, const Item *item) {
    const Axis *w = c->axis + 2;
    return w->spread == 1 ? w->length : item->count[2];
}

/* Add the places of outputs [v, v + n) of a line in a channel of `out`. */
FORCE_INLINE void find_pieces(const Conv *c, const Item *item, ptrdiff_t v, ptrdiff_t n,
                              ptrdiff_t from, Stretch *s) {
    const Axis *h = c->axis + 1, *w = c->axis + 2;
    ptrdiff_t pitch = line_pitch(c, item);
    Piece *last = s->piece + s->pieces - 1;
    for (ptrdiff_t y = v / pitch, x = v % pitch; n > 0; y++, x = 0) {
        ptrdiff_t count = smaller(item->count[2] - x, n);
        ptrdiff_t to = (item->start[1] + y) * h->out_step + (item->start[2] + x) * w->out_step;
        if (count > 0 && last >= s->piece && last->from + last->count == from &&
            last->to + last->count * w->out_step == to)
            last->count += count;
        else if (count > 0) *++last = (Piece){from, to, count};
        from += pitch - x, n -= pitch - x;
    }
    s->pieces = (int)(last - s->piece) + 1;
}

/* The stretch at `v` of a line: its head (to which `out` is not aligned), `width` vectors, or 2 or
   1 at the end. */
FORCE_INLINE void find_wide(const Conv *c, const Item *item, ptrdiff_t v, ptrdiff_t head,
                            ptrdiff_t length, ptrdiff_t lanes, ptrdiff_t width, Stretch *s) {
    ptrdiff_t vectors = ceil_div(length - v, lanes), over = 0;
    s->vectors = v < head ? 1 : vectors >= width ? width : vectors >= 2 ? 2 : 1;
    if (c->in_place && c->axis[2].size < s->vectors * lanes) s->vectors = 1;
    if (v < head) length = head;
    s->count = smaller(s->vectors * lanes, length - v);
    /* Nothing behind `x` is read. */
    if (c->in_place) over = item->start[2] + v + s->vectors * lanes - c->axis[2].size;
    if (over < 0) over = 0;
    s->start = v - over;
    s->next = s->count;
    s->pieces = 0;
    find_pieces(c, item, v, s->count, over, s);
}

/* The same for tall tiles: part of a line, or of a row where rows do not follow one another; short
   rows together. Sums are turned in squares of lanes: the part is whole squares if it can be. */
static void find_tall(const Conv *c, const Item *item, ptrdiff_t v, ptrdiff_t length,
                      ptrdiff_t lanes, Stretch *s) {
    const Axis *h = c->axis + 1, *w = c->axis + 2;
    ptrdiff_t pitch = line_pitch(c, item), whole = w->spread == 1 && w->span == 0 && h->spread == 1;
    ptrdiff_t left = whole ? length - v : item->count[2] - v % pitch;
    ptrdiff_t most = 4 * TALL / lanes * lanes, y = v / pitch;
    s->start = y * h->spread * w->length + v % pitch * w->spread;
    s->pieces = 0;
    s->next = pitch - v % pitch;
    if (left <= 0) return;
    ptrdiff_t even = ceil_div(left, ceil_div(left, most));
    s->width = smaller(left, ceil_div(even, lanes) * lanes);
    s->rows = whole || s->width < item->count[2] ? 1 : smaller(most / s->width, item->count[1] - y);
    s->pitch = h->spread * w->length;
    s->count = s->rows * s->width;
    s->vectors = ceil_div(s->count, lanes);
    s->next = (s->rows - 1) * pitch + s->width;
    for (ptrdiff_t i = 0; i < s->rows; i++)
        find_pieces(c, item, v + i * pitch, s->width, i * s->width, s);
}

/* What a tile does with the sums that it writes to their places: past the caches where these are aligned,
   added to what is there, 0 for what is negative. */
enum { STREAM = 1, ACCUMULATE = 2, RECTIFY = 4 };

static int how_to_write(const Conv *c) {
    return (c->past_cache ? STREAM : 0) | (c->accumulate ? ACCUMULATE : 0) |
           (c->activation ? RECTIFY : 0);
}

#include "conv_strided.h"

#define REAL float
#include "conv_kernels.h"
#undef REAL
#define REAL double
#include "conv_kernels.h"
#undef REAL
#endif
