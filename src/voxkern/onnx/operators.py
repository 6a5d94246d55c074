"""Which operators of ONNX are ours, on what, and by which function."""

from typing import NamedTuple

import numpy as np
import onnx

from voxkern import _check
from voxkern.onnx import arrays, layers, windows

FLOATS, NUMBERS = set(map(np.dtype, _check.FLOATS)), set(map(np.dtype, _check.NUMBERS))
BYTES = {np.dtype("int8"), np.dtype("uint8")}
PLAIN = {onnx.helper.np_dtype_to_tensor_dtype(dtype): dtype for dtype in NUMBERS}
TRAINING = "ai.onnx.preview.training"


class Node(NamedTuple):
    """An operator's place in a model: its version, attributes as Python values, names."""

    name: str
    domain: str
    op_type: str
    opset: int
    attributes: dict
    inputs: tuple
    outputs: tuple

    def get(self, name, default=None):
        return self.attributes.get(name, default)


class Operator(NamedTuple):
    """`run(node, inputs, empty)` computes what `admits(node, inputs)`; `inputs` may be specs."""

    run: object
    admits: object
    where: str = "voxkern"


def node_of(proto, opsets):
    """A NodeProto of a model with these opsets by domain, without attributes that are graphs."""
    domain = "" if proto.domain == "ai.onnx" else proto.domain
    attributes = {a.name: _attribute(a) for a in proto.attribute if not a.ref_attr_name}
    name = proto.name or f"{proto.op_type} of {', '.join(proto.output)}"
    names = tuple(proto.input), tuple(proto.output)
    return Node(name, domain, proto.op_type, opsets.get(domain, 1), attributes, *names)


def _attribute(proto):
    value = onnx.helper.get_attribute_value(proto)
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if isinstance(value, onnx.TensorProto):
        return onnx.numpy_helper.to_array(value)
    if proto.type == onnx.AttributeProto.STRINGS:
        return [v.decode(errors="replace") for v in value]
    return list(value) if proto.type in (proto.INTS, proto.FLOATS) else value


# --- what is admitted -----------------------------------------------------------------------------


def numbers(node, inputs):
    return all(x is None or x.dtype in NUMBERS for x in inputs)


def floats(node, inputs):
    return inputs[0].dtype in FLOATS


def alike(node, inputs):
    return floats(node, inputs) and len({x.dtype for x in inputs if x is not None}) == 1


def same_numbers(node, inputs):
    return numbers(node, inputs) and len({x.dtype for x in inputs}) == 1


def spatial(node, inputs):
    return floats(node, inputs) and 3 <= inputs[0].ndim <= 5


def convolves(node, inputs):
    return alike(node, inputs) and 3 <= inputs[0].ndim <= 5


def pools_maxima(node, inputs):
    return inputs[0].dtype in FLOATS | BYTES and 3 <= inputs[0].ndim <= 5


def unpools(node, inputs):
    """Our kernel knows one padding for both sides, of half a window at most."""
    kernel = node.get("kernel_shape")
    ends = [b + a for b, a in windows.pads_of(node, inputs[0].ndim - 2)]
    return spatial(node, inputs) and all(e % 2 == 0 and 0 <= e <= k for e, k in zip(ends, kernel))


def normalises(node, inputs):
    return floats(node, inputs) and inputs[0].ndim >= 2 and node.get("spatial", 1) == 1


def normalises_batch(node, inputs):
    # Before 14 what a training node gives beside Y was left open.
    return normalises(node, inputs) and not (node.opset < 14 and layers.trains(node))


def normalises_layers(node, inputs):
    rank = inputs[0].ndim - node.get("axis", -1) % max(inputs[0].ndim, 1)
    return alike(node, inputs) and all(x is None or x.ndim <= rank for x in inputs[1:])


def stacks(node, inputs):
    """Cols of a batch, of 1 to 3 axes."""
    return floats(node, inputs) and inputs[0].ndim == 3


def resizes(node, inputs):
    mode = node.get("mode", "nearest")
    known = (
        node.get("coordinate_transformation_mode", "half_pixel") in windows.COORDINATES
        and node.get("nearest_mode", "floor") in windows.ROUNDED
        and node.get("keep_aspect_ratio_policy", "stretch") in windows.POLICIES
    )
    if node.get("antialias", 0) or not known or mode not in ("nearest", "linear", "bilinear"):
        return False
    return inputs[0].dtype in (NUMBERS if mode == "nearest" else FLOATS)


def multiplies(node, inputs):
    return alike(node, inputs) and min(x.ndim for x in inputs) >= 1


def casts(node, inputs):
    return numbers(node, inputs) and node.get("to") in PLAIN


def recurs(node, inputs):
    """Plain cells; the peepholes of an LSTM and a reset before a GRU's product are not ours."""
    functions = [f.lower() for f in node.get("activations", ())]
    usual = {"RNN": ("tanh",), "GRU": ("sigmoid", "tanh"), "LSTM": ("sigmoid", "tanh", "tanh")}
    usual = usual[node.op_type] * (2 if node.get("direction") == "bidirectional" else 1)
    rectified = node.op_type == "RNN" and set(functions) == {"relu"}
    if (functions and tuple(functions) != usual and not rectified) or (
        "clip" in node.attributes or node.get("input_forget", 0)
    ):  # onnx.reference would leave them out in silence
        raise ValueError(f"node {node.name}: activations, clip and input_forget are not served")
    ours = len(inputs) < 8 or inputs[7] is None
    if node.op_type == "GRU":
        ours = bool(node.get("linear_before_reset", 0))
    given = [x for i, x in enumerate(inputs) if x is not None and i != 4]
    return ours and alike(node, given)


def loses(node, inputs):
    return floats(node, inputs) and inputs[0].ndim >= 2


def trains(node, inputs):
    return alike(node, inputs[2:])


OURS = {
    "AveragePool": Operator(windows.average_pool, spatial),
    "BatchNormalization": Operator(layers.batch_normalization, normalises_batch),
    "Col2Im": Operator(windows.col2im, stacks),
    "Conv": Operator(windows.conv_, convolves),
    "ConvTranspose": Operator(windows.conv_transpose, convolves),
    "Dropout": Operator(layers.dropout, floats),
    "Elu": Operator(layers.elu, floats),
    "GRU": Operator(layers.gru, recurs),
    "GlobalAveragePool": Operator(windows.global_average_pool, spatial),
    "GlobalLpPool": Operator(windows.global_lp_pool, spatial),
    "GlobalMaxPool": Operator(windows.global_max_pool, spatial),
    "GroupNormalization": Operator(layers.group_normalization, normalises),
    "InstanceNormalization": Operator(layers.instance_normalization, normalises),
    "LSTM": Operator(layers.lstm, recurs),
    "LayerNormalization": Operator(layers.layer_normalization, normalises_layers),
    "LeakyRelu": Operator(layers.leaky_relu, floats),
    "LogSoftmax": Operator(layers.log_softmax, floats),
    "LpPool": Operator(windows.lp_pool, spatial),
    "MaxPool": Operator(windows.max_pool, pools_maxima),
    "MaxUnpool": Operator(windows.max_unpool, unpools),
    "NegativeLogLikelihoodLoss": Operator(layers.negative_log_likelihood_loss, loses),
    "RNN": Operator(layers.rnn, recurs),
    "Selu": Operator(layers.selu, floats),
    "Sigmoid": Operator(layers.sigmoid, floats),
    "Softmax": Operator(layers.softmax, floats),
    "SoftmaxCrossEntropyLoss": Operator(layers.softmax_cross_entropy_loss, loses),
}
OF_NUMPY = {
    "Abs": (arrays.unary(np.absolute), numbers),
    "Add": (arrays.binary(np.add), same_numbers),
    "Cast": (arrays.cast, casts),
    "Ceil": (arrays.unary(np.ceil), floats),
    "Clip": (layers.clip, numbers),
    "Concat": (arrays.concat, same_numbers),
    "Div": (arrays.binary(np.divide), alike),  # of integers it is cut off, not floored
    "Exp": (arrays.unary(np.exp), floats),
    "Flatten": (arrays.flatten, numbers),
    "Floor": (arrays.unary(np.floor), floats),
    "Gather": (arrays.gather, numbers),
    "Gemm": (layers.gemm, alike),
    "HardSigmoid": (layers.hard_sigmoid, floats),
    "Identity": (arrays.identity, numbers),
    "Log": (arrays.unary(np.log), floats),
    "MatMul": (layers.matmul, multiplies),
    "Max": (arrays.variadic(np.maximum), same_numbers),
    "Mean": (arrays.mean, alike),
    "Min": (arrays.variadic(np.minimum), same_numbers),
    "Mul": (arrays.binary(np.multiply), same_numbers),
    "Neg": (arrays.unary(np.negative), floats),
    "PRelu": (layers.prelu, alike),
    "Pad": (arrays.pad, numbers),
    "ReduceMean": (arrays.reduce_mean, floats),
    "Relu": (arrays.relu, numbers),
    "Reshape": (arrays.reshape, numbers),
    "Resize": (windows.resize, resizes),
    "Shape": (arrays.shape, numbers),
    "Slice": (arrays.slice_, numbers),
    "Softplus": (layers.softplus, floats),
    "Softsign": (layers.softsign, floats),
    "Split": (arrays.split, numbers),
    "Sqrt": (arrays.unary(np.sqrt), floats),
    "Squeeze": (arrays.squeeze, numbers),
    "Sub": (arrays.binary(np.subtract), same_numbers),
    "Sum": (arrays.variadic(np.add), alike),
    "Tanh": (layers.tanh, floats),
    "TopK": (arrays.top_k, numbers),
    "Transpose": (arrays.transpose, numbers),
    "Unsqueeze": (arrays.unsqueeze, numbers),
    "Upsample": (windows.resize, resizes),
}
OPERATORS = {("", name): operator for name, operator in OURS.items()}
OPERATORS |= {("", name): Operator(*both, "NumPy") for name, both in OF_NUMPY.items()}
OPERATORS |= {
    (TRAINING, "Adam"): Operator(layers.adam, trains),
    (TRAINING, "Momentum"): Operator(layers.momentum, trains),
}
