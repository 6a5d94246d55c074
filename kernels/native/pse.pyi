from typing import NoReturn

import numpy as np
from typing_extensions import disjoint_base

@disjoint_base
class Watch:
    slots: int
    def __init__(
        self,
        width: int,
        height: int,
        fold: int,
        format: np.ndarray,
        lights: list,
        lanes: list,
        steps: np.ndarray,
        reds: np.ndarray,
        ramps: int,
    ) -> None: ...
    def __reduce__(self) -> NoReturn: ...
    def hold(self, states: list) -> None: ...
    def step(
        self,
        pictures: list,
        notes: list,
        recent: np.ndarray,
        expired: np.ndarray,
        slot: int,
        done: np.ndarray,
    ) -> None: ...
    def cells(self, planes: tuple, out: np.ndarray, threads: int) -> None: ...
    def luminance(self, planes: tuple, across: int, down: int, sums: np.ndarray) -> None: ...
    def gather(
        self,
        lane: int,
        slots: np.ndarray,
        n: int,
        step: int,
        many: bool,
        mask: np.ndarray,
        threads: int,
    ) -> int: ...

def window(
    mask: np.ndarray,
    width: int,
    height: int,
    window_width: int,
    window_height: int,
    floor: int,
    scratch: np.ndarray,
    rough: bool = False,
    any: bool = False,
) -> tuple[int, int, int]: ...
