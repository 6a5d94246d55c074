from collections.abc import Sequence

import numpy as np

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
    packed: np.ndarray,
    bias: np.ndarray | None,
    kernel_size: Sequence[int],
    tile: Sequence[int],
    padding: Sequence[tuple[int, int]],
    stride: Sequence[int],
    dilation: Sequence[int],
    groups: int,
    *,
    slope: float | None,
    out: np.ndarray,
) -> bool: ...
def matrices(
    points: int, tile: int, output: np.ndarray, input: np.ndarray, weight: np.ndarray
) -> None: ...
