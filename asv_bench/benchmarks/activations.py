"""Activation functions, beside NumPy and torch."""

import numpy as np

from voxkern import activations, reference, set_num_threads

from . import installed_torch, needs_torch, ratio

CASES = {
    "relu": (10**6,),
    "leaky_relu": (10**6,),
    "elu": (10**6,),
    "sigmoid": (10**6,),
    "tanh": (10**6,),
    "softmax": (4096, 1000),
    "log_softmax": (4096, 1000),
}


class Activations:
    params = tuple(CASES)
    param_names = ("function",)

    def setup(self, name):
        set_num_threads(1)
        rng = np.random.default_rng(0)
        self.x, self.grad = rng.standard_normal((2, *CASES[name]), np.float32)
        self.out = np.empty_like(self.x)
        self.given = getattr(activations, name)(self.x)  # x, or the result, in the gradients

    def time_forward(self, name):
        getattr(activations, name)(self.x, out=self.out)

    def time_backward(self, name):
        getattr(activations, f"{name}_backward")(self.grad, self.given, out=self.out)

    def track_ratio_to_numpy(self, name):
        oracle = getattr(reference.activations, name)
        return ratio(lambda: self.time_forward(name), lambda: oracle(self.x, out=self.out))

    def track_ratio_to_torch(self, name):
        torch = installed_torch()
        x, out = torch.from_numpy(self.x), torch.from_numpy(np.empty_like(self.x))
        theirs = {
            "relu": lambda: torch.ops.aten.relu.out(x, out=out),
            "leaky_relu": lambda: torch.ops.aten.leaky_relu.out(x, 0.01, out=out),
            "elu": lambda: torch.ops.aten.elu.out(x, out=out),
            "sigmoid": lambda: torch.sigmoid(x, out=out),
            "tanh": lambda: torch.tanh(x, out=out),
            "softmax": lambda: torch._softmax(x, 1, False, out=out),
            "log_softmax": lambda: torch._log_softmax(x, 1, False, out=out),
        }[name]
        return ratio(lambda: self.time_forward(name), theirs)

    track_ratio_to_torch.setup = needs_torch
