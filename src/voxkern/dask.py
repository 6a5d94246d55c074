"""Convolution, pooling, im2col, batch normalisation and flash tables of Dask arrays, by blocks.

Each function takes the arguments of its namesake in :mod:`voxkern`, `x` (or `frames`) a Dask array,
and gives a Dask array without computing anything, but for :func:`batch_norm` with running arrays.
Bad arguments raise at the call. Weights and other parameters are NumPy arrays.

Every block of the result is made of the chunks that its windows reach into, so any chunks serve:
uneven ones, and ones smaller than a window, which cost more reading. A block of the result has the
windows whose middle lies in one chunk of the input. The chunks of an axis that cannot be split are
merged: the channels of a convolution, all spatial axes but the first of ``im2col``, the colours of
frames. A task needs its block, the chunks that it touches and what the function itself uses.

A task runs on the threads that ``voxkern.get_num_threads`` tells; where Dask runs many at a time,
``voxkern.set_num_threads(1)`` spares them each other.
"""

import itertools
import math
import operator
import typing

import dask
import dask.array as da
import numpy as np

import voxkern
from voxkern import _check, batchnorm, conv, flash, pool, window
from voxkern.im2col import _axes, _window


def conv3d(
    x,
    weight,
    bias=None,
    stride=1,
    padding=0,
    dilation=1,
    groups=1,
    *,
    algorithm="auto",
    activation=None,
):
    """:func:`voxkern.conv3d` of a Dask array, to the same bits but for ``"fft"``.

    Notes
    -----
    ``"auto"`` chooses for the array as a whole, and all blocks take that algorithm. Blocks of
    ``"winograd"`` begin where its tiles do; direct sums are added in the order that the sizes of
    the whole array decide. Spectra are those of a block, and agree within rounding.
    """
    return _conv(3, x, weight, bias, stride, padding, dilation, groups, algorithm, activation)


def conv2d(
    x,
    weight,
    bias=None,
    stride=1,
    padding=0,
    dilation=1,
    groups=1,
    *,
    algorithm="auto",
    activation=None,
):
    """:func:`voxkern.conv2d` of a Dask array; see :func:`conv3d`."""
    return _conv(2, x, weight, bias, stride, padding, dilation, groups, algorithm, activation)


def conv1d(
    x,
    weight,
    bias=None,
    stride=1,
    padding=0,
    dilation=1,
    groups=1,
    *,
    algorithm="auto",
    activation=None,
):
    """:func:`voxkern.conv1d` of a Dask array; see :func:`conv3d`."""
    return _conv(1, x, weight, bias, stride, padding, dilation, groups, algorithm, activation)


def max_pool3d(
    x, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False, return_indices=False
):
    """:func:`voxkern.max_pool3d` of a Dask array, exactly; two arrays with `return_indices`."""
    return _max_pool(3, x, kernel_size, stride, padding, dilation, ceil_mode, return_indices)


def max_pool2d(
    x, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False, return_indices=False
):
    """:func:`voxkern.max_pool2d` of a Dask array; see :func:`max_pool3d`."""
    return _max_pool(2, x, kernel_size, stride, padding, dilation, ceil_mode, return_indices)


def max_pool1d(
    x, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False, return_indices=False
):
    """:func:`voxkern.max_pool1d` of a Dask array; see :func:`max_pool3d`."""
    return _max_pool(1, x, kernel_size, stride, padding, dilation, ceil_mode, return_indices)


def avg_pool3d(
    x,
    kernel_size,
    stride=None,
    padding=0,
    ceil_mode=False,
    count_include_pad=True,
    divisor_override=None,
):
    """:func:`voxkern.avg_pool3d` of a Dask array, to the same bits."""
    others = {"count_include_pad": count_include_pad, "divisor_override": divisor_override}
    return _pool(voxkern.avg_pool3d, 3, x, kernel_size, stride, padding, ceil_mode, others)


def avg_pool2d(
    x,
    kernel_size,
    stride=None,
    padding=0,
    ceil_mode=False,
    count_include_pad=True,
    divisor_override=None,
):
    """:func:`voxkern.avg_pool2d` of a Dask array; see :func:`avg_pool3d`."""
    others = {"count_include_pad": count_include_pad, "divisor_override": divisor_override}
    return _pool(voxkern.avg_pool2d, 2, x, kernel_size, stride, padding, ceil_mode, others)


def avg_pool1d(
    x,
    kernel_size,
    stride=None,
    padding=0,
    ceil_mode=False,
    count_include_pad=True,
    divisor_override=None,
):
    """:func:`voxkern.avg_pool1d` of a Dask array; see :func:`avg_pool3d`."""
    others = {"count_include_pad": count_include_pad, "divisor_override": divisor_override}
    return _pool(voxkern.avg_pool1d, 1, x, kernel_size, stride, padding, ceil_mode, others)


def im2col(x, kernel_size, stride=1, padding=0, dilation=1):
    """:func:`voxkern.im2col` of a Dask array, exactly; split along N, C and the first axis."""
    x = _dask(x, "x", _check.NUMBERS)
    axes = _axes(x.ndim, "x", kernel_size)
    kernel_size, *others = _window(kernel_size, stride, padding, dilation, axes)
    stride, pads, dilation = others
    counts = window.output_size(x.shape[-axes:], kernel_size, *others)
    first = x.ndim - axes
    x = x.rechunk(dict.fromkeys(range(first + 1, x.ndim), -1))
    extent = window.extent(kernel_size, dilation)[0]
    blocks = _blocks(x.chunks[first], counts[0], extent, stride[0], pads[0])
    rows = tuple(c * math.prod(kernel_size) for c in x.chunks[first - 1])
    columns = tuple(n * math.prod(counts[1:]) for n in _counts(blocks))
    return _by_blocks(
        *(_columns, x, first, [blocks], (*x.chunks[: first - 1], rows, columns), x.dtype),
        drop_axis=range(first + 1, x.ndim),
        pads=pads,
        arguments={"kernel_size": kernel_size, "stride": stride, "dilation": dilation},
    )


def batch_norm(
    x,
    running_mean,
    running_var,
    weight=None,
    bias=None,
    training=False,
    momentum=0.1,
    eps=1e-5,
):
    """:func:`voxkern.batch_norm` of a Dask array.

    Notes
    -----
    The results are those of the array in memory within rounding. When training, mean and variance
    of the chunks are computed and merged in float64.
    Running arrays must move at once, so where there are some, one pass over `x` is computed at the
    call, by the scheduler in force; without them nothing is, and the result reads `x` twice.

    Source of the merge: Chan, Golub & LeVeque, "Algorithms for computing the sample variance"
    (1983).
    """
    x = _dask(x, "x")
    running, others = (running_mean, running_var), (weight, bias)
    # An empty batch has every argument checked and moves nothing.
    empty = np.empty((0, *x.shape[1:]), x.dtype)
    voxkern.batch_norm(empty, *running, *others, training, momentum, eps)
    if x.size == 0:
        return x
    count = x.size // x.shape[1]
    if training and count == 1:
        raise ValueError(f"x has shape {x.shape}; training needs more than 1 value per channel")
    stats = _moments(x) if training else running
    if training and running_mean is not None:
        stats = mean, var = stats.compute()
        moving = batchnorm.checked_running(
            (*running, *others), running_mean=running_mean, running_var=running_var
        )
        for array, new in zip(moving, (mean, var * (count / (count - 1)))):
            batchnorm.move(array, new, momentum)
    axes, operands = tuple(range(x.ndim)), []
    for value in (*stats, *others):
        if value is not None and not isinstance(value, da.Array):
            value = da.from_array(np.array(value), (x.chunks[1],))
        operands += value, None if value is None else (1,)
    return da.blockwise(
        *(_normalized, axes, x, axes, *operands), eps=eps, dtype=x.dtype, meta=x._meta
    )


def flash_table(frames, k=5, curve="exam"):
    """:func:`voxkern.flash_table` of a Dask array of frames, to the same bits.

    Frames may be split along all axes. A task sees one frame of the next chunk, and keeps the
    `k` largest changes of its part of each frame; the largest of all parts make the row.
    """
    frames = _dask(frames, "frames", flash.DTYPES)
    flash.check_shape(frames.shape)
    # No frames have every argument checked.
    voxkern.flash_table(np.empty((0, *frames.shape[1:]), frames.dtype), k, curve)
    if len(frames) < 2:
        return da.zeros((0, 1))
    frames = frames.rechunk({3: -1}) if frames.ndim == 4 else frames
    blocks = _blocks(frames.chunks[0], len(frames) - 1, 2, 1, (0, 0))
    parts = ((1,) * len(c) for c in frames.chunks[1:3])
    chunks = (_counts(blocks), *parts, (2 * k,))
    new = {"new_axis": 3} if frames.ndim == 3 else {}
    changes = _by_blocks(_changes, frames, 0, [blocks], chunks, np.float64, k=k, curve=curve, **new)
    return changes.rechunk({1: -1, 2: -1}).map_blocks(
        _rows,
        k,
        chunks=(chunks[0], (1,)),
        drop_axis=(2, 3),
        dtype=np.float64,
        meta=np.empty((0, 0)),
    )


def _conv(axes, x, weight, bias, stride, padding, dilation, groups, algorithm, activation):
    x = _dask(x, "x")
    for name, value in (("weight", weight), ("bias", bias)):
        if isinstance(value, da.Array):
            raise TypeError(f"{name} is a Dask array; it must be one in memory: all blocks need it")
    _, weight, bias = conv._arrays(np.empty(0, x.dtype), weight, bias)
    shapes = x.shape, weight.shape, None if bias is None else bias.shape
    call = conv._call(axes, *shapes, stride, padding, dilation, groups, algorithm)
    x = x.rechunk({x.ndim - axes - 1: -1})
    spans = window.extent(call.weight[2:], call.dilation)
    each = zip(call.out[2:], spans, call.stride, call.padding, call.tile or (1, 1, 1))
    blocks = [_blocks(c, *a) for c, a in zip(x.chunks[-axes:], list(each)[-axes:])]
    chunks = (*x.chunks[: -axes - 1], (len(weight),), *map(_counts, blocks))
    return _by_blocks(
        *(_convolved, x, x.ndim - axes, blocks, chunks, x.dtype),
        weight=dask.delayed(weight.copy(), pure=True),
        bias=None if bias is None else dask.delayed(bias.copy(), pure=True),
        call=call,
        slope=conv._slope(activation),
    )


def _convolved(x, blocks, weight, bias, call, slope):
    """The windows of `blocks`, by the algorithm, tile and order of sums of the whole `call`."""
    x, axes = _check.array(x, "x"), len(blocks)
    out = np.empty((*x.shape[: -axes - 1], len(weight), *_counts(blocks)), x.dtype)
    own = call._replace(
        result=out.shape,
        x=conv._five(x.shape, axes),
        out=conv._five(out.shape, axes),
        padding=window.as_volume([b.pads for b in blocks], (0, 0)),
    )
    return conv._run(own, *_check.computed(x, weight, bias), slope, out, whole=call)


def _max_pool(axes, x, kernel_size, stride, padding, dilation, ceil_mode, return_indices):
    function = getattr(voxkern, f"max_pool{axes}d")
    others = {"dilation": dilation, "return_indices": return_indices}
    found = _pool(function, axes, x, kernel_size, stride, padding, ceil_mode, others)
    if not return_indices:
        return found
    return tuple(
        found.map_blocks(operator.itemgetter(i), dtype=dtype, meta=np.empty((0,) * x.ndim, dtype))
        for i, dtype in enumerate((x.dtype, np.int64))
    )


def _pool(function, axes, x, kernel_size, stride, padding, ceil_mode, others):
    x = _dask(x, "x")
    # An empty batch has every argument checked.
    batch = x.shape if x.ndim == axes + 1 else x.shape[1:]
    empty = np.empty((0, *batch) if x.size else x.shape, x.dtype)
    function(empty, kernel_size, stride, padding, ceil_mode=ceil_mode, **others)
    arguments = pool._window(axes, kernel_size, stride, padding, others.get("dilation", 1))
    counts = pool._counts(x.shape[-axes:], *arguments, ceil_mode)
    kernel_size, stride, padding, dilation = arguments
    spans = window.extent(kernel_size, dilation)
    each = zip(x.chunks[-axes:], counts, spans, stride, padding)
    blocks = [_pool_blocks(*a) for a in each]
    options = {"kernel_size": kernel_size, "stride": stride, "padding": padding}
    return _by_blocks(
        *(_pooled, x, x.ndim - axes, blocks, (*x.chunks[:-axes], *map(_counts, blocks)), x.dtype),
        pooling=function,
        options=options | {"ceil_mode": ceil_mode, **others},
        size=x.shape[-axes:],
    )


def _pool_blocks(chunks, count, span, stride, padding):
    """Blocks that begin with whole strides, so that a call with `padding` has their windows."""
    size, blocks = sum(chunks), []
    most = (size + 2 * padding - span) // stride  # a call needs room for one window at least
    for b in _blocks(chunks, count, span, stride, (padding, padding)):
        begin, stop = stride * max(0, min(b.first - -(-padding // stride), most)), b.stop
        if stop - begin == span < size:  # a window that is all of its input is summed otherwise
            begin, stop = (begin - stride, stop) if begin else (0, stop + 1)
        blocks.append(b._replace(begin=begin, stop=stop))
    return blocks


def _pooled(x, blocks, pooling, options, size):
    found = pooling(x, **options)
    firsts = [b.first - b.begin // s for b, s in zip(blocks, options["stride"])]
    own = (..., *(slice(f, f + b.end - b.first) for f, b in zip(firsts, blocks)))
    if not isinstance(found, tuple):
        return found[own]
    best, places = (a[own] for a in found)
    at = np.unravel_index(places, x.shape[-len(blocks) :])
    return best, np.ravel_multi_index([a + b.begin for a, b in zip(at, blocks)], size)


def _columns(x, blocks, pads, arguments):
    own = ((0, 0),) * (x.ndim - len(pads)) + (blocks[0].pads,) + pads[1:]
    return voxkern.im2col(np.pad(x, own), **arguments)


def _moments(x):
    """Mean and biased variance of every channel, ``(2, C)`` in float64."""
    each = [(1,) * len(c) for c in x.chunks]
    each[1] = x.chunks[1]
    meta = np.empty((0,) * (x.ndim + 1))
    parts = x.map_blocks(_chunk_moments, chunks=(*each, (3,)), new_axis=x.ndim, meta=meta)
    parts = parts.rechunk({axis: -1 for axis in range(x.ndim) if axis != 1})
    chunks, others = ((2,), x.chunks[1]), range(2, x.ndim + 1)
    return parts.map_blocks(_merged_moments, chunks=chunks, drop_axis=others, meta=np.empty((0, 0)))


def _chunk_moments(x):
    """Elements, mean and variance of the channels of a chunk, an axis each at the end."""
    (x,) = _check.computed(_check.array(x, "x"))
    count = np.full(x.shape[1], x.size // max(1, x.shape[1]))
    moments = np.stack([count, *batchnorm.moments(x)], axis=-1)
    return moments.reshape(1, -1, *(1,) * (x.ndim - 2), 3)


def _merged_moments(each):
    count, mean, var = np.moveaxis(each, (-1, 1), (0, 1)).reshape(3, each.shape[1], -1)
    some = count[0] > 0
    count, mean, var = count[:, some], mean[:, some], var[:, some]
    whole = count.sum(axis=1)
    with np.errstate(invalid="ignore"):
        centre = (count * mean).sum(axis=1) / whole
        spread = (count * (var + (mean - centre[:, None]) ** 2)).sum(axis=1) / whole
    return np.stack([centre, spread])


def _normalized(x, mean, var, weight, bias, eps):
    x = _check.array(x, "x")
    out = np.empty(x.shape, x.dtype)
    (x,) = _check.computed(x)
    scratch = _check.writable(out, x.dtype)
    if x.size:
        batchnorm.normalize(x, mean, var, weight, bias, eps, scratch)
    return _check.deliver(scratch, out)


def _changes(frames, blocks, k, curve):
    return flash.largest_changes(frames, k, curve).reshape(len(frames) - 1, 1, 1, 2 * k)


def _rows(changes, k):
    """Rows of the largest changes of all parts of the frames."""
    parts = np.moveaxis(changes.reshape(len(changes), -1, 2, k), 1, 0)
    return np.array(flash._signed_means(parts.copy()))[:, None]


class Block(typing.NamedTuple):
    """Windows `first` to `end` of an axis; they read elements `begin` to `stop`, and `pads`."""

    first: int
    end: int
    begin: int
    stop: int
    pads: tuple = (0, 0)


def _blocks(chunks, count, span, stride, pads, multiple=1):
    """The blocks of an axis: windows with their middle in one chunk, from a `multiple` on.

    Each begins before the end of the input and reads one element at least, if only for windows that
    lie in the padding.
    """
    size, before = sum(chunks), pads[0]
    firsts = [0]
    for at in itertools.accumulate(chunks[:-1]):
        first = -(-(at + before - (span - 1) // 2) // (stride * multiple)) * multiple
        if firsts[-1] < first < count and first * stride - before < size:
            firsts.append(first)
    blocks = []
    for first, end in zip(firsts, [*firsts[1:], count]):
        start, stop = first * stride - before, (end - 1) * stride - before + span
        begin = max(0, start)
        own = begin - start, max(0, stop - size)
        blocks.append(Block(first, end, begin, min(size, max(stop, begin + 1)), own))
    return blocks


def _counts(blocks):
    return tuple(b.end - b.first for b in blocks)


def _by_blocks(function, x, first, blocks, chunks, dtype, *, drop_axis=(), new_axis=None, **others):
    """What ``function(region, blocks, **others)`` gives of every region, in `chunks`.

    `blocks` has those of some axes of `x` from `first` on. A region is what its blocks read.
    """
    for axis, own in enumerate(blocks, first):
        x = _regions(x, axis, own)
    return x.map_blocks(
        _at_place,
        function=function,
        first=first,
        blocks=blocks,
        chunks=chunks,
        drop_axis=drop_axis,
        new_axis=new_axis,
        dtype=dtype,
        meta=np.empty((0,) * len(chunks), dtype),
        **others,
    )


def _regions(x, axis, blocks):
    """`x` with what each block reads as a chunk along `axis`: what two read is in both."""
    cuts = sorted({0, x.shape[axis], *(b.begin for b in blocks), *(b.stop for b in blocks)})
    pieces = tuple(end - start for start, end in itertools.pairwise(cuts))
    place = {cut: i for i, cut in enumerate(cuts)}
    read = [i for b in blocks for i in range(place[b.begin], place[b.stop])]
    x = x.rechunk({axis: pieces}, method="tasks").blocks[(slice(None),) * axis + (read,)]
    return x.rechunk({axis: tuple(b.stop - b.begin for b in blocks)}, method="tasks")


def _at_place(x, function, first, blocks, block_id, **others):
    return function(x, [own[i] for own, i in zip(blocks, block_id[first:])], **others)


def _dask(x, name, dtypes=_check.FLOATS):
    """`x` if it is a Dask array of known sizes and one of `dtypes`."""
    if not isinstance(x, da.Array):
        raise TypeError(f"{name} is a {type(x).__name__}; it must be a Dask array")
    if any(math.isnan(n) for n in x.shape):
        raise ValueError(f"{name} has chunks of unknown size; compute_chunk_sizes() finds them")
    if x.dtype.name not in dtypes:
        raise TypeError(f"{name} has dtype {x.dtype}; it may be {', '.join(dtypes)}")
    return x
