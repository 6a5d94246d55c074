"""Random changes of training data."""

import numpy as np

from voxkern import _check


def gaussian_noise(x, sigma, rng=None, *, out=None):
    """`x` with independent normal noise of standard deviation `sigma` added.

    Parameters
    ----------
    x : array_like
        Any shape; float16, float32 or float64.
    sigma : float
        At least 0.
    rng : numpy.random.Generator or int, optional
        What draws, or its seed; a fresh generator without it.
    out : ndarray, optional
        Where to write: shape and dtype of `x`, no overlap with it.

    Returns
    -------
    ndarray
        Of the shape and dtype of `x`.

    Raises
    ------
    TypeError, ValueError
        A dtype, number or generator that does not fit.

    Notes
    -----
    Noise is drawn in float32 for float16 and float32, else in float64. On the inputs of linear
    regression it acts as an L2 penalty: the expected squared error grows by
    ``sigma**2 * sum(theta**2)``.

    Source: Bishop, "Training with noise is equivalent to Tikhonov regularization" (1995).

    Examples
    --------
    >>> x = np.ones(3)
    >>> bool((voxkern.augment.gaussian_noise(x, 0.0, rng=0) == x).all())
    True
    """
    given, sigma = (x,), _check.number(sigma, "sigma", 0)
    x, rng = _check.array(x, "x"), _check.generator(rng)
    out = _check.output(out, x.shape, x.dtype, *given)
    (wide,) = _check.computed(x)
    noise = rng.standard_normal(x.shape, wide.dtype)
    with np.errstate(all="ignore"):
        np.multiply(noise, wide.dtype.type(sigma), out=noise)
        out[...] = noise + wide
    return out
