/* Maxima and their places for one type, REAL. The maxima of rows carry keys, the distance of their row
   from the window's first: of equal elements the one with the smaller key comes first. */

/* As reduce_block for maxima, with the keys of the first rows that have them. */
FORCE_INLINE void SIMD(find_block)(const SIMD(Rows) * x, const REAL *keys, ptrdiff_t at,
                                   ptrdiff_t n, const int vectors, REAL *best, REAL *found) {
    enum { L = SIMD(lanes) };
    SIMD(vec) m[4], key[4];
    EACH(v, vectors) {
        m[v] = SIMD(load_up_to)(x->rows[0] + at + v * L, n);
        key[v] = SIMD(all)(keys[0]);
    }
    for (ptrdiff_t r = 1; r < x->count; r++) {
        const REAL *row = x->rows[r] + at;
        const SIMD(vec) k = SIMD(all)(keys[r]);
        EACH(v, vectors) {
            PREFETCH(row + v * L + POOL_AHEAD / sizeof(REAL));
            const SIMD(vec) a = SIMD(load_up_to)(row + v * L, n);
            key[v] = SIMD(where_less)(m[v], a, k, key[v]);
            m[v] = SIMD(larger)(m[v], a);
        }
    }
    EACH(v, vectors) {
        SIMD(store_up_to)(best + v * L, m[v], n);
        SIMD(store_up_to)(found + v * L, key[v], n);
    }
}

static void SIMD(find_rows)(const SIMD(Rows) * x, const REAL *keys, ptrdiff_t shift, REAL *best,
                            REAL *found) {
    enum { L = SIMD(lanes), V = SIMD(POOL_V) };
    const ptrdiff_t n = x->n;
    if (n >= V * L)
        for (ptrdiff_t e = 0; e < n; e += V * L) {
            const ptrdiff_t at = smaller(e, n - V * L);
            SIMD(find_block)(x, keys, shift + at, V * L, V, best + at, found + at);
        }
    else
        for (ptrdiff_t e = 0; e < n; e += L) {
            const ptrdiff_t at = n < L ? 0 : smaller(e, n - L);
            SIMD(find_block)(x, keys, shift + at, n, 1, best + at, found + at);
        }
}

/* Of windows from `o` on along a line, one vector of them, element `t`; at strides above 2 the line is
   split in phases. */
FORCE_INLINE SIMD(vec)
    SIMD(tap)(const Pool *q, const int stride, const REAL *line, ptrdiff_t o, ptrdiff_t t) {
    const ptrdiff_t at = t * q->v.w.dilation;
    if (stride == 1) return SIMD(load)(line + o + at);
    if (stride == 2) {
        const REAL *x = line + 2 * o + at;
        return SIMD(evens)(SIMD(load)(x), SIMD(load)(x + SIMD(lanes)));
    }
    return SIMD(load)(line + at % q->v.w.stride * q->phase + at / q->v.w.stride + o);
}

/* The maxima of the windows along a line, and their keys. */
FORCE_INLINE void SIMD(find_columns)(const Pool *q, const int stride, const REAL *line,
                                     const REAL *keys, REAL *best, REAL *found) {
    enum { L = SIMD(lanes) };
    const ptrdiff_t n = q->v.w.count;
    for (ptrdiff_t o = 0; o < n; o += L) {
        const ptrdiff_t at = n < L ? 0 : smaller(o, n - L);
        SIMD(vec) m = SIMD(tap)(q, stride, line, at, 0), key = SIMD(tap)(q, stride, keys, at, 0);
        for (ptrdiff_t t = 1; t < q->v.w.kernel; t++) {
            const SIMD(vec) along = SIMD(all)((REAL)(t * q->v.w.dilation));
            const SIMD(vec) a = SIMD(tap)(q, stride, line, at, t);
            const SIMD(vec) k = SIMD(add)(SIMD(tap)(q, stride, keys, at, t), along);
            const SIMD(vec) first = SIMD(where_less)(k, key, k, key); /* if a is no larger */
            key = SIMD(where_less)(m, a, k, SIMD(where_less)(a, m, key, first));
            m = SIMD(larger)(m, a);
        }
        SIMD(store_up_to)(best + at, m, n);
        SIMD(store_up_to)(found + at, key, n);
    }
}

/* Where window (i, j, o) has `value` first; where it has NaN last, if that is its value. */
static ptrdiff_t SIMD(place)(const REAL *volume, const Windows *v, ptrdiff_t i, ptrdiff_t j,
                             ptrdiff_t o, REAL value) {
    const ptrdiff_t z = axis_begin(&v->z, i), y = axis_begin(&v->y, j), w = axis_begin(&v->w, o);
    ptrdiff_t last = (z * v->y.size + y) * v->w.size + w;
    for (ptrdiff_t a = z; a < axis_end(&v->z, i); a += v->z.dilation)
        for (ptrdiff_t b = y; b < axis_end(&v->y, j); b += v->y.dilation) {
            const ptrdiff_t row = (a * v->y.size + b) * v->w.size;
            for (ptrdiff_t e = row + w; e < row + axis_end(&v->w, o); e += v->w.dilation) {
                if (volume[e] == value) return e;
                if (volume[e] != volume[e]) last = e;
            }
        }
    return last;
}

/* The places of known maxima, window by window, for `lines` lines of output. */
static void SIMD(place_lines)(const REAL *volume, const Windows *v, ptrdiff_t i, ptrdiff_t j,
                              ptrdiff_t lines, const REAL *best, long long *places) {
    for (ptrdiff_t k = 0; k < lines; k++, best += v->w.count, places += v->w.count)
        for (ptrdiff_t o = 0; o < v->w.count; o++)
            places[o] = SIMD(place)(volume, v, i, j + k, o, best[o]);
}

/* places[o] = start + o * stride + the key; a key is less than 2**25. */
static void SIMD(to_places)(const REAL *RESTRICT keys, ptrdiff_t start, ptrdiff_t stride,
                            ptrdiff_t n, long long *RESTRICT places) {
    for (ptrdiff_t o = 0; o < n; o++) /* vectorised */
        places[o] = start + o * stride + (int)keys[o];
}

/* The maxima of a share of the rows of one plane of the output, and their places; the scratch is as
   for pool_part, with as much again for keys, and then a line of keys for every line of output. */
static void SIMD(find_part)(const Pool *q, ptrdiff_t item, REAL *lines, const REAL **rows,
                            REAL *row_keys) {
    const Windows *v = &q->v;
    const ptrdiff_t part = item % POOL_PARTS, plane = item / POOL_PARTS, i = plane % v->z.count;
    const ptrdiff_t end = (part + 1) * v->y.count / POOL_PARTS;
    const REAL *volume =
        (const REAL *)q->x + plane / v->z.count * v->z.size * v->y.size * v->w.size;
    REAL *keys = lines + (q->lines + 1) * q->line, *found = keys + (q->lines + 1) * q->line;
    for (ptrdiff_t j = part * v->y.count / POOL_PARTS; j < end; j += q->lines) {
        const ptrdiff_t count = smaller(q->lines, end - j);
        const ptrdiff_t to = (plane * v->y.count + j) * v->w.count;
        REAL *best = (REAL *)q->out + to;
        ptrdiff_t starts[POOL_LINES];
        for (ptrdiff_t k = 0; k < count; k++) {
            const SIMD(Rows) x = {rows, SIMD(list_rows)(volume, v, i, j + k, rows), 0, v->w.size};
            for (ptrdiff_t r = 0; r < x.count; r++) row_keys[r] = (REAL)(rows[r] - rows[0]);
            starts[k] = rows[0] - volume - v->w.padding;
            SIMD(find_rows)(&x, row_keys, 0, lines + k * q->line + q->lead,
                            keys + k * q->line + q->lead);
        }
        for (ptrdiff_t k = 0; k < count; k++) {
            const REAL *line = lines + k * q->line, *key = keys + k * q->line;
            REAL *phases = lines + q->lines * q->line, *key_phases = keys + q->lines * q->line;
            REAL *line_best = best + k * v->w.count, *line_found = found + k * q->line;
            if (v->w.stride == 1) {
                SIMD(find_columns)(q, 1, line, key, line_best, line_found);
            } else if (v->w.stride == 2) {
                SIMD(find_columns)(q, 2, line, key, line_best, line_found);
            } else {
                SIMD(split_phases)(line, phases, v->w.stride, q->phase);
                SIMD(split_phases)(key, key_phases, v->w.stride, q->phase);
                SIMD(find_columns)(q, 0, phases, key_phases, line_best, line_found);
            }
        }
        const REAL top = SIMD(maximum)(best, count * v->w.count);
        if (top != top) { /* a NaN wins whatever is compared with it */
            SIMD(place_lines)(volume, v, i, j, count, best, q->places + to);
            continue;
        }
        for (ptrdiff_t k = 0; k < count; k++)
            SIMD(to_places)(found + k * q->line, starts[k], v->w.stride, v->w.count,
                            q->places + to + k * v->w.count);
    }
}

/* to[places[i]] += x[i]; how many places are not in `to`, which has `size` elements. Four runs in
   turns: neighbours often add to one place and would wait for each other (3.5 ms, now 2.4). */
static ptrdiff_t SIMD(scatter)(const REAL *x, const long long *places, ptrdiff_t n, ptrdiff_t size,
                               REAL *to) {
    const ptrdiff_t run = n / 4;
    ptrdiff_t outside = 0;
#define ADD(i)                                                                                     \
    if ((unsigned long long)places[i] < (unsigned long long)size) to[places[i]] += x[i];           \
    else outside++;
    for (ptrdiff_t i = 0; i < run; i++) {
        ADD(i)
        ADD(run + i)
        ADD(2 * run + i)
        ADD(3 * run + i)
    }
    for (ptrdiff_t i = 4 * run; i < n; i++) ADD(i)
#undef ADD
    return outside;
}
