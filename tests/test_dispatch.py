"""The choice of the module that computes."""

import subprocess
import sys

import pytest

from voxkern import _dispatch
from voxkern.kernels.native import host


@pytest.mark.parametrize("first", host.levels())
def test_every_level_is_a_module_of_its_own_whichever_is_loaded_first(first):
    code = (
        "from voxkern import _dispatch\n"
        "from voxkern.kernels.native import host\n"
        f"for level in [{first!r}, *host.levels()]:\n"
        "    file = _dispatch.module('native', level, 'flash').__file__.replace('\\\\', '/')\n"
        "    folder = 'native' if level == 'baseline' else level\n"
        "    assert file.split('/')[-2] == folder, (level, file)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_kernel_that_one_level_lacks_is_not_replaced_by_a_slower_one(monkeypatch):
    find_spec = _dispatch.importlib.util.find_spec
    monkeypatch.setattr(
        _dispatch.importlib.util,
        "find_spec",
        lambda name: None if name.endswith("v3.flash") else find_spec(name),
    )
    with pytest.raises(ImportError, match=r"native\.v3\.flash is missing"):
        _dispatch.module.__wrapped__("native", "v3", "flash")
    assert _dispatch.module.__wrapped__("native", "baseline", "no_such_operation") is None
