"""SciPy's names on our kernels, beside SciPy: every mode, hostile shapes, stacks of kernels."""

import itertools

import numpy as np
import pytest

import voxkern
from voxkern.scipy import ndimage, signal

import hostile
from accuracy import assert_close, assert_exact

official = pytest.importorskip("scipy.ndimage")
official_signal = pytest.importorskip("scipy.signal")

MODES = [*ndimage.MODES, *ndimage.SYNONYMS]
SIZES = {1: (31,), 2: (17, 13), 3: (11, 7, 5)}
# The last has a kernel longer than the array, more than twice for the modes that turn round.
KERNELS = {
    1: [(5,), (4,), (1,), (31,), (67,)],
    2: [(5, 3), (2, 4), (1, 13), (18, 3), (3, 40)],
    3: [(3, 3, 3), (5, 2, 4), (1, 8, 1), (3, 3, 12), (24, 2, 11)],
}
CASES = [(axes, kernel) for axes in KERNELS for kernel in KERNELS[axes]]


def close(got, want, weights, dtype):
    assert got.dtype == dtype
    assert_close(got, want, length=weights.size, scale=4 * np.sqrt(weights.size))


@pytest.mark.parametrize("name", ["correlate", "convolve"])
@pytest.mark.parametrize(("axes", "kernel"), CASES, ids=str)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dtype", hostile.FLOATS)
def test_images_are_scipys(rng, name, axes, kernel, mode, dtype):
    x, weights = hostile.normal(rng, SIZES[axes], dtype), hostile.normal(rng, kernel, dtype)
    got = getattr(ndimage, name)(x, weights, mode=mode, cval=1.5)
    want = getattr(official, name)(x.astype("f8"), weights.astype("f8"), mode=mode, cval=1.5)
    close(got, want, weights, dtype)


@pytest.mark.parametrize("name", ["correlate", "convolve"])
@pytest.mark.parametrize("kernel", [(4, 3), (1, 2), (5, 6)], ids=str)
@pytest.mark.parametrize("mode", ndimage.MODES)
def test_every_origin_is_scipys(rng, name, kernel, mode):
    x, weights = hostile.normal(rng, (7, 5)), hostile.normal(rng, kernel)
    for origin in itertools.product(*[range(-(k // 2), (k - 1) // 2 + 1) for k in kernel]):
        got = getattr(ndimage, name)(x, weights, mode=mode, origin=origin)
        want = getattr(official, name)(x, weights, mode=mode, origin=origin)
        np.testing.assert_allclose(got, want, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("size", [(1,), (2,), (3, 1), (1, 1, 2)], ids=str)
@pytest.mark.parametrize("mode", ndimage.MODES)
def test_tiny_images_are_scipys(rng, size, mode):
    x = hostile.normal(rng, size)
    for k in (1, 2, 3, 7):
        weights = hostile.normal(rng, (k,) * len(size))
        want = official.correlate(x, weights, mode=mode)
        np.testing.assert_allclose(ndimage.correlate(x, weights, mode=mode), want, atol=1e-12)


@pytest.mark.parametrize("axes", [0, (-1,), (0, 2), (1, 2), (-3, -2), (0, 1, 2)], ids=str)
@pytest.mark.parametrize("mode", ["mirror", "constant"])
@pytest.mark.parametrize("many", [False, True])
def test_some_axes_are_filtered(rng, axes, mode, many):
    x = hostile.normal(rng, (7, 11, 5), "float32")
    count = len(axes) if isinstance(axes, tuple) else 1
    weights = hostile.normal(rng, (3, 5, 3, 4)[: count + 1])
    origin = (1, 0, -1)[:count]
    want = [
        official.correlate(x.astype("f8"), w, mode=mode, cval=2, axes=axes, origin=origin)
        for w in weights
    ]
    kernels, want = (weights, np.array(want)) if many else (weights[0], want[0])
    arguments = {"mode": mode, "cval": 2, "axes": axes, "origin": origin}
    got = ndimage.correlate(x, kernels, **arguments)
    close(got, want, weights[0], "float32")
    out = hostile.strided(np.full_like(got, np.nan))
    assert ndimage.correlate(x, kernels, out, **arguments) is out
    np.testing.assert_array_equal(out, got)


@pytest.mark.parametrize("name", ["correlate", "convolve"])
@pytest.mark.parametrize("axes", [1, 2, 3])
def test_a_stack_of_kernels_gives_a_stack_of_answers(rng, name, axes):
    x = hostile.normal(rng, SIZES[axes], "float32")
    weights = hostile.normal(rng, (5, *KERNELS[axes][1]), "float32")
    for mode in ndimage.MODES:
        got = getattr(ndimage, name)(x, weights, mode=mode)
        want = [getattr(official, name)(x.astype("f8"), w, mode=mode) for w in weights]
        close(got, want, weights[0], "float32")
    for mode in ("full", "same", "valid"):
        got = getattr(signal, name)(x, weights, mode)
        want = [getattr(official_signal, name)(x.astype("f8"), w, mode) for w in weights]
        close(got, np.array(want), weights[0], "float32")


def test_a_stack_of_one_keeps_its_axis(rng):
    x, weights = hostile.normal(rng, (7, 5)), hostile.normal(rng, (1, 3, 3))
    assert ndimage.correlate(x, weights).shape == (1, 7, 5)
    assert ndimage.correlate(x, weights[0]).shape == (7, 5)
    assert signal.correlate(x, weights).shape == (1, 9, 7)
    assert signal.correlate(x, weights[0]).shape == (9, 7)


@pytest.mark.parametrize("name", ["correlate", "convolve"])
@pytest.mark.parametrize(("axes", "kernel"), CASES, ids=str)
@pytest.mark.parametrize("mode", ["full", "same", "valid"])
@pytest.mark.parametrize("method", ["auto", "direct", "fft"])
def test_signals_are_scipys(rng, name, axes, kernel, mode, method):
    x, weights = hostile.normal(rng, SIZES[axes]), hostile.normal(rng, kernel)
    if mode == "valid" and any(k > n for k, n in zip(kernel, SIZES[axes])):
        with pytest.raises(ValueError, match=r"in2 has kernels of .* none may be longer"):
            getattr(signal, name)(x, weights, mode, method)
        return
    got = getattr(signal, name)(x, weights, mode, method)
    want = getattr(official_signal, name)(x, weights, mode, "direct")
    np.testing.assert_allclose(got, want, rtol=1e-11, atol=1e-11)


def test_the_types_of_signals_are_numpys(rng):
    x, weights = hostile.normal(rng, 31, "float32"), hostile.normal(rng, 5)
    for a, b in itertools.product(hostile.FLOATS, repeat=2):
        got = signal.convolve(x.astype(a), weights.astype(b))
        want = official_signal.convolve(x.astype(a).astype("f8"), weights.astype(b).astype("f8"))
        close(got, want, weights, np.result_type(a, b))


@pytest.mark.parametrize("layout", hostile.LAYOUTS)
def test_layout_does_not_matter(rng, layout):
    x, weights = hostile.normal(rng, (17, 13)), hostile.normal(rng, (3, 5, 4))
    for call in (ndimage.correlate, signal.convolve):
        assert_exact(call(layout(x), layout(weights)), call(x, weights))


def test_large_images_are_scipys(rng):
    # Through Winograd and FFT.
    x = hostile.normal(rng, (150, 130), "float32")
    for kernel in ((3, 3), (5, 5), (41, 41)):
        weights = hostile.normal(rng, kernel, "float32")
        got = ndimage.correlate(x, weights, mode="wrap")
        want = official.correlate(x.astype("f8"), weights.astype("f8"), mode="wrap")
        np.testing.assert_allclose(got, want, atol=4e-6 * abs(want).max())


def test_nan_and_inf_reach_their_windows_alone(rng):
    x = hostile.with_nonfinite(hostile.normal(rng, (17, 13)), rng)
    weights = 1 + rng.random((3, 4))
    for mode in ndimage.MODES:
        got = ndimage.correlate(x, weights, mode=mode, cval=np.inf)
        want = official.correlate(x, weights, mode=mode, cval=np.inf)
        np.testing.assert_allclose(got, want)


def test_weights_take_the_type_of_the_image(rng):
    x, weights = hostile.normal(rng, (7, 5), "float32"), [[0, 1, 0], [1, -4, 1], [0, 1, 0]]
    got = ndimage.correlate(x, weights)
    assert got.dtype == "float32"
    np.testing.assert_allclose(got, official.correlate(x, weights), atol=1e-5)


IMAGE, KERNEL = np.zeros((7, 5)), np.zeros((3, 3))
correlate = ndimage.correlate


@pytest.mark.parametrize(
    ("call", "error", "names"),
    [
        (lambda: correlate(IMAGE.astype(int), KERNEL), TypeError, "input has dtype int64"),
        (lambda: correlate(IMAGE > 0, KERNEL), TypeError, "input has dtype bool"),
        (lambda: correlate(IMAGE + 0j, KERNEL), TypeError, "input has dtype complex128"),
        (lambda: correlate(IMAGE, KERNEL + 0j), TypeError, "weights has dtype complex128"),
        (lambda: correlate(IMAGE, KERNEL[0]), ValueError, r"weights has shape \(3,\)"),
        (lambda: correlate(IMAGE, KERNEL[:0]), ValueError, r"weights has shape \(0, 3\)"),
        (lambda: correlate(IMAGE, KERNEL[None, None]), ValueError, "weights has shape"),
        (lambda: correlate(IMAGE[:0], KERNEL), ValueError, r"input has shape \(0, 5\)"),
        (lambda: correlate(np.float64(1), 1.0), ValueError, r"input has shape \(\)"),
        (lambda: correlate(np.zeros((2,) * 4), np.zeros((2,) * 4)), ValueError, "1 to 3 axes"),
        (lambda: correlate(IMAGE, KERNEL, mode="symmetric"), ValueError, "mode is 'symmetric'"),
        (lambda: correlate(IMAGE, KERNEL, mode=["wrap", "wrap"]), ValueError, "mode is"),
        (lambda: correlate(IMAGE, KERNEL, cval="0"), TypeError, "cval is '0'"),
        (lambda: correlate(IMAGE, KERNEL, origin=2), ValueError, r"origin is \(2, 2\)"),
        (lambda: correlate(IMAGE, KERNEL, origin=(0, -2)), ValueError, "origin is"),
        (lambda: correlate(IMAGE, KERNEL, origin=(0, 0, 0)), ValueError, "origin is"),
        (lambda: correlate(IMAGE, KERNEL, origin=0.5), TypeError, "origin is 0.5"),
        (lambda: correlate(IMAGE, KERNEL[0], axes=2), ValueError, "axes is 2"),
        (lambda: correlate(IMAGE, KERNEL, axes=(1, 0)), ValueError, "increasing"),
        (lambda: correlate(IMAGE, KERNEL, axes=(1, -1)), ValueError, "none twice"),
        (lambda: correlate(IMAGE, KERNEL, axes=()), ValueError, "1 to 3 axes"),
        (lambda: correlate(IMAGE, KERNEL, np.zeros(3)), ValueError, "output has shape"),
        (lambda: correlate(IMAGE, KERNEL, "f4"), TypeError, "output is a str"),
        (lambda: correlate(IMAGE, KERNEL, IMAGE), ValueError, "output overlaps"),
        (lambda: signal.correlate(IMAGE, KERNEL.astype(int)), TypeError, "in2 has dtype int64"),
        (lambda: signal.correlate(IMAGE.astype(int), KERNEL), TypeError, "in1 has dtype int64"),
        (lambda: signal.correlate(IMAGE, KERNEL[0]), ValueError, r"in2 has shape \(3,\)"),
        (lambda: signal.correlate(IMAGE[:0], KERNEL), ValueError, r"in1 has shape \(0, 5\)"),
        (lambda: signal.correlate(IMAGE, KERNEL, "reflect"), ValueError, "mode is 'reflect'"),
        (lambda: signal.correlate(IMAGE, KERNEL, method="overlap"), ValueError, "method is"),
    ],
)
def test_bad_input_is_named(call, error, names):
    with pytest.raises(error, match=names):
        call()


def test_results_do_not_depend_on_the_number_of_threads(rng):
    x, weights = hostile.normal(rng, (57, 43), "float32"), hostile.normal(rng, (3, 6, 5))
    before, found = voxkern.get_num_threads(), []
    try:
        for threads in (1, 2):
            voxkern.set_num_threads(threads)
            found.append(ndimage.correlate(x, weights).tobytes())
    finally:
        voxkern.set_num_threads(before)
    assert found[0] == found[1]
