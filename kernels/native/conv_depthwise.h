/* Gradients of a depthwise convolution, a vector of channels at a time: no lane is wasted however
   narrow the rows, and any stride is the same. Input and output gradient are turned so that channels
   are innermost; around the input lies its padding, so that no tap is clipped. That takes a sample of
   a vector of channels to fit the second-level cache; wide rows are left to other kernels. */
#ifndef VOXKERN_CONV_DEPTHWISE_H
#define VOXKERN_CONV_DEPTHWISE_H
#include "conv.h"

typedef struct {
    ptrdiff_t batch, channels, taps;
    ptrdiff_t size[3], count[3], kernel[3], stride[3], padding[3], dilation[3];
    ptrdiff_t reach[3]; /* of the windows: the padded input, as far as it is read */
    ptrdiff_t volume, positions, elements; /* of input, output and padded input */
    int bare;                              /* the input is read whole and has no padding */
    ptrdiff_t *offset;                     /* [taps] in the padded input, in elements of vectors */
    ptrdiff_t *place;                      /* [positions] of a window */
    const void *grad, *x, *weight, *bias;
    void *out;
} Depthwise;

/* Sizes from those of the axes. */
static void measure_depthwise(Depthwise *q) {
    q->taps = q->volume = q->positions = q->elements = q->bare = 1;
    for (int i = 0; i < 3; i++) {
        q->reach[i] = (q->count[i] - 1) * q->stride[i] + (q->kernel[i] - 1) * q->dilation[i] + 1;
        q->taps *= q->kernel[i], q->volume *= q->size[i], q->positions *= q->count[i];
        q->elements *= q->reach[i];
        if (q->padding[i] || q->reach[i] != q->size[i]) q->bare = 0;
    }
}

/* Whether this is served, and faster than rows of one channel: these lose lanes at the end of a row,
   and take the time of some 30 vectors to begin a channel. */
static int suits_depthwise(const Depthwise *q, ptrdiff_t lanes, ptrdiff_t budget) {
    if ((q->volume + q->positions + q->elements + q->taps) * lanes > budget || lanes == 1) return 0;
    ptrdiff_t blocks = ceil_div(q->channels, lanes), rows = q->count[0] * q->count[1];
    double turned = 6 * (double)(q->volume + q->positions) + 2 * (double)q->elements +
                    1.2 * (double)q->taps * (double)q->positions;
    double line = (double)q->taps * (double)rows * (double)ceil_div(q->count[2], lanes);
    double plain = 250 + (double)q->volume * 0.3 + 2 * line;
    return (double)blocks * turned < (double)q->channels * plain;
}

/* The tables. */
static void fill_depthwise(Depthwise *q) {
    ptrdiff_t *offset = q->offset, *place = q->place, wide = q->reach[2],
              plane = q->reach[1] * wide;
    for (ptrdiff_t d = 0; d < q->kernel[0]; d++)
        for (ptrdiff_t h = 0; h < q->kernel[1]; h++)
            for (ptrdiff_t w = 0; w < q->kernel[2]; w++)
                *offset++ =
                    d * q->dilation[0] * plane + h * q->dilation[1] * wide + w * q->dilation[2];
    for (ptrdiff_t z = 0; z < q->count[0]; z++)
        for (ptrdiff_t y = 0; y < q->count[1]; y++)
            for (ptrdiff_t x = 0; x < q->count[2]; x++)
                *place++ = z * q->stride[0] * plane + y * q->stride[1] * wide + x * q->stride[2];
}

#define REAL float
#include "conv_depthwise_kernels.h"
#undef REAL
#define REAL double
#include "conv_depthwise_kernels.h"
#undef REAL
#endif
