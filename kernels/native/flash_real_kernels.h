/* The walk over pixels of type REAL, whose luminance is a power of gray; see flash.h.

   A key follows the luminance of a pixel, `unit` times: y^2.2 is y^2 (y z^4) where z is about
   y^(-1/5), which the bits of y give to within a sixth in h = y z^5 - 1; a cubic of h mends that to
   5e-5. Rounding adds less than 40 units in the last place of REAL, 3e-6 for floats, so that `close`,
   1e-4, is more than a key is off. A change above a bound then takes

       key(to) - key(from) (1 - close) / (1 + close) > unit * bound / (1 + close).

   That is so for channels above `floor`, which is where y is half of its offset: sums and y then
   lose no more than a few units of their size. Other blocks are looked at whole, as are those with
   a NaN and those whose keys overflow, which they do before luminances.

   Gray has another screen, where keys are not known. Luminance is ever steeper, so that a rise by d up to `top` or
   below is at most that from top - d to top: two keys bound all changes of a block. Rounding of d and
   of top - d moves y by a few units of what it is at `top`, and so that bound by a few of itself; the
   two pieces of sRGB miss each other by less than 1e-6 of it. */

/* A tile of one frame: keys of its pixels, in the order of load_three; what is known of blocks, and
   whether keys of gray are. */
typedef struct {
    _Alignas(64) REAL keys[REAL_TILE];
    _Alignas(64) double sums[REAL_TILE], luminances[REAL_TILE];
    int known[REAL_TILE / BLOCK], keyed[REAL_TILE / BLOCK];
    char apart[576]; /* loads wait for stores that are whole pages away: 1.1 times as long */
} SIMD(Pixels);

/* The numbers of a key, and what a block's keys are compared with. */
typedef struct {
    SIMD(vec) slope, offset, cubic[4], knee, below, floor, kept, rise, fall;
} SIMD(Screen);

static SIMD(Screen) SIMD(first_screen)(const Power *power) {
    const double unit = unit_of_keys(power);
    SIMD(Screen) screen;
    screen.slope = SIMD(all)((REAL)(power->slope / power->channels));
    screen.offset = SIMD(all)((REAL)power->offset);
    for (int i = 0; i < 4; i++)
        screen.cubic[i] = SIMD(all)((REAL)(unit * power->scale * power->cubic[i]));
    screen.knee = SIMD(all)((REAL)(power->knee * power->channels));
    screen.below = SIMD(all)((REAL)(unit * power->below / power->channels));
    screen.floor = SIMD(all)((REAL)power->floor);
    screen.kept = SIMD(all)((REAL)(-(1 - power->close) / (1 + power->close)));
    screen.rise = screen.fall = SIMD(all)(0);
    return screen;
}
/* Next to nothing counts as nothing, since it may be rounded up. */
static SIMD(vec) SIMD(bound)(const Power *power, double least) {
    const double largest = sizeof(REAL) == 4 ? FLT_MAX : DBL_MAX,
                 tiny = sizeof(REAL) == 4 ? 1e-30 : 1e-300;
    const double unit = unit_of_keys(power);
    double bound = unit * least / (1 + power->close) * (1 - 1e-6);
    return SIMD(all)((REAL)(bound < tiny ? 0 : bound < largest ? bound : largest));
}
static void SIMD(raise)(SIMD(Screen) * screen, const Power *power, const double *largest,
                        ptrdiff_t k) {
    screen->rise = SIMD(bound)(power, largest[0]);
    screen->fall = SIMD(bound)(power, largest[k]);
}

/* The key of a sum of channels; of y^2.4, where fifths is 2, one factor of z is left out. */
FORCE_INLINE SIMD(vec) SIMD(key)(const SIMD(Screen) * screen, int fifths, SIMD(vec) sum) {
    SIMD(vec) y, z, square, t, h, p, key;
    if (!fifths) return sum;
    y = SIMD(fma)(sum, screen->slope, screen->offset);
    z = SIMD(of_logs)(SIMD(fma)(SIMD(logs)(y), SIMD(all)((REAL)-0.2), SIMD(all)(SIMD(guess))));
    square = SIMD(mul)(z, z);
    t = SIMD(mul)(y, SIMD(mul)(square, square));
    h = SIMD(fma)(t, z, SIMD(all)(-1));
    p = SIMD(fma)(h, screen->cubic[3], screen->cubic[2]);
    p = SIMD(fma)(h, p, screen->cubic[1]);
    p = SIMD(fma)(h, p, screen->cubic[0]);
    if (fifths == 2) t = SIMD(mul)(y, SIMD(mul)(square, z));
    key = SIMD(mul)(SIMD(mul)(SIMD(mul)(y, y), t), p);
    if (fifths == 1) return key;
    return SIMD(where_less)(screen->knee, sum, key, SIMD(mul)(sum, screen->below));
}

/* Keys of a block. A positive result says that a pixel may have changed enough, NaN that the keys of
   one are not to be trusted, in the next frame neither. */
FORCE_INLINE REAL SIMD(screen)(const SIMD(Screen) * shared, int fifths, int rgb, const REAL *source,
                               const REAL *next, REAL *keys, const REAL *keys_before) {
    const SIMD(Screen) screen = *shared; /* in registers */
    SIMD(vec) low = SIMD(all)(0), rise = low, fall = low;
    SIMD(record) whole = SIMD(whole)();
    for (int i = 0; i < BLOCK; i += SIMD(lanes)) {
        SIMD(vec) v[3], now, before = SIMD(load)(keys_before + i);
        for (int c = 0; c < (rgb ? 3 : 1); c++)
            PREFETCH(next + (rgb ? 3 : 1) * i + c * SIMD(lanes));
        if (rgb) {
            SIMD(load_three)(source + 3 * i, v);
            low = SIMD(min)(low, SIMD(min)(SIMD(min)(v[0], v[1]), v[2]));
            v[0] = SIMD(add)(SIMD(add)(v[0], v[1]), v[2]);
        } else {
            v[0] = SIMD(load)(source + i);
            low = SIMD(min)(low, v[0]);
        }
        now = SIMD(key)(&screen, fifths, v[0]);
        SIMD(store)(keys + i, now);
        v[1] = SIMD(fma)(screen.kept, before, now);
        v[2] = SIMD(fma)(screen.kept, now, before);
        rise = SIMD(max)(rise, v[1]);
        fall = SIMD(max)(fall, v[2]);
        whole = SIMD(whole_and)(whole, v[1], v[2]);
    }
    if (!(SIMD(most)(SIMD(sub)(screen.floor, low)) <= 0)) return keys[0] = (REAL)NAN;
    rise = SIMD(max)(SIMD(sub)(rise, screen.rise), SIMD(sub)(fall, screen.fall));
    return SIMD(most)(SIMD(spoilt)(whole, rise));
}

static REAL SIMD(screen_block)(const Clip *clip, const SIMD(Screen) * screen, const REAL *source,
                               const REAL *next, REAL *keys, const REAL *keys_before) {
    const int fifths = clip->power->fifths;
    if (clip->rgb) {
        if (fifths == 1) return SIMD(screen)(screen, 1, 1, source, next, keys, keys_before);
        if (fifths == 2) return SIMD(screen)(screen, 2, 1, source, next, keys, keys_before);
        return SIMD(screen)(screen, 0, 1, source, next, keys, keys_before);
    }
    if (fifths == 1) return SIMD(screen)(screen, 1, 0, source, next, keys, keys_before);
    if (fifths == 2) return SIMD(screen)(screen, 2, 0, source, next, keys, keys_before);
    return SIMD(screen)(screen, 0, 0, source, next, keys, keys_before);
}

/* The screen of a block by the keys of `top` and of what is `rise` and `fall` below it. */
static REAL SIMD(screen_most)(const SIMD(Screen) * screen, int fifths, REAL top, REAL rise,
                              REAL fall, SIMD(record) whole) {
    REAL keys[4 * SIMD(lanes)] = {top, top - rise, top - fall};
    SIMD(vec) up, down;
    REAL found;
    for (int i = 0; i < 3; i += SIMD(lanes))
        SIMD(store)(keys + i, SIMD(key)(screen, fifths, SIMD(load)(keys + i)));
    up = SIMD(fma)(screen->kept, SIMD(all)(keys[1]), SIMD(all)(keys[0]));
    down = SIMD(fma)(screen->kept, SIMD(all)(keys[2]), SIMD(all)(keys[0]));
    whole = SIMD(whole_and)(whole, up, down);
    up = SIMD(max)(SIMD(sub)(up, screen->rise), SIMD(sub)(down, screen->fall));
    found = SIMD(most)(SIMD(spoilt)(whole, up));
    return rise == 0 && fall == 0 && found > 0 ? 0 : found; /* equal pixels are no change */
}

/* As `screen`, of gray, for all changes of a block at once. */
static REAL SIMD(screen_changes)(const SIMD(Screen) * screen, int fifths, const REAL *before,
                                 const REAL *source, const REAL *next) {
    SIMD(vec) low = SIMD(all)(0), top = low, rise = low, fall = low;
    SIMD(record) whole = SIMD(whole)();
    for (int i = 0; i < BLOCK; i += SIMD(lanes)) {
        SIMD(vec) from = SIMD(load)(before + i), to = SIMD(load)(source + i);
        SIMD(vec) up = SIMD(sub)(to, from), down = SIMD(sub)(from, to);
        PREFETCH(next + i);
        low = SIMD(min)(low, SIMD(min)(from, to));
        top = SIMD(max)(top, SIMD(max)(from, to));
        rise = SIMD(max)(rise, up);
        fall = SIMD(max)(fall, down);
        whole = SIMD(whole_and)(whole, up, down);
    }
    if (!(SIMD(most)(SIMD(sub)(screen->floor, low)) <= 0)) return (REAL)NAN;
    return SIMD(screen_most)(screen, fifths, SIMD(most)(top), SIMD(most)(rise), SIMD(most)(fall),
                             whole);
}

/* The screen of a block of gray. Where keys of the frame before are not known, as between pushes, all
   changes at once come first: most blocks need no keys then. */
static REAL SIMD(screen_gray)(const Clip *clip, const SIMD(Screen) * screen,
                              const REAL *source_before, const REAL *source, const REAL *next,
                              ptrdiff_t at, SIMD(Pixels) * before, SIMD(Pixels) * now, int *busy) {
    REAL *keys = now->keys + at, *keys_before = before->keys + at, found;
    if (!before->keyed[at / BLOCK]) {
        if (*busy < MANY) {
            found = SIMD(screen_changes)(screen, clip->power->fifths, source_before, source, next);
            if (!(found > 0)) return *busy = 0, found;
        }
        *busy = *busy < AGAIN ? *busy + 1 : MANY - 1;
        SIMD(screen_block)(clip, screen, source_before, source, keys_before, keys_before);
    }
    now->keyed[at / BLOCK] = 1;
    return SIMD(screen_block)(clip, screen, source, next, keys, keys_before);
}

/* Sums of a block, and its luminances where they are `wanted`. */
static void SIMD(know)(const Clip *clip, const REAL *source, SIMD(Pixels) * pixels, ptrdiff_t at,
                       int wanted) {
    enum { L = SIMD(lanes) };
    double *sums = pixels->sums + at;
    int *known = &pixels->known[at / BLOCK];
    if (*known == NOTHING)
        for (int i = 0; i < BLOCK; i += L) {
            REAL c[3 * L];
            SIMD(vec) v[3];
            if (clip->rgb) {
                SIMD(load_three)(source + 3 * i, v);
                EACH(j, 3) SIMD(store)(c + j * L, v[j]);
                for (int j = 0; j < L; j++) sums[i + j] = (double)c[j] + c[L + j] + c[2 * L + j];
            } else
                for (int j = 0; j < L; j++) sums[i + j] = source[i + j];
        }
    if (wanted == LUMINANCES && *known < wanted)
        luminances_of_sums(clip->power, sums, pixels->luminances + at);
    *known = *known > wanted ? *known : wanted;
}

/* Compare the luminances of all pixels of a block, unless they are known to be ties. */
NO_INLINE void SIMD(look)(const Clip *clip, const REAL *source_before, const REAL *source,
                          SIMD(Pixels) * before, SIMD(Pixels) * now, ptrdiff_t at, int regular,
                          double *largest, ptrdiff_t k, Tie *tie) {
    const double *from = before->sums + at, *to = now->sums + at;
    ptrdiff_t found;
    SIMD(know)(clip, source_before, before, at, SUMS);
    SIMD(know)(clip, source, now, at, SUMS);
    if (regular && tie->change <= largest[0] && -tie->change <= largest[k] &&
        all_tie(from, to, *tie))
        return;
    SIMD(know)(clip, source_before, before, at, LUMINANCES);
    SIMD(know)(clip, source, now, at, LUMINANCES);
    found = offer_block(before->luminances + at, now->luminances + at, BLOCK, largest, k);
    if (found < 0) return;
    tie->from = from[found], tie->to = to[found];
    tie->change = now->luminances[at + found] - before->luminances[at + found];
}

/* A tile of `count` pixels of one frame; `largest` is NULL where there is no frame before it. */
static void SIMD(walk_tile)(const Clip *clip, const REAL *source_before, const REAL *source,
                            const REAL *next, const REAL *next_before, ptrdiff_t count,
                            SIMD(Pixels) * before, SIMD(Pixels) * now, SIMD(Screen) screen,
                            Tie *tie, double *largest, ptrdiff_t k) {
    const ptrdiff_t channels = clip->rgb ? 3 : 1;
    REAL rest[2][3 * BLOCK];
    if (largest) SIMD(raise)(&screen, clip->power, largest, k);
    for (ptrdiff_t at = 0; at < count; at += BLOCK) {
        const REAL *pixels = source + at * channels, *pixels_before = source_before + at * channels;
        const REAL *after; /* to be fetched */
        ptrdiff_t some = smaller(BLOCK, count - at);
        REAL found;
        if (some < BLOCK) {
            memset(rest, 0, sizeof(rest));
            pixels = memcpy(rest[0], pixels, some * clip->size);
            pixels_before = memcpy(rest[1], pixels_before, some * clip->size);
        }
        now->known[at / BLOCK] = now->keyed[at / BLOCK] = 0;
        prefetch((const uint8_t *)next_before, at * clip->size, BLOCK * clip->size);
        after = next && some == BLOCK ? next + at * channels : pixels;
        found = clip->rgb ? SIMD(screen_block)(clip, &screen, pixels, after, now->keys + at,
                                               before->keys + at)
                          : SIMD(screen_gray)(clip, &screen, pixels_before, pixels, after, at,
                                              before, now, &tie->busy);
        if (!largest || found <= 0) continue;
        /* While the bound is near 0 anything may pass the screen: a static scene ends here. */
        if (found > 0 && !memcmp(pixels_before, pixels, some * clip->size)) continue;
        SIMD(look)(clip, pixels_before, pixels, before, now, at, found > 0, largest, k, tie);
        SIMD(raise)(&screen, clip->power, largest, k);
    }
}

/* Pixels begin to end of every frame, tile by tile; largest is [pair of frames][2][k]. */
static void SIMD(walk)(const Clip *clip, ptrdiff_t begin, ptrdiff_t end, double *largest,
                       ptrdiff_t k) {
    const ptrdiff_t channels = clip->rgb ? 3 : 1;
    const ptrdiff_t tile = smaller(REAL_TILE, TILE_BYTES / clip->size / BLOCK * BLOCK);
    const SIMD(Screen) screen = SIMD(first_screen)(clip->power);
    Tie ties[TIES] = {{0}};
    SIMD(Pixels) states[2];
    memset(states, 0, sizeof(states));
    for (ptrdiff_t at = begin; at < end; at += tile) {
        const REAL *first = (const REAL *)clip->frames + at * channels;
        const REAL *before = clip->started ? (const REAL *)clip->before + at * channels : first;
        const REAL *start = clip->rgb ? before : first;
        memset(states[1].known, 0, sizeof(states[1].known));
        /* Keys of RGB are made of what was kept, of gray where they are needed. */
        for (int i = 0; i < REAL_TILE / BLOCK; i++) states[1].keyed[i] = !clip->started;
        if (clip->started && clip->rgb)
            SIMD(walk_tile)(clip, before, before, first, NULL, smaller(tile, end - at), &states[0],
                            &states[1], screen, ties, NULL, k);
        for (ptrdiff_t frame = 0; frame < clip->length; frame++) {
            const REAL *next_before = NULL;
            const REAL *source = first + frame * clip->pixels * channels, *next = NULL;
            ptrdiff_t pair = clip->started ? frame : frame - 1;
            if (frame + 1 < clip->length) next = source + clip->pixels * channels;
            else if (at + 2 * tile <= end) next = start + tile * channels;
            if (frame == 0 && clip->started && !clip->rgb && at + 2 * tile <= end)
                next_before = before + tile;
            SIMD(walk_tile)(clip, before, source, next, next_before, smaller(tile, end - at),
                            &states[!(frame & 1)], &states[frame & 1], screen, &ties[frame % TIES],
                            pair < 0 ? NULL : largest + 2 * k * pair, k);
            before = source;
        }
        if (clip->before)
            memcpy((REAL *)clip->before + at * channels, before,
                   smaller(tile, end - at) * clip->size);
    }
}
