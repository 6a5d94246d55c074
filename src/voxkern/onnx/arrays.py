"""Operators of ONNX that NumPy does in a line or a few: elementwise ones, shapes, places, sums.

Functions as in :mod:`voxkern.onnx.windows`.
"""

import functools
import math

import numpy as np
import onnx


def unary(function):
    """An operator that is `function` of each element."""

    def run(node, inputs, empty):
        return function(inputs[0], out=empty(inputs[0].shape, inputs[0].dtype))

    return run


def binary(function):
    """An operator that is `function` of the elements of two arrays."""

    def run(node, inputs, empty):
        a, b = inputs
        if node.opset < 7 and "axis" in node.attributes:  # the axis of a where those of b start
            b = b.reshape(*b.shape, *(1,) * (a.ndim - node.get("axis") % a.ndim - b.ndim))
        return function(a, b, out=empty(np.broadcast_shapes(a.shape, b.shape), a.dtype))

    return run


def variadic(function):
    """An operator that is `function` of the elements of any number of arrays."""

    def run(node, inputs, empty):
        return functools.reduce(function, inputs) if len(inputs) > 1 else inputs[0].copy()

    return run


CHUNK = 1 << 15  # elements: a sum is in the cache when it is rectified


def relu(node, inputs, empty):
    x = np.ascontiguousarray(inputs[0])
    out = empty(x.shape, x.dtype)
    for part, to in _chunks(x, out):
        np.maximum(part, _zeros(x.dtype)[: part.size], out=to)
    return out


def add_relu(a, b, out):
    """The positive part of the sum of two contiguous arrays, in one pass; `out` may be one."""
    for first, second, to in _chunks(a, b, out):
        np.add(first, second, out=to)
        np.maximum(to, _zeros(out.dtype)[: to.size], out=to)
    return out


def _chunks(*contiguous):
    flat = [x.reshape(-1) for x in contiguous]
    for i in range(0, flat[0].size, CHUNK):
        yield [x[i : i + CHUNK] for x in flat]


@functools.cache
def _zeros(dtype):
    """What to compare with; with a number NumPy's maximum takes three times as long."""
    return np.zeros(CHUNK, dtype)


def identity(node, inputs, empty):
    return inputs[0]


def mean(node, inputs, empty):
    return functools.reduce(np.add, inputs) / inputs[0].dtype.type(len(inputs))


def cast(node, inputs, empty):
    return inputs[0].astype(onnx.helper.tensor_dtype_to_np_dtype(node.get("to")))


def shape(node, inputs, empty):
    span = slice(node.get("start", 0), node.get("end"))
    return np.array(inputs[0].shape[span], np.int64)


def reshape(node, inputs, empty):
    x = inputs[0]
    target = node.get("shape") if node.opset < 5 else inputs[1].tolist()
    if not node.get("allowzero", 0):
        target = [x.shape[i] if n == 0 else n for i, n in enumerate(target)]
    return x.reshape(target)


def flatten(node, inputs, empty):
    x, axis = inputs[0], node.get("axis", 1)
    axis += x.ndim if axis < 0 else 0
    return x.reshape(math.prod(x.shape[:axis]), math.prod(x.shape[axis:]))


def transpose(node, inputs, empty):
    return inputs[0].transpose(node.get("perm"))


def squeeze(node, inputs, empty):
    axes = axes_of(node, inputs, 13)
    return np.squeeze(inputs[0], None if axes is None else tuple(axes))


def unsqueeze(node, inputs, empty):
    return np.expand_dims(inputs[0], tuple(axes_of(node, inputs, 13)))


def axes_of(node, inputs, since):
    """The axes: an attribute, or from opset `since` the second input; None if left out."""
    if node.opset < since:
        return node.get("axes")
    axes = (*inputs, None)[1]
    return None if axes is None else axes.tolist()


def slice_(node, inputs, empty):
    x, *bounds = inputs
    if node.opset < 10:
        starts, ends, axes, steps = node.get("starts"), node.get("ends"), node.get("axes"), None
    else:
        bounds = [None if b is None else b.tolist() for b in bounds]
        starts, ends, axes, steps = (*bounds, None, None)[:4]
    axes = range(len(starts)) if axes is None else axes
    steps = (1,) * len(starts) if steps is None else steps
    places = [slice(None)] * x.ndim
    for axis, start, end, step in zip(axes, starts, ends, steps):
        places[axis] = slice(start, end, step)
    return x[tuple(places)]


def gather(node, inputs, empty):
    return np.take(inputs[0], inputs[1], node.get("axis", 0))


def concat(node, inputs, empty):
    axis = node.get("axis", 1)
    sizes = list(inputs[0].shape)
    sizes[axis] = sum(x.shape[axis] for x in inputs)
    return np.concatenate(inputs, axis, out=empty(tuple(sizes), inputs[0].dtype))


def split(node, inputs, empty):
    x, axis = inputs[0], node.get("axis", 0)
    sizes = node.get("split") if node.opset < 13 else (*inputs, None)[1]
    if sizes is None:
        part = -(-x.shape[axis] // len(node.outputs))
        return tuple(np.split(x, range(part, part * len(node.outputs), part), axis))
    return tuple(np.split(x, np.cumsum(sizes)[:-1], axis))


def reduce_mean(node, inputs, empty):
    x, axes = inputs[0], axes_of(node, inputs, 18)
    if not axes:
        if node.get("noop_with_empty_axes", 0):
            return x
        axes = range(x.ndim)
    return x.mean(tuple(axes), keepdims=bool(node.get("keepdims", 1)))


def pad(node, inputs, empty):
    x, mode = inputs[0], node.get("mode", "constant")
    if node.opset < 11:
        pads = node.get("pads", node.get("paddings"))
        value, axes = node.get("value", 0.0), None
    else:
        pads, value, axes = (*inputs[1:], None, None, None)[:3]
        value = 0 if value is None or not value.size else value.reshape(-1)[0]
    axes = range(x.ndim) if axes is None else axes.tolist()
    width = [(0, 0)] * x.ndim
    for axis, before, after in zip(axes, pads[: len(axes)], pads[len(axes) :]):
        width[axis] = int(before), int(after)
    options = {"constant_values": value} if mode == "constant" else {}
    return padded(x, width, mode, **options)


def padded(x, width, mode="constant", **options):
    """``numpy.pad``; by a negative number of elements, `x` without them."""
    if not any(map(any, width)):
        return x
    inside = [slice(max(-b, 0), n - max(-a, 0)) for (b, a), n in zip(width, x.shape)]
    width = [(max(b, 0), max(a, 0)) for b, a in width]
    x = x[tuple(inside)]
    return np.pad(x, width, mode, **options) if any(map(any, width)) else x


def top_k(node, inputs, empty):
    """Stable: of equal elements the first come first."""
    x, axis = inputs[0], node.get("axis", -1)
    k = node.get("k") if node.opset < 10 else int(inputs[1].reshape(-1)[0])
    n = x.shape[axis]
    if k > n:
        raise ValueError(f"K is {k}; axis {axis} has {n} elements")
    if node.get("largest", 1):
        order = n - 1 - np.flip(np.argsort(np.flip(x, axis), axis, kind="stable"), axis)
    else:
        order = np.argsort(x, axis, kind="stable")
    order = np.take(order, np.arange(k), axis)
    return np.take_along_axis(x, order, axis), order
