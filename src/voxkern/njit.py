"""The functions inside ``@njit`` code; Numba calls :func:`init` when it first compiles.

They take the arguments they take from Python, apart from `out`, `algorithm` and `activation`, and
arrays of float32 or float64 (:func:`im2col` of any number). A window argument is an integer or a
tuple of integers, `return_indices` a constant. What is wrong with a type is a ``TypingError`` when
code is compiled, what is wrong with a value a ValueError when it runs; both name the argument.

A call holds no GIL that its caller released, and may be in the body of a ``prange``: the threads of
both multiply there, so call ``voxkern.set_num_threads(1)`` before if the arrays are large.
"""

import llvmlite.binding
import numpy as np
from numba import types
from numba.core.errors import TypingError
from numba.extending import intrinsic, overload, register_jitable
from numba.np.unsafe.ndarray import to_fixed_tuple

import voxkern
from voxkern import capi

POINTER = types.voidptr
SIZE = types.intp
INT = types.int32


def init():
    """Tell Numba where the functions are; the rest of this module told it how to call them."""
    for name, address in capi.addresses().items():
        llvmlite.binding.add_symbol(f"voxkern_{name}", address)


def _external(name, *arguments):
    return types.ExternalFunction(f"voxkern_{name}", INT(*arguments))


_X = SIZE, POINTER, POINTER  # itemsize, shape, data
_num_threads = _external("num_threads")
_output_size = _external("output_size", POINTER, POINTER, INT, POINTER)
_conv = _external("conv", *_X, SIZE, POINTER, POINTER, POINTER, SIZE, INT, POINTER)
_max_pool = _external("max_pool", *_X, POINTER, INT, INT, POINTER, POINTER)
_avg_pool = _external("avg_pool", *_X, POINTER, INT, INT, types.float64, INT, POINTER)
_im2col = _external("im2col", *_X, POINTER, INT, POINTER)
_moments = _external("moments", *(SIZE, SIZE, SIZE, SIZE, POINTER), INT, POINTER, POINTER)
_batch_norm = _external(
    "batch_norm", *(SIZE, SIZE, SIZE, SIZE, POINTER), *[POINTER] * 4, types.float64, INT, POINTER
)


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
    if error == 2:
        raise ValueError("x has an empty axis")
    if error == 3:
        raise ValueError("kernel_size is below 1, or a window is larger than the padded input")
    if error == 4:
        raise ValueError("stride is below 1")
    if error == 5:
        raise ValueError("padding is below 0, or over half of a pool's window")
    if error == 6:
        raise ValueError("dilation is below 1")
    if error == 7:
        raise ValueError("groups does not divide the channels of x and the outputs")
    if error:
        raise ValueError("x has a dtype that is not served")


def _pointer(value, size):
    """Where the elements of `value` are, which must be `size`; a null pointer for None."""


@overload(_pointer)
def _pointer_typed(value, size):
    if _is_none(value):
        return lambda value, size: _null()

    def pointer(value, size):
        if value.size != size:
            raise ValueError("weight or bias has a shape that does not fit the channels")
        return np.ascontiguousarray(value).ctypes

    return pointer


def _is_none(kind):
    """Whether the type of an argument says that it is None."""
    return kind is None or kind == types.none or kind == types.Omitted(None)


def _per_axis(row, value, name, axes):
    """row = `value`, an integer or one for each of the last `axes` of three axes."""


@overload(_per_axis, prefer_literal=True)
def _per_axis_typed(row, value, name, axes):
    if not isinstance(name, types.StringLiteral):  # Numba's second try, after an error
        return None
    name, value = name.literal_value, types.unliteral(value)
    if isinstance(value, types.Integer):

        def fill(row, value, name, axes):
            row[3 - axes :] = value

        return fill
    if not isinstance(value, types.UniTuple) or not isinstance(value.dtype, types.Integer):
        raise TypingError(f"{name} is {value}; it must be an integer or a tuple of them")
    message, length = f"{name} must be an integer or one for each axis", value.count

    def fill(row, value, name, axes):
        if length != 1 and length != axes:
            raise ValueError(message)
        for i in range(axes):
            row[3 - axes + i] = value[min(i, length - 1)]

    return fill


def _pad(window, value, axes):
    """Rows 2 and 3 of a window = the padding before and after."""


@overload(_pad, prefer_literal=True)
def _pad_typed(window, value, axes):
    if not isinstance(value, types.UnicodeType | types.StringLiteral):

        def pad(window, value, axes):
            _per_axis(window[2], value, "padding", axes)
            window[3] = window[2]

        return pad

    def pad(window, value, axes):
        if value != "same" and value != "valid":
            raise ValueError("padding is a string that is not 'same' or 'valid'")
        if value == "same":
            for i in range(3):
                if window[1, i] != 1:
                    raise ValueError("padding 'same' needs stride 1")
                total = window[4, i] * (window[0, i] - 1)
                window[2, i] = total // 2
                window[3, i] = total - total // 2

    return pad


@register_jitable
def _window(kernel_size, stride, padding, dilation, axes):
    """A voxkern_window: rows of the kernel, stride, padding before and after, dilation."""
    window = np.ones((5, 3), np.intp)
    window[2:4] = 0
    _per_axis(window[0], kernel_size, "kernel_size", axes)
    _per_axis(window[1], stride, "stride", axes)
    _per_axis(window[4], dilation, "dilation", axes)
    _pad(window, padding, axes)
    return window


@register_jitable
def _five(shape, axes):
    """A shape of five axes."""
    result, n = np.ones(5, np.intp), len(shape)
    for i in range(axes):
        result[5 - axes + i] = shape[n - axes + i]
    result[1] = shape[n - axes - 1]
    if n == axes + 2:
        result[0] = shape[0]
    return result


@register_jitable
def _counted(x_shape, window, ceil_mode):
    """Windows along three axes."""
    count = np.empty(3, np.intp)
    _check(_output_size(x_shape[2:].ctypes, window.ctypes, ceil_mode, count.ctypes))
    return count


@register_jitable
def _result_sizes(x_shape, channels, count, axes, ndim):
    """The sizes of a result of `ndim` axes, `axes` of them spatial."""
    sizes = np.empty(ndim, np.intp)
    sizes[0] = x_shape[0]
    sizes[ndim - axes - 1] = channels
    sizes[ndim - axes :] = count[3 - axes :]
    return sizes


def _pool_window(kernel_size, stride, padding, dilation, axes):
    """The window of a pool; its stride is the kernel size where it is None."""


@overload(_pool_window, prefer_literal=True)
def _pool_window_typed(kernel_size, stride, padding, dilation, axes):
    if _is_none(stride):

        def window(kernel_size, stride, padding, dilation, axes):
            return _window(kernel_size, kernel_size, padding, dilation, axes)

        return window

    def window(kernel_size, stride, padding, dilation, axes):
        return _window(kernel_size, stride, padding, dilation, axes)

    return window


def _constant(value, name):
    """The boolean that an argument is known to be when code is compiled."""
    value = getattr(value, "value", value)
    value = getattr(value, "literal_value", value)
    if not isinstance(value, bool):
        raise TypingError(f"{name} must be a constant, True or False")
    return value


def _require_array(value, name, ranks, dtypes=(types.float32, types.float64)):
    if not isinstance(value, types.Array) or value.ndim not in ranks or not value.aligned:
        raise TypingError(
            f"{name} is {value}; it must be an array of {ranks[0]} or {ranks[-1]} axes"
        )
    if dtypes and value.dtype not in dtypes:
        raise TypingError(f"{name} has dtype {value.dtype}; it may be float32 or float64")


def _require_kind(value, name, kind, what):
    if isinstance(value, types.Type) and not isinstance(value, kind | types.Omitted):
        raise TypingError(f"{name} is {value}; it must be {what}")


def _overload_conv(function, axes):
    @overload(function)
    def typed(x, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
        _require_array(x, "x", (axes + 2, axes + 1))
        _require_array(weight, "weight", (axes + 2,), (x.dtype,))
        if not _is_none(bias):
            _require_array(bias, "bias", (1,), (x.dtype,))
        _require_kind(groups, "groups", types.Integer, "an integer")
        ndim, itemsize = x.ndim, x.dtype.bitwidth // 8

        def run(x, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
            x, weight = np.ascontiguousarray(x), np.ascontiguousarray(weight)
            shape, outputs = _five(x.shape, axes), weight.shape[0]
            if weight.size == 0 or groups < 1 or shape[1] != weight.shape[1] * groups:
                raise ValueError(
                    "weight has a shape that does not fit the channels of x and groups"
                )
            window = _window(weight.shape[2:], stride, padding, dilation, axes)
            count = _counted(shape, window, 0)
            sizes = _result_sizes(shape, outputs, count, axes, ndim)
            given = _pointer(bias, outputs)
            out = np.empty(to_fixed_tuple(sizes, ndim), x.dtype)
            _check(
                _conv(
                    *(itemsize, shape.ctypes, x.ctypes, outputs, weight.ctypes, given),
                    *(window.ctypes, groups, _num_threads(), out.ctypes),
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
        _require_kind(ceil_mode, "ceil_mode", types.Boolean, "True or False")
        ndim, itemsize = x.ndim, x.dtype.bitwidth // 8

        def prepare(x, kernel_size, stride, padding, dilation, ceil_mode):
            shape = _five(x.shape, axes)
            window = _pool_window(kernel_size, stride, padding, dilation, axes)
            count = _counted(shape, window, ceil_mode)
            return shape, window, _result_sizes(shape, shape[1], count, axes, ndim)

        prepare = register_jitable(prepare)

        def run(
            x,
            kernel_size,
            stride=None,
            padding=0,
            dilation=1,
            ceil_mode=False,
            return_indices=False,
        ):
            x = np.ascontiguousarray(x)
            shape, window, sizes = prepare(x, kernel_size, stride, padding, dilation, ceil_mode)
            out = np.empty(to_fixed_tuple(sizes, ndim), x.dtype)
            _check(
                _max_pool(
                    *(itemsize, shape.ctypes, x.ctypes, window.ctypes, ceil_mode),
                    *(_num_threads(), out.ctypes, _null()),
                )
            )
            return out

        def run_with_places(
            x,
            kernel_size,
            stride=None,
            padding=0,
            dilation=1,
            ceil_mode=False,
            return_indices=False,
        ):
            x = np.ascontiguousarray(x)
            shape, window, sizes = prepare(x, kernel_size, stride, padding, dilation, ceil_mode)
            out = np.empty(to_fixed_tuple(sizes, ndim), x.dtype)
            places = np.empty(to_fixed_tuple(sizes, ndim), np.int64)
            _check(
                _max_pool(
                    *(itemsize, shape.ctypes, x.ctypes, window.ctypes, ceil_mode),
                    *(_num_threads(), out.ctypes, places.ctypes),
                )
            )
            return out, places

        return run_with_places if _constant(return_indices, "return_indices") else run


def _overload_avg_pool(function, axes):
    @overload(function)
    def typed(
        x,
        kernel_size,
        stride=None,
        padding=0,
        ceil_mode=False,
        count_include_pad=True,
        divisor_override=None,
    ):
        _require_array(x, "x", (axes + 2, axes + 1))
        _require_kind(ceil_mode, "ceil_mode", types.Boolean, "True or False")
        _require_kind(count_include_pad, "count_include_pad", types.Boolean, "True or False")
        kinds = types.Integer | types.NoneType
        _require_kind(divisor_override, "divisor_override", kinds, "an integer or None")
        ndim, itemsize = x.ndim, x.dtype.bitwidth // 8
        no_divisor = _is_none(divisor_override)

        def run(
            x,
            kernel_size,
            stride=None,
            padding=0,
            ceil_mode=False,
            count_include_pad=True,
            divisor_override=None,
        ):
            x, shape = np.ascontiguousarray(x), _five(x.shape, axes)
            window = _pool_window(kernel_size, stride, padding, 1, axes)
            count = _counted(shape, window, ceil_mode)
            sizes = _result_sizes(shape, shape[1], count, axes, ndim)
            divisor = 0 if no_divisor else divisor_override
            if not no_divisor and divisor == 0:
                raise ValueError("divisor_override is 0; it must be another integer")
            out = np.empty(to_fixed_tuple(sizes, ndim), x.dtype)
            _check(
                _avg_pool(
                    *(itemsize, shape.ctypes, x.ctypes, window.ctypes, ceil_mode),
                    *(count_include_pad, divisor, _num_threads(), out.ctypes),
                )
            )
            return out

        return run


@overload(voxkern.im2col)
def _im2col_typed(x, kernel_size, stride=1, padding=0, dilation=1):
    if not isinstance(x, types.Array):
        raise TypingError(f"x is {x}; it must be an array")
    several = isinstance(kernel_size, types.BaseTuple) and kernel_size.count > 1
    axes = kernel_size.count if several else x.ndim - 2
    _require_array(x, "x", (axes + 2, axes + 1), None)
    unbatched = x.ndim == axes + 1
    numbers = types.Integer | types.Float | types.Boolean
    if axes not in (1, 2, 3) or not isinstance(x.dtype, numbers):
        raise TypingError(f"x is {x}; it must be real numbers with 1 to 3 spatial axes")

    def run(x, kernel_size, stride=1, padding=0, dilation=1):
        x, shape = np.ascontiguousarray(x), _five(x.shape, axes)
        window = _window(kernel_size, stride, padding, dilation, axes)
        count = _counted(shape, window, 0)
        rows = shape[1] * window[0].prod()
        out = np.empty((shape[0], rows, count.prod()), x.dtype)
        _check(
            _im2col(
                *(x.itemsize, shape.ctypes, x.ctypes, window.ctypes),
                *(_num_threads(), out.ctypes),
            )
        )
        return out

    def run_unbatched(x, kernel_size, stride=1, padding=0, dilation=1):
        return voxkern.im2col(x.reshape((1, *x.shape)), kernel_size, stride, padding, dilation)[0]

    return run_unbatched if unbatched else run


def _statistics(x, channels, inner, mean, var, training):
    """The mean and variance to normalise with, in float64."""


@overload(_statistics)
def _statistics_typed(x, channels, inner, mean, var, training):
    if _is_none(mean):

        def check(mean, var, channels, training):
            if not training:
                raise ValueError("running_mean is None; inference needs running_mean, running_var")

        def take(mean, var, found):
            pass

    else:

        def check(mean, var, channels, training):
            if mean.size != channels or var.size != channels:
                raise ValueError("running_mean and running_var must have one value per channel")

        def take(mean, var, found):
            found[0], found[1] = mean, var

    check, take = register_jitable(check), register_jitable(take)

    def statistics(x, channels, inner, mean, var, training):
        check(mean, var, channels, training)
        found = np.full((2, channels), np.nan)
        if not training:
            take(mean, var, found)
            return found
        if x.shape[0] * inner == 1:
            raise ValueError("x has 1 value per channel; training needs more")
        if x.size:
            _check(
                _moments(
                    *(x.itemsize, x.shape[0], channels, inner, x.ctypes, _num_threads()),
                    *(found[0].ctypes, found[1].ctypes),
                )
            )
        return found

    return statistics


def _move(running, new, momentum):
    """Move a running array, if it is one, towards `new`."""


@overload(_move)
def _move_typed(running, new, momentum):
    if _is_none(running):
        return lambda running, new, momentum: None

    def move(running, new, momentum):
        for i in range(new.size):
            running[i] = (1 - momentum) * np.float64(running[i]) + momentum * new[i]

    return move


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
        out = np.empty_like(x)
        _check(
            _batch_norm(
                *(x.itemsize, x.shape[0], channels, inner, x.ctypes),
                *(found[0].ctypes, found[1].ctypes, scale, offset, eps, _num_threads()),
                out.ctypes,
            )
        )
        if training and x.size:
            count = x.shape[0] * inner
            _move(running_mean, found[0], momentum)
            _move(running_var, found[1] * (count / (count - 1)), momentum)
        return out

    return run


for _axes in (1, 2, 3):
    _overload_conv(getattr(voxkern, f"conv{_axes}d"), _axes)
    _overload_max_pool(getattr(voxkern, f"max_pool{_axes}d"), _axes)
    _overload_avg_pool(getattr(voxkern, f"avg_pool{_axes}d"), _axes)
