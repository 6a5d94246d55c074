"""The photosensitivity analysis of frames on a device: the report is the host's."""

import dataclasses
import types

import numpy as np
import pytest

pytest.importorskip("numba")
from numba import cuda

from voxkern.kernels.cuda import _cuda
from voxkern.pse import PROFILES, Frame, analyze
from voxkern.pse.frames import Colour, clip, frame
from voxkern.pse.light import light
from voxkern.pse.report import Report
from voxkern.pse.watch import Watch

NO_PATTERNS = dataclasses.replace(PROFILES["nabj"], stripes=None)  # it has a relaxation


def on_device(picture):
    return cuda.to_device(np.ascontiguousarray(picture))


def assert_same(got: Report, want: Report):
    """Two reports are equal, their luminance but for rounding."""
    assert (got.frames, got.duration, got.fps) == (want.frames, want.duration, want.fps)
    for ours, theirs in zip(got.results, want.results, strict=True):
        assert ours.verdict == theirs.verdict
        for name, column in theirs.timeline.items():
            tolerance = 1e-12 if name == "luminance" else 0
            np.testing.assert_allclose(ours.timeline[name], column, rtol=tolerance, err_msg=name)
        for a, b in zip(ours.incidents, theirs.incidents, strict=True):
            for field in dataclasses.fields(b):
                np.testing.assert_array_equal(getattr(a, field.name), getattr(b, field.name))


def agree(pictures, fps, profile):
    """Raise unless device and host frames have one report, which it returns."""
    want = analyze(pictures, fps, profile)
    assert_same(analyze(on_device(pictures), fps, profile), want)
    return want


def flashing(dark, bright, count=18, size=(3, 5), period=4):
    """Frames that alternate between two codes, or two colours."""
    frames = np.empty((count, *size, *np.shape(dark)), np.result_type(dark))
    frames[:] = dark
    frames[np.arange(count) % period < period // 2] = bright
    return frames


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_gray_just_below_and_above_the_threshold(dtype):
    table = light(Colour("gray", 8 * np.dtype(dtype).itemsize), "srgb").table
    least = np.searchsorted(table, 0.1)
    for bright, flashes in (least - 1, False), (least, True):
        verdict = agree(flashing(*np.array([0, bright], dtype)), 15, "wcag22").verdict
        assert (verdict == "fail") == flashes


@pytest.mark.parametrize(("profile", "dtype"), [("wcag22", "uint8"), ("wcag20", "uint16")])
def test_red(profile, dtype):
    unit = 257 if dtype == "uint16" else 1
    red, gray = np.array([[150, 0, 0], [60, 60, 60]], dtype) * np.array(unit, dtype)
    report = agree(flashing(gray, red), 15, profile)
    assert [i.kind for i in report.results[0].incidents] == ["red"]


def test_slow_changes():
    wave = 48 + 47 * np.cos(np.arange(32) * np.pi / 3)  # no step of the luminance is a tenth
    frames = np.empty((32, 3, 5), np.uint8)
    frames[:] = wave[:, None, None]
    report = agree(frames, 24, "wcag22")
    assert [i.kind for i in report.results[0].incidents] == ["ramp"]


@pytest.mark.parametrize("fps", [30, 59.94])
def test_noise_by_several_profiles(rng, fps):
    steps = rng.normal(0, 40, (16, 3, 5, 3)).cumsum(0)
    frames = np.clip(128 + steps, 0, 255).astype(np.uint8)
    agree(frames, fps, ["wcag22", "trace24", NO_PATTERNS])


def test_pairs_of_any_times_in_one_array_that_is_used_again(rng):
    """More frames within 66 ms than there was room for, gaps of more than a second."""
    times = np.cumsum(rng.choice([0.001, 0.02, 0.06, 1.2], 120, p=[0.2, 0.6, 0.18, 0.02]))
    pictures = rng.integers(0, 256, (120, 1, 4), "uint8")
    one = on_device(pictures[0])

    def reused():
        for time, picture in zip(times, pictures):
            one.copy_to_device(picture)
            yield time, one

    assert_same(analyze(reused()), analyze(zip(times, pictures)))


LANES = [("wcag22", kind) for kind in ("luminance", "red", "ramp")]


def counted(frames, device, lanes=LANES):
    """Counts of every pixel after some frames, by lane, and masks of some of them."""
    to = on_device if device else np.asarray
    frames = [frame(time, to(picture)) for time, picture in frames]
    watch = Watch(frames[0])
    lanes = [watch.lane(PROFILES[name], kind) for name, kind in lanes]
    watch.light(PROFILES["wcag22"])
    watch.start()
    found = []
    for i, item in enumerate(frames):
        watch.push(item)
        for lane in lanes if i in (2, 10, 34, 47, 69) else ():
            found += [watch.counts(lane), watch.now(lane), *watch.at_least(lane, 2, 0.4)]
            found += [*watch.over(lane, 1), *watch.at_least(lane, 1, 0.1, step=3)]
    return found


def test_masks_and_a_longer_ring(rng):
    """Rows of more than a word; more frames in a second than the ring began with."""
    pictures = rng.integers(0, 2, (48, 4, 67), "uint8") * 255
    pictures[:, 1:3] = pictures[:1, 1:3]  # some do not move
    frames = [(i / 40, picture) for i, picture in enumerate(pictures)]
    for got, want in zip(counted(frames, True), counted(frames, False), strict=True):
        np.testing.assert_array_equal(got, want)


def test_steps_over_several_frames_when_others_leave(rng):
    steps = rng.normal(0, 50, (70, 1, 20)).cumsum(0)
    pictures = np.clip(128 + steps, 0, 255).astype(np.uint8)
    frames = [(i / 32, picture) for i, picture in enumerate(pictures)]
    for got, want in zip(counted(frames, True), counted(frames, False), strict=True):
        np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("slow", [False, True])
def test_pairs_of_dark_reds_and_of_bright_grays(rng, slow):
    """Each pixel goes between two colours: many not red enough, or too bright for a flash."""
    ends = rng.integers(0, 130, (2, 3, 24, 3))
    ends[:, 0, :, 1:] //= 8
    ends[:, 1] = 225 + ends[:, 1, :, :1] // 4
    ends[0, 2] = 0  # black, to what is nearly red or a red too dark to count
    ends[1, 2, :12] = 200, 110, 20
    ends[1, 2, 12:] = 0
    ends[1, 2, 12:, 0] = np.arange(12)
    share = np.array([0, 0.5, 1, 0.5] if slow else [0, 1])
    pictures = [np.rint(ends[0] * (1 - s) + ends[1] * s).astype(np.uint8) for s in share]
    frames = [(i / 20, pictures[i % len(pictures)]) for i in range(11)]
    lanes = [*LANES, ("wcag20", "red"), ("trace24", "luminance")]
    results = [counted(frames, device, lanes) for device in (True, False)]
    for got, want in zip(*results, strict=True):
        np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("cell", [2, 4])
@pytest.mark.parametrize("channels", [(), (3,)], ids=["gray", "rgb"])
def test_cells_are_the_pixels_of_the_hosts(rng, monkeypatch, cell, channels):
    monkeypatch.setattr("voxkern.pse.watch.cell_of", lambda width, height: cell)
    pictures = rng.integers(0, 65536, (3, 4 * 5 + 3, 4 * 19 + 2, *channels), "uint16")
    frames = [(i / 30, picture) for i, picture in enumerate(pictures)]
    for got, want in zip(counted(frames, True), counted(frames, False), strict=True):
        np.testing.assert_array_equal(got, want)


def test_frames_of_any_layout(rng):
    wide = rng.integers(0, 256, (12, 3, 14, 3), "uint8")
    seen = on_device(wide)[:, ::2, 1::3]
    assert_same(analyze(seen, 15), analyze(wide[:, ::2, 1::3], 15))


def test_only_small_results_reach_the_host(monkeypatch):
    frames = on_device(flashing(np.uint8(0), np.uint8(255), size=(4, 40)))
    sizes = []

    def spied(array, *args, **kwargs):
        sizes.append(array.size * array.dtype.itemsize)
        return copy(array, *args, **kwargs)

    copy = type(frames).copy_to_host
    monkeypatch.setattr(type(frames), "copy_to_host", spied)
    assert analyze(frames, 15).verdict == "fail"
    assert sum(size == 4 * 40 for size in sizes) == 1  # the still
    assert max(size for size in sizes if size != 4 * 40) <= 4 * 8


def test_bad_input_is_named():
    frames = flashing(np.uint8(0), np.uint8(255), count=4)
    with pytest.raises(TypeError, match="source, on a CUDA device, has dtype float32"):
        analyze(on_device(frames.astype("f4")), 30)
    with pytest.raises(TypeError, match="frame 1, on a CUDA device, has dtype int64"):
        analyze([on_device(frames[0]), on_device(frames[1].astype(int))], 30)
    with pytest.raises(ValueError, match="source has shape"):
        analyze(on_device(frames[0]), 30)
    with pytest.raises(ValueError, match="profile bt1702 needs frames on the host"):
        analyze(on_device(frames), 30, ["wcag22", "bt1702"])
    with pytest.raises(ValueError, match="profile carreira needs frames on the host"):
        analyze(on_device(frames), 30, "carreira")
    with pytest.raises(ValueError, match="lies on the host, the first on a CUDA device"):
        analyze([on_device(frames[0]), frames[1]], 30)
    with pytest.raises(ValueError, match="lies on a CUDA device, the first on the host"):
        analyze([frames[0], on_device(frames[1])], 30)
    changes = [dataclasses.replace(PROFILES["wcag22"], change=0.1 + i / 1000) for i in range(33)]
    with pytest.raises(ValueError, match="too many profiles"):
        analyze(on_device(frames), 30, changes)
    with pytest.raises(TypeError, match="a plane must be a 2-D NumPy array"):
        analyze([Frame(0, (on_device(frames[0]),), Colour("gray"))])


def test_frames_of_another_stream_are_waited_for(monkeypatch):
    waited = []

    def stream(address):
        return types.SimpleNamespace(synchronize=lambda: waited.append(address))

    monkeypatch.setattr(cuda, "external_stream", stream, raising=False)
    like, plane = (_cuda.adopt(on_device(np.zeros((2, 3), "uint8"))) for _ in range(2))
    assert _cuda.after(plane, like) is plane
    assert not waited
    plane.stream = 7
    moved = _cuda.after(plane, like)
    assert (moved.stream, moved.data, waited) == (0, plane.data, [7])


def test_a_clip_is_read_once_by_its_frames():
    frames = flashing(np.uint8(0), np.uint8(255), count=8)
    assert analyze(clip(on_device(frames), 15)).frames == 8
