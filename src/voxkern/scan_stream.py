"""Raw frames on standard input, a line of JSON for each: for games and players."""

import json
import re
import time

import numpy as np

from voxkern.pse.frames import Colour, Frame
from voxkern.pse.incidents import Judge
from voxkern.pse.profiles import PROFILES
from voxkern.pse.watch import Watch

PACKED = {  # where red, green and blue are, and the bytes of a pixel
    "rgb24": (0, 1, 2, 3),
    "bgr24": (2, 1, 0, 3),
    "rgba": (0, 1, 2, 4),
    "rgb0": (0, 1, 2, 4),
    "bgra": (2, 1, 0, 4),
    "bgr0": (2, 1, 0, 4),
    "argb": (1, 2, 3, 4),
    "abgr": (3, 2, 1, 4),
}
PLANAR = {"yuv420p": (2, 2), "yuv422p": (1, 2), "yuv444p": (1, 1)}  # rows and columns a sample
FORMATS = (*PACKED, *PLANAR, "gray")
VIDEO = Colour("ycbcr", 8, "bt709", full_range=False)


def frames(stream, size, pixels, fps=None):
    """Check the arguments; gives the frames of a binary stream until its end.

    Their times are those of the clock when they were complete, or their number over `fps`. Alpha
    is not looked at; Y'CbCr is BT.709 in narrow range. Raises ValueError, at the end, where the
    last frame is not whole.
    """
    match = re.fullmatch(r"([1-9]\d{0,4})x([1-9]\d{0,4})", size or "")
    if not match:
        raise ValueError(f"--size is {size!r}; it must be given as WIDTHxHEIGHT")
    if pixels not in FORMATS:
        raise ValueError(f"--pix-fmt is {pixels!r}; it may be {', '.join(FORMATS)}")
    if fps is not None and not 0 < fps <= 10000:
        raise ValueError(f"--fps is {fps}; it must be above 0 and at most 10000")
    width, height = int(match[1]), int(match[2])
    return _frames(stream, width, height, pixels, fps)


def _frames(stream, width, height, pixels, fps):
    steps = PLANAR.get(pixels, (1, 1))
    small = -(-height // steps[0]), -(-width // steps[1])
    samples = width * height
    if pixels in PLANAR:
        count = samples + 2 * small[0] * small[1]
    else:
        count = samples * PACKED.get(pixels, (1,))[-1]
    begin, index = time.monotonic(), 0
    while data := stream.read(count):
        if len(data) < count:
            raise ValueError(f"stdin ended in frame {index}: {len(data)} of {count} bytes")
        codes = np.frombuffer(data, np.uint8)
        if pixels in PLANAR:
            chroma = codes[samples:].reshape(2, *small)
            planes, colour = (codes[:samples].reshape(height, width), *chroma), VIDEO
        elif pixels == "gray":
            planes, colour = (codes.reshape(height, width),), Colour("gray")
        else:
            *order, depth = PACKED[pixels]
            whole = codes.reshape(height, width, depth)
            planes, colour = tuple(whole[..., channel] for channel in order), Colour("rgb")
        yield Frame(index / fps if fps else time.monotonic() - begin, planes, colour)
        index += 1


def watch(frames, profiles, out):
    """Write a line of JSON to `out` for each frame and one at the end; gives the exit code.

    A frame's line says for each profile what the timeline of a report says, and in ``"hazard"``
    which kinds of flash were too many within the last second. The last line has the verdicts and
    all incidents, among them those that only time shows: extended flashing, patterns.
    """
    judges, state, count, last = [], None, 0, -1.0
    for count, frame in enumerate(frames, 1):
        if state is None:
            state = Watch(frame)
            judges = [Judge(PROFILES[name], state, 1.0) for name in profiles]
            state.start()
        frame = frame._replace(time=max(frame.time, last + 1e-6))  # a clock may stand still
        last = frame.time
        state.push(frame)
        for judge in judges:
            judge.see(frame)
        shown = {"frame": count - 1, "time": round(frame.time, 6)}
        print(json.dumps(shown | {"profiles": dict(map(now, judges))}), file=out, flush=True)
    if not count:
        raise ValueError("stdin has no frame")
    results = [judge.result() for judge in judges]
    end = {
        "frames": count,
        "verdicts": {result.profile: result.verdict for result in results},
        "incidents": [{"profile": r.profile} | plain(i) for r in results for i in r.incidents],
    }
    print(json.dumps(end), file=out, flush=True)
    return int("fail" in end["verdicts"].values())


def now(judge):
    """A profile's name and its values after the last frame, which alone are kept."""
    values = {name: round(column[-1], 6) for name, column in judge.columns.items()}
    del values["time"]
    for column in judge.columns.values():
        del column[:-1]
    hazards = [name for name, kind in judge.kinds.items() if kind.level > kind.limit]
    if judge.older and values["area"]:
        hazards.append("luminance")
    return judge.profile.name, values | {"hazard": hazards}


def plain(incident):
    """An incident as JSON has it."""
    names = "kind", "severity", "clause"
    numbers = "start", "end", "flashes", "area"
    return {n: getattr(incident, n) for n in names} | {
        n: float(getattr(incident, n)) for n in numbers
    }
