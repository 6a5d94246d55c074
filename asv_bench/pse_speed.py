"""Frames per second of the photosensitivity analysis without decoding, beside a plain read.

python asv_bench/pse_speed.py [--size 1920x1080] [--frames 60] [--video FILE]

Each content is analysed with two profiles by one and by two threads, in turns; the best run counts.
The plain read takes the largest byte of every frame.
"""

import argparse
import time

import numpy as np

import voxkern
from voxkern.pse import analyze

PROFILES = ["wcag22", "bt1702"]


def contents(width, height, count, video=None):
    """Clips by name, ``(F, H, W, 3)`` uint8."""
    clips = {
        "natural": natural(width, height, count),
        "static": np.repeat(natural(width, height, 1), count, axis=0),
        "all flashing": flashing(width, height, count),
        "red flashing": flashing(width, height, count, (230, 10, 10)),
    }
    if video:
        clips["video"] = decoded(video, width, height, count)
    return clips


def natural(width, height, count):
    """A textured scene (amplitudes as 1/f) that pans by 3 pixels a frame, with sensor noise."""
    rng = np.random.default_rng(7)
    rows, columns = height, width + 3 * count
    frequency = np.hypot(np.fft.fftfreq(rows)[:, None], np.fft.rfftfreq(columns)[None])
    frequency[0, 0] = 1

    def texture():
        waves = np.fft.rfft2(rng.standard_normal((rows, columns))) / frequency**1.2
        waves = np.fft.irfft2(waves, (rows, columns))
        return waves / waves.std()

    gray = texture()
    scene = 110 + np.stack([40 * gray + 10 * texture() for _ in range(3)], axis=2)
    noise = rng.normal(0, 1.5, (4, height, width, 3))
    clip = np.empty((count, height, width, 3), np.uint8)
    for i in range(count):
        clip[i] = np.clip(scene[:, 3 * i : 3 * i + width] + noise[i % 4], 0, 255)
    return clip


def flashing(width, height, count, colour=(255, 255, 255)):
    """Every pixel on and off, 5 times a second at 30 frames per second."""
    on = np.arange(count) // 3 % 2 == 1
    clip = np.zeros((count, height, width, 3), np.uint8)
    clip[on] = colour
    return clip


def decoded(path, width, height, count):
    """The first frames of a file, scaled."""
    import av

    with av.open(path) as container:
        frames = [
            frame.reformat(width, height, "rgb24").to_ndarray()
            for frame, _ in zip(container.decode(video=0), range(count))
        ]
    return np.stack(frames)


def plain(clip):
    """The largest byte, which reads each once."""
    return max(int(frame.max()) for frame in clip)


def rate(function, clip, tries=3):
    """Frames per second of the best try."""
    best = np.inf
    for _ in range(tries):
        begin = time.perf_counter()
        function(clip)
        best = min(best, time.perf_counter() - begin)
    return len(clip) / best


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--size", default="1920x1080")
    parser.add_argument("--frames", type=int, default=60)
    parser.add_argument("--video")
    options = parser.parse_args()
    width, height = map(int, options.size.split("x"))
    for name, clip in contents(width, height, options.frames, options.video).items():
        line = [f"{name:14}", f"plain read {rate(plain, clip):6.0f}"]
        for threads in (1, 2):
            voxkern.set_num_threads(threads)
            fps = rate(lambda c: analyze(c, 30, PROFILES), clip)
            line.append(f"{threads} thread{'s' * (threads > 1)} {fps:6.0f}")
        print(" | ".join(line), "frames/s")


if __name__ == "__main__":
    main()
