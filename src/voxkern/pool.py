"""Pooling over 1 to 3 spatial axes: maximum, average, Lp, adaptive, global, unpooling.

The three names of a family are one function. Its full description is at the 3-D name; the others
take the same arguments with the spatial axes ``(L,)`` or ``(H, W)``, one number or one per axis.
Inputs are ``(N, C, *spatial)`` or unbatched ``(C, *spatial)``; float16 (computed in float32),
float32 or float64. `out` has the shape and dtype of the result and overlaps no input.
"""

import math

import numpy as np

from voxkern import _check, _dispatch, window


def max_pool3d(
    x,
    kernel_size,
    stride=None,
    padding=0,
    dilation=1,
    ceil_mode=False,
    return_indices=False,
    *,
    out=None,
):
    """Largest element of every window.

    Parameters
    ----------
    x : array_like
        ``(N, C, D, H, W)`` or ``(C, D, H, W)``.
    kernel_size, stride, padding, dilation : int or tuple of int
        One number, or one per spatial axis. `stride` is `kernel_size` unless given; `padding`,
        which never wins, is at most half of `kernel_size`.
    ceil_mode : bool
        Whether a last window may reach past the end of the padded input. It must start before
        the padding after the input.
    return_indices : bool
        Whether to return the places of the maxima too.
    out : ndarray or pair of ndarray, optional
        Where to write; with `return_indices` a pair, the second of int64.

    Returns
    -------
    ndarray or (ndarray, ndarray)
        The maxima and, with `return_indices`, their int64 places: flat over the spatial axes of
        `x` without padding.

    Raises
    ------
    TypeError
        A dtype or argument type that is not served.
    ValueError
        A shape or number that does not fit, padding over half the window, a window larger than
        the padded input, an `out` that does not fit.

    Notes
    -----
    Exact. A window with NaN gives NaN. Of equal maxima the first in row-major order counts, of
    NaNs the last, as in torch. A window costs ``kD*kH*sW + kW`` operations, not ``kD*kH*kW``.
    Extra memory per thread: two input rows with their padding, or as many as fit 16 kB, three
    times that with indices; a pointer per row and column of a window. Where a NaN is met, indices
    take longer. Source: ``torch.nn.functional.max_pool3d``.

    Examples
    --------
    >>> voxkern.max_pool1d(np.array([[1.0, 5, 2, 3, 4]]), 2, return_indices=True)
    (array([[5., 3.]]), array([[1, 3]]))
    """
    return _max_pool(3, x, kernel_size, stride, padding, dilation, ceil_mode, return_indices, out)


def max_pool1d(
    x,
    kernel_size,
    stride=None,
    padding=0,
    dilation=1,
    ceil_mode=False,
    return_indices=False,
    *,
    out=None,
):
    """Largest element of every 1-D window; see :func:`max_pool3d`."""
    return _max_pool(1, x, kernel_size, stride, padding, dilation, ceil_mode, return_indices, out)


def max_pool2d(
    x,
    kernel_size,
    stride=None,
    padding=0,
    dilation=1,
    ceil_mode=False,
    return_indices=False,
    *,
    out=None,
):
    """Largest element of every 2-D window; see :func:`max_pool3d`."""
    return _max_pool(2, x, kernel_size, stride, padding, dilation, ceil_mode, return_indices, out)


def max_pool3d_backward(grad, indices, input_size):
    """Gradient of :func:`max_pool3d` with respect to x.

    Parameters
    ----------
    grad : array_like
        Gradient of the maxima, of their shape.
    indices : array_like of int64
        What :func:`max_pool3d` returned with ``return_indices=True``.
    input_size : int or tuple of int
        Spatial size of x.

    Returns
    -------
    ndarray
        ``(N, C, *input_size)``: every gradient at the place of its maximum. Where windows share
        their maximum the gradients add up in row-major order.

    Raises
    ------
    ValueError
        An index outside of the input; all are checked before anything is written.
    """
    return _scatter(3, grad, indices, input_size)


def max_pool1d_backward(grad, indices, input_size):
    """Gradient of :func:`max_pool1d`; see :func:`max_pool3d_backward`."""
    return _scatter(1, grad, indices, input_size)


def max_pool2d_backward(grad, indices, input_size):
    """Gradient of :func:`max_pool2d`; see :func:`max_pool3d_backward`."""
    return _scatter(2, grad, indices, input_size)


def avg_pool3d(
    x,
    kernel_size,
    stride=None,
    padding=0,
    ceil_mode=False,
    count_include_pad=True,
    divisor_override=None,
    *,
    out=None,
):
    """Mean of every window.

    Parameters
    ----------
    x : array_like
        ``(N, C, D, H, W)`` or ``(C, D, H, W)``.
    kernel_size, stride, padding, ceil_mode
        As for :func:`max_pool3d`; the padding is zero.
    count_include_pad : bool
        Whether the padding counts as elements. What a window of `ceil_mode` covers past the
        padding never does.
    divisor_override : int, optional
        What to divide the sums by instead; not 0.
    out : ndarray, optional
        Where to write.

    Returns
    -------
    ndarray
        ``(N, C, *windows)``, without N if `x` has none.

    Raises
    ------
    TypeError
        A dtype or argument type that is not served.
    ValueError
        As for :func:`max_pool3d`, and a divisor of 0.

    Notes
    -----
    Sums run over the rows of a window, then along its columns, in the type of `x` and in an order
    that does not depend on the number of threads; long ones go by blocks. Cost and memory are
    those of :func:`max_pool3d`. Source: ``torch.nn.functional.avg_pool3d``.

    Examples
    --------
    >>> voxkern.avg_pool1d(np.array([[1.0, 5, 2, 3]]), 2)
    array([[3. , 2.5]])
    """
    return _avg_pool(
        3, x, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override, out
    )


def avg_pool1d(
    x,
    kernel_size,
    stride=None,
    padding=0,
    ceil_mode=False,
    count_include_pad=True,
    divisor_override=None,
    *,
    out=None,
):
    """Mean of every 1-D window; see :func:`avg_pool3d`."""
    return _avg_pool(
        1, x, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override, out
    )


def avg_pool2d(
    x,
    kernel_size,
    stride=None,
    padding=0,
    ceil_mode=False,
    count_include_pad=True,
    divisor_override=None,
    *,
    out=None,
):
    """Mean of every 2-D window; see :func:`avg_pool3d`."""
    return _avg_pool(
        2, x, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override, out
    )


def avg_pool3d_backward(
    grad,
    input_size,
    kernel_size,
    stride=None,
    padding=0,
    ceil_mode=False,
    count_include_pad=True,
    divisor_override=None,
):
    """Gradient of :func:`avg_pool3d` with respect to x.

    Parameters
    ----------
    grad : array_like
        Gradient of the means, of their shape.
    input_size : int or tuple of int
        Spatial size of x.
    kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override
        As given to :func:`avg_pool3d`.

    Returns
    -------
    ndarray
        ``(N, C, *input_size)``, summed over rows of windows, then along them.
    """
    return _avg_pool_backward(
        3,
        grad,
        input_size,
        kernel_size,
        stride,
        padding,
        ceil_mode,
        count_include_pad,
        divisor_override,
    )


def avg_pool1d_backward(
    grad,
    input_size,
    kernel_size,
    stride=None,
    padding=0,
    ceil_mode=False,
    count_include_pad=True,
    divisor_override=None,
):
    """Gradient of :func:`avg_pool1d`; see :func:`avg_pool3d_backward`."""
    return _avg_pool_backward(
        1,
        grad,
        input_size,
        kernel_size,
        stride,
        padding,
        ceil_mode,
        count_include_pad,
        divisor_override,
    )


def avg_pool2d_backward(
    grad,
    input_size,
    kernel_size,
    stride=None,
    padding=0,
    ceil_mode=False,
    count_include_pad=True,
    divisor_override=None,
):
    """Gradient of :func:`avg_pool2d`; see :func:`avg_pool3d_backward`."""
    return _avg_pool_backward(
        2,
        grad,
        input_size,
        kernel_size,
        stride,
        padding,
        ceil_mode,
        count_include_pad,
        divisor_override,
    )


def lp_pool3d(x, norm_type, kernel_size, stride=None, ceil_mode=False, *, out=None):
    """Power mean without the mean: ``(sum of x**p) ** (1/p)`` over every window.

    Parameters
    ----------
    x : array_like
        ``(N, C, D, H, W)`` or ``(C, D, H, W)``.
    norm_type : float
        p, not 0. Infinite: the largest (or, negative, the smallest) magnitude.
    kernel_size, stride, ceil_mode
        As for :func:`max_pool3d`.
    out : ndarray, optional
        Where to write.

    Returns
    -------
    ndarray
        ``(N, C, *windows)``, without N if `x` has none.

    Raises
    ------
    TypeError
        A dtype or argument type that is not served.
    ValueError
        As for :func:`max_pool3d`, and a `norm_type` of 0.

    Notes
    -----
    As in torch there is no absolute value: an odd p keeps the sign, and a negative sum has no
    root (NaN). A window that `ceil_mode` cuts off is scaled up to a whole one. A p other than 1
    and 2 takes extra memory of the size of `x`. Source: ``torch.nn.functional.lp_pool3d``.

    Examples
    --------
    >>> voxkern.lp_pool1d(np.array([[3.0, 4, 6, 8]]), 2, 2)
    array([[ 5., 10.]])
    """
    return _lp_pool(3, x, norm_type, kernel_size, stride, ceil_mode, out)


def lp_pool1d(x, norm_type, kernel_size, stride=None, ceil_mode=False, *, out=None):
    """Norm of every 1-D window; see :func:`lp_pool3d`."""
    return _lp_pool(1, x, norm_type, kernel_size, stride, ceil_mode, out)


def lp_pool2d(x, norm_type, kernel_size, stride=None, ceil_mode=False, *, out=None):
    """Norm of every 2-D window; see :func:`lp_pool3d`."""
    return _lp_pool(2, x, norm_type, kernel_size, stride, ceil_mode, out)


def lp_pool3d_backward(grad, x, norm_type, kernel_size, stride=None, ceil_mode=False):
    """Gradient of :func:`lp_pool3d` with respect to x; 0 where a window's sum is 0.

    Parameters
    ----------
    grad : array_like
        Gradient of the norms, of their shape.
    x, norm_type, kernel_size, stride, ceil_mode
        As given to :func:`lp_pool3d`.

    Returns
    -------
    ndarray
        Of the shape of `x`. Extra memory: up to three arrays of the size of `x`.
    """
    return _lp_pool_backward(3, grad, x, norm_type, kernel_size, stride, ceil_mode)


def lp_pool1d_backward(grad, x, norm_type, kernel_size, stride=None, ceil_mode=False):
    """Gradient of :func:`lp_pool1d`; see :func:`lp_pool3d_backward`."""
    return _lp_pool_backward(1, grad, x, norm_type, kernel_size, stride, ceil_mode)


def lp_pool2d_backward(grad, x, norm_type, kernel_size, stride=None, ceil_mode=False):
    """Gradient of :func:`lp_pool2d`; see :func:`lp_pool3d_backward`."""
    return _lp_pool_backward(2, grad, x, norm_type, kernel_size, stride, ceil_mode)


def adaptive_max_pool3d(x, output_size, return_indices=False, *, out=None):
    """Largest elements of as many windows as asked for.

    Parameters
    ----------
    x : array_like
        ``(N, C, D, H, W)`` or ``(C, D, H, W)``.
    output_size : int or tuple
        Windows per spatial axis; None in a tuple keeps the size of `x`. Of n elements, window o
        of m covers ``floor(o*n/m)`` up to ``ceil((o+1)*n/m)``.
    return_indices, out
        As for :func:`max_pool3d`.

    Returns
    -------
    ndarray or (ndarray, ndarray)
        As from :func:`max_pool3d`.

    Raises
    ------
    TypeError
        A dtype or argument type that is not served.
    ValueError
        A shape or number that does not fit.

    Notes
    -----
    NaN and ties as in :func:`max_pool3d`. Extra memory as there. Source:
    ``torch.nn.functional.adaptive_max_pool3d``.
    """
    return _adaptive_max_pool(3, x, output_size, return_indices, out)


def adaptive_max_pool1d(x, output_size, return_indices=False, *, out=None):
    """Largest elements of 1-D adaptive windows; see :func:`adaptive_max_pool3d`."""
    return _adaptive_max_pool(1, x, output_size, return_indices, out)


def adaptive_max_pool2d(x, output_size, return_indices=False, *, out=None):
    """Largest elements of 2-D adaptive windows; see :func:`adaptive_max_pool3d`."""
    return _adaptive_max_pool(2, x, output_size, return_indices, out)


def adaptive_max_pool3d_backward(grad, indices, input_size):
    """Gradient of :func:`adaptive_max_pool3d`: as :func:`max_pool3d_backward`."""
    return _scatter(3, grad, indices, input_size)


def adaptive_max_pool1d_backward(grad, indices, input_size):
    """Gradient of :func:`adaptive_max_pool1d`; see :func:`max_pool3d_backward`."""
    return _scatter(1, grad, indices, input_size)


def adaptive_max_pool2d_backward(grad, indices, input_size):
    """Gradient of :func:`adaptive_max_pool2d`; see :func:`max_pool3d_backward`."""
    return _scatter(2, grad, indices, input_size)


def adaptive_avg_pool3d(x, output_size, *, out=None):
    """Means of as many windows as asked for.

    Parameters
    ----------
    x, output_size
        As for :func:`adaptive_max_pool3d`.
    out : ndarray, optional
        Where to write.

    Returns
    -------
    ndarray
        ``(N, C, *output_size)``, without N if `x` has none.

    Raises
    ------
    TypeError
        A dtype or argument type that is not served.
    ValueError
        A shape or number that does not fit.

    Notes
    -----
    Summed as in :func:`avg_pool3d`. Source: ``torch.nn.functional.adaptive_avg_pool3d``.

    Examples
    --------
    >>> voxkern.adaptive_avg_pool1d(np.array([[1.0, 5, 3]]), 2)
    array([[3., 4.]])
    """
    return _adaptive_avg_pool(3, x, output_size, out)


def adaptive_avg_pool1d(x, output_size, *, out=None):
    """Means of 1-D adaptive windows; see :func:`adaptive_avg_pool3d`."""
    return _adaptive_avg_pool(1, x, output_size, out)


def adaptive_avg_pool2d(x, output_size, *, out=None):
    """Means of 2-D adaptive windows; see :func:`adaptive_avg_pool3d`."""
    return _adaptive_avg_pool(2, x, output_size, out)


def adaptive_avg_pool3d_backward(grad, input_size):
    """Gradient of :func:`adaptive_avg_pool3d` with respect to x, of spatial `input_size`."""
    return _adaptive_avg_pool_backward(3, grad, input_size)


def adaptive_avg_pool1d_backward(grad, input_size):
    """Gradient of :func:`adaptive_avg_pool1d` with respect to x, of spatial `input_size`."""
    return _adaptive_avg_pool_backward(1, grad, input_size)


def adaptive_avg_pool2d_backward(grad, input_size):
    """Gradient of :func:`adaptive_avg_pool2d` with respect to x, of spatial `input_size`."""
    return _adaptive_avg_pool_backward(2, grad, input_size)


def max_unpool3d(x, indices, kernel_size, stride=None, padding=0, output_size=None, *, out=None):
    """Put maxima back to where :func:`max_pool3d` found them, and 0 elsewhere.

    Parameters
    ----------
    x : array_like
        ``(N, C, D, H, W)`` or ``(C, D, H, W)``, as :func:`max_pool3d` returns it.
    indices : array_like of int64
        Places of the elements of `x`, of its shape.
    kernel_size, stride, padding : int or tuple of int
        As given to :func:`max_pool3d`.
    output_size : tuple of int, optional
        Spatial size of the result, or its whole shape: by less than a stride away from
        ``(n - 1)*stride - 2*padding + kernel_size``, which it is unless given.
    out : ndarray, optional
        Where to write.

    Returns
    -------
    ndarray
        ``(N, C, *output_size)``, without N if `x` has none. Of equal indices in a channel the
        last in row-major order counts.

    Raises
    ------
    TypeError
        A dtype or argument type that is not served.
    ValueError
        An index outside of the result (all are checked before anything is written), or a shape
        or number that does not fit.

    Notes
    -----
    No extra memory. Source: ``torch.nn.functional.max_unpool3d``.

    Examples
    --------
    >>> voxkern.max_unpool1d(np.array([[5.0, 3]]), np.array([[1, 3]]), 2)
    array([[0., 5., 0., 3.]])
    """
    return _max_unpool(3, x, indices, kernel_size, stride, padding, output_size, out)


def max_unpool1d(x, indices, kernel_size, stride=None, padding=0, output_size=None, *, out=None):
    """Put maxima back to their places; see :func:`max_unpool3d`."""
    return _max_unpool(1, x, indices, kernel_size, stride, padding, output_size, out)


def max_unpool2d(x, indices, kernel_size, stride=None, padding=0, output_size=None, *, out=None):
    """Put maxima back to their places; see :func:`max_unpool3d`."""
    return _max_unpool(2, x, indices, kernel_size, stride, padding, output_size, out)


def max_unpool3d_backward(grad, indices):
    """Gradient of :func:`max_unpool3d` with respect to x: `grad` at `indices`.

    Gives torch's gradient too where indices repeat: every one of them reads its place.
    """
    return _gather(3, grad, indices)


def max_unpool1d_backward(grad, indices):
    """Gradient of :func:`max_unpool1d`: `grad` at `indices`."""
    return _gather(1, grad, indices)


def max_unpool2d_backward(grad, indices):
    """Gradient of :func:`max_unpool2d`: `grad` at `indices`."""
    return _gather(2, grad, indices)


def global_avg_pool(x, *, out=None):
    """Mean over all spatial axes, which stay with size 1.

    Parameters
    ----------
    x : array_like
        ``(N, C, *spatial)`` with 1 to 3 spatial axes.
    out : ndarray, optional
        Where to write.

    Returns
    -------
    ndarray
        ``(N, C, 1, ...)`` of the rank of `x`.

    Raises
    ------
    TypeError
        A dtype or argument type that is not served.
    ValueError
        A shape that does not fit.
    """
    x, axes = _spatial(x, "x")
    return _adaptive_avg_pool(axes, x, 1, out)


def global_avg_pool_backward(grad, input_size):
    """Gradient of :func:`global_avg_pool` with respect to x, of spatial `input_size`."""
    grad, axes = _spatial(grad, "grad")
    return _adaptive_avg_pool_backward(axes, grad, input_size)


def global_max_pool(x, *, out=None):
    """Maximum over all spatial axes, which stay with size 1; see :func:`global_avg_pool`."""
    x, axes = _spatial(x, "x")
    return _adaptive_max_pool(axes, x, 1, False, out)


def global_max_pool_backward(grad, x):
    """Gradient of :func:`global_max_pool`: `grad` at the first maximum of every channel of `x`."""
    x, axes = _spatial(x, "x")
    _, indices = _adaptive_max_pool(axes, x, 1, True, None)
    return _scatter(axes, grad, indices, tuple(x.shape[2:]))


def _max_pool(axes, x, kernel_size, stride, padding, dilation, ceil_mode, return_indices, out):
    given, x = x, _input(x, "x", axes)
    arguments = _window(axes, kernel_size, stride, padding, dilation)
    counts = _counts(x.shape[-axes:], *arguments, ceil_mode)
    shape = (*x.shape[:-axes], *counts)
    run = _dispatch.kernel("pool", x).max_pool3d
    return _maxima(
        run, axes, x, shape, (*_volume(*arguments), ceil_mode), return_indices, out, given
    )


def _adaptive_max_pool(axes, x, output_size, return_indices, out):
    given, x = x, _input(x, "x", axes)
    counts = _adaptive_counts(axes, x, output_size)
    shape = (*x.shape[:-axes], *counts)
    run = _dispatch.kernel("pool", x).adaptive_max_pool3d
    return _maxima(run, axes, x, shape, (window.as_volume(counts, 1),), return_indices, out, given)


def _maxima(run, axes, x, shape, arguments, return_indices, out, given):
    """Run a kernel that gives maxima, and their places with `return_indices`."""
    if not _check.flag(return_indices, "return_indices"):
        return _fill(run, axes, shape, (x,), (*arguments, False), out, (given,))
    if out is None:
        out = None, None
    if not isinstance(out, tuple | list) or len(out) != 2:
        raise TypeError("out must be a pair of arrays, of maxima and of indices")
    best = _check.output(out[0], shape, x.dtype, given, beside=x)
    indices = _check.output(out[1], shape, np.int64, given, out[0], beside=x)
    (x,) = _check.computed(x)
    scratch, places = _check.writable(best, x.dtype), _check.writable(indices, np.int64)
    run(_five(x, axes), *arguments, True, out=(_five(scratch, axes), _five(places, axes)))
    return _check.deliver(scratch, best), _check.deliver(places, indices)


def _avg_pool(
    axes, x, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override, out
):
    given, x = x, _input(x, "x", axes)
    arguments = _window(axes, kernel_size, stride, padding)
    divisor = _divisor(divisor_override)
    include_pad = _check.flag(count_include_pad, "count_include_pad")
    shape = (*x.shape[:-axes], *_counts(x.shape[-axes:], *arguments, ceil_mode))
    kernel_size, stride, padding, _ = _volume(*arguments)
    arguments = kernel_size, stride, padding, ceil_mode, include_pad, divisor
    run = _dispatch.kernel("pool", x).avg_pool3d
    return _fill(run, axes, shape, (x,), arguments, out, (given,))


def _avg_pool_backward(
    axes,
    grad,
    input_size,
    kernel_size,
    stride,
    padding,
    ceil_mode,
    count_include_pad,
    divisor_override,
):
    grad = _input(grad, "grad", axes)
    size = _check.per_axis(input_size, "input_size", axes, 1, _check.LARGEST_SIZE)
    arguments = _window(axes, kernel_size, stride, padding)
    divisor = _divisor(divisor_override)
    include_pad = _check.flag(count_include_pad, "count_include_pad")
    _check.shape(grad, "grad", (*grad.shape[:-axes], *_counts(size, *arguments, ceil_mode)))
    kernel_size, stride, padding, _ = _volume(*arguments)
    arguments = kernel_size, stride, padding, ceil_mode, include_pad, divisor
    run = _dispatch.kernel("pool", grad).avg_pool3d_backward
    arguments = window.as_volume(size, 1), *arguments
    return _fill(run, axes, (*grad.shape[:-axes], *size), (grad,), arguments)


def _lp_pool(axes, x, norm_type, kernel_size, stride, ceil_mode, out):
    given, x = x, _input(x, "x", axes)
    p = _norm(norm_type)
    arguments = _window(axes, kernel_size, stride, 0)
    shape = (*x.shape[:-axes], *_counts(x.shape[-axes:], *arguments, ceil_mode))
    volume, run = _volume(*arguments)[:2], _dispatch.kernel("pool", x).lp_pool3d
    if p in (1, 2) or not isinstance(x, np.ndarray):
        return _fill(run, axes, shape, (x,), (p, *volume, ceil_mode), out, (given,))
    out = _check.output(out, shape, x.dtype, given, beside=x)
    if math.isinf(p):
        sized = np.copysign(x, p)
        _max_pool(axes, sized, kernel_size, stride, 0, 1, ceil_mode, False, out)
        return np.abs(out, out=out)
    with np.errstate(all="ignore"):
        powers = _powers(*_check.computed(x), p)
        norms = _fill(run, axes, shape, (powers,), (1, *volume, ceil_mode))
        return np.power(norms, 1 / p, out=out, casting="same_kind")


def _powers(x, p):
    """x**p; products for small whole p, where NumPy takes 120 ns for an element below 0."""
    if p not in range(3, 9):
        return np.power(x, p)
    powers = x * x
    for _ in range(int(p) - 2):
        powers *= x
    return powers


def _lp_pool_backward(axes, grad, x, norm_type, kernel_size, stride, ceil_mode):
    grad = _input(grad, "grad", axes)
    x = _input(x, "x", axes, grad)
    _check.same_dtype(x, grad=grad)
    p, dtype, size = _norm(norm_type), x.dtype, x.shape[-axes:]
    arguments = _window(axes, kernel_size, stride, 0)
    _check.shape(grad, "grad", (*x.shape[:-axes], *_counts(size, *arguments, ceil_mode)))
    grad, x = _check.computed(grad, x)
    if not isinstance(x, np.ndarray):
        return _device_lp_backward(axes, grad, x, p, arguments, dtype)
    if math.isinf(p):
        sized = np.copysign(x, p)
        _, places = _max_pool(axes, sized, kernel_size, stride, 0, 1, ceil_mode, True, None)
        return (np.sign(x) * _scatter(axes, grad, places, size)).astype(dtype, copy=False)
    norm = _lp_pool(axes, x, p, kernel_size, stride, ceil_mode, None)
    with np.errstate(all="ignore"):
        share = grad * math.prod(arguments[0]) * norm ** (1 - p)
        share[norm == (0 if p > 0 else np.inf)] = 0
        share = _avg_pool_backward(axes, share, size, *arguments[:2], 0, ceil_mode, True, None)
        return (share * x ** (p - 1)).astype(dtype, copy=False)


def _device_lp_backward(axes, grad, x, p, arguments, dtype):
    """What follows the checks of :func:`_lp_pool_backward`, of arrays on a device."""
    kernel_size, stride, _, _ = _volume(*arguments)
    out, norms = x.empty(x.shape, x.dtype), x.empty(grad.shape, x.dtype)
    places = _five(x.empty(grad.shape, np.int64), axes) if math.isinf(p) else None
    _dispatch.kernel("pool", x).lp_pool3d_backward(
        _five(grad, axes),
        _five(x, axes),
        p,
        kernel_size,
        stride,
        norms=_five(norms, axes),
        places=places,
        out=_five(out, axes),
    )
    return _check.deliver(out, out if out.dtype == dtype else x.empty(x.shape, dtype))


def _adaptive_avg_pool(axes, x, output_size, out):
    given, x = x, _input(x, "x", axes)
    counts = _adaptive_counts(axes, x, output_size)
    run = _dispatch.kernel("pool", x).adaptive_avg_pool3d
    arguments = (window.as_volume(counts, 1),)
    return _fill(run, axes, (*x.shape[:-axes], *counts), (x,), arguments, out, (given,))


def _adaptive_avg_pool_backward(axes, grad, input_size):
    grad = _input(grad, "grad", axes)
    size = _check.per_axis(input_size, "input_size", axes, 1, _check.LARGEST_SIZE)
    run = _dispatch.kernel("pool", grad).adaptive_avg_pool3d_backward
    shape = (*grad.shape[:-axes], *size)
    return _fill(run, axes, shape, (grad,), (window.as_volume(size, 1),))


def _scatter(axes, grad, indices, input_size):
    """The gradient of maxima, at their places."""
    grad = _input(grad, "grad", axes)
    size = _check.per_axis(input_size, "input_size", axes, 1, _check.LARGEST_SIZE)
    places = _shaped_places(indices, grad, "grad")
    run, shape = _dispatch.kernel("pool", grad).max_pool3d_backward, (*grad.shape[:-axes], *size)
    try:  # the kernel looks at the indices as it reads them
        return _fill(run, axes, shape, (grad, places), (window.as_volume(size, 1),))
    except IndexError:
        _check_places(places, size)
        raise


def _max_unpool(axes, x, indices, kernel_size, stride, padding, output_size, out):
    given, x = (x, indices), _input(x, "x", axes)
    kernel_size, stride, padding, _ = _window(axes, kernel_size, stride, padding)
    size = _unpooled_size(axes, x.shape[-axes:], kernel_size, stride, padding, output_size)
    indices = _places(indices, x, "x", size)
    kernel_size, stride, padding, _ = _volume(kernel_size, stride, padding, (1,) * axes)
    run, shape = _dispatch.kernel("pool", x).max_unpool3d, (*x.shape[:-axes], *size)
    arguments = kernel_size, stride, padding, window.as_volume(size, 1)
    return _fill(run, axes, shape, (x, indices), arguments, out, given)


def _gather(axes, grad, indices):
    """The gradient of unpooled elements, from their places."""
    grad = _input(grad, "grad", axes)
    places = _check.anywhere(indices, "indices", ("int64",), grad)
    if places.ndim != grad.ndim or places.shape[:-axes] != grad.shape[:-axes]:
        raise ValueError(
            f"indices has shape {places.shape}; all but its last {axes} axes must be those of "
            f"grad, {grad.shape}"
        )
    _check_places(places, grad.shape[-axes:])
    run = _dispatch.kernel("pool", grad).max_unpool3d_backward
    return _fill(run, axes, places.shape, (grad, places), ())


def _fill(run, axes, shape, inputs, arguments, out=None, given=()):
    """Run a kernel that writes one array of `shape` with the dtype of the first input."""
    out = _check.output(out, shape, inputs[0].dtype, *given, beside=inputs[0])
    inputs = _check.computed(*inputs)
    scratch = _check.writable(out, inputs[0].dtype)
    run(*(_five(i, axes) for i in inputs), *arguments, out=_five(scratch, axes))
    return _check.deliver(scratch, out)


def _input(value, name, axes, beside=None):
    """`value` as an array of `axes` spatial axes, none of them empty."""
    x = _check.anywhere(value, name, beside=beside)
    if x.ndim not in (axes + 1, axes + 2):
        raise ValueError(
            f"{name} has {x.ndim} axes; it must have {axes + 2}, (N, C, *spatial), or {axes + 1}"
        )
    if 0 in x.shape[-axes - 1 :]:
        raise ValueError(f"{name} has shape {x.shape}; no axis but the batch may be empty")
    return x


def _spatial(x, name):
    """A batch, as an array or on its device, and the number of its spatial axes."""
    x = x if _dispatch.on_device(x) else _check.readable(x, name)
    if not 3 <= x.ndim <= 5:
        raise ValueError(f"{name} has {x.ndim} axes; it must have 3 to 5, (N, C, *spatial)")
    return x, x.ndim - 2


def _five(x, axes):
    """A view of five axes: batch, channels, depth, height and width."""
    n = x.shape[0] if x.ndim == axes + 2 else 1
    return x.reshape(n, x.shape[-axes - 1], *window.as_volume(x.shape[-axes:], 1))


def _window(axes, kernel_size, stride, padding, dilation=1):
    """The checked arguments, one per axis."""
    kernel_size = _check.per_axis(kernel_size, "kernel_size", axes, minimum=1)
    stride = kernel_size if stride is None else _check.per_axis(stride, "stride", axes, minimum=1)
    dilation = _check.per_axis(dilation, "dilation", axes, minimum=1)
    padding = _check.per_axis(padding, "padding", axes, minimum=0)
    if any(2 * p > k for p, k in zip(padding, kernel_size)):
        raise ValueError(
            f"padding is {padding}; it may be at most half of kernel_size {kernel_size}"
        )
    return kernel_size, stride, padding, dilation


def _volume(kernel_size, stride, padding, dilation):
    """The same for three axes."""
    return tuple(
        window.as_volume(value, fill)
        for value, fill in ((kernel_size, 1), (stride, 1), (padding, 0), (dilation, 1))
    )


def _counts(size, kernel_size, stride, padding, dilation, ceil_mode):
    """Windows per axis."""
    padding = tuple((p, p) for p in padding)
    ceil_mode = _check.flag(ceil_mode, "ceil_mode")
    return window.output_size(size, kernel_size, stride, padding, dilation, ceil_mode)


def _adaptive_counts(axes, x, output_size):
    """Windows per axis: those asked for, or as many as elements where that is None."""
    if isinstance(output_size, tuple | list) and len(output_size) == axes:
        asked = zip(output_size, x.shape[-axes:])
        output_size = tuple(n if o is None else o for o, n in asked)
    elif isinstance(output_size, tuple | list):
        raise ValueError(f"output_size is {output_size}; it must have {axes} entries")
    return _check.per_axis(output_size, "output_size", axes, 0, _check.LARGEST_SIZE)


def _divisor(value):
    if value is None:
        return None
    value = _check.integer(value, "divisor_override", -_check.LARGEST)
    if value == 0:
        raise ValueError("divisor_override is 0; it may be any other integer, or None")
    return value


def _norm(value):
    if isinstance(value, str | bytes) or np.ndim(value):
        raise TypeError(f"norm_type is {value!r}; it must be a number")
    try:
        p = float(value)
    except TypeError:
        raise TypeError(f"norm_type is {value!r}; it must be a number") from None
    except OverflowError:
        raise ValueError("norm_type is above 1e308; it may be infinite") from None
    if p == 0:
        raise ValueError("norm_type is 0; it may be any other number")
    return p


def _unpooled_size(axes, size, kernel_size, stride, padding, output_size):
    """Spatial size that unpooling gives: the default, or `output_size` if it is close to that."""
    default = tuple(
        (n - 1) * s + k - 2 * p for n, k, s, p in zip(size, kernel_size, stride, padding)
    )
    if output_size is None:
        chosen = default
    elif not isinstance(output_size, tuple | list):
        raise TypeError(f"output_size is {output_size!r}; it must be a tuple of {axes} integers")
    elif len(output_size) not in (axes, axes + 2):
        raise ValueError(f"output_size is {output_size}; it must have {axes} or {axes + 2} entries")
    else:
        chosen = _check.per_axis(output_size[-axes:], "output_size", axes, 1, _check.LARGEST_SIZE)
        if any(abs(o - n) >= s for o, n, s in zip(chosen, default, stride)):
            raise ValueError(
                f"output_size is {output_size}; it must be by less than a stride {stride} away "
                f"from {default}"
            )
    if any(n < 1 for n in chosen):
        raise ValueError(f"padding {padding} leaves an output of size {chosen}")
    return chosen


def _places(indices, like, name, size):
    """`indices` as an array if it has the shape of `like`, called `name`, and lies in `size`."""
    places = _shaped_places(indices, like, name)
    _check_places(places, size)
    return places


def _shaped_places(indices, like, name):
    places = _check.anywhere(indices, "indices", ("int64",), like)
    if places.shape != like.shape:
        raise ValueError(
            f"indices has shape {places.shape}; it must be {like.shape}, that of {name}"
        )
    return places


def _check_places(places, size):
    volume = math.prod(size)
    if not isinstance(places, np.ndarray):
        bad = _dispatch.kernel("pool", places).outside(places, volume)
    # One pass: as unsigned, what is negative is larger than any volume.
    elif places.size and places.view(np.uint64).max() >= volume:
        bad = places[(places < 0) | (places >= volume)][0]
    else:
        bad = None
    if bad is not None:
        raise ValueError(f"indices holds {bad}; every index must be from 0 to {volume - 1}")
