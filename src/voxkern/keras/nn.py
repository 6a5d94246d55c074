"""Operations of Keras' backends, with their arguments, on our kernels.

Keras pads ``"same"`` as TensorFlow does: as many zeros as ``ceil(n / stride)`` windows need, the
larger half after. Tensors in ``channels_last`` are views for our kernels, and so are results: a
convolution reads what the one before wrote without a copy.
"""

import functools

import numpy as np
from keras.src import backend

import voxkern
from voxkern import _check, window
from voxkern.conv import conv_padded

__all__ = [
    "adaptive_average_pool",
    "adaptive_max_pool",
    "average_pool",
    "batch_normalization",
    "conv",
    "conv_transpose",
    "depthwise_conv",
    "max_pool",
    "separable_conv",
]

TRANSPOSED = {
    1: voxkern.conv_transpose1d,
    2: voxkern.conv_transpose2d,
    3: voxkern.conv_transpose3d,
}
MAX_POOL = {1: voxkern.max_pool1d, 2: voxkern.max_pool2d, 3: voxkern.max_pool3d}
AVG_POOL = {1: voxkern.avg_pool1d, 2: voxkern.avg_pool2d, 3: voxkern.avg_pool3d}
ADAPTIVE_MAX_POOL = {
    1: voxkern.adaptive_max_pool1d,
    2: voxkern.adaptive_max_pool2d,
    3: voxkern.adaptive_max_pool3d,
}
ADAPTIVE_AVG_POOL = {
    1: voxkern.adaptive_avg_pool1d,
    2: voxkern.adaptive_avg_pool2d,
    3: voxkern.adaptive_avg_pool3d,
}


def conv(inputs, kernel, strides=1, padding="valid", data_format=None, dilation_rate=1):
    """``keras.ops.conv``: `kernel` is ``(*kernel_size, channels / groups, filters)``."""
    x, kernel, restored = _arrays(inputs, kernel, data_format)
    if 0 in kernel.shape or x.shape[1] % kernel.shape[-2]:
        raise ValueError(
            f"kernel has shape {kernel.shape}; its channels must divide the {x.shape[1]} of inputs"
        )
    weight = kernel.transpose(-1, -2, *range(kernel.ndim - 2))
    return restored(_conv(x, weight, strides, padding, dilation_rate))


def depthwise_conv(inputs, kernel, strides=1, padding="valid", data_format=None, dilation_rate=1):
    """``keras.ops.depthwise_conv``: `kernel` is ``(*kernel_size, channels, multiplier)``."""
    x, kernel, restored = _arrays(inputs, kernel, data_format)
    _fitting(x, kernel.shape[-2])
    *size, channels, multiplier = kernel.shape
    weight = kernel.reshape(*size, channels * multiplier, 1).transpose(-2, -1, *range(len(size)))
    return restored(_conv(x, weight, strides, padding, dilation_rate))


def separable_conv(
    inputs,
    depthwise_kernel,
    pointwise_kernel,
    strides=1,
    padding="valid",
    data_format=None,
    dilation_rate=1,
):
    """``keras.ops.separable_conv``: a depthwise convolution and one of kernel size 1."""
    x = depthwise_conv(inputs, depthwise_kernel, strides, padding, data_format, dilation_rate)
    return conv(x, pointwise_kernel, data_format=data_format)


def conv_transpose(
    inputs,
    kernel,
    strides=1,
    padding="valid",
    output_padding=None,
    data_format=None,
    dilation_rate=1,
):
    """``keras.ops.conv_transpose``: `kernel` is ``(*kernel_size, filters, channels)``."""
    x, kernel, restored = _arrays(inputs, kernel, data_format)
    _fitting(x, kernel.shape[-1])
    axes = x.ndim - 2
    stride = _check.per_axis(strides, "strides", axes, 1)
    dilation = _check.per_axis(dilation_rate, "dilation_rate", axes, 1)
    spans = window.extent(kernel.shape[:-2], dilation)
    crops = _crops(_mode(padding), spans, stride, output_padding)
    common = tuple(max(0, min(pair)) for pair in crops)
    weight = kernel.transpose(-1, -2, *range(axes))
    y = TRANSPOSED[axes](x, weight, None, stride, common, 0, 1, dilation)
    rest = [(b - c, a - c) for (b, a), c in zip(crops, common)]
    kept = [slice(max(b, 0), n - max(a, 0)) for (b, a), n in zip(rest, y.shape[2:])]
    y = _padded(y[:, :, *kept], [(max(-b, 0), max(-a, 0)) for b, a in rest], 0)
    return restored(y)


def max_pool(inputs, pool_size, strides=None, padding="valid", data_format=None):
    """``keras.ops.max_pool``; windows that reach beyond the edges see what lies inside."""
    x, restored = _first(inputs, data_format)
    size, stride, pairs = _windows(x, pool_size, strides, padding)
    common, pairs = _split(pairs, size)
    y = MAX_POOL[x.ndim - 2](_padded(x, pairs, -np.inf), size, stride, common)
    return restored(y)


def average_pool(inputs, pool_size, strides=None, padding="valid", data_format=None):
    """``keras.ops.average_pool``: means of what lies inside."""
    x, restored = _first(inputs, data_format)
    size, stride, pairs = _windows(x, pool_size, strides, padding)
    common, rest = _split(pairs, size)
    pool = AVG_POOL[x.ndim - 2]
    if not any(map(any, rest)):
        return restored(pool(x, size, stride, common, count_include_pad=False))
    y = pool(_padded(x, rest, 0), size, stride, divisor_override=1)
    y /= _inside(x.shape[2:], y.shape[2:], size, stride, pairs)
    return restored(y)


def adaptive_max_pool(inputs, output_size, data_format=None):
    """``keras.ops.adaptive_max_pool``."""
    x, restored = _first(inputs, data_format)
    return restored(ADAPTIVE_MAX_POOL[x.ndim - 2](x, output_size))


def adaptive_average_pool(inputs, output_size, data_format=None):
    """``keras.ops.adaptive_average_pool``."""
    x, restored = _first(inputs, data_format)
    return restored(ADAPTIVE_AVG_POOL[x.ndim - 2](x, output_size))


def batch_normalization(x, mean, variance, axis, offset=None, scale=None, epsilon=1e-3):
    """Normalise the channels along `axis` with a mean and a variance of each."""
    x, *statistics = [v if v is None else np.asarray(v) for v in (x, mean, variance, scale, offset)]
    dtype = np.result_type(x, *(s for s in statistics if s is not None))
    x, *statistics = [v if v is None else _floats(v, dtype) for v in (x, *statistics)]
    axis = range(x.ndim)[axis]
    rows = axis == x.ndim - 1 and x.flags.c_contiguous
    first = x.reshape(-1, x.shape[-1]) if rows else np.moveaxis(x, axis, 1)
    y = voxkern.batch_norm(first, *statistics, eps=epsilon)
    y = y.reshape(x.shape) if rows else np.moveaxis(y, 1, axis)
    return y.astype(dtype, copy=False)


# --- arguments ------------------------------------------------------------------------------------


def _arrays(inputs, kernel, data_format):
    """`inputs` with the channels first, `kernel`, and what makes Keras' result of ours."""
    kernel = np.asarray(kernel)
    dtype = np.result_type(np.asarray(inputs), kernel)
    x, restored = _first(inputs, data_format, dtype)
    if kernel.ndim != x.ndim:
        raise ValueError(f"kernel has shape {kernel.shape}; it must have {x.ndim} axes, as inputs")
    return x, _floats(kernel, dtype), restored


def _first(inputs, data_format, dtype=None):
    """`inputs` with the channels first, and what makes Keras' result of ours."""
    x = np.asarray(inputs)
    if x.ndim not in (3, 4, 5):
        raise ValueError(f"inputs has shape {x.shape}; it must have 3 to 5 axes")
    last = backend.standardize_data_format(data_format) == "channels_last"
    dtype = x.dtype if dtype is None else dtype
    x = np.moveaxis(x, -1, 1) if last else x
    return _floats(x, dtype), functools.partial(_restored, dtype=dtype, last=last)


def _floats(array, dtype):
    """An array in the type it is computed in: bfloat16, which NumPy lacks, in float32."""
    return array.astype(np.float32 if dtype.name == "bfloat16" else dtype, copy=False)


def _restored(y, dtype, last):
    y = y.astype(dtype, copy=False)
    return np.moveaxis(y, 1, -1) if last else y


def _fitting(x, channels):
    if x.shape[1] != channels:
        raise ValueError(f"inputs has {x.shape[1]} channels; kernel is for {channels}")


def _conv(x, weight, strides, padding, dilation_rate):
    axes = x.ndim - 2
    stride = _check.per_axis(strides, "strides", axes, 1)
    dilation = _check.per_axis(dilation_rate, "dilation_rate", axes, 1)
    pairs = _pairs(x.shape[2:], weight.shape[2:], stride, padding, dilation)
    return conv_padded(x, weight, pairs, stride, dilation, x.shape[1] // weight.shape[1])


def _mode(padding):
    if not isinstance(padding, str) or padding.lower() not in ("same", "valid"):
        raise ValueError(f"padding is {padding!r}; it may be 'same' or 'valid'")
    return padding.lower()


def _pairs(size, kernel_size, stride, padding, dilation):
    """Padding before and after each axis."""
    if _mode(padding) == "valid":
        return ((0, 0),) * len(size)
    return window.covering(size, kernel_size, stride, dilation)


def _windows(x, pool_size, strides, padding):
    """Window, stride and padding in pairs."""
    axes = x.ndim - 2
    size = _check.per_axis(pool_size, "pool_size", axes, 1)
    stride = size if strides is None else _check.per_axis(strides, "strides", axes, 1)
    return size, stride, _pairs(x.shape[2:], size, stride, padding, (1,) * axes)


def _split(pairs, size):
    """Padding that a pool takes, and what is left for a copy with edges: one or the other."""
    if all(b == a and 2 * b <= k for (b, a), k in zip(pairs, size)):
        return tuple(b for b, _ in pairs), ((0, 0),) * len(size)
    return (0,) * len(size), pairs


def _padded(x, pairs, value):
    if not any(map(any, pairs)):
        return x
    return np.pad(x, ((0, 0), (0, 0), *pairs), constant_values=value)


def _inside(size, count, window_size, stride, pairs):
    """How many elements of each window lie inside."""
    per_axis = []
    for n, m, k, s, (before, _) in zip(size, count, window_size, stride, pairs):
        start = np.arange(m) * s - before
        per_axis.append(np.minimum(start + k, n) - np.maximum(start, 0))
    return functools.reduce(np.multiply.outer, per_axis)


def _crops(padding, spans, stride, output_padding):
    """What is cut off a transposed convolution before and after each axis; zeros if negative."""
    extra = output_padding
    if extra is not None:
        extra = _check.per_axis(extra, "output_padding", len(spans), 0)
    crops = []
    for axis, (e, s) in enumerate(zip(spans, stride)):
        if padding == "valid":
            more = max(s - e, 0) if extra is None else extra[axis]
            crops.append((0, -more))
            continue
        # The size is n * s, or (n - 1) * s + e % 2 + the output padding; of (n - 1) * s + e.
        total = e - s if extra is None else e - e % 2 - extra[axis]
        before = max(total // 2, 0)
        crops.append((before, total - before))
    return crops
