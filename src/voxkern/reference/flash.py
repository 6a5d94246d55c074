"""The oracles of the flash table, and the twins of its kernels."""

import numpy as np

from voxkern.reference._shape import into


def exam(gray):
    """Luminance of the exam question, of gray 0 to 255."""
    return 4 * (0.2 * gray + 1) ** 2.2


def ofcom(gray):
    """cd/m2 of ITU-R BT.1702-0 and Ofcom, of gray 0 to 255: white is 200."""
    return 413.435 * (0.002745 * gray + 0.0189623) ** 2.2


def srgb(gray):
    """Relative luminance of sRGB (IEC 61966-2-1), of gray 0 to 255: white is 1."""
    code = gray / 255
    return np.where(code <= 0.04045, code / 12.92, ((code + 0.055) / 1.055) ** 2.4)


def linear(gray):
    """Gray itself."""
    return gray


CURVES = {"exam": exam, "linear": linear, "ofcom": ofcom, "srgb": srgb}


def luminance(frames, curve="exam"):
    """Oracle of :func:`voxkern.luminance`."""
    gray = frames.mean(axis=3, dtype=np.float64) if frames.ndim == 4 else frames.astype(np.float64)
    with np.errstate(invalid="ignore"):
        return np.asarray(CURVES.get(curve, curve)(gray), np.float64)


def flash_table(frames, k=5, curve="exam"):
    """Oracle of :func:`voxkern.flash_table`: the exam's published solution, all frames at once."""
    with np.errstate(invalid="ignore"):
        change = np.diff(luminance(frames, curve).reshape(len(frames), -1), axis=0)
    rise = np.sort(np.maximum(change, 0), axis=1)[:, -k:].mean(axis=1)
    fall = np.sort(np.maximum(-change, 0), axis=1)[:, -k:].mean(axis=1)
    return np.where(rise > fall, rise, -fall).reshape(-1, 1)


class FlashTable:
    """Oracle of :class:`voxkern.FlashTable`: keeps every frame."""

    def __init__(self, k=5, curve="exam"):
        self.k, self.curve, self.frames = k, curve, None

    def push(self, frames):
        """Rows of the frames just given, (n, H, W) or (n, H, W, 3)."""
        before = 0 if self.frames is None else len(self.frames)
        self.frames = frames if before == 0 else np.concatenate([self.frames, frames])
        return flash_table(self.frames, self.k, self.curve)[max(before - 1, 0) :]


def totals(pixels, *, out=None):
    """Sum of the three channels of (pixel, channel)."""
    return into(out, pixels.sum(axis=1, dtype=np.int32))


def largest_changes(frames, table, codes, cubics, lines, rising, before, started, *, out):
    """Largest rises and falls of ``table[sum of channels]`` between frames, into ``out[0]``.

    `before` has the sums of a frame before them if the clip has `started`, and takes the last's. No
    pixel is screened here.
    """
    sums = frames.sum(axis=2, dtype=np.int32)
    pairs = [before, *sums] if started else sums
    for last, now, heaps in zip(pairs[:-1], pairs[1:], out.swapaxes(0, 1)):
        largest_differences(table[last], table[now], out=heaps)
    before[:] = sums[-1][: before.size]


def largest_power_changes(frames, power, before, started, *, out):
    """As largest_changes, of luminance that is a power of gray; `before` has pixels."""
    knee, below, scale, slope, offset, *_, fifths = power
    channels = frames.shape[2]
    gray = frames.sum(axis=2, dtype=np.float64) / channels
    if started:
        gray = np.concatenate([before.sum(axis=1, dtype=np.float64)[None] / channels, gray])
    with np.errstate(invalid="ignore"):
        values = below * gray
        if fifths:
            raised = scale * (slope * gray + offset) ** (2 + fifths / 5)
            values = np.where(gray <= knee, values, raised)
    for last, now, heaps in zip(values[:-1], values[1:], out.swapaxes(0, 1)):
        largest_differences(last, now, out=heaps)
    before[:] = frames[-1, : len(before)]


def largest_differences(before, now, *, out):
    """Largest rises and falls from `before` to `now`, into ``out[0]``."""
    k = out.shape[2]
    with np.errstate(invalid="ignore"):
        change = now - before
    for sign, heap in zip((1, -1), out[0]):
        heap[:] = np.sort(np.concatenate([heap, np.maximum(sign * change, 0)]))[-k:]
