"""A first look at an installed wheel: needs NumPy alone. `--openmp` insists on threads.

`--jit` calls the functions inside Numba's code, which finds them by the package's entry point.
"""

import os
import sys
import time

import numpy as np

began = time.perf_counter()
import voxkern  # noqa: E402

print(f"import voxkern: {1e3 * (time.perf_counter() - began):.1f} ms on top of NumPy's")
from voxkern import _dispatch, reference  # noqa: E402
from voxkern.kernels.native import host  # noqa: E402

x = np.random.default_rng(0).standard_normal((2, 3, 11, 7, 5))
CALLS = {
    "im2col": (x, (3, 2, 2)),
    "conv3d": (x, x[:, :, :3, :2, :2].copy()),
    "max_pool3d": (x, 2),
    "avg_pool3d": (x, 2),
    "batch_norm": (x, np.zeros(3), np.ones(3)),
    "group_norm": (x, 3),
    "flash_table": ((x[0, ..., 0] > 0).astype(np.uint8) * 255,),
}


def main():
    print(f"voxkern {voxkern.__version__} in {voxkern.__path__[0]}")
    print(f"CPU levels {', '.join(host.levels())}; up to {voxkern.get_num_threads()} threads")
    if "--openmp" in sys.argv:
        assert voxkern.get_num_threads() > 1 or os.cpu_count() == 1
    for level in host.levels():
        for name, arguments in CALLS.items():
            if hasattr(voxkern, name):
                with _dispatch.force("native", level):
                    got = getattr(voxkern, name)(*arguments)
                np.testing.assert_allclose(got, getattr(reference, name)(*arguments), 1e-10, 1e-12)
        with _dispatch.force("native", level):
            plan = voxkern.ConvPlan(*CALLS["conv3d"][1:], activation="relu")
            want = np.maximum(reference.conv3d(*CALLS["conv3d"]), 0)
            np.testing.assert_allclose(plan(x), want, 1e-10, 1e-12)
    print("every operation agrees with its oracle at every level")
    assert "numba" not in sys.modules
    if "--jit" in sys.argv:
        inside_numba()


def inside_numba():
    import numba

    @numba.njit(cache=True)
    def run(x, weight, frames):
        return voxkern.max_pool3d(voxkern.conv3d(x, weight), 2), voxkern.flash_table(frames)

    (frames,) = CALLS["flash_table"]
    pooled, rows = run(*CALLS["conv3d"], frames)
    want = reference.max_pool3d(reference.conv3d(*CALLS["conv3d"]), 2)
    np.testing.assert_allclose(pooled, want, 1e-10, 1e-12)
    np.testing.assert_allclose(rows, reference.flash_table(frames), 1e-12)
    print(f"so inside @njit, {'from its cache' if run.stats.cache_hits else 'compiled'}")


main()
