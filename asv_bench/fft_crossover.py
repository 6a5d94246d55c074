"""Where the frequency domain wins: ``python asv_bench/fft_crossover.py [axes ...]``.

Set OPENBLAS_NUM_THREADS=1: NumPy's matrix products would take more than the one thread meant.

For every kernel, number of channels and size: milliseconds of the CPU for the algorithms "direct"
and "fft" (weights transformed in the call, and before it), torch, and scipy.signal.oaconvolve
(one call per pair of channels, so only up to 4 channels); then the time that the formula of
voxkern.conv_fft expects. One thread, the least of interleaved runs.
"""

import sys
import time

import numpy as np

import voxkern
from voxkern import conv_fft, window

KERNELS = (5, 7, 9, 11, 15, 21, 31)
CHANNELS = (1, 4, 16, 64)
SIZES = {1: (1_000, 30_000), 2: (64, 256), 3: (24, 48)}
SECONDS = 0.2  # spent on each candidate
LARGEST = 1e11  # multiplications and additions of a direct sum


def torch_call(x, weight, axes):
    try:
        import torch
    except ImportError:
        return None
    torch.set_num_threads(1)
    conv = getattr(torch.nn.functional, f"conv{axes}d")
    x, weight = torch.from_numpy(x), torch.from_numpy(weight)
    return lambda: conv(x, weight, padding=weight.shape[-1] // 2)


def scipy_call(x, weight, axes):
    try:
        from scipy.signal import oaconvolve
    except ImportError:
        return None
    flipped = np.ascontiguousarray(np.flip(weight, tuple(range(2, axes + 2))))
    return lambda: [sum(oaconvolve(a, b, "same") for a, b in zip(x[0], w)) for w in flipped]


def calls(axes, kernel, channels, size):
    """name: function, of one convolution with padding that keeps the size."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((1, channels, *[size] * axes), np.float32)
    weight = rng.standard_normal((channels, channels, *[kernel] * axes), np.float32)
    conv, padding = getattr(voxkern, f"conv{axes}d"), kernel // 2
    out = conv(x, weight, padding=padding, algorithm="fft")
    volumes = [a.reshape(*a.shape[:2], *window.as_volume(a.shape[2:], 1)) for a in (x, weight, out)]
    pairs = window.as_volume(((padding, padding),) * axes, (0, 0))
    block = conv_fft.choose_block(volumes[2].shape, volumes[1].shape, 1, 4, transformed=True)
    spectra = conv_fft.transform_weights(volumes[1], block, 1)

    def planned():
        conv_fft.conv_fft(
            *volumes[:2], None, pairs, 1, slope=None, out=volumes[2], transformed=spectra
        )

    found = {
        "direct": lambda: conv(x, weight, padding=padding, algorithm="direct", out=out),
        "fft": lambda: conv(x, weight, padding=padding, algorithm="fft", out=out),
        "planned": planned,
        "torch": torch_call(x, weight, axes),
        "scipy": scipy_call(x, weight, axes) if channels <= 4 else None,
    }
    shapes = volumes[2].shape, volumes[1].shape, 1, 4
    expected = [conv_fft.estimated_seconds(*shapes, transformed=t) for t in (False, True)]
    return {k: v for k, v in found.items() if v}, expected


def least_times(functions):
    """Least CPU seconds of each, interleaved; each at least once."""
    best, spent = dict.fromkeys(functions, np.inf), dict.fromkeys(functions, 0.0)
    while any(s < SECONDS for s in spent.values()):
        for name, function in functions.items():
            if spent[name] < SECONDS:
                start = time.thread_time()
                function()
                taken = time.thread_time() - start
                best[name], spent[name] = min(best[name], taken), spent[name] + taken
    return best


def main():
    voxkern.set_num_threads(1)
    names = ("direct", "fft", "planned", "torch", "scipy")
    print("axes kernel channels  size", *(f"{n:>9}" for n in names), "  fft wins expected")
    for axes in [int(a) for a in sys.argv[1:]] or SIZES:
        for kernel in KERNELS:
            for channels in CHANNELS:
                for size in SIZES[axes]:
                    if 2 * channels**2 * (kernel * size) ** axes > LARGEST:
                        continue
                    functions, expected = calls(axes, kernel, channels, size)
                    best = least_times(functions)
                    row = " ".join(
                        f"{1e3 * best[n]:9.2f}" if n in best else f"{'-':>9}" for n in names
                    )
                    wins = best["direct"] / best["fft"], best["direct"] / best["planned"]
                    print(
                        f"{axes:4} {kernel:6} {channels:8} {size:5} {row}  {wins[0]:5.2f} "
                        f"{wins[1]:5.2f}  {1e3 * expected[0]:.2f} {1e3 * expected[1]:.2f}",
                        flush=True,
                    )


if __name__ == "__main__":
    main()
