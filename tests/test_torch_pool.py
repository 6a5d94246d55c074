"""Pooling as torch does it: the same calls, the same values, errors where it has errors."""

import numpy as np
import pytest

import voxkern

import hostile
from accuracy import assert_close, assert_exact

torch = pytest.importorskip("torch")
F = torch.nn.functional

WINDOWS = [
    dict(kernel_size=2),
    dict(kernel_size=3, stride=2, padding=1),
    dict(kernel_size=3, stride=1, padding=1, ceil_mode=True),
    dict(kernel_size=4, stride=3, padding=2, ceil_mode=True),
    dict(kernel_size=2, stride=3, ceil_mode=True),
]
SHAPES = {1: (2, 3, 17), 2: (2, 3, 11, 7), 3: (2, 3, 11, 7, 5)}


def pair(name, axes):
    name = name.format(f"{axes}d")
    return getattr(voxkern, name), getattr(F, name)


def differentiated(function, x, *arguments, **keywords):
    """torch's result and its gradient for a random one."""
    leaf = torch.from_numpy(x).requires_grad_()
    y = function(leaf, *arguments, **keywords)
    grad = torch.from_numpy(np.random.default_rng(0).standard_normal(y.shape))
    y.backward(grad)
    return y.detach().numpy(), grad.numpy(), leaf.grad.numpy()


@pytest.mark.parametrize("axes", [1, 2, 3])
@pytest.mark.parametrize("window", [*WINDOWS, dict(kernel_size=3, dilation=2, padding=1)], ids=str)
@pytest.mark.parametrize("unbatched", [False, True])
def test_max_pool(rng, axes, window, unbatched):
    ours, theirs = pair("max_pool{}", axes)
    x = hostile.with_nonfinite(hostile.with_ties(rng, SHAPES[axes]), rng)[0 if unbatched else ...]
    want = theirs(torch.from_numpy(x), **window, return_indices=True)
    got = ours(x, **window, return_indices=True)
    assert_exact(got[0], want[0].numpy())
    assert_exact(got[1], want[1].numpy())
    assert_exact(ours(x, **window), theirs(torch.from_numpy(x), **window).numpy())
    _, grad, want = differentiated(theirs, x, **window)
    backward = getattr(voxkern, f"max_pool{axes}d_backward")
    assert_close(backward(grad, got[1], x.shape[-axes:]), want, length=27, scale=2)


@pytest.mark.parametrize("axes", [1, 2, 3])
@pytest.mark.parametrize("window", WINDOWS, ids=str)
@pytest.mark.parametrize("include", [False, True])
@pytest.mark.parametrize("divisor", [None, 5, -2])
def test_avg_pool(rng, axes, window, include, divisor):
    ours, theirs = pair("avg_pool{}", axes)
    keywords = dict(window, count_include_pad=include)
    if axes > 1:
        keywords["divisor_override"] = divisor
    x = hostile.normal(rng, SHAPES[axes])
    want, grad, grad_x = differentiated(theirs, x, **keywords)
    assert_close(ours(x, **keywords), want, length=64)
    backward = getattr(voxkern, f"avg_pool{axes}d_backward")
    assert_close(backward(grad, x.shape[2:], **keywords), grad_x, length=64)
    assert_close(ours(x[0], **keywords), want[0], length=64)


@pytest.mark.parametrize("axes", [1, 2, 3])
@pytest.mark.parametrize("p", [1, 2, 3, 0.5, 2.5, -1, np.inf, -np.inf])
def test_lp_pool(rng, axes, p):
    ours, theirs = pair("lp_pool{}", axes)
    backward = getattr(voxkern, f"lp_pool{axes}d_backward")
    for stride, ceil_mode in [(None, False), (2, True), (3, True)]:
        x = hostile.normal(rng, SHAPES[axes])
        got = ours(x, p, 3, stride, ceil_mode)
        want = theirs(torch.from_numpy(x), p, 3, stride, ceil_mode).numpy()
        np.testing.assert_allclose(got, want, rtol=1e-10, atol=1e-12)
        x = np.abs(x) + 0.1
        _, grad, want = differentiated(theirs, x, p, 3, stride, ceil_mode)
        got = backward(grad, x, p, 3, stride, ceil_mode)
        np.testing.assert_allclose(got, want, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("axes", [1, 2, 3])
@pytest.mark.parametrize("size", [0, 1, 3, (5, 2, 7), (None, 3, None), 19], ids=str)
def test_adaptive_pools(rng, axes, size):
    x = hostile.with_nonfinite(hostile.with_ties(rng, SHAPES[axes]), rng)
    ours, theirs = pair("adaptive_max_pool{}", axes)
    asked = size[:axes] if isinstance(size, tuple) else size
    theirs_asked = asked if axes > 1 or asked != (None,) else x.shape[-1]
    want = theirs(torch.from_numpy(x), theirs_asked, return_indices=True)
    got = ours(x, asked, return_indices=True)
    assert_exact(got[0], want[0].numpy())
    assert_exact(got[1], want[1].numpy())
    ours, theirs = pair("adaptive_avg_pool{}", axes)
    x = hostile.normal(rng, SHAPES[axes])
    if size == 0:
        assert_exact(ours(x, asked), theirs(torch.from_numpy(x), theirs_asked).numpy())
        return
    want, grad, grad_x = differentiated(theirs, x, theirs_asked)
    assert_close(ours(x, asked), want, length=400)
    backward = getattr(voxkern, f"adaptive_avg_pool{axes}d_backward")
    assert_close(backward(grad, x.shape[2:]), grad_x, length=400)


@pytest.mark.parametrize("axes", [1, 2, 3])
@pytest.mark.parametrize("size", [None, (7, 7, 7), (2, 3, 7, 5, 6), (1, 1, 8, 8, 8), (3, 3)])
def test_max_unpool(rng, axes, size):
    ours, theirs = pair("max_unpool{}", axes)
    if size is not None:
        size = size[:axes] if len(size) == 3 else size[: axes + 2]
    x = hostile.normal(rng, (2, 3, *(3,) * axes))
    places = rng.integers(0, 5**axes, x.shape)  # many of them twice
    try:
        want = theirs(torch.from_numpy(x), torch.from_numpy(places), 2, output_size=size)
    except ValueError:
        with pytest.raises(ValueError, match="output_size"):
            ours(x, places, 2, output_size=size)
    else:
        assert_exact(ours(x, places, 2, output_size=size), want.numpy())


def image(axes, dtype="f8"):
    return np.zeros((1, 1, *(9,) * axes), dtype)


REFUSED = [
    ("max_pool{}", dict(kernel_size=3, padding=2)),
    ("max_pool{}", dict(kernel_size=3, padding=2, dilation=2)),
    ("max_pool{}", dict(kernel_size=1, padding=1)),
    ("max_pool{}", dict(kernel_size=10)),
    ("max_pool{}", dict(kernel_size=5, dilation=3)),
    ("max_pool{}", dict(kernel_size=0)),
    ("max_pool{}", dict(kernel_size=2, stride=0)),
    ("max_pool{}", dict(kernel_size=2, stride=-1)),
    ("max_pool{}", dict(kernel_size=2, dilation=0)),
    ("max_pool{}", dict(kernel_size=2, padding=-1)),
    ("max_pool{}", dict(kernel_size=2.5)),
    ("max_pool{}", dict(kernel_size="2")),
    ("max_pool{}", dict(kernel_size=(2, 2, 2, 2))),
    ("avg_pool{}", dict(kernel_size=3, padding=2)),
    ("avg_pool{}", dict(kernel_size=10)),
    ("avg_pool{}", dict(kernel_size=0)),
    ("avg_pool{}", dict(kernel_size=2, stride=-1)),
    ("avg_pool{}", dict(kernel_size=2.5)),
    ("lp_pool{}", dict(norm_type=0, kernel_size=2)),
    ("lp_pool{}", dict(norm_type="2", kernel_size=2)),
    ("lp_pool{}", dict(norm_type=2, kernel_size=10)),
    ("adaptive_avg_pool{}", dict(output_size=-1)),
    ("adaptive_max_pool{}", dict(output_size=-1)),
    ("adaptive_avg_pool{}", dict(output_size=(2, 2, 2, 2))),
    ("adaptive_max_pool{}", dict(output_size=2.5)),
]


@pytest.mark.parametrize("axes", [1, 2, 3])
@pytest.mark.parametrize(("name", "keywords"), REFUSED, ids=str)
def test_where_torch_refuses_so_do_we(axes, name, keywords):
    ours, theirs = pair(name, axes)
    with pytest.raises(Exception):  # noqa: B017, PT011
        theirs(torch.from_numpy(image(axes)), **keywords)
    with pytest.raises((ValueError, TypeError)):
        ours(image(axes), **keywords)


@pytest.mark.parametrize("axes", [1, 2, 3])
@pytest.mark.parametrize("name", ["max_pool{}", "avg_pool{}", "adaptive_max_pool{}"])
def test_shapes_are_taken_and_refused_alike(axes, name):
    ours, theirs = pair(name, axes)
    full = image(axes)
    for x in [full[:0], full[0], full[:, :0], full[..., :0], full[None], full[0, 0]]:
        try:
            want = tuple(theirs(torch.from_numpy(x), 2).shape)
        except (RuntimeError, ValueError, IndexError):
            with pytest.raises(ValueError, match="x has"):
                ours(x, 2)
        else:
            assert ours(x, 2).shape == want


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_unpooling_refuses_alike(axes):
    ours, theirs = pair("max_unpool{}", axes)
    x = np.zeros((1, 2, *(3,) * axes))
    places = np.zeros(x.shape, "i8")
    for index in (places - 1, places + 6**axes, places.astype("i4"), places[..., :2]):
        with pytest.raises(RuntimeError):
            theirs(torch.from_numpy(x), torch.from_numpy(index), 2)
        with pytest.raises((ValueError, TypeError), match="indices"):
            ours(x, index, 2)


def test_torch_tensors_are_taken(rng):
    x = torch.from_numpy(hostile.normal(rng, SHAPES[2]))
    assert_exact(voxkern.max_pool2d(x, 3), F.max_pool2d(x, 3).numpy())
    assert_close(voxkern.global_avg_pool(x), F.adaptive_avg_pool2d(x, 1).numpy(), length=77)
