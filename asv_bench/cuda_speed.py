"""Speed on a GPU: convolution beside torch's, memory-bound operations beside a copy, videos.

    python asv_bench/cuda_speed.py [conv] [memory] [flash] [pse]

Convolution in TFLOP/s of float32, torch with ``allow_tf32=False``; photosensitivity in frames a
second; the rest in GB/s, read and written. Best of several runs by the GPU's events, allocation
included on both sides.
"""

import math
import sys

import voxkern
from voxkern import _dispatch

# Name, x, weight, window: 3-D with many channels, an image's first layer, depthwise, strided.
CONV = [
    ("3-D, 64 to 64", (4, 64, 16, 56, 56), (64, 64, 3, 3, 3), dict(padding=1)),
    ("3-D, 128 to 128", (4, 128, 8, 28, 28), (128, 128, 3, 3, 3), dict(padding=1)),
    (
        "3-D, 64 to 128, stride 2",
        (4, 64, 16, 56, 56),
        (128, 64, 3, 3, 3),
        dict(padding=1, stride=2),
    ),
    ("3-D, 1 to 16", (2, 1, 64, 128, 128), (16, 1, 3, 3, 3), dict(padding=1)),
    ("3-D, depthwise 64", (4, 64, 16, 56, 56), (64, 1, 3, 3, 3), dict(padding=1, groups=64)),
    ("2-D, 64 to 64", (32, 64, 56, 56), (64, 64, 3, 3), dict(padding=1)),
    ("2-D, 256 to 256, 1x1", (32, 256, 28, 28), (256, 256, 1, 1), {}),
    ("2-D, 3 to 64, 7x7, stride 2", (32, 3, 224, 224), (64, 3, 7, 7), dict(padding=3, stride=2)),
    ("2-D, depthwise 128", (32, 128, 56, 56), (128, 1, 3, 3), dict(padding=1, groups=128)),
]


def no_gpu():
    """Why nothing can be measured here, or None."""
    problem = _dispatch.cuda_problem()
    if problem:
        return problem
    if _dispatch.cuda().SIMULATED:
        return "CUDA is simulated here (NUMBA_ENABLE_CUDASIM)"
    try:
        import torch
    except ImportError:
        return "torch is not installed, and arrays and the peer are its"
    return None if torch.cuda.is_available() else "this torch has no CUDA"


def seconds(call, runs=9):
    """The least time of `call` on the GPU."""
    import torch

    best = math.inf
    for _ in range(runs + 1):
        start, stop = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        call()
        stop.record()
        stop.synchronize()
        best = min(best, start.elapsed_time(stop) / 1000)
    return best


def largest_error(ours, theirs):
    """The largest difference of any result, of the largest value of that result."""
    return max(float((o - t).abs().max() / t.abs().max()) for o, t in zip(ours, theirs))


def conv():
    """TFLOP/s of every case forward and backward, and torch's."""
    import torch

    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.benchmark = True  # cuDNN takes the best of its algorithms
    print("| convolution, float32 | | TFLOP/s | torch | ours / torch | difference |")
    print("|---|---|---:|---:|---:|---:|")
    for label, x_shape, weight_shape, window in CONV:
        x = torch.randn(x_shape, device="cuda")
        weight = torch.randn(weight_shape, device="cuda") / math.sqrt(math.prod(weight_shape[1:]))
        for name, ours, theirs, times in passes(x, weight, window):
            error = largest_error(ours(), theirs())
            flops = 2 * times / 1e12
            got, peer = flops / seconds(ours), flops / seconds(theirs)
            print(f"| {label} | {name} | {got:.2f} | {peer:.2f} | {got / peer:.2f} | {error:.0e} |")


def passes(x, weight, window):
    """Name, call, torch's call and products of the result and of each gradient."""
    import torch

    axes = weight.ndim - 2
    function = getattr(voxkern, f"conv{axes}d")
    backward = getattr(voxkern, f"conv{axes}d_backward")
    theirs = getattr(torch.nn.functional, f"conv{axes}d")
    out = theirs(x, weight, **window)
    products = out.numel() * math.prod(weight.shape[1:])
    yield (
        "forward",
        lambda: (function(x, weight, **window),),
        lambda: (theirs(x, weight, **window),),
        products,
    )
    stride, padding = (
        window.get(name, default) for name, default in (("stride", 1), ("padding", 0))
    )
    groups, each = window.get("groups", 1), [1] * axes
    for i, name in enumerate(("gradient to x", "gradient to the weights")):
        need = [j == i for j in range(3)]
        yield (
            name,
            lambda need=need, i=i: (backward(out, x, weight, **window, need=need)[i],),
            lambda need=need, i=i: (
                torch.ops.aten.convolution_backward(
                    *(out, x, weight, None, [stride] * axes, [padding] * axes, each),
                    *(False, [0] * axes, groups, need),
                )[i],
            ),
            products,
        )


def memory():
    """GB/s of operations that move memory, beside those of a copy of 2 GB."""
    import torch

    x = torch.randn((32, 64, 32, 64, 64), device="cuda")
    target = torch.empty_like(x)
    copied = 2 * x.nbytes / 1e9 / seconds(lambda: target.copy_(x))
    print(f"a copy on the device: {copied:.0f} GB/s, read and written")
    ones, zeros = torch.ones(64, device="cuda"), torch.zeros(64, device="cuda")
    flat = x.reshape(-1, 64)
    image = x[:4].reshape(4 * 64, 32, 64, 64)
    cases = {
        "im2col 3x3": (lambda: voxkern.im2col(image, (3, 3), padding=1), 10 * image.nbytes),
        "max_pool3d 2": (lambda: voxkern.max_pool3d(x, 2), 9 / 8 * x.nbytes),
        "avg_pool3d 3, stride 2": (lambda: voxkern.avg_pool3d(x, 3, 2), 9 / 8 * x.nbytes),
        "batch_norm": (lambda: voxkern.batch_norm(x, zeros, ones), 2 * x.nbytes),
        "batch_norm, training": (
            lambda: voxkern.batch_norm(x, zeros, ones, training=True),
            3 * x.nbytes,
        ),
        "batch_norm of (N, C), training": (
            lambda: voxkern.batch_norm(flat, zeros, ones, training=True),
            3 * x.nbytes,
        ),
    }
    for name, (call, size) in cases.items():
        speed = size / 1e9 / seconds(call)
        print(f"{name}: {speed:.0f} GB/s, {speed / copied:.0%}")


def pse():
    """Frames a second that are analysed of those on the device, noise and a static scene."""
    import torch

    noise = torch.randint(0, 256, (90, 1080, 1920, 3), dtype=torch.uint8, device="cuda")
    for name, film in {"noise": noise, "static": noise[:1].repeat(90, 1, 1, 1)}.items():
        speed = len(film) / seconds(lambda film=film: voxkern.pse.analyze(film, 30), 3)
        print(f"pse.analyze, 1920x1080, {name}: {speed:.0f} frames a second")


def main(chosen):
    problem = no_gpu()
    if problem:
        sys.exit(f"nothing measured, there is no GPU to measure on: {problem}")
    import torch

    print(torch.cuda.get_device_name(), "torch", torch.__version__)
    if "conv" in chosen:
        conv()
    if "memory" in chosen:
        memory()
    if "flash" in chosen:
        import cuda_flash

        cuda_flash.main()
    if "pse" in chosen:
        pse()


if __name__ == "__main__":
    main(sys.argv[1:] or ["conv", "memory", "flash", "pse"])
