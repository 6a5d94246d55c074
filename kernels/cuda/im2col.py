"""Columns of windows and their adjoint: one thread for each element of the result."""

from voxkern.kernels.cuda._cuda import cuda, launch


@cuda.jit
def _im2col(x, kernel_size, stride, before, dilation, out):
    kd, kh, kw = kernel_size
    rows, od, oh, ow = out.shape[1:]
    depth, height, width = x.shape[2:]
    for item in range(cuda.grid(1), out.size, cuda.gridsize(1)):
        k = item % ow
        j = item // ow % oh
        i = item // (ow * oh) % od
        row = item // (ow * oh * od) % rows
        n = item // (ow * oh * od * rows)
        c = row // (kd * kh * kw)
        z = i * stride[0] - before[0] + row // (kh * kw) % kd * dilation[0]
        y = j * stride[1] - before[1] + row // kw % kh * dilation[1]
        w = k * stride[2] - before[2] + row % kw * dilation[2]
        inside = 0 <= z < depth and 0 <= y < height and 0 <= w < width
        out[n, row, i, j, k] = x[n, c, z, y, w] if inside else 0


@cuda.jit
def _col2im(cols, kernel_size, stride, before, dilation, out):
    kd, kh, kw = kernel_size
    taps = kd * kh * kw
    channels, depth, height, width = out.shape[1:]
    od, oh, ow = cols.shape[2:]
    for item in range(cuda.grid(1), out.size, cuda.gridsize(1)):
        w = item % width
        y = item // width % height
        z = item // (width * height) % depth
        c = item // (width * height * depth) % channels
        n = item // (width * height * depth * channels)
        total = out.dtype.type(0)
        # Gathering in the order of the taps makes the native kernel's sum, without atomics.
        for tap in range(taps):
            i = z + before[0] - tap // (kh * kw) * dilation[0]
            j = y + before[1] - tap // kw % kh * dilation[1]
            k = w + before[2] - tap % kw * dilation[2]
            if i < 0 or j < 0 or k < 0 or i % stride[0] or j % stride[1] or k % stride[2]:
                continue
            i //= stride[0]
            j //= stride[1]
            k //= stride[2]
            if i < od and j < oh and k < ow:
                total += cols[n, c * taps + tap, i, j, k]
        out[n, c, z, y, w] = total


def im2col(x, kernel_size, stride, padding, dilation, *, out):
    """out[n, (c, kernel position), od, oh, ow] = x at that window's position, 0 in the padding."""
    before = tuple(pair[0] for pair in padding)
    launch(_im2col, out.size, x, kernel_size, stride, before, dilation, out=out)


def col2im(cols, output_size, kernel_size, stride, padding, dilation, *, out):
    """out = the sum of every column element at the position im2col read it from."""
    before = tuple(pair[0] for pair in padding)
    launch(_col2im, out.size, cols, kernel_size, stride, before, dilation, out=out)
