"""The oracles of dropout: a factor for each element."""

import numpy as np

from voxkern.reference._shape import into


def dropout(x, p=0.5, training=True, *, inverted=True, rng=None, return_mask=False, out=None):
    """Oracle of :func:`voxkern.dropout`: a draw for each element."""
    mask = np.ones(x.shape, bool)
    if training:
        mask = np.random.default_rng(rng).random(x.shape, np.float32) >= np.float32(p)
        scale = (1 / (1 - p) if p < 1 else 0) if inverted else 1
    else:
        scale = 1 if inverted else 1 - p
    result = into(out, x * mask * scale)
    return (result, mask) if return_mask else result


def dropout_backward(grad, mask, p=0.5, *, inverted=True, out=None):
    """Oracle of :func:`voxkern.dropout_backward`: the same factors."""
    return into(out, grad * mask * ((1 / (1 - p) if p < 1 else 0) if inverted else 1))
