"""losses: formulas, gradients, extremes, bad input."""

import os

import numpy as np
import pytest

import voxkern
from voxkern import losses, reference

import hostile
from accuracy import assert_close, assert_exact

OPERATION = "losses"
oracle = reference.losses
every_reduction = pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
every_dtype = pytest.mark.parametrize("dtype", hostile.FLOATS)


def wide(value):
    """Floats in float64; anything else as it is."""
    floats = isinstance(value, np.ndarray) and value.dtype.kind == "f"
    return value.astype("f8") if floats else value


def check(name, x, *rest, scale=4, **options):
    """A loss and its gradient against the oracle, and against finite differences in float64."""
    given = [wide(a) for a in (x, *rest)]
    kept = {k: wide(v) for k, v in options.items()}
    got, want = (f(*a, **o) for f, a, o in both(name, (x, *rest), given, options, kept))
    assert got.dtype == x.dtype
    assert_close(got, want, length=x.size, scale=scale)
    grad = np.ones_like(got) if got.ndim == 0 else np.linspace(-1, 1, got.size).reshape(got.shape)
    grad = grad.astype("f8")
    back = f"{name}_backward"
    got, want = (f(grad, *a, **o) for f, a, o in both(back, (x, *rest), given, options, kept))
    assert got.dtype == x.dtype
    assert_close(got, want, length=64, scale=scale)
    for place in range(0, x.size, 1 + x.size // 30):
        step = np.zeros(x.size)
        step[place] = 1e-6
        step = step.reshape(x.shape)
        plus, minus = (
            getattr(losses, name)(given[0] + s, *given[1:], **kept) for s in (step, -step)
        )
        slope = (grad * (plus - minus)).sum() / 2e-6
        assert slope == pytest.approx(want.flat[place], rel=1e-4, abs=1e-7)


def both(name, ours, theirs, options, kept):
    return (getattr(losses, name), ours, options), (getattr(oracle, name), theirs, kept)


@every_reduction
@every_dtype
@pytest.mark.parametrize("weighted", [False, True])
def test_binary_cross_entropy(rng, reduction, dtype, weighted):
    x, target = rng.uniform(0.02, 0.98, (2, 5, 7)).astype(dtype)
    weight = rng.uniform(0, 2, 7).astype(dtype) if weighted else None
    check("binary_cross_entropy", x, target, weight, reduction, scale=50)


@every_reduction
@every_dtype
@pytest.mark.parametrize("weighted", [False, True])
def test_binary_cross_entropy_with_logits(backend, rng, reduction, dtype, weighted):
    x, target = hostile.normal(rng, (5, 7), dtype), rng.integers(0, 2, (5, 7))
    weight, positive = rng.uniform(0, 2, (2, 7)).astype(dtype) if weighted else (None, None)
    name = "binary_cross_entropy_with_logits"
    check(name, x, target, weight, reduction, pos_weight=positive)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_logistic_losses_in_units_of_rounding(backend, dtype):
    x = np.r_[np.linspace(-80, 80, 20001), np.logspace(-30, 1, 2001)].astype(dtype)
    exact = x.astype(np.longdouble)
    for label in (0, 0.25, 1):
        got = losses.binary_cross_entropy_with_logits(x, np.full(x.shape, label), reduction="none")
        want = (1 - label) * np.logaddexp(0, exact) + label * np.logaddexp(0, -exact)
        np.testing.assert_allclose(got, want.astype("f8"), rtol=6 * np.finfo(dtype).eps)


@every_reduction
@every_dtype
def test_multilabel_soft_margin_loss(rng, reduction, dtype):
    x, target = hostile.normal(rng, (5, 7), dtype), rng.integers(0, 2, (5, 7))
    for weight in (None, rng.uniform(0, 2, 7).astype(dtype)):
        check("multilabel_soft_margin_loss", x, target, weight, reduction)


@every_reduction
@every_dtype
def test_mse_loss(rng, reduction, dtype):
    x, target = hostile.normal(rng, (2, 5, 7), dtype)
    check("mse_loss", x, target, reduction)


def labels(rng, shape, kind):
    """Classes with some ignored, one-hot labels or soft ones for logits of a shape."""
    classes, axis = shape[min(1, len(shape) - 1)], min(1, len(shape) - 1)
    rows = shape[:axis] + shape[axis + 1 :]
    index = rng.integers(0, classes, rows)
    if kind == "classes":
        return index
    if kind == "ignored":
        ignored = rng.random(rows) < 0.3
        return np.where(np.arange(index.size).reshape(rows) == 0, 0, np.where(ignored, 1, index))
    if kind == "one-hot":
        return np.moveaxis(np.eye(classes, dtype="u1")[index], -1, axis)
    return (
        rng.dirichlet(np.ones(classes), rows).swapaxes(-1, axis).reshape(shape)
        if rows
        else (rng.dirichlet(np.ones(classes)))
    )


@every_reduction
@every_dtype
@pytest.mark.parametrize("shape", [(7, 5), (5,), (3, 5, 7), (2, 3, 11, 5), (3, 2087)], ids=str)
@pytest.mark.parametrize("kind", ["classes", "ignored", "one-hot", "soft"])
@pytest.mark.parametrize(("weighted", "smoothing"), [(False, 0.0), (True, 0.0), (True, 0.3)])
def test_cross_entropy(backend, rng, reduction, dtype, shape, kind, weighted, smoothing):
    x = (2 * hostile.normal(rng, shape)).astype(dtype)
    target = labels(rng, shape, kind)
    classes = shape[min(1, len(shape) - 1)]
    weight = rng.uniform(0.1, 2, classes).astype(dtype) if weighted else None
    ignore = 1 if kind == "ignored" else -100
    check("cross_entropy", x, target, weight, ignore, reduction, smoothing, scale=16)
    if reduction != "none":
        rest = target, weight, ignore, reduction, smoothing
        loss, grad = losses.cross_entropy_and_gradient(x, *rest)
        assert_exact(loss, losses.cross_entropy(x, *rest))
        assert_exact(grad, losses.cross_entropy_backward(1.0, x, *rest))


def test_soft_labels_of_float16_are_not_rounded_again(rng):
    x, target = hostile.normal(rng, (7, 300), "f2"), labels(rng, (7, 300), "soft").astype("f2")
    got = losses.cross_entropy(x, target, reduction="none", label_smoothing=0.1)
    want = oracle.cross_entropy(wide(x), wide(target), reduction="none", label_smoothing=0.1)
    assert_close(got, want)


@every_reduction
@every_dtype
@pytest.mark.parametrize("shape", [(7, 5), (5,), (2, 3, 11, 5)], ids=str)
@pytest.mark.parametrize("kind", ["classes", "ignored"])
def test_nll_loss(rng, reduction, dtype, shape, kind):
    x = np.log(rng.uniform(0.1, 1, shape)).astype(dtype)
    weight = rng.uniform(0.1, 2, shape[min(1, len(shape) - 1)]).astype(dtype)
    ignore = 1 if kind == "ignored" else -100
    for factors in (None, weight):
        check("nll_loss", x, labels(rng, shape, kind), factors, ignore, reduction)


@every_dtype
def test_penalties(rng, dtype):
    weights = hostile.normal(rng, (5, 7), dtype)
    for name in ("l1_penalty", "l2_penalty"):
        got = getattr(losses, name)(weights, 0.3)
        assert got.dtype == weights.dtype
        assert_close(got, getattr(oracle, name)(wide(weights), 0.3), length=35)
        back = getattr(losses, f"{name}_backward")
        assert_close(back(weights, 0.3), getattr(oracle, f"{name}_backward")(wide(weights), 0.3))
        assert back(weights, 0.3, out=(out := np.ones_like(weights))) is out
    assert losses.l1_penalty_backward(np.zeros(3), 1.0).tolist() == [0, 0, 0]


@pytest.mark.parametrize("count", [1, 31, 8192, 8193, 100_003])
def test_sums_are_rounded_once(backend, rng, count):
    x, target = rng.random((2, count), np.float32)
    exact, error = x.astype("f8"), (x - target).astype("f8")
    assert_exact(losses.l1_penalty(x, 1), np.float32(exact.sum()))
    assert_exact(losses.l2_penalty(x, 1), np.float32((exact**2).sum()))
    assert_exact(losses.mse_loss(x, target, "sum"), np.float32((error**2).sum()))
    assert losses.l2_penalty(x.astype("f8"), 1) == pytest.approx((exact**2).sum(), rel=1e-14)
    signs = np.where(np.arange(count) % 2, 1, -1).astype("f4")
    assert losses.binary_cross_entropy(x[:1].reshape(()), 1.0) == -np.log(x[0])
    assert_exact(losses.l1_penalty(x * signs, 1), losses.l1_penalty(x, 1))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_penalties_and_squares_of_what_is_not_finite(backend, rng, value):
    x = hostile.normal(rng, 9001)
    x[4567] = value
    for got in (
        losses.l1_penalty(x, 1),
        losses.l2_penalty(x, 1),
        losses.mse_loss(x, np.zeros_like(x)),
    ):
        np.testing.assert_equal(got, value)


def test_the_loss_of_probabilities_is_finite_at_0_and_1():
    x, target = np.array([0.0, 1.0, 0.0, 1.0]), np.array([0, 1, 1, 0])
    got = losses.binary_cross_entropy(x, target, reduction="none")
    assert got.tolist() == [0, 0, 100, 100]
    assert np.isfinite(losses.binary_cross_entropy_backward(1.0, x, target)).all()


@every_dtype
def test_large_logits(backend, dtype):
    x = np.array([[1e4, -1e4, 0], [-1e4, -1e4, -1e4], [6e4, 6e4, -6e4]]).astype(dtype)
    want = [0.0, np.log(3), np.log(2)]
    assert_close(losses.cross_entropy(x, [0, 2, 1], reduction="none"), want)
    assert_close(losses.cross_entropy(x[:1], [1], reduction="none"), [2e4])
    logistic = losses.binary_cross_entropy_with_logits
    assert_close(logistic(x[0], [1, 0, 1], reduction="none"), [0, 0, np.log(2)])
    assert_close(logistic(x[0], [0, 1, 0], reduction="none"), [1e4, 1e4, np.log(2)])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_nan_and_inf_stay_in_their_row(backend, rng, value):
    x, target = hostile.normal(rng, (5, 67)), rng.integers(0, 5, 5)
    want = losses.cross_entropy_and_gradient(x, target, reduction="sum")[1]
    x[2, 31] = value
    got = losses.cross_entropy_and_gradient(x, target, reduction="sum")[1]
    assert_exact(np.delete(got, 2, 0), np.delete(want, 2, 0))
    assert np.isnan(got[2]).all() == (value != -np.inf)
    only = losses.cross_entropy(x, target, reduction="none")
    assert np.isfinite(np.delete(only, 2)).all()


def test_nothing_to_average(backend):
    x = np.ones((3, 4))
    assert np.isnan(losses.cross_entropy(x, [-100] * 3))
    assert losses.cross_entropy(x, [-100] * 3, reduction="sum") == 0
    assert not losses.cross_entropy_backward(1.0, x, [-100] * 3).any()
    none = np.zeros(0, int)
    assert np.isnan(losses.cross_entropy(x[:0], none))
    assert losses.cross_entropy_backward(1.0, x[:0], none).shape == (0, 4)
    assert losses.cross_entropy(x[:0], none, reduction="none").shape == (0,)
    assert np.isnan(losses.nll_loss(x[:0], none))
    assert losses.nll_loss_backward(1.0, x[:0], none).shape == (0, 4)
    assert np.isnan(losses.mse_loss(x[:0], x[:0]))
    assert losses.mse_loss_backward(1.0, x[:0], x[:0]).shape == (0, 4)
    assert np.isnan(losses.binary_cross_entropy(x[:0], x[:0]))
    assert np.isnan(losses.multilabel_soft_margin_loss(x[:0], x[:0]))
    assert losses.multilabel_soft_margin_loss_backward(1.0, x[:0], x[:0]).shape == (0, 4)


@pytest.mark.parametrize("layout", hostile.LAYOUTS)
def test_layout_does_not_matter(backend, rng, layout):
    x, target = hostile.normal(rng, (3, 5, 7), "float32"), labels(rng, (3, 5, 7), "classes")
    soft = labels(rng, (3, 5, 7), "soft")
    weight = rng.uniform(0, 1, 5).astype("f4")
    for aim in (target, soft):
        for got, want in zip(
            losses.cross_entropy_and_gradient(layout(x), layout(aim), layout(weight)),
            losses.cross_entropy_and_gradient(x, aim, weight),
        ):
            assert_exact(got, want)
    logistic = losses.binary_cross_entropy_with_logits_backward
    assert_exact(logistic(1.0, layout(x), layout(soft)), logistic(1.0, x, soft))


def test_out_is_filled_and_returned(backend, rng):
    x = hostile.normal(rng, (3, 5, 7), "float32")
    target, soft = labels(rng, x.shape, "classes"), labels(rng, x.shape, "soft").astype("f4")
    calls = [
        (losses.cross_entropy_backward, (1.0, x, target)),
        (losses.cross_entropy_backward, (1.0, x, soft)),
        (losses.nll_loss_backward, (1.0, x, target)),
        (losses.mse_loss_backward, (1.0, x, soft)),
        (losses.binary_cross_entropy_backward, (1.0, soft, soft)),
        (losses.binary_cross_entropy_with_logits_backward, (1.0, x, soft)),
    ]
    for call, arguments in calls:
        want = call(*arguments)
        for out in (np.full_like(x, np.nan), hostile.strided(x * 0), hostile.transposed(x * 0)):
            assert call(*arguments, out=out) is out
            assert_exact(np.ascontiguousarray(out), want)
        with pytest.raises(ValueError, match="out overlaps"):
            call(*arguments, out=arguments[1])


def test_threads_do_not_change_a_bit(rng):
    x, target = hostile.normal(rng, (997, 211), "float32"), rng.integers(0, 211, 997)
    before, results = voxkern.get_num_threads(), []
    for threads in (1, 3, os.cpu_count() or 1):
        voxkern.set_num_threads(threads)
        results.append(losses.cross_entropy_and_gradient(x, target))
        results[-1] += losses.mse_loss(x, x[::-1]), losses.l1_penalty(x, 0.1)
    voxkern.set_num_threads(before)
    for others in results[1:]:
        for one, many in zip(results[0], others):
            assert_exact(one, many)


X, T = np.full((2, 3), 0.5), np.array([0, 2])


@pytest.mark.parametrize(
    ("name", "arguments", "error", "names"),
    [
        ("binary_cross_entropy", (X + 1, X), ValueError, r"x holds 1\.5; it must be 0 to 1"),
        ("binary_cross_entropy", (X - 1, X), ValueError, r"x holds -0\.5"),
        ("binary_cross_entropy", (X * np.nan, X), ValueError, "x holds nan"),
        ("binary_cross_entropy", (X, X * 3), ValueError, r"target holds 1\.5"),
        ("binary_cross_entropy", (X, X[0]), ValueError, "target has shape"),
        ("binary_cross_entropy", (X, X, np.ones(2)), ValueError, "weight has shape"),
        ("binary_cross_entropy", (X, X, None, "max"), ValueError, "reduction is 'max'"),
        ("binary_cross_entropy", (X.astype(int), X), TypeError, "x has dtype int64"),
        ("binary_cross_entropy_backward", (X, X, X), ValueError, "grad has shape"),
        ("binary_cross_entropy_with_logits", (X, X * 3), ValueError, "target holds"),
        (
            "binary_cross_entropy_with_logits",
            (X, X, None, "mean", np.ones(2)),
            ValueError,
            "pos_weight has shape",
        ),
        ("multilabel_soft_margin_loss", (X[0], X[0]), ValueError, "x has shape"),
        ("multilabel_soft_margin_loss", (X, X, None, 3), ValueError, "reduction is 3"),
        ("cross_entropy", (X, [0, 3]), ValueError, "target holds 3; classes are 0 to 2"),
        ("cross_entropy", (X, [-1, 2]), ValueError, "target holds -1"),
        ("cross_entropy", (X, [0.0, 1.0]), TypeError, "target has dtype float64"),
        ("cross_entropy", (X, [0, 1, 2]), ValueError, "target has shape"),
        ("cross_entropy", (X, X * 3), ValueError, r"target holds 1\.5"),
        ("cross_entropy", (X, T, np.ones(2)), ValueError, "weight has shape"),
        ("cross_entropy", (X, T, None, 0.5), TypeError, r"ignore_index is 0\.5"),
        ("cross_entropy", (X, T, None, -1, "no"), ValueError, "reduction is 'no'"),
        ("cross_entropy", (X, T, None, -1, "sum", 2), ValueError, "label_smoothing is 2"),
        ("cross_entropy", (np.zeros((2, 0)), T), ValueError, "x has shape"),
        ("cross_entropy", (np.array(1.0), 0), ValueError, "x has shape"),
        ("cross_entropy_backward", ([1.0, 1], X, T), ValueError, "grad has shape"),
        ("cross_entropy_backward", (1, X, T, None, -1, "none"), ValueError, "grad has shape"),
        ("cross_entropy_and_gradient", (X, T, None, -1, "none"), ValueError, "reduction is 'none'"),
        ("nll_loss", (X, [0, 3]), ValueError, "target holds 3"),
        ("nll_loss", (X, X), TypeError, "target has dtype"),
        ("nll_loss_backward", (X, X, T), ValueError, "grad has shape"),
        ("mse_loss", (X, X[0]), ValueError, "target has shape"),
        ("mse_loss", (X, X.astype("f4")), TypeError, "target has dtype"),
        ("mse_loss_backward", ("x", X, X), TypeError, "grad has dtype"),
        ("l1_penalty", (X, -1), ValueError, "strength is -1"),
        ("l2_penalty", (X, "x"), TypeError, "strength is 'x'"),
        ("l2_penalty_backward", (X.astype(int), 1), TypeError, "weights has dtype"),
    ],
)
def test_bad_input_is_named(name, arguments, error, names):
    with pytest.raises(error, match=names):
        getattr(losses, name)(*arguments)
    assert (X == 0.5).all()
