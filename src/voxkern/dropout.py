"""Dropout, inverted or not."""

import numpy as np

from voxkern import _check


def dropout(x, p=0.5, training=True, *, inverted=True, rng=None, return_mask=False, out=None):
    """Set elements to zero at random, as ``torch.nn.functional.dropout``.

    Parameters
    ----------
    x : array_like
        Any shape. float16 (computed in float32), float32 or float64.
    p : float
        The probability of a zero, from 0 to 1; the exams' ``keep_prob`` is ``1 - p``.
    training : bool
        Without it nothing is dropped.
    inverted : bool
        What training keeps is divided by ``1 - p``, so that its expectation is that of `x` and
        inference is the identity. Otherwise training only drops, and inference multiplies by
        ``1 - p``.
    rng : Generator or int, optional
        Whence the numbers are drawn, one for each element in C order; a number is a seed, None a
        seed of the system's.
    return_mask : bool
        Also return what was kept, which :func:`dropout_backward` needs.
    out : ndarray, optional
        Where to write: shape and dtype of `x`, no overlap with it.

    Returns
    -------
    ndarray, or ndarray and mask
        Of the shape and dtype of `x`; the mask is bool, True where an element was kept.

    Raises
    ------
    TypeError
        A dtype or argument type that is not served.
    ValueError
        A number or shape that does not fit.

    Notes
    -----
    A dropped infinity is NaN, as torch's is. Other memory: 5 bytes an element, and copies
    of float16.

    Source: Srivastava et al., "Dropout: a simple way to prevent neural networks from overfitting"
    (2014), which is the form that is not inverted.

    Examples
    --------
    >>> voxkern.dropout(np.ones(8), 0.5, rng=1)
    array([0., 2., 2., 2., 0., 0., 2., 2.])
    """
    given, x = x, _check.array(x, "x")
    p = _check.share(p, "p")
    training, inverted = _check.flag(training, "training"), _check.flag(inverted, "inverted")
    return_mask, rng = _check.flag(return_mask, "return_mask"), _check.generator(rng)
    out = _check.output(out, x.shape, x.dtype, given)
    if training:
        mask = np.asarray(rng.random(x.shape, np.float32) >= np.float32(p))
        _scaled(x, mask, _factor(p, inverted), out)
    else:
        mask = np.ones(x.shape, bool) if return_mask else None
        _scaled(x, True, 1.0 if inverted else 1 - p, out)
    return (out, mask) if return_mask else out


def dropout_backward(grad, mask, p=0.5, *, inverted=True, out=None):
    """The gradient to `x` of a sum of ``grad * dropout(x)`` in training.

    Parameters
    ----------
    grad : array_like
        The gradient of the result.
    mask : array_like
        What :func:`dropout` returned with ``return_mask``: bool, of the shape of `grad`.
    p, inverted
        The arguments of the forward call.
    out : ndarray, optional
        Where to write: shape and dtype of `grad`, no overlap with another argument.

    Returns
    -------
    ndarray
        Of the shape and dtype of `grad`.

    Raises
    ------
    TypeError, ValueError
        As :func:`dropout`.

    Examples
    --------
    >>> voxkern.dropout_backward(np.ones(3), np.array([True, False, True]))
    array([2., 0., 2.])
    """
    given = grad, mask
    grad, mask = _check.array(grad, "grad"), _check.array(mask, "mask", ("bool",))
    _check.shape(mask, "mask", grad.shape)
    factor = _factor(_check.share(p, "p"), _check.flag(inverted, "inverted"))
    out = _check.output(out, grad.shape, grad.dtype, *given)
    _scaled(grad, mask, factor, out)
    return out


def _scaled(x, mask, factor, out):
    (x,) = _check.computed(x)
    scratch = _check.writable(out, x.dtype)
    with np.errstate(all="ignore"):
        np.multiply(x, mask, out=scratch)
        scratch *= x.dtype.type(factor)
        _check.deliver(scratch, out)


def _factor(p, inverted):
    return 1.0 if not inverted else 1 / (1 - p) if p < 1 else 0.0
