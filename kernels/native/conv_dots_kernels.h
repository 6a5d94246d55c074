/* Few outputs of many channels, for one type, REAL: lanes are input channels, and an output is a sum
   of vectors whose lanes are added at the end. Any stride and width wastes nothing but lanes that
   have no channel; the price is to turn the input, as depthwise. */

/* Sums of P positions and R output channels over some terms, added to those `before`. */
FORCE_INLINE void SIMD(dots)(const int P, const int R, const REAL *const *in,
                             const ptrdiff_t *RESTRICT offset, ptrdiff_t terms,
                             const REAL *RESTRICT weight, int before, REAL *RESTRICT sums) {
    enum { L = SIMD(lanes) };
    const REAL *p[DOT_POSITIONS];
    SIMD(vec) sum[DOT_POSITIONS][DOT_ROWS];
    EACH(i, P) {
        p[i] = in[i];
        EACH(r, R) sum[i][r] = SIMD(all)(0);
    }
    for (ptrdiff_t k = 0; k < terms; k++, weight += R * L) {
        ptrdiff_t from = offset[k] * L;
        SIMD(vec) w[DOT_ROWS];
        EACH(r, R) w[r] = SIMD(load)(weight + r * L);
        EACH(i, P) {
            SIMD(vec) x = SIMD(load)(p[i] + from);
            EACH(r, R) sum[i][r] = SIMD(fma)(x, w[r], sum[i][r]);
        }
    }
    EACH(i, P)
        EACH(r, R) {
            REAL *to = sums + (i * R + r) * L;
            SIMD(store)(to, before ? SIMD(add)(sum[i][r], SIMD(load)(to)) : sum[i][r]);
        }
}

/* clang-format off */
#if SIMD_REGISTERS == 32
#define SHAPES(X) \
    X(6, 4) X(5, 4) X(4, 4) X(3, 4) X(2, 4) X(1, 4) X(6, 3) X(5, 3) X(4, 3) X(3, 3) X(2, 3) X(1, 3) \
    X(6, 2) X(5, 2) X(4, 2) X(3, 2) X(2, 2) X(1, 2) X(6, 1) X(5, 1) X(4, 1) X(3, 1) X(2, 1) X(1, 1)
#else
#define SHAPES(X) X(3, 3) X(2, 3) X(1, 3) X(3, 2) X(2, 2) X(1, 2) X(3, 1) X(2, 1) X(1, 1)
#endif
/* clang-format on */
#define CASE(P, R)                                                                                 \
    case 8 * P + R: SIMD(dots)(P, R, in, offset, terms, weight, before, sums); break;
static void SIMD(any_dots)(ptrdiff_t positions, ptrdiff_t rows, const REAL *const *in,
                           const ptrdiff_t *offset, ptrdiff_t terms, const REAL *weight, int before,
                           REAL *sums) {
    switch (8 * positions + rows) { SHAPES(CASE) }
}
#undef CASE
#undef SHAPES

/* All positions of a block, for some output channels and terms from `first` on. */
static void SIMD(dots_of_block)(const Conv *c, const Item *item, ptrdiff_t rows, const REAL *slab,
                                ptrdiff_t first, ptrdiff_t terms, const REAL *weight, REAL *sums) {
    enum { L = SIMD(lanes) };
    const Axis *d = c->axis, *h = d + 1, *w = d + 2;
    const REAL *in[DOT_POSITIONS];
    ptrdiff_t left = item->count[0] * item->count[1] * item->count[2], n = 0, most = 0;
    for (ptrdiff_t z = 0; z < item->count[0]; z++)
        for (ptrdiff_t y = 0; y < item->count[1]; y++)
            for (ptrdiff_t x = 0; x < item->count[2]; x++) {
                if (n == 0) most = even_block(left, DOT_POSITIONS);
                in[n++] =
                    slab +
                    (z * d->spread * c->plane_size + y * h->spread * w->length + x * w->spread) * L;
                if (n < most) continue;
                SIMD(any_dots)(n, rows, in, c->offset + first, terms, weight,
                               item->part + first > 0, sums);
                sums += n * rows * L, left -= n, n = 0;
            }
}

/* to[i] = the sum of the lanes of sums[i * apart], whole vectors of them, plus `bias`. */
static void SIMD(add_lanes)(const REAL *sums, ptrdiff_t apart, ptrdiff_t n, REAL bias, REAL *to) {
    enum { L = SIMD(lanes) };
    for (ptrdiff_t i = 0; i < n; i += L) {
        SIMD(vec) a[L];
        EACH(k, L) a[k] = i + k < n ? SIMD(load)(sums + (i + k) * apart) : SIMD(all)(0);
        SIMD(transpose)(a);
        for (int half = L / 2; half > 0; half /= 2)
            for (int k = 0; k < half; k++) a[k] = SIMD(add)(a[k], a[k + half]);
        SIMD(store)(to + i, SIMD(add)(a[0], SIMD(all)(bias)));
    }
}

/* Add the lanes of a block's sums for some output channels, and bring them to their places. */
static void SIMD(deliver_dots)(const Conv *c, const Item *item, ptrdiff_t first, ptrdiff_t rows,
                               const REAL *sums, REAL *line) {
    const Axis *a = c->axis;
    ptrdiff_t n = item->count[0] * item->count[1] * item->count[2];
    for (ptrdiff_t r = 0; r < rows; r++) {
        REAL bias = c->bias ? ((const REAL *)c->bias)[first + r] : 0, *from = line;
        REAL *out = (REAL *)c->out + item->n * c->out_batch + (first + r) * c->out_channel;
        SIMD(add_lanes)(sums + r * SIMD(lanes), rows * SIMD(lanes), n, bias, line);
        if (c->activation) SIMD(activate)((REAL)c->slope, line, n);
        for (ptrdiff_t z = 0; z < item->count[0]; z++)
            for (ptrdiff_t y = 0; y < item->count[1]; y++, from += item->count[2]) {
                Piece row = {0,
                             (item->start[0] + z) * a[0].out_step +
                                 (item->start[1] + y) * a[1].out_step +
                                 item->start[2] * a[2].out_step,
                             item->count[2]};
                SIMD(write_pieces)(c, &row, 1, from, out);
            }
    }
}

/* One work item: the slab of some vectors of channels at a time. */
static void SIMD(dots_item)(const Conv *c, Item *item, REAL *slab) {
    enum { L = SIMD(lanes) };
    const Axis *a = c->axis;
    ptrdiff_t volume = a[0].size * a[1].size * a[2].size, channels = c->terms / c->taps;
    ptrdiff_t vector = a[0].planes * a[0].length * c->plane_size * L;
    ptrdiff_t positions = item->count[0] * item->count[1] * item->count[2];
    ptrdiff_t b = item->chunk * c->chunk, end = smaller(b + c->chunk, c->row_blocks);
    const REAL *x = (const REAL *)c->x + (item->n * c->groups + item->g) * channels * volume;
    REAL *kept = slab + c->slab_size, *turned = kept + c->kept * L,
         *line = turned + MOST_TURNED * L;
    for (; item->part < c->parts; item->part++) {
        ptrdiff_t first = item->part * c->part, inputs = smaller(c->part, c->inputs - first);
        for (ptrdiff_t i = 0; i < inputs; i++)
            SIMD(pack_depthwise)(c, item, smaller(channels - (first + i) * L, L),
                                 x + (first + i) * L * volume, slab + i * vector, turned);
        for (ptrdiff_t k = 0; k < inputs * c->taps; k += c->block) {
            REAL *sums = kept;
            for (ptrdiff_t i = b; i < end; i++) {
                ptrdiff_t rows = first_row(c, i + 1) - first_row(c, i);
                const REAL *weight = (const REAL *)c->packed +
                                     (item->g * c->row_blocks + i) * c->rows * c->weights +
                                     (first * c->taps + k) * rows * L;
                SIMD(dots_of_block)(c, item, rows, slab, k, smaller(c->block, inputs * c->taps - k),
                                    weight, sums);
                sums += positions * rows * L;
            }
        }
    }
    for (const REAL *sums = kept; b < end; b++) {
        ptrdiff_t first = first_row(c, b), rows = first_row(c, b + 1) - first;
        SIMD(deliver_dots)(c, item, item->g * c->outputs + first, rows, sums, line);
        sums += positions * rows * L;
    }
}
