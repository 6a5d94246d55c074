"""Calls inside @njit code beside the same calls from Python, and beside the C function alone.

    python asv_bench/njit_calls.py [--rounds 20]

One thread, every call makes its result, least time of a thread in turns. The C function gets
arrays and a window that were made before, so that what the others take more is their overhead.
"""

import argparse
import time

import numba
import numpy as np

import voxkern
from voxkern import njit


@numba.njit(nogil=True)
def inside(x, weight, calls):
    for _ in range(calls):
        out = voxkern.conv3d(x, weight, None, 1, 1)
    return out


def from_python(x, weight, calls):
    for _ in range(calls):
        out = voxkern.conv3d(x, weight, None, 1, 1)
    return out


@numba.njit(nogil=True)
def alone(x, weight, calls):
    shape, window = njit._five(x.shape, 3), njit._window(3, weight.shape[2:], 1, 1, 1)
    out = np.empty((x.shape[0], weight.shape[0], *x.shape[2:]), x.dtype)
    for _ in range(calls):
        njit._conv(
            *(x.itemsize, shape.ctypes, x.ctypes, weight.shape[0], weight.ctypes, njit._null()),
            *(window.ctypes, 1, 1, out.ctypes),
        )
    return out


def least(run, x, weight, calls):
    began = time.thread_time()
    run(x, weight, calls)
    return (time.thread_time() - began) / calls * 1e6


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=20)
    rounds = parser.parse_args().rounds
    voxkern.set_num_threads(1)
    rng = np.random.default_rng(0)
    runs = from_python, inside, alone
    print("channels, size".ljust(24), *(f"{run.__name__:>12}" for run in runs), " us a call")
    for channels, size in ((1, 3), (4, 6), (8, 16), (16, 32), (32, 32)):
        x = rng.standard_normal((1, channels, size, size, size)).astype(np.float32)
        weight = rng.standard_normal((channels, channels, 3, 3, 3)).astype(np.float32)
        outs = [run(x, weight, 1) for run in runs]
        assert all((out == outs[0]).all() for out in outs)
        calls = max(1, int(2000 / least(alone, x, weight, 1)))
        times = [[least(run, x, weight, calls) for run in runs] for _ in range(rounds)]
        print(f"{channels}, {size}^3".ljust(24), *(f"{t:12.2f}" for t in np.min(times, axis=0)))


main()
