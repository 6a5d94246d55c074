"""Answers worked by hand from the formulas, each with the exam and the question it belongs to.

CS230 is Stanford's midterm of 2020 or 2021, I2DL the Technical University of Munich's
"Introduction to Deep Learning" of 2020/21; "both courses" teach the formula.
"""

from math import e, exp, log, sqrt, tanh

import numpy as np
import pytest

import voxkern
from voxkern import activations, attacks, init, losses, optim, recurrent, shapes


def answers(*rows):
    """Exam and question as the test's name, the call and the worked answer as arguments."""
    return pytest.mark.parametrize(
        ("call", "answer"), [r[1:] for r in rows], ids=[r[0] for r in rows]
    )


CNN = [
    shapes.conv(8, 3, padding=1),
    shapes.activation("leaky ReLU"),
    shapes.pool(2),
    shapes.batch_norm(),
    shapes.conv(16, 3, padding=1),
    shapes.activation("leaky ReLU"),
    shapes.pool(2),
    shapes.flatten(),
    shapes.linear(10),
]


@pytest.mark.parametrize(
    ("place", "shape", "parameters"),
    [
        (1, (32, 32, 8), (3 * 3 * 1 + 1) * 8),
        (2, (32, 32, 8), 0),
        (3, (16, 16, 8), 0),
        (4, (16, 16, 8), 2 * 8),
        (5, (16, 16, 16), (3 * 3 * 8 + 1) * 16),
        (6, (16, 16, 16), 0),
        (7, (8, 8, 16), 0),
        (8, (1024,), 0),
        (9, (10,), 10 * 1024 + 10),
    ],
    ids=lambda value: str(value),
)
def test_cs230_2020_the_table_of_a_small_cnn(place, shape, parameters):
    row = shapes.trace(CNN, (32, 32, 1))[place]
    assert (row.shape, row.parameters) == (shape, parameters)


@answers(
    (
        "CS230 2020, table of a CNN: all parameters",
        lambda: shapes.trace(CNN, (32, 32, 1)).parameters,
        11514,
    ),
    ("CS230 2020, size of a convolution: 5 on 32", lambda: shapes.output_size(32, 5), 28),
    ("CS230 2020, size of a convolution: stride 2", lambda: shapes.output_size(32, 3, 2, 1), 16),
    (
        "CS230 2020, size of a convolution: dilation 2",
        lambda: shapes.output_size(32, 3, dilation=2),
        28,
    ),
    ("CS230 2020, size of a pool: 3, stride 2, on 13", lambda: shapes.output_size(13, 3, 2), 6),
    (
        "CS230 2021, size of a 3-D convolution",
        lambda: shapes.output_size((16, 64, 48), 3, 1, 0),
        (14, 62, 46),
    ),
    (
        "CS230 2021, parameters of a 3-D convolution",
        lambda: shapes.conv_parameters(3, 8, (3, 3, 3)),
        8 * 82,
    ),
    (
        "CS230 2020, parameters of a 1x1 convolution",
        lambda: shapes.conv_parameters(64, 16, 1),
        1040,
    ),
    (
        "CS230 2020, two-layer softmax network",
        lambda: shapes.linear_parameters(784, 100) + shapes.linear_parameters(100, 10),
        79510,
    ),
    (
        "I2DL 2020/21, padding of a 5x5 filter that keeps the size",
        lambda: shapes.same_padding(5),
        2,
    ),
    (
        "I2DL 2020/21, padding of a 7x7 filter that keeps the size",
        lambda: shapes.same_padding(7),
        3,
    ),
    (
        "I2DL 2020/21, first layer of a large image network",
        lambda: shapes.output_size(224, 7, 2, 3),
        112,
    ),
    (
        "I2DL 2020/21, first layer without bias",
        lambda: shapes.conv_parameters(3, 64, 7, bias=False),
        9408,
    ),
    (
        "I2DL 2020/21, three 3x3 convolutions see 7",
        lambda: shapes.receptive_field([(3, 1)] * 3),
        [3, 5, 7],
    ),
    (
        "I2DL 2020/21, field with pooling between",
        lambda: shapes.receptive_field([(3, 1), (2, 2), (3, 1)]),
        [3, 4, 8],
    ),
    (
        "I2DL 2020/21, field of strided convolutions",
        lambda: shapes.receptive_field([(5, 2), (5, 2), (3, 1)]),
        [5, 13, 21],
    ),
    (
        "I2DL 2020/21, three 3x3 layers or one 7x7",
        lambda: 3 * shapes.conv_parameters(9, 9, 3, bias=False),
        2187,
    ),
    ("I2DL 2020/21, one 7x7 layer", lambda: shapes.conv_parameters(9, 9, 7, bias=False), 3969),
    (
        "I2DL 2020/21, learned parameters of batch norm",
        lambda: shapes.batch_norm_parameters(64),
        128,
    ),
    (
        "I2DL 2020/21, a depthwise convolution",
        lambda: shapes.conv_parameters(32, 32, 3, groups=32),
        320,
    ),
)
def test_shapes(call, answer):
    assert call() == answer


Z = np.array([-2.0, 0.0, 3.0])


@answers(
    ("CS230 2020, sigmoid at 0", lambda: activations.sigmoid([0.0]), [0.5]),
    ("CS230 2020, sigmoid of the log of odds 3", lambda: activations.sigmoid([log(3)]), [0.75]),
    ("CS230 2020, largest slope of a sigmoid", lambda: slope_at_0("sigmoid"), [0.25]),
    ("CS230 2020, largest slope of tanh", lambda: slope_at_0("tanh"), [1]),
    ("CS230 2020, tanh from sigmoid", lambda: 2 * activations.sigmoid([1.0]) - 1, [tanh(0.5)]),
    ("CS230 2020, a saturated sigmoid does not learn", lambda: saturated("sigmoid"), [0]),
    ("CS230 2020, nor does a saturated tanh", lambda: saturated("tanh"), [0]),
    ("CS230 2020, ReLU", lambda: activations.relu(Z), [0, 0, 3]),
    ("CS230 2020, slope of ReLU: dead units", lambda: activations.relu_backward(Z, Z), [0, 0, 3]),
    ("CS230 2020, leaky ReLU", lambda: activations.leaky_relu(Z), [-0.02, 0, 3]),
    (
        "CS230 2020, slope of leaky ReLU: no unit dies",
        lambda: activations.leaky_relu_backward(np.ones(3), Z, 0.1),
        [0.1, 0.1, 1],
    ),
    ("I2DL 2020/21, ELU", lambda: activations.elu(Z), [exp(-2) - 1, 0, 3]),
    ("I2DL 2020/21, PReLU", lambda: activations.prelu(Z, [0.25]), [-0.5, 0, 3]),
    (
        "I2DL 2020/21, gradient to the slope of PReLU",
        lambda: activations.prelu_backward(np.ones(3), Z, np.array([0.25]))[1],
        [-2],
    ),
    (
        "CS230 2020, softmax of (0, log 2, log 5)",
        lambda: activations.softmax([0.0, log(2), log(5)]),
        [1 / 8, 2 / 8, 5 / 8],
    ),
    (
        "CS230 2020, softmax does not change with a shift",
        lambda: activations.softmax([1000.0, 1000 + log(2), 1000 + log(5)]),
        [1 / 8, 2 / 8, 5 / 8],
    ),
    (
        "CS230 2020, softmax of two classes is a sigmoid",
        lambda: activations.softmax([1.5, 0.0])[:1],
        [1 / (1 + exp(-1.5))],
    ),
    (
        "CS230 2020, gradient of softmax",
        lambda: activations.softmax_backward([1.0, 0.0], [0.25, 0.75]),
        [0.25 * 0.75, -0.25 * 0.75],
    ),
)
def test_activations(call, answer):
    np.testing.assert_allclose(call(), answer, rtol=1e-12, atol=1e-15)


def slope_at_0(name):
    at_0 = getattr(activations, name)([0.0])
    return getattr(activations, f"{name}_backward")([1.0], at_0)


def saturated(name):
    far = getattr(activations, name)([50.0])
    return getattr(activations, f"{name}_backward")([1.0], far)


LOGITS = np.log([[1.0, 2, 5], [2, 2, 4]])  # softmax: eighths and quarters


@answers(
    ("CS230 2020, loss of p = 1/2", lambda: losses.binary_cross_entropy([0.5], [1]), log(2)),
    (
        "CS230 2020, loss of p = 0.9, y = 0",
        lambda: losses.binary_cross_entropy([0.9], [0]),
        log(10),
    ),
    (
        "CS230 2020, mean logistic loss",
        lambda: losses.binary_cross_entropy([0.5, 0.25, 0.25], [1, 1, 0]),
        (log(2) + log(4) + log(4 / 3)) / 3,
    ),
    (
        "CS230 2020, gradient of the logistic loss: a - y",
        lambda: losses.binary_cross_entropy_with_logits_backward(1.0, [log(3)], [1]),
        -0.25,
    ),
    (
        "CS230 2020, gradient to the probability: -1/p",
        lambda: losses.binary_cross_entropy_backward(1.0, [0.2], [1]),
        -5,
    ),
    (
        "CS230 2020, cross-entropy of ten equal classes",
        lambda: losses.cross_entropy(np.zeros((4, 10)), [0, 3, 3, 9]),
        log(10),
    ),
    (
        "CS230 2020, cross-entropy of a softmax layer",
        lambda: losses.cross_entropy(LOGITS, [2, 0], reduction="none"),
        [log(8 / 5), log(4)],
    ),
    (
        "CS230 2020, gradient of softmax and cross-entropy: p - y",
        lambda: losses.cross_entropy_backward(1.0, LOGITS, [2, 0], reduction="sum"),
        [[1 / 8, 2 / 8, -3 / 8], [-3 / 4, 1 / 4, 2 / 4]],
    ),
    (
        "CS230 2020, the same for a mean over two examples",
        lambda: losses.cross_entropy_backward(1.0, LOGITS, [2, 0])[1],
        [-3 / 8, 1 / 8, 2 / 8],
    ),
    (
        "CS230 2020, one-hot labels",
        lambda: losses.cross_entropy(LOGITS, [[0, 0, 1], [1, 0, 0]]),
        (log(8 / 5) + log(4)) / 2,
    ),
    (
        "CS230 2021, labels smoothed by 0.3",
        lambda: losses.cross_entropy(LOGITS[:1], [2], label_smoothing=0.3),
        0.8 * log(8 / 5) + 0.1 * log(4) + 0.1 * log(8),
    ),
    (
        "CS230 2021, weighted classes",
        lambda: losses.cross_entropy(LOGITS, [2, 0], weight=np.array([3.0, 1, 1])),
        (log(8 / 5) + 3 * log(4)) / 4,
    ),
    (
        "CS230 2021, several labels at once: independent logistic losses",
        lambda: losses.multilabel_soft_margin_loss([[0.0, log(3), -log(3)]], [[1, 1, 0]]),
        (log(2) + 2 * log(4 / 3)) / 3,
    ),
    (
        "CS230 2021, gradient of the multi-label loss",
        lambda: losses.multilabel_soft_margin_loss_backward(1.0, [[0.0, log(3)]], [[1, 1]]),
        [[-1 / 4, -1 / 8]],
    ),
    ("I2DL 2020/21, squared error", lambda: losses.mse_loss([1.0, 2, 4], [1.0, 4, 1]), 13 / 3),
    (
        "I2DL 2020/21, gradient of the squared error",
        lambda: losses.mse_loss_backward(1.0, [1.0, 2, 4], [1.0, 4, 1]),
        [0, -4 / 3, 2],
    ),
    ("I2DL 2020/21, L2 penalty", lambda: losses.l2_penalty([3.0, -4], 0.1), 2.5),
    ("I2DL 2020/21, its gradient", lambda: losses.l2_penalty_backward([3.0, -4], 0.1), [0.6, -0.8]),
    ("I2DL 2020/21, L1 penalty", lambda: losses.l1_penalty([3.0, -4], 0.1), 0.7),
    ("I2DL 2020/21, its gradient", lambda: losses.l1_penalty_backward([3.0, -4], 0.1), [0.1, -0.1]),
    (
        "I2DL 2020/21, a step with L2: (1 - 2 lr lambda) w",
        lambda: np.array([3.0]) - 0.5 * losses.l2_penalty_backward([3.0], 0.1),
        [(1 - 2 * 0.5 * 0.1) * 3],
    ),
)
def test_losses(call, answer):
    np.testing.assert_allclose(call(), answer, rtol=1e-12, atol=1e-15)


@answers(
    ("CS230 2020, Xavier", lambda: init.variance(100, 300, "xavier"), 1 / 200),
    ("CS230 2020, He, for ReLU", lambda: init.variance(50, 10, "kaiming"), 1 / 25),
    ("I2DL 2020/21, Xavier as it is defined there", lambda: init.variance(64, 8, "lecun"), 1 / 64),
    ("I2DL 2020/21, inputs of a filter", lambda: init.fans((64, 3, 7, 7)), (147, 3136)),
    (
        "CS230 2020, fast gradient sign",
        lambda: attacks.fgsm([0.5, 0.2, 0.9], [-0.1, 2.0, 0.0], 0.25),
        [0.25, 0.45, 0.9],
    ),
    (
        "CS230 2021, fast gradient sign on a linear unit: epsilon times the sum of abs(w)",
        lambda: np.array([1.0, -2, 3]) @ attacks.fgsm([1.0, 1, 1], [1.0, -2, 3], 0.1),
        2 + 0.1 * 6,
    ),
)
def test_init_and_attacks(call, answer):
    np.testing.assert_allclose(call(), answer, rtol=1e-12)


def batch(**options):
    """Batch norm of the table's two features over four examples, and its running statistics."""
    x = np.array([[1.0, 10], [2, 10], [3, 30], [6, 30]])
    mean, var = np.array([0.0, 0]), np.array([1.0, 1])
    return voxkern.batch_norm(x, mean, var, **options), mean, var


@answers(
    (
        "CS230 2020, batch norm: first feature, mean 3, variance 3.5",
        lambda: batch(training=True, eps=0.0)[0][:, 0],
        np.array([-2, -1, 0, 3]) / sqrt(3.5),
    ),
    (
        "CS230 2020, batch norm: second feature, mean 20, variance 100",
        lambda: batch(training=True, eps=0.0)[0][:, 1],
        [-1, -1, 1, 1],
    ),
    (
        "CS230 2020, batch norm: scale 2 and shift 1",
        lambda: batch(training=True, eps=0.0, weight=np.array([2.0, 2]), bias=np.array([1.0, 1]))[
            0
        ][:, 1],
        [-1, -1, 3, 3],
    ),
    (
        "CS230 2020, batch norm: running means, momentum 0.1",
        lambda: batch(training=True)[1],
        [0.3, 2],
    ),
    (
        "I2DL 2020/21, batch norm: running variances, unbiased",
        lambda: batch(training=True)[2],
        [0.9 + 0.1 * 14 / 3, 0.9 + 0.1 * 400 / 3],
    ),
    (
        "I2DL 2020/21, batch norm at test time uses the running statistics",
        lambda: batch(eps=3.0)[0][:, 0],
        [0.5, 1, 1.5, 3],
    ),
)
def test_batch_norm(call, answer):
    np.testing.assert_allclose(call(), answer, rtol=1e-12)


@pytest.mark.parametrize(("a", "b"), [(0, 0), (0, 1), (1, 0), (1, 1)])
def test_cs230_2020_two_neurons_make_xor(a, b):
    # The first neuron is AND, a step at a + b = 1.5; the second is OR without it.
    first = activations.heaviside(np.array([a + b - 1.5]))
    second = activations.heaviside(np.array([a + b - 2 * first[0] - 0.5]))
    assert second[0] == a ^ b


def test_cs230_2020_backpropagation_through_two_layers():
    # x = 2, w1 = 1, ReLU, w2 = -1, sigmoid, y = 1: the loss is log(1 + e^2).
    z1 = np.array([2.0 * 1])
    z2 = -1 * activations.relu(z1)
    assert losses.binary_cross_entropy_with_logits(z2, [1]) == pytest.approx(log(1 + e**2))
    d2 = losses.binary_cross_entropy_with_logits_backward(1.0, z2, [1])
    d1 = activations.relu_backward(d2 * -1, z1)
    assert d2[0] * 2 == pytest.approx(-2 / (1 + exp(-2)))  # to w2
    assert d1[0] * 2 == pytest.approx(2 / (1 + exp(-2)))  # to w1


def test_cs230_2021_siamese_output():
    # sigma(W2 (a1 - a2) + b2) of two encodings
    difference = np.array([1.0, 0, 2]) - np.array([0.0, 1, 1])
    got = activations.sigmoid([np.array([1.0, 2, 1]) @ difference + log(2)])
    assert got[0] == pytest.approx(2 / 3)


def stepped(name, w, grads, kept=0, **options):
    """One weight after a step along each of `grads`."""
    w, states = np.array([float(w)]), [[np.zeros(1)] for _ in range(kept)]
    for i, grad in enumerate(grads, 1):
        number = {"step": i} if kept == 2 else {}
        getattr(optim, name)([w], [np.array([float(grad)])], *states, **number, **options)
    return w[0]


def cell(name, x, hx, ih, hh, bias=None, **options):
    """One feature, its gates' weights as lists."""
    weights = [np.array(w, float).reshape(-1, 1) for w in (ih, hh)]
    biases = [] if bias is None else [np.array(bias, float), np.zeros(len(bias))]
    hx = tuple(np.array([float(s)]) for s in hx)
    hx = hx if len(hx) == 2 else hx[0]
    got = getattr(recurrent, f"{name}_cell")([float(x)], hx, *weights, *biases, **options)
    return [float(a[0]) for a in got] if isinstance(got, tuple) else float(got[0])


def clipped():
    grad = np.array([3.0, 4.0])
    optim.clip_grad_norm([grad], 1.0)
    return grad


def through_time(weight, steps):
    """The gradient of the last state to the first, of states that are positive."""
    one = np.array([[float(weight)]])
    x, h = np.zeros((steps, 1)), np.ones((1, 1))
    return recurrent.rnn_backward(None, h, x, h, [(one * 0, one)], "relu")[1]


def xor(x):
    hidden = np.maximum(voxkern.linear(x, np.ones((2, 2)), np.array([0.0, -1.0])), 0)
    return voxkern.linear(hidden, np.array([[1.0, -2.0]])).ravel()


ZEROS3, ZEROS4 = [0, 0, 0], [0, 0, 0, 0]
HALF_TANH = 0.5 * tanh(1)


@answers(
    (
        "both courses, L2: (1 - 2 lr lambda) w - lr g",
        lambda: stepped("sgd", 2, [3], lr=0.1, l2=0.5),
        1.5,
    ),
    (
        "both courses, L2: without a gradient",
        lambda: stepped("sgd", 2, [0, 0], lr=0.1, l2=0.5),
        1.62,
    ),
    (
        "both courses, weight decay of half the penalty",
        lambda: stepped("sgd", 2, [3], lr=0.1, weight_decay=0.5),
        1.6,
    ),
    ("both courses, gradient descent", lambda: stepped("sgd", 1, [2, -1], lr=0.5), 0.5),
    (
        "both courses, momentum as an average: 0.1 + 0.19",
        lambda: stepped("momentum", 0, [1, 1], 1, lr=1, average=True),
        -0.29,
    ),
    (
        "both courses, classical momentum: 1 + 1.9",
        lambda: stepped("momentum", 0, [1, 1], 1, lr=1),
        -2.9,
    ),
    (
        "both courses, momentum after the gradient has vanished",
        lambda: stepped("momentum", 0, [1, 0, 0], 1, lr=1, momentum=0.5),
        -1.75,
    ),
    (
        "both courses, Nesterov momentum",
        lambda: stepped("momentum", 1, [1], 1, lr=0.1, nesterov=True),
        0.81,
    ),
    (
        "both courses, RMSprop: a first step of lr / sqrt(1 - alpha)",
        lambda: stepped("rmsprop", 1, [7], 1, lr=0.1, alpha=0.75, eps=0),
        0.8,
    ),
    (
        "both courses, Adam: a first step of lr, large gradient",
        lambda: stepped("adam", 1, [1000], 2, lr=0.1, eps=0),
        0.9,
    ),
    (
        "both courses, Adam: a first step of lr, small gradient",
        lambda: stepped("adam", 1, [-0.001], 2, lr=0.1, eps=0),
        1.1,
    ),
    (
        "both courses, Adam: a constant gradient",
        lambda: stepped("adam", 1, [5] * 4, 2, lr=0.1, eps=0),
        0.6,
    ),
    (
        "CS230 2020, Adam: epsilon inside the root",
        lambda: stepped("adam", 1, [4], 2, lr=0.5, eps=9, eps_inside_sqrt=True),
        0.6,
    ),
    (
        "both courses, AdamW: the weight shrinks beside the gradient",
        lambda: stepped("adamw", 1, [0], 2, lr=0.1, weight_decay=0.5),
        0.95,
    ),
    ("both courses, clipping by the norm", clipped, [3 / 5.000001, 4 / 5.000001]),
    (
        "both courses, inverted dropout: 1 / keep_prob",
        lambda: voxkern.dropout(np.ones(99), 0.2, rng=0).max(),
        1.25,
    ),
    (
        "both courses, dropout that is not inverted: times keep_prob at test time",
        lambda: voxkern.dropout(np.ones(3), 0.2, training=False, inverted=False),
        [0.8] * 3,
    ),
    (
        "both courses, XOR of two neurons",
        lambda: xor(np.array([[0, 0], [0, 1], [1, 0], [1, 1]], float)),
        [0, 1, 1, 0],
    ),
    (
        "both courses, nearest upsampling",
        lambda: voxkern.upsample([[[[1.0, 2.0], [3.0, 4.0]]]], scale_factor=2)[0, 0],
        [[1, 1, 2, 2], [1, 1, 2, 2], [3, 3, 4, 4], [3, 3, 4, 4]],
    ),
    ("both courses, RNN: tanh of both sides", lambda: cell("rnn", 2, [3], [1], [-1]), tanh(-1)),
    ("both courses, RNN: gradients vanish, 0.5**4", lambda: through_time(0.5, 4), [[0.0625]]),
    ("both courses, RNN: gradients explode, 2**4", lambda: through_time(2, 4), [[16]]),
    (
        "I2DL 2020/21, LSTM: zero weights halve the cell, h = o * c",
        lambda: cell("lstm", 1, [0, 2], ZEROS4, ZEROS4, tanh_output=False),
        [0.5, 1],
    ),
    (
        "both courses, LSTM: with tanh on the output",
        lambda: cell("lstm", 1, [0, 2], ZEROS4, ZEROS4),
        [HALF_TANH, 1],
    ),
    (
        "both courses, LSTM: an open forget gate keeps the cell",
        lambda: cell("lstm", 1, [0, 2], ZEROS4, ZEROS4, [-99, 99, 0, 99], tanh_output=False),
        [2, 2],
    ),
    (
        "both courses, LSTM: a closed one lets it go",
        lambda: cell("lstm", 1, [0, 2], [0, 0, 1, 0], ZEROS4, [99, -99, 0, 99]),
        [tanh(tanh(1)), tanh(1)],
    ),
    (
        "both courses, GRU: zero weights halve the state",
        lambda: cell("gru", 1, [8], ZEROS3, ZEROS3),
        4,
    ),
    (
        "both courses, GRU: an update gate of 1 keeps it",
        lambda: cell("gru", 1, [8], ZEROS3, ZEROS3, [0, 99, 0]),
        8,
    ),
)
def test_training(call, answer):
    np.testing.assert_allclose(call(), answer, rtol=1e-12, atol=1e-12)
