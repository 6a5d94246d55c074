/* The loops of batchnorm.h for one type, REAL. */

/* Rows one after another: copied to the buffer, unless there is just one. */
static const REAL *SIMD(packed)(const BatchNorm *b, const REAL *x, Part p, REAL *buffer) {
    if (p.rows == 1) return x;
    for (ptrdiff_t r = 0; r < p.rows; r++)
        memcpy(buffer + r * p.size, x + r * b->channels * b->inner, (size_t)p.size * sizeof(REAL));
    return buffer;
}

/* Moments of a part; with a gradient the sums of grad and of grad * (x - mean), in mean and squares. */
static Moments SIMD(reduce_part)(const BatchNorm *b, ptrdiff_t channel, ptrdiff_t part) {
    REAL buffer[MOST_SUMMED], twin[MOST_SUMMED];
    Part p = find_part(b, channel, part);
    const REAL *x = SIMD(packed)(b, (const REAL *)b->x + p.start, p, buffer);
    if (!b->grad) return SIMD(moments)(x, p.rows * p.size);
    const REAL *grad = SIMD(packed)(b, (const REAL *)b->grad + p.start, p, twin);
    Moments sums = {0, 0, 0};
    SIMD(run_sums)(grad, x, p.rows * p.size, ((const REAL *)b->shift)[channel], &sums.mean,
                   &sums.squares);
    return sums;
}

/* First and second of a channel from those of its parts; they are computed now if there are none. */
static void SIMD(reduce_channel)(const BatchNorm *b, ptrdiff_t channel, const Moments *parts) {
    Moments all = {0, 0, 0};
    for (ptrdiff_t i = 0; i < b->parts; i++) {
        Moments m = parts ? parts[channel * b->parts + i] : SIMD(reduce_part)(b, channel, i);
        if (!b->grad) all = merged(all, m);
        else all.mean += m.mean, all.squares += m.squares;
    }
    b->first[channel] = all.mean;
    b->second[channel] = b->grad ? all.squares : all.squares / all.count;
}

/* What normalises a channel, in the type of the loops; `offset` makes up for what `shift` lost by
   rounding. */
static void SIMD(set_normal)(const BatchNorm *b, ptrdiff_t channel) {
    double mean = b->first[channel], scale = 1 / sqrt(b->second[channel] + b->eps);
    REAL shift = (REAL)mean;
    scale *= ((const REAL *)b->weight)[channel];
    ((REAL *)b->shift)[channel] = shift;
    ((REAL *)b->scale)[channel] = (REAL)scale;
    ((REAL *)b->offset)[channel] =
        (REAL)(((double)shift - mean) * scale + ((const REAL *)b->bias)[channel]);
}

/* What takes a channel's gradient through its statistics. */
static void SIMD(set_gradient)(const BatchNorm *b, ptrdiff_t channel) {
    double invstd = ((const REAL *)b->invstd)[channel], count = (double)(b->n * b->inner);
    double scale = invstd * ((const REAL *)b->weight)[channel];
    ((REAL *)b->scale)[channel] = (REAL)scale;
    ((REAL *)b->slope)[channel] = (REAL)(-scale * b->second[channel] / count * invstd * invstd);
    ((REAL *)b->offset)[channel] = (REAL)(-scale * b->first[channel] / count);
}

static void SIMD(set_map)(const BatchNorm *b, ptrdiff_t channel) {
    if (b->grad) SIMD(set_gradient)(b, channel);
    else SIMD(set_normal)(b, channel);
}

/* `ahead` as in map_run. */
static void SIMD(map_part)(const BatchNorm *b, ptrdiff_t channel, ptrdiff_t part, ptrdiff_t ahead) {
    Part p = find_part(b, channel, part);
    REAL shift = ((const REAL *)b->shift)[channel], scale = ((const REAL *)b->scale)[channel];
    REAL offset = ((const REAL *)b->offset)[channel];
    for (ptrdiff_t r = 0; r < p.rows; r++, p.start += b->channels * b->inner) {
        const REAL *x = (const REAL *)b->x + p.start;
        REAL *out = (REAL *)b->out + p.start;
        if (b->grad)
            SIMD(map_gradient)((const REAL *)b->grad + p.start, x, NULL, p.size, scale, shift,
                               ((const REAL *)b->slope)[channel], offset, ahead, b->past_cache,
                               out);
        else SIMD(map_run)(x, p.size, shift, scale, offset, ahead, b->past_cache, out);
    }
}

/* Reduce what a thread takes at once: a part of a channel. */
static void SIMD(reduce_item)(const BatchNorm *b, ptrdiff_t item, Moments *parts) {
    ptrdiff_t channel, part;
    split_item(b, item, &channel, &part);
    parts[channel * b->parts + part] = SIMD(reduce_part)(b, channel, part);
}

/* Map it. */
static void SIMD(map_item)(const BatchNorm *b, ptrdiff_t item) {
    ptrdiff_t channel, part;
    split_item(b, item, &channel, &part);
    SIMD(map_part)(b, channel, part, 0);
    if (b->past_cache) stream_end();
}

/* All of a channel: its sums and its map. */
static void SIMD(whole_channel)(const BatchNorm *b, ptrdiff_t channel) {
    SIMD(reduce_channel)(b, channel, NULL);
    SIMD(set_map)(b, channel);
    /* The next channel comes from memory while this one goes there. */
    ptrdiff_t ahead = b->past_cache && channel + 1 < b->channels ? b->inner : 0;
    for (ptrdiff_t i = 0; i < b->parts; i++) SIMD(map_part)(b, channel, i, ahead);
    if (b->past_cache) stream_end();
}
