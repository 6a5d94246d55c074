"""Operators of ONNX that move windows over 1 to 3 spatial axes: convolution, pooling, resizing.

A function takes a :class:`~voxkern.onnx.operators.Node`, the arrays of its inputs (None where one
is left out) and `empty(shape, dtype)`, which gives memory for a result.
"""

import functools
import math

import numpy as np

from voxkern import _check, conv, pool, window
from voxkern.im2col import col2im as fold
from voxkern.onnx.arrays import padded
from voxkern.upsample import resampled

MOST_KNOWN = 16  # shapes that a convolution remembers
CONVOLUTIONS = {1: conv.conv1d, 2: conv.conv2d, 3: conv.conv3d}
TRANSPOSED = {1: conv.conv_transpose1d, 2: conv.conv_transpose2d, 3: conv.conv_transpose3d}
MAX_POOLS = {1: pool.max_pool1d, 2: pool.max_pool2d, 3: pool.max_pool3d}
AVG_POOLS = {1: pool.avg_pool1d, 2: pool.avg_pool2d, 3: pool.avg_pool3d}
LP_POOLS = {1: pool.lp_pool1d, 2: pool.lp_pool2d, 3: pool.lp_pool3d}
UNPOOLS = {1: pool.max_unpool1d, 2: pool.max_unpool2d, 3: pool.max_unpool3d}


class Convolution:
    """A Conv whose weights are known: plans for the paddings that its calls need, one as a rule."""

    def __init__(self, node, weight, bias, activation):
        self.node, self.kernel_size = node, weight.shape[2:]
        self.outputs = len(weight)
        fixed = {"groups": node.get("group", 1), "activation": activation}
        self.plan = functools.lru_cache(4)(functools.partial(conv.ConvPlan, weight, bias, **fixed))
        self.known = {}  # by shapes of x, of which there are few: plans, what to pad, the result

    def __call__(self, node, inputs, empty):
        x = inputs[0]
        plan, extra, result = self._know(x.shape)
        return (plan(_padded(x, extra, 0) if extra else x, empty(result, x.dtype)),)

    def add(self, x, out):
        """Add to what `out` holds, before the activation: one that :func:`is_pointwise`."""
        return self._know(x.shape)[0].add(x, out)

    def result(self, x):
        """Shape of the result."""
        return self._know(x.shape)[-1]

    def _know(self, x):
        found = self.known.get(x)
        if found is not None:
            return found
        stride, dilation, pairs = _arguments(self.node, x[2:], self.kernel_size)
        count = window.output_size(x[2:], self.kernel_size, stride, pairs, dilation)
        common, extra = _split(pairs)
        plan = self.plan(stride=stride, padding=common, dilation=dilation)
        if len(self.known) == MOST_KNOWN:
            self.known.clear()
        found = plan, extra if any(map(any, extra)) else None, (x[0], self.outputs, *count)
        self.known[x] = found
        return found


def is_pointwise(node, weight):
    """Whether every element of the result follows from the one at its place."""
    moved = any(node.get("pads", ())) or any(s != 1 for s in node.get("strides", ()))
    return math.prod(weight.shape[2:]) == 1 and not moved


def conv_(node, inputs, empty):
    x, weight, bias = (*inputs, None)[:3]
    stride, dilation, pairs = _arguments(node, x.shape[2:], weight.shape[2:])
    common, extra = _split(pairs)
    x = _padded(x, extra, 0)
    groups = node.get("group", 1)
    return CONVOLUTIONS[x.ndim - 2](x, weight, bias, stride, common, dilation, groups)


def conv_transpose(node, inputs, empty):
    x, weight, bias = (*inputs, None)[:3]
    axes = x.ndim - 2
    stride, dilation = _per_axis(node, "strides", axes), _per_axis(node, "dilations", axes)
    more = node.get("output_padding", (0,) * axes)
    spans = window.extent(weight.shape[2:], dilation)
    full = [(n - 1) * s + e + o for n, s, e, o in zip(x.shape[2:], stride, spans, more)]
    pairs = _cropped(node, x.shape[2:], stride, full)
    common, extra = _split(pairs)
    common = [max(c, 0) for c in common]
    extra = [(b - c, a - c) for (b, a), c in zip(pairs, common)]
    outside = min(map(min, extra)) < 0  # a larger output_shape: nothing but the bias reaches there
    y = TRANSPOSED[axes](
        x,
        weight,
        None if outside else bias,
        stride,
        tuple(common),
        tuple(more),
        node.get("group", 1),
        dilation,
    )
    y = _padded(y, [(-b, -a) for b, a in extra], 0)
    if outside and bias is not None:
        y += bias.reshape(-1, *(1,) * axes)
    return np.ascontiguousarray(y)


def _cropped(node, size, stride, full):
    """What is cut off the full result of a transposed convolution, before and after each axis."""
    axes, mode = len(size), _auto_pad(node)
    shape = node.get("output_shape")
    if shape is None and mode.startswith("SAME"):
        shape = [n * s for n, s in zip(size, stride)]
    if shape is None:
        return pads_of(node, axes)
    totals = [f - n for f, n in zip(full, shape[-axes:])]
    halves = [max(t, 0) // 2 for t in totals]
    first = [h if mode == "SAME_UPPER" else max(t, 0) - h for t, h in zip(totals, halves)]
    return [(b, t - b) for b, t in zip(first, totals)]


def max_pool(node, inputs, empty):
    x = given = inputs[0]
    places = len(node.outputs) > 1 and bool(node.outputs[1])
    if given.dtype.kind in "iu":  # of 8 bits: exact in float32
        x = given.astype(np.float32)
    kernel, stride, dilation, pairs, count = _windows(node, x)
    axes = len(kernel)
    common, extra = _split(pairs)
    direct = not any(map(any, extra)) and all(2 * c <= k for c, k in zip(common, kernel))
    ceil = _rounds_up(node) and direct
    if not direct:
        extra = _reached(x, kernel, stride, dilation, pairs, count)
        x, common = _padded(x, extra, -np.inf), 0
    out = empty((*x.shape[:2], *count), x.dtype)
    if places:
        out = out, empty(out.shape, np.int64)
    result = MAX_POOLS[axes](x, kernel, stride, common, dilation, ceil, places, out=out)
    if not places:
        return result.astype(given.dtype, copy=False)
    largest, indices = result
    if not direct:
        indices = _without_padding(indices, x.shape[2:], given.shape[2:], extra)
    indices = _flat(indices, given.shape, bool(node.get("storage_order", 0)))
    return largest.astype(given.dtype, copy=False), indices


def _without_padding(indices, padded, size, extra):
    """Places in a padded channel as those in the channel; those in the padding go to its edge."""
    places = np.unravel_index(indices, padded)
    inside = [np.clip(p - b, 0, n - 1) for p, (b, _), n in zip(places, extra, size)]
    return np.ravel_multi_index(inside, size)


def _flat(indices, shape, column_major):
    """Places in a channel as those in the tensor, of one or the other order within a channel."""
    size = shape[2:]
    if column_major:
        indices = np.ravel_multi_index(np.unravel_index(indices, size), size, order="F")
    channels = np.arange(math.prod(shape[:2])) * math.prod(size)
    return indices + channels.reshape(*shape[:2], *(1,) * len(size))


def average_pool(node, inputs, empty):
    x = inputs[0]
    kernel, stride, dilation, pairs, count = _windows(node, x)
    axes = len(kernel)
    common, extra = _split(pairs)
    include = bool(node.get("count_include_pad", 0))
    direct = not any(map(any, extra)) and all(2 * c <= k for c, k in zip(common, kernel))
    if direct and set(dilation) == {1}:
        ceil, out = _rounds_up(node), empty((*x.shape[:2], *count), x.dtype)
        return AVG_POOLS[axes](x, kernel, stride, common, ceil, include, out=out)
    sums = _sums(x.astype(np.float32) if x.dtype == np.float16 else x, node)
    for axis, n in enumerate(x.shape[2:]):
        before, after = pairs[axis]
        taps = np.arange(count[axis])[:, None] * stride[axis] - before
        taps = taps + np.arange(kernel[axis]) * dilation[axis]
        low, high = (-before, n + after) if include else (0, n)
        inside = ((low <= taps) & (taps < high)).sum(1).astype(sums.dtype)
        sums /= inside.reshape(-1, *(1,) * (axes - 1 - axis))
    return sums.astype(x.dtype, copy=False)


def lp_pool(node, inputs, empty):
    x, p = inputs[0], float(node.get("p", 2))
    kernel, stride, dilation, pairs, count = _windows(node, x)
    if set(dilation) == {1}:
        extra = _reached(x, kernel, stride, dilation, pairs, count)
        return LP_POOLS[len(kernel)](np.abs(_padded(x, extra, 0)), p, kernel, stride)
    powers = np.abs(x.astype(np.float32) if x.dtype == np.float16 else x) ** p
    return (_sums(powers, node) ** (1 / p)).astype(x.dtype, copy=False)


def _sums(x, node):
    """The sum of every window: dilated windows as a convolution of every channel with ones."""
    kernel, stride, dilation, pairs, count = _windows(node, x)
    x = _padded(x, _reached(x, kernel, stride, dilation, pairs, count), 0)
    axes = len(kernel)
    if set(dilation) == {1}:
        return AVG_POOLS[axes](x, kernel, stride, divisor_override=1)
    alone = x.reshape(math.prod(x.shape[:2]), 1, *x.shape[2:])
    sums = CONVOLUTIONS[axes](alone, np.ones((1, 1, *kernel), x.dtype), None, stride, 0, dilation)
    return sums.reshape(*x.shape[:2], *count)


def max_unpool(node, inputs, empty):
    x, indices, shape = (*inputs, None)[:3]
    axes = x.ndim - 2
    kernel, stride = tuple(node.get("kernel_shape")), _per_axis(node, "strides", axes)
    pairs = pads_of(node, axes)
    ends = [b + a for b, a in pairs]
    size = [(n - 1) * s + k - e for n, s, k, e in zip(x.shape[2:], stride, kernel, ends)]
    if min(size) < 1:
        raise ValueError(f"pads {pairs} leave an output of size {tuple(size)}")
    channels = np.arange(math.prod(x.shape[:2])) * math.prod(size)
    indices = indices - channels.reshape(*x.shape[:2], *(1,) * axes)
    y = UNPOOLS[axes](x, indices, kernel, stride, tuple(e // 2 for e in ends), tuple(size))
    if shape is None:
        return y
    extra = [(0, int(n) - m) for n, m in zip(shape[2:], size)]
    if min(map(min, extra)) < 0:
        raise ValueError(f"output_shape {tuple(shape)} is smaller than {y.shape}")
    return _padded(y, extra, 0)


def global_average_pool(node, inputs, empty):
    return pool.global_avg_pool(inputs[0])


def global_max_pool(node, inputs, empty):
    return pool.global_max_pool(inputs[0])


def global_lp_pool(node, inputs, empty):
    x = inputs[0]
    return LP_POOLS[x.ndim - 2](np.abs(x), float(node.get("p", 2)), x.shape[2:])


def col2im(node, inputs, empty):
    cols, size, kernel = inputs[0], inputs[1].tolist(), inputs[2].tolist()
    axes = len(kernel)
    stride, dilation = _per_axis(node, "strides", axes), _per_axis(node, "dilations", axes)
    pairs = pads_of(node, axes)
    padded = [n + b + a for n, (b, a) in zip(size, pairs)]
    y = fold(cols, padded, kernel, stride, 0, dilation)
    return np.ascontiguousarray(_padded(y, [(-b, -a) for b, a in pairs], 0))


def resize(node, inputs, empty):
    """Resize from 11, and Resize of 10 and Upsample, whose scales come second or as an attribute.

    :func:`voxkern.upsample` with the other ways of ONNX to place the elements.
    """
    x = inputs[0]
    taps = {}
    for axis, scale, size in zip(*_scales(node, x, inputs)):
        if scale != 1 or size != x.shape[axis]:
            place = _coordinates(node, x.shape[axis], scale, size)
            taps[axis] = _taps(node, x.shape[axis], place)
    axes = min(3, x.ndim)
    if x.dtype.kind == "f" and x.size and min(taps, default=0) >= x.ndim - axes:
        last = [taps.get(a, _every(x.shape[a])) for a in range(x.ndim - axes, x.ndim)]
        sizes = [len(near) for near, _, _ in last]
        out = empty((*x.shape[:-axes], *sizes), x.dtype)
        planes = x.reshape(-1, 1, *x.shape[-axes:]), out.reshape(-1, 1, *sizes)
        resampled("enlarge", planes[0], last, planes[1])
        return out
    for axis, (near, far, weight) in taps.items():
        x = _mixed(x, axis, near, far, weight)
    return x


def _every(n):
    places = np.arange(n, dtype=np.int32)
    return places, places, None


def _mixed(x, axis, near, far, weight):
    """The elements of an axis at `near`, and those at `far` where they have a weight."""
    first = np.take(x, near, axis)
    if weight is None:
        return first
    weight = weight.astype(_check.computed(x)[0].dtype).reshape(-1, *(1,) * (x.ndim - axis - 1))
    return (first * (1 - weight) + np.take(x, far, axis) * weight).astype(x.dtype, copy=False)


def _scales(node, x, inputs):
    """Axes, how much each grows, and to what size."""
    axes = [a % x.ndim for a in node.get("axes", range(x.ndim))]
    scales, sizes = node.get("scales"), None
    if node.op_type == "Resize" and node.opset >= 11:
        _, _, scales, sizes = (*inputs, None, None, None)[:4]
    elif scales is None:
        scales = inputs[1]
    if sizes is None or not sizes.size:
        scales = np.asarray(scales, np.float32)  # and coordinates are computed in it
        return axes, scales, [math.floor(s * x.shape[a]) for s, a in zip(scales, axes)]
    scales = [int(n) / x.shape[a] for n, a in zip(sizes, axes)]
    policy = node.get("keep_aspect_ratio_policy", "stretch")
    if policy == "stretch":
        return axes, scales, [int(n) for n in sizes]
    scale = min(scales) if policy == "not_larger" else max(scales)
    sizes = [math.floor(scale * x.shape[a] + 0.5) for a in axes]
    return axes, [scale] * len(axes), sizes


def _coordinates(node, n, scale, size):
    """Where each element of the result lies on an axis of `n` elements."""
    default = "half_pixel" if node.op_type == "Resize" and node.opset >= 11 else "asymmetric"
    mode = node.get("coordinate_transformation_mode", default)
    k = np.arange(size, dtype=np.result_type(scale))
    if mode == "asymmetric":
        return k / scale
    if mode == "align_corners":  # the width is that before it is rounded down
        return k * (n - 1) / (scale * n - 1) if scale * n != 1 else np.zeros(1)
    if mode == "pytorch_half_pixel" and size == 1:
        return np.zeros(1)
    place = (k + 0.5) / scale - 0.5
    if mode == "half_pixel_symmetric":
        place += n / 2 * (1 - size / (scale * n))
    return place


COORDINATES = {"half_pixel", "half_pixel_symmetric", "pytorch_half_pixel"}
COORDINATES |= {"align_corners", "asymmetric"}
POLICIES = {"stretch", "not_larger", "not_smaller"}
ROUNDED = {
    "round_prefer_floor": lambda place: np.ceil(place - 0.5),
    "round_prefer_ceil": lambda place: np.floor(place + 0.5),
    "floor": np.floor,
    "ceil": np.ceil,
}


def _taps(node, n, place):
    """Places of the elements before and after `place`, and the weight of the latter."""
    last = n - 1
    if node.get("mode", "nearest") == "nearest":
        default = "round_prefer_floor" if node.op_type == "Resize" and node.opset >= 11 else "floor"
        near = ROUNDED[node.get("nearest_mode", default)](place)
        near = np.clip(near, 0, last).astype(np.int32)
        return near, near, None
    near = np.floor(place)
    ends = (np.clip(v, 0, last).astype(np.int32) for v in (near, near + 1))
    return *ends, place - near


# --- window arguments -----------------------------------------------------------------------------


def _per_axis(node, name, axes):
    return tuple(node.get(name, (1,) * axes))


def pads_of(node, axes):
    """Padding in pairs, of as many axes."""
    pads = node.get("pads", (0,) * 2 * axes)
    return tuple(zip(pads[:axes], pads[axes:]))


def _auto_pad(node):
    mode = node.get("auto_pad") or "NOTSET"
    if mode not in ("NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"):
        raise ValueError(f"auto_pad is {mode!r}; it may be NOTSET, VALID, SAME_UPPER or SAME_LOWER")
    return mode


def _arguments(node, size, kernel):
    """Stride, dilation and padding in pairs."""
    axes = len(kernel)
    stride, dilation = _per_axis(node, "strides", axes), _per_axis(node, "dilations", axes)
    mode = _auto_pad(node)
    if mode == "NOTSET":
        return stride, dilation, pads_of(node, axes)
    if mode == "VALID":
        return stride, dilation, ((0, 0),) * axes
    pairs = window.covering(size, kernel, stride, dilation)
    if mode == "SAME_LOWER":
        pairs = tuple((after, before) for before, after in pairs)
    return stride, dilation, pairs


def _windows(node, x):
    """Kernel, stride, dilation, padding in pairs, and the number of windows per axis, of a pool."""
    kernel = tuple(node.get("kernel_shape"))
    stride, dilation, pairs = _arguments(node, x.shape[2:], kernel)
    count = window.output_size(x.shape[2:], kernel, stride, pairs, dilation, _rounds_up(node))
    return kernel, stride, dilation, pairs, count


def _rounds_up(node):
    """Whether a last window may reach past the end; padding that is chosen leaves none to do so."""
    return bool(node.get("ceil_mode", 0)) and _auto_pad(node) == "NOTSET"


def _reached(x, kernel, stride, dilation, pairs, count):
    """Padding in pairs after which the last window ends with `x`; negative where it ends before."""
    spans = window.extent(kernel, dilation)
    ends = [(c - 1) * s + e for c, s, e in zip(count, stride, spans)]
    return [(b, e - n - b) for (b, _), e, n in zip(pairs, ends, x.shape[2:])]


def _split(pairs):
    """Padding in pairs as what both sides have and what is left, which they have not."""
    common = tuple(min(pair) for pair in pairs)
    return common, tuple((b - c, a - c) for (b, a), c in zip(pairs, common))


def _padded(x, extra, value):
    """`x` with so much of `value` around its spatial axes."""
    return padded(x, [(0, 0), (0, 0), *extra], constant_values=value)
