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
#if defined(_MSC_VER)
#include <intrin.h>
#endif

/* Vectors of unsigned 16-bit words: `excess` is a - b or 0, `product` and `upper` are the two halves
   of a * b. at_least has a bit for every lane in which a >= b. rgb_sums and bytes read 3 * lanes and
   lanes bytes. */
#if defined(__AVX512BW__)
typedef __m512i words;
enum { LANES = 32 };
FORCE_INLINE words load_words(const uint16_t *p) { return _mm512_loadu_si512(p); }
FORCE_INLINE void store_words(uint16_t *p, words v) { _mm512_storeu_si512(p, v); }
FORCE_INLINE words all_words(uint16_t v) { return _mm512_set1_epi16((short)v); }
FORCE_INLINE words add_words(words a, words b) { return _mm512_add_epi16(a, b); }
FORCE_INLINE words product(words a, words b) { return _mm512_mullo_epi16(a, b); }
FORCE_INLINE words upper(words a, words b) { return _mm512_mulhi_epu16(a, b); }
FORCE_INLINE words excess(words a, words b) { return _mm512_subs_epu16(a, b); }
FORCE_INLINE words larger_words(words a, words b) { return _mm512_max_epu16(a, b); }
FORCE_INLINE uint32_t at_least(words a, words b) { return _mm512_cmpge_epu16_mask(a, b); }
FORCE_INLINE words bytes(const uint8_t *p) {
    return _mm512_cvtepu8_epi16(_mm256_loadu_si256((const __m256i *)p));
}
/* Pixels are spread to four bytes (r, g, b, 0), whose sum is two multiply-adds with ones. */
FORCE_INLINE words rgb_sums(const uint8_t *rgb) {
    const __m512i triples = _mm512_setr_epi32(0, 1, 2, 0, 3, 4, 5, 0, 6, 7, 8, 0, 9, 10, 11, 0);
    const __m512i spread =
        _mm512_broadcast_i32x4(_mm_setr_epi8(0, 1, 2, -1, 3, 4, 5, -1, 6, 7, 8, -1, 9, 10, 11, -1));
    const __m512i in_order = _mm512_setr_epi64(0, 2, 4, 6, 1, 3, 5, 7);
    __m512i half[2];
    EACH(h, 2) {
        __m512i x = _mm512_maskz_loadu_epi32(0xfff, rgb + 48 * h);
        x = _mm512_shuffle_epi8(_mm512_permutexvar_epi32(triples, x), spread);
        half[h] =
            _mm512_madd_epi16(_mm512_maddubs_epi16(x, _mm512_set1_epi8(1)), _mm512_set1_epi16(1));
    }
    return _mm512_permutexvar_epi64(in_order, _mm512_packs_epi32(half[0], half[1]));
}

#elif defined(__AVX2__)
typedef __m256i words;
enum { LANES = 16 };
FORCE_INLINE words load_words(const uint16_t *p) { return _mm256_loadu_si256((const __m256i *)p); }
FORCE_INLINE void store_words(uint16_t *p, words v) { _mm256_storeu_si256((__m256i *)p, v); }
FORCE_INLINE words all_words(uint16_t v) { return _mm256_set1_epi16((short)v); }
FORCE_INLINE words add_words(words a, words b) { return _mm256_add_epi16(a, b); }
FORCE_INLINE words product(words a, words b) { return _mm256_mullo_epi16(a, b); }
FORCE_INLINE words upper(words a, words b) { return _mm256_mulhi_epu16(a, b); }
FORCE_INLINE words excess(words a, words b) { return _mm256_subs_epu16(a, b); }
FORCE_INLINE words larger_words(words a, words b) { return _mm256_max_epu16(a, b); }
FORCE_INLINE uint32_t at_least(words a, words b) {
    __m256i yes = _mm256_cmpeq_epi16(_mm256_max_epu16(a, b), a);
    return (uint32_t)_mm_movemask_epi8(
        _mm_packs_epi16(_mm256_castsi256_si128(yes), _mm256_extracti128_si256(yes, 1)));
}
FORCE_INLINE words bytes(const uint8_t *p) {
    return _mm256_cvtepu8_epi16(_mm_loadu_si128((const __m128i *)p));
}
/* As above; the upper lane is loaded 4 bytes early, so that nothing past its pixels is read. */
FORCE_INLINE words rgb_sums(const uint8_t *rgb) {
    const __m256i spread = _mm256_setr_epi8(0, 1, 2, -1, 3, 4, 5, -1, 6, 7, 8, -1, 9, 10, 11, -1, 4,
                                            5, 6, -1, 7, 8, 9, -1, 10, 11, 12, -1, 13, 14, 15, -1);
    __m256i half[2];
    EACH(h, 2) {
        __m128i low = _mm_loadu_si128((const __m128i *)(rgb + 24 * h));
        __m128i high = _mm_loadu_si128((const __m128i *)(rgb + 24 * h + 8));
        __m256i x = _mm256_inserti128_si256(_mm256_castsi128_si256(low), high, 1);
        x = _mm256_maddubs_epi16(_mm256_shuffle_epi8(x, spread), _mm256_set1_epi8(1));
        half[h] = _mm256_madd_epi16(x, _mm256_set1_epi16(1));
    }
    return _mm256_permute4x64_epi64(_mm256_packs_epi32(half[0], half[1]), 0xd8);
}

#elif defined(__ARM_NEON) && defined(__aarch64__)
typedef uint16x8_t words;
enum { LANES = 8 };
FORCE_INLINE words load_words(const uint16_t *p) { return vld1q_u16(p); }
FORCE_INLINE void store_words(uint16_t *p, words v) { vst1q_u16(p, v); }
FORCE_INLINE words all_words(uint16_t v) { return vdupq_n_u16(v); }
FORCE_INLINE words add_words(words a, words b) { return vaddq_u16(a, b); }
FORCE_INLINE words product(words a, words b) { return vmulq_u16(a, b); }
FORCE_INLINE words upper(words a, words b) {
    uint32x4_t low = vmull_u16(vget_low_u16(a), vget_low_u16(b)), high = vmull_high_u16(a, b);
    return vuzp2q_u16(vreinterpretq_u16_u32(low), vreinterpretq_u16_u32(high));
}
FORCE_INLINE words excess(words a, words b) { return vqsubq_u16(a, b); }
FORCE_INLINE words larger_words(words a, words b) { return vmaxq_u16(a, b); }
FORCE_INLINE uint32_t at_least(words a, words b) {
    static const uint16_t bits[8] = {1, 2, 4, 8, 16, 32, 64, 128};
    return vaddvq_u16(vandq_u16(vcgeq_u16(a, b), vld1q_u16(bits)));
}
FORCE_INLINE words bytes(const uint8_t *p) { return vmovl_u8(vld1_u8(p)); }
FORCE_INLINE words rgb_sums(const uint8_t *rgb) {
    uint8x8x3_t x = vld3_u8(rgb);
    return vaddw_u8(vaddl_u8(x.val[0], x.val[1]), x.val[2]);
}

#elif defined(__SSE2__) || defined(_M_X64)
typedef __m128i words;
enum { LANES = 8 };
FORCE_INLINE words load_words(const uint16_t *p) { return _mm_loadu_si128((const __m128i *)p); }
FORCE_INLINE void store_words(uint16_t *p, words v) { _mm_storeu_si128((__m128i *)p, v); }
FORCE_INLINE words all_words(uint16_t v) { return _mm_set1_epi16((short)v); }
FORCE_INLINE words add_words(words a, words b) { return _mm_add_epi16(a, b); }
FORCE_INLINE words product(words a, words b) { return _mm_mullo_epi16(a, b); }
FORCE_INLINE words upper(words a, words b) { return _mm_mulhi_epu16(a, b); }
FORCE_INLINE words excess(words a, words b) { return _mm_subs_epu16(a, b); }
FORCE_INLINE words larger_words(words a, words b) { return _mm_add_epi16(excess(a, b), b); }
FORCE_INLINE uint32_t at_least(words a, words b) {
    const __m128i zero = _mm_setzero_si128();
    return (uint32_t)_mm_movemask_epi8(_mm_packs_epi16(_mm_cmpeq_epi16(excess(b, a), zero), zero));
}
FORCE_INLINE words bytes(const uint8_t *p) {
    return _mm_unpacklo_epi8(_mm_loadl_epi64((const __m128i *)p), _mm_setzero_si128());
}
/* There is no shuffle of bytes; by way of memory this takes four times as long. */
FORCE_INLINE short rgb_sum(const uint8_t *rgb) { return (short)(rgb[0] + rgb[1] + rgb[2]); }
FORCE_INLINE words rgb_sums(const uint8_t *p) {
    return _mm_setr_epi16(rgb_sum(p), rgb_sum(p + 3), rgb_sum(p + 6), rgb_sum(p + 9),
                          rgb_sum(p + 12), rgb_sum(p + 15), rgb_sum(p + 18), rgb_sum(p + 21));
}

#else
typedef uint16_t words;
enum { LANES = 1 };
FORCE_INLINE words load_words(const uint16_t *p) { return *p; }
FORCE_INLINE void store_words(uint16_t *p, words v) { *p = v; }
FORCE_INLINE words all_words(uint16_t v) { return v; }
FORCE_INLINE words add_words(words a, words b) { return (words)(a + b); }
FORCE_INLINE words product(words a, words b) { return (words)((uint32_t)a * b); }
FORCE_INLINE words upper(words a, words b) { return (words)((uint32_t)a * b >> 16); }
FORCE_INLINE words excess(words a, words b) { return (words)(a > b ? a - b : 0); }
FORCE_INLINE words larger_words(words a, words b) { return a > b ? a : b; }
FORCE_INLINE uint32_t at_least(words a, words b) { return a >= b; }
FORCE_INLINE words bytes(const uint8_t *p) { return *p; }
FORCE_INLINE words rgb_sums(const uint8_t *rgb) { return (words)(rgb[0] + rgb[1] + rgb[2]); }
#endif

/* Place of the lowest bit that is set. */
FORCE_INLINE int lowest_bit(uint32_t bits) {
#if defined(_MSC_VER)
    unsigned long place;
    _BitScanForward(&place, bits);
    return (int)place;
#else
    return __builtin_ctz(bits);
#endif
}

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
