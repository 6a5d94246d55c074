"""Functions with the names and arguments of ``torch.nn.functional``, computed by our operators."""

import math

import torch
from torch.nn import functional as torch_functional

from voxkern import _check, window
from voxkern.torch import operators


def conv3d(x, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
    """``torch.nn.functional.conv3d`` of CPU tensors by :func:`voxkern.conv3d`.

    Parameters, shapes and errors are those of :func:`voxkern.conv3d`. The result is differentiable
    once with respect to `x`, `weight` and `bias`; nothing is copied on the way in or out, except a
    tensor that is not contiguous.
    """
    return _conv(3, x, weight, bias, stride, padding, dilation, groups)


def conv2d(x, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
    """``torch.nn.functional.conv2d``; see :func:`conv3d`."""
    return _conv(2, x, weight, bias, stride, padding, dilation, groups)


def conv1d(x, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
    """``torch.nn.functional.conv1d``; see :func:`conv3d`."""
    return _conv(1, x, weight, bias, stride, padding, dilation, groups)


def conv_transpose3d(
    x, weight, bias=None, stride=1, padding=0, output_padding=0, groups=1, dilation=1
):
    """``torch.nn.functional.conv_transpose3d`` by :func:`voxkern.conv_transpose3d`.

    As :func:`conv3d`; `output_padding` must be less than the stride.
    """
    return _transpose(3, x, weight, bias, stride, padding, output_padding, groups, dilation)


def conv_transpose2d(
    x, weight, bias=None, stride=1, padding=0, output_padding=0, groups=1, dilation=1
):
    """``torch.nn.functional.conv_transpose2d``; see :func:`conv_transpose3d`."""
    return _transpose(2, x, weight, bias, stride, padding, output_padding, groups, dilation)


def conv_transpose1d(
    x, weight, bias=None, stride=1, padding=0, output_padding=0, groups=1, dilation=1
):
    """``torch.nn.functional.conv_transpose1d``; see :func:`conv_transpose3d`."""
    return _transpose(1, x, weight, bias, stride, padding, output_padding, groups, dilation)


def max_pool3d(
    x, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False, return_indices=False
):
    """``torch.nn.functional.max_pool3d`` by :func:`voxkern.max_pool3d`."""
    return _max_pool(3, x, kernel_size, stride, padding, dilation, ceil_mode, return_indices)


def max_pool2d(
    x, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False, return_indices=False
):
    """``torch.nn.functional.max_pool2d``; see :func:`max_pool3d`."""
    return _max_pool(2, x, kernel_size, stride, padding, dilation, ceil_mode, return_indices)


def max_pool1d(
    x, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False, return_indices=False
):
    """``torch.nn.functional.max_pool1d``; see :func:`max_pool3d`."""
    return _max_pool(1, x, kernel_size, stride, padding, dilation, ceil_mode, return_indices)


def avg_pool3d(
    x,
    kernel_size,
    stride=None,
    padding=0,
    ceil_mode=False,
    count_include_pad=True,
    divisor_override=None,
):
    """``torch.nn.functional.avg_pool3d`` by :func:`voxkern.avg_pool3d`."""
    rest = ceil_mode, count_include_pad, divisor_override
    return operators.avg_pool(x, *_pooling(3, kernel_size, stride, padding), *rest)


def avg_pool2d(
    x,
    kernel_size,
    stride=None,
    padding=0,
    ceil_mode=False,
    count_include_pad=True,
    divisor_override=None,
):
    """``torch.nn.functional.avg_pool2d`` by :func:`voxkern.avg_pool2d`."""
    rest = ceil_mode, count_include_pad, divisor_override
    return operators.avg_pool(x, *_pooling(2, kernel_size, stride, padding), *rest)


def avg_pool1d(x, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True):
    """``torch.nn.functional.avg_pool1d`` by :func:`voxkern.avg_pool1d`."""
    rest = ceil_mode, count_include_pad, None
    return operators.avg_pool(x, *_pooling(1, kernel_size, stride, padding), *rest)


def batch_norm(
    x,
    running_mean,
    running_var,
    weight=None,
    bias=None,
    training=False,
    momentum=0.1,
    eps=1e-5,
):
    """``torch.nn.functional.batch_norm`` by :func:`voxkern.batch_norm`.

    When training, running tensors that are given are moved in place.
    """
    if not training:
        if running_mean is None or running_var is None:
            raise ValueError("inference needs running_mean and running_var")
        return operators.batch_norm_inference(x, running_mean, running_var, weight, bias, eps)
    out, mean, var = operators.batch_norm_training(x, weight, bias, eps)
    if running_mean is not None and x.numel():
        with torch.no_grad():
            running_mean.lerp_(mean, momentum)
            running_var.lerp_(var, momentum)
    return out


def group_norm(x, num_groups, weight=None, bias=None, eps=1e-5):
    """``torch.nn.functional.group_norm`` by :func:`voxkern.group_norm`."""
    return operators.group_norm(x, num_groups, weight, bias, eps)


def instance_norm(x, weight=None, bias=None, eps=1e-5):
    """``torch.nn.functional.instance_norm`` with the statistics of `x`; no running ones."""
    if x.ndim < 3 or math.prod(x.shape[2:]) == 1:
        raise ValueError(f"x has shape {tuple(x.shape)}; an instance needs more than 1 element")
    return operators.group_norm(x, x.shape[1], weight, bias, eps)


def _conv(axes, x, weight, bias, stride, padding, dilation, groups):
    _check_axes(axes, weight)
    stride, dilation = _listed(stride, "stride", axes), _listed(dilation, "dilation", axes)
    if isinstance(padding, str):
        pairs = window.padding_pairs(padding, weight.shape[2:], stride, dilation)
        if any(before != after for before, after in pairs):
            x = torch_functional.pad(x, [n for pair in reversed(pairs) for n in pair])
            pairs = ((0, 0),) * axes
        padding = [before for before, _ in pairs]
    padding = _listed(padding, "padding", axes, 0)
    return operators.conv(x, weight, bias, stride, padding, dilation, groups)


def _transpose(axes, x, weight, bias, stride, padding, output_padding, groups, dilation):
    _check_axes(axes, weight)
    stride, dilation = _listed(stride, "stride", axes), _listed(dilation, "dilation", axes)
    padding = _listed(padding, "padding", axes, 0)
    extra = _listed(output_padding, "output_padding", axes, 0)
    if any(e >= s for e, s in zip(extra, stride)):
        raise ValueError(f"output_padding is {extra}; it must be less than the stride, {stride}")
    return operators.conv_transpose(x, weight, bias, stride, padding, extra, groups, dilation)


def _max_pool(axes, x, kernel_size, stride, padding, dilation, ceil_mode, return_indices):
    arguments = _pooling(axes, kernel_size, stride, padding)
    dilation = _listed(dilation, "dilation", axes)
    found = operators.max_pool(x, *arguments, dilation, ceil_mode)
    return found if return_indices else found[0]


def _pooling(axes, kernel_size, stride, padding):
    kernel_size = _listed(kernel_size, "kernel_size", axes)
    stride = kernel_size if stride is None else _listed(stride, "stride", axes)
    return kernel_size, stride, _listed(padding, "padding", axes, 0)


def _listed(value, name, axes, minimum=1):
    return list(_check.per_axis(value, name, axes, minimum))


def _check_axes(axes, weight):
    if weight.ndim != axes + 2:
        raise ValueError(f"weight has shape {tuple(weight.shape)}; it must have {axes + 2} axes")
