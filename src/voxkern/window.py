"""Window arithmetic, in one place: what size comes out, and how much padding goes in.

Everything is per axis, in tuples; sizes are spatial only. Formulas are those of
``torch.nn.functional``.
"""

from voxkern._check import per_axis


def checked(kernel_size, stride, padding, dilation):
    """`stride`, `padding` in pairs and `dilation`, checked, one per axis of `kernel_size`."""
    axes = len(kernel_size)
    stride = per_axis(stride, "stride", axes, 1)
    dilation = per_axis(dilation, "dilation", axes, 1)
    return stride, padding_pairs(padding, kernel_size, stride, dilation), dilation


def volume(stride, padding, dilation):
    """What :func:`checked` gave, for three axes."""
    return as_volume(stride, 1), as_volume(padding, (0, 0)), as_volume(dilation, 1)


def extent(kernel_size, dilation):
    """Input elements that a window spans: ``dilation*(kernel-1) + 1``."""
    return tuple(d * (k - 1) + 1 for k, d in zip(kernel_size, dilation))


def padding_pairs(padding, kernel_size, stride, dilation):
    """`padding` (numbers, ``"same"`` or ``"valid"``) as one (before, after) pair per axis.

    ``"same"`` gives outputs of the input's size; an odd total puts the larger half after.
    """
    axes = len(kernel_size)
    if not isinstance(padding, str):
        before = per_axis(padding, "padding", axes, 0)
        return tuple(zip(before, before))
    if padding == "valid":
        return ((0, 0),) * axes
    if padding != "same":
        raise ValueError(f"padding is {padding!r}; it may be 'same', 'valid' or numbers")
    if any(s != 1 for s in stride):
        raise ValueError(f"padding 'same' needs stride 1; stride is {stride}")
    totals = [e - 1 for e in extent(kernel_size, dilation)]
    return tuple((t // 2, t - t // 2) for t in totals)


def output_size(size, kernel_size, stride, padding, dilation, ceil_mode=False):
    """Number of windows along each axis; `padding` is a (before, after) pair per axis.

    With `ceil_mode` a last window may start before the end and reach past it, but it never
    starts in the padding after the input.
    """
    counts = []
    spans = extent(kernel_size, dilation)
    for axis, (n, e, s, (before, after)) in enumerate(zip(size, spans, stride, padding)):
        if n == 0:
            raise ValueError(f"x has spatial size {tuple(size)}; axis {axis} must not be empty")
        room = n + before + after - e
        if room < 0:
            raise ValueError(
                f"kernel_size {tuple(kernel_size)} spans {e} elements on axis {axis}, "
                f"more than the {n + before + after} of the padded input"
            )
        count = room // s + 1
        if ceil_mode and room % s and count * s < n + before:
            count += 1
        counts.append(count)
    return tuple(counts)


def transposed_size(size, kernel_size, stride, padding, output_padding, dilation):
    """Size that a transposed convolution makes of `size`; numbers, not pairs, for `padding`."""
    spans = extent(kernel_size, dilation)
    result = tuple(
        (n - 1) * s - 2 * p + e + o
        for n, s, p, e, o in zip(size, stride, padding, spans, output_padding)
    )
    if any(n < 1 for n in size):
        raise ValueError(f"x has spatial size {tuple(size)}; no axis may be empty")
    if any(n < 1 for n in result):
        raise ValueError(f"padding {tuple(padding)} leaves an output of size {result}")
    return result


def as_volume(values, fill):
    """The last three axes of a per-axis tuple, unit axes first: ``(3, 5) -> (fill, 3, 5)``."""
    return (fill,) * (3 - len(values)) + tuple(values)


def covering(size, kernel_size, stride, dilation):
    """Padding in pairs with which ``ceil(n / stride)`` windows cover each axis, the more after.

    TensorFlow's and ONNX's "same", for any stride.
    """
    pairs = []
    for n, e, s in zip(size, extent(kernel_size, dilation), stride):
        total = max((-(-n // s) - 1) * s + e - n, 0)
        pairs.append((total // 2, total - total // 2))
    return tuple(pairs)
