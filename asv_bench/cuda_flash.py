"""Speed of flash tables on a GPU: frames that lie there, and frames that come from the host.

    python asv_bench/cuda_flash.py

GB/s of frames read, beside those that a copy from device to device reads and writes together, and
beside copies from pinned memory alone. Best of several runs, by the GPU's events.
"""

import numpy as np
from numba import cuda

import voxkern

FRAME = (1080, 1920, 3)
CASES = [("uint8", FRAME), ("uint8", FRAME[:2]), ("uint16", FRAME), ("float32", FRAME)]


def seconds(call, runs=7):
    """The least time of `call` on the GPU."""
    best = np.inf
    call()
    for _ in range(runs):
        start, stop = cuda.event(), cuda.event()
        start.record()
        call()
        stop.record()
        stop.synchronize()
        best = min(best, start.elapsed_time(stop) / 1000)
    return best


def noise(count, shape, dtype):
    """Noise of 0 to 255 that differs from frame to frame."""
    frame = np.random.default_rng(0).integers(0, 256, shape, "uint8").astype(dtype)
    return np.stack([np.roll(frame, 7919 * i) for i in range(count)])


def copy_speed(size=2**31):
    """GB/s that a copy on the device reads and writes."""
    source, target = cuda.device_array(size, "u1"), cuda.device_array(size, "u1")
    return 2 * size / 1e9 / seconds(lambda: target.copy_to_device(source))


def resident(dtype, shape, size=2**31):
    """GB/s of frames on the device, about `size` bytes of them: noise and a static scene."""
    count = size // (np.dtype(dtype).itemsize * int(np.prod(shape)))
    frames = cuda.device_array((count, *shape), dtype)
    moving = noise(16, shape, dtype)
    speeds = []
    for clip in (moving, np.repeat(moving[:1], 16, axis=0)):
        for at in range(0, count, 16):
            part = clip[: count - at]
            frames[at : at + len(part)].copy_to_device(part)
        speeds.append(frames.nbytes / 1e9 / seconds(lambda: voxkern.flash_table(frames)))
    return speeds


def streamed(size=2**31):
    """GB/s of frames that come from pinned memory, and of that copy alone."""
    count = size // int(np.prod(FRAME))
    frames = cuda.pinned_array((count, *FRAME), np.uint8)
    for at in range(count):
        frames[at] = at
    table = voxkern.FlashTable(device=True)
    target = cuda.device_array(frames.shape, frames.dtype)
    calls = lambda: table.push(frames), lambda: target.copy_to_device(frames)
    return [frames.nbytes / 1e9 / seconds(call) for call in calls]


def main():
    print(cuda.get_current_device().name.decode())
    copied = copy_speed()
    print(f"device to device copy: {copied:.0f} GB/s, read and written")
    for dtype, shape in CASES:
        moving, static = resident(dtype, shape)
        kind = "RGB" if len(shape) == 3 else "gray"
        print(
            f"flash_table, {kind} of {dtype}: noise {moving:.0f} GB/s, {moving / copied:.0%}; "
            f"static {static:.0f} GB/s, {static / copied:.0%}"
        )
    through, alone = streamed()
    print(f"FlashTable(device=True): {through:.1f} GB/s; the copy alone {alone:.1f}")


if __name__ == "__main__":
    main()
