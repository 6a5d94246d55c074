"""The twin of the Winograd kernels: weights are packed as they are, and summed directly."""

import math

from voxkern.reference import conv as direct


def packed_size(outputs, inputs, kernel_size, tile, groups, itemsize):
    """Elements of the packed weights of `outputs` channels of `inputs` per group."""
    return outputs * inputs * math.prod(kernel_size)


def pack(weight, tile, groups, *, out):
    """out = the weights."""
    out[...] = weight.ravel()


def conv(
    x,
    weight,
    bias,
    tile,
    padding,
    stride,
    dilation,
    groups,
    *,
    packed,
    slope,
    flipped=False,
    out,
):
    """out = the convolution; whether the results can be trusted."""
    arguments = x, weight, bias, stride, padding, dilation, groups
    direct.conv(*arguments, slope=slope, flipped=flipped, out=out)
    return True


def backward_weight(grad, x, kernel_size, tile, padding, stride, dilation, groups, *, out):
    """out = the gradient to the weights; whether the results can be trusted."""
    direct.conv_backward_weight(grad, x, kernel_size, stride, padding, dilation, groups, out=out)
    return True
