from collections.abc import Sequence

import numpy as np

Axes = Sequence[int]
Out = np.ndarray | tuple[np.ndarray, np.ndarray]

def max_pool3d(
    x: np.ndarray,
    kernel_size: Axes,
    stride: Axes,
    padding: Axes,
    dilation: Axes,
    ceil_mode: bool,
    return_indices: bool,
    *,
    out: Out,
) -> None: ...
def adaptive_max_pool3d(
    x: np.ndarray, output_size: Axes, return_indices: bool, *, out: Out
) -> None: ...
def avg_pool3d(
    x: np.ndarray,
    kernel_size: Axes,
    stride: Axes,
    padding: Axes,
    ceil_mode: bool,
    count_include_pad: bool,
    divisor_override: int | None,
    *,
    out: np.ndarray,
) -> None: ...
def lp_pool3d(
    x: np.ndarray,
    norm_type: float,
    kernel_size: Axes,
    stride: Axes,
    ceil_mode: bool,
    *,
    out: np.ndarray,
) -> None: ...
def adaptive_avg_pool3d(x: np.ndarray, output_size: Axes, *, out: np.ndarray) -> None: ...
def avg_pool3d_backward(
    grad: np.ndarray,
    input_size: Axes,
    kernel_size: Axes,
    stride: Axes,
    padding: Axes,
    ceil_mode: bool,
    count_include_pad: bool,
    divisor_override: int | None,
    *,
    out: np.ndarray,
) -> None: ...
def adaptive_avg_pool3d_backward(
    grad: np.ndarray, input_size: Axes, *, out: np.ndarray
) -> None: ...
def max_pool3d_backward(
    grad: np.ndarray, indices: np.ndarray, input_size: Axes, *, out: np.ndarray
) -> None: ...
def max_unpool3d(
    x: np.ndarray,
    indices: np.ndarray,
    kernel_size: Axes,
    stride: Axes,
    padding: Axes,
    output_size: Axes,
    *,
    out: np.ndarray,
) -> None: ...
def max_unpool3d_backward(grad: np.ndarray, indices: np.ndarray, *, out: np.ndarray) -> None: ...
