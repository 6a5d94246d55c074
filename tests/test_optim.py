"""Optimisers: the oracles, the formulas of the exams, clipping, and what is refused."""

import inspect

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import voxkern
from voxkern import optim, reference

import hostile
from accuracy import assert_close, assert_exact

OPERATION = "optim"
# A function, how many averages it keeps, and its other arguments.
CASES = [
    ("sgd", 0, dict(lr=0.3)),
    ("sgd", 0, dict(lr=0.3, l2=0.05, weight_decay=0.02)),
    ("momentum", 1, dict(lr=0.3)),
    ("momentum", 1, dict(lr=0.3, momentum=0.7, average=True, l2=0.05)),
    ("momentum", 1, dict(lr=0.3, momentum=1.0, nesterov=True, weight_decay=0.05)),
    ("momentum", 1, dict(lr=0.3, average=True, nesterov=True)),
    ("rmsprop", 1, dict(lr=0.3, alpha=0.7)),
    ("rmsprop", 1, dict(lr=0.3, eps=0.1, eps_inside_sqrt=True, weight_decay=0.05)),
    ("adam", 2, dict(step=1)),
    ("adam", 2, dict(step=7, lr=0.3, betas=(0.6, 0.8), eps=0.1, weight_decay=0.05)),
    ("adam", 2, dict(step=2, lr=0.3, eps=0.1, eps_inside_sqrt=True)),
    ("adamw", 2, dict(step=1, lr=0.3)),
    ("adamw", 2, dict(step=3, lr=0.3, eps=0.01, eps_inside_sqrt=True, weight_decay=0.5)),
]
every_case = pytest.mark.parametrize("case", CASES, ids=str)
SHAPES = [(), (1,), (31,), (0, 3), (17, 13), (2, 3, 11, 7, 5), (40009,)]


def lists(rng, case, dtype="float64", shapes=SHAPES):
    """Parameters, gradients, and averages that are no longer zeros."""
    made = [[np.asarray(hostile.normal(rng, s, dtype)) for s in shapes] for _ in range(2 + case[1])]
    return [*made[:-1], [np.asarray(abs(a)) for a in made[-1]]] if case[1] else made


def doubled(lists):
    return [[np.array(a, "f8") for a in arrays] for arrays in lists]


def step(module, case, arrays):
    return getattr(module.optim, case[0])(*arrays, **case[2])


@every_case
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_every_array_equals_the_oracles(backend, rng, case, dtype):
    got = lists(rng, case, dtype)
    want = doubled(got)
    assert step(voxkern, case, got) is None
    step(reference, case, want)
    for ours, theirs in zip(got, want):
        for one, other in zip(ours, theirs):
            assert one.dtype == dtype
            assert_close(one, other, scale=4)


@every_case
def test_gradients_are_left_as_they_are(backend, rng, case):
    arrays = lists(rng, case)
    before = [g.copy() for g in arrays[1]]
    step(voxkern, case, [arrays[0], [hostile.read_only(g) for g in arrays[1]], *arrays[2:]])
    for grad, old in zip(arrays[1], before):
        assert_exact(grad, old)


@pytest.mark.parametrize("layout", hostile.LAYOUTS)
@pytest.mark.parametrize("case", [CASES[1], CASES[4], CASES[9]], ids=str)
def test_layout_does_not_matter(backend, rng, case, layout):
    plain = lists(rng, case, shapes=[(17, 13)])
    made = [[layout(a) for a in arrays] for arrays in plain]
    for arrays in [made[0], *made[2:]] if layout is hostile.read_only else []:
        arrays[0].flags.writeable = True
    step(voxkern, case, made)
    step(voxkern, case, plain)
    for ours, theirs in zip(made, plain):
        assert_exact(np.ascontiguousarray(ours[0], theirs[0].dtype), theirs[0])


def test_the_state_of_a_float16_parameter_may_be_float32(backend, rng):
    w, g = hostile.normal(rng, (2, 31), "float16") / 1000
    m, s = np.zeros((2, 31), "float32")
    want = doubled([[w], [g], [m], [s]])
    optim.adam([w], [g], [m], [s], 1)
    reference.optim.adam(*want, 1)
    for got, ref in zip((w, m, s), (want[0], want[2], want[3])):
        assert_close(got, ref[0])
    assert s.all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_place_of_an_element_does_not_change_its_bits(backend, rng, dtype):
    case = CASES[9]
    arrays = lists(rng, case, dtype, [(40009,)])
    parts = [[a[0][start : start + 4001].copy() for start in range(0, 40009, 4001)] for a in arrays]
    step(voxkern, case, arrays)
    step(voxkern, case, parts)
    for whole, pieces in zip(arrays, parts):
        assert_exact(np.concatenate(pieces), whole[0])


@every_case
def test_threads_do_not_change_the_bits(rng, case):
    one = lists(rng, case, "float32", [(200003,)])
    two = [[a.copy() for a in arrays] for arrays in one]
    before = voxkern.get_num_threads()
    try:
        for threads, arrays in ((1, one), (2, two)):
            voxkern.set_num_threads(threads)
            step(voxkern, case, arrays)
    finally:
        voxkern.set_num_threads(before)
    assert [a[0].tobytes() for a in one] == [a[0].tobytes() for a in two]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e30, 1e-40])
def test_a_strange_gradient_stays_where_it_is(backend, rng, value):
    arrays = lists(rng, CASES[8], "float32", [(97,)])
    others = [[a.copy() for a in arrays_] for arrays_ in arrays]
    arrays[1][0][50] = value
    with np.errstate(all="ignore"):
        step(voxkern, CASES[8], arrays)
        want = doubled(others)
        step(voxkern, CASES[8], others)
        want[1][0][50] = np.float32(value)
        step(reference, CASES[8], want)
    kept = np.arange(97) != 50
    for ours, theirs in zip(arrays, others):
        assert_exact(ours[0][kept], theirs[0][kept])
    assert np.isnan(arrays[0][0][50]) == (not np.isfinite(value))
    if value == 1e-40:
        assert_close(arrays[0][0], want[0][0], scale=4)


def test_the_exams_adam_has_epsilon_inside(rng):
    # CS230 2020: the same step as the exam's own function, over two steps.
    w, grads = hostile.normal(rng, 31), hostile.normal(rng, (2, 31))
    weights, cache = {"w": w.copy()}, {}
    m, s = np.zeros((2, 31))
    for i, grad in enumerate(grads, 1):
        weights, cache = voxkern.optim_adam(weights, {"w": grad}, cache, i)
        optim.adam([w], [grad], [m], [s], i, eps_inside_sqrt=True)
    assert_close(w, weights["w"])
    assert_close(m, cache["vw"])
    assert_close(s, cache["sw"])


def test_l2_shrinks_the_weight_by_twice_lambda_and_weight_decay_by_once(backend):
    for name, kept in (("l2", 1 - 2 * 0.1 * 0.25), ("weight_decay", 1 - 0.1 * 0.25)):
        w = np.array([3.0])
        optim.sgd([w], [np.zeros(1)], 0.1, **{name: 0.25})
        assert_close(w, np.array([3 * kept]))


def test_the_two_forms_of_momentum_differ_by_a_factor_of_the_rate(backend, rng):
    w, other = (hostile.normal(np.random.default_rng(0), 31) for _ in range(2))
    v, u = np.zeros((2, 31))
    for _ in range(5):
        g = hostile.normal(rng, 31)
        optim.momentum([w], [g], [v], 0.1, 0.8, average=True)
        optim.momentum([other], [g], [u], 0.1 * (1 - 0.8), 0.8)
    assert_close(w, other, length=9)
    assert_close(v, u * (1 - 0.8), length=9)


@given(st.sampled_from(["sgd", "momentum", "rmsprop", "adam", "adamw"]), st.integers(0, 9))
def test_a_bowl_is_descended(name, seed):
    rng = np.random.default_rng(seed)
    w, scale = rng.uniform(-1, 1, 7), rng.uniform(0.5, 1, 7)
    kept = {"sgd": 0, "momentum": 1, "rmsprop": 1}.get(name, 2)
    states = [[np.zeros(7)] for _ in range(kept)]
    for i in range(300):
        number = {"step": i + 1} if kept == 2 else {}
        getattr(optim, name)([w], [scale * w], *states, lr=0.02, **number)
    assert abs(w).max() < 0.05


# --- clipping -----------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("norm_type", [1, 2.0, 3.5, np.inf])
def test_norms_are_clipped(rng, dtype, norm_type):
    for bound in (0.0, 0.7, 1e6):
        got = [np.asarray(hostile.normal(rng, s, dtype)) for s in SHAPES[:5]]
        (want,) = doubled([got])
        norm = optim.clip_grad_norm(got, bound, norm_type)
        assert norm == pytest.approx(reference.optim.clip_grad_norm(want, bound, norm_type))
        for ours, theirs in zip(got, want):
            assert_close(ours, theirs)


def test_clipped_values_are_the_oracles(rng):
    got = [hostile.with_nonfinite(hostile.normal(rng, (17, 13), "float32"), rng)]
    want = [got[0].copy()]
    optim.clip_grad_value(got, 0.3)
    reference.optim.clip_grad_value(want, np.float32(0.3))
    assert_exact(got[0], want[0])
    half = np.ones(3, "float16")
    optim.clip_grad_value([half], 1e9)
    assert half.all()


def test_norms_of_huge_and_tiny_gradients_do_not_overflow():
    for dtype, size in (("float32", 3e38), ("float64", 1e300), ("float64", 1e-300)):
        g = np.full(16, size, dtype)
        assert optim.clip_grad_norm([g], 1.0) == pytest.approx(4 * float(g.dtype.type(size)), 1e-6)
        if size > 1:
            assert_close(g, np.full(16, 0.25))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_norm_that_is_not_finite_is_returned(value):
    first, second = np.ones(2), np.array([1.0, value])
    norm = optim.clip_grad_norm([first, second], 1.0)
    np.testing.assert_equal(norm, value)
    assert (first == 0).all() if value == np.inf else np.isnan(first).all()


def test_no_gradients_have_norm_0():
    assert optim.clip_grad_norm([], 1.0) == 0
    assert optim.clip_grad_norm([np.zeros((0, 3))], 1.0) == 0


# --- house --------------------------------------------------------------------------------------

NAMES = ["sgd", "momentum", "rmsprop", "adam", "adamw", "clip_grad_value", "clip_grad_norm"]


@pytest.mark.parametrize("name", NAMES)
def test_oracles_have_the_same_parameters(name):
    ours, theirs = (inspect.signature(getattr(m, name)) for m in (optim, reference.optim))
    assert ours == theirs


ONE, HALF, INTEGER = np.zeros(1), np.zeros(1, "float16"), np.zeros(1, int)
ADAM = dict(
    params=[np.zeros(3)], grads=[np.ones(3)], exp_avgs=[np.zeros(3)], exp_avg_sqs=[np.zeros(3)]
)


@pytest.mark.parametrize(
    ("arguments", "error", "names"),
    [
        (dict(params=np.zeros((1, 3))), TypeError, "params is a ndarray"),
        (dict(params=[[0.0, 0.0, 0.0]]), TypeError, r"params\[0\] is a list"),
        (dict(params=[np.zeros(3, int)]), TypeError, r"params\[0\] has dtype int64"),
        (dict(params=[hostile.read_only(np.zeros(3))]), ValueError, r"params\[0\] is read-only"),
        (dict(params=[]), ValueError, "grads has 1 arrays; it must have 0"),
        (dict(grads=[np.ones(4)]), ValueError, r"grads\[0\] has shape"),
        (dict(grads=[np.ones(3, "f4")]), TypeError, r"grads\[0\] has dtype float32"),
        (dict(exp_avgs=[np.zeros((3, 1))]), ValueError, r"exp_avgs\[0\] has shape"),
        (dict(exp_avgs=ADAM["params"]), ValueError, r"exp_avgs\[0\] overlaps params\[0\]"),
        (dict(exp_avg_sqs=ADAM["grads"]), ValueError, r"exp_avg_sqs\[0\] overlaps grads\[0\]"),
        (dict(step=0), ValueError, "step is 0"),
        (dict(step=1.0), TypeError, "step is 1.0"),
        (dict(lr=-1e-3), ValueError, "lr is -0.001"),
        (dict(lr=np.nan), ValueError, "lr is nan"),
        (dict(betas=0.9), ValueError, "betas is 0.9"),
        (dict(betas=(0.9, 1.0)), ValueError, "betas is 1.0"),
        (dict(betas=(-0.1, 0.9)), ValueError, "betas is -0.1"),
        (dict(eps=-1e-8), ValueError, "eps is -1e-08"),
        (dict(eps_inside_sqrt=1), TypeError, "eps_inside_sqrt is 1"),
        (dict(weight_decay=-1), ValueError, "weight_decay is -1"),
    ],
)
def test_bad_input_is_named_and_nothing_written(arguments, error, names):
    for name in ("adam", "adamw"):
        with pytest.raises(error, match=names):
            getattr(optim, name)(**{**ADAM, "step": 1, **arguments})
    for name, arrays in ADAM.items():
        assert (arrays[0] == (name == "grads")).all()


@pytest.mark.parametrize(
    ("call", "error", "names"),
    [
        (lambda w: optim.sgd([w, w], [ONE, ONE], 0.1), ValueError, r"params\[1\] stands"),
        (lambda w: optim.sgd([w, INTEGER], [ONE, ONE], 0.1), TypeError, r"params\[1\] has dtype"),
        (lambda w: optim.sgd([w], [HALF], 0.1), TypeError, r"grads\[0\] has dtype float16"),
        (lambda w: optim.sgd([w], [ONE], 0.1, l2=-1), ValueError, "l2 is -1"),
        (lambda w: optim.momentum([w], [ONE], [ONE], 0.1), ValueError, "overlaps"),
        (lambda w: optim.momentum([w], [ONE], [w + 0], 0.1, 1.5), ValueError, "momentum is 1.5"),
        (lambda w: optim.momentum([w], [ONE], [w + 0], 0.1, average=1), TypeError, "average is 1"),
        (lambda w: optim.momentum([w], [ONE], [w + 0], 0.1, nesterov=1), TypeError, "nesterov is"),
        (lambda w: optim.rmsprop([w], [ONE], [w + 0], alpha=1.0), ValueError, "alpha is 1.0"),
        (lambda w: optim.clip_grad_value([w], -1.0), ValueError, "clip_value is -1.0"),
        (lambda w: optim.clip_grad_value([w, w], 1.0), ValueError, r"grads\[1\] stands"),
        (lambda w: optim.clip_grad_value([hostile.read_only(w)], 1.0), ValueError, "read-only"),
        (lambda w: optim.clip_grad_norm([w], "1"), TypeError, "max_norm is '1'"),
        (lambda w: optim.clip_grad_norm([w], 1.0, 0), ValueError, "norm_type is 0"),
        (lambda w: optim.clip_grad_norm(w, 1.0), TypeError, "grads is a ndarray"),
    ],
)
def test_bad_input_of_the_others_is_named_too(call, error, names):
    w = np.full(1, 7.0)
    with pytest.raises(error, match=names):
        call(w)
    assert w == 7
