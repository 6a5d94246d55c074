import numpy as np

KINDS: dict[str, int]

def cross_entropy_rows(
    x: np.ndarray,
    labels: np.ndarray,
    scale: np.ndarray,
    *,
    losses: np.ndarray,
    out: np.ndarray | None,
) -> None: ...
def block_sums(name: str, x: np.ndarray, y: np.ndarray, block: int, *, out: np.ndarray) -> None: ...
