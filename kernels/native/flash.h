/* The flash table: pixels whose luminance changes more than the k-th best are found by two screens.

   The first is for blocks: d sums of channels change most just below the largest sum there is. Then
   every sum has a 16-bit code that follows its luminance, and a difference of codes bounds the
   difference of luminances (flash.py proves the bounds of each table when it makes it). Only pixels
   whose codes differ enough are looked up in the float64 table. */
#ifndef VOXKERN_FLASH_H
#define VOXKERN_FLASH_H

#include <float.h>
#include <stdint.h>
#include <string.h>
#include "simd.h"
#include "split.h"
#include "words.h"

enum {
    BLOCK = 512, /* pixels screened together */
    TILE = 2048, /* pixels that walk through all frames together, from cache to cache */
    MOST_CURVES = 16,
    MANY = 4,   /* blocks in a row that sums did not rule out: they are not asked for the next */
    AGAIN = 16, /* or, of floats, until so many were not */
    MOST_TRIES = TILE / 8, /* pixels of a tile that may be looked up one by one: it costs 4 times
                              what they do in whole blocks */
    /* Of floats, and the bytes of a tile: with twice as many RGB noise takes 1.3 times as long. */
    REAL_TILE = 1536,
    TILE_BYTES = 12288,
    TIES = 64 /* frames that keep a tie, or sides */
};

/* What is known of a block of floats. */
enum { NOTHING, SUMS, LUMINANCES };

/* Luminance and code of every sum. Where `scale` is not 0 the code is a cubic, see `cubic_code`. A
   change above `bound` takes a difference of codes above lines[0] * bound + lines[1], for every line.
   16 bits are too coarse for dark blocks of 16-bit frames: there are curves for several limits, and a
   pair of blocks takes the first that serves both. */
typedef struct {
    const double *table, *lines;
    const uint16_t *codes;
    ptrdiff_t line_count;
    uint16_t scale, cubic[3];
    int32_t limit; /* of the sums that have these codes */
    int32_t last;  /* sum of the table */
    int rising;    /* the table never decreases */
    double slack;  /* see `may_be_large`; infinite where it decreases */
} Curve;

/* Luminance of gray, for real numbers: below * gray up to `knee`, above it scale * y^(2 + fifths/5)
   of y = slope * gray + offset; everywhere below * gray where fifths is 0. `rest` is what the
   exponent is more than that, as it is a double. The others are for the screen, see
   flash_real_kernels.h. */
typedef struct {
    double knee, below, scale, slope, offset, rest, floor, close, cubic[4];
    int fifths, channels;
} Power;

/* Frames of pixels, `size` bytes each. `before` takes the last, unless it is NULL: `kept` bytes of a
   pixel, which are sums of RGB, or else pixels. */
typedef struct {
    const uint8_t *frames;
    ptrdiff_t length, pixels, size, kept;
    int started;   /* `before` has a frame before these */
    int rgb, wide; /* wide: pixels of 16 bits, with several curves */
    const Curve *curves;
    const Power *power; /* of frames of floats or doubles */
    void *before;
} Clip;

/* Changes of one sign in one frame: the k largest, and what rules out others. `need` is the least
   difference of codes of a change above heap[0]; pixels that go from `from` or more to `to` or less
   change too little, as one did that was looked up. */
typedef struct {
    const Curve *curve; /* that `need` is for */
    double *heap;
    ptrdiff_t k;
    uint16_t need, need_of_sums;
    int32_t from, to;
    int tries;
    int busy; /* blocks in a row that neither sums nor codes ruled out */
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

/* Codes of scaled sums: three products, each rounded down. */
FORCE_INLINE words cubic_code(const Curve *curve, words x) {
    words y = add_words(upper(x, all_words(curve->cubic[2])), all_words(curve->cubic[1]));
    return upper(add_words(upper(x, y), all_words(curve->cubic[0])), x);
}

/* Whether a change by at most `most` sums, up to `top`, may be among the largest. It does most just
   below `top`, where the table is steepest, but for `slack`. */
static int may_be_large(const Side *side, int32_t top, int32_t most) {
    const Curve *curve = side->curve;
    if (!side->heap || most == 0) return 0;
    return curve->table[top] - curve->table[most < top ? top - most : 0] + curve->slack >
           side->heap[0];
}

/* The least difference of sums of such a change, below the largest sum. */
static uint16_t need_of_sums(const Side *side) {
    int least = 1, most = side->curve->last + 1; /* equal sums are no change */
    while (least < most) {
        int middle = (least + most) / 2;
        if (may_be_large(side, side->curve->last, middle)) most = middle;
        else least = middle + 1;
    }
    return (uint16_t)least;
}

static void raise_need(Side *side) {
    const Curve *curve = side->curve;
    double need = 0;
    for (ptrdiff_t i = 0; side->heap && i < curve->line_count; i++) {
        double above = side->heap[0] * curve->lines[2 * i] + curve->lines[2 * i + 1] + 1;
        need = above > need ? above : need;
    }
    side->need = (uint16_t)(side->heap && need < 65535 ? need : 65535); /* rounded down */
    side->need_of_sums = 65535;
    if (side->heap && curve->last <= 765) side->need_of_sums = need_of_sums(side); /* of bytes */
}

/* A side before any pixel; without a heap, no pixel needs a look. */
static Side first_side(const Curve *curve, double *heap, ptrdiff_t k) {
    Side side = {curve, heap, k, 0, 0, INT32_MAX, 0, 0, 0};
    raise_need(&side);
    return side;
}

/* The two sides of a pair of frames for its next tile: as they were left, or new. */
static void next_sides(Side *sides, const Curve *curve, double *largest, ptrdiff_t k) {
    if (!sides->curve || sides->heap != largest) {
        sides[0] = first_side(curve, largest, k);
        sides[1] = first_side(curve, largest ? largest + k : NULL, k);
    }
    sides[0].tries = sides[1].tries = 0;
}

/* `bytes` of a block from `source`, or where there are fewer, those that are `there` and zeros. */
FORCE_INLINE const uint8_t *whole_block(const uint8_t *source, ptrdiff_t there, ptrdiff_t bytes,
                                        void *rest) {
    if (there >= bytes) return source;
    memset(rest, 0, bytes);
    return memcpy(rest, source, there);
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

static void sums_of_bytes(const uint8_t *rgb, ptrdiff_t count, uint16_t *sums) {
    ptrdiff_t i = 0;
    for (; i + 2 * LANES <= count; i += 2 * LANES) {
        words s[2];
        two_rgb_sums(rgb + 3 * i, s);
        EACH(j, 2) store_words(sums + i + j * LANES, s[j]);
    }
    for (; i < count; i++) sums[i] = (uint16_t)(rgb[3 * i] + rgb[3 * i + 1] + rgb[3 * i + 2]);
}
static void sums_of_words(const uint16_t *rgb, ptrdiff_t count, int32_t *sums) {
    for (ptrdiff_t i = 0; i < count; i++) sums[i] = rgb[3 * i] + rgb[3 * i + 1] + rgb[3 * i + 2];
}

/* Copies of blocks; for a memcpy of this length gcc takes an instruction that is slow to start. */
static void copy_words(uint16_t *RESTRICT to, const uint16_t *RESTRICT from) {
    for (int i = 0; i < BLOCK; i++) to[i] = from[i];
}
static void widen(uint16_t *RESTRICT to, const uint8_t *RESTRICT from) {
    for (int i = 0; i < BLOCK; i++) to[i] = from[i];
}
static void copy_octets(uint8_t *RESTRICT to, const uint8_t *RESTRICT from) {
    for (int i = 0; i < BLOCK; i++) to[i] = from[i];
}
static void copy_ints(int32_t *RESTRICT to, const int32_t *RESTRICT from) {
    for (int i = 0; i < BLOCK; i++) to[i] = from[i];
}

/* Sums of a block of pixels that are gray, or of sums that were kept. */
static void take_words(const Clip *clip, const void *from, uint16_t *sums) {
    if (clip->kept == 1) widen(sums, from);
    else copy_words(sums, from);
}
static void take_ints(const Clip *clip, const void *from, int32_t *sums) {
    (void)clip;
    copy_ints(sums, from);
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

/* Sums of a block of RGB bytes, and whether their changes may be among the largest. */
static int screen_rgb(const uint8_t *source, const uint16_t *sums_before, uint16_t *sums,
                      const Side *rises, const Side *falls) {
    words rise = all_words(0), fall = rise, top = rise;
    for (int i = 0; i < BLOCK; i += 2 * LANES) {
        words s[2];
        two_rgb_sums(source + 3 * i, s);
        EACH(j, 2) {
            words before = load_words(sums_before + i + j * LANES);
            store_words(sums + i + j * LANES, s[j]);
            rise = most_excess(rise, s[j], before);
            fall = most_excess(fall, before, s[j]);
        }
    }
    if (!(at_least(rise, all_words(rises->need_of_sums)) |
          at_least(fall, all_words(falls->need_of_sums))))
        return 0;
    /* Nor is it asked where the slack alone is enough, as for a square root. */
    if (rises->busy >= MANY || rises->curve->slack > rises->heap[0]) return 1;
    for (int i = 0; i < BLOCK; i += LANES)
        top = larger_words(top, larger_words(load_words(sums + i), load_words(sums_before + i)));
    return may_be_large(rises, most_word(top), most_word(rise)) ||
           may_be_large(falls, most_word(top), most_word(fall));
}

/* Whether changes of a block of gray bytes may be among the largest. */
static int screen_bytes(const uint8_t *source, const uint8_t *source_before, const Side *rises,
                        const Side *falls) {
    octets rise = all_octets(0), fall = rise, top = rise;
    for (int i = 0; i < BLOCK; i += OCTETS) {
        octets now = load_octets(source + i), before = load_octets(source_before + i);
        rise = larger_octets(rise, excess_octets(now, before));
        fall = larger_octets(fall, excess_octets(before, now));
    }
    if (!any_reaches(rise, all_octets((uint8_t)smaller(rises->need_of_sums, 255))) &&
        !any_reaches(fall, all_octets((uint8_t)smaller(falls->need_of_sums, 255))))
        return 0;
    for (int i = 0; i < BLOCK; i += OCTETS)
        top = larger_octets(top,
                            larger_octets(load_octets(source + i), load_octets(source_before + i)));
    return may_be_large(rises, most_octet(top), most_octet(rise)) ||
           may_be_large(falls, most_octet(top), most_octet(fall));
}

/* The same of 16 bits. */
static int screen_wide(const uint16_t *source, const uint16_t *source_before, const Side *rises,
                       const Side *falls) {
    words rise = all_words(0), fall = rise, top = rise;
    for (int i = 0; i < BLOCK; i += LANES) {
        words now = load_words(source + i), before = load_words(source_before + i);
        rise = larger_words(rise, excess(now, before));
        fall = larger_words(fall, excess(before, now));
        top = larger_words(top, larger_words(now, before));
    }
    return may_be_large(rises, most_word(top), most_word(rise)) ||
           may_be_large(falls, most_word(top), most_word(fall));
}

/* Whether changes of a block may be among the largest; of RGB its sums are made too, and `before` are
   sums. After MANY blocks in a row it is not asked: ties take 0.85 of the time. */
static int screen_words(const Clip *clip, const uint8_t *source, const void *before, uint16_t *sums,
                        const Side *rises, const Side *falls) {
    if (clip->rgb) return screen_rgb(source, before, sums, rises, falls);
    if (rises->busy >= MANY) return 1;
    if (clip->wide) return screen_wide((const uint16_t *)source, before, rises, falls);
    return screen_bytes(source, before, rises, falls);
}
static int screen_ints(const Clip *clip, const uint8_t *source, const void *before, int32_t *sums,
                       const Side *rises, const Side *falls) {
    const int32_t *sums_before = before;
    int32_t rise = 0, fall = 0, top = 0;
    (void)clip;
    sums_of_words((const uint16_t *)source, BLOCK, sums);
    if (rises->busy >= MANY) return 1;
    for (int i = 0; i < BLOCK; i++) {
        int32_t from = sums_before[i], to = sums[i];
        rise = to - from > rise ? to - from : rise;
        fall = from - to > fall ? from - to : fall;
        top = from > top ? from : top;
        top = to > top ? to : top;
    }
    return may_be_large(rises, top, rise) || may_be_large(falls, top, fall);
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

/* Offer the changes of `count` pixels, where one of them belongs to the k largest; if none does, the
   result is the place of one that ties with the k-th, or else -1. */
static ptrdiff_t offer_some(const double *from, const double *to, ptrdiff_t count, double *largest,
                            ptrdiff_t k) {
    vec_double rise = all_double(-INFINITY), fall = rise;
    record_double whole = whole_double();
    double excess;
    ptrdiff_t i = 0;
    for (; i + lanes_double <= count; i += lanes_double) {
        vec_double a = load_double(from + i), b = load_double(to + i);
        vec_double up = sub_double(b, a), down = sub_double(a, b);
        rise = max_double(rise, up);
        fall = max_double(fall, down);
        whole = whole_and_double(whole, up, down);
    }
    rise = max_double(sub_double(rise, all_double(largest[0])),
                      sub_double(fall, all_double(largest[k])));
    excess = most_double(spoilt_double(whole, rise));
    if (excess == 0)
        for (ptrdiff_t j = 0; j < i; j++)
            if (to[j] != from[j] &&
                (to[j] - from[j] == largest[0] || from[j] - to[j] == largest[k]))
                return j;
    if (!(excess <= 0)) i = 0;
    for (; i < count; i++) offer(to[i] - from[i], largest, largest + k, k);
    return -1;
}
static ptrdiff_t offer_block(const double *from, const double *to, ptrdiff_t count, double *largest,
                             ptrdiff_t k) {
    ptrdiff_t tie = -1;
    for (ptrdiff_t i = 0; i < count; i += 64) {
        ptrdiff_t found = offer_some(from + i, to + i, smaller(64, count - i), largest, k);
        if (found >= 0) tie = i + found;
    }
    return tie;
}

/* Sums of a pixel that was looked at in vain, and its change; blocks in a row that a first screen did
   not rule out. */
typedef struct {
    double from, to, change;
    int busy;
} Tie;

/* Whether all pixels of a block are such ties or do not change. */
static int all_tie(const double *from, const double *to, Tie tie) {
    int others = 0;
    for (int at = 0; at < BLOCK && !others; at += 64)
        for (int i = at; i < at + 64; i++)
            others |= (from[i] != to[i]) & ((from[i] != tie.from) | (to[i] != tie.to));
    return !others;
}

/* What the logarithm of y^(-1/5) is of that of y: the sum is of bias and error, see SIMD(logs). */
static const float guess_float = (float)((1.2 * 127 - 0.062) * 8388608);
static const double guess_double = (1.2 * 1023 - 0.062) * 1099511627776;

/* What keys are of luminances: so much that keys overflow first, and that a straight piece near 0
   does not underflow. */
static double unit_of_keys(const Power *power) {
    if (power->fifths == 0) return power->channels;
    return power->fifths == 1 ? 2 : 2 * power->channels / power->below;
}

/* Vectors that go through a chain of products side by side: one at a time waits for its products,
   1.4 to 2 times as long. */
enum { ABREAST = SIMD_REGISTERS / 8 };

/* Luminance of gray in float64, to some 3 units in the last place: two steps of third order take
   z to y^(-1/5) within 4e-10, and one of second order mends the rounding of y z^4 = y^(1/5). */
FORCE_INLINE void luminances_of_grays(const Power *power, int fifths, vec_double *gray) {
    const vec_double slope = all_double(power->slope), offset = all_double(power->offset);
    const vec_double fifth = all_double(0.2), scale = all_double(power->scale);
    /* y^rest is 1 + rest ln(y). */
    const double rest = power->rest * 0.6931471805599453;
    const vec_double rest_log = all_double(rest / 1099511627776),
                     rest_one = all_double(-1023 * rest);
    vec_double y[ABREAST], logs[ABREAST], z[ABREAST], fourth[ABREAST], root[ABREAST], h[ABREAST];
    EACH(i, ABREAST) y[i] = add_double(mul_double(slope, gray[i]), offset);
    EACH(i, ABREAST) logs[i] = logs_double(y[i]);
    EACH(i, ABREAST) z[i] = fma_double(logs[i], all_double(-0.2), all_double(guess_double));
    EACH(i, ABREAST) z[i] = of_logs_double(z[i]);
    EACH(step, 2) {
        EACH(i, ABREAST) fourth[i] = mul_double(z[i], z[i]);
        EACH(i, ABREAST) fourth[i] = mul_double(fourth[i], fourth[i]);
        EACH(i, ABREAST) h[i] = mul_double(mul_double(y[i], fourth[i]), z[i]);
        EACH(i, ABREAST) h[i] = sub_double(all_double(1), h[i]);
        EACH(i, ABREAST) fourth[i] = fma_double(h[i], all_double(0.12), fifth);
        EACH(i, ABREAST) z[i] = fma_double(mul_double(z[i], h[i]), fourth[i], z[i]);
    }
    EACH(i, ABREAST) fourth[i] = mul_double(z[i], z[i]);
    EACH(i, ABREAST) fourth[i] = mul_double(fourth[i], fourth[i]);
    EACH(i, ABREAST) root[i] = mul_double(y[i], fourth[i]);
    EACH(i, ABREAST) h[i] = mul_double(root[i], root[i]);
    EACH(i, ABREAST) h[i] = mul_double(mul_double(h[i], h[i]), root[i]);
    EACH(i, ABREAST) h[i] = mul_double(sub_double(y[i], h[i]), fourth[i]);
    EACH(i, ABREAST) root[i] = fma_double(h[i], fifth, root[i]);
    if (fifths == 2)
        EACH(i, ABREAST) root[i] = mul_double(root[i], root[i]);
    EACH(i, ABREAST) h[i] = fma_double(logs[i], rest_log, rest_one);
    EACH(i, ABREAST) root[i] = fma_double(root[i], h[i], root[i]);
    EACH(i, ABREAST) {
        vec_double value = mul_double(scale, mul_double(mul_double(y[i], y[i]), root[i]));
        vec_double below = mul_double(gray[i], all_double(power->below));
        /* As of pow: NaN of a negative number, infinite of what is. */
        value = where_less_double(y[i], all_double(INFINITY), value, y[i]);
        value = where_less_double(y[i], all_double(0), all_double(NAN), value);
        gray[i] = where_less_double(all_double(power->knee), gray[i], value, below);
    }
}

static void luminances_of_sums(const Power *shared, const double *sums, double *luminances) {
    const Power power = *shared;
    const vec_double channels = all_double(power.channels);
    for (int at = 0; at < BLOCK; at += ABREAST * lanes_double) {
        vec_double gray[ABREAST];
        EACH(i, ABREAST) gray[i] = load_double(sums + at + i * lanes_double);
        if (power.channels > 1)
            EACH(i, ABREAST) gray[i] = div_double(gray[i], channels);
        if (power.fifths == 1) luminances_of_grays(&power, 1, gray);
        if (power.fifths == 2) luminances_of_grays(&power, 2, gray);
        EACH(i, ABREAST) store_double(luminances + at + i * lanes_double, gray[i]);
    }
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
#define REAL float
#include "flash_real_kernels.h"
#undef REAL
#define REAL double
#include "flash_real_kernels.h"
#undef REAL

#endif
