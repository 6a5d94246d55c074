import numpy as np

__pyx_capi__: dict[str, object]

def moments(x: np.ndarray, *, out: np.ndarray) -> None: ...
def gradient_sums(
    grad: np.ndarray, x: np.ndarray, mean: np.ndarray, *, out: np.ndarray
) -> None: ...
def normalize(
    x: np.ndarray,
    shift: np.ndarray,
    scale: np.ndarray,
    offset: np.ndarray,
    *,
    out: np.ndarray,
) -> None: ...
def input_gradient(
    grad: np.ndarray,
    x: np.ndarray,
    mean: np.ndarray,
    scale: np.ndarray,
    slope: np.ndarray,
    offset: np.ndarray,
    *,
    out: np.ndarray,
) -> None: ...
def train(
    x: np.ndarray,
    weight: np.ndarray,
    bias: np.ndarray,
    eps: float,
    *,
    stats: np.ndarray,
    maps: np.ndarray,
    out: np.ndarray,
) -> None: ...
def backward(
    grad: np.ndarray,
    x: np.ndarray,
    weight: np.ndarray,
    mean: np.ndarray,
    invstd: np.ndarray,
    *,
    sums: np.ndarray,
    maps: np.ndarray,
    out: np.ndarray,
) -> None: ...
