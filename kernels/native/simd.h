/* Vectors of floats and of doubles with one set of names: AVX-512, AVX2, NEON, SSE2, or a vector of
   one lane that leaves the rest to the compiler. `SIMD(load)` is load_float or load_double as REAL
   is. `larger` is NaN where either is, which x86's maximum is only where its second operand is.
   `stream` stores past the caches, to an aligned address (see stream.h).
   `zip_low` and `zip_high` interleave the lanes of two vectors: the first half, the second;
   `evens` and `odds` undo it.
   `max` is `larger` where neither is NaN, at a third of its cost: `whole` starts a record of
   lanes without NaN, `whole_and` takes two vectors into it, `spoilt` makes NaN of other lanes.
   `mask_between` are the lanes [begin, end), whatever these are; `load_masked` reads those of a mask
   and has zeros elsewhere, at the price of a load: only where SIMD_MASKS says so.
   `where_less` is x in the lanes where a < b, else y; `min` has what it likes where one is NaN.
   `load_three` reads three vectors of triples (r, g, b, r, g, b ...) and takes them apart: v[0] has
   every r, in an order of the level's own, v[1] and v[2] the g and b of the same triples.
   `logs` reads the bits of positive numbers as numbers, which grow by one octave (2**23 for floats,
   2**40 for doubles) with every doubling, nearly evenly; `of_logs` undoes it. */
#ifndef VOXKERN_SIMD_H
#define VOXKERN_SIMD_H
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(_MSC_VER)
#define FORCE_INLINE static __forceinline
#define NO_INLINE static __declspec(noinline)
#define RESTRICT __restrict
#else
#define FORCE_INLINE static inline __attribute__((always_inline))
#define NO_INLINE static __attribute__((noinline))
#define RESTRICT restrict
#endif
#if defined(__clang__)
#define UNROLL _Pragma("clang loop unroll(full)")
#elif defined(__GNUC__)
#define UNROLL _Pragma("GCC unroll 16")
#else
#define UNROLL
#endif

/* A loop of constant length, unrolled. */
#define EACH(i, n) UNROLL for (int i = 0; i < (n); i++)

#if defined(__GNUC__)
#define PREFETCH(p) __builtin_prefetch(p)
#define PREFETCH_SECOND(p) __builtin_prefetch(p, 0, 2) /* into the second-level cache */
#else
#define PREFETCH(p) ((void)(p))
#define PREFETCH_SECOND(p) ((void)(p))
#endif

#define PASTE_(a, b) a##_##b
#define PASTE(a, b) PASTE_(a, b)
#define SIMD(name) PASTE(name, REAL)

#if defined(__AVX512F__)
#include <immintrin.h>
#define SIMD_REGISTERS 32
typedef __m512 vec_float;
typedef __m512d vec_double;
enum { lanes_float = 16, lanes_double = 8 };
FORCE_INLINE vec_float load_float(const float *p) { return _mm512_loadu_ps(p); }
FORCE_INLINE vec_double load_double(const double *p) { return _mm512_loadu_pd(p); }
FORCE_INLINE void store_float(float *p, vec_float v) { _mm512_storeu_ps(p, v); }
FORCE_INLINE void store_double(double *p, vec_double v) { _mm512_storeu_pd(p, v); }
FORCE_INLINE void stream_float(float *p, vec_float v) { _mm512_stream_ps(p, v); }
FORCE_INLINE void stream_double(double *p, vec_double v) { _mm512_stream_pd(p, v); }
FORCE_INLINE vec_float all_float(float s) { return _mm512_set1_ps(s); }
FORCE_INLINE vec_double all_double(double s) { return _mm512_set1_pd(s); }
FORCE_INLINE vec_float add_float(vec_float a, vec_float b) { return _mm512_add_ps(a, b); }
FORCE_INLINE vec_double add_double(vec_double a, vec_double b) { return _mm512_add_pd(a, b); }
FORCE_INLINE vec_float sub_float(vec_float a, vec_float b) { return _mm512_sub_ps(a, b); }
FORCE_INLINE vec_double sub_double(vec_double a, vec_double b) { return _mm512_sub_pd(a, b); }
FORCE_INLINE vec_float mul_float(vec_float a, vec_float b) { return _mm512_mul_ps(a, b); }
FORCE_INLINE vec_double mul_double(vec_double a, vec_double b) { return _mm512_mul_pd(a, b); }
FORCE_INLINE vec_float div_float(vec_float a, vec_float b) { return _mm512_div_ps(a, b); }
FORCE_INLINE vec_double div_double(vec_double a, vec_double b) { return _mm512_div_pd(a, b); }
FORCE_INLINE vec_float square_root_float(vec_float a) { return _mm512_sqrt_ps(a); }
FORCE_INLINE vec_double square_root_double(vec_double a) { return _mm512_sqrt_pd(a); }
FORCE_INLINE vec_float max_float(vec_float a, vec_float b) { return _mm512_max_ps(b, a); }
FORCE_INLINE vec_double max_double(vec_double a, vec_double b) { return _mm512_max_pd(b, a); }
FORCE_INLINE vec_float where_less_float(vec_float a, vec_float b, vec_float x, vec_float y) {
    return _mm512_mask_mov_ps(y, _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ), x);
}
FORCE_INLINE vec_double where_less_double(vec_double a, vec_double b, vec_double x, vec_double y) {
    return _mm512_mask_mov_pd(y, _mm512_cmp_pd_mask(a, b, _CMP_LT_OQ), x);
}
FORCE_INLINE vec_float larger_float(vec_float a, vec_float b) {
    return _mm512_mask_mov_ps(_mm512_max_ps(b, a), _mm512_cmp_ps_mask(b, b, _CMP_UNORD_Q), b);
}
FORCE_INLINE vec_double larger_double(vec_double a, vec_double b) {
    return _mm512_mask_mov_pd(_mm512_max_pd(b, a), _mm512_cmp_pd_mask(b, b, _CMP_UNORD_Q), b);
}
FORCE_INLINE vec_float fma_float(vec_float a, vec_float b, vec_float c) {
    return _mm512_fmadd_ps(a, b, c);
}
FORCE_INLINE vec_double fma_double(vec_double a, vec_double b, vec_double c) {
    return _mm512_fmadd_pd(a, b, c);
}
FORCE_INLINE float total_float(vec_float v) { return _mm512_reduce_add_ps(v); }
FORCE_INLINE double total_double(vec_double v) { return _mm512_reduce_add_pd(v); }
FORCE_INLINE float most_float(vec_float v) {
    return _mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q) ? NAN : _mm512_reduce_max_ps(v);
}
FORCE_INLINE double most_double(vec_double v) {
    return _mm512_cmp_pd_mask(v, v, _CMP_UNORD_Q) ? NAN : _mm512_reduce_max_pd(v);
}
FORCE_INLINE vec_float load_first_float(const float *p, ptrdiff_t n) {
    return _mm512_maskz_loadu_ps((__mmask16)((1u << n) - 1), p);
}
FORCE_INLINE vec_double load_first_double(const double *p, ptrdiff_t n) {
    return _mm512_maskz_loadu_pd((__mmask8)((1u << n) - 1), p);
}
#define SIMD_MASKS
typedef __mmask16 mask_float;
typedef __mmask8 mask_double;
FORCE_INLINE unsigned lanes_below(ptrdiff_t n) {
    return n <= 0 ? 0 : (1u << (n < 16 ? n : 16)) - 1;
}
FORCE_INLINE mask_float mask_between_float(ptrdiff_t begin, ptrdiff_t end) {
    return (mask_float)(lanes_below(end) & ~lanes_below(begin));
}
FORCE_INLINE mask_double mask_between_double(ptrdiff_t begin, ptrdiff_t end) {
    return (mask_double)(lanes_below(end) & ~lanes_below(begin));
}
FORCE_INLINE vec_float load_masked_float(const float *p, mask_float m) {
    return _mm512_maskz_loadu_ps(m, p);
}
FORCE_INLINE vec_double load_masked_double(const double *p, mask_double m) {
    return _mm512_maskz_loadu_pd(m, p);
}
FORCE_INLINE void store_first_float(float *p, vec_float v, ptrdiff_t n) {
    _mm512_mask_storeu_ps(p, (__mmask16)((1u << n) - 1), v);
}
FORCE_INLINE void store_first_double(double *p, vec_double v, ptrdiff_t n) {
    _mm512_mask_storeu_pd(p, (__mmask8)((1u << n) - 1), v);
}
FORCE_INLINE vec_float zip_low_float(vec_float a, vec_float b) {
    const __m512i order = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
    return _mm512_permutex2var_ps(a, order, b);
}
FORCE_INLINE vec_float zip_high_float(vec_float a, vec_float b) {
    const __m512i order =
        _mm512_setr_epi32(8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
    return _mm512_permutex2var_ps(a, order, b);
}
FORCE_INLINE vec_double zip_low_double(vec_double a, vec_double b) {
    return _mm512_permutex2var_pd(a, _mm512_setr_epi64(0, 8, 1, 9, 2, 10, 3, 11), b);
}
FORCE_INLINE vec_double zip_high_double(vec_double a, vec_double b) {
    return _mm512_permutex2var_pd(a, _mm512_setr_epi64(4, 12, 5, 13, 6, 14, 7, 15), b);
}
FORCE_INLINE vec_float evens_float(vec_float a, vec_float b) {
    const __m512i order =
        _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    return _mm512_permutex2var_ps(a, order, b);
}
FORCE_INLINE vec_float odds_float(vec_float a, vec_float b) {
    const __m512i order =
        _mm512_setr_epi32(1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
    return _mm512_permutex2var_ps(a, order, b);
}
FORCE_INLINE vec_double evens_double(vec_double a, vec_double b) {
    return _mm512_permutex2var_pd(a, _mm512_setr_epi64(0, 2, 4, 6, 8, 10, 12, 14), b);
}
FORCE_INLINE vec_double odds_double(vec_double a, vec_double b) {
    return _mm512_permutex2var_pd(a, _mm512_setr_epi64(1, 3, 5, 7, 9, 11, 13, 15), b);
}
typedef __mmask16 record_float;
typedef __mmask8 record_double;
FORCE_INLINE record_float whole_float(void) { return 0xffff; }
FORCE_INLINE record_double whole_double(void) { return 0xff; }
FORCE_INLINE record_float whole_and_float(record_float r, vec_float a, vec_float b) {
    return _mm512_mask_cmp_ps_mask(r, a, b, _CMP_ORD_Q);
}
FORCE_INLINE record_double whole_and_double(record_double r, vec_double a, vec_double b) {
    return _mm512_mask_cmp_pd_mask(r, a, b, _CMP_ORD_Q);
}
FORCE_INLINE vec_float spoilt_float(record_float r, vec_float v) {
    return _mm512_mask_mov_ps(_mm512_set1_ps(NAN), r, v);
}
FORCE_INLINE vec_double spoilt_double(record_double r, vec_double v) {
    return _mm512_mask_mov_pd(_mm512_set1_pd(NAN), r, v);
}
FORCE_INLINE vec_float min_float(vec_float a, vec_float b) { return _mm512_min_ps(a, b); }
FORCE_INLINE vec_double min_double(vec_double a, vec_double b) { return _mm512_min_pd(a, b); }
/* gcc would load each of them three times, and most loads of frames cross cache lines. */
#if defined(__GNUC__)
#define LOADED(a, b, c) __asm__("" : "+v"(a), "+v"(b), "+v"(c))
#else
#define LOADED(a, b, c)
#endif
/* A triple's places follow each other, and so do the lanes they are in: three blends find a channel
   of all triples, and a rotation brings it beside the first. */
FORCE_INLINE void load_three_float(const float *p, vec_float *v) {
    vec_float a = load_float(p), b = load_float(p + 16), c = load_float(p + 32);
    LOADED(a, b, c);
    __m512 g = _mm512_mask_mov_ps(_mm512_mask_mov_ps(b, 0x2492, a), 0x4924, c);
    __m512 h = _mm512_mask_mov_ps(_mm512_mask_mov_ps(c, 0x2492, b), 0x4924, a);
    v[0] = _mm512_mask_mov_ps(_mm512_mask_mov_ps(a, 0x2492, c), 0x4924, b);
    v[1] =
        _mm512_castsi512_ps(_mm512_alignr_epi32(_mm512_castps_si512(g), _mm512_castps_si512(g), 1));
    v[2] =
        _mm512_castsi512_ps(_mm512_alignr_epi32(_mm512_castps_si512(h), _mm512_castps_si512(h), 2));
}
FORCE_INLINE void load_three_double(const double *p, vec_double *v) {
    vec_double a = load_double(p), b = load_double(p + 8), c = load_double(p + 16);
    LOADED(a, b, c);
    __m512d g = _mm512_mask_mov_pd(_mm512_mask_mov_pd(c, 0x92, a), 0x24, b);
    __m512d h = _mm512_mask_mov_pd(_mm512_mask_mov_pd(b, 0x92, c), 0x24, a);
    v[0] = _mm512_mask_mov_pd(_mm512_mask_mov_pd(a, 0x92, b), 0x24, c);
    v[1] =
        _mm512_castsi512_pd(_mm512_alignr_epi64(_mm512_castpd_si512(g), _mm512_castpd_si512(g), 1));
    v[2] =
        _mm512_castsi512_pd(_mm512_alignr_epi64(_mm512_castpd_si512(h), _mm512_castpd_si512(h), 2));
}
FORCE_INLINE vec_float logs_float(vec_float v) {
    return _mm512_cvtepi32_ps(_mm512_castps_si512(v));
}
FORCE_INLINE vec_float of_logs_float(vec_float v) {
    return _mm512_castsi512_ps(_mm512_cvtps_epi32(v));
}
/* In the mantissa of numbers from 2**52 on, since few levels convert integers of 64 bits. */
FORCE_INLINE vec_double logs_double(vec_double v) {
    const __m512d magic = _mm512_set1_pd(4503599627370496.0);
    __m512i bits = _mm512_srli_epi64(_mm512_castpd_si512(v), 12);
    return _mm512_sub_pd(_mm512_castsi512_pd(_mm512_or_si512(bits, _mm512_castpd_si512(magic))),
                         magic);
}
FORCE_INLINE vec_double of_logs_double(vec_double v) {
    const __m512d magic = _mm512_set1_pd(4503599627370496.0);
    return _mm512_castsi512_pd(_mm512_slli_epi64(_mm512_castpd_si512(_mm512_add_pd(v, magic)), 12));
}

#elif defined(__AVX2__)
#include <immintrin.h>
#define SIMD_REGISTERS 16
typedef __m256 vec_float;
typedef __m256d vec_double;
enum { lanes_float = 8, lanes_double = 4 };
FORCE_INLINE vec_float load_float(const float *p) { return _mm256_loadu_ps(p); }
FORCE_INLINE vec_double load_double(const double *p) { return _mm256_loadu_pd(p); }
FORCE_INLINE void store_float(float *p, vec_float v) { _mm256_storeu_ps(p, v); }
FORCE_INLINE void store_double(double *p, vec_double v) { _mm256_storeu_pd(p, v); }
FORCE_INLINE void stream_float(float *p, vec_float v) { _mm256_stream_ps(p, v); }
FORCE_INLINE void stream_double(double *p, vec_double v) { _mm256_stream_pd(p, v); }
FORCE_INLINE vec_float all_float(float s) { return _mm256_set1_ps(s); }
FORCE_INLINE vec_double all_double(double s) { return _mm256_set1_pd(s); }
FORCE_INLINE vec_float add_float(vec_float a, vec_float b) { return _mm256_add_ps(a, b); }
FORCE_INLINE vec_double add_double(vec_double a, vec_double b) { return _mm256_add_pd(a, b); }
FORCE_INLINE vec_float sub_float(vec_float a, vec_float b) { return _mm256_sub_ps(a, b); }
FORCE_INLINE vec_double sub_double(vec_double a, vec_double b) { return _mm256_sub_pd(a, b); }
FORCE_INLINE vec_float mul_float(vec_float a, vec_float b) { return _mm256_mul_ps(a, b); }
FORCE_INLINE vec_double mul_double(vec_double a, vec_double b) { return _mm256_mul_pd(a, b); }
FORCE_INLINE vec_float div_float(vec_float a, vec_float b) { return _mm256_div_ps(a, b); }
FORCE_INLINE vec_double div_double(vec_double a, vec_double b) { return _mm256_div_pd(a, b); }
FORCE_INLINE vec_float square_root_float(vec_float a) { return _mm256_sqrt_ps(a); }
FORCE_INLINE vec_double square_root_double(vec_double a) { return _mm256_sqrt_pd(a); }
FORCE_INLINE vec_float max_float(vec_float a, vec_float b) { return _mm256_max_ps(b, a); }
FORCE_INLINE vec_double max_double(vec_double a, vec_double b) { return _mm256_max_pd(b, a); }
FORCE_INLINE vec_float where_less_float(vec_float a, vec_float b, vec_float x, vec_float y) {
    return _mm256_blendv_ps(y, x, _mm256_cmp_ps(a, b, _CMP_LT_OQ));
}
FORCE_INLINE vec_double where_less_double(vec_double a, vec_double b, vec_double x, vec_double y) {
    return _mm256_blendv_pd(y, x, _mm256_cmp_pd(a, b, _CMP_LT_OQ));
}
FORCE_INLINE vec_float larger_float(vec_float a, vec_float b) {
    return _mm256_or_ps(_mm256_max_ps(b, a), _mm256_cmp_ps(b, b, _CMP_UNORD_Q));
}
FORCE_INLINE vec_double larger_double(vec_double a, vec_double b) {
    return _mm256_or_pd(_mm256_max_pd(b, a), _mm256_cmp_pd(b, b, _CMP_UNORD_Q));
}
/* MSVC's /arch:AVX2 includes FMA. */
FORCE_INLINE vec_float fma_float(vec_float a, vec_float b, vec_float c) {
    return _mm256_fmadd_ps(a, b, c);
}
FORCE_INLINE vec_double fma_double(vec_double a, vec_double b, vec_double c) {
    return _mm256_fmadd_pd(a, b, c);
}
/* All ones in the first n lanes. */
FORCE_INLINE __m256i first_float(ptrdiff_t n) {
    return _mm256_cmpgt_epi32(_mm256_set1_epi32((int)n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
FORCE_INLINE __m256i first_double(ptrdiff_t n) {
    return _mm256_cmpgt_epi64(_mm256_set1_epi64x(n), _mm256_setr_epi64x(0, 1, 2, 3));
}
FORCE_INLINE vec_float load_first_float(const float *p, ptrdiff_t n) {
    return _mm256_maskload_ps(p, first_float(n));
}
FORCE_INLINE vec_double load_first_double(const double *p, ptrdiff_t n) {
    return _mm256_maskload_pd(p, first_double(n));
}
FORCE_INLINE void store_first_float(float *p, vec_float v, ptrdiff_t n) {
    _mm256_maskstore_ps(p, first_float(n), v);
}
FORCE_INLINE void store_first_double(double *p, vec_double v, ptrdiff_t n) {
    _mm256_maskstore_pd(p, first_double(n), v);
}
FORCE_INLINE vec_float zip_low_float(vec_float a, vec_float b) {
    return _mm256_permute2f128_ps(_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b), 0x20);
}
FORCE_INLINE vec_float zip_high_float(vec_float a, vec_float b) {
    return _mm256_permute2f128_ps(_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b), 0x31);
}
FORCE_INLINE vec_double zip_low_double(vec_double a, vec_double b) {
    return _mm256_permute2f128_pd(_mm256_unpacklo_pd(a, b), _mm256_unpackhi_pd(a, b), 0x20);
}
FORCE_INLINE vec_double zip_high_double(vec_double a, vec_double b) {
    return _mm256_permute2f128_pd(_mm256_unpacklo_pd(a, b), _mm256_unpackhi_pd(a, b), 0x31);
}
FORCE_INLINE vec_double evens_double(vec_double a, vec_double b) {
    return _mm256_permute4x64_pd(_mm256_unpacklo_pd(a, b), 0xd8);
}
FORCE_INLINE vec_double odds_double(vec_double a, vec_double b) {
    return _mm256_permute4x64_pd(_mm256_unpackhi_pd(a, b), 0xd8);
}
FORCE_INLINE vec_float evens_float(vec_float a, vec_float b) {
    const vec_float v = _mm256_shuffle_ps(a, b, 0x88);
    return _mm256_castpd_ps(_mm256_permute4x64_pd(_mm256_castps_pd(v), 0xd8));
}
FORCE_INLINE vec_float odds_float(vec_float a, vec_float b) {
    const vec_float v = _mm256_shuffle_ps(a, b, 0xdd);
    return _mm256_castpd_ps(_mm256_permute4x64_pd(_mm256_castps_pd(v), 0xd8));
}
typedef vec_float record_float;
FORCE_INLINE record_float whole_float(void) { return _mm256_setzero_ps(); }
FORCE_INLINE record_float whole_and_float(record_float r, vec_float a, vec_float b) {
    return _mm256_or_ps(r, _mm256_cmp_ps(a, b, _CMP_UNORD_Q));
}
FORCE_INLINE vec_float spoilt_float(record_float r, vec_float v) { return _mm256_or_ps(r, v); }
typedef vec_double record_double;
FORCE_INLINE record_double whole_double(void) { return _mm256_setzero_pd(); }
FORCE_INLINE record_double whole_and_double(record_double r, vec_double a, vec_double b) {
    return _mm256_or_pd(r, _mm256_cmp_pd(a, b, _CMP_UNORD_Q));
}
FORCE_INLINE vec_double spoilt_double(record_double r, vec_double v) { return _mm256_or_pd(r, v); }
FORCE_INLINE vec_float min_float(vec_float a, vec_float b) { return _mm256_min_ps(a, b); }
FORCE_INLINE vec_double min_double(vec_double a, vec_double b) { return _mm256_min_pd(a, b); }
FORCE_INLINE void load_three_float(const float *p, vec_float *v) {
    const vec_float a = load_float(p), b = load_float(p + 8), c = load_float(p + 16);
    __m256 g = _mm256_blend_ps(_mm256_blend_ps(c, a, 0x92), b, 0x24);
    __m256 h = _mm256_blend_ps(_mm256_blend_ps(b, c, 0x92), a, 0x24);
    v[0] = _mm256_blend_ps(_mm256_blend_ps(a, b, 0x92), c, 0x24);
    v[1] = _mm256_permutevar8x32_ps(g, _mm256_setr_epi32(1, 2, 3, 4, 5, 6, 7, 0));
    v[2] = _mm256_permutevar8x32_ps(h, _mm256_setr_epi32(2, 3, 4, 5, 6, 7, 0, 1));
}
FORCE_INLINE void load_three_double(const double *p, vec_double *v) {
    const vec_double a = load_double(p), b = load_double(p + 4), c = load_double(p + 8);
    __m256d g = _mm256_blend_pd(_mm256_blend_pd(b, a, 0x2), c, 0x4);
    __m256d h = _mm256_blend_pd(_mm256_blend_pd(c, b, 0x2), a, 0x4);
    v[0] = _mm256_blend_pd(_mm256_blend_pd(a, c, 0x2), b, 0x4);
    v[1] = _mm256_permute4x64_pd(g, 0x39);
    v[2] = _mm256_permute4x64_pd(h, 0x4e);
}
FORCE_INLINE vec_float logs_float(vec_float v) {
    return _mm256_cvtepi32_ps(_mm256_castps_si256(v));
}
FORCE_INLINE vec_float of_logs_float(vec_float v) {
    return _mm256_castsi256_ps(_mm256_cvtps_epi32(v));
}
FORCE_INLINE vec_double logs_double(vec_double v) {
    const __m256d magic = _mm256_set1_pd(4503599627370496.0);
    __m256i bits = _mm256_srli_epi64(_mm256_castpd_si256(v), 12);
    return _mm256_sub_pd(_mm256_or_pd(_mm256_castsi256_pd(bits), magic), magic);
}
FORCE_INLINE vec_double of_logs_double(vec_double v) {
    const __m256d magic = _mm256_set1_pd(4503599627370496.0);
    return _mm256_castsi256_pd(_mm256_slli_epi64(_mm256_castpd_si256(_mm256_add_pd(v, magic)), 12));
}

#elif defined(__ARM_NEON) && defined(__aarch64__)
#include <arm_neon.h>
#define SIMD_REGISTERS 32
typedef float32x4_t vec_float;
typedef float64x2_t vec_double;
enum { lanes_float = 4, lanes_double = 2 };
FORCE_INLINE vec_float load_float(const float *p) { return vld1q_f32(p); }
FORCE_INLINE vec_double load_double(const double *p) { return vld1q_f64(p); }
FORCE_INLINE void store_float(float *p, vec_float v) { vst1q_f32(p, v); }
FORCE_INLINE void store_double(double *p, vec_double v) { vst1q_f64(p, v); }
FORCE_INLINE void stream_float(float *p, vec_float v) { vst1q_f32(p, v); }
FORCE_INLINE void stream_double(double *p, vec_double v) { vst1q_f64(p, v); }
FORCE_INLINE vec_float all_float(float s) { return vdupq_n_f32(s); }
FORCE_INLINE vec_double all_double(double s) { return vdupq_n_f64(s); }
FORCE_INLINE vec_float add_float(vec_float a, vec_float b) { return vaddq_f32(a, b); }
FORCE_INLINE vec_double add_double(vec_double a, vec_double b) { return vaddq_f64(a, b); }
FORCE_INLINE vec_float sub_float(vec_float a, vec_float b) { return vsubq_f32(a, b); }
FORCE_INLINE vec_double sub_double(vec_double a, vec_double b) { return vsubq_f64(a, b); }
FORCE_INLINE vec_float mul_float(vec_float a, vec_float b) { return vmulq_f32(a, b); }
FORCE_INLINE vec_double mul_double(vec_double a, vec_double b) { return vmulq_f64(a, b); }
FORCE_INLINE vec_float div_float(vec_float a, vec_float b) { return vdivq_f32(a, b); }
FORCE_INLINE vec_double div_double(vec_double a, vec_double b) { return vdivq_f64(a, b); }
FORCE_INLINE vec_float square_root_float(vec_float a) { return vsqrtq_f32(a); }
FORCE_INLINE vec_double square_root_double(vec_double a) { return vsqrtq_f64(a); }
FORCE_INLINE vec_float where_less_float(vec_float a, vec_float b, vec_float x, vec_float y) {
    return vbslq_f32(vcltq_f32(a, b), x, y);
}
FORCE_INLINE vec_double where_less_double(vec_double a, vec_double b, vec_double x, vec_double y) {
    return vbslq_f64(vcltq_f64(a, b), x, y);
}
FORCE_INLINE vec_float zip_low_float(vec_float a, vec_float b) { return vzip1q_f32(a, b); }
FORCE_INLINE vec_float zip_high_float(vec_float a, vec_float b) { return vzip2q_f32(a, b); }
FORCE_INLINE vec_double zip_low_double(vec_double a, vec_double b) { return vzip1q_f64(a, b); }
FORCE_INLINE vec_double zip_high_double(vec_double a, vec_double b) { return vzip2q_f64(a, b); }
FORCE_INLINE vec_float evens_float(vec_float a, vec_float b) { return vuzp1q_f32(a, b); }
FORCE_INLINE vec_float odds_float(vec_float a, vec_float b) { return vuzp2q_f32(a, b); }
FORCE_INLINE vec_double evens_double(vec_double a, vec_double b) { return vuzp1q_f64(a, b); }
FORCE_INLINE vec_double odds_double(vec_double a, vec_double b) { return vuzp2q_f64(a, b); }
FORCE_INLINE vec_float larger_float(vec_float a, vec_float b) { return vmaxq_f32(a, b); }
FORCE_INLINE vec_double larger_double(vec_double a, vec_double b) { return vmaxq_f64(a, b); }
FORCE_INLINE vec_float fma_float(vec_float a, vec_float b, vec_float c) {
    return vfmaq_f32(c, a, b);
}
FORCE_INLINE vec_double fma_double(vec_double a, vec_double b, vec_double c) {
    return vfmaq_f64(c, a, b);
}
FORCE_INLINE vec_float min_float(vec_float a, vec_float b) { return vminq_f32(a, b); }
FORCE_INLINE vec_double min_double(vec_double a, vec_double b) { return vminq_f64(a, b); }
FORCE_INLINE void load_three_float(const float *p, vec_float *v) {
    const float32x4x3_t x = vld3q_f32(p);
    EACH(c, 3) v[c] = x.val[c];
}
FORCE_INLINE void load_three_double(const double *p, vec_double *v) {
    const float64x2x3_t x = vld3q_f64(p);
    EACH(c, 3) v[c] = x.val[c];
}
FORCE_INLINE vec_float logs_float(vec_float v) { return vcvtq_f32_s32(vreinterpretq_s32_f32(v)); }
FORCE_INLINE vec_float of_logs_float(vec_float v) {
    return vreinterpretq_f32_s32(vcvtnq_s32_f32(v));
}
FORCE_INLINE vec_double logs_double(vec_double v) {
    return vcvtq_f64_s64(vshrq_n_s64(vreinterpretq_s64_f64(v), 12));
}
FORCE_INLINE vec_double of_logs_double(vec_double v) {
    return vreinterpretq_f64_s64(vshlq_n_s64(vcvtnq_s64_f64(v), 12));
}

#elif defined(__SSE2__) || defined(_M_X64)
#include <emmintrin.h>
#define SIMD_REGISTERS 16
#define SIMD_UNFUSED /* multiply, then add: one register more for the product */
typedef __m128 vec_float;
typedef __m128d vec_double;
enum { lanes_float = 4, lanes_double = 2 };
FORCE_INLINE vec_float load_float(const float *p) { return _mm_loadu_ps(p); }
FORCE_INLINE vec_double load_double(const double *p) { return _mm_loadu_pd(p); }
FORCE_INLINE void store_float(float *p, vec_float v) { _mm_storeu_ps(p, v); }
FORCE_INLINE void store_double(double *p, vec_double v) { _mm_storeu_pd(p, v); }
FORCE_INLINE void stream_float(float *p, vec_float v) { _mm_stream_ps(p, v); }
FORCE_INLINE void stream_double(double *p, vec_double v) { _mm_stream_pd(p, v); }
FORCE_INLINE vec_float all_float(float s) { return _mm_set1_ps(s); }
FORCE_INLINE vec_double all_double(double s) { return _mm_set1_pd(s); }
FORCE_INLINE vec_float add_float(vec_float a, vec_float b) { return _mm_add_ps(a, b); }
FORCE_INLINE vec_double add_double(vec_double a, vec_double b) { return _mm_add_pd(a, b); }
FORCE_INLINE vec_float sub_float(vec_float a, vec_float b) { return _mm_sub_ps(a, b); }
FORCE_INLINE vec_double sub_double(vec_double a, vec_double b) { return _mm_sub_pd(a, b); }
FORCE_INLINE vec_float mul_float(vec_float a, vec_float b) { return _mm_mul_ps(a, b); }
FORCE_INLINE vec_double mul_double(vec_double a, vec_double b) { return _mm_mul_pd(a, b); }
FORCE_INLINE vec_float div_float(vec_float a, vec_float b) { return _mm_div_ps(a, b); }
FORCE_INLINE vec_double div_double(vec_double a, vec_double b) { return _mm_div_pd(a, b); }
FORCE_INLINE vec_float square_root_float(vec_float a) { return _mm_sqrt_ps(a); }
FORCE_INLINE vec_double square_root_double(vec_double a) { return _mm_sqrt_pd(a); }
FORCE_INLINE vec_float max_float(vec_float a, vec_float b) { return _mm_max_ps(b, a); }
FORCE_INLINE vec_double max_double(vec_double a, vec_double b) { return _mm_max_pd(b, a); }
FORCE_INLINE vec_float where_less_float(vec_float a, vec_float b, vec_float x, vec_float y) {
    const vec_float less = _mm_cmplt_ps(a, b);
    return _mm_or_ps(_mm_and_ps(less, x), _mm_andnot_ps(less, y));
}
FORCE_INLINE vec_double where_less_double(vec_double a, vec_double b, vec_double x, vec_double y) {
    const vec_double less = _mm_cmplt_pd(a, b);
    return _mm_or_pd(_mm_and_pd(less, x), _mm_andnot_pd(less, y));
}
FORCE_INLINE vec_float zip_low_float(vec_float a, vec_float b) { return _mm_unpacklo_ps(a, b); }
FORCE_INLINE vec_float zip_high_float(vec_float a, vec_float b) { return _mm_unpackhi_ps(a, b); }
FORCE_INLINE vec_double zip_low_double(vec_double a, vec_double b) { return _mm_unpacklo_pd(a, b); }
FORCE_INLINE vec_double zip_high_double(vec_double a, vec_double b) {
    return _mm_unpackhi_pd(a, b);
}
FORCE_INLINE vec_float evens_float(vec_float a, vec_float b) { return _mm_shuffle_ps(a, b, 0x88); }
FORCE_INLINE vec_float odds_float(vec_float a, vec_float b) { return _mm_shuffle_ps(a, b, 0xdd); }
FORCE_INLINE vec_double evens_double(vec_double a, vec_double b) { return _mm_unpacklo_pd(a, b); }
FORCE_INLINE vec_double odds_double(vec_double a, vec_double b) { return _mm_unpackhi_pd(a, b); }
typedef vec_float record_float;
FORCE_INLINE record_float whole_float(void) { return _mm_setzero_ps(); }
FORCE_INLINE record_float whole_and_float(record_float r, vec_float a, vec_float b) {
    return _mm_or_ps(r, _mm_cmpunord_ps(a, b));
}
FORCE_INLINE vec_float spoilt_float(record_float r, vec_float v) { return _mm_or_ps(r, v); }
typedef vec_double record_double;
FORCE_INLINE record_double whole_double(void) { return _mm_setzero_pd(); }
FORCE_INLINE record_double whole_and_double(record_double r, vec_double a, vec_double b) {
    return _mm_or_pd(r, _mm_cmpunord_pd(a, b));
}
FORCE_INLINE vec_double spoilt_double(record_double r, vec_double v) { return _mm_or_pd(r, v); }
FORCE_INLINE vec_float larger_float(vec_float a, vec_float b) {
    return _mm_or_ps(_mm_max_ps(b, a), _mm_cmpunord_ps(b, b));
}
FORCE_INLINE vec_double larger_double(vec_double a, vec_double b) {
    return _mm_or_pd(_mm_max_pd(b, a), _mm_cmpunord_pd(b, b));
}
FORCE_INLINE vec_float fma_float(vec_float a, vec_float b, vec_float c) {
    return _mm_add_ps(c, _mm_mul_ps(a, b));
}
FORCE_INLINE vec_double fma_double(vec_double a, vec_double b, vec_double c) {
    return _mm_add_pd(c, _mm_mul_pd(a, b));
}
FORCE_INLINE vec_float min_float(vec_float a, vec_float b) { return _mm_min_ps(a, b); }
FORCE_INLINE vec_double min_double(vec_double a, vec_double b) { return _mm_min_pd(a, b); }
FORCE_INLINE void load_three_float(const float *p, vec_float *v) {
    const vec_float a = load_float(p), b = load_float(p + 4), c = load_float(p + 8);
    const vec_float gb = _mm_shuffle_ps(a, b, 0x49), rg = _mm_shuffle_ps(b, c, 0x9e);
    v[0] = _mm_shuffle_ps(a, rg, 0x8c);
    v[1] = _mm_shuffle_ps(gb, rg, 0xd8);
    v[2] = _mm_shuffle_ps(gb, c, 0xcd);
}
FORCE_INLINE void load_three_double(const double *p, vec_double *v) {
    const vec_double a = load_double(p), b = load_double(p + 2), c = load_double(p + 4);
    v[0] = _mm_shuffle_pd(a, b, 2);
    v[1] = _mm_shuffle_pd(a, c, 1);
    v[2] = _mm_shuffle_pd(b, c, 2);
}
FORCE_INLINE vec_float logs_float(vec_float v) { return _mm_cvtepi32_ps(_mm_castps_si128(v)); }
FORCE_INLINE vec_float of_logs_float(vec_float v) { return _mm_castsi128_ps(_mm_cvtps_epi32(v)); }
FORCE_INLINE vec_double logs_double(vec_double v) {
    const __m128d magic = _mm_set1_pd(4503599627370496.0);
    __m128i bits = _mm_srli_epi64(_mm_castpd_si128(v), 12);
    return _mm_sub_pd(_mm_or_pd(_mm_castsi128_pd(bits), magic), magic);
}
FORCE_INLINE vec_double of_logs_double(vec_double v) {
    const __m128d magic = _mm_set1_pd(4503599627370496.0);
    return _mm_castsi128_pd(_mm_slli_epi64(_mm_castpd_si128(_mm_add_pd(v, magic)), 12));
}

#else
#define SIMD_REGISTERS 16
#define SIMD_UNFUSED
typedef float vec_float;
typedef double vec_double;
enum { lanes_float = 1, lanes_double = 1 };
FORCE_INLINE vec_float load_float(const float *p) { return *p; }
FORCE_INLINE vec_double load_double(const double *p) { return *p; }
FORCE_INLINE void store_float(float *p, vec_float v) { *p = v; }
FORCE_INLINE void store_double(double *p, vec_double v) { *p = v; }
FORCE_INLINE void stream_float(float *p, vec_float v) { *p = v; }
FORCE_INLINE void stream_double(double *p, vec_double v) { *p = v; }
FORCE_INLINE vec_float all_float(float s) { return s; }
FORCE_INLINE vec_double all_double(double s) { return s; }
FORCE_INLINE vec_float add_float(vec_float a, vec_float b) { return a + b; }
FORCE_INLINE vec_double add_double(vec_double a, vec_double b) { return a + b; }
FORCE_INLINE vec_float sub_float(vec_float a, vec_float b) { return a - b; }
FORCE_INLINE vec_double sub_double(vec_double a, vec_double b) { return a - b; }
FORCE_INLINE vec_float mul_float(vec_float a, vec_float b) { return a * b; }
FORCE_INLINE vec_double mul_double(vec_double a, vec_double b) { return a * b; }
FORCE_INLINE vec_float div_float(vec_float a, vec_float b) { return a / b; }
FORCE_INLINE vec_double div_double(vec_double a, vec_double b) { return a / b; }
FORCE_INLINE vec_float square_root_float(vec_float a) { return sqrtf(a); }
FORCE_INLINE vec_double square_root_double(vec_double a) { return sqrt(a); }
FORCE_INLINE vec_float where_less_float(vec_float a, vec_float b, vec_float x, vec_float y) {
    return a < b ? x : y;
}
FORCE_INLINE vec_double where_less_double(vec_double a, vec_double b, vec_double x, vec_double y) {
    return a < b ? x : y;
}
FORCE_INLINE vec_float zip_low_float(vec_float a, vec_float b) { return (void)b, a; }
FORCE_INLINE vec_float zip_high_float(vec_float a, vec_float b) { return (void)a, b; }
FORCE_INLINE vec_double zip_low_double(vec_double a, vec_double b) { return (void)b, a; }
FORCE_INLINE vec_double zip_high_double(vec_double a, vec_double b) { return (void)a, b; }
FORCE_INLINE vec_float evens_float(vec_float a, vec_float b) { return (void)b, a; }
FORCE_INLINE vec_float odds_float(vec_float a, vec_float b) { return (void)a, b; }
FORCE_INLINE vec_double evens_double(vec_double a, vec_double b) { return (void)b, a; }
FORCE_INLINE vec_double odds_double(vec_double a, vec_double b) { return (void)a, b; }
FORCE_INLINE vec_float larger_float(vec_float a, vec_float b) { return (b > a) | (b != b) ? b : a; }
FORCE_INLINE vec_double larger_double(vec_double a, vec_double b) {
    return (b > a) | (b != b) ? b : a;
}
FORCE_INLINE vec_float fma_float(vec_float a, vec_float b, vec_float c) { return c + a * b; }
FORCE_INLINE vec_double fma_double(vec_double a, vec_double b, vec_double c) { return c + a * b; }
FORCE_INLINE vec_float min_float(vec_float a, vec_float b) { return b < a ? b : a; }
FORCE_INLINE vec_double min_double(vec_double a, vec_double b) { return b < a ? b : a; }
FORCE_INLINE void load_three_float(const float *p, vec_float *v) {
    for (int c = 0; c < 3; c++) v[c] = p[c];
}
FORCE_INLINE void load_three_double(const double *p, vec_double *v) {
    for (int c = 0; c < 3; c++) v[c] = p[c];
}
FORCE_INLINE vec_float logs_float(vec_float v) {
    int32_t bits;
    memcpy(&bits, &v, sizeof(v));
    return (float)bits;
}
FORCE_INLINE vec_float of_logs_float(vec_float v) {
    int32_t bits = (int32_t)v;
    memcpy(&v, &bits, sizeof(v));
    return v;
}
FORCE_INLINE vec_double logs_double(vec_double v) {
    uint64_t bits;
    memcpy(&bits, &v, sizeof(v));
    return (double)(bits >> 12);
}
FORCE_INLINE vec_double of_logs_double(vec_double v) {
    uint64_t bits = (uint64_t)v << 12;
    memcpy(&v, &bits, sizeof(v));
    return v;
}
#endif

/* Where a maximum is NaN by itself, there is nothing to record. */
#if !defined(__AVX2__) && !defined(__SSE2__) && !defined(_M_X64)
#define SIMD_RECORD(REAL)                                                                          \
    typedef int PASTE(record, REAL);                                                               \
    FORCE_INLINE PASTE(vec, REAL) PASTE(max, REAL)(PASTE(vec, REAL) a, PASTE(vec, REAL) b) {       \
        return PASTE(larger, REAL)(a, b);                                                          \
    }                                                                                              \
    FORCE_INLINE int PASTE(whole, REAL)(void) { return 0; }                                        \
    FORCE_INLINE int PASTE(whole_and, REAL)(int r, PASTE(vec, REAL) a, PASTE(vec, REAL) b) {       \
        return (void)a, (void)b, r;                                                                \
    }                                                                                              \
    FORCE_INLINE PASTE(vec, REAL) PASTE(spoilt, REAL)(int r, PASTE(vec, REAL) v) {                 \
        return (void)r, v;                                                                         \
    }
SIMD_RECORD(float)
SIMD_RECORD(double)
#endif

/* A square of vectors, in place: every round zips the first half of the rows with the second, which
   rotates the bits of (row, lane) by one place. */
#define SIMD_TRANSPOSE(REAL)                                                                       \
    FORCE_INLINE void PASTE(transpose, REAL)(PASTE(vec, REAL) * a) {                               \
        enum { L = PASTE(lanes, REAL) };                                                           \
        EACH(round, L == 16 ? 4 : L == 8 ? 3 : L / 2) {                                            \
            PASTE(vec, REAL) b[L];                                                                 \
            EACH(i, L / 2) {                                                                       \
                b[2 * i] = PASTE(zip_low, REAL)(a[i], a[i + L / 2]);                               \
                b[2 * i + 1] = PASTE(zip_high, REAL)(a[i], a[i + L / 2]);                          \
            }                                                                                      \
            EACH(i, L) a[i] = b[i];                                                                \
        }                                                                                          \
    }
SIMD_TRANSPOSE(float)
SIMD_TRANSPOSE(double)

/* The sum and the largest of a vector's lanes. */
#if !defined(__AVX512F__)
#define SIMD_LANEWISE(REAL)                                                                        \
    FORCE_INLINE REAL PASTE(total, REAL)(PASTE(vec, REAL) v) {                                     \
        REAL a[PASTE(lanes, REAL)], s = 0;                                                         \
        PASTE(store, REAL)(a, v);                                                                  \
        for (int i = 0; i < PASTE(lanes, REAL); i++) s += a[i];                                    \
        return s;                                                                                  \
    }                                                                                              \
    FORCE_INLINE REAL PASTE(most, REAL)(PASTE(vec, REAL) v) {                                      \
        REAL a[PASTE(lanes, REAL)], m;                                                             \
        int nan = 0;                                                                               \
        PASTE(store, REAL)(a, v);                                                                  \
        m = a[0];                                                                                  \
        for (int i = 0; i < PASTE(lanes, REAL); i++) {                                             \
            nan |= a[i] != a[i];                                                                   \
            m = a[i] > m ? a[i] : m;                                                               \
        }                                                                                          \
        return nan ? (REAL)NAN : m;                                                                \
    }
SIMD_LANEWISE(float)
SIMD_LANEWISE(double)
#endif

/* A load of a vector's first n lanes, zeros behind, and a store of them. */
#if !defined(__AVX512F__) && !defined(__AVX2__)
#define SIMD_FIRST(REAL)                                                                           \
    FORCE_INLINE PASTE(vec, REAL) PASTE(load_first, REAL)(const REAL *p, ptrdiff_t n) {            \
        REAL a[PASTE(lanes, REAL)] = {0};                                                          \
        for (ptrdiff_t i = 0; i < n; i++) a[i] = p[i];                                             \
        return PASTE(load, REAL)(a);                                                               \
    }                                                                                              \
    FORCE_INLINE void PASTE(store_first, REAL)(REAL * p, PASTE(vec, REAL) v, ptrdiff_t n) {        \
        REAL a[PASTE(lanes, REAL)];                                                                \
        PASTE(store, REAL)(a, v);                                                                  \
        for (ptrdiff_t i = 0; i < n; i++) p[i] = a[i];                                             \
    }
SIMD_FIRST(float)
SIMD_FIRST(double)
#endif
#endif
