"""Activation functions and their gradients, with the names and arguments of torch's.

Every function takes an array of any shape: float16 (computed in float32), float32 or float64, and
returns a new one of that shape and dtype, or fills ``out=``, which must overlap no argument. A
``*_backward`` takes the gradient of the result first and returns that to `x`. NaN stays NaN.
"""

import numpy as np

from voxkern import _check, _dispatch


def relu(x, *, out=None):
    """``max(x, 0)``.

    Parameters
    ----------
    x : array_like
        Any shape; float16, float32 or float64.
    out : ndarray, optional
        Where to write: shape and dtype of `x`, no overlap with it.

    Returns
    -------
    ndarray
        Of the shape and dtype of `x`.

    Raises
    ------
    TypeError, ValueError
        A dtype that is not served, or an `out` that does not fit.

    Examples
    --------
    >>> voxkern.activations.relu([-1.0, 0.0, 2.0])
    array([0., 0., 2.])
    """
    return _elementwise("relu", x, 0.0, out)


def relu_backward(grad, x, *, out=None):
    """``grad`` where ``x > 0``, else 0; `grad` too where `x` is NaN, as torch.

    What :func:`relu` returned may be given for `x`: it is positive where `x` is.
    `grad` and `x` have one shape and dtype, here and in every function like it; other arguments
    and errors as for :func:`relu`.
    """
    return _gradient("relu", grad, x, "x", 0.0, out)


def leaky_relu(x, negative_slope=0.01, *, out=None):
    """`x` where it is positive, else ``negative_slope * x``.

    Examples
    --------
    >>> voxkern.activations.leaky_relu([-1.0, 2.0], 0.1)
    array([-0.1,  2. ])
    """
    return _elementwise("leaky_relu", x, _check.number(negative_slope, "negative_slope"), out)


def leaky_relu_backward(grad, x, negative_slope=0.01, *, out=None):
    """`grad` where ``x > 0``, else ``negative_slope * grad``.

    With a slope of 0 or more, what :func:`leaky_relu` returned may be given for `x`.
    """
    slope = _check.number(negative_slope, "negative_slope")
    return _gradient("leaky_relu", grad, x, "x", slope, out)


def prelu(x, weight, *, out=None):
    """Leaky ReLU with a learned slope for each channel.

    Parameters
    ----------
    x : array_like
        ``(N, C, *spatial)``, or of any shape with one slope.
    weight : array_like
        ``(1,)`` or ``(C,)``, of the dtype of `x`.
    out : ndarray, optional
        Where to write: shape and dtype of `x`, no overlap with an argument.

    Returns
    -------
    ndarray
        Of the shape and dtype of `x`.

    Examples
    --------
    >>> voxkern.activations.prelu([[-1.0, -1.0]], [0.1, 0.5])
    array([[-0.1, -0.5]])
    """
    given = x, weight
    x, weight, slopes = _slopes(x, weight)
    out = _check.output(out, x.shape, x.dtype, *given)
    with np.errstate(all="ignore"):
        np.minimum(x, 0, out=out)
        out *= slopes
        out += np.maximum(x, 0)
    return out


def prelu_backward(grad, x, weight, *, out=None):
    """Gradients of a sum of ``grad * prelu(x, weight)``: ``(grad_x, grad_weight)``.

    `out` takes `grad_x`; `grad_weight`, summed in float64, has the shape and dtype of `weight`.
    """
    given = grad, x, weight
    x, weight, slopes = _slopes(x, weight)
    grad, x = _pair(grad, x, "x")
    out = _check.output(out, x.shape, x.dtype, *given)
    channel = None if weight.size == 1 else 1
    axes = tuple(a for a in range(x.ndim) if a != channel)
    with np.errstate(all="ignore"):
        products = np.multiply(grad, np.minimum(x, 0), dtype=np.float64)
        grad_weight = products.sum(axes).astype(weight.dtype)
        above = (x > 0).astype(x.dtype)
        np.multiply(1 - above, slopes, out=out)  # without branches: a mask costs ten times as much
        out += above
        out *= grad
    return out, grad_weight.reshape(weight.shape)


def elu(x, alpha=1.0, *, out=None):
    """`x` where it is positive, else ``alpha * (exp(x) - 1)``, without cancellation near 0.

    Source: Clevert, Unterthiner & Hochreiter, "Fast and accurate deep network learning by
    exponential linear units" (2015).

    Examples
    --------
    >>> voxkern.activations.elu([-1.0, 0.0, 2.0]).round(4)
    array([-0.6321,  0.    ,  2.    ])
    """
    return _elementwise("elu", x, _check.number(alpha, "alpha"), out)


def elu_backward(grad, x, alpha=1.0, *, out=None):
    """`grad` where ``x > 0``, else ``grad * alpha * exp(x)``."""
    return _gradient("elu", grad, x, "x", _check.number(alpha, "alpha"), out)


def sigmoid(x, *, out=None):
    """``1 / (1 + exp(-x))``, without overflow.

    Results below about 4e-39 (float32) become 0.

    Examples
    --------
    >>> voxkern.activations.sigmoid([-1e4, 0.0, 1e4])
    array([0. , 0.5, 1. ])
    """
    return _elementwise("sigmoid", x, 0.0, out)


def sigmoid_backward(grad, result, *, out=None):
    """``grad * y * (1 - y)``, where `result` is y, what :func:`sigmoid` returned."""
    return _gradient("sigmoid", grad, result, "result", 0.0, out)


def tanh(x, *, out=None):
    """The hyperbolic tangent: NumPy's.

    Examples
    --------
    >>> voxkern.activations.tanh([-1e4, 0.0, 1e4])
    array([-1.,  0.,  1.])
    """
    given = (x,)
    x = _check.array(x, "x")
    out = _check.output(out, x.shape, x.dtype, *given)
    return np.tanh(x, out=out)


def tanh_backward(grad, result, *, out=None):
    """``grad * (1 - y**2)``, where `result` is y, what :func:`tanh` returned."""
    return _gradient("tanh", grad, result, "result", 0.0, out)


def heaviside(x, values=1.0, *, out=None):
    """The step of a threshold unit: 0 below 0, 1 above, `values` (a number) at 0.

    Examples
    --------
    >>> voxkern.activations.heaviside([-2.0, 0.0, 3.0])
    array([0., 1., 1.])
    """
    return _elementwise("heaviside", x, _check.number(values, "values"), out)


def heaviside_backward(grad, x, *, out=None):
    """0: a step has no slope, which is why threshold units are not trained by gradients."""
    given = grad, x
    grad, x = _pair(grad, x, "x")
    out = _check.output(out, x.shape, x.dtype, *given)
    out[...] = 0
    return out


def softmax(x, axis=-1, *, out=None):
    """``exp(x) / sum(exp(x))`` along an axis.

    Parameters
    ----------
    x : array_like
        Any shape; float16, float32 or float64.
    axis : int
        Along which results sum to 1.
    out : ndarray, optional
        Where to write: shape and dtype of `x`, no overlap with it.

    Returns
    -------
    ndarray
        Of the shape and dtype of `x`.

    Raises
    ------
    TypeError, ValueError
        A dtype that is not served, an axis that `x` has not, an `out` that does not fit.

    Notes
    -----
    The largest element is subtracted first: nothing overflows at 1e4, and -1e4 everywhere gives
    equal shares. An element of -inf gives 0; where all are, or one is +inf or NaN, the whole row is
    NaN, as torch's. Sums are those of blocks of 2048, added in float64, so a result does not depend
    on the number of threads. An axis other than the last costs two copies of `x`.

    Source: the exercise on stable softmax, CS230 2020.

    Examples
    --------
    >>> voxkern.activations.softmax([[1e4, 1e4], [-1e4, -1e4]])
    array([[0.5, 0.5],
           [0.5, 0.5]])
    """
    return _softmax(x, axis, False, out)


def softmax_backward(grad, result, axis=-1, *, out=None):
    """``y * (grad - sum(grad * y))``, where `result` is y, what :func:`softmax` returned."""
    return _softmax_gradient(grad, result, axis, False, out)


def log_softmax(x, axis=-1, *, out=None):
    """The logarithm of :func:`softmax`, finite where that would round to 0; arguments as there.

    Examples
    --------
    >>> voxkern.activations.log_softmax([0.0, 1e4])
    array([-10000.,      0.])
    """
    return _softmax(x, axis, True, out)


def log_softmax_backward(grad, result, axis=-1, *, out=None):
    """``grad - exp(y) * sum(grad)``, where `result` is y, what :func:`log_softmax` returned."""
    return _softmax_gradient(grad, result, axis, True, out)


def _pair(grad, x, name):
    """A gradient and what belongs to it, checked."""
    x, grad = _check.array(x, name), _check.array(grad, "grad")
    _check.shape(grad, "grad", x.shape)
    if grad.dtype != x.dtype:
        raise TypeError(f"grad has dtype {grad.dtype}; it must be {x.dtype}, that of {name}")
    return grad, x


def _slopes(x, weight):
    """`x`, the checked weight of prelu, and the weight as it is spread over `x`."""
    x, weight = _check.array(x, "x"), _check.array(weight, "weight")
    _check.same_dtype(x, weight=weight)
    channels = x.shape[1] if x.ndim > 1 else 1
    if weight.shape not in ((1,), (channels,)):
        raise ValueError(f"weight has shape {weight.shape}; it must be (1,) or ({channels},)")
    return x, weight, weight.reshape(-1, *(1,) * (x.ndim - 2)) if x.ndim > 1 else weight[0]


def _elementwise(name, x, parameter, out):
    given = (x,)
    x = _check.array(x, "x")
    out = _check.output(out, x.shape, x.dtype, *given)
    (x,) = _check.computed(x)
    scratch = _check.writable(out, x.dtype)
    # One pass, where NumPy takes 3 and elu's expm1 is slow there: 1.5 to 25 times as fast.
    kernel = _dispatch.kernel("activations")
    kernel.elementwise(name, x.reshape(-1), parameter, out=scratch.reshape(-1))
    return _check.deliver(scratch, out)


def _gradient(name, grad, x, x_name, parameter, out):
    given = grad, x
    grad, x = _pair(grad, x, x_name)
    out = _check.output(out, x.shape, x.dtype, *given)
    grad, x = _check.computed(grad, x)
    scratch = _check.writable(out, x.dtype)
    kernel = _dispatch.kernel("activations")
    kernel.elementwise_gradient(
        name, grad.reshape(-1), x.reshape(-1), parameter, out=scratch.reshape(-1)
    )
    return _check.deliver(scratch, out)


def _softmax(x, axis, log, out):
    given = (x,)
    x = _check.array(x, "x")
    out = _check.output(out, x.shape, x.dtype, *given)
    (rows,) = _check.computed(rows_along(x, axis))
    return _by_rows("softmax_rows", (rows,), log, axis, out)


def _softmax_gradient(grad, result, axis, log, out):
    given = grad, result
    grad, result = _pair(grad, result, "result")
    out = _check.output(out, result.shape, result.dtype, *given)
    rows = _check.computed(rows_along(grad, axis), rows_along(result, axis))
    return _by_rows("softmax_rows_gradient", rows, log, axis, out)


def _by_rows(name, rows, log, axis, out):
    """Let a kernel write `out` by rows along an axis."""
    to = last(out, axis)
    scratch = _check.writable(to, rows[0].dtype)
    if out.size:
        kernel = getattr(_dispatch.kernel("activations"), name)
        kernel(*rows, log, out=scratch.reshape(rows[0].shape))
    _check.deliver(scratch, to)
    return out


def last(x, axis):
    """A view of `x` with an axis moved to the end; of a scalar, one of a single element."""
    axis = _check.integer(axis, "axis", -max(x.ndim, 1), max(x.ndim, 1) - 1)
    return np.moveaxis(x.reshape(1) if x.ndim == 0 else x, axis, -1)


def rows_along(x, axis):
    """`x` as rows along an axis, C-contiguous."""
    view = last(x, axis)
    return _check.contiguous(view).reshape(-1 if view.size else 0, view.shape[-1])
