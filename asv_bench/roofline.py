"""Draw docs/roofline.svg: what a core can give, and where convolutions lie below it or above.

    voxkern bench conv --json one.json
    python asv_bench/roofline.py one.json docs/roofline.svg

Work is that of the direct sum and traffic one read of the input and weights and one write of the
output, so Winograd can lie above the roof.
"""

import json
import math
import statistics
import sys
import textwrap

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from voxkern import layers

NAMED = {layer.name: layer for layer in layers.VIDEO + layers.SEGMENTATION}
GROUPS = "conv video, MRI, images", "conv segmentation"
STYLES = {
    "plan": ("voxkern, a plan", "#d1495b", "o"),
    "torch": ("torch", "#30638e", "s"),
    "onnxruntime": ("onnxruntime", "#edae49", "^"),
}


def intensity(layer, work):
    """Operations per byte that must move."""
    output = work / (2 * layer.x[1] // layer.groups * math.prod(layer.kernel))
    weights = layer.outputs * layer.x[1] // layer.groups * math.prod(layer.kernel)
    return work / (4 * (math.prod(layer.x) + weights + output))


def draw(measured):
    """The figure of one run of the bench."""
    figure = Figure(figsize=(9, 6), layout="constrained")
    axes = figure.subplots()
    peaks = measured["peaks"]
    moved = next(rate for name, rate in peaks.items() if "copy" in name)
    for name, rate in peaks.items():
        if "GFLOP" in name:
            x = np.array([rate / moved, 2000])
            axes.plot(x, [rate, rate], color="0.35", lw=1.2 if "FMA" in name else 0.6)
            axes.annotate(f"{rate:.0f} {name}", (2000, rate), ha="right", va="bottom", fontsize=8)
    top = max(rate for name, rate in peaks.items() if "GFLOP" in name)
    x = np.array([0.5, top / moved])
    axes.plot(x, x * moved, color="0.35", lw=1.2)
    axes.annotate(f"{moved:.0f} GB/s, a copy", (0.9, 1.05 * moved), ha="right", fontsize=8)
    rows = [row for row in measured["records"] if row.get("group") in GROUPS]
    for name, (label, colour, marker) in STYLES.items():
        rows_of = [row for row in rows if name in row["seconds"]]
        x = [intensity(NAMED[row["label"]], row["work"]) for row in rows_of]
        y = [row["work"] / row["seconds"][name][0] / 1e9 for row in rows_of]
        if y:
            label += f", geometric mean {statistics.geometric_mean(y):.0f}"
            axes.scatter(x, y, c=colour, marker=marker, s=34, label=label, alpha=0.85, lw=0)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("operations of the direct sum per byte of input, weights and output")
    axes.set_ylabel("GFLOP/s of the direct sum")
    axes.set_title("\n".join(textwrap.wrap(measured["heading"][0], 90)), fontsize=9)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(which="major", color="0.9", lw=0.6)
    axes.set_axisbelow(True)
    axes.legend(loc="lower right", frameon=False, fontsize=9)
    return figure


def main():
    source, target = sys.argv[1:]
    with open(source) as file:
        figure = draw(json.load(file))
    matplotlib.rcParams["svg.hashsalt"] = "voxkern"  # the same picture is the same file
    figure.savefig(target, dpi=110, metadata={"Date": None} if target.endswith(".svg") else None)


if __name__ == "__main__":
    main()
