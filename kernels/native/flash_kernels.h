/* The walk over sums of type TOTAL, whose functions end in KIND; see flash.h. */
#define FLASH(name) PASTE(name, KIND)

/* A tile of one frame: sums and codes of its pixels, filled up to a block, and scales of blocks. */
typedef struct {
    TOTAL sums[TILE];
    uint16_t codes[TILE];
    Scale scales[TILE / BLOCK];
} FLASH(State);

/* Where a tile's pixels are, what to fetch for after it, and the sums that outlive the call: of the
   frame before the first, of the last. NULL where there is none. */
typedef struct {
    ptrdiff_t count;
    const uint8_t *source, *next, *next_sums;
    TOTAL *from, *to;
} FLASH(Tile);

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

/* Sums of a block of bytes, its codes unless sums rule all out, and what `differ` says. */
static int FLASH(screen_bytes)(const Clip *clip, const uint8_t *source, ptrdiff_t at,
                               FLASH(State) * before, FLASH(State) * now, Side *rises,
                               Side *falls) {
    uint16_t *sums = (uint16_t *)now->sums + at, *codes = now->codes + at;
    const Curve *curve = clip->curves, **used = &now->scales[at / BLOCK].used;
    if (sums_first(clip)) {
        const uint16_t *sums_before = (const uint16_t *)before->sums + at;
        *used = NULL;
        if (clip->rgb ? !screen_sums(1, source, sums, sums_before, rises, falls)
                      : !screen_sums(0, source, sums, sums_before, rises, falls))
            return 0;
        if (!before->scales[at / BLOCK].used)
            FLASH(codes)(curve, before->sums + at, before->codes + at);
        FLASH(codes)(curve, now->sums + at, codes);
        before->scales[at / BLOCK].used = *used = curve;
        return differ(codes, before->codes + at, rises, falls);
    }
    return screen_bytes(clip, source, sums, codes, before->codes + at, rises, falls);
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

/* Take over the sums of a block, at most, of the frame before. */
static void FLASH(resume)(const Clip *clip, const TOTAL *from, ptrdiff_t count, ptrdiff_t at,
                          FLASH(State) * before) {
    TOTAL *sums = before->sums + at;
    if (count >= BLOCK) FLASH(copy)(sums, from);
    else {
        memset(sums, 0, BLOCK * sizeof(TOTAL));
        memcpy(sums, from, count * sizeof(TOTAL));
    }
    before->scales[at / BLOCK].used = NULL;
    if (clip->wide) before->scales[at / BLOCK].own = FLASH(curve_for)(clip->curves, sums);
    else if (!sums_first(clip)) FLASH(codes)(clip->curves, sums, before->codes + at);
}

/* A tile of one frame; largest is k rises and k falls, NULL where there is no frame before it. */
static void FLASH(walk_tile)(const Clip *clip, const FLASH(Tile) * tile, FLASH(State) * before,
                             FLASH(State) * now, double *largest, ptrdiff_t k) {
    uint16_t rest[3 * BLOCK];
    Side rises = first_side(clip->curves, largest, k), falls = rises;
    if (largest) falls = first_side(clip->curves, largest + k, k);
    for (ptrdiff_t at = 0; at < tile->count; at += BLOCK) {
        const uint8_t *source = tile->source + at * clip->size;
        ptrdiff_t left = tile->count - at;
        int found;
        if (left < BLOCK) {
            memset(rest, 0, sizeof(rest));
            source = memcpy(rest, source, left * clip->size);
        } else {
            prefetch(tile->next, at * clip->size, BLOCK * clip->size);
            prefetch(tile->next_sums, at * sizeof(TOTAL), BLOCK * sizeof(TOTAL));
        }
        if (tile->from) FLASH(resume)(clip, tile->from + at, left, at, before);
        if (clip->wide) found = FLASH(screen_wide)(clip, source, at, before, now, &rises, &falls);
        else found = FLASH(screen_bytes)(clip, source, at, before, now, &rises, &falls);
        if (found) FLASH(look_up_block)(before, now, at, &rises, &falls);
        if (tile->to && left >= BLOCK) FLASH(copy)(tile->to + at, now->sums + at);
        else if (tile->to) memcpy(tile->to + at, now->sums + at, left * sizeof(TOTAL));
    }
}

/* Pixels begin to end of every frame, tile by tile; largest is [pair of frames][2][k]. */
static void FLASH(walk)(const Clip *clip, ptrdiff_t begin, ptrdiff_t end, double *largest,
                        ptrdiff_t k) {
    FLASH(State) states[2];
    memset(states, 0, sizeof(states));
    for (int i = 0; i < TILE / BLOCK; i++) states[1].scales[i].own = clip->curves;
    for (ptrdiff_t at = begin; at < end; at += TILE) {
        TOTAL *sums = clip->before ? (TOTAL *)clip->before + at : NULL;
        int whole = at + 2 * TILE <= end; /* the next tile */
        for (ptrdiff_t frame = 0; frame < clip->length; frame++) {
            int last = frame + 1 == clip->length;
            ptrdiff_t pair = clip->started ? frame : frame - 1;
            const uint8_t *source = clip->frames + (frame * clip->pixels + at) * clip->size;
            FLASH(Tile) tile = {smaller(TILE, end - at), source};
            if (frame == 0 && clip->started) tile.from = sums;
            if (last) tile.to = sums;
            if (!last) tile.next = source + clip->pixels * clip->size;
            else if (whole) {
                tile.next = clip->frames + (at + TILE) * clip->size;
                tile.next_sums = (const uint8_t *)(sums ? sums + TILE : NULL);
            }
            FLASH(walk_tile)(clip, &tile, &states[!(frame & 1)], &states[frame & 1],
                             pair < 0 ? NULL : largest + 2 * k * pair, k);
        }
    }
}
#undef FLASH
