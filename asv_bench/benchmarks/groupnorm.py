"""Normalisation within a sample, beside NumPy and torch."""

import numpy as np

import voxkern

from . import installed_torch, ratio

# Shape, arguments after x, shape of the weights.
CASES = {
    "group_norm": ((4, 64, 32, 56, 56), (8,), (64,)),
    "instance_norm": ((2, 32, 64, 64, 64), (), (32,)),
    "layer_norm": ((64, 197, 768), ((768,),), (768,)),
}


class GroupNorm:
    params = tuple(CASES)
    param_names = ("function",)

    def setup(self, name):
        voxkern.set_num_threads(1)
        shape, self.rest, of_weight = CASES[name]
        rng = np.random.default_rng(0)
        self.x, self.grad = (rng.standard_normal(shape, dtype=np.float32) for _ in range(2))
        self.weight, self.bias = rng.standard_normal((2, *of_weight), np.float32)
        self.out = np.empty_like(self.x)

    def forward(self, module, name, **where):
        affine = {"weight": self.weight, "bias": self.bias}
        return getattr(module, name)(self.x, *self.rest, **affine, **where)

    def time_forward(self, name):
        self.forward(voxkern, name, out=self.out)

    def time_backward(self, name):
        backward = getattr(voxkern, f"{name}_backward")
        backward(self.grad, self.x, *self.rest, self.weight, out=self.out)

    def track_ratio_to_numpy(self, name):
        return ratio(
            lambda: self.time_forward(name),
            lambda: self.forward(voxkern.reference, name, out=self.out),
        )


class Torch:
    """torch has no `out=` here: results come in fresh memory, and so do ours."""

    params = tuple(CASES)
    param_names = ("function",)

    def setup(self, name):
        torch = installed_torch()
        self.ours = ours = GroupNorm()
        ours.setup(name)
        self.x, weight, bias = (
            torch.from_numpy(a).requires_grad_() for a in (ours.x, ours.weight, ours.bias)
        )
        self.affine = {"weight": weight, "bias": bias}
        self.theirs = getattr(torch.nn.functional, name)
        self.torch = torch

    def track_forward_ratio(self, name):
        def peer():
            with self.torch.no_grad():
                self.theirs(self.x, *self.ours.rest, **self.affine)

        return ratio(lambda: self.ours.forward(voxkern, name), peer)

    def track_backward_ratio(self, name):
        ours, grad = self.ours, self.torch.from_numpy(self.ours.grad)
        result = self.theirs(self.x, *ours.rest, **self.affine)
        leaves = self.x, *self.affine.values()
        backward = getattr(voxkern, f"{name}_backward")
        return ratio(
            lambda: backward(ours.grad, ours.x, *ours.rest, ours.weight),
            lambda: self.torch.autograd.grad(result, leaves, grad, retain_graph=True),
        )
