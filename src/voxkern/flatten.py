"""Axes merged into one."""

import math

from voxkern import _check


def flatten(x, start_dim=1, end_dim=-1):
    """Merge the axes from `start_dim` to `end_dim`, as ``torch.nn.Flatten``.

    Parameters
    ----------
    x : array_like
        Any shape, layout and numeric dtype.
    start_dim, end_dim : int
        The first and the last axis to merge; negative ones count from the end. By default every
        axis but the batch's is merged; ``torch.flatten`` begins at 0.

    Returns
    -------
    ndarray
        A view of `x` where its memory allows, else a copy. The gradient's way back is
        ``grad.reshape(x.shape)``.

    Raises
    ------
    TypeError
        A dtype or argument type that is not served.
    ValueError
        An axis that `x` has not, or `end_dim` before `start_dim`.

    Notes
    -----
    An array without axes becomes one of one element, as torch's.

    Examples
    --------
    >>> voxkern.flatten(np.zeros((2, 3, 5))).shape
    (2, 15)
    """
    x = _check.readable(x, "x", _check.NUMBERS)
    shape = x.shape or (1,)
    axes = len(shape)
    start = _check.integer(start_dim, "start_dim", -axes, axes - 1) % axes
    end = _check.integer(end_dim, "end_dim", -axes, axes - 1) % axes
    if end < start:
        raise ValueError(f"end_dim is {end_dim}; it must not be before start_dim, {start_dim}")
    return x.reshape(*shape[:start], math.prod(shape[start : end + 1]), *shape[end + 1 :])
