/* The two loops of the flash table that must be vector code: sums of channels, and the ranges by
   which a block of pixels is screened. */
#ifndef VOXKERN_FLASH_H
#define VOXKERN_FLASH_H

#include <stdint.h>
#include "simd.h"

/* sums[i] = r + g + b of pixel i. gcc's own code for bytes three apart takes twice as long.
   Pixels are spread to four bytes (r, g, b, 0), whose sum is two multiply-adds with ones. */
static inline void sum_rgb(const uint8_t *restrict rgb, int16_t *restrict sums, ptrdiff_t count) {
    ptrdiff_t i = 0;
#if defined(__AVX512BW__)
    const __m512i triples = _mm512_setr_epi32(0, 1, 2, 0, 3, 4, 5, 0, 6, 7, 8, 0, 9, 10, 11, 0);
    const __m512i spread =
        _mm512_broadcast_i32x4(_mm_setr_epi8(0, 1, 2, -1, 3, 4, 5, -1, 6, 7, 8, -1, 9, 10, 11, -1));
    const __m512i in_order = _mm512_setr_epi64(0, 2, 4, 6, 1, 3, 5, 7);
    for (; i + 32 <= count; i += 32) {
        __m512i half[2];
        for (int h = 0; h < 2; h++) {
            __m512i x = _mm512_maskz_loadu_epi32(0xfff, rgb + 3 * i + 48 * h);
            x = _mm512_shuffle_epi8(_mm512_permutexvar_epi32(triples, x), spread);
            x = _mm512_maddubs_epi16(x, _mm512_set1_epi8(1));
            half[h] = _mm512_madd_epi16(x, _mm512_set1_epi16(1));
        }
        _mm512_storeu_si512(
            sums + i, _mm512_permutexvar_epi64(in_order, _mm512_packs_epi32(half[0], half[1])));
    }
#elif defined(__AVX2__)
    /* The upper lane is loaded 4 bytes early, so that nothing past its pixels is read. */
    const __m256i spread = _mm256_setr_epi8(0, 1, 2, -1, 3, 4, 5, -1, 6, 7, 8, -1, 9, 10, 11, -1, 4,
                                            5, 6, -1, 7, 8, 9, -1, 10, 11, 12, -1, 13, 14, 15, -1);
    for (; i + 16 <= count; i += 16) {
        __m256i half[2];
        for (int h = 0; h < 2; h++) {
            const uint8_t *p = rgb + 3 * i + 24 * h;
            __m128i low = _mm_loadu_si128((const __m128i *)p);
            __m128i high = _mm_loadu_si128((const __m128i *)(p + 8));
            __m256i x = _mm256_inserti128_si256(_mm256_castsi128_si256(low), high, 1);
            x = _mm256_maddubs_epi16(_mm256_shuffle_epi8(x, spread), _mm256_set1_epi8(1));
            half[h] = _mm256_madd_epi16(x, _mm256_set1_epi16(1));
        }
        __m256i packed = _mm256_packs_epi32(half[0], half[1]);
        _mm256_storeu_si256((__m256i *)(sums + i), _mm256_permute4x64_epi64(packed, 0xd8));
    }
#endif
    for (; i < count; i++) sums[i] = (int16_t)(rgb[3 * i] + rgb[3 * i + 1] + rgb[3 * i + 2]);
}

/* Range of a block in two frames: highest sum now and before, largest rise and fall of a pixel.
   Highest riser: the highest sum in `to` of the pixels that gain at least `least` from `from`. */
#define DEFINE_BLOCK_LOOPS(total, bits)                                                            \
    static inline void block_range_##bits(const total *now, const total *before, ptrdiff_t count,  \
                                          total *range) {                                          \
        total top_now = 0, top_before = 0, rise = 0, fall = 0;                                     \
        for (ptrdiff_t i = 0; i < count; i++) {                                                    \
            total a = now[i], b = before[i], change = (total)(a - b);                              \
            top_now = a > top_now ? a : top_now;                                                   \
            top_before = b > top_before ? b : top_before;                                          \
            rise = change > rise ? change : rise;                                                  \
            fall = change < fall ? change : fall;                                                  \
        }                                                                                          \
        range[0] = top_now, range[1] = top_before, range[2] = rise, range[3] = (total) - fall;     \
    }                                                                                              \
    static inline total highest_riser_##bits(const total *to, const total *from, ptrdiff_t count,  \
                                             total least) {                                        \
        total top = 0;                                                                             \
        for (ptrdiff_t i = 0; i < count; i++) {                                                    \
            total riser = (total)(to[i] - from[i]) >= least ? to[i] : 0;                           \
            top = riser > top ? riser : top;                                                       \
        }                                                                                          \
        return top;                                                                                \
    }
DEFINE_BLOCK_LOOPS(int16_t, 16)
DEFINE_BLOCK_LOOPS(int32_t, 32)

#endif
