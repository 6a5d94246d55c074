/* The loops of optim.h for one type, REAL. A vector that the array ends in is masked: an element has
   the same bits wherever it lies. */

/* A vector of n elements, all lanes where n is L; a compiler that knows n leaves the branch out. */
FORCE_INLINE SIMD(vec) SIMD(take)(const REAL *p, ptrdiff_t n) {
    return n == SIMD(lanes) ? SIMD(load)(p) : SIMD(load_first)(p, n);
}

FORCE_INLINE void SIMD(give)(REAL *p, SIMD(vec) v, ptrdiff_t n) {
    if (n == SIMD(lanes)) SIMD(store)(p, v);
    else SIMD(store_first)(p, v, n);
}

FORCE_INLINE void SIMD(descend_at)(const Descent *q, REAL *weight, const REAL *grad, REAL *velocity,
                                   ptrdiff_t n) {
    const SIMD(vec) momentum = SIMD(all)((REAL)q->momentum), fresh = SIMD(all)((REAL)q->fresh);
    SIMD(vec) w = SIMD(take)(weight, n), g = SIMD(take)(grad, n);
    g = SIMD(fma)(w, SIMD(all)((REAL)q->decay), g);
    if (velocity) {
        SIMD(vec) v = SIMD(take)(velocity, n);
        g = SIMD(mul)(g, fresh);
        v = SIMD(fma)(v, momentum, g);
        SIMD(give)(velocity, v, n);
        g = q->nesterov ? SIMD(fma)(v, momentum, g) : v;
    }
    SIMD(give)(weight, SIMD(fma)(g, SIMD(all)((REAL)-q->rate), w), n);
}

FORCE_INLINE void SIMD(adapt_at)(const Adaptation *q, REAL *weight, const REAL *grad, REAL *mean,
                                 REAL *square, ptrdiff_t n) {
    const SIMD(vec) new1 = SIMD(all)((REAL)(1 - q->beta1)), new2 = SIMD(all)((REAL)(1 - q->beta2));
    SIMD(vec) w = SIMD(take)(weight, n), s = SIMD(take)(square, n);
    SIMD(vec) g = SIMD(fma)(w, SIMD(all)((REAL)q->decay), SIMD(take)(grad, n)), m = g;
    if (mean) {
        m = SIMD(mul)(SIMD(take)(mean, n), SIMD(all)((REAL)q->beta1));
        m = SIMD(fma)(g, new1, m);
        SIMD(give)(mean, m, n);
    }
    s = SIMD(fma)(SIMD(mul)(g, new2), g, SIMD(mul)(s, SIMD(all)((REAL)q->beta2)));
    SIMD(give)(square, s, n);
    s = SIMD(square_root)(SIMD(add)(s, SIMD(all)((REAL)q->inside)));
    m = SIMD(div)(SIMD(mul)(m, SIMD(all)((REAL)-q->rate)),
                  SIMD(add)(s, SIMD(all)((REAL)q->outside)));
    SIMD(give)(weight, SIMD(fma)(w, SIMD(all)((REAL)q->kept), m), n);
}

/* Fetch what lies AHEAD bytes behind p, a line for every line taken. */
FORCE_INLINE void SIMD(fetch)(const REAL *p, ptrdiff_t i) {
    if (i * sizeof(REAL) % LINE == 0) PREFETCH(p + i + AHEAD / sizeof(REAL));
}

/* The elements from `start` on, RUN or as many as there are; velocity may be NULL. */
static void SIMD(descend_run)(const Descent *q, REAL *weight, const REAL *grad, REAL *velocity,
                              ptrdiff_t start, ptrdiff_t size) {
    enum { L = SIMD(lanes) };
    ptrdiff_t end = smaller(start + RUN, size), i = start;
    if (velocity)
        for (; i + L <= end; i += L) SIMD(descend_at)(q, weight + i, grad + i, velocity + i, L);
    for (; i + L <= end; i += L) SIMD(descend_at)(q, weight + i, grad + i, NULL, L);
    if (i < end) SIMD(descend_at)(q, weight + i, grad + i, velocity ? velocity + i : NULL, end - i);
}

/* The same of an adaptation; mean may be NULL. */
static void SIMD(adapt_run)(const Adaptation *q, REAL *weight, const REAL *grad, REAL *mean,
                            REAL *square, ptrdiff_t start, ptrdiff_t size) {
    enum { L = SIMD(lanes) };
    ptrdiff_t end = smaller(start + RUN, size), i = start;
    if (mean)
        for (; i + L <= end; i += L) {
            SIMD(fetch)(weight, i), SIMD(fetch)(grad, i);
            SIMD(fetch)(mean, i), SIMD(fetch)(square, i);
            SIMD(adapt_at)(q, weight + i, grad + i, mean + i, square + i, L);
        }
    for (; i + L <= end; i += L) SIMD(adapt_at)(q, weight + i, grad + i, NULL, square + i, L);
    if (i < end)
        SIMD(adapt_at)(q, weight + i, grad + i, mean ? mean + i : NULL, square + i, end - i);
}
