"""The report as one HTML page that opens offline; stills are dimmed and hidden until asked for."""

import base64
import hashlib
import html
import importlib.metadata
import importlib.resources
import json
import struct
import zlib

import numpy as np

from voxkern.pse.profiles import PROFILES

NAMES = {
    "wcag22": "WCAG 2.2",
    "wcag20": "WCAG 2.0",
    "bt1702": "ITU-R BT.1702-3",
    "ofcom": "Ofcom",
    "iso9241": "ISO 9241-391",
    "trace24": "TRACE 24",
    "nabj": "NAB Japan",
    "carreira": "Carreira 2015",
}
KINDS = {
    "luminance": "Flashes",
    "red": "Red flashes",
    "extended": "Flashing for more than 5 seconds",
    "pattern": "Regular pattern",
    "ramp": "Strong, slower changes",
}
SYMBOLS = {"fail": "✕", "warning": "!", "pass": "✓", "incomplete": "?"}
WORDS = {"fail": "Fail", "warning": "Warning", "pass": "Pass", "incomplete": "Incomplete"}
SERIES = ("luminance", "flashes", "area", "red_flashes", "red_area")
# A curve is drawn by at most this many stretches of time, of each its extremes: a film of two
# hours would be 60 MB of numbers and minutes of drawing.
STRETCHES = 1500
ROWS = 40  # of a table of values
STILLS = 40  # of a page, worst incidents first: a still is 50 to 150 kB
# White comes out as code 89, a tenth of its light: the stripes of a pattern stay under the
# 50 cd/m2 that a harmful one needs on any screen of up to 500 cd/m2.
DIMMED = 0.35
VEIL, VEILED = np.array([64, 96, 104]), 0.92  # the colour laid over what flashes, and its share
OUTLINE = np.array([68, 90, 92])


def page(report):
    """The text of the page. Needs Plotly."""
    plotly = _plotly()
    script = _asset("report.js")
    fields = {
        "title": html.escape(report.source),
        "csp": f"default-src 'none'; script-src {_hash(plotly)} {_hash(script)}; "
        "style-src 'unsafe-inline'; img-src data: blob:; base-uri 'none'; form-action 'none'",
        "css": _asset("report.css"),
        "facts": _facts(report),
        "verdict": _verdict(report),
        "chart": _chart(report),
        "incidents": _incidents(report),
        "version": html.escape(importlib.metadata.version("voxkern")),
        "data": _script_json(_data(report)),
        "plotly": plotly,
        "script": script,
    }
    return PAGE.format(**fields)


# The scripts are named by their hashes, so that no other can run whatever a name contains.
PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{csp}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>Photosensitivity report: {title}</title>
<style>
{css}</style>
</head>
<body>
<a class="skip" href="#main">Skip to the verdict</a>
<header>
<p class="kicker">Photosensitivity report</p>
<h1>{title}</h1>
{facts}
</header>
<main id="main" tabindex="-1">
{verdict}
{chart}
{incidents}
<section aria-labelledby="limits-title" class="plain">
<h2 id="limits-title">What this report is not</h2>
<p>It is no certificate, and a pass is no promise that a video is safe for everyone. The figures
hold for the file as it was read; a screen that is brighter, larger or nearer than the standards
suppose can be worse. Broadcasters that need a certificate ask an approved service for it.</p>
</section>
</main>
<footer><p>Made by voxkern {version}. This page loads nothing from the network.</p></footer>
<script type="application/json" id="data">{data}</script>
<script>{plotly}</script>
<script>{script}</script>
</body>
</html>
"""


def _plotly():
    try:
        from plotly.offline import get_plotlyjs
    except ImportError:
        raise ImportError(
            "an HTML report needs Plotly: pip install 'voxkern[report]' (or plotly)"
        ) from None
    return get_plotlyjs().replace("</script", r"<\/script").replace("<!--", r"<\!--")


def _asset(name):
    return (importlib.resources.files("voxkern") / "data" / name).read_text(encoding="utf-8")


def _hash(script):
    """A script's name in a content security policy."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"


def _script_json(value):
    """JSON that may stand in a script element: no tag or comment can begin or end in it."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    return text.replace("&", r"\u0026").replace("<", r"\u003c").replace(">", r"\u003e")


# --- words --------------------------------------------------------------------------------------


def name_of(profile):
    """What a profile is called in prose."""
    return NAMES.get(profile, profile)


def clock(seconds):
    """Seconds as m:ss.mmm, with hours where there are any."""
    whole = round(seconds * 1000)
    hours, rest = divmod(whole, 3600000)
    minutes, rest = divmod(rest, 60000)
    tail = f"{rest / 1000:06.3f}"
    return f"{hours}:{minutes:02d}:{tail}" if hours else f"{minutes}:{tail}"


def _length(seconds):
    """Seconds in words."""
    minutes, rest = divmod(round(seconds, 3), 60)
    hours, minutes = divmod(int(minutes), 60)
    parts = [f"{hours} h"] * bool(hours) + [f"{minutes} min"] * bool(hours or minutes)
    return " ".join([*parts, f"{rest:.5g} s"])


def _percent(share):
    return f"{100 * share:.3g} %"


def _plural(count, word):
    return f"{count:,} {word}" + ("" if count == 1 else "s")


def _badge(state):
    return (
        f'<span class="badge {state}"><span aria-hidden="true">{SYMBOLS[state]}</span>'
        f"{WORDS[state]}</span>"
    )


# --- parts of the page --------------------------------------------------------------------------


def _facts(report):
    facts = {
        "Size": f"{report.width} &times; {report.height} px",
        "Length": _length(report.duration),
        "Frames": f"{report.frames:,}",
        "Mean rate": f"{report.fps:.6g} per second",
    }
    items = "".join(f"<div><dt>{k}</dt><dd>{v}</dd></div>" for k, v in facts.items())
    return f'<dl class="facts">{items}</dl>'


def _verdict(report):
    state = report.verdict
    sentence = {
        "fail": "Parts of this video flash, or show patterns, in a way that {} not allow.",
        "warning": "No limit is broken, but parts of this video come close enough to need a look.",
        "pass": "Nothing in this video breaks the limits of {}.",
        "incomplete": "No limit is broken in the part that could be read. The rest is unknown.",
    }[state]
    broken = [r for r in report.results if r.verdict == "fail"] or report.results
    names = _listed([name_of(result.profile) for result in broken])
    if state == "fail":
        names += " does" if len(broken) == 1 else " do"
    parts = [
        '<section aria-labelledby="verdict-title" class="verdict">',
        f'<h2 id="verdict-title"><span class="hidden">Verdict: </span>{_badge(state)}</h2>',
        f'<p class="lead">{html.escape(sentence.format(names))}</p>',
    ]
    if not report.complete:
        parts.append(_unfinished(report))
    parts += [_profiles(report), "</section>"]
    return "\n".join(parts)


def _listed(words):
    return " and ".join(filter(None, [", ".join(words[:-1]), words[-1]]))


def _unfinished(report):
    return (
        '<p class="notice" role="alert"><strong>The video was not analysed to its end.</strong> '
        f"What was read: {_plural(report.frames, 'frame')}, {_length(report.duration)}. "
        f"Reason: {html.escape(report.problem or 'unknown')}</p>"
    )


def _profiles(report):
    """The list of verdicts."""
    items = []
    for result in report.results:
        first = min(result.incidents, key=lambda i: (i.severity != "fail", i.start), default=None)
        text = "Nothing found."
        if first:
            count = _plural(len(result.incidents), "incident")
            text = f"{count}, first at {clock(first.start)}: {html.escape(first.clause)}"
        items.append(
            f"<li><strong>{html.escape(name_of(result.profile))}</strong>"
            f"{_badge(result.verdict)}<span>{text}</span></li>"
        )
    return f'<ul class="profiles">{"".join(items)}</ul>'


def _chart(report):
    options = "".join(
        f'<option value="{index}">{html.escape(name_of(result.profile))}</option>'
        for index, result in enumerate(report.results)
    )
    choice = ""
    if len(report.results) > 1:
        choice = f'<label>Standard <select id="profile">{options}</select></label>'
    return CHART.format(choice=choice, tables=_whole_tables(report))


CHART = """<section aria-labelledby="chart-title">
<h2 id="chart-title">Over time</h2>
<p id="chart-help">Shaded: incidents. Dotted: limits. Drag to zoom and double-click for all; with
the keyboard, <kbd>+</kbd> and <kbd>&minus;</kbd> zoom, <kbd>←</kbd> and <kbd>→</kbd> move,
<kbd>0</kbd> shows all. The same values stand in the tables below.</p>
<div class="tools" role="toolbar" aria-label="Chart">{choice}
<button type="button" data-do="all">Whole video</button>
<button type="button" data-do="in">Zoom in</button>
<button type="button" data-do="out">Zoom out</button>
<button type="button" data-do="back">Earlier</button>
<button type="button" data-do="on">Later</button>
</div>
<div id="frame" tabindex="0" role="group" aria-roledescription="chart"
 aria-label="Flashes, area and luminance over time" aria-describedby="chart-help">
<div id="chart" aria-hidden="true"></div>
<noscript><p>The chart needs JavaScript; the tables below have its values.</p></noscript>
</div>
<p id="range" class="hint" role="status" aria-live="polite"></p>
{tables}
</section>"""


def _whole_tables(report):
    tables = []
    for result in report.results:
        name = html.escape(name_of(result.profile))
        table = _values(result.timeline, 0, np.inf, f"{name}, the whole video")
        tables.append(f"<details><summary>Values as a table: {name}</summary>{table}</details>")
    return "".join(tables)


def _values(timeline, start, end, caption):
    """A table of the curves from `start` to `end`: what is highest in each of its rows."""
    time = timeline["time"]
    inside = np.flatnonzero((time >= start) & (time <= end))
    rows = []
    for part in np.array_split(inside, min(ROWS, max(1, len(inside)))):
        if len(part) == 0:
            continue
        low, high = timeline["luminance"][part].min(), timeline["luminance"][part].max()
        bright = _percent(high) if low == high else f"{_percent(low)} to {_percent(high)}"
        most = {name: timeline[name][part].max() for name in SERIES[1:]}
        rows.append(
            f'<tr><th scope="row">{clock(time[part[0]])}</th><td>{most["flashes"]:.3g}</td>'
            f"<td>{_percent(most['area'])}</td><td>{most['red_flashes']:.3g}</td>"
            f"<td>{_percent(most['red_area'])}</td><td>{bright}</td></tr>"
        )
    note = "" if len(inside) <= ROWS else "; a row has the highest until the next begins"
    heads = ("From", "Flashes in the last second", "Area", "Red flashes", "Red area", "Luminance")
    head = "".join(f'<th scope="col">{text}</th>' for text in heads)
    return (
        f'<div class="wide" role="region" aria-label="{caption}" tabindex="0"><table>'
        f"<caption>{caption}{note}</caption><thead><tr>{head}</tr></thead>"
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def _incidents(report):
    found = [(r, incident) for r in report.results for incident in r.incidents]
    if not found:
        text = '<p class="plain">There are none.</p>'
        return _section("incidents-title", "Incidents", text)
    worst = sorted(found, key=lambda pair: (pair[1].severity != "fail", -pair[1].area))
    shown = {id(i) for _, i in [p for p in worst if p[1].still is not None][:STILLS]}
    level = 4 if len(report.results) > 1 else 3
    parts = []
    if shown:
        parts.append(
            '<p class="notice before"><strong>Before you open a still:</strong> it shows a moment '
            "of the video that may be hard to bear. Stills are dimmed to a tenth of their light, "
            "what flashes or forms a pattern is covered, and nothing moves. They stay hidden until "
            "you ask for one.</p>"
        )
    for index, result in enumerate(report.results):
        if len(report.results) > 1 and result.incidents:
            parts.append(f'<h3 class="of">{html.escape(name_of(result.profile))}</h3>')
        parts += [
            _incident(index, number, incident, result, id(incident) in shown, level)
            for number, incident in enumerate(result.incidents)
        ]
    return _section("incidents-title", f"Incidents ({len(found):,})", "\n".join(parts))


def _section(name, title, text):
    return f'<section aria-labelledby="{name}"><h2 id="{name}">{title}</h2>\n{text}</section>'


def _incident(index, number, incident, result, with_still, level):
    name = f"incident-{index}-{number}"
    span = f"{clock(incident.start)} to {clock(incident.end)}"
    x, y, width, height = incident.box
    facts = {
        "Lasts": _length(incident.end - incident.start),
        "Most flashes in a second": f"{incident.flashes:.3g}",
        "Largest area": _percent(incident.area),
        "Where": f"{width} &times; {height} px at {x}, {y}",
    }
    if incident.kind == "pattern":
        del facts["Most flashes in a second"]
    items = "".join(f"<div><dt>{k}</dt><dd>{v}</dd></div>" for k, v in facts.items())
    kind = html.escape(KINDS.get(incident.kind, incident.kind))
    table = _values(result.timeline, incident.start, incident.end, f"{kind}, {span}")
    still = _still(incident, kind, span) if with_still else ""
    return (
        f'<article class="incident {incident.severity}" aria-labelledby="{name}">'
        f'<div class="top"><h{level} id="{name}">{_badge(incident.severity)} {kind}, {span}'
        f'</h{level}><button type="button" data-profile="{index}" data-incident="{number}">'
        f'Show in the chart<span class="hidden">: {kind}, {span}</span></button></div>'
        f'<p>{html.escape(incident.clause)}</p><dl class="facts">{items}</dl>'
        f"{still}<details><summary>Values as a table</summary>{table}</details></article>"
    )


def _still(incident, kind, span):
    image = masked(incident.still, incident.mask)
    height, width = image.shape[:2]
    address = "data:image/png;base64," + base64.b64encode(png(image)).decode()
    return (
        "<details><summary>Show a dimmed still with the flashing part covered</summary><figure>"
        f'<img src="{address}" width="{width}" height="{height}" '
        f'alt="A dimmed frame of the incident; the covered part is {_where(incident)}.">'
        f"<figcaption>{kind}, {span}: dimmed; covered and outlined is what flashes or forms a "
        "pattern.</figcaption></figure></details>"
    )


def _where(incident):
    """The place of the mask in words, for those who do not see it."""
    if incident.mask is None or not incident.mask.any():
        return "unknown"
    rows, columns = np.nonzero(incident.mask)
    height, width = incident.mask.shape
    if (np.ptp(rows) + 1) * (np.ptp(columns) + 1) > 0.8 * height * width:
        return "most of the picture"
    vertical = ("top", "middle", "bottom")[min(2, int(3 * rows.mean() / height))]
    across = ("left", "centre", "right")[min(2, int(3 * columns.mean() / width))]
    return f"at the {vertical} {across}"


# --- pictures -----------------------------------------------------------------------------------


def masked(still, mask):
    """A still, dimmed, with a flat veil over the mask and a line around it."""
    image = np.asarray(still) * DIMMED
    if mask is not None:
        inside = mask[:, :, None]
        image = np.where(inside, image * (1 - VEILED) + DIMMED * VEIL * VEILED, image)
        core = np.pad(mask, 2)
        core = core[2:-2, :-4] & core[2:-2, 4:] & core[:-4, 2:-2] & core[4:, 2:-2]
        image[mask & ~core] = OUTLINE
    # Steps of 4 halve the file and are not seen at this brightness.
    return (np.rint(image).astype(np.uint8) >> 2) << 2


def png(image):
    """The bytes of a PNG of ``(h, w, 3)`` uint8, each row as its difference from the one above."""
    height, width = image.shape[:2]
    rows = np.full((height, 1 + 3 * width), 2, np.uint8)
    rows[:, 1:] = np.diff(image.reshape(height, -1), axis=0, prepend=np.uint8(0))

    def chunk(kind, content):
        check = zlib.crc32(kind + content)
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", check)

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = zlib.compress(rows.tobytes(), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


# --- data of the chart --------------------------------------------------------------------------


def _data(report):
    return {
        "duration": float(report.duration),
        "results": [_curves(result) for result in report.results],
    }


def _curves(result):
    timeline = {**result.timeline}
    for name in ("area", "red_area"):
        timeline[name] = _lately(timeline["time"], timeline[name])
    keep = _kept(timeline)
    profile = PROFILES.get(result.profile)
    curves = {
        "name": name_of(result.profile),
        "verdict": result.verdict,
        "limits": _limits(profile),
        "time": np.round(timeline["time"][keep], 4).tolist(),
        "incidents": [
            {
                "start": float(incident.start),
                "end": float(incident.end),
                "label": KINDS.get(incident.kind, incident.kind),
                "severity": incident.severity,
            }
            for incident in result.incidents
        ],
    }
    for name in SERIES:
        curves[name] = np.round(timeline[name][keep].astype(np.float64), 4).tolist()
    return curves


def _limits(profile):
    """What the curves may reach; nothing for a profile of the user's own."""
    return {"flashes": profile.transitions / 2, "area": profile.area} if profile else {}


def _lately(time, values):
    """The most of the last quarter of a second.

    An area flashes at its turns and rests between: drawn as it is, a strobe's would be stripes.
    """
    if len(time) < 2:
        return values
    frames = min(len(time), max(1, round(0.25 / max(1e-3, float(np.median(np.diff(time)))))))
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(values, (frames - 1, 0)), frames)
    return windows.max(axis=1)


def _kept(timeline):
    """Indices of the frames that are drawn: of each stretch its ends and every curve's extremes."""
    count = len(timeline["time"])
    if count <= 4 * STRETCHES:
        return np.arange(count)
    begins = np.arange(STRETCHES) * count // STRETCHES
    kept = {0, count - 1, *begins.tolist()}
    for name in SERIES:
        for begin, part in zip(begins, np.split(timeline[name], begins[1:])):
            kept.update((int(begin + part.argmin()), int(begin + part.argmax())))
    return np.array(sorted(kept))
