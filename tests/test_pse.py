"""The photosensitivity analysis: pixels against the oracle, labelled cases, every threshold."""

import csv
import dataclasses
import itertools
import json
import pathlib

import numpy as np
import pytest

import voxkern
from voxkern import _dispatch
from voxkern.kernels.native import host
from voxkern.pse import PROFILES, Colour, Frame, analyze, screen
from voxkern.pse import colour as colours
from voxkern.pse.frames import clip
from voxkern.pse.light import light, luminance_lane, red_lane
from voxkern.pse.watch import Watch
from voxkern.reference import pse as reference

TRACE = pathlib.Path(__file__).parents[2] / "shared/data/trace-pse"
REAL = pathlib.Path(__file__).parents[2] / "shared/data/real/cockatoo.mp4"
STANDARDS = {
    "trace24": "trace24",
    "wcag2_2": "wcag22",
    "iso": "iso9241",
    "itu_r1702_4": "bt1702",
    "ofcom2017": "ofcom",
}
LUMINANCE = ("wcag22", "bt1702", "trace24", "nabj")
RED = ("wcag22", "wcag20", "bt1702")
SRGB = light(Colour("gray"), "srgb").table


# --- every pixel against the oracle -------------------------------------------------------------


def lanes(watch, profiles):
    """Numbers of the lanes of profiles, by profile and kind."""
    chosen = {(name, "luminance"): watch.lane(PROFILES[name], "luminance") for name in profiles[0]}
    chosen |= {(name, "red"): watch.lane(PROFILES[name], "red") for name in profiles[1]}
    watch.start()
    return chosen


def native_counts(frames, profiles):
    """Transitions in the last second of every pixel after every frame, by profile and kind."""
    watch = Watch(frames[0])
    numbers = lanes(watch, profiles)
    found = {key: [] for key in numbers}
    for frame in frames:
        watch.push(frame)
        for key, lane in numbers.items():
            found[key].append(watch.counts(lane))
    return found


def oracle_counts(frames, name, kind):
    """The same, from the definitions."""
    profile, colour = PROFILES[name], frames[0].colour
    rgb = np.stack([colours.linear_rgb(frame, profile.curve) for frame in frames])
    rgb = rgb.transpose(0, 2, 3, 1)
    rows = colours.to_srgb(colour.primaries), colours.to_xyz(colour.primaries)
    if kind == "luminance":
        hdr = colour.transfer in ("pq", "hlg") or profile.contrast_in_sdr
        values = reference.luminance(
            rgb, colours.weights(colour.primaries), *colours.system(colour)
        )
        contrast = profile.contrast if hdr else 0
        change = profile.change * (1 - 1e-9)
        steps = reference.luminance_steps(values, change, profile.dark, contrast)
    elif profile.red == "uv":
        limits = profile.red_share, profile.red_floor, profile.red_distance
        steps = reference.red_steps(rgb, rows, *limits)
    else:
        steps = reference.legacy_red_steps(rgb, rows, profile.red_share, profile.red_change)
    times = [frame.time for frame in frames]
    return reference.counts(reference.transitions(steps, times, rgb.shape[1:3]), times)


def agree(frames, profiles=(LUMINANCE, RED), level=None):
    """Raise unless the counts of every pixel are the oracle's; the most that there are."""
    with _dispatch.force(None, level):
        found = native_counts(frames, profiles)
    most = 0
    for (name, kind), counts in found.items():
        expected = oracle_counts(frames, name, kind)
        np.testing.assert_array_equal(counts, expected, f"{name}, {kind}")
        most = max(most, expected.max())
    return most


def pictures(rng, shape, dtype=np.uint8):
    return rng.integers(0, np.iinfo(dtype).max + 1, shape).astype(dtype)


@pytest.mark.parametrize("level", host.levels())
@pytest.mark.parametrize("size", [(1, 1), (3, 63), (7, 64), (2, 65), (5, 131), (11, 200)])
def test_counts_are_the_oracles_at_every_level(rng, size, level):
    frames = list(clip(pictures(rng, (24, *size, 3)), 30))
    assert agree(frames, level=level) > 3


@pytest.mark.parametrize("fps", [5, 15, 23.976, 25, 29.97, 50, 59.94, 60, 120, 240])
def test_counts_at_every_rate(rng, fps):
    steps = rng.normal(0, 9 * (30 / fps) ** 0.5, (int(1.3 * fps) + 4, 3, 70, 3)).cumsum(0)
    assert agree(list(clip(np.clip(128 + 4 * steps, 0, 255).astype(np.uint8), fps))) > 0


@pytest.mark.parametrize("level", host.levels())
def test_counts_of_times_without_a_rate(rng, level):
    times = np.cumsum(rng.choice([0.001, 0.004, 0.02, 0.066, 0.1, 0.5, 1.2], 90))
    frames = [next(iter(clip([(t, p)]))) for t, p in zip(times, pictures(rng, (90, 2, 67, 3)))]
    assert agree(frames, level=level) > 3


@pytest.mark.parametrize("level", host.levels())
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_counts_of_gray_and_of_16_bits(rng, dtype, level):
    agree(list(clip(pictures(rng, (20, 3, 67), dtype), 30)), level=level)
    agree(list(clip(pictures(rng, (20, 3, 67, 3), dtype), 30)), level=level)


def ycbcr(rng, colour, count=20, size=(6, 131), subsampled=(1, 1)):
    """Random frames; the chroma planes are subsampled across and down by these shifts."""
    height, width = size
    small = -(-height // (1 << subsampled[1])), -(-width // (1 << subsampled[0]))
    dtype = np.uint8 if colour.bits == 8 else np.uint16
    for i in range(count):
        shapes = (height, width), small, small
        planes = tuple(rng.integers(0, 1 << colour.bits, s).astype(dtype) for s in shapes)
        yield Frame(i / 30, planes, colour)


@pytest.mark.parametrize("transfer", ["bt709", "srgb", "pq", "hlg", "linear"])
@pytest.mark.parametrize("bits", [8, 10, 12])
def test_counts_of_video(rng, transfer, bits):
    wide = "bt2020" if transfer in ("pq", "hlg") else "bt709"
    for full, subsampled in [(False, (1, 1)), (True, (1, 0)), (False, (0, 0))]:
        colour = Colour("ycbcr", bits, transfer, wide, wide, full)
        assert agree(list(ycbcr(rng, colour, subsampled=subsampled))) > 3


@pytest.mark.parametrize("level", host.levels())
def test_counts_of_video_at_every_level(rng, level):
    colour = Colour("ycbcr", 8, "bt709", "bt601", "bt601", False)
    agree(list(ycbcr(rng, colour, size=(5, 200))), level=level)
    smooth = [
        frame._replace(planes=tuple((p // 16 + 110).astype(np.uint8) for p in frame.planes))
        for frame in ycbcr(rng, colour, size=(5, 200))
    ]
    agree(smooth, level=level)


def test_counts_near_thresholds(rng):
    """Pairs of colours whose luminances differ by almost 0.1: 16 bits alone cannot tell."""
    table = light(Colour("rgb"), "srgb").table
    dark = rng.integers(0, 180, (4, 512, 3))
    bright = np.searchsorted(table, table[dark] + 0.1) + rng.integers(-1, 2, dark.shape)
    pair = np.stack([dark, np.clip(bright, 0, 255)]).astype(np.uint8)
    assert agree(list(clip(pair[np.arange(20) // 2 % 2], 30))) > 3


@pytest.mark.parametrize("level", host.levels())
@pytest.mark.parametrize("chroma", [0, 3, 4, 8, 16, 32, 40])
@pytest.mark.parametrize(("bits", "full"), [(8, False), (8, True), (10, False)])
def test_counts_of_video_near_gray(rng, bits, full, chroma, level):
    """Steps of Y' about those that the screens let pass; a few pixels of a word go up and down."""
    colour = Colour("ycbcr", bits, "bt709", "bt709", "bt709", full)
    middle, scale = 1 << bits - 1, 1 << bits - 8
    ground = rng.integers(20, 236, (9, 200)) * np.ones((20, 1, 1), int)
    step = rng.integers(5, 40, ground.shape[1:]) * (rng.random(ground.shape[1:]) < 0.05)
    ground += step * (np.arange(20) // 2 % 2)[:, None, None]
    dtype = np.uint8 if bits == 8 else np.uint16
    frames = []
    for i, luma in enumerate(np.clip(scale * ground + rng.integers(0, scale), 0, 256 * scale - 1)):
        codes = rng.integers(-chroma, chroma + 1, (2, 5, 100)) * scale + middle
        frames.append(Frame(i / 30, tuple(p.astype(dtype) for p in (luma, *codes)), colour))
    assert agree(frames, level=level) > 3


def watched(height, width, cell):
    """Lines and columns of the pixels that are watched, one of each cell."""
    row, column = np.mgrid[: height // cell, : width // cell]
    block, turns = column // 8, np.array([0, 2, 1, 3] if cell == 4 else [0, 1])
    y = cell * row + turns[(row + block) % cell]
    return y, cell * column + turns[(row + row // cell + 2 * block + block // cell) % cell]


@pytest.mark.parametrize("cell", [2, 4])
def test_every_pixel_of_a_cell_is_watched_in_its_turn(cell):
    for side in range(0, 256, 32 * cell):
        y, x = watched(16 * cell, 1024, cell)
        columns = slice(side // cell, side // cell + 64)
        chosen = y[:16, columns] % cell * cell + x[:16, columns] % cell
        assert len(set(np.bincount(chosen.ravel(), minlength=cell**2))) == 1


@pytest.mark.parametrize("level", host.levels())
@pytest.mark.parametrize(("size", "cell"), [((3301, 259), 2), ((259, 8107), 4)])
@pytest.mark.parametrize("form", ["ycbcr", "deep", "rgb", "gray"])
def test_cells_count_as_the_pixels_that_stand_for_them(rng, size, cell, form, level):
    if form in ("ycbcr", "deep"):
        bits, shifts = (8, (1, 1)) if form == "ycbcr" else (10, (1, 0))
        colour = Colour("ycbcr", bits, "bt709", "bt709", "bt709", False)
        frames = list(ycbcr(rng, colour, 6, size, shifts))
    else:
        shifts, shape = (0, 0), (6, *size, 3) if form == "rgb" else (6, *size)
        frames = list(clip(pictures(rng, shape, np.uint8 if form == "rgb" else np.uint16), 30))
    y, x = watched(*size, cell)
    chosen = [
        frame._replace(
            planes=(
                frame.planes[0][y, x],
                *(plane[y >> shifts[1], x >> shifts[0]] for plane in frame.planes[1:]),
            )
        )
        for frame in frames
    ]
    with _dispatch.force(None, level):
        found = native_counts(frames, (["wcag22"], [] if form == "gray" else ["bt1702"]))
    for key, counts in found.items():
        expected = oracle_counts(chosen, *key)
        assert expected.max() > 1
        np.testing.assert_array_equal(counts, expected, str(key))


@pytest.mark.parametrize("field", [0, 1])
def test_a_flash_in_the_lines_of_one_field_fills_half_of_the_screen(field):
    dark = np.zeros((1080, 1920), np.uint8)
    bright = dark.copy()
    bright[field::2] = 255
    report = analyze([dark, dark, dark, bright, bright, bright] * 8, 30, "bt1702")
    assert report.verdict == "fail"
    incident = report.results[0].incidents[0]
    assert incident.area == pytest.approx(0.5)
    assert incident.box == (0, 0, 1920, 1080)


@pytest.mark.parametrize(("size", "cell"), [((540, 960), 1), ((720, 1280), 2), ((1080, 1920), 4)])
@pytest.mark.parametrize("profile", ["bt1702", "wcag22"])
@pytest.mark.parametrize("share", [0.245, 0.255])
def test_areas_in_cells_are_those_in_pixels(rng, size, cell, profile, share):
    """Rectangles anywhere, just below and just above a quarter of the tested area."""
    assert Watch(next(iter(clip(np.zeros((1, *size), np.uint8), 30)))).cell == cell
    high, wide = size if profile == "bt1702" else (256, 341)
    for _ in range(4):
        down = round(high * rng.uniform(0.4, 0.9))
        across = round(high * wide * share / down)
        y, x = rng.integers(size[0] - down), rng.integers(size[1] - across)
        dark = np.full(size, 40, np.uint8)
        bright = dark.copy()
        bright[y : y + down, x : x + across] = 230
        frames = [dark, dark, dark, bright, bright, bright] * 6
        report = analyze(frames, 30, profile, size=size[::-1])
        assert (report.verdict == "fail") == (share > 0.25), (y, x, down, across)


@pytest.mark.parametrize("level", host.levels())
@pytest.mark.parametrize(("bits", "apart"), [(8, 1), (8, 3), (10, 1)])
def test_colours_in_any_part_of_a_word_are_seen(level, bits, apart):
    """Y' stays; chroma changes in one eighth of each word, and luminance with it."""
    colour, scale = Colour("ycbcr", bits, "bt709", "bt709", "bt709", False), 1 << bits - 8
    dtype = np.uint8 if bits == 8 else np.uint16
    luma = np.full((16, 200), 120 * scale, dtype)
    frames = []
    for i in range(20):
        chroma = np.full((2, 8, 100), 128 * scale, dtype)
        for part in range(8):
            chroma[1, part, np.arange(100) % 32 // 4 == part] += (i // 2 % 2) * 100 * scale
        cb, cr = np.repeat(chroma, apart, axis=2)[..., ::apart]
        frames.append(Frame(i / 30, (luma, cb, cr), colour))
    assert agree(frames, level=level) > 3


def test_codes_out_of_their_depth_are_the_largest():
    planes = tuple(np.full((2, 3), 65535, np.uint16) for _ in range(3))
    frames = [Frame(i / 30, planes, Colour("ycbcr", 10, full_range=False)) for i in range(3)]
    assert analyze(frames).verdict == "pass"


@pytest.mark.parametrize("level", host.levels())
@pytest.mark.parametrize("size", [(1, 1), (9, 70), (6, 193), (260, 5)])
def test_slow_turns_are_the_oracles(rng, size, level):
    """In some of the rows; luminances are 0.04 apart, so that no sum of them is near 0.1."""
    codes = np.searchsorted(SRGB, np.arange(25) * 0.04 + 0.01)
    walk = np.clip(rng.integers(-2, 3, (40, *size)).cumsum(0) + 12, 0, 24)
    frames = list(clip(codes[walk].astype(np.uint8), 30))
    with _dispatch.force(None, level):
        watch = Watch(frames[0])
        lane = watch.lane(PROFILES["wcag22"], "ramp")
        watch.start()
        done = reference.turns(SRGB[codes[walk]], 0.1, 0.8)
        expected = reference.counts(done, [frame.time for frame in frames])
        for frame, counts in zip(frames, expected):
            watch.push(frame)
            found = watch.counts(lane)
            rows = watch.ramp_rows
            np.testing.assert_array_equal(found[::rows], counts[::rows])
            assert not found[np.arange(size[0]) % rows > 0].any()


@pytest.mark.parametrize("layout", ["strided", "transposed", "reversed", "read-only", "swapped"])
def test_layouts_of_frames(rng, layout):
    plain = pictures(rng, (20, 6, 70, 3), np.uint16 if layout == "swapped" else np.uint8)
    other = {
        "strided": lambda: np.repeat(np.repeat(plain, 2, 1), 2, 2)[:, ::2, ::2],
        "transposed": lambda: np.asfortranarray(plain),
        "reversed": lambda: np.ascontiguousarray(plain[:, ::-1, ::-1])[:, ::-1, ::-1],
        "read-only": lambda: np.frombuffer(plain.tobytes(), plain.dtype).reshape(plain.shape),
        "swapped": lambda: plain.astype(plain.dtype.newbyteorder()),
    }[layout]()
    expected = native_counts(list(clip(plain, 30)), (LUMINANCE, RED))
    assert all(
        np.array_equal(counts, expected[key])
        for key, counts in native_counts(list(clip(other, 30)), (LUMINANCE, RED)).items()
    )


@pytest.mark.parametrize("curve", ["srgb", "bt1886", "ofcom"])
@pytest.mark.parametrize("bits", [8, 12])
def test_the_screens_are_proved(rng, curve, bits):
    """No change of fewer codes than `still` makes a transition; 16 bits err within their bounds."""
    colour = Colour("rgb", bits)
    source = light(colour, curve)
    still = luminance_lane(colour, 0, source, 0.1, 0.8, 0)[4][0]
    table = source.table
    assert (table[still - 1 :] - table[: 1 - still or None]).max() < 0.1 * (1 - 1e-9)
    weights = np.array(colours.weights("bt709"))
    coarse = source.coarse.reshape(3, -1)
    codes = rng.integers(0, len(table), (3, 100000))
    codes[:, :1000] = np.linspace(0, len(table) - 1, 1000).astype(int)
    error = sum(coarse[c][codes[c]] - source.unit * weights[c] * table[codes[c]] for c in range(3))
    assert source.low <= error.min()
    assert error.max() <= source.high


SCREENED = [
    Colour("gray"),
    Colour("rgb"),
    Colour("rgb", 16),
    Colour("ycbcr", 8, "bt709", "bt709", "bt709", False),
    Colour("ycbcr", 8, "bt709", "bt601", "bt601", True),
    Colour("ycbcr", 10, "bt709", "bt709", "bt709", False),
    Colour("ycbcr", 12, "pq", "bt2020", "bt2020", False),
    Colour("ycbcr", 10, "hlg", "bt2020", "bt2020", False),
]


@pytest.mark.parametrize("colour", SCREENED, ids=str)
def test_no_transition_passes_the_screen_of_bytes(rng, colour):
    """Pairs of random colours, near ones above all, whose light differs by 0.1 or more."""
    source, need, dark = light(colour, None), 0.1, 0.8
    steps = screen.luminance_screen(colour, None, need, dark).astype(int)
    shift, weights = colour.bits - 8, colours.weights(colour.primaries)
    for most, row in zip(screen.MILD, steps):
        one = rng.integers(0, 1 << colour.bits, (3, 400000))
        other = one + rng.integers(-40 << shift, (40 << shift) + 1, one.shape)
        if colour.kind == "ycbcr":
            middle = 1 << colour.bits - 1
            for codes in one, other:
                codes[1:] = rng.integers(-most << shift, (most + 1 << shift), codes[1:].shape)
                codes[1:] += middle
        other = np.clip(other, 0, (1 << colour.bits) - 1)
        if colour.kind == "ycbcr":
            grids = [colours.grid(codes[:, None], colour)[:, 0] for codes in (one, other)]
        else:
            grids = [one[[0, 0, 0]] if colour.kind == "gray" else one]
            grids.append(other[[0, 0, 0]] if colour.kind == "gray" else other)
        first, second = (weights @ source.table[codes] for codes in grids)
        low, change = np.minimum(first, second), np.abs(first - second)
        found = (change >= need) & (low < dark)
        a, b = (codes[:, found] >> shift for codes in (one, other))
        if colour.kind != "rgb":
            a, b = a[:1], b[:1]
        passed = np.abs(a - b) >= row[np.maximum(a, b) >> 4]
        assert passed.any(axis=0).all()
        assert found.any()
        if colour.transfer in ("bt709", "srgb"):  # small steps pass seldom
            small = np.abs(one[0] - other[0]) >> shift < 3
            a, b = (codes[0, small] >> shift for codes in (one, other))
            assert most == 32 or (np.abs(a - b) < row[np.maximum(a, b) >> 4]).mean() > 0.9


@pytest.mark.parametrize("colour", [c for c in SCREENED if c.kind == "ycbcr"], ids=str)
def test_no_saturated_red_passes_the_screen_of_cr(rng, colour):
    profile = PROFILES["wcag22"]
    source = light(colour, None)
    _, black, ratio, floor = red_lane(colour, source, profile)[4]
    least, slope, y0 = screen.red_screen(colour, black, ratio, floor)
    codes = rng.integers(0, 1 << colour.bits, (3, 1000000))
    codes[0, ::2] >>= 2  # reds are dark
    rgb = source.table[colours.grid(codes[:, None], colour)[:, 0]]
    rgb = colours.to_srgb(colour.primaries) @ rgb
    red = rgb[0] >= profile.red_share * rgb.sum(axis=0)
    red &= rgb[0] - rgb[1] - rgb[2] >= profile.red_floor
    luma, _, cr = codes[:, red] >> colour.bits - 8
    assert red.sum() > 1000
    assert (cr - 128 >= least).all()
    assert ((cr - 126) << 16 >= (luma - y0) * slope).all()


@pytest.mark.parametrize("curve", ["srgb", "bt1886", "ofcom"])
def test_the_screen_of_red_is_proved_for_all_saturated_colours(curve):
    """From every saturated red of 8 bits to every corner of the box that passes unseen."""
    profile = dataclasses.replace(PROFILES["wcag22"], curve=curve)
    source = light(Colour("rgb"), curve)
    still, _, ratio, floor = red_lane(Colour("rgb"), source, profile)[4]
    table, step = source.table, still - 1
    others = np.arange(np.searchsorted(table, table[-1] / 4, "right"))
    for red in range(256):
        green, blue = (a.ravel() for a in np.meshgrid(others, others))
        rgb = table[np.stack([np.full_like(green, red), green, blue])]
        saturated = rgb[0] >= profile.red_share * rgb.sum(axis=0)
        saturated &= rgb[0] - rgb[1] - rgb[2] >= profile.red_floor
        green, blue = green[saturated], blue[saturated]
        most = np.maximum(green, blue)  # all of them may be red by the kernel's quick test
        assert (red >= floor and (red - most >= most * ratio >> 16).all()) or not len(green)
        here = colours.chromaticity(rgb[:, saturated].T)
        for signs in itertools.product((-step, step), repeat=3):
            codes = [np.clip(c + s, 0, 255) for c, s in zip((red, green, blue), signs)]
            there = colours.chromaticity(table[np.stack(np.broadcast_arrays(*codes))].T)
            assert (np.hypot(*(there - here).T) <= profile.red_distance).all()


@pytest.mark.parametrize("level", host.levels())
def test_windows_are_the_oracles(rng, level):
    kernel = _dispatch.module("native", level, "pse")
    for case in range(150):
        height, width = rng.integers(1, 60), rng.integers(1, 300)
        mask = rng.random((height, width)) < rng.random() ** 2
        if case % 3 == 0:
            y, x = rng.integers(0, height), rng.integers(0, width)
            mask[:] = False
            mask[y : y + 20, x : x + 70] = True
        window = int(rng.integers(1, height + 1)), int(rng.integers(1, width + 1))
        words = -(-width // 64)
        padded = np.zeros((height, 64 * words), bool)
        padded[:, :width] = mask
        bits = np.packbits(padded, axis=1, bitorder="little").view(np.uint64).ravel()
        scratch = np.zeros(66 * words + 192, np.int32)
        size = width, height, window[1], window[0]
        best, x, y = kernel.window(bits, *size, -1, scratch)
        assert best == reference.largest_area(mask, window)
        assert best == mask[y : y + window[0], x : x + window[1]].sum()
        assert kernel.window(bits, *size, best, scratch)[0] == best
        floor = int(rng.integers(0, best + 1))
        some, x, y = kernel.window(bits, *size, floor, scratch, any=True)
        assert (floor < some <= best) if best > floor else some == floor
        assert some == floor or some == mask[y : y + window[0], x : x + window[1]].sum()


# --- labelled cases -----------------------------------------------------------------------------


def cases():
    if not TRACE.is_dir():
        return [pytest.param(None, marks=pytest.mark.skip("../shared/data/trace-pse is not here"))]
    listed = json.loads((TRACE / "cases.json").read_text())
    return [pytest.param(case, id=f"{case['set']}-{case['case']}") for case in listed]


def mask_of(path):
    av = pytest.importorskip("av")
    with av.open(str(TRACE / path)) as container:
        return next(container.decode(video=0)).to_ndarray(format="rgba")[:, :, 3] > 127


def colours_of(path):
    with open(TRACE / path, newline="") as file:
        return [tuple(int(row[c]) for c in "rgba") for row in csv.DictReader(file)]


def rendered(case):
    """Frames of 1920 x 1080; one that has been before is the same array."""
    layers = [(mask_of(x["mask"]), colours_of(x["colors"])) for x in case["layers"]]
    label = sum(mask.astype(np.uint8) << i for i, (mask, _) in enumerate(layers))
    known = {}
    length = max(len(rows) for _, rows in layers)
    for now in [0] * 10 + list(range(length)):
        palette = np.tile(np.array(case["background"], np.uint8), (1 << len(layers), 1))
        for i, (_, rows) in enumerate(layers):
            *rgb, alpha = rows[min(now, len(rows) - 1)]
            if alpha:
                palette[np.arange(len(palette)) >> i & 1 == 1] = rgb
        key = palette.tobytes()
        if key not in known:
            known[key] = palette[label]
        yield known[key]


@pytest.mark.parametrize("case", cases())
def test_labelled_case(case):
    profiles = [STANDARDS[name] for name in case["standards"]]
    pictures = (
        next(iter(clip(picture[None], 30)))._replace(time=i / 30)
        for i, picture in enumerate(rendered(case))
    )
    for result in analyze(pictures, profile=profiles).results:
        verdict = "fail" if result.verdict == "fail" else "pass"
        assert verdict == case["expected"], result


@pytest.mark.skipif(not REAL.is_file(), reason="../shared/data/real/cockatoo.mp4 is not here")
def test_a_moving_animal_passes_every_profile():
    pytest.importorskip("av")
    report = analyze(REAL, profile=list(PROFILES))
    assert {r.profile: r.verdict for r in report.results} == dict.fromkeys(PROFILES, "pass")
    assert report.complete
    assert (report.width, report.height, report.frames) == (1280, 720, 280)
    assert report.fps == pytest.approx(20)


# --- what goes wrong in other tools -------------------------------------------------------------


def code(value):
    """The sRGB code nearest to a relative luminance."""
    return int(np.abs(light(Colour("gray"), "srgb").table - value).argmin())


def compared(name, width=960, height=540):
    """Two seconds of 5 Hz at 30 frames per second."""
    on = (np.arange(60) // 3 % 2 == 1)[:, None, None]
    x = np.arange(width)[None, None]
    base = np.full((60, height, width), code(0.05), np.uint8)
    if name == "30 % of the screen":
        return np.where((x < 0.3 * width) & on, code(0.35), base)
    if name == "counter-phase":
        return np.where((x < 0.5 * width) == on, code(0.9), code(0.1)).repeat(height, axis=1)
    if name == "on white":
        flash = np.where(on, code(0.75), code(0.3))
        return np.where(x < 0.27 * width, flash, 255).repeat(height, axis=1)
    return np.where((x < 0.15 * width) & on, 255, np.where(x < 0.15 * width, 0, base))


@pytest.mark.parametrize("change", ["none", "noise", "half", "h264"])
@pytest.mark.parametrize(
    ("name", "verdict"),
    [
        ("30 % of the screen", "fail"),
        ("counter-phase", "fail"),
        ("on white", "fail"),
        ("15 % of the screen", "pass"),
    ],
)
def test_what_goes_wrong_in_other_tools(rng, tmp_path, name, verdict, change):
    frames = np.ascontiguousarray(compared(name).astype(np.uint8))
    source, fps = np.stack([frames] * 3, axis=-1), 30
    if change == "noise":
        noise = rng.integers(-1, 2, source.shape, np.int8)
        source = np.clip(source.astype(np.int16) + noise, 0, 255).astype(np.uint8)
    elif change == "half":
        source = np.ascontiguousarray(source[:, ::2, ::2])
    elif change == "h264":
        source, fps = encoded(source, tmp_path / "clip.mp4"), None
    profiles = ["bt1702", "ofcom", "iso9241"] + ["wcag22", "trace24"] * (verdict == "fail")
    for result in analyze(source, fps, profiles).results:
        assert result.verdict == verdict, result


def encoded(frames, path):
    """The clip as H.264 at crf 18."""
    av = pytest.importorskip("av")
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30, options={"crf": "18", "preset": "fast"})
        stream.height, stream.width, stream.pix_fmt = *frames.shape[1:3], "yuv420p"
        for picture in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return path


def test_noise_alone_is_no_flash(rng):
    for level in (0, 3, 20, 128, 255):
        noise = rng.integers(-1, 2, (60, 36, 64, 3))
        report = analyze(np.clip(level + noise, 0, 255).astype(np.uint8), 30, list(PROFILES))
        assert report.verdict == "pass"
        assert max(r.timeline["red_flashes"].max() for r in report.results) == 0


# --- every threshold, just below and just above -------------------------------------------------

SCREEN = ("bt1702", "ofcom", "iso9241")
WINDOWED = ("wcag22", "wcag20", "trace24")
# How large frames of 96 x 72 are shown: the windows are 32 x 24 and 39 x 39 pixels of them.
SHOWN = {"wcag22": (1023, 768), "wcag20": (1023, 768), "trace24": (1024, 768)}


def alternating(dark, bright, count=7, gap=4, lead=3, tail=4):
    """Values frame by frame that make `count` transitions, one every `gap` frames."""
    values = [dark] * lead
    for i in range(count):
        values += [bright if i % 2 == 0 else dark] * (gap if i < count - 1 else tail)
    return values


def turning(at, times):
    """40 at first, then 200 and 40 in turns, changing at the times `at`."""
    return [40 if np.searchsorted(at, time, "right") % 2 == 0 else 200 for time in times]


def grays(values, size=(8, 12)):
    """Whole frames of gray codes."""
    return np.repeat(np.repeat(np.array(values, np.uint8)[:, None, None], size[0], 1), size[1], 2)


def verdict_of(source, fps, profile, **options):
    """Fail, or pass where there is no failure; small frames are shown on the whole screen."""
    options.setdefault("size", (1024, 768))
    result = analyze(source, fps, profile, **options).results[0]
    return "fail" if result.verdict == "fail" else "pass"


def luminance_cases():
    """The brightest code that is no transition from a dark one, and the first that is."""
    for name in (*WINDOWED, *SCREEN):
        for dark in (0, 20, 50, 90, 120, 150, 180, 200, 220, 230):
            bright = int(np.searchsorted(SRGB, SRGB[dark] + 0.1))
            yield name, dark, bright - 1, "pass"
            yield name, dark, bright, "fail" if SRGB[dark] < 0.8 else "pass"


@pytest.mark.parametrize(("name", "dark", "bright", "expected"), list(luminance_cases()))
def test_luminance(name, dark, bright, expected):
    assert verdict_of(grays(alternating(dark, bright)), 30, name) == expected
    assert verdict_of(grays(alternating(bright, dark)), 30, name) == expected


@pytest.mark.parametrize("name", [*WINDOWED, *SCREEN])
def test_dark_state(name):
    """The darker state is below 0.80: code 230 is 0.7913, 232 is 0.8070; 255 is 1."""
    assert verdict_of(grays(alternating(230, 255)), 30, name) == "fail"
    # TRACE24 goes on by Michelson contrast, 0.11 here; 240 to 247 is 0.03, and 240 to 255 is 0.064.
    expected = "fail" if name == "trace24" else "pass"
    assert verdict_of(grays(alternating(232, 255)), 30, name) == expected
    assert verdict_of(grays(alternating(240, 247)), 30, name) == "pass"
    assert verdict_of(grays(alternating(240, 255)), 30, name) == expected


@pytest.mark.parametrize("name", [*WINDOWED, *SCREEN])
@pytest.mark.parametrize("start", [0, 1])
def test_count(name, start):
    values = alternating(30, 200, 6 + start)
    assert verdict_of(grays(values), 30, name) == ("fail" if start else "pass")


RATES = (23.976, 24, 25, 29.97, 30, 48, 50, 59.94, 60, 100, 120, 144)


@pytest.mark.parametrize("fps", RATES)
@pytest.mark.parametrize("name", ["wcag22", "bt1702", "trace24"])
def test_time(name, fps):
    """Seven transitions of which the first and the last are just within a second, and just not."""
    within = int(np.ceil(fps * (1 - 1e-9))) - 1  # frame steps that take less than a second
    for steps, expected in ((within, "fail"), (within + 1, "pass")):
        at = np.round(np.linspace(0, steps, 7)).astype(int) + 3
        values = turning(at, range(at[-1] + 3))
        assert verdict_of(grays(values), fps, name) == expected


@pytest.mark.parametrize("fps", [24, 30, 60, 120, 1000])
def test_times_rounded_to_milliseconds(fps):
    """As Matroska has them: whole seconds stay whole, and two steps of 30 fps are not 66 ms."""
    steps = int(fps)
    for span, expected in ((steps - 1, "fail"), (steps, "pass")):
        at = np.round(np.linspace(0, span, 7)).astype(int) + 3
        values = turning(at, range(at[-1] + 3))
        pairs = [(round(i / fps, 3), p) for i, p in enumerate(grays(values))]
        assert verdict_of(pairs, None, "wcag22") == expected


@pytest.mark.parametrize(
    ("fps", "steps"), [(30, 1), (50, 3), (59.94, 3), (60, 3), (100, 6), (120, 7), (240, 15)]
)
@pytest.mark.parametrize("name", ["wcag22", "bt1702", "trace24"])
def test_ramps(name, fps, steps):
    """A change spread over 66 ms is a transition; one frame more, and it is too slow."""
    for spread, expected in ((steps, "fail"), (steps + 1, "pass")):
        ramp = np.searchsorted(SRGB, np.linspace(SRGB[60], SRGB[60] + 0.104, spread + 1))
        pause = [ramp[0]] * (int(fps / 7.5) - spread)
        rise, fall = list(ramp[1:]), list(ramp[-2::-1])
        values = pause + (rise + [ramp[-1]] * len(pause) + fall + pause) * 5
        assert verdict_of(grays(values), fps, name) == expected


@pytest.mark.parametrize("name", ["wcag22", "bt1702", "trace24"])
def test_variable_rate(name):
    """Seven transitions in 0.99 s and in 1.01 s, between frames at no fixed rate."""
    rng = np.random.default_rng(3)
    for total, expected in ((0.99, "fail"), (1.01, "pass")):
        at = 0.4 + np.linspace(0, total, 7)
        times = np.sort(np.concatenate([at, rng.uniform(0, 2, 40)]))
        values = turning(at, times)
        assert verdict_of(list(zip(times.tolist(), grays(values))), None, name) == expected


@pytest.mark.parametrize("name", ["wcag22", "bt1702", "trace24", "nabj"])
@pytest.mark.parametrize("fps", [30, 60])
def test_slow_changes_are_a_warning(name, fps):
    """Four swings a second of 0.10 and more, 100 ms each way; smaller or fewer are nothing."""
    for change, rate, expected in ((0.105, 4, "warning"), (0.095, 4, "pass"), (0.105, 2.9, "pass")):
        phase = np.arange(3 * fps) / fps * rate % 1
        swing = 0.3 + change * np.clip(5 * np.abs(phase - 0.5) - 0.75, 0, 1)
        frames = grays(np.searchsorted(SRGB, swing), (24, 36))
        report = analyze(frames, fps, name, size=(1024, 768))
        assert report.verdict == expected
        assert all(i.kind == "ramp" for i in report.results[0].incidents)


def masked(name, pixels, codes=(30, 200), size=(72, 96)):
    """A flash of so many pixels within the window of a profile, or of the screen."""
    height, width = size
    high, wide = {"wcag22": (24, 32), "wcag20": (24, 32), "trace24": (39, 39)}.get(name, size)
    frame = np.zeros((high, wide), bool)
    frame.ravel()[:pixels] = True
    mask = np.zeros((height, width), bool)
    mask[height - high :, width - wide :] = frame
    frames = np.full((len(alternating(0, 1)), height, width), codes[0], np.uint8)
    for i, on in enumerate(alternating(0, 1)):
        if on:
            frames[i][mask] = codes[1]
    return frames


@pytest.mark.parametrize("name", [*WINDOWED, *SCREEN])
def test_area(name):
    """Just 25 % of the area passes (with TRACE24 it fails), one pixel more fails."""
    width, height = SHOWN.get(name, (96, 72))
    scale = width / 96 * height / 72
    whole = {"wcag22": 341 * 256, "wcag20": 341 * 256, "trace24": 416 * 416}.get(name)
    limit = 0.25 * (whole / scale if whole else 96 * 72)
    most = int(np.ceil(limit - 1e-9)) - 1 if name == "trace24" else int(limit + 1e-9)
    options = {"size": (width, height)}
    assert verdict_of(masked(name, most), 30, name, **options) == "pass"
    assert verdict_of(masked(name, most + 1), 30, name, **options) == "fail"


@pytest.mark.parametrize("name", WINDOWED)
def test_area_apart(name):
    """Two halves of what is too much, farther apart than a window."""
    width, height = SHOWN[name]
    half = masked(name, 200 if name == "trace24" else 130)
    both = np.maximum(half, half[:, ::-1, ::-1])
    assert verdict_of(half, 30, name, size=(width, height)) == "pass"
    assert verdict_of(both, 30, name, size=(width, height)) == "pass"


def red_cases():
    """Saturated or not, far enough apart or not, at luminances that do not matter."""
    table = SRGB

    def share(r, g, b):
        return table[r] / (table[r] + table[g] + table[b])

    def apart(a, b):
        return np.hypot(*np.subtract(*colours.chromaticity(table[np.array([a, b])])))

    for red in (60, 120, 180, 240):
        other = max(c for c in range(256) if share(red, c, c) >= 0.8)
        for x, expected in ((other, "fail"), (other + 1, "pass")):
            yield (red, x, x), (0, x, x), expected, "share"
        for green in range(256):  # from green-blue towards red until it is not far enough
            if apart((red, 0, 0), (red, green, green)) > 0.2:
                break
        for x, expected in ((green, "fail"), (green - 1, "pass")):
            yield (red, 0, 0), (red, x, x), expected, "distance"


@pytest.mark.parametrize("name", ["wcag22", "bt1702", "iso9241", "ofcom", "trace24"])
@pytest.mark.parametrize(("red", "other", "expected", "what"), list(red_cases()))
def test_red(name, red, other, expected, what):
    profile = dataclasses.replace(PROFILES[name], change=5.0, contrast=0.0)  # red alone
    frames = np.array([red, other], np.uint8)[alternating(0, 1)][:, None, None]
    frames = np.broadcast_to(frames, (len(frames), 8, 12, 3))
    assert verdict_of(frames, 30, profile) == expected
    report = analyze(frames, 30, profile, size=(1024, 768))
    kinds = {incident.kind for incident in report.results[0].incidents}
    assert kinds == ({"red"} if expected == "fail" else set())


@pytest.mark.parametrize("green", [0, 20, 40])
def test_legacy_red(green):
    """max(0, R - G - B) * 320 changes by more than 20, from a saturated state."""
    profile = dataclasses.replace(PROFILES["wcag20"], change=5.0)
    amounts = SRGB - SRGB[green]
    red = int(np.flatnonzero((amounts * 320 > 20) & (0.8 * (SRGB + SRGB[green]) <= SRGB))[0])
    for code, expected in ((red, "fail"), (red - 1, "pass")):
        pair = np.array([(green, green, 0), (code, green, 0)], np.uint8)
        frames = pair[alternating(0, 1)][:, None, None].repeat(8, 1).repeat(12, 2)
        assert verdict_of(frames, 30, profile) == expected


def test_red_and_luminance_are_counted_apart():
    """Four transitions of each kind are not eight of one."""
    red, gray = (255, 0, 0), (127, 127, 127)
    values = [gray] * 3 + [red] * 3 + [gray] * 3 + [red] * 3 + [gray] * 3
    values += [(255, 255, 255)] * 3 + [gray] * 3 + [(255, 255, 255)] * 3 + [gray] * 3
    frames = np.array(values, np.uint8)[:, None, None].repeat(8, 1).repeat(12, 2)
    result = analyze(frames, 30, "wcag22", size=(1024, 768)).results[0]
    assert result.verdict == "pass"
    assert result.timeline["red_flashes"].max() == 2


def pq_code(nits):
    """The 12-bit code of PQ that is not below so many cd/m2."""
    return int(np.searchsorted(colours.light(Colour("gray", 12, "pq")), nits / 200 * (1 - 1e-9)))


def hdr_cases():
    """20 cd/m2 below a darker state of 160; a Michelson contrast of 1/17 from there on."""
    for dark in (5, 40, 100, 155):
        yield dark, dark + 21, "fail"
        yield dark, dark + 19, "pass"
    for dark in (165, 300, 1000, 4000):
        yield dark, dark * 1.125 * 1.01, "fail"
        yield dark, dark * 1.125 * 0.99, "pass"


@pytest.mark.parametrize("name", ["wcag22", "bt1702", "trace24"])
@pytest.mark.parametrize(("dark", "bright", "expected"), list(hdr_cases()))
def test_hdr(name, dark, bright, expected):
    colour = Colour("gray", 12, "pq", "bt2020")
    codes = np.array([pq_code(dark), pq_code(bright)], np.uint16)[alternating(0, 1)]
    frames = [Frame(i / 30, (np.full((8, 12), c, np.uint16),), colour) for i, c in enumerate(codes)]
    assert verdict_of(frames, None, name) == expected


@pytest.mark.parametrize(
    ("change", "count", "seconds", "expected"),
    [
        (0.15, 6, 9, "pass"),
        (0.15, 10, 1.8, "pass"),
        (0.15, 10, 2.6, "fail"),
        (0.15, 11, 1.8, "fail"),
        (0.25, 6, 9, "pass"),
        (0.25, 8, 1.8, "fail"),
    ],
)
def test_relaxation_of_nabj(change, count, seconds, expected):
    """Up to 5 weak flashes a second pass for 2 s."""
    dark, fps = 100, 60
    bright = code(SRGB[dark] + change)
    gap = fps // count
    values = alternating(dark, bright, int(seconds * fps / gap), gap, lead=20)
    result = analyze(grays(values), fps, "nabj").results[0]
    assert ("fail" if result.verdict == "fail" else "pass") == expected


def test_a_curve_can_be_chosen():
    """38.4 % of the signal is 20 cd/m2 by BT.1886 and 26.6 by the older curve."""
    frames = grays(alternating(0, round(0.384 * 255) - 3))
    older = dataclasses.replace(PROFILES["bt1702"], curve="ofcom")
    newer = dataclasses.replace(PROFILES["bt1702"], curve="bt1886")
    assert verdict_of(frames, 30, older) == "fail"
    assert verdict_of(frames, 30, newer) == "pass"


# --- what is analysed and what comes out --------------------------------------------------------


@pytest.fixture(scope="module")
def flashing():
    """A second and a half of calm, as much of a flash on the left, calm again."""
    frames = np.full((135, 72, 96, 3), 60, np.uint8)
    on = (np.arange(135) // 3 % 2 == 1) & (np.arange(135) >= 45) & (np.arange(135) < 90)
    frames[on, :, :48] = 220
    return frames


def test_an_incident(flashing):
    report = analyze(flashing, 30, ["wcag22", "bt1702"], size=(1024, 768))
    assert report.verdict == "fail"
    for result in report.results:
        (incident,) = result.incidents
        assert (incident.kind, incident.severity) == ("luminance", "fail")
        assert incident.start == pytest.approx(45 / 30, abs=0.11)
        assert incident.end == pytest.approx(90 / 30, abs=0.04)
        assert incident.box == (0, 0, 48, 72)
        assert incident.flashes == 5
        assert incident.area == (1 if result.profile == "wcag22" else 0.5)
        assert incident.still.shape == (72, 96, 3)
        np.testing.assert_array_equal(incident.mask, np.arange(96)[None].repeat(72, 0) < 48)
        assert incident.clause
        assert {len(column) for column in result.timeline.values()} == {135}
        assert result.timeline["flashes"].max() == 5
        assert result.timeline["red_flashes"].max() == 0
        assert result.timeline["luminance"][0] == pytest.approx(SRGB[60], abs=1e-3)


def test_profiles_together_are_as_each_alone(flashing):
    together = analyze(flashing, 30, list(PROFILES)).results
    for name, result in zip(PROFILES, together):
        (alone,) = analyze(flashing, 30, name).results
        assert (alone.verdict, alone.incidents) == (result.verdict, result.incidents)
        for column in alone.timeline:
            np.testing.assert_array_equal(alone.timeline[column], result.timeline[column])


def test_sources_of_the_same_frames(flashing):
    expected = analyze(flashing, 30, size=(1024, 768)).results[0]
    one = np.empty(flashing.shape[1:], np.uint8)

    def reused():
        for frame in flashing:
            one[...] = frame
            yield one

    pairs = ((i / 30, frame) for i, frame in enumerate(flashing))
    floats = (flashing / 255).astype(np.float32)
    words = flashing.astype(np.uint16) * 257
    for source, fps in ((list(flashing), 30), (reused(), 30), (pairs, None), (words, 30)):
        result = analyze(source, fps, size=(1024, 768)).results[0]
        assert result.incidents == expected.incidents
    assert analyze(floats, 30, size=(1024, 768)).verdict == "fail"


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_no_result_depends_on_the_threads(rng, threads):
    frames = pictures(rng, (40, 300, 400, 3))
    expected = analyze(frames, 30, ["wcag22", "bt1702"])
    before = voxkern.get_num_threads()
    voxkern.set_num_threads(threads)
    try:
        report = analyze(frames, 30, ["wcag22", "bt1702"])
    finally:
        voxkern.set_num_threads(before)
    for one, other in zip(report.results, expected.results):
        assert one.incidents == other.incidents
        for name, column in one.timeline.items():
            np.testing.assert_array_equal(column, other.timeline[name])


def test_a_loop_is_seen_as_it_is_shown():
    """Five transitions in each round of 0.9 s: too many only where the rounds follow each other."""
    frames = grays(alternating(40, 200, 5, gap=4, lead=5, tail=6))
    assert verdict_of(frames, 30, "wcag22") == "pass"
    report = analyze(frames, 30, "wcag22", size=(1024, 768), loop=True)
    assert report.verdict == "fail"
    assert report.frames % len(frames) == 0
    with pytest.raises(ValueError, match="read again"):
        analyze(iter(frames), 30, loop=True)


def test_extended_flashing():
    """2.5 flashes a second are within the limit, and a warning when they last for more than 5 s."""
    for seconds, expected in ((4.5, "pass"), (6, "warning")):
        frames = grays(alternating(40, 200, int(5 * seconds), gap=6))
        assert analyze(frames, 30, "bt1702").verdict == expected
        assert analyze(frames, 30, "wcag22", size=(1024, 768)).verdict == "pass"
    (incident,) = analyze(frames, 30, "bt1702").results[0].incidents
    assert incident.kind == "extended"
    assert incident.end - incident.start > 5


def test_small_pictures_are_judged_as_if_they_filled_1024_by_768():
    frames = grays(alternating(40, 200), (90, 120))
    assert analyze(frames, 30, "wcag22").verdict == "fail"
    assert analyze(frames, 30, "wcag22", size=(120, 90)).verdict == "pass"  # a small button
    assert analyze(frames, 30, "bt1702").verdict == "fail"


def test_one_frame_passes():
    report = analyze(np.zeros((1, 5, 7, 3), np.uint8), 30, list(PROFILES))
    assert (report.verdict, report.frames) == ("pass", 1)
    assert report.duration == pytest.approx(1 / 30)


def test_progress(flashing):
    calls = []
    analyze(flashing, 30, progress=lambda done, expected: calls.append((done, expected)))
    assert calls == [(i + 1, 135) for i in range(135)]


def test_a_generator_of_any_length_needs_no_more_memory():
    def calm():
        picture = np.zeros((40, 60), np.uint8)
        for i in range(2000):
            picture[:] = i % 7
            yield picture

    assert analyze(calm(), 30).frames == 2000


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"source": np.zeros((3, 4, 5, 3))}, "fps is missing"),
        ({"source": np.zeros((3, 4, 5, 3)), "fps": 0}, "fps is 0"),
        ({"source": np.zeros((3, 4, 5, 4), np.uint8), "fps": 30}, "shape"),
        ({"source": np.zeros((4, 5, 3), np.uint8), "fps": 30}, "shape"),
        ({"source": np.zeros((0, 4, 5, 3), np.uint8), "fps": 30}, "no frames"),
        ({"source": [], "fps": 30}, "no frames"),
        ({"source": np.zeros((3, 0, 5, 3), np.uint8), "fps": 30}, "pixels"),
        ({"source": np.full((3, 4, 5, 3), np.nan), "fps": 30}, "from 0 to 1"),
        ({"source": np.full((3, 4, 5, 3), 2.0), "fps": 30}, "from 0 to 1"),
        ({"source": np.zeros((3, 4, 5, 3), int), "fps": 30}, "dtype int64"),
        ({"source": 5}, "source is a int"),
        ({"source": [(0, np.zeros((4, 5)))] * 2}, "times must rise"),
        ({"source": [np.zeros((4, 5)), np.zeros((4, 6))], "fps": 30}, "as the first"),
        ({"source": np.zeros((3, 4, 5)), "fps": 30, "profile": "wcag"}, "profile is 'wcag'"),
        ({"source": np.zeros((3, 4, 5)), "fps": 30, "profile": []}, "profile is empty"),
        ({"source": np.zeros((3, 4, 5)), "fps": 30, "profile": 3}, "profile is 3"),
        ({"source": np.zeros((3, 4, 5)), "fps": 30, "size": 5}, "size is 5"),
        ({"source": np.zeros((3, 4, 5)), "fps": 30, "size": (0, 5)}, "size is"),
        ({"source": np.zeros((3, 4, 5)), "fps": 30, "css_scale": 0}, "css_scale is 0"),
        ({"source": np.zeros((3, 4, 5)), "fps": 30, "loop": 1}, "loop is 1"),
        ({"source": np.zeros((3, 4, 5)), "fps": 30, "progress": 1}, "progress is 1"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises((ValueError, TypeError), match=message):
        analyze(**arguments)


@pytest.mark.parametrize(
    "planes",
    [
        (np.zeros((4, 6), np.uint8),),
        (np.zeros((4, 6), np.uint16),) * 3,
        (np.zeros((4, 6), np.uint8), np.zeros((2, 2), np.uint8), np.zeros((2, 2), np.uint8)),
        (np.zeros((4, 6), np.uint8), np.zeros((4,), np.uint8), np.zeros((4,), np.uint8)),
        ([[0]], [[0]], [[0]]),
    ],
)
def test_bad_planes_are_refused(planes):
    with pytest.raises((ValueError, TypeError)):
        analyze([Frame(0.0, planes, Colour("ycbcr", full_range=False))])


@pytest.mark.parametrize(
    "change", [{"change": 0}, {"contrast": 1}, {"red": "some"}, {"curve": "x"}, {"transitions": 0}]
)
def test_bad_profiles_are_refused(change):
    (name,) = change
    with pytest.raises(ValueError, match=name):
        dataclasses.replace(PROFILES["wcag22"], **change)
