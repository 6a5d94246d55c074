"""For two axes, im2col is torch's unfold and col2im its fold, errors included."""

import numpy as np
import pytest

import voxkern

import hostile
from accuracy import assert_close, assert_exact

torch = pytest.importorskip("torch")
functional = torch.nn.functional
WINDOWS = [
    {"kernel_size": 3},
    {"kernel_size": (4, 1), "stride": (2, 3)},
    {"kernel_size": (2, 5), "padding": (1, 2), "dilation": (3, 2)},
]


@pytest.mark.parametrize("unbatched", [False, True])
@pytest.mark.parametrize("window", WINDOWS, ids=str)
def test_values(rng, unbatched, window):
    x = hostile.normal(rng, (2, 3, 17, 13), "float32")
    x = x[0] if unbatched else x
    # An int beside an unbatched image would be taken for one axis of a batch.
    window = {**window, "kernel_size": np.broadcast_to(window["kernel_size"], 2).tolist()}
    cols = voxkern.im2col(x, **window)
    assert_exact(cols, functional.unfold(torch.from_numpy(x), **window).numpy())
    want = functional.fold(torch.from_numpy(cols), (17, 13), **window).numpy()
    assert_close(voxkern.col2im(cols, (17, 13), **window), want, length=16, scale=8)


@pytest.mark.parametrize(
    "window",
    [
        {"kernel_size": (18, 2)},
        {"kernel_size": (0, 2)},
        {"kernel_size": (2, 2), "stride": 0},
        {"kernel_size": (2, 2), "dilation": 0},
        {"kernel_size": (2, 2), "padding": -1},
        {"kernel_size": (9, 2), "dilation": (3, 1)},
    ],
    ids=str,
)
def test_what_torch_refuses_is_refused(window):
    x = np.zeros((2, 3, 17, 13))
    with pytest.raises((RuntimeError, ValueError)):
        functional.unfold(torch.from_numpy(x), **window)
    with pytest.raises(ValueError, match=r"kernel_size|stride|dilation|padding"):
        voxkern.im2col(x, **window)


@pytest.mark.parametrize("shape", [(2, 12, 11), (2, 13, 192), (12,), (1, 2, 12, 192)])
def test_columns_that_torch_refuses_are_refused(shape):
    cols = np.zeros(shape)
    with pytest.raises((RuntimeError, ValueError)):
        functional.fold(torch.from_numpy(cols), (17, 13), (2, 2))
    with pytest.raises(ValueError, match="cols has shape"):
        voxkern.col2im(cols, (17, 13), (2, 2))
