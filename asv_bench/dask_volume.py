"""A volume larger than memory through voxkern.dask's conv3d and max_pool3d, beside one that fits.

    python asv_bench/dask_volume.py [--gb 8] [--limit 2] [--threads 1]

The volume is float32, in chunks of 32 planes of 512x512, made as they are needed; results go to a
temporary file. The limit is one of the process's data (RLIMIT_DATA, in GB). The piece in memory has
64 planes; both are whole numbers, so their results are compared exactly.
"""

import argparse
import resource
import tempfile
import time

import dask
import dask.array as da
import numpy as np

import voxkern
import voxkern.dask

SIZE, DEPTH, PIECE = 512, 32, 64
WEIGHT = (np.arange(8 * 27, dtype=np.float32) % 5 - 2).reshape(8, 1, 3, 3, 3)
PLANES = np.random.default_rng(0).integers(0, 8, (1, 1, DEPTH, SIZE, SIZE)).astype(np.float32)


class File:
    """Where blocks of the result are written to, as an array of float32."""

    def __init__(self, file, shape):
        self.file, self.shape = file, shape

    def __setitem__(self, where, block):
        _, channels, planes, *_ = where
        for channel, part in zip(range(channels.start, channels.stop), block[0]):
            plane = channel * self.shape[2] + planes.start
            self.file.seek(plane * part[0].nbytes)
            part.tofile(self.file)


def made(block, block_info=None):
    """The planes of a chunk; no two neighbours are alike."""
    return PLANES[:, :, : block.shape[2]] + np.float32(block_info[0]["chunk-location"][2] % 3)


def network(module, x):
    y = module.conv3d(x, WEIGHT, padding=1, activation="relu")
    return module.max_pool3d(y, 2)


def volume(planes):
    chunks = (1, 1, DEPTH, SIZE, SIZE)
    zeros = da.zeros((1, 1, planes, SIZE, SIZE), chunks=chunks, dtype=np.float32)
    return zeros.map_blocks(made, dtype=np.float32)


def timed(function):
    """Seconds by the clock on the wall and of the CPU."""
    start = time.perf_counter(), time.process_time()
    function()
    return np.subtract((time.perf_counter(), time.process_time()), start)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--gb", type=float, default=8)
    parser.add_argument("--limit", type=float, default=2)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    voxkern.set_num_threads(options.threads)
    dask.config.set(scheduler="synchronous")
    limit = int(options.limit * 1e9)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))

    piece = volume(PIECE).compute()
    whole = network(voxkern, piece)
    with tempfile.TemporaryFile() as file:
        runs = [timed(lambda: network(voxkern, piece).tofile(file)) for _ in range(3)]
    in_memory = piece.size / np.min(runs, axis=0)
    planes = int(options.gb * 1e9 / (4 * SIZE * SIZE)) // DEPTH * DEPTH
    result = network(voxkern.dask, volume(planes))
    with tempfile.TemporaryFile() as file:
        target = File(file, result.shape)
        blocked = planes * SIZE * SIZE / timed(lambda: da.store(result, target, lock=False))
        # The piece's last windows reach its end, so those before them are compared.
        same = PIECE // 2 - 1
        for channel in range(len(WEIGHT)):
            file.seek(channel * result.shape[2] * result[0, 0, 0].nbytes)
            got = np.fromfile(file, np.float32, whole[0, 0, :same].size)
            assert np.array_equal(got, whole[0, channel, :same].ravel())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(f"{planes * SIZE * SIZE * 4e-9:.1f} GB by blocks, peak {peak:.2f} GB; Mvoxel/s:")
    for name, ours, whole in zip(("wall", "CPU"), blocked / 1e6, in_memory / 1e6):
        print(f"{name:4} {ours:.0f}, in memory {whole:.0f}: {ours / whole:.2f}")


if __name__ == "__main__":
    main()
