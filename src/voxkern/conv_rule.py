"""Which algorithm serves a convolution: what ``"auto"`` takes, and what each name can do.

An algorithm is a name and a tile: for Winograd the outputs per tile along each of three axes (1
where an axis is summed directly), None for the others.
"""

import itertools
import math

from voxkern import conv_fft

LARGEST_WINOGRAD = 5  # kernel size along an axis
ALGORITHMS = ("auto", "direct", "winograd", "fft", "im2col")


# Costs in vector multiply-adds, fitted to runs on Zen 5 with AVX-512 (512-bit at full rate), one
# thread. Vectors of AVX2 are half as long on both sides. GFLOP/s of the direct sum, kernel 3:
#   channels, size     direct  2x2x2  2x4x4  4x4x4        channels, size   direct  2x2   4x4
#   16, 64x64x64          195    121    256    340        64, 56x56           210   330   496
#   32, 64x64x64          204    275    460    727        128, 28x28          200   381   530
#   64, 16x56x56          224    404    705    905        256, 14x14          214   388   379
#   128, 8x28x28          235    430    589   1070        512, 7x7            180   216   188
#   256, 4x14x14          230    380    734    936
#   512, 2x7x7            179    422    217    109        kernel 5, 16, 44x44x44: 212, 1x2x2 237
DIRECT = 1.5  # of a vector of products summed directly, with what it moves
TRANSFORM = 32  # of a vector of channels at one point of one tile: fetched, transformed, delivered
ROW = 40  # of a row of columns, or of outputs, that is delivered
GATHER = 6  # of a weight that is gathered by residue or flipped
START = 20e3, 80e3  # of direct sums, of those by residues
LONGEST_SCATTERED = 64  # kernel size along W
READ = 16  # of a vector of transformed weights that comes from memory, where few tiles use it
# Of weights that a call transforms: of a vector of them that is turned from rows, and of one that
# is transformed in the cache; four times that in memory, 32 times in new pages. 256 channels of
# 4x14x14 take 3.9 ms if each block of tiles transforms what it needs and 6.5 if all are transformed
# before, 512 of 2x7x7 5.2 and 33, 2-D 256 of 14x14 0.62 and 0.9.
TURN = 27
PACK = 7
FEW_TILES, MORE_TILES, BLOCK_TILES = 32, 192, 16  # as in conv_winograd.pyx
GRADIENT = 28  # of a vector of the gradient to transformed weights: added to and transformed back


def automatic(weight, out, stride, dilation, groups, kept=False):
    """What ``"auto"`` takes for these shapes of five axes and arguments of three.

    It is the least of the estimated times. `kept` says that transformed weights are kept.
    """
    _, best = _least(weight, out, stride, dilation, groups, _kept if kept else _made)
    large = max(weight[2:]) > LARGEST_WINOGRAD and {*stride, *dilation} == {1}
    if large and best[0] == "direct" and conv_fft.pays(out, weight, groups, kept):
        return "fft", None
    return best


def estimated(weight, out, stride, dilation, groups):
    """The estimated time of a call by direct sums or tiles, in multiply-adds of vectors."""
    return _least(weight, out, stride, dilation, groups, _made)[0]


def scatters(x, weight, out, stride, groups, other=math.inf):
    """Whether to compute a transposed convolution as one product, its columns added to `out`.

    `other` is the time that an algorithm other than the direct sums would take. Microseconds
    measured, of direct sums and of the product, one thread:
      64 to 32, 16^3, kernel 2 stride 2:  1150   840     441 to 1, 28x6x18, kernel 1x3x3:  1550  230
      64 to 32, 16^3, kernel 4 stride 2:  7250  7200     64 to 1, 30x5x7, kernel 3x3x3:     215   40
      128 to 64, 28^2, kernel 3 stride 2:  540   625     64 to 5, 15^3, kernel 7^3:       10400 5200
    """
    (batch, inputs, *size), (_, outputs, *kernel_size) = x, weight
    inputs //= groups
    columns, positions, rows = outputs * math.prod(kernel_size), math.prod(size), size[0] * size[1]
    strided = max(stride) > 1
    if kernel_size[2] > LONGEST_SCATTERED or (max(kernel_size) == 1 and not strided):
        return False
    # Of few positions the lanes are columns.
    vectors = positions / 16 if positions <= 8 else math.ceil(positions / 16)
    delivered = columns * rows * (ROW + 1.6 * size[2]) * (0.5 if kernel_size == [*stride] else 1)
    product = batch * groups * (1.1 * inputs * columns * vectors + delivered)
    counts = [math.ceil(n / s) for n, s in zip(out[2:], stride)]
    line = counts[2] + (kernel_size[2] - 1) // stride[2]
    # Tiles of few output channels are short of products.
    sums = (1.05 + 3 / outputs) * inputs * columns * counts[0] * counts[1] * line / 16
    sums = batch * groups * (sums + outputs * out[2] * out[3] * (ROW + 0.8 * out[4]))
    return product < min(other, START[strided] + sums + GATHER * groups * inputs * columns)


def gradient_tile(weight, out, stride, dilation, groups):
    """The tile with which Winograd computes the gradient to the weights; None for direct sums."""
    _, (algorithm, tile) = _least(weight, out, stride, dilation, groups, _gradient)
    # Kernels of 5 are less accurate here: 5e-6 of the largest gradient.
    return tile if algorithm == "winograd" and 5 not in weight[2:] else None


def _least(weight, out, stride, dilation, groups, weights):
    """The least time and what takes it, direct sums or a tile.

    `weights` is what the weights cost, one of the functions below.
    """
    outputs, inputs, kernel_size = weight[0] // groups, weight[1], weight[2:]
    windows, vectors = math.prod(out) // out[1], math.ceil(outputs / 16)
    kernels = inputs * vectors * math.prod(kernel_size)
    least, best = DIRECT * windows * kernels, ("direct", None)
    for tile in winograd_tiles(inputs, kernel_size, stride, dilation):
        axes = list(zip(tile, kernel_size, out[2:]))
        products = inputs * vectors * math.prod(t + k - 1 if t > 1 else k for t, k, _ in axes)
        points = math.prod(t + k - 1 for t, k, _ in axes if t > 1)
        tiles = out[0] * math.prod(math.ceil(n / t) for t, _, n in axes)
        time = tiles * products + weights(tiles, products, kernels)
        time += TRANSFORM * tiles * points * (math.ceil(inputs / 16) + vectors)
        if time <= least:  # of equals the last, with long rows of tiles
            least, best = time, ("winograd", tile)
    return least, best


def _kept(tiles, products, kernels):
    return max(0, READ - tiles) * products


def _made(tiles, products, kernels):
    large = products > 2**20  # 64 MB: new pages in each call
    if tiles <= (MORE_TILES if large else FEW_TILES):
        return math.ceil(tiles / BLOCK_TILES) * (TURN * kernels + PACK * products)
    return TURN * kernels + PACK * products * (32 if large else min(4, max(1, products / 2**16)))


def _gradient(tiles, products, kernels):
    return GRADIENT * products


def winograd_tiles(inputs, kernel_size, stride, dilation):
    """The tiles that are accurate enough: outputs per axis, 1 where it is summed directly.

    Kernels of 3 take 4 outputs of six points or 2 of four, kernels of 5 take 2 of six. Each axis of
    six points adds to the error; plain summation's grows with the terms. So many terms keep it
    under three times plain summation's on rectified and heavy-tailed data:
    """
    terms = inputs * math.prod(kernel_size)
    most = 3 if terms >= 864 and 5 not in kernel_size else 2 if terms >= 288 else terms >= 192
    choices = [
        {3: (4, 2), 5: (2, 1)}.get(k, (1,)) if s == d == 1 else (1,)
        for k, s, d in zip(kernel_size, stride, dilation)
    ]
    for tile in itertools.product(*choices):
        six = sum(t + k == 7 for t, k in zip(tile, kernel_size))
        rows = tile[2] > 1 or kernel_size[2] == 1  # a sum along W breaks the runs of tiles
        if six <= most and max(tile) > 1 and rows:
            yield tile


def check(algorithm, kernel_size, stride, dilation):
    """Raise unless there is an algorithm of that name and it can serve the arguments."""
    if not isinstance(algorithm, str) or algorithm not in ALGORITHMS:
        raise ValueError(f"algorithm is {algorithm!r}; it may be {', '.join(ALGORITHMS)}")
    if algorithm == "fft":
        for name, values in (("stride", stride), ("dilation", dilation)):
            if any(v != 1 for v in values):
                raise ValueError(f"algorithm 'fft' needs {name} 1; {name} is {values}")
    if algorithm == "winograd" and not any(map(transforms, kernel_size, stride, dilation)):
        raise ValueError(
            "algorithm 'winograd' needs an axis of kernel_size 2 to 5, stride 1 and dilation 1; "
            f"kernel_size is {tuple(kernel_size)}, stride {stride}, dilation {dilation}"
        )


def chosen(algorithm, weight, out, stride, dilation, groups, kept=False):
    """The name and tile that serve a checked call."""
    if algorithm == "auto":
        return automatic(weight, out, stride, dilation, groups, kept)
    if algorithm == "winograd":
        return algorithm, winograd_tile(out[2:], weight[2:], stride, dilation)
    return algorithm, None


def transforms(kernel_size, stride, dilation):
    """Whether Winograd transforms such an axis; others are summed directly."""
    return 2 <= kernel_size <= LARGEST_WINOGRAD and stride == dilation == 1


def winograd_tile(count, kernel_size, stride, dilation):
    """Outputs per tile along each axis: of six points, or of four where those are enough."""
    points = [4 if max(n, 2) <= 5 - k else 6 for n, k in zip(count, kernel_size)]
    served = map(transforms, kernel_size, stride, dilation)
    return tuple(p + 1 - k if s else 1 for p, k, s in zip(points, kernel_size, served))
