/* The loops of conv.h for one type, REAL. */

/* Copy a row: most are too short for the price of a call to memcpy. */
FORCE_INLINE void SIMD(copy)(REAL *RESTRICT target, const REAL *RESTRICT source, ptrdiff_t n) {
    enum { L = SIMD(lanes) };
    ptrdiff_t i = 0;
    for (; i + L <= n; i += L) SIMD(store)(target + i, SIMD(load)(source + i));
    if (i < n && n >= L) SIMD(store)(target + n - L, SIMD(load)(source + n - L)); /* some twice */
    else if (i < n) SIMD(store_first)(target + i, SIMD(load_first)(source + i, n - i), n - i);
}

/* The same past the cache: a large output would displace what is in use, and be read before it is
   written. */
FORCE_INLINE void SIMD(copy_past_cache)(REAL *RESTRICT target, const REAL *RESTRICT source,
                                        ptrdiff_t n) {
    enum { L = LINE / sizeof(REAL) };
    ptrdiff_t i = 0;
    for (; i < n && (size_t)(target + i) % LINE; i++) target[i] = source[i];
    for (; i + L <= n; i += L) stream_line(target + i, source + i);
    for (; i < n; i++) target[i] = source[i];
}

/* Lanes p[i*step] for a step of 1, 2 or 4; of `left` elements, but if they are `enough`. */
FORCE_INLINE SIMD(vec) SIMD(pick)(const REAL *p, const int step, const int enough, ptrdiff_t left) {
    enum { L = SIMD(lanes) };
    SIMD(vec) v[4];
    EACH(k, step) {
        ptrdiff_t n = left - k * L;
        v[k] =
            enough ? SIMD(load)(p + k * L) : SIMD(load_first)(p + k * L, n < 0 ? 0 : smaller(n, L));
    }
    if (step == 1) return v[0];
    v[0] = SIMD(evens)(v[0], v[1]);
    return step == 2 ? v[0] : SIMD(evens)(v[0], SIMD(evens)(v[2], v[3]));
}

/* Rows of the slab: row[i] = source[i*step] for i in [begin, end), 0 elsewhere. Whole vectors are
   read, of what follows the row too, but none from `stop` on; whole vectors are written: a row's
   last may fall on the next, which is written later. With `known`, the step is that. */
FORCE_INLINE void SIMD(pack_row)(const REAL *source, const REAL *stop, const int known,
                                 ptrdiff_t step, ptrdiff_t begin, ptrdiff_t end, REAL *RESTRICT row,
                                 ptrdiff_t length) {
    enum { L = SIMD(lanes) };
    ptrdiff_t i = begin;
    for (ptrdiff_t k = 0; k < begin; k += L) SIMD(store)(row + k, SIMD(all)(0));
    if (!known)
        for (; i < end; i++) row[i] = source[i * step];
    if (known * (end + L - 1) <= stop - source)
        for (; i < end; i += L) SIMD(store)(row + i, SIMD(pick)(source + i * known, known, 1, 0));
    for (; i < end; i += L)
        SIMD(store)(row + i, SIMD(pick)(source + i * known, known, 0, stop - (source + i * known)));
    for (i = end; i < length; i += L) SIMD(store)(row + i, SIMD(all)(0));
}

/* One plane along H and W: rows of the input from row `y` on, `unit` apart. The first `fetch`
   elements of those that come later are fetched. */
FORCE_INLINE void SIMD(pack_rows)(const Conv *c, const REAL *x, const REAL *stop, ptrdiff_t y,
                                  ptrdiff_t unit, ptrdiff_t rows, ptrdiff_t first, ptrdiff_t fetch,
                                  const int known, REAL *row) {
    const Axis *h = c->axis + 1, *w = c->axis + 2;
    ptrdiff_t step = known ? known : w->step / w->spread, length = w->length;
    ptrdiff_t begin = first < 0 ? ceil_div(-first, step) : 0;
    ptrdiff_t end = first < w->size ? (w->size - 1 - first) / step + 1 : 0;
    if (end > length) end = length;
    if (begin > end) begin = end;
    ptrdiff_t above = y < 0 ? smaller(ceil_div(-y, unit), rows) : 0;
    ptrdiff_t below = smaller(ceil_div(h->size - y, unit), rows);
    memset(row, 0, (size_t)(above * length) * sizeof(REAL));
    for (ptrdiff_t i = above; i < below; i++) {
        const REAL *source = x + (y + i * unit) * w->size + first;
        /* Rows are short: 1.05 to 1.2 times as fast as the hardware alone. */
        for (ptrdiff_t l = 0; l < fetch; l += LINE / sizeof(REAL))
            PREFETCH(source + ROWS_AHEAD * w->size + l);
        SIMD(pack_row)(source, stop, known, step, begin, end, row + i * length, length);
    }
    if (below < above) below = above;
    memset(row + below * length, 0, (size_t)((rows - below) * length) * sizeof(REAL));
}

static void SIMD(pack_slab)(const Conv *c, const Item *item, ptrdiff_t channels, const REAL *x,
                            REAL *slab) {
    const Axis *d = c->axis, *h = d + 1, *w = d + 2;
    ptrdiff_t depth = plane_length(d, item->count[0]), height = plane_length(h, item->count[1]);
    ptrdiff_t unit = h->step / h->spread, step = w->step / w->spread;
    const REAL *stop = x + channels * d->size * h->size * w->size;
    ptrdiff_t turn = first_plane(c, item->start[0]), volume = d->size * h->size * w->size;
    ptrdiff_t channel = d->planes * d->length * c->plane_size;
    for (ptrdiff_t i = 0; i < channels; i++, x += volume, slab += channel)
        for (ptrdiff_t pd = 0; pd < d->planes; pd++)
            for (ptrdiff_t j = item->ready; j < depth; j++) {
                ptrdiff_t place = c->ring ? (turn + j) % c->ring : pd * d->length + j;
                REAL *row = slab + place * c->plane_size;
                ptrdiff_t z = d->origin[pd] + item->start[0] * d->step + j * (d->step / d->spread);
                if (z < 0 || z >= d->size) {
                    memset(row, 0, (size_t)c->plane_size * sizeof(REAL));
                    continue;
                }
                const REAL *plane = x + z * h->size * w->size;
                for (ptrdiff_t ph = 0; ph < h->planes; ph++)
                    for (ptrdiff_t pw = 0; pw < w->planes; pw++, row += h->length * w->length) {
                        ptrdiff_t y = h->origin[ph] + item->start[1] * h->step;
                        ptrdiff_t first = w->origin[pw] + item->start[2] * w->step;
                        ptrdiff_t fetch = pw == 0 ? w->length * step : 0;
#define ROWS_OF(known) SIMD(pack_rows)(c, plane, stop, y, unit, height, first, fetch, known, row)
                        if (step == 1) ROWS_OF(1);
                        else if (step == 2) ROWS_OF(2);
                        else if (step == 4) ROWS_OF(4);
                        else ROWS_OF(0);
#undef ROWS_OF
                    }
            }
}

/* A square of vectors from `height` rows of `width` elements; zeros behind. */
FORCE_INLINE void SIMD(load_square)(const REAL *p, ptrdiff_t row, ptrdiff_t height, ptrdiff_t width,
                                    SIMD(vec) * a) {
    enum { L = SIMD(lanes) };
    if (height == L && width == L)
        EACH(k, L) a[k] = SIMD(load)(p + k * row);
    else
        EACH(k, L) a[k] = k < height ? SIMD(load_first)(p + k * row, width) : SIMD(all)(0);
}

/* to[j][i] = from[i][j] for `rows` x `n` elements, in squares; rows of `to` hold whole vectors, with
   zeros behind, unless it is `exact`. */
FORCE_INLINE void SIMD(turn_squares)(const int exact, ptrdiff_t rows, ptrdiff_t n, const REAL *from,
                                     ptrdiff_t from_row, REAL *to, ptrdiff_t to_row) {
    enum { L = SIMD(lanes) };
    for (ptrdiff_t i = 0; i < rows; i += L)
        for (ptrdiff_t j = 0; j < n; j += L) {
            ptrdiff_t height = smaller(L, rows - i), width = smaller(L, n - j);
            const REAL *p = from + i * from_row + j;
            SIMD(vec) a[L];
            SIMD(load_square)(p, from_row, height, width, a);
            SIMD(transpose)(a);
            REAL *q = to + j * to_row + i;
            if (exact && height < L)
                for (ptrdiff_t k = 0; k < width; k++)
                    SIMD(store_first)(q + k * to_row, a[k], height);
            else if (width == L)
                EACH(k, L) SIMD(store)(q + k * to_row, a[k]);
            else
                for (ptrdiff_t k = 0; k < width; k++) SIMD(store)(q + k * to_row, a[k]);
        }
}

static void SIMD(turn)(ptrdiff_t rows, ptrdiff_t n, const REAL *from, ptrdiff_t from_row, REAL *to,
                       ptrdiff_t to_row) {
    SIMD(turn_squares)(0, rows, n, from, from_row, to, to_row);
}

static void SIMD(turn_exact)(ptrdiff_t rows, ptrdiff_t n, const REAL *from, ptrdiff_t from_row,
                             REAL *to, ptrdiff_t to_row) {
    SIMD(turn_squares)(1, rows, n, from, from_row, to, to_row);
}

/* The weights of pack_weights for lanes of input channels. */
static void SIMD(pack_dots)(const Conv *c, ptrdiff_t g, ptrdiff_t first, ptrdiff_t rows,
                            REAL *packed) {
    enum { L = SIMD(lanes) };
    ptrdiff_t taps = c->taps, inputs = c->terms / taps, step = rows * L;
    ptrdiff_t input = c->flipped ? c->outputs * taps : taps, row = c->flipped ? taps : c->terms;
    const REAL *weight = (const REAL *)c->weight + g * c->outputs * c->terms + first * row;
    if (c->flipped) packed += (taps - 1) * step, step = -step; /* from the last tap on */
    for (ptrdiff_t i = 0; i < inputs; i += L, packed += taps * rows * L)
        for (ptrdiff_t r = 0; r < rows; r++)
            SIMD(turn)(smaller(L, inputs - i), taps, weight + i * input + r * row, input,
                       packed + r * L, step);
}

/* The same as pack_weights where they are flipped. Backwards, each tap before the one before it. */
static void SIMD(pack_flipped)(const Conv *c, ptrdiff_t g, ptrdiff_t first, ptrdiff_t rows,
                               REAL *packed) {
    ptrdiff_t taps = c->taps, all = c->outputs * taps;
    ptrdiff_t width = c->tall ? ceil_div(rows, SIMD(lanes)) * SIMD(lanes) : rows;
    const REAL *weight = (const REAL *)c->weight + g * c->inputs * all + first * taps;
    if (taps == 1 && width > rows) memset(packed, 0, (size_t)(c->inputs * width) * sizeof(REAL));
    for (ptrdiff_t i = 0; i < c->inputs; i++, weight += all, packed += taps * width) {
        for (ptrdiff_t j = 0; j < rows * taps; j += LINE / sizeof(REAL))
            PREFETCH(weight + ROWS_AHEAD * all + j);
        if (taps == 1) SIMD(copy)(packed, weight, rows);
        else if (c->tall) SIMD(turn)(rows, taps, weight, taps, packed + (taps - 1) * width, -width);
        else
            for (ptrdiff_t t = 0; t < taps; t++)
                for (ptrdiff_t r = 0; r < rows; r++)
                    packed[(taps - 1 - t) * rows + r] = weight[r * taps + t];
    }
}

/* The weights as the tiles read them: for each term, those of the channels of a block. */
static void SIMD(pack_weights)(const Conv *c, ptrdiff_t block, REAL *packed) {
    ptrdiff_t g = block / c->row_blocks, b = block % c->row_blocks;
    ptrdiff_t first = first_row(c, b), rows = first_row(c, b + 1) - first;
    const REAL *weight = (const REAL *)c->weight + (g * c->outputs + first) * c->terms;
    packed += block * c->rows * c->weights;
    if (c->channels) {
        ptrdiff_t left = c->channels - block * c->rows;
        ptrdiff_t row = c->flipped ? -c->rows : c->rows;
        if (c->flipped) packed += (c->terms - 1) * c->rows;
        SIMD(turn)(smaller(left, c->rows), c->terms,
                   (const REAL *)c->weight + block * c->rows * c->terms, c->terms, packed, row);
        return;
    }
    if (c->dots) {
        SIMD(pack_dots)(c, g, first, rows, packed);
        return;
    }
    if (c->flipped) {
        SIMD(pack_flipped)(c, g, first, rows, packed);
        return;
    }
    if (c->tall) {
        ptrdiff_t width = ceil_div(rows, SIMD(lanes)) * SIMD(lanes);
        SIMD(turn)(rows, c->terms, weight, c->terms, packed, width);
        return;
    }
    for (ptrdiff_t k = 0; k < c->terms; k++, packed += rows)
        for (ptrdiff_t r = 0; r < rows; r++) packed[r] = weight[r * c->terms + k];
}

/* What a tile reads, and where its sums go. */
typedef struct {
    const REAL *in, *weight, *bias;
    const ptrdiff_t *offset;
    ptrdiff_t terms;
    const REAL *partial; /* sums of the terms before */
    REAL *to;
    ptrdiff_t partial_row, to_row; /* from one channel to the next, or tall: output */
    int how;                       /* STREAM, ACCUMULATE, RECTIFY */
    ptrdiff_t spread;              /* tall: input elements from one output to the next */
    const char *ahead; /* what is read later: is fetched meanwhile, `pace` bytes a term */
    ptrdiff_t pace;
} SIMD(Tile);

/* The sums of a tile to their places. */
FORCE_INLINE void SIMD(write_tile)(const int R, const int V, const SIMD(Tile) * t,
                                   SIMD(vec) (*sum)[8]) {
    enum { L = SIMD(lanes) };
    if (t->how & ACCUMULATE)
        EACH(r, R)
            EACH(v, V) sum[r][v] = SIMD(add)(sum[r][v], SIMD(load)(t->to + r * t->to_row + v * L));
    if (t->how & RECTIFY)
        EACH(r, R)
            EACH(v, V) sum[r][v] = SIMD(larger)(sum[r][v], SIMD(all)(0));
    EACH(r, R) {
        REAL *to = t->to + r * t->to_row;
        if (t->how & STREAM && (size_t)to % (L * sizeof(REAL)) == 0)
            EACH(v, V) SIMD(stream)(to + v * L, sum[r][v]);
        else
            EACH(v, V) SIMD(store)(to + v * L, sum[r][v]);
    }
}

/* R output channels by V vectors of outputs, held in registers over all the terms. */
FORCE_INLINE void SIMD(tile)(const int R, const int V, const SIMD(Tile) * t) {
    enum { L = SIMD(lanes) };
    const REAL *RESTRICT in = t->in, *RESTRICT weight = t->weight;
    const ptrdiff_t *RESTRICT offset = t->offset;
    ptrdiff_t terms = t->terms;
    SIMD(vec) sum[8][8];
    EACH(r, R)
        EACH(v, V) sum[r][v] = SIMD(all)(0);
    const char *ahead = t->ahead ? t->ahead : (const char *)weight;
    for (ptrdiff_t k = 0; k < terms; k++, weight += R, ahead += t->pace) {
        const REAL *p = in + offset[k];
        SIMD(vec) x[8];
        if (R * V >= FETCHING) PREFETCH_SECOND(ahead);
        EACH(v, V) x[v] = SIMD(load)(p + v * L);
        EACH(r, R) {
            SIMD(vec) w = SIMD(all)(weight[r]);
            EACH(v, V) sum[r][v] = SIMD(fma)(w, x[v], sum[r][v]);
        }
    }
    if (t->partial)
        EACH(r, R)
            EACH(v, V)
                sum[r][v] =
                    SIMD(add)(sum[r][v], SIMD(load)(t->partial + r * t->partial_row + v * L));
    if (t->bias)
        EACH(r, R)
            EACH(v, V) sum[r][v] = SIMD(add)(sum[r][v], SIMD(all)(t->bias[r]));
    SIMD(write_tile)(R, V, t, sum);
}

/* The shapes in use: WIDTH(rows) vectors, one row less in some blocks, and what a line leaves.
   R*V sums, V inputs and a weight (and a product, where it is not fused) fit the registers. */
/* The formatter does not agree with itself here. */
/* clang-format off */
#if SIMD_REGISTERS == 32
#define WIDTH(rows) ((rows) > 4 ? 3 : (rows) > 2 ? 6 : 8)
#define SHAPES(X) \
    X(8, 3) X(7, 3) X(6, 3) X(5, 3) X(4, 3) X(3, 3) X(2, 3) X(1, 3) X(4, 6) X(3, 6) X(2, 6) X(2, 8) X(1, 8) X(8, 2) \
    X(7, 2) X(6, 2) X(5, 2) X(4, 2) X(3, 2) X(2, 2) X(1, 2) X(8, 1) X(7, 1) X(6, 1) X(5, 1) \
    X(4, 1) X(3, 1) X(2, 1) X(1, 1)
#elif defined(SIMD_UNFUSED)
#define WIDTH(rows) ((rows) > 2 ? 2 : 4)
#define SHAPES(X) X(2, 4) X(1, 4) X(4, 2) X(3, 2) X(2, 2) X(1, 2) X(4, 1) X(3, 1) X(2, 1) X(1, 1)
#else
#define WIDTH(rows) ((rows) > 2 ? 3 : (rows) > 1 ? 4 : 8)
#define SHAPES(X) \
    X(4, 3) X(3, 3) X(2, 3) X(1, 3) X(2, 4) X(1, 4) X(1, 8) X(4, 2) X(3, 2) X(2, 2) X(1, 2) X(4, 1) \
    X(3, 1) X(2, 1) X(1, 1)
#endif
/* clang-format on */
#define DEFINE(R, V)                                                                               \
    static void PASTE(PASTE(SIMD(tile), R), V)(const SIMD(Tile) * t) { SIMD(tile)(R, V, t); }
SHAPES(DEFINE)
#undef DEFINE

#define CASE(R, V)                                                                                 \
    case 16 * R + V: PASTE(PASTE(SIMD(tile), R), V)(t); break;
static void SIMD(any_tile)(ptrdiff_t rows, ptrdiff_t vectors, const SIMD(Tile) * t) {
    switch (16 * rows + vectors) { SHAPES(CASE) }
}
#undef CASE
#undef SHAPES

/* The transpose: V vectors of output channels by R outputs. It needs no outputs next to one another,
   and no gathering of inputs for a stride. Sums lie output by output. */
FORCE_INLINE void SIMD(tall)(const int R, const int V, const ptrdiff_t spread,
                             const SIMD(Tile) * t) {
    enum { L = SIMD(lanes) };
    const REAL *RESTRICT in = t->in, *RESTRICT weight = t->weight;
    const ptrdiff_t *RESTRICT offset = t->offset;
    ptrdiff_t terms = t->terms;
    SIMD(vec) sum[14][8];
    EACH(r, R)
        EACH(v, V) sum[r][v] = SIMD(all)(0);
    const char *ahead = t->ahead ? t->ahead : (const char *)weight;
    for (ptrdiff_t k = 0; k < terms; k++, weight += V * L, ahead += t->pace) {
        const REAL *p = in + offset[k];
        SIMD(vec) w[2];
        if (R * V >= FETCHING) PREFETCH_SECOND(ahead);
        EACH(v, V) w[v] = SIMD(load)(weight + v * L);
        EACH(r, R) {
            SIMD(vec) x = SIMD(all)(p[r * spread]);
            EACH(v, V) sum[r][v] = SIMD(fma)(x, w[v], sum[r][v]);
        }
    }
    if (t->partial)
        EACH(r, R)
            EACH(v, V) sum[r][v] = SIMD(add)(sum[r][v], SIMD(load)(t->partial + (r * V + v) * L));
    if (t->bias)
        EACH(v, V) {
            SIMD(vec) b = SIMD(load)(t->bias + v * L);
            EACH(r, R) sum[r][v] = SIMD(add)(sum[r][v], b);
        }
    SIMD(write_tile)(R, V, t, sum);
}

#if SIMD_REGISTERS == 32
#define HEIGHTS(X) X(14) X(13) X(12) X(11) X(10) X(9) X(8) X(7) X(6) X(5) X(4) X(3) X(2) X(1)
#else
#define HEIGHTS(X) X(6) X(5) X(4) X(3) X(2) X(1)
#endif
#define DEFINE(R)                                                                                  \
    static void PASTE(SIMD(tall_1), R)(const SIMD(Tile) * t) {                                     \
        if (t->spread == 1) SIMD(tall)(R, 1, 1, t);                                                \
        else if (t->spread == 2) SIMD(tall)(R, 1, 2, t);                                           \
        else SIMD(tall)(R, 1, t->spread, t);                                                       \
    }                                                                                              \
    static void PASTE(SIMD(tall_2), R)(const SIMD(Tile) * t) {                                     \
        if (t->spread == 1) SIMD(tall)(R, 2, 1, t);                                                \
        else if (t->spread == 2) SIMD(tall)(R, 2, 2, t);                                           \
        else SIMD(tall)(R, 2, t->spread, t);                                                       \
    }
HEIGHTS(DEFINE)
#undef DEFINE
#define CASE(R)                                                                                    \
    case 2 * R + 1: PASTE(SIMD(tall_1), R)(t); break;                                              \
    case 2 * R + 2: PASTE(SIMD(tall_2), R)(t); break;
static void SIMD(any_tall)(ptrdiff_t rows, ptrdiff_t vectors, const SIMD(Tile) * t) {
    switch (2 * rows + vectors) { HEIGHTS(CASE) }
}
#undef CASE
#undef HEIGHTS

/* The tiles of a stretch, whose sums lie output by output. */
static void SIMD(tall_tiles)(const Stretch *s, ptrdiff_t width, SIMD(Tile) t) {
    const REAL *row = t.in;
    for (ptrdiff_t y = 0; y < s->rows; y++, row += s->pitch)
        for (ptrdiff_t x = 0, n; x < s->width; x += n) {
            n = ceil_div(s->width - x, ceil_div(s->width - x, TALL));
            t.in = row + x * t.spread;
            SIMD(any_tall)(n, width / SIMD(lanes), &t);
            t.to += n * width;
            if (t.partial) t.partial += n * width;
        }
}

/* max(v, 0) + slope*min(v, 0), in place; NaN stays. A slope of 0 is no product: -inf becomes 0. */
static void SIMD(activate)(REAL slope, REAL *values, ptrdiff_t n) {
    if (slope == 0)
        for (ptrdiff_t i = 0; i < n; i++) values[i] = values[i] < 0 ? 0 : values[i];
    else
        for (ptrdiff_t i = 0; i < n; i++) values[i] = values[i] < 0 ? slope * values[i] : values[i];
}

/* Whether a tile can apply the activation, if there is one. */
static int SIMD(rectifies)(const Conv *c) { return !c->activation || c->slope == 0; }

/* Add to the sums of some channels, `pitch` apart, what lies in the places of their pieces. */
static void SIMD(add_pieces)(const Conv *c, const Piece *piece, int pieces, ptrdiff_t rows,
                             REAL *sums, ptrdiff_t pitch, const REAL *out) {
    for (ptrdiff_t r = 0; r < rows; r++, sums += pitch, out += c->out_channel)
        for (int i = 0; i < pieces; i++)
            for (ptrdiff_t j = 0; j < piece[i].count; j++)
                sums[piece[i].from + j] += out[piece[i].to + j];
}

/* Copy the pieces of one channel's sums to their places. */
static void SIMD(write_pieces)(const Conv *c, const Piece *piece, int pieces, const REAL *sums,
                               REAL *out) {
    ptrdiff_t step = c->axis[2].out_step;
    for (int i = 0; i < pieces; i++, piece++) {
        const REAL *source = sums + piece->from;
        REAL *target = out + piece->to;
        if (step == 1 && c->past_cache) SIMD(copy_past_cache)(target, source, piece->count);
        else if (step == 1) SIMD(copy)(target, source, piece->count);
        else
            for (ptrdiff_t j = 0; j < piece->count; j++) target[j * step] = source[j];
    }
}

/* Sums of one block of rows for a stretch, at most. */
enum { SIMD(sums) = (ROWS * STRETCH > 8 * TALL ? ROWS * STRETCH : 8 * TALL) * SIMD(lanes) };

/* Scratch elements that one item needs: a slab, two blocks of rows, and sums of terms before. */
static ptrdiff_t SIMD(scratch_size)(const Conv *c) {
    if (c->channels)
        return c->slab_size + (MOST_TURNED + c->axis[2].block) * SIMD(lanes) + LINE / sizeof(REAL);
    if (c->dots)
        return c->slab_size + (c->kept + MOST_TURNED + 1) * SIMD(lanes) + LINE / sizeof(REAL) +
               c->axis[0].block * c->axis[1].block * c->axis[2].block;
    ptrdiff_t before = c->parts > 1 ? c->kept : c->terms > c->block ? c->panel * SIMD(sums) : 0;
    return c->slab_size + 2 * SIMD(sums) + before + LINE / sizeof(REAL);
}

/* Bring the sums of a stretch to their places: those of `rows` channels, one after the other, or of
   `width` for each output if tall. */
static void SIMD(deliver_stretch)(const Conv *c, const Stretch *s, ptrdiff_t rows, ptrdiff_t width,
                                  REAL *sums, REAL *turned, REAL *out) {
    ptrdiff_t n = s->vectors * SIMD(lanes);
    int tall = c->tall;
    if (tall && c->accumulate) {
        SIMD(turn)(s->count, rows, sums, width, turned, n);
        sums = turned, tall = 0;
    }
    if (c->accumulate) SIMD(add_pieces)(c, s->piece, s->pieces, rows, sums, n, out);
    if (c->activation) SIMD(activate)((REAL)c->slope, sums, tall ? s->count * width : rows * n);
    if (tall && s->pieces == 1 && c->axis[2].out_step == 1 && !c->past_cache) {
        SIMD(turn_exact)(s->count, rows, sums, width, out + s->piece->to, c->out_channel);
        return;
    }
    if (tall) SIMD(turn)(s->count, rows, sums, width, turned, n);
    if (tall) sums = turned;
    for (ptrdiff_t r = 0; r < rows; r++)
        SIMD(write_pieces)(c, s->piece, s->pieces, sums + r * n, out + r * c->out_channel);
}

/* A stretch of a line, for some blocks of channels and a part of the terms. All read the same
   input, which stays in the first-level cache; the weights come from the second. `line` has room for
   the sums of two blocks, `sums` is where those of terms before are; the end of these. */
static REAL *SIMD(stretch)(const Conv *c, const Item *item, ptrdiff_t block, ptrdiff_t end,
                           const Stretch *s, const REAL *in, const ptrdiff_t *offset, REAL *out,
                           REAL *line, REAL *sums) {
    enum { L = SIMD(lanes) };
    ptrdiff_t n = s->vectors * L, begin = item->part * c->part * c->taps;
    ptrdiff_t stop = smaller(begin + c->part * c->taps, c->terms);
    REAL *partial = sums;
    int whole = s->pieces == 1 && s->piece->count == n && c->axis[2].out_step == 1 &&
                SIMD(rectifies)(c) && !c->tall;
    for (ptrdiff_t k = begin; k < stop; k += c->block) {
        ptrdiff_t terms = smaller(c->block, stop - k);
        int last = k + terms == c->terms;
        partial = sums;
        for (ptrdiff_t b = block; b < end; b++) {
            ptrdiff_t first = first_row(c, b), rows = first_row(c, b + 1) - first;
            ptrdiff_t o = item->g * c->outputs + first;
            ptrdiff_t width = c->tall ? ceil_div(rows, L) * L : rows;
            REAL bias[ROWS + 2 * L];
            SIMD(Tile)
            t = {.in = in,
                 .offset = offset + (k - begin),
                 .spread = c->axis[2].spread,
                 .weight = (const REAL *)c->packed +
                           (item->g * c->row_blocks + b) * c->rows * c->terms + k * width,
                 .terms = terms,
                 .partial = k ? partial : NULL,
                 .to = last ? line : partial,
                 .partial_row = n,
                 .to_row = c->tall ? width : n};
            if (last && c->bias) {
                for (ptrdiff_t r = 0; r < ROWS + 2 * L; r++)
                    bias[r] = r < rows ? ((const REAL *)c->bias)[o + r] : 0;
                t.bias = bias;
            }
            if (last && whole) {
                t.to = out + o * c->out_channel + s->piece->to;
                t.to_row = c->out_channel, t.how = how_to_write(c);
            }
            if (c->tall) SIMD(tall_tiles)(s, width, t);
            else SIMD(any_tile)(rows, s->vectors, &t);
            if (last && !whole)
                SIMD(deliver_stretch)(c, s, rows, width, line, line + SIMD(sums),
                                      out + o * c->out_channel);
            partial += c->tall ? s->count * width : rows * n;
        }
    }
    return partial;
}

/* A plane along D of a block of outputs, for some blocks of channels. The end of the sums that are
   kept. */
static REAL *SIMD(conv_plane)(const Conv *c, const Item *item, ptrdiff_t block, ptrdiff_t end,
                              const REAL *in, const ptrdiff_t *offset, REAL *out, REAL *line,
                              REAL *sums) {
    enum { L = SIMD(lanes) };
    const Axis *h = c->axis + 1, *w = c->axis + 2;
    ptrdiff_t length = (item->count[1] - 1) * line_pitch(c, item) + item->count[2];
    const REAL *first = out + item->start[1] * h->out_step + item->start[2] * w->out_step;
    ptrdiff_t head = c->past_cache ? (LINE - (size_t)first % LINE) % LINE / sizeof(REAL) : 0;
    if (head > length) head = length;
    Stretch s;
    for (ptrdiff_t v = 0; v < length; v += s.next) {
        if (c->tall) find_tall(c, item, v, length, L, &s);
        else find_wide(c, item, v, head, length, L, WIDTH(c->rows), &s);
        if (!s.pieces) continue;
        REAL *kept = SIMD(stretch)(c, item, block, end, &s, in + s.start, offset, out, line, sums);
        if (c->parts > 1) sums = kept;
    }
    return sums;
}

/* Depthwise: a row of the input, or of what is turned already, into the slab. */
static void SIMD(place_row)(const Conv *c, ptrdiff_t channels, ptrdiff_t first, const REAL *source,
                            const REAL *turned, REAL *row) {
    enum { L = SIMD(lanes) };
    const Axis *a = c->axis, *w = a + 2;
    ptrdiff_t begin = first < 0 ? -first : 0, end = w->size - first;
    if (end > w->length) end = w->length;
    if (begin > end) begin = end = w->length;
    for (ptrdiff_t i = 0; i < begin; i++) SIMD(store)(row + i * L, SIMD(all)(0));
    if (turned)
        for (ptrdiff_t i = begin; i < end; i++)
            SIMD(store)(row + i * L, SIMD(load)(turned + (first + i) * L));
    else
        SIMD(turn)(channels, end - begin, source + first + begin, a[0].size * a[1].size * w->size,
                   row + begin * L, L);
    for (ptrdiff_t i = end; i < w->length; i++) SIMD(store)(row + i * L, SIMD(all)(0));
}

/* A slab whose elements are vectors of channels. Rows shorter than two vectors are turned several
   at a time. */
static void SIMD(pack_depthwise)(const Conv *c, const Item *item, ptrdiff_t channels, const REAL *x,
                                 REAL *slab, REAL *turned) {
    enum { L = SIMD(lanes) };
    const Axis *d = c->axis, *h = d + 1, *w = d + 2;
    ptrdiff_t depth = plane_length(d, item->count[0]), height = plane_length(h, item->count[1]);
    ptrdiff_t volume = d->size * h->size * w->size, first = w->origin[0] + item->start[2] * w->step;
    ptrdiff_t most = w->size < 2 * L && h->spread == h->step ? MOST_TURNED / w->size : 0;
    for (ptrdiff_t pd = 0; pd < d->planes; pd++)
        for (ptrdiff_t j = 0; j < d->length; j++, slab += c->plane_size * L) {
            if (j >= depth) continue;
            ptrdiff_t z = d->origin[pd] + item->start[0] * d->step + j * (d->step / d->spread);
            REAL *row = slab;
            for (ptrdiff_t ph = 0; ph < h->planes; ph++) {
                ptrdiff_t ready = 0; /* rows from here on that are turned */
                const REAL *next = turned;
                for (ptrdiff_t k = 0; k < h->length; k++, row += w->length * L) {
                    if (k >= height) continue;
                    ptrdiff_t y =
                        h->origin[ph] + item->start[1] * h->step + k * (h->step / h->spread);
                    if (z < 0 || z >= d->size || y < 0 || y >= h->size) {
                        memset(row, 0, (size_t)(w->length * L) * sizeof(REAL));
                        continue;
                    }
                    const REAL *source = x + (z * h->size + y) * w->size;
                    if (most && ready == 0) {
                        ready = smaller(most, smaller(h->size - y, height - k));
                        SIMD(turn)(channels, ready * w->size, source, volume, turned, L);
                        next = turned;
                    }
                    SIMD(place_row)(c, channels, first, source, most ? next : NULL, row);
                    ready--, next += w->size * L;
                }
            }
        }
}

/* R outputs of a row. */
FORCE_INLINE void SIMD(depthwise)(const int R, const ptrdiff_t spread, const Conv *c,
                                  const REAL *RESTRICT in, const REAL *RESTRICT weight,
                                  SIMD(vec) bias, REAL *RESTRICT to) {
    enum { L = SIMD(lanes) };
    const ptrdiff_t *RESTRICT offset = c->offset, terms = c->terms;
    SIMD(vec) sum[12];
    EACH(r, R) sum[r] = SIMD(all)(0);
    for (ptrdiff_t k = 0; k < terms; k++) {
        const REAL *p = in + offset[k] * L;
        SIMD(vec) w = SIMD(load)(weight + k * L);
        EACH(r, R) sum[r] = SIMD(fma)(SIMD(load)(p + r * spread * L), w, sum[r]);
    }
    EACH(r, R) SIMD(store)(to + r * L, SIMD(add)(sum[r], bias));
}

#define HEIGHTS(X) X(12) X(11) X(10) X(9) X(8) X(7) X(6) X(5) X(4) X(3) X(2) X(1)
#define DEFINE(R)                                                                                  \
    static void PASTE(SIMD(depthwise), R)(const Conv *c, const REAL *in, const REAL *weight,       \
                                          SIMD(vec) bias, REAL *to) {                              \
        if (c->axis[2].spread == 1) SIMD(depthwise)(R, 1, c, in, weight, bias, to);                \
        else SIMD(depthwise)(R, c->axis[2].spread, c, in, weight, bias, to);                       \
    }
HEIGHTS(DEFINE)
#undef DEFINE
#define CASE(R)                                                                                    \
    case R: PASTE(SIMD(depthwise), R)(c, in, weight, bias, to); break;
static void SIMD(any_depthwise)(ptrdiff_t n, const Conv *c, const REAL *in, const REAL *weight,
                                SIMD(vec) bias, REAL *to) {
    switch (n) { HEIGHTS(CASE) }
}
#undef CASE
#undef HEIGHTS

/* Turn `n` outputs back to their places. */
static void SIMD(write_turned)(const Conv *c, ptrdiff_t channels, const REAL *sums, ptrdiff_t n,
                               REAL *out) {
    enum { L = SIMD(lanes) };
    ptrdiff_t step = c->axis[2].out_step;
    if (step == 1) SIMD(turn_exact)(n, channels, sums, L, out, c->out_channel);
    else
        for (ptrdiff_t i = 0; i < channels; i++)
            for (ptrdiff_t j = 0; j < n; j++) out[i * c->out_channel + j * step] = sums[j * L + i];
}

static void SIMD(depthwise_item)(const Conv *c, const Item *item, REAL *slab) {
    enum { L = SIMD(lanes), MOST = 12 };
    const Axis *a = c->axis, *h = a + 1, *w = a + 2;
    ptrdiff_t channel = item->g * L, channels = smaller(L, c->channels - channel);
    const REAL *weight = (const REAL *)c->packed + channel * c->terms;
    REAL *line = slab + c->slab_size;
    SIMD(vec) bias = SIMD(all)(0);
    if (c->bias && channels == L) bias = SIMD(load)((const REAL *)c->bias + channel);
    else if (c->bias) bias = SIMD(load_first)((const REAL *)c->bias + channel, channels);
    SIMD(pack_depthwise)(c, item, channels,
                         (const REAL *)c->x +
                             (item->n * c->channels + channel) * a[0].size * h->size * w->size,
                         slab, line);
    int joined = h->out_step == item->count[2] * w->out_step;
    ptrdiff_t rows = joined && item->count[2] < MOST_TURNED ? MOST_TURNED / item->count[2] : 1;
    for (ptrdiff_t z = 0; z < item->count[0]; z++)
        for (ptrdiff_t y = 0; y < item->count[1]; y += rows) {
            REAL *to = line;
            ptrdiff_t end = smaller(y + rows, item->count[1]);
            for (ptrdiff_t i = y; i < end; i++) {
                const REAL *in =
                    slab + (z * a[0].spread * c->plane_size + i * h->spread * w->length) * L;
                for (ptrdiff_t x = 0, n; x < item->count[2]; x += n, to += n * L) {
                    n = ceil_div(item->count[2] - x, ceil_div(item->count[2] - x, MOST));
                    SIMD(any_depthwise)(n, c, in + x * w->spread * L, weight, bias, to);
                }
            }
            if (c->activation) SIMD(activate)((REAL)c->slope, line, to - line);
            SIMD(write_turned)(c, channels, line, (to - line) / L,
                               (REAL *)c->out + item->n * c->out_batch + channel * c->out_channel +
                                   (item->start[0] + z) * a[0].out_step +
                                   (item->start[1] + y) * h->out_step +
                                   item->start[2] * w->out_step);
        }
}

/* One channel from one, pointwise: at the speed of the cache, where tiles take twice as long. */
static void SIMD(scale_item)(const Conv *c, const Item *item, const REAL *x) {
    enum { L = SIMD(lanes) };
    ptrdiff_t n = item->count[2], i = 0;
    REAL *out = (REAL *)c->out + item->n * c->out_batch + item->g * c->out_channel + item->start[2];
    SIMD(vec) weight = SIMD(all)(((const REAL *)c->packed)[item->g]);
    SIMD(vec) bias = SIMD(all)(c->bias ? ((const REAL *)c->bias)[item->g] : 0);
    for (; i + L <= n; i += L)
        SIMD(store)(out + i, SIMD(add)(SIMD(mul)(weight, SIMD(load)(x + i)), bias));
    SIMD(vec) last = SIMD(mul)(weight, SIMD(load_first)(x + i, n - i));
    SIMD(store_first)(out + i, SIMD(add)(last, bias), n - i);
}

#include "conv_dots_kernels.h"
#ifdef SIMD_MASKS
#include "conv_strided_kernels.h"
#endif

/* Compute a block of outputs of a chunk of channels. */
static void SIMD(conv_block)(const Conv *c, Item *item, const REAL *x, REAL *slab) {
    const Axis *d = c->axis;
    ptrdiff_t volume = d->size * d[1].size * d[2].size;
    REAL *line = slab + c->slab_size, *out = (REAL *)c->out + item->n * c->out_batch;
    for (; item->part < c->parts; item->part++, x += c->part * volume) {
        ptrdiff_t inputs = smaller(c->part, c->inputs - item->part * c->part);
        if (!c->in_place) SIMD(pack_slab)(c, item, inputs, x, slab);
        REAL *sums = line + 2 * SIMD(sums);
        ptrdiff_t b = item->chunk * c->chunk, end = smaller(b + c->chunk, c->row_blocks);
        for (; b < end; b += c->panel)
            for (ptrdiff_t z = 0; z < item->count[0]; z++) {
                const REAL *in = c->in_place ? x + item->start[2] : slab;
                if (!c->ring) in += z * d->spread * c->plane_size;
                sums = SIMD(conv_plane)(c, item, b, smaller(b + c->panel, end), in,
                                        c->offset +
                                            first_plane(c, item->start[0] + z) * c->part * c->taps,
                                        out + (item->start[0] + z) * d->out_step, line, sums);
            }
    }
}

/* Compute one work item: a block, or several one behind the other along D. */
static void SIMD(conv_item)(const Conv *c, ptrdiff_t index, REAL *scratch) {
    Item item = find_item(c, index);
    const Axis *a = c->axis;
    scratch += (LINE - (size_t)scratch % LINE) % LINE / sizeof(REAL);
    if (c->channels) {
        SIMD(depthwise_item)(c, &item, scratch);
        return;
    }
    if (c->dots) {
        SIMD(dots_item)(c, &item, scratch);
        return;
    }
    ptrdiff_t volume = a[0].size * a[1].size * a[2].size;
    const REAL *x = (const REAL *)c->x + (item.n * c->groups + item.g) * c->inputs * volume;
#ifdef SIMD_MASKS
    if (c->strided) {
        SIMD(strided_item)(c, &item, x);
        if (c->past_cache) stream_end();
        return;
    }
#endif
    if (c->in_place && c->terms == 1 && c->outputs == 1 && !c->activation && !c->past_cache &&
        !c->accumulate) {
        SIMD(scale_item)(c, &item, x + item.start[2]);
        return;
    }
    SIMD(conv_block)(c, &item, x, scratch);
    for (ptrdiff_t i = 1; c->ring && i < c->run && item.start[0] + a->block < a->count; i++) {
        next_block(c, &item);
        SIMD(conv_block)(c, &item, x, scratch);
    }
    if (c->past_cache) stream_end();
}
