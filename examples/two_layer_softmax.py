"""A two-layer network with leaky ReLU and a softmax, on three arms of a spiral.

    python examples/two_layer_softmax.py --plot curve.svg

softmax(W2 leaky_relu(W1 x + b1) + b2), the cross-entropy and an L2 penalty, by gradient descent.
"""

import numpy as np

import voxkern
from voxkern import activations, init, losses, optim

from _common import batches, panels, parse, show

ARMS, HIDDEN, SLOPE = 3, 64, 0.01


def spiral(rng, count):
    """`count` points of each arm, ``(ARMS * count, 2)``, and the number of the arm of each."""
    radius = np.sqrt(rng.random((ARMS, count)))
    angle = 4 * radius + 2 * np.pi / ARMS * np.arange(ARMS)[:, None]
    angle += 0.15 * rng.standard_normal(angle.shape)
    x = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=-1).reshape(-1, 2)
    return x.astype(np.float32), np.repeat(np.arange(ARMS), count)


def forward(params, x):
    """The scores of each arm, and the layer before them."""
    w1, b1, w2, b2 = params
    hidden = activations.leaky_relu(voxkern.linear(x, w1, b1), SLOPE)
    return voxkern.linear(hidden, w2, b2), hidden


def gradients(params, x, arms):
    """The loss, and the gradients of the parameters."""
    scores, hidden = forward(params, x)
    loss, grad = losses.cross_entropy_and_gradient(scores, arms)
    grad, grad_w2, grad_b2 = voxkern.linear_backward(grad, hidden, params[2])
    # The result of a leaky ReLU has the sign of its argument, which is all that its gradient asks.
    grad = activations.leaky_relu_backward(grad, hidden, SLOPE)
    _, grad_w1, grad_b1 = voxkern.linear_backward(grad, x, params[0], need=(False, True, True))
    return loss, [grad_w1, grad_b1, grad_w2, grad_b2]


def train(x, arms, rng, epochs, lr=0.5, l2=1e-5):
    """Gradient descent in batches of 50: the parameters and the mean loss of each epoch."""
    params = [
        init.kaiming_normal((HIDDEN, 2), SLOPE, rng=rng),
        np.zeros(HIDDEN, np.float32),
        init.kaiming_normal((ARMS, HIDDEN), SLOPE, rng=rng),
        np.zeros(ARMS, np.float32),
    ]
    curve = []
    for epoch in range(1, epochs + 1):
        of_batches = []
        for batch in batches(rng, len(x), 50):
            loss, grads = gradients(params, x[batch], arms[batch])
            optim.sgd(params, grads, lr, l2=l2)
            of_batches.append(loss)
        curve.append(float(np.mean(of_batches)))
        show(epoch, epochs, loss=curve[-1])
    return params, curve


def draw(params, x, arms, curve):
    def fill(figure, axes):
        ticks = np.linspace(-1.2, 1.2, 121, dtype=np.float32)
        plane = np.stack(np.meshgrid(ticks, ticks), axis=-1).reshape(-1, 2)
        best = forward(params, plane)[0].argmax(axis=1).reshape(121, 121)
        extent = (-1.2, 1.2, -1.2, 1.2)
        # The colours of tab10 are those of matplotlib's cycle, C0 to C9.
        axes[0].imshow(
            best,
            "tab10",
            interpolation="none",
            alpha=0.3,
            vmin=0,
            vmax=9,
            origin="lower",
            extent=extent,
        )
        for arm in range(ARMS):
            axes[0].plot(*x[arms == arm][:80].T, ".", color=f"C{arm}", markersize=3)
        axes[0].set(title="test points, and what the network says")
        axes[1].plot(range(1, len(curve) + 1), curve)
        axes[1].set(title="cross-entropy, training", xlabel="epoch", yscale="log")

    return fill


def main(argv=None):
    arguments = parse(argv, __doc__.splitlines()[0], epochs=200)
    rng = np.random.default_rng(arguments.seed)
    (x, arms), (test_x, test_arms) = spiral(rng, 300), spiral(rng, 2000)
    params, curve = train(x, arms, rng, arguments.epochs)
    accuracy = float((forward(params, test_x)[0].argmax(axis=1) == test_arms).mean())
    print(f"test accuracy {accuracy:.4f}")
    if arguments.plot:
        panels(arguments.plot, draw(params, test_x, test_arms, curve), ncols=2)
    return {"loss": curve, "accuracy": accuracy}


if __name__ == "__main__":
    main()
