"""The oracles of linear: sums over the features."""

import numpy as np

from voxkern.reference._shape import into


def linear(x, weight, bias=None, *, out=None):
    """Oracle of :func:`voxkern.linear`."""
    result = np.einsum("...i,oi->...o", x, weight)
    return into(out, result if bias is None else result + bias)


def linear_backward(grad, x, weight, *, need=(True, True, True)):
    """Oracle of :func:`voxkern.linear_backward`."""
    grads = (
        np.einsum("...o,oi->...i", grad, weight),
        np.einsum("no,ni->oi", grad.reshape(-1, len(weight)), x.reshape(-1, x.shape[-1])),
        grad.reshape(-1, len(weight)).sum(0),
    )
    return tuple(g if needed else None for g, needed in zip(grads, need))
