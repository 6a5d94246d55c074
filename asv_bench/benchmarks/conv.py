"""Convolution on the layers of `voxkern bench conv`, beside torch and onnxruntime."""

import voxkern
from voxkern import layers, timing

from . import installed_torch, ratio

NAMED = {layer.name: layer for layer in layers.VIDEO + layers.SEGMENTATION}
IMAGES = {layer.name: layer for layer in layers.IMAGES}
UNET = {"U-Net": NAMED["U-Net"]}
CUBED = {layer.name: layer for layer in layers.CUBED}
TRANSPOSED = {layer.name: layer for layer in layers.TRANSPOSED}


class Timed:
    """Contenders of one layer on one thread, as `calls`."""

    param_names = ("layer",)
    named, make = {}, None

    def setup(self, name):
        voxkern.set_num_threads(1)
        _, self.calls = type(self).make(self.named[name])


class Beside(Timed):
    """Beside `peer`; asv skips what raises NotImplementedError here."""

    peer = "torch"

    def setup(self, name):
        if self.peer == "torch":
            installed_torch()
        super().setup(name)
        if self.peer not in self.calls:
            raise NotImplementedError(f"{self.peer} is not installed")

    def ratio(self, ours):
        """The peer's time over ours."""
        return ratio(self.calls[ours], self.calls[self.peer])


class Conv(Timed):
    named, make, params = NAMED, layers.forward, [list(NAMED)]

    def time_plan(self, name):
        self.calls["plan"]()

    def time_call(self, name):
        self.calls["call"]()


class ConvBesideTorch(Beside):
    named, make, params = NAMED, layers.forward, [list(NAMED)]

    def track_plan_ratio(self, name):
        return self.ratio(layers.SAME_TERMS["torch"])

    def track_call_ratio(self, name):
        return self.ratio("call")


class ConvBesideOnnxruntime(Beside):
    named, make, params, peer = NAMED, layers.forward, [list(NAMED)], "onnxruntime"

    def track_plan_ratio(self, name):
        return self.ratio(layers.SAME_TERMS["onnxruntime"])


class Memory(Timed):
    """Of the whole process; `conv_memory.py` tells what the call itself needs."""

    named, make, params = UNET, layers.forward, [list(UNET)]

    def peakmem_call(self, name):
        self.calls["call"]()


class Images(Timed):
    named, make, params = IMAGES, layers.with_ncnn, [list(IMAGES)]

    def time_plan(self, name):
        self.calls["plan"]()


class ImagesBesideNcnn(Beside):
    named, make, params, peer = IMAGES, layers.with_ncnn, [list(IMAGES)], "ncnn"

    def track_plan_ratio(self, name):
        return self.ratio(layers.SAME_TERMS["ncnn"])


class Backward(Timed):
    named, make, params = CUBED, layers.backward, [list(CUBED)]

    def time_backward(self, name):
        self.calls["call"]()


class BackwardBesideTorch(Beside):
    named, make, params = CUBED, layers.backward, [list(CUBED)]

    def track_backward_ratio(self, name):
        return self.ratio("call")


class Transposed(Timed):
    named, make, params = TRANSPOSED, layers.transposed, [list(TRANSPOSED)]

    def time_transposed(self, name):
        self.calls["call"]()


class TransposedBesideTorch(Beside):
    named, make, params = TRANSPOSED, layers.transposed, [list(TRANSPOSED)]

    def track_transposed_ratio(self, name):
        return self.ratio("call")


class Tiny(Timed):
    """Overhead: the kernel alone takes a few microseconds."""

    named, make, params = {layers.TINY.name: layers.TINY}, layers.forward, [[layers.TINY.name]]

    def time_plan(self, name):
        self.calls["plan"]()

    def time_call(self, name):
        self.calls["call"]()


class Threads(Timed):
    """Two threads beside one, in wall time."""

    named, make, params = CUBED, layers.forward, [list(CUBED)]

    def track_two_threads_ratio(self, name):
        def on(threads):
            voxkern.set_num_threads(threads)
            self.calls["plan"]()

        seconds = timing.turns({n: lambda n=n: on(n) for n in (1, 2)}, 0.5)
        return min(seconds[1]) / min(seconds[2])
