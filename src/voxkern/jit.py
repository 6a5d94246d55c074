"""Kernels around functions of yours that Numba compiles; needs the extra ``jit``."""

import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numba.core.errors import NumbaError
from numba.extending import is_jitted

from voxkern import _check, flash, pool, window
from voxkern._threads import get_num_threads
from voxkern.im2col import _axes
from voxkern.kernels.jit import flash as flash_kernels
from voxkern.kernels.jit.window_reduce import reduced_by

DTYPES = tuple(name for name in _check.NUMBERS if name != "float16")  # Numba has no float16
PART = 1 << 16  # elements of windows for which another thread pays: it takes 50 us to start


def window_reduce(x, kernel_size, stride=None, padding=0, *, reducer, dtype=None):
    """Pooling with any function: the median of every window, a quantile, the argmax of a score.

    Parameters
    ----------
    x : array_like
        ``(N, C, *spatial)``, or unbatched ``(C, *spatial)`` where `kernel_size` is a tuple;
        1 to 3 spatial axes. Any real dtype except float16.
    kernel_size, stride, padding : int or tuple of int
        One number, or one per spatial axis. `stride` is `kernel_size` unless given; `padding` is
        at most half of `kernel_size`.
    reducer : function compiled by ``numba.njit``
        Takes the elements of a window that lie in `x`, at least one, as a 1-D array of its dtype in
        row-major order, and returns a number. It may change that array. The same window must give
        the same number, from any thread.
    dtype : dtype, optional
        Of the result; that of `x` unless given.

    Returns
    -------
    ndarray
        ``(N, C, *counts)``, without N if `x` has none, with
        ``count = (n + 2*padding - k) // stride + 1`` on each axis.

    Raises
    ------
    TypeError
        A dtype or argument type that is not served, or a `reducer` that Numba cannot compile for
        such an array, or that returns what `dtype` does not hold.
    ValueError
        A shape or number that does not fit.

    Notes
    -----
    The loop is compiled with the reducer in it at the first call for a reducer and dtype, which
    takes a second, and kept for the process. Extra memory: a window per thread. An exception that
    the reducer raises is raised.

    Examples
    --------
    >>> @numba.njit
    ... def median(values):
    ...     return np.median(values)
    >>> voxkern.jit.window_reduce(np.array([[1.0, 9, 2, 3, 3, 3]]), (3,), reducer=median)
    array([[2., 3.]])
    """
    x = _check.array(x, "x", DTYPES)
    _require_jitted(reducer, "reducer")
    dtype = x.dtype if dtype is None else np.dtype(dtype)
    if dtype.name not in DTYPES:
        raise TypeError(f"dtype is {dtype}; it may be {', '.join(DTYPES)}")
    axes = _axes(x.ndim, "x", kernel_size)
    arguments = pool._window(axes, kernel_size, stride, padding)
    counts = pool._counts(x.shape[-axes:], *arguments, False)
    lead = x.shape[:-axes]
    out = np.empty((*lead, *counts), dtype)
    if out.size == 0:
        return out
    kernel, stride, padding, _ = pool._volume(*arguments)
    rows = reduced_by(reducer)
    x = x.reshape(-1, *window.as_volume(x.shape[-axes:], 1))
    target = out.reshape(-1, *window.as_volume(counts, 1))

    def some(part, begin, end):
        rows(x, kernel, stride, padding, begin, end, target)

    parts = min(get_num_threads(), 1 + out.size * math.prod(kernel) // PART)
    _in_threads(some, parts, out.size // target.shape[-1], "reducer")
    return out


def flash_table(frames, k=5, *, curve):
    """:func:`voxkern.flash_table` with a curve of yours, compiled into the loop over pixels.

    Parameters
    ----------
    frames : array_like
        As for :func:`voxkern.flash_table`.
    k : int
        Pixels whose changes are averaged.
    curve : function compiled by ``numba.njit``
        Takes one gray value, a float64, and returns its luminance.

    Returns
    -------
    ndarray
        ``(F - 1, 1)`` float64.

    Raises
    ------
    TypeError, ValueError
        As :func:`voxkern.flash_table`, or a `curve` that Numba cannot compile for a float64.

    Notes
    -----
    Frames of integers ask the curve once for each sum of channels. Of float frames it is asked for
    every pixel, in one pass; extra memory: 8 bytes per pixel of a frame, and a copy of the frames
    where they are float16, strided or byte-swapped.
    """
    _require_jitted(curve, "curve")
    frames = flash._frames(frames)
    if frames.dtype.kind != "f":
        return flash.flash_table(frames, k, _over_arrays(curve))
    k = _check.integer(k, "k", minimum=1)
    pixels = math.prod(frames.shape[1:3])
    if k > pixels:
        raise ValueError(f"k is {k}; it must be at most {pixels}, the pixels of a frame")
    if len(frames) < 2:
        return np.empty((0, 1))
    parts = flash._parts(frames)
    (frames,) = _check.computed(_check.contiguous(frames))
    frames = frames.reshape(len(frames), pixels, -1)
    largest = np.zeros((parts, len(frames) - 1, 2, k))
    changes = flash_kernels.changes_by(curve)

    def some(part, begin, end):
        changes(frames, begin, end, largest[part])

    _in_threads(some, parts, pixels, "curve")
    return np.array(flash._signed_means(largest)).reshape(-1, 1)


def _in_threads(run, parts, count, name):
    """Run ``run(part, begin, end)`` for every part of `count`, each on a thread of its own.

    Numba's own threads would not do: some of its threading layers allow one caller at a time.
    """
    bounds = [count * part // parts for part in range(parts + 1)]
    try:
        if parts == 1:
            run(0, 0, count)
            return
        with ThreadPoolExecutor(parts) as pool_of_threads:
            list(pool_of_threads.map(run, range(parts), bounds, bounds[1:]))
    except NumbaError as error:
        raise TypeError(f"{name} cannot be compiled for these arguments: {error}") from error


def _require_jitted(value, name):
    if not is_jitted(value):
        raise TypeError(f"{name} is {value!r}; it must be a function compiled by numba.njit")


def _over_arrays(curve):
    """`curve` as a function of an array of grays."""
    evaluate = flash_kernels.over_arrays(curve)

    def over_arrays(gray):
        try:
            return evaluate(gray)
        except NumbaError as error:
            raise TypeError(f"curve cannot be compiled for a float64: {error}") from error

    return over_arrays
