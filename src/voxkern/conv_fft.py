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

# The blocks and spectra of one step, and the making of the weights' spectra for it; a single block
# and one output channel may need more.
STEP_BYTES = 64 * 2**20
# Spectra of weights that are kept between calls.
HELD_BYTES = 128 * 2**20
# Sizes of blocks that are considered, in multiples of the kernel's.
FACTORS = (1, 2, 3, 4, 6, 8, 16, 32, 64)
# Peaks outside of these are scaled by a power of two: a spectrum and its products are up to
# block * block * channels times as large, and must neither overflow nor fade into denormals.
FAINT, LOUD = 2.0**-24, 2.0**24
# Below this a sum over the channels is faster plane by plane than as a matrix product per
# frequency (4 x 4 channels, one block: .39 against 1.7 ns per product).
FEW_PRODUCTS = 16
# Nanoseconds measured with scipy.fft in float32: per point and factor of two of a transform, per
# complex product, per complex weight that is read once for every step, per block.
TRANSFORM_NS, PRODUCT_NS, WEIGHT_NS, BLOCK_NS = 0.2, 0.2, 0.4, 10_000
# What is above this size is transformed at two thirds of the speed.
CACHE_BYTES = 2**21
# Nanoseconds per product and sum of the direct kernels of each CPU level (v4: 180 GFLOP/s); how
# much faster than they an estimate must be. Nothing below these sizes won in
# asv_bench/fft_crossover.py; an estimate takes .1 ms, once for a shape.
DIRECT_NS = {"v4": 0.011, "v3": 0.022, "baseline": 0.044}
MARGIN, FEWEST_TAPS, LEAST_SECONDS = 1.25, 49, 2e-4


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
    float32 is transformed in float32 (SciPy's transforms if it is installed, else NumPy's). An
    error is at most 1e-6 of the largest output, for up to 1024 channels of normal, rectified,
    offset, heavy-tailed and 0..255 data (measured: 6e-7), and from 25 terms a sum at most 3 times
    that of float32 sums in order (of 3 terms: 3.7 times). It spreads over the whole block: an
    output far smaller than its neighbours has fewer correct digits than a direct sum gives it.

    Blocks that hold NaN or inf are computed directly, so only windows that contain it are touched;
    so is everything where a weight is not finite. Blocks and weights far from 1 are scaled by
    powers of two and do not overflow on the way.

    SciPy's transforms use our number of threads; the products are NumPy's, in the threads of its
    BLAS. Extra memory: :func:`scratch`, up to 1.5 `STEP_BYTES` wherever one block over all
    channels and one output channel's spectrum are within that.
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
    values = _forward(np.ldexp(weight, -exponent), axes, block)
    np.conj(values, out=values)
    if not _few(weight.shape):
        outputs, inputs = weight.shape[:2]
        values = values.reshape(outputs, inputs, -1).transpose(2, 0, 1)
    return Spectrum(block, exponent, np.ascontiguousarray(values))


def choose_block(out_shape, weight_shape, groups, itemsize, transformed=False):
    """The block size with the least estimated time of those that fit the memory.

    `transformed` tells that the weights will be: that costs no time, but they are all held.
    """
    return _best_block(out_shape, weight_shape, groups, itemsize, transformed)[2]


def pays(out_shape, weight_shape, groups, transformed=False):
    """Whether this is clearly faster than direct sums, by the formula of the constants above.

    For float32; nearly the same holds for float64. Never without SciPy: NumPy's transforms of
    several axes take 2 to 7 times as long.
    """
    taps = math.prod(weight_shape[2:])
    products = math.prod(out_shape) * weight_shape[1] * taps
    rate = DIRECT_NS[_dispatch.cpu_level]
    rate *= 1 + groups / weight_shape[0]  # half the speed for a single output channel
    direct = rate * products * 1e-9
    if taps < FEWEST_TAPS or direct < LEAST_SECONDS or not _has_scipy():
        return False
    return MARGIN * estimated_seconds(out_shape, weight_shape, groups, 4, transformed) < direct


def estimated_seconds(out_shape, weight_shape, groups, itemsize, transformed=False):
    """Estimated time of the best block, in one thread."""
    return _best_block(out_shape, weight_shape, groups, itemsize, transformed)[1]


@functools.lru_cache(256)
def _best_block(out_shape, weight_shape, groups, itemsize, transformed):
    """Bytes above the limit, which is 0 where any block fits, seconds, and the block."""
    shapes = out_shape, (weight_shape[0] // groups, *weight_shape[1:])
    blocks = {_even_block(out_shape[2:], weight_shape[2:], factor) for factor in FACTORS}
    rest = itemsize, transformed
    return min(
        (_excess(b, shapes[1], *rest), groups * _seconds(b, *shapes, *rest), b) for b in blocks
    )


def scratch(out_shape, weight_shape, groups, itemsize):
    """Bytes that a call takes at most, for float32 and float64; NumPy's transforms take twice."""
    block = choose_block(out_shape, weight_shape, groups, itemsize)
    inputs, outputs = weight_shape[1], weight_shape[0] // groups
    step = _outputs_per_step(block, inputs, outputs, itemsize)
    blocks = out_shape[0] * _blocks(out_shape[2:], block, weight_shape[2:])
    together = _blocks_per_step(blocks, block, inputs, step, itemsize)
    points = math.prod(block[:-1]) * (block[-1] + 2) * itemsize  # half a spectrum, and one more
    weights = inputs * step
    making = weights * (math.prod(weight_shape[2:]) * itemsize + 3 * points)
    most = max(making, points * (weights + together * (3 * inputs + 4 * step)))
    return most if _has_scipy() else 2 * most


def _excess(block, weight_shape, itemsize, transformed):
    """Bytes above the limits of one step and of the held spectra."""
    outputs, inputs = weight_shape[:2]
    if not transformed:
        return max(0, _step_bytes(block, inputs, 1, itemsize) - STEP_BYTES)
    points = math.prod(block) * itemsize
    return max(
        0,
        points * inputs * outputs - HELD_BYTES,
        _field_bytes(block, inputs, outputs, itemsize) - STEP_BYTES,
    )


def _field_bytes(block, inputs, outputs, itemsize):
    """Bytes of one block of all channels, its spectra, their copies and those of the result."""
    return 3 * math.prod(block) * itemsize * (inputs + outputs)


def _step_bytes(block, inputs, outputs, itemsize):
    """The same with the spectra of the weights, which are held twice while they are made."""
    spectra = 2 * math.prod(block) * itemsize * inputs * outputs
    return _field_bytes(block, inputs, outputs, itemsize) + spectra


def _blocks(count, block, kernel_size):
    """How many blocks it takes to make `count` outputs along each axis."""
    return math.prod(-(-n // (b - k + 1)) for n, b, k in zip(count, block, kernel_size))


def _even_block(count, kernel_size, factor):
    """Blocks of about `factor` kernels' worth of outputs, all of one size, good to transform."""
    block = []
    for n, k in zip(count, kernel_size):
        windows = -(-n // -(-n // (factor * max(k, 4))))
        block.append(windows if k == 1 else _fast_length(windows + k - 1))
    return tuple(block)


def _seconds(block, out_shape, weight_shape, itemsize, transformed):
    """Estimated time of one group, in one thread."""
    batch, _, *count = out_shape
    outputs, inputs, *kernel_size = weight_shape
    points = math.prod(block)
    blocks = batch * _blocks(count, block, kernel_size)
    step = outputs if transformed else _outputs_per_step(block, inputs, outputs, itemsize)
    sums = blocks * (inputs * -(-outputs // step) + outputs)
    if not transformed:
        sums += inputs * outputs
    together = _blocks_per_step(blocks, block, inputs, step, itemsize)
    steps = -(-blocks // together)
    products = (PRODUCT_NS * blocks + WEIGHT_NS * steps) * inputs * outputs / 2
    cached = together * points * inputs * itemsize <= CACHE_BYTES
    transforms = TRANSFORM_NS * (1 if cached else 1.5) * math.log2(2 * points) * sums
    return (points * (transforms + products) * itemsize / 4 + BLOCK_NS * blocks) * 1e-9


def _outputs_per_step(block, inputs, outputs, itemsize):
    """Output channels whose spectra and those of one block are within `STEP_BYTES`, or 1."""
    one = _step_bytes(block, inputs, 1, itemsize)
    each = _step_bytes(block, inputs, 2, itemsize) - one
    return min(outputs, 1 + max(0, STEP_BYTES - one) // each)


def _blocks_per_step(blocks, block, inputs, outputs, itemsize):
    """How many of `blocks` go through together: an even share, within `STEP_BYTES` or 1."""
    most = max(1, STEP_BYTES // _field_bytes(block, inputs, outputs, itemsize))
    return -(-blocks // -(-blocks // most)) if blocks else 1


def _correlate(x, weight, bias, padding, slope, out, spectrum):
    """One group: step through batches of blocks."""
    if spectrum.values is None:
        out[...] = _directly(x, weight, bias, padding, slope)
        return
    block, kernel_size = spectrum.block, weight.shape[2:]
    kept = [b - k + 1 for b, k in zip(block, kernel_size)]
    starts = [range(0, n, step) for n, step in zip(out.shape[2:], kept)]
    places = list(itertools.product(range(len(x)), *starts))
    size = _blocks_per_step(len(places), block, *weight.shape[1::-1], x.itemsize)
    for first in range(0, len(places), size):
        batch = places[first : first + size]
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
        *(x, weight, bias, ones, padding, ones, 1),
        algorithm="direct",
        slope=slope,
        packed=None,
        flipped=False,
        whole=None,
        accumulate=False,
        out=out,
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
def _has_scipy():
    return importlib.util.find_spec("scipy") is not None


@functools.cache
def _library():
    """The module that transforms, and its keywords: SciPy's obeys our number of threads."""
    if not _has_scipy():
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
