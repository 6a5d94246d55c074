"""Operations of Keras' NumPy backend with JAX, beside ours in their place: one core, wall time.

    taskset -c 1 python asv_bench/keras_ops.py [--rounds 7]

Needs Keras and JAX. A B A B, the least of each; channels last, float32, fresh results.
"""

import argparse
import functools
import os
import time

os.environ["KERAS_BACKEND"] = "numpy"

import numpy as np
from keras.src.backend.numpy import nn

import voxkern
import voxkern.keras

SAME = {"padding": "same"}
CASES = [
    ("conv", [(1, 32, 32, 32, 32), (3, 3, 3, 32, 32)], SAME),
    ("conv", [(1, 112, 112, 32), (3, 3, 32, 64)], SAME),
    ("conv", [(1, 56, 56, 64), (3, 3, 64, 64)], SAME),
    ("conv", [(1, 224, 224, 3), (7, 7, 3, 64)], SAME | {"strides": 2}),
    ("conv", [(1, 56, 56, 256), (1, 1, 256, 64)], {}),
    ("depthwise_conv", [(1, 112, 112, 64), (3, 3, 64, 1)], SAME),
    ("conv_transpose", [(1, 16, 16, 16, 64), (2, 2, 2, 32, 64)], {"strides": 2}),
    ("max_pool", [(1, 64, 64, 64, 16)], {"pool_size": 2, "strides": 2}),
    ("max_pool", [(1, 112, 112, 64)], SAME | {"pool_size": 3, "strides": 2}),
    ("average_pool", [(1, 112, 112, 64)], SAME | {"pool_size": 3, "strides": 2}),
    ("adaptive_average_pool", [(8, 28, 28, 64)], {"output_size": 7}),
    ("batch_normalization", [(8, 56, 56, 64), (64,), (64,)], {"axis": -1}),
]


def least(calls, rounds):
    """The least milliseconds of each of `calls`, which take turns."""
    found = [[] for _ in calls]
    for _ in range(rounds + 1):
        for times, call in zip(found, calls):
            start = time.perf_counter()
            call()
            times.append(1e3 * (time.perf_counter() - start))
    return [min(times[1:]) for times in found]


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    voxkern.set_num_threads(1)
    with_jax = {name: getattr(nn, name) for name, _, _ in CASES}
    voxkern.keras.patch()
    rng = np.random.default_rng(0)
    print("| | JAX, ms | voxkern, ms | ratio |")
    print("|---|---:|---:|---:|")
    for name, shapes, options in CASES:
        arrays = [rng.random(shape, np.float32) for shape in shapes]
        pair = with_jax[name], getattr(nn, name)
        calls = [functools.partial(f, *arrays, **options) for f in pair]
        theirs, ours = least(calls, rounds)
        what = " and ".join("x".join(map(str, shape)) for shape in shapes[:2])
        stride = ", stride 2" if options.get("strides") == 2 else ""
        print(f"| `{name}`, {what}{stride} | {theirs:.3g} | {ours:.3g} | {theirs / ours:.3g} |")


if __name__ == "__main__":
    main()
