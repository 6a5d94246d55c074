"""Keras' NumPy backend without JAX: :func:`patch` supplies what it takes from there.

Keras computes its convolutions, pools and two Fourier transforms with JAX where its backend is
NumPy, and cannot be imported without it. After ``voxkern.keras.patch()`` it can.
"""

import contextlib
import importlib.util
import os
import sys
import types

import numpy as np

__all__ = ["patch"]


def patch():
    """Let Keras' NumPy backend compute with our kernels; JAX need not be installed.

    To be called before anything imports Keras, if JAX is not there; it imports Keras. Unless the
    environment names a backend already, it names NumPy in ``KERAS_BACKEND``.

    Raises
    ------
    ImportError
        Keras is not installed, or not one that this fits.
    RuntimeError
        Keras runs on another backend.

    Notes
    -----
    Supplied are ``conv``, ``depthwise_conv``, ``separable_conv``, ``conv_transpose``, ``max_pool``,
    ``average_pool``, ``adaptive_max_pool``, ``adaptive_average_pool`` and ``batch_normalization``,
    of which ``keras.ops`` and layers are made; without JAX also ``fft`` and ``fft2``, from NumPy.
    To call it again changes nothing. Written for Keras 3.15.

    The backend has no gradients: models run and are evaluated, ``fit`` is for other backends.

    Examples
    --------
    >>> import voxkern.keras
    >>> voxkern.keras.patch()
    >>> import keras
    >>> keras.ops.max_pool(np.array([[[1.0], [5.0], [2.0], [3.0]]]), 2)[0, :, 0]
    array([5., 3.])
    """
    os.environ.setdefault("KERAS_BACKEND", "numpy")
    has_jax = importlib.util.find_spec("jax") is not None
    with contextlib.nullcontext() if has_jax else _stand_ins():
        import keras
    if keras.backend.backend() != "numpy":
        raise RuntimeError(
            f"Keras runs on its backend {keras.backend.backend()!r}; it must be 'numpy', which "
            "KERAS_BACKEND in the environment says before Keras is imported"
        )
    from keras.src.backend.numpy import nn as theirs

    from voxkern.keras import nn as ours

    for name in ours.__all__:
        if not hasattr(theirs, name):
            raise ImportError(f"Keras {keras.__version__} has no {name!r} in its NumPy backend")
        setattr(theirs, name, getattr(ours, name))


class _Jax(types.ModuleType):
    """What Keras' NumPy backend imports of JAX; anything else of it is missing."""

    def __getattr__(self, name):
        if name.startswith("__"):  # what the import asks of any module
            raise AttributeError(name)
        raise ImportError(f"{self.__name__}.{name}: JAX is not installed")


@contextlib.contextmanager
def _stand_ins():
    """Modules under JAX's names for as long as Keras is being imported."""
    jax = _Jax("jax")
    jax.lax = _Jax("jax.lax")
    transforms = types.ModuleType("keras.src.backend.jax.math")
    transforms.fft, transforms.fft2 = _fft, _fft2
    modules = {"jax": jax, transforms.__name__: transforms}
    sys.modules.update(modules)
    try:
        yield
    finally:
        for name in modules:
            del sys.modules[name]


def _fft(x):
    y = np.fft.fft(x[0] + 1j * x[1])
    return y.real, y.imag


def _fft2(x):
    y = np.fft.fft2(x[0] + 1j * x[1])
    return y.real, y.imag
