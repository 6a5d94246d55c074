"""Columns of windows (im2col) and their adjoint (col2im), over 1 to 3 spatial axes."""

import math

from voxkern import _check, _dispatch, window


def im2col(x, kernel_size, stride=1, padding=0, dilation=1, *, out=None):
    """Copy every window of `x` into a column.

    Parameters
    ----------
    x : array_like
        ``(N, C, *spatial)``, or unbatched ``(C, *spatial)`` where `kernel_size` is a tuple;
        1 to 3 spatial axes. Any real dtype.
    kernel_size, stride, padding, dilation : int or tuple of int
        One number, or one per spatial axis. `padding` may be ``"same"`` or ``"valid"``; the
        padding is zero.
    out : ndarray, optional
        Where to write: shape and dtype of the result, no overlap with `x`.

    Returns
    -------
    ndarray
        ``(N, C * prod(kernel_size), L)`` of the dtype of `x`, without N if `x` has none. Rows are
        ordered by channel, then kernel position; columns are windows in row-major order. For two
        axes this is ``torch.nn.functional.unfold``.

    Raises
    ------
    TypeError
        A dtype or argument type that is not served.
    ValueError
        A shape or number that does not fit, or a window larger than the padded input.

    Notes
    -----
    Exact: elements are moved, never computed with. Time and memory are those of the result, a
    factor of about ``prod(kernel_size) / prod(stride)`` over `x`. No other memory is used.

    Source: Chellapilla, Puri & Simard, "High performance convolutional neural networks for
    document processing" (2006).

    Examples
    --------
    >>> voxkern.im2col(np.arange(5.0).reshape(1, 1, 5), 3)
    array([[[0., 1., 2.],
            [1., 2., 3.],
            [2., 3., 4.]]])
    """
    given, x = x, _check.anywhere(x, "x", _check.NUMBERS)
    axes = _axes(x.ndim, "x", kernel_size)
    batch, channels = x.shape[: x.ndim - axes - 1], x.shape[x.ndim - axes - 1]
    kernel_size, stride, padding, dilation = _window(kernel_size, stride, padding, dilation, axes)
    counts = window.output_size(x.shape[-axes:], kernel_size, stride, padding, dilation)
    rows = channels * math.prod(kernel_size)
    out = _check.output(out, (*batch, rows, math.prod(counts)), x.dtype, given, beside=x)
    scratch = _check.writable(out, x.dtype)
    word = f"u{x.dtype.itemsize}"  # elements are moved, not read
    n = batch[0] if batch else 1
    _dispatch.kernel("im2col", x).im2col(
        x.view(word).reshape(n, channels, *window.as_volume(x.shape[-axes:], 1)),
        *_volume(kernel_size, stride, padding, dilation),
        out=scratch.view(word).reshape(n, rows, *window.as_volume(counts, 1)),
    )
    return _check.deliver(scratch, out)


def col2im(cols, output_size, kernel_size, stride=1, padding=0, dilation=1, *, out=None):
    """Add every column into the window it came from: the adjoint of :func:`im2col`.

    Parameters
    ----------
    cols : array_like
        ``(N, C * prod(kernel_size), L)`` or ``(C * prod(kernel_size), L)``, ordered as
        :func:`im2col` orders them. float16 (summed in float32), float32 or float64.
    output_size : int or tuple of int
        Spatial size of the result; its length is the number of axes.
    kernel_size, stride, padding, dilation : int or tuple of int
        As for :func:`im2col`.
    out : ndarray, optional
        Where to write: shape and dtype of the result, no overlap with `cols`.

    Returns
    -------
    ndarray
        ``(N, C, *output_size)``, without N if `cols` has none. Where windows overlap their
        elements add up; what no window covers is 0.

    Raises
    ------
    TypeError
        A dtype or argument type that is not served.
    ValueError
        `cols` does not have the rows or columns that the other arguments make.

    Notes
    -----
    ``(im2col(x) * y).sum() == (x * col2im(y)).sum()`` for every x and y. The order of the sums is
    that of the kernel positions, whatever the number of threads.

    Examples
    --------
    >>> voxkern.col2im(np.ones((1, 3, 3)), 5, 3)
    array([[[1., 2., 3., 2., 1.]]])
    """
    given, cols = cols, _check.anywhere(cols, "cols")
    if cols.ndim not in (2, 3):
        raise ValueError(f"cols has shape {cols.shape}; it must have 2 or 3 axes")
    axes = len(output_size) if isinstance(output_size, tuple | list) else 1
    if axes not in (1, 2, 3):
        raise ValueError(f"output_size is {output_size!r}; it must have 1, 2 or 3 axes")
    size = _check.per_axis(output_size, "output_size", axes, 1, _check.LARGEST_SIZE)
    kernel_size, stride, padding, dilation = _window(kernel_size, stride, padding, dilation, axes)
    counts = window.output_size(size, kernel_size, stride, padding, dilation)
    batch, (rows, columns) = cols.shape[:-2], cols.shape[-2:]
    taps = math.prod(kernel_size)
    if rows % taps or columns != math.prod(counts):
        raise ValueError(
            f"cols has shape {cols.shape}; it must have a multiple of {taps} rows "
            f"and {math.prod(counts)} columns"
        )
    out = _check.output(out, (*batch, rows // taps, *size), cols.dtype, given, beside=cols)
    (cols,) = _check.computed(cols)
    scratch = _check.writable(out, cols.dtype)
    n = batch[0] if batch else 1
    _dispatch.kernel("im2col", cols).col2im(
        cols.reshape(n, rows, *window.as_volume(counts, 1)),
        window.as_volume(size, 1),
        *_volume(kernel_size, stride, padding, dilation),
        out=scratch.reshape(n, rows // taps, *window.as_volume(size, 1)),
    )
    return _check.deliver(scratch, out)


def _axes(ndim, name, kernel_size):
    """Number of spatial axes: the length of `kernel_size`, or what a batch of channels leaves."""
    axes = len(kernel_size) if isinstance(kernel_size, tuple | list) else ndim - 2
    if axes == 1 and ndim > 3:
        axes = ndim - 2
    if axes not in (1, 2, 3) or ndim not in (axes + 1, axes + 2):
        raise ValueError(
            f"{name} has {ndim} axes with kernel_size {kernel_size!r}; it must be "
            "(N, C, *spatial), or (C, *spatial) with a tuple, and 1 to 3 spatial axes"
        )
    return axes


def _window(kernel_size, stride, padding, dilation, axes):
    """The checked arguments, one per axis, padding in pairs."""
    kernel_size = _check.per_axis(kernel_size, "kernel_size", axes, minimum=1)
    return kernel_size, *window.checked(kernel_size, stride, padding, dilation)


def _volume(kernel_size, *others):
    """The same for three axes."""
    return window.as_volume(kernel_size, 1), *window.volume(*others)
