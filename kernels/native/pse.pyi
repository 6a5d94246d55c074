import numpy as np

class Watch:
    slots: int
    def __init__(
        self, width: int, height: int, format: np.ndarray, lights: list, lanes: list
    ) -> None: ...
    def hold(self, states: list) -> None: ...
    def step(
        self,
        pictures: np.ndarray,
        recent: np.ndarray,
        expired: np.ndarray,
        slot: int,
        threads: int,
    ) -> None: ...
    def mean(self, picture: np.ndarray, light: int) -> float: ...

def at_least(count: np.ndarray, n: int, mask: np.ndarray, threads: int) -> int: ...
def window(
    mask: np.ndarray,
    width: int,
    height: int,
    window_width: int,
    window_height: int,
    floor: int,
    scratch: np.ndarray,
) -> tuple[int, int, int]: ...
