"""The oracles of convolution, in both of the exam's forms: loops, and one matrix product."""

import numpy as np

from voxkern.reference._shape import into, pairs, per_axis
from voxkern.reference.im2col import col2im


def conv_loops(x, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
    """Convolution as its definition says it: a loop over every index, for batched `x`."""
    axes = x.ndim - 2
    kernel, stride, dilation = weight.shape[2:], per_axis(stride, axes), per_axis(dilation, axes)
    padding = pairs(padding, kernel, dilation)
    x = np.pad(x, [(0, 0), (0, 0), *padding])
    count = [
        (n - d * (k - 1) - 1) // s + 1 for n, k, s, d in zip(x.shape[2:], kernel, stride, dilation)
    ]
    outputs, inputs = weight.shape[0] // groups, weight.shape[1]
    out = np.zeros((x.shape[0], weight.shape[0], *count), x.dtype)
    for n, o, *position in np.ndindex(*out.shape):
        total = 0 if bias is None else bias[o]
        for c, *tap in np.ndindex(inputs, *kernel):
            place = tuple(p * s + t * d for p, s, t, d in zip(position, stride, tap, dilation))
            total += x[(n, o // outputs * inputs + c, *place)] * weight[(o, c, *tap)]
        out[(n, o, *position)] = total
    return out


def windows(x, kernel, stride, padding, dilation):
    """Views of all windows, ``(N, C, *positions, *kernel)``, of `x` padded with zeros."""
    axes = len(kernel)
    x = np.pad(x, [(0, 0), (0, 0), *padding])
    spans = [d * (k - 1) + 1 for k, d in zip(kernel, dilation)]
    view = np.lib.stride_tricks.sliding_window_view(x, spans, axis=tuple(range(2, 2 + axes)))
    steps = [slice(None, None, s) for s in (*stride, *dilation)]
    return view[(slice(None), slice(None), *steps)]


def conv(
    x,
    weight,
    bias=None,
    stride=1,
    padding=0,
    dilation=1,
    groups=1,
    *,
    activation=None,
    algorithm="auto",
    slope=None,
    flipped=False,
    out=None,
    packed=None,
    whole=None,
    accumulate=False,
):
    """Convolution over any number of axes: every window, then one matrix product per group.

    With a `slope`, negative results are multiplied by it (0 is relu). `activation` says the same
    in the words of the public functions. `flipped` weights are those of which it is the transpose:
    inputs before outputs, and the taps in reverse. To `accumulate` is to add to what `out`
    holds, before the slope. `packed` and `whole` are not looked at; see :func:`packing`.
    """
    if flipped:
        taps = np.flip(weight, tuple(range(2, weight.ndim)))
        weight = np.concatenate([part.swapaxes(0, 1) for part in np.split(taps, groups)])
    if activation is not None:
        slope = 0 if activation == "relu" else activation[1]
    axes = weight.ndim - 2
    if x.ndim == axes + 1:
        one = conv(x[None], weight, bias, stride, padding, dilation, groups, slope=slope)[0]
        return into(out, one)
    kernel, stride, dilation = weight.shape[2:], per_axis(stride, axes), per_axis(dilation, axes)
    view = windows(x, kernel, stride, pairs(padding, kernel, dilation), dilation)
    count = view.shape[2 : 2 + axes]
    outputs, inputs = weight.shape[0] // groups, weight.shape[1]
    result = []
    for g in range(groups):
        part = view[:, g * inputs : (g + 1) * inputs]
        rows = np.moveaxis(part, 1, 1 + axes).reshape(len(x), int(np.prod(count)), weight[0].size)
        columns = weight[g * outputs : (g + 1) * outputs].reshape(outputs, -1).T
        result.append((rows @ columns).swapaxes(1, 2).reshape(x.shape[0], outputs, *count))
    result = np.concatenate(result, axis=1)
    if bias is not None:
        result = result + bias.reshape(-1, *[1] * axes)
    if accumulate:
        result = result + out
    if slope is not None:
        result = np.where(result < 0, slope * result if slope else 0, result)
    return into(out, result)


def packing(
    x_shape,
    weight_shape,
    out_shape,
    stride,
    padding,
    dilation,
    groups,
    *,
    algorithm,
    itemsize,
):
    """The layout of packed weights and its elements: none, weights are read as they are."""
    return 0, 0


def conv_transpose(
    x,
    weight,
    bias=None,
    stride=1,
    padding=0,
    output_padding=0,
    groups=1,
    dilation=1,
    *,
    product=True,
    out=None,
):
    """Transposed convolution: every input adds its multiple of the kernel to the output.

    `product` is not looked at: this is one.
    """
    axes = weight.ndim - 2
    if x.ndim == axes + 1:
        x = x[None]
        return conv_transpose(x, weight, bias, stride, padding, output_padding, groups, dilation)[0]
    kernel, stride, dilation = weight.shape[2:], per_axis(stride, axes), per_axis(dilation, axes)
    padding, extra = pairs(padding, kernel, dilation), per_axis(output_padding, axes)
    reach = [
        (n - 1) * s + d * (k - 1) + 1 for n, s, d, k in zip(x.shape[2:], stride, dilation, kernel)
    ]
    inside = [slice(b, n - a + e) for n, (b, a), e in zip(reach, padding, extra)]
    result = []
    for data, w in zip(np.split(x, groups, axis=1), np.split(weight, groups)):
        columns = w.reshape(len(w), -1).T @ data.reshape(*data.shape[:2], np.prod(data.shape[2:]))
        whole = col2im(columns, reach, kernel, stride, 0, dilation)
        whole = np.pad(whole, [(0, 0), (0, 0), *[(0, e) for e in extra]])
        result.append(whole[(slice(None), slice(None), *inside)])
    result = np.concatenate(result, axis=1)
    if bias is not None:
        result = result + bias.reshape(-1, *[1] * axes)
    return into(out, result)


def conv_backward_weight(
    grad, x, kernel_size, stride=1, padding=0, dilation=1, groups=1, *, out=None
):
    """Gradient to the weights: each is the sum of what it was multiplied with, times `grad`."""
    axes = grad.ndim - 2
    kernel, stride, dilation = (per_axis(v, axes) for v in (kernel_size, stride, dilation))
    view = windows(x, kernel, stride, pairs(padding, kernel, dilation), dilation)
    result = []
    for part, g in zip(np.split(view, groups, axis=1), np.split(grad, groups, axis=1)):
        summed = [0, *range(2, 2 + axes)]
        result.append(np.tensordot(g, part, (summed, summed)))
    return into(out, np.concatenate(result))


def conv_backward_bias(grad, *, out=None):
    """Gradient to the bias: the sum of `grad` over all but the channels."""
    return into(out, grad.sum(axis=(0, *range(2, grad.ndim))))


def conv_backward(
    grad, x, weight, stride=1, padding=0, dilation=1, groups=1, *, need=(True, True, True)
):
    """Gradients to `x`, `weight` and the bias; None where `need` is false."""
    axes = weight.ndim - 2
    if x.ndim == axes + 1:
        grads = conv_backward(
            grad[None], x[None], weight, stride, padding, dilation, groups, need=need
        )
        return None if grads[0] is None else grads[0][0], *grads[1:]
    kernel, stride, dilation = weight.shape[2:], per_axis(stride, axes), per_axis(dilation, axes)
    padding = pairs(padding, kernel, dilation)
    grad_x = grad_weight = grad_bias = None
    if need[0]:
        spans = [d * (k - 1) + 1 for d, k in zip(dilation, kernel)]
        rest = [(n + b + a - e) % s for n, (b, a), e, s in zip(x.shape[2:], padding, spans, stride)]
        grad_x = conv_transpose(grad, weight, None, stride, padding, rest, groups, dilation)
    if need[1]:
        grad_weight = conv_backward_weight(grad, x, kernel, stride, padding, dilation, groups)
    if need[2]:
        grad_bias = conv_backward_bias(grad)
    return grad_x, grad_weight, grad_bias


# The oracles serve any number of axes.
conv1d = conv2d = conv3d = conv
conv_transpose1d = conv_transpose2d = conv_transpose3d = conv_transpose
conv1d_backward = conv2d_backward = conv3d_backward = conv_backward


class ConvPlan:
    """Oracle of :class:`voxkern.ConvPlan`: remembers the arguments of :func:`conv`."""

    def __init__(
        self,
        weight,
        bias=None,
        stride=1,
        padding=0,
        dilation=1,
        groups=1,
        algorithm="auto",
        activation=None,
    ):
        self.arguments = (
            *(weight.copy(), None if bias is None else bias.copy()),
            *(stride, padding, dilation, groups),
        )
        self.activation = activation

    def __call__(self, x, out=None):
        """Convolve `x`."""
        return conv(x, *self.arguments, activation=self.activation, out=out)
