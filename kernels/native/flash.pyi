import numpy as np

def totals(frames: np.ndarray, *, out: np.ndarray) -> None: ...
def largest_changes(
    frames: np.ndarray,
    table: np.ndarray,
    convex: bool,
    before: np.ndarray,
    *,
    out: np.ndarray,
) -> None: ...
def largest_differences(before: np.ndarray, now: np.ndarray, *, out: np.ndarray) -> None: ...
