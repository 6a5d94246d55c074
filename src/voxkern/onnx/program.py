"""A graph made ready to run: constants folded, nodes fused, values dropped when done with."""

import math
import sys
import threading

import numpy as np
import onnx

from voxkern.onnx.fusion import Fusion
from voxkern.onnx.operators import node_of
from voxkern.onnx.steps import stepped

RANDOM = {"Bernoulli", "Dropout", "Multinomial", "RandomNormal", "RandomNormalLike"}
RANDOM |= {"RandomUniform", "RandomUniformLike"}


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
        fusion = Fusion(self._unfolded(nodes, protos), self.constants, self.outputs, opsets)
        self.steps = self._dropping(fusion.steps)
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
