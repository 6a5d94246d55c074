"""`voxkern bench conv`: the layers of `layers.py` beside torch, onnxruntime and ncnn.

A plan is measured as its users pay it: weights packed before, the result in `out`; onnxruntime has
the same. torch has no `out=` for convolution and ncnn returns its own array: a plan that allocates
is measured against them.
"""

import math
import tempfile
from pathlib import Path

import numpy as np

import voxkern
from voxkern import reference, timing
from voxkern.timing import normal, optional, per_axis

# The contender of ours that does as much as a peer: a fresh result, or one in place.
SAME_TERMS = {"torch": "plan, fresh", "onnxruntime": "plan", "ncnn": "plan, fresh"}


def forward(layer):
    """Floating-point operations of a layer's direct sum, and the contenders that compute it."""
    ours, oracle = (getattr(m, f"conv{layer.axes}d") for m in (voxkern, reference))
    x, weight = operands(layer)
    rest = None, layer.stride, layer.padding, layer.dilation, layer.groups
    out = ours(x, weight, *rest)
    plan = planned(weight, *rest)
    contenders = {
        "plan": lambda: plan(x, out=out),
        "plan, fresh": lambda: plan(x),
        "call": lambda: ours(x, weight, *rest),
        "NumPy": lambda: oracle(x, weight, *rest),
    }
    if torch := optional("torch"):
        theirs = getattr(torch.nn.functional, f"conv{layer.axes}d")
        tensors = torch.from_numpy(x), torch.from_numpy(weight)
        contenders["torch"] = lambda: theirs(*tensors, *rest)
    contenders |= timing.onnxruntime(
        "Conv",
        {"x": x, "w": weight},
        out.shape,
        strides=per_axis(layer.stride, layer.axes),
        pads=per_axis(layer.padding, layer.axes) * 2,
        dilations=per_axis(layer.dilation, layer.axes),
        group=layer.groups,
    )
    return 2 * out.size * weight[0].size, contenders


def with_ncnn(layer):
    """`forward`, and ncnn where it is installed, its conversions of input and output counted."""
    work, contenders = forward(layer)
    if ncnn := optional("ncnn"):
        x, weight = operands(layer)
        net = ncnn.Net()
        net.opt.num_threads = voxkern.get_num_threads()
        for shorter in ("fp16_packed", "fp16_storage", "fp16_arithmetic", "bf16_storage"):
            setattr(net.opt, f"use_{shorter}", False)
        with tempfile.TemporaryDirectory() as folder:
            graph, weights = Path(folder, "net.param"), Path(folder, "net.bin")
            numbers = {0: len(weight), 1: layer.kernel[0], 3: layer.stride, 4: layer.padding}
            numbers |= {5: 0, 6: weight.size}
            numbers = " ".join(f"{key}={value}" for key, value in numbers.items())
            graph.write_text(f"7767517\n2 2\nInput x 0 1 x\nConvolution y 1 1 x y {numbers}\n")
            weights.write_bytes(bytes(4) + weight.tobytes())  # 4 bytes: float32
            net.load_param(str(graph))
            net.load_model(str(weights))

        def call():
            extractor = net.create_extractor()
            extractor.input("x", ncnn.Mat(x[0]))
            return np.array(extractor.extract("y")[1])[None]

        contenders["ncnn"] = call
    return work, contenders


def transposed(layer):
    """Work and contenders of a transposed convolution."""
    ours, oracle = (getattr(m, f"conv_transpose{layer.axes}d") for m in (voxkern, reference))
    x = normal(layer.x)
    weight = normal((layer.x[1], layer.outputs // layer.groups, *layer.kernel))
    rest = None, layer.stride, layer.padding, 0, layer.groups, layer.dilation
    contenders = {
        "call": lambda: ours(x, weight, *rest),
        "NumPy": lambda: oracle(x, weight, *rest),
    }
    if torch := optional("torch"):
        theirs = getattr(torch.nn.functional, f"conv_transpose{layer.axes}d")
        tensors = torch.from_numpy(x), torch.from_numpy(weight)
        contenders["torch"] = lambda: theirs(*tensors, *rest)
    return 2 * x.size * weight[0].size, contenders


def backward(layer):
    """Work and contenders of all three gradients; torch's are what its autograd calls."""
    ours, oracle = (getattr(m, f"conv{layer.axes}d_backward") for m in (voxkern, reference))
    x, weight = operands(layer)
    window = layer.stride, layer.padding, layer.dilation, layer.groups
    shape = getattr(voxkern, f"conv{layer.axes}d")(x, weight, None, *window).shape
    grad = normal(shape)
    contenders = {
        "call": lambda: ours(grad, x, weight, *window),
        "NumPy": lambda: oracle(grad, x, weight, *window),
    }
    if torch := optional("torch"):
        tensors = [torch.from_numpy(a) for a in (grad, x, weight)]
        rest = [per_axis(size, layer.axes) for size in window[:3]]
        rest += [False, [0] * layer.axes, layer.groups, [True] * 3]
        theirs = torch.ops.aten.convolution_backward
        contenders["torch"] = lambda: theirs(*tensors, [layer.outputs], *rest)
    return 4 * grad.size * weight[0].size, contenders


def operands(layer):
    """Input and weights of a layer, the outputs near 1."""
    weight = normal((layer.outputs, layer.x[1] // layer.groups, *layer.kernel))
    return normal(layer.x), weight / np.float32(math.sqrt(weight[0].size))


def planned(weight, *rest):
    if hasattr(voxkern, "ConvPlan"):
        return voxkern.ConvPlan(weight, *rest)
    ours = getattr(voxkern, f"conv{weight.ndim - 2}d")
    return lambda x, out=None: ours(x, weight, *rest, out=out)
