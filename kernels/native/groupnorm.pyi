import numpy as np

def normalize_groups(
    x: np.ndarray,
    weight: np.ndarray,
    bias: np.ndarray,
    eps: float,
    groups: int,
    *,
    stats: np.ndarray,
    out: np.ndarray,
) -> None: ...
def groups_gradient(
    grad: np.ndarray,
    x: np.ndarray,
    weight: np.ndarray,
    eps: float,
    groups: int,
    *,
    sums: np.ndarray,
    out: np.ndarray,
) -> None: ...
