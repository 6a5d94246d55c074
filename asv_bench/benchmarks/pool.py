"""Pooling on the shapes of video and image networks, beside torch; one thread, `out=` given."""

import numpy as np

import voxkern

from . import installed_torch, ratio

# name: (input, kernel, stride, padding)
SHAPES = {
    "3-D kernel 2": ((1, 64, 16, 56, 56), 2, 2, 0),
    "3-D kernel 3, stride 2": ((1, 64, 16, 56, 56), 3, 2, 1),
    "3-D kernel 3, stride 1": ((1, 64, 16, 56, 56), 3, 1, 1),
    "2-D kernel 2": ((8, 64, 56, 56), 2, 2, 0),
    "2-D kernel 3, stride 2": ((8, 64, 56, 56), 3, 2, 1),
    "1-D kernel 3, stride 2": ((8, 64, 3136), 3, 2, 1),
}


class Pool:
    params = list(SHAPES)
    param_names = ("shape",)

    def setup(self, name):
        voxkern.set_num_threads(1)
        shape, kernel, stride, padding = SHAPES[name]
        self.axes = len(shape) - 2
        self.x = np.random.default_rng(0).standard_normal(shape, dtype=np.float32)
        self.window = kernel, stride, padding
        for family in ("max_pool", "avg_pool", "lp_pool", "adaptive_avg_pool", "max_unpool"):
            setattr(self, family, getattr(voxkern, f"{family}{self.axes}d"))
        self.max_backward = getattr(voxkern, f"max_pool{self.axes}d_backward")
        self.avg_backward = getattr(voxkern, f"avg_pool{self.axes}d_backward")
        self.pair = self.max_pool(self.x, *self.window, return_indices=True)
        self.out, self.indices = self.pair
        self.norms = self.lp_pool(self.x, 2, kernel, stride)
        self.size = shape[2:]
        self.unpooled = np.empty_like(self.x)

    def time_max_pool(self, name):
        self.max_pool(self.x, *self.window, out=self.out)

    def time_max_pool_with_indices(self, name):
        self.max_pool(self.x, *self.window, return_indices=True, out=self.pair)

    def time_avg_pool(self, name):
        self.avg_pool(self.x, *self.window, out=self.out)

    def time_lp_pool(self, name):
        self.lp_pool(self.x, 2, *self.window[:2], out=self.norms)

    def time_adaptive_avg_pool(self, name):
        self.adaptive_avg_pool(self.x, 7)

    def time_global_avg_pool(self, name):
        voxkern.global_avg_pool(self.x)

    def time_max_unpool(self, name):
        self.max_unpool(self.out, self.indices, *self.window, self.size, out=self.unpooled)

    def time_max_pool_backward(self, name):
        self.max_backward(self.out, self.indices, self.size)

    def time_avg_pool_backward(self, name):
        self.avg_backward(self.out, self.size, *self.window)

    def peakmem_max_pool(self, name):
        self.max_pool(self.x, *self.window, out=self.out)


class Torch:
    params = list(SHAPES)
    param_names = ("shape",)

    def setup(self, name):
        self.torch = torch = installed_torch()
        self.ours = Pool()
        self.ours.setup(name)
        axes = self.ours.axes
        if axes == 1:
            raise NotImplementedError("torch's 1-D pools take no out=")
        self.x = torch.from_numpy(self.ours.x)
        self.out = torch.from_numpy(self.ours.out)
        self.pair = self.out, torch.from_numpy(self.ours.indices)
        self.window = [[size] * axes for size in self.ours.window]
        self.max_pool = getattr(torch._C._nn, f"max_pool{axes}d_with_indices")
        self.avg_pool = getattr(torch._C._nn, f"avg_pool{axes}d")

    def track_max_pool_ratio(self, name):
        """torch's max pool on the CPU always finds the indices too."""
        return ratio(
            lambda: self.ours.time_max_pool(name),
            lambda: self.max_pool(self.x, *self.window, out=self.pair),
        )

    def track_max_pool_with_indices_ratio(self, name):
        return ratio(
            lambda: self.ours.time_max_pool_with_indices(name),
            lambda: self.max_pool(self.x, *self.window, out=self.pair),
        )

    def track_avg_pool_ratio(self, name):
        return ratio(
            lambda: self.ours.time_avg_pool(name),
            lambda: self.avg_pool(self.x, *self.window, out=self.out),
        )

    def track_max_pool_backward_ratio(self, name):
        """Fresh results on both sides."""
        grad, places = (array.clone() for array in self.pair)
        theirs = getattr(self.torch.ops.aten, f"max_pool{self.ours.axes}d_with_indices_backward")
        dilation = [1] * self.ours.axes
        return ratio(
            lambda: self.ours.time_max_pool_backward(name),
            lambda: theirs(grad, self.x, *self.window, dilation, False, places),
        )

    def track_avg_pool_backward_ratio(self, name):
        """Fresh results on both sides."""
        theirs = getattr(self.torch.ops.aten, f"avg_pool{self.ours.axes}d_backward")
        return ratio(
            lambda: self.ours.time_avg_pool_backward(name),
            lambda: theirs(self.out, self.x, *self.window, False, True, None),
        )
