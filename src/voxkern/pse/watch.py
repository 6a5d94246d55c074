"""The state of every pixel: lanes of transitions in the kernel, and their counts."""

import itertools
import math
from collections import deque

import numpy as np

from voxkern import _dispatch
from voxkern.pse import colour as colours
from voxkern.pse.light import (
    is_luminance,
    light,
    luminance_lane,
    ramp_lane,
    red_lane,
    smallest_change,
)
from voxkern.pse.screen import luminance_screen
from voxkern.pse.state import WORD, DeviceState, HostState, unpacked

STEP = 0.0655  # s: 66 ms, less what a container rounds away that counts milliseconds
SECOND = 1 - 1e-6  # s: transitions a whole second apart are not within one; times are rounded
# Frames with more pixels than the first are watched in cells of 2 x 2 pixels, from the second on of
# 4 x 4: larger ones change the verdict of a labelled case.
SMALL, LARGE = 1024 * 768, 1920 * 1080
NARROW = 256  # pixels: frames that are no wider or higher have no cells
RAMP_ROWS = 64  # slow changes are watched in so many rows or more, spread over the frame
SLOTS = 32  # frames of a second to begin with
SAMPLES = 2000  # pixels whose mean is the luminance of a frame


class Watch:
    """Transitions and counts of frames like `frame`, for lanes that are asked for with `lane`.

    Of large frames one pixel of each `cell` by `cell` is watched: `columns` by `rows` of them.

    Memory: an eighth of a byte per pixel or cell, lane and frame of a second, on a device a byte;
    and what is watched of the frames of 66 ms.
    """

    def __init__(self, frame):
        self.height, self.width = frame.planes[0].shape
        self.cell = cell_of(self.width, self.height)
        self.columns, self.rows = self.width // self.cell, self.height // self.cell
        self.ramp_rows = max(1, self.rows // RAMP_ROWS)
        self.colour = frame.colour
        self.on_device = _dispatch.adopted(frame.planes[0])
        self._like = frame.planes[0] if self.on_device else None
        self.time = None
        self.patterns = {}  # what judges share that are equal
        self._last, self._masks, self._means = {}, {}, None  # of the last frame: see their uses
        self._lights, self._lanes, self._screens = {}, {}, []
        # Of the last second, newest first: time, slot, and of each lane the transitions and those
        # of pixels that then had made too many.
        self._recent = deque()
        self._before = deque()  # (time, what is watched, notes) of those of the last 66 ms
        self._kernel = None

    def lane(self, profile, kind, change=None):
        """Number of the lane of a profile's ``"luminance"``, ``"ramp"`` or ``"red"``.

        Equal ones are one.
        """
        name = colours.curve_of(self.colour, profile.curve)
        source = light(self.colour, profile.curve)
        count = profile.transitions
        if kind == "red":
            limits = profile.red, profile.red_share, profile.red_floor
            key = kind, count, name, *limits, profile.red_distance, profile.red_change
            make = lambda: red_lane(self.colour, source, profile)  # noqa: E731
        elif kind == "ramp":
            limits = profile.change, profile.dark
            key = kind, count, *limits
            own = light(self.colour, None)  # warnings need no curve for each standard
            index = self._light(colours.curve_of(self.colour), own)
            make = lambda: ramp_lane(index, own, *limits)  # noqa: E731
        else:
            hdr = self.colour.transfer in ("pq", "hlg")
            contrast = profile.contrast if hdr or profile.contrast_in_sdr else 0.0
            limits = change or profile.change, profile.dark, contrast
            key = kind, count, name, *limits
            index = self.light(profile)
            make = lambda: luminance_lane(self.colour, index, source, *limits)  # noqa: E731
            if key not in self._lanes:
                need = smallest_change(source, *limits)
                dark = profile.dark if is_luminance(source) and not contrast else np.inf
                self._screens.append(luminance_screen(self.colour, profile.curve, need, dark))
        if key not in self._lanes:
            self._lanes[key] = len(self._lanes), make(), count
        return self._lanes[key][0]

    def light(self, profile):
        """Number of the light of a profile, for :meth:`mean`."""
        name = colours.curve_of(self.colour, profile.curve)
        source = light(self.colour, profile.curve)
        return self._light(name, source)

    def _light(self, name, source):
        return self._lights.setdefault(name, (len(self._lights), source))[0]

    def start(self, threads=None):
        """Make the state, once all lanes are known; `threads` is the most to use."""
        self.row_words = -(-self.columns // WORD)
        self._kernel = _dispatch.module("native", _dispatch.cpu_level, "pse")
        lights = [source for _, source in self._lights.values()]
        lanes = [(*lane, limit) for _, lane, limit in self._lanes.values()]
        if self.on_device:
            self._state = DeviceState(self, self._like, lights, lanes)
        else:
            self._state = HostState(self, lights, lanes, self._screens, threads)
        self._free, self._slots = [], 0
        self._grow(SLOTS)
        step = math.isqrt(self.columns * self.rows // SAMPLES)
        self._steps = max(1, step // 2), max(1, 2 * step)  # neighbours in a row are soon read
        self._scratch = np.zeros(66 * self.row_words + 192, np.int32)

    def _grow(self, slots):
        """More frames in a second."""
        self._free += range(self._slots, slots)
        self._slots = slots
        self._state.grow(slots)

    def push(self, frame):
        """Take the next frame."""
        expired = []
        while self._recent and frame.time - self._recent[-1][0] > SECOND:
            expired.append(self._recent.pop()[1])
        while len(self._before) > 1 and frame.time - self._before[-1][0] > STEP:
            self._before.pop()
        self._free += expired
        if not self._free:
            self._grow(2 * self._slots)
        slot = self._free.pop()
        self._before.appendleft((frame.time, self._state.take(frame)))
        watched = [item[1] for item in self._before]
        recent = [item[1] for item in itertools.islice(self._recent, len(watched))]
        done = self._state.step(watched, recent, expired, slot)
        self._recent.appendleft((frame.time, slot, done))
        self.time = frame.time
        self._last.clear()
        self._masks.clear()
        self._means = None

    def mean(self, index):
        """Mean luminance of the last frame by a light, of some pixels at equal distances."""
        if self._means is None:
            across, down = self._steps
            sums = self._state.luminance(self._before[0][1], across, down)
            count = -(-self.rows // down) * -(-self.columns // across)
            self._means = (sums / count).tolist()
        return self._means[index]

    def now(self, lane):
        """Transitions of a lane in the last frame; those of pixels that then had made too many."""
        return self._recent[0][2][lane]

    def done(self, lane, seconds):
        """Transitions of a lane that were completed within the last so many `seconds`."""
        return sum(item[2][lane][0] for item in self._within(seconds))

    def too_many(self, lane, seconds):
        """Those of them by pixels that then had made too many; each pixel as often as it did."""
        return sum(item[2][lane][1] for item in self._within(seconds))

    def _within(self, seconds):
        """Of the last frames those within so many seconds, newest first."""
        if seconds not in self._last:
            now = self._recent[0][0]
            last = itertools.takewhile(lambda item: now - item[0] <= seconds, self._recent)
            self._last[seconds] = list(last)
        return self._last[seconds]

    def at_least(self, lane, count, seconds, step=1):
        """Bits of the pixels that made so many transitions in the last second; their number.

        Only of those that made the last of them within so many `seconds`, together. The mask has
        every `step`-th row.
        """
        return self._gather(lane, seconds, count, step)

    def over(self, lane, seconds):
        """Bits of the pixels that made too many transitions in a second; their number.

        Of those seconds that ended with a transition within the last so many `seconds`, together:
        for the first of them to turn, a second may be over when the last one turns.
        """
        return self._gather(lane, seconds, many=1)

    def _gather(self, lane, seconds, count=1, step=1, many=0):
        key = lane, seconds, count, step, many
        if key not in self._masks:
            slots = [item[1] for item in self._within(seconds) if item[2][lane][many]]
            self._masks[key] = self._state.gather(lane, slots, count, step, many)
        return self._masks[key]

    def window(self, mask, width, height, floor, rough=False, any=False):
        """Most bits of a mask in any window of that size, or `floor` if it is not more.

        Or, if `any` will do, those of one that has more.
        A `rough` one is found by whole words of pixels, where these are small beside the frame. Of
        a mask that has fewer rows than a frame, windows have fewer as well.
        """
        rough = rough and self.columns > 8 * WORD
        rows = len(mask) // self.row_words
        size = self.columns, rows, width, max(1, round(height * rows / self.rows))
        return self._kernel.window(mask, *size, floor, self._scratch, rough, any)[0]

    def since(self, lane, mask):
        """Time of the first transition within the last second of the pixels of a mask."""
        for time, slot, done in reversed(self._recent):
            if done[lane][0] and (self._state.turned(lane, slot) & mask).any():
                return time
        return self.time

    def counts(self, lane):
        """Transitions of every pixel or cell within the last second, ``(rows, columns)`` int."""
        return self._state.counts(lane)

    def unpack(self, mask):
        """A mask as ``(rows, columns)`` bool."""
        return unpacked(mask, self.rows, self.columns)

    def spread(self, mask):
        """A mask as ``(H, W)`` bool, each cell for all of its pixels."""
        whole = self.unpack(mask).repeat(self.cell, axis=0).repeat(self.cell, axis=1)
        left = self.height - whole.shape[0], self.width - whole.shape[1]
        return np.pad(whole, [(0, n) for n in left], "edge") if any(left) else whole


def cell_of(width, height):
    """How many pixels wide and high the cells are that one pixel each stands for."""
    pixels = width * height
    if pixels <= SMALL or min(width, height) < NARROW:
        return 1
    return 2 if pixels < LARGE else 4


def checked(frame, like=None):
    """The frame, if its planes are what its colour says and as those of `like`."""
    colour, planes = frame.colour, frame.planes
    dtype = np.uint8 if colour.bits == 8 else np.uint16
    count = 1 if colour.kind == "gray" else 3
    if len(planes) != count:
        raise ValueError(f"a frame has {len(planes)} planes; {colour.kind} has {count}")
    if colour.kind == "ycbcr" and colour.bits > 12:
        raise ValueError(f"bits of ycbcr is {colour.bits}; it may be 8, 10 or 12")
    on_device = _dispatch.adopted(planes[0])
    kind = type(planes[0]) if on_device else np.ndarray
    for plane in planes:
        if not isinstance(plane, kind) or plane.dtype != dtype or plane.ndim != 2:
            raise TypeError(f"a plane must be a 2-D NumPy array of {np.dtype(dtype)}")
    height, width = planes[0].shape
    halves = {(height, width), (height, -(-width // 2)), (-(-height // 2), -(-width // 2))}
    if not height or not width:
        raise ValueError(f"a frame is {width}x{height}; it must have pixels")
    for plane in planes[1:]:
        if plane.shape not in (halves if colour.kind == "ycbcr" else {(height, width)}):
            raise ValueError(f"a plane has shape {plane.shape}, the first {planes[0].shape}")
    if like is not None and _dispatch.adopted(like.planes[0]) != on_device:
        here, there = ("a CUDA device", "the host") if on_device else ("the host", "a CUDA device")
        raise ValueError(f"the frame at {frame.time:.3f} s lies on {here}, the first on {there}")
    if like is not None and (like.colour != colour or like.planes[0].shape != (height, width)):
        was = like.planes[0].shape
        raise ValueError(
            f"the frame at {frame.time:.3f} s is {width}x{height} {colour.kind}, {colour.bits} "
            f"bits; it must be as the first, {was[1]}x{was[0]} {like.colour.kind}"
        )
    return frame
