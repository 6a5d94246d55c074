"""Screens of the kernel: what a word of 64 pixels cannot do, seen from its bytes alone.

Of deeper codes the upper 8 bits count. A word that passes is computed; one that does not has made
no transition, which is proved here over all codes.
"""

from dataclasses import replace
from functools import lru_cache

import numpy as np

from voxkern.pse import colour as colours
from voxkern.pse.light import TIE, light

MILD = 4, 8, 16, 32  # chroma at most so far from gray has a table of its own
CODES = np.arange(256, dtype=np.int32)


def luminance_screen(colour, curve, need, dark):
    """Steps of a byte below which no luminance moves by `need`, from a darker state below `dark`.

    Parameters
    ----------
    colour : Colour
    curve : str or None
        As in :func:`light`, whose table `need` and `dark` are measured in.
    need, dark : float

    Returns
    -------
    ndarray
        (4, 16) uint8: for chroma within each of MILD, and for the 16 bytes of the brighter end from
        a multiple of 16 on. A step is one of Y', of gray, or of any of R', G', B'.

    Notes
    -----
    Where some weighted mean of R, G and B moves by `need`, one of them does. From Y' luminance
    follows within the bounds of :func:`_extremes`.
    """
    result = np.empty((len(MILD), 16), np.uint8)
    for row, (low, high) in zip(result, _extremes(colour, curve)):
        rises = high - low[:, None] >= need * (1 - TIE)  # from a row's byte to a column's
        if colour.kind != "rgb":
            rises &= low[:, None] < dark
        pairs = np.tril(rises | rises.T)
        nearest = np.where(pairs.any(axis=1), 255 - pairs[:, ::-1].argmax(axis=1), CODES - 255)
        steps = (CODES - nearest).reshape(16, 16).min(axis=1)
        row[:] = np.minimum.accumulate(steps)  # the last is the least, for CPUs without tables
    return result


@lru_cache(maxsize=32)
def _extremes(colour, curve):
    """The least and the largest light of each byte; of Y' for chroma within each of MILD."""
    table = light(colour, curve).table
    if colour.kind != "ycbcr":
        span = len(table) // 256
        return [(table[::span], table[span - 1 :: span])] * len(MILD)
    top = colours.GRID - 1
    matrix = colours.matrix(replace(colour, bits=8))
    chroma = np.arange(-MILD[-1], MILD[-1] + 1, dtype=np.int32)
    of_green = (matrix.gu * chroma[:, None] + matrix.gv * chroma).ravel()
    terms = matrix.rv * chroma, of_green, matrix.bu * chroma
    low, high = np.empty((2, len(MILD), 256))
    for first in range(0, 256, 8):  # what these make stays in the cache
        luma = matrix.y * (CODES[first : first + 8, None] - matrix.y0) + (1 << matrix.shift - 1)
        red, green, blue = (
            weight * table[np.clip((luma + term >> matrix.shift) + colours.BLACK, 0, top)]
            for weight, term in zip(colours.weights(colour.primaries), terms)
        )
        sums = green.reshape(8, len(chroma), -1) + blue[:, :, None] + red[:, None]
        for row, most in enumerate(MILD):
            middle = slice(MILD[-1] - most, MILD[-1] + most + 1)
            low[row, first : first + 8] = sums[:, middle, middle].min(axis=(1, 2))
            high[row, first : first + 8] = sums[:, middle, middle].max(axis=(1, 2))
    if colour.bits > 8:
        # What the lower bits add is less than a byte of Y' and of both chromas: R', G' and B'
        # differ by -1.2 to 3 bytes, and no light falls where none of them does.
        low = np.pad(low[:, :-2], [(0, 0), (2, 0)], constant_values=table[0])
        high = np.pad(high[:, 3:], [(0, 0), (0, 3)], constant_values=table[-1])
    return list(zip(low, high))


def red_screen(colour, black, ratio, floor):
    """Bytes of Cr above gray that a saturated red needs: at least, and for each of Y' above black.

    Saturated by may_be_red of pse.h: R' is `floor` above black, and G' and B' at most ``1 / (1 +
    ratio)`` of it. Then ``Y' <= R' / q``, so Cr, which is R' - Y', is a share of R' and of Y'.

    Returns
    -------
    ndarray
        The least, 2**16 times that for each of Y', and the byte of black.
    """
    kr, _ = colours.LUMA[colour.matrix]
    matrix = colours.matrix(replace(colour, bits=8))
    rv, y = matrix.rv / 2**matrix.shift, matrix.y / 2**matrix.shift  # in codes of the grid
    q = 1 / (kr + (1 - kr) / (1 + ratio / 65536))
    least = (1 - 1 / q) * floor / rv - 2  # what rounding and lower bits add is below 2
    slope = (q - 1) * y / rv
    return np.array([max(0, np.floor(least)), np.floor(slope * 65536), matrix.y0], np.int64)
