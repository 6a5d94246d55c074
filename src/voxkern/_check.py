"""Checks of arguments: each raises naming the argument, what it was and what it may be."""

import functools
import math
import numbers
import operator

import numpy as np

from voxkern import _dispatch

FLOATS = ("float16", "float32", "float64")
NUMBERS = (
    *FLOATS,
    *("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
)
# Numbers of windows are at most LARGEST, so that no product of two of them overflows in a kernel;
# sizes of arrays are at most LARGEST_SIZE.
LARGEST, LARGEST_SIZE = 2**31 - 1, 2**62
# DLPack's types of devices whose memory NumPy reads: CPU, pinned for CUDA and ROCm, CUDA managed.
HOST = (1, 3, 11, 13)
HALF, SINGLE = np.dtype("float16"), np.dtype("float32")


def array(value, name, dtypes=FLOATS):
    """`value` as a NumPy array of native byte order, C-contiguous, with one of `dtypes`.

    No copy is made of an array that is so already.
    """
    if type(value) is np.ndarray and _name(value.dtype) in dtypes:  # nothing to do, as a rule
        flags = value.flags
        if flags.c_contiguous and flags.aligned and value.dtype.isnative:
            return value
    return contiguous(readable(value, name, dtypes))


def anywhere(value, name, dtypes=FLOATS, beside=None):
    """As :func:`array`, where the operation has a CUDA twin: `value` may lie on a device too.

    `beside` is a checked array; a value that does not lie where that does is refused.
    """
    on_device = _dispatch.on_device(value)
    if _dispatch.forced_backend == "cuda" and not on_device and type(beside) is not np.ndarray:
        value, on_device = array(value, name, dtypes), True
    if beside is not None:
        same_side(on_device, name, beside)
    if not on_device:
        return array(value, name, dtypes)
    return adopted(value, name, dtypes).contiguous()


def adopted(value, name, dtypes):
    """`value`, which lies on a device, as an Array of the kernels with one of `dtypes`."""
    cuda = _dispatch.cuda()
    try:
        found = cuda.adopt(value)
    except (TypeError, KeyError, AttributeError, NotImplementedError) as error:
        raise TypeError(f"{name} cannot be read as a CUDA array: {error}") from error
    except ValueError as error:
        raise ValueError(f"{name} cannot be used: {error}") from error
    if _name(found.dtype) not in dtypes:
        raise TypeError(f"{name} has dtype {found.dtype}; it may be {', '.join(dtypes)}")
    return found


def same_side(on_device, name, beside):
    """Raise unless what is called `name` lies where the checked array `beside` does."""
    if on_device == isinstance(beside, np.ndarray):
        here, there = ("a CUDA device", "the host") if on_device else ("the host", "a CUDA device")
        raise ValueError(f"{name} lies on {here}, another argument on {there}; copy one of them")


def readable(value, name, dtypes=FLOATS):
    """`value` as a NumPy array of any layout with one of `dtypes`, without a copy.

    Lists, DLPack host arrays and anything with ``__array__`` are taken; CUDA and Dask arrays are
    refused, never copied or computed silently.
    """
    if type(value) is not np.ndarray:
        value = _converted(value, name)
    if _name(value.dtype) not in dtypes:
        raise TypeError(f"{name} has dtype {value.dtype}; it may be {', '.join(dtypes)}")
    return value


@functools.lru_cache(64)
def _name(dtype):
    """``dtype.name``, which NumPy takes a microsecond or two to spell."""
    return dtype.name


def _converted(value, name):
    """Something that is not a plain array as one."""
    on_host(value, name)
    if type(value).__module__.partition(".")[0] == "dask":
        raise TypeError(f"{name} is a Dask array; voxkern.dask works on those by blocks")
    try:
        if hasattr(value, "__dlpack__") and not hasattr(value, "__array__"):
            value = np.from_dlpack(value)
        return np.asarray(value)
    except Exception as error:
        raise TypeError(f"{name} cannot be read as an array: {error}") from error


def on_host(value, name):
    """Raise where `value` tells that its memory is a device's."""
    if _dispatch.on_device(value):
        raise TypeError(f"{name} lies on a CUDA device; this function takes host arrays")
    if not hasattr(value, "__dlpack_device__"):
        return
    try:
        kind, _ = value.__dlpack_device__()
    except Exception as error:
        raise TypeError(f"{name} does not tell where its memory lies: {error}") from error
    if kind not in HOST:
        raise TypeError(
            f"{name} lies on a device, of DLPack's type {int(kind)}; "
            "this function takes host arrays"
        )


def contiguous(value):
    """`value` itself, or a copy where it is not C-contiguous, aligned and of native byte order."""
    if value.flags.c_contiguous and value.flags.aligned and value.dtype.isnative:
        return value
    return np.require(value, value.dtype.newbyteorder("="), ["C", "A"])


def computed(*arrays):
    """`arrays` in the type they are computed in: float16 becomes float32. None stays None."""
    return tuple([a.astype(SINGLE) if a is not None and a.dtype == HALF else a for a in arrays])


def same_dtype(x, **others):
    """Raise unless the other arrays (those that are not None) have the dtype of `x`."""
    for name, other in others.items():
        if other is not None and other.dtype != x.dtype:
            raise TypeError(f"{name} has dtype {other.dtype}; it must be {x.dtype}, that of x")


def float_dtype(value):
    """`value`, the argument `dtype`, as one of FLOATS."""
    try:
        found = np.dtype(value)
    except TypeError:
        found = None
    if found is None or found.name not in FLOATS:
        raise TypeError(f"dtype is {value!r}; it may be {', '.join(FLOATS)}")
    return found


def generator(rng):
    """A NumPy generator: `rng` itself, one of that seed, or a fresh one for None."""
    if isinstance(rng, np.random.Generator):
        return rng
    return np.random.default_rng(None if rng is None else integer(rng, "rng", 0, LARGEST_SIZE))


def shape(value, name, expected):
    """Raise unless `value` has the shape `expected`."""
    if value.shape != tuple(expected):
        raise ValueError(f"{name} has shape {value.shape}; it must be {tuple(expected)}")


def integer(value, name, minimum, maximum=LARGEST):
    """`value` as a Python int from `minimum` to `maximum`."""
    if type(value) is int and minimum <= value <= maximum:
        return value
    try:
        number = operator.index(value)
    except TypeError:
        number = None
    if number is None or isinstance(value, bool | np.bool_):
        raise TypeError(f"{name} is {value!r}; it must be an integer")
    if not minimum <= number <= maximum:
        bound = f"least {minimum}" if number < minimum else f"most {maximum}"
        raise ValueError(f"{name} is {number}; it must be at {bound}")
    return number


def flag(value, name):
    """`value` as a Python bool."""
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"{name} is {value!r}; it must be True or False")
    return bool(value)


def needed(need):
    """Which of three gradients are wanted, as Python bools."""
    try:
        need_x, need_weight, need_bias = need
    except (TypeError, ValueError):
        raise ValueError(f"need is {need!r}; it must be three booleans") from None
    return tuple(flag(n, "need") for n in (need_x, need_weight, need_bias))


def number(value, name, minimum=None):
    """`value` as a finite float, not below `minimum`."""
    if not isinstance(value, numbers.Real) or isinstance(value, bool):
        raise TypeError(f"{name} is {value!r}; it must be a number")
    try:
        result = float(value)
    except OverflowError:  # of an int; its digits would not be one line
        raise ValueError(f"{name} is above 1e308; it must be a finite float64") from None
    if not math.isfinite(result):
        raise ValueError(f"{name} is {value!r}; it must be finite")
    if minimum is not None and result < minimum:
        raise ValueError(f"{name} is {value}; it must be at least {minimum}")
    return result


def share(value, name):
    """`value` as a float from 0 to 1."""
    result = number(value, name)
    if not 0 <= result <= 1:
        raise ValueError(f"{name} is {value}; it must be 0 to 1")
    return result


def per_axis(value, name, axes, minimum, maximum=LARGEST):
    """`value`, an integer or one for each of `axes` axes, as a tuple of ints."""
    if type(value) is int and minimum <= value <= maximum:
        return (value,) * axes
    several = isinstance(value, (tuple, list)) or (isinstance(value, np.ndarray) and value.ndim)
    values = tuple(value) if several else (value,)
    if len(values) == 1:
        values *= axes
    if len(values) != axes:
        raise ValueError(f"{name} is {value!r}; it must be an integer or {axes} of them")
    return tuple([integer(v, name, minimum, maximum) for v in values])


def output(out, shape, dtype, *inputs, beside=None, name="out"):
    """The array to return: a new one, or `out` if it fits and overlaps none of `inputs`.

    Give the caller's own arguments as `inputs`: :func:`array` may have copied them. `beside` is a
    checked array that may lie on a device; the result is where it is, as it is.
    """
    if beside is not None and not isinstance(beside, np.ndarray):
        return _device_output(out, shape, dtype, inputs, beside, name)
    if out is None:
        try:
            return np.empty(shape, dtype)
        except ValueError:
            raise ValueError(f"the arguments make a result too large to be: {shape}") from None
    if beside is not None:
        same_side(_dispatch.on_device(out), name, beside)
    if not isinstance(out, np.ndarray):
        raise TypeError(f"{name} is a {type(out).__name__}; it must be a NumPy array")
    _fits(out, shape, dtype, name)
    if not out.flags.writeable:
        raise ValueError(f"{name} is read-only; it must be writeable")
    for given in inputs:
        if given is not None and overlap(out, given):
            raise ValueError(f"{name} overlaps an input; it must have memory of its own")
    return out


def device_writable(value, name, given):
    """Raise if the device array `value` is read-only or shares memory with others of `given`."""
    cuda = _dispatch.cuda()
    if cuda.read_only(value):
        raise ValueError(f"{name} is read-only; it must be writeable")
    start, stop = cuda.span(value)
    for other in given:
        if other is not None and other is not value and _dispatch.on_device(other):
            first, end = cuda.span(other)
            if max(first, start) < min(end, stop):
                raise ValueError(f"{name} overlaps an input; it must have memory of its own")


def _fits(out, shape, dtype, name):
    if out.shape != tuple(shape) or out.dtype != dtype:
        raise ValueError(
            f"{name} has shape {out.shape} and dtype {out.dtype}; "
            f"it must have {tuple(shape)} and {np.dtype(dtype)}"
        )


def _device_output(out, shape, dtype, inputs, beside, name):
    """What :func:`output` does on a device."""
    if out is None:
        return beside.empty(shape, dtype)
    cuda = _dispatch.cuda()
    if isinstance(beside.owner, np.ndarray):  # a forced backend: `out` gets the result at the end
        out = output(out, shape, dtype, *inputs, name=name)
        return cuda.adopt(out)
    same_side(_dispatch.on_device(out), name, beside)
    found = cuda.adopt(out)
    _fits(found, shape, dtype, name)
    device_writable(out, name, inputs)
    return found


def overlap(a, b):
    """Whether two arrays share memory; yes where that is too hard to tell."""
    if type(b) is not np.ndarray:
        b = _converted(b, "an input")
    elif a is not b and a.flags.owndata and b.flags.owndata:
        return False
    try:
        return np.shares_memory(a, b, max_work=1000)
    except np.exceptions.TooHardError:
        return True


def writable(out, dtype):
    """`out`, or a scratch array where a kernel of `dtype` could not write to it directly."""
    if not isinstance(out, np.ndarray):
        direct = out.dtype == dtype and out.data.is_c_contiguous()
        return out if direct else out.empty(out.shape, dtype)
    direct = out.dtype == dtype and out.dtype.isnative and out.flags.carray
    return out if direct else np.empty(out.shape, dtype)


def deliver(scratch, out):
    """Copy what :func:`writable` gave to `out` where they differ, and return `out`.

    Of an array on a device the caller gets the object of their own library.
    """
    if not isinstance(out, np.ndarray):
        return _dispatch.cuda().deliver(scratch, out)
    if scratch is not out:
        out[...] = scratch
    return out
