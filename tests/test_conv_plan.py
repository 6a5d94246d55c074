"""Plans, activations, the names of algorithms and the memory that a convolution takes."""

import copy
import pickle
import subprocess
import sys
import textwrap
import threading
import tracemalloc

import numpy as np
import pytest

import voxkern
from voxkern import _dispatch, conv, conv_fft, conv_rule, reference

import hostile
from accuracy import assert_close, assert_exact

OPERATION = "conv"
LEFT_OUT = "cuda"
CONV = {1: voxkern.conv1d, 2: voxkern.conv2d, 3: voxkern.conv3d}
ACTIVATIONS = [None, "relu", ("leaky_relu", 0.1), ("leaky_relu", -2), ("leaky_relu", 0)]
ALGORITHMS = ["auto", "direct", "winograd", "fft", "im2col"]


def operands(rng, axes, groups=1, dtype="float64"):
    """x, weight and bias whose sizes are all different."""
    shape = (2, 6, *hostile.SHAPES[axes][2:])
    weight = (10, 6 // groups, *(3, 2, 4)[:axes])
    return [hostile.normal(rng, s, dtype) for s in (shape, weight, (10,))]


def assert_same(algorithm, got, want, length):
    """Bit for bit, but for the FFT: BLAS sums products of other sizes in other orders."""
    if algorithm == "fft":
        assert_close(got, want.astype("float64"), length, scale=16)
    else:
        assert_exact(got, want)


def widened(*arrays):
    return [a.astype("float64") for a in arrays]


# --- plans --------------------------------------------------------------------------------------


@pytest.mark.parametrize("axes", [1, 2, 3])
@pytest.mark.parametrize("dtype", hostile.FLOATS)
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_plan_gives_what_the_function_gives(backend, rng, axes, dtype, algorithm):
    x, weight, bias = operands(rng, axes, 2, dtype)
    arguments = (weight, bias, 1, 2, 1, 2)
    plan = voxkern.ConvPlan(*arguments, algorithm, "relu")
    want = CONV[axes](x, *arguments, algorithm=algorithm, activation="relu")
    for _ in range(2):
        assert_same(algorithm, plan(x), want, weight[0].size)
    assert_same(algorithm, plan(x[0]), want[0], weight[0].size)
    assert_exact(plan(x[:0]), want[:0])
    out = hostile.strided(np.full_like(want, np.nan))
    assert plan(x, out) is out
    assert_exact(np.ascontiguousarray(out), plan(x))


@pytest.mark.parametrize(
    "window", [{"stride": 2, "dilation": (1, 2)}, {"padding": "same"}, {"padding": (1, 2)}], ids=str
)
def test_a_plan_is_its_oracle(backend, rng, window):
    x, weight, bias = operands(rng, 2, dtype="float32")
    got = voxkern.ConvPlan(weight, bias, **window, activation=("leaky_relu", 0.3))(x)
    oracle = reference.ConvPlan(*widened(weight, bias), **window, activation=("leaky_relu", 0.3))
    assert_close(got, oracle(*widened(x)), length=weight[0].size, scale=8)


# Outputs on a slab, in place, in tall tiles, and columns with vectors along positions and channels.
POINTS = [((2, 3, 5), 1), ((1, 7, 4, 9, 11), 2), ((1, 4, 33, 65), 20), ((2, 70, 3, 5), 40)]
POINTS += [((1, 300, 14, 14), 45), ((1, 300, 7, 7), 100), ((3, 40, 50), 30)]


def rectified(values, activation):
    slope = {None: 1, "relu": 0}.get(activation, activation and activation[1])
    return np.where(values < 0, values.dtype.type(slope) * values if slope else 0, values)


@pytest.mark.parametrize(("shape", "outputs"), POINTS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("activation", [None, "relu", ("leaky_relu", 0.1)])
def test_a_plan_adds_to_what_there_is(backend, rng, shape, outputs, dtype, activation):
    x, before = (hostile.normal(rng, (shape[0], n, *shape[2:]), dtype) for n in (shape[1], outputs))
    weight = hostile.normal(rng, (outputs, shape[1], *(1,) * (len(shape) - 2)), dtype)
    bias = hostile.normal(rng, (outputs,), dtype)
    plain, plan = (voxkern.ConvPlan(weight, bias, activation=a) for a in (None, activation))
    out = before.copy()
    assert plan.add(x, out) is out
    assert_exact(out, rectified(plain(x) + before, activation))
    apart = hostile.strided(before)  # a kernel cannot write there
    assert_exact(np.ascontiguousarray(plan.add(x, apart)), out)
    oracle = before.astype("float64")
    slope = {None: None, "relu": 0}.get(activation, activation and activation[1])
    reference.conv.conv(*widened(x, weight, bias), slope=slope, accumulate=True, out=oracle)
    assert_close(out, oracle, length=shape[1] + 1, scale=8)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("dtype", hostile.FLOATS)
def test_a_plan_adds_by_any_algorithm(backend, rng, algorithm, dtype):
    x, weight, bias = operands(rng, 2, 2, dtype)
    plain, plan = (
        voxkern.ConvPlan(weight, bias, padding=1, groups=2, algorithm=algorithm, activation=a)
        for a in (None, ("leaky_relu", 0.5))
    )
    before = hostile.normal(rng, plain(x).shape, dtype)
    want = rectified(plain(x).astype("float64") + before, ("leaky_relu", 0.5))
    assert_close(plan.add(x, before.copy()), want, length=weight[0].size, scale=8)


def test_adding_keeps_what_is_not_a_number(rng):
    plan = voxkern.ConvPlan(np.ones((1, 1, 1)), activation="relu")
    out = np.array([[[np.nan, np.inf, -np.inf, 1.0]]])
    plan.add(np.zeros((1, 1, 4)), out)
    assert_exact(out, np.array([[[np.nan, np.inf, 0.0, 1.0]]]))


@pytest.mark.parametrize("step", [1, 2])
def test_a_plan_adds_to_nothing_else(rng, step):
    plan = voxkern.ConvPlan(np.ones((1, 1, 1)), stride=step)
    x = np.ones((1, 1, 4))
    with pytest.raises(TypeError, match="out is None"):
        plan.add(x, None)
    with pytest.raises(ValueError, match="out has shape"):
        plan.add(x, np.ones((1, 1, 5)))
    with pytest.raises(ValueError, match=r"out has shape .* dtype float32"):
        plan.add(x, np.ones((1, 1, 4 // step), "float32"))
    with pytest.raises(ValueError, match="out overlaps an input"):
        plan.add(x, x[..., : 4 // step])
    assert (x == 1).all()


def test_a_plan_keeps_copies(rng):
    x, weight, bias = operands(rng, 2)
    plan = voxkern.ConvPlan(weight, bias)
    want = plan(x)
    weight[...], bias[...] = 0, 0
    assert_exact(plan(x), want)
    for kept in (plan.weight, plan.bias):
        with pytest.raises(ValueError, match="read-only"):
            kept[...] = 0
    for name in ("weight", "bias", "stride", "padding", "dilation", "groups", "activation"):
        with pytest.raises(AttributeError):
            setattr(plan, name, 1)


def test_a_plan_reads_back_what_it_was_given(rng):
    _, weight, bias = operands(rng, 3, 2)
    plan = voxkern.ConvPlan(weight, bias, [1, 2, 3], 1, np.int64(2), 2, "direct", ["leaky_relu", 2])
    assert_exact(plan.weight, weight)
    assert_exact(plan.bias, bias)
    assert (plan.stride, plan.padding, plan.dilation) == ((1, 2, 3), (1, 1, 1), (2, 2, 2))
    assert (plan.groups, plan.algorithm, plan.activation) == (2, "direct", ("leaky_relu", 2))
    assert repr(plan) == (
        "ConvPlan(<float64 weight (10, 3, 3, 2, 4), bias>, stride=(1, 2, 3), padding=(1, 1, 1), "
        "dilation=(2, 2, 2), groups=2, algorithm='direct', activation=('leaky_relu', 2))"
    )


@pytest.mark.parametrize("layout", hostile.LAYOUTS)
def test_the_layout_of_what_a_plan_gets_does_not_matter(rng, layout):
    x, weight, bias = operands(rng, 2)
    want = voxkern.conv2d(x, weight, bias)
    assert_exact(voxkern.ConvPlan(layout(weight), layout(bias))(layout(x)), want)


@pytest.mark.parametrize(
    "again", [copy.copy, copy.deepcopy, lambda p: pickle.loads(pickle.dumps(p))]
)
@pytest.mark.parametrize("padding", ["same", "valid", (2, 1)])
def test_a_plan_can_be_copied_and_pickled(rng, again, padding):
    x, weight, bias = operands(rng, 2)
    plan = voxkern.ConvPlan(weight, bias, 1, padding, 1, 1, "im2col", "relu")
    want = plan(x)
    twin = again(plan)
    assert repr(twin) == repr(plan)
    assert_exact(twin(x), want)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_many_threads_may_call_one_plan(rng, algorithm):
    _, weight, bias = operands(rng, 3, dtype="float32")
    plan = voxkern.ConvPlan(weight, bias, padding=1, algorithm=algorithm)
    # Each thread has sizes of its own: what is prepared for one must not reach another.
    inputs = [hostile.normal(rng, (1, 6, 5 + i, 7, 9), "float32") for i in range(8)]
    alone = voxkern.ConvPlan(weight, bias, padding=1, algorithm=algorithm)
    want = [alone(x) for x in inputs]
    start, wrong = threading.Barrier(8), []

    def work(i):
        start.wait()
        for j in range(20):
            k = (i + j) % 8 if j % 2 else i
            if plan(inputs[k]).tobytes() != want[k].tobytes():
                wrong.append(k)

    workers = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not wrong


def test_weights_are_transformed_once(monkeypatch, rng):
    x, weight, _ = operands(rng, 2)
    made, transform = [], conv_fft.transform_weights
    monkeypatch.setattr(conv_fft, "transform_weights", lambda *a: made.append(a) or transform(*a))
    plan = voxkern.ConvPlan(weight, algorithm="fft")
    assert not made
    start = threading.Barrier(4)
    workers = [threading.Thread(target=lambda: (start.wait(), plan(x))) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    plan(x[:1])
    assert len(made) == 1


@pytest.mark.parametrize("algorithm", ["direct", "im2col"])
@pytest.mark.parametrize("dtype", hostile.FLOATS)
def test_weights_are_packed_once_for_every_layout(rng, algorithm, dtype):
    weight = hostile.normal(rng, (37, 12, 3, 3), dtype)
    plan = voxkern.ConvPlan(weight, padding=1, algorithm=algorithm)
    for size in [(5, 7), (2, 90), (90, 2), (31, 30), (1, 1), (64, 64), (7, 5)]:
        x = hostile.normal(rng, (1, 12, *size), dtype)
        assert_exact(plan(x), voxkern.conv2d(x, weight, padding=1, algorithm=algorithm))
        assert_exact(plan(x), voxkern.conv2d(x, weight, padding=1, algorithm=algorithm))
    assert 1 <= len(plan._kept) <= 5


def test_few_weights_are_packed_in_the_call(rng):
    plan = voxkern.ConvPlan(np.ones((2, 3, 5)), algorithm="direct")
    plan(np.ones((1, 3, 40)))
    assert not plan._kept


@np.errstate(invalid="ignore")
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_weights_that_are_not_finite_are_not_transformed(monkeypatch, rng, algorithm):
    x, weight = (hostile.normal(rng, s, "float32") for s in ((1, 32, 9, 9, 9), (32, 32, 3, 3, 3)))
    weight[3, 5, 1, 1, 1] = np.nan
    want = voxkern.conv3d(x, weight, algorithm="im2col" if algorithm == "im2col" else "direct")
    monkeypatch.delattr(conv, "_packed")
    monkeypatch.delattr(conv_fft, "conv_fft")
    assert_exact(voxkern.ConvPlan(weight, algorithm=algorithm)(x), want)


def test_what_a_plan_keeps_is_bounded(rng):
    plan = voxkern.ConvPlan(np.ones((1, 1, 5)), algorithm="fft")
    for size in range(5, 400, 9):
        plan(np.ones((1, 1, size)))
    assert len(plan._kept) <= 8


WEIGHT, BIAS = np.zeros((6, 4, 3, 3)), np.zeros(6)


@pytest.mark.parametrize(
    ("arguments", "error", "names"),
    [
        ({"weight": np.zeros((6, 4))}, ValueError, "weight has shape"),
        ({"weight": WEIGHT[None, None]}, ValueError, "weight has shape"),
        ({"weight": WEIGHT[:, :0]}, ValueError, "weight has shape"),
        ({"weight": WEIGHT.astype(int)}, TypeError, "weight has dtype int64"),
        ({"bias": BIAS[:5]}, ValueError, "bias has shape"),
        ({"bias": BIAS.astype("f4")}, TypeError, "bias has dtype float32; it must be float64"),
        ({"stride": 0}, ValueError, "stride is 0"),
        ({"stride": True}, TypeError, "stride is True"),
        ({"padding": -1}, ValueError, "padding is -1"),
        ({"padding": "full"}, ValueError, "padding is 'full'"),
        ({"padding": "same", "stride": 2}, ValueError, "padding 'same'"),
        ({"dilation": (1, 1, 1)}, ValueError, "dilation is"),
        ({"groups": 4}, ValueError, "groups is 4"),
        ({"groups": 0}, ValueError, "groups is 0"),
        ({"algorithm": "magic"}, ValueError, "algorithm is 'magic'"),
        ({"algorithm": "fft", "stride": 2}, ValueError, "'fft' needs stride 1"),
        ({"activation": "gelu"}, ValueError, "activation is 'gelu'"),
    ],
)
def test_what_a_plan_cannot_be_made_of_is_named(arguments, error, names):
    with pytest.raises(error, match=names):
        voxkern.ConvPlan(**({"weight": WEIGHT, "bias": BIAS} | arguments))


@pytest.mark.parametrize(
    ("x", "out", "error", "names"),
    [
        (np.zeros((1, 4, 7, 5), "f4"), None, TypeError, "x has dtype float32; it must be float64"),
        (np.zeros((1, 4, 7, 5), int), None, TypeError, "x has dtype int64"),
        (np.zeros((1, 3, 7, 5)), None, ValueError, "x has shape"),
        (np.zeros((1, 1, 4, 7, 5)), None, ValueError, "x has shape"),
        (np.zeros((4, 7)), None, ValueError, "x has shape"),
        (np.zeros((4, 2, 5)), None, ValueError, "kernel_size"),
        (np.zeros((4, 0, 5)), None, ValueError, "x has spatial size"),
        (np.zeros((4, 7, 5)), np.zeros((6, 5, 4)), ValueError, "out has shape"),
        (np.zeros((4, 7, 5)), np.zeros((6, 5, 3), "f4"), ValueError, "dtype float32"),
        (np.zeros((4, 7, 5)), [0], TypeError, "out is a list"),
    ],
)
def test_what_a_plan_cannot_take_is_named(x, out, error, names):
    with pytest.raises(error, match=names):
        voxkern.ConvPlan(WEIGHT, BIAS)(x, out)


def test_out_of_a_plan_must_be_apart_from_x():
    x = np.ones((1, 6, 6))
    with pytest.raises(ValueError, match="out overlaps"):
        voxkern.ConvPlan(np.ones((1, 1, 3, 3)), padding=1)(x, x)
    shared = np.ones(60)
    with pytest.raises(ValueError, match="out overlaps"):
        voxkern.ConvPlan(np.ones((1, 1, 1)))(shared[:40].reshape(1, 40), shared[20:].reshape(1, 40))


# --- activation ---------------------------------------------------------------------------------


@pytest.mark.parametrize("axes", [1, 2, 3])
@pytest.mark.parametrize("activation", ACTIVATIONS, ids=str)
@pytest.mark.parametrize("dtype", hostile.FLOATS)
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_an_activation_is_the_oracle(backend, rng, axes, activation, dtype, algorithm):
    x, weight, bias = operands(rng, axes, 2, dtype)
    window = {"padding": 1, "groups": 2, "activation": activation}
    got = CONV[axes](x, weight, bias, **window, algorithm=algorithm)
    want = reference.conv3d(*widened(x, weight, bias), **window)
    # Winograd's error is that of the tile's largest output.
    scale = 32 if algorithm == "winograd" else 16
    assert_close(got, want, length=weight[0].size, scale=scale)
    assert (want < 0).any() == (activation in (None, ("leaky_relu", 0.1)))


@np.errstate(invalid="ignore")
@pytest.mark.parametrize("activation", ACTIVATIONS, ids=str)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_an_activation_of_nan_and_inf(backend, activation, dtype):
    x = np.array([[[1, -1, np.nan, np.inf, -np.inf, -0.0, 0.0] * 5]], dtype)
    got = voxkern.conv1d(x, np.ones((1, 1, 1), dtype), activation=activation)
    slope = {None: 1, "relu": 0}.get(activation)
    slope = activation[1] if slope is None else slope
    want = np.where(x < 0, slope * x if slope else 0, x)
    assert_exact(got, want.astype(dtype))
    assert_exact(got, reference.conv1d(x, np.ones((1, 1, 1), dtype), activation=activation))


@pytest.mark.parametrize(
    ("activation", "error", "names"),
    [
        ("sigmoid", ValueError, "activation is 'sigmoid'; it may be None, 'relu' or"),
        ("leaky_relu", ValueError, "activation is 'leaky_relu'"),
        (("leaky_relu",), ValueError, "activation is"),
        (("relu", 1), ValueError, "activation is"),
        (("leaky_relu", "0.1"), TypeError, "the slope of activation is '0.1'"),
        (("leaky_relu", np.nan), ValueError, "the slope of activation is nan"),
        (("leaky_relu", True), TypeError, "the slope of activation is True"),
        (True, ValueError, "activation is True"),
        (np.zeros(2), ValueError, "activation is"),
        ((np.zeros(2), 1), ValueError, "activation is"),
    ],
)
def test_a_bad_activation_is_named(activation, error, names):
    with pytest.raises(error, match=names):
        voxkern.conv2d(np.zeros((4, 7, 5)), WEIGHT, activation=activation)


# --- names of algorithms ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("algorithm", "kernel_size", "stride", "dilation", "names"),
    [
        ("winograd", (1, 7), (1, 1), (1, 1), "needs an axis of kernel_size 2 to 5"),
        ("winograd", (3, 3), (3, 2), (1, 1), r"stride 1 and dilation 1; .* stride \(3, 2\)"),
        ("winograd", (3, 7), (1, 1), (2, 1), r"kernel_size is \(3, 7\), .* dilation \(2, 1\)"),
        ("fft", (9, 9), (2, 1), (1, 1), r"'fft' needs stride 1; stride is \(2, 1\)"),
        ("fft", (9, 9), (1, 1), (1, 3), r"'fft' needs dilation 1; dilation is \(1, 3\)"),
        ("Direct", (3, 3), (1, 1), (1, 1), "algorithm is 'Direct'; it may be auto"),
        (None, (3, 3), (1, 1), (1, 1), "algorithm is None"),
        (["direct"], (3, 3), (1, 1), (1, 1), "algorithm is"),
    ],
)
def test_an_algorithm_that_cannot_serve_says_why(algorithm, kernel_size, stride, dilation, names):
    x, weight = np.zeros((1, 1, 19, 17)), np.zeros((1, 1, *kernel_size))
    for make in (
        lambda **k: voxkern.conv2d(x, weight, **k),
        lambda **k: voxkern.ConvPlan(weight, **k),
    ):
        with pytest.raises(ValueError, match=names):
            make(stride=stride, dilation=dilation, algorithm=algorithm)


@pytest.mark.parametrize(
    ("count", "kernel_size", "tile"),
    [
        ((9, 9, 9), (3, 3, 3), (4, 4, 4)),
        ((1, 9, 9), (1, 3, 3), (1, 4, 4)),
        ((2, 7, 7), (3, 3, 3), (2, 4, 4)),
        ((3, 7, 3), (2, 4, 4), (3, 3, 3)),
        ((1, 9, 9), (3, 5, 7), (2, 2, 1)),
        ((9, 9, 9), (2, 4, 9), (5, 3, 1)),
    ],
)
def test_winograd_transforms_the_axes_of_small_kernels(count, kernel_size, tile):
    assert conv_rule.winograd_tile(count, kernel_size, (1, 1, 1), (1, 1, 1)) == tile


def test_winograd_sums_strided_and_dilated_axes_directly():
    assert conv_rule.winograd_tile((9, 9, 9), (3, 3, 3), (1, 2, 1), (1, 1, 2)) == (4, 1, 1)


@pytest.mark.parametrize(
    ("shape", "weight", "stride", "algorithm"),
    [
        ((1, 16, 48, 48, 48), (16, 16, 9, 9, 9), 1, "fft"),
        ((1, 16, 48, 48, 48), (16, 16, 9, 9, 9), 2, "direct"),
        ((1, 64, 256, 256), (64, 64, 15, 15), 1, "fft"),
        ((1, 1, 12, 12, 12), (1, 1, 9, 9, 9), 1, "direct"),
        ((1, 1, 64, 64, 64), (2, 1, 5, 5, 5), 1, "direct"),
    ],
)
def test_auto_takes_the_fft_for_large_kernels(monkeypatch, shape, weight, stride, algorithm):
    monkeypatch.setattr(conv_fft, "_has_scipy", lambda: True)
    axes = len(shape) - 2
    call = conv._known_call(axes, shape, weight, None, stride, weight[-1] // 2, 1, 1, "auto")
    assert call.algorithm == algorithm


def test_scipy_is_imported_for_the_fft_alone():
    code = """
        import sys, numpy as np, voxkern
        x = np.ones((1, 1, 40, 40, 40), "float32")
        voxkern.conv3d(x, np.ones((1, 1, 3, 3, 3), "float32"))
        voxkern.ConvPlan(np.ones((1, 1, 9, 9, 9), "float32"))
        print("scipy" in sys.modules)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=120
    )
    assert done.stdout == "False\n", done.stderr


def test_winograd_slots_in(rng):
    x, weight, bias = operands(rng, 2, 2)
    arguments = (weight, bias, (2, 1), 1, 1, 2)
    want = voxkern.conv2d(x[..., :9], np.repeat(weight, 1, 0), *arguments[1:])
    with _dispatch.force("reference"):
        wide = np.zeros((10, 3, 7, 2))  # summed directly along H, where it may be strided
        wide[:, :, 2:5] = weight
        got = voxkern.conv2d(x[..., :9], wide, bias, (2, 1), (3, 1), 1, 2, algorithm="winograd")
        plan = voxkern.ConvPlan(wide, bias, (2, 1), (3, 1), 1, 2, "winograd")
        assert_exact(plan(x[..., :9]), got)
    assert_close(got, want, length=18, scale=8)


@pytest.mark.parametrize("strange", [True, 1.0, np.float64(1), (1, True), (1.0, 1), [1, True]])
@pytest.mark.parametrize("name", ["stride", "padding", "dilation", "groups"])
def test_what_equals_an_integer_is_still_no_integer(name, strange):
    x, weight = np.zeros((1, 1, 7, 5)), np.zeros((1, 1, 3, 3))
    for plain in (1, (1, 1)):
        if name != "groups" or plain == 1:
            voxkern.conv2d(x, weight, **{name: plain})
    with pytest.raises(TypeError, match=f"{name} is"):
        voxkern.conv2d(x, weight, **{name: strange})
    with pytest.raises(TypeError, match=f"{name} is"):
        voxkern.ConvPlan(weight, **{name: strange})


# --- memory -------------------------------------------------------------------------------------

# VmHWM, not ru_maxrss: that starts at the peak of the process that started this one.
PEAK = """
    import numpy as np, voxkern
    def peak():
        with open("/proc/self/status") as file:
            return 1024 * int(file.read().partition("VmHWM:")[2].split()[0])
    voxkern.set_num_threads(1)
    x, weight = np.ones({x}, {dtype!r}), np.ones({weight}, {dtype!r})
    shape = [n - k + 1 for n, k in zip(x.shape[2:], weight.shape[2:])]
    out = np.ones((len(x), len(weight), *shape), x.dtype)
    told = voxkern.conv_workspace(
        x.shape, weight.shape, algorithm={algorithm!r}, dtype=x.dtype, num_threads=1
    )
    x[(0,) * 5] = {first}
    before = peak()
    voxkern.conv3d(x, weight, algorithm={algorithm!r}, out=out)
    print(told, peak() - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.parametrize(
    ("x", "weight", "dtype", "algorithm"),
    [
        ((1, 4096, 3, 9, 40), (4, 4096, 3, 9, 9), "float32", "direct"),
        ((1, 1024, 3, 9, 20), (20, 1024, 3, 5, 5), "float64", "im2col"),
        ((1, 8, 80, 80, 80), (2, 8, 1, 1, 1), "float16", "direct"),
        ((1, 256, 4, 26, 26), (256, 256, 3, 3, 3), "float32", "winograd"),
    ],
)
def test_the_workspace_is_what_a_call_allocates(x, weight, dtype, algorithm):
    # The direct kernel follows Winograd's where results are not finite.
    told, measured = peak_of_a_call(x, weight, dtype, algorithm, np.inf)
    assert told > 10e6
    assert 0.9 * told - 1e6 <= measured <= told + 1e6


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_the_workspace_bounds_a_finite_call_of_winograd():
    shapes = (1, 256, 4, 26, 26), (256, 256, 3, 3, 3)
    told, measured = peak_of_a_call(*shapes, "float32", "winograd", 1)
    assert 0.7 * told <= measured <= told + 1e6


def peak_of_a_call(x, weight, dtype, algorithm, first):
    """Bytes that conv_workspace tells for conv3d of ones, and those that a new process takes."""
    code = PEAK.format(
        x=x, weight=weight, dtype=dtype, algorithm=algorithm, first=f"float('{first}')"
    )
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return map(int, done.stdout.split())


@pytest.mark.parametrize(
    ("x", "weight"),
    [((1, 16, 48, 48, 48), (16, 16, 7, 7, 7)), ((2, 1, 900, 900), (3, 1, 31, 31))],
)
def test_the_workspace_of_the_fft(x, weight):
    told = voxkern.conv_workspace(x, weight, algorithm="fft")
    x, weight = np.ones(x, "float32"), np.ones(weight, "float32")
    call = getattr(voxkern, f"conv{x.ndim - 2}d")
    out = call(x, weight, algorithm="fft")
    tracemalloc.start()
    call(x, weight, algorithm="fft", out=out)
    measured = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert 0.4 * told <= measured <= told


def test_every_thread_of_a_depthwise_convolution_has_scratch():
    shapes = (1, 64, 64, 64), (64, 1, 3, 3)
    one, two = (voxkern.conv_workspace(*shapes, groups=64, num_threads=n) for n in (1, 2))
    assert two > 1.5 * one


def test_the_workspace_grows_with_threads_and_not_with_the_batch():
    shapes = (1, 16, 48, 48, 48), (16, 16, 3, 3, 3)
    one, four = (voxkern.conv_workspace(*shapes, num_threads=n) for n in (1, 4))
    assert one < four <= 4 * one
    # An output larger than the cache is computed in other blocks.
    assert voxkern.conv_workspace((9, *shapes[0][1:]), shapes[1], num_threads=1) < 1.1 * one
    assert voxkern.conv_workspace(*shapes) <= voxkern.conv_workspace(
        *shapes, num_threads=voxkern.get_num_threads()
    )
    assert isinstance(one, int)
    assert voxkern.conv_workspace((0, 3, 9), (1, 3, 3)) == 0


@pytest.mark.parametrize(
    ("arguments", "keywords", "error", "names"),
    [
        (((4, 7), (6, 4)), {}, ValueError, "weight_shape is"),
        (((4, 7), (6, 4, 3, 3)), {}, ValueError, "x has shape"),
        ((7, (6, 4, 3)), {}, TypeError, "x_shape is 7"),
        (((4, 7.5), (6, 4, 3)), {}, TypeError, "x_shape is 7.5"),
        (((4, -1), (6, 4, 3)), {}, ValueError, "x_shape is -1"),
        (((5, 9), (6, 4, 3)), {}, ValueError, "weight has shape"),
        (((4, 9), (6, 4, 3)), {"dtype": "int32"}, TypeError, "dtype is 'int32'"),
        (((4, 9), (6, 4, 3)), {"dtype": "nonsense"}, TypeError, "dtype is 'nonsense'"),
        (((4, 9), (6, 4, 3)), {"num_threads": 0}, ValueError, "num_threads is 0"),
        (((4, 9), (6, 4, 3)), {"algorithm": "magic"}, ValueError, "algorithm is 'magic'"),
    ],
)
def test_bad_input_of_the_workspace_is_named(arguments, keywords, error, names):
    with pytest.raises(error, match=names):
        voxkern.conv_workspace(*arguments, **keywords)
