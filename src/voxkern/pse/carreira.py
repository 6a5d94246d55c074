"""The older view: Carreira et al., QoMEX 2015, on the flash table."""

from collections import deque

import numpy as np

from voxkern.flash import FlashTable
from voxkern.pse import colour as colours

CHANGE = 20.0  # cd/m2
WHITE = 200.0


class Older:
    """Accumulates the flash table until its sign changes; two opposite extremes are a flash.

    Attributes
    ----------
    most : int
        Flashes in a second that are not too many.
    """

    def __init__(self, profile, watch):
        self.most = profile.transitions // 2
        self.change = profile.change * WHITE
        curve = "ofcom" if profile.curve in (None, "ofcom") else profile.curve
        pixels = watch.width * watch.height
        self.table = FlashTable(min(5, pixels), curve)
        self.sum = 0.0
        self.extreme = 0.0  # the last that was large enough, waiting for its opposite
        self.flashes, self.began = deque(), 0.0

    def see(self, frame):
        """Flashes in the second that ends with a frame, and when the first of them began."""
        for (row,) in self.table.push(_bytes(frame)):
            if row * self.sum < 0:
                self.sum = 0.0
            if not self.sum:
                self.began = frame.time
            before, self.sum = self.sum, self.sum + row
            if abs(before) < self.change <= abs(self.sum):
                self._turn(frame.time)
        while self.flashes and frame.time - self.flashes[0][0] > 1 - 1e-6:
            self.flashes.popleft()
        return len(self.flashes), self.flashes[0][1] if self.flashes else frame.time

    def _turn(self, time):
        """An extreme is reached; with one of the other sign before it this is a flash."""
        if self.extreme * self.sum < 0:
            self.flashes.append((time, self.began))
            self.extreme = 0.0
        else:
            self.extreme = self.sum


def _bytes(frame):
    """Codes of 0 to 255 of a frame, ``(H, W, 3)`` or ``(1, H, W)``."""
    colour = frame.colour
    codes = colours.rgb(frame)
    if colour.kind == "ycbcr":
        codes = (codes - colours.BLACK) * (255 / colours.SPAN)
    elif colour.bits > 8 or not colour.full_range:
        codes = 255 * colours.signal(codes, colour.bits, colour.full_range)
    codes = np.clip(np.rint(codes), 0, 255).astype(np.uint8)
    return np.ascontiguousarray(codes.transpose(1, 2, 0))
