from collections.abc import Sequence

import numpy as np

__pyx_capi__: dict[str, object]

def conv(
    x: np.ndarray,
    weight: np.ndarray,
    bias: np.ndarray | None,
    stride: Sequence[int],
    padding: Sequence[tuple[int, int]],
    dilation: Sequence[int],
    groups: int,
    *,
    algorithm: str,
    slope: float | None,
    out: np.ndarray,
    packed: np.ndarray | None,
    flipped: bool,
    whole: tuple[Sequence[int], Sequence[int], Sequence[tuple[int, int]]] | None,
    accumulate: bool,
) -> None: ...
def pack(
    x_shape: Sequence[int],
    weight: np.ndarray,
    out_shape: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[tuple[int, int]],
    dilation: Sequence[int],
    groups: int,
    *,
    algorithm: str,
    out: np.ndarray,
) -> None: ...
def packing(
    x_shape: Sequence[int],
    weight_shape: Sequence[int],
    out_shape: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[tuple[int, int]],
    dilation: Sequence[int],
    groups: int,
    *,
    algorithm: str,
    itemsize: int,
) -> tuple[int, int]: ...
def workspace(
    x_shape: Sequence[int],
    weight_shape: Sequence[int],
    out_shape: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[tuple[int, int]],
    dilation: Sequence[int],
    groups: int,
    *,
    algorithm: str,
    itemsize: int,
    threads: int,
) -> int: ...
def conv_transpose(
    x: np.ndarray,
    weight: np.ndarray,
    bias: np.ndarray | None,
    stride: Sequence[int],
    padding: Sequence[tuple[int, int]],
    output_padding: Sequence[int],
    groups: int,
    dilation: Sequence[int],
    *,
    product: bool,
    out: np.ndarray,
) -> None: ...
def conv_backward_weight(
    grad: np.ndarray,
    x: np.ndarray,
    kernel_size: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[tuple[int, int]],
    dilation: Sequence[int],
    groups: int,
    *,
    out: np.ndarray,
) -> None: ...
def conv_backward_bias(grad: np.ndarray, *, out: np.ndarray) -> None: ...
