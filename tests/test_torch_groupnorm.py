"""group_norm, instance_norm and layer_norm beside torch: values, gradients, refusals."""

import numpy as np
import pytest

import voxkern

import hostile
from accuracy import assert_close

torch = pytest.importorskip("torch")

CASES = [
    ("group_norm", (5, 6), (3,)),
    ("group_norm", (2, 6, 7, 5), (2,)),
    ("group_norm", (2, 3, 4, 3, 5), (1,)),
    ("instance_norm", (2, 3, 11), ()),
    ("instance_norm", (2, 3, 7, 5, 4), ()),
    ("layer_norm", (7, 13), ((13,),)),
    ("layer_norm", (2, 3, 5, 7), ((5, 7),)),
]


def parameters(rng, name, shape, rest, dtype):
    of_weight = rest[0] if name == "layer_norm" else shape[1:2]
    return hostile.normal(rng, (2, *of_weight), dtype)


@pytest.mark.parametrize(("name", "shape", "rest"), CASES, ids=str)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_values_and_gradients(rng, name, shape, rest, dtype):
    x, grad = hostile.normal(rng, (2, *shape), dtype)
    weight, bias = parameters(rng, name, shape, rest, dtype)
    leaves = [torch.from_numpy(a.copy()).requires_grad_() for a in (x, weight, bias)]
    theirs = getattr(torch.nn.functional, name)(
        leaves[0], *rest, weight=leaves[1], bias=leaves[2], eps=1e-3
    )
    theirs.backward(torch.from_numpy(grad))
    got = getattr(voxkern, name)(x, *rest, weight=weight, bias=bias, eps=1e-3)
    assert_close(got, theirs.detach().numpy().astype("f8"), length=64, scale=4)
    gradients = getattr(voxkern, f"{name}_backward")(grad, x, *rest, weight, 1e-3)
    for ours, leaf in zip(gradients, leaves):
        assert_close(ours, leaf.grad.numpy().astype("f8"), length=1000, scale=30)


def test_running_statistics(rng):
    x = hostile.normal(rng, (3, 2, 5, 7))
    ours = hostile.normal(rng, 2), rng.uniform(0.5, 2, 2)
    theirs = [torch.from_numpy(a.copy()) for a in ours]
    want = torch.nn.functional.instance_norm(torch.from_numpy(x), *theirs, momentum=0.3)
    assert_close(voxkern.instance_norm(x, *ours, momentum=0.3), want.numpy(), length=64, scale=4)
    for mine, their in zip(ours, theirs):
        assert_close(mine, their.numpy(), length=64)
    want = torch.nn.functional.instance_norm(torch.from_numpy(x), *theirs, use_input_stats=False)
    assert_close(voxkern.instance_norm(x, *ours, use_input_stats=False), want.numpy(), length=64)


@pytest.mark.parametrize(
    ("name", "x", "rest", "options"),
    [
        ("group_norm", np.zeros((2, 4, 5)), (3,), {}),
        ("group_norm", np.zeros((1, 4)), (4,), {}),
        ("group_norm", np.zeros((2, 4, 5)), (2,), dict(weight=np.ones(5))),
        ("instance_norm", np.zeros((2, 4)), (), {}),
        ("instance_norm", np.zeros((2, 4, 1)), (), {}),
        ("layer_norm", np.zeros((2, 4, 5)), ((4,),), {}),
        ("layer_norm", np.zeros((2, 4, 5)), ((),), {}),
        ("layer_norm", np.zeros((2, 4, 5)), ((5,),), dict(weight=np.ones(4))),
    ],
)
def test_where_torch_raises_so_do_we(name, x, rest, options):
    theirs = {k: torch.from_numpy(v) for k, v in options.items()}
    with pytest.raises((ValueError, RuntimeError)):
        getattr(torch.nn.functional, name)(torch.from_numpy(x), *rest, **theirs)
    with pytest.raises((ValueError, TypeError)):
        getattr(voxkern, name)(x, *rest, **options)
