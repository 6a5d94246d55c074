"""Dropout and its gradient, beside NumPy and torch; fresh results on both sides."""

import numpy as np

import voxkern

from . import installed_torch, needs_torch, ratio


class Dropout:
    def setup(self):
        voxkern.set_num_threads(1)
        self.x = np.random.default_rng(0).standard_normal((256, 4096), np.float32)
        self.mask = self.x > 0

    def time_forward(self):
        voxkern.dropout(self.x, rng=1)

    def time_backward(self):
        voxkern.dropout_backward(self.x, self.mask)

    def track_ratio_to_numpy(self):
        return ratio(self.time_forward, lambda: voxkern.reference.dropout(self.x, rng=1))

    def track_ratio_to_torch(self):
        torch = installed_torch()
        x = torch.from_numpy(self.x)
        return ratio(self.time_forward, lambda: torch.nn.functional.dropout(x))

    track_ratio_to_torch.setup = needs_torch
