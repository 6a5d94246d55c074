"""What an analysis found: incidents, a verdict per profile, curves over time."""

from dataclasses import dataclass, field

import numpy as np

VERDICTS = ("pass", "warning", "fail")  # from good to bad


@dataclass(frozen=True)
class Incident:
    """A stretch of time that breaks a clause, or comes near to it.

    Attributes
    ----------
    kind : str
        ``"luminance"``, ``"red"``, ``"extended"``, ``"pattern"`` or ``"ramp"``.
    severity : str
        ``"fail"`` or ``"warning"``.
    start, end : float
        Seconds.
    flashes : float
        Most flashes in one second.
    area : float
        Largest share, 0 to 1, of the tested area.
    box : tuple of int
        x, y, width and height of what flashes, in pixels.
    clause : str
        The text of the standard that it breaks.
    still : ndarray or None
        ``(h, w, 3)`` uint8, at most 480 wide.
    mask : ndarray or None
        ``(h, w)`` bool, of the same size: where it flashes.
    """

    kind: str
    severity: str
    start: float
    end: float
    flashes: float
    area: float
    box: tuple
    clause: str
    still: np.ndarray | None = field(default=None, compare=False, repr=False)
    mask: np.ndarray | None = field(default=None, compare=False, repr=False)


@dataclass
class Result:
    """What one profile says.

    Attributes
    ----------
    profile : str
        Its name.
    verdict : str
        ``"pass"``, ``"warning"`` or ``"fail"``.
    incidents : list of Incident
    timeline : dict of str to ndarray
        One value a frame: ``"time"``, ``"luminance"`` (mean, relative 0 to 1), ``"flashes"`` (most
        flashes in the last second over a hazardous area), ``"area"`` (share of the tested area
        that flashes too often), ``"red_flashes"`` and ``"red_area"``.
    """

    profile: str
    verdict: str
    incidents: list
    timeline: dict = field(repr=False)


@dataclass
class Report:
    """What :func:`voxkern.pse.analyze` found.

    Attributes
    ----------
    source : str
    width, height, frames : int
    duration, fps : float
        Seconds, and the mean rate of the frames.
    complete : bool
        Whether the source was read to its end.
    problem : str
        Why not, else empty.
    results : list of Result
        One a profile.
    """

    source: str
    width: int
    height: int
    frames: int
    duration: float
    fps: float
    complete: bool
    problem: str
    results: list

    @property
    def verdict(self):
        """The worst of the results: ``"fail"``, ``"warning"`` or ``"pass"``."""
        return max((result.verdict for result in self.results), key=VERDICTS.index)
