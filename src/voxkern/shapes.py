"""The arithmetic of networks: sizes, numbers of parameters, receptive fields, tables of layers."""

import math
from collections.abc import Callable
from typing import NamedTuple

from voxkern import _check, window
from voxkern._check import LARGEST_SIZE, per_axis


def output_size(size, kernel, stride=1, padding=0, dilation=1, ceil_mode=False):
    """Number of windows: ``(size + 2 padding - dilation (kernel - 1) - 1) // stride + 1``.

    Parameters
    ----------
    size : int or tuple of int
        Of the input, at least 1; of one axis, or of each.
    kernel, stride, dilation : int or tuple of int
        At least 1; one for all axes or one for each.
    padding : int or tuple of int, or ``"same"`` or ``"valid"``
        Added before and after.
    ceil_mode : bool
        Round up: a last window may reach past the end, but none starts in the padding there.

    Returns
    -------
    int or tuple of int
        As `size`.

    Raises
    ------
    TypeError, ValueError
        No integer or too small a one, or a kernel that spans more than the padded input.

    Notes
    -----
    The arithmetic of every convolution and pool of this library, and of torch's.

    Examples
    --------
    >>> voxkern.shapes.output_size(32, kernel=3, stride=2, padding=1)
    16
    >>> voxkern.shapes.output_size((224, 200), 7, stride=2, padding=3)
    (112, 100)
    """
    several = isinstance(size, (tuple, list))
    axes = len(size) if several else 1
    if axes == 0:
        raise ValueError(f"size is {size!r}; it must have an axis")
    size = per_axis(size, "size", axes, 1, LARGEST_SIZE)
    kernel = per_axis(kernel, "kernel", axes, 1)
    arithmetic = window.checked(kernel, stride, padding, dilation)
    counts = window.output_size(size, kernel, *arithmetic, _check.flag(ceil_mode, "ceil_mode"))
    return counts if several else counts[0]


def same_padding(kernel):
    """Padding with which a window of stride 1 keeps the size: ``(kernel - 1) / 2``.

    Parameters
    ----------
    kernel : int or tuple of int
        Odd: an even one would need more on one side, which ``padding="same"`` gives.

    Returns
    -------
    int or tuple of int
        As `kernel`.

    Examples
    --------
    >>> voxkern.shapes.same_padding(5)
    2
    """
    several = isinstance(kernel, (tuple, list))
    sizes = per_axis(kernel, "kernel", len(kernel) if several else 1, 1)
    if not all(k % 2 for k in sizes):
        raise ValueError(f"kernel is {kernel}; it must be odd, to be padded alike on both sides")
    result = tuple((k - 1) // 2 for k in sizes)
    return result if several else result[0]


def conv_parameters(in_channels, out_channels, kernel_size, groups=1, bias=True):
    """Parameters of a convolution: ``out_channels * (in_channels/groups * prod(kernel_size) + 1)``.

    Parameters
    ----------
    in_channels, out_channels, groups : int
        At least 1; `groups` divides both.
    kernel_size : int or tuple of int
        One for each axis; an integer k is the square window (k, k).
    bias : bool
        Whether every filter has one.

    Returns
    -------
    int

    Examples
    --------
    >>> voxkern.shapes.conv_parameters(3, 8, 3)
    224
    >>> voxkern.shapes.conv_parameters(3, 8, (3, 3, 3), bias=False)
    648
    """
    several = isinstance(kernel_size, (tuple, list))
    kernel = per_axis(kernel_size, "kernel_size", len(kernel_size) if several else 2, 1)
    counts = {"in_channels": in_channels, "out_channels": out_channels, "groups": groups}
    inputs, outputs, groups = (_check.integer(n, name, 1) for name, n in counts.items())
    if inputs % groups or outputs % groups:
        raise ValueError(f"groups is {groups}; it must divide {inputs} and {outputs} channels")
    return outputs * (inputs // groups * math.prod(kernel) + _check.flag(bias, "bias"))


def linear_parameters(n_in, n_out, bias=True):
    """Parameters of a fully connected layer: ``n_out * (n_in + 1)``, or without biases.

    Examples
    --------
    >>> voxkern.shapes.linear_parameters(1024, 10)
    10250
    """
    n_in = _check.integer(n_in, "n_in", 1, LARGEST_SIZE)
    return _check.integer(n_out, "n_out", 1) * (n_in + _check.flag(bias, "bias"))


def batch_norm_parameters(features):
    """Learned parameters of batch normalisation: a scale and a shift of each feature.

    The running mean and variance, as many again, are not learned.

    Examples
    --------
    >>> voxkern.shapes.batch_norm_parameters(8)
    16
    """
    return 2 * _check.integer(features, "features", 1)


def receptive_field(layers):
    """How much of the input an element sees after each layer.

    Parameters
    ----------
    layers : iterable of (kernel, stride)
        Integers, or tuples of one for each axis.

    Returns
    -------
    list of int or of tuple of int
        After each layer; tuples where a layer was given per axis.

    Notes
    -----
    A window of k elements that lie j input elements apart adds ``(k - 1) * j``; a stride
    multiplies j.

    Examples
    --------
    >>> voxkern.shapes.receptive_field([(3, 1), (2, 2), (3, 1), (2, 2)])
    [3, 4, 8, 10]
    """
    layers = [_pair(layer, index) for index, layer in enumerate(layers)]
    given = [v for layer in layers for v in layer if isinstance(v, (tuple, list))]
    axes = len(given[0]) if given else 1
    fields, field, apart = [], (1,) * axes, (1,) * axes
    for index, (kernel, stride) in enumerate(layers):
        kernel = per_axis(kernel, f"the kernel of layers[{index}]", axes, 1)
        stride = per_axis(stride, f"the stride of layers[{index}]", axes, 1)
        field, apart = _widened(field, apart, kernel, stride)
        fields.append(field if given else field[0])
    return fields


def _pair(layer, index):
    if not isinstance(layer, (tuple, list)) or len(layer) != 2:
        raise ValueError(f"layers[{index}] is {layer!r}; it must be (kernel, stride)")
    return layer


def _widened(field, apart, kernel, stride):
    """The receptive field after one more layer, and how far apart its elements lie."""
    field = tuple(f + (k - 1) * a for f, k, a in zip(field, kernel, apart))
    return field, tuple(a * s for a, s in zip(apart, stride))


class Layer(NamedTuple):
    """A layer of :func:`trace`: its name, and functions of the shape that enters it."""

    name: str
    result: Callable  # of a shape (*spatial, C): the shape that leaves
    parameters: Callable = lambda shape: 0
    whole: bool = False  # an element of the result sees all that enters
    kernel: int | tuple = 1
    stride: int | tuple = 1


def conv(filters, kernel, stride=1, padding=0, bias=True):
    """A convolution for :func:`trace`, named as in the exams: ``CONV3-8``."""
    filters, bias = _check.integer(filters, "filters", 1), _check.flag(bias, "bias")

    def result(shape):
        return (*output_size(shape[:-1], kernel, stride, padding), filters)

    def parameters(shape):
        window = per_axis(kernel, "kernel", len(shape) - 1, 1)
        return conv_parameters(shape[-1], filters, window, bias=bias)

    return Layer(
        f"CONV{_spelt(kernel)}-{filters}", result, parameters, kernel=kernel, stride=stride
    )


def pool(kernel, stride=None, padding=0):
    """Pooling of any kind for :func:`trace`, ``POOL-2``; the stride is the kernel by default."""
    stride = kernel if stride is None else stride

    def result(shape):
        return (*output_size(shape[:-1], kernel, stride, padding), shape[-1])

    return Layer(f"POOL-{_spelt(kernel)}", result, kernel=kernel, stride=stride)


def batch_norm():
    """Batch normalisation of the channels for :func:`trace`."""
    return Layer("BATCHNORM", tuple, lambda shape: batch_norm_parameters(shape[-1]))


def activation(name):
    """An elementwise function for :func:`trace`, under any name."""
    if not isinstance(name, str):
        raise TypeError(f"name is {name!r}; it must be a string")
    return Layer(name, tuple)


def flatten():
    """All elements in one axis, for :func:`trace`."""
    return Layer("FLATTEN", lambda shape: (math.prod(shape),))


def linear(units, bias=True):
    """A fully connected layer on the last axis for :func:`trace`, ``FC-10``."""
    units, bias = _check.integer(units, "units", 1), _check.flag(bias, "bias")
    return Layer(
        f"FC-{units}",
        lambda shape: (*shape[:-1], units),
        lambda shape: linear_parameters(shape[-1], units, bias),
        whole=True,
    )


def _spelt(kernel):
    """3 as "3", (3, 5) as "3x5"."""
    return "x".join(map(str, kernel)) if isinstance(kernel, (tuple, list)) else str(kernel)


class Row(NamedTuple):
    """A layer of a trace: the shape and the parameters, and what an element sees of the input."""

    name: str
    shape: tuple
    parameters: int
    receptive_field: tuple


class Trace(tuple):
    """The rows of :func:`trace`; as text, the exam's table."""

    __slots__ = ()

    @property
    def parameters(self):
        """The sum over all layers."""
        return sum(row.parameters for row in self)

    def __str__(self):
        head = "layer", "shape", "parameters", "receptive field"
        cells = [(r.name, str(r.shape), str(r.parameters), _spelt(r.receptive_field)) for r in self]
        cells = [head, *cells, ("total", "", str(self.parameters), "")]
        widths = [max(map(len, column)) for column in zip(*cells)]
        lines = (
            f"{a:{w}}  {b:{x}}  {c:>{y}}  {d}" for w, x, y in [widths[:3]] for a, b, c, d in cells
        )
        return "\n".join(line.rstrip() for line in lines)


def trace(layers, input_shape):
    """The shape, the parameters and the receptive field after each layer of a network.

    Parameters
    ----------
    layers : iterable of Layer
        What :func:`conv`, :func:`pool`, :func:`batch_norm`, :func:`activation`, :func:`flatten`
        and :func:`linear` of this module return.
    input_shape : tuple of int
        Of one example, channels last: ``(C,)``, ``(W, C)``, ``(H, W, C)`` or ``(D, H, W, C)``.

    Returns
    -------
    Trace
        A tuple of rows, the input first, with `name`, `shape`, `parameters` and `receptive_field`
        (one size per spatial axis; the whole input behind the first fully connected layer of a
        flattened one). Printed, it is a table; its `parameters` are their sum.

    Raises
    ------
    TypeError, ValueError
        A shape that is none, or a layer that does not fit what enters it; the layer is named.

    Examples
    --------
    >>> from voxkern.shapes import conv, flatten, linear, pool, trace
    >>> print(trace([conv(8, 3, padding=1), pool(2), flatten(), linear(10)], (32, 32, 1)))
    layer    shape        parameters  receptive field
    input    (32, 32, 1)           0  1x1
    CONV3-8  (32, 32, 8)          80  3x3
    POOL-2   (16, 16, 8)           0  4x4
    FLATTEN  (2048,)               0  4x4
    FC-10    (10,)             20490  32x32
    total                      20570
    """
    shape = _input_shape(input_shape)
    size = shape[:-1]
    field = apart = (1,) * len(size)
    rows = [Row("input", shape, 0, field)]
    for index, layer in enumerate(layers):
        if not isinstance(layer, Layer):
            raise TypeError(f"layers[{index}] is {layer!r}; it must be a layer of voxkern.shapes")
        try:
            result, parameters = layer.result(shape), layer.parameters(shape)
        except ValueError as error:
            raise ValueError(f"layers[{index}], {layer.name}, after {shape}: {error}") from None
        if len(shape) > 1:
            kernel, stride = (per_axis(v, "kernel", len(size), 1) for v in layer[-2:])
            field, apart = _widened(field, apart, kernel, stride)
        elif layer.whole:
            field = size
        shape = result
        rows.append(Row(layer.name, shape, parameters, field))
    return Trace(rows)


def _input_shape(value):
    """`value` as a checked tuple of 1 to 4 sizes."""
    if not isinstance(value, (tuple, list)) or not 1 <= len(value) <= 4:
        raise ValueError(f"input_shape is {value!r}; it must be 1 to 4 sizes, channels last")
    return per_axis(value, "input_shape", len(value), 1)
