"""Batch normalisation: training with running statistics, inference, backward."""

import math

import numpy as np

from voxkern import _check, _dispatch

# A channel with fewer contiguous elements than this is computed as that many columns, which
# vectorise across channels (measured at 9, 16, 25 and 49: even at 16, up to four times at 4).
SHORT = 16


def batch_norm(
    x,
    running_mean,
    running_var,
    weight=None,
    bias=None,
    training=False,
    momentum=0.1,
    eps=1e-5,
    *,
    out=None,
):
    """Normalise every channel of `x`, with its own statistics or with running ones.

    Parameters
    ----------
    x : array_like
        ``(N, C)`` or ``(N, C, *spatial)`` with any number of spatial axes. float16 (computed in
        float32), float32 or float64.
    running_mean, running_var : array_like or None
        ``(C,)``. Used for inference. When training they are updated in place, so they must be
        writeable arrays, or both None.
    weight, bias : array_like, optional
        ``(C,)``; 1 and 0 where missing.
    training : bool
        Normalise with the mean and the biased variance of `x`, and move the running arrays:
        ``running = (1 - momentum) * running + momentum * new``, with the unbiased variance. An
        empty `x` leaves them as they are.
    momentum, eps : float
        `eps` is at least 0.
    out : ndarray, optional
        Where to write: shape and dtype of `x`, no overlap with any other argument.

    Returns
    -------
    ndarray
        ``(x - mean) / sqrt(var + eps) * weight + bias``, of the shape and dtype of `x`.

    Raises
    ------
    TypeError
        A dtype or argument type that is not served. The other arrays have the dtype of `x`; for
        float16 they may all be float32.
    ValueError
        A shape or number that does not fit; one value per channel when training; inference
        without running statistics; running arrays that are read-only or overlap.

    Notes
    -----
    Semantics of ``torch.nn.functional.batch_norm``. The variance is summed about the mean of each
    block of 2048 elements, and the mean is not rounded before it is subtracted: mean 1000 and
    deviation 0.01 come out right in float32. Reads `x` once for inference, twice when training: a
    channel that fits the cache comes from there the second time. Other memory: about 1 % of `x`
    when training, 10 % for ``(N, C)``; a copy of `x` in float32 for float16.

    Source: Ioffe & Szegedy, "Batch normalization: accelerating deep network training by reducing
    internal covariate shift" (2015).

    Examples
    --------
    >>> x = np.array([[1.0, 5.0], [3.0, 5.0]])
    >>> voxkern.batch_norm(x, None, None, bias=np.array([0.0, 2.0]), training=True, eps=0.25)
    array([[-0.89442719,  2.        ],
           [ 0.89442719,  2.        ]])
    """
    given, x = (x, running_mean, running_var, weight, bias), _anywhere(x, "x")
    training = _check.flag(training, "training")
    momentum, eps = _check.number(momentum, "momentum"), _check.number(eps, "eps", 0)
    if (running_mean is None) != (running_var is None):
        raise ValueError("running_mean and running_var must both be arrays or both None")
    if running_mean is None and not training:
        raise ValueError("running_mean is None; inference needs running_mean and running_var")
    if training:
        running_mean, running_var = checked_running(
            given, running_mean=running_mean, running_var=running_var
        )
    mean, var, weight, bias = checked_parameters(
        x,
        x.shape[1:2],
        running_mean=running_mean,
        running_var=running_var,
        weight=weight,
        bias=bias,
    )
    count = x.size // max(1, x.shape[1])
    if training and count == 1:
        raise ValueError(f"x has shape {x.shape}; training needs more than 1 value per channel")
    out = _check.output(out, x.shape, x.dtype, *given, beside=x)
    if x.size == 0:
        return _check.deliver(out, out)
    (x,) = _check.computed(x)
    scratch = _check.writable(out, x.dtype)
    if not isinstance(x, np.ndarray):
        running = running_mean, running_var
        _device_batch_norm(
            x, mean, var, weight, bias, running if training else None, momentum, eps, scratch
        )
        return _check.deliver(scratch, out)
    if training:
        mean, var = _train(x, weight, bias, eps, scratch)
    else:
        normalize(x, mean, var, weight, bias, eps, scratch)
    if training and running_mean is not None:
        move(running_mean, mean, momentum)
        move(running_var, var * (count / (count - 1)), momentum)
    return _check.deliver(scratch, out)


def batch_norm_stats(x, eps=1e-5):
    """Mean and inverse deviation of every channel, as :func:`batch_norm_backward` takes them.

    Parameters
    ----------
    x : array_like
        ``(N, C)`` or ``(N, C, *spatial)``; float16, float32 or float64.
    eps : float
        Added to the biased variance.

    Returns
    -------
    mean, invstd : ndarray
        ``(C,)``: the mean and ``1 / sqrt(var + eps)``; float64 for float64, else float32. NaN
        where `x` has no elements.

    Raises
    ------
    TypeError
        A dtype or argument type that is not served.
    ValueError
        A shape or number that does not fit.

    Notes
    -----
    What ``torch.batch_norm_stats`` does on a CUDA device. Two passes over `x`, the second from
    the cache.

    Examples
    --------
    >>> voxkern.batch_norm_stats(np.array([[1.0], [3.0]]), eps=0.0)
    (array([2.]), array([1.]))
    """
    x, eps = _anywhere(x, "x"), _check.number(eps, "eps", 0)
    (x,) = _check.computed(x)
    if not isinstance(x, np.ndarray):
        return _device_stats(x, eps)
    mean, var = moments(x)
    return mean.astype(x.dtype), _inverse_deviation(var, eps).astype(x.dtype)


def batch_norm_backward(grad, x, weight, mean, invstd, *, training=True, out=None):
    """Gradients of a sum of ``grad * batch_norm(x)`` for `x`, `weight` and `bias`.

    Parameters
    ----------
    grad, x : array_like
        The gradient of the result and the argument of :func:`batch_norm`, of one shape and dtype.
    weight : array_like or None
        ``(C,)``, as given to :func:`batch_norm`.
    mean, invstd : array_like
        ``(C,)``, from :func:`batch_norm_stats`; with ``training=False``, `running_mean` and
        ``1 / sqrt(running_var + eps)``.
    training : bool
        Whether the statistics were those of `x`, and so depend on it.
    out : ndarray, optional
        Where to write `grad_x`: shape and dtype of `x`, no overlap with another argument.

    Returns
    -------
    grad_x, grad_weight, grad_bias : ndarray
        The shapes of `x`, ``(C,)`` and ``(C,)``. The last two have the dtype of `weight`, or of
        `mean` without one, and are given without one too.

    Raises
    ------
    TypeError
        A dtype that is not served. Arrays have the dtype of `x`; for float16 `weight`, or `mean`
        and `invstd`, may be float32.
    ValueError
        A shape that does not fit.

    Notes
    -----
    With ``d = x - mean`` and means over a channel, ``grad_x = weight * invstd * (grad -
    mean(grad) - d * invstd**2 * mean(grad * d))``; for inference ``weight * invstd * grad``.
    Sums are in a fixed order. `grad` and `x` are read twice. Other memory as for training.

    Examples
    --------
    >>> x, grad = np.array([[1.0], [3.0]]), np.array([[1.0], [0.0]])
    >>> mean, invstd = voxkern.batch_norm_stats(x, eps=1.0)
    >>> voxkern.batch_norm_backward(grad, x, None, mean, invstd)[1:]
    (array([-0.70710678]), array([1.]))
    """
    given = (grad, x, weight, mean, invstd)
    grad = _anywhere(grad, "grad")
    x = _anywhere(x, "x", grad)
    _check.shape(grad, "grad", x.shape)
    _check.same_dtype(x, grad=grad)
    training = _check.flag(training, "training")
    (weight,) = checked_parameters(x, x.shape[1:2], weight=weight)
    if mean is None or invstd is None:
        raise TypeError("mean and invstd are needed; they may not be None")
    mean, invstd = checked_parameters(x, x.shape[1:2], mean=mean, invstd=invstd)
    out = _check.output(out, x.shape, x.dtype, *given, beside=x)
    dtype = mean.dtype if weight is None else weight.dtype
    grad, x, mean = _check.computed(grad, x, mean)
    if not isinstance(x, np.ndarray):
        return _device_backward(grad, x, weight, mean, invstd, training, dtype, out)
    sums = np.zeros((2, x.shape[1]))
    if x.size:
        scratch = _check.writable(out, x.dtype)
        sums = _gradients(grad, x, weight, mean, invstd, training, scratch)
        _check.deliver(scratch, out)
    return out, (sums[1] * invstd).astype(dtype), sums[0].astype(dtype)


def moments(x):
    """Mean and biased variance of every channel of a checked array, in float64."""
    if x.size == 0:
        return np.full((2, x.shape[1]), np.nan)
    columns = _columns(x, x.shape)
    stats = np.empty((2, columns.shape[1]))
    _dispatch.kernel("batchnorm").moments(columns, out=stats)
    if columns.shape[1] == x.shape[1]:
        return stats
    mean, var = stats.reshape(2, x.shape[1], -1)
    centre = mean.mean(axis=1)
    with np.errstate(invalid="ignore"):  # an infinite mean less itself
        return centre, (var + (mean - centre[:, None]) ** 2).mean(axis=1)


def normalize(x, mean, var, weight, bias, eps, out):
    """(x - mean) / sqrt(var + eps) * weight + bias into `out`; all checked, x not empty.

    x * scale + offset would take one step less, and cancel where the mean is large.
    """
    shift = mean.astype(x.dtype)
    scale = _inverse_deviation(var, eps) * (1.0 if weight is None else weight)
    with np.errstate(invalid="ignore"):
        rounded_off = (shift - mean.astype(np.float64)) * scale
    offset = rounded_off + (0.0 if bias is None else bias)
    _dispatch.kernel("batchnorm").normalize(
        _columns(x, x.shape),
        *_spread(x, shift, scale, offset),
        out=_columns(out, x.shape),
    )


def _train(x, weight, bias, eps, out):
    """Normalise `x` with its own statistics into `out`; the mean and biased variance."""
    if _inner(x.shape) < SHORT:
        mean, var = moments(x)
        normalize(x, mean, var, weight, bias, eps, out)
        return mean, var
    channels = x.shape[1]
    stats = np.empty((2, channels))
    _dispatch.kernel("batchnorm").train(
        _columns(x, x.shape),
        filled(weight, 1, channels, x.dtype),
        filled(bias, 0, channels, x.dtype),
        eps,
        stats=stats,
        maps=np.empty((3, channels), x.dtype),
        out=_columns(out, x.shape),
    )
    return stats


def _gradients(grad, x, weight, mean, invstd, training, out):
    """The gradient for x into `out`; the sums of grad and of grad * (x - mean)."""
    if not training or _inner(x.shape) < SHORT:
        sums = _gradient_sums(grad, x, mean)
        _input_gradient(grad, x, weight, mean, invstd, sums if training else None, out)
        return sums
    channels = x.shape[1]
    sums = np.empty((2, channels))
    _dispatch.kernel("batchnorm").backward(
        _columns(grad, x.shape),
        _columns(x, x.shape),
        filled(weight, 1, channels, x.dtype),
        mean.astype(x.dtype),
        invstd.astype(x.dtype),
        sums=sums,
        maps=np.empty((3, channels), x.dtype),
        out=_columns(out, x.shape),
    )
    return sums


def _gradient_sums(grad, x, mean):
    """Sums of grad and of grad * (x - mean) over every channel, in float64."""
    columns = _columns(x, x.shape)
    sums = np.empty((2, columns.shape[1]))
    _dispatch.kernel("batchnorm").gradient_sums(
        _columns(grad, x.shape), columns, *_spread(x, mean), out=sums
    )
    return sums.reshape(2, x.shape[1], -1).sum(axis=2)


def _input_gradient(grad, x, weight, mean, invstd, sums, out):
    """The gradient for x into `out`; `sums` is None where the statistics do not depend on x."""
    kernel = _dispatch.kernel("batchnorm")
    scale = invstd.astype(np.float64) * (1.0 if weight is None else weight)
    arrays = [_columns(a, x.shape) for a in (grad, x, out)]
    if sums is None:
        none = np.zeros_like(scale)
        kernel.normalize(arrays[0], *_spread(x, none, scale, none), out=arrays[2])
        return
    offset, slope = -scale * sums * (x.shape[1] / x.size)
    slope = slope * invstd.astype(np.float64) ** 2
    kernel.input_gradient(*arrays[:2], *_spread(x, mean, scale, slope, offset), out=arrays[2])


def filled(parameter, value, count, dtype):
    """A parameter as a kernel takes it, on one axis; `value` for each of `count` where missing."""
    if parameter is None:
        return np.full(count, value, dtype)
    return parameter.reshape(-1).astype(dtype, copy=False)


def _inner(shape):
    """Elements of a channel of one sample, which lie behind one another."""
    return math.prod(shape[2:])


def _columns(array, shape):
    """`array` as (N, C, inner), or as (N, C * inner, 1) where inner is short."""
    inner = _inner(shape)
    if inner < SHORT:
        return array.reshape(shape[0], shape[1] * inner, 1)
    return array.reshape(shape[0], shape[1], inner)


def _spread(x, *parameters):
    """Values per channel as the kernels take them: of the dtype of `x`, one per column."""
    inner = _inner(x.shape)
    with np.errstate(over="ignore", invalid="ignore"):
        parameters = [p.astype(x.dtype) for p in parameters]
    return [np.repeat(p, inner) if inner < SHORT else p for p in parameters]


def _inverse_deviation(var, eps):
    with np.errstate(divide="ignore", invalid="ignore"):
        return 1 / np.sqrt(var.astype(np.float64) + eps)


def scale_and_shift(mean, var, weight, bias, eps):
    """What normalising by these statistics multiplies every channel by and adds, in float64."""
    scale = (1.0 if weight is None else weight) / np.sqrt(var.astype(np.float64) + eps)
    return scale, (0.0 if bias is None else bias) - mean * scale


def move(running, new, momentum):
    """Move a running array, in place, towards `new`."""
    with np.errstate(over="ignore", invalid="ignore"):
        running[...] = (1 - momentum) * running.astype(np.float64) + momentum * new


def _device_batch_norm(x, mean, var, weight, bias, running, momentum, eps, out):
    """:func:`batch_norm` on a device, after its checks; `running` is None for inference."""
    kernel = _dispatch.kernel("batchnorm", x)
    lines = _lines(x)
    if running is not None:
        stats = x.empty((2, x.shape[1]), np.float64)
        kernel.moments(lines, out=stats)
        mean, var = stats.part(0), stats.part(1)
    kernel.normalize(lines, mean, var, weight, bias, eps, out=_lines(out))
    if running is not None and running[0] is not None:
        count = x.size // x.shape[1]
        cuda = _dispatch.cuda()
        moved = tuple(cuda.adopt(r) for r in running)
        kernel.move(stats, momentum, count / (count - 1), out=moved)
        for array in moved:
            cuda.deliver(array, array)


def _device_stats(x, eps):
    """:func:`batch_norm_stats` on a device."""
    kernel = _dispatch.kernel("batchnorm", x)
    channels = x.shape[1]
    result = x.empty((channels,), x.dtype), x.empty((channels,), x.dtype)
    stats = x.empty((2, channels), np.float64)
    kernel.moments(_lines(x), out=stats)
    kernel.inverse_deviations(stats, eps, out=result)
    return tuple(_check.deliver(r, r) for r in result)


def _device_backward(grad, x, weight, mean, invstd, training, dtype, out):
    """:func:`batch_norm_backward` on a device, after its checks."""
    kernel = _dispatch.kernel("batchnorm", x)
    channels = x.shape[1]
    gradients = x.empty((channels,), dtype), x.empty((channels,), dtype)
    sums = x.empty((2, channels), np.float64)
    scratch = _check.writable(out, x.dtype)
    kernel.gradient_sums(_lines(grad), _lines(x), mean, out=sums)
    kernel.parameter_gradients(sums, invstd, out=gradients)
    kernel.input_gradient(
        _lines(grad),
        _lines(x),
        weight,
        mean,
        invstd,
        sums if training else None,
        out=_lines(scratch),
    )
    return _check.deliver(scratch, out), *(_check.deliver(g, g) for g in gradients)


def _lines(array):
    """`array` as (N, C, inner)."""
    return array.reshape(*array.shape[:2], _inner(array.shape))


def checked_input(value, name):
    """`value` as an array with a batch axis, a channel axis and no empty spatial axis."""
    return _with_channels(_check.array(value, name), name)


def _anywhere(value, name, beside=None):
    """The same, where it may lie on a device."""
    return _with_channels(_check.anywhere(value, name, beside=beside), name)


def _with_channels(x, name):
    if x.ndim < 2:
        raise ValueError(f"{name} has shape {x.shape}; it must be (N, C) or (N, C, *spatial)")
    if 0 in x.shape[2:]:
        raise ValueError(f"{name} has shape {x.shape}; no spatial axis may be empty")
    return x


def checked_parameters(x, shape, **arrays):
    """The arrays, each of `shape` or None, of the dtype of `x` or all float32 for float16."""
    arrays = {k: None if a is None else _check.anywhere(a, k, beside=x) for k, a in arrays.items()}
    dtype = x.dtype
    if dtype == np.float16 and any(
        a is not None and a.dtype == np.float32 for a in arrays.values()
    ):
        dtype = np.dtype(np.float32)
    for name, a in arrays.items():
        if a is None:
            continue
        _check.shape(a, name, shape)
        if a.dtype != dtype:
            raise TypeError(f"{name} has dtype {a.dtype}; it must be {dtype} beside the others")
    return arrays.values()


def checked_running(given, **arrays):
    """The running arrays, in memory that can be written and that nothing else given shares."""
    for name, value in arrays.items():
        if value is None:
            continue
        if _dispatch.on_device(value):
            _check.device_writable(value, name, given)
            continue
        if not isinstance(value, np.ndarray) and hasattr(value, "__dlpack__"):
            value = arrays[name] = _check.readable(value, name)
        if not isinstance(value, np.ndarray):
            raise TypeError(
                f"{name} is a {type(value).__name__}; training updates it, so it must be an array"
            )
        if not value.flags.writeable:
            raise ValueError(f"{name} is read-only; training updates it, so it must be writeable")
        # `given` holds the array itself, so one argument shares its memory, and no more may.
        near = [o for o in given if o is not None and not _dispatch.on_device(o)]
        if sum(_check.overlap(value, o) for o in near) > 1:
            raise ValueError(f"{name} overlaps another argument; it must have memory of its own")
    return arrays.values()
