"""Charts of the command line, drawn with matplotlib without a display."""

import numpy as np
from matplotlib.figure import Figure

RISE, FALL, MARK = "#d1495b", "#30638e", "#edae49"
SIGNED = "RdBu_r"


def flash(times, rows, title, spans):
    """Figure of a flash table over time, stretches of alternation shaded."""
    figure = Figure(figsize=(11, 4), layout="constrained")
    flash_axes(figure.subplots(), times, rows, spans)
    figure.suptitle(title, fontsize=11)
    return figure


def flash_axes(axes, times, rows, spans):
    """Draw the table as bars from 0: red for brighter, blue for darker."""
    rows = np.asarray(rows)
    for begin, end, changes, _ in spans:
        label = f"{changes} changes in turn, {begin:.2f} to {end:.2f} s"
        axes.axvspan(begin, end, color=MARK, alpha=0.35, lw=0, label=label)
    for part, colour, label in (
        (rows > 0, RISE, "brighter"),
        (rows < 0, FALL, "darker"),
    ):
        # Lines, for a bar per row would take minutes to draw on a film.
        axes.vlines(np.asarray(times)[part], 0, rows[part], color=colour, lw=1.2, label=label)
    axes.axhline(0, color="0.3", lw=0.8)
    axes.set_xlabel("time (s)")
    axes.set_ylabel("change of luminance")
    axes.margins(x=0.01)
    axes.spines[["top", "right"]].set_visible(False)
    if len(rows):
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=5, frameon=False, fontsize=9)


def picture(axes, image, title, colours="gray"):
    """Show an image without ticks; a diverging map gets 0 in its middle."""
    limit = {"vmin": -np.abs(image).max(), "vmax": np.abs(image).max()} if colours == SIGNED else {}
    axes.imshow(image, cmap=colours, interpolation="nearest", **limit)
    axes.set_title(title, fontsize=10)
    axes.set_axis_off()
