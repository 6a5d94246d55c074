"""The flash table of 1280x720 RGB uint8 video, beside the exam's published NumPy solution."""

import numpy as np

import voxkern
from voxkern import reference

from . import ratio

FRAMES = 9
CONTENTS = ("noise", "natural", "static", "uniform flash", "gradient flash", "text on flash")


def video(content):
    """(FRAMES, 720, 1280, 3) uint8."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:720, :1280]
    frames = np.empty((FRAMES, 720, 1280, 3), np.uint8)
    hills = 128 + 80 * np.sin(x / 99) * np.cos(y / 77) + (x // 37 + y // 41) % 5 * 8
    for index, frame in enumerate(frames):
        bright = index % 2
        if content == "noise":
            frame[...] = rng.integers(0, 256, frame.shape)
        elif content == "natural":  # a moving scene with the noise of a sensor
            moved = np.roll(hills, 3 * index, axis=1)[..., None]
            frame[...] = np.clip(moved + rng.normal(0, 2, frame.shape), 0, 255)
        elif content == "static":
            frame[...] = hills[..., None]
        elif content == "uniform flash":  # all pixels tie
            frame[...] = 200 if bright else 40
        elif content == "gradient flash":  # near-ties
            frame[...] = ((x + y) / 8 * (1 if bright else 0.6))[..., None]
        else:  # steady bright pixels in every block
            page = np.where((x // 3 + y // 5) % 7, 140 if bright else 20, 255)
            frame[...] = page[..., None]
    return frames


class FlashTable:
    params = CONTENTS
    param_names = ("content",)

    def setup(self, content):
        voxkern.set_num_threads(1)
        self.frames = video(content)

    def time_batch(self, content):
        voxkern.flash_table(self.frames)

    def time_stream(self, content):
        table = voxkern.FlashTable()
        for frame in self.frames:
            table.push(frame)

    def time_curve_without_a_cubic(self, content):
        voxkern.flash_table(self.frames, curve=np.sqrt)

    def track_read_share(self, content):
        """Time of reading the same bytes over ours."""
        words = self.frames.reshape(-1).view(np.uint64)
        return ratio(lambda: voxkern.flash_table(self.frames), lambda: np.bitwise_or.reduce(words))

    def track_published_ratio(self, content):
        return ratio(
            lambda: voxkern.flash_table(self.frames),
            lambda: reference.flash_table(self.frames),
            seconds=4,  # half a second is but one run of the published solution
        )


class OtherFrames:
    params = ("uint8", "uint16", "float32", "float64")
    param_names = ("dtype",)

    def setup(self, dtype):
        voxkern.set_num_threads(1)
        self.frames = video("natural").astype(dtype)
        self.gray = np.ascontiguousarray(self.frames[..., 1])

    def time_rgb(self, dtype):
        voxkern.flash_table(self.frames)

    def time_gray(self, dtype):
        voxkern.flash_table(self.gray)

    def time_luminance(self, dtype):
        voxkern.luminance(self.gray)

    def track_gray_ratio(self, dtype):
        return ratio(
            lambda: voxkern.flash_table(self.gray), lambda: reference.flash_table(self.gray)
        )


class LargeK:
    params = (5, 100, 1000, 100_000)
    param_names = ("k",)

    def setup(self, k):
        voxkern.set_num_threads(1)
        self.frames = video("noise")

    def time_batch(self, k):
        voxkern.flash_table(self.frames, k)


class LongStream:
    """Peak memory is that of one frame, however long the stream."""

    params = (10, 300)
    param_names = ("frames",)

    def setup(self, frames):
        self.frame = video("noise")[:1]

    def peakmem_stream(self, frames):
        table = voxkern.FlashTable()
        for _ in range(frames):
            table.push(self.frame)
