"""nn.Sequential in inference: a convolution, the norm and the activation after it in one pass."""

import collections
import functools

import torch
from torch import nn

from voxkern.torch import modules

NOTHING = nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout
NORMS = modules.BatchNorm, modules.InstanceNorm, modules.GroupNorm


def is_sequence(module):
    """Whether calling `module` is to call its children one after another."""
    if not isinstance(module, nn.Sequential) or type(module).forward is not nn.Sequential.forward:
        return False
    own = module.__dict__.get("forward")
    return own is None or getattr(own, "func", None) is run


def fuse(sequence):
    """Let `sequence` run its children by :func:`run` from now on."""
    sequence.forward = functools.partial(run, sequence)


def run(sequence, input):
    """The children of `sequence` one after another, fused where only values matter."""
    inert = not sequence.training and not torch.is_grad_enabled()
    if not inert or not isinstance(input, torch.Tensor) or not modules.unwatched(input):
        return nn.Sequential.forward(sequence, input)
    x, steps = input, collections.deque(leaves(sequence))
    while steps:
        module = steps.popleft()
        if isinstance(module, modules.Convolution) and plain(module):
            x = _convolve(module, steps, x)
        elif isinstance(module, NORMS) and plain(module):
            x = _activate(module(x), _take_slope(steps))
        else:
            x = module(x)
    return x


def leaves(sequence):
    """The modules that a sequence calls, those of sequences in it in their place."""
    for module in sequence:
        if is_sequence(module) and plain(module) and not module.training:
            yield from leaves(module)
        elif not (type(module) in NOTHING and plain(module) and not module.training):
            yield module


def plain(module):
    """Whether nothing watches the calls of `module`."""
    return not (module._forward_hooks or module._forward_pre_hooks)


def _convolve(conv, steps, x):
    if conv.training or not conv.served(x, conv.weight, conv.bias):
        return conv(x)
    norm = steps[0] if steps and _folds(steps[0], x) else None
    if norm is not None:
        steps.popleft()
    return conv.planned(x, norm, _take_slope(steps))


def _folds(norm, x):
    """Whether `norm` is a map of each channel that the weights of a convolution can take in."""
    if not isinstance(norm, modules.BatchNorm) or not plain(norm) or norm.training:
        return False
    running = norm.running_mean, norm.running_var
    return None not in running and norm.served(x, *running, norm.weight, norm.bias)


def _take_slope(steps):
    """The slope of the activation that comes next, which is then done with; None without one."""
    slope = modules.activation_slope(steps[0]) if steps and plain(steps[0]) else None
    if slope is not None:
        steps.popleft()
    return slope


def _activate(x, slope):
    """The activation of a result that no one else has."""
    if slope is None:
        return x
    return torch.relu_(x) if slope == 0 else nn.functional.leaky_relu_(x, slope)
