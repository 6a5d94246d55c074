/* The loops of activations.h for one type, REAL. */

/* One function of a vector; p is a slope or a factor. */
FORCE_INLINE SIMD(vec) SIMD(value)(int kind, SIMD(vec) x, SIMD(vec) p) {
    const SIMD(vec) zero = SIMD(all)(0), one = SIMD(all)(1);
    if (kind == RELU) return SIMD(where_less)(x, zero, zero, x);
    if (kind == LEAKY_RELU) return SIMD(where_less)(zero, x, x, SIMD(mul)(x, p));
    if (kind == ELU) return SIMD(where_less)(zero, x, x, SIMD(mul)(SIMD(expm1)(x), p));
    if (kind == SOFTPLUS) return SIMD(softplus)(SIMD(mul)(x, p));
    if (kind == HEAVISIDE) /* at 0, and of NaN: x + p */
        return SIMD(where_less)(zero, x, one, SIMD(where_less)(x, zero, zero, SIMD(add)(x, p)));
    return SIMD(div)(one, SIMD(add)(one, SIMD(exp)(SIMD(sub)(zero, x)))); /* SIGMOID */
}

/* Its gradient: x is the argument, or the result of sigmoid and of tanh. Tanh itself is NumPy's: a loop
   here was no faster. */
FORCE_INLINE SIMD(vec) SIMD(slope)(int kind, SIMD(vec) grad, SIMD(vec) x, SIMD(vec) p) {
    const SIMD(vec) zero = SIMD(all)(0), one = SIMD(all)(1);
    if (kind == RELU) /* of NaN: grad, as torch's */
        return SIMD(where_less)(zero, x, grad, SIMD(where_less)(x, one, zero, grad));
    if (kind == LEAKY_RELU) return SIMD(where_less)(zero, x, grad, SIMD(mul)(grad, p));
    if (kind == ELU)
        return SIMD(where_less)(zero, x, grad, SIMD(mul)(grad, SIMD(mul)(SIMD(exp)(x), p)));
    if (kind == SIGMOID) return SIMD(mul)(grad, SIMD(mul)(x, SIMD(sub)(one, x)));
    return SIMD(mul)(grad, SIMD(mul)(SIMD(sub)(one, x), SIMD(add)(one, x)));
}

FORCE_INLINE void SIMD(map_kind)(int kind, const REAL *x, ptrdiff_t n, REAL parameter, REAL *out) {
    enum { L = SIMD(lanes) };
    const SIMD(vec) p = SIMD(all)(parameter);
    ptrdiff_t i = 0;
    for (; i + L <= n; i += L) SIMD(store)(out + i, SIMD(value)(kind, SIMD(load)(x + i), p));
    if (i == n) return;
    SIMD(store_first)(out + i, SIMD(value)(kind, SIMD(load_first)(x + i, n - i), p), n - i);
}

FORCE_INLINE void SIMD(slope_kind)(int kind, const REAL *grad, const REAL *x, ptrdiff_t n,
                                   REAL parameter, REAL *out) {
    enum { L = SIMD(lanes) };
    const SIMD(vec) p = SIMD(all)(parameter);
    ptrdiff_t i = 0;
    for (; i + L <= n; i += L)
        SIMD(store)(out + i, SIMD(slope)(kind, SIMD(load)(grad + i), SIMD(load)(x + i), p));
    if (i == n) return;
    SIMD(vec) g = SIMD(load_first)(grad + i, n - i), v = SIMD(load_first)(x + i, n - i);
    SIMD(store_first)(out + i, SIMD(slope)(kind, g, v, p), n - i);
}

static void SIMD(map)(int kind, const REAL *x, ptrdiff_t n, REAL p, REAL *out) {
    if (kind == RELU) SIMD(map_kind)(RELU, x, n, p, out);
    if (kind == LEAKY_RELU) SIMD(map_kind)(LEAKY_RELU, x, n, p, out);
    if (kind == ELU) SIMD(map_kind)(ELU, x, n, p, out);
    if (kind == SIGMOID) SIMD(map_kind)(SIGMOID, x, n, p, out);
    if (kind == HEAVISIDE) SIMD(map_kind)(HEAVISIDE, x, n, p, out);
    if (kind == SOFTPLUS) SIMD(map_kind)(SOFTPLUS, x, n, p, out);
}

static void SIMD(map_slope)(int kind, const REAL *grad, const REAL *x, ptrdiff_t n, REAL p,
                            REAL *out) {
    if (kind == RELU) SIMD(slope_kind)(RELU, grad, x, n, p, out);
    if (kind == LEAKY_RELU) SIMD(slope_kind)(LEAKY_RELU, grad, x, n, p, out);
    if (kind == ELU) SIMD(slope_kind)(ELU, grad, x, n, p, out);
    if (kind == SIGMOID) SIMD(slope_kind)(SIGMOID, grad, x, n, p, out);
    if (kind == TANH) SIMD(slope_kind)(TANH, grad, x, n, p, out);
}
