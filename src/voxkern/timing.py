"""Time contenders in turns, and what they are compared with: other libraries, the machine."""

import contextlib
import importlib
import importlib.metadata
import os
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np

import voxkern
from voxkern import _dispatch
from voxkern.facts import cpu_model

PEERS = "torch", "onnxruntime", "onnx", "ncnn", "scipy"
# What holds this library and torch to AVX2; the other peers know no such switch and are left out.
AVX2 = {"VOXKERN_CPU_LEVEL": "v3", "ONEDNN_MAX_CPU_ISA": "AVX2"}
HELD = os.environ.get("ONEDNN_MAX_CPU_ISA")

# Seconds for which threads that wait for work were seen to spin: onnxruntime's 35 ms, OpenMP's 8.
SETTLE = 0.04

# Ten chains of dependent FMAs: more than the latency times the units of any CPU known to us.
FMA = """
#include <stdio.h>
#include <time.h>
typedef float vec __attribute__((vector_size(BYTES)));
#define EACH(f) f(0) f(1) f(2) f(3) f(4) f(5) f(6) f(7) f(8) f(9)
int main(void) {
    volatile float one = 1.0f;
    vec half = {0}, best_sum = {0};
    double best = 1e9;
    half += 0.5f * one;
#define START(i) vec a##i = half + i * one;
    EACH(START)
    for (int round = 0; round < 20; round++) {
        clock_t begin = clock();
        for (int n = 0; n < 2000000; n++) {
#define STEP(i) a##i = a##i * half + half;
            EACH(STEP)
        }
        double seconds = (double)(clock() - begin) / CLOCKS_PER_SEC;
        best = seconds < best ? seconds : best;
    }
#define SUM(i) best_sum += a##i;
    EACH(SUM)
    printf("%g %g\\n", 2e-9 * 2000000 * 10 * (BYTES / sizeof(float)) / best, best_sum[0]);
    return 0;
}
"""


def measure(contenders, budget, clock=time.perf_counter):
    """Seconds of every call, after a first round whose results are compared."""
    seconds, results = {}, {}
    for name, call in contenders.items():
        begin = clock()
        results[name] = arrays(call())
        seconds[name] = [clock() - begin]
    agree(results)
    # The first calls pay for fresh pages and are dropped, but for those of many seconds and those
    # of a slow oracle, which is no rival.
    fast = {
        name: call
        for name, call in contenders.items()
        if seconds[name][0] < (budget if name.startswith("NumPy") else 5)
    }
    return seconds | turns(fast, budget, clock)


def turns(calls, budget, clock=time.perf_counter):
    """Seconds of every call, A B A B, 3 times and until each has used `budget` seconds or 100."""
    seconds = {name: [] for name in calls}
    pending = list(calls)
    while pending:
        for name in pending:
            seconds[name] += turn(calls[name], clock)
        pending = [name for name in pending if not enough(seconds[name], budget)]
    return seconds


def turn(call, clock):
    """Seconds of a contender's calls at its turn, after others that are not counted.

    One call goes first: it finds caches as the neighbour left them, which was worth 10 to 20 % to
    whoever came after its own kin. By wall time they go on until the neighbour's threads, which
    keep a core busy while they wait for more, are asleep; then up to ten are timed, for as long.
    """
    begin, settle = time.perf_counter(), SETTLE if clock is time.perf_counter else 0
    call()
    while time.perf_counter() < begin + settle:
        call()
    times = []
    while not times or (len(times) < 10 and time.perf_counter() < begin + 2 * settle):
        start = clock()
        call()
        times.append(clock() - start)
    return times


def enough(times, budget):
    """Whether a contender has had its turns."""
    return len(times) >= 3 and (sum(times) >= budget or len(times) >= 100)


def agree(results):
    """Raise where a contender computes something else: its time would mean nothing."""
    (_, ours), *others = results.items()
    for name, theirs in others:
        for ours_part, part in zip(ours, theirs, strict=True):
            error = np.abs(part.reshape(ours_part.shape) - ours_part).max()
            error /= np.abs(ours_part).max() or 1
            if not error < 1e-3:
                raise RuntimeError(f"{name} differs by {error:.1e} of the largest value")


@contextlib.contextmanager
def limited(threads):
    """Bound every contender's threads; gives a remark where that is not what it seems."""
    pools, torch = optional("threadpoolctl"), optional("torch")
    before = voxkern.get_num_threads()
    torch_before = torch.get_num_threads() if torch else None
    remark = "" if pools else " (NumPy's BLAS has its own: threadpoolctl is not installed)"
    if threads > before:
        remark += f" (this process has {before}: peers that start more may be slowed down by it)"
    if torch:
        torch.set_num_threads(threads)
    voxkern.set_num_threads(threads)
    try:
        with pools.threadpool_limits(threads) if pools else contextlib.nullcontext():
            yield remark
    finally:
        if torch:  # it shares our OpenMP runtime where both were built with the system's
            torch.set_num_threads(torch_before)
        voxkern.set_num_threads(before)


def heading(console, threads, note, quick):
    """Print what is compared with what on which machine, and return it."""
    rates = peaks(quick, clock(threads))
    given = ", ".join(f"{name} {rate:.0f}" for name, rate in rates.items())
    lines = [
        f"{cpu_model()}, CPU level {_dispatch.cpu_level}: {given}",
        "peers: " + ", ".join(map(version, PEERS)),
        f"threads: {threads}{note}; "
        + ("CPU time of the calling thread" if threads == 1 else "wall time"),
    ]
    if HELD:
        lines.append(f"torch is held to {HELD}; onnxruntime and ncnn cannot be and are left out")
    for line in lines:
        console.print(line, soft_wrap=True)
    if quick:
        console.print("quick: the shapes are too small for the ratios to mean anything")
    return {"heading": lines, "threads": threads, "peaks": rates}


def version(package):
    """Name and version of a peer; onnxruntime needs onnx to be given a model."""
    try:
        return f"{package} {importlib.metadata.version(package)}"
    except importlib.metadata.PackageNotFoundError:
        return f"{package} missing"


def peaks(quick, clock=time.thread_time):
    """What the machine gives just now: rates of FMAs, of a matrix product and of a copy."""
    side, length = (200, 1 << 20) if quick else (1500, 1 << 26)
    a, product = normal((side, side)), np.empty((side, side), np.float32)
    source, target = np.ones(length, np.uint8), np.zeros(length, np.uint8)
    calls = {"product": lambda: np.matmul(a, a, out=product), "copy": lambda: copy(target, source)}
    best = {name: min(times) for name, times in turns(calls, 0.1, clock).items()}
    rates = {
        "GFLOP/s of float32 FMAs on a core": None if quick else fma_peak(),
        "GFLOP/s of NumPy's matmul": 2 * side**3 / best["product"] / 1e9,
        "GB/s of a copy, read and written": 2 * length / best["copy"] / 1e9,
    }
    return {name: rate for name, rate in rates.items() if rate}


def fma_peak(level=None):
    """GFLOP/s of float32 FMAs on one core at a CPU level; None without gcc or clang."""
    level = level or _dispatch.cpu_level
    width = {"v4": 64, "v3": 32}.get(level, 16)
    march = {"v4": ["-march=x86-64-v4"], "v3": ["-march=x86-64-v3"]}.get(level, [])
    with tempfile.TemporaryDirectory() as folder:
        source, program = Path(folder, "fma.c"), Path(folder, "fma")
        source.write_text(FMA)
        flags = ["-O3", "-ffp-contract=fast", f"-DBYTES={width}", *march]
        try:
            subprocess.run(
                ["cc", *flags, str(source), "-o", str(program)], check=True, capture_output=True
            )
            ran = subprocess.run([str(program)], check=True, capture_output=True, text=True)
        except (OSError, subprocess.CalledProcessError):
            return None
    return float(ran.stdout.split()[0])


def clock(threads):
    """The calling thread's own CPU time where nothing runs elsewhere, so that others on the machine
    do not count; wall time for more threads.
    """
    return time.thread_time if threads == 1 else time.perf_counter


def record(group, label, work, seconds):
    """One case as JSON can hold it: the median and the least seconds of every contender."""
    spans = {name: [statistics.median(times), min(times)] for name, times in seconds.items()}
    return {"group": group, "label": label, "work": work, "seconds": spans}


def copy(target, source):
    """Copy in place."""
    target[...] = source


def onnxruntime(operator, inputs, shape, **attributes):
    """The contender that runs one ONNX operator into a bound output; empty where not installed."""
    runtime, onnx = optional("onnxruntime"), optional("onnx")
    if HELD or not (runtime and onnx):
        return {}
    helper, single = onnx.helper, onnx.TensorProto.FLOAT
    node = helper.make_node(operator, list(inputs), ["y"], **attributes)
    first, *rest = inputs
    graph = helper.make_graph(
        [node],
        "bench",
        [helper.make_tensor_value_info(first, single, inputs[first].shape)],
        [helper.make_tensor_value_info("y", single, shape)],
        # Weights are part of the model: onnxruntime packs them once, as a user's model would.
        [onnx.numpy_helper.from_array(inputs[name], name) for name in rest],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    options = runtime.SessionOptions()
    options.intra_op_num_threads = voxkern.get_num_threads()
    session = runtime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    binding, out = session.io_binding(), np.empty(shape, np.float32)
    binding.bind_ortvalue_input(first, runtime.OrtValue.ortvalue_from_numpy(inputs[first]))
    binding.bind_ortvalue_output("y", runtime.OrtValue.ortvalue_from_numpy(out))

    def call():
        session.run_with_iobinding(binding)
        return binding.get_outputs()[0]

    return {"onnxruntime": call}


def optional(name):
    """The module, or None where it is not installed."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError:
        return None


def arrays(result):
    """A contender's results as NumPy arrays of their own."""
    parts = result if isinstance(result, tuple) else (result,)
    return [np.array(p.numpy() if hasattr(p, "numpy") else p) for p in parts]


def normal(shape):
    """Standard normal float32, the same at every run."""
    return np.random.default_rng(7).standard_normal(shape, np.float32)


def per_axis(value, axes):
    """A number as one per axis, for ONNX."""
    return [value] * axes if isinstance(value, int) else list(value)


def dims(value):
    """3 or (3, 7, 7) as text."""
    return str(value) if isinstance(value, int) else "x".join(map(str, value))
