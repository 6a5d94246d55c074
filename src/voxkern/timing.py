"""Time contenders in turns, and build those that are not this library."""

import contextlib
import importlib
import time

import numpy as np

import voxkern


def measure(contenders, budget, clock=time.perf_counter):
    """Seconds of every call, after a first round whose results are compared."""
    seconds, results = {}, {}
    for name, call in contenders.items():
        begin = clock()
        results[name] = arrays(call())
        seconds[name] = [clock() - begin]
    agree(results)
    # The first calls pay for fresh pages and are dropped, but for those of many seconds.
    fast = {name: call for name, call in contenders.items() if seconds[name][0] < 5}
    return seconds | turns(fast, budget, clock)


def turns(calls, budget, clock=time.perf_counter):
    """Seconds of every call, A B A B, 3 times and until each has used `budget` seconds or 100.

    At its turn a contender is called twice and the second call is timed: the first one finds
    caches as its neighbour left them, which was worth 10 to 20 % to whoever came after its own kin.
    """
    seconds = {name: [] for name in calls}
    pending = list(calls)
    while pending:
        for name in pending:
            calls[name]()
            begin = clock()
            calls[name]()
            seconds[name].append(clock() - begin)
        pending = [name for name in pending if not enough(seconds[name], budget)]
    return seconds


def enough(times, budget):
    """Whether a contender has had its turns."""
    return len(times) >= 3 and (sum(times) >= budget or len(times) >= 100)


def agree(results):
    """Raise where a contender computes something else: its time would mean nothing."""
    (_, ours), *others = results.items()
    for name, theirs in others:
        for ours_part, part in zip(ours, theirs, strict=True):
            error = np.abs(part.reshape(ours_part.shape) - ours_part).max()
            error /= np.abs(ours_part).max()
            if not error < 1e-3:
                raise RuntimeError(f"{name} differs by {error:.1e} of the largest value")


@contextlib.contextmanager
def limited(threads):
    """Bound every contender's threads; gives a remark where that is not possible."""
    before = voxkern.get_num_threads()
    pools, torch = optional("threadpoolctl"), optional("torch")
    if torch:
        torch.set_num_threads(threads)
    voxkern.set_num_threads(threads)
    try:
        with pools.threadpool_limits(threads) if pools else contextlib.nullcontext():
            yield "" if pools else " (NumPy's BLAS has its own: threadpoolctl is not installed)"
    finally:
        voxkern.set_num_threads(before)


def peaks(quick):
    """What the machine gives just now: the rate of a matrix product and of a copy."""
    side, length = (200, 1 << 20) if quick else (1500, 1 << 26)
    a, product = normal((side, side)), np.empty((side, side), np.float32)
    source, target = np.ones(length, np.uint8), np.zeros(length, np.uint8)
    calls = {"product": lambda: np.matmul(a, a, out=product), "copy": lambda: copy(target, source)}
    best = {name: min(times) for name, times in turns(calls, 0.1).items()}
    flops, moved = 2 * side**3 / best["product"] / 1e9, 2 * length / best["copy"] / 1e9
    return f"matmul {flops:.0f} GFLOP/s, copy {moved:.0f} GB/s read and written"


def clock(threads):
    """The calling thread's own CPU time where nothing runs elsewhere, so that others on the machine
    do not count; wall time for more threads.
    """
    return time.thread_time if threads == 1 else time.perf_counter


def copy(target, source):
    """Copy in place."""
    target[...] = source


def onnxruntime(operator, inputs, shape, **attributes):
    """The contender that runs one ONNX operator into a bound output; empty where not installed."""
    runtime, onnx = optional("onnxruntime"), optional("onnx")
    if not (runtime and onnx):
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
