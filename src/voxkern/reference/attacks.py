"""The oracles of attacks."""

import numpy as np

from voxkern.reference._shape import into


def fgsm(x, grad, epsilon, *, out=None):
    """Oracle of :func:`voxkern.attacks.fgsm`."""
    return into(out, x + epsilon * np.sign(grad))
