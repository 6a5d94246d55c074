/* The loops of losses.h for one type, REAL. */

FORCE_INLINE double SIMD(term)(int kind, REAL x, REAL y) {
    double d = kind == ERRORS ? x - y : x;
    return kind == VALUES ? d : kind == MAGNITUDES ? fabs(d) : d * d;
}

/* In LANES sums that the compiler keeps in vectors, added in one order. */
FORCE_INLINE double SIMD(sum_kind)(int kind, const REAL *x, const REAL *y, ptrdiff_t n) {
    enum { LANES = 32 };
    double sums[LANES] = {0}, total = 0;
    ptrdiff_t i = 0;
    for (; i + LANES <= n; i += LANES)
        EACH(j, LANES) sums[j] += SIMD(term)(kind, x[i + j], y[i + j]);
    for (int j = 0; i + j < n; j++) sums[j] += SIMD(term)(kind, x[i + j], y[i + j]);
    EACH(j, LANES) total += sums[j];
    return total;
}

static double SIMD(sum)(int kind, const REAL *x, const REAL *y, ptrdiff_t n) {
    if (kind == VALUES) return SIMD(sum_kind)(VALUES, x, y, n);
    if (kind == MAGNITUDES) return SIMD(sum_kind)(MAGNITUDES, x, y, n);
    return kind == SQUARES ? SIMD(sum_kind)(SQUARES, x, y, n) : SIMD(sum_kind)(ERRORS, x, y, n);
}
