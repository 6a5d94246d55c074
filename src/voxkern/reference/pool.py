"""The oracles of pooling: every window's elements gathered along one axis, then reduced."""

import math
from functools import partial

import numpy as np

from voxkern.reference._shape import into, per_axis


def _regular(size, kernel_size, stride, padding, dilation, ceil_mode):
    """Per axis, the input's index of (window, tap); those outside of it lie in the padding."""
    positions = []
    for n, k, s, p, d in zip(size, kernel_size, stride, padding, dilation):
        room = n + 2 * p - d * (k - 1) - 1
        count = room // s + 1
        if ceil_mode and room % s and count * s < n + p:
            count += 1
        positions.append(np.arange(count)[:, None] * s - p + np.arange(k) * d)
    return positions


def _adaptive(size, counts):
    """The same for windows from floor(o*n/count) to ceil((o+1)*n/count); -1 where there is none."""
    positions = []
    for n, count in zip(size, counts):
        o = np.arange(count)[:, None]
        index = o * n // max(count, 1) + np.arange(n // max(count, 1) + 2)
        positions.append(np.where(index < -(-(o + 1) * n // max(count, 1)), index, -1))
    return positions


def _places(size, positions):
    """Flat index of (windows, taps), and whether it lies inside of the input."""
    axes, counts = len(size), [len(p) for p in positions]
    flat, inside = np.zeros((1,) * 2 * axes, np.int64), np.ones((1,) * 2 * axes, bool)
    for axis, (n, index) in enumerate(zip(size, positions)):
        shape = [1] * 2 * axes
        shape[axis], shape[axes + axis] = index.shape
        index = index.reshape(shape)
        flat = flat * n + index
        inside = inside & (index >= 0) & (index < n)
    taps = math.prod(index.shape[1] for index in positions)
    return flat.reshape(*counts, taps), inside.reshape(*counts, taps)


def _flat(x, axes):
    """The spatial axes as one."""
    return x.reshape(*x.shape[:-axes], math.prod(x.shape[-axes:]))


def _gather(x, positions, fill):
    """The elements of every window along a last axis, `fill` in the padding."""
    axes = len(positions)
    flat, inside = _places(x.shape[-axes:], positions)
    values = _flat(x, axes)[..., np.where(inside, flat, 0)]
    return np.where(inside, values, fill), flat, inside


def _scatter(grad, flat, inside, size):
    """The adjoint of the gathering: `grad` of (windows, taps) added up in the input's places."""
    lead = grad.shape[: grad.ndim - flat.ndim]
    result = np.zeros((math.prod(lead), math.prod(size)), grad.dtype)
    for channel, part in zip(result, grad.reshape(len(result), *flat.shape)):
        np.add.at(channel, flat[inside], part[inside])
    return result.reshape(*lead, *size)


def _largest(x, positions, return_indices, out):
    """Maxima, and the places that torch gives them: of equals the first, of NaNs the last."""
    values, flat, inside = _gather(x, positions, -np.inf)
    best = values.max(axis=-1, initial=-np.inf)
    if not return_indices:
        return into(out, best)
    first = (inside & (values == best[..., None])).argmax(axis=-1)
    last = values.shape[-1] - 1 - np.isnan(values)[..., ::-1].argmax(axis=-1)
    tap = np.where(np.isnan(best), last, first)
    indices = np.take_along_axis(np.broadcast_to(flat, values.shape), tap[..., None], -1)[..., 0]
    if out is None:
        return best, indices
    return into(out[0], best), into(out[1], indices)


def _window(x, axes, kernel_size, stride, padding=0, dilation=1):
    """The arguments, one per axis."""
    stride = kernel_size if stride is None else stride
    return x.shape[-axes:], *(per_axis(v, axes) for v in (kernel_size, stride, padding, dilation))


def _max_pool(
    axes,
    x,
    kernel_size,
    stride=None,
    padding=0,
    dilation=1,
    ceil_mode=False,
    return_indices=False,
    *,
    out=None,
):
    window = _window(x, axes, kernel_size, stride, padding, dilation)
    return _largest(x, _regular(*window, ceil_mode), return_indices, out)


def _adaptive_max_pool(axes, x, output_size, return_indices=False, *, out=None):
    counts = _counts(axes, x, output_size)
    return _largest(x, _adaptive(x.shape[-axes:], counts), return_indices, out)


def _counts(axes, x, output_size):
    size = x.shape[-axes:]
    return [n if o is None else o for n, o in zip(size, per_axis(output_size, axes))]


def _max_pool_backward(axes, grad, indices, input_size, *, out=None):
    size = per_axis(input_size, axes)
    result = np.zeros((*grad.shape[:-axes], math.prod(size)), grad.dtype)
    if (indices < 0).any():
        raise IndexError("negative indices")
    for place in np.ndindex(grad.shape[:-axes]):
        np.add.at(result[place], indices[place].ravel(), grad[place].ravel())
    return into(out, result.reshape(*grad.shape[:-axes], *size))


def _divisor(positions, size, padding, count_include_pad, divisor_override):
    """What every window's sum is divided by: an axis at a time, as windows are boxes."""
    if divisor_override is not None:
        return divisor_override
    counts = []
    for n, p, index in zip(size, padding, positions):
        p = p if count_include_pad else 0
        counts.append(((index >= -p) & (index < n + p)).sum(axis=1))
    return math.prod(np.ix_(*counts))


def _avg_pool(
    axes,
    x,
    kernel_size,
    stride=None,
    padding=0,
    ceil_mode=False,
    count_include_pad=True,
    divisor_override=None,
    *,
    out=None,
):
    window = _window(x, axes, kernel_size, stride, padding)
    positions = _regular(*window, ceil_mode)
    divisor = _divisor(positions, window[0], window[3], count_include_pad, divisor_override)
    return into(out, _gather(x, positions, 0)[0].sum(axis=-1) / divisor)


def _avg_pool_backward(
    axes,
    grad,
    input_size,
    kernel_size,
    stride=None,
    padding=0,
    ceil_mode=False,
    count_include_pad=True,
    divisor_override=None,
    *,
    out=None,
):
    like = np.empty((*grad.shape[:-axes], *per_axis(input_size, axes)), np.bool_)
    window = _window(like, axes, kernel_size, stride, padding)
    positions = _regular(*window, ceil_mode)
    divisor = _divisor(positions, window[0], window[3], count_include_pad, divisor_override)
    flat, inside = _places(window[0], positions)
    share = np.broadcast_to((grad / divisor)[..., None], (*grad.shape, flat.shape[-1]))
    return into(out, _scatter(share, flat, inside, window[0]))


def _lp_pool(axes, x, norm_type, kernel_size, stride=None, ceil_mode=False, *, out=None):
    taps = math.prod(per_axis(kernel_size, axes))
    if norm_type == np.inf:
        return _max_pool(axes, np.abs(x), kernel_size, stride, ceil_mode=ceil_mode, out=out)
    if norm_type == -np.inf:
        least = _max_pool(axes, -np.abs(x), kernel_size, stride, ceil_mode=ceil_mode)
        return into(out, -least)
    with np.errstate(all="ignore"):
        mean = _avg_pool(axes, x**norm_type, kernel_size, stride, 0, ceil_mode)
        return into(out, (mean * taps) ** (1 / norm_type))


def _lp_pool_backward(
    axes, grad, x, norm_type, kernel_size, stride=None, ceil_mode=False, *, out=None
):
    size = x.shape[-axes:]
    if np.isinf(norm_type):
        sign = np.sign(norm_type)
        _, indices = _max_pool(
            axes, sign * np.abs(x), kernel_size, stride, 0, 1, ceil_mode, return_indices=True
        )
        return into(out, np.sign(x) * _max_pool_backward(axes, grad, indices, size))
    taps = math.prod(per_axis(kernel_size, axes))
    with np.errstate(all="ignore"):
        total = _avg_pool(axes, x**norm_type, kernel_size, stride, 0, ceil_mode) * taps
        share = np.where(total == 0, 0, grad * taps * total ** (1 / norm_type - 1))
        share = _avg_pool_backward(axes, share, size, kernel_size, stride, 0, ceil_mode)
        return into(out, share * x ** (norm_type - 1))


def _adaptive_avg_pool(axes, x, output_size, *, out=None):
    values, _, inside = _gather(x, _adaptive(x.shape[-axes:], _counts(axes, x, output_size)), 0)
    return into(out, values.sum(axis=-1) / inside.sum(axis=-1))


def _adaptive_avg_pool_backward(axes, grad, input_size, *, out=None):
    size = per_axis(input_size, axes)
    flat, inside = _places(size, _adaptive(size, grad.shape[-axes:]))
    share = (grad / inside.sum(axis=-1))[..., None]
    share = np.broadcast_to(share, (*grad.shape, flat.shape[-1]))
    return into(out, _scatter(share, flat, inside, size))


def global_avg_pool(x, *, out=None):
    """Oracle of :func:`voxkern.global_avg_pool`."""
    return into(out, x.mean(axis=tuple(range(2, x.ndim)), keepdims=True))


def global_avg_pool_backward(grad, input_size, *, out=None):
    """Oracle of :func:`voxkern.global_avg_pool_backward`."""
    shape = (*grad.shape[:2], *per_axis(input_size, grad.ndim - 2))
    return into(out, np.broadcast_to(grad / np.prod(shape[2:]), shape).copy())


def global_max_pool(x, *, out=None):
    """Oracle of :func:`voxkern.global_max_pool`."""
    return into(out, x.max(axis=tuple(range(2, x.ndim)), keepdims=True))


def global_max_pool_backward(grad, x, *, out=None):
    """Oracle of :func:`voxkern.global_max_pool_backward`."""
    axes = x.ndim - 2
    _, indices = _adaptive_max_pool(axes, x, 1, return_indices=True)
    return into(out, _max_pool_backward(axes, grad, indices, x.shape[2:]))


def _max_unpool(
    axes, x, indices, kernel_size, stride=None, padding=0, output_size=None, *, out=None
):
    size, kernel_size, stride, padding, _ = _window(x, axes, kernel_size, stride, padding)
    default = [(n - 1) * s - 2 * p + k for n, k, s, p in zip(size, kernel_size, stride, padding)]
    size = default if output_size is None else tuple(output_size)[-axes:]
    result = np.zeros((*x.shape[:-axes], math.prod(size)), x.dtype)
    for place in np.ndindex(x.shape[:-axes]):
        for index, value in zip(indices[place].flat, x[place].flat):
            result[place][index] = value
    return into(out, result.reshape(*x.shape[:-axes], *size))


def _max_unpool_backward(axes, grad, indices, *, out=None):
    taken = np.take_along_axis(_flat(grad, axes), _flat(indices, axes), axis=-1)
    return into(out, taken.reshape(indices.shape))


# Each is one function for any number of axes, which its name fixes.
max_pool1d, max_pool2d, max_pool3d = (partial(_max_pool, axes) for axes in (1, 2, 3))
avg_pool1d, avg_pool2d, avg_pool3d = (partial(_avg_pool, axes) for axes in (1, 2, 3))
lp_pool1d, lp_pool2d, lp_pool3d = (partial(_lp_pool, axes) for axes in (1, 2, 3))
max_unpool1d, max_unpool2d, max_unpool3d = (partial(_max_unpool, axes) for axes in (1, 2, 3))
adaptive_avg_pool1d, adaptive_avg_pool2d, adaptive_avg_pool3d = (
    partial(_adaptive_avg_pool, axes) for axes in (1, 2, 3)
)
adaptive_max_pool1d, adaptive_max_pool2d, adaptive_max_pool3d = (
    partial(_adaptive_max_pool, axes) for axes in (1, 2, 3)
)
max_pool1d_backward, max_pool2d_backward, max_pool3d_backward = (
    partial(_max_pool_backward, axes) for axes in (1, 2, 3)
)
avg_pool1d_backward, avg_pool2d_backward, avg_pool3d_backward = (
    partial(_avg_pool_backward, axes) for axes in (1, 2, 3)
)
lp_pool1d_backward, lp_pool2d_backward, lp_pool3d_backward = (
    partial(_lp_pool_backward, axes) for axes in (1, 2, 3)
)
adaptive_avg_pool1d_backward, adaptive_avg_pool2d_backward, adaptive_avg_pool3d_backward = (
    partial(_adaptive_avg_pool_backward, axes) for axes in (1, 2, 3)
)
adaptive_max_pool1d_backward, adaptive_max_pool2d_backward, adaptive_max_pool3d_backward = (
    partial(_max_pool_backward, axes) for axes in (1, 2, 3)
)
max_unpool1d_backward, max_unpool2d_backward, max_unpool3d_backward = (
    partial(_max_unpool_backward, axes) for axes in (1, 2, 3)
)
