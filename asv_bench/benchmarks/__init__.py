"""Benchmarks: `time_*` in seconds with `out=` given, `track_*` the peer's time over ours.

A ratio is taken in one process, the two sides in turns, each side's best of many: on a shared
machine that is the figure to read.
"""

from voxkern import timing


def ratio(ours, peer, seconds=0.5):
    """The best time of `peer` over the best of `ours`: above 1, ours is faster."""
    taken = timing.turns({"ours": ours, "peer": peer}, seconds / 2, timing.clock(1))
    return min(taken["peer"]) / min(taken["ours"])


def installed_torch():
    """torch on one thread; asv skips a benchmark whose setup raises NotImplementedError."""
    try:
        import torch
    except ImportError:
        raise NotImplementedError("torch is not installed") from None
    torch.set_num_threads(1)
    return torch


def needs_torch(*_):
    """The `setup` of a benchmark beside torch in a class whose others need none."""
    installed_torch()
