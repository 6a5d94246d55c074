"""The older view: Carreira et al., QoMEX 2015, on the flash table."""

from collections import deque

import numpy as np

from voxkern.pse import colour as colours

WHITE = 200.0  # cd/m2
PIXELS = 400  # a side of the frame is thinned to about so many: the means below are of thousands


class Older:
    """Accumulates changes of luminance until their sign changes; two opposite extremes are a flash.

    As the flash table, but with the quarter of the pixels that changes most, as the paper has it.

    Attributes
    ----------
    most : int
        Flashes in a second that are not too many.
    """

    def __init__(self, profile):
        self.most = profile.transitions // 2
        self.change = profile.change * WHITE * (1 - 1e-9)
        self.curve = profile.curve
        self.before = None
        self.sum = 0.0
        self.extreme = 0.0  # the last that was large enough, waiting for its opposite
        self.flashes, self.began = deque(), 0.0

    def see(self, frame):
        """Flashes in the second that ends with a frame, and when the first of them began."""
        light = WHITE * colours.luminance(_thinned(frame), self.curve).ravel()
        row = 0.0 if self.before is None else _signed(light - self.before)
        self.before = light
        if row * self.sum < 0:
            self.sum = 0.0
        if not self.sum:
            self.began = frame.time
        last, self.sum = self.sum, self.sum + row
        if abs(last) < self.change <= abs(self.sum):
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


def _signed(change):
    """Mean of the quarter that rises most, or minus that of the quarter that falls most."""
    quarter = max(1, len(change) // 4)
    ordered = np.partition(change, (quarter - 1, len(change) - quarter))
    rise = np.maximum(ordered[-quarter:], 0).mean()
    fall = np.maximum(-ordered[:quarter], 0).mean()
    return rise if rise > fall else -fall


def _thinned(frame):
    """Every n-th pixel of a frame."""
    step = max(1, max(frame.planes[0].shape) // PIXELS)
    height, width = frame.planes[0].shape
    rows, columns = np.arange(0, height, step), np.arange(0, width, step)
    planes = []
    for plane in frame.planes:
        across, down = int(plane.shape[1] < width), int(plane.shape[0] < height)
        planes.append(plane[np.ix_(rows >> down, columns >> across)])
    return frame._replace(planes=tuple(planes))
