"""The exam's functions: worked by hand, against answers written as the exam would, bad input."""

import copy

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import voxkern
from voxkern.reference import cs230 as exam

import hostile
from accuracy import assert_close, assert_exact


def test_get_tiled_dim_by_hand():
    assert voxkern.get_tiled_dim(7, 3) == 5
    assert voxkern.get_tiled_dim(7, 3, 2) == 3
    assert voxkern.get_tiled_dim(8, 3, stride=2) == 3
    assert voxkern.get_tiled_dim(5, 5, 9) == 1
    assert voxkern.get_tiled_dim(np.int64(4), 1) == 4


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 9))
def test_get_tiled_dim_counts_positions(image, kernel, stride):
    if kernel <= image:
        assert voxkern.get_tiled_dim(image, kernel, stride) == exam.get_tiled_dim(
            image, kernel, stride
        )


@pytest.mark.parametrize("conv3d", [voxkern.conv3d_naive, voxkern.conv3d_no_loop])
def test_conv3d_by_hand(conv3d):
    image = np.arange(12).reshape(1, 1, 2, 2, 3)
    weight = np.zeros((2, 1, 1, 2, 2), int)
    weight[0, 0, 0, 0, 0] = 1
    weight[1, 0, 0, 1] = [1, -10]
    want = [[[[0, 1]], [[6, 7]]], [[[3 - 40, 4 - 50]], [[9 - 100, 10 - 110]]]]
    assert_exact(conv3d(image, weight), np.array([want], "f8"))
    assert conv3d(np.ones((1, 3, 4, 5, 6)), np.ones((2, 3, 2, 3, 4))).max() == 3 * 2 * 3 * 4


@pytest.mark.parametrize("conv3d", ["conv3d_naive", "conv3d_no_loop"])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_conv3d_is_both_oracles(rng, conv3d, stride, dtype):
    image = hostile.normal(rng, hostile.SHAPES[3], dtype)
    weight = hostile.normal(rng, (7, 3, *hostile.KERNELS[3]), dtype)
    got = getattr(voxkern, conv3d)(image, weight, stride)
    assert got.dtype == dtype
    image, weight = image.astype("f8"), weight.astype("f8")
    for oracle in (exam.conv3d_naive, exam.conv3d_no_loop):
        assert_close(got, oracle(image, weight, stride), length=90, scale=10)


def test_conv3d_promotes_as_numpy_does(rng):
    image, weight = rng.integers(0, 9, (2, 3, 5, 4, 3)), hostile.normal(rng, (2, 3, 2, 2, 2), "f4")
    got = voxkern.conv3d_no_loop(image, weight)
    assert_close(got, exam.conv3d_no_loop(image, weight.astype("f8")), length=24, scale=9)


def cache(mu, var):
    return {"mu": np.array(mu), "var": np.array(var)}


def test_batchnorm_by_hand():
    averages = cache([0.0, 0.0], [4.0, 1.0])
    Z = np.array([[1, 2], [3, 6]])
    got = voxkern.forward_batchnorm(Z, 1, 0, 0, averages, 0.9, "train")
    assert_exact(got, np.array([[-1.0, -1.0], [1.0, 1.0]]))
    np.testing.assert_allclose(averages["mu"], [0.2, 0.4])
    np.testing.assert_allclose(averages["var"], [0.9 * 4 + 0.1 * 1, 0.9 * 1 + 0.1 * 4])
    averages = cache([1.0, 2.0], [4.0, 15.0])
    got = voxkern.forward_batchnorm(Z, np.array([2, 4]), [0, 10], 1, averages, 0.9, "test")
    np.testing.assert_allclose(got, [[0, 10], [2 * 2 / np.sqrt(5), 4 * 4 / 4 + 10]])
    assert_exact(averages["mu"], np.array([1.0, 2.0]))


@pytest.mark.parametrize("shape", [(1, 3), (7, 3), (531, 37), (11, 3, 5)], ids=str)
@pytest.mark.parametrize("mode", ["train", "test"])
@pytest.mark.parametrize("dtype", hostile.FLOATS)
def test_batchnorm_is_the_oracle(rng, shape, mode, dtype):
    Z = hostile.normal(rng, shape, dtype)
    gamma, beta, mu = hostile.normal(rng, (3, *shape[1:]), dtype)
    averages = cache(mu, rng.uniform(0.5, 2, shape[1:]).astype(dtype))
    expected = {k: v.astype("f8") for k, v in averages.items()}
    before = copy.deepcopy(averages), dict(averages)
    got = voxkern.forward_batchnorm(Z, gamma, beta, 1e-3, averages, 0.8, mode)
    exact = (a.astype("f8") for a in (Z, gamma, beta))
    want = exam.forward_batchnorm(*exact, 1e-3, expected, 0.8, mode)
    assert got.dtype == dtype
    assert_close(got, want, length=64, scale=8)
    for key in ("mu", "var"):
        assert_close(averages[key], expected[key], length=64)
        assert averages[key].dtype == dtype
        assert_exact(before[1][key], before[0][key])  # replaced, not written to


def test_batchnorm_takes_row_vectors(rng):
    Z, (gamma, beta) = hostile.normal(rng, (7, 3)), hostile.normal(rng, (2, 1, 3))
    flat = voxkern.forward_batchnorm(
        Z, gamma[0], beta[0], 1e-5, cache(np.zeros(3), np.ones(3)), 0.9, "train"
    )
    averages = cache(np.zeros((1, 3)), np.ones((1, 3)))
    assert_exact(voxkern.forward_batchnorm(Z, gamma, beta, 1e-5, averages, 0.9, "train"), flat)
    assert averages["mu"].shape == (1, 3)


def test_batchnorm_with_a_large_mean(rng):
    Z = (1000 + 0.01 * rng.standard_normal((501, 3))).astype("float32")
    got = voxkern.forward_batchnorm(Z, 1, 0, 0, cache(0.0, 0.0), 0.9, "train")
    exact = Z.astype("f8") - 1000
    np.testing.assert_allclose(got, (exact - exact.mean(0)) / exact.std(0), rtol=0, atol=4e-6)


def test_adam_by_hand():
    # The averages are 1e-5 and 1e-11, corrected 1e-4 and 1e-8: epsilon is as large as the square.
    weights, averages = {"W": np.array([1.0])}, {"vW": np.zeros(1), "sW": np.zeros(1)}
    voxkern.optim_adam(weights, {"W": np.array([1e-4])}, averages, 1)
    np.testing.assert_allclose(averages["vW"], [1e-5])
    np.testing.assert_allclose(averages["sW"], [1e-11])
    np.testing.assert_allclose(1 - weights["W"], [1e-3 * 1e-4 / np.sqrt(2e-8)])


def test_adam_is_the_oracle(rng):
    weights = {n: hostile.normal(rng, s) for n, s in (("W1", (3, 5)), ("b1", 5), ("s", ()))}
    weights = {n: np.asarray(w) for n, w in weights.items()}
    averages = {k + n: np.zeros_like(w) for n, w in weights.items() for k in "vs"}
    ours, theirs = (dict(weights), dict(averages)), (dict(weights), dict(averages))
    for step in range(1, 8):
        gradients = {n: np.asarray(hostile.normal(rng, w.shape)) for n, w in weights.items()}
        assert voxkern.optim_adam(*ours[:1], gradients, ours[1], step)[0] is ours[0]
        exam.optim_adam(theirs[0], gradients, theirs[1], step)
    for got, want in zip(ours, theirs):
        assert got.keys() == want.keys()
        for key in got:
            np.testing.assert_allclose(got[key], want[key], rtol=1e-14)


def test_adam_starts_at_zero_and_leaves_arrays_alone(rng):
    weight, gradient = hostile.normal(rng, (2, 3, 5), "float32")
    kept, averages = weight.copy(), {}
    weights = {"W": weight}
    result = voxkern.optim_adam(weights, {"W": gradient}, averages, 1)
    assert result == (weights, averages)
    assert weights["W"].dtype == averages["vW"].dtype == averages["sW"].dtype == np.float32
    assert_exact(weight, kept)
    np.testing.assert_allclose(weights["W"], kept - 1e-3 * np.sign(gradient), atol=1e-6)


def test_flashinator_by_hand():
    frames = np.zeros((4, 3, 5, 3), np.uint8)
    frames[1, :2, :3] = 10  # six pixels up, then four of them down, then nothing
    frames[2, 0, :2] = 10
    step = 4 * 3**2.2 - 4
    got = voxkern.video_flashinator(frames[:3])
    np.testing.assert_allclose(got, [[step], [-step * 4 / 5]])
    np.testing.assert_allclose(voxkern.video_flashinator(frames[[0, 0]]), [[0.0]])
    assert voxkern.video_flashinator(frames[:1]).shape == (0, 1)


@pytest.mark.parametrize("shape", [(6, 11, 7, 3), (6, 11, 7)], ids=str)
@pytest.mark.parametrize("dtype", ["uint8", "float64"])
def test_flashinator_is_the_oracle(rng, shape, dtype):
    frames = rng.integers(0, 256, shape).astype(dtype)
    want = exam.video_flashinator(frames)
    np.testing.assert_allclose(voxkern.video_flashinator(frames), want, rtol=1e-12)


IMAGE, KERNEL = np.ones((1, 2, 3, 4, 5)), np.ones((1, 2, 2, 2, 2))
Z, PAIR = np.ones((4, 2)), {"mu": np.zeros(2), "var": np.ones(2)}
W = {"W": np.ones(3)}


def batchnorm(Z=Z, gamma=1, beta=0, eps=1e-5, cache=PAIR, beta_avg=0.9, mode="train"):
    return voxkern.forward_batchnorm(Z, gamma, beta, eps, cache, beta_avg, mode)


@pytest.mark.parametrize(
    ("call", "error", "names"),
    [
        (lambda: voxkern.get_tiled_dim(3, 4), ValueError, "kern_dim is 4"),
        (lambda: voxkern.get_tiled_dim(3, 0), ValueError, "kern_dim is 0"),
        (lambda: voxkern.get_tiled_dim(3, 2, 0), ValueError, "stride is 0"),
        (lambda: voxkern.get_tiled_dim(3, 2, -1), ValueError, "stride is -1"),
        (lambda: voxkern.get_tiled_dim(3.5, 2), TypeError, "img_dim is 3.5"),
        (lambda: voxkern.conv3d_naive(IMAGE[0], KERNEL), ValueError, "image has shape"),
        (lambda: voxkern.conv3d_no_loop(IMAGE, KERNEL[0]), ValueError, "weight has shape"),
        (lambda: voxkern.conv3d_naive(IMAGE, KERNEL[:, :1]), ValueError, "weight|groups"),
        (lambda: voxkern.conv3d_naive(IMAGE[:, :, :1], KERNEL), ValueError, "kernel"),
        (lambda: voxkern.conv3d_no_loop(IMAGE, KERNEL, 0), ValueError, "stride is 0"),
        (lambda: voxkern.conv3d_naive(IMAGE.astype("c16"), KERNEL), TypeError, "image has dtype"),
        (lambda: batchnorm(mode="eval"), ValueError, "mode is 'eval'"),
        (lambda: batchnorm(mode=None), ValueError, "mode is None"),
        (lambda: batchnorm(Z=1.0), ValueError, "Z has shape"),
        (lambda: batchnorm(Z=Z[:0]), ValueError, "Z has shape"),
        (lambda: batchnorm(Z=Z.astype(object)), TypeError, "Z has dtype object"),
        (lambda: batchnorm(gamma=np.ones(3)), ValueError, "gamma has shape"),
        (lambda: batchnorm(beta=np.ones((4, 2))), ValueError, "beta has shape"),
        (lambda: batchnorm(eps=-1), ValueError, "eps is -1"),
        (lambda: batchnorm(beta_avg=None), TypeError, "beta_avg is None"),
        (lambda: batchnorm(cache={"mu": 0}), ValueError, "cache_dict has no 'var'"),
        (lambda: batchnorm(cache={**PAIR, "mu": np.ones(3)}), ValueError, r"cache_dict\['mu'\]"),
        (lambda: batchnorm(cache=()), TypeError, "cache_dict is a tuple"),
        (lambda: voxkern.optim_adam(W, {}, {}, 1), ValueError, "gradients_dict has no 'W'"),
        (lambda: voxkern.optim_adam(W, {"W": np.ones(2)}, {}, 1), ValueError, "gradients_dict"),
        (
            lambda: voxkern.optim_adam(W, W, {"vW": np.ones(2)}, 1),
            ValueError,
            r"cache_dict\['vW'\]",
        ),
        (lambda: voxkern.optim_adam(None, W, {}, 1), TypeError, "weights_dict is a NoneType"),
        (lambda: voxkern.optim_adam(W, None, {}, 1), TypeError, "gradients_dict is a NoneType"),
        (lambda: voxkern.optim_adam(W, W, None, 1), TypeError, "cache_dict is a NoneType"),
        (lambda: voxkern.optim_adam(W, W, {}, 0), ValueError, "step is 0"),
        (lambda: voxkern.optim_adam(W, W, {}, 1.0), TypeError, "step is 1.0"),
        (lambda: voxkern.optim_adam({"W": "a"}, W, {}, 1), TypeError, "weights_dict"),
        (lambda: voxkern.video_flashinator(np.ones(3)), ValueError, "frames"),
    ],
)
def test_bad_input_is_named_and_nothing_changed(call, error, names):
    with pytest.raises(error, match=names):
        call()
    assert_exact(PAIR["mu"], np.zeros(2))
    assert_exact(W["W"], np.ones(3))


def test_adam_changes_nothing_when_the_last_gradient_is_bad():
    weights, averages = {"a": np.ones(3), "b": np.ones(3)}, {}
    with pytest.raises(ValueError, match=r"gradients_dict\['b'\]"):
        voxkern.optim_adam(weights, {"a": np.ones(3), "b": np.ones(4)}, averages, 1)
    assert_exact(weights["a"], np.ones(3))
    assert not averages


def test_test_mode_takes_an_empty_batch():
    assert batchnorm(Z=Z[:0], mode="test").shape == (0, 2)
