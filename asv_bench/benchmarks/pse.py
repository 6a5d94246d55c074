"""The photosensitivity analysis of frames in memory: two profiles, 1280x720."""

import numpy as np

from voxkern.pse import analyze


class Analyze:
    params = ["pan", "static", "flashing"]
    param_names = ["content"]

    def setup(self, content):
        rng = np.random.default_rng(7)
        scene = np.repeat(np.repeat(rng.integers(40, 200, (90, 200, 3)), 8, 0), 8, 1)
        step = {"pan": 3, "static": 0, "flashing": 0}[content]
        self.clip = np.empty((40, 720, 1280, 3), np.uint8)
        for i in range(40):
            self.clip[i] = scene[:, step * i : step * i + 1280]
        if content == "flashing":
            self.clip[np.arange(40) // 3 % 2 == 1] = 255

    def time_two_profiles(self, content):
        analyze(self.clip, 30, ["wcag22", "bt1702"])
