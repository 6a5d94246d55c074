"""Peak memory of one convolution beyond its input and output, each library in a process of its own.

    python asv_bench/conv_memory.py

The process holds its input and output, warms the library up with a tiny call, notes its peak and
makes the call: what the peak rose by is what the call needed.
"""

import resource
import subprocess
import sys

import numpy as np

LAYERS = {
    "U-Net, 128^3": ((1, 32, 128, 128, 128), 32, 3),
    "video, 64 channels": ((1, 64, 16, 56, 56), 64, 3),
    "MRI, 1 to 32": ((1, 1, 128, 128, 128), 32, 3),
}
LIBRARIES = "voxkern", "voxkern plan", "torch", "onnxruntime"


def caller(library, x, weight, out):
    """A call of `library`, and whether it writes into `out`."""
    if library == "torch":
        import torch

        torch.set_num_threads(1)
        arrays = torch.from_numpy(x), torch.from_numpy(weight)
        return lambda: torch.nn.functional.conv3d(*arrays, padding=1), False
    import voxkern

    voxkern.set_num_threads(1)
    if library == "voxkern":
        return lambda: voxkern.conv3d(x, weight, padding=1, out=out), True
    if library == "voxkern plan":
        plan = voxkern.ConvPlan(weight, padding=1)
        return lambda: plan(x, out=out), True
    from voxkern import timing

    found = timing.onnxruntime(
        "Conv", {"x": x, "w": weight}, out.shape, pads=[1] * 6, strides=[1] * 3
    )
    if not found:
        sys.exit("onnxruntime or onnx is missing")
    return found["onnxruntime"], False  # it is bound to an array of its own


def peak():
    """Peak of this process's resident memory in bytes."""
    units = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * units


def extra(library, shape, outputs, edge):
    """Bytes by which one call raises the peak of this process."""
    small = np.ones((1, 2, 4, 4, 4), np.float32), np.ones((2, 2, 3, 3, 3), np.float32)
    caller(library, *small, np.empty_like(small[0]))[0]()
    x = np.ones(shape, np.float32)
    weight = np.ones((outputs, shape[1], edge, edge, edge), np.float32)
    out = np.ones((shape[0], outputs, *shape[2:]), np.float32)
    call, in_place = caller(library, x, weight, out)
    before = peak()
    kept = call()
    del kept
    return peak() - before - (0 if in_place else out.nbytes)


def main():
    for name, (shape, outputs, _) in LAYERS.items():
        held = 4 * (np.prod(shape) + np.prod(shape) // shape[1] * outputs)
        print(f"{name}: input and output {held / 1e6:.0f} MB")
        for library in LIBRARIES:
            command = [sys.executable, __file__, library, name]
            ran = subprocess.run(command, capture_output=True, text=True)
            if ran.returncode:
                print(f"  {library}: {ran.stderr.strip().splitlines()[-1]}")
                continue
            more = int(ran.stdout)
            print(f"  {library}: {more / 1e6:.1f} MB more, {100 * more / held:.1f} %")


if __name__ == "__main__":
    if len(sys.argv) == 3:
        print(extra(sys.argv[1], *LAYERS[sys.argv[2]]))
    else:
        main()
