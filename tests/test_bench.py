"""The bench command: every operation's small cases run, and contenders that differ are refused."""

import numpy as np
import pytest

pytest.importorskip("typer")

from voxkern import bench, cli


@pytest.mark.parametrize("operation", bench.CASES)
def test_quick_cases_are_timed_beside_the_oracle(operation, capsys):
    with pytest.raises(SystemExit, match="0"):
        cli.app(["bench", operation, "--quick"])
    out = capsys.readouterr().out
    _, _, small = bench.CASES[operation]
    assert "threads: 1" in out
    assert f"geometric mean of {len(small)}" in out
    assert out.count("NumPy oracle") == len(small) + 1


def test_an_unknown_operation_is_named(capsys):
    with pytest.raises(SystemExit, match="2"):
        cli.app(["bench", "sort"])
    assert "OP is 'sort'; it may be conv" in capsys.readouterr().err


def test_contenders_that_disagree_are_refused():
    with pytest.raises(RuntimeError, match="torch differs"):
        bench.agree({"voxkern": np.ones(3), "torch": np.array([1, 1, 1.1])})


def test_contenders_take_turns():
    order = []
    calls = {name: lambda name=name: order.append(name) for name in "AB"}
    seconds = bench.turns(calls, budget=0)
    assert "".join(order) == "AABB" * 3
    assert [len(times) for times in seconds.values()] == [3, 3]
