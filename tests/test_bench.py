"""The bench command: every operation's small cases run, and contenders that differ are refused."""

import json
import time

import numpy as np
import pytest

pytest.importorskip("typer")

import voxkern
from voxkern import bench, bench_conv, cli, layers, timing


def run(*words):
    with pytest.raises(SystemExit, match="0"):
        cli.app(["bench", *words, "--quick"])


@pytest.mark.parametrize("operation", bench.CASES)
def test_quick_cases_are_timed_beside_the_oracle(operation, capsys):
    run(operation)
    out = capsys.readouterr().out
    _, small = bench.CASES[operation]
    assert "threads: 1; CPU time of the calling thread" in out
    assert f"geometric mean of {len(small)}" in out
    assert out.count("NumPy oracle") == len(small) + 1


def test_every_group_of_convolutions_has_a_table(capsys, tmp_path):
    run("conv", "--json", str(tmp_path / "conv.json"))
    out = capsys.readouterr().out
    assert all(f"{name}, GFLOP/s" in out for name in bench_conv.GROUPS)
    assert "a tiny call" in out
    measured = json.loads((tmp_path / "conv.json").read_text())
    assert measured["threads"] == 1
    median, least = measured["records"][0]["seconds"]["plan"]
    assert 0 < least <= median
    timed = [record for record in measured["records"] if "work" in record]
    assert len(timed) == sum(len(members) for _, members in bench_conv.QUICK.values()) + 1


def test_two_threads_are_timed_beside_one(capsys, monkeypatch):
    few = {name: (make, members[:1]) for name, (make, members) in bench_conv.QUICK.items()}
    monkeypatch.setattr(bench_conv, "QUICK", few)
    before = voxkern.get_num_threads()
    run("conv", "--threads", "2")
    out = capsys.readouterr().out
    assert "threads: 2" in out
    assert "; wall time" in out
    assert "2 threads beside one" in out
    assert voxkern.get_num_threads() == before


def test_more_threads_than_there_are_is_remarked_upon():
    there = voxkern.get_num_threads()
    with timing.limited(there) as remark:
        assert "this process" not in remark
    with timing.limited(there + 1) as remark:
        assert f"this process has {there}" in remark
    assert voxkern.get_num_threads() == there


def test_avx2_holds_both_libraries(monkeypatch):
    asked = {}

    class Done:
        returncode = 0

    def start(command, env):
        asked.update(command=command[3:], env=env)
        return Done

    monkeypatch.setattr(cli.subprocess, "run", start)
    run("conv", "--avx2")
    assert asked["command"] == ["bench", "conv", "--threads", "1", "--quick"]
    assert asked["env"]["VOXKERN_CPU_LEVEL"] == "v3"
    assert asked["env"]["ONEDNN_MAX_CPU_ISA"] == "AVX2"


def test_an_unknown_operation_is_named(capsys):
    with pytest.raises(SystemExit, match="2"):
        cli.app(["bench", "sort"])
    assert "OP is 'sort'; it may be conv" in capsys.readouterr().err


def test_contenders_that_disagree_are_refused():
    with pytest.raises(RuntimeError, match="torch differs"):
        timing.agree({"voxkern": [np.ones(3)], "torch": [np.array([1, 1, 1.1])]})


def test_contenders_take_turns():
    order = []
    calls = {name: lambda name=name: order.append(name) for name in "AB"}
    seconds = timing.turns(calls, budget=0, clock=time.thread_time)
    assert "".join(order) == "AABB" * 3
    assert [len(times) for times in seconds.values()] == [3, 3]


def test_a_plan_is_measured_against_peers_on_the_same_terms():
    spans = {"plan": [1.0], "plan, fresh": [4.0], "torch": [8.0], "onnxruntime": [3.0]}
    result = bench_conv.Result(layers.TINY, 1, spans)
    assert result.best() == 2  # torch allocates its result, onnxruntime does not
    assert bench_conv.Result(layers.TINY, 1, {"call": [2.0], "torch": [8.0]}).best() == 4


@pytest.mark.parametrize("make", [layers.forward, layers.transposed, layers.backward])
@pytest.mark.parametrize("layer", layers.SMALL, ids=lambda layer: layer.name)
def test_contenders_of_a_layer_agree(make, layer):
    work, contenders = make(layer)
    assert work > 0
    timing.agree({name: timing.arrays(call()) for name, call in contenders.items()})


def test_layers_have_names_of_their_own():
    for members in (layers.VIDEO + layers.SEGMENTATION + layers.OTHER, layers.IMAGES):
        names = [layer.name for layer in members]
        assert len(set(names)) == len(names)
    assert len(layers.VIDEO) == 17
    assert len(layers.SEGMENTATION) == 11
    assert len(layers.CUBED) == len(layers.CHANNELS_32_TO_512)


def test_the_peak_is_measured_where_there_is_a_compiler():
    peak = timing.fma_peak("baseline")
    assert peak is None or peak > 1
