"""The small convolutional network of the exams, on scikit-learn's handwritten digits.

    python examples/digits_cnn.py --plot curve.svg

CONV3-8, leaky ReLU, POOL-2, BATCHNORM, CONV3-16, leaky ReLU, POOL-2, FLATTEN, FC-10.
"""

import math
import sys

import numpy as np

import voxkern
from voxkern import activations, init, losses, shapes

from _common import adamw, batches, panels, parse

try:
    from sklearn.datasets import load_digits
except ModuleNotFoundError as missing:
    sys.exit(f'{missing.name} is missing: pip install "voxkern[examples]"')

SLOPE = 0.01
LEAKY = ("leaky_relu", SLOPE)
LAYERS = [
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


def digits(rng):
    """Pictures ``(N, 1, 8, 8)``, 0 to 1, and their digits: 1347 to learn from, 450 to test."""
    x, labels = load_digits(return_X_y=True)
    x = (x / 16).astype(np.float32).reshape(-1, 1, 8, 8)
    order = rng.permutation(len(x))
    learn, test = order[450:], order[:450]
    return x[learn], labels[learn], x[test], labels[test]


def initial(rng):
    """Random parameters, and the running mean and variance of the batch normalisation."""
    params = [
        init.kaiming_normal((8, 1, 3, 3), SLOPE, rng=rng),
        np.zeros(8, np.float32),
        np.ones(8, np.float32),
        np.zeros(8, np.float32),
        init.kaiming_normal((16, 8, 3, 3), SLOPE, rng=rng),
        np.zeros(16, np.float32),
        init.xavier_normal((10, 64), rng=rng),
        np.zeros(10, np.float32),
    ]
    return params, (np.zeros(8, np.float32), np.ones(8, np.float32))


def forward(params, running, x, training):
    """The scores of each digit, and what the gradients need of the way there."""
    w1, b1, scale, shift, w2, b2, w3, b3 = params
    maps1 = voxkern.conv2d(x, w1, b1, padding=1, activation=LEAKY)
    pooled1, places1 = voxkern.max_pool2d(maps1, 2, return_indices=True)
    normal = voxkern.batch_norm(pooled1, *running, scale, shift, training=training)
    maps2 = voxkern.conv2d(normal, w2, b2, padding=1, activation=LEAKY)
    pooled2, places2 = voxkern.max_pool2d(maps2, 2, return_indices=True)
    scores = voxkern.linear(voxkern.flatten(pooled2), w3, b3)
    return scores, (maps1, pooled1, places1, normal, maps2, pooled2, places2)


def backward(params, x, kept, grad):
    """The gradients of the parameters, from that of the scores."""
    w1, _, scale, _, w2, _, w3, _ = params
    maps1, pooled1, places1, normal, maps2, pooled2, places2 = kept
    grad, grad_w3, grad_b3 = voxkern.linear_backward(grad, voxkern.flatten(pooled2), w3)
    grad = voxkern.max_pool2d_backward(grad.reshape(pooled2.shape), places2, maps2.shape[2:])
    # The result of a leaky ReLU has the sign of its argument, which is all that its gradient asks.
    grad = activations.leaky_relu_backward(grad, maps2, SLOPE)
    grad, grad_w2, grad_b2 = voxkern.conv2d_backward(grad, normal, w2, padding=1)
    stats = voxkern.batch_norm_stats(pooled1)
    grad, grad_scale, grad_shift = voxkern.batch_norm_backward(grad, pooled1, scale, *stats)
    grad = voxkern.max_pool2d_backward(grad, places1, maps1.shape[2:])
    grad = activations.leaky_relu_backward(grad, maps1, SLOPE)
    need = (False, True, True)
    _, grad_w1, grad_b1 = voxkern.conv2d_backward(grad, x, w1, padding=1, need=need)
    return [grad_w1, grad_b1, grad_scale, grad_shift, grad_w2, grad_b2, grad_w3, grad_b3]


def gradients(params, running, x, labels):
    """The loss of a batch, and the gradients of the parameters."""
    scores, kept = forward(params, running, x, training=True)
    loss, grad = losses.cross_entropy_and_gradient(scores, labels)
    return loss, backward(params, x, kept, grad)


def train(x, labels, rng, epochs, size=32):
    """Batches of `size` in a new order each epoch: as :func:`initial`, and the losses."""
    params, running = initial(rng)

    def epoch():
        for batch in batches(rng, len(x), size):
            yield gradients(params, running, x[batch], labels[batch])

    steps = math.ceil(len(x) / size)
    return params, running, adamw(params, epoch, epochs, steps, lr=1e-2, weight_decay=0.2)


def draw(x, labels, guesses, curve):
    def fill(figure, axes):
        axes[0].plot(range(1, len(curve) + 1), curve)
        axes[0].set(title="cross-entropy, training", xlabel="epoch", yscale="log")
        wrong = np.flatnonzero(guesses != labels)
        for i, place in enumerate(wrong[:8]):
            inset = axes[1].inset_axes((0.25 * (i % 4), 0.5 - 0.5 * (i // 4), 0.23, 0.36))
            inset.imshow(x[place, 0], cmap="gray_r")
            inset.set_title(f"{labels[place]}, not {guesses[place]}")
            inset.set_axis_off()
        axes[1].set_title(f"{len(wrong)} of {len(x)} test digits missed", pad=12)
        axes[1].set_axis_off()

    return fill


def main(argv=None):
    arguments = parse(argv, __doc__.splitlines()[0], epochs=60)
    print(shapes.trace(LAYERS, (8, 8, 1)))
    rng = np.random.default_rng(arguments.seed)
    x, labels, test_x, test_labels = digits(rng)
    params, running, curve = train(x, labels, rng, arguments.epochs)
    guesses = forward(params, running, test_x, training=False)[0].argmax(axis=1)
    accuracy = float((guesses == test_labels).mean())
    print(f"test accuracy {accuracy:.4f}")
    if arguments.plot:
        panels(arguments.plot, draw(test_x, test_labels, guesses, curve), ncols=2)
    return {"loss": curve, "accuracy": accuracy, "parameters": sum(w.size for w in params)}


if __name__ == "__main__":
    main()
