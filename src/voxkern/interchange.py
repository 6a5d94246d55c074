"""Results as arrays of another library, without a copy."""

import sys

import numpy as np

from voxkern import _check


def as_like(result, like):
    """`result` as an array of the library that `like` comes from, over the same memory.

    Parameters
    ----------
    result : ndarray, or tuple or list of them
        What a function of this library returned, from NumPy's or any other arrays.
    like : array
        A NumPy array, a torch tensor, or an array of any library that follows the array API
        standard (it has ``__array_namespace__``); on the host. Only its type counts.

    Returns
    -------
    array, or tuple of them
        What ``from_dlpack`` of that library makes of `result`; for a NumPy array `result` itself.
        In a tuple None stays None.

    Raises
    ------
    TypeError
        `result` is no NumPy array; `like` lies on a device, or its library cannot be told.
    ValueError
        `result` is read-only: not every library keeps it so.

    Notes
    -----
    No memory is copied unless a library does so in its ``from_dlpack``: JAX where memory is not
    aligned to 64 bytes. Gradients do not flow through; for those see :mod:`voxkern.torch`.

    Source: the Python array API standard 2024.12, data interchange mechanisms.

    Examples
    --------
    >>> x = np.array([[1.0, 5.0, 2.0, 3.0]])
    >>> voxkern.as_like(voxkern.max_pool1d(x, 2), like=x)
    array([[5., 3.]])
    """
    if isinstance(like, np.ndarray):
        return result
    convert = _from_dlpack(like)
    if isinstance(result, tuple | list):
        return tuple([None if r is None else convert(_checked(r)) for r in result])
    return convert(_checked(result))


def _from_dlpack(like):
    """The function that makes arrays of the library of `like`."""
    _check.on_host(like, "like")
    if hasattr(like, "__array_namespace__"):
        return like.__array_namespace__().from_dlpack
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(like, torch.Tensor):  # has no namespace yet
        return torch.from_dlpack
    raise TypeError(
        f"like is a {type(like).__name__}; it must be an array of NumPy, torch or a library with "
        "__array_namespace__"
    )


def _checked(result):
    if not isinstance(result, np.ndarray):
        raise TypeError(f"result is a {type(result).__name__}; it must be a NumPy array")
    if not result.flags.writeable:
        raise ValueError("result is read-only; it must be writeable")
    return result
