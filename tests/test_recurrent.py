"""Recurrent cells and sequences: the oracles, gradients by differences, and what is refused."""

import inspect

import numpy as np
import pytest

import voxkern
from voxkern import _dispatch, _product, recurrent, reference

import hostile
from accuracy import assert_close, assert_exact

GATES = {"rnn": 1, "lstm": 4, "gru": 3}
# A kind and its option.
KINDS = [
    ("rnn", {}),
    ("rnn", {"nonlinearity": "relu"}),
    ("lstm", {}),
    ("lstm", {"tanh_output": False}),
    ("gru", {}),
]
every_kind = pytest.mark.parametrize(("kind", "option"), KINDS, ids=str)
N, N_IN, FEATURES, STEPS = 3, 5, 7, 4


def weights_of(rng, kind, dtype, n_in=N_IN, biases=True):
    rows = GATES[kind] * FEATURES
    shapes = [(rows, n_in), (rows, FEATURES), (rows,), (rows,)][: 4 if biases else 2]
    return [hostile.normal(rng, s, dtype) / 2 for s in shapes]


def layers_of(rng, kind, dtype, layers, directions, biases=True):
    wide = [N_IN] * directions + [directions * FEATURES] * (layers - 1) * directions
    return [tuple(weights_of(rng, kind, dtype, n, biases)) for n in wide]


def states(rng, kind, shape, dtype):
    made = hostile.normal(rng, (2, *shape), dtype)
    return tuple(made) if kind == "lstm" else made[0]


def tree(function, value):
    """`function` of every array of nested tuples and lists; None stays."""
    if isinstance(value, tuple | list):
        return type(value)(tree(function, v) for v in value)
    return None if value is None else function(value)


def leaves(value):
    if isinstance(value, tuple | list):
        return [leaf for v in value for leaf in leaves(v)]
    return [] if value is None else [value]


def double(value):
    return tree(lambda a: np.asarray(a, "f8"), value)


def close(got, want, length=64):
    got, want = leaves(got), leaves(want)
    assert len(got) == len(want)
    for one, other in zip(got, want):
        assert_close(one, other, length=length, scale=2)


def total(results, grads):
    return sum((r * g).sum() for r, g in zip(leaves(results), leaves(grads)))


def check_differences(call, gradients, given, grads, rng):
    """The gradients to every array of `given` beside differences along one direction each."""
    flat = leaves(given)
    for i, (array, gradient) in enumerate(zip(flat, leaves(gradients), strict=True)):
        assert gradient.shape == array.shape
        step, before, values = hostile.normal(rng, array.shape), array.copy(), []
        for sign in (1, -1):
            array[...] = before + sign * 2e-6 * step
            values.append(total(call(), grads))
        array[...] = before
        want = (values[0] - values[1]) / 4e-6
        assert (gradient * step).sum() == pytest.approx(want, rel=1e-6, abs=1e-7), i


# --- cells --------------------------------------------------------------------------------------


@every_kind
@pytest.mark.parametrize("batch", [(N,), (1,), (0,), ()], ids=str)
@pytest.mark.parametrize("biases", [True, False])
@pytest.mark.parametrize("dtype", hostile.FLOATS)
def test_cells_equal_the_oracles(rng, kind, option, batch, biases, dtype):
    x, hx = hostile.normal(rng, (*batch, N_IN), dtype), states(rng, kind, (*batch, FEATURES), dtype)
    weights = weights_of(rng, kind, dtype, biases=biases)
    got = getattr(recurrent, f"{kind}_cell")(x, hx, *weights, **option)
    want = getattr(reference.recurrent, f"{kind}_cell")(*double([x, hx, *weights]), **option)
    assert {a.dtype for a in leaves(got)} == {np.dtype(dtype)}
    close(got, want)


@every_kind
@pytest.mark.parametrize("batch", [(N,), ()], ids=str)
@pytest.mark.parametrize("biases", [True, False])
def test_gradients_of_cells_are_differences(rng, kind, option, batch, biases):
    x, hx = (
        hostile.normal(rng, (*batch, N_IN)),
        states(rng, kind, (*batch, FEATURES), "f8"),
    )
    weights = weights_of(rng, kind, "f8", biases=biases)
    grads = states(rng, kind, (*batch, FEATURES), "f8")
    got = getattr(recurrent, f"{kind}_cell_backward")(grads, x, hx, *weights, **option)
    assert isinstance(got[1], tuple) == (kind == "lstm")
    assert len(got[2]) == 4

    def call():
        return getattr(recurrent, f"{kind}_cell")(x, hx, *weights, **option)

    check_differences(call, got, [x, hx, weights], grads, rng)


def test_the_cell_of_the_tum_exam(rng):
    # TUM I2DL 2020/21: no biases, and h = o * c.
    x, h, c = (hostile.normal(rng, (N, n)) for n in (N_IN, FEATURES, FEATURES))
    w_ih, w_hh = weights_of(rng, "lstm", "f8", biases=False)
    i, f, g, o = np.split(x @ w_ih.T + h @ w_hh.T, 4, axis=1)
    i, f, o = (1 / (1 + np.exp(-gate)) for gate in (i, f, o))
    want = f * c + i * np.tanh(g)
    got = recurrent.lstm_cell(x, (h, c), w_ih, w_hh, tanh_output=False)
    close(got, (o * want, want))


@every_kind
def test_no_state_is_zeros(rng, kind, option):
    x, weights = hostile.normal(rng, (N, N_IN)), weights_of(rng, kind, "f8")
    cell = getattr(recurrent, f"{kind}_cell")
    zeros = tree(np.zeros_like, states(rng, kind, (N, FEATURES), "f8"))
    for got, want in zip(leaves(cell(x, None, *weights)), leaves(cell(x, zeros, *weights))):
        assert_exact(got, want)


@every_kind
def test_huge_sums_saturate(kind, option):
    x = np.full((1, N_IN), 1e4, "float32")
    for sign in (1, -1):
        weights = [np.full(w.shape, sign, "f4") for w in weights_of(np.random, kind, "f4")]
        got = getattr(recurrent, f"{kind}_cell")(x, None, *weights, **option)
        want = getattr(reference.recurrent, f"{kind}_cell")(
            *double([x, tree(np.zeros_like, states(np.random, kind, (1, FEATURES), "f4"))]),
            *double(weights),
            **option,
        )
        close(got, want)


@every_kind
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_strange_values_stay_in_their_row(rng, kind, option, value):
    x, weights = hostile.normal(rng, (N, N_IN)), weights_of(rng, kind, "f8")
    cell = getattr(recurrent, f"{kind}_cell")
    want = leaves(cell(x, None, *weights, **option))
    x[1, 2] = value
    for got, other in zip(leaves(cell(x, None, *weights, **option)), want):
        assert_exact(got[::2], other[::2])
        assert np.isnan(got[1]).any() or value == np.inf


# --- sequences ----------------------------------------------------------------------------------

SETTINGS = [
    dict(layers=1, bidirectional=False, batch_first=False),
    dict(layers=2, bidirectional=True, batch_first=False),
    dict(layers=3, bidirectional=False, batch_first=True),
    dict(layers=2, bidirectional=True, batch_first=True),
]
every_setting = pytest.mark.parametrize("setting", SETTINGS, ids=str)


def sequence(rng, kind, setting, dtype="float64", batch=N, biases=True):
    """x, hx, weights, and the options of the call."""
    directions = 1 + setting["bidirectional"]
    shape = (batch, STEPS, N_IN) if setting["batch_first"] else (STEPS, batch, N_IN)
    rows = setting["layers"] * directions
    x = hostile.normal(rng, shape, dtype)
    hx = states(rng, kind, (rows, batch, FEATURES), dtype)
    weights = layers_of(rng, kind, dtype, setting["layers"], directions, biases)
    return x, hx, weights, {k: setting[k] for k in ("bidirectional", "batch_first")}


@every_kind
@every_setting
@pytest.mark.parametrize("dtype", hostile.FLOATS)
def test_sequences_equal_the_oracles(rng, kind, option, setting, dtype):
    x, hx, weights, options = sequence(rng, kind, setting, dtype)
    got = getattr(recurrent, kind)(x, hx, weights, **option, **options)
    want = getattr(reference.recurrent, kind)(*double([x, hx, weights]), **option, **options)
    assert {a.dtype for a in leaves(got)} == {np.dtype(dtype)}
    if dtype == "float16":
        for one, other in zip(leaves(got), leaves(want)):
            np.testing.assert_allclose(one.astype("f8"), other, rtol=4e-3, atol=4e-3)
    else:
        close(got, want, length=4000)


@every_kind
@every_setting
def test_gradients_of_sequences_are_differences(rng, kind, option, setting):
    x, hx, weights, options = sequence(rng, kind, setting, biases=setting["layers"] != 3)
    forward = getattr(recurrent, kind)
    output, last = forward(x, hx, weights, **option, **options)
    grads = hostile.normal(rng, output.shape), tree(lambda a: hostile.normal(rng, a.shape), last)
    backward = getattr(recurrent, f"{kind}_backward")
    got = backward(*grads, x, hx, weights, **option, **options)
    assert [len(w) for w in got[2]] == [len(w) for w in weights]

    def call():
        return forward(x, hx, weights, **option, **options)

    check_differences(call, got, [x, hx, weights], grads, rng)


@pytest.mark.parametrize("kind", GATES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("batch", "part"), [(67, 1 << 22), (67, 40_000), (13, 1 << 22)])
def test_large_products_are_convolutions_with_the_same_result(
    rng, monkeypatch, kind, dtype, batch, part
):
    features, steps, n_in = 127, 11, 131
    rows = GATES[kind] * features
    x = hostile.normal(rng, (steps, batch, n_in), dtype)
    hx = states(rng, kind, (2, batch, features), dtype)
    shapes = [(rows, n_in), (rows, features), (rows,), (rows,)]
    weights = [tuple(hostile.normal(rng, s, dtype) / 8 for s in shapes) for _ in range(2)]
    monkeypatch.setattr(_product, "PART_BYTES", part)
    monkeypatch.setattr(_product, "LARGE", 1)
    plans = _product.Product(weights[0][1], None, steps, batch).plans
    assert bool(plans) == (_dispatch.cpu_level == "v4")
    results = []
    for large in (1, 1 << 60):
        monkeypatch.setattr(_product, "LARGE", large)
        output = getattr(recurrent, kind)(x, hx, weights, bidirectional=True)
        backward = getattr(recurrent, f"{kind}_backward")
        results.append((output, backward(*output, x, hx, weights, bidirectional=True)))
    want = getattr(reference.recurrent, kind)(*double([x, hx, weights]), bidirectional=True)
    close(results[0][0], want, length=4000)
    unit = 1000 * np.finfo(dtype).eps
    for one, other in zip(*map(leaves, results)):
        np.testing.assert_allclose(one, other, rtol=unit, atol=unit * abs(other).max())


@every_kind
@every_setting
@pytest.mark.parametrize("p", [0.4, 1.0])
def test_dropout_between_layers(rng, kind, option, setting, p):
    x, hx, weights, options = sequence(rng, kind, setting)
    options |= dict(dropout=p, **option)
    forward, backward = getattr(recurrent, kind), getattr(recurrent, f"{kind}_backward")
    output, last, masks = forward(x, hx, weights, **options, rng=5, return_masks=True)
    oracle = getattr(reference.recurrent, kind)
    want = oracle(*double([x, hx, weights]), **options, rng=5, return_masks=True)
    close((output, last), want[:2], length=4000)
    assert len(masks) == setting["layers"] - 1
    for mask, other in zip(masks, want[2], strict=True):
        assert_exact(mask, other)
    again = forward(x, hx, weights, **options, rng=np.random.default_rng(5))
    for one, other in zip(leaves(again), leaves((output, last)), strict=True):
        assert_exact(one, other)

    def call():
        return forward(x, hx, weights, **options, rng=5)

    grads = hostile.normal(rng, output.shape), tree(lambda a: hostile.normal(rng, a.shape), last)
    got = backward(*grads, x, hx, weights, **options, masks=masks)
    check_differences(call, got, [x, hx, weights], grads, rng)


@every_kind
def test_a_missing_gradient_is_zeros(rng, kind, option):
    x, hx, weights, options = sequence(rng, kind, SETTINGS[1])
    output, last = getattr(recurrent, kind)(x, hx, weights, **options)
    backward = getattr(recurrent, f"{kind}_backward")
    grad, zeros = hostile.normal(rng, output.shape), tree(np.zeros_like, last)
    for given, missing in (((grad, zeros), (grad, None)), ((grad * 0, last), (None, last))):
        want = leaves(backward(*given, x, hx, weights, **options))
        for ours, theirs in zip(leaves(backward(*missing, x, hx, weights, **options)), want):
            assert_exact(ours, theirs)


@every_kind
def test_a_sequence_without_a_batch_is_a_batch_of_one(rng, kind, option):
    x, hx, weights, options = sequence(rng, kind, SETTINGS[1], batch=1)
    alone = x[:, 0], tree(lambda a: a[:, 0], hx)
    output, last = getattr(recurrent, kind)(x, hx, weights, **options)
    got = getattr(recurrent, kind)(*alone, weights, **options)
    assert_exact(got[0], output[:, 0])
    for ours, theirs in zip(leaves(got[1]), leaves(last)):
        assert_exact(ours, theirs[:, 0])
    backward = getattr(recurrent, f"{kind}_backward")
    want = backward(output, last, x, hx, weights, **options)
    got = backward(*got, *alone, weights, **options)
    assert_exact(got[0], want[0][:, 0])
    for ours, theirs in zip(leaves(got[1]), leaves(want[1])):
        assert_exact(ours, theirs[:, 0])


@every_kind
def test_empty_batches(rng, kind, option):
    x, hx, weights, options = sequence(rng, kind, SETTINGS[3], batch=0)
    output, last = getattr(recurrent, kind)(x, hx, weights, **options)
    assert output.shape == (0, STEPS, 2 * FEATURES)
    got = getattr(recurrent, f"{kind}_backward")(output, last, x, hx, weights, **options)
    assert got[0].shape == x.shape
    assert not any(w.any() for w in leaves(got[2]))


@pytest.mark.parametrize("layout", hostile.LAYOUTS)
def test_layout_does_not_matter(rng, layout):
    x, hx, weights, options = sequence(rng, "lstm", SETTINGS[1])
    given = tree(layout, [x, hx, weights])
    want = recurrent.lstm(x, hx, weights, **options)
    for ours, theirs in zip(leaves(recurrent.lstm(*given, **options)), leaves(want)):
        assert_exact(ours, theirs)
    gradients = recurrent.lstm_backward(*want, x, hx, weights, **options)
    got = recurrent.lstm_backward(*tree(layout, want), *given, **options)
    for ours, theirs in zip(leaves(got), leaves(gradients)):
        assert_exact(ours, theirs)


# --- house --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*GATES, *(f"{kind}_cell" for kind in GATES)])
def test_oracles_have_the_same_parameters(name):
    ours, theirs = (inspect.signature(getattr(m, name)) for m in (recurrent, reference.recurrent))
    assert list(ours.parameters) == list(theirs.parameters)


X, H = np.zeros((2, 3)), np.zeros((2, 5))
CELL = dict(x=X, hx=(H, H), w_ih=np.zeros((20, 3)), w_hh=np.zeros((20, 5)))


@pytest.mark.parametrize(
    ("arguments", "error", "names"),
    [
        (dict(x=np.zeros((2, 2, 3))), ValueError, "x has shape"),
        (dict(x=np.zeros(())), ValueError, "x has shape"),
        (dict(x=X.astype(int)), TypeError, "x has dtype int64"),
        (dict(x=np.zeros((2, 4))), ValueError, "w_ih has shape"),
        (dict(hx=H), ValueError, "hx must be two arrays"),
        (dict(hx=(H, H, H)), ValueError, "hx must be two arrays"),
        (dict(hx=(H[:1], H)), ValueError, r"hx\[0\] has shape"),
        (dict(hx=(H, H.astype("f4"))), TypeError, r"hx\[1\] has dtype float32"),
        (dict(w_ih=np.zeros((15, 3))), ValueError, "w_ih has shape"),
        (dict(w_hh=np.zeros(20)), ValueError, "w_hh has shape"),
        (dict(w_hh=np.zeros((20, 0))), ValueError, "w_hh has shape"),
        (dict(w_hh=None), TypeError, "w_hh has dtype object"),
        (dict(b_ih=np.zeros(5)), ValueError, "b_ih has shape"),
        (dict(b_hh=np.zeros(20, "f4")), TypeError, "b_hh has dtype float32"),
        (dict(tanh_output=1), TypeError, "tanh_output is 1"),
    ],
)
def test_bad_input_of_a_cell_is_named(arguments, error, names):
    with pytest.raises(error, match=names):
        recurrent.lstm_cell(**{**CELL, **arguments})
    with pytest.raises(error, match=names):
        recurrent.lstm_cell_backward((H, None), **{**CELL, **arguments})


def test_other_bad_input_of_cells_is_named():
    with pytest.raises(ValueError, match=r"grads\[0\] has shape"):
        recurrent.lstm_cell_backward((X, None), **CELL)
    with pytest.raises(ValueError, match="grads must be two"):
        recurrent.lstm_cell_backward(H[:1], **CELL)
    with pytest.raises(ValueError, match="nonlinearity is 'sigmoid'"):
        recurrent.rnn_cell(X, H, np.zeros((5, 3)), np.zeros((5, 5)), nonlinearity="sigmoid")


SEQUENCE = np.zeros((4, 2, 3))
WEIGHTS = [(np.zeros((15, 3)), np.zeros((15, 5))), (np.zeros((15, 5)), np.zeros((15, 5)))]


@pytest.mark.parametrize(
    ("arguments", "error", "names"),
    [
        (dict(x=np.zeros(3)), ValueError, "x has shape"),
        (dict(x=np.zeros((0, 2, 3))), ValueError, "x has shape"),
        (dict(x=np.zeros((2, 0, 3)), batch_first=True), ValueError, "x has shape"),
        (dict(weights=[]), ValueError, "weights must be"),
        (dict(weights=np.zeros((2, 15, 3))), ValueError, "weights must be"),
        (dict(weights=WEIGHTS[:1], bidirectional=True), ValueError, "2 for each layer"),
        (dict(weights=[WEIGHTS[0][:1]]), ValueError, r"weights\[0\] must be"),
        (dict(weights=WEIGHTS[::-1]), ValueError, r"weights\[0\]\[0\] has shape"),
        (dict(weights=[WEIGHTS[0]] * 2), ValueError, r"weights\[1\]\[0\] has shape"),
        (dict(hx=np.zeros((2, 5))), ValueError, "hx has shape"),
        (dict(hx=np.zeros((1, 2, 5))), ValueError, "hx has shape"),
        (dict(hx=np.zeros((2, 2, 5), "f4")), TypeError, "hx has dtype float32"),
        (dict(bidirectional=1), TypeError, "bidirectional is 1"),
        (dict(batch_first=1), TypeError, "batch_first is 1"),
    ],
)
def test_bad_input_of_a_sequence_is_named(arguments, error, names):
    call = {"x": SEQUENCE, "hx": None, "weights": WEIGHTS, **arguments}
    with pytest.raises(error, match=names):
        recurrent.gru(**call)
    with pytest.raises(error, match=names):
        recurrent.gru_backward(None, None, **call)


@pytest.mark.parametrize(
    ("arguments", "error", "names"),
    [
        (dict(dropout=1.5), ValueError, "dropout is 1.5"),
        (dict(dropout="half"), TypeError, "dropout is 'half'"),
        (dict(rng="seed"), TypeError, "rng is 'seed'"),
        (dict(return_masks=1), TypeError, "return_masks is 1"),
    ],
)
def test_bad_dropout_is_named(arguments, error, names):
    with pytest.raises(error, match=names):
        recurrent.gru(SEQUENCE, None, WEIGHTS, **arguments)


@pytest.mark.parametrize(
    ("arguments", "error", "names"),
    [
        (dict(dropout=1.5), ValueError, "dropout is 1.5"),
        (dict(dropout=0.5), ValueError, "masks has none for layer 0"),
        (dict(dropout=0.5, masks=[]), ValueError, "masks has none for layer 0"),
        (dict(dropout=0.5, masks=np.ones(2)), TypeError, "masks is a ndarray"),
        (dict(dropout=0.5, masks=[np.ones((4, 2, 5), bool)]), ValueError, r"masks\[0\] has shape"),
        (dict(dropout=0.5, masks=[np.ones((4, 5, 2))]), TypeError, r"masks\[0\] has dtype"),
    ],
)
def test_bad_masks_are_named(arguments, error, names):
    with pytest.raises(error, match=names):
        recurrent.gru_backward(None, None, SEQUENCE, None, WEIGHTS, **arguments)


def test_bad_gradients_of_a_sequence_are_named():
    with pytest.raises(ValueError, match="grad has shape"):
        recurrent.gru_backward(SEQUENCE, None, SEQUENCE, None, WEIGHTS)
    with pytest.raises(ValueError, match="grad_hx has shape"):
        recurrent.gru_backward(None, H, SEQUENCE, None, WEIGHTS)
    assert voxkern.recurrent is recurrent
