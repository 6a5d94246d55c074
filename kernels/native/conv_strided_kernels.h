/* The loops of conv_strided.h for one type, REAL. */

/* What a tile reads, and where its sums go. */
typedef struct {
    const REAL *in, *weight, *bias;
    const Rows *rows;
    ptrdiff_t taps, fetch;      /* along W; elements to the rows that are fetched, or 0 */
    ptrdiff_t pitch, out_pitch; /* from one vector of outputs to the next */
    ptrdiff_t out_row;          /* from one channel to the next */
    ptrdiff_t first, vectors;   /* along W; vectors of outputs */
    int joined;                 /* of two rows */
    ptrdiff_t count[WIDEST];    /* outputs of a vector */
    SIMD(mask)
    mask[MOST_PAIRS][WIDEST][2]; /* what lies in the row: of two taps, a vector's two halves */
    REAL *out;
    int stream;
} SIMD(Strip);

/* Add the products of one tap or two: of two vectors of the input the even lanes are the first's,
   the odd lanes the second's. */
FORCE_INLINE void SIMD(add_pair)(const int R, const int V, const int taps, const REAL *p,
                                 ptrdiff_t pitch, const SIMD(mask) (*mask)[2], const REAL *weight,
                                 SIMD(vec) (*sum)[WIDEST]) {
    SIMD(vec) low[WIDEST], high[WIDEST];
    EACH(v, V) {
        low[v] = SIMD(load_masked)(p + v * pitch, mask[v][0]);
        high[v] = SIMD(load_masked)(p + v * pitch + SIMD(lanes), mask[v][1]);
    }
    EACH(k, taps) {
        SIMD(vec) x[WIDEST];
        EACH(v, V) x[v] = k ? SIMD(odds)(low[v], high[v]) : SIMD(evens)(low[v], high[v]);
        EACH(r, R) {
            SIMD(vec) w = SIMD(all)(weight[k * R + r]);
            EACH(v, V) sum[r][v] = SIMD(fma)(w, x[v], sum[r][v]);
        }
    }
}

/* R output channels by V vectors of outputs, held in registers over all rows. */
FORCE_INLINE void SIMD(strided)(const int R, const int V, const ptrdiff_t taps,
                                const SIMD(Strip) * t) {
    enum { L = SIMD(lanes) };
    ptrdiff_t pitch = t->pitch, fetch = t->fetch, pairs = taps / 2;
    SIMD(vec) sum[8][WIDEST];
    EACH(r, R)
        EACH(v, V) sum[r][v] = SIMD(all)(0);
    for (const Row *row = t->rows->row, *end = row + t->rows->count; row < end; row++) {
        const REAL *p = t->in + row->in, *weight = t->weight + row->term * R;
        if (fetch)
            EACH(v, V) {
                PREFETCH(p + v * pitch + fetch);
                PREFETCH(p + v * pitch + fetch + L);
            }
        for (ptrdiff_t k = 0; k < pairs; k++)
            SIMD(add_pair)(R, V, 2, p + 2 * k, pitch, t->mask[k], weight + 2 * k * R, sum);
        if (taps % 2)
            SIMD(add_pair)(R, V, 1, p + taps - 1, pitch, t->mask[pairs], weight + (taps - 1) * R,
                           sum);
    }
    if (t->bias)
        EACH(r, R)
            EACH(v, V) sum[r][v] = SIMD(add)(sum[r][v], SIMD(all)(t->bias[r]));
    EACH(v, V) {
        REAL *to = t->out + v * t->out_pitch;
        if (t->count[v] < L)
            EACH(r, R) SIMD(store_first)(to + r * t->out_row, sum[r][v], t->count[v]);
        else if (t->stream && (size_t)to % (L * sizeof(REAL)) == 0)
            EACH(r, R) SIMD(stream)(to + r * t->out_row, sum[r][v]);
        else
            EACH(r, R) SIMD(store)(to + r * t->out_row, sum[r][v]);
    }
}

#define HEIGHTS(X) X(8) X(7) X(6) X(5) X(4) X(3) X(2) X(1)
#define DEFINE(R)                                                                                  \
    static void PASTE(SIMD(strided), R)(const SIMD(Strip) * t) {                                   \
        if (t->taps == 3 && t->vectors == 3) SIMD(strided)(R, 3, 3, t);                            \
        else if (t->taps == 3 && t->vectors == 2) SIMD(strided)(R, 2, 3, t);                       \
        else if (t->taps == 3) SIMD(strided)(R, 1, 3, t);                                          \
        else if (t->vectors == 3) SIMD(strided)(R, 3, t->taps, t);                                 \
        else if (t->vectors == 2) SIMD(strided)(R, 2, t->taps, t);                                 \
        else SIMD(strided)(R, 1, t->taps, t);                                                      \
    }
HEIGHTS(DEFINE)
#undef DEFINE
#define CASE(R)                                                                                    \
    case R: PASTE(SIMD(strided), R)(t); break;
static void SIMD(any_strided)(ptrdiff_t rows, const SIMD(Strip) * t) {
    switch (rows) { HEIGHTS(CASE) }
}
#undef CASE
#undef HEIGHTS

/* Aim at the outputs from `first` on, vectors of a row or one of each of two, unless the last ones
   were at the same place. */
static void SIMD(aim)(const Axis *w, ptrdiff_t first, ptrdiff_t vectors, int joined,
                      SIMD(Strip) * t) {
    enum { L = SIMD(lanes) };
    if (t->first == first && t->vectors == vectors && t->joined == joined) return;
    t->first = first, t->vectors = vectors, t->joined = joined;
    for (ptrdiff_t v = 0; v < vectors; v++, first += joined ? 0 : L) {
        t->count[v] = smaller(L, w->count - first);
        for (ptrdiff_t k = 0; k < (w->taps + 1) / 2 * 2; k++) {
            ptrdiff_t at = 2 * first + w->offset[0] + k / 2 * 2 + k % 2 * L;
            t->mask[k / 2][v][k % 2] = SIMD(mask_between)(-at, w->size - at);
        }
    }
}

/* A row of outputs of a chunk of channels; or two short ones. */
static void SIMD(strided_row)(const Conv *c, const Item *item, int joined, const REAL *x, REAL *out,
                              SIMD(Strip) * t) {
    enum { L = SIMD(lanes) };
    const Axis *h = c->axis + 1, *w = h + 1;
    ptrdiff_t chunk = item->chunk * c->chunk, end = smaller(chunk + c->chunk, c->row_blocks);
    t->pitch = joined ? h->step * w->size : 2 * L;
    t->out_pitch = joined ? h->out_step : L;
    for (ptrdiff_t first = 0; first < w->count; first += joined ? w->count : t->vectors * L) {
        SIMD(aim)(w, first, joined ? 2 : strided_vectors(ceil_div(w->count - first, L)), joined, t);
        t->in = x + 2 * first;
        t->fetch = h->step * w->size * (1 + joined);
        for (ptrdiff_t b = chunk; b < end; b++, t->fetch = 0) {
            ptrdiff_t o = item->g * c->outputs + first_row(c, b);
            t->weight =
                (const REAL *)c->packed + (item->g * c->row_blocks + b) * c->rows * c->terms;
            t->bias = c->bias ? (const REAL *)c->bias + o : NULL;
            t->out = out + o * c->out_channel + first;
            SIMD(any_strided)(first_row(c, b + 1) - first_row(c, b), t);
        }
    }
    for (ptrdiff_t r = first_row(c, chunk); c->activation && r < first_row(c, end); r++)
        SIMD(activate)((REAL)c->slope, out + (item->g * c->outputs + r) * c->out_channel,
                       (1 + joined) * w->count);
}

/* Planes along D of a block of outputs. The outputs of a short row share tiles with those of the
   next, if the same taps meet the input. */
static void SIMD(strided_item)(const Conv *c, const Item *item, const REAL *x) {
    const Axis *d = c->axis, *h = d + 1, *w = d + 2;
    ptrdiff_t end = smaller(item->start[0] + c->run, d->count);
    ptrdiff_t stop = item->start[1] + item->count[1];
    Rows rows = {0};
    SIMD(Strip)
    t = {.rows = &rows,
         .taps = w->taps,
         .out_row = c->out_channel,
         .stream = c->past_cache && c->out_channel % SIMD(lanes) == 0};
    REAL *out = (REAL *)c->out + item->n * c->out_batch;
    for (ptrdiff_t z = item->start[0]; z < end; z++)
        for (ptrdiff_t y = item->start[1], joined; y < stop; y += 1 + joined) {
            joined = w->count <= SIMD(lanes) && y + 1 < stop && same_taps(h, y, y + 1);
            list_rows(c, z, y, &rows);
            SIMD(strided_row)(c, item, (int)joined,
                              x + (z * d->step * h->size + y * h->step) * w->size,
                              out + z * d->out_step + y * h->out_step, &t);
        }
}
