/* The loops of moments.h for one type, REAL. */

/* Moments of few elements: their mean, scaled before it is summed so that no sum overflows, then the
   deviations from it, while the next block is fetched. That mean may be rounded: what is left over is
   added. */
static Moments SIMD(block_moments)(const REAL *x, ptrdiff_t n) {
    enum { L = SIMD(lanes) };
    const REAL share = (REAL)1 / (REAL)n;
    SIMD(vec) sum[4], dev[4], square[4];
    ptrdiff_t whole = n / (4 * L) * (4 * L), i;
    EACH(v, 4) sum[v] = dev[v] = square[v] = SIMD(all)(0);
    for (i = 0; i < whole; i += 4 * L)
        EACH(v, 4) sum[v] = SIMD(fma)(SIMD(load)(x + i + v * L), SIMD(all)(share), sum[v]);
    REAL mean = SIMD(total)(SIMD(add)(SIMD(add)(sum[0], sum[1]), SIMD(add)(sum[2], sum[3])));
    for (; i < n; i++) mean += x[i] * share;
    if (!isfinite(mean)) return (Moments){(double)n, mean, NAN};
    for (i = 0; i < whole; i += 4 * L) {
        for (int l = 0; l < 4 * L; l += LINE / sizeof(REAL)) PREFETCH(x + MOST_SUMMED + i + l);
        EACH(v, 4) {
            SIMD(vec) d = SIMD(sub)(SIMD(load)(x + i + v * L), SIMD(all)(mean));
            dev[v] = SIMD(add)(dev[v], d);
            square[v] = SIMD(fma)(d, d, square[v]);
        }
    }
    double first = SIMD(total)(SIMD(add)(SIMD(add)(dev[0], dev[1]), SIMD(add)(dev[2], dev[3])));
    double second =
        SIMD(total)(SIMD(add)(SIMD(add)(square[0], square[1]), SIMD(add)(square[2], square[3])));
    for (; i < n; i++) {
        REAL d = x[i] - mean;
        first += d, second += d * d;
    }
    second -= first * first / (double)n;
    return (Moments){(double)n, mean + first / (double)n, second < 0 ? 0 : second};
}

static Moments SIMD(moments)(const REAL *x, ptrdiff_t n) {
    Moments m = {0, 0, 0};
    ptrdiff_t block = even_block(n, MOST_SUMMED);
    for (ptrdiff_t i = 0; i < n; i += block)
        m = merged(m, SIMD(block_moments)(x + i, smaller(block, n - i)));
    return m;
}

/* Elements before the first vector of `out` that can be written past the cache; all of them if that
   is not wanted. */
static ptrdiff_t SIMD(before_stream)(const REAL *out, ptrdiff_t n, int past_cache) {
    enum { BYTES = SIMD(lanes) * sizeof(REAL) };
    ptrdiff_t head = (ptrdiff_t)((BYTES - (size_t)out % BYTES) % BYTES / sizeof(REAL));
    return past_cache ? smaller(head, n) : n;
}

/* out = (x - shift) * scale + offset, for a run of elements; what lies `ahead` elements behind them is
   fetched where that is not 0. */
FORCE_INLINE void SIMD(map_run)(const REAL *x, ptrdiff_t n, REAL shift, REAL scale, REAL offset,
                                ptrdiff_t ahead, int past_cache, REAL *out) {
    enum { L = SIMD(lanes) };
    ptrdiff_t head = SIMD(before_stream)(out, n, past_cache), i = 0;
    const SIMD(vec) m = SIMD(all)(shift), s = SIMD(all)(scale), b = SIMD(all)(offset);
    for (; i + L <= head; i += L)
        SIMD(store)(out + i, SIMD(fma)(SIMD(sub)(SIMD(load)(x + i), m), s, b));
    for (; i < head; i++) out[i] = (x[i] - shift) * scale + offset;
    for (; i + L <= n; i += L) {
        if (ahead) PREFETCH(x + i + ahead);
        SIMD(stream)(out + i, SIMD(fma)(SIMD(sub)(SIMD(load)(x + i), m), s, b));
    }
    for (; i < n; i++) out[i] = (x[i] - shift) * scale + offset;
}

/* The sums of grad and of grad * (x - shift) over a run of elements. */
static void SIMD(run_sums)(const REAL *grad, const REAL *x, ptrdiff_t n, REAL shift, double *sum,
                           double *product) {
    enum { L = SIMD(lanes) };
    ptrdiff_t block = even_block(n, MOST_SUMMED);
    *sum = *product = 0;
    for (ptrdiff_t start = 0; start < n; start += block) {
        ptrdiff_t end = smaller(start + block, n), i = start;
        SIMD(vec) s[2], p[2];
        EACH(v, 2) s[v] = p[v] = SIMD(all)(0);
        for (; i + 2 * L <= end; i += 2 * L)
            EACH(v, 2) {
                SIMD(vec) g = SIMD(load)(grad + i + v * L);
                SIMD(vec) d = SIMD(sub)(SIMD(load)(x + i + v * L), SIMD(all)(shift));
                s[v] = SIMD(add)(s[v], g), p[v] = SIMD(fma)(g, d, p[v]);
            }
        *sum += SIMD(total)(SIMD(add)(s[0], s[1]));
        *product += SIMD(total)(SIMD(add)(p[0], p[1]));
        for (; i < end; i++) *sum += grad[i], *product += grad[i] * (x[i] - shift);
    }
}

/* One vector of the map below. */
FORCE_INLINE SIMD(vec) SIMD(gradient_at)(const REAL *grad, const REAL *x, const REAL *weight,
                                         REAL scale, REAL shift, REAL slope, REAL offset) {
    SIMD(vec) g = SIMD(load)(grad), d = SIMD(sub)(SIMD(load)(x), SIMD(all)(shift));
    if (weight) g = SIMD(mul)(g, SIMD(load)(weight));
    d = SIMD(fma)(d, SIMD(all)(slope), SIMD(all)(offset));
    return SIMD(fma)(g, SIMD(all)(scale), d);
}

/* out = grad * scale + (x - shift) * slope + offset; with `weight`, grad * weight for grad. */
FORCE_INLINE void SIMD(map_gradient)(const REAL *grad, const REAL *x, const REAL *weight,
                                     ptrdiff_t n, REAL scale, REAL shift, REAL slope, REAL offset,
                                     ptrdiff_t ahead, int past_cache, REAL *out) {
    enum { L = SIMD(lanes) };
    ptrdiff_t head = SIMD(before_stream)(out, n, past_cache), i = 0;
    for (; i < n; i++) {
        const REAL *w = weight ? weight + i : NULL;
        int whole = i + L <= n && (i >= head || i + L <= head);
        if (ahead) PREFETCH(x + i + ahead), PREFETCH(grad + i + ahead);
        if (whole && i >= head)
            SIMD(stream)(out + i,
                         SIMD(gradient_at)(grad + i, x + i, w, scale, shift, slope, offset));
        else if (whole)
            SIMD(store)(out + i,
                        SIMD(gradient_at)(grad + i, x + i, w, scale, shift, slope, offset));
        else out[i] = (w ? grad[i] * *w : grad[i]) * scale + ((x[i] - shift) * slope + offset);
        i += whole ? L - 1 : 0;
    }
}
