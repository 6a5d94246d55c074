/* Transitions of every pixel of a video, and how many each made within the last second.

   Pixels go in words of 64 along a row, one bit each. Of large frames a pixel stands for a cell of
   several, of which it is one. A word whose bytes have not moved by a step that may make a
   transition, as screen.py proves, is only read. In the others the luminance is
   computed in 16 bits, whose error light.py measures over all codes: a difference is surely enough,
   surely not, or looked up in the float64 tables of the oracle. */
#ifndef VOXKERN_PSE_H
#define VOXKERN_PSE_H

#include <math.h>
#include <stdint.h>
#include <string.h>
#include "simd.h"
#include "words.h"

enum { WORD = 64 /* pixels, and words of a stretch */, MOST_LANES = 32, MOST_LIGHTS = 8 };

typedef struct {
    const uint8_t *start;
    ptrdiff_t row, step; /* bytes from one sample to the next */
    int across, down;    /* shifts from pixels to samples */
} Plane;

typedef struct {
    Plane plane[3];
} Picture;

/* Codes of a picture, up to `most`; above 255 they are 16 bits wide. Y'CbCr becomes R'G'B' by the
   integers of colour.matrix. */
typedef struct {
    int32_t planes, most, y0, c0, y, rv, gu, gv, bu, shift, black, top;
} Format;

/* Luminance of codes: weights of a float64 table; and in 16 bits, `unit` to 1.0, either
   t * (linear + t * (square + t * cube)) - t * less with t = (code - black) * spread for codes up to
   `white`, a coefficient being a fraction of 2**16, or where spread is 0 a table for each channel. */
typedef struct {
    const double *table;
    const uint16_t *coarse;
    ptrdiff_t size;
    double weight[3], scale, exponent;
    uint16_t black, white, spread, linear[3], square[3], cube[3], less[3];
} Light;

enum { LUMINANCE, RED, LEGACY_RED, RAMP };
enum { UNTURNED, ROSE, FELL };

/* One kind of transition with its thresholds, and the state of every pixel. */
typedef struct {
    int kind, light, levels;
    int32_t still;                           /* where codes move less: none */
    double change, dark, factor;             /* brighter >= darker + change, or * factor */
    uint16_t least, sure, sure_dark, exempt; /* the same in 16 bits, see light.py */
    const double *table;                     /* linear light of red's codes */
    double rows[6][3], share, floor, far;    /* see red_steps in the oracle */
    double white_u, white_v;
    uint16_t black, ratio, red_floor; /* codes that may be saturated: see may_be_red */
    uint64_t *state, *ring;           /* of a word: who rose last, who fell, bits of the counts */
    ptrdiff_t stride;                 /* from the state of a word to that of the next */
    uint64_t *marks; /* of each slot and stretch: the words in which the ring has bits */
    int limit;       /* more transitions than these in a second are too many */
    uint64_t *many, *many_marks;   /* as ring and marks: pixels that then had made too many */
    uint16_t *extreme, *direction; /* of the pixels of the rows of ramps, of these alone */
} Lane;

/* What screen.py proves of the upper bytes of codes: the steps that may change luminance, for chroma
   that is at most 4, 8, 16 or 32 from gray; and what a saturated red needs, in codes of R', G', B',
   and in bytes of Cr. */
enum { TABLES = 4, MILD = 4 };
typedef struct {
    uint8_t steps[TABLES][16];
    uint16_t black, ratio, floor;
    int32_t cr_least, cr_slope, y0;
} Screen;

/* A note of each word of a frame: its row of Screen.steps, TABLES where no row will do; whether Cr is
   enough for a red, and whether Y' allows for one too. */
enum { ROW = 7, HAS_CR = 8, REDDISH = 16 };

typedef struct {
    ptrdiff_t width, height, row_words, words, row_stretches; /* of 64 words */
    int padded;                                               /* pictures have whole words */
    const Format *format;
    const Picture *now, *before;                 /* the frames before, the last one first */
    int befores, lane_count, light_count, ramps; /* watched in each so many rows, 0 for none */
    Lane *lanes;
    const Light *lights;
    int32_t still; /* where codes move less: no transition of luminance */
    const Screen *screen;
    uint8_t *notes;                  /* of this frame */
    const uint8_t *const *noted;     /* of those before, as `before` */
    const int64_t *recent, *expired; /* rows of the ring: the last frames, and those leaving */
    ptrdiff_t expired_count, slot;
} Scene;

typedef struct {
    _Alignas(64) uint16_t code[3][WORD], coarse[MOST_LIGHTS][WORD];
    int lit; /* a bit for each light that coarse has */
} Pixels;

FORCE_INLINE int lowest_of_word(uint64_t bits) {
    return (uint32_t)bits ? lowest_bit((uint32_t)bits) : 32 + lowest_bit((uint32_t)(bits >> 32));
}

FORCE_INLINE int ones(uint64_t bits) {
#if defined(__GNUC__)
    return __builtin_popcountll(bits);
#else
    bits -= bits >> 1 & 0x5555555555555555u;
    bits = (bits & 0x3333333333333333u) + (bits >> 2 & 0x3333333333333333u);
    return (int)(((bits + (bits >> 4)) & 0x0f0f0f0f0f0f0f0fu) * 0x0101010101010101u >> 56);
#endif
}

/* --- codes ------------------------------------------------------------------------------------ */

static inline const uint8_t *sample(const Plane *p, ptrdiff_t y, ptrdiff_t x) {
    return p->start + (y >> p->down) * p->row + (x >> p->across) * p->step;
}

static inline int packed(const Format *f, const Picture *p) {
    const Plane *a = p->plane;
    return f->planes == 3 && f->most < 256 && a[0].step == 3 && a[1].start == a[0].start + 1 &&
           a[2].start == a[0].start + 2 && a[1].row == a[0].row && a[2].row == a[0].row;
}

FORCE_INLINE uint16_t code_at(const Format *f, const Plane *p, ptrdiff_t y, ptrdiff_t x) {
    uint16_t code;
    if (f->most < 256) return *sample(p, y, x);
    memcpy(&code, sample(p, y, x), sizeof code);
    return code < f->most ? code : (uint16_t)f->most;
}

/* n codes of 16 bits that lie behind one another. */
FORCE_INLINE void load_wide(const Format *f, const uint8_t *from, const int n, uint16_t *out) {
    const uint16_t most = (uint16_t)f->most;
    memcpy(out, from, (size_t)n * sizeof *out);
    for (int i = 0; i < n; i++) out[i] = out[i] < most ? out[i] : most;
}

/* n samples of a plane from pixel x on; the rest of the word is 0. */
static inline void load_line(const Format *f, const Plane *p, ptrdiff_t y, ptrdiff_t x, ptrdiff_t n,
                             uint16_t *out) {
    const uint8_t *from = p->start + (y >> p->down) * p->row;
    if (n < WORD) memset(out, 0, WORD * sizeof *out);
    if (f->most < 256 && !p->across && p->step == 1 && n == WORD) {
        EACH(i, WORD) out[i] = from[x + i];
    } else if (f->most < 256 && p->across && p->step == 1 && n == WORD) {
        for (int i = 0; i < WORD / 2; i++) out[2 * i] = out[2 * i + 1] = from[x / 2 + i];
    } else if (f->most > 255 && !p->across && p->step == 2 && n == WORD) {
        load_wide(f, from + 2 * x, WORD, out);
    } else if (f->most > 255) {
        for (ptrdiff_t i = 0; i < n; i++) out[i] = code_at(f, p, y, x + i);
    } else {
        for (ptrdiff_t i = 0; i < n; i++) out[i] = from[((x + i) >> p->across) * p->step];
    }
}

FORCE_INLINE int32_t clip(int32_t x, int32_t top) { return x < 0 ? 0 : x < top ? x : top; }

/* Y'CbCr in place to the grid of R'G'B'. Not inlined, so that compilers heed `restrict`. */
NO_INLINE void to_grid(const Format *f, uint16_t *RESTRICT red, uint16_t *RESTRICT green,
                       uint16_t *RESTRICT blue) {
    const Format m = *f;
    const int32_t base = (1 << (m.shift - 1)) - m.y * m.y0;
    for (int i = 0; i < WORD; i++) {
        const int32_t y = m.y * red[i] + base, cb = green[i] - m.c0, cr = blue[i] - m.c0;
        const int32_t r = (y + m.rv * cr) >> m.shift;
        const int32_t g = (y + m.gu * cb + m.gv * cr) >> m.shift;
        const int32_t b = (y + m.bu * cb) >> m.shift;
        red[i] = (uint16_t)clip(r + m.black, m.top);
        green[i] = (uint16_t)clip(g + m.black, m.top);
        blue[i] = (uint16_t)clip(b + m.black, m.top);
    }
}

/* Samples of a plane of chroma, one for each or for two pixels, of a whole word. */
static inline void load_chroma(const Format *f, const Plane *p, ptrdiff_t y, ptrdiff_t x,
                               uint16_t *out) {
    const uint8_t *from = sample(p, y, x);
    if (!p->across) {
        load_line(f, p, y, x, WORD, out);
        return;
    }
    if (f->most < 256 && p->step == 1) {
        for (int i = 0; i < WORD / 2; i++) out[i] = from[i];
    } else if (f->most > 255 && p->step == 2) {
        load_wide(f, from, WORD / 2, out);
    } else {
        for (int i = 0; i < WORD / 2; i++) out[i] = code_at(f, p, y, x + 2 * i);
    }
}

/* What chroma adds to the grid's codes where it is rounded by itself, and for each of two pixels. */
NO_INLINE void chroma_terms(const Format *f, const uint16_t *RESTRICT cb,
                            const uint16_t *RESTRICT cr, int count, int16_t *RESTRICT red,
                            int16_t *RESTRICT green, int16_t *RESTRICT blue) {
    const Format m = *f;
    const int32_t half = 1 << (m.shift - 1);
    for (int i = 0; i < count; i++) {
        const int32_t u = cb[i] - m.c0, v = cr[i] - m.c0;
        red[i] = (int16_t)((m.rv * v + half) >> m.shift);
        green[i] = (int16_t)((m.gu * u + m.gv * v + half) >> m.shift);
        blue[i] = (int16_t)((m.bu * u + half) >> m.shift);
    }
}

static inline void twice_each(const int16_t *from, int16_t *out) {
    uint32_t pairs[WORD / 2];
    for (int i = 0; i < WORD / 2; i++) pairs[i] = (uint16_t)from[i] * 0x10001u;
    memcpy(out, pairs, sizeof pairs);
}

/* The same as to_grid where a step of Y' is whole steps of the grid, so that what chroma adds is rounded
   by itself: in 16 bits. Where chroma is `halved`, two pixels share it. */
NO_INLINE void to_grid_short(const Format *f, const uint16_t *RESTRICT luma,
                             const uint16_t *RESTRICT cb, const uint16_t *RESTRICT cr, int halved,
                             uint16_t *RESTRICT red, uint16_t *RESTRICT green,
                             uint16_t *RESTRICT blue) {
    const Format m = *f;
    const int16_t step = (int16_t)(m.y >> m.shift), base = (int16_t)(m.black - step * m.y0);
    const int16_t top = (int16_t)m.top;
    int16_t own[3][WORD], pairs[3][WORD];
    chroma_terms(f, cb, cr, halved ? WORD / 2 : WORD, own[0], own[1], own[2]);
    if (halved)
        EACH(c, 3) twice_each(own[c], pairs[c]);
    const int16_t (*term)[WORD] = (const int16_t (*)[WORD])(halved ? pairs : own);
    for (int i = 0; i < WORD; i++) {
        const int16_t y = (int16_t)(step * (int16_t)luma[i] + base);
        const int16_t r = (int16_t)(y + term[0][i]), g = (int16_t)(y + term[1][i]);
        const int16_t b = (int16_t)(y + term[2][i]);
        red[i] = (uint16_t)(r < 0 ? 0 : r < top ? r : top);
        green[i] = (uint16_t)(g < 0 ? 0 : g < top ? g : top);
        blue[i] = (uint16_t)(b < 0 ? 0 : b < top ? b : top);
    }
}

static inline void load_codes(const Format *f, const Picture *p, ptrdiff_t y, ptrdiff_t x,
                              ptrdiff_t n, uint16_t code[3][WORD]) {
    if (n == WORD && packed(f, p)) {
        const uint8_t *from = sample(p->plane, y, x);
        for (int i = 0; i < WORD; i += LANES) {
            words channel[3];
            split_rgb(from + 3 * i, channel);
            EACH(c, 3) store_words(code[c] + i, channel[c]);
        }
        return;
    }
    const int halved = p->plane[1].across;
    if (f->shift && f->y % (1 << f->shift) == 0 && n == WORD && halved == p->plane[2].across) {
        uint16_t part[3][WORD];
        load_line(f, p->plane, y, x, n, part[0]);
        for (int c = 1; c < 3; c++) load_chroma(f, p->plane + c, y, x, part[c]);
        to_grid_short(f, part[0], part[1], part[2], halved, code[0], code[1], code[2]);
        return;
    }
    for (int c = 0; c < f->planes; c++) load_line(f, p->plane + c, y, x, n, code[c]);
    if (f->planes == 1)
        EACH(c, 2) memcpy(code[c + 1], code[0], sizeof code[0]);
    if (f->shift) to_grid(f, code[0], code[1], code[2]);
}

/* --- cells ------------------------------------------------------------------------------------ */

enum { BLOCK = 8 /* cells in a row */ };

/* Squares of 2 or 4 pixels a side, 1 << fold, are each one of theirs: by blocks of a row, a cell's lines
   and columns come in turn, so that what the edges of a shape lose in some they gain in others. */
FORCE_INLINE ptrdiff_t place(ptrdiff_t turn, int fold) {
    static const uint8_t far_apart[4] = {0, 2, 1, 3};
    return fold == 2 ? far_apart[turn & 3] : turn & fold;
}

/* n codes of 8 or 16 bits, so many bytes apart. */
FORCE_INLINE void take_apart(const uint8_t *from, ptrdiff_t apart, int wide, ptrdiff_t n,
                             uint8_t *out) {
    for (ptrdiff_t i = 0; i < n; i++)
        memcpy(out + (i << wide), from + i * apart, (size_t)1 << wide);
}

/* Whether the first byte of a number is its lowest. */
FORCE_INLINE int lowest_first(void) {
    const uint16_t one = 1;
    return *(const uint8_t *)&one;
}

/* The codes of a whole block, `shift` bytes into every TYPE, in one load. */
#define TAKE_BLOCK(TYPE, CODE, from, shift, out)                                                   \
    do {                                                                                           \
        TYPE all[BLOCK];                                                                           \
        CODE code[BLOCK];                                                                          \
        memcpy(all, from, sizeof all);                                                             \
        for (int i = 0; i < BLOCK; i++) code[i] = (CODE)(all[i] >> 8 * (shift));                   \
        memcpy(out, code, sizeof code);                                                            \
    } while (0)

/* A row of cells of a plane of 8 or `wide` 16 bits: `width` codes, and zeros in the rest of `room`. The
   lines below are asked for meanwhile, in order. */
FORCE_INLINE void fold_row(const Plane *p, int fold, int wide, ptrdiff_t row, ptrdiff_t width,
                           ptrdiff_t room, int ahead, uint8_t *out) {
    const ptrdiff_t cell = 1 << fold, apart = (cell >> p->across) * p->step, jump = BLOCK * apart;
    const ptrdiff_t blocks = width / BLOCK, left = width % BLOCK;
    memset(out + (width << wide), 0, (size_t)((room - width) << wide));
    for (ptrdiff_t k = 0; k < cell; k++) { /* every cell-th block */
        const uint8_t *line = sample(p, (row << fold) + place(row + k, fold), 0);
        const uint8_t *below = ahead ? sample(p, (row + 1) << fold, 0) + k * p->row : line;
        const ptrdiff_t asked = ahead && k < cell >> p->down ? cell * jump : 0;
        ptrdiff_t turn = row + (row >> fold) + 2 * k, b = k;
        for (; b < blocks; b += cell, turn++) {
            const uint8_t *from = line + b * jump;
            const ptrdiff_t at = (place(turn, fold) >> p->across) * p->step;
            uint8_t *to = out + (b * BLOCK << wide);
            for (ptrdiff_t i = 0; i < asked; i += 64) PREFETCH(below + (b - k) * jump + i);
            if (p->step == 1 && apart == 4 && lowest_first()) {
                TAKE_BLOCK(uint32_t, uint8_t, from, at, to);
            } else if (p->step == 1 && apart == 2 && lowest_first()) {
                TAKE_BLOCK(uint16_t, uint8_t, from, at, to);
            } else if (wide && p->step == 2 && apart == 8 && lowest_first()) {
                TAKE_BLOCK(uint64_t, uint16_t, from, at, to);
            } else if (wide && p->step == 2 && apart == 4 && lowest_first()) {
                TAKE_BLOCK(uint32_t, uint16_t, from, at, to);
            } else {
                take_apart(from + at, apart, wide, BLOCK, to);
            }
        }
        if (b == blocks && left) {
            const ptrdiff_t at = (place(turn, fold) >> p->across) * p->step;
            take_apart(line + b * jump + at, apart, wide, left, out + (b * BLOCK << wide));
        }
    }
}

/* Rows of cells of a picture, one plane after the other, each row of whole words. */
static void fold_rows(const Scene *s, const Picture *from, int fold, ptrdiff_t begin, ptrdiff_t end,
                      uint8_t *out) {
    const ptrdiff_t room = s->row_words * WORD;
    for (ptrdiff_t y = begin; y < end; y++)
        for (int c = 0; c < s->format->planes; c++) {
            const ptrdiff_t at = (c * s->height + y) * room;
            const int ahead = y + 1 < s->height && !(c && packed(s->format, from));
            if (s->format->most < 256) {
                fold_row(from->plane + c, fold, 0, y, s->width, room, ahead, out + at);
            } else {
                fold_row(from->plane + c, fold, 1, y, s->width, room, ahead, out + 2 * at);
            }
        }
}

/* --- how far codes moved ---------------------------------------------------------------------- */

FORCE_INLINE int32_t bytes_apart(const uint8_t *a, const uint8_t *b, int n) {
    uint8_t most = 0;
    for (int i = 0; i < n; i++) {
        const uint8_t apart = (uint8_t)(a[i] > b[i] ? a[i] - b[i] : b[i] - a[i]);
        most = apart > most ? apart : most;
    }
    return most;
}

static inline int32_t plane_apart(const Format *f, const Plane *a, const Plane *b, ptrdiff_t y,
                                  ptrdiff_t x, ptrdiff_t n) {
    if (f->most < 256 && a->step == 1 && b->step == 1 && n == WORD) {
        if (a->across) return bytes_apart(sample(a, y, x), sample(b, y, x), WORD / 2);
        return bytes_apart(sample(a, y, x), sample(b, y, x), WORD);
    }
    uint16_t before[WORD], now[WORD], most = 0;
    load_line(f, a, y, x, n, before);
    load_line(f, b, y, x, n, now);
    for (int i = 0; i < WORD; i++) {
        const uint16_t apart =
            (uint16_t)(now[i] > before[i] ? now[i] - before[i] : before[i] - now[i]);
        most = apart > most ? apart : most;
    }
    return most;
}

/* The upper bytes of a plane's samples in a word: `count` in the plane itself, or in `room`, where
   there is one for each of the n pixels and zeros behind them. */
static inline const uint8_t *upper_bytes(const Format *f, const Plane *p, ptrdiff_t y, ptrdiff_t x,
                                         ptrdiff_t n, uint8_t *room, int *count) {
    const int direct = f->most < 256 && p->step == 1 && n == WORD;
    *count = direct ? WORD >> p->across : (int)n;
    if (direct) return sample(p, y, x);
    uint16_t code[WORD];
    int shift = 0;
    while (f->most >> shift > 255) shift++;
    load_line(f, p, y, x, n, code);
    for (int i = 0; i < WORD; i++) room[i] = (uint8_t)(code[i] >> shift);
    return room;
}

/* 0 where no byte of a word moved, 1 where one did, 2 where one moved by a step of the table. */
static inline int octets_moved(const uint8_t *a, const uint8_t *b, int n, const uint8_t *table) {
    octets most = all_octets(0);
    int far = 0;
    for (int i = 0; i < n; i += OCTETS) {
        const octets before = load_octets(a + i), now = load_octets(b + i);
        const octets step = apart(before, now);
        far |= any_reaches(step, by_height(table, larger_octets(before, now)));
        most = larger_octets(most, step);
    }
    return far ? 2 : any_reaches(most, all_octets(1));
}

/* The same of all that luminance follows from: Y' (whose chroma the table allows for), or R', G', B'. */
static inline int heights_moved(const Format *f, const Picture *a, const Picture *b, ptrdiff_t y,
                                ptrdiff_t x, ptrdiff_t n, const uint8_t *table) {
    if (n == WORD && packed(f, a) && packed(f, b))
        return octets_moved(sample(a->plane, y, x), sample(b->plane, y, x), 3 * WORD, table);
    uint8_t room[2][WORD];
    int result = 0, count;
    for (int c = 0; c < (f->shift ? 1 : f->planes); c++) {
        const uint8_t *before = upper_bytes(f, a->plane + c, y, x, n, room[0], &count);
        const uint8_t *now = upper_bytes(f, b->plane + c, y, x, n, room[1], &count);
        const int moved = octets_moved(before, now, WORD, table);
        result = moved > result ? moved : result;
    }
    return result;
}

/* A bound of how far any code of R', G', B' moved in a word: 0 only where nothing did. */
static inline int32_t moved(const Format *f, const Picture *a, const Picture *b, ptrdiff_t y,
                            ptrdiff_t x, ptrdiff_t n) {
    if (n == WORD && packed(f, a) && packed(f, b))
        return bytes_apart(sample(a->plane, y, x), sample(b->plane, y, x), 3 * WORD);
    int32_t apart[3] = {0, 0, 0};
    for (int c = 0; c < f->planes; c++)
        apart[c] = plane_apart(f, a->plane + c, b->plane + c, y, x, n);
    if (!f->shift) {
        const int32_t most = apart[0] > apart[1] ? apart[0] : apart[1];
        return most > apart[2] ? most : apart[2];
    }
    if (!(apart[0] | apart[1] | apart[2])) return 0;
    const int32_t red = f->rv * apart[2], blue = f->bu * apart[1];
    const int32_t green = -f->gu * apart[1] - f->gv * apart[2];
    int32_t chroma = red > green ? red : green;
    chroma = chroma > blue ? chroma : blue;
    return ((f->y * apart[0] + chroma) >> f->shift) + 1;
}

/* --- luminance -------------------------------------------------------------------------------- */

static inline double luminance(const Light *l, const uint16_t code[3][WORD], int i) {
    const double sum = l->weight[0] * l->table[code[0][i]] + l->weight[1] * l->table[code[1][i]] +
                       l->weight[2] * l->table[code[2][i]];
    return l->exponent == 1 ? sum : l->scale * pow(sum, l->exponent);
}

static inline void coarse_luminance(const Light *l, const uint16_t code[3][WORD], uint16_t *out) {
    if (!l->spread) {
        const uint16_t *r = l->coarse, *g = r + l->size, *b = g + l->size;
        for (int i = 0; i < WORD; i++)
            out[i] = (uint16_t)(r[code[0][i]] + g[code[1][i]] + b[code[2][i]]);
        return;
    }
    for (int i = 0; i < WORD; i += LANES) {
        words sum = all_words(0);
        EACH(c, 3) {
            const words own = smaller_words(load_words(code[c] + i), all_words(l->white));
            const words t = product(excess(own, all_words(l->black)), all_words(l->spread));
            words h = add_words(all_words(l->square[c]), upper(t, all_words(l->cube[c])));
            h = upper(t, add_words(all_words(l->linear[c]), upper(t, h)));
            sum = add_words(sum, excess(h, upper(t, all_words(l->less[c]))));
        }
        store_words(out + i, sum);
    }
}

/* A bit for every pixel in which a - b >= least, which is not 0. */
FORCE_INLINE uint64_t exceeds(const uint16_t *a, const uint16_t *b, uint16_t least) {
    uint64_t bits = 0;
    for (int i = 0; i < WORD; i += LANES) {
        const words over = excess(load_words(a + i), load_words(b + i));
        bits |= (uint64_t)at_least(over, all_words(least)) << i;
    }
    return bits;
}

/* A bit for every pixel in which a >= least. */
FORCE_INLINE uint64_t reaches(const uint16_t *a, uint16_t least) {
    uint64_t bits = 0;
    for (int i = 0; i < WORD; i += LANES)
        bits |= (uint64_t)at_least(load_words(a + i), all_words(least)) << i;
    return bits;
}

/* Whether a pixel goes from a darker state to a brighter one. */
static inline int brightens(const Lane *lane, const Light *l, const Pixels *darker,
                            const Pixels *brighter, int i) {
    const double dark = luminance(l, darker->code, i), bright = luminance(l, brighter->code, i);
    return bright >= (dark < lane->dark ? dark + lane->change : dark * lane->factor);
}

/* Pixels that brighten, and those that darken. */
static inline void lightened(const Lane *lane, const Light *l, const Pixels *before,
                             const Pixels *now, uint64_t *rises, uint64_t *falls) {
    const uint16_t *old = before->coarse[lane->light], *new = now->coarse[lane->light];
    uint64_t up = exceeds(new, old, lane->least), down = exceeds(old, new, lane->least);
    if (!(up | down)) return;
    if (lane->exempt) up &= ~reaches(old, lane->exempt), down &= ~reaches(new, lane->exempt);
    const uint64_t sure = (exceeds(new, old, lane->sure) & ~reaches(old, lane->sure_dark)) |
                          (exceeds(old, new, lane->sure) & ~reaches(new, lane->sure_dark));
    for (uint64_t open = (up | down) & ~sure; open; open &= open - 1) {
        const int i = lowest_of_word(open);
        const uint64_t bit = open & (0 - open);
        if (up & bit ? brightens(lane, l, before, now, i) : brightens(lane, l, now, before, i))
            continue;
        up &= ~bit, down &= ~bit;
    }
    *rises = up, *falls = down;
}

/* --- red -------------------------------------------------------------------------------------- */

/* No pixel without its bit is saturated: R' is at least `floor` and (1 + ratio) times G' and B', all
   above black. */
static inline uint64_t may_be_red(const uint16_t code[3][WORD], uint16_t dark, uint16_t ratio,
                                  uint16_t floor) {
    uint64_t bits = 0;
    const words black = all_words(dark);
    for (int i = 0; i < WORD; i += LANES) {
        const words r = excess(load_words(code[0] + i), black);
        const words other =
            excess(larger_words(load_words(code[1] + i), load_words(code[2] + i)), black);
        const uint32_t red = at_least(r, all_words(floor)) & at_least(r, other) &
                             at_least(excess(r, other), upper(other, all_words(ratio)));
        bits |= (uint64_t)red << i;
    }
    return bits;
}

FORCE_INLINE double row_of(const double m[3], const double rgb[3]) {
    return m[0] * rgb[0] + m[1] * rgb[1] + m[2] * rgb[2];
}

typedef struct {
    int red;
    double u, v, amount;
} Hue;

static inline Hue hue(const Lane *lane, const uint16_t code[3][WORD], int i) {
    double rgb[3];
    Hue h = {0, lane->white_u, lane->white_v, 0};
    EACH(c, 3) rgb[c] = lane->table[code[c][i]];
    const double r = row_of(lane->rows[0], rgb), g = row_of(lane->rows[1], rgb);
    const double b = row_of(lane->rows[2], rgb);
    h.red = r >= lane->share * (r + g + b) && r - g - b >= lane->floor;
    if (lane->kind == LEGACY_RED) {
        h.red = r >= lane->share * (r + g + b) && r > 0;
        h.amount = r - g - b > 0 ? (r - g - b) * 320 : 0;
        return h;
    }
    const double x = row_of(lane->rows[3], rgb), y = row_of(lane->rows[4], rgb);
    const double total = x + 15 * y + 3 * row_of(lane->rows[5], rgb);
    if (total > 0) h.u = 4 * x / total, h.v = 9 * y / total;
    return h;
}

static inline int same_codes(const uint16_t code[3][WORD], int i, int j) {
    return code[0][i] == code[0][j] && code[1][i] == code[1][j] && code[2][i] == code[2][j];
}

/* Pixels that go to saturated red, and those that leave it; neighbours are often equal. */
static inline void reddened(const Lane *lane, const Pixels *before, const Pixels *now,
                            uint64_t *rises, uint64_t *falls) {
    uint64_t open = may_be_red(before->code, lane->black, lane->ratio, lane->red_floor) |
                    may_be_red(now->code, lane->black, lane->ratio, lane->red_floor);
    for (int last = -1; open; open &= open - 1) {
        const int i = lowest_of_word(open);
        if (last >= 0 && same_codes(before->code, last, i) && same_codes(now->code, last, i)) {
            *rises |= (*rises >> last & 1) << i, *falls |= (*falls >> last & 1) << i;
            continue;
        }
        last = i;
        if (before->code[0][i] == now->code[0][i] && before->code[1][i] == now->code[1][i] &&
            before->code[2][i] == now->code[2][i])
            continue;
        const Hue a = hue(lane, before->code, i), b = hue(lane, now->code, i);
        const uint64_t bit = (uint64_t)1 << i;
        if (lane->kind == LEGACY_RED) {
            if ((a.red || b.red) && b.amount - a.amount > lane->far) *rises |= bit;
            if ((a.red || b.red) && a.amount - b.amount > lane->far) *falls |= bit;
        } else if ((b.u - a.u) * (b.u - a.u) + (b.v - a.v) * (b.v - a.v) > lane->far * lane->far) {
            if (b.red && (!a.red || b.u > a.u)) *rises |= bit;
            if (a.red && (!b.red || a.u > b.u)) *falls |= bit;
        }
    }
}

/* --- state ------------------------------------------------------------------------------------ */

/* Count up the pixels of `done`, down those of `gone`: bit planes of a binary number. */
FORCE_INLINE void recount(uint64_t *count, int levels, uint64_t done, uint64_t gone) {
    uint64_t carry = done & ~gone, borrow = gone & ~done;
    for (int p = 0; p < levels && (carry | borrow); p++) {
        const uint64_t before = count[p];
        count[p] = before ^ carry ^ borrow;
        carry &= before;
        borrow &= ~before;
    }
}

/* The pixels of `within` whose count is at least n. */
FORCE_INLINE uint64_t reached(const uint64_t *count, int levels, int n, uint64_t within) {
    uint64_t more = 0, equal = n >> levels ? 0 : within;
    for (int p = levels - 1; p >= 0 && equal; p--) {
        const uint64_t set = n >> p & 1 ? ~(uint64_t)0 : 0;
        more |= equal & count[p] & ~set;
        equal &= ~(count[p] ^ set);
    }
    return more | equal;
}

/* Take the steps of a word into its pixels' states; how many transitions these are, and the pixels
   that have now made too `many`. A step in the direction of the last transition is one with it,
   unless that was more than a second ago. */
static inline int turn(const Scene *s, const Lane *lane, ptrdiff_t at, uint64_t rises,
                       uint64_t falls, uint64_t *many) {
    uint64_t *rose = lane->state + at * lane->stride, *fell = rose + 1, *count = rose + 2;
    for (ptrdiff_t e = 0; e < s->expired_count; e++) {
        const uint64_t gone = lane->ring[s->expired[e] * s->words + at];
        if (gone) recount(count, lane->levels, 0, gone);
    }
    uint64_t same = (rises & *rose) | (falls & *fell), counted = 0;
    for (int p = 0; same && p < lane->levels; p++) counted |= count[p];
    same &= counted;
    const uint64_t up = rises & ~(same & *rose), down = falls & ~(same & *fell) & ~up;
    const uint64_t done = up | down;
    *many = 0;
    if (done) {
        *rose = (*rose & ~down) | up;
        *fell = (*fell & ~up) | down;
        recount(count, lane->levels, done, 0);
        *many = reached(count, lane->levels, lane->limit + 1, done);
    }
    lane->ring[s->slot * s->words + at] = done;
    return ones(done);
}

/* Pixels of the word that begins at x. */
FORCE_INLINE ptrdiff_t pixels_from(const Scene *s, ptrdiff_t x) {
    return s->padded || s->width - x >= WORD ? WORD : s->width - x;
}

static inline void load_pixels(const Scene *s, const Picture *p, ptrdiff_t y, ptrdiff_t x,
                               ptrdiff_t n, Pixels *out) {
    load_codes(s->format, p, y, x, n, out->code);
    out->lit = 0;
}

static inline void light_up(const Scene *s, Pixels *pixels, int light) {
    if (pixels->lit >> light & 1) return;
    coarse_luminance(s->lights + light, pixels->code, pixels->coarse[light]);
    pixels->lit |= 1 << light;
}

/* What a word does in a frame: its steps where there are `any`, and its pixels where `loaded`. */
typedef struct {
    uint64_t rises[MOST_LANES], falls[MOST_LANES];
    Pixels now;
    int loaded, any;
} Steps;

/* The pixels of a word and no steps, to begin with. */
static inline void begin_steps(const Scene *s, ptrdiff_t y, ptrdiff_t x, ptrdiff_t n,
                               Steps *steps) {
    if (steps->loaded) return;
    for (int j = 0; j < s->lane_count; j++) steps->rises[j] = steps->falls[j] = 0;
    load_pixels(s, s->now, y, x, n, &steps->now);
    steps->loaded = 1;
}

/* The least and the most of some bytes. */
FORCE_INLINE void extremes_of(const uint8_t *p, int n, int *least, int *most) {
    uint8_t low = 255, high = 0;
    for (int i = 0; i < n; i++) {
        low = p[i] < low ? p[i] : low;
        high = p[i] > high ? p[i] : high;
    }
    *least = low, *most = high;
}

static inline void extremes(const uint8_t *p, int n, int *least, int *most) {
    if (n == WORD) {
        extremes_of(p, WORD, least, most); /* a length that compilers know */
    } else {
        extremes_of(p, n, least, most);
    }
}

/* How far a word's chroma is from gray, as a note. */
static inline int note_chroma(const Scene *s, ptrdiff_t y, ptrdiff_t x, ptrdiff_t n) {
    uint8_t room[2][WORD];
    const int least = s->screen->cr_least;
    octets far = all_octets(0), most = far;
    int row = 0;
    for (int c = 1; c < 3; c++) { /* Cb, whose `most` is not wanted, then Cr */
        int count;
        const uint8_t *chroma = upper_bytes(s->format, s->now->plane + c, y, x, n, room[0], &count);
        if (count < WORD) {
            memset(room[1], chroma[0], WORD);
            chroma = memcpy(room[1], chroma, (size_t)count);
        }
        most = all_octets(0);
        for (int i = 0; i < WORD; i += OCTETS) {
            const octets v = load_octets(chroma + i);
            far = larger_octets(far, apart(v, all_octets(128)));
            most = larger_octets(most, v);
        }
    }
    EACH(i, TABLES) row += any_reaches(far, all_octets((MILD << i) + 1));
    const int red = least < 128 && any_reaches(most, all_octets((uint8_t)(128 + least)));
    return row | (red ? HAS_CR : 0);
}

/* The note of a word of Y'CbCr; of two rows that share their chroma the first has looked at it. */
static inline int note_coded(const Scene *s, ptrdiff_t y, ptrdiff_t x, ptrdiff_t n, int above) {
    const Plane *plane = s->now->plane;
    uint8_t room[WORD];
    int note = above < 0 ? note_chroma(s, y, x, n) : above & ~REDDISH, count, least, most, darkest;
    if (!(note & HAS_CR)) return note;
    const uint8_t *cr = upper_bytes(s->format, plane + 2, y, x, n, room, &count);
    extremes(cr, count, &least, &most);
    const int64_t needed = (int64_t)(most - 126) << 16; /* with what rounding takes away */
    const uint8_t *luma = upper_bytes(s->format, plane, y, x, n, room, &count);
    extremes(luma, count, &darkest, &most);
    return needed >= (int64_t)(darkest - s->screen->y0) * s->screen->cr_slope ? note | REDDISH
                                                                              : note;
}

/* The note of a word of R'G'B' or gray, whose steps begin with it. */
static inline int note_red(const Scene *s, ptrdiff_t y, ptrdiff_t x, ptrdiff_t n, Steps *steps) {
    const Screen *c = s->screen;
    if (s->format->planes == 1) return 0;
    begin_steps(s, y, x, n, steps);
    return may_be_red(steps->now.code, c->black, c->ratio, c->floor) ? REDDISH : 0;
}

/* Steps of a word from one frame, the last but k, to this one. */
static inline void step_from(const Scene *s, ptrdiff_t y, ptrdiff_t x, int k, int light, int red,
                             int32_t far, Steps *steps) {
    const ptrdiff_t n = pixels_from(s, x), at = y * s->row_words + x / WORD;
    Pixels before;
    begin_steps(s, y, x, n, steps);
    load_pixels(s, s->before + k, y, x, n, &before);
    for (int j = 0; j < s->lane_count; j++) {
        const Lane *lane = s->lanes + j;
        uint64_t up = 0, down = 0, since = 0;
        if (lane->kind == LUMINANCE && light) {
            light_up(s, &steps->now, lane->light);
            light_up(s, &before, lane->light);
            lightened(lane, s->lights + lane->light, &before, &steps->now, &up, &down);
        } else if ((lane->kind == RED || lane->kind == LEGACY_RED) && red && far >= lane->still) {
            reddened(lane, &before, &steps->now, &up, &down);
        }
        if (!(up | down)) continue;
        for (int i = 0; i < k; i++) since |= lane->ring[s->recent[i] * s->words + at];
        steps->rises[j] |= up & ~since;
        steps->falls[j] |= down & ~since;
        steps->any |= ((up | down) & ~since) != 0;
    }
}

/* Steps of a word from the frames before to this one, whose note is taken; `second` where the row
   above has the same chroma. */
static inline void step_word(const Scene *s, ptrdiff_t y, ptrdiff_t x, int second, Steps *steps) {
    const ptrdiff_t n = pixels_from(s, x), at = y * s->row_words + x / WORD;
    const int coded = s->format->shift != 0;
    const int deep = s->format->most > 255; /* below the upper bytes there are others */
    int note = -1;
    steps->loaded = steps->any = 0;
    if (coded) note = note_coded(s, y, x, n, second ? s->notes[at - s->row_words] : -1);
    for (int k = 0; k < s->befores; k++) {
        const int other = s->noted[k][at], one = note & ROW, two = other & ROW;
        const int far_from_gray = !coded ? 0 : one > two ? one : two;
        const int wild = far_from_gray == TABLES;
        const uint8_t *table = s->screen->steps[wild ? 0 : far_from_gray];
        const int moved_by = heights_moved(s->format, s->before + k, s->now, y, x, n, table);
        if (note < 0) note = moved_by || deep ? note_red(s, y, x, n, steps) : other;
        int light = moved_by == 2, red = (note | other) & REDDISH;
        int32_t far = 0;
        if (red || wild) far = moved(s->format, s->before + k, s->now, y, x, n);
        if (wild) light = far >= s->still;
        if (light || (red && far)) step_from(s, y, x, k, light, red, far, steps);
    }
    s->notes[at] = (uint8_t)(note < 0 ? note_red(s, y, x, n, steps) : note);
}

/* Turns of a word's luminance from its last extreme by `least`, however long they take. All in 16
   bits and without branches, which compilers make vectors of. */
NO_INLINE void turn_ramps(const uint16_t *RESTRICT light, uint16_t *RESTRICT extreme,
                          uint16_t *RESTRICT direction, uint16_t least, uint16_t dark,
                          uint16_t *RESTRICT rise, uint16_t *RESTRICT fall) {
    for (int i = 0; i < WORD; i++) {
        const uint16_t l = light[i], d = direction[i], old = extreme[i];
        const uint16_t most = old > l ? old : l, lowest = old < l ? old : l;
        const uint16_t e = d == ROSE ? most : d == FELL ? lowest : old;
        const uint16_t risen = (uint16_t)(l > e ? l - e : 0),
                       fallen = (uint16_t)(e > l ? e - l : 0);
        const uint16_t up = (d != ROSE) & (risen >= least) & (e < dark);
        const uint16_t down = (d != FELL) & (fallen >= least) & (l < dark);
        rise[i] = up, fall[i] = down;
        extreme[i] = up | down ? l : e;
        direction[i] = up ? ROSE : down ? FELL : d;
    }
}

/* After step_word, for lanes of ramps. */
static inline void ramp_word(const Scene *s, ptrdiff_t y, ptrdiff_t x, Steps *steps) {
    const ptrdiff_t n = pixels_from(s, x), at = y / s->ramps * s->row_words * WORD + x;
    uint16_t rise[WORD], fall[WORD];
    if (s->befores && !moved(s->format, s->before, s->now, y, x, n)) return;
    begin_steps(s, y, x, n, steps);
    for (int j = 0; j < s->lane_count; j++) {
        const Lane *lane = s->lanes + j;
        if (lane->kind != RAMP) continue;
        light_up(s, &steps->now, lane->light);
        const uint16_t *light = steps->now.coarse[lane->light];
        if (!s->befores) memcpy(lane->extreme + at, light, sizeof rise);
        turn_ramps(light, lane->extreme + at, lane->direction + at, lane->least, lane->sure_dark,
                   rise, fall);
        steps->rises[j] = reaches(rise, 1), steps->falls[j] = reaches(fall, 1);
        steps->any |= (steps->rises[j] | steps->falls[j]) != 0;
    }
}

/* Words of a stretch in which a lane's ring has bits that leave, or that the new slot still holds. */
static inline uint64_t leaving(const Scene *s, const Lane *lane, ptrdiff_t stretch) {
    const ptrdiff_t size = s->height * s->row_stretches;
    uint64_t found = lane->marks[s->slot * size + stretch];
    for (ptrdiff_t e = 0; e < s->expired_count; e++)
        found |= lane->marks[s->expired[e] * size + stretch];
    return found;
}

/* A frame in a row's words from `first` on, up to 64 of them. */
static void step_stretch(const Scene *s, ptrdiff_t y, ptrdiff_t first, int second, int64_t *done) {
    static const Steps none;
    const ptrdiff_t left = s->row_words - first, count = left < WORD ? left : WORD;
    const ptrdiff_t stretch = y * s->row_stretches + first / WORD;
    const ptrdiff_t slot = s->slot * s->height * s->row_stretches + stretch;
    uint64_t leave[MOST_LANES], come[MOST_LANES], all = 0;
    Steps steps;
    for (int j = 0; j < s->lane_count; j++) {
        const Lane *lane = s->lanes + j;
        all |= leave[j] = leaving(s, lane, stretch);
        come[j] = lane->many_marks[slot] = 0;
        for (uint64_t open = leave[j]; open; open &= open - 1)
            PREFETCH(lane->state +
                     (y * s->row_words + first + lowest_of_word(open)) * lane->stride);
    }
    for (ptrdiff_t i = 0; i < count; i++) {
        step_word(s, y, (first + i) * WORD, second, &steps);
        if (s->ramps && y % s->ramps == 0) ramp_word(s, y, (first + i) * WORD, &steps);
        if (!(steps.any | (all >> i & 1))) continue;
        const Steps *these = steps.any ? &steps : &none;
        for (int j = 0; j < s->lane_count; j++) {
            const Lane *lane = s->lanes + j;
            const ptrdiff_t at = y * s->row_words + first + i;
            const uint64_t up = these->rises[j], down = these->falls[j];
            uint64_t many;
            if (!(up | down | (leave[j] >> i & 1))) continue;
            const int turned = turn(s, lane, at, up, down, &many);
            come[j] |= (uint64_t)(turned > 0) << i;
            done[2 * j] += turned;
            if (!many) continue;
            lane->many[s->slot * s->words + at] = many;
            lane->many_marks[slot] |= (uint64_t)1 << i;
            done[2 * j + 1] += ones(many);
        }
    }
    for (int j = 0; j < s->lane_count; j++) s->lanes[j].marks[slot] = come[j];
}

/* `done` has for each lane its transitions and those of pixels that had made too many. */
static void step_rows(const Scene *s, ptrdiff_t begin, ptrdiff_t end, int64_t *done) {
    for (ptrdiff_t y = begin; y < end; y++)
        for (ptrdiff_t first = 0; first < s->row_words; first += WORD)
            step_stretch(s, y, first, y > begin && y & s->now->plane[1].down, done);
}

/* --- counts and areas ------------------------------------------------------------------------- */

/* Slots of a ring whose bits are wanted together, and the marks of its words. */
typedef struct {
    const uint64_t *ring, *marks;
    const int64_t *slots;
    ptrdiff_t count;
} Slots;

/* Bits of every `step`-th row, from one to another of these, that are in any of the slots and whose
   count is at least n, into mask; how many there are. Every bit of a slot of the last second has made
   one transition or more. */
static int64_t gather_rows(const Scene *s, const Lane *lane, const Slots *from, int n, int step,
                           ptrdiff_t begin, ptrdiff_t end, uint64_t *mask) {
    int64_t total = 0;
    for (ptrdiff_t r = begin; r < end; r++) {
        const ptrdiff_t y = r * step, at = y * s->row_words;
        uint64_t *row = mask + r * s->row_words;
        memset(row, 0, (size_t)s->row_words * sizeof *row);
        for (ptrdiff_t i = 0; i < s->row_stretches; i++) {
            uint64_t all = 0;
            for (ptrdiff_t k = 0; k < from->count; k++) {
                const ptrdiff_t slot = from->slots[k];
                const uint64_t *bits = from->ring + slot * s->words + at;
                uint64_t open = from->marks[(slot * s->height + y) * s->row_stretches + i];
                for (all |= open; open; open &= open - 1) {
                    const ptrdiff_t word = i * WORD + lowest_of_word(open);
                    row[word] |= bits[word];
                }
            }
            for (; all; all &= all - 1) {
                const ptrdiff_t word = i * WORD + lowest_of_word(all);
                const uint64_t *count = lane->state + (at + word) * lane->stride + 2;
                if (n > 1) row[word] = reached(count, lane->levels, n, row[word]);
                total += ones(row[word]);
            }
        }
    }
    return total;
}

/* Adds the luminance of every `step`-th pixel of a row to the sum of each light. */
static inline void add_luminance(const Scene *s, ptrdiff_t y, ptrdiff_t step, double *sums) {
    uint16_t code[3][WORD] = {{0}};
    for (ptrdiff_t x = 0; x < s->width; x += step * WORD) {
        const ptrdiff_t left = (s->width - x + step - 1) / step, n = left < WORD ? left : WORD;
        for (int c = 0; c < s->format->planes; c++)
            for (ptrdiff_t i = 0; i < n; i++)
                code[c][i] = code_at(s->format, s->now->plane + c, y, x + step * i);
        if (s->format->planes == 1)
            EACH(c, 2) memcpy(code[c + 1], code[0], sizeof code[0]);
        if (s->format->shift) to_grid(s->format, code[0], code[1], code[2]);
        for (int j = 0; j < s->light_count; j++)
            for (ptrdiff_t i = 0; i < n; i++) sums[j] += luminance(s->lights + j, code, (int)i);
    }
}

/* Sums of the luminance of every `across`-th pixel of every `down`-th row, by each light. */
static void sum_luminance(const Scene *s, ptrdiff_t across, ptrdiff_t down, double *sums) {
    for (int j = 0; j < s->light_count; j++) sums[j] = 0;
    for (ptrdiff_t y = 0; y < s->height; y += down) add_luminance(s, y, across, sums);
}

/* Windows of a mask: a window that begins in word j lies within `span` words, whose bits bound its
   own; only strips of words with more than the best so far are searched column by column, and none
   once a window has `enough` bits. */
typedef struct {
    const uint64_t *mask;
    ptrdiff_t row_words, width, height, window_width, window_height, span;
    int32_t *bounds, *sums; /* a number for every word of a row, and for every pixel of a row */
    int64_t best, enough, x, y;
} Windows;

static inline uint64_t word_of(const Windows *w, ptrdiff_t y, ptrdiff_t i) {
    return y < 0 || i >= w->row_words ? 0 : w->mask[y * w->row_words + i];
}

/* The most bits in the words of each strip for any place of the window, into bounds. */
static void bound_strips(const Windows *w) {
    memset(w->bounds, 0, (size_t)w->row_words * sizeof *w->bounds);
    memset(w->sums, 0, (size_t)w->row_words * sizeof *w->sums);
    for (ptrdiff_t y = 0; y < w->height; y++) {
        const uint64_t *come = w->mask + y * w->row_words;
        for (ptrdiff_t i = 0; i < w->row_words; i++) w->sums[i] += ones(come[i]);
        if (y < w->window_height - 1) continue;
        int32_t sum = 0;
        for (ptrdiff_t i = w->row_words - 1; i >= 0; i--) {
            sum += w->sums[i] - (i + w->span < w->row_words ? w->sums[i + w->span] : 0);
            w->bounds[i] = sum > w->bounds[i] ? sum : w->bounds[i];
        }
        const uint64_t *go = come - (w->window_height - 1) * w->row_words;
        for (ptrdiff_t i = 0; i < w->row_words; i++) w->sums[i] -= ones(go[i]);
    }
}

/* The best window that begins in a word, whose strip has its columns' sums. */
static void search_word(Windows *w, ptrdiff_t x, ptrdiff_t y) {
    int64_t sum = 0;
    for (ptrdiff_t i = 0; i < w->window_width; i++) sum += w->sums[i];
    for (ptrdiff_t i = 0; i < WORD && x + i + w->window_width <= w->width; i++) {
        if (sum > w->best) w->best = sum, w->x = x + i, w->y = y;
        sum += w->sums[i + w->window_width] - w->sums[i];
    }
}

static void search_strip(Windows *w, ptrdiff_t first) {
    int64_t total = 0;
    memset(w->sums, 0, (size_t)(w->span + 1) * WORD * sizeof *w->sums);
    for (ptrdiff_t y = 0; y < w->height; y++) {
        for (ptrdiff_t i = 0; i < w->span; i++) {
            const uint64_t come = word_of(w, y, first + i);
            const uint64_t gone = word_of(w, y - w->window_height, first + i);
            if (come == gone) continue;
            total += ones(come) - ones(gone);
            for (int j = 0; j < WORD; j++)
                w->sums[i * WORD + j] += (int32_t)(come >> j & 1) - (int32_t)(gone >> j & 1);
        }
        if (y >= w->window_height - 1 && total > w->best)
            search_word(w, first * WORD, y - w->window_height + 1);
        if (w->best >= w->enough) return;
    }
}

/* About the most bits in any window, from whole words: within a few per cent where it has many. */
static int64_t rough_window(const Windows *w) {
    const ptrdiff_t whole = (w->window_width + WORD / 2) / WORD;
    Windows aligned = *w;
    int64_t most = 0;
    aligned.span = whole < 1 ? 1 : whole;
    bound_strips(&aligned);
    for (ptrdiff_t i = 0; i < w->row_words; i++) most = w->bounds[i] > most ? w->bounds[i] : most;
    return most * w->window_width / (aligned.span * WORD);
}

/* The fullest window, or one that has enough, if it has more than `best` bits. */
static void fullest_window(Windows *w) {
    w->span = (w->window_width + WORD - 2) / WORD + 1;
    bound_strips(w);
    while (w->best < w->enough) {
        ptrdiff_t first = 0;
        for (ptrdiff_t i = 1; i < w->row_words; i++)
            if (w->bounds[i] > w->bounds[first]) first = i;
        if (w->bounds[first] <= w->best) return;
        search_strip(w, first);
        w->bounds[first] = 0;
    }
}
#endif
