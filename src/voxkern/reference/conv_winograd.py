"""The twin of the Winograd kernels: weights are packed as they are, and summed directly."""

import math

from voxkern.reference import conv as direct


def packed_size(outputs, inputs, kernel_size, tile, groups, itemsize):
    """Elements of the packed weights."""
    return groups * outputs * inputs * math.prod(kernel_size)


def pack(weight, tile, groups, *, out):
    """out = the weights."""
    out[...] = weight.ravel()


def conv(
    x, packed, bias, kernel_size, tile, padding, stride, dilation, groups, *, slope=None, out=None
):
    """The convolution with packed weights."""
    weight = packed.reshape(-1, x.shape[1] // groups, *kernel_size)
    return direct.conv(x, weight, bias, stride, padding, dilation, groups, slope=slope, out=out)
