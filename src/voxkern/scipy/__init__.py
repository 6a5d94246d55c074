"""SciPy's names on our kernels: :mod:`voxkern.scipy.ndimage` and :mod:`voxkern.scipy.signal`.

The functions take SciPy's arguments and give its results, in the type of the arrays instead of in
float64, and take many kernels in one call. SciPy itself is not needed.
"""

from voxkern.scipy import ndimage, signal

__all__ = ["ndimage", "signal"]
