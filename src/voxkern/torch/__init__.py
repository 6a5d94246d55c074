"""voxkern's kernels for torch on a CPU: operators with gradients, and whole models switched.

>>> import torch, voxkern.torch
>>> model = torch.nn.Sequential(torch.nn.Conv3d(1, 4, 3), torch.nn.ReLU())
>>> fast = voxkern.torch.accelerate(model)
>>> fast.voxkern_replaced
[('0', 'Conv3d')]
"""

import copy

from torch import nn

from voxkern.torch import sequence
from voxkern.torch.functional import (
    avg_pool1d,
    avg_pool2d,
    avg_pool3d,
    batch_norm,
    conv1d,
    conv2d,
    conv3d,
    conv_transpose1d,
    conv_transpose2d,
    conv_transpose3d,
    group_norm,
    instance_norm,
    max_pool1d,
    max_pool2d,
    max_pool3d,
)
from voxkern.torch.modules import OURS, Served

__all__ = [
    "accelerate",
    "avg_pool1d",
    "avg_pool2d",
    "avg_pool3d",
    "batch_norm",
    "conv1d",
    "conv2d",
    "conv3d",
    "conv_transpose1d",
    "conv_transpose2d",
    "conv_transpose3d",
    "group_norm",
    "instance_norm",
    "max_pool1d",
    "max_pool2d",
    "max_pool3d",
]


def accelerate(model, inplace=False):
    """`model` with our kernels behind the modules that we know.

    Parameters
    ----------
    model : torch.nn.Module
        Its convolutions, transposed convolutions, maximum and average pools, batch, instance and
        group norms are replaced; what else it has stays torch's. Subclasses of those modules stay
        too: they may do something else.
    inplace : bool
        Change `model` itself instead of a deep copy.

    Returns
    -------
    torch.nn.Module
        With the parameters, buffers, names, hooks and modes of `model`, to be trained, saved and
        loaded in the same way. Two lists tell what was done: `voxkern_replaced` of (name, class),
        and `voxkern_kept` of (name, class, reason) for the others that have no children, or that
        are kinds of those modules.

    Raises
    ------
    TypeError
        `model` is no module.

    Notes
    -----
    A replaced module is torch's in another class. It serves float32 and float64 on the CPU; for
    another dtype or device, under autocast or ``torch.func`` a call of it is torch's, and its
    `voxkern_fallback` tells why; else that is None. Kernels take ``torch.get_num_threads()``
    threads. Gradients are ours too; they are not differentiable again.

    In ``eval()`` without gradients, convolutions keep their weights packed
    (:class:`voxkern.ConvPlan`, up to 8 times their memory) until an element of them changes. In an
    ``nn.Sequential``, batch norm (folded into the weights) and ReLU, LeakyReLU or PReLU with one
    slope are part of the convolution before them; an activation after another norm is in place.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"model is a {type(model).__name__}; it must be a torch.nn.Module")
    if not inplace:
        model = copy.deepcopy(model)
    replaced, kept = [], []
    for name, module in model.named_modules():
        _switch(module)
        reason = module.unserved_argument() if isinstance(module, Served) else "not served"
        if reason is None:
            replaced.append((name, type(module).__name__))
        elif isinstance(module, tuple(OURS)) or not any(module.children()):
            kept.append((name, type(module).__name__, reason))
    model.voxkern_replaced, model.voxkern_kept = replaced, kept
    return model


def _switch(module):
    """Make `module` ours where there is a class for exactly its own."""
    if type(module) in OURS:
        module.__class__ = OURS[type(module)]
    elif sequence.is_sequence(module):
        sequence.fuse(module)
