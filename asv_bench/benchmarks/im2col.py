"""im2col and col2im, beside torch's unfold and fold where those exist (two axes)."""

import numpy as np

import voxkern

from . import installed_torch, ratio

SHAPES = {
    "1d k5": ((8, 64, 3136), (5,), (1,), (2,)),
    "2d k3": ((8, 64, 56, 56), (3, 3), (1, 1), (1, 1)),
    "2d k3 s2": ((8, 64, 56, 56), (3, 3), (2, 2), (1, 1)),
    "3d k3": ((1, 16, 16, 56, 56), (3, 3, 3), (1, 1, 1), (1, 1, 1)),
}


class Im2col:
    params = list(SHAPES)
    param_names = ("shape",)

    def setup(self, name):
        voxkern.set_num_threads(1)
        shape, *self.window = SHAPES[name]
        self.x = np.random.default_rng(0).standard_normal(shape, dtype=np.float32)
        self.cols = voxkern.im2col(self.x, *self.window)
        self.back = np.empty_like(self.x)

    def time_im2col(self, name):
        voxkern.im2col(self.x, *self.window, out=self.cols)

    def time_col2im(self, name):
        voxkern.col2im(self.cols, self.x.shape[2:], *self.window, out=self.back)

    def peakmem_im2col(self, name):
        voxkern.im2col(self.x, *self.window, out=self.cols)


class Torch:
    params = [name for name in SHAPES if name.startswith("2d")]
    param_names = ("shape",)

    def setup(self, name):
        torch = installed_torch()
        self.ops = torch.ops.aten
        self.ours = Im2col()
        self.ours.setup(name)
        kernel_size, stride, padding = self.ours.window
        self.window = kernel_size, (1, 1), padding, stride
        self.x = torch.from_numpy(self.ours.x)
        self.cols = torch.from_numpy(self.ours.cols.copy())
        self.back = torch.empty_like(self.x)

    def track_im2col_ratio(self, name):
        return ratio(
            lambda: self.ours.time_im2col(name),
            lambda: self.ops.im2col.out(self.x, *self.window, out=self.cols),
        )

    def track_col2im_ratio(self, name):
        size = self.x.shape[2:]
        return ratio(
            lambda: self.ours.time_col2im(name),
            lambda: self.ops.col2im.out(self.cols, size, *self.window, out=self.back),
        )
