"""Logistic regression of two clouds of points, beside the best that any classifier can do.

    python examples/logistic_regression.py --plot curve.svg

Both clouds are normal with one covariance, so the best boundary is a line, and known.
"""

import math

import numpy as np

import voxkern
from voxkern import losses, optim

from _common import panels, parse, show

MEANS = np.float32([[-1, -0.5], [1, 0.5]])
COVARIANCE = np.float32([[1, -0.6], [-0.6, 1.2]])


def points(rng, count):
    """As many of either cloud: ``(2 * count, 2)`` and their labels ``(2 * count, 1)``, 0 or 1."""
    spread = np.linalg.cholesky(COVARIANCE)
    x = voxkern.linear(rng.standard_normal((2, count, 2), np.float32), spread) + MEANS[:, None]
    return x.reshape(-1, 2), np.repeat(np.float32([0, 1]), count)[:, None]


def best():
    """Weights of the best line through 0, and the share of points on the right side of it."""
    weight = np.linalg.solve(COVARIANCE, MEANS[1] - MEANS[0])
    distance = math.sqrt(weight @ (MEANS[1] - MEANS[0]))
    return weight, 0.5 + 0.5 * math.erf(distance / 2 / math.sqrt(2))


def train(x, labels, epochs, lr=1.0):
    """Gradient descent on all the points at once: the parameters and the losses."""
    params = weight, bias = np.zeros((1, 2), np.float32), np.zeros(1, np.float32)
    curve = []
    for epoch in range(1, epochs + 1):
        logits = voxkern.linear(x, weight, bias)
        curve.append(losses.binary_cross_entropy_with_logits(logits, labels))
        grad = losses.binary_cross_entropy_with_logits_backward(1.0, logits, labels)
        grads = voxkern.linear_backward(grad, x, weight, need=(False, True, True))[1:]
        optim.sgd(params, grads, lr)
        show(epoch, epochs, loss=curve[-1])
    return params, curve


def draw(x, labels, weight, bias, curve):
    def fill(figure, axes):
        ends = np.array([-4.0, 4.0])
        for label in range(2):
            axes[0].plot(*x[labels[:, 0] == label][:120].T, ".", color=f"C{label}", markersize=3)
        (w1, w2), (b1, b2) = weight[0], best()[0]
        axes[0].plot(ends, -(w1 * ends + bias) / w2, "k", label="learned")
        axes[0].plot(ends, -b1 * ends / b2, "k:", label="best")
        axes[0].set(xlim=ends, ylim=ends, aspect="equal", title="test points")
        axes[0].legend(loc="upper right")
        axes[1].plot(range(1, len(curve) + 1), curve)
        axes[1].set(title="cross-entropy, training", xlabel="epoch", xscale="log")

    return fill


def main(argv=None):
    arguments = parse(argv, __doc__.splitlines()[0], epochs=100)
    rng = np.random.default_rng(arguments.seed)
    (x, labels), (test_x, test_labels) = points(rng, 1000), points(rng, 10_000)
    (weight, bias), curve = train(x, labels, arguments.epochs)
    accuracy = float(((voxkern.linear(test_x, weight, bias) > 0) == test_labels).mean())
    print(f"test accuracy {accuracy:.4f}; the best line has {best()[1]:.4f}")
    if arguments.plot:
        panels(arguments.plot, draw(test_x, test_labels, weight, bias, curve), ncols=2)
    return {"loss": curve, "accuracy": accuracy, "best": best()[1]}


if __name__ == "__main__":
    main()
