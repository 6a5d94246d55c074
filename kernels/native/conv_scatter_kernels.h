/* The loops of conv_scatter.h for one type, REAL. */

/* Rows of `n` elements as panels of vectors: panel, row, element; zeros behind the last. */
static void SIMD(pack_panels)(ptrdiff_t rows, ptrdiff_t n, const REAL *from, ptrdiff_t from_row,
                              REAL *to) {
    enum { L = SIMD(lanes), P = PANEL_VECTORS * L };
    for (ptrdiff_t v = 0; v < n; v += P)
        for (ptrdiff_t i = 0; i < rows; i++, to += P) {
            if (v + P <= n) {
                EACH(k, PANEL_VECTORS)
                    SIMD(store)(to + k * L, SIMD(load)(from + i * from_row + v + k * L));
                continue;
            }
            EACH(k, PANEL_VECTORS) SIMD(store)(to + k * L, SIMD(all)(0));
            SIMD(copy)(to, from + i * from_row + v, n - v);
        }
}

/* The weights of a block of columns, a tile's rows of them at a time. */
static void SIMD(pack_kernels)(const Scatter *q, ptrdiff_t columns, ptrdiff_t rows,
                               const REAL *weight, REAL *to) {
    ptrdiff_t n, all = q->lines * q->kernel[2];
    for (ptrdiff_t i = 0; i < q->inputs; i++, weight += all)
        for (ptrdiff_t j = 0; j < columns; j += n) {
            n = smaller(columns - j, rows);
            PREFETCH(weight + ROWS_AHEAD * all + j);
            SIMD(copy)(to + j * q->inputs + i * n, weight + j, n);
        }
}

/* to[r][v] = sum over inputs i of tall[i][r] * wide[i][v], in blocks of terms. */
static void SIMD(product)(const Scatter *q, ptrdiff_t rows, ptrdiff_t tile_rows, const REAL *tall,
                          ptrdiff_t vectors, const REAL *wide, REAL *to) {
    enum { L = SIMD(lanes), BLOCK = 128 };
    for (ptrdiff_t v = 0; v < vectors; v += PANEL_VECTORS)
        for (ptrdiff_t k = 0; k < q->inputs; k += BLOCK)
            for (ptrdiff_t r = 0; r < rows; r += tile_rows) {
                ptrdiff_t n = smaller(rows - r, tile_rows);
                ptrdiff_t width = smaller(vectors - v, PANEL_VECTORS);
                SIMD(Tile)
                t = {.in = wide + v * L * q->inputs,
                     .offset = q->offset + k,
                     .weight = tall + r * q->inputs + k * n,
                     .terms = smaller(q->inputs - k, BLOCK),
                     .to = to + r * vectors * L + v * L,
                     .partial_row = vectors * L,
                     .to_row = vectors * L};
                if (k) t.partial = t.to;
                if (n <= 3 && width == 3) { /* tiles of so few rows have other widths */
                    SIMD(any_tile)(n, 2, &t);
                    t.in += 2 * L, t.to += 2 * L;
                    if (k) t.partial = t.to;
                    width = 1;
                }
                SIMD(any_tile)(n, width, &t);
            }
}

FORCE_INLINE void SIMD(add_row)(REAL *to, const REAL *from, ptrdiff_t n) {
    enum { L = SIMD(lanes) };
    ptrdiff_t i = 0;
    for (; i + L <= n; i += L)
        SIMD(store)(to + i, SIMD(add)(SIMD(load)(to + i), SIMD(load)(from + i)));
    if (i < n)
        SIMD(store_first)(
            to + i, SIMD(add)(SIMD(load_first)(to + i, n - i), SIMD(load_first)(from + i, n - i)),
            n - i);
}

/* Add (or write, if it is the only one) elements from[0], from[1] ... to a row of outputs, the first
   at `place`, each `step` from the one before; what falls outside of [begin, end) is dropped. */
FORCE_INLINE void SIMD(place)(const Scatter *q, REAL *row, ptrdiff_t begin, ptrdiff_t end,
                              ptrdiff_t place, ptrdiff_t step, const REAL *from, ptrdiff_t n) {
    ptrdiff_t first = place < begin ? ceil_div(begin - place, step) : 0;
    if (place + (n - 1) * step >= end) n = place < end ? (end - 1 - place) / step + 1 : 0;
    n -= first, from += first, row += place + first * step;
    if (n <= 0) return;
    if (step > 1)
        for (ptrdiff_t i = 0; i < n; i++) row[i * step] += from[i];
    else if (!q->once) SIMD(add_row)(row, from, n);
    else if (q->past_cache) SIMD(copy_past_cache)(row, from, n);
    else SIMD(copy)(row, from, n);
}

/* Deliver a line of columns, those of the taps along W, for `n` positions of a row from `x` on.
   Taps of all residues modulo the stride are put together first. */
FORCE_INLINE void SIMD(deliver_line)(const Scatter *q, const Share *s, const REAL *line,
                                     ptrdiff_t apart, ptrdiff_t x, ptrdiff_t n, REAL *row,
                                     REAL *buffer) {
    ptrdiff_t step = q->stride[2], taps = q->kernel[2], tap = 0;
    ptrdiff_t place = x * step - q->padding[2], begin = s->begin[2], end = s->end[2];
    if (step > 1 && (q->dilation[2] == 1 || q->once))
        for (; tap + step <= taps; tap += step) {
            int whole = q->once && !q->past_cache && place >= begin && place + n * step <= end;
            SIMD(interleave)(step, line + tap * apart, apart, whole ? row + place : buffer,
                             n * step);
            if (!whole) SIMD(place)(q, row, begin, end, place + tap, 1, buffer, n * step);
        }
    for (; tap < taps; tap++)
        SIMD(place)(q, row, begin, end, place + tap * q->dilation[2], step, line + tap * apart, n);
}

/* Deliver the columns of `lines` lines from `first` on, of positions [v, v + count). */
static void SIMD(deliver_lines)(const Scatter *q, const Share *s, ptrdiff_t first, ptrdiff_t lines,
                                ptrdiff_t v, ptrdiff_t count, const REAL *columns, ptrdiff_t apart,
                                REAL *buffer) {
    const ptrdiff_t *size = q->size, *out_size = q->out_size, *kernel = q->kernel;
    ptrdiff_t h = first % kernel[1], d = first / kernel[1] % kernel[0];
    ptrdiff_t o = (s->n * q->groups + s->g) * q->outputs + first / kernel[1] / kernel[0];
    ptrdiff_t start[3] = {v / size[2] / size[1], v / size[2] % size[1], v % size[2]};
    for (ptrdiff_t l = 0; l < lines; l++, columns += kernel[2] * apart) {
        REAL *out = (REAL *)q->out + o * out_size[0] * out_size[1] * out_size[2];
        ptrdiff_t x = start[2], y = start[1];
        ptrdiff_t oz = start[0] * q->stride[0] + d * q->dilation[0] - q->padding[0];
        for (ptrdiff_t i = 0, n; i < count; i += n, x = 0) {
            n = smaller(size[2] - x, count - i);
            ptrdiff_t oy = y * q->stride[1] + h * q->dilation[1] - q->padding[1];
            if (oz >= s->begin[0] && oz < s->end[0] && oy >= s->begin[1] && oy < s->end[1])
                SIMD(deliver_line)(q, s, columns + i, apart, x, n,
                                   out + (oz * out_size[1] + oy) * out_size[2], buffer);
            if (++y == size[1]) y = 0, oz += q->stride[0];
        }
        if (++h < kernel[1]) continue;
        h = 0;
        if (++d == kernel[0]) d = 0, o++;
    }
}

/* Begin the outputs of a share: bias or zero. */
static void SIMD(begin_share)(const Scatter *q, const Share *s) {
    const ptrdiff_t *size = q->out_size;
    for (ptrdiff_t o = s->first; o < s->last; o++) {
        REAL bias = q->bias ? ((const REAL *)q->bias)[s->g * q->outputs + o] : 0;
        REAL *out = (REAL *)q->out +
                    ((s->n * q->groups + s->g) * q->outputs + o) * size[0] * size[1] * size[2];
        for (ptrdiff_t z = s->begin[0]; z < s->end[0]; z++)
            for (ptrdiff_t y = s->begin[1]; y < s->end[1]; y++) {
                REAL *row = out + (z * size[1] + y) * size[2];
                for (ptrdiff_t x = s->begin[2]; x < s->end[2]; x++) row[x] = bias;
            }
    }
}

/* Where the parts of a task's scratch begin, in elements, and the end. */
typedef struct {
    ptrdiff_t tall, columns, turned, buffer, end;
} SIMD(Places);

static SIMD(Places) SIMD(scatter_places)(const Scatter *q) {
    enum { L = SIMD(lanes), P = PANEL_VECTORS * L };
    ptrdiff_t columns = q->block * q->kernel[2];
    ptrdiff_t wide = ceil_div(q->few ? columns : q->chunk, P) * P;
    SIMD(Places) at;
    at.tall = wide * q->inputs;
    at.columns = at.tall + (q->few ? 0 : ceil_div(columns * q->inputs, L) * L);
    at.turned = at.columns + wide * (q->few ? q->positions : columns);
    at.buffer = at.turned + (q->few ? ceil_div(columns, L) * L * L : 0);
    ptrdiff_t longest = smaller(q->size[2], q->chunk);
    at.end = at.buffer + ceil_div(longest * q->stride[2], L) * L + 4 * L;
    return at;
}

static ptrdiff_t SIMD(scatter_scratch)(const Scatter *q) { return SIMD(scatter_places)(q).end; }

/* With `once`: the bias of each column, before it is delivered. */
static void SIMD(add_bias)(const Scatter *q, const Share *s, ptrdiff_t first, ptrdiff_t lines,
                           REAL *columns, ptrdiff_t apart) {
    const REAL *bias = (const REAL *)q->bias + s->g * q->outputs;
    for (ptrdiff_t l = first; l < first + lines; l++)
        for (ptrdiff_t i = 0; i < q->kernel[2] * apart; i++)
            *columns++ += bias[l / q->kernel[1] / q->kernel[0]];
}

/* Few positions: the lanes are columns, and the input is read as it lies. */
static REAL *SIMD(few_columns)(const Scatter *q, ptrdiff_t columns, const REAL *x,
                               const REAL *weight, REAL *scratch, const SIMD(Places) * at) {
    enum { L = SIMD(lanes) };
    ptrdiff_t vectors = ceil_div(columns, L);
    SIMD(pack_panels)(q->inputs, columns, weight, q->lines * q->kernel[2], scratch);
    SIMD(product)(q, q->positions, q->positions, x, vectors, scratch, scratch + at->columns);
    SIMD(turn)(q->positions, columns, scratch + at->columns, vectors * L, scratch + at->turned, L);
    return scratch + at->turned;
}

/* The outputs of a sample and group that a task owns. */
static void SIMD(scatter_task)(const Scatter *q, ptrdiff_t task, REAL *scratch) {
    enum { L = SIMD(lanes) };
    Share s = find_share(q, task);
    SIMD(Places) at = SIMD(scatter_places)(q);
    ptrdiff_t width = q->kernel[2], all = q->lines * width, rest = q->kernel[0] * q->kernel[1];
    const REAL *x = (const REAL *)q->x + (s.n * q->groups + s.g) * q->inputs * q->positions;
    const REAL *weight = (const REAL *)q->weight + s.g * q->inputs * all;
    if (!q->once) SIMD(begin_share)(q, &s);
    for (ptrdiff_t v = 0; v < q->positions; v += q->chunk) {
        ptrdiff_t count = smaller(q->positions - v, q->chunk);
        if (!reaches(q, &s, v, count)) continue;
        if (!q->few) SIMD(pack_panels)(q->inputs, count, x + v, q->positions, scratch);
        for (ptrdiff_t l = s.first * rest; l < s.last * rest; l += q->block) {
            ptrdiff_t lines = smaller(s.last * rest - l, q->block);
            ptrdiff_t columns = lines * width, vectors = q->few ? 1 : ceil_div(count, L);
            REAL *made = scratch + at.columns;
            if (q->few) made = SIMD(few_columns)(q, columns, x, weight + l * width, scratch, &at);
            else {
                ptrdiff_t rows = ceil_div(columns, ceil_div(columns, ROWS));
                SIMD(pack_kernels)(q, columns, rows, weight + l * width, scratch + at.tall);
                SIMD(product)(q, columns, rows, scratch + at.tall, vectors, scratch, made);
            }
            if (q->once && q->bias) SIMD(add_bias)(q, &s, l, lines, made, vectors * L);
            SIMD(deliver_lines)(q, &s, l, lines, v, count, made, vectors * L, scratch + at.buffer);
        }
    }
    if (q->past_cache) stream_end();
}
