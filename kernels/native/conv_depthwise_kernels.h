/* The loops of conv_depthwise.h for one type, REAL. */

#define TAPS 8 /* at a time, in registers */

static void SIMD(fill)(ptrdiff_t n, SIMD(vec) value, REAL *to) {
    for (ptrdiff_t i = 0; i < n; i++) SIMD(store)(to + i * SIMD(lanes), value);
}

/* Copy the input, channels innermost, to its place in its padding, or back. */
static void SIMD(pad)(const Depthwise *q, int back, REAL *inside, REAL *padded) {
    enum { L = SIMD(lanes) };
    const ptrdiff_t *size = q->size, *reach = q->reach, *before = q->padding;
    ptrdiff_t depth = smaller(size[0], reach[0] - before[0]);
    ptrdiff_t height = smaller(size[1], reach[1] - before[1]);
    ptrdiff_t width = smaller(size[2], reach[2] - before[2]);
    for (ptrdiff_t z = 0; z < depth; z++)
        for (ptrdiff_t y = 0; y < height; y++) {
            REAL *p = inside + (z * size[1] + y) * size[2] * L;
            REAL *r =
                padded + (((z + before[0]) * reach[1] + y + before[1]) * reach[2] + before[2]) * L;
            for (ptrdiff_t x = 0; x < width; x++)
                if (back) SIMD(store)(p + x * L, SIMD(load)(r + x * L));
                else SIMD(store)(r + x * L, SIMD(load)(p + x * L));
        }
}

/* padded[place[v] + offset[t]] += grad[v] * weight[t] for R taps. */
FORCE_INLINE void SIMD(spread_taps)(const int R, const Depthwise *q, const ptrdiff_t *offset,
                                    const REAL *grad, const REAL *weight, REAL *padded) {
    enum { L = SIMD(lanes) };
    SIMD(vec) w[TAPS];
    EACH(t, R) w[t] = SIMD(load)(weight + t * L);
    for (ptrdiff_t v = 0; v < q->positions; v++) {
        SIMD(vec) g = SIMD(load)(grad + v * L);
        REAL *to = padded + q->place[v] * L;
        EACH(t, R) {
            REAL *p = to + offset[t] * L;
            SIMD(store)(p, SIMD(fma)(g, w[t], SIMD(load)(p)));
        }
    }
}

/* sum[t] += sum over v of grad[v] * padded[place[v] + offset[t]] for R taps. */
FORCE_INLINE void SIMD(sum_taps)(const int R, const Depthwise *q, const ptrdiff_t *offset,
                                 const REAL *grad, const REAL *padded, REAL *sum) {
    enum { L = SIMD(lanes) };
    SIMD(vec) part[TAPS];
    EACH(t, R) part[t] = SIMD(all)(0);
    for (ptrdiff_t v = 0; v < q->positions; v++) {
        SIMD(vec) g = SIMD(load)(grad + v * L);
        const REAL *from = padded + q->place[v] * L;
        EACH(t, R) part[t] = SIMD(fma)(g, SIMD(load)(from + offset[t] * L), part[t]);
    }
    EACH(t, R) SIMD(store)(sum + t * L, SIMD(add)(SIMD(load)(sum + t * L), part[t]));
}

/* Scratch elements of a task: the padded input, the input, the output, and the weights. */
static ptrdiff_t SIMD(depthwise_scratch)(const Depthwise *q) {
    enum { L = SIMD(lanes) };
    return (q->elements + q->volume + q->positions + q->taps) * L;
}

/* The gradient to the input, of a sample and a vector of channels. */
static void SIMD(depthwise_input)(const Depthwise *q, ptrdiff_t task, REAL *scratch) {
    enum { L = SIMD(lanes) };
    ptrdiff_t blocks = ceil_div(q->channels, L), channel = task % blocks * L;
    ptrdiff_t row = task / blocks * q->channels + channel, t = 0;
    ptrdiff_t channels = smaller(q->channels - channel, L);
    REAL *padded = scratch, *x = padded + q->elements * L, *grad = x + q->volume * L;
    REAL *weight = grad + q->positions * L;
    SIMD(turn)(channels, q->taps, (const REAL *)q->weight + channel * q->taps, q->taps, weight, L);
    SIMD(turn)(channels, q->positions, (const REAL *)q->grad + row * q->positions, q->positions,
               grad, L);
    SIMD(vec) bias = SIMD(all)(0);
    if (q->bias) bias = SIMD(load_first)((const REAL *)q->bias + channel, channels);
    SIMD(fill)(q->elements, bias, padded);
    for (; t + TAPS <= q->taps; t += TAPS)
        SIMD(spread_taps)(TAPS, q, q->offset + t, grad, weight + t * L, padded);
    for (; t + 3 <= q->taps; t += 3)
        SIMD(spread_taps)(3, q, q->offset + t, grad, weight + t * L, padded);
    for (; t < q->taps; t++) SIMD(spread_taps)(1, q, q->offset + t, grad, weight + t * L, padded);
    if (q->bare) x = padded;
    else {
        SIMD(fill)(q->volume, bias, x);
        SIMD(pad)(q, 1, x, padded);
    }
    SIMD(turn_exact)(q->volume, channels, x, L, (REAL *)q->out + row * q->volume, q->volume);
}

/* The gradient to the weights of a vector of channels, sample by sample. */
static void SIMD(depthwise_weight)(const Depthwise *q, ptrdiff_t task, REAL *scratch) {
    enum { L = SIMD(lanes) };
    ptrdiff_t channel = task * L, channels = smaller(q->channels - channel, L);
    REAL *padded = scratch, *x = padded + q->elements * L, *grad = x + q->volume * L;
    REAL *sum = grad + q->positions * L;
    if (q->bare) x = padded;
    else SIMD(fill)(q->elements, SIMD(all)(0), padded);
    SIMD(fill)(q->taps, SIMD(all)(0), sum);
    for (ptrdiff_t n = 0; n < q->batch; n++) {
        ptrdiff_t row = n * q->channels + channel, t = 0;
        SIMD(turn)(channels, q->positions, (const REAL *)q->grad + row * q->positions, q->positions,
                   grad, L);
        SIMD(turn)(channels, q->volume, (const REAL *)q->x + row * q->volume, q->volume, x, L);
        if (!q->bare) SIMD(pad)(q, 0, x, padded);
        for (; t + TAPS <= q->taps; t += TAPS)
            SIMD(sum_taps)(TAPS, q, q->offset + t, grad, padded, sum + t * L);
        for (; t + 3 <= q->taps; t += 3)
            SIMD(sum_taps)(3, q, q->offset + t, grad, padded, sum + t * L);
        for (; t < q->taps; t++) SIMD(sum_taps)(1, q, q->offset + t, grad, padded, sum + t * L);
    }
    SIMD(turn_exact)(q->taps, channels, sum, L, (REAL *)q->out + channel * q->taps, q->taps);
}
#undef TAPS
