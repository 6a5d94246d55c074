"""Arrays of another size: the nearest element, or an interpolation along each axis."""

import numpy as np

from voxkern import _check, _dispatch

MODES = {"linear": 1, "bilinear": 2, "trilinear": 3}


def upsample(x, size=None, scale_factor=None, mode="nearest", align_corners=None, *, out=None):
    """Resize the spatial axes, as ``torch.nn.functional.interpolate``.

    Parameters
    ----------
    x : array_like
        ``(N, C, *spatial)`` with one to three spatial axes, none empty. float16 (computed in
        float32), float32 or float64.
    size : int or tuple of int, optional
        The sizes of the result.
    scale_factor : float or tuple of float, optional
        Or by what each axis grows: its size is ``floor(n * scale_factor)``. One of the two is
        given.
    mode : str
        ``"nearest"``; ``"linear"``, ``"bilinear"`` or ``"trilinear"`` for 1, 2 or 3 spatial axes.
    align_corners : bool, optional
        Of the linear modes: whether the centres of the first and last elements lie on each other,
        or the outer edges of the arrays (the default).
    out : ndarray, optional
        Where to write: no overlap with `x`.

    Returns
    -------
    ndarray
        ``(N, C, *sizes)`` of the dtype of `x`.

    Raises
    ------
    TypeError
        A dtype or argument type that is not served.
    ValueError
        A shape, number or mode that does not fit; both or none of `size` and `scale_factor`;
        `align_corners` with ``"nearest"``.

    Notes
    -----
    Other memory: for each thread two rows of the result and a slice of `x`. There is no smoothing
    before a reduction, as without torch's ``antialias``. The nearest element to place k
    of an axis is ``k * n // size``, exactly; torch rounds ``n / size`` before, and takes the
    neighbour at one place in some sizes.

    Source: ``torch.nn.functional.interpolate`` with ``recompute_scale_factor=None``.

    Examples
    --------
    >>> x = np.array([[[1.0, 3.0]]])
    >>> voxkern.upsample(x, scale_factor=2)
    array([[[1., 1., 3., 3.]]])
    >>> voxkern.upsample(x, 3, mode="linear", align_corners=True)
    array([[[1., 2., 3.]]])
    """
    given, x = x, _check.array(x, "x")
    _spatial(x.shape[2:], x.shape, "x")
    taps = _taps(x.shape[2:], size, scale_factor, mode, align_corners)
    sizes = [len(near) for near, _, _ in taps]
    out = _check.output(out, (*x.shape[:2], *sizes), x.dtype, given)
    return resampled("enlarge", x, taps, out)


def upsample_backward(
    grad,
    input_size,
    size=None,
    scale_factor=None,
    mode="nearest",
    align_corners=None,
    *,
    out=None,
):
    """The gradient to `x` of a sum of ``grad * upsample(x)``.

    Parameters
    ----------
    grad : array_like
        The gradient of the result.
    input_size : tuple of int
        The spatial sizes of `x`.
    size, scale_factor, mode, align_corners
        The arguments of the forward call.
    out : ndarray, optional
        Where to write: ``(N, C, *input_size)``, no overlap with `grad`.

    Returns
    -------
    ndarray
        ``(N, C, *input_size)`` of the dtype of `grad`.

    Raises
    ------
    TypeError, ValueError
        As :func:`upsample`.

    Notes
    -----
    The adjoint: each element of `grad` goes back to where it came from. Sums have one order. Other
    memory as for :func:`upsample`.

    Examples
    --------
    >>> voxkern.upsample_backward(np.array([[[1.0, 2.0, 3.0, 4.0]]]), 2, scale_factor=2)
    array([[[3., 7.]]])
    """
    given, grad = grad, _check.array(grad, "grad")
    _spatial(grad.shape[2:], grad.shape, "grad")
    input_size = _check.per_axis(input_size, "input_size", grad.ndim - 2, 1)
    taps = _taps(input_size, size, scale_factor, mode, align_corners)
    _check.shape(grad, "grad", (*grad.shape[:2], *(len(near) for near, _, _ in taps)))
    out = _check.output(out, (*grad.shape[:2], *input_size), grad.dtype, given)
    return resampled("reduce", grad, taps, out)


def resampled(kernel, x, taps, out):
    """Let a kernel fill `out` from planes of three axes."""
    (x,) = _check.computed(x)
    scratch = _check.writable(out, x.dtype)
    if out.size:
        whole = np.zeros(1, np.int32)
        near, far, weights = zip(*[(whole, whole, None)] * (3 - len(taps)), *taps)
        weights = tuple(None if w is None else w.astype(x.dtype) for w in weights)
        x, to = (a.reshape(-1, *(1,) * (3 - len(taps)), *a.shape[2:]) for a in (x, scratch))
        getattr(_dispatch.kernel("upsample"), kernel)(x, near, far, weights, out=to)
    return _check.deliver(scratch, out)


def _taps(shape, size, scale_factor, mode, align_corners):
    """(near, far, weight of far or None) for every place of the result, per axis."""
    axes = len(shape)
    if mode != "nearest" and (not isinstance(mode, str) or MODES.get(mode) != axes):
        linear = list(MODES)[axes - 1]
        raise ValueError(f"mode is {mode!r}; for {axes} axes it may be 'nearest' or {linear!r}")
    if mode == "nearest" and align_corners is not None:
        raise ValueError(f"align_corners is {align_corners!r}; mode 'nearest' has no such option")
    aligned = align_corners is not None and _check.flag(align_corners, "align_corners")
    sizes, steps = _sizes(shape, size, scale_factor)
    taps = []
    for n, count, (part, whole) in zip(shape, sizes, steps):
        place = np.arange(count)
        if mode == "nearest":
            near = np.minimum(place * part // whole, n - 1).astype(np.int32)
            taps.append((near, near, None))
            continue
        if aligned:
            place = place * ((n - 1) / max(count - 1, 1))
        else:
            place = np.maximum((place + 0.5) * part / whole - 0.5, 0)
        near = np.minimum(place.astype(np.int32), n - 1)
        taps.append((near, np.minimum(near + 1, n - 1), np.minimum(place - near, 1)))
    return taps


def _sizes(shape, size, scale_factor):
    """The sizes of the result, and elements of x for one of its own, as a fraction."""
    if (size is None) == (scale_factor is None):
        raise ValueError(
            f"size is {size} and scale_factor is {scale_factor}; one of them must be given"
        )
    axes = len(shape)
    if size is not None:
        sizes = _check.per_axis(size, "size", axes, 1)
        return sizes, list(zip(shape, sizes))
    several = isinstance(scale_factor, (tuple, list))
    factors = tuple(scale_factor) if several else (scale_factor,) * axes
    if len(factors) != axes:
        raise ValueError(f"scale_factor is {scale_factor}; it must be a number or {axes} of them")
    factors = [_check.number(f, "scale_factor") for f in factors]
    sizes = [int(n * f) for n, f in zip(shape, factors)]
    if min(factors) <= 0 or min(sizes) < 1 or max(sizes) > _check.LARGEST:
        raise ValueError(f"scale_factor is {scale_factor}; it makes {shape} into {tuple(sizes)}")
    return sizes, [(1, f) for f in factors]


def _spatial(sizes, shape, name):
    if not 3 <= len(shape) <= 5 or 0 in sizes:
        raise ValueError(
            f"{name} has shape {shape}; it must be (N, C, *spatial) with 1 to 3 axes, not empty"
        )
