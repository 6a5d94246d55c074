"""The flash table: the oracle's rows, in a batch or a stream, for every content and dtype."""

import pathlib
import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import voxkern
from voxkern import _dispatch, reference
from voxkern.flash import _power, _table, _total
from voxkern.kernels.native import host

import hostile
from accuracy import assert_exact

OPERATION = "flash"
DTYPES = ("uint8", "uint16", "float16", "float32", "float64")
# More than two blocks of the kernel and no multiple of one, distinct primes; and its edges: blocks
# of 512 pixels, tiles of 2048.
SHAPES = [(5, 43, 31, 3), (5, 43, 31), (7, 2, 3, 3), (2, 1, 7), (3, 131, 67, 3)]
SHAPES += [(3, 1, pixels, *rgb) for pixels in (511, 512, 2049, 4096, 6143) for rgb in ((), (3,))]
REAL = pathlib.Path(__file__).parents[2] / "shared/data/real/cockatoo.mp4"


def noise(rng, shape, dtype):
    """Uniform noise over 0 to 255, over all codes for uint16."""
    return (rng.random(shape) * (65536 if dtype == "uint16" else 256)).astype(dtype)


def flashing(pattern):
    """Frames of one dark and one bright state of a pattern, in turn."""
    return np.stack([pattern // 4, pattern, pattern // 4, pattern])


def contents(rng):
    """Frames that are all ties, near-ties, steady, mixed, dark or coarse."""
    y, x = np.mgrid[:53, :61]
    ramp = (x + y) * 2
    text = np.where((x // 3 + y // 5) % 4, 150, 255)
    steady_text = flashing(np.full_like(text, 150))
    steady_text[:, text == 255] = 255
    return {
        "static": np.repeat(noise(rng, (1, 53, 61), "uint8"), 4, axis=0),
        "uniform": flashing(np.full_like(x, 200)),
        "gradient": flashing(ramp),
        "dark gradient": flashing(ramp // 16),
        "text": flashing(text),
        "steady text": steady_text,
        "inverted": np.stack([ramp, 255 - ramp, ramp]),
        "one step": ramp + np.arange(4)[:, None, None] % 2,
        "one pixel": flashing(np.where((x == 60) & (y == 52), 255, 0)),
        "small noise": np.clip(ramp + rng.integers(-3, 4, (6, 53, 61)), 0, 255),
    }


def few(backend, frames):
    """The last pixels of every frame for the CUDA kernels, whose simulator takes 20 us for each."""
    return frames[:, -5:, -9:] if backend == "cuda" else frames


def assert_rows(got, want, rtol=1e-12):
    """Rows of the shape and sign of the oracle's; a zero is a negative zero."""
    assert got.dtype == np.float64
    np.testing.assert_allclose(got, want, rtol=rtol, atol=0, strict=True)
    np.testing.assert_array_equal(np.signbit(got), np.signbit(want))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", DTYPES)
def test_rows_are_the_oracles(backend, rng, shape, dtype):
    frames = few(backend, noise(rng, shape, dtype))
    rows = voxkern.flash_table(frames)
    assert_rows(rows, reference.flash_table(frames))
    table = voxkern.FlashTable()
    assert_exact(np.concatenate([table.push(frame[None]) for frame in frames]), rows)


@pytest.mark.parametrize("name", list(contents(np.random.default_rng(0))))
@pytest.mark.parametrize("channels", [(), (3,)], ids=["gray", "rgb"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_rows_of_every_content_are_the_oracles(backend, rng, name, channels, dtype):
    frames = few(backend, contents(rng)[name].astype(dtype))
    pixels = frames[0].size
    for _ in channels:
        frames = np.stack([frames, frames // 2, frames], axis=3)
    for k in (1, 5, pixels):
        assert_rows(voxkern.flash_table(frames, k), reference.flash_table(frames, k))


@pytest.mark.parametrize("curve", ["exam", "linear", "ofcom", "srgb", np.sin, np.square])
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_curve_is_the_oracles(backend, rng, curve, dtype):
    frames = few(backend, noise(rng, (4, 17, 19, 3), dtype))
    if backend == "cuda" and callable(curve) and "float" in dtype:
        with pytest.raises(ValueError, match="for floats on a CUDA device it may be exam"):
            voxkern.flash_table(frames, 5, curve)
        return
    got, want = voxkern.luminance(frames, curve), reference.luminance(frames, curve)
    np.testing.assert_allclose(got, want, rtol=1e-13, strict=True)
    np.testing.assert_allclose(
        voxkern.flash_table(frames, 5, curve), reference.flash_table(frames, 5, curve), rtol=1e-12
    )


@pytest.mark.parametrize("curve", [np.log, lambda gray: gray / (gray != 3)])
def test_a_curve_that_is_not_finite_everywhere_follows_the_arithmetic(backend, rng, curve):
    frames = rng.integers(0, 9, (6, 5, 7), "uint8")
    frames[:2] += 9
    with np.errstate(divide="ignore"):
        want = reference.flash_table(frames, 2, curve)
    assert_rows(voxkern.flash_table(frames, 2, curve), want)


@pytest.mark.parametrize("layout", hostile.LAYOUTS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_layout_does_not_matter(backend, rng, layout, dtype):
    frames = noise(rng, (5, 13, 17, 3), dtype)
    assert_exact(voxkern.flash_table(layout(frames)), voxkern.flash_table(frames))
    assert_exact(voxkern.luminance(layout(frames)), voxkern.luminance(frames))


def test_two_pixels_worked_by_hand(backend):
    # Linear gray: changes of frame 1 are +6 and -4, of frame 2 -6 and -1, of frame 3 +7 and -7.
    frames = np.array([[[0, 9]], [[6, 5]], [[0, 4]], [[7, 253]], [[8, 252]]], "uint8")
    want = [[6 / 2], [-7 / 2], [256 / 2], [-1 / 2]]
    assert_exact(voxkern.flash_table(frames, 2, "linear"), np.array(want))
    assert_exact(voxkern.flash_table(frames, 1, "linear"), np.array([[6.0], [-6], [249], [-1]]))


def test_the_exam_curve_worked_by_hand():
    frames = np.array([[[[0, 0, 0]]], [[[5, 10, 0]]]], "uint8")
    np.testing.assert_allclose(voxkern.luminance(frames).ravel(), [4, 4 * 2**2.2])
    np.testing.assert_allclose(voxkern.flash_table(frames, 1), [[4 * 2**2.2 - 4]])


def test_white_is_200_candela_and_1():
    white = np.full((1, 1, 1, 3), 255, "uint8")
    np.testing.assert_allclose(voxkern.luminance(white, "ofcom"), 200.04, atol=0.005)
    np.testing.assert_allclose(voxkern.luminance(white, "srgb"), 1)


def test_missing_rises_count_as_zero(backend):
    frames = np.zeros((2, 3, 3), "uint8")
    frames[1, 1, 1] = 10
    assert_exact(voxkern.flash_table(frames, 5, "linear"), np.array([[2.0]]))


def test_equal_rise_and_fall_are_a_fall_and_nothing_is_negative_zero(backend):
    swap = np.array([[[0, 50]], [[50, 0]], [[50, 0]]], "uint8")
    rows = voxkern.flash_table(swap, 1, "linear")
    assert_exact(rows, np.array([[-50.0], [0.0]]))
    assert np.signbit(rows[1])


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("channels", [(), (3,)], ids=["gray", "rgb"])
def test_nan_makes_both_rows_that_touch_it_nan(backend, rng, dtype, channels):
    frames = noise(rng, (6, 5, 7, *channels), dtype)
    frames[2, 3, 4] = np.nan
    for k in (1, 5, 35):
        rows = voxkern.flash_table(frames, k)
        assert_exact(np.isnan(rows.ravel()), np.array([False, True, True, False, False]))
        assert_rows(rows, reference.flash_table(frames, k))


@pytest.mark.parametrize("strange", [np.nan, np.inf, -np.inf, -1e9])
@pytest.mark.parametrize("channels", [(), (3,)], ids=["gray", "rgb"])
@pytest.mark.parametrize("curve", ["exam", "linear", "srgb"])
def test_a_static_scene_with_a_strange_pixel_is_the_oracles(backend, rng, channels, curve, strange):
    frames = np.repeat(rng.random((1, 40, 53, *channels), np.float32), 4, axis=0)
    frames = few(backend, frames)
    frames[:, -4, -7], frames[2, 0, 0] = strange, 2
    want = reference.flash_table(frames, curve=curve)
    rows = voxkern.flash_table(frames, curve=curve)
    np.testing.assert_allclose(rows, want, rtol=1e-12)
    table = voxkern.FlashTable(curve=curve)
    assert_exact(np.concatenate([table.push(frame[None]) for frame in frames]), rows)


def test_inf_follows_the_arithmetic(backend):
    frames = np.zeros((5, 3, 3))
    frames[1, 0, 0] = frames[2, 0, 0] = np.inf
    frames[4, :] = -1e9  # below the domain of the curve: NaN
    want = np.array([[np.inf], [np.nan], [-np.inf], [np.nan]])
    assert_exact(voxkern.flash_table(frames, 5), want)
    assert_exact(voxkern.flash_table(frames[:4], 5, "linear"), want[:3])


@pytest.mark.parametrize("dtype", DTYPES)
def test_fewer_than_two_frames_have_no_rows(backend, dtype):
    for count in (0, 1):
        assert voxkern.flash_table(np.ones((count, 3, 5), dtype)).shape == (0, 1)
        assert voxkern.flash_table(np.ones((count, 3, 5, 3), dtype)).shape == (0, 1)
        assert voxkern.luminance(np.ones((count, 3, 5, 3), dtype)).shape == (count, 3, 5)


@pytest.mark.parametrize("k", [1, 2, 5, 10, 100, 1000, 43 * 31])
def test_k_up_to_a_frame(backend, rng, k):
    for dtype in ("uint8", "float64"):
        frames = few(backend, noise(rng, (4, 43, 31), dtype))
        k = min(k, frames[0].size)
        assert_rows(voxkern.flash_table(frames, k), reference.flash_table(frames, k))


@given(data=st.data())
def test_a_stream_gives_the_rows_of_the_batch(data):
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    dtype = data.draw(st.sampled_from(DTYPES))
    channels = data.draw(st.sampled_from([(), (3,)]))
    frames = noise(rng, (data.draw(st.integers(0, 12)), 7, 43, *channels), dtype)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(frames)), max_size=6)))
    k = data.draw(st.integers(1, 301))
    table = voxkern.FlashTable(k)
    rows = [table.push(part) for part in np.split(frames, cuts)]
    assert [len(r) for r in rows] == [
        max(0, min(after, len(frames)) - max(before, 1))
        for before, after in zip([0, *cuts], [*cuts, len(frames)])
    ]
    assert_exact(np.concatenate(rows), voxkern.flash_table(frames, k))


def test_the_oracle_streams_too(rng):
    frames = noise(rng, (9, 7, 5, 3), "uint8")
    oracle, table = reference.FlashTable(3), voxkern.FlashTable(3)
    for part in np.split(frames, [1, 2, 6]):
        assert_rows(table.push(part), oracle.push(part))


def test_one_frame_may_come_without_its_axis(backend, rng):
    for shape in [(9, 7, 5, 3), (9, 7, 5), (9, 7, 3)]:
        frames = noise(rng, shape, "uint8")
        table = voxkern.FlashTable()
        rows = np.concatenate([table.push(frame) for frame in frames])
        assert_exact(rows, voxkern.flash_table(frames))
    assert_exact(table.push(frames), voxkern.flash_table(frames[[-1, *range(9)]]))


@given(data=st.data())
def test_the_order_of_pixels_does_not_matter(data):
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    pixels = data.draw(st.integers(1, 1500))
    frames = rng.integers(0, data.draw(st.sampled_from([2, 9, 256])), (4, 1, pixels, 3), "uint8")
    k = data.draw(st.integers(1, pixels))
    rows = voxkern.flash_table(frames, k)
    assert_exact(voxkern.flash_table(frames[:, :, rng.permutation(pixels)], k), rows)
    assert_exact(voxkern.flash_table(frames[:, :, ::-1, ::-1], k), rows)
    assert_rows(rows, reference.flash_table(frames, k))


@given(seed=st.integers(0, 999), k=st.integers(1, 9))
def test_time_reversed_the_rows_change_sign_and_order(seed, k):
    frames = np.random.default_rng(seed).integers(0, 256, (5, 3, 7), "uint8")
    rows = voxkern.flash_table(frames, k)
    # Where rise and fall are equal both directions are a fall.
    assert_exact(np.abs(voxkern.flash_table(frames[::-1], k)), np.abs(rows[::-1]))
    moving = np.abs(rows).ravel() != np.abs(_smaller(frames, k)).ravel()
    back = voxkern.flash_table(frames[::-1], k)[::-1]
    assert_exact(back[moving], -rows[moving])


def _smaller(frames, k):
    """The mean that each row leaves out."""
    change = np.diff(reference.luminance(frames).reshape(len(frames), -1), axis=0)
    means = [np.sort(np.maximum(s * change, 0))[:, -k:].mean(axis=1) for s in (1, -1)]
    return np.minimum(*means)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("k", [5, 1000])
def test_the_number_of_threads_does_not_change_a_bit(rng, dtype, k):
    frames = noise(rng, (3, 577, 601), dtype)
    rows = []
    try:
        for threads in (1, 2, 3):
            voxkern.set_num_threads(threads)
            rows.append(voxkern.flash_table(frames, k))
    finally:
        host.set_num_threads(0)
    assert_exact(rows[1], rows[0])
    assert_exact(rows[2], rows[0])
    assert_rows(rows[0], reference.flash_table(frames, k))


def test_calls_from_many_threads_are_independent(rng):
    clips = [noise(rng, (6, 43, 31, 3), "uint8") for _ in range(16)]
    want = [voxkern.flash_table(clip) for clip in clips]
    with ThreadPoolExecutor(4) as pool:
        for got, rows in zip(pool.map(voxkern.flash_table, clips), want):
            assert_exact(got, rows)


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_a_stream_takes_constant_memory(rng, dtype):
    frame = noise(rng, (1, 60, 80, 3), dtype)
    table = voxkern.FlashTable()
    table.push(frame)
    tracemalloc.start()
    table.push(frame)
    tracemalloc.reset_peak()
    for _ in range(300):
        table.push(frame)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # Doubles for a frame's gray and luminance, or nothing; not the 300 frames.
    assert peak < 12 * frame.size + 100_000


@pytest.mark.parametrize("k", [5, 4000])
def test_a_long_batch_that_is_not_contiguous_is_copied_by_parts(rng, k):
    frames = np.broadcast_to(noise(rng, (1, 60, 80, 3), "uint8"), (5000, 60, 80, 3))  # 72 MB
    voxkern.flash_table(frames[:2])
    tracemalloc.start()
    voxkern.flash_table(frames, k)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**24


def pixels_of(sums, dtype, channels):
    """Frames of one pixel that have these sums of channels."""
    top = np.iinfo(dtype).max
    parts = [np.clip(sums - top * c, 0, top) for c in range(channels)]
    return np.stack(parts, axis=1).astype(dtype)[:, None]


def assert_every_step_is_found(level, curve, sums, dtype, channels):
    """No step from sum to sum is screened out against a k-th best that is just below it."""
    frames = pixels_of(sums, dtype, channels)
    clip = np.zeros((1, 1, 1, 3)[: 3 + (channels == 3)], dtype)
    table = _table(CURVES.get(curve, curve), clip)
    step = np.diff(table[0][sums])
    want = np.maximum(np.stack([step, -step], axis=1), 0)
    found = np.nextafter(want, 0)[None, :, :, None].copy()
    before = np.empty(0, _total(clip))
    kernel = _dispatch.module("native", level, OPERATION)
    kernel.largest_changes(frames, *table, before, False, out=found)
    np.testing.assert_array_equal(found[0, :, :, 0], want)


CURVES = voxkern.flash.CURVES
STRANGE = [np.sqrt, np.sin, np.negative, np.square, lambda gray: gray // 32, np.zeros_like]


@pytest.mark.parametrize("level", host.levels())
@pytest.mark.parametrize(
    ("curve", "channels"), [(c, 3) for c in CURVES] + [(c, 1) for c in [*CURVES, *STRANGE]], ids=str
)
def test_the_screen_finds_every_pair_of_sums(level, curve, channels):
    """All 766 x 766 steps from one sum to another; the proof of the screen's margins."""
    every = np.arange(255 * channels + 1)
    # 0 0 0 1 0 2 0 3 ..., then 1 1 1 2 1 3 ...: from a sum to all that are larger, and back.
    sums = [np.append(np.stack([every[i:] * 0 + i, every[i:]], 1), i) for i in every]
    sums = np.concatenate(sums)
    assert np.unique(sums[:-1] * len(every) + sums[1:]).size == len(every) ** 2
    assert_every_step_is_found(level, curve, sums, "uint8", channels)


@pytest.mark.parametrize("level", host.levels())
@pytest.mark.parametrize("curve", [*CURVES, *STRANGE], ids=str)
@pytest.mark.parametrize("channels", [1, 3])
def test_the_screen_finds_pairs_of_wide_sums(level, rng, curve, channels):
    top = 65535 * channels
    sums = np.concatenate([(rng.random(200_000) ** 4 * (top + 1)).astype(int), [0, top, 0, 1, 0]])
    near = np.clip(sums + rng.integers(-9, 10, sums.size), 0, top)
    sums = np.stack([sums, near], axis=1).ravel()
    assert_every_step_is_found(level, curve, sums, "uint16", channels)


@pytest.mark.parametrize("curve", ["exam", "ofcom", "srgb", "linear"])
@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 1, 1, 3)])
def test_a_static_scene_is_screened_out(curve, shape):
    """A difference of codes of 0 says that nothing rose: the codes of 8-bit sums all differ."""
    _, _, cubics, lines, slack = _table(CURVES[curve], np.zeros(shape, "uint8"))
    assert slack < np.inf
    assert cubics[0, 1] > 0
    assert_exact(lines[0, 0], np.zeros(2))


FLOATS = ("float16", "float32", "float64")
LEAST = {"float32": 1e-45, "float64": 5e-324}


@pytest.mark.parametrize("curve", [*CURVES, *STRANGE], ids=str)
def test_no_rise_exceeds_that_below_the_top_by_more_than_the_slack(curve):
    values, *_, slack = _table(CURVES.get(curve, curve), np.zeros((1, 1, 1), "uint8"))
    if (np.diff(values) < 0).any():
        assert slack == np.inf
        return
    for d in range(1, 256):
        rises = values[d:] - values[:-d]
        assert (np.maximum.accumulate(rises) <= rises + slack).all()


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32", "float64"])
@pytest.mark.parametrize("channels", [(), (3,)], ids=["gray", "rgb"])
@pytest.mark.parametrize("curve", CURVES)
def test_dark_changes_beside_bright_pixels_are_the_oracles(backend, rng, dtype, channels, curve):
    """The largest change is in the dark, small ones are everywhere up to white; streams too."""
    top = 65535 if dtype == "uint16" else 255
    frames = np.sort(rng.random((5, 5000, 1)), axis=1) * rng.uniform(0.99, 1, (5, 5000, 1))
    frames[:, 1::512] = rng.random((5, 10, 1)) / 2
    frames = (np.broadcast_to(frames[..., None], (5, 5000, 1, 3)) * top).astype(dtype)
    frames = np.ascontiguousarray(frames if channels else frames[..., 0])
    frames = frames[:, :600:13] if backend == "cuda" else frames
    want = reference.flash_table(frames, curve=curve)
    rows = voxkern.flash_table(frames, curve=curve)
    assert_rows(rows, want, rtol=1e-11 if dtype in FLOATS else 1e-12)
    table = voxkern.FlashTable(curve=curve)
    assert_exact(np.concatenate([table.push(frame) for frame in frames]), rows)


def assert_float_rows(frames, k, curve):
    """Rows of float frames: the oracle's but for some roundings of the largest luminance."""
    got, want = voxkern.flash_table(frames, k, curve), reference.flash_table(frames, k, curve)
    light = np.abs(reference.luminance(frames, curve)).reshape(len(frames), -1)
    light = np.where(np.isfinite(light), light, 0).max(axis=1)
    error = np.where(got == want, 0, got - want).ravel()
    np.testing.assert_array_equal(np.isnan(got), np.isnan(want))
    assert (
        np.abs(error[~np.isnan(error)]) <= 1e-14 * np.maximum(light[1:], light[:-1]).max()
    ).all()
    np.testing.assert_array_equal(
        np.signbit(got) | np.isnan(got), np.signbit(want) | np.isnan(want)
    )


@pytest.mark.parametrize("level", host.levels())
@pytest.mark.parametrize("curve", CURVES)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("dtype", LEAST)
def test_the_screen_finds_pairs_of_real_pixels(level, rng, curve, channels, dtype):
    """No change is screened out against a k-th best that is just below it."""
    scales = [LEAST[dtype], 1e-30, 1e-3, 1, 1, 255, 255, 65535, 1e6, 1e12, 1e15]
    pixels = rng.random((3000, channels)) * rng.choice(scales, (3000, 1))
    pixels[::7] *= rng.choice([-1e-3, 1, 1], (len(pixels[::7]), channels))
    near = pixels * (1 + rng.choice([0, 1e-12, 1e-7, 1e-5, 1e-3], (3000, channels)))
    frames = np.stack([pixels, near], axis=1).reshape(-1, 1, channels).astype(dtype)
    power = _power(CURVES[curve])
    kernel = _dispatch.module("native", level, OPERATION)
    want = np.zeros((1, len(frames) - 1, 2, 1))
    kernel.largest_power_changes(frames, power, frames[0, :0], False, out=want)
    found = np.nextafter(want, 0)
    kernel.largest_power_changes(frames, power, frames[0, :0], False, out=found)
    np.testing.assert_array_equal(found, want)
    gray = frames.mean(axis=2, dtype=np.float64)[:, 0]
    with np.errstate(invalid="ignore"):
        light = CURVES[curve](gray)
    step = np.diff(light)
    off = np.abs(np.maximum(np.stack([step, -step], 1), 0) - want[0, :, :, 0])
    assert (off <= 4e-15 * np.maximum(np.abs(light[1:]), np.abs(light[:-1]))[:, None])[
        np.isfinite(step)
    ].all()


@pytest.mark.parametrize("channels", [(), (3,)], ids=["gray", "rgb"])
@pytest.mark.parametrize("curve", CURVES)
@pytest.mark.parametrize("dtype", FLOATS)
def test_strange_numbers_at_any_place_are_the_oracles(backend, rng, dtype, curve, channels):
    """NaN, infinite, negative, tiny and huge pixels, few enough to leave blocks without them."""
    strange = [np.nan, np.inf, -np.inf, -0.0, -1, -4.99, -5, -7, 1e-45, 1e-310, 60000]
    strange += [] if dtype == "float16" else [1e17, 3e38, 1e-38]
    strange += [1e100, 1e139, 1e140, 1e200, 1.7e308] if dtype == "float64" else []
    with np.errstate(over="ignore", invalid="ignore"):
        pixels, step = (40, 5) if backend == "cuda" else (3000, 1)
        for odd in strange[::step]:
            frames = noise(rng, (6, 1, pixels, *channels), dtype)
            for frame in rng.choice(6, 2, replace=False):
                frames[(frame, 0, rng.integers(pixels), *channels[1:])] = odd
            for k in (5, pixels // 3):
                assert_float_rows(frames, k, curve)
            assert_float_rows(frames * 0 + np.asarray(odd, dtype), 5, curve)


@pytest.mark.parametrize("k", [1, 5, 1000])
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("curve", CURVES)
def test_near_ties_of_floats_are_the_oracles(backend, rng, dtype, curve, k):
    """A noise of all sizes on a flash, on text, on a light that is switched on and on a ramp."""
    y, x = np.mgrid[:61, :83]
    scene = rng.random((61, 83)) * 200
    lit = 5 * ((scene / 5 + 1) ** 2.2 + 700) ** (1 / 2.2) - 5
    text = np.where((x // 3 + y // 5) % 4, 150, 255)
    for size in (0, 1) if backend == "cuda" else (0, 1e-12, 1e-4, 1):
        frames = np.stack([scene, lit, scene * 0 + 40, text, text * 0.6, x + y, (x + y) * 0.6, lit])
        frames = few(backend, frames + size * rng.random(frames.shape))
        k = min(k, frames[0, :, ::2].size)
        assert_float_rows(frames.astype(dtype), k, curve)
        colors = np.stack([frames, frames / 3, frames], axis=3).astype(dtype)
        assert_float_rows(colors, k, curve)
        assert_float_rows(colors[:, ::-1, ::2], k, curve)


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("channels", [(), (3,)], ids=["gray", "rgb"])
@pytest.mark.parametrize("k", [1, 5, 300])
def test_many_near_ties_are_the_oracles(backend, rng, dtype, channels, k):
    """So many that whole blocks are looked up: dark noise, and a light that is switched on."""
    scene = rng.integers(0, 200, (131, 67))
    lit = 5 * ((scene / 5 + 1) ** 2.2 + 700) ** (1 / 2.2) - 5
    frames = np.stack([*rng.integers(0, 3, (3, 131, 67)), scene, lit, scene, lit]).astype(dtype)
    frames = few(backend, frames)
    k = min(k, frames[0].size)
    for _ in channels:
        frames = np.stack([frames, frames, frames // 2], axis=3)
    assert_rows(voxkern.flash_table(frames, k), reference.flash_table(frames, k))


def test_real_video_has_the_oracles_rows():
    av = pytest.importorskip("av")
    if not REAL.exists():
        pytest.skip("shared/data/real/cockatoo.mp4 is not beside the repository")
    table, rows, frames = voxkern.FlashTable(), [], []
    with av.open(str(REAL)) as container:
        for frame in container.decode(video=0):
            frames.append(frame.to_ndarray(format="rgb24"))
            rows.append(table.push(frames[-1]))
            if len(frames) == 6:
                break
    assert frames[0].shape == (720, 1280, 3)
    assert_rows(np.concatenate(rows), reference.flash_table(np.stack(frames)))


GRAY = np.zeros((3, 5, 7), "uint8")


@pytest.mark.parametrize(
    ("call", "error", "names"),
    [
        (lambda: voxkern.flash_table(GRAY[0]), ValueError, r"frames have shape \(5, 7\)"),
        (lambda: voxkern.flash_table([]), ValueError, "frames have shape"),
        (lambda: voxkern.flash_table(GRAY[..., None]), ValueError, "frames have shape"),
        (lambda: voxkern.flash_table(np.zeros((3, 5, 7, 4))), ValueError, "frames have shape"),
        (lambda: voxkern.luminance(np.zeros((1, 3, 5, 7, 3))), ValueError, "frames have shape"),
        (lambda: voxkern.flash_table(GRAY.astype(object)), TypeError, "frames has dtype object"),
        (lambda: voxkern.flash_table(GRAY.astype("c16")), TypeError, "frames has dtype complex"),
        (lambda: voxkern.flash_table(GRAY.astype(bool)), TypeError, "frames has dtype bool"),
        (lambda: voxkern.flash_table(GRAY.astype("i4")), TypeError, "frames has dtype int32"),
        (lambda: voxkern.flash_table(None), TypeError, "frames"),
        (lambda: voxkern.flash_table([GRAY[0], GRAY[0, 1:]]), TypeError, "frames"),
        (lambda: voxkern.flash_table(GRAY, 0), ValueError, "k is 0"),
        (lambda: voxkern.flash_table(GRAY, -3), ValueError, "k is -3"),
        (lambda: voxkern.flash_table(GRAY, 36), ValueError, "k is 36; it must be at most 35"),
        (lambda: voxkern.flash_table(GRAY[:1], 36), ValueError, "k is 36"),
        (lambda: voxkern.flash_table(GRAY[:, :0], 1), ValueError, "k is 1; it must be at most 0"),
        (lambda: voxkern.flash_table(GRAY, float("nan")), TypeError, "k is nan"),
        (lambda: voxkern.flash_table(GRAY, 5.0), TypeError, "k is 5.0"),
        (lambda: voxkern.flash_table(GRAY, True), TypeError, "k is True"),
        (lambda: voxkern.flash_table(GRAY, np.True_), TypeError, "k is"),
        (lambda: voxkern.flash_table(GRAY, "5"), TypeError, "k is '5'"),
        (lambda: voxkern.flash_table(GRAY, curve="exan"), ValueError, "curve is 'exan'"),
        (lambda: voxkern.flash_table(GRAY, curve=2.2), TypeError, "curve is 2.2"),
        (lambda: voxkern.flash_table(GRAY, curve=np.sum), ValueError, "curve returned shape"),
        (lambda: voxkern.luminance(GRAY, lambda g: g + 1j), ValueError, "curve returned"),
        (lambda: voxkern.FlashTable(0), ValueError, "k is 0"),
        (lambda: voxkern.FlashTable(5, "exan"), ValueError, "curve is 'exan'"),
    ],
)
def test_bad_input_is_named(call, error, names):
    with pytest.raises(error, match=names):
        call()


@pytest.mark.parametrize(
    ("bad", "error"),
    [
        (np.zeros((7, 5, 3), "uint8"), ValueError),
        (np.zeros((2, 5, 8, 3), "uint8"), ValueError),
        (np.zeros((5, 7), "uint8"), ValueError),
        (np.zeros((5, 7, 3), "uint16"), ValueError),
        (np.zeros((5, 7, 3), "int8"), TypeError),
        (np.zeros(3, "uint8"), ValueError),
    ],
)
def test_a_stream_survives_a_frame_that_does_not_fit(rng, bad, error):
    frames = noise(rng, (5, 5, 7, 3), "uint8")
    table = voxkern.FlashTable()
    rows = [table.push(frames[:3])]
    with pytest.raises(error, match="frames"):
        table.push(bad)
    rows.append(table.push(frames[3:]))
    assert_exact(np.concatenate(rows), voxkern.flash_table(frames))


def test_a_stream_survives_a_curve_that_raises(rng):
    frames = noise(rng, (5, 5, 7), "float64")
    calls = iter([False, False, False, True] + [False] * 9)

    def curve(gray):
        if next(calls):
            raise ZeroDivisionError
        return gray**2

    table = voxkern.FlashTable(5, curve)
    rows = [table.push(frames[:2])]
    with pytest.raises(ZeroDivisionError):
        table.push(frames[2:])
    rows.append(table.push(frames[2:]))
    assert_exact(np.concatenate(rows), voxkern.flash_table(frames, 5, np.square))


def test_k_must_fit_the_first_frame_of_a_stream():
    table = voxkern.FlashTable(36)
    with pytest.raises(ValueError, match="k is 36; it must be at most 35"):
        table.push(GRAY)
    assert len(table.push(np.zeros((3, 6, 7), "uint8"))) == 2
