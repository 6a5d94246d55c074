"""ONNX models on our kernels (extra ``onnx``): a backend, and operators for ``onnx.reference``.

A model is checked, its constants are computed, batch normalisations and activations go into the
convolutions before them, whose weights are packed once (:class:`voxkern.ConvPlan`), and the memory
of values is lent again when no node needs them any more. An operator, an attribute or a type that
is not ours goes to ``onnx.reference``, which is slow; :func:`coverage` says which.

Examples
--------
>>> from onnx import parser
>>> model = parser.parse_model('''
...     <ir_version: 10, opset_import: ["": 21]>
...     twice (float[n] x) => (float[n] y) { y = Add(x, x) }
... ''')
>>> backend = voxkern.onnx.prepare(model)
>>> backend.run([np.array([1.0, 2.0], np.float32)])
(array([2., 4.], dtype=float32),)
>>> voxkern.onnx.coverage(model)[0].where
'NumPy'
"""

from voxkern.onnx.backend import Backend, BackendRep, Placed, coverage, reference_ops

is_compatible = Backend.is_compatible
run_model = Backend.run_model
run_node = Backend.run_node
supports_device = Backend.supports_device


def prepare(model, device="CPU"):
    """A model made ready to run.

    Parameters
    ----------
    model : ModelProto, bytes or path
        Its weights are copied.
    device : str
        ``"CPU"``.

    Returns
    -------
    BackendRep
        ``prepare(model).run([x])`` gives the outputs.

    Raises
    ------
    TypeError
        `model` is something else.
    ValueError
        Bytes that are no model, a domain, version or operator that is unknown, a value that no
        initialiser, input or earlier node gives, another device.

    Notes
    -----
    Memory: the constants of the model, the weights as the convolutions read them (see
    :class:`voxkern.ConvPlan`), and from one run to the next the blocks that its values lay in.
    """
    return Backend.prepare(model, device)


__all__ = [
    "Backend",
    "BackendRep",
    "Placed",
    "coverage",
    "is_compatible",
    "prepare",
    "reference_ops",
    "run_model",
    "run_node",
    "supports_device",
]
