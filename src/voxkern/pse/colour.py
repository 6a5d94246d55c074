"""From codes to light: transfer curves, Y'CbCr matrices, luminance and chromaticity.

Light is relative to the white of standard dynamic range: 1.0 is :data:`WHITE`, 200 cd/m2, which is
the maximum of WCAG's relative luminance and white in BT.1702. High dynamic range goes above 1.0, so
that a threshold of 0.10 is 20 cd/m2 everywhere.

Y'CbCr becomes R'G'B' on one grid of 12 bits, the narrow range of BT.2020 (black :data:`BLACK`,
white ``BLACK + SPAN``), by the integers of :func:`matrix`. A gray of 8, 10 or 12 bits in narrow
range is on that grid exactly, what is whiter than white is kept, and the fast side and the oracle
do the same arithmetic.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from voxkern import _dispatch
from voxkern.pse.frames import Colour

WHITE = 200.0  # cd/m2, BT.1702-3: the luminance of code 940 (10 bits)
BLACK, SPAN, GRID = 256, 3504, 4096  # the 12-bit grid: black, black to white, number of codes
HLG_PEAK, HLG_GAMMA = 1000.0, 1.2  # cd/m2 and its system gamma, BT.2100 table 5, note 5f

LUMA = {  # Kr, Kb
    "bt601": (0.299, 0.114),  # BT.601-7, 2.5.1
    "bt709": (0.2126, 0.0722),  # BT.709-6, 3.2
    "bt2020": (0.2627, 0.0593),  # BT.2020-2, table 4, non-constant luminance
}
CHROMATICITIES = {  # x, y of red, green and blue; white is D65 in all
    "bt601": ((0.640, 0.330), (0.290, 0.600), (0.150, 0.060)),  # BT.601-7 1.4, 625 lines
    "bt709": ((0.640, 0.330), (0.300, 0.600), (0.150, 0.060)),  # BT.709-6 1.3
    "bt2020": ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046)),  # BT.2020-2 table 3
}
D65 = 0.3127, 0.3290
SRGB_TO_XYZ = np.array(  # the digits that WCAG 2.2 gives, in "general flash and red flash"
    [
        [0.4124564, 0.3575761, 0.1804375],
        [0.2126729, 0.7151522, 0.0721750],
        [0.0193339, 0.1191920, 0.9503041],
    ]
)
WCAG_WEIGHTS = np.array([0.2126, 0.7152, 0.0722])  # WCAG 2.2, "relative luminance"


def srgb(signal):
    """Light of an sRGB signal 0..1, as WCAG 2.2 defines relative luminance (IEC 61966-2-1)."""
    signal = np.clip(signal, 0.0, 1.0)
    return np.where(signal <= 0.04045, signal / 12.92, ((signal + 0.055) / 1.055) ** 2.4)


def bt1886(signal):
    """Light of BT.709 video on its reference display; ``200*((D-64)/876)**2.4`` of BT.1702-3.

    Up to 109 % of white, the top of the narrow range.
    """
    return np.maximum(signal, 0.0) ** 2.4


def ofcom(signal):
    """Light by the older curve of BT.1702-0 and Ofcom: 234 mV of 700 are 20 cd/m2, 631 mV 160."""
    volts = 255.0 * np.maximum(signal, 0.0)
    return 413.435 / WHITE * (0.002745 * volts + 0.0189623) ** 2.2


def pq(signal):
    """Light of the perceptual quantiser (BT.2100 table 4, SMPTE ST 2084): 0..10000 cd/m2."""
    m1, m2 = 2610 / 16384, 2523 / 4096 * 128
    c1, c2, c3 = 3424 / 4096, 2413 / 4096 * 32, 2392 / 4096 * 32
    power = np.clip(signal, 0.0, 1.0) ** (1 / m2)
    return 10000.0 / WHITE * (np.maximum(power - c1, 0.0) / (c2 - c3 * power)) ** (1 / m1)


def hlg(signal):
    """Scene light 0..1 of hybrid log-gamma (BT.2100 table 5); the display makes more of it.

    Up to 109 % of the signal, as BT.2100 allows for narrow range. See :func:`system`.
    """
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    signal = np.maximum(signal, 0.0)
    with np.errstate(over="ignore"):
        return np.where(signal <= 0.5, signal**2 / 3, (np.exp((signal - c) / a) + b) / 12)


def linear(signal):
    """The signal is light."""
    return np.maximum(signal, 0.0)


CURVES = {f.__name__: f for f in (srgb, bt1886, ofcom, pq, hlg, linear)}
OWN_CURVE = {"srgb": "srgb", "bt709": "bt1886", "pq": "pq", "hlg": "hlg", "linear": "linear"}


def curve_of(colour, curve=None):
    """Name of the curve for frames of `colour`: `curve` for SDR video, else the frames' own.

    A standard that names a curve means SDR video by it; PQ, HLG and linear light say themselves
    what they are.
    """
    sdr = colour.transfer in ("srgb", "bt709")
    return curve if curve and sdr else OWN_CURVE[colour.transfer]


def light(colour, curve=None):
    """Light of every code of R', G' or B' (or of gray), float64, relative to 200 cd/m2.

    Parameters
    ----------
    colour : Colour
        Of the frames. For ``"ycbcr"`` the table is that of the 12-bit grid, else of the codes.
    curve : str, optional
        ``"srgb"``, ``"bt1886"`` or ``"ofcom"`` for SDR frames; their own where it is left out.

    Returns
    -------
    ndarray
        ``(4096,)`` or ``(2**bits,)``, read-only. Never falls from one code to the next.
    """
    name = curve_of(colour, curve)
    if colour.kind == "ycbcr":
        return _table(name, 12, False)
    return _table(name, colour.bits, colour.full_range)


@lru_cache(maxsize=32)
def _table(curve, bits, full_range):
    table = CURVES[curve](signal(np.arange(1 << bits), bits, full_range))
    table.setflags(write=False)
    return table


def signal(codes, bits, full_range):
    """Signal (black 0, white 1) of R', G', B' or Y' codes: BT.2100 table 9; IEC 61966-2-1."""
    if full_range:
        return codes / float((1 << bits) - 1)
    return (codes - float(16 << bits - 8)) / float(219 << bits - 8)


def system(colour):
    """Scale and exponent of the display: luminance is ``scale * (weights @ light)**exponent``.

    (1, 1) but for HLG, whose display raises the scene's luminance to the system gamma (BT.2100
    table 5, "reference OOTF"). It scales R, G and B alike: the chromaticity stays.
    """
    return (HLG_PEAK / WHITE, HLG_GAMMA) if colour.transfer == "hlg" else (1.0, 1.0)


@lru_cache(maxsize=8)
def to_xyz(primaries):
    """Matrix from linear R, G, B to X, Y, Z: WCAG's digits for BT.709, derived for the others."""
    if primaries == "bt709":
        return SRGB_TO_XYZ
    columns = np.array([(x / y, 1.0, (1 - x - y) / y) for x, y in CHROMATICITIES[primaries]]).T
    x, y = D65
    return columns * np.linalg.solve(columns, [x / y, 1.0, (1 - x - y) / y])


def weights(primaries):
    """Luminance weights of linear R, G, B; their sum is 1 (WCAG's digits for BT.709)."""
    return WCAG_WEIGHTS if primaries == "bt709" else to_xyz(primaries)[1]


@lru_cache(maxsize=8)
def to_srgb(primaries):
    """Matrix from linear R, G, B to those of BT.709, which the 0.8 of saturated red is about."""
    if primaries == "bt709":
        return np.eye(3)
    return np.linalg.solve(SRGB_TO_XYZ, to_xyz(primaries))


def chromaticity(rgb, primaries="bt709"):
    """CIE 1976 u', v' of linear ``(..., 3)``; black has white's, as it has no colour to change."""
    xyz = np.asarray(rgb, np.float64) @ to_xyz(primaries).T
    total = xyz @ [1.0, 15.0, 3.0]
    white = to_xyz(primaries).sum(axis=1)
    safe = np.where(total > 0, total, 1.0)[..., None]
    return np.where(
        (total > 0)[..., None],
        xyz[..., :2] * [4.0, 9.0] / safe,
        white[:2] * [4.0, 9.0] / (white @ [1.0, 15.0, 3.0]),
    )


class Matrix(NamedTuple):
    """Integers from Y'CbCr codes to the grid; all coefficients fit 16 bits.

    ``R' = clip(BLACK + (y*(Y - y0) + rv*(Cr - c0) + half >> shift), 0, 4095)`` with
    ``half = 1 << shift - 1``; G' has ``gu*(Cb - c0) + gv*(Cr - c0)``, B' has ``bu*(Cb - c0)``.
    The sum fits 32 bits; the shift is arithmetic.
    """

    y0: int
    c0: int
    y: int
    rv: int
    gu: int
    gv: int
    bu: int
    shift: int


def matrix(colour):
    """The :class:`Matrix` of ``"ycbcr"`` frames of 8 to 12 bits.

    In narrow range `y` is a power of two, so that grays are exact. The coefficients are within
    2**-15 of their true ratio to `y`: less than half a code of the grid for any colour.
    """
    kr, kb = LUMA[colour.matrix]
    kg, bits = 1 - kr - kb, colour.bits
    steps = float((1 << bits) - 1) if colour.full_range else float(219 << bits - 8)
    chroma_steps = steps if colour.full_range else float(224 << bits - 8)
    shift = bits + 2
    luma, chroma = (SPAN * 2.0**shift / n for n in (steps, chroma_steps))
    terms = 1.0, 2 * (1 - kr), -2 * kb * (1 - kb) / kg, -2 * kr * (1 - kr) / kg, 2 * (1 - kb)
    scales = luma, chroma, chroma, chroma, chroma
    y, rv, gu, gv, bu = (round(term * scale) for term, scale in zip(terms, scales))
    y0 = 0 if colour.full_range else 16 << bits - 8
    return Matrix(y0, 1 << bits - 1, y, rv, gu, gv, bu, shift)


def grid(planes, colour):
    """R', G', B' of ``"ycbcr"`` planes on the 12-bit grid, ``(3, H, W)`` int32.

    A chroma sample holds for all the pixels it covers.
    """
    m = matrix(colour)
    luma = planes[0].astype(np.int32) - m.y0
    cb, cr = (spread(plane, luma.shape).astype(np.int32) - m.c0 for plane in planes[1:])
    base = m.y * luma + (1 << m.shift - 1)
    sums = base + m.rv * cr, base + m.gu * cb + m.gv * cr, base + m.bu * cb
    return np.clip((np.stack(sums) >> m.shift) + BLACK, 0, GRID - 1)


def spread(plane, shape):
    """A subsampled plane repeated to full size."""
    for axis in 0, 1:
        if plane.shape[axis] != shape[axis]:
            plane = plane.repeat(-(-shape[axis] // plane.shape[axis]), axis)
    return plane[: shape[0], : shape[1]]


def rgb(frame):
    """Codes of R', G', B' of a frame, ``(3, H, W)``: the grid's for Y'CbCr, else its own."""
    if frame.colour.kind == "ycbcr":
        return grid(frame.planes, frame.colour)
    return np.stack(frame.planes if frame.colour.kind == "rgb" else frame.planes * 3)


def linear_rgb(frame, curve=None):
    """Linear R, G, B of a frame, ``(3, H, W)`` float64: :func:`light` of its codes."""
    return light(frame.colour, curve)[rgb(frame)]


def luminance(frame, curve=None):
    """Luminance of a frame, ``(H, W)`` float64, 1.0 at 200 cd/m2. The slow, clear way."""
    scale, exponent = system(frame.colour)
    sums = np.tensordot(weights(frame.colour.primaries), linear_rgb(frame, curve), 1)
    return scale * sums**exponent


def preview(frame, width=480):
    """A frame as an sRGB picture ``(h, w, 3)`` uint8, at most `width` wide, for people to look at.

    Every n-th pixel. SDR codes are shown as they are; of HDR, light above 200 cd/m2 is white.
    """
    step = max(1, -(-frame.planes[0].shape[1] // width))
    small = frame._replace(planes=tuple(_thinned(p, frame.planes[0], step) for p in frame.planes))
    if frame.colour == Colour("rgb"):
        return np.stack(small.planes, axis=2)
    shown = linear_rgb(small, "srgb")
    scale, exponent = system(frame.colour)
    if exponent != 1:
        scene = np.tensordot(weights(frame.colour.primaries), shown, 1)
        shown = scale * scene ** (exponent - 1) * shown
    shown = np.tensordot(to_srgb(frame.colour.primaries), shown, 1)
    shown = np.clip(shown, 0, 1)
    coded = np.where(shown <= 0.0031308, 12.92 * shown, 1.055 * shown ** (1 / 2.4) - 0.055)
    return np.ascontiguousarray(np.rint(255 * coded).astype(np.uint8).transpose(1, 2, 0))


def _thinned(plane, luma, step):
    """Every `step`-th pixel of a plane that may be subsampled, on the host."""
    if _dispatch.adopted(plane):
        few = plane.part((slice(None, None, step),) * 2).contiguous()
        return _dispatch.cuda().fetched(few)
    rows = np.arange(0, luma.shape[0], step) * plane.shape[0] // luma.shape[0]
    columns = np.arange(0, luma.shape[1], step) * plane.shape[1] // luma.shape[1]
    return plane[np.ix_(rows, columns)]
