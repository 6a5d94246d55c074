"""Upsampling by 2 and its gradient, beside NumPy and torch; fresh results on both sides."""

import numpy as np

import voxkern

from . import installed_torch, needs_torch, ratio

CASES = {
    "nearest": (8, 64, 56, 56),
    "bilinear": (8, 64, 56, 56),
    "trilinear": (1, 32, 16, 56, 56),
}


class Upsample:
    params = tuple(CASES)
    param_names = ("mode",)

    def setup(self, mode):
        rng = np.random.default_rng(0)
        self.how = {"scale_factor": 2, "mode": mode}
        self.x = rng.standard_normal(CASES[mode], np.float32)
        self.grad = rng.standard_normal(voxkern.upsample(self.x, **self.how).shape, np.float32)

    def forward(self, module):
        module.upsample(self.x, **self.how)

    def backward(self, module):
        module.upsample_backward(self.grad, self.x.shape[2:], **self.how)

    def time_forward(self, mode):
        self.forward(voxkern)

    def time_backward(self, mode):
        self.backward(voxkern)

    def peakmem_forward(self, mode):
        self.forward(voxkern)

    def track_ratio_to_numpy(self, mode):
        return ratio(lambda: self.forward(voxkern), lambda: self.forward(voxkern.reference))

    def track_forward_ratio(self, mode):
        torch = installed_torch()
        x = torch.from_numpy(self.x)
        peer = torch.nn.functional.interpolate
        return ratio(lambda: self.forward(voxkern), lambda: peer(x, **self.how))

    track_forward_ratio.setup = needs_torch

    def track_backward_ratio(self, mode):
        torch = installed_torch()
        x, grad = torch.from_numpy(self.x).requires_grad_(), torch.from_numpy(self.grad)
        y = torch.nn.functional.interpolate(x, **self.how)
        return ratio(
            lambda: self.backward(voxkern),
            lambda: torch.autograd.grad(y, x, grad, retain_graph=True),
        )

    track_backward_ratio.setup = needs_torch
