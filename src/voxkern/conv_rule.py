"""Which algorithm serves a convolution: what ``"auto"`` takes, and what each name can do.

An algorithm is a name and a tile: for Winograd the outputs per tile along each of three axes (1
where an axis is summed directly), None for the others.
"""

import math

from voxkern import conv_fft
from voxkern.kernels.native.conv_rule import GRADIENT, KEPT, MADE, least

LARGEST_WINOGRAD = 5  # kernel size along an axis
ALGORITHMS = ("auto", "direct", "winograd", "fft", "im2col")


# Costs in vector multiply-adds, as in kernels/native/conv_rule.h.
ROW = 40  # of a row of columns, or of outputs, that is delivered
GATHER = 6  # of a weight that is gathered by residue or flipped
START = 20e3, 80e3  # of direct sums, of those by residues
LONGEST_SCATTERED = 64  # kernel size along W


def automatic(weight, out, stride, dilation, groups, kept=False):
    """What ``"auto"`` takes for these shapes of five axes and arguments of three.

    It is the least of the estimated times. `kept` says that transformed weights are kept.
    """
    best = _best(weight, out, stride, dilation, groups, KEPT if kept else MADE)
    large = max(weight[2:]) > LARGEST_WINOGRAD and {*stride, *dilation} == {1}
    if large and best[0] == "direct" and conv_fft.pays(out, weight, groups, kept):
        return "fft", None
    return best


def estimated(weight, out, stride, dilation, groups):
    """The estimated time of a call by direct sums or tiles, in multiply-adds of vectors."""
    return least(weight, out, stride, dilation, groups, MADE)[0]


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
    # Kernels of 5 are less accurate here: 5e-6 of the largest gradient.
    return None if 5 in weight[2:] else least(weight, out, stride, dilation, groups, GRADIENT)[1]


def _best(*arguments):
    tile = least(*arguments)[1]
    return ("winograd", tile) if tile else ("direct", None)


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
