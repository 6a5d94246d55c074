"""What the examples of networks share: arguments, batches, training with AdamW, plots."""

import argparse
import importlib.util
from pathlib import Path

import numpy as np

from voxkern import optim


def parse(argv, description, epochs):
    """The arguments of an example, `epochs` being how many it needs."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--epochs", type=int, default=epochs, help="default: %(default)s")
    parser.add_argument("--seed", type=int, default=0, help="of all that is random")
    parser.add_argument("--plot", type=Path, help="where to save a plot, for example curve.svg")
    arguments = parser.parse_args(argv)
    if arguments.epochs < 1:
        parser.error(f"--epochs is {arguments.epochs}; it must be at least 1")
    if arguments.seed < 0:
        parser.error(f"--seed is {arguments.seed}; it must be at least 0")
    if arguments.plot and not arguments.plot.parent.is_dir():
        parser.error(f"--plot: {arguments.plot.parent} is not a directory")
    if arguments.plot and importlib.util.find_spec("matplotlib") is None:
        parser.error('--plot needs matplotlib: pip install "voxkern[examples]"')
    return arguments


def batches(rng, count, size):
    """Places 0 to `count` in random order, `size` at a time."""
    order = rng.permutation(count)
    for start in range(0, count, size):
        yield order[start : start + size]


def show(epoch, epochs, **numbers):
    """Print one line of the curve, for about ten of the epochs."""
    if epoch % max(1, epochs // 10) == 0 or epoch == epochs:
        print(f"epoch {epoch:5}", *(f"  {name} {value:.4f}" for name, value in numbers.items()))


def adamw(params, gradients, epochs, steps, lr, weight_decay=0.0):
    """Train with AdamW, its rate falling to 0: the mean loss of each epoch.

    `gradients()` yields the loss and the gradients of each of the `steps` batches of an epoch.
    """
    exp_avgs = [np.zeros_like(w) for w in params]
    exp_avg_sqs = [np.zeros_like(w) for w in params]
    step, curve = 0, []
    for epoch in range(1, epochs + 1):
        losses = []
        for loss, grads in gradients():
            rate = lr * (1 - step / (epochs * steps))
            step += 1
            optim.adamw(params, grads, exp_avgs, exp_avg_sqs, step, rate, weight_decay=weight_decay)
            losses.append(loss)
        curve.append(float(np.mean(losses)))
        show(epoch, epochs, loss=curve[-1])
    return curve


def panels(path, draw, width=8.0, height=3.2, **layout):
    """Save a figure whose panels, in the `layout` of matplotlib's subplots, `draw` fills."""
    import matplotlib
    from matplotlib.figure import Figure

    look = {
        # Text stays text and names do not change: small files, and the same one from each run.
        "svg.fonttype": "none",
        "svg.hashsalt": "voxkern",
        "font.size": 9,
        "axes.titlesize": 10,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "legend.frameon": False,
    }
    with matplotlib.rc_context(look):
        figure = Figure(figsize=(width, height), layout="constrained")
        draw(figure, figure.subplots(**layout))
        figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)
    print(f"wrote {path}")
