"""The oracles of augment."""

import numpy as np

from voxkern.reference._shape import into


def gaussian_noise(x, sigma, rng=None, *, out=None):
    """Oracle of :func:`voxkern.augment.gaussian_noise`."""
    return into(out, x + sigma * np.random.default_rng(rng).standard_normal(x.shape))
