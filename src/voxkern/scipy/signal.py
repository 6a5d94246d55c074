"""Correlation and convolution with the arguments of :mod:`scipy.signal`."""

import numpy as np

from voxkern import _check
from voxkern.conv import conv_padded
from voxkern.scipy.ndimage import kernels_of

METHODS = ("auto", "direct", "fft")


def correlate(in1, in2, mode="full", method="auto"):
    """Correlate an array with one kernel or with many, as ``scipy.signal.correlate``.

    Parameters
    ----------
    in1 : array_like
        One to three axes, none empty. float16 (computed in float32), float32 or float64.
    in2 : array_like
        A kernel of as many axes; or a stack of K kernels, which has one axis more in front.
    mode : {"full", "same", "valid"}
        Every place where the two meet, with zeros beyond the edges; the middle of those, as many
        as `in1` has; or the places where a kernel lies in `in1` whole.
    method : {"auto", "direct", "fft"}
        As for :func:`voxkern.conv3d`.

    Returns
    -------
    ndarray
        ``n + k - 1``, ``n`` or ``n - k + 1`` elements along each axis; for a stack of kernels with
        K in front. Its dtype is that which NumPy finds for both, in which all is computed.

    Raises
    ------
    TypeError
        A dtype or argument type that is not served; integers and booleans are not: convert them.
    ValueError
        A shape, mode or method that does not fit; for "valid" a kernel longer than `in1`, where
        SciPy exchanges the two if that is so on all axes.

    Notes
    -----
    Time and memory are those of :func:`voxkern.conv3d`. The longer array is best `in1`.

    Examples
    --------
    >>> voxkern.scipy.signal.correlate([1.0, 2.0, 3.0], [0.0, 1.0, 0.5])
    array([0.5, 2. , 3.5, 3. , 0. ])
    """
    return _correlated(in1, in2, mode, method, flipped=False)


def convolve(in1, in2, mode="full", method="auto"):
    """Convolve an array with one kernel or with many, as ``scipy.signal.convolve``.

    The correlation with every kernel reversed along all its axes; see :func:`correlate`.

    Examples
    --------
    >>> voxkern.scipy.signal.convolve([1.0, 2.0, 3.0], [0.0, 1.0, 0.5], mode="same")
    array([1. , 2.5, 4. ])
    """
    return _correlated(in1, in2, mode, method, flipped=True)


def _correlated(in1, in2, mode, method, flipped):
    x, kernels = _check.readable(in1, "in1"), _check.readable(in2, "in2")
    if x.ndim not in (1, 2, 3) or 0 in x.shape:
        raise ValueError(f"in1 has shape {x.shape}; it must have 1 to 3 axes that are not empty")
    dtype, stacked = np.result_type(x, kernels), kernels.ndim > x.ndim
    kernels = kernels_of(kernels, "in2", x.ndim, dtype, flipped)
    pairs = _padding(mode, x.shape, kernels.shape[2:])
    if not isinstance(method, str) or method not in METHODS:
        raise ValueError(f"method is {method!r}; it may be {', '.join(METHODS)}")
    x = x.astype(dtype, copy=False)[None, None]
    return conv_padded(x, kernels, pairs, algorithm=method)[0 if stacked else (0, 0)]


def _padding(mode, size, kernel_size):
    """Zeros before and after each axis."""
    if mode == "full":
        return [(k - 1, k - 1) for k in kernel_size]
    if mode == "same":
        return [(k // 2, (k - 1) // 2) for k in kernel_size]
    if mode != "valid":
        raise ValueError(f"mode is {mode!r}; it may be 'full', 'same' or 'valid'")
    if any(k > n for k, n in zip(kernel_size, size)):
        raise ValueError(
            f"in2 has kernels of {kernel_size}; with mode 'valid' none may be longer "
            f"than in1 of shape {size}"
        )
    return [(0, 0)] * len(size)
