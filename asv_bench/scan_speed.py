"""The whole scan of a 1080p H.264 clip beside decoding alone, and its peak memory.

    python asv_bench/scan_speed.py [VIDEO] [--seconds 60] [--profiles wcag22] [--threads 2]

Without VIDEO a clip is made: textures of natural statistics that pan, with grain.
Decoding has as many of libav's threads as cores may be used, what libav chooses, or as many as the
scan takes. All in turn, medians and best rounds.
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
from voxkern import facts, pse
from voxkern.pse import video

WIDTH, HEIGHT, RATE = 1920, 1080, 30


def scene(rng, height, width):
    """Gray of natural statistics, amplitudes as 1/f, from 16 to 235."""
    waves = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])
    waves[0, 0] = np.inf
    gray = np.fft.irfft2(np.fft.rfft2(rng.standard_normal((height, width))) / waves**1.2)
    return np.clip(115 + 25 * gray / gray.std(), 16, 235)


def make(path, seconds):
    """Encode a scene that pans to and fro behind another that moves its own way, with grain."""
    rng = np.random.default_rng(7)
    ground = scene(rng, HEIGHT, WIDTH + 600).astype(np.uint8)
    near = scene(rng, HEIGHT // 2, WIDTH // 3).astype(np.uint8)
    colours = [(scene(rng, HEIGHT // 2, WIDTH // 2) / 4 + 96).astype(np.uint8) for _ in range(2)]
    grain = rng.integers(-2, 3, (8, HEIGHT, WIDTH), np.int8)
    with av.open(str(path), "w") as container:
        options = {"crf": "20", "preset": "veryfast"}
        stream = container.add_stream("libx264", rate=RATE, options=options)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for index in range(seconds * RATE):
            left = round(300 + 300 * np.sin(index / 300))
            x, y = round(600 + 500 * np.sin(index / 250)), round(270 + 200 * np.cos(index / 200))
            luma = ground[:, left : left + WIDTH].copy()
            luma[y : y + near.shape[0], x : x + near.shape[1]] = near
            shown = av.VideoFrame(WIDTH, HEIGHT, "yuv420p")
            for plane, codes in zip(shown.planes, (luma + grain[index % 8], *colours)):
                lines = np.frombuffer(plane, np.uint8).reshape(plane.height, -1)
                lines[:, : plane.width] = codes
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
    parser.add_argument("--profiles", nargs="+", default=["wcag22"])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    voxkern.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as folder:
        path = options.video or Path(folder) / "clip.mp4"
        if not options.video:
            make(path, options.seconds)
        counts = {f"{n} threads": n for n in (options.threads, video.decoder_threads())}
        counts["libav's choice"] = 0
        sides = {f"decoding, {name}": lambda n=n: decode(path, n) for name, n in counts.items()}
        sides["planes"] = lambda: planes(path)
        sides["scan"] = lambda: pse.analyze(path, profile=options.profiles).frames
        seconds, cpu = ({name: [] for name in sides} for _ in range(2))
        for _ in range(options.rounds):
            for name, side in sides.items():
                wall, busy = time.perf_counter(), time.process_time()
                frames = side()
                seconds[name].append(time.perf_counter() - wall)
                cpu[name].append(time.process_time() - busy)
        print(f"{facts.cpu_model()}, {path.name}: {frames} frames, {options.threads} threads,")
        print(f"{options.profiles}; frames/s by the median and the best round, the scan's share")
        middle, best = ({n: frames / of(t) for n, t in seconds.items()} for of in (np.median, min))
        for name in sides:
            shares = (100 * rates["scan"] / rates[name] for rates in (middle, best))
            print(
                f"{name:>26}: {middle[name]:5.0f} {best[name]:5.0f}, {next(shares):4.0f} %"
                f" {next(shares):4.0f} %; {1000 * min(cpu[name]) / frames:.2f} ms of CPU a frame"
            )
        for seconds in 10, float("inf"):
            shown = "all" if seconds == float("inf") else f"{seconds} s"
            count, size = peak(path, f"float('{seconds}')", options.profiles, options.threads)
            print(f"peak memory, {shown:>5}: {count} frames, {size:.0f} MB")


if __name__ == "__main__":
    main()
