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

    def against(self, peer, ours):
        """Peer's time over ours."""
        installed_torch()
        if peer not in self.calls:
            raise NotImplementedError(f"{peer} is not installed")
        return ratio(self.calls[ours], self.calls[peer])


class Conv(Timed):
    named, make, params = NAMED, layers.forward, [list(NAMED)]

    def time_plan(self, name):
        self.calls["plan"]()

    def time_call(self, name):
        self.calls["call"]()

    def track_plan_torch_ratio(self, name):
        return self.against("torch", layers.SAME_TERMS["torch"])

    def track_plan_onnxruntime_ratio(self, name):
        return self.against("onnxruntime", layers.SAME_TERMS["onnxruntime"])

    def track_call_torch_ratio(self, name):
        return self.against("torch", "call")


class Memory(Timed):
    """Of the whole process; `conv_memory.py` tells what the call itself needs."""

    named, make, params = UNET, layers.forward, [list(UNET)]

    def peakmem_call(self, name):
        self.calls["call"]()


class Images(Timed):
    named, make, params = IMAGES, layers.with_ncnn, [list(IMAGES)]

    def time_plan(self, name):
        self.calls["plan"]()

    def track_plan_ncnn_ratio(self, name):
        return self.against("ncnn", layers.SAME_TERMS["ncnn"])


class Backward(Timed):
    named, make, params = CUBED, layers.backward, [list(CUBED)]

    def time_backward(self, name):
        self.calls["call"]()

    def track_backward_torch_ratio(self, name):
        return self.against("torch", "call")


class Transposed(Timed):
    named, make, params = TRANSPOSED, layers.transposed, [list(TRANSPOSED)]

    def time_transposed(self, name):
        self.calls["call"]()

    def track_transposed_torch_ratio(self, name):
        return self.against("torch", "call")


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
