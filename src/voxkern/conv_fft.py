"""Convolution of stride 1 through the frequency domain: overlap-save, for large kernels.

Blocks of the input are transformed, multiplied by the conjugate spectrum of the weights, summed
over the channels and transformed back; of each block only the windows that lie in it whole are
kept. Source: Oppenheim & Schafer, "Discrete-Time Signal Processing", section 8.7.
"""

import functools
import importlib.util
import itertools
import math
import typing

import numpy as np

from voxkern import _dispatch
from voxkern._threads import get_num_threads

# Spectra and blocks of one step; a single block and one output channel may need more.
STEP_BYTES = 64 * 2**20
# Peaks outside of these are scaled by a power of two: a spectrum and its products are up to
# block * block * channels times as large, and must neither overflow nor fade into denormals.
FAINT, LOUD = 2.0**-24, 2.0**24
# Below this a sum over the channels is faster plane by plane than as a matrix product per
# frequency (4 x 4 channels, one block: .39 against 1.7 ns per product).
FEW_PRODUCTS = 16
# Nanoseconds measured with scipy.fft in float32: per point and factor of two of a transform, per
# complex product, per complex weight that is read once for every step, per block.
TRANSFORM_NS, PRODUCT_NS, WEIGHT_NS, BLOCK_NS = 0.25, 0.12, 0.4, 10_000


class Spectrum(typing.NamedTuple):
    """Transformed weights of one group for blocks of one size.

    `values` is ``(frequency, O, C)``, or ``(O, C, *frequencies)`` where these are few, the
    weights having been multiplied by ``2**-exponent``; None where a weight is not finite.
    """

    block: tuple
    exponent: int
    values: np.ndarray | None


def conv_fft(x, weight, bias, padding, groups, *, slope, out, transformed=None):
    """out = the correlation of x with weight, plus bias, negative results times `slope`.

    Parameters
    ----------
    x, weight, bias, padding, groups, slope, out
        As for the kernel ``conv``, with stride 1 and dilation 1; `bias` and `slope` may be None.
    transformed : list of Spectrum, optional
        What :func:`transform_weights` made of `weight`.

    Notes
    -----
    float32 is transformed in float32 (SciPy's transforms if it is installed, else NumPy's), and
    an error is at most 2e-6 of the largest output; it spreads over the whole block, so an output
    far smaller than its neighbours has fewer correct digits than a direct sum gives it. Blocks
    that hold NaN or inf are computed directly: only windows that contain it are touched.
    Very large and very small blocks are scaled by powers of two and do not overflow on the way.

    Extra memory: `STEP_BYTES`, or what one block over all channels and one output channel's
    spectrum take where that is more.
    """
    inputs, outputs = weight.shape[1], len(weight) // groups
    if transformed is None:
        block = choose_block(out.shape, weight.shape, groups, weight.itemsize)
    for g in range(groups):
        own, others = slice(g * outputs, (g + 1) * outputs), slice(g * inputs, (g + 1) * inputs)
        held = transformed and transformed[g]
        step = outputs if held else _outputs_per_step(block, inputs, outputs, weight.itemsize)
        for first in range(own.start, own.stop, step):
            some = slice(first, min(first + step, own.stop))
            spectrum = held or transform_group(weight[some], block)
            offset = None if bias is None else bias[some]
            _correlate(x[:, others], weight[some], offset, padding, slope, out[:, some], spectrum)


def transform_weights(weight, block, groups):
    """The spectra of `weight` for blocks of the size `block`, for many calls of `conv_fft`."""
    return [transform_group(w, block) for w in np.split(weight, groups)]


def transform_group(weight, block):
    """The spectrum of the weights of one group."""
    peak = np.abs(weight).max()
    if not np.isfinite(peak):
        return Spectrum(block, 0, None)
    exponent = 0 if FAINT < peak < LOUD else int(np.frexp(peak)[1])
    axes = _transformed_axes(weight.shape[2:])
    values = np.conj(_forward(np.ldexp(weight, -exponent), axes, block))
    if not _few(weight.shape):
        outputs, inputs = weight.shape[:2]
        values = values.reshape(outputs, inputs, -1).transpose(2, 0, 1)
    return Spectrum(block, exponent, np.ascontiguousarray(values))


def choose_block(out_shape, weight_shape, groups, itemsize, transformed=False):
    """The block size with the least estimated time of those that fit `STEP_BYTES`.

    `transformed` tells that the weights will be, and cost nothing.
    """
    _, block = min(
        _cost(_even_block(out_shape[2:], weight_shape[2:], factor), *rest)
        for rest in [(out_shape, weight_shape, groups, itemsize, transformed)]
        for factor in (1, 2, 3, 4, 6, 8, 16, 32, 64)
    )
    return block


def estimated_seconds(out_shape, weight_shape, groups, itemsize, transformed=False):
    """Estimated time of the best block, in one thread."""
    block = choose_block(out_shape, weight_shape, groups, itemsize, transformed)
    return _cost(block, out_shape, weight_shape, groups, itemsize, transformed)[0]


def workspace(block, inputs, outputs, itemsize):
    """Bytes of the blocks and spectra that a step over so many channels takes."""
    points = math.prod(block) * itemsize
    return points * (3 * (inputs + outputs) + 2 * inputs * outputs)


def scratch(out_shape, weight_shape, groups, itemsize):
    """Bytes that a call takes at most; tracemalloc saw 53 to 92 % of it."""
    block = choose_block(out_shape, weight_shape, groups, itemsize)
    inputs, outputs = weight_shape[1], weight_shape[0] // groups
    step = _outputs_per_step(block, inputs, outputs, itemsize)
    kept = [b - k + 1 for b, k in zip(block, weight_shape[2:])]
    blocks = out_shape[0] * math.prod(-(-n // k) for n, k in zip(out_shape[2:], kept))
    blocks = min(blocks, _blocks_per_step(block, inputs, step, itemsize))
    points = math.prod(block[:-1]) * (block[-1] + 2) * itemsize  # half a spectrum, and one more
    weights, taps = inputs * step, math.prod(weight_shape[2:])
    filtering = points * (2 * weights + blocks * (3 * inputs + 4 * step))
    return max(weights * (taps * itemsize + 3 * points), filtering)


def _even_block(count, kernel_size, factor):
    """Blocks of about `factor` kernels' worth of outputs, all of one size, good to transform."""
    block = []
    for n, k in zip(count, kernel_size):
        windows = -(-n // -(-n // (factor * max(k, 4))))
        block.append(windows if k == 1 else _fast_length(windows + k - 1))
    return tuple(block)


def _cost(block, out_shape, weight_shape, groups, itemsize, transformed):
    """Seconds estimated for `block`, and the block."""
    batch, _, *count = out_shape
    outputs, inputs, *kernel_size = weight_shape
    outputs //= groups
    points = math.prod(block)
    blocks = batch * math.prod(-(-n // (b - k + 1)) for n, b, k in zip(count, block, kernel_size))
    step = outputs if transformed else _outputs_per_step(block, inputs, outputs, itemsize)
    passes = -(-outputs // step)
    sums = blocks * (inputs * passes + outputs) + (not transformed) * inputs * outputs / 2
    batches = -(-blocks // _blocks_per_step(block, inputs, step, itemsize))
    products = (PRODUCT_NS * blocks + WEIGHT_NS * batches) * inputs * outputs / 2
    each = points * (TRANSFORM_NS * math.log2(points + 1) * sums + products) + BLOCK_NS * blocks
    return groups * each * 1e-9 * itemsize / 4, block


def _outputs_per_step(block, inputs, outputs, itemsize):
    """Output channels whose spectra and one block's are within `STEP_BYTES`, at least 1."""
    one = workspace(block, inputs, 1, itemsize)
    more = workspace(block, inputs, 2, itemsize) - one
    return int(np.clip(1 + (STEP_BYTES - one) // more, 1, outputs))


def _blocks_per_step(block, inputs, outputs, itemsize):
    """Blocks of all channels that are within half of `STEP_BYTES`, at least 1."""
    return max(1, STEP_BYTES // 2 // (3 * math.prod(block) * itemsize * (inputs + outputs)))


def _correlate(x, weight, bias, padding, slope, out, spectrum):
    """One group: step through batches of blocks."""
    if spectrum.values is None:
        out[...] = _directly(x, weight, bias, padding, slope)
        return
    block, kernel_size = spectrum.block, weight.shape[2:]
    kept = [b - k + 1 for b, k in zip(block, kernel_size)]
    starts = [range(0, n, step) for n, step in zip(out.shape[2:], kept)]
    places = itertools.product(range(len(x)), *starts)
    size = _blocks_per_step(block, *weight.shape[1::-1], x.itemsize)
    while batch := list(itertools.islice(places, size)):
        field = _gathered(x, batch, block, padding)
        exponents, spoilt = _scaled(field)
        result = _filtered(field, weight.shape, spectrum, kept)
        if exponents.any() or spectrum.exponent:
            with np.errstate(over="ignore"):
                np.ldexp(
                    result, exponents[:, None, None, None, None] + spectrum.exponent, out=result
                )
        _finish(result, bias, slope)
        for place, values, bad in zip(batch, result, spoilt):
            n, *corner = place
            target = out[(n, ..., *(slice(p, p + k) for p, k in zip(corner, kept)))]
            if bad:
                field = _gathered(x, [place], block, padding)
                values = _directly(field, weight, bias, ((0, 0),) * 3, slope)[0]
            target[...] = values[(..., *(slice(n) for n in target.shape[1:]))]


def _gathered(x, places, block, padding):
    """The blocks of all channels whose first windows are at `places`, zeros outside of `x`."""
    field = np.zeros((len(places), x.shape[1], *block), x.dtype)
    for target, (n, *corner) in zip(field, places):
        here, there = [slice(None)], [n, slice(None)]
        for p, b, size, (before, _) in zip(corner, block, x.shape[2:], padding):
            start = p - before
            first = min(max(start, 0), size)
            last = min(max(start + b, first), size)
            here.append(slice(first - start, last - start))
            there.append(slice(first, last))
        target[tuple(here)] = x[tuple(there)]
    return field


def _scaled(field):
    """Scale blocks that are faint or loud, clear those with NaN or inf; exponents, and which."""
    axes = tuple(range(1, field.ndim))
    peak = np.maximum(field.max(axis=axes), -field.min(axis=axes))
    spoilt = ~np.isfinite(peak)
    field[spoilt] = 0
    exponents = np.where(((peak > FAINT) & (peak < LOUD)) | spoilt, 0, np.frexp(peak)[1])
    for i in np.flatnonzero(exponents):
        np.ldexp(field[i], -exponents[i], out=field[i])
    return exponents, spoilt


def _filtered(field, weight_shape, spectrum, kept):
    """Every whole window of every block, summed over the channels: ``(block, O, *kept)``."""
    axes = _transformed_axes(weight_shape[2:])
    block = spectrum.block
    spectra = _forward(field, axes, block)
    if _few(weight_shape):
        total = spectra[:, None, 0] * spectrum.values[:, 0]
        for c in range(1, spectra.shape[1]):
            total += spectra[:, None, c] * spectrum.values[:, c]
        return _inverse(total, axes, block, kept)
    # (frequencies, C, blocks and untransformed axes) and back
    order = [*axes, 1, 0, *(a for a in (2, 3, 4) if a not in axes)]
    columns = spectra.transpose(order)
    moved = list(columns.shape)
    columns = columns.reshape(len(spectrum.values), weight_shape[1], -1)
    moved[len(axes)] = weight_shape[0]
    total = np.matmul(spectrum.values, columns).reshape(moved)
    return _inverse(total.transpose(np.argsort(order)), axes, block, kept)


def _finish(result, bias, slope):
    """Add the bias and rectify, in place."""
    if bias is not None:
        result += bias[:, None, None, None]
    if slope == 0:
        np.maximum(result, 0, out=result)
    elif slope is not None:
        np.multiply(result, slope, out=result, where=result < 0)


def _directly(x, weight, bias, padding, slope):
    """What the direct kernel makes of one group."""
    shape = [n + b + a - k + 1 for n, (b, a), k in zip(x.shape[2:], padding, weight.shape[2:])]
    out = np.empty((len(x), len(weight), *shape), x.dtype)
    x, ones = np.ascontiguousarray(x), (1, 1, 1)
    _dispatch.kernel("conv").conv(
        x, weight, bias, ones, padding, ones, 1, algorithm="direct", slope=slope, out=out
    )
    return out


def _few(weight_shape):
    return weight_shape[0] * weight_shape[1] <= FEW_PRODUCTS


def _transformed_axes(kernel_size):
    """Axes of a ``(N, C, D, H, W)`` array along which the kernel extends."""
    return [a for a, k in enumerate(kernel_size, 2) if k > 1]


def _forward(x, axes, block):
    """Transform along `axes`, filled up with zeros to the size of `block`; the last one is real.

    One axis at a time: rows of a kernel that are zero are not transformed.
    """
    fft, workers = _library()
    for i, axis in enumerate(reversed(axes)):
        x = (fft.fft if i else fft.rfft)(x, block[axis - 2], axis, **workers())
    return x


def _inverse(x, axes, block, kept):
    """The inverse of :func:`_forward`, of which the first `kept` elements of each axis remain."""
    fft, workers = _library()
    for i, axis in enumerate(axes, 1):
        inverse = fft.irfft if i == len(axes) else fft.ifft
        x = inverse(x, block[axis - 2], axis, **workers())
        x = x[(slice(None),) * axis + (slice(kept[axis - 2]),)]
    return x


@functools.cache
def _library():
    """The module that transforms, and its keywords: SciPy's obeys our number of threads."""
    if importlib.util.find_spec("scipy") is None:
        return np.fft, dict
    import scipy.fft

    return scipy.fft, lambda: {"workers": get_num_threads()}


@functools.cache
def _fast_length(n):
    """The least even number from `n` on without prime factors above 7."""
    while True:
        rest = n
        for prime in (2, 3, 5, 7):
            while rest % prime == 0:
                rest //= prime
        if rest == 1 and n % 2 == 0:
            return n
        n += 1
