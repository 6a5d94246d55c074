"""Correlation and convolution with the arguments of :mod:`scipy.ndimage`."""

import numbers

import numpy as np

from voxkern import _check
from voxkern.conv import conv_padded

# SciPy's names, and those that np.pad has for the same.
MODES = {
    "reflect": "symmetric",
    "constant": "constant",
    "nearest": "edge",
    "mirror": "reflect",
    "wrap": "wrap",
}
SYNONYMS = {"grid-mirror": "reflect", "grid-constant": "constant", "grid-wrap": "wrap"}


def correlate(input, weights, output=None, mode="reflect", cval=0.0, origin=0, *, axes=None):
    """Correlate an array with one kernel or with many, as ``scipy.ndimage.correlate``.

    Parameters
    ----------
    input : array_like
        Any number of axes, none empty; one to three of them are filtered. float32 or float64,
        computed in that type, or float16, computed in float32.
    weights : array_like
        A kernel, which has an axis for each axis that is filtered; or a stack of K kernels, which
        has one more in front. Converted to the dtype of `input`.
    output : ndarray, optional
        Where to write: shape and dtype of the result, no overlap with another argument.
    mode : {"reflect", "constant", "nearest", "mirror", "wrap"}
        What lies beyond the edges: the array mirrored at the edge (``d c b a | a b c d``), `cval`,
        the last element, the array mirrored at the centre of the last element
        (``d c b | a b c d``), or the array again. "grid-mirror", "grid-constant" and "grid-wrap"
        are SciPy's other names of the first, second and last.
    cval : float
        The value of "constant".
    origin : int or tuple of int
        One number, or one per filtered axis: how far the window is moved towards lower places,
        from ``-(k // 2)`` to ``(k - 1) // 2``. 0 has the element ``k // 2`` of a kernel of k on
        the place that is computed.
    axes : int or tuple of int, optional
        The axes to filter, in increasing order; all of them unless given.

    Returns
    -------
    ndarray
        The shape and dtype of `input`; for a stack of kernels ``(K, *input.shape)``.

    Raises
    ------
    TypeError
        A dtype or argument type that is not served; integers and booleans are not: convert them.
    ValueError
        A shape, number or mode that does not fit.

    Notes
    -----
    SciPy computes in float64 and rounds at the end. Here sums are those of :func:`voxkern.conv3d`,
    in the type of `input`, by whichever of its algorithms suits; NaN and inf reach every window
    that holds them, while SciPy leaves out the elements that a weight of 0 meets.

    Other memory: a copy of `input` with its edges, unless these are 0, and what the convolution
    takes.

    Examples
    --------
    >>> x, slope = np.array([1.0, 3.0, 6.0]), np.array([-1.0, 0.0, 1.0])
    >>> voxkern.scipy.ndimage.correlate(x, slope)
    array([2., 5., 3.])
    >>> voxkern.scipy.ndimage.correlate(x, [slope, [0.0, 0.0, 1.0]], mode="constant")
    array([[ 3.,  5., -3.],
           [ 3.,  6.,  0.]])
    """
    return _filtered(input, weights, output, mode, cval, origin, axes, flipped=False)


def convolve(input, weights, output=None, mode="reflect", cval=0.0, origin=0, *, axes=None):
    """Convolve an array with one kernel or with many, as ``scipy.ndimage.convolve``.

    The correlation with every kernel reversed along all its axes, with a window that a positive
    `origin` moves towards higher places; see :func:`correlate` for the arguments.

    Examples
    --------
    >>> voxkern.scipy.ndimage.convolve(np.array([0.0, 1.0, 0.0, 0.0]), [1.0, 2.0, 3.0])
    array([1., 2., 3., 0.])
    """
    return _filtered(input, weights, output, mode, cval, origin, axes, flipped=True)


def _filtered(input, weights, output, mode, cval, origin, axes, flipped):
    x = _check.readable(input, "input")
    axes = _axes(axes, x.shape)
    weights = _check.readable(weights, "weights", _check.NUMBERS)
    dtype = x.dtype.newbyteorder("=")
    kernels = kernels_of(weights, "weights", len(axes), dtype, flipped)
    before = _before(origin, kernels.shape[2:], flipped)
    mode, cval = _beyond(mode, cval)
    shape = (len(kernels), *x.shape) if weights.ndim > len(axes) else x.shape
    output = _check.output(output, shape, dtype, input, weights, name="output")
    rows = np.moveaxis(x, axes, range(-len(axes), 0))
    batch, size = rows.shape[: -len(axes)], rows.shape[-len(axes) :]
    rows = rows.reshape(-1, 1, *size)
    direct = output.flags.c_contiguous and not batch
    out = output.reshape(1, len(kernels), *size) if direct else None
    out = _correlate(rows, kernels, before, mode, cval, out)
    if not direct:
        found = out.swapaxes(0, 1).reshape(len(kernels), *batch, *size)
        found = np.moveaxis(found, range(-len(axes), 0), [a - x.ndim for a in axes])
        output[...] = found.reshape(output.shape)
    return output


def _axes(axes, shape):
    """The axes to filter, counted from the first; `shape` must not be empty."""
    if axes is None:
        axes = range(len(shape))
    several = tuple(axes) if isinstance(axes, tuple | list | range) else (axes,)
    found = [_check.integer(a, "axes", -len(shape), len(shape) - 1) for a in several]
    found = [a % len(shape) for a in found]
    if not 1 <= len(found) <= 3:
        raise ValueError(f"input has shape {shape} and axes is {axes}; 1 to 3 axes can be filtered")
    if sorted(set(found)) != found:
        raise ValueError(f"axes is {axes}; it must be in increasing order, none twice")
    if 0 in shape:
        raise ValueError(f"input has shape {shape}; no axis may be empty")
    return found


def kernels_of(kernels, name, axes, dtype, flipped):
    """A kernel or a stack of them as ``(K, 1, *kernel)``, reversed if `flipped`."""
    if kernels.ndim not in (axes, axes + 1) or 0 in kernels.shape:
        raise ValueError(
            f"{name} has shape {kernels.shape}; it must have {axes} axes that are not empty, "
            "or one more in front for a stack of kernels"
        )
    kernels = kernels.astype(dtype, copy=False).reshape(-1, 1, *kernels.shape[-axes:])
    return _check.contiguous(np.flip(kernels, range(2, 2 + axes)) if flipped else kernels)


def _before(origin, kernel_size, flipped):
    """Elements of a window before its place, per axis."""
    origin = _check.per_axis(origin, "origin", len(kernel_size), -_check.LARGEST)
    for o, k in zip(origin, kernel_size):
        if not -(k // 2) <= o <= (k - 1) // 2:
            raise ValueError(
                f"origin is {origin}; for kernels of {kernel_size} it must be at least "
                f"{tuple(-(n // 2) for n in kernel_size)} and at most "
                f"{tuple((n - 1) // 2 for n in kernel_size)}"
            )
    if flipped:
        return [(k - 1) // 2 - o for o, k in zip(origin, kernel_size)]
    return [k // 2 + o for o, k in zip(origin, kernel_size)]


def _beyond(mode, cval):
    """`mode` by one of its names, and `cval`, checked."""
    name = SYNONYMS.get(mode, mode) if isinstance(mode, str) else None
    if name not in MODES:
        raise ValueError(f"mode is {mode!r}; it may be {', '.join((*MODES, *SYNONYMS))}")
    if not isinstance(cval, numbers.Real):
        raise TypeError(f"cval is {cval!r}; it must be a number")
    return name, cval


def _correlate(x, kernels, before, mode, cval, out):
    """Correlate ``(N, 1, *size)`` with ``(K, 1, *kernel)``."""
    pairs = [(b, k - 1 - b) for b, k in zip(before, kernels.shape[2:])]
    if mode != "constant" or cval != 0:
        arguments = {"constant_values": cval} if mode == "constant" else {}
        with np.errstate(over="ignore"):
            x = np.pad(x, [(0, 0), (0, 0), *pairs], MODES[mode], **arguments)
        pairs = [(0, 0)] * len(pairs)
    return conv_padded(x, kernels, pairs, out=out)
