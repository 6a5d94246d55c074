/* The walk over sums of type TOTAL, whose functions end in KIND; see flash.h. */
#define FLASH(name) PASTE(name, KIND)

/* A tile of one frame, and what to fetch for after it; the last block of sums is filled up. */
typedef struct {
    ptrdiff_t count; /* of pixels */
    const uint8_t *source, *next, *next_state;
    TOTAL *sums_before, *sums;
    uint16_t *codes_before, *codes;
    TOTAL *from, *to; /* sums that outlive the call: of the frame before the first, of the last */
} FLASH(Tile);

static void FLASH(codes)(const Curve *curve, const TOTAL *sums, uint16_t *codes) {
    if (curve->scale)
        for (int i = 0; i < BLOCK; i += LANES)
            store_words(codes + i, cubic_code(curve, FLASH(load)(sums + i)));
    else
        for (int i = 0; i < BLOCK; i++) codes[i] = curve->codes[sums[i]];
}

/* Sums and codes of a block of pixels in one frame, and whether any may have changed enough since
   the frame of codes_before. */
FORCE_INLINE int FLASH(screen_form)(int form, const Curve *curve, const uint8_t *source,
                                    TOTAL *sums, uint16_t *codes, const uint16_t *codes_before,
                                    const Side *rises, const Side *falls) {
    words rise = all_words(0), fall = rise;
    if (!curve->scale) {
        for (int i = 0; i < BLOCK; i += LANES) FLASH(take)(form, source, i, sums);
        for (int i = 0; i < BLOCK; i++) codes[i] = curve->codes[sums[i]];
    }
    for (int i = 0; i < BLOCK; i += LANES) {
        words now, before = load_words(codes_before + i);
        if (curve->scale) {
            now = cubic_code(curve, FLASH(take)(form, source, i, sums));
            store_words(codes + i, now);
        } else now = load_words(codes + i);
        rise = larger_words(rise, excess(now, before));
        fall = larger_words(fall, excess(before, now));
    }
    return (at_least(rise, all_words(rises->need)) | at_least(fall, all_words(falls->need))) != 0;
}

static int FLASH(screen)(const Clip *clip, const Curve *curve, const uint8_t *source, TOTAL *sums,
                         uint16_t *codes, const uint16_t *codes_before, const Side *rises,
                         const Side *falls) {
#define SCREEN(form)                                                                               \
    case form:                                                                                     \
        return FLASH(screen_form)(form, curve, source, sums, codes, codes_before, rises, falls);
    switch (sizeof(TOTAL) == 4 ? RGB_WORDS : clip->form) {
        SCREEN(GRAY_BYTES)
        SCREEN(RGB_BYTES)
        SCREEN(GRAY_WORDS)
    default:
        return FLASH(screen_form)(RGB_WORDS, curve, source, sums, codes, codes_before, rises,
                                  falls);
    }
#undef SCREEN
}

/* Look up the pixels of a vector whose codes differ by `change`, where that may be enough. */
FORCE_INLINE void FLASH(look_up)(const Curve *curve, Side *side, const TOTAL *from, const TOTAL *to,
                                 words change) {
    uint32_t lanes = at_least(change, all_words(side->need));
    if (lanes && curve->rising) lanes = FLASH(open)(side, from, to, lanes);
    for (; lanes; lanes &= lanes - 1) {
        int i = lowest_bit(lanes);
        if (!ruled_out(side, from[i], to[i])) look_up(curve, side, from[i], to[i]);
    }
}

/* The same for a block, or all its pixels where too many were looked up one by one. */
NO_INLINE void FLASH(look_up_block)(const Curve *curve, const TOTAL *before,
                                    const uint16_t *codes_before, const TOTAL *now,
                                    const uint16_t *codes, Side *rises, Side *falls) {
    const double *table = curve->table;
    double rise = 0, fall = 0;
    if (rises->tries + falls->tries < MOST_TRIES) {
        for (int i = 0; i < BLOCK; i += LANES) {
            words a = load_words(codes + i), b = load_words(codes_before + i);
            FLASH(look_up)(curve, rises, before + i, now + i, excess(a, b));
            FLASH(look_up)(curve, falls, now + i, before + i, excess(b, a));
        }
        return;
    }
    for (int i = 0; i < BLOCK; i++) {
        double change = table[now[i]] - table[before[i]];
        rise = change > rise ? change : rise;
        fall = change < fall ? change : fall;
    }
    if (rise > rises->heap[0] || -fall > falls->heap[0]) {
        for (int i = 0; i < BLOCK; i++)
            offer(table[now[i]] - table[before[i]], rises->heap, falls->heap, rises->k);
        raise_need(curve, rises);
        raise_need(curve, falls);
    }
}

/* Sums of a block, at most, of the frame before, and their codes. */
static void FLASH(resume)(const Curve *curve, const TOTAL *state, ptrdiff_t count, TOTAL *sums,
                          uint16_t *codes) {
    if (count >= BLOCK) memcpy(sums, state, BLOCK * sizeof(TOTAL));
    else {
        memset(sums, 0, BLOCK * sizeof(TOTAL));
        memcpy(sums, state, count * sizeof(TOTAL));
    }
    FLASH(codes)(curve, sums, codes);
}

/* A tile of one frame; largest is k rises and k falls, NULL where there is no frame before it. */
static void FLASH(walk_tile)(const Clip *clip, const Curve *curve, const FLASH(Tile) * tile,
                             double *largest, ptrdiff_t k) {
    uint16_t rest[3 * BLOCK];
    Side rises = first_side(curve, largest, k), falls = rises;
    if (largest) falls = first_side(curve, largest + k, k);
    for (ptrdiff_t at = 0; at < tile->count; at += BLOCK) {
        const uint8_t *source = tile->source + at * clip->size;
        TOTAL *sums = tile->sums + at, *before = tile->sums_before + at;
        uint16_t *codes = tile->codes + at, *codes_before = tile->codes_before + at;
        ptrdiff_t left = tile->count - at;
        if (left < BLOCK) {
            memset(rest, 0, sizeof(rest));
            source = memcpy(rest, source, left * clip->size);
        } else {
            prefetch(tile->next, at * clip->size, BLOCK * clip->size);
            prefetch(tile->next_state, at * sizeof(TOTAL), BLOCK * sizeof(TOTAL));
        }
        if (tile->from) FLASH(resume)(curve, tile->from + at, left, before, codes_before);
        if (FLASH(screen)(clip, curve, source, sums, codes, codes_before, &rises, &falls))
            FLASH(look_up_block)(curve, before, codes_before, sums, codes, &rises, &falls);
        if (tile->to && left >= BLOCK) memcpy(tile->to + at, sums, BLOCK * sizeof(TOTAL));
        else if (tile->to) memcpy(tile->to + at, sums, left * sizeof(TOTAL));
    }
}

/* Pixels begin to end of every frame, tile by tile; largest is [pair of frames][2][k]. */
static void FLASH(walk)(const Clip *clip, const Curve *curve, ptrdiff_t begin, ptrdiff_t end,
                        double *largest, ptrdiff_t k) {
    TOTAL sums[2][TILE];
    uint16_t codes[2][TILE] = {{0}};
    for (ptrdiff_t at = begin; at < end; at += TILE) {
        TOTAL *state = clip->before ? (TOTAL *)clip->before + at : NULL;
        int whole = at + 2 * TILE <= end; /* the next tile */
        for (ptrdiff_t frame = 0; frame < clip->length; frame++) {
            int now = frame & 1, last = frame + 1 == clip->length;
            ptrdiff_t pair = state ? frame : frame - 1;
            const uint8_t *source = clip->frames + (frame * clip->pixels + at) * clip->size;
            FLASH(Tile) tile = {smaller(TILE, end - at), source};
            tile.sums = sums[now], tile.sums_before = sums[!now];
            tile.codes = codes[now], tile.codes_before = codes[!now];
            if (state && frame == 0) tile.from = state;
            if (state && last) tile.to = state;
            if (!last) tile.next = source + clip->pixels * clip->size;
            else if (whole) {
                tile.next = clip->frames + (at + TILE) * clip->size;
                tile.next_state = (const uint8_t *)(state ? state + TILE : NULL);
            }
            FLASH(walk_tile)(clip, curve, &tile, pair < 0 ? NULL : largest + 2 * k * pair, k);
        }
    }
}
#undef FLASH
