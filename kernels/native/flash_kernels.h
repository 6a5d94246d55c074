/* The walk over sums of type TOTAL, whose functions end in KIND; see flash.h. */
#define FLASH(name) PASTE(name, KIND)

/* A tile of one frame, filled up to a block: sums of its pixels, codes and the curves they are of.
   Of gray there are sums where there are codes. */
typedef struct {
    _Alignas(64) TOTAL sums[TILE];
    char apart[64]; /* loads wait for stores that are whole pages away */
    _Alignas(64) uint16_t codes[TILE];
    const Curve *curves[TILE / BLOCK];
    TOTAL tops[TILE / BLOCK]; /* of wide pixels' sums, where there are codes */
} FLASH(State);

/* Where a tile's pixels are, what to fetch for after it, and what outlives the call: of the frame
   before the first, of the last; pixels or sums. NULL where there is none. */
typedef struct {
    ptrdiff_t count;
    const uint8_t *source, *next, *next_kept, *from;
    uint8_t *to;
} FLASH(Tile);

static void FLASH(codes)(const Curve *curve, const TOTAL *sums, uint16_t *codes) {
    if (curve->scale)
        for (int i = 0; i < BLOCK; i += LANES)
            store_words(codes + i, cubic_code(curve, FLASH(scaled)(curve, sums + i)));
    else
        for (int i = 0; i < BLOCK; i++) codes[i] = curve->codes[sums[i]];
}

FORCE_INLINE TOTAL FLASH(top)(const TOTAL *sums) {
    TOTAL top = 0;
    for (int i = 0; i < BLOCK; i++) top = sums[i] > top ? sums[i] : top;
    return top;
}

/* The first of the curves that serves a block in both frames. */
FORCE_INLINE const Curve *FLASH(curve_for)(const Clip *clip, ptrdiff_t at, FLASH(State) * before,
                                           FLASH(State) * now) {
    const Curve *curve = clip->curves;
    const ptrdiff_t block = at / BLOCK;
    if (!clip->wide) return curve;
    if (!before->curves[block]) before->tops[block] = FLASH(top)(before->sums + at);
    now->tops[block] = FLASH(top)(now->sums + at);
    while (now->tops[block] >= curve->limit || before->tops[block] >= curve->limit) curve++;
    return curve;
}

/* Whether pixels of a block may have changed enough: by their sums, then by codes of both frames. */
static int FLASH(screen_codes)(const Clip *clip, const uint8_t *source, const uint8_t *from,
                               ptrdiff_t at, FLASH(State) * before, FLASH(State) * now, Side *rises,
                               Side *falls) {
    const Curve **used = now->curves + at / BLOCK, **used_before = before->curves + at / BLOCK;
    TOTAL *sums = now->sums + at, *sums_before = before->sums + at;
    const Curve *curve;
    *used = NULL;
    if (!FLASH(screen)(clip, source, from ? (const void *)from : sums_before, sums, rises, falls))
        return 0;
    if (!clip->rgb) FLASH(take)(clip, source, sums);
    if (from && !*used_before) FLASH(take)(clip, from, sums_before);
    curve = FLASH(curve_for)(clip, at, before, now);
    if (*used_before != curve) FLASH(codes)(curve, sums_before, before->codes + at);
    FLASH(codes)(curve, sums, now->codes + at);
    *used = *used_before = curve;
    use_curve(rises, curve);
    use_curve(falls, curve);
    if (!differ(now->codes + at, before->codes + at, rises, falls)) return rises->busy = 0;
    return ++rises->busy;
}

/* Look up the pixels of a vector whose codes differ by `change`, where that may be enough. */
FORCE_INLINE void FLASH(look_up)(Side *side, const TOTAL *from, const TOTAL *to, words change) {
    uint32_t lanes = at_least(change, all_words(side->need));
    if (lanes && side->curve->rising) lanes = FLASH(open)(side, from, to, lanes);
    for (; lanes; lanes &= lanes - 1) {
        int i = lowest_bit(lanes);
        if (!ruled_out(side, from[i], to[i])) look_up(side, from[i], to[i]);
    }
}

/* Look up all pixels of a block: where those that need it are too many, this is faster. */
static void FLASH(look_up_all)(const TOTAL *before, const TOTAL *now, Side *rises, Side *falls) {
    const double *table = rises->curve->table;
    double rise[4] = {0}, fall[4] = {0};
    for (int i = 0; i < BLOCK; i += 4)
        EACH(j, 4) {
            double change = table[now[i + j]] - table[before[i + j]];
            rise[j] = change > rise[j] ? change : rise[j];
            fall[j] = change < fall[j] ? change : fall[j];
        }
    int found = 0;
    EACH(j, 4) found |= (rise[j] > rises->heap[0]) | (-fall[j] > falls->heap[0]);
    if (!found) return;
    for (int i = 0; i < BLOCK; i++)
        offer(table[now[i]] - table[before[i]], rises->heap, falls->heap, rises->k);
    raise_need(rises);
    raise_need(falls);
}

NO_INLINE void FLASH(look_up_block)(const FLASH(State) * before, const FLASH(State) * now,
                                    ptrdiff_t at, Side *rises, Side *falls) {
    const TOTAL *from = before->sums + at, *to = now->sums + at;
    if (rises->tries + falls->tries >= MOST_TRIES) {
        FLASH(look_up_all)(from, to, rises, falls);
        return;
    }
    for (int i = 0; i < BLOCK; i += LANES) {
        words a = load_words(now->codes + at + i), b = load_words(before->codes + at + i);
        FLASH(look_up)(rises, from + i, to + i, excess(a, b));
        FLASH(look_up)(falls, to + i, from + i, excess(b, a));
    }
}

/* Keep `count` pixels of a block, or their sums, for the next call. */
static void FLASH(keep)(const Clip *clip, const void *from, ptrdiff_t count, uint8_t *to) {
    if (count < BLOCK) memcpy(to, from, count * clip->kept);
    else if (clip->kept == 1) copy_octets(to, from);
    else FLASH(copy)((TOTAL *)to, from);
}

/* A tile of one frame; the sides have no heaps where there is no frame before it. */
static void FLASH(walk_tile)(const Clip *clip, const FLASH(Tile) * tile, FLASH(State) * before,
                             FLASH(State) * now, Side *rises, Side *falls) {
    const ptrdiff_t size = clip->size, kept = clip->kept;
    uint16_t rest[3 * BLOCK];
    TOTAL rest_before[BLOCK];
    for (ptrdiff_t at = 0; at < tile->count; at += BLOCK) {
        ptrdiff_t left = tile->count - at;
        const uint8_t *source, *from = tile->from;
        int found;
        source = whole_block(tile->source + at * size, left * size, BLOCK * size, rest);
        if (from) from = whole_block(from + at * kept, left * kept, BLOCK * kept, rest_before);
        if (left >= BLOCK) {
            prefetch(tile->next, at * size, BLOCK * size);
            prefetch(tile->next_kept, at * kept, BLOCK * kept);
        }
        found = FLASH(screen_codes)(clip, source, from, at, before, now, rises, falls);
        if (found) FLASH(look_up_block)(before, now, at, rises, falls);
        if (tile->to)
            FLASH(keep)(clip, clip->rgb ? (const void *)(now->sums + at) : source, left,
                        tile->to + at * kept);
    }
}

/* Pixels begin to end of every frame, tile by tile; largest is [pair of frames][2][k]. */
static void FLASH(walk)(const Clip *clip, ptrdiff_t begin, ptrdiff_t end, double *largest,
                        ptrdiff_t k) {
    /* Half as many ints: with the sums that a stream keeps they would not fit the cache. */
    const ptrdiff_t tile_pixels = TILE * 2 / sizeof(TOTAL);
    const ptrdiff_t kept = clip->kept, frame_size = clip->pixels * clip->size;
    Side sides[TIES + 1][2];
    FLASH(State) states[2];
    memset(states, 0, sizeof(states));
    memset(sides, 0, sizeof(sides));
    for (ptrdiff_t at = begin; at < end; at += tile_pixels) {
        uint8_t *to = clip->before ? (uint8_t *)clip->before + at * kept : NULL;
        int whole = at + 2 * tile_pixels <= end; /* the next tile */
        memset(states[1].curves, 0, sizeof(states[1].curves));
        for (ptrdiff_t frame = 0; frame < clip->length; frame++) {
            int last = frame + 1 == clip->length;
            ptrdiff_t pair = clip->started ? frame : frame - 1;
            Side *some = sides[pair < 0 ? TIES : pair % TIES];
            FLASH(Tile) tile = {smaller(tile_pixels, end - at), clip->frames + at * clip->size};
            tile.source += frame * frame_size;
            if (frame == 0 && clip->started) tile.from = to;
            if (frame > 0 && !clip->rgb) tile.from = tile.source - frame_size;
            if (last) tile.to = to;
            if (!last) tile.next = tile.source + frame_size;
            else if (whole) {
                tile.next = clip->frames + (at + tile_pixels) * clip->size;
                tile.next_kept = to ? to + tile_pixels * kept : NULL;
            }
            next_sides(some, clip->curves, pair < 0 ? NULL : largest + 2 * k * pair, k);
            FLASH(walk_tile)(clip, &tile, &states[!(frame & 1)], &states[frame & 1], some,
                             some + 1);
        }
    }
}
#undef FLASH
