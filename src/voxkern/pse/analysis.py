"""The analysis: frames in, a report out."""

import os

from voxkern import _check
from voxkern.pse import frames
from voxkern.pse.incidents import Judge
from voxkern.pse.profiles import PROFILES, Profile
from voxkern.pse.report import Report
from voxkern.pse.watch import Watch, checked

LOOPED = 6.0  # s beyond the first round: enough for any one second, and for extended flashing


def analyze(
    source,
    fps=None,
    profile="wcag22",
    *,
    size=None,
    css_scale=1.0,
    loop=False,
    progress=None,
):
    """Decide whether a video flashes dangerously.

    Parameters
    ----------
    source : str, path, container, array_like or iterable
        A path or an open PyAV container (these need PyAV); an array ``(F, H, W, 3)`` or
        ``(F, H, W)`` of sRGB codes, uint8 or uint16 in full range, or floats from 0 to 1; or an
        iterable of such frames, of pairs of a time in seconds and a frame, or of :class:`Frame`.
        Arrays of integers may lie on a CUDA device, where their pixels then are watched.
    fps : float, optional
        Frames per second, where the source does not say when they are shown.
    profile : str, Profile or sequence of these
        Names of :data:`PROFILES`, or your own copies of them. All are judged in one pass.
    size : (float, float), optional
        Width and height in CSS px at which the video is shown.
    css_scale : float
        CSS px per pixel of the video, where `size` is not given.
    loop : bool
        Whether the video is shown in a loop. Its rounds are analysed one after another, for 6 s
        beyond the first; the report counts the frames of all of them.
    progress : callable, optional
        Called after each frame with the number done and that expected, 0 where it is not known.

    Returns
    -------
    Report
        Where a file breaks off, of what could be read: ``complete`` is False then, and the verdict
        ``"incomplete"`` unless that part fails already.

    Raises
    ------
    ValueError, TypeError
        What cannot be analysed: naming the argument, or the frame and what is wrong with it.

    Notes
    -----
    Memory does not grow with the number of frames, but for 48 bytes per frame and profile of the
    timeline: what is looked at of the frames of the last 66 ms and, of its pixels, some bits and
    one more for each frame of a second and kind of flash (2 MB for two at 1920x1080 and 30 Hz; up
    to twice as much where they flash too often).

    The pixels of frames on a CUDA device are watched there, in 5 bytes and one more for each frame
    of a second and kind of flash; sums, masks and stills come to the host. Regular patterns and
    ``"carreira"`` need frames on the host: profiles that have them are refused. Luminance is
    compared in the same bits as on the host, red in float64 with another last bit.

    Of frames of more than 1024 x 768 pixels one pixel in each 2 x 2 is looked at, from 1920 x 1080
    on one in each 4 x 4. The report is the same for any number of threads.

    Examples
    --------
    >>> dark, bright = np.zeros((768, 1024), np.uint8), np.full((768, 1024), 255, np.uint8)
    >>> voxkern.pse.analyze([dark, dark, dark, bright, bright, bright] * 10, fps=30).verdict
    'fail'
    """
    profiles = _profiles(profile)
    scale = _scale(size, css_scale)
    if progress is not None and not callable(progress):
        raise TypeError(f"progress is {progress!r}; it must be callable")
    rounds = _rounds(source, fps) if _check.flag(loop, "loop") else iter([frames.clip(source, fps)])
    pass_ = _Pass(profiles, scale, progress)
    for clip in rounds:
        pass_.take(clip)
        if pass_.enough:
            break
    return pass_.report()


class _Pass:
    """One pass over the rounds of a source."""

    def __init__(self, profiles, scale, progress):
        self.profiles, self.scale, self.progress = profiles, scale, progress
        self.first = self.watch = self.last = None
        self.judges, self.count, self.offset = [], 0, 0.0
        self.round_end = self.threads = None

    def take(self, clip):
        """Analyse a round of the source."""
        begin, self.threads = None, clip.threads
        for frame in clip:
            if begin is None:
                begin = frame.time
            frame = checked(frame, self.first)
            self._see(frame._replace(time=frame.time + self.offset))
            if self.progress:
                self.progress(self.count, clip.expected)
        if self.first is None:
            raise ValueError(f"source {clip.name} has no frames")
        self.clip = clip
        end = max(clip.end + self.offset, self.last + self._step())
        if self.round_end is None:
            self.round_end = end
        self.offset, self.end = end - begin, end

    def _see(self, frame):
        if self.first is None:
            self._begin(frame)
        elif not frame.time > self.last:
            raise ValueError(
                f"frame {self.count} is at {frame.time:.6g} s, that before it at {self.last:.6g} s;"
                " times must rise"
            )
        self.watch.push(frame)
        for judge in self.judges:
            judge.see(frame)
        self.last = frame.time
        self.count += 1

    def _begin(self, frame):
        self.first = frame
        self.watch = Watch(frame)
        self.judges = [Judge(profile, self.watch, self.scale) for profile in self.profiles]
        self.watch.start(self.threads)

    def _step(self):
        """Mean seconds of a frame."""
        return (self.last - self.first.time) / (self.count - 1) if self.count > 1 else 1 / 30

    @property
    def enough(self):
        """Whether a loop was seen for long enough, or is broken."""
        return not self.clip.complete or self.last - self.round_end >= LOOPED

    def report(self):
        """What was found."""
        height, width = self.first.planes[0].shape
        duration = self.end - self.first.time
        return Report(
            source=self.clip.name,
            width=width,
            height=height,
            frames=self.count,
            duration=duration,
            fps=1 / self._step(),
            complete=self.clip.complete,
            problem=self.clip.problem,
            results=[judge.result(self.clip.complete) for judge in self.judges],
        )


def _profiles(profile):
    """The profiles asked for."""
    several = isinstance(profile, list | tuple | set | frozenset)
    chosen = []
    for item in profile if several else [profile]:
        if isinstance(item, str) and item not in PROFILES:
            raise ValueError(f"profile is {item!r}; it may be {', '.join(PROFILES)}, or a Profile")
        if not isinstance(item, str | Profile):
            raise TypeError(f"profile is {item!r}; it must be a name, a Profile or a list of these")
        chosen.append(PROFILES[item] if isinstance(item, str) else item)
    if not chosen:
        raise ValueError("profile is empty; it must name at least one")
    return chosen


def _scale(size, css_scale):
    """The width and height that frames are shown at, or CSS px per pixel."""
    css_scale = _check.number(css_scale, "css_scale")
    if css_scale <= 0:
        raise ValueError(f"css_scale is {css_scale!r}; it must be above 0")
    if size is None:
        return css_scale
    try:
        width, height = size
    except (TypeError, ValueError):
        raise TypeError(f"size is {size!r}; it must be a width and a height") from None
    width, height = _check.number(width, "size"), _check.number(height, "size")
    if width <= 0 or height <= 0:
        raise ValueError(f"size is {size!r}; both must be above 0")
    return width, height


def _rounds(source, fps):
    """The source again and again."""
    once = isinstance(source, frames.Clip) or hasattr(source, "__next__")
    if once or (hasattr(source, "demux") and not isinstance(source, str | os.PathLike)):
        raise ValueError("loop needs a source that can be read again: a path, an array or a list")
    while True:
        yield frames.clip(source, fps)
