"""The bench command: every operation's small cases run, and contenders that differ are refused."""

import numpy as np
import pytest

pytest.importorskip("typer")

from typer.testing import CliRunner  # noqa: E402

from voxkern import bench, cli  # noqa: E402


@pytest.mark.parametrize("operation", bench.CASES)
def test_quick_cases_are_timed_beside_the_oracle(operation):
    result = CliRunner().invoke(cli.app, ["bench", operation, "--quick"])
    assert result.exit_code == 0, result.output
    assert "threads: 1" in result.stdout
    _, _, small = bench.CASES[operation]
    assert f"geometric mean over {len(small)} cases" in result.stdout
    assert result.stdout.count("NumPy oracle") == len(small) + 1


def test_an_unknown_operation_is_named():
    result = CliRunner().invoke(cli.app, ["bench", "sort"])
    assert (result.exit_code, result.stdout) == (2, "")
    assert "OP is 'sort'; it may be conv" in result.stderr


def test_contenders_that_disagree_are_refused():
    with pytest.raises(RuntimeError, match="torch differs"):
        bench.agree({"voxkern": np.ones(3), "torch": np.array([1, 1, 1.1])})


def test_contenders_take_turns():
    order = []
    calls = {name: lambda name=name: order.append(name) for name in "AB"}
    seconds = bench.turns(calls, budget=0)
    assert "".join(order) == "ABABAB"
    assert [len(times) for times in seconds.values()] == [3, 3]
