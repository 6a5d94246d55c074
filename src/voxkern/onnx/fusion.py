"""Nodes that are run as one: a convolution does the work of those that alone read it."""

import collections
import functools
from typing import NamedTuple

import numpy as np

from voxkern.batchnorm import scale_and_shift
from voxkern.conv import folded
from voxkern.onnx import arrays, layers, windows
from voxkern.onnx.operators import FLOATS, OPERATORS
from voxkern.onnx.steps import Step, stepped, tensors


class Planned(NamedTuple):
    """A convolution with constant weights, the normalisation in them, and what alone reads it."""

    node: object
    weight: object
    bias: object
    chain: tuple
    follower: tuple | None


class Fusion:
    """The steps of nodes in order, each of which is given with its proto.

    Attributes
    ----------
    steps : list of Step
    """

    def __init__(self, nodes, constants, outputs, opsets):
        self.constants, self.outputs, self.opsets = constants, set(outputs), opsets
        self.readers = collections.defaultdict(list)
        for pair in nodes:
            for name in pair[0].inputs:
                self.readers[name].append(pair)
        self.steps = []
        self.waiting = {}  # convolutions by the sum that they are to be part of
        self.done = set()  # results of nodes that are part of a step, or of one that waits
        self.own = set()  # results of steps that are convolutions: in memory of their own
        self.ran = set()  # the nodes that these begin with
        for node, proto in nodes:
            if node.outputs[0] not in self.done:
                self._take(node, proto)

    def _take(self, node, proto):
        name, follower = node.outputs[0], self._reader(node)
        if _is_planned(node, self.constants):
            self._convolution(self._with_norm(node))
        elif name in self.waiting:
            self._sum(self.waiting.pop(name), node, proto)
        elif _adds_two(node) and _is(follower, "Relu"):
            into = [self._ends_in(n, node) for n in node.inputs]
            run, relu = stepped(node, proto, self.opsets), stepped(*follower, self.opsets)
            run = _rectified(run, follower[0], relu, into)
            self._append(run, node.inputs, [node, follower[0]])
        else:
            self._append(stepped(node, proto, self.opsets), node.inputs, [node])

    def _append(self, run, inputs, chain):
        self.done.update(n.outputs[0] for n in chain)
        self.steps.append(Step(chain[0], run, inputs, chain[-1].outputs, tuple(chain[1:])))

    def _append_planned(self, run, inputs, chain):
        self.own.add(chain[-1].outputs[0])
        self.ran.add(chain[0].outputs[0])
        self._append(run, inputs, chain)

    def _reader(self, node):
        """The one node, with its proto, that reads the result of this one; None of several."""
        readers = self.readers[node.outputs[0]]
        alone = len(readers) == 1 and node.outputs[0] not in self.outputs
        return readers[0] if alone else None

    def _with_norm(self, node):
        weight, bias = ([self.constants.get(n) for n in node.inputs[1:]] + [None])[:2]
        chain, follower = (node,), self._reader(node)
        norm = _normalisation(follower, self.constants, weight)
        if norm is not None:
            weight, bias = folded(weight, bias, *norm)
            chain, follower = (node, follower[0]), self._reader(follower[0])
        return Planned(node, weight, bias, chain, follower)

    def _convolution(self, conv):
        """A step, or none yet: what goes into a sum waits for the other part of it."""
        total = conv.follower and conv.follower[0]
        if total and _adds_two(total) and windows.is_pointwise(conv.node, conv.weight):
            self.done.update(n.outputs[0] for n in conv.chain)
            before, self.waiting[total.outputs[0]] = self.waiting.get(total.outputs[0]), conv
            if before is None:
                return
            conv = before
        self._planned(conv, _activation(conv.follower))

    def _planned(self, conv, follower):
        chain = [*conv.chain, *([follower[0]] if follower else [])]
        run = windows.Convolution(conv.node, conv.weight, conv.bias, _named(follower))
        self._append_planned(run, conv.node.inputs[:1], chain)

    def _sum(self, conv, node, proto):
        """A convolution that adds to the other part of a sum."""
        result = conv.chain[-1].outputs[0]
        other = node.inputs[node.inputs[0] == result]
        follower = _activation(self._reader(node))
        run = windows.Convolution(conv.node, conv.weight, conv.bias, _named(follower))
        after = [(node, proto)] + ([follower] if follower else [])
        apart = _apart(conv, [(n, stepped(n, p, self.opsets)) for n, p in after])
        into = self._ends_in(other, node) and other != conv.node.inputs[0]
        chain = [*conv.chain, *(n for n, _ in after)]
        self._append_planned(_added(run, apart, into), (conv.node.inputs[0], other), chain)

    def _ends_in(self, name, node):
        """Whether a value is in memory of its own, and nothing needs it after this node.

        Other nodes may have views of it; convolutions have none once they ran.
        """
        others = [n for n, _ in self.readers[name] if n is not node]
        read = all(n.outputs[0] in self.ran for n in others)
        return name in self.own and name not in self.outputs and read


def _apart(conv, followers):
    """A convolution and what follows it, one after the other."""

    @functools.cache
    def plan():
        return windows.Convolution(conv.node, conv.weight, conv.bias, None)

    def run(inputs, empty):
        x, other = inputs
        values = [*plan()(conv.node, [x], empty), other]
        for node, step in followers:
            values = step(node, values, empty)
        return values

    return run


def _added(conv, apart, into):
    """The sum of a convolution and an array, into that array where `into`."""

    def run(node, inputs, empty):
        x, other = inputs
        shape = conv.result(x) if tensors(inputs) else None
        if shape is None or other.shape != shape or other.dtype != x.dtype:
            return apart(inputs, empty)
        out = other
        if not into:
            out = empty(shape, x.dtype)
            np.copyto(out, other)
        return (conv.add(x, out),)

    return run


def _rectified(add, follower, relu, into):
    """The sum of two arrays and its Relu, which is `follower`.

    `into` says which of the arrays nothing else reads, and may become the result.
    """

    def run(node, inputs, empty):
        a, b = inputs
        if tensors(inputs) and a.shape == b.shape and a.dtype == b.dtype and _plain(a, b):
            out = a if into[0] else b if into[1] else empty(a.shape, a.dtype)
            return (arrays.add_relu(a, b, out),)
        return relu(follower, add(node, inputs, empty), empty)

    return run


def _activation(pair):
    """The pair, if it is an activation that a convolution can do."""
    return pair if _is(pair, "Relu") or _is(pair, "LeakyRelu") else None


def _named(follower):
    """An activation as the argument of a convolution."""
    if follower is None or follower[0].op_type == "Relu":
        return follower and "relu"
    return "leaky_relu", float(follower[0].get("alpha", 0.01))


def _plain(*inputs):
    return all(x.dtype in FLOATS and x.flags.c_contiguous for x in inputs)


def _is(pair, op_type):
    """Whether a node (with its proto) is there and of this operator."""
    return pair is not None and not pair[0].domain and pair[0].op_type == op_type


def _adds_two(node):
    return not node.domain and node.op_type in ("Add", "Sum") and len(node.inputs) == 2


def _is_planned(node, constants):
    if node.domain or node.op_type != "Conv":
        return False
    if not all(not n or n in constants for n in node.inputs[1:]):
        return False
    weight = constants[node.inputs[1]]
    return weight.dtype in FLOATS and 3 <= weight.ndim <= 5 and weight.size > 0


def _normalisation(pair, constants, weight):
    """Scale and shift of a batch normalisation that can go into weights, None of another node."""
    if not _is(pair, "BatchNormalization") or not all(n in constants for n in pair[0].inputs[1:]):
        return None
    node = pair[0]
    operator = OPERATORS["", "BatchNormalization"]
    if not operator.admits(node, [weight]) or layers.trains(node) or weight.dtype == np.float16:
        return None  # float16 weights would be rounded again
    scale, bias, mean, var = (constants[n] for n in node.inputs[1:])
    if any(a.shape != weight.shape[:1] for a in (scale, bias, mean, var)):
        return None
    with np.errstate(all="ignore"):
        found = scale_and_shift(mean, var, scale, bias, node.get("epsilon", 1e-5))
    return found if all(np.isfinite(a).all() for a in found) else None
