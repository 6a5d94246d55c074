"""Convolution, transposed convolution and their gradients over 1 to 3 spatial axes."""

import collections
import functools
import math
import threading

import numpy as np

from voxkern import _check, _dispatch, conv_fft, conv_rule, window
from voxkern._threads import get_num_threads

LINE = 64  # bytes
MOST_KEPT = 8


def conv3d(
    x,
    weight,
    bias=None,
    stride=1,
    padding=0,
    dilation=1,
    groups=1,
    *,
    algorithm="auto",
    activation=None,
    out=None,
):
    """Three-dimensional convolution (cross-correlation) as in ``torch.nn.functional.conv3d``.

    Parameters
    ----------
    x : array_like
        ``(N, C, D, H, W)``, or unbatched ``(C, D, H, W)``. float32 or float64, computed in that
        type, or float16, computed in float32.
    weight : array_like
        ``(O, C / groups, kD, kH, kW)``, the dtype of `x`.
    bias : array_like, optional
        ``(O,)``, the dtype of `x`.
    stride, dilation : int or tuple of int
        One number, or one per spatial axis.
    padding : int, tuple of int, ``"same"`` or ``"valid"``
        Zeros on both sides of each axis. ``"same"`` (stride 1 alone) gives outputs of the input's
        size; an odd total puts the larger half after.
    groups : int
        Split the channels: each group of outputs sees its own group of inputs.
    algorithm : {"auto", "direct", "winograd", "fft", "im2col"}
        ``"direct"`` reads windows out of a block of the input that fits the cache; ``"im2col"``
        copies the windows of a block into columns first; ``"winograd"`` needs an axis of kernel
        size 2 to 5, stride 1 and dilation 1, and sums others directly; ``"fft"`` needs stride and
        dilation 1. ``"auto"`` chooses. The results differ by rounding alone. On a CUDA device all
        sums are direct; ``"winograd"`` and ``"fft"`` raise.
    activation : None, "relu" or ("leaky_relu", slope)
        What to apply to the result in the same pass: negative values become 0, or `slope` times
        themselves.
    out : ndarray, optional
        Where to write: shape and dtype of the result, no overlap with an input.

    Returns
    -------
    ndarray
        ``(N, O, oD, oH, oW)``, without N if `x` has none, with
        ``o = (n + padding before and after - dilation*(k - 1) - 1) // stride + 1`` on each axis.

    Raises
    ------
    TypeError
        A dtype or argument type that is not served.
    ValueError
        A shape or number that does not fit, or a window larger than the padded input.

    Notes
    -----
    Direct sums run over channels and kernel positions in an order that the shapes decide, in blocks
    of at most 512 terms whose sums are added. A result does not depend on the number of threads.
    Where a result of Winograd's is not finite, all are computed again by the direct sum: NaN and
    inf stay in the windows that hold them. Whether a weight that is not finite makes NaN where it
    meets nothing but padding is left open.

    Extra memory: about 512 kB per thread (more where a single row of windows over all channels
    is larger), 8 bytes per weight of one output channel, and the weights packed: 8 times their
    size for Winograd's largest tile. :func:`conv_workspace` tells. The last call's scratch, if it
    is at most 64 MB, is kept for the next. The columns are never made whole.

    For many calls with the same weights see :class:`ConvPlan`.

    Source: Dumoulin & Visin, "A guide to convolution arithmetic for deep learning" (2016).

    Examples
    --------
    >>> voxkern.conv3d(np.ones((1, 1, 3, 3, 3)), np.ones((1, 1, 2, 2, 2)))[0, 0, 0]
    array([[8., 8.],
           [8., 8.]])
    """
    return _conv(3, x, weight, bias, stride, padding, dilation, groups, algorithm, activation, out)


def conv2d(
    x,
    weight,
    bias=None,
    stride=1,
    padding=0,
    dilation=1,
    groups=1,
    *,
    algorithm="auto",
    activation=None,
    out=None,
):
    """Two-dimensional convolution of ``(N, C, H, W)`` or ``(C, H, W)``; see :func:`conv3d`."""
    return _conv(2, x, weight, bias, stride, padding, dilation, groups, algorithm, activation, out)


def conv1d(
    x,
    weight,
    bias=None,
    stride=1,
    padding=0,
    dilation=1,
    groups=1,
    *,
    algorithm="auto",
    activation=None,
    out=None,
):
    """One-dimensional convolution of ``(N, C, W)`` or ``(C, W)``; see :func:`conv3d`."""
    return _conv(1, x, weight, bias, stride, padding, dilation, groups, algorithm, activation, out)


class ConvPlan:
    """A convolution with fixed weights, prepared once: ``plan(x)`` for as many x as there are.

    Parameters
    ----------
    weight, bias, stride, padding, dilation, groups, algorithm, activation
        As for :func:`conv3d`, or for :func:`conv2d` or :func:`conv1d`: `weight` has the axes of
        one of them, and the plan serves that one. The arrays are copied: what is written into
        them later does not matter.

    Attributes
    ----------
    weight, bias : ndarray
        The copies, read-only; `bias` may be None.
    stride, padding, dilation : tuple of int
        One number per axis; `padding` may be ``"same"`` or ``"valid"``.
    groups, algorithm, activation
        As they were given.

    Raises
    ------
    TypeError, ValueError
        As :func:`conv3d`, for what a call's x does not decide.

    Notes
    -----
    A call gives exactly what the function gives and takes less time (to rounding with ``"fft"``,
    and where ``"auto"`` takes another algorithm because the weights are prepared already):
    weights are checked once, and packed or transformed once, when a call first needs it. Packed
    weights take the memory of the weights, those of Winograd up to 8 times as much; spectra take
    that of a block of the input for every pair of channels. At most 8 of them are kept, one for
    each way in which the sizes of x make the algorithm read the weights.

    Any number of threads may call one plan. A plan can be pickled and copied; what is prepared
    is left behind.

    Examples
    --------
    >>> blur = voxkern.ConvPlan(np.full((1, 1, 3), 1 / 3), padding=1)
    >>> blur(np.array([[[0.0, 3.0, 0.0, 6.0]]]))
    array([[[1., 1., 3., 2.]]])
    """

    def __init__(
        self,
        weight,
        bias=None,
        stride=1,
        padding=0,
        dilation=1,
        groups=1,
        algorithm="auto",
        activation=None,
    ):
        weight = _check.array(weight, "weight")
        if weight.ndim not in (3, 4, 5) or 0 in weight.shape:
            raise ValueError(f"weight has shape {weight.shape}; it must have 3 to 5 non-empty axes")
        if bias is not None:
            bias = _check.array(bias, "bias")
            if bias.dtype != weight.dtype:
                raise TypeError(
                    f"bias has dtype {bias.dtype}; it must be {weight.dtype}, that of weight"
                )
            _check.shape(bias, "bias", weight.shape[:1])
        groups = _check.integer(groups, "groups", minimum=1)
        _check_groups(groups, weight.shape)
        stride, pairs, dilation = window.checked(weight.shape[2:], stride, padding, dilation)
        conv_rule.check(algorithm, weight.shape[2:], stride, dilation)
        padding = str(padding) if isinstance(padding, str) else tuple(p for p, _ in pairs)
        self._arguments = stride, padding, dilation, groups, str(algorithm)
        self._served = self._arguments
        if algorithm != "im2col" and not np.isfinite(weight).all():
            self._served = *self._arguments[:-1], "direct"  # what the others come to
        self._slope = _slope(activation)
        self._activation = tuple(activation) if isinstance(activation, list) else activation
        self._weight, self._bias = _kept(weight), _kept(bias)
        self._computed = _check.computed(self._weight, self._bias)
        self._kept = {}
        self._lock = threading.Lock()

    def __call__(self, x, out=None):
        """Convolve `x`, into `out` if it is given; see :func:`conv3d`."""
        call, x, out = self._checked(x, out)
        return _run(call, x, *self._computed, self._slope, out, self._prepared(call))

    def add(self, x, out):
        """Add the convolution of `x` to what `out` holds, then apply the activation to the sums.

        Parameters
        ----------
        x : array_like
            As for a call.
        out : ndarray
            What is added to, such as what goes around a residual block; of the shape and dtype
            that a call has.

        Returns
        -------
        ndarray
            `out`.

        Raises
        ------
        TypeError, ValueError
            As a call.

        Notes
        -----
        Where the kernel is of size 1, the stride 1 and nothing is padded, the sums are added to as
        they are written, and it takes no pass of its own. Other convolutions take an array like
        `out` more.

        Examples
        --------
        >>> total = np.array([[[1.0, -4.0]]])
        >>> twice = voxkern.ConvPlan(np.full((1, 1, 1), 2.0), activation="relu")
        >>> twice.add(np.array([[[1.0, 1.0]]]), total)
        array([[[3., 0.]]])
        """
        if out is None:
            raise TypeError("out is None; it must be an array to add to")
        call, x, out = self._checked(x, out)
        prepared = self._prepared(call)
        if _adds(call) and _check.writable(out, x.dtype) is out:
            return _run(call, x, *self._computed, self._slope, out, prepared, accumulate=True)
        total = _run(call, x, *self._computed, None, np.empty(call.result, x.dtype), prepared)
        total += out
        if self._slope is not None:
            bent = total * self._slope if self._slope else 0
            np.copyto(total, bent, where=total < 0)
        out[...] = total
        return out

    def _checked(self, x, out):
        """The call that `x` makes, x as it is computed, and where to."""
        given, x = x, _check.array(x, "x")
        weight, axes = self._weight, self._weight.ndim - 2
        if x.dtype != weight.dtype:
            raise TypeError(f"x has dtype {x.dtype}; it must be {weight.dtype}, that of weight")
        call = _known_call(axes, x.shape, weight.shape, None, *self._served, True)
        out = _check.output(out, call.result, x.dtype, given)
        if x.dtype == _check.HALF:
            (x,) = _check.computed(x)
        return call, x, out

    def _prepared(self, call):
        """The weights as this call reads them, made by whichever thread is first."""
        form = _form(call, self._computed[0].itemsize, _dispatch.kernel("conv"))
        if form is None:
            return None
        found = self._kept.get(form)
        if found is None:
            with self._lock:
                found = self._kept.get(form)
                if found is None:
                    found = self._kept[form] = self._transformed(call, form)
                    if len(self._kept) > MOST_KEPT:
                        del self._kept[next(iter(self._kept))]
        return found

    def _transformed(self, call, form):
        weight = self._computed[0].reshape(call.weight)
        if call.algorithm == "fft":
            return conv_fft.transform_weights(weight, form, call.groups)
        if call.algorithm == "winograd":
            return _packed(call, weight)
        kernel, _, elements = form
        packed = _aligned(elements, weight.dtype)
        kernel.pack(call.x, weight, call.out, *call[4:8], algorithm=call.algorithm, out=packed)
        return packed

    weight = property(lambda self: self._weight)
    bias = property(lambda self: self._bias)
    stride = property(lambda self: self._arguments[0])
    padding = property(lambda self: self._arguments[1])
    dilation = property(lambda self: self._arguments[2])
    groups = property(lambda self: self._arguments[3])
    algorithm = property(lambda self: self._arguments[4])
    activation = property(lambda self: self._activation)

    def __repr__(self):
        bias = "no bias" if self._bias is None else "bias"
        return (
            f"ConvPlan(<{self._weight.dtype} weight {self._weight.shape}, {bias}>, "
            f"stride={self.stride}, padding={self.padding}, dilation={self.dilation}, "
            f"groups={self.groups}, algorithm={self.algorithm!r}, activation={self.activation!r})"
        )

    def __reduce__(self):
        return ConvPlan, (self._weight, self._bias, *self._arguments, self._activation)


def conv_workspace(
    x_shape,
    weight_shape,
    stride=1,
    padding=0,
    dilation=1,
    groups=1,
    *,
    algorithm="auto",
    dtype="float32",
    num_threads=None,
):
    """Bytes of scratch that :func:`conv1d`, :func:`conv2d` or :func:`conv3d` needs for a call.

    Parameters
    ----------
    x_shape, weight_shape : tuple of int
        Shapes of the arrays; `weight_shape` decides which of the three functions.
    stride, padding, dilation, groups, algorithm
        As for :func:`conv3d`.
    dtype : dtype
        float16, float32 or float64.
    num_threads : int, optional
        Threads that the call may use; :func:`get_num_threads` tells the default.

    Returns
    -------
    int
        Bytes at the peak beyond x, weight, bias and the result: scratch of all threads, tables,
        packed weights (which a :class:`ConvPlan` keeps), and for float16 the arrays in float32.
        Copies of arrays that are not C-contiguous are not among them. For ``"fft"`` an upper bound,
        up to twice what is used; for ``"winograd"`` with what only a call whose results are not all
        finite takes, the scratch of ``"direct"``. Up to 64 MB of it stay for the next call.

    Raises
    ------
    TypeError, ValueError
        As :func:`conv3d`.

    Examples
    --------
    >>> voxkern.conv_workspace((1, 8, 32, 32, 32), (8, 8, 3, 3, 3), num_threads=1) < 2**20
    True
    """
    x_shape, weight_shape = _shape(x_shape, "x_shape"), _shape(weight_shape, "weight_shape")
    axes = len(weight_shape) - 2
    if axes not in (1, 2, 3):
        raise ValueError(f"weight_shape is {weight_shape}; it must have 3 to 5 axes")
    itemsize = _check.float_dtype(dtype).itemsize
    if num_threads is None:
        num_threads = get_num_threads()
    threads = _check.integer(num_threads, "num_threads", 1)
    arguments = stride, padding, dilation, groups, algorithm
    call = _call(axes, x_shape, weight_shape, None, *arguments)
    widened = 0
    if itemsize == 2:
        itemsize = 4
        widened = itemsize * sum(math.prod(v) for v in (call.x, call.weight, call.out))
    return widened + _workspace(call, itemsize, threads)


def conv_transpose3d(
    x, weight, bias=None, stride=1, padding=0, output_padding=0, groups=1, dilation=1, *, out=None
):
    """Transposed three-dimensional convolution, the adjoint of :func:`conv3d` in its input.

    Parameters
    ----------
    x : array_like
        ``(N, C, D, H, W)`` or ``(C, D, H, W)``; dtypes as for :func:`conv3d`.
    weight : array_like
        ``(C, O / groups, kD, kH, kW)``, the dtype of `x`.
    bias : array_like, optional
        ``(O,)``, the dtype of `x`.
    stride, padding, dilation : int or tuple of int
        Those of the convolution that this is the adjoint of.
    output_padding : int or tuple of int
        Elements more at the end of each axis, less than its stride or its dilation.
    groups : int
        As for :func:`conv3d`.
    out : ndarray, optional
        Where to write: shape and dtype of the result, no overlap with an input.

    Returns
    -------
    ndarray
        ``(N, O, oD, oH, oW)``, without N if `x` has none, with
        ``o = (n - 1)*stride - 2*padding + dilation*(k - 1) + 1 + output_padding`` on each axis.

    Raises
    ------
    TypeError
        A dtype or argument type that is not served.
    ValueError
        A shape or number that does not fit, or an output without elements.

    Notes
    -----
    Outputs are computed residue by residue modulo the stride: each is a convolution of stride 1
    with the taps that reach it, and no inserted zeros are multiplied. With stride 1 it is
    :func:`conv3d` of the flipped weights, by the algorithm that suits it. Where that is estimated
    to be faster (few output channels, few positions, a kernel as large as its stride), one matrix
    product makes what each input adds to each output.

    Extra memory: that of :func:`conv3d`.

    Source: Dumoulin & Visin (2016), chapter 4.
    """
    return _transpose(3, x, weight, bias, stride, padding, output_padding, groups, dilation, out)


def conv_transpose2d(
    x, weight, bias=None, stride=1, padding=0, output_padding=0, groups=1, dilation=1, *, out=None
):
    """Transposed convolution of ``(N, C, H, W)`` or ``(C, H, W)``; see :func:`conv_transpose3d`."""
    return _transpose(2, x, weight, bias, stride, padding, output_padding, groups, dilation, out)


def conv_transpose1d(
    x, weight, bias=None, stride=1, padding=0, output_padding=0, groups=1, dilation=1, *, out=None
):
    """Transposed convolution of ``(N, C, W)`` or ``(C, W)``; see :func:`conv_transpose3d`."""
    return _transpose(1, x, weight, bias, stride, padding, output_padding, groups, dilation, out)


def conv3d_backward(
    grad, x, weight, stride=1, padding=0, dilation=1, groups=1, *, need=(True, True, True)
):
    """Gradients of :func:`conv3d` to its input, weights and bias.

    Parameters
    ----------
    grad : array_like
        Gradient to the output: the shape that :func:`conv3d` returns, the dtype of `x`.
    x, weight, stride, padding, dilation, groups
        The arguments of the forward call.
    need : tuple of three bool
        Which gradients to compute; the others are None.

    Returns
    -------
    grad_x, grad_weight, grad_bias : ndarray or None
        Of the shapes of `x`, `weight` and ``(O,)``.

    Raises
    ------
    TypeError, ValueError
        As :func:`conv3d`, or a `grad` that does not fit.

    Notes
    -----
    The gradient to the input is a transposed convolution; that to the weights is summed over parts
    of the positions that the shapes alone decide, so that no result depends on the number of
    threads. Extra memory: as for :func:`conv_transpose3d`; for the gradient to the weights a block
    of the input and its sums per thread, 1 MB or less each, and, where there are few weights,
    a copy of them for each of at most 64 parts.
    """
    return _backward(3, grad, x, weight, stride, padding, dilation, groups, need)


def conv2d_backward(
    grad, x, weight, stride=1, padding=0, dilation=1, groups=1, *, need=(True, True, True)
):
    """Gradients of :func:`conv2d`; see :func:`conv3d_backward`."""
    return _backward(2, grad, x, weight, stride, padding, dilation, groups, need)


def conv1d_backward(
    grad, x, weight, stride=1, padding=0, dilation=1, groups=1, *, need=(True, True, True)
):
    """Gradients of :func:`conv1d`; see :func:`conv3d_backward`."""
    return _backward(1, grad, x, weight, stride, padding, dilation, groups, need)


def _conv(axes, x, weight, bias, stride, padding, dilation, groups, algorithm, activation, out):
    given = x, weight, bias
    x, weight, bias = _arrays(x, weight, bias)
    slope = _slope(activation)
    shapes = x.shape, weight.shape, None if bias is None else bias.shape
    call = _call(axes, *shapes, stride, padding, dilation, groups, algorithm)
    if algorithm in ("winograd", "fft") and not isinstance(x, np.ndarray):
        raise ValueError(f"algorithm is {algorithm!r}; on a CUDA device it may be auto or direct")
    out = _check.output(out, call.result, x.dtype, *given, beside=x)
    if x.dtype == _check.HALF:
        x, weight, bias = _check.computed(x, weight, bias)
    return _run(call, x, weight, bias, slope, out)


def conv_padded(
    x, weight, pairs, stride=None, dilation=None, groups=1, algorithm="auto", *, out=None
):
    """The convolution with (before, after) zeros per axis; all but the arrays must be checked."""
    x, weight, _ = _arrays(x, weight, None)
    axes, ones = len(pairs), (1,) * len(pairs)
    groups = _check_channels(axes, x.shape, weight.shape, groups)
    arguments = stride or ones, pairs, dilation or ones, groups, algorithm
    call = _checked_call(axes, x.shape, weight.shape, *arguments)
    out = _check.output(out, call.result, x.dtype, beside=x)
    x, weight = _check.computed(x, weight)
    return _run(call, x, weight, None, None, out)


class Call(
    collections.namedtuple(
        "Call", "result x weight out stride padding dilation groups algorithm tile"
    )
):
    """A convolution's arguments for three axes, `result` the shape that its caller sees.

    Compared by identity: to hash all these numbers takes a microsecond.
    """

    __slots__ = ()
    __eq__, __hash__ = object.__eq__, object.__hash__


def _call(axes, x, weight, bias, *arguments):
    """Everything that depends on shapes, window arguments, groups and algorithm alone, checked."""
    return _cached(_known_call, (axes, x, weight, bias), arguments)


def _cached(known, shapes, arguments):
    """What `known` makes of these, through its cache where they are keys that only they can be."""
    plain = [tuple(value) if type(value) is list else value for value in arguments]
    for value in plain:
        if type(value) is tuple:
            exact = set(map(type, value)) == {int}
        else:
            exact = type(value) is int or type(value) is str
        if not exact:  # 1, 1.0 and True are one key
            return known.__wrapped__(*shapes, *arguments)
    return known(*shapes, *plain)


# Making one takes 8 microseconds, as long as three convolutions of 8x8x8.
@functools.lru_cache(512)
def _known_call(axes, x, weight, bias, stride, padding, dilation, groups, algorithm, kept=False):
    groups = _check_channels(axes, x, weight, groups)
    if bias is not None and bias != weight[:1]:
        raise ValueError(f"bias has shape {bias}; it must be {weight[:1]}")
    kernel_size = weight[2:]
    stride, padding, dilation = window.checked(kernel_size, stride, padding, dilation)
    conv_rule.check(algorithm, kernel_size, stride, dilation)
    return _checked_call(axes, x, weight, stride, padding, dilation, groups, algorithm, kept)


def _checked_call(axes, x, weight, stride, padding, dilation, groups, algorithm, kept=False):
    """The call that checked arguments make, `padding` in pairs; a plan keeps packed weights."""
    outputs, _, *kernel_size = weight
    count = window.output_size(x[-axes:], kernel_size, stride, padding, dilation)
    result = (*x[: -axes - 1], outputs, *count)
    x, weight = _five(x, axes), _five(weight, axes)
    out = (x[0], outputs, *window.as_volume(count, 1))
    stride, padding, dilation = window.volume(stride, padding, dilation)
    chosen = conv_rule.chosen(algorithm, weight, out, stride, dilation, groups, kept)
    return Call(result, x, weight, out, stride, padding, dilation, groups, *chosen)


def _check_channels(axes, x, weight, groups):
    """Raise unless a convolution of these shapes has channels that fit; the number of groups."""
    groups = _check_shapes(axes, x, weight, groups)
    if x[-axes - 1] != weight[1] * groups:
        raise ValueError(
            f"weight has shape {weight}; with groups {groups} it fits "
            f"{weight[1] * groups} channels, and x has shape {x}"
        )
    _check_groups(groups, weight)
    return groups


def _check_groups(groups, weight_shape):
    if weight_shape[0] % groups:
        raise ValueError(
            f"groups is {groups}; it must divide the {weight_shape[0]} output channels"
        )


def _shape(value, name):
    """A shape of at least one axis as a tuple of ints."""
    if not isinstance(value, (tuple, list)) or not value:
        raise TypeError(f"{name} is {value!r}; it must be a tuple of integers")
    return _check.per_axis(value, name, len(value), 0, _check.LARGEST_SIZE)


def _kept(value):
    """A read-only copy; None stays None."""
    if value is None:
        return None
    value = value.copy()
    value.flags.writeable = False
    return value


def _slope(activation):
    """What the kernels multiply negative results by; None leaves them."""
    if activation is None:
        return None
    if isinstance(activation, str) and activation == "relu":
        return 0.0
    if isinstance(activation, (tuple, list)) and len(activation) == 2:
        name, slope = activation
        if isinstance(name, str) and name == "leaky_relu":
            return _check.number(slope, "the slope of activation")
    raise ValueError(
        f"activation is {activation!r}; it may be None, 'relu' or ('leaky_relu', slope)"
    )


def _packed(call, weight):
    """`weight` as Winograd's kernel reads it."""
    kernel = _dispatch.kernel("conv_winograd")
    packed = _aligned(kernel.packed_size(*_to_pack(call, weight.itemsize)), weight.dtype)
    kernel.pack(weight, call.tile, call.groups, out=packed)
    return packed


def _to_pack(call, itemsize):
    outputs, inputs, *kernel_size = call.weight
    return outputs, inputs, kernel_size, call.tile, call.groups, itemsize


def _aligned(elements, dtype):
    """Memory that starts where a line of the cache does: no vector lies across two."""
    raw = np.empty(elements * dtype.itemsize + LINE, np.uint8)
    start = -raw.ctypes.data % LINE
    return raw[start : start + elements * dtype.itemsize].view(dtype)


def _run(
    call, x, weight, bias, slope, out, prepared=None, flipped=False, whole=None, accumulate=False
):
    """Convolve checked arrays into `out`; `prepared` is what a plan keeps of the weights.

    `flipped` weights of five axes are those of which the call is the transpose. Where this is a
    block of a `whole` call, its direct sums are added in that call's order. To `accumulate` is for
    those that :func:`_adds` allows.
    """
    scratch = _check.writable(out, x.dtype)
    target = scratch if scratch.ndim == 5 else scratch.reshape(*call.out)
    if not flipped and (x.ndim != 5 or weight.ndim != 5):
        x, weight = x.reshape(*call.x), weight.reshape(*call.weight)
    _, _, _, _, stride, padding, dilation, groups, algorithm, tile = call
    if not isinstance(x, np.ndarray):
        algorithm = "direct"
    if algorithm == "winograd":
        finite = _dispatch.kernel("conv_winograd").conv(
            *(x, weight, bias, tile, padding, stride, dilation, groups),
            packed=prepared,
            slope=slope,
            flipped=flipped,
            out=target,
        )
        if finite:
            return _check.deliver(scratch, out)
        # NaN or inf spoils all the outputs of a tile.
        algorithm, prepared = "direct", None
    if algorithm == "fft":
        weight = _flip(weight, groups) if flipped else weight
        conv_fft.conv_fft(
            x, weight, bias, padding, groups, slope=slope, out=target, transformed=prepared
        )
    else:
        _dispatch.kernel("conv", x).conv(
            x,
            weight,
            bias,
            stride,
            padding,
            dilation,
            groups,
            algorithm=algorithm,
            slope=slope,
            flipped=flipped,
            out=target,
            packed=prepared,
            whole=whole and (whole.x, whole.out, whole.padding),
            accumulate=accumulate,
        )
    return _check.deliver(scratch, out)


def _adds(call):
    """Whether the kernel can add a call's sums to what the result holds: outputs lie as inputs."""
    one = math.prod(call.weight[2:]) == math.prod(call.stride) == 1
    return one and not any(map(any, call.padding)) and call.algorithm in ("direct", "im2col")


@functools.lru_cache(512)
def _form(call, itemsize, kernel):
    """What tells apart the ways in which a plan prepares its weights; None if this call has none.

    `kernel` is that of "conv": each CPU level packs in its own way.
    """
    if call.algorithm == "fft":
        return conv_fft.choose_block(call.out, call.weight, call.groups, itemsize, transformed=True)
    if call.algorithm == "winograd":
        return kernel, call.tile
    layout, elements = kernel.packing(*call[1:8], algorithm=call.algorithm, itemsize=itemsize)
    return (kernel, layout, elements) if elements else None


def _workspace(call, itemsize, threads):
    """Bytes that the algorithm of the call allocates, packed weights included."""
    if call.algorithm == "fft":
        return conv_fft.scratch(call.out, call.weight, call.groups, itemsize)
    sizes = {"itemsize": itemsize, "threads": threads}
    arguments = call[1:8]
    direct = _native("conv").workspace(*arguments, algorithm=call.algorithm, **sizes)
    if call.algorithm != "winograd":
        return direct
    winograd = _native("conv_winograd").workspace(*arguments, tile=call.tile, **sizes)
    # Where results are not finite the direct kernel follows; the scratch is kept until then.
    return direct + winograd


def _native(operation):
    return _dispatch.module("native", _dispatch.cpu_level, operation)


def _transpose(axes, x, weight, bias, stride, padding, output_padding, groups, dilation, out):
    given = x, weight, bias
    x, weight, bias = _arrays(x, weight, bias)
    arguments = stride, padding, output_padding, groups, dilation
    adjoint, result = _cached(_known_transpose, (axes, x.shape, weight.shape), arguments)
    if bias is not None:
        _check.shape(bias, "bias", result[-axes - 1 : -axes])
    out = _check.output(out, result, x.dtype, *given, beside=x)
    x, weight, bias = _check.computed(x, weight, bias)
    scratch = _check.writable(out, x.dtype)
    _spread(adjoint, x, weight, bias, scratch)
    return _check.deliver(scratch, out)


@functools.lru_cache(512)
def _known_transpose(axes, x, weight, stride, padding, output_padding, groups, dilation):
    """The checked call of a transposed convolution, and the shape of its result."""
    groups = _check_shapes(axes, x, weight, groups)
    if x[-axes - 1] != weight[0]:
        raise ValueError(
            f"weight has shape {weight}; it fits {weight[0]} channels, and x has shape {x}"
        )
    if weight[0] % groups:
        raise ValueError(f"groups is {groups}; it must divide the {weight[0]} input channels")
    kernel_size = weight[2:]
    if isinstance(padding, str):
        raise ValueError(f"padding is {padding!r}; a transposed convolution takes numbers")
    stride, pairs, dilation = window.checked(kernel_size, stride, padding, dilation)
    extra = _check.per_axis(output_padding, "output_padding", axes, minimum=0)
    if any(e >= max(s, d) for e, s, d in zip(extra, stride, dilation)):
        raise ValueError(
            f"output_padding is {output_padding}; it must be less than the stride {stride} "
            f"or the dilation {dilation}"
        )
    before = [b for b, _ in pairs]
    size = window.transposed_size(x[-axes:], kernel_size, stride, before, extra, dilation)
    result = *x[: -axes - 1], weight[1] * groups, *size
    return _adjoint(axes, x, weight, result, stride, pairs, extra, groups, dilation), result


def _backward(axes, grad, x, weight, stride, padding, dilation, groups, need):
    grad = _check.anywhere(grad, "grad")
    x, weight, _ = _arrays(x, weight, None, beside=grad)
    _check.same_dtype(x, grad=grad)
    need_x, need_weight, need_bias = _check.needed(need)
    shapes = axes, x.shape, weight.shape, grad.shape
    found = _cached(_known_gradients, shapes, (stride, padding, dilation, groups))
    dtype = x.dtype
    if dtype == _check.HALF:
        x, weight, grad = _check.computed(x, weight, grad)
    grad_x = grad_weight = grad_bias = None
    if need_x:
        grad_x, scratch = _result(x.shape, dtype, x)
        _spread(found.adjoint, grad, weight, None, scratch)
        grad_x = _check.deliver(scratch, grad_x)
    if need_weight or need_bias:
        grad = grad.reshape(*found.adjoint.x)
    if need_weight:
        grad_weight, scratch = _result(weight.shape, dtype, x)
        _weight_gradient(found, grad, x.reshape(*found.x), scratch.reshape(*found.weight))
        grad_weight = _check.deliver(scratch, grad_weight)
    if need_bias:
        grad_bias, scratch = _result(weight.shape[:1], dtype, x)
        _dispatch.kernel("conv", x).conv_backward_bias(grad, out=scratch)
        grad_bias = _check.deliver(scratch, grad_bias)
    return grad_x, grad_weight, grad_bias


def _result(shape, dtype, x):
    """A new array where `x` is, and one for a kernel of the type of `x` to write."""
    out = _check.output(None, shape, dtype, beside=x)
    return out, _check.writable(out, x.dtype)


# What the gradients of a convolution need to know of its arguments: shapes of five axes, the window
# for three, Winograd's tile for the weights, and the gradient to the input as an adjoint.
Gradients = collections.namedtuple("Gradients", "x weight kernel_size window tile adjoint")


@functools.lru_cache(512)
def _known_gradients(axes, x, weight, grad, stride, padding, dilation, groups):
    groups = _check_shapes(axes, x, weight, groups)
    if x[-axes - 1] != weight[1] * groups or weight[0] % groups:
        raise ValueError(
            f"weight has shape {weight}; it does not fit x of shape {x} with groups {groups}"
        )
    kernel_size, size = weight[2:], x[-axes:]
    stride, padding, dilation = window.checked(kernel_size, stride, padding, dilation)
    count = window.output_size(size, kernel_size, stride, padding, dilation)
    expected = (*x[: -axes - 1], weight[0], *count)
    if grad != expected:
        raise ValueError(f"grad has shape {grad}; it must be {expected}")
    spans = window.extent(kernel_size, dilation)
    rest = [(n + b + a - e) % s for n, (b, a), e, s in zip(size, padding, spans, stride)]
    adjoint = _adjoint(axes, grad, weight, x, stride, padding, rest, groups, dilation)
    x, weight = adjoint.out, adjoint.weight
    arguments = *window.volume(stride, padding, dilation), groups
    tile = conv_rule.gradient_tile(weight, adjoint.x, arguments[0], arguments[2], groups)
    return Gradients(x, weight, weight[2:], arguments, tile, adjoint)


def _weight_gradient(found, grad, x, out):
    """The gradient to the weights, into `out`; all of five axes."""
    stride, padding, dilation, groups = found.window
    if found.tile and isinstance(x, np.ndarray):
        kernel, rest = _dispatch.kernel("conv_winograd"), (padding, stride, dilation, groups)
        if kernel.backward_weight(grad, x, found.kernel_size, found.tile, *rest, out=out):
            return
    kernel = _dispatch.kernel("conv", x)
    kernel.conv_backward_weight(grad, x, found.kernel_size, *found.window, out=out)


# A transposed convolution for three axes: `product` or direct sums, or the `call` of the
# convolution that it is with its weights flipped.
Adjoint = collections.namedtuple("Adjoint", "x weight out arguments product call")


def _adjoint(axes, x, weight, out, stride, padding, extra, groups, dilation):
    """How to compute a transposed convolution of checked arguments, by shapes alone."""
    call, least, size = None, math.inf, out[-axes:]
    if all(s == 1 for s in stride):
        spans = window.extent(weight[2:], dilation)
        sizes = zip(spans, padding, x[-axes:], size)
        pairs = [(e - 1 - b, m - n + b) for e, (b, _), n, m in sizes]
        if min(map(min, pairs)) >= 0:
            flipped = weight[1] * groups, weight[0] // groups, *weight[2:]
            call = _checked_call(axes, x, flipped, stride, pairs, dilation, groups, "auto")
            if call.algorithm == "winograd":
                least = conv_rule.estimated(
                    call.weight, call.out, call.stride, call.dilation, groups
                )
            elif call.algorithm == "fft":
                least = 0
    x, weight, out = _five(x, axes), _five(weight, axes), _five(out, axes)
    stride, padding, dilation = window.volume(stride, padding, dilation)
    arguments = stride, padding, window.as_volume(extra, 0), groups, dilation
    product = 0 not in x and conv_rule.scatters(x, weight, out, stride, groups, least)
    return Adjoint(x, weight, out, arguments, product, None if product else call)


def _spread(adjoint, x, weight, bias, out):
    """The transposed convolution of checked arrays, into `out`."""
    x, weight = x.reshape(*adjoint.x), weight.reshape(*adjoint.weight)
    if adjoint.call:
        _run(adjoint.call, x, weight, bias, None, out, flipped=True)
        return
    _dispatch.kernel("conv", x).conv_transpose(
        x,
        weight,
        bias,
        *adjoint.arguments,
        product=adjoint.product,
        out=out.reshape(*adjoint.out),
    )


def folded(weight, bias, scale, shift):
    """Weight and bias with which a convolution does `scale * conv + shift` of every channel."""
    scaled = weight * scale.reshape(-1, *(1,) * (weight.ndim - 1))
    offset = shift if bias is None else shift + bias * scale
    return scaled.astype(weight.dtype), offset.astype(weight.dtype)


def _flip(weight, groups):
    """Flipped weights, of five axes, as those of the convolution that they are for."""
    _, outputs, *kernel_size = weight.shape
    taps = weight[:, :, ::-1, ::-1, ::-1].reshape(groups, -1, outputs, *kernel_size)
    return np.ascontiguousarray(taps.swapaxes(1, 2).reshape(groups * outputs, -1, *kernel_size))


def _arrays(x, weight, bias, beside=None):
    """Checked arrays of one dtype, all where `beside` is; `bias` may be None."""
    x = _check.anywhere(x, "x", beside=beside)
    weight = _check.anywhere(weight, "weight", beside=x)
    if bias is not None:
        bias = _check.anywhere(bias, "bias", beside=x)
    _check.same_dtype(x, weight=weight, bias=bias)
    return x, weight, bias


def _check_shapes(axes, x, weight, groups):
    """Raise unless the shapes of x and weight have ranks that fit; the number of groups."""
    if len(x) not in (axes + 1, axes + 2):
        letters = ", ".join(("D", "H", "W")[3 - axes :])
        raise ValueError(f"x has shape {x}; it must be (N, C, {letters}) or (C, {letters})")
    if len(weight) != axes + 2 or 0 in weight:
        raise ValueError(f"weight has shape {weight}; it must have {axes + 2} non-empty axes")
    return _check.integer(groups, "groups", minimum=1)


def _volume(x, axes):
    """`x` with two leading axes and three spatial ones."""
    return x.reshape(_five(x.shape, axes))


def _five(shape, axes):
    """`shape` with two leading axes and three spatial ones."""
    lead = shape[:-axes]
    lead = lead if len(lead) == 2 else (1, *lead)
    return (*lead, *window.as_volume(shape[-axes:], 1))
