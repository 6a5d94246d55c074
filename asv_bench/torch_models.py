"""Whole torch models beside the same models through voxkern.torch.accelerate.

    python asv_bench/torch_models.py [--threads 2] [--rounds 5] [--only resnet unet ...]

Inference (eval, no gradients) and a training step (forward, backward, SGD) of each, A B A B, the
least wall time of each. Before, how far results are apart. BasicUNet and UNet are MONAI's
(`pip install --no-deps monai`), the ResNet-18 with 3x3x3 blocks is written here.
"""

import argparse
import copy
import itertools
import time

import torch
from torch import nn

import voxkern.torch


class Block(nn.Module):
    """Two convolutions around which the input goes."""

    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.first = nn.Sequential(
            nn.Conv3d(inputs, outputs, 3, stride, 1, bias=False),
            nn.BatchNorm3d(outputs),
            nn.ReLU(inplace=True),
        )
        self.second = nn.Sequential(
            nn.Conv3d(outputs, outputs, 3, 1, 1, bias=False), nn.BatchNorm3d(outputs)
        )
        self.shortcut = nn.Sequential()
        if stride > 1:
            conv = nn.Conv3d(inputs, outputs, 1, stride, bias=False)
            self.shortcut = nn.Sequential(conv, nn.BatchNorm3d(outputs))

    def forward(self, x):
        return torch.relu(self.second(self.first(x)) + self.shortcut(x))


def resnet18():
    """R3D-18 (Tran et al. 2018) with 400 classes: blocks written as torchvision writes them."""
    stem = nn.Conv3d(3, 64, (3, 7, 7), (1, 2, 2), (1, 3, 3), bias=False), nn.BatchNorm3d(64)
    widths, blocks = (64, 64, 128, 256, 512), []
    for inputs, outputs in itertools.pairwise(widths):
        blocks += Block(inputs, outputs, outputs // inputs), Block(outputs, outputs, 1)
    tail = nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(512, 400)
    return nn.Sequential(*stem, nn.ReLU(inplace=True), *blocks, *tail)


def basic_unet():
    from monai.networks.nets import BasicUNet

    return BasicUNet(spatial_dims=3, in_channels=1, out_channels=2)


def unet():
    from monai.networks.nets import UNet

    channels, strides = (16, 32, 64, 128, 256), (2, 2, 2, 2)
    return UNet(3, 1, 2, channels, strides, num_res_units=2)


CASES = {
    "resnet18 16x112^2": (resnet18, (1, 3, 16, 112, 112)),
    "BasicUNet 64^3": (basic_unet, (1, 1, 64, 64, 64)),
    "BasicUNet 96^3": (basic_unet, (1, 1, 96, 96, 96)),
    "UNet 64^3": (unet, (1, 1, 64, 64, 64)),
    "UNet 96^3": (unet, (1, 1, 96, 96, 96)),
}


def infer(model, x):
    with torch.inference_mode():
        return model(x)


def step(model, optimiser, x):
    optimiser.zero_grad()
    model(x).square().mean().backward()
    optimiser.step()


def interleaved(calls, rounds):
    """The least wall time of each call, in turns, after one call of each."""
    least = [float("inf")] * len(calls)
    for turn in range(rounds + 1):
        for i, call in enumerate(calls):
            start = time.perf_counter()
            call()
            if turn:
                least[i] = min(least[i], time.perf_counter() - start)
    return least


def errors(model, fast, x):
    """By how much outputs in eval differ, and how far gradients are from float64: torch's, ours.

    Each of the largest element. ReLUs near 0 and statistics of few elements make single precision
    part from double by per cents in a deep network, in either library.
    """
    want = infer(model.eval(), x)
    output = (want - infer(fast.eval(), x)).abs().max() / want.abs().max()
    exact = copy.deepcopy(model).double()
    for run in (model, fast, exact):
        for module in run.train().modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0
        run(x.to(next(run.parameters()).dtype)).square().mean().backward()
    grads = [torch.cat([p.grad.ravel() for p in m.parameters()]) for m in (exact, model, fast)]
    theirs, ours = ((g - grads[0]).norm() / grads[0].norm() for g in grads[1:])
    return f"outputs differ by {output:.1e}, gradients of {theirs:.1e} and {ours:.1e} error"


def measure(name, make, shape, options):
    try:
        model, x = make(), torch.randn(shape)
    except ModuleNotFoundError as error:
        print(f"{name}: left out, {error}")
        return
    fast = voxkern.torch.accelerate(model)
    print(f"{name}: {errors(model, fast, x)}")
    model.eval(), fast.eval()
    report("inference", [lambda: infer(model, x), lambda: infer(fast, x)], options.rounds)
    if options.no_training:
        return
    model.train(), fast.train()
    one, two = (torch.optim.SGD(m.parameters(), 1e-4) for m in (model, fast))
    report(
        "training step", [lambda: step(model, one, x), lambda: step(fast, two, x)], options.rounds
    )


def report(what, calls, rounds):
    theirs, ours = (1e3 * t for t in interleaved(calls, rounds))
    print(f"  {what}: torch {theirs:.0f}, ours {ours:.0f}: {theirs / ours:.2f}", flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="*", default=[""])
    parser.add_argument("--no-training", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    print(f"torch {torch.__version__}, {options.threads} threads, milliseconds")
    for name, (make, shape) in CASES.items():
        if any(part in name for part in options.only):
            measure(name, make, shape, options)


if __name__ == "__main__":
    main()
