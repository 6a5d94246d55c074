"""A Siamese network that learns how large a disc is by being told only which of two is larger.

    python examples/siamese.py --plot curve.svg

One encoder with one set of weights sees both pictures, a1 and a2; the answer is
sigmoid(W2 (a1 - a2) + b2). Swapping the pictures turns the sign of the difference, so the form
answers "which has more of it", not "are they the same".
"""

import numpy as np

import voxkern
from voxkern import activations, augment, init, losses

from _common import adamw, panels, parse

SIZE, SLOPE = 20, 0.1
LEAKY = ("leaky_relu", SLOPE)


def discs(rng, radii, noise=0.1):
    """Noisy pictures of discs, ``(N, 1, SIZE, SIZE)``, of any place and brightness."""
    count = len(radii)
    centres = rng.uniform(7, SIZE - 8, (2, count, 1, 1))
    brightness = rng.uniform(0.4, 1, (count, 1, 1))
    rows, columns = np.mgrid[:SIZE, :SIZE]
    distance = np.hypot(rows - centres[0], columns - centres[1])
    x = brightness * np.clip(radii[:, None, None] + 0.5 - distance, 0, 1)
    return augment.gaussian_noise(x[:, None].astype(np.float32), noise, rng)


def pairs(rng, count):
    """The first discs of `count` pairs, then the second ones; 1 where the first is larger."""
    radii = rng.uniform(2, 7, 2 * count)
    first_is_larger = radii[:count] > radii[count:]
    return discs(rng, radii), first_is_larger[:, None].astype(np.float32)


def encode(params, x):
    """What the encoder makes of each picture, ``(N, 16)``, and the layers on the way."""
    w1, b1, w2, b2 = params[:4]
    maps1 = voxkern.conv2d(x, w1, b1, stride=2, padding=1, activation=LEAKY)
    maps2 = voxkern.conv2d(maps1, w2, b2, stride=2, padding=1, activation=LEAKY)
    return voxkern.flatten(voxkern.global_avg_pool(maps2)), (maps1, maps2)


def compare(params, codes):
    """The logit that the first of each pair is larger, and the differences of codes."""
    first, second = np.split(codes, 2)
    return voxkern.linear(first - second, *params[4:]), first - second


def gradients(params, x, labels):
    """The loss, and the gradients of the parameters.

    The encoder sees both pictures in one batch, so that those of its shared weights add up.
    """
    _, _, w2, _, weight, _ = params
    codes, (maps1, maps2) = encode(params, x)
    logits, difference = compare(params, codes)
    grad = losses.binary_cross_entropy_with_logits_backward(1.0, logits, labels)
    grad, grad_weight, grad_bias = voxkern.linear_backward(grad, difference, weight)
    grad = np.concatenate([grad, -grad])[:, :, None, None]
    grad = voxkern.global_avg_pool_backward(grad, maps2.shape[2:])
    # The result of a leaky ReLU has the sign of its argument, which is all that its gradient asks.
    grad = activations.leaky_relu_backward(grad, maps2, SLOPE)
    grad, grad_w2, grad_b2 = voxkern.conv2d_backward(grad, maps1, w2, stride=2, padding=1)
    grad = activations.leaky_relu_backward(grad, maps1, SLOPE)
    _, grad_w1, grad_b1 = voxkern.conv2d_backward(
        grad, x, params[0], stride=2, padding=1, need=(False, True, True)
    )
    loss = losses.binary_cross_entropy_with_logits(logits, labels)
    return loss, [grad_w1, grad_b1, grad_w2, grad_b2, grad_weight, grad_bias]


def train(rng, epochs, steps=20):
    """Batches of 64 fresh pairs: the parameters and the losses."""
    params = [
        init.kaiming_normal((8, 1, 5, 5), SLOPE, rng=rng),
        np.zeros(8, np.float32),
        init.kaiming_normal((16, 8, 5, 5), SLOPE, rng=rng),
        np.zeros(16, np.float32),
        init.xavier_normal((1, 16), rng=rng),
        np.zeros(1, np.float32),
    ]

    def epoch():
        return (gradients(params, *pairs(rng, 64)) for _ in range(steps))

    return params, adamw(params, epoch, epochs, steps, lr=1e-2)


def draw(radii, scores, curve):
    def fill(figure, axes):
        axes[0].plot(radii[:200], scores[:200], ".", markersize=3)
        axes[0].set(title="what the encoder learned", xlabel="radius", ylabel="W2 a")
        axes[1].plot(range(1, len(curve) + 1), curve)
        axes[1].set(title="cross-entropy, training", xlabel="epoch", ylim=(0, None))

    return fill


def main(argv=None):
    arguments = parse(argv, __doc__.splitlines()[0], epochs=50)
    rng = np.random.default_rng(arguments.seed)
    params, curve = train(rng, arguments.epochs)
    x, labels = pairs(rng, 2000)
    logits = compare(params, encode(params, x)[0])[0]
    accuracy = float(((logits > 0) == labels).mean())
    radii = rng.uniform(2, 7, 500)
    scores = voxkern.linear(encode(params, discs(rng, radii))[0], params[4])[:, 0]
    ranks = [values.argsort().argsort() for values in (radii, scores)]
    rank = float(np.corrcoef(*ranks)[0, 1])
    print(f"test accuracy {accuracy:.4f}; rank correlation of W2 a with the radius {rank:.4f}")
    if arguments.plot:
        panels(arguments.plot, draw(radii, scores, curve), ncols=2)
    return {"loss": curve, "accuracy": accuracy, "rank": rank}


if __name__ == "__main__":
    main()
