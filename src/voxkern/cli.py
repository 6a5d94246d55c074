"""The command line: scan, flash, demo, bench, info; for the extras `cli`, `video`, `report`."""

import contextlib
import csv
import importlib
import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.padding import Padding
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn
from rich.table import Table
from rich.text import Text
from typer.core import TyperGroup

import voxkern
from voxkern import strobe

BATCH_BYTES = 16 << 20  # of the frames that go into the table at once


class Commands(TyperGroup):
    """The commands; bad usage ends with one line, where Typer prints its usage as well."""

    def parse_args(self, ctx, args):
        return super().parse_args(ctx, args or ["--help"])

    def main(self, *args, standalone_mode=True, **kwargs):
        try:
            code = super().main(*args, standalone_mode=False, **kwargs)
        except typer.BadParameter.__base__ as error:  # click's UsageError, which Typer may vendor
            typer.echo(f"voxkern: error: {error.format_message()}", err=True)
            code = 2
        except typer.Abort:
            code = 130
        sys.exit(code or 0)


app = typer.Typer(
    cls=Commands,
    help="Kernels over volumes and video frames in NumPy arrays.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
console = Console(highlight=False)


def fail(message, code=2):
    """End with one line on stderr."""
    typer.echo(f"voxkern: error: {message}", err=True)
    raise typer.Exit(code)


@contextlib.contextmanager
def naming(argument=None):
    """Turn an error about an argument into one line and exit code 2; it may name itself."""
    try:
        yield
    except (OSError, TypeError, ValueError) as error:
        fail(f"{argument}: {error}" if argument else str(error))


def need(module, code=1):
    """Import a module that an extra provides."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        package = error.name.partition(".")[0]
        if package == "voxkern":
            raise
        extras = {"plotly": "cli,report,video", "distributed": "cli,dask,video"}
        extras = extras.get(package, "cli,video")
        fail(f'{package} is missing: pip install "voxkern[{extras}]"', code)


@app.command()
def flash(
    video: Annotated[Path, typer.Argument(help="Video file.", show_default=False)],
    k: Annotated[int, typer.Option("-k", help="Pixels averaged in a row.")] = 5,
    curve: Annotated[str, typer.Option(help="Luminance curve.")] = "exam",
    top: Annotated[int, typer.Option(help="Strongest rows to print.", min=0)] = 10,
    all_rows: Annotated[bool, typer.Option("--all", help="Print every row.")] = False,
    csv_file: Annotated[Path | None, typer.Option("--csv", help="Write every row.")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="The same as JSON.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw a chart, a .png file.")] = None,
):
    """Strongest changes of luminance in a video.

    The flash table has a row from each frame to the next: the mean of the K largest changes
    upwards, or of the K largest downwards (negative), whichever is larger. It describes; it is
    no verdict of a safety standard.
    """
    outputs = {"--csv": csv_file, "--json": json_file, "--plot": plot}
    outputs = {option: path for option, path in outputs.items() if path}
    check_outputs(outputs, video)
    if plot and plot.suffix.lower() != ".png":
        fail(f"--plot: {plot} must end in .png")
    source = need("voxkern.video")
    if plot:
        need("voxkern.chart")
    with naming():
        table = voxkern.FlashTable(k, curve)
    with naming("VIDEO"), source.Video(video) as clip:
        times, rows = flash_rows(clip, table)
    facts = {
        "file": video.name,
        "width": clip.width,
        "height": clip.height,
        "frames": len(times),
        "k": k,
        "curve": curve,
    }
    times, first = times[1:], times[:1]
    spans = strobe.strobes(times, rows)
    contents = {}
    if csv_file:
        contents[csv_file] = as_csv(times, rows)
    if json_file:
        contents[json_file] = as_json(facts, first, times, rows)
    if plot:
        title = f"{video.name}: mean of the {k} largest changes, curve {curve}"
        contents[plot] = as_png(need("voxkern.chart").flash(times, rows, title, spans[:3]))
    with naming("output"):
        write(contents)
    print_report(facts, times, rows, spans, len(rows) if all_rows else top)
    for path in contents:
        typer.echo(f"wrote {path}")


def flash_rows(clip, table):
    """Times of all frames and the rows of their table."""
    times, rows = [], []
    with counter(clip.expected_frames) as counted:
        for moments, frames in batches(clip):
            with naming():
                rows.append(table.push(frames))
            times += moments
            counted(len(times))
    return np.array(times), np.concatenate(rows)[:, 0]


def batches(clip):
    """Times and frames, ``(n, H, W, 3)`` at a time, all in one buffer: use them before the next."""
    buffer, times = None, []
    for time, frame in clip:
        if buffer is None:
            buffer = np.empty((max(2, BATCH_BYTES // frame.nbytes), *frame.shape), frame.dtype)
        if frame.shape != buffer.shape[1:]:
            height, width, _ = frame.shape
            raise ValueError(
                f"{clip.path} changes its frame size to {width}x{height} at {time:.2f} s"
            )
        buffer[len(times)] = frame
        times.append(time)
        if len(times) == len(buffer):
            yield times, buffer
            times = []
    if times:
        yield times, buffer[: len(times)]


@contextlib.contextmanager
def counter(total):
    """A function to tell how many frames are done: a bar on stderr, where that is a terminal."""
    err = Console(stderr=True)
    if not err.is_terminal:
        yield lambda done: None
        return
    columns = "frames", BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=err, transient=True) as bar:
        task = bar.add_task("", total=total or None)
        yield lambda done: bar.update(task, completed=done)


def print_report(facts, times, rows, spans, count):
    """The table's facts, its `count` strongest rows in order of time, where it alternates.

    Plain lines, not a Rich table: a film has 100 000 rows.
    """
    typer.echo(
        f"{facts['file']}: {facts['width']}x{facts['height']}, {facts['frames']} frames,"
        f" k {facts['k']}, curve {facts['curve']}"
    )
    if not len(rows):
        typer.echo("one frame: no rows")
        return
    size = np.abs(rows)
    typer.echo(f"{len(rows)} rows, largest {size.max():.1f}, median {np.median(size):.1f}")
    chosen = np.sort(np.argsort(-size, kind="stable")[:count])
    if len(chosen):
        which = "all" if len(chosen) == len(rows) else f"the {len(chosen)} strongest"
        typer.echo(f"\n{'frame':>8}  {'time (s)':>10}  {'change':>12}    {which}")
    for row in chosen:
        typer.echo(f"{row + 1:8d}  {times[row]:10.3f}  {rows[row]:+12.3f}")
    if spans:
        typer.echo("\nStrong changes in turn (edges that shake can do this too: try a larger -k):")
    for span in spans[:3]:
        typer.echo(f"  {strobe.describe(span)}")


def as_csv(times, rows):
    """Bytes of a CSV file: frame number, time in seconds, row."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["frame", "time_s", "change"])
    writer.writerows((i, t, r) for i, (t, r) in enumerate(zip(times.tolist(), rows.tolist()), 1))
    return text.getvalue().encode()


def as_json(facts, first, times, rows):
    """Bytes of a JSON file: the facts, then a time and a change per row."""
    content = {
        "voxkern": voxkern.__version__,
        **facts,
        "first_frame_s": float(first[0]),
        "time_s": times.tolist(),
        "change": rows.tolist(),
    }
    return (json.dumps(content) + "\n").encode()


def as_png(figure):
    """Bytes of a PNG file."""
    data = io.BytesIO()
    figure.savefig(data, format="png", dpi=110)
    return data.getvalue()


def check_outputs(outputs, source=None):
    """Fail before any work where an output could not be written or would destroy something."""
    seen = {source.resolve(): "VIDEO"} if source else {}
    for option, path in outputs.items():
        if path.exists() and not path.is_file():
            fail(f"{option}: {path} exists and is not a regular file")
        if not path.parent.is_dir():
            fail(f"{option}: {path.parent} is not a directory")
        if not os.access(path.parent, os.W_OK):
            fail(f"{option}: {path.parent} is not writable")
        if path.resolve() in seen:
            fail(f"{option}: {path} is also {seen[path.resolve()]}; it must be another file")
        seen[path.resolve()] = option


def write(contents):
    """Write files whole: all beside their places first, then all renamed into them."""
    scratch = {path: path.with_name(f".{path.name}.{os.getpid()}") for path in contents}
    try:
        for path, data in contents.items():
            scratch[path].write_bytes(data)
        for path in contents:
            scratch[path].replace(path)
    finally:
        for path in scratch.values():
            path.unlink(missing_ok=True)


@app.command()
def scan(
    videos: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="VIDEO...", help="Files, folders, glob patterns.", show_default=False
        ),
    ] = None,
    profile: Annotated[
        list[str] | None,
        typer.Option("--profile", "-p", help="Standard to test by; may be repeated. [wcag22]"),
    ] = None,
    html: Annotated[Path | None, typer.Option(help="Write the report as a page.")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="The report as JSON.")] = None,
    csv_file: Annotated[Path | None, typer.Option("--csv", help="Its curves as CSV.")] = None,
    vtt: Annotated[Path | None, typer.Option(help="Its incidents as WebVTT cues.")] = None,
    jobs: Annotated[int, typer.Option(help="Videos at a time.", min=1)] = 1,
    workers: Annotated[
        int | None, typer.Option(help="Videos at a time, each in a process (Dask).", min=1)
    ] = None,
    scheduler: Annotated[
        str | None, typer.Option(help="Dask cluster to work on, as tcp://host:8786.")
    ] = None,
    resume: Annotated[
        Path | None,
        typer.Option(help="Log of verdicts (.jsonl): videos that are in it are not done again."),
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 1 for warnings too.")] = False,
    realtime: Annotated[
        bool, typer.Option("--realtime", help="Raw frames on stdin; a line of JSON for each.")
    ] = False,
    size: Annotated[str | None, typer.Option(help="Of raw frames, as 1280x720.")] = None,
    pix_fmt: Annotated[str, typer.Option(help="Of raw frames, by libav's name.")] = "rgb24",
    fps: Annotated[float | None, typer.Option(help="Of raw frames [the clock's time].")] = None,
):
    """Whether videos flash dangerously, by the standards of photosensitivity.

    Exits with 0 where all pass (a warning passes; see --strict), 1 where one fails, and 2 where
    none fails but one could not be analysed to its end. With several videos the reports' paths
    are folders. It is no certificate.
    """
    profiles = list(dict.fromkeys(profile or ["wcag22"]))
    outputs = {"--html": html, "--json": json_file, "--csv": csv_file, "--vtt": vtt}
    outputs = {option: path for option, path in outputs.items() if path}
    known = need("voxkern.pse").PROFILES
    for name in profiles:
        if name not in known:
            fail(f"--profile is {name!r}; it may be {', '.join(known)}")
    if realtime:
        if videos or outputs or resume:
            fail("--realtime reads stdin and writes stdout: no VIDEO, no files")
        stream = need("voxkern.scan_stream")
        with naming():
            frames = stream.frames(sys.stdin.buffer, size, pix_fmt, fps)
            raise typer.Exit(stream.watch(frames, profiles, sys.stdout))
    if not videos:
        fail("VIDEO is missing: a file, a folder or a glob pattern")
    if (jobs > 1) + (workers is not None) + (scheduler is not None) > 1:
        fail("--jobs, --workers and --scheduler exclude each other")
    spread = workers or scheduler
    for module in ("av", *(["plotly"] if html else []), *(["distributed"] if spread else [])):
        need(module, code=2)
    scans = need("voxkern.scan")
    with naming("VIDEO"):
        paths = scans.find(videos)
    if len(paths) == 1:
        check_outputs(outputs | ({"--resume": resume} if resume else {}), paths[0])
    else:
        check_folders(outputs)
    with naming("--resume"):
        log = scans.Log(resume)
    with contextlib.ExitStack() as stack:
        client = None
        if spread:
            with naming("--workers" if workers else "--scheduler"):
                cluster = need("voxkern.scan_cluster").connected(scheduler, workers)
                client = stack.enter_context(cluster)
        with naming("output"):
            shown = Console(stderr=True)
            outcomes = scans.scan(paths, profiles, outputs, jobs, log, write, shown, client)
    wide = console if console.is_terminal else Console(highlight=False, width=120)
    scans.print_outcomes(paths, outcomes, profiles, wide)
    for option, path in outputs.items():
        typer.echo(f"{option}: wrote {path}")
    raise typer.Exit(scans.exit_code(outcomes, strict))


def check_folders(outputs):
    """Fail where the reports of several videos cannot be written."""
    for option, folder in outputs.items():
        if folder.exists() and not folder.is_dir():
            fail(f"{option}: {folder} must be a folder for the reports of several videos")
        with naming(option):
            folder.mkdir(parents=True, exist_ok=True)


@app.command()
def info():
    """Version, CPU level, threads, backends, packages."""
    facts = importlib.import_module("voxkern.facts")
    for title, rows in facts.sections().items():
        table = Table.grid(padding=(0, 2))
        table.add_column(style="cyan", no_wrap=True, min_width=13)
        table.add_column(overflow="fold")
        for name, value in rows:
            table.add_row(name, Text(value))
        console.print(f"[bold]{title}[/]", Padding(table, (0, 0, 1, 2), expand=False))


@app.command()
def bench(
    operation: Annotated[
        str | None, typer.Argument(metavar="OP", help="One operation.", show_default=False)
    ] = None,
    threads: Annotated[int, typer.Option(help="Threads of every contender.", min=1)] = 1,
    quick: Annotated[bool, typer.Option("--quick", help="Small shapes, few rounds.")] = False,
    avx2: Annotated[bool, typer.Option("--avx2", help="Hold voxkern and torch to AVX2.")] = False,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write what was timed.")] = None,
):
    """Time every operation beside its peers.

    They are the NumPy oracle, and torch, onnxruntime, ncnn and SciPy where these are installed.
    """
    benches = importlib.import_module("voxkern.bench")
    if operation and operation not in benches.OPERATIONS:
        fail(f"OP is {operation!r}; it may be {', '.join(benches.OPERATIONS)}")
    if json_file:
        check_outputs({"--json": json_file})
    if avx2:  # both libraries choose once, when they are loaded
        words = [operation] if operation else []
        words += ["--threads", str(threads), *(["--quick"] if quick else [])]
        words += ["--json", str(json_file)] if json_file else []
        command = [sys.executable, "-m", "voxkern", "bench", *words]
        raise typer.Exit(subprocess.run(command, env=os.environ | benches.timing.AVX2).returncode)
    names = [operation] if operation else benches.OPERATIONS
    wide = console if console.is_terminal else Console(highlight=False, width=120)
    measured = benches.report(wide, names, threads, quick)
    if json_file:
        with naming("output"):
            write({json_file: (json.dumps(measured, indent=1) + "\n").encode()})


@app.command()
def demo(
    output: Annotated[Path, typer.Option(help="Folder of the chart.", file_okay=True)] = Path(
        "out"
    ),
):
    """Run the library on embedded data.

    A clip with a strobe goes through the flash table, a volume through convolution, batch norm
    and pooling; each is compared with its oracle, and a chart is written.
    """
    demonstration = need("voxkern.demo")
    with naming("--output"):
        output.mkdir(parents=True, exist_ok=True)
    path = output / "voxkern-demo.png"
    check_outputs({"--output": path})
    figure = demonstration.run(console)
    with naming("--output"):
        write({path: as_png(figure)})
    console.print(f"\nChart: {path}", soft_wrap=True, markup=False)
