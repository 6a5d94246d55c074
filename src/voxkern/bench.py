"""`voxkern bench`: this library beside its NumPy oracle and installed peers, in one run.

Contenders of a case take turns, so that a busy moment hits all of them. ``out=`` is given where a
contender has it; "fresh" marks a call that allocates its result.
"""

import functools
import statistics
from typing import NamedTuple

import numpy as np
from rich.table import Table

import voxkern
from voxkern import bench_conv, losses, reference, timing
from voxkern.timing import normal, onnxruntime, optional, per_axis


class Case(NamedTuple):
    """Calls that compute the same, and the work of one call in units of `unit` times 1e9."""

    label: str
    work: float
    unit: str
    contenders: dict


def im2col(shape, kernel):
    """Columns of windows, padded by 1."""
    x = normal(shape)
    out = voxkern.im2col(x, kernel, padding=1)
    contenders = {
        "voxkern": lambda: voxkern.im2col(x, kernel, padding=1, out=out),
        "NumPy oracle": lambda: reference.im2col(x, kernel, padding=1),
    }
    axes = tuple(range(2, x.ndim))
    padded = np.pad(x, [(0, 0)] * 2 + [(1, 1)] * len(axes))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (kernel,) * len(axes), axes)
    order = (0, 1, *(len(axes) + a for a in axes), *axes)
    view, copied = windows.transpose(order), np.empty_like(out)

    def copy():
        timing.copy(copied.reshape(view.shape), view)
        return copied

    contenders["NumPy windows, a copy"] = copy
    if (torch := optional("torch")) and len(shape) == 4:
        given, taken = torch.from_numpy(x), torch.empty(out.shape)
        columns = torch.ops.aten.im2col.out
        two = [[kernel] * 2, [1, 1], [1, 1], [1, 1]]
        contenders["torch"] = lambda: columns(given, *two, out=taken)
    return Case(f"{timing.dims(shape)}, kernel {kernel}", x.nbytes + out.nbytes, "GB/s", contenders)


def pool(kind, shape, kernel, stride, padding):
    """Max or average pooling."""
    axes = len(shape) - 2
    x = normal(shape)
    ours, oracle = (getattr(m, f"{kind}_pool{axes}d") for m in (voxkern, reference))
    out = ours(x, kernel, stride, padding)
    contenders = {
        "voxkern": lambda: ours(x, kernel, stride, padding, out=out),
        "NumPy oracle": lambda: oracle(x, kernel, stride, padding),
    }
    if torch := optional("torch"):
        given, taken = torch.from_numpy(x), torch.empty(out.shape)
        window = [[size] * axes for size in (kernel, stride, padding)]
        if kind == "avg":
            theirs = getattr(torch.ops.aten, f"avg_pool{axes}d").out
            contenders["torch"] = lambda: theirs(given, *window, out=taken)
        else:  # there is no other: torch.nn.functional.max_pool* calls this too
            places = torch.empty(out.shape, dtype=torch.int64)
            theirs = getattr(torch.ops.aten, f"max_pool{axes}d_with_indices").out
            contenders["torch"] = lambda: theirs(given, *window, out=taken, indices=places)[0]
    attributes = {"count_include_pad": 1} if kind == "avg" else {}
    contenders |= onnxruntime(
        {"max": "MaxPool", "avg": "AveragePool"}[kind],
        {"x": x},
        out.shape,
        kernel_shape=per_axis(kernel, axes),
        strides=per_axis(stride, axes),
        pads=per_axis(padding, axes) * 2,
        **attributes,
    )
    label = f"{kind} {timing.dims(shape)}, kernel {kernel}, stride {stride}, padding {padding}"
    return Case(label, x.nbytes + out.nbytes, "GB/s", contenders)


def max_pool_places(shape, kernel, stride, padding):
    """Max pooling with the places of the maxima."""
    axes = len(shape) - 2
    x = normal(shape)
    ours, oracle = (getattr(m, f"max_pool{axes}d") for m in (voxkern, reference))
    window = kernel, stride, padding
    out = ours(x, *window, return_indices=True)
    contenders = {
        "voxkern": lambda: ours(x, *window, return_indices=True, out=out),
        "NumPy oracle": lambda: oracle(x, *window, return_indices=True),
    }
    if torch := optional("torch"):
        given, *taken = (torch.from_numpy(a.copy()) for a in (x, *out))
        theirs = getattr(torch.ops.aten, f"max_pool{axes}d_with_indices").out
        taken = dict(zip(("out", "indices"), taken))
        contenders["torch"] = lambda: theirs(given, *([size] * axes for size in window), **taken)
    label = f"max and indices {timing.dims(shape)}, "
    label += f"kernel {kernel}, stride {stride}, padding {padding}"
    return Case(label, x.nbytes + out[0].nbytes + out[1].nbytes, "GB/s", contenders)


def pool_backward(kind, shape, kernel, stride, padding):
    """The gradient of pooling; neither side has an ``out=`` for it."""
    axes = len(shape) - 2
    x, size = normal(shape), shape[2:]
    window = kernel, stride, padding
    out, places = getattr(voxkern, f"max_pool{axes}d")(x, *window, return_indices=True)
    grad = normal(out.shape)
    arguments = (grad, places, size) if kind == "max" else (grad, size, *window)
    ours, oracle = (getattr(m, f"{kind}_pool{axes}d_backward") for m in (voxkern, reference))
    contenders = {
        "voxkern": lambda: ours(*arguments),
        "NumPy oracle": lambda: oracle(*arguments),
    }
    if torch := optional("torch"):
        given, taken, indices = (torch.from_numpy(a) for a in (x, grad, places))
        if kind == "avg":
            theirs = getattr(torch.ops.aten, f"avg_pool{axes}d_backward")
            last = False, True, None
        else:
            theirs = getattr(torch.ops.aten, f"max_pool{axes}d_with_indices_backward")
            last = [1] * axes, False, indices
        window = [[size] * axes for size in window]
        contenders["torch"] = lambda: theirs(taken, given, *window, *last)
    read = grad.nbytes + (places.nbytes if kind == "max" else 0)
    label = f"{kind} gradient {timing.dims(shape)}, "
    label += f"kernel {kernel}, stride {stride}, padding {padding}"
    return Case(label, x.nbytes + read, "GB/s", contenders)


def batchnorm(shape, training):
    """Batch normalisation with running statistics; one read and one write are counted."""
    x = normal(shape)
    mean, var, weight, bias = (np.abs(normal(shape[1])) + 0.5 for _ in range(4))
    out = np.empty_like(x)

    def call(function, **where):
        return function(x, mean.copy(), var.copy(), weight, bias, training, **where)

    contenders = {
        "voxkern": lambda: call(voxkern.batch_norm, out=out),
        "NumPy oracle": lambda: call(reference.batch_norm),
    }
    if torch := optional("torch"):
        given = [torch.from_numpy(a) for a in (x, weight, bias, mean.copy(), var.copy())]
        taken = torch.empty(shape), *(torch.empty(shape[1] if training else 0) for _ in range(2))
        theirs = torch.ops.aten.native_batch_norm.out
        last = dict(zip(("out", "save_mean", "save_invstd"), taken))
        contenders["torch"] = lambda: theirs(*given, training, 0.1, 1e-5, **last)[0]
    if not training:
        inputs = {"x": x, "scale": weight, "b": bias, "mean": mean, "var": var}
        contenders |= onnxruntime("BatchNormalization", inputs, shape, epsilon=1e-5)
    label = f"{'training' if training else 'inference'} {timing.dims(shape)}"
    return Case(label, 2 * x.nbytes, "GB/s", contenders)


def batchnorm_backward(shape):
    """The gradients of batch normalisation; two reads and one write are counted.

    torch has no ``out=`` here: ours is timed with one, and without.
    """
    x, grad = normal((2, *shape))
    weight = np.abs(normal(shape[1])) + 0.5
    stats, out = voxkern.batch_norm_stats(x), np.empty_like(x)
    contenders = {
        "voxkern": lambda: voxkern.batch_norm_backward(grad, x, weight, *stats, out=out),
        "voxkern, fresh": lambda: voxkern.batch_norm_backward(grad, x, weight, *stats),
        "NumPy oracle": lambda: reference.batch_norm_backward(grad, x, weight, *stats),
    }
    if torch := optional("torch"):
        given = [torch.from_numpy(a) for a in (grad, x, weight)]
        mean, invstd = (torch.from_numpy(a.astype(np.float32)) for a in stats)
        theirs = torch.ops.aten.native_batch_norm_backward
        last = None, None, mean, invstd, True, 1e-5, [True] * 3
        contenders["torch"] = lambda: theirs(*given, *last)
    return Case(f"gradient {timing.dims(shape)}", 3 * x.nbytes, "GB/s", contenders)


def groupnorm(kind, shape):
    """Normalisation within a sample; one read and one write are counted.

    torch has no ``out=`` here: ours is timed with one, and without.
    """
    x = normal(shape)
    weight, bias = normal((2, shape[-1] if kind == "layer_norm" else shape[1]))
    rest = {"group_norm": (8,), "instance_norm": (), "layer_norm": (shape[-1:],)}[kind]
    out = np.empty_like(x)

    def call(module, **where):
        return getattr(module, kind)(x, *rest, weight=weight, bias=bias, **where)

    contenders = {
        "voxkern": lambda: call(voxkern, out=out),
        "voxkern, fresh": lambda: call(voxkern),
        "NumPy oracle": lambda: call(reference),
    }
    if torch := optional("torch"):
        given, *affine = (torch.from_numpy(a) for a in (x, weight, bias))
        theirs = getattr(torch.nn.functional, kind)
        affine = dict(zip(("weight", "bias"), affine))
        contenders["torch"] = lambda: theirs(given, *rest, **affine)
    return Case(f"{kind} {timing.dims(shape)}", 2 * x.nbytes, "GB/s", contenders)


def flash(count, height, width, content):
    """Flash table of RGB frames; the bytes of the frames are counted once."""
    rng = np.random.default_rng(3)
    frames = rng.integers(0, 256, (count, height, width, 3), np.uint8)
    if content == "static":
        frames[1:] = frames[0]
    elif content == "flash":  # every pixel ties with every other
        frames[:] = 40 + 150 * (np.arange(count) % 2)[:, None, None, None]
    elif content == "gradient":  # nearly so
        gain = np.linspace(0.5, 1, count)[np.random.default_rng(4).permutation(count)]
        frames[:] = (gain[:, None, None] * np.linspace(90, 250, width))[..., None]
    elif content == "smooth":  # neighbours are alike, as in a film: blur, then move
        ramp = np.sin(np.arange(height)[:, None] / 97) * np.cos(np.arange(width) / 131)
        picture = (120 + 90 * ramp)[..., None] + rng.normal(0, 2, (height, width, 3))
        frames = np.stack([np.roll(picture, 3 * i, axis=1) for i in range(count)])
        frames = frames.astype(np.uint8)
    contenders = {
        "voxkern": lambda: voxkern.flash_table(frames),
        "NumPy oracle": lambda: reference.flash_table(frames),
    }
    if torch := optional("torch"):
        given = torch.from_numpy(frames)
        curve = 4 * (0.2 * torch.arange(766, dtype=torch.float64) / 3 + 1) ** 2.2

        def table():
            rows = []
            before = None
            for frame in given:
                now = curve[frame.sum(dim=2, dtype=torch.int32)].ravel()
                if before is not None:
                    change = now - before
                    up = change.topk(5).values.clamp(min=0).mean()
                    down = -change.topk(5, largest=False).values.clamp(max=0).mean()
                    rows.append(up if up > down else -down)
                before = now
            return torch.stack(rows)[:, None]

        contenders["torch table, topk"] = table
    label = f"{count} frames {width}x{height} RGB uint8, {content}"
    return Case(label, frames.nbytes, "GB/s", contenders)


def cross_entropy(rows, classes):
    """Softmax, cross-entropy and the gradient; one read of the logits and one write are counted."""
    x, labels = normal((rows, classes)), np.arange(rows) * 7 % classes
    out = np.empty_like(x)
    contenders = {
        "voxkern": lambda: losses.cross_entropy_and_gradient(x, labels, out=out)[1],
        "NumPy oracle": lambda: reference.losses.cross_entropy_and_gradient(x, labels, out=out)[1],
    }
    if torch := optional("torch"):
        ops, given, target = torch.ops.aten, torch.from_numpy(x), torch.from_numpy(labels)
        logs, slope, taken = (torch.empty(x.shape) for _ in range(3))
        loss, total = torch.empty(()), torch.empty(())
        mean = None, 1, -100  # no weights, the mean, the class that is ignored

        def both():
            torch._log_softmax(given, 1, False, out=logs)
            ops.nll_loss_forward.output(logs, target, *mean, output=loss, total_weight=total)
            one = torch.ones(())
            ops.nll_loss_backward.grad_input(one, logs, target, *mean, total, grad_input=slope)
            return ops._log_softmax_backward_data.out(slope, logs, 1, torch.float32, out=taken)

        contenders["torch"] = both
    label = f"cross-entropy and gradient {timing.dims(x.shape)}"
    return Case(label, 2 * x.nbytes, "GB/s", contenders)


def loss(name, count):
    """The mean loss of logits or squared error of many elements; both arrays are read once."""
    x, target = normal(count), np.random.default_rng(8).random(count, np.float32)
    contenders = {
        "voxkern": lambda: getattr(losses, name)(x, target),
        "NumPy oracle": lambda: getattr(reference.losses, name)(x, target),
    }
    if torch := optional("torch"):
        given, theirs = (
            [torch.from_numpy(a) for a in (x, target)],
            getattr(torch.nn.functional, name),
        )
        contenders["torch"] = lambda: theirs(*given)
    return Case(f"{name} {count}", 2 * x.nbytes, "GB/s", contenders)


def activation(name, shape):
    """An activation function; one read and one write are counted."""
    x, rest = normal(shape), (1, False) if "softmax" in name else ()
    out = np.empty_like(x)
    ours, oracle = (getattr(m.activations, name) for m in (voxkern, reference))
    contenders = {
        "voxkern": lambda: ours(x, out=out),
        "NumPy oracle": lambda: oracle(x, out=out),
    }
    if torch := optional("torch"):
        given, taken = torch.from_numpy(x), torch.empty(shape)
        theirs = getattr(torch.ops.aten, f"_{name}" if rest else name).out
        contenders["torch"] = lambda: theirs(given, *rest, out=taken)
    return Case(f"{name} {timing.dims(shape)}", 2 * x.nbytes, "GB/s", contenders)


def optimiser(name, kept, count, fused):
    """A step with `kept` averages; parameter and averages are read and written, gradients read."""
    first = {"step": 1} if kept == 2 else {}
    weight, grad = normal((2, count))
    contenders = {}
    for title, module in ("voxkern", voxkern.optim), ("NumPy oracle", reference.optim):
        lists = [weight.copy()], [grad], *([np.zeros_like(grad)] for _ in range(kept))
        step = functools.partial(getattr(module, name), *lists, **first, lr=1e-3)
        contenders[title] = lambda step=step, lists=lists: step() or lists[0][0]
    if torch := optional("torch"):
        theirs = torch.from_numpy(weight.copy()).requires_grad_()
        theirs.grad = torch.from_numpy(grad)
        kind, options = fused
        peer = getattr(torch.optim, kind)([theirs], lr=1e-3, **options)
        contenders["torch"] = lambda: peer.step() or theirs.detach()
    return Case(f"{name} {count}", (3 + 2 * kept) * weight.nbytes, "GB/s", contenders)


def upsample(mode, shape):
    """An array twice as large in each axis; its read and the result's write are counted."""
    x, how = normal(shape), {"scale_factor": 2, "mode": mode}
    contenders = {
        "voxkern": lambda: voxkern.upsample(x, **how),
        "NumPy oracle": lambda: reference.upsample(x, **how),
    }
    if torch := optional("torch"):
        given = torch.from_numpy(x)
        contenders["torch"] = lambda: torch.nn.functional.interpolate(given, **how)
    written = x.nbytes * 2 ** (x.ndim - 2)
    return Case(f"{mode} {timing.dims(shape)}", x.nbytes + written, "GB/s", contenders)


def linear(rows, n_in, n_out):
    """The fully connected layer."""
    x, weight, bias = normal((rows, n_in)), normal((n_out, n_in)), normal(n_out)
    out = np.empty((rows, n_out), np.float32)
    contenders = {
        "voxkern": lambda: voxkern.linear(x, weight, bias, out=out),
        "NumPy oracle": lambda: reference.linear(x, weight, bias, out=out),
    }
    if torch := optional("torch"):
        given, taken = [torch.from_numpy(a) for a in (bias, x, weight.T)], torch.empty(out.shape)
        contenders["torch"] = lambda: torch.addmm(*given, out=taken)
    return Case(f"{rows} x {n_in} to {n_out}", 2 * x.size * n_out, "GFLOP/s", contenders)


def dropout(shape):
    """Dropout of a seed, which no peer shares; one read and one write are counted."""
    x, out = normal(shape), np.empty(shape, np.float32)
    contenders = {
        "voxkern": lambda: voxkern.dropout(x, rng=1, out=out),
        "NumPy oracle": lambda: reference.dropout(x, rng=1, out=out),
    }
    return Case(timing.dims(shape), 2 * x.nbytes, "GB/s", contenders)


def sequence(kind, steps, batch, features):
    """A recurrent layer, forward, with as many inputs as features."""
    gates = {"rnn": 1, "lstm": 4, "gru": 3}[kind]
    x, bias = normal((steps, batch, features)), normal(gates * features)
    square = normal((gates * features, features)) / features**0.5
    weights, state = (square, -square, bias, -bias), np.zeros((1, batch, features), np.float32)
    hx = (state, state) if kind == "lstm" else state
    contenders = {
        "voxkern": lambda: getattr(voxkern.recurrent, kind)(x, hx, [weights])[0],
        "NumPy oracle": lambda: getattr(reference.recurrent, kind)(x, hx, [weights])[0],
    }
    if torch := optional("torch"):
        given, layer = torch.from_numpy(x), getattr(torch.nn, kind.upper())(features, features)
        for parameter, weight in zip(layer.parameters(), weights):
            parameter.data = torch.from_numpy(weight)
        layer.requires_grad_(False)
        contenders["torch"] = lambda: layer(given)[0]
    label = f"{kind} {timing.dims(x.shape)}"
    return Case(label, 4 * steps * batch * square.size, "GFLOP/s", contenders)


VOLUMES, IMAGES = (1, 64, 16, 56, 56), (8, 64, 56, 56)
LAYERS = "activations", "losses", "optim", "linear", "dropout", "upsample", "recurrent"
OPERATIONS = "conv", "im2col", "pool", "batchnorm", "groupnorm", "flash", *LAYERS
POOLED = [(shape, *window) for shape in (VOLUMES, IMAGES) for window in ((2, 2, 0), (3, 2, 1))]
FUNCTIONS = "relu", "leaky_relu", "elu", "sigmoid", "tanh", "softmax"
LOSSES = "mse_loss", "binary_cross_entropy_with_logits"
# An optimiser, how many averages it keeps, and torch's.
STEPS = [
    ("sgd", 0, ("SGD", {"fused": True})),
    ("momentum", 1, ("SGD", {"momentum": 0.9, "fused": True})),
    ("adam", 2, ("Adam", {"fused": True})),
]
ENLARGED = ("nearest", IMAGES), ("bilinear", IMAGES), ("trilinear", (1, 32, 16, 56, 56))
# operation: its cases, and the quick ones; each the function that makes it and its arguments
CASES = {
    "im2col": (
        [(im2col, VOLUMES, 3), (im2col, IMAGES, 3)],
        [(im2col, (1, 2, 5, 7, 11), 3), (im2col, (2, 3, 7, 11), 3)],
    ),
    "pool": (
        [(pool, kind, *case) for kind in ("max", "avg") for case in POOLED]
        + [(max_pool_places, *case) for case in POOLED]
        + [(pool_backward, kind, *case) for kind in ("max", "avg") for case in POOLED],
        [
            (pool, "max", (1, 3, 5, 7, 11), 3, 2, 1),
            (pool, "avg", (2, 3, 7, 11), 2, 2, 0),
            (max_pool_places, (1, 3, 5, 7, 11), 3, 2, 1),
            (pool_backward, "max", (1, 3, 5, 7, 11), 2, 2, 0),
            (pool_backward, "avg", (2, 3, 7, 11), 3, 2, 1),
        ],
    ),
    "batchnorm": (
        [
            (batchnorm, (8, *VOLUMES[1:]), True),
            (batchnorm, (8, *VOLUMES[1:]), False),
            (batchnorm_backward, (8, *VOLUMES[1:])),
            (batchnorm, VOLUMES, True),
            (batchnorm, VOLUMES, False),
            (batchnorm_backward, VOLUMES),
        ],
        [
            (batchnorm, (2, 3, 5, 7, 11), True),
            (batchnorm, (2, 3, 5, 7, 11), False),
            (batchnorm_backward, (2, 3, 5, 7, 11)),
        ],
    ),
    "groupnorm": (
        [
            (groupnorm, "group_norm", (4, 64, 32, 56, 56)),
            (groupnorm, "instance_norm", (2, 32, 64, 64, 64)),
            (groupnorm, "layer_norm", (64, 197, 768)),
        ],
        [
            (groupnorm, "group_norm", (2, 16, 5, 7)),
            (groupnorm, "instance_norm", (2, 3, 7, 11)),
            (groupnorm, "layer_norm", (5, 7)),
        ],
    ),
    "flash": (
        [(flash, 16, 720, 1280, c) for c in ("noise", "smooth", "static", "flash", "gradient")],
        [(flash, 3, 17, 31, "noise"), (flash, 3, 17, 31, "smooth"), (flash, 3, 17, 31, "flash")],
    ),
    "activations": (
        [(activation, name, (1000, 1000)) for name in FUNCTIONS],
        [(activation, name, (7, 13)) for name in FUNCTIONS],
    ),
    "losses": (
        [(cross_entropy, 4096, 1000), *((loss, name, 1_000_000) for name in LOSSES)],
        [(cross_entropy, 7, 13), *((loss, name, 91) for name in LOSSES)],
    ),
    "optim": (
        [(optimiser, name, kept, 10_000_000, fused) for name, kept, fused in STEPS],
        [(optimiser, name, kept, 91, fused) for name, kept, fused in STEPS],
    ),
    "linear": ([(linear, 256, 4096, 1000)], [(linear, 7, 13, 5)]),
    "dropout": ([(dropout, (256, 4096))], [(dropout, (7, 13))]),
    "upsample": (
        [(upsample, *case) for case in ENLARGED],
        [(upsample, "nearest", (2, 3, 7, 11)), (upsample, "trilinear", (1, 2, 5, 7, 11))],
    ),
    "recurrent": (
        [(sequence, kind, 20, 64, 512) for kind in ("rnn", "lstm", "gru")],
        [(sequence, kind, 3, 5, 7) for kind in ("rnn", "lstm", "gru")],
    ),
}


def report(console, operations, threads=1, quick=False):
    """Run the cases of `operations`, print tables of them and return what was measured."""
    clock, records = timing.clock(threads), []
    with timing.limited(threads) as note:
        found = timing.heading(console, threads, note, quick)
        for operation in operations:
            console.print(f"\n[bold]{operation}[/]")
            if operation == "conv":
                records += bench_conv.report(console, threads, quick, clock)
            else:
                records += tables(console, operation, quick, clock)
    return found | {"records": records}


def tables(console, operation, quick, clock):
    """Run the cases of one operation, a table for each."""
    full, small = CASES[operation]
    ratios, records = {}, []
    for make, *arguments in small if quick else full:
        case = make(*arguments)
        console.print(case.label, markup=False, soft_wrap=True)
        seconds = timing.measure(case.contenders, 0.01 if quick else 1.0, clock)
        records.append(timing.record(operation, case.label, case.work, seconds))
        medians = show(console, case, seconds)
        for name in peers(medians):
            ratio = medians[name] / medians[same_terms(name, medians)]
            ratios.setdefault(name, []).append(ratio)
    for name, values in ratios.items():
        mean = statistics.geometric_mean(values)
        console.print(f"{name}: {mean:.2f}x, geometric mean of {len(values)}")
    console.print("ratio: time over that of voxkern; of a fresh result over voxkern's fresh one")
    return records


def show(console, case, seconds):
    """Print the table of one case; the median of each contender."""
    table = Table(box=None, padding=(0, 0, 0, 2))
    table.add_column("", min_width=20, no_wrap=True)
    for name in ("median ms", "min ms", case.unit, "ratio"):
        table.add_column(name, justify="right", min_width=10)
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    for name, median in medians.items():
        cells = f"{median * 1e3:.3f}", f"{min(seconds[name]) * 1e3:.3f}"
        rate = f"{case.work / median / 1e9:.2f}"
        if name in peers(medians):
            table.add_row(name, *cells, rate, f"{median / medians[same_terms(name, medians)]:.2f}x")
        else:
            table.add_row(name, *cells, rate, "", style="cyan")
    console.print(table)
    return medians


def peers(names):
    """The contenders that are not this library."""
    return [name for name in names if not name.startswith("voxkern")]


def same_terms(name, names):
    """Which of this library's calls a contender is measured against: fresh against fresh."""
    fresh = "voxkern, fresh"
    return fresh if fresh in names and ("fresh" in name or "voxkern" not in names) else "voxkern"
