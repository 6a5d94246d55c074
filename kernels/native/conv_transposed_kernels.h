/* The loops of conv_transposed.h for one type, REAL. */

/* Where the weights of a block of rows of a group begin, for taps of one residue. */
static ptrdiff_t SIMD(place_weights)(const Conv *c, ptrdiff_t block, ptrdiff_t before,
                                     ptrdiff_t taps) {
    return (c->groups * c->row_blocks * before + block * taps) * c->rows * c->inputs;
}

/* Gather the weights of a block of rows as the tiles read them: weight is (all inputs, outputs,
   kernel), packed (residue, block of rows, inputs, the taps of the residue, rows). */
static void SIMD(gather_weights)(const Transposed *t, ptrdiff_t block, REAL *packed) {
    const Conv *c = &t->conv;
    ptrdiff_t g = block / c->row_blocks, b = block % c->row_blocks;
    ptrdiff_t first = first_row(c, b), rows = first_row(c, b + 1) - first;
    const REAL *weight = (const REAL *)c->weight + (g * c->inputs * c->outputs + first) * c->taps;
    for (ptrdiff_t i = 0; i < c->inputs; i++, weight += c->outputs * c->taps)
        for (ptrdiff_t tap = 0; tap < t->taps; tap++) {
            ptrdiff_t lowest = t->lowest[tap], width = t->width[tap];
            REAL *to = packed + SIMD(place_weights)(c, block, lowest, width) +
                       (i * width + tap - lowest) * rows;
            for (ptrdiff_t r = 0; r < rows; r++) to[r] = weight[r * c->taps + t->source[tap]];
        }
}

FORCE_INLINE void SIMD(put)(REAL *to, SIMD(vec) v, ptrdiff_t n) {
    if (n >= SIMD(lanes)) SIMD(store)(to, v);
    else if (n > 0) SIMD(store_first)(to, v, n);
}

/* to[i * lines + k] = from[k * apart + i], n elements in all. */
FORCE_INLINE void SIMD(interleave)(ptrdiff_t lines, const REAL *from, ptrdiff_t apart,
                                   REAL *RESTRICT to, ptrdiff_t n) {
    enum { L = SIMD(lanes) };
    if (lines == 1) SIMD(copy)(to, from, n);
    else if (lines == 2)
        for (ptrdiff_t i = 0; 2 * i < n; i += L) {
            SIMD(vec) a = SIMD(load)(from + i), b = SIMD(load)(from + apart + i);
            SIMD(put)(to + 2 * i, SIMD(zip_low)(a, b), n - 2 * i);
            SIMD(put)(to + 2 * i + L, SIMD(zip_high)(a, b), n - 2 * i - L);
        }
    else
        for (ptrdiff_t k = 0; k < lines; k++)
            for (ptrdiff_t i = 0; i * lines + k < n; i++) to[i * lines + k] = from[k * apart + i];
}

/* Write row y of a line of one output channel, all residues along W, to its place. */
static void SIMD(write_transposed)(const Transposed *t, const Item *item, const ptrdiff_t *residue,
                                   ptrdiff_t z, ptrdiff_t y, const REAL *line, ptrdiff_t apart,
                                   REAL *out, REAL *buffer) {
    const Axis *a = t->conv.axis;
    ptrdiff_t row = item->start[1] + y, first = item->start[2] * t->residues[2];
    ptrdiff_t depth = (item->start[0] + z + row / t->fold) * t->residues[0] + residue[0];
    ptrdiff_t height = row % t->fold * t->residues[1] + residue[1];
    if (depth >= t->size[0] || height >= t->size[1]) return;
    ptrdiff_t n = item->count[2] * t->residues[2];
    if (n > t->size[2] - first) n = t->size[2] - first;
    out += depth * a[0].out_step + height * a[1].out_step + first;
    if (!t->conv.past_cache) {
        SIMD(interleave)(t->residues[2], line, apart, out, n);
        return;
    }
    SIMD(interleave)(t->residues[2], line, apart, buffer, n);
    SIMD(copy_past_cache)(out, buffer, n);
}

/* Sum the terms of one residue for a line of some rows. */
static void SIMD(sum_line)(const Conv *c, const Phase *p, ptrdiff_t block, const REAL *in,
                           REAL *line, ptrdiff_t length) {
    enum { L = SIMD(lanes) };
    ptrdiff_t b = block % c->row_blocks, first = first_row(c, b),
              rows = first_row(c, b + 1) - first;
    ptrdiff_t terms = c->inputs * p->taps, k = 0, vectors;
    const REAL *weight =
        (const REAL *)c->packed + SIMD(place_weights)(c, block, p->before, p->taps);
    const REAL *bias = (const REAL *)c->bias;
    if (bias) bias += block / c->row_blocks * c->outputs + first;
    do { /* once where no tap reaches the residue: it is the bias */
        int last = k + c->block >= terms;
        for (ptrdiff_t v = 0; v < length; v += vectors * L) {
            ptrdiff_t left = (length - v) / L;
            vectors = left >= WIDTH(rows) ? WIDTH(rows) : left >= 2 ? 2 : 1;
            if (left == 4 && WIDTH(rows) == 3) vectors = 2;
            SIMD(Tile)
            t = {.in = in + v,
                 .offset = c->offset + c->inputs * p->before + k,
                 .weight = weight + k * rows,
                 .terms = last ? terms - k : c->block,
                 .partial = k ? line + v : NULL,
                 .bias = last ? bias : NULL,
                 .to = line + v,
                 .partial_row = length,
                 .to_row = length};
            SIMD(any_tile)(rows, vectors, &t);
        }
    } while ((k += c->block) < terms);
}

/* Compute `count` rows from row y of plane z on, for a block of output channels, one residue along
   D and H and all along W, and write them. */
static void SIMD(transposed_line)(const Transposed *t, const Item *item, const ptrdiff_t *residue,
                                  ptrdiff_t block, ptrdiff_t z, ptrdiff_t y, ptrdiff_t count,
                                  const REAL *slab, REAL *lines) {
    const Conv *c = &t->conv;
    const Axis *a = c->axis;
    ptrdiff_t length = (count - 1) * a[2].length + item->count[2], apart = ROWS * t->line;
    length = ceil_div(length, SIMD(lanes)) * SIMD(lanes);
    for (ptrdiff_t w = 0; w < t->residues[2]; w++) {
        Phase p = find_phase(t, residue[0], residue[1], w);
        SIMD(sum_line)(c, &p, item->g * c->row_blocks + block,
                       slab + z * c->plane_size + y * a[2].length, lines + w * apart, length);
    }
    ptrdiff_t first = first_row(c, block), rows = first_row(c, block + 1) - first;
    REAL *out =
        (REAL *)c->out + item->n * c->out_batch + (item->g * c->outputs + first) * c->out_channel;
    REAL *buffer = lines + t->residues[2] * apart + SIMD(lanes);
    for (ptrdiff_t r = 0; r < rows; r++)
        for (ptrdiff_t j = 0; j < count; j++)
            SIMD(write_transposed)(t, item, residue, z, y + j, lines + r * length + j * a[2].length,
                                   apart, out + r * c->out_channel, buffer);
}

/* Scratch elements of an item: a slab, ROWS lines of each residue along W (a vector may reach past
   the last), and a row of outputs. */
static ptrdiff_t SIMD(transposed_scratch)(const Transposed *t) {
    return t->conv.slab_size + t->residues[2] * ROWS * t->line + SIMD(lanes) + t->buffer;
}

/* Compute one work item: a block of outputs of a chunk of channels. */
static void SIMD(transposed_item)(const Transposed *t, ptrdiff_t index, REAL *scratch) {
    const Conv *c = &t->conv;
    const Axis *a = c->axis;
    Item item = find_item(c, index);
    REAL *slab = scratch, *lines = slab + c->slab_size;
    const REAL *x = (const REAL *)c->x +
                    (item.n * c->groups + item.g) * c->inputs * a[0].size * a[1].size * a[2].size;
    SIMD(pack_slab)(c, &item, c->inputs, x, slab);
    ptrdiff_t b = item.chunk * c->chunk, residue[3];
    ptrdiff_t end = b + c->chunk < c->row_blocks ? b + c->chunk : c->row_blocks;
    for (; b < end; b++)
        for (residue[0] = 0; residue[0] < t->residues[0]; residue[0]++)
            for (residue[1] = 0; residue[1] < t->residues[1]; residue[1]++)
                for (ptrdiff_t z = 0; z < item.count[0]; z++)
                    for (ptrdiff_t y = 0; y < item.count[1]; y += t->rows) {
                        ptrdiff_t left = item.count[1] - y;
                        SIMD(transposed_line)(t, &item, residue, b, z, y,
                                              left < t->rows ? left : t->rows, slab, lines);
                    }
    if (c->past_cache) stream_end();
}
