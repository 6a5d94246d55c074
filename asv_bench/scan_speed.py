"""The whole scan of a 1080p H.264 clip beside decoding alone, and its peak memory.

    python asv_bench/scan_speed.py [VIDEO] [--seconds 60] [--profiles wcag22 bt1702] [--threads 2]

Without VIDEO a clip is made: textured shapes that drift over a textured ground, with film grain.
Both sides decode with the same number of libav's threads, interleaved, the best of three rounds.
Memory is the peak of a process of its own that scans 10 s and one that scans it all.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import av
import numpy as np

import voxkern
from voxkern import pse
from voxkern.pse import video

WIDTH, HEIGHT, RATE = 1920, 1080, 30


def texture(rng, height, width):
    """Gray of natural statistics: octaves of noise, the finer the weaker."""
    total = np.zeros((height, width), np.float32)
    for step in 4, 12, 40, 120, 360:
        coarse = rng.standard_normal((height // step + 2, width // step + 2)).astype(np.float32)
        rows, columns = np.arange(height) // step, np.arange(width) // step
        total += coarse[np.ix_(rows, columns)] * np.sqrt(step)
    return np.clip(110 + 6 * total, 16, 235).astype(np.uint8)


def make(path, seconds):
    """Encode the clip, crf 20."""
    rng = np.random.default_rng(1)
    ground = texture(rng, HEIGHT, WIDTH + 1200)
    shapes = [texture(rng, 400, 300) for _ in range(6)]
    grain = rng.integers(-3, 4, (8, HEIGHT, WIDTH), np.int8)
    chroma = texture(rng, HEIGHT // 2, WIDTH // 2) // 3 + 90
    with av.open(str(path), "w") as container:
        options = {"crf": "20", "preset": "veryfast"}
        stream = container.add_stream("libx264", rate=RATE, options=options)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for index in range(seconds * RATE):
            luma = ground[:, (left := index * 2 % 1200) : left + WIDTH] + grain[index % 8]
            for number, shape in enumerate(shapes):
                x = (300 * number + (number + 2) * index) % (WIDTH - 300)
                luma[100 * number : 100 * number + 400, x : x + 300] = shape
            shown = av.VideoFrame(WIDTH, HEIGHT, "yuv420p")
            for plane, codes in zip(shown.planes, (luma.astype(np.uint8), chroma, chroma.T)):
                lines = np.frombuffer(plane, np.uint8).reshape(plane.height, -1)
                lines[:, : plane.width] = np.resize(codes, (plane.height, plane.width))
            shown.pts = index
            container.mux(stream.encode(shown))
        container.mux(stream.encode())


def decode(path, threads):
    """Frames that libav decodes, each left at once."""
    count = 0
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.thread_type, stream.codec_context.thread_count = "AUTO", threads
        for _ in container.decode(stream):
            count += 1
    return count


def planes(path):
    """Frames as the analysis gets them, left at once."""
    return sum(1 for _ in video.clip(path))


def peak(path, seconds, profiles, threads):
    """Peak memory in MB of a process that scans the first `seconds`."""
    code = (
        "import itertools, resource, sys, voxkern; from voxkern import pse;"
        "from voxkern.pse import video, frames;"
        f"voxkern.set_num_threads({threads}); clip = video.clip({str(path)!r});"
        f"stop = {seconds};"
        "first = itertools.takewhile(lambda f: f.time < stop, clip);"
        f"report = pse.analyze(frames.Clip(first), profile={profiles!r});"
        "print(report.frames, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    frames, size = subprocess.check_output([sys.executable, "-c", code], text=True).split()
    unit = 1 << 20 if sys.platform == "darwin" else 1 << 10
    return int(frames), int(size) / unit


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("video", nargs="?", type=Path)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--profiles", nargs="+", default=["wcag22", "bt1702"])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    voxkern.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as folder:
        path = options.video or Path(folder) / "clip.mp4"
        if not options.video:
            make(path, options.seconds)
        sides = {
            "decoding alone": lambda: decode(path, options.threads),
            "planes": lambda: planes(path),
            "scan": lambda: pse.analyze(path, profile=options.profiles).frames,
        }
        best = dict.fromkeys(sides, float("inf"))
        for _ in range(options.rounds):
            for name, side in sides.items():
                begin = time.perf_counter()
                frames = side()
                best[name] = min(best[name], time.perf_counter() - begin)
        alone = best["decoding alone"]
        print(f"{path.name}: {frames} frames, {options.threads} threads, {options.profiles}")
        for name, seconds in best.items():
            print(f"{name:>15}: {frames / seconds:6.0f} frames/s, {100 * alone / seconds:4.0f} %")
        for seconds in 10, float("inf"):
            shown = "all" if seconds == float("inf") else f"{seconds} s"
            count, size = peak(path, f"float('{seconds}')", options.profiles, options.threads)
            print(f"peak memory, {shown:>5}: {count} frames, {size:.0f} MB")


if __name__ == "__main__":
    main()
