"""Convolution as an implicit matrix product of tiles, its transpose and its gradients.

A block multiplies a tile of weights by one of x, whose columns are output positions and whose rows
are terms, DEPTH at a time in shared memory; the columns of im2col are never stored. Each thread
keeps MINE x MINE outputs in registers. Where channels are so few that tiles would be mostly empty,
a thread sums up one output instead. Tensor cores are not used: Numba cannot express them.
"""

import math

from voxkern.kernels.cuda._cuda import (
    SIMULATED,
    THREADS,
    cuda,
    device,
    int64,
    launch,
    run,
    scratch,
)
from voxkern.kernels.cuda._reduce import block_sum

# A thread loads one column of a tile and keeps MINE * MINE of its ROWS * COLUMNS results.
MINE, COLUMNS, DEPTH = (2, 4, 2) if SIMULATED else (8, 128, 8)
ROWS = MINE * DEPTH
ACROSS = COLUMNS // MINE
# A thread's rows and columns lie in runs of four, which one instruction reads (two of float64).
RUN = MINE // 2
# Four elements between rows: without them the writes of a column meet in one bank.
LEFT, RIGHT, OWN = (DEPTH, ROWS + 4), (DEPTH, COLUMNS + 4), (MINE, MINE)
TAPS = 4, COLUMNS
# A thread loads DEPTH elements of the right tile and so many of the left one, all before it waits
# for one: a load in a loop whose length depends on the thread is waited for before the next.
SHARE = DEPTH * ROWS // COLUMNS
# A sum of a thread's own takes about 16 instructions a product, a tile 2.
LEAST_FILLED = 1 / 8
# Sums over positions are cut into parts until there are so many blocks, of so many terms.
BLOCKS, FEWEST_TERMS = (8, 8) if SIMULATED else (1024, 1024)
MOST_BLOCKS = 8 if SIMULATED else 2**20


@device
def _between(place, tap, axis):
    """Whether the window at `place` has its tap between two elements of a transposed input."""
    multiply, first, step, divide = axis
    return divide > 1 and (place * multiply + first + tap * step) % divide != 0


@device
def _source(place, tap, axis):
    """The element under a tap of the window at `place`."""
    multiply, first, step, divide = axis
    source = place * multiply + first + tap * step
    return source // divide if divide > 1 else source


@cuda.jit(device=True)
def _own():
    """The thread's place among those that share a tile."""
    # Of a remainder the compiler does not see the sign, and makes no vectors.
    return cuda.threadIdx.x // ACROSS, cuda.threadIdx.x & (ACROSS - 1)


@device
def _nth(own, i, stretch):
    """The thread's i-th of `stretch` rows or columns."""
    return own * RUN + i % RUN + i // RUN * (stretch // 2)


@device
def _clear(total, zero):
    for i in range(MINE):
        for j in range(MINE):
            total[i, j] = zero


@cuda.jit(device=True)
def _multiply(left, right, total):
    """Add the products of two tiles to the thread's own."""
    down, across = _own()
    rows, columns = cuda.local.array(MINE, left.dtype), cuda.local.array(MINE, left.dtype)
    for k in range(DEPTH):
        for i in range(MINE):
            rows[i] = left[k, _nth(down, i, ROWS)]
            columns[i] = right[k, _nth(across, i, COLUMNS)]
        for i in range(MINE):
            for j in range(MINE):
                total[i, j] += rows[i] * columns[j]


@cuda.jit(device=True)
def _hand_over(total, right):
    """The first rows of all threads to a tile, for neighbours to write; the next become first.

    Registers have no index: one that is not known to the compiler would put `total` into memory.
    """
    down, across = _own()
    cuda.syncthreads()
    for j in range(MINE):
        right[down, _nth(across, j, COLUMNS)] = total[0, j]
    for i in range(MINE - 1):
        for j in range(MINE):
            total[i, j] = total[i + 1, j]
    cuda.syncthreads()


@device
def _rectified(total, slope):
    if total < 0:
        return slope * total if slope != 0 else slope
    return total


@cuda.jit
def _product(x, weight, bias, slope, sizes, size, count, kernel_size, window, items, out):
    batch, groups, taps, inputs, outputs = sizes
    (depth, height, width), (_, kh, kw) = size, kernel_size
    (_, _, _, dd), (_, _, _, dh), (_, _, _, dw) = window
    cd, ch, cw = -(-count[0] // dd), -(-count[1] // dh), -(-count[2] // dw)
    plane, positions = depth * height * width, count[0] * count[1] * count[2]
    row_tiles = -(-outputs // ROWS)
    thread, zero = cuda.threadIdx.x, x.dtype.type(0)
    if SIMULATED:  # it does not know alignment, which vectors need
        left = cuda.shared.array(LEFT, x.dtype)
        right = cuda.shared.array(RIGHT, x.dtype)
    else:
        left = cuda.shared.array(LEFT, x.dtype, alignment=16)
        right = cuda.shared.array(RIGHT, x.dtype, alignment=16)
    total = cuda.local.array(OWN, x.dtype)
    from_x, from_weight = cuda.local.array(DEPTH, x.dtype), cuda.local.array(SHARE, x.dtype)
    down, row, apart = thread // ROWS, thread % ROWS, COLUMNS // ROWS
    for item in range(cuda.blockIdx.x, items, cuda.gridDim.x):
        top = item % row_tiles * ROWS
        group = item // row_tiles % groups
        # Outputs of a transpose that lie a stride apart have the same taps: they share tiles.
        phase = item // (row_tiles * groups) % (dd * dh * dw)
        column = item // (row_tiles * groups * dd * dh * dw) * COLUMNS + thread
        n = column // (cd * ch * cw)
        pz, py, px = phase // (dh * dw), phase // dw % dh, phase % dw
        oz = column // (ch * cw) % cd * dd + pz
        oy = column // cw % ch * dh + py
        ox = column % cw * dw + px
        here = n < batch and oz < count[0] and oy < count[1] and ox < count[2]
        place = (n * groups + group) * outputs * positions + (oz * count[1] + oy) * count[2] + ox
        _clear(total, zero)
        for tap in range(taps):
            td, th, tw = tap // (kh * kw), tap // kw % kh, tap % kw
            if _between(pz, td, window[0]) or _between(py, th, window[1]):
                continue
            if _between(px, tw, window[2]):
                continue
            z, y = _source(oz, td, window[0]), _source(oy, th, window[1])
            w = _source(ox, tw, window[2])
            inside = here and 0 <= z < depth and 0 <= y < height and 0 <= w < width
            at = (n * groups + group) * inputs * plane + (z * height + y) * width + w
            first = ((group * taps + tap) * inputs + down) * outputs + top + row
            for c in range(0, inputs, DEPTH):
                for t in range(DEPTH):
                    from_x[t] = x[at] if inside and c + t < inputs else zero
                    at += plane
                for t in range(SHARE):
                    there = c + down + t * apart < inputs and top + row < outputs
                    from_weight[t] = weight[first] if there else zero
                    first += apart * outputs
                cuda.syncthreads()
                for t in range(DEPTH):
                    right[t, thread] = from_x[t]
                for t in range(SHARE):
                    left[down + t * apart, row] = from_weight[t]
                cuda.syncthreads()
                _multiply(left, right, total)
        for i in range(MINE):
            _hand_over(total, right)
            for t in range(DEPTH):
                o = top + _nth(t, i, ROWS)
                if here and o < outputs:
                    value = right[t, thread] + (bias[group * outputs + o] if len(bias) else zero)
                    out[place + o * positions] = _rectified(value, slope)


@cuda.jit
def _sums(x, weight, bias, slope, size, count, kernel_size, window, out):
    batch, channels, _ = out.shape
    inputs, outputs = weight.shape[2:]
    (depth, height, width), (kd, kh, kw) = size, kernel_size
    od, oh, ow = count
    column, row = cuda.grid(2)
    columns, rows = cuda.gridsize(2)
    for item in range(row, batch * channels * od, rows):
        i, o, n = item % od, item // od % channels, item // (od * channels)
        group = o // outputs
        for place in range(column, oh * ow, columns):
            j = place // ow
            k = place - j * ow
            total = bias[o] if len(bias) else x.dtype.type(0)
            for td in range(kd):
                z = _source(i, td, window[0])
                if z < 0 or z >= depth or _between(i, td, window[0]):
                    continue
                for th in range(kh):
                    y = _source(j, th, window[1])
                    if y < 0 or y >= height or _between(j, th, window[1]):
                        continue
                    for tw in range(kw):
                        w = _source(k, tw, window[2])
                        if w < 0 or w >= width or _between(k, tw, window[2]):
                            continue
                        tap, source = (td * kh + th) * kw + tw, (z * height + y) * width + w
                        for c in range(inputs):
                            value = x[n, group * inputs + c, source]
                            total += value * weight[group, tap, c, o % outputs]
            out[n, o, i * oh * ow + place] = _rectified(total, slope)


@cuda.jit
def _pack(weight, transposed, reverse, out):
    taps, inputs, outputs = out.shape[1:]
    for item in range(cuda.grid(1), weight.size, cuda.gridsize(1)):
        o = item % outputs
        c = item // outputs % inputs
        tap = item // (outputs * inputs) % taps
        group = item // (outputs * inputs * taps)
        read = taps - 1 - tap if reverse else tap
        if transposed:
            out[group, tap, c, o] = weight[group * inputs + c, o, read]
        else:
            out[group, tap, c, o] = weight[group * outputs + o, c, read]


@cuda.jit
def _weight_product(grad, x, size, count, kernel_size, window, groups, terms, items, out):
    batch, channels, positions = grad.shape
    columns = out.shape[2]
    (depth, height, width), (kd, kh, kw), (_, oh, ow) = size, kernel_size, count
    outputs, inputs, taps = channels // groups, x.shape[1] // groups, kd * kh * kw
    row_tiles, column_tiles = -(-outputs // ROWS), -(-columns // COLUMNS)
    thread, zero = cuda.threadIdx.x, x.dtype.type(0)
    if SIMULATED:
        left = cuda.shared.array(LEFT, x.dtype)
        right = cuda.shared.array(RIGHT, x.dtype)
    else:
        left = cuda.shared.array(LEFT, x.dtype, alignment=16)
        right = cuda.shared.array(RIGHT, x.dtype, alignment=16)
    # Of every column: its channel of x, and where its tap is in the window at the origin.
    columns_at = cuda.shared.array(TAPS, int64)
    total = cuda.local.array(OWN, x.dtype)
    from_x, from_grad = cuda.local.array(DEPTH, x.dtype), cuda.local.array(SHARE, x.dtype)
    term, own, apart = thread % DEPTH, thread // DEPTH, COLUMNS // DEPTH
    for item in range(cuda.blockIdx.x, items, cuda.gridDim.x):
        top = item % row_tiles * ROWS
        side = item // row_tiles % column_tiles * COLUMNS
        group = item // (row_tiles * column_tiles) % groups
        part = item // (row_tiles * column_tiles * groups)
        c, tap = (side + thread) // taps, (side + thread) % taps
        columns_at[0, thread] = group * inputs + c if side + thread < columns else -1
        columns_at[1, thread] = _source(0, tap // (kh * kw), window[0])
        columns_at[2, thread] = _source(0, tap // kw % kh, window[1])
        columns_at[3, thread] = _source(0, tap % kw, window[2])
        cuda.syncthreads()
        _clear(total, zero)
        for first in range(part * terms, (part + 1) * terms, DEPTH):
            n, place = (first + term) // positions, (first + term) % positions
            here = n < batch and first + term < (part + 1) * terms
            z0 = place // (oh * ow) * window[0][0]
            y0 = place // ow % oh * window[1][0]
            w0 = place % ow * window[2][0]
            for i in range(SHARE):
                row = own + i * apart
                there = here and top + row < outputs
                from_grad[i] = grad[n, group * outputs + top + row, place] if there else zero
            for i in range(DEPTH):
                column = own + i * apart
                c = columns_at[0, column]
                z, y = z0 + columns_at[1, column], y0 + columns_at[2, column]
                w = w0 + columns_at[3, column]
                inside = 0 <= z < depth and 0 <= y < height and 0 <= w < width
                there = here and c >= 0 and inside
                from_x[i] = x[n, c, (z * height + y) * width + w] if there else zero
            cuda.syncthreads()
            for i in range(SHARE):
                left[term, own + i * apart] = from_grad[i]
            for i in range(DEPTH):
                right[term, own + i * apart] = from_x[i]
            cuda.syncthreads()
            _multiply(left, right, total)
        for i in range(MINE):
            _hand_over(total, right)
            for t in range(DEPTH):
                o = top + _nth(t, i, ROWS)
                if o < outputs and side + thread < columns:
                    out[part, group * outputs + o, side + thread] = right[t, thread]


@cuda.jit
def _weight_sums(grad, x, size, count, kernel_size, window, groups, terms, out):
    batch, channels, positions = grad.shape
    parts, _, columns = out.shape
    (depth, height, width), (kd, kh, kw), (_, oh, ow) = size, kernel_size, count
    outputs, inputs, taps = channels // groups, x.shape[1] // groups, kd * kh * kw
    shared = cuda.shared.array(THREADS, x.dtype)
    for item in range(cuda.blockIdx.x, parts * channels * columns, cuda.gridDim.x):
        column, o, part = item % columns, item // columns % channels, item // (columns * channels)
        c, tap = o // outputs * inputs + column // taps, column % taps
        total = x.dtype.type(0)
        for term in range(part * terms + cuda.threadIdx.x, (part + 1) * terms, cuda.blockDim.x):
            n, place = term // positions, term % positions
            z = _source(place // (oh * ow), tap // (kh * kw), window[0])
            y = _source(place // ow % oh, tap // kw % kh, window[1])
            w = _source(place % ow, tap % kw, window[2])
            if n < batch and 0 <= z < depth and 0 <= y < height and 0 <= w < width:
                total += grad[n, o, place] * x[n, c, (z * height + y) * width + w]
        total = block_sum(total, shared)
        if cuda.threadIdx.x == 0:
            out[part, o, column] = total


@cuda.jit
def _channel_sums(grad, terms, out):
    batch, channels, positions = grad.shape
    parts = out.shape[0]
    shared = cuda.shared.array(THREADS, grad.dtype)
    for item in range(cuda.blockIdx.x, parts * channels, cuda.gridDim.x):
        channel, part = item % channels, item // channels
        total = grad.dtype.type(0)
        for term in range(part * terms + cuda.threadIdx.x, (part + 1) * terms, cuda.blockDim.x):
            if term < batch * positions:
                total += grad[term // positions, channel, term % positions]
        total = block_sum(total, shared)
        if cuda.threadIdx.x == 0:
            out[part, channel] = total


@cuda.jit
def _add_parts(parts, out):
    for item in range(cuda.grid(1), out.size, cuda.gridsize(1)):
        total = parts[0, item]
        for part in range(1, parts.shape[0]):
            total += parts[part, item]
        out[item] = total


def conv(
    x,
    weight,
    bias,
    stride,
    padding,
    dilation,
    groups,
    *,
    algorithm,
    slope,
    flipped,
    out,
    packed=None,
    whole=None,
    accumulate=False,
):
    """out = the convolution of x, by one algorithm; what is left out is for the host's."""
    kernel_size = weight.shape[2:]
    window = _window(stride, padding, dilation)
    weight = _packed(weight, groups, transposed=flipped, reverse=flipped)
    _convolve(x, weight, bias, 1 if slope is None else slope, kernel_size, window, out)


def packing(*shapes, algorithm, itemsize):
    """What a plan keeps of the weights: nothing, each call packs them."""
    return 0, 0


def conv_transpose(
    x, weight, bias, stride, padding, output_padding, groups, dilation, *, product, out
):
    """out = the sum of each input's multiple of the kernel, gathered; `product` is the host's."""
    # Seen from an output, taps go backwards.
    window = tuple((1, pair[0], -d, s) for s, pair, d in zip(stride, padding, dilation))
    kernel_size = weight.shape[2:]
    weight = _packed(weight, groups, transposed=True, reverse=False)
    _convolve(x, weight, bias, 1, kernel_size, window, out)


def conv_backward_weight(grad, x, kernel_size, stride, padding, dilation, groups, *, out):
    """out = the sum over positions of grad times what each weight was multiplied with."""
    (channels, inputs), taps = out.shape[:2], math.prod(kernel_size)
    rows, columns = channels // groups, inputs * taps
    tiles = _fills(rows, ROWS) * _fills(columns, COLUMNS) >= LEAST_FILLED
    blocks = channels * columns
    if tiles:
        blocks = groups * -(-rows // ROWS) * -(-columns // COLUMNS)
    parts, terms = _parts(grad, blocks)
    partial = scratch(out, (parts, channels, columns), out.dtype)
    arguments = (
        *(_planes(grad), _planes(x), x.shape[2:], grad.shape[2:], tuple(kernel_size)),
        *(_window(stride, padding, dilation), groups, terms),
    )
    if tiles:
        items = parts * blocks
        run(_weight_product, min(items, MOST_BLOCKS), COLUMNS, *arguments, items, out=partial)
    else:
        items = min(parts * blocks, MOST_BLOCKS)
        run(_weight_sums, items, THREADS, *arguments, out=partial)
    launch(_add_parts, out.size, partial.reshape(parts, out.size), out=out.reshape(out.size))


def conv_backward_bias(grad, *, out):
    """out = the sum of grad over all but the channels."""
    parts, terms = _parts(grad, out.size)
    partial = scratch(out, (parts, out.size), out.dtype)
    blocks = min(parts * out.size, MOST_BLOCKS)
    run(_channel_sums, blocks, THREADS, _planes(grad), terms, out=partial)
    launch(_add_parts, out.size, partial, out=out)


def _window(stride, padding, dilation):
    """What :func:`_source` needs to know of each axis."""
    return tuple((s, -pair[0], d, 1) for s, pair, d in zip(stride, padding, dilation))


def _packed(weight, groups, transposed, reverse):
    """The weights as (groups, taps, inputs, outputs): neighbours are read together."""
    first, second, *kernel_size = weight.shape
    inputs, outputs = (first // groups, second) if transposed else (second, first // groups)
    packed = scratch(weight, (groups, math.prod(kernel_size), inputs, outputs), weight.dtype)
    weight = weight.reshape(first, second, math.prod(kernel_size))
    launch(_pack, weight.size, weight, transposed, reverse, out=packed)
    return packed


def _convolve(x, weight, bias, slope, kernel_size, window, out):
    """Convolve by tiles, or by sums where tiles would be mostly empty."""
    groups, _, inputs, outputs = weight.shape
    size, count, slope = x.shape[2:], out.shape[2:], x.dtype.type(slope)
    bias = scratch(x, (0,), x.dtype) if bias is None else bias
    x = _planes(x)
    if _fills(outputs, ROWS) * _fills(inputs, DEPTH) < LEAST_FILLED:
        items = out.shape[0] * out.shape[1] * count[0], count[1] * count[2]
        arguments = x, weight, bias, slope, size, count, kernel_size, window
        launch(_sums, items, *arguments, out=_planes(out))
        return
    divide = [axis[3] for axis in window]
    columns = out.shape[0] * math.prod(-(-n // d) for n, d in zip(count, divide))
    items = -(-columns // COLUMNS) * math.prod(divide) * groups * -(-outputs // ROWS)
    arrays = x.reshape(x.size), weight.reshape(weight.size), bias
    arguments = slope, (out.shape[0], *weight.shape), size, count, kernel_size, window, items
    blocks = min(items, MOST_BLOCKS)
    run(_product, blocks, COLUMNS, *arrays, *arguments, out=out.reshape(out.size))


def _fills(number, tile):
    """The share of tiles that so many rows or columns fill."""
    return number / (-(-number // tile) * tile)


def _parts(grad, blocks):
    """Into how many parts to cut a sum over positions for so many blocks, and the terms of each."""
    terms = grad.shape[0] * math.prod(grad.shape[2:])
    parts = max(1, min(-(-BLOCKS // blocks), terms // FEWEST_TERMS))
    return parts, -(-terms // parts)


def _planes(x):
    """`x` with one spatial axis."""
    return x.reshape(*x.shape[:2], math.prod(x.shape[2:]))
