"""The functions inside @njit code give what they give from Python."""

import importlib.metadata
import pathlib
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import voxkern

numba = pytest.importorskip("numba")
from numba.core.errors import TypingError  # noqa: E402

import voxkern.njit  # noqa: E402


def same(found, expected):
    np.testing.assert_array_equal(found, expected, strict=True)


@numba.njit(nogil=True)
def conv3d(x, weight, bias, stride, padding, dilation, groups):
    return voxkern.conv3d(x, weight, bias, stride, padding, dilation, groups)


@numba.njit(nogil=True)
def conv2d(x, weight, bias, stride, padding, dilation, groups):
    return voxkern.conv2d(x, weight, bias, stride, padding, dilation, groups)


@numba.njit(nogil=True)
def conv1d(x, weight, bias, stride, padding, dilation, groups):
    return voxkern.conv1d(x, weight, bias, stride, padding, dilation, groups)


CONVS = {1: conv1d, 2: conv2d, 3: conv3d}
SIZE, KERNEL = (7, 11, 13), (3, 2, 5)


@pytest.mark.parametrize(
    ("axes", "dtype"), [(1, np.float64), (2, np.float64), (3, np.float64), (3, np.float32)]
)
def test_conv(rng, axes, dtype):
    x = rng.standard_normal((3, 6, *SIZE[:axes])).astype(dtype)
    weight = rng.standard_normal((4, 3, *KERNEL[:axes])).astype(dtype)
    bias = rng.standard_normal(4).astype(dtype)
    for arguments in ((2, 1, 1, 2), (1, 3, 2, 2), (3, 0, 1, 2)):
        found = CONVS[axes](x, weight, bias, *arguments)
        same(found, getattr(voxkern, f"conv{axes}d")(x, weight, bias, *arguments))


def test_conv_by_tiles_with_nan(rng):
    x, weight = rng.standard_normal((32, 5, 11, 13)), rng.standard_normal((16, 32, 3, 3, 3))
    x[3, 2, 5, 6] = np.inf
    same(conv3d(x, weight, None, 1, 1, 1, 1), voxkern.conv3d(x, weight, padding=1))


def test_conv_takes_tuples_names_and_any_layout(rng):
    x = rng.standard_normal((13, 5, 11, 7)).T[:, ::2]
    weight = np.asfortranarray(rng.standard_normal((3, 6, 4, 2)))
    weight.flags.writeable = False
    bias = rng.standard_normal(6)[::-2]

    @numba.njit
    def run(x, weight, bias):
        tuples = voxkern.conv2d(x, weight, stride=(2, 1), padding=(0, 1), dilation=(1, 1))
        return tuples, voxkern.conv2d(x, weight, padding="same"), voxkern.conv2d(x[0], weight, bias)

    found = run(x, weight, bias)
    same(found[0], voxkern.conv2d(x, weight, stride=(2, 1), padding=(0, 1)))
    same(found[1], voxkern.conv2d(x, weight, padding="same"))
    same(found[2], voxkern.conv2d(x[0], weight, bias))


def test_an_empty_batch(rng):
    x, weight = np.zeros((0, 2, 5, 6, 7)), rng.standard_normal((3, 2, 2, 2, 2))
    assert conv3d(x, weight, None, 1, 0, 1, 1).shape == (0, 3, 4, 5, 6)


@numba.njit(nogil=True)
def pools1d(x, kernel_size, stride, padding):
    pair = voxkern.max_pool1d(x, kernel_size, stride, padding, return_indices=True)
    return pair[0], pair[1], voxkern.avg_pool1d(x, kernel_size, stride, padding)


@numba.njit(nogil=True)
def pools2d(x, kernel_size, stride, padding):
    pair = voxkern.max_pool2d(x, kernel_size, stride, padding, return_indices=True)
    return pair[0], pair[1], voxkern.avg_pool2d(x, kernel_size, stride, padding)


@numba.njit(nogil=True)
def pools3d(x, kernel_size, stride, padding):
    pair = voxkern.max_pool3d(x, kernel_size, stride, padding, return_indices=True)
    return pair[0], pair[1], voxkern.avg_pool3d(x, kernel_size, stride, padding)


POOLS = {1: pools1d, 2: pools2d, 3: pools3d}


@pytest.mark.parametrize(("axes", "dtype"), [(1, np.float64), (2, np.float32), (3, np.float64)])
def test_pools(rng, axes, dtype):
    x = rng.standard_normal((2, 3, *SIZE[:axes])).astype(dtype)
    x[1, 2, ..., 3] = np.nan
    largest, mean = getattr(voxkern, f"max_pool{axes}d"), getattr(voxkern, f"avg_pool{axes}d")
    for arguments in ((3, 2, 1), (4, 3, 2)):
        *pair, means = POOLS[axes](x, *arguments)
        for part, expected in zip(pair, largest(x, *arguments, return_indices=True)):
            same(part, expected)
        same(means, mean(x, *arguments))


def test_maxima_with_their_other_arguments(rng):
    x = rng.standard_normal((3, 11, 13))

    @numba.njit
    def run(x):
        dilated = voxkern.max_pool2d(x, (2, 5), 2, (1, 2), (1, 2), True)
        return dilated, voxkern.max_pool2d(x, (3,))

    found = run(x)
    same(found[0], voxkern.max_pool2d(x, (2, 5), 2, (1, 2), (1, 2), True))
    same(found[1], voxkern.max_pool2d(x, 3))


def test_average_pools_with_their_other_arguments(rng):
    x = rng.standard_normal((3, 11, 13))

    @numba.njit
    def run(x):
        uncounted = voxkern.avg_pool2d(x, (2, 5), 2, (1, 2), True, False)
        return uncounted, voxkern.avg_pool2d(x, 3, divisor_override=-7)

    found = run(x)
    same(found[0], voxkern.avg_pool2d(x, (2, 5), 2, (1, 2), True, False))
    same(found[1], voxkern.avg_pool2d(x, 3, divisor_override=-7))


@pytest.mark.parametrize("dtype", ["float32", "uint8"])
def test_im2col(rng, dtype):
    x = rng.integers(0, 100, (2, 3, 7, 11, 13)).astype(dtype)

    @numba.njit
    def run(x):
        tuples = voxkern.im2col(x, (2, 3, 5), 2, (1, 0, 2), (2, 1, 1))
        return tuples, voxkern.im2col(x[0], (2, 3, 2), padding="same"), voxkern.im2col(x, 2)

    found = run(x)
    same(found[0], voxkern.im2col(x, (2, 3, 5), 2, (1, 0, 2), (2, 1, 1)))
    same(found[1], voxkern.im2col(x[0], (2, 3, 2), padding="same"))
    same(found[2], voxkern.im2col(x, 2))


@numba.njit(nogil=True)
def normalized(x, mean, var, weight, bias, training):
    return voxkern.batch_norm(x, mean, var, weight, bias, training, 0.3)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("shape", [(7, 3), (2, 3, 7, 11, 13)])
def test_batch_norm(rng, training, shape):
    x, mean, weight, bias = (rng.standard_normal(s) for s in (shape, 3, 3, 3))
    var = rng.random(3) + 0.5
    ours, theirs = (mean.copy(), var.copy()), (mean.copy(), var.copy())
    found = normalized(x, *ours, weight, bias, training)
    expected = voxkern.batch_norm(x, *theirs, weight, bias, training, 0.3)
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(ours, theirs, rtol=1e-13)


def test_batch_norm_of_strided_parameters(rng):
    x, numbers = rng.standard_normal((5, 3)), rng.random(12)
    parts = [numbers[i::4] for i in range(4)]
    expected = voxkern.batch_norm(x, *parts, True, 0.3)
    np.testing.assert_allclose(normalized(x, *parts, True), expected, rtol=1e-12, atol=1e-13)


def test_batch_norm_refuses(rng):
    x, three = rng.standard_normal((7, 3)), np.ones(3)
    before = three.copy()
    with pytest.raises(ValueError, match="running_mean"):
        normalized(x, np.ones(2), three, three, three, False)
    with pytest.raises(ValueError, match="running_var"):
        normalized(x, three, np.ones(4), three, three, True)
    with pytest.raises(ValueError, match="running_mean is None"):
        normalized(x, None, None, three, three, False)
    with pytest.raises(ValueError, match="bias"):
        normalized(x, three, three, three, np.ones(4), True)
    with pytest.raises(ValueError, match="training"):
        normalized(x[:1], three, three, three, three, True)
    same(three, before)


@numba.njit(nogil=True)
def flashes(frames, k):
    return voxkern.flash_table(frames, k)


@pytest.mark.parametrize(
    ("dtype", "channels"),
    [(np.uint8, (3,)), (np.uint16, ()), (np.float32, (3,)), (np.float64, ())],
)
def test_flash_table(rng, dtype, channels):
    top = np.iinfo(dtype).max if np.dtype(dtype).kind == "u" else 255
    frames = (rng.random((5, 19, 31, *channels)) * top).astype(dtype)
    same(flashes(frames, 5), voxkern.flash_table(frames))
    several = voxkern.flash_table(frames, 19 * 31)  # NumPy adds so many in another order
    np.testing.assert_allclose(flashes(frames, 19 * 31), several, rtol=1e-14)
    assert flashes(frames[:1], 5).shape == flashes(frames[:0], 5).shape == (0, 1)


def test_flash_table_of_every_second_pixel(rng):
    frames = (rng.random((9, 19, 31, 3)) * 65535).astype(np.uint16)[::2, 1:, ::2]
    same(flashes(frames, 3), voxkern.flash_table(frames, 3))


def test_flash_table_in_groups_and_by_several_threads(rng):
    frames = rng.integers(0, 256, (131, 290, 460, 3)).astype(np.uint8)
    expected = voxkern.flash_table(frames, 7)
    try:
        for threads in (1, 2):
            voxkern.set_num_threads(threads)
            same(flashes(frames, 7), expected)
    finally:
        voxkern.set_num_threads(2**30)


def test_flash_table_keeps_nan(rng):
    frames = rng.random((4, 5, 7))
    frames[1, 2, 3] = np.nan
    same(flashes(frames, 5), voxkern.flash_table(frames))


def test_flash_table_by_other_curves(rng):
    frames = rng.integers(0, 256, (4, 11, 13, 3)).astype(np.uint8)

    @numba.njit
    def run(frames, floats):
        return voxkern.flash_table(frames, curve="srgb"), voxkern.flash_table(floats, 2, "ofcom")

    found = run(frames, frames.astype(np.float32))
    same(found[0], voxkern.flash_table(frames, curve="srgb"))
    same(found[1], voxkern.flash_table(frames.astype(np.float32), 2, "ofcom"))


def test_flash_table_refuses(rng):
    frames = np.zeros((3, 4, 5, 3))
    for wrong, k, name in (
        (frames, 0, "k must"),
        (frames, 21, "k must"),
        (frames[..., :2], 1, "H"),
    ):
        with pytest.raises(ValueError, match=name):
            flashes(wrong, k)
    with pytest.raises(TypingError, match="frames has dtype int64"):
        flashes(frames.astype(np.int64), 1)
    with pytest.raises(TypingError, match="frames"):
        flashes(frames[0, 0], 1)
    with pytest.raises(TypingError, match="curve"):
        numba.njit(lambda frames: voxkern.flash_table(frames, 1, "exams"))(frames)


def test_from_the_body_of_a_prange(rng):
    x, weight = rng.standard_normal((9, 3, 11, 13)), rng.standard_normal((4, 3, 3, 2))

    @numba.njit(parallel=True)
    def run(x, weight):
        found, flashing = np.empty(9), np.empty(9)
        for n in numba.prange(9):
            found[n] = voxkern.conv2d(x[n], weight)[3, 4, 5]
            flashing[n] = voxkern.flash_table(x[n])[1, 0]
        return found, flashing

    found, flashing = run(x, weight)
    same(found, voxkern.conv2d(x, weight)[:, 3, 4, 5])
    same(flashing, np.array([voxkern.flash_table(frames)[1, 0] for frames in x]))


def test_from_several_threads_at_once(rng):
    x, weight = rng.standard_normal((4, 2, 3, 60, 50)), rng.standard_normal((4, 3, 3, 3))
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda some: conv2d(some, weight, None, 1, 0, 1, 1), x))
    for part, some in zip(found, x):
        same(part, voxkern.conv2d(some, weight))


@pytest.mark.parametrize(
    ("name", "changed"),
    [
        ("weight", {"weight": (4, 2, 3, 2, 5)}),
        ("weight", {"weight": (4, 3, 3, 0, 5)}),
        ("weight", {"groups": 0}),
        ("bias", {"bias": 3}),
        ("kernel_size", {"weight": (4, 3, 3, 12, 5)}),
        ("x", {"x": (3, 6, 7, 0, 13)}),
        ("stride", {"stride": 0}),
        ("padding", {"padding": -1}),
        ("dilation", {"dilation": 0}),
        ("groups", {"weight": (5, 3, 3, 2, 5), "bias": 5}),
    ],
)
def test_wrong_values_are_told_by_name(name, changed):
    shapes = {"x": (3, 6, 7, 11, 13), "weight": (4, 3, 3, 2, 5), "bias": 4} | changed
    numbers = {"stride": 1, "padding": 0, "dilation": 1, "groups": 2} | changed
    x, weight, bias = (np.ones(shapes[key]) for key in ("x", "weight", "bias"))
    window = [numbers[key] for key in ("stride", "padding", "dilation", "groups")]
    with pytest.raises(ValueError, match=name):
        conv3d(x, weight, bias, *window)


def test_wrong_pools_are_told_by_name(rng):
    x = rng.standard_normal((1, 3, 11, 13)).astype(np.float32)
    for arguments, name in (((2, 2, 2), "padding"), ((12, 1, 0), "kernel_size"), ((2, 0, 0), "st")):
        with pytest.raises(ValueError, match=name):
            pools2d(x, *arguments)

    @numba.njit
    def divided(x, by):
        return voxkern.avg_pool2d(x, 2, divisor_override=by)

    with pytest.raises(ValueError, match="divisor_override"):
        divided(x, 0)
    with pytest.raises(TypingError, match="divisor_override"):
        divided(x, 0.5)


def test_a_tuple_of_the_wrong_length(rng):
    with pytest.raises(TypingError, match="stride"):
        conv3d(np.ones((1, 1, 5, 5, 5)), np.ones((1, 1, 2, 2, 2)), None, (1, 1), 0, 1, 1)


@pytest.mark.parametrize(
    ("name", "x", "weight", "stride"),
    [
        ("x", np.ones((1, 1, 5, 5, 5), np.int64), np.ones((1, 1, 2, 2, 2)), 1),
        ("x", np.ones((1, 5, 5)), np.ones((1, 1, 2, 2, 2)), 1),
        ("weight", np.ones((1, 1, 5, 5, 5)), np.ones((1, 1, 2, 2, 2), np.float32), 1),
        ("stride", np.ones((1, 1, 5, 5, 5)), np.ones((1, 1, 2, 2, 2)), 1.5),
        ("stride", np.ones((1, 1, 5, 5, 5)), np.ones((1, 1, 2, 2, 2)), None),
    ],
)
def test_wrong_types_are_told_when_compiled(name, x, weight, stride):
    with pytest.raises(TypingError, match=name):
        conv3d(x, weight, None, stride, 0, 1, 1)


def in_a_new_process(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)


def test_the_library_does_not_import_numba():
    done = in_a_new_process("import voxkern, sys; assert 'numba' not in sys.modules")
    assert done.returncode == 0, done.stderr


def test_numba_finds_the_functions_by_itself():
    found = importlib.metadata.entry_points(group="numba_extensions", name="init")
    if "voxkern.njit:init" not in [entry.value for entry in found]:
        pytest.skip("the package is not installed, so it has no entry points")
    done = in_a_new_process(
        "import numba, numpy, voxkern\n"
        "def f(x): return voxkern.max_pool1d(x, 2)\n"
        "print(numba.njit(f)(numpy.arange(6.0).reshape(1, 6)))"
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[[1. 3. 5.]]"


def test_the_page_runs():
    pytest.importorskip("scipy")
    page = pathlib.Path(__file__).parents[1] / "docs/use_from_numba_and_c.md"
    namespace = {}
    for part in page.read_text("utf-8").split("```python\n")[1:]:
        exec(compile(part.partition("```")[0], page.name, "exec"), namespace)
    assert namespace["median_of"].shape == (40, 50)
