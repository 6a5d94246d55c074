"""The fully connected layer: NumPy's matrix product is its fast path."""

import math

import numpy as np

from voxkern import _check


def linear(x, weight, bias=None, *, out=None):
    """``x @ weight.T + bias``, as ``torch.nn.functional.linear``.

    Parameters
    ----------
    x : array_like
        ``(*, n_in)`` with any number of leading axes. float16 (computed in float32), float32 or
        float64.
    weight : array_like
        ``(n_out, n_in)``, of the dtype of `x`.
    bias : array_like, optional
        ``(n_out,)``, of the dtype of `x`.
    out : ndarray, optional
        Where to write: ``(*, n_out)`` of the dtype of `x`, no overlap with any other argument.

    Returns
    -------
    ndarray
        ``(*, n_out)`` of the dtype of `x`.

    Raises
    ------
    TypeError
        A dtype or argument type that is not served.
    ValueError
        A shape that does not fit.

    Notes
    -----
    The product is NumPy's, on the threads of its BLAS. Other memory: copies in float32 for float16.

    Source: ``torch.nn.functional.linear``.

    Examples
    --------
    >>> voxkern.linear([1.0, 2.0], [[3.0, 4.0], [5.0, 6.0]], [0.5, 0.0])
    array([11.5, 17. ])
    """
    given = x, weight, bias
    x, weight = _checked(x, weight)
    if bias is not None:
        bias = _check.array(bias, "bias")
        _check.shape(bias, "bias", weight.shape[:1])
        _check.same_dtype(x, bias=bias)
    out = _check.output(out, (*x.shape[:-1], len(weight)), x.dtype, *given)
    x, weight, bias = _check.computed(x, weight, bias)
    scratch = _check.writable(out, x.dtype)
    with np.errstate(all="ignore"):
        np.matmul(_rows(x), weight.T, out=_rows(scratch))
        if bias is not None:
            scratch += bias
        return _check.deliver(scratch, out)


def linear_backward(grad, x, weight, *, need=(True, True, True)):
    """Gradients of a sum of ``grad * linear(x, weight, bias)``.

    Parameters
    ----------
    grad : array_like
        ``(*, n_out)``, of the dtype of `x`.
    x, weight : array_like
        The arguments of :func:`linear`.
    need : tuple of three bool
        Which gradients to compute; the others are None.

    Returns
    -------
    grad_x, grad_weight, grad_bias : ndarray or None
        The shapes of `x`, `weight` and ``(n_out,)``; the dtype of `x`.

    Raises
    ------
    TypeError, ValueError
        As :func:`linear`.

    Examples
    --------
    >>> grads = voxkern.linear_backward([1.0], [2.0, 3.0], [[4.0, 5.0]])
    >>> print(*grads)
    [4. 5.] [[2. 3.]] [1.]
    """
    x, weight = _checked(x, weight)
    grad = _check.array(grad, "grad")
    _check.shape(grad, "grad", (*x.shape[:-1], len(weight)))
    _check.same_dtype(x, grad=grad)
    need_x, need_weight, need_bias = _check.needed(need)
    dtype = x.dtype
    grad, x, weight = _check.computed(grad, x, weight)
    with np.errstate(all="ignore"):
        grads = (
            np.matmul(_rows(grad), weight).reshape(x.shape) if need_x else None,
            np.matmul(_rows(grad).T, _rows(x)) if need_weight else None,
            _rows(grad).sum(0) if need_bias else None,
        )
        return tuple(g if g is None else g.astype(dtype, copy=False) for g in grads)


def _checked(x, weight):
    x, weight = _check.array(x, "x"), _check.array(weight, "weight")
    if weight.ndim != 2 or weight.shape[1] == 0:
        raise ValueError(f"weight has shape {weight.shape}; it must be (n_out, n_in), not empty")
    if x.shape[-1:] != weight.shape[1:]:
        raise ValueError(f"x has shape {x.shape}; its last axis must have {weight.shape[1]} values")
    _check.same_dtype(x, weight=weight)
    return x, weight


def _rows(x):
    """`x` with all axes but the last merged, as a view."""
    return x.reshape(math.prod(x.shape[:-1]), x.shape[-1])
