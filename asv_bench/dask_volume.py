"""A volume larger than memory through voxkern.dask's conv3d and max_pool3d, beside one that fits.

    python asv_bench/dask_volume.py [--gb 8] [--limit 2] [--threads 1]

The volume is float32, in chunks of 32 planes of 512x512, made as they are needed: two kinds, in
turn. So a shorter volume in memory has every block of the result, and all are compared with it, bit
by bit. The limit is one of the process's data (RLIMIT_DATA, in GB): beyond it, allocation fails.
Runs in memory come between parts of the run by blocks: both have the machine as it is at the time.
With `--out` the convolution in memory writes into an array that is there already; no block has one.
"""

import argparse
import resource
import time

import dask
import dask.array as da
import numpy as np

import voxkern
import voxkern.dask

SIZE, DEPTH, KINDS, SHORT, PARTS = 512, 32, 2, 4, 4
CHUNKS = np.random.default_rng(0).standard_normal((KINDS, DEPTH, SIZE, SIZE), np.float32)
WEIGHT = np.random.default_rng(1).standard_normal((8, 1, 3, 3, 3), np.float32)


class Compared:
    """Where blocks of the result go: each must be that of the short volume's result."""

    def __init__(self, short, chunks):
        self.short, self.chunks, self.seen = short, chunks, 0

    def __setitem__(self, where, block):
        first = where[2].start // (DEPTH // 2)
        last = first == self.chunks - 1
        chunk = SHORT - 1 if last else (first - 1) % KINDS + 1 if first else 0
        planes = slice(chunk * DEPTH // 2, (chunk + 1) * DEPTH // 2)
        assert np.array_equal(block, self.short[:, :, planes]), first
        self.seen += 1


def volume(chunks):
    def made(block_info=None):
        return CHUNKS[block_info[None]["chunk-location"][2] % KINDS][None, None]

    sizes = ((1,), (1,), (DEPTH,) * chunks, (SIZE,), (SIZE,))
    return da.map_blocks(made, chunks=sizes, dtype=np.float32, meta=np.empty((0,) * 5, np.float32))


def network(module, x, **out):
    y = module.conv3d(x, WEIGHT, padding=1, activation="relu", **out)
    return module.max_pool3d(y, 2)


def timed(function, *args, **kwargs):
    """Seconds by the clock on the wall and of the CPU."""
    start = time.perf_counter(), time.process_time()
    function(*args, **kwargs)
    return np.subtract((time.perf_counter(), time.process_time()), start)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--gb", type=float, default=8)
    parser.add_argument("--limit", type=float, default=2)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", action="store_true")
    options = parser.parse_args()
    voxkern.set_num_threads(options.threads)
    dask.config.set(scheduler="synchronous")
    limit = int(options.limit * 1e9)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))

    piece = volume(SHORT).compute()
    short = network(voxkern, piece)
    there = {}
    if options.out:
        there["out"] = np.zeros((1, len(WEIGHT), *piece.shape[2:]), np.float32)
    chunks = int(options.gb * 1e9 / CHUNKS[0].nbytes) // KINDS * KINDS + SHORT % KINDS
    result = network(voxkern.dask, volume(chunks))

    def compared():
        assert np.array_equal(network(voxkern, piece, **there), short)

    target, planes = Compared(short, chunks), result.shape[2]
    blocked, in_memory = [], []
    for part in np.array_split(np.arange(planes).reshape(chunks, -1), PARTS):
        own = (slice(None), slice(None), slice(part[0, 0], part[-1, -1] + 1))
        blocked.append(timed(da.store, result[own], target, regions=own, lock=False))
        in_memory.append(timed(compared))
    assert target.seen == chunks
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    voxels = chunks * CHUNKS[0].size
    print(f"{voxels * 4e-9:.2f} GB by {chunks} blocks, peak {peak:.2f} GB; Mvoxel/s:")
    for name, ours, whole in zip(("wall", "CPU"), np.sum(blocked, 0), np.sum(in_memory, 0)):
        ours, whole = voxels / ours / 1e6, PARTS * piece.size / whole / 1e6
        print(f"{name:4} {ours:.0f}, in memory {whole:.0f}: {ours / whole:.2f}")


if __name__ == "__main__":
    main()
