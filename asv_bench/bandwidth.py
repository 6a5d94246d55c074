"""Draw docs/bandwidth.svg: how near to the memory's speed operations are that do little else.

    for op in im2col pool batchnorm groupnorm flash; do
        voxkern bench $op --json $op.json; voxkern bench $op --threads 2 --json $op-2.json
    done
    python asv_bench/bandwidth.py docs/bandwidth.svg *.json

A bar is the bytes that must move over the least time, on one thread and, paler, on two; a point is
a peer on one thread, in the same run. Bytes that stay in a cache can move faster than a copy. A
table of milliseconds on one and two threads is printed, for docs/memory_bound.md.
"""

import json
import sys
import textwrap

import matplotlib
from matplotlib.figure import Figure

PEERS = {"torch": ("#30638e", "s"), "onnxruntime": ("#edae49", "^")}
OURS = {1: ("#d1495b", 1.0), 2: ("#d1495b", 0.4)}


def rates(measured):
    """GB/s of every contender of every case, by operation and label."""
    return {
        (row["group"], row["label"]): {
            name: row["work"] / least / 1e9 for name, (_, least) in row["seconds"].items()
        }
        for row in measured["records"]
    }


def merged(runs, threads):
    """The rates of all runs on so many threads."""
    found = {}
    for run in runs:
        if run["threads"] == threads:
            found |= rates(run)
    return found


def table(runs):
    """Milliseconds on one and two threads and torch's time over ours, from the best times."""
    one, two = merged(runs, 1), merged(runs, 2)
    bytes_of = {(row["group"], row["label"]): row["work"] for run in runs for row in run["records"]}
    lines = ["| | ms, 1 thread | 2 threads | faster | torch / ours, 1 thread | 2 threads |"]
    lines += ["|---|---:|---:|---:|---:|---:|"]
    for case in one:
        if case not in two:
            continue
        ours = one[case]["voxkern"], two[case]["voxkern"]
        spans = [bytes_of[case] / 1e6 / rate for rate in ours]
        peers = [
            f"{rate / found['torch']:.1f}" if "torch" in found else ""
            for rate, found in zip(ours, (one[case], two[case]))
        ]
        cells = *(f"{span:.2f}" for span in spans), f"{spans[0] / spans[1]:.2f}", *peers
        lines.append(f"| {case[0]}: {case[1]} | {' | '.join(cells)} |")
    return "\n".join(lines)


def draw(runs):
    """The figure of some runs of the bench."""
    one, two = merged(runs, 1), merged(runs, 2)
    figure = Figure(figsize=(9, 1.6 + 0.24 * len(one)), layout="constrained")
    axes = figure.subplots()
    places = range(len(one), 0, -1)
    for threads, found in ((1, one), (2, two)):
        colour, alpha = OURS[threads]
        shift = 0.2 if threads == 1 else -0.2
        shown = [(y, found[case]["voxkern"]) for y, case in zip(places, one) if case in found]
        if shown:
            axes.barh(
                [y + shift for y, _ in shown],
                [rate for _, rate in shown],
                height=0.4,
                color=colour,
                alpha=alpha,
                label=f"voxkern, {threads} thread{'s'[: threads - 1]}",
            )
    for name, (colour, marker) in PEERS.items():
        shown = [(found[name], y + 0.2) for y, found in zip(places, one.values()) if name in found]
        axes.scatter(*zip(*shown), c=colour, marker=marker, s=22, label=name, zorder=3, lw=0)
    first = next(run for run in runs if run["threads"] == 1)
    copied = next(rate for name, rate in first["peaks"].items() if "copy" in name)
    axes.axvline(copied, color="0.35", lw=1, label=f"a copy past the caches, {copied:.0f} GB/s")
    axes.set_yticks(list(places), [f"{group}: {label}" for group, label in one], fontsize=7)
    axes.set_ylim(0.3, len(one) + 0.7)
    axes.set_xlabel("GB/s of bytes that must move")
    axes.set_title("\n".join(textwrap.wrap(first["heading"][0], 70)), fontsize=9)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="lower right", frameon=False, fontsize=8)
    return figure


def main():
    target, *sources = sys.argv[1:]
    runs = []
    for source in sources:
        with open(source) as file:
            runs.append(json.load(file))
    matplotlib.rcParams["svg.hashsalt"] = "voxkern"  # the same picture is the same file
    figure = draw(runs)
    figure.savefig(target, dpi=110, metadata={"Date": None} if target.endswith(".svg") else None)
    print(table(runs))


if __name__ == "__main__":
    main()
