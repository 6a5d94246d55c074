/* How a count is shared out in blocks. */
#ifndef VOXKERN_SPLIT_H
#define VOXKERN_SPLIT_H
#include <stddef.h>

static inline ptrdiff_t smaller(ptrdiff_t a, ptrdiff_t b) { return a < b ? a : b; }

static inline ptrdiff_t ceil_div(ptrdiff_t a, ptrdiff_t b) { return (a + b - 1) / b; }

/* The largest of blocks of about one size, of at most `most` elements each. */
static inline ptrdiff_t even_block(ptrdiff_t count, ptrdiff_t most) {
    return ceil_div(count, ceil_div(count, most));
}
#endif
