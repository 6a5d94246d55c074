"""The functions of a Stanford CS230 exam, under its own signatures.

Drop-ins: they take what the exam's NumPy code takes (integers become float64), and compute with
the kernels. ``voxkern.reference.cs230`` has them as an answer would be written.
"""

import math

import numpy as np

from voxkern import _check, batchnorm
from voxkern.conv import conv3d
from voxkern.flash import flash_table


def get_tiled_dim(img_dim, kern_dim, stride=1):
    """Number of positions of a kernel along one axis of an image, without padding.

    Parameters
    ----------
    img_dim, kern_dim, stride : int
        Each at least 1; `kern_dim` at most `img_dim`.

    Returns
    -------
    int
        ``(img_dim - kern_dim) // stride + 1``.

    Raises
    ------
    TypeError, ValueError
        A number that is no integer, or does not fit.

    Notes
    -----
    Source: Stanford CS230 midterm, the question on 3-D convolution.

    Examples
    --------
    >>> voxkern.get_tiled_dim(7, 3, stride=2)
    3
    """
    img_dim = _check.integer(img_dim, "img_dim", 1)
    kern_dim = _check.integer(kern_dim, "kern_dim", 1)
    stride = _check.integer(stride, "stride", 1)
    if kern_dim > img_dim:
        raise ValueError(f"kern_dim is {kern_dim}; it must be at most img_dim, {img_dim}")
    return (img_dim - kern_dim) // stride + 1


def conv3d_naive(image, weight, stride=1):
    """Convolve volumes without padding or bias: ``conv3d(..., algorithm="direct")``.

    Parameters
    ----------
    image : array_like
        ``(N, C, H, W, D)``.
    weight : array_like
        ``(O, C, kH, kW, kD)``.
    stride : int or tuple of int
        One number, or one each for H, W and D.

    Returns
    -------
    ndarray
        ``(N, O, H', W', D')``, each size from :func:`get_tiled_dim`; the promoted dtype, float64
        for integers.

    Raises
    ------
    TypeError, ValueError
        A dtype that is not served, or a shape or number that does not fit.

    Notes
    -----
    The kernel is not flipped. Time and memory as for :func:`voxkern.conv3d`.

    Source: Stanford CS230 midterm, the question on 3-D convolution.
    """
    return _conv3d(image, weight, stride, "direct")


def conv3d_no_loop(image, weight, stride=1):
    """The same as :func:`conv3d_naive` by matrix products: ``algorithm="im2col"``.

    Source: Stanford CS230 midterm, the question on 3-D convolution.
    """
    return _conv3d(image, weight, stride, "im2col")


def forward_batchnorm(Z, gamma, beta, eps, cache_dict, beta_avg, mode):
    """Normalise every feature over the batch, and keep moving averages of its statistics.

    Parameters
    ----------
    Z : array_like
        ``(m, features)``; more feature axes are allowed.
    gamma, beta : array_like
        Scale and offset; numbers, ``(features,)`` or ``(1, features)``.
    eps : float
        Added to the variance; at least 0.
    cache_dict : dict
        ``"mu"`` and ``"var"``, shaped as `gamma`. ``"train"`` replaces each by ``beta_avg * old +
        (1 - beta_avg) * new`` (the arrays in it are left as they are); ``"test"`` uses them.
    beta_avg : float
        Weight of the old averages.
    mode : str
        ``"train"`` or ``"test"``.

    Returns
    -------
    ndarray
        ``gamma * (Z - mu) / sqrt(var + eps) + beta`` of the shape and dtype of `Z` (float64 for
        integers), in both modes. The variance is the biased one.

    Raises
    ------
    TypeError, ValueError
        A dtype that is not served; a shape, number or mode that does not fit; an entry missing
        in `cache_dict`; an empty batch in training.

    Notes
    -----
    Unlike :func:`voxkern.batch_norm`: the average weighs the old value with `beta_avg`, not the
    new one with a momentum; it takes the biased variance; one example is allowed.

    Source: Stanford CS230 midterm, the question on batch normalisation.
    """
    if not (isinstance(mode, str) and mode in ("train", "test")):
        raise ValueError(f"mode is {mode!r}; it may be 'train' or 'test'")
    (Z,) = _floats(Z=Z)
    if Z.ndim == 0 or 0 in Z.shape[mode == "test" :]:
        raise ValueError(f"Z has shape {Z.shape}; it must be (m, features), not empty")
    _dictionaries(cache_dict=cache_dict)
    eps, beta_avg = _check.number(eps, "eps", 0), _check.number(beta_avg, "beta_avg")
    gamma, beta = _per_feature(gamma, "gamma", Z), _per_feature(beta, "beta", Z)
    for key in ("mu", "var"):
        if key not in cache_dict:
            raise ValueError(f"cache_dict has no {key!r}; it must have 'mu' and 'var'")
    mu = _per_feature(cache_dict["mu"], "cache_dict['mu']", Z)
    var = _per_feature(cache_dict["var"], "cache_dict['var']", Z)
    out = np.empty(Z.shape, Z.dtype)
    if out.size == 0:
        return out
    (x,) = _check.computed(Z.reshape(len(Z), -1))
    if mode == "train":
        mu, var = batchnorm.moments(x)
        for key, new in (("mu", mu), ("var", var)):
            new = new.reshape(Z.shape[1:]).astype(Z.dtype)
            cache_dict[key] = beta_avg * np.asarray(cache_dict[key]) + (1 - beta_avg) * new
    scratch = _check.writable(out, x.dtype)
    batchnorm.normalize(x, mu, var, gamma, beta, eps, scratch.reshape(x.shape))
    return _check.deliver(scratch, out)


def optim_adam(weights_dict, gradients_dict, cache_dict, step):
    """One step of Adam over a dictionary of weights.

    Parameters
    ----------
    weights_dict, gradients_dict : dict
        Arrays under the same names, of the same shapes.
    cache_dict : dict
        Under ``"v" + name`` the average of the gradient and under ``"s" + name`` that of its
        square; 0 where missing.
    step : int
        Number of this step, from 1; the averages are divided by ``1 - beta**step``.

    Returns
    -------
    weights_dict, cache_dict : dict
        The same dictionaries, updated; their entries are new arrays, so that no array of the
        caller's is written to.

    Raises
    ------
    TypeError, ValueError
        A dtype that is not served, a gradient that is missing or of another shape, a step below
        1. No dictionary is then changed.

    Notes
    -----
    Learning rate 1e-3, beta1 0.9, beta2 0.999, and epsilon 1e-8 **inside** the square root:
    ``w - lr * v / sqrt(s + eps)``. Memory: about five times the largest weight, beside the new
    entries.

    Source: Stanford CS230 midterm, the question on Adam; Kingma & Ba, "Adam: a method for
    stochastic optimization" (2015), which has epsilon outside.
    """
    lr, beta1, beta2, eps = 1e-3, 0.9, 0.999, 1e-8
    step = _check.integer(step, "step", 1)
    _dictionaries(weights_dict=weights_dict, gradients_dict=gradients_dict, cache_dict=cache_dict)
    weights, cache = {}, {}
    for name in weights_dict:
        if name not in gradients_dict:
            raise ValueError(f"gradients_dict has no {name!r}, which weights_dict has")
        start = np.zeros_like(weights_dict[name])
        arrays = {
            f"weights_dict[{name!r}]": weights_dict[name],
            f"gradients_dict[{name!r}]": gradients_dict[name],
            f"cache_dict['v{name}']": cache_dict.get(f"v{name}", start),
            f"cache_dict['s{name}']": cache_dict.get(f"s{name}", start),
        }
        w, grad, v, s = _floats(**arrays)
        for key, array in zip(arrays, (w, grad, v, s)):
            _check.shape(array, key, w.shape)
        cache[f"v{name}"] = v = beta1 * v + (1 - beta1) * grad
        cache[f"s{name}"] = s = beta2 * s + (1 - beta2) * grad**2
        v, s = v / (1 - beta1**step), s / (1 - beta2**step)
        weights[name] = w - lr * v / np.sqrt(s + eps)
    weights_dict.update(weights)
    cache_dict.update(cache)
    return weights_dict, cache_dict


def video_flashinator(frames):
    """The flash table of a video, the five largest changes averaged.

    Parameters
    ----------
    frames : array_like
        ``(F, H, W, 3)`` or ``(F, H, W)``; uint8, uint16, float32 or float64.

    Returns
    -------
    ndarray
        ``(F - 1, 1)`` float64: ``flash_table(frames, k=5, curve="exam")``.

    Raises
    ------
    TypeError, ValueError
        As :func:`voxkern.flash_table` does.

    Notes
    -----
    Source: Stanford CS230 midterm, the question on photosensitive epilepsy. Its published
    solution averages 10 values; its text and examples say 5.
    """
    return flash_table(frames, k=5, curve="exam")


def _conv3d(image, weight, stride, algorithm):
    image, weight = _floats(image=image, weight=weight)
    for name, array in (("image", image), ("weight", weight)):
        if array.ndim != 5:
            raise ValueError(f"{name} has shape {array.shape}; it must have 5 axes")
    return conv3d(image, weight, stride=stride, algorithm=algorithm)


def _dictionaries(**arguments):
    for name, value in arguments.items():
        if not isinstance(value, dict):
            raise TypeError(f"{name} is a {type(value).__name__}; it must be a dict")


def _floats(**arrays):
    """The arrays in the float type that NumPy would promote them to."""
    arrays = [_check.array(a, name, _check.NUMBERS) for name, a in arrays.items()]
    dtype = np.result_type(*arrays)
    return [a.astype(dtype if dtype.kind == "f" else np.float64, copy=False) for a in arrays]


def _per_feature(value, name, Z):
    """`value` as one float64 per feature of `Z`."""
    value = _check.array(value, name, _check.NUMBERS).astype(np.float64)
    try:
        return np.broadcast_to(value, (1, *Z.shape[1:])).reshape(math.prod(Z.shape[1:]))
    except ValueError:
        raise ValueError(
            f"{name} has shape {value.shape}; it must broadcast with the features {Z.shape[1:]}"
        ) from None
