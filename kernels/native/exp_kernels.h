/* The exponentials of exp.h for one type, REAL. */

/* exp(r) - 1 of the remainder of x, and the power of 2 that goes with it. */
FORCE_INLINE SIMD(vec) SIMD(exp_parts)(SIMD(vec) x, SIMD(vec) * power) {
    const SIMD(vec) whole = SIMD(all)(PASTE(ROUNDING, REAL));
    SIMD(vec) n = SIMD(fma)(x, SIMD(all)((REAL)1.44269504088896340736), whole);
    n = SIMD(sub)(n, whole);
    SIMD(vec) r = SIMD(fma)(n, SIMD(all)(-PASTE(LN2, REAL)), x);
    r = SIMD(fma)(n, SIMD(all)(-PASTE(LN2_REST, REAL)), r);
    const SIMD(vec) bias = SIMD(all)(PASTE(BIAS, REAL) * PASTE(OCTAVE, REAL));
    *power = SIMD(of_logs)(SIMD(fma)(n, SIMD(all)(PASTE(OCTAVE, REAL)), bias));
    return SIMD(fma)(SIMD(mul)(r, r), SIMD(curve)(r), r);
}

/* `y`, or what exp is where x is far below or above 0; NaN stays, for it is neither. */
FORCE_INLINE SIMD(vec) SIMD(exp_ends)(SIMD(vec) x, SIMD(vec) y, REAL least) {
    const SIMD(vec) low = SIMD(all)(PASTE(LEAST_EXP, REAL));
    const SIMD(vec) high = SIMD(all)(PASTE(MOST_EXP, REAL));
    y = SIMD(where_less)(x, low, SIMD(all)(least), y);
    return SIMD(where_less)(high, x, SIMD(all)((REAL)INFINITY), y);
}

FORCE_INLINE SIMD(vec) SIMD(exp)(SIMD(vec) x) {
    SIMD(vec) power, rest = SIMD(exp_parts)(x, &power);
    return SIMD(exp_ends)(x, SIMD(fma)(rest, power, power), 0);
}

/* exp of x <= 0, or of NaN. */
FORCE_INLINE SIMD(vec) SIMD(exp_negative)(SIMD(vec) x) {
    SIMD(vec) power, rest = SIMD(exp_parts)(x, &power);
    return SIMD(where_less)(x, SIMD(all)(PASTE(LEAST_EXP, REAL)), SIMD(all)(0),
                            SIMD(fma)(rest, power, power));
}

/* exp(x) - 1 */
FORCE_INLINE SIMD(vec) SIMD(expm1)(SIMD(vec) x) {
    SIMD(vec) power, rest = SIMD(exp_parts)(x, &power);
    SIMD(vec) y = SIMD(fma)(rest, power, SIMD(sub)(power, SIMD(all)(1)));
    return SIMD(exp_ends)(x, y, -1);
}

/* log(1 + exp(x)) = max(x, 0) + log(1 + exp(-|x|)) */
FORCE_INLINE SIMD(vec) SIMD(softplus)(SIMD(vec) x) {
    const SIMD(vec) zero = SIMD(all)(0), opposite = SIMD(sub)(zero, x);
    SIMD(vec) z = SIMD(exp_negative)(SIMD(where_less)(x, zero, x, opposite));
    SIMD(vec) s = SIMD(div)(z, SIMD(add)(z, SIMD(all)(2)));
    return SIMD(fma)(SIMD(log1p_curve)(SIMD(mul)(s, s)), s, SIMD(where_less)(x, zero, zero, x));
}
