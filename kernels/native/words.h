/* Vectors of unsigned 16-bit words and bits, for flash.h and pse.h. */
#ifndef VOXKERN_WORDS_H
#define VOXKERN_WORDS_H

#include <stdint.h>
#include "simd.h"
#if defined(_MSC_VER)
#include <intrin.h>
#endif

/* Vectors of unsigned 16-bit words: `excess` is a - b or 0, `product` and `upper` are the two halves
   of a * b. at_least has a bit for every lane in which a >= b. rgb_sums reads 3 * lanes bytes,
   split_rgb too and parts the channels.
   And vectors of bytes: `apart` is how far a and b are from each other, `by_height` the entry of a
   table of 16, which never rises, for the upper half of each byte, or its last; `any_reaches` is
   whether a >= b in a lane. */
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
FORCE_INLINE words smaller_words(words a, words b) { return _mm512_min_epu16(a, b); }
FORCE_INLINE uint32_t at_least(words a, words b) { return _mm512_cmpge_epu16_mask(a, b); }
typedef __m512i octets;
enum { OCTETS = 64 };
FORCE_INLINE octets load_octets(const uint8_t *p) { return _mm512_loadu_si512(p); }
FORCE_INLINE void store_octets(uint8_t *p, octets v) { _mm512_storeu_si512(p, v); }
FORCE_INLINE octets all_octets(uint8_t v) { return _mm512_set1_epi8((char)v); }
FORCE_INLINE octets larger_octets(octets a, octets b) { return _mm512_max_epu8(a, b); }
FORCE_INLINE octets excess_octets(octets a, octets b) { return _mm512_subs_epu8(a, b); }
FORCE_INLINE octets apart(octets a, octets b) {
    return _mm512_or_si512(_mm512_subs_epu8(a, b), _mm512_subs_epu8(b, a));
}
FORCE_INLINE octets by_height(const uint8_t *table, octets v) {
    const __m512i t = _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)table));
    return _mm512_shuffle_epi8(t, _mm512_and_si512(_mm512_srli_epi16(v, 4), all_octets(15)));
}
FORCE_INLINE int any_reaches(octets a, octets b) { return _mm512_cmpge_epu8_mask(a, b) != 0; }
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
FORCE_INLINE void split_rgb(const uint8_t *rgb, words *out) {
    const __m512i triples = _mm512_setr_epi32(0, 1, 2, 0, 3, 4, 5, 0, 6, 7, 8, 0, 9, 10, 11, 0);
    const __m512i spread =
        _mm512_broadcast_i32x4(_mm_setr_epi8(0, 1, 2, -1, 3, 4, 5, -1, 6, 7, 8, -1, 9, 10, 11, -1));
    const __m512i in_order = _mm512_setr_epi64(0, 2, 4, 6, 1, 3, 5, 7);
    const __m512i low = _mm512_set1_epi32(255);
    __m512i x[2];
    EACH(h, 2) {
        x[h] = _mm512_maskz_loadu_epi32(0xfff, rgb + 48 * h);
        x[h] = _mm512_shuffle_epi8(_mm512_permutexvar_epi32(triples, x[h]), spread);
    }
    EACH(c, 3) {
        const __m512i a = _mm512_and_si512(_mm512_srli_epi32(x[0], 8 * c), low);
        const __m512i b = _mm512_and_si512(_mm512_srli_epi32(x[1], 8 * c), low);
        out[c] = _mm512_permutexvar_epi64(in_order, _mm512_packus_epi32(a, b));
    }
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
FORCE_INLINE words smaller_words(words a, words b) { return _mm256_min_epu16(a, b); }
FORCE_INLINE uint32_t at_least(words a, words b) {
    __m256i yes = _mm256_cmpeq_epi16(_mm256_max_epu16(a, b), a);
    return (uint32_t)_mm_movemask_epi8(
        _mm_packs_epi16(_mm256_castsi256_si128(yes), _mm256_extracti128_si256(yes, 1)));
}
typedef __m256i octets;
enum { OCTETS = 32 };
FORCE_INLINE octets load_octets(const uint8_t *p) { return _mm256_loadu_si256((const __m256i *)p); }
FORCE_INLINE void store_octets(uint8_t *p, octets v) { _mm256_storeu_si256((__m256i *)p, v); }
FORCE_INLINE octets all_octets(uint8_t v) { return _mm256_set1_epi8((char)v); }
FORCE_INLINE octets larger_octets(octets a, octets b) { return _mm256_max_epu8(a, b); }
FORCE_INLINE octets excess_octets(octets a, octets b) { return _mm256_subs_epu8(a, b); }
FORCE_INLINE octets apart(octets a, octets b) {
    return _mm256_or_si256(_mm256_subs_epu8(a, b), _mm256_subs_epu8(b, a));
}
FORCE_INLINE octets by_height(const uint8_t *table, octets v) {
    const __m256i t = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)table));
    return _mm256_shuffle_epi8(t, _mm256_and_si256(_mm256_srli_epi16(v, 4), all_octets(15)));
}
FORCE_INLINE int any_reaches(octets a, octets b) {
    return _mm256_movemask_epi8(_mm256_cmpeq_epi8(larger_octets(a, b), a)) != 0;
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
FORCE_INLINE void split_rgb(const uint8_t *rgb, words *out) {
    const __m256i spread = _mm256_setr_epi8(0, 1, 2, -1, 3, 4, 5, -1, 6, 7, 8, -1, 9, 10, 11, -1, 4,
                                            5, 6, -1, 7, 8, 9, -1, 10, 11, 12, -1, 13, 14, 15, -1);
    const __m256i byte = _mm256_set1_epi32(255);
    __m256i x[2];
    EACH(h, 2) {
        __m128i low = _mm_loadu_si128((const __m128i *)(rgb + 24 * h));
        __m128i high = _mm_loadu_si128((const __m128i *)(rgb + 24 * h + 8));
        x[h] = _mm256_inserti128_si256(_mm256_castsi128_si256(low), high, 1);
        x[h] = _mm256_shuffle_epi8(x[h], spread);
    }
    EACH(c, 3) {
        const __m256i a = _mm256_and_si256(_mm256_srli_epi32(x[0], 8 * c), byte);
        const __m256i b = _mm256_and_si256(_mm256_srli_epi32(x[1], 8 * c), byte);
        out[c] = _mm256_permute4x64_epi64(_mm256_packus_epi32(a, b), 0xd8);
    }
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
FORCE_INLINE words smaller_words(words a, words b) { return vminq_u16(a, b); }
FORCE_INLINE uint32_t at_least(words a, words b) {
    static const uint16_t bits[8] = {1, 2, 4, 8, 16, 32, 64, 128};
    return vaddvq_u16(vandq_u16(vcgeq_u16(a, b), vld1q_u16(bits)));
}
typedef uint8x16_t octets;
enum { OCTETS = 16 };
FORCE_INLINE octets load_octets(const uint8_t *p) { return vld1q_u8(p); }
FORCE_INLINE void store_octets(uint8_t *p, octets v) { vst1q_u8(p, v); }
FORCE_INLINE octets all_octets(uint8_t v) { return vdupq_n_u8(v); }
FORCE_INLINE octets larger_octets(octets a, octets b) { return vmaxq_u8(a, b); }
FORCE_INLINE octets excess_octets(octets a, octets b) { return vqsubq_u8(a, b); }
FORCE_INLINE octets apart(octets a, octets b) { return vabdq_u8(a, b); }
FORCE_INLINE octets by_height(const uint8_t *table, octets v) {
    return vqtbl1q_u8(vld1q_u8(table), vshrq_n_u8(v, 4));
}
FORCE_INLINE int any_reaches(octets a, octets b) { return vmaxvq_u8(vcgeq_u8(a, b)) != 0; }
FORCE_INLINE words rgb_sums(const uint8_t *rgb) {
    uint8x8x3_t x = vld3_u8(rgb);
    return vaddw_u8(vaddl_u8(x.val[0], x.val[1]), x.val[2]);
}
FORCE_INLINE void split_rgb(const uint8_t *rgb, words *out) {
    uint8x8x3_t x = vld3_u8(rgb);
    EACH(c, 3) out[c] = vmovl_u8(x.val[c]);
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
FORCE_INLINE words smaller_words(words a, words b) { return _mm_sub_epi16(a, excess(a, b)); }
FORCE_INLINE uint32_t at_least(words a, words b) {
    const __m128i zero = _mm_setzero_si128();
    return (uint32_t)_mm_movemask_epi8(_mm_packs_epi16(_mm_cmpeq_epi16(excess(b, a), zero), zero));
}
typedef __m128i octets;
enum { OCTETS = 16 };
FORCE_INLINE octets load_octets(const uint8_t *p) { return _mm_loadu_si128((const __m128i *)p); }
FORCE_INLINE void store_octets(uint8_t *p, octets v) { _mm_storeu_si128((__m128i *)p, v); }
FORCE_INLINE octets all_octets(uint8_t v) { return _mm_set1_epi8((char)v); }
FORCE_INLINE octets larger_octets(octets a, octets b) { return _mm_max_epu8(a, b); }
FORCE_INLINE octets excess_octets(octets a, octets b) { return _mm_subs_epu8(a, b); }
FORCE_INLINE octets apart(octets a, octets b) {
    return _mm_or_si128(_mm_subs_epu8(a, b), _mm_subs_epu8(b, a));
}
FORCE_INLINE octets by_height(const uint8_t *table, octets v) {
    (void)v;
    return all_octets(table[15]);
}
FORCE_INLINE int any_reaches(octets a, octets b) {
    return _mm_movemask_epi8(_mm_cmpeq_epi8(larger_octets(a, b), a)) != 0;
}
/* By way of memory. */
FORCE_INLINE void split_rgb(const uint8_t *p, words *out) {
    EACH(c, 3)
        out[c] = _mm_setr_epi16(p[c], p[c + 3], p[c + 6], p[c + 9], p[c + 12], p[c + 15], p[c + 18],
                                p[c + 21]);
}
/* There is no shuffle of bytes. 48 bytes are four times dealt to two hands each: a round of
   interleaving halves brings bytes that were 3 * 2^n apart beside each other. */
#define TWO_AT_ONCE
#define SIGNED_WORDS /* of which there is a maximum */
FORCE_INLINE words most_excess(words most, words a, words b) {
    return _mm_max_epi16(most, _mm_sub_epi16(a, b));
}
FORCE_INLINE __m128i upper_half(__m128i v) { return _mm_unpackhi_epi64(v, v); }
FORCE_INLINE void two_rgb_sums(const uint8_t *p, words *sums) {
    const __m128i zero = _mm_setzero_si128();
    __m128i v[3], low, high;
    EACH(i, 3) v[i] = _mm_loadu_si128((const __m128i *)(p + 16 * i));
    EACH(round, 4) {
        const __m128i a = v[0], b = v[1], c = v[2];
        v[0] = _mm_unpacklo_epi8(a, upper_half(b));
        v[1] = _mm_unpacklo_epi8(upper_half(a), c);
        v[2] = _mm_unpacklo_epi8(b, upper_half(c));
    }
    low = _mm_add_epi16(_mm_unpacklo_epi8(v[0], zero), _mm_unpacklo_epi8(v[1], zero));
    high = _mm_add_epi16(_mm_unpackhi_epi8(v[0], zero), _mm_unpackhi_epi8(v[1], zero));
    sums[0] = _mm_add_epi16(low, _mm_unpacklo_epi8(v[2], zero));
    sums[1] = _mm_add_epi16(high, _mm_unpackhi_epi8(v[2], zero));
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
FORCE_INLINE words smaller_words(words a, words b) { return a < b ? a : b; }
FORCE_INLINE uint32_t at_least(words a, words b) { return a >= b; }
typedef uint8_t octets;
enum { OCTETS = 1 };
FORCE_INLINE octets load_octets(const uint8_t *p) { return *p; }
FORCE_INLINE void store_octets(uint8_t *p, octets v) { *p = v; }
FORCE_INLINE octets all_octets(uint8_t v) { return v; }
FORCE_INLINE octets larger_octets(octets a, octets b) { return a > b ? a : b; }
FORCE_INLINE octets excess_octets(octets a, octets b) { return (octets)(a > b ? a - b : 0); }
FORCE_INLINE octets apart(octets a, octets b) { return (octets)(a > b ? a - b : b - a); }
FORCE_INLINE octets by_height(const uint8_t *table, octets v) { return table[v >> 4]; }
FORCE_INLINE int any_reaches(octets a, octets b) { return a >= b; }
FORCE_INLINE words rgb_sums(const uint8_t *rgb) { return (words)(rgb[0] + rgb[1] + rgb[2]); }
FORCE_INLINE void split_rgb(const uint8_t *rgb, words *out) {
    EACH(c, 3) out[c] = rgb[c];
}
#endif

#if !defined(TWO_AT_ONCE)
FORCE_INLINE void two_rgb_sums(const uint8_t *rgb, words *sums) {
    EACH(i, 2) sums[i] = rgb_sums(rgb + 3 * LANES * i);
}
#endif

/* The larger of `most` and a - b, of words below 2^15. */
#if !defined(SIGNED_WORDS)
FORCE_INLINE words most_excess(words most, words a, words b) {
    return larger_words(most, excess(a, b));
}
#endif

/* The largest of a vector. */
FORCE_INLINE int most_word(words v) {
    uint16_t lanes[LANES], most = 0;
    store_words(lanes, v);
    EACH(i, LANES) most = lanes[i] > most ? lanes[i] : most;
    return most;
}
FORCE_INLINE int most_octet(octets v) {
    uint8_t lanes[OCTETS], most = 0;
    store_octets(lanes, v);
    EACH(i, OCTETS) most = lanes[i] > most ? lanes[i] : most;
    return most;
}

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
#endif
