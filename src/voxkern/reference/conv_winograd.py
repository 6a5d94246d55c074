"""The twin of the Winograd kernels: weights are packed as they are, and summed directly."""

import math

from voxkern.reference import conv as direct


def packed_size(outputs, inputs, kernel_size, tile, groups, itemsize):
    """Elements of the packed weights of `outputs` channels of `inputs` per group."""
    return outputs * inputs * math.prod(kernel_size)


def pack(weight, tile, groups, *, out):
    """out = the weights."""
    out[...] = weight.ravel()


def conv(x, packed, bias, kernel_size, tile, padding, stride, dilation, groups, *, slope, out):
    """out = the convolution with packed weights; whether the results can be trusted."""
    weight = packed.reshape(-1, x.shape[1] // groups, *kernel_size)
    direct.conv(x, weight, bias, stride, padding, dilation, groups, slope=slope, out=out)
    return True
