"""The interface of ``onnx.backend.base``, what runs where, and classes for ``onnx.reference``."""

from typing import NamedTuple

import numpy as np
import onnx
from onnx.backend import base
from onnx.reference.op_run import OpRun
from onnx.reference.ops._op_list import load_op

from voxkern.onnx import model as reading
from voxkern.onnx import program
from voxkern.onnx.operators import OPERATORS, PLAIN, node_of
from voxkern.onnx.steps import tensors


class BackendRep(base.BackendRep):
    """A model made ready; :meth:`run` may be called any number of times, from any thread.

    Attributes
    ----------
    input_names, output_names : list of str
        What :meth:`run` takes and gives. Inputs with an initialiser are constants.
    """

    def __init__(self, model):
        parts = reading.read(model)
        self._program = _compiled(parts)
        self._inputs = parts.inputs
        self.input_names = [value.name for value in parts.inputs]
        self.output_names = parts.outputs

    def run(self, inputs, **kwargs):
        """The outputs of the model.

        Parameters
        ----------
        inputs : list, dict or array
            Arrays in the order of `input_names` or by name, or the only one.

        Returns
        -------
        tuple of ndarray
            In the order of `output_names`; none shares memory with an input.

        Raises
        ------
        ValueError
            Inputs that are missing or not known, or a shape that the model excludes.
        TypeError
            An input of another dtype than the model declares.
        """
        if kwargs:
            raise TypeError(f"run takes no options; {', '.join(kwargs)} given")
        return tuple(self._program.run(self._fed(inputs)))

    def _fed(self, inputs):
        names = self.input_names
        if isinstance(inputs, np.ndarray):
            inputs = [inputs]
        if not isinstance(inputs, dict):
            if len(inputs) != len(names):
                raise ValueError(f"inputs has {len(inputs)} values; the model takes {names}")
            inputs = dict(zip(names, inputs))
        if set(inputs) != set(names):
            raise ValueError(f"inputs are {sorted(inputs)}; the model takes {names}")
        return {v.name: _checked(inputs[v.name], v) for v in self._inputs}


class Backend(base.Backend):
    """Runs ONNX models on the kernels of this library; see :mod:`voxkern.onnx`."""

    @classmethod
    def is_compatible(cls, model, device="CPU", **kwargs):
        """Whether :meth:`prepare` takes the model."""
        try:
            cls.prepare(model, device, **kwargs)
        except (ValueError, TypeError):
            return False
        return True

    @classmethod
    def prepare(cls, model, device="CPU", **kwargs):
        """A :class:`BackendRep` of a ModelProto, the bytes of one or the path of a file.

        Raises
        ------
        TypeError, ValueError
            As :func:`voxkern.onnx.prepare`.
        """
        if kwargs:
            raise TypeError(f"prepare takes no options; {', '.join(kwargs)} given")
        if not cls.supports_device(device):
            raise ValueError(f"device is {device!r}; it may be 'CPU'")
        return BackendRep(model)

    @classmethod
    def run_node(cls, node, inputs, device="CPU", outputs_info=None, **kwargs):
        """The outputs of one NodeProto; `opset_version` is the newest unless given."""
        super().run_node(node, inputs, device, outputs_info, **kwargs)
        version = kwargs.get("opset_version", onnx.defs.onnx_opset_version())
        opsets = {"": version} | ({node.domain: 1} if node.domain else {})
        names = [name for name in node.input if name]
        values = dict(zip(names, map(np.asarray, inputs)))
        outputs = [name for name in node.output if name]
        return tuple(program.Program([node], opsets, {}, outputs).run(values))

    @classmethod
    def supports_device(cls, device):
        """Whether `device` is the CPU."""
        return device.partition(":")[0] == "CPU"


def _compiled(model):
    return program.Program(model.nodes, model.opsets, model.constants, model.outputs)


def _checked(value, info):
    """An input as an array, if it is what the model declares; what is no tensor stays as it is."""
    if not info.type.HasField("tensor_type"):
        return value
    declared = info.type.tensor_type
    value, name = np.asarray(value), info.name
    value = value.astype(value.dtype.newbyteorder("="), copy=False)
    dtype = PLAIN.get(declared.elem_type)
    if dtype is not None and value.dtype != dtype:
        raise TypeError(f"input {name!r} has dtype {value.dtype}; it must be {dtype}")
    if declared.HasField("shape"):
        sizes = [d.dim_value if d.HasField("dim_value") else None for d in declared.shape.dim]
        fits = value.ndim == len(sizes)
        if not fits or any(s is not None and s != n for s, n in zip(sizes, value.shape)):
            expected = tuple("any" if s is None else s for s in sizes)
            raise ValueError(f"input {name!r} has shape {value.shape}; it must be {expected}")
    return value


# --- what runs where ------------------------------------------------------------------------------


class Placed(NamedTuple):
    """A node of a model and what runs it.

    `where` is ``"voxkern"`` (a function of this library), ``"NumPy"`` (one or a few lines of it),
    ``"onnx.reference"``, ``"constant"`` (computed once, when the model is prepared), ``"fused into
    NAME"``, or ``"by type"``: one of the first two or the third, where shape inference does not
    tell the types of the inputs.
    """

    name: str
    op_type: str
    where: str


class Spec(NamedTuple):
    """What is known of an array before there is one."""

    dtype: object
    ndim: int


def coverage(model):
    """Which node of a model is run by what.

    Parameters
    ----------
    model : ModelProto, bytes or path
        As for :func:`voxkern.onnx.prepare`.

    Returns
    -------
    list of Placed
        ``(name, op_type, where)`` of each node, in the order of the model, its own functions
        inlined.

    Raises
    ------
    TypeError, ValueError
        As :func:`voxkern.onnx.prepare`.
    """
    model = reading.read(model)
    compiled = _compiled(model)
    where = {node.outputs: "constant" for node in compiled.folded}
    specs = _specs(model, model.constants | compiled.constants)
    for step in compiled.steps:
        where[step.node.outputs] = _where(step.node, specs)
        where |= {node.outputs: f"fused into {step.node.name}" for node in step.fused}
    nodes = [node_of(proto, model.opsets) for proto in model.nodes]
    return [Placed(node.name, node.op_type, where[node.outputs]) for node in nodes]


def _where(node, specs):
    operator = OPERATORS.get((node.domain, node.op_type))
    if operator is None:
        return "onnx.reference"
    inputs = [specs.get(name) if name else None for name in node.inputs]
    if any(name and spec is None for name, spec in zip(node.inputs, inputs)):
        return "by type"
    return operator.where if operator.admits(node, inputs) else "onnx.reference"


def _specs(model, constants):
    """The dtype and rank of every value for which they are known."""
    graph = onnx.shape_inference.infer_shapes(model.proto).graph
    specs = {n: Spec(a.dtype, a.ndim) for n, a in constants.items() if isinstance(a, np.ndarray)}
    for value in (*graph.input, *graph.value_info, *graph.output):
        tensor = value.type.tensor_type
        if tensor.elem_type and tensor.HasField("shape"):
            dtype = PLAIN.get(tensor.elem_type, np.dtype(object))
            specs[value.name] = Spec(dtype, len(tensor.shape.dim))
    return specs


# --- for onnx.reference ---------------------------------------------------------------------------


class Ours(OpRun):
    """An operator of a ReferenceEvaluator that runs on ours, or on the official one if it must."""

    def __init__(self, onnx_node, run_params, schema=None):
        super().__init__(onnx_node, run_params, schema)
        self.parsed = node_of(onnx_node, run_params["opsets"])

    def run(self, *args, linked_attributes=None, context=None, bindings=None):
        node = self.parsed
        operator = OPERATORS[node.domain, node.op_type]
        # Attributes that a function is given are left to the official one.
        if not linked_attributes and tensors(args) and operator.admits(node, args):
            with np.errstate(all="ignore"):
                results = operator.run(node, args, np.empty)
            results = results if isinstance(results, tuple) else (results,)
            return tuple(map(np.asarray, results))
        official = load_op(node.domain, node.op_type, node.opset)(self.onnx_node, self.run_params)
        given = {"linked_attributes": linked_attributes} if linked_attributes else {}
        return official.run(*args, **given)

    def _run(self, *args, **kwargs):
        raise NotImplementedError  # OpRun asks for it; run does its work


def reference_ops():
    """Our operators for ``onnx.reference.ReferenceEvaluator(model, new_ops=reference_ops())``.

    Returns
    -------
    list of type
        A subclass of ``onnx.reference.op_run.OpRun`` for each operator of the main domain that
        runs on a function of this library. What it does not admit goes to the official one.
    """
    return [
        type(name, (Ours,), {"op_domain": domain})
        for (domain, name), operator in OPERATORS.items()
        if operator.where == "voxkern" and not domain
    ]
