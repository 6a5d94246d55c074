import numpy as np

def enlarge(
    x: np.ndarray,
    near: tuple[np.ndarray, ...],
    far: tuple[np.ndarray, ...],
    weights: tuple[np.ndarray | None, ...],
    *,
    out: np.ndarray,
) -> None: ...
def reduce(
    grad: np.ndarray,
    near: tuple[np.ndarray, ...],
    far: tuple[np.ndarray, ...],
    weights: tuple[np.ndarray | None, ...],
    *,
    out: np.ndarray,
) -> None: ...
