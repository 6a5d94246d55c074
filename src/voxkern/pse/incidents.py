"""From counts of transitions to incidents: areas, stretches of time, verdicts."""

import copy
import math
from array import array
from collections import deque
from dataclasses import replace

import numpy as np

from voxkern.pse import colour as colours
from voxkern.pse.carreira import Older
from voxkern.pse.patterns import Patterns
from voxkern.pse.report import VERDICTS, Incident, Result
from voxkern.pse.watch import SECOND

APART = 1.0  # s: what breaks a clause again within this time is one incident
ROUNDING = 5e-4  # s, of times in a container that counts milliseconds
RAMPS_TOGETHER = 0.0205  # s: of a panning texture, more pixels turn within a few frames
STILLS = 24  # incidents of a kind that keep a still: each has up to 0.5 MB
TINY = 1e-9  # of areas and sizes in pixels, for their rounding
LITTLE = 0.01  # of the tested area: how much of less flashes together need not be known exactly
GROWN = 1.1  # a still is taken again when the area has grown so much
COLUMNS = "time", "luminance", "flashes", "area", "red_flashes", "red_area"


class Area:
    """The tested area of a profile: the screen, or a window anywhere on it.

    Attributes
    ----------
    window : (int, int) or None
        Columns and rows that are watched that hold it; `inner` are whole ones of it.
    size : (float, float)
        Its width and height in columns and rows that are watched.
    limit : float
        Watched pixels that flash together above this are too many.
    whole : float
        Watched pixels of the tested area.
    """

    def __init__(self, profile, watch, scale):
        self.profile = profile
        self.window, self.whole = None, float(watch.columns * watch.rows)
        if profile.window:
            css = _css(profile, watch.width, watch.height, scale)
            across, down = (watch.cell * of_a_pixel for of_a_pixel in css)
            wide, high = profile.window
            self.whole = wide * high / (across * down)
            self.size = min(watch.columns, wide / across), min(watch.rows, high / down)
            self.window = tuple(math.ceil(n - TINY) for n in self.size)
            self.inner = tuple(max(1, math.floor(n + TINY)) for n in self.size)
        self.limit = profile.area * self.whole
        if profile.area_inclusive:
            self.limit = math.ceil(self.limit * (1 - 1e-9)) - 1
        self.memory = None, 0  # a mask and its fullest window

    def thinned(self, rows):
        """The same of a mask that has but every so many rows."""
        thinned = copy.copy(self)
        thinned.limit, thinned.whole = self.limit / rows, self.whole / rows
        return thinned

    def exceeded(self, watch, mask, total, rough=False):
        """Whether too many pixels of a mask are together."""
        if total <= self.limit or not self.window:
            return total > self.limit
        least = math.floor(self.limit)
        if watch.window(mask, *self.window, least, rough, any=True) <= self.limit:
            return False
        if rough or self.window == self.inner:
            return True
        if min(self.size) >= 1 and watch.window(mask, *self.inner, least, any=True) > self.limit:
            return True
        covered = largest_cover(watch.unpack(mask), *self.size)
        least = self.profile.area * self.whole
        return covered > least * (1 + TINY) or (
            self.profile.area_inclusive and covered >= least * (1 - TINY)
        )

    def share(self, watch, mask, total, over):
        """Largest share of the tested area that a mask fills; above its limit if it is `over` it.

        Windows are of whole pixels, and rough where the mask is not over the limit.
        """
        if not total:
            return 0.0
        if self.window and not over:
            total = watch.window(mask, *self.window, 0, rough=True)
        elif self.window:
            known, most = self.memory
            if known is None or not np.array_equal(known, mask):
                most = watch.window(mask, *self.window, 0)
                self.memory = mask, most
            total = most
        if not over:
            return min(total, self.limit) / self.whole
        return min(1.0, max(total / self.whole, self.profile.area))


def _css(profile, width, height, scale):
    """CSS px per pixel, across and down."""
    if isinstance(scale, tuple):
        return scale[0] / width, scale[1] / height
    if not profile.screen:
        return scale, scale
    fit = min(profile.screen[0] / width, profile.screen[1] / height)
    fit = max(fit, scale) if profile.screen_is_least else fit
    return fit, fit


def largest_cover(mask, width, height):
    """How much of a mask a window of so many pixels, whole or not, covers at most.

    Moving a window changes what it covers linearly until an edge of it meets one of a pixel, so
    the most is covered where its left or right edge does, and its upper or lower one.
    """
    sums = mask.astype(np.float64)
    for size in height, width:
        sums = _slide(sums, size).T
    return sums.max()


def _slide(rows, size):
    """Sums of so many successive rows, the part of one being the first or the last of them."""
    whole = math.floor(size + TINY)
    part = max(0.0, size - whole)
    total = np.concatenate([np.zeros_like(rows[:1]), rows.cumsum(axis=0)])
    sums = total[whole:] - total[: len(total) - whole]
    if part <= TINY:
        return sums
    return np.concatenate(
        [sums[:-1] + part * rows[whole:], sums[1:] + part * rows[: len(rows) - whole]]
    )


class Track:
    """Incidents of one kind as they come and go."""

    def __init__(self, kind, severity, clause):
        self.kind, self.severity, self.clause = kind, severity, clause
        self.done, self.now = [], None

    def see(self, start, time, flashes, share, watch, mask, frame):
        """The clause is broken at `time`, by what began at `start`."""
        if self.now and start > self.now["end"] + APART:
            self.close()
        if not self.now:
            self.now = {"start": start, "flashes": 0.0, "area": 0.0}
        now = self.now
        if share > GROWN * now["area"] or "box" not in now:
            whole = watch.spread(mask)
            now["box"] = _box(whole)
            if len(self.done) < STILLS:
                now["still"], now["mask"] = _still(frame, whole)
        now["end"], now["flashes"] = time, max(flashes, now["flashes"])
        now["area"] = max(share, now["area"])

    def close(self):
        """No more of the open incident."""
        if self.now:
            self.done.append(
                Incident(kind=self.kind, severity=self.severity, clause=self.clause, **self.now)
            )
        self.now = None


def _box(mask):
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return 0, 0, mask.shape[1], mask.shape[0]
    x, y = int(columns[0]), int(rows[0])
    return x, y, int(columns[-1]) - x + 1, int(rows[-1]) - y + 1


def _still(frame, mask):
    """A picture of the frame for people, and the mask at its size."""
    picture = colours.preview(frame)
    step = max(1, -(-mask.shape[1] // 480))
    return picture, np.ascontiguousarray(mask[::step, ::step])


class Kind:
    """Luminance or red of a profile: how much of it there is, frame by frame.

    Attributes
    ----------
    event : int
        How many transitions in the last second the pixels made that now make one together, over
        too large an area; 0 where the area is not too large.
    level, share : int, float
        The largest event of the last second, and the largest share of the tested area that made too
        many transitions together; rough, where it is not too large.
    mask : ndarray
        The pixels that made too many transitions together, when some did last.
    """

    def __init__(self, watch, lane, area, profile):
        self.watch, self.lane, self.area = watch, lane, area
        self.limit, self.together = profile.transitions, profile.together + ROUNDING
        self.event = self.level = self.few = 0
        # In windows, events below the limit are for the curve alone: some rows will do, and one
        # frame where two are together.
        self.step = watch.ramp_rows if area.window else 1
        self.rough, self.seen = area.thinned(self.step), -np.inf
        self.share, self.mask = 0.0, None
        self.events = deque()  # (time, event, share) of the last second

    def see(self, time, curve=True):
        """Take the state after a frame; events below the limit are for the `curve` alone."""
        while self.events and time - self.events[0][0] > SECOND:
            self.events.popleft()
        self.event, share = 0, 0.0
        done, many = self.watch.now(self.lane)  # without any, nothing is new
        if many:
            share = self._see_many(curve)
        if done and curve and not self.event:
            self.event = self._few(time)
        if self.event or share:
            self.events.append((time, self.event, share))
        self.level, self.share = 0, 0.0
        if self.events:
            _, events, shares = zip(*self.events)
            self.level, self.share = max(events), max(shares)

    def _see_many(self, curve):
        """Enter the event where pixels made too many; the share of the area that did."""
        most = self.watch.too_many(self.lane, self.together)
        if most <= min(self.area.limit, LITTLE * self.area.whole if curve else np.inf):
            return most / self.area.whole
        self.mask, total = self.watch.over(self.lane, self.together)
        if self.area.exceeded(self.watch, self.mask, total):
            self.event = max(self.level, self.limit + 1)
            while self.event > self.limit + 1 and not self.holds(self.event):
                self.event -= 1
            while self.holds(self.event + 1):
                self.event += 1
        return self.area.share(self.watch, self.mask, total, self.over)

    def _few(self, time):
        """The event up to the limit, from the one before: it seldom differs by more than one."""
        if self.step > 1 and time - self.seen < self.together / 2:
            return 0
        self.seen = time
        if self.watch.done(self.lane, self.together) <= self.area.limit:
            return 0
        while self.few and not self.holds(self.few):
            self.few -= 1
        while self.few < self.limit and self.holds(self.few + 1):
            self.few += 1
        return self.few

    def holds(self, count):
        """Whether too large an area made so many transitions, the last ones together.

        Fewer than are too many are for the curve, and windows rough.
        """
        few = count <= self.limit
        area, step = (self.rough, self.step) if few else (self.area, 1)
        mask, total = self.watch.at_least(self.lane, count, self.together, step)
        return area.exceeded(self.watch, mask, total, few)

    @property
    def over(self):
        """Whether the clause is broken."""
        return self.event > self.limit


def _without_host(profile):
    """Raise where a profile looks at more of a frame than its transitions."""
    if profile.stripes or profile.name == "carreira":
        way = ", or give dataclasses.replace(profile, stripes=None)" if profile.stripes else ""
        raise ValueError(
            f"profile {profile.name} needs frames on the host; copy these from the CUDA device{way}"
        )


class Judge:
    """One profile over the frames of a video."""

    def __init__(self, profile, watch, scale):
        if watch.on_device:
            _without_host(profile)
        self.profile, self.watch = profile, watch
        self.columns = {name: array("d") for name in COLUMNS}
        self.area = Area(profile, watch, scale)
        self.light = watch.light(profile)
        self.older = Older(profile) if profile.name == "carreira" else None
        self.patterns = self._patterns() if profile.stripes else None
        self.kinds, self.tracks = {}, {}
        if not self.older:
            self._kind("luminance", watch.lane(profile, "luminance"), profile.luminance_clause)
        if profile.red != "none":
            self._kind("red", watch.lane(profile, "red"), profile.red_clause)
        self.ramp = None
        if not self.older and colours.system(watch.colour)[1] == 1:
            area = self.area.thinned(watch.ramp_rows)
            self.ramp = Kind(watch, watch.lane(profile, "ramp"), area, profile)
            self.ramp.together = RAMPS_TOGETHER
            self.tracks["ramp"] = Track("ramp", "warning", profile.ramp_clause)
        self.tracks["extended"] = Track("extended", "warning", profile.extended_clause)
        self.run = None  # when flashing began that may become extended
        self.weak = None  # when flashing began that the relaxation still allows
        if profile.relaxation:
            change = profile.relaxation.change * (1 + 1e-6)
            lane = watch.lane(profile, "luminance", change)
            self.strong = Kind(watch, lane, self.area, profile)

    def _patterns(self):
        """Regular patterns, one for all profiles that quote other clauses alone."""
        name = colours.curve_of(self.watch.colour, self.profile.curve)
        key = replace(self.profile.stripes, clause=""), name
        if key not in self.watch.patterns:
            found = Patterns(self.profile, self.watch.width, self.watch.height)
            self.watch.patterns[key] = found
        return self.watch.patterns[key]

    def _kind(self, name, lane, clause):
        self.kinds[name] = Kind(self.watch, lane, self.area, self.profile)
        self.tracks[name] = Track(name, "fail", clause)

    def see(self, frame):
        """Judge the frame that the watch took last."""
        row = {"time": frame.time, "luminance": min(1.0, self.watch.mean(self.light))}
        if self.patterns:
            self.patterns.see(frame)
        if self.profile.relaxation:
            self.strong.see(frame.time, curve=False)
        if self.older:
            row["flashes"], row["area"] = self._see_older(frame)
        for name, kind in self.kinds.items():
            kind.see(frame.time)
            prefix = "red_" if name == "red" else ""
            row[prefix + "flashes"], row[prefix + "area"] = kind.level / 2, kind.share
            if kind.over:
                self._break(name, kind, frame)
        if self.profile.extended:
            self._extend(frame)
        if self.ramp:
            self._see_ramps(frame)
        if self.profile.relaxation and self.kinds["luminance"].level <= self.profile.transitions:
            self.weak = None
        for name in COLUMNS:
            self.columns[name].append(row.get(name, 0.0))

    def _break(self, name, kind, frame):
        """Too many flashes over too large an area: an incident, unless it may be for a while."""
        start = self.watch.since(kind.lane, kind.mask)
        if name == "luminance" and self.profile.relaxation:
            self.weak = start if self.weak is None else self.weak
            if self._allowed(kind, frame.time):
                return
            start = self.weak
        self.tracks[name].see(
            start, frame.time, kind.event / 2, kind.share, self.watch, kind.mask, frame
        )

    def _allowed(self, kind, time):
        """Whether the relaxation allows the flashing so far."""
        rule = self.profile.relaxation
        red = self.kinds.get("red")
        return (
            kind.level <= rule.transitions
            and not self.strong.level > self.profile.transitions
            and not (red and red.level)
            and time - self.weak <= rule.seconds
        )

    def _see_ramps(self, frame):
        """Changes too slow for a flash that come as often: a warning where there are no flashes."""
        self.ramp.see(frame.time, curve=False)
        if self.ramp.over and self.kinds["luminance"].level <= self.profile.transitions:
            start = self.watch.since(self.ramp.lane, self.ramp.mask)
            flashes, share = self.ramp.event / 2, self.ramp.share
            see = self.tracks["ramp"].see
            see(start, frame.time, flashes, share, self.watch, self.ramp.mask, frame)

    def _extend(self, frame):
        """Flashing at half the limit or more, for how long."""
        enough = self.profile.transitions // 2 + 1
        kind = max(self.kinds.values(), key=lambda kind: kind.event)
        if max(kind.level for kind in self.kinds.values()) < enough:
            self.run = None
        if kind.event < enough:
            return
        mask, total = self.watch.at_least(kind.lane, enough, kind.together)
        if self.run is None:
            self.run = self.watch.since(kind.lane, mask)
        if frame.time - self.run > self.profile.extended:
            share = self.area.share(self.watch, mask, total, over=True)
            see = self.tracks["extended"].see
            see(self.run, frame.time, kind.event / 2, share, self.watch, mask, frame)

    def _see_older(self, frame):
        flashes, start = self.older.see(frame)
        if flashes > self.older.most:
            track = self.tracks.setdefault(
                "luminance", Track("luminance", "fail", self.profile.luminance_clause)
            )
            mask = np.full(self.watch.row_words * self.watch.rows, ~np.uint64(0))
            track.see(start, frame.time, float(flashes), 1.0, self.watch, mask, frame)
        return float(flashes), float(flashes > self.older.most)

    def result(self, complete=True):
        """The verdict and all that led to it; `complete`: whether these were all the frames."""
        for track in self.tracks.values():
            track.close()
        incidents = [incident for track in self.tracks.values() for incident in track.done]
        if self.patterns:
            incidents += self.patterns.incidents(self.profile.stripes.clause)
        incidents.sort(key=lambda incident: (incident.start, incident.end))
        worst = [i.severity for i in incidents]
        verdict = max(["pass" if complete else "incomplete", *worst], key=VERDICTS.index)
        timeline = {name: np.array(column) for name, column in self.columns.items()}
        return Result(self.profile.name, verdict, incidents, timeline)
