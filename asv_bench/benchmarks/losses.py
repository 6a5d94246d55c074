"""Losses beside NumPy and torch: cross-entropy with its gradient, means of single elements."""

from voxkern import bench, set_num_threads

from . import installed_torch, needs_torch, ratio


class CrossEntropy:
    def setup(self):
        set_num_threads(1)
        self.contenders = bench.cross_entropy(4096, 1000).contenders

    def time_loss_and_gradient(self):
        self.contenders["voxkern"]()

    def track_ratio_to_numpy(self):
        return ratio(self.contenders["voxkern"], self.contenders["NumPy oracle"])

    def track_ratio_to_torch(self):
        installed_torch()
        return ratio(self.contenders["voxkern"], self.contenders["torch"])

    track_ratio_to_torch.setup = needs_torch


class Means:
    params = bench.LOSSES
    param_names = ("function",)

    def setup(self, name):
        set_num_threads(1)
        self.contenders = bench.loss(name, 10**6).contenders

    def time_loss(self, name):
        self.contenders["voxkern"]()

    def track_ratio_to_numpy(self, name):
        return ratio(self.contenders["voxkern"], self.contenders["NumPy oracle"])

    def track_ratio_to_torch(self, name):
        installed_torch()
        return ratio(self.contenders["voxkern"], self.contenders["torch"])

    track_ratio_to_torch.setup = needs_torch
