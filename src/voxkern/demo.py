"""What `voxkern demo` computes: an embedded clip and volume, each beside its oracle."""

import importlib.resources
import time

import numpy as np
from matplotlib.figure import Figure
from rich.table import Table

import voxkern
from voxkern import chart, strobe
from voxkern.facts import cpu_model
from voxkern.video import Video

DATA = importlib.resources.files("voxkern") / "data"


def run(console):
    """Compute, print what was found, and return the chart."""
    times, frames = clip()
    rows, flash_line = beside("flash_table", frames)
    rows = rows[:, 0]
    spans = strobe.strobes(times[1:], rows)
    with (DATA / "head.npz").open("rb") as file:
        head = np.load(file)["head"].astype(np.float32)
    steps, lines = edges(head)

    count, height, width = frames.shape[:3]
    say = [f"voxkern {voxkern.__version__} on {cpu_model()}, {voxkern.get_num_threads()} threads"]
    say.append(f"\nClip of {count} frames, {width}x{height}, H.264, flash table:")
    say += [f"  strobe at {strobe.describe(span)}" for span in spans]
    say.append(f"  elsewhere at most {np.abs(rows[outside(times[1:], spans)]).max():.0f}")
    say.append(
        f"\nVolume {'x'.join(map(str, head.shape))}: Sobel and Laplacian, batch norm, pool\n"
    )
    console.print("\n".join(say), markup=False, soft_wrap=True)
    table = Table(box=None, pad_edge=False)
    table.add_column("operation", style="cyan", no_wrap=True)
    for name in ("output", "voxkern", "oracle", "faster", "max. error"):
        table.add_column(name, justify="right", no_wrap=True)
    for line in (flash_line, *lines):
        table.add_row(*line)
    console.print(table)
    console.print("The error is the largest against the float64 oracle, over its largest value.")
    return figure(times, frames, rows, spans, head, steps)


def clip():
    """Times and frames ``(F, H, W, 3)`` of the embedded clip."""
    with importlib.resources.as_file(DATA / "strobe.mp4") as path, Video(path) as video:
        times, frames = zip(*video)
    return np.array(times), np.stack(frames)


def edges(head):
    """What each step makes of the volume, and the lines of the report."""
    smooth, slope = np.array([1, 2, 1]), np.array([-1, 0, 1])
    laplacian = np.ones((3, 3, 3))
    laplacian[1, 1, 1] = -26
    bank = [
        np.einsum("i,j,k", slope, smooth, smooth),
        np.einsum("i,j,k", smooth, slope, smooth),
        np.einsum("i,j,k", smooth, smooth, slope),
        laplacian,
    ]
    bank = np.stack(bank)[:, None].astype(np.float32)
    found, conv_line = beside("conv3d", head[None, None], bank, padding=1)
    running = np.zeros(4, np.float32), np.ones(4, np.float32)
    normal, norm_line = beside("batch_norm", found, *running, training=True)
    pooled, pool_line = beside("max_pool3d", normal, kernel_size=2)
    return (found[0], normal[0], pooled[0]), (conv_line, norm_line, pool_line)


def beside(name, *arrays, **arguments):
    """An operation's result, and a line: its time, its oracle's, the largest difference."""
    got, fast = timed(getattr(voxkern, name), arrays, arguments)
    exact = [a.astype(np.float64) if a.dtype == np.float32 else a for a in arrays]
    want, slow = timed(getattr(voxkern.reference, name), exact, arguments)
    error = np.abs(got - want).max() / np.abs(want).max()
    shape = "x".join(map(str, got.shape))
    times = f"{fast * 1e3:.2f} ms", f"{slow * 1e3:.1f} ms", f"{slow / fast:.3g}x"
    return got, (name, shape, *times, f"{error:.1g}" if error else "0")


def timed(function, arrays, arguments):
    """Result, and the shortest time of 50 calls, or of as many as fit into half a second."""
    seconds = []
    while sum(seconds) < 0.5 and len(seconds) < 50:
        copies = [a.copy() for a in arrays]  # batch_norm moves its running arrays
        begin = time.perf_counter()
        result = function(*copies, **arguments)
        seconds.append(time.perf_counter() - begin)
    return result, min(seconds)


def outside(times, spans):
    """Which of `times` lie in none of the stretches."""
    inside = [(times >= begin) & (times <= end) for begin, end, *_ in spans]
    return ~np.any(inside, axis=0) if inside else np.ones(len(times), bool)


def figure(times, frames, rows, spans, head, steps):
    """The chart: three frames, the flash table, and a slice of the volume at every step."""
    found, normal, pooled = steps
    page = Figure(figsize=(12, 10.5), layout="constrained")
    grid = page.add_gridspec(3, 12, height_ratios=(1.05, 1.1, 1.7))
    start = int(np.argmax(times >= spans[0][0])) if spans else len(times) // 2
    for place, shown in enumerate((start // 2, start, start + 1)):
        axes = page.add_subplot(grid[0, 4 * place : 4 * place + 4])
        chart.picture(axes, frames[shown], f"frame {shown}, {times[shown]:.2f} s")
    chart.flash_axes(page.add_subplot(grid[1, :]), times[1:], rows, spans)
    middle = head.shape[0] // 2
    magnitude = np.sqrt((found[:3, middle] ** 2).sum(axis=0))
    for place, (image, title, colours) in enumerate(
        (
            (head[middle], "volume, middle slice", "gray"),
            (magnitude, "conv3d: Sobel magnitude", "magma"),
            (normal[1, middle], "batch_norm: edges along height", chart.SIGNED),
            (pooled[1, middle // 2], "max_pool3d by 2", chart.SIGNED),
        )
    ):
        axes = page.add_subplot(grid[2, 3 * place : 3 * place + 3])
        chart.picture(axes, image, title, colours)
    return page
