"""Keras' NumPy backend on our kernels: its own tests, with JAX out of reach, and what they lack."""

import collections
import importlib.util
import os
import pathlib
import subprocess
import sys
import textwrap
from xml.etree import ElementTree

import pytest

pytestmark = pytest.mark.skipif(not importlib.util.find_spec("keras"), reason="Keras is missing")

# Keras' tests of what is supplied. `fit` needs a backend with gradients.
FILES = ("ops/nn_test.py", "layers/convolutional", "layers/pooling")
FILES += ("layers/normalization/batch_normalization_test.py",)
CHOSEN = "conv or pool or batch or moments"
WITHOUT_JAX = """
    import sys
    import voxkern.keras
    sys.modules["jax"] = None  # an import of it raises
    voxkern.keras.patch()
    sys.modules["jax"] = None
"""


def run(arguments, folder):
    kept = {k: v for k, v in os.environ.items() if not k.startswith("KERAS_")}
    kept |= {"KERAS_HOME": str(folder), "PYTHONPATH": os.pathsep.join([str(folder), *sys.path])}
    command = [sys.executable, *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=kept, cwd=folder)


def printed(code, folder, before=WITHOUT_JAX):
    done = run(["-c", textwrap.dedent(before) + textwrap.dedent(code)], folder)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@pytest.fixture(scope="module")
def counted(tmp_path_factory):
    """How many of Keras' own tests passed, were skipped and failed, by class."""
    folder = tmp_path_factory.mktemp("keras")
    (folder / "without_jax.py").write_text(textwrap.dedent(WITHOUT_JAX))
    package = importlib.util.find_spec("keras").submodule_search_locations[0]
    done = run(
        [
            *("-m", "pytest", "-q", "-p", "without_jax", "-p", "no:cacheprovider", "--rootdir=."),
            *("-m", "not requires_trainable_backend", "-k", CHOSEN, "--junitxml=results.xml"),
            *(os.path.join(package, "src", *file.split("/")) for file in FILES),
        ],
        folder,
    )
    assert (folder / "results.xml").exists(), done.stdout + done.stderr
    count = collections.defaultdict(collections.Counter)
    for case in ElementTree.parse(folder / "results.xml").iter("testcase"):
        outcome = {child.tag for child in case} & {"failure", "error", "skipped"}
        name = case.get("classname").rpartition(".")[2]
        count[name][outcome.pop() if outcome else "passed"] += 1
    return count


# Keras 3.15.1: 544 pass and 167 are skipped, all but seven of these for output paddings that layers
# refuse.
@pytest.mark.parametrize(
    ("names", "floor"),
    [
        (["NNOpsDynamicShapeTest", "NNOpsStaticShapeTest", "NNOpsBehaviorTest"], 20),
        (["NNOpsCorrectnessTest"], 113),
        (["ConvBasicTest", "ConvCorrectnessTest"], 35),
        (["ConvTransposeBasicTest", "ConvTransposeCorrectnessTest"], 184),
        (["DepthwiseConvBasicTest", "DepthwiseConvCorrectnessTest"], 16),
        (["SeparableConvBasicTest", "SeparableConvCorrectnessTest"], 14),
        ([f"AdaptivePooling{axes}DLayerTest" for axes in (1, 2, 3)], 34),
        (["AveragePoolingBasicTest", "AveragePoolingCorrectnessTest"], 35),
        (["MaxPoolingBasicTest", "MaxPoolingCorrectnessTest"], 24),
        (["GlobalAveragePoolingBasicTest", "GlobalAveragePoolingCorrectnessTest"], 21),
        (["GlobalMaxPoolingBasicTest", "GlobalMaxPoolingCorrectnessTest"], 21),
        (["BatchNormalizationTest"], 27),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else str(value),
)
def test_keras_own_tests_pass(counted, names, floor):
    total = sum((counted[name] for name in names), collections.Counter())
    assert total["failure"] + total["error"] == 0
    assert total["passed"] >= floor


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_every_window_is_where_keras_says(tmp_path, data_format):
    # Loops over windows that are written out, for all small sizes, kernels, strides, dilations.
    code = f"""
        import itertools
        import keras
        import numpy as np
        rng, data_format = np.random.default_rng(0), {data_format!r}
        def call(operation, x, *args, **kwargs):
            x = x[:, None] if data_format == "channels_first" else x[..., None]
            return np.ravel(operation(x, *args, data_format=data_format, **kwargs))
        for n, k, s, d in itertools.product(range(1, 10), range(1, 5), (1, 2, 3), (1, 2)):
            if s > 1 and d > 1:
                continue
            x, kernel = rng.standard_normal((1, n)), rng.standard_normal(k)
            count = -(-n // s)
            total = max((count - 1) * s + (k - 1) * d + 1 - n, 0)
            starts = np.arange(count) * s - total // 2
            windows = [start + d * np.arange(k) for start in starts]
            inside = [w[(w >= 0) & (w < n)] for w in windows]
            taps = [kernel[(w >= 0) & (w < n)] for w in windows]
            got = call(keras.ops.conv, x, kernel[:, None, None], s, "same", dilation_rate=d)
            want = [x[0, w] @ t for w, t in zip(inside, taps)]
            np.testing.assert_allclose(got, want, atol=1e-12)
            y = rng.standard_normal((1, count))
            got = call(keras.ops.conv_transpose, y, kernel[:, None, None], s, "same",
                       dilation_rate=d)
            if n == count * s:  # the adjoint
                np.testing.assert_allclose(got @ x[0], y[0] @ want, atol=1e-12)
            if d == 1:
                got = call(keras.ops.max_pool, x, k, s, "same")
                np.testing.assert_array_equal(got, [x[0, w].max() for w in inside])
                got = call(keras.ops.average_pool, x, k, s, "same")
                np.testing.assert_allclose(got, [x[0, w].mean() for w in inside], atol=1e-12)
        print("done")
    """
    assert printed(code, tmp_path) == ["done"]


def test_types_stay(tmp_path):
    code = """
        import keras
        import numpy as np
        x = keras.ops.ones((1, 7, 7, 4), "bfloat16")
        for dtype in ("float16", "bfloat16", "float32", "float64"):
            x = keras.ops.cast(x, dtype)
            kernel = keras.ops.ones((2, 3, 4, 5), dtype)
            print(keras.ops.conv(x, kernel).dtype)
            print(keras.ops.max_pool(x, 2).dtype, keras.ops.average_pool(x, 2, 1, "same").dtype)
            ones = keras.ops.ones(4, dtype)
            print(keras.ops.batch_normalization(x, 0 * ones, ones, 3, ones, ones).dtype)
    """
    want = [d for d in ("float16", "bfloat16", "float32", "float64") for _ in range(4)]
    assert printed(code, tmp_path) == want


def test_fourier_transforms_are_numpys(tmp_path):
    code = """
        import keras
        import numpy as np
        x = np.random.default_rng(0).random((2, 3, 5, 7), np.float32)
        for ours, numpys in [(keras.ops.fft, np.fft.fft), (keras.ops.fft2, np.fft.fft2)]:
            real, imaginary = ours((x[0], x[1]))
            np.testing.assert_allclose(real + 1j * imaginary, numpys(x[0] + 1j * x[1]), atol=1e-5)
            print(real.dtype)
    """
    assert printed(code, tmp_path) == ["float32", "float32"]


def test_jax_itself_stays_missing(tmp_path):
    code = """
        import sys
        import voxkern.keras
        sys.modules["jax"] = None
        voxkern.keras.patch()
        voxkern.keras.patch()
        print("jax" in sys.modules, "keras.src.backend.jax" in sys.modules)
        from keras.src.backend.numpy import nn
        try:
            nn.lax.reduce_window
        except ImportError as error:
            print(error)
    """
    want = "False False jax.lax.reduce_window: JAX is not installed"
    assert printed(code, tmp_path, before="") == want.split()


def test_another_backend_is_refused(tmp_path):
    code = """
        import sys
        import types
        import voxkern.keras
        keras = types.ModuleType("keras")
        keras.backend = types.SimpleNamespace(backend=lambda: "torch")
        sys.modules["keras"] = keras
        try:
            voxkern.keras.patch()
        except RuntimeError as error:
            print(error)
    """
    assert printed(code, tmp_path, before="")[4:6] == ["backend", "'torch';"]


def test_bad_input_is_named(tmp_path):
    code = """
        import keras
        import numpy as np
        x, kernel = np.zeros((2, 7, 5, 3)), np.zeros((2, 2, 3, 4))
        from voxkern.keras import nn
        for call in [
            lambda: nn.conv(x, kernel[:, :, :2]),
            lambda: nn.conv(x, kernel[:, :, :0]),
            lambda: nn.conv(x, kernel[:, :, :1]),  # three groups of four filters
            lambda: nn.depthwise_conv(x, kernel[:0]),
            lambda: nn.conv(x, kernel[0]),
            lambda: nn.conv(x[0, 0], kernel),
            lambda: nn.conv(x, kernel, padding="causal"),
            lambda: nn.conv(x, kernel, strides=0),
            lambda: nn.conv(x[:, :1], kernel),
            lambda: nn.conv_transpose(x, kernel),
            lambda: nn.depthwise_conv(x, kernel[:, :, :1]),
            lambda: nn.max_pool(x, (2, 2, 2)),
            lambda: nn.max_pool(x.astype(int), 2),
        ]:
            try:
                call()
            except (TypeError, ValueError) as error:
                print(type(error).__name__, str(error).split()[0])
    """
    named = printed(code, tmp_path)
    assert named[::2] == ["ValueError"] * 12 + ["TypeError"]
    assert named[1:9:2] == ["kernel", "kernel", "groups", "weight"]
    assert named[9:16:2] == ["kernel", "inputs", "padding", "strides"]
    assert named[17::2] == ["kernel_size", "inputs", "inputs", "pool_size", "x"]


def test_the_examples_of_the_page_run(tmp_path):
    page = pathlib.Path(__file__).parents[1] / "docs" / "use_from_keras.md"
    (example,) = page.read_text(encoding="utf-8").split("```python\n")[1:]
    printed(example.partition("```")[0], tmp_path, before="import sys\nsys.modules['jax'] = None\n")
