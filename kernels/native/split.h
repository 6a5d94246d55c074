/* How a count is shared out in blocks. */
#ifndef VOXKERN_SPLIT_H
#define VOXKERN_SPLIT_H
#include <stddef.h>

static inline ptrdiff_t smaller(ptrdiff_t a, ptrdiff_t b) { return a < b ? a : b; }

static inline ptrdiff_t ceil_div(ptrdiff_t a, ptrdiff_t b) { return (a + b - 1) / b; }

/* Threads for `work` elements: waking one more costs as much as moving 2**15 of them. */
static inline int threads_for(ptrdiff_t work, int most) {
    return (int)smaller(most, 1 + (work >> 15));
}

/* The largest of blocks of about one size, of at most `most` elements each. */
static inline ptrdiff_t even_block(ptrdiff_t count, ptrdiff_t most) {
    return ceil_div(count, ceil_div(count, most));
}
#endif
