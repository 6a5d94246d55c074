"""Verdicts that a review found wrong, each with the clause that it was wrong by."""

import dataclasses
import itertools

import numpy as np
import pytest

from voxkern import _dispatch
from voxkern.kernels.native import host
from voxkern.pse import PROFILES, analyze
from voxkern.pse.incidents import largest_cover
from voxkern.reference import pse as reference

WINDOWED = ("wcag22", "wcag20", "trace24")


def grays(values, size=(8, 12)):
    """Whole frames of gray codes."""
    return np.repeat(np.repeat(np.array(values, np.uint8)[:, None, None], size[0], 1), size[1], 2)


def failed(source, fps, profile, **options):
    """Whether the verdict is fail."""
    return analyze(source, fps, profile, **options).verdict == "fail"


def strobe(first, second, count=7, gap=4):
    """Codes of `count` transitions, one every `gap` frames, the first one after as many."""
    return [c for i in range(count + 1) for c in [(first, second)[i % 2]] * gap]


@pytest.mark.parametrize("profile", ["wcag22", "bt1702", "trace24"])
def test_a_second_does_not_depend_on_what_was_before(profile):
    """WCAG 2.2, SC 2.3.1: in *any* one second. Light that went out slowly may go on again."""
    went_out = [10] * 5 + [200] * 5 + list(range(200, 10, -2))  # 3 s, no step of them a transition
    for before, count in itertools.product(([], went_out), (6, 7)):
        frames = grays(before + strobe(10, 200, count))
        for these in frames, 255 - frames:
            assert failed(these, 30, profile, size=(1024, 768)) == (count > 6)


def covered(mask, width, height):
    """The most that a window covers, tried at many places."""
    best = 0.0
    ys, xs = (np.arange(0, n - m + 1e-9, 0.25) for n, m in zip(mask.shape, (height, width)))
    for y, x in itertools.product(ys, xs):
        rows = np.clip(
            np.minimum(np.arange(1, mask.shape[0] + 1), y + height)
            - np.maximum(np.arange(mask.shape[0]), y),
            0,
            1,
        )
        columns = np.clip(
            np.minimum(np.arange(1, mask.shape[1] + 1), x + width)
            - np.maximum(np.arange(mask.shape[1]), x),
            0,
            1,
        )
        best = max(best, rows @ mask @ columns)
    return best


@pytest.mark.parametrize("size", [(3.25, 2.5), (4, 1.75), (0.5, 0.25), (9, 7), (8.75, 2), (2.5, 7)])
def test_windows_of_parts_of_pixels(rng, size):
    for _ in range(5):
        mask = rng.random((7, 9)) < 0.4
        assert largest_cover(mask, *size) == pytest.approx(covered(mask, *size))


@pytest.mark.parametrize("profile", WINDOWED)
def test_a_window_that_ends_within_pixels(profile):
    """WCAG 2.2: 25 % of *any* 341 x 256 px; a window of 10.5 pixels is not one of 11."""
    wide, high = PROFILES[profile].window
    across, down = wide / 10.5, high / 8  # 84 pixels: a quarter is 21
    frames = np.full((60, 16, 32), 20, np.uint8)
    on = np.arange(60) // 3 % 2 == 1
    frames[on, 3:5, 4:15] = 220  # 2 x 11, of which a window holds 2 x 10.5
    shown = 32 * across, 16 * down
    assert failed(frames, 30, profile, size=shown) == PROFILES[profile].area_inclusive
    frames[on, 5, 4] = 220
    assert failed(frames, 30, profile, size=shown)
    frames[on, 3:5, 4] = 20
    assert not failed(frames, 30, profile, size=shown)


@pytest.mark.parametrize("profile", ["wcag22", "bt1702"])
@pytest.mark.parametrize("fps", [24, 25, 30, 60, 120])
@pytest.mark.parametrize("rate", [3.1, 3.2, 3.3, 3.4, 3.5, 5])
@pytest.mark.parametrize("phase", [0.125, 0.1875, 0.25, 0.375, 0.5])
def test_regions_in_any_phase_flash_concurrently(profile, fps, rate, phase):
    """WCAG 2.2 and BT.1702-3: the area of flashes occurring concurrently; here two of 16 %.

    A little above three a second, one region's second is over before the other's.
    """
    turns = np.arange(int(2.5 * fps)) / fps * rate + 1e-6
    frames = np.full((len(turns), 8, 32), 60, np.uint8)
    frames[turns % 1 < 0.5, :, :5] = 200
    assert not failed(frames, fps, profile, size=(341, 256))
    frames[(turns + phase) % 1 < 0.5, :, 20:25] = 200
    assert failed(frames, fps, profile, size=(341, 256))


def regions(rng, times, shape, most):
    """Luminances of regions that flash at rates about three a second, each in its own phase."""
    light = np.full((len(times), *shape), 0.05)
    for _ in range(rng.integers(2, 6)):
        turns = times * rng.choice([2.9, 3.02, 3.1, 3.2, 3.3, 3.5, 5]) + rng.random()
        y, x = (rng.integers(0, n) for n in shape)
        high, wide = (rng.integers(2, n + 1) for n in most)
        light[turns % 1 < 0.5, y : y + high, x : x + wide] = 0.5
    return light


@pytest.mark.parametrize("level", host.levels())
@pytest.mark.parametrize("profile", ["wcag22", "bt1702", "trace24"])
@pytest.mark.parametrize("rate", ["fixed", "variable"])
def test_what_is_together_is_the_oracles(rng, profile, rate, level):
    """Verdicts and areas; a window is 16 x 12 pixels."""
    shape = (24, 70) if PROFILES[profile].window else (12, 70)
    window = (12, 16) if PROFILES[profile].window else shape
    tested = window[::-1] if PROFILES[profile].window else None
    profile = dataclasses.replace(PROFILES[profile], window=tested, screen=None)
    failures = 0
    for _ in range(25):
        times = np.arange(70) / rng.choice([24, 30, 50])
        if rate == "variable":
            times = np.sort(rng.random(60)) * 2.5
        light = regions(rng, times, shape, (10, 10) if tested else shape)
        done = reference.transitions(reference.luminance_steps(light, 0.1, 0.8, 0), times, shape)
        masks = reference.too_many(done, times, 6, profile.together + 5e-4)
        most = max(reference.largest_area(m, window) for m in masks) / np.prod(window)
        fails = most >= 0.25 if profile.area_inclusive else most > 0.25
        codes = np.where(light > 0.1, 188, 63).astype(np.uint8)
        with _dispatch.force(None, level):
            result = analyze(zip(times, codes), profile=profile).results[0]
        assert (result.verdict == "fail") == fails
        assert not fails or result.timeline["area"].max() == pytest.approx(most)
        failures += fails
    assert 2 < failures < 23


@pytest.mark.parametrize("name", [*WINDOWED, "bt1702"])
def test_the_curve_of_the_area_agrees_with_the_verdict(rng, name):
    """More than 25 % is never shown with a pass, whatever parts of pixels a window has."""
    profile, shown, verdicts = PROFILES[name], (1024, 768), set()
    for _ in range(60):
        size = rng.integers(8, 90), rng.integers(6, 40)
        window = np.array(profile.window or shown) / shown * size
        width, height = np.maximum(1, np.round(window * rng.uniform(0.35, 0.75, 2))).astype(int)
        frames = np.full((45, *size[::-1]), 20, np.uint8)
        frames[np.arange(45) // 3 % 2 == 1, :height, :width] = 220
        result = analyze(frames, 30, profile, size=shown).results[0]
        area = result.timeline["area"].max()
        verdicts.add(result.verdict == "fail")
        fails = area >= 0.25 if profile.area_inclusive else area > 0.25
        assert fails == (result.verdict == "fail")
        found = [i.area for i in result.incidents if i.kind == "luminance"]
        assert found == ([area] if fails else [])
    assert verdicts == {True, False}
