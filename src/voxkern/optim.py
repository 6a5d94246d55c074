"""Optimisers: steps in place over lists of parameters, and clipping of gradients.

Each function takes the list of parameters, that of their gradients and lists of the averages that
it keeps (zeros before the first step), and changes all but the gradients in place, in one pass that
reads and writes each element once. Parameters are NumPy arrays of float16, float32 or float64 of
any shape and layout. Gradients and averages have the shape and dtype of their parameter; those of a
float16 parameter may be float32, as it is computed, and averages of squares should be. The arrays
of one parameter share no memory, and no array that is written stands twice in the lists. Other
memory: copies of the arrays of one parameter where they are float16, byte-swapped or not
contiguous. No result depends on the number of threads.
"""

import math

import numpy as np

from voxkern import _check, _dispatch
from voxkern.losses import total


def sgd(params, grads, lr, *, l2=0.0, weight_decay=0.0):
    """Go down the gradient: ``w <- w - lr * g``.

    Parameters
    ----------
    params, grads : list of ndarray
        What is changed, and the gradients of the loss.
    lr : float
        The learning rate, at least 0.
    l2 : float
        Of a penalty ``l2 * sum(w**2)`` in the loss: ``w <- (1 - 2 * lr * l2) * w - lr * g``.
    weight_decay : float
        torch's: ``weight_decay * w`` is added to the gradient, of a penalty of half that size:
        ``w <- (1 - lr * weight_decay) * w - lr * g``.

    Raises
    ------
    TypeError
        A list, dtype or argument type that is not served.
    ValueError
        Lists of different lengths, a shape or number that does not fit, arrays that are read-only
        or overlap. Nothing is then written.

    Notes
    -----
    Source: ``torch.optim.SGD``.

    Examples
    --------
    >>> w = np.array([1.0, 2.0])
    >>> voxkern.optim.sgd([w], [np.array([1.0, 0.0])], lr=0.5, l2=0.1)
    >>> w
    array([0.4, 1.8])
    """
    decay = _decay(l2, weight_decay)
    lr = _check.number(lr, "lr", 0)
    for group in _parameters(params=params, grads=grads):
        _pass("descend", group, {1: None}, _descent(lr, decay, 0.0, 1.0, False))


def momentum(
    params,
    grads,
    velocities,
    lr,
    momentum=0.9,
    *,
    average=False,
    nesterov=False,
    l2=0.0,
    weight_decay=0.0,
):
    """Go down along a velocity: ``v <- momentum * v + g``, ``w <- w - lr * v``.

    Parameters
    ----------
    params, grads, velocities : list of ndarray
        What is changed, the gradients, and what the steps keep; zeros before the first.
    lr : float
        The learning rate, at least 0.
    momentum : float
        From 0 to 1: how much of the velocity stays.
    average : bool
        The other textbook form, an exponential average: ``v <- momentum * v + (1 - momentum) * g``.
    nesterov : bool
        Step along what the velocity would be after another such gradient.
    l2, weight_decay : float
        As for :func:`sgd`.

    Raises
    ------
    TypeError, ValueError
        As :func:`sgd`.

    Notes
    -----
    Steps of the classical form are ``1 / (1 - momentum)`` times as long as those of the average.
    torch has the classical form, and with ``dampening`` the other one, but for its first step.

    Source: ``torch.optim.SGD``; Sutskever et al., "On the importance of initialization and momentum
    in deep learning" (2013).

    Examples
    --------
    >>> w, v = np.array([1.0]), np.array([0.0])
    >>> for _ in range(2):
    ...     voxkern.optim.momentum([w], [np.array([1.0])], [v], lr=0.1, momentum=0.5)
    >>> w, v
    (array([0.75]), array([1.5]))
    """
    decay = _decay(l2, weight_decay)
    lr, beta = _check.number(lr, "lr", 0), _fraction(momentum, "momentum", True)
    fresh = 1 - beta if _check.flag(average, "average") else 1.0
    numbers = _descent(lr, decay, beta, fresh, _check.flag(nesterov, "nesterov"))
    for group in _parameters(params=params, grads=grads, velocities=velocities):
        _pass("descend", group, {}, numbers)


def rmsprop(
    params,
    grads,
    square_avgs,
    lr=0.01,
    alpha=0.99,
    eps=1e-8,
    *,
    eps_inside_sqrt=False,
    weight_decay=0.0,
):
    """Divide the gradient by the root of the average of its square.

    Parameters
    ----------
    params, grads, square_avgs : list of ndarray
        What is changed, the gradients, and what the steps keep; zeros before the first.
    lr : float
        The learning rate, at least 0.
    alpha : float
        From 0 to below 1: ``s <- alpha * s + (1 - alpha) * g**2``.
    eps : float
        At least 0: ``w <- w - lr * g / (sqrt(s) + eps)``.
    eps_inside_sqrt : bool
        ``w <- w - lr * g / sqrt(s + eps)`` instead.
    weight_decay : float
        ``weight_decay * w`` is added to the gradient.

    Raises
    ------
    TypeError, ValueError
        As :func:`sgd`.

    Notes
    -----
    Source: ``torch.optim.RMSprop``; Tieleman & Hinton, lecture 6.5 of "Neural networks for machine
    learning" (2012).

    Examples
    --------
    >>> w, s = np.array([1.0]), np.array([0.0])
    >>> voxkern.optim.rmsprop([w], [np.array([4.0])], [s], lr=0.1, alpha=0.75, eps=0.0)
    >>> w, s
    (array([0.8]), array([4.]))
    """
    lr, eps = _check.number(lr, "lr", 0), _check.number(eps, "eps", 0)
    numbers = _adaptation(
        lr,
        (0.0, _fraction(alpha, "alpha")),
        (eps, _check.flag(eps_inside_sqrt, "eps_inside_sqrt")),
        decay=_check.number(weight_decay, "weight_decay", 0),
    )
    for group in _parameters(params=params, grads=grads, square_avgs=square_avgs):
        _pass("adapt", group, {1: None}, numbers)


def adam(
    params,
    grads,
    exp_avgs,
    exp_avg_sqs,
    step,
    lr=1e-3,
    betas=(0.9, 0.999),
    eps=1e-8,
    *,
    eps_inside_sqrt=False,
    weight_decay=0.0,
):
    """Divide the average gradient by the root of the average square, both unbiased.

    Parameters
    ----------
    params, grads, exp_avgs, exp_avg_sqs : list of ndarray
        What is changed, the gradients, and the two averages that the steps keep; zeros before the
        first.
    step : int
        The number of this step, from 1: the averages are divided by ``1 - beta**step``.
    lr : float
        The learning rate, at least 0.
    betas : tuple of two float
        From 0 to below 1: ``m <- beta1 * m + (1 - beta1) * g``, ``s <- beta2 * s + (1 - beta2) *
        g**2``.
    eps : float
        At least 0: ``w <- w - lr * m / (sqrt(s) + eps)`` of the unbiased averages, as torch does.
    eps_inside_sqrt : bool
        ``w <- w - lr * m / sqrt(s + eps)`` instead, as the exam does.
    weight_decay : float
        ``weight_decay * w`` is added to the gradient; see :func:`adamw` for the other place.

    Raises
    ------
    TypeError, ValueError
        As :func:`sgd`.

    Notes
    -----
    One pass moves 7 numbers for each element, at the speed of memory.

    Source: ``torch.optim.Adam``; Kingma & Ba, "Adam: a method for stochastic optimization" (2015);
    CS230 2020, the question on Adam (:func:`voxkern.optim_adam` has its signature).

    Examples
    --------
    >>> w, m, s = np.array([1.0]), np.array([0.0]), np.array([0.0])
    >>> voxkern.optim.adam([w], [np.array([4.0])], [m], [s], step=1, lr=0.1)
    >>> w, m, s
    (array([0.9]), array([0.4]), array([0.016]))
    """
    decay = _check.number(weight_decay, "weight_decay", 0)
    given = {"params": params, "grads": grads, "exp_avgs": exp_avgs, "exp_avg_sqs": exp_avg_sqs}
    _adam(given, step, lr, betas, eps, eps_inside_sqrt, decay=decay)


def adamw(
    params,
    grads,
    exp_avgs,
    exp_avg_sqs,
    step,
    lr=1e-3,
    betas=(0.9, 0.999),
    eps=1e-8,
    *,
    eps_inside_sqrt=False,
    weight_decay=0.01,
):
    """:func:`adam` with weight decay beside the gradient: ``w <- (1 - lr * weight_decay) * w``.

    Parameters, errors and notes as for :func:`adam`.

    Notes
    -----
    Source: ``torch.optim.AdamW``; Loshchilov & Hutter, "Decoupled weight decay regularization"
    (2019).
    """
    decay = _check.number(weight_decay, "weight_decay", 0)
    given = {"params": params, "grads": grads, "exp_avgs": exp_avgs, "exp_avg_sqs": exp_avg_sqs}
    _adam(given, step, lr, betas, eps, eps_inside_sqrt, apart=decay)


def clip_grad_value(grads, clip_value):
    """Bound every element of the gradients by ``-clip_value`` and ``clip_value``, in place.

    Parameters
    ----------
    grads : list of ndarray
        float16, float32 or float64; NaN stay.
    clip_value : float
        At least 0.

    Raises
    ------
    TypeError, ValueError
        As :func:`sgd`.

    Notes
    -----
    Source: ``torch.nn.utils.clip_grad_value_``.

    Examples
    --------
    >>> g = np.array([-3.0, 0.5, 7.0])
    >>> voxkern.optim.clip_grad_value([g], 1.0)
    >>> g
    array([-1. ,  0.5,  1. ])
    """
    bound = _check.number(clip_value, "clip_value", 0)
    for (grad,) in _parameters(grads=grads):
        with np.errstate(over="ignore"):  # a bound above all float16 is infinite there
            np.clip(grad, -bound, bound, out=grad)


def clip_grad_norm(grads, max_norm, norm_type=2.0):
    """Shorten the gradients, all by one factor, to a norm of at most `max_norm`, in place.

    Parameters
    ----------
    grads : list of ndarray
        float16, float32 or float64: one long vector in pieces.
    max_norm : float
        At least 0.
    norm_type : float
        Above 0, or ``inf`` for the largest magnitude.

    Returns
    -------
    float
        The norm before; no square overflows. Where it is not finite, gradients become 0 or NaN, as
        torch's do.

    Raises
    ------
    TypeError, ValueError
        As :func:`sgd`.

    Notes
    -----
    The factor is ``max_norm / (norm + 1e-6)`` where that is below 1, as torch's. Other memory: two
    copies of the largest gradient in float64.

    Source: ``torch.nn.utils.clip_grad_norm_``; Pascanu, Mikolov & Bengio, "On the difficulty of
    training recurrent neural networks" (2013).

    Examples
    --------
    >>> g = np.array([30.0, 40.0])
    >>> voxkern.optim.clip_grad_norm([g], 1.0)
    50.0
    >>> g.round(4)
    array([0.6, 0.8])
    """
    bound = _check.number(max_norm, "max_norm", 0)
    p = math.inf if norm_type == math.inf else _check.number(norm_type, "norm_type")
    if p <= 0:
        raise ValueError(f"norm_type is {norm_type}; it must be above 0")
    arrays = [grad for (grad,) in _parameters(grads=grads)]
    norm = _norm(arrays, p)
    factor = bound / (norm + 1e-6)
    if not factor >= 1:  # NaN too
        with np.errstate(all="ignore"):
            for grad in arrays:  # the factor may be too small for the gradients' type
                np.multiply(grad, factor, out=grad, dtype=np.float64, casting="same_kind")
    return norm


def _norm(arrays, p):
    """The p-norm of all elements in float64."""
    if p == 2:
        parts = [_check.contiguous(_check.computed(a)[0]) for a in arrays]
        square = sum(total("squares", part) for part in parts)
        if 1e-280 < square < math.inf:  # else squares may have vanished or overflowed
            return math.sqrt(square)
    with np.errstate(all="ignore"):  # in units of the largest magnitude
        largest = float(np.max([np.max(abs(a), initial=0) for a in arrays], initial=0))
        if p == math.inf or largest == 0 or not math.isfinite(largest):
            return largest
        powers = sum((abs(np.divide(a, largest, dtype=np.float64)) ** p).sum() for a in arrays)
        return largest * float(powers) ** (1 / p)


def _adam(given, step, lr, betas, eps, eps_inside_sqrt, **decay):
    step, lr = _check.integer(step, "step", 1), _check.number(lr, "lr", 0)
    if not isinstance(betas, tuple | list) or len(betas) != 2:
        raise ValueError(f"betas is {betas!r}; it must be two numbers")
    betas = tuple(_fraction(b, "betas") for b in betas)
    eps = _check.number(eps, "eps", 0), _check.flag(eps_inside_sqrt, "eps_inside_sqrt")
    numbers = _adaptation(lr, betas, eps, step, **decay)
    for group in _parameters(**given):
        _pass("adapt", group, {}, numbers)


def _descent(lr, decay, momentum, fresh, nesterov):
    return dict(rate=lr, decay=decay, momentum=momentum, fresh=fresh, nesterov=nesterov)


def _adaptation(lr, betas, eps, step=None, decay=0.0, apart=0.0):
    """The kernel's numbers: the averages' divisors are moved into the rate and into eps."""
    of_mean, of_square = (1.0, 1.0) if step is None else (1 - beta**step for beta in betas)
    eps, inside = eps
    return dict(
        rate=lr * math.sqrt(of_square) / of_mean,
        decay=decay,
        kept=1 - lr * apart,
        beta1=betas[0],
        beta2=betas[1],
        inside=eps * of_square if inside else 0.0,
        outside=0.0 if inside else eps * math.sqrt(of_square),
    )


def _pass(kernel, group, missing, numbers):
    """Run a kernel over the arrays of one parameter; `missing` says which it has not."""
    if group[0].size == 0:
        return
    dtype = max(_check.SINGLE, _native(group[0]))
    scratch = [_flat(array, dtype) for array in group]
    arguments = [flat.reshape(-1) for flat in scratch]
    for place in missing:
        arguments.insert(1 + place, None)
    getattr(_dispatch.kernel("optim"), kernel)(*arguments, **numbers)
    for i, array in enumerate(group):
        if i != 1:  # the gradient
            _check.deliver(scratch[i], array)


def _flat(array, dtype):
    """The array itself where a kernel can work in it, or a copy."""
    flags = array.flags
    direct = array.dtype == dtype and array.dtype.isnative and flags.c_contiguous and flags.aligned
    return array if direct else array.astype(dtype, order="C")


def _parameters(**lists):
    """The arrays of every parameter, all checked before the first is returned."""
    for name, arrays in lists.items():
        if not isinstance(arrays, list | tuple):
            raise TypeError(f"{name} is a {type(arrays).__name__}; it must be a list of arrays")
        first = next(iter(lists))
        if len(arrays) != len(lists[first]):
            raise ValueError(
                f"{name} has {len(arrays)} arrays; it must have {len(lists[first])}, as {first}"
            )
    written, checked = set(), []
    for i, group in enumerate(zip(*lists.values())):
        names = [f"{name}[{i}]" for name in lists]
        arrays = [_array(a, name, len(lists) > 1) for a, name in zip(group, names)]
        _fit(arrays, names)
        for array, name in zip(arrays, names):
            if name.startswith("grads") and len(lists) > 1:
                continue
            if id(array) in written:
                raise ValueError(f"{name} stands in the lists twice; it is changed in place")
            written.add(id(array))
        checked.append(arrays)
    return checked


def _array(value, name, readable):
    """`value`, an array that is written; the gradients of an optimiser are only read."""
    if readable and name.startswith("grads"):
        return _check.readable(value, name)
    if not isinstance(value, np.ndarray):
        raise TypeError(f"{name} is a {type(value).__name__}; it must be a NumPy array")
    _check.readable(value, name)
    if not value.flags.writeable:
        raise ValueError(f"{name} is read-only; it must be writeable")
    return value


def _fit(arrays, names):
    """Raise unless a parameter's arrays have its shape, its dtype and memory of their own."""
    param = arrays[0]
    for i, (array, name) in enumerate(zip(arrays, names)):
        _check.shape(array, name, param.shape)
        dtypes = _native(param), _native(array)
        if dtypes[0] != dtypes[1] and dtypes != (_check.HALF, _check.SINGLE):
            raise TypeError(f"{name} has dtype {array.dtype}; it must be {param.dtype}")
        for other, its in zip(arrays[:i], names):
            if _check.overlap(other, array):
                raise ValueError(f"{name} overlaps {its}; it must have memory of its own")


def _native(array):
    return array.dtype.newbyteorder("=")


def _decay(l2, weight_decay):
    return 2 * _check.number(l2, "l2", 0) + _check.number(weight_decay, "weight_decay", 0)


def _fraction(value, name, closed=False):
    number = _check.number(value, name)
    if not 0 <= number < 1 and not (closed and number == 1):
        raise ValueError(f"{name} is {value}; it must be from 0 to {'' if closed else 'below '}1")
    return number
