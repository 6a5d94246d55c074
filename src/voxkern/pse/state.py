"""What a Watch keeps of every pixel: on the host in bits, on a device in bytes; the same methods.

`lights` are those of light.py, `lanes` its lanes with the transitions in a second that are not too
many. Slots are rows of a ring of the frames of a second.
"""

import numpy as np

from voxkern import _dispatch
from voxkern.kernels.native import host
from voxkern.pse import colour as colours
from voxkern.pse.light import LEGACY_RED, LUMINANCE, RAMP, RED
from voxkern.pse.screen import MILD, red_screen

WORD = 64
PLACES = 4  # frames of 66 ms to begin with, on a device


class HostState:
    """The state of frames on the host: `screens` are those of its lanes of luminance."""

    def __init__(self, watch, lights, lanes, screens, threads):
        self._rows, self._columns = watch.rows, watch.columns
        self._cell, self._row_words = watch.cell, watch.row_words
        self._words = self._row_words * self._rows
        self._watch = _dispatch.module("native", _dispatch.cpu_level, "pse").Watch(
            self._columns,
            self._rows,
            self._cell.bit_length() - 1,
            _format(watch.colour),
            [light[:4] for light in lights],
            [lane[:5] for lane in lanes],
            *_screen(watch.colour, lanes, screens),
            watch.ramp_rows,
        )
        rows = -(-self._rows // watch.ramp_rows)
        turns = lambda: [np.zeros((2, rows * self._row_words * WORD), np.uint16)]  # noqa: E731
        self._turns = [turns() if lane[0] == RAMP else [] for lane in lanes]
        none = lambda width: [np.zeros((0, width), np.uint64) for _ in lanes]  # noqa: E731
        self._states = [np.zeros((self._words, 2), np.uint64) for _ in lanes]
        stretches = self._rows * -(-self._row_words // WORD)
        self._ring, self._marks = none(self._words), none(stretches)
        self._many, self._many_marks = none(self._words), none(stretches)
        self._limits = [lane[5] for lane in lanes]
        self._threads = min(self._rows, host.useful_threads(self._columns * self._rows))
        self._threads = min(self._threads, threads or self._threads)
        self._done = np.zeros((self._threads, len(lanes), 2), np.int64)
        self._sums = np.empty(len(lights))

    def grow(self, slots):
        """A longer ring, and counts that reach as far."""
        for name in "_ring", "_marks", "_many", "_many_marks":
            setattr(self, name, [_taller(array, slots) for array in getattr(self, name)])
        self._states = [_wider(state, 2 + slots.bit_length()) for state in self._states]
        rings = self._ring, self._marks, self._many, self._many_marks
        states = zip(self._states, *rings, self._limits, self._turns)
        self._watch.hold([(*arrays, *turns) for *arrays, turns in states])

    def take(self, frame):
        """What is watched of a frame: its planes or cells, and room for notes of the kernel's."""
        planes, notes = tuple(frame.planes), np.empty(self._words, np.uint8)
        if self._cell == 1:
            return planes, notes
        size = planes[0].itemsize
        cells = np.empty((len(planes), self._rows, self._row_words * WORD * size), np.uint8)
        self._watch.cells(planes, cells, self._threads)
        return tuple(cells.view(planes[0].dtype)), notes

    def step(self, watched, recent, expired, slot):
        """Take the first of what is `watched`; the others are the frames of 66 ms, newest first.

        `recent` are the slots of those before it, `expired` those that leave; `slot` is its own.
        Returns for each lane its transitions, and those of pixels that then had made too many.
        """
        pictures, notes = map(list, zip(*watched))
        recent, expired = np.array(recent, np.int64), np.array(expired, np.int64)
        self._done[...] = 0
        self._watch.step(pictures, notes, recent, expired, slot, self._done)
        return self._done.sum(axis=0).tolist()

    def luminance(self, watched, across, down):
        """Sums by each light of every `across`-th pixel of every `down`-th row."""
        self._watch.luminance(watched[0], across, down, self._sums)
        return self._sums

    def gather(self, lane, slots, count, step, many):
        """Bits of the pixels that are in any of the slots and made so many transitions; how many.

        Of those that turned, or of those that then had made too `many`; of every `step`-th row.
        """
        mask = np.empty(-(-self._rows // step) * self._row_words, np.uint64)
        arguments = np.array(slots, np.int64), count, step, many
        return mask, self._watch.gather(lane, *arguments, mask, self._threads)

    def turned(self, lane, slot):
        """Bits of the pixels that made a transition in the frame of a slot."""
        return self._ring[lane][slot]

    def counts(self, lane):
        """Transitions of every pixel within the last second, ``(rows, columns)`` int."""
        planes = np.ascontiguousarray(self._states[lane][:, 2:].T)
        bits = (unpacked(plane, self._rows, self._columns) for plane in planes)
        return sum(plane.astype(int) << i for i, plane in enumerate(bits))


class DeviceState:
    """The state of frames on a CUDA device, which are like `plane`: a byte a pixel, lane and slot.

    Sums, and masks where they are asked for, are copied to the host; nothing else is.
    """

    def __init__(self, watch, plane, lights, lanes):
        self._rows, self._columns, self._row_words = watch.rows, watch.columns, watch.row_words
        self._fold, self._ramp_rows = watch.cell.bit_length() - 1, watch.ramp_rows
        self._like, self._cuda = plane, _dispatch.cuda()
        self._kernel = _dispatch.module("cuda", None, "pse")
        if len(lanes) > self._kernel.MOST_LANES:
            raise ValueError("too many profiles")
        ramps = np.cumsum([lane[0] == RAMP for lane in lanes]).tolist()
        kinds = [(lane[0], lane[5], ramp - 1) for lane, ramp in zip(lanes, ramps)]
        numbers = np.zeros((len(lanes), 23))
        for row, lane in zip(numbers, lanes):
            own = lane[4][[1, 3]] if lane[0] == RAMP else lane[3]
            row[: len(own)] = own
        self._lights = self._sent(np.stack([_weighted(light) for light in lights]))
        self._table = self._sent(np.stack([_table(lane, lights) for lane in lanes]))
        self._kinds, self._numbers = self._sent(np.array(kinds, np.int64)), self._sent(numbers)
        pixels = self._rows * self._columns
        self._direction = self._zeros((len(lanes), pixels), "uint8")
        self._count = self._zeros((len(lanes), pixels), "int32")
        of_ramps = -(-self._rows // self._ramp_rows) * self._columns
        self._extreme = self._zeros((max(1, ramps[-1]), of_ramps), "int32")
        self._done = plane.empty((2 * len(lanes),), "int32")
        self._sums = plane.empty((len(lights),), "float64")
        self._ring, self._masks = None, {}
        planes = 1 if watch.colour.kind == "gray" else 3
        self._frames = plane.empty((PLACES, planes, pixels), plane.dtype)
        self._used = []  # places of frames that are watched still

    def _zeros(self, shape, dtype):
        array = self._like.empty(shape, dtype)
        self._cuda.fill(array, 0)
        return array

    def _sent(self, values):
        array = self._like.empty(values.shape, values.dtype)
        self._cuda.send(values, array)
        return array

    def _longer(self, array, count):
        """An array of `count` along its first axis that begins with another."""
        longer = array.empty((count, *array.shape[1:]), array.dtype)
        self._cuda.copy_to(longer.part(slice(0, array.shape[0])), array)
        return longer

    def grow(self, slots):
        """A longer ring."""
        if self._ring is None:
            shape = slots, *self._direction.shape
            self._ring = self._like.empty(shape, "uint8")  # no slot is read before it is written
        else:
            self._ring = self._longer(self._ring, slots)

    def take(self, frame):
        """Copy what is watched of a frame, on the device; its place."""
        free = set(range(self._frames.shape[0])).difference(self._used)
        if not free:
            self._frames = self._longer(self._frames, 2 * self._frames.shape[0])
            return self.take(frame)
        place = min(free)
        for plane, out in zip(frame.planes, self._planes(place)):
            plane = self._cuda.after(plane, self._like)
            self._kernel.cells(plane, self._fold, self._columns, out=out)
        return place

    def _planes(self, place):
        return [self._frames.part((place, i)) for i in range(self._frames.shape[1])]

    def step(self, watched, recent, expired, slot):
        """As the host's."""
        now, *before = self._used = watched
        at = slot, now, len(before), len(expired), *before, *expired, *recent
        state = self._direction, self._count, self._ring, self._extreme
        rule = self._table, self._kinds, self._numbers, self._columns, self._ramp_rows
        self._cuda.fill(self._done, 0)
        self._kernel.step(self._frames, np.array(at, np.int64), *rule, *state, out=self._done)
        return self._cuda.fetched(self._done).reshape(-1, 2).tolist()

    def luminance(self, watched, across, down):
        """As the host's, but for the order of the sums."""
        frame = self._frames.part(watched)
        self._kernel.luminance(frame, self._lights, self._columns, across, down, out=self._sums)
        return self._cuda.fetched(self._sums)

    def gather(self, lane, slots, count, step, many):
        """As the host's."""
        rows = -(-self._rows // step)
        if not slots:
            return np.zeros(rows * self._row_words, np.uint64), 0
        if step not in self._masks:
            self._masks[step] = self._like.empty((rows, self._row_words * WORD // 8), "uint8")
        out, slots = self._masks[step], np.array(slots, np.int64)
        state = self._columns, self._count, self._ring
        self._kernel.gather(lane, slots, count, step, many, *state, out=out)
        mask = self._cuda.fetched(out).ravel().view("<u8").astype(np.uint64, copy=False)
        return mask, int(np.bitwise_count(mask).sum())

    def turned(self, lane, slot):
        """As the host's."""
        return self.gather(lane, [slot], 1, 1, False)[0]

    def counts(self, lane):
        """As the host's."""
        counts = self._cuda.fetched(self._count.part(lane))
        return counts.reshape(self._rows, self._columns).astype(int)


def _weighted(light):
    """Luminance of each channel's codes, ``(3, codes)``."""
    return light.numbers[:3, None] * light.table


def _table(lane, lights):
    """What a lane looks up of each channel's codes: linear light, luminance, or its 16 bits."""
    kind, index, linear, *_ = lane
    if kind == LUMINANCE:
        return _weighted(lights[index])
    if kind == RAMP:
        return lights[index].coarse.reshape(3, -1).astype(np.float64)
    return np.stack([linear] * 3)


def unpacked(mask, rows, columns):
    """A mask of bits as ``(rows, columns)`` bool."""
    octets = mask.astype("<u8", copy=False).view(np.uint8).reshape(rows, -1)
    return np.unpackbits(octets, axis=1, count=columns, bitorder="little").view(bool)


def _screen(colour, lanes, screens):
    """What passes a screen of any lane: steps of bytes, and reds."""
    steps = np.min([np.full((len(MILD), 16), 255, np.uint8), *screens], axis=0)
    reds = [lane[4][1:] for lane in lanes if lane[0] in (RED, LEGACY_RED)]
    red = np.min(reds, axis=0) if reds else (0, 0, (1 << 16) - 1)
    cr = (256, 0, 0)  # none has so much
    if reds and colour.kind == "ycbcr":
        cr = red_screen(colour, *red)
    return steps, np.array([*red, *cr], np.int64)


def _taller(array, rows):
    """An array of `rows` rows, the old ones first, zeros below; zeros take no memory."""
    result = np.zeros((rows, array.shape[1]), array.dtype)
    for old, new in zip(array, result):
        if old.any():
            new[:] = old
    return result


def _wider(array, columns):
    return np.ascontiguousarray(_taller(array.T, columns).T)


def _format(colour):
    """Fields of the kernel's Format."""
    planes = 1 if colour.kind == "gray" else 3
    most = (1 << colour.bits) - 1
    if colour.kind != "ycbcr":
        return np.array([planes, most, *[0] * 10], np.int64)
    return np.array(
        [planes, most, *colours.matrix(colour), colours.BLACK, colours.GRID - 1], np.int64
    )
