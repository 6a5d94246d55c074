"""The choice of the module that computes."""

import subprocess
import sys

import pytest

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
