import numpy as np

LONGEST_LINE: int

def shrink(
    planes: np.ndarray,
    step: int,
    numbers: np.ndarray,
    light: np.ndarray,
    weights: np.ndarray,
    *,
    out: np.ndarray,
) -> None: ...
def bars(
    picture: np.ndarray,
    places: np.ndarray,
    cells: np.ndarray,
    starts: np.ndarray,
    ends: bool,
    upright: bool,
    step: float,
    bright: float,
    few: float,
    *,
    bars: np.ndarray,
    period: np.ndarray,
) -> None: ...
def repetition(
    picture: np.ndarray,
    steps: np.ndarray,
    period: np.ndarray,
    cell: int,
    part: float,
    *,
    out: np.ndarray,
) -> None: ...
def regions(period: np.ndarray, *, out: np.ndarray) -> int: ...
