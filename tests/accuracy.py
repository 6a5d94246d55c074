"""How close a result must be to its float64 oracle."""

import numpy as np

from voxkern import reference


def assert_close(got, want, length=1, scale=1.0):
    """Compare `got` with the float64 oracle `want`, non-finite values included.

    `length` is the number of terms of the longest sum, `scale` the size of a term where the sums
    cancel. A sum of n rounded terms is off by about sqrt(n) units of rounding, n at the worst.
    """
    got, want = np.asarray(got), np.asarray(want)
    assert got.shape == want.shape
    unit = np.finfo(got.dtype).eps
    rtol = unit * (4 + 4 * np.sqrt(length))
    if got.dtype == np.float16:  # computed in float32, rounded once
        rtol = 2 * unit
    np.testing.assert_allclose(got.astype(np.float64), want, rtol=rtol, atol=rtol * scale)


def assert_exact(got, want):
    """Same shape, dtype and values; NaN equals NaN."""
    assert got.dtype == want.dtype
    np.testing.assert_array_equal(got, want, strict=True)


def summed_in_order(x, weight, padding):
    """The convolution whose every sum is accumulated term by term in the dtype of `x`."""
    columns = reference.im2col(x, weight.shape[2:], padding=padding)
    rows = weight.reshape(len(weight), -1)
    total = np.zeros((len(x), len(weight), columns.shape[2]), x.dtype)
    for k in range(rows.shape[1]):
        total += rows[:, k, None] * columns[:, None, k]
    return total
