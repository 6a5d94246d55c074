/* The loops of conv_columns.h for one type, REAL. */

/* The weights of pack_column_weights where they are flipped: input by input, the taps in reverse. */
static void SIMD(pack_flipped_columns)(const Columns *q, ptrdiff_t block, REAL *packed) {
    const Conv *c = &q->conv;
    ptrdiff_t g = block / c->row_blocks, first = block % c->row_blocks * c->rows, taps = c->taps;
    ptrdiff_t rows = smaller(c->rows, c->outputs - first), next = c->inputs * c->rows;
    const REAL *weight = (const REAL *)c->weight + (g * c->inputs * c->outputs + first) * taps;
    packed += block * c->rows * c->terms + (taps - 1) * next;
    for (ptrdiff_t i = 0; i < c->inputs; i++, weight += c->outputs * taps, packed += c->rows)
        if (q->kind == BY_CHANNEL) SIMD(turn)(rows, taps, weight, taps, packed, -next);
        else SIMD(turn_exact)(rows, taps, weight, taps, packed, -next);
}

/* The weights as the tiles read them: for each term, (tap, channel), those of a block of outputs. A
   line of each tap is open at a time: without the fetches ahead it takes twice as long. */
static void SIMD(pack_column_weights)(const Columns *q, ptrdiff_t block, REAL *packed) {
    enum { L = SIMD(lanes) };
    const Conv *c = &q->conv;
    if (c->flipped) {
        SIMD(pack_flipped_columns)(q, block, packed);
        return;
    }
    ptrdiff_t first = block % c->row_blocks * c->rows, rows = smaller(c->rows, c->outputs - first);
    const REAL *weight =
        (const REAL *)c->weight + (block / c->row_blocks * c->outputs + first) * c->terms;
    packed += block * c->rows * c->terms;
    for (ptrdiff_t r = 0; r < rows; r += L, weight += L * c->terms, packed += L)
        for (ptrdiff_t k = 0, channel = 0, tap = 0; k < c->terms; k += L) {
            SIMD(vec) a[L];
            ptrdiff_t n = smaller(L, c->terms - k), height = smaller(L, rows - r);
            SIMD(load_square)(weight + k, c->terms, height, n, a);
            SIMD(transpose)(a);
            for (ptrdiff_t j = 0; j < n; j++) {
                REAL *to = packed + (tap * c->inputs + channel) * c->rows;
                PREFETCH(to + ROWS_AHEAD * c->rows);
                /* What lies behind a short row is of the next channels, which follow. */
                ptrdiff_t room = c->rows > L ? c->rows - r : (c->inputs - channel) * c->rows;
                if (room >= L) SIMD(store)(to, a[j]);
                else SIMD(store_first)(to, a[j], height);
                if (++tap == c->taps) tap = 0, channel++;
            }
        }
}

/* A block of positions of a zone, a range of its terms, and where its columns and sums are. */
typedef struct {
    Zone zone;
    ptrdiff_t g, first, count; /* positions */
    ptrdiff_t panels, width;   /* their positions: the last has fewer */
    ptrdiff_t begin, end;      /* blocks of channels */
    ptrdiff_t start, terms;
    ptrdiff_t *offset; /* [terms] of the weights */
    REAL *columns, *sums, *line;
} SIMD(Block);

/* Elements of a panel of columns; whole vectors are written, also behind it. */
static ptrdiff_t SIMD(panel_size)(const Columns *q) { return q->chunk * q->width + SIMD(lanes); }

/* Elements of the places of a chunk's weights, of its columns, and of sums. */
static ptrdiff_t SIMD(table_size)(const Columns *q) {
    return round_up(q->chunk * (ptrdiff_t)sizeof(ptrdiff_t) / (ptrdiff_t)sizeof(REAL) + 1,
                    SIMD(lanes));
}

static ptrdiff_t SIMD(columns_size)(const Columns *q) {
    return round_up(q->block / q->width * SIMD(panel_size)(q), SIMD(lanes));
}

static ptrdiff_t SIMD(sums_size)(const Columns *q) { return q->panel * q->conv.rows * q->block; }

/* Scratch elements that one item needs. */
static ptrdiff_t SIMD(columns_scratch)(const Columns *q) {
    return SIMD(table_size)(q) + SIMD(columns_size)(q) + SIMD(sums_size)(q) +
           q->conv.rows * SIMD(lanes) + LINE / sizeof(REAL);
}

/* Where a tap reads the first input of a run, which outputs of the run meet an input there, and
   where these belong. */
typedef struct {
    const REAL *from;
    REAL *to;
    ptrdiff_t width, begin, end, count;
} SIMD(Source);

static SIMD(Source)
    SIMD(find_source)(const Conv *c, const Run *run, const ptrdiff_t *tap, const REAL *x) {
    const Axis *a = c->axis;
    ptrdiff_t at[3], begin = 0, end = run->count, step = a[2].step;
    for (int i = 0; i < 3; i++) at[i] = run->at[i] * a[i].step + a[i].offset[tap[i]];
    if (at[2] < 0) begin = smaller(ceil_div(-at[2], step), end);
    if (at[2] + (end - 1) * step >= a[2].size)
        end = at[2] < a[2].size ? (a[2].size - 1 - at[2]) / step + 1 : 0;
    if (at[0] < 0 || at[0] >= a[0].size || at[1] < 0 || at[1] >= a[1].size) end = 0;
    if (end < begin) begin = end;
    x += run->sample * c->groups * c->inputs * a[0].size * a[1].size * a[2].size;
    return (SIMD(Source)){.from = x + (at[0] * a[1].size + at[1]) * a[2].size + at[2],
                          .begin = begin,
                          .end = end,
                          .count = run->count};
}

/* Rows of columns of one tap and `channels` channels, in runs. */
FORCE_INLINE void SIMD(pack_runs)(const SIMD(Source) * source, int runs, ptrdiff_t volume,
                                  const int known, ptrdiff_t step, ptrdiff_t channels,
                                  const REAL *stop) {
    for (ptrdiff_t i = 0; i < channels; i++)
        for (int r = 0; r < runs; r++) {
            const SIMD(Source) *s = source + r;
            PREFETCH(s->from + (i + ROWS_AHEAD) * volume);
            SIMD(pack_row)(s->from + i * volume, stop, known, step, s->begin, s->end,
                           s->to + i * s->width, s->count);
        }
}

/* The same for a panel, input by input: where runs are short. */
static void SIMD(pack_inputs)(const SIMD(Source) * source, int runs, ptrdiff_t volume,
                              ptrdiff_t step, ptrdiff_t channels, ptrdiff_t n) {
    const REAL *from[PANEL_ROWS];
    REAL *RESTRICT row = source->to;
    ptrdiff_t to[PANEL_ROWS], inputs = 0, width = source->width;
    for (int r = 0; r < runs; r++)
        for (ptrdiff_t j = source[r].begin; j < source[r].end; j++) {
            from[inputs] = source[r].from + j * step;
            to[inputs++] = source[r].to - source->to + j;
        }
    for (ptrdiff_t i = 0; i < channels && inputs == n; i++, row += width)
        for (ptrdiff_t j = 0; j < n; j++) row[j] = from[j][i * volume];
    for (ptrdiff_t i = 0; i < channels && inputs < n; i++, row += width) {
        for (ptrdiff_t j = 0; j < n; j++) row[j] = 0;
        for (ptrdiff_t j = 0; j < inputs; j++) row[to[j]] = from[j][i * volume];
    }
}

/* Positions of a panel, and elements from one row of its columns to the next. */
static ptrdiff_t SIMD(panel_count)(const SIMD(Block) * b, ptrdiff_t panel) {
    return smaller(b->width, b->count - panel * b->width);
}

static ptrdiff_t SIMD(panel_width)(const Columns *q, const SIMD(Block) * b, ptrdiff_t panel) {
    ptrdiff_t n = SIMD(panel_count)(b, panel);
    return q->kind == BY_CHANNEL ? n : round_up(n, SIMD(lanes));
}

/* Pack term k of the zone and the channels behind it: one tap, `t` of the zone's. */
static void SIMD(pack_tap)(const Columns *q, const SIMD(Block) * b, const ptrdiff_t *tap,
                           ptrdiff_t k, ptrdiff_t channels) {
    const Conv *c = &q->conv;
    const Axis *a = c->axis;
    ptrdiff_t volume = a[0].size * a[1].size * a[2].size, step = a[2].step;
    const REAL *x = (const REAL *)c->x + (b->g * c->inputs + k % c->inputs) * volume;
    SIMD(Source) source[MOST_POSITIONS];
    int in_runs = b->zone.axis[2]->count >= SHORT_RUN, runs = 0;
    for (ptrdiff_t i = 0; i < b->panels; i++) {
        ptrdiff_t n = SIMD(panel_count)(b, i), width = SIMD(panel_width)(q, b, i);
        REAL *to = b->columns + i * SIMD(panel_size)(q) + (k - b->start) * width;
        Run run[PANEL_ROWS];
        int more = find_runs(&b->zone, b->first + i * b->width, n, run), first = runs;
        for (int r = 0; r < more; r++, runs++) {
            source[runs] = SIMD(find_source)(c, run + r, tap, x);
            source[runs].to = to + run[r].from, source[runs].width = width;
        }
        if (!in_runs) SIMD(pack_inputs)(source + first, more, volume, step, channels, n);
    }
    if (!in_runs) return;
    const REAL *stop = (const REAL *)c->x + c->batch * c->groups * c->inputs * volume;
    if (step == 1) SIMD(pack_runs)(source, runs, volume, 1, 1, channels, stop);
    else if (step == 2) SIMD(pack_runs)(source, runs, volume, 2, 2, channels, stop);
    else SIMD(pack_runs)(source, runs, volume, 0, step, channels, stop);
}

/* Pack a chunk of columns, and list where its weights are. */
static void SIMD(pack_columns)(const Columns *q, const SIMD(Block) * b) {
    const Conv *c = &q->conv;
    const Range *d = b->zone.axis[0], *h = b->zone.axis[1], *w = b->zone.axis[2];
    ptrdiff_t end = b->start + b->terms, *offset = b->offset;
    for (ptrdiff_t k = b->start, channels; k < end; k += channels) {
        ptrdiff_t t = k / c->inputs, channel = k % c->inputs;
        ptrdiff_t tap[] = {d->tap + t / w->taps / h->taps, h->tap + t / w->taps % h->taps,
                           w->tap + t % w->taps};
        channels = smaller(c->inputs - channel, end - k);
        SIMD(pack_tap)(q, b, tap, k, channels);
        t = (tap[0] * c->axis[1].taps + tap[1]) * c->axis[2].taps + tap[2];
        for (ptrdiff_t i = 0; i < channels; i++)
            *offset++ = (t * c->inputs + channel + i) * c->rows;
    }
}

static const REAL *SIMD(block_weights)(const Columns *q, const SIMD(Block) * b, ptrdiff_t block) {
    const Conv *c = &q->conv;
    return (const REAL *)c->packed + (b->g * c->row_blocks + block) * c->rows * c->terms;
}

/* The weights of block i for terms from `k` of the chunk on, or, behind the last block, of the first
   for the next terms: what is read later, to be fetched. NULL where no tap reaches the zone. */
static const char *SIMD(later_weights)(const Columns *q, const SIMD(Block) * b, ptrdiff_t i,
                                       ptrdiff_t k, ptrdiff_t terms) {
    if (!terms) return NULL;
    if (i >= b->end) i = b->begin, k += terms;
    return (const char *)(SIMD(block_weights)(q, b, i) + b->offset[k < b->terms ? k : 0]);
}

/* Sums of `rows` channels, `pitch` apart, to the pieces of the output that they belong in. */
static void SIMD(deliver_pieces)(const Conv *c, const Piece *piece, int pieces, ptrdiff_t rows,
                                 REAL *sums, ptrdiff_t pitch, REAL *out) {
    if (c->accumulate) SIMD(add_pieces)(c, piece, pieces, rows, sums, pitch, out);
    if (c->activation) SIMD(activate)((REAL)c->slope, sums, rows * pitch);
    for (ptrdiff_t r = 0; r < rows; r++)
        SIMD(write_pieces)(c, piece, pieces, sums + r * pitch, out + r * c->out_channel);
}

/* Sums begin with the bias: one for each row. */
static void SIMD(spread_bias)(const REAL *bias, ptrdiff_t rows, ptrdiff_t width, REAL *sums) {
    for (ptrdiff_t r = 0; r < rows; r++)
        for (ptrdiff_t j = 0; j < width; j += SIMD(lanes))
            SIMD(store)(sums + r * width + j, SIMD(all)(bias[r]));
}

/* Add the products of `terms` terms, from `k` of the chunk on, for a panel of positions: to sums of
   blocks of channels, row by row. The panel stays in the first-level cache. */
static void SIMD(multiply_panel)(const Columns *q, const SIMD(Block) * b, ptrdiff_t panel,
                                 ptrdiff_t k, ptrdiff_t terms, ptrdiff_t begin, ptrdiff_t end) {
    enum { L = SIMD(lanes) };
    const Conv *c = &q->conv;
    int first = b->start + k == 0, last = b->start + k + terms >= b->zone.terms;
    ptrdiff_t n = SIMD(panel_count)(b, panel), width = SIMD(panel_width)(q, b, panel);
    Run run[PANEL_ROWS];
    Piece piece[PANEL_ROWS];
    int pieces = 0;
    if (last)
        pieces =
            place_runs(c, run, find_runs(&b->zone, b->first + panel * b->width, n, run), piece);
    int whole = pieces == 1 && n == width && c->axis[2].out_step == 1 && SIMD(rectifies)(c);
    REAL *sums = b->sums + (panel * q->panel + begin - b->begin) * c->rows * b->width;
    ptrdiff_t pace = c->rows * (ptrdiff_t)sizeof(REAL) / b->panels;
    const char *ahead = SIMD(later_weights)(q, b, end, k, terms);
    ahead += panel * (end - begin) * terms * pace;
    for (ptrdiff_t i = begin; i < end; i++, sums += c->rows * b->width, ahead += terms * pace) {
        ptrdiff_t o = b->g * c->outputs + i * c->rows,
                  rows = smaller(c->rows, c->outputs - i * c->rows);
        REAL *out = (REAL *)c->out + o * c->out_channel;
        SIMD(Tile)
        t = {.in = SIMD(block_weights)(q, b, i),
             .offset = b->offset + k,
             .spread = 1,
             .weight = b->columns + panel * SIMD(panel_size)(q) + k * width,
             .terms = terms,
             .partial = first && !c->bias ? NULL : sums,
             .to = last && whole ? out + piece->to : sums,
             .to_row = last && whole ? c->out_channel : width,
             .how = last && whole ? how_to_write(c) : 0,
             .ahead = ahead,
             .pace = pace};
        if (first && c->bias) SIMD(spread_bias)((const REAL *)c->bias + o, rows, width, sums);
        SIMD(any_tall)(rows, width / L, &t);
        if (last && !whole) SIMD(deliver_pieces)(c, piece, pieces, rows, sums, width, out);
    }
}

/* The same for all panels, for as many blocks of channels at a time as leave their weights in the
   second-level cache for the next panel. */
static void SIMD(multiply_panels)(const Columns *q, const SIMD(Block) * b, ptrdiff_t k,
                                  ptrdiff_t terms) {
    ptrdiff_t few = MOST_WEIGHTS / (q->conv.rows * (terms + 1) * (ptrdiff_t)sizeof(REAL)) + 1, end;
    for (ptrdiff_t begin = b->begin; begin < b->end; begin = end) {
        end = smaller(begin + few, b->end);
        for (ptrdiff_t i = 0; i < b->panels; i++)
            SIMD(multiply_panel)(q, b, i, k, terms, begin, end);
    }
}

/* The same for a block of channels: to sums of each position. Its weights stay in the cache, those
   of the next are fetched meanwhile. */
static void SIMD(multiply_channels)(const Columns *q, const SIMD(Block) * b, ptrdiff_t i,
                                    ptrdiff_t k, ptrdiff_t terms) {
    enum { L = SIMD(lanes) };
    const Conv *c = &q->conv;
    int first = b->start + k == 0, last = b->start + k + terms >= b->zone.terms;
    ptrdiff_t o = b->g * c->outputs + i * c->rows,
              rows = smaller(c->rows, c->outputs - i * c->rows);
    ptrdiff_t pitch = round_up(rows, L);
    REAL *sums = b->sums + (i - b->begin) * c->rows * q->block, bias[CHANNELS * L];
    for (ptrdiff_t r = 0; r < rows && c->bias; r++) bias[r] = ((const REAL *)c->bias)[o + r];
    ptrdiff_t pace = pitch * (ptrdiff_t)sizeof(REAL) / b->panels;
    const char *ahead = SIMD(later_weights)(q, b, i + 1, k, terms);
    for (ptrdiff_t j = 0; j < b->panels; j++, ahead += terms * pace) {
        ptrdiff_t n = SIMD(panel_count)(b, j);
        REAL *to = sums + j * b->width * pitch;
        SIMD(Tile)
        t = {.in = SIMD(block_weights)(q, b, i),
             .offset = b->offset + k,
             .weight = b->columns + j * SIMD(panel_size)(q) + k * n,
             .terms = terms,
             .partial = first ? NULL : to,
             .to = to,
             .partial_row = pitch,
             .to_row = pitch,
             .ahead = ahead,
             .pace = pace};
        SIMD(any_tile)(n, pitch / L, &t);
    }
    for (ptrdiff_t p = 0; last && p < b->count; p += L) {
        Run run[L];
        Piece piece[L];
        ptrdiff_t n = smaller(L, b->count - p);
        int pieces = place_runs(c, run, find_runs(&b->zone, b->first + p, n, run), piece);
        for (ptrdiff_t r = 0; r < n && c->bias; r++)
            for (ptrdiff_t j = 0; j < rows; j++) sums[(p + r) * pitch + j] += bias[j];
        SIMD(turn)(n, rows, sums + p * pitch, pitch, b->line, L);
        SIMD(deliver_pieces)(c, piece, pieces, rows, b->line, L,
                             (REAL *)c->out + o * c->out_channel);
    }
}

/* The products of a block of positions and of channels. */
static void SIMD(columns_block)(const Columns *q, SIMD(Block) * b) {
    for (b->start = 0; b->start == 0 || b->start < b->zone.terms; b->start += q->chunk) {
        b->terms = smaller(q->chunk, b->zone.terms - b->start);
        SIMD(pack_columns)(q, b);
        for (ptrdiff_t k = 0; k == 0 || k < b->terms; k += q->part) {
            ptrdiff_t n = smaller(q->part, b->terms - k);
            if (q->kind == BY_POSITION) SIMD(multiply_panels)(q, b, k, n);
            for (ptrdiff_t i = b->begin; i < b->end && q->kind == BY_CHANNEL; i++)
                SIMD(multiply_channels)(q, b, i, k, n);
        }
    }
}

/* Compute one work item: a block of positions of a group, for a chunk of channels. */
static void SIMD(columns_item)(const Columns *q, ptrdiff_t index, REAL *scratch) {
    enum { L = SIMD(lanes) };
    const Conv *c = &q->conv;
    ptrdiff_t begin = index % c->chunks * c->chunk, blocks = 0;
    index /= c->chunks;
    SIMD(Block) b = {0};
    b.g = index % c->groups, index /= c->groups;
    for (int i = 0; i < zones(q); i++, index -= blocks) {
        b.zone = find_zone(q, i);
        blocks = ceil_div(b.zone.positions, q->block);
        if (index < blocks) break;
    }
    b.first = index * q->block;
    b.count = smaller(q->block, b.zone.positions - b.first);
    b.width = q->kind == BY_CHANNEL ? even_block(b.count, q->width) : q->width;
    b.panels = ceil_div(b.count, b.width);
    scratch += (LINE - (size_t)scratch % LINE) % LINE / sizeof(REAL);
    b.offset = (ptrdiff_t *)scratch;
    b.columns = scratch + SIMD(table_size)(q);
    b.sums = b.columns + SIMD(columns_size)(q);
    b.line = b.sums + SIMD(sums_size)(q);
    ptrdiff_t end = smaller(begin + c->chunk, c->row_blocks);
    for (b.begin = begin; b.begin < end; b.begin = b.end) {
        b.end = smaller(b.begin + q->panel, end);
        SIMD(columns_block)(q, &b);
    }
    if (c->past_cache) stream_end();
}
