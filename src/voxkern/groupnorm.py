"""Normalisation within a sample: groups of channels, single channels, the last axes."""

import math

import numpy as np

from voxkern import _check, _dispatch, batchnorm

# A part of the samples has sums of its own of the gradients to weight and bias: as many parts as
# this, of as many elements at least.
MOST_PARTS, LEAST_IN_PART = 64, 1 << 15


def group_norm(x, num_groups, weight=None, bias=None, eps=1e-5, *, out=None):
    """Normalise groups of channels of every sample, as ``torch.nn.functional.group_norm``.

    Parameters
    ----------
    x : array_like
        ``(N, C)`` or ``(N, C, *spatial)`` with any number of spatial axes. float16 (computed in
        float32), float32 or float64.
    num_groups : int
        It divides C: a group is ``C / num_groups`` neighbouring channels.
    weight, bias : array_like, optional
        ``(C,)``, of the dtype of `x` (or float32 for float16); 1 and 0 where missing.
    eps : float
        Added to the biased variance; at least 0.
    out : ndarray, optional
        Where to write: shape and dtype of `x`, no overlap with any other argument.

    Returns
    -------
    ndarray
        ``(x - mean) / sqrt(var + eps) * weight + bias`` with the mean and variance of each
        sample's group, of the shape and dtype of `x`.

    Raises
    ------
    TypeError
        A dtype or argument type that is not served.
    ValueError
        A shape or number that does not fit; a single value in all.

    Notes
    -----
    The variance is summed about the mean of each block of 2048 elements: a large mean does not
    cancel. `x` is read once from memory where a group fits the cache, twice otherwise; other
    memory is 16 bytes per group, and a copy of `x` in float32 for float16. The result does not
    depend on the number of threads.

    Source: Wu & He, "Group normalization" (2018).

    Examples
    --------
    >>> voxkern.group_norm(np.array([[1.0, 3.0, 10.0, 30.0]]), 2, eps=0.0)
    array([[-1.,  1., -1.,  1.]])
    """
    given = x, weight, bias
    x, num_groups = _samples(x, "x", num_groups)
    eps = _check.number(eps, "eps", 0)
    if x.size // num_groups == 1:
        raise ValueError(f"x has shape {x.shape}; a group needs more than 1 value")
    weight, bias = batchnorm.checked_parameters(x, (x.shape[1],), weight=weight, bias=bias)
    out = _check.output(out, x.shape, x.dtype, *given)
    rows = _rows(x.shape, num_groups)
    _normalize(x, rows, num_groups, weight, bias, eps, out)
    return out


def group_norm_backward(grad, x, num_groups, weight=None, eps=1e-5, *, out=None):
    """Gradients of a sum of ``grad * group_norm(x)`` for `x`, `weight` and `bias`.

    Parameters
    ----------
    grad, x : array_like
        The gradient of the result and the argument of :func:`group_norm`, of one shape and dtype.
    num_groups, weight, eps
        The arguments of the forward call.
    out : ndarray, optional
        Where to write `grad_x`: shape and dtype of `x`, no overlap with another argument.

    Returns
    -------
    grad_x, grad_weight, grad_bias : ndarray
        The shapes of `x`, ``(C,)`` and ``(C,)``; the last two have the dtype of `weight`, or of
        `x` without one, and are given without one too.

    Raises
    ------
    TypeError, ValueError
        As :func:`group_norm`, or a `grad` that does not fit.

    Notes
    -----
    The statistics are computed again, which costs less than to keep them: a group is read while it
    is in the cache. With ``d = (x - mean) * invstd`` and ``g = grad * weight``, ``grad_x = invstd *
    (g - mean(g) - d * mean(g * d))``. Other memory: 16 bytes per channel for each of at most 64
    parts of the samples.

    Examples
    --------
    >>> grad, x = np.array([[1.0, 0.0, 0.0]]), np.array([[1.0, 2.0, 3.0]])
    >>> voxkern.group_norm_backward(grad, x, 1)[2]
    array([1., 0., 0.])
    """
    given = grad, x, weight
    x, num_groups = _samples(x, "x", num_groups)
    (weight,) = batchnorm.checked_parameters(x, (x.shape[1],), weight=weight)
    rows = _rows(x.shape, num_groups)
    return _backward(given, grad, x, rows, num_groups, weight, eps, out)


def instance_norm(
    x,
    running_mean=None,
    running_var=None,
    weight=None,
    bias=None,
    use_input_stats=True,
    momentum=0.1,
    eps=1e-5,
    *,
    out=None,
):
    """Normalise every channel of every sample, as ``torch.nn.functional.instance_norm``.

    Parameters
    ----------
    x : array_like
        ``(N, C, *spatial)`` with one or more spatial axes; dtypes as for :func:`group_norm`.
    running_mean, running_var : array_like or None
        ``(C,)``. With `use_input_stats` they are moved in place towards the mean over the samples
        of the statistics (the unbiased variance), so they must be writeable arrays, or both None;
        without it they are what is normalised with.
    weight, bias : array_like, optional
        ``(C,)``; 1 and 0 where missing.
    use_input_stats : bool
        Normalise with the statistics of `x`, else with the running ones, as :func:`batch_norm`
        does for inference.
    momentum, eps : float
        As for :func:`batch_norm`.
    out : ndarray, optional
        Where to write: shape and dtype of `x`, no overlap with any other argument.

    Returns
    -------
    ndarray
        Of the shape and dtype of `x`.

    Raises
    ------
    TypeError
        A dtype or argument type that is not served.
    ValueError
        A shape or number that does not fit; one value per channel and sample; running arrays that
        are missing, read-only or overlap.

    Notes
    -----
    :func:`group_norm` of single channels; memory and sums as there.

    Source: Ulyanov, Vedaldi & Lempitsky, "Instance normalization: the missing ingredient for fast
    stylization" (2016).

    Examples
    --------
    >>> voxkern.instance_norm(np.array([[[1.0, 3.0], [10.0, 30.0]]]), eps=0.0)
    array([[[-1.,  1.],
            [-1.,  1.]]])
    """
    given = x, running_mean, running_var, weight, bias
    if not _check.flag(use_input_stats, "use_input_stats"):
        return batchnorm.batch_norm(*given, False, momentum, eps, out=out)
    x = batchnorm.checked_input(x, "x")
    momentum, eps = _check.number(momentum, "momentum"), _check.number(eps, "eps", 0)
    count = math.prod(x.shape[2:])
    if count == 1:
        raise ValueError(f"x has shape {x.shape}; an instance needs more than 1 spatial element")
    if (running_mean is None) != (running_var is None):
        raise ValueError("running_mean and running_var must both be arrays or both None")
    running = batchnorm.checked_running(given, running_mean=running_mean, running_var=running_var)
    running_mean, running_var = running
    running_mean, running_var, weight, bias = batchnorm.checked_parameters(
        x,
        x.shape[1:2],
        running_mean=running_mean,
        running_var=running_var,
        weight=weight,
        bias=bias,
    )
    out = _check.output(out, x.shape, x.dtype, *given)
    rows = _rows(x.shape, x.shape[1])
    stats = _normalize(x, rows, x.shape[1], weight, bias, eps, out)
    if running_mean is not None and x.size:
        mean, var = stats.reshape(2, *x.shape[:2]).mean(1)
        batchnorm.move(running_mean, mean, momentum)
        batchnorm.move(running_var, var * (count / (count - 1)), momentum)
    return out


def instance_norm_backward(grad, x, weight=None, eps=1e-5, *, out=None):
    """Gradients of a sum of ``grad * instance_norm(x)`` with the statistics of `x`.

    As :func:`group_norm_backward` with a group for each channel. For running statistics see
    :func:`batch_norm_backward` with ``training=False``.
    """
    given = grad, x, weight
    x = batchnorm.checked_input(x, "x")
    (weight,) = batchnorm.checked_parameters(x, (x.shape[1],), weight=weight)
    return _backward(given, grad, x, _rows(x.shape, x.shape[1]), x.shape[1], weight, eps, out)


def layer_norm(x, normalized_shape, weight=None, bias=None, eps=1e-5, *, out=None):
    """Normalise over the last axes, as ``torch.nn.functional.layer_norm``.

    Parameters
    ----------
    x : array_like
        ``(*, *normalized_shape)``; dtypes as for :func:`group_norm`.
    normalized_shape : int or tuple of int
        Sizes of the last axes.
    weight, bias : array_like, optional
        Of that shape, one for each element; 1 and 0 where missing.
    eps : float
        Added to the biased variance; at least 0.
    out : ndarray, optional
        Where to write: shape and dtype of `x`, no overlap with any other argument.

    Returns
    -------
    ndarray
        ``(x - mean) / sqrt(var + eps) * weight + bias``, of the shape and dtype of `x`.

    Raises
    ------
    TypeError
        A dtype or argument type that is not served.
    ValueError
        A shape or number that does not fit.

    Notes
    -----
    Memory and sums as for :func:`group_norm`.

    Source: Ba, Kiros & Hinton, "Layer normalization" (2016).

    Examples
    --------
    >>> voxkern.layer_norm(np.array([[1.0, 3.0], [10.0, 30.0]]), 2, eps=0.0)
    array([[-1.,  1.],
           [-1.,  1.]])
    """
    given = x, weight, bias
    x, shape = _layers(x, "x", normalized_shape)
    eps = _check.number(eps, "eps", 0)
    weight, bias = batchnorm.checked_parameters(x, shape, weight=weight, bias=bias)
    out = _check.output(out, x.shape, x.dtype, *given)
    _normalize(x, (-1, math.prod(shape), 1), 1, weight, bias, eps, out)
    return out


def layer_norm_backward(grad, x, normalized_shape, weight=None, eps=1e-5, *, out=None):
    """Gradients of a sum of ``grad * layer_norm(x)`` for `x`, `weight` and `bias`.

    Parameters, errors and notes as for :func:`group_norm_backward`, with the `normalized_shape` of
    :func:`layer_norm`, which is the shape of `grad_weight` and `grad_bias`.
    """
    given = grad, x, weight
    x, shape = _layers(x, "x", normalized_shape)
    (weight,) = batchnorm.checked_parameters(x, shape, weight=weight)
    rows = (-1, math.prod(shape), 1)
    grad_x, *grads = _backward(given, grad, x, rows, 1, weight, eps, out)
    return grad_x, *(g.reshape(shape) for g in grads)


def _normalize(x, rows, groups, weight, bias, eps, out):
    """Fill `out`; mean and variance of every row of `rows`, the shape that the kernel sees."""
    if x.size == 0:
        return None
    (x,) = _check.computed(x)
    scratch = _check.writable(out, x.dtype)
    volume = x.reshape(rows)
    stats = np.empty((2, len(volume)))
    _dispatch.kernel("groupnorm").normalize_groups(
        volume,
        batchnorm.filled(weight, 1, groups * rows[1], x.dtype),
        batchnorm.filled(bias, 0, groups * rows[1], x.dtype),
        eps,
        groups,
        stats=stats,
        out=scratch.reshape(rows),
    )
    _check.deliver(scratch, out)
    return stats


def _backward(given, grad, x, rows, groups, weight, eps, out):
    """The three gradients, those to weight and bias one after another."""
    grad, eps = _check.array(grad, "grad"), _check.number(eps, "eps", 0)
    _check.shape(grad, "grad", x.shape)
    _check.same_dtype(x, grad=grad)
    out = _check.output(out, x.shape, x.dtype, *given)
    dtype = x.dtype if weight is None else weight.dtype
    if x.size == 0:
        return out, *np.zeros((2, groups * rows[1]), dtype)
    grad, x = _check.computed(grad, x)
    scratch = _check.writable(out, x.dtype)
    volume = x.reshape(rows)
    weight = batchnorm.filled(weight, 1, groups * rows[1], x.dtype)
    parts = min(MOST_PARTS, len(volume) // groups, 1 + x.size // LEAST_IN_PART)
    sums = np.empty((parts, 2, weight.size))
    _dispatch.kernel("groupnorm").groups_gradient(
        grad.reshape(rows), volume, weight, eps, groups, sums=sums, out=scratch.reshape(rows)
    )
    _check.deliver(scratch, out)
    return out, *sums.sum(0).astype(dtype)


def _samples(value, name, num_groups):
    """`value` as ``(N, C, *spatial)``, and the checked number of groups."""
    x = batchnorm.checked_input(value, name)
    num_groups = _check.integer(num_groups, "num_groups", 1)
    if x.shape[1] % num_groups:
        raise ValueError(f"num_groups is {num_groups}; it must divide the {x.shape[1]} channels")
    return x, num_groups


def _layers(value, name, normalized_shape):
    """`value` as an array, and the checked sizes of its last axes."""
    x = _check.array(value, name)
    several = isinstance(normalized_shape, (tuple, list))
    given = tuple(normalized_shape) if several else (normalized_shape,)
    shape = tuple(_check.integer(n, "normalized_shape", 0, _check.LARGEST_SIZE) for n in given)
    if not shape or x.shape[-len(shape) :] != shape:
        raise ValueError(f"normalized_shape is {shape}; it must end the shape of {name}, {x.shape}")
    if 0 in shape:
        raise ValueError(f"normalized_shape is {shape}; no axis of it may be empty")
    return x, shape


def _rows(shape, groups):
    """(N, C, *spatial) as the kernel takes it: a row for every group of every sample."""
    return shape[0] * groups, shape[1] // groups, math.prod(shape[2:])
