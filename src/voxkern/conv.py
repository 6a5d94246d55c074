"""Convolution, transposed convolution and their gradients over 1 to 3 spatial axes."""

import numpy as np

from voxkern import _check, _dispatch, window
from voxkern.conv_fft import conv_fft

ALGORITHMS = ("auto", "direct", "fft", "im2col")


def conv3d(
    x, weight, bias=None, stride=1, padding=0, dilation=1, groups=1, *, algorithm="auto", out=None
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
    algorithm : {"auto", "direct", "fft", "im2col"}
        ``"direct"`` reads the input in place of a block that fits the cache; ``"im2col"`` copies
        the windows of a block into columns first; ``"fft"`` (stride and dilation 1) multiplies
        spectra of blocks. ``"auto"`` chooses. The results differ by rounding alone.
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
    Sums run over channels and kernel positions in order, in blocks of 512 terms whose sums are
    added. A result does not depend on the number of threads. The zeros of the padding are
    multiplied like any others.

    Extra memory: about 256 kB per thread (more where a single row of windows over all channels
    is larger) and 8 bytes per weight of one output channel. The columns are never made whole.

    Source: Dumoulin & Visin, "A guide to convolution arithmetic for deep learning" (2016).

    Examples
    --------
    >>> voxkern.conv3d(np.ones((1, 1, 3, 3, 3)), np.ones((1, 1, 2, 2, 2)))[0, 0, 0]
    array([[8., 8.],
           [8., 8.]])
    """
    return _conv(3, x, weight, bias, stride, padding, dilation, groups, algorithm, out)


def conv2d(
    x, weight, bias=None, stride=1, padding=0, dilation=1, groups=1, *, algorithm="auto", out=None
):
    """Two-dimensional convolution of ``(N, C, H, W)`` or ``(C, H, W)``; see :func:`conv3d`."""
    return _conv(2, x, weight, bias, stride, padding, dilation, groups, algorithm, out)


def conv1d(
    x, weight, bias=None, stride=1, padding=0, dilation=1, groups=1, *, algorithm="auto", out=None
):
    """One-dimensional convolution of ``(N, C, W)`` or ``(C, W)``; see :func:`conv3d`."""
    return _conv(1, x, weight, bias, stride, padding, dilation, groups, algorithm, out)


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
    with the taps that reach it, and no inserted zeros are multiplied.

    Extra memory: that of :func:`conv3d`, and a copy of `weight`.

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
    The gradient to the input is a transposed convolution; that to the weights walks through all
    positions in one order, whatever the number of threads. Extra memory: as for
    :func:`conv_transpose3d`.
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


def _conv(axes, x, weight, bias, stride, padding, dilation, groups, algorithm, out):
    given = x, weight, bias
    x, weight, bias, groups = _operands(axes, x, weight, bias, groups)
    if x.shape[-axes - 1] != weight.shape[1] * groups:
        raise ValueError(
            f"weight has shape {weight.shape}; with groups {groups} it fits "
            f"{weight.shape[1] * groups} channels, and x has shape {x.shape}"
        )
    if len(weight) % groups:
        raise ValueError(f"groups is {groups}; it must divide the {len(weight)} output channels")
    if bias is not None:
        _check.shape(bias, "bias", weight.shape[:1])
    if not isinstance(algorithm, str) or algorithm not in ALGORITHMS:
        raise ValueError(f"algorithm is {algorithm!r}; it may be {', '.join(ALGORITHMS)}")
    kernel_size = weight.shape[2:]
    stride, padding, dilation = window.checked(kernel_size, stride, padding, dilation)
    if algorithm == "fft" and {*stride, *dilation} != {1}:
        raise ValueError(
            f"algorithm 'fft' needs stride 1 and dilation 1; they are {stride} and {dilation}"
        )
    count = window.output_size(x.shape[-axes:], kernel_size, stride, padding, dilation)
    out = _check.output(out, (*x.shape[: -axes - 1], len(weight), *count), x.dtype, *given)
    x, weight, bias = _check.computed(x, weight, bias)
    scratch = _check.writable(out, x.dtype)
    if algorithm == "fft":
        padding = window.as_volume(padding, (0, 0))
        x, weight, target = (_volume(a, axes) for a in (x, weight, scratch))
        conv_fft(x, weight, bias, padding, groups, slope=None, out=target)
        return _check.deliver(scratch, out)
    _dispatch.kernel("conv").conv(
        _volume(x, axes),
        _volume(weight, axes),
        bias,
        *window.volume(stride, padding, dilation),
        groups,
        algorithm=algorithm,
        slope=None,
        out=_volume(scratch, axes),
    )
    return _check.deliver(scratch, out)


def _transpose(axes, x, weight, bias, stride, padding, output_padding, groups, dilation, out):
    given = x, weight, bias
    x, weight, bias, groups = _operands(axes, x, weight, bias, groups)
    if x.shape[-axes - 1] != len(weight):
        raise ValueError(
            f"weight has shape {weight.shape}; it fits {len(weight)} channels, "
            f"and x has shape {x.shape}"
        )
    if len(weight) % groups:
        raise ValueError(f"groups is {groups}; it must divide the {len(weight)} input channels")
    outputs = weight.shape[1] * groups
    if bias is not None:
        _check.shape(bias, "bias", (outputs,))
    kernel_size = weight.shape[2:]
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
    size = window.transposed_size(x.shape[-axes:], kernel_size, stride, before, extra, dilation)
    out = _check.output(out, (*x.shape[: -axes - 1], outputs, *size), x.dtype, *given)
    x, weight, bias = _check.computed(x, weight, bias)
    scratch = _check.writable(out, x.dtype)
    _spread(axes, x, weight, bias, stride, pairs, extra, groups, dilation, scratch)
    return _check.deliver(scratch, out)


def _backward(axes, grad, x, weight, stride, padding, dilation, groups, need):
    x, weight, grad, groups = _operands(axes, x, weight, grad, groups, "grad")
    need_x, need_weight, need_bias = _needed(need)
    if x.shape[-axes - 1] != weight.shape[1] * groups or len(weight) % groups:
        raise ValueError(
            f"weight has shape {weight.shape}; it does not fit x of shape {x.shape} "
            f"with groups {groups}"
        )
    kernel_size = weight.shape[2:]
    stride, padding, dilation = window.checked(kernel_size, stride, padding, dilation)
    size = x.shape[-axes:]
    count = window.output_size(size, kernel_size, stride, padding, dilation)
    _check.shape(grad, "grad", (*x.shape[: -axes - 1], len(weight), *count))
    dtype = x.dtype
    x, weight, grad = _check.computed(x, weight, grad)
    grad_x = grad_weight = grad_bias = None
    if need_x:
        grad_x = np.empty_like(x)
        spans = window.extent(kernel_size, dilation)
        rest = [(n + b + a - e) % s for n, (b, a), e, s in zip(size, padding, spans, stride)]
        _spread(axes, grad, weight, None, stride, padding, rest, groups, dilation, grad_x)
        grad_x = grad_x.astype(dtype, copy=False)
    if need_weight:
        grad_weight = np.empty_like(weight)
        _dispatch.kernel("conv").conv_backward_weight(
            _volume(grad, axes),
            _volume(x, axes),
            window.as_volume(kernel_size, 1),
            *window.volume(stride, padding, dilation),
            groups,
            out=_volume(grad_weight, axes),
        )
        grad_weight = grad_weight.astype(dtype, copy=False)
    if need_bias:
        grad_bias = _volume(grad, axes).sum(axis=(0, 2, 3, 4)).astype(dtype, copy=False)
    return grad_x, grad_weight, grad_bias


def _spread(axes, x, weight, bias, stride, padding, extra, groups, dilation, out):
    """The transposed convolution of checked arrays, into `out`."""
    stride, padding, dilation = window.volume(stride, padding, dilation)
    _dispatch.kernel("conv").conv_transpose(
        _volume(x, axes),
        _volume(weight, axes),
        bias,
        stride,
        padding,
        window.as_volume(extra, 0),
        groups,
        dilation,
        out=_volume(out, axes),
    )


def _operands(axes, x, weight, other, groups, other_name="bias"):
    """Checked arrays of one dtype with ranks that fit, and the number of groups."""
    x, weight = _check.array(x, "x"), _check.array(weight, "weight")
    if other is not None or other_name != "bias":
        other = _check.array(other, other_name)
    _check.same_dtype(x, weight=weight, **{other_name: other})
    if x.ndim not in (axes + 1, axes + 2):
        letters = ", ".join(("D", "H", "W")[3 - axes :])
        raise ValueError(f"x has shape {x.shape}; it must be (N, C, {letters}) or (C, {letters})")
    if weight.ndim != axes + 2 or 0 in weight.shape:
        raise ValueError(f"weight has shape {weight.shape}; it must have {axes + 2} non-empty axes")
    return x, weight, other, _check.integer(groups, "groups", minimum=1)


def _needed(need):
    try:
        need_x, need_weight, need_bias = need
    except (TypeError, ValueError):
        raise ValueError(f"need is {need!r}; it must be three booleans") from None
    return tuple(_check.flag(n, "need") for n in (need_x, need_weight, need_bias))


def _volume(x, axes):
    """`x` with two leading axes and three spatial ones."""
    lead = x.shape[: x.ndim - axes]
    lead = lead if len(lead) == 2 else (1, *lead)
    return x.reshape(*lead, *window.as_volume(x.shape[x.ndim - axes :], 1))
