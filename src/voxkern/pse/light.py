"""What the kernel needs to know of light: tables, 16-bit luminance with its error, screens."""

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from voxkern.pse import colour as colours

FULL = 1 << 16
CLOSE = 0.004  # error of a cubic that serves, of the whole range
LUMINANCE, RED, LEGACY_RED, RAMP = range(4)
TIE = 1e-9  # a change that is just the threshold is one, however its parts were rounded


class Light(NamedTuple):
    """Luminance of codes, exact and in 16 bits.

    Attributes
    ----------
    table : ndarray
        Linear light of each code, float64.
    coarse : ndarray
        uint16 for the code of each channel, one after another, where `integers` has no cubic.
    numbers : ndarray
        Three weights, scale and exponent.
    integers : ndarray
        Black, white, spread and four coefficients for each channel: see Light in pse.h.
    unit : float
        What 1.0 is in 16 bits.
    low, high : float
        The 16-bit value minus `unit` times the exact one lies between them.
    """

    table: np.ndarray
    coarse: np.ndarray
    numbers: np.ndarray
    integers: np.ndarray
    unit: float
    low: float
    high: float


@lru_cache(maxsize=32)
def light(colour, curve):
    """The :class:`Light` of frames of `colour` by `curve`, or by their own where it is None."""
    table = np.ascontiguousarray(colours.light(colour, curve))
    weights = colours.weights(colour.primaries)
    scale, exponent = colours.system(colour)
    numbers = np.array([*weights, scale, exponent], np.float64)
    unit = (FULL - 200) / table[-1]
    exact = unit * weights[:, None] * table
    integers, coarse = _cubic(table, exact, _black(colour))
    if integers is None:
        integers, coarse = np.zeros(15, np.int64), np.rint(exact).astype(np.uint16)
    error = coarse - exact
    low, high = error.min(axis=1).sum(), error.max(axis=1).sum()
    return Light(table, coarse.astype(np.uint16).ravel(), numbers, integers, unit, low, high)


def _black(colour):
    """The code of black."""
    if colour.kind == "ycbcr":
        return colours.BLACK
    return 0 if colour.full_range else 16 << colour.bits - 8


def _cubic(table, exact, black):
    """Coefficients close to `exact` and what they make of every code; None where none is close."""
    codes = np.arange(len(table))
    white = int(np.searchsorted(table, table[-1]))  # the first code that is not surpassed
    spread = (FULL - 1) // max(1, white - black)
    t = np.maximum(np.minimum(codes, white) - black, 0) * spread
    powers = (t / FULL)[:, None] ** [1, 2, 3]
    weight = np.ones(len(table))
    for _ in range(60):  # Lawson's algorithm, which goes to the least largest error
        fit = np.linalg.lstsq(powers * weight[:, None], table * weight, rcond=None)[0]
        error = np.abs(powers @ fit - table)
        weight *= 0.2 + error / max(error.max(), 1e-30)
        weight /= weight.max()
    if error.max() > CLOSE * table[-1] or fit[1] < 0 or fit[2] < 0:
        return None, None
    channels = exact[:, -1] / table[-1] / FULL
    parts = [max(fit[0], 0), fit[1], fit[2], max(-fit[0], 0)]
    rows = np.rint(np.array(parts)[:, None] * channels * FULL).astype(np.int64)
    if rows.max() >= FULL:
        return None, None
    linear, square, cube, less = rows[:, :, None]
    inner = linear + (t * (square + (t * cube >> 16)) >> 16)
    coarse = np.maximum((t * inner >> 16) - (t * less >> 16), 0)
    if inner.max() >= FULL or coarse.max(axis=1).sum() >= FULL:
        return None, None
    return np.array([black, white, spread, *rows.ravel()], np.int64), coarse


def is_luminance(source):
    """Whether sums of light are luminance, and not the light of a scene as in HLG."""
    return source.numbers[4] == 1


def smallest_change(source, change, dark, contrast):
    """The least change of a sum of light that may be a transition."""
    scale, exponent = source.numbers[3:]
    slope = scale * exponent * source.table[-1] ** (exponent - 1)  # 1 but for HLG
    if contrast:
        change = min(change, ((1 + contrast) / (1 - contrast) - 1) * dark)
    return change * (1 - TIE) / slope


def luminance_lane(colour, light_index, source, change, dark, contrast):
    """Arguments of a lane of luminance for the kernel; `source` is its :class:`Light`."""
    smallest = smallest_change(source, change, dark, contrast)
    change *= 1 - TIE
    factor = (1 + contrast) / (1 - contrast) * (1 - TIE) if contrast else np.inf
    numbers = np.array([change, dark, factor], np.float64)
    error = source.high - source.low
    least = max(1, np.floor(source.unit * smallest - error))
    sure = sure_dark = exempt = 0
    if is_luminance(source):
        sure = min(FULL - 1, np.ceil(source.unit * change + error))
        sure_dark = np.clip(np.floor(source.unit * dark + source.low), 0, FULL - 1)
        exempt = 0 if contrast else _exempt(source, dark)
    integers = [_still(source.table, smallest), least, sure, sure_dark, exempt]
    return LUMINANCE, light_index, source.table, numbers, np.array(integers, np.int64)


def ramp_lane(light_index, source, change, dark):
    """Arguments of a lane of slow changes, which 16 bits decide: to 0.3 % of the range."""
    numbers = np.array([change, dark, np.inf], np.float64)
    least, below = round(source.unit * change), min(FULL - 1, round(source.unit * dark))
    integers = np.array([1 << 30, max(1, least), 0, below, 0], np.int64)
    return RAMP, light_index, source.table, numbers, integers


def _exempt(source, dark):
    """16-bit luminance from which on the darker state is surely not dark enough; 0 if none is."""
    least = np.ceil(source.unit * dark + source.high)
    return least if least < FULL else 0


def _still(table, change):
    """The least step of codes, in every channel, by which light may change by `change`."""
    for step in range(1, len(table)):
        if (table[step:] - table[:-step]).max() >= change:
            return step
    return len(table)


def red_lane(colour, source, profile):
    """Arguments of a lane of red for the kernel."""
    legacy = profile.red == "legacy"
    rgb, xyz = colours.to_srgb(colour.primaries), colours.to_xyz(colour.primaries)
    floor = profile.red_change / 320 if legacy else profile.red_floor
    far = profile.red_change if legacy else profile.red_distance
    white = colours.chromaticity(np.zeros(3), colour.primaries)
    numbers = np.array(
        [profile.red_share, floor, far, *white, *rgb.ravel(), *xyz.ravel()], np.float64
    )
    black = _black(colour)
    seen = 0 if legacy else floor
    ratio, lowest = _red_screen(source.table, rgb, profile, seen, black)
    if legacy:  # R - G - B changes by no more than each part
        still = _still(source.table, floor / np.abs(rgb[0] - rgb[1] - rgb[2]).sum())
    else:
        still = _red_still(source.table, colour.primaries, profile, lowest + black)
    integers = np.array([still, black, ratio, lowest])
    kind = LEGACY_RED if legacy else RED
    return kind, 0, source.table, numbers, integers.astype(np.int64)


def _red_still(table, primaries, profile, lowest):
    """A step of codes, in every channel, that is too small to move far from a saturated red.

    From a colour, the farthest in a box of codes is a corner of the box, for straight lines stay
    straight in u'v'. The darkest red moves most; a tenth is taken off for what lies between.
    """
    reds = sorted({int(code) for code in np.geomspace(max(1, lowest), len(table) - 1, 12)})
    shares = np.linspace(0, 1, 9)
    red, green, blue = (a.ravel() for a in np.meshgrid(reds, shares, shares, indexing="ij"))
    dark = np.searchsorted(table, table[0], "right") - 1
    others = np.searchsorted(table, table[red.astype(int)] * (1 - profile.red_share))
    codes = np.stack([red, *(dark + s * np.maximum(0, others - dark) for s in (green, blue))])
    codes = codes.astype(int)
    rgb = colours.to_srgb(primaries) @ table[codes]
    codes = codes[:, rgb[0] >= profile.red_share * rgb.sum(axis=0)]
    corners = np.array(np.meshgrid(*[[-1, 1]] * 3)).reshape(3, 8, 1)
    here = colours.chromaticity(table[codes].T, primaries)
    low, high = 1, len(table)
    while high - low > 1:  # `high` goes too far
        step = (low + high) // 2
        near = np.clip(codes[:, None] + step * corners, 0, len(table) - 1)
        moved = colours.chromaticity(np.moveaxis(table[near], 0, -1), primaries) - here
        far = np.hypot(moved[..., 0], moved[..., 1]).max() > profile.red_distance
        low, high = (low, step) if far else (step, high)
    return max(1, int(0.9 * high))


def _red_screen(table, rgb, profile, floor, black):
    """Ratio and floor of codes for may_be_red in pse.h: necessary for a saturated red.

    Saturated is ``a @ rgb >= 0`` for the row `a` below, so red is at least `times` green and blue.
    """
    a = rgb[0] - profile.red_share * rgb.sum(axis=0)
    times = min(-a[1], -a[2]) / a[0]
    least = floor / max(rgb[0] - rgb[1] - rgb[2])
    lowest = max(1, int(np.searchsorted(table, least * (1 - TIE))) - black)
    others = np.arange(black + 1, len(table))
    reds = np.searchsorted(table, times * table[others] * (1 - TIE))
    possible = reds < len(table)
    ratios = (reds[possible] - others[possible]) / (others[possible] - black)
    ratio = ratios.min() if possible.any() else 0
    return int(np.clip(np.floor(ratio * FULL) - 1, 0, FULL - 1)), lowest
