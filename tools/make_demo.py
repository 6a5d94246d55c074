"""Render the data of `voxkern demo`: a clip with a strobe in it, and a head-like volume.

    python tools/make_demo.py          (needs PyAV with libx264)

Nothing is random but a seeded noise, so a second run writes the same pictures.
"""

from pathlib import Path

import av
import numpy as np

DATA = Path(__file__).parents[1] / "src/voxkern/data"
RATE, SECONDS, HEIGHT, WIDTH = 25, 8, 180, 320
SHAPE = 56, 72, 60  # of the volume: depth, height, width
STROBE = range(80, 120)  # frames: 3.2 s to 4.8 s, on and off in turn (12.5 flashes a second)


def disc(y, x, radius):
    """Coverage of every pixel by a disc, its edge one pixel soft."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    return np.clip(radius + 0.5 - np.hypot(rows - y, columns - x), 0, 1)[..., None]


def over(picture, coverage, colour):
    """`colour` laid over the picture."""
    return picture + coverage * (np.asarray(colour) - picture)


def frame(number):
    """One RGB frame: hills pan, a ball bounces, clouds drift; the lamp flashes in STROBE."""
    t = number / RATE
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    sky = np.linspace(0, 1, HEIGHT)[:, None, None]
    picture = (1 - sky) * (92, 134, 186) + sky * (168, 178, 190) + np.zeros((HEIGHT, WIDTH, 3))
    for cloud in range(3):
        x = (cloud * 130 + 14 * t) % (WIDTH + 80) - 40
        for dx, radius in ((-16, 9), (0, 13), (16, 9)):
            picture = over(picture, 0.5 * disc(30 + 14 * cloud, x + dx, radius), (190, 196, 202))
    for base, height, speed, colour in ((118, 14, 12, (96, 128, 96)), (140, 10, 30, (74, 104, 70))):
        ridge = base - height * np.sin((columns + speed * t) / 37) * np.cos(columns / 91)
        picture = over(picture, np.clip(rows - ridge, 0, 1)[..., None], colour)
    bounce = 132 - 52 * abs(np.sin(2.2 * t))
    picture = over(picture, disc(bounce, 30 + 32 * t, 13), (176, 92, 64))
    lit = number in STROBE and number % 2 == 0
    picture = over(picture, disc(62, 236, 30), (255, 255, 250) if lit else (52, 54, 62))
    return np.rint(picture).astype(np.uint8)


def write_clip(path):
    """Encode the frames as H.264 in MP4, its index first."""
    with av.open(path, "w", options={"movflags": "faststart"}) as container:
        stream = container.add_stream("libx264", rate=RATE, options={"crf": "21"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for number in range(RATE * SECONDS):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame(number), format="rgb24")))
        container.mux(stream.encode())


def ellipsoid(centre, radii, tilt=0.0):
    """Share of every voxel that lies in an ellipsoid, turned in its axial plane; soft edges."""
    z, y, x = np.meshgrid(*[np.linspace(-1, 1, n) for n in SHAPE], indexing="ij")
    z, y, x = z - centre[0], y - centre[1], x - centre[2]
    y, x = y * np.cos(tilt) - x * np.sin(tilt), y * np.sin(tilt) + x * np.cos(tilt)
    radius = np.sqrt((z / radii[0]) ** 2 + (y / radii[1]) ** 2 + (x / radii[2]) ** 2)
    return np.clip((1 - radius) * min(radii) * min(SHAPE) / 2 + 0.5, 0, 1)


def volume():
    """A head in the manner of Shepp and Logan (1974): scalp, skull, brain, ventricles, lesions."""
    head = np.zeros(SHAPE)
    for centre, radii, tilt, value in (
        ((0, 0, 0), (0.92, 0.94, 0.80), 0, 120),
        ((0, 0, 0), (0.86, 0.88, 0.74), 0, 30),
        ((0, 0, 0), (0.80, 0.82, 0.68), 0, 150),
        ((0, 0, 0), (0.66, 0.68, 0.54), 0, 185),
        ((0.05, 0, 0.20), (0.30, 0.34, 0.10), 0.3, 60),
        ((0.05, 0, -0.20), (0.30, 0.38, 0.12), -0.3, 60),
        ((0.25, -0.42, 0), (0.16, 0.14, 0.16), 0, 220),
        ((-0.30, 0.40, 0.12), (0.10, 0.08, 0.08), 0, 235),
        ((-0.30, 0.38, -0.18), (0.07, 0.06, 0.09), 0.5, 95),
    ):
        head += ellipsoid(centre, radii, tilt) * (value - head)
    noise = np.random.default_rng(1974).normal(0, 2.0, head.shape) * (head > 1)
    return np.rint(head + noise).clip(0, 255).astype(np.uint8)


if __name__ == "__main__":
    DATA.mkdir(exist_ok=True)
    write_clip(DATA / "strobe.mp4")
    np.savez_compressed(DATA / "head.npz", head=volume())
    for path in sorted(DATA.iterdir()):
        print(f"{path.name}: {path.stat().st_size / 1000:.0f} kB")
