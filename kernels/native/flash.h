/* The flash table: pixels whose luminance changes more than the k-th best are found by a screen.

   Every sum of channels has a 16-bit code that follows its luminance, and a difference of codes
   bounds the difference of luminances (flash.py proves the bounds of each table when it makes it).
   Only pixels whose codes differ enough are looked up in the float64 table. */
#ifndef VOXKERN_FLASH_H
#define VOXKERN_FLASH_H

#include <stdint.h>
#include <string.h>
#include "simd.h"
#include "split.h"
#include "words.h"

enum {
    BLOCK = 512, /* pixels screened together */
    TILE = 2048, /* pixels that walk through all frames together, from cache to cache */
    MOST_CURVES = 16,
    MOST_TRIES = TILE / 8 /* pixels of a tile that may be looked up one by one: it costs 4 times
                             what they do in whole blocks */
};

/* Luminance and code of every sum. Where `scale` is not 0 the code is a cubic, see `code`. A change
   above `bound` takes a difference of codes above lines[0] * bound + lines[1], for every line. */
typedef struct {
    const double *table, *lines;
    const uint16_t *codes;
    ptrdiff_t line_count;
    uint16_t scale, cubic[3];
    int32_t limit; /* of the sums that have these codes */
    int rising;    /* the table never decreases */
} Curve;

/* Codes of 16 bits are too coarse for dark blocks of 16-bit frames: there are curves for several
   limits, and a pair of blocks takes the first that serves both. */
typedef struct {
    const Curve *own, *used;
} Scale;

/* Frames of pixels, `size` bytes each. `before` takes the sums of the last, unless it is NULL. */
typedef struct {
    const uint8_t *frames;
    ptrdiff_t length, pixels, size;
    int started;   /* `before` has the sums of a frame before these */
    int rgb, wide; /* wide: pixels of 16 bits, with several curves */
    const Curve *curves;
    void *before;
} Clip;

/* Changes of one sign in one frame: the k largest, and what rules out others. `need` is the least
   difference of codes of a change above heap[0]; pixels that go from `from` or more to `to` or less
   change too little, as one did that was looked up. */
typedef struct {
    const Curve *curve; /* that `need` is for */
    double *heap;
    ptrdiff_t k;
    uint16_t need;
    int32_t from, to;
    int tries;
} Side;

/* Put `value` in place of heap[0], the least of k; four children each. Down to a leaf first, without
   a comparison with `value`, then up: most values belong near the leaves. */
static void replace_least(double *heap, ptrdiff_t k, double value) {
    ptrdiff_t hole = 0, child = 1;
    for (; child + 3 < k; child = 4 * hole + 1) {
        ptrdiff_t a = child + (heap[child + 1] < heap[child]);
        ptrdiff_t b = child + 2 + (heap[child + 3] < heap[child + 2]);
        a = heap[b] < heap[a] ? b : a;
        heap[hole] = heap[a];
        hole = a;
    }
    if (child < k) {
        ptrdiff_t least = child;
        for (ptrdiff_t i = child + 1; i < k; i++) least = heap[i] < heap[least] ? i : least;
        heap[hole] = heap[least];
        hole = least;
    }
    while (hole > 0 && heap[(hole - 1) / 4] > value) {
        heap[hole] = heap[(hole - 1) / 4];
        hole = (hole - 1) / 4;
    }
    heap[hole] = value;
}

/* Keep a change where it is among the k largest; a NaN stays for good, nothing exceeds it. */
FORCE_INLINE void offer(double change, double *rises, double *falls, ptrdiff_t k) {
    if (change <= rises[0] && -change <= falls[0]) return;
    if (change > rises[0]) replace_least(rises, k, change);
    else if (-change > falls[0]) replace_least(falls, k, -change);
    else if (change != change) rises[0] = falls[0] = change;
}

static void raise_need(Side *side) {
    const Curve *curve = side->curve;
    double need = 0;
    for (ptrdiff_t i = 0; side->heap && i < curve->line_count; i++) {
        double above = side->heap[0] * curve->lines[2 * i] + curve->lines[2 * i + 1] + 1;
        need = above > need ? above : need;
    }
    side->need = (uint16_t)(side->heap && need < 65535 ? need : 65535); /* rounded down */
}

/* A side before any pixel of a tile; without a heap, no pixel needs a look. */
static Side first_side(const Curve *curve, double *heap, ptrdiff_t k) {
    Side side = {curve, heap, k, 0, INT32_MAX, 0, 0};
    raise_need(&side);
    return side;
}

FORCE_INLINE void use_curve(Side *side, const Curve *curve) {
    if (side->curve == curve) return;
    side->curve = curve;
    raise_need(side);
}

/* Look up the luminances of a pixel that goes from one sum to another. */
static void look_up(Side *side, int32_t from, int32_t to) {
    double change = side->curve->table[to] - side->curve->table[from];
    side->tries++;
    if (change > side->heap[0]) {
        replace_least(side->heap, side->k, change);
        raise_need(side);
    } else if (side->curve->rising) side->from = from, side->to = to;
}

/* The difference of two rounded table values is monotone in each, so that a pixel which starts no
   lower and ends no higher than one looked up in vain changes no more: ties end here. */
FORCE_INLINE int ruled_out(const Side *side, int32_t from, int32_t to) {
    return ((from >= side->from) & (to <= side->to)) | (from == to);
}

/* Codes of scaled sums: three products, each rounded down. */
FORCE_INLINE words cubic_code(const Curve *curve, words x) {
    words y = add_words(upper(x, all_words(curve->cubic[2])), all_words(curve->cubic[1]));
    return upper(add_words(upper(x, y), all_words(curve->cubic[0])), x);
}

static void sums_of_bytes(const uint8_t *rgb, ptrdiff_t count, uint16_t *sums) {
    ptrdiff_t i = 0;
    for (; i + LANES <= count; i += LANES) store_words(sums + i, rgb_sums(rgb + 3 * i));
    for (; i < count; i++) sums[i] = (uint16_t)(rgb[3 * i] + rgb[3 * i + 1] + rgb[3 * i + 2]);
}
static void sums_of_words(const uint16_t *rgb, ptrdiff_t count, int32_t *sums) {
    for (ptrdiff_t i = 0; i < count; i++) sums[i] = rgb[3 * i] + rgb[3 * i + 1] + rgb[3 * i + 2];
}

/* Copies of blocks; for a memcpy of this length gcc takes an instruction that is slow to start. */
static void copy_words(uint16_t *RESTRICT to, const uint16_t *RESTRICT from) {
    for (int i = 0; i < BLOCK; i++) to[i] = from[i];
}
static void copy_ints(int32_t *RESTRICT to, const int32_t *RESTRICT from) {
    for (int i = 0; i < BLOCK; i++) to[i] = from[i];
}

/* Sums of a block of pixels of 16 bits. */
static void take_wide_words(const uint8_t *source, uint16_t *sums) {
    copy_words(sums, (const uint16_t *)source);
}
static void take_wide_ints(const uint8_t *source, int32_t *sums) {
    sums_of_words((const uint16_t *)source, BLOCK, sums);
}

/* What a cubic is of: products with `scale`, a power of two, of which ints lose the last two bits. */
FORCE_INLINE words scaled_words(const Curve *curve, const uint16_t *sums) {
    return product(load_words(sums), all_words(curve->scale));
}
FORCE_INLINE words scaled_ints(const Curve *curve, const int32_t *sums) {
    uint16_t x[LANES];
    for (int i = 0; i < LANES; i++) x[i] = (uint16_t)(sums[i] * curve->scale >> 2);
    return load_words(x);
}

/* Whether any pixels of a block may have changed enough. */
static int differ(const uint16_t *codes, const uint16_t *codes_before, const Side *rises,
                  const Side *falls) {
    words rise = all_words(0), fall = rise;
    for (int i = 0; i < BLOCK; i += LANES) {
        words now = load_words(codes + i), before = load_words(codes_before + i);
        rise = larger_words(rise, excess(now, before));
        fall = larger_words(fall, excess(before, now));
    }
    return (at_least(rise, all_words(rises->need)) | at_least(fall, all_words(falls->need))) != 0;
}

/* Sums and codes of a block of bytes, and what `differ` says; one loop is half as long as three. */
FORCE_INLINE int screen_channels(int rgb, const Curve *curve, const uint8_t *source, uint16_t *sums,
                                 uint16_t *codes, const uint16_t *codes_before, const Side *rises,
                                 const Side *falls) {
    words rise = all_words(0), fall = rise;
    for (int i = 0; i < BLOCK; i += LANES) {
        words s = rgb ? rgb_sums(source + 3 * i) : bytes(source + i), before, now;
        store_words(sums + i, s);
        if (!curve->scale) continue;
        now = cubic_code(curve, product(s, all_words(curve->scale)));
        before = load_words(codes_before + i);
        store_words(codes + i, now);
        rise = larger_words(rise, excess(now, before));
        fall = larger_words(fall, excess(before, now));
    }
    if (curve->scale)
        return (at_least(rise, all_words(rises->need)) | at_least(fall, all_words(falls->need))) !=
               0;
    for (int i = 0; i < BLOCK; i++) codes[i] = curve->codes[sums[i]];
    return differ(codes, codes_before, rises, falls);
}
static int screen_bytes(const Clip *clip, const uint8_t *source, uint16_t *sums, uint16_t *codes,
                        const uint16_t *codes_before, const Side *rises, const Side *falls) {
    if (clip->rgb)
        return screen_channels(1, clip->curves, source, sums, codes, codes_before, rises, falls);
    return screen_channels(0, clip->curves, source, sums, codes, codes_before, rises, falls);
}

/* Those of `lanes` whose pixels are not ruled out already. */
FORCE_INLINE uint32_t open_words(const Side *side, const uint16_t *from, const uint16_t *to,
                                 uint32_t lanes) {
    return lanes & ~(at_least(load_words(from), all_words((uint16_t)side->from)) &
                     at_least(all_words((uint16_t)side->to), load_words(to)));
}
FORCE_INLINE uint32_t open_ints(const Side *side, const int32_t *from, const int32_t *to,
                                uint32_t lanes) {
    (void)side, (void)from, (void)to;
    return lanes;
}

/* Fetch bytes that the hardware does not foresee: this is 2.5 times as fast. */
FORCE_INLINE void prefetch(const uint8_t *from, ptrdiff_t start, ptrdiff_t bytes) {
    if (from)
        for (ptrdiff_t i = 0; i < bytes; i += 64) PREFETCH(from + start + i);
}

#define KIND words
#define TOTAL uint16_t
#include "flash_kernels.h"
#undef TOTAL
#undef KIND
#define KIND ints
#define TOTAL int32_t
#include "flash_kernels.h"
#undef TOTAL
#undef KIND

#endif
