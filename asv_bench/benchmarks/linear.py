"""The fully connected layer beside torch; fresh results on both sides."""

import numpy as np

import voxkern

from . import installed_torch, needs_torch, ratio


class Linear:
    def setup(self):
        rng = np.random.default_rng(0)
        self.x, self.weight, self.grad = (
            rng.standard_normal(shape, np.float32)
            for shape in ((256, 4096), (1000, 4096), (256, 1000))
        )
        self.bias = rng.standard_normal(1000, np.float32)

    def time_forward(self):
        voxkern.linear(self.x, self.weight, self.bias)

    def time_backward(self):
        voxkern.linear_backward(self.grad, self.x, self.weight)

    def track_forward_ratio(self):
        torch = installed_torch()
        given = [torch.from_numpy(a) for a in (self.x, self.weight, self.bias)]
        return ratio(self.time_forward, lambda: torch.nn.functional.linear(*given))

    track_forward_ratio.setup = needs_torch

    def track_backward_ratio(self):
        torch = installed_torch()
        leaves = [torch.from_numpy(a).requires_grad_() for a in (self.x, self.weight, self.bias)]
        y, grad = torch.nn.functional.linear(*leaves), torch.from_numpy(self.grad)
        return ratio(
            self.time_backward,
            lambda: torch.autograd.grad(y, leaves, grad, retain_graph=True),
        )

    track_backward_ratio.setup = needs_torch
