/* The loops of conv_winograd.h for one type, REAL. */

/* Channels per partial sum: each block is summed on its own and added to the total, and the error
   stops growing with the number of channels. In blocks of 32 it is a third larger, and only one in
   thirty products faster. */
#define BLOCK 16
#define AHEAD 4    /* kernels fetched before they are turned, where they lie far apart */
#define TURNED 216 /* elements of kernels per output channel that are turned at a time */
#define NEAR 128   /* channels whose weights stay in the first-level cache while tiles pass */

/* B^T d, in place: the values at P of the interpolation, transposed. A row for a point and one for
   its negative are the even part plus and minus the odd. */
FORCE_INLINE void SIMD(transform_input)(const int points, SIMD(vec) * d) {
    if (points == 4) {
        SIMD(vec) even = d[2], odd = d[1];
        d[0] = SIMD(sub)(even, d[0]), d[3] = SIMD(sub)(d[3], odd);
        d[1] = SIMD(add)(even, odd), d[2] = SIMD(sub)(even, odd);
    } else if (points == 6) {
        const SIMD(vec) p2 = SIMD(all)((REAL)(-P * P)), q2 = SIMD(all)((REAL)(-Q * Q));
        const SIMD(vec) both = SIMD(all)((REAL)(-P * P - Q * Q));
        SIMD(vec) even_p = SIMD(fma)(q2, d[2], d[4]), even_q = SIMD(fma)(p2, d[2], d[4]);
        SIMD(vec) odd_p = SIMD(mul)(SIMD(all)((REAL)P), SIMD(fma)(q2, d[1], d[3]));
        SIMD(vec) odd_q = SIMD(mul)(SIMD(all)((REAL)Q), SIMD(fma)(p2, d[1], d[3]));
        d[0] = SIMD(fma)(both, d[2], SIMD(add)(d[0], d[4]));
        d[5] = SIMD(fma)(both, d[3], SIMD(add)(d[1], d[5]));
        d[1] = SIMD(add)(even_p, odd_p), d[2] = SIMD(sub)(even_p, odd_p);
        d[3] = SIMD(add)(even_q, odd_q), d[4] = SIMD(sub)(even_q, odd_q);
    }
}

/* A^T m, in place, `tile` results: powers of the points, even ones of the sum of a pair, odd ones
   of the difference. */
FORCE_INLINE void SIMD(transform_output)(const int points, const int tile, SIMD(vec) * m) {
    if (points == 1) return;
    SIMD(vec) sum = SIMD(add)(m[1], m[2]), dif = SIMD(sub)(m[1], m[2]), last = m[points - 1];
    SIMD(vec) sum2 = sum, dif2 = dif;
    double p = 1, q = 1;
    if (points == 6) sum2 = SIMD(add)(m[3], m[4]), dif2 = SIMD(sub)(m[3], m[4]);
    EACH(j, tile) {
        SIMD(vec) y = j % 2 ? dif : sum, y2 = j % 2 ? dif2 : sum2;
        if (points == 4) y = j == 0 ? SIMD(add)(m[0], y) : y;
        else if (j == 0) y = SIMD(add)(m[0], SIMD(add)(y, y2));
        else y = SIMD(fma)(SIMD(all)((REAL)q), y2, SIMD(mul)(SIMD(all)((REAL)p), y));
        m[j] = j == tile - 1 ? SIMD(add)(y, last) : y;
        p *= P, q *= Q;
    }
}

/* A g, in place, the adjoint of the above: `tile` gradients to `points`. */
FORCE_INLINE void SIMD(transform_gradient)(const int points, const int tile, SIMD(vec) * g) {
    SIMD(vec) last = g[tile - 1], even[2], odd[2];
    EACH(i, 2) {
        if (2 * i + 2 >= points - 1) continue;
        double p = points == 4 ? 1 : i == 0 ? P : Q, power = p * p;
        even[i] = g[0], odd[i] = SIMD(mul)(SIMD(all)((REAL)p), g[1]);
        EACH(j, tile) {
            if (j < 2) continue;
            if (j % 2) odd[i] = SIMD(fma)(SIMD(all)((REAL)power), g[j], odd[i]);
            else even[i] = SIMD(fma)(SIMD(all)((REAL)power), g[j], even[i]);
            power *= p;
        }
    }
    EACH(i, 2) {
        if (2 * i + 2 >= points - 1) continue;
        g[1 + 2 * i] = SIMD(add)(even[i], odd[i]);
        g[2 + 2 * i] = SIMD(sub)(even[i], odd[i]);
    }
    g[points - 1] = last;
}

/* Steps through an array: along a line to be transformed, and to the next lines. */
typedef struct {
    ptrdiff_t line, row, column;
} SIMD(Steps);

FORCE_INLINE void SIMD(lines_in)(const int points, const int tile, const int spread, ptrdiff_t rows,
                                 ptrdiff_t columns, const REAL *from, SIMD(Steps) f, REAL *to,
                                 SIMD(Steps) t) {
    for (ptrdiff_t i = 0; i < rows; i++)
        for (ptrdiff_t j = 0; j < columns; j++) {
            SIMD(vec) d[MOST_POINTS];
            const REAL *p = from + i * f.row + j * f.column;
            REAL *q = to + i * t.row + j * t.column;
            EACH(k, points)
                if (!spread || k < tile) d[k] = SIMD(load)(p + k * f.line);
            if (spread) SIMD(transform_gradient)(points, tile, d);
            else SIMD(transform_input)(points, d);
            EACH(k, points) SIMD(store)(q + k * t.line, d[k]);
        }
}

/* Lines of the input, or (`spread`) of the gradient to the output. Not inlined: the callers'
   registers are few. */
NO_INLINE void SIMD(transform_lines_in)(const WinogradAxis *a, int spread, ptrdiff_t rows,
                                        ptrdiff_t columns, const REAL *from, SIMD(Steps) f,
                                        REAL *to, SIMD(Steps) t) {
    int kind = (int)(a->points * 8 + (spread ? a->tile : 0));
    switch (kind) {
    case 6 * 8: SIMD(lines_in)(6, 0, 0, rows, columns, from, f, to, t); break;
    case 4 * 8: SIMD(lines_in)(4, 0, 0, rows, columns, from, f, to, t); break;
    case 6 * 8 + 4: SIMD(lines_in)(6, 4, 1, rows, columns, from, f, to, t); break;
    case 6 * 8 + 2: SIMD(lines_in)(6, 2, 1, rows, columns, from, f, to, t); break;
    case 6 * 8 + 3: SIMD(lines_in)(6, 3, 1, rows, columns, from, f, to, t); break;
    case 6 * 8 + 5: SIMD(lines_in)(6, 5, 1, rows, columns, from, f, to, t); break;
    case 4 * 8 + 2: SIMD(lines_in)(4, 2, 1, rows, columns, from, f, to, t); break;
    case 4 * 8 + 3: SIMD(lines_in)(4, 3, 1, rows, columns, from, f, to, t); break;
    default: SIMD(lines_in)(1, 1, 0, rows, columns, from, f, to, t);
    }
}

FORCE_INLINE void SIMD(lines_out)(const int points, const int tile, ptrdiff_t rows,
                                  ptrdiff_t columns, const REAL *from, SIMD(Steps) f, REAL *to,
                                  SIMD(Steps) t) {
    for (ptrdiff_t i = 0; i < rows; i++)
        for (ptrdiff_t j = 0; j < columns; j++) {
            SIMD(vec) m[MOST_POINTS];
            const REAL *p = from + i * f.row + j * f.column;
            REAL *q = to + i * t.row + j * t.column;
            EACH(k, points) m[k] = SIMD(load)(p + k * f.line);
            SIMD(transform_output)(points, tile, m);
            EACH(k, tile) SIMD(store)(q + k * t.line, m[k]);
        }
}

NO_INLINE void SIMD(transform_lines_out)(const WinogradAxis *a, ptrdiff_t rows, ptrdiff_t columns,
                                         const REAL *from, SIMD(Steps) f, REAL *to, SIMD(Steps) t) {
    switch (a->points * 8 + a->tile) {
    case 6 * 8 + 4: SIMD(lines_out)(6, 4, rows, columns, from, f, to, t); break;
    case 6 * 8 + 2: SIMD(lines_out)(6, 2, rows, columns, from, f, to, t); break;
    case 6 * 8 + 3: SIMD(lines_out)(6, 3, rows, columns, from, f, to, t); break;
    case 6 * 8 + 5: SIMD(lines_out)(6, 5, rows, columns, from, f, to, t); break;
    case 4 * 8 + 2: SIMD(lines_out)(4, 2, rows, columns, from, f, to, t); break;
    case 4 * 8 + 3: SIMD(lines_out)(4, 3, rows, columns, from, f, to, t); break;
    default: SIMD(lines_out)(1, 1, rows, columns, from, f, to, t);
    }
}

/* target[i][lane] = x[lane * channel + i] for n <= L elements of each of `channels` channels. */
FORCE_INLINE void SIMD(fetch_square)(const REAL *x, ptrdiff_t channel, ptrdiff_t channels,
                                     ptrdiff_t n, REAL *target) {
    enum { L = SIMD(lanes) };
    SIMD(vec) v[L];
    if (n == L && channels == L)
        EACH(j, L) v[j] = SIMD(load)(x + j * channel);
    else if (channels == L)
        EACH(j, L) v[j] = SIMD(load_first)(x + j * channel, n);
    else
        EACH(j, L) v[j] = j < channels ? SIMD(load_first)(x + j * channel, n) : SIMD(all)(0);
    SIMD(transpose)(v);
    EACH(j, L)
        if (j < n) SIMD(store)(target + j * L, v[j]);
}

/* The reverse: x[lane * channel + i] = source[i][lane]. */
FORCE_INLINE void SIMD(deliver_square)(const REAL *source, ptrdiff_t n, ptrdiff_t channels, REAL *x,
                                       ptrdiff_t channel) {
    enum { L = SIMD(lanes) };
    SIMD(vec) v[L];
    EACH(j, L) v[j] = SIMD(load)(source + j * L);
    SIMD(transpose)(v);
    if (n == L && channels == L)
        EACH(j, L) SIMD(store)(x + j * channel, v[j]);
    else
        EACH(j, L)
            if (j < channels) SIMD(store_first)(x + j * channel, v[j], n);
}

/* target[i][lane] = x[lane * channel + first + i], 0 outside of the row and behind `channels`. */
static void SIMD(fetch_row)(const REAL *x, ptrdiff_t channel, ptrdiff_t channels, ptrdiff_t size,
                            ptrdiff_t first, ptrdiff_t count, REAL *target) {
    enum { L = SIMD(lanes) };
    ptrdiff_t i = 0, end = smaller(count, size - first);
    const SIMD(vec) zero = SIMD(all)(0);
    for (; i < count && first + i < 0; i++) SIMD(store)(target + i * L, zero);
    for (; i + L <= end && channels == L; i += L) {
        const REAL *p = x + first + i;
        /* As many streams as channels are too many for the hardware: fetch the next row but one. */
        for (int j = 0; j < L; j++) PREFETCH(p + j * channel + 2 * size);
        SIMD(fetch_square)(p, channel, L, L, target + i * L);
    }
    for (; i < end; i += L)
        SIMD(fetch_square)(x + first + i, channel, channels, smaller(L, end - i), target + i * L);
    for (i = end > 0 ? end : i; i < count; i++) SIMD(store)(target + i * L, zero);
}

/* The reverse: x[lane * channel + i] = source[i][lane]; reads whole squares of `source`. */
static void SIMD(deliver_row)(const REAL *source, ptrdiff_t count, ptrdiff_t channels, REAL *x,
                              ptrdiff_t channel) {
    enum { L = SIMD(lanes) };
    ptrdiff_t i = 0;
    for (; i + L <= count && channels == L; i += L)
        SIMD(deliver_square)(source + i * L, L, L, x + i, channel);
    for (; i < count; i += L)
        SIMD(deliver_square)(source + i * L, smaller(L, count - i), channels, x + i, channel);
}

/* Scratch of a thread, by parts. */
typedef struct {
    REAL *row;             /* a row of the region or of the output, vectors of channels */
    REAL *rows;            /* all rows of the region, transformed along W */
    REAL *tile;            /* a tile between two axes */
    REAL *back;            /* a row of tiles, to be transformed back along W */
    REAL *in;              /* V, where no other work item reads it */
    REAL *product;         /* M */
    REAL *sum;             /* of the gradient of the transformed weights */
    REAL *unpack, *kernel; /* and on its way back */
    REAL *weight;          /* a part of U, where that is made for each block */
    Tap *tap;              /* those of a run of tiles */
} SIMD(Scratch);

/* The next `n` elements of `memory`, of which `used` are taken; only counted where there is none. */
static REAL *SIMD(part)(REAL *memory, ptrdiff_t *used, ptrdiff_t n) {
    REAL *start = memory ? memory + *used : NULL;
    *used += n;
    return start;
}

/* Input channels whose kernels are turned at a time: they lie in the first-level cache, yet rows are
   long enough to be fetched ahead. */
static ptrdiff_t SIMD(turned)(const Winograd *c) {
    return ceil_div(TURNED, c->axis[0].taps * c->axis[1].taps * c->axis[2].taps);
}

/* Scratch elements of the kernels of some input channels and two vectors of output channels: a few
   of them turned, all transformed along D, and a plane of them along H. */
static ptrdiff_t SIMD(kernel_scratch)(const Winograd *c, ptrdiff_t inputs) {
    const WinogradAxis *a = c->axis;
    ptrdiff_t plane = a[1].taps * a[2].taps, face = transformed(a + 1) * a[2].taps;
    ptrdiff_t turned = SIMD(turned)(c) * a[0].taps * plane;
    return SIMD(lanes) * (turned + 2 * inputs * (transformed(a) * plane + face));
}

/* Hand out a thread's memory; returns its size in elements. `c->chunk_in` is 0 but for the gradient
   of the weights. */
static ptrdiff_t SIMD(cut)(SIMD(Scratch) * s, const Winograd *c, REAL *memory) {
    enum { L = SIMD(lanes), TILE = MOST_POINTS * MOST_POINTS * MOST_POINTS * L };
    const WinogradAxis *w = c->axis + 2;
    ptrdiff_t row = region(w, w->block), out = w->block * w->tile, size = 0;
    ptrdiff_t inputs = ceil_div(c->chunk_in ? c->chunk_in : c->inputs, L), outputs = 2;
    ptrdiff_t kernel = c->axis[0].taps * c->axis[1].taps * c->axis[2].taps;
    s->tile = SIMD(part)(memory, &size, TILE);
    s->row = SIMD(part)(memory, &size, ceil_div(row > out ? row : out, L) * L * L);
    s->back = SIMD(part)(memory, &size, w->block * TILE);
    s->rows = SIMD(part)(memory, &size, c->rows * L);
    if (c->chunks == 1) s->in = SIMD(part)(memory, &size, inputs * c->points * c->grid * L);
    if (c->chunk_in) {
        outputs = ceil_div(c->chunk, L);
        s->sum = SIMD(part)(memory, &size, outputs * c->points * c->taps * inputs * L * L);
        s->unpack = SIMD(part)(memory, &size, SIMD(kernel_scratch)(c, SIMD(turned)(c)));
        s->kernel = SIMD(part)(memory, &size, ceil_div(SIMD(turned)(c) * kernel, L) * L * L);
    }
    if (c->fresh) {
        s->weight = SIMD(part)(memory, &size, 2 * c->fresh * w->points * L);
        s->kernel = SIMD(part)(memory, &size, SIMD(kernel_scratch)(c, c->fresh));
    }
    s->product = SIMD(part)(memory, &size, outputs * c->points * c->tiles * L);
    s->tap = (Tap *)SIMD(part)(memory, &size, c->taps * (ptrdiff_t)sizeof(*s->tap));
    return size;
}

/* Scratch elements that one work item needs. */
static ptrdiff_t SIMD(winograd_scratch)(const Winograd *c) {
    SIMD(Scratch) s;
    return SIMD(cut)(&s, c, NULL);
}

/* What is transformed: the input, or the gradient to the output. */
typedef struct {
    int spread;         /* the gradient */
    ptrdiff_t size[3];  /* of the array */
    ptrdiff_t first[3]; /* its position at the block's first row */
    ptrdiff_t region[3];
    ptrdiff_t step[3]; /* positions from one tile to the next */
    ptrdiff_t line[3]; /* positions of a tile */
    ptrdiff_t tiles[3];
    ptrdiff_t number[3]; /* from one tile to the next in the result */
    ptrdiff_t room;      /* tiles at each point of the result */
} SIMD(View);

static SIMD(View) SIMD(view)(const Winograd *c, const Tiles *t, int spread) {
    SIMD(View) v = {.spread = spread, .room = spread ? t->out_room : t->in_room};
    for (int i = 0; i < 3; i++) {
        const WinogradAxis *a = c->axis + i;
        v.size[i] = spread ? a->count : a->size;
        v.step[i] = a->tile, v.line[i] = spread ? a->tile : a->points;
        v.first[i] = spread ? t->first[i] * a->tile
                            : t->first[i] * (is_summed(a) ? a->step : a->tile) - a->padding;
        v.region[i] = spread ? t->tiles[i] * a->tile : t->region[i];
        v.tiles[i] = spread ? t->tiles[i] : t->grid[i];
        v.number[i] = spread ? t->out[i] : t->in[i];
    }
    return v;
}

/* The rows that a block reads of one sample's vector of channels, transformed along W. */
static void SIMD(fetch_rows)(const Winograd *c, const SIMD(View) * v, const REAL *x,
                             ptrdiff_t channels, SIMD(Scratch) * s) {
    enum { L = SIMD(lanes) };
    const WinogradAxis *w = c->axis + 2;
    ptrdiff_t line = v->tiles[2] * w->points * L, channel = v->size[0] * v->size[1] * v->size[2];
    SIMD(Steps) from = {L, 0, v->step[2] * L}, to = {L, 0, w->points * L};
    REAL *target = s->rows;
    for (ptrdiff_t z = v->first[0]; z < v->first[0] + v->region[0]; z++)
        for (ptrdiff_t y = v->first[1]; y < v->first[1] + v->region[1]; y++, target += line) {
            if (z < 0 || z >= v->size[0] || y < 0 || y >= v->size[1]) {
                memset(target, 0, (size_t)line * sizeof(REAL));
                continue;
            }
            SIMD(fetch_row)(x + (z * v->size[1] + y) * v->size[2], channel, channels, v->size[2],
                            v->first[2], v->region[2], s->row);
            SIMD(transform_lines_in)(w, v->spread, 1, v->tiles[2], s->row, from, target, to);
        }
}

/* The other two axes, to [point][tile][lane]: one vector of channels of one sample. */
static void SIMD(transform_tiles)(const Winograd *c, const SIMD(View) * v, SIMD(Scratch) * s,
                                  REAL *result) {
    enum { L = SIMD(lanes) };
    const WinogradAxis *d = c->axis, *h = d + 1, *w = d + 2;
    ptrdiff_t face = w->points * L, line = v->tiles[2] * face, plane = v->region[1] * line;
    ptrdiff_t point = v->room * L, across = h->points * face;
    SIMD(Steps) rows = {line, plane, L}, middle = {face, across, L}, depth = {across, 0, L};
    SIMD(Steps) from_rows = {plane, 0, L}, flat = {w->points * point, 0, point};
    SIMD(Steps) deep = {h->points * w->points * point, 0, point};
    for (ptrdiff_t z = 0; z < v->tiles[0]; z++)
        for (ptrdiff_t y = 0; y < v->tiles[1]; y++)
            for (ptrdiff_t x = 0; x < v->tiles[2]; x++) {
                const REAL *from =
                    s->rows + z * v->step[0] * plane + y * v->step[1] * line + x * face;
                REAL *to = result + (z * v->number[0] + y * v->number[1] + x * v->number[2]) * L;
                if (is_summed(d))
                    SIMD(transform_lines_in)(h, v->spread, 1, w->points, from, rows, to, flat);
                else if (is_summed(h))
                    SIMD(transform_lines_in)(d, v->spread, 1, w->points, from, from_rows, to, deep);
                else {
                    SIMD(transform_lines_in)(h, v->spread, v->line[0], w->points, from, rows,
                                             s->tile, middle);
                    SIMD(transform_lines_in)(d, v->spread, 1, h->points * w->points, s->tile, depth,
                                             to, deep);
                }
            }
}

/* R tiles by C vectors of output channels: add the products with one input channel. */
FORCE_INLINE void SIMD(product)(const int R, const int C, const REAL *in, const REAL *weight,
                                SIMD(vec) sum[7][2]) {
    enum { L = SIMD(lanes) };
    SIMD(vec) u[2];
    EACH(v, C) u[v] = SIMD(load)(weight + v * L);
    EACH(r, R) {
        SIMD(vec) x = SIMD(all)(in[r * L]);
        EACH(v, C) sum[r][v] = SIMD(fma)(x, u[v], sum[r][v]);
    }
}

/* What a run of products reads and writes. */
typedef struct {
    const REAL *in, *weight;
    const REAL *next; /* weights to fetch for later, `pace` elements per channel */
    ptrdiff_t pace;
    ptrdiff_t step; /* of `in`, from one vector of channels to the next */
    ptrdiff_t channels;
    int fresh; /* the first products of `out`, which others are added to */
    REAL *out;
    ptrdiff_t half; /* of `out`, from one vector of output channels to the next */
} SIMD(Run);

/* The products of one point and one tap, summed over some channels. Even and odd channels have sums
   of their own, in registers. */
FORCE_INLINE void SIMD(products)(const int R, const int C, const SIMD(Run) * given) {
    enum { L = SIMD(lanes) };
    const SIMD(Run) run = *given; /* in registers, whatever is stored */
    const REAL *weight = run.weight, *next = run.next;
    int fresh = run.fresh;
    for (ptrdiff_t first = 0; first < run.channels; first += BLOCK, fresh = 0) {
        ptrdiff_t end = smaller(run.channels, first + BLOCK);
        SIMD(vec) even[7][2], odd[7][2];
        EACH(r, R)
            EACH(v, C) even[r][v] = odd[r][v] = SIMD(all)(0);
        for (ptrdiff_t i = first; i < end; i += L) {
            const REAL *p = run.in + i / L * run.step, *stop = p + smaller(L, end - i);
            for (; p + 2 <= stop; p += 2, weight += 2 * C * L, next += 2 * run.pace) {
                EACH(v, 2 * C) PREFETCH(next + v * L);
                SIMD(product)(R, C, p, weight, even);
                SIMD(product)(R, C, p + 1, weight + C * L, odd);
            }
            if (p < stop) {
                SIMD(product)(R, C, p, weight, even);
                weight += C * L;
            }
        }
        EACH(r, R)
            EACH(v, C) {
                REAL *q = run.out + r * L + v * run.half;
                SIMD(vec) sum = SIMD(add)(even[r][v], odd[r][v]);
                SIMD(store)(q, fresh ? sum : SIMD(add)(sum, SIMD(load)(q)));
            }
    }
}

#define PRODUCTS(R)                                                                                \
    case R:                                                                                        \
        if (columns == 2) SIMD(products)(R, 2, run);                                               \
        else SIMD(products)(R, 1, run);                                                            \
        break;
/* 4*R sums, 2 weights and an input (and a product, where it is not fused) fit the registers. */
#if SIMD_REGISTERS == 32
#define ROWS 7
#elif defined(SIMD_UNFUSED)
#define ROWS 2
#else
#define ROWS 3
#endif
static void SIMD(product_rows)(ptrdiff_t rows, int columns, const SIMD(Run) * run) {
    switch (rows) {
#if ROWS == 7
        PRODUCTS(7)
        PRODUCTS(6)
        PRODUCTS(5)
        PRODUCTS(4)
#endif
#if ROWS >= 3
        PRODUCTS(3)
#endif
        PRODUCTS(2) PRODUCTS(1)
    }
}
#undef PRODUCTS

/* Where the taps that are summed directly read V, from the tile at which a run starts, and their
   weights. Taps that lie in the padding add nothing and are left out, but for one. */
static ptrdiff_t SIMD(find_taps)(const Winograd *c, const Tiles *t, ptrdiff_t run, Tap *tap) {
    enum { L = SIMD(lanes) };
    ptrdiff_t found = 0, at[3];
    for (int i = 2; i >= 0; i--) {
        const WinogradAxis *a = c->axis + i;
        at[i] = is_outer(a) ? (t->first[i] + run % t->tiles[i]) * a->step - a->padding : 0;
        if (is_outer(a)) run /= t->tiles[i];
    }
    for (ptrdiff_t k = 0; k < c->taps; k++) {
        ptrdiff_t left = k, offset = 0;
        int inside = 1;
        for (int i = 2; i >= 0; i--) {
            const WinogradAxis *a = c->axis + i;
            if (!is_outer(a)) continue;
            ptrdiff_t position = left % a->taps * a->dilation;
            left /= a->taps;
            offset += position * t->in[i];
            inside &= at[i] + position >= 0 && at[i] + position < a->size;
        }
        if (inside || (k == c->taps - 1 && !found)) {
            tap[found].in = offset * L;
            tap[found++].number = k;
        }
    }
    return found;
}

/* The tile of V at which the `index`-th run of inner tiles starts. */
static ptrdiff_t SIMD(outer_tile)(const WinogradAxis *a, const Tiles *t, ptrdiff_t index) {
    ptrdiff_t tile = 0;
    for (int i = 2; i >= 0; i--)
        if (is_outer(a + i)) {
            tile += index % t->tiles[i] * a[i].step * t->in[i];
            index /= t->tiles[i];
        }
    return tile;
}

/* The products of one point and one tap for a run of tiles. */
static void SIMD(multiply_run)(const Tiles *t, int columns, SIMD(Run) run) {
    enum { L = SIMD(lanes) };
    const ptrdiff_t pieces = ceil_div(t->inner, ROWS), fresh = run.fresh, inputs = run.channels;
    const REAL *in = run.in;
    REAL *out = run.out;
    for (ptrdiff_t first = 0; first < inputs; first += NEAR) {
        run.channels = smaller(NEAR, inputs - first), run.fresh = fresh && first == 0;
        ptrdiff_t block = run.channels * columns * L;
        /* The next weights may come from far: the first pieces fetch a share of them each. */
        ptrdiff_t share = pieces >= 4 ? 4 : pieces >= 2 ? 2 : 1;
        run.pace = columns * L / share;
        for (ptrdiff_t i = 0; i < pieces; i++) {
            ptrdiff_t tile = t->inner * i / pieces, end = t->inner * (i + 1) / pieces;
            run.in = in + first / L * run.step + tile * L, run.out = out + tile * L;
            run.next = run.weight + block + block / share * smaller(i, share - 1);
            SIMD(product_rows)(end - tile, columns, &run);
        }
        run.weight += block;
    }
}

/* Products of a block between up to two vectors of output channels and `inputs` input channels from
   the `from`-th on, which are added to those with the channels before; of `points` points. */
static void SIMD(multiply)(const Winograd *c, const Tiles *t, ptrdiff_t from, ptrdiff_t inputs,
                           ptrdiff_t point, ptrdiff_t points, const REAL *weight, int columns,
                           SIMD(Scratch) * s) {
    enum { L = SIMD(lanes) };
    ptrdiff_t taps = 0, block = inputs * columns * L;
    const REAL *start = s->in + from * c->points * t->in_room;
    SIMD(Run) run = {.step = c->points * t->in_room * L, .half = c->points * t->out_room * L};
    for (ptrdiff_t p = point; p < point + points; p++, weight += c->taps * block)
        for (ptrdiff_t o = 0; o < t->runs; o++) {
            const REAL *in = start + (p * t->in_room + SIMD(outer_tile)(c->axis, t, o)) * L;
            if (p == point || t->runs > 1) taps = SIMD(find_taps)(c, t, o, s->tap);
            run.out = s->product + (p * t->out_room + o * t->inner) * L;
            for (ptrdiff_t k = 0; k < taps; k++) {
                run.in = in + s->tap[k].in, run.weight = weight + s->tap[k].number * block;
                run.channels = inputs, run.fresh = k == 0 && from == 0;
                SIMD(multiply_run)(t, columns, run);
            }
        }
}

/* Transform the products of one tile back along D and H, to [tile][tile][points]. */
static void SIMD(transform_back)(const Winograd *c, const Tiles *t, const REAL *product,
                                 SIMD(Scratch) * s, REAL *to) {
    enum { L = SIMD(lanes) };
    const WinogradAxis *d = c->axis, *h = d + 1, *w = d + 2;
    ptrdiff_t point = t->out_room * L, face = w->points * L, across = h->points * face;
    SIMD(Steps) deep = {h->points * w->points * point, 0, point}, depth = {across, 0, L};
    SIMD(Steps) flat = {w->points * point, 0, point}, middle = {face, across, L};
    SIMD(Steps) rows = {face, h->tile * face, L};
    if (is_summed(d)) SIMD(transform_lines_out)(h, 1, w->points, product, flat, to, rows);
    else if (is_summed(h)) SIMD(transform_lines_out)(d, 1, w->points, product, deep, to, depth);
    else {
        SIMD(transform_lines_out)(d, 1, h->points * w->points, product, deep, s->tile, depth);
        SIMD(transform_lines_out)(h, d->tile, w->points, s->tile, middle, to, rows);
    }
}

/* Add the bias and apply the activation to a row; `check` becomes NaN if a sum is not finite. */
static void SIMD(finish)(const Winograd *c, SIMD(vec) bias, REAL *row, ptrdiff_t n,
                         SIMD(vec) * check) {
    enum { L = SIMD(lanes) };
    const SIMD(vec) zero = SIMD(all)(0), slope = SIMD(all)((REAL)c->slope);
    SIMD(vec) all_zero = *check;
    for (ptrdiff_t i = 0; i < n; i++) {
        SIMD(vec) y = SIMD(add)(SIMD(load)(row + i * L), bias);
        all_zero = SIMD(fma)(y, zero, all_zero);
        if (c->activation) {
            SIMD(vec) above = SIMD(larger)(y, zero);
            y = SIMD(fma)(slope, SIMD(sub)(y, above), above);
        }
        SIMD(store)(row + i * L, y);
    }
    *check = all_zero;
}

/* The outputs of a block for one vector of output channels, the first of them `first`. */
static void SIMD(deliver)(const Winograd *c, const Tiles *t, const REAL *product, ptrdiff_t first,
                          SIMD(Scratch) * s, SIMD(vec) * check) {
    enum { L = SIMD(lanes) };
    const WinogradAxis *d = c->axis, *h = d + 1, *w = d + 2;
    ptrdiff_t channel = d->count * h->count * w->count, face = w->points * L;
    ptrdiff_t channels = smaller(L, c->outputs - first), tile = d->tile * h->tile * face;
    ptrdiff_t x = t->first[2] * w->tile, count = smaller(t->tiles[2] * w->tile, w->count - x);
    SIMD(Steps) from = {L, 0, tile}, to = {L, 0, w->tile * L};
    SIMD(vec) bias = SIMD(all)(0);
    first += t->group * c->outputs;
    if (c->bias) bias = SIMD(load_first)((const REAL *)c->bias + first, channels);
    for (ptrdiff_t i = 0; i < t->samples * t->tiles[0] * t->tiles[1]; i++) {
        ptrdiff_t n = i / (t->tiles[0] * t->tiles[1]), td = i / t->tiles[1] % t->tiles[0];
        ptrdiff_t th = i % t->tiles[1];
        for (ptrdiff_t tw = 0; tw < t->tiles[2]; tw++) {
            ptrdiff_t number = n * t->out_sample + td * t->out[0] + th * t->out[1] + tw * t->out[2];
            SIMD(transform_back)(c, t, product + number * L, s, s->back + tw * tile);
        }
        REAL *out =
            (REAL *)c->out + ((t->sample + n) * c->groups * c->outputs + first) * channel + x;
        for (ptrdiff_t j = 0; j < d->tile * h->tile; j++) {
            ptrdiff_t z = (t->first[0] + td) * d->tile + j / h->tile;
            ptrdiff_t y = (t->first[1] + th) * h->tile + j % h->tile;
            if (z >= d->count || y >= h->count) continue;
            SIMD(transform_lines_out)(w, 1, t->tiles[2], s->back + j * face, from, s->row, to);
            SIMD(finish)(c, bias, s->row, count, check);
            SIMD(deliver_row)(s->row, count, channels, out + (z * h->count + y) * w->count,
                              channel);
        }
    }
}

/* Transform the input channels of a vector, the first of them `first`, into V. */
static void SIMD(transform_channels)(const Winograd *c, const Tiles *t, ptrdiff_t first, REAL *in,
                                     SIMD(Scratch) * s) {
    enum { L = SIMD(lanes) };
    const WinogradAxis *a = c->axis;
    ptrdiff_t volume = a[0].size * a[1].size * a[2].size;
    SIMD(View) view = SIMD(view)(c, t, 0);
    for (ptrdiff_t n = 0; n < t->samples; n++) {
        ptrdiff_t sample = (t->sample + n) * c->groups + t->group;
        SIMD(fetch_rows)(c, &view, (const REAL *)c->x + (sample * c->inputs + first) * volume,
                         smaller(L, c->inputs - first), s);
        SIMD(transform_tiles)(c, &view, s,
                              in + (first * c->points * t->in_room + n * t->in_sample * L));
    }
}

/* Elements of V. */
static ptrdiff_t SIMD(transformed_input)(const Winograd *c) {
    enum { L = SIMD(lanes) };
    return ceil_div(c->inputs, L) * L * c->points * c->grid;
}

/* One of the work items that come first where others share V: a vector of channels of a block. */
static void SIMD(input_item)(const Winograd *c, ptrdiff_t index, REAL *scratch) {
    enum { L = SIMD(lanes) };
    ptrdiff_t vectors = ceil_div(c->inputs, L), block = index / vectors;
    SIMD(Scratch) s;
    SIMD(cut)(&s, c, scratch);
    Tiles t = find_tiles(c, block * c->chunks);
    SIMD(transform_channels)(c, &t, index % vectors * L,
                             (REAL *)c->shared + block * SIMD(transformed_input)(c), &s);
}

/* Elements of the transformed weights. */
static ptrdiff_t SIMD(winograd_packed)(const Winograd *c) {
    enum { L = SIMD(lanes) };
    return c->groups * ceil_div(c->outputs, L) * L * c->inputs * c->points * c->taps;
}

/* G w along a line, for `rows` by `columns` of them. Rows of G for a point and for its negative are
   the even powers plus and minus the odd. */
FORCE_INLINE void SIMD(lines_weights)(const int taps, const int points, ptrdiff_t rows,
                                      ptrdiff_t columns, const REAL *g, const REAL *from,
                                      SIMD(Steps) f, REAL *to, SIMD(Steps) t) {
    enum { MOST = MOST_POINTS / 2 * (MOST_POINTS - 1) };
    SIMD(vec) first = SIMD(all)(g[0]), m[MOST], w[MOST_POINTS];
    EACH(i, points / 2 - 1)
        EACH(k, taps) m[i * taps + k] = SIMD(all)(g[(1 + 2 * i) * taps + k]);
    for (ptrdiff_t i = 0; i < rows; i++)
        for (ptrdiff_t j = 0; j < columns; j++) {
            const REAL *p = from + i * f.row + j * f.column;
            REAL *q = to + i * t.row + j * t.column;
            EACH(k, taps) w[k] = SIMD(load)(p + k * f.line);
            SIMD(store)(q, SIMD(mul)(first, w[0]));
            EACH(n, points / 2 - 1) {
                SIMD(vec) even = SIMD(mul)(m[n * taps], w[0]);
                SIMD(vec) odd = SIMD(mul)(m[n * taps + 1], w[1]);
                EACH(k, taps) {
                    if (k < 2) continue;
                    if (k % 2) odd = SIMD(fma)(m[n * taps + k], w[k], odd);
                    else even = SIMD(fma)(m[n * taps + k], w[k], even);
                }
                SIMD(store)(q + (1 + 2 * n) * t.line, SIMD(add)(even, odd));
                SIMD(store)(q + (2 + 2 * n) * t.line, SIMD(sub)(even, odd));
            }
            SIMD(store)(q + (points - 1) * t.line, w[taps - 1]);
        }
}

static void SIMD(copy_lines)(ptrdiff_t taps, ptrdiff_t rows, ptrdiff_t columns, const REAL *from,
                             SIMD(Steps) f, REAL *to, SIMD(Steps) t) {
    for (ptrdiff_t i = 0; i < rows; i++)
        for (ptrdiff_t j = 0; j < columns; j++)
            for (ptrdiff_t k = 0; k < taps; k++)
                SIMD(store)(to + i * t.row + j * t.column + k * t.line,
                            SIMD(load)(from + i * f.row + j * f.column + k * f.line));
}

/* `lines` for the taps and points of an axis; one that is summed directly keeps its taps. */
#define BY_KERNEL(lines)                                                                           \
    switch ((int)(a->points * 8 + (is_summed(a) ? 0 : a->taps))) {                                 \
    case 4 * 8 + 2: SIMD(lines)(2, 4, rows, columns, g, from, f, to, t); break;                    \
    case 4 * 8 + 3: SIMD(lines)(3, 4, rows, columns, g, from, f, to, t); break;                    \
    case 6 * 8 + 2: SIMD(lines)(2, 6, rows, columns, g, from, f, to, t); break;                    \
    case 6 * 8 + 3: SIMD(lines)(3, 6, rows, columns, g, from, f, to, t); break;                    \
    case 6 * 8 + 4: SIMD(lines)(4, 6, rows, columns, g, from, f, to, t); break;                    \
    case 6 * 8 + 5: SIMD(lines)(5, 6, rows, columns, g, from, f, to, t); break;                    \
    default: SIMD(copy_lines)(a->taps, rows, columns, from, f, to, t);                             \
    }

/* The same for any axis. */
NO_INLINE void SIMD(transform_lines_weights)(const WinogradAxis *a, ptrdiff_t rows,
                                             ptrdiff_t columns, const REAL *g, const REAL *from,
                                             SIMD(Steps) f, REAL *to, SIMD(Steps) t) {
    BY_KERNEL(lines_weights)
}

/* The matrices G in the type of the loops. */
static void SIMD(weight_matrices)(const Winograd *c, REAL g[3][MOST_POINTS * MOST_POINTS]) {
    for (int i = 0; i < 3; i++) {
        const WinogradAxis *a = c->axis + i;
        double exact[MOST_POINTS * MOST_POINTS];
        if (is_summed(a)) continue;
        weight_matrix(a->points, a->taps, exact);
        for (int j = 0; j < a->points * a->taps; j++) g[i][j] = (REAL)exact[j];
    }
}

/* Kernels between some input channels and up to two vectors of output channels, on their way to U:
   turned, transformed along D, and a plane of these along H. */
typedef struct {
    const Winograd *c;
    ptrdiff_t inputs, columns;
    ptrdiff_t row, plane, kernel, face; /* elements of a turned kernel; of a plane of `flat` */
    REAL *turned, *deep, *flat;
    REAL g[3][MOST_POINTS * MOST_POINTS];
} SIMD(Kernels);

static void SIMD(start_kernels)(SIMD(Kernels) * k, const Winograd *c, REAL *memory) {
    const WinogradAxis *a = c->axis;
    k->c = c;
    k->row = a[2].taps * SIMD(lanes), k->plane = a[1].taps * k->row;
    k->kernel = a[0].taps * k->plane, k->face = transformed(a + 1) * k->row;
    k->turned = memory, k->deep = memory + SIMD(turned)(c) * k->kernel;
    SIMD(weight_matrices)(c, k->g);
}

/* The kernel between two channels of a group, as it was given. */
static const REAL *SIMD(find_kernel)(const Winograd *c, ptrdiff_t group, ptrdiff_t output,
                                     ptrdiff_t input) {
    const WinogradAxis *a = c->axis;
    ptrdiff_t number = c->flipped ? (group * c->inputs + input) * c->outputs + output
                                  : (group * c->outputs + output) * c->inputs + input;
    return (const REAL *)c->weight + number * a[0].taps * a[1].taps * a[2].taps;
}

/* Turn the kernels of some input channels and a vector of output channels: [input][tap][lane]. */
static void SIMD(turn_kernels)(const SIMD(Kernels) * k, ptrdiff_t group, ptrdiff_t output,
                               ptrdiff_t input, ptrdiff_t inputs, REAL *to) {
    enum { L = SIMD(lanes) };
    const Winograd *c = k->c;
    ptrdiff_t taps = k->kernel / L, outputs = smaller(L, c->outputs - output);
    if (!c->flipped) {
        SIMD(fetch_row)(SIMD(find_kernel)(c, group, output, input), c->inputs * taps, outputs,
                        inputs * taps, 0, inputs * taps, to);
        return;
    }
    for (ptrdiff_t i = 0; i < inputs; i++) {
        const REAL *ahead = SIMD(find_kernel)(c, group, output, input + i + AHEAD);
        for (ptrdiff_t j = 0; j < outputs * taps; j += 64 / (ptrdiff_t)sizeof(REAL))
            PREFETCH(ahead + j);
        SIMD(fetch_row)(SIMD(find_kernel)(c, group, output, input + i), taps, outputs, taps, 0,
                        taps, to + i * k->kernel);
    }
}

/* Turn kernels and transform them along D, to [plane][vector of outputs][input]. Those of the
   transpose have their taps in reverse. */
static void SIMD(take_kernels)(SIMD(Kernels) * k, ptrdiff_t group, ptrdiff_t output,
                               ptrdiff_t input, ptrdiff_t inputs) {
    enum { L = SIMD(lanes) };
    const Winograd *c = k->c;
    const ptrdiff_t most = SIMD(turned)(c), n = inputs * k->plane;
    const int alike = c->axis->taps == 1 && !c->flipped, sign = c->flipped ? -1 : 1;
    k->inputs = inputs, k->columns = c->outputs - output > L ? 2 : 1;
    k->flat = k->deep + transformed(c->axis) * k->columns * n;
    SIMD(Steps) from = {sign * k->plane, k->kernel, sign * L}, to = {k->columns * n, k->plane, L};
    const REAL *start = k->turned + (c->flipped ? k->kernel - L : 0);
    for (ptrdiff_t i = 0; i < inputs; i += most)
        for (ptrdiff_t j = 0; j < k->columns; j++) {
            ptrdiff_t some = smaller(most, inputs - i);
            REAL *deep = k->deep + j * n + i * k->plane;
            SIMD(turn_kernels)(k, group, output + j * L, input + i, some, alike ? deep : k->turned);
            if (!alike)
                SIMD(transform_lines_weights)(c->axis, some, k->plane / L, k->g[0], start, from,
                                              deep, to);
        }
}

/* Then the `z`-th plane of them along H. */
static void SIMD(transform_plane)(SIMD(Kernels) * k, ptrdiff_t z) {
    enum { L = SIMD(lanes) };
    SIMD(Steps) from = {k->row, L, k->plane}, to = {k->row, L, k->face};
    ptrdiff_t n = k->columns * k->inputs;
    SIMD(transform_lines_weights)(k->c->axis + 1, k->row / L, n, k->g[1],
                                  k->deep + z * n * k->plane, from, k->flat, to);
}

/* Then the `y`-th row of that along W, to [tap][input][vector of outputs] `step` elements apart. */
static void SIMD(transform_row)(SIMD(Kernels) * k, ptrdiff_t y, REAL *to, ptrdiff_t step) {
    enum { L = SIMD(lanes) };
    SIMD(Steps) f = {L, k->inputs * k->face, k->face}, t = {step, L, k->columns * L};
    SIMD(transform_lines_weights)(k->c->axis + 2, k->columns, k->inputs, k->g[2],
                                  k->flat + y * k->row, f, to, t);
}

static ptrdiff_t SIMD(pack_scratch)(const Winograd *c) {
    return SIMD(kernel_scratch)(c, SIMD(turned)(c));
}

static ptrdiff_t SIMD(pack_items)(const Winograd *c) {
    return c->groups * ceil_div(c->outputs, 2 * SIMD(lanes)) * ceil_div(c->inputs, SIMD(turned)(c));
}

/* Transform the kernels of a few input channels and two vectors of output channels into
   U[outputs][point][tap][channel][lane]. */
static void SIMD(pack_item)(const Winograd *c, ptrdiff_t index, REAL *packed, REAL *scratch) {
    enum { L = SIMD(lanes) };
    const WinogradAxis *a = c->axis;
    ptrdiff_t most = SIMD(turned)(c), blocks = ceil_div(c->inputs, most);
    ptrdiff_t pairs = ceil_div(c->outputs, 2 * L), group = index / blocks / pairs;
    ptrdiff_t input = index % blocks * most, output = index / blocks % pairs * 2 * L;
    ptrdiff_t line = c->outputs - output > L ? 2 * L : L;
    SIMD(Kernels) k;
    SIMD(start_kernels)(&k, c, scratch);
    packed += (group * ceil_div(c->outputs, L) * L + output) * c->inputs * c->points * c->taps;
    packed += input * line;
    SIMD(take_kernels)(&k, group, output, input, smaller(most, c->inputs - input));
    for (ptrdiff_t z = 0; z < transformed(a); z++) {
        SIMD(transform_plane)(&k, z);
        for (ptrdiff_t y = 0; y < transformed(a + 1); y++)
            SIMD(transform_row)(&k, y, packed + place(c, z, y, 0) * c->inputs * line,
                                place(c, 0, 0, 1) * c->inputs * line);
    }
}

/* The products of a block with up to two vectors of output channels, whose weights are transformed
   for it, some input channels at a time. */
static void SIMD(pack_and_multiply)(const Winograd *c, const Tiles *t, ptrdiff_t output,
                                    SIMD(Scratch) * s) {
    enum { L = SIMD(lanes) };
    const WinogradAxis *a = c->axis;
    SIMD(Kernels) k;
    SIMD(start_kernels)(&k, c, s->kernel);
    for (ptrdiff_t first = 0; first < c->inputs; first += c->fresh) {
        ptrdiff_t inputs = smaller(c->fresh, c->inputs - first);
        SIMD(take_kernels)(&k, t->group, output, first, inputs);
        for (ptrdiff_t z = 0; z < a[0].points; z++) {
            SIMD(transform_plane)(&k, z);
            for (ptrdiff_t y = 0; y < a[1].points; y++) {
                SIMD(transform_row)(&k, y, s->weight, inputs * k.columns * L);
                SIMD(multiply)(c, t, first, inputs, place(c, z, y, 0), a[2].points, s->weight,
                               k.columns, s);
            }
        }
    }
}

/* Compute one work item: a block of tiles of a chunk of channels. Returns 1 if a result is not
   finite: then some are wrong, as a tile is not finite where one of its inputs is not. */
static int SIMD(winograd_item)(const Winograd *c, ptrdiff_t index, REAL *scratch) {
    enum { L = SIMD(lanes) };
    SIMD(Scratch) s;
    SIMD(vec) check = SIMD(all)(0);
    Tiles t = find_tiles(c, index);
    SIMD(cut)(&s, c, scratch);
    if (c->chunks > 1) s.in = (REAL *)c->shared + index / c->chunks * SIMD(transformed_input)(c);
    else
        for (ptrdiff_t i = 0; i < c->inputs; i += L) SIMD(transform_channels)(c, &t, i, s.in, &s);
    ptrdiff_t first = t.chunk * c->chunk, end = smaller(first + c->chunk, c->outputs);
    ptrdiff_t terms = c->points * c->taps * c->inputs;
    const REAL *weight =
        (const REAL *)c->weight + (t.group * ceil_div(c->outputs, L) * L + first) * terms;
    for (; first < end; first += 2 * L, weight += 2 * L * terms) {
        int columns = c->outputs - first > L ? 2 : 1;
        if (c->fresh) SIMD(pack_and_multiply)(c, &t, first, &s);
        else SIMD(multiply)(c, &t, 0, c->inputs, 0, c->points, weight, columns, &s);
        for (int i = 0; i < columns; i++)
            SIMD(deliver)(c, &t, s.product + i * c->points * t.out_room * L, first + i * L, &s,
                          &check);
    }
    REAL total = SIMD(total)(check);
    return total != total;
}

/* The gradient of the weights: products of one point, R input channels by C vectors of output
   channels, summed over the tiles of a block. */
FORCE_INLINE void SIMD(gradient_products)(const int R, const int C, const REAL *in,
                                          const REAL *grad, ptrdiff_t half, ptrdiff_t tiles,
                                          REAL *RESTRICT sum, ptrdiff_t sum_half) {
    enum { L = SIMD(lanes) };
    SIMD(vec) part[8][2];
    EACH(r, R)
        EACH(v, C) part[r][v] = SIMD(all)(0);
    for (ptrdiff_t i = 0; i < tiles; i++, in += L, grad += L) {
        SIMD(vec) g[2];
        EACH(v, C) g[v] = SIMD(load)(grad + v * half);
        EACH(r, R) {
            SIMD(vec) x = SIMD(all)(in[r]);
            EACH(v, C) part[r][v] = SIMD(fma)(x, g[v], part[r][v]);
        }
    }
    EACH(r, R)
        EACH(v, C) {
            REAL *q = sum + r * L + v * sum_half;
            SIMD(store)(q, SIMD(add)(SIMD(load)(q), part[r][v]));
        }
}

#if SIMD_REGISTERS == 32
#define CHANNELS 8
#else
#define CHANNELS 4
#endif
/* Every channel of a lane block by one or two vectors of output channels. */
static void SIMD(gradient_block)(int columns, const REAL *in, const REAL *grad, ptrdiff_t half,
                                 ptrdiff_t tiles, REAL *sum, ptrdiff_t sum_half) {
    enum { L = SIMD(lanes), R = L < CHANNELS ? L : CHANNELS };
    for (int i = 0; i < L; i += R, in += R, sum += R * L) {
        if (columns == 2) SIMD(gradient_products)(R, 2, in, grad, half, tiles, sum, sum_half);
        else SIMD(gradient_products)(R, 1, in, grad, half, tiles, sum, sum_half);
    }
}
#undef CHANNELS

/* A task's part of the gradient of the transformed weights is sum[outputs][point][tap][channel]
   [lane]; add a block of tiles to it. */
static void SIMD(add_gradient)(const Winograd *c, const Tiles *t, ptrdiff_t inputs,
                               ptrdiff_t outputs, SIMD(Scratch) * s) {
    enum { L = SIMD(lanes) };
    const WinogradAxis *a = c->axis;
    ptrdiff_t in_block = c->points * t->in_room * L, half = c->points * t->out_room * L;
    ptrdiff_t rows = ceil_div(inputs, L) * L, sum_half = c->points * c->taps * rows * L, taps = 0;
    for (ptrdiff_t o = 0; o < outputs; o += 2 * L)
        for (ptrdiff_t p = 0; p < c->points; p++)
            for (ptrdiff_t j = 0; j < t->runs; j++) {
                if (p == 0 || t->runs > 1) taps = SIMD(find_taps)(c, t, j, s->tap);
                const REAL *in = s->in + (p * t->in_room + SIMD(outer_tile)(a, t, j)) * L;
                const REAL *grad = s->product + o / L * half + (p * t->out_room + j * t->inner) * L;
                for (ptrdiff_t k = 0; k < taps; k++) {
                    REAL *sum =
                        s->sum + o / L * sum_half + (p * c->taps + s->tap[k].number) * rows * L;
                    for (ptrdiff_t i = 0; i < rows; i += L)
                        SIMD(gradient_block)(outputs - o > L ? 2 : 1,
                                             in + s->tap[k].in + i / L * in_block, grad, half,
                                             t->inner, sum + i * L, sum_half);
                }
            }
}

/* G^T u along a line, for `rows` by `columns` of them: the adjoint of the transform of weights. */
FORCE_INLINE void SIMD(lines_back)(const int taps, const int points, ptrdiff_t rows,
                                   ptrdiff_t columns, const REAL *g, const REAL *from,
                                   SIMD(Steps) f, REAL *to, SIMD(Steps) t) {
    SIMD(vec) first = SIMD(all)(g[0]), sum[2], dif[2];
    for (ptrdiff_t i = 0; i < rows; i++)
        for (ptrdiff_t j = 0; j < columns; j++) {
            const REAL *p = from + i * f.row + j * f.column;
            REAL *q = to + i * t.row + j * t.column;
            SIMD(vec) last = SIMD(load)(p + (points - 1) * f.line);
            EACH(n, points / 2 - 1) {
                SIMD(vec) u = SIMD(load)(p + (1 + 2 * n) * f.line);
                SIMD(vec) negative = SIMD(load)(p + (2 + 2 * n) * f.line);
                sum[n] = SIMD(add)(u, negative), dif[n] = SIMD(sub)(u, negative);
            }
            EACH(k, taps) {
                SIMD(vec) w = k == taps - 1 ? last : SIMD(all)(0);
                if (k == 0) w = SIMD(mul)(first, SIMD(load)(p));
                EACH(n, points / 2 - 1)
                    w = SIMD(fma)(SIMD(all)(g[(1 + 2 * n) * taps + k]), k % 2 ? dif[n] : sum[n], w);
                SIMD(store)(q + k * t.line, w);
            }
        }
}

/* The same for any axis. */
NO_INLINE void SIMD(transform_lines_back)(const WinogradAxis *a, ptrdiff_t rows, ptrdiff_t columns,
                                          const REAL *g, const REAL *from, SIMD(Steps) f, REAL *to,
                                          SIMD(Steps) t) {
    BY_KERNEL(lines_back)
}

/* Kernels between a vector of output channels and `n` input channels: sum + [point][tap] steps of
   `step` + [input], to [input][tap]. */
static void SIMD(unpack_kernels)(const Winograd *c, REAL g[3][MOST_POINTS * MOST_POINTS],
                                 const REAL *sum, ptrdiff_t step, ptrdiff_t n, SIMD(Scratch) * s) {
    enum { L = SIMD(lanes) };
    const WinogradAxis *a = c->axis;
    ptrdiff_t row = a[2].taps * L, plane = a[1].taps * row;
    REAL *flat = s->unpack, *deep = flat + transformed(a + 1) * n * row;
    SIMD(Steps) f2 = {place(c, 0, 0, 1) * step, 0, L}, t2 = {L, 0, row}, f1 = {n * row, L, row};
    SIMD(Steps) t1 = {row, L, plane}, f0 = {n * plane, L, plane}, t0 = {plane, L, a->taps * plane};
    for (ptrdiff_t z = 0; z < transformed(a); z++) {
        for (ptrdiff_t y = 0; y < transformed(a + 1); y++)
            SIMD(transform_lines_back)(a + 2, 1, n, g[2], sum + place(c, z, y, 0) * step, f2,
                                       flat + y * n * row, t2);
        SIMD(transform_lines_back)(a + 1, a[2].taps, n, g[1], flat, f1, deep + z * n * plane, t1);
    }
    SIMD(transform_lines_back)(a, plane / L, n, g[0], deep, f0, s->kernel, t0);
}

/* Transform a task's sums back and write them to its part of `out`. */
static int SIMD(deliver_gradient)(const Winograd *c, ptrdiff_t group, ptrdiff_t first_in,
                                  ptrdiff_t inputs, ptrdiff_t first_out, ptrdiff_t outputs,
                                  REAL *out, SIMD(Scratch) * s) {
    enum { L = SIMD(lanes) };
    const WinogradAxis *a = c->axis;
    ptrdiff_t taps = a[0].taps * a[1].taps * a[2].taps, rows = ceil_div(inputs, L) * L;
    ptrdiff_t step = rows * L, half = c->points * c->taps * step, most = SIMD(turned)(c);
    REAL g[3][MOST_POINTS * MOST_POINTS];
    SIMD(vec) check = SIMD(all)(0);
    SIMD(weight_matrices)(c, g);
    for (ptrdiff_t o = 0; o < outputs; o += L)
        for (ptrdiff_t i = 0; i < inputs; i += most) {
            ptrdiff_t n = smaller(most, inputs - i), row = first_out + o + group * c->outputs;
            SIMD(unpack_kernels)(c, g, s->sum + o / L * half + i * L, step, n, s);
            for (ptrdiff_t k = 0; k < n * taps; k++)
                check = SIMD(fma)(SIMD(load)(s->kernel + k * L), SIMD(all)(0), check);
            SIMD(deliver_row)(s->kernel, n * taps, smaller(L, outputs - o),
                              out + (row * c->inputs + first_in + i) * taps, c->inputs * taps);
        }
    REAL total = SIMD(total)(check);
    return total != total;
}

/* Compute one work item of the gradient of the weights: those between `c->chunk_in` input and
   `c->chunk` output channels, over all tiles in order. Returns 1 if one is not finite. */
static int SIMD(gradient_item)(const Winograd *c, ptrdiff_t index, const REAL *grad, REAL *out,
                               REAL *scratch) {
    enum { L = SIMD(lanes) };
    const WinogradAxis *a = c->axis;
    ptrdiff_t volume = a[0].size * a[1].size * a[2].size;
    ptrdiff_t count = a[0].count * a[1].count * a[2].count;
    ptrdiff_t blocks = c->batch_blocks * a[0].blocks * a[1].blocks * a[2].blocks;
    ptrdiff_t in_chunks = ceil_div(c->inputs, c->chunk_in);
    ptrdiff_t out_chunks = ceil_div(c->outputs, c->chunk);
    ptrdiff_t first_out = index % out_chunks * c->chunk;
    ptrdiff_t first_in = index / out_chunks % in_chunks * c->chunk_in;
    ptrdiff_t group = index / out_chunks / in_chunks;
    ptrdiff_t inputs = smaller(c->chunk_in, c->inputs - first_in);
    ptrdiff_t outputs = smaller(c->chunk, c->outputs - first_out);
    ptrdiff_t rows = ceil_div(inputs, L) * L, sums = ceil_div(outputs, L) * c->points * c->taps;
    SIMD(Scratch) s;
    SIMD(cut)(&s, c, scratch);
    memset(s.sum, 0, (size_t)(sums * rows * L) * sizeof(REAL));
    for (ptrdiff_t b = 0; b < blocks; b++) {
        Tiles t = find_tiles(c, group * blocks + b);
        SIMD(View) input = SIMD(view)(c, &t, 0), gradient = SIMD(view)(c, &t, 1);
        for (ptrdiff_t n = 0; n < t.samples; n++) {
            ptrdiff_t sample = (t.sample + n) * c->groups + group;
            for (ptrdiff_t i = 0; i < inputs; i += L) {
                const REAL *x = (const REAL *)c->x + (sample * c->inputs + first_in + i) * volume;
                SIMD(fetch_rows)(c, &input, x, smaller(L, inputs - i), &s);
                SIMD(transform_tiles)(c, &input, &s,
                                      s.in + (i * c->points * t.in_room + n * t.in_sample * L));
            }
            for (ptrdiff_t o = 0; o < outputs; o += L) {
                const REAL *g = grad + (sample * c->outputs + first_out + o) * count;
                SIMD(fetch_rows)(c, &gradient, g, smaller(L, outputs - o), &s);
                SIMD(transform_tiles)(c, &gradient, &s,
                                      s.product +
                                          (o * c->points * t.out_room + n * t.out_sample * L));
            }
        }
        SIMD(add_gradient)(c, &t, inputs, outputs, &s);
    }
    return SIMD(deliver_gradient)(c, group, first_in, inputs, first_out, outputs, out, &s);
}
#undef ROWS
#undef BLOCK
#undef NEAR
#undef TURNED
#undef AHEAD
#undef BY_KERNEL
