"""Steps and sequences of recurrent cells, beside torch."""

import numpy as np

import voxkern
from voxkern import recurrent

from . import installed_torch, needs_torch, ratio

BATCH, FEATURES, STEPS = 64, 512, 20
GATES = {"rnn": 1, "lstm": 4, "gru": 3}


class Recurrent:
    params = tuple(GATES)
    param_names = ("kind",)

    def setup(self, kind):
        voxkern.set_num_threads(1)
        rng = np.random.default_rng(0)
        rows = GATES[kind] * FEATURES
        self.x = rng.standard_normal((STEPS, BATCH, FEATURES), np.float32)
        h, c = rng.standard_normal((2, 1, BATCH, FEATURES), np.float32)
        self.hx = (h, c) if kind == "lstm" else h
        self.first = (h[0], c[0]) if kind == "lstm" else h[0]
        self.weights = tuple(rng.standard_normal((rows, FEATURES), np.float32) / 20 for _ in "ih")
        self.weights += tuple(rng.standard_normal(rows, np.float32) for _ in "ih")
        self.grad = rng.standard_normal((STEPS, BATCH, FEATURES), np.float32)

    def time_cell(self, kind):
        getattr(recurrent, f"{kind}_cell")(self.x[0], self.first, *self.weights)

    def time_sequence(self, kind):
        getattr(recurrent, kind)(self.x, self.hx, [self.weights])

    def time_backward(self, kind):
        backward = getattr(recurrent, f"{kind}_backward")
        backward(self.grad, None, self.x, self.hx, [self.weights])

    def peakmem_backward(self, kind):
        self.time_backward(kind)

    def peer(self, kind):
        """torch, and our arrays as its tensors."""
        torch = installed_torch()
        tensors = [torch.from_numpy(a) for a in (self.x, *self.weights)]
        states = self.hx if kind == "lstm" else (self.hx,)
        return torch, tensors, [torch.from_numpy(s) for s in states]

    def track_cell_ratio(self, kind):
        torch, (x, *weights), states = self.peer(kind)
        name = "rnn_tanh" if kind == "rnn" else kind
        state = tuple(s[0] for s in states) if kind == "lstm" else states[0][0]

        def theirs():
            with torch.no_grad():
                getattr(torch, f"{name}_cell")(x[0], state, *weights)

        return ratio(lambda: self.time_cell(kind), theirs)

    track_cell_ratio.setup = needs_torch

    def track_training_ratio(self, kind):
        """Forward and backward: our backward pass is both."""
        torch, (x, *weights), states = self.peer(kind)
        layer = getattr(torch.nn, kind.upper())(FEATURES, FEATURES)
        for parameter, weight in zip(layer.parameters(), weights):
            parameter.data = weight
        x = x.clone().requires_grad_()
        state, grad = tuple(states) if kind == "lstm" else states[0], torch.from_numpy(self.grad)

        def theirs():
            output, _ = layer(x, state)
            torch.autograd.grad(output, [x, *layer.parameters()], grad)

        return ratio(lambda: self.time_backward(kind), theirs)

    track_training_ratio.setup = needs_torch
