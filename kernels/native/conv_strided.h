/* Strided by two along W: the input is read where it lies, without a slab.

   Two vectors of a row hold the inputs of two taps for a vector of outputs, one tap in the even
   lanes and one in the odd. Masks make the padding along W; taps along D and H that meet no input
   are left out. For few output channels a slab takes longer to pack than what is done twice here
   for want of it: a quarter of the time for 8 to 16 channels of 64^3, half of it for some kernels
   of 2. */
#ifndef VOXKERN_CONV_STRIDED_H
#define VOXKERN_CONV_STRIDED_H

enum { MOST_PAIRS = 4 };    /* of taps along W */
enum { WIDEST = 3 };        /* vectors of a tile */
enum { STRIDED_ROWS = 32 }; /* of outputs in a block, at most: threads share blocks */

/* A row of the input under the taps along W, for one tap along D and H and one channel, from where
   output 0 of a row reads; and the first of its terms. */
typedef struct {
    ptrdiff_t in, term;
} Row;

typedef struct {
    ptrdiff_t tap[2], end[2]; /* taps along D and H */
    ptrdiff_t count;
    Row row[MOST_TERMS];
} Rows;

/* Vectors of a row's next tile if `left` are left: two, or three of an odd number. */
static inline ptrdiff_t strided_vectors(ptrdiff_t left) {
    return left < 3 ? left : left % 2 ? 3 : 2;
}

static inline int same_taps(const Axis *a, ptrdiff_t o, ptrdiff_t other) {
    ptrdiff_t tap[2], end[2];
    reached_taps(a, o, tap, end);
    reached_taps(a, other, tap + 1, end + 1);
    return tap[0] == tap[1] && end[0] == end[1];
}

/* The rows that outputs (z, y) read, unless those of the last call are the same. */
static inline void list_rows(const Conv *c, ptrdiff_t z, ptrdiff_t y, Rows *rows) {
    const Axis *d = c->axis, *h = d + 1, *w = d + 2;
    ptrdiff_t tap[2], end[2], place[] = {z, y};
    int same = rows->count > 0;
    for (int i = 0; i < 2; i++) {
        reached_taps(d + i, place[i], tap + i, end + i);
        same &= tap[i] == rows->tap[i] && end[i] == rows->end[i];
        rows->tap[i] = tap[i], rows->end[i] = end[i];
    }
    if (same) return;
    Row *row = rows->row;
    for (ptrdiff_t i = 0; i < c->inputs; i++)
        for (ptrdiff_t j = tap[0]; j < end[0]; j++)
            for (ptrdiff_t k = tap[1]; k < end[1]; k++)
                *row++ = (Row){((i * d->size + d->offset[j]) * h->size + h->offset[k]) * w->size +
                                   w->offset[0],
                               ((i * d->taps + j) * h->taps + k) * w->taps};
    rows->count = row - rows->row;
}

/* Cycles of a tile: those of its products, of its loads (one of the input mostly is of two lines of
   the cache, and masks of other kernels than 3 are loaded too) or of waiting for few sums; 3 more to
   take a pair of taps apart. Fitted, with what follows, to 460 random shapes of both types: what is
   chosen took 1.3 % longer than the best, 12 % without. */
static inline double strided_tile(const Conv *c, double rows, double vectors) {
    double taps = (double)c->axis[2].taps, pairs = ceil(taps / 2), load = taps == 3 ? 2 : 3;
    double products = 0.5 * rows * vectors * taps;
    double longest = 0.5 * rows * taps + load * vectors * pairs;
    if (longest < products) longest = products;
    if (longest < 4 * taps) longest = 4 * taps;
    return (double)c->terms / taps * (longest + 1 + 3 * pairs) + 40 + 2 * rows * vectors;
}

/* Cycles per output position, as slab_cost has them; no end of them where it can't be done. */
static double strided_cost(const Conv *c, ptrdiff_t lanes) {
#ifdef SIMD_MASKS
    const Axis *d = c->axis, *h = d + 1, *w = d + 2;
    if (w->step != 2 || w->out_step != 1 || w->taps < 2 || w->taps > 2 * MOST_PAIRS ||
        w->offset[1] - w->offset[0] != 1 || c->terms > MOST_TERMS)
        return HUGE_VAL;
    ptrdiff_t vectors = ceil_div(w->count, lanes), blocks = ceil_div(c->outputs, ROWS);
    double rows = (double)c->outputs / (double)blocks, joined = 0, tiles = 0;
    for (ptrdiff_t y = 0; vectors == 1 && y + 1 < h->count; y++)
        if (same_taps(h, y, y + 1)) y++, joined += 2 / (double)h->count;
    if (vectors == 1)
        tiles = joined / 2 * strided_tile(c, rows, 2) + (1 - joined) * strided_tile(c, rows, 1);
    for (ptrdiff_t n; vectors > 1; vectors -= n) {
        n = strided_vectors(vectors);
        tiles += strided_tile(c, rows, (double)n);
    }
    double read = 0.5 * (double)(c->inputs * smaller(d->step, d->taps) * smaller(h->step, h->taps));
    return (tiles * (double)blocks + 25) / (double)w->count + read +
           (c->past_cache ? (double)c->outputs : 0);
#else
    return (void)c, (void)lanes, HUGE_VAL;
#endif
}

/* Blocks along H: what their outputs read stays in the cache from one output along D to the
   next. */
static void plan_strided(Conv *c, ptrdiff_t budget) {
    Axis *a = c->axis;
    ptrdiff_t depth = a->offset[a->taps - 1] - a->offset[0] + 1;
    ptrdiff_t rows = budget / (c->inputs * depth * a[1].step * a[2].size);
    c->strided = 1;
    c->tall = c->dots = 0;
    c->ring = c->kept = c->slab_size = 0;
    c->part = c->inputs, c->parts = 1;
    plan_rows(c, 1);
    set_block(a, 1);
    set_block(a + 1, rows > 1 ? smaller(rows, STRIDED_ROWS) : 1);
    set_block(a + 2, a[2].count);
}
#endif
