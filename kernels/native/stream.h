/* Stores that pass the caches by, for results larger than they are. */
#include <string.h>
#if defined(__SSE2__) || defined(_M_X64)
#include <immintrin.h>
#endif

enum { LINE = 64 };

/* Copy a line of the cache; `to` is aligned to it. Call stream_end() after the last. */
static inline void stream_line(void *to, const void *from) {
#if defined(__AVX512F__)
    _mm512_stream_si512((void *)to, _mm512_loadu_si512(from));
#elif defined(__AVX__)
    const __m256i *source = (const __m256i *)from;
    for (int i = 0; i < 2; i++)
        _mm256_stream_si256((__m256i *)to + i, _mm256_loadu_si256(source + i));
#elif defined(__SSE2__) || defined(_M_X64)
    const __m128i *source = (const __m128i *)from;
    for (int i = 0; i < 4; i++) _mm_stream_si128((__m128i *)to + i, _mm_loadu_si128(source + i));
#else
    memcpy(to, from, LINE);
#endif
}

/* Order the streamed stores before whatever tells others that they are done. */
static inline void stream_end(void) {
#if defined(__SSE2__) || defined(_M_X64)
    _mm_sfence();
#endif
}
