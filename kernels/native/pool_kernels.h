/* The loops of pool.h for one type, REAL. */

enum { SIMD(POOL_V) = SIMD(lanes) * sizeof(REAL) >= 64 ? 2 : 4 }; /* vectors at once: 128 bytes */

FORCE_INLINE SIMD(vec) SIMD(load_up_to)(const REAL *x, ptrdiff_t n) {
    return n < SIMD(lanes) ? SIMD(load_first)(x, n) : SIMD(load)(x);
}

FORCE_INLINE void SIMD(store_up_to)(REAL *to, SIMD(vec) v, ptrdiff_t n) {
    if (n < SIMD(lanes)) SIMD(store_first)(to, v, n);
    else SIMD(store)(to, v);
}

FORCE_INLINE SIMD(vec) SIMD(join)(const int kind, SIMD(vec) a, SIMD(vec) b) {
    return kind == POOL_MAX ? SIMD(larger)(a, b) : SIMD(add)(a, b);
}

/* The rows' maximum in `vectors` vectors from element `at` on; NaN is looked for two rows at a time. */
FORCE_INLINE void SIMD(highest)(const REAL *const *rows, ptrdiff_t count, ptrdiff_t at, ptrdiff_t n,
                                const int vectors, REAL *to) {
    enum { L = SIMD(lanes) };
    SIMD(vec) m[4];
    SIMD(record) record[4];
    const REAL *a = rows[0] + at, *b = rows[1 - count % 2] + at;
    EACH(v, vectors) {
        PREFETCH(a + v * L + POOL_AHEAD / sizeof(REAL));
        PREFETCH(b + v * L + POOL_AHEAD / sizeof(REAL));
        const SIMD(vec) x = SIMD(load_up_to)(a + v * L, n), y = SIMD(load_up_to)(b + v * L, n);
        m[v] = SIMD(max)(x, y);
        record[v] = SIMD(whole_and)(SIMD(whole)(), x, y);
    }
    for (ptrdiff_t r = 2 - count % 2; r < count; r += 2) {
        a = rows[r] + at, b = rows[r + 1] + at;
        EACH(v, vectors) {
            PREFETCH(a + v * L + POOL_AHEAD / sizeof(REAL));
            PREFETCH(b + v * L + POOL_AHEAD / sizeof(REAL));
            const SIMD(vec) x = SIMD(load_up_to)(a + v * L, n), y = SIMD(load_up_to)(b + v * L, n);
            m[v] = SIMD(max)(SIMD(max)(m[v], x), y);
            record[v] = SIMD(whole_and)(record[v], x, y);
        }
    }
    EACH(v, vectors) SIMD(store_up_to)(to + v * L, SIMD(spoilt)(record[v], m[v]), n);
}

/* The rows' sum, or that of their squares, in the same vectors. Many rows are added by blocks. */
FORCE_INLINE void SIMD(added)(const int kind, const REAL *const *rows, ptrdiff_t count,
                              ptrdiff_t at, ptrdiff_t n, const int vectors, REAL *to) {
    enum { L = SIMD(lanes) };
    const ptrdiff_t block = count <= POOL_LONG ? count : (ptrdiff_t)fmax(POOL_LONG, sqrt(count));
    SIMD(vec) sum[4], part[4];
    EACH(v, vectors) sum[v] = SIMD(all)(0);
    ptrdiff_t r = 0;
    do {
        const ptrdiff_t end = smaller(count, r + block), first = r == 0;
        EACH(v, vectors) {
            PREFETCH(rows[r] + at + v * L + POOL_AHEAD / sizeof(REAL));
            const SIMD(vec) x = SIMD(load_up_to)(rows[r] + at + v * L, n);
            part[v] = kind == POOL_SUM ? x : SIMD(mul)(x, x);
        }
        for (r++; r < end; r++) {
            const REAL *a = rows[r] + at;
            EACH(v, vectors) {
                PREFETCH(a + v * L + POOL_AHEAD / sizeof(REAL));
                const SIMD(vec) x = SIMD(load_up_to)(a + v * L, n);
                part[v] = kind == POOL_SUM ? SIMD(add)(part[v], x) : SIMD(fma)(x, x, part[v]);
            }
        }
        EACH(v, vectors) sum[v] = first ? part[v] : SIMD(add)(sum[v], part[v]);
    } while (r < count);
    EACH(v, vectors) SIMD(store_up_to)(to + v * L, sum[v], n);
}

FORCE_INLINE void SIMD(reduce_block)(const int kind, const REAL *const *rows, ptrdiff_t count,
                                     ptrdiff_t shift, ptrdiff_t at, ptrdiff_t n, const int vectors,
                                     REAL *to) {
    if (kind == POOL_MAX) SIMD(highest)(rows, count, shift + at, n, vectors, to + at);
    else SIMD(added)(kind, rows, count, shift + at, n, vectors, to + at);
}

/* to = the rows reduced element by element. Blocks overlap at the end: none is cut short but where
   a row has less than a vector. */
FORCE_INLINE void SIMD(reduce_row)(const int kind, const REAL *const *rows, ptrdiff_t count,
                                   ptrdiff_t shift, ptrdiff_t n, REAL *to) {
    enum { L = SIMD(lanes), V = SIMD(POOL_V) };
    if (n >= V * L)
        for (ptrdiff_t e = 0; e < n; e += V * L)
            SIMD(reduce_block)(kind, rows, count, shift, smaller(e, n - V * L), V * L, V, to);
    else if (n >= L)
        for (ptrdiff_t e = 0; e < n; e += L)
            SIMD(reduce_block)(kind, rows, count, shift, smaller(e, n - L), L, 1, to);
    else SIMD(reduce_block)(kind, rows, count, shift, 0, n, 1, to);
}

/* A set of rows to reduce to a line of n elements, and more such sets, each `step` elements on. */
typedef struct {
    const REAL *const *rows;
    ptrdiff_t count, step, n;
} SIMD(Rows);

FORCE_INLINE void SIMD(reduce_rows_as)(const int kind, SIMD(Rows) x, ptrdiff_t lines, REAL *to,
                                       ptrdiff_t pitch) {
    for (ptrdiff_t k = 0; k < lines; k++)
        SIMD(reduce_row)(kind, x.rows, x.count, k * x.step, x.n, to + k * pitch);
}

static void SIMD(reduce_rows)(int kind, SIMD(Rows) x, ptrdiff_t lines, REAL *to, ptrdiff_t pitch) {
    if (kind == POOL_MAX) SIMD(reduce_rows_as)(POOL_MAX, x, lines, to, pitch);
    else if (kind == POOL_SUM) SIMD(reduce_rows_as)(POOL_SUM, x, lines, to, pitch);
    else SIMD(reduce_rows_as)(POOL_SQUARES, x, lines, to, pitch);
}

/* Windows at stride 2 along a row, one vector of them: neighbouring taps come from one pair of loads. */
FORCE_INLINE SIMD(vec)
    SIMD(pairs)(const int kind, const REAL *row, const ptrdiff_t kernel, const ptrdiff_t dilation) {
    enum { L = SIMD(lanes) };
    SIMD(vec) v = SIMD(all)(kind == POOL_MAX ? -(REAL)INFINITY : 0);
    for (ptrdiff_t t = 0; t < kernel; t++) {
        const REAL *at = row + t * dilation;
        const SIMD(vec) a = SIMD(load)(at), b = SIMD(load)(at + L);
        v = t ? SIMD(join)(kind, v, SIMD(evens)(a, b)) : SIMD(evens)(a, b);
        if (dilation == 1 && t + 1 < kernel) v = SIMD(join)(kind, v, SIMD(odds)(a, b)), t++;
    }
    return v;
}

/* to[o] = the taps line[2*o + t*dilation] reduced, for some lines, their sums over counts * widths.
   Reads up to 2 vectors past the last tap. */
FORCE_INLINE void SIMD(reduce_pairs_as)(const int kind, const Pool *q, const ptrdiff_t kernel,
                                        const ptrdiff_t dilation, const REAL *line,
                                        const REAL *counts, ptrdiff_t lines, REAL *to) {
    enum { L = SIMD(lanes) };
    const ptrdiff_t n = q->v.w.count;
    for (ptrdiff_t k = 0; k < lines; k++, line += q->line, to += n)
        for (ptrdiff_t o = 0; o < n; o += L) {
            const ptrdiff_t at = n < L ? 0 : smaller(o, n - L);
            SIMD(vec) v = SIMD(pairs)(kind, line + 2 * at, kernel, dilation);
            if (kind == POOL_SUM) {
                const SIMD(vec) widths = SIMD(load_up_to)((const REAL *)q->widths + at, n);
                v = SIMD(div)(v, SIMD(mul)(SIMD(all)(counts[k]), widths));
            }
            SIMD(store_up_to)(to + at, v, n);
        }
}

static void SIMD(reduce_pairs)(const Pool *q, const REAL *line, const REAL *counts, ptrdiff_t lines,
                               REAL *to) {
    const Axis *w = &q->v.w;
    const ptrdiff_t k = w->dilation == 1 ? w->kernel : 0;
    if (q->kind == POOL_MAX) {
        if (k == 2) SIMD(reduce_pairs_as)(POOL_MAX, q, 2, 1, line, counts, lines, to);
        else if (k == 3) SIMD(reduce_pairs_as)(POOL_MAX, q, 3, 1, line, counts, lines, to);
        else SIMD(reduce_pairs_as)(POOL_MAX, q, w->kernel, w->dilation, line, counts, lines, to);
    } else {
        if (k == 2) SIMD(reduce_pairs_as)(POOL_SUM, q, 2, 1, line, counts, lines, to);
        else if (k == 3) SIMD(reduce_pairs_as)(POOL_SUM, q, 3, 1, line, counts, lines, to);
        else SIMD(reduce_pairs_as)(POOL_SUM, q, w->kernel, w->dilation, line, counts, lines, to);
    }
}

/* to[q*n + i] = row[i*stride + q], so that every tap of a strided window is contiguous. */
static void SIMD(split_phases)(const REAL *RESTRICT row, REAL *RESTRICT to, ptrdiff_t stride,
                               ptrdiff_t n) {
    if (stride == 3)
        for (ptrdiff_t i = 0; i < n; i++) /* vectorised */
            to[i] = row[3 * i], to[n + i] = row[3 * i + 1], to[2 * n + i] = row[3 * i + 2];
    else
        for (ptrdiff_t q = 0; q < stride; q++)
            for (ptrdiff_t i = 0; i < n; i++) to[q * n + i] = row[i * stride + q];
}

/* row[i*stride + q] = from[q*n + i] for all `size` elements of a row. */
static void SIMD(join_phases)(const REAL *RESTRICT from, REAL *RESTRICT row, ptrdiff_t stride,
                              ptrdiff_t n, ptrdiff_t size) {
    const ptrdiff_t whole = size / stride;
    if (stride == 3)
        for (ptrdiff_t i = 0; i < whole; i++) /* vectorised */
            row[3 * i] = from[i], row[3 * i + 1] = from[n + i], row[3 * i + 2] = from[2 * n + i];
    else
        for (ptrdiff_t q = 0; q < stride; q++)
            for (ptrdiff_t i = 0; i < whole; i++) row[i * stride + q] = from[q * n + i];
    for (ptrdiff_t q = 0; q < size % stride; q++) row[whole * stride + q] = from[q * n + whole];
}

/* Sums to means: to[o] /= rows * widths[o]. */
static void SIMD(average)(REAL *to, const REAL *widths, ptrdiff_t n, REAL rows) {
    enum { L = SIMD(lanes) };
    for (ptrdiff_t o = 0; o < n; o += L) {
        const SIMD(vec) sum = SIMD(load_up_to)(to + o, n - o);
        const SIMD(vec) count = SIMD(mul)(SIMD(all)(rows), SIMD(load_up_to)(widths + o, n - o));
        SIMD(store_up_to)(to + o, SIMD(div)(sum, count), n - o);
    }
}

/* Where the rows of window (i, j) start, and how many there are. */
static ptrdiff_t SIMD(list_rows)(const REAL *volume, const Windows *v, ptrdiff_t i, ptrdiff_t j,
                                 const REAL **rows) {
    ptrdiff_t count = 0;
    for (ptrdiff_t a = axis_begin(&v->z, i); a < axis_end(&v->z, i); a += v->z.dilation)
        for (ptrdiff_t b = axis_begin(&v->y, j); b < axis_end(&v->y, j); b += v->y.dilation)
            rows[count++] = volume + (a * v->y.size + b) * v->w.size;
    return count;
}

/* Reduce the windows (i, j), (i, j + 1), ... by rows, one line of `lines` for each. */
static void SIMD(pool_lines)(const Pool *q, const REAL *volume, ptrdiff_t i, ptrdiff_t j,
                             ptrdiff_t count, REAL *lines, const REAL **rows) {
    const Windows *v = &q->v;
    lines += q->lead;
    for (ptrdiff_t k = 0, alike; k < count; k += alike, lines += alike * q->line) {
        const ptrdiff_t listed = SIMD(list_rows)(volume, v, i, j + k, rows);
        alike = smaller(axis_alike(&v->y, j + k), count - k);
        if (listed) {
            const SIMD(Rows) x = {rows, listed, v->y.stride * v->w.size, v->w.size};
            SIMD(reduce_rows)(q->kind, x, alike, lines, q->line);
        } else { /* dilation can step over the input: only maxima have it */
            for (ptrdiff_t l = 0; l < alike; l++)
                for (ptrdiff_t e = 0; e < v->w.size; e++) lines[l * q->line + e] = -(REAL)INFINITY;
        }
    }
}

/* Reduce the windows along lines; `taps` has a place for every column of a window, `phases` for all
   lines. They are all split before any is read, as they are all made before. */
static void SIMD(pool_columns)(const Pool *q, const REAL *line, ptrdiff_t lines, REAL *phases,
                               const REAL **taps, REAL *to) {
    const Axis *w = &q->v.w;
    const int kind = q->kind == POOL_MAX ? POOL_MAX : POOL_SUM;
    if (q->spans) {
        for (ptrdiff_t k = 0; k < lines; k++, line += q->line, to += w->count)
            for (ptrdiff_t o = 0; o < w->count; o++) {
                const REAL *at = line + axis_begin(w, o);
                const ptrdiff_t n = axis_end(w, o) - axis_begin(w, o);
                to[o] = kind == POOL_MAX ? SIMD(maximum)(at, n) : SIMD(sum)(at, n);
            }
        return;
    }
    for (ptrdiff_t k = 0; k < lines && w->stride > 1; k++)
        SIMD(split_phases)(line + k * q->line, phases + k * q->line, w->stride, q->phase);
    if (w->stride > 1) line = phases;
    for (ptrdiff_t t = 0; t < w->kernel; t++) {
        const ptrdiff_t at = t * w->dilation;
        taps[t] = line + at % w->stride * q->phase + at / w->stride;
    }
    const SIMD(Rows) x = {taps, w->kernel, q->line, w->count};
    SIMD(reduce_rows)(kind, x, lines, to, w->count);
}

/* Means to norms: a window that was cut off counts as a whole one, as in torch. */
static void SIMD(norm)(const Pool *q, REAL *to) {
    const REAL taps = (REAL)((double)q->v.z.kernel * q->v.y.kernel * q->v.w.kernel);
    for (ptrdiff_t o = 0; o < q->v.w.count; o++) /* vectorised */
        to[o] = to[o] * taps;
    if (q->kind == POOL_SQUARES)
        for (ptrdiff_t o = 0; o < q->v.w.count; o++) /* vectorised */
            to[o] = SIMD(root)(to[o]);
}

/* Every POOL_PARTS-th of the rows of one plane of the output, some rows at a time: a line that was
   just written in aligned pieces is slow to read in others. */
static void SIMD(pool_part)(const Pool *q, ptrdiff_t item, REAL *lines, const REAL **pointers) {
    const Windows *v = &q->v;
    const ptrdiff_t part = item % POOL_PARTS, plane = item / POOL_PARTS, i = plane % v->z.count;
    const ptrdiff_t end = (part + 1) * v->y.count / POOL_PARTS;
    const REAL *volume =
        (const REAL *)q->x + plane / v->z.count * v->z.size * v->y.size * v->w.size;
    const double depth = q->override ? q->override : (double)axis_divisor(&v->z, i, q->include_pad);
    for (ptrdiff_t j = part * v->y.count / POOL_PARTS; j < end; j += q->lines) {
        const ptrdiff_t count = smaller(q->lines, end - j);
        REAL *to = (REAL *)q->out + (plane * v->y.count + j) * v->w.count;
        REAL counts[POOL_LINES];
        for (ptrdiff_t k = 0; k < count && q->kind != POOL_MAX; k++)
            counts[k] = (REAL)(depth * q->heights[j + k]);
        SIMD(pool_lines)(q, volume, i, j, count, lines, pointers);
        if (!q->spans && v->w.stride == 2) {
            SIMD(reduce_pairs)(q, lines, counts, count, to);
        } else {
            SIMD(pool_columns)(q, lines, count, lines + q->lines * q->line, pointers + q->rows, to);
            for (ptrdiff_t k = 0; k < count && q->kind != POOL_MAX; k++)
                SIMD(average)(to + k * v->w.count, (const REAL *)q->widths, v->w.count, counts[k]);
        }
        for (ptrdiff_t k = 0; k < count && q->norms; k++) SIMD(norm)(q, to + k * v->w.count);
    }
}

/* line = the sum of grad's rows, each times its weight, over the widths of the windows. */
static void SIMD(weigh_rows)(const REAL *const *rows, const REAL *weights, ptrdiff_t count,
                             const REAL *widths, REAL *line, ptrdiff_t n) {
    enum { L = SIMD(lanes) };
    for (ptrdiff_t o = 0; o < n; o += L) {
        SIMD(vec) sum = SIMD(all)(0);
        for (ptrdiff_t r = 0; r < count; r++)
            sum = SIMD(fma)(SIMD(load_up_to)(rows[r] + o, n - o), SIMD(all)(weights[r]), sum);
        sum = SIMD(div)(sum, SIMD(load_up_to)(widths + o, n - o));
        SIMD(store_up_to)(line + o, sum, n - o);
    }
}

/* The sums over the windows that hold some elements of a row, a stride apart. `line` is where the last
   window of the first of them lies, and `taps` windows hold each. */
FORCE_INLINE SIMD(vec) SIMD(holders)(const REAL *line, ptrdiff_t taps) {
    SIMD(vec) sum = taps ? SIMD(load)(line) : SIMD(all)(0);
    for (ptrdiff_t t = 1; t < taps; t++) sum = SIMD(add)(sum, SIMD(load)(line - t));
    return sum;
}

/* to[e] = the sum of `line` over the windows that hold element e, with zeros around the line. */
static void SIMD(spread_pairs)(const Axis *w, const REAL *line, REAL *to) {
    enum { L = SIMD(lanes) };
    const ptrdiff_t even = w->padding % 2, odd = 1 - even; /* their first taps */
    for (ptrdiff_t e = 0; e < w->size; e += 2 * L) {
        const REAL *at = line + e / 2;
        const SIMD(vec) a = SIMD(holders)(at + w->padding / 2, (w->kernel - even + 1) / 2);
        const SIMD(vec) b = SIMD(holders)(at + (w->padding + 1) / 2, (w->kernel - odd + 1) / 2);
        SIMD(store_up_to)(to + e, SIMD(zip_low)(a, b), w->size - e);
        if (w->size > e + L) SIMD(store_up_to)(to + e + L, SIMD(zip_high)(a, b), w->size - e - L);
    }
}

/* The same for larger strides, by way of `phases`. */
static void SIMD(spread_phases)(const Pool *q, const REAL *line, REAL *phases, REAL *to) {
    enum { L = SIMD(lanes) };
    const Axis *w = &q->v.w;
    const ptrdiff_t least = w->kernel / w->stride, more = w->kernel % w->stride;
    const REAL *at = line + w->padding / w->stride;
    ptrdiff_t first = w->padding % w->stride; /* tap that holds the element */
    for (ptrdiff_t p = 0; p < w->stride; p++) {
        for (ptrdiff_t i = 0; i < q->phase; i += L)
            SIMD(store)(phases + p * q->phase + i, SIMD(holders)(at + i, least + (first < more)));
        if (++first == w->stride) first = 0, at++;
    }
    SIMD(join_phases)(phases, to, w->stride, q->phase, w->size);
}

static void SIMD(spread_row)(const Pool *q, const REAL *line, const REAL **taps, REAL *phases,
                             REAL *to) {
    const Axis *w = &q->v.w;
    if (!q->spans && w->stride == 2) {
        SIMD(spread_pairs)(w, line, to);
    } else if (!q->spans && w->stride == 1) {
        for (ptrdiff_t t = 0; t < w->kernel; t++) taps[t] = line + w->padding - t;
        const SIMD(Rows) x = {taps, w->kernel, 0, w->size};
        SIMD(reduce_rows)(POOL_SUM, x, 1, to, 0);
    } else if (!q->spans) {
        SIMD(spread_phases)(q, line, phases, to);
    } else {
        memset(to, 0, w->size * sizeof(REAL));
        for (ptrdiff_t o = 0; o < w->count; o++)
            for (ptrdiff_t e = axis_begin(w, o); e < axis_end(w, o); e++) to[e] += line[o];
    }
}

/* Where grad's rows of the windows z and y start, and what each is multiplied by. */
static ptrdiff_t SIMD(list_windows)(const Pool *q, const REAL *grad, const ptrdiff_t *z,
                                    const ptrdiff_t *y, const REAL **rows, REAL *weights) {
    ptrdiff_t count = 0;
    for (ptrdiff_t i = z[0]; i < z[1]; i++)
        for (ptrdiff_t j = y[0]; j < y[1]; j++, count++) {
            rows[count] = grad + (i * q->v.y.count + j) * q->v.w.count;
            weights[count] = (REAL)(1 / rows_counted(q, i, j));
        }
    return count;
}

/* The adjoint of the averages for a share of the rows of one plane of the input. Every row adds the
   windows that hold it; neighbours in the same windows are alike. */
static void SIMD(spread_part)(const Pool *q, ptrdiff_t item, REAL *lines, const REAL **pointers) {
    const Windows *v = &q->v;
    const ptrdiff_t part = item % POOL_PARTS, plane = item / POOL_PARTS;
    const ptrdiff_t c = plane / v->z.size, end = (part + 1) * v->y.size / POOL_PARTS;
    const REAL *grad = (const REAL *)q->x + c * v->z.count * v->y.count * v->w.count;
    REAL *weights = lines + q->lines * q->line, *source[POOL_LINES] = {lines};
    ptrdiff_t z[2] = {0, 0}, y[2] = {0, 0}, b = part * v->y.size / POOL_PARTS;
    advance_windows(&v->z, plane % v->z.size, z);
    while (b < end) {
        REAL *to = (REAL *)q->out + (plane * v->y.size + b) * v->w.size;
        ptrdiff_t count = smaller(q->lines, end - b), used = 0;
        for (ptrdiff_t k = 0; k < count; k++, b++) {
            const ptrdiff_t first = y[0], last = y[1];
            advance_windows(&v->y, b, y);
            if (k && first == y[0] && last == y[1]) {
                source[k] = source[k - 1];
                continue;
            }
            source[k] = lines + used++ * q->line + q->lead;
            ptrdiff_t rows = SIMD(list_windows)(q, grad, z, y, pointers, weights);
            SIMD(weigh_rows)(pointers, weights, rows, (const REAL *)q->widths, source[k],
                             v->w.count);
        }
        for (ptrdiff_t k = 0; k < count; k++, to += v->w.size)
            if (k && source[k] == source[k - 1])
                memcpy(to, to - v->w.size, (size_t)v->w.size * sizeof(REAL));
            else SIMD(spread_row)(q, source[k], pointers + q->rows, weights + q->rows, to);
    }
}
