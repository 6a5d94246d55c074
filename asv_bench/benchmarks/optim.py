"""Steps of the optimisers over 10 million parameters, beside NumPy and torch's fused ones."""

import numpy as np

import voxkern
from voxkern import optim

from . import installed_torch, needs_torch, ratio

# A function, how many averages it keeps, its other arguments, and torch's class.
CASES = {
    "sgd": (0, dict(lr=1e-3), "SGD", dict(lr=1e-3, fused=True)),
    "momentum": (1, dict(lr=1e-3), "SGD", dict(lr=1e-3, momentum=0.9, fused=True)),
    "rmsprop": (1, dict(lr=1e-3), "RMSprop", dict(lr=1e-3)),
    "adam": (2, dict(step=7), "Adam", dict(fused=True)),
    "adamw": (2, dict(step=7), "AdamW", dict(fused=True)),
}


class Optim:
    params = tuple(CASES)
    param_names = ("function",)

    def setup(self, name):
        voxkern.set_num_threads(1)
        kept, self.rest, *_ = CASES[name]
        rng = np.random.default_rng(0)
        self.lists = [[rng.random(10_000_000, np.float32)] for _ in range(2 + kept)]

    def step(self, module, name):
        getattr(module, name)(*self.lists, **self.rest)

    def time_step(self, name):
        self.step(optim, name)

    def peakmem_step(self, name):
        self.step(optim, name)

    def track_ratio_to_numpy(self, name):
        oracle = voxkern.reference.optim
        return ratio(lambda: self.step(optim, name), lambda: self.step(oracle, name))

    def track_ratio_to_torch(self, name):
        torch = installed_torch()
        _, _, theirs, options = CASES[name]
        weight = torch.from_numpy(self.lists[0][0].copy()).requires_grad_()
        weight.grad = torch.from_numpy(self.lists[1][0].copy())
        peer = getattr(torch.optim, theirs)([weight], **options)
        return ratio(lambda: self.step(optim, name), peer.step)

    track_ratio_to_torch.setup = needs_torch
