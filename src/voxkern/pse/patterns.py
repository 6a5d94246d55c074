"""Regular patterns: stripes, checks, rings and rays that fill much of the screen for a while.

A picture is looked at along lines in four directions, and along circles about its middle. Where a
line crosses bars of light and dark in turn, of much the same period, it paints the cells of a grid
under it. Cells that touch and agree on the period of some direction are one region; a region with
more pairs of bars than the rule allows is a pattern, and its cells are the area.
"""

import functools
import math
from collections import deque

import numpy as np

from voxkern.kernels.native import patterns as kernel
from voxkern.pse import colour as light
from voxkern.pse.report import Incident

WIDTH, HEIGHT = 480, 270  # a picture is made at most this large: bars from 8 px of 1080p on
CELL = 4  # pixels of the small picture
FEW = 4.5  # bars that make a line part of a region
# Ends of stripes are cut by the screen's edge or lie on ground of their own level: an allowance
# of a quarter of a pair is half way between the 5 that are allowed and 6.
ALLOWANCE = 0.25
EVERY = 0.2  # seconds from one look to the next where nothing changes at once
PAUSE = 0.2  # shorter interruptions do not end a pattern
MOVED = 0.05  # part of a pattern's contrast by which it changes when it moves
CUT, CUT_SHARE = 8 / 255, 0.12  # a change of signal, in this share of the picture: look at once
AXES = np.array([(1, 0), (1, 1), (0, 1), (-1, 1)])  # directions of straight lines, x and y


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
    Memory does not grow with the video. A frame costs some 20 us, and 1.5 ms where it is looked at:
    five times a second, at cuts, and frame by frame where a pattern moves fast.
    """

    def __init__(self, profile, width, height):
        self._profile, self._rule = profile, profile.stripes
        self._size = width, height
        self._step = max(1, math.ceil(max(width / WIDTH, height / HEIGHT)))
        self._now = self._pushed = -math.inf
        self._last = 0.0  # how long the last frame was shown
        self._signature = None
        self._looks = deque()  # (time, luminance) not older than needed to see motion
        self._held = None  # (time, seen, moving since) of the latest look
        self._stretch = None
        self._incidents = []

    def see(self, frame):
        """Take the next frame; most are not looked at closely."""
        self._tick(frame.time)
        signature = _signature(frame)
        before, self._signature = self._signature, signature
        cut = before is None or np.mean(np.abs(signature - before) > CUT) > CUT_SHARE
        if cut or frame.time - self._pushed >= EVERY - 1e-6:
            picture = functools.partial(light.preview, frame)
            self.push(frame.time, small(frame, self._step, self._profile.curve), picture)

    def push(self, time, luminance, picture=None):
        """Look at a picture of luminance, 1.0 at 200 cd/m2.

        Parameters
        ----------
        time : float
            In seconds; rising from push to push.
        luminance : ndarray
            2-D, at most 480 x 270 to be fast.
        picture : callable, optional
            Gives the still of an incident.
        """
        self._tick(time)
        luminance = np.ascontiguousarray(luminance, np.float32)
        self._settle(time)
        mask = find(luminance, self._rule)
        area = float(mask.mean())
        since = None
        if area > self._rule.moving_area:
            since = self._moving(time, luminance, mask)
        self._held = time, area, since, mask, picture
        self._looks.append((time, luminance, area))
        while self._looks and time - self._looks[0][0] > 3 * EVERY:
            self._looks.popleft()
        self._pushed = time

    def incidents(self):
        """The incidents so far, as if the video ended here."""
        self._settle(self._now + self._last)
        self._held = None
        self._close()
        return list(self._incidents)

    def _tick(self, time):
        if time > self._now:
            self._last = time - self._now if self._now > -math.inf else 0.0
            self._now = time

    def _moving(self, time, luminance, mask):
        """Since when the pattern that is seen now moves or flashes; None where it rests."""
        older = [look for look in self._looks if look[0] <= time - 0.15] or list(self._looks)[:1]
        if not older:
            return None
        then, before, area = older[-1]
        if area <= self._rule.moving_area:  # it has just come, perhaps back
            earlier = [look[0] for look in self._looks if look[2] > self._rule.moving_area]
            return earlier[-1] if earlier else None
        inside = np.kron(mask, np.ones((CELL, CELL), bool))[: before.shape[0], : before.shape[1]]
        now, before = (p[: inside.shape[0], : inside.shape[1]][inside] for p in (luminance, before))
        contrast = np.subtract(*np.percentile(now[::7], (90, 10)))
        return then if np.mean(np.abs(now - before)) > MOVED * contrast else None

    def _settle(self, until):
        """Enter what was seen at the latest look and held until now."""
        if self._held is None:
            return
        time, area, since, mask, picture = self._held
        if area > self._rule.still_area or since is not None:
            start = time if since is None else since
            if self._stretch is not None and start > self._stretch.end + PAUSE:
                self._close()
            if self._stretch is None:
                self._stretch = Stretch(start)
            self._stretch.add(until, area, since is not None, mask, picture)

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
        right, low = (min(int(n[-1] + 1) * side, most) for n, most in ((columns, width), (rows, height)))
        still = stretch.picture() if stretch.picture else None
        return Incident(
            "pattern",
            "fail",
            stretch.start,
            stretch.end,
            0.0,
            stretch.area,
            (x, y, right - x, low - y),
            f"{rule.clause}: more than {rule.pairs} pairs of light and dark stripes, {how}, over "
            f"more than {100 * limit:g} % of the screen for longer than {rule.seconds:g} s",
            still,
            None if still is None else _mask_of(stretch.mask, still.shape[:2]),
        )


class Stretch:
    """A time in which a pattern is too large, with its worst picture."""

    def __init__(self, start):
        self.start = self.end = start
        self.area, self.moving, self.mask, self.picture = 0.0, False, None, None

    def add(self, end, area, moving, mask, picture):
        self.end, self.moving = end, self.moving or moving
        # A picture a little larger is not worth the making.
        if area > 1.1 * self.area:
            self.mask = mask
            self.picture = picture and functools.partial(lambda still: still, picture())
        self.area = max(self.area, area)


# --- a picture ----------------------------------------------------------------------------------


def find(luminance, rule):
    """Cells of a picture of luminance that belong to a pattern, whatever its area."""
    height, width = luminance.shape
    lines = _lines(height, width)
    rows, columns = -(-height // CELL), -(-width // CELL)
    bars = np.zeros((len(lines), rows * columns), np.float32)
    period = np.zeros_like(bars)
    flat = luminance.reshape(-1)
    for index, (places, cells, starts) in enumerate(lines):
        straight = index < len(AXES)
        kernel.bars(
            flat, places, cells, starts, straight, rule.step, rule.bright, FEW,
            bars=bars[index], period=period[index],
        )  # fmt: skip
    mask = np.zeros((rows, columns), bool)
    if np.count_nonzero(bars.any(axis=0)) <= rule.moving_area * mask.size:
        return mask
    labels = np.zeros((rows, columns), np.int32)
    count = kernel.regions(period.reshape(-1, rows, columns), out=labels)
    sizes = np.bincount(labels.ravel(), minlength=count + 1)
    for label in range(1, count + 1):
        if sizes[label] < 4:
            continue
        inside = labels == label
        if _pairs(inside, bars, period) > rule.pairs + ALLOWANCE:
            mask |= inside
    return mask


def _pairs(inside, bars, period):
    """Pairs of bars of a region: the most that lines see, or all the stripes of parallel ones."""
    cells = inside.ravel()
    most = np.sort(bars[:, cells].max(axis=0))
    along_lines = most[-max(1, len(most) // 20)] / 2  # one line alone may err
    return max(along_lines, _parallel_pairs(inside, period[: len(AXES), cells]))


def _parallel_pairs(inside, period):
    """Pairs of a region of straight, parallel stripes from its first to its last; 0 for others.

    Lines see fewer than there are where stripes run aslant: those in the corners are on none. From
    the periods along two neighbouring directions follows the wave, from it the number.
    """
    lengths = np.hypot(*AXES.T)
    frequency = np.zeros(len(AXES))  # per pixel of the small picture
    for axis, found in enumerate(period):
        found = found[found > 0]
        if len(found) > 0.4 * period.shape[1]:
            low, middle, high = np.percentile(found, (25, 50, 75))
            if high - low <= 0.15 * middle + 0.5:
                frequency[axis] = 1 / (middle * lengths[axis])
    first, second = sorted(np.argsort(frequency)[-2:])
    if frequency[first] == 0 or (second - first) % 2 == 0:
        return 0.0
    turn = -1 if (first, second) == (0, 3) else 1  # the neighbour of 135 degrees is 180
    units = AXES / lengths[:, None] * [[turn], [1], [1], [1]]
    wave = np.linalg.solve(units[[first, second]], frequency[[first, second]])
    expected = np.abs(units @ wave)
    seen = frequency > 0
    if (np.abs(expected - frequency)[seen] > 0.2 * frequency.max()).any():
        return 0.0
    y, x = np.nonzero(inside)
    along = CELL * (x * wave[0] + y * wave[1])
    return np.ptp(along) + CELL * np.abs(wave).sum()


@functools.lru_cache(maxsize=8)
def _lines(height, width):
    """For every direction: places of samples, their cells, and where lines start.

    Lines are a cell apart; a sample in the middle of a cell stands for it.
    """
    columns = -(-width // CELL)

    def pack(lines):
        lines = [line for line in lines if len(line[0]) > 4]
        starts = np.cumsum([0, *(len(y) for y, _ in lines)]).astype(np.int32)
        y = np.concatenate([line[0] for line in lines] or [np.zeros(0, int)])
        x = np.concatenate([line[1] for line in lines] or [np.zeros(0, int)])
        return (y * width + x).astype(np.int32), y, x, starts

    def straight(axis):
        dx, dy = AXES[axis]
        middle = CELL // 2
        if dy == 0:
            return [(np.full(width, y), np.arange(width)) for y in range(middle, height, CELL)]
        if dx == 0:
            return [(np.arange(height), np.full(height, x)) for x in range(middle, width, CELL)]
        slants = []
        for start in range(-height + CELL, width + height, CELL):
            y = np.arange(height)
            x = start + dx * y
            inside = (x >= 0) & (x < width)
            slants.append((y[inside], x[inside]))
        return slants

    found = []
    for axis in range(len(AXES)):
        places, y, x, starts = pack(straight(axis))
        central = x % CELL == CELL // 2 if AXES[axis][0] else y % CELL == CELL // 2
        cells = np.where(central, y // CELL * columns + x // CELL, -1).astype(np.int32)
        found.append((places, cells, starts))
    places, y, x, starts = pack(_circles(height, width))
    found.append((places, (y // CELL * columns + x // CELL).astype(np.int32), starts))
    return found


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
    planes = [_reduced(plane, frame.planes[0].shape, step) for plane in frame.planes]
    colour = frame.colour
    table = _table(colour, curve)
    if colour.kind == "gray":
        return table[_rounded(planes[0], len(table))]
    if colour.kind == "ycbcr":
        planes = _unmixed(planes, colour)
    weights = light.weights(colour.primaries).astype(np.float32)
    total = sum(w * table[_rounded(plane, len(table))] for w, plane in zip(weights, planes))
    scale, exponent = light.system(colour)
    return total if exponent == 1 else np.float32(scale) * total ** np.float32(exponent)


@functools.lru_cache(maxsize=8)
def _table(colour, curve):
    return light.light(colour, curve).astype(np.float32)


def _rounded(plane, size):
    return np.clip(plane + np.float32(0.5), 0, size - 1).astype(np.int32)


def _unmixed(planes, colour):
    """R', G' and B' on the 12-bit grid, of float32 means."""
    m = light.matrix(colour)
    unit = np.float32(2.0**-m.shift)
    y = (planes[0] - m.y0) * (m.y * unit) + light.BLACK
    cb, cr = planes[1] - m.c0, planes[2] - m.c0
    return y + m.rv * unit * cr, y + m.gu * unit * cb + m.gv * unit * cr, y + m.bu * unit * cb


def _reduced(plane, shape, step):
    """Means of the middle 2 x 2 codes of every `step` x `step` pixels of the frame, float32.

    Two by two is enough to make flat what is too fine to be seen, such as single lines.
    """
    height, width = shape[0] // step, shape[1] // step
    down, across = (-(-n // m) for n, m in zip(shape, plane.shape))
    if step == 1:
        whole = plane.repeat(down, 0).repeat(across, 1) if down + across > 2 else plane
        return whole[:height, :width].astype(np.float32)
    y, x = (np.arange(n) * step + step // 2 for n in (height, width))
    total = np.zeros((height, width), np.float32)
    for dy in (-1, 0):
        rows = slice((step // 2 + dy) // down, None, None)
        for dx in (-1, 0):
            total += plane[((y + dy) // down)[:, None], (x + dx) // across]
    return total * np.float32(0.25)


def _signature(frame):
    """Some 600 values of signal, 0 to 1, that tell whether the picture changed."""
    plane = frame.planes[1 if frame.colour.kind == "rgb" else 0]
    down, across = (max(1, n // 24) for n in plane.shape)
    return plane[down // 2 :: down, across // 2 :: across] / np.float32((1 << frame.colour.bits) - 1)


def _mask_of(mask, shape):
    """The mask of cells at the size of a still."""
    y, x = (np.arange(n) * m // n for n, m in zip(shape, mask.shape))
    return mask[np.ix_(y, x)]
