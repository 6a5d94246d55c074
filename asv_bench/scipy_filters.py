"""The filters of voxkern.scipy beside SciPy's: milliseconds of one thread, and their ratio.

    python asv_bench/scipy_filters.py [--rounds 5]

A B A B, the least CPU time of each; both write into an array that is given, except for
scipy.signal, which has no such argument. SciPy filters by one kernel at a time.
"""

import argparse
import time

import numpy as np
import scipy.ndimage
import scipy.signal

import voxkern

CASES = [
    ("3x3x3 over 256^3", (256,) * 3, (1, 3, 3, 3)),
    ("5x5x5 over 128^3", (128,) * 3, (1, 5, 5, 5)),
    ("3x3 over 1024^2", (1024,) * 2, (1, 3, 3)),
    ("16 kernels of 7x7 over 1024^2", (1024,) * 2, (16, 7, 7)),
    ("8 kernels of 3x3x3 over 128^3", (128,) * 3, (8, 3, 3, 3)),
    ("31x31 over 1024^2", (1024,) * 2, (1, 31, 31)),
    ("127 over 1000000", (1_000_000,), (1, 127)),
]


def least(calls, rounds):
    """The least milliseconds of each of `calls`, which take turns."""
    found = [[] for _ in calls]
    for _ in range(rounds + 1):
        for times, call in zip(found, calls):
            start = time.thread_time()
            call()
            times.append(1e3 * (time.thread_time() - start))
    return [min(times[1:]) for times in found]


def images(x, weights):
    """Ours and SciPy's, into arrays that are there."""
    ours, theirs = np.empty((2, len(weights), *x.shape), x.dtype)

    def peer():
        for kernel, out in zip(weights, theirs):
            scipy.ndimage.correlate(x, kernel, out)

    return lambda: voxkern.scipy.ndimage.correlate(x, weights, ours), peer


def signals(x, weights):
    """Ours and SciPy's by the method that it chooses, with fresh results."""

    def peer():
        for kernel in weights:
            scipy.signal.correlate(x, kernel, "same")

    return lambda: voxkern.scipy.signal.correlate(x, weights, "same"), peer


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    voxkern.set_num_threads(1)
    rng = np.random.default_rng(0)
    print("| float32 | voxkern, ms | scipy.ndimage | ratio | voxkern, ms | scipy.signal | ratio |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    for name, size, kernel in CASES:
        x, weights = rng.random(size, np.float32), rng.random(kernel, np.float32)
        cells = []
        for pair in (images, signals):
            ours, theirs = least(pair(x, weights), rounds)
            cells += [f"{ours:.3g}", f"{theirs:.3g}", f"{theirs / ours:.3g}"]
        print(f"| {name} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
