"""The kernels from C: the header, the capsule, callbacks for SciPy, the example project."""

import ctypes
import importlib.util
import os
import pathlib
import shutil
import subprocess
import sys
import sysconfig

import numpy as np
import pytest

import voxkern
from voxkern import capi
from voxkern.kernels.native import capi as native

EXAMPLE = pathlib.Path(__file__).parents[1] / "examples/c_extension"
COMPILER = (sysconfig.get_config_var("CC") or "cl").split()[0]
needs_compiler = pytest.mark.skipif(not shutil.which(COMPILER), reason="no C compiler")


def c(values):
    return np.ascontiguousarray(values, np.intp)


def call(name, *arguments):
    """The error that a function of the table returns; arrays become pointers."""
    function = ctypes.CFUNCTYPE(ctypes.c_int)(capi.addresses()[name])
    given = [
        a.ctypes.data_as(ctypes.c_void_p) if isinstance(a, np.ndarray) else a for a in arguments
    ]
    wide = [ctypes.c_ssize_t(a) if isinstance(a, int) else a for a in given]
    return function(*wide)


def window(kernel=(1, 1, 1), stride=(1, 1, 1), before=(0, 0, 0), after=None, dilation=(1, 1, 1)):
    return c([kernel, stride, before, before if after is None else after, dilation])


def test_the_header_is_where_get_include_says():
    assert (pathlib.Path(voxkern.get_include()) / "voxkern.h").is_file()


def test_threads_are_those_of_the_library():
    assert call("num_threads") == voxkern.get_num_threads()


@pytest.mark.parametrize(
    ("error", "changed"),
    [
        (2, {"size": (0, 5, 5)}),
        (2, {"size": (5, -1, 5)}),
        (3, {"kernel": (2, 0, 2)}),
        (3, {"kernel": (2, 2, 6)}),
        (3, {"kernel": (2, 2, 2**31)}),
        (4, {"stride": (1, 0, 1)}),
        (5, {"before": (0, 0, -1)}),
        (5, {"after": (0, -7, 0)}),
        (6, {"dilation": (0, 1, 1)}),
    ],
)
def test_wrong_windows_are_told_by_argument(error, changed):
    arguments = {"kernel": (2, 2, 2), **changed}
    size, count = c(arguments.pop("size", (5, 5, 5))), np.zeros(3, np.intp)
    assert call("output_size", size, window(**arguments), 0, count) == error


@pytest.mark.parametrize(
    ("error", "itemsize", "x_shape", "outputs", "groups"),
    [
        (7, 8, (1, 6, 5, 5, 5), 4, 4),
        (7, 8, (1, 6, 5, 5, 5), 4, 3),
        (7, 8, (1, 6, 5, 5, 5), 4, 0),
        (7, 8, (1, 6, 5, 5, 5), 0, 1),
        (8, 2, (1, 6, 5, 5, 5), 4, 1),
        (2, 8, (1, 0, 5, 5, 5), 4, 1),
        (2, 8, (-1, 6, 5, 5, 5), 4, 1),
    ],
)
def test_wrong_convolutions_write_nothing(error, itemsize, x_shape, outputs, groups):
    x, out = np.ones(1000), np.full(1000, 7.0)
    given = x, outputs, np.ones(1000), None, window((2, 2, 2)), groups, 1, out
    assert call("conv", itemsize, c(x_shape), *given) == error
    assert (out == 7).all()


def test_pools_refuse_what_they_do_not_serve():
    x, out, shape = np.ones((1, 1, 5, 5, 5)), np.full(1000, 7.0), c((1, 1, 5, 5, 5))
    padded = window((2, 2, 2), before=(0, 0, 2))
    uneven = window((4, 4, 4), before=(0, 0, 1), after=(0, 0, 2))
    assert call("max_pool", 8, shape, x, padded, 0, 1, out, None) == 5
    assert call("max_pool", 8, shape, x, uneven, 0, 1, out, None) == 5
    assert call("max_pool", 2, shape, x, window((2, 2, 2)), 0, 1, out, None) == 8
    assert call("im2col", 3, shape, x, window((2, 2, 2)), 1, out) == 8
    assert (out == 7).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("channels", [(2, 3), (32, 32)])  # direct sums and Winograd's tiles
def test_conv_is_that_of_python(rng, dtype, channels):
    x = rng.standard_normal((2, channels[0], 5, 11, 13)).astype(dtype)
    weight = rng.standard_normal((channels[1], channels[0], 3, 3, 3)).astype(dtype)
    out = np.full((2, channels[1], 5, 11, 13), np.nan, dtype)
    at = window((3, 3, 3), before=(1, 1, 1))
    assert call("conv", x.itemsize, c(x.shape), x, channels[1], weight, None, at, 1, 1, out) == 0
    np.testing.assert_array_equal(out, voxkern.conv3d(x, weight, padding=1))


@pytest.mark.parametrize("threads", [-3, 0, 1, 3])
def test_any_number_of_threads_gives_the_same(rng, threads):
    x, shape = rng.standard_normal((2, 3, 33, 40, 40)), c((2, 3, 33, 40, 40))
    out, at = np.zeros((2, 3, 32, 39, 39)), window((2, 2, 2))
    assert call("max_pool", 8, shape, x, at, 0, threads, out, None) == 0
    np.testing.assert_array_equal(out, voxkern.max_pool3d(x, 2, 1))
    weight, out = rng.standard_normal((2, 3, 2, 2, 2)), np.zeros((2, 2, 32, 39, 39))
    assert call("conv", 8, shape, x, 2, weight, None, at, 1, threads, out) == 0
    np.testing.assert_array_equal(out, voxkern.conv3d(x, weight))


def test_conv_keeps_nan_in_its_windows(rng):
    x = rng.standard_normal((1, 32, 5, 11, 13))
    x[0, 3, 2, 5, 6] = np.nan
    weight, out = rng.standard_normal((32, 32, 3, 3, 3)), np.zeros((1, 32, 3, 9, 11))
    assert call("conv", 8, c(x.shape), x, 32, weight, None, window((3, 3, 3)), 1, 1, out) == 0
    np.testing.assert_array_equal(out, voxkern.conv3d(x, weight))
    assert 0 < np.isnan(out).sum() < out.size


@pytest.mark.parametrize("name", ["max", "mean", "median"])
@pytest.mark.parametrize("size", [1, 2, 3, (2, 5), (4, 3)])
def test_filters_of_scipy(rng, name, size):
    ndimage = pytest.importorskip("scipy.ndimage")
    x = rng.integers(0, 7, (11, 13)).astype(float)
    found = ndimage.generic_filter(x, capi.window_filter(name), size=size)
    expected = ndimage.generic_filter(x, getattr(np, name), size=size)
    np.testing.assert_allclose(found, expected, rtol=1e-14)


@pytest.mark.parametrize("name", ["max", "mean", "median"])
@pytest.mark.parametrize("mode", ["constant", "wrap", "nearest"])
def test_filters_take_footprints_and_modes(rng, name, mode):
    ndimage = pytest.importorskip("scipy.ndimage")
    x = rng.standard_normal((5, 7, 11)).astype(np.float32)[:, ::-1]
    given = {
        "footprint": rng.random((3, 2, 5)) < 0.6,
        "mode": mode,
        "cval": -3,
        "origin": (0, 0, 1),
    }
    found = ndimage.generic_filter(x, capi.window_filter(name), **given)
    expected = ndimage.generic_filter(x, getattr(np, name), **given)
    np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.parametrize("name", ["max", "mean", "median"])
def test_filters_keep_nan(rng, name):
    ndimage = pytest.importorskip("scipy.ndimage")
    x = rng.standard_normal((11, 13))
    x[4, 5] = np.nan
    found = ndimage.generic_filter(x, capi.window_filter(name), size=3)
    expected = ndimage.generic_filter(x, getattr(np, name), size=3)
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    assert np.isnan(found).sum() == 9


def test_unknown_filters_are_refused():
    with pytest.raises(ValueError, match="name is 'mode'"):
        capi.window_filter("mode")


@pytest.fixture(scope="module")
def blur(tmp_path_factory):
    """The example project, built in a folder of its own against the package that is imported."""
    pytest.importorskip("setuptools")
    folder = tmp_path_factory.mktemp("c_extension")
    shutil.copytree(EXAMPLE, folder, dirs_exist_ok=True)
    packages = str(pathlib.Path(voxkern.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "setup.py", "-q", "build_ext", "--inplace"],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": packages + os.pathsep + os.environ.get("PYTHONPATH", "")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    (built,) = [p for p in folder.glob("blur.*") if p.suffix in (".so", ".pyd")]
    spec = importlib.util.spec_from_file_location("blur", built)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@needs_compiler
def test_the_example_builds_and_computes(blur, rng):
    volume = rng.standard_normal((7, 11, 13))
    out = np.full(volume.shape, np.nan)
    blur.mean(volume, out, 3)
    expected = voxkern.avg_pool3d(volume[None], 3, 1, 1, count_include_pad=False)[0]
    np.testing.assert_array_equal(out, expected)


@needs_compiler
def test_the_example_tells_what_is_wrong(blur):
    out = np.zeros((3, 4, 5))
    for volume, size in ((np.zeros((3, 4)), 3), (np.zeros((3, 4, 5), np.float32), 3), (out, 2)):
        with pytest.raises(ValueError, match="two float64 volumes"):
            blur.mean(volume, out, size)
    with pytest.raises(ValueError, match="kernel_size"):
        blur.mean(np.zeros((3, 4, 5)), out, -1)


def test_the_api_is_a_capsule():
    assert type(native.api).__name__ == "PyCapsule"


def test_moments_and_batch_norm(rng):
    x = rng.standard_normal((4, 3, 100)).astype(np.float32)
    mean, var, out = np.zeros(3), np.zeros(3), np.full_like(x, np.nan)
    assert call("moments", 4, *x.shape, x, 1, mean, var) == 0
    np.testing.assert_allclose(mean, x.mean((0, 2), np.float64), atol=1e-6)
    np.testing.assert_allclose(var, x.var((0, 2), np.float64), rtol=1e-6)
    eps = ctypes.c_double(1e-5)
    assert call("batch_norm", 4, *x.shape, x, mean, var, None, None, eps, 1, out) == 0
    np.testing.assert_allclose(out, voxkern.batch_norm(x, None, None, training=True), atol=2e-6)
    assert call("moments", 4, 0, 3, 100, x, 1, mean, var) == 2
    assert call("batch_norm", 2, *x.shape, x, mean, var, None, None, eps, 1, out) == 8
