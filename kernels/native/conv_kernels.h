/* The loops of conv.h for one type, REAL. */

/* Terms per partial sum. Each block of terms is summed on its own and added to the total: the
   rounding error stops growing with the number of channels, and the weights of a block stay in
   the first-level cache while the outputs pass. */
#define BLOCK 512
#define AHEAD 64 /* terms that weights are fetched ahead */

/* Copy a row: most are too short for the price of a call to memcpy. */
FORCE_INLINE void SIMD(copy)(REAL *RESTRICT target, const REAL *RESTRICT source, ptrdiff_t n) {
    enum { L = SIMD(lanes) };
    ptrdiff_t i = 0;
    for (; i + L <= n; i += L) SIMD(store)(target + i, SIMD(load)(source + i));
    if (i < n && n >= L) SIMD(store)(target + n - L, SIMD(load)(source + n - L)); /* some twice */
    else
        for (; i < n; i++) target[i] = source[i];
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

/* target[i] = source[first + i*step], 0 outside of the source. */
static void SIMD(copy_row)(const REAL *source, ptrdiff_t size, ptrdiff_t first, ptrdiff_t step,
                           REAL *RESTRICT target, ptrdiff_t count) {
    ptrdiff_t begin = first >= 0 ? 0 : step == 1 ? -first : ceil_div(-first, step);
    ptrdiff_t end = first >= size ? 0 : step == 1 ? size - first : (size - 1 - first) / step + 1;
    if (end > count) end = count;
    if (begin > end) begin = end;
    for (ptrdiff_t i = 0; i < begin; i++) target[i] = 0;
    if (step == 1) SIMD(copy)(target + begin, source + first + begin, end - begin);
    else if (step == 2) /* a constant: compiled to shuffles */
        for (ptrdiff_t i = begin; i < end; i++) target[i] = source[first + 2 * i];
    else
        for (ptrdiff_t i = begin; i < end; i++) target[i] = source[first + i * step];
    for (ptrdiff_t i = end; i < count; i++) target[i] = 0;
}

static void SIMD(pack_slab)(const Conv *c, const Item *item, ptrdiff_t channels, const REAL *x,
                            REAL *slab) {
    const Axis *d = c->axis, *h = d + 1, *w = d + 2;
    ptrdiff_t depth = item->count[0] + d->span, height = item->count[1] + h->span;
    for (ptrdiff_t i = 0; i < channels; i++, x += d->size * h->size * w->size)
        for (ptrdiff_t pd = 0; pd < d->planes; pd++)
            for (ptrdiff_t j = 0; j < d->length; j++, slab += c->plane_size) {
                if (j >= depth) continue;
                ptrdiff_t z = d->origin[pd] + (item->start[0] + j) * d->step;
                if (z < 0 || z >= d->size) {
                    memset(slab, 0, (size_t)c->plane_size * sizeof(REAL));
                    continue;
                }
                REAL *row = slab;
                for (ptrdiff_t ph = 0; ph < h->planes; ph++)
                    for (ptrdiff_t pw = 0; pw < w->planes; pw++)
                        for (ptrdiff_t k = 0; k < h->length; k++, row += w->length) {
                            if (k >= height) continue;
                            ptrdiff_t y = h->origin[ph] + (item->start[1] + k) * h->step;
                            ptrdiff_t first = w->origin[pw] + item->start[2] * w->step;
                            if (y < 0 || y >= h->size)
                                memset(row, 0, (size_t)w->length * sizeof(REAL));
                            else
                                SIMD(copy_row)(x + (z * h->size + y) * w->size, w->size, first,
                                               w->step, row, w->length);
                        }
            }
}

/* R output channels by V vectors of outputs, held in registers over `terms` terms; added to what
   `out` holds unless `fresh`, when it is added to the bias. */
FORCE_INLINE void SIMD(tile)(const int R, const int V, const REAL *RESTRICT in,
                             const ptrdiff_t *RESTRICT offset, ptrdiff_t terms,
                             const REAL *RESTRICT weight, ptrdiff_t weight_row, const REAL *bias,
                             int fresh, REAL *RESTRICT out, ptrdiff_t out_row) {
    enum { L = SIMD(lanes) };
    SIMD(vec) sum[8][8];
    EACH(r, R)
        EACH(v, V) sum[r][v] = SIMD(all)(0);
    for (ptrdiff_t k = 0; k < terms; k++) {
        const REAL *p = in + offset[k];
        /* The weights are as many streams as rows, too many for the hardware: one row a step. */
        if (R == 8 && V == 3) PREFETCH(weight + (k & 7) * weight_row + k + AHEAD);
        SIMD(vec) x[8];
        EACH(v, V) x[v] = SIMD(load)(p + v * L);
        EACH(r, R) {
            SIMD(vec) w = SIMD(all)(weight[r * weight_row + k]);
            EACH(v, V) sum[r][v] = SIMD(fma)(w, x[v], sum[r][v]);
        }
    }
    EACH(r, R) {
        SIMD(vec) b = SIMD(all)(bias ? bias[r] : 0);
        EACH(v, V) {
            REAL *p = out + r * out_row + v * L;
            SIMD(store)(p, SIMD(add)(sum[r][v], fresh ? b : SIMD(load)(p)));
        }
    }
}

/* A line of outputs of R channels, V vectors at a time. */
#define LINES(R, V)                                                                                \
    static void PASTE(SIMD(line), R)(const REAL *in, const ptrdiff_t *offset, ptrdiff_t terms,     \
                                     const REAL *weight, ptrdiff_t weight_row, const REAL *bias,   \
                                     int fresh, REAL *out, ptrdiff_t length) {                     \
        enum { L = SIMD(lanes) };                                                                  \
        ptrdiff_t v = 0;                                                                           \
        for (; v + V * L <= length; v += V * L)                                                    \
            SIMD(tile)(R, V, in + v, offset, terms, weight, weight_row, bias, fresh, out + v,      \
                       length);                                                                    \
        for (; v + 2 * L <= length; v += 2 * L)                                                    \
            SIMD(tile)(R, 2, in + v, offset, terms, weight, weight_row, bias, fresh, out + v,      \
                       length);                                                                    \
        for (; v < length; v += L)                                                                 \
            SIMD(tile)(R, 1, in + v, offset, terms, weight, weight_row, bias, fresh, out + v,      \
                       length);                                                                    \
    }
/* R*V sums, V inputs and a weight (and a product, where it is not fused) fit the registers. */
#if SIMD_REGISTERS == 32
#define ROWS 8
LINES(8, 3)
LINES(4, 6)
#elif defined(SIMD_UNFUSED)
#define ROWS 4
LINES(4, 2)
#else
#define ROWS 4
LINES(4, 3)
#endif
LINES(2, 4)
LINES(1, 8)
#undef LINES

static void SIMD(line)(ptrdiff_t rows, const REAL *in, const ptrdiff_t *offset, ptrdiff_t terms,
                       const REAL *weight, ptrdiff_t weight_row, const REAL *bias, int fresh,
                       REAL *out, ptrdiff_t length) {
    switch (rows) {
#if ROWS == 8
    case 8:
        PASTE(SIMD(line), 8)(in, offset, terms, weight, weight_row, bias, fresh, out, length);
        break;
#endif
    case 4:
        PASTE(SIMD(line), 4)(in, offset, terms, weight, weight_row, bias, fresh, out, length);
        break;
    case 2:
        PASTE(SIMD(line), 2)(in, offset, terms, weight, weight_row, bias, fresh, out, length);
        break;
    default: PASTE(SIMD(line), 1)(in, offset, terms, weight, weight_row, bias, fresh, out, length);
    }
}

/* The largest tile height that `left` channels fill. */
static ptrdiff_t SIMD(rows)(ptrdiff_t left) {
    return left >= ROWS ? ROWS : left >= 4 ? 4 : left >= 2 ? 2 : 1;
}

/* max(v, 0) + slope*min(v, 0), in place; NaN stays. A slope of 0 is no product: -inf becomes 0. */
static void SIMD(activate)(REAL slope, REAL *values, ptrdiff_t n) {
    if (slope == 0)
        for (ptrdiff_t i = 0; i < n; i++) values[i] = values[i] < 0 ? 0 : values[i];
    else
        for (ptrdiff_t i = 0; i < n; i++) values[i] = values[i] < 0 ? slope * values[i] : values[i];
}

/* Copy a line of outputs, row by row, to their places. */
static void SIMD(write_line)(const Conv *c, const Item *item, const REAL *line, REAL *out) {
    const Axis *h = c->axis + 1, *w = c->axis + 2;
    for (ptrdiff_t y = 0; y < item->count[1]; y++, line += w->length) {
        REAL *row = out + (item->start[1] + y) * h->out_step + item->start[2] * w->out_step;
        if (w->out_step == 1 && c->past_cache) SIMD(copy_past_cache)(row, line, item->count[2]);
        else if (w->out_step == 1) SIMD(copy)(row, line, item->count[2]);
        else
            for (ptrdiff_t i = 0; i < item->count[2]; i++) row[i * w->out_step] = line[i];
    }
}

/* Scratch elements that one item needs: a slab and ROWS lines. */
static ptrdiff_t SIMD(scratch_size)(const Conv *c) { return c->slab_size + ROWS * c->line_size; }

/* Compute one work item: a block of outputs of a chunk of channels. */
static void SIMD(conv_item)(const Conv *c, ptrdiff_t index, REAL *scratch) {
    Item item = find_item(c, index);
    const Axis *a = c->axis;
    REAL *slab = scratch, *lines = scratch + c->slab_size;
    const REAL *x = (const REAL *)c->x +
                    (item.n * c->groups + item.g) * c->inputs * a[0].size * a[1].size * a[2].size;
    SIMD(pack_slab)(c, &item, c->inputs, x, slab);
    ptrdiff_t length =
        ceil_div((item.count[1] - 1) * a[2].length + item.count[2], SIMD(lanes)) * SIMD(lanes);
    ptrdiff_t o = item.chunk * c->chunk,
              end = o + c->chunk < c->outputs ? o + c->chunk : c->outputs, rows;
    for (; o < end; o += rows) {
        rows = SIMD(rows)(end - o);
        ptrdiff_t channel = item.g * c->outputs + o;
        const REAL *weight = (const REAL *)c->weight + channel * c->terms;
        const REAL *bias = c->bias ? (const REAL *)c->bias + channel : NULL;
        for (ptrdiff_t z = 0; z < item.count[0]; z++) {
            const REAL *in = slab + z * c->plane_size;
            for (ptrdiff_t k = 0; k < c->terms; k += BLOCK) {
                ptrdiff_t terms = k + BLOCK < c->terms ? BLOCK : c->terms - k;
                SIMD(line)(rows, in, c->offset + k, terms, weight + k, c->terms, bias, k == 0,
                           lines, length);
            }
            if (c->activation) SIMD(activate)((REAL)c->slope, lines, rows * length);
            REAL *out = (REAL *)c->out + item.n * c->out_batch + channel * c->out_channel +
                        (item.start[0] + z) * a[0].out_step;
            for (ptrdiff_t r = 0; r < rows; r++)
                SIMD(write_line)(c, &item, lines + r * length, out + r * c->out_channel);
        }
    }
    if (c->past_cache) stream_end();
}

/* The gradient of the weights, for up to 4 output channels, a vector of neighbouring outputs at a
   time: sum[k][r] += sum over `length` outputs of grad[r][.] * in[offset[k] + .], for R channels
   and V terms. */
FORCE_INLINE void SIMD(dot)(const int R, const int V, const REAL *RESTRICT grad, ptrdiff_t grad_row,
                            const REAL *RESTRICT in, const ptrdiff_t *RESTRICT offset,
                            ptrdiff_t length, REAL *RESTRICT sum, ptrdiff_t sum_row) {
    enum { L = SIMD(lanes) };
    SIMD(vec) part[4][8];
    EACH(r, R)
        EACH(v, V) part[r][v] = SIMD(all)(0);
    ptrdiff_t i = 0;
    for (; i + L <= length; i += L) {
        SIMD(vec) x[8];
        EACH(v, V) x[v] = SIMD(load)(in + offset[v] + i);
        EACH(r, R) {
            SIMD(vec) g = SIMD(load)(grad + r * grad_row + i);
            EACH(v, V) part[r][v] = SIMD(fma)(g, x[v], part[r][v]);
        }
    }
    if (i < length) /* zeros on both sides: what lies behind the line may be infinite */
        EACH(r, R)
            EACH(v, V)
                part[r][v] =
                    SIMD(fma)(SIMD(load_first)(grad + r * grad_row + i, length - i),
                              SIMD(load_first)(in + offset[v] + i, length - i), part[r][v]);
    EACH(r, R)
        EACH(v, V) sum[v * sum_row + r] += SIMD(total)(part[r][v]);
}

#define DOTS(R, V)                                                                                 \
    static void PASTE(SIMD(dots), R)(const REAL *grad, ptrdiff_t grad_row, const REAL *in,         \
                                     const ptrdiff_t *offset, ptrdiff_t terms, ptrdiff_t length,   \
                                     REAL *sum, ptrdiff_t sum_row) {                               \
        ptrdiff_t k = 0;                                                                           \
        for (; k + V <= terms; k += V)                                                             \
            SIMD(dot)(R, V, grad, grad_row, in, offset + k, length, sum + k * sum_row, sum_row);   \
        for (; k < terms; k++)                                                                     \
            SIMD(dot)(R, 1, grad, grad_row, in, offset + k, length, sum + k * sum_row, sum_row);   \
    }
DOTS(4, 2)
DOTS(2, 4)
DOTS(1, 8)
#undef DOTS

/* The same for more channels: a vector of them at a time, from `grad` with the channels innermost,
   sum[k][.] += sum over `length` outputs i of in[offset[k] + i] * grad[i][.], for R terms and V
   vectors. */
FORCE_INLINE void SIMD(outer)(const int R, const int V, const REAL *RESTRICT grad,
                              ptrdiff_t grad_row, const REAL *RESTRICT in,
                              const ptrdiff_t *RESTRICT offset, ptrdiff_t length,
                              REAL *RESTRICT sum, ptrdiff_t sum_row) {
    enum { L = SIMD(lanes) };
    SIMD(vec) part[12][4];
    EACH(r, R)
        EACH(v, V) part[r][v] = SIMD(all)(0);
    for (ptrdiff_t i = 0; i < length; i++) {
        SIMD(vec) g[4];
        EACH(v, V) g[v] = SIMD(load)(grad + i * grad_row + v * L);
        EACH(r, R) {
            SIMD(vec) x = SIMD(all)(in[offset[r] + i]);
            EACH(v, V) part[r][v] = SIMD(fma)(x, g[v], part[r][v]);
        }
    }
    EACH(r, R)
        EACH(v, V) {
            REAL *p = sum + r * sum_row + v * L;
            SIMD(store)(p, SIMD(add)(SIMD(load)(p), part[r][v]));
        }
}

#define OUTERS(R, V)                                                                               \
    static void PASTE(SIMD(outers), V)(const REAL *grad, ptrdiff_t grad_row, const REAL *in,       \
                                       const ptrdiff_t *offset, ptrdiff_t terms, ptrdiff_t length, \
                                       REAL *sum, ptrdiff_t sum_row) {                             \
        ptrdiff_t k = 0;                                                                           \
        for (; k + R <= terms; k += R)                                                             \
            SIMD(outer)(R, V, grad, grad_row, in, offset + k, length, sum + k * sum_row, sum_row); \
        for (; k < terms; k++)                                                                     \
            SIMD(outer)(1, V, grad, grad_row, in, offset + k, length, sum + k * sum_row, sum_row); \
    }
#if SIMD_REGISTERS == 32
#define VECTORS 4
OUTERS(6, 4)
OUTERS(6, 3)
OUTERS(12, 2)
OUTERS(12, 1)
#else
#define VECTORS 2
OUTERS(4, 2)
OUTERS(8, 1)
#endif
#undef OUTERS

/* Add the products of one line of outputs to the sums of a task. */
static void SIMD(add_line)(ptrdiff_t outputs, const REAL *grad, ptrdiff_t grad_row, REAL *turned,
                           const REAL *in, const ptrdiff_t *offset, ptrdiff_t terms,
                           ptrdiff_t length, REAL *sum, ptrdiff_t sum_row) {
    ptrdiff_t o = 0;
    if (outputs <= 4) {
        for (; o + 4 <= outputs; o += 4)
            PASTE(SIMD(dots), 4)(grad, grad_row, in, offset, terms, length, sum, sum_row);
        for (; o + 2 <= outputs; o += 2)
            PASTE(SIMD(dots), 2)(grad + o * grad_row, grad_row, in, offset, terms, length, sum + o,
                                 sum_row);
        for (; o < outputs; o++)
            PASTE(SIMD(dots), 1)(grad + o * grad_row, grad_row, in, offset, terms, length, sum + o,
                                 sum_row);
        return;
    }
    for (; o < outputs; o++)
        for (ptrdiff_t i = 0; i < length; i++) turned[i * sum_row + o] = grad[o * grad_row + i];
    switch (sum_row / SIMD(lanes)) {
#if VECTORS == 4
    case 4: PASTE(SIMD(outers), 4)(turned, sum_row, in, offset, terms, length, sum, sum_row); break;
    case 3: PASTE(SIMD(outers), 3)(turned, sum_row, in, offset, terms, length, sum, sum_row); break;
#endif
    case 2: PASTE(SIMD(outers), 2)(turned, sum_row, in, offset, terms, length, sum, sum_row); break;
    default: PASTE(SIMD(outers), 1)(turned, sum_row, in, offset, terms, length, sum, sum_row);
    }
}

/* Output channels of a task: as many as the tiles are wide. */
static ptrdiff_t SIMD(gradient_outputs)(void) { return VECTORS * SIMD(lanes); }

/* Scratch elements of a task: a slab, a line of gradients turned, and the sums. */
static ptrdiff_t SIMD(gradient_scratch)(const Conv *c) {
    return c->slab_size + (c->line_size + c->terms) * VECTORS * SIMD(lanes);
}

/* The gradient of the weights between some channels of a group, all blocks in order.
   `grad` is (N, groups * outputs, positions); weights of one output channel are out_row apart. */
static void SIMD(weight_gradient)(const Conv *c, ptrdiff_t group, ptrdiff_t first_input,
                                  ptrdiff_t inputs, ptrdiff_t all_inputs, ptrdiff_t first_output,
                                  ptrdiff_t outputs, const REAL *grad, REAL *out, REAL *scratch) {
    const Axis *a = c->axis;
    ptrdiff_t volume = a[0].size * a[1].size * a[2].size,
              positions = a[0].count * a[1].count * a[2].count;
    ptrdiff_t blocks = a[0].blocks * a[1].blocks * a[2].blocks, terms = inputs * c->taps;
    ptrdiff_t sum_row = ceil_div(outputs, SIMD(lanes)) * SIMD(lanes);
    REAL *slab = scratch, *sum = slab + c->slab_size, *turned = sum + terms * sum_row;
    for (ptrdiff_t i = 0; i < terms * sum_row; i++) sum[i] = 0;
    for (ptrdiff_t index = 0; index < c->batch * blocks; index++) {
        Item item = find_item(c, (index / blocks * c->groups + group) * blocks + index % blocks);
        const REAL *x =
            (const REAL *)c->x + ((item.n * c->groups + group) * all_inputs + first_input) * volume;
        SIMD(pack_slab)(c, &item, inputs, x, slab);
        /* Rows follow one another in the slab and in grad alike, unless W is split. */
        ptrdiff_t merged = a[2].blocks == 1 ? item.count[1] : 1, length = merged * item.count[2];
        for (ptrdiff_t z = 0; z < item.count[0]; z++)
            for (ptrdiff_t y = 0; y < item.count[1]; y += merged) {
                const REAL *in = slab + z * c->plane_size + y * a[2].length;
                const REAL *g =
                    grad + ((item.n * c->groups + group) * c->outputs + first_output) * positions +
                    ((item.start[0] + z) * a[1].count + item.start[1] + y) * a[2].count +
                    item.start[2];
                SIMD(add_line)(outputs, g, positions, turned, in, c->offset, terms, length, sum,
                               sum_row);
            }
    }
    for (ptrdiff_t o = 0; o < outputs; o++)
        for (ptrdiff_t k = 0; k < terms; k++)
            out[o * all_inputs * c->taps + k] = sum[k * sum_row + o];
}
#undef ROWS
#undef VECTORS
#undef BLOCK
#undef AHEAD
