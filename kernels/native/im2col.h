/* Columns of windows, and their adjoint.

   A row of the result is one kernel position of one channel: runs of the input, one after another,
   with zeros where the padding is. The runs are short (a row of the input), so they are put together
   in a buffer, whole vectors at a time, and go from there to memory in lines; past the cache where
   the result is larger than that, which saves reading what is to be overwritten. */
#ifndef VOXKERN_IM2COL_H
#define VOXKERN_IM2COL_H
#include <string.h>
#include "simd.h"
#include "split.h"
#include "stream.h"

enum { STAGE = 4096 }; /* bytes put together; a multiple of LINE */
enum { VECTOR = lanes_float * sizeof(float) };
enum { AHEAD = 2048 }; /* elements of the columns, fetched before they are added: 1.9 times */
enum { LONG = 2048 };  /* bytes that memcpy is faster for */

typedef struct {
    ptrdiff_t size[3], count[3]; /* of the input, of the windows along each axis */
    ptrdiff_t kernel[3], stride[3], padding[3], dilation[3];
    ptrdiff_t item;      /* bytes of an element */
    const char *x, *end; /* the input, and where it ends */
    char *columns;       /* [sample][channel][kernel position][window] */
    int past_cache;
} Columns;

/* Where one row of the columns comes from: its plane of the input, and the first position read. */
typedef struct {
    ptrdiff_t plane, first[3];
} Row;

static Row find_row(const Columns *c, ptrdiff_t row) {
    Row r;
    for (int i = 2; i >= 0; i--) {
        r.first[i] = row % c->kernel[i] * c->dilation[i] - c->padding[i];
        row /= c->kernel[i];
    }
    r.plane = row;
    return r;
}

/* Windows [*begin, *end) of `count` read positions first + i*stride inside of `size`. */
static void find_inside(ptrdiff_t first, ptrdiff_t stride, ptrdiff_t size, ptrdiff_t count,
                        ptrdiff_t *begin, ptrdiff_t *end) {
    *begin = first < 0 ? smaller(ceil_div(-first, stride), count) : 0;
    *end = first < size ? smaller((size - 1 - first) / stride + 1, count) : 0;
    if (*end < *begin) *end = *begin;
}

/* A result that is written from its first byte to its last: where it is, or in a buffer. */
typedef struct {
    char *out;        /* where the buffer's first byte belongs: the start of a line */
    char *buffer;     /* aligned to a line; the result itself where it is not streamed */
    ptrdiff_t used;   /* bytes of the buffer, */
    ptrdiff_t before; /* and how many of them, at the start, are not ours */
    ptrdiff_t most;   /* bytes before the buffer is flushed */
    ptrdiff_t room;   /* bytes of it that may be written */
    char memory[STAGE + 3 * LINE];
} Writer;

static void start(Writer *w, char *out, ptrdiff_t size, int past_cache) {
    w->out = w->buffer = out;
    w->used = w->before = 0;
    w->room = w->most = size;
    if (!past_cache) return;
    w->used = w->before = (ptrdiff_t)((size_t)out % LINE);
    w->out = out - w->before;
    w->buffer = w->memory + (LINE - (size_t)w->memory % LINE) % LINE;
    w->most = STAGE, w->room = STAGE + 2 * LINE;
}

/* Write the buffer to its place, past the caches. */
NO_INLINE void flush(Writer *w) {
    char *RESTRICT out = w->out;
    const char *RESTRICT buffer = w->buffer;
    ptrdiff_t i = 0, used = w->used;
    if (out == buffer) return;
    if (w->before) {
        i = smaller(LINE, used);
        memcpy(out + w->before, buffer + w->before, (size_t)(i - w->before));
    }
    for (; i + LINE <= used; i += LINE) stream_line(out + i, buffer + i);
    memcpy(out + i, buffer + i, (size_t)(used - i));
    w->out += used, w->used = w->before = 0;
}

/* `n` bytes of zeros; where there is room for a vector more, whole vectors. */
FORCE_INLINE void clear(char *to, ptrdiff_t n, ptrdiff_t room) {
    if (lanes_float == 1 || n + VECTOR > room) memset(to, 0, (size_t)n);
    else
        for (ptrdiff_t i = 0; i < n; i += VECTOR) store_float((float *)(to + i), all_float(0));
}

/* The same with `n` bytes of an input that goes as far as `end`. */
FORCE_INLINE void copy_bytes(char *to, const char *from, ptrdiff_t n, const char *end,
                             ptrdiff_t room) {
    if (lanes_float == 1 || n > LONG || n + VECTOR > room || from + n + VECTOR > end)
        memcpy(to, from, (size_t)n);
    else
        for (ptrdiff_t i = 0; i < n; i += VECTOR)
            store_float((float *)(to + i), load_float((const float *)(from + i)));
}

/* Put `n` bytes, or zeros where there is no source. */
static void put(Writer *w, const char *source, ptrdiff_t n, const char *end) {
    while (n > 0) {
        ptrdiff_t m = smaller(n, w->most - w->used), room = w->room - w->used;
        if (source) copy_bytes(w->buffer + w->used, source, m, end, room), source += m;
        else clear(w->buffer + w->used, m, room);
        w->used += m, n -= m;
        if (w->used == w->most) flush(w);
    }
}

#define GATHER(type)                                                                               \
    for (ptrdiff_t i = 0; i < m; i++)                                                              \
    ((type *)(w->buffer + w->used))[i] = ((const type *)source)[i * stride]
/* Put `n` elements, `stride` apart. */
static void put_strided(Writer *w, const char *source, ptrdiff_t n, ptrdiff_t stride,
                        ptrdiff_t item) {
    while (n > 0) {
        ptrdiff_t m = smaller(n, (w->most - w->used) / item);
        switch (item) {
        case 1: GATHER(unsigned char); break;
        case 2: GATHER(unsigned short); break;
        case 4: GATHER(unsigned int); break;
        default: GATHER(unsigned long long);
        }
        w->used += m * item, source += m * stride * item, n -= m;
        if (w->used == w->most) flush(w);
    }
}
#undef GATHER

/* Put a row of windows: `before` bytes of zeros, `n` of the input, zeros up to `length`. */
FORCE_INLINE void put_row(Writer *w, const char *source, ptrdiff_t before, ptrdiff_t n,
                          ptrdiff_t length, const char *end) {
    char *to = w->buffer + w->used;
    ptrdiff_t room = w->room - w->used;
    if (w->used + length < w->most) {
        clear(to, before, room);
        copy_bytes(to + before, source, n, end, room - before);
        clear(to + before + n, length - before - n, room - before - n);
        w->used += length;
        return;
    }
    put(w, NULL, before, NULL);
    put(w, source, n, end);
    put(w, NULL, length - before - n, NULL);
}

/* Fill one row of the columns. */
static void fill_row(const Columns *c, ptrdiff_t row) {
    Row r = find_row(c, row);
    Writer w;
    const ptrdiff_t item = c->item, length = c->count[2] * item, plane = c->count[1] * length;
    ptrdiff_t begin[3], end[3];
    for (int i = 0; i < 3; i++)
        find_inside(r.first[i], c->stride[i], c->size[i], c->count[i], begin + i, end + i);
    const ptrdiff_t n = end[2] - begin[2], step = c->stride[1] * c->size[2] * item;
    start(&w, c->columns + row * c->count[0] * plane, c->count[0] * plane, c->past_cache);
    put(&w, NULL, begin[0] * plane, NULL);
    for (ptrdiff_t i = begin[0]; i < end[0]; i++) {
        ptrdiff_t z = r.plane * c->size[0] + r.first[0] + i * c->stride[0];
        ptrdiff_t y = r.first[1] + begin[1] * c->stride[1];
        ptrdiff_t x = r.first[2] + begin[2] * c->stride[2];
        const char *source = c->x + ((z * c->size[1] + y) * c->size[2] + x) * item;
        put(&w, NULL, begin[1] * length, NULL);
        for (ptrdiff_t j = begin[1]; j < end[1]; j++, source += step) {
            if (c->stride[2] == 1) {
                put_row(&w, source, begin[2] * item, n * item, length, c->end);
                continue;
            }
            put(&w, NULL, begin[2] * item, NULL);
            put_strided(&w, source, n, c->stride[2], item);
            put(&w, NULL, (c->count[2] - end[2]) * item, NULL);
        }
        put(&w, NULL, (c->count[1] - end[1]) * length, NULL);
    }
    put(&w, NULL, (c->count[0] - end[0]) * plane, NULL);
    flush(&w);
}

/* Fill rows [row, end) of the columns. */
static void fill_rows(const Columns *c, ptrdiff_t row, ptrdiff_t end) {
    for (; row < end; row++) fill_row(c, row);
    if (c->past_cache) stream_end(); /* after each row it takes a third of the time in 2-D */
}

#define ADD_COLUMNS(REAL)                                                                          \
    static void PASTE(add_row, REAL)(const REAL *RESTRICT source, REAL *RESTRICT target,           \
                                     ptrdiff_t n, ptrdiff_t stride) {                              \
        ptrdiff_t i = 0;                                                                           \
        for (ptrdiff_t l = 0; l < n; l += LINE / sizeof(REAL)) PREFETCH(source + l + AHEAD);       \
        if (stride == 1)                                                                           \
            for (; i < n; i++) target[i] += source[i];                                             \
        for (; i < n; i++) target[i * stride] += source[i];                                        \
    }                                                                                              \
    /* Add the columns of one channel of one sample up, in the order of the kernel positions. */   \
    static void PASTE(add_columns, REAL)(const Columns *c, ptrdiff_t channel, const REAL *columns, \
                                         REAL *out) {                                              \
        ptrdiff_t taps = c->kernel[0] * c->kernel[1] * c->kernel[2], begin[3], end[3];             \
        ptrdiff_t volume = c->size[0] * c->size[1] * c->size[2];                                   \
        ptrdiff_t plane = c->count[1] * c->count[2], step = c->stride[1] * c->size[2];             \
        out += channel * volume;                                                                   \
        memset(out, 0, (size_t)volume * sizeof(REAL));                                             \
        for (ptrdiff_t row = channel * taps; row < (channel + 1) * taps; row++) {                  \
            Row r = find_row(c, row);                                                              \
            for (int k = 0; k < 3; k++)                                                            \
                find_inside(r.first[k], c->stride[k], c->size[k], c->count[k], begin + k,          \
                            end + k);                                                              \
            ptrdiff_t y = r.first[1] + begin[1] * c->stride[1];                                    \
            ptrdiff_t x = r.first[2] + begin[2] * c->stride[2];                                    \
            for (ptrdiff_t i = begin[0]; i < end[0]; i++) {                                        \
                ptrdiff_t z = r.first[0] + i * c->stride[0];                                       \
                const REAL *source = columns + (row * c->count[0] + i) * plane + begin[2];         \
                REAL *target = out + (z * c->size[1] + y) * c->size[2] + x;                        \
                for (ptrdiff_t j = begin[1]; j < end[1]; j++, target += step) PASTE(add_row, REAL) \
                (source + j * c->count[2], target, end[2] - begin[2], c->stride[2]);               \
            }                                                                                      \
        }                                                                                          \
    }
ADD_COLUMNS(float)  /* vectorised */
ADD_COLUMNS(double) /* vectorised */
#undef ADD_COLUMNS
#endif
