"""Reports made up for the tests of what a report is written as."""

import numpy as np

from voxkern.pse import Incident, Report, Result

HOSTILE = '<b onmouseover="alert(1)">a</b> </script><!-- & \u2028 é.mp4'


def timeline(frames=300, fps=30.0):
    time = np.arange(frames) / fps
    inside = (time >= 2) & (time < 4)
    return {
        "time": time,
        "luminance": 0.4 + 0.2 * np.sin(time),
        "flashes": np.where(inside, 5.0, 0.0),
        "area": np.where(inside, 0.5, 0.0),
        "red_flashes": np.where(time > 6, 2.0, 0.0),
        "red_area": np.where(time > 6, 0.1, 0.0),
    }


def still(width=480, height=270):
    y, x = np.mgrid[:height, :width]
    picture = np.stack([x % 256, y % 256, (x // 20 % 2) * 255], axis=2).astype(np.uint8)
    return picture, np.hypot(x - 360, y - 60) < 50


def report(
    profiles=("wcag22", "bt1702"), source="clip.mp4", complete=True, frames=300, passed=False
):
    picture, mask = still()
    incidents = [
        Incident(
            "luminance", "fail", 2.0, 4.0, 5.0, 0.5, (4, 8, 600, 300), "too many", picture, mask
        ),
        Incident("extended", "warning", 2.0, 8.0, 3.5, 0.3, (0, 0, 9, 9), "too <long>"),
        Incident("pattern", "fail", 5.0, 6.0, 0.0, 0.7, (0, 0, 640, 360), "stripes", picture, mask),
    ]
    results = [
        Result(
            profile,
            ("pass" if complete else "incomplete") if passed else "fail",
            [] if passed else incidents[: 1 + 2 * index],
            timeline(frames),
        )
        for index, profile in enumerate(profiles)
    ]
    problem = "" if complete else "broken <here> & there"
    return Report(source, 640, 360, frames, frames / 30, 30.0, complete, problem, results)
