/* The walk over sums of type TOTAL, whose functions end in KIND; see flash.h. */
#define FLASH(name) PASTE(name, KIND)

/* A tile of one frame: sums and codes of its pixels, filled up to a block, and scales of blocks. */
typedef struct {
    TOTAL sums[TILE];
    uint16_t codes[TILE];
    Scale scales[TILE / BLOCK];
} FLASH(State);

/* Where a tile's pixels are, what to fetch for after it, and what outlives the call: of the frame
   before the first, of the last; pixels or sums. NULL where there is none. */
typedef struct {
    ptrdiff_t count;
    const uint8_t *source, *next, *next_kept, *from;
    uint8_t *to;
} FLASH(Tile);

/* Bytes that are kept of a pixel. */
FORCE_INLINE ptrdiff_t FLASH(kept)(const Clip *clip) {
    return gray_bytes(clip) ? 1 : sizeof(TOTAL);
}

static void FLASH(codes)(const Curve *curve, const TOTAL *sums, uint16_t *codes) {
    if (curve->scale)
        for (int i = 0; i < BLOCK; i += LANES)
            store_words(codes + i, cubic_code(curve, FLASH(scaled)(curve, sums + i)));
    else
        for (int i = 0; i < BLOCK; i++) codes[i] = curve->codes[sums[i]];
}

/* The first of the curves for sums up to `top`. */
FORCE_INLINE const Curve *FLASH(curve_for)(const Curve *curve, const TOTAL *sums) {
    TOTAL top = 0;
    for (int i = 0; i < BLOCK; i++) top = sums[i] > top ? sums[i] : top;
    while (top >= curve->limit) curve++;
    return curve;
}

/* Sums of a block of wide pixels, the codes of both frames on one scale, and what `differ` says. */
static int FLASH(screen_wide)(const Clip *clip, const uint8_t *source, ptrdiff_t at,
                              FLASH(State) * before, FLASH(State) * now, Side *rises, Side *falls) {
    Scale *scale = now->scales + at / BLOCK, *scale_before = before->scales + at / BLOCK;
    const Curve *curve;
    FLASH(take_wide)(source, now->sums + at);
    scale->own = curve = FLASH(curve_for)(clip->curves, now->sums + at);
    if (scale_before->own > curve) curve = scale_before->own;
    if (curve != scale_before->used) FLASH(codes)(curve, before->sums + at, before->codes + at);
    FLASH(codes)(curve, now->sums + at, now->codes + at);
    scale->used = curve;
    use_curve(rises, curve);
    use_curve(falls, curve);
    return differ(now->codes + at, before->codes + at, rises, falls);
}

/* Take over the sums of a block of the frame before. */
static void FLASH(resume)(const Clip *clip, const uint8_t *from, ptrdiff_t at,
                          FLASH(State) * before) {
    TOTAL *sums = before->sums + at;
    if (gray_bytes(clip)) widen((uint16_t *)sums, from);
    else FLASH(copy)(sums, (const TOTAL *)from);
    if (clip->wide) before->scales[at / BLOCK].own = FLASH(curve_for)(clip->curves, sums);
    else if (!clip->curves->convex) FLASH(codes)(clip->curves, sums, before->codes + at);
}

/* The codes of a block and of the one before, and what `differ` says. */
static int FLASH(differ)(const Clip *clip, ptrdiff_t at, FLASH(State) * before, FLASH(State) * now,
                         const Side *rises, const Side *falls) {
    if (!before->scales[at / BLOCK].used)
        FLASH(codes)(clip->curves, before->sums + at, before->codes + at);
    FLASH(codes)(clip->curves, now->sums + at, now->codes + at);
    before->scales[at / BLOCK].used = now->scales[at / BLOCK].used = clip->curves;
    return differ(now->codes + at, before->codes + at, rises, falls);
}

/* What `differ` says of a block of gray bytes; its sums and codes where they may. */
static int FLASH(screen_gray)(const Clip *clip, const uint8_t *source, const uint8_t *from,
                              ptrdiff_t at, FLASH(State) * before, FLASH(State) * now,
                              const Side *rises, const Side *falls) {
    now->scales[at / BLOCK].used = NULL;
    if (!rises->heap || !screen_gray(source, from, rises, falls)) return 0;
    widen((uint16_t *)now->sums + at, source);
    if (!before->scales[at / BLOCK].used) widen((uint16_t *)before->sums + at, from);
    return FLASH(differ)(clip, at, before, now, rises, falls);
}

/* Sums of a block of bytes, its codes unless sums rule all out, and what `differ` says. */
static int FLASH(screen_bytes)(const Clip *clip, const uint8_t *source, const uint8_t *from,
                               ptrdiff_t at, FLASH(State) * before, FLASH(State) * now,
                               const Side *rises, const Side *falls) {
    uint16_t *sums = (uint16_t *)now->sums + at;
    const uint16_t *sums_before =
        (const uint16_t *)(from ? (const TOTAL *)from : before->sums + at);
    if (!clip->curves->convex) {
        if (from) FLASH(resume)(clip, from, at, before);
        return screen_bytes(clip, source, sums, now->codes + at, before->codes + at, rises, falls);
    }
    now->scales[at / BLOCK].used = NULL;
    if (!screen_sums(source, sums, sums_before, rises, falls)) return 0;
    if (from) FLASH(resume)(clip, from, at, before);
    return FLASH(differ)(clip, at, before, now, rises, falls);
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

/* Keep what `count` pixels of a block are, for the next call. */
static void FLASH(keep)(const Clip *clip, const uint8_t *source, const TOTAL *sums, ptrdiff_t count,
                        uint8_t *to) {
    if (count < BLOCK)
        memcpy(to, gray_bytes(clip) ? source : (const uint8_t *)sums, count * FLASH(kept)(clip));
    else if (gray_bytes(clip)) copy_octets(to, source);
    else FLASH(copy)((TOTAL *)to, sums);
}

/* A tile of one frame; the sides have no heaps where there is no frame before it. */
static void FLASH(walk_tile)(const Clip *clip, const FLASH(Tile) * tile, FLASH(State) * before,
                             FLASH(State) * now, Side *rises, Side *falls) {
    const ptrdiff_t size = clip->size, kept = FLASH(kept)(clip);
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
        if (gray_bytes(clip) && clip->curves->convex)
            found = FLASH(screen_gray)(clip, source, from, at, before, now, rises, falls);
        else if (clip->wide) {
            if (from) FLASH(resume)(clip, from, at, before);
            found = FLASH(screen_wide)(clip, source, at, before, now, rises, falls);
        } else found = FLASH(screen_bytes)(clip, source, from, at, before, now, rises, falls);
        if (found) FLASH(look_up_block)(before, now, at, rises, falls);
        if (tile->to) FLASH(keep)(clip, source, now->sums + at, left, tile->to + at * kept);
    }
}

/* Pixels begin to end of every frame, tile by tile; largest is [pair of frames][2][k]. */
static void FLASH(walk)(const Clip *clip, ptrdiff_t begin, ptrdiff_t end, double *largest,
                        ptrdiff_t k) {
    const ptrdiff_t kept = FLASH(kept)(clip), frame_size = clip->pixels * clip->size;
    Side sides[TIES + 1][2];
    FLASH(State) states[2];
    memset(states, 0, sizeof(states));
    memset(sides, 0, sizeof(sides));
    for (int i = 0; i < TILE / BLOCK; i++) states[1].scales[i].own = clip->curves;
    for (ptrdiff_t at = begin; at < end; at += TILE) {
        uint8_t *to = clip->before ? (uint8_t *)clip->before + at * kept : NULL;
        int whole = at + 2 * TILE <= end; /* the next tile */
        for (int i = 0; i < TILE / BLOCK; i++) states[1].scales[i].used = NULL;
        for (ptrdiff_t frame = 0; frame < clip->length; frame++) {
            int last = frame + 1 == clip->length;
            ptrdiff_t pair = clip->started ? frame : frame - 1;
            Side *some = sides[pair < 0 ? TIES : pair % TIES];
            FLASH(Tile) tile = {smaller(TILE, end - at), clip->frames + at * clip->size};
            tile.source += frame * frame_size;
            if (frame == 0 && clip->started) tile.from = to;
            if (frame > 0 && gray_bytes(clip) && clip->curves->convex)
                tile.from = tile.source - frame_size;
            if (last) tile.to = to;
            if (!last) tile.next = tile.source + frame_size;
            else if (whole) {
                tile.next = clip->frames + (at + TILE) * clip->size;
                tile.next_kept = to ? to + TILE * kept : NULL;
            }
            next_sides(some, clip->curves, pair < 0 ? NULL : largest + 2 * k * pair, k);
            FLASH(walk_tile)(clip, &tile, &states[!(frame & 1)], &states[frame & 1], some,
                             some + 1);
        }
    }
}
#undef FLASH
