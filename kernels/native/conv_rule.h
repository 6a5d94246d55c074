/* Which of direct sums and Winograd's tiles takes the least time for a convolution, estimated. */
#ifndef VOXKERN_CONV_RULE_H
#define VOXKERN_CONV_RULE_H
#include "split.h"

/* Costs in vector multiply-adds, fitted to runs on Zen 5 with AVX-512 (512-bit at full rate), one
   thread. Vectors of AVX2 are half as long on both sides. GFLOP/s of the direct sum, kernel 3:
     channels, size     direct  2x2x2  2x4x4  4x4x4        channels, size   direct  2x2   4x4
     16, 64x64x64          195    121    256    340        64, 56x56           210   330   496
     32, 64x64x64          204    275    460    727        128, 28x28          200   381   530
     64, 16x56x56          224    404    705    905        256, 14x14          214   388   379
     128, 8x28x28          235    430    589   1070        512, 7x7            180   216   188
     256, 4x14x14          230    380    734    936
     512, 2x7x7            179    422    217    109        kernel 5, 16, 44x44x44: 212, 1x2x2 237 */
#define DIRECT 1.5     /* of a vector of products summed directly, with what it moves */
#define TRANSFORM 32.0 /* of a vector of channels at one point of a tile: fetched, delivered */
#define READ 16.0      /* of a vector of transformed weights from memory, where few tiles use it */
/* Of weights that a call transforms: of a vector of them that is turned from rows, and of one that
   is transformed in the cache; four times that in memory, 32 times in new pages. 256 channels of
   4x14x14 take 3.9 ms if each block of tiles transforms what it needs and 6.5 if all are transformed
   before, 512 of 2x7x7 5.2 and 33, 2-D 256 of 14x14 0.62 and 0.9. */
#define TURN 27.0
#define PACK 7.0
enum { FEW_TILES = 32, MORE_TILES = 192, BLOCK_TILES = 16 }; /* as in conv_winograd.pyx */
#define GRADIENT 28.0 /* of a vector of the gradient to transformed weights: added, transformed */

/* What the weights of a call are: transformed in it, transformed before it, or its result. */
enum { WEIGHTS_MADE, WEIGHTS_KEPT, WEIGHTS_GRADIENT };

/* Shapes of five axes, window arguments of three. */
typedef struct {
    const ptrdiff_t *weight, *out, *stride, *dilation;
    ptrdiff_t groups;
    int weights;
} RuledConv;

/* The accurate tiles along an axis: a kernel of 3 takes 4 outputs of six points or 2 of four, one
   of 5 takes 2 of six; 1 is summed directly. */
static inline int axis_tiles(ptrdiff_t kernel, ptrdiff_t stride, ptrdiff_t dilation,
                             ptrdiff_t tiles[2]) {
    int served = stride == 1 && dilation == 1;
    tiles[0] = served && kernel == 3 ? 4 : served && kernel == 5 ? 2 : 1;
    tiles[1] = tiles[0] / 2;
    return tiles[0] > 1 ? 2 : 1;
}

/* Each axis of six points adds to the error; plain summation's grows with the terms. So many axes
   keep it under three times plain summation's on rectified and heavy-tailed data. */
static inline int most_of_six(const ptrdiff_t weight[5]) {
    ptrdiff_t terms = weight[1] * weight[2] * weight[3] * weight[4];
    if (terms >= 864 && weight[2] != 5 && weight[3] != 5 && weight[4] != 5) return 3;
    return terms >= 288 ? 2 : terms >= 192;
}

/* A sum along W breaks the runs of tiles. */
static inline int tile_serves(const RuledConv *c, const ptrdiff_t tile[3]) {
    int i, six = 0, any = 0;
    for (i = 0; i < 3; i++) {
        six += tile[i] + c->weight[2 + i] == 7;
        any += tile[i] > 1;
    }
    return six <= most_of_six(c->weight) && any && (tile[2] > 1 || c->weight[4] == 1);
}

static inline double weights_time(const RuledConv *c, double tiles, double products,
                                  double kernels) {
    if (c->weights == WEIGHTS_GRADIENT) return GRADIENT * products;
    if (c->weights == WEIGHTS_KEPT) return tiles < READ ? (READ - tiles) * products : 0;
    int large = products > 1 << 20; /* 64 MB: new pages in each call */
    if (tiles <= (large ? MORE_TILES : FEW_TILES))
        return (double)ceil_div((ptrdiff_t)tiles, BLOCK_TILES) * (TURN * kernels + PACK * products);
    double memory = products / (1 << 16);
    memory = large ? 32 : memory > 4 ? 4 : memory < 1 ? 1 : memory;
    return TURN * kernels + PACK * products * memory;
}

static inline double tile_time(const RuledConv *c, const ptrdiff_t tile[3]) {
    ptrdiff_t outputs = c->weight[0] / c->groups, vectors = ceil_div(outputs, 16);
    double kernels = (double)c->weight[1] * vectors, products = kernels, points = 1;
    double tiles = (double)c->out[0];
    for (int i = 0; i < 3; i++) {
        ptrdiff_t kernel = c->weight[2 + i], wide = tile[i] + kernel - 1;
        kernels *= kernel;
        products *= tile[i] > 1 ? wide : kernel;
        points *= tile[i] > 1 ? wide : 1;
        tiles *= ceil_div(c->out[2 + i], tile[i]);
    }
    return tiles * products + weights_time(c, tiles, products, kernels) +
           TRANSFORM * tiles * points * (ceil_div(c->weight[1], 16) + vectors);
}

/* The least time; `tile` is what takes it, 0 for direct sums. */
static inline double least_time(const RuledConv *c, ptrdiff_t tile[3]) {
    ptrdiff_t axis[3][2], count[3], trial[3];
    double time, least = DIRECT * c->weight[1] * ceil_div(c->weight[0] / c->groups, 16);
    for (int i = 0; i < 3; i++) {
        count[i] = axis_tiles(c->weight[2 + i], c->stride[i], c->dilation[i], axis[i]);
        least *= (double)c->weight[2 + i] * c->out[2 + i];
        tile[i] = 0;
    }
    least *= (double)c->out[0];
    for (int n = 0; n < count[0] * count[1] * count[2]; n++) {
        trial[2] = axis[2][n % count[2]];
        trial[1] = axis[1][n / count[2] % count[1]];
        trial[0] = axis[0][n / count[2] / count[1]];
        if (!tile_serves(c, trial)) continue;
        time = tile_time(c, trial);
        if (time > least) continue; /* of equals the last, with long rows of tiles */
        least = time;
        for (int i = 0; i < 3; i++) tile[i] = trial[i];
    }
    return least;
}
#endif
