"""Random convolutions beside torch and onnxruntime; lists those where a peer is faster.

    python asv_bench/conv_sweep.py --count 300 --results sweep.jsonl

Shape number i of a seed is always the same, so a run that was stopped goes on where it ended, and
``--only 17`` repeats one. One thread, its own CPU time, contenders in turns, the best of each.
"""

import argparse
import json
import math
import statistics
from pathlib import Path

import numpy as np
from rich.console import Console

from voxkern import layers, timing
from voxkern.layers import Layer

CALLS = {
    "forward": layers.forward,
    "backward": layers.backward,
    "transposed": layers.transposed,
}
ROUND = (1, 2, 4, 8, 16, 32, 64, 96, 128, 256, 512)
LONGEST = {1: 20000, 2: 256, 3: 96}
LEAST_WORK, MOST_WORK, MOST_NUMBERS = 1e5, 3e9, 2**24
FASTER = 1.1


def draw(seed, index):
    """Direction, layer and class of shape number `index` of a seed."""
    rng = np.random.default_rng([seed, index])
    direction = str(rng.choice(list(CALLS), p=[0.6, 0.2, 0.2]))
    while True:
        layer = draw_layer(rng, direction)
        if LEAST_WORK < work(layer, direction) < MOST_WORK and numbers(layer) < MOST_NUMBERS:
            return direction, layer


def draw_layer(rng, direction):
    """Any layer; half of the numbers of channels are round ones."""

    def pick(*values):
        return int(rng.choice(values))

    axes = pick(1, 2, 2, 3, 3, 3)
    edge = pick(1, 2, 3, 3, 3, 3, 4, 5, 7)
    kernel = [edge] * axes
    if rng.random() < 0.15:
        kernel = [pick(edge, 1, 3) for _ in range(axes)]
    stride = pick(1, 1, 1, 2, 2, edge if edge > 2 else 1)
    dilation = pick(1, 1, 1, 1, 2, 3) if stride == 1 else 1
    if direction == "transposed":
        stride, dilation = pick(1, 2, 2, 2, 3), 1
    inputs, outputs = (
        pick(*ROUND) if rng.random() < 0.5 else int(np.exp(rng.uniform(0, np.log(512))))
        for _ in range(2)
    )
    groups = 1
    if rng.random() < 0.1:
        groups = outputs = inputs
    elif rng.random() < 0.1:
        groups = pick(2, 3, 4, 8)
        inputs, outputs = -(-inputs // groups) * groups, -(-outputs // groups) * groups
    extent = [dilation * (k - 1) + 1 for k in kernel]
    longest = np.log(LONGEST[axes])
    size = [int(np.exp(rng.uniform(np.log(max(e, 2)), longest))) for e in extent]
    if rng.random() < 0.5:
        size = [max(size[-1], *extent)] * axes
    padding = [pick(e // 2, e // 2, 0) for e in extent][-1]
    padding = padding if padding <= min(extent) // 2 else 0
    batch = pick(1, 1, 1, 1, 1, 2, 3, 8, 32)
    shape = batch, inputs, *size
    return Layer("", shape, outputs, tuple(kernel), stride, padding, dilation, groups)


def counts(layer):
    """Windows along each axis of the forward call."""
    for size, taps in zip(layer.x[2:], layer.kernel):
        yield (size + 2 * layer.padding - layer.dilation * (taps - 1) - 1) // layer.stride + 1


def work(layer, direction):
    """Floating-point operations of the direct sum."""
    places = layer.x[2:] if direction == "transposed" else counts(layer)
    pairs = layer.x[1] * layer.outputs // layer.groups * math.prod(layer.kernel)
    return 2 * layer.x[0] * pairs * math.prod(places) * (2 if direction == "backward" else 1)


def numbers(layer):
    """Elements of the larger array, were the call transposed."""
    grown = math.prod(size * layer.stride for size in layer.x[2:])
    return layer.x[0] * max(layer.x[1] * math.prod(layer.x[2:]), layer.outputs * grown)


def kind(direction, layer):
    """Class of a shape: what a kernel would ask first."""
    edges = set(layer.kernel)
    if layer.groups > 1:
        word = "depthwise" if layer.groups == layer.x[1] == layer.outputs else "grouped"
    elif edges == {1}:
        word = "pointwise"
    elif edges == {layer.stride}:
        word = "patches"
    else:
        word = "few channels" if min(layer.x[1], layer.outputs) <= 4 else "many channels"
        word += ", kernel 3" if edges == {3} else ""
    word += ", strided" if layer.stride > 1 and word != "patches" else ""
    word += ", dilated" if layer.dilation > 1 and edges != {1} else ""
    word += ", narrow" if layer.x[-1] < 12 else ""
    return f"{direction}: {word}"


def measured(seed, index, seconds):
    """What is kept of one shape: the best time of every contender in milliseconds."""
    direction, layer = draw(seed, index)
    _, contenders = CALLS[direction](layer)
    results = {name: timing.arrays(contenders[name]()) for name in contenders if name != "NumPy"}
    timing.agree(results)
    del contenders["NumPy"]
    taken = timing.turns(contenders, seconds / len(contenders) / 2, timing.clock(1))
    best = {name: min(times) * 1e3 for name, times in taken.items()}
    row = {"seed": seed, "index": index, "direction": direction}
    return row | {"layer": layer._asdict(), "work": work(layer, direction), "ms": best}


def ratios(row):
    """Peer's time over ours: the functional calls, and the best peer over a plan."""
    best = row["ms"]
    found = {}
    if "torch" in best:
        found["call"] = best["torch"] / best["call"]
    peers = [
        best[peer] / best[terms]
        for peer, terms in layers.SAME_TERMS.items()
        if peer in best and terms in best
    ]
    if peers:
        found["plan"] = min(peers)
    return found


def describe(row):
    """One line: call and plan ratios, times, the layer."""
    given = dict(row["layer"])
    text = f"{given['x']} -> {given['outputs']} kernel {given['kernel']}"
    for name in ("stride", "padding", "dilation", "groups"):
        text += f" {name} {given[name]}" if given[name] != Layer._field_defaults[name] else ""
    found = " ".join(f"{name} {value:5.2f}" for name, value in ratios(row).items())
    times = " ".join(f"{name} {value:.3f}" for name, value in row["ms"].items())
    return f"#{row['index']:<4d} {found} | {row['direction']} {text} | ms: {times}"


def summary(rows):
    """Every class with its geometric means, then each shape that loses, worst class first."""
    classes = {}
    for row in rows:
        classes.setdefault(kind(row["direction"], Layer(**row["layer"])), []).append(row)
    lines = []
    for name, members in classes.items():
        means = {}
        for what in ("call", "plan"):
            values = [ratios(row)[what] for row in members if what in ratios(row)]
            if values:
                means[what] = statistics.geometric_mean(values)
        losers = [row for row in members if min(ratios(row).values()) < 1 / FASTER]
        losers.sort(key=lambda row: min(ratios(row).values()))
        lines.append((min(means.values()), name, means, losers, len(members)))
    lost = sum(len(losers) for *_, losers, _ in lines)
    print(f"\n{len(rows)} shapes, {lost} where a peer is more than {FASTER} times faster")
    print("ratio: the peer's time over ours; `call` to torch, `plan` to the better peer")
    for _, name, means, losers, count in sorted(lines, key=lambda line: line[0]):
        found = ", ".join(f"{what} {mean:.2f}" for what, mean in means.items())
        print(f"\n{name}: {found}, geometric mean of {count}; {len(losers)} lost")
        for row in losers:
            print("  " + describe(row))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=0.6, help="for all contenders of a shape")
    parser.add_argument("--only", type=int, nargs="*", help="these shapes, measured again")
    parser.add_argument("--direction", choices=CALLS, help="shapes of this direction alone")
    parser.add_argument("--results", type=Path, help="JSON lines to continue and to append to")
    given = parser.parse_args()
    known = {}
    if given.results and given.results.exists():
        rows = map(json.loads, given.results.read_text().splitlines())
        known = {row["index"]: row for row in rows if row["seed"] == given.seed}
    with timing.limited(1):
        timing.heading(Console(highlight=False), 1, "", quick=False)
        for index in given.only or range(given.count):
            if given.direction and draw(given.seed, index)[0] != given.direction:
                continue
            if given.only or index not in known:
                known[index] = measured(given.seed, index, given.seconds)
                print(describe(known[index]), flush=True)
                if given.results:
                    with given.results.open("a") as file:
                        file.write(json.dumps(known[index]) + "\n")
    chosen = given.only or [i for i in known if i < given.count]
    summary([known[i] for i in sorted(chosen) if i in known])


if __name__ == "__main__":
    main()
