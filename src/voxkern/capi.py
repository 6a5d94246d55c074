"""The kernels for C, Cython and Numba: ``include/voxkern.h`` says what there is.

C code calls ``voxkern_import()``, which finds the capsule here. The functions are those of the CPU
level that ``VOXKERN_CPU_LEVEL`` chose when this module was imported.
"""

from voxkern import _dispatch
from voxkern.kernels.native import capi, host

LINKED = ("conv", "conv_winograd", "pool", "im2col", "batchnorm", "flash")

capi.link(
    host.__pyx_capi__,
    *[_dispatch.module("native", _dispatch.cpu_level, name).__pyx_capi__ for name in LINKED],
)
api, addresses, messages = capi.api, capi.addresses, capi.messages


def window_filter(name):
    """A window's maximum, mean or median for ``scipy.ndimage.generic_filter``, in C.

    Parameters
    ----------
    name : {"max", "mean", "median"}

    Returns
    -------
    scipy.LowLevelCallable
        For the windows that `generic_filter` makes: any footprint, and SciPy's modes at the edges.
        A window that holds a NaN gives NaN. The median of an even number of elements is the mean of
        the two in the middle. No memory is used, the window is sorted in place.

    Raises
    ------
    ValueError
        A name that is none of these.
    ImportError
        SciPy is not installed.

    Examples
    --------
    >>> scipy.ndimage.generic_filter(x, window_filter("median"), size=3)  # doctest: +SKIP
    """
    if name not in capi.filters:
        raise ValueError(f"name is {name!r}; it may be {', '.join(capi.filters)}")
    from scipy import LowLevelCallable

    return LowLevelCallable(capi.filters[name])
