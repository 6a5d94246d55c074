"""A graph made ready to run: constants folded, nodes fused, values dropped when done with."""

import collections
import math
import sys
import threading
from typing import NamedTuple

import numpy as np
import onnx
from onnx.reference import ReferenceEvaluator

from voxkern.batchnorm import scale_and_shift
from voxkern.conv import folded
from voxkern.onnx import arrays, layers, windows
from voxkern.onnx.operators import FLOATS, OPERATORS, node_of

RANDOM = {"Bernoulli", "Dropout", "Multinomial", "RandomNormal", "RandomNormalLike"}
RANDOM |= {"RandomUniform", "RandomUniformLike"}


class Step(NamedTuple):
    """What is run at once: a node, and those fused into it; `drops` are values not needed later."""

    node: object
    run: object
    inputs: tuple
    outputs: tuple
    fused: tuple = ()
    drops: tuple = ()


class Program:
    """The steps of a graph of nodes in order, with its constants, inputs and outputs by name.

    Parameters
    ----------
    protos : list of NodeProto
    opsets : dict
        Version by domain.
    constants : dict
        Arrays by name, which are not written to.
    outputs : list of str
    """

    def __init__(self, protos, opsets, constants, outputs):
        self.opsets, self.constants, self.outputs = opsets, dict(constants), list(outputs)
        self.folded, self.blocks, self.lock = [], [], threading.Lock()
        nodes = [node_of(proto, opsets) for proto in protos]
        nodes = [n._replace(inputs=_read(n, p)) for n, p in zip(nodes, protos)]
        self.steps = self._dropping(self._fused(self._unfolded(nodes, protos)))
        read = {*self.outputs, *(name for step in self.steps for name in step.inputs)}
        self.constants = {name: x for name, x in self.constants.items() if name in read}
        self.owners = {_owner(x) for x in self.constants.values()}

    def run(self, values):
        """The outputs for a dict of the inputs by name."""
        taken = (self.owners | {_owner(value) for value in values.values()}) - {None}
        with self.lock:  # another thread finds none, and makes its own
            memory, self.blocks = Memory(self.blocks), []
        values = self.constants | values
        with np.errstate(all="ignore"):
            for step in self.steps:
                inputs = [values[name] if name else None for name in step.inputs]
                try:
                    results = step.run(step.node, inputs, memory.empty)
                except Exception as error:
                    error.add_note(f"in node {step.node.name} ({step.node.op_type})")
                    raise
                del inputs
                values.update((n, x) for n, x in zip(step.outputs, results) if n)
                del results
                for name in step.drops:
                    del values[name]
        self.blocks = memory.lent
        results = [values[name] for name in self.outputs]
        return [x.copy() if _owner(x) in taken else x for x in results]

    def _unfolded(self, nodes, protos):
        """The nodes that depend on inputs; the others are run now, into the constants."""
        left = []
        for node, proto in zip(nodes, protos):
            known = all(not name or name in self.constants for name in node.inputs)
            if known and node.op_type not in RANDOM:
                inputs = [self.constants[name] if name else None for name in node.inputs]
                with np.errstate(all="ignore"):
                    results = stepped(node, proto, self.opsets)(node, inputs, np.empty)
                self.constants |= zip(node.outputs, results)
                self.folded.append(node)
            else:
                left.append((node, proto))
        return left

    def _fused(self, nodes):
        """Steps: a convolution with the batch normalisation and activation that alone read it."""
        readers = collections.Counter(self.outputs)
        readers.update(name for node, _ in nodes for name in node.inputs)
        after = {name: pair for pair in nodes for name in pair[0].inputs if readers[name] == 1}
        done, steps, own = set(), [], set()
        for node, proto in nodes:
            if node.outputs[0] in done:
                continue
            run, chain, inputs = stepped(node, proto, self.opsets), [node], node.inputs
            if _is_planned(node, self.constants):
                run, chain = self._planned(node, after)
                inputs = node.inputs[:1]
                own |= {name for name in chain[-1].outputs if readers[name] == 1}
            elif _adds_two(node) and _is(after.get(node.outputs[0]), "Relu"):
                follower, its = after[node.outputs[0]]
                into = [name in own for name in node.inputs]
                run = _rectified(run, follower, stepped(follower, its, self.opsets), into)
                chain = [node, follower]
            done.update(n.outputs[0] for n in chain[1:])
            steps.append(Step(node, run, inputs, chain[-1].outputs, tuple(chain[1:])))
        return steps

    def _planned(self, node, after):
        """A convolution with constant weights, and the nodes that it does the work of."""
        weight, bias = ([self.constants.get(n) for n in node.inputs[1:]] + [None])[:2]
        chain, activation = [node], None
        follower = after.get(node.outputs[0])
        norm = _normalisation(follower, self.constants, weight)
        if norm is not None:
            weight, bias = folded(weight, bias, *norm)
            chain.append(follower[0])
            follower = after.get(follower[0].outputs[0])
        if _is(follower, "Relu"):
            activation = "relu"
        elif _is(follower, "LeakyRelu"):
            activation = "leaky_relu", float(follower[0].get("alpha", 0.01))
        if activation:
            chain.append(follower[0])
        return _single(windows.Convolution(node, weight, bias, activation)), chain

    def _dropping(self, steps):
        """The steps, each with the values that none after it reads."""
        kept, reversed_steps = {*self.outputs, *self.constants}, []
        for step in reversed(steps):
            names = {name for name in (*step.inputs, *step.outputs) if name}
            reversed_steps.append(step._replace(drops=tuple(names - kept)))
            kept |= names
        return reversed_steps[::-1]


def _read(node, proto):
    """What a node reads: its inputs, and what its graphs read from outside of them."""
    graphs = [a.g for a in proto.attribute if a.type == onnx.AttributeProto.GRAPH]
    outside = {name for graph in graphs for name in implicit_inputs(graph)}
    return *node.inputs, *sorted(outside - {"", *node.inputs})


def implicit_inputs(graph):
    """Names that a graph and the graphs in it read from outside."""
    known = {v.name for v in (*graph.input, *graph.initializer)}
    outside = set()
    for node in graph.node:
        outside |= set(node.input) - known
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                outside |= implicit_inputs(attribute.g) - known
        known |= set(node.output)
    # The results of a graph may be values of the outside too.
    return (outside | {v.name for v in graph.output} - known) - {""}


# --- steps ----------------------------------------------------------------------------------------


def stepped(node, proto, opsets):
    """A function of (node, inputs, empty) to a tuple: ours where it admits, else the reference."""
    operator = OPERATORS.get((node.domain, node.op_type))
    if operator is None:
        return Reference(node, proto, opsets)
    ours, reference = _single(operator.run), None

    def run(node, inputs, empty):
        nonlocal reference
        if tensors(inputs) and operator.admits(node, inputs):
            return ours(node, inputs, empty)
        if reference is None:
            reference = Reference(node, proto, opsets)
        return reference(node, inputs, empty)

    return run


def tensors(inputs):
    return all(x is None or isinstance(x, np.ndarray) for x in inputs)


def _single(function):
    """`function` with its result as a tuple of arrays."""

    def run(node, inputs, empty):
        results = function(node, inputs, empty)
        return tuple(map(np.asarray, results if isinstance(results, tuple) else (results,)))

    return run


class Reference:
    """One node run by ``onnx.reference``, in the opset of its model."""

    def __init__(self, node, proto, opsets):
        imports = [onnx.helper.make_opsetid(d, v) for d, v in opsets.items()]
        inputs = [name for name in dict.fromkeys(node.inputs) if name]
        outputs = [name for name in node.outputs if name]
        one = onnx.helper.make_function("voxkern", "One", inputs, outputs, [proto], imports)
        # An evaluator that is told of any type looks at the others when it runs.
        one.value_info.append(onnx.ValueInfoProto(name="any"))
        try:
            self.evaluator = ReferenceEvaluator(one)
        except (NotImplementedError, RuntimeError) as error:
            raise ValueError(
                f"node {node.name!r}: neither voxkern nor onnx.reference runs {node.op_type} of "
                f"domain {node.domain or 'ai.onnx'!r} in opset {node.opset}"
            ) from error

    def __call__(self, node, inputs, empty):
        _check_lengths(node, inputs)
        feeds = {n: x for n, x in zip(node.inputs, inputs) if n}
        results = self.evaluator.run(None, feeds, attributes={})
        named = dict(zip(self.evaluator.output_names, results))
        return tuple(named.get(name) for name in node.outputs)


def _check_lengths(node, inputs):
    """Raise where sequences have lengths of their own, which the reference leaves out."""
    if node.op_type in ("RNN", "GRU", "LSTM") and len(inputs) > 4 and inputs[4] is not None:
        steps = inputs[0].shape[1 if node.get("layout", 0) else 0]
        if (inputs[4] != steps).any():
            raise ValueError(f"node {node.name!r}: sequence_lens must all be {steps} here")


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


def _owner(x):
    """Whose memory an array lies in, by identity; None for what is no array."""
    if not isinstance(x, np.ndarray):
        return None
    while isinstance(x.base, np.ndarray):
        x = x.base
    return id(x if x.base is None else x.base)


# --- memory ---------------------------------------------------------------------------------------

LEAST = 1 << 16  # bytes: smaller arrays are NumPy's


class Memory:
    """Blocks for large results, each lent again when no array lies in it any more.

    `blocks` are what the run before had; a fresh one costs a page fault for every 4 kB.
    """

    def __init__(self, blocks):
        self.spare, self.lent = blocks, []

    def empty(self, shape, dtype):
        """An uninitialised array, in a block that has at most twice its size."""
        size = math.prod(shape) * np.dtype(dtype).itemsize
        if size < LEAST:
            return np.empty(shape, dtype)
        for blocks in (self.lent, self.spare):
            for i in range(len(blocks)):
                if size <= blocks[i].nbytes <= 2 * size and _references(blocks, i) <= ALONE:
                    if blocks is self.spare:
                        self.lent.append(blocks.pop(i))
                        return _laid(self.lent[-1], size, shape, dtype)
                    return _laid(blocks[i], size, shape, dtype)
        self.lent.append(np.empty(size, np.uint8))
        return _laid(self.lent[-1], size, shape, dtype)


def _laid(block, size, shape, dtype):
    return block[:size].view(dtype).reshape(shape)


def _references(blocks, i):
    """Every array in a block refers to it, as its base."""
    return sys.getrefcount(blocks[i])


ALONE = _references([np.empty(0)], 0)
