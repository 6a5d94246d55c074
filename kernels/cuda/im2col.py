"""Columns of windows and their adjoint: a row of threads for each plane of the result."""

from voxkern.kernels.cuda._cuda import cuda, launch


@cuda.jit
def _im2col(x, kernel_size, stride, before, dilation, out):
    kd, kh, kw = kernel_size
    batch, rows, od, oh, ow = out.shape
    depth, height, width = x.shape[2:]
    column, row = cuda.grid(2)
    columns, stride_rows = cuda.gridsize(2)
    for item in range(row, batch * rows * od, stride_rows):
        i = item % od
        tap = item // od % rows
        n = item // (od * rows)
        c = tap // (kd * kh * kw)
        z = i * stride[0] - before[0] + tap // (kh * kw) % kd * dilation[0]
        top = tap // kw % kh * dilation[1] - before[1]
        left = tap % kw * dilation[2] - before[2]
        for place in range(column, oh * ow, columns):
            j = place // ow
            k = place - j * ow
            y = j * stride[1] + top
            w = k * stride[2] + left
            inside = 0 <= z < depth and 0 <= y < height and 0 <= w < width
            out[n, tap, i, j, k] = x[n, c, z, y, w] if inside else 0


@cuda.jit
def _col2im(cols, kernel_size, stride, before, dilation, out):
    kd, kh, kw = kernel_size
    batch, channels, depth, height, width = out.shape
    od, oh, ow = cols.shape[2:]
    column, row = cuda.grid(2)
    columns, stride_rows = cuda.gridsize(2)
    for item in range(row, batch * channels * depth, stride_rows):
        z = item % depth
        c = item // depth % channels
        n = item // (depth * channels)
        for place in range(column, height * width, columns):
            y = place // width
            w = place - y * width
            total = cols.dtype.type(0)
            # Gathering in the order of the taps makes the native kernel's sum, without atomics.
            for tap in range(kd * kh * kw):
                i = z + before[0] - tap // (kh * kw) * dilation[0]
                j = y + before[1] - tap // kw % kh * dilation[1]
                k = w + before[2] - tap % kw * dilation[2]
                if i < 0 or j < 0 or k < 0 or i % stride[0] or j % stride[1] or k % stride[2]:
                    continue
                i //= stride[0]
                j //= stride[1]
                k //= stride[2]
                if i < od and j < oh and k < ow:
                    total += cols[n, c * kd * kh * kw + tap, i, j, k]
            out[n, c, z, y, w] = total


def im2col(x, kernel_size, stride, padding, dilation, *, out):
    """out[n, (c, kernel position), od, oh, ow] = x at that window's position, 0 in the padding."""
    before = tuple(pair[0] for pair in padding)
    batch, rows, od, oh, ow = out.shape
    items = batch * rows * od, oh * ow
    launch(_im2col, items, x, kernel_size, stride, before, dilation, out=out)


def col2im(cols, output_size, kernel_size, stride, padding, dilation, *, out):
    """out = the sum of every column element at the position im2col read it from."""
    before = tuple(pair[0] for pair in padding)
    batch, channels, depth, height, width = out.shape
    items = batch * channels * depth, height * width
    launch(_col2im, items, cols, kernel_size, stride, before, dilation, out=out)
