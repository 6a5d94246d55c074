from collections.abc import Sequence

import numpy as np

__pyx_capi__: dict[str, object]

_Axes = Sequence[int]
_Out = np.ndarray | tuple[np.ndarray, np.ndarray]

def max_pool3d(
    x: np.ndarray,
    kernel_size: _Axes,
    stride: _Axes,
    padding: _Axes,
    dilation: _Axes,
    ceil_mode: bool,
    return_indices: bool,
    *,
    out: _Out,
) -> None: ...
def adaptive_max_pool3d(
    x: np.ndarray, output_size: _Axes, return_indices: bool, *, out: _Out
) -> None: ...
def avg_pool3d(
    x: np.ndarray,
    kernel_size: _Axes,
    stride: _Axes,
    padding: _Axes,
    ceil_mode: bool,
    count_include_pad: bool,
    divisor_override: int | None,
    *,
    out: np.ndarray,
) -> None: ...
def lp_pool3d(
    x: np.ndarray,
    norm_type: float,
    kernel_size: _Axes,
    stride: _Axes,
    ceil_mode: bool,
    *,
    out: np.ndarray,
) -> None: ...
def adaptive_avg_pool3d(x: np.ndarray, output_size: _Axes, *, out: np.ndarray) -> None: ...
def avg_pool3d_backward(
    grad: np.ndarray,
    input_size: _Axes,
    kernel_size: _Axes,
    stride: _Axes,
    padding: _Axes,
    ceil_mode: bool,
    count_include_pad: bool,
    divisor_override: int | None,
    *,
    out: np.ndarray,
) -> None: ...
def adaptive_avg_pool3d_backward(
    grad: np.ndarray, input_size: _Axes, *, out: np.ndarray
) -> None: ...
def max_pool3d_backward(
    grad: np.ndarray, indices: np.ndarray, input_size: _Axes, *, out: np.ndarray
) -> None: ...
def max_unpool3d(
    x: np.ndarray,
    indices: np.ndarray,
    kernel_size: _Axes,
    stride: _Axes,
    padding: _Axes,
    output_size: _Axes,
    *,
    out: np.ndarray,
) -> None: ...
def max_unpool3d_backward(grad: np.ndarray, indices: np.ndarray, *, out: np.ndarray) -> None: ...
