"""What holds for the library as a whole: its import, its layout, its threads, its environment."""

import ast
import doctest
import importlib
import importlib.metadata
import inspect
import operator
import os
import pathlib
import subprocess
import sys
import textwrap
import threading
from importlib.util import find_spec

import numpy as np
import pytest

import voxkern
from voxkern import _dispatch, reference
from voxkern.kernels.native import host

import hostile

OPERATIONS = ["conv", "im2col", "pool", "batchnorm", "groupnorm", "flash", "pse"]
OPERATIONS += ["activations", "losses", "optim", "upsample"]
# Imported by name, with an oracle and a page each; what they share is no function of theirs.
MODULES = ["activations", "attacks", "augment", "init", "losses", "shapes"]
DOCUMENTED = ["optim", "recurrent", "scipy.ndimage", "scipy.signal"]
OF_MODULES = ["last", "rows_along", "total"]
OF_PAGES = (*MODULES, "layers", "optim", "recurrent")
OF_PAGES += ("use_from_dask", "use_from_onnx", "use_from_scipy")
PAGES = [f"docs/{name}.md" for name in OF_PAGES] + ["README.md"]
ROOT = pathlib.Path(__file__).parents[1]
# The sections of docs/use_from.md, by what stands after "From ".
SNIPPETS = (ROOT / "docs" / "use_from.md").read_text(encoding="utf-8").split("\n## From ")[1:]
SNIPPETS = {title: text for title, _, text in (part.partition("\n") for part in SNIPPETS)}
FUNCTIONS = [n for n in voxkern.__all__ if inspect.isfunction(getattr(voxkern, n))]
OF_THE_MACHINE = ("conv_workspace", "get_include", "get_num_threads", "set_num_threads")
ORACLES = [n for n in FUNCTIONS if n not in (*OF_THE_MACHINE, "as_like")]


def run(code, timeout=120, **environment):
    """Run `code` in a new interpreter, without the environment's own choices; its output."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("VOXKERN_", "OMP_"))}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        timeout=timeout,
        env=kept | environment,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


# --- layout -------------------------------------------------------------------------------------


def test_kernels_are_imported_once():
    assert "kernels" not in sys.modules
    assert "voxkern.kernels" in sys.modules


def test_version_is_the_one_installed():
    assert voxkern.__version__ == importlib.metadata.version("voxkern")


@pytest.mark.parametrize("level", host.levels())
@pytest.mark.parametrize("operation", OPERATIONS)
def test_every_level_has_every_operation(level, operation):
    assert _dispatch.module("native", level, operation) is not None


def test_everything_exported_is_there_and_sorted():
    assert list(voxkern.__all__) == sorted(voxkern.__all__)
    assert all(hasattr(voxkern, name) for name in voxkern.__all__)
    assert all(hasattr(reference, name) for name in reference.__all__)


@pytest.mark.parametrize("name", voxkern.__all__)
def test_every_public_name_is_documented(name):
    assert inspect.getdoc(getattr(voxkern, name))


@pytest.mark.parametrize("name", ORACLES)
def test_every_function_has_an_oracle_with_its_parameters(name):
    ours = list(inspect.signature(getattr(voxkern, name)).parameters)
    oracle = list(inspect.signature(getattr(reference, name)).parameters)
    positional = [p for p in ours if p not in ("out", "algorithm")]
    assert oracle[: len(positional)] == positional


def test_the_oracles_import_numpy_alone():
    allowed = {"numpy", "math", "itertools", "functools", "collections", "voxkern.reference"}
    for path in pathlib.Path(reference.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            modules = [node.module] if isinstance(node, ast.ImportFrom) else []
            modules += [a.name for a in node.names] if isinstance(node, ast.Import) else []
            for module in modules:
                near = module.startswith("voxkern.reference") or module.partition(".")[0] in allowed
                assert near, f"{path.name} imports {module}"


# --- import -------------------------------------------------------------------------------------


def test_import_needs_numpy_alone():
    loaded = run("""
        import sys
        import numpy
        class Blocker:
            def find_spec(self, name, path=None, target=None):
                if name.partition(".")[0] not in allowed:
                    raise ModuleNotFoundError(f"blocked: {name}", name=name)
        allowed = sys.stdlib_module_names | {"numpy", "voxkern"}
        before = set(sys.modules)
        sys.meta_path.insert(0, Blocker())
        import voxkern
        voxkern.im2col(numpy.ones((1, 1, 5)), 3)
        print(*{m.partition(".")[0] for m in set(sys.modules) - before} - sys.stdlib_module_names)
    """)
    # An editable install adds a finder of its own; Cython modules share one for their types.
    known = ("__editable__", "_cython", "cython_runtime", "voxkern", "numpy")
    assert all(name.startswith(known) for name in loaded.split())


def test_scipys_names_do_not_need_scipy():
    code = """
        import sys
        sys.modules["scipy"] = None  # an import of it raises
        import numpy as np
        import voxkern
        x, weights = np.arange(12.0).reshape(3, 4), np.ones((3, 3))
        print(voxkern.scipy.ndimage.correlate(x, weights).sum())
        print(voxkern.scipy.signal.correlate(x, weights).sum())
    """
    assert run(code).split() == ["594.0", "594.0"]


def test_works_without_a_home_or_a_cache(tmp_path):
    code = "import numpy as np, voxkern; print(voxkern.im2col(np.ones((1, 1, 5)), 3).sum())"
    nowhere = str(tmp_path / "nowhere")
    places = {k: nowhere for k in ("HOME", "XDG_CACHE_HOME", "TMPDIR", "NUMBA_CACHE_DIR")}
    assert run(code, **places) == "9.0"
    assert not os.path.exists(nowhere)


# --- choices ------------------------------------------------------------------------------------

CHOICE = "from voxkern import _dispatch; print(_dispatch.kernel('im2col').__name__)"


def test_environment_forces_a_level():
    names = {"baseline": "", "v3": ".v3", "v4": ".v4"}
    for level in host.levels():
        found = run(CHOICE, VOXKERN_CPU_LEVEL=level)
        assert found == f"voxkern.kernels.native{names[level]}.im2col"


def test_environment_forces_a_backend():
    assert run(CHOICE, VOXKERN_BACKEND="reference") == "voxkern.reference.im2col"


@pytest.mark.parametrize(("name", "value"), [("BACKEND", "fast"), ("CPU_LEVEL", "v9")])
def test_an_unknown_choice_is_refused(name, value):
    with pytest.raises(AssertionError, match=f"ImportError: VOXKERN_{name} is '{value}'"):
        run("import voxkern", **{f"VOXKERN_{name}": value})


# --- threads ------------------------------------------------------------------------------------

THREADED = run("import voxkern; print(voxkern.get_num_threads())", OMP_NUM_THREADS="2") == "2"
needs_openmp = pytest.mark.skipif(not THREADED, reason="built without OpenMP")


@needs_openmp
def test_the_number_of_threads_is_obeyed():
    print_threads = "print(voxkern.get_num_threads())"
    assert run(f"import voxkern; {print_threads}", OMP_NUM_THREADS="1") == "1"
    limited = f"import voxkern; voxkern.set_num_threads(2); {print_threads}"
    assert run(limited, OMP_NUM_THREADS="3") == "2"
    assert run(limited, OMP_NUM_THREADS="1") == "1"


@needs_openmp
def test_threadpoolctl_is_obeyed():
    threadpoolctl = pytest.importorskip("threadpoolctl")
    with threadpoolctl.threadpool_limits(1):
        assert voxkern.get_num_threads() == 1


@pytest.mark.parametrize(("n", "error"), [(0, ValueError), (-1, ValueError), (1.5, TypeError)])
def test_a_bad_number_of_threads_is_named(n, error):
    with pytest.raises(error, match="n is"):
        voxkern.set_num_threads(n)


def calls():
    """A call of each operation by name, on sizes that split unevenly between threads."""
    rng = np.random.default_rng(7)
    table = {}
    for axes, size in {1: (31,), 2: (17, 13), 3: (11, 7, 5)}.items():
        x = hostile.normal(rng, (2, 6, *size), "float32")
        weight = hostile.normal(rng, (4, 6, *(3,) * axes), "float32")
        bias = hostile.normal(rng, 4, "float32")
        like = hostile.normal(rng, (2, 4, *size), "float32")
        d = f"{axes}d"
        halves = hostile.normal(rng, (2, 6, *(n // 2 for n in size)), "float32")
        threes = hostile.normal(rng, (2, 6, *(3,) * axes), "float32")
        places = np.arange(halves.size).reshape(halves.shape) % halves[0, 0].size
        table |= {
            f"conv{d}": ((x, weight, bias), {"padding": 1}),
            f"conv{d}_backward": ((like, x, weight), {"padding": 1}),
            f"conv_transpose{d}": ((like, weight), {"stride": 2}),
            f"max_pool{d}": ((x, 2), {"return_indices": True}),
            f"avg_pool{d}": ((x, 3), {"padding": 1}),
            f"lp_pool{d}": ((x, 2.0, 2), {}),
            f"adaptive_avg_pool{d}": ((x, 3), {}),
            f"adaptive_max_pool{d}": ((x, 3), {}),
            f"max_unpool{d}": ((halves, places, 2), {"output_size": size}),
            f"max_pool{d}_backward": ((halves, places, size), {}),
            f"avg_pool{d}_backward": ((halves, size, 2), {}),
            f"lp_pool{d}_backward": ((halves, x, 2.0, 2), {}),
            f"adaptive_avg_pool{d}_backward": ((threes, size), {}),
            f"adaptive_max_pool{d}_backward": ((threes, np.abs(threes * 9).astype(int), size), {}),
            f"max_unpool{d}_backward": ((x, places), {}),
        }
    mean, var = np.zeros(6, "float32"), np.ones(6, "float32")
    frames = rng.integers(0, 256, (5, 41, 37, 3), dtype=np.uint8)
    cols = hostile.normal(rng, (2, 6 * 27, 9 * 5 * 3), "float32")
    return table | {
        "im2col": ((x, 3), {}),
        "col2im": ((cols, size, 3), {}),
        "global_avg_pool": ((x,), {}),
        "global_max_pool": ((x,), {}),
        "global_avg_pool_backward": ((x[:, :, :1, :1, :1].copy(), size), {}),
        "global_max_pool_backward": ((x[:, :, :1, :1, :1].copy(), x), {}),
        "batch_norm": ((x, mean, var), {}),
        "batch_norm_stats": ((x,), {}),
        "batch_norm_backward": ((x + 1, x, var, mean, var), {}),
        "group_norm": ((x, 3), {}),
        "group_norm_backward": ((x + 1, x, 3), {}),
        "instance_norm": ((x,), {}),
        "instance_norm_backward": ((x + 1, x), {}),
        "layer_norm": ((x, x.shape[2:]), {}),
        "layer_norm_backward": ((x + 1, x, x.shape[2:]), {}),
        "linear": ((x, hostile.normal(rng, (7, x.shape[-1]), "float32")), {}),
        "linear_backward": ((x[..., :3], x, np.ones((3, x.shape[-1]), "float32")), {}),
        "dropout": ((x,), {"rng": 1}),
        "dropout_backward": ((x, x > 0), {}),
        "flatten": ((x,), {}),
        "upsample": ((x,), {"size": 9, "mode": "trilinear"}),
        "upsample_backward": ((x, 3), {"size": x.shape[2:], "mode": "trilinear"}),
        "flash_table": ((frames,), {}),
        "luminance": ((frames,), {}),
        "video_flashinator": ((frames,), {}),
        "conv3d_naive": ((x, x[:, :, :3, :3, :3].copy()), {}),
        "conv3d_no_loop": ((x, x[:, :, :3, :3, :3].copy()), {}),
    }


CALLS = {name: call for name, call in calls().items() if name in ORACLES}


def results(name):
    """What the call of `name` returns, as a tuple."""
    args, kwargs = CALLS[name]
    result = getattr(voxkern, name)(*args, **kwargs)
    return result if isinstance(result, tuple) else (result,)


def test_a_vast_number_of_threads_is_no_bound(threads):
    before = voxkern.get_num_threads()
    threads(2**40)
    assert voxkern.get_num_threads() == before


@pytest.fixture
def threads():
    """:func:`voxkern.set_num_threads`, undone afterwards."""
    before = voxkern.get_num_threads()
    yield voxkern.set_num_threads
    voxkern.set_num_threads(before)


def test_every_function_has_a_call():
    of_numbers_and_dicts = {"get_tiled_dim", "forward_batchnorm", "optim_adam"}
    assert set(ORACLES) - set(CALLS) <= of_numbers_and_dicts


@pytest.mark.parametrize("name", CALLS)
def test_results_do_not_depend_on_the_number_of_threads(threads, name):
    threads(1)
    alone = results(name)
    threads(2)
    for one, two in zip(alone, results(name), strict=True):
        assert one.tobytes() == two.tobytes()


@pytest.mark.parametrize("name", CALLS)
def test_calls_from_many_python_threads_are_safe(name):
    want = [a.tobytes() for a in results(name)]
    wrong = []

    def work():
        for _ in range(5):
            if [a.tobytes() for a in results(name)] != want:
                wrong.append(name)

    workers = [threading.Thread(target=work) for _ in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not wrong


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_forked_child_works():
    code = """
        import os, warnings
        import numpy as np
        import voxkern
        warnings.simplefilter("ignore", DeprecationWarning)  # 3.12 warns of threads and fork
        x = np.random.default_rng(0).standard_normal((4, 8, 16, 16))
        want = voxkern.im2col(x, 3)
        child = os.fork()
        if child == 0:
            same = (voxkern.im2col(x, 3) == want).all() and voxkern.get_num_threads() == 1
            os._exit(0 if same else 1)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    """
    assert run(code, OMP_NUM_THREADS="2") == "0"


# --- what counts as an array --------------------------------------------------------------------


class Dlpack:
    """Has DLPack's two methods and nothing else."""

    def __init__(self, array):
        self.array = array

    def __dlpack__(self, **kwargs):
        return self.array.__dlpack__(**kwargs)

    def __dlpack_device__(self):
        return self.array.__dlpack_device__()


def pretend(like, **attributes):
    """An object of `like`'s shape that is no array."""
    return type("Array", (), {"shape": like.shape, "ndim": like.ndim, **attributes})()


def torch_tensor(array):
    return pytest.importorskip("torch").from_numpy(array)


OTHERS = [Dlpack, torch_tensor]


@pytest.mark.parametrize("other", OTHERS)
@pytest.mark.parametrize("name", CALLS)
def test_host_arrays_of_others_are_taken(name, other):
    args, kwargs = CALLS[name]
    args = [other(a) if isinstance(a, np.ndarray) else a for a in args]
    found = getattr(voxkern, name)(*args, **kwargs)
    for got, want in zip(found if isinstance(found, tuple) else (found,), results(name)):
        assert got.tobytes() == want.tobytes()


@pytest.mark.parametrize("other", OTHERS)
def test_modules_take_host_arrays_of_others(rng, other):
    x, places = hostile.normal(rng, (5, 4), "float32"), rng.integers(0, 4, 5)
    state, weights = x[:, :3].copy(), [hostile.normal(rng, (9, n), "float32") for n in (4, 3)]
    for function, *args in [
        (voxkern.activations.softmax, x),
        (voxkern.losses.cross_entropy, x, places),
        (voxkern.recurrent.gru_cell, x, state, *weights),
        (voxkern.ConvPlan(other(x[:, None, :2].copy())), x[:, None]),
        (voxkern.attacks.fgsm, x, x, 0.1),
    ]:
        others = [other(a) if isinstance(a, np.ndarray) else a for a in args]
        np.testing.assert_array_equal(function(*others), function(*args))


@pytest.mark.parametrize("other", OTHERS)
def test_host_arrays_of_others_are_not_copied(rng, other):
    x, mean = hostile.normal(rng, (2, 3, 7)), np.zeros(3)
    assert np.shares_memory(voxkern._check.array(other(x), "x"), x)
    voxkern.batch_norm(other(x), other(mean), other(np.ones(3)), training=True)
    np.testing.assert_allclose(mean, 0.1 * x.mean((0, 2)))
    with pytest.raises(ValueError, match="out overlaps"):
        voxkern.batch_norm(other(x), other(mean), other(np.ones(3)), out=x)


@pytest.mark.parametrize("layout", [hostile.read_only, hostile.transposed, hostile.strided])
def test_any_layout_of_others_is_taken(rng, layout):
    x = hostile.normal(rng, (2, 3, 7))
    np.testing.assert_array_equal(voxkern.im2col(Dlpack(layout(x)), 3), voxkern.im2col(x, 3))
    np.testing.assert_array_equal(voxkern.im2col(x.tolist(), 3), voxkern.im2col(x, 3))


def test_tensors_without_memory_of_ours_are_refused():
    torch = pytest.importorskip("torch")
    x = torch.ones(2, 3, 7)
    for tensor, names in [
        (x.clone().requires_grad_(), r"x cannot .*detach\(\)"),
        (x.bfloat16(), "x cannot .* BFloat16"),
        (x.to_sparse(), r"x cannot .*to_dense\(\)"),
        (x.to("meta"), "x .* meta"),
        (Dlpack(x.bfloat16()), "x cannot .* dtype"),
        (Dlpack(x.clone().requires_grad_()), r"x cannot .*detach\(\)"),
    ]:
        with pytest.raises(TypeError, match=names):
            voxkern.im2col(tensor, 3)


def test_arrays_that_lie_on_a_device_are_refused(rng):
    class Elsewhere(Dlpack):
        def __dlpack_device__(self):
            return 2, 0

    x = hostile.normal(rng, (2, 3, 7))
    with pytest.raises(TypeError, match="x lies on a device, of DLPack's type 2"):
        voxkern.im2col(Elsewhere(x), 3)
    with pytest.raises(TypeError, match="like lies on a device"):
        voxkern.as_like(x, like=Elsewhere(x))


def test_results_go_out_as_tensors_over_their_memory(rng):
    torch = pytest.importorskip("torch")
    x = torch.from_numpy(hostile.normal(rng, (2, 3, 7), "float32"))
    result = voxkern.max_pool1d(x, 2)
    for like in (x, torch.nn.Parameter(x), torch.zeros(0, dtype=torch.int8)):
        tensor = voxkern.as_like(result, like=like)
        assert type(tensor) is torch.Tensor
        assert tensor.data_ptr() == result.ctypes.data
    torch.testing.assert_close(tensor, torch.nn.functional.max_pool1d(x, 2))
    grads = voxkern.conv1d_backward(x, x, torch.ones(3, 3, 1), need=(True, False, True))
    grad_x, grad_weight, grad_bias = voxkern.as_like(grads, like=x)
    assert grad_x.shape == x.shape
    assert grad_weight is None
    torch.testing.assert_close(grad_bias, x.sum((0, 2)))


def test_results_go_out_through_the_namespace_of_an_array(rng):
    class Array(Dlpack):
        def __array_namespace__(self):
            return type("namespace", (), {"from_dlpack": Array})

    x = hostile.normal(rng, (2, 3, 7))
    result = voxkern.im2col(Array(x), 3)
    assert voxkern.as_like(result, like=Array(x)).array is result
    assert voxkern.as_like(result, like=x) is result


def test_what_cannot_go_out_is_refused(rng):
    x = hostile.normal(rng, (2, 3, 7))
    with pytest.raises(TypeError, match="like is a Dlpack"):
        voxkern.as_like(x, like=Dlpack(x))
    with pytest.raises(TypeError, match="like is a list"):
        voxkern.as_like(x, like=[1.0])
    tensor = torch_tensor(x)
    with pytest.raises(TypeError, match="result is a list"):
        voxkern.as_like([[1.0]], like=tensor)
    with pytest.raises(ValueError, match="result is read-only"):
        voxkern.as_like(hostile.read_only(x), like=tensor)


@pytest.mark.parametrize("name", CALLS)
def test_dask_arrays_are_refused_by_name(name):
    args, kwargs = CALLS[name]
    array = pretend(args[0], __module__="dask.array.core")
    with pytest.raises(TypeError, match=r"Dask array; voxkern\.dask"):
        getattr(voxkern, name)(array, *args[1:], **kwargs)


@pytest.mark.parametrize("name", CALLS)
def test_arrays_on_a_gpu_are_not_copied_silently(name):
    args, kwargs = CALLS[name]
    array = pretend(args[0], __cuda_array_interface__={})
    with pytest.raises(TypeError, match="CUDA"):
        getattr(voxkern, name)(array, *args[1:], **kwargs)


# --- documentation ------------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES)
def test_the_examples_of_a_page_run_one_after_another(page, tmp_path, monkeypatch):
    if page.startswith("docs/use_from_"):
        pytest.importorskip(page.removeprefix("docs/use_from_").removesuffix(".md"))
    text = (ROOT / page).read_text(encoding="utf-8")
    blocks = [part.partition("```")[0] for part in text.split("```python\n")[1:]]
    assert blocks
    monkeypatch.chdir(tmp_path)
    namespace = {}
    for block in blocks:
        exec(compile(block, page, "exec"), namespace)


@pytest.mark.parametrize("library", SNIPPETS)
def test_the_snippet_for_a_library_runs_by_itself(library):
    if library in ("torch", "ONNX", "Keras", "Dask", "Numba") and not find_spec(library.lower()):
        pytest.skip(f"{library} is missing")
    entries = importlib.metadata.entry_points(group="numba_extensions")
    if library == "Numba" and "voxkern.njit:init" not in [entry.value for entry in entries]:
        pytest.skip("the package is not installed, so it has no entry points")
    text = SNIPPETS[library]
    assert text.count("```python") == 1
    run(text.partition("```python\n")[2].partition("```")[0])


@pytest.mark.parametrize("name", [n for n in MODULES if n != "shapes"])
def test_every_function_of_a_module_has_an_oracle_with_its_parameters(name):
    ours, oracles = importlib.import_module(f"voxkern.{name}"), getattr(reference, name)
    for function, own in inspect.getmembers(ours, inspect.isfunction):
        if own.__module__ != ours.__name__ or function.startswith("_") or not own.__doc__:
            continue
        if function in OF_MODULES:
            continue
        oracle = inspect.signature(getattr(oracles, function))
        assert list(oracle.parameters) == list(inspect.signature(own).parameters)


@pytest.mark.parametrize("name", [*voxkern.__all__, *MODULES, *DOCUMENTED])
def test_the_examples_of_the_docstrings_are_right(name):
    namespace = {"np": np, "voxkern": voxkern, "decoded_frames": ()}
    runner = doctest.DocTestRunner(verbose=False)
    for test in doctest.DocTestFinder().find(
        operator.attrgetter(name)(voxkern), name, globs=namespace
    ):
        assert runner.run(test).failed == 0
