"""The oracles of upsample: a matrix of weights along each axis."""

import numpy as np

from voxkern.reference._shape import into


def upsample(x, size=None, scale_factor=None, mode="nearest", align_corners=None, *, out=None):
    """Oracle of :func:`voxkern.upsample`."""
    result = x
    for axis, matrix in matrices(x.shape[2:], size, scale_factor, mode, align_corners):
        result = np.moveaxis(np.tensordot(matrix, result, (1, axis)), 0, axis)
    return into(out, result)


def upsample_backward(
    grad,
    input_size,
    size=None,
    scale_factor=None,
    mode="nearest",
    align_corners=None,
    *,
    out=None,
):
    """Oracle of :func:`voxkern.upsample_backward`: the transposed matrices."""
    result = grad
    for axis, matrix in matrices(input_size, size, scale_factor, mode, align_corners):
        result = np.moveaxis(np.tensordot(matrix.T, result, (1, axis)), 0, axis)
    return into(out, result)


def matrices(shape, size, scale_factor, mode, align_corners):
    """(axis, weights of every place of the result on those of x)."""
    for i, n in enumerate(shape):
        factor = None if scale_factor is None else np.broadcast_to(scale_factor, len(shape))[i]
        count = int(n * factor) if size is None else np.broadcast_to(size, len(shape))[i]
        part, whole = (n, count) if factor is None else (1, factor)
        matrix = np.zeros((count, n))
        for k in range(count):
            if mode == "nearest":
                place = k * part // whole
            elif align_corners:
                place = k * (n - 1) / max(count - 1, 1)
            else:
                place = max((k + 0.5) * part / whole - 0.5, 0)
            near = min(int(place), n - 1)
            weight = min(place - near, 1)
            matrix[k, near] += 1 - weight if mode != "nearest" else 1
            if mode != "nearest":
                matrix[k, min(near + 1, n - 1)] += weight
        yield 2 + i, matrix


def enlarge(x, near, far, weights, *, out):
    """Twin of the kernel."""
    for axis, first, second, weight in zip((1, 2, 3), near, far, weights):
        moved = np.moveaxis(x, axis, -1)
        x = moved[..., first]
        if weight is not None:
            x = (1 - weight) * x + weight * moved[..., second]
        x = np.moveaxis(x, -1, axis)
    out[...] = x


def reduce(grad, near, far, weights, *, out):
    """Twin of the kernel."""
    for axis, first, second, weight in zip((1, 2, 3), near, far, weights):
        moved = np.moveaxis(grad, axis, 0)
        grad = np.zeros((out.shape[axis], *moved.shape[1:]))
        weight = np.reshape(0 if weight is None else weight, (-1, 1, 1, 1))
        np.add.at(grad, first, (1 - weight) * moved)
        np.add.at(grad, second, weight * moved)
        grad = np.moveaxis(grad, 0, axis)
    out[...] = grad
