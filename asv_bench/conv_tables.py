"""Write what `voxkern bench conv --json` measured into the tables of a page.

    python asv_bench/conv_tables.py README.md docs/convolution.md one.json avx2.json two.json

A table lies between ``<!-- conv: NAME -->`` and ``<!-- conv: end -->``; NAME is `claims`, `layers`,
`threads` or `tiny`, with ` avx2` or ` two` behind it for runs held to AVX2 or with two threads.
"""

import json
import re
import sys
from pathlib import Path

import numpy as np

SHOWN = "call", "plan", "torch", "onnxruntime", "ncnn"


def claims(measured):
    """The summary of a run."""
    lines = ["the peer's time over ours, or the better peer's | layers | mean | worst |"]
    lines += ["---|---:|---:|---|"]
    for row in measured["records"]:
        if "claim" in row:
            lines += [
                f"{row['claim']} | {row['layers']} | {row['mean']:.2f} | {row['worst']:.2f},"
                f" {row['which']} |"
            ]
    return lines


def rates(measured):
    """GFLOP/s of every layer."""
    lines = [f"layer | {' | '.join(SHOWN)} |", "---|" + "---:|" * len(SHOWN)]
    group = None
    for row in measured["records"]:
        if "work" not in row or "threads" in row["group"] or "tiny" in row["group"]:
            continue
        if row["group"] != group:
            group = row["group"]
            lines += [f"**{group.removeprefix('conv ')}** |" + " |" * len(SHOWN)]
        cells = [
            f"{row['work'] / row['seconds'][name][0] / 1e9:.0f}" if name in row["seconds"] else ""
            for name in SHOWN
        ]
        lines += [f"{row['label']} | {' | '.join(cells)} |"]
    return lines


def threads(measured):
    """The time of one thread over that of all, by the medians (by the minima)."""
    count = measured["threads"]
    lines = [f"layer | plan, {count} threads | {count} plans at once | torch |"]
    lines += ["---|---:|---:|---:|"]
    for row in measured["records"]:
        if row.get("group") == f"conv {count} threads":
            span = {name: np.array(pair) for name, pair in row["seconds"].items()}
            one = span["plan, fresh on 1"]
            ratios = [one / span[f"plan, fresh on {count}"], count * one / span["copies"]]
            if "torch on 1" in span:
                ratios += [span["torch on 1"] / span[f"torch on {count}"]]
            cells = [f"{median:.2f} ({least:.2f})" for median, least in ratios]
            lines += [f"{row['label']} | {' | '.join(cells)} |"]
    return lines


def tiny(measured):
    """Microseconds of tiny calls."""
    lines = ["(1, 1, 8, 8, 8), kernel 3 | microseconds |", "---|---:|"]
    for row in measured["records"]:
        if "tiny" in row.get("group", ""):
            lines += [f"{name} | {pair[0] * 1e4:.1f} |" for name, pair in row["seconds"].items()]
    return lines


TABLES = {"claims": claims, "layers": rates, "threads": threads, "tiny": tiny}


def main():
    pages = [Path(name) for name in sys.argv[1:] if name.endswith(".md")]
    runs = {}
    for name in sys.argv[1:]:
        if name.endswith(".json"):
            measured = json.loads(Path(name).read_text())
            held = " avx2" if any("held" in line for line in measured["heading"]) else ""
            runs[held or (" two" if measured["threads"] == 2 else "")] = measured

    def table(found):
        name, run = re.fullmatch(r"(\w+)( \w+)?", found[1]).groups(default="")
        if run not in runs:
            return found[0]
        lines = "\n".join(f"| {line}" for line in TABLES[name](runs[run]))
        head = "; ".join(runs[run]["heading"])
        return f"<!-- conv: {found[1]} -->\n{head}.\n\n{lines}\n<!-- conv: end -->"

    for page in pages:
        pattern = r"<!-- conv: ((?!end)[\w ]+) -->.*?<!-- conv: end -->"
        page.write_text(re.sub(pattern, table, page.read_text(), flags=re.DOTALL))


if __name__ == "__main__":
    main()
