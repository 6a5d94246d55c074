"""Where the header for C is."""

from pathlib import Path

from voxkern.kernels.native import host


def get_include():
    """The folder of ``voxkern.h``, for the extensions of others that call the kernels from C.

    Returns
    -------
    str
        For ``include_dirs``. Nothing is linked: the header finds the functions when it is asked to
        import them.

    Examples
    --------
    >>> Extension("mine", ["mine.c"], include_dirs=[voxkern.get_include()])  # doctest: +SKIP
    """
    return str(Path(host.__file__).parent / "include")
