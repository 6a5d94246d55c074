/* Vectors of floats and of doubles with one set of names: AVX-512, AVX2, NEON, SSE2, or a vector of
   one lane that leaves the rest to the compiler. `SIMD(load)` is load_float or load_double as REAL
   is. `larger` is NaN where either is, which x86's maximum is only where its second operand is.
   `stream` stores past the caches, to an aligned address (see stream.h).
   `zip_low` and `zip_high` interleave the lanes of two vectors: the first half, the second. `evens`
   are every other lane of two vectors one after the other, from the first. */
#ifndef VOXKERN_SIMD_H
#define VOXKERN_SIMD_H
#include <math.h>
#include <stddef.h>

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
#else
#define PREFETCH(p) ((void)(p))
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
FORCE_INLINE vec_double evens_double(vec_double a, vec_double b) {
    return _mm512_permutex2var_pd(a, _mm512_setr_epi64(0, 2, 4, 6, 8, 10, 12, 14), b);
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
FORCE_INLINE vec_float evens_float(vec_float a, vec_float b) {
    __m256d halves = _mm256_castps_pd(_mm256_shuffle_ps(a, b, 0x88));
    return _mm256_castpd_ps(_mm256_permute4x64_pd(halves, 0xd8));
}
FORCE_INLINE vec_double evens_double(vec_double a, vec_double b) {
    return _mm256_permute4x64_pd(_mm256_unpacklo_pd(a, b), 0xd8);
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
FORCE_INLINE vec_float zip_low_float(vec_float a, vec_float b) { return vzip1q_f32(a, b); }
FORCE_INLINE vec_float zip_high_float(vec_float a, vec_float b) { return vzip2q_f32(a, b); }
FORCE_INLINE vec_double zip_low_double(vec_double a, vec_double b) { return vzip1q_f64(a, b); }
FORCE_INLINE vec_double zip_high_double(vec_double a, vec_double b) { return vzip2q_f64(a, b); }
FORCE_INLINE vec_float evens_float(vec_float a, vec_float b) { return vuzp1q_f32(a, b); }
FORCE_INLINE vec_double evens_double(vec_double a, vec_double b) { return vuzp1q_f64(a, b); }
FORCE_INLINE vec_float larger_float(vec_float a, vec_float b) { return vmaxq_f32(a, b); }
FORCE_INLINE vec_double larger_double(vec_double a, vec_double b) { return vmaxq_f64(a, b); }
FORCE_INLINE vec_float fma_float(vec_float a, vec_float b, vec_float c) {
    return vfmaq_f32(c, a, b);
}
FORCE_INLINE vec_double fma_double(vec_double a, vec_double b, vec_double c) {
    return vfmaq_f64(c, a, b);
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
FORCE_INLINE vec_float zip_low_float(vec_float a, vec_float b) { return _mm_unpacklo_ps(a, b); }
FORCE_INLINE vec_float zip_high_float(vec_float a, vec_float b) { return _mm_unpackhi_ps(a, b); }
FORCE_INLINE vec_double zip_low_double(vec_double a, vec_double b) { return _mm_unpacklo_pd(a, b); }
FORCE_INLINE vec_double zip_high_double(vec_double a, vec_double b) {
    return _mm_unpackhi_pd(a, b);
}
FORCE_INLINE vec_float evens_float(vec_float a, vec_float b) { return _mm_shuffle_ps(a, b, 0x88); }
FORCE_INLINE vec_double evens_double(vec_double a, vec_double b) { return _mm_unpacklo_pd(a, b); }
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
FORCE_INLINE vec_float zip_low_float(vec_float a, vec_float b) { return (void)b, a; }
FORCE_INLINE vec_float zip_high_float(vec_float a, vec_float b) { return (void)a, b; }
FORCE_INLINE vec_double zip_low_double(vec_double a, vec_double b) { return (void)b, a; }
FORCE_INLINE vec_double zip_high_double(vec_double a, vec_double b) { return (void)a, b; }
FORCE_INLINE vec_float evens_float(vec_float a, vec_float b) { return (void)b, a; }
FORCE_INLINE vec_double evens_double(vec_double a, vec_double b) { return (void)b, a; }
FORCE_INLINE vec_float larger_float(vec_float a, vec_float b) { return (b > a) | (b != b) ? b : a; }
FORCE_INLINE vec_double larger_double(vec_double a, vec_double b) {
    return (b > a) | (b != b) ? b : a;
}
FORCE_INLINE vec_float fma_float(vec_float a, vec_float b, vec_float c) { return c + a * b; }
FORCE_INLINE vec_double fma_double(vec_double a, vec_double b, vec_double c) { return c + a * b; }
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
