"""From codes to cd/m2: the figures that the standards print, and the integers of Y'CbCr."""

import numpy as np
import pytest

from voxkern.pse import colour
from voxkern.pse.frames import Colour, Frame

VIDEO = Colour("ycbcr", 8, "bt709", full_range=False)
MATRICES = ["bt601", "bt709", "bt2020"]


def coded(rgb, c):
    """Y'CbCr codes of R'G'B' signals 0..1 by the definition, unrounded."""
    kr, kb = colour.LUMA[c.matrix]
    r, g, b = rgb
    luma = kr * r + (1 - kr - kb) * g + kb * b
    cb, cr = (b - luma) / (2 * (1 - kb)), (r - luma) / (2 * (1 - kr))
    unit = 2.0 ** (c.bits - 8)
    if c.full_range:
        top = 2.0**c.bits - 1
        return top * luma, top * cb + 128 * unit, top * cr + 128 * unit
    return (219 * luma + 16) * unit, (224 * cb + 128) * unit, (224 * cr + 128) * unit


def test_video_of_ten_bits_is_that_of_bt1702():
    codes = np.arange(64, 1020, dtype=np.uint16)
    gray = np.full_like(codes, 512)
    narrow = Colour("ycbcr", 10, "bt709", full_range=False)
    frame = Frame(0, (codes[None], gray[None], gray[None]), narrow)
    want = 200 * ((codes - 64) / 876) ** 2.4
    got = 200 * colour.luminance(frame)[0]
    np.testing.assert_allclose(got, want, rtol=1e-12)
    assert round(got[400 - 64], 1) == 20.1
    assert round(got[863 - 64], 1) == 160.4


def test_the_older_curve_has_its_anchors():
    millivolts = np.array([234, 631]) / 700
    np.testing.assert_allclose(200 * colour.ofcom(millivolts), [20.10, 160.22], atol=0.02)
    np.testing.assert_allclose(200 * colour.ofcom(1.0), 200.04, atol=0.01)
    np.testing.assert_allclose(200 * colour.ofcom(0.384), 26.6, atol=0.1)
    np.testing.assert_allclose(200 * colour.bt1886(0.384), 20.1, atol=0.05)


def test_srgb_is_that_of_wcag():
    table = colour.light(Colour("rgb"))
    codes = np.arange(256) / 255
    want = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in codes]
    np.testing.assert_allclose(table, want, rtol=1e-14)
    assert (table[0], table[255]) == (0, 1)


def test_pq_has_the_levels_of_bt2408():
    """BT.2408-7 table 1: diffuse white at 58 % is 203 cd/m2, and the ends of the curve."""
    signal = np.array([0, 0.38, 0.58, 0.75, 1])
    want = [0, 26, 203, 983, 10000]  # 18 % gray, diffuse white, specular highlight
    np.testing.assert_allclose(200 * colour.pq(signal), want, rtol=0.01)


def test_hlg_has_the_levels_of_bt2408():
    """BT.2408-7 table 1, on a display of 1000 cd/m2: 38 % is 26, 75 % is 203, 100 % is 1000."""
    hlg = Colour("ycbcr", 10, "hlg", "bt2020", "bt2020", full_range=False)
    codes = np.rint(64 + 876 * np.array([0, 0.38, 0.75, 1])).astype(np.uint16)
    gray = np.full_like(codes, 512)
    got = 200 * colour.luminance(Frame(0, (codes[None], gray[None], gray[None]), hlg))[0]
    np.testing.assert_allclose(got, [0, 26, 203, 1000], rtol=0.02)


@pytest.mark.parametrize("bits", [8, 10, 12])
def test_grays_in_narrow_range_are_exact(bits):
    codes = np.arange(1 << bits, dtype=np.uint16)[None]
    gray = np.full_like(codes, 128 << bits - 8)
    c = Colour("ycbcr", bits, "bt709", full_range=False)
    want = np.clip(codes.astype(int) << 12 - bits, 0, 4095)
    for plane in colour.grid((codes, gray, gray), c):
        np.testing.assert_array_equal(plane, want)


@pytest.mark.parametrize("full_range", [True, False])
@pytest.mark.parametrize("bits", [8, 10, 12])
@pytest.mark.parametrize("matrix", MATRICES)
def test_the_integers_are_within_a_code_of_the_real_numbers(matrix, bits, full_range):
    c = Colour("ycbcr", bits, "bt709", "bt709", matrix, full_range)
    rgb = np.random.default_rng(7).random((3, 1, 4000))
    planes = [np.rint(plane).astype(np.uint16) for plane in coded(rgb, c)]
    kr, kb = colour.LUMA[matrix]
    unit = 2.0 ** (bits - 8)
    top = 2.0**bits - 1
    luma = planes[0] / top if full_range else (planes[0] / unit - 16) / 219
    cb, cr = (p / top if full_range else p / unit / 224 for p in planes[1:])
    middle = 128 * unit / top if full_range else 128 / 224
    r = luma + 2 * (1 - kr) * (cr - middle)
    b = luma + 2 * (1 - kb) * (cb - middle)
    g = (luma - kr * r - kb * b) / (1 - kr - kb)
    want = np.clip(np.stack([r, g, b]) * 3504 + 256, 0, 4095)
    assert np.abs(colour.grid(planes, c) - want).max() < 1
    assert np.abs(colour.grid(planes, c) - (rgb * 3504 + 256)).max() < 3504 / 219 / unit * 2.5


@pytest.mark.parametrize("full_range", [True, False])
@pytest.mark.parametrize("bits", [8, 10, 12])
@pytest.mark.parametrize("matrix", MATRICES)
def test_the_integers_fit(matrix, bits, full_range):
    m = colour.matrix(Colour("ycbcr", bits, "bt709", "bt709", matrix, full_range))
    assert max(abs(n) for n in m[2:7]) < 1 << 15
    top = (1 << bits) - 1
    assert top * m.y + m.c0 * max(abs(m.gu) + abs(m.gv), m.rv, m.bu) < 1 << 31
    assert full_range or m.y == 1 << m.shift - bits + 12


def test_white_is_one_and_gray_has_no_colour():
    for primaries in MATRICES:
        assert colour.weights(primaries).sum() == pytest.approx(1, abs=2e-7)
        matrix = colour.to_xyz(primaries)
        np.testing.assert_allclose(matrix.sum(axis=1), [0.9505, 1, 1.089], atol=1e-3)
        u, v = colour.chromaticity(np.array([[0.2] * 3, [1.0] * 3, [0.0] * 3]), primaries).T
        np.testing.assert_allclose(u, 0.1978, atol=1e-4)
        np.testing.assert_allclose(v, 0.4683, atol=1e-4)


def test_weights_are_the_printed_ones():
    np.testing.assert_allclose(colour.weights("bt2020"), [0.2627, 0.6780, 0.0593], atol=1e-4)
    np.testing.assert_allclose(colour.weights("bt601"), [0.222, 0.707, 0.071], atol=1e-3)
    np.testing.assert_allclose(colour.to_srgb("bt2020")[0], [1.6605, -0.5876, -0.0728], atol=1e-3)


def test_the_same_light_in_other_primaries_is_the_same_colour():
    wide = np.linalg.solve(colour.to_srgb("bt2020"), [0.8, 0.3, 0.1])
    np.testing.assert_allclose(
        colour.chromaticity(wide, "bt2020"), colour.chromaticity([0.8, 0.3, 0.1]), atol=1e-9
    )


@pytest.mark.parametrize("kind", ["rgb", "gray", "ycbcr"])
@pytest.mark.parametrize("transfer", ["srgb", "bt709", "pq", "hlg", "linear"])
def test_light_never_falls_and_is_finite(kind, transfer):
    for bits in (8, 10, 12) if kind == "ycbcr" else (8, 10, 12, 16):
        for full_range in True, False:
            table = colour.light(Colour(kind, bits, transfer, full_range=full_range))
            assert np.isfinite(table).all()
            assert (np.diff(table) >= 0).all()
            assert len(table) == (4096 if kind == "ycbcr" else 1 << bits)


def test_a_standards_curve_is_for_sdr_alone():
    sdr, hdr = Colour("rgb"), Colour("rgb", 10, "pq")
    assert colour.light(sdr, "bt1886")[128] == (128 / 255) ** 2.4
    np.testing.assert_array_equal(colour.light(hdr, "bt1886"), colour.light(hdr))


@pytest.mark.parametrize("shape", [(7, 5), (8, 6), (1, 1), (2, 3)])
@pytest.mark.parametrize("steps", [(1, 1), (1, 2), (2, 2)])
def test_a_chroma_sample_holds_for_the_pixels_it_covers(shape, steps):
    rng = np.random.default_rng(3)
    small = tuple(-(-n // s) for n, s in zip(shape, steps))
    planes = [rng.integers(16, 236, s, np.uint8) for s in (shape, small, small)]
    rows, columns = (np.arange(n) // s for n, s in zip(shape, steps))
    whole = [planes[0], *(p[np.ix_(rows, columns)] for p in planes[1:])]
    np.testing.assert_array_equal(colour.grid(planes, VIDEO), colour.grid(whole, VIDEO))


def test_preview_shows_the_frame():
    rng = np.random.default_rng(4)
    picture = rng.integers(0, 256, (30, 50, 3), np.uint8)
    frame = Frame(0, tuple(np.moveaxis(picture, 2, 0)), Colour("rgb"))
    np.testing.assert_array_equal(colour.preview(frame), picture)
    np.testing.assert_array_equal(colour.preview(frame, 25), picture[::2, ::2])
    planes = [np.rint(p).astype(np.uint8) for p in coded(picture.transpose(2, 0, 1) / 255, VIDEO)]
    shown = colour.preview(Frame(0, tuple(planes), VIDEO))
    assert np.abs(shown.astype(int) - picture).max() <= 4
