"""Whole ONNX models through voxkern.onnx beside onnxruntime, and onnx.reference with our operators.

One thread, CPU time of the calling thread. The two sides in turn, each for a fifth of a second: the
least of each, and how many times ours the peer takes by the least and by the medians.

    OMP_NUM_THREADS=1 python asv_bench/onnx_models.py [turns]
"""

import statistics
import sys
import time
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

import voxkern
import voxkern.onnx

TURN = 0.2  # s


class Network:
    """Nodes and random weights, one after another; each method gives the name of its result."""

    def __init__(self, channels, size, axes):
        self.rng, self.nodes, self.weights, self.axes = np.random.default_rng(0), [], [], axes
        shape = [1, channels, *(size,) * axes]
        self.input = helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)
        self.x = self.rng.standard_normal(shape, np.float32)

    def add(self, op_type, *inputs, **attributes):
        name = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(op_type, inputs, [name], name=name, **attributes))
        return name

    def weight(self, array):
        self.weights.append(numpy_helper.from_array(np.float32(array), f"w{len(self.weights)}"))
        return self.weights[-1].name

    def conv(self, x, inputs, outputs, kernel, stride=1, relu=True):
        """Convolution, batch normalisation and, with `relu`, ReLU."""
        shape = outputs, inputs, *(kernel,) * self.axes
        deviation = (2 / inputs / kernel**self.axes) ** 0.5
        weight = self.weight(self.rng.standard_normal(shape) * deviation)
        pads, strides = [kernel // 2] * 2 * self.axes, [stride] * self.axes
        x = self.add("Conv", x, weight, pads=pads, strides=strides)
        rows = [self.rng.random(outputs) / 10 + at for at in (1, 0, 0, 1)]
        x = self.add("BatchNormalization", x, *map(self.weight, rows))
        return self.add("Relu", x) if relu else x

    def up(self, x, inputs, outputs):
        shape = inputs, outputs, *(2,) * self.axes
        weight = self.weight(self.rng.standard_normal(shape) / inputs**0.5)
        return self.add("ConvTranspose", x, weight, strides=[2] * self.axes)

    def model(self):
        last = self.nodes[-1].output[0]
        rank = 2 if self.nodes[-1].op_type in ("Gemm", "Flatten") else self.axes + 2
        output = helper.make_tensor_value_info(last, TensorProto.FLOAT, [None] * rank)
        graph = helper.make_graph(self.nodes, "network", [self.input], [output], self.weights)
        opset = helper.make_opsetid("", 17)
        return helper.make_model(graph, opset_imports=[opset], ir_version=8)


def unet(size=64, width=16, depth=4):
    """A 3-D U-Net as of medical segmentation: pairs of 3x3x3, halved and doubled again."""
    net = Network(1, size, 3)
    x, inputs, kept = "x", 1, []
    for level in range(depth):
        outputs = width << level
        if level:
            x = net.add("MaxPool", x, kernel_shape=[2] * 3, strides=[2] * 3)
        x = net.conv(net.conv(x, inputs, outputs, 3), outputs, outputs, 3)
        inputs = outputs
        kept.append(x)
    for level in reversed(range(depth - 1)):
        outputs = width << level
        x = net.add("Concat", net.up(x, inputs, outputs), kept[level], axis=1)
        x = net.conv(net.conv(x, 2 * outputs, outputs, 3), outputs, outputs, 3)
        inputs = outputs
    net.conv(x, inputs, 3, 1, relu=False)
    return net


def resnet(size=224, blocks=(3, 4, 6, 3)):
    """ResNet-50 for images."""
    net = Network(3, size, 2)
    x, inputs = net.conv("x", 3, 64, 7, 2), 64
    x = net.add("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    for stage, count in enumerate(blocks):
        for block in range(count):
            width, stride = 64 << stage, 2 if stage and not block else 1
            y = net.conv(net.conv(x, inputs, width, 1), width, width, 3, stride)
            y = net.conv(y, width, 4 * width, 1, relu=False)
            if not block:
                x = net.conv(x, inputs, 4 * width, 1, stride, relu=False)
            x = net.add("Relu", net.add("Add", x, y))
            inputs = 4 * width
    x = net.add("Flatten", net.add("GlobalAveragePool", x))
    weight = net.weight(net.rng.standard_normal((inputs, 1000)) / inputs**0.5)
    net.add("Gemm", x, weight, net.weight(np.zeros(1000)))
    return net


def one_convolution(inputs, outputs, size):
    net = Network(inputs, size, 3)
    weight = net.weight(net.rng.standard_normal((outputs, inputs, 3, 3, 3)))
    net.add("Conv", "x", weight, pads=[1] * 6)
    return net


def light_resnet():
    """The ResNet-50 of ONNX's own tests, whose weights are constants."""
    path = Path(onnx.__file__).parent / "backend/test/data/light/light_resnet50.onnx"
    return onnx.load(path)


def row(name, ours, its, turns):
    """Time two functions in turn, and print what they took."""
    seconds = [], []
    for turn in range(turns + 1):
        for taken, function in zip(seconds, (ours, its)):
            begin = last = time.thread_time()
            while last - begin < TURN:
                function()
                before, last = last, time.thread_time()
                if turn:
                    taken.append(last - before)
    least, middle = ([of(taken) for taken in seconds] for of in (min, statistics.median))
    ratios = " | ".join(f"{b / a:.3g}" for a, b in (least, middle))
    print(f"| {name} | {least[0] * 1e3:.2f} | {least[1] * 1e3:.1f} | {ratios} |", flush=True)


def beside_onnxruntime(name, model, x, turns):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options)
    rep = voxkern.onnx.prepare(model)
    feeds = {name: x for name in rep.input_names}
    want, (got,) = session.run(None, feeds)[0], rep.run(feeds)
    assert abs(got - want).max() <= 1e-3 * abs(want).max()
    row(name, lambda: rep.run(feeds), lambda: session.run(None, feeds), turns)


def with_our_operators(name, net, turns):
    model = net.model()
    fast = ReferenceEvaluator(model, new_ops=voxkern.onnx.reference_ops())
    slow = ReferenceEvaluator(model)
    np.testing.assert_allclose(*(e.run(None, {"x": net.x})[0] for e in (fast, slow)), 1e-3, 1e-3)
    row(name, *(lambda e=e: e.run(None, {"x": net.x}) for e in (fast, slow)), turns)


def main(turns=5):
    voxkern.set_num_threads(1)
    print("| | voxkern, ms | peer, ms | ratio | of medians |\n|---|---:|---:|---:|---:|")
    for size in (32, 64):
        net = unet(size)
        beside_onnxruntime(f"3-D U-Net, 16 to 128 channels, {size}^3", net.model(), net.x, turns)
    net = resnet()
    beside_onnxruntime("ResNet-50, 224^2", net.model(), net.x, turns)
    beside_onnxruntime("ONNX's light_resnet50, 224^2", light_resnet(), net.x, turns)
    for inputs, outputs, size in ((8, 16, 24), (32, 32, 32), (64, 64, 32)):
        name = f"`onnx.reference`, Conv 3x3x3, {inputs} to {outputs} channels, {size}^3"
        with_our_operators(name, one_convolution(inputs, outputs, size), turns)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
