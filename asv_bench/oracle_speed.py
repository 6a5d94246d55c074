"""Every function of the small modules beside its NumPy oracle: the oracle's time over ours.

    python asv_bench/oracle_speed.py [--only NAME ...]

float32, 10^5 and 10^6 elements, one thread, `out=` on both sides where there is one; the least of
turns. No ratio should be below 1.
"""

import argparse
import functools

import numpy as np

import voxkern
from voxkern import activations, attacks, augment, losses, optim, recurrent, reference, timing

SIZES = 10**5, 10**6


def calls(n):
    """name: (ours, oracle, arguments, named arguments), of about n elements."""
    rng = np.random.default_rng(0)
    x, grad = rng.standard_normal((2, n // 100, 100), np.float32)
    share, label = rng.random((2, n // 100, 100), np.float32)
    out, slope = np.empty_like(x), np.full(1, 0.1, np.float32)
    probable = activations.softmax(x)
    classes = rng.integers(0, 100, n // 100)
    table = {}

    def add(module, name, *given, oracle=None, **named):
        oracle = oracle or getattr(reference, module.__name__.partition(".")[2], None) or reference
        table[name] = getattr(module, name), getattr(oracle, name), given, named

    for name in "relu", "leaky_relu", "elu", "sigmoid", "tanh", "heaviside":
        add(activations, name, x, out=out)
        add(activations, f"{name}_backward", grad, x, out=out)
    add(activations, "prelu", x, slope, out=out)
    add(activations, "prelu_backward", grad, x, slope, out=out)
    for name in "softmax", "log_softmax":
        add(activations, name, x, out=out)
        add(activations, f"{name}_backward", grad, probable, out=out)

    one = np.float32(1)
    for name, given in {
        "binary_cross_entropy": (share, label),
        "binary_cross_entropy_with_logits": (x, label),
        "multilabel_soft_margin_loss": (x, label),
        "cross_entropy": (x, classes),
        "nll_loss": (x, classes),
        "mse_loss": (x, grad),
    }.items():
        add(losses, name, *given)
        add(losses, f"{name}_backward", one, *given, out=out)
    add(losses, "cross_entropy_and_gradient", x, classes, out=out)
    for name in "l1_penalty", "l2_penalty":
        add(losses, name, x, 0.1)
        add(losses, f"{name}_backward", x, 0.1, out=out)

    kept = [[np.zeros_like(x)] for _ in range(2)]
    for name, states in {"sgd": 0, "momentum": 1, "rmsprop": 1}.items():
        add(optim, name, [x.copy()], [grad], *kept[:states], lr=1e-6)
    for name in "adam", "adamw":
        add(optim, name, [x.copy()], [grad], *kept, step=7, lr=1e-6)
    add(optim, "clip_grad_value", [grad.copy()], 0.9)
    add(optim, "clip_grad_norm", [grad.copy()], 1e9)

    add(voxkern, "linear", x, grad[:100], grad[0])
    table["linear_backward"] = (
        voxkern.linear_backward,
        reference.linear_backward,
        (x, x, x[:100]),
        {},
    )
    add(voxkern, "dropout", x, rng=1)
    add(voxkern, "dropout_backward", grad, x > 0, out=out)
    image = x.reshape(10, 10, -1, 20)
    for mode in "nearest", "bilinear":
        how = {"scale_factor": 2, "mode": mode}
        large = voxkern.upsample(image, **how)
        table[f"upsample, {mode}"] = voxkern.upsample, reference.upsample, (image,), how
        back = (large, image.shape[2:]), how
        name = f"upsample_backward, {mode}"
        table[name] = voxkern.upsample_backward, reference.upsample_backward, *back
    add(attacks, "fgsm", x, grad, 0.1, out=out)
    add(augment, "gaussian_noise", x, 0.1, 1, out=out)
    for kind, gates in {"rnn": 1, "lstm": 4, "gru": 3}.items():
        features = 128
        w_ih, w_hh = rng.standard_normal((2, gates * features, features), np.float32) / 12
        steps = x.reshape(-1)[: n // 2560 * 2560].reshape(n // 2560, 20, features)
        h = np.zeros((20, features), np.float32)
        state = (h, h) if kind == "lstm" else h
        add(
            recurrent,
            f"{kind}_cell",
            x.reshape(-1)[: n // 128 * 128].reshape(-1, 128),
            tuple(np.zeros((n // 128, 128), np.float32) for _ in "hc")
            if kind == "lstm"
            else np.zeros((n // 128, 128), np.float32),
            w_ih,
            w_hh,
        )
        hx = tuple(s[None] for s in state) if kind == "lstm" else state[None]
        add(recurrent, kind, steps, hx, [(w_ih, w_hh)])
    return table


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", nargs="+", default=[])
    only = parser.parse_args().only
    ratios = {}
    with timing.limited(1):
        for n in SIZES:
            for name, (ours, oracle, given, named) in calls(n).items():
                if only and not any(part in name for part in only):
                    continue
                run = {
                    side: functools.partial(function, *given, **named)
                    for side, function in (("ours", ours), ("oracle", oracle))
                }
                least = {
                    side: min(times)
                    for side, times in timing.turns(run, 0.05, timing.clock(1)).items()
                }
                ratios.setdefault(name, []).append((least["ours"], least["oracle"]))
    print(f"{'':44}" + "".join(f"{f'{n:.0e} ms':>12}{'ratio':>8}" for n in SIZES))
    for name, columns in ratios.items():
        cells = (f"{ours * 1e3:12.4f}{oracle / ours:8.2f}" for ours, oracle in columns)
        print(f"{name:44}" + "".join(cells))


if __name__ == "__main__":
    main()
