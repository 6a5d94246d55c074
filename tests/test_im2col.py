"""im2col and col2im: exact movement, exact adjoint, torch's unfold and fold for any axes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import voxkern
from voxkern import reference

import hostile
from accuracy import assert_close, assert_exact

OPERATION = "im2col"
WINDOWS = [
    {},
    {"stride": 2},
    {"padding": 2},
    {"dilation": 2, "padding": 1},
    {"stride": 3, "padding": 2, "dilation": 2},
    {"padding": "same"},
    {"padding": "valid", "stride": 2},
]


@pytest.mark.parametrize("axes", [1, 2, 3])
@pytest.mark.parametrize("window", WINDOWS, ids=str)
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "uint8", "int64", "bool"])
def test_im2col_is_the_oracle(backend, rng, axes, window, dtype):
    x = hostile.normal(rng, hostile.SHAPES[axes], dtype)
    kernel = (3, 2, 2)[:axes]
    assert_exact(voxkern.im2col(x, kernel, **window), reference.im2col(x, kernel, **window))


@pytest.mark.parametrize(
    ("shape", "kernel_size", "window"),
    [
        ((1, 2, 1009, 521), (5, 3), {"padding": (2, 1)}),
        ((1, 1, 1009, 1033), (3, 5), {"padding": 2, "dilation": (1, 3)}),
        ((1, 1, 2, 1_500_021), (2, 3), {"stride": (1, 2), "padding": (1, 0)}),
        ((1, 2, 1, 700_001), (1, 7), {"padding": (0, 3)}),
    ],
    ids=str,
)
@pytest.mark.parametrize("dtype", ["float32", "uint8"])
def test_large_columns_are_the_oracle(backend, rng, shape, kernel_size, window, dtype):
    # Over 32 MB the native kernels store past the caches, from any address on.
    if backend != "native":
        pytest.skip("hours in the simulator, and nothing of its own")
    x = (100 * rng.standard_normal(shape)).astype(dtype)
    want = reference.im2col(x, kernel_size, **window)
    want = np.tile(want, (-(-(2**25) // want.nbytes), 1, 1)) if dtype == "uint8" else want
    x = np.tile(x, (len(want), 1, 1, 1))
    assert want.nbytes > 2**25
    for offset in (0, 7):
        out = np.empty(offset + want.size, dtype)[offset:].reshape(want.shape)
        assert_exact(voxkern.im2col(x, kernel_size, **window, out=out), want)


@pytest.mark.parametrize("axes", [1, 2, 3])
@pytest.mark.parametrize("window", WINDOWS, ids=str)
@pytest.mark.parametrize("dtype", hostile.FLOATS)
def test_col2im_is_the_oracle(backend, rng, axes, window, dtype):
    shape, kernel = hostile.SHAPES[axes], (3, 2, 2)[:axes]
    like = reference.im2col(np.zeros(shape), kernel, **window)
    cols = hostile.normal(rng, like.shape, dtype)
    want = reference.col2im(cols.astype("float64"), shape[2:], kernel, **window)
    got = voxkern.col2im(cols, shape[2:], kernel, **window)
    assert_close(got, want, length=np.prod(kernel), scale=4)


def test_im2col_moves_nan_and_inf(backend, rng):
    x = hostile.with_nonfinite(hostile.normal(rng, hostile.SHAPES[2]), rng)
    assert_exact(voxkern.im2col(x, (5, 3)), reference.im2col(x, (5, 3)))


@pytest.mark.parametrize("layout", hostile.LAYOUTS)
def test_layout_does_not_matter(backend, rng, layout):
    x = hostile.normal(rng, hostile.SHAPES[3])
    cols = voxkern.im2col(x, (5, 2, 3), padding=1)
    assert_exact(voxkern.im2col(layout(x), (5, 2, 3), padding=1).astype("f8"), cols)
    got = voxkern.col2im(layout(cols), (11, 7, 5), (5, 2, 3), padding=1)
    assert_exact(got.astype("f8"), voxkern.col2im(cols, (11, 7, 5), (5, 2, 3), padding=1))


def test_unbatched_and_empty_batches(backend, rng):
    x = hostile.normal(rng, (3, 7, 5))
    assert_exact(voxkern.im2col(x, (3, 2)), voxkern.im2col(x[None], (3, 2))[0])
    assert voxkern.im2col(x[:0][None][:, :0], (3, 2)).shape == (1, 0, 20)
    assert voxkern.im2col(np.zeros((0, 3, 7, 5)), (3, 2)).shape == (0, 18, 20)
    assert voxkern.col2im(np.zeros((0, 18, 20)), (7, 5), (3, 2)).shape == (0, 3, 7, 5)
    cols = voxkern.im2col(x, (3, 2))
    back = voxkern.col2im(cols[None], (7, 5), (3, 2))
    assert_exact(voxkern.col2im(cols, (7, 5), (3, 2)), back[0])


def test_out_is_filled_and_returned(backend, rng):
    x = hostile.normal(rng, hostile.SHAPES[2])
    want = voxkern.im2col(x, 3)
    for out in (np.full_like(want, np.nan), hostile.strided(want * 0)):
        assert voxkern.im2col(x, 3, out=out) is out
        assert_exact(np.ascontiguousarray(out), want)
    back = hostile.strided(np.full(x.shape, np.nan))
    assert voxkern.col2im(want, (17, 13), 3, out=back) is back
    assert_exact(np.ascontiguousarray(back), voxkern.col2im(want, (17, 13), 3))


@given(data=st.data())
def test_col2im_is_the_adjoint_of_im2col(data):
    axes = data.draw(st.integers(1, 3))

    def draw(low, high):
        return data.draw(st.tuples(*[st.integers(low, high)] * axes))

    kernel, stride, padding, dilation = draw(1, 4), draw(1, 3), draw(0, 3), draw(1, 2)
    size = tuple(d * (k - 1) + 1 + n for k, d, n in zip(kernel, dilation, draw(0, 6)))
    rng = np.random.default_rng(data.draw(st.integers(0, 9)))
    # Small integers: both sums are exact, so the two sides must be equal.
    x = hostile.with_ties(rng, (2, 3, *size))
    window = dict(stride=stride, padding=padding, dilation=dilation)
    cols = voxkern.im2col(x, kernel, **window)
    y = hostile.with_ties(rng, cols.shape)
    assert (cols * y).sum() == (x * voxkern.col2im(y, size, kernel, **window)).sum()


IMAGE, COLUMNS = np.zeros((2, 3, 7, 5)), np.zeros((2, 18, 20))


@pytest.mark.parametrize(
    ("call", "error", "names"),
    [
        (lambda: voxkern.im2col(np.zeros(3), 2), ValueError, "x has 1 axes"),
        (lambda: voxkern.im2col(np.zeros((1,) * 6), 2), ValueError, "x has 6 axes"),
        (lambda: voxkern.im2col(IMAGE, (9, 2)), ValueError, "kernel_size"),
        (lambda: voxkern.im2col(IMAGE, 0), ValueError, "kernel_size is 0"),
        (lambda: voxkern.im2col(IMAGE, 2.5), TypeError, "kernel_size"),
        (lambda: voxkern.im2col(IMAGE, 2, stride=0), ValueError, "stride"),
        (lambda: voxkern.im2col(IMAGE, 2, stride=(1, 2, 3)), ValueError, "stride"),
        (lambda: voxkern.im2col(IMAGE, 2, padding=-1), ValueError, "padding"),
        (lambda: voxkern.im2col(IMAGE, 2, padding="full"), ValueError, "padding"),
        (lambda: voxkern.im2col(IMAGE, 2, padding=np.ones(3)), ValueError, "padding is"),
        (lambda: voxkern.im2col(IMAGE, 2, padding=np.ones(2)), TypeError, "padding is"),
        (lambda: voxkern.im2col(IMAGE, 2, padding="same", stride=2), ValueError, "stride"),
        (lambda: voxkern.im2col(IMAGE, 2, dilation=-1), ValueError, "dilation"),
        (lambda: voxkern.im2col(IMAGE[..., :0], 1), ValueError, "x has spatial size"),
        (lambda: voxkern.im2col(IMAGE.astype(object), 2), TypeError, "x has dtype object"),
        (lambda: voxkern.im2col(IMAGE.astype("c16"), 2), TypeError, "x has dtype complex128"),
        (lambda: voxkern.im2col(IMAGE, 2, out=np.zeros(3)), ValueError, "out has shape"),
        (lambda: voxkern.im2col(IMAGE, 2, out=[1]), TypeError, "out is a list"),
        (lambda: voxkern.col2im(COLUMNS, (7, 5), (3, 3)), ValueError, "cols has shape"),
        (lambda: voxkern.col2im(COLUMNS[:, :17], (7, 5), (3, 2)), ValueError, "cols has shape"),
        (lambda: voxkern.col2im(COLUMNS.astype(int), (7, 5), (3, 2)), TypeError, "cols has dtype"),
        (lambda: voxkern.col2im(COLUMNS, (0, 5), (3, 2)), ValueError, "output_size"),
    ],
)
def test_bad_input_is_named(call, error, names):
    with pytest.raises(error, match=names):
        call()


def test_out_must_be_writeable_and_apart():
    x = np.zeros((1, 1, 20))
    out = hostile.read_only(np.ones((1, 3, 18)))
    with pytest.raises(ValueError, match="out is read-only"):
        voxkern.im2col(x, 3, out=out)
    assert out.all()
    shared = np.ones(100)
    with pytest.raises(ValueError, match="out overlaps"):
        voxkern.im2col(shared[:20].reshape(1, 1, 20), 3, out=shared[10:64].reshape(1, 3, 18))
    assert shared.all()
