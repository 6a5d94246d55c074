"""XOR of two bits with two neurons: the second sees the bits and the first.

    python examples/xor.py --plot curve.svg

One neuron draws one line, and no line parts XOR. It is learned with sigmoids; at the end steps take
their place, the exam's threshold units, which have no gradient to learn from.
"""

import numpy as np

import voxkern
from voxkern import activations, losses, optim

from _common import panels, parse, show

BITS = np.float32([[0, 0], [0, 1], [1, 0], [1, 1]])
XOR = np.float32([[0], [1], [1], [0]])


def forward(params, x, neuron):
    """What the first neuron gives, what both and the bits give the second, its logit."""
    w1, b1, w2, b2 = params
    first = neuron(voxkern.linear(x, w1, b1))
    seen = np.concatenate([x, first], axis=1)
    return first, seen, voxkern.linear(seen, w2, b2)


def gradients(params, x, labels):
    """The loss, and the gradients of the parameters."""
    w1, _, w2, _ = params
    first, seen, logits = forward(params, x, activations.sigmoid)
    grad = losses.binary_cross_entropy_with_logits_backward(1.0, logits, labels)
    grad, grad_w2, grad_b2 = voxkern.linear_backward(grad, seen, w2)
    grad = activations.sigmoid_backward(grad[:, 2:], first)
    _, grad_w1, grad_b1 = voxkern.linear_backward(grad, x, w1)
    loss = losses.binary_cross_entropy_with_logits(logits, labels)
    return loss, [grad_w1, grad_b1, grad_w2, grad_b2]


def train(rng, epochs, lr=0.5):
    """Momentum from random weights: the parameters and the losses."""
    shapes = (1, 2), (1,), (1, 3), (1,)
    params = [rng.standard_normal(shape, np.float32) for shape in shapes]
    velocities = [np.zeros_like(w) for w in params]
    curve = []
    for epoch in range(1, epochs + 1):
        loss, grads = gradients(params, BITS, XOR)
        optim.momentum(params, grads, velocities, lr)
        curve.append(loss)
        show(epoch, epochs, loss=loss)
    return params, curve


def draw(params, curve):
    def fill(figure, axes):
        ticks = np.linspace(-0.5, 1.5, 41, dtype=np.float32)
        plane = np.stack(np.meshgrid(ticks, ticks), axis=-1).reshape(-1, 2)
        logits = forward(params, plane, activations.sigmoid)[2].reshape(41, 41)
        chance = activations.sigmoid(logits)
        extent = (-0.5, 1.5, -0.5, 1.5)
        shown = axes[0].imshow(chance, "PuOr", vmin=0, vmax=1, origin="lower", extent=extent)
        figure.colorbar(shown, ax=axes[0])
        for bits, label in zip(BITS, XOR[:, 0]):
            box = {"boxstyle": "circle", "facecolor": "white"}
            axes[0].text(*bits, f"{label:.0f}", ha="center", va="center", bbox=box)
        axes[0].set(title="second neuron", xlabel="a", ylabel="b", xticks=(0, 1), yticks=(0, 1))
        axes[1].plot(range(1, len(curve) + 1), curve)
        axes[1].set(title="cross-entropy", xlabel="epoch", yscale="log")

    return fill


def main(argv=None):
    arguments = parse(argv, __doc__.splitlines()[0], epochs=500)
    params, curve = train(np.random.default_rng(arguments.seed), arguments.epochs)
    soft = activations.sigmoid(forward(params, BITS, activations.sigmoid)[2])
    hard = activations.heaviside(forward(params, BITS, activations.heaviside)[2])
    for bits, probability, step in zip(BITS, soft[:, 0], hard[:, 0]):
        print(f"{bits[0]:.0f} xor {bits[1]:.0f}: {probability:.4f}, with steps {step:.0f}")
    if arguments.plot:
        panels(arguments.plot, draw(params, curve), ncols=2)
    return {"loss": curve, "probabilities": soft, "steps": hard, "labels": XOR}


if __name__ == "__main__":
    main()
