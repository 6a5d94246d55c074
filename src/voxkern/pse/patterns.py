"""Regular patterns: stripes, checks, rings and rays that fill much of the screen for a while.

A picture is looked at along lines in four directions, and along circles about its middle. Where a
line crosses bars of light and dark in turn, of much the same period, it paints the cells of a grid
under it. Cells that touch and agree on the period of some direction are one region; a region with
more pairs of bars than the rule allows is a pattern, and its cells are the area.
"""

import functools
import math
from collections import deque
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from voxkern.kernels.native import patterns as kernel
from voxkern.pse import colour as light
from voxkern.pse.report import Incident

WIDTH, HEIGHT = 320, 180  # a picture is made at most this large: bars of 6 px of 1080p and more
CELL = 3  # pixels of the small picture
FEW = 5.0  # bars that make a line part of a region
# Ends of stripes are cut by the screen's edge or lie on ground of their own level: an allowance
# of a quarter of a pair is half way between the 5 that are allowed and 6.
ALLOWANCE = 0.25
EVERY, SOON = 0.25, 0.125  # seconds from one look to the next, and where much changes
PAUSE, REST = 0.2, 0.5  # seconds: shorter interruptions do not end a pattern, or its motion
MOVED = 0.05  # part of a pattern's contrast by which it changes when it moves
CUT, CUT_SHARE = 32 / 255, 0.2  # a change of signal, in this share of the picture: look at once
SAME = 0.25  # of the change half a period on: less than that is the same a period on
STILLS, WORSE = 24, 1.1  # incidents that keep one; taken again where the area grows so much
SIGNATURE = 1024  # pixels of every frame that are compared with the frame before
AXES = np.array([(1, 0), (1, 1), (0, 1), (-1, 1)])  # directions of straight lines, x and y
STEPS = np.array([*AXES[:, ::-1], (0, 0)], np.float32)  # of samples, y and x; 0 stands for circles


class Patterns:
    """Regular patterns of a video by one profile.

    Parameters
    ----------
    profile : Profile
        With :attr:`Profile.stripes`.
    width, height : int
        Of the frames.

    Notes
    -----
    Memory does not grow with the video, and no frame is kept. A frame costs some 50 us, and 1 ms
    where it is looked at (1080p; 4 ms where a pattern fills it): four times a second, some eight
    times where much changes, and frame by frame where a pattern moves fast.
    """

    def __init__(self, profile, width, height):
        self._profile, self._rule = profile, profile.stripes
        self._size = width, height
        self._step = max(1, math.ceil(max(width / WIDTH, height / HEIGHT)))
        self._large = min(width, height) >= 8 * self._step  # a mere line has no pattern
        self._now = self._pushed = -math.inf
        self._last = 0.0  # how long the last frame was shown
        self._signature = self._pushed_signature = None
        self._change = 0.0, 0.0  # the largest from frame to frame since the last look, and when
        self._jumped, self._count = False, 0
        self._seen_lately = deque()  # times of looks that saw a pattern
        self._held = None  # the latest look
        self._stretch = None
        self._incidents = []

    def see(self, frame):
        """Take the next frame, once or more; most are not looked at closely."""
        if frame.time == self._now:
            return
        self._tick(frame.time)
        if not self._large:
            return
        signature = _signature(frame)
        before, self._signature = self._signature, signature
        change = np.inf if before is None else _change(before, signature)
        if change > self._change[0]:
            self._change = change, frame.time
        since = frame.time - self._pushed
        if since >= EVERY - 1e-6 or self._look_now(signature, before, since):
            picture = functools.partial(light.preview, frame)
            self.push(frame.time, small(frame, self._step, self._profile.curve), picture)
            self._pushed_signature = signature

    def _look_now(self, signature, before, since):
        """Whether the picture is another, or the pattern that was seen has moved or gone."""
        if self._held is None or self._held.area <= self._rule.moving_area:
            # Not in step with anything: what comes and goes must not be missed each time.
            soon = SOON * (0.6 + 0.8 * (self._count * 0.618 % 1))
            return since >= soon and np.mean(np.abs(signature - before) > CUT) > CUT_SHARE
        y, x = _scattered(self._held.mask.shape)
        inside = self._held.mask[y, x]
        # A jump began with the frame before; what moves slowly did so since the last look.
        self._jumped = _moved(before[inside], signature[inside])
        return _moved(self._pushed_signature[inside], signature[inside])

    def push(self, time, luminance, picture=None):
        """Look at a picture of luminance, 1.0 at 200 cd/m2.

        Parameters
        ----------
        time : float
            In seconds; rising from push to push.
        luminance : ndarray
            2-D, at most 1024 in each axis, the same from push to push; 320 x 180 is fast.
        picture : callable, optional
            Gives the still of an incident.
        """
        luminance = np.ascontiguousarray(luminance, np.float32)
        if luminance.ndim != 2 or max(luminance.shape) > kernel.LONGEST_LINE:
            raise ValueError(
                f"luminance has shape {luminance.shape}; it must have two axes of at most "
                f"{kernel.LONGEST_LINE}"
            )
        self._tick(time)
        mask = find(luminance, self._rule)
        area = float(mask.mean())
        most = self._rule.moving_area
        # Where it came or went between two looks, it did with the frame that changed most.
        was, is_now = self._held is not None and self._held.area > most, area > most
        began = self._change[1] if was != is_now and self._change[0] else time
        self._settle(began)
        since = self._moving(luminance, mask, was) if is_now else None
        look = Look(began, luminance, area, mask, since, None)
        # The frame may be gone later, so a still is taken now or never.
        if picture is not None and self._worse(look):
            look = look._replace(still=picture())
        self._held = look
        if is_now:
            self._seen_lately.append(began)
        while self._seen_lately and time - self._seen_lately[0] > 3 * EVERY:
            self._seen_lately.popleft()
        self._pushed, self._change, self._jumped = time, (0.0, time), False
        self._count += 1

    def incidents(self, clause=None):
        """The incidents so far, as if the video ended here; they quote `clause` or their own."""
        self._settle(self._now + self._last)
        self._held = None
        self._close()
        clause = clause or self._rule.clause
        return [replace(i, clause=f"{clause}: {i.clause}") for i in self._incidents]

    def _tick(self, time):
        if time > self._now:
            self._last = time - self._now if self._now > -math.inf else 0.0
            self._now = time

    def _moving(self, luminance, mask, was):
        """Since when the pattern that is seen now moves or flashes; None where it rests."""
        if not was:  # it has just come, perhaps back
            return self._seen_lately[-1] if self._seen_lately else None
        inside = np.kron(mask, np.ones((CELL, CELL), bool))
        inside = inside[: luminance.shape[0], : luminance.shape[1]]
        if not _moved(self._held.luminance[inside], luminance[inside]):
            return None
        return self._now - self._last if self._jumped else self._held.time

    def _span(self, look, until):
        """From when to when a look breaks the rule, and how long a pause may be; or None."""
        if look.area > self._rule.still_area:
            return look.time, until, PAUSE
        if look.since is not None:
            return look.since, min(until, look.time + self._last), REST
        return None

    def _worse(self, look):
        """Whether a look begins a stretch or is the worst of it by far."""
        span = self._span(look, look.time)
        if span is None:
            return False
        start, _, pause = span
        stretch = self._stretch
        return stretch is None or start > stretch.end + pause or look.area > WORSE * stretch.area

    def _settle(self, until):
        """Enter what was seen at the latest look and held until now."""
        span = self._span(self._held, until) if self._held else None
        if span is None:
            return
        start, end, pause = span
        if self._stretch is not None and start > self._stretch.end + pause:
            self._close()
        if self._stretch is None:
            self._stretch = Stretch(start)
        self._stretch.add(end, self._held)

    def _close(self):
        stretch, self._stretch = self._stretch, None
        if stretch is not None and stretch.end - stretch.start > self._rule.seconds + 1e-6:
            self._incidents.append(self._incident(stretch))

    def _incident(self, stretch):
        rule, (width, height) = self._rule, self._size
        limit = rule.moving_area if stretch.moving else rule.still_area
        how = "moving or flashing" if stretch.moving else "still"
        rows, columns = (np.flatnonzero(stretch.mask.any(axis=axis)) for axis in (1, 0))
        side = CELL * self._step
        x, y = int(columns[0]) * side, int(rows[0]) * side
        right, low = (
            min(int(n[-1] + 1) * side, most) for n, most in ((columns, width), (rows, height))
        )
        still = stretch.still if len(self._incidents) < STILLS else None
        return Incident(
            "pattern",
            "fail",
            stretch.start,
            stretch.end,
            0.0,
            stretch.area,
            (x, y, right - x, low - y),
            f"more than {rule.pairs} pairs of light and dark stripes, {how}, over "
            f"more than {100 * limit:g} % of the screen for longer than {rule.seconds:g} s",
            still,
            None if still is None else _mask_of(stretch.mask, still.shape[:2]),
        )


class Look(NamedTuple):
    """What was seen: when, where, and since when it moves (None: it rests)."""

    time: float
    luminance: np.ndarray
    area: float
    mask: np.ndarray
    since: float | None
    still: np.ndarray | None


class Stretch:
    """A time in which a pattern is too large, with its worst picture."""

    def __init__(self, start):
        self.start = self.end = start
        self.area, self.moving, self.mask, self.still = 0.0, False, None, None

    def add(self, end, look):
        """Go on to `end` with what is seen."""
        self.end, self.moving = end, self.moving or look.since is not None
        if self.mask is None or look.area > WORSE * self.area:
            self.mask, self.still = look.mask, look.still
        self.area = max(self.area, look.area)


def _moved(before, now):
    """Whether what lies in a pattern changed by more than noise does."""
    contrast = np.subtract(*np.percentile(now[:: 1 + now.size // 5000], (90, 10)))
    return _change(before, now) > MOVED * contrast


def _change(before, now):
    """Mean change of a signature or a part of it."""
    return float(np.abs(now - before).sum()) / max(1, now.size)


# --- a picture ----------------------------------------------------------------------------------


def find(luminance, rule):
    """Cells of a picture of luminance that belong to a pattern, whatever its area."""
    luminance = np.ascontiguousarray(luminance, np.float32)
    rows, columns = (-(-n // CELL) for n in luminance.shape)
    bars, period = _painted(luminance, rule)
    mask = np.zeros((rows, columns), bool)
    enough = rule.moving_area * mask.size
    if np.count_nonzero(period.any(axis=0)) <= enough:
        return mask
    period[~_periodic(luminance, period)] = 0
    painted = period.any(axis=0).reshape(rows, columns)
    period[:, _around(painted.astype(np.int8), 1).ravel() < 5] = 0  # single cells, thin lines
    if np.count_nonzero(period.any(axis=0)) <= enough:
        return mask
    labels = np.zeros((rows, columns), np.int32)
    count = kernel.regions(period.reshape(-1, rows, columns), out=labels)
    sizes = np.bincount(labels.ravel(), minlength=count + 1)
    for label in np.flatnonzero(sizes[1:] >= 4) + 1:
        inside = labels == label
        if _pairs(inside, bars, period) > rule.pairs + ALLOWANCE:
            mask |= inside
    return mask


def _painted(luminance, rule):
    """For every direction and cell: bars of the line with the most of them, and their period."""
    height, width = luminance.shape
    lines = _lines(height, width)
    bars = np.zeros((len(lines), -(-height // CELL) * -(-width // CELL)), np.float32)
    period = np.zeros_like(bars)

    def paint(index, upright):
        kernel.bars(
            luminance.reshape(-1), *lines[index], index < len(AXES), upright,
            rule.step, rule.bright, FEW, bars=bars[index], period=period[index],
        )  # fmt: skip

    for index in range(len(lines)):
        paint(index, False)
    # Where stripes are upright or level, their ends on ground of their own level can be told.
    across, down = np.count_nonzero(period[0]), np.count_nonzero(period[2])
    if max(across, down) > 10 * min(across, down):
        paint(0 if across > down else 2, True)
    return bars, period


def _periodic(luminance, period):
    """For every direction the cells about which the picture repeats itself.

    A period on it is itself again, half a period on it is not. In noise, texture and lines of
    text some bars are of one width by chance, but what is beside them is not the same.
    """
    out = np.empty_like(period)
    kernel.repetition(luminance, STEPS, period, CELL, SAME, out=out)
    rows, columns = (-(-n // CELL) for n in luminance.shape)
    return _around(out.reshape(-1, rows, columns), 2).reshape(out.shape) > 0


def _around(values, reach):
    """Sums of every cell and its neighbours up to `reach` away; beyond the border its cells."""
    for axis in (-2, -1):
        values = np.moveaxis(values, axis, 0)
        edges = [values[:1]] * reach, [values[-1:]] * reach
        wide = np.concatenate([*edges[0], values, *edges[1]])
        values = sum(wide[i : i + len(values)] for i in range(2 * reach + 1))
        values = np.moveaxis(values, 0, axis)
    return values


def _pairs(inside, bars, period):
    """Pairs of bars of a region: the most that lines see, or all the stripes of parallel ones.

    The rows and columns of checks are counted, not their diagonals, of which there are more. Along
    circles, what are no rays has no steady period.
    """
    cells = inside.ravel()
    steady = np.array([_steady(found) for found in period[:, cells]])
    checks = steady[0] > 0 and steady[2] > 0
    counted = ([0, 2] if checks else [0, 1, 2, 3]) + [4] * int(steady[4] > 0)
    most = np.sort(bars[counted][:, cells].max(axis=0))
    along_lines = most[-max(1, len(most) // 4)] / 2  # a few lines alone may err
    return max(along_lines, _parallel_pairs(inside, steady[: len(AXES)]))


def _steady(found):
    """The period of a direction where a region has one, much the same in most of it; else 0."""
    found = found[found > 0] if np.count_nonzero(found) > 0.4 * len(found) else found[:0]
    if len(found) == 0:
        return 0.0
    low, middle, high = np.percentile(found, (25, 50, 75))
    return middle if high - low <= 0.15 * middle + 0.5 else 0.0


def _parallel_pairs(inside, period):
    """Pairs of a region of straight, parallel stripes from its first to its last; 0 for others.

    Lines see fewer than there are where stripes run aslant: those in the corners are on none. From
    the periods along two neighbouring directions follows the wave, from it the number.
    """
    lengths = np.hypot(*AXES.T)
    seen = period > 0
    frequency = np.where(seen, 1 / (np.where(seen, period, 1) * lengths), 0)  # per pixel
    first, second = sorted(np.argsort(frequency)[-2:])
    if frequency[first] == 0 or frequency[second] == 0 or (second - first) % 2 == 0:
        return 0.0
    turn = -1 if (first, second) == (0, 3) else 1  # the neighbour of 135 degrees is 180
    units = AXES / lengths[:, None] * [[turn], [1], [1], [1]]
    wave = np.linalg.solve(units[[first, second]], frequency[[first, second]])
    expected = np.abs(units @ wave)
    if (np.abs(expected - frequency)[seen] > 0.2 * frequency.max()).any():
        return 0.0
    if np.abs(wave).min() < 0.1 * np.abs(wave).max():
        return 0.0  # upright or level: rows or columns see them all
    y, x = np.nonzero(inside)
    along = CELL * (x * wave[0] + y * wave[1])
    # Where cells are few there is a frayed border, or the last corner.
    parts = np.bincount(((along - along.min()) * 16).astype(int))
    filled = np.flatnonzero(parts >= 0.1 * np.median(parts))
    return (filled[-1] - filled[0] + 1) / 16


@functools.lru_cache(maxsize=8)
def _lines(height, width):
    """For every direction: places of samples, their cells (or -1), and where lines start.

    Lines are a cell apart; on straight ones a sample in the middle of a cell stands for it.
    """
    columns = -(-width // CELL)
    found = []
    for direction in range(len(STEPS)):
        straight = direction < len(AXES)
        lines = _straight(height, width, *AXES[direction]) if straight else _circles(height, width)
        lines = [line for line in lines if len(line[0]) >= FEW]
        y, x = (np.concatenate([[], *(line[i] for line in lines)]).astype(np.int32) for i in (0, 1))
        starts = np.cumsum([0, *(len(line[0]) for line in lines)], dtype=np.int32)
        cells = y // CELL * columns + x // CELL
        if straight:
            along = x if AXES[direction][0] else y
            cells = np.where(along % CELL == CELL // 2, cells, -1)
        found.append((y * width + x, cells.astype(np.int32), starts))
    return found


def _straight(height, width, dx, dy):
    """y and x of the samples of parallel lines."""
    middle = CELL // 2
    if dy == 0:
        return [(np.full(width, y), np.arange(width)) for y in range(middle, height, CELL)]
    if dx == 0:
        return [(np.arange(height), np.full(height, x)) for x in range(middle, width, CELL)]
    y, lines = np.arange(height), []
    for start in range(-height + CELL, width + height, CELL):
        x = start + dx * y
        inside = (x >= 0) & (x < width)
        lines.append((y[inside], x[inside]))
    return lines


def _circles(height, width):
    """Parts of circles about the middle that lie in the picture, sampled by equal angles.

    Equal angles give the bars of rays one period on every circle.
    """
    # An angle at which no regular division by hand begins.
    angle = 0.1234 + np.linspace(0, 2 * np.pi, kernel.LONGEST_LINE, endpoint=False)
    arcs = []
    for radius in np.arange(3 * CELL, math.hypot(height, width) / 2, CELL):
        y = np.floor(height / 2 + radius * np.sin(angle)).astype(int)
        x = np.floor(width / 2 + radius * np.cos(angle)).astype(int)
        inside = (y >= 0) & (y < height) & (x >= 0) & (x < width)
        bounds = np.flatnonzero(np.diff(inside)) + 1
        for part, kept in zip(np.split(np.arange(len(angle)), bounds), np.split(inside, bounds)):
            if kept[0]:
                arcs.append((y[part], x[part]))
    return arcs


# --- a frame ------------------------------------------------------------------------------------


def small(frame, step, curve=None):
    """Luminance of a frame, float32, made `step` times smaller: means of codes, then light."""
    colour, (height, width) = frame.colour, frame.planes[0].shape
    planes = [
        [
            plane.__array_interface__["data"][0],
            *plane.strides,
            plane.itemsize > 1,
            plane.shape[1] < width,
            plane.shape[0] < height,
        ]
        for plane in frame.planes
    ]
    out = np.empty((height // step, width // step), np.float32)
    kernel.shrink(np.array(planes, np.int64), step, *_conversion(colour, curve), out=out)
    scale, exponent = light.system(colour)
    return out if exponent == 1 else np.float32(scale) * out ** np.float32(exponent)


@functools.lru_cache(maxsize=8)
def _conversion(colour, curve):
    """The numbers of Y'CbCr, if it is that; light of codes, and weights of channels."""
    numbers, weights = [0.0] * 8, light.weights(colour.primaries)
    if colour.kind == "ycbcr":
        m = light.matrix(colour)
        parts = np.array([m.rv, m.gu, m.gv, m.bu]) / 2**m.shift
        numbers = [m.y0 + 0.5, m.y / 2**m.shift, light.BLACK + 0.5, m.c0, *parts]
    if colour.kind == "gray":
        weights = [1.0]
    table = light.light(colour, curve)
    return tuple(np.array(values, np.float32) for values in (numbers, table, weights))


def _signature(frame):
    """A thousand values of signal, 0 to 1, that tell whether the picture changed."""
    plane = frame.planes[1 if frame.colour.kind == "rgb" else 0]
    y, x = _scattered(plane.shape)
    return plane[y, x] / np.float32((1 << frame.colour.bits) - 1)


@functools.lru_cache(maxsize=8)
def _scattered(shape):
    """Places all over a picture, at no fixed distance: stripes must not hide between them."""
    i = np.arange(SIGNATURE)
    y, x = (i + 0.5) / SIGNATURE, (i * 0.6180339887498949 + 0.5) % 1
    return (y * shape[0]).astype(int), (x * shape[1]).astype(int)


def _mask_of(mask, shape):
    """The mask of cells at the size of a still."""
    y, x = (np.arange(n) * m // n for n, m in zip(shape, mask.shape))
    return mask[np.ix_(y, x)]
