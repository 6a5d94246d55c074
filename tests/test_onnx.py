"""`voxkern.onnx` against ONNX's own test cases, a slow oracle of windows, and onnxruntime."""

import collections
import doctest
import functools
import gc
import itertools
import pathlib
import re
import subprocess
import sys
import threading
import unittest
import weakref

import numpy as np
import pytest

import voxkern
from voxkern import reference

onnx = pytest.importorskip("onnx")

from onnx import TensorProto, helper, numpy_helper, parser  # noqa: E402
from onnx.backend.test.loader import load_model_tests  # noqa: E402
from onnx.backend.test.runner import Runner, _normalize_tensor  # noqa: E402
from onnx.reference import ReferenceEvaluator  # noqa: E402

import voxkern.onnx  # noqa: E402
from voxkern.onnx import backend, operators, program, steps  # noqa: E402

DATA = pathlib.Path(onnx.__file__).parent / "backend" / "test" / "data"
# Cases of onnx 1.23 that pass at least: with what is ours, with onnx.reference behind the backend.
FLOORS = {
    "Abs": (1, 0),
    "Adam": (2, 0),
    "Add": (8, 0),
    "AveragePool": (20, 0),
    "BatchNormalization": (4, 0),
    "Cast": (6, 54),
    "Ceil": (2, 0),
    "Clip": (12, 0),
    "Col2Im": (5, 0),
    "Concat": (12, 0),
    "Conv": (6, 0),
    "ConvTranspose": (11, 0),
    "Div": (3, 7),
    "Dropout": (12, 0),
    "Elu": (3, 0),
    "Exp": (2, 0),
    "Flatten": (9, 0),
    "Floor": (2, 0),
    "GRU": (0, 6),
    "Gather": (4, 0),
    "Gemm": (11, 0),
    "GlobalAveragePool": (2, 0),
    "GlobalMaxPool": (2, 0),
    "GroupNormalization": (2, 0),
    "HardSigmoid": (3, 0),
    "Identity": (1, 2),
    "InstanceNormalization": (2, 0),
    "LSTM": (5, 1),
    "LayerNormalization": (19, 0),
    "LeakyRelu": (3, 0),
    "Log": (2, 0),
    "LogSoftmax": (7, 0),
    "LpPool": (8, 0),
    "MatMul": (7, 0),
    "Max": (14, 0),
    "MaxPool": (19, 0),
    "MaxUnpool": (2, 0),
    "Mean": (3, 0),
    "Min": (14, 0),
    "Momentum": (3, 0),
    "Mul": (9, 0),
    "Neg": (2, 0),
    "NegativeLogLikelihoodLoss": (18, 0),
    "PRelu": (2, 0),
    "Pad": (6, 0),
    "RNN": (6, 0),
    "ReduceMean": (8, 0),
    "Relu": (1, 0),
    "Reshape": (10, 0),
    "Resize": (22, 17),
    "Selu": (3, 0),
    "Shape": (11, 0),
    "Sigmoid": (2, 0),
    "Slice": (8, 0),
    "Softmax": (7, 0),
    "SoftmaxCrossEntropyLoss": (34, 0),
    "Softplus": (2, 0),
    "Softsign": (2, 0),
    "Split": (16, 0),
    "Sqrt": (2, 0),
    "Squeeze": (2, 0),
    "Sub": (9, 0),
    "Sum": (3, 0),
    "Tanh": (2, 0),
    "TopK": (7, 0),
    "Transpose": (7, 0),
    "Unsqueeze": (7, 0),
    "Upsample": (1, 0),
}
OTHERS = 847  # of operators that are not ours
# Cases that onnx.reference fails itself, alone as behind the backend: random numbers, optional
# sequences, an input left out of a Scan.
ITS_OWN = {"test_bernoulli", "test_bernoulli_double", "test_bernoulli_seed", "test_if_opt"}
ITS_OWN |= {"test_loop16_seq_none", "test_scan_sum"}
RTOL = {"float16": 2e-3, "float32": 2e-5, "float64": 1e-12}


@functools.cache
def cases():
    """ONNX's cases of single nodes, without expanded functions, by operator."""
    found = collections.defaultdict(list)
    for case in load_model_tests(kind="node"):
        if "_expanded" not in case.name and case.name not in ITS_OWN:
            found[case.model.graph.node[0].op_type].append(case)
    return found


def prepared(model):
    """The backend's rep of a model; a model that it declines is skipped, never passed."""
    try:
        return voxkern.onnx.prepare(model)
    except ValueError as error:
        raise unittest.SkipTest(str(error)) from error


def counted(named):
    """Cases passed by what ran them, those declined under "skipped"; a failure is raised."""
    passed = collections.Counter()
    for case in named:
        try:
            rep = prepared(case.model)
        except unittest.SkipTest:
            passed["skipped"] += 1
            continue
        for inputs, outputs in case.data_sets:
            got = rep.run([_normalize_tensor(value) for value in inputs])
            want = [_normalize_tensor(value) for value in outputs]
            Runner.assert_similar_outputs(want, got, case.rtol, case.atol, case.name)
        where = {"voxkern": "ours", "NumPy": "ours"}.get(
            voxkern.onnx.coverage(case.model)[0].where, "reference"
        )
        passed[where] += 1
    return passed


# --- the cases of ONNX ----------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("op_type", FLOORS)
def test_the_cases_of_an_operator_pass(op_type):
    passed = counted(cases()[op_type])
    ours, by_reference = FLOORS[op_type]
    assert passed["ours"] >= ours
    assert passed["ours"] + passed["reference"] >= ours + by_reference
    assert not passed["skipped"]


def test_every_operator_has_a_floor():
    untested = {"GlobalLpPool"}  # ONNX has no case of it
    assert {name for _, name in operators.OPERATORS} - untested == set(FLOORS)


def test_the_page_has_the_same_table():
    text = (pathlib.Path(__file__).parents[1] / "docs" / "use_from_onnx.md").read_text("utf-8")
    rows = re.findall(r"(\w+) \| (\d+) \| (\d*) \|", text)
    assert {name: (int(ours), int(rest or 0)) for name, ours, rest in rows} == FLOORS


@pytest.mark.filterwarnings("ignore")
def test_the_cases_of_operators_that_are_not_ours_pass_too():
    rest = [case for op_type, named in cases().items() if op_type not in FLOORS for case in named]
    passed = counted(rest)
    assert passed["reference"] >= OTHERS
    assert passed["skipped"] <= 2  # Scatter, older than its evaluator
    assert not passed["ours"]


FROM_TORCH = [*(DATA / "pytorch-converted").glob("*"), *(DATA / "pytorch-operator").glob("*")]
OF_WINDOWS = ("Conv", "MaxPool", "AvgPool", "BatchNorm")


@pytest.mark.parametrize("folder", sorted(FROM_TORCH), ids=lambda folder: folder.name)
def test_models_that_torch_exported_long_ago(folder):
    rep = voxkern.onnx.prepare(folder / "model.onnx")
    rep.run(tensors(folder, "input"))
    Runner.assert_similar_outputs(
        tensors(folder, "output"), rep.run(tensors(folder, "input")), 1e-3, 1e-7
    )
    if any(word in folder.name for word in OF_WINDOWS):
        placed = voxkern.onnx.coverage(folder / "model.onnx")
        assert {p.where for p in placed} <= {"voxkern", "NumPy", "constant"}


def test_there_are_models_that_torch_exported():
    assert sum(any(word in f.name for word in OF_WINDOWS) for f in FROM_TORCH) >= 38


def tensors(folder, kind):
    """The inputs or outputs of the first data set in a folder."""
    files = sorted((folder / "test_data_set_0").glob(f"{kind}_*.pb"))
    return [numpy_helper.to_array(onnx.load_tensor(file)) for file in files]


LIGHT = sorted((DATA / "light").glob("*.onnx"))


@pytest.mark.parametrize("path", LIGHT, ids=lambda path: path.stem)
def test_whole_networks_for_images(path):
    rep = voxkern.onnx.prepare(str(path))
    graph = onnx.load(path).graph
    x = [Runner.generate_dummy_data(v) for v in graph.input if v.name in rep.input_names]
    want = numpy_helper.to_array(onnx.load_tensor(str(path)[:-5] + "_output_0.pb"))
    Runner.assert_similar_outputs([want], rep.run(x), 1e-3, 1e-7)
    elsewhere = {p.op_type for p in voxkern.onnx.coverage(path) if p.where == "onnx.reference"}
    assert elsewhere <= {"LRN"}


def test_there_are_whole_networks():
    assert len(LIGHT) == 9


# --- windows, beside a slow oracle ----------------------------------------------------------------


def node_model(op_type, arrays, outputs=1, opset=22, domain="", **attributes):
    """A model of one node whose inputs are like `arrays`, None where one is left out."""
    names = ["" if a is None else f"x{i}" for i, a in enumerate(arrays)]
    results = [f"y{i}" for i in range(outputs)]
    node = helper.make_node(op_type, names, results, domain=domain, **attributes)
    inputs = [
        helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape)
        for n, a in zip(names, arrays)
        if a is not None
    ]
    of_outputs = [onnx.ValueInfoProto(name=name) for name in results]
    return graph_model([node], inputs, of_outputs, {}, opset, domain)


def graph_model(nodes, inputs, outputs, weights, opset=22, domain=""):
    tensors = [numpy_helper.from_array(a, name) for name, a in weights.items()]
    graph = helper.make_graph(nodes, "graph", inputs, outputs, tensors)
    opsets = [helper.make_opsetid("", opset), *([helper.make_opsetid(domain, 1)] if domain else [])]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10)


def run_node(op_type, arrays, outputs=1, **attributes):
    """The outputs of a node, which must be ours."""
    model = typed(node_model(op_type, arrays, outputs, **attributes))
    assert voxkern.onnx.coverage(model)[0].where in ("voxkern", "NumPy")
    return voxkern.onnx.run_model(model, [a for a in arrays if a is not None])


def typed(model):
    """The model with types of its outputs, which the checker wants and does not compare."""
    inferred = onnx.shape_inference.infer_shapes(model)
    for value in inferred.graph.output:
        if not value.type.tensor_type.HasField("shape"):
            value.type.CopyFrom(helper.make_tensor_type_proto(TensorProto.FLOAT, [None]))
    return inferred


def padding_of(n, k, s, d, mode, before, after):
    """Padding before and after one axis, as the text of ONNX has it."""
    if mode == "NOTSET":
        return before, after
    if mode == "VALID":
        return 0, 0
    total = max(((n + s - 1) // s - 1) * s + d * (k - 1) + 1 - n, 0)
    small, large = total // 2, total - total // 2
    return (small, large) if mode == "SAME_UPPER" else (large, small)


def windows_of(x, kernel, stride, dilation, mode, pads, ceil):
    """For every window of the last axes its taps: lists of (place or None if padding, inside)."""
    axes = len(kernel)
    spans = []
    for n, k, s, d, before, after in zip(
        x.shape[2:], kernel, stride, dilation, pads[:axes], pads[axes:]
    ):
        before, after = padding_of(n, k, s, d, mode, before, after)
        room = n + before + after - d * (k - 1) - 1
        count = room // s + 1
        if ceil and mode == "NOTSET" and room % s and count * s < n + before:
            count += 1
        own = [[(c * s - before + j * d, n, n + after) for j in range(k)] for c in range(count)]
        spans.append(own)
    for place in itertools.product(*(range(len(s)) for s in spans)):
        taps = list(itertools.product(*(s[i] for s, i in zip(spans, place))))
        yield place, taps


def pooled(x, function, shape, *window):
    y = np.empty((*x.shape[:2], *shape))
    for place, taps in windows_of(x, *window):
        inside = [all(0 <= p < n for p, n, _ in tap) for tap in taps]
        places = [tuple(p for p, _, _ in tap) for tap, real in zip(taps, inside) if real]
        padded = sum(all(p < end for p, _, end in tap) for tap in taps)
        values = np.stack([x[(..., *p)] for p in places], -1).astype(np.float64)
        y[(..., *place)] = function(values, padded, places)
    return y


def pools():
    """Attributes of pools that are hostile together, for 1 to 3 axes."""
    rng = np.random.default_rng(3)
    for axes, mode in itertools.product((1, 2, 3), ("NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID")):
        for _ in range(6):
            kernel = rng.integers(1, 5, axes).tolist()
            pads = [int(rng.integers(0, k)) for k in 2 * kernel]
            stride, dilation = rng.integers(1, 4, axes).tolist(), rng.integers(1, 3, axes).tolist()
            yield (11, 9, 13)[:axes], kernel, stride, dilation, mode, pads, int(rng.integers(0, 2))


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "dilation", "mode", "pads", "ceil"), [*pools()]
)
def test_pools_beside_a_slow_oracle(rng, size, kernel, stride, dilation, mode, pads, ceil):
    x = rng.standard_normal((2, 3, *size)).astype(np.float32)
    window = kernel, stride, dilation, mode, pads, ceil
    given = {"kernel_shape": kernel, "strides": stride, "dilations": dilation, "auto_pad": mode}
    given |= {"ceil_mode": ceil} | ({"pads": pads} if mode == "NOTSET" else {})
    for places in (False, True):
        got = run_node("MaxPool", [x], 1 + places, **given)
        want = pooled(x, lambda v, *_: v.max(-1), got[0].shape[2:], *window)
        np.testing.assert_array_equal(got[0], want)
    np.testing.assert_array_equal(x.reshape(-1)[got[1]], want)
    by_columns = run_node("MaxPool", [x], 2, storage_order=1, **given)[1]
    flat = x.transpose(0, 1, *range(x.ndim - 1, 1, -1)).reshape(-1)
    np.testing.assert_array_equal(flat[by_columns], want)
    means = run_node("AveragePool", [x], **given)[0]
    np.testing.assert_allclose(
        means, pooled(x, lambda v, *_: v.mean(-1), means.shape[2:], *window), atol=2e-6
    )
    means = run_node("AveragePool", [x], count_include_pad=1, **given)[0]
    want = pooled(x, lambda v, padded, _: v.sum(-1) / padded, means.shape[2:], *window)
    np.testing.assert_allclose(means, want, atol=2e-6)
    for p in (1, 2, 3):
        norms = run_node("LpPool", [x], p=p, **given)[0]
        want = pooled(
            x, lambda v, *_, p=p: (abs(v) ** p).sum(-1) ** (1 / p), norms.shape[2:], *window
        )
        np.testing.assert_allclose(norms, want, rtol=1e-5)


@pytest.mark.parametrize(("size", "kernel", "stride", "dilation", "mode", "pads", "_"), [*pools()])
def test_convolution_beside_the_oracle(rng, size, kernel, stride, dilation, mode, pads, _):
    x = rng.standard_normal((2, 4, *size))
    weight, bias = rng.standard_normal((6, 2, *kernel)), rng.standard_normal(6)
    given = {"strides": stride, "dilations": dilation, "auto_pad": mode, "group": 2}
    given |= {"pads": pads} if mode == "NOTSET" else {}
    axes = len(kernel)
    pairs = [
        padding_of(*window, mode, before, after)
        for *window, before, after in zip(size, kernel, stride, dilation, pads[:axes], pads[axes:])
    ]
    padded = np.pad(x, [(0, 0), (0, 0), *pairs])
    oracle = getattr(reference, f"conv{axes}d")
    want = oracle(padded, weight, bias, tuple(stride), 0, tuple(dilation), 2)
    got = run_node("Conv", [x, weight, bias], **given)[0]
    np.testing.assert_allclose(got, want, atol=1e-11)
    planned = node_model("Conv", [x, weight, bias], **given)
    constant = {"x1": weight, "x2": bias}
    info = planned.graph.input[:1]
    planned = graph_model(planned.graph.node, info, planned.graph.output, constant)
    np.testing.assert_allclose(voxkern.onnx.run_model(typed(planned), [x])[0], want, atol=1e-11)


def test_max_pool_of_padding_that_no_element_beats(rng):
    x = np.full((1, 2, 5, 4), -np.inf, np.float32)
    y, indices = run_node("MaxPool", [x], 2, kernel_shape=[3, 3], pads=[2, 1, 0, 2], strides=[2, 1])
    assert (y == -np.inf).all()
    assert ((indices // 20) == np.arange(2).reshape(1, 2, 1, 1)).all()


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
def test_max_pool_of_bytes(rng, dtype):
    x = rng.integers(np.iinfo(dtype).min, np.iinfo(dtype).max, (1, 2, 6, 7)).astype(dtype)
    y = run_node("MaxPool", [x], kernel_shape=[2, 2], pads=[0, 1, 1, 0])[0]
    assert y.dtype == dtype
    wide = run_node("MaxPool", [x.astype("float64")], kernel_shape=[2, 2], pads=[0, 1, 1, 0])[0]
    np.testing.assert_array_equal(y, wide)


def test_global_lp_pool(rng):
    x = rng.standard_normal((2, 3, 5, 7))
    y = run_node("GlobalLpPool", [x], p=3)[0]
    np.testing.assert_allclose(y, (abs(x) ** 3).sum((2, 3), keepdims=True) ** (1 / 3))


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("batch", [0, 2])
def test_dtypes_and_empty_batches(rng, dtype, batch):
    x = rng.standard_normal((batch, 4, 6, 5)).astype(dtype)
    w = rng.standard_normal((3, 4, 3, 3)).astype(dtype)
    v = rng.standard_normal(4).astype(dtype)
    nodes = [
        ("Conv", [x, w], {}),
        ("ConvTranspose", [x, w.swapaxes(0, 1).copy()], {}),
        ("MaxPool", [x], {"kernel_shape": [2, 2]}),
        ("AveragePool", [x], {"kernel_shape": [2, 2], "pads": [0, 0, 1, 1]}),
        ("LpPool", [x], {"kernel_shape": [2, 2], "dilations": [2, 1]}),
        ("GlobalAveragePool", [x], {}),
        ("BatchNormalization", [x, v, v, v, v**2], {}),
        ("InstanceNormalization", [x, v, v], {}),
        ("GroupNormalization", [x, v, v], {"num_groups": 2}),
        ("LayerNormalization", [x, x[0, 0, 0] if batch else np.ones(5, dtype)], {}),
        ("Softmax", [x], {"axis": 1}),
        ("Sigmoid", [x], {}),
        ("Relu", [x], {}),
        ("Add", [x, v.reshape(-1, 1, 1)], {}),
        ("MatMul", [x, x.swapaxes(2, 3).copy()], {}),
    ]
    for op_type, arrays, attributes in nodes:
        y = run_node(op_type, arrays, **attributes)[0]
        assert y.dtype == dtype
        if not batch:
            assert y.shape[0] == 0
            continue
        wide = [a.astype(np.float64) for a in arrays]
        want = run_node(op_type, wide, **attributes)[0]
        np.testing.assert_allclose(y, want, RTOL[dtype], 20 * RTOL[dtype], err_msg=op_type)


# --- opsets ---------------------------------------------------------------------------------------


def test_softmax_before_13_takes_all_axes_that_follow(rng):
    x = rng.standard_normal((2, 3, 4))
    y = run_node("Softmax", [x], opset=12)[0]
    want = np.exp(x) / np.exp(x).sum((1, 2), keepdims=True)
    np.testing.assert_allclose(y, want)
    y = run_node("Softmax", [x], opset=13)[0]
    np.testing.assert_allclose(y, np.exp(x) / np.exp(x).sum(2, keepdims=True))


@pytest.mark.parametrize("opset", [14, 15, 22])
def test_batch_normalisation_in_training(rng, opset):
    x = rng.standard_normal((3, 2, 5)) + 4
    scale, bias, mean, var = rng.random((4, 2))
    outputs = run_node(
        "BatchNormalization", [x, scale, bias, mean, var], 3, opset=opset, training_mode=1
    )
    own = x.mean((0, 2)), x.var((0, 2))
    shaped = [v.reshape(-1, 1) for v in (scale, bias, *own)]
    want = (x - shaped[2]) / np.sqrt(shaped[3] + 1e-5) * shaped[0] + shaped[1]
    running = [0.9 * old + 0.1 * new for old, new in zip((mean, var), own)]
    for got, expected in zip(outputs, (want, *running)):
        np.testing.assert_allclose(got, expected, rtol=1e-6)


def test_a_batch_of_one_value_is_its_mean():
    x, ones = np.full((1, 2, 1), 5.0), np.ones(2)
    y, mean, var = run_node("BatchNormalization", [x, ones, ones, ones, ones], 3, training_mode=1)
    np.testing.assert_allclose(y, np.ones((1, 2, 1)))
    np.testing.assert_allclose([mean, var], [[1.4, 1.4], [0.9, 0.9]], rtol=1e-6)


def test_axes_are_an_attribute_or_an_input(rng):
    x = rng.standard_normal((1, 3, 1, 4)).astype(np.float32)
    axes = np.array([0, 2])
    np.testing.assert_array_equal(run_node("Squeeze", [x], opset=11, axes=[0, 2])[0], x[0, :, 0])
    np.testing.assert_array_equal(run_node("Squeeze", [x, axes])[0], x[0, :, 0])
    want = x.mean((1, 3))
    got = run_node("ReduceMean", [x], opset=13, axes=[1, 3], keepdims=0)[0]
    np.testing.assert_allclose(got, want, rtol=1e-6)
    got = run_node("ReduceMean", [x, np.array([1, 3])], opset=18, keepdims=0)[0]
    np.testing.assert_allclose(got, want, rtol=1e-6)
    got = run_node("Slice", [x], opset=9, starts=[1], ends=[3], axes=[1])[0]
    np.testing.assert_array_equal(got, x[:, 1:3])


def test_lengths_of_sequences(rng):
    x = rng.standard_normal((5, 3, 2))
    w, r = rng.standard_normal((2, 4 * 4, 2)), rng.standard_normal((2, 4 * 4, 4))
    lengths = np.array([5, 0, 3], np.int32)
    given = {"hidden_size": 4, "direction": "bidirectional"}
    y, h, c = run_node("LSTM", [x, w, r, None, lengths], 3, **given)
    for i, length in enumerate(lengths):
        assert (y[length:, :, i] == 0).all()
        if length == 0:
            assert not h[:, i].any()
            assert not c[:, i].any()
            continue
        alone = run_node("LSTM", [x[:length, i : i + 1].copy(), w, r], 3, **given)
        for got, want in zip((y[:length, :, i], h[:, i], c[:, i]), alone):
            np.testing.assert_allclose(got, want[..., 0, :], atol=1e-12)


# --- onnxruntime ----------------------------------------------------------------------------------


def beside_onnxruntime():
    """Nodes with options in which implementations differ, and their inputs."""
    rng = np.random.default_rng(5)
    x = rng.standard_normal((2, 4, 7, 6)).astype(np.float32)
    w = rng.standard_normal((4, 3, 3, 2)).astype(np.float32)
    for pads, extra, stride in (([0, 0, 0, 0], [0, 0], 1), ([2, 0, 1, 1], [1, 0], 2)):
        given = {"pads": pads, "output_padding": extra, "strides": [stride, 3]}
        yield "ConvTranspose", [x, w], given
        yield "ConvTranspose", [x, w[:, :2].copy()], given | {"group": 2}
    for mode in ("SAME_UPPER", "SAME_LOWER"):
        yield "ConvTranspose", [x, w], {"auto_pad": mode, "strides": [2, 2]}
    for mode in ("constant", "reflect", "edge"):
        yield "Pad", [x, np.array([0, 1, 2, 0, 0, 0, 3, 1])], {"mode": mode}
    scales = np.array([1, 1, 1.7, 0.6], np.float32)
    ways = "half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric"
    for mode, way in itertools.product(("nearest", "linear"), ways):
        given = {"mode": mode, "coordinate_transformation_mode": way}
        if way != "align_corners":  # onnxruntime rounds the width down first, ONNX's cases do not
            yield "Resize", [x, None, scales], given
        yield "Resize", [x, None, None, np.array([2, 4, 11, 3])], given
    for rounding in ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil"):
        yield "Resize", [x, None, scales], {"mode": "nearest", "nearest_mode": rounding}
    sequence = rng.standard_normal((5, 3, 4)).astype(np.float32)
    for name, gates in (("RNN", 1), ("LSTM", 4), ("GRU", 3)):
        w = rng.standard_normal((2, gates * 6, 4)).astype(np.float32)
        r = rng.standard_normal((2, gates * 6, 6)).astype(np.float32)
        b = rng.standard_normal((2, 2 * gates * 6)).astype(np.float32)
        reset = {"linear_before_reset": 1} if name == "GRU" else {}
        given = {"hidden_size": 6, "direction": "bidirectional"} | reset
        lengths, first = np.array([5, 2, 4], np.int32), rng.random((2, 3, 6), np.float32)
        yield name, [sequence, w, r, b], given
        yield name, [sequence, w, r, b, lengths, first], given
        one = [a[:1].copy() for a in (w, r, b)]
        yield name, [sequence, *one], {"hidden_size": 6, "direction": "reverse"} | reset


@pytest.mark.parametrize(("op_type", "arrays", "attributes"), [*beside_onnxruntime()])
def test_nodes_beside_onnxruntime(op_type, arrays, attributes):
    onnxruntime = pytest.importorskip("onnxruntime")
    model = typed(node_model(op_type, arrays, **attributes))
    session = onnxruntime.InferenceSession(model.SerializeToString())
    feeds = {f"x{i}": a for i, a in enumerate(arrays) if a is not None}
    want = session.run(None, feeds)[0]
    got = run_node(op_type, arrays, **attributes)[0]
    assert got.dtype == want.dtype
    np.testing.assert_allclose(got, want, rtol=2e-5, atol=2e-5)


# --- folding, fusing, memory ----------------------------------------------------------------------

RESIDUAL = """
    <ir_version: 10, opset_import: ["": 21]>
    residual (float[n, 3, 9, 8, 7] x) => (float[n, 4, d, h, w] y) {
        [first] a = Conv <pads = [1, 1, 1, 1, 1, 1]> (x, w1, b1)
        [norm1] b = BatchNormalization <epsilon = 0.01> (a, s, t, m, v)
        [relu1] c = Relu (b)
        [second] d0 = Conv <auto_pad = "SAME_LOWER"> (c, w2)
        [norm2] e = BatchNormalization (d0, s, t, m, v)
        [short] f = Conv (x, w3)
        [sum] g = Add (e, f)
        [relu2] h = Relu (g)
        [third] i = Conv <strides = [2, 2, 2]> (h, w2)
        [leaky] y = LeakyRelu <alpha = 0.2> (i)
    }
"""


def residual(rng, dtype="float32"):
    """A residual network of three dimensions and its weights."""
    model = parser.parse_model(
        RESIDUAL.replace("float[", "double[" if dtype == "float64" else "float[")
    )
    shapes = {"w1": (4, 3, 3, 3, 3), "w2": (4, 4, 2, 3, 1), "w3": (4, 3, 1, 1, 1), "b1": (4,)}
    weights = {n: rng.standard_normal(s) for n, s in shapes.items()}
    weights |= {n: rng.random(4) + 0.5 for n in "stmv"}
    for name, array in weights.items():
        model.graph.initializer.append(numpy_helper.from_array(array.astype(dtype), name))
    return model


def test_what_is_fused_gives_what_it_did(rng):
    model = residual(rng)
    x = rng.standard_normal((2, 3, 9, 8, 7)).astype(np.float32)
    alone = residual(np.random.default_rng(0))
    alone.graph.CopyFrom(model.graph)
    for name in "abcdefg":  # what is an output is not fused away
        if name != "d":
            alone.graph.output.append(onnx.ValueInfoProto(name=name))
    alone = onnx.shape_inference.infer_shapes(alone)
    wheres = {p.name: p.where for p in voxkern.onnx.coverage(alone)}
    assert wheres["norm1"] == wheres["relu1"] == "voxkern" or wheres["relu1"] == "NumPy"
    want = voxkern.onnx.run_model(alone, [x])[0]
    rep = voxkern.onnx.prepare(model)
    for _ in range(3):  # later runs lie in the memory of the earlier
        got = rep.run([x])[0]
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-4 * abs(want).max())
    np.testing.assert_allclose(ReferenceEvaluator(model).run(None, {"x": x})[0], want, 1e-3, 1e-3)


# `p` has a kernel of size 1, `k` of 3, `c` is a constant to broadcast.
SUMS = {
    "what is given": "a = Conv(x, p)  y = Add(a, x)",
    "what the convolution reads": "a = Conv<pads=[1, 1]>(x, k)  b = Conv(a, p)  y = Add(b, a)",
    "what is viewed": "a = Conv<pads=[1, 1]>(x, k)  f = Flatten(a)  b = Conv(x, p)"
    "  s = Add(a, b)  y = Relu(s)  z = Neg(f)",
    "what is read later": "a = Conv<pads=[1, 1]>(x, k)  b = Conv(x, p)  s = Sum(b, a)"
    "  y = Relu(s)  z = Conv(a, k)",
    "an output": "z = Conv<pads=[1, 1]>(x, k)  b = Conv(x, p)  y = Add(b, z)",
    "a broadcast constant": "a = Conv(x, p)  s = Add(c, a)  y = LeakyRelu<alpha=0.5>(s)",
    "itself": "a = Conv(x, p)  y = Add(a, a)",
    "three": "a = Conv(x, p)  y = Sum(a, x, c)",
    "another of its kind": "a = Conv(x, p)  b = Conv(x, p, w)  s = Sum(a, b)"
    "  y = LeakyRelu<alpha=-2.0>(s)",
    "the sum before": "a = Conv<pads=[1, 1]>(x, k)  b = Conv<pads=[1, 1]>(a, k)  c0 = Conv(b, p)"
    "  d = Add(c0, a)  e = Relu(d)  f = Conv<pads=[1, 1]>(e, k)  g = Relu(f)  h = Conv(g, p)"
    "  i = Add(e, h)  y = Relu(i)",
    "a sum of two": "a = Conv(x, p)  b = Conv<pads=[1, 1]>(x, k)  s = Add(a, b)  t = Conv(x, p, w)"
    "  y = Add(s, t)",
}


@pytest.mark.parametrize("dtype", ["float", "double", "float16"])
@pytest.mark.parametrize("body", SUMS.values(), ids=SUMS.keys())
def test_a_convolution_adds_to_what_there_is(rng, body, dtype):
    axes = "n, f" if "Flatten" in body else "n, c, w"
    outputs = f"{dtype}[n, c, w] y" + f", {dtype}[{axes}] z" * ("z = " in body)
    model = parser.parse_model(
        '<ir_version: 10, opset_import: ["": 21]>'
        f"sums ({dtype}[2, 4, 9] x) => ({outputs}) {{{body}}}"
    )
    kind = {"float": np.float32, "double": np.float64, "float16": np.float16}[dtype]
    shapes = {"p": (4, 4, 1), "k": (4, 4, 3), "c": (4, 1), "w": (4,)}
    for name, shape in shapes.items():
        array = (rng.standard_normal(shape) / 2).astype(kind)
        model.graph.initializer.append(numpy_helper.from_array(array, name))
    x = rng.standard_normal((2, 4, 9)).astype(kind)
    kept, rep = x.copy(), voxkern.onnx.prepare(model)
    want = ReferenceEvaluator(model).run(None, {"x": x})
    for _ in range(2):
        for got, expected in zip(rep.run([x]), want):
            close = 3e-2 if kind == np.float16 else 1e-4
            np.testing.assert_allclose(got, expected, rtol=close, atol=close)
        np.testing.assert_array_equal(x, kept)


def test_coverage_says_what_runs_where(rng):
    placed = voxkern.onnx.coverage(residual(rng))
    assert [tuple(p) for p in placed] == [
        ("first", "Conv", "voxkern"),
        ("norm1", "BatchNormalization", "fused into first"),
        ("relu1", "Relu", "fused into first"),
        ("second", "Conv", "voxkern"),
        ("norm2", "BatchNormalization", "fused into second"),
        ("short", "Conv", "voxkern"),
        ("sum", "Add", "fused into short"),
        ("relu2", "Relu", "fused into short"),
        ("third", "Conv", "voxkern"),
        ("leaky", "LeakyRelu", "fused into third"),
    ]


def test_coverage_knows_constants_types_and_what_is_left(rng):
    model = parser.parse_model("""
        <ir_version: 10, opset_import: ["": 21]>
        mixed (float[n, 3, 8, 8] x, int64[2] i, float[2, 2, 2, 2, 2, 2] z)
            => (float y, int64[2] j, float m, float e) {
            [two] c = Constant <value_float = 2.0> ()
            [four] d = Mul (c, c)
            [lrn] a = LRN <size = 3> (x)
            [scaled] y = Mul (a, d)
            [ints] j = Div (i, i)
            [vast] m = GlobalMaxPool (z)
            [gone] e = Erf (x)
        }
    """)
    where = {p.name: p.where for p in voxkern.onnx.coverage(model)}
    assert where == {
        "two": "constant",
        "four": "constant",
        "lrn": "onnx.reference",
        "scaled": "NumPy",
        "ints": "onnx.reference",
        "vast": "onnx.reference",
        "gone": "onnx.reference",
    }


def test_what_coverage_says_is_what_runs(rng, monkeypatch):
    ran = []
    call = steps.Reference.__call__
    monkeypatch.setattr(
        steps.Reference,
        "__call__",
        lambda s, node, *a: ran.append(node.name) or call(s, node, *a),
    )
    model = residual(rng)
    model.graph.node.append(helper.make_node("Erf", ["y"], ["z"], name="erf"))
    model.graph.output[0].name = "z"
    voxkern.onnx.run_model(model, [rng.standard_normal((1, 3, 9, 8, 7)).astype(np.float32)])
    placed = voxkern.onnx.coverage(model)
    assert ran == [p.name for p in placed if p.where == "onnx.reference"] == ["erf"]


def test_results_are_not_overwritten_by_later_runs(rng):
    rep = voxkern.onnx.prepare(residual(rng))
    xs = [rng.standard_normal((4, 3, 9, 8, 7)).astype(np.float32) for _ in range(3)]
    results = [rep.run([x])[0] for x in xs]
    kept = [r.copy() for r in results]
    for _ in range(2):
        for x, result, want in zip(xs, results, kept):
            np.testing.assert_array_equal(rep.run([x])[0], want)
            np.testing.assert_array_equal(result, want)


def test_memory_is_lent_again(rng):
    memory = program.Memory([])
    first = memory.empty((1 << 16,), np.dtype("float32"))
    place = first.ctypes.data
    view = first[10:].reshape(2, -1)
    del first
    assert memory.empty((1 << 16,), np.dtype("float32")).ctypes.data != place
    del view
    gc.collect()
    assert memory.empty((1 << 16,), np.dtype("float32")).ctypes.data == place


def test_values_are_dropped_when_nobody_needs_them(rng, monkeypatch):
    dropped = []

    def watched(node, inputs, empty, add=operators.OPERATORS["", "Add"].run):
        dropped.append([r() is None for r in watched.seen])
        result = np.array(add(node, inputs, empty))
        watched.seen.append(weakref.ref(result))
        return result

    watched.seen = []
    monkeypatch.setitem(
        operators.OPERATORS, ("", "Add"), operators.OPERATORS["", "Add"]._replace(run=watched)
    )
    names = [f"v{i}" for i in range(5)]
    nodes = [helper.make_node("Add", [a, a], [b]) for a, b in itertools.pairwise(names)]
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [2]) for n in (names[0], names[-1])]
    voxkern.onnx.run_model(graph_model(nodes, ends[:1], ends[1:], {}), [np.ones(2, np.float32)])
    assert dropped == [[], [False], [True, False], [True, True, False]]


def test_outputs_share_no_memory_with_inputs(rng):
    x = rng.standard_normal((2, 3)).astype(np.float32)
    y = run_node("Reshape", [x, np.array([3, 2])])[0]
    y[:] = 0
    assert x.all()


def test_one_model_in_many_threads(rng):
    rep = voxkern.onnx.prepare(residual(rng))
    xs = [rng.standard_normal((2, 3, 9, 8, 7)).astype(np.float32) for _ in range(4)]
    want = [rep.run([x])[0].tobytes() for x in xs]
    wrong = []

    def work(i):
        for _ in range(5):
            if rep.run([xs[i]])[0].tobytes() != want[i]:
                wrong.append(i)

    workers = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not wrong


# --- the other entries ----------------------------------------------------------------------------


def test_the_official_evaluator_with_our_operators(rng):
    model = residual(rng)
    x = rng.standard_normal((1, 3, 9, 8, 7)).astype(np.float32)
    fast = ReferenceEvaluator(model, new_ops=voxkern.onnx.reference_ops())
    kinds = {type(node).__name__ for node in fast.rt_nodes_ if isinstance(node, backend.Ours)}
    assert kinds == {"Conv", "BatchNormalization", "LeakyRelu"}
    want = ReferenceEvaluator(model).run(None, {"x": x})[0]
    np.testing.assert_allclose(fast.run(None, {"x": x})[0], want, rtol=1e-3, atol=1e-3)


def test_the_official_evaluator_does_what_our_operators_do_not(rng):
    x = rng.standard_normal((2, 3, 2, 2, 2, 2)).astype(np.float32)
    model = typed(node_model("GlobalAveragePool", [x]))
    got = ReferenceEvaluator(model, new_ops=voxkern.onnx.reference_ops()).run(None, {"x0": x})[0]
    np.testing.assert_allclose(got, x.mean((2, 3, 4, 5), keepdims=True), rtol=1e-5)


def test_attributes_that_a_function_is_given():
    model = parser.parse_model("""
        <ir_version: 10, opset_import: ["": 21, "own": 1]>
        outer (float[n] x) => (float[n] y) { y = own.steep <slope = 0.5> (x) }
        <domain: "own", opset_import: ["": 21]>
        steep <slope> (a) => (b) { b = LeakyRelu <alpha: float = @slope> (a) }
    """)
    x = np.array([-2, 4], np.float32)
    np.testing.assert_array_equal(voxkern.onnx.run_model(model, [x])[0], [-1, 4])


def test_nan_stays_where_a_sum_is_rectified(rng):
    model = residual(rng)
    x = rng.standard_normal((1, 3, 9, 8, 7)).astype(np.float32)
    x[0, 0, 4, 4, 4] = np.nan
    got = voxkern.onnx.run_model(model, [x])[0]
    want = ReferenceEvaluator(model).run(None, {"x": x})[0]
    np.testing.assert_array_equal(np.isnan(got), np.isnan(want))


def test_run_node(rng):
    x = rng.standard_normal((2, 3, 4)).astype(np.float32)
    node = helper.make_node("Softmax", ["x"], ["y"])
    new, old = (voxkern.onnx.run_node(node, [x], opset_version=v)[0] for v in (13, 11))
    np.testing.assert_allclose(new.sum(2), 1, rtol=1e-5)
    np.testing.assert_allclose(old.sum((1, 2)), 1, rtol=1e-5)


def test_functions_of_a_model_are_inlined(rng):
    model = parser.parse_model("""
        <ir_version: 10, opset_import: ["": 21, "own": 1]>
        outer (float[n] x) => (float[n] y) { y = own.twice (x) }
        <domain: "own", opset_import: ["": 21]>
        twice (a) => (b) { b = Add (a, a) }
    """)
    x = rng.standard_normal(3).astype(np.float32)
    np.testing.assert_array_equal(voxkern.onnx.run_model(model, [x])[0], 2 * x)


def test_a_backend_for_the_cpu_alone(rng):
    assert voxkern.onnx.supports_device("CPU")
    assert not voxkern.onnx.supports_device("CUDA:0")
    with pytest.raises(ValueError, match="device is 'CUDA'"):
        voxkern.onnx.prepare(residual(rng), "CUDA")
    assert voxkern.onnx.is_compatible(residual(rng))
    assert not voxkern.onnx.is_compatible(b"no model")


# --- bad models and inputs ------------------------------------------------------------------------


def changed(change):
    """The residual network, spoiled."""
    model = residual(np.random.default_rng(0))
    change(model)
    return model


def without(model, name):
    kept = [tensor for tensor in model.graph.initializer if tensor.name != name]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)


def elsewhere(model):
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="weights.bin")


def short(model):
    model.graph.initializer[0].raw_data = b"1234"


BAD = [
    (lambda m: setattr(m.graph.node[2], "op_type", "Relux"), "'relu1': operator 'Relux'.*unknown"),
    (lambda m: setattr(m.graph.node[2], "domain", "far"), "domain 'far'"),
    (lambda m: setattr(m.opset_import[0], "version", 999), "opset 999"),
    (lambda m: m.ClearField("opset_import"), "no opset_import"),
    (lambda m: setattr(m.opset_import[0], "version", 5), "LeakyRelu|BatchNormalization|Add"),
    (lambda m: without(m, "w2"), "'second' reads 'w2'.*initialiser is missing"),
    (lambda m: m.graph.node[0].input.__setitem__(0, "y"), "'first' reads 'y' before.*cycle"),
    (lambda m: setattr(m.graph.output[0], "name", "q"), "output 'q'"),
    (lambda m: m.graph.node.append(m.graph.node[0]), "model is not valid.*SSA"),
    (elsewhere, "'w1'.*file of its own"),
    (short, "w1"),
]


@pytest.mark.parametrize(("change", "message"), BAD)
def test_bad_models_are_refused_by_name(change, message):
    model = changed(change)
    with pytest.raises(ValueError, match=f"(?s){message}"):
        voxkern.onnx.prepare(model)


def test_words_that_onnx_has_not_are_refused(rng):
    x = rng.standard_normal((1, 2, 5, 5)).astype(np.float32)
    model = typed(node_model("MaxPool", [x], kernel_shape=[2, 2], auto_pad="SAME"))
    with pytest.raises(ValueError, match="auto_pad is 'SAME'"):
        voxkern.onnx.run_model(model, [x])
    w, r = (rng.standard_normal((1, 3, n)).astype(np.float32) for n in (5, 3))
    model = typed(node_model("RNN", [x[0], w, r], hidden_size=3, direction="up"))
    with pytest.raises(ValueError, match="direction is 'up'"):
        voxkern.onnx.run_model(model, [x[0], w, r])
    sizes = np.array([1, 2, 9, 9])
    model = typed(node_model("Resize", [x, None, None, sizes], nearest_mode="up"))
    assert voxkern.onnx.coverage(model)[0].where == "onnx.reference"


def test_bytes_that_are_no_model(rng, tmp_path):
    data = residual(rng).SerializeToString()
    for broken in (b"", b"\xff" * 64, data[: len(data) // 2]):
        with pytest.raises(ValueError, match=r"model|initialiser|output"):
            voxkern.onnx.prepare(broken)
    file = tmp_path / "model.onnx"
    file.write_bytes(data[:1000])
    with pytest.raises(ValueError, match="model"):
        voxkern.onnx.prepare(file)
    with pytest.raises(FileNotFoundError):
        voxkern.onnx.prepare(tmp_path / "none.onnx")
    with pytest.raises(TypeError, match="model is a int"):
        voxkern.onnx.prepare(3)


def test_flipped_bytes_never_do_worse_than_an_error(rng):
    data = residual(rng).SerializeToString()
    x = np.ones((1, 3, 9, 8, 7), np.float32)
    for _ in range(60):
        broken = bytearray(data)
        broken[rng.integers(0, 1200)] ^= int(rng.integers(1, 256))
        try:
            voxkern.onnx.prepare(bytes(broken)).run([x])
        except (ValueError, TypeError):
            continue


def test_bad_inputs_are_refused_by_name(rng):
    rep = voxkern.onnx.prepare(residual(rng))
    x = np.ones((1, 3, 9, 8, 7), np.float32)
    for inputs, error, message in (
        ([], ValueError, r"0 values; the model takes \['x'\]"),
        ({"z": x}, ValueError, r"inputs are \['z'\]"),
        ([x.astype(int)], TypeError, "'x' has dtype int64; it must be float32"),
        ([x[:, :2]], ValueError, r"'x' has shape \(1, 2, 9, 8, 7\); it must be \('any', 3"),
        ([x[0]], ValueError, r"'x' has shape \(3, 9, 8, 7\)"),
    ):
        with pytest.raises(error, match=message):
            rep.run(inputs)
    want = rep.run(x)[0]
    np.testing.assert_array_equal(rep.run({"x": x.astype(">f4")})[0], want)
    np.testing.assert_array_equal(rep.run([np.asfortranarray(x)])[0], want)


def test_what_nobody_serves_is_refused():
    x, w, r = np.ones((3, 2, 4)), np.ones((1, 9, 4)), np.ones((1, 9, 3))
    model = typed(node_model("GRU", [x, w, r], hidden_size=3, clip=1.0))
    with pytest.raises(ValueError, match="activations, clip and input_forget"):
        voxkern.onnx.run_model(model, [x, w, r])
    lengths = np.array([3, 1], np.int32)
    model = typed(node_model("GRU", [x, w, r, None, lengths], hidden_size=3))
    with pytest.raises(ValueError, match="sequence_lens must all be 3"):
        voxkern.onnx.run_model(model, [x, w, r, lengths])


def test_the_example_of_the_module_is_right():
    failed, tried = doctest.testmod(voxkern.onnx, extraglobs={"np": np, "voxkern": voxkern})
    assert failed == 0 < tried


def test_onnx_is_imported_by_the_module_alone():
    code = "import sys, voxkern; print('onnx' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
