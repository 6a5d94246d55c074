import numpy as np

__pyx_capi__: dict[str, object]

def totals(pixels: np.ndarray, *, out: np.ndarray) -> None: ...
def largest_changes(
    frames: np.ndarray,
    table: np.ndarray,
    codes: np.ndarray,
    cubics: np.ndarray,
    lines: np.ndarray,
    slack: float,
    before: np.ndarray,
    started: bool,
    *,
    out: np.ndarray,
) -> None: ...
def largest_power_changes(
    frames: np.ndarray, power: np.ndarray, before: np.ndarray, started: bool, *, out: np.ndarray
) -> None: ...
def largest_differences(before: np.ndarray, now: np.ndarray, *, out: np.ndarray) -> None: ...
