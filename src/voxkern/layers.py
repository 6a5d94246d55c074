"""Convolution layers that networks have, and who can compute them: for benchmarks.

A plan is measured as its users pay it: weights packed before, the result in `out`; onnxruntime has
the same. torch has no `out=` for convolution and ncnn returns its own array: a plan that allocates
is measured against them.
"""

import math
import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np

import voxkern
from voxkern import reference, timing
from voxkern.timing import normal, optional, per_axis

# The contender of ours that does as much as a peer: a fresh result, or one in place.
SAME_TERMS = {"torch": "plan, fresh", "onnxruntime": "plan", "ncnn": "plan, fresh"}


class Layer(NamedTuple):
    """One layer; `x` is the shape of its input, the numbers are those of the call."""

    name: str
    x: tuple
    outputs: int
    kernel: tuple
    stride: int | tuple = 1
    padding: int | tuple = 0
    dilation: int | tuple = 1
    groups: int = 1

    @property
    def axes(self):
        """Number of spatial axes."""
        return len(self.kernel)


POINT, TWO, THREE, FIVE = ((k, k, k) for k in (1, 2, 3, 5))

# Video, MRI and image networks.
VIDEO = [
    Layer("C3D stem", (1, 3, 16, 112, 112), 64, THREE, 1, 1),
    Layer("R(2+1)D stem", (1, 3, 16, 112, 112), 64, (3, 7, 7), (1, 2, 2), (1, 3, 3)),
    Layer("64 channels", (1, 64, 16, 56, 56), 64, THREE, 1, 1),
    Layer("64 to 128, stride 2", (1, 64, 16, 56, 56), 128, THREE, 2, 1),
    Layer("128 channels", (1, 128, 8, 28, 28), 128, THREE, 1, 1),
    Layer("256 channels", (1, 256, 4, 14, 14), 256, THREE, 1, 1),
    Layer("512 channels", (1, 512, 2, 7, 7), 512, THREE, 1, 1),
    Layer("MRI", (1, 1, 128, 128, 128), 32, THREE, 1, 1),
    Layer("U-Net", (1, 32, 64, 64, 64), 32, THREE, 1, 1),
    Layer("pointwise", (1, 64, 16, 56, 56), 256, POINT),
    Layer("pointwise to 4", (1, 32, 96, 96, 96), 4, POINT),
    Layer("depthwise", (1, 54, 16, 56, 56), 54, THREE, 1, 1, 1, 54),
    Layer("kernel 5", (1, 16, 48, 48, 48), 16, FIVE),
    Layer("2-D 64 channels", (1, 64, 56, 56), 64, (3, 3), 1, 1),
    Layer("2-D 256 channels", (1, 256, 14, 14), 256, (3, 3), 1, 1),
    Layer("2-D stem", (1, 3, 224, 224), 64, (7, 7), 2, 3),
    Layer("2-D pointwise", (1, 512, 28, 28), 128, (1, 1)),
]
CHANNELS_32_TO_512 = ("64 channels", "128 channels", "256 channels", "512 channels", "U-Net")
CUBED = [layer for layer in VIDEO if layer.name in CHANNELS_32_TO_512]

# Medical segmentation: few channels, small volumes.
SEGMENTATION = [
    Layer("8 channels, 64^3", (1, 8, 64, 64, 64), 8, THREE, 1, 1),
    Layer("16 channels, 32^3", (1, 16, 32, 32, 32), 16, THREE, 1, 1),
    Layer("16 channels, 64^3", (1, 16, 64, 64, 64), 16, THREE, 1, 1),
    Layer("24 channels, 48^3", (1, 24, 48, 48, 48), 24, THREE, 1, 1),
    Layer("32 channels, 32^3", (1, 32, 32, 32, 32), 32, THREE, 1, 1),
    Layer("64 channels, 16^3", (1, 64, 16, 16, 16), 64, THREE, 1, 1),
    Layer("1 to 16, 96^3", (1, 1, 96, 96, 96), 16, THREE, 1, 1),
    Layer("8 to 16, 64^3, stride 2", (1, 8, 64, 64, 64), 16, THREE, 2, 1),
    Layer("32 to 64, 32^3, stride 2", (1, 32, 32, 32, 32), 64, THREE, 2, 1),
    Layer("16 to 3, 64^3, pointwise", (1, 16, 64, 64, 64), 3, POINT),
    Layer("48 to 96, 32^3, patches of 2", (1, 48, 32, 32, 32), 96, TWO, 2),
]

# 2-D, kernel 3: where ncnn has Winograd as well.
IMAGES = [
    Layer(f"{channels} channels, {size}^2", (1, channels, size, size), channels, (3, 3), 1, 1)
    for channels, size in ((64, 56), (128, 28), (256, 14), (512, 7), (32, 256))
]

# What a library tuned to the lists above might forget.
OTHER = [
    Layer("one filter on MRI", (1, 1, 128, 128, 128), 1, THREE, 1, 1),
    Layer("37 to 41, odd sizes", (1, 37, 13, 45, 53), 41, THREE, 1, 1),
    Layer("batch of 32 images", (32, 64, 8, 8), 64, (3, 3), 1, 1),
    Layer("32 to 32, 128^3", (1, 32, 128, 128, 128), 32, THREE, 1, 1),
    Layer("kernel 5x3x3", (1, 32, 16, 56, 56), 32, (5, 3, 3), 1, (2, 1, 1)),
    Layer("kernel 7, 8 channels", (1, 8, 48, 48, 48), 8, (7, 7, 7), 1, 3),
    Layer("kernel 15, one channel", (1, 1, 64, 64, 64), 4, (15, 15, 15), 1, 7),
    Layer("dilation 2", (1, 32, 32, 32, 32), 32, THREE, 1, 2, 2),
    Layer("8 groups", (1, 64, 16, 28, 28), 64, THREE, 1, 1, 1, 8),
    Layer("2-D depthwise", (1, 144, 56, 56), 144, (3, 3), 1, 1, 1, 144),
    Layer("patches of 16", (1, 3, 224, 224), 768, (16, 16), 16),
    Layer("1-D, audio", (4, 64, 8000), 64, (9,), 1, 4),
]

# `outputs` and `x` are those of the transposed call.
TRANSPOSED = [
    Layer("64 to 32, 16^3, kernel 2 stride 2", (1, 64, 16, 16, 16), 32, TWO, 2),
    Layer("32 to 16, 32^3, kernel 2 stride 2", (1, 32, 32, 32, 32), 16, TWO, 2),
    Layer("64 to 32, 16^3, kernel 4 stride 2", (1, 64, 16, 16, 16), 32, (4, 4, 4), 2, 1),
    Layer("32 to 16, 32^3, kernel 4 stride 2", (1, 32, 32, 32, 32), 16, (4, 4, 4), 2, 1),
    Layer("64 to 32, 16^3, kernel 3 stride 2", (1, 64, 16, 16, 16), 32, THREE, 2, 1),
]

TINY = Layer("1 channel, 8^3", (1, 1, 8, 8, 8), 1, THREE, 1, 1)

SMALL = [
    Layer("grouped", (1, 4, 5, 13, 11), 6, THREE, 2, 1, 1, 2),
    Layer("one filter", (1, 1, 13, 12, 11), 1, THREE, 1, 1),
    Layer("2-D", (1, 5, 11, 13), 3, (3, 3), 1, 1),
    Layer("1-D", (2, 3, 17), 5, (4,), 1, 1, 2),
]


def forward(layer):
    """Floating-point operations of a layer's direct sum, and the contenders that compute it."""
    ours, oracle = (getattr(m, f"conv{layer.axes}d") for m in (voxkern, reference))
    x, weight = operands(layer)
    rest = None, layer.stride, layer.padding, layer.dilation, layer.groups
    out = ours(x, weight, *rest)
    plan = voxkern.ConvPlan(weight, *rest)
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
    if not timing.HELD and (ncnn := optional("ncnn")):
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
