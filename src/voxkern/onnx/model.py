"""Reading a model: its parts, or a ValueError that names what is wrong with it."""

import os
from typing import NamedTuple

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from onnx.inliner import inline_local_functions

DOMAINS = {"", "ai.onnx", "ai.onnx.ml", "ai.onnx.preview", "ai.onnx.preview.training"}


class Model(NamedTuple):
    """The nodes of a graph, versions by domain, constants by name, inputs and names of outputs."""

    proto: object
    nodes: list
    opsets: dict
    constants: dict
    inputs: list
    outputs: list


def read(model):
    """Parts of a ModelProto, of its bytes or of a file, checked.

    Raises
    ------
    TypeError
        `model` is none of these.
    ValueError
        Bytes that are no model; a domain, version or operator that is unknown; a value that no
        initialiser, input or earlier node gives; whatever else ``onnx.checker`` finds.
    """
    proto = _loaded(model)
    _check_versions(proto)
    if proto.functions:
        proto = inline_local_functions(proto)
    graph = proto.graph
    opsets = {"" if o.domain == "ai.onnx" else o.domain: o.version for o in proto.opset_import}
    if graph.sparse_initializer:
        name = graph.sparse_initializer[0].values.name
        raise ValueError(f"initialiser {name!r} is sparse; dense ones are served")
    _check_operators(graph, opsets)
    _check_order(graph, set())
    constants = {tensor.name: _array(tensor) for tensor in graph.initializer}
    try:
        onnx.checker.check_model(proto)
    except (onnx.checker.ValidationError, UnicodeDecodeError) as error:
        raise ValueError(f"model is not valid: {error}") from None
    inputs = [value for value in graph.input if value.name not in constants]
    outputs = [value.name for value in graph.output]
    return Model(proto, list(graph.node), opsets, constants, inputs, outputs)


def _loaded(model):
    if isinstance(model, onnx.ModelProto):
        return model
    try:
        if isinstance(model, bytes):
            return onnx.load_model_from_string(model)
        if isinstance(model, str | os.PathLike):
            return onnx.load(model)
    except DecodeError as error:
        raise ValueError(f"model cannot be read as ONNX: {error}") from None
    kind = type(model).__name__
    raise TypeError(f"model is a {kind}; it must be an onnx.ModelProto, its bytes or a path")


def _check_versions(proto):
    if not proto.opset_import:
        raise ValueError("model has no opset_import; it is empty, or no ONNX model")
    own = {function.domain for function in proto.functions}
    newest = onnx.defs.onnx_opset_version()
    for opset in proto.opset_import:
        domain = opset.domain or "ai.onnx"
        if domain == "ai.onnx" and not 1 <= opset.version <= newest:
            raise ValueError(
                f"opset {opset.version} of ai.onnx is not served; this onnx knows 1 to {newest}"
            )
        if domain not in DOMAINS | own and any(n.domain == domain for n in proto.graph.node):
            raise ValueError(f"domain {domain!r} is unknown; its operators have no definition here")


def _check_operators(graph, opsets):
    for node, inner in _nodes(graph):
        domain = "" if node.domain == "ai.onnx" else node.domain
        what = f"node {node.name!r}: operator {node.op_type!r} of domain {domain or 'ai.onnx'!r}"
        if domain not in opsets:
            raise ValueError(f"{what} has no version in opset_import")
        try:
            schema = onnx.defs.get_schema(node.op_type, opsets[domain], domain)
        except onnx.defs.SchemaError:
            raise ValueError(f"{what} is unknown in version {opsets[domain]}") from None
        if schema.deprecated:
            raise ValueError(f"{what} is deprecated in version {opsets[domain]}")
        for sub in inner:
            _check_operators(sub, opsets)


def _check_order(graph, outside):
    """Raise unless everything that is read is known by then; `outside` is known in all."""
    known = outside | {""} | {v.name for v in (*graph.input, *graph.initializer)}
    made = {name for node in graph.node for name in node.output}
    for node, inner in _nodes(graph):
        name = node.name or node.op_type
        for value in node.input:
            if value in known:
                continue
            if value in made:
                raise ValueError(
                    f"node {name!r} reads {value!r} before it is made: the graph has a cycle, or "
                    "its nodes are not in order"
                )
            raise ValueError(
                f"node {name!r} reads {value!r}, which is no input and no node's output: an "
                "initialiser is missing"
            )
        for sub in inner:
            _check_order(sub, known)
        known |= set(node.output)
    for value in graph.output:
        if value.name not in known:
            raise ValueError(f"output {value.name!r} is made by no node")


def _nodes(graph):
    """Nodes and the graphs that each holds."""
    for node in graph.node:
        inner = [a.g for a in node.attribute if a.type == onnx.AttributeProto.GRAPH]
        yield node, inner


def _array(tensor):
    """An initialiser as an array that nobody writes to."""
    if onnx.external_data_helper.uses_external_data(tensor):
        raise ValueError(
            f"initialiser {tensor.name!r} lies in a file of its own; give the model's path"
        )
    try:
        array = np.asarray(onnx.numpy_helper.to_array(tensor))
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"initialiser {tensor.name!r} cannot be read: {error}") from None
    array.flags.writeable = False
    return array
