"""What runs one node: our operator where it admits the inputs, else that of ``onnx.reference``."""

from typing import NamedTuple

import numpy as np
import onnx
from onnx.reference import ReferenceEvaluator

from voxkern.onnx.operators import OPERATORS


class Step(NamedTuple):
    """What is run at once: a node, and those fused into it; `drops` are values not needed later."""

    node: object
    run: object
    inputs: tuple
    outputs: tuple
    fused: tuple = ()
    drops: tuple = ()


def stepped(node, proto, opsets):
    """A function of (node, inputs, empty) to a tuple: ours where it admits, else the reference."""
    operator = OPERATORS.get((node.domain, node.op_type))
    if operator is None:
        return Reference(node, proto, opsets)
    ours, reference = single(operator.run), None

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


def single(function):
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
