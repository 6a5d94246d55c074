"""Random weights whose variance keeps the variance of signals from layer to layer.

Shapes are torch's: ``(out, in)`` of a linear layer, ``(out, in, *kernel)`` of a convolution. `rng`
is a NumPy generator, or a seed of one. Results are float32 unless `dtype` says float16 or float64.
"""

import math

from voxkern import _check

MODES = "fan_in", "fan_out"


def variance(fan_in, fan_out, kind):
    """The variance that a kind of initialisation promises.

    Parameters
    ----------
    fan_in, fan_out : int
        Inputs and outputs of a unit, at least 1: see :func:`fans`.
    kind : str
        ``"xavier"``: 2 / (fan_in + fan_out), between keeping signals and keeping gradients.
        ``"kaiming"``: 2 / fan_in, for ReLU, which halves what passes.
        ``"lecun"``: 1 / fan_in, which the exam of I2DL 2020/21 calls Xavier.

    Returns
    -------
    float

    Notes
    -----
    Source: Glorot & Bengio, "Understanding the difficulty of training deep feedforward neural
    networks" (2010); He et al., "Delving deep into rectifiers" (2015); LeCun et al., "Efficient
    BackProp" (1998).

    Examples
    --------
    >>> [voxkern.init.variance(100, 300, kind) for kind in ("xavier", "kaiming", "lecun")]
    [0.005, 0.02, 0.01]
    """
    fan_in = _check.integer(fan_in, "fan_in", 1, _check.LARGEST_SIZE)
    fan_out = _check.integer(fan_out, "fan_out", 1, _check.LARGEST_SIZE)
    kinds = {"xavier": 2 / (fan_in + fan_out), "kaiming": 2 / fan_in, "lecun": 1 / fan_in}
    if kind not in kinds:
        raise ValueError(f"kind is {kind!r}; it may be 'xavier', 'kaiming' or 'lecun'")
    return kinds[kind]


def fans(shape):
    """Inputs and outputs of a unit of weights ``(out, in, *kernel)``: ``(fan_in, fan_out)``.

    Examples
    --------
    >>> voxkern.init.fans((8, 3, 5, 5))
    (75, 200)
    """
    if not isinstance(shape, (tuple, list)) or len(shape) < 2:
        raise ValueError(f"shape is {shape!r}; it must be (out, in, ...)")
    n_out, n_in, *kernel = _check.per_axis(shape, "shape", len(shape), 1)
    return n_in * math.prod(kernel), n_out * math.prod(kernel)


def xavier_uniform(shape, gain=1.0, *, rng=None, dtype="float32"):
    """Uniform weights of variance ``gain**2 * 2 / (fan_in + fan_out)``.

    Parameters
    ----------
    shape : tuple of int
        ``(out, in, *kernel)``.
    gain : float
        At least 0.
    rng : numpy.random.Generator or int, optional
        What draws; a fresh generator without it.
    dtype : str or dtype
        float16, float32 or float64.

    Returns
    -------
    ndarray

    Raises
    ------
    TypeError, ValueError
        An argument that does not fit.

    Notes
    -----
    Drawn in float64, and rounded.

    Examples
    --------
    >>> weight = voxkern.init.xavier_uniform((3, 9), rng=0)
    >>> weight.shape, bool(abs(weight).max() <= (6 / 12) ** 0.5)
    ((3, 9), True)
    """
    return _uniform(shape, _xavier(shape, gain), rng, dtype)


def xavier_normal(shape, gain=1.0, *, rng=None, dtype="float32"):
    """Normal weights of the variance of :func:`xavier_uniform`; arguments as there."""
    return _normal(shape, _xavier(shape, gain), rng, dtype)


def kaiming_uniform(shape, a=0.0, mode="fan_in", *, rng=None, dtype="float32"):
    """Uniform weights of variance ``2 / ((1 + a**2) fan_in)``, for leaky ReLU of slope `a`.

    `mode` ``"fan_out"`` keeps the variance of gradients instead. Other arguments and errors as for
    :func:`xavier_uniform`.

    Examples
    --------
    >>> weight = voxkern.init.kaiming_uniform((4, 3, 5, 5), rng=0)
    >>> bool(abs(weight).max() <= (6 / 75) ** 0.5)
    True
    """
    return _uniform(shape, _rectified(shape, a, mode), rng, dtype)


def kaiming_normal(shape, a=0.0, mode="fan_in", *, rng=None, dtype="float32"):
    """Normal weights of the variance of :func:`kaiming_uniform`; arguments as there."""
    return _normal(shape, _rectified(shape, a, mode), rng, dtype)


def _xavier(shape, gain):
    """The variance of the xavier functions."""
    return _check.number(gain, "gain", 0) ** 2 * variance(*fans(shape), "xavier")


def _rectified(shape, a, mode):
    """The variance of the kaiming functions."""
    fan_in, fan_out = fans(shape)
    a = _check.number(a, "a")
    if mode not in MODES:
        raise ValueError(f"mode is {mode!r}; it may be 'fan_in' or 'fan_out'")
    fan = fan_in if mode == "fan_in" else fan_out
    return variance(fan, fan, "kaiming") / (1 + a * a)


def _uniform(shape, var, rng, dtype):
    bound, dtype = math.sqrt(3 * var), _check.float_dtype(dtype)
    return _check.generator(rng).uniform(-bound, bound, shape).astype(dtype)


def _normal(shape, var, rng, dtype):
    dtype = _check.float_dtype(dtype)
    return (math.sqrt(var) * _check.generator(rng).standard_normal(shape)).astype(dtype)
