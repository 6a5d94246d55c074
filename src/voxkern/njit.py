"""The functions inside ``@njit`` code; Numba imports this by itself when it first compiles.

They take the arguments they take from Python, apart from `out`, `algorithm` and `activation`, and
arrays of float32 or float64 (:func:`im2col` of any number, :func:`flash_table` of what it takes).
A window argument is an integer or a tuple of integers; a padding that is a string, `return_indices`
and `curve` are constants.
What is wrong with a type is a ``TypingError`` when code is compiled, what is wrong with a value a
ValueError when it runs; both name the argument.

A call holds no GIL that its caller released, and may be in the body of a ``prange``: the threads of
both multiply there, so call ``voxkern.set_num_threads(1)`` before if the arrays are large.
"""

# Arrays are filled element by element: assigning slices takes Numba seconds to compile.

import llvmlite.binding
import numpy as np
from numba import types
from numba.core.errors import TypingError
from numba.extending import intrinsic, overload, register_jitable

import voxkern
from voxkern import capi, flash

POINTER = types.voidptr
SIZE = types.intp
INT = types.int32
DOUBLE = types.float64
MESSAGES = capi.messages()
FRAMES = types.uint8, types.uint16, types.float32, types.float64
NUMBERS = *types.integer_domain, types.float32, types.float64, types.boolean


def init():
    """What the entry point calls, and has Numba import this module; that is all it takes."""


for _name, _address in capi.addresses().items():
    llvmlite.binding.add_symbol(f"voxkern_{_name}", _address)


def _external(name, *arguments):
    return types.ExternalFunction(f"voxkern_{name}", INT(*arguments))


_X = SIZE, POINTER, POINTER  # itemsize, shape, data
_CHANNELS = SIZE, SIZE, SIZE, SIZE, POINTER  # itemsize, n, channels, elements of each, data
_num_threads = _external("num_threads")
_output_size = _external("output_size", POINTER, POINTER, INT, POINTER)
_conv = _external("conv", *_X, SIZE, POINTER, POINTER, POINTER, SIZE, INT, POINTER)
_max_pool = _external("max_pool", *_X, POINTER, INT, INT, POINTER, POINTER)
_avg_pool = _external("avg_pool", *_X, POINTER, INT, INT, DOUBLE, INT, POINTER)
_im2col = _external("im2col", *_X, POINTER, INT, POINTER)
_moments = _external("moments", *_CHANNELS, INT, POINTER, POINTER)
_batch_norm = _external("batch_norm", *_CHANNELS, *[POINTER] * 4, DOUBLE, INT, POINTER)
_flash_by_table = _external(
    "flash_by_table", *_X, SIZE, POINTER, SIZE, POINTER, POINTER, SIZE, POINTER, SIZE, DOUBLE, INT,
    POINTER,
)  # fmt: skip
_flash_by_power = _external("flash_by_power", *_X, SIZE, POINTER, INT, POINTER)


@intrinsic
def _null(typing_context):
    """A pointer to nothing."""

    def make(context, builder, signature, arguments):
        return context.get_constant_null(POINTER)

    return POINTER(), make


@register_jitable
def _check(error):
    """Raise what an error of voxkern.h means."""
    if error == 1:
        raise MemoryError("no memory for scratch")
    if error:
        raise ValueError(MESSAGES[error])


def _pointer(value, size):
    """Where the elements of `value` are, which must be `size`; a null pointer for None."""


@overload(_pointer)
def _pointer_typed(value, size):
    if _is_none(value):
        return lambda value, size: _null()

    # Not in one function with the null pointer: it would return a bare address, and nothing would
    # keep a copy alive.
    def pointer(value, size):
        if value.size != size:
            raise ValueError("weight or bias has a shape that does not fit the channels")
        return np.ascontiguousarray(value).ctypes

    return pointer


@register_jitable
def _along(value, axis):
    """A window argument along an axis: an integer, or one of a tuple for all axes or each."""
    if isinstance(value, tuple):
        return value[axis % len(value)]
    return value


@register_jitable
def _window(axes, kernel_size, stride, padding, dilation, same=False):
    """A voxkern_window: rows of the kernel, stride, padding before and after, dilation.

    With `same` the padding keeps the size, whatever `padding` is.
    """
    window = np.ones((5, 3), np.intp)
    for i in range(3):
        window[2, i] = window[3, i] = 0
    for axis in range(axes):
        i = 3 - axes + axis
        window[0, i], window[4, i] = _along(kernel_size, axis), _along(dilation, axis)
        if stride is None:
            window[1, i] = window[0, i]
        else:
            window[1, i] = _along(stride, axis)
        before = after = _along(padding, axis)
        if same:
            total = window[4, i] * (window[0, i] - 1)
            before, after = total // 2, total - total // 2
        window[2, i], window[3, i] = before, after
        if same and window[1, i] != 1:
            raise ValueError("padding 'same' needs stride 1")
    return window


@register_jitable
def _five(shape, axes):
    """A shape of five axes."""
    result, n = np.ones(5, np.intp), len(shape)
    if n == axes + 2:
        result[0] = shape[0]
    result[1] = shape[n - axes - 1]
    for i in range(axes):
        result[5 - axes + i] = shape[n - axes + i]
    return result


@register_jitable
def _counts(shape, window, ceil_mode):
    """Windows along three axes."""
    count = np.empty(3, np.intp)
    _check(_output_size(shape[2:].ctypes, window.ctypes, ceil_mode, count.ctypes))
    return count[0], count[1], count[2]


# --- what is known when code is compiled ----------------------------------------------------------


def _is_none(kind):
    """Whether the type of an argument says that it is None."""
    return kind is None or kind == types.none or kind == types.Omitted(None)


def _constant(value, name):
    """The value that an argument is known to have when code is compiled."""
    value = getattr(value, "value", value)  # omitted
    value = getattr(value, "literal_value", value)
    if isinstance(value, types.Type):
        raise TypingError(f"{name} must be a constant")
    return value


def _require_array(value, name, ranks, dtypes=(types.float32, types.float64)):
    if not isinstance(value, types.Array) or value.ndim not in ranks or not value.aligned:
        raise TypingError(
            f"{name} is {value}; it must be an array of {ranks[0]} or {ranks[-1]} axes"
        )
    if value.dtype not in dtypes:
        raise TypingError(
            f"{name} has dtype {value.dtype}; it may be {', '.join(map(str, dtypes))}"
        )


def _require_kind(value, name, kind, what):
    if isinstance(value, types.Type) and not isinstance(value, kind | types.Omitted):
        raise TypingError(f"{name} is {value}; it must be {what}")


def _require_window(axes, **arguments):
    """Raise for what is neither an integer nor a tuple of them."""
    for name, value in arguments.items():
        value = types.unliteral(value) if isinstance(value, types.Type) else value
        several = isinstance(value, types.UniTuple) and value.count in (1, axes)
        kind = value.dtype if several else value
        _require_kind(kind, name, types.Integer, f"an integer or a tuple of {axes}")


def _word(padding):
    """``"same"`` or ``"valid"`` where the padding is that, None where it is numbers."""
    if isinstance(padding, types.UnicodeType | types.StringLiteral):
        padding = _constant(padding, "padding as a string")
        if padding not in ("same", "valid"):
            raise TypingError(f"padding is {padding!r}; it may be 'same', 'valid' or numbers")
        return padding
    return None


def _overload_conv(function, axes):
    @overload(function)
    def typed(x, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
        _require_array(x, "x", (axes + 2, axes + 1))
        _require_array(weight, "weight", (axes + 2,), (x.dtype,))
        if not _is_none(bias):
            _require_array(bias, "bias", (1,), (x.dtype,))
        word = _word(padding)
        named, same = word is not None, word == "same"
        _require_window(axes, stride=stride, padding=0 if named else padding, dilation=dilation)
        _require_kind(groups, "groups", types.Integer, "an integer")
        lead, first = x.ndim - axes - 1, 3 - axes

        def run(x, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
            x, weight = np.ascontiguousarray(x), np.ascontiguousarray(weight)
            shape, outputs = _five(x.shape, axes), weight.shape[0]
            if weight.size == 0 or groups < 1 or shape[1] != weight.shape[1] * groups:
                raise ValueError(
                    "weight has a shape that does not fit the channels of x and groups"
                )
            pads = 0 if named else padding
            window = _window(axes, weight.shape[2:], stride, pads, dilation, same)
            counts = _counts(shape, window, False)
            out = np.empty((*x.shape[:lead], outputs, *counts[first:]), x.dtype)
            _check(
                _conv(
                    *(x.itemsize, shape.ctypes, x.ctypes, outputs, weight.ctypes),
                    *(_pointer(bias, outputs), window.ctypes, groups, _num_threads(), out.ctypes),
                )
            )
            return out

        return run


def _overload_max_pool(function, axes):
    @overload(function, prefer_literal=True)
    def typed(
        x, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False, return_indices=False
    ):
        _require_array(x, "x", (axes + 2, axes + 1))
        stride = kernel_size if _is_none(stride) else stride
        window = {"kernel_size": kernel_size, "stride": stride, "padding": padding}
        _require_window(axes, **window, dilation=dilation)
        _require_kind(ceil_mode, "ceil_mode", types.Boolean, "True or False")
        placed, lead, first = _constant(return_indices, "return_indices"), x.ndim - axes, 3 - axes

        def run(
            x, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False,
            return_indices=False,
        ):  # fmt: skip
            x, shape = np.ascontiguousarray(x), _five(x.shape, axes)
            window = _window(axes, kernel_size, stride, padding, dilation)
            counts = _counts(shape, window, ceil_mode)
            out = np.empty((*x.shape[:lead], *counts[first:]), x.dtype)
            places = np.empty(out.shape, np.int64) if placed else None
            _check(
                _max_pool(
                    *(x.itemsize, shape.ctypes, x.ctypes, window.ctypes, ceil_mode),
                    *(_num_threads(), out.ctypes, _pointer(places, out.size)),
                )
            )
            return (out, places) if placed else out

        return run


def _overload_avg_pool(function, axes):
    @overload(function)
    def typed(
        x, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True,
        divisor_override=None,
    ):  # fmt: skip
        _require_array(x, "x", (axes + 2, axes + 1))
        stride = kernel_size if _is_none(stride) else stride
        _require_window(axes, kernel_size=kernel_size, stride=stride, padding=padding)
        _require_kind(ceil_mode, "ceil_mode", types.Boolean, "True or False")
        _require_kind(count_include_pad, "count_include_pad", types.Boolean, "True or False")
        kinds = types.Integer | types.NoneType
        _require_kind(divisor_override, "divisor_override", kinds, "an integer or None")
        lead, first = x.ndim - axes, 3 - axes

        def run(
            x, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True,
            divisor_override=None,
        ):  # fmt: skip
            x, shape = np.ascontiguousarray(x), _five(x.shape, axes)
            window = _window(axes, kernel_size, stride, padding, 1)
            counts = _counts(shape, window, ceil_mode)
            divisor = 0
            if divisor_override is not None:
                divisor = divisor_override
                if divisor == 0:
                    raise ValueError("divisor_override is 0; it must be another integer")
            out = np.empty((*x.shape[:lead], *counts[first:]), x.dtype)
            _check(
                _avg_pool(
                    *(x.itemsize, shape.ctypes, x.ctypes, window.ctypes, ceil_mode),
                    *(count_include_pad, divisor, _num_threads(), out.ctypes),
                )
            )
            return out

        return run


for _axes in (1, 2, 3):
    _overload_conv(getattr(voxkern, f"conv{_axes}d"), _axes)
    _overload_max_pool(getattr(voxkern, f"max_pool{_axes}d"), _axes)
    _overload_avg_pool(getattr(voxkern, f"avg_pool{_axes}d"), _axes)


@overload(voxkern.im2col)
def _im2col_typed(x, kernel_size, stride=1, padding=0, dilation=1):
    if not isinstance(x, types.Array) or isinstance(x.dtype, types.Complex):
        raise TypingError(f"x is {x}; it must be an array of real numbers")
    several = isinstance(kernel_size, types.BaseTuple) and kernel_size.count > 1
    axes = kernel_size.count if several else x.ndim - 2
    if axes not in (1, 2, 3):
        raise TypingError(f"x is {x}; it must have 1 to 3 spatial axes")
    _require_array(x, "x", (axes + 2, axes + 1), NUMBERS)
    word = _word(padding)
    named, same = word is not None, word == "same"
    window = {"kernel_size": kernel_size, "stride": stride, "dilation": dilation}
    _require_window(axes, **window, padding=0 if named else padding)
    unbatched = x.ndim == axes + 1

    def run(x, kernel_size, stride=1, padding=0, dilation=1):
        x, shape = np.ascontiguousarray(x), _five(x.shape, axes)
        pads = 0 if named else padding
        window = _window(axes, kernel_size, stride, pads, dilation, same)
        counts = _counts(shape, window, False)
        rows = shape[1] * window[0, 0] * window[0, 1] * window[0, 2]
        out = np.empty((shape[0], rows, counts[0] * counts[1] * counts[2]), x.dtype)
        _check(
            _im2col(
                *(x.itemsize, shape.ctypes, x.ctypes, window.ctypes, _num_threads(), out.ctypes)
            )
        )
        return out[0] if unbatched else out

    return run


@register_jitable
def _statistics(x, channels, inner, mean, var, training):
    """The mean and variance to normalise with, in float64."""
    found = np.empty((2, channels))
    if mean is None:
        if not training:
            raise ValueError("running_mean is None; inference needs running_mean, running_var")
    else:
        if mean.size != channels or var.size != channels:
            raise ValueError("running_mean and running_var must have one value per channel")
        for c in range(channels):
            found[0, c], found[1, c] = mean[c], var[c]
    if training:
        if x.shape[0] * inner == 1:
            raise ValueError("x has 1 value per channel; training needs more")
        if x.size:
            _check(
                _moments(
                    *(x.itemsize, x.shape[0], channels, inner, x.ctypes, _num_threads()),
                    *(found.ctypes, found[1].ctypes),
                )
            )
    return found


@register_jitable
def _move(running, new, unbiased, momentum):
    """Move a running array, if it is one, towards `new` times `unbiased`."""
    if running is not None:
        for c in range(new.size):
            running[c] = (1 - momentum) * np.float64(running[c]) + momentum * (new[c] * unbiased)


@overload(voxkern.batch_norm)
def _batch_norm_typed(
    x, running_mean, running_var, weight=None, bias=None, training=False, momentum=0.1, eps=1e-5
):
    _require_array(x, "x", (2, 3, 4, 5))
    parameters = {"running_mean": running_mean, "running_var": running_var}
    for name, value in (parameters | {"weight": weight, "bias": bias}).items():
        if not _is_none(value):
            _require_array(value, name, (1,), (x.dtype,))
    if _is_none(running_mean) != _is_none(running_var):
        raise TypingError("running_mean and running_var must both be arrays or both be None")
    _require_kind(training, "training", types.Boolean, "True or False")

    def run(
        x, running_mean, running_var, weight=None, bias=None, training=False, momentum=0.1, eps=1e-5
    ):
        x, channels = np.ascontiguousarray(x), x.shape[1]
        inner = 1
        for axis in range(2, x.ndim):
            inner *= x.shape[axis]
        if channels == 0 or inner == 0:
            raise ValueError("x has an empty axis")
        scale, offset = _pointer(weight, channels), _pointer(bias, channels)
        found = _statistics(x, channels, inner, running_mean, running_var, training)
        out = np.empty(x.shape, x.dtype)
        _check(
            _batch_norm(
                *(x.itemsize, x.shape[0], channels, inner, x.ctypes, found.ctypes),
                *(found[1].ctypes, scale, offset, eps, _num_threads(), out.ctypes),
            )
        )
        if training and x.size:
            count = x.shape[0] * inner
            _move(running_mean, found[0], 1.0, momentum)
            _move(running_var, found[1], count / (count - 1), momentum)
        return out

    return run


def _walk_by_table(curve, top, channels):
    """The rows of integer frames, for one curve."""
    table, codes, cubics, lines, slack = flash._named_table(curve, top, channels)
    values, count, line_count = table.size, lines.shape[0], lines.shape[1]

    def walk(frames, shape, k, rows):
        return _flash_by_table(
            *(frames.itemsize, shape.ctypes, frames.ctypes, k, table.ctypes, values, codes.ctypes),
            *(cubics.ctypes, count, lines.ctypes, line_count, slack, _num_threads(), rows.ctypes),
        )

    return register_jitable(walk)


def _walk_by_power(curve):
    """The rows of float frames, for one curve."""
    power = flash._power(curve)

    def walk(frames, shape, k, rows):
        return _flash_by_power(
            *(frames.itemsize, shape.ctypes, frames.ctypes, k, power.ctypes, _num_threads()),
            rows.ctypes,
        )

    return register_jitable(walk)


@overload(voxkern.flash_table, prefer_literal=True)
def _flash_table_typed(frames, k=5, curve="exam"):
    _require_array(frames, "frames", (3, 4), FRAMES)
    _require_kind(k, "k", types.Integer, "an integer")
    curve, channels = _constant(curve, "curve"), 3 if frames.ndim == 4 else 1
    if curve not in flash.CURVES:
        raise TypingError(f"curve is {curve!r}; it may be {', '.join(flash.CURVES)}")
    if isinstance(frames.dtype, types.Float):
        walk = _walk_by_power(flash.CURVES[curve])
    else:
        walk = _walk_by_table(flash.CURVES[curve], frames.dtype.maxval, channels)

    def run(frames, k=5, curve="exam"):
        if channels == 3 and frames.shape[-1] != 3:
            raise ValueError("frames must be (F, H, W) or (F, H, W, 3)")
        frames, shape = np.ascontiguousarray(frames), np.empty(3, np.intp)
        shape[0], shape[2] = frames.shape[0], channels
        shape[1] = frames.shape[1] * frames.shape[2]
        if k < 1 or k > shape[1]:
            raise ValueError("k must be at least 1 and at most the pixels of a frame")
        rows = np.empty((max(shape[0] - 1, 0), 1))
        if rows.size and not walk(frames, shape, k, rows):
            raise MemoryError("no memory for the largest changes")
        return rows

    return run
