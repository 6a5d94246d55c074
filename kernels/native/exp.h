/* exp(x) - 1, exp(x) and log(1 + exp(x)) in vectors, within 2 units of rounding; below the normal numbers exp is 0.

   x = n ln 2 + r with n whole and |r| <= ln 2 / 2; exp(r) - 1 is a polynomial, and 2^n is made of
   bits. exp(x) - 1 = 2^n (exp(r) - 1) + (2^n - 1) does not cancel, even where x is tiny. */
#ifndef VOXKERN_EXP_H
#define VOXKERN_EXP_H
#include "simd.h"

/* The number that leaves no bits below 1 when it is added; ln 2 in two parts, the first of which
   has few enough bits that its products with n are exact; where exp leaves the normal numbers. */
#define ROUNDING_float 12582912.0f
#define ROUNDING_double 6755399441055744.0
#define LN2_float 0.693359375f
#define LN2_REST_float -2.12194440e-4f
#define LN2_double 0.693145751953125
#define LN2_REST_double 1.42860682030941723212e-6
#define LEAST_EXP_float -87.33f
#define LEAST_EXP_double -708.39
#define MOST_EXP_float 88.37f
#define MOST_EXP_double 709.43
/* 2^n is what `of_logs` makes of (n + bias) octaves. */
#define OCTAVE_float 8388608.0f
#define OCTAVE_double 1099511627776.0
#define BIAS_float 127.0f
#define BIAS_double 1023.0

/* (exp(r) - 1 - r) / r^2: of floats by S. Moshier's Cephes, of doubles the series. */
FORCE_INLINE vec_float curve_float(vec_float r) {
    static const float c[] = {1.9875691500e-4f, 1.3981999507e-3f, 8.3334519073e-3f,
                              4.1665795894e-2f, 1.6666665459e-1f, 5.0000001201e-1f};
    vec_float p = all_float(c[0]);
    EACH(i, 5) p = fma_float(p, r, all_float(c[i + 1]));
    return p;
}

FORCE_INLINE vec_double curve_double(vec_double r) {
    static const double c[] = {1 / 6227020800., 1 / 479001600., 1 / 39916800., 1 / 3628800.,
                               1 / 362880.,     1 / 40320.,     1 / 5040.,     1 / 720.,
                               1 / 120.,        1 / 24.,        1 / 6.,        1 / 2.};
    vec_double p = all_double(c[0]);
    EACH(i, 11) p = fma_double(p, r, all_double(c[i + 1]));
    return p;
}

/* log(1 + z) / s of s = z / (2 + z), for z of 0 to 1: twice the series of atanh in s^2 <= 1/9, as far
   as it counts. */
FORCE_INLINE vec_float log1p_curve_float(vec_float square) {
    vec_float p = all_float(2.0f / 15);
    EACH(i, 7) p = fma_float(p, square, all_float(2.0f / (13 - 2 * i)));
    return p;
}

FORCE_INLINE vec_double log1p_curve_double(vec_double square) {
    vec_double p = all_double(2.0 / 33);
    EACH(i, 16) p = fma_double(p, square, all_double(2.0 / (31 - 2 * i)));
    return p;
}

#define REAL float
#include "exp_kernels.h"
#undef REAL
#define REAL double
#include "exp_kernels.h"
#undef REAL
#endif
