/* Sum and maximum of contiguous elements of type REAL, in 8 vectors: they hide the latency of an
   addition. Fetching 2 kB ahead takes a tenth off what comes from beyond L2. */

#define SPAN(combine, s)                                                                           \
    EACH(v, 8) {                                                                                   \
        if (v * L * sizeof(REAL) % 64 == 0) PREFETCH(x + v * L + 2048 / sizeof(REAL));             \
        s[v] = SIMD(combine)(s[v], SIMD(load)(x + v * L));                                         \
    }

/* At most 64 steps are added in order, then halves, so that the error does not grow with n. */
static REAL SIMD(sum)(const REAL *x, ptrdiff_t n) {
    enum { L = SIMD(lanes), STEP = 8 * L };
    SIMD(vec) s[8];
    REAL rest = 0;
    if (n > 64 * STEP) {
        ptrdiff_t half = n / (2 * STEP) * STEP;
        return SIMD(sum)(x, half) + SIMD(sum)(x + half, n - half);
    }
    EACH(v, 8) s[v] = SIMD(all)(0);
    for (; n >= STEP; n -= STEP, x += STEP) SPAN(add, s)
    for (; n >= L; n -= L, x += L) s[0] = SIMD(add)(s[0], SIMD(load)(x));
    for (; n; n--, x++) rest += *x;
    EACH(v, 4) s[v] = SIMD(add)(s[v], s[v + 4]);
    return rest + SIMD(total)(SIMD(add)(SIMD(add)(s[0], s[2]), SIMD(add)(s[1], s[3])));
}

/* NaN if any is. The last vector overlaps those before it. */
static REAL SIMD(maximum)(const REAL *x, ptrdiff_t n) {
    enum { L = SIMD(lanes), STEP = 8 * L };
    const REAL *end = x + n;
    SIMD(vec) m[8];
    REAL best = *x;
    if (n < L) {
        for (; x < end; x++) best = (*x > best) | (*x != *x) ? *x : best;
        return best;
    }
    EACH(v, 8) m[v] = SIMD(load)(x);
    for (; end - x >= STEP; x += STEP) SPAN(larger, m)
    for (; end - x >= L; x += L) m[0] = SIMD(larger)(m[0], SIMD(load)(x));
    m[1] = SIMD(larger)(m[1], SIMD(load)(end - L));
    EACH(v, 4) m[v] = SIMD(larger)(m[v], m[v + 4]);
    return SIMD(most)(SIMD(larger)(SIMD(larger)(m[0], m[2]), SIMD(larger)(m[1], m[3])));
}
#undef SPAN
