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
    transposed=False,
    out,
):
    """out = the convolution; whether the results can be trusted."""
    if transposed:
        inputs, outputs, *kernel_size = weight.shape
        parts = weight[:, :, ::-1, ::-1, ::-1].reshape(groups, -1, outputs, *kernel_size)
        weight = parts.swapaxes(1, 2).reshape(groups * outputs, inputs // groups, *kernel_size)
    direct.conv(x, weight, bias, stride, padding, dilation, groups, slope=slope, out=out)
    return True


def backward_weight(grad, x, kernel_size, tile, padding, stride, dilation, groups, *, out):
    """out = the gradient to the weights; whether the results can be trusted."""
    direct.conv_backward_weight(grad, x, kernel_size, stride, padding, dilation, groups, out=out)
    return True
