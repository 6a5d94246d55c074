"""The command ``scan``: a verdict for each of many videos, and for raw frames as they come."""

import glob
import json
import os
import threading
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import closing, contextmanager
from pathlib import Path

from rich.progress import BarColumn, Progress, ProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

import voxkern
from voxkern import pse
from voxkern.scan_stream import plain

SUFFIXES = frozenset(
    "." + name
    for names in (
        "3gp apng asf avi dv f4v flv gif h264 h265 hevc ivf m2ts m2v m4v mj2 mjpeg mkv mov mp4",
        "mpeg mpg mts mxf nut obu ogm ogv ts vob webm webp wmv y4m",
    )
    for name in names.split()
)
COLOURS = {
    "pass": "green",
    "warning": "yellow",
    "fail": "red",
    "incomplete": "magenta",
    "error": "magenta",
}
SHOWN = 5  # incidents of a video that are printed
WRITERS = {
    "--html": pse.Report.to_html,
    "--json": pse.Report.to_json,
    "--csv": pse.Report.to_csv,
    "--vtt": pse.Report.to_webvtt,
}


def find(patterns):
    """Paths of the videos that files, folders and glob patterns name, each once, in their order.

    A folder stands for the videos in it and below, by their suffix. Raises ValueError for what
    names nothing: a scan that finds no video must not look like one that passed.
    """
    found = {}
    for pattern in patterns:
        path = Path(pattern)
        if path.is_dir():
            inside = (p for p in sorted(path.rglob("*")) if p.is_file())
            paths = [p for p in inside if p.suffix.lower() in SUFFIXES]
            if not paths:
                raise ValueError(f"{pattern} is a folder without a video")
        elif os.path.lexists(path) or not glob.has_magic(pattern):
            paths = [path]  # a missing one is reported beside the others
        else:
            paths = [Path(p) for p in sorted(glob.glob(pattern, recursive=True))]
            paths = [p for p in paths if not p.is_dir()]
            if not paths:
                raise ValueError(f"{pattern} matches no file")
        found.update((os.path.abspath(p), p) for p in paths)
    return list(found.values())


def destinations(paths, outputs):
    """The output files of each path, by option.

    They are `outputs` themselves for one video; for several, `outputs` are folders, which keep
    the structure of the videos' own, so that no two files are the same.
    """
    if len(paths) == 1:
        return {paths[0]: outputs}
    root = os.path.commonpath([os.path.abspath(path.parent) for path in paths])
    places = {path: os.path.relpath(os.path.abspath(path), root) for path in paths}
    return {
        path: {option: folder / f"{place}.{option[2:]}" for option, folder in outputs.items()}
        for path, place in places.items()
    }


class Log:
    """Outcomes on disk, a line of JSON for each video, so that a scan can be taken up again."""

    def __init__(self, path):
        self.path, self.known = path, {}
        if path and path.exists():
            for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
                try:
                    outcome = json.loads(line)
                    self.known[outcome["path"]] = outcome
                except (KeyError, TypeError, ValueError):
                    continue  # the last line of a scan that was killed

    def find(self, path, profiles):
        """The outcome of a file that has not changed, under the same profiles and version."""
        outcome = self.known.get(os.path.abspath(path))
        same = outcome and all(outcome.get(k) == v for k, v in identity(path, profiles).items())
        return outcome if same and outcome["verdict"] != "error" else None

    def add(self, outcome):
        """Note an outcome at once."""
        if self.path:
            with open(self.path, "a", encoding="utf-8") as file:
                file.write(json.dumps(outcome) + "\n")


def identity(path, profiles):
    """What an outcome depends on."""
    try:
        facts = os.stat(path)
        state = [facts.st_size, facts.st_mtime_ns]
    except OSError:
        state = None
    return {
        "path": os.path.abspath(path),
        "size_and_time": state,
        "profiles": profiles,
        "voxkern": voxkern.__version__,
    }


def examine(path, profiles, files, write, progress):
    """The outcome of one video, whatever happens; its reports are written before."""
    try:
        report = pse.analyze(path, profile=profiles, progress=progress)
        contents = {files[option]: WRITERS[option](report).encode() for option in files}
        for file in contents:
            file.parent.mkdir(parents=True, exist_ok=True)
        write(contents)
    except Stopped:
        raise
    except Exception as error:  # one video must not lose the others their verdicts
        return failed(path, profiles, error)
    return identity(path, profiles) | {
        "verdict": report.verdict,
        "problem": report.problem,
        "frames": report.frames,
        "duration": report.duration,
        "results": [
            {
                "profile": result.profile,
                "verdict": result.verdict,
                "incidents": [plain(incident) for incident in result.incidents],
            }
            for result in report.results
        ],
    }


def failed(path, profiles, error):
    """The outcome of a video that could not be analysed."""
    expected = isinstance(error, OSError | ValueError)
    problem = f"{error}" if expected else f"{type(error).__name__}: {error}"
    return identity(path, profiles) | {"verdict": "error", "problem": problem, "results": []}


def silent(*counts):
    """Progress that nobody sees."""


class Stopped(Exception):
    """The scan was interrupted."""


def scan(paths, profiles, outputs, jobs, log, write, console, client=None):
    """Outcomes of all paths in their order; those that the log knows are not computed again.

    They are computed by `jobs` threads, or by the workers of a Dask `client`.
    """
    files = destinations(paths, outputs)
    outcomes = {}
    for path in paths:
        known = log.find(path, profiles)
        if known and all(file.exists() for file in files[path].values()):
            outcomes[path] = known
    left = [path for path in paths if path not in outcomes]
    with bars(console, len(paths), len(outcomes)) as (bar, finished):
        if client:
            from voxkern import scan_cluster

            found = scan_cluster.examined(client, left, profiles, files, write)
        else:
            found = examined(jobs, left, profiles, files, write, bar)
        with closing(found):
            for path, outcome in found:
                outcomes[path] = outcome
                log.add(outcome)
                finished()
    return [outcomes[path] for path in paths]


def examined(jobs, paths, profiles, files, write, bar):
    """Paths and their outcomes, as `jobs` threads finish them."""
    stop = threading.Event()

    def work(path):
        with bar(path) as progress:

            def tell(*counts):
                if stop.is_set():
                    raise Stopped
                progress(*counts)

            return path, examine(path, profiles, files[path], write, tell)

    with threads_for(jobs), ThreadPoolExecutor(jobs) as pool:
        running = [pool.submit(work, path) for path in paths]
        try:
            for future in as_completed(running):
                yield future.result()
        except BaseException:  # Ctrl-C, or a log that cannot be written
            stop.set()
            pool.shutdown(cancel_futures=True)
            raise


@contextmanager
def threads_for(jobs):
    """Let each of several analyses have its share of the threads."""
    threads = voxkern.get_num_threads()
    voxkern.set_num_threads(max(1, threads // jobs))
    try:
        yield
    finally:
        voxkern.set_num_threads(threads)


class Speed(ProgressColumn):
    """Frames per second, where frames are counted."""

    def render(self, task):
        """The text of the column."""
        speed = task.finished_speed or task.speed
        return Text(f"{speed:5.0f} frames/s" if speed and task.fields["frames"] else "")


@contextmanager
def bars(console, videos, done):
    """A context that shows one video's progress, and a function to call when one is finished.

    Nothing is drawn where `console` is no terminal.
    """
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.completed:.0f}/{task.fields[whole]}"),
        Speed(),
        TimeRemainingColumn(compact=True),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as p:
        total = p.add_task("videos", total=videos, completed=done, frames=False, whole=videos)
        p.update(total, visible=videos > 1)

        @contextmanager
        def bar(path):
            task = p.add_task(shown(path.name, 30), total=None, frames=True, whole="?")

            def progress(count, expected=0):
                whole = max(count, expected) if expected else None
                p.update(task, completed=count, total=whole, whole=whole or "?")

            try:
                yield progress
            finally:
                p.refresh()  # a short one is done before the first time that it would be drawn
                p.remove_task(task)

        yield bar, lambda: p.advance(total)


def shown(name, most=60):
    """A file name on one line of a terminal: no control characters, the middle of long ones cut."""
    name = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in name)
    return name if len(name) <= most else f"{name[: most // 2 - 1]}…{name[-(most // 2) :]}"


def print_outcomes(paths, outcomes, profiles, console):
    """A table of verdicts and, below it, what was found where."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("video", overflow="fold")
    table.add_column("length", justify="right")
    table.add_column("verdict")
    for name in profiles if len(profiles) > 1 else ():
        table.add_column(name)
    for path, outcome in zip(paths, outcomes):
        results = {r["profile"]: r["verdict"] for r in outcome["results"]}
        length = f"{outcome['duration']:.1f} s" if results else ""
        verdicts = [outcome["verdict"]]
        if len(profiles) > 1:
            verdicts += [results.get(name, "") for name in profiles]
        cells = (Text(v, style=COLOURS.get(v, "")) for v in verdicts)
        table.add_row(Text(shown(str(path))), length, *cells)
    console.print(table)
    for path, outcome in zip(paths, outcomes):
        if outcome["problem"] or any(r["incidents"] for r in outcome["results"]):
            console.print()
            console.print(Text(shown(str(path)), style="bold"))
            print_findings(outcome, console)
    if len(paths) > 1:
        counts = {v: sum(o["verdict"] == v for o in outcomes) for v in COLOURS}
        told = ", ".join(f"{n} {verdict}" for verdict, n in counts.items() if n)
        console.print(f"\n{len(paths)} videos: {told}")


def print_findings(outcome, console):
    """Why a video is incomplete or an error, and its incidents."""
    if outcome["problem"]:
        verdict = Text(f"  {outcome['verdict']}: ", style=COLOURS.get(outcome["verdict"], ""))
        console.print(verdict + Text(shown(outcome["problem"], 300), style="default"))
    found = [(r["profile"], i) for r in outcome["results"] for i in r["incidents"]]
    found.sort(key=lambda pair: (pair[1]["severity"] != "fail", pair[1]["start"]))
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(min_width=1)
    table.add_column(justify="right", no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    table.add_column(overflow="fold")
    for profile, incident in found[:SHOWN]:
        table.add_row(
            "",
            f"{incident['start']:.2f} to {incident['end']:.2f} s",
            Text(incident["severity"], style=COLOURS[incident["severity"]]),
            incident["kind"],
            f"{incident['flashes']:.1f}/s",
            f"{100 * incident['area']:.0f} %",
            Text(incident["clause"] or profile),
        )
    console.print(table)
    if len(found) > SHOWN:
        console.print(f"  and {len(found) - SHOWN} more")


def exit_code(outcomes, strict):
    """1 if a video fails (`strict`: or warns), else 2 if one was not analysed whole, else 0."""
    verdicts = {outcome["verdict"] for outcome in outcomes}
    if "fail" in verdicts or (strict and "warning" in verdicts):
        return 1
    return 2 if verdicts & {"error", "incomplete"} else 0
