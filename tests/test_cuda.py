"""Arrays on a GPU, which without one is Numba's simulator: kinds, sides, streams, errors."""

import os
import subprocess
import sys
import types

import numpy as np
import pytest

pytest.importorskip("numba")
from numba import cuda

import voxkern
from voxkern import _dispatch
from voxkern.kernels.cuda import _cuda

from accuracy import assert_close

IMAGE = np.random.default_rng(3).standard_normal((2, 3, 5, 7)).astype("f4")
VOLUME = np.random.default_rng(5).standard_normal((2, 2, 13, 11, 17)).astype("f4")
MOVING = [np.float32([1, 2, 3]) / n for n in (1, 2, 3, 4)]
LINES = np.random.default_rng(7).standard_normal((3, 2, 6)).astype("f4")
MAXIMA, PLACES = voxkern.max_pool2d(IMAGE, 2, return_indices=True)
COLUMNS = voxkern.im2col(IMAGE, (3, 2))
FRAMES = 60 * abs(IMAGE[..., :3])
# Channels enough to be computed by tiles.
DEEP, WIDE = (
    np.random.default_rng(9).standard_normal(s).astype("f4") for s in [(22, 3), (16, 22, 3)]
)
# Calls of every function with a CUDA twin: arrays by position, the rest by name.
CALLS = {
    "flash_table": ((FRAMES,), dict(k=2)),
    "luminance": ((FRAMES,), {}),
    "im2col": ((IMAGE,), dict(kernel_size=(3, 2), stride=2, padding=1)),
    "col2im": ((COLUMNS,), dict(output_size=(5, 7), kernel_size=(3, 2))),
    "conv1d": ((DEEP, WIDE, WIDE[:, 0, 0]), dict(padding=1, activation=("leaky_relu", 0.1))),
    "conv1d_backward": ((voxkern.conv1d(DEEP, WIDE), DEEP, WIDE), {}),
    "conv2d": ((IMAGE, IMAGE[:1, :, :3, :2]), {}),
    "conv2d_backward": ((IMAGE[:, :1], IMAGE[:, :1], IMAGE[:1, :1, :1, :1]), {}),
    "conv_transpose2d": ((IMAGE, IMAGE[0, :, None, :2, :3]), dict(stride=2)),
    "max_pool2d": ((IMAGE,), dict(kernel_size=2, return_indices=True)),
    "max_pool2d_backward": ((MAXIMA, PLACES), dict(input_size=(5, 7))),
    "max_unpool2d": ((MAXIMA, PLACES), dict(kernel_size=2, output_size=(5, 7))),
    "max_unpool2d_backward": ((IMAGE, PLACES), {}),
    "adaptive_max_pool2d": ((IMAGE,), dict(output_size=(2, 3))),
    "adaptive_max_pool2d_backward": ((MAXIMA, PLACES), dict(input_size=(5, 7))),
    "avg_pool2d": ((IMAGE,), dict(kernel_size=3, stride=2, padding=1)),
    "avg_pool2d_backward": ((MAXIMA,), dict(input_size=(5, 7), kernel_size=2)),
    "adaptive_avg_pool2d": ((IMAGE,), dict(output_size=(2, 3))),
    "adaptive_avg_pool2d_backward": ((MAXIMA,), dict(input_size=(5, 7))),
    "lp_pool2d": ((abs(IMAGE),), dict(norm_type=2.5, kernel_size=2)),
    "lp_pool2d_backward": ((MAXIMA, abs(IMAGE)), dict(norm_type=3, kernel_size=2)),
    "lp_pool1d": ((IMAGE[0],), dict(norm_type=-np.inf, kernel_size=2)),
    "lp_pool1d_backward": ((MAXIMA[0], LINES), dict(norm_type=np.inf, kernel_size=2)),
    "batch_norm": ((IMAGE, *MOVING), dict(training=True)),
    "batch_norm_stats": ((IMAGE,), {}),
    "batch_norm_backward": ((2 * IMAGE[::-1], IMAGE, *MOVING[:1], *MOVING[:2]), {}),
    "global_avg_pool": ((VOLUME,), {}),
    "global_avg_pool_backward": ((VOLUME[..., :1, :1, :1],), dict(input_size=(13, 11, 17))),
    "global_max_pool": ((VOLUME,), {}),
    "global_max_pool_backward": ((VOLUME[..., :1, :1, :1], VOLUME), {}),
}


def of_dtype(args, dtype):
    """Arguments whose floating-point arrays have `dtype`."""
    return [a.astype(dtype) if getattr(a, "dtype", np.dtype(int)).kind == "f" else a for a in args]


def on_host(result):
    """A result with its device arrays copied to the host."""
    if isinstance(result, tuple):
        return tuple(on_host(r) for r in result)
    assert type(result).__module__.startswith("numba."), type(result)
    return result.copy_to_host()


def several(result):
    return result if isinstance(result, tuple) else (result,)


def to_device(value):
    return cuda.to_device(np.ascontiguousarray(value)) if isinstance(value, np.ndarray) else value


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_device_arrays_give_device_arrays(name, dtype):
    args, kwargs = CALLS[name]
    args = of_dtype(args, dtype)
    want = getattr(voxkern, name)(*args, **kwargs)
    got = on_host(getattr(voxkern, name)(*map(to_device, args), **kwargs))
    for g, w in zip(several(got), several(want), strict=True):
        assert g.dtype == w.dtype
        if w.dtype.kind == "f":
            assert_close(g, w.astype("f8"), length=64, scale=16)
        else:
            np.testing.assert_array_equal(g, w)


def test_running_statistics_move_on_the_device():
    moved = [a.copy() for a in MOVING]
    voxkern.batch_norm(IMAGE, *moved, training=True)
    running = [cuda.to_device(a) for a in MOVING]
    voxkern.batch_norm(cuda.to_device(IMAGE), *running, training=True)
    for got, want in zip(running, moved):
        np.testing.assert_allclose(got.copy_to_host(), want, rtol=1e-6)
    wide = cuda.to_device(np.repeat(MOVING[0], 2))
    voxkern.batch_norm(cuda.to_device(IMAGE), wide[::2], running[1], training=True)
    np.testing.assert_allclose(wide.copy_to_host()[::2], moved[0], rtol=1e-6)
    np.testing.assert_array_equal(wide.copy_to_host()[1::2], MOVING[0])
    with pytest.raises(ValueError, match="running_mean overlaps an input"):
        voxkern.batch_norm(cuda.to_device(IMAGE), running[0], running[0][:], training=True)
    with pytest.raises(ValueError, match="running_mean lies on the host"):
        voxkern.batch_norm(cuda.to_device(IMAGE), *moved[:2], training=True)


@pytest.mark.parametrize("name", CALLS)
def test_nothing_is_copied_to_the_host(name, monkeypatch):
    args, kwargs = CALLS[name]
    args = [to_device(a) for a in args]

    def refuse(array, *args, **kwargs):
        assert array.size == 2, "copied behind the caller's back"  # whether an index is outside
        return copy(array)

    copy = type(args[0]).copy_to_host
    monkeypatch.setattr(_cuda.cuda, "to_device", refuse)
    monkeypatch.setattr(type(args[0]), "copy_to_host", refuse)
    getattr(voxkern, name)(*args, **kwargs)


@pytest.mark.parametrize("name", CALLS)
def test_arrays_of_both_sides_are_named(name):
    args, kwargs = CALLS[name]
    for i in range(1, len(args)):
        if args[i] is None:
            continue
        mixed = [to_device(a) if i == j else a for j, a in enumerate(args)]
        with pytest.raises(ValueError, match=r"^\w+ lies on .* another argument on"):
            getattr(voxkern, name)(*mixed, **kwargs)
        mixed = [a if i == j else to_device(a) for j, a in enumerate(args)]
        with pytest.raises(ValueError, match=r"^\w+ lies on .* another argument on"):
            getattr(voxkern, name)(*mixed, **kwargs)


def test_out_on_the_device_is_filled_and_returned():
    want = voxkern.im2col(IMAGE, 2)
    out = cuda.device_array(want.shape, "f4")
    assert voxkern.im2col(cuda.to_device(IMAGE), 2, out=out) is out
    np.testing.assert_array_equal(out.copy_to_host(), want)


def test_layout_does_not_matter():
    wide = cuda.to_device(np.repeat(IMAGE, 2, axis=-1))
    want = voxkern.im2col(IMAGE, 2)
    np.testing.assert_array_equal(voxkern.im2col(wide[..., ::2], 2).copy_to_host(), want)
    wide = cuda.to_device(np.zeros((*want.shape[:-1], 2 * want.shape[-1]), "f4"))
    voxkern.im2col(cuda.to_device(IMAGE), 2, out=wide[..., 1::2])
    np.testing.assert_array_equal(wide.copy_to_host()[..., 1::2], want)
    assert not wide.copy_to_host()[..., ::2].any()


@pytest.mark.parametrize(
    ("call", "error", "names"),
    [
        (lambda x, out: voxkern.im2col(x, 2, out=IMAGE), ValueError, "out lies on the host"),
        (lambda x, out: voxkern.im2col(IMAGE, 2, out=out), ValueError, "out lies on a CUDA device"),
        (lambda x, out: voxkern.im2col(x, 2, out=x), ValueError, "out has shape"),
        (lambda x, out: voxkern.im2col(x, 1, out=x.reshape(2, 3, 35)), ValueError, "out overlaps"),
        (lambda x, out: voxkern.im2col(x.view("c8"), 2), TypeError, "x has dtype complex64"),
        (lambda x, out: voxkern.col2im(x.view("i4"), 2, 2), TypeError, "cols has dtype int32"),
        (lambda x, out: voxkern.conv2d(x, x, algorithm="fft"), ValueError, "algorithm is 'fft'"),
        (lambda x, out: voxkern.ConvPlan(x), TypeError, "weight lies on a CUDA device"),
        (lambda x, out: voxkern.ConvPlan(IMAGE)(x), TypeError, "x lies on a CUDA device"),
        (lambda x, out: voxkern.linear(x, x), TypeError, "x lies on a CUDA device"),
    ],
)
def test_bad_input_is_named(call, error, names):
    x = np.concatenate([IMAGE, IMAGE[..., :1]], -1)
    with pytest.raises(error, match=names):
        call(cuda.to_device(x if "complex" in names else IMAGE), cuda.device_array((2, 12, 24)))


class Foreign:
    """An array of another library's, in its `device` memory, which here is the host's."""

    device = types.SimpleNamespace(id=0)

    def __init__(self, array, stream=None):
        self.array = array
        self.__cuda_array_interface__ = {**array.__array_interface__, "stream": stream}


@pytest.fixture
def library(monkeypatch):
    """CuPy as far as the dispatcher sees of it, and the streams of all launches."""
    if not _cuda.SIMULATED:
        pytest.skip("a stand-in for libraries that a machine with a GPU may have")
    _dispatch.cuda()  # looks for a GPU once
    streams = []
    monkeypatch.setattr(_cuda, "SIMULATED", False)
    monkeypatch.setattr(
        cuda, "as_cuda_array", lambda owner, sync: shared(owner.array), raising=False
    )
    monkeypatch.setattr(cuda, "external_stream", streams.append, raising=False)
    monkeypatch.setattr(
        cuda, "get_current_device", lambda: types.SimpleNamespace(id=0), raising=False
    )
    made = types.SimpleNamespace(
        ndarray=Foreign, empty=lambda shape, dtype: Foreign(np.zeros(shape, dtype), stream=7)
    )
    monkeypatch.setitem(sys.modules, "cupy", made)
    return streams


def shared(array):
    found = cuda.device_array(array.shape, array.dtype)
    found._ary = array
    return found


def test_another_library_gets_its_own_arrays_on_its_own_stream(library):
    x = Foreign(IMAGE, stream=7)
    got = voxkern.im2col(x, 2)
    assert type(got) is Foreign
    np.testing.assert_array_equal(got.array, voxkern.im2col(IMAGE, 2))
    assert set(library) == {7}
    out = Foreign(np.zeros_like(got.array), stream=7)
    assert voxkern.im2col(x, 2, out=out) is out
    np.testing.assert_array_equal(out.array, got.array)


def test_an_array_of_another_gpu_is_named(library):
    x = Foreign(IMAGE)
    x.device = types.SimpleNamespace(id=1)
    with pytest.raises(ValueError, match=r"x cannot be used: .* GPU 1"):
        voxkern.im2col(x, 2)


def test_no_room_on_the_device(monkeypatch):
    def full(*args, **kwargs):
        error = RuntimeError("[2] Call to cuMemAlloc results in CUDA_ERROR_OUT_OF_MEMORY")
        error.code = 2
        raise error

    x = cuda.to_device(IMAGE)
    monkeypatch.setattr(_cuda.cuda, "device_array", full)
    with pytest.raises(MemoryError, match="no room for 2304 bytes"):
        voxkern.im2col(x, 2)


ON_A_GPU = "import voxkern\nvoxkern.im2col(type('A', (), {'__cuda_array_interface__': {}})(), 2)"


def failure(code):
    """The last line that a program of its own says before it fails."""
    environment = {**os.environ, "NUMBA_ENABLE_CUDASIM": "0", "CUDA_VISIBLE_DEVICES": "-1"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode
    return done.stderr.splitlines()[-1]


def test_no_gpu_says_so():
    assert "RuntimeError: CUDA arrays cannot be computed here: " in failure(ON_A_GPU)


def test_no_numba_says_what_to_install():
    hidden = "import sys; sys.modules['numba'] = None\n"
    assert 'pip install "voxkern[cuda]"' in failure(hidden + ON_A_GPU)


def test_import_and_host_arrays_do_not_touch_cuda():
    code = (
        "import sys, numpy, voxkern\n"
        "voxkern.im2col(numpy.zeros((1, 1, 5)), 2)\n"
        "assert 'numba' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
