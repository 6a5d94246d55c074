"""The oracle of flatten."""

import math


def flatten(x, start_dim=1, end_dim=-1):
    """Oracle of :func:`voxkern.flatten`."""
    shape = x.shape or (1,)
    start, end = start_dim % len(shape), end_dim % len(shape)
    return x.reshape(*shape[:start], math.prod(shape[start : end + 1]), *shape[end + 1 :])
