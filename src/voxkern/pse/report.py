"""What an analysis found: incidents, a verdict per profile, curves over time."""

import csv
import importlib.metadata
import io
import json
from dataclasses import dataclass, field

import numpy as np

SCHEMA = "voxkern.pse/1"  # docs/photosensitivity_report.schema.json; a change of meaning counts up
VERDICTS = ("pass", "warning", "incomplete", "fail")  # from good to bad


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
        ``"pass"``, ``"warning"``, ``"incomplete"`` or ``"fail"``.
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
        """The worst of the results: ``"fail"``, ``"incomplete"``, ``"warning"`` or ``"pass"``.

        A video that was not read to its end never passes: unless what was read fails already, it
        is ``"incomplete"``.
        """
        verdicts = [result.verdict for result in self.results]
        return max(verdicts + ["incomplete"] * (not self.complete), key=VERDICTS.index)

    def to_json(self, path=None, *, timeline=True):
        """The report as JSON, after ``docs/photosensitivity_report.schema.json``.

        Stills and masks are left out; numbers are written so that they read back exactly.

        Parameters
        ----------
        path : path, optional
            A file to write, too.
        timeline : bool
            Whether the curves are in it.

        Returns
        -------
        str
        """
        head = {"schema": SCHEMA, "voxkern": importlib.metadata.version("voxkern")}
        facts = {name: getattr(self, name) for name in FACTS}
        results = [_result_to_json(result, timeline) for result in self.results]
        values = head | facts | {"verdict": self.verdict, "results": results}
        text = json.dumps(values, allow_nan=False, default=_plain)
        return _written(text + "\n", path)

    @classmethod
    def from_json(cls, text):
        """The report that :meth:`to_json` wrote, without stills and masks.

        Raises
        ------
        ValueError
            `text` is no JSON, or of another schema.
        """
        values = json.loads(text)
        if not isinstance(values, dict) or values.get("schema") != SCHEMA:
            raise ValueError(f"text is no report of the schema {SCHEMA}")
        results = [_result_from_json(result) for result in values["results"]]
        return cls(**{name: values[name] for name in FACTS}, results=results)

    def to_csv(self, path=None):
        """The curves as CSV: a row for each profile and frame, shares from 0 to 1.

        Parameters
        ----------
        path : path, optional
            A file to write, too.

        Returns
        -------
        str
        """
        stream = io.StringIO()
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["profile", *CURVES])
        for result in self.results:
            columns = [np.asarray(result.timeline[name]).tolist() for name in CURVES]
            writer.writerows([result.profile, *row] for row in zip(*columns))
        return _written(stream.getvalue(), path)

    def to_webvtt(self, path=None):
        """The incidents as WebVTT cues: a player shows them, or software skips to their ends.

        Parameters
        ----------
        path : path, optional
            A file to write, too.

        Returns
        -------
        str
        """
        found = [(i.start, i.end, r.profile, i) for r in self.results for i in r.incidents]
        blocks = ["WEBVTT", "NOTE Photosensitivity hazards found by voxkern"]
        if not self.complete:
            blocks.append(f"NOTE Incomplete, the rest is unknown: {_cue_text(self.problem)}")
        for start, end, profile, incident in sorted(found, key=lambda cue: cue[:3]):
            # A cue must end after it starts; its times have milliseconds.
            times = f"{_cue_time(start)} --> {_cue_time(max(end, start + 0.001))}"
            text = (
                f"{SEVERITIES[incident.severity]} ({profile}, {incident.kind}): {incident.clause}"
            )
            blocks.append(f"{times}\n{_cue_text(text)}")
        return _written("\n\n".join(blocks) + "\n", path)

    def to_html(self, path=None):
        """The report as one page that opens offline; needs Plotly.

        An interactive chart over time, the incidents, and stills that are dimmed, covered where
        they flash and hidden until asked for. Some 5 MB, nearly all of it Plotly's code.

        Parameters
        ----------
        path : path, optional
            A file to write, too.

        Returns
        -------
        str

        Raises
        ------
        ImportError
            Plotly is not installed.
        """
        from voxkern.pse import html  # the page is no part of the analysis

        return _written(html.page(self), path)


FACTS = ("source", "width", "height", "frames", "duration", "fps", "complete", "problem")
CURVES = ("time", "luminance", "flashes", "area", "red_flashes", "red_area")
PLAIN = ("kind", "severity", "start", "end", "flashes", "area", "box", "clause")
SEVERITIES = {"fail": "Hazard", "warning": "Caution"}


def _written(text, path):
    """`text`, which is written to `path` if there is one.

    A file's name may have bytes that are no text; they become question marks.
    """
    text = text.encode(errors="replace").decode()
    if path is not None:
        with open(path, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
    return text


def _result_to_json(result, timeline):
    incidents = [{name: getattr(i, name) for name in PLAIN} for i in result.incidents]
    values = {"profile": result.profile, "verdict": result.verdict, "incidents": incidents}
    if timeline:
        curves = {name: np.asarray(result.timeline[name]).tolist() for name in CURVES}
        values["timeline"] = curves
    return values


def _result_from_json(values):
    incidents = [Incident(**{**i, "box": tuple(i["box"])}) for i in values["incidents"]]
    timeline = {name: np.array(curve) for name, curve in values.get("timeline", {}).items()}
    return Result(values["profile"], values["verdict"], incidents, timeline)


def _plain(value):
    """NumPy's scalars as Python's."""
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")


def _cue_time(seconds):
    hours, rest = divmod(round(seconds * 1000), 3600000)
    minutes, rest = divmod(rest, 60000)
    return f"{hours:02d}:{minutes:02d}:{rest // 1000:02d}.{rest % 1000:03d}"


def _cue_text(text):
    """Text of a cue on one line: tags and arrows would be read as such."""
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return " ".join(text.split())
