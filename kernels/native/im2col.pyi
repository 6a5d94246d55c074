from collections.abc import Sequence

import numpy as np

__pyx_capi__: dict[str, object]

def im2col(
    x: np.ndarray,
    kernel_size: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[tuple[int, int]],
    dilation: Sequence[int],
    *,
    out: np.ndarray,
) -> None: ...
def col2im(
    cols: np.ndarray,
    output_size: Sequence[int],
    kernel_size: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[tuple[int, int]],
    dilation: Sequence[int],
    *,
    out: np.ndarray,
) -> None: ...
