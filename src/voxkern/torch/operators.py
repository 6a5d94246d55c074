"""torch operators over our kernels (``torch.ops.voxkern``): values, fake values and gradients.

An operator serves 1 to 3 spatial axes: its weight or `kernel_size` tells how many. Tensors are read
where they lie, and results are tensors over arrays: NumPy asks for huge pages, and a convolution of
32 channels of 64^3 takes 24 ms into its fresh array, 35 ms into a fresh tensor of torch's.
"""

import numpy as np
import torch
from torch import Tensor
from torch.library import custom_op
from torch.nn import functional

import voxkern

CONV = {1: voxkern.conv1d, 2: voxkern.conv2d, 3: voxkern.conv3d}
CONV_BACKWARD = {1: voxkern.conv1d_backward, 2: voxkern.conv2d_backward, 3: voxkern.conv3d_backward}
TRANSPOSE = {
    1: voxkern.conv_transpose1d,
    2: voxkern.conv_transpose2d,
    3: voxkern.conv_transpose3d,
}
MAX_POOL = {1: voxkern.max_pool1d, 2: voxkern.max_pool2d, 3: voxkern.max_pool3d}
MAX_POOL_BACKWARD = {
    1: voxkern.max_pool1d_backward,
    2: voxkern.max_pool2d_backward,
    3: voxkern.max_pool3d_backward,
}
AVG_POOL = {1: voxkern.avg_pool1d, 2: voxkern.avg_pool2d, 3: voxkern.avg_pool3d}
AVG_POOL_BACKWARD = {
    1: voxkern.avg_pool1d_backward,
    2: voxkern.avg_pool2d_backward,
    3: voxkern.avg_pool3d_backward,
}


def array(tensor):
    """The memory of a CPU tensor as an array; None stays None. Threads become torch's."""
    if tensor is None:
        return None
    voxkern.set_num_threads(torch.get_num_threads())
    return tensor.numpy(force=True)


def _plain(like):
    """A fake result of the shape of `like`, laid out as ours are."""
    return like.new_empty(like.shape)


# --- convolution --------------------------------------------------------------------------------


@custom_op("voxkern::conv", mutates_args=(), device_types="cpu")
def conv(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: list[int],
    padding: list[int],
    dilation: list[int],
    groups: int,
) -> Tensor:
    """:func:`voxkern.conv3d`, or its likeness of fewer axes."""
    rest = stride, padding, dilation, groups
    run = CONV[weight.ndim - 2]
    return torch.from_numpy(run(array(x), array(weight), array(bias), *rest))


@conv.register_fake
def _(x, weight, bias, stride, padding, dilation, groups):
    run = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}[weight.ndim - 2]
    return _plain(run(x, weight, bias, stride, padding, dilation, groups))


@custom_op("voxkern::conv_backward", mutates_args=(), device_types="cpu")
def conv_backward(
    grad: Tensor,
    x: Tensor,
    weight: Tensor,
    stride: list[int],
    padding: list[int],
    dilation: list[int],
    groups: int,
    need: list[bool],
) -> tuple[Tensor, Tensor, Tensor]:
    """:func:`voxkern.conv3d_backward`; what is not needed is a tensor without elements."""
    rest = stride, padding, dilation, groups
    run = CONV_BACKWARD[weight.ndim - 2]
    found = run(array(grad), array(x), array(weight), *rest, need=need)
    return tuple([x.new_empty(0) if g is None else torch.from_numpy(g) for g in found])


@conv_backward.register_fake
def _(grad, x, weight, stride, padding, dilation, groups, need):
    return _fake_gradients(x, weight, weight.shape[0], need)


def _fake_gradients(x, weight, outputs, need):
    shapes = x.shape, weight.shape, (outputs,)
    return tuple([x.new_empty(s if n else (0,)) for s, n in zip(shapes, need)])


def _keep_conv(ctx, inputs, output):
    x, weight, _, *ctx.rest = inputs
    ctx.save_for_backward(x, weight)


def _conv_gradients(ctx, grad):
    need = list(ctx.needs_input_grad[:3])
    found = conv_backward(grad, *ctx.saved_tensors, *ctx.rest, need)
    return *_wanted(found, need), *(None for _ in ctx.rest)


def _wanted(gradients, need):
    return [g if n else None for g, n in zip(gradients, need)]


conv.register_autograd(_conv_gradients, setup_context=_keep_conv)


@custom_op("voxkern::conv_transpose", mutates_args=(), device_types="cpu")
def conv_transpose(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: list[int],
    padding: list[int],
    output_padding: list[int],
    groups: int,
    dilation: list[int],
) -> Tensor:
    """:func:`voxkern.conv_transpose3d`, or its likeness of fewer axes."""
    rest = stride, padding, output_padding, groups, dilation
    run = TRANSPOSE[weight.ndim - 2]
    return torch.from_numpy(run(array(x), array(weight), array(bias), *rest))


@conv_transpose.register_fake
def _(x, weight, bias, stride, padding, output_padding, groups, dilation):
    run = {
        1: functional.conv_transpose1d,
        2: functional.conv_transpose2d,
        3: functional.conv_transpose3d,
    }[weight.ndim - 2]
    return _plain(run(x, weight, bias, stride, padding, output_padding, groups, dilation))


@custom_op("voxkern::conv_transpose_backward", mutates_args=(), device_types="cpu")
def conv_transpose_backward(
    grad: Tensor,
    x: Tensor,
    weight: Tensor,
    stride: list[int],
    padding: list[int],
    groups: int,
    dilation: list[int],
    need: list[bool],
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradient to x is the convolution; that to the weights has `x` for its gradient."""
    axes, rest = weight.ndim - 2, (stride, padding, dilation, groups)
    given, upstream, taps = array(x), array(grad), array(weight)
    grad_x, grad_weight, grad_bias = (x.new_empty(0) for _ in need)
    if need[0]:
        grad_x = torch.from_numpy(CONV[axes](upstream, taps, None, *rest))
    if need[1]:
        found = CONV_BACKWARD[axes](given, upstream, taps, *rest, need=(False, True, False))
        grad_weight = torch.from_numpy(found[1])
    if need[2]:
        grad_bias = grad.sum([i for i in range(grad.ndim) if i != grad.ndim - axes - 1])
    return grad_x, grad_weight, grad_bias


@conv_transpose_backward.register_fake
def _(grad, x, weight, stride, padding, groups, dilation, need):
    return _fake_gradients(x, weight, weight.shape[1] * groups, need)


def _keep_transpose(ctx, inputs, output):
    x, weight, _, stride, padding, _, groups, dilation = inputs
    ctx.save_for_backward(x, weight)
    ctx.rest = stride, padding, groups, dilation


def _transpose_gradients(ctx, grad):
    need = list(ctx.needs_input_grad[:3])
    found = conv_transpose_backward(grad, *ctx.saved_tensors, *ctx.rest, need)
    return *_wanted(found, need), *(None,) * 5


conv_transpose.register_autograd(_transpose_gradients, setup_context=_keep_transpose)


# --- pooling ------------------------------------------------------------------------------------


@custom_op("voxkern::max_pool", mutates_args=(), device_types="cpu")
def max_pool(
    x: Tensor,
    kernel_size: list[int],
    stride: list[int],
    padding: list[int],
    dilation: list[int],
    ceil_mode: bool,
) -> tuple[Tensor, Tensor]:
    """Maxima and their places: :func:`voxkern.max_pool3d`, or its likeness of fewer axes."""
    run = MAX_POOL[len(kernel_size)]
    found = run(array(x), kernel_size, stride, padding, dilation, ceil_mode, True)
    return torch.from_numpy(found[0]), torch.from_numpy(found[1])


@max_pool.register_fake
def _(x, kernel_size, stride, padding, dilation, ceil_mode):
    axes = len(kernel_size)
    run = {1: functional.max_pool1d, 2: functional.max_pool2d, 3: functional.max_pool3d}[axes]
    found = run(x, kernel_size, stride, padding, dilation, ceil_mode, return_indices=True)
    return _plain(found[0]), _plain(found[1])


@custom_op("voxkern::max_pool_backward", mutates_args=(), device_types="cpu")
def max_pool_backward(grad: Tensor, indices: Tensor, input_size: list[int]) -> Tensor:
    """:func:`voxkern.max_pool3d_backward`, or its likeness of fewer axes."""
    run = MAX_POOL_BACKWARD[len(input_size)]
    return torch.from_numpy(run(array(grad), array(indices), input_size))


@max_pool_backward.register_fake
def _(grad, indices, input_size):
    return grad.new_empty((*grad.shape[: -len(input_size)], *input_size))


def _keep_max_pool(ctx, inputs, output):
    x, kernel_size = inputs[:2]
    ctx.size = list(x.shape[-len(kernel_size) :])
    ctx.save_for_backward(output[1])
    ctx.mark_non_differentiable(output[1])


def _max_pool_gradients(ctx, grad, _):
    return max_pool_backward(grad, *ctx.saved_tensors, ctx.size), *(None,) * 5


max_pool.register_autograd(_max_pool_gradients, setup_context=_keep_max_pool)


@custom_op("voxkern::avg_pool", mutates_args=(), device_types="cpu")
def avg_pool(
    x: Tensor,
    kernel_size: list[int],
    stride: list[int],
    padding: list[int],
    ceil_mode: bool,
    count_include_pad: bool,
    divisor_override: int | None,
) -> Tensor:
    """:func:`voxkern.avg_pool3d`, or its likeness of fewer axes."""
    rest = kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override
    return torch.from_numpy(AVG_POOL[len(kernel_size)](array(x), *rest))


@avg_pool.register_fake
def _(x, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override):
    window_arguments = kernel_size, stride, padding, ceil_mode, count_include_pad
    if len(kernel_size) == 1:
        return _plain(functional.avg_pool1d(x, *window_arguments))
    run = {2: functional.avg_pool2d, 3: functional.avg_pool3d}[len(kernel_size)]
    return _plain(run(x, *window_arguments, divisor_override))


@custom_op("voxkern::avg_pool_backward", mutates_args=(), device_types="cpu")
def avg_pool_backward(
    grad: Tensor,
    input_size: list[int],
    kernel_size: list[int],
    stride: list[int],
    padding: list[int],
    ceil_mode: bool,
    count_include_pad: bool,
    divisor_override: int | None,
) -> Tensor:
    """:func:`voxkern.avg_pool3d_backward`, or its likeness of fewer axes."""
    rest = kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override
    run = AVG_POOL_BACKWARD[len(kernel_size)]
    return torch.from_numpy(run(array(grad), input_size, *rest))


@avg_pool_backward.register_fake
def _(grad, input_size, kernel_size, *_):
    return grad.new_empty((*grad.shape[: -len(kernel_size)], *input_size))


def _keep_avg_pool(ctx, inputs, output):
    x, *ctx.rest = inputs
    ctx.size = list(x.shape[-len(ctx.rest[0]) :])


def _avg_pool_gradients(ctx, grad):
    return avg_pool_backward(grad, ctx.size, *ctx.rest), *(None for _ in ctx.rest)


avg_pool.register_autograd(_avg_pool_gradients, setup_context=_keep_avg_pool)


# --- normalisation ------------------------------------------------------------------------------


@custom_op("voxkern::batch_norm_training", mutates_args=(), device_types="cpu")
def batch_norm_training(
    x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """`x` normalised with its own statistics, its mean and its unbiased variance."""
    given = array(x)
    mean, var = np.zeros((2, x.shape[1]), given.dtype)  # moved all the way to those of x
    out = voxkern.batch_norm(given, mean, var, array(weight), array(bias), True, 1.0, eps)
    return torch.from_numpy(out), torch.from_numpy(mean), torch.from_numpy(var)


@batch_norm_training.register_fake
def _(x, weight, bias, eps):
    return _plain(x), x.new_empty(x.shape[1]), x.new_empty(x.shape[1])


@custom_op("voxkern::batch_norm_inference", mutates_args=(), device_types="cpu")
def batch_norm_inference(
    x: Tensor, mean: Tensor, var: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float
) -> Tensor:
    """`x` normalised with running statistics."""
    rest = array(weight), array(bias), False, 0.0, eps
    return torch.from_numpy(voxkern.batch_norm(array(x), array(mean), array(var), *rest))


@batch_norm_inference.register_fake
def _(x, mean, var, weight, bias, eps):
    return _plain(x)


@custom_op("voxkern::batch_norm_backward", mutates_args=(), device_types="cpu")
def batch_norm_backward(
    grad: Tensor,
    x: Tensor,
    weight: Tensor | None,
    mean: Tensor,
    invstd: Tensor,
    training: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """:func:`voxkern.batch_norm_backward`."""
    arrays = [array(t) for t in (grad, x, weight, mean, invstd)]
    found = voxkern.batch_norm_backward(*arrays, training=training)
    return tuple([torch.from_numpy(g) for g in found])


@batch_norm_backward.register_fake
def _(grad, x, weight, mean, invstd, training):
    return _plain(x), x.new_empty(x.shape[1]), x.new_empty(x.shape[1])


def _keep_training(ctx, inputs, output):
    x, weight, _, ctx.eps = inputs
    ctx.save_for_backward(x, weight, *output[1:])
    ctx.mark_non_differentiable(*output[1:])


def _training_gradients(ctx, grad, *_):
    x, weight, mean, var = ctx.saved_tensors
    count = x.numel() // x.shape[1]
    invstd = (var.double() * ((count - 1) / count) + ctx.eps).rsqrt().to(x.dtype)
    found = batch_norm_backward(grad, x, weight, mean, invstd, True)
    return *_wanted(found, ctx.needs_input_grad), None


batch_norm_training.register_autograd(_training_gradients, setup_context=_keep_training)


def _keep_inference(ctx, inputs, output):
    x, mean, var, weight, _, ctx.eps = inputs
    ctx.save_for_backward(x, mean, var, weight)


def _inference_gradients(ctx, grad):
    x, mean, var, weight = ctx.saved_tensors
    invstd = (var.double() + ctx.eps).rsqrt().to(x.dtype)
    found = batch_norm_backward(grad, x, weight, mean, invstd, False)
    need = [ctx.needs_input_grad[i] for i in (0, 3, 4)]
    grad_x, grad_weight, grad_bias = _wanted(found, need)
    return grad_x, None, None, grad_weight, grad_bias, None


batch_norm_inference.register_autograd(_inference_gradients, setup_context=_keep_inference)


@custom_op("voxkern::group_norm", mutates_args=(), device_types="cpu")
def group_norm(
    x: Tensor, num_groups: int, weight: Tensor | None, bias: Tensor | None, eps: float
) -> Tensor:
    """:func:`voxkern.group_norm`."""
    given = array(x), num_groups, array(weight), array(bias), eps
    return torch.from_numpy(voxkern.group_norm(*given))


@group_norm.register_fake
def _(x, num_groups, weight, bias, eps):
    return _plain(x)


@custom_op("voxkern::group_norm_backward", mutates_args=(), device_types="cpu")
def group_norm_backward(
    grad: Tensor, x: Tensor, num_groups: int, weight: Tensor | None, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """:func:`voxkern.group_norm_backward`."""
    given = array(grad), array(x), num_groups, array(weight), eps
    return tuple([torch.from_numpy(g) for g in voxkern.group_norm_backward(*given)])


@group_norm_backward.register_fake
def _(grad, x, num_groups, weight, eps):
    return _plain(x), x.new_empty(x.shape[1]), x.new_empty(x.shape[1])


def _keep_group_norm(ctx, inputs, output):
    x, ctx.num_groups, weight, _, ctx.eps = inputs
    ctx.save_for_backward(x, weight)


def _group_norm_gradients(ctx, grad):
    x, weight = ctx.saved_tensors
    found = group_norm_backward(grad, x, ctx.num_groups, weight, ctx.eps)
    grad_x, grad_weight, grad_bias = _wanted(found, [ctx.needs_input_grad[i] for i in (0, 2, 3)])
    return grad_x, None, grad_weight, grad_bias, None


group_norm.register_autograd(_group_norm_gradients, setup_context=_keep_group_norm)
