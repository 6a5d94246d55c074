/* Regular patterns: bars of light and dark in turn along lines through a picture, and the regions that
   such lines form together. Scalar code: every step depends on the one before. */
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum { LONGEST = 1024 }; // samples of a line

/* --- a small picture of a frame --------------------------------------------------------------- */

typedef struct {
    const uint8_t *start;
    ptrdiff_t row, step;    // bytes from one sample to the next
    int wide, across, down; // codes of 16 bits; shifts from pixels to samples
} Samples;

/* How Y'CbCr becomes R'G'B', if there is a `scale` of Y'; and the light of its codes. */
typedef struct {
    float luma_zero, scale, black, chroma_zero, red_cr, green_cb, green_cr, blue_cb;
    const float *light;
    int codes;
    float weight[3];
} Conversion;

static inline int code_of(const uint8_t *at, int wide) {
    uint16_t code = *at;
    if (wide) memcpy(&code, at, sizeof code);
    return code;
}

/* Means of the middle 2 x 2 codes of every `step` x `step`, and a half. Two by two is enough to make
   flat what is too fine to be seen, such as single lines. */
static inline void mean_codes(const Samples *s, ptrdiff_t y, int step, int n, int wide,
                              float *out) {
    const ptrdiff_t first = step > 1 ? step / 2 - 1 : 0, next = step > 1;
    const uint8_t *upper = s->start + (y * step + first) * s->row + first * s->step;
    const uint8_t *lower = upper + next * s->row;
    const ptrdiff_t right = next * s->step, apart = step * s->step;
    for (int i = 0; i < n; i++, upper += apart, lower += apart) {
        const int sum = code_of(upper, wide) + code_of(upper + right, wide) + code_of(lower, wide) +
                        code_of(lower + right, wide);
        out[i] = (float)sum * 0.25f + 0.5f;
    }
}

/* The chroma of each pixel of mean_codes, less its zero. */
static inline void near_codes(const Samples *s, ptrdiff_t y, int step, int n, int wide, float zero,
                              float *out) {
    const uint8_t *row = s->start + ((y * step + step / 2) >> s->down) * s->row;
    for (ptrdiff_t i = 0; i < n; i++)
        out[i] = (float)code_of(row + ((i * step + step / 2) >> s->across) * s->step, wide) - zero;
}

static void load_codes(const Samples *s, ptrdiff_t y, int step, int n, int chroma, float zero,
                       float *out) {
    if (chroma && s->wide) near_codes(s, y, step, n, 1, zero, out);
    else if (chroma) near_codes(s, y, step, n, 0, zero, out);
    else if (s->wide) mean_codes(s, y, step, n, 1, out);
    else mean_codes(s, y, step, n, 0, out);
}

/* R', G' and B' of the grid, with the half that rounds, from Y', Cb and Cr. */
static void unmix(const Conversion *c, int n, float *luma, float *cb, float *cr) {
    for (int i = 0; i < n; i++) {
        const float y = (luma[i] - c->luma_zero) * c->scale + c->black;
        const float green = y + c->green_cb * cb[i] + c->green_cr * cr[i];
        luma[i] = y + c->red_cr * cr[i];
        cr[i] = y + c->blue_cb * cb[i];
        cb[i] = green;
    }
}

/* A row of luminance of a frame that is made `step` times smaller. */
static void shrink_row(const Samples *planes, int count, const Conversion *c, ptrdiff_t y, int step,
                       int n, float *out) {
    float code[3][LONGEST];
    for (int p = 0; p < count; p++)
        load_codes(planes + p, y, step, n, p && c->scale, c->chroma_zero, code[p]);
    if (c->scale) unmix(c, n, code[0], code[1], code[2]);
    for (int i = 0; i < n; i++) out[i] = 0;
    for (int p = 0; p < count; p++)
        for (int i = 0; i < n; i++) {
            const int whole = (int)code[p][i], least = whole < 0 ? 0 : whole;
            out[i] += c->light[least < c->codes ? least : c->codes - 1] * c->weight[p];
        }
}

typedef struct {
    float step;   // least difference of light and dark, in the picture's unit
    float bright; // a light bar is above this
    float few;    // a line with fewer bars is no part of a pattern
    int ends;     // lines end where the picture does, which may cut a bar
    int upright;  // lines are rows or columns
} Bars;

/* --- lines ------------------------------------------------------------------------------------ */

/* A line's extremes: places where it turns by `step`. Edges lie between them, at half height. */
typedef struct {
    int count;
    float value[LONGEST];
    int at[LONGEST];
    float edge[LONGEST]; // between extremes j and j + 1
} Turns;

static void find_turns(const float *value, int n, float step, Turns *t) {
    int high = 0, low = 0, count = 0, i = 1;
    for (; i < n; i++) {
        if (value[i] > value[high]) high = i;
        if (value[i] < value[low]) low = i;
        if (value[high] - value[low] >= step) break;
    }
    t->count = 0;
    if (i >= n) return;
    t->at[count++] = high < low ? high : low;
    // From here on one extreme is sought, of `sign` times the values: but for turns no branches.
    int at = high < low ? low : high;
    float sign = high < low ? -1.0f : 1.0f, top = sign * value[at];
    for (i++; i < n; i++) {
        const float own = sign * value[i];
        at = own > top ? i : at;
        top = own > top ? own : top;
        if (top - own >= step) {
            t->at[count++] = at;
            sign = -sign, top = -own, at = i;
        }
    }
    t->at[count++] = at;
    t->count = count;
    for (int j = 0; j < count; j++) t->value[j] = value[t->at[j]];
}

static void find_edges(const float *value, Turns *t) {
    for (int j = 0; j + 1 < t->count; j++) {
        const float half = 0.5f * (t->value[j] + t->value[j + 1]);
        const int up = t->value[j + 1] > t->value[j];
        int i = t->at[j] + 1;
        while (up ? value[i] < half : value[i] > half) i++;
        t->edge[j] = (float)(i - 1) + (half - value[i - 1]) / (value[i] - value[i - 1]);
    }
}

/* Whether bar j, between edges j - 1 and j, is light enough, or dark. */
static int visible(const Turns *t, int j, float bright) {
    const int other = j ? j - 1 : 1;
    return t->value[j] < t->value[other] || t->value[j] > bright;
}

/* Whether edge j goes on with the bars that edges from `start` on bound: of about the same
   period as before, so that curved bars count, and of contrast that is not much other (the
   ground around may lie half way). 0.75 samples are the error of edges of narrow bars. */
static int goes_on(const Turns *t, int start, int j, float bright) {
    const float swing = fabsf(t->value[j + 1] - t->value[j]);
    const float before = fabsf(t->value[j] - t->value[j - 1]);
    if (swing > 2.2f * before || before > 2.2f * swing || !visible(t, j, bright)) return 0;
    if (j - start < 3) return 1;
    const float period = t->edge[j] - t->edge[j - 2], last = t->edge[j - 1] - t->edge[j - 3];
    return fabsf(period - last) <= 0.25f * fminf(period, last) + 0.75f;
}

/* The bar beyond edge `first` or `last` of a run (`way` -1 or 1), which the line's end or
   something else bounds: how much of a bar it is, and how far the pattern reaches into it.
   `room` is what lies between the edge and the line's end. */
static float outer_bar(const Turns *t, const Bars *rule, int edge, int way, int at_end, float room,
                       float *reach) {
    const int bar = way < 0 ? edge : edge + 1;
    const float *e = t->edge;
    const float inner = fabsf(e[edge] - e[edge - way]),
                like = fabsf(e[edge - way] - e[edge - 2 * way]);
    *reach = 0;
    // A bar that the region's border cuts, as it does with stripes aslant, has none after it.
    if (inner < 0.8f * fabsf(e[edge - 2 * way] - e[edge - 3 * way])) return 0;
    if (at_end && room <= 1.3f * like + 0.75f && visible(t, bar, rule->bright)) {
        *reach = room;
        return fminf(1.0f, room / like);
    }
    // Ground of a bar's own level hides where the last bar ends: half a bar at each end is fair.
    const float level = fabsf(t->value[bar] - t->value[bar - 2 * way]);
    if (rule->upright && level <= 0.25f * fabsf(t->value[bar] - t->value[bar - way]))
        *reach = 0.5f * like;
    return 0;
}

/* Enters `bars` and the period of the bars between edges `first` and `last` in the cells of the
   line's samples, where they are more bars than another line had. */
static void paint_run(const Turns *t, const Bars *rule, int n, int first, int last,
                      const int *cells, float *bars, float *period) {
    if (last - first < 3) return;
    const float *edge = t->edge;
    float before, after, count = (float)(last - first);
    count += outer_bar(t, rule, first, -1, rule->ends && first == 0, edge[first] + 0.5f, &before);
    count += outer_bar(t, rule, last, 1, rule->ends && last == t->count - 2,
                       (float)n - 0.5f - edge[last], &after);
    if (count < rule->few) return;
    const float length = 2 * (edge[last] - edge[first]) / (float)(last - first);
    const int begin = (int)fmaxf(0, ceilf(edge[first] - before));
    const int end = (int)fminf((float)n - 1, floorf(edge[last] + after));
    for (int i = begin; i <= end; i++)
        if (cells[i] >= 0 && count > bars[cells[i]]) {
            bars[cells[i]] = count;
            period[cells[i]] = length;
        }
}

/* One line: `places` of its samples in the picture and the cells that they stand for (or -1). */
static void paint_line(const float *picture, const int *places, const int *cells, int n,
                       const Bars *rule, float *bars, float *period) {
    float value[LONGEST];
    Turns t;
    for (int i = 0; i < n; i++) value[i] = picture[places[i]];
    find_turns(value, n, rule->step, &t);
    if ((float)t.count < rule->few) return;
    find_edges(value, &t);
    for (int first = 0, last; first<t.count - 2; first = last> first ? last : first + 1) {
        last = first;
        while (last + 1 < t.count - 1 && goes_on(&t, first, last + 1, rule->bright)) last++;
        paint_run(&t, rule, n, first, last, cells, bars, period);
    }
}

/* --- repetition ------------------------------------------------------------------------------- */

typedef struct {
    const float *value;
    int height, width;
} Image;

/* The value between pixels; beyond the border it is that of the border. */
static float between(const Image *p, float y, float x) {
    y = fminf(fmaxf(y, 0), (float)(p->height - 1));
    x = fminf(fmaxf(x, 0), (float)(p->width - 1));
    const int v = (int)y, u = (int)x;
    const int below = v + 1 < p->height ? p->width : 0, right = u + 1 < p->width ? 1 : 0;
    const float *at = p->value + (ptrdiff_t)v * p->width + u;
    const float upper = at[0] + (at[right] - at[0]) * (x - (float)u);
    const float lower = at[below] + (at[below + right] - at[below]) * (x - (float)u);
    return upper + (lower - upper) * (y - (float)v);
}

/* How much the picture changes from (y, x) to a place `length` samples on along its line. */
static float change(const Image *p, float y, float x, const float step[2], float length) {
    float down = step[0] * length, across = step[1] * length;
    if (step[0] == 0 && step[1] == 0) { // along the circle about the middle
        const float angle = 6.2831853f / LONGEST * length, c = cosf(angle) - 1, s = sinf(angle);
        const float dy = y - 0.5f * (float)p->height, dx = x - 0.5f * (float)p->width;
        down = dx * s + dy * c;
        across = dx * c - dy * s;
    }
    return fabsf(between(p, y + down, x + across) - between(p, y, x));
}

/* By how much the change a period on is less than `part` of that half a period on; 0 where no
   bars are. Of the two ways along the line one may leave the pattern: the better counts. */
static void measure_repetition(const Image *p, const float step[2], const float *period, int cell,
                               float part, float *out) {
    const int rows = (p->height + cell - 1) / cell, columns = (p->width + cell - 1) / cell;
    for (int i = 0; i < rows * columns; i++) {
        const float length = period[i], half = 0.5f * length;
        const float y = fminf((float)(i / columns * cell + cell / 2), (float)(p->height - 1));
        const float x = fminf((float)(i % columns * cell + cell / 2), (float)(p->width - 1));
        out[i] = 0;
        if (!(length > 0)) continue;
        const float same = fminf(change(p, y, x, step, -length), change(p, y, x, step, length));
        const float other = change(p, y, x, step, -half) + change(p, y, x, step, half);
        out[i] = 0.5f * part * other - same;
    }
}

/* --- regions ---------------------------------------------------------------------------------- */

/* Whether cells a and b share a direction in which both have bars of about one period. */
static int joined(const float *period, ptrdiff_t cells, int directions, int a, int b) {
    for (int d = 0; d < directions; d++) {
        const float p = period[d * cells + a], q = period[d * cells + b];
        if (p > 0 && q > 0 && p <= 1.25f * q && q <= 1.25f * p) return 1;
    }
    return 0;
}

/* Numbers from 1 the regions of joined cells; 0 has no bars. `stack` has room for all cells. */
static int label_cells(const float *period, int directions, int height, int width, int *labels,
                       int *stack) {
    const ptrdiff_t cells = (ptrdiff_t)height * width;
    int count = 0;
    for (int seed = 0; seed < cells; seed++) {
        if (labels[seed] || !joined(period, cells, directions, seed, seed)) continue;
        int depth = 0;
        labels[seed] = ++count;
        stack[depth++] = seed;
        while (depth) {
            const int cell = stack[--depth], y = cell / width, x = cell % width;
            for (int v = y > 0 ? y - 1 : 0; v <= y + 1 && v < height; v++)
                for (int u = x > 0 ? x - 1 : 0; u <= x + 1 && u < width; u++) {
                    const int next = v * width + u;
                    if (labels[next] || !joined(period, cells, directions, cell, next)) continue;
                    labels[next] = count;
                    stack[depth++] = next;
                }
        }
    }
    return count;
}
