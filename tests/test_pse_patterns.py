"""Regular patterns: every threshold just below and just above, and what is none."""

import dataclasses
import itertools
import pathlib
import weakref

import numpy as np
import pytest

from voxkern.kernels.native import patterns as kernel
from voxkern.pse import analyze, patterns
from voxkern.pse.frames import Colour, Frame, clip
from voxkern.pse.profiles import PROFILES
from voxkern.reference import patterns as oracle

HEIGHT, WIDTH = 180, 320
Y, X = np.mgrid[:HEIGHT, :WIDTH] + 0.5
PROFILE = PROFILES["bt1702"]
RULE = PROFILE.stripes
REAL = pathlib.Path(__file__).parents[2] / "shared/data/real/cockatoo.mp4"


def stripes(pairs, degrees=0.0, phase=0.0, dark=0.0, light=0.5, region=None, ground=0.0):
    """Square stripes, `pairs` from the region's one end to the other, whatever their direction."""
    left, top, right, bottom = region or (0, 0, WIDTH, HEIGHT)
    angle = np.deg2rad(degrees)
    across = (right - left) * abs(np.cos(angle)) + (bottom - top) * abs(np.sin(angle))
    x, y = X - (left + right) / 2, Y - (top + bottom) / 2
    turn = ((x * np.cos(angle) + y * np.sin(angle)) / across + 0.5) * pairs + phase
    inside = (np.abs(x) < (right - left) / 2) & (np.abs(y) < (bottom - top) / 2)
    return np.where(inside, np.where(turn % 1 < 0.5, light, dark), ground).astype(np.float32)


def checks(side, shift=0):
    return (((X + shift) // side + Y // side) % 2 * 0.5).astype(np.float32)


def rays(pairs, radius=np.inf, turn=0.0):
    angle = np.arctan2(Y - HEIGHT / 2, X - WIDTH / 2) / (2 * np.pi) + turn
    inside = np.hypot(Y - HEIGHT / 2, X - WIDTH / 2) < radius
    return np.where(inside & ((angle * pairs) % 1 < 0.5), 0.5, 0).astype(np.float32)


def rings(period):
    return (np.hypot(Y - HEIGHT / 2, X - WIDTH / 2) / period % 1 < 0.5).astype(np.float32) * 0.5


def area(picture, rule=RULE):
    return patterns.find(picture, rule).mean()


# --- one picture --------------------------------------------------------------------------------


@pytest.mark.parametrize("degrees", [0, 7, 15, 20, 30, 38, 45, 60, 75, 90, 110, 135, 150, 170])
@pytest.mark.parametrize("phase", [0, 0.2, 0.5, 0.77])
def test_five_pairs_are_none_and_six_are_a_pattern(degrees, phase):
    assert area(stripes(5, degrees, phase)) == 0
    assert area(stripes(6, degrees, phase)) > 0.95
    assert area(stripes(17, degrees, phase)) > 0.95


@pytest.mark.parametrize("ground", [0.0, 0.25, 0.5])
@pytest.mark.parametrize(("degrees", "few", "many"), [
    (0, 5, 6), (90, 5, 6), (30, 4, 7), (45, 4, 7), (70, 4, 7), (140, 4, 7),
])  # fmt: skip
def test_the_ground_around_is_no_stripe(ground, degrees, few, many):
    region = 80, 20, 240, 160  # borders that cut stripes aslant leave a doubt of half a pair
    assert area(stripes(few, degrees, region=region, ground=ground)) == 0
    want = 160 * 140 / (320 * 180)
    assert area(stripes(many, degrees, region=region, ground=ground)) == pytest.approx(
        want, abs=0.06
    )


@pytest.mark.parametrize("degrees", [0, 25, 45, 90, 160])
@pytest.mark.parametrize("share", [0.1, 0.25, 0.4, 0.6])
def test_the_area_is_that_of_the_stripes(degrees, share):
    side = np.sqrt(share)
    region = 20, 4, 20 + WIDTH * side * 0.9, 4 + HEIGHT * side / 0.9
    region = tuple(min(edge, most) for edge, most in zip(region, (WIDTH, HEIGHT) * 2))
    want = (region[2] - region[0]) * (region[3] - region[1]) / (WIDTH * HEIGHT)
    rule = dataclasses.replace(RULE, moving_area=0.05)
    found = area(stripes(10, degrees, region=region), rule)
    assert found == pytest.approx(want, abs=0.02 + 0.05 * want)


def test_light_bars_are_above_fifty_candelas():
    assert area(stripes(9, 30, light=0.2501)) > 0.95
    assert area(stripes(9, 30, light=0.2499)) == 0


def test_bars_differ_by_twenty_candelas():
    assert area(stripes(9, 70, dark=0.399, light=0.5)) > 0.95
    assert area(stripes(9, 70, dark=0.401, light=0.5)) == 0


@pytest.mark.parametrize("width", [0.2, 0.35, 0.65, 0.8])
def test_bars_of_unlike_width_are_pairs_too(width):
    picture = 0.5 * np.less(X / WIDTH * 8 % 1, width).astype(np.float32)
    assert area(picture) > 0.95


def test_waves_are_stripes():
    wave = (0.25 + 0.25 * np.sin(2 * np.pi * X / WIDTH * 8)).astype(np.float32)
    assert area(wave) > 0.95


@pytest.mark.parametrize("shift", [0, 7, 11])
def test_checks_are_counted_by_rows_and_columns(shift):
    assert area(checks(WIDTH / 10.01, shift)) == 0
    assert area(checks(WIDTH / 12, shift)) > 0.95


def test_rays_are_counted_round_the_middle():
    assert area(rays(5)) == 0
    assert area(rays(6)) > 0.4
    assert area(rays(16)) > 0.9
    rule = dataclasses.replace(RULE, moving_area=0.05)
    assert area(rays(24, 60), rule) == pytest.approx(np.pi * 60**2 / (WIDTH * HEIGHT), abs=0.03)


def test_rings_are_counted_along_lines_through_them():
    assert area(rings(14)) > 0.9
    assert area(rings(80)) < 0.1


def test_curved_stripes_are_stripes():
    picture = ((X + 12 * np.sin(Y / 25)) / WIDTH * 12 % 1 < 0.5).astype(np.float32) * 0.5
    assert area(picture) > 0.95


def test_noise_does_not_hide_stripes():
    noise = np.random.default_rng(0).normal(0, 0.02, (HEIGHT, WIDTH))
    assert area((stripes(8, 20) + noise).astype(np.float32)) > 0.9


@pytest.mark.parametrize("seed", range(20))
def test_irregular_bars_and_noise_are_no_pattern(seed):
    rng = np.random.default_rng(seed)
    bars = np.repeat(np.arange(60) % 2 * 0.5, rng.integers(2, 40, 60))[:WIDTH]
    assert area(np.broadcast_to(bars, (HEIGHT, len(bars))).astype(np.float32)) < 0.25
    blobs = rng.random((HEIGHT // 6, WIDTH // 6)).repeat(6, 0).repeat(6, 1)
    assert area(np.ascontiguousarray(blobs, np.float32)) < 0.25
    assert area(rng.random((HEIGHT, WIDTH), np.float32)) < 0.25


def test_a_page_of_text_is_no_pattern():
    rng = np.random.default_rng(5)
    lines = np.where(Y % 9 < 6, rng.random((HEIGHT, WIDTH)) < 0.45, 0)
    ends = rng.integers(220, 320, 30).repeat(9)[:HEIGHT, None]
    picture = (0.9 - 0.85 * (lines * (ends > X))).astype(np.float32)
    assert area(picture) < 0.25


# --- the kernel and its oracle ------------------------------------------------------------------


def painted(module, line, ends, upright, few=2.0):
    places = np.arange(len(line), dtype=np.int32)
    bars, period = np.zeros(len(line), np.float32), np.zeros(len(line), np.float32)
    starts = np.array([0, len(line)], np.int32)
    module.bars(
        line, places, places, starts, ends, upright, 0.1, 0.25, few, bars=bars, period=period
    )
    return bars, period


@pytest.mark.parametrize("seed", range(60))
def test_lines_agree_with_the_oracle(seed):
    rng = np.random.default_rng(seed)
    size = int(rng.integers(1, 200))
    kinds = (
        rng.random(size),
        np.repeat(rng.random(size), rng.integers(1, 9, size))[:size],
        (np.arange(size) / rng.uniform(2, 20) % 1 < 0.5) * 0.5 + rng.normal(0, 0.03, size),
        np.cumsum(rng.normal(0, 0.05, size)),
    )
    for line in kinds:
        line = np.ascontiguousarray(line, np.float32)
        for kind in itertools.product((True, False), repeat=2):
            for ours, theirs in zip(painted(kernel, line, *kind), painted(oracle, line, *kind)):
                np.testing.assert_allclose(ours, theirs, rtol=1e-4)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("shape", [(37, 53), (5, 90), (1, 1)])
def test_repetition_agrees_with_the_oracle(seed, shape):
    rng = np.random.default_rng(seed)
    picture = rng.random(shape).astype(np.float32)
    cells = -(-shape[0] // 4) * -(-shape[1] // 4)
    period = np.where(rng.random((5, cells)) < 0.3, 0, rng.uniform(2, 90, (5, cells)))
    period = period.astype(np.float32)
    ours, theirs = np.ones_like(period), np.ones_like(period)
    kernel.repetition(picture, patterns.STEPS, period, 4, 0.3, out=ours)
    oracle.repetition(picture, patterns.STEPS, period, 4, 0.3, out=theirs)
    np.testing.assert_allclose(ours, theirs, atol=1e-3)


@pytest.mark.parametrize("seed", range(10))
def test_regions_agree_with_the_oracle(seed):
    rng = np.random.default_rng(seed)
    period = (rng.choice([0, 8, 11, 20], (3, 13, 17), p=[0.6, 0.2, 0.1, 0.1])).astype(np.float32)
    ours, theirs = np.zeros((13, 17), np.int32), np.zeros((13, 17), np.int32)
    assert kernel.regions(period, out=ours) == oracle.regions(period, out=theirs)
    np.testing.assert_array_equal(ours, theirs)


def test_not_a_number_is_no_crash():
    picture = stripes(9)
    picture[::3, ::5] = np.nan
    picture[50] = np.inf
    area(picture)


@pytest.mark.parametrize("shape", [(1, 1), (8, 8), (9, 1024), (1024, 5), (33, 2)])
def test_any_size_is_looked_at(shape):
    area(np.zeros(shape, np.float32))
    area(np.random.default_rng(0).random(shape, np.float32))


# --- over time ----------------------------------------------------------------------------------

PLAIN = np.full((HEIGHT, WIDTH), 0.1, np.float32)


def codes(luminance):
    """8-bit codes of BT.709 video."""
    return np.rint(16 + 219 * np.clip(luminance, 0, 1) ** (1 / 2.4)).astype(np.uint8)


def incidents(pictures, fps, profile=PROFILE, start=0.0):
    """Of pictures of luminance, shown one a frame as video."""
    watch = patterns.Patterns(profile, WIDTH, HEIGHT)
    colour = Colour("gray", 8, "bt709", full_range=False)
    for index, picture in enumerate(pictures):
        watch.see(Frame(start + index / fps, (codes(picture),), colour))
    return watch.incidents()


@pytest.mark.parametrize("fps", [23.976, 25, 30, 50, 60, 120])
@pytest.mark.parametrize("lead", [0, 3, 10])
def test_a_still_pattern_may_be_shown_for_half_a_second(fps, lead):
    most = int(np.floor(0.5 * fps + 1e-9))
    picture = stripes(8, 20)
    assert not incidents([PLAIN] * lead + [picture] * most + [PLAIN] * 20, fps)
    (found,) = incidents([PLAIN] * lead + [picture] * (most + 1) + [PLAIN] * 20, fps)
    assert (found.kind, found.severity) == ("pattern", "fail")
    assert found.start == pytest.approx(lead / fps, abs=1e-9)
    assert found.end == pytest.approx((lead + most + 1) / fps, abs=1e-9)
    assert "still" in found.clause


def test_a_pattern_lasts_to_the_end_of_the_video():
    assert not incidents([PLAIN] * 5 + [stripes(8)] * 15, 30)
    assert incidents([PLAIN] * 5 + [stripes(8)] * 16, 30)


WIDE = 6, 4, 314, 4 + 0.47 * HEIGHT  # 45 % of the screen
NARROW = 6, 4, 314, 4 + 0.37 * HEIGHT  # 36 %
SMALL = 6, 4, 314, 4 + 0.23 * HEIGHT  # 22 %


def drift(region, cycles, fps=30, seconds=2.0, **options):
    """Stripes that move by so many of their periods in a second."""
    frames = range(int(seconds * fps))
    return [stripes(12, phase=cycles * i / fps, region=region, **options) for i in frames]


@pytest.mark.parametrize(("region", "moves", "bad"), [
    (WIDE, 0, True), (NARROW, 0, False), (WIDE, 1, True), (NARROW, 1, True), (SMALL, 1, False),
    (NARROW, 0.3, True), (NARROW, 3, True), (NARROW, 7, True), (SMALL, 7, False),
    (NARROW, 0.02, False),
])  # fmt: skip
def test_moving_patterns_may_be_smaller(region, moves, bad):
    found = incidents(drift(region, moves), 30)
    assert bool(found) == bad
    if bad and moves:
        assert "moving or flashing, over more than 25 %" in found[0].clause


@pytest.mark.parametrize("every", [1, 2, 3, 5, 8])
def test_stripes_that_change_places_move(every):
    pictures = [stripes(12, phase=0.5 * (i // every % 2), region=NARROW) for i in range(60)]
    assert incidents(pictures, 30)


@pytest.mark.parametrize("every", [1, 2, 3, 4, 6])
def test_patterns_that_come_and_go_flash(every):
    pictures = [
        stripes(12, region=NARROW, ground=0.1) if i // every % 2 else PLAIN for i in range(60)
    ]
    assert incidents(pictures, 30)


def test_stripes_to_and_fro_move():
    pictures = [stripes(12, phase=0.3 * np.sin(i / 3), region=NARROW) for i in range(60)]
    assert incidents(pictures, 30)


def test_one_change_of_a_small_still_pattern_is_no_motion():
    pictures = [stripes(12, phase=0.5 * (i > 40), region=NARROW) for i in range(90)]
    assert not incidents(pictures, 30)


def test_motion_of_less_than_half_a_second_is_allowed():
    still = [stripes(12, region=NARROW)] * 60
    assert not incidents(still + drift(NARROW, 2, seconds=0.4) + still, 30)
    assert incidents(still + drift(NARROW, 2, seconds=0.6) + still, 30)


def test_noise_of_a_codec_is_no_motion():
    rng = np.random.default_rng(1)
    picture = stripes(12, region=NARROW, dark=0.05)
    pictures = [np.clip(picture + rng.normal(0, 0.005, picture.shape), 0, 1) for _ in range(60)]
    assert not incidents(pictures, 30)


def test_times_are_those_of_presentation():
    (found,) = incidents([stripes(8)] * 40, 30, start=1000.0)
    assert found.start == 1000.0


def test_each_pattern_is_an_incident_with_its_place():
    region = 64, 20, 256, 180
    pictures = [stripes(12, region=region)] * 30 + [PLAIN] * 30 + [stripes(9, 90)] * 30
    one, two = incidents(pictures, 30)
    assert np.allclose(one.box, (64, 20, 192, 160), atol=13)
    assert np.allclose(two.box, (0, 0, WIDTH, HEIGHT), atol=8)
    assert one.still.shape[:2] == one.mask.shape
    assert one.mask.mean() == pytest.approx(one.area, abs=0.02)
    assert one.flashes == 0


def test_no_frame_is_kept():
    watch = patterns.Patterns(PROFILE, WIDTH, HEIGHT)
    alive = []
    for index in range(40):
        plane = codes(stripes(12, phase=index / 10))
        alive.append(weakref.ref(plane))
        watch.see(Frame(index / 30, (plane,), Colour("gray", 8, "bt709", full_range=False)))
        del plane
        assert not [ref for ref in alive if ref() is not None]
    assert watch.incidents()[0].still is not None


def test_a_buffer_that_is_used_again_changes_no_still():
    watch = patterns.Patterns(PROFILE, WIDTH, HEIGHT)
    plane = codes(stripes(12))
    for index in range(30):
        watch.see(Frame(index / 30, (plane,), Colour("gray", 8, "bt709", full_range=False)))
        if index == 24:
            plane[...] = 16
    (found,) = watch.incidents()
    assert np.ptp(found.still.astype(int)) > 100


def test_only_standards_with_the_rule_have_it():
    assert {name for name, p in PROFILES.items() if p.stripes} == {"bt1702", "ofcom", "nabj"}


# --- frames -------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", [1, 2, 3, 4])
@pytest.mark.parametrize("half", [(1, 1), (1, 2), (2, 2)])
def test_small_pictures_are_the_light_of_the_frame(step, half):
    from voxkern.pse import colour as light

    rng = np.random.default_rng(3)
    luma = np.kron(rng.integers(16, 235, (20, 30)), np.ones((12, 12))).astype(np.uint8)
    chroma = [
        np.kron(rng.integers(90, 160, (20, 30)), np.ones((12, 12))).astype(np.uint8)[
            :: half[0], :: half[1]
        ]
        for _ in "ab"
    ]
    colour = Colour("ycbcr", 8, "bt709", "bt709", "bt709", False)
    frame = Frame(0.0, (luma, *chroma), colour)
    want = light.luminance(frame)
    y, x = (np.arange(n // step) * step + step // 2 for n in luma.shape)
    found = patterns.small(frame, step)
    clear = np.isclose(found, want[np.ix_(y, x)], atol=2e-3)  # edges of blocks are means
    assert clear.mean() > (0.999 if step in (1, 2, 4) else 0.8)


@pytest.mark.parametrize("kind", ["rgb", "gray", "ycbcr"])
@pytest.mark.parametrize("bits", [8, 10])
def test_full_hd_of_every_kind(kind, bits):
    profile = PROFILES["ofcom"]
    wide = np.arange(1920) // 60 % 2 * ((1 << bits) - 1)
    plane = np.broadcast_to(wide, (1080, 1920)).astype(np.uint8 if bits == 8 else np.uint16)
    gray = np.full((540, 960), 1 << (bits - 1), plane.dtype)
    planes = {"rgb": (plane,) * 3, "gray": (plane,), "ycbcr": (plane, gray, gray)}[kind]
    watch = patterns.Patterns(profile, 1920, 1080)
    for index in range(20):
        watch.see(Frame(index / 25, planes, Colour(kind, bits, "bt709")))
    (found,) = watch.incidents()
    assert found.area > 0.99
    assert found.box == (0, 0, 1920, 1080)


@pytest.mark.parametrize("shape", [(1, 1), (2, 4000), (4000, 3), (7, 7)])
def test_frames_of_odd_sizes_pass(shape):
    watch = patterns.Patterns(PROFILE, shape[1], shape[0])
    for index in range(5):
        plane = np.full(shape, 255 * (index % 2), np.uint8)
        watch.see(Frame(index / 5, (plane,), Colour("gray")))
    assert watch.incidents() == []


@pytest.mark.parametrize("size", [(1280, 720), (640, 360)])
def test_stripes_survive_a_codec(tmp_path, size):
    av = pytest.importorskip("av")
    width, height = size
    path = tmp_path / "stripes.mp4"
    bars = np.arange(width) * 24 // width % 2 * 219 + 16
    rng = np.random.default_rng(0)
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libx264", rate=25, options={"crf": "18"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for index in range(50):
            noise = rng.normal(0, 6, (height, width))
            shown = np.clip((bars if 10 <= index < 30 else 90) + noise, 16, 235).astype(np.uint8)
            picture = av.VideoFrame.from_ndarray(shown, "gray").reformat(format="yuv420p")
            file.mux(stream.encode(picture))
        file.mux(stream.encode())
    report = analyze(path, profile=["bt1702", "wcag22"])
    (found,) = report.results[0].incidents
    assert (found.kind, report.verdict, report.results[1].verdict) == ("pattern", "fail", "pass")
    assert (found.start, found.end) == (pytest.approx(0.4), pytest.approx(1.2))
    assert found.area > 0.95


def test_natural_video_has_no_pattern():
    pytest.importorskip("av")
    if not REAL.exists():
        pytest.skip("shared/data/real/cockatoo.mp4 is not beside the repository")
    watch = patterns.Patterns(PROFILE, 1280, 720)
    for frame in clip(REAL):
        watch.see(frame)
    assert watch.incidents() == []


def test_profiles_that_share_their_looks_quote_their_own_clauses(monkeypatch):
    wide = codes(np.where(np.arange(WIDTH) // 12 % 2, 0.6, 0.05))
    picture = np.broadcast_to(wide, (HEIGHT, WIDTH))
    looks = []
    find = patterns.find
    monkeypatch.setattr(patterns, "find", lambda *given: looks.append(1) or find(*given))
    names = ["bt1702", "ofcom", "nabj"]
    report = analyze([picture] * 40, 25, names)
    together = len(looks)
    clauses = [r.incidents[0].clause.split(":")[0] for r in report.results]
    assert clauses == [PROFILES[name].stripes.clause for name in names]
    alone = [analyze([picture] * 40, 25, name).results[0].incidents for name in names]
    assert [r.incidents for r in report.results] == alone
    assert len(looks) == 4 * together
