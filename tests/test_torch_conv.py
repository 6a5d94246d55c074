"""The same calls to torch.nn.functional give the same values, and errors where it has errors."""

import numpy as np
import pytest

import voxkern

import hostile
from accuracy import assert_close

torch = pytest.importorskip("torch")
functional = torch.nn.functional


def both(name, arrays, **keywords):
    """What voxkern and torch (in float64) say to one call."""
    got = getattr(voxkern, name)(*arrays, **keywords)
    doubles = [torch.from_numpy(a.astype("float64")) for a in arrays]
    return got, getattr(functional, name)(*doubles, **keywords).numpy()


@pytest.mark.parametrize("axes", [1, 2, 3])
@pytest.mark.parametrize("unbatched", [False, True])
@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize(
    "window",
    [
        {},
        {"stride": 2, "padding": 1},
        {"padding": "same", "dilation": 2},
        {"padding": "same"},
        {"padding": "valid"},
        {"stride": 3, "dilation": 2, "padding": 4},
    ],
    ids=str,
)
def test_conv(rng, axes, unbatched, groups, window):
    x = hostile.normal(rng, (3, 4, *(13, 11, 7)[:axes]), "float32")
    weight = hostile.normal(rng, (8, 4 // groups, *(4, 3, 2)[:axes]), "float32")
    bias = hostile.normal(rng, (8,), "float32")
    arrays = (x[0] if unbatched else x, weight, bias)
    got, want = both(f"conv{axes}d", arrays, **window, groups=groups)
    assert_close(got, want, length=weight[0].size, scale=8)


@pytest.mark.parametrize("axes", [1, 2, 3])
@pytest.mark.parametrize("unbatched", [False, True])
@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize(
    "window",
    [
        {},
        {"stride": 2, "padding": 1, "output_padding": 1},
        {"stride": 3, "dilation": 2, "output_padding": 2},
        {"dilation": 3, "output_padding": 2, "padding": 2},
        {"stride": 4},
    ],
    ids=str,
)
def test_conv_transpose(rng, axes, unbatched, groups, window):
    x = hostile.normal(rng, (3, 4, *(7, 5, 6)[:axes]), "float32")
    weight = hostile.normal(rng, (4, 6, *(4, 3, 2)[:axes]), "float32")
    bias = hostile.normal(rng, (6 * groups,), "float32")
    arrays = (x[0] if unbatched else x, weight, bias)
    got, want = both(f"conv_transpose{axes}d", arrays, **window, groups=groups)
    assert_close(got, want, length=weight[:, 0].size, scale=8)


@pytest.mark.parametrize("axes", [1, 2, 3])
@pytest.mark.parametrize("groups", [1, 2])
def test_gradients(rng, axes, groups):
    window = {"stride": 2, "padding": 1, "dilation": 2, "groups": groups}
    x = hostile.normal(rng, (3, 4, *(13, 11, 7)[:axes]))
    weight = hostile.normal(rng, (6, 4 // groups, *(4, 3, 2)[:axes]))
    operands = [torch.from_numpy(a).requires_grad_() for a in (x, weight, np.zeros(6))]
    result = getattr(functional, f"conv{axes}d")(*operands, **window)
    grad = hostile.normal(rng, tuple(result.shape))
    result.backward(torch.from_numpy(grad))
    got = getattr(voxkern, f"conv{axes}d_backward")(grad, x, weight, **window)
    for g, t in zip(got, operands):
        assert_close(g, t.grad.numpy(), length=grad.size, scale=8)


X, WEIGHT = np.zeros((2, 4, 7, 5)), np.zeros((6, 4, 3, 3))
BAD = [
    ((X[0, 0], WEIGHT), {}),
    ((X, WEIGHT[0]), {}),
    ((X[:, :3], WEIGHT), {}),
    ((X, WEIGHT), {"groups": 3}),
    ((X, WEIGHT), {"groups": 0}),
    ((X, WEIGHT, np.zeros(5)), {}),
    ((X, WEIGHT), {"stride": 0}),
    ((X, WEIGHT), {"stride": (1, 2, 3)}),
    ((X, WEIGHT), {"dilation": 0}),
    ((X, WEIGHT), {"dilation": 4}),
    ((X, WEIGHT), {"padding": -1}),
    ((X, WEIGHT), {"padding": "full"}),
    ((X, WEIGHT), {"padding": "same", "stride": 2}),
    ((X.astype("f4"), WEIGHT), {}),
    ((X.astype("i8"), WEIGHT), {}),
    ((X[..., :0], WEIGHT), {}),
]


@pytest.mark.parametrize(("arrays", "keywords"), BAD)
def test_what_torch_refuses_is_refused(arrays, keywords):
    with pytest.raises((RuntimeError, ValueError, TypeError)):
        functional.conv2d(*map(torch.from_numpy, arrays), **keywords)
    with pytest.raises((ValueError, TypeError)):
        voxkern.conv2d(*arrays, **keywords)


def test_a_torch_tensor_is_an_array(rng):
    x, weight = torch.ones(1, 2, 5, 5), torch.ones(3, 2, 3, 3)
    assert (voxkern.conv2d(x, weight) == 18).all()
