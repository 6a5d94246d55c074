from collections.abc import Sequence

MADE: int
KEPT: int
GRADIENT: int

def least(
    weight_shape: Sequence[int],
    out_shape: Sequence[int],
    strides: Sequence[int],
    dilations: Sequence[int],
    groups: int,
    weights: int,
) -> tuple[float, tuple[int, int, int] | None]: ...
