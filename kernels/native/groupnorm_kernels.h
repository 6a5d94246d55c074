/* The loops of groupnorm.h for one type, REAL. */

/* What is subtracted, in the type of the loops, and by how much it is rounded. */
typedef struct {
    REAL shift;
    double over, deviation; /* the inverse of the standard deviation */
} SIMD(Centre);

static SIMD(Centre) SIMD(centre)(const GroupNorm *q, ptrdiff_t row, const REAL *x) {
    ptrdiff_t size = q->channels * q->inner;
    Moments m = SIMD(moments)(x, size);
    double variance = m.squares / (double)size;
    REAL shift = (REAL)m.mean;
    if (q->mean) q->mean[row] = m.mean, q->variance[row] = variance;
    return (SIMD(Centre)){shift, (double)shift - m.mean, 1 / sqrt(variance + q->eps)};
}

/* out = ((x - shift) * scale + offset) * weight + bias, element by element. */
static void SIMD(map_elements)(const REAL *x, ptrdiff_t n, REAL shift, REAL scale, REAL offset,
                               const REAL *weight, const REAL *bias, int past_cache, REAL *out) {
    enum { L = SIMD(lanes) };
    ptrdiff_t head = SIMD(before_stream)(out, n, past_cache), i = 0;
    const SIMD(vec) m = SIMD(all)(shift), s = SIMD(all)(scale), r = SIMD(all)(offset);
    for (; i < n; i++) {
        if (i + L <= n && (i >= head || i + L <= head)) {
            SIMD(vec) y = SIMD(fma)(SIMD(sub)(SIMD(load)(x + i), m), s, r);
            y = SIMD(fma)(y, SIMD(load)(weight + i), SIMD(load)(bias + i));
            if (i >= head) SIMD(stream)(out + i, y);
            else SIMD(store)(out + i, y);
            i += L - 1;
        } else out[i] = ((x[i] - shift) * scale + offset) * weight[i] + bias[i];
    }
}

/* Normalise one row. */
static void SIMD(normalize_row)(const GroupNorm *q, ptrdiff_t row) {
    ptrdiff_t size = q->channels * q->inner, first = row % q->groups * q->channels;
    const REAL *x = (const REAL *)q->x + row * size;
    const REAL *weight = (const REAL *)q->weight + first, *bias = (const REAL *)q->bias + first;
    REAL *out = (REAL *)q->out + row * size;
    SIMD(Centre) c = SIMD(centre)(q, row, x);
    double scale = c.deviation, offset = c.over * scale;
    if (q->inner == 1) {
        SIMD(map_elements)(x, size, c.shift, (REAL)scale, (REAL)offset, weight, bias, q->past_cache,
                           out);
    } else
        for (ptrdiff_t k = 0; k < q->channels; k++, x += q->inner, out += q->inner)
            SIMD(map_run)(x, q->inner, c.shift, (REAL)(scale * weight[k]),
                          (REAL)(offset * weight[k] + bias[k]), 0, q->past_cache, out);
    if (q->past_cache) stream_end();
}

/* The sums of grad * weight and of grad * weight * (x - shift), each element with its weight. What each element adds to the
   gradients of weight and bias goes to `own`, [2][n]. */
static void SIMD(element_sums)(const REAL *grad, const REAL *x, const REAL *weight, ptrdiff_t n,
                               SIMD(Centre) c, REAL *RESTRICT own, double *sum, double *product) {
    enum { L = SIMD(lanes) };
    const REAL scale = (REAL)c.deviation, offset = (REAL)(c.over * c.deviation);
    ptrdiff_t block = even_block(n, MOST_SUMMED);
    REAL *RESTRICT bias = own + n;
    *sum = *product = 0;
    for (ptrdiff_t start = 0; start < n; start += block) {
        ptrdiff_t end = smaller(start + block, n), i = start;
        SIMD(vec) s = SIMD(all)(0), p = s;
        for (; i + L <= end; i += L) {
            SIMD(vec) g = SIMD(load)(grad + i), w = SIMD(mul)(g, SIMD(load)(weight + i));
            SIMD(vec) d = SIMD(sub)(SIMD(load)(x + i), SIMD(all)(c.shift));
            SIMD(vec) normal = SIMD(fma)(d, SIMD(all)(scale), SIMD(all)(offset));
            s = SIMD(add)(s, w), p = SIMD(fma)(w, d, p);
            SIMD(store)(own + i, SIMD(fma)(g, normal, SIMD(load)(own + i)));
            SIMD(store)(bias + i, SIMD(add)(g, SIMD(load)(bias + i)));
        }
        *sum += SIMD(total)(s), *product += SIMD(total)(p);
        for (; i < end; i++) {
            REAL w = grad[i] * weight[i], d = x[i] - c.shift;
            *sum += w, *product += w * d;
            own[i] += grad[i] * (d * scale + offset), bias[i] += grad[i];
        }
    }
}

/* The gradient of one row. `sums` are those of the weights and biases of its group, `apart` elements
   apart; `own` as in element_sums. */
static void SIMD(gradient_row)(const GroupNorm *q, ptrdiff_t row, double *sums, ptrdiff_t apart,
                               REAL *own) {
    ptrdiff_t size = q->channels * q->inner, inner = q->inner;
    const REAL *x = (const REAL *)q->x + row * size, *grad = (const REAL *)q->grad + row * size;
    const REAL *weight = (const REAL *)q->weight + row % q->groups * q->channels;
    REAL *out = (REAL *)q->out + row * size;
    SIMD(Centre) c = SIMD(centre)(q, row, x);
    double total = 0, products = 0, sum, product;
    if (inner == 1) SIMD(element_sums)(grad, x, weight, size, c, own, &total, &products);
    else
        for (ptrdiff_t k = 0; k < q->channels; k++) {
            SIMD(run_sums)(grad + k * inner, x + k * inner, inner, c.shift, &sum, &product);
            total += weight[k] * sum, products += weight[k] * product;
            sums[k] += (product + sum * c.over) * c.deviation;
            sums[apart + k] += sum;
        }
    products += total * c.over;
    double scale = c.deviation, slope = -scale * scale * scale * products / (double)size;
    double offset = -scale * total / (double)size + c.over * slope;
    if (inner == 1)
        SIMD(map_gradient)(grad, x, weight, size, (REAL)scale, c.shift, (REAL)slope, (REAL)offset,
                           0, q->past_cache, out);
    else
        for (ptrdiff_t k = 0; k < q->channels; k++)
            SIMD(map_gradient)(grad + k * inner, x + k * inner, NULL, inner,
                               (REAL)(scale * weight[k]), c.shift, (REAL)slope, (REAL)offset, 0,
                               q->past_cache, out + k * inner);
    if (q->past_cache) stream_end();
}

/* Elements of scratch of a task. */
static ptrdiff_t SIMD(gradient_scratch)(const GroupNorm *q) {
    return q->inner == 1 ? 2 * q->channels : 0;
}

/* The rows of one group in one part of the samples, in order. */
static void SIMD(gradient_task)(const GroupNorm *q, ptrdiff_t task, REAL *own) {
    ptrdiff_t part = task / q->groups, group = task % q->groups, samples = q->rows / q->groups;
    ptrdiff_t all = q->groups * q->channels, n = samples * part / q->parts;
    ptrdiff_t end = samples * (part + 1) / q->parts, few = SIMD(gradient_scratch)(q);
    double *sums = q->sums + 2 * part * all + group * q->channels;
    for (ptrdiff_t k = 0; k < q->channels; k++) sums[k] = sums[all + k] = 0;
    for (ptrdiff_t next; n < end; n = next) {
        next = smaller(n + ROWS_SUMMED, end);
        for (ptrdiff_t k = 0; k < few; k++) own[k] = 0;
        for (ptrdiff_t i = n; i < next; i++)
            SIMD(gradient_row)(q, i * q->groups + group, sums, all, own);
        for (ptrdiff_t k = 0; k < few / 2; k++)
            sums[k] += own[k], sums[all + k] += own[few / 2 + k];
    }
}
