import numpy as np

def totals(frames: np.ndarray, *, out: np.ndarray) -> None: ...
def largest_changes(
    frames: np.ndarray,
    table: np.ndarray,
    codes: np.ndarray,
    cubic: np.ndarray,
    lines: np.ndarray,
    rising: bool,
    before: np.ndarray,
    *,
    out: np.ndarray,
) -> None: ...
def largest_differences(before: np.ndarray, now: np.ndarray, *, out: np.ndarray) -> None: ...
