"""Noise on the inputs of linear regression is an L2 penalty.

    python examples/noise_is_l2.py --plot curve.svg

With noise of variance s2 added to every input, the expected squared error of theta grows by
s2 |theta|^2, and so it has the same minimum: shown for a theta, and for what training finds.
"""

import numpy as np

import voxkern
from voxkern import augment, losses, optim

from _common import panels, parse

FEATURES = 6
VARIANCES = 0.0, 0.125, 0.25, 0.5, 1.0, 1.5, 2.0


def data(rng, count=200):
    """Inputs ``(count, FEATURES)`` and noisy outputs ``(count, 1)`` of a line."""
    x = rng.standard_normal((count, FEATURES))
    y = voxkern.linear(x, rng.uniform(-2, 2, (1, FEATURES)))
    return x, augment.gaussian_noise(y, 0.5, rng)


def gradient(x, y, theta):
    """Of the mean squared error."""
    grad = losses.mse_loss_backward(1.0, voxkern.linear(x, theta), y)
    return voxkern.linear_backward(grad, x, theta, need=(False, True, False))[1]


def losses_of(x, y, theta, variance, rng, draws):
    """The mean loss of `theta` over draws of the noise, and its loss with the penalty."""
    error = 0.0
    for _ in range(draws):
        noisy = augment.gaussian_noise(x, variance**0.5, rng)
        error += losses.mse_loss(voxkern.linear(noisy, theta), y) / draws
    plain = losses.mse_loss(voxkern.linear(x, theta), y)
    return float(error), float(plain + losses.l2_penalty(theta, variance))


def with_penalty(x, y, variance, steps=300, lr=0.1):
    """Gradient descent without noise, with the penalty: what it ends at."""
    theta = np.zeros((1, FEATURES))
    for _ in range(steps):
        optim.sgd([theta], [gradient(x, y, theta)], lr, l2=variance)
    return theta


def with_noise(x, y, variance, rng, steps, lr=0.02):
    """Gradient descent with fresh noise in each step: the mean of the second half of its path."""
    theta, mean = np.zeros((1, FEATURES)), np.zeros((1, FEATURES))
    for step in range(steps):
        noisy = augment.gaussian_noise(x, variance**0.5, rng)
        optim.sgd([theta], [gradient(noisy, y, theta)], lr)
        if step >= steps // 2:
            mean += theta / (steps - steps // 2)
    return mean


def draw(loss, penalty, noise):
    def fill(figure, axes):
        axes[0].plot(VARIANCES, loss[:, 1], "-", label="loss + s2 |theta|^2")
        axes[0].plot(VARIANCES, loss[:, 0], "o", label="mean loss with noise")
        axes[0].set(
            title="a theta that is not trained",
            xlabel="variance s2 of the noise",
            ylabel="squared error",
        )
        axes[0].legend()
        for i in range(FEATURES):
            axes[1].plot(VARIANCES, penalty[:, i], "-", color=f"C{i}")
            axes[1].plot(VARIANCES, noise[:, i], "o", color=f"C{i}")
        axes[1].set(title="trained with the penalty (lines), with noise (dots)")
        axes[1].set(xlabel="s2", ylabel="theta")

    return fill


def main(argv=None):
    arguments = parse(argv, __doc__.splitlines()[0], epochs=4000)
    rng = np.random.default_rng(arguments.seed)
    x, y = data(rng)
    theta = rng.standard_normal((1, FEATURES))
    loss, penalty, noise = [], [], []
    for variance in VARIANCES:
        loss.append(losses_of(x, y, theta, variance, rng, draws=arguments.epochs))
        penalty.append(with_penalty(x, y, variance)[0])
        noise.append(with_noise(x, y, variance, rng, arguments.epochs)[0])
        print(
            f"s2 {variance:.2f}: {loss[-1][0]:.4f} with noise, {loss[-1][1]:.4f} with s2 |theta|^2"
        )
        print("  theta with noise  ", noise[-1].round(3))
        print("  theta with penalty", penalty[-1].round(3))
    loss, penalty, noise = np.array(loss), np.array(penalty), np.array(noise)
    if arguments.plot:
        panels(arguments.plot, draw(loss, penalty, noise), ncols=2)
    return {"loss": loss, "penalty": penalty, "noise": noise}


if __name__ == "__main__":
    main()
