"""The oracles of init: the variances, and draws that have them."""

import numpy as np


def variance(fan_in, fan_out, kind):
    """Oracle of :func:`voxkern.init.variance`."""
    if kind == "xavier":
        return 2 / (fan_in + fan_out)
    return {"kaiming": 2, "lecun": 1}[kind] / fan_in


def fans(shape):
    """Oracle of :func:`voxkern.init.fans`: by counting the weights of a unit."""
    weights = np.zeros(shape, bool)
    return int(weights[0].size), int(weights[:, 0].size)


def xavier_uniform(shape, gain=1.0, *, rng=None, dtype="float32"):
    """Oracle of :func:`voxkern.init.xavier_uniform`."""
    return uniform(shape, gain**2 * variance(*fans(shape), "xavier"), rng, dtype)


def xavier_normal(shape, gain=1.0, *, rng=None, dtype="float32"):
    """Oracle of :func:`voxkern.init.xavier_normal`."""
    return normal(shape, gain**2 * variance(*fans(shape), "xavier"), rng, dtype)


def kaiming_uniform(shape, a=0.0, mode="fan_in", *, rng=None, dtype="float32"):
    """Oracle of :func:`voxkern.init.kaiming_uniform`."""
    return uniform(shape, 2 / (1 + a**2) / fans(shape)[mode == "fan_out"], rng, dtype)


def kaiming_normal(shape, a=0.0, mode="fan_in", *, rng=None, dtype="float32"):
    """Oracle of :func:`voxkern.init.kaiming_normal`."""
    return normal(shape, 2 / (1 + a**2) / fans(shape)[mode == "fan_out"], rng, dtype)


def uniform(shape, var, rng, dtype):
    bound = (3 * var) ** 0.5  # the variance of a uniform width w is w**2 / 12
    return np.random.default_rng(rng).uniform(-bound, bound, shape).astype(dtype)


def normal(shape, var, rng, dtype):
    return np.random.default_rng(rng).normal(0, var**0.5, shape).astype(dtype)
