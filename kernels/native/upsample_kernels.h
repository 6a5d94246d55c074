/* The loops of upsample.h for one type, REAL. Axes: depth, rows, columns, with a weight for each. */

/* out = (1 - w) a + w b */
static void SIMD(blend)(const REAL *a, const REAL *b, REAL w, ptrdiff_t n, REAL *out) {
    const REAL v = 1 - w;
    for (ptrdiff_t i = 0; i < n; i++) out[i] = v * a[i] + w * b[i];
}

/* out += w x */
static void SIMD(add_times)(const REAL *x, REAL w, ptrdiff_t n, REAL *out) {
    for (ptrdiff_t i = 0; i < n; i++) out[i] += w * x[i];
}

/* A row of a->n elements as one of a->count. */
static void SIMD(widen)(const REAL *x, const Axis *a, const REAL *w, REAL *out) {
    if (w)
        for (ptrdiff_t k = 0; k < a->count; k++)
            out[k] = (1 - w[k]) * x[a->near[k]] + w[k] * x[a->far[k]];
    else
        for (ptrdiff_t k = 0; k < a->count; k++) out[k] = x[a->near[k]];
}

/* Its adjoint: what elements k leave for far[k] is carried on to the next sum. */
static void SIMD(narrow)(const REAL *grad, const Axis *a, const REAL *w, REAL *out) {
    REAL carried = 0;
    for (ptrdiff_t i = 0, k = 0; i < a->n; i++) {
        REAL sum = carried;
        carried = 0;
        for (; k < a->count && a->near[k] == i; k++) {
            if (w) sum += (1 - w[k]) * grad[k], carried += w[k] * grad[k];
            else sum += grad[k];
        }
        out[i] = i + 1 < a->n ? sum : sum + carried;
    }
}

/* Slice k of the result of a plane x; `rows` has room for two of its rows, `slice` for a slice of x. */
static void SIMD(enlarge)(const REAL *x, const Axis axes[3], const REAL *const w[3], ptrdiff_t k,
                          REAL *rows, REAL *slice, REAL *out) {
    const Axis *deep = &axes[0], *high = &axes[1], *wide = &axes[2];
    const ptrdiff_t size = high->n * wide->n, width = wide->count;
    const REAL *from = x + deep->near[k] * size;
    if (w[0] && deep->n > 1) {
        SIMD(blend)(from, x + deep->far[k] * size, w[0][k], size, slice);
        from = slice;
    }
    ptrdiff_t held[2] = {-1,
                         -1}; /* which rows of `from` are widened: neighbours differ in parity */
    for (ptrdiff_t r = 0; r < high->count; r++, out += width) {
        ptrdiff_t two[2] = {high->near[r], high->far[r]};
        for (int j = 0; j < (w[1] ? 2 : 1); j++) {
            if (held[two[j] & 1] == two[j]) continue;
            held[two[j] & 1] = two[j];
            SIMD(widen)(from + two[j] * wide->n, wide, w[2], rows + (two[j] & 1) * width);
        }
        const REAL *a = rows + (two[0] & 1) * width, *b = rows + (two[1] & 1) * width;
        if (w[1]) SIMD(blend)(a, b, w[1][r], width, out);
        else memcpy(out, a, width * sizeof(REAL));
    }
}

/* Slice k of a gradient back to a slice (rows, columns); `rows` has room for two rows of it. */
static void SIMD(reduce)(const REAL *grad, const Axis axes[3], const REAL *const w[3], REAL *rows,
                         REAL *out) {
    const Axis *high = &axes[1], *wide = &axes[2];
    const ptrdiff_t width = wide->count;
    memset(rows, 0, 2 * width * sizeof(REAL));
    for (ptrdiff_t i = 0, r = 0; i < high->n;
         i++) { /* row i gathers in one half, i + 1 in the other */
        REAL *own = rows + (i & 1) * width, *next = rows + (~i & 1) * width;
        for (; r < high->count && high->near[r] == i; r++, grad += width) {
            REAL *last = high->far[r] == i ? own : next;
            SIMD(add_times)(grad, w[1] ? 1 - w[1][r] : 1, width, own);
            if (w[1]) SIMD(add_times)(grad, w[1][r], width, last);
        }
        SIMD(narrow)(own, wide, w[2], out + i * wide->n);
        memset(own, 0, width * sizeof(REAL));
    }
}

/* A plane of a gradient back to one of x; `slice` has room for a slice of x. */
static void SIMD(reduce_plane)(const REAL *grad, const Axis axes[3], const REAL *const w[3],
                               REAL *rows, REAL *slice, REAL *out) {
    const Axis *deep = &axes[0];
    const ptrdiff_t size = axes[1].n * axes[2].n, large = axes[1].count * axes[2].count;
    if (deep->count == 1 && deep->n == 1) {
        SIMD(reduce)(grad, axes, w, rows, out);
        return;
    }
    memset(out, 0, deep->n * size * sizeof(REAL));
    for (ptrdiff_t k = 0; k < deep->count; k++) {
        SIMD(reduce)(grad + k * large, axes, w, rows, slice);
        SIMD(add_times)(slice, w[0] ? 1 - w[0][k] : 1, size, out + deep->near[k] * size);
        if (w[0]) SIMD(add_times)(slice, w[0][k], size, out + deep->far[k] * size);
    }
}
