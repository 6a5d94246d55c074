"""Adversarial examples."""

import numpy as np

from voxkern import _check


def fgsm(x, grad, epsilon, *, out=None):
    """The fast gradient sign method: ``x + epsilon * sign(grad)``.

    Parameters
    ----------
    x, grad : array_like
        An input and the gradient of its loss, of one shape and dtype: float16, float32 or float64.
    epsilon : float
        How far each element moves, at least 0.
    out : ndarray, optional
        Where to write: shape and dtype of `x`, no overlap with an argument.

    Returns
    -------
    ndarray
        Of the shape and dtype of `x`. It is not clipped to a range of pixels.

    Raises
    ------
    TypeError, ValueError
        A dtype, shape or number that does not fit.

    Notes
    -----
    An element whose gradient is 0 stays; NaN in the gradient gives NaN.

    Source: Goodfellow, Shlens & Szegedy, "Explaining and harnessing adversarial examples" (2015);
    CS230 2020 and 2021, adversarial examples.

    Examples
    --------
    >>> voxkern.attacks.fgsm([0.5, 0.5, 0.5], [-3.0, 0.0, 0.01], 0.1)
    array([0.4, 0.5, 0.6])
    """
    given, epsilon = (x, grad), _check.number(epsilon, "epsilon", 0)
    x, grad = _check.array(x, "x"), _check.array(grad, "grad")
    _check.shape(grad, "grad", x.shape)
    _check.same_dtype(x, grad=grad)
    out = _check.output(out, x.shape, x.dtype, *given)
    np.sign(grad, out=out)
    with np.errstate(all="ignore"):
        out *= x.dtype.type(epsilon)
        out += x
    return out
