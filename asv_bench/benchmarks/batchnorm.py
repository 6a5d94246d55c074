"""Batch normalisation of large and small feature maps, beside NumPy and torch."""

import numpy as np

import voxkern

from . import installed_torch, ratio

SHAPES = {
    "103 MB": (32, 64, 112, 112),
    "6 MB": (8, 64, 56, 56),
    "small maps": (64, 256, 7, 7),
    "volume": (1, 64, 16, 56, 56),
    "rows": (4096, 64),
}


class BatchNorm:
    params = tuple(SHAPES)
    param_names = ("shape",)

    def setup(self, name):
        voxkern.set_num_threads(1)
        shape = SHAPES[name]
        rng = np.random.default_rng(0)
        self.x, self.grad = (rng.standard_normal(shape, dtype=np.float32) for _ in range(2))
        self.weight, self.bias = rng.standard_normal((2, shape[1]), np.float32)
        self.running = np.zeros(shape[1], np.float32), np.ones(shape[1], np.float32)
        self.stats = voxkern.batch_norm_stats(self.x)
        self.out = np.empty_like(self.x)

    def time_training(self, name):
        voxkern.batch_norm(
            self.x, *self.running, self.weight, self.bias, training=True, out=self.out
        )

    def time_inference(self, name):
        voxkern.batch_norm(self.x, *self.running, self.weight, self.bias, out=self.out)

    def time_backward(self, name):
        voxkern.batch_norm_backward(self.grad, self.x, self.weight, *self.stats, out=self.out)

    def time_stats(self, name):
        voxkern.batch_norm_stats(self.x)

    def peakmem_training(self, name):
        self.time_training(name)

    def track_training_ratio_to_numpy(self, name):
        oracle = voxkern.reference.batch_norm

        def numpy():
            oracle(self.x, *self.running, self.weight, self.bias, training=True, out=self.out)

        return ratio(lambda: self.time_training(name), numpy)


class Torch:
    """torch with `out=` where it has one: its gradient comes in fresh memory, and so does ours."""

    params = tuple(SHAPES)
    param_names = ("shape",)

    def setup(self, name):
        torch = installed_torch()
        self.ours = ours = BatchNorm()
        ours.setup(name)
        arrays = (ours.x, ours.weight, ours.bias, *ours.running)
        self.given = [torch.from_numpy(a) for a in arrays]
        self.grad = torch.from_numpy(ours.grad)
        self.stats = [torch.from_numpy(a) for a in ours.stats]
        self.out = [torch.from_numpy(ours.out), *(torch.empty_like(s) for s in self.stats)]
        self.forward = torch.ops.aten.native_batch_norm.out
        self.backward = torch.ops.aten.native_batch_norm_backward

    def batch_norm(self, training):
        out = dict(zip(("out", "save_mean", "save_invstd"), self.out))
        self.forward(*self.given, training, 0.1, 1e-5, **out)

    def track_training_ratio(self, name):
        return ratio(lambda: self.ours.time_training(name), lambda: self.batch_norm(True))

    def track_inference_ratio(self, name):
        return ratio(lambda: self.ours.time_inference(name), lambda: self.batch_norm(False))

    def track_backward_ratio(self, name):
        ours, (x, weight, _, *running) = self.ours, self.given

        def peer():
            self.backward(
                self.grad, x, weight, *running, *self.stats, True, 1e-5, [True, True, True]
            )

        def fresh():
            voxkern.batch_norm_backward(ours.grad, ours.x, ours.weight, *ours.stats)

        return ratio(fresh, peer)
