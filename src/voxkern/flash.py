"""The flash table: how much the brightest-changing pixels of a video change, frame by frame."""

import functools
import math

import numpy as np

from voxkern import _check, _dispatch
from voxkern._threads import get_num_threads

DTYPES = ("uint8", "uint16", *_check.FLOATS)
# Frames, their bytes and the doubles kept of them, that one call of the kernel takes at the most:
# these bound the memory, and a group of one frame is only 1.1 times as slow.
GROUP, GROUP_BYTES, GROUP_LARGEST = 64, 2**24, 2**19
# Pixels under which a second thread does not pay.
PART = 65536
# The screen: codes lie below CODES; a cubic serves if it is as CLOSE as this part of the range.
CODES, CLOSE = 65000, 0.02
STEEPNESS = (1, 1.003, 1.01, 1.03, 1.1, 1.3, 2)


def _exam(gray):
    return 4 * (0.2 * gray + 1) ** 2.2


def _linear(gray):
    return gray


def _ofcom(gray):
    return 413.435 * (0.002745 * gray + 0.0189623) ** 2.2


def _srgb(gray):
    code = gray / 255
    return np.where(code <= 0.04045, code / 12.92, ((code + 0.055) / 1.055) ** 2.4)


# Curves that are powers: knee, below, scale, slope, offset, rest, floor and fifths of `Power` in
# flash.h. The rests are 2.2 - 11 / 5 and 2.4 - 12 / 5, as doubles are exactly.
# The floor is where the base is half of its offset, or 0 where there is another piece below.
REST = 1.7763568394002505e-16, -8.881784197001253e-17
POWERS = {
    _exam: (-math.inf, -1, 4, 0.2, 1, REST[0], -2.5, 1),
    _linear: (math.inf, 1, 1, 1, 0, 0, 0, 0),
    _ofcom: (-math.inf, -1, 413.435, 0.002745, 0.0189623, REST[0], -3.453, 1),
    _srgb: (10.31475, 1 / 3294.6, 1, 1 / 269.025, 0.055 / 1.055, REST[1], 0, 2),
}
# Of h in (-0.156, 0.156), for 0, 1 and 2 fifths: cubics near 1, (1 + h)**-0.8 and (1 + h)**-0.6.
# The largest error of the key is CLOSE_KEYS, twice that of the cubics, or that of rounded sums.
KEYS = (
    (0, 0, 0, 0),
    (0.999953423922352, -0.799913498034793, 0.7355436211899211, -0.6898014792516628),
    (0.9999726975425272, -0.5999371702835026, 0.4891042913701428, -0.42680467900757546),
)
CLOSE_KEYS = (1e-6, 1e-4, 1e-4)

CURVES = {"exam": _exam, "linear": _linear, "ofcom": _ofcom, "srgb": _srgb}


def luminance(frames, curve="exam"):
    """Luminance of every pixel: a curve of its gray.

    Parameters
    ----------
    frames : array_like
        ``(F, H, W, 3)`` or ``(F, H, W)``: uint8, uint16, float16, float32 or float64. Gray is the
        mean over the channels in float64; values are taken as they are, whatever the dtype. The
        named curves expect 0 to 255: give 16-bit video a curve such as
        ``lambda gray: 4 * (0.2 * gray / 257 + 1) ** 2.2``.
    curve : str or callable
        ``"exam"``: ``4 * (0.2 * gray + 1) ** 2.2``.
        ``"ofcom"``: cd/m2, ``413.435 * (0.002745 * gray + 0.0189623) ** 2.2`` (ITU-R BT.1702-0).
        ``"srgb"``: relative luminance 0 to 1 (IEC 61966-2-1). ``"linear"``: gray itself.
        A callable takes a float64 array of grays and returns its luminances elementwise; for
        integer frames it is called once, with all the grays that the dtype can make (and frame
        by frame where one of these has no finite luminance). For float frames on a device it must
        be a name.

    Returns
    -------
    ndarray
        ``(F, H, W)`` float64. An array on a device, of the kind of `frames`, where those lie there.

    Raises
    ------
    TypeError
        A dtype or argument type that is not served.
    ValueError
        A shape, a channel count or a curve that is not served.

    Notes
    -----
    Beside the result, memory of one frame (and of a table of at most 1.5 MB) is used.

    Examples
    --------
    >>> voxkern.luminance(np.array([[[200, 255]]], np.uint8), "ofcom").round(1)
    array([[[119.1, 200. ]]])
    """
    curve = _curve(curve)
    frames = _frames(frames)
    if not isinstance(frames, np.ndarray):
        out = frames.empty(frames.shape[:3], "float64")
        pixels = out.reshape(out.shape[0], math.prod(out.shape[1:]))
        module = _dispatch.kernel("flash", frames)
        rule = _device_curve(curve, frames, frames.ndim == 4)
        module.luminance(_pixels(frames), rule, out=pixels)
        return _check.deliver(out, out)
    out = np.empty(frames.shape[:3])
    table = _table(curve, frames)
    for index, target in enumerate(out.reshape(len(frames), math.prod(out.shape[1:]))):
        if table:
            np.take(table[0], _totals(frames[index]), out=target, mode="clip")
        else:
            target[...] = _luminance(frames[index], curve)
    return out


def flash_table(frames, k=5, curve="exam"):
    """How much the most-changing pixels change between consecutive frames.

    For each pair of frames the `k` largest rises of luminance are averaged to p (pixels that do
    not rise count as 0), and the `k` largest falls likewise to n. The row is p if p > n, else -n.

    Parameters
    ----------
    frames : array_like
        ``(F, H, W, 3)`` or ``(F, H, W)``, as for :func:`luminance`.
    k : int
        How many pixels are averaged; at most the pixels of a frame.
    curve : str or callable
        Luminance of gray, as for :func:`luminance`.

    Returns
    -------
    ndarray
        ``(F - 1, 1)`` float64, ``(0, 1)`` where F < 2. A frame with a NaN makes the rows of both
        its pairs NaN. A static pair gives -0.0. An array on a device where `frames` lie on one.

    Raises
    ------
    TypeError
        A dtype or argument type that is not served; `k` not an integer.
    ValueError
        A shape, a channel count or a curve that is not served; `k` too large or below 1.

    Notes
    -----
    One pass over the frames, at about the speed of memory for uint8. The same bits come out for
    any number of threads. Extra memory does not grow with F: at most 12 MB for the largest changes,
    or ``48 * k`` bytes per thread where that is more; where `frames` is not contiguous, a copy of
    16 MB or one frame at a time, and what :class:`FlashTable` keeps. Rows of float frames are the
    float64 oracle's but for some 4 units in the last place of the luminances. Float frames with a
    callable take some 32 bytes per pixel and the time of the callable for every frame.

    Frames on a device are read once there, with up to 128 MB of its memory beside them;
    :class:`FlashTable` with ``device=True`` takes a video that is larger than that memory.

    Source: Carreira et al., "Automatic detection of flashing video content" (QoMEX 2015,
    doi 10.1109/QoMEX.2015.7148104), simplified; Stanford CS230's exam question.

    Examples
    --------
    >>> dark, bright = np.zeros((9, 9), np.uint8), np.full((9, 9), 100, np.uint8)
    >>> voxkern.flash_table([dark, bright, bright, dark]).round(1)
    array([[ 3239.],
           [   -0.],
           [-3239.]])
    """
    stream = FlashTable(k, curve)
    frames = _frames(frames)
    stream._expect(frames)
    return stream._rows(frames, keep=False)


class FlashTable:
    """:func:`flash_table` of a stream: memory is constant however many frames are pushed.

    Parameters
    ----------
    k : int
        How many pixels are averaged; at most the pixels of a frame.
    curve : str or callable
        Luminance of gray, as for :func:`luminance`.
    device : bool
        Compute frames of the host on the current CUDA device. They are copied there in chunks of at
        most 128 MB (at least one frame), one while the other is computed, so that a push may be
        larger than the device's memory. Copies from pinned memory are the fastest, such as
        ``numba.cuda.pinned_array``. Rows are NumPy's.

    Notes
    -----
    Rows are bit-identical to those of :func:`flash_table` however the frames are divided into
    pushes. What is kept between pushes is the last frame: gray and floats as they are, 2 bytes per
    pixel for RGB of uint8, 4 for RGB of uint16, 8 where a callable is asked for every frame. An
    object serves one stream in one thread at a time. Frames on a CUDA device need no `device`: all
    of a stream lie there, and so do its rows and a copy of the last frame.

    Examples
    --------
    >>> table = voxkern.FlashTable()
    >>> for frame in decoded_frames:
    ...     for row in table.push(frame):
    ...         print(row[0])
    """

    def __init__(self, k=5, curve="exam", *, device=False):
        self._k = _check.integer(k, "k", minimum=1)
        self._curve = _curve(curve)
        self._device = _check.flag(device, "device")
        self._frame = None  # shape and dtype that every frame of the stream has
        self._rows_of = self._rule = None  # how rows are made, and its table or numbers
        self._before = None  # what that keeps of the last frame

    def push(self, frames):
        """Take the next frames of the stream and return the rows that they complete.

        Parameters
        ----------
        frames : array_like
            ``(n, H, W, 3)`` or ``(n, H, W)``, or one frame ``(H, W, 3)`` or ``(H, W)``. Three axes
            of which the last is 3 are one frame, unless the stream's frames are ``(H, 3)``.

        Returns
        -------
        ndarray
            ``(n, 1)`` float64, one row less at the first push of a stream.

        Raises
        ------
        TypeError, ValueError
            As :func:`flash_table`, and where size or dtype differ from those of the frames before.
            Nothing is taken then: the stream goes on with the next good frame.
        """
        host_only = self._device  # and goes to the device by chunks
        frames = _check.readable(frames, "frames", DTYPES) if host_only else _readable(frames)
        rgb = self._frame is None or len(self._frame[0]) == 3
        if frames.ndim == 2 or (frames.ndim == 3 and frames.shape[2] == 3 and rgb):
            frames = frames.reshape(1, *frames.shape)
        check_shape(frames.shape)
        self._expect(frames)
        return self._rows(frames)

    def _expect(self, frames):
        """Raise unless `frames` go on with the stream and have `k` pixels."""
        frame = _frame(frames)
        if self._frame not in (None, frame):
            raise ValueError(
                f"frames have size {frame[0]} and dtype {frame[1]}; "
                f"they must have {self._frame[0]} and {self._frame[1]}, as the frames before"
            )
        if self._before is not None and not self._device:
            _check.same_side(not isinstance(frames, np.ndarray), "frames", self._before)
        pixels = math.prod(frame[0][:2])
        if self._k > pixels:
            raise ValueError(f"k is {self._k}; it must be at most {pixels}, the pixels of a frame")

    def _rows(self, frames, keep=True):
        """Rows of checked frames; the last of these is kept when all are done."""
        if frames.shape[0] == 0:
            if isinstance(frames, np.ndarray):
                return np.empty((0, 1))
            return frames.empty((0, 1), "float64").owner
        rows_of, rule, before = self._rows_of, self._rule, self._before
        if self._frame is None:
            rows_of, rule = _way(self._curve, frames)
            if self._device:
                rows_of, rule = _rows_through_device, self._curve
        rows, before = rows_of(frames, self._k, rule, before, keep)
        self._rows_of, self._rule, self._before = rows_of, rule, before
        self._frame = _frame(frames)
        return rows


def _way(curve, frames):
    """The function that makes rows of `frames`, and what it takes of `curve`."""
    if not isinstance(frames, np.ndarray):
        return _rows_on_device, _device_curve(curve, frames, frames.ndim == 4)
    if table := _table(curve, frames):
        return _rows_by_table, table
    if frames.dtype.kind == "f" and curve in POWERS:
        return _rows_by_power, _power(curve)
    return _rows_by_luminance, curve


def _rows_by_table(frames, k, table, before, keep):
    """Rows of integer frames, and the sums of the last.

    `before` has the sums of the frame before, None where there is none; it becomes those of the
    last. None are made where nothing is to be kept.
    """
    started = before is not None
    keep = keep or not _as_is(frames)
    if not started:
        before = np.empty(math.prod(frames.shape[1:3]) if keep else 0, _total(frames))

    def kernel(some, started, out):
        module = _dispatch.kernel("flash")
        module.largest_changes(_pixels(some), *table, before, started, out=out)

    return _rows_by_groups(frames, k, kernel, started, keep), before


def _rows_by_power(frames, k, power, before, keep):
    """Rows of float frames with a curve that is a power, and the pixels of the last frame."""
    dtype = np.float32 if frames.itemsize == 2 else frames.dtype.newbyteorder("=")
    started = before is not None
    keep = keep or not _as_is(frames) or frames.dtype != dtype
    if not started:
        pixels = math.prod(frames.shape[1:3]) if keep else 0
        before = np.empty((pixels, math.prod(frames.shape[3:])), dtype)

    def kernel(some, started, out):
        pixels = _pixels(some.astype(dtype, copy=False))
        _dispatch.kernel("flash").largest_power_changes(pixels, power, before, started, out=out)

    return _rows_by_groups(frames, k, kernel, started, keep), before


def _rows_on_device(frames, k, curve, before, keep):
    """Rows of frames on a device, and a copy of the last frame."""
    rows = frames.empty((frames.shape[0] - (before is None), 1), "float64")
    pixels = _pixels(frames)
    module = _dispatch.kernel("flash", frames)
    module.rows(pixels, before, k, curve, module.scratch(pixels, k), out=rows)
    if keep:
        if before is None:
            before = frames.empty((1, *pixels.shape[1:]), frames.dtype)
        _dispatch.cuda().copy_to(before.part(0), pixels.part(-1))
    return _check.deliver(rows, rows), before


def _rows_through_device(frames, k, curve, before, keep):
    """Rows of frames on the host that a device computes, and what that keeps of them."""
    if before is None:
        _dispatch.cuda()  # raises where there is none
        module = _dispatch.module("cuda", None, "flash")
        rgb = frames.ndim == 4
        before = module.HostFrames(
            _pixels(frames[:1])[0], k, lambda like: _device_curve(curve, like, rgb)
        )
    return before.rows(frames, _pixels), before


def _rows_by_groups(frames, k, kernel, started, keep):
    """Rows of so many frames at a time that memory is bounded.

    The first frame has no row where the clip has not `started` with an earlier one. Where nothing
    is kept of the last frame of a group, the next group begins with that frame.
    """
    rows = np.empty((len(frames) - (not started), 1))
    parts = _parts(frames)
    group = max(1, min(GROUP, GROUP_LARGEST // (2 * parts * k)))
    if not _as_is(frames):
        size = math.prod(frames.shape[1:]) * max(frames.itemsize, 4 * (frames.dtype.kind == "f"))
        group = max(1, min(group, GROUP_BYTES // size))
    at = done = 0
    while at < len(frames) - (not keep):
        some = frames[at : at + group + (not started)]
        pairs = len(some) - (not started)
        largest = np.zeros((parts, max(pairs, 1), 2, k))
        kernel(some, started, largest)
        rows[done : done + pairs, 0] = _signed_means(largest)[:pairs]
        done += pairs
        at, started = at + pairs + (keep and not started), keep
    return rows


def _rows_by_luminance(frames, k, curve, before, keep):
    """Rows of frames that neither table nor power serves, and the luminance of the last."""
    if before is None:
        before, frames = _luminance(frames[0], curve), frames[1:]
    rows = np.empty((len(frames), 1))
    for frame, row in zip(frames, rows):
        now = _luminance(frame, curve)
        largest = np.zeros((_parts(frames), 2, k))
        _dispatch.kernel("flash").largest_differences(before, now, out=largest)
        row[...] = _signed_means(largest[:, None])[0]
        before = now
    return rows, before


def largest_changes(frames, k, curve):
    """The `k` largest rises and falls of every pair of frames that may be a part of larger ones.

    Returns ``(F - 1, 2, k)`` float64, in ascending order, filled up with zeros. The rows that
    :func:`_signed_means` makes of all parts of the frames are those of :func:`flash_table`.
    """
    curve, frames = _curve(curve), _check.contiguous(frames)
    rows_of, rule = _way(curve, frames)
    largest = np.zeros((_parts(frames), len(frames) - 1, 2, k))
    kernel, pixels = _dispatch.kernel("flash"), _pixels(frames)
    if rows_of is _rows_by_table:
        kernel.largest_changes(pixels, *rule, np.empty(0, _total(frames)), False, out=largest)
    elif rows_of is _rows_by_power:
        pixels = pixels.astype(np.float32) if frames.itemsize == 2 else pixels
        before = np.empty((0, pixels.shape[2]), pixels.dtype)
        kernel.largest_power_changes(pixels, rule, before, False, out=largest)
    else:
        before = _luminance(frames[0], curve)
        for pair, frame in enumerate(frames[1:]):
            now = _luminance(frame, curve)
            some = np.zeros((len(largest), 2, k))
            kernel.largest_differences(before, now, out=some)
            largest[:, pair], before = some, now
    return _merged(largest)[..., -k:]


def _signed_means(largest):
    """Rows of (part, frame, rise or fall, k): the mean of the k largest of all parts, signed.

    Sorted first: the sum does not depend on the order or the part that a value was found in.
    """
    k = largest.shape[3]
    sums = np.add.reduce(_merged(largest)[:, :, -k:], axis=2)
    # As a list: a push of one small frame takes 3 of 10 microseconds less.
    return [rise / k if rise > fall else -fall / k for rise, fall in sums.tolist()]


def _merged(largest):
    """The changes of (part, frame, rise or fall, k) without the parts, in ascending order."""
    parts, pairs, _, k = largest.shape
    of_all = largest.transpose(1, 2, 0, 3).reshape(pairs, 2, parts * k)
    of_all.sort(axis=2)
    return of_all


def _readable(frames):
    """The frames with their dtype checked: of any layout on the host, contiguous on a device."""
    if _dispatch.on_device(frames) or _dispatch.forced_backend == "cuda":
        return _check.anywhere(frames, "frames", DTYPES)
    return _check.readable(frames, "frames", DTYPES)


def _frames(frames):
    """The checked frames."""
    frames = _readable(frames)
    check_shape(frames.shape)
    return frames


def check_shape(shape):
    """Raise unless it is one of frames."""
    if len(shape) != 3 and (len(shape) != 4 or shape[3] != 3):
        raise ValueError(f"frames have shape {shape}; they must be (F, H, W) or (F, H, W, 3)")


def _frame(frames):
    """Size and dtype of one frame."""
    return frames.shape[1:], frames.dtype.newbyteorder("=")


def _parts(frames):
    """Parts of a frame that get a thread each."""
    return max(1, min(get_num_threads(), math.prod(frames.shape[1:3]) // PART))


def _as_is(frames):
    """Whether kernels take `frames` without a copy."""
    return frames.flags.c_contiguous and frames.flags.aligned and frames.dtype.isnative


def _pixels(frames):
    """Contiguous (frame, pixel, channel)."""
    channels = frames.shape[3] if frames.ndim == 4 else 1
    pixels = math.prod(frames.shape[1:3])
    if isinstance(frames, np.ndarray):
        frames = _check.contiguous(frames)
    return frames.reshape(frames.shape[0], pixels, channels)


def _totals(frame):
    """Sums over the channels of an integer frame."""
    pixels = _pixels(frame[None])[0]
    if pixels.shape[1] == 1:
        return pixels[:, 0]
    out = np.empty(len(pixels), _total(frame[None]))
    _dispatch.kernel("flash").totals(pixels, out=out)
    return out


def _total(frames):
    """The type of the sums over the channels of integer frames: of gray, its own."""
    if frames.ndim == 3:
        return frames.dtype.newbyteorder("=")
    return np.int32 if frames.itemsize == 2 else np.uint16


def _luminance(frame, curve):
    """Luminance of every pixel of one frame, by the curve itself."""
    first, *others = _pixels(frame[None])[0].T
    gray = first.astype(np.float64)
    with np.errstate(all="ignore"):
        for channel in others:
            gray += channel
        if others:
            gray /= 3
    return _evaluate(curve, gray)


def _evaluate(curve, gray):
    """`curve` of an array of grays; warnings are silent, a NaN in the result speaks."""
    with np.errstate(all="ignore"):
        values = np.asarray(curve(gray))
    if values.shape != gray.shape or values.dtype.kind not in "iuf":
        raise ValueError(
            f"curve returned shape {values.shape} and dtype {values.dtype} for grays of shape "
            f"{gray.shape}; it must return as many real numbers"
        )
    return np.ascontiguousarray(values, np.float64)


def _curve(curve):
    """The function of gray that `curve` names or is."""
    if callable(curve):
        return curve
    if not isinstance(curve, str):
        raise TypeError(f"curve is {curve!r}; it must be a name or a function of gray")
    if curve not in CURVES:
        raise ValueError(f"curve is {curve!r}; it may be {', '.join(CURVES)} or a function")
    return CURVES[curve]


def _table(curve, frames):
    """Luminance of every sum of channels and its screen; None where no table serves.

    That is for float frames, and for a curve that is not finite everywhere.
    """
    if frames.dtype.kind != "u":
        return None
    make = _named_table if curve in CURVES.values() else _make_table
    return make(curve, np.iinfo(frames.dtype).max, 3 if frames.ndim == 4 else 1)


def _power(curve):
    """The numbers of `Power` in flash.h."""
    *numbers, fifths = POWERS[curve]
    return np.array([*numbers, CLOSE_KEYS[fifths], *KEYS[fifths], fifths], np.float64)


def _device_curve(curve, frames, rgb):
    """What the kernels on a device take: luminance of every sum of channels, or of a power."""
    if frames.dtype.kind == "u":
        values = _luminances(curve, np.iinfo(frames.dtype).max, 3 if rgb else 1)
        table = frames.empty(values.shape, values.dtype)
        _dispatch.cuda().copy_to(table, values)
        return table
    if curve not in POWERS:
        raise ValueError(
            f"curve is {curve!r}; for floats on a CUDA device it may be {', '.join(CURVES)}"
        )
    knee, below, scale, slope, offset, *_, fifths = POWERS[curve]
    return *map(float, (knee, below, scale, slope, offset)), 2 + fifths / 5


def _luminances(curve, top, channels):
    """Luminance of every sum over the channels of values up to `top`."""
    return _evaluate(curve, np.arange(channels * top + 1) / channels)


def _make_table(curve, top, channels):
    values = _luminances(curve, top, channels)
    if not np.isfinite(values).all():
        return None
    return values, *_screen(values, channels)


def _screen(values, channels):
    """Codes that follow the luminance of every sum, and lines that bound its changes by theirs.

    Codes are a cubic of the sum where one follows closely, since a kernel computes that faster than
    it looks codes up. For 16 bits there are cubics for sums below powers of two: one alone would be
    too coarse for dark parts, and for 10 bits in 16. Returns the codes, the cubics (each a limit of
    sums, a scale and coefficients), their lines and the slack of `values`.
    """
    slack = _slack(values)
    screens = _cubics(values, channels) if slack < np.inf else []
    codes = np.zeros(1, np.uint16)
    if not screens:
        span = np.ptp(values) or 1
        codes = np.round((values - values.min()) * (CODES / span)).astype(np.uint16)
        screens = [([2**30, 0, 0, 0, 0], _lines(values, codes)[0])]
    cubics, lines = zip(*screens)
    return codes, np.array(cubics, np.int32), np.array(lines, np.float64), slack


def _slack(values):
    """How much a rise by d sums up to `top`, or below, may exceed that from ``top - d`` to `top`.

    Nothing if steps never shrink. Let every step be as large as the largest before it: then they do
    not, and no value is raised by more than all steps together. A rise is at most that of the
    raised values and what its foot was raised by, and so of the one below `top`. A billionth of the
    range is far above the rounding. Infinite where `values` decrease.
    """
    steps = np.diff(values)
    if (steps < 0).any():
        return np.inf
    return 2 * (np.maximum.accumulate(steps) - steps).sum() + 1e-9 * np.ptp(values)


def _cubics(values, channels):
    """Cubics and their lines for all limits of sums; none where one follows `values` badly."""
    sums = np.arange(values.size)
    if values.size < 1000:
        scales = [(2**16, 65535 // sums[-1], 0)]
    else:  # of RGB the scaled sums have 18 bits, of which two are dropped
        drop = 2 * (channels == 3)
        scales = [(2**bits, 2 ** (16 + drop - bits), drop) for bits in range(8 + drop, 17 + drop)]
    screens = []
    for limit, scale, drop in scales:
        some = values[:limit]
        if some[0] == some[-1]:
            return []
        codes, cubic = _cubic_codes(some, sums[:limit] * scale >> drop, scale >> drop)
        lines, slack = _lines(some, codes)
        if slack > CLOSE * np.ptp(some):
            return []
        screens.append(([limit, scale, *cubic], lines))
    return screens


def _cubic_codes(values, x, step):
    """The codes that kernels make of a cubic of `x` near to `values`, and that cubic.

    Its coefficients are not negative, so that the codes never decrease.
    """
    # Where x has large steps the codes grow by one or more from sum to sum: then the same code
    # twice is no change.
    least = int(np.ceil(65536 / step)) if step > 64 else 0
    cubic = np.floor(_cubic(x / 65536, values, least / CODES) * CODES).astype(np.int64)
    first, second, third = max(least, cubic[0]), cubic[1], cubic[2]
    codes = (((third * x >> 16) + second) * x >> 16) + first
    return (codes * x >> 16).astype(np.uint16), (first, second, third)


def _cubic(x, values, least):
    """Coefficients of x, x**2 and x**3 for the rise of `values`, none negative, the first `least`.

    Their sum is 1.
    """
    step = 1 + x.size // 1000
    rise = (values - values[0])[::step] / (values[-1] - values[0])
    powers = x[::step, None] ** [1, 2, 3]
    fits = []
    for used in ([0, 1, 2], [0, 1], [0, 2], [0]):
        cubic, others = np.zeros(3), used[1:]
        cubic[used] = np.linalg.lstsq(powers[:, used], rise)[0]
        if cubic[0] < least:
            cubic[0] = least
            cubic[others] = np.linalg.lstsq(powers[:, others], rise - least * powers[:, 0])[0]
        if cubic.min() >= 0:
            fits.append((np.linalg.norm(powers @ cubic - rise), *cubic))
    cubic = np.array(min(fits)[1:])
    return cubic / cubic.sum()


def _lines(values, codes):
    """Lines above which a difference of codes lies if the change of luminance is above a bound.

    For a steepness m let e be the largest ``scale * (values[a] - values[b]) - m * d`` over all sums
    a and b, where d is ``max(codes[a] - codes[b], 0)``. Then a change above a bound takes
    ``scale * bound < m * d + e``, which is d above the line ``(scale * bound - e) / m``. Near 1, m
    serves large changes; larger ones serve small changes, whose error is relative to them. The
    first line says that equal codes are no change, where that is so. Also returns how far from
    proportional the differences are, in luminance.
    """
    if (np.diff(values) < 0).any() or (codes[1:] < codes[:-1]).any():
        order = np.lexsort((values, codes))
        codes, values = codes[order], values[order]
    codes = codes.astype(np.float64)
    scale = max(codes[-1], 1) / max(values[-1] - values[0], 1e-300)
    against = (np.maximum.accumulate(values) - values).max()  # luminance falls as codes do not
    alike = values[1:][codes[1:] == codes[:-1]] > values[:-1][codes[1:] == codes[:-1]]
    lines = [(0, -1 if against > 0 or alike.any() else 0)]
    for steepness in STEEPNESS:
        over = scale * values - steepness * codes
        excess = max((over - np.minimum.accumulate(over)).max(), scale * against)
        # A millionth of a code is far above the rounding of all this.
        lines.append((scale / steepness, -excess / steepness - 1e-6))
    return np.array(lines, np.float64), -lines[1][1] / scale


_named_table = functools.lru_cache(_make_table)
