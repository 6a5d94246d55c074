/* The loops of softmax.h for one type, REAL. */

/* The largest element of a row, NaN if there is one. */
static inline REAL SIMD(row_most)(const REAL *x, ptrdiff_t n) {
    enum { L = SIMD(lanes) };
    SIMD(vec) most[2];
    SIMD(record) record = SIMD(whole)();
    EACH(v, 2) most[v] = SIMD(all)((REAL)-INFINITY);
    ptrdiff_t i = 0;
    for (; i + 2 * L <= n; i += 2 * L) {
        SIMD(vec) a = SIMD(load)(x + i), b = SIMD(load)(x + i + L);
        most[0] = SIMD(max)(most[0], a), most[1] = SIMD(max)(most[1], b);
        record = SIMD(whole_and)(record, a, b);
    }
    REAL m = SIMD(most)(SIMD(spoilt)(record, SIMD(larger)(most[0], most[1])));
    for (; i < n; i++) m = x[i] > m || x[i] != x[i] ? x[i] : m;
    return m;
}

/* The sum of exp(x - most); the exponentials go to `out` if there is one. */
FORCE_INLINE double SIMD(exps)(const REAL *x, ptrdiff_t n, REAL most, REAL *out) {
    enum { L = SIMD(lanes) };
    const SIMD(vec) m = SIMD(all)(most), none = SIMD(all)((REAL)-INFINITY);
    double total = 0;
    ptrdiff_t block = ceil_div(even_block(n, EXPS_SUMMED), 2 * L) * 2 * L;
    for (ptrdiff_t start = 0; start < n; start += block) {
        ptrdiff_t end = smaller(start + block, n), i = start;
        SIMD(vec) sum[2];
        EACH(v, 2) sum[v] = SIMD(all)(0);
        for (; i + 2 * L <= end; i += 2 * L)
            EACH(v, 2) {
                PREFETCH(x + n + i + v * L); /* the next row: a quarter faster from memory */
                if (out) PREFETCH(out + n + i + v * L);
                SIMD(vec) e = SIMD(exp_negative)(SIMD(sub)(SIMD(load)(x + i + v * L), m));
                sum[v] = SIMD(add)(sum[v], e);
                if (out) SIMD(store)(out + i + v * L, e);
            }
        for (; i < end; i += L) {
            ptrdiff_t few = smaller(L, end - i);
            REAL own[L];
            SIMD(store)(own, none);
            for (ptrdiff_t j = 0; j < few; j++) own[j] = x[i + j] - most;
            SIMD(vec) e = SIMD(exp_negative)(SIMD(load)(own));
            sum[0] = SIMD(add)(sum[0], e);
            if (out) SIMD(store_first)(out + i, e, few);
        }
        total += SIMD(total)(SIMD(add)(sum[0], sum[1]));
    }
    return total;
}

/* out = out * scale */
static inline void SIMD(scale_row)(REAL *out, ptrdiff_t n, REAL scale) {
    enum { L = SIMD(lanes) };
    const SIMD(vec) s = SIMD(all)(scale);
    ptrdiff_t i = 0;
    for (; i + L <= n; i += L) SIMD(store)(out + i, SIMD(mul)(SIMD(load)(out + i), s));
    for (; i < n; i++) out[i] *= scale;
}

static inline void SIMD(softmax_row)(const REAL *x, ptrdiff_t n, REAL *out) {
    double sum = SIMD(exps)(x, n, SIMD(row_most)(x, n), out);
    SIMD(scale_row)(out, n, (REAL)(1 / sum));
}

static inline void SIMD(log_softmax_row)(const REAL *x, ptrdiff_t n, REAL *out) {
    enum { L = SIMD(lanes) };
    const REAL most = SIMD(row_most)(x, n), log_sum = (REAL)log(SIMD(exps)(x, n, most, NULL));
    const SIMD(vec) m = SIMD(all)(most), s = SIMD(all)(log_sum);
    ptrdiff_t i = 0;
    for (; i + L <= n; i += L) SIMD(store)(out + i, SIMD(sub)(SIMD(sub)(SIMD(load)(x + i), m), s));
    for (; i < n; i++) out[i] = x[i] - most - log_sum;
}

/* The sum of a * b, or of a where there is no b. */
static inline double SIMD(row_sum)(const REAL *a, const REAL *b, ptrdiff_t n) {
    enum { L = SIMD(lanes) };
    double total = 0;
    ptrdiff_t block = even_block(n, EXPS_SUMMED);
    for (ptrdiff_t start = 0; start < n; start += block) {
        ptrdiff_t end = smaller(start + block, n), i = start;
        SIMD(vec) sum = SIMD(all)(0);
        for (; i + L <= end; i += L) {
            SIMD(vec) v = SIMD(load)(a + i);
            sum = b ? SIMD(fma)(v, SIMD(load)(b + i), sum) : SIMD(add)(sum, v);
        }
        total += SIMD(total)(sum);
        for (; i < end; i++) total += b ? a[i] * b[i] : a[i];
    }
    return total;
}

/* out = y (grad - sum of grad y) with y = softmax(x) */
static inline void SIMD(softmax_gradient_row)(const REAL *grad, const REAL *y, ptrdiff_t n,
                                              REAL *out) {
    enum { L = SIMD(lanes) };
    const REAL mean = (REAL)SIMD(row_sum)(grad, y, n);
    const SIMD(vec) m = SIMD(all)(mean);
    ptrdiff_t i = 0;
    for (; i + L <= n; i += L) {
        SIMD(vec) g = SIMD(sub)(SIMD(load)(grad + i), m);
        SIMD(store)(out + i, SIMD(mul)(SIMD(load)(y + i), g));
    }
    for (; i < n; i++) out[i] = y[i] * (grad[i] - mean);
}

/* out = grad - exp(y) sum of grad with y = log_softmax(x) */
static inline void SIMD(log_softmax_gradient_row)(const REAL *grad, const REAL *y, ptrdiff_t n,
                                                  REAL *out) {
    enum { L = SIMD(lanes) };
    const SIMD(vec) s = SIMD(all)(-(REAL)SIMD(row_sum)(grad, NULL, n));
    ptrdiff_t i = 0;
    for (; i + L <= n; i += L) {
        SIMD(vec) e = SIMD(exp_negative)(SIMD(load)(y + i));
        SIMD(store)(out + i, SIMD(fma)(e, s, SIMD(load)(grad + i)));
    }
    if (i == n) return;
    SIMD(vec) e = SIMD(exp_negative)(SIMD(load_first)(y + i, n - i));
    SIMD(store_first)(out + i, SIMD(fma)(e, s, SIMD(load_first)(grad + i, n - i)), n - i);
}

/* -log softmax(x) at `label`; out = scale (softmax(x) - 1 at `label`) if there is an out. */
static inline double SIMD(cross_entropy_row)(const REAL *x, ptrdiff_t n, ptrdiff_t label,
                                             double scale, REAL *out) {
    const REAL most = SIMD(row_most)(x, n);
    if (!out) return log(SIMD(exps)(x, n, most, NULL)) - ((double)x[label] - most);
    double sum = SIMD(exps)(x, n, most, out);
    SIMD(scale_row)(out, n, (REAL)(scale / sum));
    out[label] -= (REAL)scale;
    return log(sum) - ((double)x[label] - most);
}
