/* Vectors of floats and of doubles with one set of names: AVX-512, AVX2, NEON, SSE2, or a vector of
   one lane that leaves the rest to the compiler. `SIMD(load)` is load_float or load_double as REAL
   is. `larger` is NaN where either is, which x86's maximum is only where its second operand is. */
#ifndef VOXKERN_SIMD_H
#define VOXKERN_SIMD_H
#include <math.h>
#include <stddef.h>

#if defined(_MSC_VER)
#define FORCE_INLINE static __forceinline
#define RESTRICT __restrict
#else
#define FORCE_INLINE static inline __attribute__((always_inline))
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
FORCE_INLINE vec_float all_float(float s) { return _mm512_set1_ps(s); }
FORCE_INLINE vec_double all_double(double s) { return _mm512_set1_pd(s); }
FORCE_INLINE vec_float add_float(vec_float a, vec_float b) { return _mm512_add_ps(a, b); }
FORCE_INLINE vec_double add_double(vec_double a, vec_double b) { return _mm512_add_pd(a, b); }
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
FORCE_INLINE vec_float all_float(float s) { return _mm256_set1_ps(s); }
FORCE_INLINE vec_double all_double(double s) { return _mm256_set1_pd(s); }
FORCE_INLINE vec_float add_float(vec_float a, vec_float b) { return _mm256_add_ps(a, b); }
FORCE_INLINE vec_double add_double(vec_double a, vec_double b) { return _mm256_add_pd(a, b); }
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
FORCE_INLINE vec_float all_float(float s) { return vdupq_n_f32(s); }
FORCE_INLINE vec_double all_double(double s) { return vdupq_n_f64(s); }
FORCE_INLINE vec_float add_float(vec_float a, vec_float b) { return vaddq_f32(a, b); }
FORCE_INLINE vec_double add_double(vec_double a, vec_double b) { return vaddq_f64(a, b); }
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
FORCE_INLINE vec_float all_float(float s) { return _mm_set1_ps(s); }
FORCE_INLINE vec_double all_double(double s) { return _mm_set1_pd(s); }
FORCE_INLINE vec_float add_float(vec_float a, vec_float b) { return _mm_add_ps(a, b); }
FORCE_INLINE vec_double add_double(vec_double a, vec_double b) { return _mm_add_pd(a, b); }
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
FORCE_INLINE vec_float all_float(float s) { return s; }
FORCE_INLINE vec_double all_double(double s) { return s; }
FORCE_INLINE vec_float add_float(vec_float a, vec_float b) { return a + b; }
FORCE_INLINE vec_double add_double(vec_double a, vec_double b) { return a + b; }
FORCE_INLINE vec_float larger_float(vec_float a, vec_float b) { return (b > a) | (b != b) ? b : a; }
FORCE_INLINE vec_double larger_double(vec_double a, vec_double b) {
    return (b > a) | (b != b) ? b : a;
}
FORCE_INLINE vec_float fma_float(vec_float a, vec_float b, vec_float c) { return c + a * b; }
FORCE_INLINE vec_double fma_double(vec_double a, vec_double b, vec_double c) { return c + a * b; }
#endif

/* The sum and the largest of a vector's lanes, and a load of its first n lanes, zeros behind. */
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
    }                                                                                              \
    FORCE_INLINE PASTE(vec, REAL) PASTE(load_first, REAL)(const REAL *p, ptrdiff_t n) {            \
        REAL a[PASTE(lanes, REAL)] = {0};                                                          \
        for (ptrdiff_t i = 0; i < n; i++) a[i] = p[i];                                             \
        return PASTE(load, REAL)(a);                                                               \
    }
SIMD_LANEWISE(float)
SIMD_LANEWISE(double)
#endif
#endif
