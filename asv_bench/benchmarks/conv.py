"""Convolution on the shapes of video networks, MRI and segmentation, beside torch."""

import numpy as np

import voxkern

from . import installed_torch, ratio

# name: (input, output channels, kernel, stride, padding, groups)
SHAPES = {
    "C3D stem": ((1, 3, 16, 112, 112), 64, (3, 3, 3), 1, 1, 1),
    "R(2+1)D stem": ((1, 3, 16, 112, 112), 64, (3, 7, 7), (1, 2, 2), (1, 3, 3), 1),
    "64 channels": ((1, 64, 16, 56, 56), 64, (3, 3, 3), 1, 1, 1),
    "64 to 128, stride 2": ((1, 64, 16, 56, 56), 128, (3, 3, 3), 2, 1, 1),
    "128 channels": ((1, 128, 8, 28, 28), 128, (3, 3, 3), 1, 1, 1),
    "256 channels": ((1, 256, 4, 14, 14), 256, (3, 3, 3), 1, 1, 1),
    "512 channels": ((1, 512, 2, 7, 7), 512, (3, 3, 3), 1, 1, 1),
    "MRI": ((1, 1, 128, 128, 128), 32, (3, 3, 3), 1, 1, 1),
    "U-Net": ((1, 32, 64, 64, 64), 32, (3, 3, 3), 1, 1, 1),
    "pointwise": ((1, 64, 16, 56, 56), 256, (1, 1, 1), 1, 0, 1),
    "pointwise to 4": ((1, 32, 96, 96, 96), 4, (1, 1, 1), 1, 0, 1),
    "depthwise": ((1, 54, 16, 56, 56), 54, (3, 3, 3), 1, 1, 54),
    "kernel 5": ((1, 16, 48, 48, 48), 16, (5, 5, 5), 1, 0, 1),
    "2-D 64 channels": ((1, 64, 56, 56), 64, (3, 3), 1, 1, 1),
    "2-D 256 channels": ((1, 256, 14, 14), 256, (3, 3), 1, 1, 1),
    "2-D stem": ((1, 3, 224, 224), 64, (7, 7), 2, 3, 1),
    "2-D pointwise": ((1, 512, 28, 28), 128, (1, 1), 1, 0, 1),
}


class Conv:
    params = list(SHAPES)
    param_names = ("shape",)

    def setup(self, name):
        voxkern.set_num_threads(1)
        shape, outputs, kernel, *window, groups = SHAPES[name]
        rng = np.random.default_rng(0)
        self.axes = len(kernel)
        self.x = rng.standard_normal(shape, dtype=np.float32)
        self.weight = rng.standard_normal((outputs, shape[1] // groups, *kernel), np.float32)
        self.rest = (*window, 1, groups)
        self.conv = getattr(voxkern, f"conv{self.axes}d")
        self.out = self.conv(self.x, self.weight, None, *self.rest)
        self.backward = getattr(voxkern, f"conv{self.axes}d_backward")

    def time_conv(self, name):
        self.conv(self.x, self.weight, None, *self.rest, out=self.out)

    def time_conv_im2col(self, name):
        self.conv(self.x, self.weight, None, *self.rest, algorithm="im2col", out=self.out)

    def time_backward(self, name):
        self.backward(self.out, self.x, self.weight, *self.rest)

    def peakmem_conv(self, name):
        self.conv(self.x, self.weight, None, *self.rest, out=self.out)


class Torch:
    params = list(SHAPES)
    param_names = ("shape",)

    def setup(self, name):
        torch = installed_torch()
        self.ours = Conv()
        self.ours.setup(name)
        self.x, self.weight = torch.from_numpy(self.ours.x), torch.from_numpy(self.ours.weight)
        self.conv = getattr(torch.nn.functional, f"conv{self.ours.axes}d")

    def track_conv_ratio(self, name):
        """torch has no `out=` for convolution: ours is timed without one too."""
        ours = self.ours
        return ratio(
            lambda: ours.conv(ours.x, ours.weight, None, *ours.rest),
            lambda: self.conv(self.x, self.weight, None, *ours.rest),
        )
