"""Convolution through the frequency domain: large kernels, blocks, memory, scales."""

import importlib.util
import tracemalloc

import numpy as np
import pytest

import voxkern
from voxkern import conv_fft, reference

import accuracy
import hostile
from accuracy import assert_close, assert_exact

CONV = {1: voxkern.conv1d, 2: voxkern.conv2d, 3: voxkern.conv3d}
UNPADDED = ((0, 0),) * 3


def widened(*arrays):
    return [a.astype("float64") for a in arrays]


@pytest.fixture
def step_bytes(monkeypatch):
    """Sets the memory of a step, and forgets the blocks chosen for another."""

    def set_step(value):
        monkeypatch.setattr(conv_fft, "STEP_BYTES", value)
        conv_fft._best_block.cache_clear()

    yield set_step
    conv_fft._best_block.cache_clear()


def volume_case(rng, dtype="float32", groups=1):
    x = hostile.normal(rng, (2, 6, 23, 19, 17), dtype)
    weight = hostile.normal(rng, (10, 6 // groups, 7, 1, 5), dtype)
    return x, weight, reference.conv3d(*widened(x, weight), groups=groups)


@pytest.mark.parametrize("kernel", [(31,), (257,), (21, 31), (1, 41), (9, 11, 7), (13, 1, 9)])
@pytest.mark.parametrize("kind", hostile.KINDS)
def test_large_kernels_are_as_exact_as_sums_in_order(rng, kernel, kind):
    size = [k + n for k, n in zip(kernel, (7, 4, 2))]
    x = hostile.KINDS[kind](rng, (1, 3, *size)).astype("float32")
    weight = hostile.normal(rng, (5, 3, *kernel), "float32")
    got = CONV[len(kernel)](x, weight, padding=2, algorithm="fft")
    want = reference.conv3d(*widened(x, weight), padding=2)
    plain = accuracy.summed_in_order(x, weight, 2).reshape(want.shape)
    error = np.abs(got - want).max()
    assert error <= 1e-6 * np.abs(want).max()
    assert error <= 3 * np.abs(plain - want).max()


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_memory_splits_blocks_and_channels(rng, step_bytes, groups, dtype):
    x, weight, want = volume_case(rng, dtype, groups)
    for step in (1, 2**16, 2**18):
        step_bytes(step)
        got = voxkern.conv3d(x, weight, groups=groups, algorithm="fft")
        assert_close(got, want, length=210, scale=8)


@pytest.mark.parametrize("channels", [(1, 2), (4, 8), (20, 20)])
def test_memory_is_bounded(rng, step_bytes, channels):
    step_bytes(2**22)
    x = hostile.normal(rng, (1, channels[0], 64, 60, 50), "float32")
    weight = hostile.normal(rng, (channels[1], channels[0], 7, 7, 7), "float32")
    out = np.empty((1, channels[1], 58, 54, 44), "float32")
    voxkern.conv3d(x[..., :7, :7, :7], weight, algorithm="fft")  # imports take memory too
    tracemalloc.start()
    voxkern.conv3d(x, weight, algorithm="fft", out=out)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < conv_fft.scratch(out.shape, weight.shape, 1, 4) + 2**16
    assert peak < (1.5 if importlib.util.find_spec("scipy") else 3) * 2**22


@pytest.mark.parametrize("groups", [1, 2])
def test_transformed_weights_serve_many_calls(rng, groups):
    x, weight, want = volume_case(rng, "float64", groups)
    block = conv_fft.choose_block(want.shape, weight.shape, groups, 8, transformed=True)
    spectra = conv_fft.transform_weights(weight, block, groups)
    for start in (0, 4):  # another size of input, the same blocks
        out = np.empty_like(want[:, :, start:])
        conv_fft.conv_fft(
            *(x[:, :, start:], weight, None, UNPADDED, groups),
            slope=None,
            out=out,
            transformed=spectra,
        )
        assert_close(out, want[:, :, start:], length=210, scale=8)


def test_a_slope_rectifies(rng):
    x, weight, want = volume_case(rng)
    for slope in (0.0, 0.25):
        out = np.empty(want.shape, "float32")
        conv_fft.conv_fft(x, weight, None, UNPADDED, 1, slope=slope, out=out)
        assert_close(out, np.where(want < 0, slope * want, want), length=210, scale=8)


def test_numpy_transforms_where_scipy_is_missing(rng, monkeypatch):
    monkeypatch.setattr(conv_fft, "_library", lambda: (np.fft, dict))
    x, weight, want = volume_case(rng)
    got = voxkern.conv3d(x, weight, algorithm="fft")
    assert got.dtype == "float32"
    assert_close(got, want, length=210, scale=8)


def test_a_loud_sample_does_not_drown_a_faint_one(rng):
    x, weight, want = volume_case(rng)
    x[0] *= np.float32(1e30)
    x[1] *= np.float32(1e-36)
    got = voxkern.conv3d(x, weight, algorithm="fft").astype("float64")
    got[0] /= 1e30
    got[1] /= 1e-36
    np.testing.assert_allclose(got, want, rtol=0, atol=4e-6 * np.abs(want).max())


def test_a_unit_kernel_needs_no_transform(rng):
    x = hostile.normal(rng, (2, 5, 11, 7, 3))
    weight = np.eye(5).reshape(5, 5, 1, 1, 1)
    assert_exact(voxkern.conv3d(x, weight, algorithm="fft"), x)


def test_block_sizes_have_small_factors():
    assert [conv_fft._fast_length(n) for n in (1, 7, 11, 59, 1025)] == [2, 8, 12, 60, 1050]


def test_it_pays_for_large_kernels_alone(monkeypatch):
    monkeypatch.setattr(conv_fft, "_has_scipy", lambda: True)
    volume, plane = (1, 16, 48, 48, 48), (1, 64, 1, 256, 256)
    assert conv_fft.pays(volume, (16, 16, 9, 9, 9), 1)
    assert conv_fft.pays(plane, (64, 64, 1, 15, 15), 1)
    assert not conv_fft.pays(volume, (16, 16, 3, 3, 3), 1)
    assert not conv_fft.pays((1, 4, 1, 64, 64), (4, 4, 1, 7, 7), 1)
    assert not conv_fft.pays((1, 4, 1, 1, 30_000), (4, 4, 1, 1, 31), 1)
    monkeypatch.setattr(conv_fft, "_has_scipy", lambda: False)
    assert not conv_fft.pays(volume, (16, 16, 9, 9, 9), 1)
