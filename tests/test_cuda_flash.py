"""The flash table of frames on a device, or from the host in chunks: the rows of the host."""

import numpy as np
import pytest

pytest.importorskip("numba")
from numba import cuda

import voxkern
from voxkern import reference
from voxkern.kernels.cuda import _cuda
from voxkern.kernels.cuda import flash as kernels

from accuracy import assert_exact

# No whole tile, several, and one pixel; words of several elements and pixels that fill none.
SHAPES = [(3, 4, 11, 3), (3, 4, 11), (2, 1, 67), (3, 3, 43, 3), (4, 1, 1, 3), (36, 1, 3)]


def noise(rng, shape, dtype):
    return (rng.random(shape) * (65536 if dtype == "uint16" else 256)).astype(dtype)


def on_device(frames, k=5, curve="exam"):
    frames = cuda.to_device(np.ascontiguousarray(frames))
    return voxkern.flash_table(frames, k, curve).copy_to_host()


def pushed(table, parts, to_device=np.asarray):
    rows = [table.push(to_device(part)) for part in parts]
    return np.concatenate([r if isinstance(r, np.ndarray) else r.copy_to_host() for r in rows])


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_rows_are_the_oracles(rng, shape, dtype):
    frames = noise(rng, shape, dtype)
    k = min(3, shape[1] * shape[2])
    want = reference.flash_table(frames, k)
    np.testing.assert_allclose(on_device(frames, k), want, rtol=1e-12, strict=True)


@pytest.mark.parametrize("k", [1, 2, 4, 5, 100, 301])
def test_ties_and_every_k(rng, k):
    """Below, at and above the number of threads; all pixels of a cell and of several cells tie."""
    frames = rng.integers(0, 3, (3, 7, 43), "uint8")
    frames[2] = 200
    frames[2, 0, :9] = 201
    np.testing.assert_allclose(on_device(frames, k), reference.flash_table(frames, k), rtol=1e-12)


@pytest.mark.parametrize("curve", ["linear", "ofcom", "srgb", np.sin, np.log])
def test_curves(rng, curve):
    frames = rng.integers(0, 9, (3, 3, 5, 3), "uint8")
    with np.errstate(divide="ignore", invalid="ignore"):
        want = reference.flash_table(frames, 3, curve)
    np.testing.assert_allclose(on_device(frames, 3, curve), want, rtol=1e-12)
    if isinstance(curve, str):
        want = reference.flash_table(frames / 3, 3, curve)
        np.testing.assert_allclose(on_device(frames / 3, 3, curve), want, rtol=1e-12)


def test_a_static_pair_is_negative_zero_and_equal_changes_are_a_fall():
    swap = np.array([[[0, 50]], [[50, 0]], [[50, 0]]], "uint8")
    rows = on_device(swap, 1, "linear")
    assert_exact(rows, np.array([[-50.0], [0.0]]))
    assert np.signbit(rows[1])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("k", [1, 6])
def test_nan_and_inf_follow_the_arithmetic(rng, dtype, k):
    frames = noise(rng, (6, 5, 7), dtype)
    frames[2, 3, 4] = np.nan
    frames[5, 0, 0] = np.inf
    rows = on_device(frames, k).ravel()
    assert_exact(np.isnan(rows), np.array([False, True, True, False, False]))
    assert rows[4] == np.inf
    frames[:] = -1e9  # below the domain of the curve
    assert np.isnan(on_device(frames[:2], k)).all()


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("device", [False, True], ids=["pushed from the device", "from the host"])
def test_streams_have_the_bits_of_the_batch(rng, monkeypatch, dtype, device):
    frames = noise(rng, (7, 4, 11, 3), dtype)
    want = on_device(frames, 3)
    monkeypatch.setattr(kernels, "CHUNK", 2 * frames[0].nbytes)
    table = voxkern.FlashTable(3, device=device)
    to_device = np.asarray if device else cuda.to_device
    rows = pushed(table, np.split(frames, [0, 1, 6]), to_device)
    assert_exact(rows, want)
    assert_exact(pushed(table, [frames[0]], to_device), on_device(frames[[6, 0]], 3))


def test_groups_of_pairs_have_the_bits_of_all(rng, monkeypatch):
    frames = noise(rng, (7, 4, 11, 3), "uint8")
    want = on_device(frames, 3)
    monkeypatch.setattr(kernels, "BYTES", 1)
    assert_exact(on_device(frames, 3), want)


def test_frames_at_an_odd_address(rng):
    frames = noise(rng, (4, 2, 6), "uint8")
    shifted = cuda.to_device(np.append(np.zeros(1, "uint8"), frames))[1:].reshape(frames.shape)
    assert _cuda.span(shifted)[0] % 4
    assert_exact(voxkern.flash_table(shifted, 3).copy_to_host(), on_device(frames, 3))


def test_few_frames_have_no_rows():
    for count in (0, 1):
        assert on_device(np.ones((count, 3, 5), "uint8")).shape == (0, 1)
        assert voxkern.FlashTable(device=True).push(np.ones((count, 3, 5))).shape == (0, 1)


def test_host_frames_of_any_layout_are_sent(rng):
    frames = noise(rng, (4, 6, 10), "uint16")
    want = on_device(frames[:, ::2, ::-1], 3)
    assert_exact(voxkern.FlashTable(3, device=True).push(frames[:, ::2, ::-1]), want)


def test_bad_input_is_named():
    host = np.ones((2, 3, 5))
    frames = cuda.to_device(host)
    table = voxkern.FlashTable()
    table.push(frames)
    with pytest.raises(ValueError, match="frames lies on the host"):
        table.push(host)
    with pytest.raises(TypeError, match="frames lies on a CUDA device; this function takes host"):
        voxkern.FlashTable(device=True).push(frames)
    with pytest.raises(TypeError, match="device is 1"):
        voxkern.FlashTable(device=1)
    with pytest.raises(ValueError, match="for floats on a CUDA device it may be exam"):
        voxkern.flash_table(frames, curve=np.sin)
    with pytest.raises(TypeError, match="frames has dtype int64"):
        voxkern.flash_table(cuda.to_device(np.ones((2, 3, 5), int)))
    with pytest.raises(ValueError, match="frames have size"):
        table.push(cuda.to_device(np.ones((2, 3, 7))))
    assert_exact(table.push(frames).copy_to_host(), np.zeros((2, 1)))
