"""`voxkern bench conv`: the layers of `layers.py` beside torch, onnxruntime and ncnn.

A plan is measured as its users pay it: weights packed before, the result in `out`; onnxruntime has
the same. torch has no `out=` for convolution and ncnn returns its own array: a plan that allocates
is measured against them.
"""

import concurrent.futures
import math
import statistics
import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
from rich.table import Table

import voxkern
from voxkern import _dispatch, layers, reference, timing, window
from voxkern.timing import normal, optional, per_axis

# The contender of ours that does as much as a peer: a fresh result, or one in place.
SAME_TERMS = {"torch": "plan, fresh", "onnxruntime": "plan", "ncnn": "plan, fresh"}
SHOWN = "call", "plan", "NumPy", "torch", "onnxruntime", "ncnn"


class Result(NamedTuple):
    """A layer, the floating-point operations of its direct sum, seconds of every call."""

    layer: layers.Layer
    work: float
    seconds: dict

    def ratio(self, peer, ours, pick=statistics.median):
        """Time of `peer` over ours."""
        return pick(self.seconds[peer]) / pick(self.seconds[ours])

    def best(self, pick=statistics.median):
        """Time of the best peer over that of a plan, or of the call where there are no plans."""
        ours = {peer: terms if terms in self.seconds else "call" for peer, terms in SAME_TERMS.items()}
        found = [self.ratio(peer, ours[peer], pick) for peer in SAME_TERMS if peer in self.seconds]
        return min(found, default=math.nan)


def report(console, threads, quick, clock):
    """Time all groups of layers, print a table of each and the ratios that sum them up."""
    budget, groups, records = (0.01, QUICK, []) if quick else (0.3, GROUPS, [])
    results = {}
    for name, (make, members) in groups.items():
        results[name] = []
        for layer in members:
            work, contenders = make(layer)
            seconds = timing.measure(contenders, budget, clock)
            results[name].append(Result(layer, work, seconds))
            records.append(timing.record(f"conv {name}", layer.name, work, seconds))
        show(console, name, results[name])
    tiny(console, budget, clock)
    if threads > 1:
        scaling(console, threads, layers.SMALL[:1] if quick else layers.CUBED, budget)
    summary(console, results)
    return records


def show(console, name, results):
    """Table of one group: GFLOP/s by the medians, the best peer's time over ours."""
    names = [name for name in SHOWN if any(name in r.seconds for r in results)]
    table = Table(title=f"{name}, GFLOP/s of the direct sum", title_justify="left", box=None)
    table.add_column("layer", no_wrap=True)
    for column in (*names, "best peer / ours", "of minima"):
        table.add_column(column, justify="right")
    for result in results:
        rates = [
            f"{result.work / statistics.median(result.seconds[name]) / 1e9:.1f}"
            if name in result.seconds
            else ""
            for name in names
        ]
        table.add_row(
            result.layer.name, *rates, f"{result.best():.2f}", f"{result.best(min):.2f}"
        )
    console.print("", table)


def summary(console, results):
    """Geometric means and worst cases over the groups."""
    video, segmentation = results["video, MRI, images"], results["segmentation"]
    both = video + segmentation
    transposed = [r for r in results["transposed"] if 3 not in r.layer.kernel]
    cubed = [r for r in video if r.layer in layers.CUBED]
    lines = [
        ("plan: video, MRI, images", video, None),
        ("plan: of these 3x3x3, 32 to 512 channels", cubed, None),
        ("plan: segmentation", segmentation, None),
        ("plan: all of these", both, None),
        ("plan: others", results["others"], None),
        ("plan beside ncnn: 2-D, kernel 3", results["2-D, kernel 3"], ("ncnn", "plan, fresh")),
        ("call beside torch: all but 2-D and others", both, ("torch", "call")),
        ("three gradients beside torch: 3x3x3", results["backward"], ("torch", "call")),
        ("transposed beside torch: kernels 2 and 4", transposed, ("torch", "call")),
    ]
    table = Table(title="time of the peer, or of the best one, over ours", box=None)
    table.add_column("", no_wrap=True)
    for column in ("layers", "geometric mean", "of minima", "worst"):
        table.add_column(column, justify="right")
    table.add_column("which")
    for name, members, pair in lines:
        members = [r for r in members if (pair[0] in r.seconds if pair else r.best() > 0)]
        if not members:
            continue
        medians, minima = (
            [r.ratio(*pair, pick) if pair else r.best(pick) for r in members]
            for pick in (statistics.median, min)
        )
        means = f"{statistics.geometric_mean(medians):.2f}", f"{statistics.geometric_mean(minima):.2f}"
        worst = min(range(len(members)), key=medians.__getitem__)
        cells = f"{medians[worst]:.2f}", members[worst].layer.name
        table.add_row(name, str(len(members)), *means, *cells)
    console.print("", table)


def tiny(console, budget, clock):
    """Microseconds of a tiny call, and of its kernel alone: the rest is overhead."""
    layer = layers.TINY
    work, contenders = forward(layer)
    x, weight = operands(layer)
    rest = None, layer.stride, layer.padding
    out = voxkern.conv3d(x, weight, *rest)
    kernel = _dispatch.kernel("conv").conv
    placed = window.volume(*window.checked(layer.kernel, layer.stride, layer.padding, 1))
    contenders = {
        "kernel": lambda: kernel(
            x, weight, None, *placed, 1, algorithm="direct", slope=None, out=out
        ),
        "call": lambda: voxkern.conv3d(x, weight, *rest, out=out),
        **{name: call for name, call in contenders.items() if name not in ("call", "NumPy")},
    }
    seconds = timing.turns({n: hundred(call) for n, call in contenders.items()}, budget, clock)
    table = Table(title=f"a tiny call ({layer.name}), microseconds", title_justify="left", box=None)
    for column in ("", "median", "min", "above the kernel"):
        table.add_column(column, justify="right" if column else "left")
    for name, times in seconds.items():
        above = statistics.median(times) - statistics.median(seconds["kernel"])
        cells = statistics.median(times), min(times), above
        table.add_row(name, *(f"{cell * 1e4:.2f}" for cell in cells))
    console.print("", table)


def hundred(call):
    """A hundred calls as one, for what no clock resolves."""

    def repeated():
        for _ in range(100):
            call()

    return repeated


def scaling(console, threads, members, budget):
    """One call on all threads, and as many calls at once on one each: what the cores can give."""
    table = Table(title=f"{threads} threads beside one, wall time", title_justify="left", box=None)
    table.add_column("layer", no_wrap=True)
    for column in ("plan", f"{threads} plans at once", "torch"):
        table.add_column(column, justify="right")
    for layer in members:
        _, contenders = forward(layer)
        plan, torch = contenders["plan, fresh"], contenders.get("torch")
        with concurrent.futures.ThreadPoolExecutor(threads) as pool:
            calls = {
                "one": using(voxkern.set_num_threads, 1, plan),
                "all": using(voxkern.set_num_threads, threads, plan),
                "each": using(
                    voxkern.set_num_threads,
                    1,
                    lambda: list(pool.map(lambda _: plan(), range(threads))),
                ),
            }
            if torch:
                limit = optional("torch").set_num_threads
                calls |= {"torch one": using(limit, 1, torch)}
                calls |= {"torch all": using(limit, threads, torch)}
            seconds = timing.turns(calls, budget)
        best = {name: statistics.median(times) for name, times in seconds.items()}
        ratios = [best["one"] / best["all"], threads * best["one"] / best["each"]]
        ratios += [best["torch one"] / best["torch all"]] if torch else []
        table.add_row(layer.name, *(f"{ratio:.2f}" for ratio in ratios))
    voxkern.set_num_threads(threads)
    console.print("", table)


def using(limit, threads, call):
    """A call that first sets a number of threads."""

    def limited():
        limit(threads)
        return call()

    return limited


def forward(layer):
    """Floating-point operations of a layer's direct sum, and the contenders that compute it."""
    ours, oracle = (getattr(m, f"conv{layer.axes}d") for m in (voxkern, reference))
    x, weight = operands(layer)
    rest = None, layer.stride, layer.padding, layer.dilation, layer.groups
    out = ours(x, weight, *rest)
    plan = planned(weight, *rest)
    contenders = {
        "plan": lambda: plan(x, out=out),
        "plan, fresh": lambda: plan(x),
        "call": lambda: ours(x, weight, *rest),
        "NumPy": lambda: oracle(x, weight, *rest),
    }
    if torch := optional("torch"):
        theirs = getattr(torch.nn.functional, f"conv{layer.axes}d")
        tensors = torch.from_numpy(x), torch.from_numpy(weight)
        contenders["torch"] = lambda: theirs(*tensors, *rest)
    contenders |= timing.onnxruntime(
        "Conv",
        {"x": x, "w": weight},
        out.shape,
        strides=per_axis(layer.stride, layer.axes),
        pads=per_axis(layer.padding, layer.axes) * 2,
        dilations=per_axis(layer.dilation, layer.axes),
        group=layer.groups,
    )
    return 2 * out.size * weight[0].size, contenders


def with_ncnn(layer):
    """`forward`, and ncnn where it is installed, its conversions of input and output counted."""
    work, contenders = forward(layer)
    if ncnn := optional("ncnn"):
        x, weight = operands(layer)
        net = ncnn.Net()
        net.opt.num_threads = voxkern.get_num_threads()
        for shorter in ("fp16_packed", "fp16_storage", "fp16_arithmetic", "bf16_storage"):
            setattr(net.opt, f"use_{shorter}", False)
        with tempfile.TemporaryDirectory() as folder:
            graph, weights = Path(folder, "net.param"), Path(folder, "net.bin")
            numbers = {0: len(weight), 1: layer.kernel[0], 3: layer.stride, 4: layer.padding}
            numbers |= {5: 0, 6: weight.size}
            numbers = " ".join(f"{key}={value}" for key, value in numbers.items())
            graph.write_text(f"7767517\n2 2\nInput x 0 1 x\nConvolution y 1 1 x y {numbers}\n")
            weights.write_bytes(bytes(4) + weight.tobytes())  # 4 bytes: float32
            net.load_param(str(graph))
            net.load_model(str(weights))

        def call():
            extractor = net.create_extractor()
            extractor.input("x", ncnn.Mat(x[0]))
            return np.array(extractor.extract("y")[1])[None]

        contenders["ncnn"] = call
    return work, contenders


def transposed(layer):
    """Work and contenders of a transposed convolution."""
    ours, oracle = (getattr(m, f"conv_transpose{layer.axes}d") for m in (voxkern, reference))
    x = normal(layer.x)
    weight = normal((layer.x[1], layer.outputs // layer.groups, *layer.kernel))
    rest = None, layer.stride, layer.padding, 0, layer.groups, layer.dilation
    contenders = {
        "call": lambda: ours(x, weight, *rest),
        "NumPy": lambda: oracle(x, weight, *rest),
    }
    if torch := optional("torch"):
        theirs = getattr(torch.nn.functional, f"conv_transpose{layer.axes}d")
        tensors = torch.from_numpy(x), torch.from_numpy(weight)
        contenders["torch"] = lambda: theirs(*tensors, *rest)
    return 2 * x.size * weight[0].size, contenders


def backward(layer):
    """Work and contenders of all three gradients; torch's are what its autograd calls."""
    ours, oracle = (getattr(m, f"conv{layer.axes}d_backward") for m in (voxkern, reference))
    x, weight = operands(layer)
    window = layer.stride, layer.padding, layer.dilation, layer.groups
    shape = getattr(voxkern, f"conv{layer.axes}d")(x, weight, None, *window).shape
    grad = normal(shape)
    contenders = {
        "call": lambda: ours(grad, x, weight, *window),
        "NumPy": lambda: oracle(grad, x, weight, *window),
    }
    if torch := optional("torch"):
        tensors = [torch.from_numpy(a) for a in (grad, x, weight)]
        rest = [per_axis(size, layer.axes) for size in window[:3]]
        rest += [False, [0] * layer.axes, layer.groups, [True] * 3]
        theirs = torch.ops.aten.convolution_backward
        contenders["torch"] = lambda: theirs(*tensors, [layer.outputs], *rest)
    return 4 * grad.size * weight[0].size, contenders


def operands(layer):
    """Input and weights of a layer, the outputs near 1."""
    weight = normal((layer.outputs, layer.x[1] // layer.groups, *layer.kernel))
    return normal(layer.x), weight / np.float32(math.sqrt(weight[0].size))


def planned(weight, *rest):
    if hasattr(voxkern, "ConvPlan"):
        return voxkern.ConvPlan(weight, *rest)
    ours = getattr(voxkern, f"conv{weight.ndim - 2}d")
    return lambda x, out=None: ours(x, weight, *rest, out=out)


GROUPS = {
    "video, MRI, images": (forward, layers.VIDEO),
    "segmentation": (forward, layers.SEGMENTATION),
    "2-D, kernel 3": (with_ncnn, layers.IMAGES),
    "others": (forward, layers.OTHER),
    "transposed": (transposed, layers.TRANSPOSED),
    "backward": (backward, layers.CUBED),
}
QUICK = {name: (make, layers.SMALL) for name, (make, _) in GROUPS.items()}
QUICK["2-D, kernel 3"] = with_ncnn, [layers.SMALL[2]]
QUICK["backward"] = backward, layers.SMALL[:3]
