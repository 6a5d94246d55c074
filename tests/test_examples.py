"""The example networks learn what they say, by gradients that are right."""

import importlib
import pathlib
import xml.etree.ElementTree

import numpy as np
import pytest

import voxkern

ROOT = pathlib.Path(__file__).parents[1]
NETWORKS = [
    "logistic_regression",
    "xor",
    "two_layer_softmax",
    "siamese",
    "digits_cnn",
    "moving_shapes",
    "noise_is_l2",
]


@pytest.fixture(autouse=True)
def one_thread():
    """On busy cores the threads of calls this small mostly wait: 56 s of moving shapes, not 5."""
    before = voxkern.get_num_threads()
    voxkern.set_num_threads(1)
    yield
    voxkern.set_num_threads(before)


def example(name):
    """The module of an example."""
    if name == "digits_cnn":
        pytest.importorskip("sklearn")
    return importlib.import_module(name)


# --- what they learn ----------------------------------------------------------------------------


def test_logistic_regression_is_as_good_as_any_classifier():
    results = example("logistic_regression").main([])
    assert results["loss"][0] == pytest.approx(np.log(2))
    assert results["accuracy"] == pytest.approx(results["best"], abs=0.005)


@pytest.mark.parametrize("seed", range(5))
def test_two_neurons_learn_xor(seed):
    results = example("xor").main(["--seed", str(seed)])
    assert abs(results["probabilities"] - results["labels"]).max() < 0.1
    np.testing.assert_array_equal(results["steps"], results["labels"])


def test_the_softmax_network_tells_the_arms_of_the_spiral():
    assert example("two_layer_softmax").main([])["accuracy"] > 0.99


def test_the_siamese_network_orders_discs_by_their_size():
    results = example("siamese").main([])
    assert results["accuracy"] > 0.95
    assert results["rank"] > 0.99


def test_the_small_network_reads_digits():
    results = example("digits_cnn").main([])
    assert results["parameters"] == 1914
    assert results["accuracy"] > 0.97


def test_the_3d_network_sees_motion():
    results = example("moving_shapes").main([])
    assert results["accuracy"] > 0.95
    assert results["opposite"] > 0.95


def test_noise_is_an_l2_penalty():
    results = example("noise_is_l2").main([])
    without, *penalised = results["penalty"]
    assert min(abs(theta - without).max() for theta in penalised) > 0.1
    np.testing.assert_allclose(results["loss"][:, 0], results["loss"][:, 1], rtol=0.01)
    np.testing.assert_allclose(results["noise"], results["penalty"], rtol=0, atol=0.02)


def test_the_penalty_has_the_minimum_that_algebra_gives():
    module = example("noise_is_l2")
    x, y = module.data(np.random.default_rng(1))
    theta = module.with_penalty(x, y, variance=0.5)
    ridge = np.linalg.solve(x.T @ x / len(x) + 0.5 * np.eye(x.shape[1]), x.T @ y / len(x))
    np.testing.assert_allclose(theta, ridge.T, rtol=1e-9)


# --- their gradients ----------------------------------------------------------------------------


def of_xor(module, rng):
    return module.train(rng, 1)[0], (module.BITS, module.XOR)


def of_two_layer_softmax(module, rng):
    x, arms = module.spiral(rng, 7)
    return module.train(x, arms, rng, 1)[0], (x, arms)


def of_siamese(module, rng):
    return module.train(rng, 1, steps=3)[0], module.pairs(rng, 5)


def of_digits_cnn(module, rng):
    x, labels, *_ = module.digits(rng)
    params, running, _ = module.train(x[:64], labels[:64], rng, 1)
    return params, (running, x[:7], labels[:7])


def of_moving_shapes(module, rng):
    params, running, _ = module.train(rng, 1, steps=3)
    return params, (running, *module.clips(rng, 3))


def widened(value):
    """Floating-point arrays in float64."""
    if isinstance(value, list | tuple):
        return [widened(v) for v in value]
    return value.astype(np.float64) if value.dtype.kind == "f" else value


@pytest.mark.parametrize(
    "trained", [of_xor, of_two_layer_softmax, of_siamese, of_digits_cnn, of_moving_shapes]
)
def test_gradients_are_those_of_the_loss(trained, rng):
    module = example(trained.__name__.removeprefix("of_"))
    params, arguments = widened(trained(module, rng))
    _, grads = module.gradients(params, *arguments)
    for i, (param, grad) in enumerate(zip(params, grads, strict=True)):
        assert grad.shape == param.shape
        step = 1e-6 * rng.standard_normal(param.shape)
        ahead, behind = (
            module.gradients([*params[:i], param + sign * step, *params[i + 1 :]], *arguments)[0]
            for sign in (1, -1)
        )
        size = np.linalg.norm(grad) * np.linalg.norm(step)
        assert ahead - behind == pytest.approx(2 * (grad * step).sum(), abs=1e-4 * size + 1e-14)


# --- their arguments, their plots, their page ----------------------------------------------------


@pytest.mark.parametrize("name", NETWORKS)
def test_the_seed_decides(name):
    first, again, other = (
        example(name).main(["--epochs", "2", "--seed", seed])["loss"] for seed in "334"
    )
    np.testing.assert_allclose(first, again, rtol=1e-6)
    assert not np.allclose(np.asarray(first)[-1], np.asarray(other)[-1], rtol=1e-4)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_plot_is_saved(name, tmp_path):
    pytest.importorskip("matplotlib")
    path = tmp_path / "curve.svg"
    example(name).main(["--epochs", "2", "--plot", str(path)])
    assert xml.etree.ElementTree.parse(path).getroot().tag.endswith("svg")


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (["--epochs", "0"], "--epochs is 0"),
        (["--seed", "-1"], "--seed is -1"),
        (["--plot", "nowhere/curve.svg"], "nowhere is not a directory"),
    ],
)
def test_wrong_arguments_are_named(wrong, said, capsys):
    with pytest.raises(SystemExit):
        example("xor").main(wrong)
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("name", NETWORKS)
def test_the_page_shows_each_network(name):
    page = (ROOT / "docs" / "networks.md").read_text(encoding="utf-8")
    assert f"(../examples/{name}.py)" in page
    assert f"({name}.svg)" in page
    assert (ROOT / "docs" / f"{name}.svg").stat().st_size < 60_000
