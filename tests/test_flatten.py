"""flatten: shapes, views, and what is refused."""

import numpy as np
import pytest

import voxkern
from voxkern import reference

import hostile
from accuracy import assert_exact


@pytest.mark.parametrize(
    ("shape", "dims", "want"),
    [
        ((), (0,), (1,)),
        ((31,), (0,), (31,)),
        ((2, 3, 5), (), (2, 15)),
        ((2, 3, 5), (0,), (30,)),
        ((2, 3, 5, 7), (1, 2), (2, 15, 7)),
        ((2, 3, 5, 7), (-3, -2), (2, 15, 7)),
        ((2, 3, 5, 7), (2, 2), (2, 3, 5, 7)),
        ((0, 3, 5), (), (0, 15)),
        ((2, 0, 5), (), (2, 0)),
    ],
)
def test_shapes(rng, shape, dims, want):
    x = rng.integers(0, 9, shape)
    got = voxkern.flatten(x, *dims)
    assert got.shape == want
    assert_exact(got, reference.flatten(np.asarray(x), *dims))


@pytest.mark.parametrize("layout", hostile.LAYOUTS)
def test_layout_does_not_matter(rng, layout):
    x = hostile.normal(rng, (2, 3, 17))
    np.testing.assert_array_equal(voxkern.flatten(layout(x)), x.reshape(2, -1))


def test_the_result_is_a_view_where_it_can_be():
    x = np.zeros((2, 3, 5))
    assert np.shares_memory(voxkern.flatten(x), x)


@pytest.mark.parametrize(
    ("arguments", "error", "names"),
    [
        (dict(start_dim=3), ValueError, "start_dim is 3"),
        (dict(start_dim=-4), ValueError, "start_dim is -4"),
        (dict(end_dim=3), ValueError, "end_dim is 3"),
        (dict(end_dim=0), ValueError, "end_dim is 0"),
        (dict(start_dim=1.0), TypeError, "start_dim is 1.0"),
        (dict(x=np.zeros(3)), ValueError, "start_dim is 1"),
        (dict(x=np.zeros(3, complex)), TypeError, "x has dtype complex128"),
    ],
)
def test_bad_input_is_named(arguments, error, names):
    with pytest.raises(error, match=names):
        voxkern.flatten(**{"x": np.zeros((2, 3, 5)), **arguments})
