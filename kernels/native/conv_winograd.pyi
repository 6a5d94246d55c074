from collections.abc import Sequence

import numpy as np

__pyx_capi__: dict[str, object]

def packed_size(
    outputs: int,
    inputs: int,
    kernel_size: Sequence[int],
    tile: Sequence[int],
    groups: int,
    itemsize: int,
) -> int: ...
def pack(weight: np.ndarray, tile: Sequence[int], groups: int, *, out: np.ndarray) -> None: ...
def conv(
    x: np.ndarray,
    weight: np.ndarray,
    bias: np.ndarray | None,
    tile: Sequence[int],
    padding: Sequence[tuple[int, int]],
    stride: Sequence[int],
    dilation: Sequence[int],
    groups: int,
    *,
    packed: np.ndarray | None,
    slope: float | None,
    flipped: bool,
    out: np.ndarray,
) -> bool: ...
def workspace(
    x_shape: Sequence[int],
    weight_shape: Sequence[int],
    out_shape: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[tuple[int, int]],
    dilation: Sequence[int],
    groups: int,
    *,
    tile: Sequence[int],
    itemsize: int,
    threads: int,
) -> int: ...
def backward_weight(
    grad: np.ndarray,
    x: np.ndarray,
    kernel_size: Sequence[int],
    tile: Sequence[int],
    padding: Sequence[tuple[int, int]],
    stride: Sequence[int],
    dilation: Sequence[int],
    groups: int,
    *,
    out: np.ndarray,
) -> bool: ...
def matrices(
    points: int, tile: int, output: np.ndarray, input: np.ndarray, weight: np.ndarray
) -> None: ...
