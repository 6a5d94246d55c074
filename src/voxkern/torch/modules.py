"""torch's modules with our kernels behind them: same parameters, buffers, names and errors.

Each is a subclass of torch's that replaces the call alone, so that an instance can become one by
its class and be used, saved and loaded as before. Where a call cannot be served it is torch's.
"""

import math

import numpy as np
import torch
from torch import nn
from torch.autograd import forward_ad

import voxkern
from voxkern.batchnorm import scale_and_shift
from voxkern.conv import folded
from voxkern.torch import functional, operators

SERVED = torch.float32, torch.float64


def unserved(x, *parameters):
    """Why a call is left to torch, or None."""
    if not isinstance(x, torch.Tensor):
        return f"{type(x).__name__} instead of a tensor"
    tensors = [x, *(p for p in parameters if p is not None)]
    if any(t.device.type != "cpu" for t in tensors):
        return f"device {x.device}"
    if x.layout != torch.strided:
        return f"layout {x.layout}"
    if x.dtype not in SERVED or any(t.dtype != x.dtype for t in tensors):
        return f"dtype {x.dtype}"
    if torch.is_autocast_enabled("cpu"):
        return "autocast"
    return "torch.func" if transformed() else None


def transformed():
    """Whether a forward-mode derivative or a transform of torch.func is under way.

    torch leaves out, without a word, a tangent that a custom operator meets without gradients.
    """
    if torch.compiler.is_compiling():
        return False
    return (
        forward_ad._current_level >= 0 or torch._C._functorch.peek_interpreter_stack() is not None
    )


def unwatched(*tensors):
    """Whether nothing but the values of a call matters: no gradient, no tracing, no subclass."""
    return not (
        torch.compiler.is_compiling()
        or torch.jit.is_tracing()
        or any(type(t) not in (torch.Tensor, nn.Parameter) for t in tensors if t is not None)
        or (torch.is_grad_enabled() and any(t.requires_grad for t in tensors if t is not None))
    )


class Served:
    """What our modules share: why the last call was torch's."""

    voxkern_fallback = None

    def served(self, x, *parameters):
        """Whether this call is ours; :attr:`voxkern_fallback` tells why not."""
        self.voxkern_fallback = self.unserved_argument() or unserved(x, *parameters)
        return self.voxkern_fallback is None

    def unserved_argument(self):
        """Why no call of this module is ours, or None."""
        return None


class Convolution(Served):
    """What the convolutions share."""

    _plan = None

    def unserved_argument(self):
        return None if self.padding_mode == "zeros" else f"padding_mode {self.padding_mode!r}"

    def _conv_forward(self, x, weight, bias):
        if not self.served(x, weight, bias):
            return super()._conv_forward(x, weight, bias)
        if not self.training and unwatched(x, weight, bias):
            return self.planned(x)
        window = self.stride, self.padding, self.dilation
        return functional._conv(weight.ndim - 2, x, weight, bias, *window, self.groups)

    def planned(self, x, norm=None, slope=None):
        """The convolution, a batch norm and an activation of this slope, by a plan that is kept.

        The plan is made anew when an element of a parameter has changed. A comparison reads the
        weights twice; versions of tensors would not tell of what is written through ``.data``.
        """
        tensors = [self.weight, self.bias]
        if norm is not None:
            tensors += [norm.running_mean, norm.running_var, norm.weight, norm.bias]
        arrays = [operators.array(t) for t in tensors]
        kept = self._plan
        if kept is None or kept.made_for != self._made_for(norm, slope) or not kept.fits(arrays):
            kept = self._plan = KeptPlan(self._made_for(norm, slope), arrays)
        return torch.from_numpy(kept.plan(operators.array(x)))

    def _made_for(self, norm, slope):
        window = self.stride, self.padding, self.dilation, self.groups
        return window, None if norm is None else norm.eps, slope

    def __getstate__(self):
        """What is saved and copied: the plan is left behind."""
        return {k: v for k, v in self.__dict__.items() if k != "_plan"}


class KeptPlan:
    """A plan, and copies of the parameters that it was made of."""

    def __init__(self, made_for, arrays):
        window, eps, slope = self.made_for = made_for
        weight, bias, *norm = arrays
        if eps is not None:
            weight, bias = folded(weight, bias, *scale_and_shift(*norm, eps))
        activation = None if slope is None else ("leaky_relu", slope)
        self.plan = voxkern.ConvPlan(weight, bias, *window, activation=activation)
        self.arrays = [self.plan.weight, self.plan.bias]
        if eps is not None:
            self.arrays = [None if a is None else a.copy() for a in arrays]

    def fits(self, arrays):
        pairs = zip(self.arrays, arrays, strict=True)
        return all(a is b if a is None or b is None else same(a, b) for a, b in pairs)


def same(a, b):
    return a.dtype == b.dtype and np.array_equal(a, b)


class Conv1d(Convolution, nn.Conv1d):
    """``torch.nn.Conv1d`` by :func:`voxkern.conv1d`."""


class Conv2d(Convolution, nn.Conv2d):
    """``torch.nn.Conv2d`` by :func:`voxkern.conv2d`."""


class Conv3d(Convolution, nn.Conv3d):
    """``torch.nn.Conv3d`` by :func:`voxkern.conv3d`."""


class Transposed(Served):
    """What the transposed convolutions share."""

    def unserved_argument(self):
        if any(e >= s for e, s in zip(self.output_padding, self.stride)):
            return "output_padding of a stride or more"
        return None

    def forward(self, x, output_size=None):
        if not self.served(x, self.weight, self.bias):
            return super().forward(x, output_size)
        axes, window = self.weight.ndim - 2, (self.stride, self.padding)
        extra = self._output_padding(x, output_size, *window, self.kernel_size, axes, self.dilation)
        rest = extra, self.groups, self.dilation
        return functional._transpose(axes, x, self.weight, self.bias, *window, *rest)


class ConvTranspose1d(Transposed, nn.ConvTranspose1d):
    """``torch.nn.ConvTranspose1d`` by :func:`voxkern.conv_transpose1d`."""


class ConvTranspose2d(Transposed, nn.ConvTranspose2d):
    """``torch.nn.ConvTranspose2d`` by :func:`voxkern.conv_transpose2d`."""


class ConvTranspose3d(Transposed, nn.ConvTranspose3d):
    """``torch.nn.ConvTranspose3d`` by :func:`voxkern.conv_transpose3d`."""


class MaxPool(Served):
    """What the maxima share."""

    def forward(self, x):
        if not self.served(x):
            return super().forward(x)
        window = self.kernel_size, self.stride, self.padding, self.dilation, self.ceil_mode
        if unwatched(x) and not self.return_indices:  # no places are found
            return torch.from_numpy(operators.MAX_POOL[self.axes](operators.array(x), *window))
        return functional._max_pool(self.axes, x, *window, self.return_indices)


class MaxPool1d(MaxPool, nn.MaxPool1d):
    """``torch.nn.MaxPool1d`` by :func:`voxkern.max_pool1d`."""

    axes = 1


class MaxPool2d(MaxPool, nn.MaxPool2d):
    """``torch.nn.MaxPool2d`` by :func:`voxkern.max_pool2d`."""

    axes = 2


class MaxPool3d(MaxPool, nn.MaxPool3d):
    """``torch.nn.MaxPool3d`` by :func:`voxkern.max_pool3d`."""

    axes = 3


class AvgPool(Served):
    """What the averages share."""

    divisor_override = None  # torch's of one axis has none

    def forward(self, x):
        if not self.served(x):
            return super().forward(x)
        window = functional._pooling(self.axes, self.kernel_size, self.stride, self.padding)
        rest = self.ceil_mode, self.count_include_pad, self.divisor_override
        return operators.avg_pool(x, *window, *rest)


class AvgPool1d(AvgPool, nn.AvgPool1d):
    """``torch.nn.AvgPool1d`` by :func:`voxkern.avg_pool1d`."""

    axes = 1


class AvgPool2d(AvgPool, nn.AvgPool2d):
    """``torch.nn.AvgPool2d`` by :func:`voxkern.avg_pool2d`."""

    axes = 2


class AvgPool3d(AvgPool, nn.AvgPool3d):
    """``torch.nn.AvgPool3d`` by :func:`voxkern.avg_pool3d`."""

    axes = 3


class BatchNorm(Served):
    """What the batch norms share."""

    def forward(self, x):
        running = self.running_mean, self.running_var
        if not self.served(x, *running, self.weight, self.bias):
            return super().forward(x)
        self._check_input_dim(x)
        own = self.training or self.running_mean is None
        moved = self.training and self.track_running_stats
        if not moved and own:
            running = None, None
        momentum = self._momentum() if moved else 0.0
        return functional.batch_norm(x, *running, self.weight, self.bias, own, momentum, self.eps)

    def _momentum(self):
        """How far this batch moves the running statistics, once it is counted."""
        if self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
            if self.momentum is None:
                return 1 / float(self.num_batches_tracked)
        return 0.0 if self.momentum is None else self.momentum


class BatchNorm1d(BatchNorm, nn.BatchNorm1d):
    """``torch.nn.BatchNorm1d`` by :func:`voxkern.batch_norm`."""


class BatchNorm2d(BatchNorm, nn.BatchNorm2d):
    """``torch.nn.BatchNorm2d`` by :func:`voxkern.batch_norm`."""


class BatchNorm3d(BatchNorm, nn.BatchNorm3d):
    """``torch.nn.BatchNorm3d`` by :func:`voxkern.batch_norm`."""


class InstanceNorm(Served):
    """What the instance norms share."""

    def unserved_argument(self):
        return "track_running_stats" if self.track_running_stats else None

    def _apply_instance_norm(self, x):
        if not self.served(x, self.weight, self.bias):
            return super()._apply_instance_norm(x)
        return functional.instance_norm(x, self.weight, self.bias, self.eps)


class InstanceNorm1d(InstanceNorm, nn.InstanceNorm1d):
    """``torch.nn.InstanceNorm1d`` by :func:`voxkern.instance_norm`."""


class InstanceNorm2d(InstanceNorm, nn.InstanceNorm2d):
    """``torch.nn.InstanceNorm2d`` by :func:`voxkern.instance_norm`."""


class InstanceNorm3d(InstanceNorm, nn.InstanceNorm3d):
    """``torch.nn.InstanceNorm3d`` by :func:`voxkern.instance_norm`."""


class GroupNorm(Served, nn.GroupNorm):
    """``torch.nn.GroupNorm`` by :func:`voxkern.group_norm`."""

    def forward(self, x):
        if not self.served(x, self.weight, self.bias):
            return super().forward(x)
        return functional.group_norm(x, self.num_groups, self.weight, self.bias, self.eps)


OURS = {
    nn.Conv1d: Conv1d,
    nn.Conv2d: Conv2d,
    nn.Conv3d: Conv3d,
    nn.ConvTranspose1d: ConvTranspose1d,
    nn.ConvTranspose2d: ConvTranspose2d,
    nn.ConvTranspose3d: ConvTranspose3d,
    nn.MaxPool1d: MaxPool1d,
    nn.MaxPool2d: MaxPool2d,
    nn.MaxPool3d: MaxPool3d,
    nn.AvgPool1d: AvgPool1d,
    nn.AvgPool2d: AvgPool2d,
    nn.AvgPool3d: AvgPool3d,
    nn.BatchNorm1d: BatchNorm1d,
    nn.BatchNorm2d: BatchNorm2d,
    nn.BatchNorm3d: BatchNorm3d,
    nn.InstanceNorm1d: InstanceNorm1d,
    nn.InstanceNorm2d: InstanceNorm2d,
    nn.InstanceNorm3d: InstanceNorm3d,
    nn.GroupNorm: GroupNorm,
}


def activation_slope(module):
    """What an activation multiplies negative values by; None where it is another function."""
    if type(module) is nn.ReLU:
        return 0.0
    if type(module) is nn.LeakyReLU:
        return float(module.negative_slope)
    if type(module) is nn.PReLU and module.num_parameters == 1:
        slope = float(module.weight.detach())
        return slope if math.isfinite(slope) else None
    return None
