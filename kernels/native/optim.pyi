import numpy as np

def descend(
    weight: np.ndarray,
    grad: np.ndarray,
    velocity: np.ndarray | None,
    *,
    rate: float,
    decay: float,
    momentum: float,
    fresh: float,
    nesterov: bool,
) -> None: ...
def adapt(
    weight: np.ndarray,
    grad: np.ndarray,
    mean: np.ndarray | None,
    square: np.ndarray,
    *,
    rate: float,
    decay: float,
    kept: float,
    beta1: float,
    beta2: float,
    inside: float,
    outside: float,
) -> None: ...
