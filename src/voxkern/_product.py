"""Products of a matrix of weights with many columns.

At the level v4 large ones are convolutions of kernel 1: float32 at 200 GFLOP/s on a core of Zen 5,
where the OpenBLAS of NumPy, which takes AVX2 there, gave 110; below v4 the two were level. The rest
is NumPy's.
"""

import numpy as np

from voxkern import _dispatch
from voxkern.conv import ConvPlan, conv1d, conv1d_backward

# Multiplications that pay for a call, columns that pay for packing the weights, and those that pay
# for a plan, whose packed weights are kept in new memory.
LARGE, MANY, MORE = 1 << 19, 64, 128
# Weights taken at once: 16 MB ran at half the speed of four times 4.
PART_BYTES = 1 << 22


class Product:
    """``weight @ x + bias`` of `batch` columns (n_in, batch), to be called `times` times."""

    def __init__(self, weight, bias, times, batch):
        self.weight, self.bias, self.plans = weight, bias, []
        if batch > 1 and batch * times >= MORE and _is_large(weight, batch):
            for part in _parts(weight):
                plan = ConvPlan(weight[part, :, None], None if bias is None else bias[part])
                self.plans.append((part, plan))

    def __call__(self, x):
        """In new memory; x is C-contiguous."""
        if not self.plans:
            return product(self.weight, self.bias, x[None])[0]
        out = np.empty((len(self.weight), x.shape[1]), x.dtype)
        for part, plan in self.plans:
            plan(x[None], out=out[None, part])
        return out


def product(weight, bias, x):
    """``weight @ x + bias`` of all steps of x, (steps, n_in, batch)."""
    steps, _, batch = x.shape
    if steps > 1 and batch < MANY:  # side by side
        result = product(weight, bias, _columns(x)[None]).reshape(len(weight), steps, batch)
        return np.ascontiguousarray(result.swapaxes(0, 1))
    out = np.empty((steps, len(weight), batch), x.dtype)
    if batch >= MANY and _is_large(weight, batch):
        for part in _parts(weight):
            conv1d(x, weight[part, :, None], None if bias is None else bias[part], out=out[:, part])
        return out
    np.matmul(weight, x, out=out)
    if bias is not None:
        out += bias[:, None]
    return out


def outer(rows, x, weight):
    """The sum of ``rows @ x.T`` over all steps, which is the gradient to `weight`."""
    count = len(x) * x.shape[2]
    if count < MORE or not _is_large(weight, count):
        return _columns(rows) @ _columns(x).T
    if x.shape[2] < MANY:
        rows, x = _columns(rows)[None], _columns(x)[None]
    need = False, True, False
    return conv1d_backward(rows, x, weight[:, :, None], need=need)[1][:, :, 0]


def transposed(rows, out=None):
    """A matrix with its axes swapped: large ones by blocks, up to six times as fast as at once."""
    out = np.empty(rows.shape[::-1], rows.dtype) if out is None else out
    block = 32 if rows.size > 1 << 14 else max(len(rows), 1)
    for i in range(0, len(rows), block):
        out[:, i : i + block] = rows[i : i + block].T
    return out


def _parts(weight):
    rows = max(1, PART_BYTES // weight[0].nbytes)
    return [slice(i, i + rows) for i in range(0, len(weight), rows)]


def _columns(x):
    """(steps, n, batch) as (n, steps * batch)."""
    return x.swapaxes(0, 1).reshape(x.shape[1], len(x) * x.shape[2])


def _is_large(weight, count):
    return _dispatch.cpu_level == "v4" and weight.size * count >= LARGE
