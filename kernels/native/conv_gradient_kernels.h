/* The loops of conv_gradient.h for one type, REAL. */

/* Positions that the tiles of a task pass over at a time: what they read stays in the first-level
   cache. */
#define TURNED 128
#define DOTTED (8192 / (ptrdiff_t)sizeof(REAL) / 4)
#define MOST_TERMS 12 /* of a tile */

/* Lanes along positions: sum[r][v] += the products of grad[r][.] and in[offset[v] + .], a vector of
   them for each of R channels and V terms. A tile that reaches past the last term repeats it. */
FORCE_INLINE void SIMD(dot)(const int R, const int V, const REAL *RESTRICT grad, ptrdiff_t grad_row,
                            const REAL *RESTRICT in, const ptrdiff_t *RESTRICT offset,
                            ptrdiff_t terms, ptrdiff_t length, REAL *RESTRICT sum,
                            ptrdiff_t sum_row) {
    enum { L = SIMD(lanes) };
    SIMD(vec) part[4][MOST_TERMS];
    const REAL *p[MOST_TERMS];
    EACH(v, V) p[v] = in + offset[v < terms ? v : terms - 1];
    EACH(r, R)
        EACH(v, V) part[r][v] = SIMD(all)(0);
    ptrdiff_t i = 0;
    for (; i + L <= length; i += L) {
        SIMD(vec) x[MOST_TERMS];
        EACH(v, V) x[v] = SIMD(load)(p[v] + i);
        EACH(r, R) {
            SIMD(vec) g = SIMD(load)(grad + r * grad_row + i);
            EACH(v, V) part[r][v] = SIMD(fma)(g, x[v], part[r][v]);
        }
    }
    if (i < length) /* zeros on both sides: what lies behind the line may be infinite */
        EACH(r, R) {
            SIMD(vec) g = SIMD(load_first)(grad + r * grad_row + i, length - i);
            EACH(v, V)
                part[r][v] = SIMD(fma)(g, SIMD(load_first)(p[v] + i, length - i), part[r][v]);
        }
    EACH(r, R)
        EACH(v, V) {
            REAL *s = sum + r * sum_row + v * L;
            SIMD(store)(s, SIMD(add)(SIMD(load)(s), part[r][v]));
        }
}

#define DOTS(R, V)                                                                                 \
    static void PASTE(SIMD(dots), R)(const REAL *grad, ptrdiff_t grad_row, const REAL *in,         \
                                     const ptrdiff_t *offset, ptrdiff_t terms, ptrdiff_t length,   \
                                     REAL *sum, ptrdiff_t sum_row) {                               \
        for (ptrdiff_t k = 0; k < terms; k += V)                                                   \
            SIMD(dot)(R, V, grad, grad_row, in, offset + k, terms - k, length,                     \
                      sum + k * SIMD(lanes), sum_row);                                             \
    }
#if SIMD_REGISTERS == 32
DOTS(4, 6)
DOTS(2, 9)
#elif defined(SIMD_UNFUSED)
DOTS(4, 2)
DOTS(2, 4)
#else
DOTS(4, 3)
DOTS(2, 4)
#endif
DOTS(1, 9)
#undef DOTS

/* Lanes along channels: sum[k][.] += in[offset[k] + place[i]] * grad[i][.] over `length` positions
   i, for R terms and V vectors. */
FORCE_INLINE void SIMD(outer)(const int R, const int V, const REAL *RESTRICT grad,
                              const REAL *RESTRICT in, const ptrdiff_t *RESTRICT place,
                              const ptrdiff_t *RESTRICT offset, ptrdiff_t terms, ptrdiff_t length,
                              REAL *RESTRICT sum) {
    enum { L = SIMD(lanes) };
    SIMD(vec) part[MOST_TERMS][4];
    const REAL *p[MOST_TERMS];
    EACH(r, R) p[r] = in + offset[r < terms ? r : terms - 1];
    EACH(r, R)
        EACH(v, V) part[r][v] = SIMD(all)(0);
    for (ptrdiff_t i = 0; i < length; i++) {
        SIMD(vec) g[4];
        EACH(v, V) g[v] = SIMD(load)(grad + (i * V + v) * L);
        EACH(r, R) {
            SIMD(vec) x = SIMD(all)(p[r][place[i]]);
            EACH(v, V) part[r][v] = SIMD(fma)(x, g[v], part[r][v]);
        }
    }
    EACH(r, R)
        EACH(v, V) {
            REAL *s = sum + (r * V + v) * L;
            SIMD(store)(s, SIMD(add)(SIMD(load)(s), part[r][v]));
        }
}

#define OUTERS(R, V)                                                                               \
    static void PASTE(SIMD(outers), V)(const REAL *grad, const REAL *in, const ptrdiff_t *place,   \
                                       const ptrdiff_t *offset, ptrdiff_t terms, ptrdiff_t length, \
                                       REAL *sum) {                                                \
        for (ptrdiff_t k = 0; k < terms; k += R)                                                   \
            SIMD(outer)(R, V, grad, in, place, offset + k, terms - k, length,                      \
                        sum + k * V * SIMD(lanes));                                                \
    }
/* More terms would not fit the general registers, an address each. */
#if SIMD_REGISTERS == 32
#define VECTORS 4
OUTERS(6, 4)
OUTERS(8, 3)
OUTERS(12, 2)
#else
#define VECTORS 2
OUTERS(6, 2)
#endif
OUTERS(8, 1)
#undef OUTERS

static void SIMD(outers)(ptrdiff_t vectors, const REAL *grad, const REAL *in,
                         const ptrdiff_t *place, const ptrdiff_t *offset, ptrdiff_t terms,
                         ptrdiff_t length, REAL *sum) {
    switch (vectors) {
#if VECTORS == 4
    case 4: PASTE(SIMD(outers), 4)(grad, in, place, offset, terms, length, sum); break;
    case 3: PASTE(SIMD(outers), 3)(grad, in, place, offset, terms, length, sum); break;
#endif
    case 2: PASTE(SIMD(outers), 2)(grad, in, place, offset, terms, length, sum); break;
    default: PASTE(SIMD(outers), 1)(grad, in, place, offset, terms, length, sum);
    }
}

/* What a task computes: some outputs by some terms, in `sum`; elements of sum from one output to
   the next where the lanes are positions, from one term to the next where they are channels. */
typedef struct {
    ptrdiff_t outputs, terms, sum_row;
    REAL *sum, *turned;
} SIMD(Sums);

/* Lanes along positions: add the products of a line. */
static void SIMD(dot_line)(const Gradient *q, const SIMD(Sums) * s, const REAL *grad,
                           ptrdiff_t grad_row, const REAL *in, ptrdiff_t length) {
    const ptrdiff_t *offset = q->conv.offset;
    for (ptrdiff_t i = 0; i < length; i += DOTTED) {
        ptrdiff_t n = length - i < DOTTED ? length - i : DOTTED, o = 0;
        for (; o + 4 <= s->outputs; o += 4)
            PASTE(SIMD(dots), 4)(grad + o * grad_row + i, grad_row, in + i, offset, s->terms, n,
                                 s->sum + o * s->sum_row, s->sum_row);
        if (o + 2 <= s->outputs) {
            PASTE(SIMD(dots), 2)(grad + o * grad_row + i, grad_row, in + i, offset, s->terms, n,
                                 s->sum + o * s->sum_row, s->sum_row);
            o += 2;
        }
        if (o < s->outputs)
            PASTE(SIMD(dots), 1)(grad + o * grad_row + i, grad_row, in + i, offset, s->terms, n,
                                 s->sum + o * s->sum_row, s->sum_row);
    }
}

/* Lanes along channels: add the products of the block's outputs [first, first + length), which are
   neighbours in grad, in even pieces. */
static void SIMD(outer_run)(const Gradient *q, const Item *item, const SIMD(Sums) * s,
                            const REAL *grad, ptrdiff_t grad_row, const REAL *slab, ptrdiff_t first,
                            ptrdiff_t length) {
    const Conv *c = &q->conv;
    const Axis *a = c->axis;
    ptrdiff_t place[TURNED], step = ceil_div(length, ceil_div(length, TURNED));
    for (ptrdiff_t i = 0; i < length; i += step) {
        ptrdiff_t n = length - i < step ? length - i : step, v = first + i;
        ptrdiff_t x = v % item->count[2], y = v / item->count[2] % item->count[1];
        ptrdiff_t z = v / item->count[2] / item->count[1];
        for (ptrdiff_t j = 0; j < n; j++) {
            place[j] =
                z * a[0].spread * c->plane_size + y * a[1].spread * a[2].length + x * a[2].spread;
            if (++x < item->count[2]) continue;
            x = 0;
            if (++y == item->count[1]) y = 0, z++;
        }
        SIMD(turn)(s->outputs, n, grad + i, grad_row, s->turned, s->sum_row);
        SIMD(outers)(s->sum_row / SIMD(lanes), s->turned, slab, place, c->offset, s->terms, n,
                     s->sum);
    }
}

/* Channels that fill the widest tile. */
static ptrdiff_t SIMD(widest_tile)(void) { return VECTORS * SIMD(lanes); }

/* Scratch elements of a task: a slab, the sums, and a piece of a line of gradients turned. */
static ptrdiff_t SIMD(gradient_scratch)(const Gradient *q) {
    ptrdiff_t terms = q->conv.terms + MOST_TERMS;
    if (q->along_positions) return q->conv.slab_size + q->out_chunk * terms * SIMD(lanes);
    return q->conv.slab_size + (terms + TURNED) * VECTORS * SIMD(lanes);
}

/* Add the products of one block. Its rows follow one another in grad unless W is split, its planes
   unless H is. */
static void SIMD(add_block)(const Gradient *q, const Item *item, const SIMD(Sums) * s,
                            ptrdiff_t first_output, const REAL *slab) {
    const Conv *c = &q->conv;
    const Axis *a = c->axis;
    ptrdiff_t positions = a[0].count * a[1].count * a[2].count, width = item->count[2];
    const REAL *grad = (const REAL *)q->grad +
                       ((item->n * c->groups + item->g) * c->outputs + first_output) * positions;
    ptrdiff_t rows = a[2].blocks == 1 ? item->count[1] : 1;
    ptrdiff_t planes = rows == a[1].count && !q->along_positions ? item->count[0] : 1;
    for (ptrdiff_t z = 0; z < item->count[0]; z += planes)
        for (ptrdiff_t y = 0; y < item->count[1]; y += rows) {
            ptrdiff_t row = (item->start[0] + z) * a[1].count + item->start[1] + y;
            const REAL *g = grad + row * a[2].count + item->start[2];
            if (q->along_positions)
                SIMD(dot_line)(q, s, g, positions,
                               slab + z * a[0].spread * c->plane_size + y * a[2].length,
                               rows * width);
            else
                SIMD(outer_run)(q, item, s, g, positions, slab, (z * item->count[1] + y) * width,
                                planes * rows * width);
        }
}

/* Write the sums of a task to their places. */
static void SIMD(write_sums)(const Gradient *q, const SIMD(Sums) * s, REAL *out) {
    ptrdiff_t row = q->all_inputs * q->conv.taps;
    if (q->along_positions) {
        for (ptrdiff_t o = 0; o < s->outputs; o++)
            for (ptrdiff_t k = 0; k < s->terms; k++)
                out[o * row + k] =
                    SIMD(total)(SIMD(load)(s->sum + o * s->sum_row + k * SIMD(lanes)));
        return;
    }
    for (ptrdiff_t k = 0; k < s->terms; k += TURNED) {
        ptrdiff_t n = s->terms - k < TURNED ? s->terms - k : TURNED;
        SIMD(turn)(n, s->outputs, s->sum + k * s->sum_row, s->sum_row, s->turned, TURNED);
        for (ptrdiff_t o = 0; o < s->outputs; o++)
            SIMD(copy)(out + o * row + k, s->turned + o * TURNED, n);
    }
}

/* One part of the gradient of the weights between some channels of a group. */
static void SIMD(gradient_task)(const Gradient *q, ptrdiff_t task, REAL *scratch) {
    const Conv *c = &q->conv;
    const Axis *a = c->axis;
    ptrdiff_t part = task % q->parts, first_output = task / q->parts % q->out_chunks * q->out_chunk;
    ptrdiff_t rest = task / q->parts / q->out_chunks;
    ptrdiff_t group = rest / q->in_chunks, first_input = rest % q->in_chunks * c->inputs;
    ptrdiff_t left = q->all_inputs - first_input, inputs = left < c->inputs ? left : c->inputs;
    left = c->outputs - first_output;
    SIMD(Sums)
    s = {.outputs = left < q->out_chunk ? left : q->out_chunk,
         .terms = inputs * c->taps,
         .sum = scratch + c->slab_size};
    s.sum_row = q->along_positions ? (s.terms + MOST_TERMS) * SIMD(lanes)
                                   : ceil_div(s.outputs, SIMD(lanes)) * SIMD(lanes);
    ptrdiff_t size =
        q->along_positions ? s.outputs * s.sum_row : (s.terms + MOST_TERMS) * s.sum_row;
    s.turned = s.sum + size;
    for (ptrdiff_t i = 0; i < size; i++) s.sum[i] = 0;

    ptrdiff_t blocks = a[0].blocks * a[1].blocks * a[2].blocks, items = c->batch * blocks;
    ptrdiff_t volume = a[0].size * a[1].size * a[2].size;
    for (ptrdiff_t i = items * part / q->parts; i < items * (part + 1) / q->parts; i++) {
        Item item = find_item(c, (i / blocks * c->groups + group) * blocks + i % blocks);
        const REAL *x = (const REAL *)c->x +
                        ((item.n * c->groups + group) * q->all_inputs + first_input) * volume;
        if (!c->in_place) SIMD(pack_slab)(c, &item, inputs, x, scratch);
        SIMD(add_block)(q, &item, &s, first_output, c->in_place ? x + item.start[2] : scratch);
    }
    ptrdiff_t row = q->all_inputs * c->taps;
    REAL *out =
        part ? (REAL *)q->partial + (part - 1) * c->groups * c->outputs * row : (REAL *)c->out;
    SIMD(write_sums)(q, &s,
                     out + (group * c->outputs + first_output) * row + first_input * c->taps);
}

/* The gradient to the bias of a channel. Stretches are summed on their own and added. */
static REAL SIMD(channel_sum)(const REAL *grad, ptrdiff_t batch, ptrdiff_t channels,
                              ptrdiff_t channel, ptrdiff_t positions) {
    enum { L = SIMD(lanes), SUMS = 4, STEP = SUMS * L, TERMS = 256 * STEP };
    SIMD(vec) total = SIMD(all)(0);
    for (ptrdiff_t n = 0; n < batch; n++) {
        const REAL *g = grad + (n * channels + channel) * positions;
        for (ptrdiff_t v = 0; v < positions; v += TERMS) {
            ptrdiff_t i = v, end = smaller(positions, v + TERMS);
            SIMD(vec) sum[SUMS];
            EACH(k, SUMS) sum[k] = SIMD(all)(0);
            for (; i + STEP <= end; i += STEP)
                EACH(k, SUMS) sum[k] = SIMD(add)(sum[k], SIMD(load)(g + i + k * L));
            for (; i + L <= end; i += L) sum[0] = SIMD(add)(sum[0], SIMD(load)(g + i));
            if (i < end) sum[1] = SIMD(add)(sum[1], SIMD(load_first)(g + i, end - i));
            sum[0] = SIMD(add)(SIMD(add)(sum[0], sum[1]), SIMD(add)(sum[2], sum[3]));
            total = SIMD(add)(total, sum[0]);
        }
    }
    return SIMD(total)(total);
}
