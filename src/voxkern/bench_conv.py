"""`voxkern bench conv`: the layers of `layers.py` beside torch, onnxruntime and ncnn."""

import concurrent.futures
import functools
import math
import statistics
from typing import NamedTuple

from rich.table import Table

import voxkern
from voxkern import _dispatch, layers, timing, window

SHOWN = "call", "plan", "NumPy", "torch", "onnxruntime", "ncnn"
GROUPS = {
    "video, MRI, images": (layers.forward, layers.VIDEO),
    "segmentation": (layers.forward, layers.SEGMENTATION),
    "2-D, kernel 3": (layers.with_ncnn, layers.IMAGES),
    "others": (layers.forward, layers.OTHER),
    "transposed": (layers.transposed, layers.TRANSPOSED),
    "backward": (layers.backward, layers.CUBED),
}
QUICK = {name: (make, layers.SMALL) for name, (make, _) in GROUPS.items()}
QUICK["2-D, kernel 3"] = layers.with_ncnn, [layers.SMALL[2]]
QUICK["backward"] = layers.backward, layers.SMALL[:3]


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
        ratios = [
            self.ratio(peer, terms if terms in self.seconds else "call", pick)
            for peer, terms in layers.SAME_TERMS.items()
            if peer in self.seconds
        ]
        return min(ratios, default=math.nan)


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
    records.append(tiny(console, budget, clock))
    if threads > 1:
        members = layers.SMALL[:1] if quick else layers.CUBED
        records += scaling(console, threads, members, budget)
    return records + summary(console, results)


def show(console, name, results):
    """Table of one group: GFLOP/s by the medians, the best peer's time over ours."""
    names = [name for name in SHOWN if any(name in r.seconds for r in results)]
    table = grid(f"{name}, GFLOP/s of the direct sum", *names, "best/ours", "of minima")
    for result in results:
        rates = [
            f"{result.work / statistics.median(result.seconds[name]) / 1e9:.1f}"
            if name in result.seconds
            else ""
            for name in names
        ]
        table.add_row(result.layer.name, *rates, f"{result.best():.2f}", f"{result.best(min):.2f}")
    console.print("", table)


def summary(console, results):
    """Print geometric means and worst cases over the groups, and return them."""
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
    table = grid("time of the peer, or of the best one, over ours", "layers", "mean", "of minima")
    table.add_column("worst", justify="right")
    table.add_column("which", no_wrap=True)
    claims = [claim(*line) for line in lines]
    claims = [found for found in claims if found]
    for found in claims:
        name, count, mean, minima, worst, which = found.values()
        table.add_row(name, str(count), *(f"{v:.2f}" for v in (mean, minima, worst)), which)
    console.print("", table)
    console.print("mean: geometric, of the medians' ratios")
    return claims


def claim(name, results, pair):
    """One line of the summary; None where no peer is installed."""
    results = [r for r in results if (pair[0] in r.seconds if pair else r.best() > 0)]
    if not results:
        return None
    medians, minima = (
        [r.ratio(*pair, pick) if pair else r.best(pick) for r in results]
        for pick in (statistics.median, min)
    )
    worst = min(range(len(results)), key=medians.__getitem__)
    return {
        "claim": name,
        "layers": len(results),
        "mean": statistics.geometric_mean(medians),
        "minima": statistics.geometric_mean(minima),
        "worst": medians[worst],
        "which": results[worst].layer.name,
    }


def grid(title, *columns):
    """An empty table: a column of names, columns of numbers."""
    table = Table(title=title, title_justify="left", box=None)
    table.add_column("", no_wrap=True)
    for column in columns:
        table.add_column(column, justify="right")
    return table


def tiny(console, budget, clock):
    """Microseconds of a tiny call, and of its kernel alone: the rest is overhead."""
    layer = layers.TINY
    work, contenders = layers.forward(layer)
    x, weight = layers.operands(layer)
    rest = None, layer.stride, layer.padding
    out = voxkern.conv3d(x, weight, *rest)
    kernel = _dispatch.kernel("conv").conv
    placed = window.volume(*window.checked(layer.kernel, layer.stride, layer.padding, 1))
    contenders = {
        "kernel": lambda: kernel(
            *(x, weight, None, *placed, 1),
            algorithm="direct",
            slope=None,
            packed=None,
            flipped=False,
            whole=None,
            accumulate=False,
            out=out,
        ),
        "call": lambda: voxkern.conv3d(x, weight, *rest, out=out),
        **{name: call for name, call in contenders.items() if name not in ("call", "NumPy")},
    }
    seconds = timing.turns({n: hundred(call) for n, call in contenders.items()}, budget, clock)
    title = f"a tiny call ({layer.name}), microseconds"
    table = grid(title, "median", "min", "above the kernel")
    for name, times in seconds.items():
        above = statistics.median(times) - statistics.median(seconds["kernel"])
        cells = statistics.median(times), min(times), above
        table.add_row(name, *(f"{cell * 1e4:.2f}" for cell in cells))
    console.print("", table)
    return timing.record("conv tiny, a hundred calls", layer.name, 100 * work, seconds)


def hundred(call):
    """A hundred calls as one, for what no clock resolves."""

    def repeated():
        for _ in range(100):
            call()

    return repeated


def scaling(console, threads, members, budget):
    """One call on all threads; as many calls at once on one each show what the cores can give."""
    title = f"{threads} threads beside one, wall time"
    table = grid(title, "plan", "of minima", f"{threads} plans at once", "torch")
    records = []
    for layer in members:
        work, contenders = layers.forward(layer)
        calls = {}
        for name, limit in (("plan, fresh", voxkern.set_num_threads), ("torch", torch_threads)):
            if name in contenders:
                for count in (1, threads):
                    call = functools.partial(limited, limit, count, contenders[name])
                    calls[f"{name} on {count}"] = call
        with concurrent.futures.ThreadPoolExecutor(threads) as pool:
            copies = functools.partial(at_once, pool, threads, contenders["plan, fresh"])
            calls["copies"] = functools.partial(limited, voxkern.set_num_threads, 1, copies)
            seconds = timing.turns(calls, budget)
        records.append(timing.record(f"conv {threads} threads", layer.name, work, seconds))
        spans = {name: statistics.median(times) for name, times in seconds.items()}
        one = spans["plan, fresh on 1"]
        ratios = [
            one / spans[f"plan, fresh on {threads}"],
            min(seconds["plan, fresh on 1"]) / min(seconds[f"plan, fresh on {threads}"]),
            threads * one / spans["copies"],
        ]
        if "torch" in contenders:
            ratios += [spans["torch on 1"] / spans[f"torch on {threads}"]]
        table.add_row(layer.name, *(f"{ratio:.2f}" for ratio in ratios))
    voxkern.set_num_threads(threads)
    console.print("", table)
    return records


def limited(limit, threads, call):
    """Call with a number of threads set before."""
    limit(threads)
    return call()


def torch_threads(threads):
    """Bound torch's threads."""
    timing.optional("torch").set_num_threads(threads)


def at_once(pool, count, call):
    """Several calls at the same time."""
    for done in [pool.submit(call) for _ in range(count)]:
        done.result()
