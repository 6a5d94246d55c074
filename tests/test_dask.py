"""`voxkern.dask` beside the array in memory; `voxkern scan` on a cluster that loses a worker."""

import itertools
import json
import os
import re
import shutil
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import voxkern
from voxkern import conv

import hostile

dask = pytest.importorskip("dask")
da = pytest.importorskip("dask.array")
import voxkern.dask  # noqa: E402

THOROUGH = os.environ.get("HYPOTHESIS_PROFILE") == "thorough"


@pytest.fixture(autouse=True)
def _in_this_thread():
    with dask.config.set(scheduler="synchronous"):
        yield


@st.composite
def chunked(draw, shape):
    """Any chunks of an array of `shape`."""
    chunks = []
    for size in shape:
        cuts = draw(st.sets(st.integers(1, max(1, size - 1)), max_size=5)) if size > 1 else ()
        ends = [0, *sorted(cuts), size]
        chunks.append(tuple(np.diff(ends).tolist()))
    return tuple(chunks)


@st.composite
def windows(draw, pool=False):
    """An array, its chunks, and a kernel, stride, padding and dilation that fit it."""
    axes = draw(st.integers(1, 3))
    size = [draw(st.integers(1, (60, 17, 9)[axes - 1])) for _ in range(axes)]
    kernel = [draw(st.integers(1, 5)) for _ in size]
    most = [k // 2 if pool else 7 for k in kernel]
    padding = [draw(st.integers(0, m)) for m in most]
    dilation = [draw(st.integers(1, 3)) for _ in size]
    for i, (n, p) in enumerate(zip(size, padding)):
        while dilation[i] * (kernel[i] - 1) + 1 > n + 2 * p:
            if dilation[i] > 1:
                dilation[i] -= 1
            else:
                kernel[i] -= 1
                padding[i] = p = min(p, kernel[i] // 2) if pool else p
    stride = [draw(st.integers(1, 7)) for _ in size]
    shape = [draw(st.integers(1, 3)), draw(st.integers(1, 5)), *size]
    shape = shape[draw(st.integers(0, 1)) :]
    x = hostile.with_ties(np.random.default_rng(draw(st.integers(0, 99))), shape)
    x = x.astype(draw(st.sampled_from(hostile.FLOATS)))
    return x, draw(chunked(shape)), (kernel, stride, padding, dilation)


def same(got, want):
    """A Dask array whose blocks are what it says, and the array in memory, bit by bit."""
    delayed = got.to_delayed()
    blocks = dask.compute(*delayed.ravel())
    assert [b.shape for b in blocks] == list(itertools.product(*got.chunks))
    for place, block in zip(np.ndindex(delayed.shape), blocks):
        delayed[place] = block
    computed = np.block(delayed.tolist())
    assert (got.shape, got.dtype) == (want.shape, want.dtype) == (computed.shape, computed.dtype)
    np.testing.assert_array_equal(computed, want)


def both(name, x, chunks, *args, **kwargs):
    """What `voxkern.dask` gives, and what `voxkern` does."""
    ours = getattr(voxkern.dask, name)(da.from_array(x, chunks), *args, **kwargs)
    return ours, getattr(voxkern, name)(x, *args, **kwargs)


@given(windows(pool=True), st.booleans())
def test_maxima_and_places_are_those_in_memory(case, ceil_mode):
    x, chunks, arguments = case
    name = f"max_pool{len(arguments[0])}d"
    same(*both(name, x, chunks, *arguments, ceil_mode))
    ours, want = both(name, x, chunks, *arguments, ceil_mode, return_indices=True)
    for got, expected in zip(ours, want):
        same(got, expected)


@given(windows(pool=True), st.booleans(), st.booleans(), st.sampled_from([None, 3]))
def test_means_are_those_in_memory(case, ceil_mode, include_pad, divisor):
    x, chunks, (kernel, stride, padding, _) = case
    x = x / 3
    same(
        *both(
            f"avg_pool{len(kernel)}d",
            *(x, chunks, kernel, stride, padding, ceil_mode, include_pad, divisor),
        )
    )


@pytest.mark.parametrize("kernel", [(2, 3, 5), (4, 1, 3)])
def test_blocks_of_one_window_are_summed_as_others(rng, kernel):
    x = hostile.normal(rng, (2, 3, 8, 9, 15), "float32")
    for chunks in (kernel, tuple(k + 1 for k in kernel)):
        same(*both("avg_pool3d", x, (1, 2, *chunks), kernel))


@pytest.mark.parametrize("kernel", [1, 2])
def test_blocks_may_lie_in_the_padding(kernel):
    x = np.arange(1.0, 31).reshape(1, 2, 15)
    weight = np.arange(1.0, 1 + 6 * kernel).reshape(3, 2, kernel)
    call = {"stride": 7, "padding": 6}
    same(*both("conv1d", x, (1, 1, 1), weight, algorithm="direct", **call))
    same(*both("im2col", x, (1, 1, 1), (kernel,), **call))


@given(windows(), st.sampled_from(["auto", "direct", "im2col"]), st.integers(1, 3))
def test_convolutions_are_those_in_memory(case, algorithm, outputs):
    x, chunks, (kernel, *others) = case
    rng = np.random.default_rng(x.size)
    weight = hostile.normal(rng, (outputs, x.shape[-len(kernel) - 1], *kernel), x.dtype)
    bias = hostile.normal(rng, (outputs,), x.dtype)
    name = f"conv{len(kernel)}d"
    same(*both(name, x / 3, chunks, weight, bias, *others, algorithm=algorithm))


@given(windows())
def test_columns_are_those_in_memory(case):
    x, chunks, (kernel, *others) = case
    same(*both("im2col", x, chunks, tuple(kernel), *others))


CHUNKS = ((1, 1), (4, 12), (1, 9, 2, 1, 8), (2, 11, 4), (19,))


@pytest.mark.parametrize("dtype", hostile.FLOATS)
@pytest.mark.parametrize("groups", [1, 4])
@pytest.mark.parametrize("kernel", [(3, 3, 3), (2, 4, 1), (1, 5, 5)])
def test_winograd_takes_the_tiles_of_the_whole(rng, dtype, groups, kernel):
    x = hostile.normal(rng, (2, 16, 21, 17, 19), dtype)
    weight = hostile.normal(rng, (8, 16 // groups, *kernel), dtype)
    for algorithm in ("winograd", "auto"):
        call = {"padding": "same", "groups": groups, "algorithm": algorithm, "activation": "relu"}
        got, want = both("conv3d", x, CHUNKS, weight, **call)
        if algorithm == "winograd":
            same(got, want)
        assert abs(got.compute() - want).max() <= 4e-6 * abs(want).max()


def test_spectra_differ_by_rounding(rng):
    x = hostile.normal(rng, (2, 16, 21, 17, 19), "float32")
    weight = hostile.normal(rng, (7, 16, 3, 5, 2), "float32")
    got, want = both("conv3d", x, CHUNKS, weight, padding=(1, 2, 3), algorithm="fft")
    assert abs(got.compute() - want).max() <= 2e-6 * abs(want).max()


# By themselves the blocks of these would add their terms in another order, with AVX-512: in parts
# of other channels, in vectors of channels, in zones of the padding, in columns or out of them.
ORDERS = [
    ((1, 150, 3, 24, 24), (16, 150, 1, 3, 5), (1, -1, 2, 4, 8), {"padding": (1, 2, 2)}),
    (
        (5, 32, 24, 17, 5),
        (16, 2, 3, 1, 1),
        (1, -1, 8, 8, 5),
        {"padding": (4, 2, 2), "stride": (1, 3, 1), "groups": 16},
    ),
    ((1, 8, 3, 17, 40), (16, 8, 3, 3, 5), (2, -1, 1, 5, 13), {"padding": (0, 1, 1)}),
    (
        (1, 33, 9, 5, 70),
        (1, 33, 3, 3, 1),
        (1, -1, 9, 5, 35),
        {"padding": (1, 4, 4), "stride": (2, 2, 1), "dilation": (1, 1, 2)},
    ),
    ((1, 3, 17, 40, 17), (70, 3, 1, 3, 3), (1, -1, 8, 40, 8), {"stride": (2, 3, 1)}),
    ((5, 8, 9, 9, 5), (70, 8, 3, 3, 2), (2, -1, 9, 3, 5), {"padding": (0, 4, 4)}),
]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("algorithm", ["direct", "im2col"])
@pytest.mark.parametrize(("shape", "weight", "chunks", "call"), ORDERS)
def test_sums_have_the_order_of_the_whole(rng, shape, weight, chunks, call, algorithm, dtype):
    x, bias = hostile.normal(rng, shape, dtype), hostile.normal(rng, weight[:1], dtype)
    weight = hostile.normal(rng, weight, dtype)
    same(*both("conv3d", x, chunks, weight, bias, **call, algorithm=algorithm))


def test_blocks_take_the_algorithm_of_the_whole(rng, monkeypatch):
    x = hostile.normal(rng, (1, 16, 32, 32, 32), "float32")
    weight = hostile.normal(rng, (16, 16, 3, 3, 3), "float32")
    used, run = [], conv._run
    monkeypatch.setattr(conv, "_run", lambda call, *a, **k: used.append(call) or run(call, *a, **k))
    voxkern.dask.conv3d(da.from_array(x, (1, 16, 1, 32, 32)), weight, padding=1).compute()
    whole = conv._call(3, x.shape, weight.shape, None, 1, 1, 1, 1, "auto")
    assert {(c.algorithm, c.tile) for c in used} == {(whole.algorithm, whole.tile)}
    assert whole.algorithm == "winograd"
    assert len(used) == 32 // whole.tile[0]


BATCHES = [((7, 5), ((3, 4), (2, 3))), ((2, 5, 31), ((1, 1), (2, 3), (9, 20, 1, 1)))]
BATCHES += [((3, 4, 7, 9, 5), ((2, 1), (1, 3), (3, 4), (9,), (1, 4)))]


@pytest.mark.parametrize(("shape", "chunks"), BATCHES)
@pytest.mark.parametrize("dtype", hostile.FLOATS)
@pytest.mark.parametrize("training", [False, True])
def test_batches_are_normalised_as_in_memory(rng, shape, chunks, dtype, training):
    x = (100 + rng.standard_normal(shape)).astype(dtype)
    arrays = rng.random((4, shape[1])).astype(dtype)
    for affine in (True, False):
        ours, theirs = arrays.copy(), arrays.copy()
        args = {"weight": arrays[2], "bias": arrays[3]} if affine else {}
        got = voxkern.dask.batch_norm(
            da.from_array(x, chunks), *ours[:2], training=training, **args
        ).compute()
        want = voxkern.batch_norm(x, *theirs[:2], training=training, **args)
        eps = np.finfo(dtype).eps
        close = {"rtol": 4 * eps, "atol": 4 * eps + 1e-13}  # float64 rounds the mean, 100
        np.testing.assert_allclose(got, want, **close)
        np.testing.assert_allclose(ours, theirs, rtol=8 * eps)
        assert (ours[:2] == arrays[:2]).all() != training
    if training:
        lazy = voxkern.dask.batch_norm(da.from_array(x, chunks), None, None, training=True)
        want = voxkern.batch_norm(x, None, None, training=True)
        np.testing.assert_allclose(lazy.compute(), want, **close)


def test_merged_moments_do_not_cancel(rng):
    x = 1e6 + 0.01 * rng.standard_normal((4, 2, 1000))
    mean, var = np.zeros(2), np.ones(2)
    voxkern.dask.batch_norm(da.from_array(x, (1, 1, 300)), mean, var, training=True, momentum=1.0)
    exact = (x - 1e6).transpose(1, 0, 2).reshape(2, -1)
    np.testing.assert_allclose(var, exact.var(axis=1, ddof=1), rtol=1e-6)


@settings(max_examples=THOROUGH * 500 or 40)
@given(
    shape=st.tuples(*(st.integers(2, 9) for _ in range(3))),
    colours=st.booleans(),
    dtype=st.sampled_from(["uint8", "uint16", "float16", "float32", "float64"]),
    k=st.integers(1, 4),
    curve=st.sampled_from(["exam", "srgb", "linear", np.sqrt]),
    data=st.data(),
)
def test_flash_tables_are_those_in_memory(shape, colours, dtype, k, curve, data):
    rng = np.random.default_rng(sum(shape))
    frames = (rng.random((*shape, 3) if colours else shape) * 255).astype(dtype)
    frames[rng.random(shape[0]) < 0.2] = 7
    if dtype == "float32" and k == 1:
        frames.flat[3] = np.nan
    chunks = data.draw(chunked(frames.shape))
    same(*both("flash_table", frames, chunks, k, curve))


@pytest.mark.parametrize("dtype", hostile.FLOATS)
@pytest.mark.parametrize("chunk", [1, 3])
def test_even_dilated_and_strided_windows_in_chunks_of_any_size(rng, dtype, chunk):
    x = hostile.normal(rng, (1, 2, 4, 5, 7), dtype)
    weight = hostile.normal(rng, (3, 2, 2, 4, 3), dtype)
    for call in (
        {"padding": "same"},  # (0, 1), (1, 2) and (1, 1)
        {"padding": "same", "dilation": (3, 1, 2)},
        {"padding": (3, 1, 4), "stride": (2, 3, 1), "dilation": (1, 2, 3)},
        {"padding": "valid", "stride": (5, 1, 3)},
    ):
        same(*both("conv3d", x, (1, 1, chunk, chunk, chunk), weight, **call))
    frames = (x[0, 0] * 100).astype("uint8" if dtype == "float16" else dtype)
    same(*both("flash_table", frames, (chunk,) * 3))


@pytest.mark.parametrize("shape", [(0, 2, 5, 7), (3, 2, 0, 7), (3, 2, 5, 0), (3, 0, 5, 7)])
@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("conv2d", [np.ones((3, 2, 3, 3))]),
        ("max_pool2d", [2]),
        ("avg_pool2d", [2]),
        ("im2col", [2]),
    ],
)
def test_empty_arrays_do_as_in_memory(name, arguments, shape):
    x = np.empty(shape)
    try:
        getattr(voxkern, name)(x, *arguments)
    except (TypeError, ValueError) as error:
        with pytest.raises(type(error), match=re.escape(str(error))):
            getattr(voxkern.dask, name)(da.from_array(x), *arguments)
    else:
        same(*both(name, x, (2, 2, 2, 2), *arguments))


def test_empty_batches_and_chunks(rng):
    x = hostile.normal(rng, (4, 2, 9, 7))
    holed = da.concatenate([da.from_array(x[:2], 2), da.zeros((0, 2, 9, 7)), da.from_array(x[2:])])
    weight = hostile.normal(rng, (3, 2, 3, 3))
    for ours, whole in ((holed, x), (holed[:0], x[:0])):
        np.testing.assert_allclose(
            voxkern.dask.conv2d(ours, weight).compute(), voxkern.conv2d(whole, weight)
        )
        same(voxkern.dask.max_pool2d(ours, 2), voxkern.max_pool2d(whole, 2))
        same(voxkern.dask.im2col(ours, 2), voxkern.im2col(whole, 2))
        moments = rng.random((2, 2))
        got = voxkern.dask.batch_norm(ours, *moments.copy(), training=True).compute()
        want = voxkern.batch_norm(whole, *moments.copy(), training=True)
        np.testing.assert_allclose(got, want, atol=1e-12)
    assert voxkern.dask.flash_table(da.ones((1, 9, 9), chunks=4)).compute().shape == (0, 1)


X = da.ones((2, 4, 9, 9), chunks=3)
UNKNOWN = X[X[:, 0, 0, 0] > 0]


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: voxkern.dask.conv2d(np.ones((1, 1, 3, 3)), np.ones((1, 1, 3, 3))), "x is a ndar"),
        (lambda: voxkern.dask.conv2d(X, X), "weight is a Dask array"),
        (lambda: voxkern.dask.conv2d(X, np.ones((1, 3, 3, 3))), "weight has shape"),
        (lambda: voxkern.dask.conv2d(X, np.ones((1, 4, 3, 3), "f")), "weight has dtype"),
        (lambda: voxkern.dask.conv2d(X, np.ones((1, 4, 3, 3)), stride=0), "stride is 0"),
        (lambda: voxkern.dask.conv2d(X[X > 0], np.ones((1, 4, 3, 3))), "x has chunks of unknown"),
        (lambda: voxkern.dask.conv2d(X, np.ones((1, 4, 3, 3)), algorithm="f"), "algorithm is"),
        (lambda: voxkern.dask.conv2d(UNKNOWN, np.ones((1, 4, 3, 3))), "x has chunks of unknown"),
        (lambda: voxkern.dask.max_pool2d(UNKNOWN, 2), "x has chunks of unknown size; compute_chu"),
        (lambda: voxkern.dask.im2col(UNKNOWN, 2), "x has chunks of unknown"),
        (lambda: voxkern.dask.batch_norm(UNKNOWN, None, None, training=True), "x has chunks of"),
        (lambda: voxkern.dask.flash_table(UNKNOWN[..., 0]), "frames has chunks of unknown"),
        (lambda: voxkern.dask.max_pool2d(X.astype(int), 2), "x has dtype int"),
        (lambda: voxkern.dask.max_pool2d(X, 2, padding=2), "padding is"),
        (lambda: voxkern.dask.avg_pool2d(X, 2, divisor_override=0), "divisor_override is 0"),
        (lambda: voxkern.dask.max_pool3d(X[0], 2), "x has 3 axes"),
        (lambda: voxkern.dask.im2col(X, 30), "kernel_size"),
        (lambda: voxkern.dask.batch_norm(X, None, None), "running_mean is None"),
        (lambda: voxkern.dask.batch_norm(X, np.ones(3), np.ones(3)), "running_mean has shape"),
        (lambda: voxkern.dask.batch_norm(X[:1, :, 0, 0], None, None, training=True), "more than 1"),
        (lambda: voxkern.dask.flash_table(X.astype("u1")), r"frames have shape \(2, 4, 9, 9\)"),
        (lambda: voxkern.dask.flash_table(X[0].astype("u1"), k=100), "k is 100"),
        (lambda: voxkern.conv2d(X, np.ones((1, 4, 3, 3))), r"x is a Dask array; voxkern\.dask"),
    ],
)
def test_bad_arguments_are_named_at_the_call(call, says):
    with pytest.raises((TypeError, ValueError), match=says):
        call()


MEMORY = """
    import resource
    import numpy as np, dask, dask.array as da, voxkern, voxkern.dask

    LIMIT = 40e6  # bytes above what is in use
    voxkern.set_num_threads(1)

    def volume(x, block_info=None):
        at = block_info[None]["array-location"][2][0]
        return x + np.arange(at, at + x.shape[2], dtype=x.dtype)[:, None, None] % 7

    def network(x):
        y = voxkern.dask.conv3d(x, np.ones((1, 1, 3, 3, 3), np.float32), padding=1)
        return voxkern.dask.max_pool3d(y, 3, 2).sum()

    def peak():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

    def zeros(size):
        return da.zeros((1, 1, *size), dtype=np.float32, chunks=(1, 1, 20, 128, 128))

    with dask.config.set(scheduler="synchronous"):
        x = zeros((40, 128, 128)).map_blocks(volume, dtype=np.float32)
        network(x).compute()
        before = peak()
        x = zeros((6200, 128, 128)).map_blocks(volume, dtype=np.float32)
        assert x.nbytes > 10 * LIMIT
        total = float(network(x).compute())
    assert peak() - before < LIMIT, (peak() - before) / 1e6
    d = np.arange(6200) % 7
    inner = np.pad(d, 1)[:-2] + d + np.pad(d, 1)[2:]  # along D; 9 taps of H and W but at the edges
    expected = 9.0 * 63 * 63 * np.max([inner[i : i + 6197 : 2] for i in range(3)], axis=0).sum()
    assert abs(total - expected) < 1e-3 * expected, (total, expected)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="ru_maxrss is not in kB")
def test_an_array_ten_times_the_limit_stays_within_it():
    code = textwrap.dedent(MEMORY)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr


# A cluster.


def clip(path, seconds, flashes):
    """A small video that fails, or passes."""
    av = pytest.importorskip("av")
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=30)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "bgr0"
        for index in range(round(seconds * 30)):
            light = 220 if flashes and index // 3 % 2 else 30
            frame = np.full((48, 64, 3), light, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())


@pytest.fixture(scope="module")
def cluster():
    distributed = pytest.importorskip("distributed")
    pytest.importorskip("typer")
    options = {"threads_per_worker": 1, "dashboard_address": None, "silence_logs": 50}
    with distributed.LocalCluster(n_workers=2, **options) as cluster:
        yield cluster


def kill_a_busy_worker(address, log, lines):
    """Once the log has some lines, kill the process of a worker that has a task."""
    import psutil
    from distributed import Client

    deadline = time.monotonic() + 30
    with Client(address) as client:
        pids = client.run(os.getpid)
        while time.monotonic() < deadline:
            done = log.exists() and len(log.read_text().splitlines()) >= lines
            busy = [pids[w] for w, tasks in client.processing().items() if tasks and w in pids]
            if done and busy:
                psutil.Process(busy[0]).kill()
                return
            time.sleep(0.01)
    raise AssertionError("no worker was busy")


def test_workers_of_a_cluster_compute_blocks(cluster, rng):
    from distributed import Client

    x, weight = hostile.normal(rng, (1, 3, 11, 7, 5)), hostile.normal(rng, (2, 3, 3, 2, 3))
    frames = rng.integers(0, 256, (7, 9, 5), np.uint8)
    call = {"padding": "same", "algorithm": "winograd"}
    pairs = [both("conv3d", x, (1, 3, 4, 3, 5), weight, **call)]
    pairs += [both("max_pool3d", x, (1, 2, 4, 3, 5), 2), both("flash_table", frames, (3, 4, 5))]
    with Client(cluster) as client:
        for got, want in zip(client.gather(client.compute([p[0] for p in pairs])), pairs):
            np.testing.assert_array_equal(got, want[1])


def test_a_killed_worker_loses_no_video(cluster, tmp_path):
    count = 200
    (tmp_path / "in").mkdir()
    for i in range(count):
        path = tmp_path / f"in/{i:03}.mkv"
        if i < 2:
            clip(path, 1.5, flashes=i % 4 == 0)
        else:
            shutil.copy(tmp_path / f"in/{'001' if i % 4 else '000'}.mkv", path)
    (tmp_path / "in/text.mp4").write_text("no video")
    log, reports = tmp_path / "log.jsonl", tmp_path / "out"
    command = [sys.executable, "-m", "voxkern", "scan", "in", "--json", "out", "--resume", log.name]
    command += ["--scheduler", cluster.scheduler_address]
    with subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as scan:
        kill_a_busy_worker(cluster.scheduler_address, log, lines=3)
        before = len(log.read_text().splitlines())
        out, err = scan.communicate(timeout=300)
    assert scan.returncode == 1, err
    assert before < count
    outcomes = [json.loads(line) for line in log.read_text().splitlines()]
    names = sorted(os.path.relpath(o["path"], tmp_path / "in") for o in outcomes)
    assert names == [*(f"{i:03}.mkv" for i in range(count)), "text.mp4"]
    verdicts = {os.path.basename(o["path"])[:3]: o["verdict"] for o in outcomes}
    assert verdicts.pop("tex") == "error"
    assert verdicts == {f"{i:03}": "pass" if i % 4 else "fail" for i in range(count)}
    assert len(list(reports.iterdir())) == count
    again = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=100)
    assert (again.returncode, again.stdout) == (1, out)
    assert len(log.read_text().splitlines()) == count + 2  # the error alone was tried again


def test_a_video_that_kills_its_workers_is_an_error(cluster, tmp_path):
    from distributed import Client

    from voxkern import scan_cluster

    good, bad = tmp_path / "good.mkv", tmp_path / "bad.mkv"
    clip(good, 1, flashes=False)
    clip(bad, 1, flashes=False)
    files = {path: {"--json": path.with_suffix(".json")} for path in (good, bad)}

    def write(contents):
        if "bad" in str(*contents):
            os._exit(1)

    def forgive_nothing(dask_scheduler):
        dask_scheduler.allowed_failures = 0

    with Client(cluster) as client:
        client.run_on_scheduler(forgive_nothing)
        outcomes = dict(scan_cluster.examined(client, [bad, good], ["wcag22"], files, write))
    assert outcomes[good]["verdict"] == "pass"
    assert outcomes[bad]["verdict"] == "error"
    assert "KilledWorker" in outcomes[bad]["problem"]
