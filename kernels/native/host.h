/* Which CPU levels this host can run. The compiler's builtins also ask whether the system saves
   the wide registers. */
#if defined(_M_X64)
#include <immintrin.h>
#include <intrin.h>
static int cpu_level(void) {
    int leaf1[4], leaf7[4];
    __cpuid(leaf1, 1);
    __cpuidex(leaf7, 7, 0);
    if (!(leaf1[2] >> 27 & 1) || !(leaf1[2] >> 12 & 1)) return 0; /* OSXSAVE, FMA */
    unsigned long long saved = _xgetbv(0);
    int bmi_avx2 = 1 << 3 | 1 << 5 | 1 << 8;
    if ((saved & 6) != 6 || (leaf7[1] & bmi_avx2) != bmi_avx2) return 0;
    int avx512 = 1 << 16 | 1 << 17 | 1 << 28 | 1 << 30 | (int)(1u << 31); /* F DQ CD BW VL */
    return (saved & 0xe6) == 0xe6 && (leaf7[1] & avx512) == avx512 ? 4 : 3;
}
#elif defined(__x86_64__)
static int cpu_level(void) {
#define HAS(feature) __builtin_cpu_supports(feature)
    __builtin_cpu_init();
    if (!(HAS("avx2") && HAS("fma") && HAS("bmi") && HAS("bmi2"))) return 0;
    return HAS("avx512f") && HAS("avx512bw") && HAS("avx512cd") && HAS("avx512dq") &&
                   HAS("avx512vl")
               ? 4
               : 3;
#undef HAS
}
#else
static int cpu_level(void) { return 0; }
#endif

#ifdef _OPENMP
#include <omp.h>
static int openmp_threads(void) { return omp_get_max_threads(); }
#else
static int openmp_threads(void) { return 1; }
#endif
